//! Reminders: tasks with the days they begin, are due and are too late, how they repeat, what was done of them, and what
//! rings (modules.md §3, §11).
//!
//! | file | what |
//! |---|---|
//! | `declared` | what tasks, lists, what was said of rings, and settings are made of |
//! | `when` | days and times as documents hold them |
//! | `facts` | what is known of a task's times, and what follows: what is due next, what rings |
//! | `project` | the columns that follow from several fields |
//! | `edit` | what people do |
//! | `tree` | what is part of what, and what waits for what |
//!
//! What is done of a task that repeats is an entry of its log; what is due next is derived from it each time somebody asks
//! ([decision 0027](../../../../docs/decisions/0027-what-is-due-is-derived.md)).

pub mod declared;
pub mod edit;
pub mod facts;
mod project;
pub mod tree;
pub mod when;

#[cfg(test)]
mod tests;
