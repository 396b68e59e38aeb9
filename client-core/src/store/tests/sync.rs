//! Two devices of one person whose envelopes travel through a list instead of a relay.

use crate::store::query::words;
use lifeos_sync_protocol::frame::{Cursor, Item};
use lifeos_sync_protocol::ids::{EnvelopeId, LogId, MemberId, Roll};
use lifeos_sync_protocol::record::{DeviceKind, Record};

use self::faults::assert_blames_the_peer;
use super::*;
use crate::crypto::SeededRandom;
use crate::delta::{Delta, DocDelta};
use crate::document::GenesisId;
use crate::envelope::StreamTip;
use crate::keys::{DeviceKeys, Keyring, OwnKeys, PhraseLength, RecoveryPhrase, SealKey, health};
use crate::records::{AddDevice, Founding, add_device, found_space, open_epochs};
use crate::witness::Rolls;

mod accept;
mod checkpoint;
mod erase;
mod faults;
mod receipt;
mod steps;
mod witness;

const RANDOM: [u8; 32] = [9; 32];
const MEMBER: MemberId = MemberId([7; 16]);
const LOG: LogId = LogId([8; 16]);

pub(super) struct Device {
    home: tempfile::TempDir,
    pub(super) store: Store,
    keys: DeviceKeys,
    keyring: Keyring,
    relay: RelayId,
    random: SeededRandom,
    space: SpaceId,
    /// What this device gave out so far.
    sent: u32,
}

impl Device {
    fn new(root: &DeviceRoot, space: SpaceId, records: Vec<Record>, seed: u64) -> Self {
        let (home, mut random) = (tempfile::tempdir().unwrap(), SeededRandom::new(seed));
        let keys = root.derive_space(&RANDOM);
        let tip = StreamTip::start(&space, &keys.sign_pk(), &mut random);
        let (device, stream, stream_r32) = (keys.sign_pk(), tip.stream, tip.id);
        let new = NewSpace { space, device, stream, stream_r32, records };
        let mut store = Store::create(home.path(), &NewHome { root, space: new, meta: &[] }).unwrap();
        let relay = store.put_relay(&space, "ws://127.0.0.1:1", None).unwrap();
        let mut device = Self { home, store, keys, keyring: Keyring::default(), relay, random, space, sent: 0 };
        device.open_epochs();
        device
    }

    fn open_epochs(&mut self) {
        let records = self.store.records(&self.space).unwrap();
        self.keyring = open_epochs(&self.store.membership(&self.space).unwrap(), &records, &self.keys);
    }

    fn key(&self) -> SealKey {
        let membership = self.store.membership(&self.space).unwrap();
        health(&self.keys.sign_pk(), OwnKeys::first(&self.keys), &membership, &self.keyring).unwrap()
    }

    pub(super) fn title(&mut self, now_ms: i64, id: &DocId, value: &str) {
        self.set(now_ms, id, "title", value);
    }

    fn set(&mut self, now_ms: i64, id: &DocId, key: &str, value: &str) {
        let edit = |tx: &mut Tx<'_>| tx.edit(id, NOTE_GENESIS, |doc| set(doc, key, value));
        self.store.write(&self.space, now_ms, edit).unwrap();
    }

    pub(super) fn seal(&mut self) -> SealReport {
        let key = self.key();
        let budget = SealBudget::default();
        self.store.seal_pending(&self.space, &self.keys, &key, budget, &mut self.random).unwrap()
    }

    /// Seals and gives out what was not given out before.
    pub(super) fn send(&mut self) -> Vec<Vec<u8>> {
        self.seal();
        let envelopes = self.store.outbox(&self.space, self.sent, usize::MAX, usize::MAX).unwrap();
        self.sent = self.store.own_tip(&self.space).unwrap().seq;
        envelopes.into_iter().map(|sealed| sealed.bytes).collect()
    }

    pub(super) fn page(&self, envelopes: &[Vec<u8>], pos: u64) -> Page {
        let items = (pos..).zip(envelopes).map(|(pos, envelope)| Item { pos, envelope: envelope.clone() }).collect();
        let next = Cursor { log_id: LOG, pos: pos + envelopes.len() as u64, roll: Roll([1; 16]) };
        Page { relay: Some(self.relay), items, next: Some(next), rolls: Rolls::default() }
    }

