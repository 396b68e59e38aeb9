//! The body of a Chunk: whole documents, and the rows they project to.
//!
//! ```text
//! pack = { 1: version = 1, 2: projection stamp, 3: [document], 4: [piece], absent when empty }
//! document = { 1: doc 16, 2: genesis, 3: heads 32·n ascending, 4: Automerge document, not compressed, 5: rows, CBOR }
//! piece = { 1: doc 16, 2: genesis, 3: heads as above, 4: number from 1, 5: pieces in all, 6: bytes of the document }
//! rows = [[table, [[key, [value]]]]], ascending      value = [] null | zigzag integer | text | bytes
//! ```
//! Rows are another byte string, so that a reader whose projections are others passes over them. A document that no chunk
//! has room for lies in pieces in several; one behind the other they are its bytes.

use std::collections::BTreeSet;

use automerge::ChangeHash;
use lifeos_sync_protocol::ids::DocId;
use lifeos_sync_protocol::limits::CHUNK_RAW_BYTES_MAX;

use super::CheckpointError;
use crate::cbor::{Reader, Writer};
use crate::document::GenesisId;
use crate::projection::{Row, Value};
use crate::registry::{self, Table};

const VERSION: u64 = 1;
/// Most documents in one pack.
pub const PACK_DOCUMENTS_MAX: usize = 4096;
/// Bytes of a piece of a document: sealed it fits a chunk, however little it can be compressed.
pub const PIECE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most pieces in one pack: who takes the last one in puts a whole document together.
const PACK_PIECES_MAX: usize = 1;
/// Most pieces of one document, which is put together in memory.
pub const PIECES_MAX: u32 = 32;
/// Most heads of one document: as many as devices wrote at once.
const HEADS_MAX: usize = 4096;
/// Most rows of one document.
const ROWS_MAX: usize = 1 << 16;
const STAMP_BYTES_MAX: usize = 64;

/// Documents of a checkpoint that travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pack {
    /// Which projections the rows are of: they are of use only where it is equal.
    pub stamp: Vec<u8>,
    /// Each document once.
    pub docs: Vec<PackedDoc>,
    /// A piece of a document that is too large for a chunk; one at most.
    pub pieces: Vec<Piece>,
}

/// A part of a document that is too large for a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which.
    pub doc: DocId,
    /// What it starts from.
    pub genesis: GenesisId,
    /// Hashes of its newest changes, ascending.
    pub heads: Vec<ChangeHash>,
    /// Which piece, from 1.
    pub number: u32,
    /// How many pieces there are.
    pub of: u32,
    /// Bytes of the document.
    pub bytes: Vec<u8>,
}

impl Piece {
    /// Cuts a document up; `None`: it is too large even for that.
    #[must_use]
    pub fn cut(packed: &PackedDoc) -> Option<Vec<Self>> {
        let of = u32::try_from(packed.bytes.len().div_ceil(PIECE_BYTES_MAX)).ok().filter(|of| *of <= PIECES_MAX)?;
        let piece = |(number, bytes): (u32, &[u8])| Self {
            doc: packed.doc,
            genesis: packed.genesis,
            heads: packed.heads.clone(),
            number,
            of,
            bytes: bytes.to_vec(),
        };
        Some((1..).zip(packed.bytes.chunks(PIECE_BYTES_MAX)).map(piece).collect())
    }

    /// Puts a document together again, without rows. `None`: they are not all of it, or of one document.
    #[must_use]
    pub fn join(mut pieces: Vec<Self>) -> Option<PackedDoc> {
        pieces.sort_unstable_by_key(|piece| piece.number);
        pieces.dedup();
        let Self { doc, genesis, heads, of, .. } = pieces.first()?.clone();
        let fits = |(number, piece): (u32, &Self)| {
            let is_of_it = piece.doc == doc && piece.genesis == genesis && piece.heads == heads;
            is_of_it && piece.of == of && piece.number == number
        };
        let is_whole = usize::try_from(of) == Ok(pieces.len()) && (1..).zip(&pieces).all(fits);
        let bytes = pieces.into_iter().flat_map(|piece| piece.bytes).collect();
        is_whole.then_some(PackedDoc { doc, genesis, heads, bytes, rows: Vec::new() })
    }
}

