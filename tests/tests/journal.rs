//! A day of the journal that two devices begin without knowing of each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jiff::Zoned;
use jiff::civil::Date;
use lifeos_client_core::client::{Client, ErasePlan, NoteDraft};
use lifeos_tests::world::{World, assert_settled, sync, sync_each};

fn day() -> Date {
    "2026-11-24".parse().unwrap()
}

fn open(client: &Client) -> String {
    let now: Zoned = "2026-11-24T08:30[Europe/Berlin]".parse().unwrap();
    client.journal(day(), &now).unwrap().id
}

fn text(client: &Client) -> String {
    client.note(&open(client)).unwrap().markdown
}

fn template(client: &Client) {
    let draft = NoteDraft {
        title: "Journal".into(),
        markdown: "---\nmood: fine\n---\n# {{weekday}}\n\n- [ ] water the plants\n\n## Thoughts\n".into(),
        tags: vec!["daily".into()],
        kind: Some("template".into()),
        ..NoteDraft::default()
    };
    client.note_create(draft).unwrap();
}

fn append(client: &Client, line: &str) {
    let id = open(client);
    let before = client.note(&id).unwrap().markdown;
    client.note_set_markdown(&id, &format!("{before}\n{line}\n")).unwrap();
}

/// Two devices that have the template, offline from here on.
async fn two(world: &World) -> (Client, Client) {
    let (laptop, [phone]) = world.devices(["phone"]).await;
    template(&laptop);
    sync_each(&[&laptop, &phone]).await;
    (laptop, phone)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_that_begin_a_day_offline_have_one_note_with_the_template_once() {
    let world = World::new().await;
    let (laptop, phone) = two(&world).await;
    assert_eq!(open(&laptop), open(&phone), "one day is one document");
    sync_each(&[&laptop, &phone]).await;
    assert_eq!(text(&laptop).matches("water the plants").count(), 1, "{}", text(&laptop));
    assert_eq!(text(&laptop), text(&phone), "both take the same copy away, at once");
    sync_each(&[&laptop, &phone]).await;
    assert_settled(&[&laptop, &phone]);
    assert_eq!(text(&laptop), "---\nmood: fine\n---\n# Tuesday\n\n- [ ] water the plants\n\n## Thoughts\n");
    let note = laptop.note(&open(&laptop)).unwrap();
    assert_eq!(
        (note.title.as_str(), note.kind.as_str(), note.tags),
        ("2026-11-24", "journal", vec!["daily".to_owned()])
    );
    assert_eq!(laptop.journal_days(10, 0).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_wrote_into_a_day_stays_whoever_wrote_where() {
    let world = World::new().await;
    let (laptop, phone) = two(&world).await;
    append(&laptop, "from the laptop");
    open(&phone);
    phone.note_set_todo(&open(&phone), 0, true).unwrap();
    append(&phone, "from the phone");
    sync_each(&[&laptop, &phone]).await;
    let (at_laptop, at_phone) = (text(&laptop), text(&phone));
    assert!(at_laptop.contains("from the laptop") && at_laptop.contains("from the phone"), "{at_laptop}");
    sync_each(&[&laptop, &phone]).await;
    assert_settled(&[&laptop, &phone]);
    assert_eq!(text(&laptop), text(&phone), "{at_laptop}\n{at_phone}");
    // Which copy went depends on the names of the devices; what was typed behind one stays in any case.
    assert_eq!(text(&laptop).matches("from the").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_there_is_opened_as_it_is_and_one_in_the_trash_comes_back() {
    let world = World::new().await;
    let (laptop, phone) = two(&world).await;
    append(&laptop, "written");
    let before = text(&laptop);
    assert_eq!(text(&laptop), before, "opening writes nothing");
    laptop.note_trash(&open(&laptop), true).unwrap();
    let now: Zoned = "2026-11-24T08:30[Europe/Berlin]".parse().unwrap();
    let opened = laptop.journal(day(), &now).unwrap();
    assert!(opened.restored && !opened.begun);
    assert_eq!(text(&laptop), before);
    sync(&laptop).await;
    sync(&phone).await;
    assert_eq!(text(&phone), before, "no template where a day is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_was_erased_begins_anew_in_another_note() {
    let world = World::new().await;
    let laptop = world.first();
    let first = open(&laptop);
    laptop.note_erase(&first, ErasePlan { at_once: true, ..ErasePlan::default() }).unwrap();
    let second = open(&laptop);
    assert_ne!(first, second);
    append(&laptop, "again");
    sync(&laptop).await;
    assert!(text(&laptop).contains("again"));
    assert_eq!(open(&laptop), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_made_from_a_template_by_its_title_or_id() {
    let world = World::new().await;
    let laptop = world.first();
    let markdown = "---\nattendees: []\n---\n# {{title}}\n\n{{date}}, {{unknown}}\n".to_owned();
    let draft = NoteDraft { title: "Meeting".into(), markdown, kind: Some("template".into()), ..NoteDraft::default() };
    let id = laptop.note_create(draft).unwrap().to_string();
    let now: Zoned = "2026-11-24T08:30[Europe/Berlin]".parse().unwrap();
    for name in ["meeting", &id[..8]] {
        let draft = NoteDraft { title: "Budget".into(), markdown: "More.\n".into(), ..NoteDraft::default() };
        let made = laptop.note_from_template(name, draft, &now).unwrap().to_string();
        let note = laptop.note(&made).unwrap();
        assert_eq!(note.markdown, "---\nattendees: []\n---\n# Budget\n\n2026-11-24, {{unknown}}\n\nMore.\n");
        assert_eq!((note.title.as_str(), note.kind.as_str()), ("Budget", "note"));
    }
    let refused = laptop.note_from_template("Budget", NoteDraft::default(), &now).unwrap_err();
    assert!(refused.to_string().contains("lifeos note kind ID template"), "{refused}");
}
