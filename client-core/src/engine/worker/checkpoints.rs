//! Checkpoints: what a device without a place in the log begins with, comparing those of others, making one when it is
//! due, and forgetting envelopes once one is in effect (protocol §5).
//!
//! ```text
//! no place in the log ─▶ newest checkpoint that others vouch for ─ chunks ─▶ store ─▶ streams stand at its cut
//! at rest ─▶ another's, not looked at yet ─ its chunks ─▶ compared ─▶ Endorse, Object, or wait
//!         ─▶ due, and this device's turn ─▶ chunks ─▶ Checkpoint record ─▶ OFFER, REC
//!         ─▶ endorsed since the grace period ─▶ envelopes up to its cut are forgotten here, too
//! ```

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use lifeos_sync_protocol::frame::Have;
use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::{EnvelopeId, RecordId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::{CheckpointStanding, Membership};
use lifeos_sync_protocol::record::{Body, Floor, Record};
use tokio::time::Instant;

use super::{Done, EngineError, Worker};
use crate::crypto::SystemRandom;
use crate::engine::jobs::{Job, JobKind};
use crate::engine::rotation::DAY_MS;
use crate::engine::shared::{random_u64, wall_ms};
use crate::engine::{Shared, SpaceState, sealing, upkeep};
use crate::event::{Event, Origin};
use crate::records::Draft;
use crate::session::{Bootstrap, Input};
use crate::store::{self, CheckpointDraft, Comparison, Drafting, Due, Store, StoreError, WarningKind};

/// A device that has something reads a whole log rather than take a checkpoint in, if it is no more behind than this.
const READ_ENVELOPES_MAX: u64 = 256;
/// A device that was not heard of for so long is not waited for.
const SEEN_MS_MAX: i64 = 7 * DAY_MS;
/// Whose turn it is makes a checkpoint that is due; after so long anybody does.
const TURN_MS_MAX: i64 = DAY_MS;
/// Two devices that think it is their turn do not begin at once.
const SPREAD: Duration = Duration::from_secs(600);
/// Objects that no checkpoint names are kept for so long: what was just made is named in a moment.
const UNNAMED_MS_MAX: i64 = 7 * DAY_MS;
/// A relay that was not reached for so long is not waited for before own envelopes are forgotten.
const AWAY_MS_MAX: i64 = 90 * DAY_MS;
/// How long one look into chunks may hold up edits.
const SLICE: Duration = Duration::from_millis(200);

/// What one connection remembers of checkpoints.
#[derive(Default)]
pub(super) struct Checkpoints {
    /// Not to be begun with again: chunks are missing, or it does not open.
    passed_over: BTreeSet<RecordId>,
    /// Chunks that this relay does not hold.
    missing: BTreeSet<EnvelopeId>,
    /// Chunks of own checkpoints that came back from this relay.
    came_back: BTreeSet<EnvelopeId>,
    /// Chunks that were asked for in order to compare them.
    asked: BTreeSet<EnvelopeId>,
    /// When it is this device's turn to make one that is due.
    turn_at: Option<Instant>,
    /// Checkpoints that this device could not judge, and what it held then: records, and envelopes.
    behind: HashMap<RecordId, (u64, u64)>,
}

/// Records of checkpoints, newest first.
fn checkpoints<'r>(membership: &Membership, records: &'r [Record]) -> Vec<&'r Record> {
    let mut found: Vec<&Record> =
        records.iter().filter(|record| membership.checkpoints.contains_key(&record.id())).collect();
    found.sort_by_key(|record| std::cmp::Reverse(record.order()));
    found
}

/// Chunks that a record names.
fn chunks(record: &Record) -> impl Iterator<Item = EnvelopeId> {
    let chunks = match record.body() {
        Body::Checkpoint { chunks, .. } => chunks.as_slice(),
        _ => &[],
    };
    chunks.iter().copied()
}

/// Chunks and blob parts that a record names.
fn named(record: &Record) -> impl Iterator<Item = EnvelopeId> {
    let blobs = match record.body() {
        Body::Checkpoint { blobs, .. } => blobs.as_slice(),
        _ => &[],
    };
    chunks(record).chain(blobs.iter().copied())
}

