//! Recovering a space from words and a relay address, as a machine without clock, disk or network (protocol §7.3).
//!
//! ```text
//! WORDS ─phrase─► DERIVED ─List─► Fetch ─records─► AUTHED ─► RECORDS_OK ─► EPOCH_OPEN ─Begin home─► Fetch content
//!                                                                               ▲                        │
//!                                                              refused: content first             DATA_OK
//!                                                                               └────Publish─────────────┤
//!                     DONE ◄─Finish─ ROTATED ◄──── NEW_DEVICE_ENROLLED ◄─ records as the relay has them ─┘
//! ```
//! Nothing is written anywhere before RECORDS_OK and EPOCH_OPEN have shown that the words are a recovery key of this
//! very space: the chain from Genesis is whole, its id is the space's, the key is enrolled and in force, and it opens
//! the newest epoch. What has been written to the relay is read back from it: the machine believes records, not its own
//! memory, so that a crash at any step is followed by the same steps again, and each finds what is done already.
//!
//! | kept across a crash | where | written |
//! |---|---|---|
//! | root seed of the new device, records | the home being made | after EPOCH_OPEN |
//! | content | the home being made | page by page |
//! | enrolment, removals, epoch | the relay | in one push, all or a beginning of it |
//!
//! A shared space goes the same way once the home is back: the home's document names it and the random bytes that its
//! keys are made from, so that nothing has to be listed, and "the home" is then the space's part of it. Where the
//! person may only read, nobody asks this device for an epoch: ROTATED says that the lost devices are out.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use lifeos_sync_protocol::ids::{MemberId, SignPk, SpaceId};
use lifeos_sync_protocol::limits::FRAME_IDS_MAX;
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Cut, DeviceKind, Record, RemoveReason};

use crate::crypto::Random;
use crate::fault::{Fault, planted};
use crate::keys::{DeviceKeys, DeviceRoot, OwnKeys, RecoveryPhrase};
use crate::records::{OpenedEpochs, RecordsError, Takeover, plan_recovery, takeover_records, unlock_epochs};

/// Times that a refused push is tried again with newer content.
const ATTEMPTS_MAX: u32 = 5;

/// How far a recovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryState {
    /// No phrase yet.
    Words,
    /// The recovery key is derived from the words.
    Derived,
    /// The relay took the recovery key and gave records.
    Authed,
    /// The records are those of the space, and the key is enrolled.
    RecordsOk,
    /// The newest epoch is open.
    EpochOpen,
    /// All content that the relay has is here.
    DataOk,
    /// The relay holds the records that enrol this device and remove the lost ones.
    NewDeviceEnrolled,
    /// The relay holds an epoch that the lost devices cannot open; where the person may not write, others make it.
    Rotated,
    /// The home is an ordinary one.
    Done,
}

/// What to do next. Each is answered by one call of the machine; all can be done again after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveryStep {
    /// Ask the person for the words: [`Recovery::words`].
    AskWords,
    /// Ask the relay which spaces this key belongs to: [`Recovery::listed`].
    List(SignPk),
    /// Prove the recovery key for the space and fetch all records: [`Recovery::fetched`].
    Fetch(SpaceId),
    /// Pure work: [`Recovery::check`].
    Check,
    /// Write the home with the new device's root, marked as being recovered; of a shared space, add it to the home
    /// with such a mark: [`Recovery::home_begun`].
    BeginHome,
    /// Receive all content, proving the recovery key: [`Recovery::content_held`].
    FetchContent,
    /// Push records, proving the recovery key, and fetch all: [`Recovery::published`] or [`Recovery::refused`].
    Publish(Vec<Record>),
    /// Store the records and take the mark away, in one commit: [`Recovery::finished`].
    Finish(Vec<Record>),
    /// Nothing more.
    Done,
}

