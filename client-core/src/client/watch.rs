//! Lists that are watched: the whole list first, then what to do to it, whichever process of this home changed something.
//!
//! Nothing is queued for a reader: what is new is worked out when it asks, from the log of documents that changed since
//! it last did. Whoever does not ask costs nothing, and later gets one answer, for everything at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use super::entities::{self, Entity, EntityQuery};
use super::notes;
use super::{Client, ClientError, NoteFilter, NoteSummary};
use crate::document::GenesisId;
use crate::engine::Shared;
use crate::event::Event;
use crate::registry::NOTE_TREE_GENESIS;
use crate::store::{Item, ListPlace, LogPlace, NotesFilter, Reads};
use crate::watch::{ListChange, Told, Window};

/// Rows that can be watched at most.
const ROWS_MAX: u32 = 10_000;
/// So often somebody who waits looks whether another process has written: a number in shared memory.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A list that is watched, for one reader. It keeps the home open.
pub struct Watch<T> {
    shared: Arc<Shared>,
    query: Query<T>,
    window: Window<ListPlace, T>,
    told: Told<T>,
    /// Up to where the log of changes is followed; `None` before the first time.
    seen: Option<LogPlace>,
    version: i64,
    events: Receiver<Event>,
}

/// How a list is read.
struct Query<T> {
    /// Its first rows, or only the document with this row id if it is in the list, at most so many.
    rows: Rows<T>,
    /// A change of a document of this kind may change any row.
    over: Option<GenesisId>,
}

type Rows<T> = Box<dyn Fn(Reads<'_>, Option<i64>, u32) -> Result<Vec<Item<T>>, ClientError> + Send + Sync>;

impl<T> std::fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Client {
    /// Watches a list of notes ([`Client::notes`]), which begins with its first row.
    /// # Errors
    /// [`ClientError::Invalid`] for a list that skips rows or is too long.
    pub fn watch_notes(&self, filter: NoteFilter) -> Result<Watch<NoteSummary>, ClientError> {
        let limit = limit_of(filter.limit, filter.offset)?;
        if filter.by_title {
            return Err(ClientError::invalid("a list in the order of titles cannot be watched: watch the newest"));
        }
        let notebook = filter.notebook.as_deref().map(|id| self.notebook_id(id)).transpose()?;
        let space = self.space();
        let rows = move |reads: Reads<'_>, only, limit| {
            let filter = NotesFilter {
                notebook: notebook.as_deref(),
                tag: filter.tag.as_deref(),
                kind: filter.kind.as_deref(),
                trashed: filter.trashed,
                limit,
                ..NotesFilter::default()
            };
            Ok(reads.note_items(&space, &filter, only)?.into_iter().map(|item| shown(item, notes::summary)).collect())
        };
        Ok(self.watch(limit, Query { rows: Box::new(rows), over: Some(NOTE_TREE_GENESIS) }))
    }

    /// Watches a list of entities ([`Client::entities`]), which begins with its first row.
    /// # Errors
    /// [`ClientError::Invalid`] for a list that skips rows or is too long; as [`Client::entities`].
    pub fn watch_entities(&self, kind: &str, query: &EntityQuery) -> Result<Watch<Entity>, ClientError> {
        let limit = limit_of(query.limit, query.offset)?;
        let kind = entities::kind_named(kind)?;
        let (query, space) = (query.clone(), self.space());
        let ask = move |reads: Reads<'_>, only, limit| entities::items(reads, &space, kind, &query, (limit, 0), only);
        // What is wrong with the query is said now.
        ask(self.shared.reader().reads(), None, 1)?;
        Ok(self.watch(limit, Query { rows: Box::new(ask), over: None }))
    }

    fn watch<T>(&self, limit: u32, query: Query<T>) -> Watch<T> {
        Watch {
            shared: Arc::clone(&self.shared),
            query,
            window: Window::new(limit as usize),
            told: Told::default(),
            seen: None,
            version: 0,
            events: self.shared.subscribe(),
        }
    }
}

fn limit_of(limit: u32, offset: u32) -> Result<u32, ClientError> {
    match limit {
        _ if offset > 0 => Err(ClientError::invalid("a list that is watched begins with its first row: skip none")),
        0 => Ok(entities::LIST_LIMIT),
        1..=ROWS_MAX => Ok(limit),
        _ => Err(ClientError::invalid(format!("at most {ROWS_MAX} rows can be watched: lower the limit"))),
    }
}

fn shown<A, B>(item: Item<A>, show: impl FnOnce(A) -> B) -> Item<B> {
    Item { row_id: item.row_id, doc: item.doc, place: item.place, row: show(item.row) }
}

impl<T: Clone + PartialEq> Watch<T> {
    /// What is new, if something is: the whole list the first time, then what changed in it since.
    /// # Errors
    /// [`ClientError`]; nothing is lost by it, the next time tells it.
    pub fn poll(&mut self) -> Result<Option<ListChange<T>>, ClientError> {
        let reader = self.shared.reader();
        // Asked before the reading: what is committed in between is looked for once more.
        let version = reader.data_version()?;
        if self.seen.is_some() && version == self.version {
            return Ok(None);
        }
        let (query, window, seen) = (&self.query, &mut self.window, self.seen);
        let end = reader.at_once(|reads| {
            let end = reads.log_end()?;
            if seen != Some(end) {
                follow(reads, query, window, seen)?;
            }
            Ok::<_, ClientError>(end)
        })?;
        drop(reader);
        let is_first = self.seen.is_none();
        (self.seen, self.version) = (Some(end), version);
        Ok(if is_first { Some(self.told.reset(self.window.shown())) } else { self.told.follow(self.window.shown()) })
    }

    /// Waits for what is new. Whoever stops waiting loses nothing.
    /// # Errors
    /// As [`Self::poll`].
    pub async fn next(&mut self) -> Result<ListChange<T>, ClientError> {
        loop {
            if let Some(change) = self.poll()? {
                return Ok(change);
            }
            let later = Instant::now() + LOOK_EVERY;
            tokio::select! {
                () = sleep_until(later) => {}
                heard = self.events.recv() => if heard == Err(RecvError::Closed) {
                    sleep_until(later).await;
                }
            }
        }
    }
}

/// Brings a window up to date, reading what changed and no more, where that is known.
fn follow<T>(
    reads: Reads<'_>,
    query: &Query<T>,
    window: &mut Window<ListPlace, T>,
    seen: Option<LogPlace>,
) -> Result<(), ClientError> {
    let changed = match seen {
        Some(place) => reads.changed_since(place, window.capacity())?,
        None => None,
    };
    let is_known = match (&changed, query.over) {
        (Some(docs), Some(over)) => !reads.any_is_of(docs, over)?,
        (changed, _) => changed.is_some(),
    };
    for doc in changed.filter(|_| is_known).iter().flatten() {
        let found = (query.rows)(reads, Some(*doc), 1)?.pop();
        window.put(*doc, found);
    }
    if !is_known || window.is_short() {
        let capacity = u32::try_from(window.capacity()).unwrap_or(u32::MAX);
        window.fill((query.rows)(reads, None, capacity)?);
    }
    Ok(())
}
