//! Making changes again as another actor's: what a device wrote in a stream that it must not go on with.
//!
//! Two copies of one home write under one actor, and Automerge can never take in two changes with one actor and
//! number. Here the unsent ones get a new actor, with everything that names what they made: the operations keep
//! their counters, so the document reads the same as before, to the last character.

use std::collections::{BTreeMap, BTreeSet};

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId};
use automerge::{ActorId, Change, ChangeHash, ExpandedChange};
use lifeos_sync_protocol::ids::StreamId;

use super::{DocumentError, LocalChange, guarded, parse_change};

/// Makes the `changes` of one document again as changes of `to`; they come with their dependencies first. Numbers
/// begin at `first_seq`. What they depend on outside this list stays as it is.
///
/// # Errors
/// [`DocumentError::Corrupt`] for bytes that are no change, or a change that depends on a later one of the list.
pub fn make_again(changes: &[Vec<u8>], to: StreamId, first_seq: u64) -> Result<Vec<LocalChange>, DocumentError> {
    guarded(|| {
        let parsed = changes.iter().map(|bytes| parse_change(bytes)).collect::<Result<Vec<_>, _>>()?;
        let mut replay = Replay::new(&parsed, ActorId::from(to.as_bytes().as_slice()), first_seq);
        parsed.iter().map(|change| replay.change(change)).collect()
    })
}

struct Replay {
    to: ActorId,
    next_seq: u64,
    /// Operations that the list makes, by actor: first and last counter of each change.
    made: BTreeMap<ActorId, Vec<(u64, u64)>>,
    /// Hashes of the list that are still to come.
    ahead: BTreeSet<ChangeHash>,
    hashes: BTreeMap<ChangeHash, ChangeHash>,
}

impl Replay {
    fn new(changes: &[Change], to: ActorId, first_seq: u64) -> Self {
        let mut made: BTreeMap<ActorId, Vec<(u64, u64)>> = BTreeMap::new();
        for change in changes {
            made.entry(change.actor_id().clone()).or_default().push((change.start_op().get(), change.max_op()));
        }
        let ahead = changes.iter().map(Change::hash).collect();
        Self { to, next_seq: first_seq, made, ahead, hashes: BTreeMap::new() }
    }

    fn change(&mut self, change: &Change) -> Result<LocalChange, DocumentError> {
        let ExpandedChange { operations, time, deps, start_op, message, .. } = change.decode();
        let old = change.hash();
        self.ahead.remove(&old);
        let made = ExpandedChange {
            operations: operations.into_iter().map(|op| self.op(op)).collect(),
            actor_id: self.to.clone(),
            author: None,
            hash: None,
            seq: self.next_seq,
            start_op,
            time,
            message,
            deps: deps.into_iter().map(|dep| self.dependency(dep)).collect::<Result<_, _>>()?,
            extra_bytes: Vec::new(),
        };
        let made = Change::from(made);
        self.next_seq += 1;
        self.hashes.insert(old, made.hash());
        Ok(LocalChange { hash: made.hash(), bytes: made.raw_bytes().to_vec() })
    }

    fn dependency(&self, dep: ChangeHash) -> Result<ChangeHash, DocumentError> {
        match self.hashes.get(&dep) {
            Some(made) => Ok(*made),
            None if self.ahead.contains(&dep) => Err(DocumentError::Corrupt),
            None => Ok(dep),
        }
    }

    fn op(&self, op: Op) -> Op {
        let Op { action, obj, key, pred, insert } = op;
        Op {
            action,
            obj: match obj {
                ObjectId::Id(id) => ObjectId::Id(self.id(id)),
                ObjectId::Root => ObjectId::Root,
            },
            key: match key {
                Key::Seq(ElementId::Id(id)) => Key::Seq(ElementId::Id(self.id(id))),
                key => key,
            },
            pred: pred.into_iter().map(|id| self.id(id)).collect(),
            insert,
        }
    }

    fn id(&self, id: OpId) -> OpId {
        let made = self.made.get(id.actor());
        let is_made = made.is_some_and(|ranges| ranges.iter().any(|(first, last)| (*first..=*last).contains(&id.0)));
        if is_made { OpId::new(id.counter(), &self.to) } else { id }
    }
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use automerge::{ObjType, ROOT, ReadDoc};
    use lifeos_sync_protocol::ids::DocId;
    use proptest::prelude::*;

    use super::super::{Document, GenesisId};
    use super::*;

