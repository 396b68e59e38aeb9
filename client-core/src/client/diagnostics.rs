//! A report for somebody who looks for a fault: what this home measures and what is wrong with it, without content.
//!
//! Nothing that a person wrote or chose goes in: no text, name, address, key or full id. What tells things apart within
//! the report is drawn from a salt that is thrown away with it, so that two reports cannot be compared, and nobody who
//! knows an id or an address can ask whether it is meant.

use std::collections::BTreeMap;

use lifeos_sync_protocol::membership::{CheckpointStanding, Membership};
use lifeos_sync_protocol::record::{DeviceKind, Role};
use serde_json::{Value, json};

use super::{Client, ClientError, DoctorReport, MetricCount, MetricTimes, MetricsReport, Progress, TraceStep};
use crate::crypto::{Random, random_bytes, sha256_plain};
use crate::engine::wall_ms;
use crate::store::{CAN_ENCRYPT, Reads, SCHEMA_VERSION};

/// Layout of the report.
const FORMAT: u32 = 1;
/// Letters of a name that stands for an id.
const NAME_BYTES: usize = 4;

/// What the report says of itself.
const ABOUT: &str = "A diagnostic report of a Life OS home, made by `lifeos doctor --bundle`. It holds counts, sizes, times and \
                     fixed words; no text, name, address, key or full id. A name like device-1f3a90c2 stands for the same thing \
                     everywhere in this file and for nothing outside it. Read it before you pass it on.";

/// Names that mean something within one report only.
struct Blind {
    salt: [u8; 32],
}

impl Blind {
    fn new(random: &mut dyn Random) -> Self {
        Self { salt: random_bytes(random) }
    }

    fn name(&self, kind: &str, id: &[u8]) -> String {
        let hash = sha256_plain(&[&self.salt, kind.as_bytes(), &[0], id]);
        let letters: String = hash[..NAME_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{kind}-{letters}")
    }
}

impl Client {
    /// What was measured in this space, in this process and in earlier ones that wrote it down.
    /// # Errors
    /// [`ClientError`].
    pub fn metrics(&self) -> Result<MetricsReport, ClientError> {
        let mut measured = self.shared.reader().reads().measured(&self.space())?;
        measured.add(&self.shared.metrics.measured());
        let times = measured.times.into_iter().map(|(name, times)| MetricTimes {
            name,
            count: times.count,
            total_us: times.total_us,
            half_us: times.below_us(0.5),
            most_us: times.below_us(0.99),
            max_us: times.max_us,
        });
        let traces = measured.traces.into_iter().map(|trace| TraceStep {
            at_ms: trace.at_ms,
            step: trace.step,
            outcome: trace.outcome,
            count: trace.count,
        });
        Ok(MetricsReport {
            counts: measured.counts.into_iter().map(|(name, count)| MetricCount { name, count }).collect(),
            times: times.collect(),
            traces: traces.collect(),
        })
    }

    /// The diagnostic report of this home, with the doctor's checks.
    /// # Errors
    /// [`ClientError`].
    pub fn diagnostics(&self, random: &mut dyn Random, progress: Progress<'_>) -> Result<Value, ClientError> {
        let blind = Blind::new(random);
        let DoctorReport { ok, checks } = self.doctor(false, progress)?;
        // What a check says may name a document: that it held or not is enough here.
        let checks: Vec<_> = checks.iter().map(|check| json!({"check": check.name, "ok": check.ok})).collect();
        let mut spaces = Vec::new();
        for space in self.spaces()? {
            let id = space.id.parse().map_err(|_| ClientError::not_found("such space"))?;
            // One that does not open is told as such: a report is made because something is wrong.
            let report = self.at(&id).and_then(|client| client.diagnose(&blind));
            spaces.push(
                report.unwrap_or_else(|error| json!({"failed": format!("{:?}", error.kind()).to_ascii_lowercase()})),
            );
        }
        let reader = self.shared.reader();
        let reads = reader.reads();
        let (bytes, free) = reads.file_bytes()?;
        Ok(json!({
            "about": ABOUT,
            "format": FORMAT,
            "made_ms": wall_ms(),
            "program": {
                "version": env!("CARGO_PKG_VERSION"),
                "os": std::env::consts::OS,
                "arch": std::env::consts::ARCH,
                "can_encrypt_database": CAN_ENCRYPT,
            },
            "database": {
                "schema": SCHEMA_VERSION,
                "bytes": bytes,
                "bytes_free": free,
                "search_waits": reads.search_dirty_count()?,
                "lists_wait": reads.unprojected_count()?,
                "tables": reads.table_sizes()?,
            },
            "sound": ok,
            "checks": checks,
            "spaces": spaces,
        }))
    }

