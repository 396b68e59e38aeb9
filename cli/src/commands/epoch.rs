//! `lifeos epoch`: the key everything is sealed under, and making a new one.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::failure::Failure;
use crate::page::one_line;

/// The key of this space.
#[derive(Debug, Subcommand)]
pub enum Epoch {
    /// Which generation is used, and whether this device may write
    Show(Show),
    /// Make a new one now, as happens by itself every 30 days and with every removal
    Rotate(Rotate),
}

/// Show the key's state.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos epoch show")]
pub struct Show {}

/// Make a new key.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos epoch rotate\n\n\
                        Worth it when somebody may have copied a device's files: what is written from now on is \
                        sealed under the new key. What the copy holds, it keeps.")]
pub struct Rotate {}

pub(super) fn run(command: &Epoch, context: &Context) -> Result<(), Failure> {
    match command {
        Epoch::Show(_) => show(context),
        Epoch::Rotate(_) => context.block_on(rotate(context)),
    }
}

fn show(context: &Context) -> Result<(), Failure> {
    let keys = context.open()?.key_status()?;
    context.out.result(&keys, |page| {
        page.table(&[
            vec!["Generation".into(), keys.generation.to_string()],
            vec!["Held".into(), format!("{} of {}", keys.held, keys.known)],
            vec!["Role".into(), keys.role.clone()],
            vec!["State".into(), one_line(&keys.text)],
        ]);
    })
}

async fn rotate(context: &Context) -> Result<(), Failure> {
    let report = context.open()?.rotate_keys().await?;
    context.out.result(&report, |page| {
        page.line(format_args!("Key generation {} is made.", report.generation));
        if let Some(reason) = &report.untold {
            page.line(format_args!("The relay does not know of it yet ({}): run `lifeos sync`.", one_line(reason)));
        }
    })
}
