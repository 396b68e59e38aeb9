//! Events for whoever asks for them; nobody can slow the engine down by not listening.

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::Client;
use crate::event::Event;

/// A stream of events for one subscriber, bounded: a slow one gets [`Event::Lagged`].
#[derive(Debug)]
pub struct Subscription {
    events: Receiver<Event>,
}

impl Subscription {
    /// Waits for the next event; `None` after the client is gone.
    pub async fn next(&mut self) -> Option<Event> {
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(_)) => Some(Event::Lagged),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event if one is there.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.events.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Lagged(_)) => Some(Event::Lagged),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

impl Client {
    /// Events from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription { events: self.shared.subscribe() }
    }
}
