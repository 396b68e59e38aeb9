//! The one CBOR encoding that record bodies may have (RFC 8949 §4.2.1, a subset): unsigned integers in their
//! shortest form, byte and text strings, arrays and integer-keyed maps of definite length, and null.
//!
//! The reader accepts nothing else, so what it accepts is byte for byte what the writer writes. It is typed:
//! there is no recursion over the input, so nesting costs no stack.

use crate::ids::{EnvelopeId, EpochRef, HpkePk, MemberId, RecordId, SignPk, Signature, SpaceId, StreamId};
use crate::limits::TEXT_BYTES_MAX;
use crate::wire::{Put, Reader, Reason};

const MAJOR_UINT: u8 = 0;
const MAJOR_BYTES: u8 = 2;
const MAJOR_TEXT: u8 = 3;
const MAJOR_ARRAY: u8 = 4;
const MAJOR_MAP: u8 = 5;
const NULL: u8 = 0xf6;

/// Writes a major type and its argument, shortest form.
fn put_head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        0..24 => out.put_u8(major | argument as u8),
        24..0x100 => out.put(&[major | 24, argument as u8]),
        0x100..0x1_0000 => {
            out.put_u8(major | 25);
            out.put_u16(argument as u16);
        }
        0x1_0000..0x1_0000_0000 => {
            out.put_u8(major | 26);
            out.put_u32(argument as u32);
        }
        _ => {
            out.put_u8(major | 27);
            out.put_u64(argument);
        }
    }
}

/// Reads the argument of a head that must have this major type.
fn read_head(r: &mut Reader<'_>, major: u8) -> Result<u64, Reason> {
    let head = r.u8()?;
    if head >> 5 != major {
        return Err("a value has another type than its field");
    }
    let (argument, smallest) = match head & 0x1f {
        small @ 0..24 => (u64::from(small), 0),
        24 => (u64::from(r.u8()?), 24),
        25 => (u64::from(r.u16()?), 0x100),
        26 => (u64::from(r.u32()?), 0x1_0000),
        27 => (r.u64()?, 0x1_0000_0000),
        _ => return Err("an indefinite or reserved length"),
    };
    if argument < smallest { Err("an integer is not in its shortest form") } else { Ok(argument) }
}

fn put_string(out: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    put_head(out, major, bytes.len() as u64);
    out.put(bytes);
}

fn read_string<'a>(r: &mut Reader<'a>, major: u8) -> Result<&'a [u8], Reason> {
    let length = read_head(r, major)?;
    r.take(usize::try_from(length).map_err(|_| "truncated")?)
}

pub(super) fn put_map(out: &mut Vec<u8>, fields: usize) {
    put_head(out, MAJOR_MAP, fields as u64);
}

pub(super) fn put_key(out: &mut Vec<u8>, key: u8) {
    put_head(out, MAJOR_UINT, u64::from(key));
}

/// Reads a map head with exactly this many fields.
pub(super) fn read_map(r: &mut Reader<'_>, fields: usize) -> Result<(), Reason> {
    if read_head(r, MAJOR_MAP)? == fields as u64 { Ok(()) } else { Err("a map has missing or surplus fields") }
}

/// Reads exactly this key; called in ascending order, it refuses unsorted and repeated keys.
pub(super) fn read_key(r: &mut Reader<'_>, key: u8) -> Result<(), Reason> {
    if read_head(r, MAJOR_UINT)? == u64::from(key) { Ok(()) } else { Err("a key is unknown or out of order") }
}

pub(super) fn put_array(out: &mut Vec<u8>, items: usize) {
    put_head(out, MAJOR_ARRAY, items as u64);
}

/// Reads an array head with exactly this many items.
pub(super) fn read_array(r: &mut Reader<'_>, items: usize) -> Result<(), Reason> {
    if read_head(r, MAJOR_ARRAY)? == items as u64 { Ok(()) } else { Err("an array has missing or surplus items") }
}

