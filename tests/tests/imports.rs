//! Notes of other programs: in whole, once, named where they are bad, and taken back as one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use lifeos_client_core::client::{
    Client, ImportOptions, ImportOutcome, ImportReport, InitOptions, NoteFilter, NoteSummary,
};
use lifeos_client_core::import::Format;
use tempfile::TempDir;

struct Desk {
    dir: TempDir,
    client: Client,
}

impl Desk {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let options = InitOptions { device_name: "laptop".into(), person_name: "Ana".into(), relay: None };
        let client = Client::create(&dir.path().join("home"), options).unwrap().0;
        Self { dir, client }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let place = self.dir.path().join(name);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, bytes).unwrap();
        place
    }

    fn import(&self, path: &Path) -> ImportReport {
        self.client.import(path, &ImportOptions::default(), &mut |_| {}).unwrap()
    }

    fn notes(&self) -> Vec<NoteSummary> {
        let mut notes = self.client.notes(NoteFilter { limit: 10_000, ..NoteFilter::default() }).unwrap();
        notes.sort_by(|one, other| one.title.cmp(&other.title));
        notes
    }

    fn titles(&self) -> Vec<String> {
        self.notes().into_iter().map(|note| note.title).collect()
    }

    /// What the home holds beside its database.
    fn leftovers(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path().join("home")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("importing")).collect()
    }
}

/// An Evernote export: title, text, and whether it has a picture.
fn enex(notes: &[(&str, &str, bool)]) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><en-export version=\"10\">\n");
    for (title, body, has_picture) in notes {
        // The MD5 of "hello".
        let (media, resource) = match has_picture {
            true => (
                "<en-media type=\"image/png\" hash=\"5d41402abc4b2a76b9719d911017c592\"/>",
                "<resource><data>aGVsbG8=</data><mime>image/png</mime><resource-attributes><file-name>sea.png</file-name>\
                 </resource-attributes></resource>",
            ),
            false => ("", ""),
        };
        let _ = writeln!(
            text,
            "<note><title>{title}</title><created>20200131T000000Z</created><tag>trip</tag><content><![CDATA[<en-note><div>{body}\
             {media}</div></en-note>]]></content>{resource}</note>"
        );
    }
    text + "</en-export>"
}

#[test]
fn an_evernote_export_comes_in_once_and_goes_as_one() {
    let desk = Desk::new();
    let file =
        desk.file("Trips.enex", enex(&[("Sea", "waves", true), ("Land", "hills", false), ("Air", "wind", true)]));
    let preview =
        desk.client.import(&file, &ImportOptions { dry_run: true, ..Default::default() }, &mut |_| {}).unwrap();
    assert_eq!((preview.created, preview.attached, preview.batch, desk.notes().len()), (3, 2, None, 0), "{preview:?}");
    let report = desk.import(&file);
    assert_eq!((report.created, report.attached, report.failed, report.batch), (3, 2, 0, Some(1)), "{report:?}");
    assert_eq!(desk.titles(), ["Air", "Land", "Sea"]);
    let sea = desk.client.note(&desk.notes()[2].id).unwrap();
    assert_eq!((sea.tags.as_slice(), sea.created_ms), (&["trip".to_owned()][..], 1_580_428_800_000));
    assert!(sea.markdown.ends_with("waves![](sea.png)\n"), "{}", sea.markdown);
    let attached = desk.client.note_attachments(&sea.id).unwrap();
    let mut bytes = Vec::new();
    desk.client.attachment_write(&attached[0].hash, &mut bytes, &mut |_| {}).unwrap();
    assert_eq!((attached[0].name.as_str(), bytes.as_slice()), ("sea.png", b"hello".as_slice()));
    assert_eq!(desk.leftovers(), Vec::<String>::new());

    // The same file again changes nothing, and is no batch.
    let again = desk.import(&file);
    assert_eq!((again.created, again.updated, again.skipped, again.attached, again.batch), (0, 0, 3, 0, None));

    // Somebody goes on writing in one of them; the others go.
    desk.client.note_set_markdown(&desk.notes()[1].id, "my own words").unwrap();
    let undone = desk.client.import_undo(1, &mut |_| {}).unwrap();
    assert_eq!((undone.undone, undone.kept.len(), undone.notebooks), (2, 1, 0), "{undone:?}");
    assert_eq!(desk.titles(), ["Land"]);
    assert!(desk.client.import_undo(1, &mut |_| {}).unwrap_err().to_string().contains("taken back already"));
    assert!(desk.client.import_undo(2, &mut |_| {}).is_err());

    // What was taken back can be imported again.
    let report = desk.import(&file);
    assert_eq!((report.created, report.skipped + report.duplicate, report.batch), (2, 1, Some(2)), "{report:?}");
    assert_eq!(desk.titles(), ["Air", "Land", "Sea"]);
    let batches = desk.client.imports().unwrap();
    assert_eq!(
        batches.iter().map(|batch| (batch.number, batch.undone_ms.is_some())).collect::<Vec<_>>(),
        [(2, false), (1, true)]
    );
}

