//! Looks after spaces: which checkpoints may take effect, what they take out of the log, which objects nothing names.
//!
//! A space is looked at when something came that matters to its checkpoints (the writer notes that in the same
//! transaction) and when the time has come that the last look named. So what is not due costs nothing, and a relay that
//! was stopped goes on where it was.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use lifeos_sync_protocol::ids::{EnvelopeId, RecordId, SpaceId};
use lifeos_sync_protocol::record::{Body, Record};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::MissedTickBehavior;

use crate::limits::{DAY_MS, HOUR_MS, LOOK_MS_MAX, UNNAMED_MS};
use crate::server::{Phase, Relay, until_not_running};
use crate::space::{Space, View};
use crate::store::{Progress, StoreError, TendJob, Tended, Work};

/// How often it is asked which spaces are due.
const TICK: Duration = Duration::from_secs(60);
/// Spaces that are asked for at once.
const SPACES_AT_ONCE: usize = 64;
/// Objects that are looked for at once.
const OBJECTS_AT_ONCE: usize = 256;
/// When a space is looked at again whose look was cut short, e.g. because the disk was full.
const AGAIN_MS: u64 = HOUR_MS;

/// Wakes whoever looks after spaces.
#[derive(Debug, Default)]
pub(crate) struct Wakeup(Notify);

impl Wakeup {
    /// Something came that matters to checkpoints.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

/// Looks after spaces until the relay stops.
pub(crate) async fn run(relay: Arc<Relay>) {
    let mut phase: watch::Receiver<Phase> = relay.phase.clone();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = relay.wakeup.0.notified() => {}
            () = relay.config.clock.until_moved() => {}
            () = until_not_running(&mut phase) => return,
        }
        tokio::select! {
            () = look_at_all(&relay) => {}
            () = until_not_running(&mut phase) => return,
        }
    }
}

/// Looks once at every space that is due.
pub(crate) async fn look_at_all(relay: &Relay) {
    // One at a time: two looks at one space would do its work twice.
    let _turn = relay.looking.lock().await;
    let mut after = 0;
    loop {
        let due = relay.store.readers().due(relay.now_ms(), after, SPACES_AT_ONCE).await;
        let due = due.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell which spaces are due");
            Vec::new()
        });
        let Some((last, _)) = due.last() else { break };
        after = *last;
        for (no, id) in due {
            if let Err(error) = look_at(relay, id).await {
                tracing::warn!(space_no = no, %error, "a space could not be looked after; it is tried again later");
            }
        }
    }
}

async fn look_at(relay: &Relay, id: SpaceId) -> Result<(), StoreError> {
    let Some(space) = relay.spaces.hold(id).await? else { return Ok(()) };
    let look = Look { relay, space };
    let done = look.look().await;
    drop(look);
    relay.spaces.left(id);
    done
}

/// One look at one space.
struct Look<'a> {
    relay: &'a Relay,
    space: Arc<Space>,
}

