//! What was typed in changes of a note, read from the changes alone: what is left to a person of edits whose note lost
//! the past that they were made upon.

use std::collections::HashMap;

use automerge::legacy::{ElementId, Key, ObjectId, OpId, OpType};
use automerge::{Change, ObjType, ScalarValue};

/// Most bytes that are read out.
pub(crate) const TYPED_BYTES_MAX: usize = 16 * 1024;

/// Pieces of text, each of which was typed in one go.
#[derive(Default)]
struct Runs {
    runs: Vec<Vec<String>>,
    /// Where a character stands.
    places: HashMap<OpId, (usize, usize)>,
    bytes: usize,
}

impl Runs {
    fn put(&mut self, id: OpId, after: Option<&OpId>, text: String) {
        if self.bytes + text.len() > TYPED_BYTES_MAX {
            return;
        }
        self.bytes += text.len();
        let ends = |(run, at): &(usize, usize)| self.runs.get(*run).is_some_and(|run| run.len() == at + 1);
        let run = match after.and_then(|after| self.places.get(after)).copied().filter(|place| ends(place)) {
            Some((run, _)) => run,
            None => {
                self.runs.push(Vec::new());
                self.runs.len() - 1
            }
        };
        if let Some(letters) = self.runs.get_mut(run) {
            letters.push(text);
            self.places.insert(id, (run, letters.len() - 1));
        }
    }

    fn take_away(&mut self, id: &OpId) {
        if let Some((run, at)) = self.places.get(id)
            && let Some(letter) = self.runs.get_mut(*run).and_then(|run| run.get_mut(*at))
        {
            letter.clear();
        }
    }
}

/// The text that changes put into a note and its title and did not take away again, each piece on a line of its own.
#[must_use]
pub(crate) fn typed<'c>(changes: impl IntoIterator<Item = &'c Change>) -> String {
    let mut runs = Runs::default();
    for change in changes {
        let change = change.decode();
        for (counter, op) in (change.start_op.get()..).zip(&change.operations) {
            let id = OpId(counter, change.actor_id.clone());
            match (&op.key, &op.action) {
                (Key::Map(key), OpType::Put(ScalarValue::Str(text))) if key == "title" && op.obj == ObjectId::Root => {
                    runs.put(id, None, text.to_string());
                }
                (Key::Seq(after), OpType::Put(ScalarValue::Str(text))) if op.insert => {
                    runs.put(id, before(after), text.to_string());
                }
                (Key::Seq(after), OpType::Make(ObjType::Map)) if op.insert => {
                    runs.put(id, before(after), "\n".to_owned());
                }
                (Key::Seq(ElementId::Id(at)), OpType::Delete) => runs.take_away(at),
                _ => {}
            }
        }
    }
    let lines = runs.runs.iter().map(|run| run.concat());
    lines.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

const fn before(after: &ElementId) -> Option<&OpId> {
    match after {
        ElementId::Head => None,
        ElementId::Id(id) => Some(id),
    }
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use automerge::{AutoCommit, ROOT, ReadDoc};

    use super::*;

    #[test]
    fn what_was_typed_is_read_from_the_changes_without_what_they_were_made_upon() {
        let mut doc = AutoCommit::new();
        let body = doc.put_object(ROOT, "body", ObjType::Text).unwrap();
        doc.splice_text(&body, 0, 0, "what was there before").unwrap();
        doc.commit();
        let before = doc.get_heads();
        doc.splice_text(&body, 4, 0, " else").unwrap();
        doc.commit();
        doc.splice_text(&body, 9, 0, " agein").unwrap();
        doc.commit();
        doc.splice_text(&body, 12, 1, "").unwrap();
        doc.splice_text(&body, 12, 0, "a").unwrap();
        doc.put(ROOT, "title", "A new title").unwrap();
        doc.put(ROOT, "other", "not shown").unwrap();
        doc.commit();
        assert_eq!(doc.text(&body).unwrap(), "what else again was there before");
        let changes = doc.get_changes(&before);
        assert_eq!(typed(&changes), "else agin\na\nA new title");
        assert_eq!(typed(&[]), "");
    }

    #[test]
    fn however_much_was_typed_only_so_much_is_read_out() {
        let mut doc = AutoCommit::new();
        let body = doc.put_object(ROOT, "body", ObjType::Text).unwrap();
        doc.splice_text(&body, 0, 0, &"x".repeat(2 * TYPED_BYTES_MAX)).unwrap();
        doc.commit();
        assert_eq!(typed(&doc.get_changes(&[])).len(), TYPED_BYTES_MAX);
    }
}
