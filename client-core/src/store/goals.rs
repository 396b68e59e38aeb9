//! Reading what goals are measured by: check-ins, and fields of any kind by day. No document is loaded.

use lifeos_sync_protocol::ids::{DocId, SpaceId};
use rusqlite::params_from_iter;

use super::{Reads, StoreError};
use crate::modules::goals::series::SeriesRef;
use crate::projection::Value;
use crate::registry::{self, Field};

/// Most values of a series: the latest.
const VALUES_MAX: u32 = 100_000;

/// A check-in as it stands after merging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckInRow {
    /// The day, or the day and a key result.
    pub key: String,
    /// What was said.
    pub state: Option<String>,
    /// What was measured.
    pub value: Option<String>,
    /// What was added, in millionths.
    pub added: i64,
    /// What was noted.
    pub note: Option<String>,
}

impl Reads<'_> {
    /// The check-ins of a goal and its key results, by key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn check_ins(&self, space: &SpaceId, goal: &DocId) -> Result<Vec<CheckInRow>, StoreError> {
        let sql = "SELECT c.key, c.state, c.value, c.added, c.note FROM goal_checkin c
                   JOIN goal_year y ON y.doc = c.doc JOIN document d ON d.id = c.doc
                   WHERE y.goal = ?2 AND d.space = ?1 ORDER BY c.key, d.doc";
        self.all(sql, (self.space_row(space)?, goal.to_string()), |row| {
            Ok(CheckInRow {
                key: row.get(0)?,
                state: row.get(1)?,
                value: row.get(2)?,
                added: row.get::<_, Option<i64>>(3)?.unwrap_or(0),
                note: row.get(4)?,
            })
        })
    }

    /// The values of a series with their days, by day.
    ///
    /// # Errors
    /// [`StoreError::WrongKind`] for a kind whose rows do not follow from its fields; [`StoreError`].
    pub fn series(&self, space: &SpaceId, of: &SeriesRef<'_>) -> Result<Vec<(String, f64)>, StoreError> {
        let main = of.kind.table().ok_or(StoreError::WrongKind)?.name;
        let family = of.family.and_then(|name| of.kind.family(name)).and_then(|family| registry::table(family.table));
        // Names come from the registry, never from what was typed.
        let day = of.day.name();
        let value = of.value.map_or("1.0".to_owned(), |field: &Field| format!("CAST(e.\"{}\" AS REAL)", field.name()));
        let (from, living) = match family {
            None => (format!("{main} e JOIN {main} m ON m.doc = e.doc"), ""),
            Some(table) => (format!("{} e JOIN {main} m ON m.doc = e.doc", table.name), " AND e.deleted_ms IS NULL"),
        };
        let mut values = vec![Value::Int(self.space_row(space)?)];
        let mut one = "";
        if let Some(id) = of.id {
            values.push(Value::Text(id.to_owned()));
            one = " AND lower(hex(d.doc)) = ?2";
        }
        let sql = format!(
            "SELECT substr(e.\"{day}\", 1, 10), {value} FROM {from} JOIN document d ON d.id = e.doc
             WHERE d.space = ?1 AND m.trashed_ms IS NULL{living}{one} AND e.\"{day}\" IS NOT NULL
             ORDER BY e.\"{day}\" DESC, d.doc DESC, e.key DESC LIMIT {VALUES_MAX}"
        );
        let rows = self.all(&sql, params_from_iter(values), |row| Ok((row.get(0)?, row.get::<_, Option<f64>>(1)?)))?;
        Ok(rows.into_iter().rev().filter_map(|(day, value)| Some((day, value?))).collect())
    }
}
