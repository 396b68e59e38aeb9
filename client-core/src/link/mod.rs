//! Linking a device: both sides as pure state machines over rendezvous messages (protocol §7.1, amendment 2).
//! With a camera as drawn here; without one as drawn in `sas`.
//!
//! ```text
//!  new device N                     mailbox at the relay                    existing device E
//!  shows "LS1…" (QR) ─────────────────── by eye ──────────────────────────▶ reads it
//!                                0  ◀── HPKE(link key){relay key, E's one-time key, spaces}
//!  derives its keys per space    1  ──▶ HPKE(one-time key, psk = secret of 0){name, keys, proofs}
//!  shows 6 digits ───────────────────── typed by the person ──────────────▶ compares, 3 tries
//!                                                                           publishes DeviceAdd
//!                                2  ◀── AEAD(secrets of 0 and 1){person, relays, head of each space}
//!  fetches records, checks them ([`NewDevice::prove`]), only then keeps its root
//! ```
//! Why it holds: the link carries N's one-time key in full, past the relay, so only N reads message 0, and the
//! secret exported from it authenticates message 1 (HPKE's PSK mode); both secrets authenticate message 2. Every
//! message is bound to the link and to all messages before it. The digits, typed back on E, are against another
//! attack: a person who scans a stranger's code has no device in front of them that shows the digits.
//!
//! A mailbox only appends, so a message that is wrong or at the wrong index ends the attempt; a new link is made.

mod emoji;
mod enrol;
mod existing;
#[cfg(test)]
pub(crate) mod explore;
#[cfg(test)]
mod fixture;
mod message;
mod new_device;
mod publish;
mod sas;
mod sas_existing;
mod sas_new;
#[cfg(test)]
mod sas_tests;
#[cfg(test)]
mod tests;
mod text;

use lifeos_sync_protocol::hash::{ctx, sha256};
use lifeos_sync_protocol::ids::{MemberId, SpaceId};
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, hkdf_sha256};
use crate::fault::{Fault, planted};

pub use enrol::{Granted, GrantedSpace, GrantedSpaceInput, NewEntry, Proven};
pub use existing::{CodeCheck, ExistingDevice};
pub use new_device::NewDevice;
pub use publish::{PublishStep, Publishing};
pub use sas::{Comparison, SasCode};
pub use sas_existing::SasExistingDevice;
pub use sas_new::SasNewDevice;
pub(crate) use text::Form;
pub use text::LinkText;

/// The state after a message of this side was stored, if the relay stored it where it must be: anywhere else, somebody
/// who is no part of this has written into the mailbox.
fn stored_at<S>(index: u32, (expected, next): (u32, S)) -> Result<S, LinkError> {
    if index == expected { Ok(next) } else { Err(LinkError::Intruder) }
}

/// Most spaces linked at once: what fits into a mailbox message.
pub const LINK_SPACES_MAX: usize = 64;
/// Wrong codes before the attempt ends.
pub const CODE_TRIES_MAX: u32 = 3;
/// Index of the existing device's offer in the mailbox.
pub const INDEX_OFFER: u32 = 0;
/// Index of the new device's keys.
pub const INDEX_KEYS: u32 = 1;
/// Index of the existing device's grant.
pub const INDEX_GRANT: u32 = 2;

/// A space that the existing device offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OfferedSpace {
    /// The space.
    pub space: SpaceId,
    /// The member that the new device will belong to.
    pub member: MemberId,
    /// The Genesis' random bytes, from which the new device derives its keys.
    pub genesis_random: [u8; 32],
}

/// What a state machine wants done next. Ask again after each answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkStep {
    /// Put this message into the mailbox, then call `sent` with the index that the relay gives it.
    Send(Vec<u8>),
    /// Wait for the mailbox message with this index and give it to `handle`.
    Wait(u32),
    /// Existing device: ask the person for the code, then call `enter_code`.
    AskCode,
    /// Without a camera, both devices: show `comparison`, ask the person whether the other device shows the same,
    /// then call `confirm`.
    Compare,
    /// Existing device: publish DeviceAdd records for `new_entries`, then call `grant`.
    Publish,
    /// Nothing more to do here; the new device takes `granted`, fetches records and checks them.
    Done,
    /// The attempt is over; the mailbox can be dropped.
    Over,
}

