//! A connection's part in presence: it sends what the home says, and hands on what comes.

use std::time::Duration;

use lifeos_sync_protocol::ids::StreamId;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::{Connection, Mode, Output, Shared};
use crate::session::Input;

/// What a connection knows of presence.
pub(super) struct Presence {
    /// The own stream and what its id commits to: whose the messages are.
    own: (StreamId, [u8; 32]),
    /// When there is something to do.
    pub(super) due: Option<Instant>,
    pub(super) changes: watch::Receiver<()>,
    pub(super) outgoing: broadcast::Receiver<Vec<u8>>,
}

impl Presence {
    pub(super) fn new(shared: &Shared, own: (StreamId, [u8; 32])) -> Self {
        Self { own, due: None, changes: shared.presence.changes(), outgoing: shared.presence.outgoing() }
    }
}

impl Connection<'_> {
    /// The end of the log was reached: whoever is there is told who is here.
    pub(super) fn arrive(&mut self) {
        if self.mode == Mode::Live {
            self.shared.presence.arrive();
            self.keep_presence();
        }
    }

    pub(super) fn keep_presence(&mut self) {
        let next_ms = self.shared.keep_presence(self.presence.own);
        self.presence.due = next_ms.map(|next_ms| Instant::now() + Duration::from_millis(next_ms));
    }

    /// `None`: this connection was too slow for some; the next message says it all again.
    pub(super) fn say_presence(&mut self, sealed: Option<Vec<u8>>) {
        if let Some(sealed) = sealed {
            self.session.handle(Input::Presence(sealed));
        }
    }

    pub(super) fn hear_presence(&mut self, bytes: Vec<u8>) {
        if self.mode == Mode::Live && self.tally.was_live {
            self.shared.hear_presence(bytes);
            self.keep_presence();
        }
    }

    /// The last frame before the writer ends.
    pub(super) fn say_goodbye(&mut self) {
        if self.mode != Mode::Live || !self.tally.was_live {
            return;
        }
        self.say_presence(self.shared.goodbye(self.presence.own));
        while let Some(output) = self.session.poll() {
            if let Output::Send(frame) = output
                && let Some(writer) = &self.to_writer
            {
                let _ = writer.send(frame);
            }
        }
    }
}
