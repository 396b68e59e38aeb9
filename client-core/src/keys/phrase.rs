//! The recovery phrase: 12 or 24 words that a person keeps on paper (protocol §7.3).
//!
//! BIP-39 is used for its word list and checksum only. The words encode all the entropy there is, so nothing is
//! stretched: there is nothing to guess. A wrong word is named, with the nearest word of the list; a checksum that
//! does not fit is told apart from it, because then the words are all right and their order or choice is not.

use bip39::{Language, Mnemonic};
use lifeos_sync_protocol::hash::ctx;
use zeroize::Zeroizing;

use super::DeviceKeys;
use crate::crypto::{Random, hkdf_sha256, random_bytes};

/// Words that are asked back when a phrase is set up.
const WORDS_ASKED: usize = 3;
/// A word further away than this from every word of the list suggests none.
const SUGGESTED_EDITS_MAX: usize = 2;
/// Letters of a typed word that are looked at; the longest word of the list has 8.
const WORD_CHARS_MAX: usize = 32;

/// 12 or 24 BIP-39 words, as an encoding of entropy only: no password stretching, because nothing is guessable.
#[derive(Clone)]
pub struct RecoveryPhrase {
    entropy: Zeroizing<Vec<u8>>,
}

/// How long a recovery phrase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PhraseLength {
    /// 12 words, 128 bits.
    #[default]
    Words12,
    /// 24 words, 256 bits.
    Words24,
}

/// A recovery phrase that cannot be read. The messages tell a person what to check.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PhraseError {
    /// Neither 12 nor 24 words.
    #[error("a recovery phrase has 12 or 24 words, this one has {words}: check that none is missing or split")]
    Length {
        /// Words found.
        words: usize,
    },
    /// A word that is not in the list.
    #[error("word {position} (\"{word}\") is not in the word list{}: check its spelling on the paper", did_you_mean(*.nearest))]
    UnknownWord {
        /// Counted from 1.
        position: usize,
        /// What was typed; not a secret, because no phrase contains it.
        word: String,
        /// The word of the list that looks most like it, if one does.
        nearest: Option<&'static str>,
    },
    /// All words exist, but together they are no phrase.
    #[error(
        "every word is in the list, but together they are no recovery phrase (the checksum does not fit): check their order, and look for a word that was exchanged for another"
    )]
    Checksum,
}

impl RecoveryPhrase {
    /// A new phrase.
    pub fn generate(length: PhraseLength, random: &mut dyn Random) -> Self {
        let mut entropy = Zeroizing::new(vec![0; length.entropy_bytes()]);
        random.fill(&mut entropy);
        Self { entropy }
    }

    /// Reads what a person typed: any case, any white space.
    ///
    /// # Errors
    /// [`PhraseError`], which names the offending word. The checksum misses one typing error in 16 (12 words) or
    /// 256 (24 words); such a phrase derives a key that no space knows, so nothing is written by mistake.
    pub fn parse(text: &str) -> Result<Self, PhraseError> {
        let text = Zeroizing::new(text.to_lowercase());
        let words: Vec<&str> = text.split_whitespace().collect();
        if !matches!(words.len(), 12 | 24) {
            return Err(PhraseError::Length { words: words.len() });
        }
        let joined = Zeroizing::new(words.join(" "));
        match Mnemonic::parse_in_normalized(Language::English, &joined) {
            Ok(mnemonic) => Ok(Self { entropy: Zeroizing::new(mnemonic.to_entropy()) }),
            Err(bip39::Error::UnknownWord(index)) => Err(PhraseError::UnknownWord {
                position: index + 1,
                word: words.get(index).map(|word| shortened(word)).unwrap_or_default(),
                nearest: words.get(index).and_then(|word| nearest(&shortened(word))),
            }),
            Err(bip39::Error::BadWordCount(words)) => Err(PhraseError::Length { words }),
            Err(_) => Err(PhraseError::Checksum),
        }
    }

    /// The words, to be shown once.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        // Entropy of 16 or 32 bytes always has words.
        Mnemonic::from_entropy_in(Language::English, &self.entropy)
            .map(|mnemonic| mnemonic.words().collect())
            .unwrap_or_default()
    }

    /// Three different positions, counted from 1 and ascending, whose words a person types back to show that the
    /// phrase was written down.
    #[must_use]
    pub fn ask_back(&self, random: &mut dyn Random) -> Vec<usize> {
        let count = self.words().len();
        let mut open: Vec<usize> = (1..=count).collect();
        let mut asked: Vec<usize> = (0..WORDS_ASKED.min(count))
            .map(|_| open.swap_remove(u64::from_be_bytes(random_bytes(random)) as usize % open.len()))
            .collect();
        asked.sort_unstable();
        asked
    }

    /// Whether the word at `position` (from 1) is this one; any case, white space around it is ignored.
    #[must_use]
    pub fn has_word(&self, position: usize, typed: &str) -> bool {
        let word = position.checked_sub(1).and_then(|index| self.words().get(index).copied());
        word.is_some_and(|word| word == typed.trim().to_lowercase())
    }

    /// The paper key's keys in the home space. They depend on the phrase alone, so that a bare machine with
    /// the words finds its home.
    #[must_use]
    pub fn derive_home(&self) -> DeviceKeys {
        self.derive(b"recover/sign/home", b"recover/hpke/home", &[])
    }

    /// The paper key's keys in another space, salted with that space's Genesis so that a relay cannot link spaces.
    #[must_use]
    pub fn derive_space(&self, genesis_random: &[u8; 32]) -> DeviceKeys {
        self.derive(b"recover/sign", b"recover/hpke", genesis_random)
    }

    fn derive(&self, sign: &[u8], hpke: &[u8], salt: &[u8]) -> DeviceKeys {
        let seed = |purpose: &[u8]| hkdf_sha256(&ctx("recover"), &self.entropy, &[purpose, salt]);
        DeviceKeys::from_seeds(&seed(sign), &seed(hpke))
    }
}

