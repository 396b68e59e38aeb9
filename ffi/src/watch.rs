//! A list of notes that says what changes in it, as a stream that the host pulls.

use std::sync::Arc;

use lifeos_client_core::client::{self as core, ClientError, Watch};
use lifeos_client_core::watch::{ListChange, RowChange};
use tokio::sync::{Mutex, watch};

use crate::engine::LifeOs;
use crate::error::LifeOsError;
use crate::records::{NoteFilter, NoteSummary};
use crate::runtime::Engine;

/// What to do to the list, one after the other; positions count from 0, in the list as the changes before have left it.
#[derive(Debug, Clone, PartialEq, uniffi::Enum)]
pub enum NoteListChange {
    /// This is the whole list now: always the first.
    Reset {
        /// The list.
        notes: Vec<NoteSummary>,
    },
    /// Take out the note at this position.
    Removed {
        /// Where it was.
        at: u32,
    },
    /// Put this note in.
    Added {
        /// Where it is then.
        at: u32,
        /// The note.
        note: NoteSummary,
    },
    /// Take the note out and put it in again, as it is now.
    Moved {
        /// Where it was.
        from: u32,
        /// Where it is then, counted without it.
        to: u32,
        /// The note.
        note: NoteSummary,
    },
    /// The note at this position shows something else.
    Changed {
        /// Where it is.
        at: u32,
        /// The note.
        note: NoteSummary,
    },
}

/// A list of notes that is watched, for one reader. It keeps the home open until it is stopped or dropped.
#[derive(uniffi::Object)]
pub struct NoteWatch {
    engine: Arc<Engine>,
    slot: Arc<Mutex<Slot>>,
    stopped: watch::Receiver<bool>,
    ended: watch::Sender<bool>,
}

struct Slot {
    /// Gone when the stream has ended: it would keep the home open.
    watch: Option<Watch<core::NoteSummary>>,
    /// Worked out, and not handed over yet: the host may have stopped waiting.
    news: Option<ListChange<core::NoteSummary>>,
}

#[uniffi::export]
impl LifeOs {
    /// Watches what [`LifeOs::notes`] lists for this filter, which skips no notes.
    ///
    /// # Errors
    /// [`LifeOsError::Invalid`] for a filter that skips some, or asks for more than 10,000.
    pub fn watch_notes(&self, filter: NoteFilter) -> Result<Arc<NoteWatch>, LifeOsError> {
        let watch = self.client()?.watch_notes(filter.into())?;
        let slot = Arc::new(Mutex::new(Slot { watch: Some(watch), news: None }));
        Ok(Arc::new(NoteWatch { engine: self.engine(), slot, stopped: self.stopped(), ended: watch::channel(false).0 }))
    }
}

#[uniffi::export]
impl NoteWatch {
    /// Waits for what is new and returns all of it; nothing piles up while nobody waits. An empty list is the end. A host
    /// that stops waiting loses nothing.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn next_changes(&self) -> Result<Vec<NoteListChange>, LifeOsError> {
        let (mut stopped, mut ended, slot) = (self.stopped.clone(), self.ended.subscribe(), Arc::clone(&self.slot));
        let fill = async move {
            let mut slot = slot.lock().await;
            let Slot { watch: Some(watch), news: news @ None } = &mut *slot else { return Ok(()) };
            *news = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => None,
                _ = ended.wait_for(|ended| *ended) => None,
                news = watch.next() => Some(news?),
            };
            if news.is_none() {
                slot.watch = None;
            }
            Ok::<_, ClientError>(())
        };
        self.engine.run(fill).await?;
        Ok(self.slot.lock().await.news.take().map(changes).unwrap_or_default())
    }

    /// Ends the stream; whoever waits gets an empty list.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub fn stop(&self) -> Result<(), LifeOsError> {
        self.ended.send_replace(true);
        Ok(())
    }
}

fn changes(news: ListChange<core::NoteSummary>) -> Vec<NoteListChange> {
    match news {
        ListChange::Reset(notes) => vec![NoteListChange::Reset { notes: notes.into_iter().map(Into::into).collect() }],
        ListChange::Rows(rows) => rows.into_iter().map(change).collect(),
    }
}

fn change(row: RowChange<core::NoteSummary>) -> NoteListChange {
    let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    match row {
        RowChange::Removed { at } => NoteListChange::Removed { at: place(at) },
        RowChange::Added { at, row } => NoteListChange::Added { at: place(at), note: row.into() },
        RowChange::Moved { from, to, row } => {
            NoteListChange::Moved { from: place(from), to: place(to), note: row.into() }
        }
        RowChange::Changed { at, row } => NoteListChange::Changed { at: place(at), note: row.into() },
    }
}

#[cfg(test)]
mod tests {
    use lifeos_client_core::client::{Client, InitOptions, NoteDraft};
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn a_host_pulls_the_list_and_then_its_changes_and_loses_none_by_stopping_to_wait() {
        let dir = tempfile::tempdir().unwrap();
        let (client, _) = Client::create(&dir.path().join("home"), InitOptions::default()).unwrap();
        let home = LifeOs::new(Arc::new(Engine::start().unwrap()), client.clone());
        let filter = NoteFilter::default();
        let watch = home.watch_notes(filter).unwrap();
        let host = Builder::new_current_thread().enable_time().build().unwrap();
        let next = || host.block_on(watch.next_changes()).unwrap();
        assert_eq!(next(), [NoteListChange::Reset { notes: Vec::new() }]);
        let given_up = host.block_on(async {
            tokio::time::timeout(std::time::Duration::from_millis(20), watch.next_changes()).await.is_err()
        });
        assert!(given_up);
        client.note_create(NoteDraft { title: "One".into(), ..NoteDraft::default() }).unwrap();
        assert!(matches!(&next()[..], [NoteListChange::Added { at: 0, note }] if note.title == "One"));
        watch.stop().unwrap();
        assert_eq!(next(), []);
        assert_eq!(next(), []);
    }
}
