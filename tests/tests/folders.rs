//! A folder of notes with pictures and files: in, out, and in again, with nothing lost and nothing outside touched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lifeos_client_core::client::{Client, ImportReport, InitOptions, TransferFault};
use lifeos_tests::world::{World, note, sync, sync_each};
use tempfile::TempDir;

fn home(dir: &Path) -> Client {
    let options = InitOptions { device_name: "laptop".into(), person_name: "Ana".into(), relay: None };
    Client::create(dir, options).unwrap().0
}

fn write(folder: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let place = folder.join(path);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, bytes).unwrap();
}

/// Every file below a folder, with what it holds.
fn all(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.to_path_buf()];
    while let Some(next) = todo.pop() {
        for entry in fs::read_dir(next).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                todo.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(path, fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

fn import(client: &Client, folder: &Path) -> ImportReport {
    client.import_markdown(folder, false, &mut |_| {}).unwrap()
}

fn export(client: &Client, folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let report = client.export_markdown(folder, &mut |_| {}).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    all(folder)
}

fn names(client: &Client) -> Vec<String> {
    let mut names: Vec<_> = client.attachments().unwrap().into_iter().map(|found| found.name).collect();
    names.sort();
    names
}

/// Bytes that differ from file to file and are more than one part long, if so wished.
fn picture(seed: u8, length: usize) -> Vec<u8> {
    (0..length).map(|at| seed ^ (at % 251) as u8).collect()
}

#[test]
fn a_folder_with_pictures_comes_out_as_it_went_in_and_goes_round_again() {
    let dir = TempDir::new().unwrap();
    let vault = dir.path().join("vault");
    let (sea, plan, film) = (picture(1, 40_000), picture(2, 900), picture(3, 1_500_000));
    write(&vault, "Trips/Sea.md", "# Sea\n\n![[sea.png|300]] and [the plan](../Files/the%20plan.pdf#page=2)\n");
    write(&vault, "Trips/Land.md", "![](pics/land.png) ![[Files/film.mp4]]\n");
    write(&vault, "Home.md", "again ![[sea.png]]\n\n```\n![[code.png]]\n```\n");
    write(&vault, "Files/sea.png", &sea);
    write(&vault, "Files/the plan.pdf", &plan);
    write(&vault, "Files/film.mp4", &film);
    write(&vault, "Trips/pics/land.png", &sea);
    write(&vault, "Files/unused.png", "nobody links to it");
    write(&vault, ".obsidian/app.json", "{}");
    let client = home(&dir.path().join("home"));

    let preview = client.import_markdown(&vault, true, &mut |_| {}).unwrap();
    assert_eq!((preview.created, preview.attached, names(&client).len()), (3, 5, 0), "{preview:?}");
    let report = import(&client, &vault);
    assert_eq!((report.created, report.attached, report.problems.len()), (3, 5, 0), "{report:?}");
    assert_eq!(
        names(&client),
        ["Files/film.mp4", "Files/sea.png", "Files/sea.png", "Files/the plan.pdf", "Trips/pics/land.png"]
    );
    let reason = |path: &str| report.entries.iter().find(|entry| entry.path == path).unwrap().reason.clone();
    assert_eq!(reason("Files/sea.png"), "attached to the notes that link to it");
    assert_eq!(reason("Files/unused.png"), "not a Markdown file");

    // Again it changes nothing; a picture that changed takes the place of the one it was.
    let before = client.status().unwrap().changes_pending;
    let again = import(&client, &vault);
    assert_eq!((again.attached, client.status().unwrap().changes_pending), (0, before));
    let out = dir.path().join("out");
    let exported = export(&client, &out);
    let mut wanted = all(&vault);
    wanted.retain(|path, _| !path.starts_with('.') && path != "Files/unused.png");
    assert!(exported == wanted, "{:?}", exported.keys());
    let second = home(&dir.path().join("second"));
    assert_eq!(import(&second, &out).attached, 5);
    assert!(export(&second, &dir.path().join("round")) == exported);
    assert!(export(&client, &out) == exported, "a second export writes the same");

    write(&vault, "Files/sea.png", picture(9, 40_001));
    assert_eq!(import(&client, &vault).attached, 2);
    assert_eq!(names(&client).len(), 5);
    assert!(export(&client, &out)["Files/sea.png"] == picture(9, 40_001));
}

#[test]
fn what_was_attached_by_hand_goes_out_beside_the_notes_and_round_again() {
    let dir = TempDir::new().unwrap();
    let client = home(&dir.path().join("home"));
    let files = dir.path().join("files");
    let attach = |id: &str, name: &str, bytes: &[u8]| {
        write(&files, "any", bytes);
        client.note_attach(id, &files.join("any"), Some(name), &mut |_| {}).unwrap();
    };
    let (a, b) = (note(&client, "A", "text\n"), note(&client, "B", "![[image.png]]\n"));
    attach(&a, "image.png", b"one");
    attach(&a, "IMAGE.png", b"two");
    attach(&a, "../../../etc/passwd", b"three");
    attach(&a, ".git/hooks/post-commit", b"four");
    attach(&b, "image.png", b"five");
    attach(&b, "note.md", b"# no note of its own");
    attach(&b, "CON", b"six");
    let out = dir.path().join("a/b/out");
    let exported = export(&client, &out);
    assert_eq!(exported.len(), 9, "{:?}", exported.keys());
    assert_eq!(all(&dir.path().join("a")).len(), 9, "nothing beside the folder");
    let folded: std::collections::BTreeSet<_> = exported.keys().map(|path| path.to_lowercase()).collect();
    assert_eq!(folded.len(), 9, "no two differ by case alone");
    for content in ["one", "two", "three", "four", "five", "# no note of its own", "six"] {
        assert!(exported.values().any(|bytes| bytes == content.as_bytes()), "{content}");
    }
    let second = home(&dir.path().join("second"));
    let report = import(&second, &out);
    assert_eq!((report.created, report.failed, report.problems.len()), (2, 0, 0), "{report:?}");
    let round = export(&second, &dir.path().join("round"));
    assert!(round == exported, "{:?}\n{:?}", round.keys(), exported.keys());
}

#[cfg(unix)]
#[test]
fn links_that_lead_out_or_nowhere_are_named_with_their_line_and_the_rest_comes_in() {
    use std::os::unix::fs::symlink;
    let dir = TempDir::new().unwrap();
    let (vault, outside) = (dir.path().join("vault"), dir.path().join("outside"));
    write(&outside, "secret.png", "secret");
    write(&vault, "ok.png", "ok");
    fs::create_dir_all(&vault).unwrap();
    symlink(outside.join("secret.png"), vault.join("link.png")).unwrap();
    symlink(&outside, vault.join("folder")).unwrap();
    let text = "# A\n![](../outside/secret.png)\n![[link.png]]\n![](folder/secret.png)\n![[gone.png]]\n[x](http://x.org/y.png) [[Some note]]\n\n![[big.bin]] ![[ok.png]] ![](.hidden/x.png)\n";
    write(&vault, "a.md", text);
    write(&vault, ".hidden/x.png", "hidden");
    let big = fs::File::create(vault.join("big.bin")).unwrap();
    big.set_len(3 << 30).unwrap();
    let client = home(&dir.path().join("home"));
    let report = import(&client, &vault);
    assert_eq!((report.created, report.attached), (1, 1), "{report:?}");
    let said = report.problems.iter().map(|problem| {
        assert_eq!(problem.file, "a.md");
        (problem.line.unwrap(), problem.target.clone().unwrap(), problem.fault)
    });
    let mut said: Vec<_> = said.collect();
    said.sort_by_key(|(line, target, _)| (*line, target.clone()));
    let wanted = [
        (2, "../outside/secret.png", TransferFault::Refused),
        (3, "link.png", TransferFault::Refused),
        (4, "folder/secret.png", TransferFault::Refused),
        (5, "gone.png", TransferFault::Missing),
        (8, ".hidden/x.png", TransferFault::Missing),
        (8, "big.bin", TransferFault::Refused),
    ];
    assert_eq!(said, wanted.map(|(line, target, fault)| (line, target.to_owned(), fault)));
    let reasons: String = report.problems.iter().map(|problem| problem.reason.clone() + "\n").collect();
    assert!(reasons.contains("larger than an attachment may be") && reasons.contains("symbolic link"), "{reasons}");
    assert_eq!(names(&client), ["ok.png"]);
    assert_eq!(client.attachments().unwrap()[0].size, Some(2));
}

#[test]
fn a_note_with_very_many_links_takes_in_what_a_note_may_have() {
    let dir = TempDir::new().unwrap();
    let vault = dir.path().join("vault");
    let text: String = (0..20_000).map(|number| format!("![[{number}.png]]\n")).collect();
    write(&vault, "many.md", text);
    (0..20).for_each(|number| write(&vault, &format!("{number}.png"), format!("picture {number}")));
    let client = home(&dir.path().join("home"));
    let report = import(&client, &vault);
    assert_eq!((report.created, report.attached), (1, 20), "{:?}", report.entries.last());
    assert!(report.problems.len() <= 4096, "{}", report.problems.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_names_what_is_not_on_the_device_and_writes_the_rest() {
    let world = World::new().await;
    let (laptop, [tablet]) = world.devices(["tablet"]).await;
    let id = note(&laptop, "Mixed", "one\n\n![[away.png]]\n");
    for (name, bytes) in [("away.png", "far away"), ("here.png", "here")] {
        write(world.dir.path(), name, bytes);
        laptop.note_attach(&id, &world.dir.path().join(name), None, &mut |_| {}).unwrap();
    }
    sync_each(&[&laptop, &tablet]).await;
    tablet.attachment_fetch("here.png", &mut |_| {}).await.unwrap();
    let out = world.home("out");
    let report = tablet.export_markdown(&out, &mut |_| {}).unwrap();
    assert_eq!((report.notes, report.attachments), (1, 1));
    let problem = &report.problems[0];
    assert_eq!((problem.file.as_str(), problem.line, problem.fault), ("Mixed.md", Some(3), TransferFault::Away));
    assert!(problem.reason.contains("lifeos attachment get"), "{}", problem.reason);
    assert_eq!(all(&out).into_keys().collect::<Vec<_>>(), ["Mixed.md", "attachments/here.png"]);
    tablet.attachment_fetch("away.png", &mut |_| {}).await.unwrap();
    assert_eq!(export(&tablet, &out)["away.png"], b"far away");
    sync(&tablet).await;
}
