//! Text of scripts that write no spaces between words, prepared for an index that knows words by the spaces.
//!
//! A mark of no width goes between their characters, in what is indexed and in what is looked for: each character
//! is then a word, and a word that is looked for is a phrase of them, found wherever it stands.

use std::borrow::Cow;

/// ZERO WIDTH SPACE: the index takes it for the end of a word, and nobody sees it.
pub(super) const MARK: char = '\u{200b}';

/// Whether words of the script that a character belongs to stand without spaces between them.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c),
        // Thai and Lao; Myanmar; Khmer.
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff
        // Kana, Bopomofo, iterations, Han and its extensions.
        | 0x3005..=0x3007 | 0x3040..=0x312f | 0x31a0..=0x31bf | 0x31f0..=0x31ff
        | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0xff66..=0xff9f | 0x2_0000..=0x3_ffff)
}

/// The text with a mark wherever a character of such a script has a neighbour.
pub(super) fn spread(text: &str) -> Cow<'_, str> {
    // Everything below Thai is written with spaces: most text is left as it is after one look at its bytes.
    if text.bytes().all(|byte| byte < 0xe0) || !text.contains(is_unspaced) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut before: Option<char> = None;
    for c in text.chars() {
        if before.is_some_and(|before| is_unspaced(before) || (is_unspaced(c) && before.is_alphanumeric())) {
            out.push(MARK);
        }
        out.push(c);
        before = Some(c);
    }
    Cow::Owned(out)
}

/// The text as it was.
pub(super) fn join(text: String) -> String {
    if text.contains(MARK) { text.replace(MARK, "") } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finds(text: &str, word: &str) -> bool {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE VIRTUAL TABLE t USING fts5(a, tokenize = 'unicode61 remove_diacritics 2')").unwrap();
        conn.execute("INSERT INTO t VALUES (?1)", [spread(text)]).unwrap();
        let phrase = format!("\"{}\"", spread(word));
        conn.query_row("SELECT count(*) FROM t WHERE t MATCH ?1", [phrase], |row| row.get::<_, u32>(0)).unwrap() == 1
    }

    #[test]
    fn words_are_found_in_scripts_without_spaces() {
        let text = "昨日、東京タワーへ行きました。iPhone手机 ภาษาไทยง่าย";
        for word in ["東京", "京タ", "タワー", "行", "iPhone", "手机", "iphone手", "ไทย", "ง่าย", "ภาษา"]
        {
            assert!(finds(text, word), "{word}");
        }
        for word in ["京東", "大阪", "phone", "ไทยภาษา"] {
            assert!(!finds(text, word), "{word}");
        }
    }

    #[test]
    fn what_is_written_with_spaces_is_left_alone() {
        for text in ["plain", "Grüße, Ærø", "привет мир", "안녕하세요 세계", "שלום"] {
            assert!(matches!(spread(text), Cow::Borrowed(_)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_part_of_such_a_text_is_found(
            text in "[\u{3041}-\u{3096}\u{4e00}-\u{4fff}\u{0e01}-\u{0e2e}]{2,24}", from in 0usize..24, length in 1usize..8,
        ) {
            let chars: Vec<char> = text.chars().collect();
            let from = from % chars.len();
            let part: String = chars[from..].iter().take(length).collect();
            prop_assert!(finds(&text, &part));
            prop_assert_eq!(join(spread(&text).into_owned()), text);
        }
    }
}
