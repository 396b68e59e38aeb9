//! The house rules: who may depend on whom, what the relay must not contain, what no file may say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(folder)];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "__pycache__" {
                todo.push(path);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The `[dependencies]` of a manifest, without dev-dependencies.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut section = String::new();
    let mut found = BTreeSet::new();
    for line in read(&root().join(manifest)).lines() {
        if line.starts_with('[') {
            section = line.trim().to_owned();
        } else if section == "[dependencies]" && !line.trim().is_empty() && !line.starts_with('#') {
            found.insert(line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned());
        }
    }
    found
}

/// All crates that a crate's normal dependencies reach, by the lock file's graph.
fn reach(start: &str) -> BTreeSet<String> {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for block in read(&root().join("Cargo.lock")).split("[[package]]") {
        let Some(name) = block.lines().find_map(|line| line.strip_prefix("name = \"")) else { continue };
        let inside = block.split("dependencies = [").nth(1).unwrap_or_default();
        let names = inside
            .lines()
            .filter_map(|line| line.trim().strip_prefix('"'))
            .map(|line| line.split(['"', ' ']).next().unwrap_or_default().to_owned());
        graph.entry(name.trim_end_matches('"').to_owned()).or_default().extend(names);
    }
    let manifest = match start {
        "lifeos-sync-protocol" => "sync-protocol/Cargo.toml",
        "lifeos-sync-server" => "sync-server/Cargo.toml",
        other => panic!("no manifest known for {other}"),
    };
    let mut seen = BTreeSet::new();
    let mut todo: Vec<String> = dependencies(manifest).into_iter().collect();
    while let Some(name) = todo.pop() {
        if seen.insert(name.clone()) && !name.starts_with("lifeos-") {
            todo.extend(graph.get(&name).into_iter().flatten().cloned());
        } else if name == "lifeos-sync-protocol" {
            todo.extend(dependencies("sync-protocol/Cargo.toml"));
        }
    }
    seen
}

#[test]
fn crates_depend_only_downward() {
    let allowed: [(&str, &[&str]); 5] = [
        ("sync-protocol/Cargo.toml", &[]),
        ("client-core/Cargo.toml", &["lifeos-sync-protocol"]),
        ("sync-server/Cargo.toml", &["lifeos-sync-protocol"]),
        ("ffi/Cargo.toml", &["lifeos-client-core"]),
        // The program is the composition root: `demo` runs a relay beside two devices.
        ("cli/Cargo.toml", &["lifeos-client-core", "lifeos-sync-server"]),
    ];
    for (manifest, allowed) in allowed {
        for name in dependencies(manifest).iter().filter(|name| name.starts_with("lifeos-")) {
            assert!(allowed.contains(&name.as_str()), "{manifest} must not depend on {name}");
        }
    }
}

#[test]
fn the_relay_links_no_document_engine_and_no_key_agreement() {
    for start in ["lifeos-sync-server", "lifeos-sync-protocol"] {
        let reached = reach(start);
        assert!(reached.contains("ring"), "the walk over the lock file found nothing");
        for banned in [
            "automerge",
            "hpke",
            "curve25519-dalek",
            "x25519-dalek",
            "chacha20poly1305",
            "aes-gcm",
            "lifeos-client-core",
        ] {
            assert!(!reached.contains(banned), "{start} reaches {banned}");
        }
    }
}

#[test]
fn the_relay_and_the_protocol_call_no_cipher() {
    for file in files("sync-protocol/src", ".rs").into_iter().chain(files("sync-server/src", ".rs")) {
        let text = read(&file);
        for banned in ["ring::aead", "ring::agreement", "hpke::", "aead::"] {
            assert!(!text.contains(banned), "{} names {banned}", file.display());
        }
    }
}

