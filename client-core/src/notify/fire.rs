//! What a ring is called on every device, and what people said about it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use crate::crypto::Prk;

/// The name of one ring: the same on every device, and to others no more than random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FireId([u8; 16]);

impl FireId {
    /// From its bytes.
    pub(super) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for FireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Not the name of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a ring: expected 32 hexadecimal digits")]
pub struct NotAFire;

impl FromStr for FireId {
    type Err = NotAFire;

    fn from_str(text: &str) -> Result<Self, NotAFire> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
        let bytes = bytes.filter(|_| rest.is_empty()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(NotAFire)
    }
}

/// What names of fires are made with: a space's own, so that a name tells nobody else what rings.
#[derive(Clone)]
pub struct FireKey(Prk);

impl FireKey {
    /// From a secret that every device of the space has.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Prk::extract(b"lifeos fire", secret))
    }

    /// `HKDF(key, u32 length ‖ bytes of each part)`, first 16 bytes.
    pub(super) fn name(&self, parts: &[&[u8]]) -> FireId {
        let lengths: Vec<[u8; 4]> =
            parts.iter().map(|part| u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes()).collect();
        let info: Vec<&[u8]> = lengths.iter().zip(parts).flat_map(|(length, part)| [&length[..], part]).collect();
        let mut name = [0; 16];
        name.copy_from_slice(&self.0.expand(&info)[..16]);
        FireId(name)
    }
}

/// What people said about fires. Two devices' are put together in any order, any number of times, to the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acks {
    acked: BTreeMap<FireId, Timestamp>,
    snoozed: BTreeMap<FireId, Timestamp>,
}

impl Acks {
    /// Somebody has seen it. The first time that is known stays.
    pub fn ack(&mut self, first: FireId, at: Timestamp) {
        self.acked.entry(first).and_modify(|known| *known = at.min(*known)).or_insert(at);
    }

    /// It is to ring again at a time: the latest of what was said.
    pub fn snooze(&mut self, first: FireId, until: Timestamp) {
        self.snoozed.entry(first).and_modify(|known| *known = until.max(*known)).or_insert(until);
    }

    /// Takes in what another device knows.
    pub fn merge(&mut self, other: &Self) {
        other.acked.iter().for_each(|(id, at)| self.ack(*id, *at));
        other.snoozed.iter().for_each(|(id, until)| self.snooze(*id, *until));
    }

    /// Whether somebody has seen it.
    #[must_use]
    pub fn is_acked(&self, first: &FireId) -> bool {
        self.acked.contains_key(first)
    }

    /// Until when it is put off.
    #[must_use]
    pub fn snoozed_until(&self, first: &FireId) -> Option<Timestamp> {
        self.snoozed.get(first).copied()
    }

    pub(super) fn has_snoozed(&self) -> bool {
        !self.snoozed.is_empty()
    }
}
