//! Spaces that other relays write to as well: whose turn it is, and what the others wrote.
//!
//! ```text
//! hold     the rows of a transaction's spaces, in the order of their numbers: one relay at a time writes to a space, and
//!          no two wait for each other
//! follow   what was stored since: streams, then records come into force, then envelopes are told to who follows here
//! mark     the row says that something new is there
//! changes  asked by every relay, often, and whenever another one says that it wrote
//! ```
//!
//! Nothing depends on being told: a relay asks which rows were written by transactions that it has not seen the end of,
//! and compares positions.

use std::collections::BTreeMap;
use std::sync::Arc;

use lifeos_sync_protocol::frame::Item;
use lifeos_sync_protocol::ids::{Roll, SignPk, SpaceId, StreamId};

use super::db::Db;
use super::job::Job;
use super::log::signed;
use super::writer::FLAG_VERIFIED_END;
use super::{Seen, StoreError, position_key, position_of, wakeup};
use crate::space::{Published, Space};

/// Bytes of envelopes that are told one by one; of more than that the readers are told that they are behind.
const TOLD_BYTES_MAX: usize = 1024 * 1024;

/// A space whose row a transaction holds.
pub(super) struct Held {
    pub(super) no: i64,
    /// Where somebody is connected to it, or it is looked after.
    pub(super) space: Option<Arc<Space>>,
    /// Of the row.
    pub(super) version: i64,
    /// Of the row.
    pub(super) seen: Seen,
    /// The membership known here is not the one in force, and cannot be put right now.
    pub(super) is_behind: bool,
    /// The transaction is about to write to it.
    pub(super) is_written: bool,
}

impl Held {
    /// A space that this transaction makes.
    pub(super) fn new(no: i64) -> Self {
        Self { no, space: None, version: 0, seen: Seen::default(), is_behind: false, is_written: true }
    }

    /// Says in the row that something is new, and by which transaction.
    pub(super) fn mark(&mut self, db: &Db) -> Result<(), StoreError> {
        let sql = "UPDATE space SET version = version + 1,
                   xid = CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT),
                   last_record = (SELECT coalesce(max(no), 0) FROM record WHERE space = ?1),
                   last_stream = (SELECT coalesce(max(no), 0) FROM stream WHERE space = ?1)
                   WHERE no = ?1 RETURNING version, last_record, last_stream";
        (self.version, self.seen) =
            db.one(sql, [self.no], |row| Ok((row.get(0)?, Seen { record: row.get(1)?, stream: row.get(2)? })))?;
        Ok(())
    }
}

/// The row of a space.
struct Current {
    version: i64,
    seen: Seen,
    first_pos: u64,
    next_pos: u64,
    roll: Roll,
    bytes: u64,
}

/// Waits until nobody else writes to the spaces of these jobs, and catches up with who did.
pub(super) fn hold(db: &Db, batch: &[Job]) -> Result<Vec<Held>, StoreError> {
    let mut spaces: BTreeMap<i64, (Option<Arc<Space>>, bool)> = BTreeMap::new();
    for job in batch {
        let Some(no) = job.space_no() else { continue };
        let (space, is_written) = spaces.entry(no).or_default();
        *space = space.take().or_else(|| job.space().cloned());
        *is_written |= !matches!(job, Job::Follow(_));
    }
    let mut held = Vec::with_capacity(spaces.len());
    for (no, (space, is_written)) in spaces {
        // A space that is not there is refused when its log is loaded.
        let Some(current) = current(db, no)? else { continue };
        let is_behind = match &space {
            Some(space) => !follow(db, space, &current)?,
            None => false,
        };
        held.push(Held { no, space, version: current.version, seen: current.seen, is_behind, is_written });
    }
    Ok(held)
}

fn current(db: &Db, no: i64) -> Result<Option<Current>, StoreError> {
    let sql = "SELECT version, last_record, last_stream, first_pos, next_pos, roll, bytes FROM space
               WHERE no = ?1 FOR UPDATE";
    db.first(sql, [no], |row| {
        Ok(Current {
            version: row.get(0)?,
            seen: Seen { record: row.get(1)?, stream: row.get(2)? },
            first_pos: row.unsigned(3)?,
            next_pos: row.unsigned(4)?,
            roll: Roll(row.id::<16>(5)?),
            bytes: row.unsigned(6)?,
        })
    })
}

