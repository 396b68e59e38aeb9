//! What the engine tells the world, after the commit that made it true.

use lifeos_sync_protocol::ids::{DocId, EnvelopeId, SignPk, SpaceId};

/// Where a change came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An edit on this device.
    Local,
    /// Another device.
    Remote,
}

/// Connection to a relay, as a person would ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncState {
    /// Not connected; trying again in so many milliseconds.
    Waiting {
        /// Until the next try.
        retry_ms: u64,
        /// Why, in words.
        reason: String,
    },
    /// Not connected until somebody acts: no relay is set, or the one that is set must not be trusted. It is tried
    /// again now and then, for the setting can be put right meanwhile.
    Blocked {
        /// Until the next try.
        retry_ms: u64,
        /// Why, and what to do next, in words.
        reason: String,
        /// Whether the relay must not be trusted.
        untrusted: bool,
    },
    /// Connecting or proving the device key.
    Connecting,
    /// Catching up.
    CatchingUp {
        /// Items received.
        received: u64,
        /// Items known to exist.
        total: u64,
    },
    /// Everything sent and received; listening.
    Live,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Documents changed; the commit is durable.
    DocumentsChanged {
        /// Which space.
        space: SpaceId,
        /// Which documents.
        docs: Vec<DocId>,
        /// Who.
        origin: Origin,
    },
    /// The connection changed.
    Sync {
        /// Which space.
        space: SpaceId,
        /// Address of the relay; empty when it is about none.
        relay: String,
        /// To what.
        state: SyncState,
    },
    /// An envelope was set aside.
    Quarantined {
        /// Which space.
        space: SpaceId,
        /// Which envelope.
        envelope: EnvelopeId,
        /// Why, in words.
        reason: String,
    },
    /// Members or devices changed.
    MembershipChanged {
        /// Which space.
        space: SpaceId,
    },
    /// Who is here, or where they are, changed: ask who is.
    PresenceChanged {
        /// Which space.
        space: SpaceId,
    },
    /// A device of this person was added, here or elsewhere.
    DeviceAdded {
        /// Which space.
        space: SpaceId,
        /// The new device.
        device: SignPk,
        /// The device that let it in.
        by: SignPk,
    },
    /// Events were dropped because the subscriber was too slow: read everything again.
    Lagged,
}

/// One step of long work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressStep {
    /// What is being done: `read`, `import`, `seal`, `push`, `pull`, `join` (documents of a
    /// checkpoint), `usable` (once: what lists and agendas need is here), `pack`, `export`, `index`; of
    /// attachments: `hash`, `attach`, `give` and `fetch` (parts), `write` (bytes).
    pub phase: &'static str,
    /// Done so far.
    pub done: u64,
    /// Out of; 0 if unknown.
    pub total: u64,
}
