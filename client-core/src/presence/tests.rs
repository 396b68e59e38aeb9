//! Messages as bytes, and who is believed to be here when a relay drops, keeps, repeats and forges them.

use proptest::prelude::*;

use lifeos_sync_protocol::ids::MemberId;
use lifeos_sync_protocol::record::{DeviceKind, Record, RemoveReason};

use super::*;
use crate::crypto::SeededRandom;
use crate::envelope::StreamTip;
use crate::keys::{DeviceRoot, OwnKeys, RecoveryPhrase, receipt_key};
use crate::records::{AddDevice, Draft, Founding, add_device, found_space, open_epochs, unlock_epochs};

const WORDS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
const HERE: Shown = Shown { activity: Activity::Here, at: None };
const IDLE: Shown = Shown { activity: Activity::Idle, at: None };

fn at(counter: u32) -> Shown {
    let point = Point::Before { actor: StreamId([7; 16]), counter };
    Shown { activity: Activity::Here, at: Some(At { doc: DocId([3; 16]), selection: Some((point, Point::End)) }) }
}

fn message(sessions: u8, shown: Option<Shown>) -> Presence {
    let heard = (0..sessions).map(|n| ([n; 16], u32::MAX - u32::from(n))).collect();
    Presence { r32: [1; 32], session: [2; 16], heard, shown }
}

#[test]
fn a_presence_comes_back_and_every_cut_or_addition_is_refused() {
    let nowhere = Shown { at: Some(At { doc: DocId([3; 16]), selection: None }), ..IDLE };
    for shown in [None, Some(HERE), Some(IDLE), Some(nowhere), Some(at(0)), Some(at(u32::MAX))] {
        let said = message(3, shown);
        let bytes = said.encode();
        assert_eq!(Presence::decode(&bytes), Ok(said));
        for length in 0..bytes.len() {
            assert_eq!(Presence::decode(&bytes[..length]), Err(RefusedPresence::Malformed), "cut at {length}");
        }
        assert_eq!(Presence::decode(&[bytes, vec![0]].concat()), Err(RefusedPresence::Malformed));
    }
}

#[test]
fn sessions_out_of_order_or_too_many_and_places_that_cannot_be_are_refused() {
    let most = u8::try_from(HEARD_MAX).unwrap();
    assert!(Presence::decode(&message(most, Some(HERE)).encode()).is_ok());
    assert!(Presence::decode(&message(most + 1, Some(HERE)).encode()).is_err());
    let fields = |heard: &[u8], state: u64, rest: &dyn Fn(&mut Writer), count: usize| {
        let mut writer = Writer::default();
        writer.map(4 + count).uint(1).bytes(&[1; 32]).uint(2).bytes(&[2; 16]).uint(3).array(heard.len());
        for session in heard {
            writer.array(2).bytes(&[*session; 16]).uint(1);
        }
        writer.uint(4).uint(state);
        rest(&mut writer);
        Presence::decode(&writer.finish())
    };
    let none = |_: &mut Writer| {};
    assert!(fields(&[1, 2], 0, &none, 0).is_ok());
    assert!(fields(&[1, 1], 0, &none, 0).is_err() && fields(&[2, 1], 0, &none, 0).is_err());
    assert!(fields(&[], 3, &none, 0).is_err(), "a state that nobody knows");
    let doc = |writer: &mut Writer| {
        writer.uint(5).bytes(&[3; 16]);
    };
    assert!(fields(&[], 0, &doc, 1).is_ok() && fields(&[], 2, &doc, 1).is_err(), "gone, and somewhere");
    let selection = |writer: &mut Writer| {
        writer.uint(6).array(2).array(0).array(0);
    };
    assert!(fields(&[], 0, &selection, 1).is_err(), "a selection in no document");
    let far = |writer: &mut Writer| {
        writer.uint(5).bytes(&[3; 16]).uint(6).array(2).array(0).array(2).bytes(&[7; 16]).uint(1 << 32);
    };
    assert!(fields(&[], 0, &far, 2).is_err(), "an operation beyond what documents count");
    let later = |writer: &mut Writer| {
        writer.uint(9).text("later");
    };
    assert!(fields(&[], 0, &later, 1).is_ok(), "what a later version adds is passed over");
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader_of_presence(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Presence::decode(&bytes);
    }
}

/// A device in the time of the model.
struct Device {
    key: SignPk,
    here: Presences,
}

fn device(n: u8) -> Device {
    restarted(n, n)
}

/// The same device after a restart: another session.
fn restarted(n: u8, session: u8) -> Device {
    let mut here = Presences::new([session; 16]);
    here.show(Some(HERE));
    Device { key: SignPk([n; 32]), here }
}

impl Device {
    fn wrap(&self, out: Outgoing) -> OpenedPresence {
        OpenedPresence { device: self.key, count: out.count, presence: out.into_presence([0; 32]) }
    }

