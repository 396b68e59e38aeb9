//! Reading tasks: those that may be due until a day, of a list, open or over, with the entries that say when; and what was
//! said of rings. From rows alone; no document is loaded.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lifeos_sync_protocol::ids::{DocId, SpaceId};
use rusqlite::params_from_iter;

use super::entities::{cells, columns};
use super::{Reads, StoreError, rows};
use crate::modules::reminders::declared::TASK;
use crate::modules::reminders::facts::{Entry, Source};
use crate::notify::FireId;
use crate::projection::Value;
use crate::registry::{self, Table};

/// What a task says it is part of, and what it waits for: task, parent, those it waits for.
pub type TaskRelation = (DocId, Option<String>, Vec<String>);

/// Which tasks to read. What is trashed is left out, unless it is asked for by id.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter<'a> {
    /// Only these.
    pub ids: Option<&'a [DocId]>,
    /// Open ones, or those that are over.
    pub is_over: Option<bool>,
    /// May be due, must be done, begins or is planned until this day (`2026-03-01`).
    pub until: Option<&'a str>,
    /// Can be due until this day, or has alarms of its own.
    pub rings_until: Option<&'a str>,
    /// Of this list; an empty one: of none.
    pub list: Option<&'a str>,
    /// Part of this task.
    pub parent: Option<&'a str>,
    /// Done last at this time or after it (ms UTC).
    pub done_since_ms: Option<i64>,
    /// Called so by other programs.
    pub uid: Option<&'a str>,
    /// At most so many [default: all].
    pub limit: Option<u32>,
}

/// A task as its rows have it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRow {
    /// Its document.
    pub doc: DocId,
    /// Cells of the main row, in the order of the table's columns.
    pub cells: Vec<Value>,
    /// Entries that are not removed, by family and key.
    pub entries: BTreeMap<&'static str, Vec<(String, Entry)>>,
}

/// Families that every reading of a task needs.
const ALWAYS: [&str; 4] = ["alarm", "tag", "dep", "assignee"];
/// And those that say when one that repeats is due.
const REPEATING: [&str; 3] = ["occ", "rdate", "exdate"];

impl TaskRow {
    /// A cell of the main row.
    #[must_use]
    pub fn cell(&self, column: &str) -> &Value {
        let place = TASK.table().and_then(|table| table.place(column));
        place.and_then(|place| self.cells.get(place)).unwrap_or(&Value::Null)
    }

    /// A text of the main row.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.cell(column) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A number of the main row.
    #[must_use]
    pub fn int(&self, column: &str) -> Option<i64> {
        match self.cell(column) {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }
}

impl Source for TaskRow {
    fn field(&self, name: &str) -> Value {
        self.cell(if name == "del" { "trashed_ms" } else { name }).clone()
    }

