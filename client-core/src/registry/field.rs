//! Fields: which keys a document of each kind may hold, how they merge, what a local edit may write, and what else is
//! to be known of them.
//!
//! Keys of the root map are flat: `title`, `tag/<tag>`, `<id>:parent`. A key is never deleted; taking a value
//! away writes null, and removing an entity writes its tombstone.

use automerge::ScalarValue;

use super::lens::Lens;

/// Longest title, tag, alias or name in characters.
pub const LINE_CHARS_MAX: usize = 512;
/// Largest text of a field that merges by characters, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

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
    /// Text in which both of two edits survive.
    Text,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// When something happened, ms UTC.
    TimeMs,
    /// A day without a zone, `2026-03-08`.
    Date,
    /// Wall time in a zone, RFC 9557 without offset: `2026-03-08T02:30[America/New_York]`.
    Zoned,
    /// Wall time wherever one is, `2026-03-08T07:00`.
    Floating,
    /// A day, a wall time or a wall time in a zone: one of the three above.
    When,
    /// An amount of money in minor units; the field named here holds its currency.
    Minor(&'static str),
    /// A currency, three letters of ISO 4217.
    Currency,
    /// A decimal in its one shortest form: `-?digits[.digits]`, at most 18 behind the point.
    Quantity,
    /// A decimal from 0 to 10.
    Rate,
    /// A whole number of the field's unit.
    Measure,
    /// One of the listed values, or one that begins with `x-`; others that arrive are kept and shown.
    Choice(&'static [&'static str]),
    /// `lifeos:<kind>/<id>`: another entity, which may be missing here.
    Ref,
    /// 26 characters of base32 that two devices derive alike.
    DetId,
    /// A number to which both of two additions count.
    Counter,
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

impl FieldType {
    /// What it is called in documents and help.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Raw => "text as given",
            Self::RichText => "rich text",
            Self::Text => "text",
            Self::Bool => "yes or no",
            Self::Int => "number",
            Self::TimeMs => "instant",
            Self::Date => "date",
            Self::Zoned => "time in a zone",
            Self::Floating => "wall time",
            Self::When => "date or time",
            Self::Minor(_) => "money, minor units",
            Self::Currency => "currency",
            Self::Quantity => "decimal",
            Self::Rate => "rate",
            Self::Measure => "measure",
            Self::Choice(_) => "choice",
            Self::Ref => "reference",
            Self::DetId => "derived id",
            Self::Counter => "counter",
            Self::Id => "id",
            Self::Json => "JSON",
            Self::Rank => "rank",
            Self::Hash => "SHA-256",
            Self::Claim => "claim",
            Self::Parts => "parts",
        }
    }

    /// SQL type of its column.
    #[must_use]
    pub const fn sql_type(self) -> &'static str {
        match self {
            Self::Bool | Self::Int | Self::TimeMs | Self::Minor(_) | Self::Measure | Self::Counter => "INTEGER",
            Self::Hash | Self::Claim | Self::Parts => "BLOB",
            _ => "TEXT",
        }
    }
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
    /// Additions count, all of them. Of the document: made by the genesis. Of an entry: a register for each
    /// stream (`…:n@<stream>`), of which the sum counts, because two devices that make one counter lose one's additions.
    Counter,
}

/// What a local edit may write; merging never refuses.
#[derive(Debug, Clone, Copy)]
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
    /// A number within these, both included.
    Range(i64, i64),
    /// A text for which this holds, and what is asked in words.
    Text(fn(&str) -> bool, &'static str),
    /// The type says it all.
    Type,
}

/// How much it would hurt if a stranger read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sensitivity {
    /// Says nothing of a person.
    Technical,
    /// A person's own affair.
    Personal,
    /// Health, money, beliefs, other people's affairs.
    Sensitive,
    /// Opens something else: keys, codes.
    Secret,
}

impl Sensitivity {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Technical => "technical",
            Self::Personal => "personal",
            Self::Sensitive => "sensitive",
            Self::Secret => "secret",
        }
    }
}

/// How long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// As long as the entity.
    WithEntity,
    /// Can be cleared so many days after it was written.
    Days(u32),
}

/// Where search finds a field's text, and so how much a match counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Weight 8.
    Title,
    /// Weight 5.
    Tags,
    /// Weight 3.
    Headings,
    /// Weight 1.
    Body,
}

