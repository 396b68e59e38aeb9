//! `lifeos backup` and `lifeos restore`: a whole home in one encrypted file.

use std::path::PathBuf;

use clap::Args;
use lifeos_client_core::client::{BackupKeys, Client, RestoreKey};
use serde_json::json;

use crate::ask;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{count, time};
use crate::place;

/// Write everything into one encrypted file.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos backup notes.lifeos\n  lifeos backup notes.lifeos --passphrase\n\n\
                        The recovery phrase opens it, and with --passphrase also that one. The file needs no relay.")]
pub struct Backup {
    /// The file; an older one is replaced once the new one is whole
    file: PathBuf,
    /// Also ask for a passphrase that opens it
    #[arg(long)]
    passphrase: bool,
    /// Let only the passphrase open it
    #[arg(long, requires = "passphrase")]
    no_phrase: bool,
}

/// Make a home out of a backup.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos restore notes.lifeos\n  lifeos restore notes.lifeos --passphrase\n\n\
                        Reads the recovery phrase from the terminal or the first line of stdin. The home folder must hold\n\
                        no home yet. The device goes on under a new stream: nothing that another copy of it writes is lost.")]
pub struct Restore {
    /// What `lifeos backup` wrote
    file: PathBuf,
    /// Open it with a passphrase instead of the recovery phrase
    #[arg(long)]
    passphrase: bool,
}

pub(super) fn backup(args: &Backup, context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?;
    let passphrase = if args.passphrase { Some(ask::new_passphrase(context)?) } else { None };
    let keys = BackupKeys { passphrase, no_phrase: args.no_phrase };
    let mut bar = context.out.bar();
    let report = client.backup(&args.file, &keys, &mut |step| bar.step(&step));
    bar.finish();
    let report = report?;
    let result = json!({
        "file": args.file, "bytes": report.bytes, "opens_with_phrase": report.opens_with_phrase,
        "opens_with_passphrase": report.opens_with_passphrase,
    });
    context.out.result(&result, |page| {
        page.line(format_args!("{} ({} bytes)", args.file.display(), report.bytes));
        let opens = match (report.opens_with_phrase, report.opens_with_passphrase) {
            (true, true) => "The recovery phrase or the passphrase opens it.",
            (true, false) => "The recovery phrase opens it.",
            _ => "Only the passphrase opens it.",
        };
        page.line(opens);
    })
}

pub(super) fn restore(args: &Restore, context: &Context) -> Result<(), Failure> {
    let home = context.home()?;
    let (phrase, passphrase) = if args.passphrase {
        (None, Some(ask::passphrase(context, "the passphrase of this backup")?))
    } else {
        (Some(ask::phrase(context)?), None)
    };
    let key = match (&phrase, &passphrase) {
        (_, Some(passphrase)) => RestoreKey::Passphrase(passphrase),
        (Some(phrase), _) => RestoreKey::Phrase(phrase),
        _ => return Err(Failure::usage("a recovery phrase or a passphrase is needed")),
    };
    let mut bar = context.out.bar();
    let restored = Client::restore(&home, &args.file, &key, &mut |step| bar.step(&step));
    bar.finish();
    let (client, report) = restored?;
    let key_place = place::keep(&client, context);
    let result = json!({
        "home": home, "space": report.space, "device": report.device, "made_ms": report.made_ms,
        "notes": report.notes, "documents": report.documents, "key_place": key_place,
    });
    context.out.result(&result, |page| {
        page.line(format_args!("Restored {} as of {}.", count(report.notes, "note"), time(report.made_ms)));
        page.line("Run `lifeos sync` to receive what was written since. If the old copy of this device still runs,");
        page.line("remove one of the two, or link this one as a new device.");
        place::draw(page, key_place);
    })
}
