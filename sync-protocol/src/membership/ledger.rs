//! The records of one space, judged as they arrive.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

use super::check::{Fact, Past, check};
use super::pass;
use super::standing::Standing;
use super::{Membership, MembershipError, VoidReason, epoch_ref_of, view};
use crate::dag::{Dag, IndexSet};
use crate::ids::{EpochRef, HpkePk, RecordId, SignPk, SpaceId};
use crate::limits::SPACE_RECORDS_MAX;
use crate::record::{Body, Floor, Record};

/// Standings at recent pasts that are kept, because the next records will mostly follow one of them.
const STANDINGS_MAX: usize = 8;
/// A standing with more devices than this is changed in place instead of copied.
const COPIED_DEVICES_MAX: usize = 512;

/// The records of one space with every record's verdict in its own past, which never changes again: adding one
/// costs about as much as its signature, whatever is there already, unless it joins branches that move people.
///
/// Records go in with their parents first. Memory is one bit for every pair of records, and the records.
#[derive(Debug, Clone)]
pub struct Ledger<R> {
    pub(super) space: SpaceId,
    pub(super) genesis_random: [u8; 32],
    pub(super) dag: Dag<R>,
    pub(super) verdicts: Vec<Result<Fact, VoidReason>>,
    /// Good records that say who may do what.
    moving: IndexSet,
    /// Good epochs, parents first.
    pub(super) epochs: Vec<usize>,
    epoch_index: HashMap<EpochRef, usize>,
    /// Good records by the HPKE keys that they name and the devices that these are for.
    pub(super) hpke: HashMap<(HpkePk, SignPk), Vec<usize>>,
    /// Most recently used last.
    standings: Vec<(IndexSet, Arc<Standing>)>,
}

impl<R: Borrow<Record>> Ledger<R> {
    /// Begins with the Genesis.
    ///
    /// # Errors
    /// [`MembershipError::NoGenesis`] if it is none.
    pub fn new(genesis: R) -> Result<Self, MembershipError> {
        let Body::Genesis { random, .. } = genesis.borrow().body() else { return Err(MembershipError::NoGenesis) };
        let mut ledger = Self {
            space: genesis.borrow().space(),
            genesis_random: *random,
            dag: Dag::new(),
            verdicts: Vec::new(),
            moving: IndexSet::default(),
            epochs: Vec::new(),
            epoch_index: HashMap::new(),
            hpke: HashMap::new(),
            standings: Vec::new(),
        };
        ledger.push(genesis, IndexSet::default(), Ok(Fact::default()));
        Ok(ledger)
    }

    /// The records, parents first.
    #[must_use]
    pub fn records(&self) -> &[R] {
        self.dag.records()
    }

    /// Whether the record is here.
    #[must_use]
    pub fn contains(&self, id: &RecordId) -> bool {
        self.dag.index_of(id).is_some()
    }

    /// What its own past says about a record, whether it is here or not: nothing, or why it is void. What is good
    /// now may still lose to somebody more senior; what is void stays void ([`VoidReason::MissingParent`] excepted).
    ///
    /// # Errors
    /// The reason.
    pub fn judge(&mut self, record: &Record) -> Result<(), VoidReason> {
        if let Some(index) = self.dag.index_of(&record.id()) {
            return self.verdicts[index].as_ref().map(|_| ()).map_err(|reason| *reason);
        }
        let past = self.dag.place(&self.space, record)?;
        self.judge_at(record, &past).map(|_| ())
    }

    /// Adds a record with the verdict of [`Self::judge`]; void ones are kept too, because others name them. A
    /// record without a place in the graph is not added.
    ///
    /// # Errors
    /// [`MembershipError::TooManyRecords`].
    pub fn insert(&mut self, record: R) -> Result<Result<(), VoidReason>, MembershipError> {
        if let Some(index) = self.dag.index_of(&record.borrow().id()) {
            return Ok(self.verdicts[index].as_ref().map(|_| ()).map_err(|reason| *reason));
        }
        if self.dag.len() >= SPACE_RECORDS_MAX {
            return Err(MembershipError::TooManyRecords);
        }
        let past = match self.dag.place(&self.space, record.borrow()) {
            Ok(past) => past,
            Err(reason) => return Ok(Err(reason)),
        };
        let verdict = self.judge_at(record.borrow(), &past);
        let answer = verdict.as_ref().map(|_| ()).map_err(|reason| *reason);
        self.push(record, past, verdict);
        Ok(answer)
    }

