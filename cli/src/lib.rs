//! Command line of the sync engine: thin commands over the client façade, and the demonstration.
//!
//! ```text
//! arguments → commands::* → Client → Out (stdout: results, stderr: messages) → exit code 0 | 1 | 2
//! ```
//! No command decides anything about data: what a note is, what merges and what may be sent is decided in
//! the core. With `--json` stdout carries exactly one JSON document, or JSON Lines where a command streams.
#![forbid(unsafe_code)]

pub mod ask;
pub mod commands;
pub mod context;
pub mod demo;
pub mod failure;
pub mod home;
pub mod output;
pub mod page;
mod place;
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

/// Answers a command line that was not understood, or that asked for help or the version; programs that asked for
/// `--json` get the reason as JSON too.
#[must_use]
pub fn not_understood(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || !std::env::args_os().any(|arg| arg == "--json") {
        let _ = error.print();
        return ExitCode::from(u8::from(error.use_stderr()) * 2);
    }
    let failure = Failure::usage(error.to_string().trim_end());
    Out::json().failure(&failure);
    ExitCode::from(failure.exit_code())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Every command without further commands, with the words that lead to it.
    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        let path = format!("{path} {}", command.get_name());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        if command.get_subcommands().next().is_none() {
            found.push((path.trim().to_owned(), help));
        }
        command.get_subcommands().for_each(|below| leaves(below, &path, found));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_in_its_help() {
        let mut found = Vec::new();
        leaves(&Cli::command(), "", &mut found);
        assert!(found.len() > 30);
        let bare: Vec<_> = found.iter().filter(|(_, help)| !help.contains("lifeos ")).map(|(path, _)| path).collect();
        assert_eq!(bare, Vec::<&String>::new());
    }

    #[test]
    fn global_options_may_stand_before_and_after_the_command() {
        for line in [["lifeos", "--json", "status"], ["lifeos", "status", "--json"]] {
            assert!(Cli::try_parse_from(line).unwrap().global.json);
        }
    }
}
