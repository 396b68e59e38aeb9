//! The side of the existing device: it offers its spaces to the key in the link, compares the code that the
//! person types, and only then gives out the DeviceAdd records' inputs.

use lifeos_sync_protocol::ids::{RdvId, SignPk};
use zeroize::Zeroizing;

use super::enrol::{GrantedSpaceInput, NewEntry, accept_keys, check_spaces, make_grant};
use super::message::{Keys, Kind, Offer, frame, split_hpke};
use super::{
    CODE_TRIES_MAX, Fault, INDEX_GRANT, INDEX_KEYS, INDEX_OFFER, LinkError, LinkStep, LinkText, OfferedSpace, Shared,
    keys_info, offer_info, planted, stored_at,
};
use crate::crypto::{HpkeKey, Random, equal_constant_time, hpke_open, hpke_seal, seal_once};

/// The existing device in one attempt.
#[cfg_attr(test, derive(Clone))]
pub struct ExistingDevice {
    link: LinkText,
    spaces: Vec<OfferedSpace>,
    one_time: HpkeKey,
    offer: Vec<u8>,
    offer_export: Zeroizing<[u8; 32]>,
    new: Option<NewKeys>,
    state: State,
}

#[cfg_attr(test, derive(Clone))]
struct NewKeys {
    name: String,
    entries: Vec<NewEntry>,
    shared: Shared,
}

#[cfg_attr(test, derive(Clone))]
enum State {
    SendOffer,
    AwaitKeys,
    Code { wrong: u32 },
    Publish,
    SendGrant { message: Vec<u8> },
    Done,
    Over,
}

/// What typing a code gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeCheck {
    /// Go on.
    Right,
    /// Try again, or at 0 the attempt is over. What is not six digits costs no try.
    Wrong {
        /// Tries left.
        tries_left: u32,
    },
}

