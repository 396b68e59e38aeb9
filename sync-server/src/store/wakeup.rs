//! Where devices wish to be woken: one target a device and space, and how far its wake-up is.
//!
//! ```text
//! RESTS ── something is stored while it does not follow ──▶ DUE ── a request begins ──▶ WOKEN
//!   ▲                                                        │                          │
//!   └───────────────── the device has read the log to its end ┴──────────────────────────┘
//! GONE: its push service does not know it any more; only the token is left, to know it by
//! ```
//!
//! DUE is written in the commit that stores what the device lacks, WOKEN before the first byte of a request: a relay that
//! is killed loses no wake-up that it had not begun, and never makes one twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::db::Db;
use super::log::signed;
use super::{Job, Readers, Store, StoreError};
use crate::limits::Limits;
use crate::space::{Space, View};
use lifeos_sync_protocol::frame::WakeupStatus;
use lifeos_sync_protocol::ids::{SignPk, SpaceId};
use lifeos_sync_protocol::wakeup::WakeupTarget;

const RESTS: i64 = 0;
const DUE: i64 = 1;
const WOKEN: i64 = 2;
const GONE: i64 = 3;

/// Something to write about a device's target.
pub(crate) struct WakeupJob {
    pub(crate) space_no: i64,
    pub(crate) device: SignPk,
    pub(crate) work: WakeupWork,
    /// Called once, after the commit.
    pub(crate) reply: WakeupReply,
}

/// Answer to a [`WakeupJob`].
pub(crate) type WakeupReply = Box<dyn FnOnce(Result<Waking, StoreError>) + Send>;

/// What to write.
pub(crate) enum WakeupWork {
    /// The device asks for it.
    Keep { target: WakeupTarget, space: Arc<Space> },
    /// The device does not wish to be woken any more.
    Forget,
    /// It has read the log to its end.
    CaughtUp,
    /// Its session is over; it was surely there until the log ended at `seen`.
    Left { seen: u64 },
    /// A request begins.
    Begin,
    /// The push service took it.
    Taken { token: String },
    /// It was tried as often as it is tried.
    Dropped { token: String },
    /// The push service does not know this target any more.
    Gone { token: String },
}

/// What came of a [`WakeupJob`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Waking {
    /// Of a wish.
    Status(WakeupStatus),
    /// Of a request that begins: where to; nothing if there is no reason any more.
    Begun(Option<WakeupTarget>),
    /// Of the rest: whether the device is to be woken now.
    Noted { is_due: bool },
}

/// A device that is to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DueWakeup {
    pub(crate) space_no: i64,
    pub(crate) device: SignPk,
    pub(crate) space: SpaceId,
}

impl Store {
    /// Has it written, and waits for the commit.
    pub(crate) async fn wakeup(&self, space_no: i64, device: SignPk, work: WakeupWork) -> Result<Waking, StoreError> {
        let (done, waking) = tokio::sync::oneshot::channel();
        let reply = Box::new(move |result| {
            // Who waits may be gone when the commit is done; what was written stands all the same.
            let _ = done.send(result);
        });
        self.submit(Job::Wakeup(WakeupJob { space_no, device, work, reply }));
        waking.await.unwrap_or(Err(StoreError::Stopped))
    }
}

impl Readers {
    /// Devices that are to be woken, from behind `after` on.
    pub(crate) async fn due_wakeups(
        self: &Arc<Self>,
        after: Option<(i64, SignPk)>,
        count: usize,
    ) -> Result<Vec<DueWakeup>, StoreError> {
        self.run(move |db| {
            let (space_no, device) = after.map_or((0, Vec::new()), |(no, device)| (no, device.as_ref().to_vec()));
            let sql = "SELECT w.space, w.device, s.id FROM wakeup w JOIN space s ON s.no = w.space
                       WHERE w.state = 1 AND (w.space, w.device) > (?1, ?2) ORDER BY w.space, w.device LIMIT ?3";
            db.all(sql, (space_no, &device, signed(count as u64)), |row| {
                let (device, space) = (SignPk(row.id::<32>(1)?), SpaceId(row.id::<32>(2)?));
                Ok(DueWakeup { space_no: row.get(0)?, device, space })
            })
        })
        .await
    }

