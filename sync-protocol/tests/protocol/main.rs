//! The protocol's bytes and rules through the public API.

mod envelopes;
mod frames;
mod generate;
mod kit;
mod membership;
mod records;
mod vectors;