    fn say(&mut self, now_ms: u64) -> Option<OpenedPresence> {
        let out = self.here.poll(now_ms)?;
        Some(self.wrap(out))
    }

    fn hear(&mut self, message: &OpenedPresence, now_ms: u64) -> bool {
        self.here.hear(message, now_ms)
    }

    fn seen(&self, now_ms: u64) -> Vec<(SignPk, Shown)> {
        self.here.here(now_ms).map(|(device, shown, _)| (device, shown)).collect()
    }
}

/// Lets two devices talk through an honest relay; everything that was said, in order.
fn talk(one: &mut Device, two: &mut Device, from_ms: u64, to_ms: u64) -> Vec<(u64, OpenedPresence)> {
    let mut said = Vec::new();
    for now_ms in (from_ms..=to_ms).step_by(50) {
        if let Some(message) = one.say(now_ms) {
            two.hear(&message, now_ms);
            said.push((now_ms, message));
        }
        if let Some(message) = two.say(now_ms) {
            one.hear(&message, now_ms);
            said.push((now_ms, message));
        }
        for device in [&mut *one, &mut *two] {
            device.here.expire(now_ms, |_| true);
        }
    }
    said
}

#[test]
fn two_devices_see_each_other_after_a_word_each_and_no_longer_than_they_speak() {
    let (mut one, mut two) = (device(1), device(2));
    let said = talk(&mut one, &mut two, 0, 3_000);
    assert_eq!((one.seen(3_000), two.seen(3_000)), (vec![(two.key, HERE)], vec![(one.key, HERE)]));
    assert!(said.len() <= 4, "{said:?}");
    let said = talk(&mut one, &mut two, 3_050, 60_000);
    assert!(said.len() <= 12, "one word each in ten seconds: {}", said.len());
    assert_eq!(two.seen(60_000).len(), 1);
    // One falls silent.
    for now_ms in (60_050..=60_000 + SHOWN_MS + 100).step_by(50) {
        two.say(now_ms);
        two.here.expire(now_ms, |_| true);
    }
    assert_eq!(two.seen(60_000 + SHOWN_MS + 100), []);
}

#[test]
fn what_changes_goes_at_once_and_at_most_four_times_a_second_the_latest_only() {
    let (mut one, mut two) = (device(1), device(2));
    talk(&mut one, &mut two, 0, 10_000);
    let mut said = Vec::new();
    for now_ms in 10_001..=12_000 {
        // A caret that moves every millisecond.
        one.here.show(Some(at(u32::try_from(now_ms).unwrap())));
        said.extend(one.say(now_ms).map(|message| (now_ms, message.presence.shown.unwrap())));
    }
    assert!((8..=9).contains(&said.len()), "{}", said.len());
    assert!(said.iter().all(|(now_ms, shown)| *shown == at(u32::try_from(*now_ms).unwrap())));
    // Where it came to rest goes too, then silence until it is said again.
    let rest: Vec<_> = (12_001..22_000).filter(|now_ms| one.here.poll(*now_ms).is_some()).collect();
    assert!(rest.len() == 1 && rest[0] <= 12_251, "{rest:?}");
}

#[test]
fn who_is_alone_speaks_twice_a_minute_whatever_changes() {
    let mut one = device(1);
    let mut said = 0;
    for now_ms in (0..120_000).step_by(100) {
        one.here.show(Some(at(u32::try_from(now_ms).unwrap())));
        said += usize::from(one.say(now_ms).is_some());
    }
    assert_eq!(said, 4);
}

#[test]
fn nobody_is_seen_who_has_not_heard_this_device() {
    let (mut one, mut two) = (device(1), device(2));
    // Everything that was said yesterday, brought to a device that was opened today.
    let said = talk(&mut one, &mut two, 0, 20_000);
    let mut new = restarted(2, 22);
    let mut answers = 0;
    for (at, (_, message)) in said.iter().cycle().take(1_000).enumerate() {
        let now_ms = 90_000_000 + 20 * u64::try_from(at).unwrap();
        if message.device == one.key {
            assert!(!new.hear(message, now_ms));
        }
        answers += usize::from(new.say(now_ms).is_some());
        assert_eq!(new.seen(now_ms), []);
    }
    assert!(answers <= 21, "an answer a second at most, not {answers}");
}

