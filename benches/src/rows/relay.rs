//! What a relay pays: durable pushes, live fan-out, catch-up. CPU seconds of the relay process per million,
//! beside a yardstick of the same shape in the same run.

use std::time::Instant;

use tokio::runtime::Runtime;

use crate::child::Child;
use crate::measure;
use crate::raw::{Author, Peer, Role};
use crate::report::Figure;

/// One side of a comparison.
struct Side {
    child: Child,
    author: Option<Author>,
    _folder: tempfile::TempDir,
}

impl Side {
    fn start(role: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let child = Child::serve(&[role, &folder.path().to_string_lossy()]);
        Self { child, author: (role == "relay").then(|| Author::new(7)), _folder: folder }
    }

    async fn peer(&self, role: Role) -> Peer {
        match &self.author {
            Some(author) => Peer::relay(&self.child.line, author, role).await,
            None => Peer::yard(&self.child.line, role).await,
        }
    }

    /// Payloads of the same size on both sides: real envelopes for the relay, as many bytes for the yardstick.
    fn payloads(&mut self, count: usize) -> Vec<Vec<u8>> {
        self.author.as_mut().map_or_else(|| vec![vec![7; 428]; count], |author| author.seal(count))
    }

    fn cpu_ns(&self) -> u64 {
        measure::cpu_ns(self.child.pid())
    }
}

/// What one run cost.
struct Cost {
    cpu_s_per_million: f64,
    per_s: f64,
    first_ms: f64,
    rss_growth_mib: f64,
}

const FRAME_ENVELOPES: usize = 16;

async fn push_all(side: &Side, payloads: &[Vec<u8>], frames_in_flight: usize) -> Cost {
    let mut writer = side.peer(Role::Writer).await;
    let (before, start) = (side.cpu_ns(), Instant::now());
    let mut in_flight = 0;
    for frame in payloads.chunks(FRAME_ENVELOPES) {
        if in_flight == frames_in_flight {
            writer.acked().await;
            in_flight -= 1;
        }
        writer.push(frame).await;
        in_flight += 1;
    }
    for _ in 0..in_flight {
        writer.acked().await;
    }
    cost(side, before, start, payloads.len())
}

fn cost(side: &Side, cpu_before: u64, start: Instant, count: usize) -> Cost {
    Cost {
        cpu_s_per_million: (side.cpu_ns() - cpu_before) as f64 / 1e9 / count as f64 * 1e6,
        per_s: count as f64 / start.elapsed().as_secs_f64(),
        first_ms: 0.0,
        rss_growth_mib: 0.0,
    }
}

/// 256 envelopes in flight, each acknowledgement after its fsync.
pub(super) fn push(short: bool) -> Vec<Figure> {
    let count = if short { 4_000 } else { 100_000 };
    let runtime = Runtime::new().expect("a runtime");
    let measure = |role: &str| {
        let mut side = Side::start(role);
        let payloads = side.payloads(count);
        runtime.block_on(push_all(&side, &payloads, 16))
    };
    let (yard, relay) = (measure("yard"), measure("relay"));
    vec![figure(
        "push",
        format!("durable pushes of 428 B, 256 in flight in {FRAME_ENVELOPES}s, one device's own stream"),
        count,
        &relay,
        &yard,
        "≤ 2 ×",
        2.0,
    )]
}

/// One writer, readers live; durable before broadcast.
pub(super) fn fanout(short: bool) -> Vec<Figure> {
    [1, 10, 100]
        .into_iter()
        .filter(|readers| !short || *readers < 100)
        .map(|readers| fanout_to(readers, if short { 1_000 } else { 20_000 }))
        .collect()
}

