//! Reads XML and HTML as a stream of tags and pieces of text.
//!
//! One reader serves files of notes, outlines, bookmarks, feeds and pages. It holds one tag or one piece of text, however
//! large the file and its texts are: a base64 picture of some hundred MiB passes in pieces. Nothing is expanded but the
//! entities that HTML names, so that a declared entity that multiplies costs what its name costs. Nothing is fetched.

use std::io::{self, BufRead};

use super::entities;

/// Longest piece of text.
const TEXT_BYTES: usize = 16 * 1024;
/// Longest tag with its attributes: pages that were saved in one file hold their pictures there.
const TAG_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Attributes of a tag; further ones are left out.
const ATTRIBUTES_MAX: usize = 256;
/// Longest entity, `&CounterClockwiseContourIntegral;`.
const ENTITY_BYTES_MAX: usize = 34;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Names are as written, `CDATA` is text.
    Xml,
    /// Names are lower case, scripts and styles are left out, a file that ends within a tag just ends.
    Html,
}

/// The next thing in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// `<name …>`.
    Open(Tag),
    /// `</name>`.
    Close(String),
    /// A piece of text, entities resolved.
    Text(String),
}

/// A tag.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) name: String,
    attributes: Vec<(String, String)>,
    /// `<name/>`.
    pub(crate) is_empty: bool,
}

impl Tag {
    /// An attribute, entities resolved.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Why reading cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkupError {
    /// It ends within a tag.
    #[error("the file ends in the middle; get it again, and import it once more")]
    Truncated,
    /// A tag that never ends, or is no tag.
    #[error("a tag is longer than {} MiB; the file is damaged", TAG_BYTES_MAX / (1024 * 1024))]
    TagTooLarge,
    /// The system did not let it be read.
    #[error("cannot be read ({0}); check its permissions and the disk, then import again")]
    Io(#[from] io::Error),
}

/// The stream of tokens of one file, which must be UTF-8 ([`super::text`]).
pub(crate) struct Markup<R> {
    input: R,
    dialect: Dialect,
    line: u64,
    in_cdata: bool,
    /// An element whose content is no markup: left out up to its closing tag.
    skipped: Option<&'static str>,
}

/// Elements of HTML whose content is not for reading.
const SKIPPED: [&str; 6] = ["script", "style", "template", "iframe", "noframes", "noembed"];

impl<R: BufRead> Markup<R> {
    pub(crate) const fn new(input: R, dialect: Dialect) -> Self {
        Self { input, dialect, line: 1, in_cdata: false, skipped: None }
    }

    /// The line that is read, from 1.
    pub(crate) const fn line(&self) -> u64 {
        self.line
    }

    /// The next token; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Token>, MarkupError> {
        if let Some(name) = self.skipped.take() {
            self.skip_to_closing(name)?;
        }
        loop {
            if self.in_cdata {
                if let Some(text) = self.cdata()? {
                    return Ok(Some(Token::Text(text)));
                }
                continue;
            }
            match self.peek()? {
                None => return Ok(None),
                Some(b'<') => {
                    self.bump(1);
                    if let Some(token) = self.angle()? {
                        return Ok(Some(token));
                    }
                }
                Some(_) => return Ok(Some(Token::Text(self.text()?))),
            }
        }
    }

