//! The two cursors of every fixed layout: append big-endian, read big-endian, never past the end.

/// Appends big-endian fields.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_bool(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// A length or count. What does not fit becomes the largest value, which every reader refuses.
    fn put_len(&mut self, value: usize) {
        self.put_u32(u32::try_from(value).unwrap_or(u32::MAX));
    }

    /// `u32 length ‖ bytes`.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_len(bytes.len());
        self.put(bytes);
    }

    /// `u32 count ‖ items`.
    fn put_list<T>(&mut self, items: &[T], mut put_item: impl FnMut(&mut Self, &T)) {
        self.put_len(items.len());
        items.iter().for_each(|item| put_item(self, item));
    }

    /// `u8 present ‖ value`.
    fn put_option<T>(&mut self, value: Option<&T>, put_value: impl FnOnce(&mut Self, &T)) {
        self.put_bool(value.is_some());
        if let Some(value) = value {
            put_value(self, value);
        }
    }
}

impl Put for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Why a layout could not be read; fixed text, so that it can go into any error.
pub(crate) type Reason = &'static str;

/// Reads big-endian fields from untrusted bytes.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or("truncated")?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or("truncated")?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Reason> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Reason> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("a flag is neither 0 nor 1"),
        }
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Reason> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Reason> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Reason> {
        self.array().map(u64::from_be_bytes)
    }

    /// `u32 length ‖ bytes`, borrowed.
    pub(crate) fn bytes(&mut self, bytes_max: usize) -> Result<&'a [u8], Reason> {
        let length = self.u32()? as usize;
        if length > bytes_max {
            return Err("a length is over its limit");
        }
        self.take(length)
    }

    pub(crate) fn text(&mut self, bytes_max: usize) -> Result<String, Reason> {
        let bytes = self.bytes(bytes_max)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "text is not UTF-8")
    }

    /// `u32 count ‖ items`. Nothing is reserved before the bytes for `count` smallest items are there, so a
    /// forged count cannot allocate more than a small multiple of the input.
    pub(crate) fn list<T>(
        &mut self,
        count_max: usize,
        item_bytes_min: usize,
        mut read_item: impl FnMut(&mut Self) -> Result<T, Reason>,
    ) -> Result<Vec<T>, Reason> {
        let count = self.u32()? as usize;
        if count > count_max {
            return Err("a count is over its limit");
        }
        if count.saturating_mul(item_bytes_min) > self.rest.len() {
            return Err("truncated");
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(read_item(self)?);
        }
        Ok(items)
    }

    pub(crate) fn option<T>(
        &mut self,
        read_value: impl FnOnce(&mut Self) -> Result<T, Reason>,
    ) -> Result<Option<T>, Reason> {
        if self.bool()? { read_value(self).map(Some) } else { Ok(None) }
    }

    pub(crate) const fn finish(self) -> Result<(), Reason> {
        if self.rest.is_empty() { Ok(()) } else { Err("bytes are left over") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_reserves_nothing_before_its_bytes_are_there() {
        // Room for as many items as are claimed here is more than any machine has.
        let mut unread = 0;
        let mut list = |bytes: &[u8], count_max| {
            Reader::new(bytes).list(count_max, 1, |_| {
                unread += 1;
                Ok([0_u8; 1 << 17])
            })
        };
        assert!(list(&[0xff; 4], usize::MAX).is_err());
        assert!(list(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3], usize::MAX).is_err());
        assert!(list(&[0, 0, 0, 3, 1, 2, 3], 2).is_err());
        assert_eq!(unread, 0);
        let read = |count_max| Reader::new(&[0, 0, 0, 3, 1, 2, 3]).list(count_max, 1, Reader::u8);
        assert_eq!(read(3), Ok(vec![1, 2, 3]));
        assert_eq!(read(2), Err("a count is over its limit"));
    }
}
