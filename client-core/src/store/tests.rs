//! The contract of the store, as tests.

use crate::store::query::words;
use std::path::Path;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjType, ROOT, ReadDoc};
use lifeos_sync_protocol::envelope::stream_id;
use lifeos_sync_protocol::ids::{DocId, SignPk, SpaceId, StreamId};

use super::*;
use crate::document::{Document, DocumentError};
use crate::keys::DeviceRoot;
use crate::keystore::system_keystore;
use crate::registry::NOTE_GENESIS;

#[cfg(feature = "sqlcipher")]
mod encrypted;
mod sync;
mod upgrade;

const SPACE: SpaceId = SpaceId([3; 32]);

/// A home of a space without records: enough for everything that is not sync.
fn create(home: &Path) -> Store {
    let (device, r32) = (SignPk([4; 32]), [5; 32]);
    let stream = stream_id(&SPACE, &device, &r32);
    let space = NewSpace { space: SPACE, device, stream, stream_r32: r32, records: Vec::new() };
    let root = DeviceRoot::from_bytes([6; 32]);
    Store::create(home, &NewHome { root: &root, space, meta: &[("device_name", b"desk")] }).unwrap()
}

fn doc(n: u8) -> DocId {
    DocId([n; 16])
}

fn set(doc: &mut AutoCommit, key: &str, value: &str) -> Result<(), StoreError> {
    doc.put(ROOT, key, value).map_err(|_| DocumentError::Refused.into())
}

fn title(store: &mut Store, id: &DocId) -> Option<String> {
    let read = |document: &Document| document.read().get(ROOT, "title").unwrap().unwrap().0.into_string().unwrap();
    store.read(&SPACE, id, read).unwrap()
}

fn write_title(store: &mut Store, now_ms: i64, id: &DocId, value: &str) -> Commit {
    store.write(&SPACE, now_ms, |tx| tx.edit(id, NOTE_GENESIS, |doc| set(doc, "title", value))).unwrap().1
}

fn write_body(store: &mut Store, now_ms: i64, id: &DocId, text: &str) {
    let edit = |tx: &mut Tx<'_>| {
        tx.edit(id, NOTE_GENESIS, |doc| {
            let (kind, body) = doc.get(ROOT, "body").unwrap().unwrap();
            assert!(matches!(kind, automerge::Value::Object(ObjType::Text)));
            let length = isize::try_from(doc.length(&body)).unwrap();
            doc.splice_text(&body, 0, length, text).map_err(|_| StoreError::from(DocumentError::Refused))
        })
    };
    store.write(&SPACE, now_ms, edit).unwrap();
}

fn found(store: &mut Store, query: &str) -> Vec<DocId> {
    let hits = store.search(&SPACE, &words(query), 50).unwrap();
    hits.into_iter().map(|hit| hit.doc).collect()
}

#[test]
fn edits_survive_reopen_without_a_clean_close() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    let commit = write_title(&mut store, 1, &doc(1), "one");
    assert_eq!(commit.docs, vec![doc(1)]);
    write_title(&mut store, 2, &doc(1), "two");
    // Neither closed nor dropped: what a killed process leaves.
    std::mem::forget(store);

    let mut store = Store::open(home.path()).unwrap();
    assert_eq!(title(&mut store, &doc(1)).unwrap(), "two");
    assert_eq!(store.reads().meta("device_name").unwrap().unwrap(), b"desk");
    assert_eq!(store.reads().pending_count(&SPACE).unwrap(), 2);
    assert_eq!(unlock_device_root(home.path(), system_keystore(), None).unwrap().to_bytes().as_slice(), [6; 32]);
}

#[test]
fn an_edit_that_fails_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    write_title(&mut store, 1, &doc(1), "one");
    let before = store.reads().heads(&SPACE).unwrap();
    let result = store.write(&SPACE, 2, |tx| {
        tx.edit(&doc(1), NOTE_GENESIS, |doc| set(doc, "title", "two"))?;
        tx.edit(&doc(2), NOTE_GENESIS, |doc| set(doc, "title", "new"))?;
        Err::<(), StoreError>(StoreError::Busy)
    });
    assert!(matches!(result, Err(StoreError::Busy)));
    assert_eq!(store.reads().heads(&SPACE).unwrap(), before);
    assert_eq!(title(&mut store, &doc(1)).unwrap(), "one");
    assert_eq!(title(&mut store, &doc(2)), None);
}

