//! Objects, which lie outside streams (protocol §4.2, amendment 4): what is kept here is offered to the relay, what is
//! wanted here is fetched by its id.
//!
//! ```text
//! at rest ─▶ ids of what is kept here ─▶ OFFER ─▶ LACK ─▶ one by one: the store's bytes ─▶ PUSH ─▶ durable
//! wanted  ─▶ WANT, a few on their way ─▶ ITEMS ─▶ id compared ─▶ the store ─▶ all told, with what the relay lacks
//!    └ a relay that gives parts: what is held of it ─▶ WANT_REST ─▶ PART, kept one by one ─▶ the last: id compared
//! ```

use std::collections::{HashSet, VecDeque};

use lifeos_sync_protocol::envelope::OVERHEAD_BYTES;
use lifeos_sync_protocol::frame::{FEATURE_OBJECT_PARTS, FEATURE_OBJECTS, Frame, Item, PushResult};
use lifeos_sync_protocol::ids::EnvelopeId;
use lifeos_sync_protocol::limits::{CHUNK_CT_BYTES_MAX, FRAME_IDS_MAX};

use super::pull::id_of;
use super::{Output, Session, SessionError};

/// Objects asked for and not yet on disk: one arrives while the store takes the one before it in.
const FETCHES_MAX: usize = 2;
/// Objects sent and not acknowledged; each may have 4 MiB.
const FLIGHTS_MAX: usize = 2;

/// How far offering has come.
#[derive(Debug, PartialEq, Eq)]
enum Offer {
    /// Not begun.
    Waiting,
    /// The store, for what is kept here.
    Loading,
    /// OFFER with this request.
    Asked(u32),
    /// What the relay lacks is sent.
    Giving,
    /// Nothing more on this connection.
    Done,
}

/// An object that comes in parts.
#[derive(Debug)]
struct Partial {
    id: EnvelopeId,
    /// WANT_REST with this request, once it is known what is held.
    request: Option<u32>,
    /// What has come, with what was held before.
    bytes: Vec<u8>,
    /// Something was held before, whoever gave it.
    is_resumed: bool,
}

impl Partial {
    const fn of(id: EnvelopeId) -> Self {
        Self { id, request: None, bytes: Vec::new(), is_resumed: false }
    }
}

/// State of objects.
#[derive(Debug)]
pub(super) struct Objects {
    is_kept_there: bool,
    gives_parts: bool,
    partials: Vec<Partial>,
    offer: Offer,
    /// More came to be kept here while an offer was under way.
    again: bool,
    offers: VecDeque<Vec<EnvelopeId>>,
    /// What the OFFER that is not answered yet names.
    offered: Vec<EnvelopeId>,
    lacking: VecDeque<EnvelopeId>,
    is_loading: bool,
    flight: VecDeque<(u32, EnvelopeId)>,
    wanted: VecDeque<EnvelopeId>,
    /// Requests with what they ask for, and whether it came.
    fetches: VecDeque<(u32, EnvelopeId, bool)>,
    stores: usize,
    missing: Vec<EnvelopeId>,
    /// Something was wanted and its end was not told.
    is_owed: bool,
}

impl Objects {
    pub(super) const fn new() -> Self {
        Self {
            is_kept_there: false,
            gives_parts: false,
            partials: Vec::new(),
            offer: Offer::Waiting,
            again: false,
            offers: VecDeque::new(),
            offered: Vec::new(),
            lacking: VecDeque::new(),
            is_loading: false,
            flight: VecDeque::new(),
            wanted: VecDeque::new(),
            fetches: VecDeque::new(),
            stores: 0,
            missing: Vec::new(),
            is_owed: false,
        }
    }

    pub(super) const fn note_features(&mut self, features: u64) {
        self.is_kept_there = features & FEATURE_OBJECTS != 0;
        self.gives_parts = features & FEATURE_OBJECT_PARTS != 0;
    }

    /// More is kept here than was offered.
    pub(super) const fn look_again(&mut self) {
        match self.offer {
            Offer::Done => self.offer = Offer::Waiting,
            _ => self.again = true,
        }
    }

    pub(super) fn want(&mut self, ids: Vec<EnvelopeId>) {
        self.is_owed = true;
        match self.is_kept_there {
            true => self.wanted.extend(ids),
            false => self.missing.extend(ids),
        }
    }

    /// These come before the others that were not asked for yet.
    pub(super) fn put_first(&mut self, ids: &[EnvelopeId]) {
        self.wanted.make_contiguous().sort_by_key(|id| !ids.contains(id));
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.offer == Offer::Done && !self.is_owed
    }

