//! A person's devices are in all of the person's spaces, and one that is removed at home is removed from all.
//!
//! What is to do follows from the home's document and from who is enrolled at home and in each space ([`crate::own_devices`]),
//! never from what was begun before: every device of the person comes to the same, in any order, after any crash.
//!
//! ```text
//! claim_spaces      for each space the home names: this device's claim
//! enter_own_spaces  for each space the home names and this device is not in: ask its relay whether it was let in
//! align_devices     for each space this device is in: let in whom good claims ask for, remove who was removed at home
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use lifeos_sync_protocol::ids::{MemberId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record, RemoveReason};

use super::home::space_doc;
use super::{Client, ClientError};
use crate::crypto::SystemRandom;
use crate::engine::{SpaceState, exchange_records, fetch_records, wall_ms};
use crate::link::{GrantedSpace, LINK_SPACES_MAX};
use crate::modules::noted::{NotedSpace, claim_of, claims, note_member, noted_space, set_claim};
use crate::modules::space::note_space;
use crate::own_devices::{Asking, CLAIM_BYTES, Claim, Gone, Place, Seat, Standing, check_claim, claim, may_carry};
use crate::records::{AddDevice, enrol_device};
use crate::registry::SPACE_GENESIS;
use crate::store::{Step, StoreError};
use crate::transport::RelayUrl;

/// Key of the `meta` table: when relays were asked for spaces that this device is not in.
const META_ASKING: &str = "own_spaces_asked";
/// Most claims of a space that are remembered.
const CLAIMS_KEPT_MAX: usize = 256;
/// A claim in the `meta` table: the device at home, then the claim.
const KEPT_BYTES: usize = 32 + CLAIM_BYTES;

fn meta_claims(space: &SpaceId) -> String {
    format!("own_devices/{space}")
}

/// Something to write into the home's document.
enum Note {
    Space(SpaceId, NotedSpace),
    Claim { space: SpaceId, device: SignPk, claim: Vec<u8> },
}

impl Client {
    /// What [`Client::sync_all`] does for this person's devices and spaces, without the sync: for whoever syncs live in
    /// the home and in the `others` of it that are open. Gives the spaces that this device came into.
    /// # Errors
    /// [`ClientError`]; what one space meets stops no other.
    pub async fn follow(&self, others: &[Self]) -> Result<Vec<Self>, ClientError> {
        let home = self.home_client()?;
        if !home.is_in_force()? {
            return Ok(Vec::new());
        }
        home.claim_spaces(others)?;
        let entered = home.enter_own_spaces().await;
        for other in others.iter().filter(|other| other.space() != home.space()) {
            if let Err(error) = other.align_devices(&home).await {
                tracing::debug!(%error, "a space's devices were not aligned");
            }
        }
        entered
    }

    /// Whether this device may still speak for its person: a device that was removed learns it from the relay alone.
    fn is_in_force(&self) -> Result<bool, ClientError> {
        Ok(self.own_member().is_ok() && self.shared.reader().reads().refused(&self.space())?.is_none())
    }

    /// Writes into the home what is missing there: the `others`, which this device is in, and its claim for every space
    /// that the home names. True when it wrote something.
    pub(super) fn claim_spaces(&self, others: &[Self]) -> Result<bool, ClientError> {
        if !self.is_in_force()? {
            return Ok(false);
        }
        let mut notes = Vec::new();
        let noted = self.noted_spaces()?;
        for other in others.iter().filter(|other| other.space() != self.space()) {
            self.note_of_own_space(other, &mut notes)?;
        }
        for space in self.spaces_to_ask(&noted)? {
            if let Some(NotedSpace { genesis_random, member: Some(member), .. }) = noted.get(&space) {
                let place = Place { space, genesis_random: *genesis_random, member: *member };
                notes.extend(self.missing_claim(&place)?);
            }
        }
        self.write_notes(&notes)?;
        Ok(!notes.is_empty())
    }

