//! The side of the new device: it shows a link, answers one offer with its keys, shows the code, and checks what
//! it is granted before anything is kept.

use lifeos_sync_protocol::ids::{MemberId, RdvId, RecordId, SignPk, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, DeviceEntry, DeviceKind, Record};
use zeroize::Zeroizing;

use super::message::{Grant, Keys, Kind, Offer, body, frame, split_hpke};
use super::{
    INDEX_GRANT, INDEX_KEYS, INDEX_OFFER, LinkError, LinkStep, LinkText, OfferedSpace, Shared, check_name, keys_info,
    offer_info,
};
use crate::crypto::{HpkeKey, Random, hpke_open, hpke_seal, open_once, random_bytes};
use crate::keys::DeviceRoot;

/// The new device in one attempt. Nothing of it is stored before [`Granted::check`] has passed.
pub struct NewDevice {
    root: DeviceRoot,
    key: HpkeKey,
    link: LinkText,
    name: String,
    state: State,
}

enum State {
    AwaitOffer,
    SendKeys { message: Vec<u8>, shared: Shared, offered: Vec<OfferedSpace> },
    AwaitGrant { shared: Shared, offered: Vec<OfferedSpace> },
    Done(Granted),
    Over,
}

/// What the new device was granted. To be believed only after [`Granted::check`] for every space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// What the person is called, to be shown: "this device now belongs to …".
    pub person: String,
    /// Where the spaces can be found.
    pub relays: Vec<String>,
    /// The spaces; the first one is the home.
    pub spaces: Vec<GrantedSpace>,
}

/// One granted space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantedSpace {
    /// The space.
    pub space: SpaceId,
    /// The member that this device belongs to.
    pub member: MemberId,
    /// What this device's keys in the space are derived from.
    pub genesis_random: [u8; 32],
    /// The record that adds this device.
    pub device_add: RecordId,
    /// The newest record that goes with it.
    pub head: RecordId,
}

impl NewDevice {
    /// Begins an attempt. The caller has made sure that `relay_pk` is the key the relay at `relay_url` presents,
    /// and creates the mailbox [`NewDevice::rdv`] there.
    ///
    /// # Errors
    /// [`LinkError::Name`], [`LinkError::Text`] for an address that does not fit a link.
    pub fn start(
        root: DeviceRoot,
        relay_url: &str,
        relay_pk: SignPk,
        name: &str,
        random: &mut dyn Random,
    ) -> Result<Self, LinkError> {
        check_name(name)?;
        LinkText::check_url(relay_url)?;
        let key = HpkeKey::generate(random);
        let rdv = RdvId(random_bytes(random));
        let link = LinkText { rdv, relay_pk, link_pk: key.public(), relay_url: relay_url.to_owned() };
        Ok(Self { root, key, link, name: name.to_owned(), state: State::AwaitOffer })
    }

    /// The link to show.
    #[must_use]
    pub const fn link(&self) -> &LinkText {
        &self.link
    }

