//! A module that a person defines in a file: documents, rows, search, checks and commands for it.

use serde_json::{Value, json};

use super::{Desk, failure};

const BOOKS: &str = r#"{"module": "books", "label": "Books", "fields": [
    {"name": "author", "type": "line", "required": true}, {"name": "pages", "type": "int", "min": 1},
    {"name": "status", "type": "choice", "values": ["to read", "read"]}, {"name": "bought", "type": "date"}]}"#;

#[test]
fn a_module_defined_in_a_file_has_documents_checks_search_and_commands() {
    let desk = Desk::new();
    desk.init("a", None);
    let file = desk.path("books.json");
    std::fs::write(&file, BOOKS).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(desk.json("a", &["module", "add", file])["fields"].as_array().unwrap().len(), 4);
    assert_eq!(desk.json("a", &["module", "list"])["modules"][0]["name"], "books");

    let put = ["module", "put", "books", "title=Dune", "author=Frank Herbert", "pages=412", "bought=2026-03-08"];
    let dune = desk.json("a", &put);
    assert_eq!(dune["values"], json!({"author": "Frank Herbert", "bought": "2026-03-08", "pages": 412}));
    let id = dune["id"].as_str().unwrap();
    let read = desk.json("a", &["module", "put", "books", "--id", id, "status=read", "bought="]);
    assert_eq!(read["values"], json!({"author": "Frank Herbert", "pages": 412, "status": "read"}));
    assert_eq!(read["invalid"], json!([]));
    assert_eq!(desk.json("a", &["module", "items", "books"])["items"][0]["title"], "Dune");
    let hits = desk.json("a", &["search", "herbert"])["hits"].clone();
    assert_eq!((&hits[0]["kind"], &hits[0]["title"]), (&json!("item"), &json!("Dune")));

    let refused = |args: &[&str]| failure(&desk.run("a", &[args, &["--json"]].concat())).1;
    assert!(refused(&["module", "put", "books", "title=x"]).contains("cannot be without it"));
    assert!(refused(&["module", "put", "books", "--id", id, "pages=0"]).contains("out of range"));
    assert!(refused(&["module", "put", "books", "--id", id, "bought=soon"]).contains("must be a day"));
    assert!(refused(&["module", "put", "books", "--id", id, "status=lost"]).contains("not one of the known"));
    assert!(refused(&["module", "put", "books", "--id", id, "colour=red"]).contains("no such field"));
    assert!(refused(&["module", "put", "books", "--id", id, "author="]).contains("cannot be taken away"));
    assert!(refused(&["module", "put", "films", "title=x"]).contains("there is no module films"));

    // Defined anew: a stricter rule shows what does not keep it, and a field never gets another type.
    std::fs::write(file, BOOKS.replace(r#""min": 1"#, r#""min": 500"#)).unwrap();
    desk.json("a", &["module", "add", file]);
    assert_eq!(
        desk.json("a", &["module", "items", "books"])["items"][0]["invalid"],
        json!([["pages", "is out of range"]])
    );
    std::fs::write(file, BOOKS.replace(r#""type": "date""#, r#""type": "int""#)).unwrap();
    assert!(refused(&["module", "add", file]).contains("another type before"));

    desk.json("a", &["entity", "trash", id]);
    assert_eq!(desk.json("a", &["module", "items", "books"])["items"], json!([]));
    desk.json("a", &["undo"]);
    assert_eq!(desk.json("a", &["module", "items", "books"])["items"][0]["trashed_ms"], Value::Null);
    desk.json("a", &["module", "remove", "books"]);
    assert_eq!(desk.json("a", &["module", "list"])["modules"], json!([]));
}
