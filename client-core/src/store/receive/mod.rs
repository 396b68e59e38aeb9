//! Receiving: a page of envelopes becomes changed documents, rows, quarantine and a moved cursor in one commit.
//!
//! ```text
//! items ─ verify (chain for all, signature at the last of each stream) ─▶ envelope rows, tips
//!       ─ open ─ fence::check ─▶ batch by document ─ fence, one batch each ─▶ change rows, projection rows
//!       ├ an author's fault ─▶ quarantine; the cursor moves on in the same commit
//!       └ the peer's fault ─▶ an error; nothing of the page is taken
//! ```

mod accept;
mod apply;
mod erase;
mod packed;
mod rebuild;
mod retry;
mod stream;
mod suspect;
mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lifeos_sync_protocol::frame::{Cursor, Item};
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, EpochRef, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::Record;
use rusqlite::Connection;

use self::accept::Stored;
pub(in crate::store) use self::accept::{AFTER_FORK, AFTER_REMOVAL, NOT_A_WRITER, OTHER_BRANCH, insert_mention};
use self::apply::Batch;
pub(in crate::store) use self::apply::{DAMAGED, Steps};
pub(super) use self::packed::{PackReport, TakenPack};
pub(in crate::store) use self::suspect::{ENDED, SUSPECT};
use self::verify::{Outcome, Streams, verify_page};
use super::documents::Workspace;
use super::erase::ERASED;
use super::{
    QuarantinedEnvelope, Reads, RelayId, Store, StoreError, Timed, begin, promise, quarantine, receipt, records,
    schema, seal, witness,
};
use crate::envelope::{self, SealedEnvelope, StreamTip, VerifiedEnvelope};
use crate::fence::{self, Checked};
use crate::keys::Keyring;
use crate::metrics::{Metrics, Work};
use crate::witness::Rolls;

/// Envelopes from one peer, in order.
#[derive(Debug, Clone)]
pub struct Page {
    /// Whose log; `None` for envelopes from elsewhere (another device, a bundle): no cursor moves.
    pub relay: Option<RelayId>,
    /// The envelopes.
    pub items: Vec<Item>,
    /// The cursor after the page.
    pub next: Option<Cursor>,
    /// Hashes of the places passed.
    pub rolls: Rolls,
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
    /// Documents that changed, sorted.
    pub changed: Vec<DocId>,
    /// Envelopes that were new here (quarantined ones included).
    pub received: u64,
    /// Envelopes held already, own ones included.
    pub duplicates: u64,
    /// Set aside, with the reason in words.
    pub quarantined: Vec<(EnvelopeId, String)>,
    /// Only with [`Unknown::Hold`]: the page stopped here and must be given again after fetching records.
    pub held: Option<NeedRecords>,
    /// The own stream is longer elsewhere than here: this home was restored from an older copy, or there are
    /// two copies of it.
    pub own_stream_ahead: bool,
}

/// What the records of a space give.
#[derive(Clone, Copy)]
pub(super) struct Records<'p> {
    pub(super) membership: &'p Membership,
    pub(super) keyring: &'p Keyring,
}

/// What stays the same for a whole page.
#[derive(Clone, Copy)]
struct Context<'p> {
    conn: &'p Connection,
    space: &'p SpaceId,
    row: i64,
    membership: &'p Membership,
    keyring: &'p Keyring,
    unknown: Unknown,
    now_ms: i64,
    metrics: &'p Metrics,
}

impl Store {
    /// Verifies, opens, fences and applies a page: one batch per document, one commit for everything.
    /// Giving a page again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::PeerMisbehaved`] for what the peer's relay should never have given out, and nothing of the page
    /// is taken; what an author did wrong is never an error. Else [`StoreError`].
    pub fn receive(
        &mut self,
        space: &SpaceId,
        page: Page,
        membership: &Membership,
        keyring: &Keyring,
        unknown: Unknown,
        now_ms: i64,
    ) -> Result<ReceiveReport, StoreError> {
        self.receive_in_steps(space, page, Records { membership, keyring }, unknown, now_ms, Steps::default())
    }

