//! The tables of attacks name tests that exist, and leave no number out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of functions under `#[test]`, `#[tokio::test]` or inside `proptest!`, in every Rust file of the project.
fn tests_in_the_sources() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let crates = ["sync-protocol", "client-core", "sync-server", "ffi", "cli", "tests", "xtask"];
    let mut folders: Vec<PathBuf> = crates.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(tests_in(&read(&path)));
            }
        }
    }
    names
}

/// A test is a function whose attributes, the lines right above it, say so.
fn tests_in(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        let line_is_test = line == "#[test]" || line.starts_with("#[tokio::test") || line.ends_with("::test]");
        if line_is_test {
            is_test = true;
        } else if let Some(name) = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn ")) {
            if is_test {
                names.push(name.split(['(', '<']).next().unwrap_or_default().to_owned());
            }
            is_test = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            is_test = false;
        }
    }
    names
}

/// Words in backticks that look like a test's name: a sentence with underscores.
fn named(text: &str) -> Vec<String> {
    let is_name = |word: &&str| {
        word.matches('_').count() >= 2 && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    text.split('`').skip(1).step_by(2).filter(is_name).map(str::to_owned).collect()
}

/// Number and last column of each row of the tables.
fn rows(text: &str) -> BTreeMap<u32, String> {
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let (Some(Ok(number)), Some(held)) = (cells.first().map(|cell| cell.parse()), cells.last()) else { continue };
        assert!(rows.insert(number, (*held).to_owned()).is_none(), "number {number} is used twice");
    }
    rows
}

#[test]
fn every_test_that_the_documents_name_is_in_the_sources() {
    let known = tests_in_the_sources();
    assert!(known.contains("every_test_that_the_documents_name_is_in_the_sources"));
    let mut count = 0;
    for document in ["docs/TESTS.md", "docs/THREATS.md"] {
        for name in named(&read(&root().join(document))) {
            assert!(known.contains(&name), "{document} names `{name}`, which no source has");
            count += 1;
        }
    }
    assert!(count > 60, "the table names only {count} tests");
}

#[test]
fn every_attack_is_held_by_a_test_or_says_that_it_is_not_yet() {
    let rows = rows(&read(&root().join("docs/TESTS.md")));
    for number in (1..=51).chain(58..=75) {
        let held = rows.get(&number).unwrap_or_else(|| panic!("attack {number} has no row"));
        assert!(!named(held).is_empty() || held.contains("not yet"), "attack {number} is held by nothing: {held}");
    }
}

#[test]
fn every_threat_has_a_number_of_its_own_and_says_what_holds_it() {
    let rows = rows(&read(&root().join("docs/THREATS.md")));
    // Later ones are given out in advance, to be used in any order.
    assert!((1..=64).all(|number| rows.contains_key(&number)), "a number is missing");
    // Names are looked up in the sources by `every_test_that_the_documents_name_is_in_the_sources`.
    for (number, held) in rows {
        assert!(is_held(&held), "threat {number} names no test, no attack and no reason why not: {held}");
    }
}

/// A test's name, a row of the attacks, or a reason why there is none.
fn is_held(cell: &str) -> bool {
    let attack = cell.split("attack").skip(1).any(|rest| {
        let number = rest.trim_start_matches('s').trim_start();
        number.starts_with(|first: char| first.is_ascii_digit())
    });
    attack || !named(cell).is_empty() || cell.strip_prefix("none: ").is_some_and(|reason| reason.len() > 10)
}

#[test]
fn a_folder_of_tests_or_code_review_holds_no_threat() {
    for held in ["`store` acceptance tests", "`tests/tests/keys.rs`", "code review", "attacks", "none: ", "\u{2013}"] {
        assert!(!is_held(held), "{held}");
    }
    for held in ["attack 7", "attacks 1 to 8", "`a_key_is_enrolled_once`", "none: nobody can see it alone"] {
        assert!(is_held(held), "{held}");
    }
}
