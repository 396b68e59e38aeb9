//! Taking back one of the person's own changes, without touching what others wrote since.
//!
//! ```text
//! before ──(the change)──▶ after ──(everything since, and beside)──▶ now
//! ```
//!
//! The inverse is written onto `now`, as a new change:
//! a register gets its value from `before` back only while it still holds the write of the change; characters and
//! markers that the change inserted go, those it deleted come back beside their old neighbours; marks and
//! attributes it changed go back where nobody changed them again. Characters are followed by their identity, which
//! Automerge's differences between heads give, never by comparing text. Making something is taken back by its
//! tombstone. Redo is the undo of the undo's change.

use std::collections::{BTreeMap, BTreeSet};

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ChangeHash, ObjId, Patch, PatchAction, Prop, ROOT, ReadDoc, ScalarValue, Value};

use super::body::{self, BLOCK, Flat, Marker, Script, Step, compose_positions, push};
use crate::document::{DocumentError, GenesisId};
use crate::modules::register::put;
use crate::registry::{self, Crdt, FieldType, Kind, NOTE_TREE_GENESIS};

/// Writes the inverse of `change` onto the document as it is now. To be run as a whole edit: it must come before
/// any other write of the same edit.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when the change is not in the document.
pub fn apply_undo(
    doc: &mut AutoCommit,
    genesis: GenesisId,
    change: &ChangeHash,
    now_ms: i64,
) -> Result<(), DocumentError> {
    let kind = registry::kind(genesis).ok_or(DocumentError::UnknownGenesis(genesis.0))?;
    let unknown = DocumentError::InvalidEdit("there is no such change");
    let before = doc.get_change_meta_by_hash(change).ok_or(unknown)?.deps;
    let span = Span { now: doc.get_heads(), before, after: vec![*change] };
    let patches = doc.diff(&span.before, &span.after);
    let mut texts = Vec::new();
    for field in kind.fields.iter().filter(|field| field.crdt == Crdt::Text) {
        texts.push(Reverted::new(doc, field.key, &span)?);
    }
    let entities = undo_creations(doc, kind, &span, &changed_keys(&patches), now_ms)?;
    if entities.contains("") {
        return Ok(());
    }
    for key in changed_keys(&patches) {
        if !entities.contains(entity_of(kind, &key)) {
            undo_register(doc, genesis, &span, &key)?;
        }
    }
    undo_increments(doc, &patches)?;
    texts.iter().try_for_each(|text| text.write(doc))
}

/// The three states an undo looks at.
struct Span {
    before: Vec<ChangeHash>,
    after: Vec<ChangeHash>,
    now: Vec<ChangeHash>,
}

fn changed_keys(patches: &[Patch]) -> BTreeSet<String> {
    let keys = patches.iter().filter(|patch| patch.obj == ROOT).filter_map(|patch| match &patch.action {
        PatchAction::PutMap { key, .. } | PatchAction::DeleteMap { key } => Some(key.clone()),
        _ => None,
    });
    keys.collect()
}

/// The entity a key belongs to: a notebook's id, an entry's `family/id`, or nothing for the document itself.
fn entity_of<'k>(kind: &Kind, key: &'k str) -> &'k str {
    if let Some(family) = kind.field(key).and_then(|field| kind.family(field.family()?)) {
        let id = &key[family.name.len() + 1..];
        return &key[..key.len() - id.split_once(':').map_or(0, |(_, name)| name.len() + 1)];
    }
    key.split_once(':').filter(|(id, _)| registry::is_id(id)).map_or("", |(id, _)| id)
}

