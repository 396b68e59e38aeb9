//! The membership in force, as the rules for envelopes and records ask for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use lifeos_sync_protocol::frame::PushStatus;
use lifeos_sync_protocol::ids::{EnvelopeId, EpochRef, MemberId, RecordId, SignPk, StreamId};
use lifeos_sync_protocol::membership::{Invite, Membership, StreamLimit};
use lifeos_sync_protocol::record::{Body, Record, Role};

use crate::store::Doors;

/// Membership in force, with what every push asks for.
#[derive(Debug)]
pub(crate) struct View {
    /// The evaluated state.
    pub(crate) membership: Membership,
    /// The epoch that content should be sealed under; nothing while a new one is needed.
    current_epoch: Option<EpochRef>,
    /// All devices of each member, removed ones too.
    devices: BTreeMap<MemberId, Vec<SignPk>>,
    /// Members whom a link let in without approval, and the link.
    links: BTreeMap<MemberId, RecordId>,
    /// Good checkpoints.
    pub(super) checkpoints: BTreeMap<RecordId, Arc<Record>>,
}

/// Where an envelope wants to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) author: SignPk,
    pub(crate) stream: StreamId,
    pub(crate) seq: u32,
    pub(crate) id: EnvelopeId,
}

impl View {
    pub(crate) fn new(membership: Membership) -> Self {
        let mut devices: BTreeMap<MemberId, Vec<SignPk>> = BTreeMap::new();
        for (key, device) in &membership.devices {
            devices.entry(device.member).or_default().push(*key);
        }
        let is_auto = |invite| membership.invites.get(invite).is_some_and(|invite| invite.auto_epoch.is_some());
        let by_link = membership.joins.values().filter(|join| is_auto(&join.invite));
        let links = by_link.map(|join| (join.member, join.invite)).collect();
        let current_epoch = membership.current_epoch();
        Self { current_epoch, membership, devices, links, checkpoints: BTreeMap::new() }
    }

    /// The link that let a member in without anybody's approval.
    pub(super) fn link_of(&self, member: &MemberId) -> Option<RecordId> {
        self.links.get(member).copied()
    }

    /// Whether a record let devices in that are here now.
    pub(super) fn lets_in(&self, record: &Record) -> bool {
        let is_genesis = matches!(record.body(), Body::Genesis { .. });
        let enrolled = |key: &SignPk| self.membership.devices.get(key).filter(|device| device.removed_by.is_none());
        let came = |key: &SignPk| enrolled(key).is_some_and(|device| device.added_by == record.id());
        !is_genesis && record.body().devices().any(|device| came(&device.sign_pk))
    }

    /// Whether this key is that of an invitation in force: its holder may read records and hand in a Join, and
    /// nothing else. `now_ms` is this relay's clock, which is advice: who admits judges by theirs.
    pub(crate) fn is_guest(&self, key: &SignPk, now_ms: u64) -> bool {
        self.invited(key).any(|(_, invite)| invite.is_open(now_ms))
    }

    /// Whether the Join of a guest is taken: its own invitation has room for one more.
    pub(crate) fn takes_join(&self, key: &SignPk, join: &Record, now_ms: u64) -> bool {
        self.invitation(key, join).is_some_and(|invite| invite.is_open(now_ms))
    }

    /// Whether a guest who is here may stay: until the invitation is withdrawn or over. The one whose request used it
    /// up still waits for the answer to it.
    pub(crate) fn may_stay(&self, key: &SignPk, now_ms: u64) -> bool {
        self.guest_until_ms(key).is_some_and(|until_ms| until_ms > now_ms)
    }

    /// When the last invitation of a guest is over (ms UTC); nothing for who has none.
    pub(crate) fn guest_until_ms(&self, key: &SignPk) -> Option<u64> {
        self.invited(key).map(|(_, invite)| invite.expires_ms).max()
    }

