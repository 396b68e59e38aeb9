//! The contract between the relay's storage and an engine: transactions, statements, rows.
//!
//! All rules of a log live above this file, in statements that SQLite and PostgreSQL read alike; what the two do
//! differently is below it, or asked with [`Db::is_shared`]. Parameters are written `?1`, `?2`, …; integers are 64 bits.

use rusqlite::Connection;

use super::StoreError;

/// No envelope is smaller: a header and a signature.
#[cfg(feature = "postgres")]
const ENVELOPE_BYTES_MIN: usize = 64;

/// A connection to one of the engines.
pub(crate) enum Db {
    /// The file of a folder; only this process writes it.
    Sqlite(Connection),
    /// A session at a server that other relays use too.
    #[cfg(feature = "postgres")]
    Postgres(super::postgres::Session),
}

/// What is given to a statement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Int(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
}

macro_rules! value_of {
    ($($from:ty as |$value:ident| $to:expr;)*) => {
        $(impl<'a> From<$from> for Value<'a> {
            fn from($value: $from) -> Self {
                $to
            }
        })*
    };
}

value_of! {
    i64 as |value| Value::Int(value);
    u32 as |value| Value::Int(value.into());
    u8 as |value| Value::Int(value.into());
    bool as |value| Value::Int(value.into());
    &'a [u8] as |value| Value::Bytes(value);
    &'a Vec<u8> as |value| Value::Bytes(value);
    &'a str as |value| Value::Text(value);
    &'a String as |value| Value::Text(value);
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Several of them: a tuple or an array.
pub(super) trait Params<'a> {
    type Values: AsRef<[Value<'a>]>;
    fn values(self) -> Self::Values;
}

impl<'a, T: Into<Value<'a>>, const N: usize> Params<'a> for [T; N] {
    type Values = [Value<'a>; N];
    fn values(self) -> Self::Values {
        self.map(Into::into)
    }
}

macro_rules! params_of {
    ($($count:literal: $($name:ident $index:tt),*;)*) => {
        $(impl<'a, $($name: Into<Value<'a>>),*> Params<'a> for ($($name,)*) {
            type Values = [Value<'a>; $count];
            fn values(self) -> Self::Values {
                [$(self.$index.into()),*]
            }
        })*
    };
}

params_of! {
    2: A 0, B 1;
    3: A 0, B 1, C 2;
    4: A 0, B 1, C 2, D 3;
    5: A 0, B 1, C 2, D 3, E 4;
    6: A 0, B 1, C 2, D 3, E 4, F 5;
    7: A 0, B 1, C 2, D 3, E 4, F 5, G 6;
}

/// No parameters.
pub(super) const NONE: [i64; 0] = [];

