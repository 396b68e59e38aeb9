//! Catching up: what it costs to take in what is missing must not depend on how long the history before it is.

use std::path::Path;

use lifeos_client_core::client::{Client, NoteDraft};

use crate::child::Child;
use crate::report::Figure;
use crate::rows::{Tell, join};

/// Times that each step is measured: one is too short for a clock of a hundredth of a second.
const ROUNDS: usize = 5;
/// Notes that the edits go to, in turn.
const NOTES: usize = 20;
/// With ten, or a hundred, times the history.
const RATIO_MAX: f64 = 1.5;

/// A device that lacks so many envelopes, of a history of so many.
pub(super) fn lag(short: bool, tell: Tell<'_>) {
    let histories: &[usize] = if short { &[30, 120] } else { &[100, 1_000, 10_000] };
    let lacks: &[usize] = if short { &[10] } else { &[1, 10, 100] };
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let relay = Child::serve(&["relay", &path("relay")]);
    join::link(Path::new(&path("writer")), Path::new(&path("reader")), &relay.line);
    let client = Client::open(Path::new(&path("writer"))).expect("a home");
    for at in 0..NOTES {
        client.note_create(NoteDraft { title: format!("note {at}"), ..NoteDraft::default() }).expect("a note");
    }
    drop(client);
    let mut held = 0;
    let mut first: Vec<f64> = Vec::new();
    for history in histories {
        grow(&path("writer"), history - held.min(*history), &mut held);
        Child::finish(&["sync", &path("reader")]);
        for (at, lack) in lacks.iter().enumerate() {
            let cpu_ms = (0..ROUNDS).map(|_| catch_up(&path("writer"), &path("reader"), *lack, &mut held)).sum::<f64>()
                * 1e3
                / ROUNDS as f64;
            if first.len() == at {
                first.push(cpu_ms);
            }
            tell(Figure {
                name: "lag",
                what: format!("a device catches up with {lack} envelopes after a history of {history}, over loopback"),
                n: ROUNDS,
                value: ("cpu_ms", cpu_ms),
                yardstick: Some((format!("the same after a history of {}", histories[0]), first[at])),
                target: "≤ 1.5 × with a hundred times the history",
                met: cpu_ms <= first[at].max(10.0) * RATIO_MAX,
                extra: vec![("history", *history as f64), ("missing", *lack as f64)],
            });
        }
    }
}

fn grow(writer: &str, envelopes: usize, held: &mut usize) {
    Child::finish(&["grow", writer, &envelopes.to_string()]);
    *held += envelopes;
}

fn catch_up(writer: &str, reader: &str, lack: usize, held: &mut usize) -> f64 {
    grow(writer, lack, held);
    let pull = Child::finish(&["sync", reader]);
    let received = pull["pulled"].as_u64().unwrap_or_default();
    assert!(received >= lack as u64, "{received} of {lack} envelopes came: {pull}");
    pull["cpu_s"].as_f64().unwrap_or_default()
}
