//! Versions of a document: who changed it, when, and what; any of them can be read and restored.
//!
//! A version is a run of changes of one device within five minutes, named by the hash of its newest change. Changes
//! are listed by Lamport time and actor, so two devices with equal documents list equal versions. Differences are
//! computed for the page that is asked for and nothing else (10,000 of them take seconds).

use automerge::{AutoCommit, ChangeHash, Patch, PatchAction, ROOT};
use lifeos_sync_protocol::ids::StreamId;

use super::body::{self, Flat};
use super::{front, note, tags};
use crate::document::{Document, DocumentError};
use crate::modules::register::{clear, put, text};
use crate::registry::{self, NOTE_GENESIS};

/// Longest time from the oldest to the newest change of a version.
const VERSION_MS_MAX: i64 = 5 * 60 * 1_000;

/// One version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its newest change.
    pub hash: ChangeHash,
    /// The stream that made it.
    pub actor: StreamId,
    /// Time of its newest change (ms UTC, as claimed by the device).
    pub time_ms: i64,
    /// How many changes it holds.
    pub changes: usize,
    /// What changed, in a few words (`title`, `body +120 −3`).
    pub summary: String,
}

/// What a version is made of, before its difference is computed.
struct Group {
    hash: ChangeHash,
    actor: Vec<u8>,
    time_ms: i64,
    changes: usize,
    /// Heads before its oldest change.
    before: Vec<ChangeHash>,
}

/// Versions, newest first.
#[must_use]
pub fn page(document: &Document, limit: usize, offset: usize) -> Vec<Version> {
    // Reading changes and differences asks for `&mut`.
    let mut doc = document.read().clone();
    let groups = groups(document, &mut doc);
    let page = groups.into_iter().skip(offset).take(limit);
    page.map(|group| version(&mut doc, group)).collect()
}

fn groups(document: &Document, doc: &mut AutoCommit) -> Vec<Group> {
    let genesis = registry::genesis(document.genesis()).map(registry::Genesis::hash);
    let mut changes = doc.get_changes_meta(&[]);
    changes.retain(|change| Some(change.hash) != genesis);
    // A change starts after every operation it depends on: this order never puts an effect before its cause.
    changes.sort_by(|a, b| (b.start_op, b.actor.to_bytes()).cmp(&(a.start_op, a.actor.to_bytes())));
    let mut groups: Vec<Group> = Vec::new();
    for change in changes {
        match groups.last_mut() {
            Some(group) if continues(group, change.actor.to_bytes(), change.timestamp) => {
                group.changes += 1;
                group.before = change.deps;
            }
            _ => groups.push(Group {
                hash: change.hash,
                actor: change.actor.to_bytes().to_vec(),
                time_ms: change.timestamp,
                changes: 1,
                before: change.deps,
            }),
        }
    }
    groups
}

fn continues(group: &Group, actor: &[u8], time_ms: i64) -> bool {
    group.actor == actor && group.time_ms.saturating_sub(time_ms).unsigned_abs() <= VERSION_MS_MAX.unsigned_abs()
}

fn version(doc: &mut AutoCommit, group: Group) -> Version {
    let patches = doc.diff(&group.before, &[group.hash]);
    Version {
        hash: group.hash,
        actor: StreamId::from_slice(&group.actor).unwrap_or(StreamId::ZERO),
        time_ms: group.time_ms,
        changes: group.changes,
        summary: summary(&patches),
    }
}