    fn peek(&mut self) -> Result<Option<u8>, MarkupError> {
        loop {
            match self.input.fill_buf() {
                Ok(buffer) => return Ok(buffer.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn bump(&mut self, count: usize) {
        if let Ok(buffer) = self.input.fill_buf() {
            let read = &buffer[..count.min(buffer.len())];
            self.line += read.iter().filter(|byte| **byte == b'\n').count() as u64;
            let count = read.len();
            self.input.consume(count);
        }
    }

    fn byte(&mut self) -> Result<Option<u8>, MarkupError> {
        let byte = self.peek()?;
        if byte.is_some() {
            self.bump(1);
        }
        Ok(byte)
    }

    /// Moves what comes before a byte that stops into `out`, up to `max` bytes in all; whether such a byte comes next.
    fn until(&mut self, out: &mut Vec<u8>, max: usize, stops: impl Fn(u8) -> bool) -> Result<bool, MarkupError> {
        while out.len() < max {
            if self.peek()?.is_none() {
                return Ok(false);
            }
            let buffer = self.input.fill_buf()?;
            let within = &buffer[..buffer.len().min(max - out.len())];
            let found = within.iter().position(|byte| stops(*byte));
            let taken = found.unwrap_or(within.len());
            out.extend_from_slice(&within[..taken]);
            self.bump(taken);
            if found.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A piece of text ends at a whole character.
    fn whole(&mut self, out: &mut Vec<u8>) -> Result<(), MarkupError> {
        for _ in 0..3 {
            match self.peek()? {
                Some(byte) if byte & 0xc0 == 0x80 => {
                    out.push(byte);
                    self.bump(1);
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn text(&mut self) -> Result<String, MarkupError> {
        let mut out = Vec::new();
        while out.len() < TEXT_BYTES {
            if !self.until(&mut out, TEXT_BYTES, |byte| byte == b'<' || byte == b'&')? {
                break;
            }
            if self.peek()? == Some(b'<') {
                break;
            }
            self.bump(1);
            self.entity(&mut out)?;
        }
        self.whole(&mut out)?;
        Ok(string(out))
    }

    /// What an entity stands for, or, where nobody knows, the entity.
    fn entity(&mut self, out: &mut Vec<u8>) -> Result<(), MarkupError> {
        let mut name = Vec::new();
        self.until(&mut name, ENTITY_BYTES_MAX, |byte| !byte.is_ascii_alphanumeric() && byte != b'#')?;
        let name = string(name);
        match entities::resolved(&name) {
            Some(character) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                if self.peek()? == Some(b';') {
                    self.bump(1);
                }
            }
            None => {
                out.push(b'&');
                out.extend_from_slice(name.as_bytes());
            }
        }
        Ok(())
    }

    fn cdata(&mut self) -> Result<Option<String>, MarkupError> {
        let mut out = Vec::new();
        while out.len() < TEXT_BYTES {
            if !self.until(&mut out, TEXT_BYTES, |byte| byte == b']')? {
                if self.peek()?.is_none() {
                    return Err(MarkupError::Truncated);
                }
                break;
            }
            let mut closing = 0;
            while self.peek()? == Some(b']') {
                self.bump(1);
                closing += 1;
                if closing > 2 {
                    out.push(b']');
                }
            }
            if closing >= 2 && self.peek()? == Some(b'>') {
                self.bump(1);
                self.in_cdata = false;
                return Ok(Some(string(out)).filter(|text| !text.is_empty()));
            }
            out.extend(std::iter::repeat_n(b']', closing.min(2)));
        }
        self.whole(&mut out)?;
        Ok(Some(string(out)))
    }

    /// What follows `<`.
    fn angle(&mut self) -> Result<Option<Token>, MarkupError> {
        match self.peek()? {
            Some(b'!') => {
                self.bump(1);
                self.declaration()?;
                Ok(None)
            }
            Some(b'?') => self.skip_past(b"?>").map(|()| None),
            Some(b'/') => {
                self.bump(1);
                let mut name = Vec::new();
                if !self.until(&mut name, TAG_BYTES_MAX, |byte| byte == b'>')? {
                    return self.unfinished(name.len());
                }
                self.bump(1);
                let name = self.named(string(name).trim());
                Ok(Some(Token::Close(name)))
            }
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => self.tag(),
            _ => Ok(Some(Token::Text("<".to_owned()))),
        }
    }

    fn unfinished(&self, bytes: usize) -> Result<Option<Token>, MarkupError> {
        match self.dialect {
            _ if bytes >= TAG_BYTES_MAX => Err(MarkupError::TagTooLarge),
            Dialect::Xml => Err(MarkupError::Truncated),
            Dialect::Html => Ok(None),
        }
    }

    fn named(&self, name: &str) -> String {
        match self.dialect {
            // A prefix says which of several vocabularies a name is of; here it never matters.
            Dialect::Xml => name.to_owned(),
            Dialect::Html => name.to_ascii_lowercase(),
        }
    }

    /// Comment, `CDATA`, document type.
    fn declaration(&mut self) -> Result<(), MarkupError> {
        let mut opening = Vec::new();
        while opening.len() < 7 {
            match self.peek()? {
                Some(byte) if b"[CDATA[".get(opening.len()) == Some(&byte) => {
                    opening.push(byte);
                    self.bump(1);
                }
                _ => break,
            }
        }
        if opening.len() == 7 {
            self.in_cdata = true;
            return Ok(());
        }
        if opening.is_empty() && self.peek()? == Some(b'-') {
            self.bump(1);
            if self.peek()? == Some(b'-') {
                self.bump(1);
                return self.skip_past(b"-->");
            }
        }
        // A document type may declare things between brackets: all of it is left out.
        let (mut depth, mut quote) = (u32::from(opening.first() == Some(&b'[')), None);
        while let Some(byte) = self.byte()? {
            match (quote, byte) {
                (Some(end), _) if byte == end => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'[') => depth += 1,
                (None, b']') => depth = depth.saturating_sub(1),
                (None, b'>') if depth == 0 => return Ok(()),
                _ => {}
            }
        }
        self.unfinished(0).map(drop)
    }

    fn skip_past(&mut self, end: &[u8]) -> Result<(), MarkupError> {
        let mut matched: Vec<u8> = Vec::with_capacity(end.len());
        while let Some(byte) = self.byte()? {
            matched.push(byte);
            if matched.len() > end.len() {
                matched.remove(0);
            }
            if matched == end {
                return Ok(());
            }
        }
        self.unfinished(0).map(drop)
    }

    fn skip_to_closing(&mut self, name: &str) -> Result<(), MarkupError> {
        let end: Vec<u8> = [b"</", name.as_bytes()].concat();
        let mut matched = 0;
        while matched < end.len() {
            let Some(byte) = self.byte()? else { return Ok(()) };
            matched = match end.get(matched) {
                Some(wanted) if wanted.eq_ignore_ascii_case(&byte) => matched + 1,
                _ => usize::from(byte == b'<'),
            };
        }
        self.skip_past(b">")
    }

    fn tag(&mut self) -> Result<Option<Token>, MarkupError> {
        let mut bytes = Vec::new();
        let mut quote = None;
        loop {
            let found = match quote {
                None => self.until(&mut bytes, TAG_BYTES_MAX, |byte| matches!(byte, b'>' | b'"' | b'\''))?,
                Some(end) => self.until(&mut bytes, TAG_BYTES_MAX, |byte| byte == end)?,
            };
            let Some(byte) = self.peek()?.filter(|_| found) else { return self.unfinished(bytes.len()) };
            self.bump(1);
            match quote {
                None if byte == b'>' => break,
                // Only behind `=` does a quote begin a value.
                None if bytes.trim_ascii_end().ends_with(b"=") => quote = Some(byte),
                None => {}
                Some(_) => quote = None,
            }
            bytes.push(byte);
        }
        let text = string(bytes);
        let text = text.trim_end();
        let (text, is_empty) = text.strip_suffix('/').map_or((text, false), |text| (text, true));
        let end = text.find(|char: char| char.is_ascii_whitespace()).unwrap_or(text.len());
        let name = self.named(&text[..end]);
        if self.dialect == Dialect::Html && !is_empty {
            self.skipped = SKIPPED.into_iter().find(|skipped| **skipped == name);
        }
        let attributes = attributes(&text[end..], self.dialect);
        Ok(Some(Token::Open(Tag { name, attributes, is_empty })))
    }
}

fn attributes(text: &str, dialect: Dialect) -> Vec<(String, String)> {
    let (mut found, mut rest) = (Vec::new(), text.trim_start());
    while !rest.is_empty() && found.len() < ATTRIBUTES_MAX {
        let end = rest.find(|char: char| char == '=' || char.is_ascii_whitespace()).unwrap_or(rest.len());
        let name = match dialect {
            Dialect::Xml => rest[..end].to_owned(),
            Dialect::Html => rest[..end].to_ascii_lowercase(),
        };
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(behind) = rest.strip_prefix('=') {
            let behind = behind.trim_start();
            let quoted = behind.strip_prefix('"').map(|inside| (inside, '"'));
            let quoted = quoted.or_else(|| behind.strip_prefix('\'').map(|inside| (inside, '\'')));
            (value, rest) = match quoted {
                Some((inside, end)) => inside.split_once(end).unwrap_or((inside, "")),
                None => behind.split_at(behind.find(|char: char| char.is_ascii_whitespace()).unwrap_or(behind.len())),
            };
            rest = rest.trim_start();
        }
        if !name.is_empty() {
            found.push((name, unescaped(value)));
        } else if end == 0 && value.is_empty() {
            break;
        }
    }
    found
}

/// A text with its entities resolved.
pub(crate) fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        let end = behind.find(|char: char| !char.is_ascii_alphanumeric() && char != '#').unwrap_or(behind.len());
        match entities::resolved(&behind[..end]).filter(|_| end <= ENTITY_BYTES_MAX) {
            Some(character) => {
                out.push(character);
                rest = behind[end..].strip_prefix(';').unwrap_or(&behind[end..]);
            }
            None => {
                out.push('&');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    out
}

fn string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn tokens(text: &str, dialect: Dialect) -> Result<Vec<String>, MarkupError> {
        // A reader that gives three bytes at a time: nothing may depend on where a buffer ends.
        let mut markup = Markup::new(BufReader::with_capacity(3, text.as_bytes()), dialect);
        let mut found: Vec<String> = Vec::new();
        while let Some(token) = markup.next()? {
            match token {
                Token::Open(tag) => {
                    let attributes: Vec<_> =
                        tag.attributes.iter().map(|(name, value)| format!(" {name}={value}")).collect();
                    let end = if tag.is_empty { "/" } else { "" };
                    found.push(format!("<{}{}{end}>", tag.name, attributes.concat()));
                }
                Token::Close(name) => found.push(format!("</{name}>")),
                Token::Text(text) => match found.last_mut() {
                    Some(last) if !last.starts_with('<') => last.push_str(&text),
                    _ => found.push(text),
                },
            }
        }
        Ok(found)
    }

    #[test]
    fn tags_texts_entities_and_cdata_are_told_apart() {
        let text = "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY x \"]>\">]><!-- <b> --><a é='1' b = \"x > &quot;\">\
                    gr&uuml;&#xDF;&#33; &unknown; &amp;lt; <![CDATA[<c>]] & &amp; ]]]]><d/></a>";
        let expected = ["<a é=1 b=x > \">", "grüß! &unknown; &lt; <c>]] & &amp; ]]", "<d/>", "</a>"];
        assert_eq!(tokens(text, Dialect::Xml).unwrap(), expected);
    }

    #[test]
    fn html_is_read_as_people_write_it() {
        let text =
            "<P CLASS=big checked data-x='a&amp;b'>1 < 2 <br/><script>if (a<b) '</scr'</SCRIPT >don't</p><a href=x";
        let expected = ["<p class=big checked= data-x=a&b>", "1 < 2 ", "<br/>", "<script>", "don't", "</p>"];
        assert_eq!(tokens(text, Dialect::Html).unwrap(), expected);
    }

    #[test]
    fn what_ends_in_the_middle_is_said_to() {
        for text in ["<a", "<a b='", "</a", "<![CDATA[x", "<!DOCTYPE [", "<!-- x"] {
            assert!(matches!(tokens(text, Dialect::Xml), Err(MarkupError::Truncated)), "{text}");
            let read = tokens(text, Dialect::Html);
            assert!(read.is_ok() || text.contains("CDATA"), "{text}: {read:?}");
        }
        assert_eq!(tokens("a & b &", Dialect::Xml).unwrap(), ["a & b &"]);
    }

    /// Gives one byte for ever, a large buffer at a time.
    struct Endless(u8);

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            buffer.fill(self.0);
            Ok(buffer.len())
        }
    }

    #[test]
    fn a_text_without_end_comes_in_pieces_and_a_tag_without_end_is_refused() {
        let open = |start: &'static str, fill: u8| {
            let endless = Endless(fill).take(1 << 30);
            Markup::new(BufReader::with_capacity(1 << 16, start.as_bytes().chain(endless)), Dialect::Xml)
        };
        let mut text = open("<data>", b'A');
        assert!(matches!(text.next().unwrap(), Some(Token::Open(_))));
        for _ in 0..100 {
            let Some(Token::Text(piece)) = text.next().unwrap() else { panic!("a piece") };
            assert!(piece.len() <= TEXT_BYTES + 3);
        }
        assert!(matches!(open("<data x='", b'A').next(), Err(MarkupError::TagTooLarge)));
        assert!(matches!(open("<", b'a').next(), Err(MarkupError::TagTooLarge)));
    }

    #[test]
    fn entities_that_would_multiply_are_not_expanded() {
        let mut text = String::from("<!DOCTYPE lolz [<!ENTITY lol \"lol\">");
        for n in 1..10 {
            let inside = format!("&lol{};", n - 1).repeat(10);
            text.push_str(&format!("<!ENTITY lol{n} \"{inside}\">"));
        }
        text.push_str("]><lolz>&lol9;</lolz>");
        assert_eq!(tokens(&text, Dialect::Xml).unwrap(), ["<lolz>", "&lol9;", "</lolz>"]);
    }

    #[test]
    fn lines_are_counted() {
        let mut markup = Markup::new("<a>\n\n<b\n>".as_bytes(), Dialect::Xml);
        while markup.next().unwrap().is_some() {}
        assert_eq!(markup.line(), 4);
    }
}
