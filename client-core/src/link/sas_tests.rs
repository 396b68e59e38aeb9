//! Linking without a camera: both sides against each other, and against somebody in the middle.

use lifeos_sync_protocol::ids::{HpkePk, MemberId, RecordId, SignPk, Signature, SpaceId};
use lifeos_sync_protocol::record::Record;
use proptest::prelude::*;

use super::fixture::{Entry, RELAY, Space, answers, message_of};
use super::message::{Grant, Keys, Kind, Offer, frame};
use super::sas::{Agreement, Half, Side};
use super::*;
use crate::crypto::{AgreementKey, SeededRandom};
use crate::keys::DeviceRoot;

struct World {
    random: SeededRandom,
    space: Space,
    new: SasNewDevice,
    existing: SasExistingDevice,
}

fn world(seed: u64) -> World {
    let space = Space::found(9);
    let mut random = SeededRandom::new(seed);
    let new = SasNewDevice::start(DeviceRoot::generate(&mut random), RELAY, "Phone", &mut random).unwrap();
    let typed = new.code().to_string().to_lowercase().replace('-', " ");
    let code: SasCode = typed.parse().unwrap();
    assert_eq!(code, new.code());
    let existing = SasExistingDevice::start(code, RELAY, vec![space.offered], &mut random).unwrap();
    World { random, space, new, existing }
}

fn message(step: LinkStep) -> Vec<u8> {
    message_of(step).expect("nothing to send")
}

impl World {
    fn commit(&mut self) -> Vec<u8> {
        let commit = message(self.new.poll());
        self.new.sent(0).unwrap();
        commit
    }

    fn share(&mut self, commit: &[u8]) -> Vec<u8> {
        self.existing.handle(0, commit).unwrap();
        let share = message(self.existing.poll());
        self.existing.sent(1).unwrap();
        share
    }

    fn reveal(&mut self, share: &[u8]) -> Vec<u8> {
        self.new.handle(1, share).unwrap();
        assert!(self.new.comparison().is_none(), "nothing to show before the reveal is out");
        let reveal = message(self.new.poll());
        self.new.sent(2).unwrap();
        reveal
    }

    /// Up to where both show what is to be compared.
    fn exchange(&mut self) {
        let commit = self.commit();
        let share = self.share(&commit);
        let reveal = self.reveal(&share);
        self.existing.handle(2, &reveal).unwrap();
    }

    fn confirmed(&mut self) -> Vec<u8> {
        self.exchange();
        self.existing.confirm(true).unwrap();
        self.new.confirm(true).unwrap();
        let offer = message(self.existing.poll());
        self.existing.sent(3).unwrap();
        offer
    }

    /// Makes the DeviceAdd and grants; gives all records of the space.
    fn publish(&mut self) -> Vec<Record> {
        let (records, granted) =
            self.space.enrol(&self.space.records, &self.existing.new_entries().unwrap()[0]).unwrap();
        self.existing.grant("Ada", &["wss://relay.example".into()], &[granted]).unwrap();
        records
    }
}

#[test]
fn a_device_without_a_camera_is_linked_and_can_read_the_space() {
    let mut world = world(1);
    world.exchange();
    assert_eq!((world.new.poll(), world.existing.poll()), (LinkStep::Compare, LinkStep::Compare));
    let shown = world.new.comparison().unwrap();
    assert_eq!(Some(shown), world.existing.comparison());
    assert!(shown.numbers.iter().all(|number| (1000..=9191).contains(number)));
    world.existing.confirm(true).unwrap();
    let offer = message(world.existing.poll());
    world.existing.sent(3).unwrap();
    assert_eq!(world.new.poll(), LinkStep::Compare, "the other's word is not this person's");
    world.new.confirm(true).unwrap();
    world.new.handle(3, &offer).unwrap();
    assert!(world.existing.new_entries().is_none());
    let keys = message(world.new.poll());
    world.new.sent(4).unwrap();
    world.existing.handle(4, &keys).unwrap();
    assert_eq!(world.existing.device_name(), Some("Phone"));
    let records = world.publish();
    let grant = message(world.existing.poll());
    world.existing.sent(5).unwrap();
    assert_eq!(world.existing.poll(), LinkStep::Done);
    world.new.handle(5, &grant).unwrap();
    assert_eq!(world.new.granted().unwrap().person, "Ada");
    assert_eq!(world.new.prove(&[records[..2].to_vec()]).err(), Some(LinkError::Records), "withheld");
    assert_eq!(world.new.prove(&[]).err(), Some(LinkError::Records));
    world.new.prove(&[records]).unwrap();
}