#[test]
fn taking_back_an_import_gives_changed_notes_their_text_back_and_empty_notebooks_go() {
    let desk = Desk::new();
    let vault = desk.file("vault/Deep/In/a.md", "# A\n\none\n");
    let vault = vault.ancestors().nth(3).unwrap().to_path_buf();
    desk.file("vault/Other/b.md", "# B\n");
    assert_eq!(desk.import(&vault).created, 2);
    desk.file("vault/Deep/In/a.md", "# A\n\ntwo\n");
    desk.file("vault/Deep/c.md", "# C\n");
    let second = desk.import(&vault);
    assert_eq!((second.created, second.updated, second.batch), (1, 1, Some(2)));
    assert_eq!(desk.client.import_undo(2, &mut |_| {}).unwrap().undone, 2);
    let a = desk.client.note(&desk.notes()[0].id).unwrap();
    assert_eq!((a.markdown.as_str(), desk.titles()), ("# A\n\none\n", vec!["A".to_owned(), "B".to_owned()]));
    // A note that was moved there keeps its notebook.
    let other = desk.client.notebooks().unwrap().into_iter().find(|notebook| notebook.name == "Other").unwrap();
    let draft =
        lifeos_client_core::client::NoteDraft { title: "Mine".into(), notebook: Some(other.id), ..Default::default() };
    desk.client.note_create(draft).unwrap();
    let undone = desk.client.import_undo(1, &mut |_| {}).unwrap();
    assert_eq!((undone.undone, undone.kept.len(), undone.notebooks), (2, 0, 2), "{undone:?}");
    assert_eq!(desk.titles(), ["Mine"]);
}

#[test]
fn an_obsidian_vault_keeps_its_links_embeds_callouts_and_properties() {
    let desk = Desk::new();
    let text = "---\ntags: [plan, a/b]\naliases: [Start]\nrating: 4\n---\n# Home\n\nSee [[Deep/Note|the note]], [[Note#Part]] and #inline.\n\n\
                > [!warning]- Careful\n> with ![[sea.png|300]]\n\n![[Note#^block]]\n\n%% hidden %% ==marked== $x^2$ ^block\n";
    desk.file("vault/Home.md", text);
    desk.file("vault/Deep/Note.md", "back to [[Start]]\n\n## Part\n");
    desk.file("vault/files/sea.png", "a picture");
    desk.file("vault/.obsidian/app.json", "{}");
    desk.file("vault/.trash/old.md", "old");
    desk.file("vault/board.canvas", "{}");
    let vault = desk.dir.path().join("vault");
    assert_eq!(Format::of(&vault), Some(Format::Markdown));
    let report = desk.import(&vault);
    assert_eq!((report.created, report.attached, report.failed), (2, 1, 0), "{report:?}");
    let home = desk.client.note(&desk.notes()[0].id).unwrap();
    assert_eq!((home.title.as_str(), home.markdown.as_str()), ("Home", text));
    assert_eq!(home.tags, ["a/b", "plan", "inline"]);
    let note = desk.notes()[1].clone();
    let links = desk.client.note_links(&home.id).unwrap();
    let led: Vec<_> =
        links.iter().map(|link| (link.kind.as_str(), link.to.as_deref() == Some(note.id.as_str()))).collect();
    assert_eq!(led.iter().filter(|(_, leads)| *leads).count(), 3, "{links:?}");
    assert_eq!(desk.client.note_links(&note.id).unwrap()[0].to.as_deref(), Some(home.id.as_str()), "by its alias");
    let out = desk.dir.path().join("out");
    desk.client.export_markdown(&out, &mut |_| {}).unwrap();
    assert_eq!(fs::read_to_string(out.join("Home.md")).unwrap(), text);
}

