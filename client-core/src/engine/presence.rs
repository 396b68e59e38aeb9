//! Who is here, as an open home sees it: one view for all its connections, of which each says what is due to all relays.
//!
//! Nothing of it touches the disk, and nothing waits for it: what a slow connection misses, the next message says again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use lifeos_sync_protocol::ids::{SignPk, StreamId};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::Shared;
use crate::crypto::{SystemRandom, random_bytes};
use crate::event::Event;
use crate::keys::receipt_key;
use crate::presence::{self, Outgoing, Presences, Shown};

/// Sealed messages that a connection may lag behind.
const WAITING_MAX: usize = 8;

/// The view, and the bells of those who keep it.
pub(crate) struct LivePresence {
    began: Instant,
    view: Mutex<Presences>,
    /// Rings when what is shown here changed.
    changed: watch::Sender<()>,
    /// What every live connection sends.
    sealed: broadcast::Sender<Vec<u8>>,
    /// Syncing ends: each connection says goodbye.
    leaving: AtomicBool,
}

impl LivePresence {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            view: Mutex::new(Presences::new(random_bytes(&mut SystemRandom::new()))),
            changed: watch::Sender::new(()),
            sealed: broadcast::channel(WAITING_MAX).0,
            leaving: AtomicBool::new(false),
        }
    }

    fn view(&self) -> MutexGuard<'_, Presences> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Shows this while syncing live, or nothing any more.
    pub(crate) fn show(&self, shown: Option<Shown>) {
        self.view().show(shown);
        self.changed.send_replace(());
    }

    /// The others that are here, what they show, and how many milliseconds ago that was heard.
    pub(crate) fn here(&self) -> Vec<(SignPk, Shown, u64)> {
        self.view().here(self.now_ms()).collect()
    }

    /// A connection is live: who is behind it is told.
    pub(super) fn arrive(&self) {
        self.view().arrive();
    }

    /// Whether the connections that stop now say goodbye.
    pub(super) fn set_leaving(&self, leaving: bool) {
        self.leaving.store(leaving, Ordering::Relaxed);
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn outgoing(&self) -> broadcast::Receiver<Vec<u8>> {
        self.sealed.subscribe()
    }
}

impl Shared {
    /// Says what is due, for all connections, and forgets who is gone; in how many milliseconds there is more to do.
    pub(super) fn keep_presence(&self, own: (StreamId, [u8; 32])) -> Option<u64> {
        let (state, now_ms) = (self.state(), self.presence.now_ms());
        let mut view = self.presence.view();
        let due = view.poll(now_ms);
        let changed = view.expire(now_ms, |device| state.membership.may_read(device));
        let next_ms = view.next_ms(now_ms);
        drop(view);
        if let Some(sealed) = due.and_then(|due| self.seal_presence(own, due)) {
            // Without a live connection, nobody hears it.
            let _ = self.presence.sealed.send(sealed);
        }
        if changed {
            self.emit(Event::PresenceChanged { space: self.space });
        }
        next_ms.map(|next_ms| next_ms.saturating_sub(now_ms))
    }

    /// Takes in what another device says, if it may and there is time for it.
    pub(super) fn hear_presence(&self, bytes: Vec<u8>) {
        let (state, now_ms) = (self.state(), self.presence.now_ms());
        let admitted = {
            let mut view = self.presence.view();
            view.is_showing() && view.admit(now_ms)
        };
        let Some(current) = state.membership.current_epoch().filter(|_| admitted) else { return };
        match presence::open(&self.space, &state.membership, &state.keyring, current, bytes) {
            Ok(opened) if opened.device == self.device => {}
            Ok(opened) => {
                if self.presence.view().hear(&opened, now_ms) {
                    self.emit(Event::PresenceChanged { space: self.space });
                }
            }
            Err(refused) => tracing::debug!(%refused, "presence is passed over"),
        }
    }

    /// The goodbye of a connection that stops, if syncing ends and anything was said.
    pub(super) fn goodbye(&self, own: (StreamId, [u8; 32])) -> Option<Vec<u8>> {
        if !self.presence.leaving.load(Ordering::Relaxed) {
            return None;
        }
        let last = self.presence.view().leave(self.presence.now_ms());
        self.emit(Event::PresenceChanged { space: self.space });
        last.and_then(|last| self.seal_presence(own, last))
    }

    /// Without a key that may be used nothing is said.
    fn seal_presence(&self, (stream, r32): (StreamId, [u8; 32]), due: Outgoing) -> Option<Vec<u8>> {
        let state = self.state();
        let own = state.own_keys(&self.keys);
        let key = receipt_key(&self.device, own, &state.membership, &state.keyring).ok()?;
        let place = (stream, due.count);
        let mut random = SystemRandom::new();
        presence::seal(&self.space, place, &self.keys, &key, &due.into_presence(r32), &mut random)
            .inspect_err(|error| tracing::warn!(%error, "presence cannot be sealed"))
            .map(|sealed| sealed.bytes)
            .ok()
    }
}
