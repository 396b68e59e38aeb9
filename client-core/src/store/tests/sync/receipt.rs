//! Receipts between homes: what they say is on the disk, what they confirm, what they show of a relay, and which are
//! passed over.

use lifeos_sync_protocol::ids::{RecordId, SignPk, StreamId};
use lifeos_sync_protocol::membership::Membership;

use super::witness::{kinds, pinned_pair, says, third};
use super::*;
use crate::envelope::RefusedEnvelope;
use crate::keys::receipt_key;
use crate::receipt::{self, Receipt, RefusedReceipt};
use crate::store::{Confirmation, HeardReceipt, OwnReceipt, WarningKind};
use crate::witness::encode_app;

impl Device {
    fn make_receipt(&mut self, now_ms: i64) -> Option<OwnReceipt> {
        let membership = self.store.membership(&self.space).unwrap();
        let key = receipt_key(&self.keys.sign_pk(), OwnKeys::first(&self.keys), &membership, &self.keyring).unwrap();
        self.store.seal_receipt(&self.space, self.relay, (&self.keys, &key), now_ms, &mut self.random).unwrap()
    }

    /// Makes one, which the relay keeps.
    fn give_receipt(&mut self, now_ms: i64) -> Vec<u8> {
        let made = self.make_receipt(now_ms).expect("there is something to say");
        self.store.receipt_taken(self.relay, &made.said).unwrap();
        made.envelope.bytes
    }

    /// Says what no honest device would.
    fn forge_receipt(&mut self, count: u32, said: impl FnOnce(&mut Receipt)) -> Vec<u8> {
        let membership = self.store.membership(&self.space).unwrap();
        let key = receipt_key(&self.keys.sign_pk(), OwnKeys::first(&self.keys), &membership, &self.keyring).unwrap();
        let tip = self.store.own_tip(&self.space).unwrap();
        assert_eq!(tip.seq, 0, "the tip is what the stream id commits to");
        let mut body = Receipt { r32: tip.id, ..Receipt::default() };
        said(&mut body);
        let place = (tip.stream, count);
        receipt::seal(&self.space, place, &self.keys, &key, &body, &mut self.random).unwrap().bytes
    }

    fn hear(&mut self, receipt: &[u8], now_ms: i64) -> HeardReceipt {
        let membership = self.store.membership(&self.space).unwrap();
        self.hear_under(receipt, &membership, now_ms)
    }

    fn hear_under(&mut self, receipt: &[u8], membership: &Membership, now_ms: i64) -> HeardReceipt {
        self.store.hear_receipt(&self.space, receipt.to_vec(), (membership, &self.keyring), now_ms).unwrap()
    }

    fn confirmed_by(&self, device: &SignPk) -> Option<Confirmation> {
        let all = self.store.reads().confirmations(&self.space).unwrap();
        all.into_iter().find(|said| said.device == *device)
    }
}

fn refused(heard: HeardReceipt) -> RefusedReceipt {
    match heard {
        HeardReceipt::Refused(refused) => refused,
        other => panic!("it was taken: {other:?}"),
    }
}

#[test]
fn a_device_that_writes_nothing_confirms_what_it_has_and_lacks() {
    let Pair { mut a, mut b, .. } = pair();
    let (a_pk, b_pk) = (a.keys.sign_pk(), b.keys.sign_pk());
    assert_eq!(a.confirmed_by(&b_pk), None, "nothing is known before it says something");
    a.title(1, &doc(1), "one");
    b.receive(&a.send());
    let receipt = b.give_receipt(500);
    assert_eq!(a.hear(&receipt, 600), HeardReceipt::Taken(b_pk));
    let said = a.confirmed_by(&b_pk).unwrap();
    assert_eq!((said.said_ms, said.heard_ms, said.complete_ms), (Some(500), 600, Some(600)));
    assert_eq!((said.unconfirmed_own, said.unconfirmed, said.set_aside), (0, 0, 0));
    // More is written: what was confirmed stays so, with its time.
    a.title(2, &doc(1), "two");
    let second = a.send();
    let said = a.confirmed_by(&b_pk).unwrap();
    assert_eq!((said.unconfirmed_own, said.unconfirmed, said.complete_ms), (1, 1, Some(600)));
    b.receive(&second);
    let receipt = b.give_receipt(700);
    a.hear(&receipt, 800);
    let said = a.confirmed_by(&b_pk).unwrap();
    assert_eq!((said.unconfirmed_own, said.said_ms, said.complete_ms), (0, Some(700), Some(800)));
    assert_eq!(b.confirmed_by(&a_pk).map(|said| said.unconfirmed), Some(0), "a's envelopes say the same of a");
}

