//! What commits cost by themselves: sealing, ten edits in one, and edits where waiting for the disk costs nothing.

use std::path::Path;

use lifeos_client_core::crypto::{SeededRandom, random_bytes};
use lifeos_client_core::document::{Document, DocumentError};
use lifeos_client_core::engine::Pace;
use lifeos_client_core::keys::{DeviceKeys, DeviceRoot, OwnKeys, PhraseLength, RecoveryPhrase, SealKey, health};
use lifeos_client_core::modules::notes::whole::WholeNote;
use lifeos_client_core::modules::notes::{Draft, body, markdown, note};
use lifeos_client_core::protocol::envelope::stream_id;
use lifeos_client_core::protocol::ids::{DocId, MemberId, SpaceId, StreamId};
use lifeos_client_core::records::{Founding, found_space, open_epochs};
use lifeos_client_core::registry::NOTE_GENESIS;
use lifeos_client_core::store::{NewHome, NewSpace, SealBudget, Store, StoreError};

use rusqlite::Connection;

use crate::report::Figure;
use crate::rows::device;
use crate::{measure, vault};

/// A home with some notes, below the façade.
struct Home {
    store: Store,
    space: SpaceId,
    keys: DeviceKeys,
    key: SealKey,
    random: SeededRandom,
    notes: Vec<DocId>,
}

const NOTES: usize = 100;
/// A folder in memory: there fsync returns at once, as synchronous=NORMAL would.
const MEMORY: &str = "/dev/shm";
const NOW_MS: i64 = 1_780_000_000_000;

impl Home {
    fn new(path: &Path) -> Self {
        let mut random = SeededRandom::new(7);
        let root = DeviceRoot::generate(&mut random);
        let genesis_random = random_bytes::<32>(&mut random);
        let keys = root.derive_space(&genesis_random);
        let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut random).derive_home();
        let member = MemberId(random_bytes(&mut random));
        let founding = Founding { genesis_random, member, keys: &keys, recovery: &recovery, relays: Vec::new() };
        let founded = found_space(&founding, &mut random).expect("a space");
        let (space, device, stream_r32) = (founded.space, keys.sign_pk(), random_bytes::<32>(&mut random));
        let (stream, records) = (stream_id(&space, &device, &stream_r32), vec![founded.genesis, founded.epoch]);
        let new = NewSpace { space, device, stream, stream_r32, records };
        let store = Store::create(path, &NewHome { root: &root, space: new, meta: &[] }).expect("a home");
        let membership = store.membership(&space).expect("members");
        let keyring = open_epochs(&membership, &store.records(&space).expect("records"), &keys);
        let key = health(&device, OwnKeys::first(&keys), &membership, &keyring).expect("a key");
        let mut home = Self { store, space, keys, key, random, notes: Vec::new() };
        (0..NOTES).for_each(|index| home.make(index));
        home
    }

    fn make(&mut self, index: usize) {
        let (doc, text) = (DocId(random_bytes(&mut self.random)), vault::note(index));
        let draft = Draft { title: "note", markdown: &text, ..Draft::default() };
        let note = WholeNote::new(&draft, &markdown::parse(&text), NOW_MS).expect("a note");
        self.store
            .write::<_, StoreError>(&self.space, NOW_MS, |tx| tx.create_note(&doc, &note, true))
            .expect("a commit");
        self.notes.push(doc);
    }

    /// Edits `count` notes in one commit.
    fn edit(&mut self, from: usize, count: usize) {
        let notes = &self.notes;
        self.store
            .write::<_, StoreError>(&self.space, NOW_MS, |tx| {
                (from..from + count).try_for_each(|index| {
                    let splice =
                        |doc: &mut _| -> Result<(), DocumentError> { body::splice(doc, 0, 0, "twenty characters by") };
                    tx.edit(&notes[index % NOTES], NOTE_GENESIS, |doc| splice(doc).map_err(StoreError::from))
                })
            })
            .expect("an edit");
    }

    /// Writes into the first note; how many bytes the change has.
    fn insert(&mut self, at: usize, text: &str) -> usize {
        let note = self.notes[0];
        let splice = |doc: &mut _| body::splice(doc, at, 0, text).map_err(StoreError::from);
        let written = self.store.write::<_, StoreError>(&self.space, NOW_MS, |tx| tx.edit(&note, NOTE_GENESIS, splice));
        written.expect("an edit").1.bytes
    }

    fn seal(&mut self) -> usize {
        let budget = SealBudget::default();
        let sealed = self.store.seal_pending(&self.space, &self.keys, &self.key, budget, &mut self.random);
        sealed.expect("sealed").envelopes
    }
}

