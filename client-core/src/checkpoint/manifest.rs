//! What a checkpoint's chunks hold, sealed into its record for the readers of the space.
//!
//! ```text
//! enc_manifest = epoch 16 ‖ salt 16 ‖ ChaCha20-Poly1305(HKDF(secret, ctx("manifest") ‖ salt),
//!                    aad = ctx("manifest") ‖ space ‖ epoch ‖ salt){plaintext as an envelope's}
//! manifest = { 1: version = 1, 2: documents, 3: [chunk], 4: [[stream 16, seq]], absent when empty,
//!              5: ids of erased documents, ascending, one behind the other; absent when empty }
//! chunk    = { 1: essential 0 or 1, 2: documents, 3: bytes as sent, 4: first 4 bytes of each document's id, ascending }
//! ```
//! Key 4 of a chunk lets a device fetch one document ahead of the rest; it is left out of large spaces.

use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{DocId, EpochRef, SpaceId, StreamId};
use lifeos_sync_protocol::limits::{CHECKPOINT_BODY_BYTES_MAX, FRAME_STREAMS_MAX};
use zeroize::Zeroizing;

use super::CheckpointError;
use crate::cbor::{Reader, Writer};
use crate::crypto::{Random, open_once, random_bytes, seal_once};
use crate::envelope::plaintext;
use crate::keys::{Keyring, SealKey};

const VERSION: u64 = 1;
const SALT_BYTES: usize = 16;
/// Most chunks: their ids fill three quarters of a record.
const CHUNKS_MAX: usize = CHECKPOINT_BODY_BYTES_MAX / 4 * 3 / 34;
const PREFIX_BYTES: usize = 4;
/// Bytes of prefixes in all, above which none are given: a record is kept for ever.
const PREFIXES_BYTES_MAX: usize = 256 * 1024;
/// Most erased documents that are named.
pub const ERASED_MAX: usize = 8_192;

/// What the chunks of a checkpoint hold, in the order of the record's list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// Documents in all.
    pub docs: u64,
    /// One note a chunk.
    pub chunks: Vec<ChunkNote>,
    /// Streams of which the chunks hold more than the cut says, and how far the maker had taken them in.
    pub through: Vec<(StreamId, u32)>,
    /// Documents that were erased before the cut, ascending: what is still told of them counts no more.
    pub erased: Vec<DocId>,
}

/// What one chunk holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkNote {
    /// Whether lists and recent work need it: a device is of use as soon as it has all of these.
    pub is_essential: bool,
    /// Documents inside.
    pub docs: u32,
    /// Bytes as sent.
    pub bytes: u32,
    /// First bytes of the documents' ids, ascending; empty where they are not told.
    pub prefixes: Vec<[u8; PREFIX_BYTES]>,
}

impl ChunkNote {
    /// The note of a chunk of these documents.
    #[must_use]
    pub fn new(is_essential: bool, bytes: u32, docs: impl IntoIterator<Item = DocId>) -> Self {
        let prefix = |doc: DocId| [doc.0[0], doc.0[1], doc.0[2], doc.0[3]];
        let mut prefixes: Vec<_> = docs.into_iter().map(prefix).collect();
        prefixes.sort_unstable();
        Self { is_essential, docs: u32::try_from(prefixes.len()).unwrap_or(u32::MAX), bytes, prefixes }
    }

    /// Whether it may hold a document: never false for one that it holds, if it tells at all.
    #[must_use]
    pub fn may_hold(&self, doc: &DocId) -> bool {
        self.prefixes.binary_search_by(|prefix| prefix[..].cmp(&doc.0[..PREFIX_BYTES])).is_ok()
    }
}

