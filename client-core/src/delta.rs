//! What an envelope's plaintext says: changes of documents, with the author's frontier (protocol §2.3,
//! amendments 3 and 8). Encoding is canonical CBOR with integer keys; decoding is bounded.
//!
//! ```text
//! Delta    { 1: [[stream(16), seq] …]   frontier, streams ascending
//!            2: [DocDelta …]            documents ascending by id
//!            4: app bytes               when not empty
//!            5: [Erased …]              documents ascending by id, when not empty
//!            n: anything }              kept as it is
//! DocDelta { 1: doc(16)  2: [change bytes …]  4: genesis id  n: passed over }
//! Erased   { 1: doc(16)  2: [head(32) …]  3: doc(16), when something goes on in it  n: passed over }
//! ```

use std::collections::BTreeMap;

use lifeos_sync_protocol::ids::{DocId, StreamId};

use crate::cbor::{CborError, Reader, Writer, head_len};
use crate::document::GenesisId;

/// Most documents in one delta.
pub const DELTA_DOCS_MAX: usize = 4096;
/// Most changes in one delta, all documents together.
pub const DELTA_CHANGES_MAX: usize = 16_384;
/// Most streams in a frontier.
pub const DELTA_FRONTIER_MAX: usize = 4096;
/// Most documents that one delta erases.
pub const DELTA_ERASED_MAX: usize = 64;
/// Most heads of one document that is erased.
pub const ERASED_HEADS_MAX: usize = 64;
/// Encoded size that [`split`] aims for, far enough below the ciphertext's limit that padding always fits.
pub const DELTA_BODY_BYTES_SOFT_MAX: usize = 256 * 1024;
/// Largest single change that can be sent. An edit that makes a larger one has to be divided before it is committed.
pub const CHANGE_BYTES_MAX: usize = 960 * 1024;

/// Bytes of a [`DocDelta`] besides its changes, at most: heads, document id, genesis.
const DOC_OVERHEAD_BYTES: usize = 40;

/// Changes of one document by one author, in the order they were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocDelta {
    /// The document.
    pub doc: DocId,
    /// Raw Automerge change chunks, each complete with its header.
    pub changes: Vec<Vec<u8>>,
    /// The frozen first change the document starts from, which is never sent itself.
    pub genesis: GenesisId,
}

/// A document that is to be forgotten, with all its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasedDoc {
    /// The document.
    pub doc: DocId,
    /// Its newest changes when it was erased, ascending: what its author says that it consists of. Empty where they were
    /// never sent.
    pub heads: Vec<[u8; 32]>,
    /// The document in which what is kept of it goes on, without history.
    pub successor: Option<DocId>,
}

/// The plaintext of a Delta envelope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Delta {
    /// Streams whose applied sequence advanced since the author's previous envelope.
    pub frontier: Vec<(StreamId, u32)>,
    /// Changes by document; a document appears once.
    pub docs: Vec<DocDelta>,
    /// `4: app` bytes, kept as they are.
    pub app: Vec<u8>,
    /// Documents that are erased; each appears once.
    pub erased: Vec<ErasedDoc>,
    /// Keys this version gives no meaning to, with their raw CBOR.
    pub unknown: Vec<(u32, Vec<u8>)>,
}

/// Bytes are not a delta, or a delta cannot become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeltaError {
    /// Not canonical, truncated, with bytes left over, or with a field of the wrong type.
    #[error("the delta is not in its canonical form")]
    Malformed,
    /// More documents, changes or streams than one delta may hold.
    #[error("the delta holds more than one delta may")]
    TooMany,
    /// A document or stream appears twice.
    #[error("a document or stream appears twice in the delta")]
    Duplicate,
    /// A single change is larger than can be sent.
    #[error("a change of {bytes} bytes is larger than can be sent; divide the edit")]
    ChangeTooLarge {
        /// Its size.
        bytes: usize,
    },
}

impl From<CborError> for DeltaError {
    fn from(_: CborError) -> Self {
        Self::Malformed
    }
}

