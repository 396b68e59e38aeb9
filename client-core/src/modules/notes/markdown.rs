//! Markdown to a note's body and back, without loss.
// owner: markdown helper
