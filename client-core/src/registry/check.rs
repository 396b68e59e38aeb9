//! What a value must be like to be written: by type, then by what the field asks beyond it.

use automerge::ScalarValue;
use jiff::civil::{Date, DateTime};
use unicode_normalization::is_nfc;

use super::{Field, FieldType, Validation};
use crate::document::DocumentError;
use crate::modules::attachment::PartList;
use crate::own_devices::CLAIM_BYTES;

/// Largest amount of money in minor units: sums of thousands of them are exact in an `i64`, and JSON readers keep it.
pub(super) const MINOR_MAX: i64 = 9_000_000_000_000_000;
const WRONG_TYPE: &str = "has the wrong type";

impl Field {
    /// Checks a value that a local edit wants to write.
    ///
    /// # Errors
    /// [`DocumentError::InvalidValue`].
    pub fn check(&self, value: &ScalarValue) -> Result<(), DocumentError> {
        match self.broken_rule(value) {
            None => Ok(()),
            Some(rule) => Err(DocumentError::InvalidValue { field: self.id, rule }),
        }
    }

    /// What a value breaks, in words.
    pub(crate) fn broken_rule(&self, value: &ScalarValue) -> Option<&'static str> {
        if matches!(self.validation, Validation::Frozen) {
            return Some("never changes");
        }
        match value {
            ScalarValue::Null => (!self.nullable).then_some(WRONG_TYPE),
            ScalarValue::Str(text) => self.broken_by_text(text),
            ScalarValue::Bytes(bytes) => match self.field_type {
                FieldType::Hash if bytes.len() == 32 => None,
                FieldType::Parts if PartList::decode(bytes).is_some() => None,
                FieldType::Claim if bytes.len() == CLAIM_BYTES => None,
                _ => Some(WRONG_TYPE),
            },
            ScalarValue::Boolean(_) => (self.field_type != FieldType::Bool).then_some(WRONG_TYPE),
            ScalarValue::Timestamp(_) => (self.field_type != FieldType::TimeMs).then_some(WRONG_TYPE),
            ScalarValue::Int(number) => self.broken_by_number(*number),
            _ => Some(WRONG_TYPE),
        }
    }

    fn broken_by_number(&self, number: i64) -> Option<&'static str> {
        match (self.field_type, self.validation) {
            (FieldType::Minor(_), _) if number.unsigned_abs() > MINOR_MAX.unsigned_abs() => {
                Some("is more money than can be counted exactly")
            }
            (FieldType::Int | FieldType::Measure | FieldType::Minor(_), Validation::Range(min, max))
                if !(min..=max).contains(&number) =>
            {
                Some("is out of range")
            }
            (FieldType::Int | FieldType::Measure | FieldType::Minor(_) | FieldType::Counter, _) => None,
            _ => Some(WRONG_TYPE),
        }
    }

    fn broken_by_text(&self, text: &str) -> Option<&'static str> {
        let by_type = match self.field_type {
            FieldType::Line | FieldType::Raw | FieldType::Json | FieldType::Rank => None,
            FieldType::Id if is_id(text) => None,
            FieldType::Id => Some(WRONG_TYPE),
            FieldType::Date => (!is_date(text)).then_some("must be a day, like 2026-03-08"),
            FieldType::Floating => (!is_wall_time(text)).then_some("must be a wall time, like 2026-03-08T07:00"),
            FieldType::Zoned => {
                (!is_zoned(text)).then_some("must be a time in a zone, like 2026-03-08T07:00[Europe/Lisbon]")
            }
            FieldType::When => (!(is_date(text) || is_wall_time(text) || is_zoned(text)))
                .then_some("must be a day or a time, like 2026-03-08, 2026-03-08T07:00 or …[Europe/Lisbon]"),
            FieldType::Currency => (!is_currency(text)).then_some("must be a currency, like EUR"),
            FieldType::Quantity => (!is_decimal(text)).then_some("must be a decimal in its shortest form, like 1.5"),
            FieldType::Rate => (!is_rate(text)).then_some("must be a decimal from 0 to 10, like 0.035"),
            FieldType::Choice(values) => (!values.contains(&text) && !is_extension(text))
                .then_some("is not one of the known values, nor one that begins with x-"),
            FieldType::Ref => (!is_reference(text)).then_some("must be a reference, like lifeos:note/<id>"),
            FieldType::DetId => (!is_derived_id(text)).then_some("must be a derived id"),
            _ => Some(WRONG_TYPE),
        };
        by_type.or_else(|| self.broken_by_form(text))
    }

    fn broken_by_form(&self, text: &str) -> Option<&'static str> {
        match self.validation {
            Validation::Line { empty, .. } if text.is_empty() => (!empty).then_some("must not be empty"),
            Validation::Line { chars_max, .. } if text.chars().nth(chars_max).is_some() => Some("is too long"),
            Validation::Line { .. } if text.trim() != text || !is_nfc(text) => Some("must be trimmed and in NFC"),
            Validation::Line { .. } if text.contains(['\n', '\r', '\0']) => Some("must be one line"),
            Validation::Bytes(max) if text.len() > max => Some("is too large; shorten it"),
            Validation::OneOf(values) if !values.contains(&text) => Some("is not one of the known values"),
            Validation::Text(holds, rule) if !holds(text) => Some(rule),
            _ => None,
        }
    }
}

