//! `lifeos undo` and `lifeos redo`: this person's own newest edit, whatever others did meanwhile.

use clap::Args;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;

/// Take back the newest edit made on this device.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos undo")]
pub struct Undo {}

/// Do again what was undone last.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos redo")]
pub struct Redo {}

pub(super) fn undo(context: &Context) -> Result<(), Failure> {
    let undone = context.open_to_edit()?.undo()?;
    context.out.result(&json!({"undone": undone}), |page| {
        page.line(if undone { "Undone" } else { "Nothing to undo" });
    })
}

pub(super) fn redo(context: &Context) -> Result<(), Failure> {
    let redone = context.open_to_edit()?.redo()?;
    context.out.result(&json!({"redone": redone}), |page| {
        page.line(if redone { "Done again" } else { "Nothing to do again" });
    })
}
