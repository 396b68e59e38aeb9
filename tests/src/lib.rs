//! Support of the whole-system tests: real processes, a ledger of what was acknowledged, crash points.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod crash;
pub mod middle;
pub mod noise;
pub mod process;
#[cfg(feature = "simulation")]
pub mod sim;
pub mod terminal;
pub mod world;