#[test]
fn an_edit_that_is_not_sent_yet_is_not_confirmed_by_anybody() {
    let Pair { mut a, mut b, .. } = pair();
    let b_pk = b.keys.sign_pk();
    a.title(1, &doc(1), "sent");
    b.receive(&a.send());
    a.title(2, &doc(1), "not sent");
    let receipt = b.give_receipt(500);
    a.hear(&receipt, 600);
    let said = a.confirmed_by(&b_pk).unwrap();
    assert_eq!((said.unconfirmed, said.complete_ms), (0, None));
}

#[test]
fn a_receipt_says_only_what_is_on_the_disk() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "one");
    let first = a.send();
    a.title(2, &doc(1), "two");
    let second = a.send();
    b.receive(&first);
    // A page whose last signature was spoilt on the way: all of it is rolled back.
    let mut spoilt = second.clone();
    *spoilt.last_mut().unwrap().last_mut().unwrap() ^= 4;
    let (page, membership) = (b.page(&spoilt, 2), b.store.membership(&b.space).unwrap());
    b.store.receive(&b.space.clone(), page, &membership, &b.keyring, Unknown::Quarantine, 77).unwrap_err();
    let receipt = b.give_receipt(500);
    // What another process reads from the file is what the receipt says.
    let on_disk = crate::store::Reader::open(b.home.path()).unwrap().reads().streams(&b.space).unwrap();
    let opened = receipt::open(&a.space, &a.store.membership(&a.space).unwrap(), &a.keyring, receipt.clone()).unwrap();
    let held: Vec<_> =
        on_disk.iter().filter(|row| row.device != b.keys.sign_pk()).map(|row| (row.stream, row.seq)).collect();
    assert_eq!(opened.receipt.held, held);
    a.hear(&receipt, 600);
    assert_eq!(a.confirmed_by(&b.keys.sign_pk()).unwrap().unconfirmed_own, 1, "the second is not confirmed");
}

#[test]
fn a_receipt_that_may_not_have_arrived_is_made_again_under_a_higher_count_and_one_that_has_is_not() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "one");
    b.receive(&a.send());
    let first = b.make_receipt(500).unwrap();
    // The program ends before the relay answers.
    b.store = Store::open(b.home.path()).unwrap();
    let second = b.make_receipt(501).unwrap();
    assert_eq!((first.envelope.seq, second.envelope.seq), (1, 2));
    b.store.receipt_taken(b.relay, &second.said).unwrap();
    b.store = Store::open(b.home.path()).unwrap();
    assert_eq!(b.make_receipt(502), None);
    // A relay that lost everything gets it again.
    b.store.reset_relay(b.relay).unwrap();
    assert_eq!(b.make_receipt(503).unwrap().envelope.seq, 3);
}

#[test]
fn receipts_are_never_a_reason_for_receipts() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "one");
    b.receive(&a.send());
    let mut made = 0;
    for round in 0..10 {
        for from_a in [true, false] {
            let (from, to) = if from_a { (&mut a, &mut b) } else { (&mut b, &mut a) };
            if let Some(receipt) = from.make_receipt(round) {
                from.store.receipt_taken(from.relay, &receipt.said).unwrap();
                to.hear(&receipt.envelope.bytes, round);
                made += 1;
            }
        }
    }
    assert_eq!(made, 2, "each says once what it has");
}

#[test]
fn what_the_own_envelopes_said_needs_no_receipt() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "one");
    b.receive(&a.send());
    b.give_receipt(1);
    a.title(2, &doc(1), "two");
    b.receive(&a.send());
    b.title(3, &doc(2), "answer");
    let answer = b.send();
    assert_eq!(b.make_receipt(4), None);
    a.receive(&answer);
    let said = a.confirmed_by(&b.keys.sign_pk()).unwrap();
    assert_eq!((said.unconfirmed, said.complete_ms), (0, Some(77)));
}

