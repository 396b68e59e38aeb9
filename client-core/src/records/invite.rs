//! Records about people who come and spaces that end: invitations, admissions, closing.

use std::collections::BTreeSet;

use lifeos_sync_protocol::ids::{HpkePk, MemberId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record, Role};

use super::draft::Draft;
use super::links::beyond_number;
use super::names::{Named, seal_name};
use super::recover::newest_held;
use super::ring::EpochOpener;
use super::{RecordsError, cite_heads, has_room, in_force, sign};
use crate::crypto::Random;
use crate::keys::{DeviceKeys, Keyring, OwnKeys};

/// What an invitation offers.
#[derive(Debug, Clone, Copy)]
pub struct InviteTerms {
    /// Public keys of its secret.
    pub keys: (SignPk, HpkePk),
    /// What who joins becomes.
    pub role: Role,
    /// When it ends (ms UTC).
    pub expires_ms: u64,
    /// How many may join.
    pub uses_max: u32,
    /// Without approval: the link itself opens the present epoch.
    pub auto: bool,
}

impl Draft<'_> {
    /// Invites by link.
    ///
    /// # Errors
    /// [`RecordsError::Void`] when this device may not; [`RecordsError::NoEpoch`] for a link that should open an
    /// epoch which is not held.
    pub fn invite(&mut self, terms: &InviteTerms, random: &mut dyn Random) -> Result<RecordId, RecordsError> {
        let InviteTerms { keys, role, expires_ms, uses_max, auto } = *terms;
        let auto_seal = if auto {
            let epoch = self.membership().current_epoch().ok_or(RecordsError::NoEpoch)?;
            self.seal_to(&epoch, &[keys], random)?.pop().map(|seal| (epoch, seal))
        } else {
            None
        };
        self.add(&Body::Invite { invite_pk: keys.0, role, expires_ms, uses_max, auto_seal })
    }

    /// Withdraws an invitation. If its link opened an epoch, a new one is made at once: whoever has the link could
    /// read on otherwise.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn revoke_invite(&mut self, invite: RecordId, random: &mut dyn Random) -> Result<(), RecordsError> {
        let was_auto = self.membership().invites.get(&invite).is_some_and(|invite| invite.auto_epoch.is_some());
        self.withdraw(invite)?;
        if was_auto { self.rotate(random).map(drop) } else { Ok(()) }
    }

    /// Withdraws an invitation, where the new epoch comes with something else. Who came by a link beyond its number goes
    /// with it: the record stands beside those Joins, upon what was here before the first of them.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn withdraw(&mut self, invite: RecordId) -> Result<RecordId, RecordsError> {
        let body = Body::InviteRevoke { invite };
        let Some((parents, depth)) = self.place_before_late(&invite) else { return self.add(&body) };
        // Whoever was enrolled, or allowed, only later cannot write it there.
        self.add_at(&parents, depth, &body).or_else(|_| self.add(&body))
    }

    /// What was here before the first Join beyond a link's number; nothing if somebody was let in after it all the same.
    fn place_before_late(&self, link: &RecordId) -> Option<(Vec<RecordId>, u64)> {
        let mut late = beyond_number(self.membership(), self.records());
        late.retain(|join| join.link == *link);
        let first = late.iter().map(|join| join.at).min()?;
        let joins = self.membership().joins.values().filter(|join| join.invite == *link).count();
        let uses_max = usize::try_from(self.membership().invites.get(link)?.uses_max).ok()?;
        if joins != uses_max + late.len() {
            return None;
        }
        let before = self.records().get(..first)?;
        let known = Membership::evaluate(&self.membership().space, before).ok()?;
        let (mut parents, depth) = cite_heads(&known, before);
        parents.sort_unstable();
        Some((parents, depth))
    }

    /// Withdraws the links of [`auto_links`]. One that this device may not withdraw stops nothing: gives those that are
    /// left open. The new epoch comes with what they are withdrawn for.
    pub fn withdraw_links(&mut self, member: &MemberId, devices: &[SignPk]) -> Vec<RecordId> {
        let mut links = auto_links(self.membership(), member, devices);
        links.retain(|invite| self.withdraw(*invite).is_err());
        links
    }

    /// Admits who asked, with what the invitation promised, and gives the new devices the present epoch. `name` is what
    /// all who read here will see them called; without one they are called what they call themselves. Gives who they are.
    ///
    /// # Errors
    /// [`RecordsError`].
    pub fn admit(
        &mut self,
        join: &Record,
        role: Role,
        name: Option<&str>,
        random: &mut dyn Random,
    ) -> Result<MemberId, RecordsError> {
        let Body::Join { member, devices, .. } = join.body() else { return Err(RecordsError::Entry) };
        let (member, devices) = (*member, devices.clone());
        let enc_meta = name.map_or(Ok(Vec::new()), |name| self.seal_name(Named::Member(&member), name, random))?;
        self.add(&Body::MemberAdd { member, role, enc_meta, devices })?;
        self.grant_lacking(random)?;
        Ok(member)
    }

    fn seal_name(&self, named: Named<'_>, name: &str, random: &mut dyn Random) -> Result<Vec<u8>, RecordsError> {
        let held = newest_held(self.membership(), self.keyring()).ok_or(RecordsError::NoEpoch)?;
        seal_name(&self.membership().space, named, held, name, random)
    }

    /// Closes the space for good.
    ///
    /// # Errors
    /// [`RecordsError::Void`] when this device may not.
    pub fn close(&mut self, successor: Option<SpaceId>) -> Result<RecordId, RecordsError> {
        self.add(&Body::Close { successor })
    }
}

