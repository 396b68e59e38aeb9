//! Career: what is asked of skills, credentials, learning and opportunities, and JSON Resume in and out.

use std::collections::BTreeSet;

use automerge::AutoCommit;
use jiff::Unit;
use jiff::civil::Date;
use lifeos_sync_protocol::ids::DocId;
use serde_json::{Map, Value as Json};

use super::{Client, ClientError, Compare, Entity, EntityQuery, ImportOutcome};
use crate::crypto::sha256_plain;
use crate::document::{DocumentError, singleton_doc_id};
use crate::modules::career::declared::{
    ACHIEVEMENT, CREDENTIAL, EXPERIENCE, LEARNING, OPPORTUNITY, PROFILE, RESUME, SKILL,
};
use crate::modules::career::json_resume::{self, Known, Piece, Profile, ResumeError};
use crate::modules::career::{self, Funnel, renew_on};
use crate::modules::entity;
use crate::modules::register::is_set;
use crate::registry::Kind;
use crate::store::Step;

/// Entities of a kind that are looked at.
const ENTITIES_MAX: u32 = 5_000;

/// A skill, and what is missing.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct SkillView {
    /// Its id.
    pub id: String,
    /// What it is.
    pub name: String,
    /// Where it is.
    pub current: Option<i64>,
    /// Where it is to come to.
    pub target: Option<i64>,
    /// `max(0, target − current) · weight`.
    pub gap: i64,
    /// When it was used last.
    pub last_used: Option<String>,
    /// Days since then.
    pub unused_days: Option<i64>,
}

/// A credential, and whether it is good.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CredentialView {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Who gave it.
    pub issuer: Option<String>,
    /// Last day it is good.
    pub expires: Option<String>,
    /// From which day on it is to be renewed.
    pub renew_on: Option<String>,
    /// Days it is good for, below zero since it has expired.
    pub days_left: Option<i64>,
    /// `good`, `renew` or `expired`.
    pub standing: &'static str,
    /// Units earned.
    pub units_earned: i64,
    /// Units wanted.
    pub units: Option<i64>,
}

/// Something that is learnt, and how far it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LearningView {
    /// Its id.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// Where it stands.
    pub status: Option<String>,
    /// Minutes spent.
    pub spent: i64,
    /// Minutes it takes.
    pub planned: Option<i64>,
    /// From 0 to 1.
    pub progress: Option<f64>,
    /// Minutes spent in the last seven days.
    pub week: i64,
    /// When last.
    pub last_on: Option<String>,
}

/// What became of an entry of a résumé.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ResumeEntry {
    /// Where it stands in the file.
    pub at: String,
    /// What it is called.
    pub name: String,
    /// `created`, `updated`, `duplicate`, `skipped` or `failed`.
    pub outcome: ImportOutcome,
    /// Why, or what of it was left out.
    pub reason: String,
    /// The entity, if there is one.
    pub id: Option<String>,
}

/// What the import of a résumé did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ResumeReport {
    /// Nothing was written.
    pub preview: bool,
    /// Counts.
    pub created: u64,
    /// Counts.
    pub updated: u64,
    /// Counts.
    pub duplicate: u64,
    /// Counts.
    pub skipped: u64,
    /// Counts.
    pub failed: u64,
    /// Every entry.
    pub entries: Vec<ResumeEntry>,
}

impl From<ResumeError> for ClientError {
    fn from(error: ResumeError) -> Self {
        Self::invalid(error.to_string())
    }
}

fn text(of: &Entity, name: &str) -> Option<String> {
    of.values.get(name)?.as_str().map(str::to_owned)
}

fn int(of: &Entity, name: &str) -> Option<i64> {
    of.values.get(name)?.as_i64()
}

fn days_between(from: Date, to: Date) -> i64 {
    from.until((Unit::Day, to)).map_or(0, |span| i64::from(span.get_days()))
}

impl Client {
    fn all_of(&self, kind: &Kind) -> Result<Vec<Entity>, ClientError> {
        self.entities(kind.name, &EntityQuery { limit: ENTITIES_MAX, ..EntityQuery::default() })
    }

    /// Skills with their gaps, the largest first.
    /// # Errors
    /// [`ClientError`].
    pub fn skills(&self, today: Date) -> Result<Vec<SkillView>, ClientError> {
        let mut skills: Vec<SkillView> = self
            .all_of(&SKILL)?
            .into_iter()
            .map(|skill| {
                let (current, target) = (int(&skill, "current"), int(&skill, "target"));
                let missing = target.map_or(0, |target| target.saturating_sub(current.unwrap_or(0)).max(0));
                let last: Option<Date> = text(&skill, "last_used").and_then(|day| day.parse().ok());
                SkillView {
                    name: text(&skill, "name").unwrap_or_default(),
                    gap: missing.saturating_mul(int(&skill, "weight").unwrap_or(1)),
                    last_used: last.map(|day| day.to_string()),
                    unused_days: last.map(|day| days_between(day, today)),
                    id: skill.id,
                    current,
                    target,
                }
            })
            .collect();
        skills.sort_by(|one, other| (other.gap, &one.name, &one.id).cmp(&(one.gap, &other.name, &other.id)));
        Ok(skills)
    }

