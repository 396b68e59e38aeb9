//! Fixed-size identifiers: byte strings with a type, a hex form and nothing else.

use std::fmt;
use std::str::FromStr;

/// A hex string had the wrong length or a character that is not hex.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hex characters")]
pub struct IdParseError {
    /// Number of hex characters the identifier has.
    pub expected: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl $name {
            /// Length in bytes.
            pub const BYTES: usize = $bytes;
            /// The all-zero value, used where a layout has "none".
            pub const ZERO: Self = Self([0; $bytes]);

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// Reads exactly [`Self::BYTES`] bytes, or nothing.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl From<[u8; $bytes]> for $name {
            fn from(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            // Eight characters: enough to follow a test, too few to identify anybody in a log.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(", stringify!($name))?;
                self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
                write!(f, "…)")
            }
        }

        impl FromStr for $name {
            type Err = IdParseError;

            fn from_str(text: &str) -> Result<Self, IdParseError> {
                let error = IdParseError { expected: $bytes * 2 };
                if text.len() != $bytes * 2 || !text.is_ascii() {
                    return Err(error);
                }
                let mut bytes = [0_u8; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| error.clone())?;
                    if pair.starts_with('+') {
                        return Err(error);
                    }
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| error.clone())?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

id!(/// A space: the record id of its Genesis.
    SpaceId, 32);
id!(/// A record: SHA-256 over its bytes without the signature.
    RecordId, 32);
id!(/// An envelope: SHA-256 over its bytes without the signature, bound to its space.
    EnvelopeId, 32);
id!(/// One device's hash-chained stream of envelopes in one space; also its Automerge actor id.
    StreamId, 16);
id!(/// A document. Only devices know document ids; they never appear in clear on the wire.
    DocId, 16);
id!(/// A member of a space.
    MemberId, 16);
id!(/// An epoch: the first 16 bytes of its record id.
    EpochRef, 16);
id!(/// An Ed25519 public key (RFC 8032).
    SignPk, 32);
id!(/// An X25519 public key (RFC 7748) for HPKE.
    HpkePk, 32);
id!(/// One relay's log of one space; a wiped log gets a new id.
    LogId, 16);
id!(/// Rolling hash over a relay's log.
    Roll, 16);
id!(/// A rendezvous mailbox.
    RdvId, 16);

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}
