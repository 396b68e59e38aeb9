//! The format of the database: numbered migrations, each in one transaction, and the projection tables that
//! the registry declares.
//!
//! Row ids never leave the device: `document.id`, `stream.id` and `space.id` stand for the long ids in every
//! other table. `envelope.position` is `stream.id << 32 | seq`, so that one B-tree serves every stream.

use std::borrow::Cow;
use std::fmt::Write as _;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::{StoreError, watch};
use crate::crypto;
use crate::projection::Value;
use crate::registry::{self, Table};

/// Newest format this version writes and reads (`PRAGMA user_version`).
pub const SCHEMA_VERSION: u32 = 12;
/// Oldest version that can still work with what this version writes.
const MIN_READER: u32 = 10;
/// `PRAGMA application_id`: "LIFE".
const APPLICATION_ID: i64 = 0x4c49_4645;

/// `migrations[n]` brings format n to n + 1. Rows are only ever added.
const MIGRATIONS: [&str; SCHEMA_VERSION as usize] = [V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12];

const V1: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE space(
    id INTEGER PRIMARY KEY,
    space BLOB NOT NULL UNIQUE CHECK(length(space) = 32),
    device BLOB NOT NULL CHECK(length(device) = 32),
    own_stream INTEGER NOT NULL,
    home INTEGER NOT NULL);

CREATE TABLE record(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL REFERENCES space(id),
    record BLOB NOT NULL CHECK(length(record) = 32),
    bytes BLOB NOT NULL,
    UNIQUE(space, record));

-- seq and tip: the last envelope that was taken in; told_seq: what the own frontier last said of it.
CREATE TABLE stream(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL REFERENCES space(id),
    stream BLOB NOT NULL CHECK(length(stream) = 16),
    device BLOB NOT NULL CHECK(length(device) = 32),
    seq INTEGER NOT NULL,
    tip BLOB NOT NULL CHECK(length(tip) = 32),
    told_seq INTEGER NOT NULL DEFAULT 0,
    UNIQUE(space, stream));

CREATE TABLE envelope(
    position INTEGER PRIMARY KEY,
    envelope BLOB NOT NULL CHECK(length(envelope) = 32),
    bytes BLOB NOT NULL);

-- One row is all that an edit changes of a document besides its new change and its projection rows.
CREATE TABLE document(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    doc BLOB NOT NULL CHECK(length(doc) = 16),
    genesis INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    heads BLOB NOT NULL,
    next_change INTEGER NOT NULL,
    tail_changes INTEGER NOT NULL,
    tail_bytes INTEGER NOT NULL,
    snapshot_bytes INTEGER NOT NULL,
    search_hash INTEGER,
    UNIQUE(space, doc));

CREATE TABLE snapshot(doc INTEGER PRIMARY KEY, bytes BLOB NOT NULL);

-- state 0: in the tail; 1: in the tail and not sealed; 2: not sealed, and in the snapshot already.
CREATE TABLE change(
    doc INTEGER NOT NULL,
    n INTEGER NOT NULL,
    state INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY(doc, n)) WITHOUT ROWID;

-- Work that is put off: kind 1 search index, 2 sealing, 3 snapshot.
CREATE TABLE mark(kind INTEGER NOT NULL, doc INTEGER NOT NULL, PRIMARY KEY(kind, doc)) WITHOUT ROWID;

-- Changes from elsewhere whose dependencies have not arrived.
CREATE TABLE waiting(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    doc BLOB NOT NULL,
    genesis INTEGER NOT NULL,
    stream BLOB NOT NULL,
    envelope BLOB NOT NULL,
    hash BLOB NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE(space, doc, hash));

-- bytes: only when the envelope is not a part of its stream (else it lies in `envelope`).
CREATE TABLE quarantine(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    envelope BLOB NOT NULL,
    stream BLOB NOT NULL,
    seq INTEGER NOT NULL,
    author BLOB,
    reason TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    bytes BLOB,
    UNIQUE(space, envelope));

