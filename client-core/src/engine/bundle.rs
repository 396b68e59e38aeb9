//! Bundles: the same records and envelopes as through a relay, out of and into a file.
//!
//! ```text
//! export: seal what waits ─▶ HAVE ─▶ records ─▶ the chunks that stand for what is pruned and the reader lacks
//!         ─▶ stream by stream, in pages that end at a good signature ─▶ parts of attachments, if asked for
//! import: records, judged as a relay's ─▶ chunks, taken in as a relay's ─▶ pages, received as a relay's ─▶ parts that
//!         something refers to and that are not here ─▶ the next sync gives them to the relays
//! ```
//! A relay checks what it gives out, so what fails there is its fault and ends the connection. A file was checked by
//! nobody: what fails is passed over and what is sound goes on. Nothing of it is set aside that its author did not sign,
//! or anybody could fill this home with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};

use lifeos_sync_protocol::envelope::{Envelope, Header, Kind};
use lifeos_sync_protocol::frame::{Have, Item};
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::limits::{FRAME_ENVELOPES_MAX, PAGE_ENVELOPES_MAX};
use lifeos_sync_protocol::membership::{CheckpointStanding, Membership};
use lifeos_sync_protocol::record::{Body, Record};

use super::worker::checkpoints::{checkpoint_of, is_lacking};
use super::{EngineError, Shared, sealing, wall_ms};
use crate::bundle::{BundleReader, BundleWriter, Part};
use crate::envelope::{SealedEnvelope, find_author};
use crate::event::Event;
use crate::keys::KeyFault;
use crate::store::{CarriedStream, Page, StoreError, Unknown};
use crate::witness::Rolls;

/// Bytes of envelopes in one ITEMS; a run without a good signature at its end takes more.
const PAGE_BYTES: usize = 256 * 1024;
/// Largest page, which leaves room in a frame.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of records that are judged together.
const RECORDS_BYTES: usize = 8 * 1024 * 1024;

/// What the reader of a bundle holds already.
#[derive(Debug, Clone)]
pub(crate) enum Base {
    /// Nothing.
    Nothing,
    /// What an earlier bundle went to, and the parts of attachments in it.
    Earlier(Vec<Have>, BTreeSet<EnvelopeId>),
    /// What this device has confirmed.
    Confirmed(SignPk),
}

/// What went into a bundle.
#[derive(Debug)]
pub(crate) struct Exported {
    pub(crate) records: u64,
    pub(crate) envelopes: u64,
    /// Envelopes that were left out because the reader holds them.
    pub(crate) left_out: u64,
    /// Chunks of a checkpoint, which stand for edits that are gone from here and that the reader may lack.
    pub(crate) chunks: u64,
    /// Parts of attachments.
    pub(crate) parts: u64,
    /// Parts that something refers to and that are not here.
    pub(crate) parts_away: u64,
    /// Why edits of this device were not sealed and are not in it.
    pub(crate) unsealed: Option<EngineError>,
    pub(crate) bytes: u64,
}

/// What came out of a bundle.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    pub(crate) records: u64,
    pub(crate) received: u64,
    pub(crate) duplicates: u64,
    pub(crate) changed: BTreeSet<DocId>,
    /// Documents that came with a checkpoint and were new.
    pub(crate) joined: u64,
    pub(crate) quarantined: u64,
    /// Parts of attachments that were not here.
    pub(crate) parts: u64,
    /// Records and envelopes that prove nothing, or whose predecessors are not here.
    pub(crate) passed_over: u64,
}

