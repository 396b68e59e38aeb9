//! Erasing a document: it is scheduled, forgotten here with everything that was stored of it, told to the others, and
//! scrubbed out of the database's files.
//!
//! ```text
//! schedule_erasure ─ due, and still in the trash ─▶ erase_due: rows, history, search, unsent edits go in one commit
//!        └ take_back_erasure                           └─▶ seal_erasures ─▶ `5: erased` of an envelope ─▶ the others
//! an erasure of somebody else's ─▶ receive::erase ─▶ the same rows go;  scrub: the bytes go, too
//! ```
//! What was erased stays erased: later changes of it are set aside, and a checkpoint made behind it does not hold it.
//! Only notes can be erased; documents that a space has one of are left alone whatever is said.

use std::collections::{BTreeMap, HashMap, HashSet};

use automerge::Change;
use lifeos_sync_protocol::ids::{DocId, EpochRef, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use lifeos_sync_protocol::record::{Body, Cut, Record, Role};
use rusqlite::Connection;

use super::documents::DocRow;
use super::records::{find_space, load as load_records};
use super::seal::{insert_envelope, move_tip, own_tip, position};
use super::{Reads, Step, Store, StoreError, Tx, begin, schema};
use crate::crypto::{Random, random_bytes};
use crate::delta::{DELTA_ERASED_MAX, Delta, ERASED_HEADS_MAX, ErasedDoc};
use crate::document::{Document, singleton_doc_id};
use crate::envelope;
use crate::fence::is_genesis_actor;
use crate::keys::{DeviceKeys, SealKey};
use crate::modules::notes::typed::TYPED_BYTES_MAX;
use crate::modules::notes::{attachments, note};
use crate::records::role_given;
use crate::registry::{self, NOTE_GENESIS};

/// Key of the mark that bytes of erased documents may still lie in the database's files.
const SCRUB: &str = "scrub";
/// The window of a plan is counted in time that this device has seen: between two looks at the clock no more of it passes
/// than this, however far the clock has gone.
const LOOK_MS_MAX: i64 = 24 * 3_600_000;
/// How often the clock is looked at for a plan.
const LOOK_EVERY_MS: i64 = 3_600_000;
/// What that mark says once the database was written anew: its log is still to be emptied.
const LOG_ONLY: &[u8] = &[2];

/// Why a change of a document that was erased is set aside.
pub(super) const ERASED: &str = "it changes a note that was erased: the note does not come back";
/// Why an envelope is set aside that erases what its author may not, as far as is known here.
pub(super) const NOT_ENTITLED: &str =
    "it erases a note that its author may not erase: an owner or admin may, or who alone wrote it";

/// How far an erasure has come on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErasureState {
    /// It takes place at this time (ms UTC), unless it is taken back.
    Scheduled {
        /// When.
        due_ms: i64,
    },
    /// Erased here; the others are told at the next sync.
    Untold,
    /// Erased here, as an envelope of this stream says.
    Told {
        /// Whose.
        device: SignPk,
        /// Its stream.
        stream: StreamId,
        /// Which envelope.
        seq: u32,
    },
    /// Erased here, because a checkpoint that was taken in said so.
    ByCheckpoint,
}

/// A document that is erased or is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Which.
    pub doc: DocId,
    /// How far it has come here.
    pub state: ErasureState,
    /// Since when it is so (ms UTC).
    pub since_ms: i64,
    /// Only its history goes.
    pub keeps_text: bool,
    /// Where its text goes on.
    pub successor: Option<DocId>,
    /// Edits of this device that were never sent and went with it.
    pub unsent: u64,
    /// What was typed elsewhere while only the history was to go, and is not in the new note.
    pub late: String,
}

