//! Branches: documents edited aside, looked at, and accepted in part or whole. What is accepted is an ordinary edit of
//! this device; until then a branch is on this device alone.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{AutoCommit, ChangeHash};
use lifeos_sync_protocol::ids::{DocId, StreamId};
use serde_json::{Map, Value as Json, json};

use super::{Client, ClientError};
use crate::crypto::{SystemRandom, random_bytes};
use crate::document::{Document, DocumentError};
use crate::modules::branch::{Branched, Difference};
use crate::modules::entity;
use crate::modules::notes::{note, tags};
use crate::projection::{self, Row, Value};
use crate::registry::{self, ENTITY_MARK, Kind, NOTE_GENESIS, door};
use crate::store::{BranchRow, BranchState, BranchedDoc, Review, Step, Tx};

/// Documents of a branch at most.
const DOCUMENTS_MAX: usize = 100;
/// Branches that are open at once.
const OPEN_MAX: usize = 100;
/// Characters of a name at most.
const NAME_CHARS_MAX: usize = 200;

/// A branch.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Branch {
    /// Hex id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Who proposes it, in words.
    pub author: String,
    /// Since when (ms UTC).
    pub since_ms: i64,
    /// What became of it.
    pub state: BranchState,
    /// Who reviewed it last.
    pub reviewer: Option<String>,
    /// When that was (ms UTC).
    pub reviewed_ms: Option<i64>,
    /// How many differences were accepted so far.
    pub accepted: u32,
    /// Its documents, hex; none once it is closed.
    pub documents: Vec<String>,
}

/// What a branch says of a document.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct BranchedDocument {
    /// The document, hex.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// What it says otherwise.
    pub differences: Vec<Difference>,
    /// What rows would change if all of it were accepted now: lists, agendas and sums follow from these.
    pub effects: Vec<RowEffect>,
    /// Why it cannot be accepted as it is, if it cannot.
    pub refused: Option<String>,
}

/// A row that would change.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RowEffect {
    /// Its table.
    pub table: String,
    /// Its key in the document; empty for the document's own row.
    pub key: String,
    /// By column, what is there and what would be; null is nothing.
    pub cells: BTreeMap<String, [Json; 2]>,
}

/// What came of accepting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Accepted {
    /// Differences that were written.
    pub accepted: usize,
    /// Differences that are left in the branch.
    pub left: usize,
}

/// How a note is edited in a branch; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct BranchedNote {
    /// A new title.
    pub title: Option<String>,
    /// A new text.
    pub markdown: Option<String>,
    /// Tags that it is to have.
    pub tags: Vec<String>,
}

/// A branched document that was loaded, beside the one it is a branch of.
struct Opened {
    kind: &'static Kind,
    base: AutoCommit,
    branch: Document,
    now: Document,
}

impl Opened {
    fn states(&self) -> Branched<'_> {
        Branched { kind: self.kind, base: &self.base, branch: self.branch.read(), now: self.now.read() }
    }
}

