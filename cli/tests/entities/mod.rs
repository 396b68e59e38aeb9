//! Entities of every kind from the outside: by the names of their fields, with the errors that come of it.

use serde_json::{Value, json};

use super::{Desk, failure, text};

fn id(entity: &Value) -> String {
    entity["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_entity_is_made_found_changed_and_taken_back_by_the_names_of_its_fields() {
    let desk = Desk::new();
    desk.init("a", None);
    let kinds = desk.json("a", &["entity", "kinds"]);
    assert!(kinds["kinds"].as_array().unwrap().iter().any(|kind| kind["name"] == "contact"), "{kinds}");
    let fields = desk.json("a", &["entity", "fields", "contact"]);
    assert!(fields["fields"].as_array().unwrap().iter().any(|field| field["id"] == "contact.born"));

    let add = [
        "entity",
        "add",
        "contact",
        "name=Ana Sousa",
        "born=1990-01-02",
        "every=30",
        "starred=yes",
        "tag=friend",
        "note=Plays the oboe\nand chess",
    ];
    let ana = desk.json("a", &add);
    assert_eq!(ana["values"]["born"], "1990-01-02");
    assert_eq!((&ana["values"]["every"], &ana["values"]["starred"]), (&json!(30), &json!(true)));
    assert_eq!(ana["values"]["note"], "Plays the oboe\nand chess");
    assert_eq!(ana["lists"]["tag"], json!(["friend"]));
    let ana = id(&ana);
    desk.json("a", &["entity", "add", "contact", "name=Ben", "born=1985-05-05"]);

    let reached = desk.json("a", &["entity", "row", &ana, "reach", "kind=email", "value=ana@example.org"]);
    let entry = reached["lists"]["reach"][0]["id"].as_str().unwrap().to_owned();
    let labelled = desk.json("a", &["entity", "row", &ana, "reach", "--entry", &entry, "label=home"]);
    assert_eq!(
        labelled["lists"]["reach"],
        json!([{"id": entry, "kind": "email", "value": "ana@example.org", "label": "home"}])
    );
    assert_eq!(desk.json("a", &["entity", "row-remove", &ana, "reach", &entry])["lists"]["reach"], json!([]));
    assert_eq!(desk.json("a", &["entity", "row-restore", &ana, "reach", &entry])["lists"]["reach"][0]["kind"], "email");

    let names = |args: &[&str]| -> Vec<String> {
        let found = desk.json("a", &[&["entity", "list", "contact"], args].concat());
        found["entities"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["values"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&["--order", "name"]), ["Ana Sousa", "Ben"]);
    assert_eq!(names(&["--order", "name", "--desc", "--limit", "1"]), ["Ben"]);
    assert_eq!(names(&["--where", "born>=1990-01-01"]), ["Ana Sousa"]);
    assert_eq!(names(&["--where", "tag=Friend"]), ["Ana Sousa"]);
    assert_eq!(names(&["--where", "every="]), ["Ben"]);
    assert_eq!(names(&["--where", "name~SOUSA"]), ["Ana Sousa"]);

    desk.json("a", &["entity", "edit", &ana, "role=Editor", "tag=press", "--unset", "born", "--untag", "tag=friend"]);
    let shown = desk.json("a", &["entity", "show", &ana[..8]]);
    assert_eq!((&shown["values"]["role"], &shown["values"]["born"]), (&json!("Editor"), &Value::Null));
    assert_eq!(shown["lists"]["tag"], json!(["press"]));
    // `--untag` was an edit of its own: taken back first.
    desk.json("a", &["undo"]);
    desk.json("a", &["undo"]);
    let undone = desk.json("a", &["entity", "show", &ana]);
    assert_eq!((&undone["values"]["born"], &undone["lists"]["tag"]), (&json!("1990-01-02"), &json!(["friend"])));

    let found = |args: &[&str]| desk.json("a", &[&["search"], args].concat())["hits"].clone();
    let hit = found(&["oboe"]);
    assert_eq!(
        (&hit[0]["kind"], &hit[0]["title"], &hit[0]["id"]),
        (&json!("contact"), &json!("Ana Sousa"), &json!(ana))
    );
    assert_eq!(found(&["oboe", "--type", "contact"]), hit);
    assert_eq!(found(&["oboe", "--type", "note"]), json!([]));
    assert_eq!(desk.json("a", &["entity", "schema", "contact"])["x-kind"], "contact");
    desk.json("a", &["entity", "trash", &ana]);
    assert_eq!(found(&["oboe"]), json!([]));
    let checked = desk.run("a", &["doctor"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
    assert_eq!(names(&[]), ["Ben"]);
    assert_eq!(names(&["--trashed"]), ["Ana Sousa"]);
    assert_eq!(desk.json("a", &["entity", "restore", &ana])["trashed_ms"], Value::Null);
    let page = desk.run("a", &["entity", "show", &ana]);
    assert!(text(&page.stdout).contains("Plays the oboe"), "{}", text(&page.stdout));
}

#[test]
fn what_breaks_a_rule_or_is_not_declared_is_refused_in_words() {
    let desk = Desk::new();
    desk.init("a", None);
    let ana = id(&desk.json("a", &["entity", "add", "contact", "name=Ana", "born=1990-01-02"]));
    let refused = |args: &[&str]| {
        let (kind, message, code) = failure(&desk.run("a", &[args, &["--json"]].concat()));
        assert!(matches!(code, Some(1 | 2)), "{kind}: {message}");
        message
    };
    assert!(refused(&["entity", "add", "poem", "name=x"]).contains("there is no kind called poem"));
    assert!(refused(&["entity", "add", "contact", "age=3"]).contains("has no field age"));
    assert!(refused(&["entity", "edit", &ana, "born=1990-02-30"]).contains("must be a day"));
    assert!(refused(&["entity", "edit", &ana, "every=ten"]).contains("has the wrong type"));
    assert!(refused(&["entity", "edit", &ana, "every=0"]).contains("is out of range"));
    assert!(refused(&["entity", "edit", &ana, "met=1980-01-01"]).contains("before being born"));
    assert!(refused(&["entity", "edit", &ana, "--unset", "name"]).contains("has the wrong type"));
    assert!(refused(&["entity", "count", &ana, "every"]).contains("no such counter"));
    assert!(refused(&["entity", "row", &ana, "reach", "colour=red"]).contains("no field colour"));
    assert!(refused(&["entity", "list", "contact", "--order", "colour"]).contains("no such field"));
    assert!(refused(&["entity", "list", "contact", "--where", "name; DROP TABLE contact"]).contains("no condition"));
    assert!(refused(&["entity", "show", "ffffffff"]).contains("there is no entity"));
    let note = desk.add("a", "A note", "text");
    assert!(refused(&["entity", "trash", &note]).contains("there is no entity"));
    assert_eq!(desk.json("a", &["entity", "show", &ana])["values"], json!({"name": "Ana", "born": "1990-01-02"}));
}
