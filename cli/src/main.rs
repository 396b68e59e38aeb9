//! The `lifeos` program: reads the command line, runs one command, turns its outcome into an exit code.

mod allocator;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    allocator::prepare();
    match lifeos_cli::Cli::try_parse() {
        Ok(cli) => lifeos_cli::run(cli),
        Err(error) => lifeos_cli::not_understood(&error),
    }
}
