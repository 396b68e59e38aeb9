//! Making a checkpoint of what is held: one reading of the database, chunk after chunk, and re-use of what is packed
//! already.
//!
//! ```text
//! one read transaction ─ cut of every stream ─ documents ─┬ current in a chunk that is kept ─▶ that chunk
//!                                                         └ else, essentials and newest first ─▶ new chunks
//! ```
//! The reading may be that of a connection of its own ([`Drafting`]), so that edits go on while chunks are made: what is
//! in them is what was there when it began.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use automerge::ChangeHash;
use lifeos_sync_protocol::envelope::{Header, Kind};
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, EpochRef, RecordId, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Floor, reaches};
use rusqlite::Connection;

use super::super::documents::DocRow;
use super::super::erase;
use super::super::records::find_space;
use super::super::{Reader, Reads, Store, StoreError, attachment, begin, rows, schema};
use super::due::{cut_of, may_vouch};
use super::{head_bytes, id_at, note_cut, object, opaque, r32, streams};
use crate::checkpoint::{
    CheckpointError, ChunkNote, ERASED_MAX, Manifest, PACK_DOCUMENTS_MAX, Pack, PackedDoc, Piece, encode_rows,
    seal_manifest,
};
use crate::crypto::Random;
use crate::envelope::{ObjectPlace, RefusedEnvelope, SealedEnvelope, seal_object};
use crate::fence::scan_document;
use crate::keys::{DeviceKeys, SealKey};
use crate::modules::attachment::SPACE_PARTS_MAX;
use crate::registry::{self, Essential};

/// What a chunk is to weigh when it is sealed: small enough to be fetched again after a broken connection.
const CHUNK_BYTES: usize = 512 * 1024;
/// Packs are so many times larger than what they are sealed to, until it was seen.
const RATIO_START: usize = 3;
const RATIO_MAX: usize = 16;

/// Where drafting stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Documents that are in a chunk.
    pub docs: u64,
    /// All documents.
    pub docs_all: u64,
}

/// What goes into a Checkpoint record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointDraft {
    /// Checkpoints that it continues.
    pub previous: Vec<RecordId>,
    /// Where it leaves each stream, ascending by stream.
    pub cut: Vec<Floor>,
    /// Its chunks, essentials first; all of them are held.
    pub chunks: Vec<EnvelopeId>,
    /// Its blob parts.
    pub blobs: Vec<EnvelopeId>,
    /// What the chunks hold, sealed.
    pub enc_manifest: Vec<u8>,
}

/// A new chunk, to be kept before a record names it.
#[derive(Debug, Clone)]
pub struct BuiltChunk {
    sealed: SealedEnvelope,
    is_essential: bool,
    docs: Vec<PackedNote>,
}

/// A document as it lies in a chunk.
#[derive(Debug, Clone)]
struct PackedNote {
    doc: DocId,
    heads: Vec<u8>,
    weight: usize,
}

/// A chunk of the draft.
struct Placed {
    id: EnvelopeId,
    note: ChunkNote,
    is_new: bool,
}

/// A document that is to be packed.
#[derive(Debug, Clone, Copy)]
struct Todo {
    source: Source,
    doc: DocId,
    is_essential: bool,
}

/// Where a document lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Document(i64),
    /// It is of a kind that this version does not know.
    Opaque(i64),
}

/// A draft under way.
struct Drafter {
    space: SpaceId,
    own: (StreamId, [u8; 32]),
    previous: Vec<RecordId>,
    cut: Vec<Floor>,
    blobs: Vec<EnvelopeId>,
    through: Vec<(StreamId, u32)>,
    erased: Vec<DocId>,
    todo: VecDeque<Todo>,
    /// Pieces of a document that is too large for a chunk, and whether it is essential.
    pieces: VecDeque<(Piece, bool)>,
    placed: Vec<Placed>,
    built: Vec<(EnvelopeId, Vec<PackedNote>)>,
    ratio: usize,
    progress: Progress,
}

/// A draft on a connection of its own.
pub struct Drafting {
    reader: Reader,
    drafter: Drafter,
}

