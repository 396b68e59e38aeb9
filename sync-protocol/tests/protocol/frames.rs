//! Frames: all survive a round trip; whatever is not exactly a frame is refused without a panic.

use std::collections::BTreeSet;

use lifeos_sync_protocol::frame::{ErrorCode, Frame, FrameError, Have, Want};
use lifeos_sync_protocol::ids::StreamId;
use lifeos_sync_protocol::limits::{
    FRAME_BYTES_MAX, FRAME_ENVELOPES_MAX, FRAME_RECORDS_MAX, OBJECT_PART_BYTES_MAX, RDV_MESSAGE_BYTES_MAX,
    WAKEUP_TOKEN_BYTES_MAX, WAKEUP_URL_BYTES_MAX,
};
use proptest::prelude::*;

use super::kit;

fn is_malformed(frame: &Frame) -> bool {
    matches!(Frame::decode(&frame.encode(0)), Err(FrameError::Malformed { .. }))
}

#[test]
fn every_frame_survives_a_round_trip() {
    for (name, frame) in kit::frames() {
        assert_eq!(Frame::decode(&frame.encode(77)), Ok((77, frame)), "{name}");
    }
}

#[test]
fn the_samples_cover_every_type_byte() {
    let sampled: BTreeSet<u8> = kit::frames().iter().map(|(_, frame)| frame.kind()).collect();
    for tag in 0..=u8::MAX {
        let unknown = Frame::decode(&[tag, 0, 0, 0, 0, 0]) == Err(FrameError::UnknownType(tag));
        assert_eq!(sampled.contains(&tag), !unknown, "type {tag:#04x}");
    }
}

#[test]
fn every_error_code_survives_a_round_trip() {
    for code in ErrorCode::ALL {
        let frame = Frame::Error { code, fatal: false, retry_after_ms: 0, message: String::new() };
        assert_eq!(Frame::decode(&frame.encode(0)), Ok((0, frame)));
    }
}

#[test]
fn a_frame_cut_or_extended_anywhere_is_refused() {
    for (name, frame) in kit::frames() {
        let mut bytes = frame.encode(1);
        for length in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..length]).is_err(), "{name} cut to {length}");
        }
        bytes.push(0);
        assert!(Frame::decode(&bytes).is_err(), "{name} extended");
    }
}

#[test]
fn an_unknown_flag_is_refused() {
    for (name, frame) in kit::frames() {
        let mut bytes = frame.encode(1);
        bytes[1] = 0x80;
        assert!(Frame::decode(&bytes).is_err(), "{name}");
    }
}

