//! What goes into and comes out of the façade: plain data, ready to be shown or serialized.

use std::path::PathBuf;

use super::JobStatus;
use crate::invite::Fingerprint;

pub use crate::event::ProgressStep;

/// How a home begins.
#[derive(Debug, Clone, Default)]
pub struct InitOptions {
    /// Name of this device, shown to the person's other devices.
    pub device_name: String,
    /// Name of the person.
    pub person_name: String,
    /// `ws://` or `wss://` address of a relay, optionally `#<relay key hex>` to pin it from the start.
    pub relay: Option<String>,
}

/// A note, whole.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Note {
    /// Hex id.
    pub id: String,
    /// Title.
    pub title: String,
    /// Body as Markdown, front matter included.
    pub markdown: String,
    /// Notebook id, if any.
    pub notebook: Option<String>,
    /// What sort of note: `note`, `journal`, `template`, `meeting`, or one of a newer version.
    pub kind: String,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// Properties (front matter), sorted by name; values as JSON.
    pub properties: Vec<(String, serde_json::Value)>,
    /// Pinned to the top of lists.
    pub pinned: bool,
    /// When it was made (ms UTC).
    pub created_ms: i64,
    /// Time of the newest change (ms UTC, as claimed by its device).
    pub updated_ms: i64,
    /// When it was put into the trash.
    pub trashed_ms: Option<i64>,
    /// Edited elsewhere after it was put into the trash.
    pub edited_after_trash: bool,
}

/// A line in a list of notes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NoteSummary {
    /// Hex id.
    pub id: String,
    /// Title.
    pub title: String,
    /// First words of the body.
    pub excerpt: String,
    /// Notebook id, if any.
    pub notebook: Option<String>,
    /// What sort of note: `note`, `journal`, `template`, `meeting`, or one of a newer version.
    pub kind: String,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// Pinned.
    pub pinned: bool,
    /// Newest change (ms UTC).
    pub updated_ms: i64,
    /// In the trash since.
    pub trashed_ms: Option<i64>,
}

/// An attachment of a note.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Attachment {
    /// SHA-256 of the content, hex.
    pub hash: String,
    /// What the note calls it.
    pub name: String,
    /// Hex id of the note.
    pub note: String,
    /// The note's title.
    pub note_title: String,
    /// Media type; empty if it is not known.
    pub media: String,
    /// Bytes of the content; `None`: what it consists of has not come yet.
    pub size: Option<u64>,
    /// Parts that it consists of.
    pub parts: u64,
    /// Those that are on this device.
    pub parts_here: u64,
    /// Stays on this device whatever the cache limit says.
    pub pinned: bool,
}

/// Parts of attachments on this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct AttachmentCache {
    /// Bytes that all spaces of this home may take together; what no relay holds is kept beyond it.
    pub limit_bytes: u64,
    /// Bytes that parts of this space take.
    pub bytes: u64,
    /// Parts of this space.
    pub parts: u64,
    /// Parts that no relay is known to hold yet.
    pub unsent: u64,
    /// Parts that are to be fetched.
    pub wanted: u64,
}

/// What to make a note from.
#[derive(Debug, Clone, Default)]
pub struct NoteDraft {
    /// Title; empty: taken from the first heading or line.
    pub title: String,
    /// Body as Markdown, with optional front matter.
    pub markdown: String,
    /// Notebook id.
    pub notebook: Option<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// What sort of note: `note` (or none), `journal`, `template`, `meeting`.
    pub kind: Option<String>,
}

/// Which notes to list.
#[derive(Debug, Clone, Default)]
pub struct NoteFilter {
    /// In this notebook.
    pub notebook: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// Of this sort: `note`, `journal`, `template`, `meeting`.
    pub kind: Option<String>,
    /// The trash instead of the living.
    pub trashed: bool,
    /// By title, the last first, instead of by time.
    pub by_title: bool,
    /// At most (0: 100).
    pub limit: u32,
    /// Skip the first.
    pub offset: u32,
}

