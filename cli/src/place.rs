//! Where the key of a new home goes: into the system's keystore where this program was built with one, else into a file.

use lifeos_client_core::client::{Client, KeyPlace};

use crate::context::Context;
use crate::page::Page;

/// Moves the key of a home that was just made, linked, recovered or restored into the system's keystore, if this program
/// was built with one and it gives back what it is given; else the key stays in its file, and why is said. Tells where it is.
pub(crate) fn keep(client: &Client, context: &Context) -> KeyPlace {
    if !cfg!(feature = "keystore") {
        return KeyPlace::File;
    }
    // The home is whole already and its words may still have to be shown: what fails here is said, and stops nothing.
    match client.protect_key(KeyPlace::Keystore, None) {
        Ok(()) => KeyPlace::Keystore,
        Err(error) => {
            context.out.say(&error.to_string());
            KeyPlace::File
        }
    }
}

/// Where the key lies, and what that means.
pub(crate) fn draw(page: &mut Page, place: KeyPlace) {
    page.line(match place {
        KeyPlace::Keystore => {
            "Key      in the system's keystore; where none runs, in a script or at a server: `lifeos key move file`"
        }
        KeyPlace::File => {
            "Key      in device.key, readable by you alone; to protect it by a passphrase: `lifeos key passphrase set`"
        }
    });
}
