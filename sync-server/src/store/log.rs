//! The log of one space as the writer thread sees it: tips, position, rolling hash, and the rules by which a
//! run of envelopes continues a stream.

use std::collections::HashMap;

use super::db::{Db, Row};
use super::{Run, Sealed, StoreError, position_key};
use lifeos_sync_protocol::frame::PushStatus;
use lifeos_sync_protocol::ids::{EnvelopeId, Roll, SignPk, StreamId};
use lifeos_sync_protocol::membership::StreamPoint;

/// Where a log ends, and what it holds. Written back to `space` once per commit.
#[derive(Debug, Clone)]
pub(super) struct Log {
    pub(super) space_no: i64,
    pub(super) next_pos: u64,
    pub(super) roll: Roll,
    /// From here on there are no holes.
    pub(super) first_pos: u64,
    /// The rolling hash there.
    pub(super) first_roll: Roll,
    /// Bytes of envelopes and objects.
    pub(super) bytes: u64,
    /// Envelopes in the log.
    pub(super) envelopes: u64,
    /// Objects outside it.
    pub(super) objects: u64,
    /// What each device's streams hold, and the objects that it brought.
    pub(super) used: HashMap<SignPk, Used>,
    pub(super) streams: HashMap<StreamId, Tip>,
    /// A checkpoint may still take effect.
    pub(super) has_waiting: bool,
    /// Devices of the space may wish to be woken.
    pub(super) has_targets: bool,
    /// When what was stored calls for a look at the space.
    pub(super) look_ms: Option<u64>,
    pub(super) dirty: bool,
    /// Of what is remembered here, where other relays write too.
    pub(super) version: i64,
}

/// Envelopes and objects, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Used {
    pub(super) bytes: u64,
    pub(super) envelopes: u64,
    pub(super) objects: u64,
}

impl Used {
    pub(super) const fn with(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            envelopes: self.envelopes + other.envelopes,
            objects: self.objects + other.objects,
        }
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(other.bytes),
            envelopes: self.envelopes.saturating_sub(other.envelopes),
            objects: self.objects.saturating_sub(other.objects),
        }
    }

    /// Whether so much and `more` is within limits of which 0 is none.
    pub(super) const fn fits(self, more: Self, bytes_max: u64, envelopes_max: u64) -> bool {
        let both = self.with(more);
        (bytes_max == 0 || both.bytes <= bytes_max) && (envelopes_max == 0 || both.envelopes <= envelopes_max)
    }
}

/// The last envelope of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tip {
    pub(super) no: i64,
    pub(super) seq: u32,
    pub(super) id: EnvelopeId,
    /// What is at or below it is in a checkpoint.
    pub(super) floor: StreamPoint,
    pub(super) used: Used,
    pub(super) dirty: bool,
}

/// What to do with the envelope of a run that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Stored already.
    Dup {
        /// Where; nothing below the floor.
        pos: Option<u64>,
    },
    /// It continues the tip, and the rest of the run continues it.
    Append,
    /// Neither it nor the rest of the run can be stored.
    Refuse(PushStatus),
}

impl Log {
    /// Loads a log's end and checks that the log really ends there: a damaged write-ahead log can lose whole
    /// commits and still pass SQLite's own checks.
    pub(super) fn load(db: &Db, space_no: i64) -> Result<Self, StoreError> {
        let sql = "SELECT next_pos, roll, bytes, envelopes, first_pos, first_roll FROM space WHERE no = ?1";
        let mut log = db.one(sql, [space_no], |row| {
            Ok(Self {
                space_no,
                next_pos: row.unsigned(0)?,
                roll: Roll(row.id::<16>(1)?),
                bytes: row.unsigned(2)?,
                envelopes: row.unsigned(3)?,
                first_pos: row.unsigned(4)?,
                first_roll: Roll(row.id::<16>(5)?),
                objects: 0,
                used: HashMap::new(),
                streams: HashMap::new(),
                has_waiting: false,
                has_targets: false,
                look_ms: None,
                dirty: false,
                version: 0,
            })
        })?;
        check_end(db, space_no, log.next_pos, &log.roll)?;
        log.used = load_used(db, space_no)?;
        log.objects = log.used.values().map(|used| used.objects).sum();
        log.has_waiting = super::prune::has_waiting(db, space_no)?;
        log.has_targets = super::wakeup::has_targets(db, space_no)?;
        Ok(log)
    }

    /// What the space holds.
    pub(super) const fn held(&self) -> Used {
        Used { bytes: self.bytes, envelopes: self.envelopes, objects: self.objects }
    }

    /// What these devices' streams and objects take together.
    pub(super) fn held_by(&self, devices: &[SignPk]) -> Used {
        devices.iter().filter_map(|device| self.used.get(device)).fold(Used::default(), |sum, used| sum.with(*used))
    }

