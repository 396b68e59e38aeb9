//! Erased notes: nothing of them is left in the home, nothing brings them back, and checkpoints do not hold them.

use crate::store::query::words;
use lifeos_sync_protocol::record::Body;

use lifeos_sync_protocol::membership::{Membership, StreamPoint};
use lifeos_sync_protocol::record::{Cut, Role};

use super::accept::{join, without};
use super::*;
use crate::delta::ErasedDoc;
use crate::store::erase::{ERASED, NOT_ENTITLED};
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
        assert!(device.store.search(&device.space, &words(CANARY), 9).unwrap().is_empty());
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
    assert_eq!(a.store.erased_under(&a.space, &a.key().epoch()).unwrap(), [a.keys.sign_pk()]);
    let behind = a.checkpoint(72);
    assert!(a.store.erased_under(&a.space, &a.key().epoch()).unwrap().is_empty(), "a checkpoint stands behind it");
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

const OTHER: MemberId = MemberId([8; 16]);

impl Device {
    /// Every device of a person of its own, or all of one, who are no more than editors.
    fn editors(&self, other: Option<&Device>) -> Membership {
        let mut membership = self.membership();
        let mut editor = membership.members[&MEMBER].clone();
        editor.role = Role::Editor;
        membership.members.insert(MEMBER, editor.clone());
        if let Some(other) = other {
            membership.devices.get_mut(&other.keys.sign_pk()).unwrap().member = OTHER;
            membership.members.insert(OTHER, editor);
        }
        membership
    }

    /// Seals what an app that was changed might say.
    fn forge_erasure(&mut self, docs: Vec<DocDelta>, erased: ErasedDoc) -> Vec<u8> {
        let (tip, key) = (self.store.own_tip(&self.space).unwrap(), self.key());
        let delta = Delta { docs, erased: vec![erased], ..Delta::default() };
        crate::envelope::seal(&self.space, &tip, &self.keys, key.epoch(), key.secret(), &delta, &mut self.random)
            .unwrap()
            .bytes
    }

    fn heads_of(&self, id: &DocId) -> Vec<[u8; 32]> {
        let found = self.store.reads().heads(&self.space).unwrap().into_iter().find(|(found, _)| found == id);
        found.unwrap().1
    }

    /// What is stored of a document can be read no more.
    fn spoil(&mut self, id: &DocId) {
        let row = format!("(SELECT id FROM document WHERE doc = x'{id}')");
        for table in ["snapshot", "change"] {
            self.store.conn.execute(&format!("UPDATE {table} SET bytes = x'0102' WHERE doc = {row}"), []).unwrap();
        }
        self.store = Store::open(self.home.path()).unwrap();
    }
}

#[test]
fn an_editor_who_names_what_every_note_begins_with_or_writes_beside_it_erases_nothing() {
    for case in 0..3 {
        let Pair { mut a, mut b, .. } = with_canary();
        b.title(60, &doc(5), "begun by b");
        let begun = b.heads_of(&doc(5));
        let from_b = b.send();
        a.receive(&from_b);
        a.title(61, &doc(5), "a wrote on");
        let from_a = a.send();
        b.receive(&from_a);
        b.title(62, &doc(5), "and b upon that");
        let from_b = b.send();
        a.receive(&from_b);
        let stream = b.store.own_tip(&b.space).unwrap().stream;
        let mut beside = Document::new(doc(1), NOTE_GENESIS, stream).unwrap();
        let first = beside.heads().iter().map(|hash| hash.0).collect();
        let change = beside.edit(1, |doc| set(doc, "title", "mine")).unwrap().1.unwrap();
        let erase = |doc, heads| ErasedDoc { doc, heads, successor: None };
        let said = match case {
            0 => b.forge_erasure(vec![], erase(doc(1), first)),
            1 => {
                let beside = DocDelta { doc: doc(1), changes: vec![change.bytes], genesis: NOTE_GENESIS };
                b.forge_erasure(vec![beside], erase(doc(1), vec![change.hash.0]))
            }
            _ => b.forge_erasure(vec![], erase(doc(5), begun)),
        };
        let membership = a.editors(Some(&b));
        a.receive_under(&[said], &membership);
        assert_eq!(a.aside_reasons(), [NOT_ENTITLED], "{case}");
        assert!(a.has(&doc(1)) && a.has(&doc(5)), "others wrote there: {case}");
    }
}

