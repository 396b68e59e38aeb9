//! Checkpoints: who makes them, and whose word makes them count.

use lifeos_sync_protocol::envelope::stream_id;
use lifeos_sync_protocol::ids::{EnvelopeId, RecordId};
use lifeos_sync_protocol::membership::{CheckpointStanding, VoidReason};
use lifeos_sync_protocol::record::{Body, DeviceKind, Floor};

use super::kit::{self, Keys, MEMBER, founder};
use super::membership_world::*;

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

#[test]
fn a_checkpoint_is_a_writers_and_others_say_whether_it_counts() {
    let mut world = World::with_people();
    let body = Body::Checkpoint { previous: vec![], cut: vec![], chunks: vec![], blobs: vec![], enc_manifest: vec![] };
    assert_eq!(world.attempt(&reader(), &body), NO_AUTHORITY);
    let made = world.write(&editor(), &body);
    let endorse = Body::Endorse { checkpoint: made.id() };
    let tablet = Keys::new(24);
    world.write(&editor(), &give_device(member(4), &tablet, DeviceKind::Normal));
    assert_eq!(world.attempt(&reader(), &Body::Endorse { checkpoint: RecordId([1; 32]) }), Some(VoidReason::Conflict));
    let said = |world: &World| world.state().checkpoints[&made.id()].clone();
    let standing = |world: &World| world.state().checkpoint_standing(&made.id()).unwrap();
    world.write(&editor(), &endorse);
    world.write(&tablet, &endorse);
    assert_eq!(said(&world).endorsed_by, [editor().sign_pk, tablet.sign_pk].into());
    assert_eq!(standing(&world), CheckpointStanding::Proposed, "its maker's member says nothing new, by either device");
    world.write(&founder(), &Body::Policy { rotation_days: 30, grace_days: 30, endorse_k: 2, relays: vec![] });
    world.write(&junior_admin(), &endorse);
    assert_eq!(standing(&world), CheckpointStanding::Proposed, "one of two");
    world.write(&reader(), &endorse);
    assert_eq!(standing(&world), CheckpointStanding::Endorsed);
    let object = Body::Object { checkpoint: made.id(), reason: 1, stream: STREAM, seq: 3 };
    assert_eq!(world.attempt(&reader(), &object), NO_AUTHORITY, "who only reads holds nothing up");
    let objection = world.write(&junior_admin(), &object);
    assert_eq!(said(&world).objections, [objection.id()].into());
    assert_eq!(standing(&world), CheckpointStanding::Blocked);
    world.write(&founder(), &remove(3));
    assert_eq!(said(&world).objections, [].into(), "a removed device blocks nothing");
    assert_eq!(standing(&world), CheckpointStanding::Proposed, "and its endorsement does not count");
    let behind = Body::Checkpoint {
        previous: vec![made.id()],
        cut: vec![],
        chunks: vec![],
        blobs: vec![],
        enc_manifest: vec![],
    };
    assert_eq!(world.attempt(&founder(), &behind), None);
    let lost = Body::Checkpoint {
        previous: vec![RecordId([1; 32])],
        cut: vec![],
        chunks: vec![],
        blobs: vec![],
        enc_manifest: vec![],
    };
    assert_eq!(world.attempt(&founder(), &lost), Some(VoidReason::Conflict));
}

#[test]
fn alone_one_endorses_oneself_and_with_a_second_device_that_one_does() {
    let mut world = World::new();
    let body = Body::Checkpoint { previous: vec![], cut: vec![], chunks: vec![], blobs: vec![], enc_manifest: vec![] };
    let made = world.write(&founder(), &body);
    let endorse = Body::Endorse { checkpoint: made.id() };
    let standing = |world: &World| world.state().checkpoint_standing(&made.id()).unwrap();
    assert_eq!(standing(&world), CheckpointStanding::Proposed);
    world.write(&founder(), &endorse);
    assert_eq!(standing(&world), CheckpointStanding::Endorsed);
    let paper = Keys::new(34);
    world.write(&founder(), &give_device(MEMBER, &paper, DeviceKind::Recovery));
    assert_eq!(standing(&world), CheckpointStanding::Endorsed, "a paper key looks at nothing");
    let tablet = Keys::new(24);
    world.write(&founder(), &give_device(MEMBER, &tablet, DeviceKind::Normal));
    assert_eq!(standing(&world), CheckpointStanding::Proposed);
    world.write(&tablet, &endorse);
    assert_eq!(standing(&world), CheckpointStanding::Endorsed);
    assert_eq!(world.state().checkpoint_standing(&RecordId([1; 32])), None);
}

#[test]
fn a_checkpoint_names_streams_of_their_devices_in_order_or_is_void() {
    let mut world = World::with_people();
    let floor = |keys: &Keys, n: u8| Floor {
        stream: stream_id(&kit::space(), &keys.sign_pk, &[n; 32]),
        seq: 7,
        id: EnvelopeId([9; 32]),
        device: keys.sign_pk,
        r32: [n; 32],
    };
    let with = |cut: Vec<Floor>| Body::Checkpoint {
        previous: vec![],
        cut,
        chunks: vec![],
        blobs: vec![],
        enc_manifest: vec![],
    };
    let mut good = vec![floor(&editor(), 1), floor(&editor(), 2), floor(&reader(), 1)];
    good.sort_by_key(|floor| floor.stream);
    world.write(&editor(), &with(good.clone()));
    assert!(world.state().void.is_empty());
    let changed = |change: &dyn Fn(&mut Vec<Floor>)| {
        let (mut world, mut cut) = (World { records: world.records.clone() }, good.clone());
        change(&mut cut);
        let record = world.write(&editor(), &with(cut));
        world.void(&record)
    };
    let not_proven = Some(VoidReason::Proof);
    assert_eq!(changed(&|cut| cut.swap(0, 1)), not_proven, "not ascending");
    assert_eq!(changed(&|cut| cut[1] = cut[0]), not_proven, "twice");
    assert_eq!(changed(&|cut| cut[0].device = founder().sign_pk), not_proven, "another's stream");
    assert_eq!(changed(&|cut| cut[0].r32[0] ^= 1), not_proven, "another stream");
    assert_eq!(changed(&|cut| cut[0].seq = 0), not_proven, "before its first envelope");
}

#[test]
fn a_checkpoint_that_holds_less_takes_the_place_of_none() {
    let mut world = World::with_people();
    let floor = |seq| Floor {
        stream: stream_id(&kit::space(), &editor().sign_pk, &[1; 32]),
        seq,
        id: EnvelopeId([9; 32]),
        device: editor().sign_pk,
        r32: [1; 32],
    };
    let made = |previous: Vec<RecordId>, cut| Body::Checkpoint {
        previous,
        cut,
        chunks: vec![],
        blobs: vec![],
        enc_manifest: vec![],
    };
    let first = world.write(&editor(), &made(vec![], vec![floor(7)])).id();
    assert_eq!(world.attempt(&founder(), &made(vec![first], vec![])), Some(VoidReason::Conflict), "a stream less");
    assert_eq!(
        world.attempt(&founder(), &made(vec![first], vec![floor(6)])),
        Some(VoidReason::Conflict),
        "an envelope less"
    );
    assert_eq!(world.attempt(&founder(), &made(vec![first], vec![floor(7)])), None);
    assert_eq!(world.attempt(&founder(), &made(vec![], vec![floor(6)])), None, "beside it, it replaces nothing");
}
