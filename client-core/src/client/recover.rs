//! Recovery from words and a relay address, and what keeps it possible: new words, checked words.
//!
//! The steps are [`crate::recovery`]'s; here they are carried out. A home that a recovery was begun in holds a mark, the
//! public half of the recovery key, until the last step takes it away: it does not open before.

use std::path::Path;
use std::sync::Arc;

use lifeos_sync_protocol::frame::ErrorCode;
use lifeos_sync_protocol::ids::{SignPk, SpaceId};
use lifeos_sync_protocol::record::{DeviceKind, Record};

use super::home::{META_DEVICE_NAME, META_PHRASE_CHECKED, META_RECOVERING};
use super::names::given;
use super::{Client, ClientError, MemberStatus, Progress, ProgressStep};
use crate::crypto::SystemRandom;
use crate::engine::{
    EngineError, Published, Shared, Tally, exchange_records, fetch_records, list_spaces, publish_records, sync_once,
};
use crate::keys::{DeviceRoot, PhraseLength, RecoveryPhrase};
use crate::keystore::system_keystore;
use crate::records::replace_recovery_key;
use crate::recovery::{Recovery, RecoveryError, RecoveryState, RecoveryStep};
use crate::session::SessionError;
use crate::store::{DATABASE_FILE, NewHome, Reader, Store, StoreError, unlock_device_root};
use crate::transport::RelayUrl;

/// What a recovery did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RecoverReport {
    /// The space.
    pub space: String,
    /// This device.
    pub device: String,
    /// Devices that were removed as lost.
    pub devices_removed: u64,
    /// Other people who are in the space: by name, without one by the beginning of the id.
    pub members_other: Vec<String>,
    /// Invitations that still let somebody in, hex.
    pub links_open: Vec<String>,
    /// Notes received.
    pub notes: u64,
    /// Documents received.
    pub documents: u64,
    /// The states that were gone through, in order.
    pub states: Vec<RecoveryState>,
}

/// What is known of a phrase in this space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PhraseStanding {
    /// It recovers the space.
    Current,
    /// It did once, and was replaced.
    Replaced,
    /// It is another space's, or mistyped.
    Unknown,
}

/// Who wants to know how far a recovery is.
pub type Recovering<'a> = &'a mut (dyn FnMut(RecoveryState) + Send);

impl Client {
    /// Whether a recovery was begun in this folder and not finished.
    #[must_use]
    pub fn is_recovering(home: &Path) -> bool {
        Store::open(home).is_ok_and(|store| matches!(store.reads().meta(META_RECOVERING), Ok(Some(_))))
    }

    /// Brings a space to a bare machine: finds it at the relay by the words, receives everything, enrols this device,
    /// removes all others as lost, and makes a new epoch. After a crash or a lost connection the same call goes on where
    /// it was.
    /// # Errors
    /// [`ClientError::Invalid`] for words that open nothing there; [`ClientError::Security`] for records that are not
    /// the space's; [`ClientError::Network`]; [`ClientError::Home`] when there is a home here already.
    pub async fn recover(
        home: &Path,
        relay: &str,
        phrase: &RecoveryPhrase,
        device_name: &str,
        on_state: Recovering<'_>,
        progress: Progress<'_>,
    ) -> Result<(Self, RecoverReport), ClientError> {
        let url: RelayUrl = relay.parse()?;
        let machine = begin(home, given(device_name)?)?;
        let mut driver = Driver { home, url, phrase, device_name, machine, states: Vec::new(), removed: 0 };
        driver.run(on_state, progress).await?;
        let client = Self::open(home)?;
        let member = driver.machine.member()?;
        client.name_device(&member, device_name, "")?;
        client.shared.store().put_meta(META_PHRASE_CHECKED, &[1])?;
        let report = client.recover_report(driver.states, driver.removed)?;
        Ok((client, report))
    }

    fn recover_report(&self, states: Vec<RecoveryState>, devices_removed: u64) -> Result<RecoverReport, ClientError> {
        let others = self.members()?.into_iter().filter(|member| !member.this);
        let called =
            |member: MemberStatus| if member.name.is_empty() { member.member[..8].to_owned() } else { member.name };
        let open = self.invites()?.into_iter().filter(|invite| invite.state == "open");
        let reader = self.shared.reader();
        Ok(RecoverReport {
            members_other: others.map(called).collect(),
            links_open: open.map(|invite| invite.id).collect(),
            space: self.space().to_string(),
            device: self.device().to_string(),
            devices_removed,
            notes: reader.reads().note_count(&self.space())?,
            documents: reader.reads().document_count(&self.space())?,
            states,
        })
    }

