//! The engine: drives sessions over transports against the store.