/// What the change made gets a tombstone; returns the entities, `""` for the document itself.
fn undo_creations(
    doc: &mut AutoCommit,
    kind: &Kind,
    span: &Span,
    keys: &BTreeSet<String>,
    now_ms: i64,
) -> Result<BTreeSet<String>, DocumentError> {
    let mut made = BTreeSet::new();
    for key in keys {
        let entity = entity_of(kind, key);
        let tombstone = match key.as_str() {
            "created" => "del".to_owned(),
            name if kind.genesis() == NOTE_TREE_GENESIS && name.ends_with(":name") => format!("{entity}:del"),
            _ if entity.contains('/') => format!("{entity}:del"),
            _ => continue,
        };
        let is_made = if entity.contains('/') {
            !made.contains(entity) && kind.field(&tombstone).is_some() && is_new_entry(doc, entity, &span.before)
        } else {
            doc.get_at(ROOT, key.as_str(), &span.before)?.is_none()
        };
        if is_made {
            put(doc, kind.genesis(), &tombstone, ScalarValue::Timestamp(now_ms))?;
            made.insert(entity.to_owned());
        }
    }
    Ok(made)
}

/// Whether nothing stood under an entry of a family.
fn is_new_entry(doc: &AutoCommit, entity: &str, before: &[ChangeHash]) -> bool {
    let prefix = format!("{entity}:");
    let first = doc.map_range_at(ROOT, prefix.clone().., before).next();
    first.is_none_or(|item| !item.key.starts_with(&prefix))
}

/// What the change added to counters is taken off again.
fn undo_increments(doc: &mut AutoCommit, patches: &[Patch]) -> Result<(), DocumentError> {
    for patch in patches.iter().filter(|patch| patch.obj == ROOT) {
        if let PatchAction::Increment { prop: Prop::Map(key), value } = &patch.action {
            doc.increment(ROOT, key.as_str(), value.saturating_neg())?;
        }
    }
    Ok(())
}

fn undo_register(doc: &mut AutoCommit, genesis: GenesisId, span: &Span, key: &str) -> Result<(), DocumentError> {
    let written = doc.get_at(ROOT, key, &span.after)?.map(|(_, op)| op);
    let stands = doc.get(ROOT, key)?.map(|(_, op)| op);
    let Some(field) = registry::field_of(genesis, key).filter(|_| written == stands) else { return Ok(()) };
    let old = match doc.get_at(ROOT, key, &span.before)? {
        Some((Value::Scalar(value), _)) => value.into_owned(),
        Some((Value::Object(_), _)) => return Ok(()),
        None if field.nullable => ScalarValue::Null,
        None if field.field_type == FieldType::Bool => false.into(),
        None if field.field_type == FieldType::Line => "".into(),
        None if field.crdt == Crdt::Counter => 0_i64.into(),
        None => return Ok(()),
    };
    // Not checked against the registry: the value stood in the document before.
    Ok(doc.put(ROOT, key, old)?)
}

/// A text with the change taken out, ready to be written.
struct Reverted {
    text: ObjId,
    now: Flat,
    target: Flat,
    script: Script,
}

impl Reverted {
    fn new(doc: &mut AutoCommit, key: &str, span: &Span) -> Result<Self, DocumentError> {
        let text = body::text_at(doc, key)?;
        let before = Flat::read(doc, &text, Some(&span.before))?;
        let after = Flat::read(doc, &text, Some(&span.after))?;
        let now = Flat::read(doc, &text, None)?;
        let done = followed(doc, &text, &span.before, &span.after, before.units.len())?;
        let since = followed(doc, &text, &span.after, &span.now, after.units.len())?;
        let (target, script) = Merge::new(&before, &after, &now, &done, &since).run();
        Ok(Self { text, now, target, script })
    }

    fn write(&self, doc: &mut AutoCommit) -> Result<(), DocumentError> {
        body::apply(doc, &self.text, &self.now, &self.target, &self.script)
    }
}

/// How the text's units went from one state to another, by identity.
fn followed(
    doc: &mut AutoCommit,
    text: &ObjId,
    from: &[ChangeHash],
    to: &[ChangeHash],
    length: usize,
) -> Result<Script, DocumentError> {
    let patches = doc.diff_obj(text, from, to, false)?;
    let mut rope = Rope::new(length);
    for patch in patches.iter().filter(|patch| patch.obj == *text) {
        match &patch.action {
            PatchAction::SpliceText { index, value, .. } => rope.insert(*index, value.make_string().chars().count()),
            PatchAction::Insert { index, values } => rope.insert(*index, values.len()),
            PatchAction::DeleteSeq { index, length } => rope.delete(*index, *length),
            _ => {}
        }
    }
    Ok(rope.script(length))
}

