//! A home that another version of the program wrote: opened at once, its rows made anew a few at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::modules::notes::{Draft, markdown, whole::WholeNote};

const NOTES: u32 = 2_000;
/// Documents of one turn.
const TURN: usize = 64;

fn numbered(n: u32) -> DocId {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    DocId(id)
}

/// A home with some thousand notes, all of them indexed, and a document that is none.
fn large(home: &Path) -> Store {
    let mut store = create(home);
    let write = |tx: &mut Tx<'_>| {
        for n in 0..NOTES {
            let (title, text) = (format!("title {n}"), format!("text of {n}\n"));
            let draft = Draft { title: &title, markdown: &text, ..Draft::default() };
            tx.create_note(&numbered(n), &WholeNote::new(&draft, &markdown::parse(&text), 5).unwrap(), true)?;
        }
        tx.edit(&doc(9), crate::registry::SPACE_GENESIS, |doc| {
            crate::modules::space::set_device_name(doc, &SignPk([4; 32]), "desk").map_err(StoreError::from)
        })
    };
    store.write::<_, StoreError>(&SPACE, 5, write).unwrap();
    store
}

/// As if another version had written the rows, which made something else of every title and every second text.
fn age(store: &Store) {
    schema::put_meta(&store.conn, "projections", b"another version").unwrap();
    let wrong = "UPDATE note SET title = 'as before: ' || title;
                 UPDATE document SET search_hash = 7 WHERE id % 2 = 0;
                 DELETE FROM search WHERE rowid % 3 = 0;
                 UPDATE device_name SET name = 'as before';";
    store.conn.execute_batch(wrong).unwrap();
}

fn count(store: &Store, sql: &str) -> u32 {
    store.conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

const AS_BEFORE: &str = "SELECT count(*) FROM note WHERE title LIKE 'as before%'";

fn unsound(store: &mut Store) -> Vec<&'static str> {
    let outcomes = store.check(&mut |_, _| {}).unwrap();
    outcomes.into_iter().filter(|outcome| !outcome.ok).map(|outcome| outcome.name).collect()
}

#[test]
fn a_home_of_another_version_opens_at_once_with_the_rows_it_has_and_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let store = large(home.path());
    age(&store);
    drop(store);

    // Not all of it was done before it was open: that would take as long as there are documents.
    let mut store = Store::open(home.path()).unwrap();
    let left = store.reads().unprojected_count().unwrap();
    assert_eq!((left, count(&store, AS_BEFORE)), (u64::from(NOTES) - 64, NOTES - 64));
    assert_eq!(store.reads().note_count(&SPACE).unwrap(), u64::from(NOTES), "nothing is missing in lists");
    assert_eq!(count(&store, "SELECT count(*) FROM device_name WHERE name = 'desk'"), 1, "what lists need came first");
    assert_eq!(found(&mut store, "\"text of 1\"").len(), 1);
    // A document that waits is not known to be wrong.
    assert_eq!(unsound(&mut store), ["records"]);

    // An edit makes its rows right at once, and reads none of the others.
    write_title(&mut store, 9, &numbered(3), "edited meanwhile");
    assert_eq!(count(&store, "SELECT count(*) FROM note WHERE title = 'edited meanwhile'"), 1);

    // The process dies again and again.
    let mut left = left;
    let mut opened = 0;
    while left > 0 {
        store.project_waiting(TURN).unwrap();
        std::mem::forget(std::mem::replace(&mut store, Store::open(home.path()).unwrap()));
        let now = store.reads().unprojected_count().unwrap();
        assert!(now < left && left - now <= TURN as u64, "{left} {now}");
        (left, opened) = (now, opened + 1);
    }
    assert!(opened > 20);
    assert_eq!((store.project_waiting(TURN).unwrap(), count(&store, AS_BEFORE)), (0, 0));
    assert_eq!(unsound(&mut store), ["records"]);
    let digest = store.projection_digest(&SPACE).unwrap();
    assert_eq!(store.rebuild_projections(&mut |_, _| {}).unwrap(), u64::from(NOTES) + 1);
    assert_eq!(store.projection_digest(&SPACE).unwrap(), digest);
}

#[test]
fn a_table_of_another_form_fills_anew_and_the_others_keep_what_they_have() {
    let home = tempfile::tempdir().unwrap();
    let mut store = large(home.path());
    let schema_now = |store: &Store| {
        let sql =
            "SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name)";
        store.conn.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
    };
    let (digest, before) = (store.projection_digest(&SPACE).unwrap(), schema_now(&store));
    age(&store);
    // Another column, another index, an index less, and a table that this version does not have.
    let other = "ALTER TABLE note_tag ADD COLUMN once TEXT;
                 INSERT INTO note_tag(doc, key) VALUES (1, 'of before');
                 CREATE INDEX note_once ON note(excerpt); DROP INDEX note_list;
                 CREATE TABLE gone(doc INTEGER, key TEXT);";
    store.conn.execute_batch(other).unwrap();
    let tables = store.reads().meta("projection_tables").unwrap().unwrap();
    store.put_meta("projection_tables", &[tables.as_slice(), b"\ngone"].concat()).unwrap();
    drop(store);

    let mut store = Store::open(home.path()).unwrap();
    assert_eq!(schema_now(&store), before);
    assert_eq!(count(&store, "SELECT count(*) FROM note_tag"), 0);
    assert_eq!(count(&store, "SELECT count(*) FROM note"), NOTES);
    assert_eq!(store.project_all(&mut |_, _| {}).unwrap(), u64::from(NOTES) - 64);
    assert_eq!(store.projection_digest(&SPACE).unwrap(), digest);
}

#[test]
fn a_rebuild_that_is_cut_off_is_gone_on_with_and_a_document_that_does_not_load_holds_up_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut store = large(home.path());
    let digest = store.projection_digest(&SPACE).unwrap();
    let dies = |done, _| assert!(done < 900, "the process dies");
    let cut_off = AssertUnwindSafe(|| store.rebuild_projections(&mut { dies }));
    assert!(catch_unwind(cut_off).is_err());
    drop(store);
    let mut store = Store::open(home.path()).unwrap();
    let left = store.reads().unprojected_count().unwrap();
    assert!(left > 900 && left < u64::from(NOTES), "{left}");
    assert_eq!(store.project_all(&mut |_, _| {}).unwrap(), left);
    assert_eq!(store.projection_digest(&SPACE).unwrap(), digest);
    assert_eq!(found(&mut store, "\"text of 7\"").len(), 1);

    age(&store);
    store.conn.execute("UPDATE change SET bytes = x'00' WHERE doc = 7", []).unwrap();
    drop(store);
    let mut store = Store::open(home.path()).unwrap();
    store.project_all(&mut |_, _| {}).unwrap();
    assert_eq!(count(&store, AS_BEFORE), 1, "it keeps the rows it had");
    assert_eq!(unsound(&mut store), ["records", "documents"]);
}
