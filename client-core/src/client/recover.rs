//! Recovery from words and a relay address, and what keeps it possible: new words, checked words.
//!
//! The steps are [`crate::recovery`]'s, `recovering` carries them out: first for the home, then, in `recover_spaces`, for
//! every shared space that the home names.

use std::path::Path;

use lifeos_sync_protocol::ids::SignPk;
use lifeos_sync_protocol::record::DeviceKind;

use super::home::{META_PHRASE_CHECKED, META_RECOVERING};
use super::names::given;
use super::recovering::{Driver, Scope};
use super::{Client, ClientError, Progress, SpaceCover, SpaceRecovery};
use crate::crypto::SystemRandom;
use crate::engine::exchange_records;
use crate::keys::{DeviceRoot, PhraseLength, RecoveryPhrase};
use crate::keystore::system_keystore;
use crate::records::replace_recovery_key;
use crate::recovery::{Recovery, RecoveryState};
use crate::store::{DATABASE_FILE, Store, StoreError, unlock_device_root};
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
    /// The states that the home went through, in order; none when it was back before.
    pub states: Vec<RecoveryState>,
    /// The shared spaces that were to be recovered, and what became of each.
    pub spaces: Vec<SpaceRecovery>,
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

    /// Brings a home to a bare machine: finds it at the relay by the words, receives everything, enrols this device,
    /// removes all others as lost, and makes a new epoch; then the same with every shared space that the words cover.
    /// After a crash or a lost connection the same call goes on where it was, also with shared spaces that are left.
    /// # Errors
    /// [`ClientError::Invalid`] for words that open nothing there; [`ClientError::Security`] for records that are not
    /// the space's; [`ClientError::Network`]; [`ClientError::Home`] when there is a home here already, with nothing left
    /// to recover. What keeps a shared space from coming back is told in the report.
    pub async fn recover(
        home: &Path,
        relay: &str,
        phrase: &RecoveryPhrase,
        device_name: &str,
        on_state: Recovering<'_>,
        progress: Progress<'_>,
    ) -> Result<(Self, RecoverReport), ClientError> {
        let url: RelayUrl = relay.parse()?;
        let device_name = given(device_name)?;
        if Self::has_spaces_to_recover(home) {
            let client = Self::open(home)?;
            let report = client.recover_rest(phrase, on_state, progress).await?;
            return Ok((client, report));
        }
        let machine = begin(home, device_name)?;
        let (scope, states) = (Scope::Home, Vec::new());
        let mut driver = Driver { home, scope, url, phrase, device_name, machine, states, removed: 0 };
        driver.run(on_state, progress).await?;
        let client = Self::open(home)?;
        let member = driver.machine.member()?;
        client.name_device(&member, device_name, "")?;
        client.phrase_was_checked(phrase)?;
        let spaces = client.recover_spaces(phrase, on_state, progress).await?;
        let report = client.recover_report(driver.states, driver.removed, spaces)?;
        Ok((client, report))
    }

    /// Goes on with the shared spaces that are left of a recovery whose home is back.
    /// # Errors
    /// As [`Client::recover_spaces`].
    pub async fn recover_rest(
        &self,
        phrase: &RecoveryPhrase,
        on_state: Recovering<'_>,
        progress: Progress<'_>,
    ) -> Result<RecoverReport, ClientError> {
        let spaces = self.recover_spaces(phrase, on_state, progress).await?;
        self.recover_report(Vec::new(), 0, spaces)
    }

    fn recover_report(
        &self,
        states: Vec<RecoveryState>,
        devices_removed: u64,
        spaces: Vec<SpaceRecovery>,
    ) -> Result<RecoverReport, ClientError> {
        let (members_other, links_open) = self.who_else()?;
        let reader = self.shared.reader();
        Ok(RecoverReport {
            members_other,
            links_open,
            spaces,
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

    /// Puts new words in the place of the old ones, at home and in every shared space: the old recovery keys are
    /// removed, and new epochs made that they cannot open. What the old words can open stays what it was: everything
    /// that was sealed before, if somebody kept a copy. `checked` says that the new words were typed back. Tells which
    /// shared spaces the new words cover.
    /// # Errors
    /// [`ClientError`]; without a relay the home's records wait here for the next sync.
    pub async fn replace_recovery_phrase(
        &self,
        phrase: &RecoveryPhrase,
        checked: bool,
    ) -> Result<Vec<SpaceCover>, ClientError> {
        let home = self.home_client()?;
        let has_relay = !home.shared.store().relays(&home.space())?.is_empty();
        if has_relay {
            // First what others wrote: the new records cite the newest ones.
            exchange_records(&home.shared).await?;
        }
        home.write_cover(&phrase.derive_home(), replace_recovery_key)?;
        home.note_phrase(&phrase.derive_home().sign_pk(), checked)?;
        if has_relay {
            exchange_records(&home.shared).await?;
        }
        home.cover_others(phrase).await
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

    /// Remembers that these words were typed back.
    /// # Errors
    /// [`ClientError`].
    pub fn phrase_was_checked(&self, phrase: &RecoveryPhrase) -> Result<(), ClientError> {
        self.note_phrase(&phrase.derive_home().sign_pk(), true)
    }

    pub(super) fn note_phrase(&self, key: &SignPk, checked: bool) -> Result<(), ClientError> {
        let mark: &[u8] = if checked { key.as_ref() } else { &[] };
        Ok(self.shared.store().put_meta(META_PHRASE_CHECKED, mark)?)
    }

    /// Whether the words that are in force were typed back on this device.
    /// # Errors
    /// [`ClientError`].
    pub fn is_phrase_checked(&self) -> Result<bool, ClientError> {
        Ok(self.phrase_mark()? == Some(true))
    }

    /// Whether words were made here, or typed back here and replaced since, and those in force were not typed back. A device
    /// that never had to do with the words says no: they were shown on another one.
    pub(super) fn is_phrase_unchecked(&self) -> Result<bool, ClientError> {
        Ok(self.phrase_mark()? == Some(false))
    }

    fn phrase_mark(&self) -> Result<Option<bool>, ClientError> {
        let reader = self.shared.reader();
        let reads = reader.reads();
        let Some(mark) = reads.meta(META_PHRASE_CHECKED)? else { return Ok(None) };
        let home = reads.spaces()?.into_iter().find(|space| space.home);
        let (Some(key), Some(home)) = (SignPk::from_slice(&mark), home) else { return Ok(Some(false)) };
        let membership = reads.membership(&home.space)?;
        let key = membership.devices.get(&key);
        Ok(Some(key.is_some_and(|key| key.kind == DeviceKind::Recovery && key.removed_by.is_none())))
    }
}

/// A new machine, or the one that goes on in a half-recovered home.
fn begin(home: &Path, device_name: &str) -> Result<Recovery, ClientError> {
    if !home.join(DATABASE_FILE).exists() {
        return Ok(Recovery::start(DeviceRoot::generate(&mut SystemRandom::new()), device_name));
    }
    // One that is encrypted was finished before: a recovery begins with a plain one.
    let store = Store::open(home).map_err(|error| match error {
        StoreError::Encrypted => StoreError::HomeExists,
        error => error,
    })?;
    let mark = store.reads().meta(META_RECOVERING)?.and_then(|mark| SignPk::from_slice(&mark));
    let begun_by = mark.ok_or(StoreError::HomeExists)?;
    let space = store.reads().spaces()?.into_iter().find(|space| space.home);
    let space = space.ok_or(StoreError::Corrupt { what: "a home that is being recovered" })?.space;
    let root = unlock_device_root(home, system_keystore(), None)?;
    Ok(Recovery::resume(root, device_name, space, begun_by))
}
