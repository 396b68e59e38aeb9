//! Records that came before their parents: whose wait, and how many.

use lifeos_sync_protocol::frame::{Frame, RecordStatus};
use lifeos_sync_protocol::record::{Body, Record, Role};
use lifeos_sync_server::Limits;

use crate::fixture::{Client, Device, Space, patiently, relay, relay_with};

use RecordStatus::{Ok as Taken, Parked, Refused};

async fn bring(client: &mut Client, session: u32, records: &[Record]) -> Vec<RecordStatus> {
    let records = records.iter().map(|record| record.bytes().to_vec()).collect();
    match client.ask(&Frame::Rec { session, records, more: false }).await {
        Frame::RecAck { results, .. } => results,
        refused => panic!("{refused:?}"),
    }
}

fn invite(serial: u8) -> Body {
    let (role, expires_ms, uses_max, auto_seal) = (Role::Reader, u64::MAX, 1, None);
    Body::Invite { invite_pk: Device::new(serial).pk, role, expires_ms, uses_max, auto_seal }
}

/// Records of equal size upon one that the relay does not get.
fn orphans(space: &mut Space, count: u8) -> Vec<Record> {
    space.enrol(2);
    let orphan = |serial| space.sign_as(&space.founder, space.records.len(), &invite(60 + serial));
    (0..count).map(orphan).collect()
}

#[tokio::test]
async fn what_nobody_of_the_space_wrote_does_not_wait_for_its_parents() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let missing = space.enrol(2);
    let at = space.records.len();
    let strangers = space.sign_as(&Device::new(77), at, &invite(60));
    assert_eq!(bring(&mut client, session, &[strangers]).await, [Refused]);
    // A device waits together with the record that enrols it, in any order.
    let added = space.enrol(3);
    let its_own = space.sign_as(&added, at + 1, &invite(61));
    let known = [its_own.clone(), space.records[at].clone()];
    assert_eq!(bring(&mut client, session, &known).await, [Parked; 2]);
    assert_eq!(bring(&mut client, session, &[space.records[at - 1].clone()]).await, [Taken]);
    assert_eq!(bring(&mut client, session, &known).await, [RecordStatus::Dup; 2]);
    Client::join(&relay, &space, &missing).await;
}

#[tokio::test]
async fn a_request_to_join_waits_while_its_invitation_is_open() {
    let (relay, _dir) = relay().await;
    let (mut space, guest) = (Space::new(1), Device::new(55));
    let open = space.append(&invite(55));
    let withdrawn = space.append(&invite(56));
    space.append(&Body::InviteRevoke { invite: withdrawn.id() });
    let (mut client, session) = Client::found(&relay, &space).await;
    space.enrol(2);
    let by_open = space.join(&open, &guest, &Device::new(66));
    let by_withdrawn = space.join(&withdrawn, &Device::new(56), &Device::new(67));
    assert_eq!(bring(&mut client, session, &[by_open, by_withdrawn]).await, [Parked, Refused]);
}

#[tokio::test]
async fn a_session_keeps_only_so_many_records_waiting() {
    let (relay, _dir) = relay_with(Limits { records_parked_max: 2, ..Limits::default() }).await;
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let orphans = orphans(&mut space, 3);
    assert_eq!(bring(&mut client, session, &orphans).await, [Parked, Parked, Refused]);
    // Sent again they count once more: those that wait have their places.
    assert_eq!(bring(&mut client, session, &orphans[2..]).await, [Refused]);
    assert_eq!(bring(&mut client, session, &[space.records.last().unwrap().clone()]).await, [Taken]);
    assert_eq!(bring(&mut client, session, &orphans).await, [RecordStatus::Dup, RecordStatus::Dup, Taken]);
}

#[tokio::test]
async fn a_connection_keeps_only_so_many_bytes_waiting_over_all_its_sessions() {
    let mut space = Space::new(1);
    let unplaced = orphans(&mut Space::new(1), 3);
    let bytes = unplaced[0].bytes().len();
    let limits = Limits { parked_bytes_per_connection_max: 2 * bytes + 1, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let (mut client, session) = Client::found(&relay, &space).await;
    let second = client.auth(&space, &space.founder).await;
    assert_eq!(bring(&mut client, session, &unplaced[..1]).await, [Parked]);
    assert_eq!(bring(&mut client, second, &unplaced[1..]).await, [Parked, Refused]);
    // Another connection has its own.
    let (mut other, session) = Client::join(&relay, &space, &space.founder).await;
    assert_eq!(bring(&mut other, session, &unplaced[2..]).await, [Parked]);
    space.enrol(2);
    assert_eq!(bring(&mut other, session, &space.records[2..]).await, [Taken]);
}

#[tokio::test]
async fn the_relay_keeps_only_so_many_bytes_waiting_and_forgets_them_with_the_session() {
    let space = Space::new(1);
    let unplaced = orphans(&mut Space::new(1), 2);
    let limits = Limits { parked_bytes_max: unplaced[0].bytes().len(), ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let (mut first, session) = Client::found(&relay, &space).await;
    assert_eq!(bring(&mut first, session, &unplaced[..1]).await, [Parked]);
    let (mut second, session) = Client::join(&relay, &space, &space.founder).await;
    assert_eq!(bring(&mut second, session, &unplaced[1..]).await, [Refused]);
    drop(first);
    patiently("room", async { while bring(&mut second, session, &unplaced[1..]).await != [Parked] {} }).await;
}
