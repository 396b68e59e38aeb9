//! Attachments: a document for each content, found by its hash, that says which sealed parts it consists of; and what
//! is in a part.
//!
//! ```text
//! content ─ cut ─▶ hash 32 ‖ number u32 ‖ at most PART_BYTES ─ sealed as a BlobPart ─▶ id
//! document of the content: hash, media type, size ‖ ids         note: attachment/<hash> = name
//! ```
//! Two devices that add one content at once make parts of their own; their lists stand beside each other in the one
//! document until somebody writes over both, and either is enough to get the content.

pub mod declared;

use std::fmt;
use std::str::FromStr;

use automerge::{AutoCommit, ROOT, ReadDoc, ScalarValue};
use lifeos_sync_protocol::hash;
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, IdParseError, SpaceId};

use super::register::{put, scalar, text};
use crate::document::{Document, DocumentError};
use crate::projection::{Row, Value};
use crate::registry::{ATTACHMENT, ATTACHMENT_GENESIS};

/// What a part says before its bytes: hash of the content, number of the part.
const PART_HEAD_BYTES: usize = 32 + 4;
/// Bytes of the content in every part but the last: as many as an envelope of 1 MiB holds without padding.
pub const PART_BYTES: usize = 63 * 16 * 1024 - 10 - PART_HEAD_BYTES;
/// Most parts of one content.
pub const PARTS_MAX: usize = 2048;
/// Largest content: close to 2 GiB.
pub const SIZE_MAX: u64 = (PART_BYTES * PARTS_MAX) as u64;
/// Most parts that a space may need: a checkpoint names all of them in one record.
pub const SPACE_PARTS_MAX: usize = 16 * 1024;
/// Lists of one content that are looked at: more than devices that add it at once.
const LISTS_MAX: usize = 16;

/// SHA-256 of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ContentHash {
    type Err = IdParseError;

    /// 64 lower-case hex characters, nothing else: there is one way to write a key.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        let id: EnvelopeId = if is_plain { text } else { "" }.parse()?;
        Ok(Self(id.0))
    }
}

/// Size and parts of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartList {
    /// Bytes of the content.
    pub size: u64,
    /// Its parts, in order.
    pub parts: Vec<EnvelopeId>,
}

impl PartList {
    /// How many parts so many bytes take.
    #[must_use]
    pub const fn parts_of(size: u64) -> u64 {
        size.div_ceil(PART_BYTES as u64)
    }

    /// As it stands in the document: size, ids.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        self.parts.iter().for_each(|part| bytes.extend_from_slice(part.as_ref()));
        bytes
    }

    /// Reads a list; `None` where size and number of parts do not fit each other, or there are too many.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (size, ids) = bytes.split_first_chunk::<8>()?;
        Self::from_ids(u64::from_be_bytes(*size), ids)
    }

    /// The same from the size and the ids behind each other.
    #[must_use]
    pub fn from_ids(size: u64, ids: &[u8]) -> Option<Self> {
        let (ids, rest) = ids.as_chunks::<32>();
        let fits = rest.is_empty() && size <= SIZE_MAX && ids.len() as u64 == Self::parts_of(size);
        fits.then(|| Self { size, parts: ids.iter().copied().map(EnvelopeId).collect() })
    }

    /// Bytes of the content in one of its parts.
    #[must_use]
    pub fn bytes_of(&self, number: usize) -> usize {
        let before = (number as u64).saturating_mul(PART_BYTES as u64);
        usize::try_from(self.size.saturating_sub(before)).unwrap_or(usize::MAX).min(PART_BYTES)
    }
}

/// The document of a content in a space: other spaces have another one, which nothing connects with it.
#[must_use]
pub fn attachment_doc(space: &SpaceId, content: &ContentHash) -> DocId {
    let digest = hash::sha256("attachment", &[space.as_ref(), &content.0]);
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    DocId(id)
}

