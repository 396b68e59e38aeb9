//! A session: one space on one connection, after AUTH. OPEN, PULL, HAVE and presence; pushing, records and WANT
//! have files of their own.

use std::collections::VecDeque;
use std::sync::Arc;

use lifeos_sync_protocol::envelope::{Envelope, Kind};
use lifeos_sync_protocol::frame::{Cursor, ErrorCode, Frame, Quota};
use lifeos_sync_protocol::ids::{LogId, RecordId, Roll, SignPk, SpaceId};
use lifeos_sync_protocol::limits::{FRAME_IDS_MAX, PAGE_ENVELOPES_MAX};
use lifeos_sync_protocol::log::{have_digest, statement_message};

use tokio::time::Instant;

use super::parked::Parked;
use super::{Connection, Refusal, wakeup};
use crate::server::{Relay, Visit};
use crate::space::{ReaderId, Space, fit_frame};
use crate::store::{Page, PageBounds, Progress, StoreError};

/// Largest ciphertext of a presence message; it is forwarded to everybody and stored nowhere.
const PRESENCE_CT_BYTES_MAX: u32 = 16 * 1024;

/// What a guest is told: how much a space writes is nothing to who was not let in.
fn guests_state(session: u32, rec_heads: Vec<RecordId>, cursor: Option<Cursor>) -> Frame {
    Frame::State {
        session,
        rec_heads,
        log: Some(Cursor { log_id: LogId::ZERO, pos: 1, roll: Roll::ZERO }),
        cursor_ok: cursor.is_none(),
        have_digest: [0; 32],
        quota: Quota { bytes_used: 0, bytes_max: 0 },
        checkpoints: Vec::new(),
    }
}

/// The checkpoints that hold what is not in the log any more.
fn effective(progress: &[Progress]) -> Vec<RecordId> {
    let effective = progress.iter().filter(|progress| progress.is_effective && !progress.is_superseded);
    effective.map(|progress| progress.checkpoint).take(FRAME_IDS_MAX).collect()
}

/// One authenticated device in one space.
pub(super) struct Session {
    pub(super) space_id: SpaceId,
    pub(super) device: SignPk,
    /// Let in by an invitation.
    pub(super) is_guest: bool,
    /// Nothing until the space has been created.
    pub(super) space: Option<Arc<Space>>,
    /// Its place among the sessions of the space, once the space exists.
    pub(super) reader: Option<ReaderId>,
    /// OPEN was answered.
    opened: bool,
    /// Records whose parents are not here yet.
    pub(super) parked: Parked,
    /// Pages of the log that were read along with the last one, and for which bounds.
    ahead: (Option<PageBounds>, VecDeque<Page>),
    relay: Arc<Relay>,
}

