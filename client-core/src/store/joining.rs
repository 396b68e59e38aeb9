//! Spaces that somebody asked to join, and the secret of the link that let this device in.
//!
//! Both lie in the `meta` table. A link's secret is worth what the link is worth, which lies in somebody's messages
//! too; it goes as soon as this device, or another of the space, has sealed the epoch to this device's own key.
//!
//! ```text
//! asked/<space>  Genesis random(32) ‖ u16 length of the link ‖ link ‖ Join record
//! join/<space>   member(16) ‖ u16 length of the link ‖ link ‖ name: what was written before, with the Genesis random
//!                under join_random/<space>
//! joins          the ids of all such spaces
//! ```

use lifeos_sync_protocol::ids::SpaceId;
use lifeos_sync_protocol::record::Record;
use rusqlite::Connection;

use super::{Store, StoreError, begin, schema};
use crate::invite::InviteSecret;

/// A request to join that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingJoin {
    /// The link, as text.
    pub link: String,
    /// What this device's keys in the space are derived from.
    pub random: [u8; 32],
    /// The request, to be handed in again if it never arrived; requests of earlier versions were not kept.
    pub join: Option<Record>,
}

fn secret_key(space: &SpaceId) -> String {
    format!("invite_secret/{space}")
}

fn asked_key(space: &SpaceId) -> String {
    format!("asked/{space}")
}

/// Where earlier versions kept a request.
fn earlier_keys(space: &SpaceId) -> [String; 2] {
    [format!("join/{space}"), format!("join_random/{space}")]
}

const PENDING_LIST: &str = "joins";

impl Store {
    /// The secret of the invitation that let this device into a space, while it is needed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn invite_secret(&self, space: &SpaceId) -> Result<Option<InviteSecret>, StoreError> {
        let bytes = schema::meta(&self.conn, &secret_key(space))?;
        Ok(bytes.and_then(|bytes| bytes.try_into().ok()).map(InviteSecret::from_bytes))
    }

    /// Keeps such a secret, or with `None` forgets it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_invite_secret(&self, space: &SpaceId, secret: Option<&InviteSecret>) -> Result<(), StoreError> {
        match secret {
            Some(secret) => schema::put_meta(&self.conn, &secret_key(space), &*secret.to_bytes()),
            None => schema::remove_meta(&self.conn, &secret_key(space)),
        }
    }

    /// The requests that wait for an answer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pending_joins(&self) -> Result<Vec<(SpaceId, PendingJoin)>, StoreError> {
        let mut found = Vec::new();
        for space in self.pending_spaces()? {
            let join = match schema::meta(&self.conn, &asked_key(&space))? {
                Some(bytes) => decode(&bytes),
                None => earlier(&self.conn, &space)?,
            };
            found.extend(join.map(|join| (space, join)));
        }
        Ok(found)
    }

    /// Remembers a request, or with `None` forgets it: in one commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_pending_join(&mut self, space: &SpaceId, join: Option<&PendingJoin>) -> Result<(), StoreError> {
        let mut spaces = self.pending_spaces()?;
        spaces.retain(|known| known != space);
        let tx = begin(&self.conn)?;
        match join {
            Some(join) => {
                spaces.push(*space);
                schema::put_meta(&tx, &asked_key(space), &encode(join))?;
            }
            None => schema::remove_meta(&tx, &asked_key(space))?,
        }
        for key in earlier_keys(space) {
            schema::remove_meta(&tx, &key)?;
        }
        let list: Vec<u8> = spaces.iter().flat_map(|space| space.0).collect();
        schema::put_meta(&tx, PENDING_LIST, &list)?;
        Ok(tx.commit()?)
    }

    fn pending_spaces(&self) -> Result<Vec<SpaceId>, StoreError> {
        let list = schema::meta(&self.conn, PENDING_LIST)?.unwrap_or_default();
        Ok(list.chunks_exact(SpaceId::BYTES).filter_map(SpaceId::from_slice).collect())
    }
}

fn encode(join: &PendingJoin) -> Vec<u8> {
    let length = u16::try_from(join.link.len()).unwrap_or(u16::MAX);
    let record = join.join.as_ref().map_or(&[][..], Record::bytes);
    [&join.random[..], &length.to_be_bytes(), join.link.as_bytes(), record].concat()
}

fn decode(bytes: &[u8]) -> Option<PendingJoin> {
    let (random, rest) = bytes.split_first_chunk::<32>()?;
    let (link, record) = split_link(rest)?;
    Some(PendingJoin { link, random: *random, join: Record::parse(record.to_vec()).ok() })
}

