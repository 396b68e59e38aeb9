//! The existing device: takes a link or a code, and enrols the new device once its person has said so.

use std::sync::Arc;

use lifeos_sync_protocol::ids::SignPk;
use tokio::time::Instant;

use super::machine::ExistingSide;
use super::{ANSWER_TIMEOUT, Carrier, KEYS_TIMEOUT};
use crate::client::{Client, ClientError};
use crate::crypto::SystemRandom;
use crate::engine::{Mailboxes, exchange_records};
use crate::link::{
    CodeCheck, Comparison, ExistingDevice, GrantedSpaceInput, LINK_SPACES_MAX, LinkError, LinkStep, LinkText,
    OfferedSpace, PublishStep, Publishing, SasCode, SasExistingDevice,
};
use crate::records::{AddDevice, add_device};
use crate::transport::RelayUrl;

/// A link being approved on an existing device: the person types the code that the new device shows.
pub struct LinkApprove {
    device_name: String,
    approval: Approval<ExistingDevice>,
}

/// A link without a camera being approved: the person compares what both devices show.
pub struct SasApprove {
    comparison: Comparison,
    approval: Approval<SasExistingDevice>,
}

struct Approval<M> {
    client: Client,
    carrier: Carrier<M>,
    /// The person's spaces, the home first, in the order of the offer.
    spaces: Vec<Client>,
    /// Where the new device is enrolled already, on this disk and at the relay.
    publishing: Publishing,
}

impl LinkApprove {
    /// What the new device calls itself.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.device_name
    }

    /// Tries a code. `Ok(Some(tries_left))`: wrong. `Ok(None)`: right, the device is enrolled. After three
    /// wrong codes the link is dropped with [`ClientError::Security`]. After a network error it can be called
    /// again and goes on where it was.
    /// # Errors
    /// [`ClientError`].
    pub async fn enter_code(&mut self, code: &str) -> Result<Option<u32>, ClientError> {
        let machine = &mut self.approval.carrier.machine;
        if machine.poll() == LinkStep::AskCode
            && let CodeCheck::Wrong { tries_left } = machine.enter_code(code)?
        {
            if tries_left > 0 {
                return Ok(Some(tries_left));
            }
            self.approval.discard().await;
            return Err(ClientError::Security {
                message: "three wrong codes: nothing was linked; make a new link on the new device".to_owned(),
            });
        }
        self.approval.publish().await?;
        Ok(None)
    }
}

impl SasApprove {
    /// What both devices show.
    #[must_use]
    pub const fn comparison(&self) -> Comparison {
        self.comparison
    }

    /// The person has compared: with "they match" this waits for the person's word on the new device and enrols it;
    /// gives what it calls itself. After a network error it can be called again and goes on where it was.
    /// # Errors
    /// [`ClientError::Security`] when they do not match: nothing was told, nobody was enrolled.
    pub async fn confirm(&mut self, they_match: bool) -> Result<String, ClientError> {
        let carrier = &mut self.approval.carrier;
        if carrier.machine.poll() == LinkStep::Compare
            && let Err(error) = carrier.machine.confirm(they_match)
        {
            self.approval.discard().await;
            return Err(error.into());
        }
        carrier.reconnect().await?;
        carrier.carry(Instant::now() + ANSWER_TIMEOUT).await?;
        let name = carrier.machine.device_name().unwrap_or_default().to_owned();
        self.approval.publish().await?;
        Ok(name)
    }
}