impl Session {
    pub(super) fn new(space_id: SpaceId, device: SignPk, relay: Arc<Relay>) -> Self {
        relay.metrics.sessions_open.increment();
        // Mostly nobody listens.
        let _ = relay.visits.send(Visit { device, is_over: false });
        Self {
            space_id,
            device,
            is_guest: false,
            space: None,
            reader: None,
            opened: false,
            parked: Parked::new(Arc::clone(&relay)),
            ahead: (None, VecDeque::new()),
            relay,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.relay.metrics.sessions_open.decrement();
        let _ = self.relay.visits.send(Visit { device: self.device, is_over: true });
        let Some(space) = self.space.take() else { return };
        if let Some(reader) = self.reader.take() {
            let seen = space.live().leave(reader);
            wakeup::left(&self.relay, &space, self.device, seen);
        }
        drop(space);
        self.relay.spaces.left(self.space_id);
    }
}

const NO_SESSION: Refusal = Refusal::fatal(ErrorCode::Unexpected, "no such session on this connection");
const NOT_OPEN: Refusal = Refusal::mild(ErrorCode::Unexpected, "OPEN comes first");
const REMOVED: Refusal = Refusal::fatal(ErrorCode::Removed, "this device was removed from the space");
const GUEST: Refusal = Refusal::mild(ErrorCode::NotMember, "an invitation opens the records only; join first");
const NO_SPACE: Refusal =
    Refusal::mild(ErrorCode::Unexpected, "the relay does not hold this space yet: send its Genesis first");

impl Connection {
    pub(super) async fn in_session(&mut self, request: u32, frame: Frame) -> Result<(), Refusal> {
        match frame {
            Frame::Open { session, cursor, .. } => self.open(request, session, cursor).await,
            Frame::Rec { session, records, .. } => self.records(request, session, records).await,
            Frame::RecWant { session, ids, heads } => self.wanted_records(request, session, ids, heads).await,
            Frame::Pull { session, from, bytes_max, items_max } => {
                self.member(session)?;
                self.pull(request, session, from, bytes_max, items_max).await
            }
            Frame::Have { session, .. } => {
                self.member(session)?;
                self.have(request, session).await
            }
            Frame::Want { session, ranges, objects } => {
                self.member(session)?;
                self.want(request, session, ranges, objects).await
            }
            Frame::WantRest { session, object, from } => {
                self.member(session)?;
                self.want_rest(request, session, object, from).await
            }
            Frame::Offer { session, objects } => {
                self.member(session)?;
                self.offer(request, session, objects).await
            }
            Frame::LogStatementWant { session } => {
                self.member(session)?;
                self.log_statement(request, session).await
            }
            Frame::Ephemeral { session, envelope } => {
                self.member(session)?;
                self.presence(session, envelope)
            }
            Frame::Wakeup { session, target } => {
                self.member(session)?;
                self.wakeup(request, session, target).await
            }
            _ => Err(Refusal::fatal(ErrorCode::Unexpected, "this frame is not for a relay")),
        }
    }

    pub(super) fn session(&mut self, number: u32) -> Result<&mut Session, Refusal> {
        self.sessions.get_mut(&number).ok_or(NO_SESSION)
    }

    /// The space of a session that has opened it, and the session's place among the readers.
    pub(super) fn opened(&self, number: u32) -> Result<(Arc<Space>, ReaderId), Refusal> {
        let space = self.space(number)?;
        let session = self.sessions.get(&number).filter(|session| session.opened);
        let reader = session.and_then(|session| session.reader).ok_or(NOT_OPEN)?;
        Ok((space, reader))
    }

    /// The session's device is a member's: a guest, who holds an invitation, has no part in content.
    pub(super) fn member(&self, number: u32) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get(&number) else { return Err(NO_SESSION) };
        let Some(space) = &session.space else { return Ok(()) };
        if space.view().membership.may_read(&session.device) { Ok(()) } else { Err(GUEST) }
    }

    /// The space of a session, if it exists and the device, or the guest, may still read its records.
    pub(super) fn space(&self, number: u32) -> Result<Arc<Space>, Refusal> {
        let session = self.sessions.get(&number).ok_or(NO_SESSION)?;
        let space = session.space.clone().ok_or(NO_SPACE)?;
        let view = space.view();
        let may_stay = view.membership.may_read(&session.device) || view.may_stay(&session.device, self.relay.now_ms());
        if may_stay { Ok(space) } else { Err(REMOVED) }
    }

    /// Gives a session its space, and a place among the sessions there.
    pub(super) fn attach(&mut self, number: u32, space: Arc<Space>) -> Result<(), Refusal> {
        let outgoing = Arc::clone(&self.outgoing);
        let session = self.session(number)?;
        session.reader = Some(space.live().enter(outgoing, number, session.device));
        session.space = Some(space);
        Ok(())
    }