#[test]
fn an_edit_that_changes_nothing_stores_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    write_title(&mut store, 1, &doc(1), "one");
    assert_eq!(write_title(&mut store, 2, &doc(1), "one").docs, vec![]);
    store.write(&SPACE, 3, |tx| tx.edit(&doc(2), NOTE_GENESIS, |_| Ok::<_, StoreError>(()))).unwrap();
    assert_eq!(store.reads().document_count(&SPACE).unwrap(), 1);
}

#[test]
fn two_processes_on_one_home_lose_nothing_and_repeat_no_sequence() {
    let home = tempfile::tempdir().unwrap();
    let mut first = create(home.path());
    let mut second = Store::open(home.path()).unwrap();
    for n in 0..100 {
        let key = format!("prop/{n}");
        let store = if n % 3 == 0 { &mut first } else { &mut second };
        store.write(&SPACE, n, |tx| tx.edit(&doc(1), NOTE_GENESIS, |doc| set(doc, &key, "x"))).unwrap();
    }
    for store in [&mut first, &mut second] {
        let keys = store.read(&SPACE, &doc(1), |document| document.read().length(ROOT)).unwrap().unwrap();
        assert_eq!(keys, 102, "100 properties beside body and schema");
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut select = first.conn.prepare("SELECT bytes FROM change").unwrap();
    for bytes in select.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap() {
        let change = automerge::Change::from_bytes(bytes.unwrap()).unwrap();
        assert!(seen.insert((change.actor_id().to_bytes().to_vec(), change.seq())));
    }
    assert_eq!(seen.len(), 100);
}

#[test]
fn search_is_never_stale() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    write_title(&mut store, 1, &doc(1), "Plum cake");
    write_body(&mut store, 2, &doc(1), "butter and sugar");
    write_title(&mut store, 3, &doc(2), "Apple pie");
    let reader = Reader::open(home.path()).unwrap();
    let read = |query: &str| -> Vec<DocId> {
        reader.search(&SPACE, &words(query), 9).unwrap().into_iter().map(|hit| hit.doc).collect()
    };
    for indexed in [false, true] {
        if indexed {
            assert_eq!(store.index_dirty(100).unwrap(), 2);
            assert_eq!(store.reads().search_dirty_count().unwrap(), 0);
        }
        assert_eq!((found(&mut store, "plum"), read("plum")), (vec![doc(1)], vec![doc(1)]));
        assert_eq!(found(&mut store, "PLÜM sug*"), vec![doc(1)]);
        assert_eq!(found(&mut store, "-plum pie"), vec![doc(2)]);
        assert_eq!(found(&mut store, "\"sugar butter\""), vec![]);
    }
    write_title(&mut store, 4, &doc(1), "Cherry tart");
    assert_eq!((found(&mut store, "plum"), found(&mut store, "cherry")), (vec![], vec![doc(1)]));
    assert_eq!((read("plum"), read("cherry")), (vec![], vec![doc(1)]));
    let trash = |tx: &mut Tx<'_>| {
        tx.edit(&doc(1), NOTE_GENESIS, |doc| doc.put(ROOT, "del", 5_i64).map_err(|_| DocumentError::Refused.into()))
    };
    store.write::<_, StoreError>(&SPACE, 5, trash).unwrap();
    assert_eq!((found(&mut store, "cherry"), read("cherry")), (vec![], vec![]));
    store.index_dirty(100).unwrap();
    assert_eq!(found(&mut store, "cherry"), vec![]);
}

#[test]
fn an_edit_of_nothing_that_search_sees_marks_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    write_title(&mut store, 1, &doc(1), "one");
    store.index_dirty(9).unwrap();
    let pin = |doc: &mut AutoCommit| doc.put(ROOT, "pinned", true).map_err(|_| DocumentError::Refused.into());
    store.write::<_, StoreError>(&SPACE, 2, |tx| tx.edit(&doc(1), NOTE_GENESIS, pin)).unwrap();
    assert_eq!(store.reads().search_dirty_count().unwrap(), 0);
    assert!(store.reads().note(&SPACE, &doc(1)).unwrap().unwrap().pinned);
}

