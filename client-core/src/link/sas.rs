//! Linking without a camera: what both sides of a comparison share (protocol §7.1, SAS).
//!
//! ```text
//!  new device N                     mailbox at the relay                    existing device E
//!  shows an 8-letter code ─────────────── typed ──────────────────────────▶ opens the mailbox
//!                                0  ──▶ c = SHA-256(ctx("sas") ‖ pkN ‖ rN)
//!                                1  ◀── pkE ‖ rE
//!                                2  ──▶ pkN ‖ rN                             must match c
//!  shows 7 pictures, 12 digits ────────── compared by the person ─────────── shows the same
//!  "they match"                                                             "they match"
//!                                3  ◀── {relay key, pkE, spaces}
//!                                4  ──▶ {name, keys, proofs}
//!                                                                           publishes DeviceAdd
//!                                5  ◀── {person, relays, head of each space}
//! ```
//! The code is an address and no secret: whoever reads it can write into the mailbox, the relay among them. What
//! holds is the order: N is bound to its key before it sees E's, and E shows its key before it sees N's, so
//! somebody in the middle has one try at 2⁻⁴² and cannot search for a match. What follows the comparison is
//! sealed under the agreed secret and bound to every message before it; each side sends its part only after its
//! own person has said that the pictures match.

use std::fmt;
use std::str::FromStr;

use lifeos_sync_protocol::hash::{ctx, sha256};
use lifeos_sync_protocol::ids::{HpkePk, RdvId, SignPk};
use zeroize::Zeroizing;

use super::emoji::EMOJI;
use super::message::{Kind, body, frame};
use super::{LinkError, text};
use crate::crypto::{AgreementKey, Prk, Random, open_once, random_bytes, seal_once};

/// Index of the new device's commitment in the mailbox.
pub(super) const SAS_INDEX_COMMIT: u32 = 0;
/// Index of the existing device's key.
pub(super) const SAS_INDEX_SHARE: u32 = 1;
/// Index of the new device's key.
pub(super) const SAS_INDEX_REVEAL: u32 = 2;
/// Index of the existing device's offer.
pub(super) const SAS_INDEX_OFFER: u32 = 3;
/// Index of the new device's keys.
pub(super) const SAS_INDEX_KEYS: u32 = 4;
/// Index of the existing device's grant.
pub(super) const SAS_INDEX_GRANT: u32 = 5;

const CODE_BYTES: usize = 5;
const CODE_CHARS: usize = 8;

/// The code that the new device shows and the person types on the existing one: eight letters that say where the
/// mailbox is, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SasCode([u8; CODE_BYTES]);

impl SasCode {
    pub(super) fn generate(random: &mut dyn Random) -> Self {
        Self(random_bytes(random))
    }

    #[cfg(test)]
    pub(super) const fn of_bytes(bytes: [u8; CODE_BYTES]) -> Self {
        Self(bytes)
    }

    /// The mailbox: SHA-256(ctx("sas-rdv") ‖ code)[..16].
    #[must_use]
    pub fn rdv(&self) -> RdvId {
        let hash = sha256("sas-rdv", &[&self.0]);
        RdvId(std::array::from_fn(|at| hash[at]))
    }
}

impl fmt::Display for SasCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = text::encode(&self.0);
        let (left, right) = letters.split_at(CODE_CHARS / 2);
        write!(f, "{left}-{right}")
    }
}

impl FromStr for SasCode {
    type Err = LinkError;

    /// Any case and spacing; 0, 1 and 8, which the alphabet leaves out, are read as the letters they look like.
    fn from_str(typed: &str) -> Result<Self, LinkError> {
        if typed.len() > 64 {
            return Err(LinkError::Code);
        }
        let alike = |c: char| match c.to_ascii_uppercase() {
            '0' => 'O',
            '1' => 'I',
            '8' => 'B',
            c => c,
        };
        let letters: String = typed.chars().filter(|c| !c.is_whitespace() && *c != '-').map(alike).collect();
        let bytes = text::decode(&letters).filter(|_| letters.len() == CODE_CHARS);
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(LinkError::Code)
    }
}

/// What a person compares: seven pictures, or three numbers, on both screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparison {
    /// Values of the pictures, each below 64: 42 bits.
    pictures: [u8; 7],
    /// Three numbers from 1000 to 9191: 39 other bits.
    pub numbers: [u16; 3],
}

impl Comparison {
    /// The pictures with their English names.
    #[must_use]
    pub fn pictures(&self) -> [(&'static str, &'static str); 7] {
        self.pictures.map(|value| EMOJI[usize::from(value & 63)])
    }

    /// 42 bits to seven pictures, then 39 bits to three numbers, the most significant first.
    fn of(bytes: &[u8; 32]) -> Self {
        let bits = |from: usize, count: usize| {
            (from..from + count).fold(0_u16, |value, at| value << 1 | u16::from(bytes[at / 8] >> (7 - at % 8) & 1))
        };
        Self {
            pictures: std::array::from_fn(|at| bits(6 * at, 6).to_be_bytes()[1]),
            numbers: std::array::from_fn(|at| 1000 + bits(48 + 13 * at, 13)),
        }
    }
}

