//! Sealed bytes, flipped, cut, moved and forged; and the twin of each that opens.

mod objects;

use std::collections::{BTreeMap, BTreeSet};

use lifeos_sync_protocol::envelope::{HEADER_BYTES, OVERHEAD_BYTES, SIGNATURE_BYTES, TAG_BYTES};
use lifeos_sync_protocol::ids::{DocId, RecordId};
use lifeos_sync_protocol::limits::{DELTA_CT_BYTES_MAX, DELTA_RAW_BYTES_MAX};
use lifeos_sync_protocol::membership::{Device, Member, Rank};
use lifeos_sync_protocol::record::{DeviceKind, Role};

use super::*;
use crate::crypto::SeededRandom;
use crate::delta::DocDelta;
use crate::document::GenesisId;
use crate::keys::DeviceRoot;

const SPACE: SpaceId = SpaceId([0x51; 32]);
const EPOCH: EpochRef = EpochRef([0xe0; 16]);
const VECTOR: &str = include_str!("../../../vectors/envelope_delta.txt");

struct World {
    keys: DeviceKeys,
    other: DeviceKeys,
    membership: Membership,
    secret: EpochSecret,
    keyring: Keyring,
    tip: StreamTip,
    random: SeededRandom,
}

fn world() -> World {
    let mut random = SeededRandom::new(42);
    let keys = DeviceRoot::generate(&mut random).derive_space(&[1; 32]);
    let other = DeviceRoot::generate(&mut random).derive_space(&[1; 32]);
    let secret = EpochSecret::generate(&mut random);
    let mut keyring = Keyring::default();
    keyring.insert(EPOCH, secret.clone());
    let tip = StreamTip::start(&SPACE, &keys.sign_pk(), &mut random);
    let membership = membership(&[&keys, &other]);
    World { keys, other, membership, secret, keyring, tip, random }
}

fn membership(devices: &[&DeviceKeys]) -> Membership {
    let member = MemberId([7; 16]);
    let device = |keys: &&DeviceKeys| {
        let device = Device::enrolled(member, keys.hpke_pk(), DeviceKind::Normal, RecordId(SPACE.0));
        (keys.sign_pk(), device)
    };
    let devices: BTreeMap<_, _> = devices.iter().map(device).collect();
    let own: BTreeSet<_> = devices.keys().copied().collect();
    let rank = Rank::founder(RecordId(SPACE.0));
    Membership {
        members: [(member, Member { role: Role::Owner, devices: own, rank })].into(),
        devices,
        ..Membership::empty(SPACE, [1; 32])
    }
}

fn delta(text: &[u8]) -> Delta {
    let doc = DocDelta { doc: DocId([3; 16]), changes: vec![text.to_vec()], genesis: GenesisId(1) };
    Delta { docs: vec![doc], ..Delta::default() }
}

impl World {
    fn seal(&mut self, text: &[u8]) -> SealedEnvelope {
        let sealed = seal(&SPACE, &self.tip, &self.keys, EPOCH, &self.secret, &delta(text), &mut self.random).unwrap();
        self.tip = StreamTip { seq: sealed.seq, id: sealed.id.0, ..self.tip };
        sealed
    }

    fn receive(&self, space: &SpaceId, tip: Option<&StreamTip>, bytes: &[u8]) -> Result<OpenedDelta, RefusedEnvelope> {
        let envelope = Envelope::parse(bytes.to_vec()).map_err(|_| RefusedEnvelope::Layout)?;
        let (verified, _) = verify(space, &self.membership, tip, envelope, SignatureCheck::Now)?;
        open(space, &verified, &self.keyring)
    }

    /// An envelope with this header and plaintext, correctly encrypted and signed by `keys`.
    fn forge(&self, header: Header, plaintext: &[u8], keys: &DeviceKeys) -> Vec<u8> {
        let header = Header { ct_len: (plaintext.len() + TAG_BYTES) as u32, ..header };
        let mut buffer = plaintext.to_vec();
        seal_once(&envelope_key(&self.secret, &header), &associated_data(&SPACE, &header), &mut buffer).unwrap();
        finish(&SPACE, keys, &header, &buffer).unwrap().bytes
    }
}