/// A notebook in the tree.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Notebook {
    /// Hex id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Parent notebook id; `None` at the top.
    pub parent: Option<String>,
    /// Depth from the top, 0-based.
    pub depth: u32,
    /// Living notes directly inside.
    pub notes: u64,
    /// Put here because a concurrent move made a cycle.
    pub recovered: bool,
}

/// One version of a note.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// Name of the version: hash of its newest change, hex.
    pub version: String,
    /// When (ms UTC, as claimed by the device).
    pub time_ms: i64,
    /// Which device, by name if known.
    pub device: String,
    /// Which person, by name if known.
    pub person: String,
    /// What changed, in a few words (`title`, `body +120 −3`).
    pub summary: String,
}

/// A found note.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SearchHit {
    /// Hex id.
    pub id: String,
    /// `note`.
    pub kind: String,
    /// Title.
    pub title: String,
    /// Part of the text around the match, matches between `[` and `]`.
    pub snippet: String,
    /// Larger is better.
    pub score: f64,
}

/// A link from one note to another.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Link {
    /// Note that links.
    pub from: String,
    /// Its title.
    pub from_title: String,
    /// Note that is linked, if it exists.
    pub to: Option<String>,
    /// What the link says.
    pub target: String,
    /// `wikilink`, `embed` or `link`.
    pub kind: String,
}

/// A document with the hashes of its newest changes, ascending.
pub type DocumentHeads = (lifeos_sync_protocol::ids::DocId, Vec<[u8; 32]>);

/// Progress of long work: how much of how much, and what.
pub type Progress<'a> = &'a mut (dyn FnMut(ProgressStep) + Send);

/// What one round of sync did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct SyncReport {
    /// Envelopes the relay acknowledged.
    pub pushed: u64,
    /// Envelopes of other devices, or of earlier homes, that the relay had lost and was given back.
    pub given: u64,
    /// Documents that came with a checkpoint instead of edit by edit.
    pub joined: u64,
    /// Envelopes received.
    pub pulled: u64,
    /// Bytes of envelopes sent and received.
    pub bytes_pushed: u64,
    /// Bytes received.
    pub bytes_pulled: u64,
    /// Documents that changed here.
    pub documents_changed: u64,
    /// Envelopes set aside.
    pub quarantined: u64,
    /// Wall time.
    pub duration_ms: u64,
    /// Relays with which it did not go well, while it did with another.
    pub failed: Vec<RelayFailure>,
}

/// A relay with which a sync did not go well.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RelayFailure {
    /// Its address.
    pub relay: String,
    /// Why, and what to do next.
    pub message: String,
}