impl<M: ExistingSide> Approval<M> {
    /// Enrols the new device here and at the relay, and only then tells it.
    async fn publish(&mut self) -> Result<(), ClientError> {
        if self.carrier.machine.poll() == LinkStep::Publish {
            loop {
                match self.publishing.poll() {
                    PublishStep::Exchange(at) => {
                        exchange_records(&self.spaces[at].shared).await?;
                        self.publishing.exchanged();
                    }
                    PublishStep::Enrol(at) => {
                        let granted = self.enrol(at)?;
                        self.publishing.enrolled(granted);
                    }
                    PublishStep::Grant => break,
                }
            }
            let relays = self.client.relay_addresses()?;
            let person = self.client.person_name()?;
            self.carrier.machine.grant(&person, &relays, self.publishing.granted())?;
        }
        self.carrier.reconnect().await?;
        match self.carrier.carry(Instant::now() + KEYS_TIMEOUT).await? {
            LinkStep::Done => Ok(()),
            _ => Err(LinkError::Over.into()),
        }
    }

    fn enrol(&self, at: usize) -> Result<GrantedSpaceInput, ClientError> {
        let shared = &self.spaces[at].shared;
        let machine = &self.carrier.machine;
        let new = machine.new_entries().and_then(|entries| entries.get(at)).cloned().ok_or(LinkError::Over)?;
        let state = shared.state();
        let mut store = shared.store();
        // A relay that could not be reached the last time: what was written then stands.
        if let Some(known) = state.membership.devices.get(&new.entry.sign_pk) {
            let granted = GrantedSpaceInput { space: shared.space, device_add: known.added_by, head: known.added_by };
            return Ok(granted);
        }
        let add = AddDevice {
            membership: &state.membership,
            records: &store.records(&shared.space)?,
            keyring: &state.keyring,
            keys: &shared.keys,
            member: new.member,
            entry: new.entry,
            name: machine.device_name().unwrap_or_default(),
        };
        let records =
            add_device(&add, &mut SystemRandom::new()).map_err(|error| ClientError::invalid(error.to_string()))?;
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Err(LinkError::Over.into()) };
        let granted = GrantedSpaceInput { space: shared.space, device_add: first.id(), head: last.id() };
        store.put_records(&shared.space, &records)?;
        shared.refresh_state(&store)?;
        Ok(granted)
    }

    /// The attempt is over: nobody can go on with what lies in the mailbox.
    async fn discard(&self) {
        if let Ok(mailboxes) = self.carrier.mailboxes.reopen().await {
            mailboxes.discard(self.carrier.machine.rdv()).await;
        }
    }
}

fn offers(spaces: &[Client]) -> Result<Vec<OfferedSpace>, ClientError> {
    spaces.iter().map(Client::offered_space).collect()
}

impl Client {
    /// On an existing device: answers a link.
    /// # Errors
    /// [`ClientError`].
    pub async fn link_approve(&self, link: &str) -> Result<LinkApprove, ClientError> {
        let link: LinkText = link.trim().parse()?;
        let address: RelayUrl = link.relay_url.parse()?;
        let url = address.with_key(link.relay_pk);
        let relay_key = self.known_relay_key(&url)?.unwrap_or(link.relay_pk);
        let spaces = self.spaces_to_link().await?;
        let offered = offers(&spaces)?;
        let machine = ExistingDevice::start(link, relay_key, offered, &mut SystemRandom::new())?;
        let mailboxes = self.open_mailboxes(&url).await?;
        let mut carrier = Carrier { mailboxes, machine };
        carrier.carry(Instant::now() + KEYS_TIMEOUT).await?;
        let device_name = carrier.machine.device_name().unwrap_or_default().to_owned();
        Ok(LinkApprove { device_name, approval: self.approval(carrier, spaces) })
    }

    /// On an existing device: answers a code typed from the new device's screen, at `relay` or, without one, at
    /// the relay this home syncs with.
    /// # Errors
    /// [`ClientError`].
    pub async fn link_approve_sas(&self, code: &str, relay: Option<&str>) -> Result<SasApprove, ClientError> {
        let code: SasCode = code.parse()?;
        let url = match relay {
            Some(relay) => relay.parse()?,
            None => self.own_relay()?,
        };
        let url = match self.known_relay_key(&url)? {
            Some(key) if url.key().is_none() => url.with_key(key),
            _ => url,
        };
        let mailboxes = self.open_mailboxes(&url).await?;
        let spaces = self.spaces_to_link().await?;
        let offered = offers(&spaces)?;
        let machine = SasExistingDevice::start(code, mailboxes.relay_key(), offered, &mut SystemRandom::new())?;
        let mut carrier = Carrier { mailboxes, machine };
        carrier.carry(Instant::now() + KEYS_TIMEOUT).await?;
        let comparison = carrier.machine.comparison().ok_or(LinkError::Over)?;
        Ok(SasApprove { comparison, approval: self.approval(carrier, spaces) })
    }