/// With what chunks are sealed.
struct Sealing<'k> {
    keys: &'k DeviceKeys,
    key: &'k SealKey,
    random: &'k mut dyn Random,
}

/// What is to be stored of a draft once it is whole.
pub struct BuiltDraft {
    draft: CheckpointDraft,
    live: Vec<(EnvelopeId, bool)>,
    built: Vec<(EnvelopeId, Vec<PackedNote>)>,
}

impl Drafting {
    /// Begins a draft of a space as it is now. `None`: not now, because something is not sealed, was not looked at yet,
    /// or nothing has come since the last checkpoint.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin(
        reader: Reader,
        space: &SpaceId,
        membership: &Membership,
        now_ms: i64,
    ) -> Result<Option<Self>, StoreError> {
        reader.conn.execute_batch("BEGIN")?;
        let drafter = Drafter::begin(&reader.conn, space, membership, now_ms)?;
        Ok(drafter.map(|drafter| Self { reader, drafter }))
    }

    /// The next chunk, to be given to [`Store::keep_chunk`]; `None`: there are no more.
    ///
    /// # Errors
    /// [`StoreError::DocumentTooLarge`]; [`StoreError`].
    pub fn next_chunk(
        &mut self,
        keys: &DeviceKeys,
        key: &SealKey,
        random: &mut dyn Random,
    ) -> Result<Option<BuiltChunk>, StoreError> {
        self.drafter.next_chunk(&self.reader.conn, &mut Sealing { keys, key, random })
    }

    /// Where it stands.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        self.drafter.progress
    }

    /// What goes into the record, to be given to [`Store::keep_draft`]; the reader is of no further use for drafting.
    ///
    /// # Errors
    /// [`StoreError::DocumentTooLarge`] when there are too many chunks for one record.
    pub fn finish(self, key: &SealKey, random: &mut dyn Random) -> Result<BuiltDraft, StoreError> {
        self.reader.conn.execute_batch("ROLLBACK")?;
        self.drafter.finish(key, random)
    }
}

impl Store {
    /// Makes a whole draft on the writer's own connection: nobody edits meanwhile. [`Drafting`] does the same beside
    /// edits. `stop` is asked after every chunk and ends it when it says so; chunks made until then are garbage.
    ///
    /// # Errors
    /// [`StoreError::DocumentTooLarge`]; [`StoreError`].
    pub fn draft_checkpoint(
        &mut self,
        space: &SpaceId,
        membership: &Membership,
        (keys, key): (&DeviceKeys, &SealKey),
        now_ms: i64,
        random: &mut dyn Random,
        stop: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Option<CheckpointDraft>, StoreError> {
        let reading = self.conn.unchecked_transaction()?;
        let Some(mut drafter) = Drafter::begin(&reading, space, membership, now_ms)? else { return Ok(None) };
        let mut chunks = Vec::new();
        while let Some(chunk) = drafter.next_chunk(&reading, &mut Sealing { keys, key, random })? {
            chunks.push(chunk);
            if stop(drafter.progress) {
                return Ok(None);
            }
        }
        reading.commit()?;
        for chunk in &chunks {
            self.keep_chunk(space, chunk, now_ms)?;
        }
        self.keep_draft(space, drafter.finish(key, random)?, now_ms).map(Some)
    }

    /// Keeps a chunk of a draft.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_chunk(&mut self, space: &SpaceId, chunk: &BuiltChunk, now_ms: i64) -> Result<(), StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        object::insert(&transaction, row, &chunk.sealed.id, &chunk.sealed.bytes, true, now_ms)?;
        Ok(transaction.commit()?)
    }