    /// The state that all records together give.
    #[must_use]
    pub fn membership(&self) -> Membership {
        let good = |index: &usize| self.verdicts[*index].is_ok();
        let outcome = pass::settle(self, (0..self.dag.len()).filter(good).collect());
        view::membership(self, &outcome)
    }

    fn push(&mut self, record: R, past: IndexSet, verdict: Result<Fact, VoidReason>) {
        let index = self.dag.push(record, past);
        if verdict.is_ok() {
            self.learn(index);
        }
        self.verdicts.push(verdict);
    }

    fn learn(&mut self, index: usize) {
        let record = self.dag.record(index);
        if moves(record.body()) {
            self.moving.insert(index);
        }
        if let Body::Epoch { .. } = record.body() {
            self.epoch_index.insert(epoch_ref_of(&record.id()), index);
            self.epochs.push(index);
        }
        let enrolled = record.body().devices().map(|device| (device.hpke_pk, device.sign_pk));
        let refreshed = match record.body() {
            Body::HpkeRefresh { hpke_pk } => Some((*hpke_pk, record.author())),
            _ => None,
        };
        for (key, device) in enrolled.chain(refreshed) {
            self.hpke.entry((key, device)).or_default().push(index);
        }
    }

    fn judge_at(&mut self, record: &Record, past: &IndexSet) -> Result<Fact, VoidReason> {
        let standing = self.standing(past);
        let here = At { ledger: self, record, past };
        if matches!(record.body(), Body::Epoch { .. }) && here.knows_epoch(&epoch_ref_of(&record.id())) {
            return Err(VoidReason::Conflict);
        }
        check(&standing, &here, &record.author(), record.body())
    }

    /// The standing at a past: one that is remembered, one that grew by records that had seen all before them, or a
    /// whole pass.
    fn standing(&mut self, past: &IndexSet) -> Arc<Standing> {
        let wanted = past.intersection(&self.moving);
        if let Some(at) = self.standings.iter().rposition(|(key, _)| *key == wanted) {
            let found = self.standings.remove(at);
            let standing = Arc::clone(&found.1);
            self.standings.push(found);
            return standing;
        }
        let standing = self.grown(&wanted).unwrap_or_else(|| Arc::new(self.standing_by_pass(&wanted)));
        if self.standings.len() >= STANDINGS_MAX {
            self.standings.remove(0);
        }
        self.standings.push((wanted, Arc::clone(&standing)));
        standing
    }

    /// A remembered standing, moved on by records each of which has everything before it in its past.
    fn grown(&mut self, wanted: &IndexSet) -> Option<Arc<Standing>> {
        let subsets = self.standings.iter().enumerate().filter(|(_, (key, _))| key.is_subset(wanted));
        let (at, _) = subsets.max_by_key(|(_, (key, _))| key.len())?;
        let mut reached = self.standings[at].0.clone();
        let mut missing: Vec<usize> = wanted.difference(&reached).iter().collect();
        missing.sort_unstable_by_key(|index| self.dag.order(*index));
        for index in &missing {
            if self.dag.past(*index).intersection(&self.moving) != reached {
                return None;
            }
            reached.insert(*index);
        }
        let is_small = self.standings[at].1.devices.len() <= COPIED_DEVICES_MAX;
        let mut standing = if is_small { Arc::clone(&self.standings[at].1) } else { self.standings.remove(at).1 };
        let changed = Arc::make_mut(&mut standing);
        missing.iter().for_each(|index| changed.apply(self.dag.record(*index)));
        Some(standing)
    }

