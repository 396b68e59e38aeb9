//! The new device's side of linking without a camera.

use lifeos_sync_protocol::ids::SignPk;

use super::enrol::{Granted, accept_grant, answer, check_offer, new_side};
use super::message::{Grant, Kind, Offer, frame};
use super::sas::{
    Agreement, Half, SAS_INDEX_COMMIT, SAS_INDEX_GRANT, SAS_INDEX_KEYS, SAS_INDEX_OFFER, SAS_INDEX_REVEAL,
    SAS_INDEX_SHARE, SasCode, Side, sas_side,
};
use super::{Fault, LinkError, LinkStep, OfferedSpace, check_name, planted, stored_at};
use crate::crypto::Random;
use crate::keys::DeviceRoot;

/// The new device in one attempt without a camera. Nothing of it is stored before [`SasNewDevice::prove`].
#[cfg_attr(test, derive(Clone))]
pub struct SasNewDevice {
    root: DeviceRoot,
    name: String,
    side: Side,
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
        let side = Side::new(SasCode::generate(random), relay_pk, random);
        Ok(Self { root, name: name.to_owned(), side, state: State::SendCommit })
    }

    /// The code to show.
    #[must_use]
    pub const fn code(&self) -> SasCode {
        self.side.code
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
            State::SendCommit => send(frame(Kind::SasCommit, &[&self.side.own.commitment()])),
            State::AwaitShare => LinkStep::Wait(SAS_INDEX_SHARE),
            State::SendReveal { .. } => send(self.side.own.message(Kind::SasReveal)),
            State::Compare { .. } => LinkStep::Compare,
            State::AwaitOffer { .. } => LinkStep::Wait(SAS_INDEX_OFFER),
            State::SendKeys { message, .. } => LinkStep::Send(message.clone()),
            State::AwaitGrant { .. } => LinkStep::Wait(SAS_INDEX_GRANT),
            State::Done(_) => LinkStep::Done,
            State::Over => LinkStep::Over,
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
            state @ State::Compare { .. } if planted(Fault::RefusalIgnored) => {
                self.state = state;
                Err(LinkError::Mismatch)
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
        let agreement = self.side.agree(&self.side.own.commitment(), (&existing, &self.side.own), &existing)?;
        Ok(State::SendReveal { agreement })
    }

    fn take_offer(&self, mut agreement: Agreement, message: &[u8]) -> Result<State, LinkError> {
        let offer = Offer::decode(&agreement.open(Kind::SasOffer, message)?)?;
        check_offer(&offer, &self.side.relay_pk)?;
        let keys = answer(&self.root, &self.name, &offer.spaces).encode()?;
        let message = agreement.seal(Kind::SasKeys, keys)?;
        Ok(State::SendKeys { agreement, message, offered: offer.spaces })
    }

    /// The relay has stored the message of [`LinkStep::Send`] at this index.
    ///
    /// # Errors
    /// [`LinkError::Intruder`] when it is not the index it must have; the attempt is then over.
    pub fn sent(&mut self, index: u32) -> Result<(), LinkError> {
        self.state = stored_at(
            index,
            match std::mem::replace(&mut self.state, State::Over) {
                State::SendCommit => (SAS_INDEX_COMMIT, State::AwaitShare),
                State::SendReveal { agreement } => (SAS_INDEX_REVEAL, State::Compare { agreement }),
                State::SendKeys { agreement, offered, .. } => {
                    (SAS_INDEX_KEYS, State::AwaitGrant { agreement, offered })
                }
                _ => return Err(LinkError::Over),
            },
        )?;
        Ok(())
    }
}

/// These messages are of one size; a frame that cannot be made is no attempt at all.
fn send(message: Result<Vec<u8>, LinkError>) -> LinkStep {
    message.map_or(LinkStep::Over, LinkStep::Send)
}

new_side!(SasNewDevice);
sas_side!(SasNewDevice);
