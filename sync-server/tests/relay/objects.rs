//! Objects outside streams: who may bring them, who pays, and how they are read.

use lifeos_sync_protocol::envelope::Kind;
use lifeos_sync_protocol::frame::{Frame, PushResult, PushStatus};
use lifeos_sync_protocol::ids::{EnvelopeId, EpochRef, MemberId};
use lifeos_sync_protocol::limits::{CHUNK_CT_BYTES_MAX, OBJECT_PART_BYTES_MAX};
use lifeos_sync_protocol::record::{Body, RemoveReason, Role};
use lifeos_sync_server::{Limits, Server};

use crate::fixture::{Client, Device, Space, Stream, id_of, metric, relay, relay_with};
use crate::place::{local, stats};

const OK: PushResult = PushResult { status: PushStatus::Ok, pos: None };
const DUP: PushResult = PushResult { status: PushStatus::Dup, pos: None };

fn refused(status: PushStatus) -> Vec<PushResult> {
    vec![PushResult { status, pos: None }]
}

fn ids(space: &Space, objects: &[Vec<u8>]) -> Vec<EnvelopeId> {
    objects.iter().map(|object| id_of(&space.id, object)).collect()
}

#[tokio::test]
async fn objects_are_kept_by_id_stand_in_no_log_and_outlive_the_relay() {
    let dir = tempfile::tempdir().unwrap();
    let space = Space::new(1);
    let relay = Server::start(local(dir.path())).await.unwrap();
    let (mut client, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    let objects = vec![stream.object(Kind::Chunk, 1, 900), stream.object(Kind::BlobPart, 2, 700)];
    let both = ids(&space, &objects);
    let mixed = vec![objects[0].clone(), stream.seal(), objects[1].clone(), objects[0].clone()];
    let first = PushResult { status: PushStatus::Ok, pos: Some(1) };
    assert_eq!(client.push(session, mixed).await, [OK, first, OK, DUP]);
    assert_eq!(client.open(session, None).await.0.pos, 2, "the log holds the envelope of the stream alone");

    let unknown = EnvelopeId([9; 32]);
    for _ in 0..2 {
        let pages = client.want_objects(session, vec![both[1], unknown, both[0]]).await;
        let found: Vec<_> = pages.into_iter().flatten().map(|item| (item.pos, item.envelope)).collect();
        assert_eq!(found, [(0, objects[1].clone()), (0, objects[0].clone())], "as asked, but for what is not here");
    }
    assert!(client.want_objects(session, vec![unknown]).await.is_empty());
    let offer = Frame::Offer { session, objects: vec![both[0], unknown, both[1], unknown] };
    assert_eq!(client.ask(&offer).await, Frame::Lack { session, objects: vec![unknown, unknown] });
    assert_eq!(metric(&relay, "objects_stored_total").await, 2);
    relay.shutdown().await;

    let figures = stats(dir.path()).await;
    assert_eq!((figures.envelopes, figures.objects), (1, 2));
    assert_eq!(figures.object_bytes, objects.iter().map(|object| object.len() as u64).sum::<u64>());
    assert_eq!(figures.largest[0].bytes, figures.object_bytes + figures.envelope_bytes);
    let relay = Server::start(local(dir.path())).await.unwrap();
    let (mut client, session) = Client::join(&relay, &space, &space.founder).await;
    assert_eq!(client.want_objects(session, both).await.concat().len(), 2);
    assert_eq!(client.push(session, objects).await, [DUP, DUP]);
}

#[tokio::test]
async fn an_object_is_taken_from_who_may_write_if_a_device_of_the_space_signed_it() {
    let (relay, _dir) = relay().await;
    let mut space = Space::new(1);
    let reader = space.admit(2, MemberId([2; 16]), Role::Reader);
    let gone = space.admit(3, MemberId([3; 16]), Role::Editor);
    space.rotate();
    let body = Body::DeviceRemove { device: gone.pk, reason: RemoveReason::Lost, cuts: Vec::new() };
    space.append(&body);
    let (mut client, session) = Client::found(&relay, &space).await;
    let (mut reading, theirs) = Client::join(&relay, &space, &reader).await;
    let stream = space.stream(&space.founder, 1);
    let good = stream.object(Kind::Chunk, 1, 400);
    assert_eq!(reading.push(theirs, vec![good.clone()]).await, refused(PushStatus::NotWriter));

    // Where nothing of the stream is known, and where it is.
    for known in [false, true] {
        if known {
            client.push(session, vec![stream.clone().seal()]).await;
        }
        for at in [100, good.len() - 1] {
            let mut forged = good.clone();
            forged[at] ^= 1;
            assert_eq!(client.push(session, vec![forged]).await, refused(PushStatus::BadSignature));
        }
        let other = Stream { r32: [2; 32], ..stream.clone() };
        assert_eq!(client.push(session, vec![other.object(Kind::Chunk, 1, 400)]).await, refused(PushStatus::NotMember));
        let stranger = Device::new(9);
        let theirs = space.stream(&stranger, 1).object(Kind::BlobPart, 1, 400);
        assert_eq!(client.push(session, vec![theirs]).await, refused(PushStatus::NotMember));
        let elsewhere = Stream { space: Space::new(7).id, ..stream.clone() };
        let status = client.push(session, vec![elsewhere.object(Kind::Chunk, 1, 400)]).await;
        assert_eq!(status, refused(PushStatus::BadSignature));
        let unknown = Stream { epoch: EpochRef([9; 16]), ..stream.clone() };
        let status = client.push(session, vec![unknown.object(Kind::Chunk, 1, 400)]).await;
        assert_eq!(status, refused(PushStatus::UnknownEpoch));
    }
    assert_eq!(metric(&relay, "objects_stored_total").await, 0);
    // What somebody made who was removed since is brought by others, and under any epoch of the space.
    let old = Stream { epoch: space.epochs[0], ..space.stream(&gone, 1) };
    assert_eq!(client.push(session, vec![old.object(Kind::Chunk, 1, 400), good]).await, [OK, OK]);
}

#[tokio::test]
async fn the_largest_chunk_goes_in_and_out_and_pages_stay_within_bounds() {
    let (relay, _dir) = relay_with(Limits { page_bytes_max: 64 * 1024, ..Limits::default() }).await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let stream = space.stream(&space.founder, 1);
    let large = stream.object(Kind::Chunk, 1, CHUNK_CT_BYTES_MAX);
    assert_eq!(client.push(session, vec![large.clone()]).await, [OK]);
    let mut too_large = large.clone();
    too_large[88..92].copy_from_slice(&(CHUNK_CT_BYTES_MAX as u32 + 1).to_be_bytes());
    too_large.push(0);
    assert_eq!(client.push(session, vec![too_large]).await, refused(PushStatus::TooLarge));
    let mut part = stream.object(Kind::Chunk, 3, CHUNK_CT_BYTES_MAX / 2);
    part[1] = Kind::BlobPart as u8;
    assert_eq!(client.push(session, vec![part]).await, refused(PushStatus::TooLarge));
    let small: Vec<Vec<u8>> = (10..40).map(|salt| stream.object(Kind::Chunk, salt, 20_000)).collect();
    assert_eq!(client.push(session, small.clone()).await, vec![OK; small.len()]);

    let mut wanted = ids(&space, &small);
    wanted.insert(7, id_of(&space.id, &large));
    let pages = client.want_objects(session, wanted).await;
    for page in &pages {
        let bytes: usize = page.iter().map(|item| item.envelope.len()).sum();
        assert!(bytes <= 64 * 1024 || page.len() == 1, "{} objects, {bytes} bytes", page.len());
    }
    let mut all = small;
    all.insert(7, large);
    assert!(pages.concat().into_iter().map(|item| item.envelope).eq(all));
    assert!(pages.len() >= 11, "three go into a page");
}

/// Nobody reads: what is read for it stops at the room that one connection has.
#[tokio::test]
async fn whoever_wants_objects_and_takes_none_holds_up_nobody() {
    let (relay, _dir) = relay_with(Limits { outgoing_bytes_max: 256 * 1024, ..Limits::default() }).await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let large = space.stream(&space.founder, 1).object(Kind::Chunk, 1, CHUNK_CT_BYTES_MAX);
    client.push(session, vec![large.clone()]).await;
    let id = id_of(&space.id, &large);
    let (mut greedy, theirs) = Client::join(&relay, &space, &space.founder).await;
    // 16 GiB.
    greedy.send(&Frame::Want { session: theirs, ranges: Vec::new(), objects: vec![id; 4_096] }).await;
    while metric(&relay, "objects_sent_total").await == 0 {}
    for _ in 0..20 {
        assert_eq!(client.want_objects(session, vec![id]).await.concat().len(), 1);
    }
    let sent = metric(&relay, "objects_sent_total").await;
    assert!(sent < 20 + 10, "{sent}: the sockets in between take a few");
}

#[tokio::test]
async fn objects_are_paid_for_by_who_brings_them_and_chunks_have_room_beyond() {
    let limits = Limits { space_bytes_max: 0, member_bytes_max: 10_000, ..Limits::default() };
    let (relay, _dir) = relay_with(limits).await;
    let mut space = Space::new(1);
    let friend = space.admit(2, MemberId([2; 16]), Role::Editor);
    let (mut client, session) = Client::found(&relay, &space).await;
    let (mut other, theirs) = Client::join(&relay, &space, &friend).await;
    let mut stream = space.stream(&space.founder, 1);
    let part = |salt| stream.object(Kind::BlobPart, salt, 4_000);
    assert_eq!(client.push(session, vec![part(1), part(2), part(3)]).await, [OK, OK, refused(PushStatus::Quota)[0]]);
    let quota = async |client: &mut Client, session| {
        let open = Frame::Open { session, rec_heads: Vec::new(), cursor: None };
        let Frame::State { quota, .. } = client.ask(&open).await else { panic!("not a state") };
        (quota.bytes_used, quota.bytes_max)
    };
    assert_eq!(quota(&mut client, session).await, (8_312, 10_000));
    // What I made, brought by a friend, is not on my account.
    assert_eq!(other.push(theirs, vec![part(3)]).await, [OK]);
    assert_eq!(quota(&mut client, session).await, (8_312, 10_000));
    assert_eq!(quota(&mut other, theirs).await, (4_156, 10_000));
    // An envelope that would not fit, and a chunk that does: a full space shrinks by checkpoints.
    assert_eq!(client.push(session, vec![stream.seal_sized(3_000)]).await, refused(PushStatus::Quota));
    let chunk = |salt| stream.object(Kind::Chunk, salt, 3_000);
    assert_eq!(client.push(session, vec![chunk(5), chunk(6)]).await, [OK, refused(PushStatus::Quota)[0]]);
}

#[tokio::test]
async fn a_space_and_a_member_have_only_so_many_objects() {
    let limits = Limits { space_objects_max: 5, member_objects_max: 3, ..Limits::default() };
    let (relay, dir) = relay_with(limits.clone()).await;
    let mut space = Space::new(1);
    let friend = space.admit(2, MemberId([2; 16]), Role::Editor);
    let (mut client, session) = Client::found(&relay, &space).await;
    let (mut other, theirs) = Client::join(&relay, &space, &friend).await;
    let stream = space.stream(&space.founder, 1);
    let part = |salt| stream.object(Kind::BlobPart, salt, 400);
    let full = refused(PushStatus::Quota)[0];
    assert_eq!(client.push(session, (1..=4).map(part).collect()).await, [OK, OK, OK, full]);
    assert_eq!(other.push(theirs, (4..=6).map(part).collect()).await, [OK, OK, full]);
    relay.shutdown().await;
    // The count is that of the database.
    let mut config = local(dir.path());
    config.limits = Limits { member_objects_max: 0, ..limits };
    let relay = Server::start(config).await.unwrap();
    let (mut client, session) = Client::join(&relay, &space, &space.founder).await;
    assert_eq!(client.push(session, vec![part(6), part(1)]).await, [full, DUP]);
}

#[tokio::test]
async fn the_rest_of_an_object_comes_in_parts_from_whatever_byte_is_asked_for() {
    let (relay, _dir) = relay_with(Limits::default()).await;
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let object = space.stream(&space.founder, 1).object(Kind::Chunk, 1, 2 * OBJECT_PART_BYTES_MAX + 1_000);
    client.push(session, vec![object.clone()]).await;
    let id = id_of(&space.id, &object);
    let total = object.len();
    let ends = [0, 1, OBJECT_PART_BYTES_MAX - 1, OBJECT_PART_BYTES_MAX, total - 1, total, total + 9];
    for from in ends {
        let (parts, came) = rest(&mut client, session, id, from as u32).await;
        let from = from.min(total);
        assert_eq!(came, object[from..], "from {from}");
        assert_eq!(parts, (total - from).div_ceil(OBJECT_PART_BYTES_MAX).max(1));
    }
    let (parts, came) = rest(&mut client, session, EnvelopeId([9; 32]), 7).await;
    assert_eq!((parts, came.len()), (1, 0), "it is not here");
}

/// How many parts came, and what they are together.
async fn rest(client: &mut Client, session: u32, object: EnvelopeId, from: u32) -> (usize, Vec<u8>) {
    let (mut parts, mut all) = (0, Vec::new());
    let request = client.send(&Frame::WantRest { session, object, from }).await;
    loop {
        let Frame::Part { total, from: at, more, bytes, .. } = client.answer(request).await else { panic!("no part") };
        assert!(bytes.len() <= OBJECT_PART_BYTES_MAX);
        assert_eq!(at as usize, (from as usize).min(total as usize) + all.len());
        all.extend_from_slice(&bytes);
        parts += 1;
        if !more {
            return (parts, all);
        }
    }
}
