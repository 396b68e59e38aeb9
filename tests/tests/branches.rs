//! A proposal beside the life of its documents: accepted in parts after they went on, on one of two devices.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use lifeos_client_core::client::{BranchedNote, Client, ErasePlan};
use lifeos_client_core::store::BranchState;
use lifeos_tests::world::{World, assert_settled, note, sync_each};
use serde_json::{Map, Value, json};

fn object(name: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(name.to_owned(), value)])
}

fn value(client: &Client, id: &str, name: &str) -> Value {
    client.entity(id).unwrap().values.get(name).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_difference_of_a_proposal_is_accepted_after_the_document_went_on_and_the_rest_later() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let ana = laptop.entity_create("contact", &object("name", json!("Ana"))).unwrap().to_string();
    let plan = note(&laptop, "Plan", "first line\n\nlast line\n");
    sync_each(&[&laptop, &phone]).await;

    let branch = laptop.branch_new("assistant's", Some("assistant"), &[ana.clone(), plan.clone()]).unwrap().id;
    let given = Map::from_iter([("role".into(), json!("Editor")), ("born".into(), json!("1990-01-02"))]);
    laptop.branch_edit_entity(&branch, &ana, &given).unwrap();
    laptop.branch_edit_entity(&branch, &ana, &object("tag", json!(["friend"]))).unwrap();
    let text = BranchedNote { markdown: Some("first line, proposed\n\nlast line\n".into()), ..BranchedNote::default() };
    laptop.branch_edit_note(&branch, &plan, &text).unwrap();
    assert_eq!((value(&laptop, &ana, "role"), laptop.note(&plan).unwrap().markdown.lines().count()), (Value::Null, 3));
    // Nothing of a branch leaves the device, and it is there when the home is opened again.
    sync_each(&[&laptop, &phone]).await;
    assert_eq!(phone.branches().unwrap(), []);
    drop(laptop);
    let laptop = Client::open(&world.home("laptop")).unwrap();

    // The documents go on elsewhere, in the same fields and beside them.
    phone.entity_edit(&ana, &object("role", json!("Oboist"))).unwrap();
    phone.note_set_markdown(&plan, "first line\n\nlast line, edited\n").unwrap();
    sync_each(&[&phone, &laptop]).await;
    let told = laptop.branch_diff(&branch).unwrap();
    let contact = told.iter().find(|document| document.id == ana).unwrap();
    let keys: Vec<&str> = contact.differences.iter().map(|difference| difference.key.as_str()).collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    let role = contact.differences.iter().find(|difference| difference.key == "role").unwrap();
    assert_eq!((&role.before, &role.after, &role.now), (&Value::Null, &json!("Editor"), &Some(json!("Oboist"))));
    let row = contact.effects.iter().find(|effect| effect.table == "contact").unwrap();
    assert_eq!(row.cells["role"], [json!("Oboist"), json!("Editor")]);
    assert!(contact.effects.iter().any(|effect| effect.table == "contact_tag"), "{:?}", contact.effects);
    let text = told.iter().find(|document| document.id == plan).unwrap();
    assert!(text.differences[0].diff.as_ref().unwrap().contains("+first line, proposed"), "{text:?}");

    let accepted = laptop.branch_accept(&branch, &[format!("{ana}/born")]).unwrap();
    assert_eq!((accepted.accepted, accepted.left), (1, 3));
    assert_eq!((value(&laptop, &ana, "born"), value(&laptop, &ana, "role")), (json!("1990-01-02"), json!("Oboist")));
    let open = laptop.branch(&branch).unwrap();
    assert_eq!((open.state, open.accepted, open.author.as_str()), (BranchState::Open, 1, "assistant"));
    assert_eq!(open.reviewer.as_deref(), Some("Ana"));
    let left = laptop.branch_diff(&branch).unwrap();
    assert!(left.iter().flat_map(|document| &document.differences).all(|difference| difference.key != "born"));

    // The rest, text merged by characters, as one step to undo.
    phone.note_set_markdown(&plan, "first line\n\nlast line, edited twice\n").unwrap();
    sync_each(&[&phone, &laptop]).await;
    let accepted = laptop.branch_accept(&branch, &[]).unwrap();
    assert_eq!((accepted.accepted, accepted.left), (3, 0));
    assert_eq!(laptop.note(&plan).unwrap().markdown, "first line, proposed\n\nlast line, edited twice\n");
    assert_eq!(value(&laptop, &ana, "role"), json!("Editor"));
    assert_eq!(laptop.branch(&branch).unwrap().state, BranchState::Accepted);
    assert!(laptop.branch_accept(&branch, &[]).is_err() && laptop.branch_diff(&branch).is_err());
    sync_each(&[&laptop, &phone]).await;
    assert_settled(&[&laptop, &phone]);
    assert_eq!(phone.entity(&ana).unwrap().lists["tag"], [json!("friend")]);
    assert!(laptop.undo().unwrap());
    assert_eq!(laptop.note(&plan).unwrap().markdown, "first line\n\nlast line, edited twice\n");
    assert_eq!((value(&laptop, &ana, "role"), value(&laptop, &ana, "born")), (json!("Oboist"), json!("1990-01-02")));
    world.relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_is_in_no_branch_either() {
    const CANARY: &str = "zanzibarquokka";
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let [here, there] = ["one", "two"].map(|title| note(&laptop, title, "text\n"));
    sync_each(&[&laptop, &phone]).await;
    let branch = laptop.branch_new("both", None, &[here.clone(), there.clone()]).unwrap().id;
    for id in [&here, &there] {
        let edit = BranchedNote { markdown: Some(format!("{CANARY}\n")), ..BranchedNote::default() };
        laptop.branch_edit_note(&branch, id, &edit).unwrap();
    }
    let holds = || {
        let files = std::fs::read_dir(world.home("laptop")).unwrap().map(|entry| entry.unwrap().path());
        let mut bytes = files.filter(|path| path.is_file()).map(|path| std::fs::read(path).unwrap());
        bytes.any(|bytes| bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()))
    };
    assert!(holds(), "else nothing is ever found");
    let at_once = ErasePlan { history_only: false, at_once: true };
    laptop.note_erase(&here, at_once).unwrap();
    phone.note_erase(&there, at_once).unwrap();
    sync_each(&[&phone, &laptop]).await;
    assert_eq!(laptop.branch(&branch).unwrap().documents, Vec::<String>::new());
    assert_eq!(laptop.branch_diff(&branch).unwrap(), []);
    assert!(!holds());
    laptop.branch_discard(&branch).unwrap();
    world.relay.shutdown().await;
}
