//! Roles, seniority, removals, invitations: attacks and the answers to them.

use lifeos_sync_protocol::envelope::{Envelope, Header, Kind, stream_id};
use lifeos_sync_protocol::ids::{EnvelopeId, SignPk};
use lifeos_sync_protocol::membership::{
    EpochChoice, Ledger, Membership, StreamLimit, StreamPoint, VoidReason, epoch_ref_of,
};
use lifeos_sync_protocol::record::{Body, DeviceKind, Record, RemoveReason, Role, joining_member};

use super::kit::{self, Keys, MEMBER, RANDOM, epoch, founder, recovery, seal};
use super::membership_world::*;

fn admin() -> Keys {
    Keys::new(12)
}

fn junior_admin() -> Keys {
    Keys::new(13)
}

fn editor() -> Keys {
    Keys::new(14)
}

fn reader() -> Keys {
    Keys::new(15)
}

const NO_AUTHORITY: Option<VoidReason> = Some(VoidReason::NoAuthority);
const SENIORITY: Option<VoidReason> = Some(VoidReason::Seniority);
const REMOVED: Option<VoidReason> = Some(VoidReason::AuthorRemoved);

#[test]
fn roles_say_who_admits_whom() {
    let world = World::with_people();
    assert!(world.state().void.is_empty());
    let new = Keys::new(30);
    let by = |author: &Keys, role| world.attempt(author, &admit(9, role, &new));
    for role in [Role::Owner, Role::Admin, Role::Editor, Role::Reader] {
        assert_eq!(by(&founder(), role), None);
        assert_eq!(by(&admin(), role), if role <= Role::Admin { NO_AUTHORITY } else { None }, "{role:?}");
        assert_eq!(by(&editor(), role), NO_AUTHORITY, "{role:?}");
        assert_eq!(by(&reader(), role), NO_AUTHORITY, "{role:?}");
    }
    assert_eq!(by(&Keys::new(8), Role::Reader), Some(VoidReason::NotEnrolled));
    assert_eq!(world.attempt(&founder(), &admit(4, Role::Editor, &new)), Some(VoidReason::Conflict), "twice");
}

#[test]
fn nobody_reaches_a_senior_and_an_editor_makes_no_admin() {
    let world = World::with_people();
    let founders = Body::MemberRemove { member: MEMBER, reason: RemoveReason::Lost, cuts: vec![] };
    let demote = Body::RoleSet { member: MEMBER, role: Role::Reader, cuts: vec![] };
    assert_eq!(world.attempt(&editor(), &admit(9, Role::Admin, &Keys::new(30))), NO_AUTHORITY);
    assert_eq!(world.attempt(&admin(), &founders), NO_AUTHORITY, "an Owner is reached by Owners only");
    assert_eq!(world.attempt(&admin(), &demote), NO_AUTHORITY);
    assert_eq!(world.attempt(&admin(), &remove_device(&founder())), NO_AUTHORITY);
    assert_eq!(world.attempt(&admin(), &give_device(MEMBER, &Keys::new(30), DeviceKind::Normal)), NO_AUTHORITY);
    assert_eq!(world.attempt(&junior_admin(), &remove(2)), SENIORITY);
    assert_eq!(world.attempt(&junior_admin(), &set_role(2, Role::Reader)), SENIORITY);
    assert_eq!(world.attempt(&junior_admin(), &remove_device(&admin())), SENIORITY);
    assert_eq!(world.attempt(&junior_admin(), &give_device(member(2), &Keys::new(30), DeviceKind::Normal)), SENIORITY);
    assert_eq!(world.attempt(&editor(), &remove(5)), NO_AUTHORITY);
    assert_eq!(world.attempt(&editor(), &set_role(4, Role::Admin)), NO_AUTHORITY, "not oneself either");
    for body in [remove(3), set_role(3, Role::Reader), remove_device(&junior_admin())] {
        assert_eq!(world.attempt(&admin(), &body), None, "the senior may");
    }
    // A second Owner is junior to the founder, and no Admin reaches an Owner however senior.
    let mut world = world;
    world.write(&founder(), &admit(6, Role::Owner, &Keys::new(16)));
    assert_eq!(world.attempt(&Keys::new(16), &founders), SENIORITY);
    assert_eq!(world.attempt(&founder(), &remove(6)), None);
    assert_eq!(world.attempt(&admin(), &remove(6)), NO_AUTHORITY);
}

#[test]
fn of_two_admins_who_remove_each_other_the_senior_stands() {
    let mut world = World::with_people();
    let base = world.last();
    let by_senior = world.write_after(&admin(), &[&base], &remove(3));
    let by_junior = world.write_after(&junior_admin(), &[&base], &remove(2));
    assert_eq!(world.void(&by_senior), None);
    assert_eq!(world.void(&by_junior), SENIORITY, "in its own past it reaches a senior already");
    assert_eq!((world.role(2), world.role(3)), (Some(Role::Admin), None));
    world.assert_order_does_not_matter();

    // Neither is senior to the other where each only removes a device of the other: rank decides again.
    let mut world = World::with_people();
    let base = world.last();
    let first = world.write_after(&founder(), &[&base], &set_role(4, Role::Admin));
    let late = world.write_after(&editor(), &[&first], &remove(3));
    let senior = world.write_after(&junior_admin(), &[&base], &remove(4));
    assert_eq!(world.void(&late), SENIORITY, "promoted after the other Admin");
    assert_eq!(world.void(&senior), None);
    assert_eq!((world.role(3), world.role(4)), (Some(Role::Admin), None));
    world.assert_order_does_not_matter();
}

#[test]
fn who_was_promoted_by_a_removed_owner_reaches_no_senior_by_that() {
    let mut world = World::with_people();
    world.write(&founder(), &admit(6, Role::Owner, &Keys::new(16)));
    let base = world.last();
    let promotion = world.write_after(&Keys::new(16), &[&base], &set_role(3, Role::Owner));
    let reached = world.write_after(&junior_admin(), &[&promotion], &remove(2));
    assert_eq!((world.void(&reached), world.role(2)), (None, None), "an Owner may");
    world.write_after(&founder(), &[&base], &remove(6));
    assert_eq!(world.void(&promotion), REMOVED);
    assert_eq!(world.void(&reached), SENIORITY, "what is left is an Admin, who is less senior");
    assert_eq!((world.role(2), world.role(3)), (Some(Role::Admin), Some(Role::Admin)));
    world.assert_order_does_not_matter();
}

