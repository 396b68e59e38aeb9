//! A person's spaces: the home space and any number of others, each with its own keys, members and log.
//!
//! A [`Client`] works in one space; [`Client::in_space`] gives one for another space of the same home. All share the
//! database, the device's root and the lock that lets one process sync.

use std::sync::Arc;

use lifeos_sync_protocol::envelope::stream_id;
use lifeos_sync_protocol::ids::{MemberId, SpaceId};
use lifeos_sync_protocol::record::{Record, RemoveReason};

use super::home::space_doc;
use super::members::role_name;
use super::names::given;
use super::{Client, ClientError, Progress, SpaceSummary, SyncReport};
use crate::crypto::{SystemRandom, random_bytes};
use crate::engine::{EngineError, Shared, exchange_records};
use crate::keys::{DeviceKeys, DeviceRoot, RecoveryPhrase};
use crate::modules::noted::note_member;
use crate::modules::space::{note_space, set_device_name, set_member_name, set_space_name, space_name};
use crate::names::shown;
use crate::records::{Draft, Founding, RecordsError, devices_of, found_space};
use crate::registry::SPACE_GENESIS;
use crate::store::{NewSpace, Reader, SpaceRow, Step, Store};
use crate::transport::RelayUrl;

/// Key of the `meta` table: the space that commands work in when none is named.
const META_IN_USE: &str = "space_in_use";
/// Shortest beginning of an id that names a space.
const PREFIX_CHARS_MIN: usize = 4;

impl Client {
    /// The spaces of this home, the home space first.
    /// # Errors
    /// [`ClientError`].
    pub fn spaces(&self) -> Result<Vec<SpaceSummary>, ClientError> {
        let rows = self.shared.reader().reads().spaces()?;
        let in_use = self.space_in_use()?;
        rows.iter().map(|row| self.summary_of(row, in_use)).collect()
    }

    fn summary_of(&self, row: &SpaceRow, in_use: Option<SpaceId>) -> Result<SpaceSummary, ClientError> {
        let name = self.called(row)?;
        let membership = self.shared.store().membership(&row.space)?;
        let role = membership.role_of(&row.device);
        Ok(SpaceSummary {
            id: row.space.to_string(),
            name,
            home: row.home,
            in_use: in_use.map_or(row.home, |space| space == row.space),
            role: role.map(role_name).unwrap_or("none").to_owned(),
            members: membership.members.len() as u64,
            closed: membership.closed.is_some(),
            successor: membership.closed.and_then(|closed| closed.successor).map(|space| space.to_string()),
        })
    }

    /// What a space is called here; nothing if that is not known.
    pub(super) fn called(&self, row: &SpaceRow) -> Result<String, ClientError> {
        let mut store = self.shared.store();
        let name = store.read(&row.space, &space_doc(&row.space), |doc| space_name(doc.read()))?.flatten();
        Ok(match name {
            Some(name) => shown(&name),
            None if row.home => "home".to_owned(),
            None => String::new(),
        })
    }

    /// The space that a full id, the beginning of one or a name means.
    fn space_id(&self, wanted: &str) -> Result<SpaceId, ClientError> {
        let wanted = wanted.trim();
        let spaces = self.spaces()?;
        let is_prefix = wanted.len() >= PREFIX_CHARS_MIN && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
        let prefix = wanted.to_ascii_lowercase();
        let named: Vec<_> = spaces.iter().filter(|space| space.name == wanted).collect();
        let by_id: Vec<_> = spaces.iter().filter(|space| is_prefix && space.id.starts_with(&prefix)).collect();
        match if by_id.is_empty() { named } else { by_id }.as_slice() {
            [space] => space.id.parse().map_err(|_| ClientError::not_found(format!("space {wanted}"))),
            [] => Err(ClientError::not_found(format!("space {wanted}; `lifeos space list` shows yours"))),
            _ => Err(ClientError::invalid("more than one space is called that; use its id")),
        }
    }

