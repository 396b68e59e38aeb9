//! Reading: a few connections that never wait for the writer, pages of a log, ranges of a stream.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use lifeos_sync_protocol::frame::{Have, Item, PageBuilder};
use lifeos_sync_protocol::ids::{EnvelopeId, LogId, Roll, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::record::Record;
use tokio::sync::Semaphore;

use super::db::{Db, NONE};
use super::follow::Change;
use super::job::Door;
use super::log::{StoredRun, check_end, first, load_tip, run_of, signed};
use super::object::Unnamed;
use super::prune::{Progress, is_complete, progress};
use super::writer::FLAG_VERIFIED_END;
use super::{Engine, Seen, StoreError, position_key, position_of};
use crate::limits::LOOK_MS_MAX;
use crate::metrics::Metrics;
use crate::space::Settled;

/// Connections that read, opened as they are needed.
pub(crate) struct Readers {
    engine: Engine,
    idle: Mutex<Vec<Db>>,
    permits: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// Bytes of envelopes that are read at once. Handing a read to another thread and back costs about as much as
/// reading a page, so a reader that catches up gets its next pages read along.
const READ_AHEAD_BYTES: usize = 128 * 1024;

/// A part of a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Position of its first envelope.
    pub(crate) from: u64,
    /// Envelopes in log order, as they go out; ends at a verified end.
    pub(crate) items: PageBuilder,
    /// Position after them.
    pub(crate) next: u64,
    /// Rolling hash there.
    pub(crate) roll: Roll,
}

/// What a space is loaded from.
pub(crate) struct LoadedSpace {
    pub(crate) no: i64,
    pub(crate) log_id: LogId,
    pub(crate) next_pos: u64,
    pub(crate) roll: Roll,
    pub(crate) bytes: u64,
    /// In order of arrival: parents first.
    pub(crate) records: Vec<Vec<u8>>,
    pub(crate) streams: Vec<(StreamId, SignPk)>,
    /// How far both go.
    pub(crate) seen: Seen,
}

/// What a page may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageBounds {
    pub(crate) bytes_max: usize,
    pub(crate) items_max: usize,
}

impl PageBounds {
    fn fit(&self, page: &PageBuilder, envelope: &[u8]) -> bool {
        self.has_room(page, envelope.len())
    }

    /// Whether an envelope of so many bytes fits beside what a page holds.
    pub(super) fn has_room(&self, page: &PageBuilder, bytes: usize) -> bool {
        page.count() < self.items_max && page.envelope_bytes().saturating_add(bytes) <= self.bytes_max
    }
}

impl Readers {
    pub(super) fn new(engine: Engine, count: usize, metrics: Arc<Metrics>) -> Self {
        Self { engine, idle: Mutex::new(Vec::new()), permits: Arc::new(Semaphore::new(count.max(1))), metrics }
    }