#[test]
fn what_a_removed_admin_did_beside_the_removal_is_void_and_what_the_remover_saw_stands() {
    let mut world = World::with_people();
    let base = world.last();
    let seen = world.write_after(&junior_admin(), &[&base], &admit(7, Role::Editor, &Keys::new(17)));
    let removal = world.write_after(&founder(), &[&seen], &remove(3));
    // Backdated: signed with parents from before the removal.
    let add = world.write_after(&junior_admin(), &[&base], &admit(8, Role::Editor, &Keys::new(18)));
    let removes = world.write_after(&junior_admin(), &[&base], &remove(4));
    let invites = world.write_after(&junior_admin(), &[&base], &invite(Role::Editor, 3, None));
    let by_added =
        world.write_after(&Keys::new(18), &[&add], &give_device(member(8), &Keys::new(28), DeviceKind::Normal));
    let after = world.write_after(&junior_admin(), &[&removal], &remove(4));
    for record in [&add, &removes, &invites, &by_added, &after] {
        assert_eq!(world.void(record), REMOVED);
    }
    assert_eq!(world.void(&seen), None);
    let state = world.state();
    assert_eq!((world.role(7), world.role(8), world.role(4)), (Some(Role::Editor), None, Some(Role::Editor)));
    assert!(state.invites.is_empty());
    assert!(!state.devices.contains_key(&Keys::new(18).sign_pk), "never enrolled");
    world.assert_order_does_not_matter();
    // Another Admin lets the person in with the same keys.
    let again = world.write(&admin(), &admit(8, Role::Editor, &Keys::new(18)));
    assert_eq!((world.void(&again), world.role(8)), (None, Some(Role::Editor)));
}

#[test]
fn a_demoted_admin_cannot_backdate_what_only_an_admin_may() {
    let mut world = World::with_people();
    let base = world.last();
    world.write_after(&founder(), &[&base], &set_role(3, Role::Editor));
    let add = world.write_after(&junior_admin(), &[&base], &admit(8, Role::Reader, &Keys::new(18)));
    let own = world.write_after(&junior_admin(), &[&base], &give_device(member(3), &Keys::new(23), DeviceKind::Normal));
    assert_eq!(world.void(&add), REMOVED);
    assert_eq!(world.void(&own), None, "an Editor adds own devices too");
    world.assert_order_does_not_matter();
}

#[test]
fn an_admin_who_was_demoted_and_promoted_again_acts_again() {
    let mut world = World::with_people();
    world.write(&founder(), &set_role(3, Role::Reader));
    assert_eq!(world.attempt(&junior_admin(), &admit(8, Role::Reader, &Keys::new(18))), NO_AUTHORITY);
    world.write(&founder(), &set_role(3, Role::Admin));
    let add = world.write(&junior_admin(), &admit(8, Role::Reader, &Keys::new(18)));
    assert_eq!((world.void(&add), world.role(8)), (None, Some(Role::Reader)));
    world.assert_order_does_not_matter();
}

#[test]
fn a_device_that_a_removed_device_adds_beside_its_removal_is_never_enrolled() {
    let mut world = World::with_people();
    let base = world.last();
    let stolen = editor();
    let tablet = Keys::new(24);
    let known = world.write_after(&stolen, &[&base], &give_device(member(4), &tablet, DeviceKind::Normal));
    world.write_after(&admin(), &[&known], &remove_device(&stolen));
    let accomplice = Keys::new(34);
    let add = world.write_after(&stolen, &[&base], &give_device(member(4), &accomplice, DeviceKind::Normal));
    let state = world.state();
    assert_eq!(world.void(&add), REMOVED);
    assert!(!state.may_read(&accomplice.sign_pk) && !state.may_read(&stolen.sign_pk));
    assert!(state.may_write(&tablet.sign_pk));
    assert!(state.readers().iter().all(|(device, _)| *device != accomplice.sign_pk), "no seal for it");
    assert_eq!(state.stream_limit(&accomplice.sign_pk, &STREAM), StreamLimit::Never);
    world.assert_order_does_not_matter();
}

#[test]
fn a_removed_key_never_comes_back() {
    let mut world = World::with_people();
    world.write(&founder(), &remove(4));
    let again = |keys: &Keys| world.attempt(&founder(), &admit(4, Role::Editor, keys));
    assert_eq!(again(&editor()), Some(VoidReason::KeyReused));
    let as_device = give_device(member(5), &editor(), DeviceKind::Normal);
    assert_eq!(world.attempt(&reader(), &as_device), Some(VoidReason::KeyReused), "nor for another member");
    assert_eq!(again(&Keys::new(40)), None);
}

#[test]
fn a_member_comes_back_with_new_keys_and_a_new_rank_after_the_removal_and_not_beside_it() {
    let mut world = World::with_people();
    let base = world.last();
    let removal = world.write_after(&founder(), &[&base], &remove(2));
    let beside = world.write_after(&junior_admin(), &[&base], &set_role(4, Role::Reader));
    let back = world.write_after(&junior_admin(), &[&removal, &beside], &admit(2, Role::Editor, &Keys::new(40)));
    assert_eq!((world.void(&back), world.role(2)), (None, Some(Role::Editor)));
    assert!(!world.state().may_read(&admin().sign_pk), "the old device stays out");
    assert_eq!(world.attempt(&Keys::new(40), &give_device(member(2), &Keys::new(41), DeviceKind::Normal)), None);
    assert_eq!(world.attempt(&junior_admin(), &remove(2)), None, "the old seniority is gone");
    world.assert_order_does_not_matter();

    // An Admin who did not know of the removal admits nobody back.
    let mut world = World::with_people();
    let base = world.last();
    let first = world.write_after(&founder(), &[&base], &remove(5));
    let second = world.write_after(&admin(), &[&base], &remove(5));
    let unaware = world.write_after(&junior_admin(), &[&first], &admit(5, Role::Reader, &Keys::new(45)));
    assert_eq!((world.void(&second), world.void(&unaware)), (None, REMOVED));
    assert_eq!(world.role(5), None);
    world.assert_order_does_not_matter();
}