impl Delta {
    /// The canonical bytes; documents and streams are sorted here.
    ///
    /// # Errors
    /// [`DeltaError`] for what a receiver would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, DeltaError> {
        self.check_counts()?;
        let mut fields: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for (key, raw) in &self.unknown {
            let known = matches!(key, 1 | 2 | 4 | 5);
            if known || fields.insert(*key, raw.clone()).is_some() {
                return Err(DeltaError::Duplicate);
            }
        }
        if !self.frontier.is_empty() {
            fields.insert(1, self.encode_frontier()?);
        }
        if !self.docs.is_empty() {
            fields.insert(2, self.encode_docs()?);
        }
        if !self.app.is_empty() {
            fields.insert(4, written(|writer| writer.bytes(&self.app)));
        }
        if !self.erased.is_empty() {
            fields.insert(5, self.encode_erased()?);
        }
        Ok(written(|writer| {
            writer.map(fields.len());
            fields.iter().fold(writer, |writer, (key, raw)| writer.uint(u64::from(*key)).raw(raw))
        }))
    }

    /// Reads a delta; allocates no more than the input's size.
    ///
    /// # Errors
    /// [`DeltaError`] for anything that is not exactly one canonical delta within the limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DeltaError> {
        let mut reader = Reader::new(bytes);
        let mut delta = Self::default();
        reader.map(|reader, key| {
            match key {
                1 => delta.frontier = decode_frontier(reader)?,
                2 => delta.docs = decode_docs(reader)?,
                4 => delta.app = reader.bytes()?.to_vec(),
                5 => delta.erased = decode_erased(reader)?,
                _ => {
                    let key = u32::try_from(key).map_err(|_| DeltaError::Malformed)?;
                    delta.unknown.push((key, reader.skip()?.to_vec()));
                }
            }
            Ok::<_, DeltaError>(())
        })?;
        reader.end()?;
        delta.check_counts()?;
        Ok(delta)
    }

    fn check_counts(&self) -> Result<(), DeltaError> {
        let changes: usize = self.docs.iter().map(|doc| doc.changes.len()).sum();
        let too_many = self.docs.len() > DELTA_DOCS_MAX
            || changes > DELTA_CHANGES_MAX
            || self.frontier.len() > DELTA_FRONTIER_MAX
            || self.erased.len() > DELTA_ERASED_MAX
            || self.erased.iter().any(|erased| erased.heads.len() > ERASED_HEADS_MAX);
        if too_many { Err(DeltaError::TooMany) } else { Ok(()) }
    }

    fn encode_frontier(&self) -> Result<Vec<u8>, DeltaError> {
        let streams: BTreeMap<_, _> = self.frontier.iter().copied().collect();
        if streams.len() != self.frontier.len() {
            return Err(DeltaError::Duplicate);
        }
        Ok(written(|writer| {
            writer.array(streams.len());
            streams.iter().fold(writer, |writer, (stream, seq)| writer.array(2).bytes(&stream.0).uint(u64::from(*seq)))
        }))
    }

    fn encode_docs(&self) -> Result<Vec<u8>, DeltaError> {
        let docs: BTreeMap<_, _> = self.docs.iter().map(|doc| (doc.doc, doc)).collect();
        if docs.len() != self.docs.len() {
            return Err(DeltaError::Duplicate);
        }
        Ok(written(|writer| {
            writer.array(docs.len());
            docs.values().fold(writer, |writer, doc| doc.write(writer))
        }))
    }

    fn encode_erased(&self) -> Result<Vec<u8>, DeltaError> {
        let docs: BTreeMap<_, _> = self.erased.iter().map(|erased| (erased.doc, erased)).collect();
        if docs.len() != self.erased.len() {
            return Err(DeltaError::Duplicate);
        }
        Ok(written(|writer| {
            writer.array(docs.len());
            docs.values().fold(writer, |writer, erased| erased.write(writer))
        }))
    }
}

impl ErasedDoc {
    fn write<'w>(&self, writer: &'w mut Writer) -> &'w mut Writer {
        writer.map(if self.successor.is_some() { 3 } else { 2 }).uint(1).bytes(&self.doc.0);
        writer.uint(2).array(self.heads.len());
        let writer = self.heads.iter().fold(writer, |writer, head| writer.bytes(head));
        match &self.successor {
            Some(successor) => writer.uint(3).bytes(&successor.0),
            None => writer,
        }
    }
}

impl DocDelta {
    fn write<'w>(&self, writer: &'w mut Writer) -> &'w mut Writer {
        writer.map(3).uint(1).bytes(&self.doc.0).uint(2).array(self.changes.len());
        let writer = self.changes.iter().fold(writer, |writer, change| writer.bytes(change));
        writer.uint(4).uint(u64::from(self.genesis.0))
    }

    /// An upper bound of this document's encoded size, to plan with.
    #[must_use]
    pub fn encoded_bytes_max(&self) -> usize {
        DOC_OVERHEAD_BYTES + self.changes.iter().map(|change| change_bytes(change)).sum::<usize>()
    }
}