    /// Keeps what the chunks of a draft hold, for the next one, and gives what goes into the record.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a chunk was not kept.
    pub fn keep_draft(
        &mut self,
        space: &SpaceId,
        built: BuiltDraft,
        now_ms: i64,
    ) -> Result<CheckpointDraft, StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        if !object::lacking(&transaction, row, &built.draft.chunks)?.is_empty() {
            return Err(StoreError::Corrupt { what: "the chunks of a new checkpoint" });
        }
        for (id, docs) in &built.built {
            put_packed(&transaction, row, id, docs.iter().map(|note| (note.doc, note.heads.as_slice(), note.weight)))?;
        }
        put_live(&transaction, row, &built.live)?;
        note_cut(&transaction, row, &built.draft.cut, now_ms)?;
        transaction.commit()?;
        Ok(built.draft)
    }
}

/// Keeps what a chunk holds.
pub(super) fn put_packed<'p>(
    conn: &Connection,
    space: i64,
    chunk: &EnvelopeId,
    docs: impl IntoIterator<Item = (DocId, &'p [u8], usize)>,
) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO packed(object, doc, heads, weight)
               SELECT id, ?3, ?4, ?5 FROM object WHERE space = ?1 AND object = ?2";
    let mut insert = conn.prepare_cached(sql)?;
    for (doc, heads, weight) in docs {
        insert.execute((space, chunk.as_ref(), doc.as_ref(), heads, u32::try_from(weight).unwrap_or(u32::MAX)))?;
    }
    Ok(())
}

/// Says which chunks the newest checkpoint has, in order.
pub(super) fn put_live(conn: &Connection, space: i64, chunks: &[(EnvelopeId, bool)]) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM live WHERE space = ?1")?.execute([space])?;
    let sql = "INSERT INTO live(space, n, object, essential)
               SELECT ?1, ?2, id, ?4 FROM object WHERE space = ?1 AND object = ?3";
    let mut insert = conn.prepare_cached(sql)?;
    for (n, (chunk, is_essential)) in chunks.iter().enumerate() {
        insert.execute((space, i64::try_from(n).unwrap_or(i64::MAX), chunk.as_ref(), is_essential))?;
    }
    Ok(())
}

impl Drafter {
    fn begin(
        conn: &Connection,
        space: &SpaceId,
        membership: &Membership,
        now_ms: i64,
    ) -> Result<Option<Self>, StoreError> {
        let space_ref = find_space(conn, space)?;
        let row = space_ref.row;
        let sealed = Reads { conn }.pending_count(space)? == 0;
        let has_own_rows = schema::projections_are_current(conn)? && Reads { conn }.unprojected_count()? == 0;
        if !sealed || !may_vouch(conn, row)? || !has_own_rows {
            return Ok(None);
        }
        let (cut, through, is_further) = cut(conn, row)?;
        let Some(r32) = r32(conn, space_ref.stream_row)?.filter(|_| is_further) else { return Ok(None) };
        let Some(erased) = erased_before(conn, row, &cut)? else { return Ok(None) };
        let blobs: Vec<EnvelopeId> = attachment::live(conn, row, now_ms)?.into_iter().collect();
        // Without its name in the record a part is deleted at the relays: rather no checkpoint than half of them.
        if blobs.len() > SPACE_PARTS_MAX {
            return Err(StoreError::DocumentTooLarge);
        }
        let documents = documents(conn, row)?;
        let docs_all = documents.len() as u64;
        let (reused, kept) = reusable(conn, row, membership, &documents)?;
        let todo: VecDeque<Todo> =
            documents.into_iter().filter(|(todo, _)| !kept.contains(&todo.doc)).map(|(todo, _)| todo).collect();
        let progress = Progress { docs: docs_all - todo.len() as u64, docs_all };
        Ok(Some(Self {
            space: *space,
            own: (space_ref.stream, r32),
            previous: newest(membership, &cut),
            cut,
            blobs,
            through,
            erased,
            todo,
            pieces: VecDeque::new(),
            placed: reused,
            built: Vec::new(),
            ratio: RATIO_START,
            progress,
        }))
    }

