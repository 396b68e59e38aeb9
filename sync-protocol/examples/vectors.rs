//! Adds missing golden vectors to `sync-protocol/vectors/`; a vector that changed is an error, never rewritten.
#![allow(clippy::unwrap_used, reason = "development code over fixed inputs")]

#[path = "../tests/protocol/generate.rs"]
mod generate;
#[path = "../tests/protocol/kit.rs"]
mod kit;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

fn main() -> io::Result<ExitCode> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let mut changed = 0;
    for file in generate::files() {
        let path = folder.join(file.name);
        let mut text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => format!("# {}\n", file.about),
            Err(error) => return Err(error),
        };
        let (mut added, known) = (String::new(), generate::parse(&text));
        for (name, bytes) in &file.vectors {
            let hex = generate::hex(bytes);
            match known.iter().find(|(known, _)| known == name) {
                None => writeln!(added, "{name} {hex}").unwrap(),
                Some((_, old)) if *old == hex => {}
                Some(_) => {
                    eprintln!("{}: {name} has other bytes now; a released vector never changes", file.name);
                    changed += 1;
                }
            }
        }
        println!("{}: {} added", file.name, added.lines().count());
        text.push_str(&added);
        fs::write(&path, text)?;
    }
    Ok(if changed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
