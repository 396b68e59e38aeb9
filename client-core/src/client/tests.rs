//! The façade on one device, without a network.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

mod branches;
mod reminders;
mod search;
mod watch;

fn home() -> (TempDir, Client) {
    let dir = TempDir::new().unwrap();
    let options = InitOptions { device_name: "laptop".into(), person_name: "Ana".into(), relay: None };
    let (client, phrase) = Client::create(&dir.path().join("home"), options).unwrap();
    assert_eq!(phrase.words().len(), 12);
    (dir, client)
}

fn make(client: &Client, title: &str, markdown: &str) -> String {
    let draft = NoteDraft { title: title.into(), markdown: markdown.into(), ..NoteDraft::default() };
    client.note_create(draft).unwrap().to_string()
}

#[test]
fn a_home_is_created_once_and_opens_again_with_everything_in_it() {
    let (dir, client) = home();
    let id = make(&client, "First", "# Hello\n\n- [ ] one\n");
    let (space, device, digest) = (client.space(), client.device(), client.projection_digest().unwrap());
    drop(client);
    let path = dir.path().join("home");
    assert!(matches!(Client::create(&path, InitOptions::default()), Err(ClientError::Home { .. })));
    let client = Client::open(&path).unwrap();
    assert_eq!((client.space(), client.device()), (space, device));
    assert_eq!(client.projection_digest().unwrap(), digest);
    assert_eq!(client.note(&id).unwrap().markdown, "# Hello\n\n- [ ] one\n");
    let status = client.status().unwrap();
    assert_eq!((status.device_name.as_str(), status.notes, status.documents), ("laptop", 1, 2));
    assert!(status.changes_pending > 0);
}

#[test]
fn a_space_that_begins_like_another_one_is_not_opened_wherever_it_came_from() {
    let (_dir, client) = home();
    let mut random = crate::crypto::SeededRandom::new(7);
    let genesis_random = client.shared.store().genesis_random(&client.space()).unwrap();
    let begun = |genesis_random, random: &mut crate::crypto::SeededRandom| {
        let keys = client.shared.root.derive_space(&genesis_random);
        let recovery = crate::keys::RecoveryPhrase::generate(crate::keys::PhraseLength::Words12, random).derive_home();
        let member = lifeos_sync_protocol::ids::MemberId([9; 16]);
        let founding =
            crate::records::Founding { genesis_random, member, keys: &keys, recovery: &recovery, relays: Vec::new() };
        let founded = crate::records::found_space(&founding, random).unwrap();
        let (device, stream_r32) = (keys.sign_pk(), [1; 32]);
        let stream = lifeos_sync_protocol::envelope::stream_id(&founded.space, &device, &stream_r32);
        let records = vec![founded.genesis, founded.epoch];
        let new = crate::store::NewSpace { space: founded.space, device, stream, stream_r32, records };
        client.shared.store().add_space_unchecked(&new).unwrap();
        founded.space
    };
    let (other, copied) = (begun([3; 32], &mut random), begun(genesis_random, &mut random));
    assert!(client.at(&other).is_ok());
    let refused = client.at(&copied).err().unwrap();
    assert!(matches!(refused, ClientError::Security { .. }), "{refused}");
}

/// Loses a note as damage would, with what is known of it lying in the device's own stream.
fn lose(home: &Path, id: &str) {
    let db = rusqlite::Connection::open(home.join("lifeos.db")).unwrap();
    let find = format!("SELECT id FROM document WHERE doc = x'{id}'");
    let row: i64 = db.query_row(&find, [], |row| row.get(0)).unwrap();
    let tables = crate::registry::tables().iter().map(|table| table.name).chain(["change", "snapshot", "mark"]);
    for table in tables {
        db.execute(&format!("DELETE FROM {table} WHERE doc = ?1"), [row]).unwrap();
    }
    db.execute("DELETE FROM document WHERE id = ?1", [row]).unwrap();
    db.execute("DELETE FROM search WHERE rowid = ?1", [row]).unwrap();
    let aside = "INSERT INTO quarantine(space, envelope, stream, seq, author, reason, since_ms)
                 SELECT s.space, e.envelope, s.stream, e.position & 4294967295, s.device, ?1, 1
                 FROM envelope e JOIN stream s ON s.id = e.position >> 32";
    let reason = "its document is damaged on this device: run `lifeos doctor`, and restore a backup or link this \
                  device again";
    db.execute(aside, [reason]).unwrap();
}