/// Where things stand, truthfully.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// Home folder.
    pub home: PathBuf,
    /// The space, hex.
    pub space: String,
    /// What it is called, if that is known here.
    pub space_name: String,
    /// This device's id, hex.
    pub device: String,
    /// Its name.
    pub device_name: String,
    /// Documents held.
    pub documents: u64,
    /// Living notes.
    pub notes: u64,
    /// Local changes that are not sealed yet.
    pub changes_pending: u64,
    /// Sealed envelopes that no relay has acknowledged yet.
    pub envelopes_unsent: u64,
    /// Envelopes in quarantine, with reasons.
    pub quarantine: Vec<QuarantineEntry>,
    /// Relays.
    pub relays: Vec<RelayStatus>,
    /// Devices of the space.
    pub devices: Vec<DeviceStatus>,
    /// What a relay did that it should not have done, newest first, until it is dismissed.
    pub warnings: Vec<RelayWarning>,
    /// Envelopes that another device has told of and that have not come, for a minute at least.
    pub missing: Vec<MissingEnvelopes>,
    /// Six digits over records and streams: equal on two devices that hold the same.
    pub state_code: String,
    /// Whether this device may write, and under which key.
    pub keys: KeyStatus,
    /// What a person should look at, in words; empty when all is well.
    pub alarms: Vec<String>,
    /// Devices of this person that were added within the last 24 hours: if one is not theirs, it must go.
    pub new_devices: Vec<NewDeviceNotice>,
    /// Shared spaces of this home, hex, that the recovery phrase does not bring back.
    pub spaces_uncovered: Vec<String>,
    /// The recovery phrase in force was made or replaced since words were last typed back on this device.
    pub phrase_unchecked: bool,
    /// The space is closed, and where it goes on.
    pub closed: Option<Closing>,
    /// Other spaces of this home in which something is to be looked at.
    pub other_spaces: Vec<SpaceNotice>,
    /// The newest checkpoint that counts or may come to count.
    pub checkpoint: Option<CheckpointStatus>,
    /// Documents that came with a checkpoint and were not looked at yet: they are, before they are changed.
    pub documents_unverified: u64,
    /// Documents that came with a checkpoint and were made by a newer version of this app: they are kept and passed on.
    pub documents_newer: u64,
    /// A checkpoint that is being taken in: documents so far, and all.
    pub joining: Option<Joining>,
    /// Parts of attachments here: held, still to be sent, still to be fetched.
    pub attachments: AttachmentCache,
    /// Proofs that a relay lied whose warning was dismissed, or whose relay is not used any more.
    pub proofs: Vec<RelayWarning>,
    /// What this process and others of this home do in the background now.
    pub jobs: Vec<JobStatus>,
    /// Nothing is done in the background until then (ms UTC), because a person asked.
    pub jobs_paused_ms: Option<i64>,
    /// Documents of which lists still show what an earlier version of this program made of them.
    pub documents_unprojected: u64,
}

/// A note that is erased or is to be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ErasureStatus {
    /// The note's id, hex.
    pub id: String,
    /// Stable name: `scheduled`, `untold`, `told`, `by_checkpoint`.
    pub state: String,
    /// When it takes place (ms UTC), if it is only planned.
    pub due_ms: Option<i64>,
    /// Since when it is so (ms UTC).
    pub since_ms: i64,
    /// Only its history goes.
    pub history_only: bool,
    /// The note in which its text goes on, hex.
    pub successor: Option<String>,
    /// Edits of this device that were never sent and went with it.
    pub unsent_edits: u64,
    /// What was typed on other devices while only the history was erased, and is not in the new note; empty: nothing.
    pub late_text: String,
    /// From when on devices and relays may delete the sealed edits (ms UTC); `None`: no checkpoint without them is endorsed.
    pub effective_ms: Option<i64>,
    /// Devices, and what is known of them.
    pub devices: Vec<ErasureHolder>,
    /// Relays, and what is known of them.
    pub relays: Vec<ErasureHolder>,
}

/// A device or relay that holds, or held, a note that was erased.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ErasureHolder {
    /// Its id, hex, or address.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Stable name: of a device `erased`, `confirmed`, `asked`, `not_heard`; of a relay `not_told`, `told`, `waiting`,
    /// `may_forget`.
    pub state: String,
    /// In words.
    pub text: String,
    /// When it was last heard of (ms UTC).
    pub heard_ms: Option<i64>,
}

/// A checkpoint: one picture of a space that stands for all edits up to it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CheckpointStatus {
    /// Its record, hex.
    pub id: String,
    /// Whose device made it, by name if known.
    pub made_by: String,
    /// Stable name: `proposed`, `endorsed`, `in_effect`, `blocked`.
    pub standing: String,
    /// In words.
    pub text: String,
    /// From when on the edits before it may be forgotten (ms UTC), if nobody objects; `None`: it is not endorsed.
    pub effective_ms: Option<i64>,
}

/// How much of a checkpoint has been taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Joining {
    /// Documents that are here.
    pub documents: u64,
    /// Documents that are in it.
    pub documents_all: u64,
    /// Bytes of chunks that are here.
    pub bytes: u64,
    /// Bytes of all chunks.
    pub bytes_all: u64,
    /// Lists, agendas and what was touched last are here: the device can be used.
    pub is_usable: bool,
}

