//! Removal and roles: who is closed out, what is still taken, and who has to look again before it removes.

use std::time::{Duration, Instant};

use lifeos_sync_protocol::frame::{Cursor, ErrorCode, Frame, PushResult, PushStatus, RecordStatus};
use lifeos_sync_protocol::ids::{MemberId, Roll};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Cut, DeviceKind, RemoveReason, Role};
use lifeos_sync_server::Limits;

use crate::fixture::{Client, Device, Space, Stream, patiently, relay, relay_with};

async fn send_last(client: &mut Client, session: u32, space: &Space, count: usize) -> Vec<RecordStatus> {
    let records = space.record_bytes().split_off(space.records.len() - count);
    let answer = client.ask(&Frame::Rec { session, records, more: false }).await;
    let Frame::RecAck { results, .. } = answer else { panic!("{answer:?}") };
    results
}

fn removal(device: &Device, reason: RemoveReason, cuts: &[&Stream<'_>]) -> Body {
    let cuts = cuts.iter().map(|stream| Cut { stream: stream.id, seq: stream.seq, id: stream.prev.into() }).collect();
    Body::DeviceRemove { device: device.pk, reason, cuts }
}

const OK: RecordStatus = RecordStatus::Ok;

/// How soon the connection of a removed device ends; counted from the moment when the removal is sent.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);

/// The quickest counts, so that a busy machine fails nobody.
fn assert_closed_in_time(who: &str, took: &[Duration]) {
    println!("{who}: closed after {took:?}");
    assert!(took.iter().min().is_some_and(|quickest| *quickest < CLOSED_WITHIN), "{who}: {took:?}");
}

#[tokio::test]
async fn a_removed_device_is_closed_out_and_comes_in_no_more() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let gone = space.enrol(2);
    let (mut owner, session) = Client::found(&relay, &space).await;
    let (mut removed, theirs) = Client::join(&relay, &space, &gone).await;
    // Another one has only proved its key, and a third does not read what it is sent.
    let mut silent = Client::connect(&relay).await;
    silent.auth(&space, &gone).await;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..removed.open(theirs, None).await.0 };
    removed.catch_up(&space, theirs, &mut cursor).await;

    space.append(&removal(&gone, RemoveReason::Lost, &[]));
    assert_eq!(send_last(&mut owner, session, &space, 1).await, [OK]);
    // It hears of its removal, and that is the last it hears.
    let (_, heard) = removed.next().await.unwrap();
    assert!(matches!(heard, Frame::Rec { records, .. } if records == [space.records.last().unwrap().bytes().to_vec()]));
    assert_eq!(removed.last_words().await, Some(ErrorCode::Removed));
    assert_eq!(silent.last_words().await, Some(ErrorCode::Removed));

    let mut again = Client::connect(&relay).await;
    let auth = again.auth_frame(&space, &gone);
    assert!(matches!(again.ask(&auth).await, Frame::Error { code: ErrorCode::Removed, .. }));
    let list = again.list_frame(&gone);
    assert_eq!(again.ask(&list).await, Frame::Spaces { spaces: Vec::new() });
    // A mailbox is for everybody: it may be linked anew.
    let rdv = lifeos_sync_protocol::ids::RdvId([3; 16]);
    assert!(matches!(again.ask(&Frame::RdvCreate { rdv, ttl_s: 60 }).await, Frame::RdvItem { .. }));
}

#[tokio::test]
async fn the_live_connection_of_a_removed_device_ends_within_a_second() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let devices = [2, 3, 4].map(|seed| space.enrol(seed));
    let (mut owner, session) = Client::found(&relay, &space).await;
    let mut live = Vec::new();
    for device in &devices {
        let (mut client, theirs) = Client::join(&relay, &space, device).await;
        let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..client.open(theirs, None).await.0 };
        client.catch_up(&space, theirs, &mut cursor).await;
        live.push(client);
    }
    let mut took = Vec::new();
    for (device, client) in devices.iter().zip(&mut live) {
        space.append(&removal(device, RemoveReason::Lost, &[]));
        let started = Instant::now();
        assert_eq!(send_last(&mut owner, session, &space, 1).await, [OK]);
        assert_eq!(client.last_words().await, Some(ErrorCode::Removed));
        took.push(started.elapsed());
    }
    assert_closed_in_time("live devices", &took);
}

