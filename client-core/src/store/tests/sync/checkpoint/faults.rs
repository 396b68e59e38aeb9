//! Checkpoints that leave out, invent, twist or hurt: each is found by who holds the history, and what only a joiner can
//! see is put right and remembered.

use automerge::ChangeHash;
use lifeos_sync_protocol::envelope::{Envelope, Kind};
use lifeos_sync_protocol::ids::StreamId;
use lifeos_sync_protocol::record::Floor;

use super::*;
use crate::checkpoint::{
    ChunkNote, Manifest, Pack, PackedDoc, REASON_CHANGE_MISSING, REASON_CHANGE_UNKNOWN, REASON_DOCUMENT_MISSING,
    REASON_DOES_NOT_OPEN, REASON_OTHER_ENVELOPE, decode_rows, encode_rows, seal_manifest,
};
use crate::envelope::{ObjectPlace, open_object, seal_object, verify_kept_object};
use crate::fence::{APPLY_TIMEOUT, Whole, load_guarded};
use crate::projection::Value;
use crate::store::receive::{Records, Steps, TakenPack};
use crate::store::{Place, Verified};

/// What a checkpoint is made of, opened.
struct Opened {
    packs: Vec<Pack>,
    cut: Vec<Floor>,
}

impl Opened {
    fn doc(&mut self, id: &DocId) -> &mut PackedDoc {
        self.packs.iter_mut().flat_map(|pack| &mut pack.docs).find(|packed| packed.doc == *id).unwrap()
    }

    fn floor(&mut self, stream: StreamId) -> &mut Floor {
        self.cut.iter_mut().find(|floor| floor.stream == stream).unwrap()
    }

    /// Puts another document in the place of one, as if it were that.
    fn exchange(&mut self, id: &DocId, other: &mut Document) {
        let packed = self.doc(id);
        (packed.bytes, packed.heads) = (other.snapshot(), other.heads());
    }
}

impl Device {
    fn open_chunks(&self, chunks: &[EnvelopeId]) -> Vec<Pack> {
        let membership = self.store.membership(&self.space).unwrap();
        let open = |chunk: &EnvelopeId| {
            let bytes = self.store.object(&self.space, chunk).unwrap().unwrap();
            let envelope = Envelope::parse(bytes).unwrap();
            let verified = verify_kept_object(&self.space, &membership, envelope).unwrap();
            Pack::decode(&open_object(&self.space, &verified, &self.keyring).unwrap().body).unwrap()
        };
        chunks.iter().map(open).collect()
    }

    fn seal_body(&mut self, body: &[u8]) -> EnvelopeId {
        let (key, tip) = (self.key(), self.store.own_tip(&self.space).unwrap());
        let row = crate::store::records::find_space(&self.store.conn, &self.space).unwrap().stream_row;
        let r32 = crate::store::checkpoint::r32(&self.store.conn, row).unwrap().unwrap();
        let place = ObjectPlace { kind: Kind::Chunk, stream: tip.stream, seq: 0, r32, epoch: key.epoch() };
        let sealed = seal_object(&self.space, &place, &self.keys, key.secret(), body, &mut self.random).unwrap();
        let membership = self.store.membership(&self.space).unwrap();
        self.store.put_object(&self.space, &membership, &sealed.id, sealed.bytes, 1).unwrap();
        sealed.id
    }

    fn notes_of(packs: &[Pack]) -> Vec<ChunkNote> {
        packs.iter().map(|pack| ChunkNote::new(true, 1, pack.docs.iter().map(|doc| doc.doc))).collect()
    }

    fn seal_manifest(&mut self, notes: Vec<ChunkNote>) -> Vec<u8> {
        let manifest = Manifest { docs: 1, chunks: notes, ..Manifest::default() };
        let key = self.key();
        seal_manifest(&self.space, &manifest, &key, &mut self.random).unwrap()
    }

