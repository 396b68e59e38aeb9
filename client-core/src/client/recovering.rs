//! Carries out the steps of a recovery, of a home or of a shared space: network and disk around [`crate::recovery`].
//!
//! A home that a recovery was begun in holds a mark, the public half of the recovery key, until the last step takes it
//! away: it does not open before. A shared space is among those to be recovered until its last step, and does not open
//! before either ([`crate::store`]).

use std::path::Path;
use std::sync::Arc;

use lifeos_sync_protocol::frame::ErrorCode;
use lifeos_sync_protocol::ids::{SignPk, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, DeviceKind, Record};

use super::home::{META_DEVICE_NAME, META_RECOVERING, new_space, space_doc};
use super::{Client, ClientError, Progress, ProgressStep, Recovering};
use crate::crypto::SystemRandom;
use crate::engine::{EngineError, Published, Shared, Tally, fetch_records, list_spaces, publish_records, sync_once};
use crate::keys::{DeviceKeys, RecoveryPhrase};
use crate::modules::noted::noted_spaces;
use crate::recovery::{Recovery, RecoveryError, RecoveryState, RecoveryStep};
use crate::session::SessionError;
use crate::store::{NewHome, Reader, Store, StoreError};
use crate::transport::RelayUrl;

/// Why a recovery did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stopped {
    /// What the words, the relay or its records say.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The relay holds no such space, and would take it for a new one.
    #[error(
        "its relay does not hold the space: it may have lost its data; when somebody who is in the space has synced, run `lifeos recover` again"
    )]
    SpaceAbsent,
    /// The network or the disk.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Client(error.into())
    }
}

impl From<Stopped> for ClientError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Recovery(error) => error.into(),
            Stopped::SpaceAbsent => Self::Network { message: stopped.to_string(), transient: false },
            Stopped::Client(error) => error,
        }
    }
}

/// A relay that refuses the recovery key says whether it was removed or never there.
fn refused_key(error: EngineError) -> Stopped {
    match error {
        EngineError::Session(SessionError::Refused { code: ErrorCode::Removed, .. }) => RecoveryError::Replaced.into(),
        EngineError::Session(SessionError::Refused { code: ErrorCode::NotMember, .. }) => {
            RecoveryError::UnknownPhrase.into()
        }
        error => Stopped::Client(error.into()),
    }
}

/// What is recovered.
pub(super) enum Scope<'a> {
    /// A person's home.
    Home,
    /// A shared space of a home that is back.
    Space {
        /// The home.
        home: &'a Client,
        /// What the home says that the space begins with.
        genesis_random: [u8; 32],
    },
}

/// One recovery being carried out.
pub(super) struct Driver<'a> {
    pub(super) home: &'a Path,
    pub(super) scope: Scope<'a>,
    pub(super) url: RelayUrl,
    pub(super) phrase: &'a RecoveryPhrase,
    pub(super) device_name: &'a str,
    pub(super) machine: Recovery,
    /// The states that were gone through.
    pub(super) states: Vec<RecoveryState>,
    /// Devices that were removed as lost.
    pub(super) removed: u64,
}

