//! Sealing parts of attachments anew after a removal: what a removed device was given no longer opens what relays hold.
//!
//! ```text
//! held, attached, under a key that a removed device had ─▶ whose turn it is ─▶ some parts at a look, each on the disk at once
//!     ─▶ a content is whole again ─▶ its list is written ─▶ OFFER; the next checkpoint leaves the old parts out
//! ```

use std::time::Duration;

use lifeos_sync_protocol::ids::EnvelopeId;
use lifeos_sync_protocol::membership::Membership;
use tokio::time::Instant;

use super::{EngineError, Worker};
use crate::crypto::SystemRandom;
use crate::engine::jobs::{Job, JobKind};
use crate::engine::rotation::DAY_MS;
use crate::engine::sealing;
use crate::engine::shared::wall_ms;
use crate::envelope::seal_object;
use crate::keys::SealKey;
use crate::modules::attachment::{attachment_doc, decode_part, part_lists, set_parts};
use crate::registry::ATTACHMENT_GENESIS;
use crate::session::Input;
use crate::store::{ExposedAttachment, Step, StoreError};

/// Parts that are sealed at one look: the next ones follow with the next look, or the next sync.
const PARTS_MAX: usize = 256;
/// It is left to whoever makes the next checkpoint for so long.
const LEFT_MS_MAX: i64 = DAY_MS;
/// How long it is left at that when there was no room.
const AGAIN: Duration = Duration::from_secs(3_600);

/// What became of a content.
enum Resealed {
    /// Its list is written.
    Whole,
    /// There is more to do, another time.
    Begun,
    /// It cannot be read: another device may hold it whole.
    Unfit,
}

