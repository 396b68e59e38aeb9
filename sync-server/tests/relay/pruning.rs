//! Checkpoints at a relay: what must hold before anything is deleted, what is deleted then, and what stays.

use std::time::Duration;

use lifeos_sync_protocol::envelope::Kind;
use lifeos_sync_protocol::frame::{Cursor, ErrorCode, Frame, Have, PushResult, PushStatus, RecordStatus, Want};
use lifeos_sync_protocol::ids::{EnvelopeId, MemberId, RecordId, Roll};
use lifeos_sync_protocol::log::have_digest;
use lifeos_sync_protocol::record::{Body, Cut, Floor, RemoveReason, Role};
use lifeos_sync_server::{Clock, Config, Handle, Limits, Server};
use tempfile::TempDir;

use crate::fixture::{Client, Device, Space, Stream, follow, id_of, metric};
use crate::place::{local, stats};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// 2026-01-01.
const BEGIN_MS: u64 = 1_767_225_600_000;
const FRIEND: MemberId = MemberId([2; 16]);

async fn start(dir: &TempDir, clock: &Clock) -> Handle {
    start_with(dir, clock, Limits::default()).await
}

async fn start_with(dir: &TempDir, clock: &Clock, limits: Limits) -> Handle {
    Server::start(Config { clock: clock.clone(), limits, ..local(dir.path()) }).await.unwrap()
}

fn clock() -> (TempDir, Clock) {
    (tempfile::tempdir().unwrap(), Clock::standing_at(BEGIN_MS))
}

/// Lets days go by; whatever the relay does then is done afterwards.
async fn pass(relay: &Handle, clock: &Clock, days: u32) {
    // What came before is looked at before the time goes on.
    relay.look_after_spaces().await;
    clock.advance(DAY * days);
    relay.look_after_spaces().await;
}

fn floor(stream: &Stream<'_>) -> Floor {
    Floor { stream: stream.id, seq: stream.seq, id: stream.prev.into(), device: stream.device.pk, r32: stream.r32 }
}