CREATE TABLE relay(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL REFERENCES space(id),
    url TEXT NOT NULL,
    key BLOB,
    log_id BLOB,
    pos INTEGER,
    roll BLOB,
    own_acked_seq INTEGER NOT NULL DEFAULT 0,
    synced_ms INTEGER,
    UNIQUE(space, url));

-- changes: (document id 16, change hash 32) each, oldest first.
CREATE TABLE undo(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    undone INTEGER NOT NULL,
    changes BLOB NOT NULL);

CREATE VIRTUAL TABLE search USING fts5(
    title, headings, tags, body, tokenize = 'unicode61 remove_diacritics 2');
INSERT INTO search(search, rank) VALUES ('rank', 'bm25(8.0, 3.0, 5.0, 1.0)');
";

const V2: &str = "
-- Rolling hashes of a relay's log, 16 bytes a place, from `first` on.
CREATE TABLE roll(
    relay INTEGER NOT NULL,
    log BLOB NOT NULL,
    first INTEGER NOT NULL,
    rolls BLOB NOT NULL,
    PRIMARY KEY(relay, log, first)) WITHOUT ROWID;

-- What relays signed about their logs; told_by NULL: to this device, which passes it on (told).
CREATE TABLE statement(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    relay_key BLOB NOT NULL,
    log BLOB NOT NULL,
    pos INTEGER NOT NULL,
    roll BLOB NOT NULL,
    told_by BLOB,
    bytes BLOB NOT NULL,
    since_ms INTEGER NOT NULL,
    told INTEGER NOT NULL,
    UNIQUE(space, relay_key, log, pos, roll));

-- How far other devices say that a stream goes.
CREATE TABLE promise(
    space INTEGER NOT NULL,
    stream BLOB NOT NULL,
    seq INTEGER NOT NULL,
    told_by BLOB NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY(space, stream)) WITHOUT ROWID;

CREATE TABLE warning(
    relay INTEGER NOT NULL,
    kind TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    times INTEGER NOT NULL,
    evidence BLOB NOT NULL,
    PRIMARY KEY(relay, kind)) WITHOUT ROWID;
";

/// How far streams count. limit_seq: the last envelope that does (NULL: all do). mention: an envelope that counts
/// says that its author had taken in a stream so far; sequence 0 of the own stream stands for what is to be said next.
const V3: &str = "
ALTER TABLE stream ADD COLUMN limit_seq INTEGER;
CREATE TABLE mention(
    stream BLOB NOT NULL,
    position INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY(stream, position)) WITHOUT ROWID;
";

/// state of a record 0: written here, and no relay is known to hold it; 1: a relay holds it; 2: others were told that it
/// exists. records_changed counts the commits that changed the records.
const V4: &str = "
ALTER TABLE record ADD COLUMN state INTEGER NOT NULL DEFAULT 1;
ALTER TABLE space ADD COLUMN records_changed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX record_state ON record(space, state) WHERE state < 2;
";

/// What each device says that it holds, in the place of the furthest that any said of a stream; of what is not here, and
/// is no more than read_seq, the person has read. `relay.receipt`: what this device's newest receipt there says.
const V5: &str = "
CREATE TABLE confirmed(
    space INTEGER NOT NULL,
    device BLOB NOT NULL,
    stream BLOB NOT NULL,
    seq INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    read_seq INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(space, device, stream)) WITHOUT ROWID;
INSERT INTO confirmed(space, device, stream, seq, since_ms) SELECT space, told_by, stream, seq, since_ms FROM promise;
DROP TABLE promise;

-- The newest receipt of each device; said_ms NULL: only its envelopes were heard.
CREATE TABLE receipt(
    space INTEGER NOT NULL,
    device BLOB NOT NULL,
    count INTEGER NOT NULL,
    said_ms INTEGER,
    heard_ms INTEGER NOT NULL,
    complete_ms INTEGER,
    set_aside INTEGER NOT NULL,
    PRIMARY KEY(space, device)) WITHOUT ROWID;
ALTER TABLE relay ADD COLUMN receipt BLOB;
";

