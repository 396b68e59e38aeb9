//! Records this device writes: Genesis with its first epoch, DeviceAdd with its grants; and what it reads from
//! records: epoch secrets and device names (protocol §3, §6.3).
//!
//! ```text
//! seal   = HPKE(device's key, info = ctx("epoch-seal"),
//!               aad = space ‖ author ‖ u32 generation ‖ u32 n ‖ parents ‖ commit ‖ device_pk){epoch secret}
//! wrap   = ChaCha20-Poly1305(HKDF(new secret, ctx("wrap") ‖ parent), aad = ctx("wrap") ‖ space ‖ parent){parent secret}
//! name   = epoch ‖ salt ‖ ChaCha20-Poly1305(HKDF(secret, ctx("meta") ‖ salt),
//!               aad = ctx("meta") ‖ space ‖ device_pk ‖ epoch ‖ salt){u8 length ‖ name ‖ zeros up to 128}
//! ```
//! A secret counts only if it matches the commitment in its Epoch record: so no two recipients of one epoch can
//! have been given different secrets.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{EpochRef, HpkePk, MemberId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::limits::RECORD_PARENTS_MAX;
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, DeviceEntry, DeviceKind, Record, RecordError, Seal, Unsigned, Wrap};
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, Random, hpke_open, hpke_seal, open_once, random_bytes, seal_once};
use crate::keys::{DeviceKeys, EpochSecret, Keyring};

/// Longest device name in bytes.
pub const DEVICE_NAME_BYTES_MAX: usize = 127;
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
    /// The name is empty or longer than [`DEVICE_NAME_BYTES_MAX`].
    #[error("a device name has 1 to 127 bytes")]
    Name,
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

/// Makes the DeviceAdd record, and KeyGrant records behind it if there are more epochs than it can hold.
/// The first record is the DeviceAdd.
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
    let newest = membership.current_epoch().ok_or(RecordsError::NoEpoch)?;
    let secret = add.keyring.find(&newest).ok_or(RecordsError::NoEpoch)?;
    let enc_meta = seal_device_name(&space, &entry.sign_pk, newest, secret, add.name, random)?;
    let mut grants = grants(add, random)?;
    let later = grants.split_off(grants.len().min(DEVICE_ADD_GRANTS_MAX));

    let (parents, depth) = cite_heads(membership, add.records);
    let body = Body::DeviceAdd { member: *member, device: entry.clone(), enc_meta, grants };
    let mut records = vec![sign(keys, space, depth, &parents, &body)?];
    for (epoch, seal) in later {
        let (parent, depth) = records.last().map_or((RecordId::ZERO, 0), |last| (last.id(), last.depth()));
        records.push(sign(keys, space, depth + 1, &[parent], &Body::KeyGrant { epoch, seals: vec![seal] })?);
    }
    Ok(records)
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

/// A key generation about to be made.
struct NewEpoch<'a> {
    generation: u32,
    /// Parent epochs with their secrets, which the new epoch wraps.
    parents: Vec<(EpochRef, &'a EpochSecret)>,
    secret: &'a EpochSecret,
}

fn epoch_record(
    keys: &DeviceKeys,
    space: &SpaceId,
    (parents, depth): (&[RecordId], u64),
    new: &NewEpoch<'_>,
    readers: &[(SignPk, HpkePk)],
    random: &mut dyn Random,
) -> Result<Record, RecordsError> {
    let commit = new.secret.commitment();
    let epochs: Vec<EpochRef> = new.parents.iter().map(|(parent, _)| *parent).collect();
    let facts = EpochFacts { generation: new.generation, parents: &epochs, commit: &commit, author: &keys.sign_pk() };
    let mut seals: Vec<Seal> =
        readers.iter().map(|reader| seal_epoch(space, &facts, reader, new.secret, random)).collect::<Result<_, _>>()?;
    seals.sort_by_key(|seal| seal.device_ref);
    let wraps = new
        .parents
        .iter()
        .map(|(parent, secret)| wrap_epoch(space, new.secret, *parent, secret))
        .collect::<Result<_, _>>()?;
    let body = Body::Epoch { generation: new.generation, parents: epochs.clone(), commit, wraps, seals };
    sign(keys, *space, depth, parents, &body)
}

/// What a seal binds besides space and recipient.
struct EpochFacts<'a> {
    generation: u32,
    parents: &'a [EpochRef],
    commit: &'a [u8; 32],
    /// Who wrote the record that holds the seal.
    author: &'a SignPk,
}

