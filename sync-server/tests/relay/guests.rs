//! Who holds an invitation, and what that opens.

use lifeos_sync_protocol::frame::{ErrorCode, Frame, RecordStatus, Want};
use lifeos_sync_protocol::record::{Body, Record, Role};

use crate::fixture::{Client, Device, Space, relay};

const GUEST: u8 = 55;

/// A space that invites whoever holds key [`GUEST`].
fn inviting(expires_ms: u64) -> (Space, Record, Device) {
    let (mut space, guest) = (Space::new(1), Device::new(GUEST));
    let terms = Body::Invite { invite_pk: guest.pk, role: Role::Editor, expires_ms, uses_max: 1, auto_seal: None };
    let invite = space.append(&terms);
    (space, invite, guest)
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

    let mut client = Client::connect(&relay).await;
    let session = client.auth(&space, &guest).await;
    client.open(session, None).await;
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
    let terms =
        Body::Invite { invite_pk: other.pk, role: Role::Editor, expires_ms: u64::MAX, uses_max: 1, auto_seal: None };
    let others_invite = space.append(&terms);
    Client::found(&relay, &space).await;
    let mut client = Client::connect(&relay).await;
    let session = client.auth(&space, &guest).await;
    client.open(session, None).await;
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
    let mut client = Client::connect(&relay).await;
    let session = client.auth(&space, &guest).await;
    client.open(session, None).await;
    let join = space.join(&invite, &guest, &Device::new(66));
    let rec = Frame::Rec { session, records: vec![join.bytes().to_vec()], more: false };
    assert_eq!(client.ask(&rec).await, Frame::RecAck { session, results: vec![RecordStatus::Ok] });
    let mut again = Client::connect(&relay).await;
    let auth = again.auth_frame(&space, &guest);
    assert_eq!(code(&again.ask(&auth).await), Some(ErrorCode::NotMember));
}

#[tokio::test]
async fn a_closed_space_lets_no_guest_in_and_sends_those_away_who_are_there() {
    let (relay, _dir) = relay().await;
    let (mut space, _, guest) = inviting(u64::MAX);
    let (mut founder, founding) = Client::found(&relay, &space).await;
    let mut client = Client::connect(&relay).await;
    let session = client.auth(&space, &guest).await;
    client.open(session, None).await;
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
    let mut client = Client::connect(&relay).await;
    let session = client.auth(&space, &guest).await;
    client.open(session, None).await;
    let revoke = space.append(&Body::InviteRevoke { invite: invite.id() });
    let rec = Frame::Rec { session: founding, records: vec![revoke.bytes().to_vec()], more: false };
    assert_eq!(founder.ask(&rec).await, Frame::RecAck { session: founding, results: vec![RecordStatus::Ok] });
    assert_eq!(client.last_words().await, Some(ErrorCode::Removed));
    let mut again = Client::connect(&relay).await;
    let auth = again.auth_frame(&space, &guest);
    assert_eq!(code(&again.ask(&auth).await), Some(ErrorCode::NotMember));
}
