//! The cryptography of an epoch: its secret sealed to one device, and the secrets of its parents wrapped.
//!
//! ```text
//! seal = HPKE(device's key, info = ctx("epoch-seal"),
//!             aad = space ‖ author ‖ u32 generation ‖ u32 n ‖ parents ‖ commit ‖ device_pk){epoch secret}
//! wrap = ChaCha20-Poly1305(HKDF(new secret, ctx("wrap") ‖ parent), aad = ctx("wrap") ‖ space ‖ parent){parent secret}
//! ```
//! A secret counts only if it matches the commitment in its Epoch record: so no two recipients of one epoch can
//! have been given different secrets.

use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{EpochRef, HpkePk, SignPk, SpaceId};
use lifeos_sync_protocol::record::{Seal, Wrap};
use zeroize::Zeroizing;

use super::ring::KeyTrouble;
use crate::crypto::{CryptoError, Random, hpke_open, hpke_seal, open_once, seal_once};
use crate::keys::{EpochSecret, OwnKeys};

/// What a seal binds besides space and recipient.
pub(super) struct EpochFacts<'a> {
    pub(super) generation: u32,
    pub(super) parents: &'a [EpochRef],
    pub(super) commit: &'a [u8; 32],
    /// Who wrote the record that holds the seal.
    pub(super) author: &'a SignPk,
}

impl EpochFacts<'_> {
    fn aad(&self, space: &SpaceId, device: &SignPk) -> Vec<u8> {
        let count = u32::try_from(self.parents.len()).unwrap_or(u32::MAX);
        let mut aad = [&space.0[..], &self.author.0, &self.generation.to_be_bytes(), &count.to_be_bytes()].concat();
        self.parents.iter().for_each(|parent| aad.extend_from_slice(&parent.0));
        aad.extend_from_slice(self.commit);
        aad.extend_from_slice(&device.0);
        aad
    }
}

pub(super) fn device_ref(device: &SignPk) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&device.0[..16]);
    out
}

pub(super) fn seal_epoch(
    space: &SpaceId,
    facts: &EpochFacts<'_>,
    (device, hpke_pk): &(SignPk, HpkePk),
    secret: &EpochSecret,
    random: &mut dyn Random,
) -> Result<Seal, CryptoError> {
    let sealed = hpke_seal(hpke_pk, None, &ctx("epoch-seal"), &facts.aad(space, device), &*secret.to_bytes(), random)?;
    let ct = sealed.ct.try_into().map_err(|_| CryptoError)?;
    Ok(Seal { device_ref: device_ref(device), enc: sealed.enc, ct })
}

/// Opens a seal with whichever of the device's keys it was made for.
pub(super) fn open_seal(
    space: &SpaceId,
    facts: &EpochFacts<'_>,
    keys: &OwnKeys<'_>,
    seal: &Seal,
) -> Result<EpochSecret, KeyTrouble> {
    let aad = facts.aad(space, &keys.sign_pk());
    let open = |key| hpke_open(key, None, &ctx("epoch-seal"), &aad, &seal.enc, &seal.ct).ok();
    let opened = keys.hpke_keys().find_map(open).ok_or(KeyTrouble::SealFails)?;
    committed(&opened.plaintext, facts.commit).ok_or(KeyTrouble::WrongSecret)
}

pub(super) fn committed(bytes: &[u8], commit: &[u8; 32]) -> Option<EpochSecret> {
    let secret = EpochSecret::from_bytes(bytes.try_into().ok()?);
    (secret.commitment() == *commit).then_some(secret)
}

fn wrap_context(space: &SpaceId, parent: &EpochRef) -> Vec<u8> {
    [&ctx("wrap")[..], &space.0, &parent.0].concat()
}

pub(super) fn wrap_epoch(
    space: &SpaceId,
    new: &EpochSecret,
    parent: EpochRef,
    secret: &EpochSecret,
) -> Result<Wrap, CryptoError> {
    let mut buffer = secret.to_bytes().to_vec();
    // Single use: the key depends on the new epoch's random secret and the parent, which are wrapped together once.
    let key = new.derive_key(&[&ctx("wrap"), &parent.0]);
    seal_once(&key, &wrap_context(space, &parent), &mut buffer)?;
    Ok(Wrap { parent, ct: buffer.try_into().map_err(|_| CryptoError)? })
}

pub(super) fn open_wrap(space: &SpaceId, new: &EpochSecret, wrap: &Wrap, commit: &[u8; 32]) -> Option<EpochSecret> {
    let mut buffer = Zeroizing::new(wrap.ct.to_vec());
    let key = new.derive_key(&[&ctx("wrap"), &wrap.parent.0]);
    open_once(&key, &wrap_context(space, &wrap.parent), &mut buffer).ok()?;
    committed(&buffer, commit)
}