    /// Credentials by the day they expire, those that never do last; `within`: only those that expire in so many days,
    /// or
    /// have.
    /// # Errors
    /// [`ClientError`].
    pub fn credentials(&self, today: Date, within: Option<i64>) -> Result<Vec<CredentialView>, ClientError> {
        let mut found: Vec<CredentialView> = self
            .all_of(&CREDENTIAL)?
            .into_iter()
            .map(|credential| {
                let expires: Option<Date> = text(&credential, "expires").and_then(|day| day.parse().ok());
                let renew = expires.map(|expires| renew_on(expires, int(&credential, "renew_days")));
                CredentialView {
                    name: text(&credential, "name").unwrap_or_default(),
                    issuer: text(&credential, "issuer"),
                    standing: match (expires, renew) {
                        (Some(expires), _) if expires < today => "expired",
                        (_, Some(renew)) if renew <= today => "renew",
                        _ => "good",
                    },
                    days_left: expires.map(|expires| days_between(today, expires)),
                    expires: expires.map(|day| day.to_string()),
                    renew_on: renew.map(|day| day.to_string()),
                    units_earned: int(&credential, "units_earned").unwrap_or(0),
                    units: int(&credential, "units"),
                    id: credential.id,
                }
            })
            .filter(|of| within.is_none_or(|within| of.days_left.is_some_and(|left| left <= within)))
            .collect();
        found.sort_by_key(|of| (of.days_left.is_none(), of.days_left, of.name.clone(), of.id.clone()));
        Ok(found)
    }

    /// What is learnt, the last one first.
    /// # Errors
    /// [`ClientError`].
    pub fn learning(&self, today: Date) -> Result<Vec<LearningView>, ClientError> {
        let mut found = Vec::new();
        for listed in self.all_of(&LEARNING)? {
            let of = self.entity(&listed.id)?;
            let recent = of.lists.get("log").into_iter().flatten().filter(|entry| {
                let on = entry["on"].as_str().and_then(|day| day.parse::<Date>().ok());
                on.is_some_and(|on| (0..7).contains(&days_between(on, today)))
            });
            let (spent, planned) = (int(&of, "spent").unwrap_or(0), int(&of, "planned"));
            let share =
                planned.filter(|planned| *planned > 0).map(|planned| (spent as f64 / planned as f64).clamp(0.0, 1.0));
            found.push(LearningView {
                title: text(&of, "title").unwrap_or_default(),
                status: text(&of, "status"),
                week: recent.filter_map(|entry| entry["minutes"].as_i64()).fold(0, i64::saturating_add),
                last_on: text(&of, "last_on"),
                id: of.id,
                spent,
                planned,
                progress: share,
            });
        }
        found.sort_by(|one, other| (&other.last_on, &one.title, &one.id).cmp(&(&one.last_on, &other.title, &other.id)));
        Ok(found)
    }

    /// Writes down time that was spent learning.
    /// # Errors
    /// [`ClientError`].
    pub fn learning_log(&self, id: &str, on: Date, minutes: i64, note: Option<&str>) -> Result<(), ClientError> {
        let entry = super::entities::new_id();
        self.entity_edit_as(&LEARNING, id, |doc, _| career::log(doc, &entry, on, minutes, note))
    }

    /// Says that an opportunity came to a stage.
    /// # Errors
    /// [`ClientError`].
    pub fn opportunity_stage(&self, id: &str, stage: &str, on: Date) -> Result<(), ClientError> {
        self.entity_edit_as(&OPPORTUNITY, id, |doc, _| career::come_to(doc, stage, on))
    }

    /// How far opportunities come.
    /// # Errors
    /// [`ClientError`].
    pub fn pipeline(&self) -> Result<Funnel, ClientError> {
        let mut histories = Vec::new();
        for listed in self.all_of(&OPPORTUNITY)? {
            let of = self.entity(&listed.id)?;
            let stages = of.lists.get("history").into_iter().flatten();
            let stages = stages
                .filter_map(|entry| Some((entry["stage"].as_str()?.to_owned(), entry["on"].as_str()?.parse().ok()?)));
            histories.push(stages.collect());
        }
        Ok(career::funnel(&histories))
    }

