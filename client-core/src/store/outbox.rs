//! What goes out: sealed envelopes in stream order, and where each relay stands.

use lifeos_sync_protocol::frame::{Cursor, Have};
use lifeos_sync_protocol::ids::{SignPk, SpaceId, StreamId};

use super::{Store, StoreError};
use crate::envelope::{SealedEnvelope, StreamTip};

/// A relay of a space, inside this home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub i64);

/// Where a relay stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayState {
    /// Its number here.
    pub id: RelayId,
    /// Address.
    pub url: String,
    /// Its pinned key, once known.
    pub key: Option<SignPk>,
    /// Position reached in its log.
    pub cursor: Option<Cursor>,
    /// The relay holds the own stream up to this sequence.
    pub own_acked_seq: u32,
    /// When the last sync ended well (ms UTC).
    pub synced_ms: Option<i64>,
}

impl Store {
    /// Adds a relay, or changes the pinned key of a known address; `None` keeps the key as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_relay(&mut self, space: &SpaceId, url: &str, key: Option<&SignPk>) -> Result<RelayId, StoreError> {
        let _ = (space, url, key);
        todo!()
    }

    /// Forgets a relay.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove_relay(&mut self, relay: RelayId) -> Result<(), StoreError> {
        let _ = relay;
        todo!()
    }

    /// Relays of a space, in the order they were added.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn relays(&self, space: &SpaceId) -> Result<Vec<RelayState>, StoreError> {
        self.reads().relays(space)
    }

    /// Forgets the position in a relay's log (the log was wiped or is another one): it is read from the start,
    /// and the own stream is offered from the start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reset_relay(&mut self, relay: RelayId) -> Result<(), StoreError> {
        let _ = relay;
        todo!()
    }

    /// The relay holds the own stream up to `through_seq`. Not durable at once: a lost acknowledgement is
    /// healed by the relay's DUP.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn acked(&mut self, relay: RelayId, through_seq: u32) -> Result<(), StoreError> {
        let _ = (relay, through_seq);
        todo!()
    }

    /// A sync with the relay ended well at `now_ms`. Not durable at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn synced(&mut self, relay: RelayId, now_ms: i64) -> Result<(), StoreError> {
        let _ = (relay, now_ms);
        todo!()
    }

    /// Own envelopes after `after_seq`, in order: at least one if there is one, else up to the limits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox(
        &self,
        space: &SpaceId,
        after_seq: u32,
        bytes_max: usize,
        items_max: usize,
    ) -> Result<Vec<SealedEnvelope>, StoreError> {
        let _ = (space, after_seq, bytes_max, items_max);
        todo!()
    }

    /// Stored envelopes `from..=to` of any stream, in order, to seed a peer that lacks them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn envelopes(
        &self,
        space: &SpaceId,
        stream: &StreamId,
        from: u32,
        to: u32,
        bytes_max: usize,
    ) -> Result<Vec<SealedEnvelope>, StoreError> {
        let _ = (space, stream, from, to, bytes_max);
        todo!()
    }

    /// What this device holds of every stream, sorted by stream id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn have(&self, space: &SpaceId) -> Result<Vec<Have>, StoreError> {
        let _ = space;
        todo!()
    }

    /// The own stream's tip.
    ///
    /// # Errors
    /// [`StoreError::UnknownSpace`].
    pub fn own_tip(&self, space: &SpaceId) -> Result<StreamTip, StoreError> {
        let _ = space;
        todo!()
    }
}
