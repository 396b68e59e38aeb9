//! Documents in memory: an LRU of loaded ones, checked by generation, and the snapshot policy.
//!
//! A workspace is what one transaction works in: it takes documents out of the cache (or loads them), and puts
//! them back only after the commit. Whatever happens before, the cache never holds what the disk does not.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use lifeos_sync_protocol::ids::{DocId, SpaceId, StreamId};
use rusqlite::{Connection, OptionalExtension};

use super::checkpoint::{Fault, blame, load_unverified};
pub(super) use super::mark::{Mark, is_marked, mark, mark_all, marked, unmark};
use super::records::{SpaceRef, find_space};
use super::{Store, StoreError, begin, rows, search};
use crate::checkpoint::PackedDoc;
use crate::crypto;
use crate::document::chunk::writes_root_only;
use crate::document::{Document, DocumentError, GenesisId, LocalChange};
use crate::projection::{self, Memo, Row, SearchText};
use crate::registry;

/// Documents kept loaded.
const CACHED_DOCUMENTS_MAX: usize = 256;
/// Estimated bytes of documents kept loaded.
const CACHED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What a loaded document of a few fields takes (engine.md: 17.4 KB RSS).
const DOCUMENT_BYTES: usize = 16 * 1024;
/// A document is so many times larger than the snapshot it was loaded from.
const SNAPSHOT_FACTOR: usize = 16;
/// And so many times larger than the changes since: Automerge keeps room it needed to apply some (measured: 60 to
/// 320 KB for one of 2.5 KB), but little for those made here.
const CHANGES_FACTOR: usize = 32;

/// A tail this small is never a reason for a snapshot.
const TAIL_BYTES_MIN: i64 = 4 * 1024;
/// A tail with more changes loads too slowly.
const TAIL_CHANGES_MAX: i64 = 64;
/// A transaction that writes at least so many documents indexes them at once: in a batch that is cheaper
/// than loading them again later.
const INDEX_AT_ONCE_DOCUMENTS: usize = 16;

/// The row of table `document`.
#[derive(Debug, Clone)]
pub(super) struct DocRow {
    pub(super) id: i64,
    pub(super) space: i64,
    pub(super) doc: DocId,
    pub(super) genesis: GenesisId,
    generation: i64,
    next_change: i64,
    tail_changes: i64,
    tail_bytes: i64,
    snapshot_bytes: i64,
    search_hash: Option<i64>,
    /// The checkpoint that it came with, while nobody has looked inside; else 0.
    pub(super) unverified: i64,
}

const ROW_COLUMNS: &str = "id, space, doc, genesis, generation, next_change, tail_changes, tail_bytes, snapshot_bytes,
                           search_hash, unverified";

