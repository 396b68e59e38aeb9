//! The CBOR subset of everything sealed: integers without sign, byte strings, text, arrays and maps, each in its
//! one canonical form (RFC 8949 §4.2.1: definite lengths, shortest heads, ascending integer keys).
//!
//! Reading never recurses without a bound, never allocates, and never takes a count at its word: a count larger
//! than the bytes left is an error before anything is done with it.

use lifeos_sync_protocol::limits::CBOR_DEPTH_MAX;

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// Not the canonical CBOR that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not canonical CBOR")]
pub(crate) struct CborError;

/// Writes canonical CBOR; the caller gives keys in ascending order.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn uint(&mut self, value: u64) -> &mut Self {
        self.head(UINT, value)
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.head(BYTES, value.len() as u64).raw(value)
    }

    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.head(TEXT, value.len() as u64).raw(value.as_bytes())
    }

    pub(crate) fn array(&mut self, length: usize) -> &mut Self {
        self.head(ARRAY, length as u64)
    }

    pub(crate) fn map(&mut self, length: usize) -> &mut Self {
        self.head(MAP, length as u64)
    }

    /// Bytes that are CBOR already.
    pub(crate) fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn head(&mut self, major: u8, value: u64) -> &mut Self {
        let major = major << 5;
        match head_len(value) {
            1 => self.0.push(major | value as u8),
            2 => self.0.extend_from_slice(&[major | 24, value as u8]),
            3 => self.raw(&[major | 25]).0.extend_from_slice(&(value as u16).to_be_bytes()),
            5 => self.raw(&[major | 26]).0.extend_from_slice(&(value as u32).to_be_bytes()),
            _ => self.raw(&[major | 27]).0.extend_from_slice(&value.to_be_bytes()),
        }
        self
    }
}

/// Bytes that the head of an item with this value or length takes.
pub(crate) const fn head_len(value: u64) -> usize {
    match value {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// Reads canonical CBOR from the front of a slice.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn uint(&mut self) -> Result<u64, CborError> {
        self.head(UINT)
    }

    pub(crate) fn uint_32(&mut self) -> Result<u32, CborError> {
        self.uint()?.try_into().map_err(|_| CborError)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], CborError> {
        let length = self.head(BYTES)?;
        self.take(length)
    }

    /// A byte string of exactly `N` bytes.
    pub(crate) fn array_of<const N: usize>(&mut self) -> Result<[u8; N], CborError> {
        self.bytes()?.try_into().map_err(|_| CborError)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, CborError> {
        let length = self.head(TEXT)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| CborError)
    }

    /// The length of an array, at most `max` and at most the bytes left.
    pub(crate) fn array(&mut self, max: usize) -> Result<usize, CborError> {
        let length = self.head(ARRAY)?;
        self.count(length, max)
    }

    /// Reads a map with ascending integer keys, giving each key to `entry`, which must read the value.
    pub(crate) fn map<E: From<CborError>>(
        &mut self,
        mut entry: impl FnMut(&mut Self, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let length = self.head(MAP)?;
        let mut last = None;
        for _ in 0..self.count(length, usize::MAX)? {
            let key = self.uint()?;
            if last.is_some_and(|last| last >= key) {
                return Err(CborError.into());
            }
            last = Some(key);
            entry(self, key)?;
        }
        Ok(())
    }

    /// Passes over one item of any supported type and gives its bytes.
    pub(crate) fn skip(&mut self) -> Result<&'a [u8], CborError> {
        let start = self.rest;
        self.skip_nested(CBOR_DEPTH_MAX)?;
        Ok(&start[..start.len() - self.rest.len()])
    }

    /// Checks that nothing is left.
    pub(crate) const fn end(&self) -> Result<(), CborError> {
        if self.rest.is_empty() { Ok(()) } else { Err(CborError) }
    }

    fn skip_nested(&mut self, depth: usize) -> Result<(), CborError> {
        let major = self.rest.first().ok_or(CborError)? >> 5;
        let value = self.head(major)?;
        let items = match major {
            UINT => return Ok(()),
            BYTES => return self.take(value).map(|_| ()),
            TEXT => return std::str::from_utf8(self.take(value)?).map(|_| ()).map_err(|_| CborError),
            ARRAY => self.count(value, usize::MAX)?,
            MAP => self.count(value, usize::MAX / 2)? * 2,
            _ => return Err(CborError),
        };
        let deeper = depth.checked_sub(1).ok_or(CborError)?;
        (0..items).try_for_each(|_| self.skip_nested(deeper))
    }

    fn head(&mut self, major: u8) -> Result<u64, CborError> {
        let first = *self.take(1)?.first().ok_or(CborError)?;
        if first >> 5 != major {
            return Err(CborError);
        }
        let value = match first & 31 {
            small @ 0..=23 => u64::from(small),
            code @ 24..=27 => {
                let bytes = self.take(1 << (code - 24))?;
                let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
                if head_len(value) != 1 + bytes.len() {
                    return Err(CborError);
                }
                value
            }
            _ => return Err(CborError),
        };
        Ok(value)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let length = usize::try_from(length).map_err(|_| CborError)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CborError)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Every item takes at least one byte, so no honest count is larger than what is left.
    fn count(&self, count: u64, max: usize) -> Result<usize, CborError> {
        let count = usize::try_from(count).map_err(|_| CborError)?;
        if count > max.min(self.rest.len()) { Err(CborError) } else { Ok(count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_form() {
        for value in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            let mut writer = Writer::default();
            writer.uint(value);
            let bytes = writer.finish();
            assert_eq!(bytes.len(), head_len(value));
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.uint(), Ok(value));
            assert_eq!(reader.end(), Ok(()));
        }
        for padded in [&[0x18, 5][..], &[0x19, 0, 255], &[0x1a, 0, 0, 255, 255], &[0x1b, 0, 0, 0, 0, 1, 2, 3, 4]] {
            assert_eq!(Reader::new(padded).uint(), Err(CborError), "{padded:02x?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let mut deep = vec![0x81; 10_000];
        deep.push(0);
        assert_eq!(Reader::new(&deep).skip(), Err(CborError));
        assert!(Reader::new(&[0x81, 0x81, 0x81, 0]).skip().is_ok());
    }

    #[test]
    fn indefinite_lengths_floats_and_tags_are_refused() {
        for bytes in [&[0x9f, 0xff][..], &[0xbf, 0xff], &[0x5f, 0xff], &[0xf9, 0, 0], &[0xc0, 0], &[0xf6], &[0x20]] {
            assert_eq!(Reader::new(bytes).skip(), Err(CborError), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_huge_count_is_refused_before_anything_is_allocated() {
        assert_eq!(
            Reader::new(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).array(usize::MAX),
            Err(CborError)
        );
        assert_eq!(Reader::new(&[0x5a, 0x7f, 0xff, 0xff, 0xff]).bytes(), Err(CborError));
    }

    #[test]
    fn keys_ascend_and_do_not_repeat() {
        let read = |bytes: &[u8]| Reader::new(bytes).map(|reader, _| reader.skip().map(|_| ()));
        assert_eq!(read(&[0xa2, 1, 0, 2, 0]), Ok(()));
        assert_eq!(read(&[0xa2, 1, 0, 1, 0]), Err(CborError));
        assert_eq!(read(&[0xa2, 2, 0, 1, 0]), Err(CborError));
    }
}
