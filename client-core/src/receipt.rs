//! What a device says of itself in a Receipt envelope: how far every stream lies on its disk (protocol, "Receipts").
//!
//! ```text
//! Receipt  { 1: r32                    with the device's key it gives the stream id of the header: whose receipt it is
//!            2: ms UTC                 when it was true, by the device's own clock
//!            3: [[stream(16), seq] …]  ascending; the device's own streams are left out
//!            4: app bytes              as in a Delta, when not empty
//!            5: number                 envelopes among these that are set aside there, when not zero
//!            n: anything }             passed over
//! ```
//!
//! A device that only reads writes no stream, so nobody knows whose the stream id of its header is: the random bytes
//! that the id commits to lie inside. They are read before the signature is checked, which only who holds the epoch's
//! key can bring about.

use lifeos_sync_protocol::envelope::{Envelope, Kind};
use lifeos_sync_protocol::ids::{SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::limits::RECEIPT_CT_BYTES_MAX;
use lifeos_sync_protocol::membership::Membership;

use crate::cbor::{CborError, Reader, Writer};
use crate::crypto::Random;
use crate::envelope::{ObjectPlace, RefusedEnvelope, SealedEnvelope, open_then_verify, seal_object, writer_of};
use crate::keys::{DeviceKeys, Keyring, ReceiptKey};

/// Most streams in one receipt, so that it stays below what a relay keeps of a device.
pub const RECEIPT_STREAMS_MAX: usize = 600;
/// Longest advice in one receipt.
pub const RECEIPT_APP_BYTES_MAX: usize = 1024;

/// Live: nothing has come for so long.
pub const QUIET_MS: u64 = 3_000;
/// Live: so many new items do not wait until [`every_ms`] is over.
pub const NEWS_MAX: usize = 1_000;
/// Live: time between two receipts of a small space.
const EVERY_MS_MIN: u64 = 60_000;
/// Live: what each device of a space adds once there are many, because each one's receipt goes to each other.
const EVERY_MS_PER_DEVICE: u64 = 2_000;

/// Time between two receipts of a live connection. `random` spreads them, up to a quarter more: all devices hear of
/// an edit at once.
#[must_use]
pub fn every_ms(devices: usize, random: u64) -> u64 {
    let devices = u64::try_from(devices).unwrap_or(u64::MAX);
    let every_ms = EVERY_MS_MIN.max(EVERY_MS_PER_DEVICE.saturating_mul(devices));
    every_ms.saturating_add(random % (every_ms / 4))
}

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// What its stream id commits to.
    pub r32: [u8; 32],
    /// When it was true (ms UTC), by the device's own clock.
    pub said_ms: i64,
    /// Other devices' streams and how far they are held without a gap, as far as they count; ascending.
    pub held: Vec<(StreamId, u32)>,
    /// Advice, as in a Delta.
    pub app: Vec<u8>,
    /// Envelopes that are held and set aside.
    pub set_aside: u32,
}

/// Why a receipt is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedReceipt {
    /// Too large, or no receipt.
    #[error("the envelope is no receipt")]
    Layout,
    /// Not for this device, or by nobody who may say this.
    #[error(transparent)]
    Envelope(#[from] RefusedEnvelope),
    /// It opens, and is not in its canonical form or above a limit.
    #[error("the receipt is not in its canonical form")]
    Malformed,
    /// Not newer than the one that is known.
    #[error("the receipt is not newer than the one that is known")]
    Older,
}

/// A receipt whose author is enrolled and signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedReceipt {
    /// Whose it is.
    pub device: SignPk,
    /// The device's own count: a later receipt has a higher one.
    pub count: u32,
    /// What it says.
    pub receipt: Receipt,
}

