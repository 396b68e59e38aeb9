//! The challenge–response handshake's transcript and signed messages (protocol §8.1). No clocks: both
//! nonces are fresh, and the relay's own key is part of what the device signs.

use ring::signature::{ED25519, UnparsedPublicKey};

use crate::hash::{ctx, sha256};
use crate::ids::{HpkePk, SignPk, Signature, SpaceId};

/// Protocol versions this crate speaks.
pub const PROTO_MIN: u16 = 1;
/// Protocol versions this crate speaks.
pub const PROTO_MAX: u16 = 1;

/// SHA-256(ctx("hs") ‖ u32 len ‖ HELLO bytes ‖ u32 len ‖ CHALLENGE bytes ‖ space_id ‖ device_pk); the
/// frames exactly as sent, header included.
#[must_use]
pub fn transcript_hash(hello: &[u8], challenge: &[u8], space: &SpaceId, device: &SignPk) -> [u8; 32] {
    let parts: [&[u8]; 6] =
        [&length_prefix(hello), hello, &length_prefix(challenge), challenge, space.as_ref(), device.as_ref()];
    sha256("hs", &parts)
}

/// What a device signs in AUTH: ctx("auth") ‖ transcript.
#[must_use]
pub fn auth_message(transcript: &[u8; 32]) -> Vec<u8> {
    signed("auth", transcript)
}

/// What the answering side signs in WELCOME: ctx("auth-ok") ‖ transcript.
#[must_use]
pub fn welcome_message(transcript: &[u8; 32]) -> Vec<u8> {
    signed("auth-ok", transcript)
}

/// What a device signs in LIST: ctx("list") ‖ transcript, the transcript taken with a zero space id.
#[must_use]
pub fn list_message(transcript: &[u8; 32]) -> Vec<u8> {
    signed("list", transcript)
}

/// Ed25519 verification (RFC 8032) that first refuses weak and non-canonical public keys, because
/// `ring` accepts small-order ones (protocol §0.11).
///
/// # Errors
/// [`KeyError`] for a weak key or a signature that does not verify.
pub fn verify(key: &SignPk, message: &[u8], signature: &Signature) -> Result<(), KeyError> {
    check_sign_key(key)?;
    UnparsedPublicKey::new(&ED25519, &key.0).verify(message, &signature.0).map_err(|_| KeyError::Signature)
}

/// Checks an Ed25519 public key for enrolment: canonical encoding, not of small order.
///
/// # Errors
/// [`KeyError::Weak`].
pub fn check_sign_key(key: &SignPk) -> Result<(), KeyError> {
    // The sign bit only chooses x or -x, which have the same order.
    let mut y = key.0;
    y[31] &= 0x7f;
    if is_reduced(&y) && !ED25519_SMALL_ORDER_Y.contains(&y) { Ok(()) } else { Err(KeyError::Weak) }
}

/// Checks an X25519 public key for enrolment: canonical, not of low order, not zero.
///
/// # Errors
/// [`KeyError::Weak`].
pub fn check_hpke_key(key: &HpkePk) -> Result<(), KeyError> {
    // RFC 7748 masks the top bit and reduces u; an encoding that needs either is a second name for a key.
    if is_reduced(&key.0) && !X25519_LOW_ORDER_U.contains(&key.0) { Ok(()) } else { Err(KeyError::Weak) }
}

