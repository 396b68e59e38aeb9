//! Devices whose envelopes wait for a moment, because somebody removes them: a removal that cuts too early is answered
//! CUT_BEHIND and signed again, and a device that wrote on meanwhile, faster than its remover looks, would stay for ever.

use lifeos_sync_protocol::ids::SignPk;
use std::collections::HashMap;
use tokio::time::Instant;

/// Who waits until when. As many as a space has devices at most.
#[derive(Debug, Default)]
pub(super) struct Holds {
    until: HashMap<SignPk, Instant>,
}

impl Holds {
    /// Lets these devices wait until then.
    pub(super) fn hold(&mut self, devices: impl IntoIterator<Item = SignPk>, until: Instant) {
        self.until.extend(devices.into_iter().map(|device| (device, until)));
    }

    /// Whether a device waits.
    pub(super) fn is_held(&mut self, device: &SignPk, now: Instant) -> bool {
        let is_held = self.until.get(device).is_some_and(|until| now < *until);
        if !is_held && !self.until.is_empty() {
            self.until.remove(device);
        }
        is_held
    }

    /// Forgets the others: what a removed device wrote is taken from those who vouch for it.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&SignPk) -> bool) {
        self.until.retain(|device, _| is_kept(device));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_device_waits_until_its_time_is_over_or_it_is_removed() {
        let (mut holds, start) = (Holds::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let [one, two, other] = [1, 2, 3].map(|key| SignPk([key; 32]));
        holds.hold([one, two], at(10));
        assert!(holds.is_held(&one, at(9)) && holds.is_held(&two, at(9)) && !holds.is_held(&other, at(9)));
        assert!(!holds.is_held(&one, at(10)));
        // Once more: the time begins anew.
        holds.hold([one], at(30));
        assert!(holds.is_held(&one, at(29)) && !holds.is_held(&two, at(29)));
        holds.hold([two], at(30));
        holds.keep(|device| *device == two);
        assert!(!holds.is_held(&one, at(11)) && holds.is_held(&two, at(29)));
    }
}
