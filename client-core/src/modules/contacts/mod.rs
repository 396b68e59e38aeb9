//! Contacts: people and organisations, how to reach them, and when they were last met.
//!
//! The smallest module there is: everything follows from what it declares, and its one operation of its own is built of
//! those that every entity has.

pub mod declared;

use automerge::AutoCommit;
use jiff::civil::Date;

use super::entity;
use crate::document::DocumentError;
use declared::CONTACT;

/// Writes down a meeting: an entry of the log, and the day of the last one where this is later.
///
/// # Errors
/// [`DocumentError::InvalidValue`], [`DocumentError::NeedsUpdate`].
pub fn met(doc: &mut AutoCommit, id: &str, on: Date, note: &str) -> Result<(), DocumentError> {
    let on = on.to_string();
    entity::put_row(doc, &CONTACT, "meeting", id, &[("on", on.as_str().into()), ("note", note.into())])?;
    let last = CONTACT.field_named("met").and_then(|field| entity::value(doc, field));
    let is_later = last.and_then(|last| last.into_string().ok()).is_none_or(|last| last < on);
    if is_later { entity::set(doc, &CONTACT, "met", on) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::{DocId, StreamId};

    use super::*;
    use crate::document::Document;

    #[test]
    fn a_meeting_is_an_entry_of_the_log_and_moves_the_last_day_forward_only() {
        let mut document = Document::new(DocId([1; 16]), CONTACT.genesis(), StreamId([1; 16])).unwrap();
        document.edit(1, |doc| entity::create(doc, &CONTACT, &[("name", "Ana".into())], 1)).unwrap();
        for (id, day) in [("a", "2026-03-08"), ("b", "2026-01-02")] {
            document.edit(2, |doc| met(doc, id, day.parse().unwrap(), "tea")).unwrap();
        }
        let field = CONTACT.field_named("met").unwrap();
        assert_eq!(entity::value(document.read(), field), Some("2026-03-08".into()));
        assert_eq!(entity::entries(document.read(), CONTACT.family("meeting").unwrap()).len(), 2);
    }
}