/// Pieces of a text while patches are applied to it: a stretch of the old text, or new units.
struct Rope {
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy)]
enum Piece {
    Old { start: usize, length: usize },
    New(usize),
}

impl Piece {
    const fn length(self) -> usize {
        match self {
            Self::Old { length, .. } | Self::New(length) => length,
        }
    }

    const fn cut(self, at: usize) -> (Self, Self) {
        match self {
            Self::Old { start, length } => {
                (Self::Old { start, length: at }, Self::Old { start: start + at, length: length - at })
            }
            Self::New(length) => (Self::New(at), Self::New(length - at)),
        }
    }
}

impl Rope {
    fn new(length: usize) -> Self {
        Self { pieces: vec![Piece::Old { start: 0, length }] }
    }

    /// The piece that begins at `index`, after cutting one in two if needed.
    fn piece_at(&mut self, index: usize) -> usize {
        let mut start = 0;
        for place in 0..self.pieces.len() {
            let piece = self.pieces[place];
            if index == start {
                return place;
            }
            if index < start + piece.length() {
                let (left, right) = piece.cut(index - start);
                self.pieces.splice(place..=place, [left, right]);
                return place + 1;
            }
            start += piece.length();
        }
        self.pieces.len()
    }

    fn insert(&mut self, index: usize, count: usize) {
        let place = self.piece_at(index);
        self.pieces.insert(place, Piece::New(count));
    }

    fn delete(&mut self, index: usize, count: usize) {
        let (from, to) = (self.piece_at(index), self.piece_at(index + count));
        self.pieces.drain(from..to);
    }

    fn script(self, old_length: usize) -> Script {
        let (mut script, mut old_at) = (Script::new(), 0);
        for piece in self.pieces {
            match piece {
                Piece::Old { start, length } => {
                    push(&mut script, Step::Delete(start - old_at));
                    push(&mut script, Step::Keep(length));
                    old_at = start + length;
                }
                Piece::New(count) => push(&mut script, Step::Insert(count)),
            }
        }
        push(&mut script, Step::Delete(old_length - old_at));
        script
    }
}

/// Lays out the target while walking over `now`.
struct Merge<'f> {
    before: &'f Flat,
    after: &'f Flat,
    now: &'f Flat,
    /// For each unit of `now`, its place in `after`, and in `before`.
    sources: Vec<(Option<usize>, Option<usize>)>,
    /// Units of `before` that come back in front of a place of `now`.
    returning: BTreeMap<usize, Vec<usize>>,
    target: Flat,
    script: Script,
    /// Marks the change wrote at the unit before, name to (after, before): what was typed there since follows.
    delta: BTreeMap<String, (Option<String>, Option<String>)>,
}

impl<'f> Merge<'f> {
    fn new(before: &'f Flat, after: &'f Flat, now: &'f Flat, done: &[Step], since: &[Step]) -> Self {
        let (to_after, to_now) = (compose_positions(done), compose_positions(since));
        let mut sources = vec![(None, None); now.units.len()];
        for (place, now_place) in to_now.iter().enumerate() {
            if let Some(now_place) = now_place {
                sources[*now_place].0 = Some(place);
            }
        }
        let mut returning: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        // Where in `now` the next unit of `before` stands, or would stand.
        let mut anchor = 0;
        let gaps = gaps(since, after.units.len());
        for (place, after_place) in to_after.iter().enumerate() {
            match after_place {
                None => returning.entry(anchor).or_default().push(place),
                Some(after_place) => match to_now[*after_place] {
                    Some(now_place) => {
                        sources[now_place].1 = Some(place);
                        anchor = now_place + 1;
                    }
                    None => anchor = anchor.max(gaps[*after_place]),
                },
            }
        }
        Self {
            before,
            after,
            now,
            sources,
            returning,
            target: Flat::default(),
            script: Script::new(),
            delta: BTreeMap::new(),
        }
    }

