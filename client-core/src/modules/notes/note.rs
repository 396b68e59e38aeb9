//! A note as a whole: create, title, Markdown, pin, move, trash.

use automerge::{AutoCommit, ScalarValue};

use super::markdown::{self, Parsed};
use super::{body, front, tags};
use crate::document::DocumentError;
pub use crate::modules::entity::is_edited_after_trash;
use crate::modules::register::{clear, flag, is_set, line, put, text};
use crate::registry::NOTE_GENESIS;

/// What to make a note from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Draft<'a> {
    /// Title; empty: shown is the first heading or line.
    pub title: &'a str,
    /// Body as Markdown, with optional front matter.
    pub markdown: &'a str,
    /// Notebook id.
    pub notebook: Option<&'a str>,
    /// Tags.
    pub tags: &'a [String],
    /// What sort of note, if not an ordinary one: `journal`, `template`, `meeting`.
    pub kind: Option<&'a str>,
    /// Where it was imported from.
    pub source: Option<Source<'a>>,
}

/// The file a note was imported from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Path below the imported folder, with `/`.
    pub path: &'a str,
    /// SHA-256 of the file's bytes.
    pub hash: [u8; 32],
}

/// Fills a new note.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn create(doc: &mut AutoCommit, draft: &Draft<'_>, now_ms: i64) -> Result<(), DocumentError> {
    put(doc, NOTE_GENESIS, "created", ScalarValue::Timestamp(now_ms))?;
    if !draft.title.trim().is_empty() {
        put(doc, NOTE_GENESIS, "title", line(draft.title))?;
    }
    if let Some(kind) = draft.kind {
        put(doc, NOTE_GENESIS, "kind", kind)?;
    }
    if draft.notebook.is_some() {
        move_to(doc, draft.notebook)?;
    }
    for name in draft.tags {
        tags::tag(doc, name)?;
    }
    if let Some(source) = &draft.source {
        set_source(doc, source)?;
    }
    set_markdown(doc, draft.markdown)
}

/// Sets the title; the old one stays an alias, so that links to it still resolve.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn set_title(doc: &mut AutoCommit, title: &str) -> Result<(), DocumentError> {
    let title = line(title);
    let old = text(doc, "title").unwrap_or_default();
    if old == title {
        return Ok(());
    }
    if !old.is_empty() {
        put(doc, NOTE_GENESIS, &format!("alias/{old}"), true)?;
    }
    put(doc, NOTE_GENESIS, "title", title)
}

/// Makes front matter and body what the text says by writing only the difference.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for a text above the limits.
pub fn set_markdown(doc: &mut AutoCommit, markdown: &str) -> Result<(), DocumentError> {
    let Parsed { front_matter, body } = markdown::parse(markdown);
    front::replace(doc, front_matter.as_ref())?;
    body::replace(doc, &body)
}

/// Remembers the file the note came from.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for a path that is too long.
pub fn set_source(doc: &mut AutoCommit, source: &Source<'_>) -> Result<(), DocumentError> {
    put(doc, NOTE_GENESIS, "source:path", source.path)?;
    put(doc, NOTE_GENESIS, "source:hash", ScalarValue::Bytes(source.hash.to_vec()))
}

/// Forgets the file the note came from, so that the same file can be imported again.
///
/// # Errors
/// [`DocumentError::Refused`].
pub fn forget_source(doc: &mut AutoCommit) -> Result<(), DocumentError> {
    clear(doc, NOTE_GENESIS, "source:path")?;
    clear(doc, NOTE_GENESIS, "source:hash")
}

/// The kind as a draft takes it: nothing for ordinary notes and for kinds that this version does not know.
#[must_use]
pub fn special(kind: &str) -> Option<&str> {
    ["journal", "template", "meeting"].contains(&kind).then_some(kind)
}

/// Makes it another sort of note: `note`, `journal`, `template` or `meeting`.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for a sort that there is not.
pub fn set_kind(doc: &mut AutoCommit, kind: &str) -> Result<(), DocumentError> {
    let now = text(doc, "kind");
    if now.as_deref().unwrap_or("note") == kind { Ok(()) } else { put(doc, NOTE_GENESIS, "kind", kind) }
}

/// Pins or unpins.
///
/// # Errors
/// [`DocumentError::Refused`].
pub fn pin(doc: &mut AutoCommit, pinned: bool) -> Result<(), DocumentError> {
    if flag(doc, "pinned") == pinned { Ok(()) } else { put(doc, NOTE_GENESIS, "pinned", pinned) }
}

/// Moves into a notebook, or out of all.
///
/// # Errors
/// [`DocumentError::InvalidValue`] for what is no notebook id.
pub fn move_to(doc: &mut AutoCommit, notebook: Option<&str>) -> Result<(), DocumentError> {
    match notebook {
        Some(id) => put(doc, NOTE_GENESIS, "notebook", id),
        None => clear(doc, NOTE_GENESIS, "notebook"),
    }
}

/// Puts into the trash; a note that is there stays as it is.
///
/// # Errors
/// [`DocumentError::Refused`].
pub fn trash(doc: &mut AutoCommit, now_ms: i64) -> Result<(), DocumentError> {
    if is_set(doc, "del") { Ok(()) } else { put(doc, NOTE_GENESIS, "del", ScalarValue::Timestamp(now_ms)) }
}

/// Takes out of the trash.
///
/// # Errors
/// [`DocumentError::Refused`].
pub fn restore(doc: &mut AutoCommit) -> Result<(), DocumentError> {
    clear(doc, NOTE_GENESIS, "del")
}

/// The whole note as Markdown, front matter included; of an unedited import the file's text, byte for byte.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] for a document that is no note.
pub fn markdown_of(doc: &AutoCommit) -> Result<String, DocumentError> {
    let parsed = Parsed { front_matter: front::effective(doc), body: body::read(doc, None)? };
    Ok(markdown::render(&parsed))
}