impl Worker<'_> {
    /// Seals anew what somebody who was removed can open, if it is this device's turn or somebody asked for a
    /// checkpoint; whether something is under way because of it.
    pub(super) fn reseal_parts(&mut self, asked: bool) -> Result<bool, EngineError> {
        if self.attachments.reseal_at.is_some_and(|at| Instant::now() < at) {
            return Ok(false);
        }
        let (state, space) = (self.shared.state(), self.shared.space);
        let membership = &state.membership;
        let exposed = self.shared.store().reads().exposed_attachments(&space, membership, wall_ms())?;
        if exposed.is_empty() || membership.closed.is_some() {
            return Ok(false);
        }
        let key = match state.seal_key(&self.shared.keys) {
            Ok(key) if sealing::check_taken(self.shared, membership, key.epoch()).is_ok() => key,
            _ => return Ok(false),
        };
        if !asked && !self.is_turn_to_reseal(membership, &key)? {
            return Ok(false);
        }
        // One at a time, whatever the number of relays.
        let Ok(_turn) = self.shared.upkeep.try_lock() else { return Ok(false) };
        let begun = self.shared.begin_job(JobKind::Reseal, &self.shared.reader().reads())?;
        let Some(job) = begun else { return Ok(false) };
        match self.reseal(&exposed, &key, &job) {
            Ok(true) => {
                self.seal_all()?;
                self.answer(Input::ObjectsChanged);
                Ok(true)
            }
            Err(EngineError::Store(error @ StoreError::DiskFull)) => {
                tracing::warn!(%error, "attachments are not sealed anew after a removal: it is tried again later");
                self.attachments.reseal_at = Some(Instant::now() + AGAIN);
                Ok(false)
            }
            outcome => outcome,
        }
    }

    /// Whether a checkpoint is due that is this device's to make, or it has been left undone for a day and this device is
    /// the next: whoever makes checkpoints may not hold the bytes.
    fn is_turn_to_reseal(&mut self, membership: &Membership, key: &SealKey) -> Result<bool, EngineError> {
        let (space, now_ms) = (self.shared.space, wall_ms());
        let Some(own) = membership.devices.get(&self.shared.device) else { return Ok(false) };
        let mut store = self.shared.store();
        if store.checkpoint_due(&space, now_ms)?.is_some() {
            let since_ms = store.due_since(&space, now_ms)?;
            if self.is_turn(&store, membership, since_ms)? {
                return Ok(true);
            }
        }
        let since_ms = store.key_clock(&space, (Some(key.epoch()), own.hpke_pk), now_ms)?.epoch_since_ms;
        let left_ms = since_ms.saturating_add(LEFT_MS_MAX);
        Ok(now_ms >= left_ms && self.is_turn(&store, membership, left_ms)?)
    }

    /// The same for some parts; whether a list was written.
    fn reseal(&self, exposed: &[ExposedAttachment], key: &SealKey, job: &Job<'_>) -> Result<bool, EngineError> {
        let (mut left, mut has_written) = (PARTS_MAX, false);
        let mut all: u64 = exposed.iter().map(|content| content.exposed.len() as u64).sum();
        for content in exposed {
            let before = left;
            match self.reseal_content(content, key, &mut left)? {
                Resealed::Whole => has_written = true,
                Resealed::Unfit => tracing::warn!("an attachment cannot be sealed anew here after a removal"),
                Resealed::Begun => {}
            }
            all = all.saturating_sub(content.exposed.len() as u64);
            job.went((before - left) as u64, all);
            self.shared.tell_jobs()?;
            if self.shared.jobs.is_stopped() || left == 0 {
                break;
            }
        }
        Ok(has_written)
    }

    fn reseal_content(
        &self,
        content: &ExposedAttachment,
        key: &SealKey,
        left: &mut usize,
    ) -> Result<Resealed, EngineError> {
        let (space, hash, mut list) = (self.shared.space, &content.hash, content.list.clone());
        for number in &content.exposed {
            let at = usize::try_from(*number).unwrap_or(usize::MAX);
            let Some(old) = list.parts.get_mut(at) else { return Ok(Resealed::Unfit) };
            // What was sealed before a crash is used.
            let kept = self.shared.store().reads().part_under(&space, (hash, *number), &key.epoch())?;
            *old = match kept {
                Some(id) => id,
                None if *left == 0 || self.shared.jobs.is_stopped() => return Ok(Resealed::Begun),
                None => {
                    *left -= 1;
                    match self.reseal_part(content, (*number, old), key) {
                        Ok(id) => id,
                        Err(StoreError::AttachmentDamaged { .. } | StoreError::AttachmentAway { .. }) => {
                            return Ok(Resealed::Unfit);
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            };
        }
        let doc = attachment_doc(&space, hash);
        let (is_written, commit) = self.shared.store().write(&space, wall_ms(), |tx| {
            tx.step(Step::None);
            tx.edit(&doc, ATTACHMENT_GENESIS, |doc| {
                // Somebody else may have written it meanwhile.
                if part_lists(doc).first() != Some(&content.list) {
                    return Ok(false);
                }
                set_parts(doc, hash, &content.media, &list)?;
                Ok::<_, StoreError>(true)
            })
        })?;
        self.shared.committed(commit);
        Ok(if is_written { Resealed::Whole } else { Resealed::Begun })
    }

    fn reseal_part(
        &self,
        content: &ExposedAttachment,
        (number, old): (u32, &EnvelopeId),
        key: &SealKey,
    ) -> Result<EnvelopeId, StoreError> {
        let (space, state, keys) = (&self.shared.space, self.shared.state(), &self.shared.keys);
        let store = self.shared.store();
        let place = store.part_place(space, key.epoch())?;
        let body = store.reads().part_body(space, old, (&state.membership, &state.keyring))?;
        drop(store);
        let is_right = decode_part(&content.hash, number, &body).is_some();
        if !is_right {
            return Err(StoreError::AttachmentDamaged { what: "a part of something else" });
        }
        let sealed = seal_object(space, &place, keys, key.secret(), &body, &mut SystemRandom::new())?;
        self.shared.store().keep_part(space, &sealed, (&content.hash, number), wall_ms())?;
        Ok(sealed.id)
    }
}