    /// Runs a read on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Db) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let readers = Arc::clone(self);
        let task = crate::blocking::run(move || {
            let _permit = permit;
            let db = readers.connection()?;
            let result = read(&db);
            if db.is_usable() {
                readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
            }
            result
        });
        task.await.unwrap_or(Err(StoreError::Stopped))
    }

    fn connection(&self) -> Result<Db, StoreError> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(db) = idle.pop() {
            if db.is_usable() {
                return Ok(db);
            }
        }
        drop(idle);
        self.engine.reader(&self.metrics)
    }

    /// Everything about a space but its envelopes, or nothing when it is not here.
    pub(crate) async fn space(self: &Arc<Self>, space: SpaceId) -> Result<Option<LoadedSpace>, StoreError> {
        self.run(move |db| load_space(db, &space)).await
    }

    /// Whether a space is here, and if so whether this device may connect to it: one look into two indices, which
    /// is all that a stranger costs.
    pub(crate) async fn door(self: &Arc<Self>, space: SpaceId, device: SignPk) -> Result<Option<Door>, StoreError> {
        self.run(move |db| {
            let sql = "SELECT (SELECT is_gone FROM device_space d WHERE d.device = ?2 AND d.space = s.no)
                       FROM space s WHERE s.id = ?1";
            let door = |gone: Option<bool>| match gone {
                None => Door::Shut,
                Some(true) => Door::Gone,
                Some(false) => Door::Open,
            };
            db.first(sql, [space.as_ref(), device.as_ref()], |row| row.get(0).map(door))
        })
        .await
    }

    /// Spaces that a device is enrolled in, ascending; not those that merely invite its key.
    pub(crate) async fn spaces_of(self: &Arc<Self>, device: SignPk) -> Result<Vec<SpaceId>, StoreError> {
        self.run(move |db| {
            let sql = "SELECT s.id FROM device_space d JOIN space s ON s.no = d.space
                       WHERE d.device = ?1 AND d.is_gone = 0 AND d.is_invited = 0 ORDER BY s.id";
            db.all(sql, [device.as_ref()], |row| Ok(SpaceId(row.id::<32>(0)?)))
        })
        .await
    }

    /// Number of spaces.
    pub(crate) async fn space_count(self: &Arc<Self>) -> Result<u64, StoreError> {
        self.run(|db| db.one("SELECT count(*) FROM space", NONE, |row| row.unsigned(0))).await
    }

    /// Whether the database has reached its limit, if it has one.
    pub(crate) async fn is_full(self: &Arc<Self>, bytes_max: u64) -> Result<bool, StoreError> {
        self.run(move |db| db.is_full(bytes_max)).await
    }

    /// The rolling hash at a position of a log, if the log begins before it and reaches that far.
    pub(crate) async fn roll_at(self: &Arc<Self>, space_no: i64, pos: u64) -> Result<Option<Roll>, StoreError> {
        self.run(move |db| {
            let snapshot = db.snapshot()?;
            roll_at(&snapshot, space_no, pos)
        })
        .await
    }

    /// Pages of positions `from..until`, where `until` is the end of something committed and published: one page,
    /// and those after it as far as they are small.
    pub(crate) async fn pages(
        self: &Arc<Self>,
        space_no: i64,
        from: u64,
        until: u64,
        bounds: PageBounds,
    ) -> Result<VecDeque<Page>, StoreError> {
        self.run(move |db| {
            // One snapshot: what is pruned meanwhile would tear a hole.
            let snapshot = db.snapshot()?;
            let mut pages = VecDeque::new();
            let (mut next, mut bytes) = (from, 0);
            while pages.is_empty() || (next < until && bytes < READ_AHEAD_BYTES) {
                let page = read_page(&snapshot, space_no, next, until, bounds)?;
                bytes += page.items.envelope_bytes();
                let stuck = page.next == next;
                next = page.next;
                pages.push_back(page);
                if stuck {
                    break;
                }
            }
            Ok(pages)
        })
        .await
    }

    /// Floors and tips of all streams of a space, sorted by stream.
    pub(crate) async fn have(self: &Arc<Self>, space_no: i64) -> Result<Vec<Have>, StoreError> {
        self.run(move |db| {
            let sql = "SELECT id, tip_seq, tip_id, floor FROM stream WHERE space = ?1 ORDER BY id";
            db.all(sql, [space_no], |row| {
                let tip_id = row.id::<32>(2)?;
                let mut short = [0; 8];
                short.copy_from_slice(&tip_id[..8]);
                Ok(Have {
                    stream: StreamId(row.id::<16>(0)?),
                    floor: row.get(3)?,
                    tip: row.get(1)?,
                    tip_id: short,
                    holes: Vec::new(),
                })
            })
        })
        .await
    }

    /// The next of the named objects that are here, within the bounds, and which of the ids is the next to look for.
    pub(crate) async fn objects(
        self: &Arc<Self>,
        space_no: i64,
        ids: Arc<[EnvelopeId]>,
        from: usize,
        bounds: PageBounds,
    ) -> Result<(PageBuilder, usize), StoreError> {
        let rest = move |db: &Db| super::object::read(db, space_no, ids.get(from..).unwrap_or(&[]), bounds);
        self.run(rest).await.map(|(page, done)| (page, from + done))
    }

    /// One object, if it is here.
    pub(crate) async fn object(self: &Arc<Self>, space_no: i64, id: EnvelopeId) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(move |db| {
            let sql = "SELECT bytes FROM object WHERE space = ?1 AND id = ?2";
            db.first(sql, (space_no, id.as_ref()), |row| row.get(0))
        })
        .await
    }

    /// Those of these objects that are not here, in the order given.
    pub(crate) async fn lacking(
        self: &Arc<Self>,
        space_no: i64,
        ids: Vec<EnvelopeId>,
    ) -> Result<Vec<EnvelopeId>, StoreError> {
        self.run(move |db| {
            let held = "SELECT 1 FROM object WHERE space = ?1 AND id = ?2";
            let mut lacking = Vec::new();
            for id in ids {
                if !db.exists(held, (space_no, id.as_ref()))? {
                    lacking.push(id);
                }
            }
            Ok(lacking)
        })
        .await
    }

    /// Bytes that these devices' streams, and the objects that they brought, take.
    pub(crate) async fn bytes_of(self: &Arc<Self>, space_no: i64, devices: Vec<SignPk>) -> Result<u64, StoreError> {
        self.run(move |db| {
            let sql = "SELECT device, bytes FROM stream WHERE space = ?1
                       UNION ALL SELECT device, bytes FROM object_use WHERE space = ?1";
            let mut bytes = 0;
            db.each(sql, [space_no], |row| {
                if devices.contains(&SignPk(row.id::<32>(0)?)) {
                    bytes += row.unsigned(1)?;
                }
                Ok(true)
            })?;
            Ok(bytes)
        })
        .await
    }

    /// How far the checkpoints of a space have come.
    pub(crate) async fn checkpoints(self: &Arc<Self>, space_no: i64) -> Result<Vec<Progress>, StoreError> {
        self.run(move |db| progress(db, space_no)).await
    }

    /// Whether a checkpoint's chunks are here, and the envelopes that its cut names; of a stream that is not here at
    /// all, whether its floor was settled before.
    pub(crate) async fn is_complete(
        self: &Arc<Self>,
        space_no: i64,
        record: Arc<Record>,
        settled: HashSet<Settled>,
    ) -> Result<bool, StoreError> {
        self.run(move |db| {
            let snapshot = db.snapshot()?;
            is_complete(&snapshot, space_no, &record, &settled)
        })
        .await
    }

    /// Objects that are not `named`, at most `count`: chunks and blob parts that were last brought before these times
    /// (ms UTC).
    pub(crate) async fn unnamed(
        self: &Arc<Self>,
        space_no: i64,
        named: Arc<HashSet<EnvelopeId>>,
        before_ms: (u64, u64),
        count: usize,
    ) -> Result<Unnamed, StoreError> {
        self.run(move |db| super::object::unnamed(db, space_no, &named, before_ms, count)).await
    }

    /// Spaces that are to be looked after at this time (ms UTC), by number, from behind one of them; also those whose
    /// time was named by a clock that was ahead.
    pub(crate) async fn due(
        self: &Arc<Self>,
        now_ms: u64,
        after_no: i64,
        count: usize,
    ) -> Result<Vec<(i64, SpaceId)>, StoreError> {
        self.run(move |db| {
            let sql = "SELECT no, id FROM space WHERE (look_ms <= ?1 OR look_ms > ?4) AND no > ?2 ORDER BY no LIMIT ?3";
            let ahead_ms = now_ms.saturating_add(LOOK_MS_MAX);
            let bounds = (signed(now_ms), after_no, signed(count as u64), signed(ahead_ms));
            db.all(sql, bounds, |row| Ok((row.get(0)?, SpaceId(row.id::<32>(1)?))))
        })
        .await
    }

    /// The latest receipt of each device.
    pub(crate) async fn receipts(self: &Arc<Self>, space_no: i64) -> Result<Vec<(SignPk, Vec<u8>)>, StoreError> {
        self.run(move |db| {
            let sql = "SELECT device, bytes FROM receipt WHERE space = ?1";
            db.all(sql, [space_no], |row| Ok((SignPk(row.id::<32>(0)?), row.get(1)?)))
        })
        .await
    }

    /// Records of a space that came behind a number, in order, and the number of the last.
    pub(crate) async fn records_after(
        self: &Arc<Self>,
        space_no: i64,
        after: i64,
    ) -> Result<(Vec<Vec<u8>>, i64), StoreError> {
        self.run(move |db| super::follow::records_after(db, space_no, after)).await
    }

    /// Spaces that any relay wrote to since `since`, and what to ask with next.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) async fn changes(self: &Arc<Self>, since: u64) -> Result<(Vec<Change>, u64), StoreError> {
        self.run(move |db| super::follow::changes(db, since)).await
    }

    /// Envelopes `from..=to` of a stream as far as they are here, within the bounds, and the sequence after them.
    pub(crate) async fn range(
        self: &Arc<Self>,
        space_no: i64,
        stream: StreamId,
        from: u32,
        to: u32,
        bounds: PageBounds,
    ) -> Result<(Vec<Item>, u32), StoreError> {
        self.run(move |db| {
            let snapshot = db.snapshot()?;
            read_range(&snapshot, space_no, &stream, from, to, bounds)
        })
        .await
    }
}

