//! Faults planted in a copy of the sources, to see whether the whole-system simulation finds them.
//!
//! A check that has never failed is not a check. All faults are planted in one copy and sleep there; the variable
//! `LIFEOS_FAULT` wakes one in a run, so that one build serves them all. Nothing of this is in the sources themselves.

use std::time::Duration;

use crate::defences::Copy;
use crate::run::{Outcome, cargo, command, run, target, watch};

/// Seeds run for each fault, unless told otherwise.
const SEEDS: &str = "200";
const BUILD_MAX: Duration = Duration::from_secs(30 * 60);
const SEEDS_MAX: Duration = Duration::from_secs(60 * 60);
/// Stands in [`Fault::put`] for the question whether this very fault is awake.
const AWAKE: &str = "{awake}";

/// One fault.
struct Fault {
    name: &'static str,
    /// What goes wrong, in a sentence.
    how: &'static str,
    /// Why no seed finds it; empty: one must.
    unseen: &'static str,
    /// File, its text, which it holds exactly once, and what compiles in its place.
    places: &'static [(&'static str, &'static str, &'static str)],
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "acked-one-more",
        how: "a device takes one envelope more for acknowledged than the relay said",
        unseen: "",
        places: &[(
            "client-core/src/session/push.rs",
            "self.push.acked = *seq;",
            "self.push.acked = if {awake} { seq.saturating_add(1) } else { *seq };",
        )],
    },
    Fault {
        name: "relay-drops",
        how: "a relay acknowledges envelopes and keeps all but every seventh",
        unseen: "",
        places: &[(
            "sync-server/src/store/writer.rs",
            "run.envelopes[first..].iter().zip(&appended).map(",
            "run.envelopes[first..].iter().zip(&appended).filter(|(_, at)| !({awake} && at.pos % 7 == 0)).map(",
        )],
    },
    Fault {
        name: "relay-acks-early",
        how: "a relay that dies at a commit has acknowledged what was in it",
        unseen: "",
        places: &[(
            "sync-server/src/store/job.rs",
            "Self::Push(job) => (job.reply)(Err(error)),",
            "Self::Push(job) if {awake} => (job.reply)(Ok(job.results)),
            Self::Push(job) => (job.reply)(Err(error)),",
        )],
    },
    Fault {
        name: "two-commits",
        how: "changes are marked as sealed in a commit before the one that stores their envelope",
        unseen: "",
        places: &[(
            "client-core/src/store/seal.rs",
            "        clear(&transaction, &taken)?;\n",
            "        clear(&transaction, &taken)?;
        let transaction = if {awake} {
            transaction.commit()?;
            begin(&self.conn)?
        } else {
            transaction
        };\n",
        )],
    },
    Fault {
        name: "page-dropped",
        how: "a page that met an unknown epoch is dropped and its cursor kept",
        unseen: "",
        places: &[
            (
                "client-core/src/store/receive/mod.rs",
                "self.report.held = verified.held;",
                "self.report.held = verified.held.filter(|_| !{awake});",
            ),
            ("client-core/src/store/receive/mod.rs", "(page.relay, verified.held)", "(page.relay, self.report.held)"),
        ],
    },
    Fault {
        name: "waits-for-nothing",
        how: "a change that came before what it builds upon is forgotten instead of kept",
        unseen: "",
        places: &[(
            "client-core/src/store/receive/apply.rs",
            "        for change in changes {\n            insert.execute((",
            "        for change in changes.iter().filter(|_| !{awake}) {\n            insert.execute((",
        )],
    },
    Fault {
        name: "old-stream",
        how: "a home that was put back goes on under its old stream, whatever others hold of it",
        unseen: "",
        places: &[
            (
                "client-core/src/store/receive/stream.rs",
                "        Ok([proven.transpose()?, seen, marked].into_iter()",
                "        if {awake} {\n            return Ok(None);\n        }
        Ok([proven.transpose()?, seen, marked].into_iter()",
            ),
            (
                "client-core/src/store/seal.rs",
                "if schema::meta(&transaction, &forked_key(space))?.is_some() {",
                "if schema::meta(&transaction, &forked_key(space))?.is_some() && !{awake} {",
            ),
        ],
    },
    Fault {
        name: "no-doubt",
        how: "a relay that lost its log is believed to tell how far the own stream goes",
        unseen: "",
        places: &[(
            "client-core/src/store/receive/stream.rs",
            "if seal::own_tip(&self.conn, own)?.seq > 0 {",
            "if seal::own_tip(&self.conn, own)?.seq > 0 && !{awake} {",
        )],
    },
    Fault {
        name: "acks-kept",
        how: "what a relay acknowledged counts although its log is another one, and nothing is healed there",
        unseen: "",
        places: &[
            (
                "client-core/src/session/push.rs",
                "self.rewind(0);",
                "self.rewind(if {awake} { self.acked } else { 0 });",
            ),
            (
                "client-core/src/store/outbox.rs",
                "roll = NULL, own_acked_seq = 0, receipt = NULL\n                   WHERE id = ?1\";",
                "roll = NULL, own_acked_seq = own_acked_seq * ?2, receipt = NULL\n                   WHERE id = ?1\";",
            ),
            (
                "client-core/src/store/outbox.rs",
                "self.conn.execute(sql, [relay.0])?;",
                "self.conn.execute(sql, (relay.0, i64::from({awake})))?;",
            ),
            (
                "client-core/src/session/heal.rs",
                "if have_digest(&held) == self.heal.digest {",
                "if {awake} || have_digest(&held) == self.heal.digest {",
            ),
        ],
    },
    Fault {
        name: "no-healing",
        how: "nobody gives a relay what it lacks of others' streams",
        unseen: "",
        places: &[(
            "client-core/src/session/heal.rs",
            "if self.push.is_stopped() {",
            "if self.push.is_stopped() || {awake} {",
        )],
    },
    Fault {
        name: "cut-ignored",
        how: "what a removed device wrote behind the cut of its removal counts where it arrives late",
        unseen: "",
        places: &[(
            "client-core/src/store/receive/mod.rs",
            "Some(limit) if header.seq > *limit => {",
            "Some(limit) if header.seq > *limit && !{awake} => {",
        )],
    },
    Fault {
        name: "relay-lets-in",
        how: "a relay lets a removed device in",
        unseen: "",
        places: &[(
            "sync-server/src/connection/handshake.rs",
            "if view.membership.may_read(device) || view.is_guest(",
            "if {awake} || view.membership.may_read(device) || view.is_guest(",
        )],
    },
    Fault {
        name: "sealed-to-all",
        how: "a new key is sealed to removed devices, too",
        unseen: "",
        places: &[(
            "client-core/src/records/epochs.rs",
            "let body = epoch_body(&space, &author, &new, &self.membership().readers(), random)?;",
            "let mut readers = self.membership().readers();
        if {awake} {
            let gone = self.membership().devices.iter().filter(|(_, device)| device.removed_by.is_some());
            readers.extend(gone.map(|(key, device)| (*key, device.hpke_pk)));
        }
        let body = epoch_body(&space, &author, &new, &readers, random)?;",
        )],
    },
    Fault {
        name: "receipt-of-one-more",
        how: "a receipt says one envelope more of each stream than is on the disk",
        unseen: "",
        places: &[(
            "client-core/src/store/receipt.rs",
            "known.iter().map(|known| (known.stream, known.counts)).collect(),",
            "known.iter().map(|known| (known.stream, known.counts + u32::from({awake}))).collect(),",
        )],
    },
    Fault {
        name: "erased-comes-back",
        how: "what is said of an erased note later makes it again",
        unseen: "",
        places: &[(
            "client-core/src/store/receive/erase.rs",
            "doc.genesis == NOTE_GENESIS && self.erased.contains(&doc.doc);",
            "doc.genesis == NOTE_GENESIS && self.erased.contains(&doc.doc) && !{awake};",
        )],
    },
    Fault {
        name: "floor-forgotten",
        how: "a relay counts what a checkpoint stands for as written behind a removal",
        unseen: "",
        places: &[(
            "sync-server/src/store/writer.rs",
            "tip.seq > (*end).max(tip.floor.seq)",
            "tip.seq > (*end).max(if {awake} { 0 } else { tip.floor.seq })",
        )],
    },
    Fault {
        name: "packed-without-one",
        how: "a checkpoint leaves out one of its documents",
        unseen: "",
        places: &[(
            "client-core/src/store/checkpoint/draft.rs",
            "        let Some(first) = self.todo.front().copied() else { return Ok(None) };",
            "        if {awake} && self.todo.len() > 2 {\n            self.todo.pop_back();\n        }
        let Some(first) = self.todo.front().copied() else { return Ok(None) };",
        )],
    },
    Fault {
        name: "key-not-asked",
        how: "a home put back from before its newest key does not ask for another",
        unseen: "",
        places: &[(
            "client-core/src/engine/rotation.rs",
            "    if !state.own_keys(keys).holds(&enrolled.hpke_pk)\n        && asked_within",
            "    if !{awake}\n        && !state.own_keys(keys).holds(&enrolled.hpke_pk)\n        && asked_within",
        )],
    },
    Fault {
        name: "parts-not-given",
        how: "a device believes that a relay holds the parts of attachments that it lacks",
        unseen: "",
        places: &[(
            "client-core/src/store/attachment.rs",
            "for (sql, ids) in [(insert, held), (delete, lacking)] {",
            "for (sql, ids) in [(insert, held), (if {awake} { insert } else { delete }, lacking)] {",
        )],
    },
];

