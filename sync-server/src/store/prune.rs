//! What checkpoints take out of a log: the writer's steps, each one transaction and small, so that pushes go on between
//! them and a crash leaves a log that is whole.
//!
//! ```text
//! Wait    the grace of a checkpoint begins
//! Effect  its floors are those of the streams, and the log begins behind the last envelope below them: from now on
//!         nothing below is told to anybody
//! Sweep   envelopes below floors are deleted, some at a time
//! Drop    objects are deleted that nothing names
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use super::db::Db;
use super::log::{Log, StoredRun, Tip, Used, run_of, signed};
use super::{StoreError, position_key, position_of};
use crate::space::{Settled, Space, View};
use lifeos_sync_protocol::envelope::Kind;
use lifeos_sync_protocol::ids::{EnvelopeId, RecordId, Roll, SignPk, StreamId};
use lifeos_sync_protocol::membership::StreamPoint;
use lifeos_sync_protocol::record::{Body, Floor, Record};

/// Envelopes that one transaction deletes.
const SWEEP_ENVELOPES: usize = 1_024;
/// Bytes after which a transaction deletes nothing further: each page of them is read and written.
const SWEEP_BYTES: u64 = 4 * 1024 * 1024;
/// Runs that one transaction looks at.
const SWEEP_RUNS: usize = 256;
/// Pages that one transaction gives back to the file system.
const SHRINK_PAGES: u32 = 1_024;
/// Free pages that are left in the file, because the next pushes take them.
const FREE_PAGES: i64 = 64;

/// A step in looking after a space.
pub(crate) struct TendJob {
    /// Which.
    pub(crate) space: Arc<Space>,
    /// What.
    pub(crate) work: Work,
    /// The relay's clock (ms UTC).
    pub(crate) now_ms: u64,
    /// Called after the commit.
    pub(crate) reply: TendReply,
}

/// Answer to a [`TendJob`].
pub(crate) type TendReply = Box<dyn FnOnce(Result<Tended, StoreError>) + Send>;