impl Client {
    /// Begins a branch of notes and entities as they are now. `author` says who proposes it [default: this person].
    /// # Errors
    /// [`ClientError`].
    pub fn branch_new(&self, name: &str, author: Option<&str>, ids: &[String]) -> Result<Branch, ClientError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX {
            return Err(ClientError::invalid(format!("a branch has a name of at most {NAME_CHARS_MAX} characters")));
        }
        if ids.is_empty() || ids.len() > DOCUMENTS_MAX {
            return Err(ClientError::invalid(format!("a branch is of 1 to {DOCUMENTS_MAX} notes or entities")));
        }
        let open = self.branches()?.into_iter().filter(|branch| branch.state == BranchState::Open).count();
        if open >= OPEN_MAX {
            return Err(ClientError::invalid(format!("{OPEN_MAX} branches are open: accept or discard some first")));
        }
        let author = author.map_or_else(|| self.person_name(), |author| Ok(author.trim().to_owned()))?;
        let docs = ids.iter().map(|id| Ok(self.branchable(id)?.0)).collect::<Result<BTreeSet<_>, ClientError>>()?;
        let id: [u8; 16] = random_bytes(&mut SystemRandom::new());
        self.write(|tx| {
            tx.step(Step::None);
            let row = tx.begin_branch(&self.space(), &id, name, &author)?;
            for doc in &docs {
                let document = tx.read(doc, Document::clone)?.ok_or_else(|| gone(doc))?;
                tx.put_branched(row, &branched(document, id))?;
            }
            Ok(())
        })?;
        self.branch(&hex(&id))
    }

    /// All branches of this space on this device, the newest first.
    /// # Errors
    /// [`ClientError`].
    pub fn branches(&self) -> Result<Vec<Branch>, ClientError> {
        let reader = self.shared.reader();
        let reads = reader.reads();
        let show = |row: BranchRow| {
            let documents = reads.branched(row.row)?.iter().map(ToString::to_string).collect();
            let BranchRow { id, name, author, since_ms, state, reviewer, reviewed_ms, accepted, .. } = row;
            Ok(Branch { id: hex(&id), name, author, since_ms, state, reviewer, reviewed_ms, accepted, documents })
        };
        reads.branches(&self.space())?.into_iter().map(show).collect()
    }

    /// The branch that an id, the beginning of one (4 characters at least) or the name of an open one names.
    /// # Errors
    /// [`ClientError::NotFound`], [`ClientError::Invalid`] when several are meant.
    pub fn branch(&self, id: &str) -> Result<Branch, ClientError> {
        let wanted = id.trim();
        let prefix = wanted.to_ascii_lowercase();
        let is_named = |branch: &Branch| {
            (prefix.len() >= 4 && branch.id.starts_with(&prefix))
                || (branch.state == BranchState::Open && branch.name == wanted)
        };
        let mut found = self.branches()?.into_iter().filter(is_named);
        match (found.next(), found.next()) {
            (Some(branch), None) => Ok(branch),
            (None, _) => Err(ClientError::not_found(format!("branch {wanted}"))),
            _ => Err(ClientError::invalid("more than one branch is called so: give more characters of its id")),
        }
    }

    /// Changes an entity in a branch to what is given, under the rules that hold everywhere.
    /// # Errors
    /// [`ClientError`].
    pub fn branch_edit_entity(&self, branch: &str, id: &str, given: &Map<String, Json>) -> Result<(), ClientError> {
        self.branch_edit(branch, id, |inner, kind, _| {
            kind.table().ok_or(DocumentError::InvalidEdit("this is no entity"))?;
            entity::apply(inner, kind, given, &mut super::entities::new_id)
        })
    }

    /// Changes a note in a branch.
    /// # Errors
    /// [`ClientError`].
    pub fn branch_edit_note(&self, branch: &str, id: &str, edit: &BranchedNote) -> Result<(), ClientError> {
        self.branch_edit(branch, id, |inner, kind, _| {
            if kind.genesis() != NOTE_GENESIS {
                return Err(DocumentError::InvalidEdit("this is no note"));
            }
            if let Some(title) = &edit.title {
                note::set_title(inner, title)?;
            }
            if let Some(text) = &edit.markdown {
                note::set_markdown(inner, text)?;
            }
            edit.tags.iter().try_for_each(|tag| tags::tag(inner, tag))
        })
    }

    /// Changes a document in a branch with an operation of its module.
    fn branch_edit(
        &self,
        branch: &str,
        id: &str,
        edit: impl FnOnce(&mut AutoCommit, &'static Kind, i64) -> Result<(), DocumentError>,
    ) -> Result<(), ClientError> {
        let (row, (doc, kind)) = (self.open_branch(branch)?, self.branchable(id)?);
        self.write(|tx| {
            tx.step(Step::None);
            let now_ms = tx.now_ms();
            let stored = tx.reads().branched_doc(row.row, &doc)?;
            let stored = stored.ok_or_else(|| ClientError::not_found(format!("{id} in the branch {}", row.name)))?;
            let mut document = load(&stored, row.id)?;
            let ((), change) = document.edit(now_ms, |inner| edit(inner, kind, now_ms))?;
            if let Some(change) = change {
                door::admit(&document, &change.bytes)?;
                let bytes = document.snapshot();
                tx.put_branched(row.row, &BranchedDoc { bytes, ..stored })?;
            }
            Ok(())
        })
    }

    /// What a branch says otherwise than its documents do, and what would follow from accepting all of it.
    /// # Errors
    /// [`ClientError`].
    pub fn branch_diff(&self, branch: &str) -> Result<Vec<BranchedDocument>, ClientError> {
        let row = self.open_branch(branch)?;
        let docs = self.shared.reader().reads().branched(row.row)?;
        docs.iter().map(|doc| self.diff_of(&row, doc)).collect()
    }

    fn diff_of(&self, row: &BranchRow, doc: &DocId) -> Result<BranchedDocument, ClientError> {
        let now = self.shared.store().read(&self.space(), doc, Document::clone)?;
        let stored = self.shared.reader().reads().branched_doc(row.row, doc)?.ok_or_else(|| gone(doc))?;
        let opened = open(&stored, row.id, now)?;
        let differences = opened.states().differences()?;
        let keys = differences.iter().map(|difference| difference.key.clone()).collect();
        let mut preview = opened.now.clone().with_actor(fresh_actor());
        let written = preview.edit(opened.now.updated_ms(), |inner| opened.states().write(inner, &keys));
        let refused = written.err().map(|error| error.to_string()).or_else(|| broken(&opened.now, &preview));
        Ok(BranchedDocument {
            id: doc.to_string(),
            kind: opened.kind.name.to_owned(),
            differences,
            effects: effects(&projection::project(&opened.now), &projection::project(&preview)),
            refused,
        })
    }

    /// Accepts what a branch says as an edit of this device, one step to undo: all of it, or only the differences named
    /// `<id>/<key>`. What is left stays in the branch, from now on one of the documents as they are then.
    /// # Errors
    /// [`ClientError`]: nothing is accepted when one of them would break a rule.
    pub fn branch_accept(&self, branch: &str, only: &[String]) -> Result<Accepted, ClientError> {
        let row = self.open_branch(branch)?;
        let docs = self.shared.reader().reads().branched(row.row)?;
        let reviewer = self.person_name()?;
        let mut wanted: BTreeMap<DocId, BTreeSet<String>> = BTreeMap::new();
        for name in only {
            let (doc, key) = named(&docs, name)?;
            wanted.entry(doc).or_default().insert(key);
        }
        self.write(|tx| {
            tx.step(Step::Edit);
            let mut sum = Accepted { accepted: 0, left: 0 };
            for doc in &docs {
                let none = BTreeSet::new();
                let chosen = if only.is_empty() { None } else { Some(wanted.get(doc).unwrap_or(&none)) };
                let one = accept_one(tx, &row, doc, chosen)?;
                (sum.accepted, sum.left) = (sum.accepted + one.accepted, sum.left + one.left);
            }
            let state = if sum.left == 0 { BranchState::Accepted } else { BranchState::Open };
            let accepted = u32::try_from(sum.accepted).unwrap_or(u32::MAX);
            tx.review_branch(row.row, Review { state, reviewer: &reviewer, accepted })?;
            Ok(sum)
        })
    }

    /// Gives a branch up: nothing of it is kept but that there was one.
    /// # Errors
    /// [`ClientError`].
    pub fn branch_discard(&self, branch: &str) -> Result<(), ClientError> {
        let (row, reviewer) = (self.open_branch(branch)?, self.person_name()?);
        self.write(|tx| {
            tx.step(Step::None);
            let review = Review { state: BranchState::Discarded, reviewer: &reviewer, accepted: 0 };
            Ok(tx.review_branch(row.row, review)?)
        })
    }

    fn open_branch(&self, branch: &str) -> Result<BranchRow, ClientError> {
        let found = self.branch(branch)?;
        let rows = self.shared.reader().reads().branches(&self.space())?;
        let row = rows.into_iter().find(|row| hex(&row.id) == found.id && row.state == BranchState::Open);
        row.ok_or_else(|| ClientError::invalid(format!("the branch {} is closed: begin a new one", found.name)))
    }

    /// What can be branched: a note, or an entity.
    fn branchable(&self, id: &str) -> Result<(DocId, &'static Kind), ClientError> {
        match self.entity_id(id) {
            Err(ClientError::NotFound { .. }) => {
                let kind = registry::kind(NOTE_GENESIS).ok_or(DocumentError::UnknownGenesis(NOTE_GENESIS.0))?;
                Ok((self.note_id(id)?, kind))
            }
            found => found,
        }
    }
}

