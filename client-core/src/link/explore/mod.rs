//! Walks every state that two honest devices and one attacker can reach, breadth first, each state once.
//!
//! The machines are the product's own, with real cryptography. The attacker is the relay and more: it reads every
//! message, delivers to whoever waits any message it has ever seen or can make, as often as it likes, or none, and
//! says that anything was stored anywhere. So dropping, duplicating, reordering, replacing and replaying are all
//! one move, *deliver this to that device*. Beside it devices stop at any point (a crash, a timeout, a person who
//! gives up) and begin anew; disk and network are written in steps of their own, so they also stop between the two. A
//! state is left out when its history has been seen: machines are functions of what they were given, and randomness
//! is drawn from seeds that follow from it.
//!
//! In every state it is asked whether what must hold does, and whether everybody may leave it for good: see `space`.
//! Tallies go to the standard output; `cargo xtask ci explore` shows them.

mod qr;
mod recovery;
mod sas;
mod side;
mod space;

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;

use lifeos_sync_protocol::record::Record;

use crate::fault::{Fault, with_fault};

/// A world of devices and an attacker.
trait Model: Clone {
    /// One thing that happens.
    type Move: Clone + Debug;

    /// Everything that can happen now.
    fn moves(&self) -> Vec<Self::Move>;

    /// The world after it.
    fn apply(&self, step: &Self::Move) -> Self;

    /// Equal for worlds that cannot be told apart from now on.
    fn fingerprint(&self) -> Vec<u8>;

    /// What must hold in every state.
    fn check(&self) -> Result<(), String>;

    /// Everybody may stop here for good, crash or give up: what is left behind is clean, and another try ends well.
    fn can_be_left(&self) -> Result<(), String>;

    /// Everything went well.
    fn is_success(&self) -> bool;
}

/// What an exploration has to see at least: an honest change of a machine may lower it, one by accident is noticed.
#[derive(Debug, Clone, Copy)]
struct Least {
    states: usize,
    transitions: usize,
    depth: usize,
}

/// What an exploration saw.
#[derive(Debug, Clone, Default)]
struct Report {
    /// Distinct states.
    states: usize,
    /// Moves tried.
    transitions: usize,
    /// Moves to the farthest state.
    depth: usize,
    /// States in which everything went well.
    successes: usize,
}

/// A state that must not exist, with the way there.
#[derive(Debug, Clone)]
struct Found {
    /// What does not hold.
    what: String,
    /// The moves, in order.
    path: Vec<String>,
}

struct Node {
    from: usize,
    step: String,
    depth: usize,
}

/// Explores everything reachable; ends at the first fault that `is_sought`, and goes on past others.
fn explore<M: Model>(start: M, is_sought: impl Fn(&str) -> bool) -> Result<Report, Found> {
    let mut report = Report { states: 1, ..Report::default() };
    let mut seen = HashSet::from([start.fingerprint()]);
    let mut nodes = vec![Node { from: 0, step: "start".into(), depth: 0 }];
    let mut open = VecDeque::from([(start, 0_usize)]);
    while let Some((world, at)) = open.pop_front() {
        let left = || world.can_be_left().map_err(|why| format!("{STUCK}: {why}"));
        let mut faults = [world.check(), left()].into_iter().filter_map(Result::err);
        if let Some(what) = faults.find(|what| is_sought(what)) {
            return Err(Found { what, path: path(&nodes, at) });
        }
        report.successes += usize::from(world.is_success());
        report.depth = report.depth.max(nodes[at].depth);
        for step in world.moves() {
            report.transitions += 1;
            let next = world.apply(&step);
            if seen.insert(next.fingerprint()) {
                report.states += 1;
                nodes.push(Node { from: at, step: format!("{step:?}"), depth: nodes[at].depth + 1 });
                open.push_back((next, nodes.len() - 1));
            }
        }
    }
    Ok(report)
}

fn path(nodes: &[Node], mut at: usize) -> Vec<String> {
    let mut path = Vec::new();
    while at != 0 {
        path.push(nodes[at].step.clone());
        at = nodes[at].from;
    }
    path.reverse();
    path
}

/// What the fault of a state that cannot be left begins with.
const STUCK: &str = "this cannot be left";

/// Explores everything, prints what was seen, and wants a way to succeed and no less than was seen the last time.
fn explore_all<M: Model>(name: &str, start: M, least: Least) {
    let report = explore(start, |_| true);
    let report = report.unwrap_or_else(|found| panic!("{name}: {}\n  {}", found.what, found.path.join("\n  ")));
    let Report { states, transitions, depth, successes } = report;
    println!("explored: {name}: {states} states, {transitions} transitions, depth {depth}, {successes} a success");
    assert!(successes > 0, "{name}: nothing ever succeeds");
    let found = Least { states, transitions, depth };
    let is_smaller = states < least.states || transitions < least.transitions || depth < least.depth;
    assert!(!is_smaller, "{name}: {found:?} is less than {least:?}: what is left out now?");
}

/// Explores with a fault in place until what it leads to is found, and prints that.
fn find<M: Model>(name: &str, fault: Option<Fault>, start: impl FnOnce() -> M, what: &str) {
    let run = || explore(start(), |found| found.contains(what));
    let found = match fault {
        Some(fault) => with_fault(fault, run),
        None => run(),
    };
    let found = found.expect_err("the planted fault is not found");
    println!("planted: {name}: found after {} moves: {}", found.path.len(), found.what);
}

/// Which records these are; in which order and how often they came does not matter to anybody.
fn ids(records: &[Record], out: &mut Vec<u8>) {
    let mut ids: Vec<_> = records.iter().map(|record| record.id().0).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.iter().for_each(|id| out.extend_from_slice(id));
}
