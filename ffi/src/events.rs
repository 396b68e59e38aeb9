//! Events as a stream that the host pulls.

use std::sync::Arc;

use lifeos_client_core::client::Subscription;
use lifeos_client_core::event::{Event, Origin, SyncState};
use tokio::sync::{Mutex, watch};

use crate::error::LifeOsError;

/// Events handed over at once at most, whatever the host asks for.
const EVENTS_MAX: u32 = 1000;

/// What happened; each is told after it is durable.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum SyncEvent {
    /// Documents changed.
    DocumentsChanged {
        /// Space, hex.
        space: String,
        /// Documents, hex.
        docs: Vec<String>,
        /// From another device.
        remote: bool,
    },
    /// Not connected.
    Waiting {
        /// Until the next try.
        retry_ms: i64,
        /// Why, in words.
        reason: String,
    },
    /// Connecting.
    Connecting,
    /// Catching up.
    CatchingUp {
        /// Items received.
        received: i64,
        /// Items known to exist.
        total: i64,
    },
    /// Everything sent and received; listening.
    Live,
    /// Something that cannot be trusted was set aside.
    Quarantined {
        /// Envelope, hex.
        envelope: String,
        /// Why, in words.
        reason: String,
    },
    /// Members or devices changed.
    MembershipChanged {
        /// Space, hex.
        space: String,
    },
    /// Who is here, or where, changed: ask for the presence.
    PresenceChanged {
        /// Space, hex.
        space: String,
    },
    /// Events were dropped because nobody pulled: read everything again.
    Lagged,
    /// Something this version of the bindings has no name for.
    Other,
}

/// A stream of events for one reader.
#[derive(uniffi::Object)]
pub struct EventStream {
    events: Mutex<Subscription>,
    stopped: watch::Receiver<bool>,
    ended: watch::Sender<bool>,
}

impl EventStream {
    pub(crate) fn new(events: Subscription, stopped: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self { events: Mutex::new(events), stopped, ended: watch::channel(false).0 })
    }
}

#[uniffi::export]
impl EventStream {
    /// Waits for an event and returns it with those behind it, at most `max`. An empty list is the end. A host
    /// that stops waiting loses nothing: an event is taken only when it is handed over.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub async fn next_events(&self, max: u32) -> Result<Vec<SyncEvent>, LifeOsError> {
        // Not on the runtime: a task there would go on taking events after the host gave up.
        let (mut stopped, mut ended) = (self.stopped.clone(), self.ended.subscribe());
        let first = tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => None,
            _ = ended.wait_for(|ended| *ended) => None,
            event = self.first() => event,
        };
        let Some(first) = first else { return Ok(Vec::new()) };
        Ok(self.with_following(first, max).await)
    }

    /// Ends the stream; whoever waits gets an empty list.
    ///
    /// # Errors
    /// [`LifeOsError`].
    pub fn stop(&self) -> Result<(), LifeOsError> {
        self.ended.send_replace(true);
        Ok(())
    }
}

impl EventStream {
    async fn first(&self) -> Option<Event> {
        self.events.lock().await.next().await
    }

    async fn with_following(&self, first: Event, max: u32) -> Vec<SyncEvent> {
        let mut events = self.events.lock().await;
        let following = std::iter::from_fn(|| events.try_next());
        std::iter::once(first).chain(following).take(max.clamp(1, EVENTS_MAX) as usize).map(Into::into).collect()
    }
}

impl From<Event> for SyncEvent {
    fn from(event: Event) -> Self {
        match event {
            Event::DocumentsChanged { space, docs, origin } => Self::DocumentsChanged {
                space: space.to_string(),
                docs: docs.iter().map(ToString::to_string).collect(),
                remote: origin == Origin::Remote,
            },
            Event::Sync { state, .. } => state.into(),
            Event::Quarantined { envelope, reason, .. } => Self::Quarantined { envelope: envelope.to_string(), reason },
            Event::MembershipChanged { space } => Self::MembershipChanged { space: space.to_string() },
            Event::PresenceChanged { space } => Self::PresenceChanged { space: space.to_string() },
            Event::Lagged => Self::Lagged,
            _ => Self::Other,
        }
    }
}

impl From<SyncState> for SyncEvent {
    fn from(state: SyncState) -> Self {
        match state {
            SyncState::Waiting { retry_ms, reason } | SyncState::Blocked { retry_ms, reason, .. } => {
                Self::Waiting { retry_ms: retry_ms.cast_signed(), reason }
            }
            SyncState::Connecting => Self::Connecting,
            SyncState::CatchingUp { received, total } => {
                Self::CatchingUp { received: received.cast_signed(), total: total.cast_signed() }
            }
            SyncState::Live => Self::Live,
            _ => Self::Other,
        }
    }
}