#[test]
fn what_waits_in_quarantine_is_tried_again_when_a_home_is_opened_and_by_the_doctor() {
    let (dir, mut client) = home();
    let path = dir.path().join("home");
    let id = make(&client, "Back", "again\n");
    {
        let state = client.shared.state();
        let key = state.seal_key(&client.shared.keys).unwrap();
        let (space, mut random) = (client.space(), crate::crypto::SystemRandom::new());
        let budget = crate::store::SealBudget::default();
        let mut store = client.shared.store();
        store.seal_pending(&space, &client.shared.keys, &key, budget, &mut random).unwrap();
    }
    let digest = client.projection_digest().unwrap();
    for by_doctor in [false, true] {
        lose(&path, &id);
        assert!(matches!(client.note(&id), Err(ClientError::NotFound { .. })));
        if by_doctor {
            assert!(client.doctor(false, &mut |_| {}).unwrap().ok);
        } else {
            drop(client);
            client = Client::open(&path).unwrap();
        }
        assert_eq!(client.note(&id).unwrap().markdown, "again\n");
        assert_eq!(client.projection_digest().unwrap(), digest);
        assert_eq!(client.shared.store().reads().quarantine(&client.space(), 9).unwrap(), vec![]);
    }
}

#[test]
fn a_folder_without_a_home_says_so() {
    let dir = TempDir::new().unwrap();
    assert!(matches!(Client::open(dir.path()), Err(ClientError::Home { .. })));
    let bad = InitOptions { relay: Some("http://x".into()), ..InitOptions::default() };
    assert!(matches!(Client::create(&dir.path().join("h"), bad), Err(ClientError::Invalid { .. })));
    assert!(!dir.path().join("h").exists(), "nothing is written for a bad address");
}

#[test]
fn a_note_is_found_by_a_prefix_of_its_id_and_not_by_less() {
    let (_dir, client) = home();
    let id = make(&client, "One", "text\n");
    assert_eq!(client.note(&id[..8]).unwrap().id, id);
    assert!(matches!(client.note(&id[..3]), Err(ClientError::Invalid { .. })));
    assert!(matches!(client.note("zzzz"), Err(ClientError::Invalid { .. })));
    assert!(matches!(client.note(&"0".repeat(32)), Err(ClientError::NotFound { .. })));
}

#[test]
fn every_edit_of_a_note_shows_and_is_taken_back_by_undo() {
    let (_dir, client) = home();
    let id = make(&client, "Groceries", "milk\n\n- [ ] bread\n");
    client.note_set_title(&id, "Shopping").unwrap();
    client.note_tag(&id, "home", true).unwrap();
    client.note_set_todo(&id, 0, true).unwrap();
    client.note_set_property(&id, "store", Some(serde_json::json!("corner"))).unwrap();
    client.note_pin(&id, true).unwrap();
    let note = client.note(&id).unwrap();
    assert_eq!((note.title.as_str(), note.pinned), ("Shopping", true));
    assert_eq!(note.tags, ["home"]);
    assert!(note.markdown.contains("- [x] bread"), "{}", note.markdown);
    assert_eq!(note.properties, [("store".to_owned(), serde_json::json!("corner"))]);

    for _ in 0..5 {
        assert!(client.undo().unwrap());
    }
    let note = client.note(&id).unwrap();
    assert_eq!((note.title.as_str(), note.pinned, note.tags.len()), ("Groceries", false, 0));
    assert_eq!(note.markdown, "milk\n\n- [ ] bread\n");
    assert!(client.redo().unwrap());
    assert_eq!(client.note(&id).unwrap().title, "Shopping");
}

#[test]
fn a_note_goes_to_the_trash_and_comes_back() {
    let (_dir, client) = home();
    let id = make(&client, "Gone", "text\n");
    client.note_trash(&id, true).unwrap();
    assert!(client.notes(NoteFilter::default()).unwrap().is_empty());
    assert_eq!(client.notes(NoteFilter { trashed: true, ..NoteFilter::default() }).unwrap()[0].id, id);
    client.note_trash(&id, false).unwrap();
    assert_eq!(client.notes(NoteFilter::default()).unwrap().len(), 1);
}