/// Floors ascend.
fn cut(streams: &[&Stream<'_>]) -> Vec<Floor> {
    let mut floors: Vec<Floor> = streams.iter().map(|stream| floor(stream)).collect();
    floors.sort_unstable_by_key(|floor| floor.stream);
    floors
}

fn checkpoint(previous: &[RecordId], cut: Vec<Floor>, chunks: &[EnvelopeId]) -> Body {
    let (previous, chunks) = (previous.to_vec(), chunks.to_vec());
    Body::Checkpoint { previous, cut, chunks, blobs: Vec::new(), enc_manifest: Vec::new() }
}

/// Publishes a record by the founder.
async fn publish(client: &mut Client, session: u32, space: &mut Space, body: &Body) -> RecordId {
    let record = space.append(body);
    assert_eq!(client.bring(session, &record).await, RecordStatus::Ok);
    record.id()
}

/// Publishes a record by another device.
async fn say(client: &mut Client, session: u32, space: &mut Space, device: &Device, body: &Body) {
    assert_eq!(client.write(session, space, device, body).await, RecordStatus::Ok);
}

const fn objection(checkpoint: RecordId, stream: &Stream<'_>) -> Body {
    Body::Object { checkpoint, reason: 0, stream: stream.id, seq: 1 }
}

fn removal(device: &Device) -> Body {
    Body::DeviceRemove { device: device.pk, reason: RemoveReason::Compromised, cuts: Vec::new() }
}

async fn have(client: &mut Client, session: u32) -> Vec<Have> {
    let ask = Frame::Have { session, streams: Vec::new() };
    let Frame::Have { streams, .. } = client.ask(&ask).await else { panic!("not what it has") };
    streams
}

/// Floor and tip of a stream.
async fn reach(client: &mut Client, session: u32, stream: &Stream<'_>) -> Option<(u32, u32)> {
    let held = have(client, session).await;
    held.iter().find(|have| have.stream == stream.id).map(|have| (have.floor, have.tip))
}

struct State {
    log: Cursor,
    cursor_ok: bool,
    digest: [u8; 32],
    bytes: u64,
    checkpoints: Vec<RecordId>,
}

async fn state(client: &mut Client, session: u32, cursor: Option<Cursor>) -> State {
    let answer = client.ask(&Frame::Open { session, rec_heads: Vec::new(), cursor }).await;
    let Frame::State { log: Some(log), cursor_ok, have_digest, quota, checkpoints, .. } = answer else {
        panic!("not a state: {answer:?}")
    };
    State { log, cursor_ok, digest: have_digest, bytes: quota.bytes_used, checkpoints }
}

fn all(stream: &Stream<'_>, from: u32, to: u32) -> Vec<Want> {
    vec![Want { stream: stream.id, from, to }]
}

/// A space of a founder and a friend, who endorses; the founder is connected.
struct Scene {
    relay: Handle,
    dir: TempDir,
    clock: Clock,
    space: Space,
    friend: Device,
    client: Client,
    session: u32,
}

impl Scene {
    async fn new() -> Self {
        let (dir, clock) = clock();
        let relay = start(&dir, &clock).await;
        let mut space = Space::new(1);
        let friend = space.admit(2, FRIEND, Role::Editor);
        space.rotate();
        let (client, session) = Client::found(&relay, &space).await;
        Self { relay, dir, clock, space, friend, client, session }
    }

    async fn restart(self) -> Self {
        self.relay.shutdown().await;
        let relay = start(&self.dir, &self.clock).await;
        let (client, session) = Client::join(&relay, &self.space, &self.space.founder).await;
        Self { relay, client, session, ..self }
    }

    async fn pass(&self, days: u32) {
        pass(&self.relay, &self.clock, days).await;
    }

    async fn push(&mut self, envelopes: Vec<Vec<u8>>) {
        for part in envelopes.chunks(64) {
            let results = self.client.push(self.session, part.to_vec()).await;
            assert!(results.iter().all(|result| result.status == PushStatus::Ok), "{results:?}");
        }
    }

    async fn chunk(&mut self, salt: u8) -> EnvelopeId {
        let chunk = self.space.stream(&self.space.founder, 1).object(Kind::Chunk, salt, 400);
        self.client.push(self.session, vec![chunk.clone()]).await;
        id_of(&self.space.id, &chunk)
    }

    async fn publish(&mut self, body: &Body) -> RecordId {
        publish(&mut self.client, self.session, &mut self.space, body).await
    }

    async fn endorse(&mut self, checkpoint: RecordId) {
        let body = Body::Endorse { checkpoint };
        say(&mut self.client, self.session, &mut self.space, &self.friend, &body).await;
    }

    async fn reach(&mut self, stream: &Stream<'_>) -> Option<(u32, u32)> {
        reach(&mut self.client, self.session, stream).await
    }

    async fn state(&mut self, cursor: Option<Cursor>) -> State {
        state(&mut self.client, self.session, cursor).await
    }
}

/// A stream that borrows nothing of the scene.
macro_rules! stream_of {
    ($name:ident, $device:ident, $scene:expr, $seed:expr, $r32:expr) => {
        let $device = Device::new($seed);
        #[allow(unused_mut)]
        let mut $name = $scene.space.stream(&$device, $r32);
    };
}

#[tokio::test]
async fn what_a_checkpoint_holds_goes_when_the_grace_is_over_and_not_before() {
    let mut scene = Scene::new().await;
    stream_of!(one, founder, scene, 1, 1);
    stream_of!(two, friend, scene, 2, 2);
    stream_of!(left_out, other, scene, 1, 3);
    let mut envelopes = vec![left_out.seal()];
    for _ in 0..15 {
        envelopes.extend([one.seal(), two.seal()]);
    }
    let (at_one, at_two) = (one.clone(), two.clone());
    envelopes.extend([left_out.seal(), left_out.seal()]);
    envelopes.extend((0..5).flat_map(|_| [two.seal(), one.seal()]));
    // One by one: what comes together stands by stream in the log.
    for envelope in &envelopes {
        scene.push(vec![envelope.clone()]).await;
    }
    let chunk = scene.chunk(1).await;
    let before = scene.state(None).await;
    let body = checkpoint(&[], cut(&[&at_one, &at_two]), &[chunk]);
    let id = scene.publish(&body).await;

    scene.pass(100).await;
    assert_eq!(scene.reach(&one).await, Some((0, 20)), "only its maker says that it is good");
    scene.endorse(id).await;
    scene.pass(15).await;
    // A relay that is stopped counts on.
    let mut scene = scene.restart().await;
    scene.pass(14).await;
    assert_eq!(scene.reach(&one).await, Some((0, 20)));
    assert!(scene.state(None).await.checkpoints.is_empty());
    scene.pass(1).await;

    for again in [false, true] {
        if again {
            scene = scene.restart().await;
        }
        for stream in [&one, &two] {
            assert_eq!(scene.reach(stream).await, Some((15, 20)));
        }
        assert_eq!(scene.reach(&left_out).await, Some((0, 3)), "no floor, nothing gone");
        let bytes = |envelopes: &[Vec<u8>]| envelopes.iter().map(|envelope| envelope.len() as u64).sum::<u64>();
        let after = scene.state(None).await;
        assert_eq!(before.bytes - after.bytes, bytes(&envelopes[1..31]) / 2, "half of it was of this member");
        let held = stats(scene.dir.path()).await;
        let left = bytes(&envelopes) - bytes(&envelopes[1..31]);
        assert_eq!((held.envelopes, held.envelope_bytes), (envelopes.len() as u64 - 30, left));
        assert_eq!((after.checkpoints, after.cursor_ok, after.log), (vec![id], false, before.log));
        let held = have(&mut scene.client, scene.session).await;
        assert_eq!(after.digest, have_digest(&held));
        assert_ne!(after.digest, before.digest);
        assert_eq!(scene.client.want_objects(scene.session, vec![chunk]).await.concat().len(), 1);
    }
    assert_eq!(metric(&scene.relay, "envelopes_pruned_total").await, 0, "the second start had nothing left to do");

    // Whoever was at the end goes on; whoever was before the first position that is left compares streams.
    let session = scene.session;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..before.log };
    let mut cursors = vec![cursor];
    for (at, envelope) in envelopes.iter().enumerate() {
        cursor.roll =
            lifeos_sync_protocol::log::roll_next(&cursor.roll, at as u64 + 1, &id_of(&scene.space.id, envelope));
        cursor.pos += 1;
        cursors.push(cursor);
    }
    for (at, cursor) in cursors.iter().enumerate() {
        assert_eq!(scene.state(Some(*cursor)).await.cursor_ok, at >= 31, "{at} are known");
    }
    for from in [1, 15, 31] {
        let pull = Frame::Pull { session, from, bytes_max: u32::MAX, items_max: 64 };
        let refused = scene.client.ask(&pull).await;
        assert!(matches!(refused, Frame::Error { code: ErrorCode::Unexpected, fatal: false, .. }), "{refused:?}");
    }
    let mut cursor = cursors[31];
    let items = scene.client.catch_up(&scene.space, session, &mut cursor).await;
    assert_eq!(items.len(), envelopes.len() - 31);
    assert_eq!(cursor, before.log);
    let empty = Frame::Pull { session, from: cursor.pos, bytes_max: u32::MAX, items_max: 64 };
    let Frame::Items { roll, .. } = scene.client.ask(&empty).await else { panic!("not a page") };
    follow(&scene.space.id, &mut cursor, &[], roll);

    // By stream there is what is above the floors, and what has none.
    for (stream, range, expected) in
        [(&one, (1, 15), 0), (&one, (3, 20), 5), (&two, (1, u32::MAX), 5), (&left_out, (1, 3), 3)]
    {
        let pages = scene.client.want(session, all(stream, range.0, range.1), Vec::new()).await;
        assert_eq!(pages.concat().len(), expected, "{range:?}");
    }
    scene.push(vec![one.seal(), two.seal(), left_out.seal()]).await;
    assert_eq!(scene.reach(&one).await, Some((15, 21)));
}