    fn approval<M>(&self, carrier: Carrier<M>, spaces: Vec<Self>) -> Approval<M> {
        let client = Self { shared: Arc::clone(&self.shared) };
        let publishing = Publishing::new(spaces.len());
        Approval { client, carrier, spaces, publishing }
    }

    /// This space, and the person's others at the same relay: a new device is one of theirs everywhere.
    async fn spaces_to_link(&self) -> Result<Vec<Self>, ClientError> {
        let relays = self.relay_addresses()?;
        let mut spaces = vec![Self { shared: Arc::clone(&self.shared) }];
        for other in self.other_spaces()? {
            let is_at_relay = spaces.len() < LINK_SPACES_MAX && other.relay_addresses()?.first() == relays.first();
            if is_at_relay && other.is_open_to_this_device().await? {
                spaces.push(other);
            }
        }
        Ok(spaces)
    }

    /// Whether this device is still a member's. Whoever was removed learns it from the relay alone, and may not have
    /// asked it since; one space that lets nobody in must not stop the linking into the rest.
    async fn is_open_to_this_device(&self) -> Result<bool, ClientError> {
        let is_open = || self.own_member().is_ok() && self.shared.state().membership.closed.is_none();
        if !is_open() {
            return Ok(false);
        }
        let asked = exchange_records(&self.shared).await;
        if self.shared.reader().reads().refused(&self.space())?.is_some() {
            return Ok(false);
        }
        asked?;
        Ok(is_open())
    }

    /// The key that this home has pinned for an address.
    fn known_relay_key(&self, url: &RelayUrl) -> Result<Option<SignPk>, ClientError> {
        let relays = self.shared.store().relays(&self.space())?;
        Ok(relays.iter().find(|relay| relay.url == url.address()).and_then(|relay| relay.key))
    }

    /// A home that has no relay yet takes the one that the link is made at.
    async fn open_mailboxes(&self, url: &RelayUrl) -> Result<Mailboxes, ClientError> {
        let mailboxes = Mailboxes::open(url).await?;
        if self.shared.store().relays(&self.space())?.is_empty() {
            let url = url.clone().with_key(mailboxes.relay_key());
            self.set_relay(&url.to_string())?;
        }
        Ok(mailboxes)
    }

    fn own_relay(&self) -> Result<RelayUrl, ClientError> {
        let relays = self.relay_addresses()?;
        let first = relays.first().ok_or_else(|| {
            ClientError::invalid("this home has no relay yet: name the one the new device uses with --relay URL")
        })?;
        Ok(first.parse()?)
    }

    fn offered_space(&self) -> Result<OfferedSpace, ClientError> {
        let state = self.shared.state();
        let genesis_random = state.membership.genesis_random;
        Ok(OfferedSpace { space: self.space(), member: self.own_member()?, genesis_random })
    }

    /// `URL#KEY` of every relay.
    pub(in crate::client) fn relay_addresses(&self) -> Result<Vec<String>, ClientError> {
        let relays = self.shared.store().relays(&self.space())?;
        let address = |key, url: &str| {
            url.parse::<RelayUrl>().map(|url| match key {
                Some(key) => url.with_key(key).to_string(),
                None => url.to_string(),
            })
        };
        Ok(relays.iter().filter_map(|relay| address(relay.key, &relay.url).ok()).collect())
    }
}
