//! Making key generations: a new epoch for everybody who reads, and grants of the present one to whom it lacks.

use std::collections::{BTreeMap, BTreeSet};

use lifeos_sync_protocol::ids::{EpochRef, HpkePk, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record, Seal};

use super::draft::Draft;
use super::links::beyond_number;
use super::past::Pasts;
use super::ring::KeyTrouble;
use super::seals::{EpochFacts, device_ref, seal_epoch, wrap_epoch};
use super::{RecordsError, in_force, sign};
use crate::crypto::Random;
use crate::keys::{DeviceKeys, EpochSecret, Keyring};

/// Seals in one KeyGrant record, so that it stays under its limit.
const GRANT_SEALS_MAX: usize = 256;
/// Epochs granted at once; the others follow.
const EPOCHS_GRANTED_MAX: usize = 16;
/// Cut-off epochs that are looked after, the newest: who makes more of them costs nobody more than that.
const CUT_OFF_LOOKED_AT: usize = 32;
/// New HPKE keys with which a device asks for one epoch: whoever gives it nonsense each time, and the device each time
/// anew, fill no space with that.
const ASKS_PER_EPOCH_MAX: usize = 8;

/// A key generation about to be made.
pub(super) struct NewEpoch<'a> {
    pub(super) generation: u32,
    /// Parent epochs with their secrets, which the new epoch wraps.
    pub(super) parents: Vec<(EpochRef, EpochSecret)>,
    pub(super) secret: &'a EpochSecret,
}

pub(super) fn epoch_body(
    space: &SpaceId,
    author: &SignPk,
    new: &NewEpoch<'_>,
    readers: &[(SignPk, HpkePk)],
    random: &mut dyn Random,
) -> Result<Body, RecordsError> {
    let commit = new.secret.commitment();
    let parents: Vec<EpochRef> = new.parents.iter().map(|(parent, _)| *parent).collect();
    let facts = EpochFacts { generation: new.generation, parents: &parents, commit: &commit, author };
    let mut seals: Vec<Seal> =
        readers.iter().map(|reader| seal_epoch(space, &facts, reader, new.secret, random)).collect::<Result<_, _>>()?;
    seals.sort_by_key(|seal| seal.device_ref);
    let wraps = new
        .parents
        .iter()
        .map(|(parent, secret)| wrap_epoch(space, new.secret, *parent, secret))
        .collect::<Result<_, _>>()?;
    Ok(Body::Epoch { generation: new.generation, parents, commit, wraps, seals })
}

pub(super) fn epoch_record(
    keys: &DeviceKeys,
    space: &SpaceId,
    (parents, depth): (&[RecordId], u64),
    new: &NewEpoch<'_>,
    readers: &[(SignPk, HpkePk)],
    random: &mut dyn Random,
) -> Result<Record, RecordsError> {
    let body = epoch_body(space, &keys.sign_pk(), new, readers, random)?;
    sign(keys, *space, depth, parents, &body)
}

/// The devices that may read but were given the epoch by nobody: they were added while somebody else rotated, or ask
/// for it anew (see [`is_given`]). Those who came by a link beyond its number are left out until somebody sets their
/// role.
#[must_use]
pub fn devices_without(membership: &Membership, records: &[Record], epoch: &EpochRef) -> Vec<(SignPk, HpkePk)> {
    readers_but(membership, records, &given(membership, records, epoch))
}

/// Whether a device was given an epoch, as far as records tell: nobody but the device sees whether it opens. A device
/// that may not write makes no epoch that heals it. It asks with a new HPKE key, and counts as given again when
/// somebody who had seen that key has sealed the epoch to it: one grant for each new key.
#[must_use]
pub fn is_given(membership: &Membership, records: &[Record], epoch: &EpochRef, device: &SignPk) -> bool {
    given(membership, records, epoch).contains(&device_ref(device))
}

/// Whether a device that was given an epoch in vain has asked for it so often that it waits for the next one.
#[must_use]
pub fn has_asked_enough(membership: &Membership, records: &[Record], epoch: &EpochRef, device: &SignPk) -> bool {
    let Some(epoch) = membership.epochs.get(epoch) else { return true };
    let pasts = Pasts::of(records, [epoch.record].into());
    let is_ask = |record: &&Record| {
        matches!(record.body(), Body::HpkeRefresh { .. })
            && record.author() == *device
            && pasts.knows(&record.id(), &epoch.record)
    };
    in_force(membership, records).filter(is_ask).count() >= ASKS_PER_EPOCH_MAX
}