    /// A checkpoint like the one that this device would make, twisted.
    fn lie(&mut self, twist: impl FnOnce(&mut Opened)) -> Record {
        self.seal();
        let draft = self.draft(1_000).unwrap();
        // As if nothing had been made: the next one is whole again.
        self.store.conn.execute_batch("DELETE FROM live; UPDATE stream SET cut_seq = 0").unwrap();
        let mut opened = Opened { packs: self.open_chunks(&draft.chunks), cut: draft.cut };
        twist(&mut opened);
        let chunks: Vec<EnvelopeId> = opened.packs.iter().map(|pack| self.seal_body(&pack.encode())).collect();
        let enc_manifest = self.seal_manifest(Self::notes_of(&opened.packs));
        self.publish(CheckpointDraft { cut: opened.cut, chunks, enc_manifest, ..draft })
    }

    fn own_stream(&self) -> StreamId {
        self.store.own_tip(&self.space).unwrap().stream
    }

    /// One document as it is here.
    fn document(&mut self, id: &DocId) -> Document {
        let space = self.space;
        self.store.read(&space, id, Clone::clone).unwrap().unwrap()
    }
}

/// What `b` says of a lie of `a`.
fn judged(twist: impl FnOnce(&mut Opened, &mut Device, &mut Device)) -> (Comparison, StreamId, StreamId) {
    let Pair { mut a, mut b, .. } = written();
    let (own, victim) = (a.own_stream(), b.own_stream());
    let mut other = Device { store: Store::open(a.home.path()).unwrap(), ..twin(&a) };
    let lie = a.lie(|opened| twist(opened, &mut other, &mut b));
    (b.judge(&lie, &a), own, victim)
}

/// The same device again, to look into its home while it is at work.
fn twin(a: &Device) -> Device {
    let root = DeviceRoot::generate(&mut SeededRandom::new(77));
    Device::new(&root, a.space, a.store.records(&a.space).unwrap(), 78)
}

fn is_wrong(found: &(Comparison, StreamId, StreamId), reason: u8, whose: StreamId) {
    let Comparison::Wrong { reason: given, stream, .. } = &found.0 else { panic!("{:?}", found.0) };
    assert_eq!((*given, *stream), (reason, whose));
}

#[test]
fn a_checkpoint_that_is_left_as_it_is_holds_whoever_seals_it_again() {
    assert_eq!(judged(|_, _, _| {}).0, Comparison::Holds);
}

#[test]
fn a_change_that_is_left_out_is_noticed() {
    let found = judged(|opened, _, b| {
        // The document as it was before its last change.
        let mut whole = b.document(&doc(5));
        let changes = whole.changes_since(&[]);
        let mut part = Document::new(doc(5), NOTE_GENESIS, StreamId::ZERO).unwrap();
        let mut tail = Vec::new();
        changes[..changes.len() - 1].iter().for_each(|change| tail.extend_from_slice(&change.bytes));
        part = Document::load(doc(5), NOTE_GENESIS, StreamId::ZERO, &part.snapshot(), &tail).unwrap();
        opened.exchange(&doc(5), &mut part);
    });
    let own = found.1;
    is_wrong(&found, REASON_CHANGE_MISSING, own);
}

#[test]
fn a_document_that_is_left_out_is_noticed() {
    let found =
        judged(|opened, _, _| opened.packs.iter_mut().for_each(|pack| pack.docs.retain(|packed| packed.doc != doc(8))));
    let victim = found.2;
    is_wrong(&found, REASON_DOCUMENT_MISSING, victim);
}

#[test]
fn a_stream_that_is_left_out_of_the_cut_is_not_pruned_and_nobody_objects() {
    let found = judged(|opened, _, b| {
        let stream = b.own_stream();
        opened.cut.retain(|floor| floor.stream != stream);
    });
    assert_eq!(found.0, Comparison::Holds, "what is not cut stays where it is");
}

