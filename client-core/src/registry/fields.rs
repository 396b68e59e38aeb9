//! Fields: which keys a document of each kind may hold, how they merge, and what a local edit may write.
//!
//! Keys of the root map are flat: `title`, `tag/<tag>`, `<id>:parent`. A key is never deleted; taking a value
//! away writes null, and removing an entity writes its tombstone.

use automerge::ScalarValue;
use unicode_normalization::is_nfc;

use super::{ATTACHMENT_GENESIS, NOTE_GENESIS, NOTE_TREE_GENESIS, SPACE_GENESIS};
use crate::document::{DocumentError, GenesisId};
use crate::modules::attachment::PartList;
use crate::own_devices::CLAIM_BYTES;

/// Longest title, tag, alias or name in characters.
pub const LINE_CHARS_MAX: usize = 512;
/// Largest body, block markers not counted, in bytes of UTF-8.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most tags of a note.
pub const TAGS_MAX: usize = 200;
/// Largest value of a property, as JSON.
pub const PROPERTY_BYTES_MAX: usize = 64 * 1024;
/// Largest front matter, as it was imported.
pub const FRONT_BYTES_MAX: usize = 256 * 1024;
/// Longest name of a property in characters.
pub const PROPERTY_NAME_CHARS_MAX: usize = 128;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldType {
    /// One line of text.
    Line,
    /// Text as it was given.
    Raw,
    /// Text with marks and block markers.
    RichText,
    /// True or false.
    Bool,
    /// A time, ms UTC.
    TimeMs,
    /// 32 lower-case hex characters.
    Id,
    /// A value as JSON text.
    Json,
    /// A fractional index that orders siblings.
    Rank,
    /// A SHA-256.
    Hash,
    /// Which keys a device has in another space ([`crate::own_devices`]).
    Claim,
    /// Size and parts of a content ([`crate::modules::attachment::PartList`]).
    Parts,
}

/// How concurrent writes of a field merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Crdt {
    /// Written by the genesis alone.
    Constant,
    /// The last write wins; the others stay readable as conflicts.
    Register,
    /// A register whose value is the element's label: a concurrent addition wins over a removal.
    AddWins,
    /// A text: both edits survive.
    Text,
}

/// What a local edit may write; merging never refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validation {
    /// Nothing may be written after the genesis.
    Frozen,
    /// Trimmed, NFC, no line break, at most so many characters.
    Line {
        /// At most.
        chars_max: usize,
        /// Whether nothing is a value.
        empty: bool,
    },
    /// At most so many bytes of text.
    Bytes(usize),
    /// One of these.
    OneOf(&'static [&'static str]),
    /// The type says it all.
    Type,
}

/// One declared field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Stable id.
    pub id: &'static str,
    /// Kind of document that holds it.
    pub genesis: GenesisId,
    /// Key in the root map; `<…>` stands for the variable part.
    pub key: &'static str,
    /// What it holds.
    pub field_type: FieldType,
    /// How it merges.
    pub crdt: Crdt,
    /// What may be written.
    pub validation: Validation,
    /// Whether null may be written (the value is taken away).
    pub nullable: bool,
    /// First schema version of the kind that has it.
    pub since: u32,
}

const fn field(
    id: &'static str,
    genesis: GenesisId,
    key: &'static str,
    field_type: FieldType,
    crdt: Crdt,
    validation: Validation,
    nullable: bool,
) -> Field {
    Field { id, genesis, key, field_type, crdt, validation, nullable, since: 1 }
}

const LINE: Validation = Validation::Line { chars_max: LINE_CHARS_MAX, empty: false };
const TITLE: Validation = Validation::Line { chars_max: LINE_CHARS_MAX, empty: true };
const NOTE_KINDS: Validation = Validation::OneOf(&["note", "journal", "template", "meeting"]);