#[test]
fn an_erasure_that_comes_before_the_note_is_judged_again_when_the_note_comes() {
    let Pair { mut a, mut b, .. } = pair();
    let mut c = join(&mut a, &DeviceRoot::generate(&mut SeededRandom::new(71)), 72);
    let records = a.store.records(&a.space).unwrap();
    b.store.put_records(&b.space, &records).unwrap();
    b.title(1, &doc(1), "from the phone");
    let note = b.send();
    c.receive(&note);
    let mut said = c.forge_erasure(vec![], ErasedDoc { doc: doc(1), heads: c.heads_of(&doc(1)), successor: None });
    let membership = a.editors(None);
    a.receive_under(&[said.clone()], &membership);
    assert_eq!(a.aside_reasons(), [NOT_ENTITLED]);
    a.receive_under(&note, &membership);
    assert_eq!(a.aside_reasons(), Vec::<String>::new());
    assert!(!a.has(&doc(1)), "who wrote it had it erased");
    a.check();
    // An editor who was made an owner meanwhile, and the records come last.
    b.title(2, &doc(2), "from the phone, too");
    let note = b.send();
    a.receive(&note);
    said = c.forge_erasure(vec![], ErasedDoc { doc: doc(2), heads: vec![], successor: None });
    b.receive_under(&[said], &membership);
    assert!(b.has(&doc(2)));
    let owners = b.membership();
    b.settle_under(&owners);
    assert!(!b.has(&doc(2)) && b.aside_reasons().is_empty());
}

#[test]
fn an_erasure_of_somebody_else_does_not_swallow_one_that_nobody_was_told_of() {
    let Pair { mut a, mut b, .. } = with_canary();
    a.seal();
    let (space, me, membership) = (a.space, a.keys.sign_pk(), a.membership());
    a.store.schedule_erasure(&space, &doc(1), (false, true), (5, 5)).unwrap();
    a.store.erase_due(&space, (&membership, &me), 5, &mut a.random).unwrap();
    let heads = b.heads_of(&doc(1));
    let said = b.forge_erasure(vec![], ErasedDoc { doc: doc(1), heads, successor: Some(doc(9)) });
    let mut editor = a.editors(Some(&b));
    editor.members.get_mut(&MEMBER).unwrap().role = Role::Owner;
    a.receive_under(&[said], &editor);
    let [erasure] = a.store.reads().erasures(&space).unwrap().try_into().unwrap();
    assert_eq!((erasure.state, erasure.successor), (ErasureState::Untold, None));
    let key = a.key();
    assert_eq!(a.store.seal_erasures(&space, &a.keys, &key, &mut a.random).unwrap(), 1);
    let said = a.send();
    b.receive(&said);
    assert!(!b.has(&doc(1)));
}

#[test]
fn a_late_edit_does_not_hide_that_what_came_beside_it_is_lost_here() {
    let Pair { mut a, mut b, .. } = with_canary();
    a.erase(&doc(1));
    a.spoil(&doc(2));
    b.title(60, &doc(1), "late");
    b.title(60, &doc(2), "beside it");
    let from_b = b.send();
    a.receive(&from_b);
    assert_eq!(a.aside_reasons(), [crate::store::receive::DAMAGED], "neither cut nor pruning passes it");
}

