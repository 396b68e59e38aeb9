//! What devices and members are called, and on whose word.
//!
//! The document of a space's names can be written by everybody who may write there, so a name from it says little
//! about who is meant. A name in the record that let a device or a person in was seen by who signed it: it goes before,
//! and it alone, or an id, names somebody who is to be removed or given another role. In the home space everybody who
//! writes is this person, and every name will do.

use std::collections::BTreeMap;
use std::fmt::Display;

use lifeos_sync_protocol::ids::{MemberId, SignPk};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Record};

use super::home::space_doc;
use super::{Client, ClientError};
use crate::keys::Keyring;
use crate::names::shown;
use crate::projection::Value;
use crate::records::{Named, in_force, open_name};
use crate::registry::{DEVICE_NAME, MEMBER_NAME};

/// Letters of an id that have to be given at least.
pub(super) const PREFIX_MIN: usize = 4;

/// Source of a name that who let somebody in stands for.
pub(super) const APPROVED: &str = "approved";

/// A name and on whose word it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) is_approved: bool,
}

/// What devices and members are called.
#[derive(Debug, Default)]
pub(super) struct Names {
    devices: BTreeMap<SignPk, Name>,
    members: BTreeMap<MemberId, Name>,
    /// All who write here are one person.
    is_home: bool,
}

impl Names {
    /// A device's name; without one, the beginning of its key.
    pub(super) fn device(&self, device: &SignPk) -> String {
        self.devices.get(device).map_or_else(|| device.to_string()[..8].to_owned(), |name| name.text.clone())
    }

    /// A member's name; without one, nothing.
    pub(super) fn member(&self, member: &MemberId) -> String {
        self.members.get(member).map(|name| name.text.clone()).unwrap_or_default()
    }

    /// `approved`, `own`, or `none` without a name.
    pub(super) fn source(&self, member: &MemberId) -> &'static str {
        self.members.get(member).map_or("none", |name| if name.is_approved { APPROVED } else { "own" })
    }

    /// The device that an id or the beginning of one means, or, among this person's `own`, a name that is vouched for.
    /// What another's device is called says that other person alone, and several of one name are told apart by nothing.
    pub(super) fn find_device(&self, text: &str, own: &[SignPk], others: &[SignPk]) -> Result<SignPk, ClientError> {
        let all = [own, others].concat();
        if let Some(found) = by_id(text, &all, "device")? {
            return Ok(found);
        }
        match called(text, &all, &self.devices).as_slice() {
            [one] if own.contains(one) && self.is_vouched(self.devices.get(one)) => Ok(*one),
            [one] if others.contains(one) => Err(ClientError::invalid(format!(
                "that is a device of somebody else, who chose its name: give the beginning of the id, {}",
                ids(&[*one])
            ))),
            found => Err(unclear(found, "device")),
        }
    }

    /// The member that an id, the beginning of one, or a name that is vouched for means.
    pub(super) fn find_member(&self, text: &str, among: &[MemberId]) -> Result<MemberId, ClientError> {
        if let Some(found) = by_id(text, among, "member")? {
            return Ok(found);
        }
        let named = called(text, among, &self.members);
        let vouched: Vec<_> = named.iter().filter(|id| self.is_vouched(self.members.get(id))).copied().collect();
        match vouched.as_slice() {
            [one] => Ok(*one),
            [] => Err(unclear(&named, "member")),
            several => Err(unclear(several, "member")),
        }
    }

    fn is_vouched(&self, name: Option<&Name>) -> bool {
        self.is_home || name.is_some_and(|name| name.is_approved)
    }

    /// Names from records that have effect, the last for each. The records of one device or person are few.
    fn approved(&mut self, records: &[Record], membership: &Membership, keyring: &Keyring) {
        let mut with_effect: Vec<_> = in_force(membership, records).collect();
        with_effect.sort_by_key(|record| record.order());
        let open = |named, enc_meta: &[u8]| {
            let text = open_name(&membership.space, named, enc_meta, keyring)?;
            Some(Name { text, is_approved: true })
        };
        for record in with_effect {
            match record.body() {
                Body::DeviceAdd { device, enc_meta, .. } => {
                    let name = open(Named::Device(&device.sign_pk), enc_meta);
                    self.devices.extend(name.map(|name| (device.sign_pk, name)));
                }
                Body::MemberAdd { member, enc_meta, .. } => {
                    let name = open(Named::Member(member), enc_meta);
                    self.members.extend(name.map(|name| (*member, name)));
                }
                _ => {}
            }
        }
    }
}

/// What an id or its beginning means: before any name, which somebody may have chosen to look like one.
fn by_id<K: Copy + Display>(text: &str, among: &[K], what: &str) -> Result<Option<K>, ClientError> {
    let prefix = text.trim().to_lowercase();
    let is_meant = |id: &&K| prefix.len() >= PREFIX_MIN && id.to_string().starts_with(&prefix);
    match among.iter().filter(is_meant).copied().collect::<Vec<_>>().as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => Err(ClientError::invalid(format!(
            "the ids of several {what}s begin so: give more of the id, {}",
            ids(several)
        ))),
    }
}

fn called<K: Copy + Ord>(text: &str, among: &[K], names: &BTreeMap<K, Name>) -> Vec<K> {
    let is_called = |id: &&K| names.get(id).is_some_and(|name| name.text == text.trim());
    among.iter().filter(is_called).copied().collect()
}