#[test]
fn versions_are_listed_read_and_restored() {
    let (_dir, client) = home();
    let id = make(&client, "Story", "once\n");
    client.note_set_markdown(&id, "once upon\n").unwrap();
    let versions = client.note_history(&id, 0, 0).unwrap();
    assert_eq!((versions[0].device.as_str(), versions[0].person.as_str()), ("laptop", "Ana"));
    assert_eq!(client.note_at(&id, &versions[0].version).unwrap(), "once upon\n");
    client.note_set_markdown(&id, "all lost\n").unwrap();
    client.note_restore(&id, &versions[0].version).unwrap();
    assert_eq!(client.note(&id).unwrap().markdown, "once upon\n");
}

#[test]
fn notebooks_form_a_tree_without_visible_cycles() {
    let (_dir, client) = home();
    let books = client.notebook_create("Books", None).unwrap();
    let old = client.notebook_create("Old", Some(&books)).unwrap();
    let id = make(&client, "Read", "text\n");
    client.note_move(&id, Some(&old)).unwrap();
    assert!(matches!(client.notebook_move(&books, Some(&old), None), Err(ClientError::Invalid { .. })));
    let tree = client.notebooks().unwrap();
    let shape: Vec<_> = tree.iter().map(|node| (node.name.as_str(), node.depth, node.notes)).collect();
    assert_eq!(shape, [("Books", 0, 0), ("Old", 1, 1)]);
    client.notebook_delete(&old).unwrap();
    assert_eq!(client.note(&id).unwrap().notebook, Some(books));
}

#[test]
fn events_follow_the_commit_and_a_slow_subscriber_is_told() {
    let (_dir, client) = home();
    let mut events = client.subscribe();
    let id = make(&client, "One", "text\n");
    match events.try_next() {
        Some(crate::event::Event::DocumentsChanged { docs, .. }) => assert_eq!(docs[0].to_string(), id),
        other => panic!("{other:?}"),
    }
    (0..1100).for_each(|_| client.shared.emit(crate::event::Event::MembershipChanged { space: client.space() }));
    assert_eq!(events.try_next(), Some(crate::event::Event::Lagged));
}

fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn an_import_is_previewed_written_once_updated_and_exported_byte_for_byte() {
    let (dir, client) = home();
    let vault = dir.path().join("vault");
    write(&vault, "a.md", "---\ntags: [x]\n---\n# Alpha\n\ntext [[b]]\n");
    write(&vault, "deep/er/b.md", "| t |\n|---|\n| 1 |\n");
    write(&vault, "copy/a.md", "---\ntags: [x]\n---\n# Alpha\n\ntext [[b]]\n");
    write(&vault, "image.png", "no");
    std::fs::write(vault.join("bad.md"), [0xff, 0xfe, 0x41]).unwrap();

    let preview = client.import_markdown(&vault, true, &mut |_| {}).unwrap();
    let counts =
        |report: &ImportReport| (report.created, report.updated, report.duplicate, report.skipped, report.failed);
    assert_eq!(counts(&preview), (2, 0, 1, 1, 1));
    assert_eq!(client.status().unwrap().notes, 0);
    let report = client.import_markdown(&vault, false, &mut |_| {}).unwrap();
    assert_eq!(counts(&report), counts(&preview));
    assert_eq!(client.status().unwrap().notes, 2);
    let names: Vec<_> = client.notebooks().unwrap().into_iter().map(|node| node.name).collect();
    assert_eq!(names, ["deep", "er"]);

    let pending = client.status().unwrap().changes_pending;
    let again = client.import_markdown(&vault, false, &mut |_| {}).unwrap();
    assert_eq!((counts(&again).0, counts(&again).1), (0, 0));
    assert_eq!(client.status().unwrap().changes_pending, pending, "a second import writes nothing");

    write(&vault, "deep/er/b.md", "| t |\n|---|\n| 2 |\n");
    let updated = client.import_markdown(&vault, false, &mut |_| {}).unwrap();
    assert_eq!(updated.updated, 1);

    let out = dir.path().join("out");
    let exported = client.export_markdown(&out, &mut |_| {}).unwrap();
    assert_eq!(exported.notes, 2);
    assert_eq!(std::fs::read(out.join("a.md")).unwrap(), std::fs::read(vault.join("a.md")).unwrap());
    assert_eq!(std::fs::read(out.join("deep/er/b.md")).unwrap(), std::fs::read(vault.join("deep/er/b.md")).unwrap());
}