    /// What the home should say of a space that this device is in.
    fn note_of_own_space(&self, other: &Self, notes: &mut Vec<Note>) -> Result<(), ClientError> {
        let Ok(member) = other.own_member() else { return Ok(()) };
        let (space, there) = (other.space(), other.shared.state());
        let place = Place { space, genesis_random: there.membership.genesis_random, member };
        // By its name: among more than may be looked at, it may not be one that is.
        let was = self.read_home(|doc| noted_space(doc, &space))?;
        let relay = other.shared.store().relays(&space)?.into_iter().next();
        let claims = self.claims_in(&space)?;
        let (here, home_member) = self.seat_at_home()?;
        let home = Seat { membership: &here.membership, member: home_member };
        let standing = Standing::new(home, Seat { membership: &there.membership, member }, &claims);
        let said_member = was.as_ref().and_then(|was| was.member).filter(|said| standing.is_person(said));
        let should = NotedSpace {
            genesis_random: place.genesis_random,
            // Two requests to join may have made this person two members: either will do.
            member: Some(said_member.unwrap_or(member)),
            relay: was
                .as_ref()
                .and_then(|was| was.relay.clone())
                .or_else(|| relay.map(|relay| address(&relay.url, relay.key))),
        };
        if was.as_ref() != Some(&should) {
            notes.push(Note::Space(space, should));
        }
        notes.extend(self.missing_claim(&place)?);
        notes.extend(self.spoilt_claims(&standing, &place)?);
        Ok(())
    }

    /// This device's claim, if it is not there.
    fn missing_claim(&self, place: &Place) -> Result<Option<Note>, ClientError> {
        let keys = self.shared.root.derive_space(&place.genesis_random);
        let (space, device) = (place.space, self.device());
        let claim = claim(&self.shared.keys, &keys, place);
        let is_there = self.read_home(|doc| claim_of(doc, &space, &device).as_deref() == Some(&claim[..]))?;
        Ok((!is_there).then_some(Note::Claim { space, device, claim }))
    }

    /// Claims of other devices that were good and that something else stands in the place of.
    fn spoilt_claims(&self, standing: &Standing<'_>, place: &Place) -> Result<Vec<Note>, ClientError> {
        let (space, random) = (place.space, place.genesis_random);
        let others = standing.claims_to_keep().into_iter().filter(|(device, _)| *device != self.device());
        let mut spoilt: Vec<Note> = Vec::new();
        for (device, claim) in others {
            let stands = self.read_home(|doc| claim_of(doc, &space, &device))?;
            let is_good = stands.is_some_and(|stands| check_claim(&space, &random, &device, &stands).is_ok());
            let is_last = |note: &Note| matches!(note, Note::Claim { device: last, .. } if *last == device);
            if !is_good && !spoilt.iter().any(is_last) {
                spoilt.push(Note::Claim { space, device, claim });
            }
        }
        Ok(spoilt)
    }

    fn write_notes(&self, notes: &[Note]) -> Result<(), ClientError> {
        if notes.is_empty() {
            return Ok(());
        }
        self.edit(&space_doc(&self.space()), SPACE_GENESIS, Step::None, |doc| {
            for note in notes {
                match note {
                    Note::Space(space, noted) => {
                        note_space(doc, space, &noted.genesis_random, noted.relay.as_deref())?;
                        noted.member.map_or(Ok(()), |member| note_member(doc, space, &member))?;
                    }
                    Note::Claim { space, device, claim } => set_claim(doc, space, device, claim)?,
                }
            }
            Ok(())
        })
    }

    fn read_home<T: Default>(&self, read: impl FnOnce(&automerge::AutoCommit) -> T) -> Result<T, ClientError> {
        let space = self.space();
        let value = self.shared.store().read(&space, &space_doc(&space), |doc| read(doc.read()))?;
        Ok(value.unwrap_or_default())
    }

