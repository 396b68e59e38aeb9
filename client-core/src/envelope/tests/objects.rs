//! Envelopes outside streams: who may write them, and that nothing of them can be exchanged.

use super::*;

const OUTSIDE: [Kind; 4] = [Kind::Chunk, Kind::BlobPart, Kind::Ephemeral, Kind::Receipt];

impl World {
    fn object(&mut self, kind: Kind, seq: u32, body: &[u8]) -> Result<SealedEnvelope, RefusedEnvelope> {
        let r32 = if matches!(kind, Kind::Chunk | Kind::BlobPart) { self.tip.id } else { [0; 32] };
        let place = ObjectPlace { kind, stream: self.tip.stream, seq, r32, epoch: EPOCH };
        seal_object(&SPACE, &place, &self.keys, &self.secret, body, &mut self.random)
    }

    fn receive_object(&self, space: &SpaceId, author: &SignPk, bytes: &[u8]) -> Result<OpenedObject, RefusedEnvelope> {
        let envelope = Envelope::parse(bytes.to_vec()).map_err(|_| RefusedEnvelope::Layout)?;
        open_object(space, &verify_object(space, &self.membership, author, envelope)?, &self.keyring)
    }
}

#[test]
fn every_kind_outside_streams_opens_and_keeps_its_place() {
    let mut world = world();
    for (kind, seq) in [(Kind::Chunk, 0), (Kind::BlobPart, 0), (Kind::Ephemeral, 7), (Kind::Receipt, u32::MAX)] {
        let sealed = world.object(kind, seq, b"body").unwrap();
        let opened = world.receive_object(&SPACE, &world.keys.sign_pk(), &sealed.bytes).unwrap();
        assert_eq!((opened.id, opened.place.kind, opened.place.seq), (sealed.id, kind, seq));
        assert_eq!((opened.body.as_slice(), opened.author), (&b"body"[..], world.keys.sign_pk()));
    }
}

#[test]
fn no_byte_of_an_envelope_outside_streams_can_be_changed() {
    let mut world = world();
    for kind in OUTSIDE {
        let bytes = world.object(kind, 0, b"body").unwrap().bytes;
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(world.receive_object(&SPACE, &world.keys.sign_pk(), &changed).is_err(), "{kind:?} byte {at}");
        }
    }
}

#[test]
fn a_ciphertext_of_one_kind_is_none_of_another_even_under_its_own_header() {
    let mut world = world();
    let bytes = world.object(Kind::BlobPart, 0, b"body").unwrap().bytes;
    let header = header_of(&bytes);
    let keys: Vec<_> =
        OUTSIDE.iter().map(|kind| *envelope_key(&world.secret, &Header { kind: *kind, ..header })).collect();
    let mut different = keys.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), keys.len(), "each kind has its own key context");
    let ciphertext = &bytes[HEADER_BYTES..bytes.len() - SIGNATURE_BYTES];
    for kind in [Kind::Chunk, Kind::Ephemeral, Kind::Receipt] {
        let prev = if kind == Kind::Chunk { header.prev } else { [0; 32] };
        let moved = finish(&SPACE, &world.keys, &Header { kind, prev, ..header }, ciphertext).unwrap().bytes;
        let refused = world.receive_object(&SPACE, &world.keys.sign_pk(), &moved);
        assert_eq!(refused, Err(RefusedEnvelope::DoesNotOpen), "{kind:?}");
    }
}

#[test]
fn a_delta_is_never_taken_for_an_object_nor_an_object_for_a_delta() {
    let mut world = world();
    let delta = world.seal(b"hello").bytes;
    assert_eq!(world.receive_object(&SPACE, &world.keys.sign_pk(), &delta), Err(RefusedEnvelope::Layout));
    assert_eq!(world.object(Kind::Delta, 1, b"body"), Err(RefusedEnvelope::Layout));
    let chunk = world.object(Kind::Chunk, 0, b"body").unwrap().bytes;
    assert_eq!(world.receive(&SPACE, None, &chunk), Err(RefusedEnvelope::Layout));
    assert_eq!(world.object(Kind::Chunk, 1, b"body"), Err(RefusedEnvelope::Layout), "a chunk has no position");
}

#[test]
fn an_object_belongs_to_its_signer_and_its_space() {
    let mut world = world();
    let bytes = world.object(Kind::Chunk, 0, b"body").unwrap().bytes;
    let (own, other) = (world.keys.sign_pk(), world.other.sign_pk());
    assert_eq!(world.receive_object(&SPACE, &other, &bytes), Err(RefusedEnvelope::Signature));
    assert_eq!(world.receive_object(&SpaceId([9; 32]), &own, &bytes), Err(RefusedEnvelope::Signature));
    let stranger = SignPk([8; 32]);
    assert_eq!(world.receive_object(&SPACE, &stranger, &bytes), Err(RefusedEnvelope::UnknownAuthor));
    world.keyring = Keyring::default();
    assert_eq!(world.receive_object(&SPACE, &own, &bytes), Err(RefusedEnvelope::UnknownEpoch));
}

#[test]
fn a_reader_may_be_present_and_acknowledge_but_not_write_content() {
    let mut world = world();
    world.membership.members.get_mut(&MemberId([7; 16])).unwrap().role = Role::Reader;
    for kind in OUTSIDE {
        let bytes = world.object(kind, 0, b"body").unwrap().bytes;
        let result = world.receive_object(&SPACE, &world.keys.sign_pk(), &bytes).map(|opened| opened.place.kind);
        let content = matches!(kind, Kind::Chunk | Kind::BlobPart);
        assert_eq!(result, if content { Err(RefusedEnvelope::NotWriter) } else { Ok(kind) });
    }
}

#[test]
fn a_removed_device_is_neither_present_nor_acknowledges() {
    let mut world = world();
    let own = world.keys.sign_pk();
    world.membership.devices.get_mut(&own).unwrap().removed_by = Some(RecordId([1; 32]));
    for kind in OUTSIDE {
        let bytes = world.object(kind, 0, b"body").unwrap().bytes;
        assert_eq!(world.receive_object(&SPACE, &own, &bytes), Err(RefusedEnvelope::NotWriter), "{kind:?}");
    }
}

#[test]
fn a_chunk_may_be_larger_than_a_delta_and_no_kind_passes_its_own_limit() {
    let mut world = world();
    let mut noise = vec![0; 2 * DELTA_CT_BYTES_MAX];
    world.random.fill(&mut noise);
    let chunk = world.object(Kind::Chunk, 0, &noise).unwrap().bytes;
    let opened = world.receive_object(&SPACE, &world.keys.sign_pk(), &chunk).unwrap();
    assert!(opened.body.as_slice() == noise.as_slice());
    for kind in [Kind::BlobPart, Kind::Ephemeral, Kind::Receipt] {
        assert_eq!(world.object(kind, 0, &noise), Err(RefusedEnvelope::TooLarge), "{kind:?}");
    }
    let zeros = vec![0; 32 * 1024 * 1024 + 1];
    assert_eq!(world.object(Kind::Chunk, 0, &zeros), Err(RefusedEnvelope::TooLarge));
}