#[tokio::test]
async fn a_replaced_recovery_key_is_refused_by_the_relay() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let old = space.recovery();
    let (mut owner, session) = Client::found(&relay, &space).await;
    // The accepted twin: until then it comes in.
    let (mut finder, _) = Client::join(&relay, &space, &old).await;
    let new = space.enrol_as(7, DeviceKind::Recovery);
    space.append(&removal(&old, RemoveReason::Replaced, &[]));
    assert_eq!(send_last(&mut owner, session, &space, 2).await, [OK, OK]);
    assert_eq!(finder.last_words().await, Some(ErrorCode::Removed));
    let mut again = Client::connect(&relay).await;
    let auth = again.auth_frame(&space, &old);
    assert!(matches!(again.ask(&auth).await, Frame::Error { code: ErrorCode::Removed, .. }));
    let list = again.list_frame(&old);
    assert_eq!(again.ask(&list).await, Frame::Spaces { spaces: Vec::new() });
    Client::join(&relay, &space, &new).await;
}

/// What is on its way when the removal comes is read by nobody.
#[tokio::test]
async fn an_invitation_with_a_devices_own_key_keeps_no_removed_device_here() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let gone = space.enrol(2);
    let (invite_pk, role) = (gone.pk, Role::Editor);
    space.append(&Body::Invite { invite_pk, role, expires_ms: u64::MAX, uses_max: 9, auto_seal: None });
    let (mut owner, session) = Client::found(&relay, &space).await;
    let (mut removed, _) = Client::join(&relay, &space, &gone).await;
    space.append(&removal(&gone, RemoveReason::Lost, &[]));
    assert_eq!(send_last(&mut owner, session, &space, 1).await, [OK]);
    assert_eq!(removed.last_words().await, Some(ErrorCode::Removed));
    let mut again = Client::connect(&relay).await;
    let auth = again.auth_frame(&space, &gone);
    assert!(matches!(again.ask(&auth).await, Frame::Error { code: ErrorCode::Removed, .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_device_that_takes_nothing_is_cut_off_all_the_same() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let devices = [2, 3, 4].map(|seed| space.enrol(seed));
    let (mut owner, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    for _ in 0..40 {
        owner.push(session, vec![stream.seal_sized(500_000)]).await;
    }
    let mut deaf = Vec::new();
    for device in &devices {
        let (mut client, theirs) = Client::join(&relay, &space, device).await;
        for pos in 1..=40 {
            client.send(&Frame::Pull { session: theirs, from: pos, bytes_max: 1, items_max: 1 }).await;
        }
        deaf.push(client);
    }
    // Until the sockets are full and no page is read any more.
    let (mut read, mut unchanged) = (0, 0);
    while unchanged < 100 {
        let now = crate::fixture::metric(&relay, "pages_read_total").await;
        unchanged = if now == read { unchanged + 1 } else { 0 };
        read = now;
    }
    let mut took = Vec::new();
    for (device, left) in devices.iter().zip([3, 2, 1]) {
        space.append(&removal(device, RemoveReason::Lost, &[]));
        let started = Instant::now();
        assert_eq!(send_last(&mut owner, session, &space, 1).await, [OK]);
        // Far below the time that a stalled write may take.
        patiently("one session less", async {
            while crate::fixture::metric(&relay, "sessions_open").await > left {
                tokio::task::yield_now().await;
            }
        })
        .await;
        took.push(started.elapsed());
    }
    assert_closed_in_time("devices that take nothing", &took);
    assert_eq!(crate::fixture::metric(&relay, "writes_timed_out_total").await, 0);
}

/// A device writes on while it is removed, and the removal is answered CUT_BEHIND; gives it with what is there by now.
async fn cut_too_early(
    space: &mut Space,
    gone: &Device,
    (owner, session): (&mut Client, u32),
    (writer, theirs): (&mut Client, u32),
    stream: &mut Stream<'_>,
) -> Body {
    writer.push(theirs, stream.seal_many(2)).await;
    let early = removal(gone, RemoveReason::Lost, &[stream]);
    writer.push(theirs, stream.seal_many(1)).await;
    space.append(&early);
    assert_eq!(send_last(owner, session, space, 1).await, [RecordStatus::CutBehind]);
    removal(gone, RemoveReason::Lost, &[stream])
}

#[tokio::test]
async fn a_removal_that_cuts_behind_waits_until_its_author_has_looked_again() {
    let (relay, _dir) = relay_with(Limits { removal_hold_ms: 0, ..Limits::default() }).await;
    let mut space = Space::new(1);
    let gone = space.enrol(2);
    let (mut owner, session) = Client::found(&relay, &space).await;
    let (mut writer, theirs) = Client::join(&relay, &space, &gone).await;
    let mut stream = space.stream(&gone, 5);
    let late = cut_too_early(&mut space, &gone, (&mut owner, session), (&mut writer, theirs), &mut stream).await;
    // Nothing has happened to the device.
    let mut other = space.stream(&gone, 6);
    assert_eq!(writer.push(theirs, other.seal_many(1)).await[0].status, PushStatus::Ok);
    // Both streams are named by the one beside it; together they are taken.
    let Body::DeviceRemove { device, reason, mut cuts } = late else { unreachable!() };
    cuts.push(Cut { stream: other.id, seq: other.seq, id: other.prev.into() });
    let beside = space.sign_as(&space.founder, space.records.len() - 1, &Body::DeviceRemove { device, reason, cuts });
    space.records.push(beside);
    assert_eq!(send_last(&mut owner, session, &space, 2).await, [OK, OK]);
    assert_eq!(writer.last_words().await, Some(ErrorCode::Removed));
}

#[tokio::test]
async fn a_removal_whose_author_is_gone_with_it_waits_for_nobody() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let gone = space.enrol(2);
    let (mut owner, session) = Client::found(&relay, &space).await;
    let (mut writer, theirs) = Client::join(&relay, &space, &gone).await;
    let mut stream = space.stream(&gone, 5);
    writer.push(theirs, stream.seal_many(2)).await;
    // It left by another relay, which held less of it.
    let left = removal(&gone, RemoveReason::Left, &[]);
    let left = space.sign_as(&gone, space.records.len(), &left);
    space.records.push(left);
    assert_eq!(send_last(&mut owner, session, &space, 1).await, [OK], "it signs no other");
    assert_eq!(writer.last_words().await, Some(ErrorCode::Removed));
}

#[tokio::test]
async fn a_device_that_writes_without_a_pause_waits_until_its_removal_is_taken() {
    // Longer than any test takes: what is asserted is who waits, not for how long.
    let (relay, _dir) = relay_with(Limits { removal_hold_ms: 600_000, ..Limits::default() }).await;
    let mut space = Space::new(1);
    let gone = space.enrol(2);
    let (mut owner, session) = Client::found(&relay, &space).await;
    let (mut writer, theirs) = Client::join(&relay, &space, &gone).await;
    let mut stream = space.stream(&gone, 5);
    let late = cut_too_early(&mut space, &gone, (&mut owner, session), (&mut writer, theirs), &mut stream).await;

    // Nothing of it is stored meanwhile: not on top of what is here, in no new stream, and by nobody else's hand.
    let more = stream.seal_many(2);
    let waits = |results: Vec<PushResult>| results.iter().all(|result| result.status == PushStatus::Rate);
    assert!(waits(writer.push(theirs, more.clone()).await));
    assert!(waits(writer.push(theirs, space.stream(&gone, 6).seal_many(1)).await));
    assert!(waits(owner.push(session, more.clone()).await));
    // Everybody else writes on.
    let own = owner.push(session, space.stream(&space.founder, 1).seal_many(1)).await;
    assert_eq!(own[0].status, PushStatus::Ok);
    // Nor when everybody has left the space meanwhile.
    drop((owner, writer));
    patiently("no session", async {
        while crate::fixture::metric(&relay, "sessions_open").await > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (mut writer, theirs) = Client::join(&relay, &space, &gone).await;
    assert!(waits(writer.push(theirs, more.clone()).await));
    let (mut owner, session) = Client::join(&relay, &space, &space.founder).await;
    let beside = space.sign_as(&space.founder, space.records.len() - 1, &late);
    space.records.push(beside);
    assert_eq!(send_last(&mut owner, session, &space, 2).await, [OK, OK]);
    assert_eq!(writer.last_words().await, Some(ErrorCode::Removed));
    // It waits no longer: who built upon what it wrote vouches for it.
    assert!(owner.push(session, more).await.iter().all(|result| result.status.is_stored()));
}

#[tokio::test]
async fn who_may_not_remove_a_device_keeps_it_from_writing_nothing() {
    let (relay, _dir) = relay_with(Limits { removal_hold_ms: 600_000, ..Limits::default() }).await;
    let mut space = Space::new(1);
    let writes = space.enrol(2);
    let (editor, _) = admit(&mut space, 3, Role::Editor);
    let (_owner, _) = Client::found(&relay, &space).await;
    let (mut writer, theirs) = Client::join(&relay, &space, &writes).await;
    let (mut other, session) = Client::join(&relay, &space, &editor).await;
    let mut stream = space.stream(&writes, 5);
    writer.push(theirs, stream.seal_many(2)).await;
    let record = space.sign_as(&editor, space.records.len(), &removal(&writes, RemoveReason::Lost, &[]));
    space.records.push(record);
    assert_eq!(send_last(&mut other, session, &space, 1).await, [RecordStatus::Refused]);
    assert_eq!(writer.push(theirs, stream.seal_many(1)).await[0].status, PushStatus::Ok);
}

#[tokio::test]
async fn a_device_in_wrong_hands_is_removed_at_once_whatever_it_wrote() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let gone = space.enrol(2);
    let (mut owner, session) = Client::found(&relay, &space).await;
    let (mut thief, theirs) = Client::join(&relay, &space, &gone).await;
    let mut stream = space.stream(&gone, 5);
    thief.push(theirs, stream.seal_many(1)).await;
    let cut = removal(&gone, RemoveReason::Compromised, &[&stream]);
    thief.push(theirs, stream.seal_many(5)).await;
    space.append(&cut);
    assert_eq!(send_last(&mut owner, session, &space, 1).await, [OK]);
    assert_eq!(thief.last_words().await, Some(ErrorCode::Removed));
}

#[tokio::test]
async fn what_a_removed_device_wrote_is_taken_up_to_its_cut_and_beyond_only_on_anothers_word() {
    let (first, _dir) = relay().await;
    let mut space = Space::new(1);
    let gone = space.enrol(2);
    let mut stream = space.stream(&gone, 5);
    let before = stream.seal_many(3);
    let cut = removal(&gone, RemoveReason::Lost, &[&stream]);
    let after = stream.seal_many(2);
    space.append(&cut);
    space.rotate();
    // A relay that lost everything is filled again by the owner.
    let (mut owner, session) = Client::found(&first, &space).await;
    for sealed in [before, after] {
        let results = owner.push(session, sealed).await;
        assert!(results.iter().all(|result| result.status == PushStatus::OkStaleEpoch), "{results:?}");
    }
}

/// A member with one device.
fn admit(space: &mut Space, seed: u8, role: Role) -> (Device, MemberId) {
    let member = MemberId([seed; 16]);
    let device = space.admit(seed, member, role);
    (device, member)
}

#[tokio::test]
async fn a_reader_reads_and_gives_receipts_and_writes_nothing() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let (reader, _) = admit(&mut space, 2, Role::Reader);
    space.rotate();
    let (mut owner, session) = Client::found(&relay, &space).await;
    owner.push(session, space.stream(&space.founder, 1).seal_many(2)).await;
    let (mut client, reading) = Client::join(&relay, &space, &reader).await;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..client.open(reading, None).await.0 };
    assert_eq!(client.catch_up(&space, reading, &mut cursor).await.len(), 2);
    let mut stream = space.stream(&reader, 3);
    let receipt = stream.receipt(1);
    let results = client.push(reading, vec![receipt, stream.seal()]).await;
    let statuses: Vec<_> = results.iter().map(|result| result.status).collect();
    assert_eq!(statuses, [PushStatus::Ok, PushStatus::NotWriter]);
    // Nor does anybody else bring what it wrote.
    let brought = owner.push(session, space.stream(&reader, 3).seal_many(1)).await;
    assert_eq!(brought[0].status, PushStatus::NotWriter);
}

#[tokio::test]
async fn a_demoted_member_goes_on_reading_and_its_old_work_stays() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let (editor, member) = admit(&mut space, 2, Role::Editor);
    space.rotate();
    let (mut owner, session) = Client::found(&relay, &space).await;
    let (mut client, theirs) = Client::join(&relay, &space, &editor).await;
    let mut stream = space.stream(&editor, 3);
    client.push(theirs, stream.seal_many(2)).await;
    let cuts = vec![Cut { stream: stream.id, seq: stream.seq, id: stream.prev.into() }];
    let next = stream.seal();
    let too_low = Body::RoleSet { member, role: Role::Reader, cuts: Vec::new() };
    space.append(&too_low);
    assert_eq!(send_last(&mut owner, session, &space, 1).await, [RecordStatus::CutBehind]);
    space.records.pop();
    space.append(&Body::RoleSet { member, role: Role::Reader, cuts });
    assert_eq!(send_last(&mut owner, session, &space, 1).await, [OK]);
    assert_eq!(client.push(theirs, vec![next]).await[0].status, PushStatus::NotWriter);
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..client.open(theirs, None).await.0 };
    assert_eq!(client.catch_up(&space, theirs, &mut cursor).await.len(), 2);
}

