//! The rows of the target tables.

mod commit;
mod device;
mod join;
mod relay;

use crate::report::Figure;

/// A row: its name and how to measure it.
pub(crate) struct Row {
    /// Name on the command line.
    pub(crate) name: &'static str,
    /// Measures; `true` is the short form.
    pub(crate) run: fn(bool) -> Vec<Figure>,
}

/// Every row.
pub(crate) const ALL: &[Row] = &[
    Row { name: "edit", run: device::edit },
    Row { name: "commit", run: commit::commit },
    Row { name: "import", run: device::import },
    Row { name: "join", run: join::join },
    Row { name: "push", run: relay::push },
    Row { name: "fanout", run: relay::fanout },
    Row { name: "catchup", run: relay::catch_up },
];
