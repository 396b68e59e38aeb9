//! The challenge–response handshake's transcript and signed messages (protocol §8.1). No clocks: both
//! nonces are fresh, and the relay's own key is part of what the device signs.

use crate::ids::{SignPk, Signature, SpaceId};

/// Protocol versions this crate speaks.
pub const PROTO_MIN: u16 = 1;
/// Protocol versions this crate speaks.
pub const PROTO_MAX: u16 = 1;

/// SHA-256(ctx("hs") ‖ u32 len ‖ HELLO bytes ‖ u32 len ‖ CHALLENGE bytes ‖ space_id ‖ device_pk); the
/// frames exactly as sent, header included.
#[must_use]
pub fn transcript_hash(hello: &[u8], challenge: &[u8], space: &SpaceId, device: &SignPk) -> [u8; 32] {
    let _ = (hello, challenge, space, device);
    todo!()
}

/// What a device signs in AUTH: ctx("auth") ‖ transcript.
#[must_use]
pub fn auth_message(transcript: &[u8; 32]) -> Vec<u8> {
    let _ = transcript;
    todo!()
}

/// What the answering side signs in WELCOME: ctx("auth-ok") ‖ transcript.
#[must_use]
pub fn welcome_message(transcript: &[u8; 32]) -> Vec<u8> {
    let _ = transcript;
    todo!()
}

/// What a device signs in LIST: ctx("list") ‖ transcript, the transcript taken with a zero space id.
#[must_use]
pub fn list_message(transcript: &[u8; 32]) -> Vec<u8> {
    let _ = transcript;
    todo!()
}

/// Ed25519 verification (RFC 8032) that first refuses weak and non-canonical public keys, because
/// `ring` accepts small-order ones (protocol §0.11).
///
/// # Errors
/// [`KeyError`] for a weak key or a signature that does not verify.
pub fn verify(key: &SignPk, message: &[u8], signature: &Signature) -> Result<(), KeyError> {
    let _ = (key, message, signature);
    todo!()
}

/// Checks an Ed25519 public key for enrolment: canonical encoding, not of small order.
///
/// # Errors
/// [`KeyError::Weak`].
pub fn check_sign_key(key: &SignPk) -> Result<(), KeyError> {
    let _ = key;
    todo!()
}

/// Checks an X25519 public key for enrolment: canonical, not of low order, not zero.
///
/// # Errors
/// [`KeyError::Weak`].
pub fn check_hpke_key(key: &crate::ids::HpkePk) -> Result<(), KeyError> {
    let _ = key;
    todo!()
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
