//! Erasing a note, and who may still hold what it said.

use lifeos_sync_protocol::ids::{DocId, SignPk, StreamId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{DeviceKind, Floor};

use super::names::Names;
use super::{Client, ClientError, ErasureHolder, ErasureStatus, compact};
use crate::crypto::SystemRandom;
use crate::engine::wall_ms;
use crate::event::{Event, Origin};
use crate::modules::notes::note;
use crate::registry::NOTE_GENESIS;
use crate::store::{Erasure, ErasureState, Reads};

/// How long an erasure can be taken back, unless it is asked for at once.
pub const UNDO_DAYS: i64 = 7;
const UNDO_MS: i64 = UNDO_DAYS * 24 * 3_600_000;

/// What is to be erased of a note, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErasePlan {
    /// Only what it was before: what it says now goes on in a new note.
    pub history_only: bool,
    /// At once instead of after [`UNDO_DAYS`].
    pub at_once: bool,
}

impl Client {
    /// Plans to erase a note: its text, history and every trace of it, here and on all devices and relays of the space.
    /// Without `history_only` it goes to the trash first; taking it out of there, on any device, takes the plan back.
    /// # Errors
    /// [`ClientError`].
    pub fn note_erase(&self, id: &str, plan: ErasePlan) -> Result<ErasureStatus, ClientError> {
        self.note_erase_at(id, plan, wall_ms())
    }

    /// The same at a time (ms UTC).
    /// # Errors
    /// [`ClientError`].
    pub fn note_erase_at(&self, id: &str, plan: ErasePlan, now_ms: i64) -> Result<ErasureStatus, ClientError> {
        let (doc, space, device) = (self.note_id(id)?, self.space(), self.device());
        let state = self.shared.state();
        if !state.membership.may_write(&device) {
            return Err(ClientError::invalid("you may read this space, not write in it"));
        }
        let mut store = self.shared.store();
        if !store.may_erase(&space, (&state.membership, &device), &doc)? {
            return Err(ClientError::invalid(
                "others have written in this note: an owner or admin of the space may erase it",
            ));
        }
        let ErasePlan { history_only, at_once } = plan;
        let due_ms = if at_once { now_ms } else { now_ms.saturating_add(UNDO_MS) };
        if !history_only && !at_once {
            let (_, commit) = store.write(&space, now_ms, |tx| {
                tx.edit(&doc, NOTE_GENESIS, |doc| Ok::<_, ClientError>(note::trash(doc, now_ms)?))
            })?;
            drop(store);
            self.shared.committed(commit);
            store = self.shared.store();
        }
        store.schedule_erasure(&space, &doc, (history_only, at_once), (due_ms, now_ms))?;
        if at_once {
            let me = (&state.membership, &device);
            let docs = store.erase_due(&space, me, now_ms, &mut SystemRandom::new())?;
            // Readers of this process may still see the old database, or the disk is full: then the next sync does it.
            // The note is gone, whatever becomes of this.
            if let Err(error) = store.scrub() {
                tracing::warn!(%error, "bytes of the erased note may still lie in the files of this home");
            }
            drop(store);
            self.shared.emit(Event::DocumentsChanged { space, docs, origin: Origin::Local });
            self.shared.ring();
        } else {
            drop(store);
        }
        let found = self.erasures_at(now_ms)?.into_iter().find(|erasure| erasure.id == doc.to_string());
        found.ok_or_else(|| ClientError::not_found(format!("note {id}")))
    }

    /// Looks at the clock for planned erasures, and takes what was erased out of the home's files; every sync does so, also
    /// one that reaches no relay. Of the time between two looks a day counts at most.
    /// # Errors
    /// [`ClientError`].
    pub fn tend_erasures_at(&self, now_ms: i64) -> Result<(), ClientError> {
        Ok(crate::engine::erase(&self.shared, now_ms)?)
    }

    /// Takes a planned erasure back; a note that went to the trash for it is restored.
    /// # Errors
    /// [`ClientError::NotFound`] when none is planned any more.
    pub fn note_erase_undo(&self, id: &str) -> Result<DocId, ClientError> {
        let doc = self.note_id(id)?;
        if !self.shared.store().take_back_erasure(&self.space(), &doc)? {
            return Err(ClientError::not_found(format!("a planned erasure of note {id}")));
        }
        self.note_trash(&doc.to_string(), false)?;
        Ok(doc)
    }

    /// Forgets what was typed elsewhere in a note of which only the history was erased ([`ErasureStatus::late_text`]): the
    /// person has taken what they want of it.
    /// # Errors
    /// [`ClientError::NotFound`] when there is none.
    pub fn note_erase_seen(&self, id: &str) -> Result<(), ClientError> {
        let (mut store, space) = (self.shared.store(), self.space());
        let prefix = id.trim().to_ascii_lowercase();
        let mut found = store.reads().erasures(&space)?;
        found.retain(|erasure| !erasure.late.is_empty() && erasure.doc.to_string().starts_with(&prefix));
        match found.as_slice() {
            [one] => Ok(store.forget_typed(&space, &one.doc).map(drop)?),
            [] => Err(ClientError::not_found(format!("anything typed elsewhere in an erased note {id}"))),
            _ => Err(ClientError::invalid(format!("more than one note begins with {id}: give more characters"))),
        }
    }

    /// Notes that are erased or are to be, with who may still hold what they said.
    /// # Errors
    /// [`ClientError`].
    pub fn erasures(&self) -> Result<Vec<ErasureStatus>, ClientError> {
        self.erasures_at(wall_ms())
    }