    /// The same with other steps, for faults that no known change provokes.
    pub(super) fn receive_in_steps(
        &mut self,
        space: &SpaceId,
        page: Page,
        records: Records<'_>,
        unknown: Unknown,
        now_ms: i64,
        steps: Steps,
    ) -> Result<ReceiveReport, StoreError> {
        let metrics = self.metrics();
        let _timed = Timed::begin(&metrics, Work::Pull);
        let suspect = self.begin_page(space)?;
        let taken = self.receiving(space, records, unknown, now_ms, steps, |receiver, streams| {
            receiver.suspect = suspect;
            receiver.take(page, streams)?;
            suspect::taken(receiver.context.conn)
        });
        let Ok(mut report) = taken else {
            self.end_page()?;
            return taken;
        };
        if suspect {
            self.retry_suspects(space, records, now_ms, steps, &mut report)?;
        }
        Ok(report)
    }

    /// Runs `take` in one transaction.
    fn receiving(
        &mut self,
        space: &SpaceId,
        records: Records<'_>,
        unknown: Unknown,
        now_ms: i64,
        steps: Steps,
        take: impl FnOnce(&mut Receiver<'_>, Streams) -> Result<(), StoreError>,
    ) -> Result<ReceiveReport, StoreError> {
        let Records { membership, keyring } = records;
        let transaction = begin(&self.conn)?;
        let space_ref = records::find_space(&transaction, space)?;
        let row = space_ref.row;
        let context =
            Context { conn: &self.conn, space, row, membership, keyring, unknown, now_ms, metrics: &self.metrics };
        let documents = Workspace::begin(&self.conn, &mut self.documents, space, now_ms)?;
        let report = ReceiveReport::default();
        let limits = accept::limits_of(&accept::stored(&self.conn, row)?);
        let mut receiver = Receiver {
            context,
            documents,
            report,
            origins: HashMap::new(),
            steps,
            suspect: false,
            many: false,
            limits,
            unsettled: false,
            heard: BTreeSet::new(),
            undone: HashSet::new(),
            erased: super::erase::erased(&self.conn, row)?.into_keys().collect(),
            unerased: BTreeSet::new(),
            role_records: None,
        };
        let taken = take(&mut receiver, Streams::new(space_ref));
        let report = receiver.report;
        match taken.and_then(|()| Ok(transaction.commit()?)) {
            Ok(()) => Ok(report),
            Err(error) => {
                // Documents of a page are put into the cache as it goes: nothing of it is on the disk now.
                self.documents.clear();
                Err(error)
            }
        }
    }
}

/// Where an envelope came from, for its quarantine row.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) stream: StreamId,
    pub(super) seq: u32,
    pub(super) author: Option<SignPk>,
}

/// Takes one page in, inside a transaction.
struct Receiver<'p> {
    context: Context<'p>,
    documents: Workspace<'p>,
    report: ReceiveReport,
    origins: HashMap<EnvelopeId, Origin>,
    steps: Steps,
    /// Set everything aside, to be tried one by one.
    suspect: bool,
    /// So many documents change that none is kept loaded, and all are indexed at once.
    many: bool,
    /// Streams of which not everything counts, and how far they do.
    limits: BTreeMap<StreamId, u32>,
    /// Something was said that may carry a limit further, or a stream is new.
    unsettled: bool,
    /// Whose envelopes were opened.
    heard: BTreeSet<SignPk>,
    /// Changes of envelopes that counted and do so no more.
    undone: HashSet<[u8; 32]>,
    /// Documents that were erased.
    erased: HashSet<DocId>,
    /// Documents whose erasure counts no more.
    unerased: BTreeSet<DocId>,
    /// Records that give or take roles, once somebody asked.
    role_records: Option<Vec<Record>>,
}