fn header_of(bytes: &[u8]) -> Header {
    *Envelope::parse(bytes.to_vec()).unwrap().header()
}

#[test]
fn a_sealed_delta_opens_on_another_device_and_costs_172_bytes() {
    let mut world = world();
    let first = world.seal(b"hello");
    assert_eq!(OVERHEAD_BYTES, 172);
    assert_eq!(first.bytes.len(), 256 + OVERHEAD_BYTES);
    let opened = world.receive(&SPACE, None, &first.bytes).unwrap();
    assert_eq!((opened.seq, opened.delta, opened.author), (1, delta(b"hello"), world.keys.sign_pk()));
    let tip = world.tip;
    let second = world.seal(b"again");
    assert_eq!(world.receive(&SPACE, Some(&tip), &second.bytes).unwrap().seq, 2);
}

#[test]
fn no_byte_of_an_envelope_can_be_changed() {
    let mut world = world();
    let bytes = world.seal(b"hello").bytes;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(world.receive(&SPACE, None, &changed).is_err(), "byte {at}");
    }
}

#[test]
fn no_header_or_ciphertext_byte_can_be_changed_even_by_who_may_sign() {
    let mut world = world();
    let bytes = world.seal(b"hello").bytes;
    for at in 0..bytes.len() - SIGNATURE_BYTES {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let Ok(envelope) = Envelope::parse(changed.clone()) else { continue };
        let end = changed.len() - SIGNATURE_BYTES;
        let signature = world.keys.sign(&signing_message(&SPACE, &envelope.id(&SPACE)));
        changed[end..].copy_from_slice(&signature.0);
        let envelope = Envelope::parse(changed).unwrap();
        let verified = VerifiedEnvelope {
            id: envelope.id(&SPACE),
            envelope,
            author: world.keys.sign_pk(),
            member: MemberId([7; 16]),
        };
        let refused = open(&SPACE, &verified, &world.keyring).unwrap_err();
        let epoch = (56..72).contains(&at);
        let expected = if epoch { RefusedEnvelope::UnknownEpoch } else { RefusedEnvelope::DoesNotOpen };
        assert_eq!(refused, expected, "byte {at}");
    }
}

#[test]
fn an_envelope_belongs_to_one_space() {
    let mut world = world();
    let bytes = world.seal(b"hello").bytes;
    let other = SpaceId([0x52; 32]);
    assert_eq!(world.receive(&other, None, &bytes), Err(RefusedEnvelope::UnknownAuthor));
    let before = StreamTip { seq: 0, id: header_of(&bytes).prev, ..world.tip };
    assert_eq!(world.receive(&other, Some(&before), &bytes), Err(RefusedEnvelope::Signature));
    let envelope = Envelope::parse(bytes).unwrap();
    assert!(open_delta(&SPACE, &envelope, &world.secret).is_some());
    assert!(open_delta(&other, &envelope, &world.secret).is_none(), "also where the signature would not tell");
}

#[test]
fn a_ciphertext_cannot_be_taken_into_another_devices_stream() {
    let mut world = world();
    let bytes = world.seal(b"hello").bytes;
    let theirs = StreamTip::start(&SPACE, &world.other.sign_pk(), &mut world.random);
    let header = Header { stream: theirs.stream, prev: theirs.id, ..header_of(&bytes) };
    let ciphertext = &bytes[HEADER_BYTES..bytes.len() - SIGNATURE_BYTES];
    let stolen = finish(&SPACE, &world.other, &header, ciphertext).unwrap().bytes;
    assert_eq!(world.receive(&SPACE, None, &stolen), Err(RefusedEnvelope::DoesNotOpen));
    // The key is of the stream, and so is what is authenticated: each would do alone.
    let (there, here) = (Header { stream: theirs.stream, ..header_of(&bytes) }, header_of(&bytes));
    assert_ne!(*envelope_key(&world.secret, &there), *envelope_key(&world.secret, &here));
    let mut buffer = ciphertext.to_vec();
    let opened = open_once(&envelope_key(&world.secret, &here), &associated_data(&SPACE, &there), &mut buffer);
    assert!(opened.is_err());
    // The same stream signed by somebody else is not even opened.
    let resigned = finish(&SPACE, &world.other, &header_of(&bytes), ciphertext).unwrap().bytes;
    assert_eq!(world.receive(&SPACE, None, &resigned), Err(RefusedEnvelope::Signature));
}

