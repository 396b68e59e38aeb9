//! The doctor: what can be checked about a home, and what can be made anew.

use std::collections::BTreeSet;

use lifeos_sync_protocol::envelope::Envelope;
use lifeos_sync_protocol::ids::{DocId, EnvelopeId, SpaceId, StreamId};
use lifeos_sync_protocol::membership::Membership;
use ring::digest;
use rusqlite::Connection;

use super::documents::{DocRow, Mark, is_marked, search_hash};
use super::records::{find_space, load as load_records};
use super::{Reads, SpaceRow, Store, StoreError, rows, seal};
use crate::projection::{self, Row, Value};

/// Documents whose names are read at once.
const BATCH: i64 = 200;
/// Names of documents that a check lists.
const NAMED_MAX: usize = 5;

/// What helps where nothing here can be made anew from something else.
const REPAIR: &str = "keep a copy of the folder, then restore a backup or link this device again";

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOutcome {
    /// What was checked.
    pub name: &'static str,
    /// Whether it held.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// What is wrong with documents, so far.
#[derive(Default)]
struct Findings {
    checked: u64,
    unloadable: Vec<DocId>,
    heads: Vec<DocId>,
    rows: Vec<DocId>,
    search: Vec<DocId>,
}

impl Store {
    /// Checks pages, records, streams, pending changes, documents, projections (recomputed and compared) and the
    /// search index. `progress(done, total)` is called after every document.
    ///
    /// # Errors
    /// [`StoreError`] only when the checks themselves cannot run.
    pub fn check(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<CheckOutcome>, StoreError> {
        let transaction = self.conn.unchecked_transaction()?;
        let mut outcomes = vec![check_pages(&self.conn)?];
        for space in self.reads().spaces()? {
            outcomes.push(self.check_records(&space));
            outcomes.push(check_own_stream(&self.conn, &space)?);
        }
        outcomes.push(check_pending(&self.conn)?);
        outcomes.extend(check_documents(&self.conn, progress)?);
        outcomes.push(check_search_index(&self.conn));
        transaction.commit()?;
        Ok(outcomes)
    }

    fn check_records(&self, space: &SpaceRow) -> CheckOutcome {
        // From the disk, whatever is in memory.
        let read = find_space(&self.conn, &space.space).and_then(|found| load_records(&self.conn, found.row));
        let judged = read.and_then(|records| match Membership::evaluate(&space.space, &records) {
            Ok(membership) => Ok((records.len(), membership)),
            Err(_) => Err(StoreError::Corrupt { what: "the records of a space" }),
        });
        match judged {
            Ok((count, membership)) if membership.devices.contains_key(&space.device) => {
                held("records", format!("{count} records, this device is enrolled"))
            }
            Ok(_) => failed("records", "this device is not enrolled in its space: link it again"),
            Err(error) => failed("records", &error.to_string()),
        }
    }

    /// SHA-256 over all projection rows of a space, ordered by document id, table and key, local row ids left out.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn projection_digest(&self, space: &SpaceId) -> Result<[u8; 32], StoreError> {
        let reads = self.reads();
        let mut hash = digest::Context::new(&digest::SHA256);
        let sql = "SELECT id, doc FROM document WHERE space = ?1 ORDER BY doc";
        let mut select = self.conn.prepare_cached(sql)?;
        let mut documents = select.query([reads.space_row(space)?])?;
        while let Some(document) = documents.next()? {
            let doc: [u8; 16] = document.get(1)?;
            for row in rows::load_all(&self.conn, document.get(0)?)? {
                hash.update(&doc);
                hash_row(&mut hash, &row);
            }
        }
        let mut out = [0; 32];
        out.copy_from_slice(hash.finish().as_ref());
        Ok(out)
    }
}

fn next_documents(conn: &Connection, after: i64) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT id FROM document WHERE id > ?1 ORDER BY id LIMIT ?2";
    Reads { conn }.all(sql, (after, BATCH), |row| row.get(0))
}

