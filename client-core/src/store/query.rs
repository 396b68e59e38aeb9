//! The search language: words, "phrases", prefix*, -without, and operators such as `tag:` and `before:`; turned into
//! an FTS5 expression in which every word is quoted, so that no query can be a syntax error of SQL, and conditions.

use jiff::civil::Date;
use jiff::{Span, Zoned};

use super::spread::spread;
use crate::document::GenesisId;
use crate::registry::{Kind, kinds};

/// Most terms of a query.
const TERMS_MAX: usize = 32;
/// Longest query in characters.
const CHARS_MAX: usize = 1_000;

/// A query that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// No word, phrase or condition to look for.
    #[error("type at least one word, phrase, tag or other condition to look for")]
    Empty,
    /// A quotation mark without its partner.
    #[error("a quotation mark is not closed")]
    OpenQuote,
    /// `-` or an operator with nothing behind it.
    #[error("`-` and operators like `tag:` need a word behind them")]
    Dangling,
    /// More terms or characters than the limits allow.
    #[error("the query is too long: use at most 32 terms and 1,000 characters")]
    TooLong,
    /// A date that is none.
    #[error("`{0}` is no date: write 2026, 2026-03, 2026-03-08, today, yesterday, or 7d, 2w, 3m, 1y for so long ago")]
    Date(String),
    /// An operator with a value that it does not know.
    #[error("`{operator}:` does not know `{value}`: use {known}")]
    Unknown {
        /// The operator.
        operator: &'static str,
        /// What was behind it.
        value: String,
        /// What can be.
        known: String,
    },
}

/// What a document may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Has {
    Attachment,
    Link,
    Tag,
    Property,
}

/// What `has:` knows.
const HAS: [(&str, Has); 4] =
    [("attachment", Has::Attachment), ("link", Has::Link), ("tag", Has::Tag), ("property", Has::Property)];

/// What must be true of a document beside its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Has this tag, as it was typed, or one below it (`food` finds `food/sweet`).
    Tag(String),
    /// Is of this kind.
    Type(GenesisId),
    /// Was changed last before this time, ms.
    Before(i64),
    /// Was changed last at this time or later, ms.
    After(i64),
    /// Has one of these.
    Has(Has),
    /// Has a property of this name, and of this value if one is given.
    Property(String, Option<String>),
    /// Lies in the notebook of this name or below it.
    Notebook(String),
    /// Is pinned.
    Pinned,
}

/// A query as it was understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// FTS5 expression of what must be there; `None` when only conditions are asked for.
    pub(super) with: Option<String>,
    /// FTS5 expression of what must not be there.
    pub(super) without: Option<String>,
    /// What else must be so, and, where the flag is set, what must not.
    pub(super) conditions: Vec<(bool, Condition)>,
}

impl Query {
    /// Reads a query; `now` tells what today is, and where.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn parse(text: &str, now: &Zoned) -> Result<Self, QueryError> {
        if text.chars().count() > CHARS_MAX {
            return Err(QueryError::TooLong);
        }
        let mut rest = text.trim_start();
        let (mut query, mut with, mut without, mut terms) = (Self::default(), Vec::new(), Vec::new(), 0);
        while !rest.is_empty() {
            let (term, after) = Term::read(rest)?;
            rest = after.trim_start();
            terms += 1;
            if let Some(condition) = term.condition(now)? {
                query.conditions.push((term.without, condition));
                continue;
            }
            // A term of signs alone ("--", "&") has no word that the index could know.
            if term.text.contains(char::is_alphanumeric) {
                if term.without { &mut without } else { &mut with }.push(term.expression());
            }
        }
        if terms > TERMS_MAX {
            return Err(QueryError::TooLong);
        }
        // What only leaves things out asks for everything else.
        if with.is_empty() && query.conditions.iter().all(|(without, _)| *without) {
            return Err(QueryError::Empty);
        }
        query.with = (!with.is_empty()).then(|| with.join(" AND "));
        query.without = (!without.is_empty()).then(|| without.join(" OR "));
        Ok(query)
    }
}

impl Query {
    /// A query for an FTS5 expression.
    pub(super) fn matching(expression: String) -> Self {
        Self { with: Some(expression), ..Self::default() }
    }
}

/// Every operator, longest first where one begins like another.
const OPERATORS: [&str; 9] = ["tag", "title", "type", "before", "after", "has", "is", "prop", "in"];

/// One term.
struct Term<'t> {
    without: bool,
    operator: Option<&'static str>,
    prefix: bool,
    text: &'t str,
}