    /// Whether an answer of the relay is outstanding.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.offer, Offer::Asked(_))
            || !self.flight.is_empty()
            || !self.fetches.is_empty()
            || self.partials.iter().any(|partial| partial.request.is_some())
    }

    pub(super) fn is_in_flight(&self, request: u32) -> bool {
        self.flight.iter().any(|(sent, _)| *sent == request)
    }

    pub(super) fn is_fetching(&self, request: u32) -> bool {
        self.fetches.iter().any(|(asked, ..)| *asked == request)
    }

    /// The relay has no room or no time: what is left waits for the next connection.
    pub(super) fn give_up(&mut self, request: u32) {
        self.flight.retain(|(sent, _)| *sent != request);
        self.lacking.clear();
        self.offers.clear();
        self.settle();
    }

    fn settle(&mut self) {
        if self.offer == Offer::Giving && self.lacking.is_empty() && !self.is_loading && self.flight.is_empty() {
            let is_again = self.offers.is_empty() && std::mem::take(&mut self.again);
            self.offer = if is_again { Offer::Waiting } else { Offer::Done };
        }
    }
}

impl Session {
    pub(super) fn drive_objects(&mut self) {
        self.drive_fetches();
        let others_rest = self.records.is_quiet() && self.pull.is_quiet() && self.push.is_settled();
        if self.objects.offer == Offer::Waiting && others_rest {
            if self.objects.is_kept_there && !self.push.is_stopped() {
                self.objects.offer = Offer::Loading;
                self.outputs.push_back(Output::LoadObjects);
            } else {
                self.objects.offer = Offer::Done;
            }
        }
        if self.objects.offer != Offer::Giving {
            return;
        }
        // The epoch's record goes before what is sealed under it.
        let has_room = self.records.is_quiet() && self.objects.flight.len() < FLIGHTS_MAX;
        match self.objects.lacking.front().copied().filter(|_| has_room && !self.objects.is_loading) {
            Some(id) => {
                self.objects.is_loading = true;
                self.outputs.push_back(Output::LoadObject(id));
            }
            None if self.objects.lacking.is_empty() && self.objects.flight.is_empty() => self.offer_next(),
            None => {}
        }
    }

    pub(super) fn handle_objects_kept(&mut self, ids: &[EnvelopeId]) {
        if self.objects.offer == Offer::Loading {
            self.objects.offers = ids.chunks(FRAME_IDS_MAX).map(<[EnvelopeId]>::to_vec).collect();
            self.objects.offer = Offer::Giving;
            self.offer_next();
        }
    }

    fn offer_next(&mut self) {
        match self.objects.offers.pop_front() {
            Some(objects) => {
                self.objects.offered.clone_from(&objects);
                self.objects.offer = Offer::Asked(self.ask(&Frame::Offer { session: self.number, objects }));
            }
            None => self.objects.settle(),
        }
    }

    pub(super) fn handle_lack(&mut self, request: u32, objects: Vec<EnvelopeId>) -> Result<(), SessionError> {
        if self.objects.offer != Offer::Asked(request) {
            return Err(SessionError::Misbehaved("a list of objects nobody asked for"));
        }
        let lacks: HashSet<EnvelopeId> = objects.into_iter().collect();
        // Only what was offered is sent, whatever else it names.
        let (lacking, held) = std::mem::take(&mut self.objects.offered).into_iter().partition(|id| lacks.contains(id));
        self.objects.offer = Offer::Giving;
        self.objects.lacking = Vec::clone(&lacking).into();
        self.outputs.push_back(Output::ObjectsHeld { held, lacking });
        Ok(())
    }

    pub(super) fn handle_object(&mut self, id: EnvelopeId, bytes: Option<Vec<u8>>) {
        if !std::mem::take(&mut self.objects.is_loading) {
            return;
        }
        self.objects.lacking.retain(|lacking| *lacking != id);
        if let Some(bytes) = bytes {
            let request = self.ask(&Frame::Push { session: self.number, envelopes: vec![bytes] });
            self.objects.flight.push_back((request, id));
        }
        self.objects.settle();
    }

    pub(super) fn handle_object_ack(&mut self, request: u32, results: &[PushResult]) -> Result<(), SessionError> {
        let [result] = results else {
            return Err(SessionError::Misbehaved("an acknowledgement that fits nothing sent"));
        };
        match result.status {
            status if status.is_stored() => {
                let is_this = |(sent, _): &(u32, EnvelopeId)| *sent == request;
                let held = self.objects.flight.iter().filter(|sent| is_this(sent)).map(|(_, id)| *id).collect();
                self.objects.flight.retain(|sent| !is_this(sent));
                self.outputs.push_back(Output::ObjectGiven);
                self.outputs.push_back(Output::ObjectsHeld { held, lacking: Vec::new() });
                self.objects.settle();
            }
            status => {
                self.objects.give_up(request);
                self.outputs.push_back(Output::ObjectsRefused(status));
            }
        }
        Ok(())
    }

