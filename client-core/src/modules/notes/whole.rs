//! A whole new note as one change, written and read without building its document.
//!
//! ```text
//! draft ─▶ WholeNote ─▶ change                 importing: the document is built when it is first opened
//! change ─▶ WholeNote ─▶ change, compared      receiving: what this engine itself would have written is known to
//!             └─▶ rows                          load, so it need not be loaded to be believed
//! ```
//! The change holds, in this order: the registers by key, the body from its first unit to its last, the attributes of
//! each block, the marks. There is one way to write a note, so equal bytes mean an equal note. Marks that grow come
//! before those that do not, and later ones before earlier ones: of two that meet at a place the newer lies nearer to
//! the character before it, so that what is typed there falls out of a link and into bold text.

use std::collections::BTreeMap;

use automerge::{ChangeHash, ScalarValue};
use lifeos_sync_protocol::ids::StreamId;

use super::body::{self, BLOCK, Flat, Marker};
use super::markdown::{Derived, Parsed};
use super::note::Draft;
use super::{front, tags};
use crate::document::chunk::{Action, FirstChange, Object, Op, OpReader, Value};
use crate::document::{DocumentError, LocalChange};
use crate::modules::register::line;
use crate::registry::{self, NOTE_GENESIS, TAGS_MAX};

/// Operations of a note's genesis, and among them the one that makes the body.
const GENESIS_OPS: u64 = 2;
const BODY: Object = Object::Genesis(1);
/// Keys that the genesis writes: to set them again is no way to begin a note.
const GENESIS_KEYS: [&str; 2] = ["body", "schema"];
/// A longer note is read by Automerge.
const UNITS_MAX: usize = 1 << 18;
/// A note with more marks is read by Automerge.
const MARKS_MAX: usize = 1 << 12;
/// A place with more marks is read by Automerge.
const MARKS_AT_ONCE_MAX: usize = 16;

/// Everything a new note holds.
#[derive(Debug, Clone)]
pub struct WholeNote {
    registers: BTreeMap<String, ScalarValue>,
    body: Flat,
    /// What the body gives, where it has been read already.
    derived: Option<Box<Derived>>,
}

impl PartialEq for WholeNote {
    fn eq(&self, other: &Self) -> bool {
        self.registers == other.registers && self.body == other.body
    }
}

/// A note as it was read from its first change.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadNote {
    /// The note.
    pub note: WholeNote,
    /// Whose change it is.
    pub actor: StreamId,
    /// When it was made (ms UTC, as claimed).
    pub time_ms: i64,
    /// Automerge's hash of the change: the document's only head.
    pub hash: ChangeHash,
}

impl WholeNote {
    /// What [`super::note::create`] would fill a new note with; `parsed` is the draft's Markdown taken apart.
    ///
    /// # Errors
    /// [`DocumentError::InvalidValue`].
    pub fn new(draft: &Draft<'_>, parsed: &Parsed, now_ms: i64) -> Result<Self, DocumentError> {
        let mut note = Self { registers: BTreeMap::new(), body: Flat::from_body(&parsed.body), derived: None };
        note.put("created", ScalarValue::Timestamp(now_ms))?;
        if !draft.title.trim().is_empty() {
            note.put("title", line(draft.title))?;
        }
        if let Some(kind) = draft.kind {
            note.put("kind", kind)?;
        }
        if let Some(notebook) = draft.notebook {
            note.put("notebook", notebook)?;
        }
        note.put_tags(draft.tags)?;
        if let Some(source) = &draft.source {
            note.put("source:path", source.path)?;
            note.put("source:hash", ScalarValue::Bytes(source.hash.to_vec()))?;
        }
        if let Some(matter) = &parsed.front_matter {
            note.put("front", matter.raw())?;
            for (name, value) in front::storable(matter) {
                note.put(&front::key(name), value.to_string())?;
            }
        }
        body::check_size(note.body.text_bytes())?;
        Ok(note)
    }

    fn put(&mut self, key: &str, value: impl Into<ScalarValue>) -> Result<(), DocumentError> {
        let value = value.into();
        registry::validate(NOTE_GENESIS, key, &value)?;
        self.registers.insert(key.to_owned(), value);
        Ok(())
    }