/// Writes a bundle of the space, with the parts of attachments that are here or without; blocking. `step` gets the
/// envelopes and parts written so far and how many there are.
///
/// # Errors
/// [`EngineError`]; what was sealed stays sealed.
pub(crate) fn export_bundle<W: Write>(
    shared: &Shared,
    out: W,
    (base, has_attachments): (&Base, bool),
    step: &mut dyn FnMut(u64, u64),
) -> Result<(W, Exported), EngineError> {
    let _lock = shared.lock.acquire(shared.space)?;
    if shared.follow_records(&shared.store())? {
        shared.retry_quarantined()?;
    }
    check_in_force(shared)?;
    hand_on_records(shared)?;
    let unsealed = seal(shared)?;
    let records = shared.store().records(&shared.space)?;
    let (streams, held) = carried(shared, base)?;
    let chunks = chunks(shared, base, &streams, &held, &records)?;
    let floors = above_floors(shared, &streams, &held)?;
    let have = |(carried, floor): (&CarriedStream, &u32)| Have {
        stream: carried.stream,
        floor: *floor,
        tip: carried.tip,
        tip_id: carried.tip_id.0.first_chunk().copied().unwrap_or_default(),
        holes: Vec::new(),
    };
    let mut haves: Vec<Have> = streams.iter().zip(&floors).map(have).collect();
    // Nothing is left to carry of these: what stands for them is in the chunks, or with the reader.
    let is_pruned = |have: &Have| have.floor == have.tip && !streams.iter().any(|at| at.stream == have.stream);
    haves.extend(shared.store().have(&shared.space)?.into_iter().filter(is_pruned));
    haves.sort_by_key(|have| have.stream);
    let left_out = held.iter().map(|held| u64::from(*held)).sum();
    let (parts, parts_away) = if has_attachments { parts(shared, base)? } else { Default::default() };
    let total = streams.iter().zip(&floors).map(|(carried, floor)| u64::from(carried.tip - floor)).sum::<u64>()
        + parts.len() as u64;
    let mut writer = BundleWriter::begin(out, &shared.space, haves)?;
    let count = records.len() as u64;
    writer.records(records.into_iter().map(|record| record.bytes().to_vec()))?;
    for chunk in &chunks {
        let bytes = shared.store().object(&shared.space, chunk)?;
        writer.envelopes(vec![bytes.ok_or(StoreError::NoCheckpoint)?])?;
    }
    let mut envelopes = 0;
    for (carried, floor) in streams.iter().zip(&floors) {
        let mut after = *floor;
        while after < carried.tip {
            let page = page(shared, carried, after)?;
            after += u32::try_from(page.len()).unwrap_or(u32::MAX);
            envelopes += page.len() as u64;
            writer.envelopes(page.into_iter().map(|envelope| envelope.bytes).collect())?;
            step(envelopes, total);
        }
    }
    let mut written = 0;
    for part in &parts {
        // It may have been dropped meanwhile.
        let Some(bytes) = shared.store().object(&shared.space, part)? else { continue };
        writer.envelopes(vec![bytes])?;
        written += 1;
        step(envelopes + written, total);
    }
    let (out, bytes) = writer.finish()?;
    let chunks = chunks.len() as u64;
    let exported =
        Exported { records: count, envelopes, left_out, chunks, parts: written, parts_away, unsealed, bytes };
    Ok((out, exported))
}

/// Parts that something refers to, that are here and that the reader may lack; and how many are not here.
fn parts(shared: &Shared, base: &Base) -> Result<(Vec<EnvelopeId>, u64), StoreError> {
    let store = shared.store();
    let live = Vec::from_iter(store.reads().live_parts(&shared.space, wall_ms())?);
    let away = BTreeSet::from_iter(store.objects_lacking(&shared.space, &live)?);
    let is_with_reader = |part: &EnvelopeId| matches!(base, Base::Earlier(_, parts) if parts.contains(part));
    let carried = live.into_iter().filter(|part| !away.contains(part) && !is_with_reader(part)).collect();
    Ok((carried, away.len() as u64))
}

/// Who is not in the space, or no more, hands nothing on and takes nothing in, as at a relay.
fn check_in_force(shared: &Shared) -> Result<(), KeyFault> {
    match shared.state().membership.devices.get(&shared.device) {
        None => Err(KeyFault::NotEnrolled),
        Some(device) if device.removed_by.is_some() => Err(KeyFault::Removed),
        Some(_) => Ok(()),
    }
}

/// Records that leave in a bundle are not taken back any more, whatever a relay says of them later.
fn hand_on_records(shared: &Shared) -> Result<(), StoreError> {
    let (mut store, space) = (shared.store(), &shared.space);
    let untaken = Vec::from_iter(store.untaken_records(space)?);
    if untaken.is_empty() { Ok(()) } else { store.records_taken(space, &untaken) }
}

