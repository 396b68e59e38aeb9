//! Proofs that a relay showed two logs: they outlive the warning that told of them, and the use of that relay.
//!
//! Kept in the `meta` table, a list of [when ms, relay's address, the signed statements one after another] for each space.

use lifeos_sync_protocol::ids::SpaceId;
use rusqlite::Connection;

use super::records::find_space;
use super::{Reads, StoreError, Warning, WarningKind, schema};
use crate::cbor::{CborError, Reader, Writer};

/// Proofs kept for a space, the newest; one convinces already.
const PROOFS_KEPT: usize = 16;

impl Reads<'_> {
    /// Proofs whose warning was dismissed, or whose relay this space does not use any more; newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn relay_proofs(&self, space: &SpaceId) -> Result<Vec<Warning>, StoreError> {
        load(self.conn, find_space(self.conn, space)?.row)
    }
}

/// Puts the proofs among these warnings away, before the warnings go.
pub(super) fn keep(conn: &Connection, space: i64, warnings: Vec<Warning>) -> Result<(), StoreError> {
    let mut proofs = load(conn, space)?;
    let known = proofs.len();
    let is_proof = |warning: &Warning| warning.kind == WarningKind::EquivocationProven;
    for warning in warnings.into_iter().filter(is_proof) {
        if proofs.iter().all(|proof| proof.evidence != warning.evidence) {
            proofs.insert(0, warning);
        }
    }
    if proofs.len() == known {
        return Ok(());
    }
    proofs.truncate(PROOFS_KEPT);
    schema::put_meta(conn, &meta_key(space), &encode(&proofs))
}

fn load(conn: &Connection, space: i64) -> Result<Vec<Warning>, StoreError> {
    let kept = schema::meta(conn, &meta_key(space))?;
    let proofs = kept.map(|kept| decode(&kept)).transpose();
    Ok(proofs.map_err(|_| StoreError::Corrupt { what: "the proofs against relays" })?.unwrap_or_default())
}

fn meta_key(space: i64) -> String {
    format!("relay_proofs/{space}")
}

fn encode(proofs: &[Warning]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.array(proofs.len());
    for proof in proofs {
        let since_ms = u64::try_from(proof.since_ms).unwrap_or(0);
        writer.array(3).uint(since_ms).text(&proof.relay).bytes(&proof.evidence);
    }
    writer.finish()
}

fn decode(bytes: &[u8]) -> Result<Vec<Warning>, CborError> {
    let mut reader = Reader::new(bytes);
    let mut proofs = Vec::new();
    for _ in 0..reader.array(PROOFS_KEPT)? {
        if reader.array(3)? != 3 {
            return Err(CborError);
        }
        proofs.push(Warning {
            kind: WarningKind::EquivocationProven,
            since_ms: i64::try_from(reader.uint()?).map_err(|_| CborError)?,
            relay: reader.text()?.to_owned(),
            times: 1,
            evidence: reader.bytes()?.to_vec(),
        });
    }
    Ok(proofs)
}