/// Why a recovery cannot go on. Nothing was written that a later attempt would not find or could not do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// The relay knows no space of this key.
    #[error(
        "no space at this relay knows these words: check the relay's address and the words; a phrase that was replaced opens nothing any more. If the relay lost its data, recover from a backup file (`lifeos restore FILE`) or from a device that is left"
    )]
    UnknownPhrase,
    /// The recovery under way here was begun with other words.
    #[error("the recovery that was begun here used another phrase: type that one, or choose another folder")]
    OtherPhrase,
    /// The relay's records are not a space's whole chain.
    #[error(
        "the relay's records do not make this space (its chain is broken or another space's): nothing was written; ask the relay's operator, or use another relay"
    )]
    BadRecords,
    /// The key was removed.
    #[error("this recovery phrase was replaced by a newer one: use the newest words")]
    Replaced,
    /// The key is no recovery key there.
    #[error("these words are not a recovery phrase of this space: check them, and the relay's address")]
    NotRecovery,
    /// No epoch can be opened.
    #[error("these words open no key of the space: nothing was written; ask another device of yours to link this one")]
    NoEpoch,
    /// The relay goes on refusing.
    #[error("the relay refuses the records that enrol this device: try again; nothing is lost by that")]
    Refused,
    /// A step was answered that was not asked for: a fault of the caller.
    #[error("an internal fault stopped the recovery; run it again")]
    OutOfStep,
    /// A record could not be made.
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// One recovery. Holds secrets: no `Debug`, not cloned outside tests.
#[cfg_attr(test, derive(Clone))]
pub struct Recovery {
    state: RecoveryState,
    keys: Option<Arc<DeviceKeys>>,
    space: Option<SpaceId>,
    /// Listed spaces that were not tried yet, the next one last.
    untried: Vec<SpaceId>,
    /// The most telling reason why a listed space was not the one.
    setback: Option<RecoveryError>,
    records: Vec<Record>,
    verified: Option<Verified>,
    device: DeviceRoot,
    device_name: String,
    /// Of a shared space: the random bytes that its Genesis has to begin with.
    genesis_random: Option<[u8; 32]>,
    home_begun: bool,
    cuts: BTreeMap<SignPk, Vec<Cut>>,
    attempts: u32,
    /// The mark found in a home that a recovery was begun in: the recovery key's public half.
    begun_by: Option<SignPk>,
}

/// What the records have shown.
#[cfg_attr(test, derive(Clone))]
struct Verified {
    membership: Membership,
    member: MemberId,
}

impl Recovery {
    /// Begins on a bare machine, with a new device's root.
    #[must_use]
    pub fn start(device: DeviceRoot, device_name: &str) -> Self {
        Self {
            state: RecoveryState::Words,
            keys: None,
            space: None,
            untried: Vec::new(),
            setback: None,
            records: Vec::new(),
            verified: None,
            device,
            device_name: device_name.to_owned(),
            genesis_random: None,
            home_begun: false,
            cuts: BTreeMap::new(),
            attempts: 0,
            begun_by: None,
        }
    }

    /// Goes on in a home where a recovery was begun: with its root, its space, and the mark it left.
    #[must_use]
    pub fn resume(device: DeviceRoot, device_name: &str, space: SpaceId, begun_by: SignPk) -> Self {
        let start = Self::start(device, device_name);
        Self { space: Some(space), begun_by: Some(begun_by), home_begun: true, ..start }
    }

    /// Begins, or with `is_begun` goes on, in a shared space that a recovered home names, with the home's root. What
    /// the home says of the space is believed only where the space's records say the same.
    #[must_use]
    pub fn of_space(
        device: DeviceRoot,
        device_name: &str,
        space: SpaceId,
        genesis_random: [u8; 32],
        is_begun: bool,
    ) -> Self {
        let start = Self::start(device, device_name);
        Self { space: Some(space), genesis_random: Some(genesis_random), home_begun: is_begun, ..start }
    }

    /// How far it is.
    #[must_use]
    pub const fn state(&self) -> RecoveryState {
        self.state
    }

