//! HPKE keys that a device made after its first one: kept in the database, sealed under the device's root.
//!
//! ```text
//! meta "hpke:<space>" = salt (16) ‖ ChaCha20-Poly1305(HKDF(local key, ctx("hpke-keys") ‖ salt),
//!                                   aad = ctx("hpke-keys") ‖ space){key material (32) each, oldest first}
//! ```

use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{EpochRef, HpkePk, SignPk, SpaceId};
use lifeos_sync_protocol::record::Record;
use rusqlite::Connection;
use zeroize::Zeroizing;

use super::records::{Source, admissible, find_space, insert_records};
use super::{Store, StoreError, begin, schema};
use crate::crypto::{HpkeKey, Random, open_once, random_bytes, seal_once};
use crate::keys::DeviceKeys;

/// Since when this device knows the present epoch and its own HPKE key, and when it did what others asked for, by its
/// own clock. Never sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyClock {
    /// The present epoch (ms UTC).
    pub epoch_since_ms: i64,
    /// The enrolled HPKE key of this device (ms UTC).
    pub hpke_since_ms: i64,
    /// When this device last made epochs that somebody else's doing called for, removals apart (ms UTC); oldest first.
    pub asked_ms: Vec<i64>,
    /// Something was erased under the present epoch, and no checkpoint stands behind that yet.
    pub erased_by: Vec<SignPk>,
}

/// Times that are remembered.
const ASKED_KEPT: usize = 16;

const SALT_BYTES: usize = 16;
const MATERIAL_BYTES: usize = 32;

fn asked_key(space: &SpaceId) -> String {
    format!("epochs-asked:{space}")
}

fn asked(conn: &Connection, space: &SpaceId) -> Result<Vec<i64>, StoreError> {
    let stored = schema::meta(conn, &asked_key(space))?.unwrap_or_default();
    Ok(stored.as_chunks::<8>().0.iter().map(|time| i64::from_be_bytes(*time)).collect())
}

fn meta_key(space: &SpaceId) -> String {
    format!("hpke:{space}")
}

fn context(space: &SpaceId) -> Vec<u8> {
    [&ctx("hpke-keys")[..], &space.0].concat()
}

fn read(conn: &Connection, space: &SpaceId, keys: &DeviceKeys) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let Some(stored) = schema::meta(conn, &meta_key(space))? else { return Ok(Zeroizing::default()) };
    let damaged = StoreError::Corrupt { what: "the device's newer keys" };
    let Some((salt, ct)) = stored.split_first_chunk::<SALT_BYTES>() else { return Err(damaged) };
    let mut buffer = Zeroizing::new(ct.to_vec());
    let key = keys.local.expand(&[&ctx("hpke-keys"), salt]);
    match open_once(&key, &context(space), &mut buffer) {
        Ok(()) if buffer.len().is_multiple_of(MATERIAL_BYTES) => Ok(buffer),
        _ => Err(damaged),
    }
}

fn write(
    conn: &Connection,
    space: &SpaceId,
    keys: &DeviceKeys,
    materials: &[u8],
    random: &mut dyn Random,
) -> Result<(), StoreError> {
    let salt: [u8; SALT_BYTES] = random_bytes(random);
    // Single use: the salt is drawn anew for every write.
    let key = keys.local.expand(&[&ctx("hpke-keys"), &salt]);
    let mut buffer = materials.to_vec();
    seal_once(&key, &context(space), &mut buffer).map_err(|_| StoreError::EditTooLarge)?;
    schema::put_meta(conn, &meta_key(space), &[&salt[..], &buffer].concat())
}

fn parse(materials: &[u8]) -> impl Iterator<Item = HpkeKey> {
    materials.as_chunks::<MATERIAL_BYTES>().0.iter().map(HpkeKey::derive)
}

/// Reads since when `value` is known, or begins to know it. A clock that was set back begins anew, too: else a key
/// made in a wrong year would never be old.
fn since(conn: &Connection, key: &str, value: &[u8], now_ms: i64) -> Result<i64, StoreError> {
    if let Some(stored) = schema::meta(conn, key)?
        && let Some((since_ms, known)) = stored.split_first_chunk::<8>()
        && known == value
        && i64::from_be_bytes(*since_ms) <= now_ms
    {
        return Ok(i64::from_be_bytes(*since_ms));
    }
    schema::put_meta(conn, key, &[&now_ms.to_be_bytes()[..], value].concat())?;
    Ok(now_ms)
}

impl Store {
    /// Since when the present epoch and the device's HPKE key are known here; begins to count what is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn key_clock(
        &mut self,
        space: &SpaceId,
        (epoch, hpke_pk): (Option<EpochRef>, HpkePk),
        now_ms: i64,
    ) -> Result<KeyClock, StoreError> {
        let tx = begin(&self.conn)?;
        let epoch = epoch.unwrap_or(EpochRef::ZERO);
        let epoch_since_ms = since(&tx, &format!("epoch-since:{space}"), epoch.as_ref(), now_ms)?;
        let hpke_since_ms = since(&tx, &format!("hpke-since:{space}"), hpke_pk.as_ref(), now_ms)?;
        let asked_ms = asked(&tx, space)?;
        tx.commit()?;
        let erased_by = self.erased_under(space, &epoch)?;
        Ok(KeyClock { epoch_since_ms, hpke_since_ms, asked_ms, erased_by })
    }

    /// Remembers that an epoch is made now which somebody else's doing calls for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_asked(&mut self, space: &SpaceId, now_ms: i64) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        let mut times = asked(&tx, space)?;
        times.push(now_ms);
        let kept = times.iter().skip(times.len().saturating_sub(ASKED_KEPT));
        schema::put_meta(&tx, &asked_key(space), &kept.flat_map(|time| time.to_be_bytes()).collect::<Vec<u8>>())?;
        Ok(tx.commit()?)
    }

    /// The HPKE keys this device made after its first one, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when they do not open with the device's root.
    pub fn hpke_keys(&self, space: &SpaceId, keys: &DeviceKeys) -> Result<Vec<HpkeKey>, StoreError> {
        Ok(parse(&read(&self.conn, space, keys)?).collect())
    }

    /// Keeps a new HPKE key and the records that announce it, in one durable commit: a key that others seal to is
    /// never lost, and one that nobody knows is never kept.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was stored.
    pub fn put_hpke_key(
        &mut self,
        space: &SpaceId,
        keys: &DeviceKeys,
        material: &[u8; 32],
        records: &[Record],
        random: &mut dyn Random,
    ) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        let row = find_space(&tx, space)?.row;
        let mut materials = read(&tx, space, keys)?;
        materials.extend_from_slice(material);
        write(&tx, space, keys, &materials, random)?;
        let held = self.records.records(&tx, row)?;
        insert_records(&tx, row, admissible(space, &held, records)?, Source::Here)?;
        Ok(tx.commit()?)
    }

    /// Forgets the HPKE keys that are not `kept`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_hpke_keys(
        &mut self,
        space: &SpaceId,
        keys: &DeviceKeys,
        kept: &HpkePk,
        random: &mut dyn Random,
    ) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        let materials = read(&tx, space, keys)?;
        let kept_material = materials.as_chunks::<MATERIAL_BYTES>().0.iter();
        let kept_material = kept_material.filter(|material| HpkeKey::derive(material).public() == *kept);
        let kept_material = Zeroizing::new(kept_material.flatten().copied().collect::<Vec<u8>>());
        if kept_material.len() == materials.len() {
            return Ok(());
        }
        write(&tx, space, keys, &kept_material, random)?;
        Ok(tx.commit()?)
    }
}
