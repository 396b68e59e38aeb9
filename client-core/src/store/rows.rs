//! Projection rows on disk: tables from the registry, read back as rows and written as differences.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::OnceLock;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};

use super::{StoreError, watch};
use crate::document::GenesisId;
use crate::projection::{Row, Value};
use crate::registry::{self, Table};

/// The statements of one table. Columns stand in quotes: a field may be called as SQL calls something.
struct Sql {
    table: &'static Table,
    select: String,
    upsert: String,
    delete: String,
}

impl Sql {
    fn new(table: &'static Table) -> Self {
        let columns: String = table.columns.iter().fold(String::new(), |mut names, column| {
            let _ = write!(names, ", \"{}\"", column.name);
            names
        });
        let places: String = (0..table.columns.len()).fold(String::new(), |mut places, index| {
            let _ = write!(places, ", ?{}", index + 3);
            places
        });
        let name = table.name;
        Self {
            table,
            select: format!("SELECT key{columns} FROM {name} WHERE doc = ?1 ORDER BY key"),
            upsert: format!("INSERT OR REPLACE INTO {name}(doc, key{columns}) VALUES (?1, ?2{places})"),
            delete: format!("DELETE FROM {name} WHERE doc = ?1 AND key = ?2"),
        }
    }
}

/// By table name, so that rows come out sorted by (table, key).
fn statements() -> &'static [Sql] {
    static STATEMENTS: OnceLock<Vec<Sql>> = OnceLock::new();
    STATEMENTS.get_or_init(|| {
        let mut statements: Vec<Sql> = registry::tables().iter().map(Sql::new).collect();
        statements.sort_by_key(|sql| sql.table.name);
        statements
    })
}

fn of_table(name: &str) -> Result<&'static Sql, StoreError> {
    let statements = statements();
    let found = statements.binary_search_by_key(&name, |sql| sql.table.name).ok().and_then(|at| statements.get(at));
    found.ok_or(StoreError::Corrupt { what: "a projection names a table that is not registered" })
}

/// Reads the rows of one document in the tables of its kind, sorted by (table, key).
pub(super) fn load(conn: &Connection, doc: i64, genesis: GenesisId) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    for table in registry::tables_of(genesis) {
        load_table(conn, doc, of_table(table.name)?, &mut rows)?;
    }
    Ok(rows)
}

/// The same of every table: also what never should have come into those of other kinds.
pub(super) fn load_all(conn: &Connection, doc: i64) -> Result<Vec<Row>, StoreError> {
    let mut rows = Vec::new();
    statements().iter().try_for_each(|sql| load_table(conn, doc, sql, &mut rows))?;
    Ok(rows)
}

fn load_table(conn: &Connection, doc: i64, sql: &Sql, rows: &mut Vec<Row>) -> Result<(), StoreError> {
    let mut select = conn.prepare_cached(&sql.select)?;
    let mut found = select.query([doc])?;
    while let Some(row) = found.next()? {
        let values = (1..=sql.table.columns.len()).map(|column| Ok(value(row.get_ref(column)?)));
        let values = values.collect::<Result<_, rusqlite::Error>>()?;
        rows.push(Row { table: sql.table.name, key: row.get(0)?, values });
    }
    Ok(())
}

pub(super) fn value(cell: ValueRef<'_>) -> Value {
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        // Projections never hold floating-point numbers; a changed cell has to differ, and so it does.
        ValueRef::Real(number) => Value::Text(number.to_string()),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// The order of rows: by table name, then key.
pub(super) fn order(a: &Row, b: &Row) -> Ordering {
    (a.table, a.key.as_str()).cmp(&(b.table, b.key.as_str()))
}

/// Writes what differs between two sorted lists of rows, and that something does.
pub(super) fn write_difference(conn: &Connection, doc: i64, old: &[Row], new: &[Row]) -> Result<(), StoreError> {
    if old == new {
        return Ok(());
    }
    watch::log_changed(conn, doc)?;
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let side = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => order(a, b),
        };
        let gone = if side.is_le() { old.next() } else { None };
        let come = if side.is_ge() { new.next() } else { None };
        match (gone, come) {
            (Some(gone), None) => delete(conn, doc, gone)?,
            (None, Some(come)) => upsert(conn, doc, come)?,
            (Some(gone), Some(come)) if gone != come => update(conn, doc, gone, come)?,
            _ => {}
        }
    }
}

fn delete(conn: &Connection, doc: i64, row: &Row) -> Result<(), StoreError> {
    conn.prepare_cached(&of_table(row.table)?.delete)?.execute((doc, &row.key))?;
    Ok(())
}

/// Writes the cells that differ: every index on another column, and the page it lies on, stays as it is.
fn update(conn: &Connection, doc: i64, old: &Row, new: &Row) -> Result<(), StoreError> {
    let columns = of_table(new.table)?.table.columns;
    let front = [Value::Int(doc), Value::Text(new.key.clone())];
    let (mut sql, mut values) = (format!("UPDATE {} SET ", new.table), Vec::from(front));
    for ((column, _), value) in columns.iter().zip(&old.values).zip(&new.values).filter(|((_, old), new)| old != new) {
        values.push(value.clone());
        let separator = if values.len() > 3 { ", " } else { "" };
        let _ = write!(sql, "{separator}\"{}\" = ?{}", column.name, values.len());
    }
    sql.push_str(" WHERE doc = ?1 AND key = ?2");
    match conn.prepare_cached(&sql)?.execute(params_from_iter(&values))? {
        1 => Ok(()),
        // What was thought to be there is not: the whole row makes it right.
        _ => upsert(conn, doc, new),
    }
}

fn upsert(conn: &Connection, doc: i64, row: &Row) -> Result<(), StoreError> {
    let front = [Value::Int(doc), Value::Text(row.key.clone())];
    conn.prepare_cached(&of_table(row.table)?.upsert)?.execute(params_from_iter(front.iter().chain(&row.values)))?;
    Ok(())
}
