//! The journal: one note a day, whichever device begins it, also when two do without knowing of each other.
//!
//! The document's id follows from space and day, so what both write merges. What a template put in would then stand
//! there twice: each device remembers what it put in (`begun/<stream>`), and whoever opens the day takes away all copies
//! but one, as far as nobody has written in them. Taking away the same characters twice is taking them away once, so devices that do this
//! at once agree.

use std::collections::BTreeMap;

use automerge::{AutoCommit, Cursor, CursorPosition, ReadDoc, ScalarValue};
use jiff::civil::Date;
use lifeos_sync_protocol::hash;

use super::body::{self, Flat};
use super::markdown::{self, Parsed};
use super::{front, tags};
use crate::document::DocumentError;
use crate::modules::register::{as_text, is_set, put, text, with_prefix};
use crate::registry::NOTE_GENESIS;

/// `note.kind` of a day.
pub const JOURNAL: &str = "journal";
/// `note.kind` of what notes are made from.
pub const TEMPLATE: &str = "template";
/// Begins the keys that say what a device put into a day.
const BEGUN: &str = "begun/";

/// Part of the id of a day's document, beside space and kind; `again` counts the days that were erased.
#[must_use]
pub fn key(day: Date, again: u32) -> String {
    if again == 0 { format!("journal/{day}") } else { format!("journal/{day}/{again}") }
}

/// Fills what of a day's note is not there yet: all of a new one, nothing of one that is there. `template` is the text with
/// its variables filled in.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for a template above the limits.
pub fn begin(
    doc: &mut AutoCommit,
    day: Date,
    template: Option<&str>,
    labels: &[String],
    now_ms: i64,
) -> Result<(), DocumentError> {
    if !is_set(doc, "created") {
        put(doc, NOTE_GENESIS, "created", ScalarValue::Timestamp(now_ms))?;
    }
    if text(doc, "kind").as_deref() != Some(JOURNAL) {
        put(doc, NOTE_GENESIS, "kind", JOURNAL)?;
        put(doc, NOTE_GENESIS, "title", day.to_string())?;
    }
    for label in labels {
        tags::tag(doc, label)?;
    }
    let body = body::object(doc)?;
    let Some(template) = template.filter(|_| doc.length(&body) == 0) else { return Ok(()) };
    let Parsed { front_matter, body: parsed } = markdown::parse(template);
    front::replace(doc, front_matter.as_ref())?;
    body::begin(doc, &parsed)?;
    let length = doc.length(&body);
    if length > 0 {
        let (first, last) = (operation(doc, 0)?, operation(doc, length - 1)?);
        let digest = digest(&Flat::read(doc, &body, None)?.units);
        let key = format!("{BEGUN}{}", doc.get_actor().to_hex_string());
        put(doc, NOTE_GENESIS, &key, format!("{first} {last} {digest}"))?;
    }
    Ok(())
}

