//! Which envelopes last changed one document, and who has said that they hold them.
//!
//! Nothing is written down for it: the envelopes are here, and say it (docs/decisions/0018). A stream is read from its end
//! back to what every device has confirmed, so it costs what is not confirmed, and nothing where all is.

use std::collections::BTreeMap;

use lifeos_sync_protocol::envelope::Envelope;
use lifeos_sync_protocol::ids::{DocId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;

use super::documents::{DocRow, Mark};
use super::records::find_space;
use super::{Reads, RelayState, StoreError, seal};
use crate::envelope::{self, SignatureCheck, StreamTip};
use crate::keys::Keyring;

/// Envelopes opened for one answer.
const ENVELOPES_MAX: u32 = 20_000;

/// What one stream says of a document, as far as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// The stream.
    pub stream: StreamId,
    /// Who writes it.
    pub device: SignPk,
    /// The last envelope that changes the document; 0: none after `read_after`.
    pub seq: u32,
    /// Envelopes up to this one were not looked at: everybody has confirmed them, or they are not here any more.
    pub read_after: u32,
}

/// What is known of a document beyond this device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoteReach {
    /// Streams of the space.
    pub streams: Vec<Touched>,
    /// Changes that are not sealed yet.
    pub pending: u64,
    /// How far each device says it holds each stream.
    pub confirmed: BTreeMap<(SignPk, StreamId), u32>,
}

/// What a device has of a document, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All that this device has of it.
    Has,
    /// It has not confirmed the newest edits.
    NotConfirmed,
    /// What it would have to confirm is not here any more, or too much to look through.
    NotKnown,
}

impl NoteReach {
    /// What a device has said of the document.
    #[must_use]
    pub fn of(&self, device: &SignPk) -> Reach {
        if self.pending > 0 {
            return Reach::NotConfirmed;
        }
        let mut reach = Reach::Has;
        for touched in self.streams.iter().filter(|touched| touched.device != *device) {
            let confirmed = self.confirmed.get(&(*device, touched.stream)).copied().unwrap_or(0);
            if touched.seq > confirmed {
                return Reach::NotConfirmed;
            }
            // Of one that changes the document and is confirmed, what lies before it is, too.
            if touched.seq == 0 && touched.read_after > confirmed {
                reach = Reach::NotKnown;
            }
        }
        reach
    }

    /// The last envelopes of a device that change the document, by stream, as far as streams were read.
    #[must_use]
    pub fn written_by(&self, device: &SignPk) -> Vec<(StreamId, u32)> {
        let written = self.streams.iter().filter(|touched| touched.device == *device && touched.seq > 0);
        written.map(|touched| (touched.stream, touched.seq)).collect()
    }
}

/// A stream as its row says, with how far it is to be read back.
struct Read {
    row: i64,
    stream: StreamId,
    device: SignPk,
    counts: u32,
    after: u32,
    floor: u32,
}

