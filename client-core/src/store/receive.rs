//! Receiving: a page of envelopes becomes changed documents, rows, quarantine and a moved cursor in one commit.

use lifeos_sync_protocol::frame::{Cursor, Item};
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, EpochRef, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;

use super::{Reads, RelayId, Store, StoreError};
use crate::envelope::StreamTip;
use crate::keys::Keyring;
use rusqlite::Connection;

/// Envelopes from one peer, in order.
#[derive(Debug, Clone)]
pub struct Page {
    /// Whose log; `None` for envelopes from elsewhere (another device, a bundle): no cursor moves.
    pub relay: Option<RelayId>,
    /// The envelopes.
    pub items: Vec<Item>,
    /// The cursor after the page.
    pub next: Option<Cursor>,
}

/// What to do with an envelope whose author or epoch is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Apply what lies before it, leave the cursor where it was and say so: records are to be fetched, then the
    /// page is to be given again.
    Hold,
    /// Records are equal with the peer: put it into quarantine.
    Quarantine,
}

/// Why a page was not taken whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeedRecords {
    /// No enrolled device writes this stream.
    Author(StreamId),
    /// The epoch's secret is not held.
    Epoch(EpochRef),
}

/// What a page did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiveReport {
    /// Documents that changed, each once.
    pub changed: Vec<DocId>,
    /// Envelopes that were new here (quarantined ones included).
    pub received: u64,
    /// Envelopes held already, own ones included.
    pub duplicates: u64,
    /// Set aside, with the reason in words.
    pub quarantined: Vec<(EnvelopeId, String)>,
    /// Only with [`Unknown::Hold`]: the page stopped here and must be given again after fetching records.
    pub held: Option<NeedRecords>,
    /// The own stream is longer elsewhere than here: this home was restored from an older copy.
    pub own_stream_ahead: bool,
}

impl Store {
    /// Verifies, opens, fences and applies a page: one batch per document, one commit for everything.
    /// Giving a page again changes nothing.
    ///
    /// # Errors
    /// [`StoreError`]; a bad envelope is never an error.
    pub fn receive(
        &mut self,
        space: &SpaceId,
        page: Page,
        membership: &Membership,
        keyring: &Keyring,
        unknown: Unknown,
        now_ms: i64,
    ) -> Result<ReceiveReport, StoreError> {
        let _ = (space, page, membership, keyring, unknown, now_ms);
        todo!()
    }
}

/// Where a stream stands, by its row.
pub(super) fn tip_by_row(conn: &Connection, row: i64) -> Result<Option<StreamTip>, StoreError> {
    let sql = "SELECT stream, device, seq, tip FROM stream WHERE id = ?1";
    Reads { conn }.one(sql, [row], |row| {
        Ok(StreamTip { stream: StreamId(row.get(0)?), device: SignPk(row.get(1)?), seq: row.get(2)?, id: row.get(3)? })
    })
}
