//! `lifeos job`: work in the background, in this and other processes of the home.

use std::time::Duration;

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Client, JobStatus};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, one_line, time};

/// Work in the background: lists after an update, the search index, checkpoints.
#[derive(Debug, Subcommand)]
pub enum Job {
    /// List what a running app or `lifeos sync --watch` does now, and how far it is
    #[command(after_help = "Example:\n  lifeos job list --json")]
    List,
    /// Stop all of it within a second, and let none begin for a while
    Pause(Pause),
    /// Let it go on now
    #[command(after_help = "Example:\n  lifeos job resume")]
    Resume,
}

/// Have it wait.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos job pause                 for an hour\n  lifeos job pause --minutes 480   while on battery\n\n\
                        Notes, search and sync go on meanwhile, and nothing that was done is done again."
)]
pub struct Pause {
    /// For so long; a week at most
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    minutes: u32,
}

pub(super) fn run(args: &Job, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    match args {
        Job::List => {}
        Job::Pause(pause) => {
            client.pause_jobs(Some(Duration::from_secs(u64::from(pause.minutes) * 60)))?;
        }
        Job::Resume => client.pause_jobs(None)?,
    }
    let (jobs, paused_ms) = (client.jobs()?, client.jobs_paused_ms()?);
    context.out.result(&told(&jobs, paused_ms), |page| draw(page, &client, &jobs, paused_ms))
}

fn told(jobs: &[JobStatus], paused_ms: Option<i64>) -> Value {
    json!({"jobs": jobs, "paused_ms": paused_ms})
}

fn draw(page: &mut Page, client: &Client, jobs: &[JobStatus], paused_ms: Option<i64>) {
    if let Some(until_ms) = paused_ms {
        page.line(paused(until_ms));
    }
    page.table(&jobs.iter().map(|job| vec![line(job)]).collect::<Vec<_>>());
    if jobs.is_empty() && paused_ms.is_none() {
        let waits = client.status().map(|status| status.documents_unprojected).unwrap_or(0);
        page.line(if waits == 0 { "Nothing is done in the background now." } else { "It goes on with the next sync." });
    }
}

/// That background work waits, and what ends that.
pub(super) fn paused(until_ms: i64) -> String {
    format!("Background work waits until {}, as you asked: `lifeos job resume` ends that.", time(until_ms))
}

/// A job, and how far it is.
pub(super) fn line(job: &JobStatus) -> String {
    let what = one_line(&job.text);
    let at = if job.total == 0 { String::new() } else { format!(", {} of {}", job.done, job.total) };
    format!("Working: {what}{at}.")
}
