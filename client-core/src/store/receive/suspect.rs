//! A page whose taking in ended the program is taken in with care the next time: one envelope after the other.
//!
//! ```text
//! applying = "page" ─ killed ─▶ the page again: all of it set aside as suspect, the cursor moves on
//!                                └▶ each alone, applying = its id ─ killed [TRIES_MAX] times running ─▶ it stays
//!                                   aside, the others go on
//! ```
//! Running out of memory cannot be caught, and without this one envelope would end every start for ever. That the power
//! went, or somebody ended the program, says nothing about an envelope: it takes more than once, and what is left is tried
//! by the next connection. The mark is written without waiting for the disk: it has to outlive the process, not the
//! machine. It goes in the commit that takes the page in.

use lifeos_sync_protocol::ids::{EnvelopeId, SpaceId};
use rusqlite::Connection;

use super::apply::Batch;
use super::verify::Streams;
use super::{Origin, ReceiveReport, Receiver, Records, Steps, Unknown};
use crate::store::records::find_space;
use crate::store::{Store, StoreError, begin, quarantine, schema};

/// Key of the `meta` table.
const APPLYING: &str = "applying";
/// Its value while a page is taken in; else the id of the envelope that is tried alone.
const PAGE: &[u8] = b"page";

/// Key of the `meta` table: the envelope that was last being tried alone when the program ended, and how often running.
const TRIED: &str = "applying-tried";
/// So often running the program has to end while one envelope is tried alone.
const TRIES_MAX: u8 = 3;

/// Why an envelope waits that came in a page that ended the program.
pub(in crate::store) const SUSPECT: &str = "it came with one that ended the program: it is tried alone";
/// Why one stays aside that ended the program alone.
pub(in crate::store) const ENDED: &str =
    "taking it in ended the program: ask the device that wrote it to write its note anew";

impl Store {
    /// Says that a page is being taken in. True when the last time did not come to its end.
    pub(super) fn begin_page(&mut self, space: &SpaceId) -> Result<bool, StoreError> {
        let suspect = self.settle(space)?;
        self.lazily(|conn| schema::put_meta(conn, APPLYING, PAGE))?;
        Ok(suspect)
    }

    /// The page was refused, which is an end too.
    pub(super) fn end_page(&mut self) -> Result<(), StoreError> {
        self.lazily(taken)
    }

    /// Sets the envelope aside for good that ended the program alone, again and again; true when it was a page that did.
    fn settle(&mut self, space: &SpaceId) -> Result<bool, StoreError> {
        let Some(mark) = schema::meta(&self.conn, APPLYING)? else { return Ok(false) };
        let Some(envelope) = EnvelopeId::from_slice(&mark) else { return Ok(mark == PAGE) };
        let transaction = begin(&self.conn)?;
        let before = schema::meta(&transaction, TRIED)?;
        let before = before.as_deref().and_then(<[u8]>::split_last).filter(|(_, id)| *id == envelope.as_ref());
        let tries = before.map_or(1, |(tries, _)| tries.saturating_add(1));
        if tries >= TRIES_MAX {
            let row = find_space(&transaction, space)?.row;
            quarantine::change_reason(&transaction, row, &envelope, ENDED)?;
            schema::remove_meta(&transaction, TRIED)?;
        } else {
            schema::put_meta(&transaction, TRIED, &[envelope.as_ref(), &[tries]].concat())?;
        }
        taken(&transaction)?;
        transaction.commit()?;
        Ok(false)
    }

    /// Whether something is still to be tried alone: the program ended before it came to that.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_suspects(&self, space: &SpaceId) -> Result<bool, StoreError> {
        let row = find_space(&self.conn, space)?.row;
        let sql = "SELECT count(*) FROM (SELECT 1 FROM quarantine WHERE space = ?1 AND reason = ?2 LIMIT 1)";
        Ok(self.reads().count(sql, (row, SUSPECT))? > 0)
    }

    /// Tries each suspect alone, in a commit of its own.
    pub(in crate::store) fn retry_suspects(
        &mut self,
        space: &SpaceId,
        records: Records<'_>,
        now_ms: i64,
        steps: Steps,
        report: &mut ReceiveReport,
    ) -> Result<(), StoreError> {
        if schema::meta(&self.conn, APPLYING)?.is_some_and(|mark| mark != PAGE) {
            self.settle(space)?;
        }
        let row = find_space(&self.conn, space)?.row;
        let suspect = SUSPECT.to_owned();
        for (envelope, origin) in quarantine::kept(&self.conn, row, &[suspect.clone(), suspect])? {
            self.lazily(|conn| schema::put_meta(conn, APPLYING, envelope.as_ref()))?;
            let tried = self.receiving(space, records, Unknown::Quarantine, now_ms, steps, |receiver, streams| {
                receiver.try_alone(streams, envelope, origin)
            })?;
            report.changed.extend(tried.changed);
            report.quarantined.extend(tried.quarantined);
        }
        report.changed.sort_unstable();
        report.changed.dedup();
        Ok(())
    }
}

impl Receiver<'_> {
    fn try_alone(&mut self, mut streams: Streams, envelope: EnvelopeId, origin: Origin) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        self.reopen(&mut streams, envelope, origin, &mut batch)?;
        self.finish(batch, &streams)?;
        taken(self.context.conn)
    }
}

/// It came to its end.
pub(super) fn taken(conn: &Connection) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([APPLYING])?;
    Ok(())
}
