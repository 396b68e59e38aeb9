//! Spaces and their records: records are kept whole and in the order they arrived, parents first.
//!
//! A record is judged in its own causal past before it is stored, as relays do: what can never count there would
//! only fill the space up to the limit beyond which no membership can be made.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use lifeos_sync_protocol::ids::{RecordId, SpaceId, StreamId};
use lifeos_sync_protocol::limits::SPACE_RECORDS_MAX;
use lifeos_sync_protocol::membership::{Ledger, Membership, VoidReason};
use lifeos_sync_protocol::record::{Body, Record};
use rusqlite::{Connection, OptionalExtension};

use super::{NewSpace, Store, StoreError, begin};

/// Bytes of records that one space may have.
pub(crate) const SPACE_RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Records that are not taken; nothing that came with them was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedRecords {
    /// One can never count, whatever else is known: its author is not enrolled, or it breaks a rule.
    #[error(
        "the relay sent a membership record that nobody in this space may write; nothing of it was stored: ask the relay's operator, or set another relay with `lifeos relay set URL`"
    )]
    NeverValid,
    /// More records than a space may have.
    #[error(
        "the space would get more membership records than one may have; nothing was stored: if the relay sent them, ask its operator, or set another relay with `lifeos relay set URL`"
    )]
    TooMany,
}

/// The `fresh` records that may be stored beside `held`, parents first. Those already held or without a parent here
/// are left out: a parent that is on its way brings them with the next exchange.
///
/// # Errors
/// [`RefusedRecords`].
pub(crate) fn admissible<'r>(
    space: &SpaceId,
    held: &[Record],
    fresh: &'r [Record],
) -> Result<Vec<&'r Record>, RefusedRecords> {
    let mut known: HashSet<RecordId> = held.iter().map(Record::id).collect();
    let mut taken = Vec::new();
    for record in fresh.iter().filter(|record| record.space() == *space) {
        if record.parents().iter().all(|parent| known.contains(parent)) && known.insert(record.id()) {
            taken.push(record);
        }
    }
    let bytes: usize = held.iter().chain(taken.iter().copied()).map(|record| record.bytes().len()).sum();
    if known.len() > SPACE_RECORDS_MAX || bytes > SPACE_RECORD_BYTES_MAX {
        return Err(RefusedRecords::TooMany);
    }
    if !taken.is_empty() {
        judge(space, held, &taken)?;
    }
    Ok(taken)
}

/// Each in its own past, all in one pass over everything: what somebody made void by the thousand, e.g. beside a
/// removal, costs no more than what counts.
fn judge(space: &SpaceId, held: &[Record], taken: &[&Record]) -> Result<(), RefusedRecords> {
    let all = || held.iter().chain(taken.iter().copied());
    let genesis = all().find(|record| record.id().0 == space.0).ok_or(RefusedRecords::NeverValid)?;
    let mut ledger = Ledger::new(genesis).map_err(|_| RefusedRecords::NeverValid)?;
    let mut ordered: Vec<&Record> = all().filter(|record| record.id() != genesis.id()).collect();
    ordered.sort_unstable_by_key(|record| record.order());
    let fresh: HashSet<RecordId> = taken.iter().map(|record| record.id()).collect();
    for record in ordered {
        #[cfg(test)]
        tests::JUDGED.with(|judged| judged.set(judged.get() + 1));
        let verdict = ledger.insert(record).map_err(|_| RefusedRecords::TooMany)?;
        if verdict.is_err_and(VoidReason::is_refusable) && fresh.contains(&record.id()) {
            return Err(RefusedRecords::NeverValid);
        }
    }
    Ok(())
}

/// A space as the store works with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpaceRef {
    /// Its row.
    pub(super) row: i64,
    /// The stream this device writes, also the actor of its changes.
    pub(super) stream: StreamId,
    /// That stream's row.
    pub(super) stream_row: i64,
}

/// Finds a space's row.
pub(super) fn find_space(conn: &Connection, space: &SpaceId) -> Result<SpaceRef, StoreError> {
    let sql = "SELECT space.id, stream.stream, stream.id FROM space JOIN stream ON stream.id = space.own_stream
               WHERE space.space = ?1";
    let mut select = conn.prepare_cached(sql)?;
    let found = select.query_row([space.as_ref()], |row| {
        Ok(SpaceRef { row: row.get(0)?, stream: StreamId(row.get(1)?), stream_row: row.get(2)? })
    });
    found.optional()?.ok_or(StoreError::UnknownSpace)
}

