//! Writes a script into the text object: units first, then what the markers hold, then marks.
//!
//! Marks are compared with what the text carries after the units were written (inserted characters may have
//! inherited some), and only runs that differ are marked or unmarked.

use std::ops::Range;

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjId, ObjType, ReadDoc, Value};

use super::flat::{Marker, Marks};
use super::{BLOCK, Flat, Step};
use crate::document::DocumentError;
use crate::modules::notes::markdown::mark;

/// Makes the text what `target` is: `script` leads from `now`'s units to `target`'s.
pub(crate) fn apply(
    doc: &mut AutoCommit,
    text: &ObjId,
    now: &Flat,
    target: &Flat,
    script: &[Step],
) -> Result<(), DocumentError> {
    write_units(doc, text, target, script)?;
    write_markers(doc, text, now, target, script)?;
    let written = script.iter().any(|step| !matches!(step, Step::Keep(_)));
    let marks = if written { Flat::read(doc, text, None)?.marks } else { now.marks.clone() };
    write_marks(doc, text, &marks, &target.marks)
}

/// Writes a whole body into an empty text, from its last block to its first: every operation is then at the
/// front, where finding the place costs the same however long the text is (in order it costs the length each time).
pub(super) fn fill(doc: &mut AutoCommit, text: &ObjId, target: &Flat) -> Result<(), DocumentError> {
    let mut marks = all_marks(target);
    let mut spanning = Vec::new();
    let mut end = target.units.len();
    let places = (0..target.units.len()).rev().filter(|place| target.units[*place] == BLOCK);
    let blocks = places.zip(target.markers.iter().rev()).map(|(place, marker)| (place, Some(marker)));
    for (place, marker) in blocks.chain([(0, None)]) {
        insert_front(doc, text, &target.text(place..end), marker)?;
        while let Some(mark) = marks.pop_if(|(range, _, _)| range.start >= place) {
            if mark.0.end <= end {
                write_mark(doc, text, place, &mark)?;
            } else {
                spanning.push(mark);
            }
        }
        end = place;
    }
    spanning.iter().try_for_each(|mark| write_mark(doc, text, 0, mark))
}

/// The same from its first unit to its last, each behind the one before: what another device writes into the same empty
/// text stands before all of it or behind all of it, never in between. For short texts.
pub(super) fn fill_in_order(doc: &mut AutoCommit, text: &ObjId, target: &Flat) -> Result<(), DocumentError> {
    let mut places = target.markers().peekable();
    let mut at = 0;
    loop {
        let next = places.peek().map_or(target.units.len(), |(place, _)| *place);
        if next > at {
            doc.splice_text(text, at, 0, &target.text(at..next))?;
        }
        let Some((place, marker)) = places.next() else { break };
        let block = doc.split_block(text, place)?;
        for (name, value) in &marker.attrs {
            doc.put(&block, name.as_str(), value.as_str())?;
        }
        at = place + 1;
    }
    all_marks(target).iter().try_for_each(|mark| write_mark(doc, text, 0, mark))
}

fn insert_front(
    doc: &mut AutoCommit,
    text: &ObjId,
    characters: &str,
    marker: Option<&Marker>,
) -> Result<(), DocumentError> {
    if !characters.is_empty() {
        doc.splice_text(text, 0, 0, characters)?;
    }
    let Some(marker) = marker else { return Ok(()) };
    let block = doc.split_block(text, 0)?;
    for (name, value) in &marker.attrs {
        doc.put(&block, name.as_str(), value.as_str())?;
    }
    Ok(())
}

/// Where a mark is, its name, its value.
pub(crate) type Run<'r> = (Range<usize>, &'r str, &'r str);

/// Every run of every mark, the one that starts last at the end.
pub(crate) fn all_marks(target: &Flat) -> Vec<Run<'_>> {
    let mut all = Vec::new();
    for name in names(&[], &target.marks) {
        all.extend(runs_of(&target.marks, name).into_iter().map(|(range, value)| (range, name, value)));
    }
    all.sort_by(|one, other| (one.0.start, one.1).cmp(&(other.0.start, other.1)));
    all
}

/// Marks a run of a text that so far begins at `from`.
fn write_mark(doc: &mut AutoCommit, text: &ObjId, from: usize, run: &Run<'_>) -> Result<(), DocumentError> {
    let (range, name, value) = run;
    let mark = Mark::new((*name).to_owned(), *value, range.start - from, range.end - from);
    Ok(doc.mark(text, mark, expand(name))?)
}

fn write_units(doc: &mut AutoCommit, text: &ObjId, target: &Flat, script: &[Step]) -> Result<(), DocumentError> {
    let mut at = 0;
    for step in script {
        match *step {
            Step::Keep(count) => at += count,
            Step::Delete(count) => {
                let count = isize::try_from(count).map_err(|_| DocumentError::Refused)?;
                doc.splice_text(text, at, count, "")?;
            }
            Step::Insert(count) => {
                insert(doc, text, target, at..at + count, at)?;
                at += count;
            }
        }
    }
    Ok(())
}

/// Inserts a range of `target` at `at`: the characters in one go, then each marker with what it holds.
fn insert(
    doc: &mut AutoCommit,
    text: &ObjId,
    target: &Flat,
    range: Range<usize>,
    at: usize,
) -> Result<(), DocumentError> {
    let characters = target.text(range.clone());
    if !characters.is_empty() {
        doc.splice_text(text, at, 0, &characters)?;
    }
    let before = target.units[..range.start].iter().filter(|unit| **unit == BLOCK).count();
    let places = range.clone().filter(|place| target.units[*place] == BLOCK);
    for (place, marker) in places.zip(&target.markers[before..]) {
        let block = doc.split_block(text, at + place - range.start)?;
        for (name, value) in &marker.attrs {
            doc.put(&block, name.as_str(), value.as_str())?;
        }
    }
    Ok(())
}

