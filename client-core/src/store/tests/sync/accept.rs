//! Which envelopes count after a removal, a demotion or a fork, in every order of arrival; and how a copied home
//! goes on.

use crate::store::query::words;
use std::collections::BTreeMap;

use lifeos_sync_protocol::ids::{SignPk, StreamId};
use lifeos_sync_protocol::membership::{Membership, StreamPoint};

use super::*;
use crate::store::tests::sync::Device;

struct Trio {
    a: Device,
    b: Device,
    c: Device,
}

pub(super) fn join(founder: &mut Device, root: &DeviceRoot, seed: u64) -> Device {
    let membership = founder.store.membership(&founder.space).unwrap();
    let records = founder.store.records(&founder.space).unwrap();
    let entry = root.derive_space(&RANDOM).entry(&RANDOM, &MEMBER, DeviceKind::Normal);
    let add = AddDevice {
        membership: &membership,
        records: &records,
        keyring: &founder.keyring,
        keys: &founder.keys,
        member: MEMBER,
        entry,
        name: "device",
    };
    let added = add_device(&add, &mut founder.random).unwrap();
    founder.store.put_records(&founder.space, &added).unwrap();
    Device::new(root, founder.space, founder.store.records(&founder.space).unwrap(), seed)
}

fn trio() -> Trio {
    let Pair { mut a, mut b, .. } = pair();
    let c = join(&mut a, &DeviceRoot::generate(&mut SeededRandom::new(61)), 62);
    let records = a.store.records(&a.space).unwrap();
    b.store.put_records(&b.space, &records).unwrap();
    Trio { a, b, c }
}

impl Device {
    pub(super) fn membership(&self) -> Membership {
        self.store.membership(&self.space).unwrap()
    }

    pub(super) fn receive_under(&mut self, envelopes: &[Vec<u8>], membership: &Membership) -> ReceiveReport {
        let page = self.page(envelopes, 1);
        self.store.receive(&self.space, page, membership, &self.keyring, Unknown::Quarantine, 77).unwrap()
    }

    pub(super) fn settle_under(&mut self, membership: &Membership) -> ReceiveReport {
        self.store.retry_quarantined(&self.space, membership, &self.keyring, 78).unwrap()
    }

    pub(super) fn point(&self) -> (StreamId, StreamPoint) {
        let tip = self.store.own_tip(&self.space).unwrap();
        (tip.stream, StreamPoint { seq: tip.seq, id: EnvelopeId(tip.id) })
    }

    fn aside(&self) -> Vec<(u32, String)> {
        let aside = self.store.reads().quarantine(&self.space, 100).unwrap();
        aside.into_iter().map(|entry| (entry.seq, entry.reason)).collect()
    }

    pub(super) fn sign_pk(&self) -> SignPk {
        self.keys.sign_pk()
    }
}

/// The membership after the device was removed with its stream cut there.
pub(super) fn without(membership: &Membership, device: SignPk, cut: (StreamId, StreamPoint)) -> Membership {
    let mut after = membership.clone();
    let removed_by = after.heads.first().copied();
    let gone = after.devices.get_mut(&device).unwrap();
    gone.removed_by = removed_by;
    gone.cuts = Some(BTreeMap::from([cut]));
    for member in after.members.values_mut() {
        member.devices.remove(&device);
    }
    after
}

#[test]
fn what_a_removed_device_wrote_too_late_does_not_count_in_either_order() {
    let Trio { mut a, mut b, mut c } = trio();
    b.title(1, &doc(1), "in time");
    let early = b.send();
    let cut = b.point();
    b.title(2, &doc(1), "too late");
    b.title(2, &doc(2), "too late, and new");
    let late = b.send();
    let after = without(&a.membership(), b.sign_pk(), cut);

    // The removal first, or the envelope first.
    a.settle_under(&after);
    let report = a.receive_under(&[early.clone(), late.clone()].concat(), &after);
    assert_eq!((report.changed.clone(), report.quarantined.len()), (vec![doc(1)], 1));
    c.receive(&early);
    c.receive(&late);
    assert_eq!(c.read_title(&doc(1)).unwrap(), "too late");
    assert_eq!(c.store.search(&c.space.clone(), &words("late"), 9).unwrap().len(), 2);
    let report = c.settle_under(&after);
    assert_eq!(report.changed, [doc(1), doc(2)]);

    for device in [&mut a, &mut c] {
        assert_eq!(device.read_title(&doc(1)).unwrap(), "in time");
        assert_eq!(device.read_title(&doc(2)), None, "a document that only the late envelope made is gone");
        assert_eq!(device.store.reads().document_count(&device.space).unwrap(), 1);
        let aside = device.aside();
        let [(2, reason)] = aside.as_slice() else { panic!("the late envelope is set aside") };
        assert!(reason.contains("after its device was removed"), "{reason}");
        assert!(device.store.search(&device.space.clone(), &words("late"), 9).unwrap().is_empty());
        device.check();
    }
    assert_eq!(a.state(), c.state());
}