    fn next_chunk(&mut self, conn: &Connection, sealing: &mut Sealing<'_>) -> Result<Option<BuiltChunk>, StoreError> {
        if let Some((piece, is_essential)) = self.pieces.pop_front() {
            return self.seal_piece(piece, is_essential, sealing).map(Some);
        }
        let Some(first) = self.todo.front().copied() else { return Ok(None) };
        let (mut docs, mut begun) = (Vec::new(), Vec::new());
        let mut weight = 0;
        while let Some(next) = self.todo.front().filter(|next| next.is_essential == first.is_essential) {
            if docs.len() == PACK_DOCUMENTS_MAX || (weight > 0 && weight >= CHUNK_BYTES * self.ratio) {
                break;
            }
            let packed = pack(conn, next.source)?;
            if weight > 0 && weight + packed.weight() > 2 * CHUNK_BYTES * self.ratio {
                break;
            }
            weight += packed.weight();
            docs.push(packed);
            begun.extend(self.todo.pop_front());
        }
        let Some((sealed, docs)) = self.seal(docs, &begun, sealing)? else {
            return self.next_chunk(conn, sealing);
        };
        if let Some(ratio) = weight.checked_div(sealed.bytes.len()) {
            self.ratio = ratio.clamp(1, RATIO_MAX);
        }
        let bytes = u32::try_from(sealed.bytes.len()).unwrap_or(u32::MAX);
        let note = ChunkNote::new(first.is_essential, bytes, docs.iter().map(|note| note.doc));
        self.placed.push(Placed { id: sealed.id, note, is_new: true });
        self.built.push((sealed.id, docs.clone()));
        self.progress.docs += docs.len() as u64;
        Ok(Some(BuiltChunk { sealed, is_essential: first.is_essential, docs }))
    }

    /// Seals as many of the documents as one chunk can hold; the others wait for the next. `None`: the first one is cut
    /// into pieces.
    fn seal(
        &mut self,
        mut docs: Vec<PackedDoc>,
        begun: &[Todo],
        sealing: &mut Sealing<'_>,
    ) -> Result<Option<(SealedEnvelope, Vec<PackedNote>)>, StoreError> {
        loop {
            let pack = Pack { stamp: schema::projection_stamp(), docs, pieces: Vec::new() };
            let sealed = self.seal_pack(&pack, sealing);
            docs = pack.docs;
            match sealed {
                Ok(sealed) => return Ok(Some((sealed, docs.iter().map(PackedNote::of).collect()))),
                Err(RefusedEnvelope::TooLarge) if docs.len() > 1 => {
                    let back = begun.get(docs.len() / 2..docs.len()).unwrap_or_default();
                    back.iter().rev().for_each(|todo| self.todo.push_front(*todo));
                    docs.truncate(docs.len() / 2);
                }
                Err(RefusedEnvelope::TooLarge) => {
                    let pieces = docs.first().and_then(Piece::cut).ok_or(StoreError::DocumentTooLarge)?;
                    let is_essential = begun.first().is_some_and(|todo| todo.is_essential);
                    self.pieces = pieces.into_iter().map(|piece| (piece, is_essential)).collect();
                    return Ok(None);
                }
                Err(refused) => return Err(refused.into()),
            }
        }
    }

    fn seal_pack(&self, pack: &Pack, sealing: &mut Sealing<'_>) -> Result<SealedEnvelope, RefusedEnvelope> {
        let place =
            ObjectPlace { kind: Kind::Chunk, stream: self.own.0, seq: 0, r32: self.own.1, epoch: sealing.key.epoch() };
        let body = zeroize::Zeroizing::new(pack.encode());
        seal_object(&self.space, &place, sealing.keys, sealing.key.secret(), &body, sealing.random)
    }

    /// A chunk with one piece. It is never used again: the next checkpoint may have others.
    fn seal_piece(
        &mut self,
        piece: Piece,
        is_essential: bool,
        sealing: &mut Sealing<'_>,
    ) -> Result<BuiltChunk, StoreError> {
        let doc = piece.doc;
        let pack = Pack { stamp: schema::projection_stamp(), docs: Vec::new(), pieces: vec![piece] };
        let sealed = self.seal_pack(&pack, sealing)?;
        let bytes = u32::try_from(sealed.bytes.len()).unwrap_or(u32::MAX);
        let docs = vec![PackedNote { doc, heads: Vec::new(), weight: sealed.bytes.len() }];
        self.placed.push(Placed { id: sealed.id, note: ChunkNote::new(is_essential, bytes, [doc]), is_new: true });
        self.built.push((sealed.id, docs.clone()));
        self.progress.docs += u64::from(self.pieces.is_empty());
        Ok(BuiltChunk { sealed, is_essential, docs })
    }

