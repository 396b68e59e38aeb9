//! What an encrypted local database costs: two homes, one of them encrypted, doing the same by turns.

use std::path::{Path, PathBuf};

use lifeos_client_core::client::{Client, DatabaseForm, OpenOptions};

use super::device::home;
use crate::report::Figure;
use crate::{measure, vault};

const QUERIES: [&str; 4] = ["garden letter", "winter", "harb*", "\"teacher station\""];

/// Two homes with the same notes; the second is encrypted. And what importing them took, in milliseconds.
fn homes(folder: &Path, n: usize) -> ([PathBuf; 2], [f64; 2]) {
    let notes = folder.join("vault");
    vault::write(&notes, n);
    let mut took = [0.0; 2];
    let paths = ["plain", "encrypted"].map(|name| folder.join(name));
    for (at, path) in paths.iter().enumerate() {
        drop(home(path, None));
        if at == 1 {
            let options = OpenOptions::default();
            Client::convert_database(path, &options, DatabaseForm::Encrypted, &mut |_| {}).expect("a conversion");
        }
        let client = Client::open(path).expect("a home");
        let (report, us) = measure::time_us(|| client.import_markdown(&notes, false, &mut |_| {}));
        assert_eq!(report.expect("an import").created, n as u64);
        took[at] = us / 1e3;
    }
    (paths, took)
}

/// Does the same in both homes by turns; medians.
fn by_turns(times: usize, mut work: impl FnMut(usize, usize)) -> [f64; 2] {
    let mut taken = [Vec::new(), Vec::new()];
    for time in 0..times {
        for which in if time % 2 == 0 { [0, 1] } else { [1, 0] } {
            taken[which].push(measure::time_us(|| work(which, time)).1);
        }
    }
    taken.map(|mut values| measure::median(&mut values))
}

fn figure(what: &str, n: usize, unit: &'static str, [plain, encrypted]: [f64; 2], ratio_max: f64) -> Figure {
    Figure {
        name: "cipher",
        what: what.to_owned(),
        n,
        value: (unit, encrypted),
        yardstick: Some(("the same in a plain home".into(), plain)),
        target: "≤ 2",
        met: encrypted / plain <= ratio_max,
        extra: Vec::new(),
    }
}

/// Durable edit, import, search and opening: encrypted ÷ plain.
pub(super) fn cipher(short: bool) -> Vec<Figure> {
    let (n, edits, searches, openings) = if short { (200, 50, 50, 10) } else { (2_000, 1_000, 1_000, 100) };
    let folder = tempfile::tempdir().expect("a folder");
    let (paths, imported) = homes(folder.path(), n);
    let opened = by_turns(openings, |which, _| drop(Client::open(&paths[which]).expect("a home")));
    let clients = paths.map(|path| Client::open(&path).expect("a home"));
    let notes = clients.each_ref().map(|client| {
        let made = client
            .note_create(lifeos_client_core::client::NoteDraft { markdown: vault::note(n), ..Default::default() });
        made.expect("a note").to_string()
    });
    let edited = by_turns(edits, |which, _| {
        clients[which].note_splice(&notes[which], 0, 0, "twenty characters by").expect("an edit");
    });
    let searched = by_turns(searches, |which, time| {
        clients[which].search(QUERIES[time % QUERIES.len()], 20).expect("a search");
    });
    vec![
        figure("durable edit, FULL: insert 20 characters", edits, "edit_us", edited, 2.0),
        figure("import of 1.5 KB notes", n, "import_ms", imported, 2.0),
        figure("search, twenty hits", searches, "search_us", searched, 2.0),
        figure("opening the home", openings, "open_us", opened, 2.0),
    ]
}
