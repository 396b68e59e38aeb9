//! Attachments from the command line.

use serde_json::json;

use super::noise::noise;
use super::{Desk, Relay, failure, link, text};

fn content() -> Vec<u8> {
    (0..2_500_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).take(2_500_000).collect()
}

/// Runs a command and kills it once `is_enough` says so; `None` if it was faster.
fn killed<T>(mut command: std::process::Command, mut is_enough: impl FnMut() -> Option<T>) -> Option<T> {
    let mut child = command.spawn().unwrap();
    loop {
        if let Some(found) = is_enough() {
            child.kill().unwrap();
            let was_under_way = !child.wait().unwrap().success();
            return was_under_way.then_some(found);
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn a_transfer_that_is_killed_goes_on_with_the_part_it_was_at() {
    const PARTS: u64 = 41;
    const PART: u64 = 1 << 20;
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    assert!(link(&desk, "laptop", "tablet", &relay.url(), 0).status.success());
    let (content, file) = (noise(40 << 20, 7), desk.path("film.mp4"));
    std::fs::write(&file, &content).unwrap();
    let id = desk.add("laptop", "Film", "text");
    desk.json("laptop", &["note", "attach", &id, file.to_str().unwrap()]);

    let data = relay._data.path().to_owned();
    let at_relay = || lifeos_sync_server::stats(&data).unwrap().largest.first().map_or(0, |space| space.objects);
    let enough = || Some(at_relay()).filter(|objects| (3..PARTS - 5).contains(objects));
    killed(desk.command("laptop", &["sync"]), enough).expect("it was killed under way");
    // What had arrived whole is stored.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let stored = at_relay();
    let sent = desk.json("laptop", &["sync"])["bytes_pushed"].as_u64().unwrap();
    assert!(stored >= 3 && sent <= (PARTS - stored) * PART + PART / 2, "{sent} bytes after {stored} parts");
    assert_eq!(at_relay(), PARTS);

    desk.json("tablet", &["sync"]);
    let here = || desk.json("tablet", &["attachment", "list"])["attachments"][0]["parts_here"].as_u64().unwrap();
    let folder = desk.path("saved");
    std::fs::create_dir(&folder).unwrap();
    let get = ["attachment", "get", "film.mp4", "--out", folder.to_str().unwrap()];
    killed(desk.command("tablet", &get), || Some(here()).filter(|parts| (3..PARTS - 5).contains(parts)))
        .expect("it was killed under way");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "no file is there before it is whole");
    let before = here();
    // It is wanted still: any sync goes on with it.
    let received = desk.json("tablet", &["sync"])["bytes_pulled"].as_u64().unwrap();
    assert!(before >= 3 && received <= (PARTS - before) * PART + PART / 2, "{received} bytes after {before} parts");
    assert_eq!(here(), PARTS);
    desk.json("tablet", &get);
    assert!(std::fs::read(folder.join("film.mp4")).unwrap() == content);
}

#[test]
fn a_file_is_attached_fetched_and_removed_from_the_command_line() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    let linked = link(&desk, "laptop", "tablet", &relay.url(), 0);
    assert!(linked.status.success(), "{}", text(&linked.stderr));
    let file = desk.path("photo.png");
    std::fs::write(&file, content()).unwrap();
    let id = desk.add("laptop", "Trip", "text");
    let attached = desk.json("laptop", &["note", "attach", &id, file.to_str().unwrap()]);
    let found = &attached["attachments"][0];
    assert_eq!((found["name"].clone(), found["media"].clone()), (json!("photo.png"), json!("image/png")));
    assert_eq!((found["size"].clone(), found["parts"].clone()), (json!(2_500_000), json!(3)));
    assert_eq!(desk.json("laptop", &["status"])["attachments"]["unsent"], 3);
    desk.json("laptop", &["sync"]);
    assert_eq!(desk.json("laptop", &["status"])["attachments"]["unsent"], 0);

    desk.json("tablet", &["sync"]);
    let listed = desk.json("tablet", &["attachment", "list"]);
    assert_eq!(listed["attachments"][0]["parts_here"], 0, "nothing is fetched until somebody asks");
    let (kind, message, code) =
        failure(&desk.run("tablet", &["attachment", "get", "photo.png", "--offline", "--json"]));
    assert_eq!((kind.as_str(), code), ("network", Some(1)), "{message}");
    let folder = desk.path("saved");
    std::fs::create_dir(&folder).unwrap();
    let saved = desk.json("tablet", &["attachment", "get", "photo.png", "--out", folder.to_str().unwrap()]);
    assert_eq!(saved["file"], json!(folder.join("photo.png")));
    assert!(std::fs::read(folder.join("photo.png")).unwrap() == content());
    let again = desk.run("tablet", &["attachment", "get", "photo.png", "--out", folder.to_str().unwrap(), "--json"]);
    assert_eq!(failure(&again).0, "invalid", "a file that is there is not replaced unasked");

    assert_eq!(desk.json("tablet", &["attachment", "pin", "photo.png"])["attachments"][0]["pinned"], true);
    let limit = desk.json("tablet", &["attachment", "limit", "--mib", "0"]);
    assert_eq!((limit["limit_bytes"].clone(), limit["parts"].clone()), (json!(0), json!(3)), "a pinned one stays");
    desk.json("tablet", &["attachment", "pin", "photo.png", "--off"]);
    assert_eq!(desk.json("tablet", &["attachment", "limit", "--mib", "0"])["parts"], 0);
    let left = desk.json("tablet", &["attachment", "remove", &id, "photo.png"]);
    assert_eq!(left, json!({"attachments": []}));
    assert_eq!(desk.json("tablet", &["note", "attachments", &id]), left);
    desk.json("tablet", &["undo"]);
    assert_eq!(desk.json("tablet", &["note", "attachments", &id])["attachments"][0]["name"], "photo.png");
}

#[test]
fn sealing_anew_after_a_removal_goes_on_where_it_was_killed() {
    let (desk, relay) = (Desk::new(), Relay::start());
    desk.init("laptop", Some(&relay.url()));
    assert!(link(&desk, "laptop", "tablet", &relay.url(), 0).status.success());
    let (content, file) = (noise(40 << 20, 7), desk.path("film.mp4"));
    std::fs::write(&file, &content).unwrap();
    let id = desk.add("laptop", "Film", "text");
    desk.json("laptop", &["note", "attach", &id, file.to_str().unwrap()]);
    desk.json("laptop", &["sync"]);
    desk.json("laptop", &["device", "remove", "tablet", "--reason", "lost"]);
    let database = desk.path("laptop").join("lifeos.db");
    let parts = || {
        let db = rusqlite::Connection::open(&database).unwrap();
        db.query_row("SELECT count(*) FROM part", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(parts(), 41, "nothing is sealed again unasked in the moment of the removal");
    let enough = || Some(parts()).filter(|parts| (44..77).contains(parts));
    killed(desk.command("laptop", &["space", "compact"]), enough).expect("it was killed under way");
    assert!((44..82).contains(&parts()), "{}", parts());
    desk.json("laptop", &["space", "compact"]);
    assert_eq!(parts(), 82, "each part was sealed once");
    let folder = desk.path("saved");
    std::fs::create_dir(&folder).unwrap();
    desk.json("laptop", &["attachment", "get", "film.mp4", "--out", folder.to_str().unwrap()]);
    assert!(std::fs::read(folder.join("film.mp4")).unwrap() == content);
}