/// Checkpoints. A stream's r32 is what its id was made with; up to floor (whose id is floor_id) its envelopes are gone
/// from here, or never came: a checkpoint holds what they said. cut_seq: how far the newest checkpoint goes that was made
/// or compared here, cut_ms when that was. unverified: the checkpoint that a document came with, and nobody has looked
/// inside since; 0: it was made of changes that were checked.
const V6: &str = "
ALTER TABLE stream ADD COLUMN r32 BLOB;
ALTER TABLE stream ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stream ADD COLUMN floor_id BLOB;
ALTER TABLE stream ADD COLUMN cut_seq INTEGER NOT NULL DEFAULT 0;
UPDATE stream SET r32 = CASE seq WHEN 0 THEN tip
    ELSE (SELECT substr(bytes, 25, 32) FROM envelope WHERE position = (stream.id << 32 | 1)) END;
ALTER TABLE space ADD COLUMN cut_ms INTEGER;
ALTER TABLE document ADD COLUMN unverified INTEGER NOT NULL DEFAULT 0;
CREATE INDEX document_unverified ON document(unverified) WHERE unverified <> 0;

-- Chunks and blob parts. checked: made here, or every document in it was loaded and compared.
CREATE TABLE object(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    object BLOB NOT NULL CHECK(length(object) = 32),
    checked INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    UNIQUE(space, object));

-- Chunks of the newest checkpoint that was made or compared here, and the documents in them as they were packed.
CREATE TABLE live(
    space INTEGER NOT NULL,
    n INTEGER NOT NULL,
    object INTEGER NOT NULL,
    essential INTEGER NOT NULL,
    PRIMARY KEY(space, n)) WITHOUT ROWID;
CREATE TABLE packed(
    object INTEGER NOT NULL,
    doc BLOB NOT NULL,
    heads BLOB NOT NULL,
    weight INTEGER NOT NULL,
    PRIMARY KEY(object, doc)) WITHOUT ROWID;

-- Checkpoints that documents came with. repaired, damaged: documents with other rows than it says, and that do not load.
CREATE TABLE checkpoint(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    record BLOB NOT NULL CHECK(length(record) = 32),
    repaired INTEGER NOT NULL DEFAULT 0,
    damaged INTEGER NOT NULL DEFAULT 0,
    blamed_ms INTEGER,
    UNIQUE(space, record));

-- Chunks that are taken in, essentials first.
CREATE TABLE bootstrap(
    space INTEGER NOT NULL,
    n INTEGER NOT NULL,
    checkpoint INTEGER NOT NULL,
    object BLOB NOT NULL,
    essential INTEGER NOT NULL,
    docs INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    taken INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(space, n)) WITHOUT ROWID;

-- Documents that a checkpoint says exist and that are not held: they do not load, or are of a kind not known here.
CREATE TABLE damaged(
    space INTEGER NOT NULL,
    doc BLOB NOT NULL,
    checkpoint INTEGER NOT NULL,
    reason TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY(space, doc)) WITHOUT ROWID;
";

/// Documents that are erased. state 0: it is to be at due_ms; 1: it is, and nobody was told; 2: it is, by the envelope at
/// `position` that was sealed under `epoch`, or (0) by a checkpoint. keeps: its text goes on in `successor`. is_sure: it
/// need not be in the trash when it is due. unsent: edits of this device that were never sent and went with it.
const V7: &str = "
CREATE TABLE erased(
    space INTEGER NOT NULL,
    doc BLOB NOT NULL CHECK(length(doc) = 16),
    state INTEGER NOT NULL,
    keeps INTEGER NOT NULL DEFAULT 0,
    is_sure INTEGER NOT NULL DEFAULT 0,
    due_ms INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    position INTEGER NOT NULL DEFAULT 0,
    epoch BLOB,
    heads BLOB NOT NULL DEFAULT x'',
    successor BLOB,
    unsent INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(space, doc)) WITHOUT ROWID;
";