/// Something a relay did that it should not have done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RelayWarning {
    /// Stable name: `log_rolled_back`, `log_replaced`, `equivocation_proven`, `equivocation`, `misbehaved`.
    pub kind: String,
    /// In words, with what to do.
    pub message: String,
    /// The relay's address.
    pub relay: String,
    /// When it was noticed first (ms UTC).
    pub since_ms: i64,
    /// How often.
    pub times: u64,
    /// What the relay signed, if that proves it: LOG_STATEMENT frames, hex; else empty.
    pub evidence: String,
}

/// Envelopes that exist and are not here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MissingEnvelopes {
    /// Who wrote them, by name if known.
    pub author: String,
    /// Who told of them.
    pub told_by: String,
    /// How many.
    pub envelopes: u32,
    /// Since when they are missing (ms UTC).
    pub since_ms: i64,
    /// Missing for a day: the relay may be withholding them.
    pub alarm: bool,
}

/// Keys and rights of this device.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeyStatus {
    /// Edits are sealed and sent.
    pub may_write: bool,
    /// The same in words, with what to do if not.
    pub text: String,
    /// `owner`, `admin`, `editor`, `reader` or `none`.
    pub role: String,
    /// Generation of the current key; 0: there is none that may be used.
    pub generation: u32,
    /// Key generations held.
    pub held: u64,
    /// Key generations of the space.
    pub known: u64,
}

/// A member of the space.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MemberStatus {
    /// Hex.
    pub member: String,
    /// Name, if known.
    pub name: String,
    /// `approved` by who let them in, their `own` word, or `none` without a name.
    pub name_source: String,
    /// `owner`, `admin`, `editor` or `reader`.
    pub role: String,
    /// The person of this device.
    pub this: bool,
    /// Devices in force, the paper key not counted.
    pub devices: u64,
}

/// What a removal or demotion did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RemovalReport {
    /// Who was meant.
    pub name: String,
    /// Devices that were removed, hex.
    pub devices: Vec<String>,
    /// Links without approval by which they could come in again, and which this device may not withdraw, hex.
    pub links_open: Vec<String>,
    /// A new key was made with it.
    pub new_key: bool,
    /// One is called for and not made yet: the next sync of a device that may write makes it.
    pub key_due: bool,
    /// Nothing is sealed until then.
    pub sealing_waits: bool,
    /// The relay has the record: from now on it refuses the removed devices.
    pub told_relay: bool,
    /// Why it does not.
    pub untold: Option<String>,
    /// The person's other spaces, when a device of one's own was removed from all of them.
    pub spaces: Vec<SpaceRemoval>,
}

/// What became of a device of one's own in another space.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SpaceRemoval {
    /// The space, hex.
    pub space: String,
    /// What it is called; nothing if that is not known here.
    pub name: String,
    /// What became of it.
    pub outcome: RemovalOutcome,
    /// Why it waits.
    pub reason: Option<String>,
}

/// What became of a device in one space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RemovalOutcome {
    /// It is removed, and the relay knows.
    Removed,
    /// The next sync of one of the person's devices removes it, or tells the relay.
    Waiting,
    /// It is not there, or not any more.
    Absent,
    /// A device of the person is there of which nothing tells who it is at home: it may be this one.
    Unknown,
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RotationReport {
    /// Generation of the new key.
    pub generation: u32,
    /// The relay has it.
    pub told_relay: bool,
    /// Why it does not.
    pub untold: Option<String>,
}

/// A space of this home.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SpaceSummary {
    /// Hex id.
    pub id: String,
    /// Its name, if one is known here.
    pub name: String,
    /// The home space, which is this person's alone.
    pub home: bool,
    /// Commands work in it when none is named.
    pub in_use: bool,
    /// What this device's person is here: `owner`, `admin`, `editor`, `reader`, or `none` after leaving.
    pub role: String,
    /// Members in force.
    pub members: u64,
    /// Nothing new should be begun here.
    pub closed: bool,
    /// Where the members of a closed space go on, hex, if who closed it said so.
    pub successor: Option<String>,
}

