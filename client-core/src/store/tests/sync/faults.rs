//! What goes wrong between devices: whose fault it is, what is set aside, and what is tried again.

use super::*;
use crate::fence;
use crate::projection;
use crate::store::receive::{Records, Steps};
use crate::store::records::find_space;

/// What the peer must never give out: the page is refused whole, and the genuine one is taken afterwards.
pub(super) fn assert_blames_the_peer(b: &mut Device, page: &[Vec<u8>]) {
    let membership = b.store.membership(&b.space).unwrap();
    let before = (b.state(), b.cursor(), b.store.have(&b.space).unwrap().len());
    for unknown in [Unknown::Hold, Unknown::Quarantine] {
        let given = b.page(page, 1);
        let refused = b.store.receive(&b.space, given, &membership, &b.keyring, unknown, 77);
        assert!(matches!(refused, Err(StoreError::PeerMisbehaved { .. })), "{refused:?}");
    }
    assert_eq!((b.state(), b.cursor(), b.store.have(&b.space).unwrap().len()), before);
    assert_eq!(b.store.reads().quarantine(&b.space, 9).unwrap(), vec![]);
}

fn flipped(envelope: &[u8]) -> Vec<u8> {
    let mut bytes = envelope.to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    bytes
}

#[test]
fn what_only_the_peer_can_have_spoiled_refuses_the_page_and_never_an_envelope() {
    let Pair { mut a, mut b, .. } = pair();
    let mut sent = Vec::new();
    for n in 1..=4 {
        a.title(n, &doc(1), &format!("title {n}"));
        sent.extend(a.send());
    }
    let mut forged = sent[1].clone();
    forged[72] ^= 1;
    assert_blames_the_peer(&mut b, &[sent[0].clone(), flipped(&sent[1])]);
    assert_blames_the_peer(&mut b, &[flipped(&sent[0]), flipped(&sent[1])]);
    assert_blames_the_peer(&mut b, &[sent[0].clone(), forged.clone(), sent[1].clone(), sent[2].clone()]);
    assert_blames_the_peer(&mut b, &[sent[0].clone(), b"noise".to_vec(), sent[1].clone()]);
    assert_blames_the_peer(&mut b, &[sent[0].clone(), sent[2].clone()]);
    assert_blames_the_peer(&mut b, &[sent[1].clone()]);
    let report = b.receive(&sent[..2]);
    assert_eq!((report.received, b.cursor()), (2, Some(3)));
    // From here on against a tip that is stored.
    for page in [vec![flipped(&sent[2])], vec![forged], vec![sent[3].clone()], vec![sent[2].clone(), flipped(&sent[3])]]
    {
        assert_blames_the_peer(&mut b, &page);
    }
    b.receive(&sent[2..]);
    assert_eq!(a.state(), b.state());
}

#[test]
fn a_run_that_its_writer_signed_only_at_the_end_is_taken_in_whole_and_blames_nobody() {
    let Pair { mut a, mut b, .. } = pair();
    let mut sent = Vec::new();
    for n in 1..=4 {
        a.title(n, &doc(1), &format!("title {n}"));
        sent.extend(a.send());
    }
    let unsigned: Vec<_> = sent[..3].iter().map(|envelope| flipped(envelope)).chain([sent[3].clone()]).collect();
    let report = b.receive(&unsigned);
    assert_eq!((report.received, b.cursor(), report.quarantined.len()), (4, Some(5), 0));
    assert_eq!(a.state(), b.state());
}

#[test]
fn a_fork_and_all_that_grows_on_it_is_set_aside_and_never_blocks() {
    let Pair { mut a, mut b, .. } = pair();
    let start = a.store.own_tip(&a.space).unwrap();
    let mut tip = start;
    let mut branch = Vec::new();
    for _ in 0..4 {
        let sealed = a.forge(&tip, vec![]);
        tip = StreamTip { seq: sealed.seq, id: sealed.id.0, ..tip };
        branch.push(sealed.bytes);
    }
    a.title(1, &doc(1), "one");
    let page = [a.send(), branch.clone()].concat();
    let report = b.receive(&page);
    assert_eq!((report.quarantined.len(), b.cursor()), (4, Some(6)));
    assert_eq!(b.receive(&branch[3..]).duplicates, 1, "in a page of its own");
    a.title(2, &doc(1), "two");
    let next = a.send();
    b.receive(&next);
    assert_eq!(b.read_title(&doc(1)).unwrap(), "two");
    assert_eq!(b.retry().quarantined, vec![]);
    assert_eq!(b.store.reads().quarantine(&b.space, 9).unwrap().len(), 4);
}

