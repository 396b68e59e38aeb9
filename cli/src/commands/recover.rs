//! `lifeos recover` and `lifeos recovery`: the words, when everything else is gone and while it is not.

use clap::{Args, Subcommand};
use lifeos_client_core::client::{
    Client, CoverOutcome, PhraseStanding, RecoverReport, SpaceCover, SpaceOutcome, SpaceRecovery,
};
use lifeos_client_core::keys::PhraseLength;
use lifeos_client_core::recovery::RecoveryState;
use serde_json::json;

use crate::ask;
use crate::context::Context;
use crate::failure::Failure;
use crate::home;
use crate::page::{Page, count, one_line, short};
use crate::place;

/// Get everything back on a bare machine, from the recovery phrase and a relay's address.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos recover --relay wss://relay.example\n  \
                        lifeos recover --relay ws://127.0.0.1:7700 < words.txt\n\n\
                        Reads the words from the terminal or the first line of stdin. All other devices of yours are\n\
                        removed as lost, at home and in every shared space that the words cover (see `lifeos recovery\n\
                        cover`). After a crash, a lost connection, or when a shared space was left, run the same command\n\
                        again: it goes on with what is left.")]
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
    // Before the words are asked for: a home that needs a passphrase says so first.
    let begun = if Client::has_spaces_to_recover(&home) { Some(context.open_home()?) } else { None };
    let name = args.name.unwrap_or_else(home::device_name);
    let phrase = ask::phrase(context)?;
    let mut bar = context.out.bar();
    let (client, report) = context.block_on(async {
        let out = context.out;
        let mut is_home_back = begun.is_some();
        let mut tell = |state| {
            if !is_home_back {
                out.say(told(state));
            } else if state == RecoveryState::Derived {
                out.say("Looking for a shared space");
            }
            is_home_back |= state == RecoveryState::Done;
        };
        let mut step = |step| bar.step(&step);
        Ok(match begun {
            Some(client) => {
                let report = client.recover_rest(&phrase, &mut tell, &mut step).await?;
                (client, report)
            }
            None => Client::recover(&home, &args.relay, &phrase, &name, &mut tell, &mut step).await?,
        })
    })?;
    bar.finish();
    // A home that was back before lies as its person chose.
    let is_new = !report.states.is_empty();
    let key_place = if is_new { place::keep(&client, context) } else { Client::key_protection(&home)?.place };
    let synced = context.block_on(async { Ok(client.sync_all(&mut |_| {}).await.is_ok()) })?;
    let device_name = if report.states.is_empty() { client.status()?.device_name } else { name };
    let result = json!({
        "home": home, "space": report.space, "device": report.device, "device_name": device_name,
        "devices_removed": report.devices_removed, "members_other": report.members_other,
        "links_open": report.links_open, "notes": report.notes, "documents": report.documents,
        "states": report.states, "spaces": report.spaces, "synced": synced, "key_place": key_place,
    });
    context.out.result(&result, |page| {
        if !report.states.is_empty() {
            draw_home(page, &report, &device_name);
        }
        report.spaces.iter().for_each(|space| draw_space(page, space));
        place::draw(page, key_place);
        page.line("What the lost devices hold already stays readable on them. The same words go on working;");
        page.line("if somebody else may have seen them, run `lifeos recovery new` now.");
    })
}

fn draw_home(page: &mut Page, report: &RecoverReport, device_name: &str) {
    page.line(format_args!("Your home is back: {}.", count(report.notes, "note")));
    page.line(format_args!("This device is {} ({}).", one_line(device_name), short(&report.device)));
    let removed = count(report.devices_removed, "device");
    page.line(format_args!("{removed} removed as lost: they receive nothing any more, and what they send is refused."));
    draw_others(page, &report.members_other, &report.links_open, "");
}

/// Who could have come in meanwhile, and how somebody still could.
fn draw_others(page: &mut Page, others: &[String], links: &[String], option: &str) {
    if !others.is_empty() {
        let others: Vec<_> = others.iter().map(|name| one_line(name)).collect();
        page.line(format_args!("Also in this space: {}. Whom you do not know, remove:", others.join(", ")));
        page.line(format_args!("`lifeos member list{option}`, then `lifeos member remove ID{option}`."));
    }
    for link in links {
        page.line(format_args!(
            "This invitation is open: close it with `lifeos invite revoke {}{option}`.",
            short(link)
        ));
    }
}

