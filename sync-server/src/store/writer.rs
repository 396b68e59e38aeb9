//! The writer thread: takes every job that waits, validates it against the tips, and makes all of them durable
//! with one commit.
//!
//! ```text
//! recv ─ one job, and all others that wait (≤ 1024, ≤ 4 MiB)
//!   BEGIN IMMEDIATE … COMMIT            one fsync
//!   publish                             NOTIFY, per space, in log order
//!   answers                             PUSH_ACK, REC_ACK
//! ```
//!
//! While the thread is in its fsync the next jobs queue up, so the batch grows with the load by itself.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use lifeos_sync_protocol::frame::{Item, PushResult, PushStatus};
use lifeos_sync_protocol::ids::{LogId, Roll, SpaceId};
use lifeos_sync_protocol::log::roll_next;
use lifeos_sync_protocol::membership::StreamPoint;
use tokio::sync::Notify;

use super::db::Db;
use super::follow::{self, Held};
use super::job::{Doors, Job, PushJob, RecordJob, RecordTarget, Recorded, Run, Sealed};
use super::log::{Log, Step, Used, signed, step};
use super::object;
use super::prune::{self, TendJob, TendReply, Tended};
use super::wakeup::{self, WakeupJob, WakeupReply, WakeupWork, Waking};
use super::{SPACE_NO_MAX, Seen, StoreError, position_key};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::space::{Place, Published, Space, View};

/// `envelope.flags`: pages and NOTIFY may end here.
pub(super) const FLAG_VERIFIED_END: i64 = 1;
/// `envelope.flags`: pushed by another writer after its author had lost the right to write.
const FLAG_VOUCHED: i64 = 2;
/// Logs kept in memory; beyond that all are dropped and loaded again as they are needed.
const LOGS_CACHED_MAX: usize = 4_096;
/// Streams whose tips are kept per log.
const TIPS_CACHED_MAX: usize = 4_096;

/// The writer thread and the way to it.
pub(crate) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    stopping: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
    #[cfg(feature = "simulation")]
    inline: Option<simulated::Inline>,
}

impl Writer {
    /// Starts the thread. It owns the folder's lock, if there is one: the folder is free when the thread has ended.
    /// `written` is told of commits that other relays do not know of.
    pub(super) fn start(
        db: Db,
        lock: Option<File>,
        limits: &Limits,
        metrics: Arc<Metrics>,
        written: Arc<Notify>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let mut committer = Committer::new(db, limits, metrics, written);
        #[cfg(feature = "simulation")]
        if crate::simulation::is_on() {
            let inline = Some(simulated::Inline::new(committer, queue, lock));
            return Self { jobs: Mutex::new(Some(jobs)), stopping, thread: Mutex::new(None), inline };
        }
        let stop = Arc::clone(&stopping);
        let thread = std::thread::Builder::new().name("relay-writer".into()).spawn(move || {
            committer.run(&queue, &stop);
            drop(committer);
            drop(lock);
        });
        if let Err(error) = &thread {
            tracing::error!(%error, "cannot start the writer thread; every push will be refused");
        }
        Self {
            jobs: Mutex::new(Some(jobs)),
            stopping,
            thread: Mutex::new(thread.ok()),
            #[cfg(feature = "simulation")]
            inline: None,
        }
    }

    /// Queues a job. Its size is bounded by who submits: bytes in flight are counted before validation.
    pub(super) fn submit(&self, job: Job) {
        let sender = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refused = match sender {
            Some(sender) => sender.send(job).err().map(|error| error.0),
            None => Some(job),
        };
        if let Some(job) = refused {
            job.refuse(StoreError::Stopped);
        }
        #[cfg(feature = "simulation")]
        if let Some(inline) = &self.inline {
            inline.wake();
        }
    }