#[tokio::test]
async fn what_comes_again_below_a_floor_is_told_apart_from_another_branch() {
    let mut scene = Scene::new().await;
    stream_of!(stream, founder, scene, 1, 1);
    let envelopes = stream.seal_many(10);
    scene.push(envelopes.clone()).await;
    let body = checkpoint(&[], cut(&[&stream]), &[]);
    let id = scene.publish(&body).await;
    scene.endorse(id).await;
    scene.pass(30).await;
    assert_eq!(scene.reach(&stream).await, Some((10, 10)), "all of it");
    let state = scene.state(None).await;
    assert_eq!((state.bytes, state.log.pos), (0, 11));

    let (session, space_id) = (scene.session, scene.space.id);
    let answer = |status| PushResult { status, pos: None };
    let results = scene.client.push(session, envelopes.clone()).await;
    assert_eq!(results, vec![answer(PushStatus::Dup); 10], "it leads to the floor");
    let results = scene.client.push(session, envelopes[..3].to_vec()).await;
    assert_eq!(results, vec![answer(PushStatus::Gap { expected: 11 }); 3], "nobody here knows");
    // A copy of the home that went another way at 9.
    let mut branch = Stream { seq: 8, prev: id_of(&space_id, &envelopes[7]).0, ..scene.space.stream(&founder, 1) };
    let other = vec![branch.seal_sized(300), branch.seal_sized(300)];
    let existing = id_of(&space_id, &envelopes[9]);
    let results = scene.client.push(session, other).await;
    assert_eq!(results, vec![answer(PushStatus::Fork { existing }); 2]);
    assert_eq!(scene.client.push(session, vec![branch.seal()]).await, [answer(PushStatus::Fork { existing })]);
    // An empty log is followed from its end on.
    let mut cursor = state.log;
    assert!(scene.client.catch_up(&scene.space, session, &mut cursor).await.is_empty());
    let results = scene.client.push(session, vec![stream.seal()]).await;
    assert_eq!(results, [PushResult { status: PushStatus::Ok, pos: Some(11) }]);
    let told = scene.client.notified(&scene.space, &mut cursor).await.unwrap();
    assert_eq!(told.len(), 1);
    let mut scene = scene.restart().await;
    assert_eq!(scene.state(Some(cursor)).await.log, cursor);
}

