//! The whole system in one thread, from one seed: real clients, real relays and the real websocket between them, with
//! virtual time, and a network, clocks and disks that fail.
//!
//! | file | what |
//! |---|---|
//! | `host` | time, randomness and commits of simulated devices and relays |
//! | `net` | links between them: delayed, stalled, cut |
//! | `world` | four devices of three people and two relays: start, crash, wipe, restore |
//! | `chaos` | what happens, drawn from the seed, and the ledger of what was acknowledged |
//! | `carry` | bundles from hand to hand, and devices that meet |
//! | `truth` | what devices say of each other, asked while it goes on |
//! | `check` | healing, and what must be so afterwards |
//!
//! A seed gets a process of its own, so that nothing another seed did can matter.

mod carry;
mod chaos;
mod check;
mod host;
mod net;
mod truth;
mod world;

use std::path::Path;
use std::time::Duration;

pub use host::Dice;
pub use world::template;

/// How a seed is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What everything follows from.
    pub seed: u64,
    /// Only so many of its steps, to find the one that matters.
    pub steps_max: u32,
}

/// What came of a seed.
#[derive(Debug)]
pub struct Ran {
    /// Steps that were taken.
    pub steps: u32,
    /// What happened, line by line.
    pub script: Vec<String>,
    /// Counts of what was injected and acknowledged, by name.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
    /// What does not hold; empty when all is well.
    pub failures: Vec<String>,
    /// Over the script and everything that is held at the end.
    pub digest: String,
}

/// Runs one seed in a folder that holds the template, on a thread that has done nothing before.
///
/// # Panics
/// When the world cannot even be set up.
#[must_use]
pub fn run(plan: Plan, template: &Path, dir: &Path) -> Ran {
    alone(plan.seed, || async move { chaos::run(plan, template, dir).await })
}

/// Runs a future in a world of its own: one thread, time that stands until everybody waits, and randomness from a seed.
pub(crate) fn alone<T: Send, F: Future<Output = T>>(seed: u64, work: impl FnOnce() -> F + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("world".into()).stack_size(64 * 1024 * 1024);
        let thread = thread.spawn_scoped(scope, || {
            host::seed_this_thread(seed);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let runtime = runtime.expect("a runtime");
            let value = runtime.block_on(async {
                host::enter(seed);
                work().await
            });
            host::leave();
            runtime.shutdown_timeout(Duration::ZERO);
            value
        });
        match thread.expect("a thread").join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
