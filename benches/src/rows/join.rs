//! The first sync: a vault on one device reaches a second, empty one over loopback.

use std::path::Path;

use lifeos_client_core::client::Client;

use crate::report::Figure;
use crate::rows::{Tell, device};
use crate::{child::Child, measure, vault};

/// CPU-seconds until lists and agendas are there, of a space of 10,000 documents and 100,000 changes.
const USABLE_CPU_S_MAX: f64 = 0.5;
/// Until everything is there and was looked at.
const COMPLETE_CPU_S_MAX: f64 = 2.5;
/// On the wire.
const WIRE_MIB_MAX: f64 = 8.0;
/// What a client may take at most.
const PEAK_RSS_MIB_MAX: f64 = 150.0;
/// And how much more when the notes have ten times the changes.
const GROWTH_MAX: f64 = 1.1;

/// 10,000 notes as imported, and again with ten times the changes.
pub(super) fn join(short: bool, tell: Tell<'_>) {
    let n = if short { 300 } else { 10_000 };
    let plain = measure_join(n, 0, false);
    tell(plain.figure(n, "as imported", plain.peak_mib() <= PEAK_RSS_MIB_MAX, 1.0));
    let edited = measure_join(n, 9, false);
    let reader = edited.reader_rss_mib / plain.reader_rss_mib;
    let growth = reader.max(edited.writer_rss_mib / plain.writer_rss_mib);
    let met = edited.peak_mib() <= PEAK_RSS_MIB_MAX && growth <= GROWTH_MAX;
    tell(edited.figure(n, "each note with ten times the changes", met, growth));
}

/// The same by a checkpoint, of small documents as in the study of the engine: 10,000 with ten changes of some nine
/// operations each, and the closest peer's 5,000 tasks with 25,609 changes.
pub(super) fn bootstrap(short: bool, tell: Tell<'_>) {
    let n = if short { 300 } else { 10_000 };
    let joined = measure_join(n, 9, true);
    let met = joined.usable_cpu_s <= USABLE_CPU_S_MAX
        && joined.pull_cpu_s <= COMPLETE_CPU_S_MAX
        && joined.wire_mib <= WIRE_MIB_MAX;
    tell(joined.bootstrap_figure(n, "ten changes each", met));
    let n = if short { 150 } else { 5_000 };
    let joined = measure_join(n, 4, true);
    tell(joined.bootstrap_figure(n, "five changes each", joined.usable_cpu_s < 1.0 && joined.pull_cpu_s < 3.0));
}

/// The same of a space of 1,000,000 changes: what a client takes must not grow with it.
pub(super) fn million(short: bool, tell: Tell<'_>) {
    let n = if short { 500 } else { 100_000 };
    let joined = measure_join(n, 9, true);
    let met = joined.usable_cpu_s <= USABLE_CPU_S_MAX && joined.peak_mib() <= PEAK_RSS_MIB_MAX;
    let target = "usable ≤ 0.5 CPU-s, peak RSS ≤ 150 MiB";
    tell(Figure { name: "million", target, ..joined.bootstrap_figure(n, "ten changes each", met) });
}

struct Join {
    import_cpu_s: f64,
    import_wall_s: f64,
    push_cpu_s: f64,
    push_wall_s: f64,
    pull_cpu_s: f64,
    pull_wall_s: f64,
    wire_mib: f64,
    relay_cpu_s: f64,
    relay_rss_mib: f64,
    writer_rss_mib: f64,
    reader_rss_mib: f64,
    copy_cpu_s: f64,
    usable_cpu_s: f64,
    compact_cpu_s: f64,
}

impl Join {
    /// The hungrier of the two clients.
    fn peak_mib(&self) -> f64 {
        self.reader_rss_mib.max(self.writer_rss_mib)
    }

    fn bootstrap_figure(&self, n: usize, what: &str, met: bool) -> Figure {
        Figure {
            name: "bootstrap",
            what: format!("notes with {what} to a new device by a checkpoint, verified, over loopback"),
            n,
            value: ("cpu_s", self.pull_cpu_s),
            yardstick: Some(("the reader's finished database file copied row by row".into(), self.copy_cpu_s)),
            target: "usable ≤ 0.5 CPU-s, complete and verified ≤ 2.5 CPU-s, wire ≤ 8 MiB (of 10,000)",
            met,
            extra: vec![
                ("usable_cpu_s", self.usable_cpu_s),
                ("pull_wall_s", self.pull_wall_s),
                ("wire_mib", self.wire_mib),
                ("compact_cpu_s", self.compact_cpu_s),
                ("reader_peak_rss_mib", self.reader_rss_mib),
                ("writer_peak_rss_mib", self.writer_rss_mib),
                ("relay_cpu_s", self.relay_cpu_s),
                ("relay_peak_rss_mib", self.relay_rss_mib),
            ],
        }
    }