    /// A client for another space of this home, named by id, beginning of an id, or name.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn in_space(&self, wanted: &str) -> Result<Self, ClientError> {
        let space = self.space_id(wanted)?;
        self.at(&space)
    }

    pub(super) fn at(&self, space: &SpaceId) -> Result<Self, ClientError> {
        if *space == self.space() {
            return Ok(self.clone());
        }
        let (home, key) = (&self.shared.home, self.shared.root.derive_database());
        let store = Store::open_with(home, Some(&key))?;
        let row = store.reads().spaces()?.into_iter().find(|row| row.space == *space);
        let row = row.ok_or_else(|| ClientError::not_found("such space"))?;
        let random = store.genesis_random(space)?;
        if !row.home {
            store.check_genesis(space, &random)?;
        }
        let keys = self.shared.root.derive_space(&random);
        if keys.sign_pk() != row.device {
            return Err(ClientError::home("device.key does not fit this space: restore the home from a backup"));
        }
        let (reader, ids) = (Reader::open_with(home, Some(&key))?, (row.space, row.device));
        let lock = Some(Arc::clone(&self.shared.lock));
        Ok(Self {
            shared: Arc::new(Shared::new(home.clone(), store, reader, (self.shared.root.clone(), keys), ids, lock)?),
        })
    }

    /// A client for the space chosen by [`Client::use_space`], the home space without a choice.
    /// # Errors
    /// [`ClientError`].
    pub fn in_use(&self) -> Result<Self, ClientError> {
        match self.space_in_use()? {
            Some(space) => self.at(&space),
            None => Ok(self.clone()),
        }
    }

    fn space_in_use(&self) -> Result<Option<SpaceId>, ClientError> {
        let reader = self.shared.reader();
        let chosen = reader.reads().meta(META_IN_USE)?.and_then(|bytes| SpaceId::from_slice(&bytes));
        let spaces = reader.reads().spaces()?;
        Ok(chosen.filter(|chosen| spaces.iter().any(|row| row.space == *chosen)))
    }

    /// Clients for all other spaces of this home that this device takes part in.
    /// # Errors
    /// [`ClientError`].
    pub fn other_spaces(&self) -> Result<Vec<Self>, ClientError> {
        let (others, failed) = self.open_others()?;
        failed.map_or(Ok(others), Err)
    }

    /// As [`Self::other_spaces`]; one that cannot be opened stops no other. With the first error met.
    pub(super) fn open_others(&self) -> Result<(Vec<Self>, Option<ClientError>), ClientError> {
        let rows = self.shared.reader().reads().spaces()?;
        let (mut others, mut failed) = (Vec::new(), None);
        for row in rows.iter().filter(|row| row.space != self.space()) {
            match self.at(&row.space) {
                Ok(client) if row.home || client.own_member().is_ok() => others.push(client),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Ok((others, failed))
    }

    /// Chooses the space that commands work in.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn use_space(&self, wanted: &str) -> Result<SpaceId, ClientError> {
        let space = self.space_id(wanted)?;
        self.write(|tx| Ok(tx.put_meta(META_IN_USE, &space.0)?))?;
        Ok(space)
    }

    /// Makes a space. With the words of this home's recovery phrase its paper key is made from them, and they bring the
    /// space back ([`Client::recover`]); without, the paper key is thrown away, and until [`Client::cover_spaces`] puts
    /// the words in its place only a device, an Owner or an Admin can bring people back into it.
    /// # Errors
    /// [`ClientError::Security`] for words that are not this home's.
    pub fn space_create(&self, name: &str, phrase: Option<&RecoveryPhrase>) -> Result<Self, ClientError> {
        let name = given(name)?;
        let mut random = SystemRandom::new();
        let genesis_random = random_bytes(&mut random);
        let member = MemberId(random_bytes(&mut random));
        let keys = self.shared.root.derive_space(&genesis_random);
        let recovery = match phrase {
            Some(phrase) => self.own_phrase(phrase)?.derive_space(&genesis_random),
            None => DeviceRoot::generate(&mut random).derive_space(&genesis_random),
        };
        let founding = Founding { genesis_random, member, keys: &keys, recovery: &recovery, relays: Vec::new() };
        let founded = found_space(&founding, &mut random)?;
        let records = vec![founded.genesis, founded.epoch];
        let client = self.add_space(founded.space, &keys, records, None)?;
        client.name_space(&member, Some(name))?;
        if let Some(phrase) = phrase {
            self.home_client()?.note_cover(&founded.space, &recovery, phrase)?;
        }
        Ok(client)
    }

    /// The phrase, if it is the one that this home was made with.
    fn own_phrase<'p>(&self, phrase: &'p RecoveryPhrase) -> Result<&'p RecoveryPhrase, ClientError> {
        let home = self.home_client()?;
        if home.shared.state().membership.may_read(&phrase.derive_home().sign_pk()) {
            return Ok(phrase);
        }
        Err(ClientError::Security {
            message: "these are not the words of this home's recovery phrase: check every word".to_owned(),
        })
    }

    pub(super) fn home_client(&self) -> Result<Self, ClientError> {
        let rows = self.shared.reader().reads().spaces()?;
        let home = rows.iter().find(|row| row.home).ok_or_else(|| ClientError::home("the home holds no space"))?;
        self.at(&home.space)
    }

    /// Adds a space to this home, with a relay of its own or the home's, and writes down in the home space where
    /// its keys come from.
    pub(super) fn add_space(
        &self,
        space: SpaceId,
        keys: &DeviceKeys,
        records: Vec<Record>,
        relay: Option<&RelayUrl>,
    ) -> Result<Self, ClientError> {
        let home = self.home_client()?;
        let device = keys.sign_pk();
        let stream_r32 = random_bytes(&mut SystemRandom::new());
        let stream = stream_id(&space, &device, &stream_r32);
        let relay = match relay {
            Some(relay) => Some(relay.clone()),
            None => home.relay_addresses()?.first().map(|relay| relay.parse()).transpose()?,
        };
        {
            let mut store = self.shared.store();
            store.add_space(&NewSpace { space, device, stream, stream_r32, records })?;
            if let Some(relay) = &relay {
                store.put_relay(&space, relay.address(), relay.key().as_ref())?;
            }
        }
        let client = self.at(&space)?;
        let random = client.shared.state().membership.genesis_random;
        let (member, relay) = (client.own_member().ok(), relay.map(|relay| relay.to_string()));
        home.edit(&space_doc(&home.space()), SPACE_GENESIS, Step::None, |doc| {
            note_space(doc, &space, &random, relay.as_deref())?;
            member.map_or(Ok(()), |member| Ok(note_member(doc, &space, &member)?))
        })?;
        Ok(client)
    }

    /// Writes this device's and this person's names into the space, and the space's own.
    pub(super) fn name_space(&self, member: &MemberId, space: Option<&str>) -> Result<(), ClientError> {
        if !self.shared.state().membership.may_write(&self.device()) {
            return Ok(());
        }
        let home = self.home_client()?;
        let (device_name, person, device) = (home.names()?.device(&home.device()), home.person_name()?, self.device());
        self.edit(&space_doc(&self.space()), SPACE_GENESIS, Step::None, |doc| {
            if let Some(name) = space {
                set_space_name(doc, name)?;
            }
            set_device_name(doc, &device, &device_name)?;
            if person.trim().is_empty() { Ok(()) } else { Ok(set_member_name(doc, member, &person)?) }
        })
    }

    /// Generation of the newest key of this space.
    #[must_use]
    pub fn epoch_generation(&self) -> u32 {
        self.shared.state().membership.next_generation().saturating_sub(1)
    }

    /// Removes this person from a shared space: every device of theirs, for good. What was written stays with the
    /// others, and what was read stays here. Nobody can let these devices in again, because no key is enrolled twice.
    /// # Errors
    /// [`ClientError::Invalid`] for the home space and for the last Owner.
    pub async fn space_leave(&self) -> Result<(), ClientError> {
        self.refuse_home("left")?;
        if let Ok(member) = self.own_member() {
            self.catch_up().await?;
            let space = self.space();
            // The others make the new key: this device is not to know it.
            self.store_draft(false, |draft, store| {
                let devices = devices_of(draft.membership(), &member);
                Ok(draft.remove_member(member, RemoveReason::Left, store.cuts(&space, &devices)?)?)
            })?;
        }
        // What is written here only has to reach the relay, which answers by closing the door.
        match self.tell_records().await {
            Err(error) if !error.is_stranger() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Closes a shared space for everybody; `successor` says where its members go on.
    /// # Errors
    /// [`ClientError`].
    pub async fn space_close(&self, successor: Option<SpaceId>) -> Result<(), ClientError> {
        self.refuse_home("closed")?;
        self.write_and_tell(|draft| draft.close(successor).map(drop)).await
    }

    /// Whether this client works in the home space.
    /// # Errors
    /// [`ClientError`].
    pub fn is_home(&self) -> Result<bool, ClientError> {
        let rows = self.shared.reader().reads().spaces()?;
        Ok(rows.iter().any(|row| row.home && row.space == self.space()))
    }

    fn refuse_home(&self, what: &str) -> Result<(), ClientError> {
        if self.is_home()? {
            return Err(ClientError::invalid(format!("the home space cannot be {what}")));
        }
        Ok(())
    }

    pub(super) fn own_member(&self) -> Result<MemberId, ClientError> {
        let state = self.shared.state();
        let own = state.membership.devices.get(&self.device()).filter(|device| device.removed_by.is_none());
        own.map(|device| device.member)
            .ok_or_else(|| ClientError::home("this device is not enrolled in this space any more"))
    }

    /// Writes records on top of the newest ones, stores them, and hands them to the relay.
    pub(super) async fn write_and_tell<T>(
        &self,
        write: impl FnOnce(&mut Draft<'_>) -> Result<T, RecordsError>,
    ) -> Result<T, ClientError> {
        // First what others wrote: the new records cite the newest ones.
        match exchange_records(&self.shared).await {
            // What was written before is taken back; this may be a removal.
            Err(error) if !matches!(error, EngineError::RecordsRefused) => return Err(error.into()),
            _ => {}
        }
        let (value, _) = self.store_draft(false, |draft, _| Ok(write(draft)?))?;
        exchange_records(&self.shared).await?;
        Ok(value)
    }

    /// One round of sync in every space of this home that has a relay and is not closed to this device; requests to
    /// join that were answered become spaces first, and so do spaces that another device of this person made or joined.
    /// What a device of this person has to be let into or removed from is done at the end.
    /// # Errors
    /// The first that any space met, after all were tried.
    pub async fn sync_all(&self, progress: Progress<'_>) -> Result<SyncReport, ClientError> {
        let mut total = SyncReport::default();
        let mut failed = self.finish_joins().await.err();
        let home = self.home_client()?;
        let (mut others, unopened) = home.open_others()?;
        failed = failed.or(unopened);
        let at_home = home.sync_and_claim(&others, &mut *progress, &mut total).await;
        let is_home_fresh = at_home.is_ok();
        failed = failed.or(at_home.err());
        if is_home_fresh {
            match home.enter_own_spaces().await {
                Ok(entered) => others.extend(entered),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        for other in &others {
            let synced = other.sync_other(is_home_fresh.then_some(&home), &mut *progress, &mut total).await;
            failed = failed.or(synced.err());
        }
        failed.map_or(Ok(total), Err)
    }

    /// The home first; what it says of this device's other spaces goes out with the same round.
    async fn sync_and_claim(
        &self,
        others: &[Self],
        progress: Progress<'_>,
        total: &mut SyncReport,
    ) -> Result<(), ClientError> {
        add(total, &self.sync(&mut *progress).await?);
        if self.claim_spaces(others)? {
            add(total, &self.sync(progress).await?);
        }
        Ok(())
    }

    /// With the home if it is up to date: what it does not say yet is done another time.
    async fn sync_other(
        &self,
        home: Option<&Self>,
        progress: Progress<'_>,
        total: &mut SyncReport,
    ) -> Result<(), ClientError> {
        add(total, &self.sync(progress).await?);
        match home {
            Some(home) => self.align_devices(home).await,
            None => Ok(()),
        }
    }
}

/// Adds what another round did.
pub(super) fn add(total: &mut SyncReport, report: &SyncReport) {
    total.pushed += report.pushed;
    total.given += report.given;
    total.joined += report.joined;
    total.pulled += report.pulled;
    total.bytes_pushed += report.bytes_pushed;
    total.bytes_pulled += report.bytes_pulled;
    total.documents_changed += report.documents_changed;
    total.quarantined += report.quarantined;
    total.duration_ms += report.duration_ms;
    total.failed.extend(report.failed.iter().cloned());
}