fn draw_space(page: &mut Page, space: &SpaceRecovery) {
    let called = if space.name.is_empty() { short(&space.space) } else { one_line(&space.name) };
    page.line("");
    if space.outcome == SpaceOutcome::Recovered {
        let (notes, removed) = (count(space.notes, "note"), count(space.devices_removed, "device"));
        page.line(format_args!("The space {} is back: {notes}; {removed} removed as lost.", page.bold(&called)));
        draw_others(page, &space.members_other, &space.links_open, &format!(" --space {}", short(&space.space)));
    } else {
        page.line(format_args!("The space {} is not back:", page.bold(&called)));
        page.line(one_line(&space.text).replace("SPACE", &short(&space.space)));
    }
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
    /// Type the words to have them bring back your shared spaces, too
    Cover(Cover),
    /// Give up a shared space that `lifeos recover` could not bring back
    Forget(Forget),
}

/// New words.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos recovery new\n  lifeos recovery new --words 24\n\n\
                        Asks for three of the new words before they count. With --json or without a terminal they count\n\
                        at once: check them with `lifeos recovery check`. They cover every shared space that you are in\n\
                        and whose relay answers; for the others, run `lifeos recovery cover` later.")]
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

/// Cover shared spaces.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos recovery cover\n  lifeos recovery cover < words.txt\n\n\
                        A space that you make or join is not covered by your words before you have typed them here:\n\
                        nothing keeps them on this device. Run it again after that; what is covered is left alone.")]
pub struct Cover {}

/// Give up a space.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos recovery forget 1a2b3c4d\n\n\
                        For a space that you had left, or come into again by an invitation. Nothing is deleted anywhere.")]
pub struct Forget {
    /// Space: id or its beginning, as `lifeos recover` and `lifeos status` show it
    #[arg(value_name = "SPACE")]
    space: String,
}

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
        Recovery::Cover(_) => cover(context),
        Recovery::Forget(args) => forget(&args.space, context),
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
    let spaces = context.block_on(async { Ok(client.replace_recovery_phrase(&phrase, asked).await?) })?;
    context.out.result(&json!({"recovery_phrase": words, "checked": asked, "spaces": spaces}), |page| {
        if !asked {
            page.line(page.bold("New recovery phrase"));
            page.line(&words);
            page.line("");
            page.line("Write these words down on paper now, then type them into `lifeos recovery check`.");
        }
        page.line("The old words open no relay and nothing that is written from now on.");
        page.line("They still open what was sealed before, for whoever kept a copy of it, and backup files made");
        page.line("before: make a new backup, and destroy the old paper.");
        draw_covers(page, &spaces);
    })
}

fn cover(context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?;
    let phrase = ask::phrase(context)?;
    let spaces = context.block_on(async { Ok(client.cover_spaces(&phrase).await?) })?;
    context.out.result(&json!({"spaces": spaces}), |page| {
        if spaces.is_empty() {
            page.line("You are in no shared space: the words bring back everything there is.");
        }
        draw_covers(page, &spaces);
    })
}

fn draw_covers(page: &mut Page, spaces: &[SpaceCover]) {
    let row = |space: &SpaceCover| {
        let outcome = match space.outcome {
            CoverOutcome::CoveredNow => "covered now",
            CoverOutcome::WasCovered => "was covered",
            _ => "NOT COVERED",
        };
        vec![short(&space.space), one_line(&space.name), outcome.to_owned(), one_line(&space.text)]
    };
    page.table(&spaces.iter().map(row).collect::<Vec<_>>());
}

fn forget(space: &str, context: &Context) -> Result<(), Failure> {
    let space = context.open_home()?.forget_space_to_recover(space)?.to_string();
    context.out.result(&json!({"forgotten": space}), |page| {
        page.line(format_args!("{} is not looked for any more.", short(&space)));
    })
}

fn check(context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?;
    let phrase = ask::phrase(context)?;
    let standing = client.phrase_standing(&phrase);
    match standing {
        PhraseStanding::Current => client.phrase_was_checked(&phrase)?,
        PhraseStanding::Replaced => {
            return Err(Failure::invalid("these words were replaced: only the newest recovery phrase works"));
        }
        _ => {
            return Err(Failure::invalid(
                "these are words of a recovery phrase, but not of this space: look for the right paper, or make new words with `lifeos recovery new`",
            ));
        }
    }
    let uncovered = client.spaces_uncovered()?.len() as u64;
    context.out.result(&json!({"standing": standing}), |page| {
        page.line("These are the words: they bring your home back on a bare machine.");
        if uncovered > 0 {
            let spaces = count(uncovered, "shared space");
            page.line(format_args!("They do not bring back {spaces}: run `lifeos recovery cover`."));
        }
    })
}