#[test]
fn what_others_built_upon_counts_whatever_came_first() {
    for order in [[0, 1, 2], [0, 2, 1], [2, 0, 1]] {
        let Trio { mut a, mut b, mut c } = trio();
        b.title(1, &doc(1), "in time");
        let early = b.send();
        let cut = b.point();
        b.title(2, &doc(1), "late");
        let late = b.send();
        b.title(3, &doc(1), "later still");
        let latest = b.send();
        // C had it, not knowing of the removal, and wrote on.
        c.receive(&[early.clone(), late.clone()].concat());
        c.set(4, &doc(1), "source:path", "built upon it");
        let built = c.send();
        let after = without(&a.membership(), b.sign_pk(), cut);

        a.receive(&early);
        for step in order {
            match step {
                0 => drop(a.receive_under(&[late.clone(), latest.clone()].concat(), &after)),
                1 => drop(a.receive_under(&built, &after)),
                _ => drop(a.settle_under(&after)),
            }
        }
        c.receive(&latest);
        c.settle_under(&after);
        assert_eq!(a.read_title(&doc(1)).unwrap(), "late", "{order:?}");
        assert_eq!(a.state(), c.state(), "{order:?}");
        assert_eq!(a.aside().len(), 1, "{order:?}: only what nobody built upon is set aside");
        a.check();
    }
}

#[test]
fn a_chain_of_removed_devices_counts_as_far_as_one_who_stays_built_upon_it() {
    let Trio { mut a, mut b, mut c } = trio();
    let cut_b = (b.point().0, StreamPoint::START);
    let cut_c = (c.point().0, StreamPoint::START);
    b.title(1, &doc(1), "from b");
    let from_b = b.send();
    c.receive(&from_b);
    c.set(2, &doc(1), "source:path", "from c");
    let from_c = c.send();
    let membership = a.membership();
    let after = without(&without(&membership, b.sign_pk(), cut_b), c.sign_pk(), cut_c);
    a.receive_under(&[from_b.clone(), from_c.clone()].concat(), &after);
    assert_eq!(a.read_title(&doc(1)), None, "two removed devices do not vouch for each other");
    assert_eq!(a.aside().len(), 2);

    // A device that stays had both.
    let mut d = join(&mut a, &DeviceRoot::generate(&mut SeededRandom::new(63)), 64);
    d.receive(&[from_b, from_c].concat());
    d.title(3, &doc(9), "another document");
    let built = d.send();
    let membership = a.membership();
    let after = without(&without(&membership, b.sign_pk(), cut_b), c.sign_pk(), cut_c);
    a.receive_under(&built, &after);
    d.settle_under(&after);
    assert_eq!(a.read_title(&doc(1)).unwrap(), "from b");
    assert_eq!(a.aside(), []);
    assert_eq!(a.state(), d.state());
}

#[test]
fn an_unsent_edit_keeps_what_it_was_built_upon_and_tells_everybody() {
    let Trio { mut a, mut b, mut c } = trio();
    let cut = (b.point().0, StreamPoint::START);
    b.title(1, &doc(1), "late");
    b.title(1, &doc(2), "late, too");
    let late = b.send();
    a.receive(&late);
    a.set(2, &doc(1), "source:path", "mine");
    let after = without(&a.membership(), b.sign_pk(), cut);
    a.settle_under(&after);
    assert_eq!(a.read_title(&doc(1)).unwrap(), "late", "what the edit stands on stays");
    assert_eq!(a.aside(), []);
    c.receive_under(&late, &after);
    assert_eq!(c.read_title(&doc(1)), None);
    let mine = a.send();
    c.receive_under(&mine, &after);
    assert_eq!(c.aside(), []);
    assert_eq!(a.state(), c.state());
    assert_eq!(c.read_title(&doc(2)).unwrap(), "late, too");
}