impl DocRow {
    fn new(space: i64, doc: DocId, genesis: GenesisId) -> Self {
        Self {
            id: 0,
            space,
            doc,
            genesis,
            generation: 0,
            next_change: 0,
            tail_changes: 0,
            tail_bytes: 0,
            snapshot_bytes: 0,
            search_hash: None,
            unverified: 0,
        }
    }

    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            space: row.get(1)?,
            doc: DocId(row.get(2)?),
            genesis: GenesisId(row.get(3)?),
            generation: row.get(4)?,
            next_change: row.get(5)?,
            tail_changes: row.get(6)?,
            tail_bytes: row.get(7)?,
            snapshot_bytes: row.get(8)?,
            search_hash: row.get(9)?,
            unverified: row.get(10)?,
        })
    }

    /// Finds the row of a document by its id.
    pub(super) fn find(conn: &Connection, space: i64, doc: &DocId) -> Result<Option<Self>, StoreError> {
        let sql = format!("SELECT {ROW_COLUMNS} FROM document WHERE space = ?1 AND doc = ?2");
        let mut select = conn.prepare_cached(&sql)?;
        Ok(select.query_row((space, doc.as_ref()), Self::read).optional()?)
    }

    /// Finds the row of a document by its number.
    pub(super) fn by_id(conn: &Connection, id: i64) -> Result<Option<Self>, StoreError> {
        let sql = format!("SELECT {ROW_COLUMNS} FROM document WHERE id = ?1");
        Ok(conn.prepare_cached(&sql)?.query_row([id], Self::read).optional()?)
    }

    /// Loads the document: snapshot, then tail. One that nobody has looked inside is loaded under the watchdog.
    pub(super) fn load(&self, conn: &Connection, actor: StreamId) -> Result<Document, StoreError> {
        if self.unverified != 0 {
            return Ok(load_unverified(conn, self)?.with_actor(actor));
        }
        let snapshot = self.snapshot(conn)?;
        let mut tail = Vec::with_capacity(usize::try_from(self.tail_bytes).unwrap_or(0));
        let mut select = conn.prepare_cached("SELECT bytes FROM change WHERE doc = ?1 AND state < 2 ORDER BY n")?;
        let mut rows = select.query([self.id])?;
        let mut changes = 0;
        while let Some(row) = rows.next()? {
            changes += 1;
            tail.extend_from_slice(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        }
        // A change that is gone leaves no other trace.
        if changes != self.tail_changes {
            return Err(DocumentError::Corrupt.into());
        }
        Ok(Document::load(self.doc, self.genesis, actor, &snapshot, &tail)?)
    }

    /// The stored snapshot; empty when there is none.
    pub(super) fn snapshot(&self, conn: &Connection) -> Result<Vec<u8>, StoreError> {
        if self.snapshot_bytes == 0 {
            return Ok(Vec::new());
        }
        let mut select = conn.prepare_cached("SELECT bytes FROM snapshot WHERE doc = ?1")?;
        select.query_row([self.id], |row| row.get(0)).optional()?.ok_or(StoreError::DocumentWithoutSnapshot)
    }

    /// The stored snapshot if it is all of the document.
    pub(super) fn whole_snapshot(&self, conn: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
        let whole = self.snapshot_bytes > 0 && self.tail_changes == 0;
        whole.then(|| self.snapshot(conn)).transpose()
    }

    fn weight(&self) -> usize {
        let factored = |bytes: i64, factor| usize::try_from(bytes).unwrap_or(0).saturating_mul(factor);
        DOCUMENT_BYTES + factored(self.snapshot_bytes, SNAPSHOT_FACTOR) + factored(self.tail_bytes, CHANGES_FACTOR)
    }
}

/// A loaded document with what is known of its rows.
pub(super) struct Entry {
    pub(super) row: DocRow,
    pub(super) document: Document,
    /// Its projection rows on disk, when known.
    rows: Option<Vec<Row>>,
    /// What need not be read again for its projection.
    memo: Memo,
    /// When it was last put into the cache; 0: never.
    used: u64,
    /// Nobody else has written to the database since the generation was compared.
    checked: bool,
}

/// What is known of a document that was taken out to be changed.
pub(super) struct Detached {
    row: DocRow,
    rows: Option<Vec<Row>>,
    used: u64,
}

/// What a document projects to.
pub(super) type Projected = (Vec<Row>, Option<SearchText>);

/// Loaded documents.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<(i64, DocId), Entry>,
    spaces: HashMap<SpaceId, SpaceRef>,
    bytes: usize,
    clock: u64,
    data_version: i64,
}

impl Cache {
    /// Notices what other connections wrote since the last look; to be called with a transaction open.
    fn revalidate(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let version = conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if version != self.data_version {
            self.data_version = version;
            self.entries.values_mut().for_each(|entry| entry.checked = false);
            let known = std::mem::take(&mut self.spaces);
            if known.iter().any(|(space, known)| find_space(conn, space).ok().as_ref() != Some(known)) {
                // Another process has left the stream that this device writes: what is loaded would write as the old one.
                self.clear();
            }
        }
        Ok(())
    }

    fn take(&mut self, conn: &Connection, space: i64, doc: &DocId) -> Result<Option<Entry>, StoreError> {
        let Some(mut entry) = self.entries.remove(&(space, *doc)) else { return Ok(None) };
        self.bytes -= entry.row.weight();
        if !entry.checked {
            let sql = "SELECT generation FROM document WHERE id = ?1";
            let stored: Option<i64> =
                conn.prepare_cached(sql)?.query_row([entry.row.id], |row| row.get(0)).optional()?;
            if stored != Some(entry.row.generation) {
                return Ok(None);
            }
            entry.checked = true;
        }
        Ok(Some(entry))
    }