#[test]
fn the_last_owner_stays() {
    let mut world = World::with_people();
    let leave = Body::MemberRemove { member: MEMBER, reason: RemoveReason::Left, cuts: vec![] };
    let step_down = Body::RoleSet { member: MEMBER, role: Role::Reader, cuts: vec![] };
    assert_eq!(world.attempt(&founder(), &leave), Some(VoidReason::LastOwner));
    assert_eq!(world.attempt(&founder(), &step_down), Some(VoidReason::LastOwner));
    let other = Keys::new(16);
    world.write(&founder(), &admit(6, Role::Owner, &other));
    assert_eq!(world.attempt(&founder(), &leave), None);
    let base = world.last();
    let one = world.write_after(&founder(), &[&base], &leave);
    let two = world.write_after(&other, &[&base], &remove(6));
    assert_eq!(
        (world.void(&one), world.void(&two)),
        (None, Some(VoidReason::LastOwner)),
        "both at once: the junior stays"
    );
    assert_eq!(world.role(6), Some(Role::Owner));
    assert!(!world.state().members.contains_key(&MEMBER));
    world.assert_order_does_not_matter();
}

#[test]
fn the_last_device_of_a_member_is_not_removed_by_its_own_hand() {
    let mut world = World::with_people();
    assert_eq!(world.attempt(&editor(), &remove_device(&editor())), Some(VoidReason::LastOwner));
    assert_eq!(world.attempt(&editor(), &remove(4)), None, "who wants to go leaves as a member");
    assert_eq!(world.attempt(&admin(), &remove_device(&editor())), None);
    world.write(&editor(), &give_device(member(4), &Keys::new(24), DeviceKind::Normal));
    assert_eq!(world.attempt(&editor(), &remove_device(&editor())), None);
}

#[test]
fn roles_set_up_and_down_at_once_give_the_lower_until_a_later_record() {
    let mut world = World::with_people();
    let base = world.last();
    let up = world.write_after(&founder(), &[&base], &set_role(4, Role::Admin));
    let down = world.write_after(&admin(), &[&base], &set_role(4, Role::Reader));
    assert_eq!((world.void(&up), world.void(&down)), (None, None));
    assert_eq!(world.role(4), Some(Role::Reader));
    world.assert_order_does_not_matter();
    world.write(&founder(), &set_role(4, Role::Editor));
    assert_eq!(world.role(4), Some(Role::Editor), "a later record has the last word");
    world.assert_order_does_not_matter();
}

#[test]
fn a_member_admitted_twice_at_once_has_all_devices_and_the_lower_role() {
    let mut world = World::with_people();
    let base = world.last();
    let (one, two) = (Keys::new(50), Keys::new(51));
    let first = world.write_after(&admin(), &[&base], &admit(9, Role::Reader, &one));
    let second = world.write_after(&junior_admin(), &[&base], &admit(9, Role::Editor, &two));
    let same = world.write_after(&founder(), &[&base], &admit(9, Role::Editor, &one));
    assert_eq!([&first, &second, &same].map(|record| world.void(record)), [None; 3]);
    assert_eq!(world.role(9), Some(Role::Reader));
    assert_eq!(world.state().members[&member(9)].devices.len(), 2);
    world.assert_order_does_not_matter();
    // One key for two members: the more senior Admin's word counts.
    let stolen = world.write_after(&junior_admin(), &[&base], &admit(8, Role::Reader, &Keys::new(52)));
    let honest = world.write_after(&admin(), &[&base], &admit(7, Role::Reader, &Keys::new(52)));
    assert_eq!((world.void(&honest), world.void(&stolen)), (None, Some(VoidReason::KeyReused)));
    world.assert_order_does_not_matter();
}

#[test]
fn devices_of_one_member_remove_each_other_and_at_once_the_elder_stands() {
    let mut world = World::with_people();
    let tablet = Keys::new(24);
    world.write(&editor(), &give_device(member(4), &tablet, DeviceKind::Normal));
    assert_eq!(world.attempt(&tablet, &remove_device(&editor())), None, "a new device removes a lost one");
    let base = world.last();
    let by_elder = world.write_after(&editor(), &[&base], &remove_device(&tablet));
    let by_younger = world.write_after(&tablet, &[&base], &remove_device(&editor()));
    assert_eq!((world.void(&by_elder), world.void(&by_younger)), (None, REMOVED));
    world.assert_order_does_not_matter();
}

#[test]
fn the_paper_key_outranks_every_other_device_of_its_member() {
    // Also one that came after the device.
    for paper in [recovery(), Keys::new(21)] {
        let mut world = World::new();
        let phone = Keys::new(20);
        world.write(&founder(), &kit::device_add(&phone));
        if paper.sign_pk != recovery().sign_pk {
            world.write(&founder(), &kit::device_add_as(&paper, DeviceKind::Recovery));
        }
        let base = world.last();
        let by_thief = world.write_after(&phone, &[&base], &remove_device(&paper));
        let by_paper = world.write_after(&paper, &[&base], &remove_device(&phone));
        assert_eq!((world.void(&by_paper), world.void(&by_thief)), (None, REMOVED));
        assert!(world.state().may_read(&paper.sign_pk));
        world.assert_order_does_not_matter();
    }
    // A new phrase: the old one is removed by whoever holds a device.
    let mut world = World::new();
    let paper = Keys::new(21);
    world.write(&founder(), &kit::device_add_as(&paper, DeviceKind::Recovery));
    world.write(&founder(), &remove_device(&recovery()));
    let state = world.state();
    assert!(state.void.is_empty() && !state.may_read(&recovery().sign_pk) && state.may_read(&paper.sign_pk));
    assert_eq!(world.attempt(&recovery(), &remove_device(&founder())), REMOVED);
}