/// Every field of every kind of document.
#[rustfmt::skip]
pub const FIELDS: &[Field] = &[
    field("note.schema", NOTE_GENESIS, "schema", FieldType::Line, Crdt::Constant, Validation::Frozen, false),
    field("note.body", NOTE_GENESIS, "body", FieldType::RichText, Crdt::Text, Validation::Bytes(BODY_BYTES_MAX), false),
    field("note.title", NOTE_GENESIS, "title", FieldType::Line, Crdt::Register, TITLE, false),
    field("note.kind", NOTE_GENESIS, "kind", FieldType::Line, Crdt::Register, NOTE_KINDS, false),
    field("note.pinned", NOTE_GENESIS, "pinned", FieldType::Bool, Crdt::Register, Validation::Type, false),
    field("note.created", NOTE_GENESIS, "created", FieldType::TimeMs, Crdt::Register, Validation::Type, false),
    field("note.del", NOTE_GENESIS, "del", FieldType::TimeMs, Crdt::Register, Validation::Type, true),
    field("note.notebook", NOTE_GENESIS, "notebook", FieldType::Id, Crdt::Register, Validation::Type, true),
    field("note.front", NOTE_GENESIS, "front", FieldType::Raw, Crdt::Register, Validation::Bytes(FRONT_BYTES_MAX), true),
    field("note.source.path", NOTE_GENESIS, "source:path", FieldType::Raw, Crdt::Register, Validation::Bytes(4096), true),
    field("note.source.hash", NOTE_GENESIS, "source:hash", FieldType::Hash, Crdt::Register, Validation::Type, true),
    field("note.tag", NOTE_GENESIS, "tag/<tag>", FieldType::Line, Crdt::AddWins, LINE, true),
    field("note.prop", NOTE_GENESIS, "prop/<name>", FieldType::Json, Crdt::Register, Validation::Bytes(PROPERTY_BYTES_MAX), true),
    field("note.alias", NOTE_GENESIS, "alias/<title>", FieldType::Bool, Crdt::Register, Validation::Type, true),
    field("note.attachment", NOTE_GENESIS, "attachment/<hash>", FieldType::Line, Crdt::AddWins, LINE, true),
    field("notebook.schema", NOTE_TREE_GENESIS, "schema", FieldType::Line, Crdt::Constant, Validation::Frozen, false),
    field("notebook.name", NOTE_TREE_GENESIS, "<id>:name", FieldType::Line, Crdt::Register, LINE, false),
    field("notebook.parent", NOTE_TREE_GENESIS, "<id>:parent", FieldType::Id, Crdt::Register, Validation::Type, true),
    field("notebook.rank", NOTE_TREE_GENESIS, "<id>:rank", FieldType::Rank, Crdt::Register, Validation::Bytes(4096), false),
    field("notebook.del", NOTE_TREE_GENESIS, "<id>:del", FieldType::TimeMs, Crdt::Register, Validation::Type, true),
    field("space.schema", SPACE_GENESIS, "schema", FieldType::Line, Crdt::Constant, Validation::Frozen, false),
    field("space.device.name", SPACE_GENESIS, "device/<key>:name", FieldType::Line, Crdt::Register, TITLE, false),
    field("space.name", SPACE_GENESIS, "name", FieldType::Line, Crdt::Register, TITLE, false),
    field("space.other.genesis", SPACE_GENESIS, "space/<key>:genesis", FieldType::Line, Crdt::Register, TITLE, false),
    field("space.other.relay", SPACE_GENESIS, "space/<key>:relay", FieldType::Line, Crdt::Register, TITLE, false),
    field("space.other.paper", SPACE_GENESIS, "space/<key>:paper", FieldType::Line, Crdt::Register, TITLE, false),
    field("space.other.member", SPACE_GENESIS, "space/<key>:member", FieldType::Id, Crdt::Register, Validation::Type, false),
    field("space.other.device", SPACE_GENESIS, "claim/<key>", FieldType::Claim, Crdt::Register, Validation::Type, false),
    field("space.member.name", SPACE_GENESIS, "member/<id>:name", FieldType::Line, Crdt::Register, TITLE, false),
    field("attachment.schema", ATTACHMENT_GENESIS, "schema", FieldType::Line, Crdt::Constant, Validation::Frozen, false),
    field("attachment.hash", ATTACHMENT_GENESIS, "hash", FieldType::Hash, Crdt::Register, Validation::Type, false),
    field("attachment.media", ATTACHMENT_GENESIS, "media", FieldType::Raw, Crdt::Register, Validation::Bytes(255), false),
    field("attachment.parts", ATTACHMENT_GENESIS, "parts", FieldType::Parts, Crdt::Register, Validation::Type, false),
];

