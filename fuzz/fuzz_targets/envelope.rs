//! An envelope that parses keeps its bytes, and its header has exactly one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeos_sync_protocol::envelope::{Envelope, HEADER_BYTES};
use lifeos_sync_protocol::ids::{SignPk, SpaceId};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::parse(bytes.to_vec()) {
        assert_eq!(envelope.header().encode(), bytes[..HEADER_BYTES]);
        assert!(envelope.verify_signature(&SpaceId::ZERO, &SignPk::ZERO).is_err());
        assert_eq!(envelope.into_bytes(), bytes);
    }
});
