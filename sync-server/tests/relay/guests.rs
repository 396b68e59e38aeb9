//! Who holds an invitation, and what that opens.

use lifeos_sync_protocol::frame::{Cursor, ErrorCode, Frame, Quota, RecordStatus, Want};
use lifeos_sync_protocol::ids::{LogId, Roll};
use lifeos_sync_protocol::record::{Body, Record, Role};
use lifeos_sync_server::Limits;

use crate::fixture::{Client, Device, Space, relay, relay_with};

const GUEST: u8 = 55;

/// A space that invites whoever holds key [`GUEST`].
fn inviting(expires_ms: u64) -> (Space, Record, Device) {
    let (mut space, guest) = (Space::new(1), Device::new(GUEST));
    let invite = invite(&mut space, &guest, expires_ms, 1);
    (space, invite, guest)
}

fn invite(space: &mut Space, guest: &Device, expires_ms: u64, uses_max: u32) -> Record {
    space.append(&Body::Invite { invite_pk: guest.pk, role: Role::Editor, expires_ms, uses_max, auto_seal: None })
}

/// What becomes of one record.
async fn bring(client: &mut Client, session: u32, record: &Record) -> Vec<RecordStatus> {
    match client.ask(&Frame::Rec { session, records: vec![record.bytes().to_vec()], more: false }).await {
        Frame::RecAck { results, .. } => results,
        refused => panic!("{refused:?}"),
    }
}

/// What the relay has said by itself until now.
async fn told_so_far(client: &mut Client) -> Vec<Frame> {
    let ping = client.send(&Frame::Ping { payload: 1 }).await;
    let mut told = Vec::new();
    loop {
        match client.next().await.expect("a connection") {
            (request, Frame::Pong { .. }) if request == ping => return told,
            (_, frame) => told.push(frame),
        }
    }
}

fn code(frame: &Frame) -> Option<ErrorCode> {
    match frame {
        Frame::Error { code, .. } => Some(*code),
        _ => None,
    }
}

#[tokio::test]
async fn a_guest_reads_records_hands_in_one_request_and_touches_no_content() {
    let (relay, _dir) = relay().await;
    let (space, invite, guest) = inviting(u64::MAX);
    let (mut founder, founding) = Client::found(&relay, &space).await;
    let envelopes = space.stream(&space.founder, 1).seal_many(2);
    founder.push(founding, envelopes.clone()).await;

    let (mut client, session) = Client::join(&relay, &space, &guest).await;
    let Frame::Rec { records, .. } = client.ask(&Frame::RecWant { session, ids: Vec::new(), heads: Vec::new() }).await
    else {
        panic!("no records")
    };
    assert_eq!(records, space.record_bytes());
    let stream = lifeos_sync_protocol::ids::StreamId([1; 16]);
    for content in [
        Frame::Pull { session, from: 1, bytes_max: 1 << 20, items_max: 64 },
        Frame::Push { session, envelopes: envelopes.clone() },
        Frame::Have { session, streams: Vec::new() },
        Frame::Want { session, ranges: vec![Want { stream, from: 1, to: 2 }], objects: Vec::new() },
        Frame::Ephemeral { session, envelope: envelopes[0].clone() },
        Frame::LogStatementWant { session },
    ] {
        assert_eq!(code(&client.ask(&content).await), Some(ErrorCode::NotMember), "{content:?}");
    }
    let joiner = Device::new(66);
    let join = space.join(&invite, &guest, &joiner);
    for refused in [vec![space.records[1].clone()], vec![join.clone(), join.clone()]] {
        let records = refused.iter().map(|record| record.bytes().to_vec()).collect();
        let rec = Frame::Rec { session, records, more: false };
        assert_eq!(code(&client.ask(&rec).await), Some(ErrorCode::NotMember));
    }
    let rec = Frame::Rec { session, records: vec![join.bytes().to_vec()], more: false };
    assert_eq!(client.ask(&rec).await, Frame::RecAck { session, results: vec![RecordStatus::Ok] });
    let mut joining = Client::connect(&relay).await;
    let auth = joining.auth_frame(&space, &joiner);
    assert_eq!(code(&joining.ask(&auth).await), Some(ErrorCode::NotMember), "nobody has let them in yet");
}

