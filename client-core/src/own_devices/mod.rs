//! Which devices of a person belong together: each ties the key that it has in another space to the one it has at home.
//!
//! A device's keys differ in every space, and nothing in a shared space says whose they are at home. So every device
//! writes a **claim** into the document of its person's home space, which nobody else reads. From claims, and from who is
//! enrolled at home and there, each device of the person decides alone and alike whom to let in and whom to remove.
//!
//! ```text
//! claim = sign_pk 32 ‖ hpke_pk 32 ‖ member 16 ‖ proof 64 ‖ home signature 64 ‖ space signature 64
//!   proof            the enrolment proof of the device's entry in the space: a DeviceAdd is made of it
//!   home signature   by the key at home, over ctx("own-device") ‖ space ‖ sign_pk ‖ hpke_pk ‖ member
//!   space signature  by sign_pk, over ctx("own-device-home") ‖ space ‖ key at home
//! ```
//!
//! Either signature alone would let one device speak for another: the first, claim a key that it does not hold; the second,
//! give its own key to another device at home.

mod asking;
#[cfg(test)]
mod tests;

use lifeos_sync_protocol::handshake::verify;
use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{HpkePk, MemberId, RecordId, SignPk, Signature, SpaceId};
use lifeos_sync_protocol::membership::{Device, Membership};
use lifeos_sync_protocol::record::{DeviceEntry, DeviceKind, Record};

use crate::keys::DeviceKeys;

pub use asking::Asking;

/// Length of a claim.
pub const CLAIM_BYTES: usize = 32 + 32 + 16 + 3 * 64;

/// A space and who the person is in it: what a claim is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The space.
    pub space: SpaceId,
    /// What the device's keys there are derived from.
    pub genesis_random: [u8; 32],
    /// Who the person is there.
    pub member: MemberId,
}

/// A claim that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The device at home.
    pub home: SignPk,
    /// Its keys in the space, with their proof.
    pub entry: DeviceEntry,
    /// Whose device it says to be there.
    pub member: MemberId,
}

/// Bytes that claim nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Not as long as a claim.
    #[error("a claim has 272 bytes")]
    Length,
    /// A key is weak.
    #[error("a claimed key is weak")]
    Key,
    /// The enrolment proof is not for this space and member.
    #[error("the claimed keys are not proven for this space and member")]
    Proof,
    /// The device at home did not sign it.
    #[error("the device at home did not sign the claim")]
    Home,
    /// The claimed key did not sign for this device at home.
    #[error("the claimed key did not sign for this device")]
    Space,
}

/// The claim of the device that has the keys `home` at home and `keys` in the place.
#[must_use]
pub fn claim(home: &DeviceKeys, keys: &DeviceKeys, place: &Place) -> Vec<u8> {
    let entry = keys.entry(&place.genesis_random, &place.member, DeviceKind::Normal);
    let of_home = home.sign(&home_message(&place.space, &entry.sign_pk, &entry.hpke_pk, &place.member));
    let of_space = keys.sign(&space_message(&place.space, &home.sign_pk()));
    [&entry.sign_pk.0[..], &entry.hpke_pk.0, &place.member.0, &entry.proof.0, &of_home.0, &of_space.0].concat()
}

/// Checks what stands as the claim of the device `home` for a space that begins with `genesis_random`.
///
/// # Errors
/// [`ClaimError`]; such bytes are passed over.
pub fn check_claim(
    space: &SpaceId,
    genesis_random: &[u8; 32],
    home: &SignPk,
    bytes: &[u8],
) -> Result<Claim, ClaimError> {
    let Parts { entry, member, of_home, of_space } = Parts::split(bytes).ok_or(ClaimError::Length)?;
    if entry.hpke_pk == HpkePk::ZERO || entry.check_keys().is_err() {
        return Err(ClaimError::Key);
    }
    entry.check_proof(genesis_random, &member).map_err(|_| ClaimError::Proof)?;
    verify(home, &home_message(space, &entry.sign_pk, &entry.hpke_pk, &member), &of_home)
        .map_err(|_| ClaimError::Home)?;
    verify(&entry.sign_pk, &space_message(space, home), &of_space).map_err(|_| ClaimError::Space)?;
    Ok(Claim { home: *home, entry, member })
}

