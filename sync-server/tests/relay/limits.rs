//! What one device, address or member may take, and what stays possible when that is used up.

use std::collections::BTreeSet;

use lifeos_sync_protocol::frame::{Cursor, ErrorCode, Frame, PushStatus, Quota, RecordStatus};
use lifeos_sync_protocol::ids::{MemberId, RdvId, Roll};
use lifeos_sync_protocol::record::{Body, RemoveReason, Role};
use lifeos_sync_server::{Limits, Server, SpaceCreation, TokenHash};

use crate::fixture::{Client, Device, Space, metric, relay_with};
use crate::place::local;

fn code(frame: &Frame) -> Option<ErrorCode> {
    match frame {
        Frame::Error { code, .. } => Some(*code),
        _ => None,
    }
}

async fn quota(client: &mut Client, session: u32) -> Quota {
    let answer = client.ask(&Frame::Open { session, rec_heads: Vec::new(), cursor: None }).await;
    let Frame::State { quota, .. } = answer else { panic!("not a state: {answer:?}") };
    quota
}

#[tokio::test]
async fn a_members_share_is_its_own_limit_and_shows_in_the_state() {
    let limits = Limits { member_bytes_max: 2_000, ..Limits::default() };
    let (relay, dir) = relay_with(limits.clone()).await;
    let mut space = Space::new(1);
    let second = space.enrol(2);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    let held = stream.seal_many(3);
    let bytes: u64 = held.iter().map(|envelope| envelope.len() as u64).sum();
    client.push(session, held).await;
    assert_eq!(quota(&mut client, session).await, Quota { bytes_used: bytes, bytes_max: 2_000 });
    let results = client.push(session, stream.clone().seal_many(2)).await;
    assert!(results.iter().all(|result| result.status == PushStatus::Quota), "{results:?}");
    // Another device of the same member has no share of its own, also after a restart.
    relay.shutdown().await;
    let mut config = local(dir.path());
    config.limits = limits;
    let relay = Server::start(config).await.unwrap();
    let (mut other, session) = Client::join(&relay, &space, &second).await;
    let results = other.push(session, space.stream(&second, 2).seal_many(2)).await;
    assert!(results.iter().all(|result| result.status == PushStatus::Quota), "{results:?}");
    let results = other.push(session, space.stream(&second, 2).seal_many(1)).await;
    assert_eq!(results[0].status, PushStatus::Ok, "what fits is taken");
}

#[tokio::test]
async fn envelopes_are_counted_too() {
    for limits in [
        Limits { space_envelopes_max: 3, ..Limits::default() },
        Limits { member_envelopes_max: 3, ..Limits::default() },
    ] {
        let (relay, _dir) = relay_with(limits).await;
        let space = Space::new(1);
        let (mut client, session) = Client::found(&relay, &space).await;
        let mut stream = space.stream(&space.founder, 1);
        let results = client.push(session, stream.seal_many(3)).await;
        assert!(results.iter().all(|result| result.status == PushStatus::Ok));
        assert_eq!(client.push(session, stream.seal_many(1)).await[0].status, PushStatus::Quota);
    }
}

#[tokio::test]
async fn records_that_come_together_are_judged_together_and_in_any_order() {
    let (relay, _dir) = relay_with(Limits::default()).await;
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    for seed in 2..62 {
        space.enrol(seed);
    }
    let mut records = space.record_bytes().split_off(2);
    records.reverse();
    let before = metric(&relay, "record_evaluations_total").await;
    let answer = client.ask(&Frame::Rec { session, records, more: false }).await;
    assert_eq!(answer, Frame::RecAck { session, results: vec![RecordStatus::Ok; 60] });
    assert_eq!(metric(&relay, "record_evaluations_total").await, before + 1);
}

