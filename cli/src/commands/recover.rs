//! `lifeos recover` and `lifeos recovery`: the words, when everything else is gone and while it is not.

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Client, PhraseStanding};
use lifeos_client_core::keys::PhraseLength;
use lifeos_client_core::recovery::RecoveryState;
use serde_json::json;

use crate::ask;
use crate::context::Context;
use crate::failure::Failure;
use crate::home;
use crate::page::{count, one_line, short};

/// Get everything back on a bare machine, from the recovery phrase and a relay's address.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos recover --relay wss://relay.example\n  \
                        lifeos recover --relay ws://127.0.0.1:7700 < words.txt\n\n\
                        Reads the words from the terminal or the first line of stdin. All other devices of yours are\n\
                        removed as lost. After a crash or a lost connection, run the same command again.")]
pub struct Recover {
    /// Where the space is
    #[arg(long, value_name = "URL")]
    relay: String,
    /// What this device is called from now on [default: the machine's name]
    #[arg(long, value_name = "DEVICE")]
    name: Option<String>,
}

pub(super) fn run(args: Recover, context: &Context) -> Result<(), Failure> {
    let home = context.home()?;
    let name = args.name.unwrap_or_else(home::device_name);
    let phrase = ask::phrase(context)?;
    let mut bar = context.out.bar();
    let (client, report) = context.block_on(async {
        let out = context.out;
        let mut tell = |state| out.say(told(state));
        let mut step = |step| bar.step(&step);
        let done = Client::recover(&home, &args.relay, &phrase, &name, &mut tell, &mut step).await;
        Ok(done?)
    })?;
    bar.finish();
    let synced = context.block_on(async { Ok(client.sync(&mut |_| {}).await.is_ok()) })?;
    let result = json!({
        "home": home, "space": report.space, "device": report.device, "device_name": name,
        "devices_removed": report.devices_removed, "members_other": report.members_other,
        "links_open": report.links_open, "notes": report.notes, "documents": report.documents,
        "states": report.states, "synced": synced,
    });
    context.out.result(&result, |page| {
        page.line(format_args!("Everything is back: {}.", count(report.notes, "note")));
        page.line(format_args!("This device is {} ({}).", one_line(&name), short(&report.device)));
        let removed = count(report.devices_removed, "device");
        page.line(format_args!(
            "{removed} removed as lost: they receive nothing any more, and what they send is refused."
        ));
        if !report.members_other.is_empty() {
            let others: Vec<_> = report.members_other.iter().map(|name| one_line(name)).collect();
            page.line(format_args!("Also in this space: {}. Whom you do not know, remove:", others.join(", ")));
            page.line("`lifeos member list`, then `lifeos member remove ID`.");
        }
        for link in &report.links_open {
            page.line(format_args!("This invitation is open: close it with `lifeos invite revoke {}`.", short(link)));
        }
        page.line("What they hold already stays readable on them. The same words go on working;");
        page.line("if somebody else may have seen them, run `lifeos recovery new` now.");
    })
}

const fn told(state: RecoveryState) -> &'static str {
    match state {
        RecoveryState::Words => "Reading the words",
        RecoveryState::Derived => "Looking for the space",
        RecoveryState::Authed => "The relay knows these words",
        RecoveryState::RecordsOk => "The space's records are whole",
        RecoveryState::EpochOpen => "The space's key is open; receiving everything",
        RecoveryState::DataOk => "Everything is received; enrolling this device",
        RecoveryState::NewDeviceEnrolled => "This device is enrolled",
        RecoveryState::Rotated => "The space has a new key",
        RecoveryState::Done => "Done",
    }
}

/// The recovery phrase of a home you have.
#[derive(Debug, Subcommand)]
pub enum Recovery {
    /// Make new words; the old ones stop working
    New(New),
    /// Type the words to see whether they are the right ones
    Check(Check),
}

/// New words.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos recovery new\n  lifeos recovery new --words 24\n\n\
                        Asks for three of the new words before they count. With --json or without a terminal they count\n\
                        at once: check them with `lifeos recovery check`.")]
pub struct New {
    /// How many words
    #[arg(long, value_name = "12|24", default_value = "12", value_parser = length)]
    words: PhraseLength,
}

/// Check words.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos recovery check\n  lifeos recovery check < words.txt\n\n\
                        Asks nobody: the home knows its recovery key. Exit code 1 when the words are not the ones.")]
pub struct Check {}

/// How many words: clap's reader of `--words`.
pub(super) fn length(text: &str) -> Result<PhraseLength, String> {
    match text {
        "12" => Ok(PhraseLength::Words12),
        "24" => Ok(PhraseLength::Words24),
        _ => Err("a recovery phrase has 12 or 24 words".to_owned()),
    }
}

pub(super) fn recovery(command: Recovery, context: &Context) -> Result<(), Failure> {
    match command {
        Recovery::New(args) => new(args.words, context),
        Recovery::Check(_) => check(context),
    }
}

fn new(length: PhraseLength, context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?;
    let phrase = Client::new_recovery_phrase(length);
    let words = phrase.words().join(" ");
    let asked = ask::is_interactive(context);
    if asked {
        context.out.say(&format!("New recovery phrase:\n\n  {words}\n"));
        ask::words_back(&phrase, &ask::positions(&phrase), context)?;
    }
    context.block_on(async { Ok(client.replace_recovery_phrase(&phrase).await?) })?;
    context.out.result(&json!({"recovery_phrase": words, "checked": asked}), |page| {
        if !asked {
            page.line(page.bold("New recovery phrase"));
            page.line(&words);
            page.line("");
            page.line("Write these words down on paper now, then type them into `lifeos recovery check`.");
        }
        page.line("The old words open no relay and nothing that is written from now on.");
        page.line("They still open what was sealed before, for whoever kept a copy of it, and backup files made");
        page.line("before: make a new backup, and destroy the old paper.");
    })
}

fn check(context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?;
    let phrase = ask::phrase(context)?;
    let standing = client.phrase_standing(&phrase);
    match standing {
        PhraseStanding::Current => client.phrase_was_checked()?,
        PhraseStanding::Replaced => {
            return Err(Failure::invalid("these words were replaced: only the newest recovery phrase works"));
        }
        _ => {
            return Err(Failure::invalid(
                "these are words of a recovery phrase, but not of this space: look for the right paper, or make new words with `lifeos recovery new`",
            ));
        }
    }
    context.out.result(&json!({"standing": standing}), |page| {
        page.line("These are the words: they bring everything back on a bare machine.");
    })
}