/// How many envelopes up to a checkpoint's cut are not held, and whether that is all of them.
fn behind(record: &Record, held: &HashMap<StreamId, u32>) -> (u64, bool) {
    let Body::Checkpoint { cut, .. } = record.body() else { return (0, false) };
    let tip = |stream: &StreamId| held.get(stream).copied().unwrap_or(0);
    let lacks = cut.iter().map(|floor| u64::from(floor.seq.saturating_sub(tip(&floor.stream)))).sum();
    (lacks, lacks > 0 && cut.iter().all(|floor| tip(&floor.stream) == 0))
}

/// What is needed of checkpoints: all that are not blocked and that no endorsed one continues.
fn kept(membership: &Membership, records: &[Record]) -> Vec<RecordId> {
    let of = |id: &RecordId| membership.checkpoint_standing(id);
    let mut superseded = BTreeSet::new();
    for record in checkpoints(membership, records) {
        let is_settled = of(&record.id()) == Some(CheckpointStanding::Endorsed);
        if (is_settled || superseded.contains(&record.id()))
            && let Some(made) = membership.checkpoints.get(&record.id())
        {
            superseded.extend(made.previous.iter().copied());
        }
    }
    let is_kept = |id: &RecordId| !superseded.contains(id) && of(id) != Some(CheckpointStanding::Blocked);
    membership.checkpoints.keys().filter(|id| is_kept(id)).copied().collect()
}

/// Whether somebody has vouched for a checkpoint. Who did so may have been removed since, or have been the only one
/// there: what is pruned by then stays so, and is nobody's fault.
fn was_endorsed(records: &[Record], checkpoint: &RecordId) -> bool {
    records.iter().any(|record| matches!(record.body(), Body::Endorse { checkpoint: of } if of == checkpoint))
}

/// Whether a device begins with a checkpoint: enough others vouch for it, or an own device made it.
fn is_trusted(membership: &Membership, own: &SignPk, checkpoint: &RecordId) -> bool {
    match membership.checkpoint_standing(checkpoint) {
        Some(CheckpointStanding::Endorsed) => true,
        Some(CheckpointStanding::Proposed) => {
            let maker = membership.checkpoints.get(checkpoint).map(|made| made.member);
            maker.is_some() && maker == membership.devices.get(own).map(|device| device.member)
        }
        _ => false,
    }
}

/// Whether a device writes in its own hand and was not removed.
fn writers(membership: &Membership) -> impl Iterator<Item = &SignPk> {
    let hands = membership.devices.iter().filter(|(_, device)| device.is_hand());
    hands.map(|(key, _)| key).filter(|key| membership.may_write(key))
}

/// The order in which devices have their turn, another one every day.
fn turn(device: &SignPk, day: i64) -> [u8; 32] {
    sha256("checkpoint-turn", &[device.as_ref(), &day.to_be_bytes()])
}

/// Whether somebody in force besides this device may endorse.
fn is_alone(membership: &Membership, own: &SignPk) -> bool {
    !membership.devices.iter().any(|(key, device)| key != own && device.is_hand())
}

fn endorse(draft: &mut Draft<'_>, checkpoint: RecordId) {
    if let Err(error) = draft.add(&Body::Endorse { checkpoint }) {
        tracing::warn!(%error, "a checkpoint cannot be endorsed");
    }
}

/// What this device has said of a checkpoint.
fn has_spoken(records: &[Record], own: &SignPk, checkpoint: &RecordId) -> bool {
    records.iter().filter(|record| record.author() == *own).any(|record| match record.body() {
        Body::Endorse { checkpoint: of } | Body::Object { checkpoint: of, .. } => of == checkpoint,
        _ => false,
    })
}

