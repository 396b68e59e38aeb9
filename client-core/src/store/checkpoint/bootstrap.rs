//! Joining by state: the chunks of a checkpoint are taken in one by one instead of the history before it.
//!
//! ```text
//! begin ─ chunk list, essentials first ─▶ take_chunk … (each: object, documents, rows, marks in one commit)
//!       ─▶ finish: every stream stands at the cut, and goes on from there
//! ```
//! A document that is not known here is stored as it came, without being loaded. One that is known has the changes that
//! it lacks applied through the fence, as if they had come in envelopes.

use std::collections::BTreeSet;

use lifeos_sync_protocol::ids::{DocId, EnvelopeId, RecordId, SpaceId, StreamId};
use lifeos_sync_protocol::membership::{CheckpointStanding, Membership};
use lifeos_sync_protocol::record::{Floor, Record};
use rusqlite::Connection;

use super::super::documents::{DocRow, remove_row};
use super::super::erase::{self, Effect};
use super::super::receive::{PackReport, Records, Steps, TakenPack};
use super::super::records::{SpaceRef, find_space, load as load_records};
use super::super::{Reads, Store, StoreError, begin, schema, seal};
use super::verify::put_damaged;
use super::{checkpoint_row, object, said, streams};
use crate::checkpoint::{CheckpointError, Pack, PackedDoc, Piece, open_manifest};
use crate::envelope::{RefusedEnvelope, VerifiedObject, open_object};
use crate::keys::Keyring;
use crate::registry::NOTE_GENESIS;

/// A checkpoint that is taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Which.
    pub checkpoint: RecordId,
    /// Chunks still to come, in the order in which they are wanted.
    pub chunks: Vec<EnvelopeId>,
    /// How many of them are essential: without them the device is of no use yet.
    pub essential: usize,
    /// Chunks taken.
    pub taken: usize,
    /// Documents in the chunks taken, and in all.
    pub docs: (u64, u64),
    /// Bytes of the chunks taken, and of all, as sent.
    pub bytes: (u64, u64),
}

/// What a chunk did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChunkReport {
    /// Documents that are new here.
    pub new: u64,
    /// Documents that were here and changed, sorted.
    pub changed: Vec<DocId>,
    /// Documents that could not be taken.
    pub refused: u64,
    /// It had been taken before: nothing was done.
    pub is_repeated: bool,
}

impl Store {
    /// Begins to take a checkpoint in. One that was begun and is not finished is left for this one, with what was taken;
    /// the same one goes on where it was.
    ///
    /// # Errors
    /// [`StoreError::NoCheckpoint`] when membership does not know it; [`StoreError::Checkpoint`] when its manifest does
    /// not open.
    pub fn begin_bootstrap(
        &mut self,
        space: &SpaceId,
        checkpoint: &Record,
        membership: &Membership,
        keyring: &Keyring,
    ) -> Result<(), StoreError> {
        let (id, said) = (checkpoint.id(), said(space, checkpoint)?);
        if !membership.checkpoints.contains_key(&id) {
            return Err(StoreError::NoCheckpoint);
        }
        let manifest = open_manifest(space, said.enc_manifest, keyring).map_err(StoreError::Checkpoint)?;
        if manifest.chunks.len() != said.chunks.len() {
            return Err(StoreError::Checkpoint(CheckpointError::Layout));
        }
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        let checkpoint = checkpoint_row(&transaction, row, &id)?;
        let under_way = Reads { conn: &transaction }.one(
            "SELECT checkpoint FROM bootstrap WHERE space = ?1 LIMIT 1",
            [row],
            |row| row.get::<_, i64>(0),
        )?;
        if under_way == Some(checkpoint) {
            return Ok(());
        }
        forget_bootstrap(&transaction, row)?;
        let mut insert = transaction.prepare_cached(
            "INSERT INTO bootstrap(space, n, checkpoint, object, essential, docs, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        for (n, (chunk, note)) in said.chunks.iter().zip(&manifest.chunks).enumerate() {
            let n = i64::try_from(n).unwrap_or(i64::MAX);
            insert.execute((row, n, checkpoint, chunk.as_ref(), note.is_essential, note.docs, note.bytes))?;
        }
        drop(insert);
        Ok(transaction.commit()?)
    }

