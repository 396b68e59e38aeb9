//! The existing device's side of linking without a camera.

use lifeos_sync_protocol::ids::SignPk;

use super::enrol::{GrantedSpaceInput, NewEntry, accept_keys, check_spaces, make_grant};
use super::message::{Keys, Kind, Offer};
use super::sas::{
    Agreement, Half, SAS_INDEX_COMMIT, SAS_INDEX_GRANT, SAS_INDEX_KEYS, SAS_INDEX_OFFER, SAS_INDEX_REVEAL,
    SAS_INDEX_SHARE, SasCode, Side, ordered, sas_side,
};
use super::{Fault, LinkError, LinkStep, OfferedSpace, planted, stored_at};
use crate::crypto::Random;

/// The existing device in one attempt without a camera.
#[cfg_attr(test, derive(Clone))]
pub struct SasExistingDevice {
    side: Side,
    spaces: Vec<OfferedSpace>,
    new: Option<(String, Vec<NewEntry>)>,
    state: State,
}

#[cfg_attr(test, derive(Clone))]
enum State {
    AwaitCommit,
    SendShare { commitment: [u8; 32] },
    AwaitReveal { commitment: [u8; 32] },
    Compare { agreement: Agreement },
    SendOffer { agreement: Agreement, message: Vec<u8> },
    AwaitKeys { agreement: Agreement },
    Publish { agreement: Agreement },
    SendGrant { message: Vec<u8> },
    Done,
    Over,
}

impl SasExistingDevice {
    /// Begins an attempt with a code that the person typed. `relay_pk` is the key of the relay as this device sees
    /// it; the person's home space comes first in `spaces`.
    ///
    /// # Errors
    /// [`LinkError::TooLarge`] for no space or too many.
    pub fn start(
        code: SasCode,
        relay_pk: SignPk,
        spaces: Vec<OfferedSpace>,
        random: &mut dyn Random,
    ) -> Result<Self, LinkError> {
        check_spaces(&spaces)?;
        let side = Side::new(code, relay_pk, random);
        Ok(Self { side, spaces, new: None, state: State::AwaitCommit })
    }

    /// What to do next.
    #[must_use]
    pub fn poll(&self) -> LinkStep {
        match &self.state {
            State::AwaitCommit => LinkStep::Wait(SAS_INDEX_COMMIT),
            State::SendShare { .. } => self.side.own.message(Kind::SasShare).map_or(LinkStep::Over, LinkStep::Send),
            State::AwaitReveal { .. } => LinkStep::Wait(SAS_INDEX_REVEAL),
            State::Compare { .. } => LinkStep::Compare,
            State::SendOffer { message, .. } | State::SendGrant { message } => LinkStep::Send(message.clone()),
            State::AwaitKeys { .. } => LinkStep::Wait(SAS_INDEX_KEYS),
            State::Publish { .. } => LinkStep::Publish,
            State::Done => LinkStep::Done,
            State::Over => LinkStep::Over,
        }
    }

    /// The person has compared. Anything but "they match" ends the attempt, and nothing was offered.
    ///
    /// # Errors
    /// [`LinkError::Mismatch`]; [`LinkError::Over`] when nothing is to be compared.
    pub fn confirm(&mut self, they_match: bool) -> Result<(), LinkError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Compare { mut agreement } if they_match || planted(Fault::CodeUnchecked) => {
                let offer =
                    Offer { relay_pk: self.side.relay_pk, one_time_pk: self.side.own.key, spaces: self.spaces.clone() };
                let message = agreement.seal(Kind::SasOffer, offer.encode()?)?;
                self.state = State::SendOffer { agreement, message };
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
    /// [`LinkError::Order`] for a key that is shown without or before its commitment, [`LinkError::Commitment`] for
    /// one that is not what was committed to, and the others of [`LinkError`].
    pub fn handle(&mut self, index: u32, message: &[u8]) -> Result<(), LinkError> {
        self.state = match (std::mem::replace(&mut self.state, State::Over), index) {
            (State::AwaitCommit, SAS_INDEX_COMMIT) => {
                let commitment = ordered(Kind::SasCommit, message)?.try_into().map_err(|_| LinkError::Message)?;
                State::SendShare { commitment }
            }
            (State::AwaitReveal { commitment }, SAS_INDEX_REVEAL) => {
                State::Compare { agreement: self.take_reveal(&commitment, message)? }
            }
            (State::AwaitKeys { mut agreement }, SAS_INDEX_KEYS) => {
                let keys = Keys::decode(&agreement.open(Kind::SasKeys, message)?)?;
                self.new = Some(accept_keys(&self.spaces, keys)?);
                State::Publish { agreement }
            }
            _ => return Err(LinkError::Over),
        };
        Ok(())
    }

    fn take_reveal(&self, commitment: &[u8; 32], message: &[u8]) -> Result<Agreement, LinkError> {
        let new = Half::read(Kind::SasReveal, message)?;
        // Our own half thrown back at us agrees with itself.
        if new.commitment() != *commitment || new.key == self.side.own.key {
            return Err(LinkError::Commitment);
        }
        self.side.agree(commitment, (&self.side.own, &new), &new)
    }

    /// The relay has stored the message of [`LinkStep::Send`] at this index.
    ///
    /// # Errors
    /// [`LinkError::Intruder`] when it is not the index it must have; the attempt is then over.
    pub fn sent(&mut self, index: u32) -> Result<(), LinkError> {
        self.state = stored_at(
            index,
            match std::mem::replace(&mut self.state, State::Over) {
                State::SendShare { commitment } => (SAS_INDEX_SHARE, State::AwaitReveal { commitment }),
                State::SendOffer { agreement, .. } => (SAS_INDEX_OFFER, State::AwaitKeys { agreement }),
                State::SendGrant { .. } => (SAS_INDEX_GRANT, State::Done),
                _ => return Err(LinkError::Over),
            },
        )?;
        Ok(())
    }

    /// What the new device calls itself, once its keys have come.
    #[must_use]
    pub fn device_name(&self) -> Option<&str> {
        self.new.as_ref().map(|(name, _)| name.as_str())
    }

    /// The new device's keys, in the order of the offered spaces: only after both persons' word and its answer.
    #[must_use]
    pub fn new_entries(&self) -> Option<&[NewEntry]> {
        match (&self.state, &self.new) {
            (State::Publish { .. }, Some((_, entries))) => Some(entries),
            _ => None,
        }
    }

    /// Tells the new device where to find itself, as [`super::ExistingDevice::grant`].
    ///
    /// # Errors
    /// [`LinkError::Over`] before the records can have been published; [`LinkError::TooLarge`]: it can then be
    /// called again.
    pub fn grant(&mut self, person: &str, relays: &[String], spaces: &[GrantedSpaceInput]) -> Result<(), LinkError> {
        let State::Publish { agreement } = &mut self.state else { return Err(LinkError::Over) };
        let grant = make_grant(&self.spaces, person, relays, spaces)?.encode()?;
        let message = agreement.seal(Kind::SasGrant, grant)?;
        self.state = State::SendGrant { message };
        Ok(())
    }
}

sas_side!(SasExistingDevice);