/// The sealing commit, and ten edits in one commit, beside a raw INSERT at FULL and a single edit.
pub(super) fn commit(short: bool) -> Vec<Figure> {
    let n = if short { 100 } else { 1_000 };
    let folder = tempfile::tempdir().expect("a folder");
    let mut home = Home::new(&folder.path().join("home"));
    while home.seal() > 0 {}
    (0..NOTES).for_each(|index| home.edit(index, 1));
    home.seal();
    let raw = device::raw_database(&folder.path().join("raw.db"), "FULL");
    let (mut insert, mut single, mut seal, mut group) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for index in 0..n {
        insert.push(measure::time_us(|| device::insert(&raw)).1);
        single.push(measure::time_us(|| home.edit(index, 1)).1);
        seal.push(measure::time_us(|| assert_eq!(home.seal(), 1, "an envelope")).1);
        if index % 10 == 0 {
            group.push(measure::time_us(|| home.edit(index, 10)).1 / 10.0);
            home.seal();
        }
    }
    let (raw_us, single_us) = (measure::median(&mut insert), measure::median(&mut single));
    let (seal_us, group_us) = (measure::median(&mut seal), measure::median(&mut group));
    vec![
        Figure {
            name: "commit",
            what: "sealing one pending edit: envelope, tip and cleared marks, FULL".into(),
            n,
            value: ("seal_us", seal_us),
            yardstick: Some(("raw INSERT of 131 B".into(), raw_us)),
            target: "reported",
            met: true,
            extra: vec![("p95_us", measure::p95(&mut seal))],
        },
        Figure {
            name: "commit",
            what: "ten edits of ten notes in one commit, FULL, per edit".into(),
            n: n / 10,
            value: ("edit_us", group_us),
            yardstick: Some(("the same edit in a commit of its own".into(), single_us)),
            target: "≤ 0.35",
            met: group_us / single_us <= 0.35,
            extra: vec![("single_edit_us", single_us), ("raw_insert_us", raw_us)],
        },
        in_memory(n),
    ]
}

/// Milliseconds between two letters of somebody who types five a second, with the pauses of a sentence's end.
fn pauses(letters: usize) -> impl Iterator<Item = u64> {
    (0..letters).map(|at| if at % 80 == 79 { 2_500 } else { 120 + (at as u64 * 37) % 160 })
}

/// What a typed paragraph costs on the wire, by the engine's rule, beside an envelope for each letter.
pub(super) fn typing(short: bool) -> Vec<Figure> {
    let letters = if short { 200 } else { 1_000 };
    let ruled = typed(letters, 0, Some(Pace::default()));
    let gathered = typed(letters, 500, Some(Pace::default()));
    let each = typed(letters, 0, None);
    vec![Figure {
        name: "typing",
        what: "bytes of envelopes for a typed paragraph, a change for each letter".into(),
        n: letters,
        value: ("bytes", ruled.0 as f64),
        yardstick: Some(("an envelope for each letter".into(), each.0 as f64)),
        target: "≤ 0.5",
        met: ruled.0 * 2 <= each.0,
        extra: vec![
            ("envelopes", ruled.1 as f64),
            ("bytes_a_letter", ruled.0 as f64 / letters as f64),
            ("bytes_with_a_change_each_500_ms", gathered.0 as f64),
        ],
    }]
}

