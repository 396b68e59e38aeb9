//! Chunks and blob parts that are held, by their ids.

use lifeos_sync_protocol::envelope::{Envelope, HEADER_BYTES, Header, Kind};
use lifeos_sync_protocol::ids::{EnvelopeId, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use rusqlite::Connection;

use super::super::records::find_space;
use super::super::{Reads, RelayId, Store, StoreError, begin};
use crate::envelope::{RefusedEnvelope, VerifiedObject, verify_kept_object};

/// An object that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptObject {
    /// Which.
    pub id: EnvelopeId,
    /// Bytes as sent.
    pub bytes: u64,
}

impl Store {
    /// The bytes of an object; `None`: it is not held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn object(&self, space: &SpaceId, id: &EnvelopeId) -> Result<Option<Vec<u8>>, StoreError> {
        bytes(&self.conn, find_space(&self.conn, space)?.row, id)
    }

    /// Which of these objects are not held, in the order given.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn objects_lacking(&self, space: &SpaceId, ids: &[EnvelopeId]) -> Result<Vec<EnvelopeId>, StoreError> {
        lacking(&self.conn, find_space(&self.conn, space)?.row, ids)
    }

    /// Every object that is held, in the order in which they came.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn objects_kept(&self, space: &SpaceId) -> Result<Vec<KeptObject>, StoreError> {
        let sql = "SELECT object, length(bytes) FROM object WHERE space = ?1 ORDER BY id";
        self.reads().all(sql, [find_space(&self.conn, space)?.row], |row| {
            let bytes: i64 = row.get(1)?;
            Ok(KeptObject { id: EnvelopeId(row.get(0)?), bytes: u64::try_from(bytes).unwrap_or(0) })
        })
    }

    /// Keeps an object that was fetched by its id, e.g. a chunk to be compared: its author and signature are checked,
    /// what is in it is not. Keeping one again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::PeerMisbehaved`] when it is another one, or nobody of this space signed it.
    pub fn put_object(
        &mut self,
        space: &SpaceId,
        membership: &Membership,
        id: &EnvelopeId,
        bytes: Vec<u8>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.put_object_of(space, membership, (id, bytes), None, now_ms)
    }

    /// The same for one that a relay gave and therefore holds, in one commit.
    ///
    /// # Errors
    /// As [`Store::put_object`].
    pub fn put_given_object(
        &mut self,
        space: &SpaceId,
        membership: &Membership,
        object: (&EnvelopeId, Vec<u8>),
        relay: RelayId,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.put_object_of(space, membership, object, Some(relay), now_ms)
    }

    fn put_object_of(
        &mut self,
        space: &SpaceId,
        membership: &Membership,
        (id, bytes): (&EnvelopeId, Vec<u8>),
        relay: Option<RelayId>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let verified = verified(space, membership, id, bytes)?;
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        let object = insert(&transaction, row, id, verified.envelope().bytes(), false, now_ms)?;
        if let Some(relay) = relay {
            let sql = "INSERT OR IGNORE INTO given(object, relay) SELECT object, ?2 FROM part WHERE object = ?1";
            transaction.prepare_cached(sql)?.execute((object, relay.0))?;
        }
        Ok(transaction.commit()?)
    }

    /// Forgets chunks that no checkpoint of `named` names and that are older than `before_ms`; gives their bytes. Parts of
    /// attachments go by what refers to them ([`Store::sweep_parts`]).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_objects(&mut self, space: &SpaceId, named: &[EnvelopeId], before_ms: i64) -> Result<u64, StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        let keep: std::collections::HashSet<&EnvelopeId> = named.iter().collect();
        let sql = "SELECT id, object, length(bytes) FROM object WHERE space = ?1 AND since_ms < ?2
                   AND id NOT IN (SELECT object FROM live WHERE space = ?1) AND id NOT IN (SELECT object FROM part)";
        let found = Reads { conn: &transaction }.all(sql, (row, before_ms), |row| {
            Ok((row.get::<_, i64>(0)?, EnvelopeId(row.get(1)?), row.get::<_, i64>(2)?))
        })?;
        let mut freed = 0;
        for (id, _, bytes) in found.iter().filter(|(_, object, _)| !keep.contains(object)) {
            transaction.prepare_cached("DELETE FROM packed WHERE object = ?1")?.execute([id])?;
            transaction.prepare_cached("DELETE FROM object WHERE id = ?1")?.execute([id])?;
            freed += u64::try_from(*bytes).unwrap_or(0);
        }
        transaction.commit()?;
        Ok(freed)
    }
}

const OTHER: &str = "an object that was not asked for";
const UNSIGNED: &str = "an object that no device of this space signed";

/// The object that was asked for, its author and signature checked: what fails here is the peer's fault, because whoever
/// names it has its id.
pub(in crate::store) fn verified(
    space: &SpaceId,
    membership: &Membership,
    id: &EnvelopeId,
    bytes: Vec<u8>,
) -> Result<VerifiedObject, StoreError> {
    let misbehaved = |what| StoreError::PeerMisbehaved { what };
    let envelope = Envelope::parse(bytes).map_err(|_| misbehaved(OTHER))?;
    if envelope.id(space) != *id || !matches!(envelope.header().kind, Kind::Chunk | Kind::BlobPart) {
        return Err(misbehaved(OTHER));
    }
    verify_kept_object(space, membership, envelope).map_err(|refused| match refused {
        RefusedEnvelope::Layout => misbehaved(OTHER),
        _ => misbehaved(UNSIGNED),
    })
}

/// The bytes of an object; `None`: it is not held.
pub(super) fn bytes(conn: &Connection, space: i64, id: &EnvelopeId) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT bytes FROM object WHERE space = ?1 AND object = ?2";
    Reads { conn }.one(sql, (space, id.as_ref()), |row| row.get(0))
}

pub(in crate::store) fn lacking(
    conn: &Connection,
    space: i64,
    ids: &[EnvelopeId],
) -> Result<Vec<EnvelopeId>, StoreError> {
    let mut select = conn.prepare_cached("SELECT 1 FROM object WHERE space = ?1 AND object = ?2")?;
    let mut found = Vec::new();
    for id in ids {
        if !select.exists((space, id.as_ref()))? {
            found.push(*id);
        }
    }
    Ok(found)
}

/// Keeps an object; gives its row.
pub(in crate::store) fn insert(
    conn: &Connection,
    space: i64,
    id: &EnvelopeId,
    bytes: &[u8],
    is_checked: bool,
    now_ms: i64,
) -> Result<i64, StoreError> {
    let sql = "INSERT INTO object(space, object, checked, since_ms, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT(space, object) DO UPDATE SET checked = max(checked, excluded.checked) RETURNING id";
    let values = (space, id.as_ref(), is_checked, now_ms, bytes);
    let row: i64 = conn.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    if bytes.get(1) == Some(&(Kind::BlobPart as u8)) {
        let sql = "INSERT OR IGNORE INTO part(object, space, bytes, used_ms, epoch) VALUES (?1, ?2, ?3, ?4, ?5)";
        let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let epoch = Header::decode(bytes.get(..HEADER_BYTES).unwrap_or_default()).ok().map(|header| header.epoch.0);
        conn.prepare_cached(sql)?.execute((row, space, length, now_ms, epoch))?;
    }
    Ok(row)
}
