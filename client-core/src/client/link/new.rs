//! The new device: a mailbox, a link or a code, and at the end a home.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeos_sync_protocol::record::Record;
use tokio::time::{Instant, sleep};

use super::machine::NewSide;
use super::{Carrier, LINK_TTL_S};
use crate::client::home::Beginning;
use crate::client::{Client, ClientError};
use crate::crypto::SystemRandom;
use crate::engine::{EngineError, Mailboxes, fetch_records};
use crate::keys::{DeviceKeys, DeviceRoot};
use crate::link::{Comparison, Granted, GrantedSpace, LinkError, LinkStep, NewDevice, SasNewDevice};
use crate::session::SessionError;
use crate::store::{DATABASE_FILE, StoreError};
use crate::transport::RelayUrl;

/// Pause between two tries to fetch the records after linking.
const FETCH_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Codes tried when the relay has a mailbox of that name already.
const CODES_TRIED_MAX: u32 = 4;

/// A link being made on the new device: show `link()`, then show `code()` when it is there, then wait.
pub struct LinkNew {
    text: String,
    attempt: Attempt<NewDevice>,
}

/// A link without a camera being made on the new device: show `code()`, then `compare()`, then `confirm`.
pub struct SasNew {
    code: String,
    attempt: Attempt<SasNewDevice>,
}

struct Attempt<M> {
    home: PathBuf,
    url: RelayUrl,
    carrier: Carrier<M>,
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
        let Attempt { carrier, deadline, .. } = &mut self.attempt;
        while !(carrier.machine.code().is_some() && matches!(carrier.machine.poll(), LinkStep::Wait(_))) {
            carrier.step(*deadline).await?;
        }
        carrier.machine.code().map(|code| code.to_string()).ok_or_else(|| LinkError::Over.into())
    }

    /// Waits until the other device has enrolled this one; the home is then complete.
    /// # Errors
    /// [`ClientError`].
    pub async fn finish(self) -> Result<Client, ClientError> {
        self.attempt.finish().await
    }
}

impl SasNew {
    /// Eight letters, to be typed on the other device.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Waits for the other device; returns what both show.
    /// # Errors
    /// [`ClientError`] on timeout (10 min) or a lost relay.
    pub async fn compare(&mut self) -> Result<Comparison, ClientError> {
        let Attempt { carrier, deadline, .. } = &mut self.attempt;
        carrier.carry(*deadline).await?;
        carrier.machine.comparison().ok_or_else(|| LinkError::Over.into())
    }

    /// The person has compared: with "they match" this waits until the other device has enrolled this one, and
    /// the home is then complete.
    /// # Errors
    /// [`ClientError::Security`] when they do not match: nothing was told, nothing is kept.
    pub async fn confirm(mut self, they_match: bool) -> Result<Client, ClientError> {
        let carrier = &mut self.attempt.carrier;
        if let Err(error) = carrier.machine.confirm(they_match) {
            let rdv = carrier.machine.rdv();
            if let Ok(mailboxes) = carrier.mailboxes.reopen().await {
                mailboxes.discard(rdv).await;
            }
            return Err(error.into());
        }
        self.attempt.finish().await
    }
}

