//! Which documents' rows changed lately: a short log in the database, so that every process that watches a list hears of
//! what any process did to it, and reads nothing else.
//!
//! The log is written where rows are written ([`super::rows::write_difference`]), in the commit that changes them. It is
//! cut off at its beginning: whoever finds that it no longer begins where they stopped reads their list anew.

use std::cmp::Ordering;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::{Reader, Reads, StoreError};

/// Entries that are kept at least.
const KEPT: i64 = 4_096;
/// So many entries later the beginning is cut off.
const CUT_EVERY: i64 = 1_024;
/// Stands for every document.
const EVERY_DOCUMENT: i64 = 0;

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogPlace(i64);

/// A value that rows are ordered by, as SQLite orders them: numbers before texts before bytes.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// INTEGER.
    Int(i64),
    /// REAL.
    Real(f64),
    /// TEXT.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

/// One term of an ORDER BY; NULL comes last.
#[derive(Debug, Clone)]
pub struct Term {
    /// The value.
    pub key: Option<Key>,
    /// The largest comes first.
    pub descends: bool,
}

/// Where a row belongs: the terms of an ORDER BY, the last of which no other row shares.
pub type Place = Vec<Term>;

/// A row of a list in its place.
pub type Item<T> = crate::watch::Item<Place, T>;

impl Key {
    pub(super) fn read(value: ValueRef<'_>) -> Option<Self> {
        Some(match value {
            ValueRef::Null => return None,
            ValueRef::Integer(value) => Self::Int(value),
            ValueRef::Real(value) => Self::Real(value),
            ValueRef::Text(text) => Self::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        })
    }

    const fn class(&self) -> u8 {
        match self {
            Self::Int(_) | Self::Real(_) => 0,
            Self::Text(_) => 1,
            Self::Blob(_) => 2,
        }
    }
}

/// A whole number beside one that may not be: SQLite compares what they stand for, not what conversion makes of them.
fn compare_mixed(whole: i64, real: f64) -> Ordering {
    #[expect(clippy::cast_precision_loss, reason = "where it matters, both are compared as whole numbers")]
    let rough = (whole as f64).partial_cmp(&real).unwrap_or(Ordering::Equal);
    #[expect(clippy::cast_possible_truncation, reason = "an i128 holds every real that is near an i64")]
    rough.then_with(|| i128::from(whole).cmp(&(real as i128)))
}

impl Eq for Key {}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Real(a), Self::Real(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (Self::Int(a), Self::Real(b)) => compare_mixed(*a, *b),
            (Self::Real(a), Self::Int(b)) => compare_mixed(*b, *a).reverse(),
            (Self::Text(a), Self::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Blob(a), Self::Blob(b)) => a.cmp(b),
            _ => self.class().cmp(&other.class()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Term {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.key, &other.key) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(a), Some(b)) if self.descends => b.cmp(a),
            (Some(a), Some(b)) => a.cmp(b),
        }
    }
}

impl PartialOrd for Term {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Term {}

/// Says that rows of a document changed.
pub(super) fn log_changed(conn: &Connection, doc: i64) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO recent(doc) VALUES (?1)")?.execute([doc])?;
    let n = conn.last_insert_rowid();
    if n % CUT_EVERY == 0 {
        conn.prepare_cached("DELETE FROM recent WHERE n <= ?1")?.execute([n - KEPT])?;
    }
    Ok(())
}

/// Says that any row may have changed.
pub(super) fn log_all_changed(conn: &Connection) -> Result<(), StoreError> {
    log_changed(conn, EVERY_DOCUMENT)
}

impl Reader {
    /// Reads as of one moment while `read` runs.
    ///
    /// # Errors
    /// Whatever `read` returns, or [`StoreError`].
    pub fn at_once<T, E: From<StoreError>>(&self, read: impl FnOnce(Reads<'_>) -> Result<T, E>) -> Result<T, E> {
        let snapshot = self.conn.unchecked_transaction().map_err(StoreError::from)?;
        let value = read(self.reads())?;
        snapshot.commit().map_err(StoreError::from)?;
        Ok(value)
    }

    /// A number that is another one when another connection, of this process or any other, has committed since it was
    /// last asked for here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn data_version(&self) -> Result<i64, StoreError> {
        Ok(self.conn.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?)
    }
}

impl Reads<'_> {
    /// Where the log ends now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn log_end(&self) -> Result<LogPlace, StoreError> {
        Ok(LogPlace(
            self.one("SELECT max(n) FROM recent", [], |row| row.get::<_, Option<i64>>(0))?.flatten().unwrap_or(0),
        ))
    }

    /// The row ids of the documents whose rows changed since a place in the log, each once; `None` when there are more
    /// than `docs_max`, or the log does not reach back so far.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn changed_since(&self, place: LogPlace, docs_max: usize) -> Result<Option<Vec<i64>>, StoreError> {
        if self.log_end()? == place {
            return Ok(Some(Vec::new()));
        }
        // One note that somebody types into has many entries.
        let entries_max = docs_max.saturating_mul(8);
        let sql = "SELECT n, doc FROM recent WHERE n > ?1 ORDER BY n LIMIT ?2";
        let limit = i64::try_from(entries_max).unwrap_or(i64::MAX).saturating_add(1);
        let entries = self.all(sql, (place.0, limit), |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let goes_on = entries.first().is_some_and(|(n, _)| *n == place.0 + 1);
        let mut docs: Vec<i64> = entries.iter().map(|(_, doc)| *doc).collect();
        docs.sort_unstable();
        docs.dedup();
        let is_known = goes_on && entries.len() <= entries_max && docs.len() <= docs_max;
        Ok((is_known && docs.first() != Some(&EVERY_DOCUMENT)).then_some(docs))
    }

    /// Whether one of these documents, by row id, is of a kind.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn any_is_of(&self, docs: &[i64], genesis: crate::document::GenesisId) -> Result<bool, StoreError> {
        for doc in docs {
            let sql = "SELECT 1 FROM document WHERE id = ?1 AND genesis = ?2";
            if self.one(sql, (doc, genesis.0), |_| Ok(()))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
