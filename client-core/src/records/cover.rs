//! How a recovery key comes to stand for a member in a space, and another in its place (protocol §7.3).
//!
//! ```text
//! cover     DeviceAdd(recovery key) ◄ DeviceRemove(each other recovery key of the member) … ◄ Epoch
//! new words the same, with words that were never used in the space
//! ```
//! All is signed by a device of the member, which any member may do for itself, readers included. The Epoch is there
//! only after a removal, and only where the member may write: else the removal calls for one, and whoever writes makes
//! it. Nothing is written for a key that stands alone already, so it can be done again after a crash.

use lifeos_sync_protocol::ids::{MemberId, SignPk};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{DeviceKind, Record, RemoveReason};

use super::recover::{drafted, may_rotate};
use super::{AddDevice, RecordsError, enrol_device, unlock_epochs};
use crate::crypto::Random;
use crate::keys::{DeviceKeys, OwnKeys};

/// What the other devices of the person see as the name of a recovery key.
const RECOVERY_NAME: &str = "recovery phrase";

/// What is left to do until one recovery key stands for a member, and no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoverPlan {
    /// The key is not enrolled yet.
    pub enrol: bool,
    /// Other recovery keys of the member in force, ascending: of older words, or thrown away when the space was made.
    pub stale: Vec<SignPk>,
}

impl CoverPlan {
    /// Whether nothing is left to do.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        !self.enrol && self.stale.is_empty()
    }
}

/// Reads from the membership what has still to be done for `recovery` to stand for `member`.
///
/// # Errors
/// [`RecordsError::KeyInUse`] for a key that was removed, or is anything else than a recovery key of this member.
pub fn plan_cover(
    membership: &Membership,
    member: &MemberId,
    recovery: &DeviceKeys,
) -> Result<CoverPlan, RecordsError> {
    let key = recovery.sign_pk();
    let mut stale = recovery_keys(membership, member);
    let is_in_force = stale.contains(&key);
    stale.retain(|other| *other != key);
    match membership.devices.get(&key) {
        None => Ok(CoverPlan { enrol: true, stale }),
        Some(known) if is_in_force && known.hpke_pk == recovery.hpke_pk() => Ok(CoverPlan { enrol: false, stale }),
        Some(_) => Err(RecordsError::KeyInUse),
    }
}

/// All that a recovery key is put into a space with.
pub struct Cover<'a> {
    /// The space's state.
    pub membership: &'a Membership,
    /// All its records.
    pub records: &'a [Record],
    /// The keys of the device that does it.
    pub device: OwnKeys<'a>,
    /// Whose device that is, and whom the key will stand for.
    pub member: MemberId,
    /// The recovery key.
    pub recovery: &'a DeviceKeys,
}

/// The records that are still missing until the recovery key stands for the member, in order; none when it does.
///
/// # Errors
/// [`RecordsError`], those of [`plan_cover`] among them.
pub fn cover_records(cover: &Cover<'_>, random: &mut dyn Random) -> Result<Vec<Record>, RecordsError> {
    let Cover { membership, records, device, member, recovery } = cover;
    let plan = plan_cover(membership, member, recovery)?;
    let mut all = records.to_vec();
    if plan.enrol {
        all.extend(enrolment(cover, random)?);
    }
    let replaced = drafted(&membership.space, &all, *device, |draft| {
        for old in &plan.stale {
            draft.remove_device(*old, RemoveReason::Replaced, Vec::new())?;
        }
        if plan.stale.is_empty() || !may_rotate(membership, member) {
            return Ok(());
        }
        match draft.rotate(random) {
            // The removals stand without it, and nothing is sealed until somebody who holds the keys has made one.
            Ok(_) | Err(RecordsError::NoEpoch) => Ok(()),
            Err(error) => Err(error),
        }
    })?;
    all.extend(replaced);
    Ok(all.split_off(records.len()))
}

fn enrolment(cover: &Cover<'_>, random: &mut dyn Random) -> Result<Vec<Record>, RecordsError> {
    let Cover { membership, records, device, member, recovery } = cover;
    let add = AddDevice {
        membership,
        records,
        keyring: &unlock_epochs(membership, records, *device).keyring,
        keys: device.device,
        member: *member,
        entry: recovery.entry(&membership.genesis_random, member, DeviceKind::Recovery),
        name: RECOVERY_NAME,
    };
    enrol_device(&add, random)
}

