//! The people of a space: who they are, what they may do, and how they leave.

use lifeos_sync_protocol::ids::{MemberId, RecordId, SignPk};
use lifeos_sync_protocol::record::{DeviceKind, RemoveReason, Role};

use super::{Client, ClientError, KeyStatus, MemberStatus, RemovalReport};
use crate::records::Draft;
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

    /// Gives a member another role. Who loses the right to write keeps reading; a new key is made.
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Invalid`] when this device may not do that.
    pub async fn member_set_role(&self, member: &str, role: Role) -> Result<RemovalReport, ClientError> {
        let (member, name) = self.find_member(member)?;
        let devices = self.devices_of(&member);
        let (space, cut) = (self.space(), role == Role::Reader);
        let change = |draft: &mut Draft<'_>, store: &Store| {
            let cuts = if cut { store.cuts(&space, &devices)? } else { Vec::new() };
            draft.set_role(member, role, cuts)?;
            Ok(())
        };
        let ((), written) = self.write_records(cut, change).await?;
        Ok(RemovalReport::new(name, Vec::new(), written))
    }

    /// Removes a member with all devices, and makes a new key. What they hold already they keep.
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Invalid`] when this device may not do that.
    pub async fn member_remove(&self, member: &str, reason: RemoveReason) -> Result<RemovalReport, ClientError> {
        let (member, name) = self.find_member(member)?;
        let devices = self.devices_of(&member);
        let space = self.space();
        let is_other = !devices.contains(&self.device());
        let links = if is_other { self.links_of(Some(member), &devices) } else { Vec::new() };
        let remove = |draft: &mut Draft<'_>, store: &Store| {
            links.iter().try_for_each(|invite| draft.withdraw(*invite).map(drop))?;
            draft.remove_member(member, reason, store.cuts(&space, &devices)?)?;
            Ok(())
        };
        let ((), written) = self.write_records(is_other, remove).await?;
        Ok(RemovalReport::new(name, devices.clone(), written))
    }

    /// Links without approval that these devices made, or by which the member came: they would let it in again.
    pub(super) fn links_of(&self, member: Option<MemberId>, devices: &[SignPk]) -> Vec<RecordId> {
        let state = self.shared.state();
        let came_by = |invite: &RecordId| {
            state.membership.joins.values().any(|join| join.invite == *invite && Some(join.member) == member)
        };
        let open = state.membership.invites.iter().filter(|(_, link)| !link.is_revoked && link.auto_epoch.is_some());
        let theirs = open.filter(|(id, link)| devices.contains(&link.author) || came_by(id));
        theirs.map(|(id, _)| *id).collect()
    }

    /// Every device the member ever had: a removal cuts all their streams.
    pub(super) fn devices_of(&self, member: &MemberId) -> Vec<SignPk> {
        let state = self.shared.state();
        let own = state.membership.devices.iter().filter(|(_, device)| device.member == *member);
        own.map(|(key, _)| *key).collect()
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

/// A role in a word.
pub(super) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Admin => "admin",
        Role::Editor => "editor",
        Role::Reader => "reader",
    }
}
