//! The writer thread's work without the thread: full disks, poisoned jobs, damaged logs.

use lifeos_sync_protocol::ids::Roll;
use tempfile::TempDir;

use super::*;
use crate::store::{DATABASE_FILE, open_for_reading, open_for_writing};

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
        let db = open_for_writing(&dir.path().join(DATABASE_FILE)).unwrap();
        let limits = Limits::default();
        let mut committer = Committer { db, logs: HashMap::new(), limits, metrics: Arc::default() };
        let (job, stored) = records(RecordTarget::New(SpaceId::ZERO, LogId::ZERO));
        committer.commit(vec![job]);
        let space = Space::bare(stored.recv().unwrap().unwrap());
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
        Run { stream: STREAM, device: SignPk::ZERO, vouched: false, envelopes: envelopes.collect() }
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
        self.committer.db.pragma_update(None, "max_page_count", pages).unwrap();
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
    (Job::Push(PushJob { space: Arc::clone(space), runs, results, bytes: 0, reply }), result)
}

fn records(target: RecordTarget) -> (Job, mpsc::Receiver<Result<i64, StoreError>>) {
    let (done, result) = mpsc::channel();
    let reply = Box::new(move |stored| done.send(stored).unwrap());
    (Job::Records(RecordJob { target, records: Vec::new(), readers: Vec::new(), reply }), result)
}

#[test]
fn a_full_disk_refuses_pushes_keeps_reads_and_ends_by_itself() {
    let mut bench = Bench::new();
    bench.push(3, 500).unwrap();
    let pages: i64 = bench.committer.db.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
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
    bench.committer.db.execute("DELETE FROM envelope WHERE seq = 3", []).unwrap();
    assert_eq!(bench.push(1, 10), Err(StoreError::Corrupt));
    let damaged = Roll([1; 16]);
    bench.committer.db.execute("UPDATE space SET next_pos = 3, roll = ?1", [damaged.as_ref()]).unwrap();
    assert_eq!(bench.push(1, 10), Err(StoreError::Corrupt));
}