fn home_message(space: &SpaceId, sign_pk: &SignPk, hpke_pk: &HpkePk, member: &MemberId) -> Vec<u8> {
    [&ctx("own-device")[..], &space.0, &sign_pk.0, &hpke_pk.0, &member.0].concat()
}

fn space_message(space: &SpaceId, home: &SignPk) -> Vec<u8> {
    [&ctx("own-device-home")[..], &space.0, &home.0].concat()
}

/// A claim taken apart, nothing of it checked.
struct Parts {
    entry: DeviceEntry,
    member: MemberId,
    of_home: Signature,
    of_space: Signature,
}

impl Parts {
    fn split(bytes: &[u8]) -> Option<Self> {
        let (sign_pk, rest) = bytes.split_first_chunk()?;
        let (hpke_pk, rest) = rest.split_first_chunk()?;
        let (member, rest) = rest.split_first_chunk()?;
        let (proof, rest) = rest.split_first_chunk()?;
        let (of_home, rest) = rest.split_first_chunk()?;
        let of_space: [u8; 64] = rest.try_into().ok()?;
        let entry = DeviceEntry {
            sign_pk: SignPk(*sign_pk),
            hpke_pk: HpkePk(*hpke_pk),
            kind: DeviceKind::Normal,
            proof: Signature(*proof),
        };
        Some(Self { entry, member: MemberId(*member), of_home: Signature(*of_home), of_space: Signature(of_space) })
    }
}

/// One space as a person's device sees it: who is enrolled at home, who there, and what stands as claims.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    home: &'a Membership,
    home_member: MemberId,
    space: &'a Membership,
    member: MemberId,
    /// The good ones of devices that are or were the person's at home, in the order given, with their bytes.
    claims: Vec<(Claim, &'a [u8])>,
}

/// A person, and a space that they are a member of.
#[derive(Debug, Clone, Copy)]
pub struct Seat<'a> {
    /// The space.
    pub membership: &'a Membership,
    /// The person there.
    pub member: MemberId,
}

/// A key that is or was enrolled in the space and that a good claim ties to a device at home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tie {
    /// The device at home.
    pub home: SignPk,
    /// The same device in the space.
    pub key: SignPk,
}

/// A device to be removed from the space, because it was removed at home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gone {
    /// The device in the space.
    pub key: SignPk,
    /// The same device at home.
    pub home: SignPk,
    /// The record that removed it at home.
    pub removed_by: RecordId,
}

/// Whether a removal at home is carried into another space by the device `own`: its own, a recovery key's, that of the
/// removed device itself, and that of an elder device. Of two devices that remove each other at once the elder stays, and
/// that may come to be known later; in another space a removal is for good.
#[must_use]
pub fn may_carry(home: &Membership, records: &[Record], gone: &Gone, own: &SignPk) -> bool {
    let find = |id: &RecordId| records.iter().find(|record| record.id() == *id);
    let age = |device: &SignPk| home.devices.get(device).and_then(|device| find(&device.added_by));
    let age = |device: &SignPk| age(device).map(Record::order);
    let Some(author) = find(&gone.removed_by).map(Record::author) else { return false };
    let is_recovery = home.devices.get(&author).is_some_and(|device| device.kind == DeviceKind::Recovery);
    author == *own || author == gone.home || is_recovery || age(&author) < age(&gone.home)
}