    fn run(mut self) -> (Flat, Script) {
        let (before, after, now) = (Units::of(self.before), Units::of(self.after), Units::of(self.now));
        for place in 0..=self.now.units.len() {
            for back in self.returning.remove(&place).unwrap_or_default() {
                push(&mut self.script, Step::Insert(1));
                self.push(self.before.units[back], before.marker(back).cloned(), &before.marks(back));
            }
            let Some(unit) = self.now.units.get(place) else { break };
            match self.sources[place] {
                // In `after` but not in `before`: the change inserted it.
                (Some(_), None) => push(&mut self.script, Step::Delete(1)),
                (Some(after_place), Some(before_place)) => {
                    self.delta = changed(&before.marks(before_place), &after.marks(after_place));
                    let marker = now
                        .marker(place)
                        .map(|marker| reverted_marker(before.marker(before_place), after.marker(after_place), marker));
                    self.keep(*unit, marker, now.marks(place));
                }
                (None, _) => self.keep(*unit, now.marker(place).cloned(), now.marks(place)),
            }
        }
        (self.target, self.script)
    }

    fn keep(&mut self, unit: u32, marker: Option<Marker>, marks: BTreeMap<String, String>) {
        push(&mut self.script, Step::Keep(1));
        let marks = reverted(&self.delta, marks);
        self.push(unit, marker, &marks);
    }

    fn push(&mut self, unit: u32, marker: Option<Marker>, marks: &BTreeMap<String, String>) {
        let place = self.target.units.len();
        if unit == BLOCK {
            self.target.push_marker(marker.unwrap_or_default());
        } else {
            self.target.units.push(unit);
        }
        self.target.push_marks(place..place + 1, marks);
    }
}

/// For each unit of the old text, the place in the new text where it stands or would stand.
fn gaps(script: &[Step], old_length: usize) -> Vec<usize> {
    let (mut gaps, mut at) = (Vec::with_capacity(old_length), 0);
    for step in script {
        match *step {
            Step::Keep(count) => {
                gaps.extend(at..at + count);
                at += count;
            }
            Step::Delete(count) => gaps.extend(std::iter::repeat_n(at, count)),
            Step::Insert(count) => at += count,
        }
    }
    gaps
}

/// Marker and marks by place.
struct Units<'f> {
    flat: &'f Flat,
    markers: BTreeMap<usize, &'f Marker>,
}

impl<'f> Units<'f> {
    fn of(flat: &'f Flat) -> Self {
        Self { flat, markers: flat.markers().collect() }
    }

    fn marker(&self, place: usize) -> Option<&'f Marker> {
        self.markers.get(&place).copied()
    }

    fn marks(&self, place: usize) -> BTreeMap<String, String> {
        let found = self.flat.marks.binary_search_by(|(range, _)| match () {
            () if range.end <= place => std::cmp::Ordering::Less,
            () if range.start > place => std::cmp::Ordering::Greater,
            () => std::cmp::Ordering::Equal,
        });
        found.map(|run| self.flat.marks[run].1.clone()).unwrap_or_default()
    }
}

type Texts = BTreeMap<String, String>;
type Delta = BTreeMap<String, (Option<String>, Option<String>)>;

/// Names whose value differs, with (after, before).
fn changed(before: &Texts, after: &Texts) -> Delta {
    let names = before.keys().chain(after.keys());
    let differing = names.filter(|name| before.get(*name) != after.get(*name));
    differing.map(|name| (name.clone(), (after.get(name).cloned(), before.get(name).cloned()))).collect()
}

/// Puts values back where they are still what the change wrote.
fn reverted(delta: &Delta, mut now: Texts) -> Texts {
    for (name, (after, before)) in delta {
        if now.get(name) == after.as_ref() {
            match before {
                Some(before) => now.insert(name.clone(), before.clone()),
                None => now.remove(name),
            };
        }
    }
    now
}

fn reverted_marker(before: Option<&Marker>, after: Option<&Marker>, now: &Marker) -> Marker {
    let (Some(before), Some(after)) = (before, after) else { return now.clone() };
    Marker { attrs: reverted(&changed(&before.attrs, &after.attrs), now.attrs.clone()) }
}
