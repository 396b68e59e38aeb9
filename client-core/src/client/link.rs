//! Linking a device: carries the messages of [`crate::link`] through a mailbox, enrols, and makes the new home.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::home::Beginning;
use super::{Client, ClientError};
use crate::crypto::SystemRandom;
use crate::engine::{EngineError, Mailboxes, exchange_records, fetch_records};
use crate::keys::{DeviceKeys, DeviceRoot};
use crate::link::{
    CodeCheck, ExistingDevice, Granted, GrantedSpace, GrantedSpaceInput, LinkError, LinkStep, LinkText, NewDevice,
    OfferedSpace,
};
use crate::records::{AddDevice, add_device};
use crate::store::{DATABASE_FILE, StoreError};
use crate::transport::RelayUrl;

/// How long a link can be answered.
const LINK_TTL_S: u32 = 600;
/// How long the approving device waits for the new one, which shows its link already.
const KEYS_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause between two tries to fetch the records after linking.
const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(2);

impl From<LinkError> for ClientError {
    fn from(error: LinkError) -> Self {
        let message = error.to_string();
        match error {
            LinkError::Text | LinkError::Name | LinkError::TooLarge | LinkError::Over => Self::Invalid { message },
            _ => Self::Security { message },
        }
    }
}

/// A link being made on the new device: show `link()`, then show `code()` when it is there, then wait.
pub struct LinkNew {
    home: PathBuf,
    url: RelayUrl,
    text: String,
    mailboxes: Mailboxes,
    machine: NewDevice,
    deadline: Instant,
}

impl LinkNew {
    /// `LS1…`, to be shown as text and QR code.
    #[must_use]
    pub fn link(&self) -> &str {
        &self.text
    }

    /// Waits for the other device's offer; returns the six digits to show.
    /// # Errors
    /// [`ClientError`] on timeout (10 min), mismatch or a lost relay.
    pub async fn code(&mut self) -> Result<String, ClientError> {
        while matches!(self.machine.poll(), LinkStep::Wait(_) | LinkStep::Send(_)) && !self.keys_are_sent() {
            self.step().await?;
        }
        self.machine.code().map(|code| code.to_string()).ok_or_else(|| LinkError::Over.into())
    }

    /// The offer was answered: from here on the code is shown.
    fn keys_are_sent(&self) -> bool {
        self.machine.code().is_some() && matches!(self.machine.poll(), LinkStep::Wait(_))
    }

    async fn step(&mut self) -> Result<(), ClientError> {
        match self.machine.poll() {
            LinkStep::Send(message) => {
                let index = self.mailboxes.put(self.machine.rdv(), message).await?;
                self.machine.sent(index)?;
            }
            LinkStep::Wait(index) => {
                let message = self.mailboxes.get(self.machine.rdv(), index, self.deadline).await?;
                self.machine.handle(index, &message, &mut SystemRandom::new())?;
            }
            _ => return Err(LinkError::Over.into()),
        }
        Ok(())
    }

    /// Waits until the other device has enrolled this one; the home is then complete.
    /// # Errors
    /// [`ClientError`].
    pub async fn finish(mut self) -> Result<Client, ClientError> {
        while self.machine.poll() != LinkStep::Done {
            self.step().await?;
        }
        let Self { home, url, mailboxes, machine, deadline, .. } = self;
        mailboxes.discard(machine.rdv()).await;
        let granted = machine.granted().ok_or(LinkError::Over)?;
        let space = *granted.spaces.first().ok_or(LinkError::Message)?;
        let relay = granted_relay(granted, url)?;
        let keys = machine.root().derive_space(&space.genesis_random);
        let device_name = machine.device_name().to_owned();
        let records = fetch_until(&relay, &space, &keys, deadline).await?;
        space.check(&records, machine.root())?;
        let root = DeviceRoot::from_bytes(*machine.root().to_bytes());
        let make = move || {
            let beginning = Beginning {
                root: &root,
                keys: &keys,
                space: space.space,
                member: space.member,
                records,
                device_name: &device_name,
                person_name: "",
                relay: Some(&relay),
            };
            Client::begin(&home, &beginning)
        };
        tokio::task::spawn_blocking(make).await.map_err(|_| EngineError::Fault)?
    }
}

