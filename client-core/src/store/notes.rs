//! Reading the projections of notes: lists, notebooks, tags, properties and links, without loading a document.

use lifeos_sync_protocol::ids::{DocId, SpaceId};
use rusqlite::named_params;

use super::watch::{Item, Key, Term};
use super::{Reads, StoreError};
use crate::modules::notes::tags::tag_id;

/// Which notes to list.
#[derive(Debug, Clone, Default)]
pub struct NotesFilter<'a> {
    /// In this notebook.
    pub notebook: Option<&'a str>,
    /// With this tag (its name).
    pub tag: Option<&'a str>,
    /// Of this sort.
    pub kind: Option<&'a str>,
    /// The trash instead of the living.
    pub trashed: bool,
    /// By title, the last first, instead of by time.
    pub by_title: bool,
    /// At most.
    pub limit: u32,
    /// Skip the first.
    pub offset: u32,
}

/// A note's main row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoteRow {
    /// The document.
    pub doc: DocId,
    /// Title.
    pub title: String,
    /// First words.
    pub excerpt: String,
    /// Id of the notebook it is shown in: the nearest living one; `None` at the top.
    pub notebook: Option<String>,
    /// What sort of note it is; `note` where nothing is said.
    pub kind: String,
    /// Tags as they are written, sorted by id.
    pub tags: Vec<String>,
    /// Pinned.
    pub pinned: bool,
    /// Made (ms UTC).
    pub created_ms: i64,
    /// Newest change (ms UTC).
    pub updated_ms: i64,
    /// In the trash since (ms UTC).
    pub trashed_ms: Option<i64>,
    /// Edited elsewhere after it was put into the trash.
    pub edited_after_trash: bool,
}

/// A living notebook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotebookRow {
    /// Its id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Nearest living parent, after the cycle rule.
    pub parent: Option<String>,
    /// Order among its siblings.
    pub rank: String,
    /// Moved by the cycle rule.
    pub recovered: bool,
    /// Living notes directly inside.
    pub notes: u64,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    /// Its id.
    pub id: String,
    /// How it is written.
    pub label: String,
    /// Living notes that have it.
    pub notes: u64,
}

/// A property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropRow {
    /// Name.
    pub name: String,
    /// Value, as JSON.
    pub json: String,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRow {
    /// The note that links.
    pub from: DocId,
    /// Its title.
    pub from_title: String,
    /// The living note that is linked, if there is one.
    pub to: Option<DocId>,
    /// What the link says.
    pub target: String,
    /// What follows `#` in it.
    pub anchor: Option<String>,
    /// `wikilink`, `embed` or `link`.
    pub kind: String,
}

/// A note that was imported from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRow {
    /// The note.
    pub doc: DocId,
    /// Path of the file when it was imported.
    pub path: Option<String>,
    /// Hash of the file's bytes when it was imported.
    pub hash: Option<Vec<u8>>,
    /// In the trash.
    pub trashed: bool,
}

const NOTE_COLUMNS: &str = "d.doc, n.title, n.excerpt, n.pinned, n.created_ms, n.updated_ms, n.trashed_ms,
                            n.edited_after_trash, n.notebook, n.doc, coalesce(n.kind, 'note')";

/// The living note that a link's target names: by title, else by an earlier title; the oldest wins.
const LINKED: &str = "CASE WHEN l.kind = 'link' THEN NULL ELSE coalesce(
    (SELECT t.doc FROM note t JOIN document e ON e.id = t.doc
     WHERE t.title_key = l.target_key AND t.trashed_ms IS NULL AND e.space = d.space
     ORDER BY t.created_ms, e.doc LIMIT 1),
    (SELECT t.doc FROM note_alias a JOIN note t ON t.doc = a.doc JOIN document e ON e.id = t.doc
     WHERE a.alias_key = l.target_key AND t.trashed_ms IS NULL AND e.space = d.space
     ORDER BY t.created_ms, e.doc LIMIT 1)) END";

