//! Walks every state that two honest devices and one attacker can reach, breadth first, each state once.
//!
//! The machines are the product's own, with real cryptography. The attacker is the relay and more: it reads every
//! message, delivers to whoever waits any message it has ever seen or can make, as often as it likes, or none, and
//! says that anything was stored anywhere. So dropping, duplicating, reordering, replacing and replaying are all
//! one move, *deliver this to that device*. Beside it devices stop at any point (a crash, a timeout, a person who
//! gives up) and begin anew. A state is left out when its history has been seen: machines are functions of what
//! they were given, and randomness is drawn from seeds that follow from it.

mod qr;
mod recovery;
mod sas;
mod space;

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;

/// A world of devices and an attacker.
pub(crate) trait Model: Clone {
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

    /// Everybody gives up: what is left behind must be clean.
    fn abandon(&self) -> Self;

    /// Nobody holds anything half-done.
    fn is_clean_end(&self) -> bool;

    /// Everything went well.
    fn is_success(&self) -> bool;
}

/// What an exploration saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// Distinct states.
    pub(crate) states: usize,
    /// Moves tried.
    pub(crate) transitions: usize,
    /// Moves to the farthest state.
    pub(crate) depth: usize,
    /// States in which everything went well.
    pub(crate) successes: usize,
}

/// A state that must not exist, with the way there.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// What does not hold.
    pub(crate) what: String,
    /// The moves, in order.
    pub(crate) path: Vec<String>,
}

struct Node {
    from: usize,
    step: String,
    depth: usize,
}

/// Explores everything reachable.
pub(crate) fn explore<M: Model>(start: M) -> Result<Report, Found> {
    let mut report = Report { states: 1, ..Report::default() };
    let mut seen = HashSet::from([start.fingerprint()]);
    let mut nodes = vec![Node { from: 0, step: "start".into(), depth: 0 }];
    let mut open = VecDeque::from([(start, 0_usize)]);
    while let Some((world, at)) = open.pop_front() {
        let fault = world.check().err().or_else(|| {
            let left = !world.abandon().is_clean_end();
            left.then(|| "giving up does not lead to a clean end".to_owned())
        });
        if let Some(what) = fault {
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

/// Explores, prints what was seen, and wants at least one way to succeed.
pub(crate) fn explore_all<M: Model>(name: &str, start: M) -> Report {
    let report = explore(start).unwrap_or_else(|found| panic!("{name}: {}\n  {}", found.what, found.path.join("\n  ")));
    println!(
        "{name}: {} states, {} transitions, depth {}, {} of the states a success",
        report.states, report.transitions, report.depth, report.successes
    );
    assert!(report.successes > 0, "{name}: nothing ever succeeds");
    report
}
