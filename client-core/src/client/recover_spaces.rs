//! The shared spaces of a home that came back from words: each is recovered by the same machine, one after the other.
//!
//! ```text
//! home is back ─ its document names the spaces ─▶ for each: derive the paper key ─▶ the machine of `recovery`
//!                                                   ├─ recovered: one of this home's spaces, open
//!                                                   ├─ its relay is down, it has to wait: tried by the next run
//!                                                   └─ the words do not cover it: an owner or admin lets the person in
//! ```
//! One that fails stops no other. What is left is in the store, so that the same command goes on with it.

use std::collections::BTreeMap;
use std::path::Path;

use lifeos_sync_protocol::ids::{MemberId, SignPk, SpaceId};

use super::home::{META_RECOVERING, space_doc};
use super::recovering::{Driver, Scope, Stopped};
use super::{Client, ClientError, MemberStatus, PhraseStanding, Progress, Recovering};
use crate::keys::RecoveryPhrase;
use crate::modules::noted::{NotedSpace, noted_spaces};
use crate::names::shown;
use crate::recovery::{Recovery, RecoveryError};
use crate::store::Store;
use crate::transport::RelayUrl;

/// What became of a shared space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SpaceOutcome {
    /// It is back, and lost devices are out.
    Recovered,
    /// The words do not cover it: somebody who may has to let the person in again.
    NeedsOwner,
    /// Its relay did not answer: the same command goes on with it.
    RelayDown,
    /// Something else has to happen first; then the same command goes on with it.
    NotYet,
    /// What its relay shows is not the space that the home names. Nothing was written.
    Untrusted,
}

/// What a recovery did in one shared space.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SpaceRecovery {
    /// The space, hex.
    pub space: String,
    /// Its name, once it is back and has one.
    pub name: String,
    /// What became of it.
    pub outcome: SpaceOutcome,
    /// The same in words, with what to do next.
    pub text: String,
    /// Devices that were removed as lost, now.
    pub devices_removed: u64,
    /// Other people who are in it: by name, without one by the beginning of the id.
    pub members_other: Vec<String>,
    /// Invitations that still let somebody in, hex.
    pub links_open: Vec<String>,
    /// Notes received.
    pub notes: u64,
}

const NOT_COVERED: &str = "the recovery phrase does not cover this space: ask an owner or admin of it for an invitation, `lifeos join LINK`, and let them run `lifeos invite approve REQUEST --replaces MEMBER`, where MEMBER is who you were there. If you had left it, there is nothing to do: `lifeos recovery forget SPACE`";
const REPLACED: &str = "in this space these words were replaced by newer ones, or you were removed from it: use the newest words, or ask an owner or admin to let you in (`lifeos invite approve REQUEST --replaces MEMBER`). If you had left it: `lifeos recovery forget SPACE`";
const NO_EPOCH: &str = "nobody has given these words the newest key of the space yet: when somebody who writes there has synced, run `lifeos recover` again";
const UNTRUSTED: &str = "what its relay shows is not the space that your home names, and nothing was written: ask the relay's operator, and somebody who is in the space";

impl Client {
    /// Whether a home came back here from words, and shared spaces are left to be recovered.
    #[must_use]
    pub fn has_spaces_to_recover(home: &Path) -> bool {
        let left = |store: Store| {
            let is_whole = store.reads().meta(META_RECOVERING)?.is_none();
            Ok::<_, ClientError>(is_whole && !store.reads().spaces_to_recover()?.is_empty())
        };
        Store::open(home).map_err(ClientError::from).and_then(left).unwrap_or(false)
    }

    /// The shared spaces that a recovery of this home has still to bring back, hex.
    /// # Errors
    /// [`ClientError`].
    pub fn spaces_to_recover(&self) -> Result<Vec<String>, ClientError> {
        let left = self.shared.reader().reads().spaces_to_recover()?;
        Ok(left.iter().map(ToString::to_string).collect())
    }