    /// What to do next.
    ///
    /// # Errors
    /// [`RecoveryError::Records`] when the records to publish cannot be made.
    pub fn poll(&self, random: &mut dyn Random) -> Result<RecoveryStep, RecoveryError> {
        Ok(match (self.state, self.space) {
            (RecoveryState::Words, _) => RecoveryStep::AskWords,
            (RecoveryState::Derived, None) => RecoveryStep::List(self.recovery()?.sign_pk()),
            (RecoveryState::Derived, Some(space)) => RecoveryStep::Fetch(space),
            (RecoveryState::Authed | RecoveryState::RecordsOk, _) => RecoveryStep::Check,
            (RecoveryState::EpochOpen, _) if !self.home_begun && !planted(Fault::KeyUnsaved) => RecoveryStep::BeginHome,
            (RecoveryState::EpochOpen, _) => RecoveryStep::FetchContent,
            (RecoveryState::DataOk | RecoveryState::NewDeviceEnrolled, _) => {
                RecoveryStep::Publish(self.to_publish(random)?)
            }
            (RecoveryState::Rotated, _) => RecoveryStep::Finish(self.records.clone()),
            (RecoveryState::Done, _) => RecoveryStep::Done,
        })
    }

    /// The words were typed.
    ///
    /// # Errors
    /// [`RecoveryError::OtherPhrase`] when a recovery was begun here with others.
    pub fn words(&mut self, phrase: &RecoveryPhrase) -> Result<(), RecoveryError> {
        self.expect(RecoveryState::Words)?;
        let keys = match &self.genesis_random {
            Some(random) => phrase.derive_space(random),
            None => phrase.derive_home(),
        };
        let is_other = self.begun_by.is_some_and(|begun_by| begun_by != keys.sign_pk());
        if is_other || (self.home_begun && planted(Fault::ResumeRefused)) {
            return Err(RecoveryError::OtherPhrase);
        }
        self.keys = Some(Arc::new(keys));
        self.state = RecoveryState::Derived;
        Ok(())
    }

    /// The relay named the spaces of the key. The home space's key belongs to one, and what a relay says is no proof:
    /// they are tried one after another until the records of one say so themselves.
    ///
    /// # Errors
    /// [`RecoveryError::UnknownPhrase`].
    pub fn listed(&mut self, spaces: &[SpaceId]) -> Result<(), RecoveryError> {
        self.expect(RecoveryState::Derived)?;
        self.untried = spaces.iter().take(FRAME_IDS_MAX).rev().copied().collect();
        self.space = Some(self.untried.pop().ok_or(RecoveryError::UnknownPhrase)?);
        Ok(())
    }

    /// The relay did not take the key for this space.
    ///
    /// # Errors
    /// The reason, or that of another listed space if it tells more; nothing while one is left to try.
    pub fn turned_away(&mut self, why: RecoveryError) -> Result<(), RecoveryError> {
        self.expect(RecoveryState::Derived)?;
        self.try_next(why)
    }

    /// The relay took the key and gave these records.
    ///
    /// # Errors
    /// [`RecoveryError::OutOfStep`].
    pub fn fetched(&mut self, records: Vec<Record>) -> Result<(), RecoveryError> {
        self.expect(RecoveryState::Derived)?;
        self.records = records;
        self.state = RecoveryState::Authed;
        Ok(())
    }

    /// Judges the records, then opens the newest epoch: one state further with each call, or back to the next listed
    /// space if the records of this one do not name the key.
    ///
    /// # Errors
    /// [`RecoveryError`]; nothing was written yet when a recovery ends here for the first time.
    pub fn check(&mut self) -> Result<(), RecoveryError> {
        match self.state {
            RecoveryState::Authed => match self.verify(&self.records) {
                Ok(verified) => {
                    self.verified = Some(verified);
                    self.state = RecoveryState::RecordsOk;
                }
                Err(why) => self.try_next(why)?,
            },
            RecoveryState::RecordsOk => {
                self.open_newest_epoch()?;
                self.state = RecoveryState::EpochOpen;
            }
            _ => return Err(RecoveryError::OutOfStep),
        }
        Ok(())
    }

