//! The writer thread's work without the thread: full disks, poisoned jobs, damaged logs.

use lifeos_sync_protocol::ids::Roll;
use tempfile::TempDir;

use super::*;
use crate::store::{DATABASE_FILE, Seen, open_for_reading, open_for_writing};
use lifeos_sync_protocol::ids::{EnvelopeId, RecordId, SignPk, StreamId};

const STREAM: StreamId = StreamId([1; 16]);

struct Bench {
    dir: TempDir,
    committer: Committer,
    space: Arc<Space>,
    seq: u32,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::Sqlite(open_for_writing(&dir.path().join(DATABASE_FILE)).unwrap());
        let mut committer = Committer::new(db, &Limits::default(), Arc::default(), Arc::default());
        let (job, stored) = records(RecordTarget::New(SpaceId::ZERO, LogId::ZERO));
        committer.commit(vec![job]);
        let Recorded::Stored(no) = stored.recv().unwrap().unwrap() else { panic!("not stored") };
        let space = Space::bare(no);
        Self { dir, committer, space, seq: 0 }
    }

    fn id(seq: u32) -> EnvelopeId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&seq.to_be_bytes());
        EnvelopeId(id)
    }

    /// The next envelopes of the stream, without moving on.
    fn run(&self, count: u32, bytes: usize) -> Run {
        let envelopes = (self.seq + 1..=self.seq + count).map(|seq| Sealed {
            index: (seq - self.seq - 1) as usize,
            id: Self::id(seq),
            seq,
            prev: Self::id(seq - 1).0,
            stale: false,
            bytes: vec![7; bytes],
        });
        Run { stream: STREAM, device: SignPk::ZERO, vouched: false, begins: None, envelopes: envelopes.collect() }
    }

    fn push(&mut self, count: u32, bytes: usize) -> Result<Vec<PushResult>, StoreError> {
        let run = self.run(count, bytes);
        let (job, done) = push(&self.space, vec![run], count);
        self.committer.commit(vec![job]);
        let result = done.recv().unwrap();
        if result.as_ref().is_ok_and(|results| results.iter().all(|result| result.status.is_stored())) {
            self.seq += count;
        }
        result
    }

    fn limit_pages(&self, pages: i64) {
        self.committer.db.sqlite().pragma_update(None, "max_page_count", pages).unwrap();
    }

    fn stored(&self) -> i64 {
        let reader = open_for_reading(&self.dir.path().join(DATABASE_FILE)).unwrap();
        reader.query_row("SELECT count(*) FROM envelope", [], |row| row.get(0)).unwrap()
    }
}

fn push(space: &Arc<Space>, runs: Vec<Run>, count: u32) -> (Job, mpsc::Receiver<Result<Vec<PushResult>, StoreError>>) {
    let (done, result) = mpsc::channel();
    let reply = Box::new(move |results| done.send(results).unwrap());
    let results = vec![PushResult { status: PushStatus::BadFormat, pos: None }; count as usize];
    let (space, view, pusher) = (Arc::clone(space), space.view(), SignPk::ZERO);
    let (objects, now_ms) = (Vec::new(), 0);
    (Job::Push(PushJob { space, view, pusher, runs, objects, now_ms, receipt: None, results, bytes: 0, reply }), result)
}

fn records(target: RecordTarget) -> (Job, mpsc::Receiver<Result<Recorded, StoreError>>) {
    let (done, result) = mpsc::channel();
    let reply = Box::new(move |stored| done.send(stored).unwrap());
    let (records, doors, lowered) = (Vec::new(), Doors::default(), Vec::new());
    let (checkpoints, view, seen, now_ms) = (Vec::new(), None, Seen::default(), 0);
    (Job::Records(RecordJob { target, records, doors, lowered, checkpoints, view, seen, now_ms, reply }), result)
}

#[test]
fn a_full_disk_refuses_pushes_keeps_reads_and_ends_by_itself() {
    let mut bench = Bench::new();
    bench.push(3, 500).unwrap();
    let pages: i64 = bench.committer.db.sqlite().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    bench.limit_pages(pages + 1);
    assert_eq!(bench.push(60, 4_000), Err(StoreError::Unavailable));
    assert_eq!(bench.committer.metrics.storage_unavailable.value(), 1);
    assert_eq!(bench.stored(), 3);
    assert_eq!(bench.space.live().end().pos, 4, "nothing of a failed commit may be told");

    bench.limit_pages(1_000_000);
    let results = bench.push(60, 4_000).unwrap();
    assert_eq!(results.first().map(|result| result.pos), Some(Some(4)));
    assert_eq!(bench.committer.metrics.storage_unavailable.value(), 0);
    assert_eq!(bench.stored(), 63);
    assert_eq!(bench.space.live().end().pos, 64);
}

#[test]
fn a_job_that_the_database_refuses_does_not_take_others_with_it() {
    let mut bench = Bench::new();
    let (first, first_done) = push(&bench.space, vec![bench.run(2, 10)], 2);
    // A space that is not there: its log cannot be loaded.
    let nowhere = Space::bare(77);
    let (poison, poison_done) = push(&nowhere, vec![bench.run(1, 10)], 1);
    bench.seq = 2;
    let (last, last_done) = push(&bench.space, vec![bench.run(2, 10)], 2);
    bench.committer.commit(vec![first, poison, last]);
    assert_eq!(first_done.recv().unwrap().unwrap()[1].pos, Some(2));
    assert_eq!(poison_done.recv().unwrap(), Err(StoreError::Database));
    assert_eq!(last_done.recv().unwrap().unwrap()[1].pos, Some(4));
}