    fn receive_with(&mut self, envelopes: &[Vec<u8>], pos: u64, unknown: Unknown) -> ReceiveReport {
        let (page, membership) = (self.page(envelopes, pos), self.store.membership(&self.space).unwrap());
        self.store.receive(&self.space, page, &membership, &self.keyring, unknown, 77).unwrap()
    }

    pub(super) fn receive(&mut self, envelopes: &[Vec<u8>]) -> ReceiveReport {
        self.receive_with(envelopes, 1, Unknown::Quarantine)
    }

    fn retry(&mut self) -> ReceiveReport {
        let membership = self.store.membership(&self.space).unwrap();
        self.store.retry_quarantined(&self.space, &membership, &self.keyring, 78).unwrap()
    }

    fn cursor(&self) -> Option<u64> {
        self.store.reads().relay(self.relay).unwrap().cursor.map(|cursor| cursor.pos)
    }

    fn read_title(&mut self, id: &DocId) -> Option<String> {
        let space = self.space;
        let read = |document: &Document| document.read().get(ROOT, "title").unwrap().unwrap().0.into_string().unwrap();
        self.store.read(&space, id, read).unwrap()
    }

    /// Seals what no honest device would, at the tip of its stream.
    fn forge(&mut self, tip: &StreamTip, docs: Vec<DocDelta>) -> crate::envelope::SealedEnvelope {
        let key = self.key();
        let delta = Delta { docs, ..Delta::default() };
        crate::envelope::seal(&self.space, tip, &self.keys, key.epoch(), key.secret(), &delta, &mut self.random)
            .unwrap()
    }

    pub(super) fn state(&self) -> (Vec<DocHeads>, [u8; 32]) {
        (self.store.reads().heads(&self.space).unwrap(), self.store.projection_digest(&self.space).unwrap())
    }

    fn check(&mut self) {
        for outcome in self.store.check(&mut |_, _| {}).unwrap() {
            assert!(outcome.ok, "{}: {}", outcome.name, outcome.detail);
        }
    }
}

pub(super) struct Pair {
    pub(super) a: Device,
    pub(super) b: Device,
    added: Vec<Record>,
}

/// A founder and a second device; `told` whether the founder has the record that adds it.
fn pair_with(told: bool) -> Pair {
    let mut random = SeededRandom::new(1);
    let (root_a, root_b) = (DeviceRoot::generate(&mut random), DeviceRoot::generate(&mut random));
    let recovery = RecoveryPhrase::generate(PhraseLength::Words12, &mut random).derive_home();
    let keys_a = root_a.derive_space(&RANDOM);
    let founding =
        Founding { genesis_random: RANDOM, member: MEMBER, keys: &keys_a, recovery: &recovery, relays: Vec::new() };
    let founded = found_space(&founding, &mut random).unwrap();
    let records = vec![founded.genesis, founded.epoch];
    let mut a = Device::new(&root_a, founded.space, records.clone(), 2);
    let membership = a.store.membership(&founded.space).unwrap();
    let entry = root_b.derive_space(&RANDOM).entry(&RANDOM, &MEMBER, DeviceKind::Normal);
    let add = AddDevice {
        membership: &membership,
        records: &records,
        keyring: &a.keyring,
        keys: &keys_a,
        member: MEMBER,
        entry,
        name: "phone",
    };
    let added = add_device(&add, &mut random).unwrap();
    if told {
        assert_eq!(a.store.put_records(&founded.space, &added).unwrap(), 1);
        assert_eq!(a.store.put_records(&founded.space, &added).unwrap(), 0);
    }
    let b = Device::new(&root_b, founded.space, [records, added.clone()].concat(), 3);
    Pair { a, b, added }
}

pub(super) fn pair() -> Pair {
    pair_with(true)
}