#[test]
fn an_erasure_of_a_note_that_cannot_be_read_here_costs_no_page_and_holds_up_no_other() {
    let Pair { mut a, mut b, .. } = with_canary();
    b.spoil(&doc(1));
    let said = a.forge_erasure(vec![], ErasedDoc { doc: doc(1), heads: a.heads_of(&doc(1)), successor: None });
    let membership = b.editors(None);
    assert_eq!(b.receive_under(&[said], &membership).quarantined.len(), 1);
    let (space, me, membership) = (a.space, a.keys.sign_pk(), a.membership());
    a.spoil(&doc(1));
    a.store.schedule_erasure(&space, &doc(1), (true, true), (5, 5)).unwrap();
    a.store.schedule_erasure(&space, &doc(2), (false, true), (5, 5)).unwrap();
    assert_eq!(a.store.erase_due(&space, (&membership, &me), 5, &mut a.random).unwrap(), [doc(2)]);
    assert_eq!(a.store.reads().erasures(&space).unwrap()[0].state, ErasureState::Scheduled { due_ms: 5 });
}

#[test]
fn an_erasure_that_came_after_its_device_was_removed_is_undone() {
    let Pair { mut a, mut b, .. } = with_canary();
    let mut c = join(&mut a, &DeviceRoot::generate(&mut SeededRandom::new(73)), 74);
    let kept = a.send();
    let all = a.store.outbox(&a.space, 0, usize::MAX, usize::MAX).unwrap();
    c.receive(&all.into_iter().map(|sealed| sealed.bytes).collect::<Vec<_>>());
    b.receive(&kept);
    b.title(60, &doc(2), "in time");
    let early = b.send();
    let cut = b.point();
    let late = b.erase(&doc(1));
    for device in [&mut a, &mut c] {
        device.receive(&early);
    }
    c.receive(&late);
    assert!(!c.has(&doc(1)));
    let a_edits = {
        a.title(61, &doc(1), "somebody goes on with it");
        a.send()
    };
    c.receive(&a_edits);
    assert_eq!(c.aside_reasons(), [ERASED]);
    let after = without(&a.membership(), b.keys.sign_pk(), cut);
    a.settle_under(&after);
    a.receive_under(&late, &after);
    c.settle_under(&after);
    let erasures = c.store.reads().erasures(&c.space).unwrap();
    assert!(a.has(&doc(1)), "{:?}", a.aside_reasons());
    assert!(c.has(&doc(1)), "{:?} {erasures:?}", c.aside_reasons());
    assert_eq!(a.state(), c.state());
    assert!(c.store.reads().erasures(&c.space).unwrap().is_empty());
    assert!(!c.aside_reasons().contains(&ERASED.to_owned()));
    c.check();
}

const ADMITTED: MemberId = MemberId([3; 16]);

/// Somebody else who was let in, with a device of their own.
fn admitted(founder: &mut Device, root: &DeviceRoot, role: Role) -> Device {
    let (membership, records) = (founder.membership(), founder.store.records(&founder.space).unwrap());
    let opened = crate::records::unlock_epochs(&membership, &records, OwnKeys::first(&founder.keys));
    let mut draft = crate::records::Draft::begin(&membership, &records, &opened, &founder.keys);
    let devices = vec![root.derive_space(&RANDOM).entry(&RANDOM, &ADMITTED, DeviceKind::Normal)];
    draft.add(&Body::MemberAdd { member: ADMITTED, role, enc_meta: Vec::new(), devices }).unwrap();
    draft.grant_lacking(&mut founder.random).unwrap();
    founder.store.put_records(&founder.space, &draft.finish()).unwrap();
    Device::new(root, founder.space, founder.store.records(&founder.space).unwrap(), 82)
}

/// The records of a device, with one more: the second member loses its role, by somebody who saw its stream so far.
fn demoted(founder: &Device, of: MemberId, cuts: Vec<Cut>) -> (Membership, Vec<Record>) {
    let mut records = founder.store.records(&founder.space).unwrap();
    let membership = founder.membership();
    let body = Body::RoleSet { member: of, role: Role::Editor, cuts };
    records.push(crate::records::next_record(&founder.keys, &membership, &records, &body).unwrap());
    (Membership::evaluate(&founder.space, &records).unwrap(), records)
}