    fn put_tags(&mut self, names: &[String]) -> Result<(), DocumentError> {
        let mut count = 0;
        for name in names {
            let key = tags::key(name);
            if self.registers.contains_key(&key) {
                continue;
            }
            if count == TAGS_MAX {
                return Err(tags::too_many());
            }
            self.put(&key, tags::label(name))?;
            count += 1;
        }
        Ok(())
    }

    /// Its registers by key.
    pub(crate) const fn registers(&self) -> &BTreeMap<String, ScalarValue> {
        &self.registers
    }

    /// Keeps what was read of the parsed body that the note was made of.
    #[cfg(feature = "io")]
    #[must_use]
    pub(crate) fn with_derived(self, derived: Derived) -> Self {
        Self { derived: Some(Box::new(derived)), ..self }
    }

    /// What its body gives.
    pub(crate) fn derived(&self) -> Derived {
        self.derived.as_deref().cloned().unwrap_or_else(|| Derived::of(&self.body.to_body()))
    }

    /// The change that makes the note out of its genesis.
    ///
    /// # Errors
    /// [`DocumentError::InvalidEdit`] for a register of a kind that no new note holds.
    pub fn encode(&self, actor: &StreamId, time_ms: i64) -> Result<LocalChange, DocumentError> {
        let written = self.write().and_then(|change| change.finish(actor.as_bytes(), time_ms));
        written.ok_or(DocumentError::InvalidEdit("a new note cannot hold this value"))
    }

    fn write(&self) -> Option<FirstChange<'_>> {
        let mut change = FirstChange::new(NOTE_GENESIS, GENESIS_OPS);
        for (key, value) in &self.registers {
            change.set(Object::Root, key, value)?;
        }
        let first = change.next_op();
        self.write_units(&mut change);
        for (place, marker) in self.body.markers() {
            for (name, value) in &marker.attrs {
                change.set_text(Object::Own(first + place as u64), name, value);
            }
        }
        let behind = |place: usize| place.checked_sub(1).map(|before| first + before as u64);
        let mut marks: Vec<_> =
            body::all_marks(&self.body).into_iter().map(|mark| (!body::grows(mark.1), mark)).collect();
        marks.sort_by(|(one_stays, one), (other_stays, other)| {
            (one_stays, other.0.start, other.1).cmp(&(other_stays, one.0.start, one.1))
        });
        for (stays, (range, name, value)) in marks {
            change.mark(BODY, (behind(range.start), behind(range.end)), name, value, !stays);
        }
        Some(change)
    }

    fn write_units<'a>(&'a self, change: &mut FirstChange<'a>) {
        let (mut after, mut rest) = (None, self.body.units.as_slice());
        while let [unit, tail @ ..] = rest {
            if *unit == BLOCK {
                after = Some(change.block(BODY, after));
                rest = tail;
                continue;
            }
            let end = rest.iter().position(|unit| *unit == BLOCK).unwrap_or(rest.len());
            after = change.characters(BODY, after, rest[..end].iter().filter_map(|unit| char::from_u32(*unit)));
            rest = &rest[end..];
        }
    }

    /// Reads a change, if it is byte for byte one that [`Self::encode`] writes.
    #[must_use]
    pub fn decode(chunk: &[u8]) -> Option<ReadNote> {
        let mut reader = OpReader::new(chunk)?;
        let actor = StreamId::from_slice(reader.actor)?;
        let mut reading = Reading::default();
        let mut number = GENESIS_OPS;
        while let Some(op) = reader.next()? {
            number += 1;
            reading.take(number, op)?;
        }
        let note = reading.finish()?;
        let change = note.encode(&actor, reader.time_ms).ok()?;
        (change.bytes == chunk).then_some(ReadNote { note, actor, time_ms: reader.time_ms, hash: change.hash })
    }
}

/// A mark: where it begins and ends, name, value.
type ReadMark<'a> = (usize, usize, &'a str, &'a str);

/// What was read of a note so far.
#[derive(Default)]
struct Reading<'a> {
    registers: BTreeMap<String, ScalarValue>,
    units: Vec<u32>,
    markers: Vec<Marker>,
    /// Number of the operation that inserted the first unit.
    first: u64,
    /// The block whose attributes are read: its place, and how many blocks come before it.
    block: Option<(usize, usize)>,
    begun: Option<(usize, &'a str, &'a str)>,
    marks: Vec<ReadMark<'a>>,
}

