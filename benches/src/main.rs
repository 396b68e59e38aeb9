//! `lifeos-bench`: every figure with its yardstick measured in the same run, and their ratio.
//!
//! Ratios travel between machines, milliseconds do not. Processes under test (relay, yardstick relay, devices)
//! are children of this program, so that CPU time and peak memory are theirs alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../cli/src/allocator.rs"]
mod allocator;
mod child;
mod measure;
#[path = "../../tests/src/noise.rs"]
#[expect(unreachable_pub, reason = "the tests' own crate shows it to others")]
mod noise;
mod past;
mod raw;
mod report;
mod rows;
mod vault;
mod yard;

use clap::Parser;

/// Measures, beside a yardstick, what the engine and the relay cost.
#[derive(Parser)]
#[command(after_help = "Example: lifeos-bench edit --json")]
struct Args {
    /// Which row, or `all`.
    #[arg(default_value = "all")]
    name: String,
    /// Fewer repetitions: under 30 s a row.
    #[arg(long)]
    short: bool,
    /// One JSON document a row instead of a table.
    #[arg(long)]
    json: bool,
    /// Role and arguments of a child process.
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    child: Vec<String>,
}

fn main() {
    allocator::prepare();
    let args = Args::parse();
    if !args.child.is_empty() {
        child::run(&args.child);
        return;
    }
    let chosen: Vec<_> = rows::ALL.iter().filter(|row| args.name == "all" || row.name == args.name).collect();
    if chosen.is_empty() {
        let names: Vec<_> = rows::ALL.iter().map(|row| row.name).collect();
        eprintln!("no row `{}`; there are: {}", args.name, names.join(", "));
        std::process::exit(2);
    }
    for row in chosen {
        (row.run)(args.short, &mut |figure| {
            if args.json { println!("{}", figure.json()) } else { println!("{}", figure.line()) }
        });
    }
}