#[test]
fn a_paper_key_moves_devices_of_its_member_and_nothing_else() {
    let mut world = World::with_people();
    let paper = Keys::new(34);
    world.write(&editor(), &give_device(member(4), &paper, DeviceKind::Recovery));
    let first = world.write(&founder(), &epoch(&world.state()));
    let base = Body::Checkpoint { previous: vec![], cut: vec![], chunks: vec![], blobs: vec![], enc_manifest: vec![] };
    let checkpoint = world.write(&founder(), &base);
    let new = Keys::new(35);
    let next = epoch(&world.state());
    let forbidden = [
        ("content", base.clone()),
        ("an epoch", next),
        ("a grant", Body::KeyGrant { epoch: epoch_ref_of(&first.id()), seals: vec![seal(&paper.sign_pk)] }),
        ("an admission", admit(9, Role::Reader, &new)),
        ("a role", set_role(5, Role::Editor)),
        ("its own role", set_role(4, Role::Reader)),
        ("leaving", remove(4)),
        ("another member", remove(5)),
        ("another's device", remove_device(&reader())),
        ("a device for another", give_device(member(5), &new, DeviceKind::Normal)),
        ("an invitation", invite(Role::Reader, 1, None)),
        ("rules", Body::Policy { rotation_days: 1, grace_days: 1, endorse_k: 1, relays: vec![] }),
        ("the end", Body::Close { successor: None }),
        ("a key of its own", Body::HpkeRefresh { hpke_pk: new.hpke_pk }),
        ("an endorsement", Body::Endorse { checkpoint: checkpoint.id() }),
    ];
    for (what, body) in &forbidden {
        assert_eq!(world.attempt(&paper, body), NO_AUTHORITY, "{what}");
    }
    assert_eq!(world.attempt(&paper, &give_device(member(4), &new, DeviceKind::Normal)), None);
    assert_eq!(world.attempt(&paper, &remove_device(&editor())), None);
    // The founder's acts as an Owner, but writes no content and makes no keys.
    let owner = |what: &str| !["content", "an epoch", "a grant", "a key of its own", "an endorsement"].contains(&what);
    for (what, body) in forbidden.iter().filter(|(what, _)| !what.starts_with("its own") && *what != "leaving") {
        let expected = if owner(what) { None } else { NO_AUTHORITY };
        assert_eq!(world.attempt(&recovery(), body), expected, "the founder's: {what}");
    }
    assert!(!world.state().may_write(&paper.sign_pk));
    assert_eq!(world.state().stream_limit(&paper.sign_pk, &STREAM), StreamLimit::Never);
}

#[test]
fn a_promotion_does_not_bring_back_what_was_removed_before_it() {
    let mut world = World::with_people();
    let lost = Keys::new(24);
    world.write(&editor(), &give_device(member(4), &lost, DeviceKind::Normal));
    let removal = world.write(&junior_admin(), &remove_device(&lost));
    world.write(&founder(), &set_role(4, Role::Owner));
    // Member 4 outranks the Admin now, who removed its lost device when it did not.
    assert_eq!(world.void(&removal), None);
    assert!(!world.state().may_read(&lost.sign_pk));
    assert!(world.state().may_write(&editor().sign_pk));
    assert_eq!(world.attempt(&lost, &give_device(member(4), &Keys::new(25), DeviceKind::Normal)), REMOVED);
}

#[test]
fn a_promotion_holds_against_a_removal_beside_it_by_somebody_less_senior() {
    let mut world = World::with_people();
    let base = world.last();
    world.write_after(&founder(), &[&base], &set_role(4, Role::Owner));
    let removal = world.write_after(&admin(), &[&base], &remove(4));
    assert_eq!(world.role(4), Some(Role::Owner));
    assert_eq!(world.void(&removal), None, "it stands against what was admitted before");
    assert!(world.state().may_write(&editor().sign_pk));
    world.assert_order_does_not_matter();
}

#[test]
fn a_cut_is_the_largest_of_all_removals_and_demotions_in_force() {
    let mut world = World::with_people();
    let base = world.last();
    let limit = |world: &World, keys: &Keys| world.state().stream_limit(&keys.sign_pk, &STREAM);
    assert_eq!(limit(&world, &editor()), StreamLimit::Open);
    assert_eq!(limit(&world, &reader()), StreamLimit::Never, "never a writer");
    assert_eq!(limit(&world, &Keys::new(70)), StreamLimit::Never);
    world.write_after(&founder(), &[&base], &remove_at(4, vec![cut(5)]));
    let at = |seq: u32| StreamLimit::Cut(StreamPoint { seq, id: EnvelopeId([seq as u8; 32]) });
    assert_eq!(limit(&world, &editor()), at(5));
    world.write_after(&admin(), &[&base], &remove_at(4, vec![cut(9), cut(7)]));
    assert_eq!(limit(&world, &editor()), at(9));
    world.write_after(&junior_admin(), &[&base], &remove_device_at(&editor(), vec![cut(8)]));
    assert_eq!(limit(&world, &editor()), at(9));
    let forged = world.write_after(&reader(), &[&base], &remove_at(4, vec![cut(40)]));
    assert_eq!((world.void(&forged), limit(&world, &editor())), (NO_AUTHORITY, at(9)), "a void record cuts nothing");
    let other = world.state().stream_limit(&editor().sign_pk, &lifeos_sync_protocol::ids::StreamId([9; 16]));
    assert_eq!(other, StreamLimit::Cut(StreamPoint::START), "a stream that no removal names ends before it begins");
    world.assert_order_does_not_matter();
}

#[test]
fn a_demotion_cuts_and_a_later_promotion_opens_again() {
    let mut world = World::with_people();
    world.write(&admin(), &set_role_at(4, Role::Reader, vec![cut(3)]));
    let limit = |world: &World| world.state().stream_limit(&editor().sign_pk, &STREAM);
    assert_eq!(limit(&world), StreamLimit::Cut(StreamPoint { seq: 3, id: EnvelopeId([3; 32]) }));
    let state = world.state();
    assert!(!state.may_write(&editor().sign_pk) && state.may_read(&editor().sign_pk));
    assert_eq!(world.attempt(&editor(), &epoch(&state)), NO_AUTHORITY);
    world.write(&admin(), &set_role(4, Role::Editor));
    assert_eq!(limit(&world), StreamLimit::Open);
}