impl Look<'_> {
    async fn look(&self) -> Result<(), StoreError> {
        let again_ms = self.relay.now_ms().saturating_add(AGAIN_MS);
        self.work(Work::Begin { again_ms }).await?;
        let mut next_ms = Next::default();
        let view = self.space.view();
        for progress in self.progress().await? {
            self.advance(&view, progress, &mut next_ms).await?;
        }
        let swept = self.repeat(|| Work::Sweep).await?;
        let dropped = self.drop_unnamed(&view, &mut next_ms).await?;
        if swept + dropped > 0 {
            self.repeat(|| Work::Shrink).await?;
        }
        let latest_ms = self.relay.now_ms().saturating_add(LOOK_MS_MAX);
        let next_ms = next_ms.0.map(|next_ms| next_ms.min(latest_ms));
        self.work(Work::End { again_ms, next_ms }).await?;
        Ok(())
    }

    async fn progress(&self) -> Result<Vec<Progress>, StoreError> {
        self.relay.store.readers().checkpoints(self.space.no).await
    }

    /// Takes one checkpoint as far as it goes now.
    async fn advance(&self, view: &View, progress: Progress, next_ms: &mut Next) -> Result<(), StoreError> {
        let id = progress.checkpoint;
        let Some(record) = view.checkpoint(&id).filter(|_| !progress.is_effective && !progress.is_superseded) else {
            return Ok(());
        };
        if !view.stands(&id) {
            return Ok(());
        }
        let (record, settled) = (Arc::clone(record), view.floors_before(&id));
        if !self.relay.store.readers().is_complete(self.space.no, Arc::clone(&record), settled).await? {
            return Ok(());
        }
        let (now_ms, grace_ms) = (self.relay.now_ms(), grace_ms(view));
        // A time to come was taken from a clock that was wrong.
        match progress.since_ms.filter(|since_ms| *since_ms <= now_ms) {
            Some(since_ms) if now_ms - since_ms >= grace_ms => self.effect(view, &record, grace_ms).await,
            Some(since_ms) => {
                next_ms.at(since_ms.saturating_add(grace_ms));
                Ok(())
            }
            None => {
                self.work(Work::Wait { checkpoint: id }).await?;
                next_ms.at(now_ms.saturating_add(grace_ms));
                Ok(())
            }
        }
    }

    async fn effect(&self, view: &View, record: &Arc<Record>, grace_ms: u64) -> Result<(), StoreError> {
        let previous = view.before(&record.id()).into_iter().collect();
        let done = self.work(Work::Effect { checkpoint: Arc::clone(record), grace_ms, previous }).await?.done;
        if done {
            self.relay.metrics.checkpoints_effective_total.increment();
            tracing::info!(space_no = self.space.no, "a checkpoint has taken effect");
        }
        Ok(())
    }

    /// Deletes chunks that no checkpoint needs, and parts of attachments that a checkpoint leaves out which came long
    /// after them: without one nobody has said yet what is needed.
    async fn drop_unnamed(&self, view: &Arc<View>, next_ms: &mut Next) -> Result<u64, StoreError> {
        let progress = self.progress().await?;
        let named: Arc<HashSet<EnvelopeId>> = Arc::new(named(view, &progress));
        let effective = progress.iter().filter(|progress| progress.is_effective);
        let newest_ms = effective.map(|progress| progress.came_ms).max().unwrap_or(0);
        let chunks_before_ms = self.relay.now_ms().saturating_sub(UNNAMED_MS);
        let parts_before_ms = newest_ms.saturating_sub(UNNAMED_MS);
        let limits = (chunks_before_ms, parts_before_ms);
        let mut dropped = 0;
        loop {
            let named = Arc::clone(&named);
            let unnamed = self.relay.store.readers().unnamed(self.space.no, named, limits, OBJECTS_AT_ONCE).await?;
            if let Some(since_ms) = unnamed.next_since_ms {
                // To the hour, so that objects which come one by one are not looked at one by one.
                next_ms.at((since_ms.saturating_add(UNNAMED_MS) / HOUR_MS + 1) * HOUR_MS);
            }
            if unnamed.objects.is_empty() {
                return Ok(dropped);
            }
            let (view, objects) = (Arc::clone(view), unnamed.objects);
            let drop = Work::Drop { view, objects, chunks_before_ms, parts_before_ms };
            let tended = self.work(drop).await?;
            dropped += tended.gone.objects;
            if !tended.done {
                return Ok(dropped);
            }
        }
    }

    /// Does a step until nothing is left to do; answers what is gone.
    async fn repeat(&self, work: impl Fn() -> Work) -> Result<u64, StoreError> {
        let mut gone = 0;
        loop {
            let tended = self.work(work()).await?;
            gone += tended.gone.envelopes;
            if !tended.done {
                return Ok(gone);
            }
        }
    }

    async fn work(&self, work: Work) -> Result<Tended, StoreError> {
        let (done, tended) = oneshot::channel();
        // Nobody waits any more if the relay is stopping.
        let reply = Box::new(move |result| {
            let _ = done.send(result);
        });
        let (space, now_ms) = (Arc::clone(&self.space), self.relay.now_ms());
        self.relay.store.tend(TendJob { space, work, now_ms, reply });
        tended.await.unwrap_or(Err(StoreError::Stopped))
    }
}

/// When to look next: the first of several times.
#[derive(Debug, Default)]
struct Next(Option<u64>);

impl Next {
    fn at(&mut self, ms: u64) {
        self.0 = Some(self.0.map_or(ms, |next| next.min(ms)));
    }
}

/// How long a checkpoint waits in a space with these rules.
fn grace_ms(view: &View) -> u64 {
    u64::from(view.membership.grace_days()) * DAY_MS
}

/// Objects that checkpoints name which nothing has superseded.
fn named(view: &View, progress: &[Progress]) -> HashSet<EnvelopeId> {
    let superseded: BTreeSet<RecordId> =
        progress.iter().filter(|progress| progress.is_superseded).map(|progress| progress.checkpoint).collect();
    let kept = view.checkpoints().filter(|record| !superseded.contains(&record.id()));
    let names = |record: &Arc<Record>| match record.body() {
        Body::Checkpoint { chunks, blobs, .. } => chunks.iter().chain(blobs).copied().collect(),
        _ => Vec::new(),
    };
    kept.flat_map(names).collect()
}
