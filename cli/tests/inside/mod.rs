//! Seeing inside without seeing anything: the report, the measures and the most talkative log of a home full of canaries.

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use lifeos_cli::demo::scan::{Encoding, Scanner};
use serde_json::{Value, json};

use super::{Desk, Relay, link, text};

/// Letters of an id in any writing that must not turn up: no report may let two homes be compared.
const ID_CHARS: usize = 12;

const CANARIES: [&str; 7] = [
    "canary title of the note",
    "canary body with Grüße",
    "canary-notebook-name",
    "canarytagcanary",
    "canary-device-name",
    "canary-person-name",
    "canary-secret-token",
];

/// Bytes as people and programs write them.
fn writings(bytes: &[u8]) -> Vec<String> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![hex.to_ascii_uppercase(), hex];
    for shift in 0..3 {
        let shifted = [&vec![0; shift][..], bytes].concat();
        let skip = (shift * 8).div_ceil(6);
        all.push(STANDARD_NO_PAD.encode(&shifted)[skip..].to_owned());
        all.push(URL_SAFE_NO_PAD.encode(&shifted)[skip..].to_owned());
    }
    let base32 = |alphabet: &[u8; 32]| {
        let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
        let letters = bits.as_bytes().chunks(5).filter(|chunk| chunk.len() == 5);
        letters.map(|chunk| alphabet[usize::from_str_radix(&text(chunk), 2).unwrap()] as char).collect::<String>()
    };
    let rfc = base32(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
    all.extend([rfc.to_ascii_lowercase(), rfc, base32(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ")]);
    all.iter().map(|writing| writing.chars().take(ID_CHARS).collect()).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Every id and key that the homes hold, in every writing.
fn ids(desk: &Desk, homes: &[&str]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for home in homes {
        let database = rusqlite::Connection::open(desk.path(home).join("lifeos.db")).unwrap();
        for sql in [
            "SELECT space FROM space",
            "SELECT device FROM space",
            "SELECT record FROM record",
            "SELECT stream FROM stream",
            "SELECT device FROM stream",
            "SELECT tip FROM stream",
            "SELECT envelope FROM envelope",
            "SELECT doc FROM document",
            "SELECT key FROM relay WHERE key IS NOT NULL",
            "SELECT log_id FROM relay WHERE log_id IS NOT NULL",
        ] {
            let mut select = database.prepare(sql).unwrap();
            let rows = select.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
            found.extend(rows.map(Result::unwrap));
        }
        let key = std::fs::read(desk.path(home).join("device.key")).unwrap();
        found.extend(key.windows(32).map(<[u8]>::to_vec));
    }
    assert!(found.len() > 30, "{} ids", found.len());
    found.iter().flat_map(|id| writings(id)).collect()
}

/// What of this is in a folder of files.
fn leaks(needles: &[String], folder: &Path) -> Vec<String> {
    let scan = Scanner::new(needles.iter().map(String::as_str)).scan_dir(folder).unwrap();
    assert!(scan.files > 0 && scan.bytes > 500, "there is nothing to look at");
    scan.leaks
        .iter()
        .map(|leak| format!("{:?} as {:?} in {:?}", needles[leak.needle], leak.encoding, leak.file))
        .collect()
}

/// A laptop and a phone with canaries in everything that a person can name, and what must not turn up of them.
fn scene(relay: &Relay) -> (Desk, String, Vec<String>) {
    let desk = Desk::new();
    desk.json("laptop", &["init", "--name", CANARIES[4], "--person", CANARIES[5], "--relay", &relay.url()]);
    desk.json("laptop", &["relay", "add", &format!("ws://somebody:{}@127.0.0.1:9", CANARIES[6])]);
    let notebook = desk.json("laptop", &["notebook", "add", CANARIES[2]])["id"].as_str().unwrap_or_default().to_owned();
    let add = ["note", "add", CANARIES[0], "--text", CANARIES[1], "--tag", CANARIES[3], "--notebook", CANARIES[2]];
    let note = desk.json("laptop", &add)["id"].as_str().unwrap().to_owned();
    desk.json("laptop", &["sync"]);
    let linked = link(&desk, "laptop", "phone", &relay.url(), 0);
    assert!(linked.status.success(), "{}", text(&linked.stderr));
    desk.json("phone", &["sync"]);
    desk.json("phone", &["note", "rename", &note, "canary title of the note, again"]);
    for home in ["phone", "laptop", "phone"] {
        desk.json(home, &["sync"]);
    }
    desk.add("laptop", "canary title that waits", "canary body that waits");
    let mut needles: Vec<String> = CANARIES.iter().map(|canary| (*canary).to_owned()).collect();
    let beginnings =
        ["canary title", "canary body", "canary-", relay.address().trim_start_matches("ws://")].map(str::to_owned);
    needles.extend(beginnings);
    needles.push(desk.dir.path().display().to_string());
    needles.extend([&notebook, &note].into_iter().filter(|id| id.len() >= 32).flat_map(|id| writings(&bytes_of(id))));
    (desk, note, needles)
}

#[test]
fn the_report_for_a_fault_holds_no_content_no_name_no_address_no_key_and_no_id() {
    let relay = Relay::start();
    let (desk, _note, mut needles) = scene(&relay);
    let reports = desk.path("reports");
    std::fs::create_dir(&reports).unwrap();
    let file = reports.join("one.json").display().to_string();
    let told = desk.json("laptop", &["doctor", "--bundle", &file]);
    assert_eq!((&told["sound"], &told["file"]), (&json!(true), &json!(file)));
    needles.extend(ids(&desk, &["laptop", "phone"]));
    assert_eq!(leaks(&needles, &reports), Vec::<String>::new());

    // The same look finds what is planted, in any writing.
    let planted = desk.path("planted");
    for (n, needle) in needles.iter().step_by(needles.len() / 40).enumerate() {
        std::fs::create_dir_all(&planted).unwrap();
        let report = std::fs::read(&file).unwrap();
        let encoding = Encoding::ALL[n % Encoding::ALL.len()];
        std::fs::write(planted.join("one.json"), [report, encoding.plant(needle)].concat()).unwrap();
        assert!(!leaks(&needles, &planted).is_empty(), "{needle:?} as {encoding:?} is not found");
    }

    // It says what somebody who looks for a fault needs.
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(report["about"].as_str().unwrap().contains("no text, name, address, key or full id"));
    assert!(report["checks"].as_array().unwrap().len() > 8 && report["database"]["schema"].as_u64().unwrap() > 5);
    let table = |name: &str| {
        let tables = report["database"]["tables"].as_array().unwrap();
        tables.iter().find(|table| table["name"] == name).unwrap_or_else(|| panic!("no table {name}")).clone()
    };
    assert!(table("envelope")["rows"].as_u64().unwrap() > 2 && table("envelope")["bytes"].as_u64().unwrap() >= 4096);
    let space = &report["spaces"][0];
    let (streams, devices) = (space["streams"].as_array().unwrap(), space["membership"]["devices"].as_array().unwrap());
    assert_eq!((streams.len(), devices.len(), &space["membership"]["roles"]), (2, 3, &json!({"owner": 1})));
    let own = streams.iter().find(|stream| stream["own"] == true).unwrap();
    assert!(devices.iter().any(|device| device["device"] == own["device"]), "one name for one device");
    assert_eq!(own["device"], space["device"]);
    let relays = space["relays"].as_array().unwrap();
    let trouble: Vec<_> = relays.iter().map(|relay| &relay["trouble"]["kind"]).collect();
    assert_eq!(trouble, [&Value::Null, &json!("unreachable")], "{relays:?}");
    let counted = |name: &str| {
        let counts = space["metrics"]["counts"].as_array().unwrap();
        counts.iter().find(|one| one["name"] == name).map_or(0, |one| one["count"].as_u64().unwrap())
    };
    for name in
        ["bytes_in", "bytes_out", "envelopes_in", "envelopes_out", "envelopes_sealed", "connections", "failures"]
    {
        assert!(counted(name) > 0, "{name}: {space}");
    }
    let times = space["metrics"]["times"].as_array().unwrap();
    for name in ["seal", "push", "acknowledge", "pull", "verify", "open", "apply", "project"] {
        assert!(times.iter().any(|one| one["name"] == name && one["count"].as_u64().unwrap() > 0), "{name}: {times:?}");
    }

    // A second one calls nothing by the same name, and no file is written over.
    let other = reports.join("other.json").display().to_string();
    desk.json("laptop", &["doctor", "--bundle", &other]);
    let again: Value = serde_json::from_slice(&std::fs::read(&other).unwrap()).unwrap();
    assert_ne!(report["spaces"][0]["space"], again["spaces"][0]["space"]);
    let refused = desk.run("laptop", &["doctor", "--bundle", &other]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("choose another name"), "{}", text(&refused.stderr));
}

#[test]
fn the_most_talkative_log_of_two_devices_holds_no_content_no_name_no_address_no_key_and_no_id() {
    let relay = Relay::start();
    let (desk, note, mut needles) = scene(&relay);
    // The error messages on stderr may name an address: what is looked at is what is logged.
    needles.retain(|needle| !needle.starts_with("127.0.0.1"));
    let logs = desk.path("logs");
    std::fs::create_dir(&logs).unwrap();
    let mut written = String::new();
    for (n, (home, args)) in [
        ("laptop", &["note", "rename", &note, "canary title of the note, at last"][..]),
        ("laptop", &["sync"]),
        ("phone", &["sync"]),
        ("phone", &["note", "list"]),
        ("phone", &["search", "canary"]),
        ("laptop", &["sync"]),
        ("laptop", &["doctor"]),
        ("laptop", &["status"]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut command = desk.command(home, args);
        let output = command.env("LIFEOS_LOG", "lifeos_client_core=trace,lifeos_cli=trace").output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        let lines = text(&output.stderr);
        let logged: Vec<&str> = lines.lines().filter(|line| line.contains("lifeos_")).collect();
        written.push_str(&logged.join("\n"));
        std::fs::write(logs.join(n.to_string()), logged.join("\n")).unwrap();
    }
    for step in ["commit", "seal", "pull", "push", "verify", "open", "apply", "project"] {
        assert!(written.contains(step), "nothing is told of {step}:\n{written}");
    }
    needles.extend(ids(&desk, &["laptop", "phone"]));
    assert_eq!(leaks(&needles, &logs), Vec::<String>::new());
}

#[test]
fn what_is_measured_outlives_the_process_and_a_relay_that_does_not_work_is_told_by_the_next_one() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    assert!(text(&desk.run("laptop", &["status", "--metrics"]).stdout).starts_with("Nothing was measured yet"));
    desk.add("laptop", "One", "text");
    desk.json("laptop", &["sync"]);
    let counted = |name: &str| {
        let metrics = desk.json("laptop", &["status", "--metrics"]);
        let counts = metrics["counts"].as_array().unwrap();
        counts.iter().find(|one| one["name"] == name).map_or(0, |one| one["count"].as_u64().unwrap())
    };
    let before = (counted("envelopes_out"), counted("connections"));
    assert!(before.0 > 0 && before.1 > 0, "{before:?}");
    desk.add("laptop", "Two", "text");
    desk.json("laptop", &["sync"]);
    assert_eq!((counted("envelopes_out"), counted("connections")), (before.0 + 1, before.1 + 1));
    let page = text(&desk.run("laptop", &["status", "--metrics"]).stdout);
    for word in ["Counts", "bytes_out", "Times", "half below", "Last steps", "acknowledged"] {
        assert!(page.contains(word), "{word}: {page}");
    }

    // A relay that works, and one that does not.
    desk.json("laptop", &["relay", "add", "ws://127.0.0.1:9"]);
    desk.json("laptop", &["sync"]);
    let trouble = desk.json("laptop", &["status"])["relays"].as_array().unwrap()[1]["trouble"].clone();
    assert_eq!((&trouble["failures"], &trouble["needs_person"]), (&json!(1), &json!(false)));
    let page = text(&desk.run("laptop", &["status"]).stdout);
    assert!(page.contains("the relay cannot be reached: check the address and the network"), "{page}");
    assert_eq!(desk.json("laptop", &["status"])["relays"].as_array().unwrap()[0]["trouble"], Value::Null);
}