#[test]
fn a_cut_beyond_the_own_end_is_vouched_for_by_nobody_and_one_at_another_envelope_is_noticed() {
    let found = judged(|opened, _, b| opened.floor(b.own_stream()).seq += 1);
    let victim = found.2;
    assert_eq!(found.0, Comparison::Behind, "a home that was put back does not know where its stream ends");
    let found = judged(|opened, _, b| opened.floor(b.own_stream()).id = EnvelopeId([9; 32]));
    is_wrong(&found, REASON_OTHER_ENVELOPE, victim);
    let found = judged(|opened, a, _| opened.floor(a.own_stream()).id = EnvelopeId([9; 32]));
    assert!(matches!(found.0, Comparison::Wrong { reason: REASON_OTHER_ENVELOPE, .. } | Comparison::Holds));
}

#[test]
fn a_change_in_the_name_of_somebody_else_is_noticed() {
    let found = judged(|opened, _, b| {
        let (stream, mut forged) = (b.own_stream(), b.document(&doc(7)));
        forged = forged.with_actor(stream);
        forged.edit(999, |inner| set(inner, "title", "never written")).unwrap();
        opened.exchange(&doc(7), &mut forged);
    });
    let victim = found.2;
    is_wrong(&found, REASON_CHANGE_UNKNOWN, victim);
    let stranger = StreamId([0xcc; 16]);
    let found = judged(|opened, _, b| {
        let mut forged = b.document(&doc(7)).with_actor(stranger);
        forged.edit(999, |inner| set(inner, "title", "by nobody")).unwrap();
        opened.exchange(&doc(7), &mut forged);
    });
    is_wrong(&found, REASON_CHANGE_UNKNOWN, stranger);
}

#[test]
fn documents_and_chunks_that_do_not_open_are_noticed() {
    let damaged = |packed: &mut PackedDoc| {
        let last = packed.bytes.len() - 1;
        packed.bytes[last] ^= 0x55;
    };
    for twist in [
        damaged,
        |packed: &mut PackedDoc| packed.bytes.clear(),
        |packed: &mut PackedDoc| {
            packed.heads[0] = ChangeHash([1; 32]);
        },
    ] {
        let found = judged(|opened, _, _| twist(opened.doc(&doc(3))));
        is_wrong(&found, REASON_DOES_NOT_OPEN, StreamId::ZERO);
    }
    let Pair { mut a, mut b, .. } = written();
    a.seal();
    let draft = a.draft(1_000).unwrap();
    let chunk = a.seal_body(b"no pack at all");
    let enc_manifest = a.seal_manifest(vec![ChunkNote::new(true, 1, [doc(1)])]);
    let lie = a.publish(CheckpointDraft { chunks: vec![chunk], enc_manifest, ..draft });
    assert_eq!(b.judge(&lie, &a), Comparison::Wrong { reason: REASON_DOES_NOT_OPEN, stream: StreamId::ZERO, seq: 1 });
    let mut c = newcomer(&mut a, 9);
    c.begin(&lie);
    let bytes = a.store.object(&a.space, &chunk).unwrap().unwrap();
    assert!(matches!(c.take(bytes), Err(StoreError::Checkpoint(_))));
    assert_eq!(c.store.bootstrap(&c.space).unwrap().unwrap().taken, 0);
}

#[test]
fn an_exchanged_chunk_is_not_taken_and_blames_the_peer() {
    let Pair { mut a, .. } = written();
    let checkpoint = a.checkpoint(1_000);
    let mut c = newcomer(&mut a, 9);
    c.begin(&checkpoint);
    let [chunk, ..] = checkpoint_chunks(&checkpoint)[..] else { panic!("no chunk") };
    let good = a.store.object(&a.space, &chunk).unwrap().unwrap();
    let other = a.seal_body(&Pack { stamp: Vec::new(), docs: Vec::new(), pieces: Vec::new() }.encode());
    let other = a.store.object(&a.space, &other).unwrap().unwrap();
    let mut spoiled = good.clone();
    let last = spoiled.len() - 1;
    spoiled[last] ^= 1;
    for bytes in [other, spoiled, good[..40].to_vec(), Vec::new()] {
        assert!(matches!(c.take(bytes), Err(StoreError::PeerMisbehaved { .. })));
    }
    assert_eq!(c.store.reads().document_count(&c.space).unwrap(), 0);
    assert!(c.take(good).unwrap().new > 0);
}

