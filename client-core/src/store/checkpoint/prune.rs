//! Forgetting envelopes that an effective checkpoint stands for.

use lifeos_sync_protocol::ids::SpaceId;
use lifeos_sync_protocol::record::Floor;
use rusqlite::Connection;

use super::super::erase::{ERASED, NOT_ENTITLED};
use super::super::records::find_space;
use super::super::{Reads, Store, StoreError, begin, seal};
use super::{StreamState, id_at, streams};

/// Envelopes forgotten in one commit.
const BATCH: i64 = 500;

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Envelopes.
    pub envelopes: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Store {
    /// Forgets envelopes up to these floors ([`Self::prune_some`]), all of them.
    ///
    /// # Errors
    /// [`StoreError`]; called again it goes on.
    pub fn prune_below(&mut self, space: &SpaceId, floors: &[Floor]) -> Result<Pruned, StoreError> {
        let mut all = Pruned::default();
        loop {
            let (pruned, left) = self.prune_some(space, floors)?;
            all.envelopes += pruned.envelopes;
            all.bytes += pruned.bytes;
            if left == 0 {
                return Ok(all);
            }
        }
    }

    /// Forgets some envelopes up to these floors, own ones too, in commits of a bounded number, and gives how many may be
    /// left. A stream of which less is held, or another envelope at its floor, is left alone; so are envelopes that are set
    /// aside or have changes that wait, because nobody here knows what they say; but late edits of documents that were
    /// erased go, and erasures that were not their author's to make.
    ///
    /// # Errors
    /// [`StoreError`]; called again it goes on.
    pub fn prune_some(&mut self, space: &SpaceId, floors: &[Floor]) -> Result<(Pruned, u64), StoreError> {
        let (mut pruned, mut left, mut is_full) = (Pruned::default(), 0, false);
        let row = find_space(&self.conn, space)?.row;
        let known = streams(&self.conn, row)?;
        for floor in floors {
            let Some(known) = known.iter().find(|known| known.stream == floor.stream && known.seq >= floor.seq) else {
                continue;
            };
            if floor.seq < known.floor || id_at(&self.conn, known, floor.seq)? != Some(floor.id) {
                continue;
            }
            if is_full {
                left += held_through(&self.conn, known, floor.seq)?;
                continue;
            }
            self.raise_floor(known, floor)?;
            is_full = prune_batch(self, row, known, floor.seq, &mut pruned)?;
            if is_full {
                left += held_through(&self.conn, known, floor.seq)?.max(1);
            }
        }
        Ok((pruned, left))
    }

    fn raise_floor(&mut self, known: &StreamState, floor: &Floor) -> Result<(), StoreError> {
        let sql = "UPDATE stream SET floor = ?2, floor_id = ?3, r32 = coalesce(r32, ?4) WHERE id = ?1 AND floor < ?2";
        self.conn.prepare_cached(sql)?.execute((known.row, floor.seq, floor.id.as_ref(), floor.r32))?;
        Ok(())
    }
}

/// One commit; tells whether there may be more.
fn prune_batch(
    store: &mut Store,
    space: i64,
    known: &StreamState,
    through: u32,
    pruned: &mut Pruned,
) -> Result<bool, StoreError> {
    let transaction = begin(&store.conn)?;
    let found = prunable(&transaction, space, known, through)?;
    let late = "DELETE FROM quarantine WHERE space = ?1 AND reason IN (?2, ?4)
                AND envelope = (SELECT envelope FROM envelope WHERE position = ?3)";
    let mut delete = transaction.prepare_cached("DELETE FROM envelope WHERE position = ?1")?;
    for (position, bytes) in &found {
        transaction.prepare_cached(late)?.execute((space, ERASED, position, NOT_ENTITLED))?;
        delete.execute([position])?;
        pruned.envelopes += 1;
        pruned.bytes += bytes;
    }
    drop(delete);
    transaction.commit()?;
    Ok(i64::try_from(found.len()).unwrap_or(0) == BATCH)
}

/// Envelopes of a stream that are held up to a place.
fn held_through(conn: &Connection, known: &StreamState, through: u32) -> Result<u64, StoreError> {
    let sql = "SELECT count(*) FROM envelope WHERE position BETWEEN ?1 AND ?2";
    Reads { conn }.count(sql, (seal::position(known.row, 1), seal::position(known.row, through)))
}

fn prunable(conn: &Connection, space: i64, known: &StreamState, through: u32) -> Result<Vec<(i64, u64)>, StoreError> {
    let sql = "SELECT e.position, length(e.bytes) FROM envelope e WHERE e.position BETWEEN ?1 AND ?2
               AND NOT EXISTS (SELECT 1 FROM quarantine q
                               WHERE q.space = ?3 AND q.envelope = e.envelope AND q.reason NOT IN (?5, ?6))
               AND NOT EXISTS (SELECT 1 FROM waiting w WHERE w.space = ?3 AND w.envelope = e.envelope)
               ORDER BY e.position LIMIT ?4";
    let range = (seal::position(known.row, 1), seal::position(known.row, through), space, BATCH, ERASED, NOT_ENTITLED);
    Reads { conn }.all(sql, range, |row| Ok((row.get(0)?, u64::from(row.get::<_, u32>(1)?))))
}
