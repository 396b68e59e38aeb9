//! A document: one Automerge document with its frozen genesis, edited and applied only through here.
//!
//! ```text
//! genesis (frozen, never sent) ─▶ snapshot ‖ tail ─▶ load ─▶ edit ─▶ LocalChange (pending)
//!                                                     │
//!                                                     └─ fork ─▶ apply (fence) ─▶ replace
//! ```
//!
//! Between calls no transaction is open, so heads and the time of the newest change are kept beside the
//! document and reading needs no `&mut`. The text encoding is Unicode code points everywhere: Automerge
//! does not store it, so opening the same bytes with another one would move every index.

pub(crate) mod chunk;
mod columns;
mod replay;

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::transaction::CommitOptions;
use automerge::{ActorId, AutoCommit, AutomergeError, Change, ChangeHash, LoadOptions, ReadDoc, TextEncoding};
use lifeos_sync_protocol::hash;
use lifeos_sync_protocol::ids::{DocId, SpaceId, StreamId};

use crate::registry;

pub use replay::make_again;

/// Which frozen first change a document starts from; also tells what kind of document it is.
/// Numbers are on the wire and are never reused (`registry::genesis`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenesisId(pub u32);

/// One Automerge document.
#[derive(Debug, Clone)]
pub struct Document {
    id: DocId,
    genesis: GenesisId,
    doc: AutoCommit,
    heads: Vec<ChangeHash>,
    updated_ms: i64,
}

/// A change made here: what the store marks as pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalChange {
    /// Automerge's hash.
    pub hash: ChangeHash,
    /// The raw, uncompressed change chunk.
    pub bytes: Vec<u8>,
}

/// A document cannot be built or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The genesis number is not in the table.
    #[error("unknown kind of document ({0})")]
    UnknownGenesis(u32),
    /// The stored bytes do not load.
    #[error("the stored document does not load")]
    Corrupt,
    /// The operation does not fit the document.
    #[error("invalid edit: {0}")]
    InvalidEdit(&'static str),
    /// A value breaks a rule of the field registry.
    #[error("{field}: {rule}")]
    InvalidValue {
        /// Name of the field in the registry.
        field: &'static str,
        /// What is asked of it, in words.
        rule: &'static str,
    },
    /// A change wrote what the field registry does not declare: a fault of this program, nothing was stored.
    #[error("the edit of a {kind} wrote what is not declared, and nothing was saved: please report this")]
    Undeclared {
        /// Kind of the document.
        kind: &'static str,
    },
    /// The document was written by a version whose meaning this one does not know well enough to edit it.
    #[error("this {kind} was made by a newer version of lifeos and can only be read here: update lifeos to edit it")]
    NeedsUpdate {
        /// Kind of the document.
        kind: &'static str,
        /// Version of its schema that may edit it.
        version: u32,
    },
    /// Automerge refused an operation.
    #[error("the document refused the edit")]
    Refused,
}

impl From<AutomergeError> for DocumentError {
    fn from(_: AutomergeError) -> Self {
        // Automerge's message may quote keys and values, which never belong into a message.
        Self::Refused
    }
}

/// Id of a document that exists once in a space: two devices that make it offline make the same one.
#[must_use]
pub fn singleton_doc_id(space: &SpaceId, kind: &str, key: &str) -> DocId {
    let digest = hash::sha256("doc", &[space.as_ref(), kind.as_bytes(), &[0], key.as_bytes()]);
    let mut id = [0; DocId::BYTES];
    id.copy_from_slice(&digest[..DocId::BYTES]);
    DocId(id)
}

impl Document {
    /// A new document that holds only its genesis; later changes carry `actor`.
    ///
    /// # Errors
    /// [`DocumentError::UnknownGenesis`].
    pub fn new(id: DocId, genesis: GenesisId, actor: StreamId) -> Result<Self, DocumentError> {
        let template = registry::genesis(genesis).ok_or(DocumentError::UnknownGenesis(genesis.0))?;
        let doc = template.document().ok_or(DocumentError::Corrupt)?.clone();
        Ok(Self::wrap(id, genesis, actor, doc))
    }

