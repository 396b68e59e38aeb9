//! Counters of the relay, as Prometheus text. No label names a space, a device or an address.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::store::Gone;

/// One number. `Relaxed` throughout: counters order nothing.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($kind:literal $name:ident $help:literal;)*) => {
        /// All counters.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics {
            $(#[doc = $help] pub(crate) $name: Counter,)*
        }

        impl Metrics {
            /// Prometheus text exposition format 0.0.4.
            pub(crate) fn render(&self) -> String {
                let mut out = String::with_capacity(4096);
                $(render_one(&mut out, stringify!($name), $kind, $help, self.$name.value());)*
                out
            }
        }
    };
}

metrics! {
    "gauge" connections_open "TCP connections that are open now.";
    "counter" connections_total "TCP connections accepted.";
    "counter" connections_refused_total "TCP connections refused for a limit.";
    "gauge" sessions_open "Authenticated sessions that are open now.";
    "counter" spaces_loaded_total "Spaces loaded from the database because a device connected.";
    "counter" auth_failed_total "AUTH and LIST frames that were refused.";
    "counter" frames_received_total "Frames received.";
    "counter" frames_bad_total "Messages that were no legal frame.";
    "counter" envelopes_stored_total "Envelopes stored durably.";
    "counter" envelope_bytes_stored_total "Bytes of envelopes stored durably.";
    "counter" envelopes_refused_total "Envelopes that were pushed and not stored.";
    "counter" objects_stored_total "Objects outside streams stored durably.";
    "counter" object_bytes_stored_total "Bytes of objects outside streams stored durably.";
    "counter" objects_sent_total "Objects outside streams read for WANT.";
    "counter" checkpoints_effective_total "Checkpoints that have taken effect here.";
    "counter" envelopes_pruned_total "Envelopes deleted because a checkpoint holds what they said.";
    "counter" objects_dropped_total "Objects deleted because nothing named them any more.";
    "counter" bytes_pruned_total "Bytes of both.";
    "counter" records_stored_total "Records stored durably.";
    "counter" records_refused_total "Records that are never valid here.";
    "counter" record_evaluations_total "Evaluations of a space's records, or of a part of them, for records that came.";
    "counter" records_slowed_total "Records that had to wait because their connection brought them too fast.";
    "counter" pushes_slowed_total "PUSH frames that had to wait because their device pushed too fast.";
    "counter" pulls_slowed_total "Pages after which a device had to wait because it pulled too fast.";
    "counter" commits_total "Transactions committed.";
    "counter" commit_jobs_total "PUSH and REC frames in those transactions.";
    "counter" commit_microseconds_total "Time spent in those transactions, fsync included.";
    "counter" commits_failed_total "Transactions that failed.";
    "gauge" storage_unavailable "1 while the last transaction failed, e.g. because the disk is full.";
    "counter" notify_frames_total "NOTIFY frames queued for live readers.";
    "counter" readers_behind_total "Live readers that were too slow and were told to PULL.";
    "counter" writes_timed_out_total "Connections cut off because they did not take what was written.";
    "counter" pages_read_total "Pages of the log read for PULL.";
    "counter" wakeups_sent_total "Wake-ups that a push service took.";
    "counter" wakeups_failed_total "Requests to a push service that did not get through.";
    "counter" wakeup_targets_gone_total "Targets that a push service does not know any more.";
    "counter" database_steps_total "Steps of SQLite's virtual machine, counted by the hundred.";
    "gauge" mailboxes_open "Rendezvous mailboxes that are open now.";
}

impl Metrics {
    /// Books what was deleted.
    pub(crate) fn pruned(&self, gone: Gone) {
        self.envelopes_pruned_total.add(gone.envelopes);
        self.objects_dropped_total.add(gone.objects);
        self.bytes_pruned_total.add(gone.bytes);
    }

    /// Books a finished transaction.
    pub(crate) fn committed(&self, jobs: usize, took: Duration) {
        self.commits_total.increment();
        self.commit_jobs_total.add(jobs as u64);
        self.commit_microseconds_total.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        self.storage_unavailable.set(0);
    }
}

fn render_one(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "# HELP lifeos_relay_{name} {help}\n# TYPE lifeos_relay_{name} {kind}\nlifeos_relay_{name} {value}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_every_counter_once_with_its_value() {
        let metrics = Metrics::default();
        metrics.committed(3, Duration::from_micros(7));
        let text = metrics.render();
        assert!(text.contains("\nlifeos_relay_commit_jobs_total 3\n"), "{text}");
        assert!(text.contains("# TYPE lifeos_relay_connections_open gauge"), "{text}");
        let values = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(values, text.matches("# TYPE").count());
    }
}