/// Bytes and number of the envelopes; letters closer together than `gather_ms` are one change.
fn typed(letters: usize, gather_ms: u64, pace: Option<Pace>) -> (usize, usize) {
    let folder = tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir()).expect("a folder");
    let mut home = Home::new(&folder.path().join("home"));
    while home.seal() > 0 {}
    let from = home.store.own_tip(&home.space).expect("a stream").seq;
    let text: Vec<char> = vault::note(1).chars().filter(|letter| !letter.is_control()).cycle().take(letters).collect();
    let (mut now_ms, mut written, mut since_ms) = (0, 0, None);
    let mut pace_now = pace;
    for (at, pause_ms) in pauses(letters).enumerate() {
        now_ms += pause_ms;
        let begun_ms = *since_ms.get_or_insert(now_ms);
        if now_ms - begun_ms >= gather_ms || at + 1 == letters {
            let part: String = text[written..=at].iter().collect();
            let bytes = home.insert(written, &part);
            (written, since_ms) = (at + 1, None);
            match &mut pace_now {
                Some(pace) => {
                    if pace.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
                        pace.sealed();
                        home.seal();
                    }
                    pace.edited(bytes as u64, now_ms);
                    if pace.due_ms().is_some_and(|due_ms| due_ms <= now_ms) {
                        pace.sealed();
                        home.seal();
                    }
                }
                None => drop(home.seal()),
            }
        }
    }
    home.seal();
    let sealed = home.store.outbox(&home.space, from, usize::MAX, usize::MAX).expect("envelopes");
    (sealed.iter().map(|envelope| envelope.bytes.len()).sum(), sealed.len())
}

/// What is left of an edit when the disk costs nothing.
fn in_memory(n: usize) -> Figure {
    let folder = tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir()).expect("a folder");
    let mut home = Home::new(&folder.path().join("home"));
    (0..NOTES).for_each(|index| home.edit(index, 1));
    let raw = device::raw_database(&folder.path().join("raw.db"), "NORMAL");
    let mut floor = Floor::new(&folder.path().join("floor.db"));
    (0..NOTES).for_each(|index| floor.edit(index));
    let (mut insert, mut edit, mut least) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..n {
        insert.push(measure::time_us(|| device::insert(&raw)).1);
        least.push(measure::time_us(|| floor.edit(index)).1);
        edit.push(measure::time_us(|| home.edit(index, 1)).1);
    }
    let (raw_us, edit_us) = (measure::median(&mut insert), measure::median(&mut edit));
    let floor_us = measure::median(&mut least);
    Figure {
        name: "commit",
        what: "an edit where fsync costs nothing (in memory), as at NORMAL".into(),
        n,
        value: ("edit_us", edit_us),
        yardstick: Some(("raw INSERT of 131 B, NORMAL, in memory".into(), raw_us)),
        target: "≤ 8",
        met: edit_us / raw_us <= 8.0,
        extra: vec![
            ("p95_us", measure::p95(&mut edit)),
            ("automerge_and_six_rows_us", floor_us),
            ("ratio_to_those", edit_us / floor_us),
        ],
    }
}

/// What no engine on these two can do without: Automerge's own work for the same edit of the same notes, and a row in
/// each of six tables, in one commit.
struct Floor {
    documents: Vec<Document>,
    db: Connection,
}

const TABLES: usize = 6;

impl Floor {
    fn new(path: &Path) -> Self {
        let db = device::raw_database(path, "NORMAL");
        for table in 1..TABLES {
            db.execute_batch(&format!("CREATE TABLE t{table} (id INTEGER PRIMARY KEY, bytes BLOB)")).expect("a table");
            for id in 0..NOTES {
                db.execute(&format!("INSERT INTO t{table} VALUES (?1, zeroblob(131))"), [id as i64]).expect("a row");
            }
        }
        Self { documents: (0..NOTES).map(document).collect(), db }
    }

    fn edit(&mut self, index: usize) {
        let splice = |doc: &mut _| -> Result<(), DocumentError> { body::splice(doc, 0, 0, "twenty characters by") };
        let change = self.documents[index % NOTES].edit(NOW_MS, splice).expect("an edit").1.expect("a change");
        let transaction = self.db.unchecked_transaction().expect("a transaction");
        for table in 1..TABLES {
            let sql = format!("UPDATE t{table} SET bytes = ?2 WHERE id = ?1");
            let mut update = transaction.prepare_cached(&sql).expect("a statement");
            update.execute(((index % NOTES) as i64, &change.bytes)).expect("a row");
        }
        device::insert(&transaction);
        transaction.commit().expect("a commit");
    }
}

fn document(index: usize) -> Document {
    let mut document = Document::new(DocId([7; 16]), NOTE_GENESIS, StreamId([1; 16])).expect("a document");
    let text = vault::note(index);
    let draft = Draft { title: "note", markdown: &text, ..Draft::default() };
    let created: Result<_, DocumentError> = document.edit(NOW_MS, |doc| note::create(doc, &draft, NOW_MS));
    created.expect("a note");
    document
}