#[tokio::test]
async fn a_checkpoint_that_lacks_something_never_takes_effect() {
    for lacking in ["a chunk", "a chunk that is a blob part", "an envelope", "a stream", "the right id", "nothing"] {
        let mut scene = Scene::new().await;
        stream_of!(stream, founder, scene, 1, 1);
        stream_of!(missing, other, scene, 1, 2);
        let mut envelopes = stream.seal_many(5);
        scene.push(envelopes.clone()).await;
        let mut chunks = vec![scene.chunk(1).await];
        let mut floors = cut(&[&stream]);
        let mut late: Vec<Vec<u8>> = Vec::new();
        match lacking {
            "a chunk" => {
                late.push(stream.object(Kind::Chunk, 9, 400));
                chunks.push(id_of(&scene.space.id, &late[0]));
            }
            "a chunk that is a blob part" => {
                let part = stream.object(Kind::BlobPart, 9, 400);
                chunks.push(id_of(&scene.space.id, &part));
                scene.push(vec![part]).await;
            }
            "an envelope" => {
                late.push(stream.seal());
                floors = cut(&[&stream]);
            }
            "a stream" => {
                late.push(missing.seal());
                floors = cut(&[&stream, &missing]);
            }
            "the right id" => floors[0].id = id_of(&scene.space.id, &envelopes.remove(3)),
            _ => {}
        }
        let body = checkpoint(&[], floors, &chunks);
        let id = scene.publish(&body).await;
        scene.endorse(id).await;
        scene.pass(400).await;
        let expected = if lacking == "nothing" { 5 } else { 0 };
        assert_eq!(scene.reach(&stream).await.map(|reach| reach.0), Some(expected), "{lacking}");
        if !late.is_empty() {
            scene.push(late).await;
            scene.pass(29).await;
            assert_eq!(scene.reach(&stream).await.map(|reach| reach.0), Some(0), "{lacking}: the grace begins now");
            scene.pass(1).await;
            assert!(scene.reach(&stream).await.is_some_and(|reach| reach.0 >= 5), "{lacking}");
        }
    }
}

#[tokio::test]
async fn only_the_word_of_other_members_in_force_lets_a_checkpoint_wait() {
    let mut scene = Scene::new().await;
    let own = scene.space.enrol(3);
    let body = scene.space.records.last().unwrap().clone();
    assert_eq!(scene.client.bring(scene.session, &body).await, RecordStatus::Ok);
    stream_of!(stream, founder, scene, 1, 1);
    scene.push(stream.seal_many(5)).await;
    let body = checkpoint(&[], cut(&[&stream]), &[]);
    let id = scene.publish(&body).await;
    // The maker, and another device of the maker's member.
    scene.publish(&Body::Endorse { checkpoint: id }).await;
    let word = Body::Endorse { checkpoint: id };
    say(&mut scene.client, scene.session, &mut scene.space, &own, &word).await;
    scene.pass(400).await;
    assert_eq!(scene.reach(&stream).await, Some((0, 5)));
    // The friend's, and then the friend is removed: a third person has to look.
    let third = scene.space.admit(4, MemberId([4; 16]), Role::Reader);
    let admitted = scene.space.records.last().unwrap().clone();
    assert_eq!(scene.client.bring(scene.session, &admitted).await, RecordStatus::Ok);
    scene.endorse(id).await;
    scene.pass(29).await;
    let body = removal(&scene.friend);
    scene.publish(&body).await;
    scene.pass(400).await;
    assert_eq!(scene.reach(&stream).await, Some((0, 5)));
    say(&mut scene.client, scene.session, &mut scene.space, &third, &word).await;
    scene.pass(29).await;
    assert_eq!(scene.reach(&stream).await, Some((0, 5)), "the grace begins anew");
    scene.pass(1).await;
    assert_eq!(scene.reach(&stream).await, Some((5, 5)));
}

#[tokio::test]
async fn an_objection_holds_everything_up_and_its_end_starts_the_grace_anew() {
    let mut scene = Scene::new().await;
    stream_of!(stream, founder, scene, 1, 1);
    scene.push(stream.seal_many(5)).await;
    let third = scene.space.admit(4, MemberId([4; 16]), Role::Editor);
    let admitted = scene.space.records.last().unwrap().clone();
    assert_eq!(scene.client.bring(scene.session, &admitted).await, RecordStatus::Ok);
    let body = checkpoint(&[], cut(&[&stream]), &[]);
    let id = scene.publish(&body).await;
    scene.endorse(id).await;
    scene.pass(29).await;
    // On the last day, and nobody looks at the space before the day is over.
    let word = objection(id, &stream);
    say(&mut scene.client, scene.session, &mut scene.space, &third, &word).await;
    scene.clock.advance(DAY * 400);
    scene.relay.look_after_spaces().await;
    assert_eq!(scene.reach(&stream).await, Some((0, 5)));
    let mut scene = scene.restart().await;
    let body = removal(&third);
    scene.publish(&body).await;
    scene.pass(29).await;
    assert_eq!(scene.reach(&stream).await, Some((0, 5)));
    scene.pass(1).await;
    assert_eq!(scene.reach(&stream).await, Some((5, 5)));
}

