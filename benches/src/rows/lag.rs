//! Catching up: what it costs to take in what is missing depends on how much that is, and not on how long the history
//! before it is.
//!
//! One home and one relay grow together. At each size the device is away while the same number of envelopes comes, and
//! takes them in; notes and edits are of one size wherever they stand in the history.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lifeos_client_core::client::Client;
use lifeos_client_core::protocol::hash::sha256;
use tokio::runtime::Runtime;

use crate::child::Child;
use crate::measure;
use crate::past::{EDITS, Past};
use crate::raw::Author;
use crate::report::Figure;
use crate::rows::{Tell, join};

/// At any size, of what the same costs at the smallest.
const RATIO_MAX: f64 = 1.3;
/// Of the same number of envelopes when ten times as many are missing, each.
const EACH_MAX: f64 = 1.3;
/// A relay lets go of a space a moment after its last connection has ended.
const LET_GO: Duration = Duration::from_millis(100);
/// Times that a home is opened.
const OPENINGS: usize = 5;

/// How often a device catches up with how much.
struct Lack {
    missing: usize,
    cycles: usize,
}

/// A device that lacks so many envelopes, of a history of so many.
pub(super) fn lag(short: bool, tell: Tell<'_>) {
    let lacks: &[Lack] = if short {
        &[Lack { missing: 100, cycles: 5 }]
    } else {
        &[Lack { missing: 100, cycles: 15 }, Lack { missing: 1_000, cycles: 5 }]
    };
    let runtime = Runtime::new().expect("a runtime");
    // A checkpoint is due all the time, and it is not this device's turn to make it.
    let mut without = Yard::new(&runtime);
    let sizes: &[usize] = if short { &[1_000, 10_000] } else { &[1_000, 10_000, 100_000, 1_000_000] };
    let mut first = Vec::new();
    for size in sizes {
        without.grow(*size);
        without.measure(lacks, "no checkpoint", &mut first, tell);
        if !short && *size == 100_000 {
            without.slope(tell);
        }
    }
    let mut with = Yard::new(&runtime);
    let mut first = Vec::new();
    for size in if short { &[1_000][..] } else { &[1_000, 10_000, 100_000] } {
        with.grow(*size);
        with.compact();
        with.measure(lacks, "a checkpoint", &mut first, tell);
    }
    without.compact();
    without.measure(lacks, "a checkpoint", &mut first, tell);
}

/// A relay, a device that is away now and then, and one that writes meanwhile.
struct Yard<'r> {
    runtime: &'r Runtime,
    relay: Child,
    past: Past,
    home: PathBuf,
    reader: Option<Client>,
    _folder: tempfile::TempDir,
}

/// What catching up cost, in milliseconds.
#[derive(Default)]
struct Cost {
    client_ms: f64,
    relay_ms: f64,
    wall_ms: f64,
}

impl<'r> Yard<'r> {
    fn new(runtime: &'r Runtime) -> Self {
        loop {
            let folder = tempfile::tempdir().expect("a folder");
            let (writer, home) = (folder.path().join("writer"), folder.path().join("reader"));
            let relay = Child::serve(&["relay", &folder.path().join("relay").to_string_lossy()]);
            join::link(&writer, &home, &relay.line);
            let reader = Client::open(&home).expect("a home");
            runtime.block_on(reader.sync(&mut |_| {})).expect("a sync");
            let author = Author::of(&writer);
            if comes_first(&author, &reader) {
                let past = Past::new(author, relay.line.clone(), Some(&home));
                return Self { runtime, relay, past, home, reader: Some(reader), _folder: folder };
            }
        }
    }

    fn reader(&self) -> &Client {
        self.reader.as_ref().expect("an open home")
    }

    fn sync(&self) -> u64 {
        self.runtime.block_on(self.reader().sync(&mut |_| {})).expect("a sync").pulled
    }

    fn grow(&mut self, size: usize) {
        let (start, before) = (std::time::Instant::now(), self.past.count());
        self.runtime.block_on(self.past.grow(size.saturating_sub(self.past.count())));
        let pushed = start.elapsed();
        self.sync();
        eprintln!(
            "lag: {before} to {} envelopes: pushed in {pushed:?}, taken in after {:?}",
            self.past.count(),
            start.elapsed()
        );
    }

    fn compact(&self) {
        self.runtime.block_on(self.reader().compact(&mut |_| {})).expect("a checkpoint");
        assert!(self.reader().status().expect("a status").checkpoint.is_some(), "no checkpoint was made");
        self.sync();
    }

    /// The device is away while so many envelopes come.
    fn catch_up(&mut self, missing: usize) -> Cost {
        // Every edited note is there and was indexed; the device holds them as it does all others.
        self.runtime.block_on(self.past.begin(missing.div_ceil(EDITS)));
        self.sync();
        self.runtime.block_on(self.past.edit(missing));
        std::thread::sleep(LET_GO);
        let clock = || (measure::cpu_clock_ns(std::process::id()), measure::cpu_clock_ns(self.relay.pid()));
        let (before, start) = (clock(), std::time::Instant::now());
        let pulled = self.sync();
        let wall_ms = start.elapsed().as_secs_f64() * 1e3;
        // The relay has heard that the connection ended.
        std::thread::sleep(LET_GO);
        let after = clock();
        assert_eq!(pulled, missing as u64, "so many came");
        let ms = |after: u64, before: u64| (after - before) as f64 / 1e6;
        Cost { client_ms: ms(after.0, before.0), relay_ms: ms(after.1, before.1), wall_ms }
    }

