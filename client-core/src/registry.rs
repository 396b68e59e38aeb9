//! The field registry, first form: every kind of document with its genesis, fields, CRDT choice, validation,
//! projection tables and search weights, declared once (modules.md §10.1).
//!
//! Writing goes through [`validate`]: a key that is not declared here, or a value that breaks its rule, is
//! refused. Merging never refuses: what arrives is shown as it is.

use std::sync::OnceLock;

use automerge::{AutoCommit, ChangeHash, LoadOptions, TextEncoding};

use crate::document::GenesisId;

mod fields;
mod tables;

pub(crate) use fields::is_id;
pub use fields::{
    BODY_BYTES_MAX, Crdt, FIELDS, FRONT_BYTES_MAX, Field, FieldType, LINE_CHARS_MAX, PROPERTY_BYTES_MAX,
    PROPERTY_NAME_CHARS_MAX, TAGS_MAX, Validation, field_of, validate,
};
pub use tables::{
    ATTACHMENT, DEVICE_NAME, MEMBER_NAME, NOTE, NOTE_ALIAS, NOTE_ATTACHMENT, NOTE_LINK, NOTE_PROP, NOTE_TAG, NOTEBOOK,
    SEARCH_WEIGHTS, SearchWeights, TABLES,
};

/// A note.
pub const NOTE_GENESIS: GenesisId = GenesisId(1);
/// The tree of notebooks of a space.
pub const NOTE_TREE_GENESIS: GenesisId = GenesisId(2);
/// Settings of a space: names of devices and members.
pub const SPACE_GENESIS: GenesisId = GenesisId(3);
/// What one content that notes attach consists of.
pub const ATTACHMENT_GENESIS: GenesisId = GenesisId(4);

/// A column of a projection table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: &'static str,
    /// SQL type: INTEGER, TEXT or BLOB.
    pub sql_type: &'static str,
    /// Whether the store makes an index on it.
    pub indexed: bool,
}

/// A projection table; the store adds `doc INTEGER, key TEXT` as primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Name.
    pub name: &'static str,
    /// Own columns.
    pub columns: &'static [Column],
}

/// A kind of document: the numbers in front are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// On the wire.
    pub genesis: GenesisId,
    /// `note`, `tree/notes`, …
    pub name: &'static str,
    /// Whether its text is searched.
    pub searched: bool,
    /// Which of them a device needs before it is of use.
    pub essential: Essential,
}

/// Documents of a kind that a joining device fetches first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Essential {
    /// All.
    Always,
    /// So many: pinned ones, then those that changed last.
    Newest(usize),
}

/// Every kind of document.
pub const KINDS: &[Kind] = &[
    Kind { genesis: NOTE_GENESIS, name: "note", searched: true, essential: Essential::Newest(200) },
    Kind { genesis: NOTE_TREE_GENESIS, name: "tree/notes", searched: false, essential: Essential::Always },
    Kind { genesis: SPACE_GENESIS, name: "space", searched: false, essential: Essential::Always },
    Kind { genesis: ATTACHMENT_GENESIS, name: "attachment", searched: false, essential: Essential::Newest(0) },
];

/// Version of the projections; a home with another number projects its documents again once it is open.
pub const PROJECTION_VERSION: u32 = 2;

/// The kind of document a genesis starts.
#[must_use]
pub fn kind(genesis: GenesisId) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.genesis == genesis)
}

/// Actor of every genesis.
pub(crate) const GENESIS_ACTOR: &[u8; 16] = b"lifeos-genesis/1";

/// The first change of a kind of document: frozen bytes, the same on every device, never sent.
#[derive(Debug)]
pub struct Genesis {
    /// On the wire.
    pub id: GenesisId,
    hash: [u8; 32],
    bytes: &'static [u8],
    document: OnceLock<Option<AutoCommit>>,
}

impl Genesis {
    const fn new(id: GenesisId, hash: [u8; 32], bytes: &'static [u8]) -> Self {
        Self { id, hash, bytes, document: OnceLock::new() }
    }

    /// Automerge's hash of the change.
    #[must_use]
    pub const fn hash(&self) -> ChangeHash {
        ChangeHash(self.hash)
    }

    /// The change chunk.
    #[must_use]
    pub const fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// A document that holds just this change, to be cloned; parsed once.
    pub(crate) fn document(&self) -> Option<&AutoCommit> {
        let load = || {
            let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
            AutoCommit::load_with_options(self.bytes, options).ok()
        };
        self.document.get_or_init(load).as_ref()
    }
}

/// The frozen first change of a kind of document.
#[must_use]
pub fn genesis(id: GenesisId) -> Option<&'static Genesis> {
    GENESES.iter().find(|genesis| genesis.id == id)
}