fn load_space(db: &Db, space: &SpaceId) -> Result<Option<LoadedSpace>, StoreError> {
    // One snapshot: a commit between two of the reads below would tear the picture.
    let snapshot = db.snapshot()?;
    let sql = "SELECT no, log_id, next_pos, roll, bytes FROM space WHERE id = ?1";
    let row = snapshot.first(sql, [space.as_ref()], |row| {
        Ok(LoadedSpace {
            no: row.get(0)?,
            log_id: LogId(row.id::<16>(1)?),
            next_pos: row.unsigned(2)?,
            roll: Roll(row.id::<16>(3)?),
            bytes: row.unsigned(4)?,
            records: Vec::new(),
            streams: Vec::new(),
            seen: Seen::default(),
        })
    })?;
    let Some(mut loaded) = row else { return Ok(None) };
    check_end(&snapshot, loaded.no, loaded.next_pos, &loaded.roll)?;
    let sql = "SELECT bytes, no FROM record WHERE space = ?1 ORDER BY no";
    snapshot.each(sql, [loaded.no], |row| {
        loaded.records.push(row.get(0)?);
        loaded.seen.record = row.get(1)?;
        Ok(true)
    })?;
    let sql = "SELECT id, device, no FROM stream WHERE space = ?1 ORDER BY no";
    snapshot.each(sql, [loaded.no], |row| {
        loaded.streams.push((StreamId(row.id::<16>(0)?), SignPk(row.id::<32>(1)?)));
        loaded.seen.stream = row.get(2)?;
        Ok(true)
    })?;
    Ok(Some(loaded))
}