fn hash_row(hash: &mut digest::Context, row: &Row) {
    hash_bytes(hash, b't', row.table.as_bytes());
    hash_bytes(hash, b'k', row.key.as_bytes());
    for value in &row.values {
        match value {
            Value::Null => hash_bytes(hash, b'n', &[]),
            Value::Int(number) => hash_bytes(hash, b'i', &number.to_be_bytes()),
            Value::Text(text) => hash_bytes(hash, b's', text.as_bytes()),
            Value::Blob(bytes) => hash_bytes(hash, b'b', bytes),
        }
    }
}

/// A tag and a length in front, so that no two different lists of cells give the same bytes.
fn hash_bytes(hash: &mut digest::Context, tag: u8, bytes: &[u8]) {
    hash.update(&[tag]);
    hash.update(&(bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn held(name: &'static str, detail: String) -> CheckOutcome {
    CheckOutcome { name, ok: true, detail }
}

fn failed(name: &'static str, detail: &str) -> CheckOutcome {
    CheckOutcome { name, ok: false, detail: detail.to_owned() }
}

fn check_pages(conn: &Connection) -> Result<CheckOutcome, StoreError> {
    let lines: Vec<String> = Reads { conn }.all("PRAGMA integrity_check(10)", [], |row| row.get(0))?;
    if lines == ["ok"] {
        Ok(held("database pages", "every page and index is sound".to_owned()))
    } else {
        Ok(failed("database pages", &format!("{}; {REPAIR}", lines.join("; "))))
    }
}

/// The own stream is a chain without gaps from its first envelope to the tip.
fn check_own_stream(conn: &Connection, space: &SpaceRow) -> Result<CheckOutcome, StoreError> {
    let name = "own stream";
    let space_ref = super::records::find_space(conn, &space.space)?;
    let tip = seal::own_tip(conn, space_ref)?;
    let sql = "SELECT position, envelope, bytes FROM envelope WHERE position BETWEEN ?1 AND ?2 ORDER BY position";
    let mut select = conn.prepare_cached(sql)?;
    let low = seal::position(space_ref.stream_row, 0);
    let floor = "SELECT floor, floor_id FROM stream WHERE id = ?1";
    let floor = Reads { conn }.one(floor, [space_ref.stream_row], |row| Ok((row.get::<_, u32>(0)?, row.get(1)?)))?;
    let (mut seq, newest): (u32, Option<[u8; 32]>) = floor.unwrap_or_default();
    let mut newest = newest.map(EnvelopeId);
    // Envelopes up to the floor may be kept because they were set aside.
    let from = seal::position(space_ref.stream_row, seq.saturating_add(1));
    let mut found = select.query((from, seal::position(space_ref.stream_row, u32::MAX)))?;
    while let Some(row) = found.next()? {
        seq += 1;
        let id = EnvelopeId(row.get(1)?);
        let Ok(envelope) = Envelope::parse(row.get(2)?) else {
            return Ok(failed(name, &format!("envelope {seq} has a wrong layout; {REPAIR}")));
        };
        let header = envelope.header();
        let follows = newest.is_none_or(|newest: EnvelopeId| header.prev == newest.0);
        let placed = row.get::<_, i64>(0)? == low + i64::from(seq) && header.seq == seq;
        if !placed || !follows || header.stream != space.stream || envelope.id(&space.space) != id {
            return Ok(failed(name, &format!("envelope {seq} does not continue the chain; {REPAIR}")));
        }
        newest = Some(id);
    }
    if tip.seq == seq && newest.is_none_or(|newest| newest.0 == tip.id) {
        Ok(held(name, format!("{seq} envelopes, one unbroken chain")))
    } else {
        Ok(failed(name, &format!("the newest envelope is not the recorded tip; {REPAIR}")))
    }
}

/// Every change that is not sealed is known to the sealer, and every mark has a change behind it.
fn check_pending(conn: &Connection) -> Result<CheckOutcome, StoreError> {
    let unmarked = "SELECT count(DISTINCT doc) FROM change WHERE state > 0
                    AND doc NOT IN (SELECT doc FROM mark WHERE kind = ?1)";
    let empty = "SELECT count(*) FROM mark WHERE kind = ?1
                 AND doc NOT IN (SELECT doc FROM change WHERE state > 0)";
    let count = |sql| conn.query_row(sql, [Mark::Pending as i64], |row| row.get::<_, i64>(0));
    match (count(unmarked)?, count(empty)?) {
        (0, 0) => Ok(held("pending changes", "all are known to the sealer".to_owned())),
        (unmarked, empty) => Ok(failed(
            "pending changes",
            &format!(
                "{unmarked} documents with changes that would never be sealed, {empty} marks without a change; {REPAIR}"
            ),
        )),
    }
}

fn check_documents(conn: &Connection, progress: &mut dyn FnMut(u64, u64)) -> Result<Vec<CheckOutcome>, StoreError> {
    let total: i64 = conn.query_row("SELECT count(*) FROM document", [], |row| row.get(0))?;
    let total = u64::try_from(total).unwrap_or(0);
    let waiting: BTreeSet<i64> = super::documents::marked(conn, Mark::Search, usize::MAX)?.into_iter().collect();
    let (mut findings, mut after) = (Findings::default(), 0);
    loop {
        let ids = next_documents(conn, after)?;
        let Some(last) = ids.last() else { break };
        after = *last;
        for id in ids {
            if let Some(row) = DocRow::by_id(conn, id)? {
                check_document(conn, &row, waiting.contains(&id), &mut findings)?;
            }
            findings.checked += 1;
            progress(findings.checked, total);
        }
    }
    let Findings { checked, unloadable, heads, rows, search } = findings;
    Ok(vec![
        outcome("documents", checked, &unloadable, "cannot be loaded: restore a backup, or link this device again"),
        outcome(
            "document heads",
            checked,
            &heads,
            "differ from what is recorded: restore a backup, or link this device again",
        ),
        outcome("projections", checked, &rows, "have rows that differ: run `lifeos doctor --rebuild-projections`"),
        outcome("search", checked, &search, "are not indexed: run `lifeos doctor --rebuild-projections`"),
    ])
}

fn check_document(conn: &Connection, row: &DocRow, waits: bool, findings: &mut Findings) -> Result<(), StoreError> {
    let document = match row.load(conn, StreamId::ZERO) {
        Ok(document) => document,
        Err(error) if error.is_corrupt() => {
            findings.unloadable.push(row.doc);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let reads = Reads { conn };
    let sql = "SELECT heads, search_hash FROM document WHERE id = ?1";
    let stored = reads.one(sql, [row.id], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    let heads: Vec<u8> = document.heads().iter().flat_map(|head| head.0).collect();
    let (projected, text) = projection::project_with_search(&document);
    let expected = (heads, text.as_ref().map(search_hash));
    if stored.as_ref().is_none_or(|stored| stored.0 != expected.0) {
        findings.heads.push(row.doc);
    }
    // Rows and index of one that came with a checkpoint are made right when somebody looks inside, and those of an earlier
    // version when its turn has come.
    if row.unverified != 0 || is_marked(conn, Mark::Project, row.id)? {
        return Ok(());
    }
    if rows::load_all(conn, row.id)? != projected {
        findings.rows.push(row.doc);
    }
    let indexed = reads.one("SELECT 1 FROM search WHERE rowid = ?1", [row.id], |_| Ok(()))?.is_some();
    if stored.is_none_or(|stored| stored.1 != expected.1) || (!waits && indexed != text.is_some()) {
        findings.search.push(row.doc);
    }
    Ok(())
}

fn outcome(name: &'static str, checked: u64, wrong: &[DocId], what: &str) -> CheckOutcome {
    if wrong.is_empty() {
        return held(name, format!("{checked} documents"));
    }
    let named: Vec<String> = wrong.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    failed(name, &format!("{} of {checked} documents {what} ({})", wrong.len(), named.join(", ")))
}

fn check_search_index(conn: &Connection) -> CheckOutcome {
    // The index' own check is an INSERT by form; it writes nothing.
    match conn.execute("INSERT INTO search(search) VALUES ('integrity-check')", []) {
        Ok(_) => held("search index", "sound".to_owned()),
        Err(_) => failed("search index", "damaged: run `lifeos doctor --rebuild-projections`"),
    }
}