#[test]
fn what_somebody_erased_as_an_admin_stands_if_who_took_the_role_away_had_seen_it_and_else_not() {
    for case in ["seen", "seen with what came after it", "not seen", "invented"] {
        let Pair { mut a, .. } = with_canary();
        // Somebody else, an Admin, with a device of their own.
        let root = DeviceRoot::generate(&mut SeededRandom::new(81));
        let mut other = admitted(&mut a, &root, Role::Admin);
        let all = a.store.outbox(&a.space, 0, usize::MAX, usize::MAX).unwrap();
        other.receive(&all.into_iter().map(|sealed| sealed.bytes).collect::<Vec<_>>());
        other.title(70, &doc(8), "before");
        let first = other.send();
        let (stream, before) = other.point();
        let said = other.erase(&doc(1));
        let (_, erased) = other.point();
        other.title(71, &doc(8), "after");
        let next = other.send();
        let (_, after) = other.point();
        let point = match case {
            "seen" => erased,
            "seen with what came after it" => after,
            "not seen" => before,
            _ => StreamPoint { seq: u32::MAX, id: EnvelopeId([7; 32]) },
        };
        let cut = Cut { stream, seq: point.seq, id: point.id };
        let (now, records) = demoted(&a, ADMITTED, vec![cut]);
        assert_eq!(now.members[&ADMITTED].role, Role::Editor, "{:?}", now.void);
        a.store.put_records(&a.space, &records).unwrap();
        // It hears of the demotion first.
        a.receive_under(&first, &now);
        a.receive_under(&said, &now);
        assert_eq!(a.has(&doc(1)), case != "seen", "{case}");
        a.receive_under(&next, &now);
        assert_eq!(a.has(&doc(1)), matches!(case, "not seen" | "invented"), "{case}");
        assert_eq!(a.aside_reasons().is_empty(), !a.has(&doc(1)));
    }
}

#[test]
fn who_joined_by_a_checkpoint_before_anybody_vouched_for_it_erases_what_it_names_once_somebody_does() {
    let Pair { mut a, mut b, .. } = with_canary();
    b.title(60, &doc(1), "late");
    b.title(61, &doc(3), "beside it");
    let late = b.send();
    a.erase(&doc(1));
    let made = a.checkpoint(70);
    let mut c = super::checkpoint::newcomer(&mut a, 9);
    c.join(&made, &a);
    c.receive(&late);
    c.store.verify_documents(usize::MAX, 71).unwrap();
    let waiting = |device: &Device| -> i64 {
        device.store.conn.query_row("SELECT count(*) FROM waiting", [], |row| row.get(0)).unwrap()
    };
    let take = |device: &mut Device| {
        let membership = device.membership();
        device.store.take_vouched(&device.space, (&membership, &device.keyring), 72).unwrap()
    };
    assert!(c.has(&doc(3)) && waiting(&c) > 0, "the late edit waits for what nobody gives any more");
    assert!(take(&mut c).is_empty() && c.store.has_unvouched(&c.space).unwrap());
    // The second device of the person vouches for it.
    let records = a.store.records(&a.space).unwrap();
    b.store.put_records(&b.space, &records).unwrap();
    let word = Body::Endorse { checkpoint: made.id() };
    let records = b.store.records(&b.space).unwrap();
    let word = crate::records::next_record(&b.keys, &b.membership(), &records, &word).unwrap();
    c.store.put_records(&c.space, &[word]).unwrap();
    assert_eq!(take(&mut c), [doc(1)]);
    assert_eq!(waiting(&c), 0);
    assert!(!c.store.has_unvouched(&c.space).unwrap() && take(&mut c).is_empty());
    assert!(matches!(c.store.reads().erasures(&c.space).unwrap()[..], [ref one] if one.doc == doc(1)));
    c.check();
}

