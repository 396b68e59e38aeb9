//! Parts of attachments that somebody who was removed can open, and which parts stand for them.
//!
//! ```text
//! the list that counts, all of it held, a part under a key that a removed device was given ─▶ exposed
//! exposed ─ part by part ─▶ sealed under the present key, kept with content and number ─ all there ─▶ one register
//! ```
//! How far it came stands in the table of parts: cut off, it goes on with the part it was at.

use std::collections::BTreeSet;

use lifeos_sync_protocol::ids::{DocId, EnvelopeId, EpochRef, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use rusqlite::Connection;

use super::checkpoint::is_unknown_to_removed;
use super::records::find_space;
use super::{Reads, Store, StoreError, begin};
use crate::modules::attachment::{ContentHash, PartList, attachment_doc};

/// A content with parts that somebody who was removed can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedAttachment {
    /// The content.
    pub hash: ContentHash,
    /// Its media type; empty if it is not known.
    pub media: String,
    /// The list that counts; all of it is held.
    pub list: PartList,
    /// Numbers of the parts that are to be sealed anew.
    pub exposed: Vec<u32>,
}

impl Reads<'_> {
    /// Contents that are attached, held, and sealed under a key that a device had which was removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn exposed_attachments(
        &self,
        space: &SpaceId,
        membership: &Membership,
        now_ms: i64,
    ) -> Result<Vec<ExposedAttachment>, StoreError> {
        let row = self.space_row(space)?;
        let sql = "SELECT DISTINCT epoch FROM part WHERE space = ?1 AND epoch IS NOT NULL";
        let epochs = self.all(sql, [row], |row| Ok(EpochRef(row.get(0)?)))?;
        let is_known =
            |epoch: &EpochRef| membership.epochs.contains_key(epoch) && !is_unknown_to_removed(membership, epoch);
        let mut parts: BTreeSet<EnvelopeId> = BTreeSet::new();
        for epoch in epochs.iter().filter(|epoch| is_known(epoch)) {
            let sql =
                "SELECT o.object FROM part p JOIN object o ON o.id = p.object WHERE p.space = ?1 AND p.epoch = ?2";
            parts.extend(self.all(sql, (row, epoch.as_ref()), |row| Ok(EnvelopeId(row.get(0)?)))?);
        }
        let mut found = Vec::new();
        if parts.is_empty() {
            return Ok(found);
        }
        let sql = "SELECT DISTINCT d.doc, a.hash FROM attachment a JOIN document d ON d.id = a.doc WHERE d.space = ?1";
        let contents = self.all(sql, [row], |row| Ok((DocId(row.get(0)?), ContentHash(row.get(1)?))))?;
        for (_, hash) in contents.into_iter().filter(|(doc, hash)| *doc == attachment_doc(space, hash)) {
            let Some(attachment) = self.attachment(space, &hash)? else { continue };
            let is_held = attachment.missing.first().is_some_and(Vec::is_empty);
            let Some(list) = attachment.lists.into_iter().next().filter(|_| is_held) else { continue };
            let numbered = (0_u32..).zip(&list.parts);
            let exposed: Vec<u32> = numbered.filter(|(_, id)| parts.contains(id)).map(|(number, _)| number).collect();
            if !exposed.is_empty() && self.is_attached(space, &hash, now_ms)? {
                found.push(ExposedAttachment { hash, media: attachment.media, list, exposed });
            }
        }
        Ok(found)
    }

    /// A part of a content that is held, sealed under an epoch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn part_under(
        &self,
        space: &SpaceId,
        (content, number): (&ContentHash, u32),
        epoch: &EpochRef,
    ) -> Result<Option<EnvelopeId>, StoreError> {
        let sql = "SELECT o.object FROM part p JOIN object o ON o.id = p.object
                   WHERE p.space = ?1 AND p.content = ?2 AND p.number = ?3 AND p.epoch = ?4";
        self.one(sql, (self.space_row(space)?, content.0, number, epoch.as_ref()), |row| Ok(EnvelopeId(row.get(0)?)))
    }

    /// Parts that are held of a content and that no list names any more, if they are all of it: they are as good, until
    /// they go.
    pub(super) fn former(&self, space: i64, content: &ContentHash, size: u64) -> Result<Option<PartList>, StoreError> {
        let sql = "SELECT p.number, o.object FROM part p JOIN object o ON o.id = p.object
                   WHERE p.space = ?1 AND p.content = ?2 ORDER BY p.number, p.object";
        let mut found =
            self.all(sql, (space, content.0), |row| Ok((row.get::<_, u32>(0)?, EnvelopeId(row.get(1)?))))?;
        found.dedup_by_key(|(number, _)| *number);
        let is_whole = (0_u32..).zip(&found).all(|(at, (number, _))| at == *number)
            && found.len() as u64 == PartList::parts_of(size);
        Ok(is_whole.then(|| PartList { size, parts: found.into_iter().map(|(_, id)| id).collect() }))
    }
}

impl Store {
    /// Notes of which content each part is that came from elsewhere: its list may be written over, and it be of use still.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_contents(&mut self, space: &SpaceId) -> Result<(), StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        note_contents(&transaction, row)?;
        Ok(transaction.commit()?)
    }
}

pub(super) fn note_contents(conn: &Connection, space: i64) -> Result<(), StoreError> {
    let reads = Reads { conn };
    let sql = "SELECT o.object FROM part p JOIN object o ON o.id = p.object WHERE p.space = ?1 AND p.content IS NULL";
    let unknown: BTreeSet<EnvelopeId> =
        reads.all(sql, [space], |row| Ok(EnvelopeId(row.get(0)?)))?.into_iter().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let sql = "SELECT a.hash, a.parts FROM attachment a JOIN document d ON d.id = a.doc WHERE d.space = ?1";
    let lists = reads.all(sql, [space], |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    let sql = "UPDATE part SET content = ?3, number = ?4
               WHERE object = (SELECT id FROM object WHERE space = ?1 AND object = ?2)";
    for (hash, ids) in lists {
        for (number, id) in (0_u32..).zip(ids.as_chunks::<32>().0).filter(|(_, id)| unknown.contains(&EnvelopeId(**id)))
        {
            conn.prepare_cached(sql)?.execute((space, id, hash, number))?;
        }
    }
    Ok(())
}