    /// Loads bytes that this device stored itself: a snapshot (empty: none yet) and the change chunks since.
    ///
    /// Every change of the tail is checked to be in the document afterwards, as Automerge can skip a change
    /// without saying so; one whose dependencies are missing stays queued inside.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn load(
        id: DocId,
        genesis: GenesisId,
        actor: StreamId,
        snapshot: &[u8],
        tail: &[u8],
    ) -> Result<Self, DocumentError> {
        let template = registry::genesis(genesis).ok_or(DocumentError::UnknownGenesis(genesis.0))?;
        let mut doc = if snapshot.is_empty() {
            template.document().ok_or(DocumentError::Corrupt)?.clone()
        } else {
            guarded(|| load_snapshot(snapshot))?
        };
        if doc.get_change_meta_by_hash(&template.hash()).is_none() {
            return Err(DocumentError::Corrupt);
        }
        if !tail.is_empty() {
            doc = guarded(move || apply_tail(doc, tail))?;
        }
        Ok(Self::wrap(id, genesis, actor, doc))
    }

    fn wrap(id: DocId, genesis: GenesisId, actor: StreamId, mut doc: AutoCommit) -> Self {
        doc.set_actor(ActorId::from(actor.as_bytes().as_slice()));
        let mut document = Self { id, genesis, doc, heads: Vec::new(), updated_ms: 0 };
        document.refresh();
        document
    }

    /// The same document; later changes carry `actor`.
    #[cfg(feature = "io")]
    pub(crate) fn with_actor(mut self, actor: StreamId) -> Self {
        self.doc.set_actor(ActorId::from(actor.as_bytes().as_slice()));
        self
    }

    /// Reads heads and newest time again, after the inner document changed.
    fn refresh(&mut self) {
        self.heads = self.doc.get_heads();
        self.heads.sort_unstable();
        let mut newest = 0;
        for head in &self.heads {
            newest = self.doc.get_change_meta_by_hash(head).map_or(newest, |meta| newest.max(meta.timestamp));
        }
        self.updated_ms = newest;
    }

    /// Runs one edit as one change with the time `now_ms`; an edit that changes nothing gives no change,
    /// and one that fails leaves the document as it was.
    ///
    /// The edit must not commit (`commit`, `get_heads`, `fork`, `save`): it would split its change in two.
    ///
    /// # Errors
    /// Whatever the edit returns.
    pub fn edit<T, E>(
        &mut self,
        now_ms: i64,
        edit: impl FnOnce(&mut AutoCommit) -> Result<T, E>,
    ) -> Result<(T, Option<LocalChange>), E> {
        let value = match edit(&mut self.doc) {
            Ok(value) => value,
            Err(error) => {
                self.doc.rollback();
                return Err(error);
            }
        };
        let hash = self.doc.commit_with(CommitOptions::default().with_time(now_ms));
        let change = hash.and_then(|hash| self.change(&hash));
        if let Some(change) = &change {
            self.heads = vec![change.hash];
            self.updated_ms = now_ms;
        }
        Ok((value, change))
    }

    fn change(&self, hash: &ChangeHash) -> Option<LocalChange> {
        let change = self.doc.get_change_by_hash(hash)?;
        Some(LocalChange { hash: *hash, bytes: change.raw_bytes().to_vec() })
    }

    /// The whole document, uncompressed, for local storage; changes that wait for others are kept in it.
    pub fn snapshot(&mut self) -> Vec<u8> {
        self.doc.save_nocompress()
    }

    /// Hashes of the newest changes, ascending.
    #[must_use]
    pub fn heads(&self) -> Vec<ChangeHash> {
        self.heads.clone()
    }

    /// Time of the newest change (ms UTC, as claimed by its device): the largest over the heads, 0 for a
    /// document that holds only its genesis.
    #[must_use]
    pub const fn updated_ms(&self) -> i64 {
        self.updated_ms
    }

    /// Changes that are not ancestors of `heads`, dependencies first, without the genesis.
    pub fn changes_since(&mut self, heads: &[ChangeHash]) -> Vec<LocalChange> {
        let genesis = registry::genesis(self.genesis).map(registry::Genesis::hash);
        let changes = self.doc.get_changes(heads);
        let sent = changes.iter().filter(|change| Some(change.hash()) != genesis);
        sent.map(|change| LocalChange { hash: change.hash(), bytes: change.raw_bytes().to_vec() }).collect()
    }

    /// A copy to try something on, the actor included.
    pub(crate) fn fork(&mut self) -> AutoCommit {
        self.doc.clone()
    }

    /// Puts a fork back after it was checked.
    pub(crate) fn replace(&mut self, fork: AutoCommit) {
        let actor = self.doc.get_actor().clone();
        self.doc = fork;
        self.doc.set_actor(actor);
        self.refresh();
    }

    /// The document's id.
    #[must_use]
    pub const fn id(&self) -> DocId {
        self.id
    }

    /// What it starts from.
    #[must_use]
    pub const fn genesis(&self) -> GenesisId {
        self.genesis
    }

    /// Reading access.
    #[must_use]
    pub const fn read(&self) -> &AutoCommit {
        &self.doc
    }

    /// For what Automerge offers only on `&mut` although it only reads (change metadata, diffs).
    pub(crate) const fn inspect(&mut self) -> &mut AutoCommit {
        &mut self.doc
    }
}

