//! `lifeos relay`: which relay to use.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::one_line;

/// Which relay to use.
#[derive(Debug, Subcommand)]
pub enum Relay {
    /// Use this relay from now on
    Set(Set),
}

/// Use this relay.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos relay set wss://relay.example.org\n  \
                        lifeos relay set wss://relay.example.org#8c4e…      only the relay with this key")]
pub struct Set {
    /// `ws://` or `wss://` address; `#` and its key (hex) pin it
    #[arg(value_name = "URL")]
    url: String,
}

pub(super) fn run(command: Relay, context: &Context) -> Result<(), Failure> {
    let Relay::Set(args) = command;
    context.open()?.set_relay(&args.url)?;
    context.out.result(&json!({"relay": args.url}), |page| page.line(format_args!("Relay: {}", one_line(&args.url))))
}