#[test]
fn rows_that_lie_are_put_right_and_their_checkpoint_is_blamed() {
    let Pair { mut a, .. } = written();
    let honest = a.state();
    let lie = a.lie(|opened| {
        let packed = opened.doc(&doc(4));
        let mut rows = decode_rows(&packed.rows).unwrap();
        rows.iter_mut().find(|row| row.table == "note").unwrap().values[0] = Value::Text("a lie".into());
        packed.rows = encode_rows(&rows);
        // Rows that no version writes are not taken at all.
        opened.doc(&doc(6)).rows = vec![1, 2, 3];
    });
    let mut c = newcomer(&mut a, 9);
    c.join(&lie, &a);
    assert_ne!(c.state(), honest);
    let verified = c.store.verify_documents(3, 60).unwrap();
    assert_eq!((verified.verified, verified.left), (3, 6), "only so many at once");
    let again = c.store.verify_documents(usize::MAX, 61).unwrap();
    let repaired = [verified.repaired, again.repaired].concat();
    assert_eq!(repaired, vec![(doc(4), lie.id())]);
    assert_eq!(c.state(), honest);
    let blames = c.store.reads().checkpoint_blames(&c.space).unwrap();
    assert_eq!(
        blames.iter().map(|blame| (blame.checkpoint, blame.repaired, blame.damaged)).collect::<Vec<_>>(),
        [(lie.id(), 1, 0)]
    );
    c.check();
}

#[test]
fn an_edit_of_a_document_with_lying_rows_puts_them_right_in_the_same_commit() {
    let Pair { mut a, .. } = written();
    let lie = a.lie(|opened| {
        let packed = opened.doc(&doc(4));
        let mut rows = decode_rows(&packed.rows).unwrap();
        rows.retain(|row| row.table != "note_tag");
        rows.iter_mut().find(|row| row.table == "note").unwrap().values[0] = Value::Text("a lie".into());
        packed.rows = encode_rows(&rows);
    });
    let mut c = newcomer(&mut a, 9);
    c.join(&lie, &a);
    c.set(70, &doc(4), "source:path", "x.md");
    let from_c = c.send();
    a.receive(&from_c);
    assert_eq!(c.store.reads().rows(&c.space, &doc(4)).unwrap(), a.store.reads().rows(&a.space, &doc(4)).unwrap());
    assert_eq!(c.store.reads().checkpoint_blames(&c.space).unwrap().len(), 1);
}

#[test]
fn rows_of_an_earlier_version_blame_nobody_and_are_in_no_checkpoint() {
    let Pair { mut a, .. } = written();
    let checkpoint = a.checkpoint(300);
    let mut c = newcomer(&mut a, 9);
    c.join(&checkpoint, &a);
    let honest = a.state();
    let age = |store: &Store| {
        schema::put_meta(&store.conn, "projections", b"another version").unwrap();
        store.conn.execute("UPDATE note SET title = 'as before: ' || title", []).unwrap();
    };
    age(&c.store);
    c.store.follow_version().unwrap();
    assert_eq!((c.store.reads().unprojected_count().unwrap(), c.unverified() > 0), (0, true));
    c.set(70, &doc(4), "title", "title 4");
    let verified = c.store.verify_documents(usize::MAX, 60).unwrap();
    assert_eq!((verified.repaired, verified.damaged), (vec![], vec![]));
    assert_eq!(c.store.reads().checkpoint_blames(&c.space).unwrap(), vec![]);
    assert_eq!(c.state(), honest);

    // What waits for its turn would be packed with rows that others find to be false.
    a.title(400, &doc(1), "more");
    a.seal();
    age(&a.store);
    schema::stamp_projections(&a.store.conn).unwrap();
    crate::store::documents::mark_all(&a.store.conn, crate::store::documents::Mark::Project).unwrap();
    assert_eq!(a.draft(500), None);
    a.store.project_all(&mut |_, _| {}).unwrap();
    assert!(a.draft(501).is_some());
}