/// The devices that were given an epoch: it was sealed or granted to them, or they granted it to others.
fn given(membership: &Membership, records: &[Record], epoch: &EpochRef) -> BTreeSet<[u8; 16]> {
    // Whoever may write makes another one where this does not open.
    given_to(membership, records, epoch, |device| membership.may_read(device) && !membership.may_write(device))
}

/// The same, as far as those who count by their newest HPKE key are concerned by records that had seen that key.
fn given_to(
    membership: &Membership,
    records: &[Record],
    epoch: &EpochRef,
    by_newest: impl Fn(&SignPk) -> bool,
) -> BTreeSet<[u8; 16]> {
    let newest = newest_keys(membership, records, by_newest);
    let pasts = Pasts::of(records, newest.values().copied().collect());
    let sealed = membership.epochs.get(epoch).map(|epoch| (epoch.record, epoch.recipients.clone()));
    let granted = grants(membership, records, epoch).map(|(record, devices)| (record.id(), devices));
    let to_newest =
        |record: &RecordId, device: &[u8; 16]| newest.get(device).is_none_or(|refresh| pasts.knows(record, refresh));
    let by_record = |(record, mut devices): (RecordId, Vec<[u8; 16]>)| {
        devices.retain(|device| to_newest(&record, device));
        devices
    };
    sealed.into_iter().chain(granted).flat_map(by_record).collect()
}

/// The records that brought the newest HPKE keys of these devices.
fn newest_keys(
    membership: &Membership,
    records: &[Record],
    of: impl Fn(&SignPk) -> bool,
) -> BTreeMap<[u8; 16], RecordId> {
    let newest = in_force(membership, records).filter_map(|record| {
        let (Body::HpkeRefresh { hpke_pk }, author) = (record.body(), record.author()) else { return None };
        let is_newest = membership.devices.get(&author).is_some_and(|device| device.hpke_pk == *hpke_pk);
        (is_newest && of(&author)).then(|| (device_ref(&author), record.id()))
    });
    newest.collect()
}

/// The devices that were given an epoch beside the present one under an HPKE key that is not their newest: a home that
/// was put back has lost the key it was sealed to, and until somebody wraps it nothing else gives it.
fn devices_behind(membership: &Membership, records: &[Record], epoch: &EpochRef) -> Vec<(SignPk, HpkePk)> {
    readers_but(membership, records, &given_to(membership, records, epoch, |_| true))
}

/// The devices other than `own` that may read but were granted a cut-off epoch by nobody, as far as this one believes
/// it: not by what the epoch's author sealed, because whoever wraps nothing was perhaps given nothing.
fn devices_cut_off(
    membership: &Membership,
    records: &[Record],
    epoch: &EpochRef,
    own: &SignPk,
) -> Vec<(SignPk, HpkePk)> {
    let record = membership.epochs.get(epoch).map(|epoch| epoch.record);
    let Some(author) = records.iter().find(|held| Some(held.id()) == record).map(Record::author) else {
        return Vec::new();
    };
    let given = granted(membership, records, epoch, |granter| *granter != author || granter == own);
    let mut lacking = readers_but(membership, records, &given);
    lacking.retain(|(device, _)| device != own);
    lacking
}

/// What one round of grants gives: the present epoch, those beside it, and the cut-off ones as far as that goes.
fn lacking(
    membership: &Membership,
    records: &[Record],
    (cut_off, holds): (&BTreeSet<EpochRef>, impl Fn(&EpochRef) -> bool),
    own: &SignPk,
) -> Vec<(EpochRef, Vec<(SignPk, HpkePk)>)> {
    let current = membership.current_epoch().map(|epoch| (epoch, devices_without(membership, records, &epoch)));
    let mut beside = membership.epoch_heads();
    beside.retain(|epoch| Some(*epoch) != membership.current_epoch() && !cut_off.contains(epoch) && holds(epoch));
    let beside = beside.into_iter().map(|epoch| (epoch, devices_behind(membership, records, &epoch)));
    let generation = |epoch: &EpochRef| membership.epochs.get(epoch).map_or(0, |epoch| epoch.generation);
    let mut newest: Vec<&EpochRef> = cut_off.iter().collect();
    newest.sort_by_key(|epoch| (std::cmp::Reverse(generation(epoch)), **epoch));
    newest.truncate(CUT_OFF_LOOKED_AT);
    let cut_off = newest.into_iter().map(|epoch| (*epoch, devices_cut_off(membership, records, epoch, own)));
    let all = current.into_iter().chain(beside).chain(cut_off).filter(|(_, devices)| !devices.is_empty());
    all.take(EPOCHS_GRANTED_MAX).collect()
}