/// Whoever writes an invitation names any key: somebody else's, to be found in the place of their own space.
#[tokio::test]
async fn a_key_is_told_the_spaces_that_it_is_enrolled_in_and_not_those_that_invite_it() {
    let (relay, _dir) = relay().await;
    let (victims, mut traps) = (Space::new(1), Space::new(2));
    let recovery = victims.recovery();
    invite(&mut traps, &recovery, u64::MAX, 1);
    Client::found(&relay, &victims).await;
    let (mut stranger, session) = Client::found(&relay, &traps).await;
    let mut client = Client::connect(&relay).await;
    let list = client.list_frame(&recovery);
    assert_eq!(client.ask(&list).await, Frame::Spaces { spaces: vec![victims.id] });
    // Enrolled there as well it is told of both, also while an invitation names it.
    let enrolled = traps.enrol(1 ^ 0x80);
    assert_eq!(enrolled.pk, recovery.pk);
    assert_eq!(stranger.bring(session, traps.records.last().unwrap()).await, RecordStatus::Ok);
    let mut spaces = vec![victims.id, traps.id];
    spaces.sort_unstable();
    assert_eq!(client.ask(&list).await, Frame::Spaces { spaces });
}

#[tokio::test]
async fn an_invitation_that_is_over_opens_nothing() {
    let (relay, _dir) = relay().await;
    let (space, _, guest) = inviting(1);
    Client::found(&relay, &space).await;
    let mut client = Client::connect(&relay).await;
    let auth = client.auth_frame(&space, &guest);
    assert_eq!(code(&client.ask(&auth).await), Some(ErrorCode::NotMember));
}

#[tokio::test]
async fn a_guest_hands_in_no_request_by_somebody_elses_invitation() {
    let (relay, _dir) = relay().await;
    let (mut space, _, guest) = inviting(u64::MAX);
    let other = Device::new(GUEST + 1);
    let others_invite = invite(&mut space, &other, u64::MAX, 1);
    Client::found(&relay, &space).await;
    let (mut client, session) = Client::join(&relay, &space, &guest).await;
    // The proof is right: somebody passed it on.
    let join = space.join(&others_invite, &other, &Device::new(66));
    let rec = Frame::Rec { session, records: vec![join.bytes().to_vec()], more: false };
    assert_eq!(code(&client.ask(&rec).await), Some(ErrorCode::NotMember));
}

#[tokio::test]
async fn an_invitation_that_is_used_up_lets_nobody_else_in() {
    let (relay, _dir) = relay().await;
    let (space, invite, guest) = inviting(u64::MAX);
    Client::found(&relay, &space).await;
    let (mut client, session) = Client::join(&relay, &space, &guest).await;
    let join = space.join(&invite, &guest, &Device::new(66));
    let rec = Frame::Rec { session, records: vec![join.bytes().to_vec()], more: false };
    assert_eq!(client.ask(&rec).await, Frame::RecAck { session, results: vec![RecordStatus::Ok] });
    let mut again = Client::connect(&relay).await;
    let auth = again.auth_frame(&space, &guest);
    assert_eq!(code(&again.ask(&auth).await), Some(ErrorCode::NotMember));
}

#[tokio::test]
async fn of_guests_who_ask_at_once_no_more_are_taken_than_the_invitation_says() {
    let (relay, _dir) = relay().await;
    let (space, invite, guest) = inviting(u64::MAX);
    let (mut founder, founding) = Client::found(&relay, &space).await;
    // All are here before the first asks, and none has seen another's request.
    let mut guests = Vec::new();
    for joiner in 66..70 {
        let (client, session) = Client::join(&relay, &space, &guest).await;
        let join = space.join(&invite, &guest, &Device::new(joiner));
        guests.push((client, session, join.bytes().to_vec()));
    }
    let mut asked = Vec::new();
    for (client, session, join) in &mut guests {
        let (session, records) = (*session, vec![join.clone()]);
        asked.push(client.send(&Frame::Rec { session, records, more: false }).await);
    }
    let mut taken = Vec::new();
    for (at, ((client, ..), request)) in guests.iter_mut().zip(asked).enumerate() {
        match client.answer(request).await {
            Frame::RecAck { results, .. } => taken.push((at, results)),
            refused => assert_eq!(code(&refused), Some(ErrorCode::NotMember)),
        }
    }
    let [(at, results)] = taken.as_slice() else { panic!("one use, {} taken", taken.len()) };
    assert_eq!(*results, [RecordStatus::Ok]);
    // Whoever did not hear the answer asks again.
    let (client, session, join) = &mut guests[*at];
    let again = Frame::Rec { session: *session, records: vec![join.clone()], more: false };
    assert_eq!(client.ask(&again).await, Frame::RecAck { session: *session, results: vec![RecordStatus::Dup] });
    // A member brings what another relay had taken: nobody is lost when a relay is filled again.
    let records = guests.iter().map(|(.., join)| join.clone()).collect();
    let Frame::RecAck { results, .. } = founder.ask(&Frame::Rec { session: founding, records, more: false }).await
    else {
        panic!("no answer")
    };
    assert_eq!(results.iter().filter(|status| **status == RecordStatus::Ok).count(), 3, "{results:?}");
}