/// Takes in what others stored; whether the membership is the one in force now. All of it is durable, whatever becomes of
/// this transaction.
fn follow(db: &Db, space: &Space, current: &Current) -> Result<bool, StoreError> {
    let mut seen = space.seen();
    if current.seen.stream > seen.stream {
        let sql = "SELECT id, device FROM stream WHERE space = ?1 AND no > ?2";
        db.each(sql, (space.no, seen.stream), |row| {
            space.remember_owner(StreamId(row.id::<16>(0)?), SignPk(row.id::<32>(1)?));
            Ok(true)
        })?;
        seen.stream = current.seen.stream;
        space.saw(seen);
    }
    let is_current = current.seen.record <= seen.record || {
        // Held by who brings records, until these are stored: the next look will do.
        match Arc::clone(&space.records).try_lock_owned() {
            Ok(mut set) => {
                let (records, last) = records_after(db, space.no, seen.record)?;
                space.take_in(&mut set, records, last)?;
                true
            }
            Err(_) => false,
        }
    };
    space.set_bytes(current.bytes);
    tell(db, space, current)?;
    Ok(is_current)
}

/// Tells who follows here what others stored.
fn tell(db: &Db, space: &Space, current: &Current) -> Result<(), StoreError> {
    let end = space.live().end();
    if end.pos >= current.next_pos {
        return Ok(());
    }
    let following = space.live().following();
    let mut items = Vec::new();
    if !following.is_empty() && end.pos >= current.first_pos {
        let range = (position_key(space.no, end.pos), position_key(space.no, current.next_pos));
        db.page(range, TOLD_BYTES_MAX, |row| {
            let item = Item { pos: position_of(row.get(0)?), envelope: row.get(3)? };
            let end = row.get::<i64>(1)? & FLAG_VERIFIED_END != 0;
            items.push(Published { item, roll: Roll(row.id::<16>(2)?), end });
            Ok(true)
        })?;
    }
    let is_all = items.last().is_some_and(|last: &Published| last.item.pos + 1 == current.next_pos);
    let mut live = space.live();
    if is_all {
        live.publish(items);
        drop(live);
        // Somebody else wrote down that they are to be woken, who cannot know that they are here.
        return wakeup::note_following(db, space.no, &following);
    }
    live.jump(current.next_pos, current.roll);
    Ok(())
}

/// Records that came behind a number, in order, and the number of the last.
pub(super) fn records_after(db: &Db, space_no: i64, after: i64) -> Result<(Vec<Vec<u8>>, i64), StoreError> {
    let mut last = after;
    let sql = "SELECT bytes, no FROM record WHERE space = ?1 AND no > ?2 ORDER BY no";
    let records = db.all(sql, (space_no, after), |row| {
        last = row.get(1)?;
        row.get(0)
    })?;
    Ok((records, last))
}

/// A space that was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
pub(crate) struct Change {
    pub(crate) space: SpaceId,
    pub(crate) seen: Seen,
    pub(crate) next_pos: u64,
}

/// Spaces written to by transactions that had not ended at `since`, and what to ask with next: what ends later is never
/// left out, in whatever order the transactions end.
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
pub(super) fn changes(db: &Db, since: u64) -> Result<(Vec<Change>, u64), StoreError> {
    let snapshot = db.snapshot()?;
    let sql = "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS TEXT) AS BIGINT)";
    let next = snapshot.one(sql, super::db::NONE, |row| row.unsigned(0))?;
    let sql = "SELECT id, last_record, last_stream, next_pos FROM space WHERE xid >= ?1";
    let changes = snapshot.all(sql, [signed(since)], |row| {
        let seen = Seen { record: row.get(1)?, stream: row.get(2)? };
        Ok(Change { space: SpaceId(row.id::<32>(0)?), seen, next_pos: row.unsigned(3)? })
    })?;
    Ok((changes, next))
}
