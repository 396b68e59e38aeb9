//! `lifeos import`: what it reads, what it says, and taking it back.

use serde_json::json;

use super::*;

const OUTLINE: &str = "<opml><head><title>Packing</title></head><body><outline text='Passport'/></body></opml>";

#[test]
fn an_import_is_previewed_made_listed_and_taken_back() {
    let desk = Desk::new();
    desk.init("laptop", None);
    let file = desk.path("packing.opml");
    std::fs::write(&file, OUTLINE).unwrap();
    let path = file.to_str().unwrap();
    let preview = desk.json("laptop", &["import", path, "--preview"]);
    assert_eq!((&preview["created"], &preview["batch"], &preview["format"]), (&json!(1), &json!(null), &json!("opml")));
    assert_eq!(desk.json("laptop", &["import", "list"])["imports"], json!([]));
    let page = text(&desk.run("laptop", &["import", path]).stdout);
    assert!(page.contains("lifeos import undo 1"), "{page}");
    assert_eq!(desk.json("laptop", &["import", path])["batch"], json!(null), "again changes nothing");
    let listed = desk.json("laptop", &["import", "list"]);
    assert_eq!((&listed["imports"][0]["number"], &listed["imports"][0]["created"]), (&json!(1), &json!(1)));
    let page = text(&desk.run("laptop", &["import", "list"]).stdout);
    assert!(page.contains("packing.opml") && page.contains("1 new, 0 changed"), "{page}");
    let undone = desk.json("laptop", &["import", "undo", "1"]);
    assert_eq!((&undone["undone"], &undone["kept"]), (&json!(1), &json!([])));
    assert_eq!(desk.json("laptop", &["note", "list"])["notes"], json!([]));
    assert!(text(&desk.run("laptop", &["import", "list"]).stdout).contains("taken back"));
    let again = desk.run("laptop", &["import", "undo", "1", "--json"]);
    assert_eq!((again.status.code(), failure(&again).0), (Some(1), "invalid".to_owned()));
}

#[test]
fn what_an_import_cannot_take_is_named_with_file_line_and_reason() {
    let desk = Desk::new();
    desk.init("laptop", None);
    let file = desk.path("cut.opml");
    std::fs::write(&file, "<opml><body>\n<outline text='Passport'/>\n<outline tex").unwrap();
    let output = desk.run("laptop", &["import", file.to_str().unwrap()]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("\nFailed\ncut.opml:3: the file ends in the middle"), "{said}");
    assert_eq!(desk.json("laptop", &["note", "list"])["notes"].as_array().unwrap().len(), 1, "the rest came in");
    let other = desk.path("what.bin");
    std::fs::write(&other, "?").unwrap();
    let refused = desk.run("laptop", &["import", other.to_str().unwrap(), "--json"]);
    assert_eq!((refused.status.code(), failure(&refused).0), (Some(1), "invalid".to_owned()));
    assert_eq!(desk.run("laptop", &["import", other.to_str().unwrap(), "--format", "x"]).status.code(), Some(2));
    assert_eq!(desk.run("laptop", &["import"]).status.code(), Some(2));
}