#[tokio::test]
async fn an_objection_after_the_effect_changes_nothing() {
    let mut scene = Scene::new().await;
    stream_of!(stream, founder, scene, 1, 1);
    scene.push(stream.seal_many(5)).await;
    let chunk = scene.chunk(1).await;
    let body = checkpoint(&[], cut(&[&stream]), &[chunk]);
    let first = scene.publish(&body).await;
    scene.endorse(first).await;
    scene.pass(30).await;
    scene.push(stream.seal_many(5)).await;
    let friend = Device::new(2);
    let body = objection(first, &stream);
    say(&mut scene.client, scene.session, &mut scene.space, &friend, &body).await;
    scene.pass(400).await;
    assert_eq!(scene.reach(&stream).await, Some((5, 10)));
    assert_eq!(scene.state(None).await.checkpoints, [first], "what is gone is in its chunks alone");
    assert_eq!(scene.client.want_objects(scene.session, vec![chunk]).await.concat().len(), 1);
}

#[tokio::test]
async fn the_rules_of_a_space_lengthen_the_grace_and_shorten_it_to_a_week() {
    for (grace_days, days) in [(60, 60), (10, 10), (1, 7), (0, 7)] {
        let mut scene = Scene::new().await;
        stream_of!(stream, founder, scene, 1, 1);
        scene.push(stream.seal_many(5)).await;
        let rules = Body::Policy { rotation_days: 30, grace_days, endorse_k: 1, relays: Vec::new() };
        scene.publish(&rules).await;
        let body = checkpoint(&[], cut(&[&stream]), &[]);
        let id = scene.publish(&body).await;
        scene.endorse(id).await;
        scene.pass(days - 1).await;
        assert_eq!(scene.reach(&stream).await, Some((0, 5)), "{grace_days}");
        scene.pass(1).await;
        assert_eq!(scene.reach(&stream).await, Some((5, 5)), "{grace_days}");
    }
}

/// A machine that started with a clock years ahead, until somebody set it right.
#[tokio::test]
async fn a_grace_that_began_in_times_to_come_begins_anew() {
    let mut scene = Scene::new().await;
    stream_of!(stream, founder, scene, 1, 1);
    scene.push(stream.seal_many(5)).await;
    let body = checkpoint(&[], cut(&[&stream]), &[]);
    let id = scene.publish(&body).await;
    scene.clock.advance(DAY * 10_000);
    scene.endorse(id).await;
    scene.relay.look_after_spaces().await;
    scene.clock = Clock::standing_at(BEGIN_MS);
    let mut scene = scene.restart().await;
    scene.pass(29).await;
    assert_eq!(scene.reach(&stream).await, Some((0, 5)));
    scene.pass(1).await;
    assert_eq!(scene.reach(&stream).await, Some((5, 5)));
}

#[tokio::test]
async fn two_checkpoints_at_once_are_both_kept_until_one_continues_both() {
    let mut scene = Scene::new().await;
    stream_of!(one, founder, scene, 1, 1);
    stream_of!(two, other, scene, 1, 2);
    scene.push([one.seal_many(5), two.seal_many(5)].concat()).await;
    let early = [one.clone(), two.clone()];
    scene.push([one.seal_many(5), two.seal_many(5)].concat()).await;
    let chunks = [scene.chunk(1).await, scene.chunk(2).await, scene.chunk(3).await];
    let body = checkpoint(&[], cut(&[&one, &early[1]]), &[chunks[0], chunks[2]]);
    let first = scene.publish(&body).await;
    let body = checkpoint(&[], cut(&[&early[0], &two]), &[chunks[1], chunks[2]]);
    let second = scene.publish(&body).await;
    scene.endorse(first).await;
    scene.pass(10).await;
    scene.endorse(second).await;
    scene.pass(20).await;
    assert_eq!((scene.reach(&one).await, scene.reach(&two).await), (Some((10, 10)), Some((5, 10))));
    scene.pass(10).await;
    assert_eq!((scene.reach(&one).await, scene.reach(&two).await), (Some((10, 10)), Some((10, 10))), "never lower");
    let mut both = vec![first, second];
    both.sort_unstable();
    assert_eq!(scene.state(None).await.checkpoints, both);
    let held = scene.client.want_objects(scene.session, chunks.to_vec()).await.concat().len();
    assert_eq!(held, 3);

    scene.push([one.seal(), two.seal()].to_vec()).await;
    let body = checkpoint(&both, cut(&[&one, &two]), &[chunks[2]]);
    let third = scene.publish(&body).await;
    scene.endorse(third).await;
    scene.pass(30).await;
    assert_eq!(scene.state(None).await.checkpoints, [third]);
    let left = scene.client.want_objects(scene.session, chunks.to_vec()).await.concat();
    let left: Vec<EnvelopeId> = left.iter().map(|item| id_of(&scene.space.id, &item.envelope)).collect();
    assert_eq!(left, [chunks[2]], "what the new one does not name");
}

