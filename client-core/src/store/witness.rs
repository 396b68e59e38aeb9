//! What this home has noticed about its relays (protocol §8.4).
//!
//! Rolling hashes are kept for every place of a log, one row a page; statements of relays as they were signed.

use lifeos_sync_protocol::ids::{LogId, Roll, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::log::Statement;
use rusqlite::{Connection, OptionalExtension as _};

use super::records::find_space;
use super::{Reads, RelayId, Store, StoreError, begin, proofs};
use crate::envelope::StreamTip;
use crate::witness::{self, Rolls};

/// Statements kept of one teller; older ones go.
const STATEMENTS_KEPT: i64 = 64;
/// Places of a log whose hashes are kept.
const PLACES_KEPT: u64 = 1 << 20;

/// What was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WarningKind {
    /// The relay's log is shorter than it was, or has another past: put back from a backup, or lying.
    LogRolledBack,
    /// The relay has begun another log: wiped, or another relay under the same key.
    LogReplaced,
    /// The relay showed another device another log; two signed statements prove it.
    EquivocationProven,
    /// The same, seen by this device alone: one signed statement differs from what was received here.
    Equivocation,
    /// The relay broke the protocol.
    Misbehaved,
    /// The relay did not take records that were written here, and they were taken back.
    RecordsTakenBack,
}

impl WarningKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::LogRolledBack,
        Self::LogReplaced,
        Self::EquivocationProven,
        Self::Equivocation,
        Self::Misbehaved,
        Self::RecordsTakenBack,
    ];

    /// Stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LogRolledBack => "log_rolled_back",
            Self::LogReplaced => "log_replaced",
            Self::EquivocationProven => "equivocation_proven",
            Self::Equivocation => "equivocation",
            Self::Misbehaved => "misbehaved",
            Self::RecordsTakenBack => "records_taken_back",
        }
    }
}

/// One thing that was noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What.
    pub kind: WarningKind,
    /// The relay's address.
    pub relay: String,
    /// When it was noticed first (ms UTC).
    pub since_ms: i64,
    /// How often.
    pub times: u64,
    /// What proves it: the signed statements, one after another, if there are any.
    pub evidence: Vec<u8>,
}

impl Store {
    /// Keeps what a relay signed about its log, to be told to the others with the next envelope.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_statement(
        &mut self,
        space: &SpaceId,
        relay: RelayId,
        statement: &Statement,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        self.lazily(|conn| {
            let Some(key) = (Reads { conn }).relay(relay)?.key else { return Ok(()) };
            let row = find_space(conn, space)?.row;
            insert_statement(conn, row, &key, None, statement, now_ms)?;
            compare(conn, row, &key, statement, now_ms)
        })
    }

    /// Notes something about a relay; the same again counts up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn warn(&mut self, relay: RelayId, kind: WarningKind, now_ms: i64) -> Result<(), StoreError> {
        warn(&self.conn, relay.0, kind, &[], now_ms)
    }

    /// The person has read the warnings of a space. What proves that a relay lied stays ([`Reads::relay_proofs`]).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn dismiss_warnings(&mut self, space: &SpaceId) -> Result<usize, StoreError> {
        let transaction = begin(&self.conn)?;
        let row = find_space(&transaction, space)?.row;
        let gone = put_away(&transaction, "r.space = ?1", row)?;
        transaction.commit()?;
        Ok(gone)
    }
}

impl Reads<'_> {
    /// What was noticed about the relays of a space, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn warnings(&self, space: &SpaceId) -> Result<Vec<Warning>, StoreError> {
        self.warnings_where("r.space = ?1", find_space(self.conn, space)?.row)
    }

    /// Warnings about the relays that a condition on one number picks, newest first.
    fn warnings_where(&self, which: &'static str, number: i64) -> Result<Vec<Warning>, StoreError> {
        let sql = format!(
            "SELECT w.kind, r.url, w.since_ms, w.times, w.evidence FROM warning w JOIN relay r ON r.id = w.relay
             WHERE {which} ORDER BY w.since_ms DESC"
        );
        let rows = self.all(&sql, [number], |row| {
            let name: String = row.get(0)?;
            let kind = WarningKind::ALL.into_iter().find(|kind| kind.name() == name);
            Ok(kind.map(|kind| (kind, row.get(1), row.get(2), row.get::<_, u32>(3), row.get(4))))
        })?;
        let known = rows.into_iter().flatten();
        known
            .map(|(kind, relay, since_ms, times, evidence)| {
                let times = u64::from(times?);
                Ok(Warning { kind, relay: relay?, since_ms: since_ms?, times, evidence: evidence? })
            })
            .collect()
    }

    /// Where every stream of a space stands here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tips(&self, space: &SpaceId) -> Result<Vec<StreamTip>, StoreError> {
        let sql = "SELECT stream, device, seq, tip FROM stream WHERE space = ?1 ORDER BY stream";
        self.all(sql, [find_space(self.conn, space)?.row], |row| {
            let (stream, device) = (StreamId(row.get(0)?), SignPk(row.get(1)?));
            Ok(StreamTip { stream, device, seq: row.get(2)?, id: row.get(3)? })
        })
    }
}