impl Field {
    /// The variable part of `key`, if the key is one of this field (empty for a fixed key).
    #[must_use]
    pub fn matches<'k>(&self, key: &'k str) -> Option<&'k str> {
        let Some((prefix, rest)) = self.key.split_once('<') else {
            return (self.key == key).then_some("");
        };
        let suffix = rest.split_once('>').map_or("", |(_, suffix)| suffix);
        key.strip_prefix(prefix)?.strip_suffix(suffix).filter(|variable| !variable.is_empty())
    }

    /// Checks a value that a local edit wants to write.
    fn check(&self, value: &ScalarValue) -> Result<(), DocumentError> {
        let rule = match (value, self.field_type) {
            _ if self.validation == Validation::Frozen => Some("never changes"),
            (ScalarValue::Null, _) if self.nullable => None,
            (ScalarValue::Boolean(_), FieldType::Bool) | (ScalarValue::Timestamp(_), FieldType::TimeMs) => None,
            (ScalarValue::Bytes(bytes), FieldType::Hash) if bytes.len() == 32 => None,
            (ScalarValue::Bytes(bytes), FieldType::Parts) if PartList::decode(bytes).is_some() => None,
            (ScalarValue::Bytes(bytes), FieldType::Claim) if bytes.len() == CLAIM_BYTES => None,
            (ScalarValue::Str(text), FieldType::Line) => self.check_text(text),
            (ScalarValue::Str(text), FieldType::Raw | FieldType::Json | FieldType::Rank) => self.check_text(text),
            (ScalarValue::Str(text), FieldType::Id) if is_id(text) => None,
            _ => Some("has the wrong type"),
        };
        rule.map_or(Ok(()), |rule| Err(DocumentError::InvalidValue { field: self.id, rule }))
    }

    fn check_text(&self, text: &str) -> Option<&'static str> {
        match self.validation {
            Validation::Line { empty, .. } if text.is_empty() => (!empty).then_some("must not be empty"),
            Validation::Line { chars_max, .. } if text.chars().nth(chars_max).is_some() => Some("is too long"),
            Validation::Line { .. } if text.trim() != text || !is_nfc(text) => Some("must be trimmed and in NFC"),
            Validation::Line { .. } if text.contains(['\n', '\r', '\0']) => Some("must be one line"),
            Validation::Bytes(max) if text.len() > max => Some("is too large; shorten it"),
            Validation::OneOf(values) if !values.contains(&text) => Some("is not one of the known values"),
            _ => None,
        }
    }
}

/// 32 lower-case hex characters.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The declared field a key of a kind of document belongs to.
#[must_use]
pub fn field_of(genesis: GenesisId, key: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.genesis == genesis && field.matches(key).is_some())
}

/// Checks what a local edit wants to write.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a key that is not declared, [`DocumentError::InvalidValue`].
pub fn validate(genesis: GenesisId, key: &str, value: &ScalarValue) -> Result<&'static Field, DocumentError> {
    let field = field_of(genesis, key).ok_or(DocumentError::InvalidEdit("the field is not in the registry"))?;
    field.check(value).map(|()| field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(key: &str, value: impl Into<ScalarValue>) -> Option<&'static str> {
        match validate(NOTE_GENESIS, key, &value.into()) {
            Ok(_) => None,
            Err(DocumentError::InvalidValue { rule, .. }) => Some(rule),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn field_ids_and_keys_are_unique() {
        for (index, field) in FIELDS.iter().enumerate() {
            for other in &FIELDS[..index] {
                assert_ne!(field.id, other.id);
                assert!(field.genesis != other.genesis || field.key != other.key, "{}", field.id);
            }
        }
    }

    #[test]
    fn a_key_that_is_not_declared_is_refused() {
        let refused = DocumentError::InvalidEdit("the field is not in the registry");
        for key in ["colour", "tag/", "prop/", "bodyx", ""] {
            assert_eq!(validate(NOTE_GENESIS, key, &ScalarValue::Null), Err(refused.clone()), "{key}");
        }
        assert!(validate(NOTE_TREE_GENESIS, "title", &"a".into()).is_err());
        assert_eq!(field_of(NOTE_TREE_GENESIS, "abc:name").unwrap().matches("abc:name"), Some("abc"));
    }

    #[test]
    fn values_are_held_to_their_rules() {
        assert_eq!(rule("title", "A title"), None);
        assert_eq!(rule("title", ""), None);
        assert_eq!(rule("title", " A"), Some("must be trimmed and in NFC"));
        assert_eq!(rule("title", "e\u{301}"), Some("must be trimmed and in NFC"));
        assert_eq!(rule("title", "a\nb"), Some("must be one line"));
        assert_eq!(rule("title", "x".repeat(512)), None);
        assert_eq!(rule("title", "x".repeat(513)), Some("is too long"));
        assert_eq!(rule("title", ScalarValue::Null), Some("has the wrong type"));
        assert_eq!(rule("kind", "poem"), Some("is not one of the known values"));
        assert_eq!(rule("notebook", "0123456789abcdef0123456789abcdef"), None);
        assert_eq!(rule("notebook", ScalarValue::Null), None);
        assert_eq!(rule("notebook", "../etc"), Some("has the wrong type"));
        assert_eq!(rule("tag/x", ""), Some("must not be empty"));
        assert_eq!(rule("pinned", 1_i64), Some("has the wrong type"));
        assert_eq!(rule("schema", "note/2"), Some("never changes"));
        assert_eq!(rule("prop/x", "x".repeat(PROPERTY_BYTES_MAX + 1)), Some("is too large; shorten it"));
    }
}
