//! How soon a watched list hears of an edit: the commit with it beside the commit alone, in homes of two sizes.

use std::path::Path;

use lifeos_client_core::client::{Client, NoteDraft, NoteFilter};
use rusqlite::Connection;

use crate::measure;
use crate::report::Figure;
use crate::rows::device;

const NOTES: u32 = 100;

/// A durable edit and what a watched list is told of it, beside the edit alone.
pub(super) fn watch(short: bool) -> Vec<Figure> {
    let n = if short { 200 } else { 2_000 };
    [1_000, 100_000].map(|items| one(n, items)).into()
}

fn one(n: usize, items: u32) -> Figure {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("home");
    let client = device::home(&path, None);
    let note = |index: u32| {
        let draft = NoteDraft { title: format!("note {index}"), markdown: "text\n".into(), ..NoteDraft::default() };
        client.note_create(draft).expect("a note").to_string()
    };
    let notes: Vec<String> = (0..NOTES).map(note).collect();
    fill(&path, items - NOTES);
    let mut watch = client.watch_notes(NoteFilter::default()).expect("a list");
    watch.poll().expect("the list");
    let (mut alone, mut told, mut hears) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..n {
        let pin = |offset: usize| pin(&client, &notes, index * 2 + offset);
        alone.push(measure::time_us(|| pin(0)).1);
        watch.poll().expect("the list");
        let (_, edit_us) = measure::time_us(|| pin(1));
        let (change, poll_us) = measure::time_us(|| watch.poll().expect("the list"));
        assert!(change.is_some(), "the edit is told");
        hears.push(poll_us);
        told.push(edit_us + poll_us);
    }
    let (alone_us, told_us) = (measure::median(&mut alone), measure::median(&mut told));
    Figure {
        name: "watch",
        what: format!("a durable edit and the row delta of a list of 100 among {items} notes"),
        n,
        value: ("edit_and_delta_us", told_us),
        yardstick: Some(("the edit alone".into(), alone_us)),
        target: "delta ≤ 1 ms p95",
        met: measure::p95(&mut hears) <= 1_000.0,
        extra: vec![("delta_us", measure::median(&mut hears)), ("delta_p95_us", measure::p95(&mut hears))],
    }
}

fn pin(client: &Client, notes: &[String], index: usize) {
    client.note_pin(&notes[index % notes.len()], (index / notes.len()).is_multiple_of(2)).expect("an edit");
}

/// Rows of so many more notes, older than the others: hearing of a change reads no document.
fn fill(home: &Path, count: u32) {
    let db = Connection::open(home.join("lifeos.db")).expect("the database");
    let columns = "space, genesis, generation, heads, next_change, tail_changes, tail_bytes, snapshot_bytes";
    let last: i64 = db.query_row("SELECT max(id) FROM document", [], |row| row.get(0)).expect("a document");
    let documents = format!(
        "INSERT INTO document(doc, {columns}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         SELECT randomblob(16), {columns} FROM document, n WHERE document.id = ?2"
    );
    db.execute(&documents, (count, last)).expect("documents");
    let mut names = db.prepare("SELECT name FROM pragma_table_info('note') WHERE name <> 'doc'").expect("columns");
    let names: Vec<String> = names.query_map([], |row| row.get(0)).expect("names").flatten().collect();
    let values: Vec<_> =
        names.iter().map(|name| if name == "updated_ms" { "d.id".into() } else { format!("t.{name}") }).collect();
    let rows = format!(
        "INSERT INTO note(doc, {}) SELECT d.id, {} FROM document d, note t WHERE d.id > ?1 AND t.doc = ?1",
        names.join(", "),
        values.join(", ")
    );
    db.execute(&rows, [last]).expect("rows");
}