    fn put(&mut self, mut entry: Entry) {
        self.clock += 1;
        entry.used = self.clock;
        self.bytes += entry.row.weight();
        self.entries.insert((entry.row.space, entry.row.doc), entry);
        while self.entries.len() > CACHED_DOCUMENTS_MAX || (self.bytes > CACHED_BYTES_MAX && self.entries.len() > 1) {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key) else {
                return;
            };
            if let Some(gone) = self.entries.remove(&oldest) {
                self.bytes -= gone.row.weight();
            }
        }
    }

    /// How many are loaded.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets one document.
    pub(super) fn forget(&mut self, space: i64, doc: &DocId) {
        if let Some(gone) = self.entries.remove(&(space, *doc)) {
            self.bytes -= gone.row.weight();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self { data_version: self.data_version, ..Self::default() };
    }
}

/// A document inside a workspace.
pub(super) struct Work {
    pub(super) entry: Entry,
    /// Changes to store, in order.
    added: Vec<AddedChange>,
    /// Rows and search text, when they were made already.
    projected: Option<Projected>,
    /// It is in the database as it is here, with changes of this transaction.
    stored: bool,
    /// It was made anew: everything stored of it is replaced, and these of its changes are not sealed.
    rebuilt: Option<Vec<Vec<u8>>>,
}

struct AddedChange {
    bytes: Vec<u8>,
    pending: bool,
}

impl Work {
    /// A change that is in the document now and has to be stored.
    pub(super) fn add(&mut self, bytes: Vec<u8>, pending: bool) {
        if !writes_root_only(&bytes) {
            self.entry.memo = Memo::default();
        }
        self.added.push(AddedChange { bytes, pending });
    }

    /// Whether there is something to store or to tell.
    pub(super) fn changed(&self) -> bool {
        self.stored || !self.added.is_empty() || self.rebuilt.is_some()
    }
}

/// The documents of one transaction.
pub(super) struct Workspace<'s> {
    conn: &'s Connection,
    cache: &'s mut Cache,
    pub(super) space: SpaceRef,
    works: Vec<Work>,
    by_doc: HashMap<DocId, usize>,
    /// Stored without having been built.
    unbuilt: Vec<DocId>,
    /// Nothing may be written: a document that came with a checkpoint is not marked as looked at.
    only_reads: bool,
    now_ms: i64,
}

/// A new document as its first change and what it projects to: it is built when it is first opened.
pub(super) struct Unbuilt {
    pub(super) doc: DocId,
    pub(super) genesis: GenesisId,
    pub(super) change: LocalChange,
    /// Made here, and not sealed.
    pub(super) pending: bool,
    pub(super) projected: Projected,
    /// Bring the search index up to date now; else the document is marked.
    pub(super) index_at_once: bool,
}

impl<'s> Workspace<'s> {
    /// Begins to read; a transaction must be open.
    pub(super) fn begin_reading(
        conn: &'s Connection,
        cache: &'s mut Cache,
        space: &SpaceId,
    ) -> Result<Self, StoreError> {
        Ok(Self { only_reads: true, ..Self::begin(conn, cache, space, 0)? })
    }

    /// Begins to write; a transaction must be open. `now_ms`: since when a checkpoint is blamed that is found wrong.
    pub(super) fn begin(
        conn: &'s Connection,
        cache: &'s mut Cache,
        space: &SpaceId,
        now_ms: i64,
    ) -> Result<Self, StoreError> {
        cache.revalidate(conn)?;
        let space = match cache.spaces.get(space) {
            Some(known) => *known,
            None => {
                let found = find_space(conn, space)?;
                cache.spaces.insert(*space, found);
                found
            }
        };
        Ok(Self {
            conn,
            cache,
            space,
            works: Vec::new(),
            by_doc: HashMap::new(),
            unbuilt: Vec::new(),
            only_reads: false,
            now_ms,
        })
    }

    /// A document that exists.
    pub(super) fn find(&mut self, doc: &DocId) -> Result<Option<&mut Work>, StoreError> {
        let at = match self.by_doc.get(doc) {
            Some(at) => *at,
            None => match self.load(doc)? {
                Some(entry) => self.push(entry),
                None => return Ok(None),
            },
        };
        Ok(self.works.get_mut(at))
    }

