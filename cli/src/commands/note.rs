//! `lifeos note …`: the commands and where each goes; writing is in `note_edit`, reading in `note_view`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{attachment, note_edit, note_erase, note_view};
use crate::context::Context;
use crate::failure::Failure;

/// Write, read and arrange notes.
#[derive(Debug, Subcommand)]
#[command(after_help = "ID is the id that `lifeos note list` shows, or its first characters (4 at least).")]
pub enum NoteCommand {
    /// Write a note
    Add(Add),
    /// Show a note, as it is or as it was
    Show(Show),
    /// List notes, newest first
    List(List),
    /// Change the text: in $EDITOR, or from a file
    Edit(Edit),
    /// Add a paragraph at the end
    Append(Append),
    /// Give a new title
    Rename(Rename),
    /// Put into a notebook, or out of all
    Move(Move),
    /// Copy into another space
    Copy(Copy),
    /// Make it another sort of note: a template, a meeting
    Kind(Kind),
    /// Add a tag
    Tag(Tag),
    /// Remove a tag
    Untag(Tag),
    /// Pin to the top of lists
    Pin(Pin),
    /// Set or remove a property
    Prop(Prop),
    /// Tick a todo
    Todo(Todo),
    /// Put into the trash
    Trash(One),
    /// Take out of the trash
    Restore(One),
    /// Forget a note, or its history, on all devices and relays
    Erase(Erase),
    /// List the versions of a note
    History(History),
    /// Make a note what it was
    RestoreVersion(RestoreVersion),
    /// Where a note points to
    Links(One),
    /// What points to a note
    Backlinks(One),
    /// Notes that have to do with a note: rare words and tags that both have, links
    Related(Near),
    /// Notes that name a note and do not link to it
    Mentions(Near),
    /// Attach files
    Attach(attachment::Attach),
    /// List the attachments
    Attachments(One),
}

/// Sorts of notes.
const KINDS: [&str; 4] = ["note", "journal", "template", "meeting"];

/// Write a note.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note add \"Groceries\" --text \"- [ ] milk\" --tag home\n  \
                        cat plan.md | lifeos note add --file -\n  lifeos note add \"Budget talk\" --template Meeting\n\n\
                        In a template {{title}}, {{date}}, {{time}}, {{weekday}}, {{week}}, {{yesterday}} and {{tomorrow}} \
                        are filled in;\n{{date:%d.%m.%Y}} takes a format as strftime has it.")]
pub struct Add {
    /// Title; without one the first heading or line is taken
    #[arg(value_name = "TITLE", conflicts_with = "title_option")]
    title: Option<String>,
    /// The same as an option, for a title that begins with a dash
    #[arg(long = "title", value_name = "TITLE", allow_hyphen_values = true)]
    title_option: Option<String>,
    /// Text as Markdown
    #[arg(long, value_name = "MARKDOWN", conflicts_with = "file", allow_hyphen_values = true)]
    pub(super) text: Option<String>,
    /// Text from a file; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Notebook: id or name
    #[arg(long, value_name = "NOTEBOOK")]
    pub(super) notebook: Option<String>,
    /// Tag; may be given more than once
    #[arg(long = "tag", value_name = "TAG")]
    pub(super) tags: Vec<String>,
    /// Make it from this template: title or id
    #[arg(long, value_name = "TEMPLATE")]
    pub(super) template: Option<String>,
    /// Sort of note: journal, template or meeting
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    pub(super) kind: Option<String>,
}

impl Add {
    /// The title, however it was given.
    pub(super) fn title(&self) -> Option<&str> {
        self.title.as_deref().or(self.title_option.as_deref())
    }
}

/// Show a note.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note show 1a2b3c4d\n  lifeos note show 1a2b3c4d --version 9f8e7d6c\n  \
                        lifeos note show ID --wait           on a new device, ahead of everything else that has to come")]
pub struct Show {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// As it was at this version (see `note history`)
    #[arg(long, value_name = "VERSION")]
    pub(super) version: Option<String>,
    /// If it is not here yet, fetch it first; for so long at most. Needs the whole id
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60",
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(super) wait: Option<u32>,
}