#[test]
fn an_invitation_is_used_as_often_as_it_says_by_who_holds_its_secret() {
    let mut world = World::with_people();
    for role in [Role::Owner, Role::Admin] {
        assert_eq!(world.attempt(&founder(), &invite(role, 1, None)), NO_AUTHORITY, "it gives no more than Editor");
    }
    assert_eq!(world.attempt(&editor(), &invite(Role::Reader, 1, None)), NO_AUTHORITY);
    assert_eq!(world.attempt(&admin(), &invite(Role::Reader, 0, None)), Some(VoidReason::Conflict));
    let first = world.write(&founder(), &epoch(&world.state()));
    let auto = Some(epoch_ref_of(&first.id()));
    let link = world.write(&admin(), &invite(Role::Editor, 2, auto));
    let no_secret = join_with(&link, &Keys::new(18), &Keys::new(98));
    assert_eq!(world.attempt(&Keys::new(18), &no_secret), Some(VoidReason::Proof));
    let for_other = world.write_after(&Keys::new(19), &[&link], &join(&link, &Keys::new(18)));
    assert_eq!(world.void(&for_other), NO_AUTHORITY, "signed by somebody else than it enrols");
    for joiner in [Keys::new(60), Keys::new(61)] {
        let join = world.write(&joiner, &join(&link, &joiner));
        assert_eq!(world.void(&join), None);
    }
    let state = world.state();
    assert_eq!((state.invites[&link.id()].uses, state.joins.len()), (2, 2));
    assert_eq!(world.attempt(&Keys::new(63), &join(&link, &Keys::new(63))), Some(VoidReason::Invite), "used up");
    world.assert_order_does_not_matter();
}

#[test]
fn nobody_is_put_out_by_a_join_beside_theirs() {
    let mut world = World::with_people();
    let first = world.write(&founder(), &epoch(&world.state()));
    let link = world.write(&admin(), &invite(Role::Editor, 1, Some(epoch_ref_of(&first.id()))));
    let later = world.write(&founder(), &set_role(5, Role::Editor));
    let joiner = Keys::new(60);
    let honest = world.write_after(&joiner, &[&later], &join(&link, &joiner));
    // Afterwards the holder of the same link backdates as many of their own as they like: all come first in order.
    let late: Vec<Keys> = (61..65).map(Keys::new).collect();
    let backdated: Vec<Record> = late.iter().map(|own| world.write_after(own, &[&link], &join(&link, own))).collect();
    assert!(backdated.iter().all(|record| record.depth() < honest.depth()));
    let state = world.state();
    assert_eq!((world.void(&honest), state.may_write(&joiner.sign_pk)), (None, true));
    assert_eq!(state.invites[&link.id()].uses, 5, "the number is what a relay lets guests in by");
    let members = late.iter().chain([&joiner]).map(|own| joining_member(&link.id(), &own.sign_pk));
    assert!(members.map(|joined| state.members[&joined].role).all(|role| role == Role::Editor));
    world.assert_order_does_not_matter();
}

#[test]
fn naming_a_joiners_hpke_key_first_locks_nobody_out() {
    let mut world = World::with_people();
    let first = world.write(&founder(), &epoch(&world.state()));
    let link = world.write(&founder(), &invite(Role::Editor, 9, Some(epoch_ref_of(&first.id()))));
    let joiner = Keys::new(60);
    let mut thief = Keys::new(61);
    thief.hpke_pk = joiner.hpke_pk;
    world.write(&editor(), &Body::HpkeRefresh { hpke_pk: joiner.hpke_pk });
    world.write(&thief, &join(&link, &thief));
    let admitted = world.write(&joiner, &join(&link, &joiner));
    assert_eq!(world.void(&admitted), None);
    assert!(world.state().readers().contains(&(joiner.sign_pk, joiner.hpke_pk)));
    world.assert_order_does_not_matter();
}

#[test]
fn a_withdrawn_invitation_admits_nobody_beside_the_withdrawal() {
    let mut world = World::with_people();
    let first = world.write(&founder(), &epoch(&world.state()));
    let link = world.write(&founder(), &invite(Role::Editor, 9, Some(epoch_ref_of(&first.id()))));
    let (early, late) = (Keys::new(60), Keys::new(61));
    let seen = world.write_after(&early, &[&link], &join(&link, &early));
    assert_eq!(world.attempt(&editor(), &Body::InviteRevoke { invite: link.id() }), NO_AUTHORITY);
    world.write_after(&junior_admin(), &[&seen], &Body::InviteRevoke { invite: link.id() });
    let beside = world.write_after(&late, &[&link], &join(&link, &late));
    assert_eq!((world.void(&seen), world.void(&beside)), (None, Some(VoidReason::Invite)));
    assert!(world.state().invites[&link.id()].is_revoked);
    world.assert_order_does_not_matter();
    let behind = Keys::new(62);
    assert_eq!(world.attempt(&behind, &join(&link, &behind)), Some(VoidReason::Invite), "and it is known beforehand");
}

#[test]
fn nobody_joins_as_somebody_else() {
    let mut world = World::with_people();
    let first = world.write(&founder(), &epoch(&world.state()));
    let link = world.write(&founder(), &invite(Role::Editor, 9, Some(epoch_ref_of(&first.id()))));
    // The next Owner is admitted beside it; the holder of the link takes their id.
    world.write(&founder(), &admit(31, Role::Owner, &Keys::new(60)));
    let evil = Keys::new(61);
    let taken = world.write_after(&evil, &[&link], &join_as(&link, member(31), &evil, &invite_keys()));
    assert_eq!(world.void(&taken), Some(VoidReason::Proof));
    assert_eq!((world.role(31), world.state().may_read(&evil.sign_pk)), (Some(Role::Owner), false));
    world.assert_order_does_not_matter();
}

