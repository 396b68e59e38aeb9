//! Attachments in the store: which notes refer to which contents, their sealed parts as they are held, and which of them
//! may go from this device.
//!
//! ```text
//! note_attachment ─ hash ─▶ attachment (lists of parts) ─ ids ─▶ object, part ─ given ─▶ relays that hold it, too
//! live: a living note, or one not long in the trash, refers to it ── not live for a while ─▶ dropped
//! above the cache limit: read longest ago, held by a relay, not pinned, not wanted ─▶ evicted
//! ```
//! Parts stay sealed on the disk. What is not held elsewhere is never evicted.

use std::collections::BTreeSet;

use lifeos_sync_protocol::envelope::Kind;
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, EpochRef, SpaceId};
use lifeos_sync_protocol::membership::Membership;
use rusqlite::Connection;
use zeroize::Zeroizing;

use super::checkpoint::{object, r32};
use super::records::find_space;
use super::{Reads, RelayId, Store, StoreError, begin, reseal};
use crate::envelope::{ObjectPlace, SealedEnvelope, open_object};
use crate::keys::Keyring;
use crate::modules::attachment::{ContentHash, PartList};

/// A note in the trash keeps its attachments for so long.
const TRASH_KEEPS_MS: i64 = 30 * 24 * 3_600_000;
/// Parts that nothing refers to are kept for so long: taking back and restoring bring references back.
const LOOSE_MS_MAX: i64 = 30 * 24 * 3_600_000;
/// Parts dropped in one commit.
const BATCH: i64 = 64;
/// Bytes of parts that are kept when nobody said how many.
const CACHE_BYTES: u64 = 1 << 30;
/// Where that is in the table `meta`.
const CACHE_LIMIT: &str = "cache_limit";

/// An attachment of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteAttachmentRow {
    /// The note.
    pub note: DocId,
    /// Its title.
    pub note_title: String,
    /// The content.
    pub hash: ContentHash,
    /// What the note calls it.
    pub name: String,
}

/// A content as its document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentRow {
    /// Media type; empty if it is not known.
    pub media: String,
    /// What it consists of, the list that counts first at the front, and at the end what an older list had, if that alone
    /// is held whole; never empty.
    pub lists: Vec<PartList>,
    /// Of each list, the parts that are not held.
    pub missing: Vec<Vec<EnvelopeId>>,
    /// Whether the person wants it on this device.
    pub pinned: bool,
}

/// Bytes and numbers of the parts that are held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartsReport {
    /// Parts.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those that something refers to and that no relay is known to hold.
    pub unsent: u64,
    /// Parts that are wanted here and have not come.
    pub wanted: u64,
}