fn genesis_random(conn: &Connection, row: i64, space: &SpaceId) -> Result<[u8; 32], StoreError> {
    // The id of the Genesis is the space's.
    let mut select = conn.prepare_cached("SELECT bytes FROM record WHERE space = ?1 AND record = ?2")?;
    let bytes: Option<Vec<u8>> = select.query_row((row, space.as_ref()), |row| row.get(0)).optional()?;
    let genesis = bytes.and_then(|bytes| Record::parse(bytes).ok());
    match genesis.as_ref().map(Record::body) {
        Some(Body::Genesis { random, .. }) => Ok(*random),
        _ => Err(StoreError::Corrupt { what: "the first record of a space" }),
    }
}

fn check_genesis(conn: &Connection, space: &SpaceId, random: &[u8; 32]) -> Result<(), StoreError> {
    let mut select = conn.prepare_cached("SELECT id, space FROM space WHERE space <> ?1")?;
    let others = select.query_map([space.as_ref()], |row| Ok((row.get(0)?, SpaceId(row.get(1)?))))?;
    for other in others {
        let (row, other) = other?;
        if genesis_random(conn, row, &other)? == *random {
            return Err(StoreError::CopiedSpace);
        }
    }
    Ok(())
}

/// Adds a space with its own stream and first records.
pub(super) fn insert_space(conn: &Connection, new: &NewSpace, home: bool) -> Result<(), StoreError> {
    let mut insert =
        conn.prepare_cached("INSERT INTO space(space, device, own_stream, home) VALUES (?1, ?2, 0, ?3)")?;
    let space = insert.insert((new.space.as_ref(), new.device.as_ref(), home))?;
    let sql = "INSERT INTO stream(space, stream, device, seq, tip, r32) VALUES (?1, ?2, ?3, 0, ?4, ?4)";
    let stream = conn.prepare_cached(sql)?.insert((space, new.stream.as_ref(), new.device.as_ref(), new.stream_r32))?;
    conn.execute("UPDATE space SET own_stream = ?2 WHERE id = ?1", (space, stream))?;
    insert_records(conn, space, &new.records, Source::Relay)?;
    Ok(())
}

/// Where records come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Written here: nobody else may know of them yet, and they may be taken back.
    Here,
    /// A relay holds them, or they are what a space begins with.
    Relay,
}

pub(super) fn insert_records<'r>(
    conn: &Connection,
    space: i64,
    records: impl IntoIterator<Item = &'r Record>,
    source: Source,
) -> Result<usize, StoreError> {
    let sql = "INSERT OR IGNORE INTO record(space, record, bytes, state) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = conn.prepare_cached(sql)?;
    let mut new = 0;
    for record in records {
        new += insert.execute((space, record.id().as_ref(), record.bytes(), i64::from(source == Source::Relay)))?;
    }
    if new > 0 {
        note_change(conn, space)?;
    }
    Ok(new)
}

fn note_change(conn: &Connection, space: i64) -> Result<(), StoreError> {
    let sql = "UPDATE space SET records_changed = records_changed + 1 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute([space])?;
    Ok(())
}

fn untaken(conn: &Connection, space: i64) -> Result<BTreeSet<RecordId>, StoreError> {
    let mut select = conn.prepare_cached("SELECT record FROM record WHERE space = ?1 AND state = 0")?;
    let ids = select.query_map([space], |row| Ok(RecordId(row.get(0)?)))?;
    Ok(ids.collect::<Result<_, _>>()?)
}

fn mark_taken<'r>(conn: &Connection, space: i64, taken: impl Iterator<Item = &'r RecordId>) -> Result<(), StoreError> {
    let mut update =
        conn.prepare_cached("UPDATE record SET state = 1 WHERE space = ?1 AND record = ?2 AND state = 0")?;
    for record in taken {
        update.execute((space, record.as_ref()))?;
    }
    Ok(())
}

/// Bytes of a space's records up to which they are kept in memory.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The records of each space as they were last read: nearly every step asks for them, and their signatures cost more
/// than all else in it.
#[derive(Default)]
pub(super) struct Kept(RefCell<HashMap<i64, (u64, Vec<Record>)>>);

