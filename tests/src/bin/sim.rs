//! Runs seeds of the whole-system simulation, each in a process of its own; see `lifeos_tests::sim`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lifeos_tests::sim::{Plan, Ran, run, template};
use tempfile::TempDir;

const USAGE: &str = "lifeos-sim [--seed N | --seeds N [--from N]] [--steps N] [--shrink] [--verbose] [--seconds N] \
[--until-one-fails] [--keep]";

/// What the command line says.
struct Options {
    seed: Option<u64>,
    seeds: u64,
    from: u64,
    steps_max: u32,
    shrink: bool,
    verbose: bool,
    seconds: u64,
    /// One failure is enough.
    until_one_fails: bool,
    /// The folder of a seed stays, to be looked into.
    keep: bool,
    template: Option<PathBuf>,
    make: Option<PathBuf>,
}

fn options() -> Option<Options> {
    let mut options = Options {
        seed: None,
        seeds: 300,
        from: 1,
        steps_max: u32::MAX,
        shrink: false,
        verbose: false,
        seconds: u64::MAX,
        until_one_fails: false,
        keep: false,
        template: None,
        make: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seed" => options.seed = Some(words.next()?.parse().ok()?),
            "--seeds" => options.seeds = words.next()?.parse().ok()?,
            "--from" => options.from = words.next()?.parse().ok()?,
            "--steps" => options.steps_max = words.next()?.parse().ok()?,
            "--seconds" => options.seconds = words.next()?.parse().ok()?,
            "--shrink" => options.shrink = true,
            "--verbose" => options.verbose = true,
            "--keep" => options.keep = true,
            "--until-one-fails" => options.until_one_fails = true,
            "--template" => options.template = Some(words.next()?.into()),
            "--make-template" => options.make = Some(words.next()?.into()),
            _ => return None,
        }
    }
    Some(options)
}

/// A folder in memory, where there is one: nothing here has to outlast the machine.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.expect("a folder")
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if let Some(dir) = &options.make {
        template(dir);
        return ExitCode::SUCCESS;
    }
    match (&options.template, options.seed) {
        (Some(template), Some(seed)) => one(template, Plan { seed, steps_max: options.steps_max }, &options),
        (None, Some(seed)) => {
            let dir = made_template();
            let done = child(dir.path(), seed, options.steps_max, true, false);
            if !done && options.shrink {
                shrink(dir.path(), seed);
            }
            if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        _ => many(&options),
    }
}

/// Made in a process of its own, so that every seed begins with the same bytes.
fn made_template() -> TempDir {
    let dir = folder();
    let own = std::env::current_exe().expect("this program");
    let made = Command::new(own).arg("--make-template").arg(dir.path()).status().expect("a process");
    assert!(made.success(), "the template cannot be made");
    dir
}

/// One seed in this process.
fn one(template: &Path, plan: Plan, options: &Options) -> ExitCode {
    if options.verbose && std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr).init();
    }
    let mut dir = folder();
    dir.disable_cleanup(options.keep);
    let Ran { steps, script, counts, failures, digest } = run(plan, template, dir.path());
    if options.keep {
        println!("kept in {}", dir.path().display());
    }
    if options.verbose || !failures.is_empty() {
        script.iter().for_each(|line| println!("{line}"));
    }
    let counts: Vec<String> = counts.iter().map(|(what, count)| format!("{what}={count}")).collect();
    println!("seed {} steps {steps} digest {digest} counts {}", plan.seed, counts.join(";"));
    failures.iter().for_each(|failure| println!("FAILURE {failure}"));
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn command(template: &Path, seed: u64, steps_max: u32, verbose: bool) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("--template").arg(template).args(["--seed", &seed.to_string(), "--steps", &steps_max.to_string()]);
    if verbose {
        command.arg("--verbose");
    }
    if std::env::args().any(|word| word == "--keep") {
        command.arg("--keep");
    }
    command
}

fn child(template: &Path, seed: u64, steps_max: u32, verbose: bool, quiet: bool) -> bool {
    let mut command = command(template, seed, steps_max, verbose);
    if quiet {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    command.status().expect("a process").success()
}

/// The fewest steps after which the seed fails: what happens in the last of them matters.
fn shrink(template: &Path, seed: u64) {
    let (mut passes, mut fails) = (0, 70);
    while passes + 1 < fails {
        let middle = u32::midpoint(passes, fails);
        if child(template, seed, middle, false, true) {
            passes = middle;
        } else {
            fails = middle;
        }
    }
    println!("\nseed {seed} fails from {fails} steps on:");
    child(template, seed, fails, true, false);
    println!("again: cargo xtask sim --seed {seed} --steps {fails}");
}

/// Many seeds, two at a time.
fn many(options: &Options) -> ExitCode {
    let dir = made_template();
    let (began, next) = (Instant::now(), AtomicU64::new(options.from));
    let end = options.from + options.seeds;
    let failed = Mutex::new(Vec::new());
    let totals = Mutex::new(std::collections::BTreeMap::<String, u64>::new());
    let ran = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_enough =
                        options.until_one_fails && !failed.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
                    if seed >= end || is_enough || began.elapsed() > Duration::from_secs(options.seconds) {
                        return;
                    }
                    let output = command(dir.path(), seed, options.steps_max, false).output().expect("a process");
                    ran.fetch_add(1, Ordering::Relaxed);
                    let said = String::from_utf8_lossy(&output.stdout).into_owned();
                    let counts = said.lines().find_map(|line| line.split_once(" counts ")).map_or("", |found| found.1);
                    let mut totals = totals.lock().unwrap_or_else(PoisonError::into_inner);
                    for (what, count) in counts.split(';').filter_map(|count| count.split_once('=')) {
                        *totals.entry(what.to_owned()).or_default() += count.parse::<u64>().unwrap_or(0);
                    }
                    drop(totals);
                    if !output.status.success() {
                        let mut why: Vec<&str> = said.lines().filter(|line| line.starts_with("FAILURE")).collect();
                        let panicked = String::from_utf8_lossy(&output.stderr).into_owned();
                        why.extend(panicked.lines().filter(|_| said.is_empty()).take(3));
                        println!("seed {seed} FAILED\n  {}", why.join("\n  "));
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(seed);
                    }
                }
            });
        }
    });
    let (totals, mut failed) = (
        totals.into_inner().unwrap_or_else(PoisonError::into_inner),
        failed.into_inner().unwrap_or_else(PoisonError::into_inner),
    );
    failed.sort_unstable();
    let ran = ran.into_inner();
    for (what, count) in &totals {
        println!("{count:>9} {what}");
    }
    println!("{} seeds from {}, {} failed, {} s", ran, options.from, failed.len(), began.elapsed().as_secs());
    for seed in failed.iter().take(10) {
        println!("again: cargo xtask sim --seed {seed} --shrink");
    }
    // A fault that was never injected proves nothing.
    let missing: Vec<&str> =
        INJECTED.iter().copied().filter(|what| !totals.contains_key(*what) && ran >= 100).collect();
    if !missing.is_empty() {
        println!("never happened: {missing:?}");
    }
    if failed.is_empty() && missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What must have happened at least once in a hundred seeds.
const INJECTED: &[&str] = &[
    "edit acknowledged",
    "link set",
    "device crashed",
    "device died at a commit",
    "relay crashed",
    "relay died at a commit",
    "relay wiped",
    "relay rolled back",
    "clock jumped",
    "time passed",
    "removes a device",
    "makes a new key",
    "makes a checkpoint",
    "home restored",
    "bundle carried",
    "devices met",
    "note erased",
    "file attached",
    "struck in the midst",
    "question asked",
];
