//! Names in records, of devices (DeviceAdd) and members (MemberAdd): sealed to the readers of the space, every name in
//! the same number of bytes. Who writes the record has seen the name and stands for it.
//!
//! ```text
//! name = epoch ‖ salt ‖ ChaCha20-Poly1305(HKDF(secret, ctx("meta") ‖ salt),
//!             aad = ctx("meta") ‖ space ‖ device_pk or member id ‖ epoch ‖ salt){u8 length ‖ name ‖ zeros up to 128}
//! ```

use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{EpochRef, MemberId, SignPk, SpaceId};

use super::RecordsError;
use crate::crypto::{Random, open_once, random_bytes, seal_once};
use crate::keys::{EpochSecret, Keyring};
use crate::names::{padded, unpadded};

const SALT_BYTES: usize = 16;

/// Whom a name is for.
#[derive(Debug, Clone, Copy)]
pub enum Named<'a> {
    /// A device, in its DeviceAdd.
    Device(&'a SignPk),
    /// A person, in their MemberAdd.
    Member(&'a MemberId),
}

/// A device's key and a member's id differ in length, and nothing else does: no name of one is one of the other.
fn name_context(space: &SpaceId, named: Named<'_>, epoch: &EpochRef, salt: &[u8]) -> Vec<u8> {
    let whom = match named {
        Named::Device(device) => &device.0[..],
        Named::Member(member) => &member.0[..],
    };
    [&ctx("meta")[..], &space.0, whom, &epoch.0, salt].concat()
}

/// Seals a name to the readers of the space; every name gives the same number of bytes.
pub(crate) fn seal_name(
    space: &SpaceId,
    named: Named<'_>,
    (epoch, secret): (EpochRef, &EpochSecret),
    name: &str,
    random: &mut dyn Random,
) -> Result<Vec<u8>, RecordsError> {
    let mut buffer = padded(name).ok_or(RecordsError::Name)?;
    let salt: [u8; SALT_BYTES] = random_bytes(random);
    let key = secret.derive_key(&[&ctx("meta"), &salt]);
    seal_once(&key, &name_context(space, named, &epoch, &salt), &mut buffer)?;
    Ok([&epoch.0[..], &salt, &buffer].concat())
}

/// Reads the name out of an `enc_meta`; nothing when the epoch is not held, the bytes do not open, or what is in them is
/// no name that may be given.
#[must_use]
pub fn open_name(space: &SpaceId, named: Named<'_>, enc_meta: &[u8], keyring: &Keyring) -> Option<String> {
    let (epoch, rest) = enc_meta.split_first_chunk::<{ EpochRef::BYTES }>()?;
    let (salt, ct) = rest.split_first_chunk::<SALT_BYTES>()?;
    let epoch = EpochRef(*epoch);
    let key = keyring.find(&epoch)?.derive_key(&[&ctx("meta"), salt]);
    let mut buffer = ct.to_vec();
    open_once(&key, &name_context(space, named, &epoch, salt), &mut buffer).ok()?;
    unpadded(&buffer)
}