#[test]
fn forged_replayed_foreign_and_removed_receipts_are_passed_over() {
    let Pair { mut a, mut b, .. } = pair();
    let b_pk = b.keys.sign_pk();
    a.title(1, &doc(1), "one");
    let older = b.give_receipt(400);
    b.receive(&a.send());
    let newer = b.give_receipt(500);
    assert_eq!(a.hear(&newer, 600), HeardReceipt::Taken(b_pk));
    // Replayed, and an older one after it: nothing of it counts.
    assert_eq!(refused(a.hear(&newer, 700)), RefusedReceipt::Older);
    assert_eq!(refused(a.hear(&older, 700)), RefusedReceipt::Older);
    assert_eq!(a.confirmed_by(&b_pk).map(|said| (said.heard_ms, said.unconfirmed)), Some((600, 0)));

    let mut third = third(&mut a);
    a.store.put_records(&a.space.clone(), &third.store.records(&third.space).unwrap()).unwrap();
    let genuine = third.forge_receipt(1, |_| ());
    // A byte of the signature, of the header, of the ciphertext.
    for at in [genuine.len() - 1, 20, 120] {
        let mut changed = genuine.clone();
        changed[at] ^= 1;
        assert!(matches!(refused(a.hear(&changed, 700)), RefusedReceipt::Envelope(_)), "byte {at}");
    }
    // In another device's name: its stream, signed by this one.
    let others = a.store.own_tip(&a.space).unwrap();
    let key = receipt_key(
        &third.keys.sign_pk(),
        OwnKeys::first(&third.keys),
        &third.store.membership(&third.space).unwrap(),
        &third.keyring,
    )
    .unwrap();
    let tip = b.store.own_tip(&b.space).unwrap();
    let body = Receipt { r32: tip.id, ..Receipt::default() };
    let stolen = receipt::seal(&a.space, (tip.stream, 9), &third.keys, &key, &body, &mut third.random).unwrap().bytes;
    assert_eq!(refused(a.hear(&stolen, 700)), RefusedReceipt::Envelope(RefusedEnvelope::Signature));
    let nobodys = receipt::seal(&a.space, (others.stream, 9), &third.keys, &key, &body, &mut third.random).unwrap();
    assert_eq!(refused(a.hear(&nobodys.bytes, 700)), RefusedReceipt::Envelope(RefusedEnvelope::UnknownAuthor));
    // Of another space, whose key is the same.
    let elsewhere = SpaceId([0x55; 32]);
    let body = Receipt { r32: third.store.own_tip(&third.space).unwrap().id, ..Receipt::default() };
    let stream = third.store.own_tip(&third.space).unwrap().stream;
    let foreign = receipt::seal(&elsewhere, (stream, 1), &third.keys, &key, &body, &mut third.random).unwrap();
    assert_eq!(refused(a.hear(&foreign.bytes, 700)), RefusedReceipt::Envelope(RefusedEnvelope::DoesNotOpen));
    // Of a device that was removed since.
    let mut without = a.store.membership(&a.space).unwrap();
    let head = without.heads.first().copied();
    without.devices.get_mut(&third.keys.sign_pk()).unwrap().removed_by = head;
    let gone = a.hear_under(&genuine, &without, 700);
    assert_eq!(refused(gone), RefusedReceipt::Envelope(RefusedEnvelope::NotWriter));
    // An edit is none, and neither is garbage.
    a.title(9, &doc(1), "edit");
    let edit = a.send();
    assert_eq!(refused(b.hear(&edit[0], 700)), RefusedReceipt::Layout);
    assert_eq!(refused(a.hear(&[0x41; 300], 700)), RefusedReceipt::Layout);
    // The accepted twin of them all.
    assert_eq!(a.hear(&genuine, 700), HeardReceipt::Taken(third.keys.sign_pk()));
}

#[test]
fn a_home_put_back_from_a_copy_counts_on_from_its_receipt_at_the_relay() {
    let Pair { mut a, mut b, .. } = pair();
    for round in 1..=3 {
        a.title(round, &doc(1), &format!("edit {round}"));
        b.receive(&a.send());
        b.make_receipt(round).unwrap();
    }
    let kept = b.give_receipt(9);
    b.store.conn.execute("DELETE FROM meta WHERE key LIKE 'receipt_count/%'", []).unwrap();
    b.store.reset_relay(b.relay).unwrap();
    assert_eq!(b.hear(&kept, 10), HeardReceipt::Own);
    assert_eq!(b.make_receipt(11).unwrap().envelope.seq, 5);
    assert_eq!(b.hear(&kept, 12), HeardReceipt::Own, "an older one of its own changes nothing");
    assert_eq!(b.make_receipt(13).unwrap().envelope.seq, 6);
}