    /// A document, new if it does not exist.
    pub(super) fn find_or_new(&mut self, doc: &DocId, genesis: GenesisId) -> Result<&mut Work, StoreError> {
        let at = match self.by_doc.get(doc) {
            Some(at) => *at,
            None => {
                let entry = match self.load(doc)? {
                    Some(entry) => entry,
                    None => Entry {
                        row: DocRow::new(self.space.row, *doc, genesis),
                        document: Document::new(*doc, genesis, self.space.stream)?,
                        rows: Some(Vec::new()),
                        memo: Memo::default(),
                        used: 0,
                        checked: true,
                    },
                };
                self.push(entry)
            }
        };
        let work = &mut self.works[at];
        if work.entry.row.genesis == genesis { Ok(work) } else { Err(StoreError::WrongKind) }
    }

    fn load(&mut self, doc: &DocId) -> Result<Option<Entry>, StoreError> {
        let entry = match self.cache.take(self.conn, self.space.row, doc)? {
            Some(entry) => entry,
            None => {
                let Some(row) = DocRow::find(self.conn, self.space.row, doc)? else { return Ok(None) };
                let document = row.load(self.conn, self.space.stream)?;
                Entry { row, document, rows: None, memo: Memo::default(), used: 0, checked: true }
            }
        };
        if entry.row.unverified == 0 || self.only_reads {
            return Ok(Some(entry));
        }
        verify_entry(self.conn, entry, self.now_ms).map(Some)
    }

    fn push(&mut self, entry: Entry) -> usize {
        let at = self.works.len();
        self.by_doc.insert(entry.row.doc, at);
        self.works.push(Work { entry, added: Vec::new(), projected: None, stored: false, rebuilt: None });
        at
    }

    /// Documents that changed: those that were not built first, the others in the order they were first touched.
    pub(super) fn changed(&self) -> Vec<DocId> {
        let built = self.works.iter().filter(|work| work.changed()).map(|work| work.entry.row.doc);
        self.unbuilt.iter().copied().chain(built).collect()
    }

    /// Whether nothing is known of a document, here or on the disk.
    pub(super) fn is_new(&self, doc: &DocId) -> Result<bool, StoreError> {
        Ok(!self.by_doc.contains_key(doc) && DocRow::find(self.conn, self.space.row, doc)?.is_none())
    }

    /// Stores a document that does not exist (see [`Self::is_new`]), at once.
    pub(super) fn store_unbuilt(&mut self, new: Unbuilt) -> Result<(), StoreError> {
        let (rows, text) = new.projected;
        let mut row = DocRow::new(self.space.row, new.doc, new.genesis);
        (row.generation, row.next_change, row.tail_changes) = (1, 1, 1);
        row.tail_bytes = i64::try_from(new.change.bytes.len()).unwrap_or(i64::MAX);
        row.search_hash = text.as_ref().map(search_hash);
        row.id = insert_row(self.conn, &row, &new.change.hash.0)?;
        let sql = "INSERT INTO change(doc, n, state, bytes) VALUES (?1, 0, ?2, ?3)";
        self.conn.prepare_cached(sql)?.execute((row.id, new.pending, &new.change.bytes))?;
        if new.pending {
            mark(self.conn, Mark::Pending, row.id)?;
        }
        rows::write_difference(self.conn, row.id, &[], &rows)?;
        if text.is_some() {
            if new.index_at_once {
                search::index_new(self.conn, row.id, text.as_ref())?;
            } else {
                mark(self.conn, Mark::Search, row.id)?;
            }
        }
        self.unbuilt.push(new.doc);
        Ok(())
    }

    /// Stores a document that does not exist as it came with a checkpoint, without looking inside. Rows that are not
    /// given are made when it is looked at.
    pub(super) fn store_packed(&mut self, packed: &PackedDoc, rows: &[Row], checkpoint: i64) -> Result<(), StoreError> {
        let mut row = DocRow::new(self.space.row, packed.doc, packed.genesis);
        (row.generation, row.unverified) = (1, checkpoint);
        row.snapshot_bytes = i64::try_from(packed.bytes.len()).unwrap_or(i64::MAX);
        let heads: Vec<u8> = packed.heads.iter().flat_map(|head| head.0).collect();
        row.id = insert_row(self.conn, &row, &heads)?;
        let sql = "INSERT INTO snapshot(doc, bytes) VALUES (?1, ?2)";
        self.conn.prepare_cached(sql)?.execute((row.id, &packed.bytes))?;
        let sql = "DELETE FROM damaged WHERE space = ?1 AND doc = ?2";
        self.conn.prepare_cached(sql)?.execute((row.space, packed.doc.as_ref()))?;
        rows::write_difference(self.conn, row.id, &[], rows)?;
        if registry::kind(packed.genesis).is_some_and(registry::Kind::is_searched) {
            mark(self.conn, Mark::Search, row.id)?;
        }
        self.unbuilt.push(packed.doc);
        Ok(())
    }

