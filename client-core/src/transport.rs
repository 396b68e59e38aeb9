//! Carriers of frames: websocket to a relay, and an in-memory pair for tests.