#[test]
fn what_a_relay_keeps_back_is_shown_by_the_receipt_of_a_device_that_only_reads() {
    let Pair { mut a, mut b, .. } = pair();
    let mut reader = third(&mut a);
    let records = reader.store.records(&reader.space).unwrap();
    b.store.put_records(&b.space.clone(), &records).unwrap();
    a.title(1, &doc(1), "kept back");
    let withheld = a.send();
    reader.receive(&withheld);
    let receipt = reader.give_receipt(500);
    b.hear(&receipt, 600);
    let missing = |b: &Device| b.store.reads().promises(&b.space).unwrap();
    let told: Vec<_> = missing(&b).iter().map(|one| (one.told_by, one.seq, one.held, one.since_ms)).collect();
    assert_eq!(told, [(reader.keys.sign_pk(), 1, 0, 600)]);
    // Said again and further, it is missing since the first time.
    a.title(2, &doc(1), "kept back, too");
    let second = a.send();
    reader.receive(&second);
    let receipt = reader.give_receipt(700);
    b.hear(&receipt, 800);
    assert_eq!(missing(&b).iter().map(|one| (one.seq, one.since_ms)).collect::<Vec<_>>(), [(2, 600)]);
    b.receive(&[withheld, second].concat());
    assert_eq!(missing(&b), []);
}

#[test]
fn a_record_that_a_relay_keeps_back_is_shown_by_a_receipt() {
    let Pair { mut a, mut b, .. } = pair();
    let tablet = third(&mut a);
    let records = tablet.store.records(&a.space).unwrap();
    a.store.receive_records(&a.space.clone(), &records).unwrap();
    let receipt = a.give_receipt(500);
    b.hear(&receipt, 600);
    let missed = b.store.reads().promised_records(&b.space).unwrap();
    assert_eq!(missed.iter().map(|one| (one.told_by, one.since_ms)).collect::<Vec<_>>(), [(a.keys.sign_pk(), 600)]);
}

#[test]
fn a_relay_that_shows_two_logs_is_proven_by_receipts_alone() {
    for (roll, expected) in [(1, vec![]), (2, vec![WarningKind::EquivocationProven])] {
        let Pair { mut a, mut b, .. } = pinned_pair();
        let space = a.space;
        a.store.put_statement(&space, a.relay, &says(space, 7, roll), 1).unwrap();
        b.store.put_statement(&space, b.relay, &says(space, 7, 1), 1).unwrap();
        let receipt = a.give_receipt(500);
        assert_eq!(b.hear(&receipt, 600), HeardReceipt::Taken(a.keys.sign_pk()));
        assert_eq!(kinds(&b), expected);
    }
}

#[test]
fn a_place_that_is_reached_only_later_is_held_to_what_the_relay_signed_for_another_device() {
    for (seen, expected) in [(1, vec![]), (2, vec![WarningKind::Equivocation])] {
        let Pair { mut a, mut b, .. } = pinned_pair();
        let space = a.space;
        a.store.put_statement(&space, a.relay, &says(space, 7, 1), 1).unwrap();
        let receipt = a.give_receipt(500);
        b.hear(&receipt, 600);
        assert_eq!(kinds(&b), vec![], "b has not got that far");
        let mut page = b.page(&[], 8);
        for pos in 5..=8 {
            page.rolls.push(pos, Roll([seen; 16]));
        }
        let membership = b.store.membership(&b.space).unwrap();
        b.store.receive(&space, page, &membership, &b.keyring, Unknown::Quarantine, 700).unwrap();
        assert_eq!(kinds(&b), expected);
    }
}

#[test]
fn a_device_that_speaks_of_streams_without_end_is_remembered_for_some() {
    let Pair { mut a, mut b, .. } = pair();
    let b_pk = b.keys.sign_pk();
    for round in 0..4_u8 {
        let stream = |n: u16| {
            let mut id = [round; 16];
            id[1..3].copy_from_slice(&n.to_be_bytes());
            (StreamId(id), u32::MAX)
        };
        let records: Vec<_> = (0..4).map(|n| RecordId([0x80 + round * 4 + n; 32])).collect();
        let receipt = b.forge_receipt(1 + u32::from(round), |said| {
            said.held = (0..600).map(stream).collect();
            said.app = encode_app(&[], &records);
        });
        assert_eq!(a.hear(&receipt, 1), HeardReceipt::Taken(b_pk));
    }
    assert_eq!(a.store.reads().promises(&a.space).unwrap().len(), 1_024);
    assert_eq!(a.store.reads().promised_records(&a.space).unwrap().len(), 8);
}
