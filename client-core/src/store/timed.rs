//! Measures a piece of work of the store, and opens its span: both end when the value is dropped.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::Connection;
use tracing::span::EnteredSpan;

use super::{Reads, Store, StoreError, schema};
use crate::metrics::{Measured, Metrics, Tick, Work};
use lifeos_sync_protocol::ids::SpaceId;

/// Steps after which they are counted: counting costs nothing that could be measured.
const STEPS: u16 = 100;

/// Counts what the statements of a connection cost, in steps of SQLite's virtual machine.
pub(super) fn count_steps(conn: &mut Connection, metrics: &Arc<Metrics>) -> Result<(), StoreError> {
    let metrics = Arc::clone(metrics);
    let count = move || {
        metrics.count(Tick::DatabaseSteps, STEPS.into());
        false
    };
    Ok(conn.progress_handler(STEPS.into(), Some(count))?)
}

/// Work under way.
pub(crate) struct Timed<'m> {
    metrics: &'m Metrics,
    work: Work,
    since: Instant,
    _span: EnteredSpan,
}

impl<'m> Timed<'m> {
    /// Begins now. The span carries a name and nothing else.
    pub(crate) fn begin(metrics: &'m Metrics, work: Work) -> Self {
        let span = match work {
            Work::Commit => tracing::debug_span!("commit"),
            Work::Seal => tracing::debug_span!("seal"),
            Work::Push => tracing::debug_span!("push"),
            Work::Acknowledge => tracing::debug_span!("acknowledge"),
            Work::Pull => tracing::debug_span!("pull"),
            Work::Verify => tracing::trace_span!("verify"),
            Work::Open => tracing::trace_span!("open"),
            Work::Apply => tracing::debug_span!("apply"),
            Work::Project => tracing::debug_span!("project"),
            Work::Index => tracing::debug_span!("index"),
        };
        Self { metrics, work, since: Instant::now(), _span: span.entered() }
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.metrics.time(self.work, micros_since(self.since));
    }
}

/// Microseconds since then.
pub(crate) fn micros_since(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn metrics_key(space: &SpaceId) -> String {
    format!("metrics:{space}")
}

impl Store {
    /// Writes down what was measured, beside what was before. Not durable at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_measured(&mut self, space: &SpaceId, later: &Measured) -> Result<(), StoreError> {
        self.lazily(|conn| {
            let transaction = super::begin(conn)?;
            let mut measured = Reads { conn: &transaction }.measured(space)?;
            measured.add(later);
            schema::put_meta(&transaction, &metrics_key(space), &measured.encode())?;
            Ok(transaction.commit()?)
        })
    }
}

impl Reads<'_> {
    /// What was measured in this space and written down.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn measured(&self, space: &SpaceId) -> Result<Measured, StoreError> {
        Ok(self.meta(&metrics_key(space))?.map(|bytes| Measured::decode(&bytes)).unwrap_or_default())
    }
}
