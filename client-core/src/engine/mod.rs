//! The engine: drives sessions over transports against the store.
//!
//! ```text
//!             ┌ reader task ─► frames (≤ 4) ─┐              ┌─ writer task ─► transport
//!  transport ─┘                              ▼              │
//!                                 Session (one loop) ─► outputs ─► store worker (one blocking thread)
//!                                            ▲                          │ one job at a time, in order
//!                                            └──────── answers ◄────────┘
//! ```
//!
//! Reading and writing never wait for each other: what is sent is bounded by the session's window, what is
//! received by not reading while the store is behind. Events leave only after the commit that made them true.
//! Deliberately absent: any decision about the protocol (that is [`crate::session`]) and any SQL.

mod breaker;
mod bundle;
mod circuits;
mod connection;
mod directory;
mod error;
mod jobs;
mod live;
mod lock;
mod pace;
mod peer;
mod presence;
mod records;
mod rendezvous;
mod rotation;
mod sealing;
mod shared;
mod state;
mod task;
mod upkeep;
mod worker;

pub use breaker::{Blame, Breaker, Circuit, FAILURES_MAX, Trouble};
pub(crate) use bundle::{Base, Exported, export_bundle, import_bundle};
pub(crate) use circuits::{Circuits, KnownTrouble};
pub(crate) use connection::{Mode, Tally};
pub(crate) use directory::list_spaces;
pub use error::EngineError;
pub(crate) use jobs::{JobKind, JobProgress, Jobs, ToldJobs};
pub(crate) use live::{Failed, exchange_records, run_live, sync_once, sync_over};
pub(crate) use lock::HomeLock;
pub use pace::Pace;
pub(crate) use peer::{run_live_with_peer, sync_with_peer};
pub(crate) use records::{Published, fetch_records, offer_record, publish_records};
pub(crate) use rendezvous::Mailboxes;
pub(crate) use sealing::check_taken;
pub(crate) use shared::{Shared, wall_ms};
pub(crate) use state::SpaceState;
#[cfg(feature = "simulation")]
pub use task::simulated::{abort_tasks, spawn as spawn_in_node};
pub(crate) use task::{blocking, spawn};
pub(crate) use upkeep::{erase, index, project, rest, tidy_attachments, verify};
pub(crate) use worker::checkpoints::{grace_ms, newest_checkpoint};
