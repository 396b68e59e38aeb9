//! The column encodings of a change chunk, written and read without Automerge: run-length, delta, boolean.
//!
//! ```text
//! run     = n > 0 ‖ value            n equal values
//!         | -n    ‖ value × n        n values that differ from their neighbours
//!         | 0     ‖ n                n nulls; a column of nothing but nulls is empty
//! delta   = runs of differences      boolean = counts of false, true, false, …
//! ```
//! Automerge has one way to write each column, and a change counts only if it is written that way: its hash is that
//! of its bytes. Layout: Automerge's binary format specification.

/// Where reading stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// LEB128.
    pub(crate) fn unsigned(&mut self) -> Option<u64> {
        let (mut value, mut shift) = (0_u64, 0_u32);
        loop {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
    }

    /// Signed LEB128.
    pub(crate) fn signed(&mut self) -> Option<i64> {
        let (mut value, mut shift) = (0_i64, 0_u32);
        loop {
            let byte = self.take(1)?[0];
            value |= i64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                let negative = byte & 0x40 != 0 && shift < 64;
                return Some(if negative { value | -1_i64 << shift } else { value });
            }
        }
    }

    /// Bytes behind their length.
    pub(crate) fn prefixed(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.unsigned()?).ok()?;
        self.take(length)
    }
}

pub(crate) fn push_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn push_signed(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let byte = value as u8 & 0x7f;
        value >>= 7;
        if (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0) {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

pub(crate) fn push_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    push_unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What a run-length column holds.
pub(crate) trait Cell<'a>: PartialEq + Copy {
    fn write(&self, out: &mut Vec<u8>);
    fn read(from: &mut Cursor<'a>) -> Option<Self>;
}

impl Cell<'_> for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        push_unsigned(out, *self);
    }

    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        from.unsigned()
    }
}

impl Cell<'_> for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        push_signed(out, *self);
    }

    fn read(from: &mut Cursor<'_>) -> Option<Self> {
        from.signed()
    }
}

impl<'a> Cell<'a> for &'a str {
    fn write(&self, out: &mut Vec<u8>) {
        push_prefixed(out, self.as_bytes());
    }

    fn read(from: &mut Cursor<'a>) -> Option<Self> {
        std::str::from_utf8(from.prefixed()?).ok()
    }
}

/// Writes a run-length column.
#[derive(Debug)]
pub(crate) struct Runs<T> {
    out: Vec<u8>,
    /// The run that may still grow.
    open: Option<(Option<T>, u64)>,
    /// Values that stand alone, not written yet.
    single: Vec<T>,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self { out: Vec::new(), open: None, single: Vec::new() }
    }
}

impl<'a, T: Cell<'a>> Runs<T> {
    pub(crate) fn push(&mut self, value: Option<T>, count: u64) {
        if count == 0 {
            return;
        }
        match &mut self.open {
            Some((open, length)) if *open == value => *length += count,
            _ => {
                self.close();
                self.open = Some((value, count));
            }
        }
    }

    fn close(&mut self) {
        match self.open.take() {
            None => {}
            Some((Some(value), 1)) => self.single.push(value),
            Some((Some(value), length)) => {
                self.write_single();
                push_signed(&mut self.out, i64::try_from(length).unwrap_or(i64::MAX));
                value.write(&mut self.out);
            }
            Some((None, length)) => {
                self.write_single();
                self.out.push(0);
                push_unsigned(&mut self.out, length);
            }
        }
    }

    fn write_single(&mut self) {
        if !self.single.is_empty() {
            push_signed(&mut self.out, -i64::try_from(self.single.len()).unwrap_or(i64::MAX));
            self.single.drain(..).for_each(|value| value.write(&mut self.out));
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let only_nulls = self.out.is_empty() && self.single.is_empty() && matches!(self.open, Some((None, _)));
        if only_nulls {
            return Vec::new();
        }
        self.close();
        self.write_single();
        self.out
    }
}

/// Writes a column of numbers as differences.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    runs: Runs<i64>,
    last: i64,
}

impl Deltas {
    pub(crate) fn push(&mut self, value: Option<i64>) {
        match value {
            Some(value) => {
                self.runs.push(Some(value - self.last), 1);
                self.last = value;
            }
            None => self.runs.push(None, 1),
        }
    }

