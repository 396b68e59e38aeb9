//! Work in the background, as people and scripts see it from processes of their own.

use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Desk, text};

/// A process that waits for others longer than this hangs.
const HANG: Duration = Duration::from_secs(120);

fn titles(desk: &Desk) -> Vec<String> {
    let notes = desk.json("laptop", &["note", "list", "--limit", "1000"])["notes"].clone();
    notes.as_array().unwrap().iter().map(|note| note["title"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn after_an_update_lists_are_whole_and_every_command_does_a_part_of_the_work() {
    let desk = Desk::new();
    desk.init("laptop", None);
    let folder = desk.path("notes");
    std::fs::create_dir(&folder).unwrap();
    for n in 0..150 {
        std::fs::write(folder.join(format!("{n}.md")), format!("# note {n}\n\ntext {n}\n")).unwrap();
    }
    desk.json("laptop", &["import", "markdown", folder.to_str().unwrap()]);
    let idle = json!({"jobs": [], "paused_ms": null});
    assert_eq!(desk.json("laptop", &["job", "list"]), idle);
    assert!(text(&desk.run("laptop", &["job", "list"]).stdout).contains("Nothing is done"));
    let paused = desk.json("laptop", &["job", "pause", "--minutes", "30"]);
    assert!(paused["paused_ms"].as_i64().unwrap() > 0);
    assert_eq!(desk.json("laptop", &["job", "list"]), paused);

    // As if another version had made the rows.
    let database = rusqlite::Connection::open(desk.path("laptop").join("lifeos.db")).unwrap();
    database.execute("UPDATE meta SET value = x'00' WHERE key = 'projections'", []).unwrap();
    database.execute("UPDATE note SET title = 'as before'", []).unwrap();
    drop(database);
    let left = || desk.json("laptop", &["status"])["documents_unprojected"].as_u64().unwrap();
    let before = left();
    assert!(before > 50, "{before}");
    let shown = titles(&desk);
    assert_eq!((shown.len(), shown.iter().filter(|title| *title == "as before").count() as u64 > 50), (150, true));
    assert!(desk.json("laptop", &["search", "text"])["hits"].as_array().unwrap().len() > 10);
    let page = text(&desk.run("laptop", &["status"]).stdout);
    assert!(page.contains("documents still stand in lists as before") && page.contains("Background work waits until"));
    assert_eq!((left(), desk.json("laptop", &["doctor"])["ok"].clone()), (before, Value::Bool(true)));

    assert_eq!(desk.json("laptop", &["job", "resume"]), idle);

    // Another process at work, and one that died while it was.
    let database = rusqlite::Connection::open(desk.path("laptop").join("lifeos.db")).unwrap();
    let now_ms = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for (teller, told_ms, kind) in [("1", now_ms, "compare"), ("2", now_ms - 60_000, "index")] {
        let told = json!([{"kind": kind, "done": 4, "total": 9}]).to_string();
        let told = [&told_ms.to_be_bytes(), told.as_bytes()].concat();
        database.execute("INSERT INTO meta(key, value) VALUES (?1, ?2)", (format!("jobs/{teller}"), told)).unwrap();
    }
    let elsewhere = |told: &Value| {
        let jobs = told["jobs"].as_array().unwrap().iter().filter(|job| job["elsewhere"] == true);
        jobs.map(|job| job["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(elsewhere(&desk.json("laptop", &["job", "list"])), ["compare"]);
    assert_eq!(elsewhere(&desk.json("laptop", &["status"])), ["compare"]);
    for command in [&["job", "list"][..], &["status"]] {
        let page = text(&desk.run("laptop", command).stdout);
        assert!(page.contains("Working: comparing a checkpoint with what is here, 4 of 9."), "{page}");
    }
    database.execute("DELETE FROM meta WHERE key = 'jobs/1'", []).unwrap();
    drop(database);

    let began = Instant::now();
    let mut last = before;
    while last > 0 {
        assert!(began.elapsed() < HANG, "{last} are left");
        let now = left();
        assert!(now <= last, "{last} {now}");
        last = now;
    }
    assert!(titles(&desk).iter().all(|title| title.starts_with("note ")));
    assert_eq!(desk.json("laptop", &["doctor"])["ok"], true);
}