    /// Whether the thread is there: without it nothing is ever stored again.
    pub(super) fn is_running(&self) -> bool {
        #[cfg(feature = "simulation")]
        if let Some(inline) = &self.inline {
            return inline.is_there();
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops the thread after the commit it is in, and waits for it.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        #[cfg(feature = "simulation")]
        if let Some(inline) = &self.inline {
            inline.end();
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the writer thread ended in a panic");
        }
    }
}

#[cfg(feature = "simulation")]
mod simulated {
    //! The writer without its thread: a task commits what waits when it gets its turn.

    use std::fs::File;
    use std::sync::{Arc, Mutex, PoisonError, mpsc};

    use super::{Committer, Job};

    type Parts = (Committer, mpsc::Receiver<Job>, Option<File>);

    pub(super) struct Inline(Arc<Mutex<Option<Parts>>>);

    impl Inline {
        pub(super) fn new(committer: Committer, queue: mpsc::Receiver<Job>, lock: Option<File>) -> Self {
            Self(Arc::new(Mutex::new(Some((committer, queue, lock)))))
        }

        pub(super) fn wake(&self) {
            let parts = Arc::clone(&self.0);
            tokio::spawn(async move {
                if let Some((committer, queue, _)) = &mut *parts.lock().unwrap_or_else(PoisonError::into_inner) {
                    committer.run_waiting(queue);
                }
            });
        }

        pub(super) fn is_there(&self) -> bool {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
        }

