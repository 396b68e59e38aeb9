//! What a device remembers of checkpoints besides their records: which it compared, and since when one is endorsed or due.

use std::collections::BTreeSet;

use lifeos_sync_protocol::ids::{RecordId, SignPk, SpaceId};
use rusqlite::Connection;

use super::{Reads, Store, StoreError, schema};

fn compared_key(space: &SpaceId, checkpoint: &RecordId) -> String {
    format!("compared:{space}:{checkpoint}")
}

fn endorsed_key(space: &SpaceId, checkpoint: &RecordId) -> String {
    format!("endorsed:{space}:{checkpoint}")
}

fn due_key(space: &SpaceId) -> String {
    format!("checkpoint-due:{space}")
}

/// The time kept under a key (ms UTC), or `now_ms` from now on. A clock that was set back begins anew.
fn since(conn: &Connection, key: &str, now_ms: i64) -> Result<i64, StoreError> {
    let known = schema::meta(conn, key)?.and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
    if let Some(since_ms) = known.filter(|since_ms| *since_ms <= now_ms) {
        return Ok(since_ms);
    }
    schema::put_meta(conn, key, &now_ms.to_be_bytes())?;
    Ok(now_ms)
}

impl Store {
    /// Whether this device compared a checkpoint with what it holds and found nothing wrong.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_compared(&self, space: &SpaceId, checkpoint: &RecordId) -> Result<bool, StoreError> {
        Ok(schema::meta(&self.conn, &compared_key(space, checkpoint))?.is_some())
    }

    /// This device compared a checkpoint and found nothing wrong.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_compared(&mut self, space: &SpaceId, checkpoint: &RecordId) -> Result<(), StoreError> {
        schema::put_meta(&self.conn, &compared_key(space, checkpoint), &[1])
    }

    /// Since when a checkpoint is endorsed, by this device's clock (ms UTC); one that is not, or not any more, begins
    /// anew when it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn endorsed_since(
        &mut self,
        space: &SpaceId,
        checkpoint: &RecordId,
        is_endorsed: bool,
        now_ms: i64,
    ) -> Result<Option<i64>, StoreError> {
        let key = endorsed_key(space, checkpoint);
        if is_endorsed {
            return since(&self.conn, &key, now_ms).map(Some);
        }
        if schema::meta(&self.conn, &key)?.is_some() {
            schema::remove_meta(&self.conn, &key)?;
        }
        Ok(None)
    }

    /// Since when a checkpoint is due (ms UTC); [`Self::checkpoint_is_made`] ends it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn due_since(&self, space: &SpaceId, now_ms: i64) -> Result<i64, StoreError> {
        since(&self.conn, &due_key(space), now_ms)
    }

    /// None is due any more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn checkpoint_is_made(&self, space: &SpaceId) -> Result<(), StoreError> {
        schema::remove_meta(&self.conn, &due_key(space))
    }
}

impl Reads<'_> {
    /// Since when a checkpoint is endorsed, as far as this device has noticed (ms UTC).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn endorsed_ms(&self, space: &SpaceId, checkpoint: &RecordId) -> Result<Option<i64>, StoreError> {
        let known = schema::meta(self.conn, &endorsed_key(space, checkpoint))?;
        Ok(known.and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes))
    }

    /// Devices that were heard of since (ms UTC), by a receipt or an envelope.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn heard_devices(&self, space: &SpaceId, since_ms: i64) -> Result<BTreeSet<SignPk>, StoreError> {
        let sql = "SELECT device FROM receipt WHERE space = ?1 AND heard_ms >= ?2";
        let found = self.all(sql, (self.space_row(space)?, since_ms), |row| Ok(SignPk(row.get(0)?)))?;
        Ok(found.into_iter().collect())
    }
}