/// Every frozen first change; rows are only ever added.
#[rustfmt::skip]
pub static GENESES: [Genesis; 4] = [
    Genesis::new(
        NOTE_GENESIS,
        [
            0x6b, 0x54, 0x90, 0x37, 0xcb, 0xb7, 0x40, 0x19, 0xd8, 0x86, 0x11, 0xcd, 0x7b, 0x1c, 0x7a, 0x74,
            0x1b, 0xb6, 0x3d, 0x9c, 0x7c, 0xb7, 0x45, 0x17, 0xee, 0xd2, 0x3e, 0x5e, 0xc5, 0x7d, 0xca, 0x21,
        ],
        b"\x85oJ\x83kT\x907\x01@\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
          \x15\x0d4\x01B\x03V\x03W\x06p\x02~\x04body\x06schema\x02~\x04\x01~\x00fno\
          te/1\x02\x00",
    ),
    Genesis::new(
        NOTE_TREE_GENESIS,
        [
            0xc3, 0x3a, 0xc4, 0x84, 0x01, 0x82, 0xdc, 0xd0, 0xe1, 0x69, 0xf5, 0xbe, 0x76, 0x11, 0x7a, 0x7a,
            0xe4, 0xf0, 0x19, 0x4a, 0x74, 0xcc, 0x79, 0xca, 0x17, 0x67, 0xbd, 0x82, 0xc5, 0x1a, 0xf2, 0x26,
        ],
        b"\x85oJ\x83\xc3:\xc4\x84\x01@\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
          \x15\x084\x01B\x02V\x03W\x0cp\x02\x7f\x06schema\x01\x7f\x01\x7f\xc6\x01tree/not\
          es/1\x7f\x00",
    ),
    Genesis::new(
        SPACE_GENESIS,
        [
            0x95, 0x8f, 0x6b, 0x50, 0x7e, 0xed, 0xd8, 0xff, 0xf8, 0x0f, 0x0e, 0x35, 0x4f, 0xfd, 0xd0, 0x57,
            0xd2, 0x59, 0x93, 0x0b, 0xdc, 0x3d, 0x97, 0x6c, 0xaf, 0x60, 0x54, 0xf1, 0xda, 0xb2, 0x4a, 0x82,
        ],
        b"\x85oJ\x83\x95\x8fkP\x01:\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
          \x15\x084\x01B\x02V\x02W\x07p\x02\x7f\x06schema\x01\x7f\x01\x7fvspace/1\x7f\x00",
    ),
    Genesis::new(
        ATTACHMENT_GENESIS,
        [
            0x37, 0xd2, 0x35, 0x30, 0x76, 0xb5, 0x27, 0x61, 0x40, 0x6e, 0x25, 0x75, 0x4f, 0x14, 0xb1, 0x27,
            0x72, 0xf6, 0xcb, 0xb6, 0x1d, 0x9f, 0x2e, 0xdd, 0xcb, 0xbf, 0x32, 0x53, 0x7a, 0xb2, 0x83, 0xa1,
        ],
        b"\x85oJ\x837\xd250\x01@\x00\x10lifeos-genesis/1\x01\x01\x00\x00\x00\x06\
          \x15\x084\x01B\x02V\x03W\x0cp\x02\x7f\x06schema\x01\x7f\x01\x7f\xc6\x01attachment/1\x7f\x00",
    ),
];

#[cfg(test)]
mod tests {
    use automerge::transaction::{CommitOptions, Transactable};
    use automerge::{ActorId, ObjType, ROOT};

    use super::*;

    /// How the frozen bytes were made: actor `lifeos-genesis/1`, time 0.
    fn build(id: GenesisId) -> automerge::Change {
        let mut doc = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint);
        doc.set_actor(ActorId::from(GENESIS_ACTOR.as_slice()));
        match id {
            NOTE_GENESIS => {
                doc.put_object(ROOT, "body", ObjType::Text).unwrap();
                doc.put(ROOT, "schema", "note/1").unwrap();
            }
            NOTE_TREE_GENESIS => doc.put(ROOT, "schema", "tree/notes/1").unwrap(),
            SPACE_GENESIS => doc.put(ROOT, "schema", "space/1").unwrap(),
            ATTACHMENT_GENESIS => doc.put(ROOT, "schema", "attachment/1").unwrap(),
            _ => unreachable!(),
        }
        let hash = doc.commit_with(CommitOptions::default().with_time(0)).unwrap();
        doc.get_change_by_hash(&hash).unwrap()
    }

    #[test]
    fn frozen_geneses_are_what_automerge_makes_today() {
        for kind in KINDS {
            let built = build(kind.genesis);
            let frozen = genesis(kind.genesis).unwrap();
            let escaped: String = built.raw_bytes().iter().map(|byte| format!("\\x{byte:02x}")).collect();
            assert_eq!(frozen.bytes(), built.raw_bytes(), "{}: hash {:?} bytes {escaped}", kind.name, built.hash().0);
            assert_eq!(frozen.hash(), built.hash(), "{}", kind.name);
            assert_eq!(frozen.document().unwrap().clone().get_heads(), vec![built.hash()]);
        }
    }
}
