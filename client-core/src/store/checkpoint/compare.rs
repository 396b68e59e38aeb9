//! Comparing a checkpoint of somebody else with what is held here, before this device vouches for it.
//!
//! ```text
//! cut     every stream ends here at or beyond it, with the same envelope there
//! chunks  all here; every document in them loads and has the heads that it is said to have
//! more    a head that is not in the document here: a change that its device never made
//! parts   those of attachments of living notes that did not change since are all named
//! less    a change here that is no ancestor of the packed heads, and in no envelope beyond the cut: left out
//! ```
//! Heads name all history by its hashes, so a packed document is loaded once, to see that it can be, and compared by them.
//! What is in doubt is never said to be wrong: an objection stands against its author for good.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use automerge::ChangeHash;
use lifeos_sync_protocol::envelope::Envelope;
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, MemberId, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::Record;
use rusqlite::Connection;

use super::super::documents::DocRow;
use super::super::erase;
use super::super::records::find_space;
use super::super::{Reads, Store, StoreError, begin, seal};
use super::bootstrap::open_pack;
use super::draft::{put_live, put_packed};
use super::due::may_vouch;
use super::{Said, StreamState, head_bytes, id_at, note_cut, object, opaque, said, streams};
use crate::checkpoint::{
    CheckpointError, Manifest, PIECES_MAX, Pack, PackedDoc, Piece, REASON_CHANGE_MISSING, REASON_CHANGE_UNKNOWN,
    REASON_DOCUMENT_MISSING, REASON_DOES_NOT_OPEN, REASON_OTHER_ENVELOPE, REASON_PART_MISSING, REASON_STREAM_UNKNOWN,
    open_manifest,
};
use crate::document::Document;
use crate::envelope::{self, VerifiedEnvelope};
use crate::fence::{self, APPLY_TIMEOUT, Whole, load_guarded, scan_document};
use crate::keys::Keyring;
use crate::registry;

/// What comparing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// It holds everything up to its cut that this device knows, and nothing else: it may be endorsed.
    Holds,
    /// This device does not hold enough to tell: it has to sync first, or a later checkpoint stands for more.
    Behind,
    /// These chunks have to be fetched first ([`Store::put_object`]).
    Lacks(Vec<EnvelopeId>),
    /// It was asked to stop: what it has looked at it need not look at again.
    Paused,
    /// It is wrong, for one of the reasons of [`crate::checkpoint`], and is to be objected to.
    Wrong {
        /// Why.
        reason: u8,
        /// Whose changes, if that is known; else zero.
        stream: StreamId,
        /// Where; 0 if that is not known. For a chunk its place in the record's list, from 1.
        seq: u32,
    },
}

const fn wrong(reason: u8, stream: StreamId, seq: u32) -> Comparison {
    Comparison::Wrong { reason, stream, seq }
}

/// A chunk that does not open, by its place.
fn does_not_open(place: usize) -> Comparison {
    wrong(REASON_DOES_NOT_OPEN, StreamId::ZERO, u32::try_from(place + 1).unwrap_or(u32::MAX))
}

/// Ends comparing early with what was found.
type Found<T> = Result<T, Comparison>;

/// Hashes of changes by document.
type Hashes = HashMap<DocId, HashSet<ChangeHash>>;

/// What the packs say of a document.
#[derive(Default)]
struct SaidOf {
    /// Heads of every packed copy.
    heads: BTreeSet<ChangeHash>,
    /// One of the copies has exactly the heads that the document has here, and none has others that are not known.
    is_equal: bool,
    /// Chunks in which a copy has heads other than those here.
    differs_in: Vec<usize>,
    /// It is of a kind that this version does not know: nothing is said of it but whether it is as it is here.
    is_opaque: bool,
}

/// What stays the same while comparing.
struct Comparing<'c> {
    conn: &'c Connection,
    space: &'c SpaceId,
    row: i64,
    membership: &'c Membership,
    keyring: &'c Keyring,
    streams: Vec<StreamState>,
    said: Said<'c>,
    manifest: Manifest,
    /// In which chunks pieces of documents lie, once somebody asked.
    pieces: OnceCell<HashMap<DocId, Vec<usize>>>,
}

