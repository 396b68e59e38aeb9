//! The new device's side of linking without a camera.

use lifeos_sync_protocol::ids::{RdvId, SignPk};
use lifeos_sync_protocol::record::Record;

use super::enrol::{Granted, GrantedSpace, Proven, accept_grant, answer, check_offer};
use super::message::{Grant, Kind, Offer, frame};
use super::sas::{
    Agreement, Comparison, Half, SAS_INDEX_COMMIT, SAS_INDEX_GRANT, SAS_INDEX_KEYS, SAS_INDEX_OFFER, SAS_INDEX_REVEAL,
    SAS_INDEX_SHARE, SasCode,
};
use super::{Fault, LinkError, LinkStep, OfferedSpace, check_name, planted};
use crate::crypto::{AgreementKey, Random, random_bytes};
use crate::keys::{DeviceKeys, DeviceRoot};

/// The new device in one attempt without a camera. Nothing of it is stored before [`SasNewDevice::prove`].
#[cfg_attr(test, derive(Clone))]
pub struct SasNewDevice {
    root: DeviceRoot,
    name: String,
    relay_pk: SignPk,
    code: SasCode,
    key: AgreementKey,
    own: Half,
    state: State,
}

#[cfg_attr(test, derive(Clone))]
enum State {
    SendCommit,
    AwaitShare,
    SendReveal { agreement: Agreement },
    Compare { agreement: Agreement },
    AwaitOffer { agreement: Agreement },
    SendKeys { agreement: Agreement, message: Vec<u8>, offered: Vec<OfferedSpace> },
    AwaitGrant { agreement: Agreement, offered: Vec<OfferedSpace> },
    Done(Granted),
    Over,
}

impl SasNewDevice {
    /// Begins an attempt: the caller creates the mailbox [`SasNewDevice::rdv`] at the relay whose key is `relay_pk`
    /// (with another code if that one is taken) and shows [`SasNewDevice::code`].
    ///
    /// # Errors
    /// [`LinkError::Name`].
    pub fn start(root: DeviceRoot, relay_pk: SignPk, name: &str, random: &mut dyn Random) -> Result<Self, LinkError> {
        check_name(name)?;
        let code = SasCode::generate(random);
        let key = AgreementKey::generate(random);
        let own = Half { key: key.public(), nonce: random_bytes(random) };
        Ok(Self { root, name: name.to_owned(), relay_pk, code, key, own, state: State::SendCommit })
    }

    /// The code to show.
    #[must_use]
    pub const fn code(&self) -> SasCode {
        self.code
    }

    /// The mailbox.
    #[must_use]
    pub fn rdv(&self) -> RdvId {
        self.code.rdv()
    }

