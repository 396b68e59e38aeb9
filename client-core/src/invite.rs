//! Inviting a person by link: the link's text, the keys in it, and the joiner's request (protocol §7.2).
//!
//! ```text
//! link = "LI1" ‖ base32(space(32) ‖ invite record(32) ‖ relay key(32) ‖ secret(32) ‖ relay address, UTF-8 ‖ check(4))
//! check = first 4 bytes of SHA-256(ctx("invite-text") ‖ all before)
//! keys = HKDF(salt = ctx("invite"), secret, "sign" or "hpke")     the Invite record names the public halves' owner
//! name = HPKE(inviting device's key, info = ctx("join-name"), aad = space ‖ invite ‖ member){u8 length ‖ name ‖ zeros to 128}
//! ```
//! The secret lets its holder into the relay as a guest, to read records and hand in one Join; it never writes
//! content. With approval, the joiner is admitted by an Admin who may compare [`fingerprint`] with the joiner first.

use std::fmt;
use std::str::FromStr;

use lifeos_sync_protocol::hash::{ctx, sha256};
use lifeos_sync_protocol::ids::{HpkePk, MemberId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::{Invite, Membership};
use lifeos_sync_protocol::record::{Body, DeviceKind, Record, Role, join_message, joining_member};
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, HpkeKey, Prk, Random, hpke_open, hpke_seal, random_bytes};
use crate::keys::{DeviceKeys, DeviceRoot};
use crate::link::Form;
use crate::names::{padded, unpadded};
use crate::records::{RecordsError, next_record};

const FORM: Form = Form { prefix: "LI1", check: "invite-text" };
const FIXED_BYTES: usize = 4 * 32;

/// What an invitation's link holds; whoever has it can ask to join.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteLink {
    /// The space.
    pub space: SpaceId,
    /// The Invite record.
    pub invite: RecordId,
    /// The relay's key.
    pub relay_pk: SignPk,
    /// The relay's address.
    pub relay_url: String,
    /// The secret.
    pub secret: InviteSecret,
}

/// The secret of an invitation.
#[derive(Clone, PartialEq, Eq)]
pub struct InviteSecret(Zeroizing<[u8; 32]>);

/// An invitation that cannot be used. The messages tell a person what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InviteError {
    /// The text is no invitation.
    #[error("this is not a complete invitation; copy it again")]
    Text,
    /// The space has no such invitation, or another than the link's.
    #[error("the space does not know this invitation; ask for a new one")]
    Unknown,
    /// It was withdrawn.
    #[error("this invitation was withdrawn; ask for a new one")]
    Revoked,
    /// It is over.
    #[error("this invitation has expired; ask for a new one")]
    Expired,
    /// As many have joined as may.
    #[error("this invitation was used as often as it may be; ask for a new one")]
    UsedUp,
    /// The space is closed.
    #[error("this space is closed")]
    Closed,
    /// A name that is empty, too long or holds hidden characters ([`crate::names`]).
    #[error("a name has 1 to 127 bytes, all of which can be seen")]
    Name,
    /// The request does not fit the invitation, or is there no more.
    #[error("there is no such request to join, or it was answered already")]
    Request,
}

impl fmt::Debug for InviteSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteSecret(secret)")
    }
}

impl fmt::Debug for InviteLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InviteLink").field("space", &self.space).field("invite", &self.invite).finish_non_exhaustive()
    }
}

impl InviteSecret {
    /// A new secret.
    pub fn generate(random: &mut dyn Random) -> Self {
        Self(Zeroizing::new(random_bytes(random)))
    }

    /// The secret of a link or of the store.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }

    /// The keys that it stands for.
    #[must_use]
    pub fn keys(&self) -> DeviceKeys {
        let prk = Prk::extract(&ctx("invite"), &*self.0);
        DeviceKeys::from_seeds(&prk.expand(&[b"sign"]), &prk.expand(&[b"hpke"]))
    }
}

impl InviteLink {
    fn payload(&self) -> Zeroizing<Vec<u8>> {
        let parts: [&[u8]; 5] =
            [&self.space.0, &self.invite.0, &self.relay_pk.0, &*self.secret.0, self.relay_url.as_bytes()];
        Zeroizing::new(parts.concat())
    }
}

