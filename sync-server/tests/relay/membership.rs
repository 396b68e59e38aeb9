//! Who may connect, who may create, and how records travel.

use std::collections::BTreeSet;

use lifeos_sync_protocol::frame::{ErrorCode, Frame, PushStatus, RecordStatus};
use lifeos_sync_protocol::record::{Body, RemoveReason};
use lifeos_sync_server::{Limits, Server, SpaceCreation};

use crate::fixture::{Client, Device, Space, metric, relay, relay_with};
use crate::place::local;

fn code(frame: &Frame) -> Option<ErrorCode> {
    match frame {
        Frame::Error { code, .. } => Some(*code),
        _ => None,
    }
}

#[tokio::test]
async fn a_device_that_is_not_enrolled_is_told_nothing_about_the_space() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    Client::found(&relay, &space).await;
    let stranger = Device::new(99);
    let mut client = Client::connect(&relay).await;
    let auth = client.auth_frame(&space, &stranger);
    assert_eq!(code(&client.ask(&auth).await), Some(ErrorCode::NotMember));
    let Frame::Spaces { spaces } = ({
        let list = client.list_frame(&stranger);
        client.ask(&list).await
    }) else {
        panic!("not a list")
    };
    assert!(spaces.is_empty());
    let list = client.list_frame(&space.founder);
    assert_eq!(client.ask(&list).await, Frame::Spaces { spaces: vec![space.id] });
}

#[tokio::test]
async fn a_new_record_reaches_open_sessions_and_lets_the_new_device_in() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let (mut founder, session) = Client::found(&relay, &space).await;
    let (mut watching, _) = Client::join(&relay, &space, &space.founder).await;
    let old_heads = vec![space.records.last().unwrap().id()];
    let device = space.enrol(2);
    let added = space.records.last().unwrap().clone();

    let mut early = Client::connect(&relay).await;
    let auth = early.auth_frame(&space, &device);
    assert_eq!(code(&early.ask(&auth).await), Some(ErrorCode::NotMember));

    let rec = Frame::Rec { session, records: vec![added.bytes().to_vec()], more: false };
    assert_eq!(founder.ask(&rec).await, Frame::RecAck { session, results: vec![RecordStatus::Ok] });
    assert_eq!(founder.ask(&rec).await, Frame::RecAck { session, results: vec![RecordStatus::Dup] });
    let (request, live) = watching.next().await.unwrap();
    assert_eq!(request, 0);
    assert!(matches!(live, Frame::Rec { records, .. } if records == [added.bytes().to_vec()]));

    let session = early.auth(&space, &device).await;
    early.open(session, None).await;
    let wish = Frame::RecWant { session, ids: Vec::new(), heads: old_heads };
    assert!(matches!(early.ask(&wish).await, Frame::Rec { records, more: false, .. } if records.len() == 1));
    let all = Frame::RecWant { session, ids: Vec::new(), heads: Vec::new() };
    assert!(matches!(early.ask(&all).await, Frame::Rec { records, .. } if records == space.record_bytes()));
    let results = early.push(session, space.stream(&device, 5).seal_many(1)).await;
    assert_eq!(results[0].status, PushStatus::Ok);
}

#[tokio::test]
async fn records_without_their_parents_wait_and_forged_ones_are_refused() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    space.enrol(2);
    space.enrol(3);
    let [first, second] = [3, 2].map(|index| space.records[index].bytes().to_vec());
    let ask = |records| Frame::Rec { session, records, more: false };

    let parked = client.ask(&ask(vec![first])).await;
    assert_eq!(parked, Frame::RecAck { session, results: vec![RecordStatus::Parked] });
    let mut forged = second.clone();
    *forged.last_mut().unwrap() ^= 1;
    let refused = client.ask(&ask(vec![forged, vec![0; 10], Vec::new()])).await;
    assert_eq!(refused, Frame::RecAck { session, results: vec![RecordStatus::Refused; 3] });
    assert_eq!(client.ask(&ask(vec![second])).await, Frame::RecAck { session, results: vec![RecordStatus::Ok] });
    // The parked one came in with its parent.
    let all = Frame::RecWant { session, ids: Vec::new(), heads: Vec::new() };
    assert!(matches!(client.ask(&all).await, Frame::Rec { records, .. } if records == space.record_bytes()));
}