/// Links without approval, not withdrawn, that one of `devices` made or by which `member` came: whoever knows the secret
/// of one comes in by it alone, also when it was used up, by a request that cites only the invitation.
#[must_use]
pub fn auto_links(membership: &Membership, member: &MemberId, devices: &[SignPk]) -> Vec<RecordId> {
    let came_by: BTreeSet<RecordId> =
        membership.joins.values().filter(|join| join.member == *member).map(|join| join.invite).collect();
    let open = membership.invites.iter().filter(|(_, link)| !link.is_revoked && link.auto_epoch.is_some());
    let theirs = open.filter(|(id, link)| devices.contains(&link.author) || came_by.contains(id));
    theirs.map(|(id, _)| *id).collect()
}

/// Every device that a member ever had: a removal cuts the streams of all.
#[must_use]
pub fn devices_of(membership: &Membership, member: &MemberId) -> Vec<SignPk> {
    let own = membership.devices.iter().filter(|(_, device)| device.member == *member);
    own.map(|(key, _)| *key).collect()
}

/// A record on top of all others, by somebody whom no record names yet.
///
/// # Errors
/// [`RecordsError::Record`] for a body over a limit; [`RecordsError::Full`].
pub fn next_record(
    keys: &DeviceKeys,
    membership: &Membership,
    records: &[Record],
    body: &Body,
) -> Result<Record, RecordsError> {
    has_room(membership, records.len(), &keys.sign_pk(), body)?;
    let (mut parents, depth) = cite_heads(membership, records);
    parents.sort_unstable();
    sign(keys, membership.space, depth, &parents, body)
}

/// The epochs that an invitation without approval opens to the holder of its secret.
#[must_use]
pub fn open_invite(membership: &Membership, records: &[Record], keys: &DeviceKeys) -> Keyring {
    let mut opener = EpochOpener::new(membership, records, OwnKeys::first(keys));
    for record in in_force(membership, records) {
        if let Body::Invite { invite_pk, auto_seal: Some((epoch, seal)), .. } = record.body()
            && *invite_pk == keys.sign_pk()
        {
            opener.open(record, *epoch, seal);
        }
    }
    opener.follow_wraps();
    opener.keyring
}

/// The requests to join that nobody has answered, with their invitation. One whose device was in the space before is
/// none: its person left or was removed, and no key is enrolled twice.
#[must_use]
pub fn open_requests<'r>(membership: &Membership, records: &'r [Record]) -> Vec<(&'r Record, RecordId)> {
    let open = membership.joins.iter().filter(|(_, join)| !join.is_admitted);
    let found = open.filter_map(|(id, join)| {
        let record = records.iter().find(|record| record.id() == *id)?;
        let gone = membership.invites.get(&join.invite).is_none_or(|invite| invite.is_revoked);
        let Body::Join { devices, .. } = record.body() else { return None };
        let was_here = devices.iter().any(|device| membership.devices.contains_key(&device.sign_pk));
        (!gone && !was_here).then_some((record, join.invite))
    });
    found.collect()
}
