//! Branches on one device: door, rules, names, limits.

use serde_json::{Map, Value, json};

use super::*;
use crate::store::BranchState;

fn object(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

fn contact(client: &Client) -> String {
    client.entity_create("contact", &object("name", json!("Ana"))).unwrap().to_string()
}

#[test]
fn a_branch_obeys_the_rules_and_nothing_that_breaks_one_is_accepted() {
    let (_dir, client) = home();
    let ana = contact(&client);
    let branch = client.branch_new("birthday", None, std::slice::from_ref(&ana)).unwrap().id;
    let refused = client.branch_edit_entity(&branch, &ana, &object("born", json!("no day")));
    assert!(matches!(refused, Err(ClientError::Invalid { .. })), "{refused:?}");
    assert!(client.branch_edit_entity(&branch, &ana, &object("shoe", json!(1))).is_err());
    let note = BranchedNote { title: Some("x".into()), ..BranchedNote::default() };
    assert!(client.branch_edit_note(&branch, &ana, &note).is_err(), "it is no note");

    // Each alone holds; both together do not: nobody is met before being born.
    client.branch_edit_entity(&branch, &ana, &object("born", json!("2000-05-05"))).unwrap();
    client.branch_edit_entity(&branch, &ana, &object("role", json!("Oboist"))).unwrap();
    client.entity_edit(&ana, &object("met", json!("1999-01-01"))).unwrap();
    let told = client.branch_diff(&branch).unwrap();
    assert!(told[0].refused.as_ref().unwrap().contains("born"), "{told:?}");
    let refused = client.branch_accept(&branch, &[]).unwrap_err();
    assert!(matches!(&refused, ClientError::Invalid { message } if message.contains("born")), "{refused}");
    assert_eq!(client.entity(&ana).unwrap().values.get("role"), None, "all or nothing");
    assert_eq!(client.branch_accept(&branch, &[format!("{ana}/role")]).unwrap(), Accepted { accepted: 1, left: 1 });
    assert_eq!(client.entity(&ana).unwrap().values["role"], "Oboist");
    assert!(matches!(client.branch_accept(&branch, &[format!("{ana}/role")]), Err(ClientError::NotFound { .. })));
    client.branch_discard(&branch).unwrap();
    assert_eq!(client.branch(&branch).unwrap().state, BranchState::Discarded);
    assert_eq!(client.entity(&ana).unwrap().values.get("born"), None);
}

#[test]
fn a_text_of_a_branch_is_merged_with_what_there_is_by_then() {
    let (_dir, client) = home();
    let thing = client.entity_create("specimen", &object("line", json!("Thing"))).unwrap().to_string();
    let text = "prose";
    client.entity_edit(&thing, &object(text, json!("one two three"))).unwrap();
    let branch = client.branch_new("more", None, std::slice::from_ref(&thing)).unwrap().id;
    client.branch_edit_entity(&branch, &thing, &object(text, json!("one two three four"))).unwrap();
    client.entity_edit(&thing, &object(text, json!("zero one two three"))).unwrap();
    client.branch_accept(&branch, &[]).unwrap();
    assert_eq!(client.entity(&thing).unwrap().values[text], "zero one two three four");
}

#[test]
fn a_branch_has_a_name_and_documents_and_is_found_by_either_name_or_id() {
    let (_dir, client) = home();
    let (ana, plan) = (contact(&client), make(&client, "Plan", "x\n"));
    for (name, ids) in [("", vec![ana.clone()]), ("none", Vec::new())] {
        assert!(matches!(client.branch_new(name, None, &ids), Err(ClientError::Invalid { .. })));
    }
    assert!(matches!(client.branch_new("x", None, &["0f0f0f0f".into()]), Err(ClientError::NotFound { .. })));
    let branch = client.branch_new("twice", None, &[ana.clone(), ana.clone(), plan]).unwrap();
    assert_eq!((branch.documents.len(), branch.author.as_str()), (2, "Ana"));
    assert_eq!(client.branch("twice").unwrap(), client.branch(&branch.id[..6]).unwrap());
    assert!(matches!(client.branch("other"), Err(ClientError::NotFound { .. })));
    client.branch_new("twice", None, &[ana]).unwrap();
    assert!(matches!(client.branch("twice"), Err(ClientError::Invalid { .. })));
    // Nothing was changed in it: there is nothing to accept.
    assert!(client.branch_diff(&branch.id).unwrap().iter().all(|document| document.differences.is_empty()));
    assert_eq!(client.branch_accept(&branch.id, &[]).unwrap(), Accepted { accepted: 0, left: 0 });
}
