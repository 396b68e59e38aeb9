//! Both sides of a link against each other, and against a relay that alters, replays and swaps messages.

use lifeos_sync_protocol::ids::{MemberId, RdvId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::record::Record;

use super::fixture::{Entry, RELAY, Space, answers, message_of};
use super::message::{Keys, Kind, Offer, frame, split_hpke};
use super::*;
use crate::crypto::{HpkeKey, SeededRandom, hpke_open, hpke_seal};
use crate::keys::DeviceRoot;
use crate::records::open_epochs;

struct World {
    random: SeededRandom,
    space: Space,
    new: NewDevice,
    existing: ExistingDevice,
}

fn world() -> World {
    let mut random = SeededRandom::new(5);
    let space = Space::found(9);
    let root = DeviceRoot::generate(&mut random);
    let new = NewDevice::start(root, "wss://relay.example", RELAY, "Phone", &mut random).unwrap();
    let link = new.link().to_string().parse().unwrap();
    let existing = ExistingDevice::start(link, RELAY, vec![space.offered], &mut random).unwrap();
    World { random, space, new, existing }
}

fn message(step: LinkStep) -> Vec<u8> {
    message_of(step).expect("nothing to send")
}

impl World {
    /// Up to where both know the code.
    fn exchange(&mut self) {
        let offer = message(self.existing.poll());
        self.existing.sent(0).unwrap();
        assert_eq!(self.new.poll(), LinkStep::Wait(0));
        self.new.handle(0, &offer, &mut self.random).unwrap();
        let keys = message(self.new.poll());
        self.new.sent(1).unwrap();
        self.existing.handle(1, &keys).unwrap();
        assert_eq!(self.existing.poll(), LinkStep::AskCode);
    }

    /// Makes the DeviceAdd and grants; gives all records of the space.
    fn publish(&mut self) -> Vec<Record> {
        let (records, granted) =
            self.space.enrol(&self.space.records, &self.existing.new_entries().unwrap()[0]).unwrap();
        self.existing.grant("Ada", &["wss://relay.example".into()], &[granted]).unwrap();
        records
    }

    fn wrong_code(&self) -> String {
        let code: u32 = self.new.code().unwrap().parse().unwrap();
        format!("{:06}", (code + 1) % 1_000_000)
    }
}

#[test]
fn a_new_device_is_linked_and_can_read_the_space() {
    let mut world = world();
    assert!(world.existing.new_entries().is_none() && world.new.code().is_none());
    world.exchange();
    assert_eq!(world.existing.device_name(), Some("Phone"));
    assert!(world.existing.new_entries().is_none(), "no keys before the code");
    let code = world.new.code().unwrap();
    assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()));
    let typed = format!(" {}-{} ", &code[..3], &code[3..]);
    assert_eq!(world.existing.enter_code(&typed), Ok(CodeCheck::Right));
    let records = world.publish();
    let grant = message(world.existing.poll());
    world.existing.sent(2).unwrap();
    assert_eq!(world.existing.poll(), LinkStep::Done);

    world.new.handle(2, &grant, &mut world.random).unwrap();
    assert_eq!(world.new.poll(), LinkStep::Done);
    let granted = world.new.granted().unwrap();
    assert_eq!((granted.person.as_str(), granted.relays.len()), ("Ada", 1));
    let space = granted.spaces[0];
    let membership = space.check(&records, world.new.root()).unwrap();
    let keys = world.new.root().derive_space(&space.genesis_random);
    assert!(membership.may_write(&keys.sign_pk()));
    assert!(open_epochs(&membership, &records, &keys).find(&membership.current_epoch().unwrap()).is_some());
}

#[test]
fn three_wrong_codes_end_the_attempt_and_what_is_no_code_costs_nothing() {
    let mut world = world();
    world.exchange();
    let (right, wrong) = (world.new.code().unwrap(), world.wrong_code());
    assert_eq!(world.existing.enter_code("12345"), Ok(CodeCheck::Wrong { tries_left: 3 }));
    assert_eq!(world.existing.enter_code("abcdef"), Ok(CodeCheck::Wrong { tries_left: 3 }));
    for tries_left in [2, 1, 0] {
        assert_eq!(world.existing.enter_code(&wrong), Ok(CodeCheck::Wrong { tries_left }));
        assert!(world.existing.new_entries().is_none());
    }
    assert_eq!(world.existing.poll(), LinkStep::Over);
    assert_eq!(world.existing.enter_code(&right), Err(LinkError::Over));
    assert_eq!(world.existing.grant("Ada", &[], &[]), Err(LinkError::Over));
}

