//! What both ways of linking do once the two devices share a secret: offer spaces, answer with keys, grant, and
//! check what was granted.

use lifeos_sync_protocol::ids::{HpkePk, MemberId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, DeviceEntry, DeviceKind, Record};

use super::message::{Grant, Keys, Offer, PERSON_BYTES_MAX, RELAYS_MAX};
use super::{Fault, LINK_SPACES_MAX, LinkError, OfferedSpace, check_name, planted};
use crate::keys::{DeviceKeys, DeviceRoot};

/// The new device's keys in one space, checked: the input of `records::add_device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The space.
    pub space: SpaceId,
    /// Whose device it will be.
    pub member: MemberId,
    /// Its keys and proof.
    pub entry: DeviceEntry,
}

/// The records that add the new device to one space, after they were published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantedSpaceInput {
    /// The space.
    pub space: SpaceId,
    /// The DeviceAdd record.
    pub device_add: RecordId,
    /// The last record that goes with it (the same one, if no KeyGrant followed).
    pub head: RecordId,
}

/// What the new device was granted. To be believed only after [`Granted::prove`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// What the person is called, to be shown: "this device now belongs to …".
    pub person: String,
    /// Where the spaces can be found.
    pub relays: Vec<String>,
    /// The spaces; the first one is the home.
    pub spaces: Vec<GrantedSpace>,
}

/// One granted space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantedSpace {
    /// The space.
    pub space: SpaceId,
    /// The member that this device belongs to.
    pub member: MemberId,
    /// What this device's keys in the space are derived from.
    pub genesis_random: [u8; 32],
    /// The record that adds this device.
    pub device_add: RecordId,
    /// The newest record that goes with it.
    pub head: RecordId,
}

/// What both machines of a new device answer once they are done. The root stays theirs until it is proven.
macro_rules! new_side {
    ($machine:ident) => {
        impl $machine {
            /// What was granted, once [`LinkStep::Done`].
            #[must_use]
            pub const fn granted(&self) -> Option<&$crate::link::Granted> {
                match &self.state {
                    State::Done(granted) => Some(granted),
                    _ => None,
                }
            }

            /// This device's keys in a granted space, to ask a relay for its records.
            #[must_use]
            pub fn keys(&self, space: &$crate::link::GrantedSpace) -> $crate::keys::DeviceKeys {
                space.keys(&self.root)
            }

            /// Checks the records of every granted space; only then the root may be kept.
            ///
            /// # Errors
            /// [`LinkError::Records`], [`LinkError::Over`] before [`LinkStep::Done`].
            pub fn prove(
                &self,
                records: &[Vec<lifeos_sync_protocol::record::Record>],
            ) -> Result<$crate::link::Proven<'_>, $crate::link::LinkError> {
                self.granted().ok_or($crate::link::LinkError::Over)?.prove(&self.root, records)
            }
        }
    };
}
pub(super) use new_side;

pub(super) fn check_spaces(spaces: &[OfferedSpace]) -> Result<(), LinkError> {
    if (1..=LINK_SPACES_MAX).contains(&spaces.len()) { Ok(()) } else { Err(LinkError::TooLarge) }
}

/// An offer is for the relay that this device sees, and names at least one space, each once.
pub(super) fn check_offer(offer: &Offer, relay_pk: &SignPk) -> Result<(), LinkError> {
    if offer.relay_pk != *relay_pk {
        return Err(LinkError::RelayKey);
    }
    let mut spaces: Vec<SpaceId> = offer.spaces.iter().map(|offered| offered.space).collect();
    spaces.sort_unstable();
    spaces.dedup();
    if spaces.is_empty() || spaces.len() != offer.spaces.len() { Err(LinkError::Message) } else { Ok(()) }
}

/// The new device's answer: its keys in the order of the offer.
pub(super) fn answer(root: &DeviceRoot, name: &str, offered: &[OfferedSpace]) -> Keys {
    let entries = offered.iter().map(|offered| {
        let entry = entry(root, offered);
        (entry.sign_pk, entry.hpke_pk, entry.proof)
    });
    Keys { name: name.to_owned(), entries: entries.collect() }
}

/// The keys of an answer, each proven for its space.
pub(super) fn accept_keys(offered: &[OfferedSpace], keys: Keys) -> Result<(String, Vec<NewEntry>), LinkError> {
    check_name(&keys.name)?;
    if keys.entries.len() != offered.len() {
        return Err(LinkError::Keys);
    }
    let entries = offered.iter().zip(keys.entries).map(|(offered, (sign_pk, hpke_pk, proof))| {
        let entry = DeviceEntry { sign_pk, hpke_pk, kind: DeviceKind::Normal, proof };
        check_entry(offered, &entry)?;
        Ok(NewEntry { space: offered.space, member: offered.member, entry })
    });
    Ok((keys.name, entries.collect::<Result<_, LinkError>>()?))
}

