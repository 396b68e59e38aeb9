//! Names of people, devices and spaces: which may be given, and how those that others gave are shown.
//!
//! A name stands beside others and decides whom a person means. So it holds no character that is not seen: control
//! characters, those that turn the reading direction, those without width, and fillers that look like a space.

/// Longest name in bytes: a name is sealed in 128 bytes, one of which is its length.
pub const NAME_BYTES_MAX: usize = 127;

/// Whether a character is not seen, or changes how those around it are.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let has_no_width = matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    let fills = matches!(character, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{2028}' | '\u{2029}');
    character.is_control() || turns || has_no_width || fills
}

/// A name as it may be given, without the spaces around it; nothing for one that is empty, too long or holds hidden
/// characters.
#[must_use]
pub fn checked(name: &str) -> Option<&str> {
    let name = name.trim();
    let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
    (fits && !name.chars().any(is_hidden)).then_some(name)
}

/// What is sealed of a name, the same number of bytes for each: u8 length ‖ name ‖ zeros; nothing for one that may not be
/// given.
#[must_use]
pub(crate) fn padded(name: &str) -> Option<Vec<u8>> {
    let name = checked(name)?;
    let mut padded = vec![u8::try_from(name.len()).ok()?];
    padded.extend_from_slice(name.as_bytes());
    padded.resize(NAME_BYTES_MAX + 1, 0);
    Some(padded)
}

/// The name in what was sealed; nothing if it is none that may be given.
#[must_use]
pub(crate) fn unpadded(padded: &[u8]) -> Option<String> {
    let (length, rest) = padded.split_first()?;
    let name = std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
    checked(name).map(str::to_owned)
}

/// A name that somebody else gave, as it may be shown: every hidden character can be seen.
#[must_use]
pub fn shown(name: &str) -> String {
    name.chars().map(|character| if is_hidden(character) { '\u{fffd}' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_without_characters_that_nobody_sees() {
        assert_eq!(checked("  Zoë Ünal 王 "), Some("Zoë Ünal 王"));
        assert_eq!(checked(&"n".repeat(127)), Some("n".repeat(127).as_str()));
        assert_eq!((checked(" "), checked(&"n".repeat(128))), (None, None));
        for hidden in [
            '\n',
            '\u{7}',
            '\u{1b}',
            '\u{9b}',
            '\u{200b}',
            '\u{200d}',
            '\u{200f}',
            '\u{202e}',
            '\u{2067}',
            '\u{2060}',
            '\u{feff}',
            '\u{ad}',
            '\u{3164}',
            '\u{e0041}',
        ] {
            assert_eq!(checked(&format!("Be{hidden}n")), None, "{hidden:?}");
        }
    }

    #[test]
    fn a_name_of_somebody_else_shows_what_is_hidden_in_it() {
        assert_eq!(shown("Ben"), "Ben");
        assert_eq!(shown("Be\u{200b}n\u{202e}"), "Be\u{fffd}n\u{fffd}");
        assert!(!shown("\u{1b}[2J\nBen").chars().any(is_hidden));
    }
}
