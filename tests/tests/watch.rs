//! Lists that are watched while two devices edit, merge, erase and undo: what is told leads to what a fresh query gives.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use lifeos_client_core::client::{
    Client, ClientError, Compare, Entity, EntityQuery, ErasePlan, NoteDraft, NoteFilter, NoteSummary, Watch,
};
use lifeos_client_core::crypto::{Random as _, SeededRandom};
use lifeos_client_core::watch::ListChange;
use lifeos_tests::world::{World, sync};
use serde_json::{Map, Value, json};

const STEPS: u32 = 120;

struct Dice(SeededRandom);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_be_bytes(bytes) as usize % sides
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.roll(from.len())].clone()) }
    }
}

type Fresh<T> = Box<dyn Fn(&Client) -> Vec<T>>;

/// A list that does what it is told, and the query that it must be equal to.
struct Reader<T> {
    name: &'static str,
    watch: Watch<T>,
    list: Vec<T>,
    fresh: Fresh<T>,
    told: [usize; 2],
}

impl<T: Clone + PartialEq + std::fmt::Debug> Reader<T> {
    fn new(name: &'static str, watch: Watch<T>, fresh: impl Fn(&Client) -> Vec<T> + 'static) -> Self {
        Self { name, watch, list: Vec::new(), fresh: Box::new(fresh), told: [0; 2] }
    }

    fn follow(&mut self, client: &Client) {
        if let Some(change) = self.watch.poll().unwrap() {
            self.told[usize::from(matches!(change, ListChange::Rows(_)))] += 1;
            assert!(change.apply(&mut self.list), "{}: told of another list", self.name);
        }
        assert_eq!(self.list, (self.fresh)(client), "{}", self.name);
        assert_eq!(self.watch.poll().unwrap(), None, "{}", self.name);
    }
}

fn note_readers(client: &Client, notebook: &str) -> Vec<Reader<NoteSummary>> {
    let lists = [
        ("newest", NoteFilter { limit: 5, ..NoteFilter::default() }),
        ("all", NoteFilter { limit: 1_000, ..NoteFilter::default() }),
        ("with a tag", NoteFilter { tag: Some("red".into()), limit: 3, ..NoteFilter::default() }),
        ("in a notebook", NoteFilter { notebook: Some(notebook.into()), limit: 4, ..NoteFilter::default() }),
        ("trash", NoteFilter { trashed: true, limit: 2, ..NoteFilter::default() }),
    ];
    let reader = |(name, filter): (_, NoteFilter)| {
        let watch = client.watch_notes(filter.clone()).unwrap();
        Reader::new(name, watch, move |client| client.notes(filter.clone()).unwrap())
    };
    lists.into_iter().map(reader).collect()
}

fn contact_readers(client: &Client) -> Vec<Reader<Entity>> {
    let ordered = |order: &str, descending, limit| EntityQuery {
        order: Some(order.into()),
        descending,
        limit,
        ..EntityQuery::default()
    };
    let starred = vec![("starred".to_owned(), Compare::Is, "true".to_owned())];
    let friend = vec![("tag".to_owned(), "friend".to_owned())];
    let lists = [
        ("newest contacts", EntityQuery { limit: 3, ..EntityQuery::default() }),
        ("by name", ordered("name", false, 6)),
        ("every, largest first", ordered("every", true, 4)),
        ("every, starred", EntityQuery { wheres: starred, ..ordered("every", false, 2) }),
        ("friends by name", EntityQuery { labels: friend, ..ordered("name", true, 3) }),
        ("contacts in the trash", EntityQuery { trashed: true, ..ordered("name", false, 3) }),
    ];
    let reader = |(name, query): (_, EntityQuery)| {
        let watch = client.watch_entities("contact", &query).unwrap();
        Reader::new(name, watch, move |client| client.entities("contact", &query).unwrap())
    };
    lists.into_iter().map(reader).collect()
}

struct Ids {
    notes: Vec<String>,
    contacts: Vec<String>,
    notebooks: Vec<String>,
    /// The device that undoes; the other one made the notebook that is watched.
    undoes: String,
}

