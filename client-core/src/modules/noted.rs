//! What a person's home says of their other spaces: where each is, what its keys are made from, who the person is there,
//! which key each device has there, and which recovery key covers it.
//!
//! Every own device writes here and nobody else, but what one of them wrote is looked at like anything from outside: what
//! does not read is left out, and there is a limit. Nothing here is proof: a space's own records are.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use automerge::{AutoCommit, ROOT, ReadDoc, ScalarValue};
use lifeos_sync_protocol::ids::{MemberId, SignPk, SpaceId};

use super::register::{as_text, line, put, scalar, with_prefix};
use crate::document::DocumentError;
use crate::own_devices::{CLAIM_BYTES, check_claim};
use crate::registry::SPACE_GENESIS;

/// Spaces that a home may name; further ones are not looked at.
pub const SPACES_NOTED_MAX: usize = 256;

/// A space that a home names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedSpace {
    /// What the keys in it are derived from.
    pub genesis_random: [u8; 32],
    /// Its relay's address as it was written down; the home's relay without one.
    pub relay: Option<String>,
    /// Who the person is there.
    pub member: Option<MemberId>,
}

/// The recovery key of a space, and the one of the home that comes from the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaperKeys {
    /// In the space.
    pub space: SignPk,
    /// At home.
    pub home: SignPk,
}

/// The spaces that a home names, ascending. Of more than may be looked at, those that most devices claim for which
/// `counts` says so: a device in wrong hands may name as many as it likes.
#[must_use]
pub fn noted_spaces(doc: &AutoCommit, counts: &dyn Fn(&SignPk) -> bool) -> BTreeMap<SpaceId, NotedSpace> {
    let read = |(space, text): (SpaceId, String)| Some((space, bytes_32(&text)?));
    let mut named: Vec<(SpaceId, [u8; 32])> = registers(doc, ":genesis").filter_map(read).collect();
    if named.len() > SPACES_NOTED_MAX {
        named.sort_by_cached_key(|(space, random)| (Reverse(claimants(doc, space, random, counts)), *space));
        named.truncate(SPACES_NOTED_MAX);
    }
    named.into_iter().filter_map(|(space, _)| Some((space, noted_space(doc, &space)?))).collect()
}

/// How many devices that count claim a space.
fn claimants(doc: &AutoCommit, space: &SpaceId, random: &[u8; 32], counts: &dyn Fn(&SignPk) -> bool) -> usize {
    let good = claims(doc, space)
        .into_iter()
        .filter(|(device, claim)| counts(device) && check_claim(space, random, device, claim).is_ok());
    good.map(|(device, _)| device).collect::<BTreeSet<SignPk>>().len()
}

/// What the home says of one space.
#[must_use]
pub fn noted_space(doc: &AutoCommit, space: &SpaceId) -> Option<NotedSpace> {
    let read = |what: &str| scalar(doc, &format!("space/{space}:{what}")).and_then(|value| value.into_string().ok());
    Some(NotedSpace {
        genesis_random: bytes_32(&read("genesis")?)?,
        relay: read("relay"),
        member: read("member").and_then(|text| text.parse().ok()),
    })
}

/// Writes down where a space is from now on.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn note_relay(doc: &mut AutoCommit, space: &SpaceId, relay: &str) -> Result<(), DocumentError> {
    put(doc, SPACE_GENESIS, &format!("space/{space}:relay"), line(relay))
}

/// Writes down who the person is in a space.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn note_member(doc: &mut AutoCommit, space: &SpaceId, member: &MemberId) -> Result<(), DocumentError> {
    put(doc, SPACE_GENESIS, &format!("space/{space}:member"), member.to_string())
}

/// Writes a device's claim in another space ([`crate::own_devices`]) into a person's home.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn set_claim(doc: &mut AutoCommit, space: &SpaceId, device: &SignPk, claim: &[u8]) -> Result<(), DocumentError> {
    put(doc, SPACE_GENESIS, &claim_key(space, device), claim.to_vec())
}

/// What stands as the claim of one device in another space, whatever it is.
#[must_use]
pub fn claim_of(doc: &AutoCommit, space: &SpaceId, device: &SignPk) -> Option<Vec<u8>> {
    scalar(doc, &claim_key(space, device)).and_then(|value| value.into_bytes().ok())
}

