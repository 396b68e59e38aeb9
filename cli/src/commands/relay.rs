//! `lifeos relay`: which relays a space uses.

use clap::{Args, Subcommand};
use lifeos_client_core::client::RelayStatus;
use serde_json::json;

use super::status::relay_row;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::one_line;

/// Which relays to use. With several, each gets everything, and losing one loses nothing.
#[derive(Debug, Subcommand)]
pub enum Relay {
    /// Use this relay from now on, and no other
    Set(Address),
    /// Use this relay, too; the next sync gives it everything
    Add(Address),
    /// List the relays of the space, and what they lack
    #[command(after_help = "Example:\n  lifeos relay list --json")]
    List,
    /// Use this relay no more
    Remove(Remove),
}

/// A relay.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos relay add wss://relay.example.org\n  \
                        lifeos relay set wss://relay.example.org#8c4e…      only the relay with this key")]
pub struct Address {
    /// `ws://` or `wss://` address; `#` and its key (hex) pin it
    #[arg(value_name = "URL")]
    url: String,
}

/// Use a relay no more.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos relay remove wss://relay.example.org")]
pub struct Remove {
    /// Its address
    #[arg(value_name = "URL")]
    url: String,
    /// Also if no other relay holds what this device sent to it
    #[arg(long)]
    force: bool,
}

pub(super) fn run(command: Relay, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    match command {
        Relay::Set(args) => {
            client.set_relay(&args.url)?;
            let said = json!({"relay": args.url});
            context.out.result(&said, |page| page.line(format_args!("Relay: {}", one_line(&args.url))))
        }
        Relay::Add(args) => {
            let added = client.add_relay(&args.url)?;
            let what = if added { "Added; `lifeos sync` gives it everything" } else { "Used already" };
            let said = json!({"relay": args.url, "added": added});
            context.out.result(&said, |page| page.line(format_args!("{what}: {}", one_line(&args.url))))
        }
        Relay::List => {
            let relays: Vec<RelayStatus> = client.status()?.relays;
            context.out.result(&json!({"relays": relays}), |page| {
                if relays.is_empty() {
                    page.line("No relay is set: run `lifeos relay set URL`.");
                }
                page.table(&relays.iter().map(relay_row).collect::<Vec<_>>());
            })
        }
        Relay::Remove(args) => {
            client.remove_relay(&args.url, args.force)?;
            let said = json!({"relay": args.url});
            context.out.result(&said, |page| page.line(format_args!("Not used any more: {}", one_line(&args.url))))
        }
    }
}