#[test]
fn nobody_admits_a_more_senior_member_again_with_less() {
    let mut world = World::with_people();
    let base = world.last();
    let admitted = world.write_after(&founder(), &[&base], &admit(9, Role::Owner, &Keys::new(50)));
    let again = world.write_after(&admin(), &[&base], &admit(9, Role::Reader, &Keys::new(51)));
    assert_eq!((world.void(&admitted), world.void(&again)), (None, Some(VoidReason::Seniority)));
    assert_eq!((world.role(9), world.state().may_read(&Keys::new(51).sign_pk)), (Some(Role::Owner), false));
    world.assert_order_does_not_matter();
}

#[test]
fn who_is_admitted_again_with_more_keeps_what_the_first_admission_gave() {
    let mut world = World::with_people();
    let first = world.write(&admin(), &admit(9, Role::Editor, &Keys::new(50)));
    world.write(&admin(), &remove(9));
    world.write(&founder(), &admit(9, Role::Owner, &Keys::new(51)));
    assert_eq!((world.void(&first), world.role(9)), (None, Some(Role::Owner)));
    world.assert_order_does_not_matter();
}

#[test]
fn a_key_that_a_fallen_admission_claimed_is_refused_for_another_member_at_once() {
    let mut world = World::with_people();
    let base = world.last();
    let admitted = world.write_after(&founder(), &[&base], &admit(9, Role::Editor, &Keys::new(50)));
    let removed = world.write_after(&founder(), &[&admitted], &remove(9));
    let beside = world.write_after(&admin(), &[&base], &admit(9, Role::Editor, &Keys::new(51)));
    let other = world.write_after(&founder(), &[&removed, &beside], &admit(10, Role::Editor, &Keys::new(51)));
    let same = world.write_after(&founder(), &[&removed, &beside], &admit(9, Role::Editor, &Keys::new(51)));
    let mut ledger = Ledger::new(&world.records[0]).unwrap();
    let verdicts: Vec<_> = world.records[1..].iter().map(|record| ledger.insert(record).unwrap()).collect();
    assert_eq!(verdicts[verdicts.len() - 2..], [Err(VoidReason::KeyReused), Ok(())], "in its own past");
    let void = [&beside, &other, &same].map(|record| world.void(record));
    assert_eq!(void, [Some(VoidReason::AuthorRemoved), Some(VoidReason::KeyReused), None]);
    world.assert_order_does_not_matter();
}

#[test]
fn a_grant_in_a_device_add_is_of_an_epoch_in_its_past() {
    let mut world = World::with_people();
    let base = world.last();
    let first = world.write(&founder(), &epoch(&world.state()));
    let epoch = epoch_ref_of(&first.id());
    let tablet = Keys::new(24);
    let mut add = give_device(member(4), &tablet, DeviceKind::Normal);
    if let Body::DeviceAdd { grants, .. } = &mut add {
        grants.push((epoch, seal(&tablet.sign_pk)));
    }
    let backdated = world.write_after(&editor(), &[&base], &add);
    assert_eq!(world.void(&backdated), Some(VoidReason::Conflict));
    assert_eq!(world.state().epoch_choice(), EpochChoice::Current(epoch), "it dirties nothing");
    let told = world.write_after(&editor(), &[&first], &add);
    assert_eq!(world.void(&told), None);
}

#[test]
fn an_invitation_with_approval_enrols_nobody_until_an_admin_admits() {
    let mut world = World::with_people();
    let link = world.write(&admin(), &invite(Role::Editor, 1, None));
    let joiner = Keys::new(60);
    let asked = world.write(&joiner, &join(&link, &joiner));
    let state = world.state();
    assert_eq!(world.void(&asked), None);
    assert!(!state.may_read(&joiner.sign_pk) && !state.joins[&asked.id()].is_admitted);
    let Body::Join { member, devices, .. } = asked.body().clone() else { unreachable!() };
    world.write(&junior_admin(), &Body::MemberAdd { member, role: Role::Editor, enc_meta: vec![], devices });
    let state = world.state();
    assert!(state.may_write(&joiner.sign_pk) && state.joins[&asked.id()].is_admitted);
    world.assert_order_does_not_matter();
}

#[test]
fn an_epoch_that_was_granted_to_a_device_is_not_clean_once_that_device_is_removed() {
    let mut world = World::with_people();
    let first = world.write(&founder(), &epoch(&world.state()));
    let epoch = epoch_ref_of(&first.id());
    let late = Keys::new(18);
    world.write(&founder(), &admit(8, Role::Reader, &late));
    world.write(&founder(), &Body::KeyGrant { epoch, seals: vec![seal(&late.sign_pk)] });
    assert_eq!(world.state().epoch_choice(), EpochChoice::Current(epoch));
    world.write(&founder(), &remove(8));
    assert_eq!(world.state().epoch_choice(), EpochChoice::NeedRotation { heads: vec![epoch] });
}

#[test]
fn an_epoch_is_clean_only_without_removed_devices_and_a_merged_one_heals() {
    let mut world = World::with_people();
    let first = world.write(&founder(), &epoch(&world.state()));
    let first_ref = epoch_ref_of(&first.id());
    assert_eq!(world.state().epoch_choice(), EpochChoice::Current(first_ref));
    // Two Admins remove different people and rotate at once: each epoch holds the other's removed device.
    let state_after = |records: &[&Record]| {
        let mut all = world.records.clone();
        all.extend(records.iter().map(|record| (*record).clone()));
        Membership::evaluate(&kit::space(), &all).unwrap()
    };
    let left = admin().follow(&[&first], &remove(4));
    let left_epoch = admin().follow(&[&left], &epoch(&state_after(&[&left])));
    let right = junior_admin().follow(&[&first], &remove(5));
    let right_epoch = junior_admin().follow(&[&right], &epoch(&state_after(&[&right])));
    world.records.extend([left, left_epoch.clone(), right, right_epoch.clone()]);
    let state = world.state();
    assert!(state.void.is_empty(), "{:?}", state.void);
    let mut heads = vec![epoch_ref_of(&left_epoch.id()), epoch_ref_of(&right_epoch.id())];
    heads.sort_unstable();
    assert_eq!(state.epoch_choice(), EpochChoice::NeedRotation { heads });
    world.assert_order_does_not_matter();
    let healed = world.write(&junior_admin(), &epoch(&state));
    let state = world.state();
    assert_eq!(state.epoch_choice(), EpochChoice::Current(epoch_ref_of(&healed.id())));
    assert_eq!(state.epochs.len(), 4, "all of them open what was written under them, for ever");
    let recipients = &state.epochs[&epoch_ref_of(&healed.id())].recipients;
    let removed = [editor(), reader()].map(|keys| seal(&keys.sign_pk).device_ref);
    assert!(removed.iter().all(|short| !recipients.contains(short)));
}

