//! JSON Resume 1.0.0 in and out: one table says which key is which field, and what it does not know is kept.
//!
//! ```text
//! file ── read ──▶ Piece: a section's entry as fields and entries, with what is unknown under `ext`
//!                    │ its name in the space is derived from section, name, position and start: two devices that read
//!                    ▼ the same file write the same documents
//!                 entity ── write ──▶ the same keys again, as far as a profile shows them
//! ```
//! (<https://jsonresume.org/schema>; a date is a year, a month or a day.)

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::declared::{CREDENTIAL, EXPERIENCE, RESUME, SKILL};
use crate::modules::entity::element;
use crate::modules::rank;
use crate::modules::register::{cut, fold, line};
use crate::registry::{Crdt, Field, FieldType, Kind};

/// Largest file.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most entries of a file, so that all of them are one step to undo.
pub const ENTRIES_MAX: usize = 900;
/// Most bytes of what is kept without being known.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// How ids of entries begin that came from a file: those alone go when the file has them no more.
pub const ENTRY_PREFIX: &str = "jr.";
/// What a file says it follows.
const SCHEMA_URL: &str = "https://raw.githubusercontent.com/jsonresume/resume-schema/v1.0.0/schema.json";

/// A section: its key in the file, the kind, the value of `section`, keys that are fields, keys that are lists of
/// texts.
struct Section {
    key: &'static str,
    kind: &'static Kind,
    section: Option<&'static str>,
    fields: &'static [(&'static str, &'static str)],
    lists: &'static [(&'static str, &'static str)],
}

const SECTIONS: &[Section] = &[
    Section {
        key: "work",
        kind: &EXPERIENCE,
        section: Some("work"),
        fields: &[
            ("name", "name"),
            ("position", "position"),
            ("location", "location"),
            ("description", "about"),
            ("url", "url"),
            ("startDate", "start"),
            ("endDate", "end"),
            ("summary", "summary"),
        ],
        lists: &[("highlights", "highlight")],
    },
    Section {
        key: "volunteer",
        kind: &EXPERIENCE,
        section: Some("volunteer"),
        fields: &[
            ("organization", "name"),
            ("position", "position"),
            ("url", "url"),
            ("startDate", "start"),
            ("endDate", "end"),
            ("summary", "summary"),
        ],
        lists: &[("highlights", "highlight")],
    },
    Section {
        key: "education",
        kind: &EXPERIENCE,
        section: Some("education"),
        fields: &[
            ("institution", "name"),
            ("url", "url"),
            ("area", "area"),
            ("studyType", "degree"),
            ("startDate", "start"),
            ("endDate", "end"),
            ("score", "score"),
        ],
        lists: &[("courses", "highlight")],
    },
    Section {
        key: "awards",
        kind: &EXPERIENCE,
        section: Some("award"),
        fields: &[("title", "name"), ("date", "start"), ("awarder", "issuer"), ("summary", "summary")],
        lists: &[],
    },
    Section {
        key: "certificates",
        kind: &CREDENTIAL,
        section: None,
        fields: &[("name", "name"), ("date", "issued"), ("url", "url"), ("issuer", "issuer")],
        lists: &[],
    },
    Section {
        key: "publications",
        kind: &EXPERIENCE,
        section: Some("publication"),
        fields: &[
            ("name", "name"),
            ("publisher", "issuer"),
            ("releaseDate", "start"),
            ("url", "url"),
            ("summary", "summary"),
        ],
        lists: &[],
    },
    Section {
        key: "skills",
        kind: &SKILL,
        section: None,
        fields: &[("name", "name"), ("level", "level")],
        lists: &[("keywords", "keyword")],
    },
    Section {
        key: "languages",
        kind: &EXPERIENCE,
        section: Some("language"),
        fields: &[("language", "name"), ("fluency", "fluency")],
        lists: &[],
    },
    Section {
        key: "interests",
        kind: &EXPERIENCE,
        section: Some("interest"),
        fields: &[("name", "name")],
        lists: &[("keywords", "keyword")],
    },
    Section {
        key: "references",
        kind: &EXPERIENCE,
        section: Some("reference"),
        fields: &[("name", "name"), ("reference", "summary")],
        lists: &[],
    },
    Section {
        key: "projects",
        kind: &EXPERIENCE,
        section: Some("project"),
        fields: &[
            ("name", "name"),
            ("description", "about"),
            ("startDate", "start"),
            ("endDate", "end"),
            ("url", "url"),
            ("entity", "issuer"),
            ("type", "sort"),
        ],
        lists: &[("highlights", "highlight"), ("keywords", "keyword"), ("roles", "role")],
    },
];