    /// Forgets a document with all that is stored of it; gives how many of its changes were never sent.
    pub(super) fn erase(&mut self, doc: &DocId) -> Result<u64, StoreError> {
        super::branches::forget(self.conn, self.space.row, doc)?;
        self.cache.forget(self.space.row, doc);
        if let Some(work) = self.by_doc.remove(doc).and_then(|at| self.works.get_mut(at)) {
            // It is as one that was only begun, and has nothing to be stored.
            work.entry.row.id = 0;
            (work.added, work.rebuilt, work.stored) = (Vec::new(), None, false);
        }
        let Some(row) = DocRow::find(self.conn, self.space.row, doc)? else { return Ok(0) };
        let unsent = super::erase::unsent(self.conn, row.id)?;
        remove_row(self.conn, row.id)?;
        self.unbuilt.push(*doc);
        Ok(unsent)
    }

    /// Takes a document out to be changed elsewhere; one that does not exist begins with `genesis`. An existing
    /// one may be of another kind.
    pub(super) fn take_out(&mut self, doc: &DocId, genesis: GenesisId) -> Result<(Detached, Document), StoreError> {
        match self.load(doc)? {
            Some(entry) => Ok((Detached { row: entry.row, rows: entry.rows, used: entry.used }, entry.document)),
            None => {
                let row = DocRow::new(self.space.row, *doc, genesis);
                Ok((
                    Detached { row, rows: Some(Vec::new()), used: 0 },
                    Document::new(*doc, genesis, self.space.stream)?,
                ))
            }
        }
    }

    /// Puts an unchanged document back.
    pub(super) fn put_back(&mut self, detached: Detached, document: Document) {
        let Detached { row, rows, used } = detached;
        self.push(Entry { row, document, rows, memo: Memo::default(), used, checked: true });
    }

    /// Puts a document back that changes from elsewhere went into, to be stored.
    pub(super) fn put_changed(
        &mut self,
        detached: Detached,
        document: Document,
        projected: Projected,
        changes: Vec<Vec<u8>>,
    ) {
        let Detached { row, rows, used } = detached;
        let at = self.push(Entry { row, document, rows, memo: Memo::default(), used, checked: true });
        let work = &mut self.works[at];
        work.projected = Some(projected);
        changes.into_iter().for_each(|bytes| work.add(bytes, false));
    }

    /// Puts a document back that was made anew; `pending` are its unsealed changes, in order.
    pub(super) fn put_rebuilt(
        &mut self,
        detached: Detached,
        document: Document,
        projected: Projected,
        pending: Vec<Vec<u8>>,
    ) {
        let Detached { row, rows, used } = detached;
        let at = self.push(Entry { row, document, rows, memo: Memo::default(), used, checked: true });
        let work = &mut self.works[at];
        work.projected = Some(projected);
        work.rebuilt = Some(pending);
    }

    /// Stores every change: change rows or snapshot, projection rows, search, document row.
    pub(super) fn store(&mut self) -> Result<(), StoreError> {
        let changed = self.works.iter().filter(|work| !work.added.is_empty()).count();
        self.store_indexed(changed >= INDEX_AT_ONCE_DOCUMENTS)
    }

    /// The same; the search index is brought up to date at once, or marked.
    pub(super) fn store_indexed(&mut self, at_once: bool) -> Result<(), StoreError> {
        for work in &mut self.works {
            if let Some(pending) = work.rebuilt.take() {
                replace_work(self.conn, work, &pending)?;
            } else if !work.added.is_empty() {
                store_work(self.conn, work, at_once)?;
            }
        }
        Ok(())
    }

    /// After the commit: what is loaded is what the disk holds.
    pub(super) fn finish(self) {
        for work in self.works {
            // A document that was only begun does not exist.
            if work.entry.row.id != 0 {
                self.cache.put(work.entry);
            }
        }
    }