/// Seals what waits; why not, if only that does not go.
fn seal(shared: &Shared) -> Result<Option<EngineError>, EngineError> {
    if let Some(left) = sealing::leave_stream(shared)? {
        shared.announce(&left);
    }
    match sealing::seal_pending(shared) {
        Ok(_) => Ok(None),
        Err(error @ (EngineError::Key(_) | EngineError::Store(StoreError::StreamForked))) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

/// Every stream, and how far the reader holds it.
fn carried(shared: &Shared, base: &Base) -> Result<(Vec<CarriedStream>, Vec<u32>), StoreError> {
    let (store, space) = (shared.store(), &shared.space);
    let reads = store.reads();
    let streams = reads.carried_streams(space)?;
    let floors = match base {
        Base::Nothing => vec![0; streams.len()],
        Base::Confirmed(device) => {
            let confirmed = reads.confirmed_by(space, device)?;
            let floor = |carried: &CarriedStream| {
                let said = confirmed.get(&carried.stream).copied().unwrap_or(0);
                // It wrote its own.
                if carried.device == *device { carried.tip } else { said.min(carried.tip) }
            };
            streams.iter().map(floor).collect()
        }
        Base::Earlier(earlier, _) => {
            let earlier: BTreeMap<StreamId, &Have> = earlier.iter().map(|have| (have.stream, have)).collect();
            let mut floors = Vec::new();
            for carried in &streams {
                floors.push(match earlier.get(&carried.stream) {
                    Some(have) if have.tip > carried.tip => carried.tip,
                    Some(have) => {
                        let held = reads.envelope_id(space, &carried.stream, have.tip)?;
                        // Of a stream that was written twice, the earlier one may hold the other branch.
                        held.filter(|id| id.0.starts_with(&have.tip_id)).map_or(0, |_| have.tip)
                    }
                    None => 0,
                });
            }
            floors
        }
    };
    Ok((streams, floors))
}

/// What lies below the floors here is gone: of each stream, where it goes on.
fn above_floors(shared: &Shared, streams: &[CarriedStream], held: &[u32]) -> Result<Vec<u32>, StoreError> {
    let store = shared.store();
    let floor = |(carried, held): (&CarriedStream, &u32)| {
        Ok(store.reads().floor_of(&shared.space, &carried.stream)?.min(carried.tip).max(*held))
    };
    streams.iter().zip(held).map(floor).collect()
}

/// The chunks of the newest checkpoint that stands for everything pruned here, if the reader may lack some of that.
fn chunks(
    shared: &Shared,
    base: &Base,
    streams: &[CarriedStream],
    held: &[u32],
    records: &[Record],
) -> Result<Vec<EnvelopeId>, StoreError> {
    let (store, space, state) = (shared.store(), &shared.space, shared.state());
    let pruned: Vec<Have> = store.have(space)?.into_iter().filter(|have| have.floor > 0).collect();
    let confirmed = match base {
        Base::Confirmed(device) => store.reads().confirmed_by(space, device)?,
        _ => BTreeMap::new(),
    };
    let reached = |stream: &StreamId| match (streams.iter().position(|carried| carried.stream == *stream), base) {
        (Some(at), _) => held.get(at).copied().unwrap_or(0),
        // All of it is pruned.
        (None, Base::Earlier(earlier, _)) => {
            earlier.iter().find(|have| have.stream == *stream).map_or(0, |have| have.tip)
        }
        (None, _) => confirmed.get(stream).copied().unwrap_or(0),
    };
    if pruned.iter().all(|have| reached(&have.stream) >= have.floor) {
        return Ok(Vec::new());
    }
    let stands_for_all = |record: &&Record| match record.body() {
        Body::Checkpoint { cut, chunks, .. } => {
            let reaches = |have: &Have| cut.iter().any(|at| at.stream == have.stream && at.seq >= have.floor);
            state.membership.checkpoint_standing(&record.id()) == Some(CheckpointStanding::Endorsed)
                && pruned.iter().all(reaches)
                && store.objects_lacking(space, chunks).is_ok_and(|lacking| lacking.is_empty())
        }
        _ => false,
    };
    let newest = records.iter().filter(stands_for_all).max_by_key(|record| record.order());
    match newest.map(Record::body) {
        Some(Body::Checkpoint { chunks, .. }) => Ok(chunks.clone()),
        _ => Err(StoreError::NoCheckpoint),
    }
}

/// The next envelopes of a stream, up to one whose own signature is good: what lies before such a one is vouched for.
fn page(shared: &Shared, carried: &CarriedStream, after: u32) -> Result<Vec<SealedEnvelope>, StoreError> {
    let mut page: Vec<SealedEnvelope> = Vec::new();
    let mut bytes = 0;
    loop {
        let from = page.last().map_or(after, |last| last.seq).saturating_add(1);
        let range = (from, carried.tip);
        let more = shared.store().envelopes(&shared.space, &carried.stream, range, PAGE_BYTES, FRAME_ENVELOPES_MAX)?;
        if more.is_empty() || !more.iter().zip(from..).all(|(envelope, seq)| envelope.seq == seq) {
            return Err(StoreError::Corrupt { what: "a stream with a hole" });
        }
        bytes += more.iter().map(|envelope| envelope.bytes.len()).sum::<usize>();
        page.extend(more);
        let last = page.last().map_or(carried.tip, |last| last.seq);
        let is_full = page.len() > PAGE_ENVELOPES_MAX - FRAME_ENVELOPES_MAX || bytes > PAGE_BYTES_MAX;
        if last >= carried.tip || is_full || page.last().is_some_and(|last| is_signed(shared, last, &carried.device)) {
            return Ok(page);
        }
    }
}

fn is_signed(shared: &Shared, sealed: &SealedEnvelope, device: &SignPk) -> bool {
    let envelope = Envelope::parse(sealed.bytes.clone());
    envelope.is_ok_and(|envelope| envelope.verify_signature(&shared.space, device).is_ok())
}

/// Takes a bundle of the space in; blocking. `step` gets the bytes read so far.
///
/// # Errors
/// [`EngineError`]; what was taken in until then stays. [`EngineError::Bundle`] comes after everything sound was.
pub(crate) fn import_bundle<R: Read>(
    shared: &Shared,
    mut bundle: BundleReader<R>,
    step: &mut dyn FnMut(u64),
) -> Result<Imported, EngineError> {
    let _lock = shared.lock.acquire(shared.space)?;
    let done = Imported::default();
    let mut import = Import { shared, streams: HashMap::new(), records: Vec::new(), live: None, done };
    import.follow_records()?;
    import.know_streams()?;
    let ended = loop {
        match bundle.next_part() {
            Ok(Some(Part::Records(records))) => import.gather(records)?,
            Ok(Some(Part::Envelopes(envelopes))) => {
                import.take_records()?;
                import.take(envelopes)?;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
        step(bundle.bytes());
    };
    import.take_records()?;
    let done = import.done;
    if done.received + done.parts > 0 {
        shared.news.send_modify(|count| *count += done.received);
    }
    ended.map(|()| done).map_err(EngineError::from)
}

/// How far a stream got, and who writes it.
#[derive(Debug, Clone, Copy)]
struct Reached {
    seq: u32,
    device: SignPk,
}

struct Import<'a> {
    shared: &'a Shared,
    /// What is held and what this import brought, set aside or not.
    streams: HashMap<StreamId, Reached>,
    /// Not judged yet.
    records: Vec<Vec<u8>>,
    /// Parts that something refers to, and how much had come when that was looked up.
    live: Option<(u64, BTreeSet<EnvelopeId>)>,
    done: Imported,
}

impl Import<'_> {
    /// The streams as they are stored.
    fn know_streams(&mut self) -> Result<(), StoreError> {
        let tips = self.shared.store().reads().tips(&self.shared.space)?;
        self.streams.extend(tips.iter().map(|tip| (tip.stream, Reached { seq: tip.seq, device: tip.device })));
        Ok(())
    }

    fn gather(&mut self, records: Vec<Vec<u8>>) -> Result<(), EngineError> {
        self.records.extend(records);
        let bytes: usize = self.records.iter().map(Vec::len).sum();
        if bytes > RECORDS_BYTES { self.take_records() } else { Ok(()) }
    }

    /// What does not parse, or is another space's, is passed over; the rest is judged as a relay's.
    fn take_records(&mut self) -> Result<(), EngineError> {
        let (space, given) = (self.shared.space, std::mem::take(&mut self.records));
        let count = given.len();
        let parsed: Vec<Record> = given
            .into_iter()
            .filter_map(|bytes| Record::parse(bytes).ok())
            .filter(|record| record.space() == space)
            .collect();
        self.done.passed_over += (count - parsed.len()) as u64;
        if !parsed.is_empty() {
            self.done.records += self.shared.store().receive_records(&space, &parsed)? as u64;
            self.follow_records()?;
        }
        Ok(())
    }

    /// Members and keys as the records say; what waited for them is tried again.
    fn follow_records(&self) -> Result<(), EngineError> {
        let is_news = self.shared.follow_records(&self.shared.store())?;
        if is_news {
            self.shared.retry_quarantined()?;
        }
        Ok(check_in_force(self.shared)?)
    }

    fn take(&mut self, envelopes: Vec<Vec<u8>>) -> Result<(), EngineError> {
        let (count, state) = (envelopes.len(), self.shared.state());
        let (mut fitting, mut ahead, mut chunks, mut parts) = (Vec::new(), HashMap::new(), 0, 0);
        for envelope in envelopes.into_iter().filter_map(|bytes| Envelope::parse(bytes).ok()) {
            if envelope.header().kind == Kind::Chunk {
                chunks += usize::from(self.take_chunk(envelope)?);
                continue;
            }
            if envelope.header().kind == Kind::BlobPart {
                parts += usize::from(self.take_attached(envelope)?);
                continue;
            }
            if let Some(reached) = self.place(&state.membership, &ahead, envelope.header()) {
                ahead.insert(envelope.header().stream, reached);
                fitting.push(envelope);
            }
        }
        self.done.passed_over += (count - fitting.len() - chunks - parts) as u64;
        if fitting.is_empty() || self.receive(&fitting, &ahead)? {
            return Ok(());
        }
        let mut taken = 0;
        for run in runs(&self.shared.space, &fitting, &ahead) {
            let Some(reached) = self.place_run(&state.membership, run) else { continue };
            taken += match run {
                _ if self.receive(run, &reached)? => run.len(),
                // One before it is another than is held here; its end may fit all the same.
                [.., last] if run.len() > 1 && self.receive(std::slice::from_ref(last), &reached)? => 1,
                _ => 0,
            };
        }
        self.done.passed_over += (fitting.len() - taken) as u64;
        Ok(())
    }

    /// Takes a chunk in, of a checkpoint that this device would begin with at a relay; false: it is passed over.
    fn take_chunk(&mut self, chunk: Envelope) -> Result<bool, EngineError> {
        let (space, state) = (self.shared.space, self.shared.state());
        let keys = (&state.membership, &state.keyring);
        let mut store = self.shared.store();
        let Some(record) = checkpoint_of(&store, self.shared, &chunk.id(&space))? else { return Ok(false) };
        if !is_lacking(&store, &space, &record)? {
            self.done.duplicates += 1;
            return Ok(true);
        }
        let begun = store.begin_bootstrap(&space, &record, keys.0, keys.1);
        let taken = begun.and_then(|()| store.take_chunk(&space, keys.0, keys.1, chunk.bytes().to_vec(), wall_ms()));
        match taken {
            Ok(report) => {
                self.done.joined += report.new;
                self.done.changed.extend(report.changed);
            }
            Err(StoreError::Checkpoint(_) | StoreError::PeerMisbehaved { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if store.bootstrap(&space)?.is_some_and(|begun| begun.chunks.is_empty()) {
            let report = store.finish_bootstrap(&space, keys.0, keys.1, wall_ms())?;
            drop(store);
            self.shared.announce(&report);
            self.shared.emit(Event::Lagged);
            self.know_streams()?;
        }
        Ok(true)
    }

    /// Keeps a part of an attachment that something here refers to; false: it is passed over. Nobody fills a home with
    /// what no note attaches.
    fn take_attached(&mut self, part: Envelope) -> Result<bool, EngineError> {
        let (space, came, now_ms) = (self.shared.space, self.done.received + self.done.joined, wall_ms());
        let mut store = self.shared.store();
        if self.live.as_ref().is_none_or(|(known, _)| *known != came) {
            self.live = Some((came, store.reads().live_parts(&space, now_ms)?));
        }
        let id = part.id(&space);
        if !self.live.as_ref().is_some_and(|(_, live)| live.contains(&id)) {
            return Ok(false);
        }
        if store.objects_lacking(&space, &[id])?.is_empty() {
            self.done.duplicates += 1;
            return Ok(true);
        }
        match store.put_object(&space, &self.shared.state().membership, &id, part.bytes().to_vec(), now_ms) {
            Ok(()) => {
                self.done.parts += 1;
                Ok(true)
            }
            Err(StoreError::PeerMisbehaved { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// How far its stream gets with an envelope; nothing if no enrolled device writes it or those before it are not here.
    fn place(&self, membership: &Membership, ahead: &HashMap<StreamId, Reached>, header: &Header) -> Option<Reached> {
        if header.kind != Kind::Delta {
            return None;
        }
        match ahead.get(&header.stream).or_else(|| self.streams.get(&header.stream)) {
            Some(at) if header.seq <= at.seq => Some(*at),
            Some(at) => (header.seq == at.seq.checked_add(1)?).then_some(Reached { seq: header.seq, ..*at }),
            None => {
                let device = find_author(&self.shared.space, membership, header).ok()?;
                Some(Reached { seq: header.seq, device })
            }
        }
    }

    /// The same for envelopes of one stream that follow each other.
    fn place_run(&self, membership: &Membership, run: &[Envelope]) -> Option<HashMap<StreamId, Reached>> {
        let mut ahead = HashMap::new();
        for envelope in run {
            let reached = self.place(membership, &ahead, envelope.header())?;
            ahead.insert(envelope.header().stream, reached);
        }
        Some(ahead)
    }

    /// Gives a page to the store, where its streams get as far as `reached`; false if it was refused as a whole.
    fn receive(&mut self, page: &[Envelope], reached: &HashMap<StreamId, Reached>) -> Result<bool, EngineError> {
        let item = |envelope: &Envelope| Item { pos: 0, envelope: envelope.bytes().to_vec() };
        let page = Page { relay: None, items: page.iter().map(item).collect(), next: None, rolls: Rolls::default() };
        let (space, state) = (&self.shared.space, self.shared.state());
        let records = (&state.membership, &state.keyring);
        let received = self.shared.store().receive(space, page, records.0, records.1, Unknown::Quarantine, wall_ms());
        let report = match received {
            Err(StoreError::PeerMisbehaved { .. }) => return Ok(false),
            report => report?,
        };
        self.shared.announce(&report);
        self.streams.extend(reached);
        self.done.received += report.received;
        self.done.duplicates += report.duplicates;
        self.done.quarantined += report.quarantined.len() as u64;
        self.done.changed.extend(report.changed);
        Ok(true)
    }
}

/// The envelopes in runs, each of one stream and ending at one whose own signature is good; what nobody signed is left
/// out.
fn runs<'e>(space: &SpaceId, envelopes: &'e [Envelope], reached: &HashMap<StreamId, Reached>) -> Vec<&'e [Envelope]> {
    let mut runs = Vec::new();
    for stream in envelopes.chunk_by(|one, next| one.header().stream == next.header().stream) {
        let device = stream.first().and_then(|first| reached.get(&first.header().stream)).map(|at| at.device);
        let Some(device) = device else { continue };
        let mut begin = 0;
        for (at, envelope) in stream.iter().enumerate() {
            if envelope.verify_signature(space, &device).is_ok() {
                runs.push(&stream[begin..=at]);
                begin = at + 1;
            }
        }
    }
    runs
}