/// List notes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note list --tag home --limit 20\n  \
                        lifeos note list --watch --json     the list, then one JSON object a line with what changed in it")]
pub struct List {
    /// Only in this notebook: id or name
    #[arg(long, value_name = "NOTEBOOK")]
    pub(super) notebook: Option<String>,
    /// Only with this tag
    #[arg(long, value_name = "TAG")]
    pub(super) tag: Option<String>,
    /// Only this sort of note
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    pub(super) kind: Option<String>,
    /// The trash instead
    #[arg(long)]
    pub(super) trashed: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
    /// Skip the first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) offset: u32,
    /// Go on with what changes in the list, here or by other programs of this home, until Ctrl-C
    #[arg(long, conflicts_with = "offset")]
    pub(super) watch: bool,
}

/// Change the text.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note edit 1a2b3c4d\n  lifeos note edit 1a2b3c4d --file new.md\n\n\
                        The new text is compared with the old one: edits made elsewhere meanwhile survive.")]
pub struct Edit {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// New text from a file instead of $VISUAL or $EDITOR; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

/// Add a paragraph.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note append 1a2b3c4d \"Seen again today.\"\n  \
                        lifeos note append 1a2b3c4d -- \"- [ ] bread\"")]
pub struct Append {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Markdown to add
    #[arg(value_name = "MARKDOWN")]
    pub(super) text: String,
}

/// Give a new title.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note rename 1a2b3c4d \"Groceries for May\"\n\n\
                        Links to the old title still find the note.")]
pub struct Rename {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// New title
    #[arg(value_name = "TITLE")]
    pub(super) title: String,
}

/// Put into a notebook.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note move 1a2b3c4d Home\n  lifeos note move 1a2b3c4d --out")]
pub struct Move {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Notebook: id or name
    #[arg(value_name = "NOTEBOOK", required_unless_present_any = ["out", "to"], conflicts_with = "out")]
    pub(super) notebook: Option<String>,
    /// Out of all notebooks
    #[arg(long)]
    pub(super) out: bool,
    /// Into another space: id, the beginning of one, or name
    #[arg(long, value_name = "SPACE", conflicts_with_all = ["notebook", "out"])]
    pub(super) to: Option<String>,
}

/// Copy a note into another space.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note copy 1a2b3c4d --to Family\n\n\
                        Text, title, properties and tags; the copy has a life of its own.")]
pub struct Copy {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Space: id, the beginning of one, or name
    #[arg(long, value_name = "SPACE")]
    pub(super) to: String,
}

/// Make it another sort of note.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note kind 1a2b3c4d template\n\n\
                        Days of the journal begin with the template called Journal, if there is one.")]
pub struct Kind {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Sort of note
    #[arg(value_name = "KIND", value_parser = KINDS)]
    pub(super) kind: String,
}

/// Add or remove a tag.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note tag 1a2b3c4d home\n  lifeos note untag 1a2b3c4d home")]
pub struct Tag {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Tag
    #[arg(value_name = "TAG")]
    pub(super) tag: String,
}

/// Pin.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note pin 1a2b3c4d\n  lifeos note pin 1a2b3c4d --off")]
pub struct Pin {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Unpin
    #[arg(long)]
    pub(super) off: bool,
}

/// Set or remove a property.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note prop 1a2b3c4d status draft\n  lifeos note prop 1a2b3c4d rating 4\n  \
                        lifeos note prop 1a2b3c4d status --remove\n\n\
                        A value that is valid JSON is taken as such, anything else as text.")]
pub struct Prop {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Name of the property
    #[arg(value_name = "NAME")]
    pub(super) name: String,
    /// Its value
    #[arg(
        value_name = "VALUE",
        required_unless_present = "remove",
        conflicts_with = "remove",
        allow_negative_numbers = true
    )]
    pub(super) value: Option<String>,
    /// Remove it
    #[arg(long)]
    pub(super) remove: bool,
}