/// Puts a new recovery key in the place of all recovery keys of the member: afterwards the old words open nothing new.
///
/// # Errors
/// [`RecordsError`]; [`RecordsError::KeyInUse`] when these words were used before.
pub fn replace_recovery_key(cover: &Cover<'_>, random: &mut dyn Random) -> Result<Vec<Record>, RecordsError> {
    if cover.membership.devices.contains_key(&cover.recovery.sign_pk()) {
        return Err(RecordsError::KeyInUse);
    }
    cover_records(cover, random)
}

/// The recovery keys of a member that are in force.
#[must_use]
pub fn recovery_keys(membership: &Membership, member: &MemberId) -> Vec<SignPk> {
    let own = membership.devices.iter().filter(|(_, device)| {
        device.member == *member && device.kind == DeviceKind::Recovery && device.removed_by.is_none()
    });
    own.map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use lifeos_sync_protocol::ids::SpaceId;
    use lifeos_sync_protocol::record::{Body, Role};

    use super::*;
    use crate::crypto::SeededRandom;
    use crate::keys::{DeviceRoot, PhraseLength, RecoveryPhrase};
    use crate::records::{Draft, Founding, InviteTerms, found_space, open_epochs};

    const RANDOM: [u8; 32] = [6; 32];
    const OWNER: MemberId = MemberId([1; 16]);

    /// A space whose founder threw its paper key away, and somebody who was let in.
    struct World {
        space: SpaceId,
        records: Vec<Record>,
        founder: Rc<DeviceKeys>,
        guest: Rc<DeviceKeys>,
        member: MemberId,
        random: SeededRandom,
    }

    fn world(role: Role) -> World {
        let mut random = SeededRandom::new(51);
        let device = |random: &mut SeededRandom| DeviceRoot::generate(random).derive_space(&RANDOM);
        let (founder, thrown, guest) = (device(&mut random), device(&mut random), device(&mut random));
        let (genesis_random, member, keys, relays) = (RANDOM, OWNER, &founder, Vec::new());
        let founding = Founding { genesis_random, member, keys, recovery: &thrown, relays };
        let founded = found_space(&founding, &mut random).unwrap();
        let mut records = vec![founded.genesis, founded.epoch];
        let membership = Membership::evaluate(&founded.space, &records).unwrap();
        let opened = unlock_epochs(&membership, &records, OwnKeys::first(&founder));
        let mut draft = Draft::begin(&membership, &records, &opened, &founder);
        let member = MemberId([2; 16]);
        let devices = vec![guest.entry(&RANDOM, &member, DeviceKind::Normal)];
        draft.add(&Body::MemberAdd { member, role, enc_meta: Vec::new(), devices }).unwrap();
        draft.grant_lacking(&mut random).unwrap();
        records.extend(draft.finish());
        let (founder, guest) = (Rc::new(founder), Rc::new(guest));
        World { space: founded.space, records, founder, guest, member, random }
    }

    impl World {
        fn membership(&self) -> Membership {
            let membership = Membership::evaluate(&self.space, &self.records).unwrap();
            assert!(membership.void.is_empty(), "{:?}", membership.void);
            membership
        }

        fn cover(&mut self, device: &DeviceKeys, phrase: &RecoveryPhrase) -> Result<usize, RecordsError> {
            let membership = self.membership();
            let member = membership.devices[&device.sign_pk()].member;
            let (device, recovery) = (OwnKeys::first(device), &phrase.derive_space(&RANDOM));
            let cover = Cover { membership: &membership, records: &self.records, device, member, recovery };
            let new = cover_records(&cover, &mut self.random)?;
            self.records.extend(new.iter().cloned());
            Ok(new.len())
        }

        fn phrase(&mut self) -> RecoveryPhrase {
            RecoveryPhrase::generate(PhraseLength::Words12, &mut self.random)
        }

        fn opens_everything(&self, phrase: &RecoveryPhrase) -> bool {
            let membership = self.membership();
            open_epochs(&membership, &self.records, &phrase.derive_space(&RANDOM)).len() == membership.epochs.len()
        }
    }

    #[test]
    fn a_founder_covers_a_space_once_and_the_thrown_away_key_goes() {
        let mut world = world(Role::Reader);
        let founder = Rc::clone(&world.founder);
        let phrase = world.phrase();
        assert_eq!(world.cover(&founder, &phrase), Ok(3), "enrolment, removal, epoch");
        let membership = world.membership();
        assert_eq!(recovery_keys(&membership, &OWNER), [phrase.derive_space(&RANDOM).sign_pk()]);
        assert!(membership.current_epoch().is_some() && world.opens_everything(&phrase));
        assert_eq!(world.cover(&founder, &phrase), Ok(0), "nothing is left");
    }

    #[test]
    fn a_reader_covers_itself_without_what_only_writers_may_write() {
        for (role, epochs) in [(Role::Editor, 1), (Role::Reader, 0)] {
            let mut world = world(role);
            let guest = Rc::clone(&world.guest);
            let (first, second) = (world.phrase(), world.phrase());
            assert_eq!(world.cover(&guest, &first), Ok(1), "nobody goes, so no epoch is needed");
            assert!(world.opens_everything(&first));
            assert_eq!(world.cover(&guest, &second), Ok(2 + epochs));
            let membership = world.membership();
            assert_eq!(recovery_keys(&membership, &world.member), [second.derive_space(&RANDOM).sign_pk()]);
            assert_eq!(membership.current_epoch().is_some(), epochs == 1, "else a writer has to make one");
            assert!(world.opens_everything(&second));
            let old = second.derive_space(&RANDOM);
            let covered = world.cover(&guest, &first);
            assert_eq!(covered, Err(RecordsError::KeyInUse), "old words never come back");
            assert!(world.membership().may_read(&old.sign_pk()));
        }
    }

    #[test]
    fn what_a_crash_cut_short_is_ended_and_another_members_key_is_left_alone() {
        let mut world = world(Role::Editor);
        let (founder, guest) = (Rc::clone(&world.founder), Rc::clone(&world.guest));
        let (own, others) = (world.phrase(), world.phrase());
        world.cover(&guest, &others).unwrap();
        let before = world.records.len();
        assert_eq!(world.cover(&founder, &own), Ok(3));
        for kept in 1..3 {
            world.records.truncate(before + kept);
            world.cover(&founder, &own).unwrap();
            let membership = world.membership();
            assert_eq!(recovery_keys(&membership, &OWNER), [own.derive_space(&RANDOM).sign_pk()]);
            assert_eq!(recovery_keys(&membership, &world.member), [others.derive_space(&RANDOM).sign_pk()]);
            let is_left = membership.current_epoch().is_none();
            assert_eq!(is_left, kept == 2, "a removal without its epoch is for whoever writes next");
        }
        let theirs = world.cover(&founder, &others);
        assert_eq!(theirs, Err(RecordsError::KeyInUse), "the same words stand for one member only");
    }

    #[test]
    fn two_devices_that_cover_a_space_beside_one_another_agree() {
        let mut world = world(Role::Editor);
        let founder = Rc::clone(&world.founder);
        let phrase = world.phrase();
        let held = world.records.clone();
        world.cover(&founder, &phrase).unwrap();
        let first = std::mem::replace(&mut world.records, held);
        world.cover(&founder, &phrase).unwrap();
        world.records.extend(first);
        let membership = Membership::evaluate(&world.space, &world.records).unwrap();
        assert_eq!(recovery_keys(&membership, &OWNER), [phrase.derive_space(&RANDOM).sign_pk()]);
        let opened = open_epochs(&membership, &world.records, &phrase.derive_space(&RANDOM));
        assert_eq!(opened.len(), membership.epochs.len());
        let terms = InviteTerms {
            keys: (world.guest.sign_pk(), world.guest.hpke_pk()),
            role: Role::Editor,
            expires_ms: 1,
            uses_max: 1,
            auto: false,
        };
        let all = unlock_epochs(&membership, &world.records, OwnKeys::first(&founder));
        let mut draft = Draft::begin(&membership, &world.records, &all, &founder);
        assert!(draft.invite(&terms, &mut world.random).is_ok(), "and the space goes on");
    }
}