/// One declared field.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Stable id.
    pub id: &'static str,
    /// Key in the root map; `<…>` stands for a variable part.
    pub key: &'static str,
    /// What it holds.
    pub field_type: FieldType,
    /// How it merges.
    pub crdt: Crdt,
    /// What may be written.
    pub validation: Validation,
    /// Whether null may be written (the value is taken away).
    pub nullable: bool,
    /// What people call it.
    pub label: &'static str,
    /// What it is for, in a few words.
    pub purpose: &'static str,
    /// What a number counts (UCUM).
    pub unit: Option<&'static str>,
    /// How much it would hurt if a stranger read it.
    pub sensitivity: Sensitivity,
    /// How long it is kept.
    pub retention: Retention,
    /// Where search finds it.
    pub search: Option<Place>,
    /// Whether an assistant may read it.
    pub ai_readable: bool,
    /// Whether values that were written at once on several devices are shown.
    pub conflicts: bool,
    /// Whether its column has an index.
    pub indexed: bool,
    /// First schema version of the kind that has it.
    pub since: u32,
    /// Schema version since which nothing writes it.
    pub deprecated: Option<u32>,
    /// How it reads what earlier versions write under another key.
    pub lens: Option<Lens>,
    /// What it is called in other formats: (format, name).
    pub exports: &'static [(&'static str, &'static str)],
}

const LINE: Validation = Validation::Line { chars_max: LINE_CHARS_MAX, empty: false };

/// A validation of lines of at most so many characters, at least one.
#[must_use]
pub const fn line_of(chars_max: usize) -> Validation {
    Validation::Line { chars_max, empty: false }
}

impl Field {
    /// A register that may be emptied, with what usually goes with its type; the functions below change one thing each.
    #[must_use]
    pub const fn new(id: &'static str, key: &'static str, field_type: FieldType) -> Self {
        let (crdt, validation) = match field_type {
            FieldType::Line => (Crdt::Register, LINE),
            FieldType::Raw | FieldType::Json => (Crdt::Register, Validation::Bytes(64 * 1024)),
            FieldType::Rank => (Crdt::Register, Validation::Bytes(4096)),
            FieldType::Text => (Crdt::Text, Validation::Bytes(TEXT_BYTES_MAX)),
            FieldType::RichText => (Crdt::Text, Validation::Bytes(TEXT_BYTES_MAX)),
            FieldType::Counter => (Crdt::Counter, Validation::Type),
            _ => (Crdt::Register, Validation::Type),
        };
        Self {
            id,
            key,
            field_type,
            crdt,
            validation,
            nullable: !matches!(crdt, Crdt::Text | Crdt::Counter),
            label: "",
            purpose: "",
            unit: None,
            sensitivity: Sensitivity::Personal,
            retention: Retention::WithEntity,
            search: None,
            ai_readable: true,
            conflicts: false,
            indexed: false,
            since: 1,
            deprecated: None,
            lens: None,
            exports: &[],
        }
    }

    /// What earlier versions wrote, and read, under another key.
    #[must_use]
    pub const fn lens(self, lens: Lens) -> Self {
        Self { lens: Some(lens), ..self }
    }

    /// `schema`: written by the genesis, `<kind>/1`.
    #[must_use]
    pub const fn schema(id: &'static str) -> Self {
        let field = Self::new(id, "schema", FieldType::Line).technical("Schema", "Kind and first version");
        Self { crdt: Crdt::Constant, validation: Validation::Frozen, nullable: false, ..field }
    }

    /// `created`: when the entity was made; taking that edit back puts the entity into the trash.
    #[must_use]
    pub const fn created(id: &'static str) -> Self {
        Self::new(id, "created", FieldType::TimeMs).required().technical("Created", "When it was made")
    }

    /// `del`: the tombstone.
    #[must_use]
    pub const fn deleted(id: &'static str) -> Self {
        Self::new(id, "del", FieldType::TimeMs).technical("In the trash", "Since when it is in the trash")
    }

    /// `schema:v` or `schema:min`: the version it was written by, and the oldest that may edit it.
    #[must_use]
    pub const fn version(id: &'static str, key: &'static str) -> Self {
        let field = Self::new(id, key, FieldType::Int).required().range(1, u32::MAX as i64);
        field.technical("Version", "Version of the schema, or the oldest that may edit")
    }

    /// The tombstone of an entry of a family: `<family>/<id>:del`.
    #[must_use]
    pub const fn row_deleted(id: &'static str, key: &'static str) -> Self {
        Self::new(id, key, FieldType::TimeMs).technical("Removed", "Since when the entry is removed")
    }

    /// What people call it, and what it is for.
    #[must_use]
    pub const fn named(self, label: &'static str, purpose: &'static str) -> Self {
        Self { label, purpose, ..self }
    }

    const fn technical(self, label: &'static str, purpose: &'static str) -> Self {
        self.named(label, purpose).sensitive(Sensitivity::Technical)
    }

