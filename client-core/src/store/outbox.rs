//! What goes out: sealed envelopes in stream order, and where each relay stands.

use lifeos_sync_protocol::frame::{Cursor, Have};
use lifeos_sync_protocol::ids::{EnvelopeId, SignPk, SpaceId, StreamId};
use lifeos_sync_protocol::record::Cut;
use rusqlite::Connection;

use super::records::find_space;
use super::{Reads, Store, StoreError, begin, schema, seal, witness};
use crate::envelope::{SealedEnvelope, StreamTip};

/// Key of the `meta` table: the largest number that a relay was given.
const LAST_RELAY: &str = "last_relay";

/// A relay of a space, inside this home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub i64);

/// Where a relay stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayState {
    /// Its number here.
    pub id: RelayId,
    /// Address.
    pub url: String,
    /// Its pinned key, once known.
    pub key: Option<SignPk>,
    /// Position reached in its log.
    pub cursor: Option<Cursor>,
    /// The relay holds the own stream up to this sequence.
    pub own_acked_seq: u32,
    /// When the last sync ended well (ms UTC).
    pub synced_ms: Option<i64>,
}

impl Store {
    /// Adds a relay, or changes the pinned key of a known address; `None` keeps the key as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_relay(&mut self, space: &SpaceId, url: &str, key: Option<&SignPk>) -> Result<RelayId, StoreError> {
        let tx = begin(&self.conn)?;
        let space = find_space(&tx, space)?.row;
        // A number is used once: a connection to a relay that was removed must not speak for the one that came after it.
        let last = schema::meta(&tx, LAST_RELAY)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes);
        let sql = "INSERT INTO relay(id, space, url, key)
                   VALUES ((SELECT 1 + max(?4, ifnull(max(id), 0)) FROM relay), ?1, ?2, ?3)
                   ON CONFLICT(space, url) DO UPDATE SET key = coalesce(excluded.key, key) RETURNING id";
        let id: i64 =
            tx.prepare_cached(sql)?.query_row((space, url, key.map(SignPk::as_bytes), last), |row| row.get(0))?;
        if id > last {
            schema::put_meta(&tx, LAST_RELAY, &id.to_be_bytes())?;
        }
        tx.commit()?;
        Ok(RelayId(id))
    }

    /// What is known of the log of one relay holds for another: it is the same relay at another address.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn inherit_relay(&mut self, to: RelayId, from: RelayId) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        let sql = "UPDATE relay SET (log_id, pos, roll, own_acked_seq, synced_ms, receipt) =
                     (SELECT log_id, pos, roll, own_acked_seq, synced_ms, receipt FROM relay WHERE id = ?2)
                   WHERE id = ?1";
        tx.execute(sql, (to.0, from.0))?;
        tx.execute(
            "INSERT OR REPLACE INTO roll SELECT ?1, log, first, rolls FROM roll WHERE relay = ?2",
            (to.0, from.0),
        )?;
        tx.execute("INSERT OR REPLACE INTO given SELECT object, ?1 FROM given WHERE relay = ?2", (to.0, from.0))?;
        tx.execute(
            "INSERT OR REPLACE INTO warning SELECT ?1, kind, since_ms, times, evidence FROM warning WHERE relay = ?2",
            (to.0, from.0),
        )?;
        tx.commit()?;
        Ok(())
    }

    /// Forgets a relay and the warnings about it; what proves that it lied stays ([`Reads::relay_proofs`]).
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove_relay(&mut self, relay: RelayId) -> Result<(), StoreError> {
        let tx = begin(&self.conn)?;
        witness::put_away(&tx, "r.id = ?1", relay.0)?;
        tx.execute("DELETE FROM relay WHERE id = ?1", [relay.0])?;
        tx.execute("DELETE FROM given WHERE relay = ?1", [relay.0])?;
        forget_left(&tx, relay)?;
        tx.commit()?;
        Ok(())
    }

    /// Relays of a space, in the order they were added.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn relays(&self, space: &SpaceId) -> Result<Vec<RelayState>, StoreError> {
        self.reads().relays(space)
    }

    /// Forgets the position in a relay's log (the log was wiped or is another one): it is read from the start,
    /// and the own stream is offered from the start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn reset_relay(&mut self, relay: RelayId) -> Result<(), StoreError> {
        let sql = "UPDATE relay SET log_id = NULL, pos = NULL, roll = NULL, own_acked_seq = 0, receipt = NULL
                   WHERE id = ?1";
        self.conn.execute(sql, [relay.0])?;
        // It may have lost parts of attachments, too: what it still has, it says when they are offered.
        self.conn.execute("DELETE FROM given WHERE relay = ?1", [relay.0])?;
        forget_left(&self.conn, relay)
    }

    /// The relay holds so much of these streams: noted of those that this device wrote and left. Not durable at once: the
    /// next connection says it again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn held_there(&mut self, space: &SpaceId, relay: RelayId, held: &[(StreamId, u32)]) -> Result<(), StoreError> {
        for left in self.reads().left_streams(space)? {
            let there = held.iter().find(|(stream, _)| *stream == left.stream).map(|(_, through)| *through);
            if there.is_some_and(|there| there > 0) {
                self.lazily(|conn| note_left(conn, relay, &left.stream, there.unwrap_or(0).min(left.seq)))?;
            }
        }
        Ok(())
    }

    /// The relay holds the own stream up to `through_seq`. Not durable at once: a lost acknowledgement is
    /// healed by the relay's DUP.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn acked(&mut self, relay: RelayId, through_seq: u32) -> Result<(), StoreError> {
        let sql = "UPDATE relay SET own_acked_seq = ?2 WHERE id = ?1 AND own_acked_seq < ?2";
        self.lazily(|conn| Ok(conn.prepare_cached(sql)?.execute((relay.0, through_seq))?))?;
        Ok(())
    }

    /// A sync with the relay ended well at `now_ms`. Not durable at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn synced(&mut self, relay: RelayId, now_ms: i64) -> Result<(), StoreError> {
        let sql = "UPDATE relay SET synced_ms = ?2 WHERE id = ?1";
        self.lazily(|conn| Ok(conn.prepare_cached(sql)?.execute((relay.0, now_ms))?))?;
        Ok(())
    }

    /// Commits without waiting for the disk: written with the next durable commit at the latest.
    pub(super) fn lazily<T>(&self, write: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.conn.pragma_update(None, "synchronous", "NORMAL")?;
        let result = write(&self.conn);
        self.conn.pragma_update(None, "synchronous", "FULL")?;
        result
    }

    /// Keeps what stands between this device and a relay, for whoever asks in another process. Not durable at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_trouble(&mut self, relay: RelayId, trouble: Option<&[u8]>) -> Result<(), StoreError> {
        let key = trouble_key(relay);
        if self.reads().trouble(relay)?.as_deref() == trouble {
            return Ok(());
        }
        self.lazily(|conn| match trouble {
            Some(trouble) => schema::put_meta(conn, &key, trouble),
            None => schema::remove_meta(conn, &key),
        })
    }

    /// Keeps why the relay does not let this device in; `None`: it does.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_refusal(&mut self, space: &SpaceId, reason: Option<&str>) -> Result<(), StoreError> {
        if self.reads().refused(space)?.as_deref() == reason {
            return Ok(());
        }
        match reason {
            Some(reason) => schema::put_meta(&self.conn, &refused_key(space), reason.as_bytes())?,
            None => _ = self.conn.execute("DELETE FROM meta WHERE key = ?1", [refused_key(space)])?,
        }
        Ok(())
    }

    /// Own envelopes after `after_seq`, in order: at least one if there is one, else up to the limits. Those that a
    /// checkpoint stands for are gone: what comes may begin beyond `after_seq + 1`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn outbox(
        &self,
        space: &SpaceId,
        after_seq: u32,
        bytes_max: usize,
        items_max: usize,
    ) -> Result<Vec<SealedEnvelope>, StoreError> {
        let stream = find_space(&self.conn, space)?.stream_row;
        let from = after_seq.max(floor_of(&self.conn, stream)?).saturating_add(1);
        range(&self.conn, stream, from, u32::MAX, bytes_max, items_max)
    }

    /// Stored envelopes `from..=to` of any stream, in order, to seed a peer that lacks them; none that a checkpoint stands
    /// for.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn envelopes(
        &self,
        space: &SpaceId,
        stream: &StreamId,
        (from, to): (u32, u32),
        bytes_max: usize,
        items_max: usize,
    ) -> Result<Vec<SealedEnvelope>, StoreError> {
        let space = find_space(&self.conn, space)?.row;
        match stream_row(&self.conn, space, stream)? {
            Some(row) => {
                let from = from.max(floor_of(&self.conn, row)?.saturating_add(1));
                range(&self.conn, row, from, to, bytes_max, items_max)
            }
            None => Ok(Vec::new()),
        }
    }

    /// What this device holds of every stream, sorted by stream id. Streams nothing was held of are left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn have(&self, space: &SpaceId) -> Result<Vec<Have>, StoreError> {
        let reads = self.reads();
        let sql = "SELECT stream, seq, tip, floor FROM stream WHERE space = ?1 AND seq > 0 ORDER BY stream";
        reads.all(sql, [reads.space_row(space)?], |row| {
            let tip: [u8; 32] = row.get(2)?;
            let tip_id = [tip[0], tip[1], tip[2], tip[3], tip[4], tip[5], tip[6], tip[7]];
            Ok(Have { stream: StreamId(row.get(0)?), floor: row.get(3)?, tip: row.get(1)?, tip_id, holes: Vec::new() })
        })
    }

    /// Where the streams of these devices stand, as far as they are held: the cuts of a removal.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn cuts(&self, space: &SpaceId, devices: &[SignPk]) -> Result<Vec<Cut>, StoreError> {
        let sql = "SELECT stream, seq, tip, device FROM stream WHERE space = ?1 AND seq > 0 ORDER BY stream";
        let reads = self.reads();
        let found = reads.all(sql, [reads.space_row(space)?], |row| {
            let cut = Cut { stream: StreamId(row.get(0)?), seq: row.get(1)?, id: EnvelopeId(row.get(2)?) };
            Ok((cut, SignPk(row.get(3)?)))
        })?;
        Ok(found.into_iter().filter(|(_, device)| devices.contains(device)).map(|(cut, _)| cut).collect())
    }

    /// The own stream's tip.
    ///
    /// # Errors
    /// [`StoreError::UnknownSpace`].
    pub fn own_tip(&self, space: &SpaceId) -> Result<StreamTip, StoreError> {
        seal::own_tip(&self.conn, find_space(&self.conn, space)?)
    }
}