#[test]
fn somebody_who_may_write_takes_in_what_was_set_aside_for_everybody() {
    let Trio { mut a, mut b, mut c } = trio();
    let (stream, _) = b.point();
    let cut = (stream, StreamPoint::START);
    b.title(1, &doc(1), "on the train");
    b.title(2, &doc(1), "home again");
    let late = b.send();
    let after = without(&a.membership(), b.sign_pk(), cut);
    for device in [&mut a, &mut c] {
        device.receive_under(&late, &after);
        assert_eq!(device.read_title(&doc(1)), None);
    }
    let (space, keyring) = (a.space, a.keyring.clone());
    let report = a.store.adopt(&space, (&stream, 1), (&after, &keyring), 79).unwrap();
    assert_eq!(report.changed, [doc(1)]);
    let again = a.store.adopt(&space, (&stream, 1), (&after, &keyring), 79).unwrap();
    assert!(again.changed.is_empty());
    let own = a.point().0;
    let own = a.store.adopt(&space, (&own, 1), (&after, &keyring), 79);
    assert!(matches!(own, Err(StoreError::NothingToAdopt)), "only what a removal cut off");
    let vouching = a.send();
    assert_eq!(vouching.len(), 1, "an envelope is sealed although nothing was edited here");
    c.receive_under(&vouching, &after);
    assert_eq!(c.read_title(&doc(1)).unwrap(), "home again");
    assert_eq!((a.aside(), c.aside()), (vec![], vec![]));
    assert_eq!(a.state(), c.state());
    assert!(a.send().is_empty(), "it is said once");
}

#[test]
fn what_a_reader_writes_is_ignored_even_if_a_relay_passes_it_on() {
    let Trio { mut a, mut b, .. } = trio();
    let mut after = a.membership();
    let reader = after.devices.get_mut(&b.sign_pk()).unwrap();
    (reader.is_writer, reader.cuts) = (false, Some(BTreeMap::new()));
    b.title(1, &doc(1), "a reader's");
    let sent = b.send();
    a.receive_under(&sent, &after);
    assert_eq!(a.read_title(&doc(1)), None);
    let aside = a.aside();
    let [(1, reason)] = aside.as_slice() else { panic!("it is set aside") };
    assert!(!reason.is_empty());
    let (space, keyring, stream) = (a.space, a.keyring.clone(), b.point().0);
    let adopted = a.store.adopt(&space, (&stream, 1), (&after, &keyring), 79);
    assert!(matches!(adopted, Err(StoreError::NothingToAdopt)), "nobody can vouch for a reader's writing");
}

#[test]
fn what_a_device_wrote_that_only_a_removed_one_had_let_in_is_undone() {
    let Trio { mut a, mut b, mut c } = trio();
    b.title(1, &doc(1), "a guest's");
    let guest = b.send();
    a.receive(&guest);
    // The record that added it turns out to be void: nobody ever enrolled it.
    let mut after = a.membership();
    after.devices.remove(&b.sign_pk());
    assert_eq!(a.settle_under(&after).changed, [doc(1)]);
    c.receive_under(&guest, &after);
    assert_eq!(a.read_title(&doc(1)), None);
    assert_eq!((a.aside().len(), c.aside().len()), (1, 1));
    assert_eq!(a.state(), c.state());
    a.check();
}