impl Store {
    /// Plans that a note is forgotten from `due_ms` on, later by what the clock leaps or the device is off for more than a
    /// day until then: the whole note if it is in the trash then (or `is_sure`), or its
    /// history only, with a new note in its place. Planning it again changes the plan.
    ///
    /// # Errors
    /// [`StoreError::WrongKind`] when it is no note.
    pub fn schedule_erasure(
        &mut self,
        space: &SpaceId,
        doc: &DocId,
        (keeps_text, is_sure): (bool, bool),
        (due_ms, now_ms): (i64, i64),
    ) -> Result<(), StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        let found = DocRow::find(&transaction, row, doc)?;
        if found.is_none_or(|found| found.genesis != NOTE_GENESIS) {
            return Err(StoreError::WrongKind);
        }
        look_at_clock(&transaction, (space, row), now_ms)?;
        let sql =
            "INSERT INTO erased(space, doc, state, keeps, is_sure, due_ms, since_ms) VALUES (?1, ?2, 0, ?3, ?4, ?5, ?6)
                   ON CONFLICT(space, doc) DO UPDATE SET keeps = excluded.keeps, is_sure = excluded.is_sure,
                       due_ms = excluded.due_ms, since_ms = excluded.since_ms WHERE state = 0";
        transaction.prepare_cached(sql)?.execute((row, doc.as_ref(), keeps_text, is_sure, due_ms, now_ms))?;
        Ok(transaction.commit()?)
    }

    /// Whether a device may have a note erased as it is here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn may_erase(
        &self,
        space: &SpaceId,
        (membership, device): (&Membership, &SignPk),
        doc: &DocId,
    ) -> Result<bool, StoreError> {
        let own = find_space(&self.conn, space)?;
        let Some(found) = DocRow::find(&self.conn, own.row, doc)? else { return Ok(false) };
        let heads = heads(&self.conn, found.id)?;
        let author = Author { device, stream: &own.stream, had: None };
        may_erase(&self.conn, (space, own.row), membership, author, (doc, &heads))
    }

    /// Takes a plan back; false: there is none, or it has been carried out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take_back_erasure(&mut self, space: &SpaceId, doc: &DocId) -> Result<bool, StoreError> {
        let row = find_space(&self.conn, space)?.row;
        let sql = "DELETE FROM erased WHERE space = ?1 AND doc = ?2 AND state = 0";
        Ok(self.conn.prepare_cached(sql)?.execute((row, doc.as_ref()))? > 0)
    }

    /// Forgets what was typed elsewhere in a note of which only the history was erased: the person has read it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_typed(&mut self, space: &SpaceId, doc: &DocId) -> Result<bool, StoreError> {
        let row = find_space(&self.conn, space)?.row;
        let sql = "UPDATE erased SET late = '' WHERE space = ?1 AND doc = ?2 AND late <> ''";
        let is_gone = self.conn.prepare_cached(sql)?.execute((row, doc.as_ref()))? > 0;
        if is_gone {
            schema::put_meta(&self.conn, SCRUB, &[1])?;
        }
        Ok(is_gone)
    }

    /// Forgets what is due, in one commit a note; gives what changed. A plan whose note was taken out of the trash is
    /// dropped. Who may erase only what is theirs alone waits until its own edits of the note are sealed.
    ///
    /// # Errors
    /// [`StoreError`]; called again it goes on.
    pub fn erase_due(
        &mut self,
        space: &SpaceId,
        (membership, device): (&Membership, &SignPk),
        now_ms: i64,
        random: &mut dyn Random,
    ) -> Result<Vec<DocId>, StoreError> {
        let row = find_space(&self.conn, space)?.row;
        self.look_at_clock(space, now_ms)?;
        let sql = "SELECT doc, keeps, is_sure FROM erased WHERE space = ?1 AND state = 0 AND due_ms <= ?2 ORDER BY doc";
        let due = self
            .reads()
            .all(sql, (row, now_ms), |row| Ok((DocId(row.get(0)?), row.get::<_, bool>(1)?, row.get::<_, bool>(2)?)))?;
        let mut changed = Vec::new();
        for (doc, keeps_text, is_sure) in due {
            match self.erase_one(space, (membership, device), (&doc, keeps_text, is_sure), now_ms, random) {
                Ok(docs) => changed.extend(docs),
                // What cannot be read, or is too long for a new note, holds up nothing else: the plan stays.
                Err(
                    error @ (StoreError::Document(_)
                    | StoreError::DocumentWithoutSnapshot
                    | StoreError::DocumentNotRead
                    | StoreError::EditTooLarge
                    | StoreError::WrongKind),
                ) => tracing::warn!(%error, "an erasure that is due cannot be carried out yet"),
                Err(error) => return Err(error),
            }
        }
        Ok(changed)
    }

    /// Looks at the clock for the plans of a space: they are put off by what it went beyond what counts since the last
    /// look, or went back. [`Self::erase_due`] does so, too.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn look_at_clock(&mut self, space: &SpaceId, now_ms: i64) -> Result<(), StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        look_at_clock(&transaction, (space, row), now_ms)?;
        Ok(transaction.commit()?)
    }

    /// Forgets one document that is due, if it still is to be; gives what changed.
    fn erase_one(
        &mut self,
        space: &SpaceId,
        (membership, device): (&Membership, &SignPk),
        (doc, keeps_text, is_sure): (&DocId, bool, bool),
        now_ms: i64,
        random: &mut dyn Random,
    ) -> Result<Vec<DocId>, StoreError> {
        let own = find_space(&self.conn, space)?;
        let Some(found) = DocRow::find(&self.conn, own.row, doc)? else {
            self.take_back_erasure(space, doc)?;
            return Ok(Vec::new());
        };
        let is_trashed = self.reads().note(space, doc)?.is_some_and(|note| note.trashed_ms.is_some());
        if !keeps_text && !is_sure && !is_trashed {
            self.take_back_erasure(space, doc)?;
            return Ok(Vec::new());
        }
        let unsent = unsent(&self.conn, found.id)?;
        let heads = if unsent == 0 { heads(&self.conn, found.id)? } else { Vec::new() };
        let is_short = heads.len() <= ERASED_HEADS_MAX;
        let author = Author { device, stream: &own.stream, had: None };
        if !is_short || !may_erase(&self.conn, (space, own.row), membership, author, (doc, &heads))? {
            return Ok(Vec::new());
        }
        let successor = keeps_text.then(|| DocId(random_bytes(random)));
        let ((), commit) = self.write(space, now_ms, |tx| tx.erase_planned(space, doc, &heads, successor))?;
        Ok(commit.docs)
    }

    /// Tells the others what was erased here, in as many envelopes as that takes; gives how many. Nothing is told while
    /// edits wait for sealing: what goes on elsewhere is sent first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn seal_erasures(
        &mut self,
        space: &SpaceId,
        keys: &DeviceKeys,
        key: &SealKey,
        random: &mut dyn Random,
    ) -> Result<usize, StoreError> {
        let transaction = begin(&self.conn)?;
        let space_ref = find_space(&transaction, space)?;
        let forked = schema::meta(&transaction, &super::seal::forked_key(space))?.is_some();
        let untold = untold(&transaction, space_ref.row)?;
        if forked || untold.is_empty() || (Reads { conn: &transaction }).pending_count(space)? > 0 {
            return Ok(0);
        }
        let (mut tip, mut envelopes) = (own_tip(&transaction, space_ref)?, 0);
        let sql = "UPDATE erased SET state = 2, position = ?3, epoch = ?4 WHERE space = ?1 AND doc = ?2";
        for erased in untold.chunks(DELTA_ERASED_MAX) {
            let delta = Delta { erased: erased.to_vec(), ..Delta::default() };
            let sealed = envelope::seal(space, &tip, keys, key.epoch(), key.secret(), &delta, random)?;
            (tip.seq, tip.id) = (sealed.seq, sealed.id.0);
            insert_envelope(&transaction, space_ref.stream_row, &sealed)?;
            let position = position(space_ref.stream_row, sealed.seq);
            for erased in erased {
                let values = (space_ref.row, erased.doc.as_ref(), position, key.epoch().as_ref().to_vec());
                transaction.prepare_cached(sql)?.execute(values)?;
            }
            envelopes += 1;
        }
        move_tip(&transaction, space_ref.stream_row, &tip)?;
        transaction.commit()?;
        Ok(envelopes)
    }

    /// Writes the database anew without what was erased, and empties its write-ahead log, if anything was erased since
    /// the last time. False: there is nothing to do, or somebody still reads the old one; then it is to be called again.
    /// Takes as long as copying the database.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn scrub(&mut self) -> Result<bool, StoreError> {
        let Some(mark) = schema::meta(&self.conn, SCRUB)? else { return Ok(false) };
        if mark != LOG_ONLY {
            // What is taken out of the index is only marked as gone, until its parts are merged.
            self.conn.execute("INSERT INTO search(search) VALUES ('optimize')", [])?;
            self.conn.execute_batch("VACUUM")?;
            // Whoever still reads keeps the log from being emptied, and is no reason to write all of it anew again.
            schema::put_meta(&self.conn, SCRUB, LOG_ONLY)?;
        }
        let busy: i64 = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy == 0 {
            schema::remove_meta(&self.conn, SCRUB)?;
        }
        Ok(busy == 0)
    }

    /// Whether [`Self::scrub`] has something to do.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_to_scrub(&self) -> Result<bool, StoreError> {
        Ok(schema::meta(&self.conn, SCRUB)?.is_some())
    }

    /// Devices that told of an erasure under this epoch behind which no checkpoint stands yet: it is to be made under a
    /// later one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn erased_under(&self, space: &SpaceId, epoch: &EpochRef) -> Result<Vec<SignPk>, StoreError> {
        let row = find_space(&self.conn, space)?.row;
        let sql = format!("SELECT DISTINCT s.device FROM erased e {BEHIND} AND e.epoch = ?2");
        self.reads().all(&sql, (row, epoch.as_ref()), |row| Ok(SignPk(row.get(0)?)))
    }

    /// Whether this device told of an erasure behind which no checkpoint stands yet: making one is its business.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_told_erasure(&self, space: &SpaceId) -> Result<bool, StoreError> {
        let found = find_space(&self.conn, space)?;
        let sql = format!("SELECT count(*) FROM erased e {BEHIND} AND s.id = ?2");
        Ok(self.reads().count(&sql, (found.row, found.stream_row))? > 0)
    }
}

