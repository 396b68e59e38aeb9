//! Where this device wishes to be woken while it is not connected: said on every connection, so that a relay that lost
//! everything knows it again, and whenever it changes.

use lifeos_sync_protocol::frame::{FEATURE_WAKEUP, Frame, WakeupStatus};
use lifeos_sync_protocol::wakeup::WakeupTarget;

use super::{Output, Session, SessionError};

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WakeupWish {
    /// Wake this device there.
    Wake(WakeupTarget),
    /// Not any more.
    Withdraw,
}

/// What a relay makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeupStanding {
    /// It said so.
    Said(WakeupStatus),
    /// It wakes no devices.
    Unsupported,
}

/// State of the wish.
#[derive(Debug)]
pub(super) struct Wakeup {
    /// What is not said yet.
    wish: Option<WakeupWish>,
    /// What was said with this request.
    asked: Option<(u32, WakeupWish)>,
    /// The relay answers WAKEUP.
    is_offered: bool,
}

impl Wakeup {
    pub(super) const fn new(wish: Option<WakeupWish>) -> Self {
        Self { wish, asked: None, is_offered: false }
    }

    pub(super) const fn note_features(&mut self, features: u64) {
        self.is_offered = features & FEATURE_WAKEUP != 0;
    }

    /// Says this next, whatever was said before.
    pub(super) fn wish(&mut self, wish: WakeupWish) {
        self.wish = Some(wish);
    }

    /// Whether a round of sync needs nothing more of this.
    pub(super) const fn is_quiet(&self) -> bool {
        self.wish.is_none() && self.asked.is_none()
    }

    /// Whether an answer of the relay is outstanding.
    pub(super) const fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// The relay does not take it now; the next connection says it again. Whether it was about that.
    pub(super) fn give_up(&mut self, request: u32) -> bool {
        self.asked.take_if(|(asked, _)| *asked == request).is_some()
    }
}

impl Session {
    pub(super) fn drive_wakeup(&mut self) {
        if self.wakeup.is_waiting() {
            return;
        }
        let Some(wish) = self.wakeup.wish.take() else { return };
        if !self.wakeup.is_offered {
            self.outputs.push_back(Output::Wakeup(wish, WakeupStanding::Unsupported));
            return;
        }
        let target = match &wish {
            WakeupWish::Wake(target) => Some(target.clone()),
            WakeupWish::Withdraw => None,
        };
        let request = self.ask(&Frame::Wakeup { session: self.number, target });
        self.wakeup.asked = Some((request, wish));
    }

    pub(super) fn handle_wakeup_ack(&mut self, request: u32, status: WakeupStatus) -> Result<(), SessionError> {
        let Some((_, wish)) = self.wakeup.asked.take_if(|(asked, _)| *asked == request) else {
            return Err(SessionError::Misbehaved("an answer about waking that nobody asked for"));
        };
        if wish == WakeupWish::Withdraw && status == WakeupStatus::Kept {
            return Err(SessionError::Misbehaved("it keeps an address that was withdrawn"));
        }
        self.outputs.push_back(Output::Wakeup(wish, WakeupStanding::Said(status)));
        Ok(())
    }
}
