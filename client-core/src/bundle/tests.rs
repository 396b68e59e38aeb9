//! Bundles written, read, cut short and altered.

use lifeos_sync_protocol::ids::StreamId;
use proptest::prelude::*;

use super::*;

const SPACE: SpaceId = SpaceId([5; 32]);

fn have() -> Vec<Have> {
    vec![Have { stream: StreamId([1; 16]), floor: 2, tip: 4, tip_id: [9; 8], holes: Vec::new() }]
}

fn written(records: &[Vec<u8>], pages: &[Vec<Vec<u8>>]) -> Vec<u8> {
    let mut writer = BundleWriter::begin(Vec::new(), &SPACE, have()).unwrap();
    writer.records(records.iter().cloned()).unwrap();
    pages.iter().for_each(|page| writer.envelopes(page.clone()).unwrap());
    let (out, bytes) = writer.finish().unwrap();
    assert_eq!(bytes, out.len() as u64);
    out
}

fn small() -> Vec<u8> {
    written(&[b"one".to_vec(), b"two".to_vec()], &[vec![b"three".to_vec()], vec![b"four".to_vec(), b"five".to_vec()]])
}

/// All parts, and how it ended.
fn read(bytes: &[u8]) -> Result<(Vec<Part>, Option<BundleError>), BundleError> {
    let mut reader = BundleReader::open(bytes)?;
    let mut parts = Vec::new();
    loop {
        match reader.next_part() {
            Ok(Some(part)) => parts.push(part),
            Ok(None) => return Ok((parts, None)),
            Err(error) => return Ok((parts, Some(error))),
        }
    }
}

/// The bundle with its last 36 bytes, end mark and hash, put right.
fn ended_anew(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut hash = Hasher::new("bundle");
    bytes.extend([0; 4]);
    hash.update(&bytes);
    bytes.extend(hash.finish());
    bytes
}

fn framed(frame: &Frame, req_id: u32) -> Vec<u8> {
    let bytes = frame.encode(req_id);
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
}

#[test]
fn what_was_written_is_read() {
    let whole = small();
    let reader = BundleReader::open(&whole[..]).unwrap();
    assert_eq!((reader.space(), reader.streams()), (SPACE, &have()[..]));
    let (parts, ended) = read(&whole).unwrap();
    assert!(ended.is_none());
    let expected = [
        Part::Records(vec![b"one".to_vec(), b"two".to_vec()]),
        Part::Envelopes(vec![b"three".to_vec()]),
        Part::Envelopes(vec![b"four".to_vec(), b"five".to_vec()]),
    ];
    assert_eq!(parts, expected);
    let (parts, ended) = read(&written(&[], &[])).unwrap();
    assert!(ended.is_none());
    assert_eq!(parts, [Part::Records(Vec::new()), Part::Envelopes(Vec::new())]);
}

#[test]
fn many_records_go_in_frames_of_bounded_size() {
    let records: Vec<Vec<u8>> = (0..1_000_u32).map(|number| vec![number.to_le_bytes()[0]; 9_000]).collect();
    let (parts, ended) = read(&written(&records, &[])).unwrap();
    assert!(ended.is_none());
    assert!(parts.len() > 8);
    let all: Vec<Vec<u8>> = parts
        .into_iter()
        .flat_map(|part| match part {
            Part::Records(records) => {
                assert!(records.len() <= FRAME_RECORDS_MAX);
                assert!(records.iter().map(Vec::len).sum::<usize>() <= RECORDS_BYTES);
                records
            }
            Part::Envelopes(envelopes) => envelopes,
        })
        .collect();
    assert_eq!(all, records);
}