    /// The checkpoint that is being taken in; `None`: there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bootstrap(&self, space: &SpaceId) -> Result<Option<Bootstrap>, StoreError> {
        self.reads().bootstrap(space)
    }

    /// Chunks of a checkpoint that may hold one of these documents, as far as its manifest tells.
    ///
    /// # Errors
    /// [`StoreError::NoCheckpoint`]; [`StoreError::Checkpoint`].
    pub fn chunks_of(
        &self,
        space: &SpaceId,
        checkpoint: &RecordId,
        docs: &[DocId],
        keyring: &Keyring,
    ) -> Result<Vec<EnvelopeId>, StoreError> {
        let record = record(&self.conn, find_space(&self.conn, space)?.row, checkpoint)?;
        let said = said(space, &record)?;
        let manifest = open_manifest(space, said.enc_manifest, keyring).map_err(StoreError::Checkpoint)?;
        let notes = said.chunks.iter().zip(&manifest.chunks);
        let holding = notes.filter(|(_, note)| docs.iter().any(|doc| note.may_hold(doc)));
        Ok(holding.map(|(chunk, _)| *chunk).collect())
    }

    /// Leaves a checkpoint that turned out to be of no use. What was taken stays; but of one that is not to be believed
    /// (`takes_back`), documents that nobody has looked inside yet go again: they come from elsewhere.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn abandon_bootstrap(&mut self, space: &SpaceId, takes_back: bool) -> Result<(), StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        if takes_back {
            let sql = "SELECT id, doc FROM document WHERE +space = ?1 AND unverified <> 0
                       AND unverified IN (SELECT checkpoint FROM bootstrap WHERE space = ?1)";
            let taken =
                Reads { conn: &transaction }.all(sql, [row], |row| Ok((row.get::<_, i64>(0)?, DocId(row.get(1)?))))?;
            for (id, doc) in taken {
                self.documents.forget(row, &doc);
                remove_row(&transaction, id)?;
            }
        }
        forget_bootstrap(&transaction, row)?;
        Ok(transaction.commit()?)
    }

    /// Takes one chunk of the checkpoint that was begun in: object, documents, rows and marks in one commit. Taking one
    /// again does nothing. Essentials should come first, but any order is right.
    ///
    /// # Errors
    /// [`StoreError::PeerMisbehaved`] for bytes that are no chunk of this checkpoint or not signed; [`StoreError::Checkpoint`]
    /// when its maker did wrong, after which the checkpoint is to be abandoned; nothing was taken then.
    pub fn take_chunk(
        &mut self,
        space: &SpaceId,
        membership: &Membership,
        keyring: &Keyring,
        bytes: Vec<u8>,
        now_ms: i64,
    ) -> Result<ChunkReport, StoreError> {
        let row = find_space(&self.conn, space)?.row;
        let other = StoreError::PeerMisbehaved { what: "a chunk that was not asked for" };
        let Some(id) = id_of(space, &bytes) else { return Err(other) };
        let Some(place) = place(&self.conn, row, &id)? else { return Err(other) };
        if place.is_taken {
            return Ok(ChunkReport { is_repeated: true, ..ChunkReport::default() });
        }
        let verified = object::verified(space, membership, &id, bytes)?;
        let pack = open_pack(space, &verified, keyring).map_err(StoreError::Checkpoint)?;
        let known = known_actors(&self.conn, space, row, place.checkpoint)?;
        let is_current = pack.stamp == schema::projection_stamp();
        let taken = TakenPack { chunk: id, checkpoint: place.checkpoint, actors: &known, rows: is_current };
        let records = Records { membership, keyring };
        let Pack { mut docs, pieces, .. } = pack;
        for piece in &pieces {
            docs.extend(self.put_together((space, row), (membership, keyring), place.checkpoint, piece)?);
        }
        let report = self.receive_pack(space, records, now_ms, Steps::default(), (&docs, taken), |conn| {
            object::insert(conn, row, &id, verified.envelope().bytes(), false, now_ms)?;
            for piece in &pieces {
                let sql = "INSERT OR IGNORE INTO piece(checkpoint, doc, n, pieces, object) VALUES (?1, ?2, ?3, ?4, ?5)";
                let values = (place.checkpoint, piece.doc.as_ref(), piece.number, piece.of, id.as_ref());
                conn.prepare_cached(sql)?.execute(values)?;
            }
            let sql = "UPDATE bootstrap SET taken = 1 WHERE space = ?1 AND object = ?2";
            conn.prepare_cached(sql)?.execute((row, id.as_ref()))?;
            Ok(())
        })?;
        let PackReport { new, changed, refused } = report;
        Ok(ChunkReport { new, changed, refused, is_repeated: false })
    }

    /// Whether a checkpoint that was taken in before anybody vouched for it names documents as erased.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_unvouched(&self, space: &SpaceId) -> Result<bool, StoreError> {
        Ok(schema::meta(&self.conn, &unvouched_key(space))?.is_some())
    }

    /// What such a checkpoint names as erased is forgotten as soon as enough others vouch for it, with the late edits that
    /// wait for it; nothing of that counts once it is blocked. Gives what is forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take_vouched(
        &mut self,
        space: &SpaceId,
        (membership, keyring): (&Membership, &Keyring),
        now_ms: i64,
    ) -> Result<Vec<DocId>, StoreError> {
        let stored = schema::meta(&self.conn, &unvouched_key(space))?;
        let Some(checkpoint) = stored.and_then(|id| RecordId::from_slice(&id)) else { return Ok(Vec::new()) };
        let mut forgotten = Vec::new();
        let standing = membership.checkpoint_standing(&checkpoint);
        if standing == Some(CheckpointStanding::Proposed) {
            return Ok(forgotten);
        }
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        if standing == Some(CheckpointStanding::Endorsed) {
            let record = record(&transaction, row, &checkpoint)?;
            let manifest =
                open_manifest(space, said(space, &record)?.enc_manifest, keyring).map_err(StoreError::Checkpoint)?;
            for doc in manifest.erased {
                self.documents.forget(row, &doc);
                forget_erased(&transaction, (space, row), &doc, now_ms)?;
                forgotten.push(doc);
            }
        }
        schema::remove_meta(&transaction, &unvouched_key(space))?;
        transaction.commit()?;
        Ok(forgotten)
    }

    /// The document of which this piece is the last to come; `None`: others are still to come.
    fn put_together(
        &self,
        (space, row): (&SpaceId, i64),
        (membership, keyring): (&Membership, &Keyring),
        checkpoint: i64,
        piece: &Piece,
    ) -> Result<Option<PackedDoc>, StoreError> {
        let sql = "SELECT object FROM piece WHERE checkpoint = ?1 AND doc = ?2 AND n <> ?3";
        let objects: Vec<EnvelopeId> =
            self.reads().all(sql, (checkpoint, piece.doc.as_ref(), piece.number), |row| Ok(EnvelopeId(row.get(0)?)))?;
        if objects.len() + 1 < usize::try_from(piece.of).unwrap_or(usize::MAX) {
            return Ok(None);
        }
        let mut pieces = vec![piece.clone()];
        for id in &objects {
            let bytes = object::bytes(&self.conn, row, id)?;
            let bytes = bytes.ok_or(StoreError::Corrupt { what: "the chunks of a checkpoint" })?;
            let verified = object::verified(space, membership, id, bytes)?;
            let pack = open_pack(space, &verified, keyring).map_err(StoreError::Checkpoint)?;
            pieces.extend(pack.pieces.into_iter().filter(|other| other.doc == piece.doc));
        }
        Piece::join(pieces).map(Some).ok_or(StoreError::Checkpoint(CheckpointError::Layout))
    }

    /// All chunks were taken: every stream stands at the cut, as if its envelopes had been received, and what waited for
    /// changes from before it is tried again.
    ///
    /// # Errors
    /// [`StoreError::NoCheckpoint`] when chunks are lacking or none was begun.
    pub fn finish_bootstrap(
        &mut self,
        space: &SpaceId,
        membership: &Membership,
        keyring: &Keyring,
        now_ms: i64,
    ) -> Result<super::super::ReceiveReport, StoreError> {
        let under_way = self.bootstrap(space)?.filter(|bootstrap| bootstrap.chunks.is_empty());
        let Some(Bootstrap { checkpoint, .. }) = under_way else { return Err(StoreError::NoCheckpoint) };
        let row = find_space(&self.conn, space)?.row;
        let record = record(&self.conn, row, &checkpoint)?;
        let manifest =
            open_manifest(space, said(space, &record)?.enc_manifest, keyring).map_err(StoreError::Checkpoint)?;
        let transaction = begin(&self.conn)?;
        let space_ref = find_space(&transaction, space)?;
        // One device's word is not enough to take away what is here.
        let is_vouched = membership.checkpoint_standing(&checkpoint) == Some(CheckpointStanding::Endorsed);
        for doc in manifest.erased.iter().filter(|_| is_vouched) {
            self.documents.forget(row, doc);
            forget_erased(&transaction, (space, row), doc, now_ms)?;
        }
        if !is_vouched && !manifest.erased.is_empty() {
            schema::put_meta(&transaction, &unvouched_key(space), checkpoint.as_ref())?;
        }
        stand_at(&transaction, (space, space_ref), said(space, &record)?.cut)?;
        adopt_live(&transaction, row)?;
        refuse_pieces(&transaction, row, now_ms)?;
        forget_bootstrap(&transaction, row)?;
        transaction.commit()?;
        self.retry_quarantined(space, membership, keyring, now_ms)
    }
}

