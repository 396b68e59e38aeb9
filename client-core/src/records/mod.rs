//! Records this device writes, and what it reads from records: epoch secrets and device names (protocol §3, §6.3).
//!
//! | file | what |
//! |---|---|
//! | here | founding a space, adding a device |
//! | `draft` | removals, roles, new HPKE keys: each tried on the membership before it counts |
//! | `epochs` | new key generations, grants of the present one |
//! | `invite` | invitations, admissions, closing |
//! | `links` | links without approval that let nobody in any more, and who came all the same |
//! | `demoted` | whether a key was made since somebody was demoted |
//! | `past` | which records have seen which |
//! | `seals` | the cryptography of both |
//! | `ring` | which secrets this device can open, and what is wrong where it cannot |
//! | `names` | names of devices and members |
//! | `recover` | what a recovery key writes when all devices are lost |
//! | `cover` | how words come to stand for a member, and others in their place |

mod back;
mod cover;
mod demoted;
mod draft;
mod epochs;
mod invite;
mod links;
mod names;
mod past;
mod recover;
mod ring;
mod seals;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use lifeos_sync_protocol::ids::{EpochRef, MemberId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::limits::{RECORD_PARENTS_MAX, SPACE_RECORDS_MAX, SPACE_SAFETY_RECORDS};
use lifeos_sync_protocol::membership::{Membership, VoidReason};
use lifeos_sync_protocol::record::{Body, DeviceEntry, DeviceKind, Record, RecordError, Seal, Unsigned};

use crate::crypto::{CryptoError, Random};
use crate::keys::{DeviceKeys, EpochSecret, Keyring};

pub use back::{TakenBack, take_back};
pub use cover::{Cover, CoverPlan, cover_records, plan_cover, recovery_keys, replace_recovery_key};
pub use demoted::is_before_demotion;
#[cfg(feature = "io")]
pub(crate) use demoted::role_given;
pub use draft::Draft;
pub use epochs::{devices_without, has_asked_enough, is_given, is_key_lacking};
pub use invite::{InviteTerms, auto_links, devices_of, next_record, open_invite, open_requests};
#[cfg(feature = "io")]
pub(crate) use links::{Beyond, beyond_number};
pub use links::{is_open, links_to_withdraw};
pub(crate) use names::seal_name;
pub use names::{Named, open_name};
pub use recover::{RecoveryPlan, Takeover, plan_recovery, takeover_records};
pub use ring::{KeyTrouble, OpenedEpochs, open_epochs, unlock_epochs};

use epochs::{NewEpoch, epoch_record};
use seals::{EpochFacts, seal_epoch};

/// The records that have effect.
pub(crate) fn in_force<'a>(membership: &'a Membership, records: &'a [Record]) -> impl Iterator<Item = &'a Record> {
    records.iter().filter(|record| !membership.void.contains_key(&record.id()))
}

/// Grants that travel inside a DeviceAdd; more go into KeyGrant records, so that the record stays under its limit.
const DEVICE_ADD_GRANTS_MAX: usize = 256;

/// A record cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordsError {
    /// The record breaks a limit or carries a bad key.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A key of a recipient is weak.
    #[error("a device's key cannot be sealed to")]
    Crypto(#[from] CryptoError),
    /// The new device's keys or proof are wrong.
    #[error("the new device's keys are not valid for this space")]
    Entry,
    /// The key is or was enrolled; a new device has new keys.
    #[error("this device key was enrolled before; reset the new device and link it again")]
    KeyInUse,
    /// No epoch secret is held, so nothing could be granted.
    #[error("this device holds no key of the space yet; sync it first")]
    NoEpoch,
    /// The record would be kept and have no effect.
    #[error("{}", void_text(*.0))]
    Void(VoidReason),
    /// The space has as many records as it may have.
    #[error("the space holds as many membership records as one may: begin a new space")]
    Full,
    /// The name is empty, too long or holds hidden characters ([`crate::names`]).
    #[error("a name has 1 to 127 bytes, all of which can be seen")]
    Name,
}

/// What keeps a record from having effect, in the words of somebody who tried to write it.
const fn void_text(reason: VoidReason) -> &'static str {
    match reason {
        VoidReason::NotEnrolled => "this device does not belong to the space (any more)",
        VoidReason::NoAuthority => "this device may not do that here: ask somebody who may, an owner or a senior admin",
        VoidReason::Recipients => "the key would not go to exactly those who may read: sync first, then try again",
        VoidReason::Conflict => "it contradicts what the space says already: sync first, then try again",
        VoidReason::KeyReused => "this key was enrolled before: a device comes back with new keys only",
        VoidReason::AuthorRemoved => "this device was removed from the space",
        VoidReason::Seniority => "one cannot do that to somebody who was here before: ask an owner",
        VoidReason::LastOwner => "a space keeps an owner and a person a device: name another one first",
        VoidReason::Invite => "the invitation was withdrawn or used up: ask for a new one",
        _ => "it would have no effect in this space",
    }
}