#[test]
fn what_was_heard_once_or_comes_late_or_out_of_order_changes_nothing() {
    let (mut one, mut two) = (device(1), device(2));
    talk(&mut one, &mut two, 0, 5_000);
    one.here.show(Some(at(1)));
    let first = one.say(6_000).unwrap();
    one.here.show(Some(at(2)));
    let second = one.say(7_000).unwrap();
    assert!(two.hear(&second, 7_000));
    for late in [&first, &second, &first] {
        assert!(!two.hear(late, 7_001));
    }
    assert_eq!(two.seen(7_001), [(one.key, at(2))]);
    // Held back for a day while both go on, then brought although it never came before.
    one.here.show(Some(at(3)));
    let kept = one.say(8_000).unwrap();
    two.here.expire(90_000_000, |_| true);
    assert!(!two.hear(&kept, 90_000_000));
    assert_eq!(two.seen(90_000_000), []);
}

#[test]
fn what_a_relay_holds_back_counts_for_a_minute_at_most() {
    let (mut one, mut two) = (device(1), device(2));
    let said = talk(&mut one, &mut two, 0, 5_000);
    let (named_ms, _) = *said.iter().rfind(|(_, message)| message.device == two.key).unwrap();
    one.here.show(Some(at(1)));
    let kept = one.say(6_000).unwrap();
    assert!(two.here.clone().hear(&kept, named_ms + ECHO_MS_MAX));
    assert!(!two.here.hear(&kept, named_ms + ECHO_MS_MAX + 1));
}

#[test]
fn a_restarted_device_takes_its_place_and_its_old_session_never_comes_back() {
    let (mut one, mut two) = (device(1), device(2));
    let said = talk(&mut one, &mut two, 0, 5_000);
    let mut again = restarted(1, 11);
    again.here.show(Some(at(9)));
    talk(&mut again, &mut two, 5_050, 8_000);
    assert_eq!(two.seen(8_000), [(one.key, at(9))]);
    for (_, message) in said.iter().filter(|(_, message)| message.device == one.key) {
        two.hear(message, 8_001);
    }
    assert_eq!(two.seen(8_001), [(one.key, at(9))]);
    assert!(!again.seen(8_000).is_empty());
}

#[test]
fn a_goodbye_is_believed_at_once_and_what_is_shown_no_more_too() {
    let (mut one, mut two) = (device(1), device(2));
    talk(&mut one, &mut two, 0, 5_000);
    let last = one.here.leave(5_100).map(|out| one.wrap(out)).unwrap();
    assert!(two.hear(&last, 5_100));
    assert_eq!((two.seen(5_100), one.seen(5_100)), (vec![], vec![]));
    one.here.arrive();
    talk(&mut one, &mut two, 6_000, 9_000);
    assert_eq!(two.seen(9_000).len(), 1);
    one.here.show(None);
    let last = one.say(9_300).unwrap();
    assert!(two.hear(&last, 9_300) && two.seen(9_300).is_empty());
    assert_eq!(one.here.poll(99_000), None, "and then nothing");
}

#[test]
fn who_may_not_be_here_any_more_is_not_shown() {
    let (mut one, mut two) = (device(1), device(2));
    talk(&mut one, &mut two, 0, 5_000);
    assert!(two.here.expire(5_000, |device| *device != one.key));
    assert_eq!(two.seen(5_000), []);
    assert!(!two.here.expire(5_000, |_| true));
}

#[test]
fn a_flood_is_opened_at_a_bounded_rate() {
    let mut one = device(1);
    let admitted = |one: &mut Device, from_ms: u64, to_ms: u64| {
        (from_ms..to_ms).flat_map(|now_ms| [now_ms; 20]).filter(|now_ms| one.here.admit(*now_ms)).count()
    };
    assert_eq!(admitted(&mut one, 0, 10_000) / 10, (256 + 640) / 10);
    assert_eq!(admitted(&mut one, 20_000, 20_001), 20);
}

#[test]
fn more_devices_than_a_message_names_are_named_in_turn() {
    let mut one = device(0);
    let mut others: Vec<Device> = (1..=150).map(device).collect();
    let mut named = std::collections::BTreeSet::new();
    for round in 1..=3 {
        let now_ms = 30_000 * round;
        for other in &mut others {
            let said = other.say(now_ms).unwrap();
            one.hear(&said, now_ms);
        }
        let said = one.say(now_ms + 1_000).unwrap();
        assert_eq!(said.presence.heard.len(), HEARD_MAX);
        named.extend(said.presence.heard.iter().map(|(session, _)| *session));
    }
    assert_eq!(named.len(), others.len());
}

/// A space of two devices, and what the second one says in it.
struct World {
    space: SpaceId,
    keys: DeviceKeys,
    new: DeviceKeys,
    records: Vec<Record>,
    random: SeededRandom,
}

