//! Shared spaces that a recovery has still to bring back, and those that it has begun with.
//!
//! The `meta` table holds their ids, fixed when the home was recovered: a space that joins the home later is never
//! recovered into, however often the words are typed again, so that no device that is there is taken for lost. A space
//! that is begun lies beside the others already, and is none of this home's before its recovery ends.

use std::collections::BTreeSet;

use lifeos_sync_protocol::ids::SpaceId;
use lifeos_sync_protocol::record::Record;
use rusqlite::Connection;

use super::records::{Source, find_space, insert_records, insert_space, load};
use super::{NewSpace, Reads, Store, StoreError, admissible, begin, schema};

/// Key of the `meta` table: the ids of the spaces that are to be recovered, one after the other.
const META_TO_RECOVER: &str = "spaces_to_recover";

fn to_recover(conn: &Connection) -> Result<BTreeSet<SpaceId>, StoreError> {
    let ids = schema::meta(conn, META_TO_RECOVER)?.unwrap_or_default();
    Ok(ids.chunks_exact(SpaceId::BYTES).filter_map(SpaceId::from_slice).collect())
}

fn put(conn: &Connection, spaces: &BTreeSet<SpaceId>) -> Result<(), StoreError> {
    if spaces.is_empty() {
        return schema::remove_meta(conn, META_TO_RECOVER);
    }
    let ids: Vec<u8> = spaces.iter().flat_map(|space| space.0).collect();
    schema::put_meta(conn, META_TO_RECOVER, &ids)
}

impl Reads<'_> {
    /// The shared spaces that a recovery of this home has still to bring back, ascending.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn spaces_to_recover(&self) -> Result<BTreeSet<SpaceId>, StoreError> {
        to_recover(self.conn)
    }
}