impl Reads<'_> {
    /// Attachments of one note, or of all living notes, by note and name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_attachments(
        &self,
        space: &SpaceId,
        note: Option<&DocId>,
    ) -> Result<Vec<NoteAttachmentRow>, StoreError> {
        self.attached(space, note, None)
    }

    /// The same of one content alone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notes_attaching(
        &self,
        space: &SpaceId,
        note: Option<&DocId>,
        hash: &ContentHash,
    ) -> Result<Vec<NoteAttachmentRow>, StoreError> {
        self.attached(space, note, Some(hash))
    }

    fn attached(
        &self,
        space: &SpaceId,
        note: Option<&DocId>,
        hash: Option<&ContentHash>,
    ) -> Result<Vec<NoteAttachmentRow>, StoreError> {
        let only = if hash.is_some() { "AND a.hash = ?3" } else { "AND ?3 IS NULL" };
        let sql = &format!(
            "SELECT d.doc, n.title, a.hash, a.name FROM note_attachment a
                   JOIN document d ON d.id = a.doc JOIN note n ON n.doc = a.doc AND n.key = ''
                   WHERE d.space = ?1 AND (d.doc = ?2 OR (?2 IS NULL AND n.trashed_ms IS NULL)) {only}
                   ORDER BY n.title, d.doc, a.name, a.key"
        );
        self.all(sql, (self.space_row(space)?, note.map(AsRef::as_ref), hash.map(|hash| hash.0)), |row| {
            Ok(NoteAttachmentRow {
                note: DocId(row.get(0)?),
                note_title: row.get(1)?,
                hash: ContentHash(row.get(2)?),
                name: row.get(3)?,
            })
        })
    }

    /// What a content consists of; `None` where that is not known here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn attachment(&self, space: &SpaceId, hash: &ContentHash) -> Result<Option<AttachmentRow>, StoreError> {
        let row = self.space_row(space)?;
        // Its own document first: others may claim the same hash.
        let sql = "SELECT a.media, a.size, a.parts FROM attachment a JOIN document d ON d.id = a.doc
                   WHERE d.space = ?1 AND a.hash = ?2 ORDER BY d.doc <> ?3, d.doc, a.key LIMIT 16";
        let own = crate::modules::attachment::attachment_doc(space, hash);
        let found = self.all(sql, (row, hash.0, own.as_ref()), |row| {
            let (media, size, ids): (String, i64, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((media, u64::try_from(size).unwrap_or(u64::MAX), ids))
        })?;
        let media = found.first().map(|(media, ..)| media.clone()).unwrap_or_default();
        let lists: Vec<PartList> = found.iter().filter_map(|(_, size, ids)| PartList::from_ids(*size, ids)).collect();
        if lists.is_empty() {
            return Ok(None);
        }
        let missing = lists.iter().map(|list| object::lacking(self.conn, row, &list.parts));
        let mut missing = missing.collect::<Result<Vec<_>, _>>()?;
        let mut lists = lists;
        if !missing.iter().any(Vec::is_empty)
            && let Some(size) = lists.first().map(|list| list.size)
            && let Some(former) = self.former(row, hash, size)?
        {
            lists.push(former);
            missing.push(Vec::new());
        }
        let sql = "SELECT pinned FROM kept_attachment WHERE space = ?1 AND hash = ?2";
        let pinned = self.one(sql, (row, hash.0), |row| row.get(0))?.unwrap_or(false);
        Ok(Some(AttachmentRow { media, lists, missing, pinned }))
    }

    /// Whether a living note, or one not long in the trash, refers to a content.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_attached(&self, space: &SpaceId, hash: &ContentHash, now_ms: i64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM note_attachment f JOIN note n ON n.doc = f.doc AND n.key = ''
                   JOIN document e ON e.id = f.doc
                   WHERE f.hash = ?2 AND e.space = ?1 AND coalesce(n.trashed_ms, ?3) >= ?3)";
        let keys = (self.space_row(space)?, hash.0, now_ms.saturating_sub(TRASH_KEEPS_MS));
        Ok(self.one(sql, keys, |row| row.get(0))?.unwrap_or(false))
    }

    /// Every part that something refers to, held or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn live_parts(&self, space: &SpaceId, now_ms: i64) -> Result<BTreeSet<EnvelopeId>, StoreError> {
        live(self.conn, self.space_row(space)?, now_ms)
    }

    /// How many parts all lists of a space name, whether something refers to them or not: at a glance.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn listed_parts(&self, space: &SpaceId) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(sum(length(a.parts)), 0) / 32 FROM attachment a
                   JOIN document d ON d.id = a.doc WHERE d.space = ?1";
        self.count(sql, [self.space_row(space)?])
    }

    /// Parts that are wanted on this device and not held, in the order in which they are to be fetched.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn wanted_parts(&self, space: &SpaceId, parts_max: usize) -> Result<Vec<EnvelopeId>, StoreError> {
        let sql = "SELECT hash FROM kept_attachment WHERE space = ?1 AND wanted <> 0";
        let wanted = self.all(sql, [self.space_row(space)?], |row| Ok(ContentHash(row.get(0)?)))?;
        let mut parts = Vec::new();
        for hash in wanted {
            let Some(attachment) = self.attachment(space, &hash)? else { continue };
            if attachment.held().is_none() {
                parts.extend(attachment.missing.into_iter().flatten());
            }
            if parts.len() >= parts_max {
                break;
            }
        }
        parts.truncate(parts_max);
        Ok(parts)
    }

    /// What is held of attachments, and what waits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn parts(&self, space: &SpaceId, now_ms: i64) -> Result<PartsReport, StoreError> {
        let row = self.space_row(space)?;
        let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM part WHERE space = ?1";
        let (parts, bytes): (i64, i64) =
            self.one(sql, [row], |row| Ok((row.get(0)?, row.get(1)?)))?.unwrap_or_default();
        let sql = "SELECT o.object FROM part p JOIN object o ON o.id = p.object
                   WHERE p.space = ?1 AND NOT EXISTS (SELECT 1 FROM given g WHERE g.object = p.object)";
        let unsent = self.all(sql, [row], |row| Ok(EnvelopeId(row.get(0)?)))?;
        let live = if unsent.is_empty() { BTreeSet::new() } else { self.live_parts(space, now_ms)? };
        Ok(PartsReport {
            parts: u64::try_from(parts).unwrap_or(0),
            bytes: u64::try_from(bytes).unwrap_or(0),
            unsent: unsent.iter().filter(|id| live.contains(id)).count() as u64,
            wanted: self.wanted_parts(space, usize::MAX)?.len() as u64,
        })
    }

    /// Bytes of parts that may be held in this home.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn cache_limit(&self) -> Result<u64, StoreError> {
        let stored = self.meta(CACHE_LIMIT)?.and_then(|bytes| bytes.try_into().ok());
        Ok(stored.map_or(CACHE_BYTES, u64::from_be_bytes))
    }

    /// A part's body: its author and signature are checked again, as everything on this disk once came from elsewhere.
    ///
    /// # Errors
    /// [`StoreError::AttachmentDamaged`]; [`StoreError::AttachmentAway`] when it is not held (any more).
    pub fn part_body(
        &self,
        space: &SpaceId,
        id: &EnvelopeId,
        (membership, keyring): (&Membership, &Keyring),
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let sql = "SELECT bytes FROM object WHERE space = ?1 AND object = ?2";
        let bytes: Option<Vec<u8>> = self.one(sql, (self.space_row(space)?, id.as_ref()), |row| row.get(0))?;
        let bytes = bytes.ok_or(StoreError::AttachmentAway { missing: 1, all: 1 })?;
        let unsigned = StoreError::AttachmentDamaged { what: "a part that no device of this space signed" };
        let verified = object::verified(space, membership, id, bytes).map_err(|_| unsigned)?;
        if verified.envelope().header().kind != Kind::BlobPart {
            return Err(StoreError::AttachmentDamaged { what: "a part that is something else" });
        }
        let opened = open_object(space, &verified, keyring);
        let opened = opened.map_err(|_| StoreError::AttachmentDamaged { what: "a part that does not open" })?;
        Ok(opened.body)
    }
}