/// Whether a device lacks the present epoch, one beside it, or one that no later epoch opens.
#[must_use]
pub fn is_key_lacking(
    membership: &Membership,
    records: &[Record],
    (cut_off, keyring): (&BTreeSet<EpochRef>, &Keyring),
    own: &SignPk,
) -> bool {
    !lacking(membership, records, (cut_off, |epoch: &EpochRef| keyring.find(epoch).is_some()), own).is_empty()
}

/// To whom an epoch was granted, by whom `counts`, and who granted it.
fn granted(
    membership: &Membership,
    records: &[Record],
    epoch: &EpochRef,
    counts: impl Fn(&SignPk) -> bool,
) -> BTreeSet<[u8; 16]> {
    let counted = grants(membership, records, epoch).filter(|(record, _)| counts(&record.author()));
    counted.flat_map(|(_, devices)| devices).collect()
}

/// The records that grant an epoch, and to whom; who grants it to others has it.
fn grants<'a>(
    membership: &'a Membership,
    records: &'a [Record],
    epoch: &'a EpochRef,
) -> impl Iterator<Item = (&'a Record, Vec<[u8; 16]>)> {
    in_force(membership, records).filter_map(move |record| match record.body() {
        Body::KeyGrant { epoch: granted, seals } if granted == epoch => {
            let devices = seals.iter().map(|seal| seal.device_ref).chain([device_ref(&record.author())]);
            Some((record, devices.collect()))
        }
        Body::DeviceAdd { grants, .. } => {
            let own = grants.iter().filter(|(granted, _)| granted == epoch);
            Some((record, own.map(|(_, seal)| seal.device_ref).collect()))
        }
        _ => None,
    })
}

/// The readers that were not given an epoch, without those who came by a link beyond its number.
fn readers_but(membership: &Membership, records: &[Record], given: &BTreeSet<[u8; 16]>) -> Vec<(SignPk, HpkePk)> {
    let late = beyond_number(membership, records);
    let waits = |device: &SignPk| {
        let member = membership.devices.get(device).map(|device| device.member);
        late.iter().any(|join| Some(join.member) == member)
    };
    let lacking = membership.readers().into_iter().filter(|(device, _)| !given.contains(&device_ref(device)));
    lacking.filter(|(device, _)| !waits(device)).collect()
}