/// A space was closed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Closing {
    /// Where its members go on, hex, if who closed it said so.
    pub successor: Option<String>,
    /// What that space is called; nothing if this home is not in it.
    pub name: Option<String>,
}

/// What a person should look at in a space.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct SpaceNotice {
    /// Hex id.
    pub space: String,
    /// Its name, if one is known here.
    pub name: String,
    /// In words, what there is to look at.
    pub what: Vec<String>,
    /// Warnings about its relays.
    pub warnings: u64,
    /// Devices of this person that were added lately.
    pub new_devices: u64,
    /// What does not heal by itself.
    pub alarms: u64,
    /// This device is no member any more, and did not leave by itself.
    pub removed: bool,
    /// The space is closed.
    pub closed: bool,
}

/// What an invitation offers.
#[derive(Debug, Clone, Copy)]
pub struct InviteOptions {
    /// Editor or Reader.
    pub role: lifeos_sync_protocol::record::Role,
    /// How long it can be used.
    pub lives_ms: u64,
    /// How many may join with it.
    pub uses_max: u32,
    /// Without approval: whoever has the link reads at once.
    pub auto: bool,
}

/// An invitation of a space.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InviteSummary {
    /// Hex id.
    pub id: String,
    /// What who joins becomes.
    pub role: String,
    /// When it ends (ms UTC).
    pub expires_ms: i64,
    /// Requests that count.
    pub uses: u64,
    /// How many may join.
    pub uses_max: u64,
    /// Nobody has to approve.
    pub auto: bool,
    /// The device that made it, by name if known.
    pub by: String,
    /// `open`, `expired`, `used up`, `revoked` or `closed`.
    pub state: String,
}

/// Somebody who asks to join.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct JoinRequest {
    /// Hex id.
    pub id: String,
    /// The invitation, hex.
    pub invite: String,
    /// What they call themselves; only the device that made the invitation can read it.
    pub name: String,
    /// What they would become.
    pub role: String,
    /// Six numbers that their device shows, too.
    pub fingerprint: Fingerprint,
}

/// What asking to join led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinOutcome {
    /// Somebody in the space has to approve.
    Waiting {
        /// Six numbers to compare with them; nothing when they are not known any more.
        fingerprint: Option<Fingerprint>,
    },
    /// The space is one of this home's.
    Joined {
        /// The space.
        space: lifeos_sync_protocol::ids::SpaceId,
    },
}

/// A device of this person that was added lately.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NewDeviceNotice {
    /// Hex id.
    pub device: String,
    /// Its name, if known.
    pub name: String,
    /// The device that let it in, by name if known.
    pub by: String,
    /// When this device heard of it (ms UTC).
    pub noticed_ms: i64,
}

/// An envelope that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct QuarantineEntry {
    /// Hex.
    pub envelope: String,
    /// Hex.
    pub stream: String,
    /// Position.
    pub seq: u32,
    /// Author device, by name if known.
    pub device: String,
    /// In words.
    pub reason: String,
    /// Stable name of the kind of reason, e.g. `unknown_key`.
    pub kind: String,
    /// What to do, in words.
    pub next: String,
    /// Since when.
    pub since_ms: i64,
}

/// One relay as seen from here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RelayStatus {
    /// Address.
    pub url: String,
    /// Its pinned key, hex.
    pub key: Option<String>,
    /// Position reached in its log.
    pub position: u64,
    /// When the last sync ended well.
    pub synced_ms: Option<i64>,
    /// Sealed envelopes of this device that it has not acknowledged yet.
    pub envelopes_unsent: u64,
    /// Why it is not connected, if this process tried and it did not work since.
    pub trouble: Option<RelayTrouble>,
    /// What it makes of where this device is woken ([`RelayWakeup::standing`](super::RelayWakeup)), if that is set.
    pub wakeup: Option<&'static str>,
}