#[tokio::test]
async fn chunks_that_nothing_names_go_after_a_week_and_parts_when_a_checkpoint_leaves_them_out() {
    let mut scene = Scene::new().await;
    stream_of!(stream, founder, scene, 1, 1);
    let author = stream.clone();
    let part = |salt| author.object(Kind::BlobPart, salt, 400);
    let (named, unnamed) = (part(1), part(2));
    let parts = [&named, &unnamed].map(|part| id_of(&scene.space.id, part));
    let orphan = scene.chunk(1).await;
    scene.push(vec![named, unnamed]).await;
    let session = scene.session;
    scene.pass(6).await;
    assert_eq!(scene.client.want_objects(session, vec![orphan]).await.concat().len(), 1);
    // Brought again: somebody is about to name it.
    scene.chunk(1).await;
    scene.pass(6).await;
    assert_eq!(scene.client.want_objects(session, vec![orphan]).await.concat().len(), 1);
    scene.pass(2).await;
    assert!(scene.client.want_objects(session, vec![orphan]).await.is_empty());
    assert_eq!(metric(&scene.relay, "objects_dropped_total").await, 1);

    // Nobody has said yet which parts are needed.
    scene.pass(400).await;
    assert_eq!(scene.client.want_objects(session, parts.to_vec()).await.concat().len(), 2);
    scene.push(stream.seal_many(2)).await;
    let chunk = scene.chunk(2).await;
    let late = part(3);
    let late_id = id_of(&scene.space.id, &late);
    scene.push(vec![late]).await;
    let cut = cut(&[&stream]);
    let body =
        Body::Checkpoint { previous: vec![], cut, chunks: vec![chunk], blobs: vec![parts[0]], enc_manifest: vec![] };
    let id = scene.publish(&body).await;
    scene.pass(100).await;
    let wanted = vec![chunk, parts[0], parts[1], late_id];
    let held = scene.client.want_objects(session, wanted.clone()).await.concat().len();
    assert_eq!(held, 4, "what a checkpoint names stays, and nothing else is decided by one that has no effect");
    scene.endorse(id).await;
    scene.pass(30).await;
    let left = scene.client.want_objects(session, wanted).await.concat();
    let left: Vec<EnvelopeId> = left.iter().map(|item| id_of(&scene.space.id, &item.envelope)).collect();
    assert_eq!(left, [chunk, parts[0], late_id], "what came with the checkpoint may belong to what it does not hold");
    let bytes: usize = left.len() * (400 + 156);
    assert_eq!(scene.state(None).await.bytes, bytes as u64, "the quota is given back");
}

