//! Notes on one device and on two that meet later.

mod edit;
mod merge;
mod registered;
mod tree;
mod undo;
mod whole;

use automerge::{AutoCommit, Change};
use lifeos_sync_protocol::ids::{DocId, StreamId};

use super::{Draft, create, markdown_of, set_markdown};
use crate::document::{Document, DocumentError, GenesisId, LocalChange};
use crate::projection::{Row, Value, project};
use crate::registry::{self, NOTE_GENESIS};

/// Devices that hold one document and exchange changes when told to.
struct Devices {
    documents: Vec<Document>,
    now_ms: i64,
}

impl Devices {
    fn new(genesis: GenesisId, count: u8) -> Self {
        let document = |device| Document::new(DocId([5; 16]), genesis, StreamId([device; 16])).unwrap();
        Self { documents: (1..=count).map(document).collect(), now_ms: 1_000 }
    }

    /// Two devices that both have a note with this text.
    fn with_note(markdown: &str) -> Self {
        let mut devices = Self::new(NOTE_GENESIS, 2);
        devices.edit(0, |doc, now| create(doc, &Draft { title: "Title", markdown, ..Draft::default() }, now));
        devices.meet();
        devices
    }

    fn try_edit<T>(
        &mut self,
        device: usize,
        edit: impl FnOnce(&mut AutoCommit, i64) -> Result<T, DocumentError>,
    ) -> Result<Option<LocalChange>, DocumentError> {
        self.now_ms += 1_000;
        let now = self.now_ms;
        Ok(self.documents[device].edit(now, |doc| edit(doc, now))?.1)
    }

    fn edit<T>(
        &mut self,
        device: usize,
        edit: impl FnOnce(&mut AutoCommit, i64) -> Result<T, DocumentError>,
    ) -> Option<LocalChange> {
        self.try_edit(device, edit).unwrap()
    }

    fn set(&mut self, device: usize, markdown: &str) -> Option<LocalChange> {
        self.edit(device, |doc, _| set_markdown(doc, markdown))
    }

    /// Gives `to` what `from` has, in one batch.
    fn send(&mut self, from: usize, to: usize) {
        let heads = self.documents[to].heads();
        let known = self.documents[from].inspect().get_changes(&[]).iter().map(Change::hash).collect::<Vec<_>>();
        let heads: Vec<_> = heads.into_iter().filter(|head| known.contains(head)).collect();
        let changes = self.documents[from].changes_since(&heads);
        let mut fork = self.documents[to].fork();
        fork.apply_changes(
            changes.into_iter().map(|change| Change::from_bytes(change.bytes).unwrap()).collect::<Vec<_>>(),
        )
        .unwrap();
        self.documents[to].replace(fork);
    }

    /// Everybody gets everything, in an order that differs by device.
    fn meet(&mut self) {
        for to in 0..self.documents.len() {
            for step in 1..self.documents.len() {
                self.send((to + step) % self.documents.len(), to);
            }
        }
        for to in (0..self.documents.len()).rev() {
            for step in (1..self.documents.len()).rev() {
                self.send((to + step) % self.documents.len(), to);
            }
        }
        let (first, rest) = self.documents.split_first().unwrap();
        for other in rest {
            assert_eq!(first.heads(), other.heads());
            assert_eq!(project(first), project(other));
        }
    }

    fn markdown(&self, device: usize) -> String {
        markdown_of(self.documents[device].read()).unwrap()
    }

    fn rows(&self, device: usize, table: &str) -> Vec<Row> {
        project(&self.documents[device]).into_iter().filter(|row| row.table == table).collect()
    }

    /// A cell of the note's main row.
    fn note(&self, column: &str) -> Value {
        cell(&self.rows(0, "note")[0], column)
    }
}

fn cell(row: &Row, column: &str) -> Value {
    let table = registry::table(row.table).unwrap();
    assert_eq!(table.columns.len(), row.values.len());
    row.values[table.columns.iter().position(|other| other.name == column).unwrap()].clone()
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}
