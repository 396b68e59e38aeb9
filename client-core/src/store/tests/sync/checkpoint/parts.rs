//! Parts of attachments in checkpoints.

use super::*;
use crate::checkpoint::REASON_PART_MISSING;
use crate::crypto::Random;
use crate::envelope::{SealedEnvelope, seal_object};
use crate::modules::attachment::{ContentHash, PartList, attachment_doc, set_parts};
use crate::modules::notes::attachments::attach;
use crate::registry::ATTACHMENT_GENESIS;

const CONTENT: ContentHash = ContentHash([3; 32]);
const PART: EnvelopeId = EnvelopeId([4; 32]);
const DAY_MS: i64 = 24 * 3_600_000;

impl Device {
    /// Refers to a content of one part, whether that is held or not.
    fn attach(&mut self, now_ms: i64, note: &DocId) {
        let (content, list) = (attachment_doc(&self.space, &CONTENT), PartList { size: 1, parts: vec![PART] });
        let edit = |tx: &mut Tx<'_>| {
            tx.edit::<_, StoreError>(&content, ATTACHMENT_GENESIS, |doc| Ok(set_parts(doc, &CONTENT, "a/b", &list)?))?;
            tx.edit::<_, StoreError>(note, NOTE_GENESIS, |doc| Ok(attach(doc, &CONTENT, "name")?))
        };
        self.store.write(&self.space, now_ms, edit).unwrap();
    }

    fn trash(&mut self, now_ms: i64, note: &DocId) {
        let trash = |tx: &mut Tx<'_>| {
            let trash = |doc: &mut automerge::AutoCommit| Ok(crate::modules::notes::trash(doc, now_ms)?);
            tx.edit::<_, StoreError>(note, NOTE_GENESIS, trash)
        };
        self.store.write(&self.space, now_ms, trash).unwrap();
    }
}

#[test]
fn a_checkpoint_that_leaves_out_a_part_of_an_attachment_is_objected_to() {
    let Pair { mut a, mut b, .. } = written();
    a.attach(100, &doc(1));
    let sent = a.send();
    b.receive(&sent);
    let draft = a.draft(1_000).unwrap();
    assert_eq!(draft.blobs, [PART]);
    let lie = a.publish(CheckpointDraft { blobs: Vec::new(), ..draft.clone() });
    let found = b.judge(&lie, &a);
    assert_eq!(found, Comparison::Wrong { reason: REASON_PART_MISSING, stream: StreamId::ZERO, seq: 0 });
    let honest = a.publish(draft);
    assert_eq!(b.judge(&honest, &a), Comparison::Holds);
}

#[test]
fn what_is_attached_beside_a_checkpoint_is_no_reason_to_object_and_stays() {
    let Pair { mut a, mut b, .. } = written();
    a.seal();
    let draft = a.draft(1_000).unwrap();
    assert!(draft.blobs.is_empty());
    let made = a.publish(draft);
    b.attach(100, &doc(1));
    b.seal();
    assert_eq!(b.judge(&made, &a), Comparison::Holds);
    assert!(b.store.reads().live_parts(&b.space, 1_000).unwrap().contains(&PART));
}

#[test]
fn the_trash_keeps_attachments_for_a_month() {
    let Pair { mut a, .. } = written();
    a.attach(100, &doc(1));
    a.trash(200, &doc(1));
    let live = |a: &Device, now_ms| a.store.reads().live_parts(&a.space, now_ms).unwrap().len();
    assert_eq!((live(&a, 200 + 30 * DAY_MS), live(&a, 201 + 30 * DAY_MS)), (1, 0));
    a.attach(300, &doc(2));
    assert_eq!(live(&a, 201 + 30 * DAY_MS), 1, "another note refers to it");
}

#[test]
fn a_disk_that_fills_up_while_parts_come_costs_the_part_it_was_at() {
    let mut pair = pair();
    let place = pair.a.store.part_place(&pair.a.space, pair.a.key().epoch()).unwrap();
    let sealed: Vec<_> = (0..4_u8)
        .map(|number| {
            let (key, mut body) = (pair.a.key(), vec![number; 200_000]);
            pair.a.random.fill(&mut body);
            seal_object(&pair.a.space, &place, &pair.a.keys, key.secret(), &body, &mut pair.a.random).unwrap()
        })
        .collect();
    let b = &mut pair.b;
    let membership = b.store.membership(&b.space).unwrap();
    let put = |b: &mut Device, at: usize| {
        let SealedEnvelope { id, bytes, .. } = sealed[at].clone();
        b.store.put_object(&b.space, &membership, &id, bytes, 1)
    };
    put(b, 0).unwrap();
    let pages: i64 = b.store.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    b.store.conn.pragma_update(None, "max_page_count", pages + 10).unwrap();
    let full = put(b, 1);
    assert!(matches!(&full, Err(error @ StoreError::DiskFull) if error.is_transient()), "{full:?}");
    assert_eq!(b.store.reads().parts(&b.space, 1).unwrap().parts, 1, "what had come stays, and no half of the other");
    b.store.conn.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    (1..4).for_each(|at| put(b, at).unwrap());
    assert_eq!(b.store.reads().parts(&b.space, 1).unwrap().parts, 4);
}
