//! A relay for encrypted spaces: it checks, orders, stores and fans out envelopes that it cannot read.
//!
//! One way through it:
//!
//! ```text
//! server      accepts connections, under limits
//!  connection   handshake → session: frames in, frames out, each half on its own
//!   space        membership cache, live readers
//!    store         one writer thread: validate against the tip, group commit, fsync
//!   space        published: NOTIFY to live readers
//!  connection   PUSH_ACK
//!
//! tend        beside it: checkpoints take effect, and what they hold is deleted
//! wake        beside it: who is not connected is told that something is new, and nothing else
//! follow      beside it, with the feature `postgres`: what other relays at the same server stored is told here
//! ```
//!
//! Acknowledged means on disk: PUSH_ACK, REC_ACK and NOTIFY leave only after `COMMIT` at `synchronous=FULL`, or that of a
//! PostgreSQL server whose `fsync` is on.
//! What is deliberately absent: any cipher but that of TLS towards push services, any content key, and any order taken
//! from a clock.
#![forbid(unsafe_code)]

mod blocking;
mod clock;
mod config;
mod connection;
#[cfg(feature = "postgres")]
mod follow;
mod http;
mod identity;
mod limits;
mod metrics;
mod rate;
mod rendezvous;
mod server;
#[cfg(feature = "simulation")]
pub mod simulation;
mod space;
mod store;
mod tend;
mod wake;

pub use clock::Clock;
pub use config::{Config, ConfigError, Database, SpaceCreation, TokenHash, WakeupRules, WakeupRulesError};
pub use limits::Limits;
pub use server::{Handle, Server, StartError, Visit};
pub use store::{AdminError, SpaceStats, Stats, backup, stats};
#[cfg(feature = "postgres")]
pub use store::{PostgresError, server_stats};
pub use wake::{Waker, Woken};