const BASICS: &[(&str, &str)] = &[
    ("name", "name"),
    ("label", "label"),
    ("image", "image"),
    ("email", "email"),
    ("phone", "phone"),
    ("url", "url"),
    ("summary", "summary"),
];
const PLACE: &[(&str, &str)] = &[
    ("address", "address"),
    ("postalCode", "postal_code"),
    ("city", "city"),
    ("countryCode", "country_code"),
    ("region", "region"),
];
const NETWORK: &[(&str, &str)] = &[("network", "network"), ("username", "username"), ("url", "url")];

/// Why a text is no résumé.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResumeError {
    /// Larger than [`FILE_BYTES_MAX`].
    #[error("the file is larger than 4 MiB: a résumé is not")]
    TooLarge,
    /// No JSON, or no object.
    #[error("the file is no JSON Resume: {0}")]
    NoJson(String),
    /// More than [`ENTRIES_MAX`] entries.
    #[error("the file has more than 900 entries: divide it")]
    TooMany,
}

/// An entry of a file, as what is written of it.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Where it stands: `work[0]`, `basics`.
    pub at: String,
    /// What it is.
    pub kind: &'static Kind,
    /// What its document is named by in the space; empty for the one that a space has once.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// Fields by name, and lists of entries with their ids; null for what the file does not say.
    pub given: Map<String, Value>,
    /// Its text, by which an unchanged one is known again.
    pub source: String,
    /// What could not be taken as it is, in words.
    pub problems: Vec<String>,
}

/// Reads a file. What of it cannot be taken is said of each entry; the rest is taken.
///
/// # Errors
/// [`ResumeError`] where nothing of it can be read.
pub fn read(text: &str) -> Result<Vec<Piece>, ResumeError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(ResumeError::TooLarge);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| ResumeError::NoJson(error.to_string()))?;
    let mut pieces = vec![basics(&file)];
    for section in SECTIONS {
        if file.get(section.key).is_some_and(|value| !value.is_array() && !value.is_null()) {
            pieces[0].problems.push(format!("`{}` is no list and is left out", section.key));
        }
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for section in SECTIONS {
        let mut rank = None;
        for (place, entry) in file.get(section.key).and_then(Value::as_array).into_iter().flatten().enumerate() {
            let own = rank::between(rank.as_deref(), None);
            pieces.push(piece(section, place, entry, &own, &mut seen));
            rank = Some(own);
        }
    }
    if pieces.len() > ENTRIES_MAX { Err(ResumeError::TooMany) } else { Ok(pieces) }
}

/// What of an object is known, and what cannot be taken.
struct Taken<'k> {
    kind: &'k Kind,
    given: Map<String, Value>,
    problems: Vec<String>,
}

impl<'k> Taken<'k> {
    fn new(kind: &'k Kind) -> Self {
        Self { kind, given: Map::new(), problems: Vec::new() }
    }

    /// A value of a field, where it can be one. Nothing is nothing, in whatever way it is written.
    fn value(&mut self, field: Option<&Field>, key: &str, value: &Value) -> Value {
        let text = match value {
            Value::Null => return Value::Null,
            Value::String(text) if text.trim().is_empty() => return Value::Null,
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => {
                self.problems.push(format!("`{key}` is no text and is left out"));
                return Value::Null;
            }
        };
        let Some(field) = field else { return Value::Null };
        let value = json!(if field.field_type == FieldType::Line { line(&text) } else { text });
        let checked = match field.crdt {
            Crdt::Text => Ok(()),
            _ => field.read(&value).map(drop),
        };
        match checked {
            Ok(()) => value,
            Err(error) => {
                self.problems.push(format!("`{key}` is left out: {error}"));
                Value::Null
            }
        }
    }

    fn fields(&mut self, from: &Map<String, Value>, fields: &[(&str, &str)]) {
        for (key, name) in fields {
            let value = from.get(*key).map_or(Value::Null, |value| self.value(self.kind.field_named(name), key, value));
            self.given.insert((*name).to_owned(), value);
        }
    }

