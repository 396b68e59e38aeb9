//! Whether it is time for a checkpoint.

use lifeos_sync_protocol::ids::SpaceId;
use rusqlite::Connection;

use super::super::erase::{BEHIND, ERASED, NOT_ENTITLED};
use super::super::records::find_space;
use super::super::{Reads, Store, StoreError, seal};
use super::{StreamState, streams};

/// Bytes of envelopes since the last checkpoint that are never a reason for another.
const BYTES_MIN: u64 = 256 * 1024;
/// They are one when they are so many times the bytes of the chunks.
const CHUNKS_FACTOR: u64 = 4;
/// So many envelopes are one whatever they weigh: a joining device reads them one by one.
const ENVELOPES_MAX: u64 = 2_000;
/// A checkpoint gets old if anything came after it.
const AGE_MS_MAX: i64 = 14 * 24 * 3_600_000;

/// Why a checkpoint is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The envelopes since the last one take far more room than what they came to.
    Bytes,
    /// There are too many envelopes since the last one.
    Envelopes,
    /// The last one is old.
    Age,
    /// A document was erased, and checkpoints and envelopes hold what it was.
    Erasure,
}

/// Envelopes that no checkpoint made or compared here stands for: from and to which position, of each stream.
struct Loose(Vec<(i64, i64)>);

impl Store {
    /// Whether a checkpoint is due. Not while this device has itself not looked at all that it was given, nor while a
    /// chunk is still to come. Costs a look at the size of every envelope since the last checkpoint, as long as their number
    /// is no reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint_due(&self, space: &SpaceId, now_ms: i64) -> Result<Option<Due>, StoreError> {
        let row = find_space(&self.conn, space)?.row;
        if !may_vouch(&self.conn, row)? {
            return Ok(None);
        }
        let loose = Loose::since_cut(&self.conn, row)?;
        let cut_ms: Option<i64> =
            self.reads().one("SELECT cut_ms FROM space WHERE id = ?1", [row], |row| row.get(0))?.flatten();
        let erased = format!("SELECT count(*) FROM erased e {BEHIND}");
        Ok(if self.reads().count(&erased, [row])? > 0 {
            Some(Due::Erasure)
        } else if loose.envelopes() > ENVELOPES_MAX {
            Some(Due::Envelopes)
        } else if loose.bytes(&self.conn)? > BYTES_MIN.max(CHUNKS_FACTOR * self.live_bytes(row)?) {
            Some(Due::Bytes)
        } else if loose.envelopes() > 0 && cut_ms.is_some_and(|cut_ms| now_ms.saturating_sub(cut_ms) > AGE_MS_MAX) {
            Some(Due::Age)
        } else {
            None
        })
    }

    /// Bytes of the chunks of the newest checkpoint.
    fn live_bytes(&self, space: i64) -> Result<u64, StoreError> {
        let sql =
            "SELECT coalesce(sum(length(o.bytes)), 0) FROM live l JOIN object o ON o.id = l.object WHERE l.space = ?1";
        self.reads().count(sql, [space])
    }
}

/// Whether this device knows what its documents hold: nothing waits to be looked at, and none is missing. (`+space` keeps
/// SQLite from looking through all documents of the space instead of those few that are unverified.)
pub(super) fn may_vouch(conn: &Connection, space: i64) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM bootstrap WHERE space = ?1)
               OR EXISTS (SELECT 1 FROM damaged WHERE space = ?1)
               OR EXISTS (SELECT 1 FROM document WHERE unverified <> 0 AND +space = ?1)";
    Ok(!conn.prepare_cached(sql)?.query_row([space], |row| row.get::<_, bool>(0))?)
}

impl Loose {
    fn since_cut(conn: &Connection, space: i64) -> Result<Self, StoreError> {
        let mut ranges = Vec::new();
        let sql = "SELECT cut_seq FROM stream WHERE id = ?1";
        for known in streams(conn, space)? {
            let cut: u32 = Reads { conn }.one(sql, [known.row], |row| row.get(0))?.unwrap_or(0);
            let (from, to) = (cut.max(known.floor), cut_of(conn, space, &known)?);
            if to > from {
                ranges.push((seal::position(known.row, from + 1), seal::position(known.row, to)));
            }
        }
        Ok(Self(ranges))
    }

    /// How many: above its floor a stream has no holes.
    fn envelopes(&self) -> u64 {
        self.0.iter().map(|(from, to)| to.abs_diff(*from) + 1).sum()
    }

    fn bytes(&self, conn: &Connection) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(sum(length(bytes)), 0) FROM envelope WHERE position BETWEEN ?1 AND ?2";
        self.0.iter().map(|range| Reads { conn }.count(sql, *range)).sum()
    }
}

/// How far a stream can be cut: before its first envelope that is set aside, or has a change that waits.
pub(super) fn cut_of(conn: &Connection, space: i64, known: &StreamState) -> Result<u32, StoreError> {
    let reads = Reads { conn };
    // A late edit of a document that was erased never counts, and neither does an erasure that was not its author's to
    // make: nothing waits for them.
    let aside = "SELECT min(seq) FROM quarantine
                 WHERE space = ?1 AND stream = ?2 AND bytes IS NULL AND seq > ?3 AND reason NOT IN (?4, ?5)";
    let of = (space, known.stream.as_ref(), known.floor, ERASED, NOT_ENTITLED);
    let aside: Option<u32> = reads.one(aside, of, |row| row.get(0))?.flatten();
    let waits = "SELECT DISTINCT envelope FROM waiting WHERE space = ?1 AND stream = ?2";
    let waits: Vec<[u8; 32]> = reads.all(waits, (space, known.stream.as_ref()), |row| row.get(0))?;
    let mut first = aside.unwrap_or(u32::MAX);
    for envelope in waits {
        let sql = "SELECT min(position) FROM envelope WHERE position BETWEEN ?1 AND ?2 AND envelope = ?3";
        let range = (seal::position(known.row, known.floor + 1), seal::position(known.row, known.seq), envelope);
        let position: Option<i64> = reads.one(sql, range, |row| row.get(0))?.flatten();
        let seq = position.and_then(|position| u32::try_from(position & i64::from(u32::MAX)).ok());
        first = first.min(seq.unwrap_or(u32::MAX));
    }
    Ok(known.end().min(first.saturating_sub(1)).max(known.floor))
}