    /// Counts an object that a device brought.
    pub(super) fn book_object(&mut self, device: &SignPk, more: Used) {
        let used = self.used.entry(*device).or_default();
        *used = used.with(more);
        self.bytes += more.bytes;
        self.objects += more.objects;
        self.dirty = true;
    }

    /// Counts no more what is deleted: of a device's stream, which must have been looked up, or of its objects.
    pub(super) fn give_back(&mut self, device: &SignPk, stream: Option<&StreamId>, part: Used) {
        if let Some(used) = self.used.get_mut(device) {
            *used = used.without(part);
        }
        if let Some(tip) = stream.and_then(|stream| self.streams.get_mut(stream)) {
            tip.used = tip.used.without(part);
            tip.dirty = true;
        }
        let held = self.held().without(part);
        (self.bytes, self.envelopes, self.objects) = (held.bytes, held.envelopes, held.objects);
        self.dirty = true;
    }

    /// A stream has a floor, or a higher one.
    pub(super) fn raise(&mut self, stream: &StreamId, floor: StreamPoint) {
        if let Some(tip) = self.streams.get_mut(stream) {
            tip.floor = floor;
        }
    }

    /// Something was stored that matters to checkpoints, or will at this time.
    pub(super) fn call_for_look(&mut self, ms: u64) {
        self.look_ms = Some(self.look_ms.map_or(ms, |before| before.min(ms)));
    }

    /// The tip of a stream, if the stream is stored.
    pub(super) fn tip(&mut self, db: &Db, stream: &StreamId) -> Result<Option<Tip>, StoreError> {
        if let Some(tip) = self.streams.get(stream) {
            return Ok(Some(*tip));
        }
        let stored = load_tip(db, self.space_no, stream)?;
        if let Some(tip) = stored {
            self.streams.insert(*stream, tip);
        }
        Ok(stored)
    }

    /// Writes the log's end and its streams' tips back.
    pub(super) fn save(&mut self, db: &Db) -> Result<(), StoreError> {
        if let Some(look_ms) = self.look_ms.take() {
            let sql = "UPDATE space SET look_ms = CASE WHEN look_ms < ?2 THEN look_ms ELSE ?2 END WHERE no = ?1";
            db.execute(sql, (self.space_no, signed(look_ms)))?;
        }
        if !self.dirty {
            return Ok(());
        }
        let end = (signed(self.next_pos), self.roll.as_ref(), signed(self.bytes), signed(self.envelopes));
        db.execute(
            "UPDATE space SET next_pos = ?2, roll = ?3, bytes = ?4, envelopes = ?5 WHERE no = ?1",
            (self.space_no, end.0, end.1, end.2, end.3),
        )?;
        db.execute_each(
            "UPDATE stream SET tip_seq = ?2, tip_id = ?3, bytes = ?4, envelopes = ?5 WHERE no = ?1",
            self.streams.values().filter(|tip| tip.dirty).map(|tip| {
                let Used { bytes, envelopes, .. } = tip.used;
                (tip.no, tip.seq, tip.id.as_ref(), signed(bytes), signed(envelopes))
            }),
        )?;
        self.streams.values_mut().for_each(|tip| tip.dirty = false);
        self.dirty = false;
        Ok(())
    }
}

/// What each device's streams and objects take.
fn load_used(db: &Db, space_no: i64) -> Result<HashMap<SignPk, Used>, StoreError> {
    let mut used: HashMap<SignPk, Used> = HashMap::new();
    let sql = "SELECT device, CAST(sum(bytes) AS BIGINT), CAST(sum(envelopes) AS BIGINT), 0 FROM stream
               WHERE space = ?1 GROUP BY device
               UNION ALL SELECT device, bytes, 0, objects FROM object_use WHERE space = ?1";
    db.each(sql, [space_no], |row| {
        let more = Used { bytes: row.unsigned(1)?, envelopes: row.unsigned(2)?, objects: row.unsigned(3)? };
        let device = used.entry(SignPk(row.id::<32>(0)?)).or_default();
        *device = device.with(more);
        Ok(true)
    })?;
    Ok(used)
}

/// Decides about one envelope of a run from its stream's tip.
pub(super) fn step(db: &Db, space_no: i64, tip: Option<Tip>, run: &Run, envelope: &Sealed) -> Result<Step, StoreError> {
    let Sealed { seq, prev, id, .. } = envelope;
    let Some(tip) = tip else {
        let begins = run.begins.map_or(0, |floor| floor.seq);
        let first = Step::Refuse(PushStatus::Gap { expected: 1 });
        return Ok(if *seq == 1 || begins.checked_add(1) == Some(*seq) { Step::Append } else { first });
    };
    if *seq <= tip.floor.seq {
        return Ok(below(&tip, run));
    }
    if *seq <= tip.seq {
        return Ok(match stored_at(db, space_no, tip.no, *seq)? {
            Some((pos, stored)) if stored == *id => Step::Dup { pos: Some(pos) },
            Some((_, existing)) => Step::Refuse(PushStatus::Fork { existing }),
            // Above the floor and not there: damage. Nothing to compare with, nothing to store.
            None => Step::Refuse(PushStatus::Fork { existing: tip.id }),
        });
    }
    let expected = tip.seq.saturating_add(1);
    Ok(match () {
        () if *seq != expected => Step::Refuse(PushStatus::Gap { expected }),
        () if prev != tip.id.as_bytes() => Step::Refuse(PushStatus::Fork { existing: tip.id }),
        () => Step::Append,
    })
}