#[test]
fn two_devices_converge_to_equal_heads_and_rows() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "from a");
    let first = a.send();
    assert_eq!(b.receive(&first).changed, vec![doc(1)]);
    a.title(2, &doc(1), "again a");
    a.title(2, &doc(3), "only a");
    b.set(3, &doc(1), "source:path", "x.md");
    b.title(3, &doc(2), "from b");
    let (from_a, from_b) = (a.send(), b.send());
    assert_eq!(b.receive(&from_a).changed.len(), 2);
    assert_eq!(a.receive(&from_b).changed.len(), 2);
    assert_eq!(a.state(), b.state());
    assert_eq!(a.state().0.len(), 3);
    for device in [&mut a, &mut b] {
        assert_eq!(device.read_title(&doc(1)).unwrap(), "again a");
        assert_eq!(device.store.search(&device.space.clone(), &words("again"), 9).unwrap().len(), 1);
        device.check();
    }
}

#[test]
fn sealing_twice_gives_nothing_new_and_the_bytes_never_change() {
    let Pair { mut a, .. } = pair();
    a.title(1, &doc(1), "one");
    a.title(2, &doc(1), "two");
    a.title(3, &doc(2), "three");
    assert_eq!(a.seal(), SealReport { envelopes: 1, changes: 3, more: false });
    assert_eq!(a.seal(), SealReport::default());
    let before = a.store.outbox(&a.space, 0, usize::MAX, 99).unwrap();
    assert_eq!(a.store.reads().pending_count(&a.space).unwrap(), 0);
    let store = Store::open(a.home.path()).unwrap();
    assert_eq!(store.outbox(&a.space, 0, usize::MAX, 99).unwrap(), before);
    assert_eq!(store.own_tip(&a.space).unwrap().seq, 1);
}

#[test]
fn sealing_goes_on_where_the_budget_ended() {
    let Pair { mut a, mut b, .. } = pair();
    for n in 0..20 {
        a.title(n, &doc(1), &format!("title {n}"));
    }
    a.title(30, &doc(2), "other");
    let key = a.key();
    let budget = SealBudget { change_bytes_max: 500 };
    let mut rounds = 0;
    loop {
        let report = a.store.seal_pending(&a.space, &a.keys, &key, budget, &mut a.random).unwrap();
        rounds += 1;
        if !report.more {
            break;
        }
    }
    assert!(rounds > 3);
    let envelopes = a.send();
    b.receive(&envelopes);
    assert_eq!(a.state(), b.state());
}