fn unvouched_key(space: &SpaceId) -> String {
    format!("unvouched:{space}")
}

/// Forgets where taking a checkpoint in has come.
fn forget_bootstrap(conn: &Connection, space: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM piece WHERE checkpoint IN (SELECT id FROM checkpoint WHERE space = ?1)";
    conn.prepare_cached(sql)?.execute([space])?;
    conn.prepare_cached("DELETE FROM bootstrap WHERE space = ?1")?.execute([space])?;
    Ok(())
}

/// Remembers documents of which not all pieces came.
fn refuse_pieces(conn: &Connection, space: i64, now_ms: i64) -> Result<(), StoreError> {
    let sql = "SELECT p.doc, p.checkpoint FROM piece p JOIN checkpoint c ON c.id = p.checkpoint
               WHERE c.space = ?1 GROUP BY p.checkpoint, p.doc HAVING count(*) < max(p.pieces)";
    let found = Reads { conn }.all(sql, [space], |row| Ok((DocId(row.get(0)?), row.get::<_, i64>(1)?)))?;
    for (doc, checkpoint) in found {
        put_refused(conn, space, &doc, (checkpoint, "not all pieces of it came with the checkpoint"), now_ms)?;
    }
    Ok(())
}

/// Forgets a document that a checkpoint says is erased.
fn forget_erased(conn: &Connection, (space, row): (&SpaceId, i64), doc: &DocId, now_ms: i64) -> Result<(), StoreError> {
    let found = DocRow::find(conn, row, doc)?;
    if erase::is_singleton(space, doc) || found.as_ref().is_some_and(|found| found.genesis != NOTE_GENESIS) {
        return Ok(());
    }
    let mut unsent = 0;
    if let Some(found) = found {
        unsent = erase::unsent(conn, found.id)?;
        remove_row(conn, found.id)?;
    }
    let effect = Effect { doc, state: 2, position: 0, epoch: None, heads: &[], successor: None, unsent };
    erase::put(conn, row, &effect, now_ms)
}