fn accept_one(
    tx: &mut Tx<'_>,
    row: &BranchRow,
    doc: &DocId,
    chosen: Option<&BTreeSet<String>>,
) -> Result<Accepted, ClientError> {
    let stored = tx.reads().branched_doc(row.row, doc)?.ok_or_else(|| gone(doc))?;
    let opened = open(&stored, row.id, tx.read(doc, Document::clone)?)?;
    let all: BTreeSet<String> = opened.states().differences()?.into_iter().map(|one| one.key).collect();
    let keys = chosen.unwrap_or(&all);
    if let Some(unknown) = keys.difference(&all).next() {
        return Err(ClientError::not_found(format!("difference {doc}/{unknown} in the branch")));
    }
    if !keys.is_empty() {
        tx.edit(doc, stored.genesis, |inner| opened.states().write(inner, keys).map_err(ClientError::from))?;
    }
    let after = tx.read(doc, Document::clone)?.ok_or_else(|| gone(doc))?;
    if let Some(why) = broken(&opened.now, &after) {
        return Err(ClientError::invalid(format!("nothing was accepted: {why}")));
    }
    let left: BTreeSet<String> = all.difference(keys).cloned().collect();
    if left.is_empty() {
        tx.remove_branched(row.row, doc)?;
    } else if !keys.is_empty() {
        // What was accepted is no difference any more: the rest is put on top of it.
        let (base, mut rest) = (after.heads(), after.clone().with_actor(fresh_actor()));
        let states = Branched { now: after.read(), ..opened.states() };
        rest.edit(tx.now_ms(), |inner| states.write(inner, &left))?;
        let base = base.iter().map(|head| head.0).collect();
        tx.put_branched(row.row, &BranchedDoc { base, bytes: rest.snapshot(), ..stored })?;
    }
    Ok(Accepted { accepted: keys.len(), left: left.len() })
}

