//! `lifeos note add|edit|append|rename|move|tag|pin|prop|todo|trash|restore…`: each changes one note and shows
//! it as it is then.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use jiff::Zoned;
use lifeos_client_core::client::{Client, ClientError, NoteDraft};
use lifeos_client_core::registry::{BODY_BYTES_MAX, FRONT_BYTES_MAX};
use serde_json::Value;

use super::note::{Add, Append, Copy, Edit, Kind, Move, One, Pin, Prop, Rename, RestoreVersion, Tag, Todo};
use super::notebook;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{one_line, short};

/// More text than this no note can hold: it is refused here already, before it fills the memory.
const TEXT_BYTES_MAX: u64 = (BODY_BYTES_MAX + FRONT_BYTES_MAX) as u64;

/// Changes a note, then shows it: the whole note as JSON, one line for people.
fn change(
    context: &Context,
    id: &str,
    what: &str,
    edit: impl FnOnce(&Client) -> Result<(), ClientError>,
) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    edit(&client)?;
    shown(&client, context, id, what)
}

fn shown(client: &Client, context: &Context, id: &str, what: &str) -> Result<(), Failure> {
    let note = client.note(id)?;
    context.out.result(&note, |page| {
        page.line(format_args!("{what} {}  {}", short(&note.id), one_line(&note.title)));
    })
}

/// A text that was given as such, or as a file.
pub(super) fn text_of(text: Option<&str>, file: Option<&Path>) -> Result<Option<String>, Failure> {
    match (text, file) {
        (Some(text), _) => Ok(Some(text.to_owned())),
        (None, Some(file)) => read_text(file).map(Some),
        (None, None) => Ok(None),
    }
}

pub(super) fn add(args: Add, context: &Context) -> Result<(), Failure> {
    let markdown = text_of(args.text.as_deref(), args.file.as_deref())?.unwrap_or_default();
    let title = args.title().unwrap_or_default().to_owned();
    if title.is_empty() && markdown.is_empty() && args.template.is_none() {
        return Err(Failure::usage("an empty note: give a title, --text, --file or --template"));
    }
    let client = context.open_to_edit()?;
    let notebook = args.notebook.map(|name| notebook::find(&client, &name)).transpose()?;
    let draft = NoteDraft { title, markdown, notebook, tags: args.tags, kind: args.kind };
    let id = match &args.template {
        Some(template) => client.note_from_template(template, draft, &Zoned::now())?,
        None => client.note_create(draft)?,
    };
    let id = id.to_string();
    shown(&client, context, &id, "Added")
}

pub(super) fn edit(args: &Edit, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let note = client.note(&args.id)?;
    let text = match &args.file {
        Some(file) => read_text(file)?,
        None => edit_by_hand(&note.markdown)?,
    };
    if text == note.markdown {
        return shown(&client, context, &note.id, "Unchanged");
    }
    client.note_set_markdown(&note.id, &text)?;
    shown(&client, context, &note.id, "Changed")
}

pub(super) fn append(args: &Append, context: &Context) -> Result<(), Failure> {
    change(context, &args.id, "Changed", |client| {
        let before = client.note(&args.id)?.markdown;
        client.note_set_markdown(&args.id, &with_paragraph(&before, &args.text))
    })
}

/// `before` with `text` as a paragraph of its own at the end.
pub(super) fn with_paragraph(before: &str, text: &str) -> String {
    let before = before.trim_end_matches('\n');
    if before.is_empty() { format!("{text}\n") } else { format!("{before}\n\n{text}\n") }
}

pub(super) fn rename(args: &Rename, context: &Context) -> Result<(), Failure> {
    change(context, &args.id, "Renamed", |client| client.note_set_title(&args.id, &args.title))
}

pub(super) fn move_to(args: &Move, context: &Context) -> Result<(), Failure> {
    let client = if args.to.is_some() { context.open()? } else { context.open_to_edit()? };
    if let Some(to) = &args.to {
        let there = client.in_space(to)?;
        let id = client.note_move_to(&args.id, &there)?.to_string();
        return shown(&there, context, &id, "Moved");
    }
    let notebook = args.notebook.as_deref().map(|name| notebook::find(&client, name)).transpose()?;
    client.note_move(&args.id, notebook.as_deref())?;
    shown(&client, context, &args.id, "Moved")
}