fn written(write: impl FnOnce(&mut Writer) -> &mut Writer) -> Vec<u8> {
    let mut writer = Writer::default();
    write(&mut writer);
    writer.finish()
}

fn change_bytes(change: &[u8]) -> usize {
    head_len(change.len() as u64) + change.len()
}

fn decode_frontier(reader: &mut Reader<'_>) -> Result<Vec<(StreamId, u32)>, DeltaError> {
    let count = reader.array(DELTA_FRONTIER_MAX)?;
    let mut frontier: Vec<(StreamId, u32)> = Vec::with_capacity(count);
    for _ in 0..count {
        if reader.array(2)? != 2 {
            return Err(DeltaError::Malformed);
        }
        let entry = (StreamId(reader.array_of()?), reader.uint_32()?);
        check_ascending(frontier.last().map(|last| &last.0), &entry.0)?;
        frontier.push(entry);
    }
    Ok(frontier)
}

fn decode_docs(reader: &mut Reader<'_>) -> Result<Vec<DocDelta>, DeltaError> {
    let count = reader.array(DELTA_DOCS_MAX)?;
    let mut docs: Vec<DocDelta> = Vec::with_capacity(count);
    for _ in 0..count {
        let doc = decode_doc(reader)?;
        check_ascending(docs.last().map(|last| &last.doc), &doc.doc)?;
        docs.push(doc);
    }
    Ok(docs)
}

fn check_ascending<T: Ord>(last: Option<&T>, next: &T) -> Result<(), DeltaError> {
    match last {
        Some(last) if last == next => Err(DeltaError::Duplicate),
        Some(last) if last > next => Err(DeltaError::Malformed),
        _ => Ok(()),
    }
}

fn decode_doc(reader: &mut Reader<'_>) -> Result<DocDelta, DeltaError> {
    let (mut doc, mut changes, mut genesis) = (None, None, None);
    reader.map(|reader, key| {
        match key {
            1 => doc = Some(DocId(reader.array_of()?)),
            2 => changes = Some(decode_changes(reader)?),
            4 => genesis = Some(GenesisId(reader.uint_32()?)),
            _ => drop(reader.skip()?),
        }
        Ok::<_, DeltaError>(())
    })?;
    match (doc, changes, genesis) {
        (Some(doc), Some(changes), Some(genesis)) => Ok(DocDelta { doc, changes, genesis }),
        _ => Err(DeltaError::Malformed),
    }
}

fn decode_erased(reader: &mut Reader<'_>) -> Result<Vec<ErasedDoc>, DeltaError> {
    let count = reader.array(DELTA_ERASED_MAX)?;
    let mut erased: Vec<ErasedDoc> = Vec::with_capacity(count);
    for _ in 0..count {
        let next = decode_erased_doc(reader)?;
        check_ascending(erased.last().map(|last| &last.doc), &next.doc)?;
        erased.push(next);
    }
    Ok(erased)
}

fn decode_erased_doc(reader: &mut Reader<'_>) -> Result<ErasedDoc, DeltaError> {
    let (mut doc, mut heads, mut successor) = (None, None, None);
    reader.map(|reader, key| {
        match key {
            1 => doc = Some(DocId(reader.array_of()?)),
            2 => {
                let count = reader.array(ERASED_HEADS_MAX)?;
                let read = (0..count).map(|_| reader.array_of()).collect::<Result<Vec<[u8; 32]>, _>>()?;
                heads = Some(read);
            }
            3 => successor = Some(DocId(reader.array_of()?)),
            _ => drop(reader.skip()?),
        }
        Ok::<_, DeltaError>(())
    })?;
    match (doc, heads) {
        (Some(doc), Some(heads)) if heads.is_sorted_by(|a, b| a < b) => Ok(ErasedDoc { doc, heads, successor }),
        _ => Err(DeltaError::Malformed),
    }
}