/// A stream that this device wrote before it went on under another one.
struct Left {
    stream: StreamId,
    /// The last envelope that counts.
    seq: u32,
    floor: u32,
}

/// Where is kept how far a relay holds a stream that was left.
fn left_key(relay: RelayId, stream: &StreamId) -> String {
    format!("left:{}:{stream}", relay.0)
}

/// The relay holds a stream that is left so far, or farther.
pub(super) fn note_left(conn: &Connection, relay: RelayId, stream: &StreamId, through: u32) -> Result<(), StoreError> {
    let key = left_key(relay, stream);
    if through <= left_through(conn, &key)? {
        return Ok(());
    }
    schema::put_meta(conn, &key, &through.to_be_bytes())
}

fn left_through(conn: &Connection, key: &str) -> Result<u32, StoreError> {
    let kept = schema::meta(conn, key)?.and_then(|kept| kept.try_into().ok());
    Ok(kept.map_or(0, u32::from_be_bytes))
}

fn forget_left(conn: &Connection, relay: RelayId) -> Result<(), StoreError> {
    // The character behind the colon ends the range of keys that begin so.
    let keys = (format!("left:{}:", relay.0), format!("left:{};", relay.0));
    conn.execute("DELETE FROM meta WHERE key > ?1 AND key < ?2", keys)?;
    Ok(())
}