/// A link that does not come about. The messages tell a person what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The text is no link.
    #[error("this is not a complete link; copy or scan it again")]
    Text,
    /// The link names another relay key than the one known here.
    #[error("the two devices see different relays at this address; do not go on, check the relay's address and key")]
    RelayKey,
    /// A message is not what it should be: altered, replayed, or from somebody else.
    #[error("a message of the link was altered on its way; start again with a new link")]
    Message,
    /// The text is no code of a link without a camera.
    #[error("this is not a link code: it has eight letters and digits, like ABCD-EF23")]
    Code,
    /// A message of another kind than the one due, such as a key shown before the commitment to it.
    #[error("the messages of the link came in a wrong order; start again with a new code")]
    Order,
    /// The key is not the one that was committed to.
    #[error(
        "the other side exchanged its key on the way: somebody is between the devices; nothing was linked. Start again, and check the relay's address"
    )]
    Commitment,
    /// The person says that the two devices show different things.
    #[error(
        "the two devices showed different pictures: somebody may be between them; nothing was linked. Start again, and check the relay's address"
    )]
    Mismatch,
    /// Somebody else wrote into the mailbox.
    #[error("somebody else wrote into the mailbox; start again with a new link")]
    Intruder,
    /// The new device's keys or proofs are wrong.
    #[error("the new device's keys are not valid; start again with a new link")]
    Keys,
    /// A name that is empty, too long or holds control characters.
    #[error("the device's name has to be 1 to 127 bytes of printable text")]
    Name,
    /// More spaces or relays than one link carries.
    #[error("too much for one link")]
    TooLarge,
    /// The records that the relay gave do not add this device as agreed.
    #[error("the relay's records do not show this device as linked; start again with a new link")]
    Records,
    /// Not the time for this call, or the attempt is over.
    #[error("the link attempt is over; start again with a new link")]
    Over,
}

impl From<CryptoError> for LinkError {
    fn from(_: CryptoError) -> Self {
        Self::Message
    }
}

/// The secrets that both sides share after message 1.
#[cfg_attr(test, derive(Clone))]
struct Shared {
    transcript: [u8; 32],
    secrets: Zeroizing<[u8; 64]>,
}

impl Shared {
    fn new(link: &LinkText, messages: [&[u8]; 2], exports: [&[u8; 32]; 2]) -> Self {
        let [offer, keys] = messages.map(|message| sha256("link-message", &[message]));
        let mut secrets = Zeroizing::new([0; 64]);
        secrets[..32].copy_from_slice(exports[0]);
        secrets[32..].copy_from_slice(exports[1]);
        Self { transcript: sha256("link-transcript", &[&link.hash(), &offer, &keys]), secrets }
    }

    /// Six digits. The rest of 2⁶⁴ by 10⁶ is even to one part in 10¹³.
    fn code(&self) -> Zeroizing<String> {
        let bytes = hkdf_sha256(&self.transcript, &*self.secrets, &[&ctx("link-code")]);
        let number = bytes[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Zeroizing::new(format!("{:06}", number % 1_000_000))
    }

    fn grant_key(&self) -> Zeroizing<[u8; 32]> {
        hkdf_sha256(&self.transcript, &*self.secrets, &[&ctx("link-grant")])
    }
}

fn offer_info(link: &LinkText) -> Vec<u8> {
    [&ctx("link-offer")[..], &link.hash()].concat()
}

fn keys_info(link: &LinkText, offer: &[u8]) -> Vec<u8> {
    [&ctx("link-keys")[..], &link.hash(), &sha256("link-message", &[offer])].concat()
}

/// A name that may be shown in a terminal.
fn check_name(name: &str) -> Result<(), LinkError> {
    crate::names::checked(name).map(drop).ok_or(LinkError::Name)
}
