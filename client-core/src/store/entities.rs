//! Reading the rows of entities whose rows follow from their fields: lists by any column, one entity, its entries and
//! what merging left to be looked at. No document is loaded.

use std::fmt::Write as _;

use lifeos_sync_protocol::ids::{DocId, SpaceId};
use rusqlite::params_from_iter;

use super::watch::{Item, Key, Term};
use super::{Reads, StoreError, rows};
use crate::document::GenesisId;
use crate::projection::Value;
use crate::registry::{Column, ENTITY_MARK, Field, Kind, STANDARD, Table, is_decimal_text};

/// How a column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Equal; null is equal to null.
    Is,
    /// Not equal.
    IsNot,
    /// Smaller.
    Below,
    /// Smaller or equal.
    AtMost,
    /// Larger.
    Above,
    /// Larger or equal.
    AtLeast,
    /// Holds this text, upper and lower case of ASCII alike.
    Holds,
}

/// What an entity must be like.
#[derive(Debug, Clone, PartialEq)]
pub enum Where<'a> {
    /// A column of the main row: a field's name, or one of `STANDARD`.
    Column(&'a str, Compare, Value),
    /// An entry with this key in this family.
    Entry(&'a str, String),
}

/// Which entities to list.
#[derive(Debug, Clone, Default)]
pub struct EntityFilter<'a> {
    /// All of these hold.
    pub wheres: Vec<Where<'a>>,
    /// The trash instead of the living.
    pub trashed: bool,
    /// The column to order by, and whether the largest comes first [default: the newest first]. Who has no value comes
    /// last.
    pub order: Option<(&'a str, bool)>,
    /// At most.
    pub limit: u32,
    /// Skip the first.
    pub offset: u32,
}

/// An entity's main row.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityRow {
    /// The document.
    pub doc: DocId,
    /// Cells in the order of the table's columns.
    pub cells: Vec<Value>,
}

/// What merging left to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EntityMark {
    /// `invalid` or `conflict`.
    pub mark: String,
    /// Key in the document.
    pub at: String,
    /// Id of the field or rule.
    pub rule: String,
    /// The rule in words, or the values as a JSON array.
    pub detail: String,
}

impl Reads<'_> {
    /// Entities of a kind whose rows follow from its fields.
    ///
    /// # Errors
    /// [`StoreError::NoSuchColumn`] for a column or family that is not declared; [`StoreError::WrongKind`] for a kind
    /// whose rows do not follow from its fields.
    pub fn entities(
        &self,
        space: &SpaceId,
        kind: &Kind,
        filter: &EntityFilter<'_>,
    ) -> Result<Vec<EntityRow>, StoreError> {
        Ok(self.entity_items(space, kind, filter, None)?.into_iter().map(|item| item.row).collect())
    }

    /// The same with the place of each; or only the document with this row id, if it is one of them.
    ///
    /// # Errors
    /// As [`Self::entities`].
    pub fn entity_items(
        &self,
        space: &SpaceId,
        kind: &Kind,
        filter: &EntityFilter<'_>,
        only: Option<i64>,
    ) -> Result<Vec<Item<EntityRow>>, StoreError> {
        let table = kind.table().ok_or(StoreError::WrongKind)?;
        let (order, descends) = filter.order.unwrap_or(("updated_ms", true));
        // A plus keeps the index of the list by date out of lists that another index has in order.
        let living = if order == "updated_ms" { "e.trashed_ms" } else { "+e.trashed_ms" };
        let order = expression(kind, column(table, order)?);
        let mut values = vec![Value::Int(self.space_row(space)?)];
        let trashed = if filter.trashed { "IS NOT NULL" } else { "IS NULL" };
        // One document is found by itself, and by no index that lists are read in the order of.
        let entities = match only {
            Some(only) => {
                values.push(Value::Int(only));
                format!("(SELECT * FROM {} WHERE doc = ?2 LIMIT 1)", table.name)
            }
            None => table.name.to_owned(),
        };
        // From the entities to their documents: in the order of an index on them a first screen is their first rows.
        let mut sql = format!(
            "SELECT d.doc{}, e.doc, {order} FROM {entities} e CROSS JOIN document d ON d.id = e.doc
             WHERE d.space = ?1 AND {living} {trashed}",
            columns(table)
        );
        for condition in &filter.wheres {
            push_condition(&mut sql, &mut values, kind, table, condition)?;
        }
        let direction = if descends { "DESC" } else { "ASC" };
        values.extend([Value::Int(filter.limit.into()), Value::Int(filter.offset.into())]);
        let (limit, offset) = (values.len() - 1, values.len());
        let _ = write!(sql, " ORDER BY {order} {direction} NULLS LAST, d.doc LIMIT ?{limit} OFFSET ?{offset}");
        self.all(&sql, params_from_iter(values), |row| {
            let (found, behind) = (entity_row(row, table)?, table.columns.len() + 1);
            let ordered = Term { key: Key::read(row.get_ref(behind + 1)?), descends };
            let place = vec![ordered, Term { key: Some(Key::Blob(found.doc.0.to_vec())), descends: false }];
            Ok(Item { row_id: row.get(behind)?, doc: found.doc, place, row: found })
        })
    }

    /// One entity's main row, in the trash or not; `None` when there is none of this kind.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entity(&self, space: &SpaceId, kind: &Kind, doc: &DocId) -> Result<Option<EntityRow>, StoreError> {
        let table = kind.table().ok_or(StoreError::WrongKind)?;
        let sql = format!("{} WHERE d.space = ?1 AND d.doc = ?2", select(table));
        self.one(&sql, (self.space_row(space)?, doc.as_ref()), |row| entity_row(row, table))
    }

    /// The entries of a family of one document, by key: cells in the order of the table's columns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entries(
        &self,
        space: &SpaceId,
        table: &Table,
        doc: &DocId,
    ) -> Result<Vec<(String, Vec<Value>)>, StoreError> {
        let sql = format!(
            "SELECT e.key{} FROM {} e JOIN document d ON d.id = e.doc WHERE d.space = ?1 AND d.doc = ?2 ORDER BY e.key",
            columns(table),
            table.name
        );
        self.all(&sql, (self.space_row(space)?, doc.as_ref()), |row| Ok((row.get(0)?, cells(row, table)?)))
    }

    /// What merging left of one document that should be looked at.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entity_marks(&self, space: &SpaceId, doc: &DocId) -> Result<Vec<EntityMark>, StoreError> {
        let sql = format!(
            "SELECT e.mark, e.at, e.rule, e.detail FROM {} e JOIN document d ON d.id = e.doc
             WHERE d.space = ?1 AND d.doc = ?2 ORDER BY e.key",
            ENTITY_MARK.name
        );
        self.all(&sql, (self.space_row(space)?, doc.as_ref()), |row| {
            Ok(EntityMark { mark: row.get(0)?, at: row.get(1)?, rule: row.get(2)?, detail: row.get(3)? })
        })
    }

    /// How many living entities of a kind there are.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn entity_count(&self, space: &SpaceId, kind: &Kind) -> Result<u64, StoreError> {
        let table = kind.table().ok_or(StoreError::WrongKind)?;
        let sql = format!(
            "SELECT count(*) FROM {} e JOIN document d ON d.id = e.doc WHERE d.space = ?1 AND e.trashed_ms IS NULL",
            table.name
        );
        self.count(&sql, [self.space_row(space)?])
    }

    /// What kind of document it is; `None` when there is no such document.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn genesis_of(&self, space: &SpaceId, doc: &DocId) -> Result<Option<GenesisId>, StoreError> {
        let sql = "SELECT genesis FROM document WHERE space = ?1 AND doc = ?2";
        self.one(sql, (self.space_row(space)?, doc.as_ref()), |row| Ok(GenesisId(row.get(0)?)))
    }
}

