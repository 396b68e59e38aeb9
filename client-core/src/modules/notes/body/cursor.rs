//! Places in a note's body that stay at their character whatever others edit.
//!
//! Both ways they are said by the operation that wrote the character, which is the same on every device.

use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{AutoCommit, Cursor, CursorPosition, ObjId, ReadDoc as _};
use lifeos_sync_protocol::ids::StreamId;

use super::object;
use crate::document::{Document, DocumentError};
use crate::presence::Point;

/// The point before the character (or block marker) at `at`; at the text's length its end.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a place outside the text, or a document that is no note.
pub fn point_at(document: &Document, at: usize) -> Result<Point, DocumentError> {
    let doc = document.read();
    let text = object(doc)?;
    let outside = DocumentError::InvalidEdit("the place is outside the text");
    if at == doc.length(&text) {
        return Ok(Point::End);
    }
    let cursor = doc.get_cursor(&text, CursorPosition::Index(at), None).map_err(|_| outside)?;
    // An actor is a stream; nobody else writes documents.
    read_cursor(&cursor.to_string()).ok_or(DocumentError::InvalidEdit("the character was written by no stream"))
}

/// Where a point is in the text as it is now; `None` while the change that wrote its character is not here, or it is
/// none of the body's.
#[must_use]
pub fn find_point(document: &Document, point: Point) -> Option<usize> {
    let doc = document.read();
    let text = object(doc).ok()?;
    let Point::Before { actor, counter } = point else { return Some(doc.length(&text)) };
    let cursor = Cursor::try_from(format!("{counter}@{actor}").as_str()).ok()?;
    position(doc, &text, &cursor)
}

/// Where a cursor is in a text as it is now; `None` for one that is none of the text's.
pub(crate) fn position(doc: &AutoCommit, text: &ObjId, cursor: &Cursor) -> Option<usize> {
    // A member may name any operation, and Automerge panics on one of another object. It only reads.
    catch_unwind(AssertUnwindSafe(|| doc.get_cursor_position(text, cursor, None).ok())).ok().flatten()
}

fn read_cursor(text: &str) -> Option<Point> {
    let (counter, actor) = text.split_once('@')?;
    Some(Point::Before { actor: actor.parse::<StreamId>().ok()?, counter: counter.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::DocId;

    use super::*;
    use crate::modules::notes::{body, note};
    use crate::registry::NOTE_GENESIS;

    fn device(n: u8) -> Document {
        let mut document = Document::new(DocId([5; 16]), NOTE_GENESIS, StreamId([n; 16])).unwrap();
        edit(&mut document, |doc| note::set_title(doc, "Plan").unwrap());
        document
    }

    fn edit(document: &mut Document, edit: impl FnOnce(&mut AutoCommit)) {
        let _ = document.edit(0, |doc| {
            edit(doc);
            Ok::<_, DocumentError>(())
        });
    }

    #[test]
    fn a_point_stays_at_its_character_whatever_is_edited_around_it() {
        let mut document = device(1);
        edit(&mut document, |doc| body::splice(doc, 0, 0, "one two three").unwrap());
        let (two, end) = (point_at(&document, 4).unwrap(), point_at(&document, 13).unwrap());
        assert_eq!((find_point(&document, two), end), (Some(4), Point::End));
        edit(&mut document, |doc| body::splice(doc, 0, 0, "zero ").unwrap());
        assert_eq!(find_point(&document, two), Some(9));
        edit(&mut document, |doc| body::splice(doc, 9, 2, "").unwrap());
        assert_eq!(find_point(&document, two), Some(9), "at the next character that was there then");
        assert_eq!(find_point(&document, end), Some(16));
        assert!(point_at(&document, 17).is_err());
    }

    #[test]
    fn no_operation_that_somebody_names_breaks_the_reader() {
        let mut document = device(1);
        edit(&mut document, |doc| body::splice(doc, 0, 0, "one two").unwrap());
        let mut found = 0;
        let actors = [StreamId([1; 16]), StreamId([9; 16]), StreamId([0; 16])];
        for actor in actors {
            for counter in (0..200).chain([u32::MAX - 1, u32::MAX]) {
                let place = find_point(&document, Point::Before { actor, counter });
                assert!(place.is_none_or(|place| place <= 7), "{counter}: {place:?}");
                found += usize::from(place.is_some());
            }
        }
        assert!(found >= 7, "{found}");
    }
}