        pub(super) fn end(&self) {
            drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What a job did to the transaction it was part of.
enum Outcome {
    Push { appended: Vec<(usize, Appended)>, objects: Used, receipt: Option<Vec<u8>> },
    Records(Recorded),
    Tend(Tended),
    Wakeup(Waking),
    Followed,
}

/// Where an envelope of a push went: run, envelope in it, position, roll, end of run.
struct Appended {
    envelope: usize,
    pos: u64,
    roll: lifeos_sync_protocol::ids::Roll,
    end: bool,
}

struct Committer {
    db: Db,
    logs: HashMap<i64, Log>,
    /// The spaces of this transaction, where other relays write too.
    held: Vec<Held>,
    limits: Limits,
    metrics: Arc<Metrics>,
    written: Arc<Notify>,
}

impl Committer {
    fn new(db: Db, limits: &Limits, metrics: Arc<Metrics>, written: Arc<Notify>) -> Self {
        Self { db, logs: HashMap::new(), held: Vec::new(), limits: limits.clone(), metrics, written }
    }

    fn run(&mut self, queue: &mpsc::Receiver<Job>, stopping: &AtomicBool) {
        while let Ok(first) = queue.recv() {
            if stopping.load(Ordering::Acquire) {
                first.refuse(StoreError::Stopped);
                continue;
            }
            let batch = self.take_waiting(first, queue);
            self.commit(batch);
        }
    }

    /// Commits all that waits, and returns.
    #[cfg(feature = "simulation")]
    fn run_waiting(&mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(first) = queue.try_recv() {
            let batch = self.take_waiting(first, queue);
            self.commit(batch);
        }
    }

    fn take_waiting(&self, first: Job, queue: &mpsc::Receiver<Job>) -> Vec<Job> {
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        // Records come into force when they are durable, so nothing may follow them in their own commit.
        while batch.len() < self.limits.commit_jobs_max
            && bytes < self.limits.commit_bytes_max
            && !matches!(batch.last(), Some(Job::Records(_)))
        {
            let Ok(job) = queue.try_recv() else { break };
            bytes += job.bytes();
            batch.push(job);
        }
        batch
    }

    fn commit(&mut self, mut batch: Vec<Job>) {
        let started = Instant::now();
        match self.transact(&mut batch) {
            Ok(outcomes) => {
                self.metrics.committed(batch.len(), started.elapsed());
                self.answer(batch, outcomes);
            }
            Err(error) => self.recover(batch, error),
        }
    }

    /// Nothing of the batch is stored. A job that the database itself refuses must not take the others with it,
    /// so they are tried one by one; when the disk is the reason that would only waste time.
    fn recover(&mut self, batch: Vec<Job>, error: StoreError) {
        self.logs.clear();
        self.metrics.commits_failed_total.increment();
        if batch.len() > 1 && error != StoreError::Unavailable {
            for job in batch {
                self.commit(vec![job]);
            }
            return;
        }
        if error == StoreError::Unavailable {
            self.metrics.storage_unavailable.set(1);
        }
        for job in batch {
            job.refuse(error);
        }
    }

    fn transact(&mut self, batch: &mut [Job]) -> Result<Vec<Outcome>, StoreError> {
        self.db.begin()?;
        let done = self.hold(batch).and_then(|()| self.write(batch));
        let result = done.and_then(|outcomes| self.db.commit().map(|()| outcomes));
        if result.is_err() {
            self.db.roll_back()?;
        }
        result
    }

    /// Where other relays write too: has their writers wait, forgets what is over, and catches up with what they wrote.
    fn hold(&mut self, batch: &[Job]) -> Result<(), StoreError> {
        self.held.clear();
        if !self.db.is_shared() {
            return Ok(());
        }
        self.held = follow::hold(&self.db, batch)?;
        for held in &self.held {
            if self.logs.get(&held.no).is_some_and(|log| log.version != held.version) {
                self.logs.remove(&held.no);
            }
        }
        Ok(())
    }

    /// Whether the membership of a space that is known here is not the one in force.
    fn is_behind(&self, space_no: i64) -> bool {
        self.held.iter().any(|held| held.no == space_no && held.is_behind)
    }

    fn write(&mut self, batch: &mut [Job]) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(batch.len());
        // Once per commit: a commit is small against any sensible limit.
        let full = self.db.is_full(self.limits.database_bytes_max)?;
        for job in batch.iter_mut() {
            outcomes.push(match job {
                Job::Push(job) => {
                    let appended = self.push(job, full)?;
                    let objects = self.push_objects(job, full)?;
                    Outcome::Push { appended, objects, receipt: store_receipt(&self.db, job)? }
                }
                Job::Records(job) => Outcome::Records(self.append_records(job)?),
                Job::Tend(job) if self.is_behind(job.space.no) => Outcome::Tend(Tended::default()),
                Job::Tend(job) => {
                    let (db, _, log) = self.log(job.space.no)?;
                    Outcome::Tend(prune::tend(db, log, job)?)
                }
                Job::Wakeup(job) => Outcome::Wakeup(self.wakeup(job)?),
                Job::Follow(_) => Outcome::Followed,
            });
        }
        for job in batch {
            if let Job::Push(PushJob { space, .. }) | Job::Tend(TendJob { space, .. }) = job
                && let Some(log) = self.logs.get_mut(&space.no)
            {
                log.save(&self.db)?;
            }
        }
        for held in self.held.iter_mut().filter(|held| held.is_written) {
            held.mark(&self.db)?;
            if let Some(log) = self.logs.get_mut(&held.no) {
                log.version = held.version;
            }
        }
        Ok(outcomes)
    }

    fn log(&mut self, space_no: i64) -> Result<(&Db, &Limits, &mut Log), StoreError> {
        if self.logs.len() >= LOGS_CACHED_MAX && !self.logs.contains_key(&space_no) {
            self.drop_clean_logs();
        }
        let log = match self.logs.entry(space_no) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let mut log = Log::load(&self.db, space_no)?;
                log.version = self.held.iter().find(|held| held.no == space_no).map_or(0, |held| held.version);
                entry.insert(log)
            }
        };
        Ok((&self.db, &self.limits, log))
    }

