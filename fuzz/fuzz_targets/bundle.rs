//! A bundle file to its end, whatever it holds: also with a hash that is right for it, so that the end is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeos_client_core::bundle::BundleReader;
use lifeos_client_core::protocol::hash::sha256;

fn read(bytes: &[u8]) {
    let Ok(mut reader) = BundleReader::open(bytes) else { return };
    while let Ok(Some(_)) = reader.next_part() {}
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let ended = [bytes, &[0; 4]].concat();
    read(&[&ended[..], &sha256("bundle", &[&ended])].concat());
});