    fn finish(mut self, key: &SealKey, random: &mut dyn Random) -> Result<BuiltDraft, StoreError> {
        // Essentials first, and among equals what is new: it is newer than what was packed before.
        self.placed.sort_by_key(|placed| (!placed.note.is_essential, !placed.is_new));
        let chunks: Vec<EnvelopeId> = self.placed.iter().map(|placed| placed.id).collect();
        let live = self.placed.iter().map(|placed| (placed.id, placed.note.is_essential)).collect();
        let notes = self.placed.into_iter().map(|placed| placed.note).collect();
        let manifest =
            Manifest { docs: self.progress.docs_all, chunks: notes, through: self.through, erased: self.erased };
        let enc_manifest = seal_manifest(&self.space, &manifest, key, random).map_err(|error| match error {
            CheckpointError::TooLarge => StoreError::DocumentTooLarge,
            error => StoreError::Checkpoint(error),
        })?;
        let Self { previous, cut, blobs, built, .. } = self;
        let draft = CheckpointDraft { previous, cut, chunks, blobs, enc_manifest };
        Ok(BuiltDraft { draft, live, built })
    }
}

impl BuiltChunk {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> EnvelopeId {
        self.sealed.id
    }

    /// Bytes as sent.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.sealed.bytes.len()
    }

    /// Documents inside.
    #[must_use]
    pub const fn docs(&self) -> usize {
        self.docs.len()
    }

    /// Whether lists and recent work need it.
    #[must_use]
    pub const fn is_essential(&self) -> bool {
        self.is_essential
    }
}

impl PackedNote {
    fn of(doc: &PackedDoc) -> Self {
        Self { doc: doc.doc, heads: head_bytes(&doc.heads), weight: doc.weight() }
    }
}

/// The cut, the streams of which documents hold more than it says, and whether it goes further than the last one.
type Cuts = (Vec<Floor>, Vec<(StreamId, u32)>, bool);

fn cut(conn: &Connection, space: i64) -> Result<Cuts, StoreError> {
    let (mut floors, mut through, mut is_further) = (Vec::new(), Vec::new(), false);
    for known in streams(conn, space)? {
        let seq = if known.r32.is_some() { cut_of(conn, space, &known)? } else { 0 };
        if seq < known.end() {
            through.push((known.stream, known.end()));
        }
        let Some(r32) = known.r32.filter(|_| seq > 0) else { continue };
        let id = id_at(conn, &known, seq)?.ok_or(StoreError::Corrupt { what: "the envelopes of a stream" })?;
        floors.push(Floor { stream: known.stream, seq, id, device: known.device, r32 });
        let last = Reads { conn }.one("SELECT cut_seq FROM stream WHERE id = ?1", [known.row], |row| row.get(0))?;
        is_further |= seq > last.unwrap_or(0_u32);
    }
    Ok((floors, through, is_further))
}

/// Documents that were erased before a cut, the newest if there are too many to name. `None`: somebody is still to be told.
fn erased_before(conn: &Connection, space: i64, cut: &[Floor]) -> Result<Option<Vec<DocId>>, StoreError> {
    let sql = "SELECT e.doc, e.state, s.stream, e.position & 4294967295 FROM erased e
               LEFT JOIN stream s ON s.id = e.position >> 32 AND e.position > 0
               WHERE e.space = ?1 AND e.state > 0 ORDER BY e.since_ms DESC";
    let all = Reads { conn }.all(sql, [space], |row| {
        let stream: Option<[u8; 16]> = row.get(2)?;
        Ok((DocId(row.get(0)?), row.get::<_, u8>(1)?, stream.map(StreamId), row.get::<_, u32>(3)?))
    })?;
    if all.iter().any(|(_, state, ..)| *state == 1) {
        return Ok(None);
    }
    let reached = |stream: &StreamId| cut.iter().find(|floor| floor.stream == *stream).map_or(0, |floor| floor.seq);
    let is_before = |stream: &Option<StreamId>, seq| stream.is_none_or(|stream| reached(&stream) >= seq);
    let found = all.into_iter().filter(|(_, _, stream, seq)| is_before(stream, *seq)).map(|(doc, ..)| doc);
    let mut found: Vec<DocId> = found.take(ERASED_MAX).collect();
    found.sort_unstable();
    Ok(Some(found))
}

