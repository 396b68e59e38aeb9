//! Receipts: what a device says it holds, kept once per device and told to the others.

use lifeos_sync_protocol::frame::{Cursor, Frame, PushStatus};
use lifeos_sync_protocol::ids::{EpochRef, Roll};
use lifeos_sync_protocol::limits::RECEIPT_CT_BYTES_MAX;
use lifeos_sync_server::Limits;

use crate::fixture::{Client, Space, relay, relay_with};

async fn push_one(client: &mut Client, session: u32, envelope: Vec<u8>) -> PushStatus {
    client.push(session, vec![envelope]).await[0].status
}

/// The next receipt or presence that the relay tells by itself.
async fn told(client: &mut Client) -> Vec<u8> {
    loop {
        if let (0, Frame::Ephemeral { envelope, .. }) = client.next().await.unwrap() {
            return envelope;
        }
    }
}

#[tokio::test]
async fn only_the_latest_receipt_of_a_device_is_kept_and_it_takes_no_place_in_the_log() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let other = space.enrol(2);
    let (mut writer, session) = Client::found(&relay, &space).await;
    let (mut live, following) = Client::join(&relay, &space, &other).await;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..live.open(following, None).await.0 };
    live.catch_up(&space, following, &mut cursor).await;

    let stream = space.stream(&space.founder, 1);
    assert_eq!(push_one(&mut writer, session, stream.receipt(7)).await, PushStatus::Ok);
    assert_eq!(told(&mut live).await, stream.receipt(7));
    assert_eq!(push_one(&mut writer, session, stream.receipt(7)).await, PushStatus::Dup);
    assert_eq!(push_one(&mut writer, session, stream.receipt(6)).await, PushStatus::Dup);
    assert_eq!(push_one(&mut writer, session, stream.receipt(9)).await, PushStatus::Ok);
    assert_eq!(told(&mut live).await, stream.receipt(9));

    // Who opens later gets the latest, and only that.
    let (mut late, reading) = Client::join(&relay, &space, &other).await;
    let (end, _) = late.open(reading, None).await;
    assert_eq!(told(&mut late).await, stream.receipt(9));
    assert_eq!(told(&mut late).await, stream.receipt(9), "once for each OPEN");
    assert_eq!(end.pos, 1);
}

#[tokio::test]
async fn a_device_gives_receipts_only_for_itself() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let other = space.enrol(2);
    let (mut writer, session) = Client::found(&relay, &space).await;
    let stream = space.stream(&space.founder, 1);
    let others = space.stream(&other, 2).receipt(1);
    assert_eq!(push_one(&mut writer, session, others).await, PushStatus::BadSignature);
    let mut forged = stream.receipt(1);
    forged[100] ^= 1;
    assert_eq!(push_one(&mut writer, session, forged).await, PushStatus::BadSignature);
    let mut unknown = stream.clone();
    unknown.epoch = EpochRef([9; 16]);
    assert_eq!(push_one(&mut writer, session, unknown.receipt(1)).await, PushStatus::UnknownEpoch);
    // Each costs a signature and its own row, so a frame has one.
    let results = writer.push(session, vec![stream.receipt(1), stream.receipt(2)]).await;
    assert_eq!(results.iter().map(|result| result.status).collect::<Vec<_>>(), [PushStatus::Ok, PushStatus::Rate]);
}

#[tokio::test]
async fn a_device_that_gives_receipts_without_end_is_slowed_down_and_its_edits_are_not() {
    let limits = Limits { device_receipts_per_minute_max: 3, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let space = Space::new(1);
    let (mut writer, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    for count in 1..=3 {
        assert_eq!(push_one(&mut writer, session, stream.receipt(count)).await, PushStatus::Ok);
    }
    assert_eq!(push_one(&mut writer, session, stream.receipt(4)).await, PushStatus::Rate);
    let edit = stream.seal();
    assert_eq!(push_one(&mut writer, session, edit).await, PushStatus::Ok);
}

#[tokio::test]
async fn a_receipt_above_its_own_limit_is_refused() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut writer, session) = Client::found(&relay, &space).await;
    let stream = space.stream(&space.founder, 1);
    for (bytes, status) in [(RECEIPT_CT_BYTES_MAX, PushStatus::Ok), (RECEIPT_CT_BYTES_MAX + 1, PushStatus::TooLarge)] {
        let receipt = stream.receipt_of(u32::try_from(bytes).unwrap(), bytes);
        assert_eq!(push_one(&mut writer, session, receipt).await, status, "{bytes}");
    }
}
