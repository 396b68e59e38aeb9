//! Life OS client core: documents, their sealed deltas, the store, search, sync and typed operations.
//!
//! The lower half is pure: no I/O, no clock, no randomness; time and random bytes are arguments. It
//! compiles with `--no-default-features`. The upper half (`io`) is store → transport → engine → client.
#![forbid(unsafe_code)]

pub mod backup;
pub mod bundle;
mod cbor;
pub mod checkpoint;
pub mod crypto;
pub mod delta;
pub mod document;
pub mod envelope;
pub mod event;
pub mod export;
mod fault;
pub mod fence;
pub mod filter;
pub mod goals;
pub mod invite;
pub mod keys;
pub mod keystore;
pub mod link;
pub mod metrics;
pub mod modules;
pub mod names;
pub mod nearby;
pub mod notify;
pub mod own_devices;
pub mod presence;
pub mod projection;
pub mod quick;
pub mod receipt;
pub mod records;
pub mod recovery;
pub mod recur;
pub mod registry;
pub mod session;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod watch;
pub mod witness;

#[cfg(feature = "io")]
pub mod client;
#[cfg(feature = "io")]
pub mod engine;
#[cfg(feature = "io")]
pub mod import;
#[cfg(feature = "io")]
pub mod store;
#[cfg(feature = "io")]
pub mod transport;

#[cfg(test)]
#[path = "vectors/tests.rs"]
mod vectors;

pub use lifeos_sync_protocol as protocol;
pub use zeroize;
