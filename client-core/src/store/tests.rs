//! The contract of the store, as tests.