    fn invited<'v>(&'v self, key: &'v SignPk) -> impl Iterator<Item = (&'v RecordId, &'v Invite)> {
        // The key of a device, removed or not, is no invitation's: it would keep a removed device here.
        let is_open = self.membership.closed.is_none() && !self.membership.devices.contains_key(key);
        let invites = self.membership.invites.iter().filter(move |_| is_open);
        invites.filter(move |(_, invite)| invite.invite_pk == *key && !invite.is_revoked)
    }

    /// The invitation by which a guest hands in this record, if it is a Join by one of its own.
    fn invitation<'v>(&'v self, key: &'v SignPk, record: &Record) -> Option<&'v Invite> {
        let Body::Join { invite: named, .. } = record.body() else { return None };
        self.invited(key).find(|(id, _)| *id == named).map(|(_, invite)| invite)
    }

    /// Whether a guest may hand in this record: a Join by its own invitation.
    pub(crate) fn is_guests_join(&self, key: &SignPk, record: &Record) -> bool {
        self.invitation(key, record).is_some()
    }

    /// Whether a record is by a device that is or was enrolled, or a request to join by an open invitation.
    pub(super) fn knows_author(&self, record: &Record, now_ms: u64) -> bool {
        let invite = match record.body() {
            Body::Join { invite, .. } => self.membership.invites.get(invite),
            _ => None,
        };
        invite.is_some_and(|invite| invite.is_open(now_ms)) || self.membership.devices.contains_key(&record.author())
    }

    /// Who finds the space open or shut. A key may be a device's and an invitation's: whoever writes an Invite names
    /// any key, and proves nothing.
    pub(crate) fn doors(&self) -> Doors {
        let membership = &self.membership;
        let is_gone =
            |device: &SignPk| membership.devices.get(device).is_some_and(|device| device.removed_by.is_some());
        let invited = membership.invites.values().filter(|invite| !invite.is_revoked).map(|invite| invite.invite_pk);
        Doors {
            open: membership.devices.keys().filter(|device| membership.may_read(device)).copied().collect(),
            gone: membership.devices.keys().filter(|device| is_gone(device)).copied().collect(),
            invited: invited.collect(),
        }
    }

    /// All devices of a device's member: they share one quota.
    pub(crate) fn siblings(&self, device: &SignPk) -> &[SignPk] {
        let member = self.membership.devices.get(device).map(|device| device.member);
        member.and_then(|member| self.devices.get(&member)).map_or(&[], Vec::as_slice)
    }

    /// Whether an envelope under this epoch is stored, and if so whether its author should learn of a newer one.
    pub(crate) fn is_stale(&self, epoch: &EpochRef) -> Result<bool, PushStatus> {
        if !self.membership.epochs.contains_key(epoch) {
            return Err(PushStatus::UnknownEpoch);
        }
        Ok(self.current_epoch != Some(*epoch))
    }

    /// Whether the author of a record is an Owner or Admin in force.
    pub(crate) fn is_steward(&self, author: &SignPk) -> bool {
        let role = self.membership.devices.get(author).filter(|device| device.removed_by.is_none());
        let role = role.and_then(|device| self.membership.members.get(&device.member)).map(|member| member.role);
        role.is_some_and(|role| role <= Role::Admin)
    }

    /// Whether an envelope is taken from `pusher`, and if so whether only on the pusher's word. The relay cannot
    /// read what honest work was built upon, so what lies past a cut is kept when another writer brings it.
    pub(crate) fn may_store(&self, place: &Place, pusher: &SignPk) -> Result<bool, PushStatus> {
        let Some(author) = self.membership.devices.get(&place.author) else { return Err(PushStatus::NotMember) };
        let lost = if author.removed_by.is_some() { PushStatus::Removed } else { PushStatus::NotWriter };
        let (end, refusal) = match self.membership.stream_limit(&place.author, &place.stream) {
            StreamLimit::Open => return Ok(false),
            StreamLimit::Never => return Err(PushStatus::NotWriter),
            StreamLimit::Cut(end) => (end, lost),
            StreamLimit::Forked(end) if place.seq == end.seq && place.id != end.id => {
                return Err(PushStatus::Fork { existing: end.id });
            }
            StreamLimit::Forked(end) => (end, PushStatus::Fork { existing: end.id }),
        };
        if place.seq < end.seq || (place.seq == end.seq && place.id == end.id) {
            return Ok(false);
        }
        let vouches = place.author != *pusher && self.membership.may_write(pusher);
        if vouches { Ok(true) } else { Err(refusal) }
    }
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::{HpkePk, RecordId, SpaceId};
    use lifeos_sync_protocol::membership::{Device, Member, Rank, StreamPoint};
    use lifeos_sync_protocol::record::DeviceKind;

    use super::*;

    const WRITER: SignPk = SignPk([1; 32]);
    const READER: SignPk = SignPk([2; 32]);
    const GONE: SignPk = SignPk([3; 32]);
    const STREAM: StreamId = StreamId([9; 16]);
    const AT_CUT: EnvelopeId = EnvelopeId([5; 32]);

    fn view() -> View {
        let mut membership = Membership::empty(SpaceId::ZERO, [0; 32]);
        for (key, role) in [(WRITER, Role::Editor), (READER, Role::Reader), (GONE, Role::Editor)] {
            let member = MemberId([key.0[0]; 16]);
            let mut device = Device::enrolled(member, HpkePk([0; 32]), DeviceKind::Normal, RecordId::ZERO);
            device.is_writer = role != Role::Reader;
            if key == GONE {
                device.removed_by = Some(RecordId([7; 32]));
                device.cuts = Some(BTreeMap::from([(STREAM, StreamPoint { seq: 5, id: AT_CUT })]));
            } else {
                let rank = Rank::granted(role, 1, RecordId::ZERO);
                membership.members.insert(member, Member { role, devices: [key].into(), rank });
            }
            membership.devices.insert(key, device);
        }
        View::new(membership)
    }

    fn place(author: SignPk, seq: u32, id: EnvelopeId) -> Place {
        Place { author, stream: STREAM, seq, id }
    }

    #[test]
    fn past_a_cut_only_another_writers_word_counts() {
        let (view, other) = (view(), EnvelopeId([6; 32]));
        for pusher in [WRITER, READER, GONE] {
            assert_eq!(view.may_store(&place(GONE, 4, other), &pusher), Ok(false), "before the cut");
            assert_eq!(view.may_store(&place(GONE, 5, AT_CUT), &pusher), Ok(false), "at the cut");
        }
        for past in [place(GONE, 5, other), place(GONE, 6, other)] {
            assert_eq!(view.may_store(&past, &WRITER), Ok(true));
            assert_eq!(view.may_store(&past, &GONE), Err(PushStatus::Removed));
            assert_eq!(view.may_store(&past, &READER), Err(PushStatus::Removed));
        }
    }

    #[test]
    fn a_reader_never_writes_and_a_stranger_is_no_member() {
        let (view, id) = (view(), EnvelopeId([6; 32]));
        assert_eq!(view.may_store(&place(READER, 1, id), &READER), Err(PushStatus::NotWriter));
        assert_eq!(view.may_store(&place(READER, 1, id), &WRITER), Err(PushStatus::NotWriter));
        assert_eq!(view.may_store(&place(WRITER, 1, id), &WRITER), Ok(false));
        assert_eq!(view.may_store(&place(SignPk([8; 32]), 1, id), &WRITER), Err(PushStatus::NotMember));
    }

    #[test]
    fn the_losing_branch_of_a_proven_fork_is_a_fork_for_everybody() {
        let mut view = view();
        view.membership.forks.insert(STREAM, StreamPoint { seq: 3, id: AT_CUT });
        let fork = Err(PushStatus::Fork { existing: AT_CUT });
        assert_eq!(view.may_store(&place(WRITER, 2, EnvelopeId([6; 32])), &WRITER), Ok(false));
        assert_eq!(view.may_store(&place(WRITER, 3, AT_CUT), &WRITER), Ok(false));
        assert_eq!(view.may_store(&place(WRITER, 3, EnvelopeId([6; 32])), &GONE), fork);
        assert_eq!(view.may_store(&place(GONE, 3, EnvelopeId([6; 32])), &WRITER), fork, "nobody vouches for it");
        assert_eq!(view.may_store(&place(WRITER, 4, EnvelopeId([6; 32])), &WRITER), fork);
    }
}