/// Automerge panics on some damaged bytes; ours may be damaged by the disk.
fn guarded<T>(run: impl FnOnce() -> Result<T, DocumentError>) -> Result<T, DocumentError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(DocumentError::Corrupt))
}

fn load_snapshot(snapshot: &[u8]) -> Result<AutoCommit, DocumentError> {
    let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
    AutoCommit::load_with_options(snapshot, options).map_err(|_| DocumentError::Corrupt)
}

fn apply_tail(mut doc: AutoCommit, tail: &[u8]) -> Result<AutoCommit, DocumentError> {
    let changes = split_chunks(tail)?;
    let hashes: Vec<ChangeHash> = changes.iter().map(Change::hash).collect();
    doc.apply_changes(changes).map_err(|_| DocumentError::Corrupt)?;
    forget_patches(&mut doc);
    let complete = hashes.iter().all(|hash| doc.get_change_meta_by_hash(hash).is_some());
    if complete || !doc.get_missing_deps(&[]).is_empty() { Ok(doc) } else { Err(DocumentError::Corrupt) }
}

/// Automerge 0.12 keeps a patch for every operation it applies, also when nobody asked for patches: many times the
/// document's own memory, for as long as the document is loaded.
pub(crate) fn forget_patches(doc: &mut AutoCommit) {
    doc.reset_diff_cursor();
}

/// Length of magic, checksum and type in front of a chunk's length.
const CHUNK_HEAD_BYTES: usize = 9;

/// Cuts concatenated change chunks apart: magic (4), checksum (4), type (1), LEB128 length, body.
fn split_chunks(mut bytes: &[u8]) -> Result<Vec<Change>, DocumentError> {
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let length = chunk_bytes(bytes).filter(|length| *length <= bytes.len()).ok_or(DocumentError::Corrupt)?;
        let (chunk, rest) = bytes.split_at(length);
        changes.push(parse_change(chunk)?);
        bytes = rest;
    }
    Ok(changes)
}

/// `Change::from_bytes` computes the hash and ignores the checksum that the chunk carries.
fn parse_change(chunk: &[u8]) -> Result<Change, DocumentError> {
    let change = Change::from_bytes(chunk.to_vec()).map_err(|_| DocumentError::Corrupt)?;
    if chunk[4..8] == change.hash().0[..4] { Ok(change) } else { Err(DocumentError::Corrupt) }
}