impl Kept {
    /// The records of a space, by `conn` before it changes any: what a transaction takes back must not be remembered.
    pub(super) fn records(&self, conn: &Connection, space: i64) -> Result<Vec<Record>, StoreError> {
        // Asked first: what another process changes in between is read the next time.
        let changed = changed(conn, space)?;
        let mut kept = self.0.borrow_mut();
        if let Some((_, records)) = kept.get(&space).filter(|(known, _)| *known == changed) {
            return Ok(records.clone());
        }
        // A record is its name: what is known is read and checked once.
        let known = kept.remove(&space).map(|(_, records)| records).unwrap_or_default();
        let known = known.into_iter().map(|record| (record.id(), record)).collect();
        let records = load_beside(conn, space, known)?;
        if records.iter().map(|record| record.bytes().len()).sum::<usize>() <= KEPT_BYTES_MAX {
            kept.insert(space, (changed, records.clone()));
        }
        Ok(records)
    }
}

fn changed(conn: &Connection, space: i64) -> Result<u64, StoreError> {
    let mut select = conn.prepare_cached("SELECT records_changed FROM space WHERE id = ?1")?;
    Ok(select.query_row([space], |row| row.get::<_, i64>(0))?.unsigned_abs())
}

pub(super) fn load(conn: &Connection, space: i64) -> Result<Vec<Record>, StoreError> {
    load_beside(conn, space, HashMap::new())
}

fn load_beside(conn: &Connection, space: i64, mut known: HashMap<RecordId, Record>) -> Result<Vec<Record>, StoreError> {
    let mut select = conn.prepare_cached("SELECT record, bytes FROM record WHERE space = ?1 ORDER BY id")?;
    let mut rows = select.query([space])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(match known.remove(&RecordId(row.get(0)?)) {
            Some(record) => record,
            None => Record::parse(row.get(1)?).map_err(|_| StoreError::Corrupt { what: "a stored record" })?,
        });
    }
    Ok(records)
}

impl Store {
    /// Adds a space with its first records; one that is there already stays as it is.
    ///
    /// # Errors
    /// [`StoreError::CopiedSpace`] and the disk's.
    pub fn add_space(&mut self, new: &NewSpace) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        if find_space(&tx, &new.space).is_ok() {
            return Ok(());
        }
        for record in &new.records {
            if let Body::Genesis { random, .. } = record.body() {
                check_genesis(&tx, &new.space, random)?;
            }
        }
        insert_space(&tx, new, false)?;
        Ok(tx.commit()?)
    }

    /// The random bytes that a space begins with, from which this device's keys in it are derived.
    ///
    /// # Errors
    /// [`StoreError::UnknownSpace`] and the disk's.
    pub fn genesis_random(&self, space: &SpaceId) -> Result<[u8; 32], StoreError> {
        let row = find_space(&self.conn, space)?.row;
        genesis_random(&self.conn, row, space)
    }

    /// Refuses a space that begins with the random bytes of another one here: this device would have the same keys in
    /// both, and what it signs for one would count in the other.
    ///
    /// # Errors
    /// [`StoreError::CopiedSpace`] and the disk's.
    pub fn check_genesis(&self, space: &SpaceId, random: &[u8; 32]) -> Result<(), StoreError> {
        check_genesis(&self.conn, space, random)
    }

    /// Stores a space without the check of [`Self::add_space`], as somebody who can write the file would.
    #[cfg(test)]
    pub(crate) fn add_space_unchecked(&self, new: &NewSpace) -> Result<(), StoreError> {
        insert_space(&self.conn, new, false)
    }

    /// Stores records that were written here, durably; returns how many were new. Records of another space, and those
    /// whose parents are not here, are left out.
    ///
    /// # Errors
    /// [`StoreError::Records`] when one can never count or there would be too many: then none is stored.
    pub fn put_records(&mut self, space: &SpaceId, records: &[Record]) -> Result<usize, StoreError> {
        self.insert_admissible(space, records, Source::Here)
    }

    /// As [`Self::put_records`], for records that a relay gave.
    ///
    /// # Errors
    /// As [`Self::put_records`].
    pub fn receive_records(&mut self, space: &SpaceId, records: &[Record]) -> Result<usize, StoreError> {
        self.insert_admissible(space, records, Source::Relay)
    }

    fn insert_admissible(&mut self, space: &SpaceId, records: &[Record], source: Source) -> Result<usize, StoreError> {
        let tx = begin(&self.conn)?;
        let row = find_space(&tx, space)?.row;
        let held = self.records.records(&tx, row)?;
        let new = insert_records(&tx, row, admissible(space, &held, records)?, source)?;
        if source == Source::Relay {
            let mut taken = untaken(&tx, row)?;
            taken.retain(|id| records.iter().any(|record| record.id() == *id));
            mark_taken(&tx, row, taken.iter())?;
        }
        tx.commit()?;
        Ok(new)
    }

    /// The records that were written here and that no relay is known to hold.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn untaken_records(&self, space: &SpaceId) -> Result<BTreeSet<RecordId>, StoreError> {
        untaken(&self.conn, find_space(&self.conn, space)?.row)
    }

    /// A relay holds these.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn records_taken(&mut self, space: &SpaceId, taken: &[RecordId]) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        mark_taken(&tx, find_space(&tx, space)?.row, taken.iter())?;
        Ok(tx.commit()?)
    }

    /// Takes back records that no relay holds and stores what is written in their place, in one durable commit.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was changed.
    pub fn take_back_records(
        &mut self,
        space: &SpaceId,
        gone: &BTreeSet<RecordId>,
        instead: &[Record],
    ) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        let row = find_space(&tx, space)?.row;
        let mut delete = tx.prepare_cached("DELETE FROM record WHERE space = ?1 AND record = ?2 AND state = 0")?;
        for record in gone {
            delete.execute((row, record.as_ref()))?;
        }
        drop(delete);
        note_change(&tx, row)?;
        insert_records(&tx, row, admissible(space, &load(&tx, row)?, instead)?, Source::Here)?;
        Ok(tx.commit()?)
    }

    /// All records of a space, in the order they arrived.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when one does not read any more.
    pub fn records(&self, space: &SpaceId) -> Result<Vec<Record>, StoreError> {
        self.records.records(&self.conn, find_space(&self.conn, space)?.row)
    }

    /// How often the records of a space were changed; an equal number means the same records.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn records_changed(&self, space: &SpaceId) -> Result<u64, StoreError> {
        changed(&self.conn, find_space(&self.conn, space)?.row)
    }

    /// Whether a record is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_record(&self, space: &SpaceId, record: &RecordId) -> Result<bool, StoreError> {
        let space = find_space(&self.conn, space)?.row;
        let mut select = self.conn.prepare_cached("SELECT 1 FROM record WHERE space = ?1 AND record = ?2")?;
        Ok(select.exists((space, record.as_ref()))?)
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