/// A value with one encoding.
pub(super) trait Value: Sized {
    fn put_to(&self, out: &mut Vec<u8>);
    fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason>;

    /// A list of values is an array; only `u8` differs, whose list is a byte string.
    fn put_list_to(items: &[Self], out: &mut Vec<u8>) {
        put_array(out, items.len());
        items.iter().for_each(|item| item.put_to(out));
    }

    fn read_list_from(r: &mut Reader<'_>) -> Result<Vec<Self>, Reason> {
        let count = read_head(r, MAJOR_ARRAY)?;
        // Grown item by item: a forged count reserves nothing.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(Self::read_from(r)?);
        }
        Ok(items)
    }
}

impl Value for u8 {
    fn put_to(&self, out: &mut Vec<u8>) {
        put_head(out, MAJOR_UINT, u64::from(*self));
    }

    fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
        Self::try_from(read_head(r, MAJOR_UINT)?).map_err(|_| "an integer is too large")
    }

    fn put_list_to(items: &[Self], out: &mut Vec<u8>) {
        put_string(out, MAJOR_BYTES, items);
    }

    fn read_list_from(r: &mut Reader<'_>) -> Result<Vec<Self>, Reason> {
        read_string(r, MAJOR_BYTES).map(<[u8]>::to_vec)
    }
}

impl Value for u32 {
    fn put_to(&self, out: &mut Vec<u8>) {
        put_head(out, MAJOR_UINT, u64::from(*self));
    }

    fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
        Self::try_from(read_head(r, MAJOR_UINT)?).map_err(|_| "an integer is too large")
    }
}

impl Value for u64 {
    fn put_to(&self, out: &mut Vec<u8>) {
        put_head(out, MAJOR_UINT, *self);
    }

    fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
        read_head(r, MAJOR_UINT)
    }
}

impl<const N: usize> Value for [u8; N] {
    fn put_to(&self, out: &mut Vec<u8>) {
        put_string(out, MAJOR_BYTES, self);
    }

    fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
        read_string(r, MAJOR_BYTES)?.try_into().map_err(|_| "a byte string has another length than its field")
    }
}

impl Value for String {
    fn put_to(&self, out: &mut Vec<u8>) {
        put_string(out, MAJOR_TEXT, self.as_bytes());
    }

    fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
        let bytes = read_string(r, MAJOR_TEXT)?;
        if bytes.len() > TEXT_BYTES_MAX {
            return Err("a text is over its limit");
        }
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "a text is not UTF-8")
    }
}

impl<T: Value> Value for Vec<T> {
    fn put_to(&self, out: &mut Vec<u8>) {
        T::put_list_to(self, out);
    }

    fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
        T::read_list_from(r)
    }
}

impl<T: Value> Value for Option<T> {
    fn put_to(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.put_to(out),
            None => out.put_u8(NULL),
        }
    }

    fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
        let mut ahead = *r;
        if ahead.u8()? == NULL {
            *r = ahead;
            return Ok(None);
        }
        T::read_from(r).map(Some)
    }
}

impl<A: Value, B: Value> Value for (A, B) {
    fn put_to(&self, out: &mut Vec<u8>) {
        put_array(out, 2);
        self.0.put_to(out);
        self.1.put_to(out);
    }

    fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
        read_array(r, 2)?;
        Ok((A::read_from(r)?, B::read_from(r)?))
    }
}

macro_rules! byte_strings {
    ($($name:ident),*) => {$(
        impl Value for $name {
            fn put_to(&self, out: &mut Vec<u8>) {
                self.0.put_to(out);
            }

            fn read_from(r: &mut Reader<'_>) -> Result<Self, Reason> {
                Value::read_from(r).map(Self)
            }
        }
    )*};
}

byte_strings!(EnvelopeId, EpochRef, HpkePk, MemberId, RecordId, SignPk, Signature, SpaceId, StreamId);