/// Says what a content consists of.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn set_parts(
    doc: &mut AutoCommit,
    content: &ContentHash,
    media: &str,
    list: &PartList,
) -> Result<(), DocumentError> {
    put(doc, ATTACHMENT_GENESIS, "hash", ScalarValue::Bytes(content.0.to_vec()))?;
    put(doc, ATTACHMENT_GENESIS, "media", media)?;
    put(doc, ATTACHMENT_GENESIS, "parts", ScalarValue::Bytes(list.encode()))
}

/// Every way in which the content was cut and sealed, the one that counts first at the front; what does not read is
/// left out.
#[must_use]
pub fn part_lists(doc: &AutoCommit) -> Vec<PartList> {
    let written = doc.get_all(ROOT, "parts").unwrap_or_default();
    let lists = written.into_iter().rev().filter_map(|(value, _)| match value.as_scalar() {
        Some(ScalarValue::Bytes(bytes)) => PartList::decode(bytes),
        _ => None,
    });
    lists.take(LISTS_MAX).collect()
}

/// Rows of `attachment`.
#[must_use]
pub fn project(document: &Document) -> Vec<Row> {
    let doc = document.read();
    let Some(ScalarValue::Bytes(hash)) = scalar(doc, "hash").filter(is_hash) else { return Vec::new() };
    let media = text(doc, "media").filter(|media| is_media(media)).unwrap_or_default();
    let rows = part_lists(doc).into_iter().enumerate().map(|(number, list)| {
        let ids = list.parts.iter().flat_map(|part| part.0).collect();
        let size = i64::try_from(list.size).unwrap_or(i64::MAX);
        let values = vec![Value::Blob(hash.clone()), Value::Text(media.clone()), Value::Int(size), Value::Blob(ids)];
        Row { table: ATTACHMENT.name, key: format!("{number:02}"), values }
    });
    rows.collect()
}

fn is_hash(value: &ScalarValue) -> bool {
    matches!(value, ScalarValue::Bytes(bytes) if bytes.len() == 32)
}

/// A media type as RFC 6838 has it, e.g. `image/png`; nothing else is shown or handed on.
fn is_media(media: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    media.len() <= 255 && media.split_once('/').is_some_and(|(kind, name)| is_name(kind) && is_name(name))
}

/// The body of a part.
#[must_use]
pub fn encode_part(content: &ContentHash, number: u32, bytes: &[u8]) -> Vec<u8> {
    [content.0.as_slice(), &number.to_be_bytes(), bytes].concat()
}

/// The bytes in a part's body, if it is this part of this content.
#[must_use]
pub fn decode_part<'b>(content: &ContentHash, number: u32, body: &'b [u8]) -> Option<&'b [u8]> {
    body.strip_prefix(&content.0)?.strip_prefix(&number.to_be_bytes()).filter(|bytes| bytes.len() <= PART_BYTES)
}

