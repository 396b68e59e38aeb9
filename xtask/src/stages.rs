//! The stages of `cargo xtask test`, each with its cap; they share one build profile, `ci`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::run::{Outcome, cargo, ci_bin, command, has, need, run, target};
use crate::{decoder, deny, tour};

struct Stage {
    name: &'static str,
    what: &'static str,
    run: fn() -> Outcome,
}

const STAGES: &[Stage] = &[
    Stage { name: "format", what: "the sources are formatted", run: format },
    Stage { name: "build", what: "everything builds in one profile", run: build },
    Stage { name: "test", what: "units, properties, vectors, house rules, system tests", run: tests },
    Stage { name: "membership", what: "the membership rules agree with their executable model", run: membership },
    Stage { name: "explore", what: "every state of linking and recovery is explored", run: explore },
    Stage { name: "demo", what: "the main job holds on real input", run: demo },
    Stage { name: "tour", what: "the README's commands work", run: tour::run_readme },
    Stage { name: "crash", what: "kill -9 at random system calls loses nothing", run: crash_short },
    Stage { name: "simulate", what: "the whole system holds under many seeds", run: simulations },
    Stage { name: "bindings", what: "Python drives two devices and a relay", run: bindings },
    Stage { name: "decoder", what: "code of its own opens every golden vector", run: decoder::check },
    Stage { name: "bench", what: "the benchmarks run", run: bench_short },
    Stage { name: "clippy", what: "no lint fires; no cipher in the relay", run: clippy },
    Stage { name: "pure", what: "the pure half compiles without I/O", run: pure },
    Stage { name: "deny", what: "licences, bans and sources of the dependencies", run: deny::check },
];

/// What the stages start besides cargo, with the Debian packages. Looked for before the first: units need them, too.
const PROGRAMS: &[(&str, &str)] = &[("python3", "python3"), ("strace", "strace"), ("script", "bsdutils")];

/// For all of it, on a machine that has nothing yet.
const CAP: Duration = minutes(30);

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// Runs every stage; goes on after a failure so that one run tells all, and fails at the end.
pub(crate) fn test() -> Outcome {
    let began = Instant::now();
    let mut failures = Vec::new();
    let (mut lines, mut passed) = (Vec::new(), 0);
    for (program, package) in PROGRAMS {
        if let Err(message) = need(program, package) {
            lines.push(format!("{program:<10} MISSING         {message}"));
            failures.push(*program);
        }
    }
    for stage in STAGES {
        eprintln!("\n== {}: {}", stage.name, stage.what);
        let start = Instant::now();
        let outcome = (stage.run)();
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        lines.push(format!("{:<10} {word:<7} {:>5} s  {}", stage.name, start.elapsed().as_secs(), stage.what));
        passed += u32::from(outcome.is_ok());
        if let Err(message) = outcome {
            eprintln!("{}: {message}", stage.name);
            failures.push(stage.name);
            if stage.name == "build" {
                break;
            }
        }
    }
    println!("\n{}", lines.join("\n"));
    if began.elapsed() > CAP {
        println!("{} s in all, of {} that all may take", began.elapsed().as_secs(), CAP.as_secs());
        failures.push("too slow");
    }
    println!("{passed} passed, {} failed", failures.len());
    if failures.is_empty() { Ok(()) } else { Err(format!("failed: {}", failures.join(", "))) }
}

/// Runs one stage by name.
pub(crate) fn one(name: &str) -> Outcome {
    let stage = STAGES.iter().find(|stage| stage.name == name);
    (stage.ok_or_else(|| format!("no stage `{name}`; see `cargo xtask ci list`"))?.run)()
}

/// Prints the stages.
pub(crate) fn list() -> Outcome {
    STAGES.iter().for_each(|stage| println!("{:<10} {}", stage.name, stage.what));
    Ok(())
}

fn format() -> Outcome {
    run(&mut cargo(&["fmt", "--all", "--check"]), minutes(1))
}

fn build() -> Outcome {
    run(&mut cargo(&["build", "--workspace", "--all-targets", "--profile", "ci", "--locked"]), minutes(20))
}

fn tests() -> Outcome {
    run(&mut cargo(&["test", "--workspace", "--profile", "ci", "--locked", "--no-fail-fast"]), minutes(8))
}

/// The same 20,000 random histories every time; `cargo xtask deep membership` tries others every day.
fn membership() -> Outcome {
    let seed = std::env::var("LIFEOS_SEED").unwrap_or_else(|_| "1".to_owned());
    histories("20000", &seed, minutes(5))
}

/// Random histories, evaluated and compared with the executable model.
pub(crate) fn histories(count: &str, seed: &str, time_max: Duration) -> Outcome {
    need("python3", "python3")?;
    let test = "the_rules_agree_with_the_executable_model";
    // The whole workspace, so that dependencies keep the features they were built with.
    let args = ["test", "--workspace", "--lib", "--profile", "ci", "--locked", test, "--", "--nocapture"];
    run(cargo(&args).env("LIFEOS_HISTORIES", count).env("LIFEOS_SEED", seed), time_max)
}