/// A whole document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedDoc {
    /// Which.
    pub doc: DocId,
    /// What it starts from.
    pub genesis: GenesisId,
    /// Hashes of its newest changes, ascending.
    pub heads: Vec<ChangeHash>,
    /// One Automerge document chunk without compressed columns.
    pub bytes: Vec<u8>,
    /// What it projects to ([`decode_rows`]).
    pub rows: Vec<u8>,
}

impl PackedDoc {
    /// About what it takes in a pack.
    #[must_use]
    pub const fn weight(&self) -> usize {
        self.bytes.len() + self.rows.len() + self.heads.len() * 32 + 48
    }
}

impl Pack {
    /// The body of a Chunk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.map(if self.pieces.is_empty() { 3 } else { 4 })
            .uint(1)
            .uint(VERSION)
            .uint(2)
            .bytes(&self.stamp)
            .uint(3)
            .array(self.docs.len());
        for doc in &self.docs {
            let heads: Vec<u8> = doc.heads.iter().flat_map(|head| head.0).collect();
            out.map(5).uint(1).bytes(&doc.doc.0).uint(2).uint(doc.genesis.0.into()).uint(3).bytes(&heads);
            out.uint(4).bytes(&doc.bytes).uint(5).bytes(&doc.rows);
        }
        if !self.pieces.is_empty() {
            out.uint(4).array(self.pieces.len());
        }
        for piece in &self.pieces {
            let heads: Vec<u8> = piece.heads.iter().flat_map(|head| head.0).collect();
            out.map(6).uint(1).bytes(&piece.doc.0).uint(2).uint(piece.genesis.0.into()).uint(3).bytes(&heads);
            out.uint(4).uint(piece.number.into()).uint(5).uint(piece.of.into()).uint(6).bytes(&piece.bytes);
        }
        out.finish()
    }

    /// Reads the body of a Chunk: limits, order of heads, no document twice. What documents and rows hold is not looked
    /// at.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        if bytes.len() > CHUNK_RAW_BYTES_MAX {
            return Err(CheckpointError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        let (mut version, mut stamp, mut docs, mut pieces) = (None, None, None, Vec::new());
        reader.map(|reader, key| {
            match key {
                1 => version = Some(reader.uint()?),
                2 => stamp = Some(reader.bytes()?.to_vec()),
                3 => docs = Some(decode_docs(reader)?),
                4 => {
                    let count = reader.array(PACK_PIECES_MAX)?;
                    pieces = (0..count).map(|_| decode_piece(reader)).collect::<Result<Vec<_>, _>>()?;
                }
                _ => drop(reader.skip()?),
            }
            Ok::<_, CheckpointError>(())
        })?;
        reader.end()?;
        let (Some(VERSION), Some(stamp), Some(docs)) = (version, stamp, docs) else {
            return Err(CheckpointError::Layout);
        };
        if stamp.len() > STAMP_BYTES_MAX { Err(CheckpointError::TooLarge) } else { Ok(Self { stamp, docs, pieces }) }
    }
}

fn decode_docs(reader: &mut Reader<'_>) -> Result<Vec<PackedDoc>, CheckpointError> {
    let count = reader.array(PACK_DOCUMENTS_MAX)?;
    let docs = (0..count).map(|_| decode_doc(reader)).collect::<Result<Vec<_>, _>>()?;
    let distinct: BTreeSet<DocId> = docs.iter().map(|doc| doc.doc).collect();
    if distinct.len() == docs.len() { Ok(docs) } else { Err(CheckpointError::Layout) }
}