    /// The spaces that the home names and this device is not in, whose turn it is. Not one that begins like another: this
    /// device would have the same keys in both, and what it signs for one would count in the other. Nor one that is still
    /// to be recovered, where other devices are taken for lost.
    fn spaces_to_ask(&self, noted: &BTreeMap<SpaceId, NotedSpace>) -> Result<Vec<SpaceId>, ClientError> {
        let mut open = Vec::new();
        {
            let store = self.shared.store();
            let (held, begun) = (store.reads().spaces_and_begun()?, store.reads().spaces_to_recover()?);
            let is_elsewhere = |space: &SpaceId| !begun.contains(space) && held.iter().all(|row| row.space != *space);
            for (space, named) in noted.iter().filter(|(space, named)| named.member.is_some() && is_elsewhere(space)) {
                let same = noted.values().filter(|other| other.genesis_random == named.genesis_random).count();
                match store.check_genesis(space, &named.genesis_random) {
                    Ok(()) if same == 1 => open.push((*space, facts(named))),
                    Ok(()) | Err(StoreError::CopiedSpace) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let spaces: Vec<(SpaceId, &[u8])> = open.iter().map(|(space, facts)| (*space, &facts[..])).collect();
        let due = self.asking()?.due(&spaces, wall_ms(), LINK_SPACES_MAX);
        Ok(due.into_iter().map(|(space, _)| space).collect())
    }

    fn asking(&self) -> Result<Asking, ClientError> {
        let kept = self.shared.reader().reads().meta(META_ASKING)?;
        Ok(kept.map(|kept| Asking::decode(&kept)).unwrap_or_default())
    }

    /// Asks for the spaces that another device of this person made or joined. That this device is not let in yet is no
    /// error, and what one space's relay says or does not say stops no other.
    pub(super) async fn enter_own_spaces(&self) -> Result<Vec<Self>, ClientError> {
        let noted = self.noted_spaces()?;
        let (mut asking, mut entered) = (self.asking()?, Vec::new());
        let to_ask = if self.is_in_force()? { self.spaces_to_ask(&noted)? } else { Vec::new() };
        if to_ask.is_empty() {
            return Ok(entered);
        }
        for (space, named) in to_ask.iter().filter_map(|space| Some((space, noted.get(space)?))) {
            asking.note(space, &facts(named), wall_ms());
            match self.enter(space, named).await {
                Ok(client) => entered.extend(client),
                Err(error) => tracing::debug!(%error, "a space of this person was not entered"),
            }
        }
        let named: Vec<SpaceId> = noted.keys().copied().collect();
        self.shared.store().put_meta(META_ASKING, &asking.encode(&named))?;
        Ok(entered)
    }

    async fn enter(&self, space: &SpaceId, noted: &NotedSpace) -> Result<Option<Self>, ClientError> {
        let (space, Some(member)) = (*space, noted.member) else { return Ok(None) };
        let relay = self.relay_of(noted)?;
        let keys = self.shared.root.derive_space(&noted.genesis_random);
        let records = match fetch_records(&relay, space, &keys).await {
            Ok(records) => records,
            Err(error) if error.is_stranger() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let wrong = || ClientError::Security { message: "what a relay gave is not this person's space".to_owned() };
        let membership = Membership::evaluate(&space, &records).map_err(|_| wrong())?;
        let added_by = membership.devices.get(&keys.sign_pk()).ok_or_else(wrong)?.added_by;
        let granted =
            GrantedSpace { space, member, genesis_random: noted.genesis_random, device_add: added_by, head: added_by };
        granted.check(&records, &self.shared.root)?;
        if membership.closed.is_some() {
            return Ok(None);
        }
        let client = self.add_space(space, &keys, records, Some(&relay))?;
        client.name_space(&member, None)?;
        Ok(Some(client))
    }

    /// Lets this person's devices into this space and removes those that are gone from home, as far as claims tell.
    pub(super) async fn align_devices(&self, home: &Self) -> Result<(), ClientError> {
        let Ok(member) = self.own_member() else { return Ok(()) };
        let claims = home.claims_in(&self.space())?;
        let (to_keep, to_add, to_remove) = self.standing(home, member, &claims, |standing| {
            (standing.claims_to_keep(), standing.devices_to_add(), standing.devices_to_remove())
        })?;
        home.keep_claims(&self.space(), to_keep)?;
        if to_add.is_empty() && to_remove.is_empty() {
            return Ok(());
        }
        // First what others wrote: another device of this person may have done it.
        exchange_records(&self.shared).await?;
        let (to_add, to_remove) =
            self.standing(home, member, &claims, |standing| (standing.devices_to_add(), standing.devices_to_remove()))?;
        let (at_home, at_home_records) = (home.shared.state(), home.records()?);
        let carried = |gone: &&Gone| may_carry(&at_home.membership, &at_home_records, gone, &home.device());
        for gone in to_remove.iter().filter(carried) {
            if let Err(error) = self.remove_found(gone.key, reason_of(&at_home_records, &gone.removed_by)).await {
                tracing::debug!(%error, "a device that is gone from home was not removed");
            }
        }
        let mut added = false;
        for claim in to_add {
            match self.add_claimed(&claim, &home.names()?.device(&claim.home)) {
                Ok(()) => added = true,
                Err(error) => tracing::debug!(%error, "a device of this person was not let in"),
            }
        }
        if added { Ok(exchange_records(&self.shared).await?) } else { Ok(()) }
    }

    /// Looks at this space as it stands beside the home.
    pub(super) fn standing<T>(
        &self,
        home: &Self,
        member: MemberId,
        claims: &[(SignPk, Vec<u8>)],
        look: impl FnOnce(&Standing<'_>) -> T,
    ) -> Result<T, ClientError> {
        let ((at_home, home_member), here) = (home.seat_at_home()?, self.shared.state());
        let home = Seat { membership: &at_home.membership, member: home_member };
        Ok(look(&Standing::new(home, Seat { membership: &here.membership, member }, claims)))
    }

    /// In the home: who is enrolled, and whose device this is. One that removed itself still says whose it was.
    fn seat_at_home(&self) -> Result<(Arc<SpaceState>, MemberId), ClientError> {
        let state = self.shared.state();
        let member = state.membership.devices.get(&self.device()).map(|own| own.member);
        Ok((state, member.ok_or_else(|| ClientError::home("this device was never enrolled at home"))?))
    }

    pub(super) fn records(&self) -> Result<Vec<Record>, ClientError> {
        Ok(self.shared.store().records(&self.space())?)
    }

    /// What stands or stood as claims in a space: as the home's document has it, and what was good when it was seen.
    pub(super) fn claims_in(&self, space: &SpaceId) -> Result<Vec<(SignPk, Vec<u8>)>, ClientError> {
        let mut all = self.kept_claims(space)?;
        let mut standing = self.read_home(|doc| claims(doc, space))?;
        standing.retain(|claim| !all.contains(claim));
        all.extend(standing);
        Ok(all)
    }

    /// The spaces for which something stands as the claim of a device.
    pub(super) fn spaces_claimed_by(&self, device: &SignPk) -> Result<Vec<SpaceId>, ClientError> {
        let noted = self.noted_spaces()?;
        self.read_home(|doc| noted.into_keys().filter(|space| claim_of(doc, space, device).is_some()).collect())
    }

    fn kept_claims(&self, space: &SpaceId) -> Result<Vec<(SignPk, Vec<u8>)>, ClientError> {
        let kept = self.shared.reader().reads().meta(&meta_claims(space))?.unwrap_or_default();
        let (kept, _) = kept.as_chunks::<KEPT_BYTES>();
        let split = |kept: &[u8; KEPT_BYTES]| {
            let (home, claim) = kept.split_first_chunk()?;
            Some((SignPk(*home), claim.to_vec()))
        };
        Ok(kept.iter().filter_map(split).collect())
    }

    /// In the home: remembers the claims that tie a key which is enrolled in a space; a device in wrong hands could take
    /// its claim back before it is removed.
    fn keep_claims(&self, space: &SpaceId, mut to_keep: Vec<(SignPk, Vec<u8>)>) -> Result<(), ClientError> {
        let mut kept = self.kept_claims(space)?;
        to_keep.retain(|claim| !kept.contains(claim));
        if to_keep.is_empty() || kept.len() >= CLAIMS_KEPT_MAX {
            return Ok(());
        }
        kept.extend(to_keep);
        kept.truncate(CLAIMS_KEPT_MAX);
        let bytes: Vec<u8> = kept.iter().flat_map(|(home, claim)| [&home.0[..], claim].concat()).collect();
        Ok(self.shared.store().put_meta(&meta_claims(space), &bytes)?)
    }

    fn add_claimed(&self, claim: &Claim, name: &str) -> Result<(), ClientError> {
        let (state, space) = (self.shared.state(), self.space());
        let mut store = self.shared.store();
        let records = store.records(&space)?;
        let name = crate::names::checked(name).unwrap_or("device");
        let add = AddDevice {
            membership: &state.membership,
            records: &records,
            keyring: &state.keyring,
            keys: &self.shared.keys,
            member: claim.member,
            entry: claim.entry.clone(),
            name,
        };
        let new = enrol_device(&add, &mut SystemRandom::new())?;
        store.put_records(&space, &new)?;
        Ok(self.shared.refresh_state(&store)?)
    }
}

/// Why a device was removed by a record among these.
pub(super) fn reason_of(records: &[Record], removed_by: &RecordId) -> RemoveReason {
    match records.iter().find(|record| record.id() == *removed_by).map(Record::body) {
        Some(Body::DeviceRemove { reason, .. } | Body::MemberRemove { reason, .. }) => *reason,
        _ => RemoveReason::Lost,
    }
}

fn address(url: &str, key: Option<SignPk>) -> String {
    url.parse::<RelayUrl>().map_or_else(
        |_| url.to_owned(),
        |url| key.map_or_else(|| url.to_string(), |key| url.clone().with_key(key).to_string()),
    )
}

/// What is known of a space before one is in it: when this changes, it is asked for at once.
fn facts(noted: &NotedSpace) -> Vec<u8> {
    let member = noted.member.map_or([0; 16], |member| member.0);
    [&noted.genesis_random[..], &member, noted.relay.as_deref().unwrap_or_default().as_bytes()].concat()
}