fn split_link(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (link, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((String::from_utf8(link.to_vec()).ok()?, rest))
}

fn earlier(conn: &Connection, space: &SpaceId) -> Result<Option<PendingJoin>, StoreError> {
    let [asked, random] = earlier_keys(space);
    let random = schema::meta(conn, &random)?.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let link = schema::meta(conn, &asked)?.and_then(|bytes| split_link(bytes.get(16..)?).map(|(link, _)| link));
    Ok(random.zip(link).map(|(random, link)| PendingJoin { link, random, join: None }))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::crypto::SeededRandom;
    use crate::keys::{DeviceRoot, PhraseLength, RecoveryPhrase};
    use crate::records::{Founding, found_space};
    use crate::store::{NewHome, NewSpace};
    use lifeos_sync_protocol::envelope::stream_id;
    use lifeos_sync_protocol::ids::MemberId;

    const RANDOM: [u8; 32] = [9; 32];

    fn founded(random: &mut SeededRandom, root: &DeviceRoot, member: u8) -> NewSpace {
        let keys = root.derive_space(&RANDOM);
        let recovery = RecoveryPhrase::generate(PhraseLength::Words12, random).derive_home();
        let founding = Founding {
            genesis_random: RANDOM,
            member: MemberId([member; 16]),
            keys: &keys,
            recovery: &recovery,
            relays: Vec::new(),
        };
        let founded = found_space(&founding, random).unwrap();
        let stream = stream_id(&founded.space, &keys.sign_pk(), &[1; 32]);
        let records = vec![founded.genesis, founded.epoch];
        NewSpace { space: founded.space, device: keys.sign_pk(), stream, stream_r32: [1; 32], records }
    }

    fn store() -> (TempDir, Store, NewSpace, NewSpace) {
        let (dir, mut random) = (TempDir::new().unwrap(), SeededRandom::new(5));
        let root = DeviceRoot::generate(&mut random);
        let (home, copied) = (founded(&mut random, &root, 1), founded(&mut random, &root, 2));
        let new = NewHome { root: &root, space: home.clone(), meta: &[] };
        let store = Store::create(&dir.path().join("home"), &new).unwrap();
        (dir, store, home, copied)
    }

    #[test]
    fn requests_are_remembered_whole_until_they_are_forgotten() {
        let (_dir, mut store, home, _) = store();
        let (first, second) = (SpaceId([1; 32]), SpaceId([2; 32]));
        let asked = PendingJoin { link: "LI1AAAA".into(), random: RANDOM, join: home.records.last().cloned() };
        let earlier = PendingJoin { link: "LI1BBBB".into(), random: [7; 32], join: None };
        store.put_pending_join(&first, Some(&asked)).unwrap();
        store.put_pending_join(&second, Some(&earlier)).unwrap();
        assert_eq!(store.pending_joins().unwrap(), [(first, asked), (second, earlier.clone())]);
        store.put_pending_join(&first, None).unwrap();
        assert_eq!(store.pending_joins().unwrap(), [(second, earlier)]);
    }

    #[test]
    fn a_request_of_an_earlier_version_is_read_and_one_that_is_damaged_hides_no_other() {
        let (_dir, mut store, _, _) = store();
        let (old, broken, new) = (SpaceId([1; 32]), SpaceId([2; 32]), SpaceId([3; 32]));
        store.put_meta(PENDING_LIST, &[old.0, broken.0].concat()).unwrap();
        let [asked, random] = earlier_keys(&old);
        store.put_meta(&asked, &[&[5; 16][..], &[0, 7], b"LI1AAAABen"].concat()).unwrap();
        store.put_meta(&random, &RANDOM).unwrap();
        store.put_meta(&asked_key(&broken), b"short").unwrap();
        let fresh = PendingJoin { link: "LI1CCCC".into(), random: RANDOM, join: None };
        store.put_pending_join(&new, Some(&fresh)).unwrap();
        let read = PendingJoin { link: "LI1AAAA".into(), ..fresh.clone() };
        assert_eq!(store.pending_joins().unwrap(), [(old, read), (new, fresh)]);
        store.put_pending_join(&old, None).unwrap();
        assert_eq!((store.pending_joins().unwrap().len(), store.reads().meta(&random).unwrap()), (1, None));
    }

    #[test]
    fn a_space_with_the_beginning_of_another_is_not_taken() {
        let (_dir, mut store, home, copied) = store();
        assert_ne!(home.space, copied.space);
        assert_eq!(home.device, copied.device, "the same keys in two spaces");
        store.add_space(&home).unwrap(); // there already: nothing is done
        assert!(matches!(store.add_space(&copied), Err(StoreError::CopiedSpace)));
        assert_eq!(store.reads().spaces().unwrap().len(), 1);
        store.check_genesis(&home.space, &RANDOM).unwrap();
        assert_eq!(store.genesis_random(&home.space).unwrap(), RANDOM);
        assert!(matches!(store.genesis_random(&copied.space), Err(StoreError::UnknownSpace)));
    }
}