pub(super) fn copy(args: &Copy, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let there = client.in_space(&args.to)?;
    let id = client.note_copy_to(&args.id, &there)?.to_string();
    shown(&there, context, &id, "Copied")
}

pub(super) fn kind(args: &Kind, context: &Context) -> Result<(), Failure> {
    change(context, &args.id, "Changed", |client| client.note_set_kind(&args.id, &args.kind))
}

pub(super) fn tag(args: &Tag, present: bool, context: &Context) -> Result<(), Failure> {
    let what = if present { "Tagged" } else { "Untagged" };
    change(context, &args.id, what, |client| client.note_tag(&args.id, &args.tag, present))
}

pub(super) fn pin(args: &Pin, context: &Context) -> Result<(), Failure> {
    let what = if args.off { "Unpinned" } else { "Pinned" };
    change(context, &args.id, what, |client| client.note_pin(&args.id, !args.off))
}

pub(super) fn property(args: &Prop, context: &Context) -> Result<(), Failure> {
    let value = args.value.as_deref().map(json_or_text);
    change(context, &args.id, "Changed", |client| client.note_set_property(&args.id, &args.name, value))
}

/// `4` is a number, `[1]` a list, `draft` text.
fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

pub(super) fn todo(args: &Todo, context: &Context) -> Result<(), Failure> {
    let what = if args.off { "Unticked" } else { "Ticked" };
    let index = args.number as usize - 1;
    change(context, &args.id, what, |client| client.note_set_todo(&args.id, index, !args.off))
}

pub(super) fn trash(args: &One, trashed: bool, context: &Context) -> Result<(), Failure> {
    let what = if trashed { "Trashed" } else { "Restored" };
    change(context, &args.id, what, |client| client.note_trash(&args.id, trashed))
}

pub(super) fn restore_version(args: &RestoreVersion, context: &Context) -> Result<(), Failure> {
    change(context, &args.id, "Restored", |client| client.note_restore(&args.id, &args.version))
}

/// A file's or (`-`) stdin's text, bounded.
fn read_text(file: &Path) -> Result<String, Failure> {
    let name = if file == Path::new("-") { "stdin".to_owned() } else { file.display().to_string() };
    let bytes = read_bounded(file).map_err(|error| Failure::io(format!("cannot read {name}"), error))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        let mib = BODY_BYTES_MAX >> 20;
        return Err(Failure::invalid(format!(
            "{name} is larger than the {mib} MiB that a note can hold; split it into several notes"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let byte = error.utf8_error().valid_up_to();
        Failure::invalid(format!("{name} is not UTF-8 at byte {byte}; save it as UTF-8 and try again"))
    })
}

fn read_bounded(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    } else {
        fs::File::open(file)?.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Opens the person's editor on a private temporary file; returns what was saved.
fn edit_by_hand(markdown: &str) -> Result<String, Failure> {
    let editor = ["VISUAL", "EDITOR"].into_iter().find_map(|name| env::var_os(name).filter(|value| !value.is_empty()));
    let Some(editor) = editor.filter(|_| io::stdin().is_terminal()) else {
        return Err(Failure::usage(
            "nothing to edit with: pass --file FILE (`-` for stdin), or set EDITOR in a terminal",
        ));
    };
    let failed = |error| Failure::io("cannot edit the note", error);
    let file = tempfile::Builder::new().prefix("note-").suffix(".md").tempfile().map_err(failed)?;
    fs::write(file.path(), markdown).map_err(failed)?;
    run_editor(&editor, file.path())?;
    read_text(file.path())
}

/// `EDITOR` may carry arguments (`code --wait`).
fn run_editor(editor: &OsString, file: &Path) -> Result<(), Failure> {
    let command_line = editor.to_string_lossy().into_owned();
    let mut words = command_line.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let failed = |error| Failure::io(format!("cannot run {program}"), error);
    let status = Command::new(program).args(words).arg(file).status().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::io(program, io::Error::other("ended with an error; the note is as it was")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_json_is_taken_as_json() {
        assert_eq!(json_or_text("4"), Value::from(4));
        assert_eq!(json_or_text("draft"), Value::from("draft"));
        assert_eq!(json_or_text("[true]"), Value::from(vec![true]));
    }

    #[test]
    fn an_appended_text_is_a_paragraph_of_its_own() {
        assert_eq!(with_paragraph("a\n", "b"), "a\n\nb\n");
        assert_eq!(with_paragraph("", "b"), "b\n");
    }
}
