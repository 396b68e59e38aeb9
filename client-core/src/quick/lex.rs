//! Words, numbers and marks of a text, and what the languages' tables say about each place.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

use super::words::{self, Term};
use crate::recur::Language;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Number,
    Mark,
}

/// A word, a run of digits, or one other character.
#[derive(Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    /// Small letters without accents; an apostrophe is always `'`.
    pub(super) folded: String,
    pub(super) from: usize,
    pub(super) to: usize,
    /// Nothing stands between it and the one before.
    pub(super) is_glued: bool,
}

/// A text in tokens, with the terms that begin at each.
pub(super) struct Lexed<'t> {
    pub(super) text: &'t str,
    pub(super) tokens: Vec<Token<'t>>,
    terms: Vec<Vec<(Term, usize)>>,
}

/// French and English words of one letter or two that an apostrophe joins to what follows: `d'ici`, `o'clock`.
const JOINED: [&str; 6] = ["d", "l", "o", "qu", "jusqu", "aujourd"];

fn is_apostrophe(char: char) -> bool {
    matches!(char, '\'' | '\u{2019}')
}

/// Small letters without accents: what the tables are written in.
pub(super) fn folded(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for char in text.chars().flat_map(char::to_lowercase).nfd().filter(|char| !is_combining_mark(*char)) {
        match char {
            'ß' => folded.push_str("ss"),
            'œ' => folded.push_str("oe"),
            '\u{2019}' => folded.push('\''),
            char => folded.push(char),
        }
    }
    folded
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut rest = text.char_indices().peekable();
    while let Some((from, char)) = rest.next() {
        if char.is_whitespace() {
            continue;
        }
        let is_letter = |char: char| char.is_alphabetic() || is_combining_mark(char);
        let mut to = from + char.len_utf8();
        let mut take_while = |is: &dyn Fn(char) -> bool, to: &mut usize| {
            while let Some((at, next)) = rest.next_if(|(_, next)| is(*next)) {
                *to = at + next.len_utf8();
            }
        };
        let kind = if char.is_ascii_digit() {
            take_while(&|next| next.is_ascii_digit(), &mut to);
            Kind::Number
        } else if is_letter(char) {
            take_while(&is_letter, &mut to);
            let mut next = text[to..].chars();
            let is_joined = next.next().is_some_and(is_apostrophe) && next.next().is_some_and(char::is_alphabetic);
            if is_joined && JOINED.contains(&folded(&text[from..to]).as_str()) {
                rest.next();
                to += text[to..].chars().next().map_or(0, char::len_utf8);
            }
            Kind::Word
        } else {
            Kind::Mark
        };
        let is_glued = tokens.last().is_some_and(|last| last.to == from);
        tokens.push(Token { kind, text: &text[from..to], folded: folded(&text[from..to]), from, to, is_glued });
    }
    tokens
}

impl<'t> Lexed<'t> {
    pub(super) fn new(text: &'t str, languages: &[Language]) -> Self {
        let tokens = tokens(text);
        let mut terms: Vec<Vec<(Term, usize)>> = tokens.iter().map(|_| Vec::new()).collect();
        for (at, found) in terms.iter_mut().enumerate() {
            for (phrase, term) in languages.iter().flat_map(|language| words::table(*language)) {
                if let Some(length) = matches(&tokens[at..], phrase) {
                    // "à 7" is a time; "a 7" is English, or the verb.
                    let is_verb = tokens[at].text.eq_ignore_ascii_case("a") && *term == Term::At;
                    if !is_verb {
                        found.push((*term, at + length));
                    }
                }
            }
            if languages.contains(&Language::German) {
                found.extend(words::compound(&tokens[at].folded).map(|term| (term, at + 1)));
            }
        }
        Self { text, tokens, terms }
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The longest term at a place that is one of those asked for, and where it ends.
    pub(super) fn term<T>(&self, at: usize, pick: impl Fn(Term) -> Option<T>) -> Option<(T, usize)> {
        let found = self.terms.get(at)?.iter().filter_map(|(term, next)| Some((pick(*term)?, *next)));
        found.max_by_key(|(_, next)| *next)
    }

    /// Where a term ends that begins at a place.
    pub(super) fn is(&self, at: usize, term: Term) -> Option<usize> {
        self.term(at, |one| (one == term).then_some(())).map(|((), next)| next)
    }

    /// The place behind a term, or the same place where it is not.
    pub(super) fn past(&self, at: usize, term: Term) -> usize {
        self.is(at, term).unwrap_or(at)
    }

    pub(super) fn has_terms(&self, at: usize) -> bool {
        self.terms.get(at).is_some_and(|terms| !terms.is_empty())
    }

    pub(super) fn mark(&self, at: usize, text: &str) -> Option<usize> {
        let token = self.tokens.get(at)?;
        (token.kind == Kind::Mark && token.text == text).then_some(at + 1)
    }

    /// A mark with nothing before it.
    pub(super) fn glued_mark(&self, at: usize, text: &str) -> Option<usize> {
        self.mark(at, text).filter(|_| self.is_glued(at))
    }

    pub(super) fn is_glued(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is_glued)
    }

    pub(super) fn is_word(&self, at: usize) -> bool {
        self.tokens.get(at).is_some_and(|token| token.kind == Kind::Word)
    }

    pub(super) fn word(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).filter(|token| token.kind == Kind::Word).map(|token| token.folded.as_str())
    }

    /// Digits, how many, and the place behind them.
    pub(super) fn digits(&self, at: usize) -> Option<(u32, usize, usize)> {
        let token = self.tokens.get(at).filter(|token| token.kind == Kind::Number && token.text.len() <= 5)?;
        Some((token.text.parse().ok()?, token.text.len(), at + 1))
    }

    /// Digits or a word for a number.
    pub(super) fn number(&self, at: usize) -> Option<(u32, usize)> {
        let digits = self.digits(at).map(|(number, _, next)| (number, next));
        digits.or_else(|| self.term(at, |term| if let Term::Number(number) = term { Some(number) } else { None }))
    }
}

/// How many tokens a phrase of the tables takes here; a space stands between its tokens.
fn matches(tokens: &[Token<'_>], phrase: &str) -> Option<usize> {
    let mut length = 0;
    for word in phrase.split(' ') {
        if tokens.get(length)?.folded != word {
            return None;
        }
        length += 1;
    }
    Some(length)
}
