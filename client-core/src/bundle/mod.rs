//! The bundle file: records and sealed envelopes of one space, carried by a USB stick or a shared folder
//! (docs/PROTOCOL.md, "The bundle file").
//!
//! ```text
//! bundle = "LSBUNDLE" ‖ u8 version = 1 ‖ space 32 ‖ frames ‖ u32 0 ‖ SHA-256(ctx("bundle") ‖ all before it)
//! frames = HAVE ‖ REC … ‖ ITEMS …             each as u32 length ‖ the frame as on the wire, req_id and session 0
//! HAVE     of each stream: floor = what is left out because the reader holds it, tip = as far as the bundle goes
//! REC      all records, parents first; more on all but the last
//! ITEMS    envelopes, stream by stream, each stream's in order, then parts of attachments if they were asked for; pos,
//!          next and roll 0; more on all but the last
//! ```
//! It holds what a relay holds, and shows whoever finds it what a relay sees. It is not signed: each record and envelope
//! proves itself, and the hash at the end is against accidents, not against people.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use lifeos_sync_protocol::envelope::{Envelope, Kind};
use lifeos_sync_protocol::frame::{Frame, Have, Item};
use lifeos_sync_protocol::hash::Hasher;
use lifeos_sync_protocol::ids::{EnvelopeId, Roll, SpaceId};
use lifeos_sync_protocol::limits::{FRAME_BYTES_MAX, FRAME_RECORDS_MAX, FRAME_STREAMS_MAX};

use crate::modules::attachment::SPACE_PARTS_MAX;

#[cfg(test)]
mod tests;

const MAGIC: &[u8; 8] = b"LSBUNDLE";
const VERSION: u8 = 1;
/// Bytes of records in one REC; one larger record travels alone.
const RECORDS_BYTES: usize = 1024 * 1024;

/// A bundle cannot be written or read. The messages tell a person what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Some other file.
    #[error("this file is no bundle of Life OS: choose the file that `lifeos bundle export` wrote")]
    NotABundle,
    /// Written by a newer version.
    #[error("this bundle was written by a newer version: update")]
    NewerVersion,
    /// It ends too early.
    #[error(
        "the bundle is cut short: what was there has been taken in and the rest is missing; copy the file again and import it once more"
    )]
    Truncated,
    /// Not the bytes that were written.
    #[error(
        "the bundle is damaged or was altered: what is sound has been taken in; make or copy the file again and import it once more"
    )]
    Damaged,
    /// More streams than a bundle lists.
    #[error("this space has more streams than one bundle can list: sync with a relay instead")]
    TooManyStreams,
    /// The file cannot be read or written.
    #[error("the bundle file cannot be read or written: check its place, permissions and the free space")]
    Io(#[source] io::Error),
}

/// What comes next in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Records, parents first.
    Records(Vec<Vec<u8>>),
    /// Envelopes, each stream's in order.
    Envelopes(Vec<Vec<u8>>),
}

/// Writes a bundle front to back, one frame in memory.
pub struct BundleWriter<W> {
    out: W,
    hash: Hasher,
    bytes: u64,
    /// Written when it is known whether another of its kind follows.
    pending: Option<Part>,
    has_envelopes: bool,
}

impl<W: Write> BundleWriter<W> {
    /// Begins the bundle of a space; `streams`, ascending, says what it will hold.
    ///
    /// # Errors
    /// [`BundleError::TooManyStreams`], [`BundleError::Io`].
    pub fn begin(out: W, space: &SpaceId, streams: Vec<Have>) -> Result<Self, BundleError> {
        if streams.len() > FRAME_STREAMS_MAX {
            return Err(BundleError::TooManyStreams);
        }
        let mut writer = Self { out, hash: Hasher::new("bundle"), bytes: 0, pending: None, has_envelopes: false };
        writer.write(MAGIC)?;
        writer.write(&[VERSION])?;
        writer.write(&space.0)?;
        writer.write_frame(&Frame::Have { session: 0, streams })?;
        Ok(writer)
    }