    /// `first`, `first + 1`, … `count` numbers.
    pub(crate) fn push_ascending(&mut self, first: i64, count: u64) {
        if count == 0 {
            return;
        }
        self.push(Some(first));
        self.runs.push(Some(1), count - 1);
        self.last += i64::try_from(count - 1).unwrap_or(i64::MAX);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.runs.finish()
    }
}

/// Writes a boolean column.
#[derive(Debug, Default)]
pub(crate) struct Bools {
    out: Vec<u8>,
    last: bool,
    count: u64,
    any: bool,
}

impl Bools {
    pub(crate) fn push(&mut self, value: bool, count: u64) {
        if count == 0 {
            return;
        }
        if value != self.last {
            push_unsigned(&mut self.out, self.count);
            (self.last, self.count) = (value, 0);
        }
        self.count += count;
        self.any |= value;
    }

    /// The column, and whether anything in it is true.
    pub(crate) fn finish(mut self) -> (Vec<u8>, bool) {
        if self.count > 0 {
            push_unsigned(&mut self.out, self.count);
        }
        (self.out, self.any)
    }
}

/// Reads a run-length column; what lies behind its end is null.
#[derive(Debug)]
pub(crate) struct RunReader<'a, T> {
    from: Cursor<'a>,
    left: u64,
    value: Option<T>,
    single: bool,
}

impl<'a, T: Cell<'a>> RunReader<'a, T> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { from: Cursor(bytes), left: 0, value: None, single: false }
    }

    pub(crate) const fn is_over(&self) -> bool {
        self.left == 0 && self.from.0.is_empty()
    }

    /// The next cell; the outer `None` is damage.
    pub(crate) fn next(&mut self) -> Option<Option<T>> {
        if self.left == 0 {
            if self.from.0.is_empty() {
                return Some(None);
            }
            match self.from.signed()? {
                0 => (self.left, self.value, self.single) = (self.from.unsigned()?, None, false),
                copies @ 1.. => {
                    (self.left, self.value, self.single) =
                        (copies.unsigned_abs(), Some(T::read(&mut self.from)?), false)
                }
                singles => (self.left, self.single) = (singles.unsigned_abs(), true),
            }
        }
        self.left = self.left.checked_sub(1)?;
        if self.single {
            self.value = Some(T::read(&mut self.from)?);
        }
        Some(self.value)
    }
}

/// Reads a column of differences.
#[derive(Debug)]
pub(crate) struct DeltaReader<'a> {
    runs: RunReader<'a, i64>,
    last: i64,
}

impl<'a> DeltaReader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { runs: RunReader::new(bytes), last: 0 }
    }

    pub(crate) fn next(&mut self) -> Option<Option<i64>> {
        let Some(delta) = self.runs.next()? else { return Some(None) };
        self.last = self.last.checked_add(delta)?;
        Some(Some(self.last))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(values: &[Option<u64>]) -> Vec<u8> {
        let mut runs = Runs::default();
        values.iter().for_each(|value| runs.push(*value, 1));
        runs.finish()
    }

    #[test]
    fn runs_are_written_as_the_format_asks() {
        assert!(written(&[None, None]).is_empty());
        assert_eq!(written(&[Some(7), Some(7), Some(7)]), [3, 7]);
        assert_eq!(written(&[Some(1), Some(2), Some(2), None]), [0x7f, 1, 2, 2, 0, 1]);
        assert_eq!(written(&[None, Some(1), Some(2)]), [0, 1, 0x7e, 1, 2]);
    }

    proptest! {
        #[test]
        fn a_column_reads_as_it_was_written(values in prop::collection::vec(prop::option::of(0_u64..4), 0..60)) {
            let bytes = written(&values);
            let mut reader = RunReader::<u64>::new(&bytes);
            for value in &values {
                prop_assert_eq!(reader.next(), Some(*value));
            }
            prop_assert!(reader.is_over());
        }

        #[test]
        fn differences_read_as_they_were_written(
            numbers in prop::collection::vec(prop::option::of(-300_i64..300), 0..60),
        ) {
            let mut deltas = Deltas::default();
            numbers.iter().for_each(|number| deltas.push(*number));
            let bytes = deltas.finish();
            let mut reader = DeltaReader::new(&bytes);
            for number in &numbers {
                prop_assert_eq!(reader.next(), Some(*number));
            }
        }

        #[test]
        fn garbage_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut runs = RunReader::<&str>::new(&bytes);
            let mut deltas = DeltaReader::new(&bytes);
            for _ in 0..50 {
                let _ = (runs.next(), deltas.next());
            }
        }
    }
}
