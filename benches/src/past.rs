//! A long history, made quickly: real changes of real notes, one in each envelope, sealed in batches by a device of the
//! space and pushed straight to the relay.
//!
//! Every note is the same note: a change says neither of which document it is nor when it was made, so its bytes are made
//! once and sealed again and again.

use std::path::Path;

use lifeos_client_core::crypto::{SeededRandom, random_bytes};
use lifeos_client_core::delta::{Delta, DocDelta};
use lifeos_client_core::document::Document;
use lifeos_client_core::modules::notes::note::Draft;
use lifeos_client_core::modules::notes::whole::WholeNote;
use lifeos_client_core::modules::notes::{body, markdown};
use lifeos_client_core::protocol::ids::{DocId, StreamId};
use lifeos_client_core::registry::NOTE_GENESIS;
use lifeos_client_core::store::Store;

use crate::raw::{Author, Peer, Role};

/// Edits of each note after the change that made it.
pub(crate) const EDITS: usize = 10;
/// Envelopes in one frame, and frames on their way.
const FRAME: usize = 64;
const FRAMES: usize = 8;
/// When everything was written (ms UTC).
const WRITTEN_MS: i64 = 1_700_000_000_000;
/// What a note says.
const TEXT: &str = "# Groceries\n\nWhat is left for the weekend, and who gets it:\n\n- bread from the mill\n- [ ] \
                    plums, if there are any\n- **two** lemons\n\nThe rest can wait until Tuesday.\n";

/// Who wrote the history, and how it goes on.
pub(crate) struct Past {
    author: Author,
    relay: String,
    /// What every envelope says that its author had taken in.
    frontier: Vec<(StreamId, u32)>,
    /// The change that makes a note, and those that edit it.
    changes: Vec<Vec<u8>>,
    random: SeededRandom,
    /// Notes that were begun and not edited.
    begun: Vec<DocId>,
    count: usize,
}

impl Past {
    /// Goes on with what this device of a space has written. It says that it knows of what `reader` wrote.
    pub(crate) fn new(author: Author, relay: String, reader: Option<&Path>) -> Self {
        let frontier = reader.map(|home| {
            let store = Store::open(home).expect("a home");
            let tip = store.own_tip(author.space()).expect("a stream");
            (tip.stream, tip.seq)
        });
        let changes = changes(author.stream());
        let frontier = frontier.into_iter().filter(|(_, seq)| *seq > 0).collect();
        Self { author, relay, frontier, changes, random: SeededRandom::new(3), begun: Vec::new(), count: 0 }
    }

    /// Envelopes pushed so far.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// So many envelopes: note after note with all its edits.
    pub(crate) async fn grow(&mut self, envelopes: usize) {
        let (mut doc, mut next) = (DocId(random_bytes(&mut self.random)), 0);
        let mut places = Vec::with_capacity(envelopes);
        for _ in 0..envelopes {
            places.push((doc, next));
            next += 1;
            if next > EDITS {
                (doc, next) = (DocId(random_bytes(&mut self.random)), 0);
            }
        }
        self.push(&places).await;
    }

    /// So many new notes.
    pub(crate) async fn begin(&mut self, notes: usize) {
        self.begun = (0..notes).map(|_| DocId(random_bytes(&mut self.random))).collect();
        let places: Vec<_> = self.begun.iter().map(|doc| (*doc, 0)).collect();
        self.push(&places).await;
    }

    /// So many edits of the notes that were just begun.
    pub(crate) async fn edit(&mut self, envelopes: usize) {
        let begun = std::mem::take(&mut self.begun);
        let places = begun.iter().flat_map(|doc| (1..=EDITS).map(|change| (*doc, change)));
        let places: Vec<_> = places.take(envelopes).collect();
        assert_eq!(places.len(), envelopes, "as many edits as were asked for");
        self.push(&places).await;
    }

    async fn push(&mut self, places: &[(DocId, usize)]) {
        let mut peer = Peer::relay(&self.relay, &self.author, Role::Writer).await;
        let mut in_flight = 0;
        for some in places.chunks(FRAME) {
            let frame: Vec<Vec<u8>> = some.iter().map(|(doc, change)| self.seal(*doc, *change)).collect();
            if in_flight == FRAMES {
                peer.acked().await;
                in_flight -= 1;
            }
            peer.push(&frame).await;
            in_flight += 1;
        }
        for _ in 0..in_flight {
            peer.acked().await;
        }
        peer.close().await;
        self.count += places.len();
    }

    fn seal(&mut self, doc: DocId, change: usize) -> Vec<u8> {
        let docs = vec![DocDelta { doc, changes: vec![self.changes[change].clone()], genesis: NOTE_GENESIS }];
        self.author.seal_delta(&Delta { frontier: self.frontier.clone(), docs, ..Delta::default() })
    }
}

fn changes(stream: StreamId) -> Vec<Vec<u8>> {
    let draft = Draft { title: "Groceries", markdown: TEXT, ..Draft::default() };
    let note = WholeNote::new(&draft, &markdown::parse(TEXT), WRITTEN_MS).expect("a note");
    let first = note.encode(&stream, WRITTEN_MS).expect("a change");
    let mut document = Document::load(DocId::ZERO, NOTE_GENESIS, stream, &[], &first.bytes).expect("a document");
    let mut changes = vec![first.bytes];
    for edit in 0..EDITS {
        let text = format!("and one more of {edit}, ");
        let made = document.edit(WRITTEN_MS, |doc| body::splice(doc, 1, 0, &text)).expect("an edit");
        changes.push(made.1.expect("a change").bytes);
    }
    changes
}