fn object(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

/// One thing that a person does; it may be refused, as for a note that is not there any more.
fn act(dice: &mut Dice, client: &Client, ids: &mut Ids) -> Result<(), ClientError> {
    let (note, contact) = (dice.pick(&ids.notes).unwrap_or_default(), dice.pick(&ids.contacts).unwrap_or_default());
    let (notebook, yes) = (dice.pick(&ids.notebooks), dice.roll(2) == 0);
    match dice.roll(20) {
        0..=2 => {
            let draft = NoteDraft { title: format!("note {}", dice.roll(9)), notebook, ..NoteDraft::default() };
            ids.notes.push(client.note_create(draft)?.to_string());
            Ok(())
        }
        3 => client.note_set_title(&note, &format!("title {}", dice.roll(9))),
        4 => client.note_set_markdown(&note, &format!("text {}\n", dice.roll(9))),
        5 => client.note_pin(&note, yes),
        6 => client.note_tag(&note, "red", yes),
        7 => client.note_trash(&note, yes),
        8 => client.note_move(&note, notebook.as_deref()),
        9 => client.notebook_create("below", notebook.as_deref()).map(|id| ids.notebooks.push(id)),
        10 => match dice.pick(&ids.notebooks[1..]) {
            Some(notebook) if yes => client.notebook_delete(&notebook),
            _ => Ok(()),
        },
        11 => client.note_erase(&note, ErasePlan { history_only: yes, at_once: true }).map(drop),
        12 | 13 if client.device().to_string() != ids.undoes => Ok(()),
        12 => client.undo().map(drop),
        13 => client.redo().map(drop),
        14..=15 => {
            let given = object("name", json!(format!("contact {}", dice.roll(9))));
            ids.contacts.push(client.entity_create("contact", &given)?.to_string());
            Ok(())
        }
        16 => client.entity_edit(&contact, &object("name", json!(format!("name {}", dice.roll(9))))),
        17 => {
            let every = if yes { Value::Null } else { json!(1 + dice.roll(4)) };
            client.entity_edit(&contact, &Map::from_iter([("every".into(), every), ("starred".into(), json!(yes))]))
        }
        18 if yes => client.entity_edit(&contact, &object("tag", json!(["friend"]))),
        18 => client.entity_untag(&contact, "tag", "friend"),
        _ => client.entity_trash(&contact, yes),
    }
}

async fn watched_from(seed: u64) {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let mut dice = Dice(SeededRandom::new(seed));
    let notebooks = vec![phone.notebook_create("first", None).unwrap()];
    sync(&phone).await;
    sync(&laptop).await;
    let undoes = laptop.device().to_string();
    let mut ids = Ids { notes: Vec::new(), contacts: Vec::new(), notebooks, undoes };
    let mut notes = note_readers(&laptop, &ids.notebooks[0]);
    let mut contacts = contact_readers(&laptop);
    let mut done = 0;
    for step in 0..STEPS {
        let client = if dice.roll(3) == 0 { &phone } else { &laptop };
        match act(&mut dice, client, &mut ids) {
            Ok(()) => done += 1,
            Err(ClientError::NotFound { .. } | ClientError::Invalid { .. }) => {}
            Err(error) => panic!("seed {seed}, step {step}: {error}"),
        }
        if dice.roll(12) == 0 {
            sync(&phone).await;
            sync(&laptop).await;
            sync(&phone).await;
        }
        // Not after every step: then several things are told at once.
        if dice.roll(3) > 0 {
            notes.iter_mut().for_each(|reader| reader.follow(&laptop));
            contacts.iter_mut().for_each(|reader| reader.follow(&laptop));
        }
    }
    assert!(done > STEPS / 2, "seed {seed}: {done} of {STEPS} steps did something");
    let told: Vec<_> =
        notes.iter().map(|reader| reader.told).chain(contacts.iter().map(|reader| reader.told)).collect();
    assert!(told.iter().map(|[_, rows]| rows).sum::<usize>() > 60, "seed {seed}: {told:?}");
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_watched_list_is_told_leads_to_what_a_fresh_query_gives() {
    for seed in 1..=6 {
        watched_from(seed).await;
    }
}