    /// A new phrase, not in force before [`Client::replace_recovery_phrase`]: shown and checked first.
    #[must_use]
    pub fn new_recovery_phrase(length: PhraseLength) -> RecoveryPhrase {
        RecoveryPhrase::generate(length, &mut SystemRandom::new())
    }

    /// Puts new words in the place of the old ones: the old recovery key is removed, and a new epoch made that it cannot
    /// open. What the old words can open stays what it was: everything that was sealed before, if somebody kept a copy.
    /// # Errors
    /// [`ClientError`]; without a relay the records wait here for the next sync.
    pub async fn replace_recovery_phrase(&self, phrase: &RecoveryPhrase) -> Result<(), ClientError> {
        let has_relay = !self.shared.store().relays(&self.space())?.is_empty();
        if has_relay {
            // First what others wrote: the new records cite the newest ones.
            exchange_records(&self.shared).await?;
        }
        self.write_recovery_set(phrase)?;
        if has_relay {
            exchange_records(&self.shared).await?;
        }
        Ok(())
    }

    fn write_recovery_set(&self, phrase: &RecoveryPhrase) -> Result<(), ClientError> {
        let state = self.shared.state();
        let own = state.membership.devices.get(&self.device()).filter(|device| device.removed_by.is_none());
        let member = own.map(|own| own.member).ok_or_else(|| ClientError::home(NOT_ENROLLED))?;
        let mut store = self.shared.store();
        let records = store.records(&self.space())?;
        let (own_keys, recovery) = (state.own_keys(&self.shared.keys), phrase.derive_home());
        let random = &mut SystemRandom::new();
        let new = replace_recovery_key(&state.membership, &records, own_keys, member, &recovery, random)
            .map_err(|error| ClientError::invalid(error.to_string()))?;
        store.put_records(&self.space(), &new)?;
        store.put_meta(META_PHRASE_CHECKED, &[1])?;
        Ok(self.shared.refresh_state(&store)?)
    }

    /// What these words are in this space. Asks nobody.
    #[must_use]
    pub fn phrase_standing(&self, phrase: &RecoveryPhrase) -> PhraseStanding {
        let state = self.shared.state();
        match state.membership.devices.get(&phrase.derive_home().sign_pk()) {
            Some(key) if key.kind == DeviceKind::Recovery && key.removed_by.is_none() => PhraseStanding::Current,
            Some(_) => PhraseStanding::Replaced,
            None => PhraseStanding::Unknown,
        }
    }

    /// Remembers that the words were typed back and found right.
    /// # Errors
    /// [`ClientError`].
    pub fn phrase_was_checked(&self) -> Result<(), ClientError> {
        Ok(self.shared.store().put_meta(META_PHRASE_CHECKED, &[1])?)
    }

    /// Whether the words of this space were ever typed back.
    /// # Errors
    /// [`ClientError`].
    pub fn is_phrase_checked(&self) -> Result<bool, ClientError> {
        Ok(self.shared.store().reads().meta(META_PHRASE_CHECKED)?.is_some())
    }
}

pub(super) const NOT_ENROLLED: &str = "this device is not enrolled in its space any more";

/// A new machine, or the one that goes on in a half-recovered home.
fn begin(home: &Path, device_name: &str) -> Result<Recovery, ClientError> {
    if !home.join(DATABASE_FILE).exists() {
        return Ok(Recovery::start(DeviceRoot::generate(&mut SystemRandom::new()), device_name));
    }
    let store = Store::open(home)?;
    let mark = store.reads().meta(META_RECOVERING)?.and_then(|mark| SignPk::from_slice(&mark));
    let begun_by = mark.ok_or(StoreError::HomeExists)?;
    let space = store.reads().spaces()?.into_iter().find(|space| space.home);
    let space = space.ok_or(StoreError::Corrupt { what: "a home that is being recovered" })?.space;
    let root = unlock_device_root(home, system_keystore(), None)?;
    Ok(Recovery::resume(root, device_name, space, begun_by))
}