/// As the stage `test` runs it, with what was seen: states, transitions, depth, and each planted fault.
fn explore() -> Outcome {
    let args = ["test", "--workspace", "--lib", "--profile", "ci", "--locked", "link::explore", "--", "--nocapture"];
    run(&mut cargo(&args), minutes(5))
}

fn demo() -> Outcome {
    run(command(ci_bin("lifeos"), &["demo"]).env("NO_COLOR", "1"), minutes(3))
}

fn crash_short() -> Outcome {
    crash(&["--points", "50"], minutes(4))
}

/// Kills clients and the relay at random system calls.
pub(crate) fn crash(args: &[&str], cap: Duration) -> Outcome {
    need("strace", "strace")?;
    // The very command of the stage `build`: without the tests' own dependencies cargo leaves out some features of
    // tokio and others, and builds all that hangs on them once more.
    build()?;
    run(&mut command(ci_bin("lifeos-crash"), args), cap)
}

/// 300 seeds, and that a seed is a replay.
fn simulations() -> Outcome {
    let args = ["test", "--profile", "ci", "--locked", "-p", "lifeos-tests", "--features", "simulation"];
    run(cargo(&args).args(["--test", "simulation", "--", "--nocapture"]), minutes(10))
}

/// The whole system from one seed, or from many.
pub(crate) fn simulate(args: &[&str], cap: Duration) -> Outcome {
    run(&mut simulator(args)?, cap)
}

/// The simulator, built: the seams that it needs are in no program that is given away.
pub(crate) fn simulator(args: &[&str]) -> Result<Command, String> {
    let build = ["build", "--profile", "ci", "--locked", "-p", "lifeos-tests", "--features", "simulation"];
    run(cargo(&build).args(["--bin", "lifeos-sim"]), minutes(20))?;
    Ok(command(ci_bin("lifeos-sim"), args))
}

/// The relay's tests with every relay at a real PostgreSQL server. Debian keeps the server where `PATH` does not lead.
pub(crate) fn postgres() -> Outcome {
    if !has("initdb") && !Path::new("/usr/lib/postgresql").is_dir() {
        need("psql", "postgresql")?;
    }
    let of = ["--profile", "ci", "--locked", "-p", "lifeos-sync-server", "--features", "postgres"];
    run(&mut cargo(&[&["test"], &of[..], &["--test", "relay_postgres"]].concat()), minutes(20))?;
    run(&mut cargo(&[&["clippy"], &of[..], &["--all-targets", "--", "-D", "warnings"]].concat()), minutes(5))
}

fn bindings() -> Outcome {
    need("python3", "python3")?;
    let library = ci_bin(if cfg!(target_os = "macos") { "liblifeos_ffi.dylib" } else { "liblifeos_ffi.so" });
    let out = target().join("bindings/python");
    let (library, out) = (library.to_string_lossy(), out.to_string_lossy());
    let bindgen = ["generate", &*library, "--language", "python", "--out-dir", &*out, "--no-format"];
    run(&mut command(ci_bin("uniffi-bindgen"), &bindgen), minutes(2))?;
    std::fs::copy(&*library, target().join("bindings/python").join(library.rsplit('/').next().unwrap_or_default()))
        .map_err(|error| format!("cannot copy the library: {error}"))?;
    run(
        command("python3", &["-m", "unittest", "discover", "-s", "bindings/python/tests"])
            .env("PYTHONPATH", &*out)
            .env("LIFEOS_RELAY", ci_bin("lifeos-relay")),
        minutes(4),
    )
}

fn bench_short() -> Outcome {
    run(&mut command(ci_bin("lifeos-bench"), &["all", "--short"]), minutes(5))
}

/// Benchmarks, in release.
pub(crate) fn bench(args: &[&str]) -> Outcome {
    run(&mut cargo(&["build", "--release", "--locked", "-p", "lifeos-benches"]), minutes(30))?;
    let args =
        if args.first().is_none_or(|word| word.starts_with("--")) { [&["all"], args].concat() } else { args.to_vec() };
    run(&mut command(target().join("release/lifeos-bench"), &args), minutes(60))
}

fn clippy() -> Outcome {
    everything()?;
    // Of the two features that the workspace leaves out, the one that needs nothing of the machine, or nobody would notice
    // that it builds no more. `sqlcipher` needs libcrypto with its headers, and minutes to build SQLCipher anew: `deep`
    // lints it and runs every test with it.
    let keystore = ["-p", "lifeos-client-core", "--features", "keystore"];
    let lint = ["clippy", "--profile", "ci", "--locked", "--quiet"];
    run(&mut cargo(&[&lint[..], &keystore, &["--", "-D", "warnings"]].concat()), minutes(10))?;
    let simulation = ["-p", "lifeos-tests", "--features", "simulation", "--all-targets"];
    run(&mut cargo(&[&lint[..], &simulation, &["--", "-D", "warnings"]].concat()), minutes(10))
}

fn everything() -> Outcome {
    run(
        &mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--profile",
            "ci",
            "--locked",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]),
        minutes(10),
    )
}

fn pure() -> Outcome {
    let lint = ["clippy", "-p", "lifeos-client-core", "--no-default-features", "--profile", "ci", "--locked"];
    run(cargo(&lint).args(["--", "-D", "warnings"]), minutes(5))
}
