//! The journal, a note a day; and notes that are made from templates.

use jiff::Zoned;
use jiff::civil::Date;
use lifeos_sync_protocol::ids::DocId;

use super::{Client, ClientError, NoteDraft, NoteFilter, NoteSummary};
use crate::document::singleton_doc_id;
use crate::modules::notes::journal::{self, JOURNAL, TEMPLATE};
use crate::modules::notes::template::{Filling, fill};
use crate::modules::notes::{markdown_of, note};
use crate::modules::register::{fold, is_set};
use crate::registry::NOTE_GENESIS;
use crate::store::{ErasureState, Reads, Step};

/// A day that is erased more often than this is not begun again.
const AGAIN_MAX: u32 = 100;
/// Title of the template that days begin with, if there is one.
const DAY_TEMPLATE: &str = "Journal";
/// Part of the id of a day's document.
const KIND: &str = "note";

/// A day of the journal, opened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct JournalDay {
    /// Hex id of its note.
    pub id: String,
    /// Which day, `YYYY-MM-DD`.
    pub day: String,
    /// It was begun now.
    pub begun: bool,
    /// It was taken out of the trash.
    pub restored: bool,
    /// Copies of the template that went, because another device had put it in as well.
    pub copies_removed: usize,
}

/// What notes are made from.
struct Template {
    markdown: String,
    tags: Vec<String>,
}

impl Client {
    /// Opens a day of the journal, and begins it if it is not there: from the template called `Journal`, if there is one.
    /// `now` is the time where the person is. Two devices that begin a day without knowing of each other have one note.
    /// # Errors
    /// [`ClientError`].
    pub fn journal(&self, day: Date, now: &Zoned) -> Result<JournalDay, ClientError> {
        let (doc, is_there) = self.journal_doc(day)?;
        let template = if is_there { None } else { self.template_called(DAY_TEMPLATE)? };
        let title = day.to_string();
        // A day that is begun later is still about that day.
        let now = now.with().date(day).build().unwrap_or_else(|_| now.clone());
        let filled = template.as_ref().map(|template| fill(&template.markdown, &Filling { title: &title, now: &now }));
        let labels = template.map(|template| template.tags).unwrap_or_default();
        let (restored, copies_removed) = self.write(|tx| {
            tx.step(Step::Edit);
            let now_ms = tx.now_ms();
            tx.edit(&doc, NOTE_GENESIS, |inner| -> Result<_, ClientError> {
                if !is_there {
                    journal::begin(inner, day, filled.as_deref(), &labels, now_ms)?;
                }
                let restored = is_set(inner, "del");
                if restored {
                    note::restore(inner)?;
                }
                Ok((restored, journal::mend(inner)?))
            })
        })?;
        Ok(JournalDay { id: doc.to_string(), day: title, begun: !is_there, restored, copies_removed })
    }

    /// The days of the journal that were begun, the latest first.
    /// # Errors
    /// [`ClientError`].
    pub fn journal_days(&self, limit: u32, offset: u32) -> Result<Vec<NoteSummary>, ClientError> {
        self.notes(NoteFilter { kind: Some(JOURNAL.into()), by_title: true, limit, offset, ..NoteFilter::default() })
    }

    /// The document of a day, and whether the day is begun. A day that was erased goes on in another document.
    fn journal_doc(&self, day: Date) -> Result<(DocId, bool), ClientError> {
        let reader = self.shared.reader();
        let reads: Reads<'_> = reader.reads();
        let erasures = reads.erasures(&self.space())?;
        let is_erased = |doc: &DocId| {
            erasures.iter().any(|one| one.doc == *doc && !matches!(one.state, ErasureState::Scheduled { .. }))
        };
        let mut docs = (0..AGAIN_MAX).map(|again| singleton_doc_id(&self.space(), KIND, &journal::key(day, again)));
        let doc = docs.find(|doc| !is_erased(doc));
        let doc = doc.ok_or_else(|| ClientError::invalid(format!("{day} was erased too often to be begun again")))?;
        Ok((doc, reads.note(&self.space(), &doc)?.is_some()))
    }

    /// Makes a note from a template, named by its title or id: its text with the variables filled in, its properties and
    /// tags, and what the draft adds; the draft's text goes behind the template's.
    /// # Errors
    /// [`ClientError::NotFound`] without such a template.
    pub fn note_from_template(&self, template: &str, draft: NoteDraft, now: &Zoned) -> Result<DocId, ClientError> {
        let found = match self.template_called(template)? {
            Some(found) => Some(found),
            None => self.note_id(template).ok().map(|doc| self.template(&doc)).transpose()?.flatten(),
        };
        let found = found.ok_or_else(|| no_template(template))?;
        let title = if draft.title.is_empty() { now.date().to_string() } else { draft.title.clone() };
        let mut markdown = fill(&found.markdown, &Filling { title: &title, now });
        if !draft.markdown.is_empty() {
            markdown = format!("{}\n\n{}", markdown.trim_end_matches('\n'), draft.markdown);
        }
        let tags = [found.tags, draft.tags.clone()].concat();
        self.note_create(NoteDraft { title, markdown, tags, ..draft })
    }

    /// Makes a note another sort: `note`, `journal`, `template`, `meeting`.
    /// # Errors
    /// [`ClientError::Invalid`] for a sort that there is not.
    pub fn note_set_kind(&self, id: &str, kind: &str) -> Result<(), ClientError> {
        self.edit_note(id, |inner| Ok(note::set_kind(inner, kind)?))
    }

    /// The template with this title; the oldest, if there are several.
    fn template_called(&self, title: &str) -> Result<Option<Template>, ClientError> {
        let named = self.shared.reader().reads().notes_by_title(&self.space(), &fold(title))?;
        for doc in named {
            if let Some(template) = self.template(&doc)? {
                return Ok(Some(template));
            }
        }
        Ok(None)
    }

    /// A note as a template, if it is one.
    fn template(&self, doc: &DocId) -> Result<Option<Template>, ClientError> {
        let Some(row) = self.shared.reader().reads().note(&self.space(), doc)?.filter(|row| row.kind == TEMPLATE)
        else {
            return Ok(None);
        };
        let markdown = self.shared.store().read(&self.space(), doc, |document| markdown_of(document.read()))?;
        let markdown = markdown.transpose()?.unwrap_or_default();
        Ok(Some(Template { markdown, tags: row.tags }))
    }
}

fn no_template(name: &str) -> ClientError {
    let list = "`lifeos note list --kind template` shows those there are, `lifeos note kind ID template` makes one";
    ClientError::not_found(format!("template {name}: {list}"))
}
