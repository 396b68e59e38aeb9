//! Text for people: aligned columns, colours only where asked for, and no control character from a note
//! reaches the terminal.

use std::fmt::Display;

use jiff::Timestamp;

/// Characters of an id that people are shown and may type.
const ID_CHARS_SHOWN: usize = 8;

/// A piece of output being put together.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    colour: bool,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new(colour: bool) -> Self {
        Self { text: String::new(), colour }
    }

    /// Adds a line.
    pub fn line(&mut self, line: impl Display) {
        self.text.push_str(&line.to_string());
        self.text.push('\n');
    }

    /// Adds text as it is.
    pub fn raw(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Adds rows with aligned columns, two spaces between them.
    pub fn table(&mut self, rows: &[Vec<String>]) {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0))
            .collect();
        for row in rows {
            let mut line = String::new();
            for (cell, width_max) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width_max.saturating_sub(width(cell)) + 2));
            }
            self.line(line.trim_end());
        }
    }

    /// `text` in bold.
    #[must_use]
    pub fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// `text` in grey.
    #[must_use]
    pub fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// `ok` in green or `FAILED` in red.
    #[must_use]
    pub fn verdict(&self, ok: bool) -> String {
        if ok { self.paint("32", "ok") } else { self.paint("31", "FAILED") }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The finished text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// Characters that take room: escape sequences of our own colours do not.
fn width(cell: &str) -> usize {
    let mut count = 0;
    let mut escaped = false;
    for character in cell.chars() {
        match character {
            '\u{1b}' => escaped = true,
            'm' if escaped => escaped = false,
            _ if escaped => {}
            _ => count += 1,
        }
    }
    count
}

/// The first characters of an id, enough to type it back.
#[must_use]
pub fn short(id: &str) -> String {
    id.chars().take(ID_CHARS_SHOWN).collect()
}

/// One line without control characters: a note's title may come from anywhere and must not steer the terminal.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\r' | '\t' => ' ',
            other if steers(other) => '\u{fffd}',
            other => other,
        })
        .collect()
}

/// The same for longer text; line ends and tabs stay.
#[must_use]
pub fn many_lines(text: &str) -> String {
    text.chars()
        .map(|character| if steers(character) && !matches!(character, '\n' | '\t') { '\u{fffd}' } else { character })
        .collect()
}

/// Control characters, and those that turn the reading direction around.
fn steers(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Milliseconds UTC as `2026-05-17 09:30:00Z`; `-` for what no calendar holds.
#[must_use]
pub fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| "-".into(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// Bytes with a unit of 1024.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let step = (count.ilog2() / 10).min(4);
    let whole = count as f64 / 1024_f64.powi(i32::try_from(step).unwrap_or(4));
    format!("{whole:.1} {}", UNITS[step as usize - 1])
}

/// `1 note`, `2 notes`.
#[must_use]
pub fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_colours_take_no_room() {
        let mut page = Page::new(true);
        let bold = page.bold("ab");
        page.table(&[vec![bold, "x".into()], vec!["abcd".into(), "y".into()]]);
        assert_eq!(page.into_text(), "\u{1b}[1mab\u{1b}[0m    x\nabcd  y\n");
    }

    #[test]
    fn a_title_cannot_steer_the_terminal() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc\u{202e}"), "a\u{fffd}[2Jb c\u{fffd}");
        assert_eq!(many_lines("a\n\tb\u{7}"), "a\n\tb\u{fffd}");
    }

    #[test]
    fn times_are_utc_and_sizes_have_units() {
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(time(i64::MAX), "-");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!(count(1, "note"), "1 note");
    }
}
