//! Whose word makes a checkpoint count: others' before one's own (protocol §5.3).

use std::collections::BTreeSet;

use super::{CheckpointStanding, Membership};
use crate::ids::{MemberId, RecordId, SignPk};
use crate::limits::{GRACE_DAYS, GRACE_DAYS_MIN};

impl Membership {
    /// Days between a checkpoint's endorsement and its effect.
    #[must_use]
    pub fn grace_days(&self) -> u32 {
        self.policy.as_ref().map_or(GRACE_DAYS, |policy| policy.grace_days).max(GRACE_DAYS_MIN)
    }

    /// How far a checkpoint has come by what devices in force say of it; `None`: there is no such checkpoint.
    ///
    /// One objection blocks. Enough endorsements are those of as many other members as the rules ask for, or of all
    /// there are if they are fewer; where nobody else is a member, of another device of the maker's; where there is no
    /// other device, the maker's own, who then has fetched everything back and compared it.
    #[must_use]
    pub fn checkpoint_standing(&self, checkpoint: &RecordId) -> Option<CheckpointStanding> {
        let made = self.checkpoints.get(checkpoint)?;
        if !made.objections.is_empty() {
            return Some(CheckpointStanding::Blocked);
        }
        let hands = || self.devices.iter().filter(|(_, device)| device.is_hand());
        let others: BTreeSet<MemberId> =
            hands().map(|(_, device)| device.member).filter(|member| *member != made.member).collect();
        let is_endorsed = if others.is_empty() {
            let by_own = |device: &SignPk| made.endorsed_by.contains(device);
            match hands().any(|(device, _)| *device != made.maker) {
                true => hands().any(|(device, _)| *device != made.maker && by_own(device)),
                false => by_own(&made.maker),
            }
        } else {
            let needed = self.policy.as_ref().map_or(1, |policy| policy.endorse_k.max(1));
            let members = made.endorsed_by.iter().filter_map(|device| Some(self.devices.get(device)?.member));
            let endorsing = members.collect::<BTreeSet<_>>().intersection(&others).count();
            endorsing >= others.len().min(usize::try_from(needed).unwrap_or(usize::MAX))
        };
        Some(if is_endorsed { CheckpointStanding::Endorsed } else { CheckpointStanding::Proposed })
    }
}
