//! Reads just enough of a change chunk to know that parsing it is bounded, before Automerge sees a byte of it.
//!
//! ```text
//! chunk  = 85 6f 4a 83 ‖ checksum(4) ‖ type ‖ LEB128 length ‖ data
//! change = deps ‖ actor ‖ seq ‖ start_op ‖ time ‖ message ‖ other actors ‖ columns {spec, length} ‖ column data
//! ```
//! Columns are run-length encoded, so a hundred bytes can claim 2⁶³ operations, which `Change::from_bytes` would
//! walk one by one. The counts are summed here instead. Layout: Automerge's binary format specification.

use super::FenceError;
use super::limits::{CHANGE_ACTORS_MAX, CHANGE_DEPS_MAX, CHANGE_MESSAGE_BYTES_MAX, CHANGE_OPS_MAX};
use crate::envelope::plaintext::inflate_at_most;

pub(super) const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const TYPE_CHANGE: u8 = 1;
const TYPE_DEFLATED_CHANGE: u8 = 2;
const HASH_BYTES: u64 = 32;
/// Bit of a column's specification that says that its data is compressed; never set in a change.
const COLUMN_DEFLATED: u64 = 8;
/// Highest number of columns that a change of this version has, with room for later ones.
pub(super) const COLUMNS_MAX: usize = 64;

/// A chunk whose parsing cost is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// The change as an uncompressed chunk.
    pub(super) bytes: Vec<u8>,
    /// Upper bound of its operations.
    pub(super) ops: u64,
}

/// Checks one chunk and inflates it if it is a deflated change, to at most `bytes_max`.
pub(super) fn scan(chunk: &[u8], bytes_max: usize) -> Result<Scanned, FenceError> {
    let mut cursor = Cursor(chunk);
    if cursor.take(4)? != MAGIC {
        return Err(FenceError::ChunkType);
    }
    let checksum: [u8; 4] = cursor.take(4)?.try_into().map_err(|_| FenceError::Parse)?;
    let kind = cursor.take(1)?[0];
    if !matches!(kind, TYPE_CHANGE | TYPE_DEFLATED_CHANGE) {
        return Err(FenceError::ChunkType);
    }
    let length = cursor.unsigned()?;
    let data = cursor.take(length)?;
    if !cursor.0.is_empty() {
        return Err(FenceError::Parse);
    }
    let bytes = match kind {
        TYPE_CHANGE if chunk.len() > bytes_max => return Err(FenceError::TooLarge),
        TYPE_CHANGE => chunk.to_vec(),
        _ => inflate_chunk(checksum, data, bytes_max)?,
    };
    let body = bytes.len() - body_bytes(&bytes)?;
    let ops = count_ops(&bytes[body..])?;
    Ok(Scanned { bytes, ops })
}

/// The checksum of a deflated change is that of the change it inflates to.
fn inflate_chunk(checksum: [u8; 4], data: &[u8], bytes_max: usize) -> Result<Vec<u8>, FenceError> {
    let body = inflate_at_most(data, bytes_max).ok_or(FenceError::TooLarge)?;
    let mut bytes = Vec::with_capacity(body.len() + 19);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&checksum);
    bytes.push(TYPE_CHANGE);
    push_unsigned(&mut bytes, body.len() as u64);
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn push_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn body_bytes(chunk: &[u8]) -> Result<usize, FenceError> {
    let mut cursor = Cursor(chunk);
    cursor.take(9)?;
    cursor.unsigned()?;
    Ok(cursor.0.len())
}