impl EpochFacts<'_> {
    fn aad(&self, space: &SpaceId, device: &SignPk) -> Vec<u8> {
        let count = u32::try_from(self.parents.len()).unwrap_or(u32::MAX);
        let mut aad = [&space.0[..], &self.author.0, &self.generation.to_be_bytes(), &count.to_be_bytes()].concat();
        self.parents.iter().for_each(|parent| aad.extend_from_slice(&parent.0));
        aad.extend_from_slice(self.commit);
        aad.extend_from_slice(&device.0);
        aad
    }
}

fn device_ref(device: &SignPk) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&device.0[..16]);
    out
}

fn seal_epoch(
    space: &SpaceId,
    facts: &EpochFacts<'_>,
    (device, hpke_pk): &(SignPk, HpkePk),
    secret: &EpochSecret,
    random: &mut dyn Random,
) -> Result<Seal, CryptoError> {
    let sealed = hpke_seal(hpke_pk, None, &ctx("epoch-seal"), &facts.aad(space, device), &*secret.to_bytes(), random)?;
    let ct = sealed.ct.try_into().map_err(|_| CryptoError)?;
    Ok(Seal { device_ref: device_ref(device), enc: sealed.enc, ct })
}

fn open_seal(space: &SpaceId, facts: &EpochFacts<'_>, keys: &DeviceKeys, seal: &Seal) -> Option<EpochSecret> {
    if seal.device_ref != device_ref(&keys.sign_pk()) {
        return None;
    }
    let aad = facts.aad(space, &keys.sign_pk());
    let opened = hpke_open(&keys.hpke, None, &ctx("epoch-seal"), &aad, &seal.enc, &seal.ct).ok()?;
    committed(&opened.plaintext, facts.commit)
}

fn committed(bytes: &[u8], commit: &[u8; 32]) -> Option<EpochSecret> {
    let secret = EpochSecret::from_bytes(bytes.try_into().ok()?);
    (secret.commitment() == *commit).then_some(secret)
}

fn wrap_context(space: &SpaceId, parent: &EpochRef) -> Vec<u8> {
    [&ctx("wrap")[..], &space.0, &parent.0].concat()
}

fn wrap_epoch(space: &SpaceId, new: &EpochSecret, parent: EpochRef, secret: &EpochSecret) -> Result<Wrap, CryptoError> {
    let mut buffer = secret.to_bytes().to_vec();
    // Single use: the key depends on the new epoch's random secret and the parent, which are wrapped together once.
    let key = new.derive_key(&[&ctx("wrap"), &parent.0]);
    seal_once(&key, &wrap_context(space, &parent), &mut buffer)?;
    Ok(Wrap { parent, ct: buffer.try_into().map_err(|_| CryptoError)? })
}

fn open_wrap(space: &SpaceId, new: &EpochSecret, wrap: &Wrap, commit: &[u8; 32]) -> Option<EpochSecret> {
    let mut buffer = Zeroizing::new(wrap.ct.to_vec());
    let key = new.derive_key(&[&ctx("wrap"), &wrap.parent.0]);
    open_once(&key, &wrap_context(space, &wrap.parent), &mut buffer).ok()?;
    committed(&buffer, commit)
}

/// Every epoch secret that `keys` can open from the records in force: from seals in Epoch records, from grants in
/// DeviceAdd and KeyGrant records, and from there on through wraps to the parents. What does not open or does not
/// match its commitment is left out; an epoch that stays missing shows as [`Keyring::find`] giving nothing.
#[must_use]
pub fn open_epochs(membership: &Membership, records: &[Record], keys: &DeviceKeys) -> Keyring {
    let opener = EpochOpener::new(membership, records, keys);
    let mut keyring = Keyring::default();
    for record in records.iter().filter(|record| !membership.void.contains_key(&record.id())) {
        opener.open_record(record, &mut keyring);
    }
    opener.follow_wraps(&mut keyring);
    keyring
}

struct EpochOpener<'a> {
    membership: &'a Membership,
    keys: &'a DeviceKeys,
    epochs: BTreeMap<EpochRef, &'a Record>,
}

impl<'a> EpochOpener<'a> {
    fn new(membership: &'a Membership, records: &'a [Record], keys: &'a DeviceKeys) -> Self {
        let by_id: BTreeMap<RecordId, &Record> = records.iter().map(|record| (record.id(), record)).collect();
        let epochs = membership.epochs.iter();
        let epochs = epochs.filter_map(|(id, epoch)| Some((*id, *by_id.get(&epoch.record)?))).collect();
        Self { membership, keys, epochs }
    }