#[tokio::test]
async fn a_relay_that_lost_everything_takes_streams_from_their_floors_on() {
    let mut scene = Scene::new().await;
    stream_of!(stream, founder, scene, 1, 1);
    stream_of!(short, other, scene, 1, 2);
    let envelopes = stream.seal_many(5);
    scene.push([envelopes.clone(), short.seal_many(2)].concat()).await;
    let at = stream.clone();
    let chunk = stream.object(Kind::Chunk, 1, 400);
    let chunk_id = id_of(&scene.space.id, &chunk);
    let body = checkpoint(&[], cut(&[&at]), &[chunk_id]);
    let id = scene.publish(&body).await;
    scene.endorse(id).await;
    let above = stream.seal_many(3);

    let (dir, clock) = clock();
    let relay = start(&dir, &clock).await;
    let (mut client, session) = Client::found(&relay, &scene.space).await;
    let gap = PushStatus::Gap { expected: 1 };
    let status = async |client: &mut Client, envelopes: &[Vec<u8>]| {
        let results = client.push(session, envelopes.to_vec()).await;
        results.into_iter().map(|result| result.status).collect::<Vec<_>>()
    };
    // Not behind the floor, and not on another branch.
    assert_eq!(status(&mut client, &above[1..]).await, [gap, gap]);
    let mut branch = Stream { seq: 5, prev: [9; 32], ..at.clone() };
    assert_eq!(status(&mut client, &[branch.seal()]).await, [gap]);
    let mut forged = above[0].clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(status(&mut client, &[forged]).await, [PushStatus::BadSignature]);
    assert_eq!(reach(&mut client, session, &stream).await, None);
    assert_eq!(status(&mut client, &above).await, [PushStatus::Ok; 3]);
    assert_eq!(reach(&mut client, session, &stream).await, Some((5, 8)));
    assert_eq!(status(&mut client, &envelopes).await, [PushStatus::Dup; 5], "they lead to the floor");
    assert_eq!(client.want(session, all(&stream, 1, 8), Vec::new()).await.concat().len(), 3);
    let mut again = Stream { seq: 0, prev: [2; 32], ..short.clone() };
    assert_eq!(status(&mut client, &again.seal_many(2)).await, [PushStatus::Ok; 2], "from the beginning as ever");

    // Here the grace begins when the chunks are here.
    assert_eq!(status(&mut client, &[chunk]).await, [PushStatus::Ok]);
    pass(&relay, &clock, 29).await;
    assert!(state(&mut client, session, None).await.checkpoints.is_empty());
    pass(&relay, &clock, 1).await;
    assert_eq!(state(&mut client, session, None).await.checkpoints, [id]);
    assert_eq!(reach(&mut client, session, &stream).await, Some((5, 8)));
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..state(&mut client, session, None).await.log };
    let items = client.catch_up(&scene.space, session, &mut cursor).await;
    assert_eq!(items.len(), 5, "nothing was deleted, so the log still begins at 1");
    relay.shutdown().await;
    let relay = start(&dir, &clock).await;
    let (mut client, session) = Client::join(&relay, &scene.space, &scene.space.founder).await;
    assert_eq!(reach(&mut client, session, &stream).await, Some((5, 8)));
    assert_eq!(client.push(session, vec![stream.seal()]).await[0].status, PushStatus::Ok);
}

/// Nobody pushes what is below a floor, so a stream without anything above it never comes to a relay that is new.
#[tokio::test]
async fn a_stream_that_ended_long_ago_does_not_keep_a_new_relay_from_deleting() {
    let mut scene = Scene::new().await;
    stream_of!(stream, founder, scene, 1, 1);
    stream_of!(ended, other, scene, 1, 2);
    scene.push([stream.seal_many(5), ended.seal_many(2)].concat()).await;
    let body = checkpoint(&[], cut(&[&stream, &ended]), &[]);
    let first = scene.publish(&body).await;
    scene.endorse(first).await;
    let above = stream.seal_many(3);
    scene.push(above.clone()).await;
    let body = checkpoint(&[first], cut(&[&stream, &ended]), &[]);
    let second = scene.publish(&body).await;
    scene.endorse(second).await;

    let (dir, clock) = clock();
    let relay = start(&dir, &clock).await;
    let (mut client, session) = Client::found(&relay, &scene.space).await;
    assert!(client.push(session, above).await.iter().all(|result| result.status == PushStatus::Ok));
    pass(&relay, &clock, 30).await;
    assert_eq!(state(&mut client, session, None).await.checkpoints, [second]);
    assert_eq!(reach(&mut client, session, &stream).await, Some((8, 8)));
    assert_eq!(reach(&mut client, session, &ended).await, None, "nothing is said of what never was here");
}

#[tokio::test]
async fn a_floor_that_somebody_objects_to_lets_no_stream_begin() {
    let mut scene = Scene::new().await;
    stream_of!(stream, founder, scene, 1, 1);
    stream.seal_many(5);
    let body = checkpoint(&[], cut(&[&stream]), &[]);
    let id = scene.publish(&body).await;
    let friend = Device::new(2);
    let word = objection(id, &stream);
    say(&mut scene.client, scene.session, &mut scene.space, &friend, &word).await;
    let result = scene.client.push(scene.session, vec![stream.seal()]).await;
    assert_eq!(result[0].status, PushStatus::Gap { expected: 1 });
    // The accepted twin: who objected is gone.
    let body = removal(&friend);
    scene.publish(&body).await;
    let mut stream = Stream { seq: 5, prev: floor_of(&scene.space, id).0, ..stream };
    assert!(scene.client.push(scene.session, vec![stream.seal()]).await[0].status.is_stored());
}

fn floor_of(space: &Space, checkpoint: RecordId) -> EnvelopeId {
    let record = space.records.iter().find(|record| record.id() == checkpoint).unwrap();
    let Body::Checkpoint { cut, .. } = record.body() else { panic!("not a checkpoint") };
    cut[0].id
}

