//! Objects outside streams, chunks and blob parts: kept by id, in no log, paid for by whoever brought them.

use std::collections::HashSet;

use super::db::Db;
use super::log::{Log, Used, signed};
use super::reader::PageBounds;
use super::{PushJob, StoreError};
use crate::limits::{Limits, UNNAMED_MS};
use crate::space::View;
use lifeos_sync_protocol::envelope::Kind;
use lifeos_sync_protocol::frame::{PageBuilder, PushResult, PushStatus};
use lifeos_sync_protocol::ids::{EnvelopeId, SignPk};

/// How old the word that an object is needed may become before it is written down anew.
const REFRESH_MS: u64 = 24 * 60 * 60 * 1000;

/// A chunk or blob part whose author and signature have been checked.
pub(crate) struct Object {
    /// Which result of the job is its own.
    pub(crate) index: usize,
    /// Its content address.
    pub(crate) id: EnvelopeId,
    /// Chunk or BlobPart.
    pub(crate) kind: Kind,
    /// As pushed.
    pub(crate) bytes: Vec<u8>,
}

/// Stores the objects of a job that are new and fit; answers what they take.
pub(super) fn store(
    db: &Db,
    log: &mut Log,
    job: &mut PushJob,
    limits: &Limits,
    full: bool,
) -> Result<Used, StoreError> {
    let view = job.space.view();
    let mut stored = Used::default();
    for object in &job.objects {
        let status = if is_held(db, log.space_no, object, job.now_ms)? {
            PushStatus::Dup
        } else {
            let more = Used { bytes: object.bytes.len() as u64, envelopes: 0, objects: 1 };
            if !full && fits(log, &view, &job.pusher, object.kind, more, limits) {
                insert(db, log, object, &job.pusher, job.now_ms, more)?;
                stored = stored.with(more);
                // One that nothing names goes in time; one that a checkpoint waits for lets it go on now.
                log.call_for_look(if log.has_waiting { 0 } else { job.now_ms.saturating_add(UNNAMED_MS) });
                PushStatus::Ok
            } else {
                PushStatus::Quota
            }
        };
        if let Some(result) = job.results.get_mut(object.index) {
            *result = PushResult { status, pos: None };
        }
    }
    Ok(stored)
}

/// Whether an object is here; if so, somebody needs it still.
fn is_held(db: &Db, space_no: i64, object: &Object, now_ms: u64) -> Result<bool, StoreError> {
    let sql = "SELECT no, since_ms FROM object WHERE space = ?1 AND id = ?2";
    let held = db.first(sql, (space_no, object.id.as_ref()), |row| Ok((row.get::<i64>(0)?, row.unsigned(1)?)))?;
    let Some((no, since_ms)) = held else { return Ok(false) };
    if since_ms.saturating_add(REFRESH_MS) <= now_ms {
        db.execute("UPDATE object SET since_ms = ?2 WHERE no = ?1", (no, signed(now_ms)))?;
    }
    Ok(true)
}

/// A full space must still be able to shrink, which begins with chunks: they may go beyond by a part of the limit.
fn fits(log: &Log, view: &View, pusher: &SignPk, kind: Kind, more: Used, limits: &Limits) -> bool {
    let bytes = |max: u64| match kind {
        Kind::Chunk => max.saturating_add(max / 100 * u64::from(limits.chunk_extra_percent)),
        _ => max,
    };
    let counted = |used: Used| Used { envelopes: used.objects, ..used };
    let more = counted(more);
    counted(log.held()).fits(more, bytes(limits.space_bytes_max), limits.space_objects_max)
        && counted(log.held_by(view.siblings(pusher))).fits(
            more,
            bytes(limits.member_bytes_max),
            limits.member_objects_max,
        )
}

fn insert(db: &Db, log: &mut Log, object: &Object, pusher: &SignPk, now_ms: u64, more: Used) -> Result<(), StoreError> {
    let sql = "INSERT INTO object (space, id, kind, device, since_ms, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (id, kind) = (object.id.as_ref(), object.kind as u8);
    db.execute(sql, (log.space_no, id, kind, pusher.as_ref(), signed(now_ms), &object.bytes))?;
    db.execute(
        "INSERT INTO object_use (space, device, bytes, objects) VALUES (?1, ?2, ?3, 1) ON CONFLICT (space, device)
         DO UPDATE SET bytes = object_use.bytes + excluded.bytes, objects = object_use.objects + 1",
        (log.space_no, pusher.as_ref(), signed(more.bytes)),
    )?;
    log.book_object(pusher, more);
    Ok(())
}

/// The next of the named objects that are here, as far as they fit one page (the first in any case), and how many of
/// the ids that has dealt with.
pub(super) fn read(
    db: &Db,
    space_no: i64,
    ids: &[EnvelopeId],
    bounds: PageBounds,
) -> Result<(PageBuilder, usize), StoreError> {
    let find = "SELECT no, length(bytes) FROM object WHERE space = ?1 AND id = ?2";
    let take = "SELECT bytes FROM object WHERE no = ?1";
    let mut page: Option<PageBuilder> = None;
    for (done, id) in ids.iter().enumerate() {
        let found = db.first(find, (space_no, id.as_ref()), |row| Ok((row.get::<i64>(0)?, row.unsigned(1)?)))?;
        let Some((no, bytes)) = found else { continue };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if page.as_ref().is_some_and(|page| !bounds.has_room(page, bytes)) {
            return Ok((page.unwrap_or_else(|| PageBuilder::with_room(0)), done));
        }
        let page = page.get_or_insert_with(|| PageBuilder::with_room(bytes));
        db.each(take, [no], |row| {
            page.push(0, row.blob(0)?);
            Ok(false)
        })?;
    }
    Ok((page.unwrap_or_else(|| PageBuilder::with_room(0)), ids.len()))
}

/// Objects that nothing names.
#[derive(Debug, Default)]
pub(crate) struct Unnamed {
    /// Old enough to go.
    pub(crate) objects: Vec<EnvelopeId>,
    /// When the first of the chunks that are not old enough was brought (ms UTC), named or not.
    pub(crate) next_since_ms: Option<u64>,
}

/// Looks for objects that are not `named` and were last brought at or before these times: chunks, blob parts.
pub(super) fn unnamed(
    db: &Db,
    space_no: i64,
    named: &HashSet<EnvelopeId>,
    (chunks_ms, parts_ms): (u64, u64),
    count: usize,
) -> Result<Unnamed, StoreError> {
    let mut found = Unnamed::default();
    let sql = "SELECT id FROM object WHERE space = ?1 AND kind = ?2 AND since_ms <= ?3 ORDER BY since_ms";
    for (kind, before_ms) in [(Kind::Chunk, chunks_ms), (Kind::BlobPart, parts_ms)] {
        db.each(sql, (space_no, kind as u8, signed(before_ms)), |row| {
            let (id, has_room) = (EnvelopeId(row.id::<32>(0)?), found.objects.len() < count);
            if has_room && !named.contains(&id) {
                found.objects.push(id);
            }
            Ok(has_room)
        })?;
    }
    let sql = "SELECT min(since_ms) FROM object WHERE space = ?1 AND kind = ?2 AND since_ms > ?3";
    let next = db.one(sql, (space_no, Kind::Chunk as u8, signed(chunks_ms)), |row| row.get::<Option<i64>>(0))?;
    found.next_since_ms = next.and_then(|since_ms| u64::try_from(since_ms).ok());
    Ok(found)
}