#[test]
fn the_outbox_resumes_after_any_envelope() {
    let Pair { mut a, .. } = pair();
    for n in 0..5 {
        a.title(n, &doc(1), &format!("title {n}"));
        a.seal();
    }
    let all = a.store.outbox(&a.space, 0, usize::MAX, usize::MAX).unwrap();
    assert_eq!(all.iter().map(|sealed| sealed.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(a.store.outbox(&a.space, 2, usize::MAX, 2).unwrap(), all[2..4]);
    assert_eq!(a.store.outbox(&a.space, 4, 1, 9).unwrap(), all[4..], "one is given even if it is too large");
    assert_eq!(a.store.outbox(&a.space, 5, usize::MAX, 9).unwrap(), vec![]);
    a.store.acked(a.relay, 3).unwrap();
    a.store.acked(a.relay, 2).unwrap();
    let state = a.store.reads().relay(a.relay).unwrap();
    assert_eq!(state.own_acked_seq, 3);
    let forgotten = a.store.put_relay(&a.space, "wss://other.example", None).unwrap();
    a.store.acked(forgotten, 4).unwrap();
    a.store.reset_relay(forgotten).unwrap();
    assert_eq!(a.store.reads().relay(forgotten).unwrap().own_acked_seq, 0, "another log has nothing yet");
    assert_eq!(a.store.reads().unsent_count(&a.space, &[state]).unwrap(), 2);
    let held = a.store.have(&a.space).unwrap();
    assert_eq!((held.len(), held[0].tip), (1, 5));
    assert_eq!(a.store.envelopes(&a.space, &held[0].stream, (2, 4), usize::MAX, 9).unwrap(), all[1..4]);
}

#[test]
fn a_device_nearby_is_in_no_list_of_relays_and_is_forgotten() {
    let Pair { mut a, .. } = pair();
    a.title(1, &doc(1), "one");
    a.seal();
    let relays = a.store.relays(&a.space).unwrap();
    let put = |store: &mut Store, space: &SpaceId| store.put_peer(space, "lifeos+peer://10.0.0.1:1", &SignPk([7; 32]));
    let peer = put(&mut a.store, &a.space).unwrap();
    a.store.acked(peer, 1).unwrap();
    let known = a.store.reads().relay(peer).unwrap();
    assert_eq!((known.key, known.cursor, known.own_acked_seq), (Some(SignPk([7; 32])), None, 1));
    assert!(peer.is_peer() && !a.relay.is_peer());
    assert_eq!(a.store.relays(&a.space).unwrap(), relays, "and nothing counts as sent because of it");
    // After a crash it begins anew, and no relay gets its number.
    let again = put(&mut a.store, &a.space).unwrap();
    assert_eq!(a.store.reads().relay(again).unwrap().own_acked_seq, 0);
    let added = a.store.put_relay(&a.space, "wss://other.example", None).unwrap();
    assert!(!added.is_peer() && added != a.relay);
    a.store.remove_peers(&a.space).unwrap();
    assert!(matches!(a.store.reads().relay(again), Err(StoreError::UnknownRelay)));
    assert_eq!(a.store.relays(&a.space).unwrap().len(), relays.len() + 1);
}

#[test]
fn receiving_a_page_twice_changes_nothing() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "one");
    let mut page = a.send();
    a.title(2, &doc(1), "two");
    page.extend(a.send());
    let first = b.receive(&page);
    assert_eq!((first.received, first.duplicates), (2, 0));
    let before = b.state();
    let again = b.receive(&page);
    assert_eq!(again, ReceiveReport { duplicates: 2, ..ReceiveReport::default() });
    assert_eq!(b.state(), before);
    let own = a.receive(&page);
    assert_eq!((own.duplicates, own.own_stream_ahead), (2, false));
    assert_eq!(a.store.reads().relay(a.relay).unwrap().own_acked_seq, 2);
    assert_eq!(a.cursor(), Some(3));
}

#[test]
fn a_bad_envelope_in_a_page_is_set_aside_and_its_neighbours_apply() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "one");
    let first = a.send();
    // Well sealed by an enrolled device, but no change inside.
    let tip = a.store.own_tip(&a.space).unwrap();
    let garbage = DocDelta { doc: doc(2), changes: vec![vec![1, 2, 3]], genesis: NOTE_GENESIS };
    let forged = a.forge(&tip, vec![garbage]);
    let stream = crate::store::records::find_space(&a.store.conn, &a.space).unwrap().stream_row;
    seal::insert_envelope(&a.store.conn, stream, &forged).unwrap();
    seal::move_tip(&a.store.conn, stream, &StreamTip { seq: forged.seq, id: forged.id.0, ..tip }).unwrap();
    a.title(2, &doc(1), "two");
    let second = a.send();
    assert_eq!(second.len(), 2, "the forged one and the next");

    let page = [first[0].clone(), second[0].clone(), second[1].clone()];
    let report = b.receive(&page);
    assert_eq!((report.received, report.changed), (3, vec![doc(1)]));
    assert_eq!(report.quarantined, vec![(forged.id, "Automerge does not parse the change".to_owned())]);
    assert_eq!(b.cursor(), Some(4), "the cursor moved past all of it");
    assert_eq!(b.read_title(&doc(1)).unwrap(), "two");
    let again = b.receive(&page);
    assert_eq!((again.received, again.duplicates), (0, 3), "not twice");
    b.check();
}

#[test]
fn an_unknown_author_holds_the_page_until_records_come() {
    let Pair { mut a, mut b, added } = pair_with(false);
    b.title(1, &doc(1), "from b");
    let from_b = b.send();
    a.title(1, &doc(2), "own");
    let own = a.send();
    let page = [own, from_b].concat();
    let report = a.receive_with(&page, 1, Unknown::Hold);
    let stream = b.store.own_tip(&b.space).unwrap().stream;
    assert_eq!(report.held, Some(NeedRecords::Author(stream)));
    assert_eq!((report.duplicates, a.cursor()), (1, None), "what lies before is taken, the cursor waits");
    a.store.put_records(&a.space.clone(), &added).unwrap();
    let report = a.receive_with(&page, 1, Unknown::Hold);
    assert_eq!((report.held, report.changed, a.cursor()), (None, vec![doc(1)], Some(3)));
}