/// 32 lower-case hex characters.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// What may name an entry of a family: 1 to 80 visible ASCII characters without those that keys are built of.
pub(crate) fn is_row_id(text: &str) -> bool {
    (1..=80).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() && !b":/<>@".contains(&byte))
}

pub(super) fn is_date(text: &str) -> bool {
    text.parse::<Date>().is_ok_and(|date| date.to_string() == text && date.year() > 0)
}

/// Wall time to the minute, or to the second where that is not zero.
pub(super) fn is_wall_time(text: &str) -> bool {
    let Ok(time) = text.parse::<DateTime>() else { return false };
    time.year() > 0 && time.subsec_nanosecond() == 0 && wall_time(time) == text
}

/// The one way a wall time is written.
pub(super) fn wall_time(time: DateTime) -> String {
    let seconds = if time.second() == 0 { "%Y-%m-%dT%H:%M" } else { "%Y-%m-%dT%H:%M:%S" };
    time.strftime(seconds).to_string()
}

/// Wall time and the name of a zone, known or not: laws and lists of zones change.
pub(super) fn is_zoned(text: &str) -> bool {
    let Some((time, zone)) = text.strip_suffix(']').and_then(|text| text.split_once('[')) else { return false };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-/".contains(&byte);
    is_wall_time(time) && (1..=64).contains(&zone.len()) && zone.bytes().all(is_name)
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// `-?digits[.digits]` without zeros that mean nothing: equal numbers are equal bytes.
pub(super) fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(whole, rest)| (whole, Some(rest)));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let short = all_digits(whole) && whole.len() <= 38 && (whole == "0" || !whole.starts_with('0'));
    let exact = fraction.is_none_or(|rest| all_digits(rest) && rest.len() <= 18 && !rest.ends_with('0'));
    short && exact && text != "-0"
}

fn is_rate(text: &str) -> bool {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    is_decimal(text) && !text.starts_with('-') && (text == "10" || whole.len() == 1)
}

fn is_extension(text: &str) -> bool {
    let rest = text.strip_prefix("x-").unwrap_or_default();
    !rest.is_empty() && rest.len() <= 64 && rest.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `lifeos:<kind>/<id>`, where the id may go on with a place inside.
fn is_reference(text: &str) -> bool {
    let parts = text.strip_prefix("lifeos:").and_then(|rest| rest.split_once('/'));
    let graphic = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    text.len() <= 200 && parts.is_some_and(|(kind, id)| graphic(kind) && graphic(id))
}

fn is_derived_id(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_lowercase() || (b'2'..=b'7').contains(&byte))
}