#[test]
fn a_key_shown_before_its_commitment_is_a_protocol_error() {
    let mut world = world(1);
    let half = Half { key: AgreementKey::generate(&mut world.random).public(), nonce: [1; 32] };
    let reveal = half.message(Kind::SasReveal).unwrap();
    assert_eq!(world.existing.handle(0, &reveal), Err(LinkError::Order));
    assert_eq!(world.existing.poll(), LinkStep::Over);
    assert_eq!(world.existing.handle(0, &world.new.poll_bytes()), Err(LinkError::Over), "no second try");
}

#[test]
fn a_key_that_is_not_the_committed_one_is_refused() {
    let mut world = world(1);
    let commit = world.commit();
    world.share(&commit);
    let other = Half { key: AgreementKey::generate(&mut world.random).public(), nonce: [1; 32] };
    assert_eq!(world.existing.handle(2, &other.message(Kind::SasReveal).unwrap()), Err(LinkError::Commitment));
    assert_eq!(world.existing.poll(), LinkStep::Over);
}

#[test]
fn ones_own_key_thrown_back_is_refused() {
    let mut world = world(1);
    let share = { message_after_commit(&mut world) };
    // Somebody who could guess this device's half before it is shown.
    let own = Half::read(Kind::SasShare, &share).unwrap();
    let mut existing = world.existing.clone();
    assert_eq!(existing.handle(2, &own.message(Kind::SasReveal).unwrap()), Err(LinkError::Commitment));
}

fn message_after_commit(world: &mut World) -> Vec<u8> {
    let commit = world.commit();
    world.share(&commit)
}

#[test]
fn a_message_is_taken_once_and_in_its_place_only() {
    let mut world = world(1);
    let commit = world.commit();
    let share = world.share(&commit);
    let reveal = world.reveal(&share);
    let mut again = world.existing.clone();
    again.handle(2, &reveal).unwrap();
    assert_eq!(again.handle(2, &reveal), Err(LinkError::Over), "the reveal again");
    let mut early = world.existing.clone();
    assert_eq!(early.handle(0, &commit), Err(LinkError::Over), "the commitment again");
    let mut kind = world.existing.clone();
    assert_eq!(kind.handle(2, &commit), Err(LinkError::Order), "another kind at this index");
    let mut weak = reveal.clone();
    weak[2..34].fill(0);
    assert!(world.existing.handle(2, &weak).is_err());
}

#[test]
fn somebody_in_the_middle_shows_the_two_devices_different_things() {
    let mut world = world(1);
    let (mut to_new, mut to_existing) = (self::world(2), self::world(3));
    // Towards N they play E, towards E they play N.
    let commit = world.commit();
    let share = to_new.share(&commit);
    let reveal = world.reveal(&share);
    to_new.existing.handle(2, &reveal).unwrap();
    let forged = to_existing.commit();
    let share = world.share(&forged);
    let reveal = to_existing.reveal(&share);
    // The code they answer under is the victim's; only then the reveal fits the mailbox.
    world.existing.handle(2, &reveal).unwrap();
    let (left, right) = (world.new.comparison().unwrap(), world.existing.comparison().unwrap());
    assert_ne!(left.pictures(), right.pictures());
    assert_ne!(left.numbers, right.numbers);
    assert_eq!(world.existing.confirm(false), Err(LinkError::Mismatch));
    assert_eq!(world.new.confirm(false), Err(LinkError::Mismatch));
    assert_eq!((world.new.poll(), world.existing.poll()), (LinkStep::Over, LinkStep::Over));
    assert!(world.existing.new_entries().is_none());
}

