//! The link that the new device shows, as text and QR code, and the form that all such links have.
//!
//! ```text
//! "LS1" ‖ base32(rdv_id(16) ‖ relay key(32) ‖ link key(32) ‖ relay address, UTF-8 ‖ check(4))
//! check = first 4 bytes of SHA-256(ctx("link-text") ‖ all before)
//! ```
//! An invitation ([`crate::invite`]) has the same form: another prefix, other fixed fields, another name in the check.
//! Base32 (RFC 4648, without padding) has only characters of QR's alphanumeric mode; case and white space do not
//! matter when it is typed or pasted.

use std::fmt;
use std::str::FromStr;

use lifeos_sync_protocol::hash::sha256;
use lifeos_sync_protocol::ids::{HpkePk, RdvId, SignPk};
use zeroize::Zeroizing;

use super::LinkError;

const FORM: Form = Form { prefix: "LS1", check: "link-text" };
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const FIXED_BYTES: usize = 16 + 32 + 32;
const CHECK_BYTES: usize = 4;
/// Longest relay address.
const RELAY_URL_BYTES_MAX: usize = 512;
/// Longest text that is looked at.
const TEXT_BYTES_MAX: usize = 2048;

/// One kind of link.
pub(crate) struct Form {
    /// What it begins with.
    pub(crate) prefix: &'static str,
    /// Name of the hash that its check is the beginning of.
    pub(crate) check: &'static str,
}

impl Form {
    /// The text of fixed fields with a relay's address behind them. It may hold a secret.
    pub(crate) fn write(&self, payload: &[u8]) -> Zeroizing<String> {
        let check = sha256(self.check, &[payload]);
        let bytes = Zeroizing::new([payload, &check[..CHECK_BYTES]].concat());
        Zeroizing::new([self.prefix, &*Zeroizing::new(encode(&bytes))].concat())
    }

    /// The fixed fields and the address; nothing for a text that is another kind's, cut, mistyped or without address.
    pub(crate) fn read<const FIXED: usize>(&self, text: &str) -> Option<(Zeroizing<[u8; FIXED]>, String)> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let text: Zeroizing<String> =
            Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect());
        let bytes = Zeroizing::new(decode(text.strip_prefix(self.prefix)?)?);
        let (payload, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        let (fixed, url) = payload.split_first_chunk::<FIXED>()?;
        let url = std::str::from_utf8(url).ok().filter(|url| is_address(url))?;
        (sha256(self.check, &[payload])[..CHECK_BYTES] == *check).then(|| (Zeroizing::new(*fixed), url.to_owned()))
    }
}

/// Whether a relay's address can stand in a link.
pub(crate) fn is_address(url: &str) -> bool {
    let fits = (1..=RELAY_URL_BYTES_MAX).contains(&url.len());
    fits && !url.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkText {
    /// The mailbox.
    pub rdv: RdvId,
    /// The relay's key as the new device saw it.
    pub relay_pk: SignPk,
    /// The new device's one-time key.
    pub link_pk: HpkePk,
    /// The relay's address.
    pub relay_url: String,
}

impl LinkText {
    fn payload(&self) -> Vec<u8> {
        [&self.rdv.0[..], &self.relay_pk.0, &self.link_pk.0, self.relay_url.as_bytes()].concat()
    }

    /// What all messages of the attempt are bound to.
    pub(super) fn hash(&self) -> [u8; 32] {
        sha256(FORM.check, &[&self.payload()])
    }
}

impl fmt::Display for LinkText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&FORM.write(&self.payload()))
    }
}

impl FromStr for LinkText {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let (fixed, relay_url) = FORM.read::<FIXED_BYTES>(text).ok_or(LinkError::Text)?;
        Ok(Self {
            rdv: RdvId::from_slice(&fixed[..16]).ok_or(LinkError::Text)?,
            relay_pk: SignPk::from_slice(&fixed[16..48]).ok_or(LinkError::Text)?,
            link_pk: HpkePk::from_slice(&fixed[48..]).ok_or(LinkError::Text)?,
            relay_url,
        })
    }
}

/// Base32 (RFC 4648) without padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut buffer, mut bits) = (0_u32, 0);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(ALPHABET[(buffer >> bits & 31) as usize]));
        }
        buffer &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(char::from(ALPHABET[(buffer << (5 - bits) & 31) as usize]));
    }
    out
}

/// Only the one encoding of each byte string decodes: the bits left over are zero.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut buffer, mut bits) = (0_u32, 0);
    for byte in text.bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == byte)?;
        buffer = buffer << 5 | u32::try_from(value).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((buffer >> bits & 0xff) as u8);
            buffer &= (1 << bits) - 1;
        }
    }
    (bits < 5 && buffer == 0).then_some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn link() -> LinkText {
        LinkText {
            rdv: RdvId([1; 16]),
            relay_pk: SignPk([2; 32]),
            link_pk: HpkePk([3; 32]),
            relay_url: "wss://relay.example:7443/sync".into(),
        }
    }

    #[test]
    fn base32_gives_the_vectors_of_rfc_4648() {
        for (plain, text) in
            [("", ""), ("f", "MY"), ("fo", "MZXQ"), ("foo", "MZXW6"), ("foob", "MZXW6YQ"), ("foobar", "MZXW6YTBOI")]
        {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), plain.as_bytes());
        }
        assert_eq!(decode("MZ"), None, "bits left over");
        assert_eq!(decode("M1"), None, "not a letter of the alphabet");
    }

    #[test]
    fn a_link_reads_back_in_any_case_and_spacing() {
        let text = link().to_string();
        assert!(text.starts_with("LS1") && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()));
        assert_eq!(text.parse(), Ok(link()));
        let broken = format!(" {}\n{} ", &text[..40].to_lowercase(), &text[40..]);
        assert_eq!(broken.parse(), Ok(link()));
    }

    #[test]
    fn a_mistyped_or_cut_link_is_noticed() {
        let text = link().to_string();
        for at in 0..text.len() {
            let mut typed = text.clone().into_bytes();
            typed[at] = if typed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(String::from_utf8(typed).unwrap().parse::<LinkText>(), Err(LinkError::Text), "at {at}");
            assert_eq!(text[..at].parse::<LinkText>(), Err(LinkError::Text));
        }
        let no_address = LinkText { relay_url: String::new(), ..link() };
        assert_eq!(no_address.to_string().parse::<LinkText>(), Err(LinkError::Text));
    }

    proptest! {
        #[test]
        fn base32_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn parsing_any_text_never_panics(text in "\\PC{0,300}") {
            drop(text.parse::<LinkText>());
        }
    }
}