    fn push(&mut self, job: &mut PushJob, full: bool) -> Result<Vec<(usize, Appended)>, StoreError> {
        if self.is_behind(job.space.no) {
            // Told to come again: by then it is known who may write.
            job.results.iter_mut().for_each(|result| *result = PushResult { status: PushStatus::Rate, pos: None });
            job.objects.clear();
            job.receipt = None;
            return Ok(Vec::new());
        }
        let (db, limits, log) = self.log(job.space.no)?;
        if log.streams.len() > TIPS_CACHED_MAX {
            log.streams.retain(|_, tip| tip.dirty);
        }
        let view = job.space.view();
        if !Arc::ptr_eq(&view, &job.view) {
            check_again(&view, job);
        }
        let mut appended = Vec::new();
        for (index, run) in job.runs.iter().enumerate() {
            if job.space.is_held(&run.device) {
                run.envelopes.iter().for_each(|envelope| set(&mut job.results, envelope, PushStatus::Rate, None));
                continue;
            }
            let fits = |log: &Log, more: Used| {
                !full
                    && log.held().fits(more, limits.space_bytes_max, limits.space_envelopes_max)
                    && log.held_by(view.siblings(&run.device)).fits(
                        more,
                        limits.member_bytes_max,
                        limits.member_envelopes_max,
                    )
            };
            let stored = append_run(db, log, run, &mut job.results, fits)?;
            appended.extend(stored.into_iter().map(|stored| (index, stored)));
        }
        if log.has_waiting && !appended.is_empty() {
            log.call_for_look(0);
        }
        if log.has_targets && !appended.is_empty() {
            wakeup::note_stored(db, &job.space, &job.pusher)?;
        }
        Ok(appended)
    }

    fn wakeup(&mut self, job: &WakeupJob) -> Result<Waking, StoreError> {
        let (db, limits, log) = self.log(job.space_no)?;
        log.has_targets |= matches!(job.work, WakeupWork::Keep { .. });
        wakeup::perform(db, job, log.next_pos, limits)
    }

    /// After [`Self::push`], which has checked the whole job again if that was due.
    fn push_objects(&mut self, job: &mut PushJob, full: bool) -> Result<Used, StoreError> {
        if job.objects.is_empty() {
            return Ok(Used::default());
        }
        let (db, limits, log) = self.log(job.space.no)?;
        object::store(db, log, job, limits, full)
    }

    fn append_records(&mut self, job: &RecordJob) -> Result<Recorded, StoreError> {
        if let RecordTarget::Existing(space) = &job.target {
            if self.held.iter().any(|held| held.no == space.no && held.seen != job.seen) {
                return Ok(Recorded::Behind);
            }
            let (db, _, log) = self.log(space.no)?;
            let mut behind = Vec::new();
            for (stream, end) in &job.lowered {
                // What is below the floor counts as part of a checkpoint: no removal cuts it off.
                if log.tip(db, stream)?.is_some_and(|tip| tip.seq > (*end).max(tip.floor.seq)) {
                    behind.push(*stream);
                }
            }
            if !behind.is_empty() {
                return Ok(Recorded::CutBehind(behind));
            }
        }
        let no = append_records(&self.db, job)?;
        if self.db.is_shared() && matches!(job.target, RecordTarget::New(..)) {
            self.held.push(Held::new(no));
        }
        wakeup::keep_readers_only(&self.db, no, job.view.as_deref())?;
        prune::note_records(&self.db, no, &job.checkpoints, job.view.as_deref(), job.now_ms)?;
        if let Some(log) = self.logs.get_mut(&no) {
            log.has_waiting |= !job.checkpoints.is_empty();
        }
        Ok(Recorded::Stored(no))
    }

    fn drop_clean_logs(&mut self) {
        self.logs.retain(|_, log| log.dirty);
    }

