//! Branches of documents: kept on this device alone, until they are accepted or discarded.
//!
//! A branched document is stored whole, with the heads it began at: what its own document goes through meanwhile
//! leaves it alone, but for being erased, which takes it along.

use lifeos_sync_protocol::ids::{DocId, SpaceId};
use rusqlite::{Connection, OptionalExtension};

use super::{Reads, StoreError, Tx};
use crate::document::GenesisId;

/// What became of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BranchState {
    /// It can be edited, accepted and discarded.
    Open,
    /// Nothing of it is left to be accepted.
    Accepted,
    /// It was given up.
    Discarded,
}

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchRow {
    /// Its row on this device.
    pub row: i64,
    /// Its id.
    pub id: [u8; 16],
    /// What it is called.
    pub name: String,
    /// Who proposes it, in words.
    pub author: String,
    /// Since when (ms UTC).
    pub since_ms: i64,
    /// What became of it.
    pub state: BranchState,
    /// Who looked at it last and accepted or discarded something.
    pub reviewer: Option<String>,
    /// When that was (ms UTC).
    pub reviewed_ms: Option<i64>,
    /// How many differences were accepted.
    pub accepted: u32,
}

/// A document in a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BranchedDoc {
    /// The document.
    pub doc: DocId,
    /// Its kind.
    pub genesis: GenesisId,
    /// Heads of the document where the branch began.
    pub base: Vec<[u8; 32]>,
    /// The branched document.
    pub bytes: Vec<u8>,
}

/// A review: who accepted how much, or gave the branch up.
#[derive(Debug, Clone, Copy)]
pub struct Review<'r> {
    /// What became of the branch.
    pub state: BranchState,
    /// Who, in words.
    pub reviewer: &'r str,
    /// How many differences were accepted.
    pub accepted: u32,
}

const COLUMNS: &str = "id, branch, name, author, since_ms, state, reviewer, reviewed_ms, accepted";

/// Forgets what branches of a space hold of a document.
pub(super) fn forget(conn: &Connection, space: i64, doc: &DocId) -> Result<(), StoreError> {
    let sql = "DELETE FROM branched WHERE doc = ?2 AND branch IN (SELECT id FROM branch WHERE space = ?1)";
    conn.prepare_cached(sql)?.execute((space, doc.as_ref()))?;
    Ok(())
}

impl Tx<'_> {
    /// Begins a branch; gives its row.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn begin_branch(
        &mut self,
        space: &SpaceId,
        id: &[u8; 16],
        name: &str,
        author: &str,
    ) -> Result<i64, StoreError> {
        let reads = self.reads();
        let sql = "INSERT INTO branch(space, branch, name, author, since_ms, state) VALUES (?1, ?2, ?3, ?4, ?5, 0)";
        Ok(reads.conn.prepare_cached(sql)?.insert((reads.space_row(space)?, id, name, author, self.now_ms()))?)
    }

    /// Stores a document of a branch as it is now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_branched(&mut self, branch: i64, branched: &BranchedDoc) -> Result<(), StoreError> {
        let sql = "INSERT OR REPLACE INTO branched(branch, doc, genesis, base, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
        let BranchedDoc { doc, genesis, base, bytes } = branched;
        let base: Vec<u8> = base.iter().flatten().copied().collect();
        self.reads().conn.prepare_cached(sql)?.execute((branch, doc.as_ref(), genesis.0, base, bytes))?;
        Ok(())
    }

    /// Takes a document out of a branch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove_branched(&mut self, branch: i64, doc: &DocId) -> Result<(), StoreError> {
        let sql = "DELETE FROM branched WHERE branch = ?1 AND doc = ?2";
        self.reads().conn.prepare_cached(sql)?.execute((branch, doc.as_ref()))?;
        Ok(())
    }

    /// Remembers a review; a branch that is no longer open loses its documents.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn review_branch(&mut self, branch: i64, review: Review<'_>) -> Result<(), StoreError> {
        let sql =
            "UPDATE branch SET state = ?2, reviewer = ?3, reviewed_ms = ?4, accepted = accepted + ?5 WHERE id = ?1";
        let state = match review.state {
            BranchState::Open => 0,
            BranchState::Accepted => 1,
            BranchState::Discarded => 2,
        };
        let conn = self.reads().conn;
        conn.prepare_cached(sql)?.execute((branch, state, review.reviewer, self.now_ms(), review.accepted))?;
        if review.state != BranchState::Open {
            conn.prepare_cached("DELETE FROM branched WHERE branch = ?1")?.execute([branch])?;
        }
        Ok(())
    }
}

impl Reads<'_> {
    /// The branches of a space, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn branches(&self, space: &SpaceId) -> Result<Vec<BranchRow>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM branch WHERE space = ?1 ORDER BY id DESC");
        self.all(&sql, [self.space_row(space)?], |row| {
            Ok(BranchRow {
                row: row.get(0)?,
                id: row.get(1)?,
                name: row.get(2)?,
                author: row.get(3)?,
                since_ms: row.get(4)?,
                state: match row.get(5)? {
                    0 => BranchState::Open,
                    1 => BranchState::Accepted,
                    _ => BranchState::Discarded,
                },
                reviewer: row.get(6)?,
                reviewed_ms: row.get(7)?,
                accepted: row.get(8)?,
            })
        })
    }

    /// The documents of a branch, by id; without what they say.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn branched(&self, branch: i64) -> Result<Vec<DocId>, StoreError> {
        self.all("SELECT doc FROM branched WHERE branch = ?1 ORDER BY doc", [branch], |row| Ok(DocId(row.get(0)?)))
    }

    /// A document of a branch.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn branched_doc(&self, branch: i64, doc: &DocId) -> Result<Option<BranchedDoc>, StoreError> {
        let sql = "SELECT genesis, base, bytes FROM branched WHERE branch = ?1 AND doc = ?2";
        let mut select = self.conn.prepare_cached(sql)?;
        let found = select.query_row((branch, doc.as_ref()), |row| {
            let base = row.get_ref(1)?.as_blob()?.as_chunks::<32>().0.to_vec();
            Ok(BranchedDoc { doc: *doc, genesis: GenesisId(row.get(0)?), base, bytes: row.get(2)? })
        });
        Ok(found.optional()?)
    }
}