/// What begins a space.
pub struct Founding<'a> {
    /// The random bytes that both pairs of keys were derived from.
    pub genesis_random: [u8; 32],
    /// The founder.
    pub member: MemberId,
    /// The founding device's keys in this space.
    pub keys: &'a DeviceKeys,
    /// The paper key's keys in this space.
    pub recovery: &'a DeviceKeys,
    /// Where the space can be found; may be empty.
    pub relays: Vec<String>,
}

/// A new space: what to store and to push.
pub struct Founded {
    /// The space.
    pub space: SpaceId,
    /// The first record; its id is the space's.
    pub genesis: Record,
    /// The first epoch, sealed to the founding device and the paper key.
    pub epoch: Record,
    /// Its name in envelopes.
    pub epoch_ref: EpochRef,
    /// Its secret.
    pub secret: EpochSecret,
}

/// Makes a space with its first epoch.
///
/// # Errors
/// [`RecordsError::Record`] when `relays` break a limit.
pub fn found_space(founding: &Founding<'_>, random: &mut dyn Random) -> Result<Founded, RecordsError> {
    let Founding { genesis_random, member, keys, recovery, relays } = founding;
    let body = Body::Genesis {
        random: *genesis_random,
        member: *member,
        device: keys.entry(genesis_random, member, DeviceKind::Normal),
        recovery: recovery.entry(genesis_random, member, DeviceKind::Recovery),
        relays: relays.clone(),
    };
    let genesis = sign(keys, SpaceId::ZERO, 0, &[], &body)?;
    let space = genesis.space();
    let readers = [(keys.sign_pk(), keys.hpke_pk()), (recovery.sign_pk(), recovery.hpke_pk())];
    let secret = EpochSecret::generate(random);
    let new = NewEpoch { generation: 1, parents: Vec::new(), secret: &secret };
    let epoch = epoch_record(keys, &space, (&[genesis.id()], 1), &new, &readers, random)?;
    let epoch_ref = epoch_ref(&epoch.id());
    Ok(Founded { space, genesis, epoch, epoch_ref, secret })
}

/// A device to be added, and everything this device knows of the space.
pub struct AddDevice<'a> {
    /// The space's state.
    pub membership: &'a Membership,
    /// All its records: the new record cites the deepest heads.
    pub records: &'a [Record],
    /// All epochs held here: the new device will be able to read all of it.
    pub keyring: &'a Keyring,
    /// The keys of the device that adds.
    pub keys: &'a DeviceKeys,
    /// Whose device it will be.
    pub member: MemberId,
    /// Its keys with their proof.
    pub entry: DeviceEntry,
    /// What it calls itself; only readers of the space see it.
    pub name: &'a str,
}

/// Makes the DeviceAdd record, and KeyGrant records behind it if there are more epochs than it can hold. The first
/// record is the DeviceAdd; of an author who may not write the only one: the newest epochs, which it grants, wrap the
/// older ones, and writers grant what is lacking.
///
/// # Errors
/// [`RecordsError`].
pub fn add_device(add: &AddDevice<'_>, random: &mut dyn Random) -> Result<Vec<Record>, RecordsError> {
    let AddDevice { membership, keys, member, entry, .. } = add;
    let space = membership.space;
    entry.check_keys().map_err(|_| RecordsError::Entry)?;
    entry.check_proof(&membership.genesis_random, member).map_err(|_| RecordsError::Entry)?;
    if membership.devices.contains_key(&entry.sign_pk) {
        return Err(RecordsError::KeyInUse);
    }
    let (newest, secret) = recover::newest_held(membership, add.keyring).ok_or(RecordsError::NoEpoch)?;
    let enc_meta = seal_name(&space, Named::Device(&entry.sign_pk), (newest, secret), add.name, random)?;
    let mut grants = grants(add, random)?;
    let mut later = grants.split_off(grants.len().min(DEVICE_ADD_GRANTS_MAX));
    if !membership.may_write(&keys.sign_pk()) {
        later.clear();
    }

    let (parents, depth) = cite_heads(membership, add.records);
    let body = Body::DeviceAdd { member: *member, device: entry.clone(), enc_meta, grants };
    has_room(membership, add.records.len(), &keys.sign_pk(), &body)?;
    let mut records = vec![sign(keys, space, depth, &parents, &body)?];
    for (epoch, seal) in later {
        let (parent, depth) = records.last().map_or((RecordId::ZERO, 0), |last| (last.id(), last.depth()));
        records.push(sign(keys, space, depth + 1, &[parent], &Body::KeyGrant { epoch, seals: vec![seal] })?);
    }
    Ok(records)
}