    /// What this device calls itself.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.name
    }

    /// What to do next.
    #[must_use]
    pub fn poll(&self) -> LinkStep {
        match &self.state {
            State::SendCommit => send(frame(Kind::SasCommit, &[&self.own.commitment()])),
            State::AwaitShare => LinkStep::Wait(SAS_INDEX_SHARE),
            State::SendReveal { .. } => send(self.own.message(Kind::SasReveal)),
            State::Compare { .. } => LinkStep::Compare,
            State::AwaitOffer { .. } => LinkStep::Wait(SAS_INDEX_OFFER),
            State::SendKeys { message, .. } => LinkStep::Send(message.clone()),
            State::AwaitGrant { .. } => LinkStep::Wait(SAS_INDEX_GRANT),
            State::Done(_) => LinkStep::Done,
            State::Over => LinkStep::Over,
        }
    }

    /// What to show beside the other device, once [`LinkStep::Compare`] and until the person has answered.
    #[must_use]
    pub fn comparison(&self) -> Option<Comparison> {
        match &self.state {
            State::Compare { agreement } => Some(agreement.comparison()),
            _ => None,
        }
    }

    /// The person has compared. Anything but "they match" ends the attempt.
    ///
    /// # Errors
    /// [`LinkError::Mismatch`]; [`LinkError::Over`] when nothing is to be compared.
    pub fn confirm(&mut self, they_match: bool) -> Result<(), LinkError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Compare { agreement } if they_match || planted(Fault::CodeUnchecked) => {
                self.state = State::AwaitOffer { agreement };
                Ok(())
            }
            State::Compare { .. } => Err(LinkError::Mismatch),
            _ => Err(LinkError::Over),
        }
    }

    /// Takes a message of the mailbox. After an error the attempt is over.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn handle(&mut self, index: u32, message: &[u8]) -> Result<(), LinkError> {
        self.state = match (std::mem::replace(&mut self.state, State::Over), index) {
            (State::AwaitShare, SAS_INDEX_SHARE) => self.take_share(message)?,
            (State::AwaitOffer { agreement }, SAS_INDEX_OFFER) => self.take_offer(agreement, message)?,
            (State::AwaitGrant { mut agreement, offered }, SAS_INDEX_GRANT) => {
                let plaintext = agreement.open(Kind::SasGrant, message)?;
                State::Done(accept_grant(&offered, Grant::decode(&plaintext)?)?)
            }
            _ => return Err(LinkError::Over),
        };
        Ok(())
    }

    fn take_share(&self, message: &[u8]) -> Result<State, LinkError> {
        let existing = Half::read(Kind::SasShare, message)?;
        let secret = self.key.agree(&existing.key)?;
        let place = (&self.rdv(), &self.relay_pk);
        let agreement = Agreement::new(place, (&self.own.commitment(), &existing, &self.own), &secret);
        Ok(State::SendReveal { agreement })
    }

    fn take_offer(&self, mut agreement: Agreement, message: &[u8]) -> Result<State, LinkError> {
        let offer = Offer::decode(&agreement.open(Kind::SasOffer, message)?)?;
        check_offer(&offer, &self.relay_pk)?;
        let keys = answer(&self.root, &self.name, &offer.spaces).encode()?;
        let message = agreement.seal(Kind::SasKeys, keys)?;
        Ok(State::SendKeys { agreement, message, offered: offer.spaces })
    }

    /// The relay has stored the message of [`LinkStep::Send`] at this index.
    ///
    /// # Errors
    /// [`LinkError::Intruder`] when it is not the index it must have; the attempt is then over.
    pub fn sent(&mut self, index: u32) -> Result<(), LinkError> {
        let (expected, next) = match std::mem::replace(&mut self.state, State::Over) {
            State::SendCommit => (SAS_INDEX_COMMIT, State::AwaitShare),
            State::SendReveal { agreement } => (SAS_INDEX_REVEAL, State::Compare { agreement }),
            State::SendKeys { agreement, offered, .. } => (SAS_INDEX_KEYS, State::AwaitGrant { agreement, offered }),
            _ => return Err(LinkError::Over),
        };
        if index != expected {
            return Err(LinkError::Intruder);
        }
        self.state = next;
        Ok(())
    }

    /// What was granted, once [`LinkStep::Done`].
    #[must_use]
    pub const fn granted(&self) -> Option<&Granted> {
        match &self.state {
            State::Done(granted) => Some(granted),
            _ => None,
        }
    }

    /// This device's keys in a granted space, to ask a relay for its records.
    #[must_use]
    pub fn keys(&self, space: &GrantedSpace) -> DeviceKeys {
        space.keys(&self.root)
    }

    /// Checks the records of every granted space; only then the root may be kept.
    ///
    /// # Errors
    /// [`LinkError::Records`], [`LinkError::Over`] before [`LinkStep::Done`].
    pub fn prove(&self, records: &[Vec<Record>]) -> Result<Proven<'_>, LinkError> {
        self.granted().ok_or(LinkError::Over)?.prove(&self.root, records)
    }
}

/// These messages are of one size; a frame that cannot be made is no attempt at all.
fn send(message: Result<Vec<u8>, LinkError>) -> LinkStep {
    message.map_or(LinkStep::Over, LinkStep::Send)
}
