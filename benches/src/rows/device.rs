//! What a device pays: one durable edit, a bulk import.

use std::path::Path;

use lifeos_client_core::client::{Client, InitOptions, NoteDraft};
use rusqlite::Connection;

use crate::report::Figure;
use crate::{child::Child, measure, vault};

/// A fresh home.
pub(super) fn home(path: &Path, relay: Option<String>) -> Client {
    let options = InitOptions { device_name: "bench".into(), person_name: "bench".into(), relay };
    Client::create(path, options).expect("a home").0
}

/// One durable edit beside one raw INSERT of as many bytes, alternating, both at synchronous=FULL.
pub(super) fn edit(short: bool) -> Vec<Figure> {
    let n = if short { 200 } else { 2_000 };
    let folder = tempfile::tempdir().expect("a folder");
    let client = home(&folder.path().join("home"), None);
    let notes: Vec<String> = (0..100)
        .map(|index| {
            client
                .note_create(NoteDraft { markdown: vault::note(index), ..NoteDraft::default() })
                .expect("a note")
                .to_string()
        })
        .collect();
    let raw = raw_database(&folder.path().join("raw.db"), "FULL");
    let (mut text, mut field, mut insert) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..n {
        let id = &notes[index % notes.len()];
        insert.push(measure::time_us(|| self::insert(&raw)).1);
        text.push(measure::time_us(|| client.note_splice(id, 0, 0, "twenty characters by").expect("an edit")).1);
        insert.push(measure::time_us(|| self::insert(&raw)).1);
        field.push(
            measure::time_us(|| client.note_pin(id, (index / notes.len()).is_multiple_of(2)).expect("an edit")).1,
        );
    }
    let raw_us = measure::median(&mut insert);
    [("insert 20 characters (search marked dirty)", text), ("set a field (no searched text changed)", field)]
        .into_iter()
        .map(|(what, mut values)| {
            let median = measure::median(&mut values);
            Figure {
                name: "edit",
                what: format!("durable edit, FULL: {what}"),
                n,
                value: ("edit_us", median),
                yardstick: Some(("raw INSERT of 131 B".into(), raw_us)),
                target: "≤ 2.3",
                met: median / raw_us <= 2.3,
                extra: vec![("p95_us", measure::p95(&mut values))],
            }
        })
        .collect()
}

/// One table in a database of its own.
pub(super) fn raw_database(path: &Path, synchronous: &str) -> Connection {
    let db = Connection::open(path).expect("a database");
    db.execute_batch(&format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous};
         CREATE TABLE change (id INTEGER PRIMARY KEY, bytes BLOB)"
    ))
    .expect("a table");
    db
}

/// The yardstick of an edit: a change that inserts twenty characters is about 131 bytes, one that sets a field 110.
pub(super) fn insert(db: &Connection) {
    let sql = "INSERT INTO change (bytes) VALUES (?1)";
    db.prepare_cached(sql).and_then(|mut insert| insert.execute([[7_u8; 131]])).expect("a row");
}

/// A vault into an empty home, beside the same files into one FTS5 table by hand.
pub(super) fn import(short: bool) -> Vec<Figure> {
    let n = if short { 500 } else { 10_000 };
    let folder = tempfile::tempdir().expect("a folder");
    let (vault_dir, home_dir) = (folder.path().join("vault"), folder.path().join("home"));
    vault::write(&vault_dir, n, vault::note);
    drop(home(&home_dir, None));
    let by_hand_s = by_hand(&vault_dir, &folder.path().join("hand.db"));
    let child = Child::finish(&["import", &home_dir.to_string_lossy(), &vault_dir.to_string_lossy()]);
    let cpu_s = child["cpu_s"].as_f64().unwrap_or_default();
    assert_eq!(child["created"].as_u64(), Some(n as u64), "not every note was imported");
    vec![Figure {
        name: "import",
        what: "Markdown vault of 1.5 KB notes: documents, rows, search".into(),
        n,
        value: ("cpu_s", cpu_s),
        yardstick: Some(("the same files into one FTS5 table".into(), by_hand_s)),
        target: "≥ 5,000 notes/s/core",
        met: n as f64 / cpu_s >= 5_000.0,
        extra: vec![
            ("notes_per_cpu_s", n as f64 / cpu_s),
            ("wall_s", child["wall_s"].as_f64().unwrap_or_default()),
            ("peak_rss_mib", child["peak_rss_mib"].as_f64().unwrap_or_default()),
        ],
    }]
}

fn by_hand(vault: &Path, path: &Path) -> f64 {
    let before = measure::cpu_ns(std::process::id());
    let mut db = Connection::open(path).expect("a database");
    db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE VIRTUAL TABLE note USING fts5(body)")
        .expect("a table");
    for folder in std::fs::read_dir(vault).expect("a vault").flatten() {
        let transaction = db.transaction().expect("a transaction");
        for file in std::fs::read_dir(folder.path()).expect("a folder").flatten() {
            let text = std::fs::read_to_string(file.path()).expect("a file");
            transaction.execute("INSERT INTO note (body) VALUES (?1)", [text]).expect("a row");
        }
        transaction.commit().expect("a commit");
    }
    (measure::cpu_ns(std::process::id()) - before) as f64 / 1e9
}