impl AttachmentRow {
    /// The first list of which every part is held.
    #[must_use]
    pub fn held(&self) -> Option<&PartList> {
        self.missing.iter().position(Vec::is_empty).and_then(|at| self.lists.get(at))
    }

    /// How many parts of the list that lacks the fewest are not held, and how many it has.
    #[must_use]
    pub fn lacks(&self) -> (u64, u64) {
        let counts = self.missing.iter().zip(&self.lists);
        let counts = counts.map(|(missing, list)| (missing.len() as u64, list.parts.len() as u64));
        counts.min().unwrap_or_default()
    }
}

impl Store {
    /// Where a part of this device's stands; the epoch is the one it is sealed under.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn part_place(&self, space: &SpaceId, epoch: EpochRef) -> Result<ObjectPlace, StoreError> {
        let found = find_space(&self.conn, space)?;
        let r32 = r32(&self.conn, found.stream_row)?;
        let r32 = r32.ok_or(StoreError::Corrupt { what: "the beginning of the own stream" })?;
        Ok(ObjectPlace { kind: Kind::BlobPart, stream: found.stream, seq: 0, r32, epoch })
    }

    /// Keeps a part of a content that was sealed here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_part(
        &mut self,
        space: &SpaceId,
        sealed: &SealedEnvelope,
        (content, number): (&ContentHash, u32),
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        let object = object::insert(&transaction, row, &sealed.id, &sealed.bytes, true, now_ms)?;
        let sql = "UPDATE part SET content = ?2, number = ?3 WHERE object = ?1";
        transaction.prepare_cached(sql)?.execute((object, content.0, number))?;
        Ok(transaction.commit()?)
    }

    /// Three numbers that change when a part is kept, or something begins to refer to one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn parts_mark(&self, space: &SpaceId) -> Result<[i64; 3], StoreError> {
        let sql = "SELECT coalesce((SELECT max(object) FROM part WHERE space = ?1), 0),
                   (SELECT count(*) FROM note_attachment), (SELECT count(*) FROM attachment)";
        let row = find_space(&self.conn, space)?.row;
        let mark = self.reads().one(sql, [row], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
        Ok(mark.unwrap_or_default())
    }

    /// A relay said which parts it holds, and which it does not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_given(
        &mut self,
        space: &SpaceId,
        relay: RelayId,
        (held, lacking): (&[EnvelopeId], &[EnvelopeId]),
    ) -> Result<(), StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        let insert = "INSERT OR IGNORE INTO given(object, relay)
                      SELECT p.object, ?3 FROM object o JOIN part p ON p.object = o.id
                      WHERE o.space = ?1 AND o.object = ?2";
        let delete = "DELETE FROM given WHERE relay = ?3
                      AND object = (SELECT id FROM object WHERE space = ?1 AND object = ?2)";
        for (sql, ids) in [(insert, held), (delete, lacking)] {
            let mut write = transaction.prepare_cached(sql)?;
            for id in ids {
                write.execute((row, id.as_ref(), relay.0))?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Parts of an attachment were read.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn used_parts(&mut self, space: &SpaceId, list: &PartList, now_ms: i64) -> Result<(), StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        let sql = "UPDATE part SET used_ms = ?3
                   WHERE object = (SELECT id FROM object WHERE space = ?1 AND object = ?2)";
        for id in &list.parts {
            transaction.prepare_cached(sql)?.execute((row, id.as_ref(), now_ms))?;
        }
        Ok(transaction.commit()?)
    }

    /// Whether an attachment is fetched as soon as a relay has it; ends by itself when it is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn want_attachment(&mut self, space: &SpaceId, hash: &ContentHash, wanted: bool) -> Result<(), StoreError> {
        let row = find_space(&self.conn, space)?.row;
        let sql = "INSERT INTO kept_attachment(space, hash, wanted) VALUES (?1, ?2, ?3)
                   ON CONFLICT(space, hash) DO UPDATE SET wanted = excluded.wanted";
        self.conn.prepare_cached(sql)?.execute((row, hash.0, wanted))?;
        self.forget_unkept()
    }

    /// Whether an attachment stays on this device whatever the cache limit says; a pinned one is fetched, too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pin_attachment(&mut self, space: &SpaceId, hash: &ContentHash, pinned: bool) -> Result<(), StoreError> {
        let row = find_space(&self.conn, space)?.row;
        let sql = "INSERT INTO kept_attachment(space, hash, pinned, wanted) VALUES (?1, ?2, ?3, ?3)
                   ON CONFLICT(space, hash) DO UPDATE SET pinned = excluded.pinned, wanted = excluded.wanted";
        self.conn.prepare_cached(sql)?.execute((row, hash.0, pinned))?;
        self.forget_unkept()
    }

    fn forget_unkept(&self) -> Result<(), StoreError> {
        self.conn.prepare_cached("DELETE FROM kept_attachment WHERE pinned = 0 AND wanted = 0")?.execute([])?;
        Ok(())
    }

    /// Says how many bytes of parts may be held in this home.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_cache_limit(&mut self, bytes: u64) -> Result<(), StoreError> {
        super::schema::put_meta(&self.conn, CACHE_LIMIT, &bytes.to_be_bytes())
    }

    /// Notes which parts of a space something refers to, and drops those of which that has not been so for long; gives
    /// their bytes.
    ///
    /// # Errors
    /// [`StoreError`]; called again it goes on.
    pub fn sweep_parts(&mut self, space: &SpaceId, now_ms: i64) -> Result<u64, StoreError> {
        let row = find_space(&self.conn, space)?.row;
        let sql = "SELECT hash FROM kept_attachment WHERE space = ?1 AND wanted <> 0 AND pinned = 0";
        for hash in self.reads().all(sql, [row], |row| Ok(ContentHash(row.get(0)?)))? {
            if self.reads().attachment(space, &hash)?.is_some_and(|attachment| attachment.held().is_some()) {
                self.want_attachment(space, &hash, false)?;
            }
        }
        let sql = "SELECT o.object, p.loose_ms IS NOT NULL FROM part p JOIN object o ON o.id = p.object
                   WHERE p.space = ?1";
        let held = self.reads().all(sql, [row], |row| Ok((EnvelopeId(row.get(0)?), row.get::<_, bool>(1)?)))?;
        if held.is_empty() {
            return Ok(0);
        }
        let transaction = begin(&self.conn)?;
        let live = live(&transaction, row, now_ms)?;
        let sql = "UPDATE part SET loose_ms = ?3
                   WHERE object = (SELECT id FROM object WHERE space = ?1 AND object = ?2)";
        for (id, was_loose) in held {
            let is_loose = !live.contains(&id);
            if is_loose != was_loose {
                transaction.prepare_cached(sql)?.execute((row, id.as_ref(), is_loose.then_some(now_ms)))?;
            }
        }
        reseal::note_contents(&transaction, row)?;
        transaction.commit()?;
        let sql = "SELECT object, bytes FROM part WHERE space = ?1 AND loose_ms <= ?2 LIMIT ?3";
        let mut freed = 0;
        loop {
            let transaction = begin(&self.conn)?;
            let keys = (row, now_ms.saturating_sub(LOOSE_MS_MAX), BATCH);
            let gone = Reads { conn: &transaction }.all(sql, keys, |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
            for (object, bytes) in &gone {
                delete(&transaction, *object)?;
                freed += u64::try_from(*bytes).unwrap_or(0);
            }
            transaction.commit()?;
            if gone.is_empty() {
                return Ok(freed);
            }
        }
    }

    /// Makes room where parts of this home take more than may be held: those that were read longest ago go first, and
    /// only those that a relay is known to hold and nobody wants here. Gives the bytes that went.
    ///
    /// # Errors
    /// [`StoreError`]; called again it goes on.
    pub fn evict_parts(&mut self) -> Result<u64, StoreError> {
        let limit = self.reads().cache_limit()?;
        let kept = self.parts_to_stay()?;
        let mut freed = 0;
        loop {
            let transaction = begin(&self.conn)?;
            let reads = Reads { conn: &transaction };
            let all = reads.count("SELECT coalesce(sum(bytes), 0) FROM part", [])?;
            let mut over = all.saturating_sub(limit);
            if over == 0 {
                return Ok(freed);
            }
            let sql = "SELECT p.object, p.bytes, p.space, o.object FROM part p JOIN object o ON o.id = p.object
                       WHERE EXISTS (SELECT 1 FROM given g WHERE g.object = p.object) ORDER BY p.used_ms, p.object";
            let found = reads.all(sql, [], |row| {
                let bytes: i64 = row.get(1)?;
                Ok((row.get::<_, i64>(0)?, u64::try_from(bytes).unwrap_or(0), (row.get(2)?, EnvelopeId(row.get(3)?))))
            })?;
            let mut gone = 0;
            for (object, bytes, _) in found.iter().filter(|(.., id)| !kept.contains(id)) {
                if over == 0 || gone == BATCH {
                    break;
                }
                delete(&transaction, *object)?;
                (over, freed, gone) = (over.saturating_sub(*bytes), freed + bytes, gone + 1);
            }
            transaction.commit()?;
            if gone == 0 {
                return Ok(freed);
            }
        }
    }

    /// Parts of what is pinned or wanted here, by space.
    fn parts_to_stay(&self) -> Result<BTreeSet<(i64, EnvelopeId)>, StoreError> {
        let sql = "SELECT s.id, s.space, k.hash FROM kept_attachment k JOIN space s ON s.id = k.space";
        let kept =
            self.reads().all(sql, [], |row| Ok((row.get(0)?, SpaceId(row.get(1)?), ContentHash(row.get(2)?))))?;
        let mut parts = BTreeSet::new();
        for (row, space, hash) in kept {
            let lists = self.reads().attachment(&space, &hash)?.map(|attachment| attachment.lists).unwrap_or_default();
            parts.extend(lists.into_iter().flat_map(|list| list.parts).map(|id| (row, id)));
        }
        Ok(parts)
    }
}