fn looked_key(space: &SpaceId) -> String {
    format!("erase-looked:{space}")
}

/// When the clock was last looked at for planned erasures.
fn looked(conn: &Connection, space: &SpaceId) -> Result<Option<i64>, StoreError> {
    let stored = schema::meta(conn, &looked_key(space))?;
    Ok(stored.and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes))
}

fn is_look_fresh(looked_ms: Option<i64>, now_ms: i64) -> bool {
    looked_ms.is_some_and(|looked_ms| (0..=LOOK_EVERY_MS).contains(&now_ms.saturating_sub(looked_ms)))
}

/// Puts plans off by what the clock went beyond what counts since the last look, or went back.
fn look_at_clock(conn: &Connection, (space, row): (&SpaceId, i64), now_ms: i64) -> Result<(), StoreError> {
    let looked_ms = looked(conn, space)?;
    if is_look_fresh(looked_ms, now_ms) {
        return Ok(());
    }
    let step = now_ms.saturating_sub(looked_ms.unwrap_or(now_ms));
    let put_off = step.min(0).saturating_add(step.saturating_sub(LOOK_MS_MAX).max(0));
    if put_off != 0 {
        let sql = "UPDATE erased SET due_ms = due_ms + ?2 WHERE space = ?1 AND state = 0";
        conn.prepare_cached(sql)?.execute((row, put_off))?;
    }
    schema::put_meta(conn, &looked_key(space), &now_ms.to_be_bytes())
}

