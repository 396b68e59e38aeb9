//! Two devices of one network, from the command line and without a relay.

use std::io::{BufRead as _, BufReader, Lines};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, ChildStdout};
use std::time::Duration;

use serde_json::Value;

use super::{Desk, Relay, contract, failure, link, text};

/// `sync --listen` under way in another process.
struct Listener {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Listener {
    fn start(desk: &Desk, home: &str, more: &[&str]) -> Self {
        Self::begin(desk, home, &[&["sync", "--listen", "127.0.0.1", "--json"], more].concat())
    }

    fn begin(desk: &Desk, home: &str, args: &[&str]) -> Self {
        let mut child = desk.command(home, args).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for the next line of this kind.
    fn expect(&mut self, name: &str) -> Value {
        for line in self.lines.by_ref() {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            contract::hold(&["sync", "--listen"], &event);
            if event["event"] == name {
                return event;
            }
        }
        panic!("ended before {name}: {}", std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap());
    }
}

fn notes(desk: &Desk, home: &str) -> Vec<String> {
    let listed = desk.json(home, &["note", "list"]);
    let titles = listed["notes"].as_array().unwrap().iter().map(|note| note["title"].as_str().unwrap().to_owned());
    let mut titles: Vec<_> = titles.collect();
    titles.sort();
    titles
}

#[test]
fn two_devices_meet_in_the_local_network_and_need_no_relay() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    desk.json("laptop", &["sync"]);
    assert_eq!(link(&desk, "laptop", "phone", &relay.url(), 0).status.code(), Some(0));
    drop(relay);
    desk.add("laptop", "By the laptop", "hello");
    desk.add("phone", "By the phone", "hello");

    let mut there = Listener::start(&desk, "laptop", &["--once"]);
    let address = there.expect("listening")["address"].as_str().unwrap().to_owned();
    assert!(address.starts_with("lifeos+peer://127.0.0.1:"), "{address}");
    // One thing at a time with one home.
    let second = failure(&desk.run("laptop", &["sync", "--listen", "127.0.0.1", "--json"]));
    assert!(second.1.contains("being synced already"), "{}", second.1);
    // Somebody who is in none of its spaces.
    desk.init("stranger", None);
    let refused = failure(&desk.run("stranger", &["sync", "--peer", &address, "--json"]));
    assert_eq!((refused.0.as_str(), refused.2), ("network", Some(1)));
    assert!(refused.1.contains("none of its spaces"), "{}", refused.1);

    let met = desk.json("phone", &["sync", "--peer", &address]);
    assert_eq!((&met["spaces"], &met["not_shared"]), (&Value::from(1), &Value::from(0)));
    assert!(met["pulled"].as_u64().unwrap() > 0 && met["pushed"].as_u64().unwrap() > 0, "{met}");
    assert_eq!(there.expect("over")["devices"], 1);
    assert_eq!(there.child.wait().unwrap().code(), Some(0));
    let both = ["By the laptop", "By the phone"];
    assert_eq!(
        (notes(&desk, "phone"), notes(&desk, "laptop")),
        (both.map(Into::into).into(), both.map(Into::into).into())
    );
    assert!(!desk.path("laptop").join("peer").exists(), "nothing of it stays");

    let gone = failure(&desk.run("phone", &["sync", "--peer", &address, "--json"]));
    assert!(gone.0 == "network" && gone.1.contains("no device answers"), "{gone:?}");
    let mut short = Listener::start(&desk, "phone", &["--for", "1"]);
    short.expect("listening");
    assert_eq!(short.expect("over")["devices"], 0);
    assert_eq!(short.child.wait().unwrap().code(), Some(0));
}

#[test]
fn whom_to_sync_with_has_to_be_said_and_how_is_told() {
    let desk = Desk::new();
    for args in [
        &["sync", "--peer"][..],
        &["sync", "--once"],
        &["sync", "--listen", "0.0.0.0"],
        &["sync", "--listen", "laptop.local"],
        &["sync", "--peer", "lifeos+peer://127.0.0.1:9#00", "--listen", "127.0.0.1"],
        &["sync", "--watch", "--listen"],
        &["sync", "--for", "3"],
        &["sync", "--announce"],
        &["sync", "--discover", "--listen"],
        &["sync", "--discover", "--peer", "lifeos+peer://127.0.0.1:9#00"],
    ] {
        assert_eq!(desk.run("laptop", args).status.code(), Some(2), "{args:?}");
    }
    for bad in ["ws://127.0.0.1:4600", "lifeos+peer://127.0.0.1:4600"] {
        let refused = failure(&desk.run("laptop", &["sync", "--peer", bad, "--json"]));
        assert!(refused.0 == "invalid" && refused.1.contains("lifeos sync --listen"), "{refused:?}");
    }
    let help = text(&desk.run("laptop", &["sync", "--help"]).stdout);
    assert!(help.contains("--listen") && help.contains("--peer ADDRESS"), "{help}");
}

/// Whether what is sent to the group of multicast DNS comes back in this network.
fn has_multicast() -> bool {
    let (group, port) = (Ipv4Addr::new(224, 0, 0, 251), 15353);
    let reader = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    reader.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let writer = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    reader.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED).is_ok()
        && writer.send_to(b"here", (group, port)).is_ok()
        && reader.recv(&mut [0; 8]).is_ok()
}

#[test]
fn devices_of_a_space_find_each_other_by_names_that_nobody_else_knows() {
    if !has_multicast() {
        eprintln!("no multicast here: devices cannot find each other");
        return;
    }
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    desk.json("laptop", &["sync"]);
    assert_eq!(link(&desk, "laptop", "phone", &relay.url(), 0).status.code(), Some(0));
    desk.json("laptop", &["sync"]);
    desk.json("phone", &["sync"]);
    desk.init("stranger", None);
    drop(relay);
    desk.add("laptop", "Found", "hello");
    let mut there = Listener::begin(&desk, "laptop", &["sync", "--listen", "--announce", "--once", "--json"]);
    there.expect("listening");
    let nobody = failure(&desk.run("stranger", &["sync", "--discover", "--for", "3", "--json"]));
    assert!(nobody.0 == "network" && nobody.1.contains("no device of your spaces was heard of"), "{nobody:?}");
    let met = desk.json("phone", &["sync", "--discover"]);
    assert_eq!(met["spaces"], 1, "{met}");
    assert_eq!(there.expect("over")["devices"], 1);
    assert_eq!(there.child.wait().unwrap().code(), Some(0));
    assert_eq!(notes(&desk, "phone"), ["Found"]);
}