fn delete(conn: &Connection, object: i64) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM given WHERE object = ?1",
        "DELETE FROM part WHERE object = ?1",
        "DELETE FROM object WHERE id = ?1",
    ] {
        conn.prepare_cached(sql)?.execute([object])?;
    }
    Ok(())
}

/// Every part that something refers to, whichever way a content was cut.
pub(super) fn live(conn: &Connection, space: i64, now_ms: i64) -> Result<BTreeSet<EnvelopeId>, StoreError> {
    let sql = "SELECT a.parts FROM attachment a JOIN document d ON d.id = a.doc
               WHERE d.space = ?1 AND EXISTS (
                   SELECT 1 FROM note_attachment f JOIN note n ON n.doc = f.doc AND n.key = ''
                   JOIN document e ON e.id = f.doc
                   WHERE f.hash = a.hash AND e.space = ?1 AND coalesce(n.trashed_ms, ?2) >= ?2)";
    let mut live = BTreeSet::new();
    for ids in
        (Reads { conn }).all(sql, (space, now_ms.saturating_sub(TRASH_KEEPS_MS)), |row| row.get::<_, Vec<u8>>(0))?
    {
        live.extend(ids.as_chunks::<32>().0.iter().copied().map(EnvelopeId));
    }
    Ok(live)
}
