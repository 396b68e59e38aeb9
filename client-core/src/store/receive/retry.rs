//! Trying again what was set aside, when records or keys have come.
//!
//! An envelope whose author is unknown, and all that follow it in its stream, lie in quarantine with their bytes:
//! they are verified in the order of the stream. One whose epoch was unknown, or whose document was damaged, is a
//! part of its stream already: it is opened again.

use lifeos_sync_protocol::envelope::Envelope;
use lifeos_sync_protocol::ids::{EnvelopeId, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;

use super::apply::{Batch, DAMAGED};
use super::verify::Streams;
use super::{Context, Origin, ReceiveReport, Receiver, Records, Steps, Unknown};
use crate::envelope::{self, RefusedEnvelope, SignatureCheck, StreamTip, VerifiedEnvelope};
use crate::fence::FenceError;
use crate::keys::Keyring;
use crate::store::{Reads, Store, StoreError, promise, quarantine, seal};

/// What became of an envelope of a stream that waited.
enum Retried {
    /// It is a part of its stream now, or was one already.
    Taken,
    /// It stays, and those after it may still be tried.
    Stays,
    /// It stays, and so do those after it.
    Ends,
    /// The peer changed it; the genuine one has to be fetched again.
    Spoiled,
}

impl Store {
    /// Tries again what waits in quarantine for records, for keys or for a document: to be called whenever
    /// membership or keyring have changed. Costs one read when nothing waits.
    ///
    /// What was not kept, or what a peer spoiled while nobody could check it, is fetched again: the relays' logs
    /// are then read from their start at the next connection.
    ///
    /// # Errors
    /// [`StoreError`]; what still cannot be taken in stays where it is.
    pub fn retry_quarantined(
        &mut self,
        space: &SpaceId,
        membership: &Membership,
        keyring: &Keyring,
        now_ms: i64,
    ) -> Result<ReceiveReport, StoreError> {
        let (records, steps) = (Records { membership, keyring }, Steps::default());
        let retry = |receiver: &mut Receiver<'_>, streams| receiver.retry(streams);
        let mut report = self.receiving(space, records, Unknown::Quarantine, now_ms, steps, retry)?;
        self.retry_suspects(space, records, now_ms, steps, &mut report)?;
        Ok(report)
    }
}

impl Store {
    /// Opens envelopes again that were set aside because they change documents of kinds that were not known.
    pub(in crate::store) fn retry_newer_kinds(
        &mut self,
        space: &SpaceId,
        records: Records<'_>,
        now_ms: i64,
    ) -> Result<ReceiveReport, StoreError> {
        let reasons = [FenceError::Genesis.to_string(), FenceError::Genesis.to_string()];
        self.receiving(space, records, Unknown::Quarantine, now_ms, Steps::default(), |receiver, mut streams| {
            let mut batch = Batch::default();
            for (envelope, origin) in quarantine::kept(receiver.context.conn, receiver.context.row, &reasons)? {
                receiver.reopen(&mut streams, envelope, origin, &mut batch)?;
                receiver.apply_if_full(&mut batch)?;
            }
            receiver.finish(batch, &streams)
        })
    }
}

impl Receiver<'_> {
    pub(super) fn retry(&mut self, mut streams: Streams) -> Result<(), StoreError> {
        let Context { conn, space, row, membership, .. } = self.context;
        promise::forget_gone(conn, (space, row), membership)?;
        self.settle()?;
        let mut batch = Batch::default();
        let mut fetch_again = false;
        for stream in quarantine::streams(self.context.conn, self.context.row)? {
            fetch_again |= self.retry_stream(&mut streams, stream, &mut batch)?;
        }
        for (envelope, origin) in quarantine::kept(self.context.conn, self.context.row, &reopened())? {
            self.reopen(&mut streams, envelope, origin, &mut batch)?;
            self.apply_if_full(&mut batch)?;
        }
        self.finish(batch, &streams)?;
        self.ask_again(None)?;
        if fetch_again {
            let sql = "UPDATE relay SET log_id = NULL, pos = NULL, roll = NULL WHERE space = ?1";
            self.context.conn.execute(sql, [self.context.row])?;
        }
        Ok(())
    }

    fn apply_if_full(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        if batch.is_full() { self.apply(std::mem::take(batch)) } else { Ok(()) }
    }

    /// Goes on with one stream as far as it can; tells whether something has to be fetched again.
    fn retry_stream(&mut self, streams: &mut Streams, stream: StreamId, batch: &mut Batch) -> Result<bool, StoreError> {
        let mut spoiled = false;
        for row in quarantine::rows_with_bytes(self.context.conn, self.context.row, &stream)? {
            let Some((id, bytes)) = quarantine::bytes(self.context.conn, row)? else { continue };
            match self.retry_envelope(streams, stream, bytes, batch)? {
                Retried::Taken => quarantine::release(self.context.conn, self.context.row, &id)?,
                Retried::Stays => {}
                Retried::Ends => return Ok(spoiled),
                Retried::Spoiled => {
                    quarantine::release(self.context.conn, self.context.row, &id)?;
                    spoiled = true;
                }
            }
            self.apply_if_full(batch)?;
        }
        let tip_seq = streams.known(&self.context, stream)?.tip_seq();
        let next_is_gone =
            quarantine::is_aside(self.context.conn, self.context.row, &stream, tip_seq, tip_seq.saturating_add(2))?
                && !quarantine::has_bytes(self.context.conn, self.context.row, &stream, tip_seq.saturating_add(1))?;
        Ok(spoiled || next_is_gone)
    }

    fn retry_envelope(
        &mut self,
        streams: &mut Streams,
        stream: StreamId,
        bytes: Vec<u8>,
        batch: &mut Batch,
    ) -> Result<Retried, StoreError> {
        let Ok(envelope) = Envelope::parse(bytes) else { return Ok(Retried::Spoiled) };
        let tip = streams.known(&self.context, stream)?.tip;
        if tip.is_some_and(|tip| envelope.header().seq <= tip.seq) {
            return Ok(Retried::Stays);
        }
        let membership = self.context.membership;
        if self.context.is_other_branch(&stream, envelope.header().seq, envelope.id(self.context.space)) {
            return Ok(Retried::Stays);
        }
        match envelope::verify(self.context.space, membership, tip.as_ref(), envelope, SignatureCheck::Now) {
            Ok((verified, tip)) => {
                streams.moved(tip);
                self.take_verified(streams, verified, batch)?;
                Ok(Retried::Taken)
            }
            Err(RefusedEnvelope::Signature) => Ok(Retried::Spoiled),
            Err(RefusedEnvelope::Fork) => Ok(Retried::Stays),
            Err(_) => Ok(Retried::Ends),
        }
    }

    /// Opens an envelope again that is a part of its stream.
    pub(super) fn reopen(
        &mut self,
        streams: &mut Streams,
        id: EnvelopeId,
        origin: Origin,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let Some(verified) = self.stored(streams, id, origin)? else { return Ok(()) };
        if self.context.keyring.find(&verified.envelope().header().epoch).is_none() {
            return Ok(());
        }
        quarantine::release(self.context.conn, self.context.row, &id)?;
        self.origins.insert(id, origin);
        let row = streams.known(&self.context, origin.stream)?.row;
        self.open(verified, row, batch)
    }

    /// An envelope as it lies in its stream; it was verified when it was taken in.
    fn stored(
        &self,
        streams: &mut Streams,
        id: EnvelopeId,
        origin: Origin,
    ) -> Result<Option<VerifiedEnvelope>, StoreError> {
        let Origin { stream, seq, .. } = origin;
        let known = streams.known(&self.context, stream)?;
        let (Some(tip), Some(before)) = (known.tip, seq.checked_sub(1)) else { return Ok(None) };
        let sql = "SELECT bytes FROM envelope WHERE position = ?1 AND envelope = ?2";
        let place = (seal::position(known.row, seq), id.as_ref());
        let bytes: Option<Vec<u8>> = Reads { conn: self.context.conn }.one(sql, place, |row| row.get(0))?;
        let Some(Ok(envelope)) = bytes.map(Envelope::parse) else { return Ok(None) };
        let tip = StreamTip { seq: before, id: envelope.header().prev, ..tip };
        let check = SignatureCheck::CoveredByDescendant;
        let verified = envelope::verify(self.context.space, self.context.membership, Some(&tip), envelope, check);
        Ok(verified.ok().map(|(verified, _)| verified))
    }
}

/// Reasons that may have passed.
pub(super) fn reopened() -> [String; 2] {
    [RefusedEnvelope::UnknownEpoch.to_string(), DAMAGED.to_owned()]
}