    /// Adds all records, parents first.
    ///
    /// # Errors
    /// [`BundleError::Io`].
    pub fn records(&mut self, records: impl IntoIterator<Item = Vec<u8>>) -> Result<(), BundleError> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        for record in records {
            bytes += record.len();
            if !part.is_empty() && (part.len() == FRAME_RECORDS_MAX || bytes > RECORDS_BYTES) {
                self.queue(Part::Records(std::mem::take(&mut part)))?;
                bytes = record.len();
            }
            part.push(record);
        }
        self.queue(Part::Records(part))
    }

    /// Adds envelopes of one stream, or parts of attachments: no more than a page may hold.
    ///
    /// # Errors
    /// [`BundleError::Io`].
    pub fn envelopes(&mut self, envelopes: Vec<Vec<u8>>) -> Result<(), BundleError> {
        self.has_envelopes = true;
        self.queue(Part::Envelopes(envelopes))
    }

    /// Ends the bundle; gives what it was written to, and its size in bytes.
    ///
    /// # Errors
    /// [`BundleError::Io`].
    pub fn finish(mut self) -> Result<(W, u64), BundleError> {
        if !self.has_envelopes {
            self.queue(Part::Envelopes(Vec::new()))?;
        }
        if let Some(last) = self.pending.take() {
            self.write_frame(&last.into_frame(false))?;
        }
        self.write(&[0; 4])?;
        let hash = self.hash.clone().finish();
        self.write(&hash)?;
        Ok((self.out, self.bytes))
    }

    fn queue(&mut self, next: Part) -> Result<(), BundleError> {
        let Some(part) = self.pending.take() else {
            self.pending = Some(next);
            return Ok(());
        };
        let more = std::mem::discriminant(&part) == std::mem::discriminant(&next);
        self.pending = Some(next);
        self.write_frame(&part.into_frame(more))
    }

    fn write_frame(&mut self, frame: &Frame) -> Result<(), BundleError> {
        let bytes = frame.encode(0);
        self.write(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes())?;
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(BundleError::Io)
    }
}

impl Part {
    fn into_frame(self, more: bool) -> Frame {
        match self {
            Self::Records(records) => Frame::Rec { session: 0, records, more },
            Self::Envelopes(envelopes) => {
                let items = envelopes.into_iter().map(|envelope| Item { pos: 0, envelope }).collect();
                Frame::Items { session: 0, items, next: 0, roll: Roll::ZERO, more }
            }
        }
    }
}

/// Reads a bundle front to back, one frame in memory. What is wrong with one frame costs that frame: it is passed over,
/// the rest is given, and the end says so.
pub struct BundleReader<R> {
    input: R,
    hash: Hasher,
    bytes: u64,
    space: SpaceId,
    streams: Vec<Have>,
    /// Something was passed over.
    damaged: bool,
    /// Envelopes have begun, after which there are no more records.
    in_envelopes: bool,
    /// The last frame promised another of its kind.
    more: bool,
}

impl<R: Read> BundleReader<R> {
    /// Reads up to the list of streams.
    ///
    /// # Errors
    /// [`BundleError::NotABundle`], [`BundleError::NewerVersion`], [`BundleError::Truncated`], [`BundleError::Damaged`],
    /// [`BundleError::Io`].
    pub fn open(input: R) -> Result<Self, BundleError> {
        let mut reader = Self {
            input,
            hash: Hasher::new("bundle"),
            bytes: 0,
            space: SpaceId([0; 32]),
            streams: Vec::new(),
            damaged: false,
            in_envelopes: false,
            more: true,
        };
        let magic = reader.take::<8>().map_err(|error| match error {
            BundleError::Truncated => BundleError::NotABundle,
            error => error,
        })?;
        if &magic != MAGIC {
            return Err(BundleError::NotABundle);
        }
        if reader.take::<1>()? != [VERSION] {
            return Err(BundleError::NewerVersion);
        }
        reader.space = SpaceId(reader.take()?);
        let bytes = reader.frame()?.ok_or(BundleError::Damaged)?;
        match Frame::decode(&bytes) {
            Ok((0, Frame::Have { session: 0, streams })) => reader.streams = streams,
            _ => return Err(BundleError::Damaged),
        }
        Ok(reader)
    }