#[tokio::test]
async fn a_guest_learns_no_figure_of_the_log_and_gets_no_receipts() {
    let (relay, _dir) = relay().await;
    let (space, _, guest) = inviting(u64::MAX);
    let (mut founder, founding) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    founder.push(founding, stream.seal_many(3)).await;
    founder.push(founding, vec![stream.receipt(1)]).await;
    let (mut member, _) = Client::join(&relay, &space, &space.founder).await;
    let receipts = |told: Vec<Frame>| told.iter().filter(|frame| matches!(frame, Frame::Ephemeral { .. })).count();
    assert_eq!(receipts(told_so_far(&mut member).await), 1, "a member gets it");

    let mut client = Client::connect(&relay).await;
    let session = client.auth(&space, &guest).await;
    let state = client.ask(&Frame::Open { session, rec_heads: Vec::new(), cursor: None }).await;
    let Frame::State { rec_heads, log, have_digest, quota, checkpoints, .. } = state else { panic!("{state:?}") };
    assert_eq!(rec_heads, [space.records.last().unwrap().id()]);
    assert_eq!(log, Some(Cursor { log_id: LogId::ZERO, pos: 1, roll: Roll::ZERO }));
    assert_eq!((have_digest, quota, checkpoints), ([0; 32], Quota { bytes_used: 0, bytes_max: 0 }, Vec::new()));
    founder.push(founding, vec![stream.receipt(2)]).await;
    assert_eq!(told_so_far(&mut client).await, []);
}

#[tokio::test]
async fn a_guest_whose_invitation_expires_is_sent_away() {
    let (relay, _dir) = relay().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let (space, _, guest) = inviting(u64::try_from(now.as_millis()).unwrap() + 3_000);
    Client::found(&relay, &space).await;
    let mut client = Client::connect(&relay).await;
    client.auth(&space, &guest).await;
    assert_eq!(client.last_words().await, Some(ErrorCode::Removed));
}