#[test]
fn an_unknown_epoch_is_held_first_and_set_aside_when_records_are_equal() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "one");
    let page = a.send();
    b.keyring = Keyring::default();
    let report = b.receive_with(&page, 1, Unknown::Hold);
    assert!(matches!(report.held, Some(NeedRecords::Epoch(_))));
    assert_eq!(b.store.have(&b.space).unwrap(), vec![]);
    let report = b.receive_with(&page, 1, Unknown::Quarantine);
    assert_eq!((report.held, report.quarantined.len(), b.cursor()), (None, 1, Some(2)));
}

#[test]
fn changes_that_depend_on_others_wait_for_them() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "base");
    let base = a.send();
    b.receive(&base);
    b.title(2, &doc(1), "on top");
    let top = b.send();
    // A third device that gets the later change first.
    let mut random = SeededRandom::new(50);
    let root = DeviceRoot::generate(&mut random);
    let mut late = Device::new(&root, a.space, a.store.records(&a.space).unwrap(), 51);
    late.keyring = a.keyring.clone();
    let report = late.receive_with(&top, 1, Unknown::Quarantine);
    assert_eq!((report.changed.len(), report.quarantined.len()), (0, 0));
    assert_eq!(late.store.reads().waiting_count(&late.space).unwrap(), 1);
    let told = WaitingChanges { author: Some(b.keys.sign_pk()), changes: 1, documents: 1 };
    assert_eq!(late.store.reads().waiting_changes(&late.space).unwrap(), [told]);
    assert_eq!(late.store.reads().document_count(&late.space).unwrap(), 0);
    let report = late.receive_with(&base, 2, Unknown::Quarantine);
    assert_eq!(report.changed, vec![doc(1)]);
    assert_eq!(late.store.reads().waiting_count(&late.space).unwrap(), 0);
    assert_eq!(late.store.reads().waiting_changes(&late.space).unwrap(), []);
    assert_eq!(late.read_title(&doc(1)).unwrap(), "on top");
    assert_eq!(late.state(), b.state());
}

#[test]
fn a_home_restored_from_an_older_copy_catches_up_or_says_that_it_cannot() {
    let Pair { mut a, mut b, .. } = pair();
    a.title(1, &doc(1), "old");
    let first = a.send();
    a.store.checkpoint().unwrap();
    let copies = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for copy in &copies {
        for file in [DATABASE_FILE, DEVICE_KEY_FILE] {
            std::fs::copy(a.home.path().join(file), copy.path().join(file)).unwrap();
        }
    }
    a.title(2, &doc(1), "newer");
    let second = a.send();
    b.receive(&[first, second.clone()].concat());

    // Restored, and nothing edited since.
    a.store = Store::open(copies[0].path()).unwrap();
    let report = a.receive(&second);
    assert!(report.own_stream_ahead);
    assert_eq!(report.changed, vec![doc(1)]);
    a.title(3, &doc(1), "after");
    a.sent = 2;
    let third = a.send();
    assert_eq!(b.receive(&third).changed, vec![doc(1)]);
    assert_eq!(a.state(), b.state());

    // Restored, and edited before it heard of its own later envelopes.
    a.store = Store::open(copies[1].path()).unwrap();
    a.title(4, &doc(1), "elsewhere");
    assert!(a.receive(&second).own_stream_ahead);
    let key = a.key();
    let sealed = a.store.seal_pending(&a.space, &a.keys, &key, SealBudget::default(), &mut a.random);
    assert!(matches!(sealed, Err(StoreError::StreamForked)));
    assert_eq!(a.read_title(&doc(1)).unwrap(), "elsewhere", "the edit is still here");
}