impl<'t> Term<'t> {
    fn read(text: &'t str) -> Result<(Self, &'t str), QueryError> {
        let (without, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let named = text.split_once(':').and_then(|(name, rest)| {
            OPERATORS.into_iter().find(|operator| name.eq_ignore_ascii_case(operator)).map(|operator| (operator, rest))
        });
        let (operator, text) = named.map_or((None, text), |(operator, rest)| (Some(operator), rest));
        let (body, rest, quoted) = match text.strip_prefix('"') {
            Some(inner) => {
                let (body, rest) = inner.split_once('"').ok_or(QueryError::OpenQuote)?;
                (body, rest, true)
            }
            // `prop:name="two words"` goes on to the closing mark.
            None => match text.split_once('=').and_then(|(name, value)| Some((name, value.strip_prefix('"')?))) {
                Some((name, inner)) if operator == Some("prop") && !name.contains([' ', '"']) => {
                    let end = inner.find('"').ok_or(QueryError::OpenQuote)?;
                    let end = text.len() - inner.len() + end;
                    (&text[..end], &text[end + 1..], false)
                }
                _ => {
                    let end = text.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(text.len());
                    (&text[..end], &text[end..], false)
                }
            },
        };
        // A star right behind a phrase belongs to it: "new yo"*.
        let (prefix, body, rest) = match (quoted, body.strip_suffix('*'), rest.strip_prefix('*')) {
            (true, _, Some(rest)) => (true, body, rest),
            (false, Some(body), _) => (true, body, rest),
            _ => (false, body, rest),
        };
        if body.trim().is_empty() && (without || operator.is_some()) {
            return Err(QueryError::Dangling);
        }
        Ok((Self { without, operator, prefix, text: body.trim() }, rest))
    }

    /// What the operator asks for; none for what is looked up in the index.
    fn condition(&self, now: &Zoned) -> Result<Option<Condition>, QueryError> {
        let text = self.text;
        let condition = match self.operator {
            Some("tag") => Condition::Tag(text.to_owned()),
            Some("in") => Condition::Notebook(text.to_owned()),
            Some("before") => Condition::Before(midnight(text, now)?),
            Some("after") => Condition::After(midnight(text, now)?),
            Some("prop") => match text.split_once('=') {
                Some((name, value)) => {
                    Condition::Property(name.to_owned(), Some(value.trim_start_matches('"').to_owned()))
                }
                None => Condition::Property(text.to_owned(), None),
            },
            Some("type") => {
                let searched = || kinds().filter(|kind| kind.is_searched());
                let kind = searched().find(|kind| kind.name.eq_ignore_ascii_case(text));
                let names = searched().map(|kind| kind.name);
                Condition::Type(kind.map(Kind::genesis).ok_or_else(|| unknown("type", text, names))?)
            }
            Some("has") => {
                let one = text.strip_suffix('s').unwrap_or(text);
                let found = HAS.iter().find(|(name, _)| name.eq_ignore_ascii_case(one));
                Condition::Has(found.ok_or_else(|| unknown("has", text, HAS.iter().map(|(name, _)| *name)))?.1)
            }
            Some("is") if text.eq_ignore_ascii_case("pinned") => Condition::Pinned,
            Some("is") => return Err(unknown("is", text, ["pinned"].into_iter())),
            _ => return Ok(None),
        };
        Ok(Some(condition))
    }

    /// An FTS5 string: inside quotation marks nothing has a meaning but the mark itself, and a term has none.
    fn expression(&self) -> String {
        let text = phrase(self.text);
        let column = if self.operator == Some("title") { "title : " } else { "" };
        if self.prefix { format!("{column}{text} *") } else { format!("{column}{text}") }
    }
}

/// A text as FTS5 takes it: one phrase, whatever stands in it.
pub(super) fn phrase(text: &str) -> String {
    format!("\"{}\"", spread(&text.replace(['\0', '"'], " ")))
}

fn unknown(operator: &'static str, value: &str, known: impl Iterator<Item = &'static str>) -> QueryError {
    QueryError::Unknown { operator, value: value.to_owned(), known: known.collect::<Vec<_>>().join(", ") }
}

/// The first moment of what a date names, ms: of the year, the month or the day, where `now` is.
fn midnight(text: &str, now: &Zoned) -> Result<i64, QueryError> {
    let wrong = || QueryError::Date(text.to_owned());
    let date = date(text, now.date()).ok_or_else(wrong)?;
    Ok(date.to_zoned(now.time_zone().clone()).map_err(|_| wrong())?.timestamp().as_millisecond())
}

fn date(text: &str, today: Date) -> Option<Date> {
    match text.to_ascii_lowercase().as_str() {
        "today" => return Some(today),
        "yesterday" => return today.yesterday().ok(),
        _ => {}
    }
    if let Some((number, unit)) = text.char_indices().last().map(|(at, unit)| (&text[..at], unit))
        && unit.is_ascii_alphabetic()
    {
        let number: i64 = number.parse::<u16>().ok()?.into();
        let ago = match unit.to_ascii_lowercase() {
            'd' => Span::new().try_days(number),
            'w' => Span::new().try_weeks(number),
            'm' => Span::new().try_months(number),
            'y' => Span::new().try_years(number),
            _ => return None,
        };
        return today.checked_sub(ago.ok()?).ok();
    }
    let mut parts = text.split('-').map(|part| part.parse::<i16>().ok());
    let year = parts.next()??;
    let month = parts.next().map_or(Some(1), |part| part)?;
    let day = parts.next().map_or(Some(1), |part| part)?;
    if parts.next().is_some() || text.starts_with('-') {
        return None;
    }
    Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// A query, for tests.
#[cfg(test)]
pub(super) fn words(text: &str) -> Query {
    Query::parse(text, &Zoned::now()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Query, QueryError> {
        let noon: Zoned = "2026-03-08T12:00[Europe/Berlin]".parse().unwrap();
        Query::parse(text, &noon)
    }

    #[test]
    fn every_form_of_the_language_is_understood() {
        let query = parse("plum \"red wine\" gar* -onion -\"two words\" tag:food -tag:\"to do\" \"new yo\"*").unwrap();
        assert_eq!(query.with.as_deref(), Some(r#""plum" AND "red wine" AND "gar" * AND "new yo" *"#));
        assert_eq!(query.without.as_deref(), Some(r#""onion" OR "two words""#));
        let tags = [(false, "food"), (true, "to do")].map(|(without, tag)| (without, Condition::Tag(tag.to_owned())));
        assert_eq!(query.conditions, tags);
    }

    #[test]
    fn words_of_sql_and_of_the_index_are_only_words() {
        let query = parse("AND OR NOT NEAR( author:x ^y {a} 'q; DROP").unwrap();
        let expected = r#""AND" AND "OR" AND "NOT" AND "NEAR(" AND "author:x" AND "^y" AND "{a}" AND "'q;" AND "DROP""#;
        assert_eq!(query.with.as_deref(), Some(expected));
    }

    #[test]
    fn every_operator_is_understood_in_any_case_and_with_its_opposite() {
        let conditions = |text: &str| parse(text).unwrap().conditions;
        let start = |date: &str| date.parse::<Zoned>().unwrap().timestamp().as_millisecond();
        assert_eq!(parse("Title:plum -title:\"red wine\"").unwrap().with.as_deref(), Some("title : \"plum\""));
        assert_eq!(conditions("type:note -type:NOTE")[1], (true, Condition::Type(crate::registry::NOTE_GENESIS)));
        assert_eq!(conditions("has:attachments has:link -has:tag")[0], (false, Condition::Has(Has::Attachment)));
        assert_eq!(conditions("is:pinned in:\"Big plans\"")[1], (false, Condition::Notebook("Big plans".to_owned())));
        let two_words = Condition::Property("state".to_owned(), Some("to do".to_owned()));
        assert_eq!(
            conditions("prop:state=\"to do\" tag:x"),
            [(false, two_words), (false, Condition::Tag("x".to_owned()))]
        );
        for (date, expected) in [
            ("2026", "2026-01-01T00:00[Europe/Berlin]"),
            ("2026-07", "2026-07-01T00:00[Europe/Berlin]"),
            ("2026-07-09", "2026-07-09T00:00[Europe/Berlin]"),
            ("today", "2026-03-08T00:00[Europe/Berlin]"),
            ("yesterday", "2026-03-07T00:00[Europe/Berlin]"),
            ("7d", "2026-03-01T00:00[Europe/Berlin]"),
            ("1m", "2026-02-08T00:00[Europe/Berlin]"),
        ] {
            assert_eq!(conditions(&format!("after:{date}")), [(false, Condition::After(start(expected)))], "{date}");
        }
    }

    #[test]
    fn what_an_operator_does_not_know_is_an_error_that_says_what_it_knows() {
        for date in ["2026-13", "soon", "2026-02-30", "9d9", "-1d", "99999y", "2026-01-01-01", "é", "70000d"] {
            let error = parse(&format!("before:{date}"));
            assert!(matches!(error, Err(QueryError::Date(_))), "{date}: {error:?}");
        }
        let said = |text| parse(text).unwrap_err().to_string();
        assert_eq!(said("has:wings"), "`has:` does not know `wings`: use attachment, link, tag, property");
        assert!(said("type:tree").contains("note"), "{}", said("type:tree"));
        assert!(said("is:blue").contains("pinned"));
        assert_eq!(parse("-tag:only"), Err(QueryError::Empty));
        assert_eq!(parse("prop:a=\"open"), Err(QueryError::OpenQuote));
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
                conn.execute_batch("CREATE VIRTUAL TABLE t USING fts5(title)").unwrap();
                for expression in query.with.iter().chain(&query.without) {
                    conn.query_row("SELECT count(*) FROM t WHERE t MATCH ?1", [expression], |_| Ok(())).unwrap();
                }
            }
        }
    }
}
