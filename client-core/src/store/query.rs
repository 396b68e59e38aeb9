//! The search language: words, "phrases", prefix*, -without, tag:name; turned into an FTS5 expression in
//! which every word is quoted, so that no query can be a syntax error of SQL.

/// Most terms of a query.
const TERMS_MAX: usize = 32;
/// Longest query in characters.
const CHARS_MAX: usize = 1_000;

/// A query that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No word, phrase or tag to look for.
    #[error("type at least one word, phrase or tag to look for")]
    Empty,
    /// A quotation mark without its partner.
    #[error("a quotation mark is not closed")]
    OpenQuote,
    /// `-` or `tag:` with nothing behind it.
    #[error("`-` and `tag:` need a word behind them")]
    Dangling,
    /// More terms or characters than the limits allow.
    #[error("the query is too long: use at most 32 terms and 1,000 characters")]
    TooLong,
}

/// A query as it was understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// FTS5 expression of what must be there; `None` when only tags are asked for.
    pub(super) with: Option<String>,
    /// FTS5 expression of what must not be there.
    pub(super) without: Option<String>,
    /// Tags it must have, as they were typed.
    pub(super) tags: Vec<String>,
    /// Tags it must not have.
    pub(super) tags_without: Vec<String>,
}

/// One term.
struct Term {
    without: bool,
    tag: bool,
    prefix: bool,
    text: String,
}

impl Query {
    /// Reads a query.
    pub(super) fn parse(text: &str) -> Result<Self, QueryError> {
        if text.chars().count() > CHARS_MAX {
            return Err(QueryError::TooLong);
        }
        let mut rest = text.trim_start();
        let (mut query, mut with, mut without, mut terms) = (Self::default(), Vec::new(), Vec::new(), 0);
        while !rest.is_empty() {
            let (term, after) = Term::read(rest)?;
            rest = after.trim_start();
            terms += 1;
            match (term.tag, term.without) {
                (true, false) => query.tags.push(term.text),
                (true, true) => query.tags_without.push(term.text),
                // A term of signs alone ("--", "&") has no word that the index could know.
                (false, _) if !term.text.contains(char::is_alphanumeric) => {}
                (false, false) => with.push(term.expression()),
                (false, true) => without.push(term.expression()),
            }
        }
        if terms > TERMS_MAX {
            return Err(QueryError::TooLong);
        }
        if with.is_empty() && query.tags.is_empty() {
            return Err(QueryError::Empty);
        }
        query.with = (!with.is_empty()).then(|| with.join(" AND "));
        query.without = (!without.is_empty()).then(|| without.join(" OR "));
        Ok(query)
    }
}

impl Term {
    fn read(text: &str) -> Result<(Self, &str), QueryError> {
        let (without, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let tag = text.get(..4).is_some_and(|head| head.eq_ignore_ascii_case("tag:"));
        let text = if tag { &text[4..] } else { text };
        let (body, rest, quoted) = match text.strip_prefix('"') {
            Some(inner) => {
                let (body, rest) = inner.split_once('"').ok_or(QueryError::OpenQuote)?;
                (body, rest, true)
            }
            None => {
                let end = text.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(text.len());
                (&text[..end], &text[end..], false)
            }
        };
        // A star right behind a phrase belongs to it: "new yo"*.
        let (prefix, body, rest) = match (quoted, body.strip_suffix('*'), rest.strip_prefix('*')) {
            (true, _, Some(rest)) => (true, body, rest),
            (false, Some(body), _) => (true, body, rest),
            _ => (false, body, rest),
        };
        if body.trim().is_empty() && (without || tag) {
            return Err(QueryError::Dangling);
        }
        Ok((Self { without, tag, prefix, text: body.trim().to_owned() }, rest))
    }

    /// An FTS5 string: inside quotation marks nothing has a meaning but the mark itself, and a term has none.
    fn expression(&self) -> String {
        let text = self.text.replace('\0', " ");
        if self.prefix { format!("\"{text}\" *") } else { format!("\"{text}\"") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Query, QueryError> {
        Query::parse(text)
    }

    #[test]
    fn every_form_of_the_language_is_understood() {
        let query = parse("plum \"red wine\" gar* -onion -\"two words\" tag:food -tag:\"to do\" \"new yo\"*").unwrap();
        assert_eq!(query.with.as_deref(), Some(r#""plum" AND "red wine" AND "gar" * AND "new yo" *"#));
        assert_eq!(query.without.as_deref(), Some(r#""onion" OR "two words""#));
        assert_eq!((query.tags, query.tags_without), (vec!["food".to_owned()], vec!["to do".to_owned()]));
    }

    #[test]
    fn words_of_sql_and_of_the_index_are_only_words() {
        let query = parse("AND OR NOT NEAR( title:x ^y {a} 'q; DROP").unwrap();
        let expected = r#""AND" AND "OR" AND "NOT" AND "NEAR(" AND "title:x" AND "^y" AND "{a}" AND "'q;" AND "DROP""#;
        assert_eq!(query.with.as_deref(), Some(expected));
    }

    #[test]
    fn a_bad_query_has_a_typed_error() {
        assert_eq!(parse(""), Err(QueryError::Empty));
        assert_eq!(parse("  -- ! "), Err(QueryError::Empty));
        assert_eq!(parse("-only"), Err(QueryError::Empty));
        assert_eq!(parse("\"open"), Err(QueryError::OpenQuote));
        assert_eq!(parse("a tag:"), Err(QueryError::Dangling));
        assert_eq!(parse("a -"), Err(QueryError::Dangling));
        assert_eq!(parse(&"a ".repeat(33)), Err(QueryError::TooLong));
        assert_eq!(parse(&"a".repeat(1_001)), Err(QueryError::TooLong));
    }

    proptest::proptest! {
        #[test]
        fn no_query_makes_the_index_fail(text in "\\PC{0,40}") {
            if let Ok(query) = parse(&text) {
                let conn = rusqlite::Connection::open_in_memory().unwrap();
                conn.execute_batch("CREATE VIRTUAL TABLE t USING fts5(a)").unwrap();
                for expression in query.with.iter().chain(&query.without) {
                    conn.query_row("SELECT count(*) FROM t WHERE t MATCH ?1", [expression], |_| Ok(())).unwrap();
                }
            }
        }
    }
}
