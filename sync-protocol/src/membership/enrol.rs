//! Who is enrolled, as far as a set of records says: Genesis and DeviceAdd.
//!
//! The set is either everything or one record's past. An Epoch is judged by its past alone, so that a record
//! that arrives later can never make a key generation void that people already wrote under.

use std::collections::BTreeMap;

use super::VoidReason;
use crate::dag::{Dag, IndexSet};
use crate::ids::{EpochRef, HpkePk, MemberId, SignPk};
use crate::record::{Body, DeviceEntry, DeviceKind, Record, Role, Seal};

/// The short form of a signing key by which a seal names its device.
pub(super) type DeviceRef = [u8; 16];

/// A device as the records enrol it.
#[derive(Debug, Clone)]
pub(super) struct Enrolment {
    pub(super) member: MemberId,
    pub(super) hpke_pk: HpkePk,
    pub(super) kind: DeviceKind,
    /// The records that enrol it: one, or several concurrent ones that say the same.
    pub(super) added_by: Vec<usize>,
}

/// Which records of a graph enrol somebody, and whether the enrolled keys agreed. Asked once per evaluation,
/// because it does not depend on the set.
pub(super) struct Candidates {
    /// Numbers of the enrolling records, ascending.
    indices: Vec<usize>,
    /// The same as a set.
    set: IndexSet,
    /// Those whose proofs verify.
    proven: IndexSet,
}

impl Candidates {
    pub(super) fn collect(dag: &Dag<'_>, genesis_random: &[u8; 32]) -> Self {
        let (mut indices, mut set, mut proven) = (Vec::new(), dag.no_records(), dag.no_records());
        for (index, record) in dag.iter() {
            if !is_enrolling(record) {
                continue;
            }
            indices.push(index);
            set.insert(index);
            if record.proofs_hold(genesis_random) {
                proven.insert(index);
            }
        }
        Self { indices, set, proven }
    }

    /// The part of a set that matters for enrolment.
    pub(super) fn within(&self, set: &IndexSet) -> IndexSet {
        self.set.intersection(set)
    }

    /// All of them.
    pub(super) const fn all(&self) -> &IndexSet {
        &self.set
    }
}

/// The enrolled devices and the members they belong to.
#[derive(Debug, Default)]
pub(super) struct Enrolments {
    pub(super) devices: BTreeMap<SignPk, Enrolment>,
    pub(super) roles: BTreeMap<MemberId, Role>,
    /// Enrolling records without effect.
    pub(super) void: BTreeMap<usize, VoidReason>,
    by_ref: BTreeMap<DeviceRef, SignPk>,
    by_hpke: BTreeMap<HpkePk, SignPk>,
}

impl Enrolments {
    /// Judges the enrolling records of `within`, which holds the whole past of each of its records.
    pub(super) fn evaluate(dag: &Dag<'_>, candidates: &Candidates, within: &IndexSet) -> Self {
        let mut state = Self::default();
        for index in candidates.indices.iter().copied().filter(|index| within.contains(*index)) {
            if let Err(reason) = state.enrol(dag, index, candidates.proven.contains(index)) {
                state.void.insert(index, reason);
            }
        }
        state
    }

    /// The device as enrolled by a record in this past.
    pub(super) fn enrolled_at(&self, device: &SignPk, past: &IndexSet) -> Option<&Enrolment> {
        self.devices.get(device).filter(|enrolment| enrolment.added_by.iter().any(|index| past.contains(*index)))
    }

    /// The enrolled device with this short form, in this past.
    pub(super) fn device_by_ref_at(&self, device_ref: &DeviceRef, past: &IndexSet) -> Option<&Enrolment> {
        self.enrolled_at(self.by_ref.get(device_ref)?, past)
    }

    /// The author's enrolment in the record's own past.
    pub(super) fn author(&self, dag: &Dag<'_>, index: usize) -> Result<&Enrolment, VoidReason> {
        self.enrolled_at(&dag.record(index).author(), dag.past(index)).ok_or(VoidReason::NotEnrolled)
    }

    /// Short forms of all devices that may read, ascending.
    pub(super) fn reader_refs(&self) -> Vec<DeviceRef> {
        self.by_ref.keys().copied().collect()
    }

    fn enrol(&mut self, dag: &Dag<'_>, index: usize, is_proven: bool) -> Result<(), VoidReason> {
        match dag.record(index).body() {
            Body::Genesis { member, device, recovery, .. } => {
                self.roles.insert(*member, Role::Owner);
                self.insert(index, member, device);
                self.insert(index, member, recovery);
                Ok(())
            }
            Body::DeviceAdd { member, device, grants, .. } => {
                self.check_add_authority(dag, index, member)?;
                if !is_proven {
                    return Err(VoidReason::Proof);
                }
                check_grants(device, grants)?;
                self.check_fresh(member, device, dag.past(index))?;
                self.insert(index, member, device);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A member's normal and recovery devices add devices to that member.
    fn check_add_authority(&self, dag: &Dag<'_>, index: usize, member: &MemberId) -> Result<(), VoidReason> {
        let author = self.author(dag, index)?;
        let may_add = author.member == *member && author.kind != DeviceKind::Archive;
        if may_add { Ok(()) } else { Err(VoidReason::NoAuthority) }
    }

    /// A key never comes back. Two devices that enrol the same new device without knowing of each other say
    /// the same thing, and both records stand.
    fn check_fresh(&self, member: &MemberId, device: &DeviceEntry, past: &IndexSet) -> Result<(), VoidReason> {
        let by_ref = self.by_ref.get(&device_ref(&device.sign_pk));
        let by_hpke = self.by_hpke.get(&device.hpke_pk);
        if by_ref.is_none() && by_hpke.is_none() {
            return Ok(());
        }
        let says_the_same = self.devices.get(&device.sign_pk).is_some_and(|known| {
            let is_equal = (known.member, known.hpke_pk, known.kind) == (*member, device.hpke_pk, device.kind);
            is_equal && !known.added_by.iter().any(|index| past.contains(*index))
        });
        if says_the_same { Ok(()) } else { Err(VoidReason::KeyReused) }
    }

    fn insert(&mut self, index: usize, member: &MemberId, device: &DeviceEntry) {
        self.by_ref.insert(device_ref(&device.sign_pk), device.sign_pk);
        self.by_hpke.insert(device.hpke_pk, device.sign_pk);
        let enrolment = self.devices.entry(device.sign_pk).or_insert_with(|| Enrolment {
            member: *member,
            hpke_pk: device.hpke_pk,
            kind: device.kind,
            added_by: Vec::new(),
        });
        enrolment.added_by.push(index);
    }
}

/// Grants inside a DeviceAdd are sealed to the device that it adds.
fn check_grants(device: &DeviceEntry, grants: &[(EpochRef, Seal)]) -> Result<(), VoidReason> {
    let own = device_ref(&device.sign_pk);
    let all_own = grants.iter().all(|(_, seal)| seal.device_ref == own);
    if all_own { Ok(()) } else { Err(VoidReason::Recipients) }
}

/// First 16 bytes of the signing key.
pub(super) fn device_ref(device: &SignPk) -> DeviceRef {
    let mut short = [0; 16];
    short.copy_from_slice(&device.0[..16]);
    short
}

/// Whether a role and a kind of device together may write content, epochs and grants.
pub(super) fn writes(role: Role, kind: DeviceKind) -> bool {
    role <= Role::Editor && kind != DeviceKind::Recovery
}

/// Whether this record type is judged here.
pub(super) const fn is_enrolling(record: &Record) -> bool {
    matches!(record.body(), Body::Genesis { .. } | Body::DeviceAdd { .. })
}