    /// Where a device wishes to be woken, if it does.
    pub(crate) async fn wakeup_target(
        self: &Arc<Self>,
        space_no: i64,
        device: SignPk,
    ) -> Result<Option<WakeupTarget>, StoreError> {
        self.run(move |db| target_of(db, space_no, &device)).await
    }

    /// Whether a device was woken at this target and has not come since: the only reason to try it once more.
    pub(crate) async fn is_woken(
        self: &Arc<Self>,
        space_no: i64,
        device: SignPk,
        token: String,
    ) -> Result<bool, StoreError> {
        self.run(move |db| {
            let sql = "SELECT 1 FROM wakeup WHERE space = ?1 AND device = ?2 AND token = ?3 AND state = 2";
            db.exists(sql, (space_no, device.as_ref(), &token))
        })
        .await
    }
}

/// Whether any device of a space wishes to be woken.
pub(super) fn has_targets(db: &Db, space_no: i64) -> Result<bool, StoreError> {
    db.exists("SELECT 1 FROM wakeup WHERE space = ?1 LIMIT 1", [space_no])
}

/// Something was stored: who does not follow the log is to be woken, but for who brought it.
pub(super) fn note_stored(db: &Db, space: &Space, pusher: &SignPk) -> Result<(), StoreError> {
    let sql = "SELECT device FROM wakeup WHERE space = ?1 AND state = ?2";
    let resting = db.all(sql, (space.no, RESTS), |row| Ok(SignPk(row.id::<32>(0)?)))?;
    if resting.is_empty() {
        return Ok(());
    }
    let following = space.live().following();
    let update = "UPDATE wakeup SET state = ?3 WHERE space = ?1 AND device = ?2";
    for device in resting.iter().filter(|device| *device != pusher && !following.contains(device)) {
        db.execute(update, (space.no, device.as_ref(), DUE))?;
    }
    Ok(())
}

/// Who follows at this relay is not to be woken for what another relay stored.
pub(super) fn note_following(db: &Db, space_no: i64, following: &BTreeSet<SignPk>) -> Result<(), StoreError> {
    let due = "SELECT device FROM wakeup WHERE space = ?1 AND state = ?2";
    let due = db.all(due, (space_no, DUE), |row| Ok(SignPk(row.id::<32>(0)?)))?;
    let sql = "UPDATE wakeup SET state = ?3 WHERE space = ?1 AND device = ?2";
    db.execute_each(
        sql,
        due.iter().filter(|device| following.contains(device)).map(|device| (space_no, device.as_ref(), RESTS)),
    )
}

/// Records changed who may read: nobody else is woken, and nobody at all once the space is closed.
pub(super) fn keep_readers_only(db: &Db, space_no: i64, view: Option<&View>) -> Result<(), StoreError> {
    let Some(view) = view else { return Ok(()) };
    let sql = "SELECT device FROM wakeup WHERE space = ?1";
    for device in db.all(sql, [space_no], |row| Ok(SignPk(row.id::<32>(0)?)))? {
        if !may_be_woken(view, &device) {
            forget(db, space_no, &device)?;
        }
    }
    Ok(())
}

fn may_be_woken(view: &View, device: &SignPk) -> bool {
    view.membership.closed.is_none() && view.membership.may_read(device)
}

