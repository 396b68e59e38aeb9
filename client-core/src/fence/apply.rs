//! Applying checked changes to a document, so that whatever they do the document stays as it was or becomes
//! what all of them and nothing else make of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, AutoCommit, AutomergeError, Change, ChangeHash, LoadOptions, TextEncoding};
use lifeos_sync_protocol::ids::{EnvelopeId, StreamId};

use super::limits::COUNTER_LEAP_MAX;
use super::{CheckedDelta, FenceError};
use crate::document::{Document, forget_patches};

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Changes that are now in the document and were not before, dependencies first: what the store appends.
    pub applied: Vec<AppliedChange>,
    /// Changes whose dependencies are not here yet: the store keeps them and tries again when one has come.
    pub waiting: Vec<WaitingChange>,
    /// Envelopes whose part for this document is quarantined. Parts for other documents stand on their own.
    pub refused: Vec<(EnvelopeId, FenceError)>,
}

/// A change that went in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedChange {
    /// Automerge's hash.
    pub hash: ChangeHash,
    /// The raw, uncompressed chunk.
    pub bytes: Vec<u8>,
    /// Where it came from.
    pub envelope: EnvelopeId,
}

/// A change that cannot go in yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingChange {
    /// Automerge's hash.
    pub hash: ChangeHash,
    /// The raw, uncompressed chunk; [`super::check_document`] takes it again.
    pub bytes: Vec<u8>,
    /// Where it came from.
    pub envelope: EnvelopeId,
    /// Its author's stream.
    pub stream: StreamId,
    /// Dependencies that are not in the document: one of them has to come first.
    pub missing: Vec<ChangeHash>,
}

impl Applied {
    /// Whether the document changed.
    #[must_use]
    pub fn changed(&self) -> bool {
        !self.applied.is_empty()
    }
}

#[derive(Clone)]
struct Entry {
    envelope: EnvelopeId,
    stream: StreamId,
    change: Change,
}

/// What is known while a batch is under way.
#[derive(Default)]
struct Run {
    applied: Vec<AppliedChange>,
    waiting: Vec<Entry>,
    refused: Vec<(EnvelopeId, FenceError)>,
}

/// Applies the changes of one document in one batch. The document is replaced only by a fork in which every
/// change is present and that can be saved and loaded again; if the batch fails, its envelopes are tried by
/// halves, the culprits are refused and the others applied. Changes already there are passed over.
///
/// Costs one apply, one save and one load for a good batch; each bad envelope adds about 2·log₂(envelopes) applies.
pub fn apply(document: &mut Document, deltas: Vec<CheckedDelta>) -> Applied {
    let mut run = Run::default();
    let mut entries: BTreeMap<ChangeHash, Entry> = BTreeMap::new();
    for delta in deltas {
        if delta.genesis != document.genesis() || delta.doc != document.id() {
            let refused = delta.changes.first().map(|change| (change.envelope, FenceError::Genesis));
            run.refused.extend(refused);
            continue;
        }
        for checked in delta.changes {
            let entry = Entry { envelope: checked.envelope, stream: delta.stream, change: checked.change };
            entries.entry(entry.change.hash()).or_insert(entry);
        }
    }
    entries.retain(|hash, _| document.inspect().get_change_meta_by_hash(hash).is_none());
    run.waiting = entries.into_values().collect();
    // Again while there is progress: bisecting may separate envelopes that depend on each other.
    loop {
        let entries = std::mem::take(&mut run.waiting);
        let (ready, waiting) = sort_ready(document.inspect(), entries);
        run.waiting = waiting;
        if ready.is_empty() {
            break;
        }
        run.apply_envelopes(document, by_envelope(ready));
    }
    let waiting = run.waiting.into_iter().map(|entry| entry.into_waiting(document.inspect())).collect();
    Applied { applied: run.applied, waiting, refused: run.refused }
}

impl Run {
    /// Applies envelopes in order, by halves when they do not go in together.
    fn apply_envelopes(&mut self, document: &mut Document, mut envelopes: Vec<Vec<Entry>>) {
        let all: Vec<Entry> = envelopes.iter().flatten().cloned().collect();
        // The half before may have lost what these depend on.
        let (ready, waiting) = sort_ready(document.inspect(), all);
        self.waiting.extend(waiting);
        if ready.is_empty() {
            return;
        }
        match (attempt(document, &ready), envelopes.len()) {
            (Ok(fork), _) => {
                document.replace(fork);
                self.applied.extend(ready.into_iter().map(Entry::into_applied));
            }
            (Err(error), 0 | 1) => self.refused.push((ready[0].envelope, error)),
            (Err(_), count) => {
                let ready: BTreeSet<ChangeHash> = ready.iter().map(|entry| entry.change.hash()).collect();
                for entries in &mut envelopes {
                    entries.retain(|entry| ready.contains(&entry.change.hash()));
                }
                let second_half = envelopes.split_off(count / 2);
                self.apply_envelopes(document, envelopes);
                self.apply_envelopes(document, second_half);
            }
        }
    }
}

impl Entry {
    fn into_applied(self) -> AppliedChange {
        AppliedChange { hash: self.change.hash(), bytes: self.change.raw_bytes().to_vec(), envelope: self.envelope }
    }

    fn into_waiting(self, doc: &mut AutoCommit) -> WaitingChange {
        let deps = self.change.deps().iter();
        WaitingChange {
            hash: self.change.hash(),
            bytes: self.change.raw_bytes().to_vec(),
            envelope: self.envelope,
            stream: self.stream,
            missing: deps.filter(|dep| doc.get_change_meta_by_hash(dep).is_none()).copied().collect(),
        }
    }
}

