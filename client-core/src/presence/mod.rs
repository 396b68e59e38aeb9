//! Who is here now, and where: what a device says of itself in an Ephemeral envelope, which nobody stores (protocol, "Presence").
//!
//! ```text
//! Presence { 1: r32                          with the device's key it gives the stream id of the header: whose it is
//!            2: session 16                   random, drawn whenever the home is opened
//!            3: [[session 16, count] …]      of others: the last message heard of each, ascending
//!            4: 0 here, 1 idle, 2 gone
//!            5: document 16                  where, if it is said
//!            6: [anchor, head]               the selection there: each [] for the end, or [actor 16, counter]
//!            n: anything }                   passed over
//! ```
//!
//! The header's seq counts the messages of a session. A relay can keep any message and bring it again: field 3 shows
//! when one was made, because it names what its author had heard by then ([`Presences`]). Names, titles and text are
//! deliberately absent: who may read the space has them already.

mod here;
#[cfg(test)]
mod tests;

pub use here::{ECHO_MS_MAX, Outgoing, Presences, SHOWN_MS};

use lifeos_sync_protocol::envelope::{Envelope, HEADER_BYTES, Kind, SIGNATURE_BYTES};
use lifeos_sync_protocol::ids::{DocId, EpochRef, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;

use crate::cbor::{CborError, Reader, Writer};
use crate::crypto::Random;
use crate::envelope::{ObjectPlace, RefusedEnvelope, SealedEnvelope, open_then_verify, seal_object, writer_of};
use crate::keys::{DeviceKeys, Keyring, ReceiptKey};

/// Most sessions of others that one message names.
pub const HEARD_MAX: usize = 64;
/// Largest ciphertext of a message; a relay forwards none that is larger.
const CT_BYTES_MAX: usize = 16 * 1024;

/// What a session of a device is called.
pub type SessionId = [u8; 16];

/// Whether somebody is at the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Somebody is.
    Here,
    /// Nobody has done anything for a while.
    Idle,
}

/// A place in a text that stays at its character when others edit before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Behind the last character.
    End,
    /// Before the character that this operation wrote, or, once that is gone, before the next one.
    Before {
        /// Stream of the device that wrote it.
        actor: StreamId,
        /// Its operation.
        counter: u32,
    },
}

/// Where a person is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The document.
    pub doc: DocId,
    /// Anchor and head of the selection in its text; equal for a caret.
    pub selection: Option<(Point, Point)>,
}

/// What a device shows of its person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Whether somebody is there.
    pub activity: Activity,
    /// Where.
    pub at: Option<At>,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// What its device's stream id commits to.
    pub r32: [u8; 32],
    /// The session.
    pub session: SessionId,
    /// Sessions of others, and the count of the last message heard of each; ascending.
    pub heard: Vec<(SessionId, u32)>,
    /// What is shown; `None`: gone.
    pub shown: Option<Shown>,
}

/// Why a message is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedPresence {
    /// Too large, or no presence.
    #[error("the envelope is no presence")]
    Layout,
    /// Sealed under another epoch than the one that is in use.
    #[error("the presence is sealed under another epoch than the current one")]
    OtherEpoch,
    /// Not for this device, or by nobody who may say this.
    #[error(transparent)]
    Envelope(#[from] RefusedEnvelope),
    /// It opens, and is not in its canonical form or above a limit.
    #[error("the presence is not in its canonical form")]
    Malformed,
}

/// A message whose author is enrolled and signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedPresence {
    /// Whose it is.
    pub device: SignPk,
    /// The session's own count.
    pub count: u32,
    /// What it says.
    pub presence: Presence,
}

impl Presence {
    /// The canonical bytes; [`Self::heard`] is sorted here.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut heard = self.heard.clone();
        heard.sort_unstable();
        let at = self.shown.and_then(|shown| shown.at);
        let selection = at.and_then(|at| at.selection);
        let mut writer = Writer::default();
        writer.map(4 + usize::from(at.is_some()) + usize::from(selection.is_some()));
        writer.uint(1).bytes(&self.r32).uint(2).bytes(&self.session).uint(3).array(heard.len());
        for (session, count) in &heard {
            writer.array(2).bytes(session).uint(u64::from(*count));
        }
        writer.uint(4).uint(match self.shown.map(|shown| shown.activity) {
            Some(Activity::Here) => 0,
            Some(Activity::Idle) => 1,
            None => 2,
        });
        if let Some(At { doc, .. }) = at {
            writer.uint(5).bytes(&doc.0);
        }
        if let Some((anchor, head)) = selection {
            writer.uint(6).array(2);
            write_point(&mut writer, anchor);
            write_point(&mut writer, head);
        }
        writer.finish()
    }

    /// Reads a message; allocates no more than the input's size.
    ///
    /// # Errors
    /// [`RefusedPresence::Malformed`] for anything that is not exactly one canonical message within the limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, RefusedPresence> {
        Self::read(bytes).map_err(|_| RefusedPresence::Malformed)
    }

    fn read(bytes: &[u8]) -> Result<Self, CborError> {
        let (mut r32, mut session, mut heard, mut state, mut doc, mut selection) = (None, None, None, None, None, None);
        let mut reader = Reader::new(bytes);
        reader.map(|reader, key| {
            match key {
                1 => r32 = Some(reader.array_of()?),
                2 => session = Some(reader.array_of()?),
                3 => heard = Some(read_heard(reader)?),
                4 => state = Some(reader.uint()?),
                5 => doc = Some(DocId(reader.array_of()?)),
                6 if reader.array(2)? == 2 => selection = Some((read_point(reader)?, read_point(reader)?)),
                6 => return Err(CborError),
                _ => drop(reader.skip()?),
            }
            Ok::<_, CborError>(())
        })?;
        reader.end()?;
        let activity = match state {
            Some(0) => Some(Activity::Here),
            Some(1) => Some(Activity::Idle),
            Some(2) if doc.is_none() => None,
            _ => return Err(CborError),
        };
        let at = match (doc, selection) {
            (Some(doc), selection) => Some(At { doc, selection }),
            (None, None) => None,
            (None, Some(_)) => return Err(CborError),
        };
        match (r32, session, heard) {
            (Some(r32), Some(session), Some(heard)) => {
                Ok(Self { r32, session, heard, shown: activity.map(|activity| Shown { activity, at }) })
            }
            _ => Err(CborError),
        }
    }
}

