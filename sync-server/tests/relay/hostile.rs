//! Bytes and behaviour that no honest device shows: a typed answer, a closed connection where it must be, and
//! nobody else notices.

use futures_util::SinkExt;
use lifeos_sync_protocol::envelope::{Envelope, HEADER_BYTES, SIGNATURE_BYTES};
use lifeos_sync_protocol::frame::{Cursor, ErrorCode, Frame, Have, PeerRole, PushStatus, RecordStatus, Want};
use lifeos_sync_protocol::ids::{MemberId, RdvId, Roll, SpaceId};
use lifeos_sync_protocol::limits::FRAME_BYTES_MAX;
use lifeos_sync_protocol::record::{Body, RemoveReason, Role};
use lifeos_sync_server::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::fixture::{Client, Device, Space, patiently, relay, relay_with};

/// Asserts that an honest pair still works.
async fn still_serves(client: &mut Client, session: u32) {
    assert_eq!(client.ask(&Frame::Ping { payload: 1 }).await, Frame::Pong { payload: 1 });
    client.open(session, None).await;
}

/// Asserts that the founder can still remove a device, and a member who is let in for that.
async fn removes(client: &mut Client, session: u32, space: &mut Space, device: u8) {
    const MEMBER: MemberId = MemberId([9; 16]);
    space.admit(90, MEMBER, Role::Editor);
    assert_eq!(client.bring(session, space.records.last().unwrap()).await, RecordStatus::Ok);
    let reason = RemoveReason::Compromised;
    let removals = [
        Body::DeviceRemove { device: Device::new(device).pk, reason, cuts: Vec::new() },
        Body::MemberRemove { member: MEMBER, reason, cuts: Vec::new() },
    ];
    for removal in removals {
        let removal = space.append(&removal);
        assert_eq!(client.bring(session, &removal).await, RecordStatus::Ok);
    }
}

#[tokio::test]
async fn garbage_ends_the_connection_that_sent_it_and_no_other() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut honest, session) = Client::found(&relay, &space).await;
    let whole = Frame::Pull { session: 1, from: 1, bytes_max: 1, items_max: 1 }.encode(7);
    let mut garbage = vec![Vec::new(), vec![0xff], vec![0; 64], b"GET / HTTP/1.1".to_vec(), vec![0xab; 5_000]];
    garbage.extend((1..whole.len()).map(|length| whole[..length].to_vec()));
    garbage.push([whole.as_slice(), &[0]].concat());
    for bytes in garbage {
        let (mut hostile, _) = Client::join(&relay, &space, &space.founder).await;
        hostile.send_bytes(bytes.clone()).await;
        assert_eq!(hostile.last_words().await, Some(ErrorCode::BadFrame), "{bytes:?}");
    }
    still_serves(&mut honest, session).await;
}

#[tokio::test]
async fn what_is_no_binary_websocket_message_ends_the_connection() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut honest, session) = Client::found(&relay, &space).await;
    let mut hostile = Client::connect(&relay).await;
    hostile.socket.send(Message::Text("hello".into())).await.unwrap();
    assert_eq!(hostile.last_words().await, Some(ErrorCode::BadFrame));
    // Raw bytes after the upgrade: reserved opcode, a length of 2^62, no mask, all bits.
    for raw in [
        &[0x8b_u8, 0x80, 1, 2, 3, 4][..],
        &[0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4],
        &[0x82, 0x01, 0x00],
        &[0xff; 64],
    ] {
        let mut hostile = Client::connect(&relay).await;
        let tokio_tungstenite::MaybeTlsStream::Plain(stream) = hostile.socket.get_mut() else { panic!("tls") };
        stream.write_all(raw).await.unwrap();
        hostile.last_words().await;
    }
    still_serves(&mut honest, session).await;
}

