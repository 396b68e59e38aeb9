//! Checkpoints between devices: made, taken in by an empty home, compared, pruned by.

use crate::store::query::words;
use lifeos_sync_protocol::record::Body;

use super::*;
use crate::records::next_record;
use crate::store::checkpoint::LOADED;

mod faults;
mod newer;
mod partial;
mod parts;
mod prune;

impl Device {
    fn draft(&mut self, now_ms: i64) -> Option<CheckpointDraft> {
        let (membership, key) = (self.store.membership(&self.space).unwrap(), self.key());
        let random = &mut self.random;
        self.store
            .draft_checkpoint(&self.space, &membership, (&self.keys, &key), now_ms, random, &mut |_| false)
            .unwrap()
    }

    /// Writes the record of a draft, as the session does.
    fn publish(&mut self, draft: CheckpointDraft) -> Record {
        let CheckpointDraft { previous, cut, chunks, blobs, enc_manifest } = draft;
        self.record(&Body::Checkpoint { previous, cut, chunks, blobs, enc_manifest })
    }

    fn record(&mut self, body: &Body) -> Record {
        let records = self.store.records(&self.space).unwrap();
        let made = next_record(&self.keys, &self.store.membership(&self.space).unwrap(), &records, body).unwrap();
        self.learn(&made);
        made
    }

    pub(super) fn checkpoint(&mut self, now_ms: i64) -> Record {
        self.seal();
        let draft = self.draft(now_ms).unwrap();
        self.publish(draft)
    }

    fn learn(&mut self, record: &Record) {
        self.store.put_records(&self.space, std::slice::from_ref(record)).unwrap();
    }

    fn begin(&mut self, checkpoint: &Record) {
        self.learn(checkpoint);
        let membership = self.store.membership(&self.space).unwrap();
        self.store.begin_bootstrap(&self.space, checkpoint, &membership, &self.keyring).unwrap();
    }

    fn take(&mut self, bytes: Vec<u8>) -> Result<ChunkReport, StoreError> {
        let membership = self.store.membership(&self.space).unwrap();
        self.store.take_chunk(&self.space, &membership, &self.keyring, bytes, 50)
    }

    fn finish(&mut self) {
        let membership = self.store.membership(&self.space).unwrap();
        self.store.finish_bootstrap(&self.space, &membership, &self.keyring, 51).unwrap();
    }

    /// Joins by a checkpoint whose chunks another device holds.
    pub(super) fn join(&mut self, checkpoint: &Record, from: &Device) {
        self.begin(checkpoint);
        for chunk in self.store.bootstrap(&self.space).unwrap().unwrap().chunks {
            self.take(from.store.object(&self.space, &chunk).unwrap().unwrap()).unwrap();
        }
        self.finish();
    }

    fn fetch(&mut self, chunks: &[EnvelopeId], from: &Device) {
        let membership = self.store.membership(&self.space).unwrap();
        for chunk in chunks {
            let bytes = from.store.object(&self.space, chunk).unwrap().unwrap();
            self.store.put_object(&self.space, &membership, chunk, bytes, 52).unwrap();
        }
    }

    fn compare(&mut self, checkpoint: &Record) -> Comparison {
        self.learn(checkpoint);
        let membership = self.store.membership(&self.space).unwrap();
        self.store.compare_checkpoint(&self.space, checkpoint, (&membership, &self.keyring), 53, &mut || false).unwrap()
    }

    /// Compares after fetching what is lacking.
    pub(super) fn judge(&mut self, checkpoint: &Record, from: &Device) -> Comparison {
        match self.compare(checkpoint) {
            Comparison::Lacks(chunks) => {
                self.fetch(&chunks, from);
                self.compare(checkpoint)
            }
            found => found,
        }
    }

    fn unverified(&self) -> u64 {
        self.store.reads().unverified_count(&self.space).unwrap()
    }
}

fn loaded() -> u64 {
    LOADED.with(std::cell::Cell::get)
}

/// Two devices that wrote documents each, all of them held by both.
fn written() -> Pair {
    let Pair { mut a, mut b, added } = pair();
    for n in 1..=6 {
        a.title(i64::from(n), &doc(n), &format!("title {n}"));
    }
    let from_a = a.send();
    b.receive(&from_a);
    for n in 5..=9 {
        b.title(i64::from(n) * 10, &doc(n), &format!("by b {n}"));
    }
    let from_b = b.send();
    a.receive(&from_b);
    a.title(200, &doc(5), "last");
    let from_a = a.send();
    b.receive(&from_a);
    assert_eq!(a.state(), b.state());
    Pair { a, b, added }
}

