//! What the processes of this home do in the background, for whoever asks in another one, until when they are not to, and
//! what they are asked to fetch first.
//!
//! Nothing of it is durable at once: what is told is worth nothing once its process is gone.
//!
//! ```text
//! jobs/<teller>  u64 when (ms UTC) ‖ what runs: the engine's business
//! jobs-paused    i64 until when (ms UTC)
//! awaited/<space> ids of documents, 16 bytes each
//! ```

use lifeos_sync_protocol::ids::{DocId, SpaceId};

use super::{Reads, Store, StoreError, schema};

const PAUSED: &str = "jobs-paused";
/// Every key of what is told lies between these.
const TOLD: (&str, &str) = ("jobs/", "jobs0");

impl Store {
    /// Tells other processes what this one does; `None`: nothing. What nobody has told for `stale_ms` goes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tell_jobs(
        &mut self,
        teller: &str,
        told: Option<&[u8]>,
        (now_ms, stale_ms): (i64, i64),
    ) -> Result<(), StoreError> {
        let key = format!("{}{teller}", TOLD.0);
        self.lazily(|conn| {
            let sql = "DELETE FROM meta WHERE key BETWEEN ?1 AND ?2 AND substr(value, 1, 8) < ?3";
            let oldest = now_ms.saturating_sub(stale_ms).max(0).to_be_bytes();
            conn.prepare_cached(sql)?.execute((TOLD.0, TOLD.1, oldest))?;
            match told {
                Some(told) => schema::put_meta(conn, &key, &[&now_ms.max(0).to_be_bytes(), told].concat()),
                None => schema::remove_meta(conn, &key),
            }
        })
    }

    /// Until when (ms UTC) no background work is to be done; `None`: it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pause_jobs(&mut self, until_ms: Option<i64>) -> Result<(), StoreError> {
        match until_ms {
            Some(until_ms) => schema::put_meta(&self.conn, PAUSED, &until_ms.to_be_bytes()),
            None => schema::remove_meta(&self.conn, PAUSED),
        }
    }
}

fn awaited_key(space: &SpaceId) -> String {
    format!("awaited/{space}")
}

impl Store {
    /// Keeps which documents somebody waits for while a checkpoint is taken in.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_awaited(&mut self, space: &SpaceId, docs: &[DocId]) -> Result<(), StoreError> {
        let ids: Vec<u8> = docs.iter().flat_map(|doc| doc.0).collect();
        self.lazily(|conn| schema::put_meta(conn, &awaited_key(space), &ids))
    }
}

impl Reads<'_> {
    /// Documents that somebody waited for, held by now or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn awaited(&self, space: &SpaceId) -> Result<Vec<DocId>, StoreError> {
        let ids = self.meta(&awaited_key(space))?.unwrap_or_default();
        Ok(ids.as_chunks::<16>().0.iter().copied().map(DocId).collect())
    }

    /// What processes told, by teller: when (u64, ms UTC), and what.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn told_jobs(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let sql = "SELECT substr(key, 1 + length(?1)), value FROM meta WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
        self.all(sql, TOLD, |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// What [`Store::pause_jobs`] was told (ms UTC).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn jobs_paused_ms(&self) -> Result<Option<i64>, StoreError> {
        let kept = self.meta(PAUSED)?;
        Ok(kept.and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes))
    }
}
