//! What another device says of relays and records inside a delta: hints, each read by itself or passed over.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeos_client_core::protocol::ids::SpaceId;
use lifeos_client_core::witness::{decode_app, read_statement, statement_bytes};

fuzz_target!(|bytes: &[u8]| {
    // Nothing makes more of them than its bytes hold.
    let advice = decode_app(&SpaceId::ZERO, bytes);
    assert!(advice.statements.len() + advice.records.len() <= bytes.len());
    if let Some(statement) = read_statement(bytes) {
        assert_eq!(read_statement(&statement_bytes(&statement)), Some(statement));
    }
});