    /// After the commit: the log's end moves first, so that a device may PULL from behind the position that its
    /// acknowledgement names.
    fn answer(&mut self, batch: Vec<Job>, outcomes: Vec<Outcome>) {
        for held in self.held.iter().filter(|held| held.is_written) {
            // Records of others that could not be taken in are not known yet.
            let seen = if held.is_behind { Seen { record: 0, ..held.seen } } else { held.seen };
            held.space.iter().for_each(|space| space.saw(seen));
            self.written.notify_one();
        }
        let mut published: Vec<(Arc<Space>, Vec<Published>)> = Vec::new();
        let mut acknowledgements = Vec::with_capacity(batch.len());
        let mut recorded_last = None;
        let mut tended_all: Vec<(TendReply, Tended)> = Vec::new();
        let mut waking_all: Vec<(WakeupReply, Waking)> = Vec::new();
        for (job, outcome) in batch.into_iter().zip(outcomes) {
            match (job, outcome) {
                (Job::Push(job), Outcome::Push { appended, objects, receipt }) => {
                    self.count(&job.results, appended.len());
                    self.metrics.objects_stored_total.add(objects.objects);
                    self.metrics.object_bytes_stored_total.add(objects.bytes);
                    job.space.add_bytes(objects.bytes);
                    if let Some(receipt) = receipt {
                        job.space.live().publish_receipt(&receipt, &job.pusher);
                    }
                    self.collect(job.space, job.runs, appended, &mut published);
                    acknowledgements.push((job.reply, job.results));
                }
                (Job::Records(job), Outcome::Records(recorded)) => {
                    if let Recorded::Stored(_) = recorded {
                        self.metrics.records_stored_total.add(job.records.len() as u64);
                    }
                    recorded_last = Some((job.reply, recorded));
                }
                (Job::Tend(job), Outcome::Tend(tended)) => {
                    self.metrics.pruned(tended.gone);
                    job.space.take_bytes(tended.gone.bytes);
                    tended_all.push((job.reply, tended));
                }
                (Job::Wakeup(job), Outcome::Wakeup(waking)) => waking_all.push((job.reply, waking)),
                (Job::Follow(job), Outcome::Followed) => {
                    let is_done = !self.is_behind(job.space.no);
                    (job.reply)(is_done);
                }
                _ => tracing::error!("an outcome of another job"),
            }
        }
        for (space, items) in published {
            space.publish(items);
        }
        for (reply, results) in acknowledgements {
            reply(Ok(results));
        }
        for (reply, tended) in tended_all {
            reply(Ok(tended));
        }
        for (reply, waking) in waking_all {
            reply(Ok(waking));
        }
        // What was pushed before a removal is told before it.
        if let Some((reply, recorded)) = recorded_last {
            reply(Ok(recorded));
        }
        // A space that everybody has left goes out of memory.
        self.held.clear();
    }

    fn count(&self, results: &[PushResult], stored: usize) {
        let refused = results.iter().filter(|result| !result.status.is_stored()).count();
        self.metrics.envelopes_refused_total.add(refused as u64);
        self.metrics.envelopes_stored_total.add(stored as u64);
    }

    /// Moves what was appended to what will be published in its space.
    fn collect(
        &self,
        space: Arc<Space>,
        runs: Vec<Run>,
        appended: Vec<(usize, Appended)>,
        published: &mut Vec<(Arc<Space>, Vec<Published>)>,
    ) {
        if appended.is_empty() {
            return;
        }
        let mut runs: Vec<Vec<Sealed>> = runs.into_iter().map(|run| run.envelopes).collect();
        let items = appended.into_iter().filter_map(|(run, stored)| {
            let envelope = std::mem::take(&mut runs.get_mut(run)?.get_mut(stored.envelope)?.bytes);
            self.metrics.envelope_bytes_stored_total.add(envelope.len() as u64);
            Some(Published { item: Item { pos: stored.pos, envelope }, roll: stored.roll, end: stored.end })
        });
        match published.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &space)) {
            Some((_, list)) => list.extend(items),
            None => {
                let items = items.collect();
                published.push((space, items));
            }
        }
    }
}

/// Appends what of a run is new; all of the new part or nothing, so that the log always ends at an envelope whose
/// signature has been verified.
fn append_run(
    db: &Db,
    log: &mut Log,
    run: &Run,
    results: &mut [PushResult],
    fits: impl Fn(&Log, Used) -> bool,
) -> Result<Vec<Appended>, StoreError> {
    let tip = log.tip(db, &run.stream)?;
    for (first, envelope) in run.envelopes.iter().enumerate() {
        match step(db, log.space_no, tip, run, envelope)? {
            Step::Dup { pos } => set(results, envelope, PushStatus::Dup, pos),
            Step::Refuse(status) => {
                run.envelopes[first..].iter().for_each(|rest| set(results, rest, status, None));
                return Ok(Vec::new());
            }
            Step::Append => {
                let new = &run.envelopes[first..];
                let bytes = new.iter().map(|envelope| envelope.bytes.len() as u64).sum();
                let more = Used { bytes, envelopes: new.len() as u64, objects: 0 };
                if !fits(log, more) {
                    new.iter().for_each(|envelope| set(results, envelope, PushStatus::Quota, None));
                    return Ok(Vec::new());
                }
                return append(db, log, run, first, more, results);
            }
        }
    }
    Ok(Vec::new())
}