/// Erasures of a space that no checkpoint made or compared here stands behind.
pub(super) const BEHIND: &str = "JOIN stream s ON s.id = e.position >> 32
    WHERE e.space = ?1 AND e.state = 2 AND (e.position & 4294967295) > max(s.cut_seq, s.floor)";

impl Tx<'_> {
    /// Forgets a note as it was planned.
    fn erase_planned(
        &mut self,
        space: &SpaceId,
        doc: &DocId,
        heads: &[[u8; 32]],
        successor: Option<DocId>,
    ) -> Result<(), StoreError> {
        self.step(Step::None);
        let now_ms = self.now_ms();
        if let Some(successor) = &successor {
            let row = self.reads().note(space, doc)?.ok_or(StoreError::WrongKind)?;
            let markdown = self.read(doc, |document| note::markdown_of(document.read()))?;
            let markdown = markdown.ok_or(StoreError::WrongKind)??;
            let draft = note::Draft {
                title: &row.title,
                markdown: &markdown,
                notebook: row.notebook.as_deref(),
                tags: &row.tags,
                kind: note::special(&row.kind),
                source: None,
            };
            let attached = self.read(doc, |document| attachments::attachments(document.read()))?.unwrap_or_default();
            self.edit(successor, NOTE_GENESIS, |new| -> Result<(), StoreError> {
                note::create(new, &draft, now_ms)?;
                for (content, name) in &attached {
                    attachments::attach(new, content, name)?;
                }
                note::pin(new, row.pinned)?;
                match row.trashed_ms {
                    Some(trashed_ms) => Ok(note::trash(new, trashed_ms)?),
                    None => Ok(()),
                }
            })?;
        }
        self.erase(doc, heads, successor.as_ref())
    }
}

