//! Documents of kinds that this version does not know: they are kept as they came with a checkpoint, go into the next one
//! that this device makes, and become documents once it knows their kind.

use automerge::ChangeHash;
use lifeos_sync_protocol::ids::{DocId, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use rusqlite::Connection;

use super::super::receive::{Records, Steps, TakenPack};
use super::super::records::find_space;
use super::super::{Reads, ReceiveReport, Store, StoreError, schema};
use super::streams;
use crate::checkpoint::PackedDoc;
use crate::document::GenesisId;
use crate::keys::Keyring;
use crate::registry;

/// One that is kept.
pub(super) struct Kept {
    pub(super) row: i64,
    pub(super) doc: DocId,
    pub(super) heads: Vec<u8>,
}

/// Keeps one as it came; what came later takes its place.
pub(in crate::store) fn put(
    conn: &Connection,
    space: i64,
    packed: &PackedDoc,
    checkpoint: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO opaque(space, doc, genesis, heads, bytes, checkpoint) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT(space, doc) DO UPDATE SET genesis = excluded.genesis, heads = excluded.heads,
                   bytes = excluded.bytes, checkpoint = excluded.checkpoint";
    let heads = super::head_bytes(&packed.heads);
    let values = (space, packed.doc.as_ref(), packed.genesis.0, heads, &packed.bytes, checkpoint);
    conn.prepare_cached(sql)?.execute(values)?;
    let sql = "DELETE FROM damaged WHERE space = ?1 AND doc = ?2";
    conn.prepare_cached(sql)?.execute((space, packed.doc.as_ref()))?;
    Ok(())
}

/// One that is a document now.
pub(in crate::store) fn forget(conn: &Connection, space: i64, doc: &DocId) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM opaque WHERE space = ?1 AND doc = ?2")?.execute((space, doc.as_ref()))?;
    Ok(())
}

/// Those of a space, in the order in which they came. One that is a document here is none, whatever it was said to be.
pub(super) fn all(conn: &Connection, space: i64) -> Result<Vec<Kept>, StoreError> {
    let sql = "SELECT id, doc, heads FROM opaque o WHERE space = ?1
               AND NOT EXISTS (SELECT 1 FROM document d WHERE d.space = o.space AND d.doc = o.doc) ORDER BY id";
    Reads { conn }.all(sql, [space], |row| Ok(Kept { row: row.get(0)?, doc: DocId(row.get(1)?), heads: row.get(2)? }))
}

/// One as it is packed again: rows of another version are of no use to anybody.
pub(super) fn packed(conn: &Connection, row: i64) -> Result<PackedDoc, StoreError> {
    let sql = "SELECT doc, genesis, heads, bytes FROM opaque WHERE id = ?1";
    let found = Reads { conn }.one(sql, [row], |row| {
        let heads: Vec<u8> = row.get(2)?;
        let heads = heads.as_chunks::<32>().0.iter().copied().map(ChangeHash).collect();
        let (doc, genesis) = (DocId(row.get(0)?), GenesisId(row.get(1)?));
        Ok(PackedDoc { doc, genesis, heads, bytes: row.get(3)?, rows: Vec::new() })
    })?;
    found.ok_or(StoreError::Corrupt { what: "a document that was just listed" })
}

/// The heads of one that is kept.
pub(super) fn heads(conn: &Connection, space: i64, doc: &DocId) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT heads FROM opaque WHERE space = ?1 AND doc = ?2";
    Reads { conn }.one(sql, (space, doc.as_ref()), |row| row.get(0))
}

fn kinds_key(space: &SpaceId) -> String {
    format!("kinds:{space}")
}

/// How many kinds this version knows: they are only ever added to.
fn kinds() -> Vec<u8> {
    let known = registry::kinds().filter(|kind| registry::genesis(kind.genesis()).is_some());
    (known.count() as u64).to_be_bytes().to_vec()
}

impl Store {
    /// Whether this version knows other kinds of documents than the one that looked at this space last.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn knows_other_kinds(&self, space: &SpaceId) -> Result<bool, StoreError> {
        Ok(schema::meta(&self.conn, &kinds_key(space))?.is_none_or(|looked| looked != kinds()))
    }

    /// What was kept because its kind was not known becomes a document, and envelopes that were set aside for it are
    /// tried again.
    ///
    /// # Errors
    /// [`StoreError`]; called again it goes on.
    pub fn take_known_kinds(
        &mut self,
        space: &SpaceId,
        (membership, keyring): (&Membership, &Keyring),
        now_ms: i64,
    ) -> Result<ReceiveReport, StoreError> {
        let row = find_space(&self.conn, space)?.row;
        let actors = streams(&self.conn, row)?.into_iter().map(|known| known.stream).collect();
        let sql = "SELECT id, genesis, checkpoint FROM opaque WHERE space = ?1 ORDER BY id";
        let kept = self
            .reads()
            .all(sql, [row], |row| Ok((row.get::<_, i64>(0)?, GenesisId(row.get(1)?), row.get::<_, i64>(2)?)))?;
        let records = Records { membership, keyring };
        for (id, _, checkpoint) in kept.into_iter().filter(|(_, genesis, _)| registry::genesis(*genesis).is_some()) {
            let doc = packed(&self.conn, id)?;
            let taken = TakenPack { chunk: super::NO_CHUNK, checkpoint, actors: &actors, rows: false };
            self.receive_pack(space, records, now_ms, Steps::default(), (&[doc], taken), |conn| {
                conn.prepare_cached("DELETE FROM opaque WHERE id = ?1")?.execute([id])?;
                Ok(())
            })?;
        }
        let report = self.retry_newer_kinds(space, records, now_ms)?;
        schema::put_meta(&self.conn, &kinds_key(space), &kinds())?;
        Ok(report)
    }
}

impl Reads<'_> {
    /// Documents of kinds that this version does not know.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newer_kind_count(&self, space: &SpaceId) -> Result<u64, StoreError> {
        self.count("SELECT count(*) FROM opaque WHERE space = ?1", [self.space_row(space)?])
    }
}
