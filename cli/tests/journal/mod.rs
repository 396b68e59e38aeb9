//! The journal, templates, and what notes have to do with one another, from the command line.

use serde_json::{Value, json};

use super::{Desk, failure, text};

#[test]
fn a_day_is_opened_written_to_and_listed() {
    let desk = Desk::new();
    desk.init("a", None);
    let template = desk.json("a", &["note", "add", "Journal", "--text", "# {{weekday}}\n", "--tag", "daily"]);
    desk.json("a", &["note", "kind", template["id"].as_str().unwrap(), "template"]);
    let begun = desk.json("a", &["journal", "2026-11-24"]);
    assert_eq!((&begun["day"], &begun["begun"]), (&json!("2026-11-24"), &json!(true)));
    assert_eq!(begun["note"]["markdown"], "# Tuesday\n");
    assert_eq!((&begun["note"]["kind"], &begun["note"]["tags"]), (&json!("journal"), &json!(["daily"])));
    let written = desk.json("a", &["journal", "2026-11-24", "--add", "Snow."]);
    assert_eq!(written["note"]["markdown"], "# Tuesday\n\nSnow.\n");
    assert_eq!((&written["begun"], &written["note"]["id"]), (&json!(false), &begun["note"]["id"]));
    desk.json("a", &["journal", "2026-11-25"]);
    let days = desk.json("a", &["journal", "list"]);
    let titles: Vec<&Value> = days["days"].as_array().unwrap().iter().map(|day| &day["title"]).collect();
    assert_eq!(titles, ["2026-11-25", "2026-11-24"]);
    let page = desk.run("a", &["journal", "2026-11-24"]);
    assert!(text(&page.stdout).contains("Snow.") && text(&page.stdout).contains("journal"), "{}", text(&page.stdout));
    assert_eq!(desk.run("a", &["journal", "someday"]).status.code(), Some(2));
}

#[test]
fn a_note_begins_from_a_template_and_says_which_there_are_when_it_does_not() {
    let desk = Desk::new();
    desk.init("a", None);
    desk.json("a", &["note", "add", "Meeting", "--kind", "template", "--text", "# {{title}}\n\nPresent:\n"]);
    let made = desk
        .json("a", &["note", "add", "Budget", "--template", "meeting", "--text", "All of us.", "--kind", "meeting"]);
    assert_eq!((&made["markdown"], &made["kind"]), (&json!("# Budget\n\nPresent:\n\nAll of us."), &json!("meeting")));
    let listed = desk.json("a", &["note", "list", "--kind", "template"]);
    assert_eq!(listed["notes"].as_array().unwrap().len(), 1);
    let (kind, message, _) = failure(&desk.run("a", &["note", "add", "X", "--template", "Travel", "--json"]));
    assert!(kind == "not_found" && message.contains("lifeos note list --kind template"), "{kind} {message}");
}

#[test]
fn what_a_note_has_to_do_with_others_is_told_with_the_reason() {
    let desk = Desk::new();
    desk.init("a", None);
    let add = |title: &str, body: &str, tag: &str| {
        let added = desk.json("a", &["note", "add", title, "--text", body, "--tag", tag]);
        added["id"].as_str().unwrap().to_owned()
    };
    let oboe = add("Oboe", "Reeds dry out in winter; humidity and a warm case help the cane.", "music");
    let reeds = add("Reeds", "Cane from the south, scraped thin; in winter humidity decides.", "music");
    let bread = add("Bread", "Flour, water, salt and a warm place.", "food");
    let diary = add("Diary", "Practised the oboe for an hour.", "daily");
    for number in 0..12 {
        add(&format!("Filler {number}"), "Something about nothing and a few plain things.", "other");
    }
    let related = desk.json("a", &["note", "related", &oboe]);
    let found = related["related"].as_array().unwrap();
    assert_eq!(found[0]["id"], reeds.as_str(), "{related}");
    assert_eq!(found[0]["tags"], json!(["music"]));
    let words = found[0]["words"].as_array().unwrap();
    assert!(words.contains(&json!("humidity")) && words.contains(&json!("cane")), "{related}");
    assert!(found.iter().all(|one| one["id"] != oboe.as_str()));
    let mentions = desk.json("a", &["note", "mentions", &oboe]);
    let places = mentions["mentions"].as_array().unwrap();
    assert_eq!(places.iter().map(|one| &one["id"]).collect::<Vec<_>>(), [&json!(diary)]);
    assert!(places[0]["snippet"].as_str().unwrap().contains("[oboe]"), "{mentions}");
    // What links is no mention without a link.
    desk.json("a", &["note", "append", &diary, "See [[Oboe]]."]);
    assert_eq!(desk.json("a", &["note", "mentions", &oboe])["mentions"], json!([]));
    let linked = desk.json("a", &["note", "related", &oboe]);
    let diary_row = linked["related"].as_array().unwrap().iter().find(|one| one["id"] == diary.as_str());
    assert_eq!(diary_row.unwrap()["linked"], true);
    desk.json("a", &["note", "trash", &reeds]);
    let without = desk.json("a", &["note", "related", &oboe]);
    assert!(without["related"].as_array().unwrap().iter().all(|one| one["id"] != reeds.as_str()));
    assert!(desk.json("a", &["note", "related", &bread])["related"].as_array().is_some());
}
