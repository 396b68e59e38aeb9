//! `lifeos init`: the first device of a person.

use clap::Args;
use lifeos_client_core::client::{Client, InitOptions, KeyPlace};
use lifeos_client_core::keys::PhraseLength;
use serde::Serialize;

use super::recover::length;
use crate::ask;
use crate::context::Context;
use crate::failure::Failure;
use crate::home;
use crate::page::short;
use crate::place;

/// Begin on the first device.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos init --name laptop --person me --relay ws://127.0.0.1:7700\n\n\
                        Shows the recovery phrase once and asks for three of its words before anything is written. With\n\
                        --json, or without a terminal, nobody is asked: check the words with `lifeos recovery check`.\n\
                        On further devices use `lifeos link new`.")]
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
    /// How many words the recovery phrase has
    #[arg(long, value_name = "12|24", default_value = "12", value_parser = length)]
    words: PhraseLength,
}

#[derive(Serialize)]
struct Begun<'a> {
    home: String,
    space: String,
    device: String,
    device_name: &'a str,
    recovery_phrase: &'a str,
    key_place: KeyPlace,
}

pub(super) fn run(args: Init, context: &Context) -> Result<(), Failure> {
    let home = context.home()?;
    let options = InitOptions {
        device_name: args.name.unwrap_or_else(home::device_name),
        person_name: args.person.unwrap_or_else(home::person_name),
        relay: args.relay,
    };
    let device_name = options.device_name.clone();
    let draft = Client::draft(&home, options, args.words)?;
    let words = draft.phrase().words().join(" ");
    let checked = ask::is_interactive(context);
    if checked {
        context.out.say(&format!("{SHOWN_ONCE}\n\n  {words}\n\n{WHAT_THEY_ARE}\n"));
        ask::words_back(draft.phrase(), &ask::positions(draft.phrase()), context)?;
    }
    let client = draft.create(&home, checked)?;
    let key_place = place::keep(&client, context);
    let begun = Begun {
        home: home.display().to_string(),
        space: client.space().to_string(),
        device: client.device().to_string(),
        device_name: &device_name,
        recovery_phrase: &words,
        key_place,
    };
    context.out.result(&begun, |page| {
        page.line(format_args!("Home     {}", begun.home));
        page.line(format_args!("Device   {} ({})", begun.device_name, short(&begun.device)));
        place::draw(page, key_place);
        if checked {
            return;
        }
        page.line("");
        page.line(page.bold("Recovery phrase"));
        page.line(&words);
        page.line("");
        page.line("Write these words down on paper now: they are not shown again, and nobody can reset them.");
        page.line(WHAT_THEY_ARE);
    })
}

const SHOWN_ONCE: &str =
    "Your recovery phrase. Write it down on paper now: it is not shown again, and nobody can reset it.";
const WHAT_THEY_ARE: &str =
    "Whoever has the words can read everything; without them, losing all your devices loses everything.";
