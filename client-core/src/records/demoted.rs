//! Who may do less than before, and whether a key was made since (protocol §6.3): who is demoted goes on reading, so
//! no epoch becomes unclean by it, and yet the links that they know opened the present one.

use std::collections::HashMap;

use lifeos_sync_protocol::ids::{EpochRef, MemberId, RecordId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record, Role};

use super::in_force;
use super::past::Pasts;

/// Whether a demotion of somebody who is still here is in effect that the author of an epoch had not seen.
#[must_use]
pub fn is_before_demotion(membership: &Membership, records: &[Record], epoch: &EpochRef) -> bool {
    let Some(epoch) = membership.epochs.get(epoch) else { return false };
    let demotions = demotions(membership, records);
    let pasts = Pasts::of(records, demotions.iter().copied().collect());
    demotions.iter().any(|demotion| !pasts.knows(&epoch.record, demotion))
}

/// Records in force that gave a member of the space a lower role than a record before them in order of (depth, id). Of
/// two that stand beside one another the lower role counts, so one that is named without need costs one epoch at most.
fn demotions(membership: &Membership, records: &[Record]) -> Vec<RecordId> {
    let given = |record| Some((record, role_given(membership, record)?));
    let mut roles: Vec<_> = in_force(membership, records).filter_map(given).collect();
    roles.sort_by_key(|(record, _)| record.order());
    let mut had: HashMap<MemberId, Role> = HashMap::new();
    let mut demotions = Vec::new();
    for (record, (member, role)) in roles {
        let before = had.insert(member, role);
        let is_demotion = matches!(record.body(), Body::RoleSet { .. }) && before.is_some_and(|before| before < role);
        if is_demotion && membership.members.contains_key(&member) {
            demotions.push(record.id());
        }
    }
    demotions
}

/// Whom a record gives which role.
pub(crate) fn role_given(membership: &Membership, record: &Record) -> Option<(MemberId, Role)> {
    match record.body() {
        Body::Genesis { member, .. } => Some((*member, Role::Owner)),
        Body::MemberAdd { member, role, .. } | Body::RoleSet { member, role, .. } => Some((*member, *role)),
        // A request that somebody has to approve gives nothing by itself.
        Body::Join { invite, member, .. } => {
            let invite = membership.invites.get(invite).filter(|invite| invite.auto_epoch.is_some())?;
            Some((*member, invite.role))
        }
        _ => None,
    }
}
