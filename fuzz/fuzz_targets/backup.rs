//! A backup file: its header, opened with words that no lock of it fits, so that no cipher is in the way of its lengths.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeos_client_core::backup::{BackupReader, Opener};
use lifeos_client_core::keys::DeviceRoot;

fuzz_target!(|bytes: &[u8]| {
    let keys = DeviceRoot::from_bytes([7; 32]).derive_space(&[0; 32]);
    assert!(BackupReader::open(bytes, &Opener::Recovery(&keys)).is_err());
});