    fn figure(&self, n: usize, what: &str, met: bool, growth: f64) -> Figure {
        Figure {
            name: "join",
            what: format!("notes to a second, empty device over loopback, {what}"),
            n,
            value: ("cpu_s", self.pull_cpu_s),
            yardstick: Some(("the reader's finished database file copied row by row".into(), self.copy_cpu_s)),
            target: "peak RSS ≤ 150 MiB, ≤ 10 % more with ten times the changes",
            met,
            extra: vec![
                ("reader_peak_rss_mib", self.reader_rss_mib),
                ("writer_peak_rss_mib", self.writer_rss_mib),
                ("rss_growth_ratio", growth),
                ("pull_wall_s", self.pull_wall_s),
                ("push_wall_s", self.push_wall_s),
                ("push_cpu_s", self.push_cpu_s),
                ("import_cpu_s", self.import_cpu_s),
                ("import_wall_s", self.import_wall_s),
                ("relay_cpu_s", self.relay_cpu_s),
                ("relay_peak_rss_mib", self.relay_rss_mib),
                ("wire_mib", self.wire_mib),
            ],
        }
    }
}

fn measure_join(n: usize, edits: usize, by_checkpoint: bool) -> Join {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    vault::write(Path::new(&path("vault")), n, if by_checkpoint { vault::short } else { vault::note });
    let relay = Child::serve(&["relay", &path("relay")]);
    link(Path::new(&path("writer")), Path::new(&path("reader")), &relay.line);
    let number = |value: &serde_json::Value, key: &str| value[key].as_f64().unwrap_or_default();
    let import = step("import", &["import", &path("writer"), &path("vault")]);
    if edits > 0 {
        step("edit", &["edit", &path("writer"), &edits.to_string()]);
    }
    let push = step("push", &["sync", &path("writer")]);
    let compact = match by_checkpoint {
        true => step("compact", &["compact", &path("writer")]),
        false => serde_json::Value::Null,
    };
    let pull = step("pull", &["sync", &path("reader")]);
    assert_eq!(number(&pull, "unverified"), 0.0, "not everything was looked at");
    // A new device writes its name down; the writer has yet to hear it.
    Child::finish(&["sync", &path("writer")]);
    compare(Path::new(&path("writer")), Path::new(&path("reader")));
    Join {
        import_cpu_s: number(&import, "cpu_s"),
        import_wall_s: number(&import, "wall_s"),
        push_cpu_s: number(&push, "cpu_s"),
        push_wall_s: number(&push, "wall_s"),
        pull_cpu_s: number(&pull, "cpu_s"),
        pull_wall_s: number(&pull, "wall_s"),
        wire_mib: number(&pull, "bytes_pulled") / 1048576.0,
        relay_cpu_s: measure::cpu_total_s(relay.pid()),
        relay_rss_mib: measure::peak_rss_mib(relay.pid()),
        writer_rss_mib: [&import, &push, &compact]
            .map(|step| number(step, "peak_rss_mib"))
            .into_iter()
            .fold(0.0, f64::max),
        reader_rss_mib: number(&pull, "peak_rss_mib"),
        usable_cpu_s: number(&pull, "usable_cpu_s"),
        compact_cpu_s: number(&compact, "cpu_s"),
        copy_cpu_s: copy(&Path::new(&path("reader")).join("lifeos.db"), Path::new(&path("copy.db"))),
    }
}

/// Runs one step in a process of its own and says how it went: the whole takes minutes.
fn step(name: &str, args: &[&str]) -> serde_json::Value {
    let out = Child::finish(args);
    eprintln!("join: {name}: {} s, {} CPU-s, peak {} MiB", out["wall_s"], out["cpu_s"], out["peak_rss_mib"]);
    out
}

pub(super) fn link(writer: &Path, reader: &Path, url: &str) {
    let client = device::home(writer, Some(url.to_owned()));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        client.sync(&mut |_| {}).await.expect("a sync");
        let mut new = Client::link_new(reader, url, "reader").await.expect("a link");
        // Both ends must be at it: the offer is answered while the code is waited for.
        let link = new.link().to_owned();
        let (approve, code) = tokio::join!(client.link_approve(&link), new.code());
        let (mut approve, code) = (approve.expect("an answer"), code.expect("a code"));
        assert_eq!(approve.enter_code(&code).await.expect("the code is taken"), None);
        new.finish().await.expect("a device");
    });
}

fn compare(writer: &Path, reader: &Path) {
    let open = |path| Client::open(path).expect("a home");
    let (writer, reader) = (open(writer), open(reader));
    assert!(writer.heads().expect("heads") == reader.heads().expect("heads"), "the devices differ");
}

/// The least anybody could pay for the same bytes: reading the finished file's rows and writing them again.
fn copy(from: &Path, to: &Path) -> f64 {
    let before = measure::cpu_ns(std::process::id());
    let db = rusqlite::Connection::open(from).expect("a database");
    db.execute("VACUUM INTO ?1", [to.to_string_lossy().into_owned()]).expect("a copy");
    (measure::cpu_ns(std::process::id()) - before) as f64 / 1e9
}