    fn list(&mut self, from: &Map<String, Value>, key: &str, family: &'static str) {
        let field = self.kind.fields_of(Some(family)).find(|field| field.name() == "text");
        let (mut rank, mut seen) = (None, BTreeMap::new());
        let mut entries = Vec::new();
        for value in from.get(key).and_then(Value::as_array).into_iter().flatten() {
            let Value::String(text) = self.value(field, key, value) else { continue };
            let again = seen.entry(fold(&text)).and_modify(|again| *again += 1).or_insert(0_usize);
            let id = entry_id(family, &format!("{text} {again}"));
            let own = rank::between(rank.as_deref(), None);
            entries.push(json!({"id": id, "text": text, "rank": own}));
            rank = Some(own);
        }
        self.given.insert(family.to_owned(), Value::Array(entries));
    }

    /// What is not known of an object, as one value; nothing for nothing.
    fn keep(&mut self, from: &Map<String, Value>, known: &[&str]) -> Value {
        let rest: Map<String, Value> = from
            .iter()
            .filter(|(key, _)| !known.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if rest.is_empty() {
            return Value::Null;
        }
        let rest = Value::Object(rest);
        if rest.to_string().len() > KEPT_BYTES_MAX {
            self.problems.push("what is not known of it is larger than 64 KiB and is left out".to_owned());
            return Value::Null;
        }
        rest
    }
}

/// The same for the same text on every device.
fn entry_id(family: &str, text: &str) -> String {
    format!("{ENTRY_PREFIX}{}", element(family, text))
}

fn piece(section: &Section, place: usize, entry: &Value, rank: &str, seen: &mut BTreeMap<String, usize>) -> Piece {
    let nothing = Map::new();
    let object = entry.as_object().unwrap_or(&nothing);
    let mut taken = Taken::new(section.kind);
    taken.fields(object, section.fields);
    section.lists.iter().for_each(|(key, family)| taken.list(object, key, family));
    let known: Vec<&str> = section.fields.iter().chain(section.lists).map(|(key, _)| *key).collect();
    let ext = taken.keep(object, &known);
    taken.given.insert("ext".to_owned(), ext);
    taken.given.insert("rank".to_owned(), json!(rank));
    if let Some(name) = section.section {
        taken.given.insert("section".to_owned(), json!(name));
    }
    let said = taken.given.clone();
    let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut name = text("name");
    if name.is_empty() {
        // Every entity has a name; a file may leave it out.
        name = [text("position"), text("about"), section.key.to_owned()]
            .into_iter()
            .find(|name| !name.is_empty())
            .unwrap_or_default();
        name = cut(&line(&name), 512).into_owned();
        taken.given.insert("name".to_owned(), json!(name));
        taken.problems.push("it has no name, and is called by what else it says".to_owned());
    }
    // Two equal ones in one file are two.
    let identity =
        [section.key, &name, &text("position"), &text("degree"), &text("start"), &text("issued")].join("\u{0}");
    let again = seen.entry(identity.clone()).and_modify(|again| *again += 1).or_insert(0);
    Piece {
        at: format!("{}[{place}]", section.key),
        kind: section.kind,
        key: format!("json-resume\u{0}{identity}\u{0}{again}"),
        name,
        source: entry.to_string(),
        given: taken.given,
        problems: taken.problems,
    }
}

/// Who it is about, and what of the file is in no section.
fn basics(file: &Map<String, Value>) -> Piece {
    let nothing = Map::new();
    let object = |from: &'static str, of: &Map<String, Value>| of.get(from).and_then(Value::as_object).cloned();
    let basics = object("basics", file).unwrap_or_default();
    let place = object("location", &basics).unwrap_or_default();
    let mut taken = Taken::new(&RESUME);
    taken.fields(&basics, BASICS);
    taken.fields(&place, PLACE);
    let (mut rank, mut networks) = (None, Vec::new());
    for (at, entry) in basics.get("profiles").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let object = entry.as_object().unwrap_or(&nothing);
        let own = rank::between(rank.as_deref(), None);
        let id = entry_id("network", &at.to_string());
        let mut network = Map::from_iter([("id".to_owned(), json!(id)), ("rank".to_owned(), json!(own))]);
        for (key, name) in NETWORK {
            let field = RESUME.fields_of(Some("network")).find(|field| field.name() == *name);
            let value = object.get(*key).map_or(Value::Null, |value| taken.value(field, key, value));
            network.insert((*name).to_owned(), value);
        }
        let known: Vec<&str> = NETWORK.iter().map(|(key, _)| *key).collect();
        network.insert("ext".to_owned(), taken.keep(object, &known));
        networks.push(Value::Object(network));
        rank = Some(own);
    }
    taken.given.insert("network".to_owned(), Value::Array(networks));
    let keys = |of: &[(&'static str, &'static str)]| of.iter().map(|(key, _)| *key).collect::<Vec<_>>();
    let mut known = keys(BASICS);
    known.extend(["location", "profiles"]);
    let ext = taken.keep(&basics, &known);
    let place_ext = taken.keep(&place, &keys(PLACE));
    let mut known: Vec<&str> = SECTIONS.iter().map(|section| section.key).collect();
    known.extend(["basics", "$schema"]);
    let file_ext = taken.keep(file, &known);
    let source = json!([basics, file_ext]).to_string();
    taken.given.extend([
        ("ext".to_owned(), ext),
        ("place_ext".to_owned(), place_ext),
        ("file_ext".to_owned(), file_ext),
    ]);
    let name = taken.given.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    Piece {
        at: "basics".to_owned(),
        kind: &RESUME,
        key: String::new(),
        name,
        given: taken.given,
        source,
        problems: taken.problems,
    }
}

