//! The façade that apps use; composition root of store, transport and engine. Local operations are
//! synchronous and durable when they return; network operations are async (tokio).
//!
//! | file | what |
//! |---|---|
//! | `home` | create and open a home, its relay |
//! | `erase` | forgetting a note everywhere, and who may still hold it |
//! | `notes`, `together`, `notebooks`, `history`, `search` | what a person does with notes |
//! | `entities` | the same with entities of every kind that declares its fields |
//! | `branches` | documents edited aside, looked at, accepted in part or whole |
//! | `watch` | lists that are told what changed in them |
//! | `career` | skills, credentials, opportunities, learning, and JSON Resume in and out |
//! | `goals` | check-ins, and where goals stand |
//! | `articles`, `feeds` | pages kept to be read, and the feeds that bring more |
//! | `custom` | modules that people define in a file, and their items |
//! | `import`, `imports`, `export` | notes of other programs in, taking that back, Markdown out |
//! | `reminders`, `notify` | tasks and their lists; what of them rings on this device |
//! | `attachments` | files that notes attach: kept, fetched, saved |
//! | `devices`, `members`, `names` | who may read and write, removals, new keys, who is called how |
//! | `status`, `notices`, `reach`, `doctor`, `diagnostics` | where things stand, here and in the other spaces, who has a note, whether all is sound, and a report without content |
//! | `recover`, `recover_spaces`, `recovering`, `cover` | back from words: the home, its shared spaces, the steps; which spaces words cover |
//! | `bundle` | what a relay would carry, in a file |
//! | `backup`, `protect` | encrypted files, how the device's key is kept |
//! | `sync`, `link`, `events` | the network, and what it brings |
//! | `jobs` | work in the background |
//! | `presence`, `wakeup` | who is here now, and where; being woken while one is not |
//! | `spaces`, `invite`, `transfer` | other spaces, the people in them, and notes that go there |
//! | `follow` | a person's devices are in all of the person's spaces, or in none |

mod articles;
mod attachments;
mod backup;
mod branches;
mod bundle;
mod career;
mod compact;
mod cover;
mod custom;
mod devices;
mod diagnostics;
mod doctor;
mod entities;
mod erase;
mod error;
mod events;
mod export;
mod feeds;
mod folder;
mod follow;
mod goals;
mod history;
mod home;
mod import;
mod import_attached;
mod imports;
mod invite;
mod jobs;
mod journal;
mod link;
mod members;
mod names;
mod nearby;
mod notebooks;
mod notes;
mod notices;
mod notify;
mod peer;
mod presence;
mod protect;
mod reach;
mod recover;
mod recover_spaces;
mod recovering;
mod reminders;
mod search;
mod spaces;
mod status;
mod sync;
#[cfg(test)]
mod tests;
mod together;
mod transfer;
mod types;
mod wakeup;
mod watch;

use std::sync::Arc;

use lifeos_sync_protocol::ids::{DocId, SignPk, SpaceId};

use crate::document::GenesisId;
use crate::engine::Shared;
use crate::store::{Step, Tx};

pub use crate::link::Comparison;
pub use articles::{Article, Highlight, SavedArticle};
pub use backup::{BackupKeys, BackupReport, RestoreKey, RestoreReport};
pub use branches::{Accepted, Branch, BranchedDocument, BranchedNote, RowEffect};
pub use bundle::{BundleBase, BundleExport, BundleImport};
pub use career::{CredentialView, LearningView, ResumeEntry, ResumeReport, SkillView};
pub use cover::{CoverOutcome, SpaceCover};
pub use custom::Item;
pub use entities::{Entity, EntityQuery};
pub use erase::{ErasePlan, UNDO_DAYS};
pub use error::{ClientError, ErrorKind};
pub use events::Subscription;
pub use feeds::{FeedFetched, FeedShown};
pub use folder::*;
pub use goals::{GoalQuery, GoalView};
pub use home::{HomeDraft, OpenOptions};
pub use jobs::JobStatus;
pub use journal::JournalDay;
pub use link::{LinkApprove, LinkNew, SasApprove, SasNew};
pub use notify::{Notifier, RingsNow, Showing, ShownRing};
pub use peer::{PeerReport, PeerStore};
pub use presence::{DevicePresence, PresenceDraft, Selection};
pub use recover::{PhraseStanding, RecoverReport, Recovering};
pub use recover_spaces::{SpaceOutcome, SpaceRecovery};
pub use reminders::{Added, Agenda, Changed, Task, TaskDetail, TaskDraft, TaskList, TaskQuery, TaskTime};
pub use search::{Mention, RelatedNote};
pub use sync::SyncHandle;
pub use together::NoteEdits;
pub use types::*;
pub use wakeup::{RelayWakeup, WakeupReport};
pub use watch::Watch;

pub use crate::store::{Compare, DatabaseForm, EntityMark, ImportBatch, KeyPlace, KeyProtection};

/// A home that is open. Cheap to clone; all clones share one store.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("space", &self.shared.space).field("device", &self.shared.device).finish()
    }
}

impl Client {
    /// The home space.
    #[must_use]
    pub fn space(&self) -> SpaceId {
        self.shared.space
    }

    /// This device.
    #[must_use]
    pub fn device(&self) -> SignPk {
        self.shared.device
    }

    /// One durable commit, then its event.
    fn write<T>(&self, edit: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError>) -> Result<T, ClientError> {
        let now_ms = crate::engine::wall_ms();
        let (value, commit) = self.shared.store().write(&self.shared.space, now_ms, edit)?;
        self.shared.committed(commit);
        Ok(value)
    }

    /// One edit of one document that exists.
    fn edit<T>(
        &self,
        doc: &DocId,
        genesis: GenesisId,
        step: Step,
        edit: impl FnOnce(&mut automerge::AutoCommit) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.write(|tx| {
            tx.step(step);
            tx.edit(doc, genesis, edit)
        })
    }
}
