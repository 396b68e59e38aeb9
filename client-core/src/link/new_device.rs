//! The side of the new device: it shows a link, answers one offer with its keys, shows the code, and checks what
//! it is granted before anything is kept.

use lifeos_sync_protocol::ids::{RdvId, SignPk};
use zeroize::Zeroizing;

use super::enrol::{Granted, accept_grant, answer, check_offer, new_side};
use super::message::{Grant, Kind, Offer, body, frame, split_hpke};
use super::text::is_address;
use super::{
    INDEX_GRANT, INDEX_KEYS, INDEX_OFFER, LinkError, LinkStep, LinkText, OfferedSpace, Shared, check_name, keys_info,
    offer_info, stored_at,
};
use crate::crypto::{HpkeKey, Random, hpke_open, hpke_seal, open_once, random_bytes};
use crate::keys::DeviceRoot;

/// The new device in one attempt. Nothing of it is stored before [`NewDevice::prove`].
#[cfg_attr(test, derive(Clone))]
pub struct NewDevice {
    root: DeviceRoot,
    key: HpkeKey,
    link: LinkText,
    name: String,
    state: State,
}

#[cfg_attr(test, derive(Clone))]
enum State {
    AwaitOffer,
    SendKeys { message: Vec<u8>, shared: Shared, offered: Vec<OfferedSpace> },
    AwaitGrant { shared: Shared, offered: Vec<OfferedSpace> },
    Done(Granted),
    Over,
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
        if !is_address(relay_url) {
            return Err(LinkError::Text);
        }
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
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::SendKeys { shared, offered, .. } => {
                stored_at(index, (INDEX_KEYS, State::AwaitGrant { shared, offered }))?
            }
            _ => return Err(LinkError::Over),
        };
        Ok(())
    }

    #[cfg(test)]
    pub(super) const fn root(&self) -> &DeviceRoot {
        &self.root
    }

    fn answer_offer(&self, message: &[u8], random: &mut dyn Random) -> Result<State, LinkError> {
        let (enc, ct) = split_hpke(Kind::Offer, message)?;
        let opened = hpke_open(&self.key, None, &offer_info(&self.link), &[], enc, ct)?;
        let offer = Offer::decode(&opened.plaintext)?;
        check_offer(&offer, &self.link.relay_pk)?;
        let keys = answer(&self.root, &self.name, &offer.spaces).encode()?;
        let info = keys_info(&self.link, message);
        let sealed = hpke_seal(&offer.one_time_pk, Some(&opened.export), &info, &[], &keys, random)?;
        let answer = frame(Kind::Keys, &[&sealed.enc, &sealed.ct])?;
        let shared = Shared::new(&self.link, [message, &answer], [&opened.export, &sealed.export]);
        Ok(State::SendKeys { message: answer, shared, offered: offer.spaces })
    }
}

new_side!(NewDevice);

fn open_grant(shared: &Shared, offered: &[OfferedSpace], message: &[u8]) -> Result<Granted, LinkError> {
    let mut plaintext = Zeroizing::new(body(Kind::Grant, message)?.to_vec());
    open_once(&shared.grant_key(), &shared.transcript, &mut plaintext)?;
    accept_grant(offered, Grant::decode(&plaintext)?)
}
