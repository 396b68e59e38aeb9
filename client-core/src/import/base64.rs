//! Base64 that comes in pieces, with line ends in between.

/// What was read so far of one text.
#[derive(Debug, Default)]
pub(super) struct Base64 {
    bits: u32,
    count: u32,
    padding: u32,
}

impl Base64 {
    /// The bytes of a piece; `None` where it is no base64.
    pub(super) fn decode(&mut self, piece: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(piece.len() / 4 * 3 + 3);
        for byte in piece.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                b'=' => {
                    self.padding += 1;
                    continue;
                }
                _ => return None,
            };
            if self.padding > 0 {
                return None;
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.count += 1;
            if self.count == 4 {
                out.extend_from_slice(&self.bits.to_be_bytes()[1..]);
                (self.bits, self.count) = (0, 0);
            }
        }
        if self.padding > 0 {
            match self.count {
                2 => out.push((self.bits >> 4).to_be_bytes()[3]),
                3 => out.extend_from_slice(&((self.bits >> 2) as u16).to_be_bytes()),
                0 => {}
                _ => return None,
            }
            self.count = 0;
        }
        Some(out)
    }

    /// Whether the text ended where it may.
    pub(super) const fn is_whole(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_same_bytes_as_the_whole() {
        // RFC 4648, section 10.
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            for size in 1..5 {
                let mut base64 = Base64::default();
                let pieces = text.as_bytes().chunks(size).map(|piece| base64.decode(piece).unwrap());
                assert_eq!(pieces.collect::<Vec<_>>().concat(), bytes.as_bytes());
                assert!(base64.is_whole());
            }
        }
        assert!(Base64::default().decode(b"Zm9v!").is_none() && Base64::default().decode(b"Zg==Zg==").is_none());
        let mut cut = Base64::default();
        assert!(cut.decode(b"Zm9").is_some() && !cut.is_whole());
    }
}