/// Attachments. part: what is to be known of each blob part that is held, in rows of their own so that nobody reads a
/// mebibyte for it; used_ms: when it was read last; loose_ms: since when nothing refers to it. given: the relays that are
/// known to hold it. kept_attachment: what a person wants on this device; wanted: fetched as soon as a relay has it.
const V8: &str = "
CREATE TABLE part(
    object INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    used_ms INTEGER NOT NULL,
    loose_ms INTEGER);
CREATE INDEX part_used ON part(used_ms);
CREATE INDEX part_space ON part(space, object);
INSERT INTO part(object, space, bytes, used_ms)
    SELECT id, space, length(bytes), since_ms FROM object WHERE substr(bytes, 2, 1) = x'03';
CREATE TABLE given(object INTEGER NOT NULL, relay INTEGER NOT NULL, PRIMARY KEY(object, relay)) WITHOUT ROWID;
CREATE TABLE kept_attachment(
    space INTEGER NOT NULL,
    hash BLOB NOT NULL CHECK(length(hash) = 32),
    pinned INTEGER NOT NULL DEFAULT 0,
    wanted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(space, hash)) WITHOUT ROWID;
";

/// Parts sealed anew after a removal. part.epoch: the key it is sealed under; content, number: which part of which content
/// it is, where that is known.
const V9: &str = "
ALTER TABLE part ADD COLUMN epoch BLOB;
ALTER TABLE part ADD COLUMN content BLOB;
ALTER TABLE part ADD COLUMN number INTEGER;
UPDATE part SET epoch = (SELECT substr(bytes, 57, 16) FROM object WHERE object.id = part.object);
CREATE INDEX part_content ON part(content, number) WHERE content IS NOT NULL;
";

/// opaque: documents of kinds that this version does not know, as they came with a checkpoint. piece: which chunk holds
/// which piece of a document of the checkpoint that is taken in. erased.late: what was typed elsewhere in a note of which
/// only the history was to go.
const V10: &str = "
CREATE TABLE opaque(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    doc BLOB NOT NULL CHECK(length(doc) = 16),
    genesis INTEGER NOT NULL,
    heads BLOB NOT NULL,
    bytes BLOB NOT NULL,
    checkpoint INTEGER NOT NULL,
    UNIQUE(space, doc));
CREATE TABLE piece(
    checkpoint INTEGER NOT NULL,
    doc BLOB NOT NULL CHECK(length(doc) = 16),
    n INTEGER NOT NULL,
    pieces INTEGER NOT NULL,
    object BLOB NOT NULL CHECK(length(object) = 32),
    PRIMARY KEY(checkpoint, doc, n)) WITHOUT ROWID;
ALTER TABLE erased ADD COLUMN late TEXT NOT NULL DEFAULT '';
";

/// Documents whose rows changed, in order, by row id; 0: any of them. Cut off at its beginning.
const V11: &str = "
CREATE TABLE recent(n INTEGER PRIMARY KEY, doc INTEGER NOT NULL);
";

/// Branches, and what they hold of documents while they are open. state 0: open; 1: accepted; 2: discarded.
const V12: &str = "
CREATE TABLE branch(
    id INTEGER PRIMARY KEY,
    space INTEGER NOT NULL,
    branch BLOB NOT NULL CHECK(length(branch) = 16),
    name TEXT NOT NULL,
    author TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    state INTEGER NOT NULL,
    reviewer TEXT,
    reviewed_ms INTEGER,
    accepted INTEGER NOT NULL DEFAULT 0,
    UNIQUE(space, branch));
CREATE TABLE branched(
    branch INTEGER NOT NULL REFERENCES branch(id),
    doc BLOB NOT NULL CHECK(length(doc) = 16),
    genesis INTEGER NOT NULL,
    base BLOB NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY(branch, doc));
";

/// Brings a database to [`SCHEMA_VERSION`]; one that is newer and cannot be read by this version is refused.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    if version(conn)? == SCHEMA_VERSION {
        return Ok(());
    }
    loop {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let from = version(&tx)?;
        refuse_newer(&tx, from)?;
        let Some(sql) = MIGRATIONS.get(from as usize) else { return Ok(()) };
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", from + 1)?;
        put_meta(&tx, "min_reader", &MIN_READER.to_be_bytes())?;
        tx.commit()?;
    }
}