#[tokio::test]
async fn an_altered_envelope_is_never_stored() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let sealed = space.stream(&space.founder, 1).seal();
    let mut altered = Vec::new();
    for at in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 1;
        altered.push(flipped);
        altered.push(sealed[..at].to_vec());
    }
    altered.push([sealed.as_slice(), &[0]].concat());
    for ct_len in [0_u32, 15, 16, 1 << 20, u32::MAX] {
        let mut claimed = sealed.clone();
        claimed[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&ct_len.to_be_bytes());
        altered.push(claimed);
    }
    for envelopes in altered.chunks(64) {
        let results = client.push(session, envelopes.to_vec()).await;
        assert!(results.iter().all(|result| !result.status.is_stored()), "{results:?}");
    }
    assert_eq!(client.push(session, vec![sealed]).await[0].pos, Some(1));
}

#[tokio::test]
async fn a_have_or_want_that_cannot_be_ends_the_connection() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut honest, session) = Client::found(&relay, &space).await;
    let have = |stream: u8, floor, tip, holes: &[(u32, u32)]| Have {
        stream: lifeos_sync_protocol::ids::StreamId([stream; 16]),
        floor,
        tip,
        tip_id: [0; 8],
        holes: holes.to_vec(),
    };
    let mut many = Frame::Have { session: 1, streams: Vec::new() }.encode(9);
    many.truncate(many.len() - 4);
    many.extend(1_000_000_u32.to_be_bytes());
    let want = |from, to| {
        let stream = lifeos_sync_protocol::ids::StreamId([1; 16]);
        Frame::Want { session: 1, ranges: vec![Want { stream, from, to }], objects: Vec::new() }.encode(9)
    };
    let haves = [
        vec![have(1, 9, 4, &[])],
        vec![have(1, 0, 9, &[(2, 4), (4, 2)])],
        vec![have(2, 0, 1, &[]), have(1, 0, 1, &[])],
    ];
    let haves = haves.into_iter().map(|streams| Frame::Have { session: 1, streams }.encode(9));
    for bytes in haves.chain([many, want(0, 4), want(5, 4)]) {
        let (mut hostile, _) = Client::join(&relay, &space, &space.founder).await;
        hostile.send_bytes(bytes).await;
        assert_eq!(hostile.last_words().await, Some(ErrorCode::BadFrame));
    }
    // The accepted twin: all there can be of a stream that is not here.
    honest.send_bytes(want(1, u32::MAX)).await;
    assert!(matches!(honest.answer(9).await, Frame::Items { items, more: false, .. } if items.is_empty()));
    still_serves(&mut honest, session).await;
}

