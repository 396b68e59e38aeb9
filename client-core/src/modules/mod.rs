//! The modules: one folder each.
pub mod notes;