/// Tick a todo.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note todo 1a2b3c4d 2\n  lifeos note todo 1a2b3c4d 2 --off")]
pub struct Todo {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Which todo of the note, counted from 1
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) number: u32,
    /// Not done after all
    #[arg(long)]
    pub(super) off: bool,
}

/// One note.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note trash 1a2b3c4d\n  lifeos note restore 1a2b3c4d\n  \
                        lifeos note backlinks 1a2b3c4d")]
pub struct One {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
}

/// Notes around a note.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note related 1a2b3c4d\n  lifeos note mentions 1a2b3c4d --limit 50")]
pub struct Near {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(super) limit: u32,
}

/// Forget a note, or its history, on all devices and relays.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note erase 1a2b3c4d\n  lifeos note erase 1a2b3c4d --undo\n  \
                        lifeos note erase --status\n\n\
                        The note goes to the trash and is erased after 7 days, unless it is taken out of there or \
                        --undo is given.\nBundles, exports and backups made before still hold it.")]
pub struct Erase {
    /// Note
    #[arg(value_name = "ID", required_unless_present = "status", conflicts_with = "status")]
    pub(super) id: Option<String>,
    /// Only what it was before: what it says now goes on in a new note
    #[arg(long, conflicts_with_all = ["undo", "status"])]
    pub(super) history_only: bool,
    /// At once: it cannot be taken back
    #[arg(long, conflicts_with_all = ["undo", "status"])]
    pub(super) now: bool,
    /// Take a planned erasure back
    #[arg(long, conflicts_with = "status")]
    pub(super) undo: bool,
    /// Forget what was typed elsewhere while only its history was erased: you have read it
    #[arg(long, conflicts_with_all = ["undo", "status", "now", "history_only"])]
    pub(super) seen: bool,
    /// What was erased, and who may still hold it
    #[arg(long)]
    pub(super) status: bool,
}

/// List the versions of a note.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note history 1a2b3c4d --limit 10")]
pub struct History {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
    /// Skip the newest
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) offset: u32,
}

/// Make a note what it was.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note restore-version 1a2b3c4d 9f8e7d6c\n\n\
                        This is a new change: nothing is lost, and `lifeos undo` takes it back.")]
pub struct RestoreVersion {
    /// Note
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// Version (see `note history`)
    #[arg(value_name = "VERSION")]
    pub(super) version: String,
}

pub(super) fn run(command: NoteCommand, context: &Context) -> Result<(), Failure> {
    use NoteCommand as C;
    match command {
        C::Add(args) => note_edit::add(args, context),
        C::Show(args) => note_view::show(&args, context),
        C::List(args) => note_view::list(args, context),
        C::Edit(args) => note_edit::edit(&args, context),
        C::Append(args) => note_edit::append(&args, context),
        C::Rename(args) => note_edit::rename(&args, context),
        C::Move(args) => note_edit::move_to(&args, context),
        C::Copy(args) => note_edit::copy(&args, context),
        C::Related(args) => note_view::related(&args, context),
        C::Mentions(args) => note_view::mentions(&args, context),
        C::Kind(args) => note_edit::kind(&args, context),
        C::Tag(args) => note_edit::tag(&args, true, context),
        C::Untag(args) => note_edit::tag(&args, false, context),
        C::Pin(args) => note_edit::pin(&args, context),
        C::Prop(args) => note_edit::property(&args, context),
        C::Todo(args) => note_edit::todo(&args, context),
        C::Trash(args) => note_edit::trash(&args, true, context),
        C::Restore(args) => note_edit::trash(&args, false, context),
        C::Erase(args) => note_erase::run(&args, context),
        C::History(args) => note_view::history(&args, context),
        C::RestoreVersion(args) => note_edit::restore_version(&args, context),
        C::Links(args) => note_view::links(&args, context),
        C::Backlinks(args) => note_view::backlinks(&args, context),
        C::Attach(args) => attachment::attach(&args, context),
        C::Attachments(args) => attachment::of_note(&args, context),
    }
}
