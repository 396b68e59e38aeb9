//! A record that parses has exactly one encoding. Layout and body are read before the signature is looked at,
//! so the fuzzer gets deep without a key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeos_sync_protocol::ids::SpaceId;
use lifeos_sync_protocol::record::{Body, Record, Unsigned};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::parse(bytes.to_vec()) {
        let is_genesis = matches!(record.body(), Body::Genesis { .. });
        let space = if is_genesis { SpaceId::ZERO } else { record.space() };
        let again = Unsigned::new(space, record.author(), record.depth(), record.parents(), record.body());
        assert_eq!(again.map(|unsigned| unsigned.id()), Ok(record.id()));
    }
});