    fn drive_fetches(&mut self) {
        while self.objects.fetches.len() + self.objects.partials.len() + self.objects.stores < FETCHES_MAX
            && let Some(id) = self.objects.wanted.pop_front()
        {
            if self.objects.gives_parts {
                self.objects.partials.push(Partial::of(id));
                self.outputs.push_back(Output::LoadPartial(id));
                continue;
            }
            let want = Frame::Want { session: self.number, ranges: Vec::new(), objects: vec![id] };
            let request = self.ask(&want);
            self.objects.fetches.push_back((request, id, false));
        }
        let is_over = self.objects.wanted.is_empty()
            && self.objects.fetches.is_empty()
            && self.objects.partials.is_empty()
            && self.objects.stores == 0;
        if is_over && std::mem::take(&mut self.objects.is_owed) {
            let missing = std::mem::take(&mut self.objects.missing);
            if !self.bootstrap_goes_on(&missing) {
                self.outputs.push_back(Output::ObjectsFetched { missing });
            }
        }
    }

    pub(super) fn handle_fetched(&mut self, request: u32, items: Vec<Item>, more: bool) -> Result<(), SessionError> {
        let unasked = SessionError::Misbehaved("an object nobody asked for");
        let Some((at, (_, id, came))) = self.objects.fetches.iter_mut().enumerate().find(|(_, f)| f.0 == request)
        else {
            return Err(unasked);
        };
        let mut fetched = None;
        for item in items {
            if *came || fetched.is_some() || id_of(&self.space, &item.envelope) != *id {
                return Err(unasked);
            }
            fetched = Some(item.envelope);
        }
        *came |= fetched.is_some();
        if let Some(bytes) = fetched {
            self.objects.stores += 1;
            self.outputs.push_back(Output::StoreObject(*id, bytes));
        }
        if !more
            && let Some((_, id, came)) = self.objects.fetches.remove(at)
            && !came
        {
            self.objects.missing.push(id);
        }
        Ok(())
    }

    /// The rest of an object is asked for.
    pub(super) fn handle_partial(&mut self, id: EnvelopeId, bytes: Vec<u8>) {
        let is_asked = |partial: &Partial| partial.id == id && partial.request.is_none();
        let Some(at) = self.objects.partials.iter().position(is_asked) else { return };
        let from = u32::try_from(bytes.len()).unwrap_or(0);
        let request = self.ask(&Frame::WantRest { session: self.number, object: id, from });
        if let Some(partial) = self.objects.partials.get_mut(at) {
            (partial.request, partial.is_resumed, partial.bytes) = (Some(request), from > 0, bytes);
        }
    }

    pub(super) fn handle_part(
        &mut self,
        request: u32,
        (total, from, more): (u32, u32, bool),
        bytes: Vec<u8>,
    ) -> Result<(), SessionError> {
        let unasked = SessionError::Misbehaved("a part of an object that nobody asked for");
        let Some(at) = self.objects.partials.iter().position(|partial| partial.request == Some(request)) else {
            return Err(unasked);
        };
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        let (held, id) = self.objects.partials.get(at).map_or((0, EnvelopeId::ZERO), |of| (of.bytes.len(), of.id));
        if total == 0 && !more && bytes.is_empty() {
            self.objects.partials.swap_remove(at);
            self.objects.missing.push(id);
            return Ok(());
        }
        let end = held.saturating_add(bytes.len());
        let is_next = size(from) == held && size(total) <= CHUNK_CT_BYTES_MAX + OVERHEAD_BYTES;
        let is_sized = if more { !bytes.is_empty() && end < size(total) } else { end == size(total) };
        if !is_next || !is_sized {
            // What was held before may be of another length than the object is.
            return self.begin_again(at, unasked);
        }
        if let Some(partial) = self.objects.partials.get_mut(at) {
            partial.bytes.extend_from_slice(&bytes);
        }
        if more {
            // The answer goes on: what is late is counted from here.
            self.asked_ms = Some(self.now_ms);
            self.outputs.push_back(Output::KeepPartial { id, from, bytes });
            return Ok(());
        }
        let is_it = self.objects.partials.get(at).is_some_and(|partial| id_of(&self.space, &partial.bytes) == id);
        if !is_it {
            return self.begin_again(at, SessionError::Misbehaved("an object nobody asked for"));
        }
        let whole = self.objects.partials.swap_remove(at).bytes;
        self.objects.stores += 1;
        self.outputs.push_back(Output::StoreObject(id, whole));
        Ok(())
    }

    /// What was held before may come from another relay, and be wrong: without it this one is asked for all, once, and
    /// answers for that.
    fn begin_again(&mut self, at: usize, otherwise: SessionError) -> Result<(), SessionError> {
        let Partial { id, is_resumed, .. } = self.objects.partials.swap_remove(at);
        if !is_resumed {
            return Err(otherwise);
        }
        self.outputs.push_back(Output::KeepPartial { id, from: 0, bytes: Vec::new() });
        self.objects.partials.push(Partial::of(id));
        self.handle_partial(id, Vec::new());
        Ok(())
    }

    pub(super) const fn handle_object_stored(&mut self) {
        self.objects.stores = self.objects.stores.saturating_sub(1);
    }
}