/// Refuses what is no home, or one that only a newer version understands.
pub(super) fn refuse_foreign(conn: &Connection) -> Result<(), StoreError> {
    let id: i64 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(StoreError::Corrupt { what: "lifeos.db is not a home's database" });
    }
    refuse_newer(conn, version(conn)?)
}

fn version(conn: &Connection) -> Result<u32, StoreError> {
    Ok(conn.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn refuse_newer(conn: &Connection, found: u32) -> Result<(), StoreError> {
    if found <= SCHEMA_VERSION {
        return Ok(());
    }
    let min_reader = meta(conn, "min_reader")?.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    match min_reader {
        Some(min_reader) if min_reader <= SCHEMA_VERSION => Ok(()),
        _ => Err(StoreError::NewerVersion { found, known: SCHEMA_VERSION }),
    }
}

/// A value of the `meta` table.
pub(super) fn meta(conn: &Connection, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let mut select = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
    Ok(select.query_row([key], |row| row.get(0)).optional()?)
}

/// Stores a value of the `meta` table.
pub(super) fn put_meta(conn: &Connection, key: &str, value: &[u8]) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT OR REPLACE INTO meta(key, value) VALUES (?1, ?2)")?.execute((key, value))?;
    Ok(())
}

/// Removes a value of the `meta` table.
pub(super) fn remove_meta(conn: &Connection, key: &str) -> Result<(), StoreError> {
    conn.prepare_cached("DELETE FROM meta WHERE key = ?1")?.execute([key])?;
    Ok(())
}

/// The order of the list of notes, so that its first screen reads its first rows only.
const NOTE_LIST_INDEX: &str = "CREATE INDEX note_list ON note(trashed_ms, pinned, updated_ms);\n";

/// Words that SQLite takes for no column's name unless they stand in quotes. The others stay without: tables made by
/// earlier versions are known again by their text.
const RESERVED: &[&str] = &[
    "add",
    "all",
    "alter",
    "and",
    "as",
    "between",
    "case",
    "check",
    "collate",
    "commit",
    "constraint",
    "create",
    "default",
    "delete",
    "distinct",
    "drop",
    "else",
    "escape",
    "exists",
    "foreign",
    "from",
    "group",
    "having",
    "in",
    "index",
    "insert",
    "into",
    "is",
    "join",
    "limit",
    "not",
    "nothing",
    "null",
    "on",
    "or",
    "order",
    "primary",
    "references",
    "returning",
    "select",
    "set",
    "table",
    "then",
    "to",
    "transaction",
    "union",
    "unique",
    "update",
    "using",
    "values",
    "when",
    "where",
];

fn named(column: &str) -> Cow<'_, str> {
    if RESERVED.contains(&column) { Cow::Owned(format!("\"{column}\"")) } else { Cow::Borrowed(column) }
}

/// `CREATE TABLE` and `CREATE INDEX` of one projection table.
fn projection_ddl(table: &Table) -> String {
    let mut sql = format!("CREATE TABLE {}(doc INTEGER NOT NULL, key TEXT NOT NULL", table.name);
    for column in table.columns {
        let _ = write!(sql, ", {} {}", named(column.name), column.sql_type);
    }
    sql.push_str(", PRIMARY KEY(doc, key)) WITHOUT ROWID;\n");
    for column in table.columns.iter().filter(|column| column.indexed) {
        let _ = writeln!(sql, "CREATE INDEX {0}_{1} ON {0}({2});", table.name, column.name, named(column.name));
    }
    if table.name == registry::NOTE.name {
        sql.push_str(NOTE_LIST_INDEX);
    } else if table.columns.starts_with(registry::STANDARD) {
        let _ = writeln!(sql, "CREATE INDEX {0}_list ON {0}(trashed_ms, updated_ms);", table.name);
    }
    sql
}

/// What the projections of this version look like: their version and a hash of their tables.
pub(super) fn projection_stamp() -> Vec<u8> {
    let ddl: String = registry::tables().iter().map(projection_ddl).collect();
    let mut stamp = registry::PROJECTION_VERSION.to_be_bytes().to_vec();
    stamp.extend_from_slice(&crypto::sha256_plain(&[ddl.as_bytes()])[..8]);
    stamp
}