    /// Gives up a space that is still to be recovered: it is not asked about any more. Gives its id.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn forget_space_to_recover(&self, wanted: &str) -> Result<SpaceId, ClientError> {
        let wanted = wanted.trim().to_ascii_lowercase();
        let left = self.shared.reader().reads().spaces_to_recover()?;
        let mut found = left.into_iter().filter(|space| wanted.len() >= 4 && space.to_string().starts_with(&wanted));
        match (found.next(), found.next()) {
            (Some(space), None) => {
                self.shared.store().end_space_recovery(&space)?;
                Ok(space)
            }
            (None, _) => Err(ClientError::not_found(format!("space {wanted} that is still to be recovered"))),
            _ => Err(ClientError::invalid("more than one id begins like this; give more of its characters")),
        }
    }

    /// Recovers the shared spaces that are left, each by itself.
    /// # Errors
    /// [`ClientError::Invalid`] for words that were never this home's; else only this device's disk.
    pub async fn recover_spaces(
        &self,
        phrase: &RecoveryPhrase,
        on_state: Recovering<'_>,
        progress: Progress<'_>,
    ) -> Result<Vec<SpaceRecovery>, ClientError> {
        let home = self.home_client()?;
        // Words that were replaced at home since may be all that covers a space which is still to come.
        if home.phrase_standing(phrase) == PhraseStanding::Unknown {
            return Err(ClientError::invalid(
                "these are not the words that this home was recovered with: nothing was done; look for the right paper",
            ));
        }
        let left = home.shared.reader().reads().spaces_to_recover()?;
        let noted = home.noted_spaces()?;
        let mut reports = Vec::new();
        for space in left {
            reports.push(home.recover_space(space, noted.get(&space), phrase, on_state, progress).await);
        }
        Ok(reports)
    }

    pub(super) fn noted_spaces(&self) -> Result<BTreeMap<SpaceId, NotedSpace>, ClientError> {
        let space = self.space();
        let state = self.shared.state();
        let counts = |device: &SignPk| state.membership.may_read(device);
        let noted = self.shared.store().read(&space, &space_doc(&space), |doc| noted_spaces(doc.read(), &counts))?;
        Ok(noted.unwrap_or_default())
    }

    async fn recover_space(
        &self,
        space: SpaceId,
        noted: Option<&NotedSpace>,
        phrase: &RecoveryPhrase,
        on_state: Recovering<'_>,
        progress: Progress<'_>,
    ) -> SpaceRecovery {
        let mut report = SpaceRecovery {
            space: space.to_string(),
            name: String::new(),
            outcome: SpaceOutcome::Untrusted,
            text: UNTRUSTED.to_owned(),
            devices_removed: 0,
            members_other: Vec::new(),
            links_open: Vec::new(),
            notes: 0,
        };
        // Whoever names the random bytes of one space for another wants its keys to be used there.
        let Some(noted) = noted else { return report };
        match self.drive(space, noted, phrase, on_state, progress).await {
            Ok((member, removed)) => {
                report.devices_removed = removed;
                report.outcome = SpaceOutcome::Recovered;
                report.text = "everything is back".to_owned();
                if let Err(error) = self.tell_recovered(&space, &member, &mut report) {
                    report.text = format!("it is back, but could not be shown whole: {error}");
                }
            }
            Err(stopped) => (report.outcome, report.text) = told(stopped),
        }
        report
    }

    async fn drive(
        &self,
        space: SpaceId,
        noted: &NotedSpace,
        phrase: &RecoveryPhrase,
        on_state: Recovering<'_>,
        progress: Progress<'_>,
    ) -> Result<(MemberId, u64), Stopped> {
        let url = self.relay_of(noted)?;
        let is_begun = self.shared.store().is_recovery_begun(&space)?;
        let (root, random) = (self.shared.root.clone(), noted.genesis_random);
        let device_name = self.names()?.device(&self.device());
        let machine = Recovery::of_space(root, &device_name, space, random, is_begun);
        let mut driver = Driver {
            home: &self.shared.home,
            scope: Scope::Space { home: self, genesis_random: random },
            url,
            phrase,
            device_name: &device_name,
            machine,
            states: Vec::new(),
            removed: 0,
        };
        driver.run(on_state, progress).await?;
        Ok((driver.machine.member()?, driver.removed))
    }

    /// Where the space is; the home's relay when it says nothing, and with that one's key when it is the same.
    pub(super) fn relay_of(&self, noted: &NotedSpace) -> Result<RelayUrl, ClientError> {
        let home: Option<RelayUrl> = self.relay_addresses()?.first().map(|relay| relay.parse()).transpose()?;
        match (&noted.relay, home) {
            (Some(relay), home) => {
                let relay: RelayUrl = relay.parse()?;
                let is_same = home.as_ref().is_some_and(|home| home.address() == relay.address());
                Ok(home.filter(|_| is_same && relay.key().is_none()).unwrap_or(relay))
            }
            (None, Some(home)) => Ok(home),
            (None, None) => Err(ClientError::invalid("set a relay first: `lifeos relay set URL`")),
        }
    }

    fn tell_recovered(
        &self,
        space: &SpaceId,
        member: &MemberId,
        report: &mut SpaceRecovery,
    ) -> Result<(), ClientError> {
        let client = self.at(space)?;
        client.name_space(member, None)?;
        report.name = client.own_name()?;
        (report.members_other, report.links_open) = client.who_else()?;
        report.notes = client.shared.reader().reads().note_count(space)?;
        Ok(())
    }

    /// What this space is called; nothing without a name.
    pub(super) fn own_name(&self) -> Result<String, ClientError> {
        let space = self.space();
        let name = self
            .shared
            .store()
            .read(&space, &space_doc(&space), |doc| crate::modules::space::space_name(doc.read()))?;
        Ok(name.flatten().map(|name| shown(&name)).unwrap_or_default())
    }

    /// Other people in this space, by name or the beginning of the id, and invitations that let somebody in, hex.
    pub(super) fn who_else(&self) -> Result<(Vec<String>, Vec<String>), ClientError> {
        let others = self.members()?.into_iter().filter(|member| !member.this);
        let called =
            |member: MemberStatus| if member.name.is_empty() { member.member[..8].to_owned() } else { member.name };
        let open = self.invites()?.into_iter().filter(|invite| invite.state == "open");
        Ok((others.map(called).collect(), open.map(|invite| invite.id).collect()))
    }
}

/// What stopped the recovery of a shared space, and what to do next.
fn told(stopped: Stopped) -> (SpaceOutcome, String) {
    let (outcome, text) = match stopped {
        Stopped::Recovery(RecoveryError::UnknownPhrase | RecoveryError::NotRecovery) => {
            (SpaceOutcome::NeedsOwner, NOT_COVERED)
        }
        Stopped::Recovery(RecoveryError::Replaced) => (SpaceOutcome::NeedsOwner, REPLACED),
        Stopped::Recovery(RecoveryError::NoEpoch) => (SpaceOutcome::NotYet, NO_EPOCH),
        Stopped::Recovery(RecoveryError::BadRecords) => (SpaceOutcome::Untrusted, UNTRUSTED),
        Stopped::Client(ClientError::Network { message, .. }) => {
            let text = format!("its relay does not answer ({message}): run `lifeos recover` again when it does");
            return (SpaceOutcome::RelayDown, text);
        }
        Stopped::Client(error @ ClientError::Security { .. }) => return (SpaceOutcome::Untrusted, error.to_string()),
        other => return (SpaceOutcome::NotYet, format!("{other}; then run `lifeos recover` again")),
    };
    (outcome, text.to_owned())
}
