//! The recovery phrase and the shared spaces: which of them it covers, and covering the others.
//!
//! A paper key of a shared space is made from the words and the space's own random bytes, so that only the words in hand
//! can enrol it. What was enrolled is written down in the home, beside the home's own paper key of that time: so every
//! device can tell without the words whether the words of today cover a space.

use lifeos_sync_protocol::ids::SpaceId;
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::Record;

use super::home::space_doc;
use super::{Client, ClientError, PhraseStanding};
use crate::crypto::{Random, SystemRandom};
use crate::engine::exchange_records;
use crate::keys::{DeviceKeys, RecoveryPhrase};
use crate::modules::noted::{PaperKeys, note_paper_keys, paper_keys};
use crate::records::{Cover, RecordsError, cover_records, recovery_keys};
use crate::registry::SPACE_GENESIS;
use crate::store::{SpaceRow, Step, Store};

/// Whether the words bring a shared space back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CoverOutcome {
    /// From now on.
    CoveredNow,
    /// They did before.
    WasCovered,
    /// They do not.
    NotCovered,
}

/// What covering one shared space came to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SpaceCover {
    /// The space, hex.
    pub space: String,
    /// Its name, if it has one here.
    pub name: String,
    /// Whether the words bring it back.
    pub outcome: CoverOutcome,
    /// The same in words, with what to do next if they do not.
    pub text: String,
}

impl Client {
    /// Makes the words of this home's recovery phrase bring back every shared space that this device is in, too: enrols
    /// the paper key that is made from them, and removes older ones. What is done already is left alone.
    /// # Errors
    /// [`ClientError::Security`] for other words than the newest of this home; [`ClientError::Network`] when its relay
    /// does not answer. What keeps a space from being covered is told with the space.
    pub async fn cover_spaces(&self, phrase: &RecoveryPhrase) -> Result<Vec<SpaceCover>, ClientError> {
        let home = self.home_client()?;
        if !home.shared.store().relays(&home.space())?.is_empty() {
            // Another device may have made new words: older ones must not take their place.
            exchange_records(&home.shared).await?;
        }
        home.cover_others(phrase).await
    }

    /// In the home, after its records were exchanged: the words cover the other spaces, if they are the newest.
    pub(super) async fn cover_others(&self, phrase: &RecoveryPhrase) -> Result<Vec<SpaceCover>, ClientError> {
        if self.phrase_standing(phrase) != PhraseStanding::Current {
            return Err(ClientError::Security {
                message: "these are not the newest words of this home's recovery phrase: check every word".to_owned(),
            });
        }
        let rows = self.shared.reader().reads().spaces()?;
        let mut covers = Vec::new();
        for row in rows.iter().filter(|row| !row.home) {
            covers.extend(self.cover_space(row, phrase).await);
        }
        for space in self.shared.reader().reads().spaces_to_recover()? {
            let why = "is still to be recovered: run `lifeos recover` again, with the words it was covered by";
            covers.push(SpaceCover::new(&space, String::new(), Err(why.to_owned())));
        }
        Ok(covers)
    }

    /// Nothing for a space that this device is not in any more.
    async fn cover_space(&self, row: &SpaceRow, phrase: &RecoveryPhrase) -> Option<SpaceCover> {
        let client = match self.at(&row.space) {
            Ok(client) => client,
            Err(error) => return Some(SpaceCover::new(&row.space, String::new(), Err(error.to_string()))),
        };
        client.own_member().ok()?;
        let covered = client.cover(self, phrase).await.map_err(|error| cannot(&error));
        Some(SpaceCover::new(&row.space, client.own_name().unwrap_or_default(), covered))
    }

    /// Covers this space; whether anything was left to do.
    async fn cover(&self, home: &Self, phrase: &RecoveryPhrase) -> Result<bool, ClientError> {
        // First what others wrote: the new records cite the newest ones.
        exchange_records(&self.shared).await?;
        let recovery = phrase.derive_space(&self.shared.state().membership.genesis_random);
        let is_new = self.write_cover(&recovery, cover_records)?;
        if is_new {
            exchange_records(&self.shared).await?;
        }
        home.note_cover(&self.space(), &recovery, phrase)?;
        Ok(is_new)
    }