#[test]
fn a_bundle_cut_at_any_byte_is_noticed() {
    let whole = small();
    for at in 0..whole.len() {
        match read(&whole[..at]) {
            Err(BundleError::NotABundle) => assert!(at < 8),
            Err(error) => assert!(matches!(error, BundleError::Truncated), "{at}: {error}"),
            Ok((_, ended)) => assert!(matches!(ended, Some(BundleError::Truncated)), "{at}: {ended:?}"),
        }
    }
    assert!(matches!(read(&[&whole[..], &[0]].concat()), Ok((_, Some(BundleError::Damaged)))));
}

#[test]
fn a_bundle_changed_at_any_byte_is_noticed() {
    let whole = small();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(!matches!(read(&changed), Ok((_, None))), "{at}");
    }
}

#[test]
fn a_frame_that_does_not_belong_is_passed_over_and_the_rest_is_given() {
    let whole = small();
    let head = &whole[..8 + 1 + 32];
    let have = framed(&Frame::Have { session: 0, streams: have() }, 0);
    let rec = |more| Frame::Rec { session: 0, records: vec![b"record".to_vec()], more };
    let items = |pos, next, more| {
        let items = vec![Item { pos, envelope: b"envelope".to_vec() }];
        Frame::Items { session: 0, items, next, roll: Roll::ZERO, more }
    };
    let (good_rec, good_items) = (framed(&rec(false), 0), framed(&items(0, 0, false), 0));
    let with = |frames: &[&[u8]]| read(&ended_anew([head, &have, &frames.concat()].concat())).unwrap();
    let (parts, ended) = with(&[&good_rec, &good_items]);
    assert!(ended.is_none() && parts.len() == 2);
    let strange = framed(&Frame::Ping { payload: 1 }, 0);
    let garbage = [&5_u32.to_be_bytes()[..], b"hello"].concat();
    let other_session = framed(&Frame::Rec { session: 1, records: Vec::new(), more: false }, 0);
    let answered = framed(&rec(false), 7);
    let placed = framed(&items(0, 1, false), 0);
    for bad in [&strange, &garbage, &other_session, &answered, &placed] {
        let (parts, ended) = with(&[&good_rec, bad, &good_items]);
        assert!(matches!(ended, Some(BundleError::Damaged)));
        assert_eq!(parts.len(), 2);
    }
    let unpromised = [framed(&rec(true), 0), framed(&items(0, 0, true), 0), framed(&items(1, 0, false), 0)];
    for frames in [
        &[&good_items[..], &good_rec][..],
        &[&good_rec],
        &[&good_items],
        &[],
        &[&good_rec, &good_rec, &good_items],
        &[&good_rec, &good_items, &good_items],
        &[&unpromised[0], &good_items],
        &[&good_rec, &unpromised[1]],
        &[&good_rec, &unpromised[2]],
    ] {
        assert!(matches!(with(frames).1, Some(BundleError::Damaged)));
    }
    assert!(matches!(read(&ended_anew([head, &good_rec].concat())), Err(BundleError::Damaged)));
}

#[test]
fn other_files_and_newer_versions_are_named() {
    assert!(matches!(read(b"LSBACKUPxxxxxx"), Err(BundleError::NotABundle)));
    let mut newer = small();
    newer[8] = 2;
    assert!(matches!(read(&newer), Err(BundleError::NewerVersion)));
}

#[test]
fn a_length_alone_takes_no_memory() {
    let mut bytes = small()[..41].to_vec();
    bytes.extend(u32::try_from(FRAME_BYTES_MAX).unwrap().to_be_bytes());
    assert!(matches!(read(&bytes), Err(BundleError::Truncated)));
    bytes.truncate(41);
    bytes.extend(u32::MAX.to_be_bytes());
    assert!(matches!(read(&bytes), Err(BundleError::Damaged)));
}

proptest! {
    #[test]
    fn any_bytes_end_with_an_error_or_are_what_a_writer_makes(tail in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..300) {
        let mut bytes = small();
        bytes.truncate(cut);
        bytes.extend(tail);
        if let Ok((_, None)) = read(&bytes) {
            prop_assert_eq!(bytes, small());
        }
    }
}