impl Reads<'_> {
    /// What is known of a document on these devices, and of what this device wrote at these relays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_reach(
        &self,
        space: &SpaceId,
        doc: &DocId,
        (membership, keyring): (&Membership, &Keyring),
        (devices, relays): (&[SignPk], &[RelayState]),
    ) -> Result<NoteReach, StoreError> {
        let space_ref = find_space(self.conn, space)?;
        let pending = match DocRow::find(self.conn, space_ref.row, doc)? {
            Some(row) => {
                let sql = "SELECT count(*) FROM change c JOIN mark m ON m.doc = c.doc AND m.kind = ?2
                           WHERE c.doc = ?1 AND c.state > 0";
                self.count(sql, (row.id, Mark::Pending as i64))?
            }
            None => 0,
        };
        let sql = "SELECT device, stream, seq FROM confirmed WHERE space = ?1";
        let said = self.all(sql, [space_ref.row], |row| {
            Ok(((SignPk(row.get(0)?), StreamId(row.get(1)?)), row.get::<_, u32>(2)?))
        })?;
        let confirmed: BTreeMap<_, _> = said.into_iter().filter(|((device, _), _)| devices.contains(device)).collect();
        let sql = "SELECT id, stream, device, min(seq, ifnull(limit_seq, seq)), floor FROM stream
                   WHERE space = ?1 ORDER BY id DESC";
        let own = seal::own_tip(self.conn, space_ref)?.device;
        let mut streams = self.all(sql, [space_ref.row], |row| {
            let (stream, device) = (StreamId(row.get(1)?), SignPk(row.get(2)?));
            let others = devices.iter().filter(|other| **other != device);
            let least = others.map(|other| confirmed.get(&(*other, stream)).copied().unwrap_or(0)).min();
            let (counts, floor): (u32, u32) = (row.get(3)?, row.get(4)?);
            Ok(Read { row: row.get(0)?, stream, device, counts, after: least.unwrap_or(counts).max(floor), floor })
        })?;
        for read in streams.iter_mut().filter(|read| read.device == own) {
            for relay in relays {
                read.after = read.after.min(self.own_held_by(space, relay, &read.stream)?).max(read.floor);
            }
        }
        let (mut left, mut touched) = (ENVELOPES_MAX, Vec::new());
        for read in streams {
            touched.push(self.last_touch(space, doc, (membership, keyring), &read, &mut left)?);
        }
        Ok(NoteReach { streams: touched, pending, confirmed })
    }

    /// The last envelope of a stream that changes a document, from its end back.
    fn last_touch(
        &self,
        space: &SpaceId,
        doc: &DocId,
        (membership, keyring): (&Membership, &Keyring),
        read: &Read,
        left: &mut u32,
    ) -> Result<Touched, StoreError> {
        let (stream, device) = (read.stream, read.device);
        let mut touched = Touched { stream, device, seq: 0, read_after: read.counts };
        let sql = "SELECT position & 4294967295, bytes FROM envelope WHERE position > ?1 AND position <= ?2
                   ORDER BY position DESC";
        let mut select = self.conn.prepare_cached(sql)?;
        let (after, last) = (seal::position(read.row, read.after), seal::position(read.row, read.counts));
        let mut rows = select.query((after, last.max(after)))?;
        while let Some(row) = rows.next()? {
            if *left == 0 {
                return Ok(touched);
            }
            *left -= 1;
            let (seq, bytes): (u32, Vec<u8>) = (row.get(0)?, row.get(1)?);
            touched.read_after = seq.saturating_sub(1);
            let Ok(envelope) = Envelope::parse(bytes) else { continue };
            let tip = StreamTip { stream, device, seq: seq.saturating_sub(1), id: envelope.header().prev };
            // It was verified when it was taken in; what does not open changed nothing here.
            let check = SignatureCheck::CoveredByDescendant;
            let Ok((verified, _)) = envelope::verify(space, membership, Some(&tip), envelope, check) else { continue };
            let Ok(opened) = envelope::open(space, &verified, keyring) else { continue };
            if opened.delta.docs.iter().any(|delta| delta.doc == *doc) {
                touched.seq = seq;
                return Ok(touched);
            }
        }
        touched.read_after = read.after;
        Ok(touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(seq: u32, read_after: u32, confirmed: u32, pending: u64) -> Reach {
        let (stream, author, other) = (StreamId([1; 16]), SignPk([1; 32]), SignPk([2; 32]));
        let streams = vec![Touched { stream, device: author, seq, read_after }];
        let reach = NoteReach { streams, pending, confirmed: BTreeMap::from([((other, stream), confirmed)]) };
        assert_eq!(reach.of(&author), if pending > 0 { Reach::NotConfirmed } else { Reach::Has });
        reach.of(&other)
    }

    #[test]
    fn nobody_is_said_to_have_what_they_have_not_confirmed_and_what_cannot_be_known_is_said_to_be_so() {
        assert_eq!(reach(7, 6, 7, 0), Reach::Has);
        assert_eq!(reach(7, 6, 6, 0), Reach::NotConfirmed);
        assert_eq!(reach(7, 6, 7, 1), Reach::NotConfirmed, "an edit that is not sealed is nowhere else");
        assert_eq!(reach(0, 5, 5, 0), Reach::Has, "nothing after what it confirmed changes the document");
        assert_eq!(reach(0, 5, 4, 0), Reach::NotKnown, "what lies below was not looked at");
        assert_eq!(reach(7, 6, 5, 0), Reach::NotConfirmed);
    }
}
