//! Lines to blocks.
