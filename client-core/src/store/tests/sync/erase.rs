//! Erased notes: nothing of them is left in the home, nothing brings them back, and checkpoints do not hold them.

use lifeos_sync_protocol::record::Body;

use super::*;
use crate::delta::ErasedDoc;
use crate::store::erase::ERASED;
use crate::store::{Due, ErasureState};

const CANARY: &str = "zanzibarquokka";

impl Device {
    /// Erases at once, and gives out the envelope that says so.
    fn erase(&mut self, id: &DocId) -> Vec<Vec<u8>> {
        self.seal();
        let (space, keys, key) = (self.space, self.keys.sign_pk(), self.key());
        let membership = self.store.membership(&space).unwrap();
        self.store.schedule_erasure(&space, id, (false, true), (5, 5)).unwrap();
        let gone = self.store.erase_due(&space, (&membership, &keys), 5, &mut self.random).unwrap();
        assert_eq!(gone, vec![*id]);
        assert_eq!(self.store.seal_erasures(&space, &self.keys, &key, &mut self.random).unwrap(), 1);
        self.send()
    }

    /// Files of the home that hold these bytes, in any case of letters.
    fn holds(&self, canary: &str) -> Vec<String> {
        let files = std::fs::read_dir(self.home.path()).unwrap().map(|file| file.unwrap().path());
        let found = files.filter(|file| {
            let bytes = std::fs::read(file).unwrap().to_ascii_lowercase();
            bytes.windows(canary.len()).any(|window| window == canary.as_bytes())
        });
        found.map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn has(&self, id: &DocId) -> bool {
        self.store.reads().heads(&self.space).unwrap().iter().any(|(found, _)| found == id)
    }

    fn aside_reasons(&self) -> Vec<String> {
        let aside = self.store.reads().quarantine(&self.space, 100).unwrap();
        aside.into_iter().map(|entry| entry.reason).collect()
    }
}

/// Both hold note 1 with the canary in its present and in its past, and note 2.
fn with_canary() -> Pair {
    let Pair { mut a, mut b, added } = pair();
    for n in 1..=40_u8 {
        a.title(i64::from(n), &doc(1), &format!("{CANARY} number {n}"));
        a.store.index_dirty(9).unwrap();
    }
    a.title(50, &doc(1), "nothing to see");
    a.title(51, &doc(1), &format!("{CANARY} at the end"));
    a.title(52, &doc(2), "kept");
    let from_a = a.send();
    b.receive(&from_a);
    b.store.index_dirty(9).unwrap();
    Pair { a, b, added }
}

#[test]
fn an_erased_note_leaves_every_table_and_file_of_the_home() {
    let Pair { mut a, mut b, .. } = with_canary();
    assert!(!a.holds(CANARY).is_empty() && !b.holds(CANARY).is_empty(), "else the search below finds nothing ever");
    let said = a.erase(&doc(1));
    assert_eq!(said.len(), 1);
    assert_eq!(b.receive(&said).changed, vec![doc(1)]);
    for device in [&mut a, &mut b] {
        assert!(device.store.scrub().unwrap());
        assert!(!device.store.scrub().unwrap(), "there is nothing left to do");
        assert_eq!(device.holds(CANARY), Vec::<String>::new());
        assert!(!device.has(&doc(1)) && device.has(&doc(2)));
        assert!(device.store.search(&device.space, CANARY, 9).unwrap().is_empty());
        assert!(device.store.reads().undo_top(&device.space).unwrap().is_none(), "no step names what is gone");
        device.check();
    }
    assert_eq!(a.state(), b.state());
    assert_eq!(a.read_title(&doc(2)).as_deref(), Some("kept"));
}

#[test]
fn late_edits_of_an_erased_note_are_set_aside_and_do_not_bring_it_back() {
    let Pair { mut a, mut b, .. } = with_canary();
    b.title(60, &doc(1), "late");
    b.title(61, &doc(3), "beside it");
    let late = b.send();
    b.title(62, &doc(1), "never sent");
    let said = a.erase(&doc(1));
    b.receive(&said);
    assert_eq!(b.store.reads().erasures(&b.space).unwrap()[0].unsent, 1, "the person is told what went with it");
    assert_eq!(b.store.reads().pending_count(&b.space).unwrap(), 0);
    let report = a.receive(&late);
    assert_eq!(report.quarantined.len(), 1);
    assert_eq!(a.aside_reasons(), [ERASED]);
    assert!(!a.has(&doc(1)) && a.has(&doc(3)), "what else is in the envelope counts");
    a.receive(&late);
    a.retry();
    assert!(!a.has(&doc(1)));
    a.store.rebuild_projections(&mut |_, _| {}).unwrap();
    a.check();
    // Neither does a device that reads everything in another order.
    let mut c = super::checkpoint::newcomer(&mut a, 9);
    let first =
        b.store.envelopes(&b.space, &b.store.own_tip(&b.space).unwrap().stream, (1, 99), usize::MAX, 99).unwrap();
    let from_a: Vec<_> =
        a.store.outbox(&a.space, 0, usize::MAX, usize::MAX).unwrap().into_iter().map(|sealed| sealed.bytes).collect();
    let from_b: Vec<_> = first.into_iter().map(|sealed| sealed.bytes).collect();
    c.receive(&from_a);
    c.receive(&from_b);
    assert!(!c.has(&doc(1)) && c.has(&doc(3)));
    assert_eq!(c.state(), a.state());
}

#[test]
fn a_checkpoint_behind_an_erasure_holds_nothing_of_it_and_others_vouch_for_it() {
    let Pair { mut a, mut b, .. } = with_canary();
    let before = a.checkpoint(70);
    assert_eq!(b.judge(&before, &a), Comparison::Holds);
    let said = a.erase(&doc(1));
    assert_eq!(a.store.checkpoint_due(&a.space, 71).unwrap(), Some(Due::Erasure));
    assert!(a.store.erased_under(&a.space, &a.key().epoch()).unwrap());
    let behind = a.checkpoint(72);
    assert!(!a.store.erased_under(&a.space, &a.key().epoch()).unwrap(), "a checkpoint stands behind it");
    // Who has not heard of the erasure does not vouch for it, and does not object either.
    assert_eq!(b.judge(&behind, &a), Comparison::Behind);
    b.receive(&said);
    assert_eq!(b.judge(&behind, &a), Comparison::Holds);
    let (Body::Checkpoint { chunks: old, .. }, Body::Checkpoint { chunks: new, cut, .. }) =
        (before.body(), behind.body())
    else {
        unreachable!("both are checkpoints")
    };
    assert!(old.iter().all(|chunk| !new.contains(chunk)), "a chunk with the note in it is not used again");
    // Who joins by it has not got the note, and late edits do not bring it back there either.
    b.title(80, &doc(2), "kept, and edited");
    let mut c = super::checkpoint::newcomer(&mut a, 9);
    c.join(&behind, &a);
    assert!(!c.has(&doc(1)) && c.has(&doc(2)));
    // The late edit that was set aside goes with the envelopes before the next checkpoint.
    assert!(a.store.prune_below(&a.space, cut).unwrap().envelopes > 0);
    a.check();
}

#[test]
fn nobody_vouches_for_a_checkpoint_that_holds_what_was_erased_before_it() {
    let Pair { mut a, mut b, .. } = with_canary();
    b.title(60, &doc(1), "by b");
    let from_b = b.send();
    a.receive(&from_b);
    let (before, said) = (b.state(), a.erase(&doc(1)));
    // A device that takes its author for no owner passes the erasure over, and packs the note.
    let mut membership = b.store.membership(&b.space).unwrap();
    membership.devices.get_mut(&a.keys.sign_pk()).unwrap().member = MemberId([9; 16]);
    let page = b.page(&said, 1);
    b.store.receive(&b.space, page, &membership, &b.keyring, Unknown::Quarantine, 77).unwrap();
    assert_eq!(b.state(), before);
    b.store.conn.execute("DELETE FROM quarantine", []).unwrap();
    let made = b.checkpoint(90);
    assert_eq!(a.judge(&made, &b), Comparison::Behind);
}

#[test]
fn an_erasure_by_who_may_not_is_set_aside_and_the_note_stays() {
    let Pair { mut a, mut b, .. } = with_canary();
    b.title(60, &doc(2), "both wrote here");
    let from_b = b.send();
    a.receive(&from_b);
    a.title(61, &doc(4), "a alone");
    let from_a = a.send();
    b.receive(&from_a);
    let (space, mut membership) = (a.space, b.store.membership(&b.space).unwrap());
    // The same devices, each of a person of their own who is no more than an editor.
    let other = MemberId([8; 16]);
    membership.devices.get_mut(&b.keys.sign_pk()).unwrap().member = other;
    let mut editor = membership.members[&MEMBER].clone();
    editor.role = lifeos_sync_protocol::record::Role::Editor;
    membership.members.insert(other, editor.clone());
    membership.members.insert(MEMBER, editor);
    let heads = |device: &Device, id: &DocId| {
        let found = device.store.reads().heads(&device.space).unwrap().into_iter().find(|(found, _)| found == id);
        found.unwrap().1
    };
    let wanted =
        [(doc(2), heads(&a, &doc(2))), (doc(4), heads(&a, &doc(4))), (doc(1), vec![]), (doc(7), vec![[1; 32]])];
    let (mut tip, key) = (a.store.own_tip(&space).unwrap(), a.key());
    let mut forged = Vec::new();
    for (id, heads) in wanted {
        let erased = vec![ErasedDoc { doc: id, heads, successor: None }];
        let delta = Delta { erased, ..Delta::default() };
        let keys = &a.keys;
        let sealed =
            crate::envelope::seal(&space, &tip, keys, key.epoch(), key.secret(), &delta, &mut a.random).unwrap();
        (tip.seq, tip.id) = (sealed.seq, sealed.id.0);
        forged.push(sealed.bytes);
    }
    let page = b.page(&forged, 1);
    let report = b.store.receive(&space, page, &membership, &b.keyring, Unknown::Quarantine, 77).unwrap();
    assert_eq!(report.quarantined.len(), 3, "{:?}", report.quarantined);
    assert!(b.has(&doc(1)) && b.has(&doc(2)), "others wrote there, or nobody can tell who did");
    assert!(!b.has(&doc(4)), "who alone wrote a note may erase it");
    assert!(matches!(b.store.reads().erasures(&space).unwrap()[..], [ref one] if one.doc == doc(4)));
}

#[test]
fn what_a_space_has_one_of_cannot_be_erased_by_anybody() {
    let Pair { mut a, mut b, .. } = pair();
    let tree = crate::document::singleton_doc_id(&a.space, "tree/notes", "");
    let delta = Delta { erased: vec![ErasedDoc { doc: tree, heads: vec![], successor: None }], ..Delta::default() };
    let (tip, key) = (a.store.own_tip(&a.space).unwrap(), a.key());
    let sealed =
        crate::envelope::seal(&a.space, &tip, &a.keys, key.epoch(), key.secret(), &delta, &mut a.random).unwrap();
    assert_eq!(b.receive(&[sealed.bytes]).quarantined.len(), 1);
    assert!(b.store.reads().erasures(&b.space).unwrap().is_empty());
}

#[test]
fn an_erasure_can_be_taken_back_until_it_is_due_and_its_history_alone_can_go() {
    let Pair { mut a, mut b, .. } = with_canary();
    let (space, me) = (a.space, a.keys.sign_pk());
    let membership = a.store.membership(&space).unwrap();
    a.store.schedule_erasure(&space, &doc(1), (false, true), (10, 5)).unwrap();
    assert!(a.store.erase_due(&space, (&membership, &me), 9, &mut a.random).unwrap().is_empty(), "not yet");
    assert!(a.store.take_back_erasure(&space, &doc(1)).unwrap());
    assert!(a.store.erase_due(&space, (&membership, &me), 11, &mut a.random).unwrap().is_empty());
    // A note that somebody took out of the trash meanwhile stays.
    a.store.schedule_erasure(&space, &doc(1), (false, false), (10, 5)).unwrap();
    assert!(a.store.erase_due(&space, (&membership, &me), 11, &mut a.random).unwrap().is_empty());
    assert!(a.store.reads().erasures(&space).unwrap().is_empty() && a.has(&doc(1)));
    a.title(90, &doc(1), "what it says now");
    a.send();
    a.store.schedule_erasure(&space, &doc(1), (true, false), (10, 5)).unwrap();
    let changed = a.store.erase_due(&space, (&membership, &me), 11, &mut a.random).unwrap();
    let [erasure] = a.store.reads().erasures(&space).unwrap().try_into().unwrap();
    let successor = erasure.successor.unwrap();
    assert!(changed.contains(&successor) && changed.contains(&doc(1)));
    assert_eq!(erasure.state, ErasureState::Untold);
    assert_eq!(a.store.seal_erasures(&space, &a.keys, &a.key(), &mut a.random).unwrap(), 0, "the new note goes first");
    a.seal();
    let key = a.key();
    assert_eq!(a.store.seal_erasures(&space, &a.keys, &key, &mut a.random).unwrap(), 1);
    let all = a.store.outbox(&space, 0, usize::MAX, usize::MAX).unwrap();
    b.receive(&all.into_iter().map(|sealed| sealed.bytes).collect::<Vec<_>>());
    assert_eq!(b.read_title(&successor).as_deref(), Some("what it says now"));
    for device in [&mut a, &mut b] {
        assert!(device.store.scrub().unwrap());
        assert_eq!(device.holds(CANARY), Vec::<String>::new());
    }
    assert_eq!(a.state(), b.state());
}