/// Every document with its heads, in the order in which they are packed.
fn documents(conn: &Connection, space: i64) -> Result<Vec<(Todo, Vec<u8>)>, StoreError> {
    struct Found {
        todo: Todo,
        heads: Vec<u8>,
        pinned: i64,
        updated_ms: i64,
        essential: Essential,
    }
    let sql = "SELECT d.id, d.doc, d.genesis, d.heads, coalesce(n.pinned, 0), coalesce(n.updated_ms, 0),
                      n.trashed_ms IS NOT NULL
               FROM document d LEFT JOIN note n ON n.doc = d.id AND n.key = '' WHERE d.space = ?1 ORDER BY d.id";
    let mut found = Reads { conn }.all(sql, [space], |row| {
        let kind = registry::kind(crate::document::GenesisId(row.get(2)?));
        let (pinned, trashed): (i64, bool) = (row.get(4)?, row.get(6)?);
        Ok(Found {
            todo: Todo { source: Source::Document(row.get(0)?), doc: DocId(row.get(1)?), is_essential: false },
            heads: row.get(3)?,
            pinned: if trashed { -1 } else { pinned },
            updated_ms: row.get(5)?,
            essential: kind.map_or(Essential::Newest(0), |kind| kind.essential),
        })
    })?;
    found.sort_by_key(|found| {
        let first = found.essential != Essential::Always;
        (first, std::cmp::Reverse((found.pinned, found.updated_ms)), found.todo.source)
    });
    let mut newest: HashMap<Essential, usize> = HashMap::new();
    for found in &mut found {
        let before = newest.entry(found.essential).or_default();
        found.todo.is_essential = match found.essential {
            Essential::Always => true,
            Essential::Newest(count) => *before < count,
        };
        *before += 1;
    }
    found.sort_by_key(|found| !found.todo.is_essential);
    let kept = opaque::all(conn, space)?.into_iter().map(|kept| {
        let todo = Todo { source: Source::Opaque(kept.row), doc: kept.doc, is_essential: false };
        (todo, kept.heads)
    });
    Ok(found.into_iter().map(|found| (found.todo, found.heads)).chain(kept).collect())
}

/// One document as it is packed: its snapshot as it lies there, or made now.
fn pack(conn: &Connection, source: Source) -> Result<PackedDoc, StoreError> {
    let row = match source {
        Source::Document(row) => row,
        Source::Opaque(row) => return opaque::packed(conn, row),
    };
    let missing = StoreError::Corrupt { what: "a document that was just listed" };
    let row = DocRow::by_id(conn, row)?.ok_or(missing)?;
    let heads = Reads { conn }.one("SELECT heads FROM document WHERE id = ?1", [row.id], |row| row.get(0))?;
    let heads: Vec<u8> = heads.unwrap_or_default();
    let heads: Vec<ChangeHash> = heads.as_chunks::<32>().0.iter().copied().map(ChangeHash).collect();
    let fits = |bytes: &Vec<u8>| scan_document(bytes).is_ok_and(|scanned| scanned.heads == heads);
    let bytes = match row.whole_snapshot(conn)?.filter(fits) {
        Some(bytes) => bytes,
        None => row.load(conn, StreamId::ZERO)?.snapshot(),
    };
    let rows = encode_rows(&rows::load(conn, row.id, row.genesis)?);
    Ok(PackedDoc { doc: row.doc, genesis: row.genesis, heads, bytes, rows })
}