/// Fills a page up to its bounds, then cuts it back to the last verified end; if a single run is larger than
/// the bounds it goes out whole (it came in one PUSH frame, so it fits one frame).
fn read_page(db: &Db, space_no: i64, from: u64, until: u64, bounds: PageBounds) -> Result<Page, StoreError> {
    let (first_pos, _) = first(db, space_no)?;
    if from < first_pos {
        return Err(StoreError::Pruned);
    }
    let room = bounds.bytes_max.min(usize::try_from(until - from).unwrap_or(usize::MAX).saturating_mul(512));
    let mut page = Page { from, items: PageBuilder::with_room(room), next: from, roll: Roll::ZERO };
    let mut end = page.items.mark();
    db.page((position_key(space_no, from), position_key(space_no, until)), bounds.bytes_max, |row| {
        let envelope = row.blob(3)?;
        if page.next > from && !bounds.fit(&page.items, envelope) {
            return Ok(false);
        }
        let pos = position_of(row.get(0)?);
        page.items.push(pos, envelope);
        if row.get::<i64>(1)? & FLAG_VERIFIED_END != 0 {
            end = page.items.mark();
            page.next = pos + 1;
            page.roll = Roll(row.id::<16>(2)?);
        }
        Ok(true)
    })?;
    page.items.cut_back(end);
    if page.items.count() == 0 {
        page.roll = roll_at(db, space_no, from)?.ok_or(StoreError::Corrupt)?;
    }
    Ok(page)
}

/// Before where the log begins nobody can follow it any more.
fn roll_at(db: &Db, space_no: i64, pos: u64) -> Result<Option<Roll>, StoreError> {
    let (first_pos, first_roll) = first(db, space_no)?;
    if pos <= first_pos {
        return Ok((pos == first_pos).then_some(first_roll));
    }
    let key = [position_key(space_no, pos - 1)];
    db.first("SELECT roll FROM envelope WHERE key = ?1", key, |row| Ok(Roll(row.id::<16>(0)?)))
}

/// The next envelopes of a range: as many as the bounds allow, and in any case a run up to its verified end, also
/// beyond `to`. Nobody checked the signatures inside a run, so a range that ended there could not be believed.
fn read_range(
    db: &Db,
    space_no: i64,
    stream: &StreamId,
    from: u32,
    to: u32,
    bounds: PageBounds,
) -> Result<(Vec<Item>, u32), StoreError> {
    let Some(tip) = load_tip(db, space_no, stream)? else { return Ok((Vec::new(), from)) };
    // What is below the floor is in a checkpoint, whether it is deleted already or not.
    let (stream_no, from) = (tip.no, from.max(tip.floor.seq.saturating_add(1)));
    if from > to {
        return Ok((Vec::new(), from));
    }
    // The run that `from` lies in begins before it.
    let first = run_of(db, stream_no, from)?.map_or(from, |run| run.seq);
    // As many as could fit: a run has one envelope at least.
    let count = signed(bounds.items_max as u64).saturating_add(1);
    let sql = "SELECT seq, pos, count FROM run WHERE stream = ?1 AND seq >= ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4";
    let mut items = Vec::new();
    let mut bytes = 0;
    for run in db.all(sql, (stream_no, first, to, count), StoredRun::read)? {
        let skipped = from.saturating_sub(run.seq).min(run.count);
        let start = items.len();
        read_run(db, position_key(space_no, run.pos + u64::from(skipped)), run.count - skipped, &mut items)?;
        bytes += items[start..].iter().map(|item| item.envelope.len()).sum::<usize>();
        if start > 0 && (bytes > bounds.bytes_max || items.len() > bounds.items_max) {
            items.truncate(start);
            break;
        }
    }
    let next = from.saturating_add(u32::try_from(items.len()).unwrap_or(u32::MAX));
    Ok((items, next))
}

fn read_run(db: &Db, key: i64, count: u32, items: &mut Vec<Item>) -> Result<(), StoreError> {
    let sql = "SELECT key, bytes FROM envelope WHERE key >= ?1 AND key < ?2 ORDER BY key";
    db.each(sql, (key, key + i64::from(count)), |row| {
        items.push(Item { pos: position_of(row.get(0)?), envelope: row.get(1)? });
        Ok(true)
    })
}