    fn open_record(&self, record: &Record, keyring: &mut Keyring) {
        match record.body() {
            Body::Epoch { seals, .. } => {
                let epoch = epoch_ref(&record.id());
                seals.iter().for_each(|seal| self.open(record, epoch, seal, keyring));
            }
            Body::KeyGrant { epoch, seals } => {
                seals.iter().for_each(|seal| self.open(record, *epoch, seal, keyring));
            }
            Body::DeviceAdd { device, grants, .. } if device.sign_pk == self.keys.sign_pk() => {
                grants.iter().for_each(|(epoch, seal)| self.open(record, *epoch, seal, keyring));
            }
            _ => {}
        }
    }

    fn open(&self, holder: &Record, epoch: EpochRef, seal: &Seal, keyring: &mut Keyring) {
        if keyring.find(&epoch).is_some() {
            return;
        }
        let Some(Body::Epoch { generation, parents, commit, .. }) = self.body(&epoch) else { return };
        let facts = EpochFacts { generation: *generation, parents, commit, author: &holder.author() };
        if let Some(secret) = open_seal(&self.membership.space, &facts, self.keys, seal) {
            keyring.insert(epoch, secret);
        }
    }

    /// Newest first: a parent opened here is itself visited later.
    fn follow_wraps(&self, keyring: &mut Keyring) {
        let mut epochs: Vec<_> = self.membership.epochs.iter().collect();
        epochs.sort_by_key(|(_, epoch)| std::cmp::Reverse(epoch.generation));
        for (id, _) in epochs {
            let (Some(secret), Some(Body::Epoch { wraps, .. })) = (keyring.find(id).cloned(), self.body(id)) else {
                continue;
            };
            for wrap in wraps.iter().filter(|wrap| self.membership.epochs.contains_key(&wrap.parent)) {
                let Some(Body::Epoch { commit, .. }) = self.body(&wrap.parent) else { continue };
                let parent = open_wrap(&self.membership.space, &secret, wrap, commit);
                if let (Some(parent), None) = (parent, keyring.find(&wrap.parent)) {
                    keyring.insert(wrap.parent, parent);
                }
            }
        }
    }

    fn body(&self, epoch: &EpochRef) -> Option<&'a Body> {
        self.epochs.get(epoch).map(|record| record.body())
    }
}

const NAME_PLAINTEXT_BYTES: usize = DEVICE_NAME_BYTES_MAX + 1;
const SALT_BYTES: usize = 16;

fn name_context(space: &SpaceId, device: &SignPk, epoch: &EpochRef, salt: &[u8]) -> Vec<u8> {
    [&ctx("meta")[..], &space.0, &device.0, &epoch.0, salt].concat()
}

/// Seals a device's name to the readers of the space; every name gives the same number of bytes.
fn seal_device_name(
    space: &SpaceId,
    device: &SignPk,
    epoch: EpochRef,
    secret: &EpochSecret,
    name: &str,
    random: &mut dyn Random,
) -> Result<Vec<u8>, RecordsError> {
    let length = u8::try_from(name.len()).map_err(|_| RecordsError::Name)?;
    if name.is_empty() || name.len() > DEVICE_NAME_BYTES_MAX {
        return Err(RecordsError::Name);
    }
    let salt: [u8; SALT_BYTES] = random_bytes(random);
    let mut buffer = vec![length];
    buffer.extend_from_slice(name.as_bytes());
    buffer.resize(NAME_PLAINTEXT_BYTES, 0);
    let key = secret.derive_key(&[&ctx("meta"), &salt]);
    seal_once(&key, &name_context(space, device, &epoch, &salt), &mut buffer)?;
    Ok([&epoch.0[..], &salt, &buffer].concat())
}

/// Reads the name out of a DeviceAdd's `enc_meta`; nothing when the epoch is not held or the bytes do not open.
#[must_use]
pub fn open_device_name(space: &SpaceId, device: &SignPk, enc_meta: &[u8], keyring: &Keyring) -> Option<String> {
    let (epoch, rest) = enc_meta.split_first_chunk::<{ EpochRef::BYTES }>()?;
    let (salt, ct) = rest.split_first_chunk::<SALT_BYTES>()?;
    let epoch = EpochRef(*epoch);
    let key = keyring.find(&epoch)?.derive_key(&[&ctx("meta"), salt]);
    let mut buffer = ct.to_vec();
    open_once(&key, &name_context(space, device, &epoch, salt), &mut buffer).ok()?;
    let (length, rest) = buffer.split_first()?;
    String::from_utf8(rest.get(..usize::from(*length))?.to_vec()).ok()
}