#[tokio::test]
async fn requests_by_one_invitation_leave_room_for_those_by_another() {
    let limits = Limits { member_records_max: 3, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let (mut space, guest, other) = (Space::new(1), Device::new(GUEST), Device::new(GUEST + 1));
    let spammed = invite(&mut space, &guest, u64::MAX, 100);
    let quiet = invite(&mut space, &other, u64::MAX, 1);
    Client::found(&relay, &space).await;
    let (mut client, session) = Client::join(&relay, &space, &guest).await;
    for joiner in 60..63 {
        let join = space.join(&spammed, &guest, &Device::new(joiner));
        assert_eq!(bring(&mut client, session, &join).await, [RecordStatus::Ok]);
    }
    let join = space.join(&spammed, &guest, &Device::new(63));
    assert_eq!(bring(&mut client, session, &join).await, [RecordStatus::Refused]);
    let (mut client, session) = Client::join(&relay, &space, &other).await;
    let join = space.join(&quiet, &other, &Device::new(64));
    assert_eq!(bring(&mut client, session, &join).await, [RecordStatus::Ok]);
}

#[tokio::test]
async fn a_space_full_of_records_still_lets_an_invitation_be_withdrawn() {
    let (relay, _dir) = relay_with(Limits { space_record_bytes_max: 20_000, ..Limits::default() }).await;
    let (mut space, invite, _) = inviting(u64::MAX);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut seed = 2;
    loop {
        space.enrol(seed);
        seed += 1;
        let results = bring(&mut client, session, space.records.last().unwrap()).await;
        if results == [RecordStatus::Refused] {
            break;
        }
        assert!(seed < 50, "no limit");
    }
    space.records.pop();
    let revoke = space.append(&Body::InviteRevoke { invite: invite.id() });
    assert_eq!(bring(&mut client, session, &revoke).await, [RecordStatus::Ok]);
}

#[tokio::test]
async fn a_closed_space_lets_no_guest_in_and_sends_those_away_who_are_there() {
    let (relay, _dir) = relay().await;
    let (mut space, _, guest) = inviting(u64::MAX);
    let (mut founder, founding) = Client::found(&relay, &space).await;
    let (mut client, _) = Client::join(&relay, &space, &guest).await;
    let close = space.append(&Body::Close { successor: None });
    let rec = Frame::Rec { session: founding, records: vec![close.bytes().to_vec()], more: false };
    assert_eq!(founder.ask(&rec).await, Frame::RecAck { session: founding, results: vec![RecordStatus::Ok] });
    assert_eq!(client.last_words().await, Some(ErrorCode::Removed));
    let mut again = Client::connect(&relay).await;
    let auth = again.auth_frame(&space, &guest);
    assert_eq!(code(&again.ask(&auth).await), Some(ErrorCode::NotMember));
}

#[tokio::test]
async fn a_guest_whose_invitation_is_withdrawn_is_sent_away() {
    let (relay, _dir) = relay().await;
    let (mut space, invite, guest) = inviting(u64::MAX);
    let (mut founder, founding) = Client::found(&relay, &space).await;
    let (mut client, _) = Client::join(&relay, &space, &guest).await;
    let revoke = space.append(&Body::InviteRevoke { invite: invite.id() });
    let rec = Frame::Rec { session: founding, records: vec![revoke.bytes().to_vec()], more: false };
    assert_eq!(founder.ask(&rec).await, Frame::RecAck { session: founding, results: vec![RecordStatus::Ok] });
    assert_eq!(client.last_words().await, Some(ErrorCode::Removed));
    let mut again = Client::connect(&relay).await;
    let auth = again.auth_frame(&space, &guest);
    assert_eq!(code(&again.ask(&auth).await), Some(ErrorCode::NotMember));
}

#[tokio::test]
async fn what_a_guest_brings_before_its_parents_is_refused_and_never_comes_in_behind_them() {
    let (relay, _dir) = relay().await;
    let (mut space, invite, guest) = inviting(u64::MAX);
    let (mut founder, founding) = Client::found(&relay, &space).await;
    let first = space.join(&invite, &guest, &Device::new(66));
    space.records.push(first.clone());
    let second = space.join(&invite, &guest, &Device::new(67));
    space.records.pop();
    let (mut client, session) = Client::join(&relay, &space, &guest).await;
    assert_eq!(bring(&mut client, session, &second).await, [RecordStatus::Refused]);
    assert_eq!(bring(&mut client, session, &first).await, [RecordStatus::Ok]);
    assert_eq!(bring(&mut client, session, &first).await, [RecordStatus::Dup]);
    let wanted = Frame::RecWant { session: founding, ids: Vec::new(), heads: Vec::new() };
    let Frame::Rec { records, .. } = founder.ask(&wanted).await else { panic!("no records") };
    assert!(records.contains(&first.bytes().to_vec()));
    assert!(!records.contains(&second.bytes().to_vec()), "it came in without being counted");
}

#[tokio::test]
async fn a_guests_request_that_would_have_no_effect_is_refused() {
    let (relay, _dir) = relay().await;
    let (mut space, guest) = (Space::new(1), Device::new(GUEST));
    let link = space.link(&guest, 5);
    // Good by what it has seen; but its device is somebody's here.
    let join = space.join(&link, &guest, &Device::new(70));
    space.enrol(70);
    Client::found(&relay, &space).await;
    let (mut client, session) = Client::join(&relay, &space, &guest).await;
    assert_eq!(bring(&mut client, session, &join).await, [RecordStatus::Refused]);
    let other = space.join(&link, &guest, &Device::new(71));
    assert_eq!(bring(&mut client, session, &other).await, [RecordStatus::Ok]);
}

#[tokio::test]
async fn those_whom_a_link_lets_in_write_from_its_budget_and_open_none_of_their_own() {
    let (relay, _dir) = relay_with(Limits { member_records_max: 4, ..Limits::default() }).await;
    let (mut space, guest) = (Space::new(1), Device::new(GUEST));
    let link = space.link(&guest, 5);
    let (mut founder, founding) = Client::found(&relay, &space).await;
    let (mut client, session) = Client::join(&relay, &space, &guest).await;
    let joiners = [60, 61].map(Device::new);
    for joiner in &joiners {
        let join = space.join(&link, &guest, joiner);
        assert_eq!(bring(&mut client, session, &join).await, [RecordStatus::Ok]);
        space.records.push(join);
    }
    let mut wrote = Vec::new();
    for (number, joiner) in [0, 0, 0, 1].into_iter().zip([0, 1, 0, 1]) {
        let (mut client, session) = Client::join(&relay, &space, &joiners[joiner]).await;
        let body = Body::Unknown { kind: 0x70, body: vec![number] };
        let record = space.sign_as(&joiners[joiner], space.records.len(), &body);
        wrote.extend(bring(&mut client, session, &record).await);
    }
    assert_eq!(wrote, [RecordStatus::Ok, RecordStatus::Ok, RecordStatus::Dup, RecordStatus::Refused]);
    let own = space.append(&Body::Unknown { kind: 0x70, body: vec![9] });
    assert_eq!(bring(&mut founder, founding, &own).await, [RecordStatus::Ok], "others have theirs");
}