#[test]
fn a_forged_count_is_refused_before_anything_is_reserved() {
    for (name, frame) in kit::frames() {
        let bytes = frame.encode(1);
        for at in 6..bytes.len().saturating_sub(3) {
            let mut forged = bytes.clone();
            forged[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
            // Some of these only change data. What decodes must encode to the same bytes again.
            if let Ok((req_id, frame)) = Frame::decode(&forged) {
                assert_eq!(frame.encode(req_id), forged, "{name} at {at}");
            }
        }
    }
}

#[test]
fn a_frame_above_the_limit_is_refused_by_its_size_alone() {
    let bytes = vec![0x7e; FRAME_BYTES_MAX + 1];
    assert_eq!(Frame::decode(&bytes), Err(FrameError::TooLarge { bytes: FRAME_BYTES_MAX + 1 }));
}

#[test]
fn lists_and_messages_above_their_limits_are_refused() {
    let push = |count| Frame::Push { session: 0, envelopes: vec![vec![]; count] };
    assert!(!is_malformed(&push(FRAME_ENVELOPES_MAX)));
    assert!(is_malformed(&push(FRAME_ENVELOPES_MAX + 1)));
    let rec = |count| Frame::Rec { session: 0, records: vec![vec![]; count], more: false };
    assert!(!is_malformed(&rec(FRAME_RECORDS_MAX)));
    assert!(is_malformed(&rec(FRAME_RECORDS_MAX + 1)));
    let put = |size| Frame::RdvPut { rdv: [0; 16].into(), message: vec![0; size] };
    assert!(!is_malformed(&put(RDV_MESSAGE_BYTES_MAX)));
    assert!(is_malformed(&put(RDV_MESSAGE_BYTES_MAX + 1)));
    let part = |size| Frame::Part { session: 0, total: u32::MAX, from: 0, more: true, bytes: vec![0; size] };
    assert!(!is_malformed(&part(OBJECT_PART_BYTES_MAX)));
    assert!(is_malformed(&part(OBJECT_PART_BYTES_MAX + 1)));
}

#[test]
fn a_wish_to_be_woken_is_one_address_and_one_token_within_their_limits() {
    // As `Frame::encode` writes it, but with parts that no sender of ours could put together.
    let wakeup = |way: u8, url: &str, token: &str| {
        let mut bytes = vec![0x41, 0, 0, 0, 0, 1, 0, 0, 0, 3, 1, way];
        for part in [url, token] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Frame::decode(&bytes)
    };
    let (url, token) = ("https://push.example/up", "0123456789abcdef");
    assert!(matches!(wakeup(1, url, token), Ok((1, Frame::Wakeup { session: 3, target: Some(target) }))
        if (target.url(), target.token()) == (url, token)));
    let room = WAKEUP_URL_BYTES_MAX - url.len();
    assert!(wakeup(1, &format!("{url}{}", "a".repeat(room)), token).is_ok());
    let (long_url, long_token) = (format!("{url}{}", "a".repeat(room + 1)), "a".repeat(WAKEUP_TOKEN_BYTES_MAX + 1));
    for (way, url, token) in [
        (0, url, token),
        (2, url, token),
        (1, "", token),
        (1, "gopher://push.example/", token),
        (1, "https://push.example/\r\nHost: elsewhere", token),
        (1, "https://user@push.example/", token),
        (1, &long_url, token),
        (1, url, ""),
        (1, url, "short"),
        (1, url, "0123456789abcdef\n"),
        (1, url, &long_token),
    ] {
        assert!(
            matches!(wakeup(way, url, token), Err(FrameError::Malformed { frame: "WAKEUP", .. })),
            "{way} {url} {token}"
        );
    }
}

#[test]
fn a_have_must_be_sorted_and_its_holes_must_fit() {
    let have = |stream, floor, tip, holes: &[(u32, u32)]| Have {
        stream: StreamId([stream; 16]),
        floor,
        tip,
        tip_id: [0; 8],
        holes: holes.to_vec(),
    };
    let refused = |streams: Vec<Have>| is_malformed(&Frame::Have { session: 0, streams });
    assert!(!refused(vec![have(1, 0, 9, &[(1, 2), (4, 5)]), have(2, 0, 0, &[])]));
    assert!(refused(vec![have(2, 0, 9, &[]), have(1, 0, 9, &[])]), "descending");
    assert!(refused(vec![have(1, 0, 9, &[]), have(1, 0, 9, &[])]), "repeated");
    assert!(refused(vec![have(1, 5, 4, &[])]), "tip below floor");
    assert!(refused(vec![have(1, 5, 9, &[(5, 1)])]), "hole at the floor");
    assert!(refused(vec![have(1, 0, 9, &[(3, 0)])]), "empty hole");
    assert!(refused(vec![have(1, 0, 9, &[(3, 7)])]), "hole over the tip");
    assert!(refused(vec![have(1, 0, 9, &[(2, 3), (4, 1)])]), "overlapping holes");
    assert!(refused(vec![have(1, 0, 9, &[(2, 2), (4, 1)])]), "touching holes");
    assert!(refused(vec![have(1, 0, 9, &[(2, u32::MAX)])]), "hole past the last number");
}

#[test]
fn a_want_is_a_range() {
    let want =
        |from, to| Frame::Want { session: 0, ranges: vec![Want { stream: [1; 16].into(), from, to }], objects: vec![] };
    assert!(!is_malformed(&want(1, u32::MAX)));
    assert!(is_malformed(&want(0, 1)));
    assert!(is_malformed(&want(2, 1)));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok((req_id, frame)) = Frame::decode(&bytes) {
            prop_assert_eq!(frame.encode(req_id), bytes);
        }
    }

    #[test]
    fn random_bodies_under_known_types_never_panic(
        sample in 0..kit::frames().len(),
        at in any::<proptest::sample::Index>(),
        patch in proptest::collection::vec(any::<u8>(), 1..8),
    ) {
        let mut bytes = kit::frames()[sample].1.encode(5);
        let start = at.index(bytes.len());
        for (byte, new) in bytes[start..].iter_mut().zip(patch) {
            *byte = new;
        }
        if let Ok((req_id, frame)) = Frame::decode(&bytes) {
            prop_assert_eq!(frame.encode(req_id), bytes);
        }
    }
}
