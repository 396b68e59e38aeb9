//! Linking a device: both sides as pure state machines over rendezvous messages (protocol §7.1, amendment 2).
// owner: crypto helper