/// As [`add_device`], for a device that nobody waits for: what would have no effect is not written.
///
/// # Errors
/// As [`add_device`], and [`RecordsError::Void`].
pub fn enrol_device(add: &AddDevice<'_>, random: &mut dyn Random) -> Result<Vec<Record>, RecordsError> {
    let added = add_device(add, random)?;
    let after = Membership::evaluate(&add.membership.space, add.records.iter().chain(&added));
    let after = after.map_err(|_| RecordsError::Full)?;
    match added.iter().find_map(|record| after.void.get(&record.id())) {
        None => Ok(added),
        Some(reason) => Err(RecordsError::Void(*reason)),
    }
}

/// One seal for every held epoch that is in force, newest first.
fn grants(add: &AddDevice<'_>, random: &mut dyn Random) -> Result<Vec<(EpochRef, Seal)>, RecordsError> {
    let space = add.membership.space;
    let mut epochs: Vec<_> = add.membership.epochs.iter().collect();
    epochs.sort_by_key(|(_, epoch)| std::cmp::Reverse(epoch.generation));
    let held = epochs.into_iter().filter_map(|(id, epoch)| Some((id, epoch, add.keyring.find(id)?)));
    held.map(|(id, epoch, secret)| {
        let facts = EpochFacts {
            generation: epoch.generation,
            parents: &epoch.parents,
            commit: &secret.commitment(),
            author: &add.keys.sign_pk(),
        };
        let to = (add.entry.sign_pk, add.entry.hpke_pk);
        Ok((*id, seal_epoch(&space, &facts, &to, secret, random)?))
    })
    .collect()
}

/// The parents and depth of the next record: all heads, or the deepest ones when there are more than fit.
fn cite_heads(membership: &Membership, records: &[Record]) -> (Vec<RecordId>, u64) {
    let depths: BTreeMap<RecordId, u64> = records.iter().map(|record| (record.id(), record.depth())).collect();
    let mut heads = membership.heads.clone();
    heads.sort_by_key(|head| std::cmp::Reverse(depths.get(head).copied().unwrap_or(0)));
    heads.truncate(RECORD_PARENTS_MAX);
    (heads, membership.depth + 1)
}

/// Whether a space that holds so many records takes this one: the last of them are kept for what keeps it safe, here as
/// at relays, so that nothing this device writes stands in the way of a removal.
fn has_room(membership: &Membership, held: usize, author: &SignPk, body: &Body) -> Result<(), RecordsError> {
    let kept = if membership.is_for_safety(author, body) { 0 } else { SPACE_SAFETY_RECORDS };
    if held < SPACE_RECORDS_MAX - kept { Ok(()) } else { Err(RecordsError::Full) }
}

fn sign(
    keys: &DeviceKeys,
    space: SpaceId,
    depth: u64,
    parents: &[RecordId],
    body: &Body,
) -> Result<Record, RecordsError> {
    let unsigned = Unsigned::new(space, keys.sign_pk(), depth, parents, body)?;
    let signature = keys.sign(&unsigned.message());
    Ok(unsigned.sign_with(&signature)?)
}

/// The epoch that a record makes: the first 16 bytes of its id.
#[must_use]
pub fn epoch_ref(record: &RecordId) -> EpochRef {
    let mut id = [0; EpochRef::BYTES];
    id.copy_from_slice(&record.0[..EpochRef::BYTES]);
    EpochRef(id)
}
