//! The modules: one folder each. A new one stands in [`MODULES`], and everything else follows from what it declares
//! (docs/MODULES.md).
pub mod articles;
pub mod attachment;
pub mod branch;
pub mod career;
pub mod contacts;
pub mod custom;
pub mod entity;
pub mod goals;
pub mod noted;
pub mod notes;
pub mod rank;
pub mod register;
pub mod reminders;
pub mod space;
#[cfg(test)]
pub(crate) mod specimen;

use crate::registry::Module;

/// Every module.
pub static MODULES: &[&Module] = &[
    &notes::declared::MODULE,
    &space::declared::MODULE,
    &contacts::declared::MODULE,
    &articles::declared::MODULE,
    &custom::declared::MODULE,
    &goals::declared::MODULE,
    &reminders::declared::MODULE,
    &career::declared::MODULE,
    #[cfg(test)]
    &specimen::MODULE,
];