#[tokio::test]
async fn a_device_that_keeps_bringing_records_without_authority_is_sent_away() {
    let limits = Limits { records_refused_per_connection_max: 5, records_judged_alone_max: 2, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut records = Vec::new();
    for seed in 70..78 {
        let mut usurper = Space::new(1);
        usurper.founder = Device::new(seed);
        usurper.enrol(seed + 20);
        records.push(usurper.records.last().unwrap().bytes().to_vec());
    }
    let before = metric(&relay, "record_evaluations_total").await;
    let answer = client.ask(&Frame::Rec { session, records: records.clone(), more: false }).await;
    let Frame::RecAck { results, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(results.iter().filter(|status| **status == RecordStatus::Refused).count(), 2, "{results:?}");
    assert!(results.iter().all(|status| *status != RecordStatus::Ok));
    // Eight frauds cost no more than a few evaluations.
    assert!(metric(&relay, "record_evaluations_total").await <= before + 4);
    for _ in 0..2 {
        client.send(&Frame::Rec { session, records: records.clone(), more: false }).await;
    }
    assert_eq!(client.last_words().await, Some(ErrorCode::Rate));
    // The accepted twin.
    let (mut honest, session) = Client::join(&relay, &space, &space.founder).await;
    honest.open(session, None).await;
}

#[tokio::test]
async fn a_device_that_pushes_too_fast_waits_and_loses_nothing() {
    let limits = Limits { device_push_kib_per_second_max: 1_000, device_push_burst_kib_max: 1, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    assert_eq!(metric(&relay, "pushes_slowed_total").await, 0);
    for _ in 0..3 {
        let results = client.push(session, vec![stream.seal_sized(20_000)]).await;
        assert_eq!(results[0].status, PushStatus::Ok);
    }
    assert!(metric(&relay, "pushes_slowed_total").await >= 1);
}

#[tokio::test]
async fn a_device_that_pulls_too_fast_waits_and_gets_everything() {
    let limits = Limits { device_pull_kib_per_second_max: 1_000, device_pull_burst_kib_max: 1, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    client.push(session, (0..3).map(|_| stream.seal_sized(20_000)).collect()).await;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..client.open(session, None).await.0 };
    assert_eq!(metric(&relay, "pulls_slowed_total").await, 0);
    assert_eq!(client.catch_up(&space, session, &mut cursor).await.len(), 3);
    assert_eq!(metric(&relay, "pulls_slowed_total").await, 1);
    // And then it goes on.
    assert_eq!(client.catch_up(&space, session, &mut cursor).await.len(), 0);
}

#[tokio::test]
async fn presence_beyond_a_devices_rate_is_dropped() {
    let limits = Limits { device_presence_per_second_max: 1, device_presence_burst_max: 2, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let mut space = Space::new(1);
    let other = space.enrol(2);
    let (mut sender, session) = Client::found(&relay, &space).await;
    let (mut live, following) = Client::join(&relay, &space, &other).await;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..live.open(following, None).await.0 };
    live.catch_up(&space, following, &mut cursor).await;
    let mut stream = space.stream(&space.founder, 1);
    let shown: Vec<_> = (0..50).map(|count| Frame::Ephemeral { session, envelope: stream.presence(count) }).collect();
    sender.send_together(shown).await;
    // The envelope comes behind what is left of them.
    sender.push(session, stream.seal_many(1)).await;
    let mut heard = 0;
    while let (0, Frame::Ephemeral { .. }) = live.next().await.unwrap() {
        heard += 1;
    }
    assert!((2..25).contains(&heard), "{heard} of 50");
}

#[tokio::test]
async fn a_relay_takes_only_so_many_spaces() {
    let (relay, _dir) = relay_with(Limits { spaces_max: 1, ..Limits::default() }).await;
    let (first, second) = (Space::new(1), Space::new(2));
    Client::found(&relay, &first).await;
    let mut client = Client::connect(&relay).await;
    let session = client.auth(&second, &second.founder).await;
    let answer = client.ask(&Frame::Rec { session, records: second.record_bytes(), more: false }).await;
    assert_eq!(code(&answer), Some(ErrorCode::CreateRefused));
    Client::join(&relay, &first, &first.founder).await;
}

#[tokio::test]
async fn a_connection_waits_for_only_so_many_mailbox_messages() {
    let (relay, _dir) = relay_with(Limits { mailbox_waits_max: 2, ..Limits::default() }).await;
    let rdv = RdvId([3; 16]);
    let mut client = Client::connect(&relay).await;
    assert!(matches!(client.ask(&Frame::RdvCreate { rdv, ttl_s: 60 }).await, Frame::RdvItem { .. }));
    let first = client.send(&Frame::RdvGet { rdv, index: 0 }).await;
    client.send(&Frame::RdvGet { rdv, index: 1 }).await;
    let third = Frame::RdvGet { rdv, index: 2 };
    assert_eq!(code(&client.ask(&third).await), Some(ErrorCode::Rate));
    // One that was answered makes room for another.
    client.ask(&Frame::RdvPut { rdv, message: b"first".to_vec() }).await;
    assert!(matches!(client.answer(first).await, Frame::RdvItem { message: Some(_), .. }));
    let again = Frame::RdvGet { rdv, index: 0 };
    assert!(matches!(client.ask(&again).await, Frame::RdvItem { message: Some(_), .. }));
}

/// How many of six records without effect a device gets in, one beside the other.
async fn taken_without_effect(limits: Limits, space: &Space, author: &Device) -> usize {
    let (relay, _dir) = relay_with(limits).await;
    Client::found(&relay, space).await;
    let (mut client, session) = Client::join(&relay, space, author).await;
    let mut taken = 0;
    for number in 0..6 {
        let record = space.sign_as(author, space.records.len(), &of_later(number));
        taken += usize::from(client.bring(session, &record).await == RecordStatus::Ok);
    }
    taken
}

/// What a later version may understand.
fn of_later(number: u8) -> Body {
    Body::Unknown { kind: 0x70, body: vec![number] }
}

#[tokio::test]
async fn what_an_author_a_member_and_a_steward_write_is_bounded_in_bytes_too() {
    let mut space = Space::new(1);
    let editor = space.admit(50, MemberId([8; 16]), Role::Editor);
    let founder = Device::new(1);
    let founders: usize = space.records.iter().map(|record| record.bytes().len()).sum();
    let each = space.sign_as(&editor, space.records.len(), &of_later(0)).bytes().len();
    let room = (3 * each + 1) as u64;
    let all = Limits::default;
    assert_eq!(taken_without_effect(all(), &space, &editor).await, 6);
    let limits = Limits { author_idle_record_bytes_max: room, ..all() };
    assert_eq!(taken_without_effect(limits, &space, &editor).await, 3);
    let limits = Limits { member_record_bytes_max: room, ..all() };
    assert_eq!(taken_without_effect(limits, &space, &editor).await, 3);
    let limits = Limits { steward_record_bytes_max: founders as u64 + room, ..all() };
    assert_eq!(taken_without_effect(limits, &space, &founder).await, 3);
}

#[tokio::test]
async fn an_address_asks_only_so_often_before_it_proves_anything() {
    let limits = Limits {
        lists_per_address_minute_max: 2,
        mailbox_frames_per_address_minute_max: 1,
        auth_failures_per_address_minute_max: 1,
        ..Limits::default()
    };
    let (relay, _dir) = relay_with(limits).await;
    let space = Space::new(1);
    Client::found(&relay, &space).await;
    for _ in 0..2 {
        let mut client = Client::connect(&relay).await;
        let list = client.list_frame(&space.founder);
        assert_eq!(client.ask(&list).await, Frame::Spaces { spaces: vec![space.id] });
    }
    let mut client = Client::connect(&relay).await;
    let list = client.list_frame(&space.founder);
    assert_eq!(code(&client.ask(&list).await), Some(ErrorCode::Rate));
    let rdv = RdvId([3; 16]);
    assert!(matches!(client.ask(&Frame::RdvCreate { rdv, ttl_s: 60 }).await, Frame::RdvItem { .. }));
    assert_eq!(code(&client.ask(&Frame::RdvDrop { rdv }).await), Some(ErrorCode::Rate));
    // The second failure of the address, on another connection, ends that one.
    for fatal_expected in [false, true] {
        let mut client = Client::connect(&relay).await;
        let auth = client.auth_frame(&space, &Device::new(99));
        let answer = client.ask(&auth).await;
        assert!(
            matches!(answer, Frame::Error { code: ErrorCode::NotMember, fatal, .. } if fatal == fatal_expected),
            "{answer:?}"
        );
    }
    Client::join(&relay, &space, &space.founder).await;
}

#[tokio::test]
async fn an_address_opens_only_so_many_connections_in_a_minute() {
    let (relay, _dir) = relay_with(Limits { connections_per_address_minute_max: 3, ..Limits::default() }).await;
    for _ in 0..3 {
        drop(Client::connect(&relay).await);
    }
    let url = format!("ws://{}/sync", relay.addr());
    assert!(tokio_tungstenite::connect_async(&url).await.is_err());
}

#[tokio::test]
async fn a_token_in_the_address_lets_a_space_be_created() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = local(dir.path());
    config.creation = SpaceCreation::Token(BTreeSet::from([TokenHash::of("a-good-long-token")]));
    let relay = Server::start(config).await.unwrap();
    let space = Space::new(1);
    for path in ["/sync", "/sync?token=", "/sync?token=another-long-token", "/sync?other=a-good-long-token"] {
        let mut client = Client::dial_path(&relay, path).await.greet().await;
        let auth = client.auth_frame(&space, &space.founder);
        assert_eq!(code(&client.ask(&auth).await), Some(ErrorCode::NotMember), "{path}");
    }
    let mut client = Client::dial_path(&relay, "/sync?x=1&token=a-good-long-token").await.greet().await;
    let session = client.auth(&space, &space.founder).await;
    let answer = client.ask(&Frame::Rec { session, records: space.record_bytes(), more: false }).await;
    assert!(matches!(answer, Frame::RecAck { .. }), "{answer:?}");
    // Members of what is there need none.
    Client::join(&relay, &space, &space.founder).await;
}

#[tokio::test]
async fn a_space_takes_no_more_devices_than_everybody_can_make_a_key_for() {
    let (relay, _dir) = relay_with(Limits { space_readers_max: 4, ..Limits::default() }).await;
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    for seed in [2, 3] {
        space.enrol(seed);
        assert_eq!(client.bring(session, space.records.last().unwrap()).await, RecordStatus::Ok);
    }
    space.enrol(4);
    let one_more = space.records.pop().unwrap();
    assert_eq!(client.bring(session, &one_more).await, RecordStatus::Refused);
    let (device, reason) = (Device::new(2).pk, RemoveReason::Lost);
    let removal = space.append(&Body::DeviceRemove { device, reason, cuts: Vec::new() });
    assert_eq!(client.bring(session, &removal).await, RecordStatus::Ok);
    space.enrol(5);
    assert_eq!(client.bring(session, space.records.last().unwrap()).await, RecordStatus::Ok);
}

#[tokio::test]
async fn a_member_adds_only_so_many_devices_and_removes_them_all() {
    const READER: MemberId = MemberId([9; 16]);
    let (relay, _dir) = relay_with(Limits { member_device_adds_max: 2, ..Limits::default() }).await;
    let mut space = Space::new(1);
    let reader = space.admit(50, READER, Role::Reader);
    Client::found(&relay, &space).await;
    let (mut client, session) = Client::join(&relay, &space, &reader).await;
    for seed in [51, 52] {
        let added = Device::new(seed);
        space.records.push(space.add_own(&reader, READER, &added));
        assert_eq!(client.bring(session, space.records.last().unwrap()).await, RecordStatus::Ok);
        let body = Body::DeviceRemove { device: added.pk, reason: RemoveReason::Lost, cuts: Vec::new() };
        space.records.push(space.sign_as(&reader, space.records.len(), &body));
        assert_eq!(client.bring(session, space.records.last().unwrap()).await, RecordStatus::Ok);
    }
    let third = space.add_own(&reader, READER, &Device::new(53));
    assert_eq!(client.bring(session, &third).await, RecordStatus::Refused);
    let (mut client, session) = Client::join(&relay, &space, &space.founder).await;
    space.enrol(3);
    assert_eq!(client.bring(session, space.records.last().unwrap()).await, RecordStatus::Ok, "an Owner may");
}