    fn standing_by_pass(&self, wanted: &IndexSet) -> Standing {
        if wanted.is_empty() {
            return Standing::default();
        }
        pass::settle(self, wanted.iter().collect()).standing(self)
    }

    /// The epochs in a past that no other one there has as a parent. A good epoch names all heads of its past, so
    /// these are the ones that no other one has seen.
    pub(super) fn epoch_heads(&self, inside: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut heads: Vec<usize> = Vec::new();
        for index in self.epochs.iter().rev().copied().filter(|index| inside(*index)) {
            if !heads.iter().any(|head| self.dag.saw(*head, index)) {
                heads.push(index);
            }
        }
        heads
    }

    pub(super) fn generation(&self, epoch: usize) -> u32 {
        if let Body::Epoch { generation, .. } = self.dag.record(epoch).body() { *generation } else { 0 }
    }
}

impl<R: Borrow<Record>> Ledger<R> {
    /// Whether remembered and grown standings are what a pass over the same records says.
    #[cfg(test)]
    pub(super) fn assert_standings_agree(&self, seed: u64) {
        // Whose device is out of force has no rank: nothing reads what is left there.
        let in_force = |mut standing: Standing| {
            let gone = standing.devices.values_mut().filter(|device| !device.is_live);
            gone.for_each(|device| device.rank = super::Rank::founder(RecordId([0; 32])));
            standing
        };
        for (key, standing) in &self.standings {
            let (grown, passed) = (in_force(Standing::clone(standing)), in_force(self.standing_by_pass(key)));
            assert_eq!(grown, passed, "seed {seed}: a standing that grew differs from one by a pass");
        }
    }
}

/// A record and its past.
struct At<'a, R> {
    ledger: &'a Ledger<R>,
    record: &'a Record,
    past: &'a IndexSet,
}

impl<R: Borrow<Record>> Past for At<'_, R> {
    fn proofs_hold(&self) -> bool {
        self.record.proofs_hold(&self.ledger.genesis_random)
    }

    fn invite_proof_holds(&self, invite_pk: &SignPk) -> bool {
        self.record.invite_proof_holds(invite_pk)
    }

    fn had_hpke(&self, device: &SignPk, key: &HpkePk) -> bool {
        let named = self.ledger.hpke.get(&(*key, *device));
        named.is_some_and(|named| named.iter().any(|index| self.past.contains(*index)))
    }

    fn epoch_heads(&self) -> Vec<(EpochRef, u32)> {
        let heads = self.ledger.epoch_heads(|index| self.past.contains(index));
        let ledger = self.ledger;
        heads.into_iter().map(|head| (epoch_ref_of(&ledger.dag.record(head).id()), ledger.generation(head))).collect()
    }

    fn knows_epoch(&self, epoch: &EpochRef) -> bool {
        self.ledger.epoch_index.get(epoch).is_some_and(|index| self.past.contains(*index))
    }

    fn checkpoint_cut(&self, checkpoint: &RecordId) -> Option<&[Floor]> {
        let index = self.ledger.dag.index_of(checkpoint).filter(|index| self.past.contains(*index))?;
        match self.ledger.dag.record(index).body() {
            Body::Checkpoint { cut, .. } if self.ledger.verdicts[index].is_ok() => Some(cut),
            _ => None,
        }
    }
}

/// Whether a type says who may do what; all others are only judged by it.
fn moves(body: &Body) -> bool {
    matches!(
        body,
        Body::Genesis { .. }
            | Body::MemberAdd { .. }
            | Body::DeviceAdd { .. }
            | Body::DeviceRemove { .. }
            | Body::MemberRemove { .. }
            | Body::RoleSet { .. }
            | Body::Invite { .. }
            | Body::InviteRevoke { .. }
            | Body::Join { .. }
    )
}

/// Whether a record stands for ever if it is good in its own past: what people wrote under stays readable.
pub(super) fn lasts(body: &Body) -> bool {
    matches!(body, Body::Epoch { .. } | Body::KeyGrant { .. })
}
