//! The text a person pastes to join a space: what is read is written again as the same link.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeos_client_core::invite::InviteLink;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(link) = text.parse::<InviteLink>() {
        let text = link.to_string();
        assert_eq!(text.parse::<InviteLink>().map(|again| again.to_string()), Ok(text));
    }
});
