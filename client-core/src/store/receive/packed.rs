//! Documents that come whole, in a chunk of a checkpoint: new ones are stored as they are, known ones get what they lack
//! through the fence.

use std::collections::{BTreeMap, BTreeSet};

use automerge::ChangeHash;
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, SpaceId, StreamId};
use rusqlite::Connection;

use super::apply::{Batch, Steps};
use super::{Origin, Receiver, Records, Unknown};
use crate::checkpoint::{PackedDoc, decode_rows};
use crate::delta::DocDelta;
use crate::document::Document;
use crate::fence::{self, APPLY_TIMEOUT, FenceError, Whole};
use crate::registry::{self, NOTE_GENESIS};
use crate::store::checkpoint::{opaque, put_refused};
use crate::store::documents::DocRow;
use crate::store::{Store, StoreError};

/// Bytes of changes that are given to the fence as if they had come in one envelope.
const CHANGES_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Where documents come from, and what is believed of them.
#[derive(Clone, Copy)]
pub(in crate::store) struct TakenPack<'p> {
    /// The chunk.
    pub(in crate::store) chunk: EnvelopeId,
    /// Row of the checkpoint.
    pub(in crate::store) checkpoint: i64,
    /// Streams of the space: nobody else can have written.
    pub(in crate::store) actors: &'p BTreeSet<StreamId>,
    /// Its rows are of this version's projections.
    pub(in crate::store) rows: bool,
}

/// What a pack did.
pub(in crate::store) struct PackReport {
    pub(in crate::store) new: u64,
    pub(in crate::store) changed: Vec<DocId>,
    pub(in crate::store) refused: u64,
}

impl Store {
    /// Takes documents in, and what `keep` stores, in one commit.
    pub(in crate::store) fn receive_pack(
        &mut self,
        space: &SpaceId,
        records: Records<'_>,
        now_ms: i64,
        steps: Steps,
        (docs, taken): (&[PackedDoc], TakenPack<'_>),
        keep: impl FnOnce(&Connection) -> Result<(), StoreError>,
    ) -> Result<PackReport, StoreError> {
        let (mut new, mut refused) = (0, 0);
        let report = self.receiving(space, records, Unknown::Quarantine, now_ms, steps, |receiver, _| {
            keep(receiver.context.conn)?;
            for doc in docs {
                match receiver.take_packed(doc, taken)? {
                    Packed::New => new += 1,
                    Packed::Merged => {}
                    Packed::Refused(reason) => {
                        refused += 1;
                        let (conn, row) = (receiver.context.conn, receiver.context.row);
                        put_refused(conn, row, &doc.doc, (taken.checkpoint, &reason.to_string()), now_ms)?;
                    }
                }
            }
            Ok(())
        })?;
        let mut changed = report.changed;
        changed.sort_unstable();
        changed.dedup();
        Ok(PackReport { new, changed, refused })
    }
}

/// What became of a document.
enum Packed {
    New,
    Merged,
    Refused(FenceError),
}

impl Receiver<'_> {
    fn take_packed(&mut self, packed: &PackedDoc, taken: TakenPack<'_>) -> Result<Packed, StoreError> {
        if packed.genesis == NOTE_GENESIS && self.erased.contains(&packed.doc) {
            return Ok(Packed::Merged);
        }
        if let Err(reason) = scan(packed, taken.actors) {
            return Ok(Packed::Refused(reason));
        }
        if registry::genesis(packed.genesis).is_none() {
            // Whoever knows its kind gets it from here as it came.
            if !self.documents.is_new(&packed.doc)? {
                return Ok(Packed::Refused(FenceError::Genesis));
            }
            opaque::put(self.context.conn, self.context.row, packed, taken.checkpoint)?;
            return Ok(Packed::New);
        }
        opaque::forget(self.context.conn, self.context.row, &packed.doc)?;
        if self.documents.is_new(&packed.doc)? {
            let rows = taken.rows.then(|| decode_rows(&packed.rows)).flatten().unwrap_or_default();
            self.documents.store_packed(packed, &rows, taken.checkpoint)?;
            return self.apply_waiting(packed).map(|()| Packed::New);
        }
        if self.stored_heads(&packed.doc)? == heads_of(packed) {
            return Ok(Packed::Merged);
        }
        match self.merge(packed, taken.chunk)? {
            Ok(()) => Ok(Packed::Merged),
            Err(reason) => Ok(Packed::Refused(reason)),
        }
    }