#[test]
fn one_commit_serves_all_jobs_that_wait() {
    let mut bench = Bench::new();
    let before = bench.committer.metrics.commits_total.value();
    let mut waiting = Vec::new();
    let mut done = Vec::new();
    for _ in 0..50 {
        let (job, result) = push(&bench.space, vec![bench.run(1, 100)], 1);
        bench.seq += 1;
        waiting.push(job);
        done.push(result);
    }
    bench.committer.commit(waiting);
    for (index, result) in done.iter().enumerate() {
        assert_eq!(result.recv().unwrap().unwrap()[0].pos, Some(index as u64 + 1));
    }
    assert_eq!(bench.committer.metrics.commits_total.value(), before + 1);
}

#[test]
fn a_log_that_lost_its_end_is_not_continued() {
    let mut bench = Bench::new();
    bench.push(3, 10).unwrap();
    bench.committer.logs.clear();
    bench.committer.db.sqlite().execute("DELETE FROM envelope WHERE seq = 3", []).unwrap();
    assert_eq!(bench.push(1, 10), Err(StoreError::Corrupt));
    let damaged = Roll([1; 16]);
    bench.committer.db.sqlite().execute("UPDATE space SET next_pos = 3, roll = ?1", [damaged.as_ref()]).unwrap();
    assert_eq!(bench.push(1, 10), Err(StoreError::Corrupt));
}

/// A view in which the writer of [`STREAM`] was removed with a cut, and another device writes.
fn removed(space: SpaceId, cut: u32) -> View {
    use lifeos_sync_protocol::ids::{HpkePk, MemberId};
    use lifeos_sync_protocol::membership::{Device, Member, Membership, Rank, StreamPoint};
    use lifeos_sync_protocol::record::{DeviceKind, Role};
    let mut membership = Membership::empty(space, [0; 32]);
    let member = MemberId([4; 16]);
    let rank = Rank::granted(Role::Editor, 1, RecordId::ZERO);
    membership.members.insert(member, Member { role: Role::Editor, devices: [OTHER].into(), rank });
    let enrolled = |member| Device::enrolled(member, HpkePk([0; 32]), DeviceKind::Normal, RecordId::ZERO);
    membership.devices.insert(OTHER, enrolled(member));
    let point = StreamPoint { seq: cut, id: Bench::id(cut) };
    let gone = Device {
        removed_by: Some(RecordId([1; 32])),
        cuts: Some([(STREAM, point)].into()),
        ..enrolled(MemberId([5; 16]))
    };
    membership.devices.insert(SignPk::ZERO, gone);
    View::new(membership)
}

const OTHER: SignPk = SignPk([7; 32]);

#[test]
fn a_push_that_was_checked_before_a_removal_is_checked_again_after_it() {
    let mut bench = Bench::new();
    bench.push(2, 10).unwrap();
    let (late, late_done) = push(&bench.space, vec![bench.run(2, 10)], 2);
    let (mut vouched, vouched_done) = push(&bench.space, vec![bench.run(2, 10)], 2);
    if let Job::Push(job) = &mut vouched {
        job.pusher = OTHER;
    }
    bench.space.put_in_force(Arc::new(removed(bench.space.id, 2)), &[], None);
    bench.committer.commit(vec![late]);
    let statuses = late_done.recv().unwrap().unwrap();
    assert!(statuses.iter().all(|result| result.status == PushStatus::Removed), "{statuses:?}");
    assert_eq!(bench.stored(), 2);
    // The accepted twin: on the word of somebody who writes, and marked as such.
    bench.committer.commit(vec![vouched]);
    assert!(vouched_done.recv().unwrap().unwrap().iter().all(|result| result.status == PushStatus::Ok));
    let flags = "SELECT group_concat(flags & 2 > 0) FROM (SELECT flags FROM envelope ORDER BY key)";
    let flags: String = bench.committer.db.sqlite().query_row(flags, [], |row| row.get(0)).unwrap();
    assert_eq!(flags, "0,0,1,1");
}

#[test]
fn a_removal_that_cuts_behind_what_is_stored_is_not_stored() {
    let mut bench = Bench::new();
    bench.push(3, 10).unwrap();
    let mut remove = |end| {
        let (mut job, done) = records(RecordTarget::Existing(Arc::clone(&bench.space)));
        if let Job::Records(job) = &mut job {
            job.lowered = vec![(STREAM, end), (StreamId([9; 16]), 0)];
            job.records = vec![(RecordId([end as u8; 32]), vec![1])];
        }
        bench.committer.commit(vec![job]);
        done.recv().unwrap().unwrap()
    };
    assert_eq!(remove(2), Recorded::CutBehind(vec![STREAM]));
    assert_eq!(remove(3), Recorded::Stored(1));
    let count: i64 =
        bench.committer.db.sqlite().query_row("SELECT count(*) FROM record", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn nothing_follows_records_in_their_own_commit() {
    let bench = Bench::new();
    let (jobs, queue) = mpsc::channel();
    let job = || push(&bench.space, Vec::new(), 0).0;
    jobs.send(records(RecordTarget::Existing(Arc::clone(&bench.space))).0).unwrap();
    jobs.send(job()).unwrap();
    assert_eq!(bench.committer.take_waiting(job(), &queue).len(), 2);
    let last = queue.recv().unwrap();
    assert!(matches!(last, Job::Push(_)));
    assert_eq!(bench.committer.take_waiting(records(RecordTarget::Existing(Space::bare(1))).0, &queue).len(), 1);
}