#[test]
fn the_right_code_on_the_third_try_is_in_time() {
    let mut world = world();
    world.exchange();
    let wrong = world.wrong_code();
    world.existing.enter_code(&wrong).unwrap();
    world.existing.enter_code(&wrong).unwrap();
    assert_eq!(world.existing.enter_code(&world.new.code().unwrap()), Ok(CodeCheck::Right));
}

#[test]
fn no_byte_of_any_message_can_be_changed_on_its_way() {
    let mut world = world();
    let offer = message(world.existing.poll());
    for at in 0..offer.len() {
        let mut changed = offer.clone();
        changed[at] ^= 1;
        let root = world.new.root().clone();
        let mut fresh = NewDevice::start(root, "wss://relay.example", RELAY, "Phone", &mut world.random).unwrap();
        assert!(fresh.handle(0, &changed, &mut world.random).is_err());
        assert_eq!(fresh.poll(), LinkStep::Over);
    }
    world.existing.sent(0).unwrap();
    let mut changed = offer.clone();
    *changed.last_mut().unwrap() ^= 1;
    assert_eq!(world.new.handle(0, &changed, &mut world.random), Err(LinkError::Message));
    assert_eq!(world.new.handle(0, &offer, &mut world.random), Err(LinkError::Over), "no second try");
}

#[test]
fn a_relay_that_exchanges_the_keys_is_noticed() {
    let mut world = world();
    let offer = message(world.existing.poll());
    world.existing.sent(0).unwrap();
    world.new.handle(0, &offer, &mut world.random).unwrap();
    let keys = message(world.new.poll());
    // The relay cannot read the offer, so it does not know the one-time key; even with it, it lacks the secret.
    let (enc, ct) = split_hpke(Kind::Keys, &keys).unwrap();
    let other = HpkeKey::generate(&mut world.random);
    for forged in [
        frame(Kind::Keys, &[&other.public().0, ct]).unwrap(),
        frame(Kind::Offer, &[enc, ct]).unwrap(),
        [&keys[..], &[0]].concat(),
        keys[..keys.len() - 1].to_vec(),
        vec![],
    ] {
        let link = world.new.link().clone();
        let mut existing = ExistingDevice::start(link, RELAY, vec![world.space.offered], &mut world.random).unwrap();
        existing.sent(0).unwrap();
        assert_eq!(existing.handle(1, &forged), Err(LinkError::Message));
        assert_eq!(existing.poll(), LinkStep::Over);
    }
    // Keys that answer another offer (replayed from an earlier attempt) do not open either.
    let link = world.new.link().clone();
    let mut later = ExistingDevice::start(link, RELAY, vec![world.space.offered], &mut world.random).unwrap();
    later.sent(0).unwrap();
    assert_eq!(later.handle(1, &keys), Err(LinkError::Message));
}

#[test]
fn an_offer_by_somebody_who_saw_the_link_gives_another_code() {
    let mut world = world();
    let link = world.new.link().clone();
    let mut stranger = ExistingDevice::start(link, RELAY, vec![world.space.offered], &mut world.random).unwrap();
    world.new.handle(0, &message(stranger.poll()), &mut world.random).unwrap();
    stranger.sent(0).unwrap();
    let keys = message(world.new.poll());
    stranger.handle(1, &keys).unwrap();
    // The person's own device was overtaken: its offer lands at another index, or the keys do not open.
    assert_eq!(world.existing.sent(1), Err(LinkError::Intruder));
    assert_eq!(world.existing.poll(), LinkStep::Over);
}