struct Driver<'a> {
    home: &'a Path,
    url: RelayUrl,
    phrase: &'a RecoveryPhrase,
    device_name: &'a str,
    machine: Recovery,
    states: Vec<RecoveryState>,
    removed: u64,
}

impl Driver<'_> {
    async fn run(&mut self, on_state: Recovering<'_>, progress: Progress<'_>) -> Result<(), ClientError> {
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

    async fn perform(&mut self, step: RecoveryStep, progress: Progress<'_>) -> Result<(), ClientError> {
        match step {
            RecoveryStep::AskWords => self.machine.words(self.phrase)?,
            RecoveryStep::List(_) => {
                let (relay_key, spaces) = list_spaces(&self.url, self.machine.recovery()?).await?;
                // From here on it must be the same relay; AUTH makes it prove the key.
                self.url = self.url.clone().with_key(relay_key);
                self.machine.listed(&spaces)?;
            }
            RecoveryStep::Fetch(space) => {
                let records = fetch_records(&self.url, space, self.machine.recovery()?).await.map_err(refused_key)?;
                self.machine.fetched(records)?;
            }
            RecoveryStep::Check => self.machine.check()?,
            RecoveryStep::BeginHome => {
                self.begin_home()?;
                self.machine.home_begun()?;
            }
            RecoveryStep::FetchContent => self.fetch_content(progress).await?,
            RecoveryStep::Publish(records) => self.publish(&records).await?,
            RecoveryStep::Finish(records) => {
                let mut store = Store::open(self.home)?;
                store.finish_recovery(&self.space()?, &records, META_RECOVERING)?;
                self.machine.finished()?;
            }
            RecoveryStep::Done => {}
        }
        Ok(())
    }

    fn space(&self) -> Result<SpaceId, ClientError> {
        Ok(self.machine.space().ok_or(RecoveryError::OutOfStep)?)
    }

    /// The first thing that is written anywhere.
    fn begin_home(&self) -> Result<(), ClientError> {
        let (root, keys) = self.machine.device()?;
        let mark = self.machine.recovery()?.sign_pk();
        let space = super::home::new_space(self.space()?, keys.sign_pk(), self.machine.records().to_vec());
        let meta: &[(&str, &[u8])] = &[(META_DEVICE_NAME, self.device_name.as_bytes()), (META_RECOVERING, &mark.0)];
        let mut store = Store::create(self.home, &NewHome { root, space, meta })?;
        store.put_relay(&self.space()?, self.url.address(), self.url.key().as_ref())?;
        Ok(())
    }

    /// Receives as the recovery key: the new device is not enrolled yet.
    async fn fetch_content(&mut self, progress: Progress<'_>) -> Result<(), ClientError> {
        let space = self.space()?;
        let mut store = Store::open(self.home)?;
        store.put_relay(&space, self.url.address(), self.url.key().as_ref())?;
        let recovery = self.phrase.derive_home();
        let ids = (space, recovery.sign_pk());
        let keys = (self.machine.device()?.0.clone(), recovery);
        let shared = Shared::new(self.home.to_owned(), store, Reader::open(self.home)?, keys, ids, None)?;
        let shared = Arc::new(shared);
        let mut receiving = |step: ProgressStep| progress(ProgressStep { phase: "receive", ..step });
        sync_once(&shared, &mut receiving, &mut Tally::default()).await?;
        let cuts = shared.store().reads().device_cuts(&space)?;
        self.machine.content_held(cuts)?;
        Ok(())
    }

    async fn publish(&mut self, records: &[Record]) -> Result<(), ClientError> {
        let removals = records
            .iter()
            .filter(|record| matches!(record.body(), lifeos_sync_protocol::record::Body::DeviceRemove { .. }));
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
}

/// A relay that refuses the recovery key says whether it was removed or never there.
fn refused_key(error: EngineError) -> ClientError {
    match error {
        EngineError::Session(SessionError::Refused { code: ErrorCode::Removed, .. }) => RecoveryError::Replaced.into(),
        EngineError::Session(SessionError::Refused { code: ErrorCode::NotMember, .. }) => {
            RecoveryError::UnknownPhrase.into()
        }
        error => error.into(),
    }
}