impl<'a> Worker<'a> {
    /// Says what to begin with: a checkpoint if one is worth it and to be trusted, else the log.
    pub(super) fn bootstrap(&mut self, missing: &[EnvelopeId], is_pruned: bool) -> Result<(), EngineError> {
        self.follow_records()?;
        let (state, space) = (self.shared.state(), self.shared.space);
        let mut store = self.shared.store();
        self.checkpoints.missing.extend(missing.iter().copied());
        let is_only = store.relays(&space)?.iter().all(|relay| relay.id == self.relay);
        let mut end = Bootstrap::None;
        if let Some(begun) = store.bootstrap(&space)? {
            let standing = state.membership.checkpoint_standing(&begun.checkpoint);
            let is_gone = standing.is_none() || (standing == Some(CheckpointStanding::Blocked) && !is_pruned);
            let is_lost = begun.chunks.iter().any(|chunk| self.checkpoints.missing.contains(chunk));
            if begun.chunks.is_empty() {
                let report = store.finish_bootstrap(&space, &state.membership, &state.keyring, wall_ms())?;
                self.tell_page(report);
                // Another one may stand for what this one does not.
                end = Bootstrap::Taken;
            } else if is_gone || (is_lost && is_only) {
                self.pass_over(&mut store, begun.checkpoint, is_gone)?;
            } else if !is_lost {
                let chunks = self.awaited_first(&store, begun)?;
                self.answer(Input::Bootstrap(Bootstrap::Fetch(chunks)));
                return Ok(());
            } else {
                // Another relay of the space may hold what this one does not: it goes on there.
                self.answer(Input::Bootstrap(end));
                return Ok(());
            }
        }
        while let Some(record) = self.choose(&store, &state, is_pruned)? {
            match store.begin_bootstrap(&space, &record, &state.membership, &state.keyring) {
                Ok(()) => {
                    let begun = store.bootstrap(&space)?;
                    let chunks = begun.map(|begun| self.awaited_first(&store, begun)).transpose()?.unwrap_or_default();
                    self.answer(Input::Bootstrap(Bootstrap::Fetch(chunks)));
                    return Ok(());
                }
                Err(StoreError::Checkpoint(error)) => {
                    tracing::warn!(%error, "a checkpoint cannot be begun with");
                    self.pass_over(&mut store, record.id(), false)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.answer(Input::Bootstrap(end));
        Ok(())
    }

    /// That a log is pruned is believed of a relay as far as a checkpoint in effect stands for what is gone: what is gone
    /// besides, or of what this device was told that it is kept, was lost.
    pub(super) fn hold_to_checkpoints(&mut self, theirs: &[Have]) -> Result<(), EngineError> {
        if self.relay.is_peer() {
            return Ok(());
        }
        self.follow_records()?;
        let (state, space) = (self.shared.state(), &self.shared.space);
        let mut store = self.shared.store();
        let records = store.records(space)?;
        let effective: Vec<&[Floor]> = checkpoints(&state.membership, &records)
            .into_iter()
            .filter(|record| was_endorsed(&records, &record.id()))
            .filter_map(|record| match record.body() {
                Body::Checkpoint { cut, .. } => Some(cut.as_slice()),
                _ => None,
            })
            .collect();
        let stands_for = |have: &Have| {
            let reaches = |floor: &Floor| floor.stream == have.stream && floor.seq >= have.floor;
            have.floor == 0 || effective.iter().any(|cut| cut.iter().any(reaches))
        };
        let own = store.own_tip(space)?.stream;
        let own_seq = theirs.iter().find(|have| have.stream == own).map_or(0, |have| have.tip);
        let is_lost = std::mem::take(&mut self.is_place_pruned)
            && (theirs.iter().all(|have| have.floor == 0) || own_seq < store.reads().relay(self.relay)?.own_acked_seq);
        if is_lost || !theirs.iter().all(stands_for) {
            store.warn(self.relay, WarningKind::LogRolledBack, wall_ms())?;
        }
        Ok(())
    }

    /// The chunks still to come, those first that may hold a document that somebody waits for.
    fn awaited_first(&self, store: &Store, begun: store::Bootstrap) -> Result<Vec<EnvelopeId>, StoreError> {
        let first = self.awaited_chunks(store, &begun)?;
        let mut chunks = begun.chunks;
        chunks.sort_by_key(|chunk| !first.contains(chunk));
        Ok(chunks)
    }

    /// Chunks still to come that may hold a document that somebody waits for.
    fn awaited_chunks(&self, store: &Store, begun: &store::Bootstrap) -> Result<Vec<EnvelopeId>, StoreError> {
        let awaited = self.shared.awaited(store)?;
        if awaited.is_empty() {
            return Ok(Vec::new());
        }
        let chunks = store.chunks_of(&self.shared.space, &begun.checkpoint, &awaited, &self.shared.state().keyring)?;
        Ok(chunks.into_iter().filter(|chunk| begun.chunks.contains(chunk)).collect())
    }

    /// Does not begin with a checkpoint again; what nobody has looked inside of it goes if it is not to be believed.
    fn pass_over(&mut self, store: &mut Store, checkpoint: RecordId, takes_back: bool) -> Result<(), StoreError> {
        self.checkpoints.passed_over.insert(checkpoint);
        store.abandon_bootstrap(&self.shared.space, takes_back)
    }

    /// The newest checkpoint that enough others vouch for, or that an own device made; where the log is pruned and there
    /// is none of these, the newest: what it stands for is nowhere else any more.
    fn choose(&self, store: &Store, state: &SpaceState, is_pruned: bool) -> Result<Option<Record>, EngineError> {
        let (space, membership) = (&self.shared.space, &state.membership);
        let held: HashMap<StreamId, u32> = store.have(space)?.iter().map(|have| (have.stream, have.tip)).collect();
        let blamed: BTreeSet<RecordId> =
            store.reads().checkpoint_blames(space)?.iter().map(|blame| blame.checkpoint).collect();
        let is_damaged = !store.reads().damaged_documents(space)?.is_empty();
        let records = store.records(space)?;
        let is_good = |record: &&Record| {
            let id = record.id();
            let (lacks, is_new) = behind(record, &held);
            let is_worth_it = is_damaged || is_new || lacks > READ_ENVELOPES_MAX || (is_pruned && lacks > 0);
            let is_here = chunks(record).all(|object| !self.checkpoints.missing.contains(&object));
            is_worth_it && is_here && !self.checkpoints.passed_over.contains(&id)
        };
        let found: Vec<&Record> = checkpoints(membership, &records).into_iter().filter(is_good).collect();
        let is_believed = |id: &RecordId| is_trusted(membership, &self.shared.device, id) && !blamed.contains(id);
        let trusted = found.iter().find(|record| is_believed(&record.id()));
        Ok(trusted.or(found.first().filter(|_| is_pruned)).map(|record| Record::clone(record)))
    }

    /// A chunk or blob part whose id was compared.
    pub(super) fn store_object(&mut self, id: EnvelopeId, bytes: Vec<u8>) -> Result<(), EngineError> {
        let (state, space, size) = (self.shared.state(), self.shared.space, bytes.len());
        let mut store = self.shared.store();
        let begun = store.bootstrap(&space)?.filter(|begun| begun.chunks.contains(&id));
        if let Some(begun) = begun {
            match store.take_chunk(&space, &state.membership, &state.keyring, bytes, wall_ms()) {
                Ok(report) => {
                    let begun = store.bootstrap(&space)?;
                    let (docs, total) = begun.as_ref().map_or((0, 0), |begun| begun.docs);
                    let is_usable = begun.as_ref().is_none_or(|begun| begun.essential == 0);
                    let first = begun.map(|begun| self.awaited_chunks(&store, &begun)).transpose()?.unwrap_or_default();
                    drop(store);
                    if !first.is_empty() {
                        self.answer(Input::ObjectsFirst(first));
                    }
                    tracing::debug!(new = report.new, refused = report.refused, is_usable, "a chunk was taken in");
                    self.tell(Done::Joined { docs, total, is_usable });
                    // So much has changed that it is read anew rather than listed.
                    self.shared.emit(Event::Lagged);
                }
                Err(StoreError::Checkpoint(error)) => {
                    tracing::warn!(%error, "a checkpoint cannot be taken in");
                    self.pass_over(&mut store, begun.checkpoint, true)?;
                }
                Err(error) => return Err(error.into()),
            }
        } else {
            self.checkpoints.came_back.insert(id);
            store.put_given_object(&space, &state.membership, (&id, bytes), self.relay, wall_ms())?;
            drop(store);
            self.part_came(&id)?;
        }
        self.shared.store().keep_partial(&space, &id, 0, &[])?;
        self.tell(Done::Freed { bytes: size });
        self.answer(Input::ObjectStored);
        Ok(())
    }

    /// What is kept here and the relay should have: chunks of checkpoints that count or may come to count, and parts of
    /// attachments that something refers to.
    pub(super) fn objects_kept(&mut self) -> Result<(), EngineError> {
        let (state, space) = (self.shared.state(), &self.shared.space);
        let store = self.shared.store();
        self.attachments.offered = Some(store.parts_mark(space)?);
        let held: BTreeSet<EnvelopeId> = store.objects_kept(space)?.iter().map(|object| object.id).collect();
        let mut ids = Vec::new();
        if !held.is_empty() && state.membership.may_write(&self.shared.device) {
            let records = store.records(space)?;
            let kept = kept(&state.membership, &records);
            let wanted = records.iter().filter(|record| kept.contains(&record.id())).flat_map(named);
            let live = store.reads().live_parts(space, wall_ms())?;
            let wanted = wanted.chain(live).filter(|id| held.contains(id));
            ids = wanted.collect::<BTreeSet<_>>().into_iter().collect();
        }
        self.answer(Input::ObjectsKept(ids));
        Ok(())
    }

    /// Those objects that were asked for in order to compare them, and that this relay does not hold.
    pub(super) fn objects_missing(&mut self, missing: Vec<EnvelopeId>) {
        self.parts_missing(&missing);
        self.checkpoints.missing.extend(missing);
    }

    /// Compares, endorses, makes and forgets; whether something is under way because of it.
    pub(super) fn keep_checkpoints(&mut self) -> Result<bool, EngineError> {
        if !self.caught_up {
            return Ok(false);
        }
        self.follow_records()?;
        upkeep::scrub(self.shared);
        self.take_vouched()?;
        let waits_for_key = self.is_key_of_erasure()?;
        if waits_for_key && self.keep_keys()? {
            return Ok(true);
        }
        let is_fetching = self.fetch_parts()?;
        let asked = !waits_for_key && self.shared.take_compaction();
        // First, so that the checkpoint names what is sealed anew and leaves out what it was.
        if !waits_for_key && self.reseal_parts(asked)? {
            if asked {
                self.shared.ask_for_compaction();
            }
            return Ok(true);
        }
        if self.judge_checkpoints()? || (!waits_for_key && self.make_checkpoint(asked)?) {
            return Ok(true);
        }
        self.shared.forget_pruned(wall_ms())?;
        self.shared.tell_jobs()?;
        Ok(is_fetching)
    }

    /// What a checkpoint names as erased that this device joined by goes once others have vouched for it.
    fn take_vouched(&self) -> Result<(), EngineError> {
        let (state, space) = (self.shared.state(), self.shared.space);
        let mut store = self.shared.store();
        if store.has_unvouched(&space)? {
            let docs = store.take_vouched(&space, (&state.membership, &state.keyring), wall_ms())?;
            drop(store);
            if !docs.is_empty() {
                self.shared.emit(Event::DocumentsChanged { space, docs, origin: Origin::Remote });
            }
        }
        Ok(())
    }

    /// Whether the present key is that under which something was erased: no checkpoint is made under it.
    fn is_key_of_erasure(&self) -> Result<bool, EngineError> {
        let epoch = self.shared.state().membership.current_epoch();
        let erased_under = |epoch| self.shared.store().erased_under(&self.shared.space, &epoch);
        Ok(epoch.map(erased_under).transpose()?.is_some_and(|devices| !devices.is_empty()))
    }

    /// Looks at what others made, and has the last word on the own ones where nobody else is there.
    fn judge_checkpoints(&mut self) -> Result<bool, EngineError> {
        let mut comparing = None;
        loop {
            let (is_moving, is_paused) = self.judge_for_a_while(&mut comparing)?;
            self.shared.tell_jobs()?;
            // An edit gets in between, and then it goes on with the next chunk.
            if is_moving || !is_paused || self.shared.jobs.is_stopped() {
                return Ok(is_moving);
            }
        }
    }

    /// The same until it has held up edits long enough: whether something is under way, and whether there is more.
    fn judge_for_a_while(&mut self, comparing: &mut Option<(Job<'a>, u64)>) -> Result<(bool, bool), EngineError> {
        let (state, space, own) = (self.shared.state(), self.shared.space, self.shared.device);
        let mut store = self.shared.store();
        let records = store.records(&space)?;
        let mut draft = Draft::begin(&state.membership, &records, &state.opened(), &self.shared.keys);
        let (mut wanted, mut is_paused) = (Vec::new(), false);
        let kept = kept(&state.membership, &records);
        for record in checkpoints(&state.membership, &records) {
            let id = record.id();
            let is_own = record.author() == own;
            if !kept.contains(&id) || has_spoken(&records, &own, &id) {
                continue;
            }
            let is_enough = state.membership.checkpoint_standing(&id) == Some(CheckpointStanding::Endorsed);
            if is_own && (is_enough || !is_alone(&state.membership, &own)) {
                continue;
            }
            if store.is_compared(&space, &id)? {
                // Those who vouched for it may have been removed since.
                if !is_enough {
                    endorse(&mut draft, id);
                }
                continue;
            }
            let since = (state.records_changed, store.have(&space)?.iter().map(|have| u64::from(have.tip)).sum());
            if self.checkpoints.behind.get(&id) == Some(&since) {
                continue;
            }
            if is_own {
                // Nobody else can say that the relay gives back what it was given. Parts of attachments are not fetched for
                // that: the device keeps them until it has evicted them, and offers them with every connection.
                let lacking: Vec<_> = chunks(record).filter(|id| !self.checkpoints.came_back.contains(id)).collect();
                if !lacking.is_empty() {
                    wanted.extend(lacking);
                    continue;
                }
            }
            if comparing.is_none() {
                let shared: &'a Shared = self.shared;
                *comparing = shared.begin_job(JobKind::Compare, &store.reads())?.map(|job| (job, 0));
            }
            // It is looked at when background work goes on.
            let Some((job, looked_at)) = comparing else { continue };
            let (keys, begun, all) = ((&state.membership, &state.keyring), Instant::now(), chunks(record).count());
            let mut stop = || {
                let stops = !job.is_at(*looked_at, all as u64) || begun.elapsed() > SLICE;
                *looked_at += u64::from(!stops);
                stops
            };
            match store.compare_checkpoint(&space, record, keys, wall_ms(), &mut stop)? {
                Comparison::Holds => {
                    store.note_compared(&space, &id)?;
                    if !is_enough {
                        endorse(&mut draft, id);
                    }
                }
                Comparison::Behind => drop(self.checkpoints.behind.insert(id, since)),
                Comparison::Paused => is_paused = true,
                Comparison::Lacks(chunks) => wanted.extend(chunks),
                Comparison::Wrong { reason, stream, seq } => {
                    tracing::warn!(reason, "a checkpoint leaves out or adds something: this device objects to it");
                    let object = Body::Object { checkpoint: id, reason, stream, seq };
                    if let Err(error) = draft.add(&object) {
                        tracing::warn!(%error, "a checkpoint cannot be objected to");
                    }
                }
            }
        }
        wanted.retain(|id| !self.checkpoints.missing.contains(id) && self.checkpoints.asked.insert(*id));
        let is_fetching = !wanted.is_empty();
        if is_fetching {
            self.answer(Input::ObjectsWanted(wanted));
        }
        let is_moving = self.publish(&mut store, draft)? || is_fetching;
        Ok((is_moving, is_paused))
    }

    /// Makes a checkpoint if one is due and it is this device's turn, or if somebody asked for one.
    fn make_checkpoint(&mut self, asked: bool) -> Result<bool, EngineError> {
        let (state, space) = (self.shared.state(), self.shared.space);
        if !state.membership.may_write(&self.shared.device) || state.membership.closed.is_some() {
            return Ok(false);
        }
        let store = self.shared.store();
        let is_due = store.checkpoint_due(&space, wall_ms())?;
        let is_urgent = is_due == Some(Due::Erasure) && store.has_told_erasure(&space)?;
        if !asked
            && !is_urgent
            && (is_due.is_none() || !self.is_turn(&store, &state.membership, store.due_since(&space, wall_ms())?)?)
        {
            return Ok(false);
        }
        drop(store);
        let made = match self.draft_checkpoint(&state) {
            Ok(Some(made)) => made,
            Ok(None) => {
                if asked && self.shared.jobs.is_stopped() {
                    self.shared.ask_for_compaction();
                }
                return Ok(false);
            }
            Err(EngineError::Store(error @ StoreError::DocumentTooLarge)) => {
                tracing::warn!(%error, "no checkpoint is made");
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let CheckpointDraft { previous, cut, chunks, blobs, enc_manifest } = made;
        let mut store = self.shared.store();
        self.shared.follow_records(&store)?;
        let (state, records) = (self.shared.state(), store.records(&space)?);
        let mut draft = Draft::begin(&state.membership, &records, &state.opened(), &self.shared.keys);
        if let Err(error) = draft.add(&Body::Checkpoint { previous, cut, chunks, blobs, enc_manifest }) {
            tracing::warn!(%error, "a checkpoint cannot be written");
            return Ok(false);
        }
        store.checkpoint_is_made(&space)?;
        self.answer(Input::ObjectsChanged);
        self.publish(&mut store, draft)
    }

    /// Packs what is held, from one reading of the database, while edits go on.
    fn draft_checkpoint(&self, state: &SpaceState) -> Result<Option<CheckpointDraft>, EngineError> {
        let (space, keys, mut random) = (&self.shared.space, &self.shared.keys, SystemRandom::new());
        let key = match state.seal_key(keys).map_err(EngineError::from) {
            Ok(key) if sealing::check_taken(self.shared, &state.membership, key.epoch()).is_ok() => key,
            _ => return Ok(None),
        };
        let begun = self.shared.begin_job(JobKind::Checkpoint, &self.shared.reader().reads())?;
        let Some(job) = begun else { return Ok(None) };
        let begun = Drafting::begin(self.shared.open_reader()?, space, &state.membership, wall_ms())?;
        let Some(mut drafting) = begun else { return Ok(None) };
        while let Some(chunk) = drafting.next_chunk(keys, &key, &mut random)? {
            self.shared.store().keep_chunk(space, &chunk, wall_ms())?;
            let progress = drafting.progress();
            self.tell(Done::Packed { docs: progress.docs, total: progress.docs_all });
            job.is_at(progress.docs, progress.docs_all);
            self.shared.tell_jobs()?;
            // Chunks that are kept already are used by the next one.
            if self.shared.jobs.is_stopped() {
                return Ok(None);
            }
        }
        let built = drafting.finish(&key, &mut random)?;
        Ok(Some(self.shared.store().keep_draft(space, built, wall_ms())?))
    }

    /// Whether this device comes first today among those that were heard of lately, or has waited long enough since it was
    /// due.
    pub(super) fn is_turn(
        &mut self,
        store: &Store,
        membership: &Membership,
        since_ms: i64,
    ) -> Result<bool, EngineError> {
        let (space, own, now_ms) = (&self.shared.space, self.shared.device, wall_ms());
        let heard = store.reads().heard_devices(space, now_ms.saturating_sub(SEEN_MS_MAX))?;
        let day = now_ms / DAY_MS;
        let first = writers(membership).filter(|device| **device == own || heard.contains(device));
        let is_first = first.min_by_key(|device| turn(device, day)) == Some(&own);
        if !is_first && now_ms.saturating_sub(since_ms) < TURN_MS_MAX {
            return Ok(false);
        }
        if !self.is_patient || is_alone(membership, &own) {
            return Ok(true);
        }
        let spread = SPREAD.mul_f64(random_u64() as f64 / u64::MAX as f64);
        Ok(Instant::now() >= *self.checkpoints.turn_at.get_or_insert_with(|| Instant::now() + spread))
    }
}

impl Shared {
    /// Forgets envelopes below checkpoints that have been endorsed for the grace period by this device's clock, and
    /// objects that no checkpoint names any more. Gives how many envelopes.
    pub(crate) fn forget_pruned(&self, now_ms: i64) -> Result<u64, StoreError> {
        let (state, space) = (self.state(), &self.space);
        let membership = &state.membership;
        if membership.checkpoints.is_empty() {
            return Ok(0);
        }
        let mut store = self.store();
        let records = store.records(space)?;
        // A relay that has not got all of the own stream is waited for, but not for ever: one that comes back later is
        // filled from the checkpoint's floors on.
        let (own, mut relays) = (store.own_tip(space)?.stream, store.relays(space)?);
        relays.retain(|relay| relay.synced_ms.is_some_and(|at| now_ms.saturating_sub(at) < AWAY_MS_MAX));
        let is_with_all = |cut: &[Floor]| {
            let floor = cut.iter().find(|floor| floor.stream == own).map_or(0, |floor| floor.seq);
            relays.iter().all(|relay| relay.own_acked_seq >= floor)
        };
        let mut envelopes = 0;
        for record in checkpoints(membership, &records) {
            let is_endorsed = membership.checkpoint_standing(&record.id()) == Some(CheckpointStanding::Endorsed);
            let since_ms = store.endorsed_since(space, &record.id(), is_endorsed, now_ms)?;
            let is_over = since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= grace_ms(membership));
            if let (true, Body::Checkpoint { cut, .. }) = (is_over, record.body())
                && is_with_all(cut)
            {
                // An edit gets in between two commits of many.
                let mut job = None;
                loop {
                    let (pruned, left) = store.prune_some(space, cut)?;
                    envelopes += pruned.envelopes;
                    if left == 0 {
                        break;
                    }
                    if job.is_none() {
                        job = self.begin_job(JobKind::Prune, &store.reads())?;
                    }
                    let Some(job) = &job else { return Ok(envelopes) };
                    drop(store);
                    job.went(pruned.envelopes, left);
                    self.tell_jobs()?;
                    if self.jobs.is_stopped() {
                        return Ok(envelopes);
                    }
                    store = self.store();
                }
            }
        }
        let kept = kept(membership, &records);
        let names: Vec<_> = records.iter().filter(|record| kept.contains(&record.id())).flat_map(named).collect();
        store.drop_objects(space, &names, now_ms.saturating_sub(UNNAMED_MS_MAX))?;
        Ok(envelopes)
    }
}

/// The newest checkpoint that counts or may come to count; if all are blocked, the newest.
pub(crate) fn newest_checkpoint<'r>(membership: &Membership, records: &'r [Record]) -> Option<&'r Record> {
    let (kept, found) = (kept(membership, records), checkpoints(membership, records));
    found.iter().find(|record| kept.contains(&record.id())).or(found.first()).copied()
}

/// The newest checkpoint with a chunk that a device without a place in a log would begin with: others vouch for it, or an
/// own device made it.
pub(in crate::engine) fn checkpoint_of(
    store: &Store,
    shared: &Shared,
    chunk: &EnvelopeId,
) -> Result<Option<Record>, StoreError> {
    let (state, records) = (shared.state(), store.records(&shared.space)?);
    let found = checkpoints(&state.membership, &records);
    let is_meant = |record: &&&Record| {
        is_trusted(&state.membership, &shared.device, &record.id()) && named(record).any(|id| id == *chunk)
    };
    Ok(found.iter().find(is_meant).map(|record| Record::clone(record)))
}

/// Whether envelopes up to a checkpoint's cut are not held.
pub(in crate::engine) fn is_lacking(store: &Store, space: &SpaceId, record: &Record) -> Result<bool, StoreError> {
    let held = store.have(space)?.iter().map(|have| (have.stream, have.tip)).collect();
    Ok(behind(record, &held).0 > 0)
}

/// Time between endorsement and effect in this space.
pub(crate) fn grace_ms(membership: &Membership) -> i64 {
    i64::from(membership.grace_days()) * DAY_MS
}