impl Db {
    /// Whether other processes write here too: what is remembered of a space may be over.
    pub(super) const fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => true,
        }
    }

    /// Whether it can be used again.
    pub(super) fn is_usable(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            #[cfg(feature = "postgres")]
            Self::Postgres(session) => session.is_open(),
        }
    }

    /// Begins to write.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(db) => db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?,
            #[cfg(feature = "postgres")]
            Self::Postgres(session) => return session.begin(),
        };
        Ok(())
    }

    /// Makes it durable.
    pub(super) fn commit(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(db) => db.prepare_cached("COMMIT")?.execute([])?,
            #[cfg(feature = "postgres")]
            Self::Postgres(session) => return session.run("COMMIT"),
        };
        Ok(())
    }

    /// Takes back what was written, if a transaction is open still.
    pub(super) fn roll_back(&self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(db) if db.is_autocommit() => Ok(()),
            Self::Sqlite(db) => Ok(db.execute_batch("ROLLBACK")?),
            #[cfg(feature = "postgres")]
            Self::Postgres(session) => session.run("ROLLBACK"),
        }
    }

    /// Everything that is read until the answer is dropped is of one moment.
    pub(super) fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        match self {
            Self::Sqlite(db) => db.prepare_cached("BEGIN")?.execute([]).map(drop)?,
            #[cfg(feature = "postgres")]
            Self::Postgres(session) => session.run("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")?,
        }
        Ok(Snapshot(self))
    }

    /// Does something; answers how many rows that changed.
    pub(super) fn execute<'a>(&self, sql: &'static str, params: impl Params<'a>) -> Result<usize, StoreError> {
        let values = params.values();
        match self {
            Self::Sqlite(db) => Ok(db.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values.as_ref()))?),
            #[cfg(feature = "postgres")]
            Self::Postgres(session) => session.execute(sql, values.as_ref()),
        }
    }

    /// Does the same with each of these; a server is not waited for in between.
    pub(super) fn execute_each<'a, P: Params<'a>>(
        &self,
        sql: &'static str,
        each: impl IntoIterator<Item = P>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(db) => {
                let mut statement = db.prepare_cached(sql)?;
                for params in each {
                    statement.execute(rusqlite::params_from_iter(params.values().as_ref()))?;
                }
                Ok(())
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(session) => session.execute_each(sql, each.into_iter().map(Params::values)),
        }
    }

    /// Reads rows until `read` answers false.
    pub(super) fn each<'a>(
        &self,
        sql: &'static str,
        params: impl Params<'a>,
        mut read: impl FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let values = params.values();
        match self {
            Self::Sqlite(db) => {
                let mut statement = db.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values.as_ref()))?;
                while let Some(row) = rows.next()? {
                    if !read(&Row(RowOf::Sqlite(row)))? {
                        break;
                    }
                }
                Ok(())
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(session) => {
                for row in session.query(sql, values.as_ref())? {
                    if !read(&Row(RowOf::Postgres(&row)))? {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    /// Reads all rows.
    pub(super) fn all<'a, T>(
        &self,
        sql: &'static str,
        params: impl Params<'a>,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        self.each(sql, params, |row| {
            all.push(read(row)?);
            Ok(true)
        })?;
        Ok(all)
    }

    /// Reads the first row, if there is one.
    pub(super) fn first<'a, T>(
        &self,
        sql: &'static str,
        params: impl Params<'a>,
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut first = None;
        self.each(sql, params, |row| {
            first = Some(read(row)?);
            Ok(false)
        })?;
        Ok(first)
    }

    /// Reads a row that is there.
    pub(super) fn one<'a, T>(
        &self,
        sql: &'static str,
        params: impl Params<'a>,
        read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.first(sql, params, read)?.ok_or_else(|| {
            tracing::error!("a row is not there");
            StoreError::Database
        })
    }

    /// Reads envelopes from a range of keys (`key, flags, roll, bytes`, in order) until `read` answers false. A server sends
    /// what fits `bytes_max` and the run behind that, not the whole rest of the log.
    pub(super) fn page(
        &self,
        (from, until): (i64, i64),
        bytes_max: usize,
        read: impl FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => {
                // Rows come from the file as they are asked for.
                let _ = bytes_max;
                let sql = "SELECT key, flags, roll, bytes FROM envelope WHERE key >= ?1 AND key < ?2 ORDER BY key";
                self.each(sql, (from, until), read)
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => {
                let sql = "SELECT key, flags, roll, bytes FROM (
                               SELECT key, flags, roll, bytes,
                                      sum(length(bytes)) OVER (ORDER BY key ROWS UNBOUNDED PRECEDING) AS total
                               FROM envelope WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?4
                           ) log WHERE total <= ?3 OR key = ?1 ORDER BY key";
                let room = bytes_max.saturating_add(lifeos_sync_protocol::limits::FRAME_BYTES_MAX);
                let rows = room / ENVELOPE_BYTES_MIN;
                let signed = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
                self.each(sql, (from, until, signed(room), signed(rows)), read)
            }
        }
    }

    /// Whether there is such a row.
    pub(super) fn exists<'a>(&self, sql: &'static str, params: impl Params<'a>) -> Result<bool, StoreError> {
        Ok(self.first(sql, params, |_| Ok(()))?.is_some())
    }

    /// Whether what is stored has reached so many bytes; 0 is no limit.
    pub(super) fn is_full(&self, bytes_max: u64) -> Result<bool, StoreError> {
        if bytes_max == 0 {
            return Ok(false);
        }
        let sql = match self {
            Self::Sqlite(_) => {
                "SELECT (page_count - freelist_count) * page_size
                 FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()"
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "SELECT pg_database_size(current_database())",
        };
        Ok(self.one(sql, NONE, |row| row.unsigned(0))? >= bytes_max)
    }

    /// The file's own connection.
    #[cfg(test)]
    pub(super) fn sqlite(&self) -> &Connection {
        match self {
            Self::Sqlite(db) => db,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => panic!("not SQLite"),
        }
    }
}