    /// The same at a time (ms UTC).
    /// # Errors
    /// [`ClientError`].
    pub fn erasures_at(&self, now_ms: i64) -> Result<Vec<ErasureStatus>, ClientError> {
        let space = self.space();
        let records = self.shared.store().records(&space)?;
        let (names, state) = (self.names_by(&records)?, self.shared.state());
        let reader = self.shared.reader();
        let report =
            Report { client: self, reads: reader.reads(), names: &names, membership: &state.membership, now_ms };
        report.reads.erasures(&space)?.iter().map(|erasure| report.of(erasure)).collect()
    }
}

/// What a report is made from.
struct Report<'r> {
    client: &'r Client,
    reads: Reads<'r>,
    names: &'r Names,
    membership: &'r Membership,
    now_ms: i64,
}

impl Report<'_> {
    fn of(&self, erasure: &Erasure) -> Result<ErasureStatus, ClientError> {
        let (state, due_ms, told) = match erasure.state {
            ErasureState::Scheduled { due_ms } => ("scheduled", Some(due_ms), None),
            ErasureState::Untold => ("untold", None, None),
            ErasureState::Told { device, stream, seq } => ("told", None, Some((device, stream, seq))),
            ErasureState::ByCheckpoint => ("by_checkpoint", None, None),
        };
        let is_done = due_ms.is_none();
        let effective_ms = match told {
            Some((_, stream, seq)) => self.effective_ms(&stream, seq)?,
            None => None,
        };
        Ok(ErasureStatus {
            id: erasure.doc.to_string(),
            state: state.to_owned(),
            due_ms,
            since_ms: erasure.since_ms,
            history_only: erasure.keeps_text || erasure.successor.is_some(),
            successor: erasure.successor.map(|doc| doc.to_string()),
            unsent_edits: erasure.unsent,
            late_text: erasure.late.clone(),
            effective_ms,
            devices: if is_done { self.devices(told, erasure.since_ms)? } else { Vec::new() },
            relays: if is_done { self.relays(told, effective_ms)? } else { Vec::new() },
        })
    }

    /// From when on a checkpoint behind the erasure may be pruned by; `None`: none is endorsed.
    fn effective_ms(&self, stream: &StreamId, seq: u32) -> Result<Option<i64>, ClientError> {
        let reaches = |cut: &[Floor]| cut.iter().any(|floor| floor.stream == *stream && floor.seq >= seq);
        let behind = self.membership.checkpoints.iter().filter(|(_, made)| reaches(&made.cut));
        let mut first = None;
        for (id, _) in behind {
            let at = compact::effective_ms(&self.client.shared, &self.reads, id)?;
            first = first.into_iter().chain(at).min();
        }
        Ok(first)
    }

    fn devices(&self, told: Option<(SignPk, StreamId, u32)>, since_ms: i64) -> Result<Vec<ErasureHolder>, ClientError> {
        let (space, own) = (self.client.space(), self.client.device());
        let confirmed = match told {
            Some((_, stream, _)) => self.reads.confirmed_through(&space, &stream)?,
            None => Default::default(),
        };
        let heard = self.reads.confirmations(&space)?;
        let in_force = self.membership.devices.iter().filter(|(_, device)| device.removed_by.is_none());
        let holder = |key: &SignPk| {
            let is_author = told.is_some_and(|(device, ..)| device == *key);
            let has_taken = told.is_some_and(|(_, _, seq)| confirmed.get(key).is_some_and(|through| *through >= seq));
            let heard_ms = heard.iter().find(|said| said.device == *key).map(|said| said.heard_ms);
            let (state, text) = match (key, heard_ms) {
                (key, _) if *key == own => ("erased", "has erased it".to_owned()),
                _ if is_author => ("erased", "has erased it, and asked the others to".to_owned()),
                (_, _) if has_taken => ("confirmed", "has said that it took the erasure in".to_owned()),
                (_, Some(heard_ms)) if heard_ms >= since_ms => (
                    "asked",
                    "was heard of since, and has not said that it took the erasure in: it may hold it".to_owned(),
                ),
                (_, Some(_)) => {
                    ("not_heard", "was not heard of since it was erased: it holds it as far as is known".to_owned())
                }
                (_, None) => ("not_heard", "was never heard of: it may hold it".to_owned()),
            };
            let name = self.names.device(key);
            ErasureHolder { id: key.to_string(), name, state: state.to_owned(), text, heard_ms }
        };
        let holders = in_force.filter(|(_, device)| device.kind != DeviceKind::Recovery).map(|(key, _)| holder(key));
        Ok(holders.collect())
    }

    fn relays(
        &self,
        told: Option<(SignPk, StreamId, u32)>,
        effective_ms: Option<i64>,
    ) -> Result<Vec<ErasureHolder>, ClientError> {
        let space = self.client.space();
        let own = self.client.device();
        let relays = self.reads.relays(&space)?;
        let holder = |relay: &crate::store::RelayState| {
            let has = match told {
                Some((device, stream, seq)) if device == own => self.reads.own_held_by(&space, relay, &stream)? >= seq,
                told => told.is_some(),
            };
            let (state, text) = match effective_ms {
                _ if !has => ("not_told", "was not given the erasure: it holds the sealed edits"),
                None => ("told", "holds the sealed edits until a checkpoint without them is endorsed"),
                Some(at) if at > self.now_ms => {
                    ("waiting", "holds the sealed edits until the checkpoint without them takes effect")
                }
                Some(_) => ("may_forget", "may delete the sealed edits now; this device cannot see whether it has"),
            };
            Ok(ErasureHolder {
                id: relay.url.clone(),
                name: relay.url.clone(),
                state: state.to_owned(),
                text: text.to_owned(),
                heard_ms: relay.synced_ms,
            })
        };
        relays.iter().map(holder).collect()
    }
}