fn decode_changes(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, DeltaError> {
    let count = reader.array(DELTA_CHANGES_MAX)?;
    (0..count).map(|_| Ok(reader.bytes()?.to_vec())).collect()
}

/// Packs pending changes into as few deltas as their limits allow, keeping the order of each document's changes.
/// A document may go on in the next delta; the frontier travels in the first. No changes give no deltas.
///
/// # Errors
/// [`DeltaError::ChangeTooLarge`]; [`DeltaError::TooMany`] for a frontier above its limit.
pub fn split(
    frontier: Vec<(StreamId, u32)>,
    docs: impl IntoIterator<Item = DocDelta>,
) -> Result<Vec<Delta>, DeltaError> {
    if frontier.len() > DELTA_FRONTIER_MAX {
        return Err(DeltaError::TooMany);
    }
    let mut packer = Packer::default();
    for doc in docs {
        for change in doc.changes {
            packer.add(doc.doc, doc.genesis, change)?;
        }
    }
    let mut deltas = packer.finish();
    if let Some(first) = deltas.first_mut() {
        first.frontier = frontier;
    }
    Ok(deltas)
}

#[derive(Default)]
struct Packer {
    done: Vec<Delta>,
    docs: BTreeMap<DocId, DocDelta>,
    bytes: usize,
    changes: usize,
}

impl Packer {
    fn add(&mut self, doc: DocId, genesis: GenesisId, change: Vec<u8>) -> Result<(), DeltaError> {
        if change.len() > CHANGE_BYTES_MAX {
            return Err(DeltaError::ChangeTooLarge { bytes: change.len() });
        }
        let mut bytes = change_bytes(&change) + DOC_OVERHEAD_BYTES;
        let full = self.bytes + bytes > DELTA_BODY_BYTES_SOFT_MAX
            || self.changes == DELTA_CHANGES_MAX
            || self.docs.len() == DELTA_DOCS_MAX;
        if full && self.changes > 0 {
            self.close();
        }
        let entry = self.docs.entry(doc).or_insert_with(|| DocDelta { doc, changes: Vec::new(), genesis });
        if !entry.changes.is_empty() {
            bytes -= DOC_OVERHEAD_BYTES;
        }
        entry.changes.push(change);
        self.bytes += bytes;
        self.changes += 1;
        Ok(())
    }

    fn close(&mut self) {
        let docs = std::mem::take(&mut self.docs).into_values().collect();
        self.done.push(Delta { docs, ..Delta::default() });
        (self.bytes, self.changes) = (0, 0);
    }

    fn finish(mut self) -> Vec<Delta> {
        if self.changes > 0 {
            self.close();
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn doc(id: u8, changes: &[&[u8]]) -> DocDelta {
        DocDelta {
            doc: DocId([id; 16]),
            changes: changes.iter().map(|change| change.to_vec()).collect(),
            genesis: GenesisId(u32::from(id) * 100),
        }
    }

    #[test]
    fn a_delta_reads_back_as_written_with_what_it_does_not_understand() {
        let delta = Delta {
            frontier: vec![(StreamId([1; 16]), 7), (StreamId([2; 16]), u32::MAX)],
            docs: vec![doc(1, &[b"one", b"two"]), doc(2, &[])],
            app: b"app".to_vec(),
            erased: vec![
                ErasedDoc { doc: DocId([3; 16]), heads: vec![[1; 32], [2; 32]], successor: None },
                ErasedDoc { doc: DocId([4; 16]), heads: vec![], successor: Some(DocId([5; 16])) },
            ],
            unknown: vec![(3, vec![0x81, 0x05]), (6, vec![0x41, 0xff]), (1000, vec![0x00])],
        };
        let bytes = delta.encode().unwrap();
        assert_eq!(Delta::decode(&bytes).unwrap(), delta);
        assert_eq!(Delta::decode(&bytes).unwrap().encode().unwrap(), bytes);
    }

    #[test]
    fn a_document_that_appears_twice_is_refused_in_both_directions() {
        let twice = Delta { docs: vec![doc(1, &[b"a"]), doc(1, &[b"b"])], ..Delta::default() };
        assert_eq!(twice.encode(), Err(DeltaError::Duplicate));
        let mut bytes = vec![0xa1, 2, 0x82];
        for _ in 0..2 {
            doc(1, &[b"a"]).write(&mut Writer::default());
            bytes.extend(written(|writer| doc(1, &[b"a"]).write(writer)));
        }
        assert_eq!(Delta::decode(&bytes), Err(DeltaError::Duplicate));
    }

    #[test]
    fn an_erasure_that_is_no_erasure_is_refused_in_both_directions() {
        let erased = |id: u8, heads: Vec<[u8; 32]>| ErasedDoc { doc: DocId([id; 16]), heads, successor: None };
        let with = |erased: Vec<ErasedDoc>| Delta { erased, ..Delta::default() };
        assert_eq!(with(vec![erased(1, vec![]), erased(1, vec![])]).encode(), Err(DeltaError::Duplicate));
        assert_eq!(with((0..65).map(|id| erased(id, vec![])).collect()).encode(), Err(DeltaError::TooMany));
        assert_eq!(with(vec![erased(1, vec![[0; 32]; ERASED_HEADS_MAX + 1])]).encode(), Err(DeltaError::TooMany));
        let unsorted = with(vec![erased(1, vec![[2; 32], [1; 32]])]).encode().unwrap();
        assert_eq!(Delta::decode(&unsorted), Err(DeltaError::Malformed));
        let without_heads = [0xa1, 5, 0x81, 0xa1, 1, 0x50].into_iter().chain([7; 16]).collect::<Vec<u8>>();
        assert_eq!(Delta::decode(&without_heads), Err(DeltaError::Malformed));
    }

    #[test]
    fn unknown_keys_of_a_document_are_passed_over() {
        let bytes = written(|writer| {
            writer.map(1).uint(2).array(1).map(4);
            writer.uint(1).bytes(&[7; 16]).uint(2).array(0).uint(4).uint(1).uint(9).text("later")
        });
        assert_eq!(Delta::decode(&bytes).unwrap().docs[0].genesis, GenesisId(1));
    }

    #[test]
    fn more_changes_than_the_limit_are_refused_whatever_documents_they_are_in() {
        let many = |id, count| DocDelta { changes: vec![vec![]; count], ..doc(id, &[]) };
        let delta = Delta { docs: vec![many(1, DELTA_CHANGES_MAX), many(2, 1)], ..Delta::default() };
        assert_eq!(delta.encode(), Err(DeltaError::TooMany));
        let bytes = written(|writer| {
            writer.map(1).uint(2).array(2);
            delta.docs.iter().fold(writer, |writer, doc| doc.write(writer))
        });
        assert_eq!(Delta::decode(&bytes), Err(DeltaError::TooMany));
    }

    #[test]
    fn a_change_larger_than_can_be_sent_is_a_typed_error() {
        let bytes = CHANGE_BYTES_MAX + 1;
        let huge = DocDelta { changes: vec![vec![0; bytes]], ..doc(1, &[]) };
        assert_eq!(split(vec![], [huge]), Err(DeltaError::ChangeTooLarge { bytes }));
        let largest = DocDelta { changes: vec![vec![0; bytes - 1]], ..doc(1, &[]) };
        assert_eq!(split(vec![], [largest]).unwrap().len(), 1);
    }

    #[test]
    fn splitting_keeps_every_change_in_order_and_every_delta_under_the_limit() {
        let changes = |id: u8| (0..700_u32).map(move |n| [vec![id; 1000], n.to_be_bytes().to_vec()].concat());
        let docs = (1..=3).map(|id| DocDelta { changes: changes(id).collect(), ..doc(id, &[]) });
        let deltas = split(vec![(StreamId([9; 16]), 1)], docs).unwrap();
        assert!(deltas.len() > 3);
        assert_eq!(deltas.iter().filter(|delta| !delta.frontier.is_empty()).count(), 1);
        for id in 1..=3 {
            let sent = deltas.iter().flat_map(|delta| &delta.docs).filter(|doc| doc.doc == DocId([id; 16]));
            assert!(sent.flat_map(|doc| doc.changes.clone()).eq(changes(id)));
        }
        for delta in deltas {
            assert!(delta.encode().unwrap().len() <= DELTA_BODY_BYTES_SOFT_MAX);
        }
    }

    proptest! {
        #[test]
        fn decoding_any_bytes_never_panics_and_gives_only_canonical_deltas(
            bytes in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            drop(Delta::decode(&bytes));
        }

        #[test]
        fn a_changed_byte_gives_an_error_or_another_delta(at in 0_usize..60, flip in 1_u8..) {
            let delta = Delta { docs: vec![doc(1, &[b"one", b"two"])], ..Delta::default() };
            let mut bytes = delta.encode().unwrap();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert_ne!(Delta::decode(&bytes), Ok(delta));
        }

        #[test]
        fn the_estimate_is_an_upper_bound(sizes in prop::collection::vec(0_usize..70_000, 0..6)) {
            let delta = DocDelta { changes: sizes.iter().map(|size| vec![0; *size]).collect(), ..doc(1, &[]) };
            prop_assert!(written(|writer| delta.write(writer)).len() <= delta.encoded_bytes_max());
        }
    }
}