/// Walks the fields in front of the columns and sums the columns' claims.
fn count_ops(body: &[u8]) -> Result<u64, FenceError> {
    let mut cursor = Cursor(body);
    let deps = cursor.count(CHANGE_DEPS_MAX)?;
    cursor.take(deps * HASH_BYTES)?;
    cursor.prefixed()?;
    let _seq = cursor.unsigned()?;
    let start_op = cursor.unsigned()?;
    let _time = cursor.signed()?;
    if cursor.prefixed()?.len() > CHANGE_MESSAGE_BYTES_MAX {
        return Err(FenceError::TooLarge);
    }
    for _ in 0..cursor.count(CHANGE_ACTORS_MAX)? {
        cursor.prefixed()?;
    }
    let columns = (0..cursor.count(COLUMNS_MAX)?)
        .map(|_| Ok((cursor.unsigned()?, cursor.unsigned()?)))
        .collect::<Result<Vec<_>, FenceError>>()?;
    let mut ops = 0;
    for (spec, length) in columns {
        ops = ops.max(column_items(spec, cursor.take(length)?, CHANGE_OPS_MAX)?);
    }
    if start_op.saturating_add(ops) > u64::from(u32::MAX) {
        return Err(FenceError::Counter);
    }
    Ok(ops)
}

/// How many items a column claims to hold; for a group column (predecessors of each operation) also how many
/// its groups hold together, whichever is more.
pub(super) fn column_items(spec: u64, data: &[u8], most: u64) -> Result<u64, FenceError> {
    if spec & COLUMN_DEFLATED != 0 {
        return Err(FenceError::ChunkType);
    }
    let mut data = Cursor(data);
    let mut items = 0_u64;
    let mut grouped = 0_u64;
    while !data.0.is_empty() {
        let run = match spec & 7 {
            0 => data.group_run(&mut grouped)?,
            1 | 2 | 6 => data.run(|data| data.unsigned().map(|_| ()))?,
            3 => data.run(|data| data.signed().map(|_| ()))?,
            4 => data.unsigned()?,
            5 => data.run(|data| data.prefixed().map(|_| ()))?,
            _ => return Ok(0),
        };
        items = items.saturating_add(run);
        if items.max(grouped) > most {
            return Err(FenceError::TooLarge);
        }
    }
    Ok(items.max(grouped))
}

pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], FenceError> {
        let length = usize::try_from(length).map_err(|_| FenceError::Parse)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(FenceError::Parse)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn prefixed(&mut self) -> Result<&'a [u8], FenceError> {
        let length = self.unsigned()?;
        self.take(length)
    }

    pub(super) fn count(&mut self, max: usize) -> Result<u64, FenceError> {
        let count = self.unsigned()?;
        if count > max as u64 { Err(FenceError::TooLarge) } else { Ok(count) }
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, FenceError> {
        let (value, _, _) = self.leb128()?;
        Ok(value)
    }

    fn signed(&mut self) -> Result<i64, FenceError> {
        let (value, shift, last) = self.leb128()?;
        let sign = if last & 0x40 != 0 && shift < 64 { -1_i64 << shift } else { 0 };
        Ok(value as i64 | sign)
    }

    /// Value, bits read, last byte.
    fn leb128(&mut self) -> Result<(u64, u32, u8), FenceError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value, shift + 7, byte));
            }
        }
        Err(FenceError::Parse)
    }

    /// One run: `n > 0` copies of one value, `-n` values one after the other, or 0 and a number of nulls.
    fn run(&mut self, mut value: impl FnMut(&mut Self) -> Result<(), FenceError>) -> Result<u64, FenceError> {
        match self.signed()? {
            0 => self.unsigned(),
            copies @ 1.. => value(self).map(|()| copies.unsigned_abs()),
            literals => {
                let count = literals.unsigned_abs();
                if count > self.0.len() as u64 {
                    return Err(FenceError::Parse);
                }
                (0..count).try_for_each(|_| value(self)).map(|()| count)
            }
        }
    }

    /// A run of group sizes; adds what the groups hold together.
    fn group_run(&mut self, grouped: &mut u64) -> Result<u64, FenceError> {
        let before = self.0;
        let copies = self.signed()?;
        let mut sum = 0_u64;
        self.0 = before;
        let run = self.run(|data| {
            sum = sum.saturating_add(data.unsigned()?);
            Ok(())
        })?;
        let together = if copies > 0 { sum.saturating_mul(run) } else { sum };
        *grouped = grouped.saturating_add(together);
        Ok(run)
    }
}