#[test]
fn what_others_invent_about_the_own_stream_stops_nothing() {
    let Pair { mut a, .. } = pair();
    a.title(1, &doc(1), "one");
    let mut ahead = a.send();
    let tip = a.store.own_tip(&a.space).unwrap();
    let mut next = a.forge(&tip, vec![]).bytes;
    for forged in ahead.iter_mut().chain([&mut next]) {
        // In the salt and in the signature: another envelope, signed by nobody.
        forged[72] ^= 1;
        *forged.last_mut().unwrap() ^= 1;
    }
    ahead.push(next);
    a.title(2, &doc(1), "two");
    for forged in ahead {
        assert_blames_the_peer(&mut a, &[forged]);
    }
    assert_eq!(a.seal().envelopes, 1);
}

#[test]
fn a_second_envelope_for_one_position_is_a_fork() {
    let Pair { mut a, mut b, .. } = pair();
    let start = a.store.own_tip(&a.space).unwrap();
    let other = a.forge(&start, vec![]);
    a.title(1, &doc(1), "one");
    let page = a.send();
    b.receive(&page);
    let report = b.receive(&[other.bytes]);
    assert_eq!(report.quarantined, vec![(other.id, "the stream forks here".to_owned())]);
    assert_eq!(b.read_title(&doc(1)).unwrap(), "one");
}

#[test]
fn a_first_sync_of_many_documents_leaves_no_work_for_later_and_is_searchable_at_once() {
    let Pair { mut a, mut b, .. } = pair();
    // The first hundred are one change each, as this engine writes a new note; the others have a history.
    let write = |tx: &mut Tx<'_>| {
        (0..300_u32).try_for_each(|n| {
            tx.edit(&numbered(n), NOTE_GENESIS, |doc| set(doc, "title", &format!("note number{n}")))?;
            if n < 100 { Ok(()) } else { tx.edit(&numbered(n), NOTE_GENESIS, |doc| set(doc, "kind", "note")) }
        })
    };
    a.store.write(&a.space.clone(), 5, write).unwrap();
    let page = a.send();
    assert_eq!(b.receive(&page).changed.len(), 300);
    assert_eq!(b.store.reads().search_dirty_count().unwrap(), 0);
    assert_eq!(b.store.search(&b.space.clone(), &words("number299"), 5).unwrap()[0].doc, numbered(299));
    let count = |sql: &str| -> i64 { b.store.conn.query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!((count("SELECT count(*) FROM change"), count("SELECT count(*) FROM snapshot")), (100, 200));
    assert_eq!(count("SELECT count(*) FROM mark"), 0);
    assert_eq!(a.state(), b.state());
    b.check();
}

#[test]
fn a_whole_note_is_stored_without_being_built_and_goes_on_like_any_other() {
    let Pair { mut a, mut b, .. } = pair();
    let markdown = "# Head\n\nbody with **bold**, a [[Link]] and #tag\n\n- [ ] todo\n";
    let parsed = crate::modules::notes::markdown::parse(markdown);
    let draft = crate::modules::notes::Draft { title: "whole", markdown, ..Default::default() };
    let note = crate::modules::notes::whole::WholeNote::new(&draft, &parsed, 5).unwrap();
    for (n, at_once) in [(1, true), (2, false)] {
        a.store.write::<_, StoreError>(&a.space.clone(), 5, |tx| tx.create_note(&doc(n), &note, at_once)).unwrap();
    }
    let again = a.store.write::<_, StoreError>(&a.space.clone(), 6, |tx| tx.create_note(&doc(1), &note, true));
    assert!(matches!(again, Err(StoreError::WrongKind)), "a document is made once");
    assert_eq!(a.store.reads().search_dirty_count().unwrap(), 1);
    let page = a.send();
    assert_eq!(b.receive(&page).changed, vec![doc(1), doc(2)]);
    assert_eq!((a.state(), b.store.documents.len()), (b.state(), 0), "nothing was loaded to receive them");
    for device in [&mut a, &mut b] {
        let hits = device.store.search(&device.space.clone(), &words("bold"), 9).unwrap();
        assert_eq!(hits.len(), 2);
    }
    // Opened, edited on both sides, and met again: also by a device that gets the first change and the others at once.
    b.title(7, &doc(1), "from b");
    a.set(8, &doc(1), "kind", "task");
    let (from_a, from_b) = (a.send(), b.send());
    a.receive_with(&from_b, 1, Unknown::Quarantine);
    b.receive_with(&from_a, 3, Unknown::Quarantine);
    assert_eq!(a.state(), b.state());
    assert_eq!(a.read_title(&doc(1)).unwrap(), "from b");
    a.check();
    b.check();
}