impl Manifest {
    /// Chunks that may hold a document, by their place in the record's list.
    pub fn chunks_of<'m>(&'m self, doc: &'m DocId) -> impl Iterator<Item = usize> + 'm {
        self.chunks.iter().enumerate().filter(|(_, note)| note.may_hold(doc)).map(|(at, _)| at)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let prefixes: usize = self.chunks.iter().map(|note| note.prefixes.len()).sum();
        let told = prefixes * PREFIX_BYTES <= PREFIXES_BYTES_MAX;
        let mut out = Writer::default();
        out.map(3 + usize::from(!self.through.is_empty()) + usize::from(!self.erased.is_empty()));
        out.uint(1).uint(VERSION).uint(2).uint(self.docs).uint(3).array(self.chunks.len());
        for note in &self.chunks {
            let told = told && !note.prefixes.is_empty();
            out.map(if told { 4 } else { 3 }).uint(1).uint(note.is_essential.into());
            out.uint(2).uint(note.docs.into()).uint(3).uint(note.bytes.into());
            if told {
                out.uint(4).bytes(&note.prefixes.concat());
            }
        }
        if !self.through.is_empty() {
            out.uint(4).array(self.through.len());
            for (stream, seq) in &self.through {
                out.array(2).bytes(&stream.0).uint((*seq).into());
            }
        }
        if !self.erased.is_empty() {
            out.uint(5).bytes(&self.erased.iter().flat_map(|doc| doc.0).collect::<Vec<u8>>());
        }
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let mut reader = Reader::new(bytes);
        let (mut version, mut docs, mut chunks, mut through, mut erased) = (None, None, None, Vec::new(), Vec::new());
        reader.map(|reader, key| {
            match key {
                1 => version = Some(reader.uint()?),
                2 => docs = Some(reader.uint()?),
                3 => {
                    let count = reader.array(CHUNKS_MAX)?;
                    chunks = Some((0..count).map(|_| decode_note(reader)).collect::<Result<Vec<_>, _>>()?);
                }
                4 => {
                    let count = reader.array(FRAME_STREAMS_MAX)?;
                    through = (0..count).map(|_| decode_through(reader)).collect::<Result<Vec<_>, _>>()?;
                }
                5 => erased = decode_erased(reader.bytes()?)?,
                _ => drop(reader.skip()?),
            }
            Ok::<_, CheckpointError>(())
        })?;
        reader.end()?;
        let (Some(VERSION), Some(docs), Some(chunks)) = (version, docs, chunks) else {
            return Err(CheckpointError::Layout);
        };
        Ok(Self { docs, chunks, through, erased })
    }
}

fn decode_note(reader: &mut Reader<'_>) -> Result<ChunkNote, CheckpointError> {
    let (mut is_essential, mut docs, mut bytes, mut prefixes) = (None, None, None, Vec::new());
    reader.map(|reader, key| {
        match key {
            1 => is_essential = Some(reader.uint()? == 1),
            2 => docs = Some(reader.uint_32()?),
            3 => bytes = Some(reader.uint_32()?),
            4 => prefixes = decode_prefixes(reader.bytes()?)?,
            _ => drop(reader.skip()?),
        }
        Ok::<_, CheckpointError>(())
    })?;
    let (Some(is_essential), Some(docs), Some(bytes)) = (is_essential, docs, bytes) else {
        return Err(CheckpointError::Layout);
    };
    Ok(ChunkNote { is_essential, docs, bytes, prefixes })
}

fn decode_prefixes(bytes: &[u8]) -> Result<Vec<[u8; PREFIX_BYTES]>, CheckpointError> {
    match bytes.as_chunks::<PREFIX_BYTES>() {
        (prefixes, []) if prefixes.is_sorted() => Ok(prefixes.to_vec()),
        _ => Err(CheckpointError::Layout),
    }
}

fn decode_erased(bytes: &[u8]) -> Result<Vec<DocId>, CheckpointError> {
    match bytes.as_chunks::<16>() {
        (ids, []) if ids.len() <= ERASED_MAX && ids.is_sorted_by(|a, b| a < b) => {
            Ok(ids.iter().copied().map(DocId).collect())
        }
        _ => Err(CheckpointError::Layout),
    }
}