/// What came of a fault.
enum Found {
    By(u64),
    None,
}

/// Wakes every fault once, or those named, and tells the seed that finds it.
pub(crate) fn sabotage(args: &[&str]) -> Outcome {
    let (mut names, mut from, mut seeds) = (Vec::new(), "1", SEEDS);
    let mut words = args.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "--from" => from = words.next().ok_or("--from N")?,
            "--seeds" => seeds = words.next().ok_or("--seeds N")?,
            name if FAULTS.iter().any(|fault| fault.name == name) => names.push(name),
            name => return Err(format!("no fault `{name}`")),
        }
    }
    let simulator = build()?;
    let simulator = simulator.to_string_lossy();
    let sound = simulate(&simulator, "none", from, "20")?;
    if let Found::By(seed) = sound {
        return Err(format!("seed {seed} fails although no fault is awake"));
    }
    let mut wrong = Vec::new();
    for fault in FAULTS.iter().filter(|fault| names.is_empty() || names.contains(&fault.name)) {
        match simulate(&simulator, fault.name, from, seeds)? {
            Found::By(seed) => println!("{:<20} found by seed {seed}: {}", fault.name, fault.how),
            Found::None => {
                println!("{:<20} found by none of {seeds} seeds from {from}: {}", fault.name, fault.how);
                if fault.unseen.is_empty() {
                    wrong.push(fault.name);
                }
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("found by no seed: {}", wrong.join(", "))) }
}