/// One step.
pub(crate) enum Work {
    /// A look begins. If nothing more is heard of it, the next one is at `again_ms`.
    Begin {
        /// As above.
        again_ms: u64,
    },
    /// The grace of a checkpoint begins anew, or ends without effect where it does not stand well any more.
    Wait {
        /// Which.
        checkpoint: RecordId,
    },
    /// A checkpoint that has waited long enough takes effect.
    Effect {
        /// Its record.
        checkpoint: Arc<Record>,
        /// How long it must have waited.
        grace_ms: u64,
        /// Those that it continues, and those that these continue.
        previous: Vec<RecordId>,
    },
    /// Envelopes below floors go.
    Sweep,
    /// These objects go, if they were last brought before.
    Drop {
        /// The membership under which nothing names them.
        view: Arc<View>,
        /// Which.
        objects: Vec<EnvelopeId>,
        /// Chunks: before this time.
        chunks_before_ms: u64,
        /// Blob parts: before this time.
        parts_before_ms: u64,
    },
    /// The look that began with this `again_ms` is over. What came meanwhile calls for the next one.
    End {
        /// As in `Begin`.
        again_ms: u64,
        /// When to look next, if nothing comes before.
        next_ms: Option<u64>,
    },
    /// Pages that nothing is in go back to the file system.
    Shrink,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tended {
    /// It did what it was to do; of a sweep or a drop, there may be more.
    pub(crate) done: bool,
    /// What is gone.
    pub(crate) gone: Gone,
}

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Gone {
    pub(crate) bytes: u64,
    pub(crate) envelopes: u64,
    pub(crate) objects: u64,
}

impl From<Gone> for Used {
    fn from(gone: Gone) -> Self {
        Self { bytes: gone.bytes, envelopes: gone.envelopes, objects: gone.objects }
    }
}

const fn done(done: bool) -> Tended {
    Tended { done, gone: Gone { bytes: 0, envelopes: 0, objects: 0 } }
}

/// Does one step.
pub(super) fn tend(db: &Db, log: &mut Log, job: &TendJob) -> Result<Tended, StoreError> {
    let no = log.space_no;
    match &job.work {
        Work::Begin { again_ms } => {
            db.execute("UPDATE space SET look_ms = ?2 WHERE no = ?1", (no, signed(*again_ms)))?;
            Ok(done(true))
        }
        Work::Wait { checkpoint } => wait(db, no, &job.space.view(), checkpoint, job.now_ms).map(done),
        Work::Effect { checkpoint, grace_ms, previous } => {
            let since = job.now_ms.saturating_sub(*grace_ms);
            let stands = job.space.view().stands(&checkpoint.id());
            if !stands || !has_waited(db, no, &checkpoint.id(), since)? {
                return Ok(done(false));
            }
            effect(db, log, checkpoint, previous, job.now_ms).map(done)
        }
        Work::Sweep => sweep(db, log),
        Work::Drop { view, objects, chunks_before_ms, parts_before_ms } => {
            // What came into force meanwhile may name them.
            if !Arc::ptr_eq(view, &job.space.view()) {
                return Ok(done(false));
            }
            drop_objects(db, log, objects, *chunks_before_ms, *parts_before_ms)
        }
        Work::End { again_ms, next_ms } => {
            let end = "UPDATE space SET look_ms = ?3 WHERE no = ?1 AND look_ms = ?2";
            db.execute(end, (no, signed(*again_ms), next_ms.map(signed)))?;
            log.has_waiting = has_waiting(db, no)?;
            Ok(done(true))
        }
        Work::Shrink => shrink(db).map(done),
    }
}

fn wait(db: &Db, space_no: i64, view: &View, checkpoint: &RecordId, now_ms: u64) -> Result<bool, StoreError> {
    let since = view.stands(checkpoint).then_some(signed(now_ms));
    let sql = "UPDATE checkpoint SET since_ms = ?3 WHERE space = ?1 AND id = ?2 AND effective_ms IS NULL";
    let changed = db.execute(sql, (space_no, checkpoint.as_ref(), since))?;
    Ok(changed > 0 && since.is_some())
}

fn has_waited(db: &Db, space_no: i64, checkpoint: &RecordId, since_ms: u64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM checkpoint
               WHERE space = ?1 AND id = ?2 AND since_ms <= ?3 AND effective_ms IS NULL AND is_superseded = 0";
    db.exists(sql, (space_no, checkpoint.as_ref(), signed(since_ms)))
}

/// Where a stream's floor goes, and where in the log that is.
struct Raised {
    stream: StreamId,
    floor: Floor,
    pos: u64,
    roll: Roll,
}

/// Raises the floors; nothing happens if an envelope of the cut is not here as the checkpoint names it.
fn effect(db: &Db, log: &mut Log, checkpoint: &Record, previous: &[RecordId], now_ms: u64) -> Result<bool, StoreError> {
    let Body::Checkpoint { cut, .. } = checkpoint.body() else { return Ok(false) };
    let mut raised = Vec::new();
    for floor in cut {
        match look_up(db, log, floor)? {
            Place::Below => {}
            Place::Here(place) => raised.push(place),
            Place::Elsewhere => return Ok(false),
        }
    }
    let set = "UPDATE stream SET floor = ?3, floor_id = ?4 WHERE space = ?1 AND id = ?2";
    for Raised { stream, floor, pos, roll } in raised {
        db.execute(set, (log.space_no, stream.as_ref(), floor.seq, floor.id.as_ref()))?;
        log.raise(&stream, StreamPoint { seq: floor.seq, id: floor.id });
        if pos >= log.first_pos {
            (log.first_pos, log.first_roll) = (pos + 1, roll);
        }
    }
    db.execute(
        "UPDATE space SET first_pos = ?2, first_roll = ?3 WHERE no = ?1",
        (log.space_no, signed(log.first_pos), log.first_roll.as_ref()),
    )?;
    db.execute(
        "UPDATE checkpoint SET effective_ms = ?3 WHERE space = ?1 AND id = ?2",
        (log.space_no, checkpoint.id().as_ref(), signed(now_ms)),
    )?;
    db.execute_each(
        "UPDATE checkpoint SET is_superseded = 1 WHERE space = ?1 AND id = ?2",
        previous.iter().map(|id| (log.space_no, id.as_ref())),
    )?;
    Ok(true)
}

enum Place {
    /// At or below the floor that the stream has.
    Below,
    /// Here, with the id that is named.
    Here(Raised),
    /// Not here, or something else is.
    Elsewhere,
}

fn look_up(db: &Db, log: &mut Log, floor: &Floor) -> Result<Place, StoreError> {
    // Nothing of the stream is here, so nothing of it is to be deleted: the checkpoint was complete without it.
    let Some(tip) = log.tip(db, &floor.stream)? else { return Ok(Place::Below) };
    find(db, log.space_no, &tip, floor)
}

fn find(db: &Db, space_no: i64, tip: &Tip, floor: &Floor) -> Result<Place, StoreError> {
    if floor.seq < tip.floor.seq || (floor.seq == tip.floor.seq && floor.id == tip.floor.id) {
        return Ok(Place::Below);
    }
    let Some(run) = run_of(db, tip.no, floor.seq)?.filter(|_| floor.seq > tip.floor.seq) else {
        return Ok(Place::Elsewhere);
    };
    let pos = run.pos + u64::from(floor.seq - run.seq);
    let row = db.first("SELECT id, roll FROM envelope WHERE key = ?1", [position_key(space_no, pos)], |row| {
        Ok((EnvelopeId(row.id::<32>(0)?), Roll(row.id::<16>(1)?)))
    })?;
    Ok(match row {
        Some((found, roll)) if found == floor.id => {
            Place::Here(Raised { stream: floor.stream, floor: *floor, pos, roll })
        }
        _ => Place::Elsewhere,
    })
}

/// Whether all chunks of a checkpoint are here, and of each floor the envelope or a higher floor. A stream that ended
/// before an earlier checkpoint never comes to a relay that is new since: its floor is `settled`, and holds up nothing.
pub(super) fn is_complete(
    db: &Db,
    space_no: i64,
    checkpoint: &Record,
    settled: &HashSet<Settled>,
) -> Result<bool, StoreError> {
    let Body::Checkpoint { cut, chunks, .. } = checkpoint.body() else { return Ok(false) };
    let held = "SELECT 1 FROM object WHERE space = ?1 AND id = ?2 AND kind = ?3";
    for chunk in chunks {
        if !db.exists(held, (space_no, chunk.as_ref(), Kind::Chunk as u8))? {
            return Ok(false);
        }
    }
    for floor in cut {
        let is_held = match super::log::load_tip(db, space_no, &floor.stream)? {
            Some(tip) => !matches!(find(db, space_no, &tip, floor)?, Place::Elsewhere),
            None => settled.contains(&(floor.stream, floor.seq, floor.id)),
        };
        if !is_held {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A run of which something lies below its stream's floor.
struct Doomed {
    stream_no: i64,
    stream: StreamId,
    device: SignPk,
    run: StoredRun,
    floor: u32,
}

fn doomed(db: &Db, space_no: i64) -> Result<Vec<Doomed>, StoreError> {
    let sql = "SELECT r.seq, r.pos, r.count, s.no, s.id, s.device, s.floor FROM stream s JOIN run r ON r.stream = s.no
               WHERE s.space = ?1 AND s.floor > 0 AND r.seq <= s.floor ORDER BY s.no, r.seq LIMIT ?2";
    db.all(sql, (space_no, signed(SWEEP_RUNS as u64)), |row| {
        Ok(Doomed {
            run: StoredRun::read(row)?,
            stream_no: row.get(3)?,
            stream: StreamId(row.id::<16>(4)?),
            device: SignPk(row.id::<32>(5)?),
            floor: row.get(6)?,
        })
    })
}

/// Deletes some of what lies below floors.
fn sweep(db: &Db, log: &mut Log) -> Result<Tended, StoreError> {
    let mut gone = Gone::default();
    for doomed in doomed(db, log.space_no)? {
        let left = SWEEP_ENVELOPES.saturating_sub(usize::try_from(gone.envelopes).unwrap_or(usize::MAX));
        if left == 0 || gone.bytes >= SWEEP_BYTES {
            break;
        }
        let part = sweep_run(db, log, &doomed, left, SWEEP_BYTES - gone.bytes)?;
        log.tip(db, &doomed.stream)?;
        log.give_back(&doomed.device, Some(&doomed.stream), part.into());
        gone.bytes += part.bytes;
        gone.envelopes += part.envelopes;
    }
    Ok(Tended { done: gone.envelopes > 0, gone })
}

/// Deletes the beginning of a run as far as it lies below the floor, within the bounds; what is left of the run begins
/// behind that, and ends where a signature was verified as before.
fn sweep_run(db: &Db, log: &Log, doomed: &Doomed, envelopes_max: usize, bytes_max: u64) -> Result<Gone, StoreError> {
    let Doomed { stream_no, run, floor, .. } = doomed;
    let count = (floor - run.seq + 1).min(run.count).min(u32::try_from(envelopes_max).unwrap_or(u32::MAX));
    let from = position_key(log.space_no, run.pos);
    let mut gone = Gone::default();
    let mut end = run.pos;
    let sql = "SELECT key, length(bytes) FROM envelope WHERE key >= ?1 AND key < ?2 ORDER BY key";
    db.each(sql, (from, position_key(log.space_no, run.pos + u64::from(count))), |row| {
        if gone.envelopes > 0 && gone.bytes >= bytes_max {
            return Ok(false);
        }
        end = position_of(row.get(0)?) + 1;
        gone.bytes += row.unsigned(1)?;
        gone.envelopes += 1;
        Ok(true)
    })?;
    let range = (from, position_key(log.space_no, end));
    let deleted = db.execute("DELETE FROM envelope WHERE key >= ?1 AND key < ?2", range)?;
    if deleted == 0 {
        // A run without envelopes: damage, which deleting its row would hide.
        return Err(StoreError::Corrupt);
    }
    let swept = u32::try_from(end - run.pos).unwrap_or(run.count);
    db.execute("DELETE FROM run WHERE stream = ?1 AND seq = ?2", (*stream_no, run.seq))?;
    if swept < run.count {
        db.execute(
            "INSERT INTO run (stream, seq, pos, count) VALUES (?1, ?2, ?3, ?4)",
            (*stream_no, run.seq + swept, signed(end), run.count - swept),
        )?;
    }
    Ok(gone)
}

fn drop_objects(
    db: &Db,
    log: &mut Log,
    objects: &[EnvelopeId],
    chunks_before_ms: u64,
    parts_before_ms: u64,
) -> Result<Tended, StoreError> {
    let find = "SELECT no, device, length(bytes) FROM object
                WHERE space = ?1 AND id = ?2
                AND since_ms <= CASE kind WHEN ?3 THEN CAST(?4 AS BIGINT) ELSE CAST(?5 AS BIGINT) END";
    let delete = "DELETE FROM object WHERE no = ?1";
    let book = "UPDATE object_use SET bytes = bytes - ?3, objects = objects - 1 WHERE space = ?1 AND device = ?2";
    let mut gone = Gone::default();
    for object in objects {
        let limits = (Kind::Chunk as u8, signed(chunks_before_ms), signed(parts_before_ms));
        let found = db.first(find, (log.space_no, object.as_ref(), limits.0, limits.1, limits.2), |row| {
            Ok((row.get::<i64>(0)?, SignPk(row.id::<32>(1)?), row.unsigned(2)?))
        })?;
        let Some((no, device, bytes)) = found else { continue };
        db.execute(delete, [no])?;
        db.execute(book, (log.space_no, device.as_ref(), signed(bytes)))?;
        let part = Gone { bytes, envelopes: 0, objects: 1 };
        log.give_back(&device, None, part.into());
        gone.bytes += bytes;
        gone.objects += 1;
        if gone.bytes >= SWEEP_BYTES {
            break;
        }
    }
    Ok(Tended { done: gone.objects > 0, gone })
}

/// Gives some free pages back; whether there may be more. Does nothing to a database that was made before the relay
/// asked for that: its free pages are used again. A server looks after its pages itself.
#[cfg_attr(not(feature = "postgres"), allow(clippy::infallible_destructuring_match))]
fn shrink(db: &Db) -> Result<bool, StoreError> {
    let db = match db {
        Db::Sqlite(db) => db,
        #[cfg(feature = "postgres")]
        Db::Postgres(_) => return Ok(false),
    };
    let free = db.query_row("PRAGMA freelist_count", [], |row| row.get::<_, i64>(0))?;
    let incremental = 2;
    if free <= FREE_PAGES || db.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0))? != incremental {
        return Ok(false);
    }
    let mut vacuum = db.prepare(&format!("PRAGMA incremental_vacuum({SHRINK_PAGES})"))?;
    let mut rows = vacuum.query([])?;
    // One row for each page.
    while rows.next()?.is_some() {}
    Ok(true)
}

/// Whether a checkpoint of the space may still take effect.
pub(super) fn has_waiting(db: &Db, space_no: i64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM checkpoint WHERE space = ?1 AND effective_ms IS NULL AND is_superseded = 0";
    db.exists(sql, [space_no])
}

/// Takes in the checkpoints among new records, and ends the grace of those that do not stand well any more: in the
/// same transaction, so that an objection is never overtaken.
pub(super) fn note_records(
    db: &Db,
    space_no: i64,
    checkpoints: &[RecordId],
    view: Option<&View>,
    now_ms: u64,
) -> Result<(), StoreError> {
    db.execute_each(
        "INSERT INTO checkpoint (space, id, came_ms) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        checkpoints.iter().map(|id| (space_no, id.as_ref(), signed(now_ms))),
    )?;
    if !has_waiting(db, space_no)? {
        return Ok(());
    }
    if let Some(view) = view {
        let sql = "SELECT id FROM checkpoint WHERE space = ?1 AND since_ms IS NOT NULL AND effective_ms IS NULL";
        let waiting = db.all(sql, [space_no], |row| Ok(RecordId(row.id::<32>(0)?)))?;
        for id in waiting.iter().filter(|id| !view.stands(id)) {
            let sql = "UPDATE checkpoint SET since_ms = NULL WHERE space = ?1 AND id = ?2";
            db.execute(sql, (space_no, id.as_ref()))?;
        }
    }
    db.execute("UPDATE space SET look_ms = 0 WHERE no = ?1", [space_no])?;
    Ok(())
}

/// What is known here of a checkpoint beside its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) checkpoint: RecordId,
    /// When the record came (ms UTC).
    pub(crate) came_ms: u64,
    /// Since when it is complete, endorsed and not objected to.
    pub(crate) since_ms: Option<u64>,
    /// It has taken effect.
    pub(crate) is_effective: bool,
    /// One that continues it has.
    pub(crate) is_superseded: bool,
}

/// All checkpoints of a space whose record is here.
pub(super) fn progress(db: &Db, space_no: i64) -> Result<Vec<Progress>, StoreError> {
    let sql = "SELECT id, came_ms, since_ms, effective_ms IS NOT NULL, is_superseded FROM checkpoint
               WHERE space = ?1 ORDER BY id";
    db.all(sql, [space_no], |row| {
        Ok(Progress {
            checkpoint: RecordId(row.id::<32>(0)?),
            came_ms: row.unsigned(1)?,
            since_ms: row.get::<Option<i64>>(2)?.map(|ms| ms.try_into().unwrap_or(0)),
            is_effective: row.get(3)?,
            is_superseded: row.get(4)?,
        })
    })
}
