//! Which envelopes of a page continue their streams, and whose they are.
//!
//! Every envelope's place in its hash chain is checked; the signature only at the last one of each stream, for
//! the chain vouches for those before it. If that one fails, every envelope of the stream is checked.
//!
//! A relay checks all of this before it takes an envelope. What fails is therefore the fault of the peer, and the
//! page is refused whole: were it set aside, the genuine envelope would be passed over for ever. Only what a
//! device has signed, or what waits for its author, is set aside.

use std::collections::{BTreeSet, HashMap};

use lifeos_sync_protocol::envelope::Envelope;
use lifeos_sync_protocol::frame::Item;
use lifeos_sync_protocol::ids::{EnvelopeId, SpaceId, StreamId};
use rusqlite::Connection;

use super::{Context, NeedRecords, Origin, Unknown, tip_by_row};
use crate::envelope::{self, RefusedEnvelope, SignatureCheck, StreamTip, VerifiedEnvelope};
use crate::store::records::SpaceRef;
use crate::store::{Reads, StoreError, outbox, quarantine, seal};

/// What is to be done with one envelope.
pub(super) enum Outcome {
    /// Held already.
    Duplicate,
    /// To quarantine; it is no part of its stream.
    Refused { id: EnvelopeId, origin: Origin, reason: RefusedEnvelope, bytes: Vec<u8> },
    /// The next of its stream.
    Verified(Box<VerifiedEnvelope>),
}

/// A page after verification.
pub(super) struct VerifiedPage {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) held: Option<NeedRecords>,
}

/// The streams that a page touches.
pub(super) struct Streams {
    own: StreamId,
    tips: HashMap<StreamId, Known>,
    /// The own stream goes on elsewhere.
    pub(super) own_ahead: bool,
    /// Highest own sequence that came back.
    pub(super) own_seen: u32,
}

/// A stream as it is stored (`row` 0: not yet) and as it stands after what was verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) row: i64,
    pub(super) tip: Option<StreamTip>,
    moved: bool,
}

impl Known {
    /// Position of the last envelope that was taken in; 0: none.
    pub(super) fn tip_seq(&self) -> u32 {
        self.tip.map_or(0, |tip| tip.seq)
    }
}

impl Streams {
    pub(super) fn new(space: SpaceRef) -> Self {
        Self { own: space.stream, tips: HashMap::new(), own_ahead: false, own_seen: 0 }
    }

    pub(super) fn known(&mut self, context: &Context<'_>, stream: StreamId) -> Result<Known, StoreError> {
        if let Some(known) = self.tips.get(&stream) {
            return Ok(*known);
        }
        let known = match outbox::stream_row(context.conn, context.row, &stream)? {
            Some(row) => Known { row, tip: tip_by_row(context.conn, row)?, moved: false },
            None => Known { row: 0, tip: None, moved: false },
        };
        self.tips.insert(stream, known);
        Ok(known)
    }

    /// A stream goes on with an envelope whose own signature was checked.
    pub(super) fn moved(&mut self, tip: StreamTip) {
        self.own_ahead |= tip.stream == self.own;
        let known = self.tips.entry(tip.stream).or_insert(Known { row: 0, tip: None, moved: false });
        (known.tip, known.moved) = (Some(tip), true);
    }

    /// The row of a stream that was verified, made if it is new.
    pub(super) fn row_of(&mut self, context: &Context<'_>, stream: StreamId) -> Result<i64, StoreError> {
        let missing = StoreError::Corrupt { what: "a stream that was just verified" };
        let Some(known) = self.tips.get_mut(&stream) else { return Err(missing) };
        if known.row == 0 {
            let tip = known.tip.ok_or(missing)?;
            let sql = "INSERT INTO stream(space, stream, device, seq, tip) VALUES (?1, ?2, ?3, 0, ?4)";
            let mut insert = context.conn.prepare_cached(sql)?;
            known.row = insert.insert((context.row, stream.as_ref(), tip.device.as_ref(), [0_u8; 32]))?;
        }
        Ok(known.row)
    }

    /// Stores the new tips.
    pub(super) fn store(&self, conn: &Connection) -> Result<(), StoreError> {
        for known in self.tips.values().filter(|known| known.moved) {
            if let Some(tip) = &known.tip {
                seal::move_tip(conn, known.row, tip)?;
            }
        }
        Ok(())
    }
}

