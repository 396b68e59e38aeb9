//! `lifeos device wakeup`: what a person is told of where the device is woken.

use lifeos_sync_server::{Config, Server, WakeupRules};

use super::{Desk, Relay, failure, text};

const URL: &str = "https://push.example/up?id=7";

#[test]
fn a_person_is_told_what_each_relay_makes_of_it_and_what_to_do() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    assert!(desk.json("laptop", &["device", "wakeup", "--show"])["url"].is_null());
    let set = desk.json("laptop", &["device", "wakeup", URL]);
    assert_eq!((set["url"].as_str(), set["relays"][0]["standing"].as_str()), (Some(URL), Some("waiting")));
    let token = set["token"].as_str().unwrap();
    assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()));

    desk.json("laptop", &["sync"]);
    let shown = desk.json("laptop", &["device", "wakeup", "--show"]);
    assert_eq!((shown["token"].as_str(), shown["relays"][0]["standing"].as_str()), (Some(token), Some("unsupported")));
    assert!(shown["relays"][0]["advice"].as_str().unwrap().contains("--wakeups"));
    assert_eq!(desk.json("laptop", &["relay", "list"])["relays"][0]["wakeup"], "unsupported");
    assert_eq!(desk.json("laptop", &["status"])["relays"][0]["wakeup"], "unsupported");
    let words = text(&desk.run("laptop", &["status"]).stdout);
    assert!(words.contains("wakes no devices"), "{words}");

    let (dir, runtime) = (tempfile::tempdir().unwrap(), tokio::runtime::Runtime::new().unwrap());
    let start = |host: &str, folder: &str| {
        let mut config = Config::local(dir.path().join(folder));
        config.wakeups = Some(WakeupRules::new(&[host.to_owned()], false, false).unwrap());
        runtime.block_on(Server::start(config)).unwrap()
    };
    for (host, expected) in [("push.example", "kept"), ("another.example", "refused")] {
        let waking = start(host, expected);
        desk.json("laptop", &["relay", "set", &waking.url()]);
        desk.json("laptop", &["sync"]);
        let shown = desk.json("laptop", &["device", "wakeup", "--show"]);
        assert_eq!(shown["relays"][0]["standing"], expected);
        assert_eq!(shown["relays"][0]["advice"].is_null(), expected == "kept");
        runtime.block_on(waking.shutdown());
    }
    let off = desk.json("laptop", &["device", "wakeup", "--off"]);
    assert_eq!((off["url"].is_null(), off["relays"][0]["standing"].as_str()), (true, Some("withdrawing")));
    let words = text(&desk.run("laptop", &["device", "wakeup", "--show"]).stdout);
    assert!(words.starts_with("This device is not woken.") && words.contains("next sync"), "{words}");
}

#[test]
fn what_is_no_address_is_refused_with_what_to_give_instead() {
    let desk = Desk::new();
    desk.init("laptop", None);
    for (url, word) in [
        ("push.example/up", "https://"),
        ("ftp://push.example/", "https://"),
        ("https://user@push.example/", "as the push service shows it"),
        (&format!("https://push.example/{}", "a".repeat(600)), "512"),
    ] {
        let (kind, message, code) = failure(&desk.run("laptop", &["device", "wakeup", url, "--json"]));
        assert_eq!((kind.as_str(), code), ("invalid", Some(1)), "{message}");
        assert!(message.contains(word), "{message}");
    }
    assert!(desk.json("laptop", &["device", "wakeup", "--show"])["url"].is_null());
    let none = desk.run("laptop", &["device", "wakeup"]);
    assert_eq!(none.status.code(), Some(2), "one of the three has to be said");
}