    async fn open(&mut self, request: u32, session: u32, cursor: Option<Cursor>) -> Result<(), Refusal> {
        let space = self.space(session)?;
        // Before the heads are read: a record that comes between is then told live, and none is missed.
        let state = self.session(session)?;
        state.opened = true;
        let (device, reader) = (state.device, state.reader);
        if let Some(reader) = reader {
            space.live().open(reader);
        }
        let rec_heads = space.records.lock().await.heads();
        if self.member(session).is_err() {
            self.reply(request, &guests_state(session, rec_heads, cursor));
            return Ok(());
        }
        let end = space.live().end();
        let cursor_ok = match cursor {
            Some(cursor) => self.is_on_log(&space, cursor, end).await?,
            // As one at the beginning of the log.
            None => self.relay.store.readers().roll_at(space.no, 1).await?.is_some(),
        };
        let database = self.relay.store.readers();
        let held = database.have(space.no).await?;
        let view = space.view();
        let used = database.bytes_of(space.no, view.siblings(&device).to_vec()).await?;
        let receipts = database.receipts(space.no).await?;
        let state = Frame::State {
            session,
            rec_heads,
            log: Some(end),
            cursor_ok,
            have_digest: have_digest(&held),
            quota: self.quota(space.bytes(), used),
            checkpoints: effective(&database.checkpoints(space.no).await?),
        };
        self.reply(request, &state);
        for (_, envelope) in receipts.into_iter().filter(|(device, _)| view.membership.may_read(device)) {
            self.reply(0, &Frame::Ephemeral { session, envelope });
        }
        Ok(())
    }

    /// When the first of the guests here is to go (ms UTC): nobody else's invitation keeps them.
    pub(super) fn guests_until_ms(&self) -> Option<u64> {
        let guests = self.sessions.values().filter(|session| session.is_guest);
        let until = |session: &Session| {
            let space = session.space.as_ref()?;
            Some(space.view().guest_until_ms(&session.device).unwrap_or(0))
        };
        guests.filter_map(until).min()
    }

    /// The space's quota or the member's share of it, whichever has less room.
    fn quota(&self, space_bytes: u64, member_bytes: u64) -> Quota {
        let limits = &self.relay.limits;
        let space = Quota { bytes_used: space_bytes, bytes_max: limits.space_bytes_max };
        let member = Quota { bytes_used: member_bytes, bytes_max: limits.member_bytes_max };
        let room = |quota: &Quota| match quota.bytes_max {
            0 => u64::MAX,
            max => max.saturating_sub(quota.bytes_used),
        };
        if room(&member) < room(&space) { member } else { space }
    }

    /// What the relay signs about the end of the log.
    async fn log_statement(&mut self, request: u32, session: u32) -> Result<(), Refusal> {
        let (space, _) = self.opened(session)?;
        // Under the lock of the records: heads and end are of one moment.
        let records = space.records.lock().await;
        let (rec_heads, log) = (records.heads(), space.live().end());
        drop(records);
        let time_ms = self.relay.now_ms();
        let signature = self.relay.identity.sign(&statement_message(&space.id, &log, &rec_heads, time_ms));
        self.reply(request, &Frame::LogStatement { space: space.id, log, rec_heads, time_ms, signature });
        Ok(())
    }

    async fn is_on_log(&self, space: &Space, cursor: Cursor, end: Cursor) -> Result<bool, Refusal> {
        if cursor.log_id != space.log_id || cursor.pos > end.pos {
            return Ok(false);
        }
        Ok(self.relay.store.readers().roll_at(space.no, cursor.pos).await? == Some(cursor.roll))
    }

