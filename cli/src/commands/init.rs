//! `lifeos init`: the first device of a person.

use clap::Args;
use lifeos_client_core::client::{Client, InitOptions};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::home;
use crate::page::short;

/// Begin on the first device.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos init --name laptop --person me --relay ws://127.0.0.1:7700\n\n\
                        Prints the recovery phrase once. On further devices use `lifeos link new`.")]
pub struct Init {
    /// What your other devices call this one [default: the machine's name]
    #[arg(long, value_name = "DEVICE")]
    name: Option<String>,
    /// Your name, as people you share with will see it [default: the account's name]
    #[arg(long, value_name = "NAME")]
    person: Option<String>,
    /// Relay to use; `#` and its key pin it from the start
    #[arg(long, value_name = "URL")]
    relay: Option<String>,
}

#[derive(Serialize)]
struct Begun<'a> {
    home: String,
    space: String,
    device: String,
    device_name: &'a str,
    recovery_phrase: &'a str,
}

pub(super) fn run(args: Init, context: &Context) -> Result<(), Failure> {
    let home = context.home()?;
    let options = InitOptions {
        device_name: args.name.unwrap_or_else(home::device_name),
        person_name: args.person.unwrap_or_else(home::person_name),
        relay: args.relay,
    };
    let device_name = options.device_name.clone();
    let (client, phrase) = Client::create(&home, options)?;
    let words = phrase.words().join(" ");
    let begun = Begun {
        home: home.display().to_string(),
        space: client.space().to_string(),
        device: client.device().to_string(),
        device_name: &device_name,
        recovery_phrase: &words,
    };
    context.out.result(&begun, |page| {
        page.line(format_args!("Home     {}", begun.home));
        page.line(format_args!("Device   {} ({})", begun.device_name, short(&begun.device)));
        page.line("");
        page.line(page.bold("Recovery phrase"));
        page.line(&words);
        page.line("");
        page.line("Write these words down on paper now: they are not shown again, and nobody can reset them.");
        page.line("Whoever has them can read everything; without them, losing all your devices loses everything.");
    })
}