impl<'a> Reading<'a> {
    fn take(&mut self, number: u64, op: Op<'a>) -> Option<()> {
        match (op.object, op.key) {
            (None, Some(key)) if op.action == Action::Set => self.take_register(key, op.value),
            (Some((1, 1)), None) if op.action == Action::Mark => self.take_mark(op),
            (Some((1, 1)), None) => self.take_unit(number, op),
            (Some((block, 0)), Some(name)) => self.take_attribute(block, name, op.value),
            _ => None,
        }
    }

    fn take_register(&mut self, key: &str, value: Value<'_>) -> Option<()> {
        let is_new = !key.is_empty() && !GENESIS_KEYS.contains(&key);
        let before = self.registers.insert(key.to_owned(), value.to_scalar());
        (is_new && before.is_none()).then_some(())
    }

    fn take_unit(&mut self, number: u64, op: Op<'_>) -> Option<()> {
        if self.units.is_empty() {
            self.first = number;
        }
        match (op.action, op.value) {
            (Action::MakeMap, Value::Null) => {
                self.units.push(BLOCK);
                self.markers.push(Marker::default());
            }
            (Action::Set, Value::Text(text)) => {
                let mut characters = text.chars();
                self.units.push(u32::from(characters.next()?));
                characters.next().is_none().then_some(())?;
            }
            _ => return None,
        }
        (self.units.len() <= UNITS_MAX).then_some(())
    }

    fn take_attribute(&mut self, block: u64, name: &str, value: Value<'_>) -> Option<()> {
        let place = usize::try_from(block.checked_sub(self.first)?).ok()?;
        let (mut at, mut before) = self.block.unwrap_or_default();
        // Attributes come block by block; what jumps back was not written here.
        while at < place {
            before += usize::from(self.units.get(at) == Some(&BLOCK));
            at += 1;
        }
        (at == place && self.units.get(at) == Some(&BLOCK)).then_some(())?;
        self.block = Some((at, before));
        let Value::Text(value) = value else { return None };
        let attrs = &mut self.markers.get_mut(before)?.attrs;
        attrs.insert(name.to_owned(), value.to_owned()).is_none().then_some(())
    }

    fn take_mark(&mut self, op: Op<'a>) -> Option<()> {
        let place = match op.after? {
            0 => 0,
            after => usize::try_from(after.checked_sub(self.first)?).ok()?.checked_add(1)?,
        };
        match (self.begun.take(), op.mark, op.value) {
            (None, Some(name), Value::Text(value)) => self.begun = Some((place, name, value)),
            (Some((start, name, value)), None, Value::Null) if start < place && place <= self.units.len() => {
                self.marks.push((start, place, name, value));
            }
            _ => return None,
        }
        (self.marks.len() <= MARKS_MAX).then_some(())
    }

    fn finish(self) -> Option<WholeNote> {
        let mut body = Flat { units: self.units, markers: self.markers, marks: Vec::new() };
        lay_marks(&mut body, self.marks)?;
        self.begun.is_none().then_some(WholeNote { registers: self.registers, body, derived: None })
    }
}

/// Lays marks out as runs that do not overlap; `None` when one name is begun twice.
fn lay_marks(body: &mut Flat, marks: Vec<ReadMark<'_>>) -> Option<()> {
    // At one place, what ends comes before what begins.
    let mut edges: Vec<(usize, bool, &str, &str)> = marks
        .into_iter()
        .flat_map(|(start, end, name, value)| [(start, true, name, value), (end, false, name, value)])
        .collect();
    edges.sort_unstable();
    let mut active: BTreeMap<String, String> = BTreeMap::new();
    let mut from = 0;
    for (place, begins, name, value) in edges {
        body.push_marks(from..place, &active);
        from = place;
        if begins {
            active.insert(name.to_owned(), value.to_owned()).is_none().then_some(())?;
            (active.len() <= MARKS_AT_ONCE_MAX).then_some(())?;
        } else {
            active.remove(name);
        }
    }
    Some(())
}
