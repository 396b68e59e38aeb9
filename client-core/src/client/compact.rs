//! Making a space smaller, fetching a note ahead of the rest, and what a person is told of checkpoints.

use std::time::Duration;

use lifeos_sync_protocol::ids::{DocId, RecordId, SpaceId};
use lifeos_sync_protocol::membership::{CheckpointStanding, Membership};
use lifeos_sync_protocol::record::Record;

use super::names::Names;
use super::{CheckpointStatus, Client, ClientError, Joining, Progress, SyncReport};
use crate::engine::{EngineError, Shared, Tally, grace_ms, newest_checkpoint, sync_once};
use crate::store::{Bootstrap, Reads, StoreError};

/// How often it is looked whether a note has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Client {
    /// Syncs, and makes a checkpoint of everything if anything came since the last one; others then look at it with
    /// their next sync, and after the grace period of the space the edits before it are forgotten.
    /// # Errors
    /// As [`Client::sync`].
    pub async fn compact(&self, progress: Progress<'_>) -> Result<SyncReport, ClientError> {
        self.shared.ask_for_compaction();
        self.sync(progress).await
    }

    /// While this device takes a checkpoint in, the part with this document comes ahead of the rest: with this sync or, if
    /// one is under way in whatever process, after the part that is on its way.
    /// # Errors
    /// [`ClientError`].
    pub fn fetch_first(&self, document: DocId) -> Result<(), ClientError> {
        Ok(self.shared.await_document(document)?)
    }

    /// Syncs until a note is here, ahead of the rest, for a time at most. While another process of this home syncs, that one
    /// is asked for it. What came by then stays, and the rest comes with the next sync.
    /// # Errors
    /// [`ClientError::Invalid`] for a beginning of an id of which no note is here; [`ClientError::NotFound`] when all has come
    /// and the note is not among it; [`ClientError::Network`] when no relay is reached, or it takes longer; as [`Client::sync`].
    pub async fn fetch_note(&self, id: &str, wait: Duration, progress: Progress<'_>) -> Result<(), ClientError> {
        if self.note_id(id).is_ok() {
            return Ok(());
        }
        let whole = || ClientError::invalid("no note that begins with this id is here yet: give the whole id");
        let doc: DocId = id.trim().to_ascii_lowercase().parse().map_err(|_| whole())?;
        self.fetch_first(doc)?;
        let comes = async {
            while self.note_id(id).is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let synced = async {
            match sync_once(&self.shared, progress, &mut Tally::default()).await {
                // Whoever syncs fetches it.
                Err(EngineError::Locked) => std::future::pending().await,
                ended => ended,
            }
        };
        tokio::select! {
            () = comes => Ok(()),
            ended = synced => {
                ended?;
                self.note_id(id).map(drop)
            }
            () = tokio::time::sleep(wait) => Err(ClientError::Network {
                message: format!(
                    "note {} did not come within {} s: it is asked for ahead of the rest, so wait longer, or run `lifeos sync`",
                    &doc.to_string()[..8],
                    wait.as_secs()
                ),
                transient: true,
            }),
        }
    }

    /// Forgets the edits before checkpoints that are in effect at a time (ms UTC); every sync does so. Gives how many
    /// envelopes.
    /// # Errors
    /// [`ClientError`].
    pub fn forget_pruned_at(&self, now_ms: i64) -> Result<u64, ClientError> {
        Ok(self.shared.forget_pruned(now_ms)?)
    }
}

/// The newest checkpoint, in words.
pub(super) fn newest(
    shared: &Shared,
    reads: &Reads<'_>,
    records: &[Record],
    names: &Names,
    now_ms: i64,
) -> Result<Option<CheckpointStatus>, ClientError> {
    let state = shared.state();
    let Some(record) = newest_checkpoint(&state.membership, records) else { return Ok(None) };
    let (id, made_by) = (record.id(), names.device(&record.author()));
    let effective_ms = since_endorsed(shared, reads, &id)?;
    let (standing, text) = match state.membership.checkpoint_standing(&id) {
        Some(CheckpointStanding::Blocked) => {
            ("blocked", "a device says that it leaves something out: nothing is forgotten because of it")
        }
        Some(CheckpointStanding::Endorsed) if effective_ms.is_some_and(|effective_ms| effective_ms <= now_ms) => {
            ("in_effect", "it stands for all edits before it, which are forgotten")
        }
        Some(CheckpointStanding::Endorsed) => {
            ("endorsed", "others found everything in it: the edits before it are forgotten after the grace period")
        }
        _ => ("proposed", "it waits for another device, or another member, to sync and look at it"),
    };
    let (standing, text) = (standing.to_owned(), text.to_owned());
    Ok(Some(CheckpointStatus { id: id.to_string(), made_by, standing, text, effective_ms }))
}

/// From when on edits before a checkpoint may be forgotten, if it was ever endorsed.
fn since_endorsed(shared: &Shared, reads: &Reads<'_>, id: &RecordId) -> Result<Option<i64>, StoreError> {
    let endorsed_ms = reads.endorsed_ms(&shared.space, id)?;
    Ok(endorsed_ms.map(|since_ms| since_ms.saturating_add(grace_ms(&shared.state().membership))))
}

/// From when on edits before a checkpoint may be forgotten, if it is endorsed.
pub(super) fn effective_ms(shared: &Shared, reads: &Reads<'_>, id: &RecordId) -> Result<Option<i64>, StoreError> {
    let is_endorsed = shared.state().membership.checkpoint_standing(id) == Some(CheckpointStanding::Endorsed);
    Ok(since_endorsed(shared, reads, id)?.filter(|_| is_endorsed))
}

/// What has come of a checkpoint.
pub(super) fn joining(bootstrap: Bootstrap) -> Joining {
    let Bootstrap { essential, docs, bytes, .. } = bootstrap;
    Joining { documents: docs.0, documents_all: docs.1, bytes: bytes.0, bytes_all: bytes.1, is_usable: essential == 0 }
}

/// Checkpoints that said what is not so.
pub(super) fn alarms(
    reads: &Reads<'_>,
    space: &SpaceId,
    membership: &Membership,
    names: &Names,
) -> Result<Vec<String>, StoreError> {
    let blames = reads.checkpoint_blames(space)?.into_iter().map(|blame| {
        let maker = membership.checkpoints.get(&blame.checkpoint).map(|made| names.device(&made.maker));
        let maker = maker.filter(|name| !name.is_empty()).unwrap_or_else(|| "a device".to_owned());
        let (repaired, damaged) = (blame.repaired, blame.damaged);
        format!(
            "{maker} made a checkpoint that said something false of {repaired} documents, which are right now, and held \
             {damaged} that cannot be read: update that device, and if it is up to date, remove it"
        )
    });
    Ok(blames.collect())
}