#[cfg(test)]
mod tests {
    use lifeos_sync_protocol::ids::{EpochRef, MemberId};
    use lifeos_sync_protocol::limits::RECORD_BODY_BYTES_MAX;
    use lifeos_sync_protocol::record::{DeviceKind, RemoveReason, Unsigned};

    use super::*;
    use crate::crypto::SeededRandom;
    use crate::keys::{DeviceKeys, DeviceRoot, PhraseLength, RecoveryPhrase};
    use crate::records::{Founding, found_space};

    const RANDOM: [u8; 32] = [9; 32];

    thread_local! {
        /// Records that were judged on this thread: what deciding costs.
        pub(super) static JUDGED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    struct Space {
        id: SpaceId,
        held: Vec<Record>,
        founder: DeviceKeys,
        stranger: DeviceKeys,
    }

    fn space() -> Space {
        let mut random = SeededRandom::new(21);
        let founder = DeviceRoot::generate(&mut random).derive_space(&RANDOM);
        let stranger = DeviceRoot::generate(&mut random).derive_space(&RANDOM);
        let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut random).derive_home();
        let founding = Founding {
            genesis_random: RANDOM,
            member: MemberId([7; 16]),
            keys: &founder,
            recovery: &recovery,
            relays: Vec::new(),
        };
        let founded = found_space(&founding, &mut random).unwrap();
        Space { id: founded.space, held: vec![founded.genesis, founded.epoch], founder, stranger }
    }

    impl Space {
        fn record(&self, keys: &DeviceKeys, parent: RecordId, depth: u64, body: &Body) -> Record {
            let unsigned = Unsigned::new(self.id, keys.sign_pk(), depth, &[parent], body).unwrap();
            let signature = keys.sign(&unsigned.message());
            unsigned.sign_with(&signature).unwrap()
        }

        fn genesis(&self) -> RecordId {
            self.held[0].id()
        }

        fn later_type(&self, number: u32) -> Body {
            Body::Unknown { kind: 0x70, body: number.to_be_bytes().to_vec() }
        }
    }