fn length_prefix(frame: &[u8]) -> [u8; 4] {
    u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn signed(context: &str, transcript: &[u8; 32]) -> Vec<u8> {
    let mut message = ctx(context);
    message.extend_from_slice(transcript);
    message
}

/// The prime of the field, 2^255 - 19, little-endian.
const FIELD_PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// `FIELD_PRIME - 1`: -1.
const FIELD_MINUS_ONE: [u8; 32] = {
    let mut value = FIELD_PRIME;
    value[0] -= 1;
    value
};

const FIELD_ZERO: [u8; 32] = [0; 32];

const FIELD_ONE: [u8; 32] = {
    let mut value = [0; 32];
    value[0] = 1;
    value
};

/// The y of every point of small order on edwards25519, without the sign bit: order 4, 1, 2 and 8 (twice).
/// With both signs these are all eight points (RFC 8032 encodings, checked against a curve library in tests).
const ED25519_SMALL_ORDER_Y: [[u8; 32]; 5] = [
    FIELD_ZERO,
    FIELD_ONE,
    FIELD_MINUS_ONE,
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// The u of every point of low order on curve25519 or its twist, canonical encodings only.
const X25519_LOW_ORDER_U: [[u8; 32]; 5] = [
    FIELD_ZERO,
    FIELD_ONE,
    FIELD_MINUS_ONE,
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
];

/// Whether a little-endian number is below the field's prime.
fn is_reduced(value: &[u8; 32]) -> bool {
    value.iter().rev().lt(FIELD_PRIME.iter().rev())
}

/// A key or signature that must not be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Small order, zero or non-canonical.
    #[error("weak or non-canonical public key")]
    Weak,
    /// The signature does not verify.
    #[error("signature does not verify")]
    Signature,
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use curve25519_dalek::edwards::CompressedEdwardsY;
    use curve25519_dalek::montgomery::MontgomeryPoint;
    use proptest::prelude::*;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn key_pair() -> (Ed25519KeyPair, SignPk) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = SignPk::from_slice(pair.public_key().as_ref()).unwrap();
        (pair, public)
    }

    fn sign(pair: &Ed25519KeyPair, message: &[u8]) -> Signature {
        Signature(pair.sign(message).as_ref().try_into().unwrap())
    }

    #[test]
    fn a_good_signature_verifies_and_a_changed_one_does_not() {
        let (pair, public) = key_pair();
        let signature = sign(&pair, b"message");
        assert_eq!(verify(&public, b"message", &signature), Ok(()));
        assert_eq!(verify(&public, b"massage", &signature), Err(KeyError::Signature));
        for byte in 0..64 {
            let mut bad = signature;
            bad.0[byte] ^= 1;
            assert_eq!(verify(&public, b"message", &bad), Err(KeyError::Signature), "byte {byte}");
        }
    }

    #[test]
    fn all_eight_points_of_small_order_are_refused() {
        for point in EIGHT_TORSION {
            assert_eq!(check_sign_key(&SignPk(point.compress().to_bytes())), Err(KeyError::Weak));
        }
    }

    #[test]
    fn every_encoding_that_is_not_reduced_is_refused() {
        // All nineteen values from p to 2^255 - 1, with either sign bit.
        for low in 0xed..=0xff_u8 {
            let mut key = FIELD_PRIME;
            key[0] = low;
            assert_eq!(check_hpke_key(&HpkePk(key)), Err(KeyError::Weak));
            assert_eq!(check_sign_key(&SignPk(key)), Err(KeyError::Weak));
            key[31] = 0xff;
            assert_eq!(check_hpke_key(&HpkePk(key)), Err(KeyError::Weak));
            assert_eq!(check_sign_key(&SignPk(key)), Err(KeyError::Weak));
        }
    }

    #[test]
    fn low_order_agreement_keys_are_refused() {
        for u in X25519_LOW_ORDER_U {
            // A clamped scalar is a multiple of eight, so it takes every point of low order to the identity.
            assert_eq!(MontgomeryPoint(u).mul_clamped([9; 32]).0, [0; 32]);
            assert_eq!(check_hpke_key(&HpkePk(u)), Err(KeyError::Weak));
        }
        assert_eq!(check_hpke_key(&HpkePk(ED25519_BASEPOINT_POINT.to_montgomery().0)), Ok(()));
    }

    #[test]
    fn the_identity_as_key_would_verify_everything_without_the_check() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut forged = [0; 64];
        forged[0] = 1;
        let without_check = UnparsedPublicKey::new(&ED25519, &identity).verify(b"anything", &forged);
        assert!(without_check.is_ok(), "the library refuses it now: the reason for the check is gone");
        assert_eq!(verify(&SignPk(identity), b"anything", &Signature(forged)), Err(KeyError::Weak));
    }

    #[test]
    fn a_signature_with_the_group_order_added_is_refused() {
        /// The order of the base point, little-endian.
        const GROUP_ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let (pair, public) = key_pair();
        let mut signature = sign(&pair, b"message");
        let mut carry = 0_u16;
        for (byte, order) in signature.0[32..].iter_mut().zip(GROUP_ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
        assert_eq!(verify(&public, b"message", &signature), Err(KeyError::Signature));
    }

    #[test]
    fn the_transcript_binds_every_part() {
        let base = transcript_hash(b"hello", b"challenge", &SpaceId::ZERO, &SignPk::ZERO);
        let others = [
            transcript_hash(b"hellx", b"challenge", &SpaceId::ZERO, &SignPk::ZERO),
            transcript_hash(b"hello", b"challengx", &SpaceId::ZERO, &SignPk::ZERO),
            transcript_hash(b"helloc", b"hallenge", &SpaceId::ZERO, &SignPk::ZERO),
            transcript_hash(b"hello", b"challenge", &SpaceId([1; 32]), &SignPk::ZERO),
            transcript_hash(b"hello", b"challenge", &SpaceId::ZERO, &SignPk([1; 32])),
        ];
        assert!(others.iter().all(|other| *other != base));
        let messages = [auth_message(&base), welcome_message(&base), list_message(&base)];
        assert!(messages[0] != messages[1] && messages[1] != messages[2] && messages[0] != messages[2]);
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_the_curve_library(bytes in any::<[u8; 32]>()) {
            if let Some(point) = CompressedEdwardsY(bytes).decompress() {
                let good = !point.is_small_order() && point.compress().to_bytes() == bytes;
                prop_assert_eq!(check_sign_key(&SignPk(bytes)).is_ok(), good);
            }
        }
    }
}
