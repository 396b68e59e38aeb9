//! One connection's state machine: `handle` takes what arrived, `poll` gives what to do (protocol §4.2).
// owner: engine helper