/// An envelope whose layout is right, or why it is not.
enum Parsed {
    Envelope { envelope: Envelope, id: EnvelopeId },
    Garbage,
}

fn parse(space: &SpaceId, bytes: Vec<u8>) -> Parsed {
    match Envelope::parse(bytes) {
        Ok(envelope) => Parsed::Envelope { id: envelope.id(space), envelope },
        Err(_) => Parsed::Garbage,
    }
}

/// Verifies a page from the stored tips on.
pub(super) fn verify_page(
    context: &Context<'_>,
    streams: &mut Streams,
    items: Vec<Item>,
) -> Result<VerifiedPage, StoreError> {
    let mut items: Vec<Parsed> = items.into_iter().map(|item| parse(context.space, item.envelope)).collect();
    let mut pass = Pass::default();
    let mut held = None;
    loop {
        pass = pass.run(context, streams, &items)?;
        if let Some((at, need)) = pass.hold.take() {
            held = Some(need);
            items.truncate(at);
        } else if let Some(what) = pass.misbehaved {
            return Err(StoreError::PeerMisbehaved { what });
        } else if pass.uncovered.is_empty() {
            break;
        }
    }
    let Pass { outcomes, tips, own_ahead, own_seen, .. } = pass;
    (streams.tips, streams.own_ahead, streams.own_seen) = (tips, own_ahead, own_seen);
    Ok(VerifiedPage { outcomes, held })
}

const GARBAGE: &str = "bytes that are no envelope";
const UNSIGNED: &str = "an envelope that its device did not sign";
const GAP: &str = "an envelope without the one before it";

/// Whether the stream's own device made this: what anybody else invents about a stream proves nothing.
fn is_signed(context: &Context<'_>, known: &Known, envelope: &Envelope) -> bool {
    let author = match known.tip {
        Some(tip) => Some(tip.device),
        None => envelope::find_author(context.space, context.membership, envelope.header()).ok(),
    };
    author.is_some_and(|author| envelope.verify_signature(context.space, &author).is_ok())
}

/// One try to verify a page.
#[derive(Default)]
struct Pass {
    outcomes: Vec<Outcome>,
    tips: HashMap<StreamId, Known>,
    /// Ids verified in this page.
    ids: HashMap<(StreamId, u32), EnvelopeId>,
    own_ahead: bool,
    own_seen: u32,
    /// Streams whose last good envelope was not signature-checked in this pass.
    uncovered: BTreeSet<StreamId>,
    /// Streams to check one by one.
    careful: BTreeSet<StreamId>,
    /// Streams of which something that could not be taken in was set aside: what follows has to wait too.
    aside: BTreeSet<StreamId>,
    hold: Option<(usize, NeedRecords)>,
    /// What only the peer can have made.
    misbehaved: Option<&'static str>,
}

impl Pass {
    /// Another try that knows what the one before found out.
    fn run(self, context: &Context<'_>, streams: &mut Streams, items: &[Parsed]) -> Result<Self, StoreError> {
        let mut careful = self.careful;
        careful.extend(self.uncovered);
        let mut pass = Self { careful, ..Self::default() };
        let mut last: HashMap<StreamId, usize> = HashMap::new();
        for (at, item) in items.iter().enumerate() {
            if let Parsed::Envelope { envelope, .. } = item {
                let stream = envelope.header().stream;
                last.insert(stream, at);
                pass.tips.insert(stream, streams.known(context, stream)?);
            }
        }
        for (at, item) in items.iter().enumerate() {
            match item {
                Parsed::Garbage => pass.misbehaved = Some(GARBAGE),
                Parsed::Envelope { envelope, id } => {
                    let newest = last.get(&envelope.header().stream) == Some(&at);
                    if let Some(need) = pass.envelope(context, streams.own, envelope, *id, newest)? {
                        pass.hold = Some((at, need));
                        return Ok(pass);
                    }
                }
            }
        }
        Ok(pass)
    }