    fn cycles(&mut self, lack: &Lack) -> Cost {
        let costs: Vec<Cost> = (0..lack.cycles).map(|_| self.catch_up(lack.missing)).collect();
        let median = |of: fn(&Cost) -> f64| measure::median(&mut costs.iter().map(of).collect::<Vec<_>>());
        Cost {
            client_ms: median(|cost| cost.client_ms),
            relay_ms: median(|cost| cost.relay_ms),
            wall_ms: median(|cost| cost.wall_ms),
        }
    }

    /// What opening and closing the home costs.
    fn opening_ms(&mut self) -> f64 {
        let mut times: Vec<f64> = (0..OPENINGS)
            .map(|_| {
                let before = measure::cpu_clock_ns(std::process::id());
                self.reader = None;
                self.reader = Some(Client::open(&self.home).expect("a home"));
                (measure::cpu_clock_ns(std::process::id()) - before) as f64 / 1e6
            })
            .collect();
        measure::median(&mut times)
    }

    /// `first` holds what was measured at the smallest size: opening, then the costs of each lack.
    fn measure(&mut self, lacks: &[Lack], state: &str, first: &mut Vec<Cost>, tell: Tell<'_>) {
        let opening = Cost { client_ms: self.opening_ms(), ..Cost::default() };
        let history = self.past.count();
        let mut costs = vec![opening];
        costs.extend(lacks.iter().map(|lack| self.cycles(lack)));
        if first.is_empty() {
            *first = costs.iter().map(|cost| Cost { ..*cost }).collect();
        }
        let (opened, opened_first) = (costs[0].client_ms, first[0].client_ms);
        for ((lack, cost), least) in lacks.iter().zip(&costs[1..]).zip(&first[1..]) {
            tell(Figure {
                name: "lag",
                what: format!(
                    "a device catches up with {} envelopes after a history of {history}, {state}, over loopback",
                    lack.missing
                ),
                n: lack.cycles,
                value: ("client_cpu_ms", cost.client_ms),
                yardstick: Some(("the same after the smallest history".into(), least.client_ms)),
                target: "≤ 1.3 ×, client and relay",
                met: cost.client_ms <= least.client_ms * RATIO_MAX && cost.relay_ms <= least.relay_ms * RATIO_MAX,
                extra: vec![
                    ("history", history as f64),
                    ("missing", lack.missing as f64),
                    ("relay_cpu_ms", cost.relay_ms),
                    ("relay_ratio", cost.relay_ms / least.relay_ms),
                    ("wall_ms", cost.wall_ms),
                    ("open_cpu_ms", opened),
                    ("open_ratio", opened / opened_first),
                ],
            });
        }
    }

    /// Ten, a hundred, a thousand and ten thousand envelopes after one history.
    fn slope(&mut self, tell: Tell<'_>) {
        let mut before: Option<(f64, f64)> = None;
        for (missing, cycles) in [(10, 15), (100, 15), (1_000, 3), (10_000, 1)] {
            let history = self.past.count();
            let cost = self.cycles(&Lack { missing, cycles });
            let each = |ms: f64| ms * 1e3 / missing as f64;
            let (client, relay) = (each(cost.client_ms), each(cost.relay_ms));
            tell(Figure {
                name: "lag",
                what: format!("of {missing} envelopes that are missing each one, after a history of {history}"),
                n: cycles,
                value: ("client_cpu_us", client),
                yardstick: before.map(|(client, _)| ("each of a tenth as many".into(), client)),
                target: "≤ 1.3 ×, client and relay",
                met: before.is_none_or(|(before_client, before_relay)| {
                    client <= before_client * EACH_MAX && relay <= before_relay * EACH_MAX
                }),
                extra: vec![
                    ("history", history as f64),
                    ("missing", missing as f64),
                    ("client_cpu_ms", cost.client_ms),
                    ("relay_cpu_ms", cost.relay_ms),
                    ("relay_cpu_us", relay),
                    ("wall_ms", cost.wall_ms),
                ],
            });
            before = Some((client, relay));
        }
    }
}

/// Whether the one who writes comes before the reader, today and tomorrow, among those who would make a checkpoint: then
/// the reader does not make one by itself while it is measured.
fn comes_first(author: &Author, reader: &Client) -> bool {
    let day_ms = 24 * 3_600 * 1_000;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() / day_ms;
    let today = i64::try_from(now_ms).expect("a day");
    let turn = |device: &[u8], day: i64| sha256("checkpoint-turn", &[device, &day.to_be_bytes()]);
    [today, today + 1].iter().all(|day| turn(author.device().as_ref(), *day) < turn(reader.device().as_ref(), *day))
}