fn append(
    db: &Db,
    log: &mut Log,
    run: &Run,
    first: usize,
    more: Used,
    results: &mut [PushResult],
) -> Result<Vec<Appended>, StoreError> {
    let Some(last) = run.envelopes.last() else { return Ok(Vec::new()) };
    let (stream_no, held, floor) = match log.streams.get(&run.stream) {
        Some(tip) => (tip.no, tip.used, tip.floor),
        None => {
            let floor = run.begins.unwrap_or(StreamPoint::START);
            (insert_stream(db, log.space_no, run, last, floor)?, Used::default(), floor)
        }
    };
    let count = run.envelopes.len() - first;
    if let Some(first) = run.envelopes.get(first) {
        db.execute(
            "INSERT INTO run (stream, seq, pos, count) VALUES (?1, ?2, ?3, ?4)",
            (stream_no, first.seq, signed(log.next_pos), signed(count as u64)),
        )?;
    }
    let mut appended = Vec::with_capacity(count);
    for (index, envelope) in run.envelopes.iter().enumerate().skip(first) {
        let pos = log.next_pos;
        let end = index + 1 == run.envelopes.len();
        log.roll = roll_next(&log.roll, pos, &envelope.id);
        log.next_pos = pos + 1;
        let status = if envelope.stale { PushStatus::OkStaleEpoch } else { PushStatus::Ok };
        set(results, envelope, status, Some(pos));
        appended.push(Appended { envelope: index, pos, roll: log.roll, end });
    }
    db.execute_each(
        "INSERT INTO envelope (key, stream, seq, id, roll, flags, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        run.envelopes[first..].iter().zip(&appended).map(|(envelope, Appended { pos, roll, end, .. })| {
            let flags = if *end { FLAG_VERIFIED_END } else { 0 } | if run.vouched { FLAG_VOUCHED } else { 0 };
            let key = position_key(log.space_no, *pos);
            (key, stream_no, envelope.seq, envelope.id.as_ref(), roll.as_ref(), flags, &envelope.bytes)
        }),
    )?;
    let used = held.with(more);
    let tip = super::log::Tip { no: stream_no, seq: last.seq, id: last.id, floor, used, dirty: true };
    log.streams.insert(run.stream, tip);
    let used = log.used.entry(run.device).or_default();
    *used = used.with(more);
    log.bytes += more.bytes;
    log.envelopes += more.envelopes;
    log.dirty = true;
    Ok(appended)
}

/// Checks a push again that was checked under a membership which is over. Only a run's last signature was verified,
/// so a run of which a part may not be stored any more is not stored at all.
fn check_again(view: &View, job: &mut PushJob) {
    let (results, pusher) = (&mut job.results, &job.pusher);
    job.runs.retain_mut(|run| {
        let (author, stream) = (run.device, run.stream);
        let place = |envelope: &Sealed| Place { author, stream, seq: envelope.seq, id: envelope.id };
        let mut allowed = run.envelopes.iter().map(|envelope| view.may_store(&place(envelope), pusher));
        let first = allowed.next().unwrap_or(Err(PushStatus::BadFormat));
        let other = allowed.find(|other| *other != first);
        let status = match (first, other) {
            (Ok(vouched), None) => {
                run.vouched = vouched;
                return true;
            }
            (Err(status), _) | (Ok(_), Some(Err(status))) => status,
            (Ok(_), Some(Ok(_))) => PushStatus::Rate,
        };
        run.envelopes.iter().for_each(|envelope| set(results, envelope, status, None));
        false
    });
    if !view.membership.may_write(pusher) {
        let status = if view.membership.may_read(pusher) { PushStatus::NotWriter } else { PushStatus::Removed };
        for object in job.objects.drain(..) {
            if let Some(result) = results.get_mut(object.index) {
                result.status = status;
            }
        }
    }
    if !view.membership.may_read(pusher)
        && let Some(receipt) = job.receipt.take()
        && let Some(result) = results.get_mut(receipt.index)
    {
        result.status = PushStatus::Removed;
    }
}