fn decode_through(reader: &mut Reader<'_>) -> Result<(StreamId, u32), CheckpointError> {
    match reader.array(2)? {
        2 => Ok((StreamId(reader.array_of()?), reader.uint_32()?)),
        _ => Err(CheckpointError::Layout),
    }
}

fn context(space: &SpaceId, epoch: &EpochRef, salt: &[u8]) -> Vec<u8> {
    [&ctx("manifest")[..], &space.0, &epoch.0, salt].concat()
}

/// Seals a manifest to the readers of the space.
///
/// # Errors
/// [`CheckpointError::TooLarge`].
pub fn seal_manifest(
    space: &SpaceId,
    manifest: &Manifest,
    key: &SealKey,
    random: &mut dyn Random,
) -> Result<Vec<u8>, CheckpointError> {
    let mut buffer = plaintext::pack(&manifest.encode()).ok_or(CheckpointError::TooLarge)?;
    let (salt, epoch): ([u8; SALT_BYTES], _) = (random_bytes(random), key.epoch());
    let once = key.secret().derive_key(&[&ctx("manifest"), &salt]);
    seal_once(&once, &context(space, &epoch, &salt), &mut buffer).map_err(|_| CheckpointError::TooLarge)?;
    let sealed = [&epoch.0[..], &salt, &buffer].concat();
    if sealed.len() > CHECKPOINT_BODY_BYTES_MAX { Err(CheckpointError::TooLarge) } else { Ok(sealed) }
}

/// Opens the manifest of a checkpoint.
///
/// # Errors
/// [`CheckpointError`].
pub fn open_manifest(space: &SpaceId, sealed: &[u8], keyring: &Keyring) -> Result<Manifest, CheckpointError> {
    let (epoch, rest) = sealed.split_first_chunk::<{ EpochRef::BYTES }>().ok_or(CheckpointError::Layout)?;
    let (salt, ct) = rest.split_first_chunk::<SALT_BYTES>().ok_or(CheckpointError::Layout)?;
    let epoch = EpochRef(*epoch);
    let secret = keyring.find(&epoch).ok_or(CheckpointError::UnknownEpoch)?;
    let mut buffer = Zeroizing::new(ct.to_vec());
    let once = secret.derive_key(&[&ctx("manifest"), salt]);
    open_once(&once, &context(space, &epoch, salt), &mut buffer).map_err(|_| CheckpointError::DoesNotOpen)?;
    let body = plaintext::unpack(&buffer, 4 * CHECKPOINT_BODY_BYTES_MAX).ok_or(CheckpointError::DoesNotOpen)?;
    Manifest::decode(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let doc = |n: u8| DocId([n; 16]);
        let chunks =
            vec![ChunkNote::new(true, 1_000, [doc(2), doc(1)]), ChunkNote::new(false, 70_000, [doc(3), doc(9)])];
        Manifest { docs: 4, chunks, through: vec![(StreamId([5; 16]), 77)], erased: vec![doc(6), doc(7)] }
    }

    #[test]
    fn a_manifest_reads_as_it_was_written_and_finds_documents() {
        let manifest = manifest();
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest.clone()));
        assert_eq!(manifest.chunks_of(&DocId([9; 16])).collect::<Vec<_>>(), [1]);
        assert_eq!(manifest.chunks_of(&DocId([8; 16])).count(), 0);
        let none = Manifest { through: Vec::new(), erased: Vec::new(), ..manifest };
        assert_eq!(Manifest::decode(&none.encode()), Ok(none));
    }

    #[test]
    fn prefixes_of_a_large_space_are_left_out() {
        let docs = (0..70_000_u32).map(|n| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            DocId(id)
        });
        let large = Manifest { docs: 70_000, chunks: vec![ChunkNote::new(false, 1, docs)], ..Manifest::default() };
        assert!(large.encode().len() < 100);
        assert_eq!(Manifest::decode(&large.encode()).unwrap().chunks[0].docs, 70_000);
    }
}