    async fn pull(
        &mut self,
        request: u32,
        session: u32,
        from: u64,
        bytes_max: u32,
        items_max: u32,
    ) -> Result<(), Refusal> {
        let (space, reader) = self.opened(session)?;
        let bounds = self.bounds(bytes_max, items_max);
        loop {
            let end = space.live().end();
            if from == 0 || from > end.pos {
                return Err(Refusal::mild(ErrorCode::Unexpected, "the log does not reach this position"));
            }
            let page = self.page(session, &space, from, end.pos, bounds).await?;
            self.relay.metrics.pages_read_total.increment();
            let (next, is_empty) = (page.next, page.items.count() == 0);
            let kib = u32::try_from(page.items.envelope_bytes() / 1024).unwrap_or(u32::MAX);
            {
                // Following begins and the page is queued under one lock: NOTIFY continues where the page ends.
                let mut live = space.live();
                let more = !live.follow(reader, next);
                if more && is_empty {
                    // The log has grown since the page was read: it is not the last one after all.
                    continue;
                }
                self.outgoing.reply(page.items.into_frame(request, session, next, page.roll, more).into());
            }
            let device = self.session(session)?.device;
            if next == space.live().end().pos {
                wakeup::caught_up(&self.relay, &space, device);
            }
            // Before the next frame is read: whoever pulls too much waits.
            let wait = self.relay.pulls.take(device, kib, Instant::now());
            if !wait.is_zero() {
                self.relay.metrics.pulls_slowed_total.increment();
                tokio::time::sleep(wait).await;
            }
            return Ok(());
        }
    }

    /// The page from a position: read along with the one before, or read now.
    async fn page(
        &mut self,
        session: u32,
        space: &Space,
        from: u64,
        until: u64,
        bounds: PageBounds,
    ) -> Result<Page, Refusal> {
        let (read_for, mut ahead) = std::mem::take(&mut self.session(session)?.ahead);
        if read_for != Some(bounds) || ahead.front().is_none_or(|page| page.from != from) {
            ahead = self.relay.store.readers().pages(space.no, from, until, bounds).await?;
        }
        let page = ahead.pop_front().ok_or(StoreError::Database)?;
        if !ahead.is_empty() {
            self.session(session)?.ahead = (Some(bounds), ahead);
        }
        Ok(page)
    }

    pub(super) fn bounds(&self, bytes_max: u32, items_max: u32) -> PageBounds {
        let limit = |wish: u32, max: usize| usize::try_from(wish).unwrap_or(max).clamp(1, max);
        PageBounds {
            bytes_max: limit(bytes_max, self.relay.limits.page_bytes_max),
            items_max: limit(items_max, PAGE_ENVELOPES_MAX),
        }
    }

    async fn have(&mut self, request: u32, session: u32) -> Result<(), Refusal> {
        let (space, _) = self.opened(session)?;
        let streams = self.relay.store.readers().have(space.no).await?;
        self.reply(request, &Frame::Have { session, streams });
        Ok(())
    }

    /// Forwards presence to those who follow; whoever is slow misses it.
    fn presence(&mut self, session: u32, envelope: Vec<u8>) -> Result<(), Refusal> {
        let (space, reader) = self.opened(session)?;
        let bad = Refusal::mild(ErrorCode::BadFrame, "not a presence message");
        let parsed = Envelope::parse(envelope).map_err(|_| bad)?;
        if parsed.header().kind != Kind::Ephemeral || parsed.header().ct_len > PRESENCE_CT_BYTES_MAX {
            return Err(bad);
        }
        let device = self.session(session)?.device;
        if self.relay.presence.try_take(device, Instant::now()) {
            space.live().forward(&parsed.into_bytes(), reader);
        }
        Ok(())
    }

    pub(super) async fn wanted_records(
        &mut self,
        request: u32,
        session: u32,
        ids: Vec<RecordId>,
        heads: Vec<RecordId>,
    ) -> Result<(), Refusal> {
        let (space, _) = self.opened(session)?;
        let records = {
            let set = space.records.lock().await;
            if ids.is_empty() { set.beyond(&heads) } else { set.named(&ids) }
        };
        let mut rest = records.as_slice();
        loop {
            let count = fit_frame(rest);
            let (now, later) = rest.split_at(count);
            rest = later;
            let more = !rest.is_empty();
            self.outgoing.room().await;
            let records = now.iter().map(|record| record.bytes().to_vec()).collect();
            self.reply(request, &Frame::Rec { session, records, more });
            if !more {
                return Ok(());
            }
        }
    }
}
