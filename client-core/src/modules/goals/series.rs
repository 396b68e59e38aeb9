//! Where the values of a goal come from: its check-ins, or fields of any kind whose rows follow from them.
//!
//! ```text
//! manual                       check-ins
//! contact/meeting@on           how many meetings a day
//! learning/log.minutes@on      minutes a day, by the day of each entry of the log
//! learning:<id>/log.minutes@on the same of one entity
//! kind[:id][/family][.value]@day
//! ```

use crate::registry::{Crdt, Field, FieldType, Kind, is_id, kind_named};

/// Fields that give a value for days.
#[derive(Debug, Clone, Copy)]
pub struct SeriesRef<'t> {
    /// The kind.
    pub kind: &'static Kind,
    /// The family whose entries are looked at; `None`: the entities themselves.
    pub family: Option<&'static str>,
    /// The one entity that is looked at; `None`: all.
    pub id: Option<&'t str>,
    /// The field that holds the value; `None`: each counts as one.
    pub value: Option<&'static Field>,
    /// The field that holds the day.
    pub day: &'static Field,
}

/// Check-ins are where the values come from.
pub const MANUAL: &str = "manual";

/// What a metric means.
#[derive(Debug, Clone, Copy)]
pub enum Metric<'t> {
    /// What people check in.
    Manual,
    /// Fields of a kind.
    Series(SeriesRef<'t>),
}

impl<'t> Metric<'t> {
    /// Reads a metric; `None` where it names what is not declared.
    #[must_use]
    pub fn parse(text: &'t str) -> Option<Self> {
        if text == MANUAL {
            return Some(Self::Manual);
        }
        let (rest, day) = text.rsplit_once('@')?;
        let (rest, value) = rest.rsplit_once('.').map_or((rest, None), |(rest, value)| (rest, Some(value)));
        let (rest, family) = match rest.rsplit_once('/') {
            Some((rest, family)) => (rest, Some(family)),
            None => (rest, None),
        };
        let (kind, id) = rest.split_once(':').map_or((rest, None), |(kind, id)| (kind, Some(id)));
        if id.is_some_and(|id| !is_id(id)) {
            return None;
        }
        let kind = kind_named(kind).filter(|kind| kind.table().is_some())?;
        let family = match family {
            Some(name) => Some(kind.family(name)?.name),
            None => None,
        };
        let field = |name: &str| kind.fields_of(family).find(|field| field.name() == name);
        let day = field(day).filter(|field| matches!(field.field_type, FieldType::Date | FieldType::When))?;
        let value = match value {
            Some(name) => Some(field(name).filter(|field| is_number(field))?),
            None => None,
        };
        Some(Self::Series(SeriesRef { kind, family, id, value, day }))
    }
}

fn is_number(field: &Field) -> bool {
    let is_number = matches!(
        field.field_type,
        FieldType::Int | FieldType::Measure | FieldType::Minor(_) | FieldType::Quantity | FieldType::Rate
    );
    is_number || field.crdt == Crdt::Counter
}
