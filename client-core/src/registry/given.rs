//! Values as people and programs give and see them: JSON on one side, what stands in a document on the other.

use automerge::ScalarValue;
use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::Value;

use super::{Field, FieldType, check};
use crate::document::DocumentError;
use crate::modules::register::line;

impl Field {
    /// Reads a value from JSON and checks it: text, number or boolean as the type asks; null takes the value away. Lines
    /// are trimmed, times may carry seconds of zero.
    ///
    /// # Errors
    /// [`DocumentError::InvalidValue`].
    pub fn read(&self, given: &Value) -> Result<ScalarValue, DocumentError> {
        let value = match (given, self.field_type) {
            (Value::Null, _) => ScalarValue::Null,
            (Value::Bool(value), FieldType::Bool) => ScalarValue::Boolean(*value),
            (Value::Number(number), FieldType::TimeMs) => ScalarValue::Timestamp(number.as_i64().unwrap_or(i64::MIN)),
            (Value::Number(number), FieldType::Quantity | FieldType::Rate) => number.to_string().into(),
            (Value::Number(number), _) => number.as_i64().map_or(ScalarValue::F64(f64::NAN), ScalarValue::Int),
            (Value::String(text), FieldType::TimeMs) => {
                instant(text).map_or_else(|| text.into(), ScalarValue::Timestamp)
            }
            (Value::String(text), FieldType::Line | FieldType::Choice(_)) => line(text).into(),
            (Value::String(text), FieldType::Floating | FieldType::Zoned | FieldType::When) => shortest(text).into(),
            (Value::String(text), FieldType::Hash) => bytes(text).map_or_else(|| text.into(), ScalarValue::Bytes),
            (Value::String(text), _) => text.as_str().into(),
            (other, FieldType::Json) => other.to_string().into(),
            _ => ScalarValue::Unknown { type_code: 0, bytes: Vec::new() },
        };
        self.check(&value).map(|()| value)
    }

    /// Reads a value as it is typed: what stands for a number or for yes and no is told by the field's type.
    ///
    /// # Errors
    /// [`DocumentError::InvalidValue`].
    pub fn read_typed(&self, typed: &str) -> Result<ScalarValue, DocumentError> {
        self.read(&self.typed(typed))
    }

    /// What is typed as JSON of the field's type, where it reads as that.
    #[must_use]
    pub fn typed(&self, typed: &str) -> Value {
        let text = || Value::String(typed.to_owned());
        match self.field_type {
            FieldType::Bool => match typed.trim().to_ascii_lowercase().as_str() {
                "yes" | "true" | "1" => Value::Bool(true),
                "no" | "false" | "0" => Value::Bool(false),
                _ => text(),
            },
            FieldType::Int | FieldType::Minor(_) | FieldType::Measure | FieldType::Counter | FieldType::TimeMs => {
                typed.trim().parse::<i64>().map_or_else(|_| text(), Value::from)
            }
            FieldType::Json => serde_json::from_str(typed).unwrap_or_else(|_| text()),
            _ => text(),
        }
    }

    /// A value as JSON.
    #[must_use]
    pub fn show(&self, value: &ScalarValue) -> Value {
        match value {
            ScalarValue::Null => Value::Null,
            ScalarValue::Boolean(value) => Value::Bool(*value),
            ScalarValue::Str(text) if self.field_type == FieldType::Json => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_string()))
            }
            ScalarValue::Str(text) => Value::String(text.to_string()),
            ScalarValue::Bytes(bytes) => Value::String(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
            other => other.as_i64().map_or(Value::Null, Value::from),
        }
    }

    /// A cell of the field's column as JSON.
    #[must_use]
    pub fn show_cell(&self, cell: &crate::projection::Value) -> Value {
        use crate::projection::Value as Cell;
        match cell {
            Cell::Null => Value::Null,
            Cell::Int(value) if self.field_type == FieldType::Bool => Value::Bool(*value != 0),
            Cell::Int(value) => Value::from(*value),
            Cell::Text(text) => self.show(&ScalarValue::Str(text.as_str().into())),
            Cell::Blob(bytes) => self.show(&ScalarValue::Bytes(bytes.clone())),
        }
    }
}

/// An instant in RFC 3339, in ms.
fn instant(text: &str) -> Option<i64> {
    text.trim().parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// Wall time in the one way it is written; anything else as it is.
fn shortest(text: &str) -> String {
    let (time, zone) = text.split_once('[').map_or((text, ""), |(time, _)| (time, &text[time.len()..]));
    match time.parse::<DateTime>() {
        Ok(parsed) if time.contains('T') => format!("{}{zone}", check::wall_time(parsed)),
        _ => text.to_owned(),
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
    let (pairs, []) = digits.as_deref()?.as_chunks::<2>() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
