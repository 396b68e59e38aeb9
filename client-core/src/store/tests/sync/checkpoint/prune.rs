//! Forgetting what a checkpoint stands for, and going on as before; drafts while edits go on; re-use.

use lifeos_sync_protocol::record::Floor;

use super::*;
use crate::store::{Drafting, Reader};

impl Device {
    fn prune(&mut self, checkpoint: &Record) -> Pruned {
        let Body::Checkpoint { cut, .. } = checkpoint.body() else { panic!("no checkpoint") };
        self.store.prune_below(&self.space, cut).unwrap()
    }

    fn envelopes(&self) -> u64 {
        self.store.reads().count("SELECT count(*) FROM envelope", []).unwrap()
    }
}

#[test]
fn envelopes_below_a_floor_are_gone_and_everything_goes_on() {
    let Pair { mut a, mut b, .. } = written();
    let checkpoint = a.checkpoint(1_000);
    assert_eq!(b.judge(&checkpoint, &a), Comparison::Holds);
    let (before, held) = (a.state(), a.envelopes());
    let pruned = a.prune(&checkpoint);
    assert_eq!((pruned.envelopes, a.envelopes()), (held, 0));
    assert_eq!(a.prune(&checkpoint), Pruned::default());
    b.prune(&checkpoint);
    let have = a.store.have(&a.space).unwrap();
    assert!(have.iter().all(|have| have.floor == have.tip && have.tip > 0));
    assert_eq!(a.store.outbox(&a.space, 0, usize::MAX, 9).unwrap(), vec![]);
    assert_eq!(a.store.envelopes(&a.space, &have[0].stream, (1, 9), usize::MAX, 9).unwrap(), vec![]);
    a.title(400, &doc(1), "after");
    b.title(401, &doc(1), "after b");
    let (from_a, from_b) = (a.send(), b.send());
    b.receive(&from_a);
    a.receive(&from_b);
    assert_eq!((a.state(), before == a.state()), (b.state(), false));
    let cuts = a.store.cuts(&a.space, &[a.keys.sign_pk(), b.keys.sign_pk()]).unwrap();
    assert_eq!(cuts.len(), 2);
    for device in [&mut a, &mut b] {
        device.check();
        device.retry();
    }
    assert_eq!(a.state(), b.state());
}

#[test]
fn a_stream_that_is_held_less_far_or_otherwise_is_not_pruned() {
    let Pair { mut a, mut b, .. } = written();
    let checkpoint = a.checkpoint(1_000);
    let Body::Checkpoint { cut, .. } = checkpoint.body() else { panic!("no checkpoint") };
    let further: Vec<Floor> = cut.iter().map(|floor| Floor { seq: floor.seq + 1, ..*floor }).collect();
    let other: Vec<Floor> = cut.iter().map(|floor| Floor { id: EnvelopeId([1; 32]), ..*floor }).collect();
    for floors in [further, other] {
        assert_eq!(b.store.prune_below(&b.space.clone(), &floors).unwrap(), Pruned::default());
    }
    assert!(b.store.have(&b.space).unwrap().iter().all(|have| have.floor == 0));
}

#[test]
fn an_envelope_that_is_set_aside_is_neither_cut_nor_forgotten() {
    let Pair { mut a, mut b, .. } = written();
    let tip = b.store.own_tip(&b.space).unwrap();
    let garbage = DocDelta { doc: doc(20), changes: vec![vec![1, 2, 3]], genesis: NOTE_GENESIS };
    let forged = b.forge(&tip, vec![garbage]);
    a.receive(std::slice::from_ref(&forged.bytes));
    let checkpoint = a.checkpoint(1_000);
    let Body::Checkpoint { cut, .. } = checkpoint.body() else { panic!("no checkpoint") };
    let floor = cut.iter().find(|floor| floor.stream == tip.stream).unwrap();
    assert_eq!((floor.seq, floor.id.0), (tip.seq, tip.id));
    let beyond = Floor { seq: forged.seq, id: forged.id, ..*floor };
    a.store.prune_below(&a.space.clone(), &[beyond]).unwrap();
    assert_eq!(a.envelopes(), 1 + u64::from(a.store.own_tip(&a.space).unwrap().seq), "nobody knows what it says");
}

#[test]
fn what_a_removed_device_wrote_before_a_floor_stays_and_what_it_wrote_after_its_cut_goes() {
    let Pair { mut a, mut b, .. } = written();
    let checkpoint = a.checkpoint(1_000);
    a.prune(&checkpoint);
    b.title(500, &doc(1), "too late");
    let late = b.send();
    a.receive(&late);
    assert_eq!(a.read_title(&doc(1)).unwrap(), "too late");
    let before = a.store.reads().heads(&a.space).unwrap().len();
    let tip = a.store.have(&a.space).unwrap().into_iter().find(|have| have.floor < have.tip).unwrap();
    let membership = a.store.membership(&a.space).unwrap();
    // Cut even below the floor: what the checkpoint stands for is not taken back.
    let point = lifeos_sync_protocol::membership::StreamPoint { seq: 0, id: EnvelopeId([0; 32]) };
    let after = accept::without(&membership, b.keys.sign_pk(), (tip.stream, point));
    a.store.retry_quarantined(&a.space.clone(), &after, &a.keyring, 78).unwrap();
    assert_eq!(a.read_title(&doc(1)).unwrap(), "title 1");
    assert_eq!(a.read_title(&doc(8)).unwrap(), "by b 8");
    assert_eq!(a.store.reads().heads(&a.space).unwrap().len(), before);
    a.check();
}