#[test]
fn two_relays_at_one_address_show_different_things() {
    let mut world = world(1);
    let mut random = SeededRandom::new(8);
    let elsewhere = SignPk([1; 32]);
    world.existing =
        SasExistingDevice::start(world.new.code(), elsewhere, vec![world.space.offered], &mut random).unwrap();
    world.exchange();
    assert_ne!(world.new.comparison(), world.existing.comparison());
}

#[test]
fn what_is_sealed_opens_in_its_own_attempt_only_and_no_byte_can_be_changed() {
    let mut world = world(1);
    let offer = world.confirmed();
    for at in 0..offer.len() {
        let mut changed = offer.clone();
        changed[at] ^= 1;
        let mut new = world.new.clone();
        assert!(new.handle(3, &changed).is_err());
        assert_eq!(new.poll(), LinkStep::Over);
    }
    let mut other = self::world(4);
    other.confirmed();
    assert_eq!(other.new.handle(3, &offer), Err(LinkError::Message));
    world.new.handle(3, &offer).unwrap();
    let keys = message(world.new.poll());
    assert_eq!(other.existing.handle(4, &keys), Err(LinkError::Message));
    assert_eq!(world.existing.handle(4, &offer), Err(LinkError::Order));
}

#[test]
fn a_message_at_another_index_means_that_somebody_else_wrote() {
    let mut fresh = world(1);
    assert_eq!(fresh.new.sent(1), Err(LinkError::Intruder));
    let mut fresh = world(1);
    let commit = fresh.commit();
    fresh.existing.handle(0, &commit).unwrap();
    assert_eq!(fresh.existing.sent(2), Err(LinkError::Intruder));
    assert_eq!(fresh.existing.poll(), LinkStep::Over);
}

/// What the new device says of an offer of these spaces by somebody with whom it has compared.
fn offered_with(spaces: Vec<OfferedSpace>) -> Result<(), LinkError> {
    let mut world = world(1);
    world.commit();
    let side = Side::new(world.new.code(), RELAY, &mut world.random);
    let reveal = world.reveal(&side.own.message(Kind::SasShare).unwrap());
    let new = Half::read(Kind::SasReveal, &reveal).unwrap();
    let mut agreement = side.agree(&new.commitment(), (&side.own, &new), &new).unwrap();
    world.new.confirm(true).unwrap();
    let offer = Offer { relay_pk: RELAY, one_time_pk: side.own.key, spaces };
    world.new.handle(3, &agreement.seal(Kind::SasOffer, offer.encode().unwrap()).unwrap())
}

#[test]
fn an_offer_without_a_camera_names_a_space_and_none_twice_either() {
    let one = Space::found(9).offered;
    let other = OfferedSpace { space: SpaceId([8; 32]), ..one };
    assert_eq!(offered_with(vec![]), Err(LinkError::Message));
    assert_eq!(offered_with(vec![one, other, one]), Err(LinkError::Message));
    assert_eq!(offered_with(vec![one, other]), Ok(()));
}

/// What the existing device says of such an answer by somebody with whom it has compared.
fn answered_with(offered: OfferedSpace, entries: Vec<Entry>) -> Result<(), LinkError> {
    let (mut random, code) = (SeededRandom::new(5), SasCode::of_bytes([1, 2, 3, 4, 5]));
    let mut existing = SasExistingDevice::start(code, RELAY, vec![offered], &mut random).unwrap();
    let side = Side::new(code, RELAY, &mut random);
    let commitment = side.own.commitment();
    existing.handle(0, &frame(Kind::SasCommit, &[&commitment]).unwrap()).unwrap();
    let share = Half::read(Kind::SasShare, &message(existing.poll())).unwrap();
    existing.sent(1).unwrap();
    existing.handle(2, &side.own.message(Kind::SasReveal).unwrap()).unwrap();
    let mut agreement = side.agree(&commitment, (&share, &side.own), &share).unwrap();
    existing.confirm(true).unwrap();
    agreement.open(Kind::SasOffer, &message(existing.poll())).unwrap();
    existing.sent(3).unwrap();
    let keys = Keys { name: "Phone".to_owned(), entries }.encode().unwrap();
    existing.handle(4, &agreement.seal(Kind::SasKeys, keys).unwrap())
}