#[test]
fn an_unknown_author_is_taken_in_with_all_that_followed_once_records_come() {
    let Pair { mut a, mut b, added } = pair_with(false);
    for n in 1..=3 {
        b.title(n, &doc(1), &format!("title {n}"));
        let sent = b.send();
        let report = a.receive_with(&sent, n as u64, Unknown::Quarantine);
        assert_eq!((report.changed.len(), report.quarantined.len()), (0, 1));
    }
    assert_eq!(a.retry().changed, vec![], "still unknown");
    assert_eq!(a.store.reads().quarantine(&a.space, 9).unwrap().len(), 3);
    a.store.put_records(&a.space.clone(), &added).unwrap();
    let report = a.retry();
    assert_eq!((report.changed, report.quarantined.len()), (vec![doc(1)], 0));
    assert_eq!(a.store.reads().quarantine(&a.space, 9).unwrap(), vec![]);
    assert_eq!(a.state(), b.state());
    assert_eq!(a.retry(), ReceiveReport::default());
    b.title(9, &doc(1), "later");
    let later = b.send();
    assert_eq!(a.receive(&later).changed, vec![doc(1)]);
    assert_eq!(a.cursor(), Some(2));
    a.check();
}

#[test]
fn what_a_peer_spoiled_while_its_author_was_unknown_is_fetched_again() {
    let Pair { mut a, mut b, added } = pair_with(false);
    b.title(1, &doc(1), "one");
    let first = b.send();
    b.title(2, &doc(1), "two");
    let second = b.send();
    a.receive(&[flipped(&first[0]), second[0].clone()]);
    a.store.put_records(&a.space.clone(), &added).unwrap();
    a.retry();
    assert_eq!(a.cursor(), None, "the log is read from its start");
    a.receive_with(&[], 3, Unknown::Hold);
    let page = [first, second].concat();
    assert_eq!(a.receive(&page).changed, vec![doc(1)]);
    assert_eq!(a.state(), b.state());
    assert_eq!(a.store.reads().quarantine(&a.space, 9).unwrap(), vec![]);
}

#[test]
fn an_unknown_epoch_is_opened_once_its_key_comes() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "one");
    let mut page = a.send();
    a.title(2, &doc(1), "two");
    page.extend(a.send());
    let keyring = std::mem::take(&mut b.keyring);
    assert_eq!(b.receive(&page).quarantined.len(), 2);
    assert_eq!(b.retry().changed, vec![]);
    b.keyring = keyring;
    assert_eq!(b.retry().changed, vec![doc(1)]);
    assert_eq!(b.store.reads().quarantine(&b.space, 9).unwrap(), vec![]);
    assert_eq!(a.state(), b.state());
}

#[test]
fn a_damaged_document_keeps_no_other_from_being_received_and_its_news_waits() {
    for (table, history) in [("snapshot", true), ("change", false)] {
        let Pair { mut a, mut b, .. } = pair();
        a.title(1, &doc(1), "one");
        if history {
            a.set(1, &doc(1), "kind", "task");
        }
        a.title(1, &doc(2), "other");
        let page = a.send();
        b.receive(&page);
        let row = format!("FROM document WHERE doc = x'{}'", doc(1));
        let row: i64 = b.store.conn.query_row(&format!("SELECT id {row}"), [], |row| row.get(0)).unwrap();
        let select = format!("SELECT bytes FROM {table} WHERE doc = {row}");
        let sound: Vec<u8> = b.store.conn.query_row(&select, [], |row| row.get(0)).unwrap();
        for damage in ["UPDATE {table} SET bytes = x'0102' WHERE doc = ?1", "DELETE FROM {table} WHERE doc = ?1"] {
            let b_home = b.home.path().to_owned();
            b.store.conn.execute(&damage.replace("{table}", table), [row]).unwrap();
            b.store = Store::open(&b_home).unwrap();
            a.title(2, &doc(1), damage);
            a.title(2, &doc(2), damage);
            let page = a.send();
            let report = b.receive(&page);
            assert_eq!(report.changed.len(), 1, "{table}");
            assert!(report.quarantined[0].1.contains("damaged on this device"), "{report:?}");
        }
        assert_eq!(b.retry().changed, vec![]);
        let columns = if history { "(doc, bytes) VALUES (?1, ?2)" } else { "VALUES (?1, 0, 0, ?2)" };
        b.store.conn.execute(&format!("INSERT INTO {table} {columns}"), (row, sound)).unwrap();
        assert_eq!(b.retry().changed.len(), 1);
        assert_eq!(b.store.reads().quarantine(&b.space, 9).unwrap(), vec![]);
        assert_eq!(a.state(), b.state());
    }
}