impl Receipt {
    /// The canonical bytes; [`Self::held`] is sorted here.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut held = self.held.clone();
        held.sort_unstable();
        let mut writer = Writer::default();
        writer.map(3 + usize::from(!self.app.is_empty()) + usize::from(self.set_aside > 0));
        writer.uint(1).bytes(&self.r32).uint(2).uint(u64::try_from(self.said_ms).unwrap_or(0));
        writer.uint(3).array(held.len());
        for (stream, seq) in &held {
            writer.array(2).bytes(&stream.0).uint(u64::from(*seq));
        }
        if !self.app.is_empty() {
            writer.uint(4).bytes(&self.app);
        }
        if self.set_aside > 0 {
            writer.uint(5).uint(u64::from(self.set_aside));
        }
        writer.finish()
    }

    /// Reads a receipt; allocates no more than the input's size.
    ///
    /// # Errors
    /// [`RefusedReceipt::Malformed`] for anything that is not exactly one canonical receipt within the limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, RefusedReceipt> {
        Self::read(bytes).map_err(|_| RefusedReceipt::Malformed)
    }

    fn read(bytes: &[u8]) -> Result<Self, CborError> {
        let (mut r32, mut said_ms, mut held) = (None, None, None);
        let mut receipt = Self::default();
        let mut reader = Reader::new(bytes);
        reader.map(|reader, key| {
            match key {
                1 => r32 = Some(reader.array_of()?),
                2 => said_ms = Some(i64::try_from(reader.uint()?).map_err(|_| CborError)?),
                3 => held = Some(read_held(reader)?),
                4 => receipt.app = reader.bytes()?.to_vec(),
                5 => receipt.set_aside = reader.uint_32()?,
                _ => drop(reader.skip()?),
            }
            Ok::<_, CborError>(())
        })?;
        reader.end()?;
        if receipt.app.len() > RECEIPT_APP_BYTES_MAX {
            return Err(CborError);
        }
        match (r32, said_ms, held) {
            (Some(r32), Some(said_ms), Some(held)) => Ok(Self { r32, said_ms, held, ..receipt }),
            _ => Err(CborError),
        }
    }
}

fn read_held(reader: &mut Reader<'_>) -> Result<Vec<(StreamId, u32)>, CborError> {
    let count = reader.array(RECEIPT_STREAMS_MAX)?;
    let mut held: Vec<(StreamId, u32)> = Vec::with_capacity(count);
    for _ in 0..count {
        if reader.array(2)? != 2 {
            return Err(CborError);
        }
        let entry = (StreamId(reader.array_of()?), reader.uint_32()?);
        if held.last().is_some_and(|last| last.0 >= entry.0) {
            return Err(CborError);
        }
        held.push(entry);
    }
    Ok(held)
}

/// Seals a receipt under the device's own count. `stream` is the one that the device writes in this space.
///
/// # Errors
/// [`RefusedEnvelope::TooLarge`] above what a relay keeps.
pub fn seal(
    space: &SpaceId,
    (stream, count): (StreamId, u32),
    keys: &DeviceKeys,
    key: &ReceiptKey,
    receipt: &Receipt,
    random: &mut dyn Random,
) -> Result<SealedEnvelope, RefusedEnvelope> {
    if receipt.held.len() > RECEIPT_STREAMS_MAX || receipt.app.len() > RECEIPT_APP_BYTES_MAX {
        return Err(RefusedEnvelope::TooLarge);
    }
    let place = ObjectPlace { kind: Kind::Receipt, stream, seq: count, r32: [0; 32], epoch: key.epoch() };
    seal_object(space, &place, keys, key.secret(), &receipt.encode(), random)
}

/// Whether these bytes may be a receipt, by their size and their kind.
#[must_use]
pub fn looks_like_one(bytes: &[u8]) -> bool {
    let fixed = lifeos_sync_protocol::envelope::HEADER_BYTES + lifeos_sync_protocol::envelope::SIGNATURE_BYTES;
    bytes.len() <= RECEIPT_CT_BYTES_MAX + fixed && bytes.get(1) == Some(&(Kind::Receipt as u8))
}