/// The first of these seeds that fails.
fn simulate(simulator: &str, fault: &str, from: &str, seeds: &str) -> Result<Found, String> {
    let mut simulate = command(simulator, &["--seeds", seeds, "--from", from, "--until-one-fails"]);
    simulate.env("LIFEOS_FAULT", fault);
    let (status, said) = watch(&mut simulate, SEEDS_MAX)?;
    let seed = said.lines().find_map(|line| line.strip_prefix("seed ")?.split_once(" FAILED")?.0.parse().ok());
    match (seed, status) {
        (Some(seed), _) => Ok(Found::By(seed)),
        (None, Some(status)) if status.success() => Ok(Found::None),
        _ => {
            Err(format!("the simulation did not end well with `{fault}`: {}", said.lines().last().unwrap_or_default()))
        }
    }
}

/// The simulator from a copy that holds every fault.
fn build() -> Result<std::path::PathBuf, String> {
    let copy = Copy::refresh("sabotage/tree")?;
    // Put back as they were when the build is done.
    let mut changed = Vec::new();
    for fault in FAULTS {
        let awake = format!("std::env::var_os(\"LIFEOS_FAULT\").is_some_and(|it| it == \"{}\")", fault.name);
        for (file, find, put) in fault.places {
            changed.push(copy.change(file, find, &put.replace(AWAKE, &awake))?);
        }
    }
    let build = ["build", "--profile", "ci", "--locked", "-p", "lifeos-tests", "--features", "simulation"];
    run(cargo(&build).args(["--bin", "lifeos-sim"]).current_dir(copy.folder()), BUILD_MAX)?;
    // One change was made on top of the other.
    while changed.pop().is_some() {}
    // Whoever builds next gets the sound one again.
    let built = target().join("sabotage/lifeos-sim");
    std::fs::rename(crate::run::ci_bin("lifeos-sim"), &built)
        .map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(built)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::run::root;

    #[test]
    fn every_fault_is_planted_where_the_sources_have_room_for_it() {
        for fault in FAULTS {
            assert!(!fault.how.is_empty() && !fault.places.is_empty());
            let mut texts = std::collections::BTreeMap::new();
            for (file, find, put) in fault.places {
                let text =
                    texts.entry(file).or_insert_with(|| std::fs::read_to_string(root().join(file)).unwrap_or_default());
                assert_eq!(text.matches(find).count(), 1, "{}: `{find}` in {file}", fault.name);
                assert!(find != put);
                *text = text.replacen(find, put, 1);
            }
            let is_switched = fault.places.iter().any(|(_, _, put)| put.contains(AWAKE));
            assert!(is_switched, "{} never sleeps", fault.name);
        }
    }
}
