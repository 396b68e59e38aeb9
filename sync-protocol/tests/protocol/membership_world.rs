//! A space with people in it, for tests of roles and removals.

use lifeos_sync_protocol::ids::{EnvelopeId, MemberId, Signature, StreamId};
use lifeos_sync_protocol::membership::{Membership, VoidReason};
use lifeos_sync_protocol::record::{Body, Cut, DeviceKind, Record, RemoveReason, Role, join_message, joining_member};

use super::kit::{self, Keys, RANDOM, founder, genesis, seal};

/// A member other than the founder.
pub(crate) fn member(number: u8) -> MemberId {
    MemberId([number; 16])
}

pub(crate) fn admit(number: u8, role: Role, device: &Keys) -> Body {
    let devices = vec![device.entry(&RANDOM, &member(number), DeviceKind::Normal)];
    Body::MemberAdd { member: member(number), role, enc_meta: vec![], devices }
}

pub(crate) fn give_device(member: MemberId, device: &Keys, kind: DeviceKind) -> Body {
    let device = device.entry(&RANDOM, &member, kind);
    Body::DeviceAdd { member, device, enc_meta: vec![], grants: vec![] }
}

pub(crate) fn remove_device(device: &Keys) -> Body {
    remove_device_at(device, vec![])
}

pub(crate) fn remove_device_at(device: &Keys, cuts: Vec<Cut>) -> Body {
    Body::DeviceRemove { device: device.sign_pk, reason: RemoveReason::Lost, cuts }
}

pub(crate) fn remove(number: u8) -> Body {
    remove_at(number, vec![])
}

pub(crate) fn remove_at(number: u8, cuts: Vec<Cut>) -> Body {
    Body::MemberRemove { member: member(number), reason: RemoveReason::Compromised, cuts }
}

pub(crate) fn set_role(number: u8, role: Role) -> Body {
    set_role_at(number, role, vec![])
}

pub(crate) fn set_role_at(number: u8, role: Role, cuts: Vec<Cut>) -> Body {
    Body::RoleSet { member: member(number), role, cuts }
}

pub(crate) const STREAM: StreamId = StreamId([0x51; 16]);

pub(crate) fn cut(seq: u32) -> Cut {
    Cut { stream: STREAM, seq, id: EnvelopeId([seq as u8; 32]) }
}

/// The secret of every invitation here.
pub(crate) fn invite_keys() -> Keys {
    Keys::new(99)
}

pub(crate) fn invite(role: Role, uses_max: u32, auto: Option<lifeos_sync_protocol::ids::EpochRef>) -> Body {
    let auto_seal = auto.map(|epoch| (epoch, seal(&invite_keys().sign_pk)));
    Body::Invite { invite_pk: invite_keys().sign_pk, role, expires_ms: 1, uses_max, auto_seal }
}

pub(crate) fn join(invite: &Record, device: &Keys) -> Body {
    join_with(invite, device, &invite_keys())
}

pub(crate) fn join_with(invite: &Record, device: &Keys, secret: &Keys) -> Body {
    join_as(invite, joining_member(&invite.id(), &device.sign_pk), device, secret)
}

/// As who the joiner says it is.
pub(crate) fn join_as(invite: &Record, member: MemberId, device: &Keys, secret: &Keys) -> Body {
    let devices = vec![device.entry(&RANDOM, &member, DeviceKind::Normal)];
    let invite_proof: Signature = secret.sign(&join_message(&kit::space(), &invite.id(), &member, &devices));
    Body::Join { invite: invite.id(), member, devices, invite_proof, enc_meta: vec![] }
}

/// All records so far; every step names the records that it has seen.
pub(crate) struct World {
    pub(crate) records: Vec<Record>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { records: vec![genesis()] }
    }

    /// A founder, two Admins (members 2 and 3, the first more senior), an Editor (4) and a Reader (5); the
    /// device of member n is `Keys::new(10 + n)`.
    pub(crate) fn with_people() -> Self {
        let mut world = Self::new();
        for (number, role) in [(2, Role::Admin), (3, Role::Admin), (4, Role::Editor), (5, Role::Reader)] {
            world.write(&founder(), &admit(number, role, &Keys::new(10 + number)));
        }
        world
    }

    /// A record on top of everything.
    pub(crate) fn write(&mut self, author: &Keys, body: &Body) -> Record {
        let heads = self.state().heads;
        let parents: Vec<Record> = self.records.iter().filter(|r| heads.contains(&r.id())).cloned().collect();
        let parents: Vec<&Record> = parents.iter().collect();
        self.write_after(author, &parents, body)
    }

    /// A record by somebody who has seen only these and what they rest on.
    pub(crate) fn write_after(&mut self, author: &Keys, seen: &[&Record], body: &Body) -> Record {
        let record = author.follow(seen, body);
        self.records.push(record.clone());
        record
    }

    pub(crate) fn last(&self) -> Record {
        self.records.last().unwrap().clone()
    }

    pub(crate) fn state(&self) -> Membership {
        Membership::evaluate(&kit::space(), &self.records).unwrap()
    }

    pub(crate) fn void(&self, record: &Record) -> Option<VoidReason> {
        self.state().void.get(&record.id()).copied()
    }

    /// What becomes of a record on top of everything, without keeping it; [`Membership::may_author`] says the same
    /// beforehand.
    pub(crate) fn attempt(&self, author: &Keys, body: &Body) -> Option<VoidReason> {
        let mut after = Self { records: self.records.clone() };
        let record = after.write(author, body);
        let reason = after.void(&record);
        let foreseen = self.state().may_author(&author.sign_pk, body).err();
        if reason != Some(VoidReason::Proof) {
            assert_eq!(foreseen, reason, "foreseen otherwise");
        }
        reason
    }

    pub(crate) fn role(&self, number: u8) -> Option<Role> {
        self.state().members.get(&member(number)).map(|member| member.role)
    }

    /// The same state in every order of arrival that is tried.
    pub(crate) fn assert_order_does_not_matter(&self) {
        let expected = self.state();
        for shift in 0..self.records.len() {
            let mut shuffled: Vec<&Record> = self.records.iter().collect();
            shuffled.rotate_left(shift);
            assert_eq!(Membership::evaluate(&kit::space(), shuffled.iter().copied()).unwrap(), expected);
            shuffled.reverse();
            assert_eq!(Membership::evaluate(&kit::space(), shuffled).unwrap(), expected);
        }
    }
}