    /// The home is on disk.
    ///
    /// # Errors
    /// [`RecoveryError::OutOfStep`].
    pub fn home_begun(&mut self) -> Result<(), RecoveryError> {
        self.expect(RecoveryState::EpochOpen)?;
        self.home_begun = true;
        Ok(())
    }

    /// Everything the relay has was received; `cuts` says how far the streams of each device go. Whatever a crashed
    /// attempt published is in the records already.
    ///
    /// # Errors
    /// [`RecoveryError::OutOfStep`].
    pub fn content_held(&mut self, cuts: BTreeMap<SignPk, Vec<Cut>>) -> Result<(), RecoveryError> {
        self.expect(RecoveryState::EpochOpen)?;
        self.cuts = cuts;
        self.state = RecoveryState::DataOk;
        self.advance()
    }

    /// The relay holds these records now.
    ///
    /// # Errors
    /// [`RecoveryError::BadRecords`] when they are not the space's; [`RecoveryError::Refused`] when the relay gives
    /// back the same state again and again.
    pub fn published(&mut self, records: Vec<Record>) -> Result<(), RecoveryError> {
        self.expect_publishing()?;
        if planted(Fault::SentBelieved) {
            self.state = RecoveryState::Rotated;
            return Ok(());
        }
        self.verified = Some(self.verify(&records)?);
        self.records = records;
        let before = self.state;
        self.advance()?;
        if self.state == before {
            return self.again();
        }
        Ok(())
    }

    /// The relay did not take all records: a lost device has sent something since, which has to be received first.
    ///
    /// # Errors
    /// [`RecoveryError::Refused`] after some attempts; [`RecoveryError::BadRecords`].
    pub fn refused(&mut self, records: Vec<Record>) -> Result<(), RecoveryError> {
        self.expect_publishing()?;
        self.verified = Some(self.verify(&records)?);
        self.records = records;
        self.again()
    }

    /// The home is an ordinary one.
    ///
    /// # Errors
    /// [`RecoveryError::OutOfStep`].
    pub fn finished(&mut self) -> Result<(), RecoveryError> {
        self.expect(RecoveryState::Rotated)?;
        self.state = RecoveryState::Done;
        Ok(())
    }

    /// The space, once the relay or the home named it.
    #[must_use]
    pub const fn space(&self) -> Option<SpaceId> {
        self.space
    }

    /// The records as last verified.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Pushes that were tried in vain.
    #[cfg(test)]
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The recovery key.
    ///
    /// # Errors
    /// [`RecoveryError::OutOfStep`] before the words.
    pub fn recovery(&self) -> Result<&DeviceKeys, RecoveryError> {
        self.keys.as_deref().ok_or(RecoveryError::OutOfStep)
    }

    /// The new device's root and keys in the space.
    ///
    /// # Errors
    /// [`RecoveryError::OutOfStep`] before the records were verified: there is nothing to save a key for.
    pub fn device(&self) -> Result<(&DeviceRoot, DeviceKeys), RecoveryError> {
        let verified = self.verified.as_ref().ok_or(RecoveryError::OutOfStep)?;
        Ok((&self.device, self.device.derive_space(&verified.membership.genesis_random)))
    }

    /// Whose devices they are.
    ///
    /// # Errors
    /// [`RecoveryError::OutOfStep`] before the records were verified.
    pub fn member(&self) -> Result<MemberId, RecoveryError> {
        self.verified.as_ref().map(|verified| verified.member).ok_or(RecoveryError::OutOfStep)
    }

    fn expect(&self, state: RecoveryState) -> Result<(), RecoveryError> {
        if self.state == state { Ok(()) } else { Err(RecoveryError::OutOfStep) }
    }

    fn expect_publishing(&self) -> Result<(), RecoveryError> {
        if matches!(self.state, RecoveryState::DataOk | RecoveryState::NewDeviceEnrolled) {
            Ok(())
        } else {
            Err(RecoveryError::OutOfStep)
        }
    }