#[test]
fn pages_outlines_and_bookmarks_become_notes() {
    let desk = Desk::new();
    let page = "<html><head><title>Soup &amp; bread</title></head><body><h1>Soup</h1><p>See <a href='other.html#x'>that</a>\
                <img src='img/pot.png'><img alt=in src='data:image/png;base64,aGVsbG8='></p></body></html>";
    desk.file("site/soup.html", page);
    desk.file("site/other.html", b"<meta charset=iso-8859-1><p>Caf\xe9");
    desk.file("site/img/pot.png", "a pot");
    let report = desk.import(&desk.dir.path().join("site"));
    assert_eq!((report.format.as_str(), report.created, report.attached), ("html", 2, 2), "{report:?}");
    let soup = desk.client.note(&desk.notes()[0].id).unwrap();
    assert_eq!(soup.title, "Soup & bread");
    assert!(
        soup.markdown.ends_with("# Soup\n\nSee [that](other.md#x)![](img/pot.png)![in](picture.png)\n"),
        "{}",
        soup.markdown
    );
    assert_eq!(desk.client.note(&desk.notes()[1].id).unwrap().markdown, "Café\n");

    let outline = desk.file(
        "list.opml",
        "<opml version='2.0'><body><outline text='One'><outline text='Two'/></outline></body></opml>",
    );
    let bookmarks = "<!DOCTYPE NETSCAPE-Bookmark-file-1><TITLE>Marks</TITLE><DL><DT><A HREF='https://a.org'>A</A></DL>";
    let bookmarks = desk.file("marks.html", bookmarks);
    assert_eq!((desk.import(&outline).created, desk.import(&bookmarks).created), (1, 1));
    let note = |title: &str| {
        let note = desk.notes().into_iter().find(|note| note.title == title).unwrap();
        desk.client.note(&note.id).unwrap().markdown
    };
    assert_eq!(note("list"), "- One\n  - Two\n");
    assert!(note("Marks").ends_with("- [A](https://a.org)\n"));
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line_and_the_rest_comes_in() {
    let desk = Desk::new();
    let good = enex(&[("Sea", "waves", false), ("Land", "hills", false)]);
    let cases: [(&str, Vec<u8>, u64, &str); 5] = [
        ("cut.enex", good.as_bytes()[..good.len() - 60].to_vec(), 1, "the file ends in the middle"),
        ("other.enex", b"<html><p>x".to_vec(), 0, "no Evernote export"),
        ("zip.enex", b"PK\x03\x04rest".to_vec(), 0, "an archive (zip); unpack it"),
        ("odd.enex", good.replace("waves", "wa\u{1}ves &unknown; <>").into_bytes(), 2, ""),
        ("empty.enex", Vec::new(), 0, "no Evernote export"),
    ];
    for (name, bytes, created, reason) in cases {
        let report = desk.import(&desk.file(name, bytes));
        assert_eq!(report.created + report.duplicate, created, "{name}: {report:?}");
        let failed: Vec<_> = report.entries.iter().filter(|entry| entry.outcome == ImportOutcome::Failed).collect();
        assert_eq!(failed.len(), usize::from(!reason.is_empty()), "{name}: {report:?}");
        if let Some(entry) = failed.first() {
            assert!(entry.reason.contains(reason) && entry.path == name, "{name}: {entry:?}");
            assert!(entry.line.is_some() || reason.contains("zip"), "{entry:?}");
        }
    }
    // Bytes of another encoding behind the beginning: the note comes in, and what happened is told.
    let late = enex(&[("Sea", &"word ".repeat(4_000), false), ("Land", "h?lls", false)]);
    let late = late.into_bytes().into_iter().map(|byte| if byte == b'?' { 0xe4 } else { byte }).collect::<Vec<_>>();
    let late: Vec<u8> = [b"<?xml version=\"1.0\"?>".as_slice(), &late[38..]].concat();
    let report = desk.import(&desk.file("late.enex", late));
    assert_eq!((report.created, report.failed), (2, 1), "{report:?}");
    assert!(report.entries.iter().any(|entry| entry.reason.contains("not of its encoding")), "{report:?}");
    assert!(desk.client.import(&desk.file("what.bin", "?"), &ImportOptions::default(), &mut |_| {}).is_err());
}

#[test]
fn an_import_that_was_cut_off_goes_on_under_its_number() {
    let desk = Desk::new();
    let notes: Vec<(String, String)> = (0..2_000).map(|n| (format!("Note {n}"), format!("text of {n}"))).collect();
    let notes: Vec<(&str, &str, bool)> =
        notes.iter().map(|(title, text)| (title.as_str(), text.as_str(), false)).collect();
    let file = desk.file("Many.enex", enex(&notes));
    let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut steps = 0;
        desk.client.import(&file, &ImportOptions::default(), &mut |_| {
            steps += 1;
            assert!(steps < 4, "cut off");
        })
    }));
    assert!(cut.is_err());
    let dir = desk.dir.path().join("home");
    let (before, batch) = (desk.notes().len(), desk.client.imports().unwrap().remove(0));
    assert!(before > 0 && before < 2_000 && batch.ended_ms.is_none(), "{before}: {batch:?}");
    let desk = Desk { client: Client::open(&dir).unwrap(), dir: desk.dir };
    let report = desk.import(&file);
    assert_eq!((report.created as usize + before, report.batch), (2_000, Some(batch.number)));
    let batches = desk.client.imports().unwrap();
    assert_eq!((batches.len(), batches[0].created, batches[0].ended_ms.is_some()), (1, 2_000, true));
    assert_eq!(desk.leftovers(), Vec::<String>::new());
    // Taking it back is cut off, too.
    let cut = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        desk.client.import_undo(batch.number, &mut |_| panic!("cut off"))
    }));
    assert!(cut.is_err());
    let desk = Desk { client: Client::open(&dir).unwrap(), dir: desk.dir };
    let left = desk.notes().len();
    assert!(left > 0 && left < 2_000, "{left}");
    let undone = desk.client.import_undo(batch.number, &mut |_| {}).unwrap();
    assert_eq!((undone.undone as usize, undone.kept.len(), desk.notes().len()), (left, 0, 0));
}
