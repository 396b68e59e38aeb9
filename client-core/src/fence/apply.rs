//! Applying checked changes to a document, so that whatever they do the document stays as it was or becomes
//! what all of them and nothing else make of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use automerge::{ActorId, AutoCommit, AutomergeError, Change, ChangeHash, LoadOptions, TextEncoding};
use lifeos_sync_protocol::ids::{EnvelopeId, StreamId};

use super::limits::COUNTER_LEAP_MAX;
use super::{CheckedDelta, FenceError};
use crate::document::Document;

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
    /// Hashes that are neither in the document nor in the batch.
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

/// Applies the changes of one document in one batch. The document is replaced only by a fork in which every
/// change is present and that can be saved and loaded again; if the batch fails, its envelopes are tried by
/// halves, the culprits are refused and the others applied. Changes already there are passed over.
///
/// Costs one apply, one save and one load for a good batch; each bad envelope adds about 2·log₂(envelopes) applies.
pub fn apply(document: &mut Document, deltas: Vec<CheckedDelta>) -> Applied {
    let mut applied = Applied::default();
    let mut entries: BTreeMap<ChangeHash, Entry> = BTreeMap::new();
    for delta in deltas {
        if delta.genesis != document.genesis() || delta.doc != document.id() {
            let refused = delta.changes.first().map(|change| (change.envelope, FenceError::Genesis));
            applied.refused.extend(refused);
            continue;
        }
        for checked in delta.changes {
            let entry = Entry { envelope: checked.envelope, stream: delta.stream, change: checked.change };
            entries.entry(entry.change.hash()).or_insert(entry);
        }
    }
    entries.retain(|hash, _| document.inspect().get_change_meta_by_hash(hash).is_none());

    let (ready, waiting) = sort_ready(document.inspect(), entries.into_values().collect());
    applied.waiting = waiting;
    let envelopes = by_envelope(ready);
    apply_envelopes(document, envelopes, &mut applied);
    applied
}

/// Orders what can be applied, dependencies first; the rest waits, with what it waits for.
fn sort_ready(doc: &mut AutoCommit, entries: Vec<Entry>) -> (Vec<Entry>, Vec<WaitingChange>) {
    let mut present: BTreeMap<ChangeHash, bool> = BTreeMap::new();
    let mut dependants: BTreeMap<ChangeHash, Vec<usize>> = BTreeMap::new();
    let in_batch: BTreeSet<ChangeHash> = entries.iter().map(|entry| entry.change.hash()).collect();
    let mut open = vec![0_usize; entries.len()];
    for (index, entry) in entries.iter().enumerate() {
        for dep in entry.change.deps() {
            let here = *present.entry(*dep).or_insert_with(|| doc.get_change_meta_by_hash(dep).is_some());
            if !here {
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
    let missing = |entry: &Entry| {
        let known = |dep: &&ChangeHash| !present.get(*dep).copied().unwrap_or(false) && !in_batch.contains(*dep);
        entry.change.deps().iter().filter(known).copied().collect()
    };
    let waits = entries.iter().enumerate().filter(|(index, _)| open[*index] > 0);
    let waiting = waits.map(|(_, entry)| waiting(entry, missing(entry))).collect();
    let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    (order.into_iter().filter_map(|index| entries[index].take()).collect(), waiting)
}

fn waiting(entry: &Entry, missing: Vec<ChangeHash>) -> WaitingChange {
    WaitingChange {
        hash: entry.change.hash(),
        bytes: entry.change.raw_bytes().to_vec(),
        envelope: entry.envelope,
        stream: entry.stream,
        missing,
    }
}

/// Groups by envelope, in the order of each envelope's last change: then whatever an envelope depends on
/// comes before it, as far as envelopes do not depend on each other both ways.
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

fn apply_envelopes(document: &mut Document, envelopes: Vec<Vec<Entry>>, applied: &mut Applied) {
    let Some(first) = envelopes.first().and_then(|entries| entries.first()) else { return };
    let culprit = first.envelope;
    // An earlier half may have lost what these depend on, so what is ready is asked again.
    let count = envelopes.len();
    let all: Vec<Entry> = envelopes.iter().flatten().cloned().collect();
    let (ready, waits) = sort_ready(document.inspect(), all);
    if !waits.is_empty() {
        applied.waiting.extend(waits);
        return apply_envelopes(document, by_envelope(ready), applied);
    }
    match attempt(document, &ready) {
        Ok(fork) => {
            document.replace(fork);
            applied.applied.extend(ready.into_iter().map(|entry| AppliedChange {
                hash: entry.change.hash(),
                bytes: entry.change.raw_bytes().to_vec(),
                envelope: entry.envelope,
            }));
        }
        Err(error) if count == 1 => applied.refused.push((culprit, error)),
        Err(_) => {
            let mut first_half = envelopes;
            let second_half = first_half.split_off(count / 2);
            apply_envelopes(document, first_half, applied);
            apply_envelopes(document, second_half, applied);
        }
    }
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
        if change.start_op().get() > max_op + 1 + COUNTER_LEAP_MAX {
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

/// Every change is in, nothing is queued, and the document survives being stored: one that could not be loaded
/// again would be lost at the next start.
fn verify(mut fork: AutoCommit, ready: &[Entry]) -> Result<AutoCommit, FenceError> {
    let complete = ready.iter().all(|entry| fork.get_change_meta_by_hash(&entry.change.hash()).is_some());
    if !complete || !fork.get_missing_deps(&[]).is_empty() {
        return Err(FenceError::Apply);
    }
    let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
    let saved = fork.save_nocompress();
    let mut loaded = AutoCommit::load_with_options(&saved, options).map_err(|_| FenceError::Apply)?;
    if loaded.get_heads() == fork.get_heads() { Ok(fork) } else { Err(FenceError::Apply) }
}