/// Removes the warnings about the relays that a condition on one number picks; proofs among them are kept elsewhere.
pub(super) fn put_away(conn: &Connection, which: &'static str, number: i64) -> Result<usize, StoreError> {
    let spaces = format!("SELECT DISTINCT r.space FROM relay r WHERE {which}");
    let spaces: Vec<i64> = Reads { conn }.all(&spaces, [number], |row| row.get(0))?;
    // The relays of one space, or one relay: never of two spaces.
    if let Some(space) = spaces.first() {
        proofs::keep(conn, *space, Reads { conn }.warnings_where(which, number)?)?;
    }
    let sql = format!("DELETE FROM warning WHERE relay IN (SELECT r.id FROM relay r WHERE {which})");
    Ok(conn.execute(&sql, [number])?)
}

/// Keeps the hashes of places that were passed, in the commit that moves the cursor over them.
pub(super) fn note_rolls(
    conn: &Connection,
    relay: RelayId,
    log: &LogId,
    rolls: &Rolls,
    now_ms: i64,
) -> Result<(), StoreError> {
    if rolls.rolls.is_empty() {
        return Ok(());
    }
    hold_to_word(conn, relay, log, rolls, now_ms)?;
    let bytes: Vec<u8> = rolls.rolls.iter().flat_map(|roll| roll.0).collect();
    let sql = "INSERT OR REPLACE INTO roll(relay, log, first, rolls) VALUES (?1, ?2, ?3, ?4)";
    conn.prepare_cached(sql)?.execute((relay.0, log.as_ref(), place(rolls.first), bytes))?;
    let oldest = place(rolls.first.saturating_sub(PLACES_KEPT));
    conn.prepare_cached("DELETE FROM roll WHERE relay = ?1 AND log = ?2 AND first < ?3")?.execute((
        relay.0,
        log.as_ref(),
        oldest,
    ))?;
    Ok(())
}

/// Holds a relay to what it had signed for others about places that were reached only now.
fn hold_to_word(conn: &Connection, relay: RelayId, log: &LogId, rolls: &Rolls, now_ms: i64) -> Result<(), StoreError> {
    let sql = "SELECT s.pos, s.roll, s.bytes FROM relay r JOIN statement s ON s.space = r.space AND s.relay_key = r.key
               WHERE r.id = ?1 AND s.log = ?2 AND s.pos BETWEEN ?3 AND ?4";
    let last = rolls.first.saturating_add(rolls.rolls.len() as u64);
    let range = (relay.0, log.as_ref(), place(rolls.first), place(last));
    let said: Vec<(i64, Roll, Vec<u8>)> =
        Reads { conn }.all(sql, range, |row| Ok((row.get(0)?, Roll(row.get(1)?), row.get(2)?)))?;
    for (pos, roll, bytes) in said {
        if rolls.at(u64::try_from(pos).unwrap_or(0)).is_some_and(|seen| seen != roll) {
            warn(conn, relay.0, WarningKind::Equivocation, &bytes, now_ms)?;
        }
    }
    Ok(())
}

