//! Branches from the outside: a proposal is made, looked at, accepted in part, and given up.

use serde_json::json;

use super::{Desk, failure, text};

#[test]
fn a_branch_is_edited_looked_at_and_accepted_in_part() {
    let desk = Desk::new();
    desk.init("a", None);
    let ana = desk.json("a", &["entity", "add", "contact", "name=Ana"])["id"].as_str().unwrap().to_owned();
    let plan = desk.add("a", "Plan", "one\n\ntwo\n");
    let branch = desk.json("a", &["branch", "new", "Proposal", &ana, &plan, "--author", "assistant"]);
    assert_eq!((&branch["state"], &branch["author"]), (&json!("open"), &json!("assistant")));
    desk.json("a", &["branch", "edit", "Proposal", &ana, "role=Editor", "tag=friend"]);
    let told =
        desk.json("a", &["branch", "edit", "Proposal", &plan, "--text", "one\n\ntwo and a half\n", "--tag", "new"]);
    let documents = told["documents"].as_array().unwrap();
    let contact = documents.iter().find(|document| document["id"] == json!(ana)).unwrap();
    assert_eq!(contact["differences"][0]["after"], "Editor", "{contact}");
    assert_eq!(desk.json("a", &["branch", "diff", "Proposal"]), told);
    let page = text(&desk.run("a", &["branch", "diff", "Proposal"]).stdout);
    assert!(page.contains("role  nothing → Editor") && page.contains("+two and a half"), "{page}");
    assert!(page.contains("would change contact.role"), "{page}");
    assert_eq!(desk.json("a", &["note", "show", &plan])["markdown"], "one\n\ntwo\n", "nothing is accepted yet");

    let only = format!("{}/role", &ana[..8]);
    let accepted = desk.json("a", &["branch", "accept", "Proposal", "--only", &only]);
    assert_eq!(accepted, json!({"accepted": 1, "left": 3}));
    assert_eq!(desk.json("a", &["entity", "show", &ana])["values"]["role"], "Editor");
    let missing = desk.run("a", &["branch", "accept", "Proposal", "--only", &only, "--json"]);
    assert_eq!(failure(&missing).0, "not_found");
    assert_eq!(desk.json("a", &["branch", "accept", "Proposal"]), json!({"accepted": 3, "left": 0}));
    assert_eq!(desk.json("a", &["note", "show", &plan])["markdown"], "one\n\ntwo and a half\n");
    assert_eq!(desk.json("a", &["branch", "list"]), json!({"branches": []}));
    let all = desk.json("a", &["branch", "list", "--all"]);
    assert_eq!((&all["branches"][0]["state"], &all["branches"][0]["accepted"]), (&json!("accepted"), &json!(4)));

    desk.json("a", &["branch", "new", "Another", &ana]);
    desk.json("a", &["branch", "edit", "Another", &ana, "role="]);
    assert_eq!(desk.json("a", &["branch", "discard", "Another"])["state"], "discarded");
    assert_eq!(desk.json("a", &["entity", "show", &ana])["values"]["role"], "Editor");
    let (kind, message, _) = failure(&desk.run("a", &["branch", "diff", "Another", "--json"]));
    assert_eq!(kind, "not_found", "{message}");
    assert_eq!(failure(&desk.run("a", &["branch", "new", "x", "0f0f0f0f", "--json"])).0, "not_found");
}