#[test]
fn a_long_tail_becomes_a_snapshot_and_keeps_what_is_pending() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    for n in 0..70 {
        write_title(&mut store, n, &doc(1), &format!("title {n}"));
    }
    let heads = store.reads().heads(&SPACE).unwrap();
    assert_eq!(store.compact_tails(10).unwrap(), 1);
    assert_eq!(store.compact_tails(10).unwrap(), 0);
    assert_eq!(store.reads().pending_count(&SPACE).unwrap(), 70);
    write_title(&mut store, 100, &doc(1), "after");
    assert_ne!(store.reads().heads(&SPACE).unwrap(), heads);
    drop(store);
    let mut store = Store::open(home.path()).unwrap();
    assert_eq!(title(&mut store, &doc(1)).unwrap(), "after");
    assert_eq!(store.reads().pending_count(&SPACE).unwrap(), 71);
}

#[test]
fn a_half_made_home_is_made_again_and_a_whole_one_is_not_touched() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("lifeos.db.new"), b"half").unwrap();
    std::fs::write(home.path().join(DEVICE_KEY_FILE), b"half").unwrap();
    assert!(matches!(Store::open(home.path()), Err(StoreError::NoHome)));
    drop(create(home.path()));
    let root = DeviceRoot::from_bytes([9; 32]);
    let space = NewSpace {
        space: SPACE,
        device: SignPk([4; 32]),
        stream: StreamId([1; 16]),
        stream_r32: [0; 32],
        records: vec![],
    };
    let again = Store::create(home.path(), &NewHome { root: &root, space: space.clone(), meta: &[] });
    assert!(matches!(again, Err(StoreError::HomeExists)));
    assert_eq!(unlock_device_root(home.path(), system_keystore(), None).unwrap().to_bytes().as_slice(), [6; 32]);
    std::fs::remove_file(home.path().join(DATABASE_FILE)).unwrap();
    let again = Store::create(home.path(), &NewHome { root: &root, space, meta: &[] });
    assert!(matches!(again, Err(StoreError::KeyWithoutDatabase)), "a key is never thrown away");
}

#[test]
fn a_home_of_a_newer_version_or_with_damaged_files_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let store = create(home.path());
    let newer = SCHEMA_VERSION + 1;
    store.conn.pragma_update(None, "user_version", newer).unwrap();
    schema::put_meta(&store.conn, "min_reader", &newer.to_be_bytes()).unwrap();
    drop(store);
    let opened = Store::open(home.path());
    assert!(matches!(opened, Err(StoreError::NewerVersion { found, known: SCHEMA_VERSION }) if found == newer));

    std::fs::write(home.path().join(DATABASE_FILE), vec![0x55; 8192]).unwrap();
    // Only a program with the cipher, and with the key, can tell this from an encrypted one.
    assert!(matches!(Store::open(home.path()), Err(StoreError::Encrypted)));
    std::fs::write(home.path().join(DEVICE_KEY_FILE), vec![0x55; 45]).unwrap();
    assert!(matches!(unlock_device_root(home.path(), system_keystore(), None), Err(StoreError::DeviceKey)));
}

#[test]
fn undo_steps_follow_the_persons_edits() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    write_title(&mut store, 1, &doc(1), "one");
    write_title(&mut store, 2, &doc(1), "two");
    let top = store.reads().undo_top(&SPACE).unwrap().unwrap();
    assert_eq!(top.changes.len(), 1);
    let undo = |tx: &mut Tx<'_>| {
        tx.step(Step::Undo(top.id));
        tx.edit(&doc(1), NOTE_GENESIS, |doc| set(doc, "title", "one"))
    };
    store.write(&SPACE, 3, undo).unwrap();
    let redo = store.reads().redo_top(&SPACE).unwrap().unwrap();
    assert_eq!(redo.id, top.id);
    assert_ne!(redo.changes, top.changes, "what is redone is the inverse of the undo");
    assert!(store.reads().undo_top(&SPACE).unwrap().unwrap().id < top.id);
    write_title(&mut store, 4, &doc(1), "three");
    assert_eq!(store.reads().redo_top(&SPACE).unwrap(), None);
}