#[test]
fn the_epoch_of_an_envelope_cannot_be_exchanged() {
    let mut world = world();
    let bytes = world.seal(b"hello").bytes;
    let other_epoch = EpochRef([0xe1; 16]);
    world.keyring.insert(other_epoch, EpochSecret::generate(&mut world.random));
    let header = Header { epoch: other_epoch, ..header_of(&bytes) };
    let ciphertext = &bytes[HEADER_BYTES..bytes.len() - SIGNATURE_BYTES];
    let moved = finish(&SPACE, &world.keys, &header, ciphertext).unwrap().bytes;
    assert_eq!(world.receive(&SPACE, None, &moved), Err(RefusedEnvelope::DoesNotOpen));
    // Even the same secret under another name does not open it: the header is bound.
    world.keyring.insert(other_epoch, world.secret.clone());
    assert_eq!(world.receive(&SPACE, None, &moved), Err(RefusedEnvelope::DoesNotOpen));
}

#[test]
fn whatever_is_wrong_inside_is_the_same_error() {
    let mut world = world();
    let bytes = world.seal(b"hello").bytes;
    let header = header_of(&bytes);
    let body = delta(b"hello").encode().unwrap();
    let good = plaintext::pack(&body).unwrap();
    assert!(world.receive(&SPACE, None, &world.forge(header, &good, &world.keys)).is_ok());

    let mut padding = good.clone();
    *padding.last_mut().unwrap() = 1;
    let mut inner_len = good.clone();
    inner_len[3] += 1;
    let bomb = {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        let zeros = vec![0; 1 << 20];
        (0..64).for_each(|_| std::io::Write::write_all(&mut encoder, &zeros).unwrap());
        encoder.finish().unwrap()
    };
    let unpadded = good[..good.len() - 1].to_vec();
    let bomb = plaintext::lay_out(1, DELTA_RAW_BYTES_MAX, &bomb).unwrap();
    let not_cbor = plaintext::pack(b"not CBOR").unwrap();
    let empty = vec![0; 256];
    for (name, plaintext) in [
        ("padding", padding),
        ("inner_len", inner_len),
        ("no padding", unpadded),
        ("bomb", bomb),
        ("CBOR", not_cbor),
        ("empty", empty),
    ] {
        let forged = world.forge(header, &plaintext, &world.keys);
        assert_eq!(world.receive(&SPACE, None, &forged), Err(RefusedEnvelope::DoesNotOpen), "{name}");
    }
}

#[test]
fn an_envelope_continues_its_stream_or_is_refused() {
    let mut world = world();
    let sealed: Vec<_> = (0..3).map(|n| world.seal(&[n])).collect();
    let tip = |n: usize| StreamTip { seq: sealed[n].seq, id: sealed[n].id.0, ..world.tip };
    let refused = |tip: Option<&StreamTip>, n: usize| world.receive(&SPACE, tip, &sealed[n].bytes).unwrap_err();
    assert_eq!(refused(None, 1), RefusedEnvelope::Chain, "a stream begins at 1");
    assert_eq!(refused(Some(&tip(0)), 2), RefusedEnvelope::Chain, "gap");
    assert_eq!(refused(Some(&tip(1)), 1), RefusedEnvelope::Chain, "repeat");
    assert!(world.receive(&SPACE, Some(&tip(1)), &sealed[2].bytes).is_ok());
    let other_branch = StreamTip { id: [0; 32], ..tip(1) };
    assert_eq!(refused(Some(&other_branch), 1), RefusedEnvelope::Fork);
    assert_eq!(refused(Some(&other_branch), 2), RefusedEnvelope::Fork);
    // Its own author leaves a number out, the predecessor named as it should be.
    let leap = Header { seq: 4, ..header_of(&sealed[2].bytes) };
    let leap = world.forge(leap, &plaintext::pack(&delta(b"x").encode().unwrap()).unwrap(), &world.keys);
    assert_eq!(world.receive(&SPACE, Some(&tip(1)), &leap), Err(RefusedEnvelope::Chain));
}

