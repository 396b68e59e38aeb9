//! The text a person pastes to link a device: what is read is written again as the same link.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeos_client_core::link::LinkText;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(link) = text.parse::<LinkText>() {
        assert_eq!(link.to_string().parse(), Ok(link));
    }
});
