//! `lifeos key database`: the local database encrypted under the device's key, with and without the cipher built in.

use super::Desk;
use super::keys::{json, refused};

const PASSPHRASE: (&str, &str) = ("LIFEOS_PASSPHRASE", "correct horse battery");
#[cfg(feature = "sqlcipher")]
const NEW_PASSPHRASE: (&str, &str) = ("LIFEOS_NEW_PASSPHRASE", "correct horse battery");

/// Covers what both builds print, so that the schemas hold in both.
fn status(desk: &Desk, home: &str) -> serde_json::Value {
    json(desk, home, &["key", "database", "status"], &[PASSPHRASE], "")
}

#[test]
fn a_plain_database_says_so_and_is_not_decrypted_twice() {
    let desk = Desk::new();
    desk.init("a", None);
    let told = status(&desk, "a");
    assert_eq!((&told["database"], &told["can_encrypt"]), (&"plain".into(), &cfg!(feature = "sqlcipher").into()));
    let told = json(&desk, "a", &["key", "database", "decrypt"], &[], "");
    assert_eq!((&told["database"], &told["changed"]), (&"plain".into(), &false.into()));
    let none = refused(&desk, "none", &["key", "database", "status"], &[], "");
    assert!(none.contains("no home here"), "{none}");
}

#[cfg(not(feature = "sqlcipher"))]
#[test]
fn a_program_without_the_cipher_says_that_it_cannot_and_which_one_can() {
    let desk = Desk::new();
    desk.init("a", None);
    let error = refused(&desk, "a", &["key", "database", "encrypt"], &[], "");
    assert!(error.contains("the feature `sqlcipher`"), "{error}");
    assert_eq!(status(&desk, "a")["database"], "plain");
    // What an encrypted file looks like to a program that cannot read it.
    let noise: Vec<u8> = (0..8192_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(desk.path("a").join("lifeos.db"), &noise).unwrap();
    for args in [&["note", "list"][..], &["key", "database", "decrypt"], &["doctor"], &["backup", "b.lifeos"]] {
        let error = refused(&desk, "a", args, &[], "");
        assert!(error.contains("encrypted") && error.contains("the feature `sqlcipher`"), "{error}");
    }
    assert_eq!(status(&desk, "a")["database"], "encrypted");
    assert_eq!(std::fs::read(desk.path("a").join("lifeos.db")).unwrap(), noise, "it was touched");
}

#[cfg(feature = "sqlcipher")]
mod with_the_cipher {
    use std::io::{BufRead as _, BufReader};

    use super::super::Relay;
    use super::{Desk, NEW_PASSPHRASE, PASSPHRASE, json, refused, status};

    /// A home under a passphrase, with a note.
    fn locked(desk: &Desk, relay: Option<&str>) -> String {
        desk.init("a", relay);
        let id = desk.add("a", "Jam", "a jar of marmalade");
        json(desk, "a", &["key", "passphrase", "set"], &[NEW_PASSPHRASE], "");
        id
    }

    fn encrypt(desk: &Desk) {
        let told = json(desk, "a", &["key", "database", "encrypt"], &[PASSPHRASE], "");
        assert_eq!((&told["database"], &told["changed"]), (&"encrypted".into(), &true.into()));
    }

    #[test]
    fn a_key_that_lies_beside_the_database_is_no_key_to_encrypt_it_under() {
        let desk = Desk::new();
        desk.init("a", None);
        let error = refused(&desk, "a", &["key", "database", "encrypt"], &[], "");
        assert!(error.contains("lifeos key passphrase set") && error.contains("--anyway"), "{error}");
        assert_eq!(status(&desk, "a")["database"], "plain");
        let told = json(&desk, "a", &["key", "database", "encrypt", "--anyway"], &[], "");
        assert_eq!((&told["database"], &told["changed"]), (&"encrypted".into(), &true.into()));
        let told = json(&desk, "a", &["key", "database", "encrypt", "--anyway"], &[], "");
        assert_eq!(told["changed"], false);
        desk.add("a", "Jam", "still written");
    }

    #[test]
    fn an_encrypted_home_works_like_any_other_and_is_opened_by_nothing_but_its_passphrase() {
        let desk = Desk::new();
        let id = locked(&desk, None);
        encrypt(&desk);
        let shown = json(&desk, "a", &["note", "show", &id], &[PASSPHRASE], "");
        assert_eq!(shown["title"], "Jam");
        assert_eq!(json(&desk, "a", &["doctor"], &[PASSPHRASE], "")["ok"], true);
        let refused_without = refused(&desk, "a", &["note", "show", &id], &[], "");
        assert!(refused_without.contains("LIFEOS_PASSPHRASE"), "{refused_without}");
        json(&desk, "a", &["space", "new", "Shared"], &[PASSPHRASE], "");
        json(&desk, "a", &["note", "add", "There", "--space", "Shared"], &[PASSPHRASE], "");
        assert_eq!(json(&desk, "a", &["search", "marmalade"], &[PASSPHRASE], "")["hits"].as_array().unwrap().len(), 1);

        // A new passphrase is no new key: the database stays as it is.
        let newer = ("LIFEOS_PASSPHRASE", "another passphrase");
        let set = [PASSPHRASE, ("LIFEOS_NEW_PASSPHRASE", newer.1)];
        json(&desk, "a", &["key", "passphrase", "set"], &set, "");
        assert_eq!(json(&desk, "a", &["note", "show", &id], &[newer], "")["title"], "Jam");
        let output = super::super::keys::run(&desk, "a", &["key", "passphrase", "remove"], &[newer], "");
        let warned = super::super::text(&output.stderr);
        assert!(warned.contains("its key lies in the clear beside it"), "{warned}");

        let told = json(&desk, "a", &["key", "database", "decrypt"], &[], "");
        assert_eq!((&told["database"], &told["changed"]), (&"plain".into(), &true.into()));
        assert_eq!(json(&desk, "a", &["note", "show", &id], &[], "")["title"], "Jam");
    }

    #[test]
    fn a_home_that_another_process_has_open_is_encrypted_when_that_is_done() {
        let desk = Desk::new();
        let relay = Relay::start();
        let id = locked(&desk, Some(&relay.url()));
        let mut watching = desk.command("a", &["sync", "--watch", "--json"]).envs([PASSPHRASE]).spawn().unwrap();
        let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
        lines.next().expect("an event").unwrap();
        let error = refused(&desk, "a", &["key", "database", "encrypt"], &[PASSPHRASE], "");
        assert!(error.contains("another process"), "{error}");
        assert_eq!(status(&desk, "a")["database"], "plain");
        watching.kill().unwrap();
        watching.wait().unwrap();
        encrypt(&desk);
        assert_eq!(json(&desk, "a", &["note", "show", &id], &[PASSPHRASE], "")["title"], "Jam");
        json(&desk, "a", &["sync"], &[PASSPHRASE], "");
    }
}
