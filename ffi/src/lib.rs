//! The client façade for Kotlin, Swift and Python, through UniFFI.
//!
//! ```text
//! host language → exported function → one multi-thread runtime → Client
//! ```
//! * One [`LifeOs`] owns one runtime. Work runs there and never on the host's thread, which UniFFI would
//!   otherwise use to poll: a blocked host event loop is the first complaint of every binding.
//! * Every function is fallible: a panic in one that is not would end a Swift process.
//! * Streams are pulled ([`EventStream::next_events`], [`NoteWatch::next_changes`]); nothing calls out into the host.
//! * Nothing here is called `close` or `message`: both collide with what Kotlin generates.
//! * Counts and times cross as `i64` and `u32`: unsigned 64-bit numbers are awkward in Kotlin and Java.

mod engine;
mod error;
mod events;
mod link;
mod notebooks;
mod notes;
mod records;
mod runtime;
mod transfer;
mod watch;

pub use engine::{LifeOs, NewHome, create_home, set_database_encrypted};
pub use error::LifeOsError;
pub use events::{EventStream, SyncEvent};
pub use link::{CodeOutcome, LinkApprove, LinkNew, link_new};
pub use records::*;
pub use watch::{NoteListChange, NoteWatch};

uniffi::setup_scaffolding!();