/// Opens a receipt: its author is enrolled and in force, and signed it.
///
/// # Errors
/// [`RefusedReceipt`].
pub fn open(
    space: &SpaceId,
    membership: &Membership,
    keyring: &Keyring,
    bytes: Vec<u8>,
) -> Result<OpenedReceipt, RefusedReceipt> {
    if !looks_like_one(&bytes) {
        return Err(RefusedReceipt::Layout);
    }
    let envelope = Envelope::parse(bytes).map_err(|_| RefusedReceipt::Layout)?;
    let mut read = Err(RefusedReceipt::Malformed);
    let opened = open_then_verify(space, membership, keyring, envelope, |header, body| {
        read = Receipt::decode(body);
        read.as_ref().ok().and_then(|receipt| writer_of(space, membership, &header.stream, &receipt.r32))
    });
    match (opened, read) {
        (Ok(opened), Ok(receipt)) => Ok(OpenedReceipt { device: opened.author, count: opened.place.seq, receipt }),
        (Err(RefusedEnvelope::UnknownAuthor), Err(malformed)) => Err(malformed),
        (Err(refused), _) => Err(refused.into()),
        (Ok(_), Err(malformed)) => Err(malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn receipt(streams: u16) -> Receipt {
        let stream = |n: u16| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            (StreamId(id), u32::MAX)
        };
        Receipt {
            r32: [1; 32],
            said_ms: 1_700_000_000_000,
            held: (0..streams).map(stream).collect(),
            app: vec![9; 40],
            set_aside: 3,
        }
    }

    #[test]
    fn a_receipt_comes_back_and_every_cut_or_addition_is_refused() {
        for said in [receipt(3), Receipt { app: Vec::new(), set_aside: 0, ..receipt(0) }] {
            let bytes = said.encode();
            assert_eq!(Receipt::decode(&bytes), Ok(said));
            for length in 0..bytes.len() {
                assert_eq!(Receipt::decode(&bytes[..length]), Err(RefusedReceipt::Malformed), "cut at {length}");
            }
            assert_eq!(Receipt::decode(&[bytes, vec![0]].concat()), Err(RefusedReceipt::Malformed));
        }
    }

    #[test]
    fn streams_twice_out_of_order_or_too_many_and_advice_too_long_are_refused() {
        let held = |streams: &[u8]| {
            let mut writer = Writer::default();
            writer.map(3).uint(1).bytes(&[1; 32]).uint(2).uint(7).uint(3).array(streams.len());
            for stream in streams {
                writer.array(2).bytes(&[*stream; 16]).uint(1);
            }
            Receipt::decode(&writer.finish())
        };
        assert!(held(&[1, 2, 3]).is_ok());
        assert!(held(&[1, 1]).is_err() && held(&[2, 1]).is_err());
        let most = u16::try_from(RECEIPT_STREAMS_MAX).unwrap();
        assert!(Receipt::decode(&receipt(most).encode()).is_ok());
        assert!(Receipt::decode(&receipt(most + 1).encode()).is_err());
        let long = |bytes: usize| Receipt::decode(&Receipt { app: vec![0; bytes], ..receipt(1) }.encode());
        assert!(long(RECEIPT_APP_BYTES_MAX).is_ok() && long(RECEIPT_APP_BYTES_MAX + 1).is_err());
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let mut writer = Writer::default();
        writer.map(4).uint(1).bytes(&[1; 32]).uint(2).uint(7).uint(3).array(0).uint(9).text("later");
        assert!(Receipt::decode(&writer.finish()).is_ok());
    }

    #[test]
    fn the_largest_receipt_is_one_that_a_relay_keeps() {
        let mut random = crate::crypto::SeededRandom::new(5);
        // Nothing that DEFLATE could make smaller.
        let mut held: Vec<_> =
            (0..RECEIPT_STREAMS_MAX).map(|_| (StreamId(crate::crypto::random_bytes(&mut random)), u32::MAX)).collect();
        held.sort_unstable();
        let app: Vec<u8> =
            (0..RECEIPT_APP_BYTES_MAX / 32).flat_map(|_| crate::crypto::random_bytes::<32>(&mut random)).collect();
        let body = Receipt { held, app, ..receipt(0) }.encode();
        let packed = crate::envelope::plaintext::pack(&body).unwrap();
        assert!(packed.len() + lifeos_sync_protocol::envelope::TAG_BYTES <= RECEIPT_CT_BYTES_MAX, "{}", packed.len());
    }

    #[test]
    fn many_devices_speak_more_rarely_and_not_all_at_once() {
        assert_eq!((every_ms(2, 0), every_ms(30, 0), every_ms(200, 0)), (60_000, 60_000, 400_000));
        assert!((0..100).all(|random| (60_000..75_000).contains(&every_ms(2, random * 7_919))));
        assert_ne!(every_ms(2, 1), every_ms(2, 2));
        assert!(every_ms(usize::MAX, u64::MAX) >= EVERY_MS_MIN);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Receipt::decode(&bytes);
        }
    }
}
