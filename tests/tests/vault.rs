//! Real Markdown goes in and comes out: byte for byte, or what differs is white space alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use lifeos_client_core::client::{Client, ImportOptions, ImportOutcome, InitOptions};
use tempfile::TempDir;

/// Markdown files below these folders, each content once: of `LIFEOS_VAULT` (folders, with `:` between), else this
/// repository's own.
fn sources() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf();
    match std::env::var("LIFEOS_VAULT") {
        Ok(folders) => folders.split(':').map(PathBuf::from).collect(),
        Err(_) => ["docs", "README.md", "CHANGELOG.md"].iter().map(|name| own.join(name)).collect(),
    }
}

fn collect(vault: &Path) -> usize {
    let (mut todo, mut seen) = (sources(), HashSet::new());
    while let Some(next) = todo.pop() {
        let Ok(about) = fs::symlink_metadata(&next) else { continue };
        if about.is_dir() {
            let entries = fs::read_dir(&next).into_iter().flatten().filter_map(Result::ok);
            todo.extend(entries.map(|entry| entry.path()).filter(|path| !path.ends_with("target")));
        } else if about.is_file() && next.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("md")) {
            let Ok(bytes) = fs::read(&next) else { continue };
            let number = seen.len();
            if seen.insert(bytes.clone()) {
                let name = next.file_name().unwrap().to_string_lossy();
                let folder = vault.join(format!("{:03}", number / 100));
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join(format!("{number:05} {name}")), bytes).unwrap();
            }
        }
    }
    seen.len()
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut todo) = (BTreeMap::new(), vec![folder.to_path_buf()]);
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

fn words(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}

#[test]
fn a_vault_of_real_markdown_comes_out_as_it_went_in() {
    let dir = TempDir::new().unwrap();
    let (vault, out) = (dir.path().join("vault"), dir.path().join("out"));
    let count = collect(&vault);
    assert!(count > 40, "only {count} files");
    let options = InitOptions { device_name: "laptop".into(), person_name: "Ana".into(), relay: None };
    let client = Client::create(&dir.path().join("home"), options).unwrap().0;
    let report = client.import(&vault, &ImportOptions::default(), &mut |_| {}).unwrap();
    let refused = report.entries.iter().filter(|entry| entry.outcome == ImportOutcome::Failed);
    let refused: BTreeMap<_, _> = refused.map(|entry| (entry.path.clone(), entry.reason.clone())).collect();
    for (path, reason) in &refused {
        println!("REFUSED {path}: {reason}");
        assert!(reason.contains("UTF-8") || reason.contains("larger than"), "{path}: {reason}");
    }
    client.export_markdown(&out, &mut |_| {}).unwrap();
    let (given, written) = (files(&vault), files(&out));
    let (mut same, mut space) = (0_u32, 0_u32);
    for (path, bytes) in given.iter().filter(|(path, _)| !refused.contains_key(*path)) {
        let came = written.get(path).unwrap_or_else(|| panic!("{path} is not in the export"));
        if came == bytes {
            same += 1;
        } else {
            assert_eq!(words(came), words(bytes), "{path} differs in more than white space");
            println!("SPACE {path}");
            space += 1;
        }
    }
    let again = client.import(&vault, &ImportOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((again.created, again.updated, again.batch), (0, 0, None));
    println!("VAULT {count} files: {same} byte for byte, {space} but for white space, {} refused", refused.len());
}
