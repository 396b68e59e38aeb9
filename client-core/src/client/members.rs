//! The people of a space: who they are, what they may do, and how they leave.

use lifeos_sync_protocol::ids::{MemberId, SignPk};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{DeviceKind, RemoveReason, Role};

use super::{Client, ClientError, KeyStatus, MemberStatus, RemovalReport};
use crate::records::{Draft, devices_of};
use crate::store::Store;

impl Client {
    /// The members of the space, the most senior first.
    /// # Errors
    /// [`ClientError`].
    pub fn members(&self) -> Result<Vec<MemberStatus>, ClientError> {
        let (state, names) = (self.shared.state(), self.names()?);
        let own = state.membership.devices.get(&self.device()).map(|device| device.member);
        let mut members: Vec<_> = state.membership.members.iter().collect();
        members.sort_by_key(|(id, member)| (member.rank, **id));
        let is_person = |device: &&SignPk| {
            state.membership.devices.get(*device).is_some_and(|device| device.kind != DeviceKind::Recovery)
        };
        let status = |(id, member): (&MemberId, &lifeos_sync_protocol::membership::Member)| MemberStatus {
            member: id.to_string(),
            name: names.member(id),
            name_source: names.source(id).to_owned(),
            role: role_name(member.role).to_owned(),
            this: Some(*id) == own,
            devices: member.devices.iter().filter(is_person).count() as u64,
        };
        Ok(members.into_iter().map(status).collect())
    }

    /// Gives a member another role. Who may do less than before keeps reading; a new key is made, and they
    /// do not come in once more by a link: those that let people in at once, and that they know, are withdrawn.
    ///
    /// Syncs first if it can, so that what others did until now counts.
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Invalid`] when this device may not do that.
    pub async fn member_set_role(&self, member: &str, role: Role) -> Result<RemovalReport, ClientError> {
        self.catch_up().await?;
        let (member, name) = self.find_member(member)?;
        let space = self.space();
        let is_demoted = role_in(&self.shared.state().membership, &member) < role;
        let change = |draft: &mut Draft<'_>, store: &Store| {
            let (devices, had) = (devices_of(draft.membership(), &member), role_in(draft.membership(), &member));
            let left = if had < role { draft.withdraw_links(&member, &devices) } else { Vec::new() };
            // What they did until now as who they were stands, whatever they may from now on.
            let cuts = if had < role { store.cuts(&space, &devices)? } else { Vec::new() };
            draft.set_role(member, role, cuts)?;
            Ok(left)
        };
        // Also because of the links that they know: those opened the present key.
        let (left, written) = self.write_records(is_demoted, change).await?;
        Ok(RemovalReport::new(name, &[], &left, written))
    }

    /// Removes a member with all devices, and makes a new key. What they hold already they keep. Links that would let
    /// them in again are withdrawn.
    ///
    /// Syncs first if it can, so that what they did until now counts.
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Invalid`] when this device may not do that.
    pub async fn member_remove(&self, member: &str, reason: RemoveReason) -> Result<RemovalReport, ClientError> {
        self.catch_up().await?;
        let (member, name) = self.find_member(member)?;
        let space = self.space();
        let is_other = self.own_member().ok() != Some(member);
        let remove = |draft: &mut Draft<'_>, store: &Store| {
            let devices = devices_of(draft.membership(), &member);
            let left = if is_other { draft.withdraw_links(&member, &devices) } else { Vec::new() };
            draft.remove_member(member, reason, store.cuts(&space, &devices)?)?;
            Ok((devices, left))
        };
        let ((devices, left), written) = self.write_records(is_other, remove).await?;
        Ok(RemovalReport::new(name, &devices, &left, written))
    }

    /// A member by the beginning of the id or a name that was approved, and that name.
    pub(super) fn find_member(&self, text: &str) -> Result<(MemberId, String), ClientError> {
        let (state, names) = (self.shared.state(), self.names()?);
        let all: Vec<MemberId> = state.membership.members.keys().copied().collect();
        let member = names.find_member(text, &all)?;
        Ok((member, names.member(&member)))
    }

    /// Whether this device may write now, under which key generation, and if not why.
    /// # Errors
    /// [`ClientError`].
    pub fn key_status(&self) -> Result<KeyStatus, ClientError> {
        let state = self.shared.state();
        let membership = &state.membership;
        let current = membership.current_epoch();
        let generation = current.and_then(|epoch| membership.epochs.get(&epoch)).map(|epoch| epoch.generation);
        let fault = state.seal_key(&self.shared.keys).err();
        let role = membership.role_of(&self.device());
        let refused = self.shared.reader().reads().refused(&self.space())?;
        let text = match (refused, fault) {
            (Some(reason), _) => reason,
            (None, Some(fault)) => fault.to_string(),
            (None, None) => "edits are sealed under the current key".to_owned(),
        };
        Ok(KeyStatus {
            may_write: fault.is_none(),
            text,
            role: role.map_or("none", role_name).to_owned(),
            generation: generation.unwrap_or(0),
            held: state.keyring.len() as u64,
            known: membership.epochs.len() as u64,
        })
    }
}

/// What a member may do; as little as a reader when it is none.
pub(super) fn role_in(membership: &Membership, member: &MemberId) -> Role {
    membership.members.get(member).map_or(Role::Reader, |member| member.role)
}

/// A role in a word.
pub(super) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Admin => "admin",
        Role::Editor => "editor",
        Role::Reader => "reader",
    }
}