/// What is stored of an erasure that takes place.
pub(super) struct Effect<'e> {
    pub(super) doc: &'e DocId,
    /// 1: nobody was told; 2: an envelope or a checkpoint says so.
    pub(super) state: u8,
    /// Where that envelope lies; 0: a checkpoint says so.
    pub(super) position: i64,
    pub(super) epoch: Option<EpochRef>,
    pub(super) heads: &'e [[u8; 32]],
    pub(super) successor: Option<&'e DocId>,
    pub(super) unsent: u64,
}

/// Remembers that a document is erased, and that its bytes are to be scrubbed. What is known of one that was erased
/// before stays: one that nobody was told of is left to [`Store::seal_erasures`] whatever others say.
pub(super) fn put(conn: &Connection, space: i64, effect: &Effect<'_>, now_ms: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO erased(space, doc, state, due_ms, since_ms, position, epoch, heads, successor, unsent)
               VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT(space, doc) DO UPDATE SET state = excluded.state, since_ms = excluded.since_ms,
                   position = excluded.position, epoch = excluded.epoch, heads = excluded.heads,
                   successor = excluded.successor, unsent = unsent + excluded.unsent WHERE state = 0";
    conn.prepare_cached(sql)?.execute((
        space,
        effect.doc.as_ref(),
        effect.state,
        now_ms,
        effect.position,
        effect.epoch.map(|epoch| epoch.0),
        effect.heads.concat(),
        effect.successor.map(AsRef::as_ref),
        i64::try_from(effect.unsent).unwrap_or(i64::MAX),
    ))?;
    for sql in
        ["DELETE FROM waiting WHERE space = ?1 AND doc = ?2", "DELETE FROM damaged WHERE space = ?1 AND doc = ?2"]
    {
        conn.prepare_cached(sql)?.execute((space, effect.doc.as_ref()))?;
    }
    // Where it was the rest of a note without its history, what was typed elsewhere in that goes with it.
    let typed = "UPDATE erased SET late = '' WHERE space = ?1 AND successor = ?2";
    conn.prepare_cached(typed)?.execute((space, effect.doc.as_ref()))?;
    // Its steps name changes that are gone.
    conn.prepare_cached("DELETE FROM undo WHERE space = ?1")?.execute([space])?;
    schema::put_meta(conn, SCRUB, &[1])
}

/// Where it was said that only the history of a document is erased; 0: nobody was told yet. `None`: it is not so.
pub(super) fn history_erased_at(conn: &Connection, space: i64, doc: &DocId) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT position FROM erased WHERE space = ?1 AND doc = ?2 AND state > 0 AND successor IS NOT NULL";
    Reads { conn }.one(sql, (space, doc.as_ref()), |row| row.get(0))
}

