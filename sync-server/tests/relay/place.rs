//! Where the relays of these tests store: each in its folder.

use std::path::Path;

use lifeos_sync_server::{Config, Stats};

/// A relay of this folder, on a free port.
pub fn local(folder: &Path) -> Config {
    Config::local(folder)
}

pub async fn stats(folder: &Path) -> Stats {
    lifeos_sync_server::stats(folder).unwrap()
}

/// A number that a statement answers.
pub fn count(folder: &Path, sql: &str) -> i64 {
    let db = rusqlite::Connection::open(folder.join("relay.db")).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}