    const OLD: StreamId = StreamId([9; 16]);
    const NEW: StreamId = StreamId([3; 16]);

    fn document(actor: StreamId) -> Document {
        Document::new(DocId([7; 16]), GenesisId(1), actor).unwrap()
    }

    /// One edit by a number: text, marks, maps, counters and deletions, on what earlier edits made.
    fn edit(document: &mut Document, number: u8) {
        let at = usize::from(number / 8);
        let edit = |doc: &mut automerge::AutoCommit| -> Result<(), automerge::AutomergeError> {
            let (_, body) = doc.get(ROOT, "body")?.expect("the genesis makes the body");
            let length = doc.length(&body);
            match number % 8 {
                0 | 1 => doc.splice_text(&body, at % (length + 1), 0, "grün "),
                2 if length > 0 => doc.splice_text(&body, at % length, 1, ""),
                3 if length > 1 => doc.mark(
                    &body,
                    automerge::marks::Mark::new("bold".into(), true, 0, length),
                    automerge::marks::ExpandMark::After,
                ),
                4 => {
                    let list = doc.put_object(ROOT, "list", ObjType::List)?;
                    doc.insert(&list, 0, i64::from(number))
                }
                5 => doc.put(ROOT, "count", automerge::ScalarValue::counter(1)),
                6 if doc.get(ROOT, "count")?.is_some() => doc.increment(ROOT, "count", 2),
                _ => doc.put(ROOT, "title", format!("t{number}")),
            }
        };
        document.edit(1, edit).unwrap();
    }

    fn text(document: &Document) -> (String, String) {
        let doc = document.read();
        let (_, body) = doc.get(ROOT, "body").unwrap().unwrap();
        let marks = doc.marks(&body).unwrap();
        let values = serde_json::to_string(&automerge::AutoSerde::from(doc)).unwrap();
        (doc.text(&body).unwrap(), format!("{marks:?} {values}"))
    }

    fn chunks(changes: &[LocalChange]) -> Vec<u8> {
        changes.iter().flat_map(|change| change.bytes.clone()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn changes_made_again_read_the_same_and_name_the_new_actor_only(
            sent in proptest::collection::vec(any::<u8>(), 0..8),
            unsent in proptest::collection::vec(any::<u8>(), 1..12),
        ) {
            let mut old = document(OLD);
            sent.iter().for_each(|number| edit(&mut old, *number));
            let heads = old.heads();
            let before = old.changes_since(&[]);
            unsent.iter().for_each(|number| edit(&mut old, *number));
            let pending: Vec<Vec<u8>> = old.changes_since(&heads).into_iter().map(|change| change.bytes).collect();

            let made = make_again(&pending, NEW, 1).unwrap();
            prop_assert_eq!(made.len(), pending.len());
            let tail = [chunks(&before), chunks(&made)].concat();
            let again = Document::load(DocId([7; 16]), GenesisId(1), NEW, &[], &tail).unwrap();
            prop_assert_eq!(text(&again), text(&old));
            for (seq, change) in (1_u64..).zip(&made) {
                let change = Change::from_bytes(change.bytes.clone()).unwrap();
                prop_assert_eq!(change.actor_id().to_bytes(), NEW.0);
                prop_assert_eq!(change.seq(), seq);
            }
        }
    }

    #[test]
    fn both_copies_edits_are_kept_when_one_is_made_again() {
        let mut base = document(OLD);
        edit(&mut base, 0);
        let heads = base.heads();
        let (mut left, mut right) = (base.clone(), base.clone());
        edit(&mut left, 1);
        edit(&mut right, 1);
        let (ours, theirs) = (left.changes_since(&heads), right.changes_since(&heads));
        let ours: Vec<Vec<u8>> = ours.into_iter().map(|change| change.bytes).collect();
        let made = make_again(&ours, NEW, 1).unwrap();
        let tail = [chunks(&base.changes_since(&[])), chunks(&theirs), chunks(&made)].concat();
        let merged = Document::load(DocId([7; 16]), GenesisId(1), NEW, &[], &tail).unwrap();
        assert_eq!(text(&merged).0.matches("grün").count(), 3);
    }

    #[test]
    fn bytes_that_are_no_change_are_an_error() {
        assert_eq!(make_again(&[vec![1, 2, 3, 4, 5, 6, 7, 8]], NEW, 1), Err(DocumentError::Corrupt));
    }
}
