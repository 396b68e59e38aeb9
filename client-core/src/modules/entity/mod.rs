//! What every entity has in common whose kind declares its fields: writing them, the rows that follow from them, and
//! what merging left that breaks a rule.
//!
//! Operations are small functions on an `AutoCommit`, to be run inside `Document::edit`, as those of notes are; modules
//! build their own operations of them. They refuse what breaks a rule with a typed error. What other devices wrote is
//! never refused: it is shown as it is, and [`project`] marks it.
//!
//! | file | what |
//! |---|---|
//! | `write` | create, set, entries of families, counters, texts, trash |
//! | `given` | all of it as JSON |
//! | `read` | values, texts, counters, entries |
//! | `project` | rows, marks, search text |

mod given;
mod project;
mod read;
mod write;

#[cfg(test)]
#[path = "tests/evolution.rs"]
mod evolution;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use given::apply;
pub(crate) use project::project;
pub use read::{counter, entries, is_edited_after_trash, may_edit, needed_version, text_of, value};
pub use write::{
    Fields, add, add_to_row, create, element, put_row, remove_row, restore, restore_row, set, set_all, set_text,
    splice_text, tag, trash, untag,
};