impl fmt::Display for InviteLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&FORM.write(&self.payload()))
    }
}

impl FromStr for InviteLink {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        let (fixed, relay_url) = FORM.read::<FIXED_BYTES>(text).ok_or(InviteError::Text)?;
        let part = |at: usize| -> [u8; 32] { std::array::from_fn(|byte| fixed[32 * at + byte]) };
        Ok(Self {
            space: SpaceId(part(0)),
            invite: RecordId(part(1)),
            relay_pk: SignPk(part(2)),
            secret: InviteSecret::from_bytes(part(3)),
            relay_url,
        })
    }
}

/// Whether an invitation can be used now. `now_ms` is the wall clock of who looks: there is no other.
///
/// # Errors
/// [`InviteError`], which says why not.
pub fn check_invite(membership: &Membership, invite: &RecordId, now_ms: u64) -> Result<(), InviteError> {
    let known = membership.invites.get(invite).ok_or(InviteError::Unknown)?;
    if membership.closed.is_some() {
        return Err(InviteError::Closed);
    }
    check_terms(known, now_ms)
}

fn check_terms(invite: &Invite, now_ms: u64) -> Result<(), InviteError> {
    if invite.is_revoked {
        return Err(InviteError::Revoked);
    }
    if invite.expires_ms <= now_ms {
        return Err(InviteError::Expired);
    }
    if invite.uses >= invite.uses_max { Err(InviteError::UsedUp) } else { Ok(()) }
}

/// Someone who wants to join.
pub struct Joining<'a> {
    /// What the link says.
    pub link: &'a InviteLink,
    /// The space's state as the relay gave it.
    pub membership: &'a Membership,
    /// Its records.
    pub records: &'a [Record],
    /// This device.
    pub root: &'a DeviceRoot,
    /// What the inviting device is told to call the joiner.
    pub name: &'a str,
}

/// The Join record: the joiner's own keys, proven by themselves and by the invite key.
///
/// # Errors
/// [`InviteError`] for an invitation that cannot be used; [`InviteError::Unknown`] also for records that do not fit.
pub fn join_record(joining: &Joining<'_>, now_ms: u64, random: &mut dyn Random) -> Result<Record, InviteError> {
    let Joining { link, membership, records, root, name } = joining;
    check_invite(membership, &link.invite, now_ms)?;
    let invite = membership.invites.get(&link.invite).ok_or(InviteError::Unknown)?;
    let invite_keys = link.secret.keys();
    if invite.invite_pk != invite_keys.sign_pk() || membership.space != link.space {
        return Err(InviteError::Unknown);
    }
    let keys = root.derive_space(&membership.genesis_random);
    let member = &joining_member(&link.invite, &keys.sign_pk());
    let devices = vec![keys.entry(&membership.genesis_random, member, DeviceKind::Normal)];
    let invite_proof = invite_keys.sign(&join_message(&link.space, &link.invite, member, &devices));
    let inviter = membership.devices.get(&invite.author).ok_or(InviteError::Unknown)?.hpke_pk;
    let enc_meta = seal_name(link, member, name, &inviter, random)?;
    let body = Body::Join { invite: link.invite, member: *member, devices, invite_proof, enc_meta };
    next_record(&keys, membership, records, &body).map_err(|_: RecordsError| InviteError::Unknown)
}

fn name_aad(space: &SpaceId, invite: &RecordId, member: &MemberId) -> Vec<u8> {
    [&space.0[..], &invite.0, &member.0].concat()
}

fn seal_name(
    link: &InviteLink,
    member: &MemberId,
    name: &str,
    to: &HpkePk,
    random: &mut dyn Random,
) -> Result<Vec<u8>, InviteError> {
    let plaintext = padded(name).ok_or(InviteError::Name)?;
    let aad = name_aad(&link.space, &link.invite, member);
    let sealed = hpke_seal(to, None, &ctx("join-name"), &aad, &plaintext, random);
    let sealed = sealed.map_err(|_: CryptoError| InviteError::Unknown)?;
    Ok([&sealed.enc[..], &sealed.ct].concat())
}