#[test]
fn an_epoch_that_people_wrote_under_stays_whatever_happens_to_its_author() {
    let mut world = World::with_people();
    let base = world.last();
    let by_editor = world.write(&editor(), &epoch(&world.state()));
    let late = world.write_after(&admin(), &[&base], &remove(4));
    assert_eq!((world.void(&by_editor), world.void(&late)), (None, None));
    let state = world.state();
    assert!(state.epochs.contains_key(&epoch_ref_of(&by_editor.id())));
    assert_eq!(state.current_epoch(), None, "but nothing new is sealed under it");
    world.assert_order_does_not_matter();
}

#[test]
fn after_a_refresh_epochs_are_for_the_new_key_and_the_device_goes_back_to_none_it_had() {
    let mut world = World::with_people();
    let new = Keys::new(64);
    world.write(&editor(), &Body::HpkeRefresh { hpke_pk: new.hpke_pk });
    assert!(world.state().readers().contains(&(editor().sign_pk, new.hpke_pk)));
    assert!(!world.state().readers().iter().any(|(_, key)| *key == editor().hpke_pk));
    for used in [new.hpke_pk, editor().hpke_pk] {
        assert_eq!(world.attempt(&editor(), &Body::HpkeRefresh { hpke_pk: used }), Some(VoidReason::KeyReused));
        assert_eq!(world.attempt(&reader(), &Body::HpkeRefresh { hpke_pk: used }), None, "another device's key");
    }
    let mut twin = Keys::new(65);
    twin.hpke_pk = new.hpke_pk;
    let devices = [&new, &twin].map(|keys| keys.entry(&RANDOM, &member(9), DeviceKind::Normal)).to_vec();
    let twice = Body::MemberAdd { member: member(9), role: Role::Reader, enc_meta: vec![], devices };
    assert_eq!(world.attempt(&founder(), &twice), Some(VoidReason::KeyReused), "one key twice in one record");
}

#[test]
fn rules_and_the_end_of_a_space_are_the_owners() {
    let mut world = World::with_people();
    let rules = |days| Body::Policy { rotation_days: days, grace_days: 1, endorse_k: 1, relays: vec![] };
    for author in [admin(), editor(), reader()] {
        assert_eq!(world.attempt(&author, &rules(1)), NO_AUTHORITY);
        assert_eq!(world.attempt(&author, &Body::Close { successor: None }), NO_AUTHORITY);
    }
    let base = world.last();
    let one = world.write_after(&founder(), &[&base], &rules(10));
    let two = world.write_after(&recovery(), &[&base], &rules(20));
    let first = if one.id() < two.id() { 10 } else { 20 };
    assert_eq!(world.state().policy.unwrap().rotation_days, first, "the first of two at once");
    world.write(&founder(), &rules(30));
    assert_eq!(world.state().policy.unwrap().rotation_days, 30);
    assert_eq!(world.state().closed, None);
    let end = world.write(&founder(), &Body::Close { successor: Some(kit::space()) });
    let closed = world.state().closed.unwrap();
    assert_eq!((closed.record, closed.successor), (end.id(), Some(kit::space())));
    world.assert_order_does_not_matter();
}

/// Two envelopes at one place of the editor's stream, and what follows the second.
fn fork(keys: &Keys, owner: &SignPk) -> (Envelope, Envelope, Envelope) {
    let r32 = [0x32; 32];
    let header = Header { stream: stream_id(&kit::space(), owner, &r32), ..kit::header(Kind::Delta) };
    let at = |header: &Header, fill| keys.envelope(&kit::space(), header, &[fill; 272]);
    let (one, two) = (at(&header, 1), at(&header, 2));
    let next = Header { seq: 2, prev: two.id(&kit::space()).0, ..header };
    (one, two, at(&next, 3))
}

#[test]
fn a_proven_fork_closes_the_stream_at_the_smaller_envelope() {
    let mut world = World::with_people();
    let keys = editor();
    let (one, two, after_two) = fork(&keys, &keys.sign_pk);
    let stream = one.header().stream;
    let smaller = one.id(&kit::space()).min(two.id(&kit::space()));
    let point = StreamPoint { seq: 1, id: smaller };
    for (first, second) in [(&one, &two), (&two, &one), (&one, &after_two)] {
        let mut world = World { records: world.records.clone() };
        world.write(&reader(), &Body::fork_proof(&keys.sign_pk, &[0x32; 32], first, second));
        assert!(world.state().void.is_empty(), "anybody may show it");
        assert_eq!(world.state().stream_limit(&keys.sign_pk, &stream), StreamLimit::Forked(point));
    }
    let attempt = |body: Body| {
        let mut world = World { records: world.records.clone() };
        let record = world.write(&reader(), &body);
        world.void(&record)
    };
    let proof = |device: &Keys, r32: &[u8; 32], first: &Envelope, second: &Envelope| {
        attempt(Body::fork_proof(&device.sign_pk, r32, first, second))
    };
    let not_proven = Some(VoidReason::Proof);
    assert_eq!(proof(&keys, &[0x32; 32], &one, &one), not_proven, "one envelope is no fork");
    assert_eq!(proof(&keys, &[0x32; 32], &two, &after_two), not_proven, "a stream that goes on is none");
    assert_eq!(proof(&keys, &[0x33; 32], &one, &two), not_proven, "not the stream's r32");
    assert_eq!(proof(&reader(), &[0x32; 32], &one, &two), not_proven, "not this device's stream");
    // Somebody else signs two envelopes for the editor's stream.
    let (forged, other, _) = fork(&reader(), &keys.sign_pk);
    assert_eq!(proof(&keys, &[0x32; 32], &forged, &other), not_proven, "not signed by the stream's device");
    assert_eq!(attempt(Body::ForkProof { first: vec![1; 188], second: vec![2; 188] }), not_proven);
    world.write(&reader(), &Body::fork_proof(&keys.sign_pk, &[0x32; 32], &one, &two));
    // A cut before the fork is the nearer end.
    let cut_first = lifeos_sync_protocol::record::Cut { stream, seq: 0, id: EnvelopeId::ZERO };
    world.write(&admin(), &remove_at(4, vec![cut_first]));
    assert_eq!(world.state().stream_limit(&keys.sign_pk, &stream), StreamLimit::Cut(StreamPoint::START));
}