/// What is known of an entity: its fields, and the entries of its lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Fields by name.
    pub values: Map<String, Value>,
    /// Lists by name.
    pub lists: BTreeMap<String, Vec<Value>>,
}

impl Known {
    fn text(&self, name: &str) -> &str {
        self.values.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn labels(&self, name: &str) -> Vec<String> {
        let labels = self.lists.get(name).into_iter().flatten().filter_map(Value::as_str);
        labels.map(fold).collect()
    }

    /// Entries in their order.
    fn entries(&self, name: &str) -> Vec<&Map<String, Value>> {
        let mut found: Vec<&Map<String, Value>> =
            self.lists.get(name).into_iter().flatten().filter_map(Value::as_object).collect();
        let text =
            |entry: &Map<String, Value>, name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("~").to_owned();
        found.sort_by_key(|entry| (text(entry, "rank"), text(entry, "id")));
        found
    }
}

/// What a résumé shows of all that is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// In place of what the person does.
    pub label: Option<String>,
    /// In place of who the person is.
    pub summary: Option<String>,
    /// Nothing that ended before.
    pub since: Option<String>,
    /// At most so many highlights an entry.
    pub highlights: Option<usize>,
    /// Achievements follow the highlights of their entry.
    pub achievements: bool,
    /// Address, phone and e-mail are shown.
    pub contact: bool,
    /// Only these sections; none: all.
    pub sections: Vec<String>,
    /// Only what has one of these tags or no tag; none: all.
    pub tags: Vec<String>,
}

impl Profile {
    /// Everything that is not private.
    #[must_use]
    pub fn whole() -> Self {
        Self { contact: true, ..Self::default() }
    }

    /// As an entity says.
    #[must_use]
    pub fn read(of: &Known) -> Self {
        let flag = |name: &str| of.values.get(name).and_then(Value::as_bool);
        let text = |name: &str| Some(of.text(name).to_owned()).filter(|text| !text.is_empty());
        Self {
            label: text("label"),
            summary: text("summary"),
            since: text("since"),
            highlights: of.values.get("highlights").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok()),
            achievements: flag("achievements").unwrap_or(false),
            contact: flag("contact").unwrap_or(true),
            sections: of.labels("section"),
            tags: of.labels("tag"),
        }
    }

    fn shows(&self, of: &Known) -> bool {
        let tags = of.labels("tag");
        let tagged = self.tags.is_empty() || tags.is_empty() || tags.iter().any(|tag| self.tags.contains(tag));
        let end = of.text("end");
        let recent = self.since.as_ref().is_none_or(|since| {
            let shared = end.len().min(since.len());
            end.is_empty() || end.get(..shared) >= since.get(..shared)
        });
        tagged && recent && of.text("visibility") != "private"
    }
}

fn put(into: &mut Map<String, Value>, from: &Map<String, Value>, fields: &[(&str, &str)]) {
    for (key, name) in fields {
        if let Some(value) = from.get(*name).and_then(Value::as_str).filter(|text| !text.is_empty()) {
            into.insert((*key).to_owned(), json!(value));
        }
    }
}