#[test]
fn a_note_and_its_file_that_both_changed_lose_nothing() {
    let (dir, client) = home();
    let vault = dir.path().join("vault");
    write(&vault, "a.md", "first\nsecond\nthird\n");
    let report = client.import_markdown(&vault, false, &mut |_| {}).unwrap();
    let id = report.entries[0].note.clone().unwrap();
    client.note_set_markdown(&id, "first here\nsecond\nthird\n").unwrap();
    write(&vault, "a.md", "first\nsecond\nthird there\n");
    let report = client.import_markdown(&vault, false, &mut |_| {}).unwrap();
    assert_eq!(report.updated, 1);
    assert_eq!(client.note(&id).unwrap().markdown, "first here\nsecond\nthird there\n");

    client.note_set_markdown(&id, "mine\nsecond\nthird there\n").unwrap();
    write(&vault, "a.md", "theirs\nsecond\nthird there\n");
    let report = client.import_markdown(&vault, false, &mut |_| {}).unwrap();
    assert_eq!(report.created, 1, "{report:?}");
    assert_eq!(client.note(&id).unwrap().markdown, "mine\nsecond\nthird there\n");
    assert_eq!(client.import_markdown(&vault, false, &mut |_| {}).unwrap().created, 0);
}

#[test]
fn the_doctor_finds_a_sound_home_sound() {
    let (_dir, client) = home();
    make(&client, "One", "text\n");
    let report = client.doctor(true, &mut |_| {}).unwrap();
    assert!(report.ok, "{report:?}");
    assert!(report.checks.iter().any(|check| check.name == "device key"));
}

#[test]
fn edits_made_together_are_changes_of_their_own_and_one_step_of_undo() {
    let (_dir, client) = home();
    let ids: Vec<String> = (0..3).map(|index| make(&client, &format!("Note {index}"), "text\n")).collect();
    let docs: Vec<DocId> = ids.iter().map(|id| id.parse().unwrap()).collect();
    let before = client.status().unwrap().changes_pending;
    client
        .edit_together(|edits| {
            for doc in &docs {
                edits.splice(doc, 1, 0, "more ")?;
                edits.splice(doc, 1, 0, "and ")?;
                edits.pin(doc, true)?;
                edits.tag(doc, "kept", true)?;
            }
            Ok(())
        })
        .unwrap();
    for id in &ids {
        let note = client.note(id).unwrap();
        assert_eq!((note.markdown.as_str(), note.pinned), ("and more text\n", true));
        assert_eq!(note.tags, ["kept"]);
    }
    assert_eq!(client.status().unwrap().changes_pending, before + 12);
    assert_eq!(client.search("more", 10).unwrap().len(), 3);
    client.undo().unwrap();
    assert!(ids.iter().all(|id| client.note(id).unwrap().markdown == "text\n"));
}

#[test]
fn a_name_with_hidden_characters_is_refused_where_it_is_given_and_shown_where_it_is_read() {
    let (dir, client) = home();
    let refused = |error: ClientError| assert!(error.to_string().contains("can be seen"), "{error}");
    let named = |device: &str, person: &str| InitOptions {
        device_name: device.into(),
        person_name: person.into(),
        relay: None,
    };
    let elsewhere = dir.path().join("elsewhere");
    for options in [named("lap\u{200b}top", "Ana"), named("laptop", "\u{202e}anA")] {
        refused(Client::create(&elsewhere, options).map(drop).unwrap_err());
    }
    refused(client.space_create("Fam\u{2066}ily", None).map(drop).unwrap_err());
    // What a program that does not care has written.
    let member = client.own_member().unwrap();
    let family = client.space_create("Family", None).unwrap();
    for client in [&client, &family] {
        let (device, own) = (client.device(), client.own_member().unwrap());
        let doc = home::space_doc(&client.space());
        let write = client.edit(&doc, crate::registry::SPACE_GENESIS, Step::None, |doc| {
            crate::modules::space::set_member_name(doc, &own, "A\u{200b}na")?;
            crate::modules::space::set_device_name(doc, &device, "lap\u{202e}top")?;
            Ok(crate::modules::space::set_space_name(doc, "Fa\u{2069}mily")?)
        });
        write.unwrap();
    }
    assert_eq!(client.members().unwrap()[0].name, "A\u{fffd}na");
    assert_eq!(client.members().unwrap()[0].member, member.to_string());
    assert_eq!(client.status().unwrap().device_name, "lap\u{fffd}top");
    assert_eq!(client.spaces().unwrap()[1].name, "Fa\u{fffd}mily");
}

