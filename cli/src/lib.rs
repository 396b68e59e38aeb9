//! Command line of the sync engine: thin commands over the client façade, and the demonstration.
//!
//! ```text
//! arguments → commands::* → Client → Out (stdout: results, stderr: messages) → exit code 0 | 1 | 2
//! ```
//! No command decides anything about data: what a note is, what merges and what may be sent is decided in
//! the core. With `--json` stdout carries exactly one JSON document, or JSON Lines where a command streams.
#![forbid(unsafe_code)]

pub mod commands;
pub mod context;
pub mod demo;
pub mod failure;
pub mod home;
pub mod output;
pub mod page;
pub mod progress;

use std::process::ExitCode;

use clap::Parser;

pub use context::{Context, Global};
pub use failure::Failure;
use output::Out;

/// Notes that live on your own devices, end-to-end encrypted between them.
#[derive(Debug, Parser)]
#[command(
    name = "lifeos",
    version,
    propagate_version = true,
    after_help = "Examples:\n  lifeos demo                         see everything work, on this machine alone\n  \
                  lifeos init --name laptop           begin on the first device\n  \
                  lifeos note add \"Groceries\"         write a note\n\n\
                  Exit codes: 0 done, 1 failed, 2 the command line was not understood."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: commands::Command,
}

/// Runs one command line to its end.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    output::start_logging();
    let out = Out::from_global(&cli.global);
    match commands::run(cli.command, &Context::new(cli.global, out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