/// What the removal would cut off is in the checkpoint already.
#[tokio::test]
async fn a_removal_that_cuts_below_a_floor_is_taken_and_one_below_what_is_above_it_is_not() {
    for above in [0, 2] {
        let mut scene = Scene::new().await;
        let friend = Device::new(2);
        let mut stream = scene.space.stream(&friend, 1);
        scene.push(stream.seal_many(3)).await;
        let seen = stream.clone();
        scene.push(stream.seal_many(7)).await;
        let body = checkpoint(&[], cut(&[&stream]), &[]);
        let id = scene.publish(&body).await;
        scene.endorse(id).await;
        scene.pass(30).await;
        scene.push(stream.seal_many(above)).await;
        let cuts = vec![Cut { stream: seen.id, seq: seen.seq, id: seen.prev.into() }];
        let body = Body::DeviceRemove { device: friend.pk, reason: RemoveReason::Lost, cuts };
        let record = scene.space.append(&body);
        let status = scene.client.bring(scene.session, &record).await;
        assert_eq!(status, if above == 0 { RecordStatus::Ok } else { RecordStatus::CutBehind });
    }
}

on_a_folder_only! {
    /// 2,000 envelopes and what holds all of them: the file and the quota shrink to what is left.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_file_and_the_quota_shrink_to_what_a_checkpoint_leaves() {
        let mut scene = Scene::new().await;
        stream_of!(stream, founder, scene, 1, 1);
        for _ in 0..40 {
            let envelopes: Vec<Vec<u8>> = (0..50).map(|_| stream.seal_sized(1_040)).collect();
            scene.push(envelopes).await;
        }
        let peak = scene.state(None).await.bytes;
        let mut scene = scene.restart().await;
        let file_peak = file_bytes(&scene.dir);
        assert!(file_peak > peak && peak > 2_000_000, "{file_peak} {peak}");
        let mut chunks = Vec::new();
        for salt in 0..4 {
            chunks.push(scene.chunk(salt).await);
        }
        let body = checkpoint(&[], cut(&[&stream]), &chunks);
        let id = scene.publish(&body).await;
        scene.endorse(id).await;
        scene.pass(30).await;
        assert_eq!(metric(&scene.relay, "envelopes_pruned_total").await, 2_000);
        let left = scene.state(None).await.bytes;
        assert_eq!(left, 4 * (400 + 156));
        let Scene { relay, dir, .. } = scene;
        relay.shutdown().await;
        let file_left = file_bytes(&dir);
        println!("file {file_peak} -> {file_left}, quota {peak} -> {left}");
        assert!(file_left * 100 < file_peak * 15, "{file_left} of {file_peak}");
    }

    /// Bytes of the database file, with everything in it that is in its write-ahead log.
    fn file_bytes(dir: &TempDir) -> u64 {
        let file = dir.path().join("relay.db");
        let db = rusqlite::Connection::open(&file).unwrap();
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        std::fs::metadata(&file).unwrap().len()
    }
}

/// Stopped without a goodbye while it deletes, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_dies_while_it_deletes_goes_on_where_it_was() {
    let mut scene = Scene::new().await;
    stream_of!(stream, founder, scene, 1, 1);
    for _ in 0..150 {
        let envelopes = stream.seal_many(64);
        scene.push(envelopes).await;
    }
    let at = stream.clone();
    scene.push(stream.seal_many(3)).await;
    let body = checkpoint(&[], cut(&[&at]), &[]);
    let id = scene.publish(&body).await;
    scene.endorse(id).await;
    scene.pass(29).await;
    let Scene { relay, dir, clock, space, .. } = scene;
    drop(relay);
    clock.advance(DAY);
    let (mut deaths, mut left) = (0, u64::MAX);
    while left > 3 {
        // A look that was cut short is tried again after an hour.
        clock.advance(Duration::from_secs(3_601));
        let relay = start(&dir, &clock).await;
        while metric(&relay, "envelopes_pruned_total").await == 0 {}
        drop(relay);
        deaths += 1;
        left = stats(dir.path()).await.envelopes;

        // Not due for another hour: what it left behind is looked at in peace.
        let relay = start(&dir, &clock).await;
        let (mut client, session) = Client::join(&relay, &space, &space.founder).await;
        assert_eq!(reach(&mut client, session, &stream).await, Some((150 * 64, 150 * 64 + 3)));
        let state = state(&mut client, session, None).await;
        assert_eq!((state.checkpoints, state.cursor_ok, state.bytes), (vec![id], false, left * 428));
        assert_eq!(client.want(session, all(&stream, 1, u32::MAX), Vec::new()).await.concat().len(), 3);
        relay.shutdown().await;
    }
    assert!(deaths > 1, "nothing was interrupted");
    println!("{deaths} deaths");
    let relay = start(&dir, &clock).await;
    let (mut client, session) = Client::join(&relay, &space, &space.founder).await;
    assert_eq!(client.push(session, vec![stream.seal()]).await[0].status, PushStatus::Ok);
    assert_eq!(state(&mut client, session, None).await.bytes, 4 * 428);
}