#[test]
fn the_pure_half_touches_no_disk_no_clock_and_no_network() {
    let upper = ["client", "engine", "store", "transport", "import", "export"];
    let banned = ["std::fs", "std::net", "SystemTime", "Instant::now", "rusqlite", "tokio", "thread_rng", "std::env"];
    for file in files("client-core/src", ".rs") {
        let inside = file.strip_prefix(root().join("client-core/src")).unwrap().to_string_lossy().into_owned();
        let first = inside.split(['/', '.']).next().unwrap_or_default().to_owned();
        let is_test = inside.ends_with("/tests.rs") || inside.contains("/tests/");
        if upper.contains(&first.as_str()) || first == "lib" || is_test {
            continue;
        }
        let production = read(&file).split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        for line in production.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in banned {
                assert!(!line.contains(word), "{inside} is pure but says `{}`", line.trim());
            }
            for module in upper {
                assert!(
                    !line.contains(&format!("crate::{module}::")),
                    "{inside} looks upward to {module}: `{}`",
                    line.trim()
                );
            }
        }
    }
}

/// The order of style.md's drawing: a module uses only what stands left of it.
#[test]
fn imports_inside_client_core_point_downward() {
    let order = [
        "fault",
        "simulation",
        "metrics",
        "cbor",
        "delta",
        "event",
        "crypto",
        "keys",
        "keystore",
        "names",
        "nearby",
        "records",
        "recovery",
        "backup",
        "bundle",
        "link",
        "invite",
        "own_devices",
        "recur",
        "quick",
        "notify",
        "goals",
        "filter",
        "watch",
        "envelope",
        "witness",
        "receipt",
        "presence",
        "document",
        "registry",
        "modules",
        "projection",
        "checkpoint",
        "fence",
        "session",
        "store",
        "transport",
        "export",
        "import",
        "engine",
        "client",
        "vectors",
    ];
    let upper_half = order.iter().position(|name| *name == "store").unwrap();
    for file in files("client-core/src", ".rs") {
        let inside = file.strip_prefix(root().join("client-core/src")).unwrap().to_string_lossy().into_owned();
        let first = inside.split(['/', '.']).next().unwrap_or_default().to_owned();
        let Some(own) = order.iter().position(|name| *name == first) else {
            assert_eq!(first, "lib", "{inside}: a new module needs its place in the order");
            continue;
        };
        if own < upper_half {
            continue; // The pure half is held by the test above; its parts share types freely.
        }
        for module in order.iter().skip(own + 1) {
            let production = read(&file).split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            assert!(!production.contains(&format!("crate::{module}::")), "{inside} looks upward to {module}");
        }
    }
}

#[test]
fn every_source_file_opens_with_its_purpose() {
    for folder in ["sync-protocol", "client-core", "sync-server", "ffi", "cli", "tests", "benches", "xtask"] {
        for file in files(folder, ".rs") {
            let text = read(&file);
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            assert!(
                first.starts_with("//!") || text.contains("@generated"),
                "{} does not open with `//!`",
                file.display()
            );
            assert!(text.lines().count() < 900, "{} is too long to read at one go", file.display());
        }
    }
}

#[test]
fn profiles_unwind_because_the_fence_catches_panics() {
    let manifest = read(&root().join("Cargo.toml"));
    assert!(!manifest.contains("panic = \"abort\""));
    assert!(manifest.contains("panic = \"unwind\""));
}

#[test]
fn the_repository_speaks_of_the_project_alone() {
    let banned = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("crates", ".io"),
        concat!("docs", ".rs"),
        concat!("todo", "!("),
    ];
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let endings = [".rs", ".md", ".toml", ".py", ".sh", ".json"];
    // The sample vault is a person's notes, not the project speaking.
    let own = endings
        .iter()
        .flat_map(|ending| files(".", ending))
        .filter(|file| !file.starts_with(root().join("cli/sample")));
    for file in own {
        let text = read(&file);
        for word in banned {
            assert!(!text.contains(word), "{} says `{word}`", file.display());
        }
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            assert!(!marks.contains(&word), "{} leaves a `{word}` behind", file.display());
        }
    }
}
