//! The modules: one folder each.
pub mod attachment;
pub mod noted;
pub mod notes;
pub mod rank;
pub mod register;
pub mod space;