/// `created`, or the fields that changed, then `body +120 −3` or `format`.
fn summary(patches: &[Patch]) -> String {
    let mut words: Vec<&'static str> = Vec::new();
    let (mut inserted, mut deleted, mut formatted) = (0, 0, false);
    for patch in patches {
        match &patch.action {
            PatchAction::PutMap { key, .. } | PatchAction::DeleteMap { key } if patch.obj == ROOT => {
                let word = word_of(key);
                if !words.contains(&word) {
                    words.push(word);
                }
            }
            PatchAction::SpliceText { value, .. } => inserted += value.make_string().chars().count(),
            PatchAction::DeleteSeq { length, .. } => deleted += length,
            _ => formatted = true,
        }
    }
    if words.contains(&"created") {
        words = vec!["created"];
    }
    words.sort_unstable();
    let mut out = words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match (inserted, deleted) {
        (0, 0) if formatted => out.push("format".to_owned()),
        (0, 0) => {}
        (inserted, 0) => out.push(format!("body +{inserted}")),
        (0, deleted) => out.push(format!("body −{deleted}")),
        (inserted, deleted) => out.push(format!("body +{inserted} −{deleted}")),
    }
    out.join(", ")
}

fn word_of(key: &str) -> &'static str {
    let field = registry::field_of(NOTE_GENESIS, key).map_or("", |field| field.id);
    match field {
        "note.title" | "note.alias" => "title",
        "note.created" => "created",
        "note.del" => "trash",
        "note.notebook" => "notebook",
        "note.pinned" => "pinned",
        "note.tag" => "tags",
        "note.attachment" => "attachments",
        "note.prop" | "note.front" => "properties",
        "note.source.path" | "note.source.hash" => "import",
        _ => "other",
    }
}

/// The document as it was after a change: reads on the result see that state.
fn view(doc: &AutoCommit, version: &ChangeHash) -> Result<AutoCommit, DocumentError> {
    let mut view = doc.clone();
    if view.get_change_meta_by_hash(version).is_none() {
        return Err(DocumentError::InvalidEdit("there is no such version"));
    }
    view.isolate(&[*version]);
    Ok(view)
}

/// The whole note as Markdown, as it was.
///
/// # Errors
/// [`DocumentError::InvalidEdit`] when the version is not in the document.
pub fn markdown_at(document: &Document, version: &ChangeHash) -> Result<String, DocumentError> {
    note::markdown_of(&view(document.read(), version)?)
}

/// The title register as it was; empty if there was none.
///
/// # Errors
/// As [`markdown_at`].
pub fn title_at(document: &Document, version: &ChangeHash) -> Result<String, DocumentError> {
    Ok(text(&view(document.read(), version)?, "title").unwrap_or_default())
}

/// Makes title, front matter, properties, tags and body what they were, by writing the difference to now.
///
/// # Errors
/// As [`markdown_at`].
pub fn restore_version(doc: &mut AutoCommit, version: &ChangeHash) -> Result<(), DocumentError> {
    let old = view(doc, version)?;
    note::set_title(doc, &text(&old, "title").unwrap_or_default())?;
    restore_front(doc, &old)?;
    restore_tags(doc, &old)?;
    let object = body::object(doc)?;
    let (now, target) = (Flat::read(doc, &object, None)?, Flat::read(&old, &object, None)?);
    body::apply(doc, &object, &now, &target, &body::script(&now.units, &target.units))
}

fn restore_front(doc: &mut AutoCommit, old: &AutoCommit) -> Result<(), DocumentError> {
    match text(old, "front") {
        Some(raw) => put(doc, NOTE_GENESIS, "front", raw)?,
        None => clear(doc, NOTE_GENESIS, "front")?,
    }
    let wanted = front::properties(old);
    for (name, _) in front::properties(doc) {
        if !wanted.iter().any(|(other, _)| *other == name) {
            front::set_property(doc, &name, None)?;
        }
    }
    for (name, value) in wanted {
        front::set_property(doc, &name, Some(&value))?;
    }
    Ok(())
}

fn restore_tags(doc: &mut AutoCommit, old: &AutoCommit) -> Result<(), DocumentError> {
    let (now, wanted) = (tags::tags(doc), tags::tags(old));
    for id in now.keys().filter(|id| !wanted.contains_key(*id)) {
        clear(doc, NOTE_GENESIS, &format!("tag/{id}"))?;
    }
    for label in wanted.iter().filter(|(id, _)| !now.contains_key(*id)).map(|(_, label)| label) {
        tags::tag(doc, label)?;
    }
    Ok(())
}