/// Orders what can be applied, dependencies first; the second list has to wait.
fn sort_ready(doc: &mut AutoCommit, entries: Vec<Entry>) -> (Vec<Entry>, Vec<Entry>) {
    let mut dependants: BTreeMap<ChangeHash, Vec<usize>> = BTreeMap::new();
    let mut open = vec![0_usize; entries.len()];
    for (index, entry) in entries.iter().enumerate() {
        for dep in entry.change.deps() {
            if doc.get_change_meta_by_hash(dep).is_none() {
                open[index] += 1;
                dependants.entry(*dep).or_default().push(index);
            }
        }
    }
    // Among independent changes the author's sequence decides, so that of two with one number the first stands.
    let mut queue: Vec<usize> = (0..entries.len()).filter(|index| open[*index] == 0).collect();
    queue.sort_by_key(|index| entries[*index].change.seq());
    let mut queue = VecDeque::from(queue);
    let mut order = Vec::with_capacity(entries.len());
    while let Some(index) = queue.pop_front() {
        order.push(index);
        for dependant in dependants.remove(&entries[index].change.hash()).unwrap_or_default() {
            open[dependant] -= 1;
            if open[dependant] == 0 {
                queue.push_back(dependant);
            }
        }
    }
    let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    let ready = order.into_iter().filter_map(|index| entries[index].take()).collect();
    (ready, entries.into_iter().flatten().collect())
}

/// Groups by envelope, in the order of each envelope's last change: whatever an envelope depends on comes
/// before it, unless envelopes depend on each other both ways.
fn by_envelope(ready: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut groups: BTreeMap<EnvelopeId, (usize, Vec<Entry>)> = BTreeMap::new();
    for (index, entry) in ready.into_iter().enumerate() {
        let group = groups.entry(entry.envelope).or_default();
        group.0 = index;
        group.1.push(entry);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|(last, _)| *last);
    groups.into_iter().map(|(_, entries)| entries).collect()
}

fn attempt(document: &mut Document, ready: &[Entry]) -> Result<AutoCommit, FenceError> {
    catch_unwind(AssertUnwindSafe(|| {
        check_counters(document.inspect(), ready)?;
        check_actors(document.inspect(), ready)?;
        let mut fork = document.fork();
        fork.apply_changes(ready.iter().map(|entry| entry.change.clone())).map_err(|error| match error {
            AutomergeError::DuplicateSeqNumber(..) => FenceError::DuplicateSeq,
            _ => FenceError::Apply,
        })?;
        forget_patches(&mut fork);
        verify(fork, ready)
    }))
    .unwrap_or(Err(FenceError::Panic))
}

/// Operation numbers follow those of the dependencies. `ready` has dependencies first.
fn check_counters(doc: &mut AutoCommit, ready: &[Entry]) -> Result<(), FenceError> {
    let mut newest: BTreeMap<ChangeHash, u64> = BTreeMap::new();
    for Entry { change, .. } in ready {
        let mut max_op = 0;
        for dep in change.deps() {
            let of_doc = || doc.get_change_meta_by_hash(dep).map(|meta| meta.max_op);
            max_op = max_op.max(newest.get(dep).copied().or_else(of_doc).unwrap_or(0));
        }
        let after = (max_op + 1)..=(max_op + 1 + COUNTER_LEAP_MAX);
        if !after.contains(&change.start_op().get()) {
            return Err(FenceError::Counter);
        }
        newest.insert(change.hash(), max_op.max(change.max_op()));
    }
    Ok(())
}

/// An operation that names an actor without any change here makes Automerge panic; most forged changes end here.
fn check_actors(doc: &mut AutoCommit, ready: &[Entry]) -> Result<(), FenceError> {
    let mut known: BTreeSet<ActorId> = ready.iter().map(|entry| entry.change.actor_id().clone()).collect();
    let named = |known: &BTreeSet<ActorId>| {
        let mut others = ready.iter().flat_map(|entry| entry.change.other_actor_ids());
        others.any(|actor| !known.contains(actor))
    };
    if !named(&known) {
        return Ok(());
    }
    // Walking the history is the dear part, so it is done only for changes that touch other devices' work.
    known.extend(doc.get_changes_meta(&[]).into_iter().map(|meta| meta.actor.into_owned()));
    if named(&known) { Err(FenceError::UnknownActor) } else { Ok(()) }
}

/// Every change is in, nothing is queued, and the document survives being stored. The reload is the dear part
/// (about two thirds of an apply), and it is needed: of mutated changes that Automerge takes in, every third makes
/// a document that saves but never loads again, because its history no longer has the hashes it claims.
fn verify(mut fork: AutoCommit, ready: &[Entry]) -> Result<AutoCommit, FenceError> {
    let complete = ready.iter().all(|entry| fork.get_change_meta_by_hash(&entry.change.hash()).is_some());
    if !complete || !fork.get_missing_deps(&[]).is_empty() {
        return Err(FenceError::Apply);
    }
    let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
    let saved = fork.save_nocompress();
    let mut loaded = AutoCommit::load_with_options(&saved, options).map_err(|_| FenceError::Apply)?;
    // What was loaded goes on, not the copy: a document that changes were applied to takes several times the memory.
    if loaded.get_heads() == fork.get_heads() { Ok(loaded) } else { Err(FenceError::Apply) }
}