/// The media type that a file's name speaks of.
#[must_use]
pub fn media_of(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "heic" => "image/heic",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "ogg" | "opus" => "audio/ogg",
        "flac" => "audio/flac",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "json" => "application/json",
        "epub" => "application/epub+zip",
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use lifeos_sync_protocol::ids::StreamId;

    use super::*;

    const CONTENT: ContentHash = ContentHash([7; 32]);

    fn list(parts: u8) -> PartList {
        let size = u64::from(parts.max(1) - 1) * PART_BYTES as u64 + 1;
        PartList { size, parts: (0..parts).map(|part| EnvelopeId([part; 32])).collect() }
    }

    fn document(actor: u8) -> Document {
        let doc = attachment_doc(&SpaceId([1; 32]), &CONTENT);
        Document::new(doc, ATTACHMENT_GENESIS, StreamId([actor; 16])).unwrap()
    }

    #[test]
    fn a_list_whose_size_and_parts_do_not_fit_is_none() {
        let good = list(3);
        assert_eq!(PartList::decode(&good.encode()), Some(good.clone()));
        let empty = PartList { size: 0, parts: Vec::new() };
        assert_eq!(PartList::decode(&empty.encode()), Some(empty));
        for size in [0, PART_BYTES as u64, 3 * PART_BYTES as u64 + 1, 1 << 63, u64::MAX] {
            assert_eq!(PartList::decode(&PartList { size, ..good.clone() }.encode()), None, "{size}");
        }
        let mut torn = good.encode();
        torn.pop();
        assert_eq!(PartList::decode(&torn), None);
        let many = PartList { size: 1_000_000 * PART_BYTES as u64, parts: vec![EnvelopeId([1; 32]); 1_000_000] };
        assert_eq!(PartList::decode(&many.encode()), None, "a million parts");
        assert_eq!((good.bytes_of(0), good.bytes_of(2), good.bytes_of(9)), (PART_BYTES, 1, 0));
    }

    #[test]
    fn a_part_of_another_content_or_at_another_place_is_none() {
        let body = encode_part(&CONTENT, 4, b"bytes");
        assert_eq!(decode_part(&CONTENT, 4, &body), Some(b"bytes".as_slice()));
        assert_eq!(decode_part(&CONTENT, 5, &body), None);
        assert_eq!(decode_part(&ContentHash([8; 32]), 4, &body), None);
        assert_eq!(decode_part(&CONTENT, 4, &body[..35]), None);
        assert_eq!(decode_part(&CONTENT, 4, &encode_part(&CONTENT, 4, &vec![0; PART_BYTES + 1])), None);
    }

    #[test]
    fn lists_that_were_made_at_once_stay_beside_each_other() {
        let (mut one, mut other) = (document(1), document(2));
        one.edit(1, |doc| set_parts(doc, &CONTENT, "image/png", &list(2))).unwrap();
        other.edit(1, |doc| set_parts(doc, &CONTENT, "image/png", &list(3))).unwrap();
        let mut merged = one.read().clone();
        merged.merge(&mut other.read().clone()).unwrap();
        let found = part_lists(&merged);
        assert!(found.len() == 2 && found.contains(&list(2)) && found.contains(&list(3)), "{found:?}");
        let (winner, _) = merged.get(ROOT, "parts").unwrap().unwrap();
        assert_eq!(winner.as_bytes(), Some(found[0].encode().as_slice()), "what counts is at the front");
        merged.put(ROOT, "parts", list(1).encode()).unwrap();
        assert_eq!(part_lists(&merged), [list(1)]);
    }

    #[test]
    fn what_another_program_writes_is_left_out_of_the_rows() {
        let mut document = document(1);
        document.edit(1, |doc| set_parts(doc, &CONTENT, "text/plain", &list(1))).unwrap();
        assert_eq!(project(&document).len(), 1);
        let bad = |document: &mut Document, key: &'static str, value: ScalarValue| {
            document.edit(2, |doc| Ok::<_, DocumentError>(doc.put(ROOT, key, value)?)).unwrap();
        };
        bad(&mut document, "media", "text/plain\nX-Header: 1".into());
        assert_eq!(project(&document)[0].values[1], Value::Text(String::new()));
        bad(&mut document, "parts", ScalarValue::Bytes(vec![0xff; 8 + 32]));
        assert!(project(&document).is_empty());
        bad(&mut document, "parts", ScalarValue::Bytes(list(1).encode()));
        bad(&mut document, "hash", "no hash".into());
        assert!(project(&document).is_empty());
    }

    #[test]
    fn a_content_has_another_document_in_another_space() {
        assert_ne!(attachment_doc(&SpaceId([1; 32]), &CONTENT), attachment_doc(&SpaceId([2; 32]), &CONTENT));
        assert_eq!(CONTENT.to_string().parse(), Ok(CONTENT));
        assert!("AB".repeat(32).parse::<ContentHash>().is_err(), "keys are written one way");
    }
}