    fn stored_heads(&self, doc: &DocId) -> Result<Vec<u8>, StoreError> {
        let sql = "SELECT heads FROM document WHERE space = ?1 AND doc = ?2";
        let reads = crate::store::Reads { conn: self.context.conn };
        Ok(reads.one(sql, (self.context.row, doc.as_ref()), |row| row.get(0))?.unwrap_or_default())
    }

    /// Changes of a document that came before the document did.
    fn apply_waiting(&mut self, packed: &PackedDoc) -> Result<(), StoreError> {
        let deltas = self.take_waiting(&packed.doc)?;
        let mut batch = Batch::default();
        deltas.into_iter().for_each(|delta| batch.add(delta));
        self.apply(batch)
    }

    /// Applies what a known document lacks.
    fn merge(&mut self, packed: &PackedDoc, chunk: EnvelopeId) -> Result<Result<(), FenceError>, StoreError> {
        let Some(row) = DocRow::find(self.context.conn, self.context.row, &packed.doc)? else { return Ok(Ok(())) };
        if row.genesis != packed.genesis {
            return Ok(Err(FenceError::Genesis));
        }
        let PackedDoc { doc, genesis, heads, bytes, .. } = packed.clone();
        let theirs = match fence::load_guarded(Whole { doc, genesis, bytes, heads }, APPLY_TIMEOUT) {
            Ok(theirs) => theirs,
            Err(reason) => return Ok(Err(reason)),
        };
        let missing = match self.documents.find(&packed.doc) {
            Ok(Some(ours)) => {
                let ours = ours.entry.document.inspect();
                by_author(theirs, |hash| ours.get_change_meta_by_hash(hash).is_none())
            }
            Ok(None) => return Ok(Ok(())),
            Err(error) if error.is_damaged_document() => return Ok(Err(FenceError::Parse)),
            Err(error) => return Err(error),
        };
        self.documents.put_down(true);
        let mut batch = Batch::default();
        for (stream, changes) in missing {
            let delta = DocDelta { doc: packed.doc, changes, genesis: packed.genesis };
            match fence::check_document(chunk, stream, &delta) {
                Ok(delta) => batch.add(delta),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        self.origins.insert(chunk, Origin { stream: StreamId::ZERO, seq: 0, author: None });
        self.apply(batch)?;
        // What could not be applied is set aside without a word: the document is here when its heads are.
        let is_whole = self.documents.find(&packed.doc)?.is_some_and(|ours| {
            let ours = ours.entry.document.inspect();
            packed.heads.iter().all(|head| ours.get_change_meta_by_hash(head).is_some())
        });
        self.documents.put_down(true);
        if !is_whole {
            return Ok(Err(FenceError::Apply));
        }
        let sql = "DELETE FROM damaged WHERE space = ?1 AND doc = ?2";
        self.context.conn.prepare_cached(sql)?.execute((self.context.row, packed.doc.as_ref()))?;
        Ok(Ok(()))
    }
}

fn heads_of(packed: &PackedDoc) -> Vec<u8> {
    packed.heads.iter().flat_map(|head| head.0).collect()
}

/// What its bytes say agrees with what the pack says, and only devices of the space wrote it.
fn scan(packed: &PackedDoc, actors: &BTreeSet<StreamId>) -> Result<(), FenceError> {
    let scanned = fence::scan_document(&packed.bytes)?;
    if scanned.heads != packed.heads {
        return Err(FenceError::Parse);
    }
    let known = |actor: &StreamId| actors.contains(actor) || fence::is_genesis_actor(actor);
    if scanned.actors.iter().all(known) { Ok(()) } else { Err(FenceError::Actor) }
}

/// Changes of a document that are wanted, by author, each author's in order, in portions for the fence.
pub(super) fn by_author(
    mut document: Document,
    mut is_wanted: impl FnMut(&ChangeHash) -> bool,
) -> Vec<(StreamId, Vec<Vec<u8>>)> {
    let mut portions: BTreeMap<(StreamId, usize), Vec<Vec<u8>>> = BTreeMap::new();
    let mut bytes: BTreeMap<StreamId, usize> = BTreeMap::new();
    for change in document.changes_since(&[]) {
        if !is_wanted(&change.hash) {
            continue;
        }
        let Some(actor) = document
            .inspect()
            .get_change_meta_by_hash(&change.hash)
            .and_then(|meta| StreamId::from_slice(meta.actor.to_bytes()))
        else {
            continue;
        };
        let before = bytes.entry(actor).or_default();
        *before += change.bytes.len();
        portions.entry((actor, *before / CHANGES_BYTES_MAX)).or_default().push(change.bytes);
    }
    portions.into_iter().map(|((actor, _), changes)| (actor, changes)).collect()
}