    /// What may be written.
    #[must_use]
    pub const fn valid(self, validation: Validation) -> Self {
        Self { validation, ..self }
    }

    /// A number within these, both included.
    #[must_use]
    pub const fn range(self, min: i64, max: i64) -> Self {
        self.valid(Validation::Range(min, max))
    }

    /// How it merges, where that is not usual for its type.
    #[must_use]
    pub const fn merges(self, crdt: Crdt) -> Self {
        Self { crdt, ..self }
    }

    /// The value cannot be taken away again.
    #[must_use]
    pub const fn required(self) -> Self {
        Self { nullable: false, ..self }
    }

    /// What its number counts (UCUM).
    #[must_use]
    pub const fn unit(self, unit: &'static str) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// How much it would hurt if a stranger read it.
    #[must_use]
    pub const fn sensitive(self, sensitivity: Sensitivity) -> Self {
        Self { sensitivity, ..self }
    }

    /// How long it is kept.
    #[must_use]
    pub const fn kept(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Search finds it, with the weight of this place.
    #[must_use]
    pub const fn searched(self, place: Place) -> Self {
        Self { search: Some(place), ..self }
    }

    /// No assistant reads it.
    #[must_use]
    pub const fn hidden_from_ai(self) -> Self {
        Self { ai_readable: false, ..self }
    }

    /// Values that were written at once on several devices are shown.
    #[must_use]
    pub const fn shows_conflicts(self) -> Self {
        Self { conflicts: true, ..self }
    }

    /// Its column has an index.
    #[must_use]
    pub const fn indexed(self) -> Self {
        Self { indexed: true, ..self }
    }

    /// First schema version of the kind that has it.
    #[must_use]
    pub const fn since(self, version: u32) -> Self {
        Self { since: version, ..self }
    }

    /// Schema version since which nothing writes it.
    #[must_use]
    pub const fn deprecated(self, version: u32) -> Self {
        Self { deprecated: Some(version), ..self }
    }

    /// What it is called in other formats: (format, name).
    #[must_use]
    pub const fn exported(self, exports: &'static [(&'static str, &'static str)]) -> Self {
        Self { exports, ..self }
    }
}

impl Field {
    /// The first variable part of `key`, if the key is one of this field (empty for a fixed key).
    #[must_use]
    pub fn matches<'k>(&self, key: &'k str) -> Option<&'k str> {
        let Some((prefix, rest)) = self.key.split_once('<') else {
            return (self.key == key).then_some("");
        };
        let suffix = rest.split_once('>').map_or("", |(_, suffix)| suffix);
        let variable = key.strip_prefix(prefix)?;
        let variable = match suffix.split_once('<') {
            // A second variable part ends the key, and holds nothing of what stands between the two.
            Some((between, _)) => variable.rsplit_once(between).filter(|(_, last)| !last.is_empty())?.0,
            None => variable.strip_suffix(suffix)?,
        };
        Some(variable).filter(|variable| !variable.is_empty())
    }

    /// The family its entries belong to: what stands in front of the `/`.
    #[must_use]
    pub fn family(&self) -> Option<&'static str> {
        self.key.split_once("/<").map(|(family, _)| family)
    }

    /// The name people type, and its column: the key, or in a family what stands behind the `:`; of the label of an
    /// element of a set, `label`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        let Some((_, rest)) = self.key.split_once('>') else { return self.key };
        let name = rest.split_once('<').map_or(rest, |(name, _)| name);
        let name = name.trim_start_matches(':').trim_end_matches('@');
        if name.is_empty() { "label" } else { name }
    }

    /// The key of this field in the entry `id` of its family.
    #[must_use]
    pub fn key_of(&self, id: &str) -> String {
        match (self.key.split_once('<'), self.key.split_once('>')) {
            (Some((prefix, _)), Some((_, suffix))) => format!("{prefix}{id}{suffix}"),
            _ => self.key.to_owned(),
        }
    }

    /// Whether a value of this type is what stands in the document, whatever its validation says.
    pub(crate) fn has_type(&self, value: &ScalarValue) -> bool {
        match self.field_type.sql_type() {
            "BLOB" => matches!(value, ScalarValue::Bytes(_)),
            "TEXT" => matches!(value, ScalarValue::Str(_)),
            _ => match self.field_type {
                FieldType::Bool => matches!(value, ScalarValue::Boolean(_)),
                FieldType::TimeMs => matches!(value, ScalarValue::Timestamp(_) | ScalarValue::Int(_)),
                FieldType::Counter => matches!(value, ScalarValue::Counter(_) | ScalarValue::Int(_)),
                _ => matches!(value, ScalarValue::Int(_) | ScalarValue::Uint(_)),
            },
        }
    }
}
