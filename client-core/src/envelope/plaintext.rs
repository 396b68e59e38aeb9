//! The plaintext of an envelope: a length, a compressed or plain body, and padding that hides its exact size.
//!
//! ```text
//! u32 inner_len ‖ inner ‖ zeros up to max(256, PADMÉ(4 + inner_len))
//! inner = u8 format = 1 ‖ u8 compression (0 none, 1 raw DEFLATE) ‖ u32 raw_len ‖ body
//! ```

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use lifeos_sync_protocol::envelope::TAG_BYTES;
use lifeos_sync_protocol::limits::{INFLATE_RATIO_MAX, PADDED_BYTES_MIN};

const FORMAT: u8 = 1;
const STORED: u8 = 0;
const DEFLATED: u8 = 1;
const LENGTH_BYTES: usize = 4;
const INNER_HEADER_BYTES: usize = 6;

/// Lays a body out, compressed when that saves more than 5 % and stays within the ratio that receivers accept.
/// `None`: longer than a length field can say.
pub(crate) fn pack(body: &[u8]) -> Option<Vec<u8>> {
    let accepted =
        |deflated: &Vec<u8>| deflated.len() < body.len() / 20 * 19 && deflated.len() >= body.len() / INFLATE_RATIO_MAX;
    let deflated = deflate(body).filter(accepted);
    let (compression, payload) = match &deflated {
        Some(deflated) => (DEFLATED, deflated.as_slice()),
        None => (STORED, body),
    };
    lay_out(compression, body.len(), payload)
}

pub(super) fn lay_out(compression: u8, raw_len: usize, payload: &[u8]) -> Option<Vec<u8>> {
    let inner_len = INNER_HEADER_BYTES + payload.len();
    let padded_len = padded_len(LENGTH_BYTES + inner_len);
    let mut out = Vec::with_capacity(padded_len + TAG_BYTES);
    out.extend_from_slice(&u32::try_from(inner_len).ok()?.to_be_bytes());
    out.extend_from_slice(&[FORMAT, compression]);
    out.extend_from_slice(&u32::try_from(raw_len).ok()?.to_be_bytes());
    out.extend_from_slice(payload);
    out.resize(padded_len, 0);
    Some(out)
}

/// Reads the body out of a plaintext, strictly: one wrong byte of padding is enough to refuse it, so that
/// nothing can be hidden there and every plaintext has one form per compression.
pub(crate) fn unpack(plaintext: &[u8], raw_bytes_max: usize) -> Option<Vec<u8>> {
    let (length, rest) = plaintext.split_first_chunk::<LENGTH_BYTES>()?;
    let inner_len = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (inner, padding) = rest.split_at_checked(inner_len)?;
    if plaintext.len() != padded_len(LENGTH_BYTES + inner_len) || padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    let (header, payload) = inner.split_first_chunk::<INNER_HEADER_BYTES>()?;
    let [format, compression, raw_len @ ..] = *header;
    let raw_len = usize::try_from(u32::from_be_bytes(raw_len)).ok()?;
    if format != FORMAT || raw_len > raw_bytes_max {
        return None;
    }
    match compression {
        STORED => (payload.len() == raw_len).then(|| payload.to_vec()),
        DEFLATED => inflate(payload, raw_len),
        _ => None,
    }
}

/// PADMÉ with a floor of 256: at most 12 % longer, and only 257 different sizes up to 1 MiB
/// (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs").
pub(super) const fn padded_len(length: usize) -> usize {
    if length <= PADDED_BYTES_MIN {
        return PADDED_BYTES_MIN;
    }
    let exponent = length.ilog2();
    let mask = (1_usize << (exponent - (exponent.ilog2() + 1))) - 1;
    (length + mask) & !mask
}

fn deflate(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(body.len() / 2), Compression::default());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

/// Inflates to exactly `raw_len` bytes; stops there, whatever the stream would still give.
fn inflate(payload: &[u8], raw_len: usize) -> Option<Vec<u8>> {
    if raw_len / INFLATE_RATIO_MAX > payload.len() {
        return None;
    }
    inflate_at_most(payload, raw_len).filter(|out| out.len() == raw_len)
}

/// Inflates a whole stream to at most `bytes_max` bytes and at most 256 times its size.
pub(crate) fn inflate_at_most(payload: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let bytes_max = bytes_max.min(payload.len().saturating_mul(INFLATE_RATIO_MAX).saturating_add(INFLATE_RATIO_MAX));
    inflate_from(payload, payload.len(), bytes_max)
}