/// A document with which a branch begins.
fn branched(document: Document, branch: [u8; 16]) -> BranchedDoc {
    let (doc, genesis, base) = (document.id(), document.genesis(), document.heads());
    let mut document = document.with_actor(StreamId(branch));
    let base = base.iter().map(|head| head.0).collect();
    BranchedDoc { doc, genesis, base, bytes: document.snapshot() }
}

fn load(stored: &BranchedDoc, branch: [u8; 16]) -> Result<Document, ClientError> {
    Ok(Document::load(stored.doc, stored.genesis, StreamId(branch), &stored.bytes, &[])?)
}

fn open(stored: &BranchedDoc, branch: [u8; 16], now: Option<Document>) -> Result<Opened, ClientError> {
    let mut now = now.ok_or_else(|| gone(&stored.doc))?;
    let mut branch = load(stored, branch)?;
    let heads: Vec<ChangeHash> = stored.base.iter().map(|head| ChangeHash(*head)).collect();
    if heads.iter().any(|head| now.inspect().get_change_meta_by_hash(head).is_none()) {
        return Err(ClientError::invalid(
            "what this branch began with was taken back (its author was removed): discard it and begin anew",
        ));
    }
    let base = branch.inspect().fork_at(&heads).map_err(DocumentError::from)?;
    let kind = registry::kind(stored.genesis).ok_or(DocumentError::UnknownGenesis(stored.genesis.0))?;
    Ok(Opened { kind, base, branch, now })
}

/// The rule that a document breaks and did not break before, in words.
fn broken(before: &Document, after: &Document) -> Option<String> {
    let known: BTreeSet<String> = invalid(before).map(|row| row.key).collect();
    let new = invalid(after).find(|row| !known.contains(&row.key))?;
    match new.values.get(3) {
        Some(Value::Text(rule)) => Some(rule.clone()),
        _ => Some("a rule would be broken".into()),
    }
}

fn invalid(document: &Document) -> impl Iterator<Item = Row> {
    let is_invalid =
        |row: &Row| row.table == ENTITY_MARK.name && row.values.first() == Some(&Value::Text("invalid".into()));
    projection::project(document).into_iter().filter(is_invalid)
}

fn effects(before: &[Row], after: &[Row]) -> Vec<RowEffect> {
    let by_key = |rows: &[Row]| -> BTreeMap<(&'static str, String), Vec<Value>> {
        rows.iter().map(|row| ((row.table, row.key.clone()), row.values.clone())).collect()
    };
    let (before, after) = (by_key(before), by_key(after));
    let all: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    let effect = |(table, key): (&'static str, String)| {
        let [old, new] = [&before, &after].map(|rows| rows.get(&(table, key.clone())));
        let columns = registry::table(table)?.columns.iter().enumerate();
        let cells: BTreeMap<String, [Json; 2]> = columns
            .filter(|(_, column)| column.name != "updated_ms")
            .map(|(at, column)| (column.name.to_owned(), [old, new].map(|row| cell(row.and_then(|row| row.get(at))))))
            .filter(|(_, [old, new])| old != new)
            .collect();
        (!cells.is_empty()).then(|| RowEffect { table: table.to_owned(), key, cells })
    };
    all.into_iter().filter_map(effect).collect()
}

fn cell(value: Option<&Value>) -> Json {
    match value {
        None | Some(Value::Null) => Json::Null,
        Some(Value::Int(value)) => json!(value),
        Some(Value::Text(text)) => json!(text),
        Some(Value::Blob(bytes)) => json!(hex(bytes)),
    }
}

/// Reads `<id>/<key>`; the id may be cut short.
fn named(docs: &[DocId], name: &str) -> Result<(DocId, String), ClientError> {
    let wrong = || ClientError::not_found(format!("difference {name} in the branch"));
    let (id, key) = name.split_once('/').ok_or_else(wrong)?;
    let id = id.to_ascii_lowercase();
    let mut found = docs.iter().filter(|doc| id.len() >= 4 && doc.to_string().starts_with(&id));
    match (found.next(), found.next()) {
        (Some(doc), None) => Ok((*doc, key.to_owned())),
        _ => Err(wrong()),
    }
}

/// Nobody takes in what it writes: what is accepted is written again as this device's.
fn fresh_actor() -> StreamId {
    StreamId(random_bytes(&mut SystemRandom::new()))
}

fn gone(doc: &DocId) -> ClientError {
    ClientError::not_found(format!("document {doc}, of which this is a branch"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
