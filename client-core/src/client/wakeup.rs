//! Where this device wishes to be woken by its relays while it is not connected: a push service's address for it.

use lifeos_sync_protocol::frame::WakeupStatus as Said;
use lifeos_sync_protocol::wakeup::WakeupTarget;

use super::{Client, ClientError};
use crate::crypto::{SystemRandom, random_bytes};
use crate::session::WakeupStanding;
use crate::store::{Reads, RelayId};

/// Where this device is woken.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WakeupReport {
    /// The address that relays post to; none: this device is not woken.
    pub url: Option<String>,
    /// What they post there, and nothing else: what an app expects from its push service, and compares.
    pub token: Option<String>,
    /// The relays of all spaces of this home that were told, or are to be.
    pub relays: Vec<RelayWakeup>,
}

/// What one relay makes of it, in one space.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RelayWakeup {
    /// The space, hex.
    pub space: String,
    /// The relay's address.
    pub relay: String,
    /// `kept`, `waiting` (for the next sync), `unsupported`, `refused`, `gone` or `withdrawing`.
    pub standing: &'static str,
    /// What it means and what to do, in words; none when all is well.
    pub advice: Option<String>,
}

impl Client {
    /// Has the relays of every space of this home wake this device: each posts a token, drawn anew here, to this address
    /// (a UnifiedPush endpoint, a webhook) when something is new while the device is not connected. `None`: no more.
    /// Relays are told when they are connected to next, those that are connected within seconds.
    ///
    /// Each relay learns who the push service is, and that this device's keys in the spaces it holds are one device's;
    /// the push service learns when something is new.
    /// # Errors
    /// [`ClientError::Invalid`] for what is no address.
    pub fn set_wakeup(&self, url: Option<&str>) -> Result<WakeupReport, ClientError> {
        let target = url.map(|url| {
            let token: [u8; 16] = random_bytes(&mut SystemRandom::new());
            let token: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
            WakeupTarget::new(url.trim(), token).map_err(|wrong| ClientError::invalid(wrong.to_string()))
        });
        self.shared.store().put_wakeup(target.transpose()?.as_ref())?;
        self.wakeup()
    }

    /// Where this device is woken, and what each relay makes of it.
    /// # Errors
    /// [`ClientError`].
    pub fn wakeup(&self) -> Result<WakeupReport, ClientError> {
        let reader = self.shared.reader();
        let reads = reader.reads();
        let target = reads.wakeup()?;
        let mut relays = Vec::new();
        for space in reads.spaces()? {
            for relay in reads.relays(&space.space)? {
                if let Some((standing, advice)) = standing_of(&reads, relay.id)? {
                    let (space, relay) = (space.space.to_string(), relay.url);
                    relays.push(RelayWakeup { space, relay, standing, advice: advice.map(str::to_owned) });
                }
            }
        }
        let (url, token) = target.map(|target| (target.url().to_owned(), target.token().to_owned())).unzip();
        Ok(WakeupReport { url, token, relays })
    }
}

/// What a relay makes of the wish, as a word and in words; nothing where there is no wish.
pub(super) fn standing_of(
    reads: &Reads<'_>,
    relay: RelayId,
) -> Result<Option<(&'static str, Option<&'static str>)>, ClientError> {
    if reads.wakeup()?.is_none() {
        let is_left = reads.is_wakeup_to_withdraw(relay)?;
        let advice = "this relay may still wake this device: the next sync tells it not to";
        return Ok(is_left.then_some(("withdrawing", Some(advice))));
    }
    Ok(Some(match reads.wakeup_standing(relay)? {
        Some(WakeupStanding::Said(Said::Kept)) => ("kept", None),
        Some(WakeupStanding::Said(Said::Refused)) => (
            "refused",
            Some(
                "this relay does not ask that push service: use another one, or ask its operator to name the host with \
             --wakeups",
            ),
        ),
        Some(WakeupStanding::Said(Said::Gone)) => (
            "gone",
            Some(
                "the push service does not know this address any more: get another one, and set it with `lifeos device \
             wakeup URL`",
            ),
        ),
        Some(WakeupStanding::Unsupported) => {
            ("unsupported", Some("this relay wakes no devices: sync now and then, or ask its operator for --wakeups"))
        }
        Some(WakeupStanding::Said(_)) | None => ("waiting", Some("this relay is told with the next sync")),
    }))
}
