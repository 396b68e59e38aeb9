//! A body that decodes as a Delta encodes to the same bytes, unless it holds keys inside a document that a later
//! version wrote: those are passed over, so it encodes to no more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeos_client_core::delta::Delta;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(delta) = Delta::decode(bytes) {
        let again = delta.encode().expect("what was read within the limits is within them");
        assert!(again.len() <= bytes.len());
        assert_eq!(Delta::decode(&again), Ok(delta));
    }
});
