//! `lifeos key`: how this device's own key is kept.

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Client, KeyPlace};
use serde_json::json;

use super::database::{self, Database};
use crate::ask;
use crate::context::Context;
use crate::failure::Failure;

/// How this device's key is kept.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Show where the key lies and whether a passphrase protects it
    Show(Show),
    /// Protect the key by a passphrase, or no longer
    #[command(subcommand)]
    Passphrase(PassphraseCommand),
    /// Move the key into the system's keystore, or out of it
    Move(Move),
    /// Encrypt the local database under the key, or no longer
    #[command(subcommand)]
    Database(Database),
}

/// Show.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos key show")]
pub struct Show {}

/// A passphrase.
#[derive(Debug, Subcommand)]
pub enum PassphraseCommand {
    /// Set or change it
    Set(Set),
    /// Take it away
    Remove(Remove),
}

/// Set.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos key passphrase set\n  LIFEOS_NEW_PASSPHRASE_FD=3 lifeos key passphrase set 3< new.txt\n\n\
                        Every command asks for it from then on; scripts give it by LIFEOS_PASSPHRASE_FD (better) or\n\
                        LIFEOS_PASSPHRASE. It protects the keys, and the notes only where the database is encrypted too (`lifeos key\n\
                        database`) or the disk is."
)]
pub struct Set {}

/// Remove.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos key passphrase remove")]
pub struct Remove {}

/// Move.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos key move keystore\n  lifeos key move file\n\n\
                        The keystore has to show first that it keeps what it is given; otherwise nothing changes.")]
pub struct Move {
    /// Where to
    #[arg(value_parser = ["file", "keystore"])]
    place: String,
}

pub(super) fn run(command: &Key, context: &Context) -> Result<(), Failure> {
    let home = context.home()?;
    match command {
        Key::Show(_) => {}
        Key::Database(command) => return database::run(command, context),
        Key::Passphrase(PassphraseCommand::Set(_)) => {
            let client = context.open_home()?;
            let chosen = ask::new_passphrase(context)?;
            client.protect_key(Client::key_protection(&home)?.place, Some(&chosen))?;
        }
        Key::Passphrase(PassphraseCommand::Remove(_)) => {
            let client = context.open_home()?;
            client.protect_key(Client::key_protection(&home)?.place, None)?;
        }
        Key::Move(args) => {
            let place = if args.place == "keystore" { KeyPlace::Keystore } else { KeyPlace::File };
            let passphrase = ask::passphrase_of(&home, context)?;
            context.open_with(passphrase.clone())?.protect_key(place, passphrase.as_ref())?;
        }
    }
    let kept = Client::key_protection(&home)?;
    database::warn_key_beside(context, kept)?;
    let client = if matches!(command, Key::Show(_)) && !kept.passphrase { Some(context.open_home()?) } else { None };
    let checked = client.map(|client| client.is_phrase_checked()).transpose()?;
    context.out.result(
        &json!({"place": kept.place, "passphrase": kept.passphrase, "phrase_checked": checked}),
        |page| {
            page.line(match kept.place {
                KeyPlace::Keystore => "Key         in the system's keystore",
                KeyPlace::File => "Key         in device.key, readable by you alone",
            });
            page.line(if kept.passphrase { "Passphrase  asked for by every command" } else { "Passphrase  none" });
            match checked {
                Some(true) => page.line("Phrase      was typed back and is right"),
                Some(false) => page.line("Phrase      not typed back on this device: run `lifeos recovery check`"),
                None => {}
            }
        },
    )
}