impl Receiver<'_> {
    fn take(&mut self, page: Page, mut streams: Streams) -> Result<(), StoreError> {
        let first = page.items.first().map_or(1, |item| item.pos);
        let timed = Timed::begin(self.context.metrics, Work::Verify);
        let verified = verify_page(&self.context, &mut streams, page.items)?;
        drop(timed);
        let mut batch = Batch::default();
        for outcome in verified.outcomes {
            match outcome {
                Outcome::Duplicate => self.report.duplicates += 1,
                Outcome::Refused { id, origin, reason, bytes } => {
                    self.quarantine(id, origin, &reason.to_string(), Some(&bytes))?;
                }
                Outcome::Verified(envelope) => {
                    self.take_verified(&mut streams, *envelope, &mut batch)?;
                    if batch.is_full() {
                        self.apply(std::mem::take(&mut batch))?;
                    }
                }
            }
        }
        self.finish(batch, &streams)?;
        self.report.held = verified.held;
        if let (Some(relay), None) = (page.relay, verified.held) {
            move_cursor(self.context.conn, relay, page.next, first, streams.own_seen)?;
            if let Some(next) = page.next {
                let Context { conn, now_ms, .. } = self.context;
                witness::note_rolls(conn, relay, &next.log_id, &page.rolls, now_ms)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, batch: Batch, streams: &Streams) -> Result<(), StoreError> {
        self.apply(batch)?;
        streams.store(self.context.conn)?;
        if self.unsettled {
            self.settle()?;
        }
        let changed: BTreeSet<DocId> = self.report.changed.iter().copied().collect();
        self.ask_again(Some(&changed))?;
        let Context { conn, row, now_ms, .. } = self.context;
        std::mem::take(&mut self.heard).iter().try_for_each(|device| receipt::note_heard(conn, row, device, now_ms))?;
        self.report.changed.sort_unstable();
        self.report.changed.dedup();
        self.report.own_stream_ahead = streams.own_ahead;
        if streams.own_ahead {
            self.note_second_copy()?;
        }
        Ok(())
    }

    /// Keeps an envelope, and opens it if it counts.
    fn take_verified(
        &mut self,
        streams: &mut Streams,
        verified: VerifiedEnvelope,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let row = self.keep(streams, &verified)?;
        let header = verified.envelope.header();
        let known =
            Stored { row, stream: header.stream, device: verified.author, seq: header.seq, limit: None, floor: 0 };
        if let (1, Some(last)) = (header.seq, self.context.limit(&known).seq()) {
            self.limits.insert(header.stream, last);
            let sql = "UPDATE stream SET limit_seq = ?2 WHERE id = ?1";
            self.context.conn.prepare_cached(sql)?.execute((row, last))?;
        }
        match self.limits.get(&header.stream) {
            Some(limit) if header.seq > *limit => {
                self.unsettled = true;
                self.set_aside(verified.id, &known, header.seq)
            }
            _ if self.suspect => self.quarantine_known(verified.id, suspect::SUSPECT),
            _ => self.open(verified, row, batch),
        }
    }

    /// Stores the envelope as a part of its stream, whatever becomes of its content; gives the stream's row.
    fn keep(&mut self, streams: &mut Streams, verified: &VerifiedEnvelope) -> Result<i64, StoreError> {
        let header = verified.envelope.header();
        let origin = Origin { stream: header.stream, seq: header.seq, author: Some(verified.author) };
        self.origins.insert(verified.id, origin);
        quarantine::release(self.context.conn, self.context.row, &verified.id)?;
        let row = streams.row_of(&self.context, header.stream)?;
        let sealed = SealedEnvelope { seq: header.seq, id: verified.id, bytes: verified.envelope.bytes().to_vec() };
        seal::insert_envelope(self.context.conn, row, &sealed)?;
        if header.seq == 1 {
            let sql = "UPDATE stream SET r32 = ?2 WHERE id = ?1";
            self.context.conn.prepare_cached(sql)?.execute((row, header.prev))?;
        }
        Ok(row)
    }

    fn open(&mut self, verified: VerifiedEnvelope, stream_row: i64, batch: &mut Batch) -> Result<(), StoreError> {
        let id = verified.id;
        let epoch = verified.envelope().header().epoch;
        let timed = Timed::begin(self.context.metrics, Work::Open);
        let opened = envelope::open(self.context.space, &verified, self.context.keyring);
        drop(timed);
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(refused) => return self.quarantine_known(id, &refused.to_string()),
        };
        self.note_mentions(stream_row, &opened)?;
        let further = |(stream, seq): &(StreamId, u32)| self.limits.get(stream).is_some_and(|limit| limit < seq);
        self.unsettled |= opened.delta.frontier.iter().any(further);
        let is_late = self.leave_out_erased(&mut opened)?;
        let checked = match fence::check_news(&opened) {
            Ok(checked) => checked,
            Err(refused) => return self.quarantine_known(id, &refused.to_string()),
        };
        if is_late {
            self.quarantine_known(id, ERASED)?;
        } else {
            self.report.received += 1;
        }
        let Context { conn, space, row, membership, now_ms, .. } = self.context;
        promise::hear(conn, (space, row), membership, &opened.author, &opened.delta, now_ms)?;
        self.heard.insert(opened.author);
        let (author, stream, seq) = (opened.author, opened.stream, opened.seq);
        let erased = std::mem::take(&mut opened.delta.erased);
        drop(opened);
        for news in checked {
            match news {
                Checked::Changes(delta) => {
                    batch.add(delta);
                    if batch.is_full() {
                        self.apply(std::mem::take(batch))?;
                    }
                }
                Checked::Whole(note) => self.take_whole(id, note, batch)?,
            }
        }
        if erased.is_empty() {
            return Ok(());
        }
        self.apply(std::mem::take(batch))?;
        let position = seal::position(stream_row, seq);
        self.take_erasures(erase::Said { id, epoch, author, stream, position }, &erased)
    }

    /// Sets aside an envelope that is kept as a part of its stream.
    fn quarantine_known(&mut self, id: EnvelopeId, reason: &str) -> Result<(), StoreError> {
        let unknown = Origin { stream: StreamId::ZERO, seq: 0, author: None };
        let origin = self.origins.get(&id).copied().unwrap_or(unknown);
        self.quarantine(id, origin, reason, None)
    }

    fn quarantine(
        &mut self,
        envelope: EnvelopeId,
        origin: Origin,
        reason: &str,
        bytes: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let Origin { stream, seq, author } = origin;
        let since_ms = self.context.now_ms;
        let entry = QuarantinedEnvelope { envelope, stream, seq, author, reason: reason.to_owned(), since_ms };
        if quarantine::insert(self.context.conn, self.context.row, &entry, bytes)? {
            self.report.received += 1;
            self.report.quarantined.push((envelope, entry.reason));
        } else {
            self.report.duplicates += 1;
        }
        Ok(())
    }

    /// The own stream goes on elsewhere. Without unsealed changes this home has simply caught up with itself;
    /// with some, their positions are taken, and sealing them would fork the stream for everybody.
    fn note_second_copy(&self) -> Result<(), StoreError> {
        let reads = Reads { conn: self.context.conn };
        if reads.pending_count(self.context.space)? > 0 {
            schema::put_meta(self.context.conn, &seal::forked_key(self.context.space), &[1])?;
        }
        Ok(())
    }
}

