//! The temporary relay of a device nearby: synced with as one more relay of the space, and remembered only while that lasts.
//!
//! Its number is negative. It is not in the space's list of relays, so what it acknowledges is taken by nobody for a place
//! where edits are safe: nothing is forgotten, counted as sent or left behind because of it.

use lifeos_sync_protocol::ids::{SignPk, SpaceId};

use super::records::find_space;
use super::{RelayId, Store, StoreError, begin};

impl RelayId {
    /// Whether it is a device nearby and no relay of the space.
    #[must_use]
    pub const fn is_peer(self) -> bool {
        self.0 < 0
    }
}

impl Store {
    /// Gives a device nearby a number, with its address and key. What an interrupted sync with one left goes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_peer(&mut self, space: &SpaceId, address: &str, key: &SignPk) -> Result<RelayId, StoreError> {
        self.remove_peers(space)?;
        let tx = begin(&self.conn)?;
        let space = find_space(&tx, space)?.row;
        let sql = "INSERT INTO relay(id, space, url, key)
                   VALUES ((SELECT min(0, ifnull(min(id), 0)) - 1 FROM relay), ?1, ?2, ?3) RETURNING id";
        let id = tx.prepare_cached(sql)?.query_row((space, address, key.as_ref()), |row| row.get(0))?;
        tx.commit()?;
        Ok(RelayId(id))
    }

    /// Forgets the devices nearby that a space was synced with.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove_peers(&mut self, space: &SpaceId) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        let space = find_space(&tx, space)?.row;
        tx.execute("DELETE FROM roll WHERE relay IN (SELECT id FROM relay WHERE space = ?1 AND id < 0)", [space])?;
        tx.execute("DELETE FROM relay WHERE space = ?1 AND id < 0", [space])?;
        tx.commit()?;
        Ok(())
    }
}