#[test]
fn a_draft_holds_what_was_there_when_it_began_while_edits_go_on() {
    let Pair { mut a, mut b, .. } = written();
    let (space, key, membership) = (a.space, a.key(), a.store.membership(&a.space).unwrap());
    let reader = Reader::open(a.home.path()).unwrap();
    let mut drafting = Drafting::begin(reader, &space, &membership, 1).unwrap().unwrap();
    let mut edits = 0;
    while let Some(chunk) = drafting.next_chunk(&a.keys, &key, &mut a.random).unwrap() {
        a.title(600, &doc(1), &format!("while drafting {edits}"));
        a.title(601, &doc(40 + edits), "new while drafting");
        a.seal();
        edits += 1;
        a.store.keep_chunk(&space, &chunk, 1_000).unwrap();
    }
    assert!(edits > 0);
    let built = drafting.finish(&key, &mut a.random).unwrap();
    let draft = a.store.keep_draft(&space, built, 1_000).unwrap();
    let checkpoint = a.publish(draft);
    assert_eq!(b.judge(&checkpoint, &a), Comparison::Holds, "without what came later");
    let newer = a.send();
    b.receive(&newer);
    assert_eq!(b.judge(&checkpoint, &a), Comparison::Holds, "with it");
    let mut c = newcomer(&mut a, 9);
    c.join(&checkpoint, &b);
    c.receive(&newer[newer.len() - usize::from(edits)..]);
    c.store.verify_documents(usize::MAX, 60).unwrap();
    assert_eq!(c.state(), a.state());
}

#[test]
fn nothing_is_drafted_of_what_is_not_sealed_or_not_new() {
    let Pair { mut a, .. } = written();
    a.title(700, &doc(1), "not sealed");
    assert_eq!(a.draft(1_000), None);
    a.seal();
    assert!(a.draft(1_000).is_some());
    assert_eq!(a.draft(1_001), None, "nothing came since");
}

#[test]
fn a_checkpoint_is_due_by_bytes_by_number_and_by_age() {
    let Pair { mut a, .. } = written();
    assert_eq!(a.store.checkpoint_due(&a.space, 1_000).unwrap(), None);
    a.set(2_000, &doc(50), "source:path", "x");
    let mut noise = vec![0; 60 * 9_000];
    crate::crypto::Random::fill(&mut SeededRandom::new(5), &mut noise);
    let noise: String = noise.into_iter().map(|byte| char::from(33 + byte % 90)).collect();
    for n in 0..60 {
        a.set(2_000, &doc(50), &format!("prop/{n}"), &noise[n * 9_000..(n + 1) * 9_000]);
    }
    a.seal();
    assert_eq!(a.store.checkpoint_due(&a.space, 3_000).unwrap(), Some(Due::Bytes));
    a.draft(3_000).unwrap();
    assert_eq!(a.store.checkpoint_due(&a.space, 3_001).unwrap(), None);
    a.title(3_002, &doc(1), "one more");
    a.seal();
    let later = 3_000 + 15 * 24 * 3_600_000;
    assert_eq!(a.store.checkpoint_due(&a.space, later).unwrap(), Some(Due::Age));
}

#[test]
fn after_one_document_in_a_hundred_changed_nearly_all_bytes_of_chunks_are_used_again() {
    let Pair { mut a, .. } = pair();
    let word = |n: u32| format!("{:08x}", n.wrapping_mul(2_654_435_761));
    for n in 0..600 {
        let text: String = (0..60).map(|k| word(n * 60 + k)).collect();
        let edit = |tx: &mut Tx<'_>| tx.edit(&numbered(n), NOTE_GENESIS, |inner| set(inner, "title", &text));
        a.store.write(&a.space, i64::from(n), edit).unwrap();
    }
    a.seal();
    let first = a.draft(1_000).unwrap();
    for n in (0..600).step_by(100) {
        a.title(10_000, &numbered(n), "changed");
    }
    a.seal();
    let second = a.draft(2_000).unwrap();
    let bytes = |chunks: &[EnvelopeId]| {
        let length = |chunk: &EnvelopeId| a.store.object(&a.space, chunk).unwrap().unwrap().len();
        chunks.iter().map(length).sum::<usize>()
    };
    let again: Vec<EnvelopeId> = second.chunks.iter().filter(|chunk| first.chunks.contains(chunk)).copied().collect();
    assert!(bytes(&again) * 100 >= bytes(&second.chunks) * 95, "{} of {}", bytes(&again), bytes(&second.chunks));
    let checkpoint = a.publish(second);
    let mut c = newcomer(&mut a, 9);
    let membership = a.store.membership(&a.space).unwrap();
    assert!(membership.checkpoints.contains_key(&checkpoint.id()));
    c.join(&checkpoint, &a);
    c.store.verify_documents(usize::MAX, 60).unwrap();
    assert_eq!(c.state(), a.state());
}