/// A moment of the database.
pub(super) struct Snapshot<'a>(&'a Db);

impl std::ops::Deref for Snapshot<'_> {
    type Target = Db;
    fn deref(&self) -> &Db {
        self.0
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.roll_back() {
            tracing::error!(%error, "a read could not be ended");
        }
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::ValueRef;
        let value = match *self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(value),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        };
        Ok(rusqlite::types::ToSqlOutput::Borrowed(value))
    }
}

/// A row of an answer, as long as it is looked at. What it says is bytes from outside.
pub(super) struct Row<'a>(RowOf<'a>);

enum RowOf<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    #[cfg(feature = "postgres")]
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// A value of a type that the statement determines.
    pub(super) fn get<T: Column>(&self, column: usize) -> Result<T, StoreError> {
        T::read(self, column)
    }

    /// A number that is never negative.
    pub(super) fn unsigned(&self, column: usize) -> Result<u64, StoreError> {
        u64::try_from(self.get::<i64>(column)?).map_err(|_| damaged("a number is negative"))
    }

    /// A fixed-size id; anything else in the column is damage.
    pub(super) fn id<const N: usize>(&self, column: usize) -> Result<[u8; N], StoreError> {
        self.blob(column)?.try_into().map_err(|_| damaged("an id has the wrong length"))
    }

    /// Bytes as they lie there.
    pub(super) fn blob(&self, column: usize) -> Result<&[u8], StoreError> {
        match &self.0 {
            RowOf::Sqlite(row) => Ok(row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?),
            #[cfg(feature = "postgres")]
            RowOf::Postgres(row) => Ok(row.try_get(column)?),
        }
    }

    fn int(&self, column: usize) -> Result<Option<i64>, StoreError> {
        match &self.0 {
            RowOf::Sqlite(row) => Ok(row.get(column)?),
            #[cfg(feature = "postgres")]
            RowOf::Postgres(row) => super::postgres::int(row, column),
        }
    }
}

fn damaged(what: &'static str) -> StoreError {
    tracing::error!(what, "the database holds what cannot be");
    StoreError::Database
}

/// What a column may be read as.
pub(super) trait Column: Sized {
    fn read(row: &Row<'_>, column: usize) -> Result<Self, StoreError>;
}

impl Column for i64 {
    fn read(row: &Row<'_>, column: usize) -> Result<Self, StoreError> {
        row.int(column)?.ok_or_else(|| damaged("a number is missing"))
    }
}

impl Column for u32 {
    fn read(row: &Row<'_>, column: usize) -> Result<Self, StoreError> {
        Self::try_from(i64::read(row, column)?).map_err(|_| damaged("a number is too large"))
    }
}

impl Column for bool {
    fn read(row: &Row<'_>, column: usize) -> Result<Self, StoreError> {
        Ok(i64::read(row, column)? != 0)
    }
}

impl Column for Option<i64> {
    fn read(row: &Row<'_>, column: usize) -> Result<Self, StoreError> {
        row.int(column)
    }
}

impl Column for Option<bool> {
    fn read(row: &Row<'_>, column: usize) -> Result<Self, StoreError> {
        Ok(row.int(column)?.map(|value| value != 0))
    }
}

impl Column for Vec<u8> {
    fn read(row: &Row<'_>, column: usize) -> Result<Self, StoreError> {
        row.blob(column).map(<[u8]>::to_vec)
    }
}

impl Column for String {
    fn read(row: &Row<'_>, column: usize) -> Result<Self, StoreError> {
        match &row.0 {
            RowOf::Sqlite(row) => Ok(row.get(column)?),
            #[cfg(feature = "postgres")]
            RowOf::Postgres(row) => Ok(row.try_get(column)?),
        }
    }
}
