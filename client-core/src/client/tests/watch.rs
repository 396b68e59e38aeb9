//! Lists that are watched: what is told, what it costs, and what becomes of who does not ask.

use serde_json::{Map, json};

use super::*;
use crate::metrics::Tick;
use crate::watch::{ListChange, RowChange};

fn contact(client: &Client, name: &str) -> String {
    let given = Map::from_iter([("name".to_owned(), json!(name))]);
    client.entity_create("contact", &given).unwrap().to_string()
}

fn by_name(limit: u32) -> EntityQuery {
    EntityQuery { order: Some("name".into()), limit, ..EntityQuery::default() }
}

fn names(list: &[Entity]) -> Vec<&str> {
    list.iter().map(|entity| entity.values["name"].as_str().unwrap()).collect()
}

/// The one change that is told.
fn only<T: Clone + PartialEq + std::fmt::Debug>(watch: &mut Watch<T>) -> RowChange<T> {
    match watch.poll().unwrap() {
        Some(ListChange::Rows(rows)) if rows.len() == 1 => rows.into_iter().next().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_watched_list_is_told_whole_first_and_then_what_changed_in_it_and_where() {
    let (_dir, client) = home();
    let [ana, ben, dora] = ["Ana", "Ben", "Dora"].map(|name| contact(&client, name));
    let mut watch = client.watch_entities("contact", &by_name(3)).unwrap();
    let Some(ListChange::Reset(list)) = watch.poll().unwrap() else { panic!("the list comes first") };
    assert_eq!(names(&list), ["Ana", "Ben", "Dora"]);
    assert_eq!(watch.poll().unwrap(), None);
    let edit = |id: &str, field: &str, value: &str| {
        client.entity_edit(id, &Map::from_iter([(field.to_owned(), json!(value))])).unwrap();
    };

    edit(&ben, "role", "Oboist");
    assert!(matches!(only(&mut watch), RowChange::Changed { at: 1, row } if row.values["role"] == "Oboist"));
    edit(&ana, "name", "Zoe");
    assert!(matches!(only(&mut watch), RowChange::Moved { from: 0, to: 2, row } if row.id == ana));
    // The list is full: who comes first puts out who was last.
    contact(&client, "Cleo");
    let Some(ListChange::Rows(rows)) = watch.poll().unwrap() else { panic!("rows") };
    assert!(
        matches!(&rows[..], [RowChange::Removed { at: 2 }, RowChange::Added { at: 1, row }] if names(std::slice::from_ref(row)) == ["Cleo"])
    );
    // And who was put out comes back when there is room.
    client.entity_trash(&dora, true).unwrap();
    let Some(ListChange::Rows(rows)) = watch.poll().unwrap() else { panic!("rows") };
    assert!(matches!(&rows[..], [RowChange::Removed { at: 2 }, RowChange::Added { at: 2, row }] if row.id == ana));
    assert!(client.undo().unwrap());
    assert!(watch.poll().unwrap().is_some());
    // What is not in the list is not told.
    make(&client, "A note", "text\n");
    edit(&ana, "role", "beyond the end");
    assert_eq!(watch.poll().unwrap(), None);

    let invalid =
        |query: EntityQuery| matches!(client.watch_entities("contact", &query), Err(ClientError::Invalid { .. }));
    assert!(invalid(EntityQuery { offset: 1, ..by_name(3) }) && invalid(by_name(10_001)));
    let unknown = EntityQuery { order: Some("shoe".into()), ..EntityQuery::default() };
    assert!(client.watch_entities("contact", &unknown).is_err());
}

#[test]
fn a_notebook_that_goes_is_told_of_the_notes_in_it() {
    let (_dir, client) = home();
    let (above, id) = (client.notebook_create("Above", None).unwrap(), make(&client, "Inside", "x\n"));
    let below = client.notebook_create("Below", Some(&above)).unwrap();
    client.note_move(&id, Some(&below)).unwrap();
    let filter = NoteFilter { notebook: Some(above.clone()), ..NoteFilter::default() };
    let (mut all, mut inside) =
        (client.watch_notes(NoteFilter::default()).unwrap(), client.watch_notes(filter).unwrap());
    assert!(matches!(all.poll().unwrap(), Some(ListChange::Reset(list)) if list[0].notebook == Some(below.clone())));
    assert_eq!(inside.poll().unwrap(), Some(ListChange::Reset(Vec::new())));
    client.notebook_delete(&below).unwrap();
    assert!(matches!(only(&mut all), RowChange::Changed { at: 0, row } if row.notebook == Some(above.clone())));
    assert!(matches!(only(&mut inside), RowChange::Added { at: 0, row } if row.id == id));
    // Its name is in no row of these lists.
    client.notebook_rename(&above, "Otherwise").unwrap();
    assert_eq!((all.poll().unwrap(), inside.poll().unwrap()), (None, None));
}

#[tokio::test]
async fn what_another_program_of_the_home_writes_is_told_without_being_asked_for() {
    let (dir, client) = home();
    let other = Client::open(&dir.path().join("home")).unwrap();
    let mut watch = client.watch_notes(NoteFilter::default()).unwrap();
    let long = Duration::from_secs(60);
    assert!(matches!(watch.next().await.unwrap(), ListChange::Reset(list) if list.is_empty()));
    for (n, writer) in [&other, &client, &other].into_iter().enumerate() {
        let id = make(writer, &format!("{n}"), "x\n");
        let told = tokio::time::timeout(long, watch.next()).await.unwrap().unwrap();
        assert!(
            matches!(told, ListChange::Rows(rows) if matches!(&rows[..], [RowChange::Added { row, .. }] if row.id == id))
        );
    }
    // Who stops waiting loses nothing.
    assert!(tokio::time::timeout(Duration::from_millis(1), watch.next()).await.is_err());
    make(&other, "later", "x\n");
    assert!(matches!(watch.next().await.unwrap(), ListChange::Rows(rows) if rows.len() == 1));
}

#[test]
fn a_reader_that_does_not_ask_gets_one_reset_for_everything_and_the_log_does_not_grow() {
    let (dir, client) = home();
    let filter = NoteFilter { limit: 20, ..NoteFilter::default() };
    let mut watch = client.watch_notes(filter.clone()).unwrap();
    watch.poll().unwrap();
    let draft = crate::modules::notes::Draft { title: "many", ..Default::default() };
    let note = crate::modules::notes::whole::WholeNote::new(&draft, &crate::modules::notes::markdown::parse("x\n"), 5)
        .unwrap();
    for _ in 0..6 {
        let many = |tx: &mut Tx<'_>| -> Result<(), ClientError> {
            for _ in 0..1_000 {
                let doc = DocId(crate::crypto::random_bytes(&mut crate::crypto::SystemRandom::new()));
                tx.create_note(&doc, &note, true)?;
            }
            Ok(())
        };
        client.write(many).unwrap();
    }
    let db = rusqlite::Connection::open(dir.path().join("home/lifeos.db")).unwrap();
    let kept: u32 = db.query_row("SELECT count(*) FROM recent", [], |row| row.get(0)).unwrap();
    assert!((4_096..=5_120).contains(&kept), "{kept}");
    assert_eq!(watch.poll().unwrap(), Some(ListChange::Reset(client.notes(filter).unwrap())));
    assert_eq!(watch.poll().unwrap(), None);
}

#[test]
fn rows_that_are_made_anew_are_told_of() {
    let (dir, client) = home();
    let id = make(&client, "Right", "x\n");
    let db = rusqlite::Connection::open(dir.path().join("home/lifeos.db")).unwrap();
    db.execute("UPDATE note SET title = 'wrong'", []).unwrap();
    let mut watch = client.watch_notes(NoteFilter::default()).unwrap();
    assert!(matches!(watch.poll().unwrap(), Some(ListChange::Reset(list)) if list[0].title == "wrong"));
    client.shared.store().rebuild_projections(&mut |_, _| {}).unwrap();
    assert!(matches!(only(&mut watch), RowChange::Changed { at: 0, row } if row.title == "Right" && row.id == id));
}

/// As many more documents with a row each as in `table` under `template`, older than all others.
fn fill(home: &Path, template: &str, table: &str, count: u32) {
    let db = rusqlite::Connection::open(home.join("lifeos.db")).unwrap();
    let id: i64 =
        db.query_row(&format!("SELECT id FROM document WHERE doc = x'{template}'"), [], |row| row.get(0)).unwrap();
    let last: i64 = db.query_row("SELECT max(id) FROM document", [], |row| row.get(0)).unwrap();
    let documents = "INSERT INTO document(space, doc, genesis, generation, heads, next_change, tail_changes, tail_bytes, snapshot_bytes)
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        SELECT space, randomblob(16), genesis, generation, heads, next_change, 0, 0, 0 FROM document, n WHERE document.id = ?2";
    db.execute(documents, (count, id)).unwrap();
    let mut columns =
        db.prepare(&format!("SELECT name FROM pragma_table_info('{table}') WHERE name <> 'doc'")).unwrap();
    let columns: Vec<String> = columns.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let names: String = columns.iter().map(|name| format!(", \"{name}\"")).collect();
    let values: String = columns
        .iter()
        .map(|name| match name.as_str() {
            "updated_ms" => ", d.id".to_owned(),
            "name" => ", 'name ' || d.id".to_owned(),
            other => format!(", t.\"{other}\""),
        })
        .collect();
    let rows = format!(
        "INSERT INTO {table}(doc{names}) SELECT d.id{values} FROM document d, {table} t WHERE d.id > ?1 AND t.doc = ?2"
    );
    assert_eq!(db.execute(&rows, (last, id)).unwrap(), count as usize);
}

/// SQLite's steps for hearing of each of some hundred changes, in a home with so many items.
fn steps(count: u32, query: Option<&EntityQuery>) -> u64 {
    let (dir, client) = home();
    let make = |n: u32| match query {
        None => make(&client, &format!("note {n}"), "x\n"),
        Some(_) => contact(&client, &format!("a contact {n}")),
    };
    let mut ids: Vec<String> = (0..40).map(make).collect();
    let table = if query.is_some() { "contact" } else { "note" };
    fill(&dir.path().join("home"), &ids[0], table, count);
    let limited = NoteFilter { limit: 20, ..NoteFilter::default() };
    let mut notes = query.is_none().then(|| client.watch_notes(limited.clone()).unwrap());
    let mut entities = query.map(|query| client.watch_entities("contact", query).unwrap());
    let mut poll = || match (&mut notes, &mut entities) {
        (Some(watch), _) => watch.poll().unwrap().is_some(),
        (_, Some(watch)) => watch.poll().unwrap().is_some(),
        _ => unreachable!(),
    };
    assert!(poll());
    let (mut steps, mut told) = (0, 0);
    for n in 0..200_u32 {
        let id = ids[(n as usize * 7) % ids.len()].clone();
        let edit = Map::from_iter([("role".to_owned(), json!(format!("role {n}")))]);
        match (n % 4, query) {
            (0, _) => ids.push(make(1_000 + n)),
            (1, None) => client.note_trash(&id, n % 8 < 4).unwrap(),
            (1, Some(_)) => client.entity_trash(&id, n % 8 < 4).unwrap(),
            (_, None) => client.note_set_title(&id, &format!("title {n}")).unwrap(),
            (_, Some(_)) => client.entity_edit(&id, &edit).unwrap(),
        }
        let _ = client.shared.metrics.take();
        told += u32::from(poll());
        steps += client.shared.metrics.take().counts.get(Tick::DatabaseSteps.name()).copied().unwrap_or(0);
    }
    assert!(told > 50, "{told}");
    steps
}

#[test]
fn what_a_change_costs_does_not_depend_on_how_many_items_there_are() {
    let newest = EntityQuery { limit: 20, ..EntityQuery::default() };
    for (what, query) in [("notes", None), ("newest contacts", Some(&newest)), ("contacts by name", Some(&by_name(20)))]
    {
        let (few, many) = (steps(100, query), steps(100_000, query));
        // A hundred steps are counted as one: what is below that is no difference.
        assert!(few > 0 && many <= few + few / 5 + 400, "{what}: {few} steps among 100, {many} among 100,000");
    }
}