/// Whether the projections on disk have the form of this version, and their rows do but for those of marked documents.
pub(super) fn projections_are_current(conn: &Connection) -> Result<bool, StoreError> {
    Ok(meta(conn, "projections")? == Some(projection_stamp()))
}

/// Drops every projection table and makes those of this version, empty.
pub(super) fn recreate_projections(conn: &Connection) -> Result<(), StoreError> {
    let known = meta(conn, "projection_tables")?.unwrap_or_default();
    for table in String::from_utf8_lossy(&known).split('\n').filter(|name| is_plain_name(name)) {
        conn.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
    }
    for table in registry::tables() {
        conn.execute_batch(&projection_ddl(table))?;
    }
    watch::log_all_changed(conn)?;
    put_projection_tables(conn)
}

fn put_projection_tables(conn: &Connection) -> Result<(), StoreError> {
    let names: Vec<&str> = registry::tables().iter().map(|table| table.name).collect();
    put_meta(conn, "projection_tables", names.join("\n").as_bytes())
}

/// Makes the projection tables those of this version. A table that had this form before keeps its rows, which are of an
/// earlier version until its documents are projected again; one that had another form begins empty.
pub(super) fn renew_projections(conn: &Connection) -> Result<(), StoreError> {
    let known = meta(conn, "projection_tables")?.unwrap_or_default();
    let known = String::from_utf8_lossy(&known).into_owned();
    for table in known.split('\n').filter(|name| is_plain_name(name)) {
        if !registry::tables().iter().any(|kept| kept.name == table) {
            conn.execute_batch(&format!("DROP TABLE IF EXISTS {table}"))?;
        }
    }
    for table in registry::tables() {
        let ddl = projection_ddl(table);
        let wanted: Vec<&str> = ddl.split_terminator(";\n").collect();
        let sql = "SELECT name, sql FROM sqlite_schema WHERE tbl_name = ?1 AND sql IS NOT NULL";
        let mut select = conn.prepare(sql)?;
        let found = select.query_map([table.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let found = found.collect::<Result<Vec<(String, String)>, _>>()?;
        if !found.iter().any(|(_, sql)| Some(&sql.as_str()) == wanted.first()) {
            conn.execute_batch(&format!("DROP TABLE IF EXISTS {}; {ddl}", table.name))?;
            continue;
        }
        for (name, _) in found.iter().filter(|(name, sql)| is_plain_name(name) && !wanted.contains(&sql.as_str())) {
            conn.execute_batch(&format!("DROP INDEX {name}"))?;
        }
        for sql in wanted.iter().filter(|wanted| !found.iter().any(|(_, sql)| sql == *wanted)) {
            conn.execute_batch(sql)?;
        }
    }
    watch::log_all_changed(conn)?;
    put_projection_tables(conn)
}

/// Says that the projections on disk have the form of this version, and that their rows do but for those of marked
/// documents.
pub(super) fn stamp_projections(conn: &Connection) -> Result<(), StoreError> {
    put_meta(conn, "projections", &projection_stamp())
}

fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::{ToSqlOutput, ValueRef};
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projection_tables_do_not_collide_with_the_stores_own() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn).unwrap();
        recreate_projections(&conn).unwrap();
        recreate_projections(&conn).unwrap();
        assert!(registry::tables().iter().all(|table| is_plain_name(table.name)));
    }

    #[test]
    fn a_newer_format_is_refused_unless_it_says_that_this_version_can_read_it() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn).unwrap();
        conn.pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
        assert!(refuse_foreign(&conn).is_ok());
        put_meta(&conn, "min_reader", &(SCHEMA_VERSION + 1).to_be_bytes()).unwrap();
        let error = refuse_foreign(&conn).unwrap_err();
        assert!(
            matches!(error, StoreError::NewerVersion { found, known: SCHEMA_VERSION } if found > SCHEMA_VERSION),
            "{error}"
        );
    }
}
