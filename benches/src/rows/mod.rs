//! The rows of the target tables.

pub(crate) mod attachments;
#[cfg(feature = "sqlcipher")]
mod cipher;
mod commit;
mod device;
mod join;
mod keys;
mod lag;
mod relay;
mod watch;

use crate::report::Figure;

/// Takes a figure as soon as it is measured: some rows take minutes.
pub(crate) type Tell<'t> = &'t mut dyn FnMut(Figure);

/// A row: its name and how to measure it.
pub(crate) struct Row {
    /// Name on the command line.
    pub(crate) name: &'static str,
    /// Measures; `true` is the short form.
    pub(crate) run: fn(bool, Tell<'_>),
}

/// Every row.
pub(crate) const ALL: &[Row] = &[
    Row { name: "edit", run: |short, tell| device::edit(short).into_iter().for_each(tell) },
    Row { name: "commit", run: |short, tell| commit::commit(short).into_iter().for_each(tell) },
    Row { name: "watch", run: |short, tell| watch::watch(short).into_iter().for_each(tell) },
    Row { name: "typing", run: |short, tell| commit::typing(short).into_iter().for_each(tell) },
    Row { name: "import", run: |short, tell| device::import(short).into_iter().for_each(tell) },
    Row { name: "join", run: join::join },
    Row { name: "bootstrap", run: join::bootstrap },
    Row { name: "lag", run: lag::lag },
    Row { name: "million", run: join::million },
    Row { name: "attachments", run: attachments::attachments },
    Row { name: "keys", run: |short, tell| keys::keys(short).into_iter().for_each(tell) },
    Row { name: "push", run: |short, tell| relay::push(short).into_iter().for_each(tell) },
    Row { name: "fanout", run: |short, tell| relay::fanout(short).into_iter().for_each(tell) },
    Row { name: "catchup", run: |short, tell| relay::catch_up(short).into_iter().for_each(tell) },
    #[cfg(feature = "sqlcipher")]
    Row { name: "cipher", run: |short, tell| cipher::cipher(short).into_iter().for_each(tell) },
];