fn write_point(writer: &mut Writer, point: Point) {
    match point {
        Point::End => writer.array(0),
        Point::Before { actor, counter } => writer.array(2).bytes(&actor.0).uint(u64::from(counter)),
    };
}

fn read_point(reader: &mut Reader<'_>) -> Result<Point, CborError> {
    match reader.array(2)? {
        0 => Ok(Point::End),
        2 => Ok(Point::Before { actor: StreamId(reader.array_of()?), counter: reader.uint_32()? }),
        _ => Err(CborError),
    }
}

fn read_heard(reader: &mut Reader<'_>) -> Result<Vec<(SessionId, u32)>, CborError> {
    let count = reader.array(HEARD_MAX)?;
    let mut heard: Vec<(SessionId, u32)> = Vec::with_capacity(count);
    for _ in 0..count {
        if reader.array(2)? != 2 {
            return Err(CborError);
        }
        let entry = (reader.array_of()?, reader.uint_32()?);
        if heard.last().is_some_and(|last| last.0 >= entry.0) {
            return Err(CborError);
        }
        heard.push(entry);
    }
    Ok(heard)
}

/// Seals a message under its session's count. `stream` is the one that the device writes in this space.
///
/// # Errors
/// [`RefusedEnvelope::TooLarge`] for more sessions than a receiver reads.
pub fn seal(
    space: &SpaceId,
    (stream, count): (StreamId, u32),
    keys: &DeviceKeys,
    key: &ReceiptKey,
    presence: &Presence,
    random: &mut dyn Random,
) -> Result<SealedEnvelope, RefusedEnvelope> {
    if presence.heard.len() > HEARD_MAX {
        return Err(RefusedEnvelope::TooLarge);
    }
    let place = ObjectPlace { kind: Kind::Ephemeral, stream, seq: count, r32: [0; 32], epoch: key.epoch() };
    seal_object(space, &place, keys, key.secret(), &presence.encode(), random)
}

/// Whether these bytes may be presence, by their size and their kind.
#[must_use]
pub fn looks_like_one(bytes: &[u8]) -> bool {
    bytes.len() <= CT_BYTES_MAX + HEADER_BYTES + SIGNATURE_BYTES && bytes.get(1) == Some(&(Kind::Ephemeral as u8))
}

/// Opens a message: it is sealed under `current`, the epoch that is in use, so that nobody reads or says anything by a
/// key that a removal has ended; its author is enrolled and in force, and signed it.
///
/// # Errors
/// [`RefusedPresence`].
pub fn open(
    space: &SpaceId,
    membership: &Membership,
    keyring: &Keyring,
    current: EpochRef,
    bytes: Vec<u8>,
) -> Result<OpenedPresence, RefusedPresence> {
    if !looks_like_one(&bytes) {
        return Err(RefusedPresence::Layout);
    }
    let envelope = Envelope::parse(bytes).map_err(|_| RefusedPresence::Layout)?;
    if envelope.header().epoch != current {
        return Err(RefusedPresence::OtherEpoch);
    }
    let mut read = Err(RefusedPresence::Malformed);
    let opened = open_then_verify(space, membership, keyring, envelope, |header, body| {
        read = Presence::decode(body);
        read.as_ref().ok().and_then(|presence| writer_of(space, membership, &header.stream, &presence.r32))
    });
    match (opened, read) {
        (Ok(opened), Ok(presence)) => Ok(OpenedPresence { device: opened.author, count: opened.place.seq, presence }),
        (Err(RefusedEnvelope::UnknownAuthor), Err(malformed)) | (Ok(_), Err(malformed)) => Err(malformed),
        (Err(refused), _) => Err(refused.into()),
    }
}