    /// Leaves a listed space that is not the one.
    fn try_next(&mut self, why: RecoveryError) -> Result<(), RecoveryError> {
        let worst = self.setback.filter(|before| telling(before) >= telling(&why)).unwrap_or(why);
        let Some(next) = self.untried.pop() else { return Err(worst) };
        self.setback = Some(worst);
        self.space = Some(next);
        self.records = Vec::new();
        self.state = RecoveryState::Derived;
        Ok(())
    }

    fn again(&mut self) -> Result<(), RecoveryError> {
        self.attempts += 1;
        if self.attempts >= ATTEMPTS_MAX {
            return Err(RecoveryError::Refused);
        }
        self.state = RecoveryState::EpochOpen;
        Ok(())
    }

    /// The chain is this space's, and the key is one of its recovery keys in force.
    fn verify(&self, records: &[Record]) -> Result<Verified, RecoveryError> {
        let (space, keys) = (self.space.ok_or(RecoveryError::OutOfStep)?, self.recovery()?);
        // A Genesis is the space's only if its id is: what another space's would say is never looked at.
        let membership = Membership::evaluate(&space, records).map_err(|_| RecoveryError::BadRecords)?;
        if self.genesis_random.is_some_and(|random| random != membership.genesis_random) {
            return Err(RecoveryError::BadRecords);
        }
        let own = membership.devices.get(&keys.sign_pk()).ok_or(RecoveryError::NotRecovery)?;
        if own.kind != DeviceKind::Recovery || own.hpke_pk != keys.hpke_pk() {
            return Err(RecoveryError::NotRecovery);
        }
        if own.removed_by.is_some() {
            return Err(RecoveryError::Replaced);
        }
        let member = own.member;
        Ok(Verified { membership, member })
    }

    fn open_newest_epoch(&self) -> Result<(), RecoveryError> {
        let verified = self.verified.as_ref().ok_or(RecoveryError::OutOfStep)?;
        let OpenedEpochs { keyring, troubles, .. } =
            unlock_epochs(&verified.membership, &self.records, OwnKeys::first(self.recovery()?));
        // Every head, not only the one in use: the next epoch has to wrap them all, or take the place of a broken one.
        let heads = verified.membership.epoch_heads();
        let usable = |head| keyring.find(head).is_some() || troubles.get(head).is_some_and(|why| why.is_broken());
        let opened = heads.iter().any(|head| keyring.find(head).is_some()) && heads.iter().all(usable);
        if opened || planted(Fault::EpochUnopened) { Ok(()) } else { Err(RecoveryError::NoEpoch) }
    }

    fn to_publish(&self, random: &mut dyn Random) -> Result<Vec<Record>, RecoveryError> {
        let verified = self.verified.as_ref().ok_or(RecoveryError::OutOfStep)?;
        let (_, device) = self.device()?;
        let takeover = Takeover {
            membership: &verified.membership,
            records: &self.records,
            recovery: self.recovery()?,
            device: &device,
            name: &self.device_name,
            member: verified.member,
            cuts: &self.cuts,
            reason: RemoveReason::Lost,
        };
        Ok(takeover_records(&takeover, random)?)
    }

    /// As far as the records say.
    fn advance(&mut self) -> Result<(), RecoveryError> {
        let verified = self.verified.as_ref().ok_or(RecoveryError::OutOfStep)?;
        let (_, device) = self.device()?;
        let plan = plan_recovery(&verified.membership, &verified.member, &device.sign_pk());
        self.state = match (plan.enrol || !plan.lost.is_empty(), plan.rotate || !plan.links.is_empty()) {
            (true, _) => RecoveryState::DataOk,
            (false, true) => RecoveryState::NewDeviceEnrolled,
            (false, false) => RecoveryState::Rotated,
        };
        Ok(())
    }
}

/// How much a reason says about the person's own words; the larger, the more.
const fn telling(why: &RecoveryError) -> u8 {
    match why {
        RecoveryError::Replaced => 3,
        RecoveryError::BadRecords => 2,
        RecoveryError::NotRecovery => 1,
        _ => 0,
    }
}