/// A cursor that was forgotten while pages were under way stays so: the log is to be read from its start.
fn move_cursor(
    conn: &Connection,
    relay: RelayId,
    next: Option<Cursor>,
    first: u64,
    own_seen: u32,
) -> Result<(), StoreError> {
    if let Some(next) = next {
        let sql = "UPDATE relay SET log_id = ?2, pos = ?3, roll = ?4 WHERE id = ?1 AND (pos IS NOT NULL OR ?5)";
        let pos = i64::try_from(next.pos).unwrap_or(i64::MAX);
        conn.prepare_cached(sql)?.execute((relay.0, next.log_id.as_ref(), pos, next.roll.as_ref(), first <= 1))?;
    }
    let sql = "UPDATE relay SET own_acked_seq = ?2 WHERE id = ?1 AND own_acked_seq < ?2";
    conn.prepare_cached(sql)?.execute((relay.0, own_seen))?;
    Ok(())
}

/// Where a stream stands, by its row.
pub(super) fn tip_by_row(conn: &Connection, row: i64) -> Result<Option<StreamTip>, StoreError> {
    let sql = "SELECT stream, device, seq, tip FROM stream WHERE id = ?1";
    Reads { conn }.one(sql, [row], |row| {
        Ok(StreamTip { stream: StreamId(row.get(0)?), device: SignPk(row.get(1)?), seq: row.get(2)?, id: row.get(3)? })
    })
}