#[test]
fn weak_or_unproven_keys_end_an_attempt_without_a_camera_too() {
    let offered = Space::found(9).offered;
    let (good, bad) = answers(&offered);
    for entries in bad {
        assert_eq!(answered_with(offered, entries.clone()), Err(LinkError::Keys), "{entries:?}");
    }
    assert_eq!(answered_with(offered, good), Ok(()));
}

#[test]
fn a_code_reads_back_in_any_case_and_spacing_and_nothing_else_does() {
    let code = SasCode::of_bytes([0x0f, 0x1e, 0x2d, 0x3c, 0x4b]);
    let text = code.to_string();
    assert_eq!(text.len(), 9);
    assert_eq!(text.parse(), Ok(code));
    assert_eq!(format!(" {} ", text.to_lowercase().replace('-', " ")).parse(), Ok(code));
    assert_eq!("0I8O-1111".parse::<SasCode>(), "OIBO-IIII".parse());
    for bad in ["", "ABCD", "ABCD-EFG", "ABCD-EFGHI", "ABCD-EFG9", "ABCD-EFG!", "ÄBCD-EFGH"] {
        assert_eq!(bad.parse::<SasCode>(), Err(LinkError::Code), "{bad:?}");
    }
}

/// The golden vector of docs/PROTOCOL.md: from fixed halves to what is shown and the three sealed messages.
#[test]
fn the_comparison_of_fixed_halves_is_the_vector() {
    let mut random = SeededRandom::new(11);
    let (new, existing) = (AgreementKey::generate(&mut random), AgreementKey::generate(&mut random));
    let own = Half { key: new.public(), nonce: [0x11; 32] };
    let other = Half { key: existing.public(), nonce: [0x22; 32] };
    let code = SasCode::of_bytes([1, 2, 3, 4, 5]);
    let secret = new.agree(&other.key).unwrap();
    let mut agreement = Agreement::new((&code.rdv(), &RELAY), (&own.commitment(), &other, &own), &secret);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let shown = agreement.comparison();
    let names: Vec<&str> = shown.pictures().iter().map(|(_, name)| *name).collect();
    let space = SpaceId([0x51; 32]);
    let offered = OfferedSpace { space, member: MemberId([0x52; 16]), genesis_random: [0x53; 32] };
    let offer = Offer { relay_pk: RELAY, one_time_pk: other.key, spaces: vec![offered] };
    let entries = vec![(SignPk([0x54; 32]), HpkePk([0x55; 32]), Signature([0x56; 64]))];
    let keys = Keys { name: "Ada's phone".to_owned(), entries };
    let spaces = vec![(space, RecordId([0x57; 32]), RecordId([0x58; 32]))];
    let grant = Grant { person: "Ada".to_owned(), relays: vec!["wss://relay.example".to_owned()], spaces };
    let offer = agreement.seal(Kind::SasOffer, offer.encode().unwrap()).unwrap();
    let keys = agreement.seal(Kind::SasKeys, keys.encode().unwrap()).unwrap();
    let grant = agreement.seal(Kind::SasGrant, grant.encode().unwrap()).unwrap();
    let vector = [
        format!("pkN {}", hex(&own.key.0)),
        format!("pkE {}", hex(&other.key.0)),
        format!("code {code}"),
        format!("mailbox {}", hex(&code.rdv().0)),
        format!("commitment {}", hex(&own.commitment())),
        format!("secret {}", hex(&*secret)),
        format!("pictures {}", names.join(" ")),
        format!("numbers {:?}", shown.numbers),
        format!("offer {}", hex(&offer)),
        format!("keys {}", hex(&keys)),
        format!("grant {}", hex(&grant)),
    ]
    .join("\n");
    assert_eq!(vector, include_str!("../../vectors/sas.txt").trim_end());
}

impl SasNewDevice {
    fn poll_bytes(&self) -> Vec<u8> {
        message(self.poll())
    }
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(
        index in 0_u32..7,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        kind in 0_u8..10,
        framed in any::<bool>(),
    ) {
        let mut world = world(1);
        let bytes = if framed { [&[1, kind][..], &bytes].concat() } else { bytes };
        let _ = world.new.handle(index, &bytes);
        let _ = world.existing.handle(index, &bytes);
        let _ = String::from_utf8_lossy(&bytes).parse::<SasCode>();
    }
}