    /// Writes what `make` says is missing until `recovery` is this person's paper key here; whether anything was.
    pub(super) fn write_cover(
        &self,
        recovery: &DeviceKeys,
        make: impl FnOnce(&Cover<'_>, &mut dyn Random) -> Result<Vec<Record>, RecordsError>,
    ) -> Result<bool, ClientError> {
        let (member, state) = (self.own_member()?, self.shared.state());
        let mut store = self.shared.store();
        let records = store.records(&self.space())?;
        let (membership, device) = (&state.membership, state.own_keys(&self.shared.keys));
        let new = make(&Cover { membership, records: &records, device, member, recovery }, &mut SystemRandom::new())?;
        if !new.is_empty() {
            store.put_records(&self.space(), &new)?;
            self.shared.refresh_state(&store)?;
        }
        Ok(!new.is_empty())
    }

    /// Writes down, in the home, what covers a space.
    pub(super) fn note_cover(
        &self,
        space: &SpaceId,
        recovery: &DeviceKeys,
        phrase: &RecoveryPhrase,
    ) -> Result<(), ClientError> {
        let keys = PaperKeys { space: recovery.sign_pk(), home: phrase.derive_home().sign_pk() };
        self.edit(&space_doc(&self.space()), SPACE_GENESIS, Step::None, |doc| Ok(note_paper_keys(doc, space, &keys)?))
    }

    /// The shared spaces that this device is in and that the recovery phrase does not bring back, as far as is known
    /// here, hex.
    /// # Errors
    /// [`ClientError`].
    pub fn spaces_uncovered(&self) -> Result<Vec<String>, ClientError> {
        let mut store = self.shared.store();
        let rows = store.reads().spaces()?;
        let Some(home) = rows.iter().find(|row| row.home) else { return Ok(Vec::new()) };
        if rows.len() == 1 {
            return Ok(Vec::new());
        }
        let at_home = store.membership(&home.space)?;
        let noted = store.read(&home.space, &space_doc(&home.space), |doc| paper_keys(doc.read()))?;
        let noted = noted.unwrap_or_default();
        let mut uncovered = Vec::new();
        for row in rows.iter().filter(|row| !row.home) {
            if is_uncovered(&store, row, (home, &at_home), noted.get(&row.space))? {
                uncovered.push(row.space.to_string());
            }
        }
        Ok(uncovered)
    }
}

/// Whether the words of today do not bring a space back, in which this device is.
fn is_uncovered(
    store: &Store,
    row: &SpaceRow,
    (home, at_home): (&SpaceRow, &Membership),
    noted: Option<&PaperKeys>,
) -> Result<bool, ClientError> {
    let membership = store.membership(&row.space)?;
    if membership.closed.is_some() || !membership.may_read(&row.device) {
        return Ok(false);
    }
    let stands = |membership: &Membership, row: &SpaceRow, key| {
        let member = membership.devices.get(&row.device).map(|device| device.member);
        member.is_some_and(|member| recovery_keys(membership, &member).contains(key))
    };
    let is_covered =
        noted.is_some_and(|keys| stands(&membership, row, &keys.space) && stands(at_home, home, &keys.home));
    Ok(!is_covered)
}

/// Why a space cannot be covered, and what to do.
fn cannot(error: &ClientError) -> String {
    match error {
        ClientError::Network { message, .. } => {
            format!("its relay does not answer ({message}): run `lifeos recovery cover` when it does")
        }
        ClientError::Invalid { message } if *message == RecordsError::KeyInUse.to_string() => {
            "these words were replaced there: make new ones with `lifeos recovery new`".to_owned()
        }
        error => error.to_string(),
    }
}

impl SpaceCover {
    fn new(space: &SpaceId, name: String, covered: Result<bool, String>) -> Self {
        let (outcome, text) = match covered {
            Ok(true) => (CoverOutcome::CoveredNow, "the words bring it back, too".to_owned()),
            Ok(false) => (CoverOutcome::WasCovered, "the words brought it back before".to_owned()),
            Err(why) => (CoverOutcome::NotCovered, why),
        };
        Self { space: space.to_string(), name, outcome, text }
    }
}