#[test]
fn when_one_of_several_edits_fails_none_is_kept() {
    let (_dir, client) = home();
    let id = make(&client, "Note", "text\n");
    let doc: DocId = id.parse().unwrap();
    let digest = client.projection_digest().unwrap();
    let failed = client.edit_together(|edits| {
        edits.splice(&doc, 1, 0, "lost ")?;
        edits.pin(&DocId([7; 16]), true)
    });
    assert!(matches!(failed, Err(ClientError::NotFound { .. })), "{failed:?}");
    assert_eq!(client.projection_digest().unwrap(), digest);
    assert_eq!(client.note(&id).unwrap().markdown, "text\n");
}

/// Rows are written from what is remembered of the body where only registers changed: each kind of edit after each
/// other has to leave what a fresh reading of the document gives.
#[test]
fn rows_after_any_two_edits_are_those_of_a_fresh_reading() {
    let (_dir, client) = home();
    let id = make(&client, "Note", "---\ntags: [one]\n---\n# Head\n\ntext with [[Link]] and #tag\n\n- [ ] task\n");
    type Edit<'a> = Box<dyn Fn(usize) + 'a>;
    let edits: Vec<Edit<'_>> = vec![
        Box::new(|round| client.note_splice(&id, 1, 0, &format!("#t{round} [[L{round}]] ")).unwrap()),
        Box::new(|round| client.note_pin(&id, round % 2 == 0).unwrap()),
        Box::new(|round| client.note_set_title(&id, &format!("Title {round}")).unwrap()),
        Box::new(|round| client.note_tag(&id, &format!("tag{round}"), true).unwrap()),
        Box::new(|round| client.note_set_property(&id, "aliases", Some(serde_json::json!([round]))).unwrap()),
        Box::new(|round| client.note_set_todo(&id, 0, round % 2 == 0).unwrap()),
        Box::new(|round| client.note_set_markdown(&id, &format!("# New {round}\n\n- [ ] task\n")).unwrap()),
        Box::new(|round| client.note_trash(&id, round % 2 == 0).unwrap()),
        Box::new(|_| assert!(client.undo().unwrap())),
    ];
    let mut round = 0;
    for first in &edits {
        for second in &edits {
            round += 1;
            first(round);
            second(round + 100);
            let (digest, dirty) = (client.projection_digest().unwrap(), client.search("t*", 0).unwrap().len());
            assert!(client.doctor(true, &mut |_| {}).unwrap().ok);
            assert_eq!(client.projection_digest().unwrap(), digest, "round {round}");
            assert_eq!(client.search("t*", 0).unwrap().len(), dirty, "round {round}");
        }
    }
}

/// Work in the background is stopped at moments drawn at random, while edits go on and the home is opened anew.
#[test]
fn background_work_that_is_stopped_at_any_moment_leaves_the_home_whole_and_goes_on_where_it_was() {
    let (dir, mut client) = home();
    let ids: Vec<_> = (0..120).map(|n| make(&client, &format!("note {n}"), "canary word\n")).collect();
    let waits = |client: &Client| client.shared.reader().reads().search_dirty_count().unwrap();
    let mut random = crate::crypto::SeededRandom::new(11);
    let mut drawn = move |below: u64| u64::from_be_bytes(crate::crypto::random_bytes::<8>(&mut random)) % below;
    let mut was_stopped = 0;
    for round in 0..25 {
        for _ in 0..20 {
            let id = &ids[drawn(ids.len() as u64) as usize];
            client.note_set_title(id, &format!("canary title {round} {}", drawn(1_000_000))).unwrap();
        }
        let before = waits(&client);
        assert!(before > 0);
        client.resume_jobs();
        std::thread::scope(|scope| {
            let work = scope.spawn(|| crate::engine::rest(&client.shared).unwrap());
            let mut told = std::collections::BTreeMap::new();
            let until = std::time::Instant::now() + std::time::Duration::from_micros(drawn(12_000));
            while std::time::Instant::now() < until {
                for job in client.jobs().unwrap() {
                    let last = told.insert(job.kind.clone(), (job.done, job.total)).unwrap_or((0, 0));
                    assert!(
                        job.done <= job.total && job.done >= last.0 && job.total >= last.1,
                        "{job:?} after {last:?}"
                    );
                }
            }
            client.stop_jobs();
            work.join().unwrap();
        });
        let after = waits(&client);
        assert!(after <= before && client.jobs().unwrap().is_empty(), "{before} {after}");
        was_stopped += u32::from(after > 0);
        assert_eq!(client.search("canary", 500).unwrap().len(), ids.len(), "search is never stale");
        if round % 5 == 0 {
            assert!(client.doctor(false, &mut |_| {}).unwrap().ok);
            drop(client);
            client = Client::open(&dir.path().join("home")).unwrap();
        }
    }
    assert!(was_stopped > 3, "it was never stopped before it was done: {was_stopped}");
    client.resume_jobs();
    crate::engine::rest(&client.shared).unwrap();
    assert_eq!((waits(&client), client.doctor(false, &mut |_| {}).unwrap().ok), (0, true));
}

