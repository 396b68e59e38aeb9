//! Searching, in the index and beside it.

use std::collections::BTreeSet;

use serde_json::json;

use super::*;

/// Titles of what is found.
fn found(client: &Client, query: &str) -> BTreeSet<String> {
    client.search(query, 50).unwrap().into_iter().map(|hit| hit.title).collect()
}

/// Each query finds what is expected of it, before anything is indexed and after.
fn finds<const N: usize>(client: &Client, queries: [(&str, BTreeSet<String>); N]) {
    assert!(client.shared.reader().reads().search_dirty_count().unwrap() > 0);
    for (query, expected) in &queries {
        assert_eq!(&found(client, query), expected, "{query}, beside the index");
    }
    crate::engine::index(&client.shared).unwrap();
    for (query, expected) in &queries {
        assert_eq!(&found(client, query), expected, "{query}, in the index");
    }
}

fn titles<const N: usize>(titles: [&str; N]) -> BTreeSet<String> {
    titles.map(str::to_owned).into()
}

#[test]
fn search_finds_what_was_just_written() {
    let (_dir, client) = home();
    let id = make(&client, "Recipe", "Cinnamon rolls with cardamom\n");
    let hits = client.search("cardamom", 0).unwrap();
    assert_eq!(hits[0].id, id);
    assert!(matches!(client.search("-", 0), Err(ClientError::Invalid { .. })));
}

#[test]
fn every_condition_of_a_query_holds_of_what_it_finds() {
    let (_dir, client) = home();
    let plum = make(&client, "Plum cake", "Bake it slowly, see [[Oven]]\n");
    let oven = make(&client, "Oven", "Bake and clean, 200 degrees\n");
    let wine = make(&client, "Wine", "Do not bake\n");
    let (house, kitchen) = (client.notebook_create("House", None).unwrap(), "Kitchen");
    let kitchen = client.notebook_create(kitchen, Some(&house)).unwrap();
    client.note_move(&oven, Some(&kitchen)).unwrap();
    client.note_move(&wine, Some(&house)).unwrap();
    client.note_tag(&plum, "Food/Sweet", true).unwrap();
    client.note_tag(&wine, "food", true).unwrap();
    client.note_pin(&wine, true).unwrap();
    client.note_set_property(&plum, "State", Some(json!("to do"))).unwrap();
    client.note_set_property(&oven, "state", Some(json!(["done", "checked"]))).unwrap();
    client.note_set_property(&oven, "watts", Some(json!(3000))).unwrap();
    finds(
        &client,
        [
            ("bake", titles(["Plum cake", "Oven", "Wine"])),
            ("bake -clean", titles(["Plum cake", "Wine"])),
            ("title:cake", titles(["Plum cake"])),
            ("title:bake", titles([])),
            ("bake tag:food", titles(["Plum cake", "Wine"])),
            ("tag:Food/sweet", titles(["Plum cake"])),
            ("bake -tag:food", titles(["Oven"])),
            ("bake has:link", titles(["Plum cake"])),
            ("bake -has:property", titles(["Wine"])),
            ("has:attachment", titles([])),
            ("prop:state", titles(["Plum cake", "Oven"])),
            ("prop:state=\"TO DO\"", titles(["Plum cake"])),
            ("prop:state=checked bake", titles(["Oven"])),
            ("prop:watts=3000", titles(["Oven"])),
            ("in:house", titles(["Oven", "Wine"])),
            ("in:Kitchen bake", titles(["Oven"])),
            ("is:pinned", titles(["Wine"])),
            ("bake -is:pinned -in:kitchen", titles(["Plum cake"])),
            ("type:note bake after:today", titles(["Plum cake", "Oven", "Wine"])),
            ("bake before:today", titles([])),
            ("bake -after:1d", titles([])),
            ("before:2000", titles([])),
        ],
    );
    client.note_trash(&wine, true).unwrap();
    assert_eq!(found(&client, "is:pinned"), titles([]), "what is in the trash is not found");
}

#[test]
fn accents_and_scripts_without_spaces_are_found_and_shown_as_they_were_written() {
    let (_dir, client) = home();
    make(&client, "旅行", "昨日、東京タワーへ行きました。\n");
    make(&client, "Café", "Crème brûlée, naïve\n");
    finds(
        &client,
        [
            ("東京", titles(["旅行"])),
            ("京東", titles([])),
            ("旅", titles(["旅行"])),
            ("creme brulee CAFE", titles(["Café"])),
        ],
    );
    let hit = client.search("タワー", 1).unwrap().remove(0);
    assert!(
        !hit.snippet.contains('\u{200b}') && hit.snippet.replace(['[', ']'], "").contains("東京タワーへ"),
        "{}",
        hit.snippet
    );
}