#[tokio::test]
async fn an_auth_made_for_one_relay_is_refused_by_another() {
    let (victim, _one) = relay().await;
    let (middle, _two) = relay().await;
    let space = Space::new(1);
    Client::found(&victim, &space).await;
    // The device answers the challenge of the relay in the middle, which passes the answer on.
    let answer = Client::connect(&middle).await.auth_frame(&space, &space.founder);
    let mut passed_on = Client::connect(&victim).await;
    let refused = passed_on.ask(&answer).await;
    assert!(matches!(refused, Frame::Error { code: ErrorCode::AuthFailed, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_frame_above_the_limit_is_refused_before_it_is_taken_in() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut honest, session) = Client::found(&relay, &space).await;
    // The head of one that never comes is enough: no memory is kept for what it claims.
    let (mut hostile, _) = Client::join(&relay, &space, &space.founder).await;
    let tokio_tungstenite::MaybeTlsStream::Plain(stream) = hostile.socket.get_mut() else { panic!("tls") };
    let claimed = (FRAME_BYTES_MAX as u64 + 1).to_be_bytes();
    stream.write_all(&[&[0x82, 0xff], &claimed[..], &[0; 12]].concat()).await.unwrap();
    assert_eq!(hostile.last_words().await, Some(ErrorCode::TooLarge));
    let (mut hostile, _) = Client::join(&relay, &space, &space.founder).await;
    // The relay may close while this is still being sent.
    let _ = hostile.socket.send(Message::Binary(vec![0; FRAME_BYTES_MAX + 1].into())).await;
    let words = hostile.last_words().await;
    assert!(matches!(words, Some(ErrorCode::TooLarge) | None), "{words:?}");
    still_serves(&mut honest, session).await;
}

#[tokio::test]
async fn before_authentication_a_frame_has_to_be_small() {
    let (relay, _dir) = relay().await;
    let limit = Limits::default().unauthenticated_frame_bytes_max;
    let mut hostile = Client::connect(&relay).await;
    let _ = hostile.socket.send(Message::Binary(vec![0x20; 3 * limit].into())).await;
    let words = hostile.last_words().await;
    assert!(matches!(words, Some(ErrorCode::TooLarge) | None), "{words:?}");
    // The accepted twin: the same size after authentication is only a malformed frame.
    let space = Space::new(1);
    Client::found(&relay, &space).await;
    let (mut known, _) = Client::join(&relay, &space, &space.founder).await;
    known.send_bytes(vec![0x20; 3 * limit]).await;
    assert_eq!(known.last_words().await, Some(ErrorCode::BadFrame));
}

#[tokio::test]
async fn a_half_sent_request_header_does_not_hold_a_connection() {
    let limits = Limits { header_read_ms_max: 100, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    for bytes in [&b""[..], b"GET /sync HTTP/1.1\r\nHost: re"] {
        let mut stream = TcpStream::connect(relay.addr()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        // Ends, or is reset: in any case it does not stay.
        let _ = patiently("the end of the connection", stream.read_to_end(&mut rest)).await;
    }
}

#[tokio::test]
async fn a_connection_that_never_authenticates_is_closed() {
    let limits = Limits { handshake_ms_max: 100, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    assert_eq!(Client::dial(&relay).await.last_words().await, Some(ErrorCode::AuthFailed));
    assert_eq!(Client::connect(&relay).await.last_words().await, Some(ErrorCode::AuthFailed));
}

/// With room for two: a third connection comes in when one of them has gone.
async fn third_waits_for_a_place(limits: Limits) {
    let (relay, _dir) = relay_with(limits).await;
    let first = Client::connect(&relay).await;
    let _second = Client::connect(&relay).await;
    let url = format!("ws://{}/sync", relay.addr());
    assert!(tokio_tungstenite::connect_async(&url).await.is_err());
    drop(first);
    patiently("a free place", async {
        while tokio_tungstenite::connect_async(&url).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_address_cannot_take_all_connections() {
    third_waits_for_a_place(Limits { connections_per_address_max: 2, ..Limits::default() }).await;
}

#[tokio::test]
async fn the_relay_keeps_only_so_many_connections() {
    third_waits_for_a_place(Limits { connections_max: 2, ..Limits::default() }).await;
}

#[tokio::test]
async fn a_connection_that_only_uses_mailboxes_stays_longer_but_not_for_ever() {
    // The time for AUTH is as good as endless: what ends this connection is the other limit.
    let limits = Limits { handshake_ms_max: 3_600_000, unauthenticated_ms_max: 100, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let space = Space::new(1);
    Client::found(&relay, &space).await;
    let rdv = RdvId([3; 16]);
    let mut linking = Client::connect(&relay).await;
    assert!(matches!(linking.ask(&Frame::RdvCreate { rdv, ttl_s: 60 }).await, Frame::RdvItem { .. }));
    assert_eq!(linking.last_words().await, Some(ErrorCode::AuthFailed));
    let mut waiting = Client::connect(&relay).await;
    waiting.send(&Frame::RdvGet { rdv, index: 0 }).await;
    assert_eq!(waiting.last_words().await, Some(ErrorCode::AuthFailed));
    let mut listing = Client::connect(&relay).await;
    let list = listing.list_frame(&space.founder);
    assert_eq!(listing.ask(&list).await, Frame::Spaces { spaces: vec![space.id] });
    assert_eq!(listing.last_words().await, Some(ErrorCode::AuthFailed));
}

#[tokio::test]
async fn an_auth_fits_one_connection_one_space_and_one_key() {
    let (relay, _dir) = relay().await;
    let (space, other) = (Space::new(1), Space::new(2));
    Client::found(&relay, &space).await;
    Client::found(&relay, &other).await;
    let recorded = Client::connect(&relay).await.auth_frame(&space, &space.founder);
    let mut client = Client::connect(&relay).await;
    let Frame::Auth { signature: for_other, .. } = client.auth_frame(&other, &space.founder) else { unreachable!() };
    let Frame::Auth { signature: by_other, .. } = client.auth_frame(&space, &Device::new(9)) else { unreachable!() };
    let (space_id, device) = (space.id, space.founder.pk);
    let replays = [
        recorded,
        Frame::Auth { space: space_id, device, signature: for_other },
        Frame::Auth { space: space_id, device, signature: by_other },
    ];
    // The third failure ends the connection.
    for (auth, last) in replays.iter().zip([false, false, true]) {
        let answer = client.ask(auth).await;
        assert!(matches!(answer, Frame::Error { code: ErrorCode::AuthFailed, fatal, .. } if fatal == last));
    }
    assert!(client.next().await.is_none());
    // The accepted twin.
    Client::connect(&relay).await.auth(&space, &space.founder).await;
}

#[tokio::test]
async fn a_list_is_for_who_holds_the_key_on_this_very_connection() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    Client::found(&relay, &space).await;
    let recorded = Client::connect(&relay).await.list_frame(&space.founder);
    let mut client = Client::connect(&relay).await;
    let device = space.founder.pk;
    let Frame::List { signature: by_other, .. } = client.list_frame(&Device::new(9)) else { unreachable!() };
    // Over the very transcript that LIST has.
    let mut nowhere = Space::new(1);
    nowhere.id = SpaceId::ZERO;
    let Frame::Auth { signature: of_auth, .. } = client.auth_frame(&nowhere, &space.founder) else { unreachable!() };
    let lists = [recorded, Frame::List { device, signature: by_other }, Frame::List { device, signature: of_auth }];
    for (list, last) in lists.iter().zip([false, false, true]) {
        let answer = client.ask(list).await;
        assert!(matches!(answer, Frame::Error { code: ErrorCode::AuthFailed, fatal, .. } if fatal == last));
    }
    let mut honest = Client::connect(&relay).await;
    let list = honest.list_frame(&space.founder);
    assert_eq!(honest.ask(&list).await, Frame::Spaces { spaces: vec![space.id] });
}

#[tokio::test]
async fn a_session_of_one_space_does_not_reach_another() {
    let (relay, _dir) = relay().await;
    let (space, other) = (Space::new(1), Space::new(2));
    Client::found(&relay, &space).await;
    let (mut client, session) = Client::found(&relay, &other).await;
    // An envelope of one space, pushed into the other by somebody who is in both.
    let results = client.push(session, space.stream(&other.founder, 1).seal_many(1)).await;
    assert!(!results[0].status.is_stored());
    // Also when it names the stream that its author has in the other.
    let mut named = space.stream(&other.founder, 1);
    named.id = other.stream(&other.founder, 1).id;
    named.epoch = other.stream(&other.founder, 1).epoch;
    let results = client.push(session, named.seal_many(1)).await;
    assert_eq!(results[0].status, PushStatus::BadSignature);
    client.send(&Frame::Pull { session: session + 1, from: 1, bytes_max: 1, items_max: 1 }).await;
    assert_eq!(client.last_words().await, Some(ErrorCode::Unexpected));
}

#[tokio::test]
async fn frames_out_of_turn_end_the_connection() {
    let (relay, _dir) = relay().await;
    let hello = Frame::Hello { proto_min: 1, proto_max: 1, role: PeerRole::Client, nonce: [0; 32], features: 0 };
    let newer = Frame::Hello { proto_min: 9, proto_max: 12, role: PeerRole::Client, nonce: [0; 32], features: 0 };
    let welcome = Frame::Spaces { spaces: Vec::new() };
    let pull = Frame::Pull { session: 1, from: 1, bytes_max: 1, items_max: 1 };
    for (frame, code) in
        [(&hello, ErrorCode::Unexpected), (&welcome, ErrorCode::Unexpected), (&pull, ErrorCode::Unexpected)]
    {
        let mut client = Client::connect(&relay).await;
        client.send(frame).await;
        assert_eq!(client.last_words().await, Some(code));
    }
    let mut client = Client::dial(&relay).await;
    client.send(&newer).await;
    assert_eq!(client.last_words().await, Some(ErrorCode::Version));
}

#[tokio::test]
async fn a_forged_tip_or_middle_is_refused_before_anybody_sees_it() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let other = space.enrol(2);
    let (mut writer, session) = Client::found(&relay, &space).await;
    let (mut reader, reading) = Client::join(&relay, &space, &other).await;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..reader.open(reading, None).await.0 };
    reader.catch_up(&space, reading, &mut cursor).await;

    let mut stream = space.stream(&space.founder, 1);
    let sealed = stream.seal_many(5);
    let signature_at = sealed[0].len() - SIGNATURE_BYTES;

    let mut nobodys = sealed.clone();
    nobodys.iter_mut().for_each(|envelope| envelope[signature_at] ^= 1);
    let results = writer.push(session, nobodys).await;
    assert!(results.iter().all(|result| result.status == PushStatus::BadSignature), "{results:?}");

    let mut by_another = space.stream(&other, 1);
    by_another.id = stream.id;
    let results = writer.push(session, vec![by_another.seal()]).await;
    assert!(!results[0].status.is_stored());

    for at in 0..HEADER_BYTES {
        let mut flipped = sealed[0].clone();
        flipped[at] ^= 1;
        let results = writer.push(session, vec![flipped]).await;
        assert!(!results[0].status.is_stored(), "byte {at}: {results:?}");
    }

    // What stands before a forged middle or tip and is signed is stored; nothing after it is.
    let (ok, bad) = (PushStatus::Ok, PushStatus::BadSignature);
    let mut forged_middle = sealed.clone();
    forged_middle[2][HEADER_BYTES] ^= 1;
    let results = writer.push(session, forged_middle).await;
    let gap = PushStatus::Gap { expected: 3 };
    assert_eq!(results.iter().map(|result| result.status).collect::<Vec<_>>(), [ok, ok, bad, gap, gap]);
    let mut forged_tip = sealed[2..].to_vec();
    forged_tip[2][signature_at] ^= 1;
    let results = writer.push(session, forged_tip).await;
    assert_eq!(results.iter().map(|result| result.status).collect::<Vec<_>>(), [ok, ok, bad]);
    let results = writer.push(session, sealed[4..].to_vec()).await;
    assert_eq!(results[0].status, ok);

    // The good ones are all that the reader ever hears of.
    let mut heard = Vec::new();
    while heard.len() < sealed.len() {
        heard.extend(reader.notified(&space, &mut cursor).await.unwrap().into_iter().map(|item| item.envelope));
    }
    assert_eq!(heard, sealed);
}

/// Chain and last signature are right, the signatures between are not: the relay verifies the last one alone, so
/// nobody may ever be shown a part of this run.
#[tokio::test]
async fn a_run_that_is_signed_only_at_its_end_is_never_shown_in_parts() {
    let (relay, _dir) = relay().await;
    let space = Space::new(1);
    let (mut writer, session) = Client::found(&relay, &space).await;
    let (mut live, following) = Client::join(&relay, &space, &space.founder).await;
    let start = Cursor { pos: 1, roll: Roll::ZERO, ..live.open(following, None).await.0 };
    let mut cursor = start;
    live.catch_up(&space, following, &mut cursor).await;

    let mut stream = space.stream(&space.founder, 1);
    let before = stream.seal_many(3);
    let mut run = stream.seal_many(64);
    let signature_at = run[0].len() - SIGNATURE_BYTES;
    run[..63].iter_mut().for_each(|envelope| envelope[signature_at..].fill(9));
    let after = stream.seal_many(3);
    for envelopes in [&before, &run, &after] {
        let results = writer.push(session, envelopes.clone()).await;
        assert!(results.iter().all(|result| result.status == PushStatus::Ok), "{results:?}");
    }
    let ends_verified = |items: &[lifeos_sync_protocol::frame::Item]| {
        let last = Envelope::parse(items.last().unwrap().envelope.clone()).unwrap();
        last.verify_signature(&space.id, &space.founder.pk).is_ok()
    };

    // Live.
    while cursor.pos < 71 {
        assert!(ends_verified(&live.notified(&space, &mut cursor).await.unwrap()));
    }
    // Pages from everywhere, of every size.
    for from in 1..=70 {
        for items_max in [1, 2, 63, 64, 1_024] {
            let pull = Frame::Pull { session: following, from, bytes_max: u32::MAX, items_max };
            let Frame::Items { items, .. } = live.ask(&pull).await else { panic!("not a page") };
            assert!(ends_verified(&items), "from {from}, {items_max} at most");
        }
    }
    // Ranges: a reader may want the middle alone.
    for (from, to) in [(1, 1), (2, 10), (4, 4), (10, 20), (66, 66), (67, 68), (70, 90)] {
        let want = Want { stream: stream.id, from, to };
        let request = live.send(&Frame::Want { session: following, ranges: vec![want], objects: Vec::new() }).await;
        let mut wanted = Vec::new();
        while let Frame::Items { items, more: true, .. } = live.answer(request).await {
            assert!(ends_verified(&items), "range {from}..={to}");
            wanted.extend(items.into_iter().map(|item| item.pos));
        }
        assert_eq!(wanted.first(), Some(&u64::from(from)));
        assert!(wanted.last().unwrap() >= &u64::from(to.min(70)));
        assert!(wanted.is_sorted_by(|a, b| a + 1 == *b));
    }
    // The accepted run was as long as one may be: a longer one does not come in.
    let push = Frame::Push { session, envelopes: stream.seal_many(65) };
    writer.send(&push).await;
    assert_eq!(writer.last_words().await, Some(ErrorCode::BadFrame));
}

/// A reader without the records of the later epoch stops between the two, so there has to be a signature there.
#[tokio::test]
async fn a_run_does_not_reach_across_epochs() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    space.rotate();
    let (mut writer, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    let newer = std::mem::replace(&mut stream.epoch, space.epochs[0]);
    let mut run = stream.seal_many(2);
    stream.epoch = newer;
    run.extend(stream.seal_many(2));
    let signature_at = run[0].len() - SIGNATURE_BYTES;
    let mut unsigned = run.clone();
    unsigned[1][signature_at] ^= 1;
    let statuses: Vec<_> = writer.push(session, unsigned).await.into_iter().map(|result| result.status).collect();
    let gap = PushStatus::Gap { expected: 2 };
    assert_eq!(statuses, [PushStatus::OkStaleEpoch, PushStatus::BadSignature, gap, gap]);
    // The accepted twin: signed where the epoch changes.
    let statuses: Vec<_> = writer.push(session, run).await.into_iter().map(|result| result.status).collect();
    assert_eq!(statuses, [PushStatus::Dup, PushStatus::OkStaleEpoch, PushStatus::Ok, PushStatus::Ok]);
}

#[tokio::test]
async fn a_full_space_refuses_envelopes_but_not_records_or_reads() {
    let (relay, _dir) = relay_with(Limits { space_bytes_max: 2_000, ..Limits::default() }).await;
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    let results = client.push(session, stream.seal_many(3)).await;
    assert!(results.iter().all(|result| result.status == PushStatus::Ok));
    let results = client.push(session, stream.seal_many(3)).await;
    assert!(results.iter().all(|result| result.status == PushStatus::Quota), "{results:?}");
    space.enrol(2);
    space.rotate();
    let records = space.record_bytes().split_off(2);
    let answer = client.ask(&Frame::Rec { session, records, more: false }).await;
    assert_eq!(answer, Frame::RecAck { session, results: vec![RecordStatus::Ok; 2] });
    removes(&mut client, session, &mut space, 2).await;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..client.open(session, None).await.0 };
    assert_eq!(client.catch_up(&space, session, &mut cursor).await.len(), 3);
}

/// With 100,000 bytes to read into: who sends more at once is cut off, and others go on.
async fn greedy_is_cut_off(limits: Limits) {
    let (relay, _dir) = relay_with(limits).await;
    let space = Space::new(1);
    let (mut honest, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    // What has been worked on does not count any more.
    for _ in 0..4 {
        let results = honest.push(session, vec![stream.seal_sized(50_000)]).await;
        assert_eq!(results[0].status, PushStatus::Ok);
    }
    let (mut greedy, _) = Client::join(&relay, &space, &space.founder).await;
    let _ = greedy.socket.send(Message::Binary(vec![0; 200_000].into())).await;
    // The relay may close while this is still being sent.
    let words = greedy.last_words().await;
    assert!(matches!(words, Some(ErrorCode::Unavailable) | None), "{words:?}");
    let results = honest.push(session, vec![stream.seal_sized(50_000)]).await;
    assert_eq!(results[0].status, PushStatus::Ok);
}

#[tokio::test]
async fn an_address_cannot_have_more_read_than_its_budget_at_a_time() {
    greedy_is_cut_off(Limits { reading_bytes_per_address_max: 100_000, ..Limits::default() }).await;
}

#[tokio::test]
async fn all_together_cannot_have_more_read_than_the_relays_budget_at_a_time() {
    greedy_is_cut_off(Limits { reading_bytes_max: 100_000, ..Limits::default() }).await;
}

on_a_folder_only! {
    #[tokio::test]
    async fn a_full_database_takes_records_and_repetitions_but_no_envelopes_or_spaces() {
        let (relay, _dir) = relay_with(Limits { database_bytes_max: 1024 * 1024, ..Limits::default() }).await;
        let mut space = Space::new(1);
        let (mut client, session) = Client::found(&relay, &space).await;
        let mut stream = space.stream(&space.founder, 1);
        let first = stream.seal_sized(900_000);
        let mut pushed = 0;
        let mut status = client.push(session, vec![first.clone()]).await[0].status;
        while status == PushStatus::Ok {
            pushed += 1;
            assert!(pushed < 4, "no limit");
            status = client.push(session, vec![stream.seal_sized(200_000)]).await[0].status;
        }
        assert_eq!(status, PushStatus::Quota);
        assert_eq!(client.push(session, vec![first]).await[0].status, PushStatus::Dup);

        space.enrol(2);
        assert_eq!(client.bring(session, space.records.last().unwrap()).await, RecordStatus::Ok);
        removes(&mut client, session, &mut space, 2).await;

        let other = Space::new(3);
        let mut newcomer = Client::connect(&relay).await;
        let session = newcomer.auth(&other, &other.founder).await;
        let answer = newcomer.ask(&Frame::Rec { session, records: other.record_bytes(), more: false }).await;
        assert!(matches!(answer, Frame::Error { code: ErrorCode::CreateRefused, .. }), "{answer:?}");
    }
}