fn check_entry(offered: &OfferedSpace, entry: &DeviceEntry) -> Result<(), LinkError> {
    let weak = entry.hpke_pk == HpkePk::ZERO || entry.check_keys().is_err();
    let proven = entry.check_proof(&offered.genesis_random, &offered.member).is_ok();
    if weak || !proven { Err(LinkError::Keys) } else { Ok(()) }
}

/// The grant of exactly the offered spaces, within its limits.
pub(super) fn make_grant(
    offered: &[OfferedSpace],
    person: &str,
    relays: &[String],
    spaces: &[GrantedSpaceInput],
) -> Result<Grant, LinkError> {
    let same = spaces.iter().map(|granted| granted.space).eq(offered.iter().map(|offered| offered.space));
    if !same || relays.len() > RELAYS_MAX || person.len() > PERSON_BYTES_MAX {
        return Err(LinkError::TooLarge);
    }
    let spaces = spaces.iter().map(|granted| (granted.space, granted.device_add, granted.head)).collect();
    Ok(Grant { person: person.to_owned(), relays: relays.to_vec(), spaces })
}

/// The grant names exactly the offered spaces, in their order.
pub(super) fn accept_grant(offered: &[OfferedSpace], grant: Grant) -> Result<Granted, LinkError> {
    let same = grant.spaces.iter().map(|(space, ..)| *space).eq(offered.iter().map(|offered| offered.space));
    if !same {
        return Err(LinkError::Message);
    }
    let spaces = offered.iter().zip(&grant.spaces);
    let spaces = spaces.map(|(offered, (space, device_add, head))| GrantedSpace {
        space: *space,
        member: offered.member,
        genesis_random: offered.genesis_random,
        device_add: *device_add,
        head: *head,
    });
    Ok(Granted { person: grant.person, relays: grant.relays, spaces: spaces.collect() })
}

fn entry(root: &DeviceRoot, offered: &OfferedSpace) -> DeviceEntry {
    let keys = root.derive_space(&offered.genesis_random);
    keys.entry(&offered.genesis_random, &offered.member, DeviceKind::Normal)
}

/// A new device whose enrolment the records show: only now its root may be kept.
#[derive(Debug)]
pub struct Proven<'a> {
    /// The root to keep.
    pub root: &'a DeviceRoot,
}

impl Granted {
    /// Checks what a relay gave for every granted space, in their order, and only then gives out the root.
    ///
    /// # Errors
    /// [`LinkError::Records`].
    pub(super) fn prove<'a>(&self, root: &'a DeviceRoot, records: &[Vec<Record>]) -> Result<Proven<'a>, LinkError> {
        if planted(Fault::KeyBeforeProof) {
            return Ok(Proven { root });
        }
        if records.len() != self.spaces.len() {
            return Err(LinkError::Records);
        }
        for (space, records) in self.spaces.iter().zip(records) {
            space.check(records, root)?;
        }
        Ok(Proven { root })
    }
}

impl GrantedSpace {
    /// Checks the records that a relay gave for this space: the Genesis is the space's and holds the promised
    /// random bytes, everything up to the head is there and in force, and the DeviceAdd adds exactly this
    /// device's keys to the promised member.
    ///
    /// # Errors
    /// [`LinkError::Records`].
    pub fn check(&self, records: &[Record], root: &DeviceRoot) -> Result<Membership, LinkError> {
        let membership = Membership::evaluate(&self.space, records).map_err(|_| LinkError::Records)?;
        let in_force = |id: &RecordId| {
            let record = records.iter().find(|record| record.id() == *id && record.space() == self.space);
            record.filter(|_| !membership.void.contains_key(id))
        };
        in_force(&self.head).ok_or(LinkError::Records)?;
        let added = in_force(&self.device_add).ok_or(LinkError::Records)?;
        let offered = OfferedSpace { space: self.space, member: self.member, genesis_random: self.genesis_random };
        let own = entry(root, &offered);
        let agreed = match added.body() {
            Body::DeviceAdd { member, device, .. } => *member == self.member && *device == own,
            _ => false,
        };
        let holds = membership.genesis_random == self.genesis_random && membership.may_read(&own.sign_pk);
        if agreed && holds { Ok(membership) } else { Err(LinkError::Records) }
    }

    /// The new device's keys in this space: it must prove one to a relay that gives it the records.
    pub(super) fn keys(&self, root: &DeviceRoot) -> DeviceKeys {
        root.derive_space(&self.genesis_random)
    }
}