#[test]
fn messages_out_of_order_or_at_a_wrong_index_end_the_attempt() {
    let mut fresh = world();
    assert_eq!(fresh.new.handle(2, b"", &mut fresh.random), Err(LinkError::Over));
    assert_eq!(fresh.new.poll(), LinkStep::Over);
    let mut fresh = world();
    assert_eq!(fresh.existing.handle(1, b""), Err(LinkError::Over));
    let mut fresh = world();
    let offer = message(fresh.existing.poll());
    fresh.new.handle(0, &offer, &mut fresh.random).unwrap();
    assert_eq!(fresh.new.sent(2), Err(LinkError::Intruder));
    let mut fresh = world();
    fresh.exchange();
    let code = fresh.new.code().unwrap();
    fresh.existing.enter_code(&code).unwrap();
    fresh.publish();
    let grant = message(fresh.existing.poll());
    let offer = frame(Kind::Offer, &[&grant[2..]]).unwrap();
    assert_eq!(fresh.new.handle(2, &offer, &mut fresh.random), Err(LinkError::Message), "another kind");
}

#[test]
fn a_grant_of_another_attempt_does_not_open() {
    let (mut first, mut second) = (world(), world());
    second.random = SeededRandom::new(77);
    let root = DeviceRoot::generate(&mut second.random);
    second.new = NewDevice::start(root, "wss://relay.example", RELAY, "Phone", &mut second.random).unwrap();
    let link = second.new.link().clone();
    second.existing = ExistingDevice::start(link, RELAY, vec![second.space.offered], &mut second.random).unwrap();
    for world in [&mut first, &mut second] {
        world.exchange();
        let code = world.new.code().unwrap();
        world.existing.enter_code(&code).unwrap();
        world.publish();
    }
    assert_ne!(first.new.code(), second.new.code());
    let grant = message(first.existing.poll());
    assert_eq!(second.new.handle(2, &grant, &mut second.random), Err(LinkError::Message));
}

/// An offer as anybody can make one who has seen the link.
fn offer_by_anybody(
    link: &LinkText,
    relay_pk: SignPk,
    spaces: Vec<OfferedSpace>,
    random: &mut SeededRandom,
) -> Vec<u8> {
    let offer = Offer { relay_pk, one_time_pk: HpkeKey::generate(random).public(), spaces };
    let offer = offer.encode().unwrap();
    let sealed = hpke_seal(&link.link_pk, None, &offer_info(link), &[], &offer, random).unwrap();
    frame(Kind::Offer, &[&sealed.enc, &sealed.ct]).unwrap()
}

#[test]
fn an_offer_names_a_space_and_none_twice() {
    let mut world = world();
    let one = world.space.offered;
    let other = OfferedSpace { space: SpaceId([8; 32]), ..one };
    let refused = Err(LinkError::Message);
    for (spaces, expected) in [(vec![], refused), (vec![one, other, one], refused), (vec![one, other], Ok(()))] {
        let offer = offer_by_anybody(world.new.link(), RELAY, spaces, &mut world.random);
        assert_eq!(world.new.clone().handle(0, &offer, &mut world.random), expected);
    }
}

/// What the existing device says of such an answer to its offer.
fn answered_with(offered: OfferedSpace, entries: Vec<Entry>) -> Result<(), LinkError> {
    let mut random = SeededRandom::new(5);
    let key = HpkeKey::generate(&mut random);
    let (rdv, relay_url) = (RdvId([1; 16]), "wss://relay.example".to_owned());
    let link = LinkText { rdv, relay_pk: RELAY, link_pk: key.public(), relay_url };
    let mut existing = ExistingDevice::start(link.clone(), RELAY, vec![offered], &mut random).unwrap();
    let offer = message(existing.poll());
    existing.sent(0).unwrap();
    let (enc, ct) = split_hpke(Kind::Offer, &offer).unwrap();
    let opened = hpke_open(&key, None, &offer_info(&link), &[], enc, ct).unwrap();
    let one_time_pk = Offer::decode(&opened.plaintext).unwrap().one_time_pk;
    let keys = Keys { name: "Phone".to_owned(), entries }.encode().unwrap();
    let info = keys_info(&link, &offer);
    let sealed = hpke_seal(&one_time_pk, Some(&opened.export), &info, &[], &keys, &mut random).unwrap();
    existing.handle(1, &frame(Kind::Keys, &[&sealed.enc, &sealed.ct]).unwrap())
}