impl Store {
    /// Stores the last records of a home's recovery, takes its mark away and remembers the spaces that come next, in one
    /// durable commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish_recovery(
        &mut self,
        space: &SpaceId,
        records: &[Record],
        mark: &str,
        next: &BTreeSet<SpaceId>,
    ) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        let row = find_space(&tx, space)?.row;
        insert_records(&tx, row, admissible(space, &load(&tx, row)?, records)?, Source::Relay)?;
        schema::remove_meta(&tx, mark)?;
        put(&tx, next)?;
        Ok(tx.commit()?)
    }

    /// Adds a space that is to be recovered; one that was begun stays as it is.
    ///
    /// # Errors
    /// [`StoreError::CopiedSpace`], [`StoreError::UnknownSpace`] when it is not to be recovered, and the disk's.
    pub fn begin_space_recovery(&mut self, new: &NewSpace, genesis_random: &[u8; 32]) -> Result<(), StoreError> {
        self.check_genesis(&new.space, genesis_random)?;
        let tx = begin(&self.conn)?;
        if !to_recover(&tx)?.contains(&new.space) {
            return Err(StoreError::UnknownSpace);
        }
        if find_space(&tx, &new.space).is_err() {
            insert_space(&tx, new, false)?;
        }
        Ok(tx.commit()?)
    }

    /// Whether the recovery of a space was begun, so that it goes on with what is here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_recovery_begun(&self, space: &SpaceId) -> Result<bool, StoreError> {
        match find_space(&self.conn, space) {
            Ok(_) => Ok(true),
            Err(StoreError::UnknownSpace) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores the last records of a space's recovery and makes it one of this home's, in one durable commit.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish_space_recovery(&mut self, space: &SpaceId, records: &[Record]) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        let row = find_space(&tx, space)?.row;
        insert_records(&tx, row, admissible(space, &load(&tx, row)?, records)?, Source::Relay)?;
        let mut left = to_recover(&tx)?;
        left.remove(space);
        put(&tx, &left)?;
        Ok(tx.commit()?)
    }

    /// Nothing is to be recovered of a space any more: its person came in another way, or gave it up. What a recovery
    /// begun there received stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end_space_recovery(&mut self, space: &SpaceId) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        let mut left = to_recover(&tx)?;
        if left.remove(space) {
            put(&tx, &left)?;
        }
        Ok(tx.commit()?)
    }
}

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::envelope::stream_id;
    use lifeos_sync_protocol::ids::MemberId;
    use tempfile::TempDir;

    use super::*;
    use crate::crypto::SeededRandom;
    use crate::keys::{DeviceRoot, PhraseLength, RecoveryPhrase};
    use crate::records::{Founding, found_space};
    use crate::store::NewHome;

    fn space(root: &DeviceRoot, genesis_random: [u8; 32]) -> NewSpace {
        let random = &mut SeededRandom::new(u64::from(genesis_random[0]));
        let keys = root.derive_space(&genesis_random);
        let recovery = RecoveryPhrase::generate(PhraseLength::Words12, random).derive_home();
        let (member, relays) = (MemberId([7; 16]), Vec::new());
        let founding = Founding { genesis_random, member, keys: &keys, recovery: &recovery, relays };
        let founded = found_space(&founding, random).unwrap();
        let (space, device) = (founded.space, keys.sign_pk());
        let stream = stream_id(&space, &device, &[1; 32]);
        NewSpace { space, device, stream, stream_r32: [1; 32], records: vec![founded.genesis, founded.epoch] }
    }

    fn homes(store: &Store) -> Vec<SpaceId> {
        store.reads().spaces().unwrap().into_iter().map(|row| row.space).collect()
    }

    #[test]
    fn a_space_is_none_of_the_homes_until_its_recovery_ends() {
        let (dir, root) = (TempDir::new().unwrap(), DeviceRoot::from_bytes([5; 32]));
        let (home, shared, later) = (space(&root, [1; 32]), space(&root, [2; 32]), space(&root, [3; 32]));
        let mark: &[(&str, &[u8])] = &[("recovering", &[1])];
        let mut store = Store::create(dir.path(), &NewHome { root: &root, space: home.clone(), meta: mark }).unwrap();
        let early = store.begin_space_recovery(&shared, &[2; 32]);
        assert!(matches!(early, Err(StoreError::UnknownSpace)), "what is not to be recovered is not begun");
        let next = BTreeSet::from([shared.space]);
        store.finish_recovery(&home.space, &home.records, "recovering", &next).unwrap();
        assert_eq!(store.reads().meta("recovering").unwrap(), None);
        store.begin_space_recovery(&shared, &[2; 32]).unwrap();
        store.begin_space_recovery(&shared, &[2; 32]).unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        assert_eq!((homes(&store), store.is_recovery_begun(&shared.space).unwrap()), (vec![home.space], true));
        assert_eq!(store.reads().spaces_and_begun().unwrap().len(), 2);
        let refused = store.begin_space_recovery(&later, &[3; 32]);
        assert!(matches!(refused, Err(StoreError::UnknownSpace)), "only what was fixed when the home came back");

        store.finish_space_recovery(&shared.space, &shared.records).unwrap();
        assert_eq!(homes(&store), [home.space, shared.space]);
        assert!(store.reads().spaces_to_recover().unwrap().is_empty());
        assert_eq!(store.reads().meta(META_TO_RECOVER).unwrap(), None);
    }

    #[test]
    fn a_space_that_begins_like_another_is_not_recovered_and_one_given_up_is_left_alone() {
        let (dir, root) = (TempDir::new().unwrap(), DeviceRoot::from_bytes([5; 32]));
        let (home, shared) = (space(&root, [1; 32]), space(&root, [2; 32]));
        let new = NewHome { root: &root, space: home.clone(), meta: &[] };
        let mut store = Store::create(dir.path(), &new).unwrap();
        store.finish_recovery(&home.space, &[], "recovering", &BTreeSet::from([shared.space])).unwrap();
        let copied = store.begin_space_recovery(&shared, &[1; 32]);
        assert!(matches!(copied, Err(StoreError::CopiedSpace)), "{copied:?}");
        assert!(!store.is_recovery_begun(&shared.space).unwrap());
        store.end_space_recovery(&shared.space).unwrap();
        store.end_space_recovery(&shared.space).unwrap();
        assert!(store.reads().spaces_to_recover().unwrap().is_empty());
    }
}