    #[test]
    fn what_a_stranger_signs_is_refused_and_nothing_beside_it_is_taken() {
        let space = space();
        let good = space.record(&space.founder, space.genesis(), 1, &space.later_type(1));
        let grant = Body::KeyGrant { epoch: EpochRef([1; 16]), seals: Vec::new() };
        for body in [&space.later_type(2), &grant] {
            let bad = space.record(&space.stranger, space.genesis(), 1, body);
            assert_eq!(admissible(&space.id, &space.held, &[good.clone(), bad]), Err(RefusedRecords::NeverValid));
        }
        assert_eq!(
            admissible(&space.id, &space.held, std::slice::from_ref(&good)),
            Ok(vec![&good]),
            "a later type is kept"
        );
    }

    #[test]
    fn a_record_without_its_parent_waits_for_the_exchange_that_brings_it() {
        let space = space();
        let parent = space.record(&space.founder, space.genesis(), 1, &space.later_type(1));
        let child = space.record(&space.founder, parent.id(), 2, &space.later_type(2));
        let fresh = [child.clone(), parent.clone()];
        assert_eq!(admissible(&space.id, &space.held, &fresh), Ok(vec![&parent]));
        let fresh = [parent.clone(), child.clone(), parent.clone()];
        assert_eq!(admissible(&space.id, &space.held, &fresh), Ok(vec![&parent, &child]));
    }

    #[test]
    fn thousands_of_records_beside_a_removal_are_judged_once_each() {
        const RECORDS: u32 = 2_000;
        let mut space = space();
        let member = MemberId([7; 16]);
        let device = space.stranger.entry(&RANDOM, &member, DeviceKind::Normal);
        let add = Body::DeviceAdd { member, device, enc_meta: Vec::new(), grants: Vec::new() };
        let add = space.record(&space.founder, space.genesis(), 1, &add);
        let gone =
            Body::DeviceRemove { device: space.stranger.sign_pk(), reason: RemoveReason::Lost, cuts: Vec::new() };
        let gone = space.record(&space.founder, add.id(), 2, &gone);
        let mut random = SeededRandom::new(5);
        let mut key = || DeviceRoot::generate(&mut random).derive_space(&RANDOM).hpke_pk();
        let beside = |_| space.record(&space.stranger, add.id(), 2, &Body::HpkeRefresh { hpke_pk: key() });
        let beside: Vec<Record> = (0..RECORDS).map(beside).collect();
        let all: Vec<&Record> = space.held.iter().chain([&add, &gone]).chain(&beside).collect();
        let membership = Membership::evaluate(&space.id, all.iter().copied()).unwrap();
        assert_eq!(membership.void.get(&beside[7].id()), Some(&VoidReason::AuthorRemoved));
        space.held.extend([add, gone]);
        JUDGED.with(|judged| judged.set(0));
        assert_eq!(admissible(&space.id, &space.held, &beside).map(|taken| taken.len()), Ok(beside.len()));
        assert_eq!(JUDGED.with(std::cell::Cell::get), space.held.len() - 1 + beside.len());
    }

    #[test]
    fn records_of_more_bytes_than_a_space_may_have_are_refused() {
        let space = space();
        let large = |number: u8| {
            let body = Body::Unknown { kind: 0x70, body: vec![number; RECORD_BODY_BYTES_MAX] };
            space.record(&space.founder, space.genesis(), 1, &body)
        };
        let (first, next) = (large(1), large(2));
        let mut held = space.held.clone();
        held.extend(std::iter::repeat_n(first.clone(), SPACE_RECORD_BYTES_MAX / first.bytes().len() - 1));
        assert_eq!(admissible(&space.id, &held, std::slice::from_ref(&next)), Ok(vec![&next]));
        held.push(first);
        assert_eq!(admissible(&space.id, &held, std::slice::from_ref(&next)), Err(RefusedRecords::TooMany));
    }

    #[test]
    fn records_beyond_what_a_membership_can_be_made_of_are_refused() {
        let space = space();
        let records = |range: std::ops::Range<usize>| -> Vec<Record> {
            let body = |number| space.later_type(u32::try_from(number).unwrap());
            range.map(|number| space.record(&space.founder, space.genesis(), 1, &body(number))).collect()
        };
        let mut held = space.held.clone();
        held.extend(records(0..SPACE_RECORDS_MAX - 3));
        let last = records(SPACE_RECORDS_MAX..SPACE_RECORDS_MAX + 2);
        JUDGED.with(|judged| judged.set(0));
        assert_eq!(admissible(&space.id, &held, &last), Err(RefusedRecords::TooMany));
        assert_eq!(JUDGED.with(std::cell::Cell::get), 0, "before any is judged");
        assert_eq!(admissible(&space.id, &held, &last[..1]), Ok(vec![&last[0]]));
    }
}