fn fanout_to(readers: usize, count: usize) -> Figure {
    let runtime = Runtime::new().expect("a runtime");
    let measure = |role: &str| {
        let mut side = Side::start(role);
        let payloads = side.payloads(count);
        runtime.block_on(fan_out(&side, &payloads, readers))
    };
    let (yard, relay) = (measure("yard"), measure("relay"));
    figure(
        "fanout",
        format!("live deliveries to {readers} readers, ≤ 64 undelivered, durable before broadcast"),
        count * readers,
        &relay,
        &yard,
        "≤ 1.5 ×",
        1.5,
    )
}

async fn fan_out(side: &Side, payloads: &[Vec<u8>], readers: usize) -> Cost {
    let mut writer = side.peer(Role::Writer).await;
    let (progress, mut delivered) = tokio::sync::mpsc::channel::<usize>(1024);
    for _ in 0..readers {
        let (mut reader, progress, wanted) = (side.peer(Role::Reader).await, progress.clone(), payloads.len());
        tokio::spawn(async move {
            let mut seen = 0;
            while seen < wanted {
                let count = reader.delivered().await;
                seen += count;
                let _ = progress.send(count).await;
            }
        });
    }
    let (before, start) = (side.cpu_ns(), Instant::now());
    let (mut sent, mut seen) = (0, 0);
    for frame in payloads.chunks(FRAME_ENVELOPES) {
        writer.push(frame).await;
        sent += frame.len();
        writer.acked().await;
        while seen + 64 * readers < sent * readers {
            seen += delivered.recv().await.expect("a delivery");
        }
    }
    while seen < payloads.len() * readers {
        seen += delivered.recv().await.expect("a delivery");
    }
    cost(side, before, start, payloads.len() * readers)
}

/// A new reader pulls the whole log.
pub(super) fn catch_up(short: bool) -> Vec<Figure> {
    let count = if short { 4_000 } else { 100_000 };
    let runtime = Runtime::new().expect("a runtime");
    let measure = |role: &str| {
        let mut side = Side::start(role);
        let payloads = side.payloads(count);
        runtime.block_on(async {
            push_all(&side, &payloads, 16).await;
            pull_all(&side, count).await
        })
    };
    let (yard, relay) = (measure("yard"), measure("relay"));
    let mut figure = figure(
        "catchup",
        "a new reader pulls the whole log, 428 B each".into(),
        count,
        &relay,
        &yard,
        "≤ 1.5 ×, first page < 10 ms, < 16 MiB more",
        1.5,
    );
    figure.met &= relay.first_ms < 10.0 && relay.rss_growth_mib < 16.0;
    figure.extra.extend([("first_page_ms", relay.first_ms), ("rss_growth_mib", relay.rss_growth_mib)]);
    vec![figure]
}

async fn pull_all(side: &Side, count: usize) -> Cost {
    let rss_before = measure::peak_rss_mib(side.child.pid());
    let mut reader = side.peer(Role::CatchUp).await;
    let (before, start) = (side.cpu_ns(), Instant::now());
    let (mut seen, mut first_ms) = (0, None);
    while let Some(page) = reader.page().await {
        first_ms.get_or_insert_with(|| start.elapsed().as_secs_f64() * 1e3);
        seen += page;
    }
    assert_eq!(seen, count, "the log is not whole");
    let mut cost = cost(side, before, start, count);
    cost.first_ms = first_ms.unwrap_or_default();
    cost.rss_growth_mib = measure::peak_rss_mib(side.child.pid()) - rss_before;
    cost
}

fn figure(
    name: &'static str,
    what: String,
    n: usize,
    relay: &Cost,
    yard: &Cost,
    target: &'static str,
    limit: f64,
) -> Figure {
    Figure {
        name,
        what,
        n,
        value: ("relay_cpu_s_per_million", relay.cpu_s_per_million),
        yardstick: Some(("yardstick relay (SQLite group commit, FULL)".into(), yard.cpu_s_per_million)),
        target,
        met: relay.cpu_s_per_million / yard.cpu_s_per_million <= limit,
        extra: vec![("per_s", relay.per_s), ("yardstick_per_s", yard.per_s)],
    }
}
