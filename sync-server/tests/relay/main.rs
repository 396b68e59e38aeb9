//! The relay over real sockets: what devices rely on, and what hostile peers must not reach.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

/// What the folder's database alone does.
macro_rules! on_a_folder_only {
    ($($item:item)*) => { $($item)* };
}

mod fixture;
mod floods;
mod full;
mod guests;
mod hostile;
mod limits;
mod mailboxes;
mod membership;
mod objects;
mod parked;
mod place;
mod program;
mod pruning;
mod receipts;
mod removal;
mod restart;
mod slow;
mod statements;
mod sync;
mod wakeups;