/// One side's half: its key and what keeps the transcript fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Half {
    pub(super) key: HpkePk,
    pub(super) nonce: [u8; 32],
}

impl Half {
    pub(super) fn commitment(&self) -> [u8; 32] {
        sha256("sas", &[&self.key.0, &self.nonce])
    }

    pub(super) fn message(&self, kind: Kind) -> Result<Vec<u8>, LinkError> {
        frame(kind, &[&self.key.0, &self.nonce])
    }

    pub(super) fn read(kind: Kind, message: &[u8]) -> Result<Self, LinkError> {
        let (key, nonce) = ordered(kind, message)?.split_first_chunk::<32>().ok_or(LinkError::Message)?;
        Ok(Self { key: HpkePk(*key), nonce: nonce.try_into().map_err(|_| LinkError::Message)? })
    }
}

/// What a side has before it knows the other: where they meet, and its own half.
#[cfg_attr(test, derive(Clone))]
pub(super) struct Side {
    pub(super) code: SasCode,
    pub(super) relay_pk: SignPk,
    key: AgreementKey,
    pub(super) own: Half,
}

impl Side {
    pub(super) fn new(code: SasCode, relay_pk: SignPk, random: &mut dyn Random) -> Self {
        let key = AgreementKey::generate(random);
        let own = Half { key: key.public(), nonce: random_bytes(random) };
        Self { code, relay_pk, key, own }
    }

    /// What the new device, which committed first, and the existing device agree on: `share` is the existing
    /// device's half, `reveal` the new one's.
    pub(super) fn agree(
        &self,
        commitment: &[u8; 32],
        (share, reveal): (&Half, &Half),
        other: &Half,
    ) -> Result<Agreement, LinkError> {
        let secret = self.key.agree(&other.key)?;
        Ok(Agreement::new((&self.code.rdv(), &self.relay_pk), (commitment, share, reveal), &secret))
    }
}

/// What both machines show and say alike.
macro_rules! sas_side {
    ($machine:ident) => {
        impl $machine {
            /// The mailbox.
            #[must_use]
            pub fn rdv(&self) -> lifeos_sync_protocol::ids::RdvId {
                self.side.code.rdv()
            }

            /// What to show beside the other device, once [`LinkStep::Compare`] and until the person has answered.
            #[must_use]
            pub fn comparison(&self) -> Option<$crate::link::Comparison> {
                match &self.state {
                    State::Compare { agreement } => Some(agreement.comparison()),
                    _ => None,
                }
            }
        }
    };
}
pub(super) use sas_side;

/// The body of a message of this kind; another kind is a message out of order, such as a key shown before its
/// commitment.
pub(super) fn ordered(kind: Kind, message: &[u8]) -> Result<&[u8], LinkError> {
    let out_of_order = message.get(1).is_some_and(|found| *found != kind as u8);
    body(kind, message).map_err(|error| if out_of_order { LinkError::Order } else { error })
}

/// What the two sides share after the reveal.
#[derive(Clone)]
pub(super) struct Agreement {
    /// SHA-256(ctx("sas-transcript") ‖ mailbox ‖ relay key ‖ c ‖ pkE ‖ rE ‖ pkN ‖ rN).
    transcript: [u8; 32],
    prk: Prk,
    /// Hashes of the sealed messages so far.
    sealed: Vec<[u8; 32]>,
}

impl Agreement {
    pub(super) fn new(
        (rdv, relay_pk): (&RdvId, &SignPk),
        (commitment, existing, new): (&[u8; 32], &Half, &Half),
        secret: &[u8; 32],
    ) -> Self {
        let parts: [&[u8]; 7] =
            [&rdv.0, &relay_pk.0, commitment, &existing.key.0, &existing.nonce, &new.key.0, &new.nonce];
        let transcript = sha256("sas-transcript", &parts);
        Self { transcript, prk: Prk::extract(&transcript, secret), sealed: Vec::new() }
    }

    pub(super) fn comparison(&self) -> Comparison {
        Comparison::of(&self.prk.expand(&[&ctx("sas-compare")]))
    }

    /// Seals the next message of this attempt. Its key is used once: kind and messages before it differ.
    pub(super) fn seal(&mut self, kind: Kind, mut plaintext: Zeroizing<Vec<u8>>) -> Result<Vec<u8>, LinkError> {
        let key = self.key(kind);
        seal_once(&key, &self.transcript, &mut plaintext)?;
        let message = frame(kind, &[&plaintext])?;
        self.sealed.push(sha256("link-message", &[&message]));
        Ok(message)
    }

    /// Opens the next message of this attempt.
    pub(super) fn open(&mut self, kind: Kind, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, LinkError> {
        let mut plaintext = Zeroizing::new(ordered(kind, message)?.to_vec());
        open_once(&self.key(kind), &self.transcript, &mut plaintext)?;
        self.sealed.push(sha256("link-message", &[message]));
        Ok(plaintext)
    }

    fn key(&self, kind: Kind) -> Zeroizing<[u8; 32]> {
        let label = ctx("sas-message");
        let kind = [kind as u8];
        let mut info: Vec<&[u8]> = vec![&label, &kind];
        info.extend(self.sealed.iter().map(|hash| &hash[..]));
        self.prk.expand(&info)
    }
}