/// Where the approving device syncs; without one, where the link was made.
fn granted_relay(granted: &Granted, url: RelayUrl) -> Result<RelayUrl, ClientError> {
    granted.relays.first().map_or(Ok(url), |relay| Ok(relay.parse()?))
}

/// The grant came after the records were stored; what can fail now is the network.
async fn fetch_until(
    relay: &RelayUrl,
    space: &GrantedSpace,
    keys: &DeviceKeys,
    deadline: Instant,
) -> Result<Vec<lifeos_sync_protocol::record::Record>, ClientError> {
    loop {
        match fetch_records(relay, space.space, keys).await {
            Ok(records) => return Ok(records),
            Err(error) if error.is_transient() && Instant::now() < deadline => sleep(FETCH_AGAIN_AFTER).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A link being approved on an existing device: the person types the code that the new device shows.
pub struct LinkApprove {
    client: Client,
    url: RelayUrl,
    machine: ExistingDevice,
    device_name: String,
    /// The new device is enrolled; what is left is to tell it.
    enrolled: Option<GrantedSpaceInput>,
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
        if self.machine.poll() == LinkStep::AskCode
            && let CodeCheck::Wrong { tries_left } = self.machine.enter_code(code)?
        {
            if tries_left > 0 {
                return Ok(Some(tries_left));
            }
            if let Ok(mailboxes) = Mailboxes::open(&self.url).await {
                mailboxes.discard(self.machine.rdv()).await;
            }
            return Err(ClientError::Security {
                message: "three wrong codes: nothing was linked; make a new link on the new device".to_owned(),
            });
        }
        if self.machine.poll() == LinkStep::Publish {
            self.publish().await?;
        }
        self.send_grant().await?;
        Ok(None)
    }

    /// Enrols the new device here and at the relay, and only then prepares the grant.
    async fn publish(&mut self) -> Result<(), ClientError> {
        // First what others wrote: the new record cites the newest ones.
        exchange_records(&self.client.shared).await?;
        let granted = match self.enrolled {
            Some(granted) => granted,
            None => self.enrol()?,
        };
        self.enrolled = Some(granted);
        exchange_records(&self.client.shared).await?;
        let relays = self.client.relay_addresses()?;
        let person = self.client.person_name()?;
        Ok(self.machine.grant(&person, &relays, &[granted])?)
    }

    fn enrol(&self) -> Result<GrantedSpaceInput, ClientError> {
        let shared = &self.client.shared;
        let new = self.machine.new_entries().and_then(<[_]>::first).cloned().ok_or(LinkError::Over)?;
        let state = shared.state();
        let mut store = shared.store();
        let add = AddDevice {
            membership: &state.membership,
            records: &store.records(&shared.space)?,
            keyring: &state.keyring,
            keys: &shared.keys,
            member: new.member,
            entry: new.entry,
            name: &self.device_name,
        };
        let records =
            add_device(&add, &mut SystemRandom::new()).map_err(|error| ClientError::invalid(error.to_string()))?;
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Err(LinkError::Over.into()) };
        let granted = GrantedSpaceInput { space: shared.space, device_add: first.id(), head: last.id() };
        store.put_records(&shared.space, &records)?;
        shared.refresh_state(&store)?;
        Ok(granted)
    }

    async fn send_grant(&mut self) -> Result<(), ClientError> {
        let LinkStep::Send(message) = self.machine.poll() else { return Err(LinkError::Over.into()) };
        // Typing a code takes time; the connection of the offer may be gone.
        let mut mailboxes = Mailboxes::open(&self.url).await?;
        let index = mailboxes.put(self.machine.rdv(), message).await?;
        Ok(self.machine.sent(index)?)
    }
}

impl Client {
    /// On a new device: makes keys and a mailbox at the relay.
    /// # Errors
    /// [`ClientError`].
    pub async fn link_new(home: &Path, relay: &str, device_name: &str) -> Result<LinkNew, ClientError> {
        if home.join(DATABASE_FILE).exists() {
            return Err(StoreError::HomeExists.into());
        }
        let url: RelayUrl = relay.parse()?;
        let mut mailboxes = Mailboxes::open(&url).await?;
        let relay_key = mailboxes.relay_key();
        let url = url.with_key(relay_key);
        let mut random = SystemRandom::new();
        let root = DeviceRoot::generate(&mut random);
        let machine = NewDevice::start(root, url.address(), relay_key, device_name, &mut random)?;
        mailboxes.create(machine.rdv(), LINK_TTL_S).await?;
        let deadline = Instant::now() + Duration::from_secs(u64::from(LINK_TTL_S));
        let text = machine.link().to_string();
        Ok(LinkNew { home: home.to_owned(), url, text, mailboxes, machine, deadline })
    }

    /// On an existing device: answers a link.
    /// # Errors
    /// [`ClientError`].
    pub async fn link_approve(&self, link: &str) -> Result<LinkApprove, ClientError> {
        let link: LinkText = link.trim().parse()?;
        let address: RelayUrl = link.relay_url.parse()?;
        let url = address.with_key(link.relay_pk);
        let relays = self.shared.store().relays(&self.space())?;
        let known = relays.iter().find(|relay| relay.url == url.address()).and_then(|relay| relay.key);
        let mut random = SystemRandom::new();
        let relay_key = known.unwrap_or(link.relay_pk);
        let mut machine = ExistingDevice::start(link, relay_key, vec![self.offered_space()?], &mut random)?;
        let mut mailboxes = Mailboxes::open(&url).await?;
        if relays.is_empty() {
            self.set_relay(&url.to_string())?;
        }
        while machine.poll() != LinkStep::AskCode {
            match machine.poll() {
                LinkStep::Send(message) => machine.sent(mailboxes.put(machine.rdv(), message).await?)?,
                LinkStep::Wait(index) => {
                    let deadline = Instant::now() + KEYS_TIMEOUT;
                    let message = mailboxes.get(machine.rdv(), index, deadline).await?;
                    machine.handle(index, &message)?;
                }
                _ => return Err(LinkError::Over.into()),
            }
        }
        let device_name = machine.device_name().unwrap_or_default().to_owned();
        Ok(LinkApprove { client: Self { shared: Arc::clone(&self.shared) }, url, machine, device_name, enrolled: None })
    }

    fn offered_space(&self) -> Result<OfferedSpace, ClientError> {
        let state = self.shared.state();
        let own = state.membership.devices.get(&self.device()).filter(|device| device.removed_by.is_none());
        let own = own.ok_or_else(|| ClientError::home("this device is not enrolled in its space any more"))?;
        let genesis_random = state.membership.genesis_random;
        Ok(OfferedSpace { space: self.space(), member: own.member, genesis_random })
    }

    /// `URL#KEY` of every relay.
    fn relay_addresses(&self) -> Result<Vec<String>, ClientError> {
        let relays = self.shared.store().relays(&self.space())?;
        let address = |key, url: &str| {
            url.parse::<RelayUrl>().map(|url| match key {
                Some(key) => url.with_key(key).to_string(),
                None => url.to_string(),
            })
        };
        Ok(relays.iter().filter_map(|relay| address(relay.key, &relay.url).ok()).collect())
    }

    fn person_name(&self) -> Result<String, ClientError> {
        let state = self.shared.state();
        let member = state.membership.devices.get(&self.device()).map(|device| device.member.to_string());
        let names = self.names()?;
        Ok(member.map(|member| names.member(&member)).unwrap_or_default())
    }
}