/// What stands as claims in another space, by the device at home; of a device whose claim was written at once in several
/// ways, every one. Only the length was looked at.
#[must_use]
pub fn claims(doc: &AutoCommit, space: &SpaceId) -> Vec<(SignPk, Vec<u8>)> {
    let prefix = format!("claim/{space}/");
    let devices: Vec<SignPk> = with_prefix(doc, &prefix).filter_map(|(key, _)| key.parse().ok()).collect();
    let of_device = |device: SignPk| {
        let written = doc.get_all(ROOT, claim_key(space, &device)).unwrap_or_default();
        let long_enough = written.into_iter().filter_map(|(value, _)| match value.as_scalar() {
            Some(ScalarValue::Bytes(bytes)) if bytes.len() == CLAIM_BYTES => Some(bytes.clone()),
            _ => None,
        });
        long_enough.map(move |bytes| (device, bytes)).collect::<Vec<_>>()
    };
    devices.into_iter().flat_map(of_device).collect()
}

fn claim_key(space: &SpaceId, device: &SignPk) -> String {
    format!("claim/{space}/{device}")
}

/// Writes down which recovery key covers a space.
///
/// # Errors
/// [`DocumentError::InvalidValue`].
pub fn note_paper_keys(doc: &mut AutoCommit, space: &SpaceId, keys: &PaperKeys) -> Result<(), DocumentError> {
    put(doc, SPACE_GENESIS, &format!("space/{space}:paper"), format!("{}{}", keys.space, keys.home))
}

/// The recovery keys that were written down, by space.
#[must_use]
pub fn paper_keys(doc: &AutoCommit) -> BTreeMap<SpaceId, PaperKeys> {
    let read = |(space, text): (SpaceId, String)| {
        let (own, home) = text.split_at_checked(2 * SignPk::BYTES)?;
        Some((space, PaperKeys { space: own.parse().ok()?, home: home.parse().ok()? }))
    };
    registers(doc, ":paper").filter_map(read).collect()
}

/// Text registers `space/<id><suffix>`.
fn registers<'d>(doc: &'d AutoCommit, suffix: &'d str) -> impl Iterator<Item = (SpaceId, String)> + 'd {
    with_prefix(doc, "space/").filter_map(move |(key, value)| {
        let space = key.strip_suffix(suffix)?.parse().ok()?;
        Some((space, as_text(&value)?.to_owned()))
    })
}