fn numbered(n: u32) -> DocId {
    let mut id = [0xee; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    DocId(id)
}

#[test]
fn unknown_kinds_of_documents_are_set_aside() {
    let Pair { mut a, mut b, .. } = pair();
    let start = a.store.own_tip(&a.space).unwrap();
    let foreign = DocDelta { doc: doc(1), changes: vec![vec![0; 20]], genesis: GenesisId(9_999) };
    let forged = a.forge(&start, vec![foreign]);
    let report = b.receive(&[forged.bytes]);
    assert_eq!(report.quarantined, vec![(EnvelopeId(forged.id.0), "unknown or wrong genesis".to_owned())]);
    assert_eq!(b.store.have(&b.space).unwrap().len(), 1, "its place in the stream is taken");
}

/// Writes the fixture of this format, once: `LIFEOS_FIXTURE=<folder> cargo test … -- --ignored`.
#[test]
#[ignore = "writes the fixture of a new format"]
fn write_the_fixture_of_this_format() {
    let Pair { mut a, mut b, .. } = pair();
    b.title(1, &doc(2), "from the phone");
    a.title(2, &doc(1), "Plum cake");
    a.set(3, &doc(1), "source:path", "cakes/plum.md");
    let from_b = b.send();
    let tip = b.store.own_tip(&b.space).unwrap();
    let unknown = b.forge(&tip, vec![DocDelta { doc: doc(9), changes: vec![], genesis: GenesisId(9_999) }]);
    a.receive(&[from_b, vec![unknown.bytes]].concat());
    a.seal();
    a.title(4, &doc(1), "Plum tart");
    a.title(5, &doc(3), "not sealed");
    a.store.index_dirty(2).unwrap();
    let folder = std::env::var("LIFEOS_FIXTURE").unwrap();
    let to = Path::new(&folder).join(format!("home-v{SCHEMA_VERSION}.db"));
    a.store.conn.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
}

#[test]
fn a_home_of_every_format_opens_with_everything_in_it() {
    (1..=SCHEMA_VERSION).for_each(opens_with_everything);
}

/// Every column of every table.
fn columns(store: &Store) -> Vec<String> {
    let sql = "SELECT m.name || '.' || p.name FROM sqlite_schema m, pragma_table_info(m.name) p ORDER BY 1";
    let mut select = store.conn.prepare(sql).unwrap();
    let names = select.query_map([], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

fn opens_with_everything(format: u32) {
    let home = tempfile::tempdir().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/home-v{format}.db"));
    std::fs::copy(fixture, home.path().join(DATABASE_FILE)).unwrap();
    let mut store = Store::open(home.path()).unwrap();
    assert_eq!(columns(&store), columns(&pair().a.store), "format {format}");
    let space = store.reads().spaces().unwrap()[0].space;
    for outcome in store.check(&mut |_, _| {}).unwrap() {
        assert!(outcome.ok, "{}: {}", outcome.name, outcome.detail);
    }
    let reads = store.reads();
    assert_eq!((reads.document_count(&space).unwrap(), reads.pending_count(&space).unwrap()), (3, 2));
    assert_eq!(reads.quarantine(&space, 9).unwrap().len(), 1);
    assert_eq!((store.outbox(&space, 0, usize::MAX, 9).unwrap().len(), store.have(&space).unwrap().len()), (1, 2));
    let found: Vec<DocId> = store.search(&space, &words("plum"), 9).unwrap().into_iter().map(|hit| hit.doc).collect();
    assert_eq!(found, vec![doc(1)]);
    let edit = |tx: &mut Tx<'_>| tx.edit(&doc(1), NOTE_GENESIS, |doc| set(doc, "title", "Cherry tart"));
    assert_eq!(store.write(&space, 9, edit).unwrap().1.docs, vec![doc(1)]);
}