#[test]
fn an_edit_that_comes_while_documents_are_looked_at_stays_and_nobody_is_blamed_twice() {
    let Pair { mut a, .. } = written();
    let lie = a.lie(|opened| {
        let packed = opened.doc(&doc(4));
        let mut rows = decode_rows(&packed.rows).unwrap();
        rows.iter_mut().find(|row| row.table == "note").unwrap().values[0] = Value::Text("a lie".into());
        packed.rows = encode_rows(&rows);
    });
    let mut c = newcomer(&mut a, 9);
    c.join(&lie, &a);
    let waiting = c.store.reads().unverified_count(&c.space).unwrap();
    let looked_at = c.store.unverified(Place::START, usize::MAX).unwrap().look();
    c.set(70, &doc(4), "title", "edited meanwhile");
    let edited = c.store.reads().rows(&c.space, &doc(4)).unwrap();
    let mut report = Verified::default();
    c.store.keep_looked_at(looked_at, 71, &mut report).unwrap();
    assert_eq!(c.store.reads().rows(&c.space, &doc(4)).unwrap(), edited);
    assert_eq!((report.verified, report.repaired), (waiting - 1, vec![]));
    assert_eq!(c.store.reads().unverified_count(&c.space).unwrap(), 0);
    assert_eq!(c.store.reads().checkpoint_blames(&c.space).unwrap()[0].repaired, 1);
    c.check();
}

/// A well-framed document whose columns are garbage.
fn broken(packed: &mut PackedDoc) {
    let at = packed.bytes.len() - 12;
    packed.bytes[at..at + 4].copy_from_slice(&[0x7f, 0x01, 0x7f, 0x02]);
    let checksum = crate::crypto::sha256_plain(&[&packed.bytes[8..]]);
    packed.bytes[4..8].copy_from_slice(&checksum[..4]);
}

#[test]
fn a_document_that_does_not_load_is_set_aside_and_wanted_and_keeps_nobody_from_the_others() {
    let Pair { mut a, .. } = written();
    let lie = a.lie(|opened| broken(opened.doc(&doc(2))));
    let mut c = newcomer(&mut a, 9);
    c.join(&lie, &a);
    let edit = |tx: &mut Tx<'_>| tx.edit(&doc(2), NOTE_GENESIS, |inner| set(inner, "title", "on sand"));
    let edited = c.store.write(&c.space, 70, edit);
    let verified = c.store.verify_documents(usize::MAX, 71).unwrap();
    let set_aside = c.store.reads().damaged_documents(&c.space).unwrap();
    assert_eq!(set_aside.iter().map(|damaged| damaged.doc).collect::<Vec<_>>(), [doc(2)], "{edited:?} {verified:?}");
    assert!(edited.is_err(), "what was not looked at is not written to");
    assert_eq!(c.unverified(), 0);
    assert_eq!(c.store.reads().document_count(&c.space).unwrap(), 8);
    assert_eq!(c.draft(80), None, "who lacks something vouches for nothing");
    // News of the document waits, everything else comes.
    a.title(300, &doc(2), "news");
    a.title(301, &doc(3), "other news");
    let from_a = a.send();
    assert_eq!(c.receive(&from_a).changed, vec![doc(3)]);
    assert_eq!(c.store.reads().waiting_count(&c.space).unwrap(), 1);
    c.check();
    // Another checkpoint brings it, and what waited for it is applied.
    let good = a.checkpoint(2_000);
    c.join(&good, &a);
    assert_eq!(c.store.reads().damaged_documents(&c.space).unwrap(), []);
    assert_eq!((c.read_title(&doc(2)).unwrap(), c.state()), ("news".to_owned(), a.state()));
}

