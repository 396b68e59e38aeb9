//! Inline marks.