    /// Whose bundle it is.
    pub const fn space(&self) -> SpaceId {
        self.space
    }

    /// What it says that it holds: of each stream what follows `floor`, up to `tip`.
    pub fn streams(&self) -> &[Have] {
        &self.streams
    }

    /// Bytes read so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next part; `None` when everything was there and is what was written.
    ///
    /// # Errors
    /// [`BundleError::Truncated`], [`BundleError::Damaged`], [`BundleError::Io`]; there is nothing more then.
    pub fn next_part(&mut self) -> Result<Option<Part>, BundleError> {
        while let Some(bytes) = self.frame()? {
            match self.part(&bytes) {
                Some(part) => return Ok(Some(part)),
                None => self.damaged = true,
            }
        }
        let hash = self.hash.clone().finish();
        let is_whole = self.take()? == hash && !self.damaged && self.in_envelopes && !self.more;
        let is_over = self.input.read(&mut [0]).map_err(BundleError::Io)? == 0;
        if is_whole && is_over { Ok(None) } else { Err(BundleError::Damaged) }
    }

    /// Reads to the end; gives what it says that it holds of streams, and the parts of attachments in it.
    ///
    /// # Errors
    /// As [`Self::next_part`].
    pub fn check(mut self) -> Result<(Vec<Have>, BTreeSet<EnvelopeId>), BundleError> {
        let mut parts = BTreeSet::new();
        while let Some(part) = self.next_part()? {
            let Part::Envelopes(envelopes) = part else { continue };
            let of_attachments = envelopes.into_iter().filter(|bytes| bytes.get(1) == Some(&(Kind::BlobPart as u8)));
            // As many as a space may have, whatever the file holds.
            let room = SPACE_PARTS_MAX.saturating_sub(parts.len());
            let read = of_attachments.filter_map(|bytes| Envelope::parse(bytes).ok());
            parts.extend(read.take(room).map(|envelope| envelope.id(&self.space)));
        }
        Ok((self.streams, parts))
    }

    /// What a frame holds; nothing if it does not belong here.
    fn part(&mut self, bytes: &[u8]) -> Option<Part> {
        let (part, more) = match Frame::decode(bytes).ok()? {
            (0, Frame::Rec { session: 0, records, more }) if !self.in_envelopes => (Part::Records(records), more),
            (0, Frame::Items { session: 0, items, next: 0, roll: Roll::ZERO, more }) => {
                // The records are over, or more envelopes were promised.
                self.damaged |= self.more != self.in_envelopes || items.iter().any(|item| item.pos != 0);
                self.in_envelopes = true;
                (Part::Envelopes(items.into_iter().map(|item| item.envelope).collect()), more)
            }
            _ => return None,
        };
        self.damaged |= matches!(part, Part::Records(_)) && !self.more;
        self.more = more;
        Some(part)
    }

    /// One frame's bytes; nothing where the end is marked.
    fn frame(&mut self) -> Result<Option<Vec<u8>>, BundleError> {
        let length = u32::from_be_bytes(self.take()?) as usize;
        if length == 0 {
            return Ok(None);
        }
        if length > FRAME_BYTES_MAX {
            return Err(BundleError::Damaged);
        }
        let mut bytes = Vec::new();
        // Grows as it is filled: a length alone takes no memory.
        let mut limited = Read::by_ref(&mut self.input).take(length as u64);
        limited.read_to_end(&mut bytes).map_err(BundleError::Io)?;
        if bytes.len() < length {
            return Err(BundleError::Truncated);
        }
        self.hash.update(&bytes);
        self.bytes += length as u64;
        Ok(Some(bytes))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], BundleError> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BundleError::Truncated,
            _ => BundleError::Io(error),
        })?;
        self.hash.update(&bytes);
        self.bytes += N as u64;
        Ok(bytes)
    }
}