/// What a joiner calls itself: only the device that made the invitation can read it.
pub fn open_name<'k>(join: &Record, keys: impl Iterator<Item = &'k HpkeKey>) -> Option<String> {
    let Body::Join { invite, member, enc_meta, .. } = join.body() else { return None };
    let (enc, ct) = enc_meta.split_first_chunk::<32>()?;
    let aad = name_aad(&join.space(), invite, member);
    let mut keys = keys;
    let opened = keys.find_map(|key| hpke_open(key, None, &ctx("join-name"), &aad, enc, ct).ok())?;
    unpadded(&opened.plaintext)
}

/// Six numbers of a request, from 1000 to 9191: 78 bits, so that nobody makes a request with the numbers of another.
pub type Fingerprint = [u16; 6];

/// The numbers of a request that joiner and admitting person can compare: who asks is who was invited.
#[must_use]
pub fn fingerprint(join: &RecordId) -> Fingerprint {
    let hash = sha256("join-fingerprint", &[&join.0]);
    std::array::from_fn(|at| 1000 + (u16::from_be_bytes([hash[2 * at], hash[2 * at + 1]]) & 0x1fff))
}

/// What a role may be invited as: nobody above Editor comes in by a link.
#[must_use]
pub fn may_invite_as(role: Role) -> bool {
    role >= Role::Editor
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;
    use lifeos_sync_protocol::ids::EpochRef;

    use crate::keys::{EpochSecret, OwnKeys};
    use crate::records::{self, Draft, Founding, InviteTerms, Named, found_space, unlock_epochs};

    fn link() -> InviteLink {
        InviteLink {
            space: SpaceId([1; 32]),
            invite: RecordId([2; 32]),
            relay_pk: SignPk([3; 32]),
            relay_url: "wss://relay.example".into(),
            secret: InviteSecret::from_bytes([4; 32]),
        }
    }

    #[test]
    fn an_invitation_reads_back_and_a_mistyped_one_does_not() {
        let text = link().to_string();
        assert_eq!(text.to_lowercase().parse(), Ok(link()));
        for at in 0..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[at] = if typed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(String::from_utf8(typed).unwrap().parse::<InviteLink>(), Err(InviteError::Text), "at {at}");
            assert_eq!(text[..at].parse::<InviteLink>(), Err(InviteError::Text));
        }
    }

    #[test]
    fn the_secret_shows_nowhere_but_in_the_link() {
        assert!(!format!("{:?}", link()).contains("0404"));
        assert_eq!(format!("{:?}", link().secret), "InviteSecret(secret)");
    }

    #[test]
    fn an_invitation_ends_by_time_by_use_and_by_word() {
        let invite = Invite {
            invite_pk: SignPk([1; 32]),
            role: Role::Editor,
            expires_ms: 1_000,
            uses_max: 2,
            uses: 1,
            auto_epoch: None,
            is_revoked: false,
            author: SignPk([2; 32]),
        };
        assert_eq!(check_terms(&invite, 999), Ok(()));
        assert_eq!(check_terms(&invite, 1_000), Err(InviteError::Expired));
        assert_eq!(check_terms(&Invite { uses: 2, ..invite.clone() }, 0), Err(InviteError::UsedUp));
        assert_eq!(check_terms(&Invite { is_revoked: true, ..invite }, 0), Err(InviteError::Revoked));
    }

    /// A space with an open invitation for `secret`; closed behind it if `closes` says so.
    fn inviting(secret: &InviteSecret, closes: bool) -> (Vec<Record>, Membership, InviteLink) {
        let (mut random, genesis_random) = (SeededRandom::new(3), [9; 32]);
        let keys = DeviceRoot::generate(&mut random).derive_space(&genesis_random);
        let recovery = DeviceRoot::generate(&mut random).derive_space(&genesis_random);
        let founding =
            Founding { genesis_random, member: MemberId([7; 16]), keys: &keys, recovery: &recovery, relays: vec![] };
        let founded = found_space(&founding, &mut random).unwrap();
        let mut records = vec![founded.genesis, founded.epoch];
        let membership = Membership::evaluate(&founded.space, &records).unwrap();
        let opened = unlock_epochs(&membership, &records, OwnKeys::first(&keys));
        let mut draft = Draft::begin(&membership, &records, &opened, &keys);
        let offered = (secret.keys().sign_pk(), secret.keys().hpke_pk());
        let terms = InviteTerms { keys: offered, role: Role::Editor, expires_ms: 1_000, uses_max: 1, auto: false };
        let invite = draft.invite(&terms, &mut random).unwrap();
        if closes {
            draft.close(None).unwrap();
        }
        records.extend(draft.finish());
        let membership = Membership::evaluate(&founded.space, &records).unwrap();
        let link = InviteLink { space: founded.space, invite, secret: secret.clone(), ..link() };
        (records, membership, link)
    }

    fn ask(records: &[Record], membership: &Membership, link: &InviteLink, now_ms: u64) -> Result<Record, InviteError> {
        let root = DeviceRoot::from_bytes([0x55; 32]);
        let joining = Joining { link, membership, records, root: &root, name: "Ben" };
        join_record(&joining, now_ms, &mut SeededRandom::new(4))
    }

    #[test]
    fn a_request_is_made_for_an_open_invitation_and_with_its_own_secret_only() {
        let secret = InviteSecret::from_bytes([4; 32]);
        let (records, membership, link) = inviting(&secret, false);
        let join = ask(&records, &membership, &link, 0).unwrap();
        let with = [&records[..], std::slice::from_ref(&join)].concat();
        let after = Membership::evaluate(&link.space, &with).unwrap();
        assert!(after.joins.contains_key(&join.id()) && after.void.is_empty());
        assert_eq!(ask(&with, &after, &link, 0).err(), Some(InviteError::UsedUp));
        assert_eq!(ask(&records, &membership, &link, 1_000).err(), Some(InviteError::Expired));
        let other = InviteLink { secret: InviteSecret::from_bytes([5; 32]), ..link.clone() };
        assert_eq!(ask(&records, &membership, &other, 0).err(), Some(InviteError::Unknown));
        let elsewhere = InviteLink { space: SpaceId([1; 32]), ..link };
        assert_eq!(ask(&records, &membership, &elsewhere, 0).err(), Some(InviteError::Unknown));
        let (records, membership, link) = inviting(&secret, true);
        assert_eq!(ask(&records, &membership, &link, 0).err(), Some(InviteError::Closed));
    }

    #[test]
    fn a_request_is_told_from_another_by_all_six_numbers() {
        let all: Vec<Fingerprint> = (0..=255).map(|id| fingerprint(&RecordId([id; 32]))).collect();
        for at in 0..6 {
            let column: Vec<u16> = all.iter().map(|numbers| numbers[at]).collect();
            assert!(column.iter().all(|number| (1000..=9191).contains(number)));
            assert!(column.iter().collect::<std::collections::BTreeSet<_>>().len() > 230, "number {at} says little");
            for other in at + 1..6 {
                assert!(all.iter().filter(|numbers| numbers[at] == numbers[other]).count() < 5, "{at} repeats {other}");
            }
        }
    }

    /// The golden vector of docs/PROTOCOL.md.
    #[test]
    fn the_link_of_fixed_bytes_is_the_vector() {
        let keys = link().secret.keys();
        let member = MemberId([5; 16]);
        // The inviting device is the one of keys.txt.
        let inviter = DeviceRoot::from_bytes([0x11; 32]).derive_space(&[0x22; 32]);
        let name = seal_name(&link(), &member, "Zoë", &inviter.hpke_pk(), &mut SeededRandom::new(1)).unwrap();
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let epoch = (EpochRef([7; 16]), &EpochSecret::from_bytes([8; 32]));
        let approved =
            records::seal_name(&link().space, Named::Member(&member), epoch, "Zoë", &mut SeededRandom::new(2));
        let approved: String = approved.unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
        let vector = [
            format!("link {}", link()),
            format!("sign_pk {}", keys.sign_pk()),
            format!("hpke_pk {}", keys.hpke_pk()),
            format!("member {member}"),
            "name Zoë".to_owned(),
            format!("sealed_name {name}"),
            format!("epoch {}", epoch.0),
            format!("epoch.secret {}", "08".repeat(32)),
            format!("approved_name {approved}"),
            format!("join {}", RecordId([6; 32])),
            format!("fingerprint {:?}", fingerprint(&RecordId([6; 32]))),
        ]
        .join("\n");
        assert_eq!(vector, include_str!("../vectors/invite.txt").trim_end());
    }
}
