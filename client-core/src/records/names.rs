//! Device names in records: sealed to the readers of the space, every name in the same number of bytes.
//!
//! ```text
//! name = epoch ‖ salt ‖ ChaCha20-Poly1305(HKDF(secret, ctx("meta") ‖ salt),
//!             aad = ctx("meta") ‖ space ‖ device_pk ‖ epoch ‖ salt){u8 length ‖ name ‖ zeros up to 128}
//! ```

use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{EpochRef, SignPk, SpaceId};

use super::RecordsError;
use crate::crypto::{Random, open_once, random_bytes, seal_once};
use crate::keys::{EpochSecret, Keyring};

/// Longest device name in bytes.
pub const DEVICE_NAME_BYTES_MAX: usize = 127;
const NAME_PLAINTEXT_BYTES: usize = DEVICE_NAME_BYTES_MAX + 1;
const SALT_BYTES: usize = 16;

fn name_context(space: &SpaceId, device: &SignPk, epoch: &EpochRef, salt: &[u8]) -> Vec<u8> {
    [&ctx("meta")[..], &space.0, &device.0, &epoch.0, salt].concat()
}

/// Seals a device's name to the readers of the space; every name gives the same number of bytes.
pub(super) fn seal_device_name(
    space: &SpaceId,
    device: &SignPk,
    epoch: EpochRef,
    secret: &EpochSecret,
    name: &str,
    random: &mut dyn Random,
) -> Result<Vec<u8>, RecordsError> {
    let length = u8::try_from(name.len()).map_err(|_| RecordsError::Name)?;
    if name.is_empty() || name.len() > DEVICE_NAME_BYTES_MAX {
        return Err(RecordsError::Name);
    }
    let salt: [u8; SALT_BYTES] = random_bytes(random);
    let mut buffer = vec![length];
    buffer.extend_from_slice(name.as_bytes());
    buffer.resize(NAME_PLAINTEXT_BYTES, 0);
    let key = secret.derive_key(&[&ctx("meta"), &salt]);
    seal_once(&key, &name_context(space, device, &epoch, &salt), &mut buffer)?;
    Ok([&epoch.0[..], &salt, &buffer].concat())
}

/// Reads the name out of a DeviceAdd's `enc_meta`; nothing when the epoch is not held or the bytes do not open.
#[must_use]
pub fn open_device_name(space: &SpaceId, device: &SignPk, enc_meta: &[u8], keyring: &Keyring) -> Option<String> {
    let (epoch, rest) = enc_meta.split_first_chunk::<{ EpochRef::BYTES }>()?;
    let (salt, ct) = rest.split_first_chunk::<SALT_BYTES>()?;
    let epoch = EpochRef(*epoch);
    let key = keyring.find(&epoch)?.derive_key(&[&ctx("meta"), salt]);
    let mut buffer = ct.to_vec();
    open_once(&key, &name_context(space, device, &epoch, salt), &mut buffer).ok()?;
    let (length, rest) = buffer.split_first()?;
    String::from_utf8(rest.get(..usize::from(*length))?.to_vec()).ok()
}