fn trouble_key(relay: RelayId) -> String {
    format!("trouble:{}", relay.0)
}

fn refused_key(space: &SpaceId) -> String {
    format!("refused:{space}")
}

impl Reads<'_> {
    /// The last envelope of a stream that is held and counts; 0: none. Handing on what lies beyond is vouching for it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn counts_through(&self, space: &SpaceId, stream: &StreamId) -> Result<u32, StoreError> {
        let sql = "SELECT min(seq, ifnull(limit_seq, seq)) FROM stream WHERE space = ?1 AND stream = ?2";
        Ok(self.one(sql, (self.space_row(space)?, stream.as_ref()), |row| row.get(0))?.unwrap_or(0))
    }

    /// Streams that this device wrote and left.
    fn left_streams(&self, space: &SpaceId) -> Result<Vec<Left>, StoreError> {
        let own = find_space(self.conn, space)?;
        let sql = "SELECT stream, min(seq, ifnull(limit_seq, seq)), floor FROM stream
                   WHERE space = ?1 AND id <> ?2 AND device = (SELECT device FROM stream WHERE id = ?2)";
        self.all(sql, (own.row, own.stream_row), |row| {
            Ok(Left { stream: StreamId(row.get(0)?), seq: row.get(1)?, floor: row.get(2)? })
        })
    }

    /// How far a relay is known to hold a stream that this device writes, or wrote and left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn own_held_by(&self, space: &SpaceId, relay: &RelayState, stream: &StreamId) -> Result<u32, StoreError> {
        if find_space(self.conn, space)?.stream == *stream {
            return Ok(relay.own_acked_seq);
        }
        left_through(self.conn, &left_key(relay.id, stream))
    }

    /// Own envelopes that none of these relays is known to hold, those in streams that were left among them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unsent_count(&self, space: &SpaceId, relays: &[RelayState]) -> Result<u64, StoreError> {
        let acked = relays.iter().map(|relay| relay.own_acked_seq).max().unwrap_or(0);
        let own = find_space(self.conn, space)?.stream_row;
        let mut unsent = self.count("SELECT max(0, seq - max(?2, floor)) FROM stream WHERE id = ?1", (own, acked))?;
        for left in self.left_streams(space)? {
            let mut held = left.floor;
            for relay in relays {
                held = held.max(left_through(self.conn, &left_key(relay.id, &left.stream))?);
            }
            unsent += u64::from(left.seq.saturating_sub(held));
        }
        Ok(unsent)
    }

    /// What [`Store::note_trouble`] kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn trouble(&self, relay: RelayId) -> Result<Option<Vec<u8>>, StoreError> {
        self.meta(&trouble_key(relay))
    }

    /// Why the relay did not let this device in when it last asked.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn refused(&self, space: &SpaceId) -> Result<Option<String>, StoreError> {
        let reason = schema::meta(self.conn, &refused_key(space))?;
        Ok(reason.map(|reason| String::from_utf8_lossy(&reason).into_owned()))
    }
}