/// Two that have the home open, as two processes have.
#[test]
fn what_one_process_does_in_the_background_is_seen_by_another_which_can_have_it_wait() {
    let (dir, client) = home();
    for n in 0..300 {
        make(&client, &format!("note {n}"), "text\n");
    }
    crate::engine::rest(&client.shared).unwrap();
    client.pause_jobs(Some(Duration::from_secs(3_600))).unwrap();
    drop(client);
    let path = dir.path().join("home");
    let database = rusqlite::Connection::open(path.join("lifeos.db")).unwrap();
    database.execute("UPDATE meta SET value = x'00' WHERE key = 'projections'", []).unwrap();
    database.execute("UPDATE note SET title = 'as before'", []).unwrap();

    let (client, other) = (Client::open(&path).unwrap(), Client::open(&path).unwrap());
    let left = |client: &Client| client.status().unwrap().documents_unprojected;
    let before = left(&client);
    assert!(before > 200 && client.jobs_paused_ms().unwrap().is_some(), "{before}");
    let titles = |client: &Client| {
        let notes = client.notes(NoteFilter { limit: 1_000, ..NoteFilter::default() }).unwrap();
        (notes.len(), notes.iter().filter(|note| note.title == "as before").count() as u64)
    };
    assert_eq!(titles(&client).0, 300, "lists are whole meanwhile");
    crate::engine::rest(&client.shared).unwrap();
    assert_eq!((left(&client), client.jobs().unwrap()), (before, vec![]), "it waits");

    // One that is under way hears of it: what it began with is done, and no more.
    client.pause_jobs(None).unwrap();
    let (held, release) = (database.unchecked_transaction().unwrap(), Duration::from_millis(600));
    held.execute("UPDATE meta SET value = value WHERE key = 'projections'", []).unwrap();
    std::thread::scope(|scope| {
        let work = scope.spawn(|| crate::engine::project(&client.shared, || true).unwrap());
        while client.jobs().unwrap().is_empty() && !work.is_finished() {
            std::thread::yield_now();
        }
        std::thread::sleep(release);
        let until_ms = crate::engine::wall_ms() + 3_600_000;
        held.execute("INSERT INTO meta(key, value) VALUES ('jobs-paused', ?1)", [until_ms.to_be_bytes()]).unwrap();
        held.commit().unwrap();
        work.join().unwrap();
    });
    assert_eq!((left(&client), client.jobs().unwrap()), (before - 64, vec![]));

    // What a process does is told by its word, and for no longer than it keeps its word.
    other.pause_jobs(None).unwrap();
    let told = |done: u64| format!("[{{\"kind\":\"project\",\"done\":{done},\"total\":9}}]");
    let tell = |at_ms: i64, done| {
        client.shared.store().tell_jobs("elsewhere", Some(told(done).as_bytes()), (at_ms, 10_000)).unwrap();
    };
    let now_ms = crate::engine::wall_ms();
    tell(now_ms, 4);
    let seen = other.jobs().unwrap();
    let seen: Vec<_> = seen.iter().map(|job| (job.kind.as_str(), job.done, job.total, job.elsewhere)).collect();
    assert_eq!(seen, [("project", 4, 9, true)]);
    tell(now_ms - 10_001, 5);
    assert_eq!(other.jobs().unwrap(), vec![], "a process that died does nothing");

    crate::engine::rest(&client.shared).unwrap();
    assert_eq!((left(&other), titles(&other)), (0, (300, 0)));
    assert!(client.doctor(false, &mut |_| {}).unwrap().ok);
    client.shared.store().tell_jobs("another", None, (now_ms, 10_000)).unwrap();
    assert_eq!(client.shared.reader().reads().told_jobs().unwrap(), vec![], "nothing is left of what was told");
}