/// Why a name means nobody.
fn unclear<K: Display>(found: &[K], what: &str) -> ClientError {
    match found {
        [] => ClientError::not_found(format!("{what} with this name or id")),
        [_] => ClientError::invalid(format!(
            "a {what} calls itself so, and everybody who writes here can change that: give the beginning of the id, {}",
            ids(found)
        )),
        _ => {
            ClientError::invalid(format!("several {what}s are called so: give the beginning of the id, {}", ids(found)))
        }
    }
}

fn ids<K: Display>(found: &[K]) -> String {
    found.iter().map(|id| id.to_string()[..8].to_owned()).collect::<Vec<_>>().join(" or ")
}

/// A name as this person typed it.
pub(super) fn given(name: &str) -> Result<&str, ClientError> {
    crate::names::checked(name)
        .ok_or_else(|| ClientError::invalid("a name has 1 to 127 bytes, all of which can be seen"))
}

impl Client {
    /// What devices and members are called: as the records say that let them in, else as they say themselves.
    pub(super) fn names(&self) -> Result<Names, ClientError> {
        let records = self.shared.store().records(&self.space())?;
        self.names_by(&records)
    }

    /// The same where the space's records are at hand.
    pub(super) fn names_by(&self, records: &[Record]) -> Result<Names, ClientError> {
        let mut names = Names { is_home: self.is_home()?, ..Names::default() };
        let state = self.shared.state();
        names.approved(records, &state.membership, &state.keyring);
        for row in self.shared.reader().reads().rows(&self.space(), &space_doc(&self.space()))? {
            let Some(Value::Text(name)) = row.values.into_iter().next() else { continue };
            let name = Name { text: shown(&name), is_approved: false };
            if row.table == MEMBER_NAME.name
                && let Ok(member) = row.key.parse()
            {
                names.members.entry(member).or_insert(name);
            } else if row.table == DEVICE_NAME.name
                && let Ok(device) = row.key.parse()
            {
                names.devices.entry(device).or_insert(name);
            }
        }
        Ok(names)
    }

    /// This person's name in this space; nothing without one.
    pub(super) fn person_name(&self) -> Result<String, ClientError> {
        let state = self.shared.state();
        let member = state.membership.devices.get(&self.device()).map(|device| device.member);
        let names = self.names()?;
        Ok(member.map(|member| names.member(&member)).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEN: MemberId = MemberId([0xbe; 16]);
    const EVE: MemberId = MemberId([0xe1; 16]);

    fn names(ben: bool, eve: bool) -> Names {
        let name = |is_approved| Name { text: "Ben".into(), is_approved };
        Names { members: BTreeMap::from([(BEN, name(ben)), (EVE, name(eve))]), ..Names::default() }
    }

    #[test]
    fn a_name_that_somebody_gave_themselves_means_nobody() {
        let all = [BEN, EVE];
        assert_eq!(names(true, false).find_member("Ben", &all).unwrap(), BEN, "whatever Eve calls herself");
        let refused = names(false, false).find_member("Ben", &[EVE]).unwrap_err().to_string();
        assert!(refused.contains("e1e1e1e1") && !refused.contains("bebe"), "{refused}");
        let refused = names(true, true).find_member("Ben", &all).unwrap_err().to_string();
        assert!(refused.contains("e1e1e1e1") && refused.contains("bebebebe"), "{refused}");
        let home = Names { is_home: true, ..names(false, false) };
        assert_eq!(home.find_member("Ben", &[EVE]).unwrap(), EVE);
    }

    #[test]
    fn a_device_is_named_only_by_its_own_person_and_only_alone() {
        let (laptop, phone, eves) = (SignPk([0xa1; 32]), SignPk([0xa2; 32]), SignPk([0xe1; 32]));
        let name = |text: &str, is_approved| Name { text: text.into(), is_approved };
        let called = |of_phone: Name, of_eve: Name| Names {
            devices: BTreeMap::from([(laptop, name("laptop", true)), (phone, of_phone), (eves, of_eve)]),
            ..Names::default()
        };
        let own = [laptop, phone];
        let apart = called(name("phone", true), name("tablet", true));
        assert_eq!(apart.find_device("laptop", &own, &[eves]).unwrap(), laptop);
        let refused = |names: &Names, text: &str, wanted: &[&str]| {
            let error = names.find_device(text, &own, &[eves]).unwrap_err().to_string();
            assert!(wanted.iter().all(|id| error.contains(id)), "{error}");
        };
        refused(&apart, "tablet", &["e1e1e1e1"]);
        refused(&called(name("phone", true), name("laptop", true)), "laptop", &["a1a1a1a1", "e1e1e1e1"]);
        refused(&called(name("phone", true), name("laptop", false)), "laptop", &["a1a1a1a1", "e1e1e1e1"]);
        refused(&called(name("laptop", false), name("tablet", true)), "laptop", &["a1a1a1a1", "a2a2a2a2"]);
        refused(&called(name("phone", false), name("tablet", true)), "phone", &["a2a2a2a2"]);
        let like_an_id = called(name("phone", true), name("a1a1a1a1", true));
        assert_eq!(like_an_id.find_device("a1a1a1a1", &own, &[eves]).unwrap(), laptop, "an id goes before a name");
        assert_eq!(like_an_id.find_device("E1E1", &own, &[eves]).unwrap(), eves);
    }

    #[test]
    fn an_id_is_named_by_four_letters_or_more() {
        let all = [BEN, EVE];
        assert_eq!(names(false, false).find_member("E1E1", &all).unwrap(), EVE);
        assert!(matches!(names(false, false).find_member("e1e", &all), Err(ClientError::NotFound { .. })));
    }
}