    fn diagnose(&self, blind: &Blind) -> Result<Value, ClientError> {
        let (space, state, now_ms) = (self.space(), self.shared.state(), wall_ms());
        let status = self.status_here(now_ms)?;
        let metrics = self.metrics()?;
        let reader = self.shared.reader();
        let reads = reader.reads();
        let is_home = reads.spaces()?.iter().any(|row| row.space == space && row.home);
        let membership = &state.membership;
        Ok(json!({
            "space": blind.name("space", space.as_ref()),
            "home": is_home,
            "device": blind.name("device", self.device().as_ref()),
            "role": status.keys.role,
            "may_write": status.keys.may_write,
            "keys": {"held": status.keys.held, "known": status.keys.known, "generation": status.keys.generation,
                     "troubles": state.troubles.len()},
            "documents": reads.kind_sizes(&space)?,
            "largest": reads.largest_documents(&space)?.iter()
                .map(|(doc, bytes)| json!({"document": blind.name("document", doc.as_ref()), "bytes": bytes}))
                .collect::<Vec<_>>(),
            "notes": status.notes,
            "outbox": {"changes_pending": status.changes_pending, "envelopes_unsent": status.envelopes_unsent},
            "waiting_changes": reads.waiting_count(&space)?,
            "unverified_documents": status.documents_unverified,
            "damaged_documents": reads.damaged_documents(&space)?.len(),
            "joining": status.joining,
            "streams": streams(&reads, blind, self)?,
            "membership": shape(membership, blind),
            "checkpoints": checkpoints(membership),
            "relays": self.relay_shapes(&reads, blind, now_ms)?,
            "quarantine": reads.asides(&space)?.iter()
                .map(|(aside, author, count)| json!({
                    "kind": aside.name(),
                    "device": author.map(|author| blind.name("device", author.as_ref())),
                    "envelopes": count,
                }))
                .collect::<Vec<_>>(),
            "warnings": status.warnings.iter()
                .map(|warning| json!({"kind": warning.kind, "times": warning.times,
                                      "relay": blind.name("relay", warning.relay.as_bytes())}))
                .collect::<Vec<_>>(),
            "alarms": status.alarms.len(),
            "missing": status.missing.iter().map(|missing| missing.envelopes).sum::<u32>(),
            "metrics": metrics,
        }))
    }

    fn relay_shapes(&self, reads: &Reads<'_>, blind: &Blind, now_ms: i64) -> Result<Vec<Value>, ClientError> {
        let shape = |relay: crate::store::RelayState| {
            let trouble = self.known_trouble(reads, relay.id, now_ms)?;
            Ok(json!({
                "relay": blind.name("relay", relay.url.as_bytes()),
                "key_known": relay.key.is_some(),
                "position": relay.cursor.map(|cursor| cursor.pos),
                "own_acknowledged": relay.own_acked_seq,
                "synced_ms_ago": relay.synced_ms.map(|ms| now_ms.saturating_sub(ms)),
                "trouble": trouble.map(|trouble| json!({
                    "kind": word(&trouble.kind),
                    "failures": trouble.failures,
                    "rests": trouble.rests,
                    "needs_person": trouble.needs_person,
                })),
            }))
        };
        reads.relays(&self.space())?.into_iter().map(shape).collect()
    }
}

fn streams(reads: &Reads<'_>, blind: &Blind, client: &Client) -> Result<Vec<Value>, ClientError> {
    let space = client.space();
    let own = reads.spaces()?.into_iter().find(|row| row.space == space).map(|row| row.stream);
    let shape = |shape: crate::store::StreamShape| {
        json!({
            "stream": blind.name("stream", shape.stream.as_ref()),
            "device": blind.name("device", shape.device.as_ref()),
            "own": own == Some(shape.stream),
            "seq": shape.seq,
            "limit": shape.limit,
            "floor": shape.floor,
            "told": shape.told,
        })
    };
    Ok(reads.stream_shapes(&space)?.into_iter().map(shape).collect())
}

/// Who is there, by kind and role, and nobody in particular.
fn shape(membership: &Membership, blind: &Blind) -> Value {
    let mut roles: BTreeMap<&str, u64> = BTreeMap::new();
    for member in membership.members.values() {
        *roles.entry(role_name(member.role)).or_default() += 1;
    }
    let device = |(key, device): (&lifeos_sync_protocol::ids::SignPk, &lifeos_sync_protocol::membership::Device)| {
        json!({
            "device": blind.name("device", key.as_ref()),
            "member": blind.name("member", device.member.as_ref()),
            "kind": match device.kind {
                DeviceKind::Normal => "normal",
                DeviceKind::Recovery => "recovery",
                DeviceKind::Archive => "archive",
            },
            "removed": device.removed_by.is_some(),
        })
    };
    json!({
        "roles": roles,
        "devices": membership.devices.iter().map(device).collect::<Vec<_>>(),
        "epochs": membership.epochs.len(),
        "heads": membership.heads.len(),
        "depth": membership.depth,
        "void": membership.void.len(),
        "forks": membership.forks.len(),
        "invites": membership.invites.len(),
        "joins": membership.joins.len(),
        "closed": membership.closed.is_some(),
    })
}

const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Admin => "admin",
        Role::Editor => "editor",
        Role::Reader => "reader",
    }
}

fn checkpoints(membership: &Membership) -> Value {
    let mut standings: BTreeMap<&str, u64> = BTreeMap::new();
    for id in membership.checkpoints.keys() {
        let name = match membership.checkpoint_standing(id) {
            Some(CheckpointStanding::Blocked) => "blocked",
            Some(CheckpointStanding::Proposed) => "proposed",
            Some(CheckpointStanding::Endorsed) => "endorsed",
            None => "unknown",
        };
        *standings.entry(name).or_default() += 1;
    }
    json!(standings)
}

/// A fixed word, and nothing that could be more.
fn word(text: &str) -> &str {
    let is_word = text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if is_word { text } else { "other" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SeededRandom;

    #[test]
    fn a_name_means_the_same_within_one_report_and_nothing_in_another() {
        let (one, other) = (Blind::new(&mut SeededRandom::new(1)), Blind::new(&mut SeededRandom::new(2)));
        assert_eq!(one.name("device", b"id"), one.name("device", b"id"));
        for different in [one.name("device", b"di"), one.name("stream", b"id"), other.name("device", b"id")] {
            assert_ne!(one.name("device", b"id"), different);
        }
        assert_eq!(one.name("device", b"id").len(), "device-".len() + 2 * NAME_BYTES);
    }
}
