//! The processes under test: this program started again with a role, so that its figures are its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child as Process, Command, Stdio};

use lifeos_client_core::client::{Client, NoteFilter};
use lifeos_client_core::protocol::ids::DocId;

use crate::rows::attachments;
use crate::{measure, yard};

/// A started child and the first line it printed.
pub(crate) struct Child {
    process: Process,
    /// First line: an address, or nothing.
    pub(crate) line: String,
}

impl Child {
    /// Starts a role that prints one line and goes on.
    pub(crate) fn serve(args: &[&str]) -> Self {
        let mut process = command(args).stdout(Stdio::piped()).spawn().expect("a child");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        Self { process, line: line.trim().to_owned() }
    }

    /// Starts a role and does not wait for it.
    pub(crate) fn start(args: &[&str]) -> Self {
        let process = command(args).stdout(Stdio::null()).spawn().expect("a child");
        Self { process, line: String::new() }
    }

    /// Runs a role to its end; its last line is JSON.
    pub(crate) fn finish(args: &[&str]) -> serde_json::Value {
        let output = command(args).output().expect("a child");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last = text.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|_| panic!("child {args:?} said {text:?}"))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.arg("--child").args(args).stdin(Stdio::null()).stderr(Stdio::inherit());
    command
}

/// What a child does.
pub(crate) fn run(args: &[String]) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["yard", data] => runtime.block_on(yard::serve(Path::new(data))),
        ["relay", data] => runtime.block_on(relay(Path::new(data))),
        ["import", home, vault] => report(|| {
            let client = Client::open(Path::new(home)).expect("a home");
            let report = client.import_markdown(Path::new(vault), false, &mut |_| {}).expect("an import");
            serde_json::json!({ "created": report.created, "failed": report.failed })
        }),
        ["attach", home, files] => report(|| attachments::attach(Path::new(home), Path::new(files))),
        ["fetch", home] => report(|| attachments::fetch(Path::new(home), &runtime)),
        ["edit", home, times] => report(|| {
            let client = Client::open(Path::new(home)).expect("a home");
            rewrite(&client, times.parse().expect("a count"));
            serde_json::json!({})
        }),
        ["sync", home] => report(|| {
            let client = Client::open(Path::new(home)).expect("a home");
            let mut usable_cpu_s = None;
            let report = runtime.block_on(client.sync(&mut |step| {
                if step.phase == "usable" {
                    usable_cpu_s = Some(measure::cpu_total_s(std::process::id()));
                }
            }));
            let mut out = serde_json::to_value(report.expect("a sync")).expect("JSON");
            out["usable_cpu_s"] = usable_cpu_s.into();
            out["unverified"] = client.status().expect("a status").documents_unverified.into();
            out
        }),
        ["compact", home] => report(|| {
            let client = Client::open(Path::new(home)).expect("a home");
            runtime.block_on(client.compact(&mut |_| {})).expect("a checkpoint");
            assert!(client.status().expect("a status").checkpoint.is_some(), "no checkpoint was made");
            serde_json::json!({})
        }),
        other => panic!("unknown child {other:?}"),
    }
}

async fn relay(data: &Path) {
    let mut config = lifeos_sync_server::Config::local(data);
    // A history of a million envelopes is one member's here, and comes from one address.
    config.limits.member_bytes_max = 0;
    config.limits.space_bytes_max = 0;
    config.limits.connections_per_address_minute_max = u32::MAX;
    let handle = lifeos_sync_server::Server::start(config).await.expect("a relay");
    println!("ws://{}#{}", handle.addr(), handle.relay_key());
    std::future::pending::<()>().await;
}

/// Notes that are edited in one commit.
const NOTES_A_COMMIT: usize = 100;

/// Adds some words to every note, `times` times: each time is a change of its own, as if it were edited on another day.
fn rewrite(client: &Client, times: usize) {
    for some in note_ids(client).chunks(NOTES_A_COMMIT) {
        for round in 0..times {
            let text = format!("edit {round} ");
            client
                .edit_together(|edits| some.iter().try_for_each(|note| edits.splice(note, 0, 0, &text)))
                .expect("edits");
        }
    }
}

fn note_ids(client: &Client) -> Vec<DocId> {
    let page = |offset| client.notes(NoteFilter { limit: 500, offset, ..NoteFilter::default() }).expect("a list");
    let pages = (0_u32..).step_by(500).map(page).take_while(|page| !page.is_empty());
    pages.flatten().map(|note| note.id.parse().expect("an id")).collect()
}

fn report(work: impl FnOnce() -> serde_json::Value) {
    let pid = std::process::id();
    let (mut out, wall_us) = measure::time_us(work);
    out["wall_s"] = (wall_us / 1e6).into();
    out["cpu_s"] = measure::cpu_total_s(pid).into();
    out["peak_rss_mib"] = measure::peak_rss_mib(pid).into();
    println!("{out}");
}