#[tokio::test]
async fn ten_thousand_records_of_an_editor_leave_room_to_remove_it() {
    let limits = lifeos_sync_server::Limits {
        member_records_max: 50,
        records_per_second_max: 100_000,
        records_burst_max: 100_000,
        records_refused_per_connection_max: 100_000,
        ..Default::default()
    };
    let (relay, _dir) = relay_with(limits).await;
    let mut space = Space::new(1);
    let (editor, member) = admit(&mut space, 2, Role::Editor);
    let (mut owner, session) = Client::found(&relay, &space).await;
    let (mut client, theirs) = Client::join(&relay, &space, &editor).await;
    let parents = space.records.len();
    let spam: Vec<_> = (0..10_000_u32)
        .map(|number| {
            space.sign_as(&editor, parents, &Body::Unknown { kind: 0x70, body: number.to_be_bytes().to_vec() })
        })
        .collect();
    let mut taken = 0;
    for records in spam.chunks(256) {
        let records = records.iter().map(|record| record.bytes().to_vec()).collect();
        let Frame::RecAck { results, .. } = client.ask(&Frame::Rec { session: theirs, records, more: false }).await
        else {
            panic!("no answer")
        };
        taken += results.iter().filter(|status| **status == OK).count();
    }
    assert_eq!(taken, 50);
    space.append(&Body::MemberRemove { member, reason: RemoveReason::Compromised, cuts: Vec::new() });
    assert_eq!(send_last(&mut owner, session, &space, 1).await, [OK]);
    let membership = Membership::evaluate(&space.id, &space.records).unwrap();
    assert!(!membership.may_read(&editor.pk));
    assert_eq!(client.last_words().await, Some(ErrorCode::Removed));
}

/// The connection ends because of the very record that it brought, maybe before its own task goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_ends_the_connection_it_came_by_is_known_to_everybody() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let devices: Vec<Device> = (2..34).map(|seed| space.enrol(seed)).collect();
    let (mut owner, session) = Client::found(&relay, &space).await;
    for device in &devices {
        let (mut leaving, theirs) = Client::join(&relay, &space, device).await;
        let record = space.sign_as(device, space.records.len(), &removal(device, RemoveReason::Left, &[]));
        let bytes = vec![record.bytes().to_vec()];
        leaving.send(&Frame::Rec { session: theirs, records: bytes, more: false }).await;
        assert_eq!(leaving.last_words().await, Some(ErrorCode::Removed));
        space.records.push(record);
        // What is written on top of it is placed, and who opens the space hears of it.
        space.append(&Body::Policy { rotation_days: 90, grace_days: 7, endorse_k: 1, relays: Vec::new() });
        assert_eq!(send_last(&mut owner, session, &space, 1).await, [OK]);
    }
}