    /// Between two batches of one transaction: puts down what is stored already, in the cache or (`keep` is false)
    /// only if it was there before. An error later on must clear the cache.
    pub(super) fn put_down(&mut self, keep: bool) {
        self.by_doc.clear();
        self.unbuilt.clear();
        for work in self.works.drain(..) {
            let entry = work.entry;
            if entry.row.id != 0 && (keep || entry.used > 0) {
                self.cache.put(entry);
            }
        }
    }
}

fn store_work(conn: &Connection, work: &mut Work, index_at_once: bool) -> Result<(), StoreError> {
    let new = work.entry.row.id == 0;
    if new {
        work.entry.row.id = insert_row(conn, &work.entry.row, &[])?;
    }
    let added = std::mem::take(&mut work.added);
    work.stored = true;
    let projected = work.projected.take();
    let entry = &mut work.entry;
    if snapshot_instead(&entry.row, &added) {
        write_snapshot(conn, entry)?;
    } else {
        append(conn, &mut entry.row, &added)?;
    }
    store_projection(conn, entry, projected, index_at_once)?;
    entry.row.generation += 1;
    update_row(conn, entry)
}

/// Stores a document that was made anew in place of what was stored of it. One without any change exists no more.
fn replace_work(conn: &Connection, work: &mut Work, pending: &[Vec<u8>]) -> Result<(), StoreError> {
    work.stored = true;
    let projected = work.projected.take();
    let entry = &mut work.entry;
    let id = entry.row.id;
    conn.prepare_cached("DELETE FROM change WHERE doc = ?1")?.execute([id])?;
    unmark(conn, Mark::Pending, id)?;
    unmark(conn, Mark::Tail, id)?;
    if entry.document.changes_since(&[]).is_empty() {
        return remove_document(conn, entry);
    }
    write_snapshot(conn, entry)?;
    let mut insert = conn.prepare_cached("INSERT INTO change(doc, n, state, bytes) VALUES (?1, ?2, 2, ?3)")?;
    for bytes in pending {
        insert.execute((id, entry.row.next_change, bytes))?;
        entry.row.next_change += 1;
    }
    if !pending.is_empty() {
        mark(conn, Mark::Pending, id)?;
    }
    store_projection(conn, entry, projected, true)?;
    entry.row.generation += 1;
    update_row(conn, entry)
}