fn decode_doc(reader: &mut Reader<'_>) -> Result<PackedDoc, CheckpointError> {
    let (mut doc, mut genesis, mut heads, mut bytes, mut rows) = (None, None, None, None, None);
    reader.map(|reader, key| {
        match key {
            1 => doc = Some(DocId(reader.array_of()?)),
            2 => genesis = Some(GenesisId(reader.uint_32()?)),
            3 => heads = Some(decode_heads(reader.bytes()?)?),
            4 => bytes = Some(reader.bytes()?.to_vec()),
            5 => rows = Some(reader.bytes()?.to_vec()),
            _ => drop(reader.skip()?),
        }
        Ok::<_, CheckpointError>(())
    })?;
    let (Some(doc), Some(genesis), Some(heads), Some(bytes)) = (doc, genesis, heads, bytes) else {
        return Err(CheckpointError::Layout);
    };
    Ok(PackedDoc { doc, genesis, heads, bytes, rows: rows.unwrap_or_default() })
}

fn decode_piece(reader: &mut Reader<'_>) -> Result<Piece, CheckpointError> {
    let (mut doc, mut genesis, mut heads, mut number, mut of, mut bytes) = (None, None, None, None, None, None);
    reader.map(|reader, key| {
        match key {
            1 => doc = Some(DocId(reader.array_of()?)),
            2 => genesis = Some(GenesisId(reader.uint_32()?)),
            3 => heads = Some(decode_heads(reader.bytes()?)?),
            4 => number = Some(reader.uint_32()?),
            5 => of = Some(reader.uint_32()?),
            6 => bytes = Some(reader.bytes()?.to_vec()),
            _ => drop(reader.skip()?),
        }
        Ok::<_, CheckpointError>(())
    })?;
    let (Some(doc), Some(genesis), Some(heads), Some(number), Some(of), Some(bytes)) =
        (doc, genesis, heads, number, of, bytes)
    else {
        return Err(CheckpointError::Layout);
    };
    let is_sized = (1..=PIECE_BYTES_MAX).contains(&bytes.len()) && of <= PIECES_MAX && (1..=of).contains(&number);
    if is_sized { Ok(Piece { doc, genesis, heads, number, of, bytes }) } else { Err(CheckpointError::TooLarge) }
}

fn decode_heads(bytes: &[u8]) -> Result<Vec<ChangeHash>, CheckpointError> {
    let (heads, []) = bytes.as_chunks::<32>() else { return Err(CheckpointError::Layout) };
    if heads.len() > HEADS_MAX {
        return Err(CheckpointError::TooLarge);
    }
    let ascend = heads.windows(2).all(|pair| pair[0] < pair[1]);
    if heads.is_empty() || !ascend {
        return Err(CheckpointError::Layout);
    }
    Ok(heads.iter().copied().map(ChangeHash).collect())
}

/// Rows of one document, sorted by (table, key), as bytes.
#[must_use]
pub fn encode_rows(rows: &[Row]) -> Vec<u8> {
    let tables: Vec<&[Row]> = rows.chunk_by(|a, b| a.table == b.table).collect();
    let mut out = Writer::default();
    out.array(tables.len());
    for rows in tables {
        out.array(2).text(rows[0].table).array(rows.len());
        for row in rows {
            out.array(2).text(&row.key).array(row.values.len());
            row.values.iter().for_each(|value| encode_value(&mut out, value));
        }
    }
    out.finish()
}