impl Reads<'_> {
    /// Notes: pinned before the others, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notes(&self, space: &SpaceId, filter: &NotesFilter<'_>) -> Result<Vec<NoteRow>, StoreError> {
        Ok(self.note_items(space, filter, None)?.into_iter().map(|item| item.row).collect())
    }

    /// The same with the place of each; or only the document with this row id, if it is one of them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_items(
        &self,
        space: &SpaceId,
        filter: &NotesFilter<'_>,
        only: Option<i64>,
    ) -> Result<Vec<Item<NoteRow>>, StoreError> {
        // One document is found by itself, and by none of the indexes that lists are read in the order of.
        let (notes, all) = match only {
            Some(_) => ("(SELECT * FROM note WHERE doc = :only LIMIT 1)", ""),
            None => ("note", ":only IS NULL AND"),
        };
        let trash = if filter.trashed { "n.trashed_ms IS NOT NULL" } else { "n.trashed_ms IS NULL" };
        let notebook = if filter.notebook.is_some() {
            "AND (n.notebook = :notebook OR n.notebook IN
                  (SELECT key FROM notebook WHERE parent = :notebook AND deleted_ms IS NOT NULL))"
        } else {
            "AND :notebook IS NULL"
        };
        let tag = if filter.tag.is_some() {
            "AND EXISTS (SELECT 1 FROM note_tag t WHERE t.doc = n.doc AND t.key = :tag)"
        } else {
            "AND :tag IS NULL"
        };
        let order =
            if filter.by_title { "n.title DESC, n.doc" } else { "n.pinned DESC, n.updated_ms DESC, n.doc DESC" };
        let kind = if filter.kind.is_some() { "AND n.kind = :kind" } else { "AND :kind IS NULL" };
        let sql = format!(
            "SELECT {NOTE_COLUMNS} FROM {notes} n JOIN document d ON d.id = n.doc
             WHERE {all} {trash} {notebook} {tag} {kind} AND d.space = :space
             ORDER BY {order} LIMIT :limit OFFSET :offset"
        );
        let found = self.all(
            &sql,
            named_params! {
                ":notebook": filter.notebook, ":tag": filter.tag.map(tag_id), ":space": self.space_row(space)?,
                ":kind": filter.kind, ":limit": filter.limit, ":offset": filter.offset, ":only": only,
            },
            note_row,
        )?;
        let complete = |(row_id, note): (i64, NoteRow)| {
            let term = |value| Term { key: Some(Key::Int(value)), descends: true };
            let place = vec![term(note.pinned.into()), term(note.updated_ms), term(row_id)];
            Ok(Item { row_id, doc: note.doc, place, row: self.complete(space, row_id, note)? })
        };
        found.into_iter().map(complete).collect()
    }

    /// One note's main row, in the trash or not.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note(&self, space: &SpaceId, doc: &DocId) -> Result<Option<NoteRow>, StoreError> {
        let sql = format!(
            "SELECT {NOTE_COLUMNS} FROM document d JOIN note n ON n.doc = d.id
             WHERE d.space = ?1 AND d.doc = ?2"
        );
        let found = self.one(&sql, (self.space_row(space)?, doc.as_ref()), note_row)?;
        found.map(|(id, note)| self.complete(space, id, note)).transpose()
    }

    /// What takes further queries: only for the rows that are given out.
    fn complete(&self, space: &SpaceId, id: i64, mut note: NoteRow) -> Result<NoteRow, StoreError> {
        if let Some(notebook) = note.notebook.take() {
            // Its own notebook, or the nearest living ancestor of a deleted one.
            let sql = "SELECT CASE WHEN b.deleted_ms IS NULL THEN b.key ELSE b.parent END
                       FROM notebook b JOIN document d ON d.id = b.doc WHERE b.key = ?2 AND d.space = ?1";
            note.notebook = self.one(sql, (self.space_row(space)?, notebook), |row| row.get(0))?.flatten();
        }
        note.tags = self.all("SELECT label FROM note_tag WHERE doc = ?1 ORDER BY key", [id], |row| row.get(0))?;
        Ok(note)
    }

    /// Living notes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_count(&self, space: &SpaceId) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) FROM note n JOIN document d ON d.id = n.doc
                   WHERE n.trashed_ms IS NULL AND d.space = ?1";
        let count: Option<i64> = self.one(sql, [self.space_row(space)?], |row| row.get(0))?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }

    /// Living notes whose title, or else an earlier title, folds to this key; oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notes_by_title(&self, space: &SpaceId, title_key: &str) -> Result<Vec<DocId>, StoreError> {
        let sql = "SELECT d.doc FROM document d JOIN note n ON n.doc = d.id
                   WHERE d.space = ?1 AND n.trashed_ms IS NULL AND (n.title_key = ?2
                     OR n.doc IN (SELECT doc FROM note_alias WHERE alias_key = ?2))
                   ORDER BY n.title_key <> ?2, n.created_ms, d.doc";
        self.all(sql, (self.space_row(space)?, title_key), |row| Ok(DocId(row.get(0)?)))
    }

    /// Notes that were imported from a file with this path or these bytes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notes_by_source(&self, space: &SpaceId, path: &str, hash: &[u8]) -> Result<Vec<SourceRow>, StoreError> {
        let sql = "SELECT d.doc, n.source_path, n.source_hash, n.trashed_ms IS NOT NULL
                   FROM note n JOIN document d ON d.id = n.doc
                   WHERE d.space = ?1 AND (n.source_path = ?2 OR n.source_hash = ?3) ORDER BY d.doc";
        self.all(sql, (self.space_row(space)?, path, hash), |row| {
            Ok(SourceRow { doc: DocId(row.get(0)?), path: row.get(1)?, hash: row.get(2)?, trashed: row.get(3)? })
        })
    }

    /// All notes that were imported from a file, by document id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_sources(&self, space: &SpaceId) -> Result<Vec<SourceRow>, StoreError> {
        let sql = "SELECT d.doc, n.source_path, n.source_hash, n.trashed_ms IS NOT NULL
                   FROM note n JOIN document d ON d.id = n.doc
                   WHERE d.space = ?1 AND n.source_path IS NOT NULL ORDER BY d.doc";
        self.all(sql, [self.space_row(space)?], |row| {
            Ok(SourceRow { doc: DocId(row.get(0)?), path: row.get(1)?, hash: row.get(2)?, trashed: row.get(3)? })
        })
    }

    /// The living notebooks, by rank.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn notebooks(&self, space: &SpaceId) -> Result<Vec<NotebookRow>, StoreError> {
        let sql = "SELECT b.key, b.name, b.parent, b.rank, b.recovered,
                     (SELECT count(*) FROM note n WHERE n.trashed_ms IS NULL AND (n.notebook = b.key OR n.notebook IN
                       (SELECT g.key FROM notebook g WHERE g.parent = b.key AND g.deleted_ms IS NOT NULL)))
                   FROM notebook b JOIN document d ON d.id = b.doc
                   WHERE d.space = ?1 AND b.deleted_ms IS NULL ORDER BY b.rank, b.key";
        self.all(sql, [self.space_row(space)?], |row| {
            let notes: i64 = row.get(5)?;
            Ok(NotebookRow {
                id: row.get(0)?,
                name: row.get(1)?,
                parent: row.get(2)?,
                rank: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                recovered: row.get(4)?,
                notes: u64::try_from(notes).unwrap_or(0),
            })
        })
    }

    /// The tags of living notes, sorted by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn tags(&self, space: &SpaceId) -> Result<Vec<TagRow>, StoreError> {
        let sql = "SELECT t.tag, min(t.label), count(*) FROM note_tag t JOIN note n ON n.doc = t.doc
                   JOIN document d ON d.id = t.doc WHERE d.space = ?1 AND n.trashed_ms IS NULL
                   GROUP BY t.tag ORDER BY t.tag";
        self.all(sql, [self.space_row(space)?], |row| {
            let notes: i64 = row.get(2)?;
            Ok(TagRow { id: row.get(0)?, label: row.get(1)?, notes: u64::try_from(notes).unwrap_or(0) })
        })
    }

    /// Properties of a note, sorted by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn props(&self, space: &SpaceId, doc: &DocId) -> Result<Vec<PropRow>, StoreError> {
        let sql = "SELECT p.name, p.value FROM document d JOIN note_prop p ON p.doc = d.id
                   WHERE d.space = ?1 AND d.doc = ?2 ORDER BY p.key";
        self.all(sql, (self.space_row(space)?, doc.as_ref()), |row| {
            Ok(PropRow { name: row.get(0)?, json: row.get(1)? })
        })
    }

    /// Links out of a note, in the order of its text.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn links_from(&self, space: &SpaceId, doc: &DocId) -> Result<Vec<LinkRow>, StoreError> {
        let sql = format!(
            "SELECT d.doc, n.title, (SELECT doc FROM document WHERE id = {LINKED}), l.target, l.anchor, l.kind
             FROM document d JOIN note n ON n.doc = d.id JOIN note_link l ON l.doc = d.id
             WHERE d.space = ?1 AND d.doc = ?2 ORDER BY l.key"
        );
        self.all(&sql, (self.space_row(space)?, doc.as_ref()), link_row)
    }

    /// Links of living notes to a note, by its title or an earlier one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn links_to(&self, space: &SpaceId, doc: &DocId) -> Result<Vec<LinkRow>, StoreError> {
        let sql = format!(
            "WITH me AS (SELECT id FROM document WHERE space = ?1 AND doc = ?2),
                  names AS (SELECT title_key AS name FROM note WHERE doc IN me
                            UNION SELECT alias_key FROM note_alias WHERE doc IN me)
             SELECT d.doc, n.title, ?2, l.target, l.anchor, l.kind
             FROM names JOIN note_link l ON l.target_key = names.name
             JOIN document d ON d.id = l.doc JOIN note n ON n.doc = l.doc
             WHERE d.space = ?1 AND n.trashed_ms IS NULL AND {LINKED} IN me ORDER BY d.doc, l.key"
        );
        self.all(&sql, (self.space_row(space)?, doc.as_ref()), link_row)
    }

    /// Names of devices, by public key in hex.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn device_names(&self, space: &SpaceId) -> Result<Vec<(String, String)>, StoreError> {
        self.names(space, "SELECT t.key, t.name FROM device_name t JOIN document d ON d.id = t.doc WHERE d.space = ?1")
    }

    /// Names of members, by id in hex.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn member_names(&self, space: &SpaceId) -> Result<Vec<(String, String)>, StoreError> {
        self.names(space, "SELECT t.key, t.name FROM member_name t JOIN document d ON d.id = t.doc WHERE d.space = ?1")
    }

    fn names(&self, space: &SpaceId, sql: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.all(sql, [self.space_row(space)?], |row| Ok((row.get(0)?, row.get(1)?)))
    }
}

fn note_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(i64, NoteRow)> {
    let note = NoteRow {
        doc: DocId(row.get(0)?),
        title: row.get(1)?,
        excerpt: row.get(2)?,
        pinned: row.get(3)?,
        created_ms: row.get(4)?,
        updated_ms: row.get(5)?,
        trashed_ms: row.get(6)?,
        edited_after_trash: row.get(7)?,
        notebook: row.get(8)?,
        kind: row.get(10)?,
        tags: Vec::new(),
    };
    Ok((row.get(9)?, note))
}

fn link_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<LinkRow> {
    Ok(LinkRow {
        from: DocId(row.get(0)?),
        from_title: row.get(1)?,
        to: row.get::<_, Option<[u8; 16]>>(2)?.map(DocId),
        target: row.get(3)?,
        anchor: row.get(4)?,
        kind: row.get(5)?,
    })
}