#[test]
fn an_unsent_edit_built_upon_the_branch_that_does_not_count_is_made_again_with_it_and_read_everywhere() {
    let mut tried = 0;
    for number in 0..8 {
        let Trio { mut a, mut b, mut c } = trio();
        b.title(1, &doc(1), "before");
        let before = b.send();
        let copy = copy_of(&b);
        b.title(2, &doc(2), "left only");
        let left = b.send();
        b.store = Store::open(copy.path()).unwrap();
        b.title(2, &doc(1), &format!("right {number}"));
        b.sent = 1;
        let right = b.send();
        let id = |bytes: &[u8]| lifeos_sync_protocol::envelope::Envelope::parse(bytes.to_vec()).unwrap().id(&b.space);
        let winner = id(&left[0]).min(id(&right[0]));
        if winner == id(&left[0]) {
            continue;
        }
        tried += 1;
        a.receive(&[before.clone(), left.clone()].concat());
        c.receive(&[before, right.clone()].concat());
        // Edited, and not sent, when the fork is proven.
        a.set(5, &doc(2), "source:path", "upon the left branch");
        a.set(6, &doc(2), "source:hash", "twice");
        a.receive(&right);
        let mut after = a.membership();
        after.forks.insert(b.point().0, StreamPoint { seq: 2, id: winner });
        for device in [&mut a, &mut c] {
            device.settle_under(&after);
        }
        assert_eq!(a.read_title(&doc(2)).unwrap(), "left only");
        a.check();
        let sent = a.send();
        assert_eq!(c.receive(&sent).changed, [doc(2)]);
        assert_eq!(c.read_title(&doc(2)).unwrap(), "left only");
        assert_eq!(a.state(), c.state());
        a.title(9, &doc(2), "and on");
        let sent = a.send();
        c.receive(&sent);
        assert_eq!(c.read_title(&doc(2)).unwrap(), "and on");
        assert_eq!(a.state(), c.state());
        c.check();
    }
    assert!(tried > 0, "the other branch won each time");
}

#[test]
fn edits_under_a_key_that_no_record_tells_of_are_counted_until_it_comes() {
    let Trio { mut a, mut b, .. } = trio();
    b.title(1, &doc(1), "secret");
    let sent = b.send();
    let keyring = std::mem::take(&mut a.keyring);
    a.receive(&sent);
    assert_eq!(a.store.reads().unknown_epoch_count(&a.space).unwrap(), 1);
    a.keyring = keyring;
    let membership = a.membership();
    a.settle_under(&membership);
    assert_eq!(a.store.reads().unknown_epoch_count(&a.space).unwrap(), 0);
    assert_eq!(a.read_title(&doc(1)).unwrap(), "secret");
}

/// Copies of a home, as after `cp -r` or a restored backup.
fn copy_of(device: &Device) -> tempfile::TempDir {
    device.store.checkpoint().unwrap();
    let copy = tempfile::tempdir().unwrap();
    for file in [DATABASE_FILE, DEVICE_KEY_FILE] {
        std::fs::copy(device.home.path().join(file), copy.path().join(file)).unwrap();
    }
    copy
}

#[test]
fn a_proven_fork_ends_the_same_on_every_device_whichever_branch_it_had() {
    let Trio { mut a, mut b, mut c } = trio();
    b.title(1, &doc(1), "before");
    let before = b.send();
    let copy = copy_of(&b);
    b.title(2, &doc(1), "left");
    b.title(2, &doc(2), "left only");
    let left = b.send();
    b.store = Store::open(copy.path()).unwrap();
    b.title(2, &doc(1), "right");
    b.sent = 1;
    let right = b.send();
    let id = |bytes: &[u8]| lifeos_sync_protocol::envelope::Envelope::parse(bytes.to_vec()).unwrap().id(&b.space);
    let winner = id(&left[0]).min(id(&right[0]));
    a.receive(&[before.clone(), left.clone()].concat());
    c.receive(&[before, right.clone()].concat());
    assert_ne!(a.state(), c.state());
    a.receive(&right);
    c.receive(&left);
    let evidence = a.store.fork_evidence(&a.space, &a.membership()).unwrap();
    let [proof] = &evidence[..] else { panic!("{evidence:?}") };
    assert_eq!(proof.fork(&a.space).map(|fork| (fork.seq, fork.id)), Some((2, winner)));
    let shown = proof.fork_envelopes(&a.space).map(|(_, held, other)| [held, other].map(|one| one.bytes().to_vec()));
    assert_eq!(shown, Some([left[0].clone(), right[0].clone()]));

    let mut after = a.membership();
    after.forks.insert(b.point().0, StreamPoint { seq: 2, id: winner });
    for device in [&mut a, &mut c] {
        device.settle_under(&after);
        device.settle_under(&after);
        assert!(device.store.fork_evidence(&device.space, &after).unwrap().is_empty(), "it is proven");
        device.check();
    }
    assert_eq!(a.state(), c.state());
    let wins = if winner == id(&left[0]) { "left" } else { "right" };
    assert_eq!(a.read_title(&doc(1)).unwrap(), wins);
    assert_eq!(a.read_title(&doc(2)).is_some(), wins == "left");
}

