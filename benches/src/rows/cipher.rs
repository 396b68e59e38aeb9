//! What an encrypted local database costs: two homes, one of them encrypted, doing the same by turns.

use std::path::{Path, PathBuf};

use lifeos_client_core::client::{Client, DatabaseForm, OpenOptions};

use super::device::home;
use crate::report::Figure;
use crate::{measure, vault};

const QUERIES: [&str; 4] = ["garden letter", "winter", "harb*", "\"teacher station\""];

/// Microseconds of the clock and of the processor.
type Taken = (f64, f64);

/// Both homes: the plain one first.
type Both = [Taken; 2];

fn take(work: impl FnOnce()) -> Taken {
    let own = std::process::id();
    let before = measure::cpu_ns(own);
    let us = measure::time_us(work).1;
    (us, (measure::cpu_ns(own) - before) as f64 / 1e3)
}

/// Two homes with the same notes; the second is encrypted. And what importing them took.
fn homes(folder: &Path, n: usize) -> ([PathBuf; 2], Both) {
    let notes = folder.join("vault");
    vault::write(&notes, n, vault::note);
    let import = |path: &Path| {
        let client = Client::open(path).expect("a home");
        take(|| {
            let report = client.import_markdown(&notes, false, &mut |_| {}).expect("an import");
            assert_eq!(report.created, n as u64);
        })
    };
    // Whoever comes first warms up the files for the others.
    let first = folder.join("first");
    drop(home(&first, None));
    import(&first);
    let paths = ["plain", "encrypted"].map(|name| folder.join(name));
    paths.iter().for_each(|path| drop(home(path, None)));
    let encrypted = Client::convert_database(&paths[1], &OpenOptions::default(), DatabaseForm::Encrypted, &mut |_| {});
    assert!(encrypted.expect("a conversion"));
    let taken = paths.each_ref().map(|path| import(path));
    (paths, taken)
}

/// Does the same in both homes by turns; medians.
fn by_turns(times: usize, mut work: impl FnMut(usize, usize)) -> Both {
    let mut taken = [(); 2].map(|()| (Vec::new(), Vec::new()));
    for time in 0..times {
        for which in if time % 2 == 0 { [0, 1] } else { [1, 0] } {
            let (us, cpu_us) = take(|| work(which, time));
            taken[which].0.push(us);
            taken[which].1.push(cpu_us);
        }
    }
    taken.map(|(mut us, mut cpu_us)| (measure::median(&mut us), measure::median(&mut cpu_us)))
}

fn figure(what: &str, n: usize, unit: &'static str, [plain, encrypted]: Both) -> Figure {
    Figure {
        name: "cipher",
        what: what.to_owned(),
        n,
        value: (unit, encrypted.0),
        yardstick: Some(("the same in a plain home".into(), plain.0)),
        target: "≤ 2",
        met: encrypted.0 / plain.0 <= 2.0,
        extra: vec![("cpu_us", encrypted.1), ("cpu_ratio", encrypted.1 / plain.1)],
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
        figure("durable edit, FULL: insert 20 characters", edits, "edit_us", edited),
        figure("import of 1.5 KB notes", n, "import_us", imported),
        figure("search, twenty hits", searches, "search_us", searched),
        figure("opening the home", openings, "open_us", opened),
    ]
}
