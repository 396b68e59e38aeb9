//! Links without approval that let nobody in any more: which those are, and who came beyond their number.
//!
//! A Join is judged by what its author had seen, so that a link which is used up or over still lets in whoever brings a
//! Join that has seen nothing but the invitation. Withdrawing the link ends that: a Join beside it or behind it is void.

use std::collections::BTreeSet;

use lifeos_sync_protocol::ids::{MemberId, RecordId, SignPk};
use lifeos_sync_protocol::membership::{Invite, Membership};
use lifeos_sync_protocol::record::{Body, Record};

use super::in_force;

/// Whether an invitation lets one more in, by this device's clock.
#[must_use]
pub fn is_open(invite: &Invite, now_ms: i64) -> bool {
    invite.is_open(u64::try_from(now_ms).unwrap_or(0))
}

/// Links without approval that are used up or over, that nobody withdrew, and that this device may withdraw.
#[must_use]
pub fn links_to_withdraw(membership: &Membership, device: &SignPk, now_ms: i64) -> Vec<RecordId> {
    let is_auto = |invite: &Invite| invite.auto_epoch.is_some() && !invite.is_revoked;
    let closed = membership.invites.iter().filter(|(_, invite)| is_auto(invite) && !is_open(invite, now_ms));
    let may = |invite: &RecordId| membership.may_author(device, &Body::InviteRevoke { invite: *invite }).is_ok();
    closed.map(|(id, _)| *id).filter(may).collect()
}

/// A Join by a link without approval that came when the link had let in as many as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beyond {
    /// Its number among the records.
    pub(super) at: usize,
    /// The link.
    pub(super) link: RecordId,
    /// Whom it let in.
    pub(crate) member: MemberId,
}

/// Who came by a link beyond its number, in the order in which the records arrived here, and whose role nobody has set
/// since. The relay's door takes none of these: they came from a relay that lies, or another member brought them.
pub(crate) fn beyond_number(membership: &Membership, records: &[Record]) -> Vec<Beyond> {
    let is_over = |invite: &Invite| invite.auto_epoch.is_some() && invite.uses > invite.uses_max;
    let over: Vec<_> = membership.invites.iter().filter(|(_, invite)| is_over(invite)).collect();
    if over.is_empty() {
        return Vec::new();
    }
    let approved = approved(membership, records);
    let late = over.into_iter().flat_map(|(link, invite)| {
        let by_link = move |(_, record): &(usize, &Record)| {
            membership.joins.get(&record.id()).is_some_and(|join| join.invite == *link)
        };
        let joins = records.iter().enumerate().filter(by_link).skip(usize::try_from(invite.uses_max).unwrap_or(0));
        joins.filter_map(|(at, record)| {
            let member = membership.joins.get(&record.id())?.member;
            Some(Beyond { at, link: *link, member })
        })
    });
    late.filter(|join| !approved.contains(&join.member)).collect()
}

/// Members whose role somebody else has set.
fn approved(membership: &Membership, records: &[Record]) -> BTreeSet<MemberId> {
    let set = in_force(membership, records).filter_map(|record| {
        let Body::RoleSet { member, .. } = record.body() else { return None };
        let author = membership.devices.get(&record.author())?;
        (author.member != *member).then_some(*member)
    });
    set.collect()
}
