//! One run of the recovery machine, as a function of what it was given.

use std::collections::BTreeMap;
use std::rc::Rc;

use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::SpaceId;
use lifeos_sync_protocol::record::Record;

use super::{Stage, ids};
use crate::crypto::SeededRandom;
use crate::recovery::{Recovery, RecoveryError, RecoveryStep};

/// One run of the machine.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) boot: usize,
    /// Whose root lay on the disk.
    pub(super) resumed: Option<usize>,
    /// The home was begun in this run.
    begun: bool,
    pub(super) machine: Rc<Recovery>,
    /// What it does next.
    pub(super) step: Option<RecoveryStep>,
}

pub(super) enum Given {
    Words,
    Listed(SpaceId),
    Fetched(Vec<Record>),
    Checked,
    HomeBegun,
    ContentHeld,
    Published(Vec<Record>),
    Refused(Vec<Record>),
    Finished,
}

impl Given {
    /// Also the order of records: that it does not matter is for the machine to show.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (kind, space, records): (u8, Option<&SpaceId>, &[Record]) = match self {
            Self::Words => (0, None, &[]),
            Self::Listed(space) => (1, Some(space), &[]),
            Self::Fetched(records) => (2, None, records),
            Self::Checked => (3, None, &[]),
            Self::HomeBegun => (4, None, &[]),
            Self::ContentHeld => (5, None, &[]),
            Self::Published(records) => (6, None, records),
            Self::Refused(records) => (7, None, records),
            Self::Finished => (8, None, &[]),
        };
        let mut out = vec![kind];
        out.extend(space.iter().flat_map(|space| space.0));
        records.iter().for_each(|record| out.extend_from_slice(&record.id().0));
        out
    }
}

impl Run {
    pub(super) fn start(boot: usize, resumed: Option<usize>, stage: &Stage) -> Self {
        let machine = stage.machine(boot, resumed);
        Self { boot, resumed, begun: false, machine: Rc::new(machine), step: Some(RecoveryStep::AskWords) }
    }

    /// The run after one thing more, or the error it ends with.
    pub(super) fn after(&self, given: Given, stage: &Stage) -> Result<Self, RecoveryError> {
        let mut machine = Recovery::clone(&self.machine);
        let begun = self.begun || matches!(given, Given::HomeBegun);
        let taken = match given {
            Given::Words => machine.words(&stage.phrase),
            Given::Listed(space) => machine.listed(&[space]),
            Given::Fetched(records) => machine.fetched(records),
            Given::Checked => machine.check(),
            Given::HomeBegun => machine.home_begun(),
            Given::ContentHeld => machine.content_held(BTreeMap::new()),
            Given::Published(records) => machine.published(records),
            Given::Refused(records) => machine.refused(records),
            Given::Finished => machine.finished(),
        };
        taken?;
        let mut next = Self { boot: self.boot, resumed: self.resumed, begun, machine: Rc::new(machine), step: None };
        let seed = sha256("explore", &[&next.known()]);
        let mut random = SeededRandom::new(u64::from_be_bytes(seed[..8].try_into().unwrap()));
        next.step = next.machine.poll(&mut random).ok();
        Ok(next)
    }

    /// What the machine goes by. Its randomness follows from it: every boot draws anew, and so does a push on top of
    /// other records; the same push tried again is the same bytes.
    fn known(&self) -> Vec<u8> {
        let at = |at: usize| u8::try_from(at).unwrap();
        let machine = &self.machine;
        let mut out = vec![at(self.boot), self.resumed.map_or(0xff, at), machine.state() as u8, u8::from(self.begun)];
        out.extend(machine.space().map_or([0; 32], |space| space.0));
        ids(machine.records(), &mut out);
        out
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        [&self.known()[..], &[u8::try_from(self.machine.attempts()).unwrap()]].concat()
    }
}

/// What a person reads when a run ends has to tell them what to do.
pub(super) fn tells_what_to_do(error: &RecoveryError) -> bool {
    let text = error.to_string();
    let advice = ["check", "type that one", "ask ", "use the newest", "again", "first"];
    matches!(error, RecoveryError::Records(_)) || advice.iter().any(|advice| text.contains(advice))
}