#[tokio::test]
async fn a_record_of_somebody_without_authority_is_refused() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    // The stranger builds on the real Genesis: well signed, wrong author.
    let mut usurper = Space::new(1);
    usurper.founder = Device::new(77);
    usurper.enrol(78);
    let records = vec![usurper.records.last().unwrap().bytes().to_vec()];
    let answer = client.ask(&Frame::Rec { session, records, more: false }).await;
    assert_eq!(answer, Frame::RecAck { session, results: vec![RecordStatus::Refused] });
}

#[tokio::test]
async fn only_a_device_that_the_records_enrol_creates_a_space() {
    let (relay, _dir) = relay().await;
    let (space, stranger) = (Space::new(1), Device::new(99));
    let mut client = Client::connect(&relay).await;
    let session = client.auth(&space, &stranger).await;
    let open = Frame::Open { session, rec_heads: Vec::new(), cursor: None };
    assert_eq!(code(&client.ask(&open).await), Some(ErrorCode::Unexpected));
    let push = Frame::Push { session, envelopes: space.stream(&stranger, 1).seal_many(1) };
    assert_eq!(code(&client.ask(&push).await), Some(ErrorCode::Unexpected));
    let rec = Frame::Rec { session, records: space.record_bytes(), more: false };
    assert_eq!(code(&client.ask(&rec).await), Some(ErrorCode::CreateRefused));
    Client::found(&relay, &space).await;
}

#[tokio::test]
async fn a_linked_device_creates_the_space_again_at_a_relay_that_lost_it() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let second = space.enrol(2);
    let mut client = Client::connect(&relay).await;
    let session = client.auth(&space, &second).await;
    // Without the record that enrols it, the Genesis alone is somebody else's.
    let genesis = vec![space.record_bytes().remove(0)];
    let answer = client.ask(&Frame::Rec { session, records: genesis, more: false }).await;
    assert_eq!(code(&answer), Some(ErrorCode::CreateRefused));
    let records = space.record_bytes();
    let rec = Frame::Rec { session, records, more: true };
    let results = vec![RecordStatus::Ok; space.records.len()];
    assert_eq!(client.ask(&rec).await, Frame::RecAck { session, results });
    // The rest of its records, which one frame may not have held, comes before OPEN.
    space.enrol(3);
    let rest = vec![space.records.last().unwrap().bytes().to_vec()];
    let answer = client.ask(&Frame::Rec { session, records: rest, more: false }).await;
    assert_eq!(answer, Frame::RecAck { session, results: vec![RecordStatus::Ok] });
    client.open(session, None).await;
    let results = client.push(session, space.stream(&second, 1).seal_many(2)).await;
    assert!(results.iter().all(|result| result.status == PushStatus::Ok), "{results:?}");
    Client::join(&relay, &space, &space.founder).await;
}

#[tokio::test]
async fn a_stranger_cannot_have_a_space_loaded() {
    let (first, dir) = relay().await;
    let space = Space::new(1);
    Client::found(&first, &space).await;
    first.shutdown().await;
    let relay = Server::start(local(dir.path())).await.unwrap();
    let mut client = Client::connect(&relay).await;
    let auth = client.auth_frame(&space, &Device::new(99));
    assert_eq!(code(&client.ask(&auth).await), Some(ErrorCode::NotMember));
    let loaded = "spaces_loaded_total";
    assert_eq!(metric(&relay, loaded).await, 0);
    // The accepted twin: a member's device has it loaded, and then the stranger meets the membership itself.
    client.auth(&space, &space.founder).await;
    assert_eq!(metric(&relay, loaded).await, 1);
    let mut again = Client::connect(&relay).await;
    let auth = again.auth_frame(&space, &Device::new(99));
    assert_eq!(code(&again.ask(&auth).await), Some(ErrorCode::NotMember));
}