/// 64 hex characters; an id of a space is read the same way.
fn bytes_32(text: &str) -> Option<[u8; 32]> {
    text.parse::<SpaceId>().ok().map(|bytes| bytes.0)
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use lifeos_sync_protocol::ids::{DocId, StreamId};

    use super::*;
    use crate::document::Document;
    use crate::keys::{DeviceKeys, DeviceRoot};
    use crate::modules::space::note_space;
    use crate::own_devices::{Place, claim};

    fn document(edit: impl FnOnce(&mut AutoCommit)) -> Document {
        let mut document = Document::new(DocId([1; 16]), SPACE_GENESIS, StreamId([1; 16])).unwrap();
        document
            .edit(1, |doc| {
                edit(doc);
                Ok::<(), DocumentError>(())
            })
            .unwrap();
        document
    }

    #[test]
    fn what_was_written_down_of_a_space_is_read_back() {
        let (space, keys) = (SpaceId([3; 32]), PaperKeys { space: SignPk([4; 32]), home: SignPk([5; 32]) });
        let home = document(|doc| {
            note_space(doc, &space, &[9; 32], Some("ws://127.0.0.1:7700")).unwrap();
            note_space(doc, &SpaceId([2; 32]), &[8; 32], None).unwrap();
            note_paper_keys(doc, &space, &keys).unwrap();
            note_relay(doc, &space, "wss://relay.example").unwrap();
            note_member(doc, &space, &MemberId([7; 16])).unwrap();
        });
        let noted = noted_spaces(home.read(), &|_| true);
        assert_eq!(noted.keys().copied().collect::<Vec<_>>(), [SpaceId([2; 32]), space]);
        assert_eq!(
            (noted[&space].genesis_random, noted[&space].relay.as_deref()),
            ([9; 32], Some("wss://relay.example"))
        );
        assert_eq!((noted[&space].member, noted[&SpaceId([2; 32])].member), (Some(MemberId([7; 16])), None));
        assert_eq!(noted[&SpaceId([2; 32])].relay, None);
        assert_eq!(paper_keys(home.read()), BTreeMap::from([(space, keys)]));
    }

    #[test]
    fn what_does_not_read_is_left_out_and_there_is_a_limit() {
        let home = document(|doc| {
            let mut put = |key: &str, value: &str| doc.put(ROOT, key, value).unwrap();
            put(&format!("space/{}:genesis", SpaceId([3; 32])), "not hex");
            put("space/short:genesis", &"ab".repeat(32));
            put(&format!("space/{}:paper", SpaceId([3; 32])), &"é".repeat(64));
            put(&format!("space/{}:paper", SpaceId([4; 32])), &"x".repeat(1_000_000));
            doc.put(ROOT, format!("space/{}:genesis", SpaceId([5; 32])), 7_i64).unwrap();
        });
        assert!(noted_spaces(home.read(), &|_| true).is_empty() && paper_keys(home.read()).is_empty());
        let many = document(|doc| {
            for number in 0..SPACES_NOTED_MAX + 9 {
                let mut space = SpaceId::ZERO;
                space.0[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
                note_space(doc, &space, &[1; 32], None).unwrap();
            }
        });
        assert_eq!(noted_spaces(many.read(), &|_| true).len(), SPACES_NOTED_MAX);
    }

    #[test]
    fn a_device_in_wrong_hands_hides_no_space_behind_others() {
        let root = |device: u8| DeviceRoot::from_bytes([device; 32]);
        let (honest, thief) = (root(1).derive_space(&[0; 32]), root(2).derive_space(&[0; 32]));
        let (real, member) = (SpaceId([0xff; 32]), MemberId([1; 16]));
        let claimed = |doc: &mut AutoCommit, home: &DeviceKeys, device: u8, space, random: &[u8; 32]| {
            let place = Place { space, genesis_random: *random, member };
            let claim = claim(home, &root(device).derive_space(random), &place);
            note_space(doc, &space, random, None).unwrap();
            set_claim(doc, &space, &home.sign_pk(), &claim).unwrap();
        };
        let home = document(|doc| {
            claimed(doc, &honest, 1, real, &[9; 32]);
            for number in 0..=SPACES_NOTED_MAX {
                let mut space = SpaceId::ZERO;
                space.0[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
                claimed(doc, &thief, 2, space, &space.0);
                set_claim(doc, &space, &honest.sign_pk(), &[7; CLAIM_BYTES]).unwrap();
            }
        });
        let found = noted_spaces(home.read(), &|device| *device == honest.sign_pk());
        assert!(found.len() == SPACES_NOTED_MAX && found.contains_key(&real));
        assert!(!noted_spaces(home.read(), &|_| false).contains_key(&real), "what hides it when nobody counts");
        assert_eq!(noted_space(home.read(), &real).map(|noted| noted.genesis_random), Some([9; 32]));
    }

    #[test]
    fn claims_read_back_and_garbage_in_their_place_is_passed_over() {
        let (space, device, long) = (SpaceId([7; 32]), SignPk([5; 32]), "x".repeat(1 << 20));
        let home = document(|doc| {
            set_claim(doc, &space, &device, &[3; CLAIM_BYTES]).unwrap();
            assert!(set_claim(doc, &space, &device, &[3; CLAIM_BYTES + 1]).is_err());
            // What another's program may write all the same.
            for key in ["claim/", "claim//", "claim/x"] {
                doc.put(ROOT, key, long.as_str()).unwrap();
            }
            doc.put(ROOT, format!("space/{space}:member"), long.as_bytes().to_vec()).unwrap();
            doc.put(ROOT, format!("claim/{space}/{}", SignPk([4; 32])), long.as_bytes().to_vec()).unwrap();
            doc.put(ROOT, format!("claim/{space}/garbage"), vec![3; CLAIM_BYTES]).unwrap();
            note_space(doc, &space, &[9; 32], None).unwrap();
        });
        assert_eq!(claims(home.read(), &space), [(device, vec![3; CLAIM_BYTES])]);
        assert_eq!(claim_of(home.read(), &space, &device), Some(vec![3; CLAIM_BYTES]));
        assert_eq!(claims(home.read(), &SpaceId([8; 32])), []);
        assert_eq!(noted_spaces(home.read(), &|_| true)[&space].member, None);
    }
}