/// Takes away what a template put in more than once, where nobody has written in it; says how many copies went.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a document that is no note.
pub fn mend(doc: &mut AutoCommit) -> Result<usize, DocumentError> {
    let begun: BTreeMap<String, String> =
        with_prefix(doc, BEGUN).filter_map(|(actor, value)| Some((actor, as_text(&value)?.to_owned()))).collect();
    let mut stands: Vec<&str> = Vec::new();
    let mut gone = 0;
    // In the order of the devices' names, which is the same everywhere: the copy that stays is the same, too.
    for (actor, value) in &begun {
        let Some(copy) = Copy::read(value) else { continue };
        let (first, last) = (place(doc, actor, copy.first)?, place(doc, actor, copy.last)?);
        if !stands.contains(&copy.digest) {
            stands.extend((first.is_some() || last.is_some()).then_some(copy.digest));
            continue;
        }
        let (Some(first), Some(last)) = (first, last) else { continue };
        let units = Flat::read(doc, &body::object(doc)?, None)?.units;
        if units.get(first..=last).is_some_and(|units| digest(units) == copy.digest) {
            body::splice(doc, first, last + 1 - first, "")?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// What a device put into a day: the operations of the first and the last character, and what all of them were.
struct Copy<'a> {
    first: &'a str,
    last: &'a str,
    digest: &'a str,
}

impl<'a> Copy<'a> {
    fn read(value: &'a str) -> Option<Self> {
        let mut parts = value.split(' ');
        let copy = Self { first: parts.next()?, last: parts.next()?, digest: parts.next()? };
        parts.next().is_none().then_some(copy)
    }
}

/// The number of the operation that wrote the character at `at`.
fn operation(doc: &AutoCommit, at: usize) -> Result<String, DocumentError> {
    let cursor = doc.get_cursor(body::object(doc)?, CursorPosition::Index(at), None)?.to_string();
    let counter = cursor.split_once('@').map(|(counter, _)| counter.to_owned());
    counter.ok_or(DocumentError::InvalidEdit("the place is outside the text"))
}

/// Where the character stands that this operation wrote; `None` where it was taken away.
fn place(doc: &AutoCommit, actor: &str, counter: &str) -> Result<Option<usize>, DocumentError> {
    let text = body::object(doc)?;
    let Ok(cursor) = Cursor::try_from(format!("{counter}@{actor}").as_str()) else { return Ok(None) };
    let at = body::position(doc, &text, &cursor).filter(|at| *at < doc.length(&text));
    // The cursor of a character that is gone leads to the next one that is left.
    let is_there =
        |at: &usize| doc.get_cursor(&text, CursorPosition::Index(*at), None).is_ok_and(|there| there == cursor);
    Ok(at.filter(is_there))
}

fn digest(units: &[u32]) -> String {
    let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    hash::sha256("journal", &[&bytes])[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::{DocId, StreamId};

    use super::*;
    use crate::document::Document;
    use crate::modules::notes::note;

    const TEXT: &str = "# Day\n\n- [ ] **water** the plants\n\n## Thoughts\n";

    /// What a device has that began the day alone.
    fn begun(n: u8, template: &str) -> AutoCommit {
        let mut document = Document::new(DocId([5; 16]), NOTE_GENESIS, StreamId([n; 16])).unwrap();
        let day = "2026-11-24".parse().unwrap();
        document.edit(0, |doc| begin(doc, day, Some(template), &[], 0)).unwrap();
        document.read().clone()
    }

    fn merged(mut one: AutoCommit, mut other: AutoCommit) -> AutoCommit {
        one.merge(&mut other).unwrap();
        one
    }

    fn text_of(doc: &AutoCommit) -> String {
        note::markdown_of(doc).unwrap()
    }

    #[test]
    fn copies_of_a_template_stand_one_behind_the_other_and_all_but_one_are_taken_away() {
        let mut day = merged(merged(begun(1, TEXT), begun(2, TEXT)), begun(3, TEXT));
        assert_eq!(
            text_of(&day).matches("# Day\n\n- [ ] **water** the plants\n\n## Thoughts").count(),
            3,
            "{}",
            text_of(&day)
        );
        assert_eq!(mend(&mut day).unwrap(), 2);
        assert_eq!(text_of(&day), TEXT);
        assert_eq!(mend(&mut day).unwrap(), 0);
    }

    #[test]
    fn devices_that_take_copies_away_at_once_agree_and_one_copy_stays() {
        let day = merged(begun(1, TEXT), begun(2, TEXT));
        let (mut here, mut there) = (day.clone(), day.clone());
        here.set_actor(vec![7; 16].into());
        there.set_actor(vec![8; 16].into());
        assert_eq!((mend(&mut here).unwrap(), mend(&mut there).unwrap()), (1, 1));
        assert_eq!(text_of(&merged(here, there)), TEXT);
    }

    #[test]
    fn a_copy_that_somebody_wrote_in_stays_and_so_does_another_text() {
        for (edited, other) in [(1, 2), (2, 1)] {
            let mut one = begun(edited, TEXT);
            body::splice(&mut one, 3, 0, "s of mine").unwrap();
            let mut day = merged(one, begun(other, TEXT));
            let gone = mend(&mut day).unwrap();
            assert_eq!(gone, usize::from(edited == 1), "only what is behind the first may go");
            assert!(text_of(&day).contains("s of mine"), "{}", text_of(&day));
        }
        let mut day = merged(begun(1, TEXT), begun(2, "# Another template\n"));
        assert_eq!(mend(&mut day).unwrap(), 0);
        assert!(text_of(&day).contains("# Another template") && text_of(&day).contains("Thoughts"));
    }

    #[test]
    fn what_claims_to_have_been_put_in_and_was_not_changes_nothing() {
        for value in ["-", "1", "x y z", "1 2 3 4", "18446744073709551615 1 ff", "2 2 f71df21f6af164502274ccb39c2871da"]
        {
            let mut day = begun(1, TEXT);
            for actor in ["ff", "zz", "02020202020202020202020202020202", "01010101010101010101010101010102"] {
                put(&mut day, NOTE_GENESIS, &format!("{BEGUN}{actor}"), value).unwrap();
            }
            assert_eq!(mend(&mut day).unwrap(), 0, "{value}");
            assert_eq!(text_of(&day), TEXT);
        }
    }
}