fn chunk_bytes(bytes: &[u8]) -> Option<usize> {
    let mut length = 0_u64;
    for (index, byte) in bytes.get(CHUNK_HEAD_BYTES..)?.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return usize::try_from(length).ok()?.checked_add(CHUNK_HEAD_BYTES + index + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use automerge::ROOT;
    use automerge::transaction::Transactable;

    use super::*;

    const NOTE: GenesisId = GenesisId(1);
    const DOC: DocId = DocId([7; 16]);

    fn document(actor: u8) -> Document {
        Document::new(DOC, NOTE, StreamId([actor; 16])).unwrap()
    }

    fn set(document: &mut Document, now_ms: i64, key: &str, value: &str) -> Option<LocalChange> {
        document.edit(now_ms, |doc| doc.put(ROOT, key, value)).unwrap().1
    }

    fn get(document: &Document, key: &str) -> Option<String> {
        document.read().get(ROOT, key).unwrap().and_then(|(value, _)| value.into_string().ok())
    }

    #[test]
    fn an_edit_is_one_change_of_the_actor_with_its_time() {
        let mut document = document(1);
        let change = set(&mut document, 1_000, "title", "a").unwrap();
        let change = Change::from_bytes(change.bytes).unwrap();
        assert_eq!(change.actor_id().to_bytes(), [1; 16]);
        assert_eq!((change.timestamp(), change.seq()), (1_000, 1));
        assert_eq!(document.heads(), vec![change.hash()]);
        assert_eq!(document.updated_ms(), 1_000);
    }

    #[test]
    fn a_change_of_the_root_alone_is_told_from_one_of_what_lies_below() {
        let mut document = document(1);
        let root = set(&mut document, 1, "title", "a").unwrap().bytes;
        let again = set(&mut document, 2, "title", "b").unwrap().bytes;
        let gone = document.edit(3, |doc| doc.delete(ROOT, "title")).unwrap().1.unwrap().bytes;
        let text = document.read().get(ROOT, "body").unwrap().unwrap().1;
        let below = document.edit(4, |doc| doc.splice_text(&text, 0, 0, "x")).unwrap().1.unwrap().bytes;
        let both = document.edit(5, |doc| doc.put(ROOT, "a", 1).and_then(|()| doc.splice_text(&text, 0, 1, "")));
        let made = document.edit(6, |doc| doc.put_object(ROOT, "map", automerge::ObjType::Map).map(drop));
        let made = made.unwrap().1.unwrap().bytes;
        let inside = document.read().get(ROOT, "map").unwrap().unwrap().1;
        let filled = document.edit(7, |doc| doc.put(&inside, "key", 1)).unwrap().1.unwrap().bytes;
        for (change, expected) in [
            (&root, true),
            (&again, true),
            (&gone, true),
            (&made, true),
            (&below, false),
            (&both.unwrap().1.unwrap().bytes, false),
            (&filled, false),
        ] {
            assert_eq!(chunk::writes_root_only(change), expected, "{change:02x?}");
        }
        assert!(!chunk::writes_root_only(&root[..20]) && !chunk::writes_root_only(&[]));
    }

    #[test]
    fn an_edit_that_changes_nothing_gives_no_change() {
        let mut document = document(1);
        set(&mut document, 1, "title", "a").unwrap();
        assert_eq!(set(&mut document, 2, "title", "a"), None);
        assert_eq!(document.updated_ms(), 1);
    }

    #[test]
    fn an_edit_that_fails_leaves_the_document_as_it_was() {
        let mut document = document(1);
        let before = document.heads();
        let result = document.edit(5, |doc| {
            doc.put(ROOT, "title", "half")?;
            Err::<(), _>(DocumentError::InvalidEdit("no"))
        });
        assert_eq!(result.unwrap_err(), DocumentError::InvalidEdit("no"));
        assert_eq!(document.heads(), before);
        assert_eq!(get(&document, "title"), None);
    }

    #[test]
    fn a_document_loads_from_tail_alone_and_from_snapshot_and_tail() {
        let mut document = document(1);
        let mut tail = set(&mut document, 1, "title", "a").unwrap().bytes;
        tail.extend(set(&mut document, 2, "title", "b").unwrap().bytes);
        let loaded = Document::load(DOC, NOTE, StreamId([1; 16]), &[], &tail).unwrap();
        assert_eq!(loaded.heads(), document.heads());

        let snapshot = document.snapshot();
        let change = set(&mut document, 3, "title", "c").unwrap().bytes;
        let loaded = Document::load(DOC, NOTE, StreamId([1; 16]), &snapshot, &change).unwrap();
        assert_eq!((loaded.heads(), loaded.updated_ms()), (document.heads(), 3));
        assert_eq!(get(&loaded, "title").unwrap(), "c");
    }

    #[test]
    fn damaged_bytes_are_an_error_wherever_the_damage_is() {
        let mut document = document(1);
        let first = set(&mut document, 1, "title", "a").unwrap().bytes;
        let snapshot = document.snapshot();
        let second = set(&mut document, 2, "title", "b").unwrap().bytes;
        let tail = [first.clone(), second.clone()].concat();
        for cut in 1..tail.len() {
            let loaded = Document::load(DOC, NOTE, StreamId([1; 16]), &[], &tail[..cut]);
            assert!(loaded.is_err() || cut == first.len(), "cut at {cut}");
        }
        for at in 0..tail.len() {
            let mut bad = tail.clone();
            bad[at] ^= 0x5a;
            assert!(Document::load(DOC, NOTE, StreamId([1; 16]), &[], &bad).is_err(), "flip at {at}");
        }
        for at in 0..snapshot.len() {
            let mut bad = snapshot.clone();
            bad[at] ^= 0x5a;
            assert!(Document::load(DOC, NOTE, StreamId([1; 16]), &bad, &second).is_err(), "flip at {at}");
        }
    }

    #[test]
    fn a_change_that_waits_for_another_survives_a_snapshot() {
        let mut author = document(1);
        let first = set(&mut author, 1, "title", "a").unwrap().bytes;
        let second = set(&mut author, 2, "title", "b").unwrap().bytes;
        let mut late = Document::load(DOC, NOTE, StreamId([2; 16]), &[], &second).unwrap();
        assert_eq!(get(&late, "title"), None);
        let snapshot = late.snapshot();
        let whole = Document::load(DOC, NOTE, StreamId([2; 16]), &snapshot, &first).unwrap();
        assert_eq!(get(&whole, "title").unwrap(), "b");
    }

    #[test]
    fn a_document_of_another_kind_does_not_load() {
        let mut tree = Document::new(DOC, GenesisId(2), StreamId([1; 16])).unwrap();
        let snapshot = tree.snapshot();
        assert!(Document::load(DOC, NOTE, StreamId([1; 16]), &snapshot, &[]).is_err());
        assert_eq!(
            Document::new(DOC, GenesisId(99), StreamId([1; 16])).unwrap_err(),
            DocumentError::UnknownGenesis(99)
        );
    }

    #[test]
    fn changes_since_leaves_out_the_genesis_and_what_is_known() {
        let mut document = document(1);
        let first = set(&mut document, 1, "title", "a").unwrap();
        let second = set(&mut document, 2, "title", "b").unwrap();
        assert_eq!(document.changes_since(&[]), vec![first.clone(), second.clone()]);
        assert_eq!(document.changes_since(&[first.hash]), vec![second]);
    }

    #[test]
    fn singletons_have_one_id_per_space_kind_and_key() {
        let space = SpaceId([1; 32]);
        let id = singleton_doc_id(&space, "tree/notes", "");
        assert_eq!(id, singleton_doc_id(&space, "tree/notes", ""));
        assert_ne!(id, singleton_doc_id(&space, "space", ""));
        assert_ne!(id, singleton_doc_id(&SpaceId([2; 32]), "tree/notes", ""));
        assert_ne!(singleton_doc_id(&space, "ab", "c"), singleton_doc_id(&space, "a", "bc"));
    }
}
