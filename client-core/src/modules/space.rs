//! Settings of a space: what its devices and members are called.

pub mod declared;

use automerge::AutoCommit;
use lifeos_sync_protocol::ids::{MemberId, SignPk, SpaceId};

use super::register::{line, put, text, with_prefix};
use crate::document::{Document, DocumentError};
use crate::projection::{Row, Value};
use crate::registry::{DEVICE_NAME, MEMBER_NAME, SPACE_GENESIS};

/// Names a device.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn set_device_name(doc: &mut AutoCommit, device: &SignPk, name: &str) -> Result<(), DocumentError> {
    put(doc, SPACE_GENESIS, &format!("device/{device}:name"), line(name))
}

/// Names a member.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn set_member_name(doc: &mut AutoCommit, member: &MemberId, name: &str) -> Result<(), DocumentError> {
    put(doc, SPACE_GENESIS, &format!("member/{member}:name"), line(name))
}

/// Names the space.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn set_space_name(doc: &mut AutoCommit, name: &str) -> Result<(), DocumentError> {
    put(doc, SPACE_GENESIS, "name", line(name))
}

/// What the space is called.
#[must_use]
pub fn space_name(doc: &AutoCommit) -> Option<String> {
    text(doc, "name")
}

/// Writes down in a person's home space that there is another one: what its keys are derived from, and where it is.
/// What else the home says of it, and reading it: [`super::noted`].
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn note_space(
    doc: &mut AutoCommit,
    space: &SpaceId,
    genesis_random: &[u8; 32],
    relay: Option<&str>,
) -> Result<(), DocumentError> {
    let genesis: String = genesis_random.iter().map(|byte| format!("{byte:02x}")).collect();
    put(doc, SPACE_GENESIS, &format!("space/{space}:genesis"), genesis)?;
    match relay {
        Some(relay) => put(doc, SPACE_GENESIS, &format!("space/{space}:relay"), line(relay)),
        None => Ok(()),
    }
}

/// What a device is called.
#[must_use]
pub fn device_name(doc: &AutoCommit, device: &SignPk) -> Option<String> {
    text(doc, &format!("device/{device}:name"))
}

/// Rows of `device_name` and `member_name`.
#[must_use]
pub fn project(document: &Document) -> Vec<Row> {
    let mut rows = names(document, "device/", DEVICE_NAME.name);
    rows.extend(names(document, "member/", MEMBER_NAME.name));
    rows
}

fn names(document: &Document, prefix: &'static str, table: &'static str) -> Vec<Row> {
    let named = with_prefix(document.read(), prefix).filter_map(|(key, value)| {
        let id = key.strip_suffix(":name")?.to_owned();
        Some(Row { table, key: id, values: vec![Value::Text(value.into_string().ok()?)] })
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::{DocId, StreamId};

    use super::*;

    #[test]
    fn names_of_devices_and_members_become_rows() {
        let mut document = Document::new(DocId([1; 16]), SPACE_GENESIS, StreamId([1; 16])).unwrap();
        document.edit(1, |doc| set_device_name(doc, &SignPk([9; 32]), " My  laptop ")).unwrap();
        document.edit(2, |doc| set_member_name(doc, &MemberId([8; 16]), "Ana")).unwrap();
        assert_eq!(device_name(document.read(), &SignPk([9; 32])).unwrap(), "My laptop");
        let rows = project(&document);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].table, rows[0].key.as_str()), ("device_name", "09".repeat(32).as_str()));
        assert_eq!((rows[1].table, rows[1].values.clone()), ("member_name", vec![Value::Text("Ana".into())]));
    }
}
