//! What a carrier other than a relay is made of: how far every stream may be handed on, and what a device is known to hold.

use std::collections::BTreeMap;

use lifeos_sync_protocol::ids::{EnvelopeId, SignPk, SpaceId, StreamId};

use super::records::find_space;
use super::{Reads, StoreError, seal};

/// A stream that may be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CarriedStream {
    /// The stream.
    pub stream: StreamId,
    /// The device that writes it.
    pub device: SignPk,
    /// The last envelope that is held and counts; at least 1.
    pub tip: u32,
    /// Its id.
    pub tip_id: EnvelopeId,
}

impl Reads<'_> {
    /// Streams with something to hand on, by id, each as far as it counts: handing on what lies beyond is vouching for it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn carried_streams(&self, space: &SpaceId) -> Result<Vec<CarriedStream>, StoreError> {
        let sql = "SELECT s.stream, s.device, e.position, e.envelope FROM stream s JOIN envelope e
                   ON e.position = (s.id << 32 | min(s.seq, ifnull(s.limit_seq, s.seq)))
                   WHERE s.space = ?1 ORDER BY s.stream";
        self.all(sql, [find_space(self.conn, space)?.row], |row| {
            let position: i64 = row.get(2)?;
            Ok(CarriedStream {
                stream: StreamId(row.get(0)?),
                device: SignPk(row.get(1)?),
                tip: u32::try_from(position & i64::from(u32::MAX)).unwrap_or(0),
                tip_id: EnvelopeId(row.get(3)?),
            })
        })
    }

    /// The id of an envelope that is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn envelope_id(&self, space: &SpaceId, stream: &StreamId, seq: u32) -> Result<Option<EnvelopeId>, StoreError> {
        let space = find_space(self.conn, space)?.row;
        let Some(row) = super::outbox::stream_row(self.conn, space, stream)? else { return Ok(None) };
        let sql = "SELECT envelope FROM envelope WHERE position = ?1";
        self.one(sql, [seal::position(row, seq)], |row| Ok(EnvelopeId(row.get(0)?)))
    }

    /// How far another device has said that it holds each stream.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn confirmed_by(&self, space: &SpaceId, device: &SignPk) -> Result<BTreeMap<StreamId, u32>, StoreError> {
        let sql = "SELECT stream, seq FROM confirmed WHERE space = ?1 AND device = ?2";
        let space = find_space(self.conn, space)?.row;
        let rows = self.all(sql, (space, device.as_ref()), |row| Ok((StreamId(row.get(0)?), row.get(1)?)))?;
        Ok(rows.into_iter().collect())
    }
}