impl Driver<'_> {
    pub(super) async fn run(&mut self, on_state: Recovering<'_>, progress: Progress<'_>) -> Result<(), Stopped> {
        loop {
            let state = self.machine.state();
            if self.states.last() != Some(&state) {
                self.states.push(state);
                on_state(state);
            }
            let step = self.machine.poll(&mut SystemRandom::new())?;
            if step == RecoveryStep::Done {
                return Ok(());
            }
            self.perform(step, progress).await?;
        }
    }

    async fn perform(&mut self, step: RecoveryStep, progress: Progress<'_>) -> Result<(), Stopped> {
        match step {
            RecoveryStep::AskWords => self.machine.words(self.phrase)?,
            RecoveryStep::List(_) => {
                let listed = list_spaces(&self.url, self.machine.recovery()?).await;
                let (relay_key, spaces) = listed.map_err(ClientError::from)?;
                // From here on it must be the same relay; AUTH makes it prove the key.
                self.url = self.url.clone().with_key(relay_key);
                self.machine.listed(&spaces)?;
            }
            RecoveryStep::Fetch(space) => {
                let fetched = fetch_records(&self.url, space, self.machine.recovery()?).await.map_err(refused_key);
                let records = match fetched {
                    Err(Stopped::Recovery(why)) => return Ok(self.machine.turned_away(why)?),
                    fetched => fetched?,
                };
                if records.is_empty() && matches!(self.scope, Scope::Space { .. }) {
                    return Err(Stopped::SpaceAbsent);
                }
                self.machine.fetched(records)?;
            }
            RecoveryStep::Check => self.machine.check()?,
            RecoveryStep::BeginHome => {
                self.begin()?;
                self.machine.home_begun()?;
            }
            RecoveryStep::FetchContent => self.fetch_content(progress).await?,
            RecoveryStep::Publish(records) => self.publish(&records).await?,
            RecoveryStep::Finish(records) => {
                self.finish(&records)?;
                self.machine.finished()?;
            }
            RecoveryStep::Done => {}
        }
        Ok(())
    }

    fn space(&self) -> Result<SpaceId, RecoveryError> {
        self.machine.space().ok_or(RecoveryError::OutOfStep)
    }

    /// The first thing that is written anywhere.
    fn begin(&self) -> Result<(), Stopped> {
        let (root, keys) = self.machine.device()?;
        let mark = self.machine.recovery()?.sign_pk();
        let space = new_space(self.space()?, keys.sign_pk(), self.machine.records().to_vec());
        match &self.scope {
            Scope::Home => {
                let meta: &[(&str, &[u8])] =
                    &[(META_DEVICE_NAME, self.device_name.as_bytes()), (META_RECOVERING, &mark.0)];
                let mut store = Store::create(self.home, &NewHome { root, space, meta })?;
                store.put_relay(&self.space()?, self.url.address(), self.url.key().as_ref())?;
            }
            Scope::Space { genesis_random, .. } => {
                Store::open(self.home)?.begin_space_recovery(&space, genesis_random)?;
            }
        }
        Ok(())
    }

    fn recovery_keys(&self) -> DeviceKeys {
        match &self.scope {
            Scope::Home => self.phrase.derive_home(),
            Scope::Space { genesis_random, .. } => self.phrase.derive_space(genesis_random),
        }
    }

    /// Receives as the recovery key: the new device is not enrolled yet.
    async fn fetch_content(&mut self, progress: Progress<'_>) -> Result<(), Stopped> {
        let space = self.space()?;
        let mut store = Store::open(self.home)?;
        store.put_relay(&space, self.url.address(), self.url.key().as_ref())?;
        let recovery = self.recovery_keys();
        let ids = (space, recovery.sign_pk());
        let keys = (self.machine.device()?.0.clone(), recovery);
        let lock = match &self.scope {
            Scope::Home => None,
            Scope::Space { home, .. } => Some(Arc::clone(&home.shared.lock)),
        };
        let shared = Shared::new(self.home.to_owned(), store, Reader::open(self.home)?, keys, ids, lock)?;
        let shared = Arc::new(shared);
        let mut receiving = |step: ProgressStep| progress(ProgressStep { phase: "receive", ..step });
        let received = sync_once(&shared, &mut receiving, &mut Tally::default()).await;
        received.map_err(ClientError::from)?;
        let cuts = shared.store().reads().device_cuts(&space)?;
        self.machine.content_held(cuts)?;
        Ok(())
    }

    async fn publish(&mut self, records: &[Record]) -> Result<(), Stopped> {
        let removals = records.iter().filter(|record| matches!(record.body(), Body::DeviceRemove { .. }));
        let removals = removals.count() as u64;
        let published = publish_records(&self.url, self.space()?, self.machine.recovery()?, records).await;
        let Published { records, refused } = published.map_err(refused_key)?;
        if refused {
            self.machine.refused(records)?;
        } else {
            self.removed += removals;
            self.machine.published(records)?;
        }
        Ok(())
    }

    fn finish(&self, records: &[Record]) -> Result<(), Stopped> {
        let (space, mut store) = (self.space()?, Store::open(self.home)?);
        match self.scope {
            Scope::Home => {
                // All content is here: this is every shared space that any device of the person wrote down.
                let home = Membership::evaluate(&space, records).ok();
                let counts = |device: &SignPk| home.as_ref().is_some_and(|home| was_there(home, records, device));
                let noted = store.read(&space, &space_doc(&space), |doc| noted_spaces(doc.read(), &counts))?;
                let next = noted.unwrap_or_default().into_keys().filter(|other| *other != space).collect();
                store.finish_recovery(&space, records, META_RECOVERING, &next)?;
            }
            Scope::Space { .. } => store.finish_space_recovery(&space, records)?,
        }
        Ok(())
    }
}

/// Whether a device was in force until the words removed it as lost.
fn was_there(home: &Membership, records: &[Record], device: &SignPk) -> bool {
    let Some(known) = home.devices.get(device) else { return false };
    let remover = known.removed_by.and_then(|id| records.iter().find(|record| record.id() == id)).map(Record::author);
    remover.is_none_or(|author| home.devices.get(&author).is_some_and(|author| author.kind == DeviceKind::Recovery))
}
