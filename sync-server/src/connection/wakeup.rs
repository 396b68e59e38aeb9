//! WAKEUP: where a device wishes to be woken while it is not connected; and what its coming and going means for that.

use std::sync::Arc;

use lifeos_sync_protocol::frame::{ErrorCode, Frame, WakeupStatus};
use lifeos_sync_protocol::ids::SignPk;
use lifeos_sync_protocol::wakeup::WakeupTarget;
use tokio::time::Instant;

use super::{Connection, Refusal};
use crate::server::Relay;
use crate::space::Space;
use crate::store::{Job, WakeupJob, WakeupWork, Waking};

const UNKNOWN: Refusal = Refusal::mild(ErrorCode::Unexpected, "this relay wakes no devices");
const TOO_OFTEN: Refusal = Refusal {
    code: ErrorCode::Rate,
    fatal: false,
    retry_after_ms: 5_000,
    message: "this device says too often where it wishes to be woken; try again later",
};

impl Connection {
    /// Keeps or forgets the wish, and answers when that is durable.
    pub(super) async fn wakeup(
        &mut self,
        request: u32,
        session: u32,
        target: Option<WakeupTarget>,
    ) -> Result<(), Refusal> {
        let (space, _) = self.opened(session)?;
        let device = self.session(session)?.device;
        let wakes = self.relay.wakes.as_ref().ok_or(UNKNOWN)?;
        if !wakes.asked.try_take(device, Instant::now()) {
            return Err(TOO_OFTEN);
        }
        let is_refused = target.as_ref().is_some_and(|target| !wakes.waker.allows(target));
        let work = match target {
            Some(target) if !is_refused => WakeupWork::Keep { target, space: Arc::clone(&space) },
            _ => WakeupWork::Forget,
        };
        let Waking::Status(status) = self.relay.store.wakeup(space.no, device, work).await? else {
            return Err(Refusal::mild(ErrorCode::Internal, "a fault inside the relay"));
        };
        let status = if is_refused { WakeupStatus::Refused } else { status };
        self.reply(request, &Frame::WakeupAck { session, status });
        Ok(())
    }
}

/// A device has read the log to its end: there is nothing to wake it for.
pub(super) fn caught_up(relay: &Relay, space: &Space, device: SignPk) {
    note(relay, space, device, Some(WakeupWork::CaughtUp));
}

/// A session of a device is over, which followed the log and was surely there until it ended at `seen`.
pub(super) fn left(relay: &Relay, space: &Space, device: SignPk, seen: Option<u64>) {
    note(relay, space, device, seen.map(|seen| WakeupWork::Left { seen }));
}

fn note(relay: &Relay, space: &Space, device: SignPk, work: Option<WakeupWork>) {
    let Some(wakes) = &relay.wakes else { return };
    let bell = Arc::clone(wakes);
    match work {
        None => bell.ring(),
        Some(work) => {
            // What became due while it was here waited for it to go.
            let reply = Box::new(move |_| bell.ring());
            relay.store.submit(Job::Wakeup(WakeupJob { space_no: space.no, device, work, reply }));
        }
    }
}
