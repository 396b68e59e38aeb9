//! Rows of an earlier version: a home opens with them at once, and its documents are projected again a few at a time.
//!
//! ```text
//! opened by another version ─▶ one commit: tables of this version, a mark on every document ─▶ open
//! turn after turn           ─▶ some marked documents, the newest first: loaded, projected, rows that differ written
//! ```
//! What is left to do are the marks, so it goes on after a kill where it was. Until a document's turn has come its rows
//! are those that it had; an edit makes them right at once. Where the form of a table changed, it fills anew.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lifeos_sync_protocol::ids::{DocId, StreamId};
use rusqlite::Connection;

use super::documents::{DocRow, Mark, mark_all, renew_rows, unmark};
use super::{Reads, Store, StoreError, begin, schema, search};
use crate::projection;
use crate::registry::{Essential, kinds};

/// Documents projected again before a home is open: all of a small one.
const AT_OPEN: usize = 64;
/// Documents of one commit while somebody waits for all of them.
const BATCH: usize = 200;
/// Bytes of documents after which a turn ends, so that an edit does not wait for long.
const TURN_BYTES: i64 = 1024 * 1024;

impl Store {
    /// Makes the tables of rows those of this version, if they are of another: every document waits to be projected
    /// again, but for those that lists need before all others.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn follow_version(&mut self) -> Result<(), StoreError> {
        if schema::projections_are_current(&self.conn)? {
            return Ok(());
        }
        self.documents.clear();
        let transaction = begin(&self.conn)?;
        schema::renew_projections(&transaction)?;
        mark_all(&transaction, Mark::Project)?;
        for kind in kinds().filter(|kind| kind.essential == Essential::Always) {
            let sql = "SELECT id FROM document WHERE genesis = ?1 AND unverified = 0";
            for id in (Reads { conn: &transaction }).all(sql, [kind.genesis().0], |row| row.get(0))? {
                project_again(&transaction, id)?;
            }
        }
        schema::stamp_projections(&transaction)?;
        transaction.commit()?;
        self.project_waiting(AT_OPEN).map(drop)
    }

    /// Projects up to `documents_max` documents again whose rows are those of an earlier version, the newest first, in
    /// one commit; gives how many. Those that came with a checkpoint have their turn when somebody looks inside them.
    ///
    /// # Errors
    /// [`StoreError`]; a document that does not load is none: it keeps the rows it has, and the doctor tells of it.
    pub fn project_waiting(&mut self, documents_max: usize) -> Result<usize, StoreError> {
        if self.reads().unprojected_count()? == 0 {
            return Ok(0);
        }
        let transaction = begin(&self.conn)?;
        let sql = "SELECT m.doc, d.space, d.doc, d.snapshot_bytes + d.tail_bytes FROM mark m
                   JOIN document d ON d.id = m.doc WHERE m.kind = ?1 AND d.unverified = 0 ORDER BY m.doc DESC LIMIT ?2";
        let at_most = i64::try_from(documents_max).unwrap_or(i64::MAX);
        let waiting = Reads { conn: &transaction }.all(sql, (Mark::Project as i64, at_most), |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, DocId(row.get(2)?), row.get::<_, i64>(3)?))
        })?;
        let (mut done, mut bytes) = (0, 0);
        for (id, space, doc, size) in waiting {
            if bytes >= TURN_BYTES {
                break;
            }
            // What is loaded of it knows the rows that it had.
            self.documents.forget(space, &doc);
            project_again(&transaction, id)?;
            (done, bytes) = (done + 1, bytes + size);
        }
        transaction.commit()?;
        Ok(done)
    }

    /// Projects every document again and indexes it again, in commits of a few hundred documents. Interrupted, it is
    /// gone on with by [`Self::project_waiting`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn rebuild_projections(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, StoreError> {
        self.documents.clear();
        let transaction = begin(&self.conn)?;
        schema::recreate_projections(&transaction)?;
        search::clear(&transaction)?;
        transaction.execute("UPDATE document SET search_hash = NULL, generation = generation + 1", [])?;
        mark_all(&transaction, Mark::Project)?;
        schema::stamp_projections(&transaction)?;
        transaction.commit()?;
        self.project_all(progress)
    }

    /// Projects all documents again that wait for it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn project_all(&mut self, progress: &mut dyn FnMut(u64, u64)) -> Result<u64, StoreError> {
        let (total, mut done) = (self.reads().unprojected_count()?, 0);
        loop {
            match self.project_waiting(BATCH)? as u64 {
                0 => return Ok(done),
                more => done += more,
            }
            progress(done, total.max(done));
        }
    }
}

/// One document: rows and index become what they should be.
fn project_again(conn: &Connection, id: i64) -> Result<(), StoreError> {
    unmark(conn, Mark::Project, id)?;
    let Some(row) = DocRow::by_id(conn, id)? else { return Ok(()) };
    let document = match row.load(conn, StreamId::ZERO) {
        Ok(document) => document,
        Err(error) if error.is_corrupt() => {
            tracing::warn!("a document that does not load keeps its rows: run `lifeos doctor`");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let project = || projection::project_with_search(&document);
    if let Ok(projected) = catch_unwind(AssertUnwindSafe(project)) {
        return renew_rows(conn, row, document, projected);
    }
    tracing::warn!("a document that cannot be projected keeps its rows: run `lifeos doctor`");
    Ok(())
}

impl Reads<'_> {
    /// Documents whose rows may still be those of an earlier version, in all spaces; but for those that came with a
    /// checkpoint and nobody has looked inside.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn unprojected_count(&self) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM mark m JOIN document d ON d.id = m.doc WHERE m.kind = ?1 AND d.unverified = 0";
        self.count(sql, [Mark::Project as i64])
    }
}
