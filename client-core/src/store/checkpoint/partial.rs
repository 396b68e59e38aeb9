//! The first bytes of objects that are being fetched: who is cut off goes on behind them. Nobody has looked at them, and
//! only the whole object's id says whether they are right.

use std::collections::BTreeSet;

use lifeos_sync_protocol::envelope::OVERHEAD_BYTES;
use lifeos_sync_protocol::ids::{EnvelopeId, SpaceId};
use lifeos_sync_protocol::limits::CHUNK_CT_BYTES_MAX;

use super::super::records::find_space;
use super::super::{Reads, Store, StoreError, begin, schema};

/// Objects of a space of which a part is kept: those that one connection fetches, and as many of another one.
const PARTIALS_MAX: usize = 4;

/// Where the keys of a space's begin and end.
fn keys(space: &SpaceId) -> (String, String) {
    // The character behind the colon ends the range of keys that begin so.
    (format!("partial:{space}:"), format!("partial:{space};"))
}

fn key(space: &SpaceId, id: &EnvelopeId) -> String {
    format!("{}{id}", keys(space).0)
}

impl Store {
    /// The first bytes of an object, as far as they were fetched.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn partial(&self, space: &SpaceId, id: &EnvelopeId) -> Result<Vec<u8>, StoreError> {
        Ok(schema::meta(&self.conn, &key(space, id))?.unwrap_or_default())
    }

    /// Keeps bytes of an object that follow those kept before; what does not follow them is passed over. Without bytes
    /// at 0 nothing is kept of it any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_partial(
        &mut self,
        space: &SpaceId,
        id: &EnvelopeId,
        from: u32,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let key = key(space, id);
        let mut kept = schema::meta(&self.conn, &key)?.unwrap_or_default();
        if bytes.is_empty() {
            return if from == 0 && !kept.is_empty() { schema::remove_meta(&self.conn, &key) } else { Ok(()) };
        }
        let is_next = usize::try_from(from) == Ok(kept.len());
        if !is_next || kept.len() + bytes.len() > CHUNK_CT_BYTES_MAX + OVERHEAD_BYTES {
            return Ok(());
        }
        kept.extend_from_slice(bytes);
        let transaction = begin(&self.conn)?;
        let sql = "DELETE FROM meta WHERE key IN (SELECT key FROM meta WHERE key > ?1 AND key < ?2 AND key <> ?3
                       ORDER BY length(value) DESC LIMIT -1 OFFSET ?4)";
        let ((first, last), most) = (keys(space), i64::try_from(PARTIALS_MAX - 1).unwrap_or(0));
        transaction.prepare_cached(sql)?.execute((&first, &last, &key, most))?;
        schema::put_meta(&transaction, &key, &kept)?;
        Ok(transaction.commit()?)
    }

    /// Drops the first bytes of objects that are not wanted any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn sweep_partials(&mut self, space: &SpaceId) -> Result<(), StoreError> {
        let (row, (first, last)) = (find_space(&self.conn, space)?.row, keys(space));
        let sql = "SELECT key FROM meta WHERE key > ?1 AND key < ?2";
        let held: Vec<String> = self.reads().all(sql, (&first, &last), |row| row.get(0))?;
        if held.is_empty() {
            return Ok(());
        }
        let sql = "SELECT object FROM bootstrap WHERE space = ?1 AND taken = 0";
        let chunks: Vec<EnvelopeId> = Reads { conn: &self.conn }.all(sql, [row], |row| Ok(EnvelopeId(row.get(0)?)))?;
        let parts = self.reads().wanted_parts(space, usize::MAX)?;
        let wanted: BTreeSet<String> = chunks.iter().chain(&parts).map(|id| key(space, id)).collect();
        held.iter().filter(|held| !wanted.contains(*held)).try_for_each(|held| schema::remove_meta(&self.conn, held))
    }
}
