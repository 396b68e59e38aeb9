//! `lifeos key database`: whether the local database is encrypted under the device's key.

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Client, DatabaseForm, KeyPlace, KeyProtection, OpenOptions};
use serde_json::json;

use crate::ask;
use crate::context::Context;
use crate::failure::Failure;

/// The local database.
#[derive(Debug, Subcommand)]
pub enum Database {
    /// Show whether the database of this home is encrypted, and whether this program can do that
    Status(Status),
    /// Encrypt it under a key that the device's own key gives
    Encrypt(Encrypt),
    /// Write it in the clear again
    Decrypt(Decrypt),
}

/// Status.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos key database status")]
pub struct Status {}

/// Encrypt.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos key passphrase set\n  lifeos key database encrypt\n\n\
    Protects a copied or stolen home folder: notes, search index and log can be read only with the device's key, so only\n\
    with its passphrase or keystore. It does not protect a machine on which the home is open, what `lifeos export` writes,\n\
    the swap, or blocks of the disk where the plain database lay before: for those use the disk encryption of the system.\n\
    Every command then needs a program that was built with the feature `sqlcipher`, and costs more (docs/BENCHMARKS.md).\n\
    Without the device's key nobody can read the database again: keep the recovery phrase or a backup.\n\
    Close every program that uses the home first. A crash leaves the home as it was or encrypted, never in between.")]
pub struct Encrypt {
    /// Encrypt although the key lies in the clear beside the database, which protects nothing
    #[arg(long)]
    anyway: bool,
}

/// Decrypt.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos key database decrypt\n\n\
    Close every program that uses the home first. Afterwards every build of this program can open it.")]
pub struct Decrypt {}

pub(super) fn run(command: &Database, context: &Context) -> Result<(), Failure> {
    let home = context.home()?;
    let changed = match command {
        Database::Status(_) => false,
        Database::Encrypt(args) => {
            if !args.anyway {
                refuse_key_beside(Client::key_protection(&home)?)?;
            }
            convert(context, DatabaseForm::Encrypted)?
        }
        Database::Decrypt(_) => convert(context, DatabaseForm::Plain)?,
    };
    let (form, kept) = (Client::database_form(&home)?, Client::key_protection(&home)?);
    let can = Client::can_encrypt_database();
    let result = json!({
        "database": form, "changed": changed, "place": kept.place, "passphrase": kept.passphrase, "can_encrypt": can,
    });
    context.out.result(&result, |page| {
        page.line(match form {
            DatabaseForm::Encrypted => "Database    encrypted under the device's key",
            DatabaseForm::Plain => "Database    in the clear",
        });
        match (form, lies_beside(kept), can) {
            (DatabaseForm::Encrypted, true, _) => page.line(format_args!("Key         {BESIDE}")),
            (DatabaseForm::Encrypted, false, true) => page.line("Key         not in the folder in the clear"),
            (DatabaseForm::Plain, _, true) => page.line("            `lifeos key database encrypt` encrypts it"),
            (_, _, false) => {
                page.line("            this program was built without a cipher for it (feature `sqlcipher`)")
            }
        }
    })
}

const BESIDE: &str = "in the clear beside it: whoever copies the folder has both. Run `lifeos key passphrase set` or \
                      `lifeos key move keystore`";

/// Says so when a change of the key took away what an encrypted database is good for.
pub(super) fn warn_key_beside(context: &Context, kept: KeyProtection) -> Result<(), Failure> {
    if lies_beside(kept) && Client::database_form(&context.home()?)? == DatabaseForm::Encrypted {
        context.out.say(&format!("The database is still encrypted, but its key lies {BESIDE}."));
    }
    Ok(())
}

fn lies_beside(kept: KeyProtection) -> bool {
    kept.place == KeyPlace::File && !kept.passphrase
}

fn refuse_key_beside(kept: KeyProtection) -> Result<(), Failure> {
    if !Client::can_encrypt_database() || !lies_beside(kept) {
        return Ok(());
    }
    Err(Failure::invalid(
        "the device's key lies in the clear beside the database, so encrypting would protect nothing: run `lifeos key \
         passphrase set` or `lifeos key move keystore` first, or say --anyway",
    ))
}

fn convert(context: &Context, to: DatabaseForm) -> Result<bool, Failure> {
    let home = context.home()?;
    let options = OpenOptions { passphrase: ask::passphrase_of(&home, context)? };
    let mut bar = context.out.bar();
    let converted = Client::convert_database(&home, &options, to, &mut |step| bar.step(&step));
    bar.finish();
    Ok(converted?)
}