/// Chunks of the last checkpoint that are named again, in their order, and the documents that are current in them.
fn reusable(
    conn: &Connection,
    space: i64,
    membership: &Membership,
    documents: &[(Todo, Vec<u8>)],
) -> Result<(Vec<Placed>, BTreeSet<DocId>), StoreError> {
    let current: BTreeMap<DocId, &[u8]> = documents.iter().map(|(todo, heads)| (todo.doc, heads.as_slice())).collect();
    let sql = "SELECT o.id, o.object, l.essential, substr(o.bytes, 1, 92), length(o.bytes) FROM live l
               JOIN object o ON o.id = l.object WHERE l.space = ?1 AND o.checked ORDER BY l.n";
    let chunks = Reads { conn }.all(sql, [space], |row| {
        let header: Vec<u8> = row.get(3)?;
        let epoch = Header::decode(&header).ok().map(|header| header.epoch);
        Ok((row.get::<_, i64>(0)?, EnvelopeId(row.get(1)?), row.get::<_, bool>(2)?, epoch, row.get::<_, u32>(4)?))
    })?;
    let (mut reused, mut kept, erased) = (Vec::new(), BTreeSet::new(), erase::erased(conn, space)?);
    for (row, id, is_essential, epoch, bytes) in chunks {
        if !epoch.is_some_and(|epoch| is_unknown_to_removed(membership, &epoch)) {
            continue;
        }
        let sql = "SELECT doc, heads, weight FROM packed WHERE object = ?1";
        let docs = Reads { conn }.all(sql, [row], |row| {
            Ok((DocId(row.get(0)?), row.get::<_, Vec<u8>>(1)?, u64::from(row.get::<_, u32>(2)?)))
        })?;
        if docs.iter().any(|(doc, ..)| erased.contains_key(doc)) {
            continue;
        }
        let all: u64 = docs.iter().map(|(_, _, weight)| weight).sum();
        let fresh = docs.iter().filter(|(doc, heads, _)| {
            !kept.contains(doc) && current.get(doc).is_some_and(|current| *current == heads.as_slice())
        });
        let fresh: Vec<(DocId, u64)> = fresh.map(|(doc, _, weight)| (*doc, *weight)).collect();
        if 2 * fresh.iter().map(|(_, weight)| weight).sum::<u64>() < all || fresh.is_empty() {
            continue;
        }
        kept.extend(fresh.into_iter().map(|(doc, _)| doc));
        let note = ChunkNote::new(is_essential, bytes, docs.into_iter().map(|(doc, ..)| doc));
        reused.push(Placed { id, note, is_new: false });
    }
    Ok((reused, kept))
}

/// Whether no device that was removed was ever given a key that opens an epoch: its own, or a later one that wraps it.
pub(in crate::store) fn is_unknown_to_removed(membership: &Membership, epoch: &EpochRef) -> bool {
    let Some(from) = membership.epochs.get(epoch).map(|epoch| epoch.generation) else { return false };
    let removed = membership.devices.iter().filter(|(_, device)| device.removed_by.is_some());
    let removed: BTreeSet<[u8; 16]> = removed
        .map(|(key, _)| {
            let mut short = [0; 16];
            short.copy_from_slice(&key.0[..16]);
            short
        })
        .collect();
    let later = membership.epochs.values().filter(|epoch| epoch.generation >= from);
    let mut given = later.flat_map(|epoch| epoch.recipients.iter().chain(&epoch.granted));
    !given.any(|short| removed.contains(short))
}

/// Checkpoints that none continues.
fn newest(membership: &Membership, cut: &[Floor]) -> Vec<RecordId> {
    let continued: BTreeSet<&RecordId> =
        membership.checkpoints.values().flat_map(|checkpoint| &checkpoint.previous).collect();
    // One that reaches further than this device does stays beside the new one.
    let newest = membership.checkpoints.iter().filter(|(record, _)| !continued.contains(record));
    newest.filter(|(_, made)| reaches(cut, &made.cut)).map(|(record, _)| *record).collect()
}