const CULPRIT: &[u8] = b"culprit";

fn hang(job: fence::Job) -> fence::Guarded {
    let is_culprit = |change: &fence::CheckedChange| change.change.raw_bytes().windows(7).any(|part| part == CULPRIT);
    let changes = || job.deltas.iter().flat_map(|delta| &delta.changes);
    if changes().any(is_culprit) {
        let envelopes = changes().map(|change| change.envelope).collect();
        return fence::Guarded::Timeout { doc: job.document.id(), envelopes };
    }
    fence::apply_guarded(job, fence::APPLY_TIMEOUT)
}

fn trip(document: &Document) -> (Vec<projection::Row>, Option<projection::SearchText>) {
    let title = document.read().get(ROOT, "title").unwrap().unwrap().0.into_string().unwrap();
    assert!(title != "culprit", "a projection that panics");
    projection::project_with_search(document)
}

#[test]
fn a_change_that_hangs_or_cannot_be_read_harms_only_itself() {
    let hangs = Steps { apply: hang, ..Steps::default() };
    let panics = Steps { project: trip, ..Steps::default() };
    for (steps, reason) in [(hangs, "in time"), (panics, "panicked")] {
        let Pair { mut a, mut b, .. } = pair();
        a.title(1, &doc(1), "base");
        let base = a.send();
        b.receive(&base);
        b.set(2, &doc(1), "source:path", "waits");
        let waits = b.send();
        a.set(3, &doc(1), "pinned", "innocent");
        let innocent = a.send();
        a.title(4, &doc(1), "culprit");
        let culprit = a.send();

        let mut random = SeededRandom::new(50);
        let mut late = Device::new(&DeviceRoot::generate(&mut random), a.space, a.store.records(&a.space).unwrap(), 51);
        late.keyring = a.keyring.clone();
        late.receive_with(&waits, 1, Unknown::Quarantine);
        assert_eq!(late.store.reads().waiting_count(&late.space).unwrap(), 1);
        let page = late.page(&[base, innocent.clone(), culprit].concat(), 2);
        let membership = late.store.membership(&late.space).unwrap();
        let records = Records { membership: &membership, keyring: &late.keyring };
        let report = late.store.receive_in_steps(&late.space, page, records, Unknown::Quarantine, 77, steps).unwrap();
        assert_eq!((report.changed, report.quarantined.len()), (vec![doc(1)], 1));
        assert!(report.quarantined[0].1.contains(reason), "{:?}", report.quarantined);
        assert_eq!(late.store.reads().waiting_count(&late.space).unwrap(), 0);
        b.receive(&innocent);
        assert_eq!(late.state(), b.state(), "everything but the culprit");
    }
}

#[test]
fn quarantine_keeps_names_but_no_bytes_above_its_budget() {
    let Pair { a, .. } = pair();
    let row = find_space(&a.store.conn, &a.space).unwrap().row;
    let large = vec![0; 30 * 1024 * 1024];
    for n in 1..=3_u8 {
        let (envelope, stream) = (EnvelopeId([n; 32]), StreamId([9; 16]));
        let entry =
            QuarantinedEnvelope { envelope, stream, seq: n.into(), author: None, reason: "x".into(), since_ms: 1 };
        quarantine::insert(&a.store.conn, row, &entry, Some(&large)).unwrap();
    }
    assert_eq!(quarantine::rows_with_bytes(&a.store.conn, row, &StreamId([9; 16])).unwrap().len(), 2);
    let kept = a.store.reads().quarantine(&a.space, 9).unwrap();
    assert_eq!((kept.len(), kept[2].seq, kept[2].stream), (3, 3, StreamId([9; 16])));
}

/// Ends the program, as running out of memory does, when it meets the culprit; else applies.
fn end(job: fence::Job) -> fence::Guarded {
    let is_culprit = |change: &fence::CheckedChange| change.change.raw_bytes().windows(7).any(|part| part == CULPRIT);
    let mut changes = job.deltas.iter().flat_map(|delta| &delta.changes);
    assert!(!changes.any(is_culprit), "killed");
    fence::apply_guarded(job, fence::APPLY_TIMEOUT)
}