fn remove_document(conn: &Connection, entry: &mut Entry) -> Result<(), StoreError> {
    let id = std::mem::take(&mut entry.row.id);
    let old = match entry.rows.take() {
        Some(known) => known,
        None => rows::load_all(conn, id)?,
    };
    rows::write_difference(conn, id, &old, &[])?;
    search::index(conn, id, None)?;
    conn.prepare_cached("DELETE FROM snapshot WHERE doc = ?1")?.execute([id])?;
    conn.prepare_cached("DELETE FROM document WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Changes from elsewhere that make a document, or its tail too long, are stored as a snapshot: the document is
/// at hand, and nobody is typing.
fn snapshot_instead(row: &DocRow, added: &[AddedChange]) -> bool {
    let bytes: usize = added.iter().map(|change| change.bytes.len()).sum();
    let tail_changes = row.tail_changes + i64::try_from(added.len()).unwrap_or(i64::MAX);
    let tail_bytes = row.tail_bytes + i64::try_from(bytes).unwrap_or(i64::MAX);
    let long = tail_is_long(tail_changes, tail_bytes, row.snapshot_bytes);
    !added.iter().any(|change| change.pending) && (row.generation == 0 || long)
}

/// Whether a tail asks for a new snapshot. A single change is as compact as one.
fn tail_is_long(changes: i64, bytes: i64, snapshot_bytes: i64) -> bool {
    changes > TAIL_CHANGES_MAX || (changes > 1 && bytes > TAIL_BYTES_MIN.max(snapshot_bytes / 2))
}

fn append(conn: &Connection, row: &mut DocRow, added: &[AddedChange]) -> Result<(), StoreError> {
    let mut insert = conn.prepare_cached("INSERT INTO change(doc, n, state, bytes) VALUES (?1, ?2, ?3, ?4)")?;
    for change in added {
        insert.execute((row.id, row.next_change, change.pending, &change.bytes))?;
        row.next_change += 1;
        row.tail_changes += 1;
        row.tail_bytes += i64::try_from(change.bytes.len()).unwrap_or(i64::MAX);
    }
    if added.iter().any(|change| change.pending) {
        mark(conn, Mark::Pending, row.id)?;
    }
    if tail_is_long(row.tail_changes, row.tail_bytes, row.snapshot_bytes) {
        mark(conn, Mark::Tail, row.id)
    } else {
        Ok(())
    }
}

/// Replaces the snapshot by the document as it is; the tail becomes empty, unsealed changes are kept for sealing.
fn write_snapshot(conn: &Connection, entry: &mut Entry) -> Result<(), StoreError> {
    let bytes = entry.document.snapshot();
    let row = &mut entry.row;
    conn.prepare_cached("INSERT OR REPLACE INTO snapshot(doc, bytes) VALUES (?1, ?2)")?.execute((row.id, &bytes))?;
    if row.tail_changes > 0 {
        conn.prepare_cached("DELETE FROM change WHERE doc = ?1 AND state = 0")?.execute([row.id])?;
        conn.prepare_cached("UPDATE change SET state = 2 WHERE doc = ?1 AND state = 1")?.execute([row.id])?;
    }
    (row.tail_changes, row.tail_bytes) = (0, 0);
    row.snapshot_bytes = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    Ok(())
}

/// Writes the rows that differ, and leaves the search index right or marked.
fn store_projection(
    conn: &Connection,
    entry: &mut Entry,
    projected: Option<Projected>,
    index_at_once: bool,
) -> Result<(), StoreError> {
    let (new, text) = projected.unwrap_or_else(|| projection::project_again(&entry.document, &mut entry.memo));
    let old = match entry.rows.take() {
        Some(known) => known,
        None => rows::load(conn, entry.row.id, entry.row.genesis)?,
    };
    rows::write_difference(conn, entry.row.id, &old, &new)?;
    entry.rows = Some(new);
    let hash = text.as_ref().map(search_hash);
    if hash == entry.row.search_hash {
        return Ok(());
    }
    entry.row.search_hash = hash;
    if index_at_once {
        search::index(conn, entry.row.id, text.as_ref())
    } else {
        mark(conn, Mark::Search, entry.row.id)
    }
}

/// Eight bytes that tell whether the text that search sees has changed.
pub(super) fn search_hash(text: &SearchText) -> i64 {
    let SearchText { title, headings, tags, body } = text;
    let parts = [title, headings, tags, body].map(|part| part.as_bytes());
    let lengths = parts.map(|part| (part.len() as u64).to_be_bytes());
    let digest = crypto::sha256_plain(&[
        &lengths[0],
        parts[0],
        &lengths[1],
        parts[1],
        &lengths[2],
        parts[2],
        &lengths[3],
        parts[3],
    ]);
    i64::from_be_bytes([digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7]])
}

fn insert_row(conn: &Connection, row: &DocRow, heads: &[u8]) -> Result<i64, StoreError> {
    let sql = "INSERT INTO document(space, doc, genesis, generation, heads, next_change, tail_changes, tail_bytes,
                                    snapshot_bytes, search_hash, unverified)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    Ok(conn.prepare_cached(sql)?.insert((
        row.space,
        row.doc.as_ref(),
        row.genesis.0,
        row.generation,
        heads,
        row.next_change,
        row.tail_changes,
        row.tail_bytes,
        row.snapshot_bytes,
        row.search_hash,
        row.unverified,
    ))?)
}

fn update_row(conn: &Connection, entry: &Entry) -> Result<(), StoreError> {
    let heads: Vec<u8> = entry.document.heads().iter().flat_map(|head| head.0).collect();
    let row = &entry.row;
    let sql = "UPDATE document SET generation = ?2, heads = ?3, next_change = ?4, tail_changes = ?5, tail_bytes = ?6,
                                   snapshot_bytes = ?7, search_hash = ?8, unverified = ?9 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute((
        row.id,
        row.generation,
        heads,
        row.next_change,
        row.tail_changes,
        row.tail_bytes,
        row.snapshot_bytes,
        row.search_hash,
        row.unverified,
    ))?;
    Ok(())
}