/// Where a chunk stands in the checkpoint that is taken in.
struct Place {
    checkpoint: i64,
    is_taken: bool,
}

fn place(conn: &Connection, space: i64, id: &EnvelopeId) -> Result<Option<Place>, StoreError> {
    let sql = "SELECT checkpoint, taken FROM bootstrap WHERE space = ?1 AND object = ?2";
    Reads { conn }.one(sql, (space, id.as_ref()), |row| Ok(Place { checkpoint: row.get(0)?, is_taken: row.get(1)? }))
}

fn id_of(space: &SpaceId, bytes: &[u8]) -> Option<EnvelopeId> {
    let envelope = lifeos_sync_protocol::envelope::Envelope::parse(bytes.to_vec()).ok()?;
    Some(envelope.id(space))
}

/// Opens a chunk whose author was checked.
pub(super) fn open_pack(space: &SpaceId, object: &VerifiedObject, keyring: &Keyring) -> Result<Pack, CheckpointError> {
    let opened = open_object(space, object, keyring).map_err(|refused| match refused {
        RefusedEnvelope::UnknownEpoch => CheckpointError::UnknownEpoch,
        _ => CheckpointError::DoesNotOpen,
    })?;
    Pack::decode(&opened.body)
}

fn record(conn: &Connection, space: i64, id: &RecordId) -> Result<Record, StoreError> {
    load_records(conn, space)?.into_iter().find(|record| record.id() == *id).ok_or(StoreError::NoCheckpoint)
}

/// Who may have written what a checkpoint holds: the streams that it cuts, and those known here.
fn known_actors(
    conn: &Connection,
    space: &SpaceId,
    row: i64,
    checkpoint: i64,
) -> Result<BTreeSet<StreamId>, StoreError> {
    let sql = "SELECT record FROM checkpoint WHERE id = ?1";
    let id = Reads { conn }.one(sql, [checkpoint], |row| Ok(RecordId(row.get(0)?)))?;
    let record = record(conn, row, &id.ok_or(StoreError::NoCheckpoint)?)?;
    let cut = said(space, &record)?.cut.iter().map(|floor| floor.stream);
    let here = streams(conn, row)?.into_iter().map(|known| known.stream);
    Ok(cut.chain(here).collect())
}