    fn entries(&self, family: &str) -> Vec<(String, Entry)> {
        self.entries.get(family).cloned().unwrap_or_default()
    }
}

impl Reads<'_> {
    /// Tasks, with the entries that say when they are due.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tasks(&self, space: &SpaceId, filter: &TaskFilter<'_>) -> Result<Vec<TaskRow>, StoreError> {
        let table = TASK.table().ok_or(StoreError::WrongKind)?;
        let mut values = vec![Value::Int(self.space_row(space)?)];
        let mut sql = format!(
            "SELECT d.doc{}, d.id FROM task e JOIN document d ON d.id = e.doc WHERE d.space = ?1",
            columns(table)
        );
        let mut push = |sql: &mut String, condition: &str, value: Value| {
            values.push(value);
            let _ = write!(sql, " AND {}", condition.replace('?', &format!("?{}", values.len())));
        };
        match filter.ids {
            None => sql.push_str(" AND e.trashed_ms IS NULL"),
            Some(ids) => {
                let all = ids.iter().map(|id| format!("x'{id}'")).collect::<Vec<_>>().join(",");
                let _ = write!(sql, " AND d.doc IN ({all})");
            }
        }
        if let Some(is_over) = filter.is_over {
            push(&mut sql, "e.is_over = ?", Value::Int(i64::from(is_over)));
        }
        if let Some(until) = filter.until {
            // A time is after its day begins: `2026-03-01T09:00` is not above `2026-03-01~`.
            let condition = "(e.first_day <= ? OR e.deadline <= ? OR e.planned <= ? OR e.start <= ? || '~')";
            push(&mut sql, condition, until.into());
        }
        if let Some(until) = filter.rings_until {
            let alarms = "EXISTS (SELECT 1 FROM task_alarm a WHERE a.doc = e.doc AND a.deleted_ms IS NULL)";
            push(&mut sql, &format!("(e.first_day <= ? OR {alarms})"), until.into());
        }
        if let Some(list) = filter.list {
            push(&mut sql, "e.list IS nullif(?, '')", list.into());
        }
        if let Some(parent) = filter.parent {
            push(&mut sql, "e.parent = ?", parent.into());
        }
        if let Some(since) = filter.done_since_ms {
            push(&mut sql, "e.done_ms >= ?", Value::Int(since));
        }
        if let Some(uid) = filter.uid {
            push(&mut sql, "e.uid = ?", uid.into());
        }
        let order = if filter.done_since_ms.is_some() { "e.done_ms DESC" } else { "e.first_day IS NULL, e.first_day" };
        let limit = filter.limit.map_or(-1, i64::from);
        let _ = write!(sql, " ORDER BY {order}, d.doc LIMIT {limit}");
        let found = self.all(&sql, params_from_iter(values), |row| {
            let task = TaskRow { doc: DocId(row.get(0)?), cells: cells(row, table)?, entries: BTreeMap::new() };
            Ok((task, row.get::<_, i64>(1 + table.columns.len())?))
        })?;
        let mut tasks = Vec::with_capacity(found.len());
        for (mut task, row) in found {
            let repeats = *task.cell("rule") != Value::Null;
            for family in ALWAYS.into_iter().chain(REPEATING.into_iter().filter(|_| repeats)) {
                task.entries.insert(family, self.task_entries(family, row)?);
            }
            tasks.push(task);
        }
        Ok(tasks)
    }

    fn task_entries(&self, family: &str, row: i64) -> Result<Vec<(String, Entry)>, StoreError> {
        let table =
            TASK.family(family).and_then(|family| registry::table(family.table)).ok_or(StoreError::WrongKind)?;
        let sql = format!(
            "SELECT e.key{} FROM {} e WHERE e.doc = ?1 AND e.deleted_ms IS NULL ORDER BY e.key",
            columns(table),
            table.name
        );
        self.all(&sql, [row], |row| Ok((row.get(0)?, entry(row, table)?)))
    }

    /// What each living task says it is part of, and what it waits for: task, parent, those it waits for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn task_relations(&self, space: &SpaceId) -> Result<Vec<TaskRelation>, StoreError> {
        let sql = "SELECT d.doc, e.parent, (SELECT group_concat(w.key) FROM task_dep w
                       WHERE w.doc = e.doc AND w.deleted_ms IS NULL)
                   FROM task e JOIN document d ON d.id = e.doc WHERE d.space = ?1 AND e.trashed_ms IS NULL
                   ORDER BY d.doc";
        self.all(sql, [self.space_row(space)?], |row| {
            let waits: Option<String> = row.get(2)?;
            let waits = waits.iter().flat_map(|waits| waits.split(',')).map(str::to_owned).collect();
            Ok((DocId(row.get(0)?), row.get(1)?, waits))
        })
    }

    /// What was said of rings: when each was seen, and until when each is put off (ms UTC).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn said_of_rings(&self, space: &SpaceId) -> Result<[Vec<(FireId, i64)>; 2], StoreError> {
        let space = self.space_row(space)?;
        let read = |table: &str, column: &str| {
            let sql = format!(
                "SELECT e.key, e.{column} FROM {table} e JOIN document d ON d.id = e.doc
                 WHERE d.space = ?1 AND e.{column} IS NOT NULL"
            );
            let found: Vec<(String, i64)> = self.all(&sql, [space], |row| Ok((row.get(0)?, row.get(1)?)))?;
            // What another program wrote that names no ring is none.
            let named = found.iter().filter_map(|(key, at)| {
                let name = key.split_once('.').map_or(key.as_str(), |(name, _)| name);
                Some((name.parse().ok()?, *at))
            });
            Ok::<_, StoreError>(named.collect::<Vec<_>>())
        };
        Ok([read("ring_ack", "at")?, read("ring_snooze", "until")?])
    }
}

fn entry(row: &rusqlite::Row<'_>, table: &Table) -> rusqlite::Result<Entry> {
    let mut entry = Entry::new();
    for (place, column) in table.columns.iter().enumerate() {
        let value = rows::value(row.get_ref(place + 1)?);
        if value != Value::Null {
            entry.insert(column.name.to_owned(), value);
        }
    }
    Ok(entry)
}
