//! Objects, which lie outside streams (protocol §4.2, amendment 4): what is kept here is offered to the relay, what is
//! wanted here is fetched by its id.
//!
//! ```text
//! at rest ─▶ ids of what is kept here ─▶ OFFER ─▶ LACK ─▶ one by one: the store's bytes ─▶ PUSH ─▶ durable
//! wanted  ─▶ WANT, a few on their way ─▶ ITEMS ─▶ id compared ─▶ the store ─▶ all told, with what the relay lacks
//! ```

use std::collections::{HashSet, VecDeque};

use lifeos_sync_protocol::frame::{FEATURE_OBJECTS, Frame, Item, PushResult};
use lifeos_sync_protocol::ids::EnvelopeId;
use lifeos_sync_protocol::limits::FRAME_IDS_MAX;

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

/// State of objects.
#[derive(Debug)]
pub(super) struct Objects {
    is_kept_there: bool,
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
        matches!(self.offer, Offer::Asked(_)) || !self.flight.is_empty() || !self.fetches.is_empty()
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
        while self.objects.fetches.len() + self.objects.stores < FETCHES_MAX
            && let Some(id) = self.objects.wanted.pop_front()
        {
            let want = Frame::Want { session: self.number, ranges: Vec::new(), objects: vec![id] };
            let request = self.ask(&want);
            self.objects.fetches.push_back((request, id, false));
        }
        let is_over = self.objects.wanted.is_empty() && self.objects.fetches.is_empty() && self.objects.stores == 0;
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

    pub(super) const fn handle_object_stored(&mut self) {
        self.objects.stores = self.objects.stores.saturating_sub(1);
    }
}
