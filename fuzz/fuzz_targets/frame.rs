//! A frame that decodes has exactly one encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeos_sync_protocol::frame::Frame;

fuzz_target!(|bytes: &[u8]| {
    if let Ok((req_id, frame)) = Frame::decode(bytes) {
        assert_eq!(frame.encode(req_id), bytes);
    }
});