pub(super) fn columns(table: &Table) -> String {
    table.columns.iter().map(|column| format!(", e.\"{}\"", column.name)).collect()
}

fn select(table: &Table) -> String {
    format!("SELECT d.doc{} FROM {} e JOIN document d ON d.id = e.doc", columns(table), table.name)
}

pub(super) fn cells(row: &rusqlite::Row<'_>, table: &Table) -> rusqlite::Result<Vec<Value>> {
    (1..=table.columns.len()).map(|place| Ok(rows::value(row.get_ref(place)?))).collect()
}

fn entity_row(row: &rusqlite::Row<'_>, table: &Table) -> rusqlite::Result<EntityRow> {
    Ok(EntityRow { doc: DocId(row.get(0)?), cells: cells(row, table)? })
}

/// The declared column: nothing that was typed ever becomes SQL.
fn column(table: &'static Table, name: &str) -> Result<&'static Column, StoreError> {
    table.columns.iter().find(|column| column.name == name).ok_or(StoreError::NoSuchColumn)
}

/// What a column is compared and ordered by: decimals as numbers.
fn expression(kind: &Kind, column: &Column) -> String {
    let is_standard = STANDARD.iter().any(|standard| standard.name == column.name);
    let decimal = |field: &Field| is_decimal_text(field.field_type);
    if !is_standard && kind.field_named(column.name).is_some_and(decimal) {
        format!("CAST(e.\"{}\" AS NUMERIC)", column.name)
    } else {
        format!("e.\"{}\"", column.name)
    }
}

fn push_condition(
    sql: &mut String,
    values: &mut Vec<Value>,
    kind: &Kind,
    table: &'static Table,
    condition: &Where<'_>,
) -> Result<(), StoreError> {
    let place = values.len() + 1;
    match condition {
        Where::Entry(family, key) => {
            let family = kind.family(family).ok_or(StoreError::NoSuchColumn)?.table;
            let _ = write!(
                sql,
                " AND EXISTS (SELECT 1 FROM {family} f WHERE f.doc = e.doc AND f.key = ?{place} AND f.deleted_ms IS NULL)"
            );
            values.push(Value::Text(key.clone()));
        }
        Where::Column(name, compare, value) => {
            let left = expression(kind, column(table, name)?);
            let right =
                if left.starts_with("CAST") { format!("CAST(?{place} AS NUMERIC)") } else { format!("?{place}") };
            let _ = match compare {
                Compare::Is => write!(sql, " AND {left} IS {right}"),
                Compare::IsNot => write!(sql, " AND {left} IS NOT {right}"),
                Compare::Below => write!(sql, " AND {left} < {right}"),
                Compare::AtMost => write!(sql, " AND {left} <= {right}"),
                Compare::Above => write!(sql, " AND {left} > {right}"),
                Compare::AtLeast => write!(sql, " AND {left} >= {right}"),
                Compare::Holds => write!(sql, " AND instr(lower({left}), lower({right})) > 0"),
            };
            values.push(value.clone());
        }
    }
    Ok(())
}
