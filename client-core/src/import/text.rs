//! Bytes of a file in whatever encoding, read as UTF-8.
//!
//! What a file says of itself counts: a byte order mark, then the encoding it declares, then UTF-8 where that fits what it
//! begins with, else Windows-1252, as browsers do. A byte that does not fit becomes `�`, and that it happened is told.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// What a file must begin with to be known by it.
const HEAD_BYTES: usize = 8 * 1024;
/// Declarations stand within these.
const DECLARED_BYTES: usize = 2 * 1024;
const BUFFER_BYTES: usize = 64 * 1024;

/// A file as UTF-8.
pub(crate) type Text<R> = BufReader<Decoding<R>>;

/// Bytes in UTF-8 out of bytes in another encoding.
pub(crate) struct Decoding<R> {
    input: R,
    decoder: Decoder,
    /// Read and not yet decoded.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    at_end: bool,
    is_done: bool,
    damaged: Rc<Cell<bool>>,
}

/// What was read of a file's beginning.
pub(crate) struct Opened<R> {
    pub(crate) text: Text<R>,
    /// Some bytes did not fit the encoding, so far.
    pub(crate) damaged: Rc<Cell<bool>>,
    /// The beginning, as far as it is ASCII alone.
    pub(crate) head: String,
}

/// Reads a file as UTF-8.
///
/// # Errors
/// When its beginning cannot be read.
pub(crate) fn open<R: Read>(mut input: R) -> io::Result<Opened<R>> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    input.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut buffer)?;
    let encoding = encoding_of(&buffer);
    let decoder = encoding.new_decoder_with_bom_removal();
    let head: String =
        buffer.iter().filter(|byte| byte.is_ascii() && **byte != 0).map(|byte| char::from(*byte)).collect();
    let (end, at_end) = (buffer.len(), buffer.len() < HEAD_BYTES);
    buffer.resize(BUFFER_BYTES, 0);
    let damaged = Rc::new(Cell::new(false));
    let decoding =
        Decoding { input, decoder, buffer, start: 0, end, at_end, is_done: false, damaged: Rc::clone(&damaged) };
    Ok(Opened { text: BufReader::with_capacity(BUFFER_BYTES, decoding), damaged, head })
}

fn encoding_of(head: &[u8]) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(head) {
        return encoding;
    }
    match head {
        [b'<', 0, ..] => return UTF_16LE,
        [0, b'<', ..] => return UTF_16BE,
        _ => {}
    }
    let fits = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The beginning may end within a character.
        Err(error) => error.error_len().is_none(),
    };
    let declared = declared(head).and_then(|label| Encoding::for_label(&label));
    match declared {
        // What says UTF-16 in letters of one byte is not.
        Some(encoding) if encoding == UTF_16LE || encoding == UTF_16BE => UTF_8,
        Some(encoding) if encoding != UTF_8 => encoding,
        _ if fits => UTF_8,
        _ => WINDOWS_1252,
    }
}

/// `encoding="…"` of an XML declaration, or `charset=…` of a page.
fn declared(head: &[u8]) -> Option<Vec<u8>> {
    let head = head[..head.len().min(DECLARED_BYTES)].to_ascii_lowercase();
    let is_xml = head.starts_with(b"<?xml");
    let word: &[u8] = if is_xml { b"encoding" } else { b"charset" };
    let within = if is_xml { head.iter().position(|byte| *byte == b'>').unwrap_or(head.len()) } else { head.len() };
    let at = head[..within].windows(word.len()).position(|window| window == word)?;
    let rest = head[at + word.len()..within].trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"").or_else(|| rest.strip_prefix(b"'")).unwrap_or(rest);
    let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && !b"-_:.".contains(byte));
    Some(rest[..end.unwrap_or(rest.len())].to_vec())
}

impl<R: Read> Read for Decoding<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // The decoder needs room for one character.
        if out.len() < 4 {
            return Err(io::Error::other("the buffer is too small"));
        }
        loop {
            if self.is_done {
                return Ok(0);
            }
            if self.start == self.end && !self.at_end {
                (self.start, self.end) = (0, self.input.read(&mut self.buffer)?);
                self.at_end = self.end == 0;
            }
            let source = &self.buffer[self.start..self.end];
            let (result, read, written, damaged) = self.decoder.decode_to_utf8(source, out, self.at_end);
            self.start += read;
            if damaged {
                self.damaged.set(true);
            }
            self.is_done = self.at_end && result == CoderResult::InputEmpty;
            if written > 0 || (self.is_done && written == 0) {
                return Ok(written);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (String, bool) {
        let mut opened = open(bytes).unwrap();
        let mut text = String::new();
        opened.text.read_to_string(&mut text).unwrap();
        (text, opened.damaged.get())
    }

    #[test]
    fn a_file_is_read_in_the_encoding_it_names_or_shows() {
        let utf16: Vec<u8> = "\u{feff}<p>Füße".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cases: [(&[u8], &str); 7] = [
            ("<p>Füße".as_bytes(), "<p>Füße"),
            ("\u{feff}<p>Füße".as_bytes(), "<p>Füße"),
            (&utf16, "<p>Füße"),
            (&utf16[2..], "<p>Füße"),
            (b"<p>F\xfc\xdfe", "<p>Füße"),
            (b"<?xml version='1.0' encoding='koi8-r'?>\xf0", "<?xml version='1.0' encoding='koi8-r'?>П"),
            (b"<meta charset=shift_jis>\x83\x65", "<meta charset=shift_jis>テ"),
        ];
        for (bytes, text) in cases {
            assert_eq!(read(bytes), (text.to_owned(), false));
        }
    }

    #[test]
    fn bytes_that_do_not_fit_are_replaced_and_told() {
        let late = [b"<p>".repeat(HEAD_BYTES).as_slice(), b"\xff\xc3"].concat();
        let (text, damaged) = read(&late);
        assert!(damaged && text.ends_with("<p>\u{fffd}\u{fffd}") && text.len() == 3 * HEAD_BYTES + 6);
        assert_eq!(read(b""), (String::new(), false));
    }
}