/// Keeps what was typed in a note of which only the history was to go, for the person to read.
pub(super) fn keep_typed(conn: &Connection, space: i64, doc: &DocId, text: &str) -> Result<(), StoreError> {
    let sql = "UPDATE erased SET late = CASE late WHEN '' THEN ?3 ELSE late || char(10) || ?3 END
               WHERE space = ?1 AND doc = ?2 AND length(late) < ?4
               AND instr(char(10) || late || char(10), char(10) || ?3 || char(10)) = 0";
    if !text.is_empty() {
        let most = i64::try_from(TYPED_BYTES_MAX).unwrap_or(i64::MAX);
        conn.prepare_cached(sql)?.execute((space, doc.as_ref(), text, most))?;
    }
    Ok(())
}

/// Documents that are erased here, with where it was said.
pub(super) fn erased(conn: &Connection, space: i64) -> Result<BTreeMap<DocId, i64>, StoreError> {
    let sql = "SELECT doc, position FROM erased WHERE space = ?1 AND state > 0";
    Ok(Reads { conn }.all(sql, [space], |row| Ok((DocId(row.get(0)?), row.get(1)?)))?.into_iter().collect())
}

/// Changes of a document that were never sent.
pub(super) fn unsent(conn: &Connection, doc: i64) -> Result<u64, StoreError> {
    Reads { conn }.count("SELECT count(*) FROM change WHERE doc = ?1 AND state > 0", [doc])
}

fn heads(conn: &Connection, doc: i64) -> Result<Vec<[u8; 32]>, StoreError> {
    let heads: Option<Vec<u8>> =
        Reads { conn }.one("SELECT heads FROM document WHERE id = ?1", [doc], |row| row.get(0))?;
    let mut heads = heads.unwrap_or_default().as_chunks::<32>().0.to_vec();
    heads.sort_unstable();
    Ok(heads)
}

fn untold(conn: &Connection, space: i64) -> Result<Vec<ErasedDoc>, StoreError> {
    let sql = "SELECT doc, heads, successor FROM erased WHERE space = ?1 AND state = 1 ORDER BY doc";
    Reads { conn }.all(sql, [space], |row| {
        let heads: Vec<u8> = row.get(1)?;
        let successor: Option<[u8; 16]> = row.get(2)?;
        let heads = heads.as_chunks::<32>().0.to_vec();
        Ok(ErasedDoc { doc: DocId(row.get(0)?), heads, successor: successor.map(DocId) })
    })
}

/// Who says that a document is erased.
#[derive(Clone, Copy)]
pub(super) struct Author<'a> {
    pub(super) device: &'a SignPk,
    pub(super) stream: &'a StreamId,
    /// The role of then, if it was taken away since by somebody who had seen what is said.
    pub(super) had: Option<Role>,
}

/// Records in effect that give or take a role, in their order.
pub(super) fn role_records(conn: &Connection, space: i64, membership: &Membership) -> Result<Vec<Record>, StoreError> {
    let gives = |record: &Record| {
        matches!(record.body(), Body::DeviceRemove { .. } | Body::MemberRemove { .. })
            || role_given(membership, record).is_some()
    };
    let mut records = load_records(conn, space)?;
    records.retain(|record| gives(record) && !membership.void.contains_key(&record.id()));
    records.sort_unstable_by_key(Record::order);
    Ok(records)
}

/// The role that the author's member had when whoever took it away saw what is said, as their cuts tell; `None`: nobody
/// who did so had seen it.
pub(super) fn role_before(
    membership: &Membership,
    records: &[Record],
    device: &SignPk,
    saw: impl Fn(&[Cut]) -> bool,
) -> Option<Role> {
    let member = membership.devices.get(device)?.member;
    let mut had = None;
    for record in records {
        let is_taken = match record.body() {
            Body::DeviceRemove { device: gone, cuts, .. } => gone == device && saw(cuts),
            Body::MemberRemove { member: gone, cuts, .. } => *gone == member && saw(cuts),
            Body::RoleSet { member: of, role, cuts } => *of == member && had < Some(*role) && saw(cuts),
            _ => false,
        };
        if is_taken {
            return had;
        }
        had = role_given(membership, record).filter(|(of, _)| *of == member).map(|(_, role)| role).or(had);
    }
    None
}