fn encode_value(out: &mut Writer, value: &Value) {
    match value {
        Value::Null => out.array(0),
        Value::Int(value) => out.uint((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()),
        Value::Text(text) => out.text(text),
        Value::Blob(bytes) => out.bytes(bytes),
    };
}

/// Reads rows back. Nothing for bytes that are no rows of this version's tables: other columns, other types, not sorted.
#[must_use]
pub fn decode_rows(bytes: &[u8]) -> Option<Vec<Row>> {
    let mut reader = Reader::new(bytes);
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..reader.array(registry::tables().len()).ok()? {
        decode_table(&mut reader, &mut rows)?;
    }
    reader.end().ok()?;
    let sorted = rows.windows(2).all(|pair| (pair[0].table, &pair[0].key) < (pair[1].table, &pair[1].key));
    sorted.then_some(rows)
}

fn decode_table(reader: &mut Reader<'_>, rows: &mut Vec<Row>) -> Option<()> {
    (reader.array(2).ok()? == 2).then_some(())?;
    let name = reader.text().ok()?;
    let table = registry::table(name)?;
    for _ in 0..reader.array(ROWS_MAX.checked_sub(rows.len())?).ok()? {
        rows.push(decode_row(reader, table)?);
    }
    Some(())
}

fn decode_row(reader: &mut Reader<'_>, table: &Table) -> Option<Row> {
    (reader.array(2).ok()? == 2).then_some(())?;
    let key = reader.text().ok()?.to_owned();
    (reader.array(table.columns.len()).ok()? == table.columns.len()).then_some(())?;
    let values = table.columns.iter().map(|column| decode_value(reader, column.sql_type));
    Some(Row { table: table.name, key, values: values.collect::<Option<_>>()? })
}

fn decode_value(reader: &mut Reader<'_>, sql_type: &str) -> Option<Value> {
    if reader.clone().array(0).is_ok() {
        return reader.array(0).ok().map(|_| Value::Null);
    }
    match sql_type {
        "INTEGER" => {
            let zigzag = reader.uint().ok()?;
            Some(Value::Int((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed()))
        }
        "TEXT" => Some(Value::Text(reader.text().ok()?.to_owned())),
        _ => Some(Value::Blob(reader.bytes().ok()?.to_vec())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::{NOTE_GENESIS, NOTE_TAG, NOTEBOOK};

    fn rows() -> Vec<Row> {
        let note = |key: &str, ms: i64| Row {
            table: NOTEBOOK.name,
            key: key.to_owned(),
            values: vec!["name".into(), Value::Null, "a".into(), Value::Int(ms), Value::Int(0)],
        };
        let tag = Row { table: NOTE_TAG.name, key: "t".into(), values: vec!["t".into(), "T".into()] };
        vec![tag, note("", i64::MIN), note("b", i64::MAX), note("c", -1)]
    }

    fn doc(n: u8) -> PackedDoc {
        let heads = vec![ChangeHash([n; 32]), ChangeHash([n + 1; 32])];
        PackedDoc { doc: DocId([n; 16]), genesis: NOTE_GENESIS, heads, bytes: vec![n; 40], rows: encode_rows(&rows()) }
    }

    #[test]
    fn a_pack_reads_as_it_was_written() {
        let pack = Pack { stamp: vec![1, 2], docs: vec![doc(9), doc(1)], pieces: vec![] };
        assert_eq!(Pack::decode(&pack.encode()), Ok(pack));
        assert_eq!(decode_rows(&encode_rows(&rows())), Some(rows()));
        assert_eq!(decode_rows(&encode_rows(&[])), Some(Vec::new()));
    }

    #[test]
    fn a_pack_with_a_document_twice_or_heads_out_of_order_is_none() {
        let twice = Pack { stamp: vec![], docs: vec![doc(1), doc(1)], pieces: vec![] };
        assert_eq!(Pack::decode(&twice.encode()), Err(CheckpointError::Layout));
        let decode = |docs| Pack::decode(&Pack { stamp: vec![], docs, pieces: vec![] }.encode());
        let mut turned = doc(1);
        turned.heads.reverse();
        assert_eq!(decode(vec![turned]), Err(CheckpointError::Layout));
        let headless = PackedDoc { heads: Vec::new(), ..doc(1) };
        assert_eq!(decode(vec![headless]), Err(CheckpointError::Layout));
    }

    fn piece(number: u32, of: u32) -> Piece {
        let PackedDoc { doc, genesis, heads, .. } = doc(5);
        Piece { doc, genesis, heads, number, of, bytes: vec![u8::try_from(number).unwrap(); 3] }
    }

    #[test]
    fn pieces_make_a_document_again_and_nothing_less_than_all_of_them_does() {
        let whole =
            PackedDoc { bytes: (0..2 * PIECE_BYTES_MAX + 7).map(|n| n as u8).collect(), rows: vec![], ..doc(2) };
        let pieces = Piece::cut(&whole).unwrap();
        assert_eq!(pieces.len(), 3);
        let pack = Pack { stamp: vec![], docs: vec![], pieces: vec![pieces[1].clone()] };
        assert_eq!(Pack::decode(&pack.encode()), Ok(pack));
        let turned = vec![pieces[2].clone(), pieces[0].clone(), pieces[1].clone(), pieces[0].clone()];
        assert_eq!(Piece::join(turned), Some(whole.clone()));
        for left_out in 0..3 {
            let mut some = pieces.clone();
            some.remove(left_out);
            assert_eq!(Piece::join(some), None);
        }
        let mut other = pieces;
        other[1].heads.pop();
        assert_eq!(Piece::join(other), None);
        assert_eq!(Piece::join(vec![]), None);
        let huge = PackedDoc { bytes: vec![0; PIECE_BYTES_MAX * PIECES_MAX as usize + 1], ..whole };
        assert_eq!(Piece::cut(&huge), None);
    }

    #[test]
    fn a_piece_that_cannot_be_is_none() {
        let decode = |piece| Pack::decode(&Pack { stamp: vec![], docs: vec![], pieces: vec![piece] }.encode());
        assert!(decode(piece(1, 1)).is_ok() && decode(piece(32, 32)).is_ok());
        for wrong in [piece(0, 1), piece(2, 1), piece(1, 33), Piece { bytes: vec![], ..piece(1, 1) }] {
            assert_eq!(decode(wrong), Err(CheckpointError::TooLarge));
        }
        let two = Pack { stamp: vec![], docs: vec![], pieces: vec![piece(1, 2), piece(2, 2)] };
        assert!(Pack::decode(&two.encode()).is_err());
        let long = Piece { bytes: vec![0; PIECE_BYTES_MAX + 1], ..piece(1, 1) };
        assert_eq!(decode(long), Err(CheckpointError::TooLarge));
    }

    #[test]
    fn rows_of_other_tables_columns_types_or_order_are_none() {
        let mut other = rows();
        other[0].table = "gone";
        assert_eq!(decode_rows(&encode_rows(&other)), None);
        let mut other = rows();
        other[1].values.pop();
        assert_eq!(decode_rows(&encode_rows(&other)), None);
        let mut other = rows();
        other[1].values[0] = Value::Int(1);
        assert_eq!(decode_rows(&encode_rows(&other)), None);
        let mut other = rows();
        other.swap(1, 2);
        assert_eq!(decode_rows(&encode_rows(&other)), None);
        let mut other = rows();
        other[2].key = String::new();
        assert_eq!(decode_rows(&encode_rows(&other)), None);
    }

    proptest! {
        #[test]
        fn garbage_is_no_pack_and_no_rows_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (Pack::decode(&bytes), decode_rows(&bytes));
        }

        #[test]
        fn a_changed_byte_never_makes_a_panic(at in 0_usize..200, to in any::<u8>()) {
            let mut bytes = Pack { stamp: vec![7], docs: vec![doc(1), doc(3)], pieces: vec![piece(1, 2)] }.encode();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(pack) = Pack::decode(&bytes) {
                prop_assert_eq!(Pack::decode(&pack.encode()), Ok(pack));
            }
        }
    }
}