#[test]
fn another_process_that_writes_is_waited_for_and_then_named() {
    let home = tempfile::tempdir().unwrap();
    let mut first = create(home.path());
    let second = Store::open(home.path()).unwrap();
    first.conn.busy_timeout(std::time::Duration::ZERO).unwrap();
    let held = begin(&second.conn).unwrap();
    let blocked = first.write(&SPACE, 1, |_| Ok::<_, StoreError>(()));
    assert!(matches!(&blocked, Err(error @ StoreError::Busy) if error.is_transient()));
    drop(held);
    write_title(&mut first, 2, &doc(1), "free");
}

#[test]
fn a_full_disk_is_a_transient_error_and_nothing_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    write_title(&mut store, 1, &doc(1), "kept");
    let pages: i64 = store.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    store.conn.pragma_update(None, "max_page_count", pages).unwrap();
    let big = "x".repeat(500_000);
    let result = store.write(&SPACE, 2, |tx| tx.edit(&doc(1), NOTE_GENESIS, |doc| set(doc, "source:path", &big)));
    assert!(matches!(&result, Err(error @ StoreError::DiskFull) if error.is_transient()));
    assert_eq!(title(&mut store, &doc(1)).unwrap(), "kept");
    store.conn.pragma_update(None, "max_page_count", 1_000_000).unwrap();
    write_title(&mut store, 3, &doc(1), "goes on");
    assert_eq!(title(&mut store, &doc(1)).unwrap(), "goes on");
}

#[test]
fn an_edit_that_no_envelope_can_carry_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    // Random enough that no column encoding makes it small.
    let big: String =
        (0..1_200_000_u32).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 27) as u8 % 26)).collect();
    let result = store.write(&SPACE, 2, |tx| tx.edit(&doc(1), NOTE_GENESIS, |doc| set(doc, "title", &big)));
    assert!(matches!(result, Err(StoreError::EditTooLarge)));
    assert_eq!(store.reads().document_count(&SPACE).unwrap(), 0);
}

#[test]
fn the_doctor_sees_what_is_wrong_and_a_rebuild_makes_rows_equal_again() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    for n in 1..30 {
        write_title(&mut store, n.into(), &doc(n), &format!("note {n}"));
    }
    let failing = |store: &mut Store| -> Vec<&'static str> {
        let outcomes = store.check(&mut |_, _| {}).unwrap();
        outcomes.into_iter().filter(|outcome| !outcome.ok).map(|outcome| outcome.name).collect()
    };
    // A space without records is what these tests begin with.
    assert_eq!(failing(&mut store), ["records"]);
    let digest = store.projection_digest(&SPACE).unwrap();
    store.conn.execute("UPDATE note SET title = 'wrong' WHERE doc = 3", []).unwrap();
    assert_eq!(failing(&mut store), ["records", "projections"]);
    assert_ne!(store.projection_digest(&SPACE).unwrap(), digest);
    let mut last = (0, 0);
    assert_eq!(store.rebuild_projections(&mut |done, total| last = (done, total)).unwrap(), 29);
    assert_eq!(last, (29, 29));
    assert_eq!(failing(&mut store), ["records"]);
    assert_eq!(store.projection_digest(&SPACE).unwrap(), digest);
    assert_eq!(found(&mut store, "\"note 7\""), vec![doc(7)]);

    store.conn.execute("DELETE FROM mark WHERE kind = 2 AND doc = 5", []).unwrap();
    store.conn.execute("DELETE FROM search WHERE rowid = 6", []).unwrap();
    store.conn.execute("UPDATE change SET bytes = x'00' WHERE doc = 7", []).unwrap();
    store.conn.execute("UPDATE document SET heads = zeroblob(32) WHERE id = 8", []).unwrap();
    assert_eq!(failing(&mut store), ["records", "pending changes", "documents", "document heads", "search"]);
}

#[test]
fn a_home_with_other_projections_rebuilds_them_when_it_is_opened() {
    let home = tempfile::tempdir().unwrap();
    let mut store = create(home.path());
    write_title(&mut store, 1, &doc(1), "one");
    let digest = store.projection_digest(&SPACE).unwrap();
    schema::put_meta(&store.conn, "projections", b"other").unwrap();
    store.conn.execute("DELETE FROM note", []).unwrap();
    drop(store);
    let store = Store::open(home.path()).unwrap();
    assert_eq!(store.projection_digest(&SPACE).unwrap(), digest);
}