#[test]
fn a_home_that_left_the_branch_which_turns_out_to_count_takes_it_in_again() {
    let mut tried = 0;
    for number in 0..8 {
        let Trio { mut a, mut b, .. } = trio();
        a.title(1, &doc(1), "before");
        let before = a.send();
        let copy = copy_of(&a);
        a.title(2, &doc(1), "left");
        let left = a.send();
        a.store = Store::open(copy.path()).unwrap();
        a.title(2, &doc(2), &format!("right {number}"));
        a.sent = 1;
        let right = a.send();
        let id = |bytes: &[u8]| lifeos_sync_protocol::envelope::Envelope::parse(bytes.to_vec()).unwrap().id(&b.space);
        let (old, winner) = (a.point().0, id(&left[0]).min(id(&right[0])));
        if winner == id(&left[0]) {
            continue;
        }
        tried += 1;
        b.receive(&[before, right].concat());
        // It hears of the other branch, and leaves the stream before anybody has proven anything.
        a.receive(&left);
        let (space, membership, keyring) = (a.space, a.membership(), a.keyring.clone());
        let agreed = a.store.own_stream_shared(&space, &membership).unwrap().unwrap();
        assert_eq!(agreed, 1);
        a.store.begin_new_stream(&space, agreed, (&membership, &keyring), 5, &mut a.random).unwrap();
        a.sent = 0;
        let again = a.send();
        b.receive(&again);
        b.receive(&left);
        let evidence = b.store.fork_evidence(&space, &membership).unwrap();
        let [proof] = &evidence[..] else { panic!("{evidence:?}") };
        let records = b.store.records(&space).unwrap();
        let opened = crate::records::unlock_epochs(&membership, &records, OwnKeys::first(&b.keys));
        let mut draft = crate::records::Draft::begin(&membership, &records, &opened, &b.keys);
        draft.add(proof).unwrap();
        let made = draft.finish();
        for device in [&mut a, &mut b] {
            device.store.receive_records(&space, &made).unwrap();
            let after = device.membership();
            assert_eq!(after.forks.get(&old).map(|point| point.id), Some(winner));
            device.settle_under(&after);
            device.settle_under(&after);
            device.check();
        }
        assert_eq!(a.store.have(&space).unwrap(), b.store.have(&space).unwrap());
        assert_eq!(a.state(), b.state());
    }
    assert!(tried > 0, "the other branch won each time");
}

#[test]
fn a_stream_that_is_nearly_full_is_left_for_a_new_one_once_nothing_waits() {
    let Trio { mut a, mut b, .. } = trio();
    a.title(1, &doc(1), "before");
    let first = a.send();
    b.receive(&first);
    let (space, membership, keyring) = (a.space, a.membership(), a.keyring.clone());
    assert_eq!(a.store.own_stream_full(&space).unwrap(), None, "there is room");
    let tip = u32::MAX - 9;
    let ends_at = |a: &Device, seq: u32| {
        a.store.conn.execute("UPDATE stream SET seq = ?1 WHERE id = (SELECT own_stream FROM space)", [seq]).unwrap()
    };
    ends_at(&a, tip);
    assert_eq!(a.store.own_stream_full(&space).unwrap(), None, "the relay lacks the end of it");
    a.store.conn.execute("UPDATE relay SET own_acked_seq = ?1", [tip]).unwrap();
    a.title(2, &doc(1), "waits");
    assert_eq!(a.store.own_stream_full(&space).unwrap(), None, "an edit names it");
    ends_at(&a, 1);
    let second = a.send();
    b.receive(&second);
    ends_at(&a, tip);
    assert_eq!(a.store.own_stream_full(&space).unwrap(), Some(tip));
    let old = a.point().0;
    a.store.begin_new_stream(&space, tip, (&membership, &keyring), 5, &mut a.random).unwrap();
    assert_eq!(a.store.own_stream_full(&space).unwrap(), None);
    a.sent = 0;
    a.title(3, &doc(1), "after");
    let third = a.send();
    assert_ne!(a.point().0, old);
    assert_eq!(b.receive(&third).changed, [doc(1)]);
    assert_eq!(b.read_title(&doc(1)).unwrap(), "after");
    assert_eq!(a.state(), b.state());
}