impl Draft<'_> {
    /// A new epoch for everybody who may read now, with every head of the epochs as parent.
    ///
    /// A parent that its author sealed wrongly cannot be wrapped, by anybody honest: its place is taken by a wrap
    /// that opens to nothing, so that one broken epoch does not keep a space from ever having a sound one.
    ///
    /// # Errors
    /// [`RecordsError::NoEpoch`] while the secret of a parent is still to come, else [`RecordsError`].
    pub fn rotate(&mut self, random: &mut dyn Random) -> Result<EpochRef, RecordsError> {
        let secret = EpochSecret::generate(random);
        let heads = self.membership().epoch_heads();
        let parents = heads.into_iter().map(|head| Ok((head, self.parent_secret(&head, random)?)));
        let parents = parents.collect::<Result<_, RecordsError>>()?;
        let new = NewEpoch { generation: self.membership().next_generation(), parents, secret: &secret };
        let (space, author) = (self.membership().space, self.author());
        let body = epoch_body(&space, &author, &new, &self.membership().readers(), random)?;
        let record = self.add(&body)?;
        let epoch = super::epoch_ref(&record);
        self.learn(epoch, secret);
        Ok(epoch)
    }

    fn parent_secret(&self, epoch: &EpochRef, random: &mut dyn Random) -> Result<EpochSecret, RecordsError> {
        match (self.secret(epoch), self.trouble(epoch)) {
            (Some(secret), _) => Ok(secret.clone()),
            (None, Some(KeyTrouble::SealFails | KeyTrouble::WrongSecret)) => Ok(EpochSecret::generate(random)),
            (None, _) => Err(RecordsError::NoEpoch),
        }
    }

    /// Gives the present epoch, and those that no later one opens, to every device that may read and was given them by
    /// nobody; and those beside the present one to every device that has a newer HPKE key than they were sealed to. Writes nothing when there is none.
    ///
    /// # Errors
    /// [`RecordsError::NoEpoch`] without a present epoch or its secret, else [`RecordsError`].
    pub fn grant_lacking(&mut self, random: &mut dyn Random) -> Result<(), RecordsError> {
        self.membership().current_epoch().ok_or(RecordsError::NoEpoch)?;
        let held = (self.cut_off(), |epoch: &EpochRef| self.secret(epoch).is_some());
        for (epoch, devices) in lacking(self.membership(), self.records(), held, &self.author()) {
            for devices in devices.chunks(GRANT_SEALS_MAX) {
                let seals = self.seal_to(&epoch, devices, random)?;
                self.add(&Body::KeyGrant { epoch, seals })?;
            }
        }
        Ok(())
    }

    pub(super) fn seal_to(
        &self,
        epoch: &EpochRef,
        devices: &[(SignPk, HpkePk)],
        random: &mut dyn Random,
    ) -> Result<Vec<Seal>, RecordsError> {
        let secret = self.secret(epoch).ok_or(RecordsError::NoEpoch)?;
        let known = self.membership().epochs.get(epoch).ok_or(RecordsError::NoEpoch)?;
        let (commit, author, space) = (secret.commitment(), self.author(), self.membership().space);
        let facts =
            EpochFacts { generation: known.generation, parents: &known.parents, commit: &commit, author: &author };
        let mut seals = devices
            .iter()
            .map(|device| seal_epoch(&space, &facts, device, secret, random))
            .collect::<Result<Vec<_>, _>>()?;
        seals.sort_by_key(|seal| seal.device_ref);
        Ok(seals)
    }
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::MemberId;
    use lifeos_sync_protocol::membership::{Device, Epoch};
    use lifeos_sync_protocol::record::DeviceKind;

    use super::*;
    use crate::crypto::SeededRandom;
    use crate::keys::DeviceRoot;

    /// The older, the earlier in the order of names.
    const fn named(generation: u8) -> EpochRef {
        EpochRef([generation; 16])
    }

    fn cut_off(generation: u8, record: &Record) -> Epoch {
        // Somebody who does not belong here holds it: it is none to seal under.
        let (parents, commit, recipients) = (Vec::new(), [3; 32], vec![[0xee; 16]]);
        let (generation, record, granted) = (generation.into(), record.id(), BTreeSet::new());
        Epoch { record, generation, parents, commit, recipients, granted }
    }

    #[test]
    fn of_many_epochs_that_were_cut_off_the_newest_are_granted_and_no_more_are_looked_after() {
        let mut random = SeededRandom::new(3);
        let [own, author, other] = [(); 3].map(|()| DeviceRoot::generate(&mut random).derive_space(&[9; 32]));
        let space = SpaceId([7; 32]);
        let write = |keys: &DeviceKeys, body: &Body| sign(keys, space, 1, &[RecordId([7; 32])], body).unwrap();
        let made = write(&author, &Body::Close { successor: None });
        let mut membership = Membership::empty(space, [9; 32]);
        for keys in [&own, &other] {
            let (member, hpke_pk) = (MemberId([1; 16]), keys.hpke_pk());
            let device = Device::enrolled(member, hpke_pk, DeviceKind::Normal, made.id());
            membership.devices.insert(keys.sign_pk(), device);
        }
        membership.epochs = (1..=40).map(|generation| (named(generation), cut_off(generation, &made))).collect();
        let all: BTreeSet<EpochRef> = membership.epochs.keys().copied().collect();
        let grant = |generation| {
            let seals = vec![Seal { device_ref: device_ref(&other.sign_pk()), enc: [1; 32], ct: [2; 48] }];
            write(&own, &Body::KeyGrant { epoch: named(generation), seals })
        };
        // What is lacking when those from `first` on were granted.
        let lacking_from = |first: u8| -> Vec<EpochRef> {
            let records: Vec<Record> = (first..=40).map(grant).chain([made.clone()]).collect();
            let lacking = lacking(&membership, &records, (&all, |_: &EpochRef| false), &own.sign_pk());
            assert!(lacking.iter().all(|(_, to)| *to == [(other.sign_pk(), other.hpke_pk())]));
            lacking.into_iter().map(|(epoch, _)| epoch).collect()
        };
        assert_eq!(lacking_from(41), (25..=40).rev().map(named).collect::<Vec<_>>(), "a round's worth, the newest");
        assert_eq!(lacking_from(10), [named(9)]);
        assert!(lacking_from(9).is_empty(), "who makes more of them costs nobody more than that");
    }
}