impl ExistingDevice {
    /// Begins an attempt with a scanned or pasted link. `relay_pk` is the key that the relay at the link's address
    /// has for this device; the person's home space comes first in `spaces`.
    ///
    /// # Errors
    /// [`LinkError::RelayKey`], [`LinkError::TooLarge`] for no space or more than [`super::LINK_SPACES_MAX`],
    /// [`LinkError::Message`] for a link with a weak key.
    pub fn start(
        link: LinkText,
        relay_pk: SignPk,
        spaces: Vec<OfferedSpace>,
        random: &mut dyn Random,
    ) -> Result<Self, LinkError> {
        if link.relay_pk != relay_pk {
            return Err(LinkError::RelayKey);
        }
        check_spaces(&spaces)?;
        let one_time = HpkeKey::generate(random);
        let offer = Offer { relay_pk, one_time_pk: one_time.public(), spaces };
        let sealed = hpke_seal(&link.link_pk, None, &offer_info(&link), &[], &offer.encode()?, random)?;
        let message = frame(Kind::Offer, &[&sealed.enc, &sealed.ct])?;
        Ok(Self {
            link,
            spaces: offer.spaces,
            one_time,
            offer: message,
            offer_export: sealed.export,
            new: None,
            state: State::SendOffer,
        })
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
            State::SendOffer => LinkStep::Send(self.offer.clone()),
            State::AwaitKeys => LinkStep::Wait(INDEX_KEYS),
            State::Code { .. } => LinkStep::AskCode,
            State::Publish => LinkStep::Publish,
            State::SendGrant { message } => LinkStep::Send(message.clone()),
            State::Done => LinkStep::Done,
            State::Over => LinkStep::Over,
        }
    }

    /// Takes a message of the mailbox. After an error the attempt is over.
    ///
    /// # Errors
    /// [`LinkError`].
    pub fn handle(&mut self, index: u32, message: &[u8]) -> Result<(), LinkError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitKeys if index == INDEX_KEYS => {
                self.new = Some(self.open_keys(message)?);
                self.state = State::Code { wrong: 0 };
                Ok(())
            }
            _ => Err(LinkError::Over),
        }
    }

    /// The relay has stored the message of [`LinkStep::Send`] at this index.
    ///
    /// # Errors
    /// [`LinkError::Intruder`] when it is not the index it must have; the attempt is then over.
    pub fn sent(&mut self, index: u32) -> Result<(), LinkError> {
        self.state = stored_at(
            index,
            match std::mem::replace(&mut self.state, State::Over) {
                State::SendOffer => (INDEX_OFFER, State::AwaitKeys),
                State::SendGrant { .. } => (INDEX_GRANT, State::Done),
                _ => return Err(LinkError::Over),
            },
        )?;
        Ok(())
    }

    /// What the new device calls itself, once its keys have come.
    #[must_use]
    pub fn device_name(&self) -> Option<&str> {
        self.new.as_ref().map(|new| new.name.as_str())
    }

    /// Compares what the person typed with the code; blanks and hyphens do not matter.
    ///
    /// # Errors
    /// [`LinkError::Over`] when no code is asked for.
    pub fn enter_code(&mut self, typed: &str) -> Result<CodeCheck, LinkError> {
        let (State::Code { wrong }, Some(new)) = (&self.state, &self.new) else { return Err(LinkError::Over) };
        let wrong = *wrong;
        let typed: Zeroizing<String> =
            Zeroizing::new(typed.chars().filter(|c| !c.is_whitespace() && *c != '-').collect());
        if typed.len() != 6 || !typed.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(CodeCheck::Wrong { tries_left: CODE_TRIES_MAX - wrong });
        }
        let right = equal_constant_time(typed.as_bytes(), new.shared.code().as_bytes());
        if right || planted(Fault::CodeUnchecked) {
            self.state = State::Publish;
            return Ok(CodeCheck::Right);
        }
        let wrong = if planted(Fault::RefusalIgnored) { wrong } else { wrong + 1 };
        self.state = if wrong < CODE_TRIES_MAX { State::Code { wrong } } else { State::Over };
        Ok(CodeCheck::Wrong { tries_left: CODE_TRIES_MAX - wrong })
    }

    /// The new device's keys, in the order of the offered spaces: only after the right code.
    #[must_use]
    pub fn new_entries(&self) -> Option<&[NewEntry]> {
        match (&self.state, &self.new) {
            (State::Publish, Some(new)) => Some(&new.entries),
            _ => None,
        }
    }

    /// Tells the new device where to find itself. The records in `spaces` are stored by the relay already; they
    /// have the order of [`ExistingDevice::new_entries`].
    ///
    /// # Errors
    /// [`LinkError::Over`] before the right code; [`LinkError::TooLarge`] for too many or long relay addresses or
    /// a person's name above 256 bytes, or other spaces than the offered ones: it can then be called again.
    pub fn grant(&mut self, person: &str, relays: &[String], spaces: &[GrantedSpaceInput]) -> Result<(), LinkError> {
        let (State::Publish, Some(new)) = (&self.state, &self.new) else { return Err(LinkError::Over) };
        let mut buffer = make_grant(&self.spaces, person, relays, spaces)?.encode()?;
        seal_once(&new.shared.grant_key(), &new.shared.transcript, &mut buffer)?;
        self.state = State::SendGrant { message: frame(Kind::Grant, &[&buffer])? };
        Ok(())
    }

    /// The code that this side expects: an attacker who plays it knows what it agreed on.
    #[cfg(test)]
    pub(super) fn own_code(&self) -> Option<String> {
        self.new.as_ref().map(|new| new.shared.code().to_string())
    }

    fn open_keys(&self, message: &[u8]) -> Result<NewKeys, LinkError> {
        let (enc, ct) = split_hpke(Kind::Keys, message)?;
        let info = keys_info(&self.link, &self.offer);
        let opened = hpke_open(&self.one_time, Some(&self.offer_export), &info, &[], enc, ct)?;
        let (name, entries) = accept_keys(&self.spaces, Keys::decode(&opened.plaintext)?)?;
        let shared = Shared::new(&self.link, [&self.offer, message], [&self.offer_export, &opened.export]);
        Ok(NewKeys { name, entries, shared })
    }
}