/// What lies below the floor is held as part of a checkpoint if it leads to the envelope there. Of what ends before it
/// nobody here knows which branch it is of: saying that it is held could lose it.
fn below(tip: &Tip, run: &Run) -> Step {
    match run.envelopes.iter().find(|envelope| envelope.seq == tip.floor.seq) {
        Some(at) if at.id == tip.floor.id => Step::Dup { pos: None },
        Some(_) => Step::Refuse(PushStatus::Fork { existing: tip.floor.id }),
        None => Step::Refuse(PushStatus::Gap { expected: tip.floor.seq.saturating_add(1) }),
    }
}

/// The tip of a stream as the database has it.
pub(super) fn load_tip(db: &Db, space_no: i64, stream: &StreamId) -> Result<Option<Tip>, StoreError> {
    let sql = "SELECT no, tip_seq, tip_id, bytes, envelopes, floor, floor_id FROM stream WHERE space = ?1 AND id = ?2";
    db.first(sql, (space_no, stream.as_ref()), |row| {
        let floor = match row.get(5)? {
            0 => StreamPoint::START,
            seq => StreamPoint { seq, id: EnvelopeId(row.id::<32>(6)?) },
        };
        let used = Used { bytes: row.unsigned(3)?, envelopes: row.unsigned(4)?, objects: 0 };
        Ok(Tip { no: row.get(0)?, seq: row.get(1)?, id: EnvelopeId(row.id::<32>(2)?), floor, used, dirty: false })
    })
}

fn stored_at(db: &Db, space_no: i64, stream_no: i64, seq: u32) -> Result<Option<(u64, EnvelopeId)>, StoreError> {
    let Some(run) = run_of(db, stream_no, seq)? else { return Ok(None) };
    let pos = run.pos + u64::from(seq - run.seq);
    let key = [position_key(space_no, pos)];
    db.first("SELECT id FROM envelope WHERE key = ?1", key, |row| Ok((pos, EnvelopeId(row.id::<32>(0)?))))
}

/// Envelopes of one stream that lie side by side in the log, the last one at a verified end.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredRun {
    /// Sequence of the first.
    pub(super) seq: u32,
    /// Position of the first.
    pub(super) pos: u64,
    pub(super) count: u32,
}

impl StoredRun {
    /// From the columns `seq`, `pos`, `count`.
    pub(super) fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self { seq: row.get(0)?, pos: row.unsigned(1)?, count: row.get(2)? })
    }
}

/// The run that holds an envelope.
pub(super) fn run_of(db: &Db, stream_no: i64, seq: u32) -> Result<Option<StoredRun>, StoreError> {
    let sql = "SELECT seq, pos, count FROM run WHERE stream = ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT 1";
    let run = db.first(sql, (stream_no, seq), StoredRun::read)?;
    Ok(run.filter(|run| seq - run.seq < run.count))
}

/// Where a log begins to be without holes, and its rolling hash there.
pub(super) fn first(db: &Db, space_no: i64) -> Result<(u64, Roll), StoreError> {
    let sql = "SELECT first_pos, first_roll FROM space WHERE no = ?1";
    db.one(sql, [space_no], |row| Ok((row.unsigned(0)?, Roll(row.id::<16>(1)?))))
}

/// Compares where a space says its log ends with the log itself.
pub(super) fn check_end(db: &Db, space_no: i64, next_pos: u64, roll: &Roll) -> Result<(), StoreError> {
    let (first_pos, first_roll) = first(db, space_no)?;
    let sql = "SELECT key, roll FROM envelope WHERE key >= ?1 AND key < ?2 ORDER BY key DESC LIMIT 1";
    let range = (position_key(space_no, first_pos), position_key(space_no + 1, 0));
    let last = db.first(sql, range, |row| Ok((super::position_of(row.get(0)?), Roll(row.id::<16>(1)?))))?;
    let last = last.unwrap_or((first_pos - 1, first_roll));
    if last == (next_pos - 1, *roll) {
        return Ok(());
    }
    tracing::error!(space_no, next_pos, found = last.0 + 1, "the log of a space does not end where it should");
    Err(StoreError::Corrupt)
}

/// Integers of databases are signed; none of ours comes near the sign.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