/// Reads no more of the payload than it takes to see that there is too much in it.
fn inflate_from(payload: impl Read, payload_bytes: usize, bytes_max: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let limit = u64::try_from(bytes_max).ok()?.checked_add(1)?;
    let mut decoder = DeflateDecoder::new(payload);
    decoder.by_ref().take(limit).read_to_end(&mut out).ok()?;
    let whole = usize::try_from(decoder.total_in()).ok()? == payload_bytes;
    (whole && out.len() <= bytes_max).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_has_a_floor_and_few_sizes() {
        assert_eq!([0, 1, 256, 257, 300].map(padded_len), [256, 256, 256, 272, 304]);
        let mut sizes: Vec<usize> = (0..=1024 * 1024).map(padded_len).collect();
        sizes.dedup();
        assert!(sizes.is_sorted());
        assert_eq!(sizes.len(), 257);
        assert!((257..=1_000_000).all(|length| padded_len(length) <= length + length / 8));
    }

    #[test]
    fn only_a_real_saving_is_compressed() {
        let text = b"the same words over and over ".repeat(40);
        assert_eq!(pack(&text).unwrap()[5], DEFLATED);
        assert_eq!(pack(b"short").unwrap()[5], STORED);
    }

    #[test]
    fn wrong_lengths_and_padding_are_refused() {
        let body = b"body".to_vec();
        let packed = pack(&body).unwrap();
        assert_eq!(unpack(&packed, 100), Some(body));
        let change = |at: usize, value: u8| {
            let mut changed = packed.clone();
            changed[at] = value;
            unpack(&changed, 100)
        };
        assert_eq!(change(3, packed[3] + 1), None, "inner_len longer");
        assert_eq!(change(3, packed[3] - 1), None, "inner_len shorter");
        assert_eq!(change(0, 0xff), None, "inner_len longer than the plaintext");
        assert_eq!(change(4, 2), None, "unknown format");
        assert_eq!(change(5, 7), None, "unknown compression");
        assert_eq!(change(9, packed[9] + 1), None, "raw_len");
        assert_eq!(change(14, 1), None, "first byte of padding");
        assert_eq!(change(255, 1), None, "last byte of padding");
        assert_eq!(unpack(&packed[..255], 100), None, "missing padding");
        assert_eq!(unpack(&[packed.clone(), vec![0]].concat(), 100), None, "too much padding");
        assert_eq!(unpack(&packed, 3), None, "above the limit");
    }

    #[test]
    fn a_deflate_bomb_is_bounded() {
        let bomb = deflate(&vec![0; 4 * 1024 * 1024]).unwrap();
        for claimed in [0, 10, 1000, bomb.len() * INFLATE_RATIO_MAX, 4 * 1024 * 1024, usize::MAX >> 8] {
            let plaintext = lay_out(DEFLATED, claimed.min(u32::MAX as usize), &bomb).unwrap();
            assert_eq!(unpack(&plaintext, 8 * 1024 * 1024), None, "{claimed}");
        }
    }

    /// Counts what is read of it.
    struct Counted<'a>(&'a [u8], &'a mut usize);

    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.0.read(buffer)?;
            *self.1 += count;
            Ok(count)
        }
    }

    #[test]
    fn no_more_is_inflated_than_it_takes_to_see_that_it_is_too_much() {
        let bomb = deflate(&vec![0; 256 * 1024 * 1024]).unwrap();
        let mut read = 0;
        assert_eq!(inflate_from(Counted(&bomb, &mut read), bomb.len(), 1024 * 1024), None);
        assert!(read < bomb.len() / 2, "{read} of {} bytes read", bomb.len());
    }

    #[test]
    fn bytes_after_the_deflate_stream_are_refused() {
        let body = vec![7; 1000];
        let mut payload = deflate(&body).unwrap();
        assert_eq!(inflate(&payload, 1000), Some(body));
        payload.push(0);
        assert_eq!(inflate(&payload, 1000), None);
    }

    #[test]
    fn what_compresses_beyond_the_ratio_is_stored_so_that_it_opens() {
        let zeros = vec![0; 500_000];
        let packed = pack(&zeros).unwrap();
        assert_eq!(packed[5], STORED);
        assert_eq!(unpack(&packed, zeros.len()), Some(zeros));
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks(body in prop::collection::vec(0_u8..4, 0..3000)) {
            let packed = pack(&body).unwrap();
            prop_assert_eq!(unpack(&packed, 3000), Some(body));
        }

        #[test]
        fn unpacking_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            drop(unpack(&bytes, 4096));
        }
    }
}