    /// Takes in a JSON Resume: one commit and one step to undo. The same file again changes nothing; an entry that
    /// changed in the
    /// file changes here, and what was added here stays. What is in the trash stays there, unless `again`.
    /// # Errors
    /// [`ClientError::Invalid`] for what is no JSON Resume; an entry that cannot be taken is told in the report.
    pub fn resume_import(&self, file: &str, preview: bool, again: bool) -> Result<ResumeReport, ClientError> {
        let mut report = ResumeReport { preview, ..ResumeReport::default() };
        let mut wanted = Vec::new();
        for piece in json_resume::read(file)? {
            let doc = singleton_doc_id(&self.space(), piece.kind.name, &piece.key);
            let hash: String =
                sha256_plain(&[piece.source.as_bytes()]).iter().map(|byte| format!("{byte:02x}")).collect();
            let row = self.shared.reader().reads().entity(&self.space(), piece.kind, &doc)?;
            let before = row.map(|_| self.entity(&doc.to_string())).transpose()?;
            let outcome = match &before {
                None => ImportOutcome::Created,
                Some(before) if before.trashed_ms.is_some() && !again => ImportOutcome::Skipped,
                Some(before) if before.trashed_ms.is_none() && text(before, "source").as_deref() == Some(&hash) => {
                    ImportOutcome::Duplicate
                }
                Some(_) => ImportOutcome::Updated,
            };
            let mut reason = piece.problems.join("; ");
            if outcome == ImportOutcome::Skipped {
                reason = "it is in the trash: restore it, or import with --again".to_owned();
            }
            report.entries.push(ResumeEntry {
                at: piece.at.clone(),
                name: piece.name.clone(),
                outcome,
                reason,
                id: Some(doc.to_string()),
            });
            wanted.push((doc, hash, piece));
        }
        if !preview {
            self.write_pieces(&wanted, &mut report.entries)?;
        }
        for entry in &report.entries {
            let count = match entry.outcome {
                ImportOutcome::Created => &mut report.created,
                ImportOutcome::Updated => &mut report.updated,
                ImportOutcome::Duplicate => &mut report.duplicate,
                ImportOutcome::Skipped => &mut report.skipped,
                ImportOutcome::Failed => &mut report.failed,
            };
            *count += 1;
        }
        Ok(report)
    }

    fn write_pieces(&self, wanted: &[(DocId, String, Piece)], entries: &mut [ResumeEntry]) -> Result<(), ClientError> {
        self.write(|tx| {
            tx.step(Step::Edit);
            let now_ms = tx.now_ms();
            for ((doc, hash, piece), entry) in wanted.iter().zip(entries) {
                if !matches!(entry.outcome, ImportOutcome::Created | ImportOutcome::Updated) {
                    continue;
                }
                let written = tx.edit(doc, piece.kind.genesis(), |inner| {
                    write_piece(inner, piece, hash, now_ms).map_err(ClientError::from)
                });
                match written {
                    Ok(()) => {}
                    // One entry costs only itself.
                    Err(ClientError::Invalid { message }) => {
                        (entry.outcome, entry.reason, entry.id) = (ImportOutcome::Failed, message, None);
                    }
                    Err(other) => return Err(other),
                }
            }
            Ok(())
        })
    }

    /// A JSON Resume of what is known here: what the profile of this name shows, or everything that is not private.
    /// # Errors
    /// [`ClientError::NotFound`] for a profile that is not there.
    pub fn resume_export(&self, profile: Option<&str>) -> Result<Json, ClientError> {
        let shown = match profile {
            None => Profile::whole(),
            Some(name) => {
                let wheres = vec![("name".to_owned(), Compare::Is, name.to_owned())];
                let query = EntityQuery { wheres, limit: 1, ..EntityQuery::default() };
                let found = self.entities(PROFILE.name, &query)?.into_iter().next();
                let found = found.ok_or_else(|| {
                    ClientError::not_found(format!(
                        "profile called {name}: `lifeos entity list {}` shows them",
                        PROFILE.name
                    ))
                })?;
                Profile::read(&known(self.entity(&found.id)?))
            }
        };
        let mut all = Vec::new();
        for kind in [&RESUME, &EXPERIENCE, &CREDENTIAL, &SKILL, &ACHIEVEMENT] {
            for listed in self.all_of(kind)? {
                all.push(known(self.entity(&listed.id)?));
            }
        }
        Ok(json_resume::write(&all, &shown))
    }
}

fn known(of: Entity) -> Known {
    Known { id: of.id, kind: of.kind, values: of.values, lists: of.lists }
}

/// Writes an entry of a file into its document. Entries of lists that came from a file before and are in it no more go;
/// those that were made here stay.
fn write_piece(doc: &mut AutoCommit, piece: &Piece, hash: &str, now_ms: i64) -> Result<(), DocumentError> {
    let kind = piece.kind;
    if is_set(doc, "created") {
        entity::restore(doc, kind)?;
    } else {
        entity::create(doc, kind, &[], now_ms)?;
    }
    for family in kind.families.iter().filter(|family| !kind.is_set(family)) {
        let Some(given) = piece.given.get(family.name).and_then(Json::as_array) else { continue };
        let given: BTreeSet<&str> = given.iter().filter_map(|entry| entry["id"].as_str()).collect();
        let there = entity::entries(doc, family).into_iter().filter(|id| id.starts_with(json_resume::ENTRY_PREFIX));
        for id in there {
            match (given.contains(id.as_str()), is_set(doc, &format!("{}/{id}:del", family.name))) {
                (true, true) => entity::restore_row(doc, kind, family.name, &id)?,
                (false, false) => entity::remove_row(doc, kind, family.name, &id, now_ms)?,
                _ => {}
            }
        }
    }
    let mut given: Map<String, Json> = piece.given.clone();
    // What the file does not say stays as it is here.
    given.retain(|_, value| !value.is_null());
    given.insert("source".to_owned(), Json::String(hash.to_owned()));
    entity::apply(doc, kind, &given, &mut super::entities::new_id)
}