/// Whether a device may have a document erased: an owner or admin any note; anybody else a note all of which, up to the
/// heads that are named, its person wrote. Who cannot read the document now cannot tell, and asks again later.
///
/// Who was removed or lost the role since may what they might before, as far as whoever took it away had seen: what they
/// said beside that counts as if they had not had it.
pub(super) fn may_erase(
    conn: &Connection,
    (space, row): (&SpaceId, i64),
    membership: &Membership,
    Author { device, stream, had }: Author<'_>,
    (doc, heads): (&DocId, &[[u8; 32]]),
) -> Result<bool, StoreError> {
    let Some(member) = membership.devices.get(device).map(|device| device.member) else { return Ok(false) };
    let found = DocRow::find(conn, row, doc)?;
    if found.as_ref().is_some_and(|found| found.genesis != NOTE_GENESIS) || is_singleton(space, doc) {
        return Ok(false);
    }
    let role = membership.members.get(&member).map(|member| member.role);
    if role.into_iter().chain(had).any(|role| role <= Role::Admin) {
        return Ok(true);
    }
    let Some(found) = found.filter(|_| !heads.is_empty()) else { return Ok(false) };
    let document = match found.load(conn, StreamId::ZERO) {
        Ok(document) => document,
        Err(error) if error.is_damaged_document() || matches!(error, StoreError::DocumentNotRead) => return Ok(false),
        Err(error) => return Err(error),
    };
    let sql = "SELECT stream, device FROM stream WHERE space = ?1";
    let authors: BTreeMap<StreamId, SignPk> =
        Reads { conn }.all(sql, [row], |row| Ok((StreamId(row.get(0)?), SignPk(row.get(1)?))))?.into_iter().collect();
    let own = |actor: &StreamId| {
        let device = authors.get(actor).and_then(|device| membership.devices.get(device));
        device.is_some_and(|device| device.member == member)
    };
    Ok(is_alone_up_to(document, heads, stream, own))
}

/// Whether every change up to `heads`, every one up to what `stream` wrote, and every one that began the document is
/// `own`. The first change, which all notes have in common, is in reach of anybody: it is passed through and entitles
/// nobody; and a change beside the beginning makes nobody the author of what others began.
fn is_alone_up_to(
    mut document: Document,
    heads: &[[u8; 32]],
    stream: &StreamId,
    own: impl Fn(&StreamId) -> bool,
) -> bool {
    let changes = document.inspect().get_changes(&[]);
    let actor = |change: &Change| StreamId::from_slice(change.actor_id().to_bytes());
    let by_hash: HashMap<[u8; 32], &Change> = changes.iter().map(|change| (change.hash().0, change)).collect();
    let is_first = |change: &Change| actor(change).is_some_and(|actor| is_genesis_actor(&actor));
    let is_own = |change: &Change| actor(change).is_some_and(|actor| own(&actor));
    let begins = |change: &Change| {
        change.deps().iter().all(|dep| by_hash.get(&dep.0).is_some_and(|dep| is_first(dep))) && !is_first(change)
    };
    if changes.iter().any(|change| begins(change) && !is_own(change)) {
        return false;
    }
    let written = changes.iter().filter(|change| actor(change).as_ref() == Some(stream)).map(|change| change.hash().0);
    let mut open: Vec<[u8; 32]> = heads.iter().copied().chain(written).collect();
    let mut seen: HashSet<[u8; 32]> = open.iter().copied().collect();
    while let Some(hash) = open.pop() {
        let Some(change) = by_hash.get(&hash) else { return false };
        if !is_own(change) && (!is_first(change) || heads.contains(&hash)) {
            return false;
        }
        open.extend(change.deps().iter().map(|dep| dep.0).filter(|dep| seen.insert(*dep)));
    }
    true
}

