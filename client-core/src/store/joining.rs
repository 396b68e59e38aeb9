//! Spaces that somebody asked to join, and the secret of the link that let this device in.
//!
//! Both lie in the `meta` table. A link's secret is worth what the link is worth, which lies in somebody's messages
//! too; it goes as soon as this device, or another of the space, has sealed the epoch to this device's own key.

use lifeos_sync_protocol::ids::{MemberId, SpaceId};

use super::{Store, StoreError, begin, schema};
use crate::invite::InviteSecret;

/// A request to join that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingJoin {
    /// The link, as text.
    pub link: String,
    /// Who this person will be.
    pub member: MemberId,
    /// What the person calls themselves.
    pub name: String,
}

fn secret_key(space: &SpaceId) -> String {
    format!("invite_secret/{space}")
}

fn pending_key(space: &SpaceId) -> String {
    format!("join/{space}")
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
            if let Some(join) = schema::meta(&self.conn, &pending_key(&space))?.and_then(|bytes| decode(&bytes)) {
                found.push((space, join));
            }
        }
        Ok(found)
    }

    /// Remembers a request, or with `None` forgets it.
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
                schema::put_meta(&tx, &pending_key(space), &encode(join))?;
            }
            None => schema::remove_meta(&tx, &pending_key(space))?,
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

/// member(16) ‖ u16 length of the link ‖ link ‖ name
fn encode(join: &PendingJoin) -> Vec<u8> {
    let length = u16::try_from(join.link.len()).unwrap_or(u16::MAX);
    [&join.member.0[..], &length.to_be_bytes(), join.link.as_bytes(), join.name.as_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<PendingJoin> {
    let (member, rest) = bytes.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (link, name) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some(PendingJoin { link: text(link)?, member: MemberId(*member), name: text(name)? })
}
