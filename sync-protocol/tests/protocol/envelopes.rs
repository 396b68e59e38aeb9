//! Envelopes: no changed bit, cut or size gets past layout and signature.

use lifeos_sync_protocol::envelope::{
    Envelope, EnvelopeError, HEADER_BYTES, Header, Kind, TAG_BYTES, assemble, signing_message,
};
use lifeos_sync_protocol::ids::{SignPk, Signature, SpaceId};
use lifeos_sync_protocol::limits::{CHUNK_CT_BYTES_MAX, DELTA_CT_BYTES_MAX};
use proptest::prelude::*;

use super::kit;

fn is_accepted(bytes: Vec<u8>, space: &SpaceId, author: &SignPk) -> bool {
    Envelope::parse(bytes).is_ok_and(|envelope| envelope.verify_signature(space, author).is_ok())
}

#[test]
fn every_kind_is_accepted_from_its_author_in_its_space_only() {
    for (name, envelope) in kit::envelopes() {
        let author = kit::founder().sign_pk;
        assert_eq!(envelope.verify_signature(&kit::space(), &author), Ok(envelope.id(&kit::space())), "{name}");
        let elsewhere = envelope.verify_signature(&SpaceId([1; 32]), &author);
        assert_eq!(elsewhere, Err(EnvelopeError::Signature), "{name} in another space");
        let another = envelope.verify_signature(&kit::space(), &kit::recovery().sign_pk);
        assert_eq!(another, Err(EnvelopeError::Signature), "{name} by another device");
        // The id names the space, and so does what is signed over it: each would do alone.
        let (here, there) = (kit::space(), SpaceId([1; 32]));
        let id = envelope.id(&here);
        assert_ne!(id, envelope.id(&there), "{name}");
        assert_ne!(signing_message(&here, &id), signing_message(&there, &id), "{name}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let (space, author) = (kit::space(), kit::founder().sign_pk);
    for (name, envelope) in kit::envelopes() {
        assert!(is_accepted(envelope.bytes().to_vec(), &space, &author), "{name}");
        for at in 0..envelope.bytes().len() {
            let mut bytes = envelope.bytes().to_vec();
            bytes[at] ^= 1 << (at % 8);
            assert!(!is_accepted(bytes, &space, &author), "{name} byte {at}");
        }
    }
}

#[test]
fn an_unknown_version_kind_suite_or_flag_is_refused_by_the_layout_alone() {
    let (_, envelope) = kit::envelopes().remove(0);
    let known: [&[u8]; 4] = [&[1], &[0x01, 0x02, 0x03, 0x40, 0x41], &[1], &[0, 1]];
    for (at, known) in known.iter().enumerate() {
        for value in 0..=u8::MAX {
            let mut bytes = envelope.bytes().to_vec();
            bytes[at] = value;
            let is_unknown = matches!(Envelope::parse(bytes), Err(EnvelopeError::Unknown(_)));
            assert_eq!(is_unknown, !known.contains(&value), "byte {at} = {value:#04x}");
        }
    }
}

#[test]
fn an_envelope_cut_or_extended_anywhere_is_refused() {
    for (name, envelope) in kit::envelopes() {
        for length in 0..envelope.bytes().len() {
            assert!(Envelope::parse(envelope.bytes()[..length].to_vec()).is_err(), "{name} cut to {length}");
        }
        let mut bytes = envelope.bytes().to_vec();
        bytes.push(0);
        assert_eq!(Envelope::parse(bytes), Err(EnvelopeError::Length), "{name} extended");
    }
}

#[test]
fn extreme_sizes_are_refused_from_the_header_alone() {
    let sized = |kind, ct_len| Header::decode(&Header { ct_len, ..kit::header(kind) }.encode());
    for ct_len in [0, 1, TAG_BYTES as u32 - 1, DELTA_CT_BYTES_MAX as u32 + 1, i32::MAX as u32, u32::MAX] {
        assert_eq!(sized(Kind::Delta, ct_len), Err(EnvelopeError::Size(ct_len)));
    }
    assert!(sized(Kind::Delta, TAG_BYTES as u32).is_ok());
    assert!(sized(Kind::Delta, DELTA_CT_BYTES_MAX as u32).is_ok());
    assert!(sized(Kind::Chunk, CHUNK_CT_BYTES_MAX as u32).is_ok());
    assert!(sized(Kind::Chunk, CHUNK_CT_BYTES_MAX as u32 + 1).is_err());
    // A size that the limits allow but the bytes do not have.
    let header = Header { ct_len: 1000, ..kit::header(Kind::Delta) };
    assert_eq!(Envelope::parse(assemble(&header, &[0; 999], &Signature([0; 64]))), Err(EnvelopeError::Length));
}

#[test]
fn a_position_must_fit_its_kind() {
    let moved = |kind, seq, prev| Header::decode(&Header { seq, prev, ..kit::header(kind) }.encode()).is_ok();
    assert!(!moved(Kind::Delta, 0, [1; 32]));
    assert!(moved(Kind::Delta, u32::MAX, [1; 32]));
    for kind in [Kind::Chunk, Kind::BlobPart] {
        assert!(moved(kind, 0, [0; 32]));
        assert!(moved(kind, 0, [1; 32]));
        assert!(!moved(kind, 1, [1; 32]));
    }
    for kind in [Kind::Receipt, Kind::Ephemeral] {
        assert!(moved(kind, 5, [0; 32]));
        assert!(!moved(kind, 5, [1; 32]));
    }
}

#[test]
fn the_parts_are_where_the_layout_says() {
    let (_, envelope) = kit::envelopes().remove(0);
    assert_eq!(envelope.header().encode(), envelope.bytes()[..HEADER_BYTES]);
    assert_eq!(envelope.ciphertext(), [0xcc; 272]);
    assert_eq!(assemble(envelope.header(), envelope.ciphertext(), &envelope.signature()), envelope.bytes());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(envelope) = Envelope::parse(bytes.clone()) {
            prop_assert_eq!(envelope.into_bytes(), bytes);
        }
    }

    #[test]
    fn headers_survive_a_round_trip(
        kind in prop_oneof![Just(Kind::Delta), Just(Kind::Receipt)],
        ids in any::<([u8; 16], [u8; 16], [u8; 16])>(),
        seq in 1..=u32::MAX,
        ct_len in 16..=DELTA_CT_BYTES_MAX as u32,
        flags in 0..=1_u8,
    ) {
        let header = Header {
            kind,
            flags,
            stream: ids.0.into(),
            seq,
            prev: if kind == Kind::Delta { [3; 32] } else { [0; 32] },
            epoch: ids.1.into(),
            salt: ids.2,
            ct_len,
        };
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }
}