/// Does one job inside the commit. `next_pos` is where the space's log ends by now.
pub(super) fn perform(db: &Db, job: &WakeupJob, next_pos: u64, limits: &Limits) -> Result<Waking, StoreError> {
    let WakeupJob { space_no, device, work, .. } = job;
    let advance = |sql: &'static str, from: i64, to: i64| -> Result<bool, StoreError> {
        Ok(db.execute(sql, (*space_no, device.as_ref(), from, to))? > 0)
    };
    const STEP: &str = "UPDATE wakeup SET state = ?4 WHERE space = ?1 AND device = ?2 AND state = ?3";
    match work {
        WakeupWork::Keep { target, space } => {
            // Looked at here, where records come into force: a removal that was stored meanwhile counts.
            if !may_be_woken(&space.view(), device) {
                return Ok(Waking::Status(WakeupStatus::None));
            }
            keep(db, *space_no, device, target).map(Waking::Status)
        }
        WakeupWork::Forget => {
            forget(db, *space_no, device)?;
            Ok(Waking::Status(WakeupStatus::None))
        }
        WakeupWork::CaughtUp => {
            advance(STEP, DUE, RESTS)?;
            advance(STEP, WOKEN, RESTS)?;
            Ok(Waking::Noted { is_due: false })
        }
        WakeupWork::Left { seen } => Ok(Waking::Noted { is_due: next_pos > *seen && advance(STEP, RESTS, DUE)? }),
        WakeupWork::Begin => {
            if !advance(STEP, DUE, WOKEN)? {
                return Ok(Waking::Begun(None));
            }
            target_of(db, *space_no, device).map(Waking::Begun)
        }
        WakeupWork::Taken { token } => {
            let sql = "UPDATE wakeup SET failures = 0 WHERE space = ?1 AND device = ?2 AND token = ?3 AND failures > 0";
            db.execute(sql, (*space_no, device.as_ref(), token))?;
            Ok(Waking::Noted { is_due: false })
        }
        WakeupWork::Dropped { token } => {
            let sql = "UPDATE wakeup SET failures = failures + 1 WHERE space = ?1 AND device = ?2 AND token = ?3
                       RETURNING failures";
            let failures = db.first(sql, (*space_no, device.as_ref(), token), |row| row.get::<u32>(0))?;
            if failures.is_some_and(|failures| failures >= limits.wakeup_failures_max) {
                forget_address(db, *space_no, device, token)?;
            }
            Ok(Waking::Noted { is_due: false })
        }
        WakeupWork::Gone { token } => {
            forget_address(db, *space_no, device, token)?;
            Ok(Waking::Noted { is_due: false })
        }
    }
}

/// The same wish again changes nothing, so that a device may make it whenever it connects.
fn keep(db: &Db, space_no: i64, device: &SignPk, target: &WakeupTarget) -> Result<WakeupStatus, StoreError> {
    let sql = "SELECT url, state FROM wakeup WHERE space = ?1 AND device = ?2 AND token = ?3";
    let known = db.first(sql, (space_no, device.as_ref(), target.token()), |row| {
        Ok((row.get::<String>(0)?, row.get::<i64>(1)?))
    })?;
    match known {
        Some((_, GONE)) => return Ok(WakeupStatus::Gone),
        Some((url, _)) if url == target.url() => return Ok(WakeupStatus::Kept),
        _ => {}
    }
    db.execute(
        "INSERT INTO wakeup (space, device, url, token, state) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (space, device)
         DO UPDATE SET url = excluded.url, token = excluded.token, state = excluded.state, failures = 0",
        (space_no, device.as_ref(), target.url(), target.token(), RESTS),
    )?;
    Ok(WakeupStatus::Kept)
}

fn forget(db: &Db, space_no: i64, device: &SignPk) -> Result<(), StoreError> {
    db.execute("DELETE FROM wakeup WHERE space = ?1 AND device = ?2", (space_no, device.as_ref()))?;
    Ok(())
}

/// Whoever asks for it again is told that it is gone, and the address is not kept for that.
fn forget_address(db: &Db, space_no: i64, device: &SignPk, token: &str) -> Result<(), StoreError> {
    let sql = "UPDATE wakeup SET state = ?4, url = '' WHERE space = ?1 AND device = ?2 AND token = ?3";
    db.execute(sql, (space_no, device.as_ref(), token, GONE))?;
    Ok(())
}

/// A row that says nothing usable is bytes from outside: nobody is woken by it.
fn target_of(db: &Db, space_no: i64, device: &SignPk) -> Result<Option<WakeupTarget>, StoreError> {
    let sql = "SELECT url, token FROM wakeup WHERE space = ?1 AND device = ?2";
    let found = db.first(sql, (space_no, device.as_ref()), |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?)))?;
    Ok(found.and_then(|(url, token)| WakeupTarget::new(url, token).ok()))
}
