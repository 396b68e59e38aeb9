//! The modules: one folder each.
pub mod notes;
pub mod rank;
pub mod register;
pub mod space;