#[tokio::test]
async fn a_removed_device_is_told_so_without_its_space_being_loaded() {
    let (first, dir) = relay().await;
    let mut space = Space::new(1);
    let gone = space.enrol(2);
    let (mut owner, session) = Client::found(&first, &space).await;
    space.append(&Body::DeviceRemove { device: gone.pk, reason: RemoveReason::Lost, cuts: Vec::new() });
    let records = vec![space.records.last().unwrap().bytes().to_vec()];
    let rec = Frame::Rec { session, records, more: false };
    assert!(matches!(owner.ask(&rec).await, Frame::RecAck { results, .. } if results == [RecordStatus::Ok]));
    first.shutdown().await;
    let relay = Server::start(local(dir.path())).await.unwrap();
    let mut client = Client::connect(&relay).await;
    let auth = client.auth_frame(&space, &gone);
    assert_eq!(code(&client.ask(&auth).await), Some(ErrorCode::Removed));
    assert_eq!(metric(&relay, "spaces_loaded_total").await, 0);
    let list = client.list_frame(&gone);
    assert_eq!(client.ask(&list).await, Frame::Spaces { spaces: Vec::new() });
}

#[tokio::test]
async fn a_relay_for_named_founders_refuses_others_as_if_nothing_were_there() {
    let dir = tempfile::tempdir().unwrap();
    let (allowed, other) = (Space::new(1), Space::new(2));
    let mut config = local(dir.path());
    config.creation = SpaceCreation::Allowlist(BTreeSet::from([allowed.founder.pk]));
    let relay = Server::start(config).await.unwrap();
    Client::found(&relay, &allowed).await;
    let mut client = Client::connect(&relay).await;
    let auth = client.auth_frame(&other, &other.founder);
    assert_eq!(code(&client.ask(&auth).await), Some(ErrorCode::NotMember));
}

#[tokio::test]
async fn an_author_of_records_without_effect_leaves_room_for_those_that_have_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = local(dir.path());
    config.limits.author_idle_records_max = 3;
    let first = Server::start(config.clone()).await.unwrap();
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&first, &space).await;
    // The records do not name each other, so that a refused one makes none of the others an orphan.
    let idle = |space: &mut Space, number: u8| {
        space.append(&Body::Unknown { kind: 0x70, body: vec![number] });
        space.records.pop().unwrap().bytes().to_vec()
    };
    let records = (0..5).map(|number| idle(&mut space, number)).collect();
    let answer = client.ask(&Frame::Rec { session, records, more: false }).await;
    let (ok, refused) = (RecordStatus::Ok, RecordStatus::Refused);
    assert_eq!(answer, Frame::RecAck { session, results: vec![ok, ok, ok, refused, refused] });
    first.shutdown().await;

    // Counted again when the space is loaded again.
    let relay = Server::start(config).await.unwrap();
    let (mut client, session) = Client::join(&relay, &space, &space.founder).await;
    let one_more = idle(&mut space, 9);
    space.enrol(2);
    let records = vec![one_more, space.records.last().unwrap().bytes().to_vec()];
    let answer = client.ask(&Frame::Rec { session, records, more: false }).await;
    assert_eq!(answer, Frame::RecAck { session, results: vec![refused, ok] });
}

#[tokio::test]
async fn an_address_creates_only_so_many_spaces() {
    let (relay, _dir) = relay_with(Limits { spaces_per_address_hour_max: 2, ..Limits::default() }).await;
    Client::found(&relay, &Space::new(1)).await;
    Client::found(&relay, &Space::new(2)).await;
    let third = Space::new(3);
    let mut client = Client::connect(&relay).await;
    let session = client.auth(&third, &third.founder).await;
    let answer = client.ask(&Frame::Rec { session, records: third.record_bytes(), more: false }).await;
    assert_eq!(code(&answer), Some(ErrorCode::Rate));
    // What is there already is open as before.
    Client::join(&relay, &Space::new(1), &Space::new(1).founder).await;
}

#[tokio::test]
async fn records_that_come_too_fast_wait_and_are_taken() {
    let limits = Limits { records_per_second_max: 1_000, records_burst_max: 2, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    assert_eq!(metric(&relay, "records_slowed_total").await, 0);
    space.enrol(2);
    space.enrol(3);
    space.enrol(4);
    let records = space.record_bytes().split_off(2);
    let answer = client.ask(&Frame::Rec { session, records, more: false }).await;
    assert_eq!(answer, Frame::RecAck { session, results: vec![RecordStatus::Ok; 3] });
    assert_eq!(metric(&relay, "records_slowed_total").await, 3);
}
