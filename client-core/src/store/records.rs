//! Records: kept whole and in the order they arrived, parents first.

use lifeos_sync_protocol::ids::{RecordId, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::Record;

use super::{NewSpace, Store, StoreError};

impl Store {
    /// Adds a space with its first records.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_space(&mut self, new: &NewSpace) -> Result<(), StoreError> {
        let _ = new;
        todo!()
    }

    /// Stores records, durably; returns how many were new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_records(&mut self, space: &SpaceId, records: &[Record]) -> Result<usize, StoreError> {
        let _ = (space, records);
        todo!()
    }

    /// All records of a space, in the order they arrived.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn records(&self, space: &SpaceId) -> Result<Vec<Record>, StoreError> {
        let _ = space;
        todo!()
    }

    /// Whether a record is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_record(&self, space: &SpaceId, record: &RecordId) -> Result<bool, StoreError> {
        let _ = (space, record);
        todo!()
    }

    /// The membership that the stored records give.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn membership(&self, space: &SpaceId) -> Result<Membership, StoreError> {
        let records = self.records(space)?;
        Membership::evaluate(space, &records).map_err(|_| StoreError::Corrupt { what: "the records of a space" })
    }
}
