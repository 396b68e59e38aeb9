//! A table of defences, each taken away once: what is removed, and the tests that must then fail.
//!
//! A test that holds an attack proves something only if it fails without the defence. `cargo xtask deep defences` tries
//! that for each entry, in a copy of the sources ([`try_out`]); CI checks that the table still fits the sources.

mod attachments;
mod beyond;
mod checkpoints;
mod cipher;
mod copy;
mod costs;
mod documents;
mod encodings;
mod envelopes;
mod epochs;
mod goals;
mod imports;
mod invitations;
mod kernel;
mod linking;
mod membership;
mod memory;
mod modules;
mod peer;
mod presence;
mod program;
mod records;
mod recovery;
mod relay;
mod reminders;
mod session;
mod shared;
mod streams;
mod try_out;
mod wakeups;

pub(crate) use copy::Copy;
pub(crate) use try_out::run;

/// One defence, and what shows that it is there.
#[derive(Debug, Hash)]
pub(crate) struct Defence {
    /// The row of docs/TESTS.md; 0 for what only docs/THREATS.md speaks of, whose row `how` then begins with.
    attack: u32,
    /// What is taken away, in a sentence.
    how: &'static str,
    /// Where it stands, from the root of the project.
    file: &'static str,
    /// Its text, which the file holds exactly once.
    find: &'static str,
    /// What compiles in its place.
    put: &'static str,
    /// The package of the tests.
    package: &'static str,
    /// The program of tests in that package.
    target: Target,
    /// Names of tests, all of which must fail; with a module in front where there are two of one name.
    tests: &'static [&'static str],
}

/// A program of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// The units beside the code.
    Lib,
    /// The units, built with a feature.
    LibWith(&'static str),
    /// A file or folder in `tests/`.
    Test(&'static str),
    /// One of those, built with a feature.
    TestWith(&'static str, &'static str),
}

/// All entries, by the groups of docs/TESTS.md.
const TABLES: &[&[Defence]] = &[
    envelopes::TABLE,
    encodings::TABLE,
    streams::TABLE,
    documents::TABLE,
    membership::TABLE,
    records::TABLE,
    epochs::TABLE,
    goals::TABLE,
    checkpoints::TABLE,
    session::TABLE,
    presence::TABLE,
    relay::TABLE,
    shared::TABLE,
    reminders::TABLE,
    modules::TABLE,
    kernel::TABLE,
    imports::TABLE,
    peer::TABLE,
    wakeups::TABLE,
    linking::TABLE,
    invitations::TABLE,
    recovery::TABLE,
    beyond::TABLE,
    attachments::TABLE,
    cipher::TABLE,
    costs::TABLE,
];

/// Attacks without an entry, each with the reason.
#[cfg(test)]
const WITHOUT: &[(u32, &str)] = &[];

fn all() -> impl Iterator<Item = &'static Defence> {
    TABLES.iter().copied().flatten()
}

/// The name of a test without its module.
fn short(test: &str) -> &str {
    test.rsplit("::").next().unwrap_or(test)
}

/// The folder of a package.
fn folder(package: &str) -> &str {
    package.strip_prefix("lifeos-").unwrap_or(package)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::collections::BTreeMap;

    use super::*;
    use crate::run::root;

    /// The rows of the table of attacks.
    fn rows() -> BTreeMap<u32, String> {
        let text = std::fs::read_to_string(root().join("docs/TESTS.md")).unwrap();
        let numbered = |line: &str| Some((line.strip_prefix("| ")?.split(' ').next()?.parse().ok()?, line.to_owned()));
        text.lines().filter_map(numbered).collect()
    }

    #[test]
    fn every_entry_changes_one_place_of_the_sources() {
        let mut unfit = Vec::new();
        for defence in all() {
            let text = std::fs::read_to_string(root().join(defence.file)).unwrap_or_default();
            let count = text.matches(defence.find).count();
            if count != 1 || defence.find == defence.put {
                unfit.push(format!("{} times in {}: `{}`", count, defence.file, defence.find));
            }
        }
        assert!(unfit.is_empty(), "{}", unfit.join("\n"));
    }

    #[test]
    fn every_entry_names_tests_of_its_package() {
        let mut known = BTreeMap::new();
        let mut missing = Vec::new();
        for defence in all() {
            let folder = root().join(folder(defence.package));
            let text = known.entry(defence.package).or_insert_with(|| {
                let mut text = String::new();
                memory::gather(&folder, &mut text);
                text
            });
            assert!(!defence.tests.is_empty(), "{}", defence.how);
            let is_missing = |test: &&&str| !text.contains(&format!("fn {}(", short(test)));
            missing.extend(defence.tests.iter().filter(is_missing).map(|test| (defence.package, *test)));
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_attack_has_a_defence_that_can_be_taken_away() {
        for attack in (1..=51).chain(58..=75) {
            let is_tried = all().any(|defence| defence.attack == attack);
            let reason = WITHOUT.iter().find(|(number, _)| *number == attack).map(|(_, reason)| *reason);
            assert!(is_tried != reason.is_some_and(|reason| reason.len() > 10), "attack {attack}");
        }
    }

    #[test]
    fn every_entry_names_a_test_of_the_row_it_belongs_to() {
        let rows = rows();
        for defence in all() {
            if defence.attack == 0 {
                assert!(defence.how.starts_with("THREATS "), "{}", defence.how);
                continue;
            }
            let row = &rows[&defence.attack];
            let named = defence.tests.iter().any(|test| row.contains(&format!("`{}`", short(test))));
            assert!(named, "attack {} is not said to be held by any of {:?}", defence.attack, defence.tests);
        }
    }
}