#[test]
fn a_program_that_is_open_while_another_leaves_the_stream_of_their_home_writes_under_the_new_one() {
    let Trio { mut a, mut b, .. } = trio();
    a.title(1, &doc(1), "before");
    a.title(1, &doc(2), "loaded, too");
    let first = a.send();
    b.receive(&first);
    let (space, membership, keyring) = (a.space, a.membership(), a.keyring.clone());
    let (mut other, tip) = (Store::open(a.home.path()).unwrap(), a.store.own_tip(&space).unwrap().seq);
    other.begin_new_stream(&space, tip, (&membership, &keyring), 5, &mut a.random).unwrap();
    // Both are loaded here, with the stream that was left as who writes.
    a.title(6, &doc(1), "after");
    a.title(7, &doc(2), "after");
    a.sent = 0;
    let second = a.send();
    assert_eq!(b.receive(&second).changed, [doc(1), doc(2)]);
    assert_eq!((b.aside(), b.read_title(&doc(1)).unwrap()), (vec![], "after".to_owned()));
    assert_eq!(a.state(), b.state());
    a.check();
}

#[test]
fn what_a_home_wrote_before_it_was_put_back_and_cannot_open_yet_waits_while_it_leaves_its_stream() {
    let Trio { mut a, mut b, .. } = trio();
    a.title(1, &doc(1), "both have this");
    let first = a.send();
    let copy = copy_of(&a);
    a.title(2, &doc(1), "newer");
    let second = a.send();
    b.receive(&[first, second.clone()].concat());

    // Put back from before the key that the newer edit was sealed under.
    a.store = Store::open(copy.path()).unwrap();
    a.title(4, &doc(2), "after it was put back");
    let keyring = std::mem::take(&mut a.keyring);
    assert!(a.receive(&second).own_stream_ahead);
    assert_eq!(a.aside().len(), 1);
    let (space, membership) = (a.space, a.membership());
    let agreed = a.store.own_stream_shared(&space, &membership).unwrap().unwrap();
    assert_eq!(agreed, 2, "both copies have all of it");
    a.store.begin_new_stream(&space, agreed, (&membership, &a.keyring.clone()), 5, &mut a.random).unwrap();
    assert_eq!(a.aside().len(), 1, "it is made again nowhere");
    // Another device has given it the key.
    a.keyring = keyring;
    assert_eq!(a.retry().changed, [doc(1)]);
    assert_eq!(a.read_title(&doc(1)).unwrap(), "newer");
    assert_eq!(a.aside(), []);
    a.sent = 0;
    let third = a.send();
    b.receive(&third);
    assert_eq!(b.read_title(&doc(2)).unwrap(), "after it was put back");
    assert_eq!(a.state(), b.state());
    a.check();
}