/// The hash at a place of a relay's log, as this device computed it.
fn roll_at(conn: &Connection, relay: i64, log: &LogId, pos: u64) -> Result<Option<Roll>, StoreError> {
    let sql = "SELECT first, rolls FROM roll WHERE relay = ?1 AND log = ?2 AND first <= ?3 ORDER BY first DESC LIMIT 1";
    let found: Option<(i64, Vec<u8>)> = conn
        .prepare_cached(sql)?
        .query_row((relay, log.as_ref(), place(pos)), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((first, bytes)) = found else { return Ok(None) };
    let rolls = bytes.as_chunks().0.iter().map(|roll| Roll(*roll)).collect();
    Ok(Rolls { first: u64::try_from(first).unwrap_or(0), rolls }.at(pos))
}

/// Takes in what relays told another device.
pub(super) fn hear(
    conn: &Connection,
    row: i64,
    told_by: &SignPk,
    statements: &[(SignPk, Statement)],
    now_ms: i64,
) -> Result<(), StoreError> {
    for (relay, statement) in statements {
        insert_statement(conn, row, relay, Some(told_by), statement, now_ms)?;
        compare(conn, row, relay, statement, now_ms)?;
    }
    Ok(())
}

/// Own statements that the others have not been told of, the newest of each relay.
pub(super) fn untold(conn: &Connection, space: i64) -> Result<Vec<(SignPk, Vec<u8>)>, StoreError> {
    let sql = "SELECT relay_key, bytes FROM statement WHERE id IN
               (SELECT max(id) FROM statement WHERE space = ?1 AND told_by IS NULL GROUP BY relay_key) AND NOT told
               LIMIT ?2";
    let limit = i64::try_from(witness::STATEMENTS_MAX).unwrap_or(i64::MAX);
    Reads { conn }.all(sql, (space, limit), |row| Ok((SignPk(row.get(0)?), row.get(1)?)))
}

/// What a relay signed last for this device, with the relay's key.
pub(super) fn newest(conn: &Connection, space: i64, relay: RelayId) -> Result<Vec<(SignPk, Vec<u8>)>, StoreError> {
    let sql = "SELECT relay_key, bytes FROM statement WHERE space = ?1 AND told_by IS NULL
               AND relay_key = (SELECT key FROM relay WHERE id = ?2) ORDER BY id DESC LIMIT 1";
    Reads { conn }.all(sql, (space, relay.0), |row| Ok((SignPk(row.get(0)?), row.get(1)?)))
}

/// The own statements are on their way.
pub(super) fn told(conn: &Connection, space: i64) -> Result<(), StoreError> {
    conn.prepare_cached("UPDATE statement SET told = 1 WHERE space = ?1 AND told_by IS NULL AND NOT told")?
        .execute([space])?;
    Ok(())
}

fn insert_statement(
    conn: &Connection,
    space: i64,
    relay: &SignPk,
    told_by: Option<&SignPk>,
    statement: &Statement,
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO statement(space, relay_key, log, pos, roll, told_by, bytes, since_ms, told)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)";
    let (log, teller) = (&statement.log, told_by.map(SignPk::as_bytes));
    let bytes = witness::statement_bytes(statement);
    conn.prepare_cached(sql)?.execute((
        space,
        relay.as_ref(),
        log.log_id.as_ref(),
        place(log.pos),
        log.roll.as_ref(),
        teller,
        bytes,
        now_ms,
    ))?;
    let sql = "DELETE FROM statement WHERE space = ?1 AND told_by IS ?2 AND id NOT IN
               (SELECT id FROM statement WHERE space = ?1 AND told_by IS ?2 ORDER BY id DESC LIMIT ?3)";
    conn.prepare_cached(sql)?.execute((space, teller, STATEMENTS_KEPT))?;
    Ok(())
}

/// Holds a relay to what it signed: against other statements about the same place, and against what came here.
fn compare(conn: &Connection, space: i64, key: &SignPk, said: &Statement, now_ms: i64) -> Result<(), StoreError> {
    let relays: Vec<i64> =
        Reads { conn }
            .all("SELECT id FROM relay WHERE space = ?1 AND key = ?2", (space, key.as_ref()), |row| row.get(0))?;
    let sql =
        "SELECT bytes FROM statement WHERE space = ?1 AND relay_key = ?2 AND log = ?3 AND pos = ?4 AND roll <> ?5";
    let log = &said.log;
    let place_of = (space, key.as_ref(), log.log_id.as_ref(), place(log.pos), log.roll.as_ref());
    let other: Option<Vec<u8>> = conn.prepare_cached(sql)?.query_row(place_of, |row| row.get(0)).optional()?;
    for relay in relays {
        if let Some(other) = &other {
            let evidence = [other.as_slice(), &witness::statement_bytes(said)].concat();
            warn(conn, relay, WarningKind::EquivocationProven, &evidence, now_ms)?;
        } else if roll_at(conn, relay, &log.log_id, log.pos)?.is_some_and(|roll| roll != log.roll) {
            warn(conn, relay, WarningKind::Equivocation, &witness::statement_bytes(said), now_ms)?;
        }
    }
    Ok(())
}

fn warn(conn: &Connection, relay: i64, kind: WarningKind, evidence: &[u8], now_ms: i64) -> Result<(), StoreError> {
    let sql = "INSERT INTO warning(relay, kind, since_ms, times, evidence) VALUES (?1, ?2, ?3, 1, ?4)
               ON CONFLICT(relay, kind) DO UPDATE SET times = times + 1";
    conn.prepare_cached(sql)?.execute((relay, kind.name(), now_ms, evidence))?;
    tracing::warn!(kind = kind.name(), "something is wrong with a relay");
    Ok(())
}

fn place(pos: u64) -> i64 {
    i64::try_from(pos).unwrap_or(i64::MAX)
}