#[test]
fn only_devices_of_the_space_can_have_written_what_a_joiner_takes() {
    let Pair { mut a, .. } = written();
    let lie = a.lie(|opened| {
        let packed = opened.doc(&doc(7)).clone();
        let mut forged = Document::load(doc(7), NOTE_GENESIS, StreamId([0xcc; 16]), &packed.bytes, &[]).unwrap();
        forged.edit(999, |inner| set(inner, "title", "by nobody")).unwrap();
        opened.exchange(&doc(7), &mut forged);
    });
    let mut c = newcomer(&mut a, 9);
    c.join(&lie, &a);
    assert_eq!(c.read_title(&doc(7)), None);
    assert_eq!(c.store.reads().damaged_documents(&c.space).unwrap()[0].reason, "the change claims another actor");
}

#[test]
fn a_document_that_cannot_be_merged_whole_is_wanted_and_not_taken_for_merged() {
    fn gives_up(job: crate::fence::Job) -> crate::fence::Guarded {
        crate::fence::Guarded::Timeout { doc: job.document.id(), envelopes: Vec::new() }
    }
    let Pair { mut a, mut b, .. } = written();
    a.title(300, &doc(1), "newer");
    let made = a.checkpoint(301);
    b.begin(&made);
    let before = b.state();
    let (membership, space) = (b.store.membership(&b.space).unwrap(), b.space);
    let records = Records { membership: &membership, keyring: &b.keyring };
    let Body::Checkpoint { chunks, .. } = made.body() else { unreachable!("a checkpoint") };
    let docs: Vec<PackedDoc> = a.open_chunks(chunks).into_iter().flat_map(|pack| pack.docs).collect();
    let actors = b.store.have(&space).unwrap().into_iter().map(|have| have.stream).collect();
    let row: i64 = b.store.conn.query_row("SELECT id FROM checkpoint", [], |row| row.get(0)).unwrap();
    let taken = || TakenPack { chunk: EnvelopeId([5; 32]), checkpoint: row, actors: &actors, rows: false };
    let steps = Steps { apply: gives_up, ..Steps::default() };
    let report = b.store.receive_pack(&space, records, 50, steps, (&docs, taken()), |_| Ok(())).unwrap();
    assert_eq!((report.refused, b.state()), (1, before), "nothing is lost, and it is not taken for merged");
    assert_eq!(b.store.reads().damaged_documents(&space).unwrap()[0].doc, doc(1));
    let records = Records { membership: &membership, keyring: &b.keyring };
    let report = b.store.receive_pack(&space, records, 51, Steps::default(), (&docs, taken()), |_| Ok(())).unwrap();
    assert_eq!(report.refused, 0);
    assert!(b.store.reads().damaged_documents(&space).unwrap().is_empty(), "it has come whole");
    assert_eq!(b.read_title(&doc(1)).as_deref(), Some("newer"));
}

#[test]
fn no_byte_of_a_packed_document_can_be_changed_without_being_noticed_and_none_makes_a_panic() {
    let Pair { mut a, .. } = written();
    let bytes = a.document(&doc(5)).snapshot();
    let heads = crate::fence::scan_document(&bytes).unwrap().heads;
    let load = |bytes: Vec<u8>| {
        load_guarded(Whole { doc: doc(5), genesis: NOTE_GENESIS, bytes, heads: heads.clone() }, APPLY_TIMEOUT)
    };
    assert!(load(bytes.clone()).is_ok());
    for at in (8..bytes.len()).step_by(3) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(load(changed.clone()).is_err(), "byte {at}");
        // The checksum made right: only the hashes of the changes tell.
        let checksum = crate::crypto::sha256_plain(&[&changed[8..]]);
        changed[4..8].copy_from_slice(&checksum[..4]);
        if let Ok(mut loaded) = load(changed) {
            assert_eq!(loaded.snapshot(), bytes, "byte {at}: the same document, written otherwise");
        }
    }
}
