//! The tests of the relay once more, with every relay's database at a real PostgreSQL server, and several relays at one.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

/// What the folder's database alone does.
macro_rules! on_a_folder_only {
    ($($item:item)*) => {};
}

mod fixture;
mod floods;
mod full;
mod guests;
mod hostile;
mod limits;
mod mailboxes;
mod membership;
mod nodes;
mod objects;
mod parked;
#[path = "postgres.rs"]
mod place;
mod pruning;
mod receipts;
mod removal;
mod restart;
mod slow;
mod statements;
mod sync;
mod wakeups;