#[test]
fn what_a_relay_lacks_of_a_stream_that_was_left_is_still_to_be_sent_to_it() {
    let mut a = trio().a;
    let (space, membership, keyring) = (a.space, a.membership(), a.keyring.clone());
    (1..=3).for_each(|at| {
        a.title(at, &doc(1), &format!("edit {at}"));
        a.seal();
    });
    let second = a.store.put_relay(&space, "wss://second.example", None).unwrap();
    a.store.acked(a.relay, 3).unwrap();
    a.store.acked(second, 1).unwrap();
    let unsent = |a: &Device| {
        let relays = a.store.relays(&space).unwrap();
        let each: Vec<u64> = relays
            .iter()
            .map(|relay| a.store.reads().unsent_count(&space, std::slice::from_ref(relay)).unwrap())
            .collect();
        (each, a.store.reads().unsent_count(&space, &relays).unwrap())
    };
    assert_eq!(unsent(&a), (vec![0, 2], 0));
    let left = a.point().0;
    a.store.begin_new_stream(&space, 3, (&membership, &keyring), 5, &mut a.random).unwrap();
    assert_eq!(unsent(&a), (vec![0, 2], 0), "it was left, and lacks there all the same");
    let reach = |a: &Device, relay: usize| {
        let relays = a.store.relays(&space).unwrap();
        a.store.reads().own_held_by(&space, &relays[relay], &left).unwrap()
    };
    assert_eq!((reach(&a, 0), reach(&a, 1)), (3, 1));
    a.title(9, &doc(1), "under the new one");
    a.seal();
    assert_eq!(unsent(&a), (vec![1, 3], 1));
    // The second relay is given one more, and then says that it has all, and more than there is.
    a.store.held_there(&space, second, &[(left, 2), (StreamId([7; 16]), 99)]).unwrap();
    assert_eq!(unsent(&a), (vec![1, 2], 1));
    a.store.held_there(&space, second, &[(left, 1)]).unwrap();
    assert_eq!(unsent(&a), (vec![1, 2], 1), "what was stored stays");
    a.store.held_there(&space, second, &[(left, 99)]).unwrap();
    assert_eq!((unsent(&a), reach(&a, 1)), ((vec![1, 1], 1), 3));
    // A relay that lost everything, and one that is new, have nothing of it.
    a.store.reset_relay(second).unwrap();
    a.store.put_relay(&space, "wss://third.example", None).unwrap();
    assert_eq!(unsent(&a), (vec![1, 4, 4], 1));
}

#[test]
fn a_copied_home_goes_on_under_a_new_stream_without_losing_an_edit() {
    let Trio { mut a, mut b, .. } = trio();
    a.title(1, &doc(1), "both have this");
    let first = a.send();
    let (copy, early_copy) = (copy_of(&a), copy_of(&a));
    a.title(2, &doc(1), "newer");
    a.title(2, &doc(2), "only in the first copy");
    let second = a.send();
    b.receive(&[first, second.clone()].concat());

    // The copy was edited before it heard of what the first one sent since.
    let old = a.point().0;
    a.store = Store::open(copy.path()).unwrap();
    a.set(4, &doc(1), "source:path", "from the copy");
    a.title(4, &doc(3), "only in the copy");
    assert!(a.receive(&second).own_stream_ahead);
    let (space, membership, keyring) = (a.space, a.membership(), a.keyring.clone());
    let agreed = a.store.own_stream_shared(&space, &membership).unwrap().unwrap();
    a.store.begin_new_stream(&space, agreed, (&membership, &keyring), 5, &mut a.random).unwrap();
    assert_eq!(a.store.own_stream_shared(&space, &membership).unwrap(), None);
    let (stream, point) = a.point();
    assert_ne!((stream, point.seq), (old, 1));
    a.sent = 0;
    let third = a.send();
    assert!(!b.receive(&third).changed.is_empty());
    assert_eq!(b.aside(), [], "no actor and number twice");
    assert_eq!(a.state(), b.state());
    assert_eq!(a.read_title(&doc(1)).unwrap(), "newer");
    assert_eq!(a.read_title(&doc(2)).unwrap(), "only in the first copy");
    assert_eq!(b.read_title(&doc(3)).unwrap(), "only in the copy");
    assert_eq!(a.aside(), []);
    a.title(6, &doc(1), "and on");
    let fourth = a.send();
    assert_eq!(b.receive(&fourth).changed, [doc(1)]);
    assert_eq!(a.state(), b.state());
    a.check();

    // A third copy had sealed already when it heard: its envelopes come back as a fork of its own stream.
    a.store = Store::open(early_copy.path()).unwrap();
    a.title(7, &doc(4), "sealed in the third copy");
    a.sent = 1;
    a.send();
    a.title(8, &doc(4), "and not sealed");
    a.receive(&second);
    let agreed = a.store.own_stream_shared(&space, &membership).unwrap();
    assert_eq!(agreed, Some(1));
    a.store.begin_new_stream(&space, 1, (&membership, &keyring), 9, &mut a.random).unwrap();
    a.receive(&[third, fourth].concat());
    a.sent = 0;
    let fifth = a.send();
    b.receive(&fifth);
    assert_eq!(b.read_title(&doc(4)).unwrap(), "and not sealed");
    assert_eq!((a.aside(), b.aside()), (vec![], vec![]));
    assert_eq!(a.state(), b.state());
    a.check();
}