impl PhraseLength {
    const fn entropy_bytes(self) -> usize {
        match self {
            Self::Words12 => 16,
            Self::Words24 => 32,
        }
    }
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map(|word| format!(" (the nearest is \"{word}\")")).unwrap_or_default()
}

fn shortened(word: &str) -> String {
    word.chars().take(WORD_CHARS_MAX).collect()
}

/// The word of the list with the fewest edits to `typed`; among equals the first that begins alike.
fn nearest(typed: &str) -> Option<&'static str> {
    let typed: Vec<char> = typed.chars().collect();
    let alike = |word: &str| word.chars().zip(&typed).take_while(|(left, right)| left == *right).count();
    let words = Language::English.word_list().iter().copied();
    words
        .map(|word| (edits(word, &typed), std::cmp::Reverse(alike(word)), word))
        .min_by_key(|(edits, alike, _)| (*edits, *alike))
        .filter(|(edits, _, _)| *edits <= SUGGESTED_EDITS_MAX)
        .map(|(_, _, word)| word)
}

/// Letters put in, left out, exchanged or swapped with their neighbour (optimal string alignment); both are short.
fn edits(word: &str, typed: &[char]) -> usize {
    let word: Vec<char> = word.chars().collect();
    let mut rows = [Vec::new(), Vec::new(), (0..=typed.len()).collect::<Vec<usize>>()];
    for i in 1..=word.len() {
        rows.rotate_left(1);
        let mut row = vec![i];
        for j in 1..=typed.len() {
            let replaced = rows[1][j - 1] + usize::from(word[i - 1] != typed[j - 1]);
            let mut least = replaced.min(rows[1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && word[i - 1] == typed[j - 2] && word[i - 2] == typed[j - 1] {
                least = least.min(rows[0][j - 2] + 1);
            }
            row.push(least);
        }
        rows[2] = row;
    }
    rows[2][typed.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;

    const VECTOR: &str =
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    #[test]
    fn a_phrase_reads_back_in_any_case_and_spacing() {
        for length in [PhraseLength::Words12, PhraseLength::Words24] {
            let phrase = RecoveryPhrase::generate(length, &mut SeededRandom::new(1));
            let typed = format!("  {}\n", phrase.words().join(" \t").to_uppercase());
            let read = RecoveryPhrase::parse(&typed).unwrap();
            assert_eq!(read.words(), phrase.words());
            assert_eq!(read.derive_home().sign_pk(), phrase.derive_home().sign_pk());
        }
        assert_eq!(RecoveryPhrase::parse(VECTOR).unwrap().words().join(" "), VECTOR);
    }

    #[test]
    fn a_mistyped_phrase_names_the_word() {
        let error =
            RecoveryPhrase::parse(&VECTOR.replacen("abandon", "abandonn", 3).replacen("abandonn", "abandon", 2));
        let error = error.unwrap_err();
        assert_eq!(error, PhraseError::UnknownWord { position: 3, word: "abandonn".into(), nearest: Some("abandon") });
        assert!(error.to_string().contains("word 3 (\"abandonn\")"));
        assert_eq!(RecoveryPhrase::parse("abandon about").unwrap_err(), PhraseError::Length { words: 2 });
        let exchanged = VECTOR.replacen("abandon", "zoo", 1);
        assert_eq!(RecoveryPhrase::parse(&exchanged).unwrap_err(), PhraseError::Checksum);
        let fifteen = "abandon ".repeat(15);
        assert_eq!(RecoveryPhrase::parse(&fifteen).unwrap_err(), PhraseError::Length { words: 15 });
    }

    #[test]
    fn the_nearest_word_is_suggested_and_nothing_far_away() {
        for (typed, expected) in
            [("recieve", Some("receive")), ("abuot", Some("about")), ("zooo", Some("zoo")), ("qqqqqqqq", None)]
        {
            assert_eq!(nearest(typed), expected, "{typed}");
        }
        let long = "z".repeat(10_000);
        let error = RecoveryPhrase::parse(&VECTOR.replacen("abandon", &long, 1)).unwrap_err();
        assert_eq!(error, PhraseError::UnknownWord { position: 1, word: "z".repeat(32), nearest: None });
    }

    #[test]
    fn three_different_words_are_asked_back() {
        let phrase = RecoveryPhrase::parse(VECTOR).unwrap();
        for seed in 0..50 {
            let asked = phrase.ask_back(&mut SeededRandom::new(seed));
            assert!(asked.len() == 3 && asked.is_sorted_by(|a, b| a < b), "{asked:?}");
            assert!(asked.iter().all(|position| (1..=12).contains(position)));
        }
        assert!(phrase.has_word(12, " About\n") && phrase.has_word(1, "abandon"));
        assert!(!phrase.has_word(12, "abandon") && !phrase.has_word(0, "abandon") && !phrase.has_word(13, "about"));
    }

    #[test]
    fn a_phrase_gives_the_keys_that_are_written_down() {
        let keys = RecoveryPhrase::parse(VECTOR).unwrap().derive_home();
        let shown = format!("{} {}", keys.sign_pk(), keys.hpke_pk());
        assert_eq!(shown, include_str!("../../vectors/recovery_keys.txt").trim());
    }
}
