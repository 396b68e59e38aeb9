//! A device as a process of its own: makes notes and syncs, and prints a line only after each was acknowledged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write as _;
use std::path::Path;

use lifeos_client_core::client::{Client, ClientError, NoteDraft};

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // One write, flushed: the line is out before anything else happens.
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("stdout is open");
}

fn main() -> Result<(), ClientError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["insert", home, note, count, mark] => {
            insert(&Client::open(Path::new(home))?, note, count.parse().expect("a count"), mark)
        }
        ["edit-sync", home, count, prefix] => {
            edit(&Client::open(Path::new(home))?, count.parse().expect("a count"), prefix, &runtime)
        }
        ["sync", home] => {
            let client = Client::open(Path::new(home))?;
            runtime.block_on(client.sync(&mut |_| {}))?;
            say("DONE");
            Ok(())
        }
        _ => panic!("usage: lifeos-worker edit-sync HOME COUNT PREFIX | insert HOME NOTE COUNT MARK | sync HOME"),
    }
}

/// Edits of one note, one durable commit each; `mark` tells whose they are.
fn insert(client: &Client, note: &str, count: u32, mark: &str) -> Result<(), ClientError> {
    for index in 0..count {
        // Whoever waits for the other process for ten seconds is told to try again; nothing was written then.
        while let Err(error) = client.note_splice(note, 0, 0, &format!("{mark}{index} ")) {
            if !error.is_transient() {
                return Err(error);
            }
        }
        say(&format!("ACK {mark}{index}"));
    }
    say("DONE");
    Ok(())
}

/// Every note gets a body and one later edit; each step is acknowledged on its own line.
fn edit(client: &Client, count: u32, prefix: &str, runtime: &tokio::runtime::Runtime) -> Result<(), ClientError> {
    for index in 0..count {
        let title = format!("{prefix}-{index}");
        let body = format!("first line of {title}\n");
        let id =
            client.note_create(NoteDraft { title: title.clone(), markdown: body.clone(), ..NoteDraft::default() })?;
        say(&format!("ACK {title}"));
        client.note_set_markdown(&id.to_string(), &format!("{body}second line of {title}\n"))?;
        say(&format!("EDITED {title}"));
        runtime.block_on(client.sync(&mut |_| {}))?;
        say(&format!("SYNCED {title}"));
    }
    say("DONE");
    Ok(())
}