/// A further device of the same person, with nothing but the records.
pub(super) fn newcomer(a: &mut Device, seed: u64) -> Device {
    let root = DeviceRoot::generate(&mut SeededRandom::new(seed));
    let entry = root.derive_space(&RANDOM).entry(&RANDOM, &MEMBER, DeviceKind::Normal);
    let (membership, records) = (a.store.membership(&a.space).unwrap(), a.store.records(&a.space).unwrap());
    let add = AddDevice {
        membership: &membership,
        records: &records,
        keyring: &a.keyring,
        keys: &a.keys,
        member: MEMBER,
        entry,
        name: "tablet",
    };
    let added = add_device(&add, &mut a.random).unwrap();
    a.store.put_records(&a.space, &added).unwrap();
    Device::new(&root, a.space, [records, added].concat(), seed)
}

#[test]
fn an_empty_home_that_takes_a_checkpoint_in_holds_what_its_maker_holds_without_loading_a_document() {
    let Pair { mut a, mut b, .. } = written();
    let checkpoint = a.checkpoint(1_000);
    let mut c = newcomer(&mut a, 9);
    let before = loaded();
    c.join(&checkpoint, &a);
    assert_eq!(loaded(), before, "no document was loaded");
    assert_eq!(c.state(), a.state());
    assert_eq!(c.unverified(), 9);
    assert_eq!(c.store.have(&c.space).unwrap().iter().map(|have| (have.floor, have.tip)).collect::<Vec<_>>().len(), 2);
    let verified = c.store.verify_documents(usize::MAX, 60).unwrap();
    assert_eq!((verified.verified, verified.left), (9, 0));
    assert!(verified.repaired.is_empty() && verified.damaged.is_empty(), "{verified:?}");
    assert_eq!(c.state(), a.state());
    assert_eq!(c.store.search(&c.space.clone(), &words("last"), 9).unwrap().len(), 1);
    c.check();
    // From here on all three write, and end up equal.
    let records = a.store.records(&a.space).unwrap();
    b.store.put_records(&b.space, &records).unwrap();
    a.title(300, &doc(1), "after a");
    b.title(301, &doc(5), "after b");
    c.title(302, &doc(9), "after c");
    let (from_a, from_b, from_c) = (a.send(), b.send(), c.send());
    a.receive(&[from_b.clone(), from_c.clone()].concat());
    b.receive(&[from_a.clone(), from_c].concat());
    c.receive(&[from_a, from_b].concat());
    assert_eq!(a.state(), b.state());
    assert_eq!(a.state(), c.state());
    for device in [&mut a, &mut b, &mut c] {
        device.check();
    }
}

#[test]
fn an_edit_looks_inside_the_document_first_and_only_there() {
    let Pair { mut a, .. } = written();
    let checkpoint = a.checkpoint(1_000);
    let mut c = newcomer(&mut a, 9);
    c.join(&checkpoint, &a);
    c.read_title(&doc(2)).unwrap();
    assert_eq!(c.unverified(), 9, "reading changes nothing");
    c.title(70, &doc(2), "mine");
    assert_eq!(c.unverified(), 8);
    let from_c = c.send();
    a.receive(&from_c);
    assert_eq!(a.read_title(&doc(2)).unwrap(), "mine");
    let edited = c.read_title(&doc(2)).unwrap();
    c.store.verify_documents(usize::MAX, 60).unwrap();
    assert_eq!((c.unverified(), c.read_title(&doc(2)).unwrap()), (0, edited));
    assert_eq!(a.state(), c.state());
    c.check();
}

