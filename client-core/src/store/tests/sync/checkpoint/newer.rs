//! Documents of kinds that this version does not know, and documents that no chunk has room for.

use super::*;
use crate::registry::{ATTACHMENT_GENESIS, HIDDEN};

/// As a version would act that does not know attachments.
fn as_older<T>(act: impl FnOnce() -> T) -> T {
    HIDDEN.set(Some(ATTACHMENT_GENESIS));
    let done = act();
    HIDDEN.set(None);
    done
}

impl Device {
    fn newer(&mut self, now_ms: i64, id: &DocId, value: &str) {
        let edit = |tx: &mut Tx<'_>| tx.edit(id, ATTACHMENT_GENESIS, |doc| set(doc, "media", value));
        self.store.write(&self.space, now_ms, edit).unwrap();
    }

    fn newer_kinds(&self) -> u64 {
        self.store.reads().newer_kind_count(&self.space).unwrap()
    }

    fn update(&mut self) {
        assert!(self.store.knows_other_kinds(&self.space).unwrap());
        let membership = self.store.membership(&self.space).unwrap();
        self.store.take_known_kinds(&self.space, (&membership, &self.keyring), 60).unwrap();
        assert!(!self.store.knows_other_kinds(&self.space).unwrap());
    }
}

fn bytes_of(device: &Device, id: &DocId) -> Option<Vec<u8>> {
    let sql = "SELECT bytes FROM opaque WHERE doc = ?1";
    device.store.conn.query_row(sql, [id.as_ref()], |row| row.get(0)).ok()
}

#[test]
fn what_a_newer_version_made_is_kept_packed_again_and_handed_on_and_nobody_is_blamed() {
    let Pair { mut a, .. } = written();
    a.newer(201, &doc(40), "of a newer kind");
    a.newer(202, &doc(41), "another");
    let made = a.checkpoint(1_000);
    let mut old = newcomer(&mut a, 9);
    as_older(|| {
        old.update();
        old.join(&made, &a);
        assert_eq!((old.newer_kinds(), old.store.reads().heads(&old.space).unwrap().len()), (2, 9));
        old.store.verify_documents(usize::MAX, 60).unwrap();
        assert!(old.store.reads().damaged_documents(&old.space).unwrap().is_empty());
        assert!(old.store.reads().checkpoint_blames(&old.space).unwrap().is_empty());
        assert_eq!(old.judge(&made, &a), Comparison::Holds, "all of it is here");
        old.check();
    });
    // It writes, and makes the next checkpoint.
    let next = as_older(|| {
        old.title(300, &doc(2), "by the old one");
        old.seal();
        old.store.conn.execute("DELETE FROM live", []).unwrap();
        old.checkpoint(2_000)
    });
    let from_old = old.send();
    a.receive(&from_old);
    assert_eq!(a.judge(&next, &old), Comparison::Holds, "it left out nothing of what it does not know");
    let (mut fresh, mut older) = (newcomer(&mut a, 10), newcomer(&mut a, 11));
    fresh.join(&next, &old);
    fresh.store.verify_documents(usize::MAX, 60).unwrap();
    assert_eq!(fresh.state(), a.state());
    as_older(|| older.join(&next, &old));
    assert!(bytes_of(&older, &doc(40)).is_some());
    assert_eq!(bytes_of(&older, &doc(40)), bytes_of(&old, &doc(40)), "as it came");
    // A checkpoint that says more of it than is known here is neither vouched for nor objected to, and neither is one
    // that says nothing of it.
    a.newer(400, &doc(40), "changed");
    let third = a.checkpoint(3_000);
    let from_a = a.send();
    let records = a.store.records(&a.space).unwrap();
    for device in [&mut old, &mut older] {
        device.store.put_records(&device.space, &records).unwrap();
    }
    as_older(|| {
        old.receive(&from_a);
        assert_eq!(old.judge(&third, &a), Comparison::Behind);
        older.receive(&from_a);
    });
    // Both are updated: what they kept are documents, and what was set aside counts.
    for device in [&mut old, &mut older] {
        device.update();
        device.store.verify_documents(usize::MAX, 61).unwrap();
        assert_eq!(device.newer_kinds(), 0);
        assert_eq!(device.state(), a.state());
        assert!(device.store.reads().quarantine(&device.space, 9).unwrap().is_empty());
        device.check();
    }
    assert_eq!(old.judge(&third, &a), Comparison::Holds);
}