/// What stands between this device and a relay.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RelayTrouble {
    /// Why, and what to do next, in words.
    pub reason: String,
    /// When it began (ms UTC).
    pub since_ms: i64,
    /// Tries in a row that failed.
    pub failures: u32,
    /// When it is tried next (ms UTC); a sync that a person asks for does not wait.
    pub next_ms: i64,
    /// It is left alone for a while, because trying did not help.
    pub rests: bool,
    /// It does not get better until somebody does something.
    pub needs_person: bool,
}

/// Who has the newest edits of one note, by their own word.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NoteReceipts {
    /// The note, hex.
    pub note: String,
    /// Its title.
    pub title: String,
    /// Edits of it on this device that are not sealed yet, and so nowhere else.
    pub changes_pending: u64,
    /// Every other device of the space.
    pub devices: Vec<NoteDevice>,
    /// Every relay of the space.
    pub relays: Vec<NoteRelay>,
}

/// What another device has of a note.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NoteDevice {
    /// Hex.
    pub device: String,
    /// Name, if known.
    pub name: String,
    /// Whose it is, if known.
    pub person: String,
    /// Stable name: `has`, `not_confirmed`, `not_known`.
    pub reach: String,
    /// In words, with what to do.
    pub text: String,
    /// When the device was last heard of here (ms UTC).
    pub heard_ms: Option<i64>,
}

/// What a relay has of this device's edits of a note.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NoteRelay {
    /// Address.
    pub url: String,
    /// It has acknowledged all of them.
    pub has: bool,
}

/// One device of the space.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DeviceStatus {
    /// Hex.
    pub device: String,
    /// Name, if known.
    pub name: String,
    /// This one.
    pub this: bool,
    /// `normal`, `recovery` or `archive`.
    pub kind: String,
    /// Envelopes of it that are applied here.
    pub envelopes: u64,
    /// What it said of what it holds; `None`: nothing yet, or it is this one.
    pub receipt: Option<DeviceReceipt>,
}

/// What another device said of what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct DeviceReceipt {
    /// Everything that this device ever sent has been confirmed, and so has all else that is here.
    pub complete: bool,
    /// When it had last confirmed everything that was here (ms UTC).
    pub complete_ms: Option<i64>,
    /// Envelopes of this device that it has not confirmed.
    pub unconfirmed_own: u64,
    /// Envelopes held here that it has not confirmed, whoever wrote them.
    pub unconfirmed: u64,
    /// Envelopes that it set aside.
    pub set_aside: u32,
    /// When its newest receipt was made, by its own clock (ms UTC).
    pub said_ms: Option<i64>,
    /// When it was last heard of here (ms UTC).
    pub heard_ms: i64,
}

/// What the doctor found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct DoctorReport {
    /// All checks held.
    pub ok: bool,
    /// One line a check: name, held, detail.
    pub checks: Vec<DoctorCheck>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DoctorCheck {
    /// What was checked.
    pub name: String,
    /// Whether it held.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// What the engine measured: fixed words and numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct MetricsReport {
    /// What was counted.
    pub counts: Vec<MetricCount>,
    /// How long work took.
    pub times: Vec<MetricTimes>,
    /// The last steps, oldest first.
    pub traces: Vec<TraceStep>,
}

/// A count.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MetricCount {
    /// Stable name, e.g. `bytes_in`.
    pub name: String,
    /// How many.
    pub count: u64,
}

/// Times of one kind of work.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MetricTimes {
    /// Stable name, e.g. `commit`.
    pub name: String,
    /// How often.
    pub count: u64,
    /// Altogether (µs).
    pub total_us: u64,
    /// Half of them took less (µs), to a factor of two.
    pub half_us: u64,
    /// 99 of 100 took less (µs), to a factor of two.
    pub most_us: u64,
    /// The longest (µs).
    pub max_us: u64,
}

/// A step of the past.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TraceStep {
    /// When (ms UTC).
    pub at_ms: i64,
    /// What, e.g. `push`.
    pub step: String,
    /// What came of it, e.g. `acknowledged`.
    pub outcome: String,
    /// How many.
    pub count: u64,
}