#[test]
fn what_was_typed_elsewhere_while_only_the_history_went_is_there_to_read_and_nothing_of_the_history_is() {
    let Pair { mut a, mut b, .. } = with_canary();
    a.title(90, &doc(1), "what stays");
    b.title(55, &doc(1), "sent before it was erased");
    let (from_a, seen) = (a.send(), b.send());
    a.receive(&seen);
    b.receive(&from_a);
    // From here on neither hears of the other.
    b.title(91, &doc(1), "typed away, and sent");
    let late = b.send();
    b.title(92, &doc(1), "typed away, and not sent");
    a.send();
    let (space, me, membership) = (a.space, a.keys.sign_pk(), a.membership());
    a.store.schedule_erasure(&space, &doc(1), (true, true), (5, 5)).unwrap();
    a.store.erase_due(&space, (&membership, &me), 5, &mut a.random).unwrap();
    a.seal();
    let key = a.key();
    assert_eq!(a.store.seal_erasures(&space, &a.keys, &key, &mut a.random).unwrap(), 1);
    let said = a.send();
    b.receive(&said);
    a.receive(&late);
    let text = |device: &Device| {
        let found = device.store.reads().erasures(&device.space).unwrap();
        found.into_iter().find(|erasure| erasure.doc == doc(1)).unwrap().late
    };
    assert_eq!(text(&b), "typed away, and sent\ntyped away, and not sent");
    assert_eq!(text(&a), "typed away, and sent");
    a.receive(&late);
    b.retry();
    assert_eq!(text(&a), "typed away, and sent", "once");
    // Who reads all of it in another order, the history last, keeps nothing of that.
    let mut c = super::checkpoint::newcomer(&mut a, 9);
    let all = |device: &Device| {
        let stream = device.store.own_tip(&device.space).unwrap().stream;
        let sealed = device.store.envelopes(&device.space, &stream, (1, 999), usize::MAX, 999).unwrap();
        sealed.into_iter().map(|sealed| sealed.bytes).collect::<Vec<_>>()
    };
    c.receive(&all(&a));
    assert_eq!(text(&c), "");
    c.receive(&all(&b));
    assert_eq!(text(&c), "typed away, and sent");
    for device in [&mut a, &mut b, &mut c] {
        device.store.scrub().unwrap();
        assert_eq!(device.holds(CANARY), Vec::<String>::new());
        assert!(device.store.forget_typed(&device.space.clone(), &doc(1)).unwrap());
        assert_eq!(text(device), "");
        device.check();
    }
}

#[test]
fn an_erasure_on_a_branch_that_is_left_is_told_again() {
    let Pair { mut a, mut b, .. } = with_canary();
    let agreed = a.store.own_tip(&a.space).unwrap().seq;
    a.erase(&doc(1));
    let (space, membership, keyring) = (a.space, a.membership(), a.keyring.clone());
    a.store.begin_new_stream(&space, agreed, (&membership, &keyring), 5, &mut a.random).unwrap();
    assert_eq!(a.store.reads().erasures(&space).unwrap()[0].state, ErasureState::Untold);
    assert!(!a.has(&doc(1)));
    a.sent = 0;
    a.seal();
    let key = a.key();
    assert_eq!(a.store.seal_erasures(&space, &a.keys, &key, &mut a.random).unwrap(), 1);
    let said = a.send();
    b.receive(&said);
    assert!(!b.has(&doc(1)));
}

#[test]
fn a_reader_keeps_the_log_from_being_emptied_and_the_database_is_written_anew_only_once() {
    let Pair { mut a, .. } = with_canary();
    a.erase(&doc(1));
    let reader = crate::store::Connection::open(a.home.path().join(DATABASE_FILE)).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM document;").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM document", [], |row| row.get(0)).unwrap();
    let pages = |device: &Device| -> i64 {
        device.store.conn.query_row("PRAGMA freelist_count", [], |row| row.get(0)).unwrap()
    };
    assert!(!a.store.scrub().unwrap());
    a.store
        .conn
        .execute_batch("CREATE TABLE gone(x); INSERT INTO gone VALUES (zeroblob(100000)); DROP TABLE gone")
        .unwrap();
    let free = pages(&a);
    assert!(free > 0 && !a.store.scrub().unwrap());
    assert_eq!(pages(&a), free, "it was not written anew a second time");
    drop(reader);
    assert!(a.store.scrub().unwrap());
    assert_eq!(a.holds(CANARY), Vec::<String>::new());
}
