//! Project chores: `cargo xtask test` proves the project, the other commands are its parts.
#![forbid(unsafe_code)]

mod decoder;
mod deep;
mod defences;
mod deny;
mod fuzz;
mod mixed;
mod run;
mod sabotage;
mod stages;
mod tour;

use std::process::ExitCode;

const USAGE: &str = "cargo xtask COMMAND

  test                      everything that proves the project; what CI runs
  ci STAGE                  one stage of it (see `cargo xtask ci list`)
  crash [--points N]        kill -9 of clients and relay at N points each
  sim [--seed N [--steps N] [--shrink] | --seeds N] [--verbose]
                            the whole system from one seed, or from many
  sabotage [NAME...] [--from N] [--seeds N]
                            plants faults in a copy of the sources, and tells the seed that finds each
  bench [NAME] [--short] [--json]
                            benchmarks, each with its yardstick in the same run
  bindings                  builds and tests the Python bindings
  vectors                   compares the golden vectors with freshly made ones; opens them with the decoder in Python
  docs                      writes the fields of every module into docs/modules
  tour                      runs the commands of the README's tour
  fuzz TARGET [--seconds N]
                            one fuzz target on the nightly toolchain
  deep [PART]               what takes longer than CI may: crash, demo, bench, mutations,
                            membership, sim, recurrence, notify, fuzz, sqlcipher; appends to
                            evidence/
  deep sim [--from N] [--seeds N]
                            seeds of the day, or these
  deep mixed [COMMIT]       programs of an older commit and those of today in one space
  deep defences [--together] [--minutes N] [NUMBER...]
                            takes every defence away once (or those of these attacks),
                            or several at once, and looks whether the tests notice;
                            goes on where it was";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["test"] => stages::test(),
        ["ci", "list"] => stages::list(),
        ["ci", stage] => stages::one(stage),
        ["crash", rest @ ..] => stages::crash(rest, std::time::Duration::from_secs(60 * 60)),
        ["sim", rest @ ..] => stages::simulate(rest, std::time::Duration::from_secs(6 * 60 * 60)),
        ["sabotage", rest @ ..] => sabotage::sabotage(rest),
        ["bench", rest @ ..] => stages::bench(rest),
        ["bindings"] => stages::one("bindings"),
        ["vectors"] => decoder::vectors(),
        ["docs"] => decoder::docs(),
        ["tour"] => stages::one("tour"),
        ["fuzz", rest @ ..] => fuzz::command_line(rest),
        ["deep", rest @ ..] => deep::run_parts(rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\nxtask: {message}");
            ExitCode::FAILURE
        }
    }
}