#[test]
fn chunks_are_taken_in_any_order_more_than_once_and_after_a_restart() {
    let Pair { mut a, .. } = written();
    let checkpoint = a.checkpoint(1_000);
    let mut c = newcomer(&mut a, 9);
    c.begin(&checkpoint);
    let chunks = c.store.bootstrap(&c.space).unwrap().unwrap().chunks;
    let first = a.store.object(&a.space, &chunks[0]).unwrap().unwrap();
    assert!(c.take(first.clone()).unwrap().new > 0);
    assert!(c.take(first).unwrap().is_repeated);
    c.store = Store::open(c.home.path()).unwrap();
    c.begin(&checkpoint);
    let under_way = c.store.bootstrap(&c.space).unwrap().unwrap();
    assert_eq!((under_way.taken, under_way.chunks.len()), (1, chunks.len() - 1));
    for chunk in under_way.chunks.iter().rev() {
        c.take(a.store.object(&a.space, chunk).unwrap().unwrap()).unwrap();
    }
    let under_way = c.store.bootstrap(&c.space).unwrap().unwrap();
    assert_eq!((under_way.docs, under_way.bytes.0), ((9, 9), under_way.bytes.1));
    c.finish();
    assert_eq!((c.state(), c.store.bootstrap(&c.space).unwrap()), (a.state(), None));
}

#[test]
fn a_device_that_holds_a_part_gets_what_it_lacks_through_the_fence() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "one");
    let first = a.send();
    b.receive(&first);
    b.title(2, &doc(1), "not sent yet");
    b.set(3, &doc(4), "title", "only here");
    a.title(4, &doc(1), "two");
    a.title(5, &doc(2), "new");
    let checkpoint = a.checkpoint(1_000);
    b.join(&checkpoint, &a);
    assert_eq!(b.unverified(), 1, "the known one was applied to");
    let from_b = b.send();
    a.receive(&from_b);
    assert_eq!(a.state(), b.state());
    b.check();
}

#[test]
fn an_honest_checkpoint_is_found_to_hold_and_its_chunks_are_used_again() {
    let Pair { mut a, mut b, .. } = written();
    let checkpoint = a.checkpoint(1_000);
    assert!(
        matches!(b.compare(&checkpoint), Comparison::Lacks(chunks) if chunks.len() == checkpoint_chunks(&checkpoint).len())
    );
    assert_eq!(b.judge(&checkpoint, &a), Comparison::Holds);
    // Newer work, here and unsealed, does not matter.
    b.title(400, &doc(1), "newer");
    b.title(401, &doc(30), "newer too");
    assert_eq!(b.compare(&checkpoint), Comparison::Holds);
    b.seal();
    assert_eq!(b.compare(&checkpoint), Comparison::Holds);
    let draft = b.draft(2_000).unwrap();
    let old: Vec<EnvelopeId> = checkpoint_chunks(&checkpoint);
    assert!(draft.chunks.iter().any(|chunk| old.contains(chunk)), "what was compared is used again");
    assert_eq!(draft.previous, vec![checkpoint.id()]);
    let next = b.publish(draft);
    let from_b = b.send();
    assert_eq!(a.judge(&next, &b), Comparison::Behind, "what it holds has not come yet");
    a.receive(&from_b);
    assert_eq!(a.judge(&next, &b), Comparison::Holds);
    let mut c = newcomer(&mut b, 9);
    c.join(&next, &b);
    c.store.verify_documents(usize::MAX, 60).unwrap();
    assert_eq!((c.state(), a.state()), (b.state(), b.state()));
}

#[test]
fn what_came_of_a_checkpoint_that_is_not_believed_goes_again_and_comes_from_the_log() {
    let Pair { mut a, .. } = written();
    let made = a.checkpoint(300);
    let mut c = newcomer(&mut a, 9);
    let space = c.space;
    c.begin(&made);
    let first = c.store.bootstrap(&space).unwrap().unwrap().chunks[0];
    c.take(a.store.object(&space, &first).unwrap().unwrap()).unwrap();
    let taken = c.unverified();
    assert!(taken > 1);
    c.title(301, &doc(1), "looked inside, and edited");
    c.store.abandon_bootstrap(&space, true).unwrap();
    assert_eq!((c.unverified(), c.store.reads().heads(&space).unwrap().len()), (0, 1), "what was edited here stays");
    c.check();
    let mut log = Vec::new();
    for have in a.store.have(&space).unwrap() {
        let envelopes = a.store.envelopes(&space, &have.stream, (1, have.tip), usize::MAX, usize::MAX).unwrap();
        log.extend(envelopes.into_iter().map(|sealed| sealed.bytes));
    }
    c.receive(&log);
    let edit = c.send();
    a.receive(&edit);
    assert_eq!(c.state(), a.state());
}

fn checkpoint_chunks(checkpoint: &Record) -> Vec<EnvelopeId> {
    let Body::Checkpoint { chunks, .. } = checkpoint.body() else { panic!("no checkpoint") };
    chunks.clone()
}
