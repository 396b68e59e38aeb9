//! The bytes of the Life OS sync protocol: ids, limits, envelopes, records, frames, handshake and the
//! membership rules. No I/O, no async, no cipher and no secret key: what a relay may link.
#![forbid(unsafe_code)]

pub mod address;
pub mod dag;
pub mod envelope;
pub mod frame;
pub mod handshake;
pub mod hash;
pub mod ids;
pub mod limits;
pub mod log;
pub mod membership;
pub mod record;
pub mod wakeup;
mod wire;