impl Store {
    /// Compares a checkpoint with everything held here. When it holds, its chunks are those that the next draft uses
    /// again. `stop` is asked after every chunk that was looked at for the first time.
    ///
    /// # Errors
    /// [`StoreError::NoCheckpoint`]; [`StoreError`]. What its maker did wrong is never an error.
    pub fn compare_checkpoint(
        &mut self,
        space: &SpaceId,
        checkpoint: &Record,
        (membership, keyring): (&Membership, &Keyring),
        now_ms: i64,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Comparison, StoreError> {
        let said = said(space, checkpoint)?;
        if !membership.checkpoints.contains_key(&checkpoint.id()) {
            return Err(StoreError::NoCheckpoint);
        }
        let row = find_space(&self.conn, space)?.row;
        if let Some(found) = compare_cut(&self.conn, row, membership, said.cut)? {
            return Ok(found);
        }
        let lacking = object::lacking(&self.conn, row, said.chunks)?;
        if !lacking.is_empty() {
            return Ok(Comparison::Lacks(lacking));
        }
        let manifest = match open_manifest(space, said.enc_manifest, keyring) {
            Ok(manifest) => manifest,
            Err(CheckpointError::UnknownEpoch) => return Ok(Comparison::Behind),
            Err(_) => return Ok(wrong(REASON_DOES_NOT_OPEN, StreamId::ZERO, 0)),
        };
        let (conn, reading) = (&self.conn, self.conn.unchecked_transaction()?);
        let streams = streams(conn, row)?;
        let comparing =
            Comparing { conn, space, row, membership, keyring, streams, said, manifest, pieces: OnceCell::new() };
        let looked_at = comparing.look_inside(stop)?;
        let found = match &looked_at.0 {
            Ok(()) => comparing.compare()?,
            Err(found) => Err(found.clone()),
        };
        let Comparing { said, manifest, .. } = comparing;
        reading.commit()?;
        let transaction = begin(&self.conn)?;
        for chunk in looked_at.1 {
            let sql = "UPDATE object SET checked = 1 WHERE space = ?1 AND object = ?2";
            transaction.prepare_cached(sql)?.execute((row, chunk.as_ref()))?;
        }
        if let Ok(packed) = &found {
            adopt(&transaction, row, (&said, &manifest), packed, now_ms)?;
        }
        transaction.commit()?;
        Ok(found.map_or_else(|found| found, |_| Comparison::Holds))
    }
}

/// Compares the cut with the streams here. `None`: so far nothing is against it.
fn compare_cut(
    conn: &Connection,
    row: i64,
    membership: &Membership,
    cut: &[lifeos_sync_protocol::record::Floor],
) -> Result<Option<Comparison>, StoreError> {
    let streams = streams(conn, row)?;
    let mut behind = !may_vouch(conn, row)?;
    for floor in cut {
        if !membership.devices.contains_key(&floor.device) {
            return Ok(Some(wrong(REASON_STREAM_UNKNOWN, floor.stream, floor.seq)));
        }
        let Some(known) = streams.iter().find(|known| known.stream == floor.stream) else {
            behind = true;
            continue;
        };
        if floor.seq > known.seq {
            // Of the own stream, too: a home that was put back from a copy has written more than it remembers. A relay
            // holds no such envelope if there is none, and lets nothing take effect.
            behind = true;
        } else if id_at(conn, known, floor.seq)?.is_some_and(|id| id != floor.id) {
            return Ok(Some(wrong(REASON_OTHER_ENVELOPE, floor.stream, floor.seq)));
        }
    }
    // What came with a later checkpoint cannot be told from what came before this one.
    let reached =
        |known: &StreamState| cut.iter().find(|floor| floor.stream == known.stream).map_or(0, |floor| floor.seq);
    behind |= streams.iter().any(|known| known.floor > reached(known));
    Ok(behind.then_some(Comparison::Behind))
}

/// What is kept of each chunk: its documents as they are packed.
type PackedNotes = Vec<(EnvelopeId, Vec<(DocId, Vec<u8>, usize)>)>;

/// From now on the next draft goes on from this checkpoint, unless a later one was made or compared before.
fn adopt(
    conn: &Connection,
    space: i64,
    (said, manifest): (&Said<'_>, &Manifest),
    packed: &PackedNotes,
    now_ms: i64,
) -> Result<(), StoreError> {
    for (chunk, docs) in packed {
        put_packed(conn, space, chunk, docs.iter().map(|(doc, heads, weight)| (*doc, heads.as_slice(), *weight)))?;
    }
    let sql = "SELECT stream, cut_seq FROM stream WHERE space = ?1 AND cut_seq > 0";
    let last = Reads { conn }.all(sql, [space], |row| Ok((StreamId(row.get(0)?), row.get::<_, u32>(1)?)))?;
    let reaches =
        |(stream, seq): &(StreamId, u32)| said.cut.iter().any(|floor| floor.stream == *stream && floor.seq >= *seq);
    if last.iter().all(reaches) {
        let essential = manifest.chunks.iter().map(|note| note.is_essential);
        put_live(conn, space, &said.chunks.iter().copied().zip(essential).collect::<Vec<_>>())?;
        note_cut(conn, space, said.cut, now_ms)?;
    }
    Ok(())
}

impl Comparing<'_> {
    /// Loads every document of the chunks that were not looked at before; gives those that are sound.
    fn look_inside(&self, stop: &mut dyn FnMut() -> bool) -> Result<(Found<()>, Vec<EnvelopeId>), StoreError> {
        let mut sound = Vec::new();
        for (place, chunk) in self.said.chunks.iter().enumerate() {
            let sql = "SELECT checked FROM object WHERE space = ?1 AND object = ?2";
            let reads = Reads { conn: self.conn };
            if reads.one(sql, (self.row, chunk.as_ref()), |row| row.get::<_, bool>(0))?.unwrap_or(false) {
                continue;
            }
            if stop() {
                return Ok((Err(Comparison::Paused), sound));
            }
            match self.pack(place)? {
                Ok(pack) => {
                    // Where the first piece is, the whole is looked at.
                    let firsts = pack.pieces.iter().filter(|piece| piece.number == 1);
                    let mut docs = pack.docs;
                    for piece in firsts {
                        match self.assembled(&piece.doc)? {
                            Ok(Some(packed)) => docs.push(packed),
                            Ok(None) => return Ok((Err(does_not_open(place)), sound)),
                            Err(found) => return Ok((Err(found), sound)),
                        }
                    }
                    for doc in &docs {
                        if !self.loads(doc)? {
                            return Ok((Err(does_not_open(place)), sound));
                        }
                    }
                }
                Err(found) => return Ok((Err(found), sound)),
            }
            sound.push(*chunk);
        }
        Ok((Ok(()), sound))
    }

    /// A document of which chunks hold pieces; `None`: they are not all of it.
    fn assembled(&self, doc: &DocId) -> Result<Found<Option<PackedDoc>>, StoreError> {
        if self.pieces.get().is_none() {
            let mut all = HashMap::<DocId, Vec<usize>>::new();
            for place in 0..self.said.chunks.len() {
                match self.pack(place)? {
                    Ok(pack) => pack.pieces.iter().for_each(|piece| all.entry(piece.doc).or_default().push(place)),
                    Err(found) => return Ok(Err(found)),
                }
            }
            let _ = self.pieces.set(all);
        }
        let places = self.pieces.get().and_then(|all| all.get(doc)).map_or(&[][..], Vec::as_slice);
        if u32::try_from(places.len()).map_or(true, |places| places > PIECES_MAX) {
            return Ok(Ok(None));
        }
        let mut pieces = Vec::with_capacity(places.len());
        for place in places {
            match self.pack(*place)? {
                Ok(pack) => pieces.extend(pack.pieces.into_iter().filter(|piece| piece.doc == *doc)),
                Err(found) => return Ok(Err(found)),
            }
        }
        Ok(Ok(Piece::join(pieces)))
    }

    /// A document as a chunk holds it, or begins to hold it.
    fn packed(&self, place: usize, doc: &DocId) -> Result<Found<Option<PackedDoc>>, StoreError> {
        match self.pack(place)? {
            Ok(pack) => match pack.docs.into_iter().find(|packed| packed.doc == *doc) {
                None if pack.pieces.iter().any(|piece| piece.doc == *doc) => self.assembled(doc),
                found => Ok(Ok(found)),
            },
            Err(found) => Ok(Err(found)),
        }
    }

    /// Whether a packed document is what it is said to be. One that lies here in the same bytes is; into one of a kind that
    /// this version does not know nobody looks.
    fn loads(&self, packed: &PackedDoc) -> Result<bool, StoreError> {
        if registry::genesis(packed.genesis).is_none() {
            return Ok(scan_document(&packed.bytes).is_ok_and(|scanned| scanned.heads == packed.heads));
        }
        if let Some(row) = DocRow::find(self.conn, self.row, &packed.doc)?
            && row.genesis == packed.genesis
            && row.whole_snapshot(self.conn)?.is_some_and(|ours| ours == packed.bytes)
        {
            return Ok(scan_document(&packed.bytes).is_ok_and(|scanned| scanned.heads == packed.heads));
        }
        Ok(load(packed).is_some())
    }

    fn pack(&self, place: usize) -> Result<Found<Pack>, StoreError> {
        let Some(id) = self.said.chunks.get(place) else { return Ok(Err(does_not_open(place))) };
        let sql = "SELECT bytes FROM object WHERE space = ?1 AND object = ?2";
        let bytes: Option<Vec<u8>> = Reads { conn: self.conn }.one(sql, (self.row, id.as_ref()), |row| row.get(0))?;
        let Some(bytes) = bytes else { return Ok(Err(Comparison::Lacks(vec![*id]))) };
        let verified = object::verified(self.space, self.membership, id, bytes)?;
        Ok(open_pack(self.space, &verified, self.keyring).map_err(|error| match error {
            CheckpointError::UnknownEpoch => Comparison::Behind,
            _ => does_not_open(place),
        }))
    }

    /// Compares what the packs hold with what is held here.
    fn compare(&self) -> Result<Found<PackedNotes>, StoreError> {
        if self.manifest.chunks.len() != self.said.chunks.len() {
            return Ok(Err(wrong(REASON_DOES_NOT_OPEN, StreamId::ZERO, 0)));
        }
        let (mut of_docs, mut notes) = (BTreeMap::<DocId, SaidOf>::new(), Vec::new());
        for (place, chunk) in self.said.chunks.iter().enumerate() {
            let pack = match self.pack(place)? {
                Ok(pack) => pack,
                Err(found) => return Ok(Err(found)),
            };
            let mut docs = Vec::with_capacity(pack.docs.len());
            for packed in &pack.docs {
                if let Err(found) = self.note(place, packed, &mut of_docs)? {
                    return Ok(Err(found));
                }
                docs.push((packed.doc, head_bytes(&packed.heads), packed.weight()));
            }
            for piece in &pack.pieces {
                // Without heads it is never taken for what it is: a chunk with a piece is not used again.
                docs.push((piece.doc, Vec::new(), piece.bytes.len()));
                if piece.number > 1 {
                    continue;
                }
                let packed = match self.assembled(&piece.doc)? {
                    Ok(Some(packed)) => packed,
                    Ok(None) => return Ok(Err(does_not_open(place))),
                    Err(found) => return Ok(Err(found)),
                };
                if let Err(found) = self.note(place, &packed, &mut of_docs)? {
                    return Ok(Err(found));
                }
            }
            notes.push((*chunk, docs));
        }
        let newer = self.newer()?;
        let erased = erase::erased(self.conn, self.row)?;
        // What it says is erased must not be here, before this device vouches for that. Who began with a checkpoint in
        // which it was erased never had it.
        let mut behind = false;
        for doc in self.manifest.erased.iter().filter(|doc| !erased.contains_key(doc)) {
            behind |= DocRow::find(self.conn, self.row, doc)?.is_some();
        }
        for (doc, said) in &of_docs {
            if let Some(position) = erased.get(doc) {
                // It was made before the erasure; or it is not to stand for what it should not hold any more.
                behind |= self.is_cut_behind(*position);
                continue;
            }
            match self.compare_document(doc, said, &newer)? {
                Ok(is_sure) => behind |= !is_sure,
                Err(found) => return Ok(Err(found)),
            }
        }
        // Nobody here can tell whether one of an unknown kind was to be left out.
        behind |= opaque::all(self.conn, self.row)?.iter().any(|kept| !of_docs.contains_key(&kept.doc));
        if let Err(found) = self.compare_absent(&of_docs, &newer)? {
            return Ok(Err(found));
        }
        if let Err(found) = self.compare_parts(&of_docs)? {
            return Ok(Err(found));
        }
        Ok(if behind { Err(Comparison::Behind) } else { Ok(notes) })
    }

    /// Whether the cut reaches the envelope that erased a document.
    fn is_cut_behind(&self, position: i64) -> bool {
        let of = self.streams.iter().find(|known| known.row == position >> 32);
        let floor = of.and_then(|known| self.said.cut.iter().find(|floor| floor.stream == known.stream));
        position == 0 || floor.is_some_and(|floor| i64::from(floor.seq) >= position & i64::from(u32::MAX))
    }

    fn note(
        &self,
        place: usize,
        packed: &PackedDoc,
        of_docs: &mut BTreeMap<DocId, SaidOf>,
    ) -> Result<Found<()>, StoreError> {
        let Ok(scanned) = scan_document(&packed.bytes) else { return Ok(Err(does_not_open(place))) };
        let known = |actor: &StreamId| {
            fence::is_genesis_actor(actor)
                || self.streams.iter().any(|known| known.stream == *actor)
                || self.manifest.through.iter().any(|(stream, _)| stream == actor)
        };
        if let Some(stranger) = scanned.actors.iter().find(|actor| !known(actor)) {
            return Ok(Err(wrong(REASON_CHANGE_UNKNOWN, *stranger, 0)));
        }
        let sql = "SELECT heads, genesis FROM document WHERE space = ?1 AND doc = ?2";
        let ours = Reads { conn: self.conn }
            .one(sql, (self.row, packed.doc.as_ref()), |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u32>(1)?)))?;
        if ours.as_ref().is_some_and(|(_, genesis)| *genesis != packed.genesis.0) {
            return Ok(Err(does_not_open(place)));
        }
        let is_opaque = registry::genesis(packed.genesis).is_none();
        let kept = opaque::heads(self.conn, self.row, &packed.doc)?.map(|heads| (heads, packed.genesis.0));
        let said = of_docs.entry(packed.doc).or_default();
        // What is kept here as of an unknown kind is no measure for a document of a known one.
        said.is_opaque |= is_opaque || (ours.is_none() && kept.is_some());
        let ours = if is_opaque { kept } else { ours };
        said.heads.extend(&packed.heads);
        match ours.is_some_and(|(heads, _)| heads == head_bytes(&packed.heads)) {
            true => said.is_equal = true,
            false => said.differs_in.push(place),
        }
        Ok(Ok(()))
    }

    /// Compares one packed document with the one here; false: it cannot be told yet.
    fn compare_document(&self, doc: &DocId, said: &SaidOf, newer: &Hashes) -> Result<Found<bool>, StoreError> {
        if said.is_equal && said.differs_in.is_empty() {
            return Ok(Ok(true));
        }
        if said.is_opaque {
            return Ok(Ok(false));
        }
        let mut ours = match DocRow::find(self.conn, self.row, doc)? {
            Some(row) => Some((row.load(self.conn, StreamId::ZERO)?, row.id)),
            None => None,
        };
        let holds = |hash: &ChangeHash, ours: &mut Option<(Document, i64)>| {
            ours.as_mut().is_some_and(|(ours, _)| ours.inspect().get_change_meta_by_hash(hash).is_some())
        };
        let mut is_sure = true;
        if !said.heads.iter().all(|head| holds(head, &mut ours)) {
            for place in &said.differs_in {
                match self.compare_more(*place, doc, ours.as_mut().map(|(ours, _)| ours))? {
                    Ok(sure) => is_sure &= sure,
                    Err(found) => return Ok(Err(found)),
                }
            }
        }
        let Some((mut ours, row)) = ours.filter(|_| !said.is_equal) else { return Ok(Ok(is_sure)) };
        let known: Vec<ChangeHash> =
            said.heads.iter().filter(|head| ours.inspect().get_change_meta_by_hash(head).is_some()).copied().collect();
        let left_out = self.left_out(&mut ours, row, &known, newer.get(doc))?;
        Ok(left_out.map_or(Ok(is_sure), |stream| Err(wrong(REASON_CHANGE_MISSING, stream, 0))))
    }

    /// Looks for changes that are not in the document here.
    fn compare_more(&self, place: usize, doc: &DocId, ours: Option<&mut Document>) -> Result<Found<bool>, StoreError> {
        let theirs = match self.packed(place, doc)? {
            Ok(packed) => packed.as_ref().and_then(load),
            Err(found) => return Ok(Err(found)),
        };
        let Some(mut theirs) = theirs else { return Ok(Err(does_not_open(place))) };
        let (mut ours, mut is_sure, mut aside) = (ours, true, None);
        for change in theirs.changes_since(&[]) {
            let held = |ours: &mut &mut Document| ours.inspect().get_change_meta_by_hash(&change.hash).is_some();
            if ours.as_mut().is_some_and(held) {
                continue;
            }
            if aside.is_none() {
                aside = Some(self.set_aside()?);
            }
            if aside.as_ref().is_some_and(|aside| aside.contains(&change.hash)) {
                continue;
            }
            let meta = theirs.inspect().get_change_meta_by_hash(&change.hash);
            let actor = meta.and_then(|meta| StreamId::from_slice(meta.actor.to_bytes())).unwrap_or(StreamId::ZERO);
            if !self.may_be_to_come(&actor) {
                return Ok(Err(wrong(REASON_CHANGE_UNKNOWN, actor, 0)));
            }
            is_sure = false;
        }
        Ok(Ok(is_sure))
    }

    /// Whether the maker says that it holds more of a stream than its cut, and more than is here.
    fn may_be_to_come(&self, actor: &StreamId) -> bool {
        let here = self.streams.iter().find(|known| known.stream == *actor);
        let own = here.is_some_and(|known| known.stream == self.own());
        let through = self.manifest.through.iter().find(|(stream, _)| stream == actor);
        !own && through.is_some_and(|(_, seq)| here.is_none_or(|known| known.seq < *seq))
    }

    fn own(&self) -> StreamId {
        find_space(self.conn, self.space).map_or(StreamId::ZERO, |space| space.stream)
    }

    /// Whose change of a document is neither in the past of these heads nor newer than the cut.
    fn left_out(
        &self,
        ours: &mut Document,
        row: i64,
        heads: &[ChangeHash],
        newer: Option<&HashSet<ChangeHash>>,
    ) -> Result<Option<StreamId>, StoreError> {
        let mut pending = None;
        for change in ours.changes_since(heads) {
            if newer.is_some_and(|newer| newer.contains(&change.hash)) {
                continue;
            }
            if pending.is_none() {
                pending = Some(pending_of(self.conn, row)?);
            }
            if pending.as_ref().is_some_and(|pending| pending.contains(&change.hash)) {
                continue;
            }
            let meta = ours.inspect().get_change_meta_by_hash(&change.hash);
            let actor = meta.and_then(|meta| StreamId::from_slice(meta.actor.to_bytes()));
            return Ok(Some(actor.unwrap_or(StreamId::ZERO)));
        }
        Ok(None)
    }

    /// Documents that are in no chunk must be newer than the cut.
    fn compare_absent(&self, of_docs: &BTreeMap<DocId, SaidOf>, newer: &Hashes) -> Result<Found<()>, StoreError> {
        let sql = "SELECT doc FROM document WHERE space = ?1 ORDER BY doc";
        let all = Reads { conn: self.conn }.all(sql, [self.row], |row| Ok(DocId(row.get(0)?)))?;
        for doc in all.iter().filter(|doc| !of_docs.contains_key(doc)) {
            let Some(row) = DocRow::find(self.conn, self.row, doc)? else { continue };
            let mut ours = row.load(self.conn, StreamId::ZERO)?;
            if let Some(stream) = self.left_out(&mut ours, row.id, &[], newer.get(doc))? {
                return Ok(Err(wrong(REASON_DOCUMENT_MISSING, stream, 0)));
            }
        }
        Ok(Ok(()))
    }

    /// What a living note attaches, where neither the note nor the content's own document changed since the cut.
    fn compare_parts(&self, of_docs: &BTreeMap<DocId, SaidOf>) -> Result<Found<()>, StoreError> {
        let sql = "SELECT e.doc, d.doc, a.parts FROM note_attachment f
                   JOIN note n ON n.doc = f.doc AND n.key = '' JOIN document e ON e.id = f.doc
                   JOIN attachment a ON a.hash = f.hash JOIN document d ON d.id = a.doc
                   WHERE e.space = ?1 AND d.space = ?1 AND n.trashed_ms IS NULL";
        let named: HashSet<&[u8]> = self.said.blobs.iter().map(AsRef::as_ref).collect();
        let is_as_packed =
            |doc: &DocId| of_docs.get(doc).is_some_and(|said| said.is_equal && said.differs_in.is_empty());
        let found = Reads { conn: self.conn }
            .all(sql, [self.row], |row| Ok((DocId(row.get(0)?), DocId(row.get(1)?), row.get::<_, Vec<u8>>(2)?)))?;
        let is_left_out = |(note, content, parts): &(DocId, DocId, Vec<u8>)| {
            is_as_packed(note) && is_as_packed(content) && parts.chunks(32).any(|part| !named.contains(part))
        };
        let is_wrong = found.iter().any(is_left_out);
        Ok(if is_wrong { Err(wrong(REASON_PART_MISSING, StreamId::ZERO, 0)) } else { Ok(()) })
    }

    /// Changes in the envelopes that are held beyond the cut.
    fn newer(&self) -> Result<Hashes, StoreError> {
        let mut newer = Hashes::new();
        for known in &self.streams {
            let cut = self.said.cut.iter().find(|floor| floor.stream == known.stream).map_or(0, |floor| floor.seq);
            let sql = "SELECT bytes FROM envelope WHERE position BETWEEN ?1 AND ?2 ORDER BY position";
            let mut select = self.conn.prepare_cached(sql)?;
            let range = (seal::position(known.row, cut.saturating_add(1)), seal::position(known.row, u32::MAX));
            let mut rows = select.query(range)?;
            while let Some(row) = rows.next()? {
                self.add_changes(known, row.get(0)?, &mut newer);
            }
        }
        Ok(newer)
    }

    /// Changes of an envelope; none of one that cannot be opened or read, which was applied nowhere here.
    fn add_changes(&self, known: &StreamState, bytes: Vec<u8>, found: &mut Hashes) {
        let Ok(envelope) = Envelope::parse(bytes) else { return };
        let (id, author, member) = (envelope.id(self.space), known.device, MemberId::ZERO);
        let verified = VerifiedEnvelope { envelope, id, author, member };
        let Ok(opened) = envelope::open(self.space, &verified, self.keyring) else { return };
        for delta in fence::check(&opened).into_iter().flatten() {
            let hashes = delta.changes.iter().map(|checked| checked.change.hash());
            found.entry(delta.doc).or_default().extend(hashes);
        }
    }

    /// Changes that came here and were not applied: they wait, or their envelope is set aside.
    fn set_aside(&self) -> Result<HashSet<ChangeHash>, StoreError> {
        let reads = Reads { conn: self.conn };
        let waiting = "SELECT hash FROM waiting WHERE space = ?1";
        let mut aside: HashSet<ChangeHash> =
            reads.all(waiting, [self.row], |row| Ok(ChangeHash(row.get(0)?)))?.into_iter().collect();
        for known in &self.streams {
            let sql = "SELECT coalesce(q.bytes, e.bytes) FROM quarantine q
                       LEFT JOIN envelope e ON e.position = (?3 << 32 | q.seq) AND e.envelope = q.envelope
                       WHERE q.space = ?1 AND q.stream = ?2";
            let key = (self.row, known.stream.as_ref(), known.row);
            let mut found = Hashes::new();
            for bytes in reads.all(sql, key, |row| row.get::<_, Option<Vec<u8>>>(0))?.into_iter().flatten() {
                self.add_changes(known, bytes, &mut found);
            }
            aside.extend(found.into_values().flatten());
        }
        Ok(aside)
    }
}

fn load(packed: &PackedDoc) -> Option<Document> {
    let PackedDoc { doc, genesis, heads, bytes, .. } = packed.clone();
    load_guarded(Whole { doc, genesis, bytes, heads }, APPLY_TIMEOUT).ok()
}

/// Changes of this device that are not sealed.
fn pending_of(conn: &Connection, doc: i64) -> Result<HashSet<ChangeHash>, StoreError> {
    let sql = "SELECT bytes FROM change WHERE doc = ?1 AND state > 0";
    let changes = Reads { conn }.all(sql, [doc], |row| row.get::<_, Vec<u8>>(0))?;
    let hash = |bytes| automerge::Change::from_bytes(bytes).ok().map(|change| change.hash());
    Ok(changes.into_iter().filter_map(hash).collect())
}