/// Keeps a receipt if it is newer than the one that is kept, and answers it if it is.
fn store_receipt(db: &Db, job: &mut PushJob) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(receipt) = job.receipt.take() else { return Ok(None) };
    let stored = db.execute(
        "INSERT INTO receipt (space, device, seq, bytes) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (space, device) DO UPDATE SET seq = excluded.seq, bytes = excluded.bytes
         WHERE excluded.seq > receipt.seq",
        (job.space.no, job.pusher.as_ref(), receipt.seq, &receipt.bytes),
    )?;
    let status = if stored > 0 { PushStatus::Ok } else { PushStatus::Dup };
    if let Some(result) = job.results.get_mut(receipt.index) {
        *result = PushResult { status, pos: None };
    }
    Ok((stored > 0).then_some(receipt.bytes))
}

fn insert_stream(db: &Db, space_no: i64, run: &Run, last: &Sealed, floor: StreamPoint) -> Result<i64, StoreError> {
    let sql = "INSERT INTO stream (space, id, device, tip_seq, tip_id, floor, floor_id)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) RETURNING no";
    let (device, floor_id) = (run.device.as_ref(), floor.id.as_ref());
    let tip = (last.seq, last.id.as_ref());
    db.one(sql, (space_no, run.stream.as_ref(), device, tip.0, tip.1, floor.seq, floor_id), |row| row.get(0))
}

fn set(results: &mut [PushResult], envelope: &Sealed, status: PushStatus, pos: Option<u64>) {
    if let Some(result) = results.get_mut(envelope.index) {
        *result = PushResult { status, pos };
    }
}

fn append_records(db: &Db, job: &RecordJob) -> Result<i64, StoreError> {
    let space_no = match &job.target {
        RecordTarget::Existing(space) => space.no,
        RecordTarget::New(id, log_id) => insert_space(db, id, log_id)?,
    };
    db.execute_each(
        "INSERT INTO record (space, id, bytes) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        job.records.iter().map(|(id, record)| (space_no, id.as_ref(), record)),
    )?;
    let bytes: u64 = job.records.iter().map(|(_, record)| record.len() as u64).sum();
    let sql = "UPDATE space SET record_bytes = record_bytes + ?2 WHERE no = ?1";
    db.execute(sql, (space_no, signed(bytes)))?;
    db.execute("DELETE FROM device_space WHERE space = ?1", [space_no])?;
    let Doors { open, gone, invited } = &job.doors;
    for (keys, is_gone, is_invited) in [(open, false, false), (gone, true, false), (invited, false, true)] {
        db.execute_each(
            "INSERT INTO device_space (device, space, is_gone, is_invited) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
            keys.iter().map(|key| (key.as_ref(), space_no, is_gone, is_invited)),
        )?;
    }
    Ok(space_no)
}

fn insert_space(db: &Db, id: &SpaceId, log_id: &LogId) -> Result<i64, StoreError> {
    let sql = "INSERT INTO space (id, log_id, next_pos, roll, bytes, record_bytes) VALUES (?1, ?2, 1, ?3, 0, 0)
               RETURNING no";
    let no = db.one(sql, (id.as_ref(), log_id.as_ref(), Roll::ZERO.as_ref()), |row| row.get(0))?;
    if no > SPACE_NO_MAX { Err(StoreError::Unavailable) } else { Ok(no) }
}

#[cfg(test)]
mod tests;