    /// What this device calls itself.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.name
    }

    /// The mailbox.
    #[must_use]
    pub const fn rdv(&self) -> RdvId {
        self.link.rdv
    }

    /// What to do next.
    #[must_use]
    pub fn poll(&self) -> LinkStep {
        match &self.state {
            State::AwaitOffer => LinkStep::Wait(INDEX_OFFER),
            State::SendKeys { message, .. } => LinkStep::Send(message.clone()),
            State::AwaitGrant { .. } => LinkStep::Wait(INDEX_GRANT),
            State::Done(_) => LinkStep::Done,
            State::Over => LinkStep::Over,
        }
    }

    /// The six digits to show, from when the offer was answered until the end.
    #[must_use]
    pub fn code(&self) -> Option<Zeroizing<String>> {
        match &self.state {
            State::SendKeys { shared, .. } | State::AwaitGrant { shared, .. } => Some(shared.code()),
            _ => None,
        }
    }

    /// Takes a message of the mailbox. After an error the attempt is over.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn handle(&mut self, index: u32, message: &[u8], random: &mut dyn Random) -> Result<(), LinkError> {
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitOffer if index == INDEX_OFFER => self.answer_offer(message, random)?,
            State::AwaitGrant { shared, offered } if index == INDEX_GRANT => {
                State::Done(open_grant(&shared, &offered, message)?)
            }
            _ => return Err(LinkError::Over),
        };
        Ok(())
    }

    /// The relay has stored the message of [`LinkStep::Send`] at this index.
    ///
    /// # Errors
    /// [`LinkError::Intruder`] when it is not the index it must have; the attempt is then over.
    pub fn sent(&mut self, index: u32) -> Result<(), LinkError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::SendKeys { shared, offered, .. } if index == INDEX_KEYS => {
                self.state = State::AwaitGrant { shared, offered };
                Ok(())
            }
            State::SendKeys { .. } => Err(LinkError::Intruder),
            _ => Err(LinkError::Over),
        }
    }

    /// What was granted, once [`LinkStep::Done`].
    #[must_use]
    pub const fn granted(&self) -> Option<&Granted> {
        match &self.state {
            State::Done(granted) => Some(granted),
            _ => None,
        }
    }

    /// The root that this device's keys come from.
    #[must_use]
    pub const fn root(&self) -> &DeviceRoot {
        &self.root
    }

    fn answer_offer(&self, message: &[u8], random: &mut dyn Random) -> Result<State, LinkError> {
        let (enc, ct) = split_hpke(Kind::Offer, message)?;
        let opened = hpke_open(&self.key, None, &offer_info(&self.link), &[], enc, ct)?;
        let offer = Offer::decode(&opened.plaintext)?;
        if offer.relay_pk != self.link.relay_pk {
            return Err(LinkError::RelayKey);
        }
        let mut spaces: Vec<SpaceId> = offer.spaces.iter().map(|offered| offered.space).collect();
        spaces.sort_unstable();
        spaces.dedup();
        if spaces.is_empty() || spaces.len() != offer.spaces.len() {
            return Err(LinkError::Message);
        }
        let entries = offer.spaces.iter().map(|offered| {
            let entry = entry(&self.root, offered);
            (entry.sign_pk, entry.hpke_pk, entry.proof)
        });
        let keys = Keys { name: self.name.clone(), entries: entries.collect() }.encode()?;
        let info = keys_info(&self.link, message);
        let sealed = hpke_seal(&offer.one_time_pk, Some(&opened.export), &info, &[], &keys, random)?;
        let answer = frame(Kind::Keys, &[&sealed.enc, &sealed.ct])?;
        let shared = Shared::new(&self.link, [message, &answer], [&opened.export, &sealed.export]);
        Ok(State::SendKeys { message: answer, shared, offered: offer.spaces })
    }
}

fn entry(root: &DeviceRoot, offered: &OfferedSpace) -> DeviceEntry {
    let keys = root.derive_space(&offered.genesis_random);
    keys.entry(&offered.genesis_random, &offered.member, DeviceKind::Normal)
}

/// The grant names exactly the offered spaces, in their order.
fn open_grant(shared: &Shared, offered: &[OfferedSpace], message: &[u8]) -> Result<Granted, LinkError> {
    let mut plaintext = Zeroizing::new(body(Kind::Grant, message)?.to_vec());
    open_once(&shared.grant_key(), &shared.transcript, &mut plaintext)?;
    let grant = Grant::decode(&plaintext)?;
    let same = grant.spaces.iter().map(|(space, ..)| *space).eq(offered.iter().map(|offered| offered.space));
    if !same {
        return Err(LinkError::Message);
    }
    let spaces = offered.iter().zip(&grant.spaces);
    let spaces = spaces.map(|(offered, (space, device_add, head))| GrantedSpace {
        space: *space,
        member: offered.member,
        genesis_random: offered.genesis_random,
        device_add: *device_add,
        head: *head,
    });
    Ok(Granted { person: grant.person, relays: grant.relays, spaces: spaces.collect() })
}

impl GrantedSpace {
    /// Checks the records that a relay gave for this space: the Genesis is the space's and holds the promised
    /// random bytes, everything up to the head is there and in force, and the DeviceAdd adds exactly this
    /// device's keys to the promised member.
    ///
    /// # Errors
    /// [`LinkError::Records`].
    pub fn check(&self, records: &[Record], root: &DeviceRoot) -> Result<Membership, LinkError> {
        let membership = Membership::evaluate(&self.space, records).map_err(|_| LinkError::Records)?;
        let in_force = |id: &RecordId| {
            let record = records.iter().find(|record| record.id() == *id && record.space() == self.space);
            record.filter(|_| !membership.void.contains_key(id))
        };
        in_force(&self.head).ok_or(LinkError::Records)?;
        let added = in_force(&self.device_add).ok_or(LinkError::Records)?;
        let offered = OfferedSpace { space: self.space, member: self.member, genesis_random: self.genesis_random };
        let own = entry(root, &offered);
        let agreed = match added.body() {
            Body::DeviceAdd { member, device, .. } => *member == self.member && *device == own,
            _ => false,
        };
        let holds = membership.genesis_random == self.genesis_random && membership.may_read(&own.sign_pk);
        if agreed && holds { Ok(membership) } else { Err(LinkError::Records) }
    }
}
