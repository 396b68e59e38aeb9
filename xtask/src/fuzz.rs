//! Fuzzing without another program to install: the targets are built with the nightly toolchain and the coverage
//! counters that libFuzzer reads, and run as they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::run::{Outcome, capture, command, root};

/// The targets of `fuzz/`.
pub(crate) const TARGETS: &[&str] =
    &["frame", "record", "envelope", "delta", "change", "link", "invite", "advice", "backup", "bundle"];

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// What cargo-fuzz passes: counters and comparisons for libFuzzer, and the checks of a debug build.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions";
const BUILD: Duration = Duration::from_secs(30 * 60);

/// `fuzz TARGET [--seconds N]`.
pub(crate) fn command_line(args: &[&str]) -> Outcome {
    let (target, seconds) = match args {
        [target] => (target, 60),
        [target, "--seconds", seconds] => (target, seconds.parse().map_err(|_| format!("`{seconds}` is no number"))?),
        _ => return Err(format!("fuzz TARGET [--seconds N], where TARGET is {}", TARGETS.join(", "))),
    };
    let said = run_target(target, seconds)?;
    println!("{}", said.lines().rev().take(3).collect::<Vec<_>>().join("\n"));
    Ok(())
}

/// Builds and runs one target; gives what libFuzzer printed.
pub(crate) fn run_target(target: &str, seconds: u64) -> Result<String, String> {
    if !TARGETS.contains(&target) {
        return Err(format!("no target `{target}`: {}", TARGETS.join(", ")));
    }
    let fuzz = root().join("fuzz");
    let nightly = ["run", "nightly", "cargo", "build", "--release", "--locked"];
    let mut build = command("rustup", &[&nightly[..], &["--target", TRIPLE, "--bin", target]].concat());
    // Flags and folder of its own: nothing of the project is built again.
    build.current_dir(&fuzz).env("RUSTFLAGS", FLAGS).env_remove("CARGO_TARGET_DIR");
    capture(&mut build, BUILD)?;
    let corpus = seeds(&fuzz, target).map_err(|error| format!("cannot write the seeds of {target}: {error}"))?;
    let program = fuzz.join("target").join(TRIPLE).join("release").join(target);
    let time = format!("-max_total_time={seconds}");
    let mut run = command(program, &[&corpus.to_string_lossy(), &time, "-print_final_stats=1", "-rss_limit_mb=2048"]);
    capture(run.current_dir(&fuzz), Duration::from_secs(seconds + 120))
}

/// The golden vectors as a first corpus: every line whose bytes the target could be given.
fn seeds(fuzz: &Path, target: &str) -> std::io::Result<PathBuf> {
    let corpus = fuzz.join("corpus").join(target);
    std::fs::create_dir_all(&corpus)?;
    for folder in ["sync-protocol/vectors", "client-core/vectors"] {
        for file in std::fs::read_dir(root().join(folder))? {
            let text = std::fs::read_to_string(file?.path())?;
            for (name, hex) in text.lines().filter_map(|line| line.split_once(' ')) {
                if let Some(bytes) = unhex(hex) {
                    std::fs::write(corpus.join(name), bytes)?;
                }
            }
        }
    }
    Ok(corpus)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).map(byte).collect()
}