#[test]
fn a_program_that_is_ended_by_others_while_it_takes_care_sets_no_envelope_aside() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "first");
    a.title(2, &doc(1), "culprit");
    let page = a.send();
    // It is ended while it takes the page in, and again while it tries what was in it: for good reasons or none.
    let (dying, sound) = (Steps { apply: end, ..Steps::default() }, Steps::default());
    let membership = b.store.membership(&b.space).unwrap();
    let space = b.space;
    for _ in 0..2 {
        let (given, store) = (b.page(&page, 1), &mut b.store);
        let records = Records { membership: &membership, keyring: &b.keyring };
        let run = || store.receive_in_steps(&space, given, records, Unknown::Quarantine, 77, dying);
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        b.store = Store::open(b.home.path()).unwrap();
    }
    assert_eq!(b.read_title(&doc(1)), None);
    assert!(b.store.has_suspects(&space).unwrap(), "the next connection tries it");
    let (records, mut report) = (Records { membership: &membership, keyring: &b.keyring }, ReceiveReport::default());
    b.store.retry_suspects(&space, records, 78, sound, &mut report).unwrap();
    assert_eq!((report.changed, b.read_title(&doc(1)).unwrap()), (vec![doc(1)], "culprit".to_owned()));
    assert_eq!(b.store.reads().quarantine(&space, 9).unwrap(), []);
    assert_eq!(a.state(), b.state());
    b.check();
}

#[test]
fn an_envelope_that_ends_the_program_does_so_a_few_times_and_then_no_more() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let Pair { mut a, mut b, .. } = pair();
    let mut page = Vec::new();
    for (n, value) in [(1, "one"), (2, "culprit"), (3, "three")] {
        a.title(1, &doc(n), "first");
        a.title(2, &doc(n), value);
        page.extend(a.send());
    }
    let steps = Steps { apply: end, ..Steps::default() };
    let membership = b.store.membership(&b.space).unwrap();
    let take = |b: &mut Device| {
        let (given, space) = (b.page(&page, 1), b.space);
        let records = Records { membership: &membership, keyring: &b.keyring };
        let store = &mut b.store;
        let run = || store.receive_in_steps(&space, given, records, Unknown::Quarantine, 77, steps);
        let report = catch_unwind(AssertUnwindSafe(run));
        let path = b.home.path().to_owned();
        // Whatever was in memory is gone.
        b.store = Store::open(&path).unwrap();
        report.ok().map(Result::unwrap)
    };
    assert!(take(&mut b).is_none(), "the page ends the program");
    assert_eq!((b.cursor(), b.read_title(&doc(1))), (None, None));
    assert!(take(&mut b).is_none(), "so does the culprit alone");
    assert_eq!(b.cursor(), Some(4), "the cursor has moved on");
    assert_eq!(b.read_title(&doc(1)).unwrap(), "one");
    let retry_with = |b: &mut Device, steps: Steps| {
        let (space, path) = (b.space, b.home.path().to_owned());
        let (records, mut report) =
            (Records { membership: &membership, keyring: &b.keyring }, ReceiveReport::default());
        let store = &mut b.store;
        let run = || store.retry_suspects(&space, records, 78, steps, &mut report).unwrap();
        let ended = catch_unwind(AssertUnwindSafe(run)).is_err();
        b.store = Store::open(&path).unwrap();
        (ended, report.changed)
    };
    for _ in 1..3 {
        assert!(b.store.has_suspects(&b.space).unwrap());
        assert_eq!(retry_with(&mut b, steps), (true, vec![]), "it may have been the power");
    }
    assert_eq!(retry_with(&mut b, steps), (false, vec![doc(3)]), "those behind it go on");
    assert!(!b.store.has_suspects(&b.space).unwrap());
    let aside = b.store.reads().quarantine(&b.space, 9).unwrap();
    assert_eq!(aside.len(), 1);
    assert!(aside[0].reason.starts_with("taking it in ended the program"), "{}", aside[0].reason);
    assert_eq!((b.retry().changed, b.read_title(&doc(2))), (vec![], None), "it is not tried a third time");
    a.title(3, &doc(1), "more");
    let more = a.send();
    assert_eq!(b.receive_with(&more, 4, Unknown::Quarantine).changed, vec![doc(1)]);
}