#[test]
fn keys_that_are_weak_or_not_proven_for_the_space_end_the_attempt() {
    let offered = Space::found(9).offered;
    let (good, bad) = answers(&offered);
    for entries in bad {
        assert_eq!(answered_with(offered, entries.clone()), Err(LinkError::Keys), "{entries:?}");
    }
    assert_eq!(answered_with(offered, good), Ok(()));
}

#[test]
fn the_two_devices_must_see_the_same_relay() {
    let mut world = world();
    let link = world.new.link().clone();
    let other = SignPk([1; 32]);
    let result = ExistingDevice::start(link.clone(), other, vec![world.space.offered], &mut world.random);
    assert_eq!(result.err(), Some(LinkError::RelayKey));
    let message = offer_by_anybody(&link, other, vec![world.space.offered], &mut world.random);
    assert_eq!(world.new.handle(0, &message, &mut world.random), Err(LinkError::RelayKey));
}

#[test]
fn records_that_do_not_add_this_device_as_agreed_are_refused() {
    let mut world = world();
    world.exchange();
    let code = world.new.code().unwrap();
    world.existing.enter_code(&code).unwrap();
    let records = world.publish();
    let grant = message(world.existing.poll());
    world.new.handle(2, &grant, &mut world.random).unwrap();
    let space = world.new.granted().unwrap().spaces[0];
    let root = world.new.root();
    let refused = |space: GrantedSpace, records: &[Record], root: &DeviceRoot| {
        space.check(records, root).err() == Some(LinkError::Records)
    };
    assert!(!refused(space, &records, root));
    assert!(refused(space, &records[..2], root), "the DeviceAdd is withheld");
    assert!(refused(space, &[records[0].clone(), records[2].clone()], root), "a record between is withheld");
    assert!(refused(space, &records[1..], root), "no Genesis");
    assert!(refused(GrantedSpace { space: SpaceId([1; 32]), ..space }, &records, root));
    assert!(refused(GrantedSpace { genesis_random: [1; 32], ..space }, &records, root));
    assert!(refused(GrantedSpace { member: MemberId([1; 16]), ..space }, &records, root));
    assert!(refused(GrantedSpace { device_add: records[1].id(), ..space }, &records, root));
    assert!(refused(GrantedSpace { head: RecordId([1; 32]), ..space }, &records, root));
    assert!(refused(space, &records, &DeviceRoot::generate(&mut world.random)), "another device was added");
}

#[test]
fn names_that_would_disturb_a_terminal_are_refused() {
    let mut random = SeededRandom::new(1);
    for name in ["", "  ", "a\u{1b}[2J", "line\nline", &"x".repeat(128)] {
        let root = DeviceRoot::generate(&mut random);
        let result = NewDevice::start(root, "wss://relay.example", RELAY, name, &mut random);
        assert_eq!(result.err(), Some(LinkError::Name), "{name:?}");
    }
}

#[test]
fn the_most_spaces_fit_into_the_mailbox() {
    let mut world = world();
    let spaces = |count: u8| -> Vec<OfferedSpace> {
        (0..count)
            .map(|n| OfferedSpace { space: SpaceId([n; 32]), member: MemberId([7; 16]), genesis_random: [n; 32] })
            .collect()
    };
    let link = world.new.link().clone();
    let too_many = ExistingDevice::start(link.clone(), RELAY, spaces(65), &mut world.random);
    assert_eq!(too_many.err(), Some(LinkError::TooLarge));
    world.existing = ExistingDevice::start(link, RELAY, spaces(64), &mut world.random).unwrap();
    world.exchange();
    let code = world.new.code().unwrap();
    assert_eq!(world.existing.enter_code(&code), Ok(CodeCheck::Right));
    assert_eq!(world.existing.new_entries().unwrap().len(), 64);
    let granted = |offered: OfferedSpace| GrantedSpaceInput {
        space: offered.space,
        device_add: RecordId([1; 32]),
        head: RecordId([2; 32]),
    };
    let granted: Vec<_> = spaces(64).into_iter().map(granted).collect();
    world.existing.grant("Ada", &vec!["w".repeat(512); 8], &granted).unwrap();
    let grant = message(world.existing.poll());
    world.new.handle(2, &grant, &mut world.random).unwrap();
    assert_eq!(world.new.granted().unwrap().spaces.len(), 64);
}