/// Documents of which a space has one each.
pub(super) fn is_singleton(space: &SpaceId, doc: &DocId) -> bool {
    registry::kinds().any(|kind| singleton_doc_id(space, kind.name, "") == *doc)
}

impl Reads<'_> {
    /// Documents that are erased or are to be, by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn erasures(&self, space: &SpaceId) -> Result<Vec<Erasure>, StoreError> {
        let sql = "SELECT e.doc, e.state, e.due_ms, e.since_ms, e.keeps, e.successor, e.unsent, s.device, s.stream,
                       e.position & 4294967295, e.late
                   FROM erased e LEFT JOIN stream s ON s.id = e.position >> 32 AND e.position > 0
                   WHERE e.space = ?1 ORDER BY e.doc";
        self.all(sql, [self.space_row(space)?], |row| {
            let said = row.get::<_, Option<[u8; 32]>>(7)?.zip(row.get::<_, Option<[u8; 16]>>(8)?);
            let state = match (row.get::<_, u8>(1)?, said) {
                (0, _) => ErasureState::Scheduled { due_ms: row.get(2)? },
                (1, _) => ErasureState::Untold,
                (_, Some((device, stream))) => {
                    ErasureState::Told { device: SignPk(device), stream: StreamId(stream), seq: row.get(9)? }
                }
                (_, None) => ErasureState::ByCheckpoint,
            };
            let unsent: i64 = row.get(6)?;
            Ok(Erasure {
                doc: DocId(row.get(0)?),
                state,
                since_ms: row.get(3)?,
                keeps_text: row.get(4)?,
                successor: row.get::<_, Option<[u8; 16]>>(5)?.map(DocId),
                unsent: u64::try_from(unsent).unwrap_or(0),
                late: row.get(10)?,
            })
        })
    }

    /// Whether an erasure is due or the others are still to be told of one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_erasures_to_tell(&self, space: &SpaceId, now_ms: i64) -> Result<bool, StoreError> {
        let untold = "SELECT count(*) FROM erased WHERE space = ?1 AND state = 1";
        Ok(self.count(untold, [self.space_row(space)?])? > 0 || self.has_erasures_due(space, now_ms)?)
    }

    /// Whether a plan is due.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_erasures_due(&self, space: &SpaceId, now_ms: i64) -> Result<bool, StoreError> {
        let sql = "SELECT count(*) FROM erased WHERE space = ?1 AND state = 0 AND due_ms <= ?2";
        Ok(self.count(sql, (self.space_row(space)?, now_ms))? > 0)
    }

    /// Whether [`Store::look_at_clock`] has something to do.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_clock_to_look_at(&self, space: &SpaceId, now_ms: i64) -> Result<bool, StoreError> {
        let plans = "SELECT count(*) FROM erased WHERE space = ?1 AND state = 0";
        Ok(self.count(plans, [self.space_row(space)?])? > 0 && !is_look_fresh(looked(self.conn, space)?, now_ms))
    }

    /// How far devices say that they hold a stream.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn confirmed_through(&self, space: &SpaceId, stream: &StreamId) -> Result<BTreeMap<SignPk, u32>, StoreError> {
        let sql = "SELECT device, seq FROM confirmed WHERE space = ?1 AND stream = ?2";
        let values = (self.space_row(space)?, stream.as_ref());
        Ok(self.all(sql, values, |row| Ok((SignPk(row.get(0)?), row.get(1)?)))?.into_iter().collect())
    }

    /// Up to where the envelopes of a stream are gone from here because a checkpoint stands for them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn floor_of(&self, space: &SpaceId, stream: &StreamId) -> Result<u32, StoreError> {
        let sql = "SELECT floor FROM stream WHERE space = ?1 AND stream = ?2";
        Ok(self.one(sql, (self.space_row(space)?, stream.as_ref()), |row| row.get(0))?.unwrap_or(0))
    }
}