#[test]
fn what_is_said_to_be_of_an_unknown_kind_takes_no_known_documents_place_and_is_looked_at_from_outside() {
    let Pair { mut a, .. } = written();
    a.newer(201, &doc(40), "of a newer kind");
    let made = a.checkpoint(1_000);
    let mut old = newcomer(&mut a, 9);
    as_older(|| old.join(&made, &a));
    // The same id comes as a note, by an envelope: the note counts, and one pack never holds both.
    old.title(70, &doc(40), "a note");
    old.title(71, &doc(3), "and another change");
    as_older(|| {
        old.store.verify_documents(usize::MAX, 60).unwrap();
        old.seal();
        old.store.conn.execute("DELETE FROM live", []).unwrap();
        let draft = old.draft(2_000).unwrap();
        assert!(!draft.chunks.is_empty());
    });
    assert_eq!(old.read_title(&doc(40)).unwrap(), "a note");
}

/// A note with so many incompressible mebibytes, most of them in its past.
fn swell(device: &mut Device, id: &DocId, mebibytes: u64) {
    let mut random = SeededRandom::new(55);
    for n in 0..mebibytes * 2 {
        let bytes: [u8; 512 * 1024] = crate::crypto::random_bytes(&mut random);
        let edit = |tx: &mut Tx<'_>| {
            tx.edit(id, NOTE_GENESIS, |doc| {
                doc.put(ROOT, "source:path", bytes.to_vec()).map_err(|_| StoreError::from(DocumentError::Refused))
            })
        };
        device.store.write(&device.space.clone(), 100 + n as i64, edit).unwrap();
        device.seal();
    }
}

#[test]
fn a_document_that_no_chunk_has_room_for_travels_in_pieces() {
    let Pair { mut a, mut b, .. } = written();
    swell(&mut a, &doc(1), 6);
    let from_a = a.send();
    for envelope in &from_a {
        b.receive(std::slice::from_ref(envelope));
    }
    let made = a.checkpoint(1_000);
    let chunks = checkpoint_chunks(&made);
    assert!(chunks.len() >= 4, "{}", chunks.len());
    assert_eq!(b.judge(&made, &a), Comparison::Holds);
    let state = a.state();
    for turn in 0..2 {
        let mut c = newcomer(&mut a, 9 + turn);
        c.begin(&made);
        let mut wanted = c.store.bootstrap(&c.space).unwrap().unwrap().chunks;
        if turn == 1 {
            wanted.reverse();
        }
        for chunk in wanted {
            c.take(a.store.object(&a.space, &chunk).unwrap().unwrap()).unwrap();
            c.store = Store::open(c.home.path()).unwrap();
        }
        c.finish();
        c.store.verify_documents(usize::MAX, 60).unwrap();
        assert_eq!(c.state(), state);
        let left: i64 = c.store.conn.query_row("SELECT count(*) FROM piece", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
        c.check();
        // It makes the next one, pieces and all.
        c.title(500, &doc(2), "by the newcomer");
        let next = c.checkpoint(2_000);
        let from_c = c.send();
        a.receive(&from_c);
        assert_eq!(a.judge(&next, &c), Comparison::Holds);
        assert!(!checkpoint_chunks(&next).iter().any(|chunk| chunks[..].contains(chunk) && piece_in(&a, chunk)));
    }
}

fn piece_in(device: &Device, chunk: &EnvelopeId) -> bool {
    let sql = "SELECT 1 FROM packed p JOIN object o ON o.id = p.object WHERE o.object = ?1 AND p.heads = x''";
    device.store.conn.prepare(sql).unwrap().exists([chunk.as_ref()]).unwrap()
}

#[test]
fn a_document_of_which_a_piece_is_withheld_is_missing_and_the_maker_of_such_a_checkpoint_is_objected_to() {
    let Pair { mut a, mut b, .. } = written();
    swell(&mut a, &doc(1), 6);
    let from_a = a.send();
    for envelope in &from_a {
        b.receive(std::slice::from_ref(envelope));
    }
    a.seal();
    let mut draft = a.draft(1_000).unwrap();
    let gone = draft.chunks.iter().position(|chunk| piece_in(&a, chunk)).unwrap();
    draft.chunks.remove(gone);
    let membership = a.store.membership(&a.space).unwrap();
    let key = a.key();
    let mut manifest = crate::checkpoint::open_manifest(&a.space, &draft.enc_manifest, &a.keyring).unwrap();
    manifest.chunks.remove(gone);
    draft.enc_manifest = crate::checkpoint::seal_manifest(&a.space, &manifest, &key, &mut a.random).unwrap();
    drop(membership);
    let made = a.publish(draft);
    assert!(matches!(
        b.judge(&made, &a),
        Comparison::Wrong {
            reason: crate::checkpoint::REASON_DOES_NOT_OPEN | crate::checkpoint::REASON_DOCUMENT_MISSING,
            ..
        }
    ));
    let mut c = newcomer(&mut a, 9);
    c.join(&made, &a);
    let damaged = c.store.reads().damaged_documents(&c.space).unwrap();
    assert_eq!(damaged.iter().map(|damaged| damaged.doc).collect::<Vec<_>>(), [doc(1)]);
}