/// Every stream that is held less far stands at the cut. The own one is never moved: where it ends here is what this home
/// wrote; if the cut goes beyond that, this home was put back from an older copy, and goes on under a new stream.
fn stand_at(conn: &Connection, (id, space): (&SpaceId, SpaceRef), cut: &[Floor]) -> Result<(), StoreError> {
    let known = streams(conn, space.row)?;
    let is_ahead = |floor: &Floor| {
        known.iter().any(|own| own.row == space.stream_row && own.stream == floor.stream && own.seq < floor.seq)
    };
    if cut.iter().any(is_ahead) {
        schema::put_meta(conn, &seal::forked_key(id), &[1])?;
    }
    let mut insert = conn.prepare_cached(
        "INSERT INTO stream(space, stream, device, seq, tip, r32, floor, floor_id, cut_seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?4, ?5, ?4)",
    )?;
    let mut update = conn.prepare_cached(
        "UPDATE stream SET seq = ?2, tip = ?3, r32 = ?4, floor = ?2, floor_id = ?3, cut_seq = max(cut_seq, ?2) WHERE id = ?1",
    )?;
    for floor in cut {
        match known.iter().find(|known| known.stream == floor.stream) {
            Some(known) if known.row == space.stream_row || known.seq >= floor.seq => {}
            Some(known) => {
                update.execute((known.row, floor.seq, floor.id.as_ref(), floor.r32))?;
            }
            None => {
                let (stream, device) = (floor.stream.as_ref(), floor.device.as_ref());
                insert.execute((space.row, stream, device, floor.seq, floor.id.as_ref(), floor.r32))?;
            }
        }
    }
    Ok(())
}

/// The chunks that were taken are those of the newest checkpoint known here.
fn adopt_live(conn: &Connection, space: i64) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM live WHERE space = ?1")?.execute([space])?;
    let sql = "INSERT INTO live(space, n, object, essential)
               SELECT b.space, b.n, o.id, b.essential FROM bootstrap b
               JOIN object o ON o.space = b.space AND o.object = b.object WHERE b.space = ?1";
    conn.prepare_cached(sql)?.execute([space])?;
    Ok(())
}

/// Remembers a document that could not be taken: another chunk, or its envelopes, may bring it.
pub(in crate::store) fn put_refused(
    conn: &Connection,
    space: i64,
    doc: &DocId,
    (checkpoint, reason): (i64, &str),
    now_ms: i64,
) -> Result<(), StoreError> {
    put_damaged(conn, space, doc, (checkpoint, reason), now_ms)
}

impl Reads<'_> {
    /// Whether a document is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_document(&self, space: &SpaceId, doc: &DocId) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM document WHERE space = ?1 AND doc = ?2";
        Ok(self.count(sql, (self.space_row(space)?, doc.as_ref()))? > 0)
    }

    /// The checkpoint that is being taken in.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn bootstrap(&self, space: &SpaceId) -> Result<Option<Bootstrap>, StoreError> {
        let sql = "SELECT c.record, b.object, b.essential, b.docs, b.bytes, b.taken FROM bootstrap b
                   JOIN checkpoint c ON c.id = b.checkpoint WHERE b.space = ?1 ORDER BY b.n";
        let rows = self.all(sql, [self.space_row(space)?], |row| {
            let (docs, bytes): (u32, u32) = (row.get(3)?, row.get(4)?);
            let sizes = (u64::from(docs), u64::from(bytes));
            let flags = (row.get::<_, bool>(2)?, row.get::<_, bool>(5)?);
            Ok((RecordId(row.get(0)?), EnvelopeId(row.get(1)?), flags, sizes))
        })?;
        let Some((checkpoint, ..)) = rows.first().copied() else { return Ok(None) };
        let none = Bootstrap { checkpoint, chunks: Vec::new(), essential: 0, taken: 0, docs: (0, 0), bytes: (0, 0) };
        Ok(Some(rows.into_iter().fold(none, |mut all, (_, chunk, (is_essential, is_taken), (docs, bytes))| {
            (all.docs.1, all.bytes.1) = (all.docs.1 + docs, all.bytes.1 + bytes);
            if is_taken {
                all.taken += 1;
                (all.docs.0, all.bytes.0) = (all.docs.0 + docs, all.bytes.0 + bytes);
            } else {
                all.essential += usize::from(is_essential);
                all.chunks.push(chunk);
            }
            all
        })))
    }
}