/// The row of a stream.
pub(super) fn stream_row(conn: &Connection, space: i64, stream: &StreamId) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT id FROM stream WHERE space = ?1 AND stream = ?2";
    Reads { conn }.one(sql, (space, stream.as_ref()), |row| row.get(0))
}

fn floor_of(conn: &Connection, stream: i64) -> Result<u32, StoreError> {
    Ok(Reads { conn }.one("SELECT floor FROM stream WHERE id = ?1", [stream], |row| row.get(0))?.unwrap_or(0))
}

fn range(
    conn: &Connection,
    stream: i64,
    from: u32,
    to: u32,
    bytes_max: usize,
    items_max: usize,
) -> Result<Vec<SealedEnvelope>, StoreError> {
    let sql = "SELECT position, envelope, bytes FROM envelope WHERE position BETWEEN ?1 AND ?2 ORDER BY position";
    let mut select = conn.prepare_cached(sql)?;
    let mut rows = select.query((seal::position(stream, from), seal::position(stream, to)))?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let position: i64 = row.get(0)?;
        let sealed = SealedEnvelope {
            seq: u32::try_from(position & i64::from(u32::MAX)).unwrap_or(0),
            id: EnvelopeId(row.get(1)?),
            bytes: row.get(2)?,
        };
        bytes += sealed.bytes.len();
        if !found.is_empty() && (bytes > bytes_max || found.len() >= items_max) {
            break;
        }
        found.push(sealed);
    }
    Ok(found)
}