impl<'a> Standing<'a> {
    /// Looks at what stands as claims, by the device at home, in any number and in any state; each is checked once.
    #[must_use]
    pub fn new(home: Seat<'a>, space: Seat<'a>, claims: &'a [(SignPk, Vec<u8>)]) -> Self {
        let (Seat { membership: home, member: home_member }, Seat { membership: space, member }) = (home, space);
        let mut standing = Self { home, home_member, space, member, claims: Vec::new() };
        let checked = |(device, bytes): &'a (SignPk, Vec<u8>)| {
            standing.device_at_home(device)?;
            Some((check_claim(&space.space, &space.genesis_random, device, bytes).ok()?, &bytes[..]))
        };
        standing.claims = claims.iter().filter_map(checked).collect();
        standing
    }

    /// Devices to let in: of the person, in force at home, and never enrolled in the space under any key of theirs. Of
    /// several claims of one device the first that is good counts.
    #[must_use]
    pub fn devices_to_add(&self) -> Vec<Claim> {
        if self.space.closed.is_some() || !self.space.members.contains_key(&self.member) {
            return Vec::new();
        }
        let tied = self.ties();
        let mut to_add: Vec<Claim> = Vec::new();
        for (claim, _) in &self.claims {
            let home = claim.home;
            let is_there = tied.iter().any(|tie| tie.home == home) || to_add.iter().any(|claim| claim.home == home);
            let is_at_home = self.device_at_home(&home).is_some_and(|device| device.removed_by.is_none());
            if !is_there && is_at_home && self.may_be_added(claim) {
                to_add.push(claim.clone());
            }
        }
        to_add
    }

    /// Devices to remove: of the person, in force in the space, and removed at home.
    #[must_use]
    pub fn devices_to_remove(&self) -> Vec<Gone> {
        let gone = self.ties().into_iter().filter_map(|tie| {
            let there = self.space.devices.get(&tie.key)?;
            let is_own = there.removed_by.is_none() && there.member == self.member;
            let removed_by = self.device_at_home(&tie.home)?.removed_by?;
            is_own.then_some(Gone { key: tie.key, home: tie.home, removed_by })
        });
        gone.collect()
    }

    /// Which keys that are or were enrolled in the space belong to which device at home, ascending, whoever they are a
    /// member's there.
    #[must_use]
    pub fn ties(&self) -> Vec<Tie> {
        let mut ties: Vec<Tie> = self.tying_claims().map(|(tie, _)| tie).collect();
        ties.sort_unstable();
        ties.dedup();
        ties
    }

    /// The claims that tie something, as they stand; each once. They are worth keeping: the document may change.
    #[must_use]
    pub fn claims_to_keep(&self) -> Vec<(SignPk, Vec<u8>)> {
        let mut kept: Vec<(SignPk, Vec<u8>)> =
            self.tying_claims().map(|(tie, bytes)| (tie.home, bytes.to_vec())).collect();
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    /// Whether a member of the space is this person by a claim: one device of theirs in force at home is that member's.
    #[must_use]
    pub fn is_person(&self, member: &MemberId) -> bool {
        *member == self.member
            || self.ties().iter().any(|tie| {
                let is_theirs = |device: &Device| device.removed_by.is_none() && device.member == *member;
                self.space.devices.get(&tie.key).is_some_and(is_theirs)
                    && self.device_at_home(&tie.home).is_some_and(|device| device.removed_by.is_none())
            })
    }

    fn tying_claims(&self) -> impl Iterator<Item = (Tie, &[u8])> {
        self.claims.iter().filter_map(|(claim, bytes)| {
            let enrolled = self.space.devices.get(&claim.entry.sign_pk)?;
            let tie = Tie { home: claim.home, key: claim.entry.sign_pk };
            (claim.member == enrolled.member).then_some((tie, *bytes))
        })
    }

    fn device_at_home(&self, home: &SignPk) -> Option<&Device> {
        let device = self.home.devices.get(home)?;
        (device.member == self.home_member && device.kind == DeviceKind::Normal).then_some(device)
    }

    fn may_be_added(&self, claim: &Claim) -> bool {
        claim.member == self.member && !self.space.devices.contains_key(&claim.entry.sign_pk)
    }
}