#[test]
fn a_record_of_another_space_says_nothing_here() {
    let mut world = World::with_people();
    let other = Keys::new(7);
    let random = [3; 32];
    let foreign = other.record(
        lifeos_sync_protocol::ids::SpaceId::ZERO,
        0,
        &[],
        &Body::Genesis {
            random,
            member: MEMBER,
            device: other.entry(&random, &MEMBER, DeviceKind::Normal),
            recovery: recovery().entry(&random, &MEMBER, DeviceKind::Recovery),
            relays: vec![],
        },
    );
    let parent_elsewhere = founder().record(kit::space(), 1, &[foreign.id()], &remove(4));
    let elsewhere = founder().record(foreign.space(), 1, &[foreign.id()], &remove(4));
    world.records.extend([foreign.clone(), parent_elsewhere.clone(), elsewhere.clone()]);
    assert_eq!(world.void(&foreign), Some(VoidReason::Space));
    assert_eq!(world.void(&elsewhere), Some(VoidReason::Space));
    assert_eq!(world.void(&parent_elsewhere), Some(VoidReason::MissingParent), "it waits for what never comes");
    assert_eq!(world.role(4), Some(Role::Editor));
}

#[test]
fn ten_thousand_records_of_one_member_change_nobody_else_and_are_judged_one_by_one() {
    let mut world = World::with_people();
    let base = world.last();
    let mut ledger = Ledger::new(world.records[0].clone()).unwrap();
    for record in &world.records[1..] {
        assert_eq!(ledger.insert(record.clone()).unwrap(), Ok(()));
    }
    let before = ledger.membership();
    // Half of it side by side, half of it in a chain; signatures are what this takes its time for.
    let mut tip = base.clone();
    for number in 0..10_000_u32 {
        let body = Body::Unknown { kind: 0xee, body: number.to_be_bytes().to_vec() };
        let record = editor().follow(&[if number % 2 == 0 { &base } else { &tip }], &body);
        if number % 2 == 1 {
            tip = record.clone();
        }
        assert_eq!(ledger.insert(record).unwrap(), Err(VoidReason::UnknownType));
    }
    let removal = founder().follow(&[&base], &remove(4));
    assert_eq!(ledger.insert(removal).unwrap(), Ok(()), "the founder still gets a word in");
    let after = ledger.membership();
    assert_eq!(after.members.len(), before.members.len() - 1);
    assert_eq!(after.void.len(), 10_000);
    world.records.clear();
}

#[test]
fn no_clock_has_a_say() {
    // The only time in a record is an invitation's end, which evaluation does not look at.
    let world = World::with_people();
    for expires_ms in [0, 1, u64::MAX] {
        let body = Body::Invite {
            invite_pk: invite_keys().sign_pk,
            role: Role::Reader,
            expires_ms,
            uses_max: 1,
            auto_seal: None,
        };
        let mut world = World { records: world.records.clone() };
        let link = world.write(&admin(), &body);
        let joiner = Keys::new(60);
        let asked = world.write(&joiner, &join(&link, &joiner));
        assert_eq!((world.void(&asked), world.state().invites[&link.id()].expires_ms), (None, expires_ms));
    }
}

#[test]
fn an_unknown_type_is_kept_and_changes_nothing() {
    let mut world = World::with_people();
    let before = world.state();
    let record = world.write(&editor(), &Body::Unknown { kind: 0xee, body: vec![0xa0] });
    let state = world.state();
    assert_eq!(state.void[&record.id()], VoidReason::UnknownType);
    assert!(!VoidReason::UnknownType.is_refusable());
    assert_eq!((&state.members, &state.devices, state.heads), (&before.members, &before.devices, vec![record.id()]));
    assert_eq!(world.attempt(&Keys::new(9), &Body::Close { successor: None }), Some(VoidReason::NotEnrolled));
}

#[test]
fn every_proof_of_enrolment_is_checked_in_every_type_that_enrols() {
    let world = World::with_people();
    let link_world = {
        let mut world = World { records: world.records.clone() };
        let link = world.write(&admin(), &invite(Role::Editor, 5, None));
        (world, link)
    };
    let entry = Keys::new(60).entry(&[0; 32], &member(31), DeviceKind::Normal);
    let devices = vec![entry.clone()];
    let add = Body::MemberAdd { member: member(31), role: Role::Reader, enc_meta: vec![], devices: devices.clone() };
    assert_eq!(world.attempt(&founder(), &add), Some(VoidReason::Proof));
    let own = Keys::new(60).entry(&RANDOM, &member(9), DeviceKind::Normal);
    let own = Body::DeviceAdd { member: member(4), device: own, enc_meta: vec![], grants: vec![] };
    assert_eq!(world.attempt(&editor(), &own), Some(VoidReason::Proof));
    let (world, link) = link_world;
    let joins = joining_member(&link.id(), &Keys::new(60).sign_pk);
    let message = lifeos_sync_protocol::record::join_message(&kit::space(), &link.id(), &joins, &devices);
    let invite_proof = invite_keys().sign(&message);
    let join = Body::Join { invite: link.id(), member: joins, devices, invite_proof, enc_meta: vec![] };
    assert_eq!(world.attempt(&Keys::new(60), &join), Some(VoidReason::Proof));
}