    fn envelope(
        &mut self,
        context: &Context<'_>,
        own: StreamId,
        envelope: &Envelope,
        id: EnvelopeId,
        newest: bool,
    ) -> Result<Option<NeedRecords>, StoreError> {
        let header = *envelope.header();
        let known = self.tips.get(&header.stream).copied().unwrap_or(Known { row: 0, tip: None, moved: false });
        let origin = Origin { stream: header.stream, seq: header.seq, author: known.tip.map(|tip| tip.device) };
        let is_own = header.stream == own;
        if known.tip.is_some_and(|tip| header.seq <= tip.seq) {
            if self.is_held(context.conn, known.row, &header.stream, header.seq, id)? {
                self.outcomes.push(Outcome::Duplicate);
                self.own_seen = self.own_seen.max(if is_own { header.seq } else { 0 });
            } else if is_signed(context, &known, envelope) {
                self.own_ahead |= is_own;
                self.refuse(id, origin, RefusedEnvelope::Fork, envelope.bytes());
            } else {
                self.blame_peer(UNSIGNED);
            }
            return Ok(None);
        }
        if context.unknown == Unknown::Hold && context.keyring.find(&header.epoch).is_none() {
            return Ok(Some(NeedRecords::Epoch(header.epoch)));
        }
        if context.is_other_branch(&header.stream, header.seq, id) {
            self.aside.insert(header.stream);
            self.refuse(id, origin, RefusedEnvelope::Fork, envelope.bytes());
            return Ok(None);
        }
        let now = newest || self.careful.contains(&header.stream);
        let check = if now { SignatureCheck::Now } else { SignatureCheck::CoveredByDescendant };
        match envelope::verify(context.space, context.membership, known.tip.as_ref(), envelope.clone(), check) {
            Ok((verified, tip)) => {
                self.own_ahead |= is_own;
                if now {
                    self.uncovered.remove(&header.stream);
                } else {
                    self.uncovered.insert(header.stream);
                }
                self.tips.insert(header.stream, Known { row: known.row, tip: Some(tip), moved: true });
                self.ids.insert((header.stream, header.seq), id);
                self.outcomes.push(Outcome::Verified(Box::new(verified)));
            }
            Err(RefusedEnvelope::UnknownAuthor) if context.unknown == Unknown::Hold => {
                return Ok(Some(NeedRecords::Author(header.stream)));
            }
            Err(reason) => match self.fault_of_peer(context, &known, envelope, reason)? {
                Some(what) => self.blame_peer(what),
                None => {
                    self.own_ahead |= is_own && is_signed(context, &known, envelope);
                    self.aside.insert(header.stream);
                    self.refuse(id, origin, reason, envelope.bytes());
                }
            },
        }
        Ok(None)
    }

    /// What the peer did wrong, unless it was the author.
    fn fault_of_peer(
        &self,
        context: &Context<'_>,
        known: &Known,
        envelope: &Envelope,
        reason: RefusedEnvelope,
    ) -> Result<Option<&'static str>, StoreError> {
        let header = envelope.header();
        Ok(match reason {
            RefusedEnvelope::UnknownAuthor => None,
            RefusedEnvelope::Chain => {
                let tip_seq = known.tip_seq();
                let follows = self.aside.contains(&header.stream)
                    || quarantine::is_aside(context.conn, context.row, &header.stream, tip_seq, header.seq)?;
                let foreign = known.tip.is_some() && !is_signed(context, known, envelope);
                if foreign { Some(UNSIGNED) } else { (!follows).then_some(GAP) }
            }
            _ => (!is_signed(context, known, envelope)).then_some(UNSIGNED),
        })
    }

    fn blame_peer(&mut self, what: &'static str) {
        self.misbehaved.get_or_insert(what);
    }

    fn refuse(&mut self, id: EnvelopeId, origin: Origin, reason: RefusedEnvelope, bytes: &[u8]) {
        self.outcomes.push(Outcome::Refused { id, origin, reason, bytes: bytes.to_vec() });
    }

    /// Whether the envelope at this place is this one. One that was dropped here counts as this one.
    fn is_held(
        &self,
        conn: &Connection,
        row: i64,
        stream: &StreamId,
        seq: u32,
        id: EnvelopeId,
    ) -> Result<bool, StoreError> {
        if let Some(known) = self.ids.get(&(*stream, seq)) {
            return Ok(*known == id);
        }
        let sql = "SELECT envelope FROM envelope WHERE position = ?1";
        let stored = Reads { conn }.one(sql, [seal::position(row, seq)], |row| Ok(EnvelopeId(row.get(0)?)))?;
        Ok(stored.is_none_or(|stored| stored == id))
    }
}