/// A document that came with a checkpoint has been loaded: makes its rows what they should be, and remembers whom to blame
/// if they were not.
fn verify_entry(conn: &Connection, mut entry: Entry, now_ms: i64) -> Result<Entry, StoreError> {
    let project = || projection::project_with_search(&entry.document);
    let projected = catch_unwind(AssertUnwindSafe(project)).map_err(|_| DocumentError::Corrupt)?;
    let old = rows::load_all(conn, entry.row.id)?;
    // Rows of other projections were not taken over: there is nothing to compare.
    let were_right = old.is_empty() || old == projected.0 || is_marked(conn, Mark::Project, entry.row.id)?;
    unmark(conn, Mark::Project, entry.row.id)?;
    let checkpoint = std::mem::take(&mut entry.row.unverified);
    if !were_right {
        blame(conn, checkpoint, Fault::Rows, now_ms)?;
    }
    entry.rows = Some(old);
    store_projection(conn, &mut entry, Some(projected), false)?;
    entry.row.generation += 1;
    update_row(conn, &entry)?;
    Ok(entry)
}

/// Removes what is stored of a document that cannot be used.
pub(super) fn remove_row(conn: &Connection, id: i64) -> Result<(), StoreError> {
    rows::write_difference(conn, id, &rows::load_all(conn, id)?, &[])?;
    search::index(conn, id, None)?;
    for table in ["change", "snapshot", "mark"] {
        conn.prepare_cached(&format!("DELETE FROM {table} WHERE doc = ?1"))?.execute([id])?;
    }
    conn.prepare_cached("DELETE FROM document WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Writes what differs of the rows of a document that may have those of an earlier version, and its entry in the index.
pub(super) fn renew_rows(
    conn: &Connection,
    row: DocRow,
    document: Document,
    projected: Projected,
) -> Result<(), StoreError> {
    let (old, hash) = (rows::load(conn, row.id, row.genesis)?, projected.1.as_ref().map(search_hash));
    let is_right = old == projected.0 && row.search_hash == hash;
    // The same text may have been split into words otherwise.
    if hash.is_some() || row.search_hash.is_some() {
        search::index(conn, row.id, projected.1.as_ref())?;
    }
    if is_right {
        return Ok(());
    }
    let mut entry = Entry { row, document, rows: Some(old), memo: Memo::default(), used: 0, checked: true };
    entry.row.search_hash = hash;
    store_projection(conn, &mut entry, Some(projected), true)?;
    entry.row.generation += 1;
    update_row(conn, &entry)
}

impl Store {
    /// Re-snapshots documents whose tail of changes has grown too long, at most `documents_max`; returns how
    /// many. Off the edit path; each document is its own transaction, so that an edit never waits for many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn compact_tails(&mut self, documents_max: usize) -> Result<usize, StoreError> {
        let waiting = marked(&self.conn, Mark::Tail, documents_max)?;
        for doc in &waiting {
            self.compact_tail(*doc)?;
        }
        Ok(waiting.len())
    }

    fn compact_tail(&mut self, id: i64) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        unmark(&tx, Mark::Tail, id)?;
        let Some(row) = DocRow::by_id(&tx, id)? else { return Ok(tx.commit()?) };
        self.documents.revalidate(&tx)?;
        let mut entry = match self.documents.take(&tx, row.space, &row.doc)? {
            Some(entry) => entry,
            None => {
                let document = row.load(&tx, actor(&tx, row.space)?)?;
                Entry { row, document, rows: None, memo: Memo::default(), used: 0, checked: true }
            }
        };
        write_snapshot(&tx, &mut entry)?;
        verify_snapshot(&tx, &entry)?;
        entry.row.generation += 1;
        update_row(&tx, &entry)?;
        tx.commit()?;
        self.documents.put(entry);
        Ok(())
    }
}

/// Reads the new snapshot back before the changes it stands for are gone for good.
fn verify_snapshot(conn: &Connection, entry: &Entry) -> Result<(), StoreError> {
    let mut select = conn.prepare_cached("SELECT bytes FROM snapshot WHERE doc = ?1")?;
    let bytes: Vec<u8> = select.query_row([entry.row.id], |row| row.get(0))?;
    let copy = Document::load(entry.row.doc, entry.row.genesis, StreamId::ZERO, &bytes, &[])?;
    if copy.heads() == entry.document.heads() {
        Ok(())
    } else {
        Err(StoreError::Corrupt { what: "a new snapshot of a document" })
    }
}

/// The stream this device writes in a space.
fn actor(conn: &Connection, space: i64) -> Result<StreamId, StoreError> {
    let sql = "SELECT stream.stream FROM space JOIN stream ON stream.id = space.own_stream WHERE space.id = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([space], |row| Ok(StreamId(row.get(0)?)))?)
}
