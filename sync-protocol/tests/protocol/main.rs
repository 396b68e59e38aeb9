//! The protocol's bytes and rules through the public API.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod envelopes;
mod frames;
mod generate;
mod kit;
mod membership;
mod membership_checkpoints;
mod membership_roles;
mod membership_world;
mod records;
mod vectors;