#[test]
fn only_an_enrolled_device_writes() {
    let mut world = world();
    let bytes = world.seal(b"hello").bytes;
    world.membership = membership(&[&world.other]);
    assert_eq!(world.receive(&SPACE, None, &bytes), Err(RefusedEnvelope::UnknownAuthor));
}

#[test]
fn a_delta_that_does_not_fit_is_refused_before_anything_is_signed() {
    let mut world = world();
    let noise: Vec<u8> = (0..DELTA_CT_BYTES_MAX / 32).flat_map(|_| random_bytes::<32>(&mut world.random)).collect();
    let too_large = delta(&noise);
    let result = seal(&SPACE, &world.tip, &world.keys, EPOCH, &world.secret, &too_large, &mut world.random);
    assert_eq!(result, Err(RefusedEnvelope::TooLarge));
    let full = StreamTip { seq: u32::MAX, ..world.tip };
    let result = seal(&SPACE, &full, &world.keys, EPOCH, &world.secret, &delta(b""), &mut world.random);
    assert_eq!(result, Err(RefusedEnvelope::StreamFull));
    let result = seal(&SPACE, &world.tip, &world.other, EPOCH, &world.secret, &delta(b""), &mut world.random);
    assert_eq!(result, Err(RefusedEnvelope::UnknownAuthor));
}

#[test]
fn the_largest_change_that_a_split_lets_through_fits_an_envelope() {
    let mut world = world();
    let mut noise = vec![0; crate::delta::CHANGE_BYTES_MAX];
    world.random.fill(&mut noise);
    assert!(world.seal(&noise).bytes.len() <= DELTA_CT_BYTES_MAX + HEADER_BYTES + SIGNATURE_BYTES);
}

#[test]
fn every_envelope_has_its_own_key_even_when_a_position_is_repeated() {
    let mut world = world();
    let tip = world.tip;
    let first = world.seal(b"one");
    world.tip = tip;
    let again = world.seal(b"one");
    let (a, b) = (header_of(&first.bytes), header_of(&again.bytes));
    assert_eq!((a.stream, a.seq, a.prev), (b.stream, b.seq, b.prev));
    assert_ne!(*envelope_key(&world.secret, &a), *envelope_key(&world.secret, &b));
}

/// The file holds, line by line: `name hex`. It is only ever added to.
#[test]
fn a_sealed_envelope_has_the_bytes_of_the_vector() {
    let mut world = world();
    let expected = |name: &str| {
        let line = VECTOR.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in the vector")).to_owned()
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let first = world.seal(b"first");
    let second = world.seal(&b"second ".repeat(200));
    assert_eq!(hex(&world.keys.sign_pk().0), expected("sign_pk"));
    assert_eq!(hex(&world.keys.hpke_pk().0), expected("hpke_pk"));
    assert_eq!(hex(&*world.secret.to_bytes()), expected("epoch_secret"));
    assert_eq!(hex(&world.secret.commitment()), expected("epoch_commitment"));
    assert_eq!(hex(&first.bytes), expected("envelope_1"));
    assert_eq!(hex(&first.id.0), expected("envelope_1_id"));
    // DEFLATE may come out differently in another version of the library: what must hold is that it opens.
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    let kept = unhex(&expected("envelope_2_deflated"));
    assert_eq!(header_of(&kept).prev, first.id.0);
    let tip = StreamTip { seq: 1, id: first.id.0, ..world.tip };
    for (tip, bytes, text) in [(None, &first.bytes, b"first".to_vec()), (Some(&tip), &kept, b"second ".repeat(200))] {
        assert_eq!(world.receive(&SPACE, tip, bytes).unwrap().delta, delta(&text));
    }
    assert!(kept.len() < 1400 && second.bytes.len() < 1400);
}