/// Brings kept markers to what the target says; inserted ones already are.
fn write_markers(
    doc: &mut AutoCommit,
    text: &ObjId,
    now: &Flat,
    target: &Flat,
    script: &[Step],
) -> Result<(), DocumentError> {
    let (mut old, mut new) = (Walk::new(now), Walk::new(target));
    for step in script {
        match *step {
            Step::Keep(count) => {
                for _ in 0..count {
                    if let (Some(old), Some(new)) = (old.next(), new.next()) {
                        write_marker(doc, text, new.0, old.1, new.1)?;
                    }
                }
            }
            Step::Delete(count) => old.skip(count),
            Step::Insert(count) => new.skip(count),
        }
    }
    Ok(())
}

/// Walks the units and hands out the marker of each block, with its place.
struct Walk<'f> {
    flat: &'f Flat,
    at: usize,
    marker: usize,
}

impl<'f> Walk<'f> {
    const fn new(flat: &'f Flat) -> Self {
        Self { flat, at: 0, marker: 0 }
    }

    fn next(&mut self) -> Option<(usize, &'f Marker)> {
        let place = self.at;
        self.at += 1;
        if self.flat.units.get(place) != Some(&BLOCK) {
            return None;
        }
        self.marker += 1;
        self.flat.markers.get(self.marker - 1).map(|marker| (place, marker))
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }
}

fn write_marker(
    doc: &mut AutoCommit,
    text: &ObjId,
    place: usize,
    old: &Marker,
    new: &Marker,
) -> Result<(), DocumentError> {
    if old == new {
        return Ok(());
    }
    for (name, value) in new.attrs.iter().filter(|(name, value)| old.attrs.get(*name) != Some(value)) {
        put_attr(doc, text, place, name, Some(value))?;
    }
    for name in old.attrs.keys().filter(|name| !new.attrs.contains_key(*name)) {
        put_attr(doc, text, place, name, None)?;
    }
    Ok(())
}

/// Sets or takes away one attribute of the block marker at `place`.
pub(super) fn put_attr(
    doc: &mut AutoCommit,
    text: &ObjId,
    place: usize,
    name: &str,
    value: Option<&str>,
) -> Result<(), DocumentError> {
    let block = match doc.get(text, place)? {
        Some((Value::Object(ObjType::Map), block)) => block,
        _ => return Err(DocumentError::InvalidEdit("there is no block at this place")),
    };
    match value {
        Some(value) => doc.put(&block, name, value)?,
        None => doc.delete(&block, name)?,
    }
    Ok(())
}

/// Marks that grow when something is typed at their end; the others have text of their own (links, code).
pub(crate) fn grows(name: &str) -> bool {
    matches!(name, mark::STRIKE | mark::HIGHLIGHT | mark::EMPHASIS | mark::STRONG)
}

fn expand(name: &str) -> ExpandMark {
    if grows(name) { ExpandMark::After } else { ExpandMark::None }
}

type Runs = [(Range<usize>, Marks)];

fn write_marks(doc: &mut AutoCommit, text: &ObjId, now: &Runs, target: &Runs) -> Result<(), DocumentError> {
    for name in names(now, target) {
        for (range, value) in differing(&runs_of(now, name), &runs_of(target, name)) {
            let grow = expand(name);
            match value {
                Some(value) => doc.mark(text, Mark::new(name.to_owned(), value, range.start, range.end), grow)?,
                None => doc.unmark(text, name, range.start, range.end, grow)?,
            }
        }
    }
    Ok(())
}

fn names<'r>(now: &'r Runs, target: &'r Runs) -> std::collections::BTreeSet<&'r str> {
    let marks = now.iter().chain(target).flat_map(|(_, marks)| marks.keys());
    marks.map(String::as_str).collect()
}

type NameRuns<'r> = Vec<(Range<usize>, &'r str)>;

/// The runs of one mark, neighbours with one value joined.
fn runs_of<'r>(runs: &'r Runs, name: &str) -> NameRuns<'r> {
    let mut out: NameRuns<'r> = Vec::new();
    for (range, marks) in runs {
        let Some(value) = marks.get(name) else { continue };
        match out.last_mut() {
            Some((last, same)) if last.end == range.start && same == value => last.end = range.end,
            _ => out.push((range.clone(), value)),
        }
    }
    out
}

/// Ranges where the target differs, with the value wanted there (`None`: no mark).
fn differing<'r>(now: &NameRuns<'_>, target: &NameRuns<'r>) -> Vec<(Range<usize>, Option<&'r str>)> {
    if target.iter().eq(now.iter()) {
        return Vec::new();
    }
    let mut edges: Vec<usize> = now.iter().chain(target).flat_map(|(range, _)| [range.start, range.end]).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut out: Vec<(Range<usize>, Option<&'r str>)> = Vec::new();
    let (mut now_at, mut target_at) = (0, 0);
    for pair in edges.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let is = value_at(now, &mut now_at, start);
        let wanted = value_at(target, &mut target_at, start);
        if is == wanted {
            continue;
        }
        match out.last_mut() {
            Some((range, value)) if range.end == start && *value == wanted => range.end = end,
            _ => out.push((start..end, wanted)),
        }
    }
    out
}

/// The value at a place; places are asked for in ascending order.
fn value_at<'r>(runs: &NameRuns<'r>, at: &mut usize, place: usize) -> Option<&'r str> {
    while runs.get(*at).is_some_and(|(range, _)| range.end <= place) {
        *at += 1;
    }
    runs.get(*at).filter(|(range, _)| range.start <= place).map(|(_, value)| *value)
}