fn world() -> World {
    let mut random = SeededRandom::new(3);
    let [keys, new] = [[1; 32], [2; 32]].map(|root| DeviceRoot::from_bytes(root).derive_space(&[5; 32]));
    let recovery = RecoveryPhrase::parse(WORDS).unwrap().derive_home();
    let member = MemberId([9; 16]);
    let founding = Founding { genesis_random: [5; 32], member, keys: &keys, recovery: &recovery, relays: Vec::new() };
    let founded = found_space(&founding, &mut random).unwrap();
    let mut records = vec![founded.genesis.clone(), founded.epoch.clone()];
    let membership = Membership::evaluate(&founded.space, &records).unwrap();
    let keyring = open_epochs(&membership, &records, &keys);
    let entry = new.entry(&[5; 32], &member, DeviceKind::Normal);
    let (membership, keyring) = (&membership, &keyring);
    let add = AddDevice { membership, records: &records, keyring, keys: &keys, member, entry, name: "phone" };
    let added = add_device(&add, &mut random).unwrap();
    records.extend(added);
    World { space: founded.space, keys, new, records, random }
}

impl World {
    fn membership(&self) -> Membership {
        Membership::evaluate(&self.space, &self.records).unwrap()
    }

    /// What the second device says, as it goes over the wire.
    fn say(&mut self, presence: &Presence, signer: Option<&DeviceKeys>) -> Vec<u8> {
        let membership = self.membership();
        let keyring = open_epochs(&membership, &self.records, &self.new);
        let tip = StreamTip::start(&self.space, &self.new.sign_pk(), &mut self.random);
        let key = receipt_key(&self.new.sign_pk(), OwnKeys::first(&self.new), &membership, &keyring).unwrap();
        let presence = Presence { r32: tip.id, ..presence.clone() };
        let place = (tip.stream, 7);
        let signer = signer.unwrap_or(&self.new);
        seal(&self.space, place, signer, &key, &presence, &mut self.random).unwrap().bytes
    }

    /// The first device opens it.
    fn open(&self, bytes: Vec<u8>) -> Result<OpenedPresence, RefusedPresence> {
        let membership = self.membership();
        let keyring = open_epochs(&membership, &self.records, &self.keys);
        let current = membership.current_epoch().unwrap();
        open(&self.space, &membership, &keyring, current, bytes)
    }

    fn draft(&mut self, write: impl FnOnce(&mut Draft<'_>, &mut SeededRandom)) {
        let opened = unlock_epochs(&self.membership(), &self.records, OwnKeys::first(&self.keys));
        let mut draft = Draft::begin(&self.membership(), &self.records, &opened, &self.keys);
        write(&mut draft, &mut self.random);
        let made = draft.finish();
        self.records.extend(made);
    }
}

#[test]
fn presence_opens_and_no_changed_byte_of_it_does() {
    let mut world = world();
    let bytes = world.say(&message(0, Some(at(3))), None);
    let opened = world.open(bytes.clone()).unwrap();
    assert_eq!((opened.device, opened.count, opened.presence.shown), (world.new.sign_pk(), 7, Some(at(3))));
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(world.open(changed).is_err(), "byte {place}");
    }
    for length in 0..bytes.len() {
        assert!(world.open(bytes[..length].to_vec()).is_err(), "cut at {length}");
    }
}

#[test]
fn presence_that_another_device_signed_or_that_is_none_is_refused() {
    let mut world = world();
    let other = DeviceRoot::from_bytes([1; 32]).derive_space(&[5; 32]);
    let forged = world.say(&message(0, Some(HERE)), Some(&other));
    assert_eq!(world.open(forged), Err(RefusedPresence::Envelope(RefusedEnvelope::Signature)));
    let mut receipt = world.say(&message(0, Some(HERE)), None);
    receipt[1] = 0x41;
    assert_eq!(world.open(receipt), Err(RefusedPresence::Layout));
    assert_eq!(world.open(vec![0x40; CT_BYTES_MAX + 1_000]), Err(RefusedPresence::Layout));
}

#[test]
fn presence_under_another_epoch_or_of_a_removed_device_is_refused() {
    let mut world = world();
    let before = world.say(&message(0, Some(HERE)), None);
    world.draft(|draft, random| {
        draft.rotate(random).unwrap();
    });
    assert_eq!(world.open(before), Err(RefusedPresence::OtherEpoch));
    let now = world.say(&message(0, Some(HERE)), None);
    assert!(world.open(now.clone()).is_ok());
    let device = world.new.sign_pk();
    world.draft(|draft, _| {
        draft.remove_device(device, RemoveReason::Lost, Vec::new()).unwrap();
    });
    assert_eq!(world.membership().current_epoch(), None, "nobody seals under a key that the removed device holds");
    // Also if it were still in use: who is removed says nothing.
    let membership = world.membership();
    let keyring = open_epochs(&membership, &world.records, &world.keys);
    let epoch = Envelope::parse(now.clone()).unwrap().header().epoch;
    let refused = open(&world.space, &membership, &keyring, epoch, now).unwrap_err();
    assert_eq!(refused, RefusedPresence::Envelope(RefusedEnvelope::NotWriter));
}
