//! The `lifeos` program: reads the command line, runs one command, turns its outcome into an exit code.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    lifeos_cli::run(lifeos_cli::Cli::parse())
}