impl<M: NewSide> Attempt<M> {
    async fn finish(self) -> Result<Client, ClientError> {
        let Self { home, url, mut carrier, deadline } = self;
        carrier.carry(deadline).await?;
        let Carrier { mailboxes, machine } = carrier;
        mailboxes.discard(machine.rdv()).await;
        let granted = machine.granted().ok_or(LinkError::Over)?;
        let space = *granted.spaces.first().ok_or(LinkError::Message)?;
        let relay = granted_relay(granted, url)?;
        let mut records = Vec::with_capacity(granted.spaces.len());
        for space in &granted.spaces {
            records.push(fetch_until(&relay, space, &machine.keys(space), deadline).await?);
        }
        // From here on, and not before, the root may be kept.
        let root = DeviceRoot::from_bytes(*machine.prove(&records)?.root.to_bytes());
        let (keys, device_name) = (machine.keys(&space), machine.device_name().to_owned());
        let other_relays: Vec<String> = granted.relays.iter().skip(1).cloned().collect();
        let others: Vec<_> = granted
            .spaces
            .iter()
            .skip(1)
            .copied()
            .map(|space| (space, machine.keys(&space)))
            .zip(records.split_off(1))
            .collect();
        let records = records.into_iter().next().unwrap_or_default();
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
            let client = Client::begin(&home, &beginning)?;
            for relay in &other_relays {
                client.add_relay(relay)?;
            }
            let mut joined = Vec::new();
            for ((space, keys), records) in others {
                let other = client.add_space(space.space, &keys, records, Some(&relay))?;
                other.name_space(&space.member, None)?;
                joined.push(other);
            }
            client.claim_spaces(&joined)?;
            Ok(client)
        };
        crate::engine::blocking(make).await.map_err(|_| EngineError::Fault)?
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
) -> Result<Vec<Record>, ClientError> {
    loop {
        match fetch_records(relay, space.space, keys).await {
            Ok(records) => return Ok(records),
            Err(error) if error.is_transient() && Instant::now() < deadline => sleep(FETCH_AGAIN_AFTER).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// A connection to the relay that the link is made at, with the key it presents.
async fn begin(home: &Path, relay: &str) -> Result<(Mailboxes, RelayUrl, Instant), ClientError> {
    if home.join(DATABASE_FILE).exists() {
        return Err(StoreError::HomeExists.into());
    }
    let url: RelayUrl = relay.parse()?;
    let mailboxes = Mailboxes::open(&url).await?;
    let url = url.with_key(mailboxes.relay_key());
    Ok((mailboxes, url, Instant::now() + Duration::from_secs(u64::from(LINK_TTL_S))))
}

impl Client {
    /// On a new device: makes keys and a mailbox at the relay.
    /// # Errors
    /// [`ClientError`].
    pub async fn link_new(home: &Path, relay: &str, device_name: &str) -> Result<LinkNew, ClientError> {
        let (mut mailboxes, url, deadline) = begin(home, relay).await?;
        let mut random = SystemRandom::new();
        let root = DeviceRoot::generate(&mut random);
        let machine = NewDevice::start(root, url.address(), mailboxes.relay_key(), device_name, &mut random)?;
        mailboxes.create(machine.rdv(), LINK_TTL_S).await?;
        let text = machine.link().to_string();
        let carrier = Carrier { mailboxes, machine };
        Ok(LinkNew { text, attempt: Attempt { home: home.to_owned(), url, carrier, deadline } })
    }

    /// On a new device without a camera on either side: makes keys and a mailbox under a short code.
    /// # Errors
    /// [`ClientError`].
    pub async fn link_new_sas(home: &Path, relay: &str, device_name: &str) -> Result<SasNew, ClientError> {
        let (mut mailboxes, url, deadline) = begin(home, relay).await?;
        let machine = open_under_code(&mut mailboxes, device_name).await?;
        let code = machine.code().to_string();
        let mut carrier = Carrier { mailboxes, machine };
        // The commitment lies there before the code is shown.
        carrier.step(deadline).await?;
        Ok(SasNew { code, attempt: Attempt { home: home.to_owned(), url, carrier, deadline } })
    }
}

/// Codes are short: when the mailbox of one exists already, the next is tried.
async fn open_under_code(mailboxes: &mut Mailboxes, device_name: &str) -> Result<SasNewDevice, ClientError> {
    let (mut random, relay_key) = (SystemRandom::new(), mailboxes.relay_key());
    let mut tried = 0;
    loop {
        let root = DeviceRoot::generate(&mut random);
        let machine = SasNewDevice::start(root, relay_key, device_name, &mut random)?;
        tried += 1;
        match mailboxes.create(machine.rdv(), LINK_TTL_S).await {
            Ok(()) => return Ok(machine),
            Err(error) if tried == CODES_TRIED_MAX || !is_taken(&error) => return Err(error.into()),
            Err(_) => {}
        }
    }
}

const fn is_taken(error: &EngineError) -> bool {
    use lifeos_sync_protocol::frame::ErrorCode;
    matches!(error, EngineError::Session(SessionError::Refused { code: ErrorCode::MailboxRefused, .. }))
}
