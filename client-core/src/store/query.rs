//! The search language: words, "phrases", prefix*, -without, tag:name; turned into an FTS5 expression in
//! which every word is quoted, so that no query can be a syntax error of SQL.

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
    #[error("the query is too long")]
    TooLong,
}