/// What was kept of a file stands where it stood; what is known here goes before it.
fn put_kept(into: &mut Map<String, Value>, kept: Option<&Value>) {
    for (key, value) in kept.and_then(Value::as_object).into_iter().flatten() {
        into.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// A file of all that is known, as far as a profile shows it. Entries stand in their order, those without one by their
/// start,
/// the newest first.
#[must_use]
pub fn write(known: &[Known], profile: &Profile) -> Value {
    let mut file = Map::new();
    file.insert("$schema".to_owned(), json!(SCHEMA_URL));
    let resume = known.iter().find(|of| of.kind == RESUME.name);
    file.insert("basics".to_owned(), Value::Object(resume.map(|of| write_basics(of, profile)).unwrap_or_default()));
    for section in SECTIONS {
        if !profile.sections.is_empty() && !profile.sections.iter().any(|name| name == &section.key.to_lowercase()) {
            continue;
        }
        let is_of =
            |of: &&Known| of.kind == section.kind.name && section.section.is_none_or(|name| of.text("section") == name);
        let mut entries: Vec<&Known> = known.iter().filter(is_of).filter(|of| profile.shows(of)).collect();
        entries.sort_by(|one, other| {
            let ranked = |of: &Known| (of.text("rank").is_empty(), of.text("rank").to_owned());
            let newest = || other.text("start").cmp(one.text("start"));
            ranked(one).cmp(&ranked(other)).then_with(newest).then_with(|| one.id.cmp(&other.id))
        });
        if !entries.is_empty() {
            let written = entries.into_iter().map(|of| Value::Object(write_entry(of, section, known, profile)));
            file.insert(section.key.to_owned(), written.collect());
        }
    }
    put_kept(&mut file, resume.and_then(|of| of.values.get("file_ext")));
    Value::Object(file)
}

fn write_entry(of: &Known, section: &Section, known: &[Known], profile: &Profile) -> Map<String, Value> {
    let mut entry = Map::new();
    put(&mut entry, &of.values, section.fields);
    for (key, family) in section.lists {
        let texts = of.entries(family).into_iter().filter_map(|entry| entry.get("text")?.as_str().map(str::to_owned));
        let mut texts: Vec<String> = texts.collect();
        if *family == "highlight" {
            texts.truncate(profile.highlights.unwrap_or(usize::MAX));
            texts.extend(achievements(of, known).filter(|_| profile.achievements));
        }
        if !texts.is_empty() {
            entry.insert((*key).to_owned(), json!(texts));
        }
    }
    put_kept(&mut entry, of.values.get("ext"));
    entry
}

fn achievements<'k>(of: &'k Known, known: &'k [Known]) -> impl Iterator<Item = String> + 'k {
    let of_it = known.iter().filter(|one| one.kind == "achievement" && one.text("experience") == of.id);
    let shown = of_it.filter(|one| one.values.get("confidential") != Some(&Value::Bool(true)));
    shown.map(|one| one.text("title").to_owned())
}

fn write_basics(of: &Known, profile: &Profile) -> Map<String, Value> {
    let mut basics = Map::new();
    put(&mut basics, &of.values, BASICS);
    for (key, own) in [("label", &profile.label), ("summary", &profile.summary)] {
        if let Some(own) = own {
            basics.insert(key.to_owned(), json!(own));
        }
    }
    let mut place = Map::new();
    put(&mut place, &of.values, PLACE);
    put_kept(&mut place, of.values.get("place_ext"));
    if !profile.contact {
        ["email", "phone"].iter().for_each(|key| drop(basics.remove(*key)));
        ["address", "postalCode"].iter().for_each(|key| drop(place.remove(*key)));
    }
    if !place.is_empty() {
        basics.insert("location".to_owned(), Value::Object(place));
    }
    let networks: Vec<Value> = of
        .entries("network")
        .into_iter()
        .map(|entry| {
            let mut network = Map::new();
            put(&mut network, entry, NETWORK);
            put_kept(&mut network, entry.get("ext"));
            Value::Object(network)
        })
        .collect();
    if !networks.is_empty() {
        basics.insert("profiles".to_owned(), Value::Array(networks));
    }
    put_kept(&mut basics, of.values.get("ext"));
    basics
}
