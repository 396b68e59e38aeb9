//! What rings: the plan of this device from rows alone, showing it through a notifier, and what people say of a ring.
//!
//! ```text
//! rows of tasks, of what was said, of settings ──► plan ──► Ringer ──► on disk ──► Notifier::show
//!                                  seen elsewhere, done, moved ──────────────────► Notifier::withdraw
//! ```
//! What this device has rung is on disk before it is shown: a crash between the two costs one ring, and no ring comes twice.

use std::collections::BTreeMap;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use lifeos_sync_protocol::hash;
use lifeos_sync_protocol::ids::DocId;
use serde_json::{Map, Value as Json};

use super::reminders::place;
use super::{Changed, Client, ClientError};
use crate::document::{DocumentError, singleton_doc_id};
use crate::modules::entity;
use crate::modules::reminders::declared::{RINGS, SETTINGS, TASK};
use crate::modules::reminders::edit::{self, Said};
use crate::modules::reminders::facts::Facts;
use crate::modules::reminders::when;
use crate::notify::{
    Acks, Device, DeviceId, Fire, FireId, FireKey, Inputs, Item, Policy, Quiet, Ring, Ringer, SNOOZE_DAYS_MAX, Who,
    plan,
};
use crate::projection::Value;
use crate::store::{Step, TaskFilter};

/// How far ahead tasks are looked at, in days: as far as systems are asked to ring, and a little.
const AHEAD_DAYS: i64 = 17;
/// How much later others ring where one rings first, in seconds.
const HOLD_S: u32 = 60;

/// A ring, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ShownRing {
    /// Its name, the same on every device: under it a system replaces and withdraws what it shows.
    pub id: String,
    /// The name that is acknowledged and put off.
    pub first: String,
    /// The task.
    pub task: String,
    /// What is to be done.
    pub title: String,
    /// When it rings (ms UTC).
    pub at_ms: i64,
    /// What the clock shows then.
    pub wall: String,
    /// The occurrence.
    pub occurrence: String,
    /// 0, or the how manieth time that it rings again.
    pub again: u16,
    /// How many earlier times of the task were missed.
    pub missed: u32,
}

/// What to show now.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct RingsNow {
    /// Each for itself, in this order.
    pub rings: Vec<ShownRing>,
    /// More of what was missed than anybody wants to hear one by one: told in one.
    pub digest: Vec<ShownRing>,
    /// What was missed too long ago, for a list without a sound.
    pub missed: Vec<ShownRing>,
}

/// Shows rings to a person: a desktop, a phone through a foreign callback, a terminal. It is told what to show and what
/// to take away, and decides nothing.
pub trait Notifier {
    /// Shows one ring.
    ///
    /// # Errors
    /// Whatever the system says, in words.
    fn show(&mut self, ring: &ShownRing) -> Result<(), String>;
    /// Tells several in one.
    ///
    /// # Errors
    /// As [`Notifier::show`].
    fn digest(&mut self, rings: &[ShownRing]) -> Result<(), String>;
    /// Takes away what is shown under this name: it was seen elsewhere, done, or moved.
    fn withdraw(&mut self, id: &str);
}

/// What a device shows at the moment, and so may have to take away.
#[derive(Debug, Default)]
pub struct Showing(BTreeMap<FireId, (Fire, String)>);

/// What is known of everything that rings.
struct Known {
    items: Vec<Item>,
    titles: BTreeMap<String, String>,
    acks: Acks,
    policy: Policy,
    zone: TimeZone,
    key: FireKey,
}

impl Known {
    const fn inputs(&self) -> Inputs<'_> {
        Inputs {
            items: self.items.as_slice(),
            acks: &self.acks,
            policy: &self.policy,
            zone: &self.zone,
            key: &self.key,
        }
    }

    fn shown(&self, fire: &Fire, missed: u32) -> ShownRing {
        ShownRing {
            id: fire.id.to_string(),
            first: fire.first.to_string(),
            task: fire.entity.clone(),
            title: self.titles.get(&fire.entity).cloned().unwrap_or_default(),
            at_ms: fire.at.as_millisecond(),
            wall: when::time(fire.wall, None),
            occurrence: fire.occurrence.to_string(),
            again: fire.again,
            missed,
        }
    }
}

fn clock(values: &Map<String, Json>, name: &str) -> Option<Time> {
    values.get(name)?.as_str()?.parse().ok()
}

fn weekday(name: &str) -> Option<Weekday> {
    Some(match name {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return None,
    })
}

fn quiet(entry: &Json) -> Option<Quiet> {
    let entry = entry.as_object()?;
    let days = entry.get("days").and_then(Json::as_str).unwrap_or("MO,TU,WE,TH,FR,SA,SU");
    Some(Quiet {
        days: days.split(',').filter_map(weekday).collect(),
        from: clock(entry, "from")?,
        to: clock(entry, "to")?,
    })
}

fn device_of(text: &str) -> Option<DeviceId> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let pair = |[high, low]: &[u8; 2]| {
        let digit = |byte: u8| char::from(byte).to_digit(16);
        u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
    };
    let bytes: Option<Vec<u8>> = pairs.iter().map(pair).collect();
    Some(DeviceId(bytes?.try_into().ok()?))
}

impl Client {
    pub(super) fn settings_doc(&self) -> DocId {
        singleton_doc_id(&self.space(), SETTINGS.name, "")
    }

    /// Names of rings stand in sealed documents alone; this only keeps those of different spaces apart.
    fn fire_key(&self) -> FireKey {
        FireKey::new(&hash::sha256("rings", &[self.space().as_ref()]))
    }

    fn ringer_key(&self) -> String {
        format!("ringer/{}", self.space())
    }

    fn ring_device(&self) -> Device {
        Device { id: DeviceId(self.device().0), is_permitted: true, pending_max: None }
    }

    /// What a person wants of reminders, and which devices ring.
    fn ring_policy(&self) -> Result<(Policy, Who), ClientError> {
        let doc = self.settings_doc();
        let exists = self.shared.reader().reads().genesis_of(&self.space(), &doc)?.is_some();
        if !exists {
            return Ok((Policy::default(), Who::All));
        }
        let settings = self.entity(&doc.to_string())?;
        let (values, default) = (&settings.values, Policy::default());
        let number = |name: &str| values.get(name).and_then(Json::as_u64).and_then(|number| u32::try_from(number).ok());
        let hold_s = number("hold").unwrap_or(HOLD_S);
        let primary = values.get("primary").and_then(Json::as_str).and_then(device_of);
        let who = match (values.get("who").and_then(Json::as_str), primary) {
            (Some("active-first"), _) => Who::ActiveFirst { hold_s },
            (Some("primary"), Some(device)) => Who::Primary { device, hold_s },
            _ => Who::All,
        };
        let policy = Policy {
            day_at: clock(values, "day_at").unwrap_or(default.day_at),
            quiet: settings.lists.get("quiet").into_iter().flatten().filter_map(quiet).collect(),
            grace_hours: number("grace").unwrap_or(default.grace_hours),
            singles_max: default.singles_max,
        };
        Ok((policy, who))
    }

    fn ring_known(&self, now: &Zoned) -> Result<Known, ClientError> {
        let (policy, who) = self.ring_policy()?;
        let until = now.date().checked_add(jiff::Span::new().days(AHEAD_DAYS)).unwrap_or(now.date());
        let until = when::day(until);
        let filter = TaskFilter { is_over: Some(false), rings_until: Some(&until), ..TaskFilter::default() };
        let lists = self.list_policies()?;
        let reader = self.shared.reader();
        let reads = reader.reads();
        let (mut items, mut titles) = (Vec::new(), BTreeMap::new());
        for row in reads.tasks(&self.space(), &filter)? {
            let id = row.doc.to_string();
            let mut facts = Facts::read(&row, place(now).zones);
            let of_list = row.text("list").and_then(|list| lists.get(list));
            facts.is_urgent |= of_list.is_some_and(|(_, is_urgent)| *is_urgent);
            let who = of_list.and_then(|(who, _)| who.as_ref()).unwrap_or(&who);
            items.extend(facts.items(&id, who, &place(now)));
            if let Value::Text(title) = row.cell("title") {
                titles.insert(id, title.clone());
            }
        }
        let [seen, put_off] = reads.said_of_rings(&self.space())?;
        let mut acks = Acks::default();
        let instant = |ms: i64| Timestamp::from_millisecond(ms).ok();
        seen.into_iter().filter_map(|(id, ms)| Some((id, instant(ms)?))).for_each(|(id, at)| acks.ack(id, at));
        put_off.into_iter().filter_map(|(id, ms)| Some((id, instant(ms)?))).for_each(|(id, at)| acks.snooze(id, at));
        Ok(Known { items, titles, acks, policy, zone: now.time_zone().clone(), key: self.fire_key() })
    }

    /// What rings on this person's devices until so many hours from now.
    /// # Errors
    /// [`ClientError`].
    pub fn ring_plan(&self, hours: u32, now: &Zoned) -> Result<Vec<ShownRing>, ClientError> {
        let known = self.ring_known(now)?;
        let horizon = SignedDuration::from_hours(i64::from(hours.min(14 * 24)));
        let fires = plan(now.timestamp(), horizon, &known.inputs());
        Ok(fires.iter().map(|fire| known.shown(fire, 0)).collect())
    }

    /// What this device is to show now; `used_at` is when it was used last. That it was rung is on disk when this returns.
    /// # Errors
    /// [`ClientError`].
    pub fn ring_now(&self, used_at: Option<Timestamp>, now: &Zoned) -> Result<RingsNow, ClientError> {
        self.wake(used_at, now).map(|(rings, _)| rings)
    }

    fn wake(&self, used_at: Option<Timestamp>, now: &Zoned) -> Result<(RingsNow, Vec<Fire>), ClientError> {
        let known = self.ring_known(now)?;
        let (key, device) = (self.ringer_key(), self.ring_device());
        let woken = self.write(|tx| {
            tx.step(Step::None);
            let kept = tx.reads().meta(&key)?;
            let mut ringer = kept
                .as_deref()
                .and_then(|bytes| Ringer::decode(device, bytes))
                .unwrap_or_else(|| Ringer::new(device, now.timestamp()));
            let woken = ringer.wake(now.timestamp(), &known.inputs(), used_at);
            let bytes = ringer.encode();
            if kept.as_deref() != Some(&bytes) {
                tx.put_meta(&key, &bytes)?;
            }
            Ok::<_, ClientError>(woken)
        })?;
        let (mut rings, mut fires) = (RingsNow::default(), Vec::new());
        for ring in &woken.rings {
            match ring {
                Ring::One { fire, missed } => {
                    rings.rings.push(known.shown(fire, *missed));
                    fires.push(fire.clone());
                }
                Ring::Digest(several) => rings.digest.extend(several.iter().map(|fire| known.shown(fire, 0))),
            }
        }
        rings.missed = woken.missed.iter().map(|fire| known.shown(fire, 0)).collect();
        Ok((rings, fires))
    }

    /// When this device has something to ring next, if nothing is said until then.
    /// # Errors
    /// [`ClientError`].
    pub fn ring_next(&self, now: &Zoned) -> Result<Option<Timestamp>, ClientError> {
        let known = self.ring_known(now)?;
        let kept = self.shared.reader().reads().meta(&self.ringer_key())?;
        let ringer = kept.as_deref().and_then(|bytes| Ringer::decode(self.ring_device(), bytes));
        let ringer = ringer.unwrap_or_else(|| Ringer::new(self.ring_device(), now.timestamp()));
        Ok(ringer.next(now.timestamp(), &known.inputs()))
    }

    /// One turn of a program that rings: shows what is due, and takes away what was seen elsewhere, done or moved. What
    /// cannot be shown is told by the rest of it.
    /// # Errors
    /// [`ClientError`].
    pub fn ring_turn(
        &self,
        notifier: &mut dyn Notifier,
        showing: &mut Showing,
        used_at: Option<Timestamp>,
        now: &Zoned,
    ) -> Result<(RingsNow, Vec<String>), ClientError> {
        let known = self.ring_known(now)?;
        let second = SignedDuration::from_secs(1);
        showing.0.retain(|id, (fire, shown)| {
            let before = fire.at.checked_sub(second).unwrap_or(fire.at);
            let stands = plan(before, second, &known.inputs()).iter().any(|fire| fire.id == *id);
            if !stands {
                notifier.withdraw(shown);
            }
            stands
        });
        let (rings, fires) = self.wake(used_at, now)?;
        let mut failed = Vec::new();
        for (ring, fire) in rings.rings.iter().zip(fires) {
            match notifier.show(ring) {
                Ok(()) => drop(showing.0.insert(fire.id, (fire, ring.id.clone()))),
                Err(why) => failed.push(why),
            }
        }
        if !rings.digest.is_empty() {
            failed.extend(notifier.digest(&rings.digest).err());
        }
        Ok((rings, failed))
    }

    fn say(&self, firsts: &[FireId], said: Said, now: &Zoned) -> Result<(), ClientError> {
        let month = now.timestamp().to_zoned(TimeZone::UTC).strftime("%Y-%m").to_string();
        let doc = singleton_doc_id(&self.space(), RINGS.name, &month);
        let by = self.device().to_string();
        self.edit(&doc, RINGS.genesis(), Step::None, |inner| {
            let now_ms = now.timestamp().as_millisecond();
            firsts.iter().try_for_each(|first| edit::say(inner, &month, first, said, &by, now_ms))?;
            Ok(())
        })
    }

    /// The rings of a task that a person may mean: those of the last days and the next, the nearest occurrence's.
    fn rings_of(&self, task: &str, now: &Zoned) -> Result<(String, Vec<FireId>), ClientError> {
        let doc = self.task_id(task)?.to_string();
        let known = self.ring_known(now)?;
        let from = now.timestamp().checked_sub(SignedDuration::from_hours(7 * 24)).unwrap_or(Timestamp::MIN);
        let fires = plan(from, SignedDuration::from_hours(21 * 24), &known.inputs());
        let own: Vec<&Fire> = fires.iter().filter(|fire| fire.entity == doc).collect();
        let rung = own.iter().rev().find(|fire| fire.at <= now.timestamp());
        let meant = rung.or_else(|| own.first()).map(|fire| fire.occurrence);
        let mut firsts: Vec<FireId> =
            own.iter().filter(|fire| Some(fire.occurrence) == meant).map(|fire| fire.first).collect();
        firsts.sort_unstable();
        firsts.dedup();
        if firsts.is_empty() {
            return Err(ClientError::invalid("nothing of the task rings in these days: see `lifeos remind plan`"));
        }
        Ok((doc, firsts))
    }

    /// Says of a ring, by the name that is acknowledged, that somebody has seen it: it falls silent on every device.
    /// # Errors
    /// [`ClientError::Invalid`] for what is no name of a ring.
    pub fn ring_seen(&self, first: &str, now: &Zoned) -> Result<(), ClientError> {
        let first = first.parse().map_err(|_| ClientError::invalid("a ring is named by 32 hexadecimal digits"))?;
        self.say(&[first], Said::Seen, now)
    }

    /// Says that somebody has seen what rings of a task.
    /// # Errors
    /// [`ClientError::Invalid`] when nothing of it rings in these days.
    pub fn task_seen(&self, task: &str, now: &Zoned) -> Result<Changed, ClientError> {
        let (id, firsts) = self.rings_of(task, now)?;
        self.say(&firsts, Said::Seen, now)?;
        Ok(Changed { id, occurrence: None })
    }

    /// Has what rings of a task ring again at a time.
    /// # Errors
    /// [`ClientError::Invalid`] for a time that is over or too far, or when nothing of it rings.
    pub fn task_snooze(&self, task: &str, until: Timestamp, now: &Zoned) -> Result<Changed, ClientError> {
        let ahead = until.duration_since(now.timestamp());
        if ahead <= SignedDuration::ZERO || ahead > SignedDuration::from_hours(24 * SNOOZE_DAYS_MAX) {
            return Err(ClientError::invalid(format!(
                "a ring is put off to a time in the next {SNOOZE_DAYS_MAX} days; `lifeos task move` moves the task"
            )));
        }
        let (id, firsts) = self.rings_of(task, now)?;
        self.say(&firsts, Said::Until(until.as_millisecond()), now)?;
        Ok(Changed { id, occurrence: None })
    }

    /// Changes what a person wants of reminders (fields of `reminder-settings`); gives what it is then.
    /// # Errors
    /// [`ClientError`].
    pub fn reminder_settings(&self, given: &Map<String, Json>) -> Result<super::Entity, ClientError> {
        let doc = self.settings_doc();
        self.edit(&doc, SETTINGS.genesis(), Step::Edit, |inner| {
            if !crate::modules::register::is_set(inner, "created") {
                entity::create(inner, &SETTINGS, &[], crate::engine::wall_ms())?;
            }
            Ok(entity::apply(inner, &SETTINGS, given, &mut super::reminders::new_id)?)
        })?;
        self.entity(&doc.to_string())
    }

    /// Has a task that repeats go on as a new one from an occurrence on ("this and following"): the old one ends before it,
    /// and keeps its log. Two devices that do so at the same occurrence make the same new task.
    /// # Errors
    /// [`ClientError::Invalid`] for one that does not repeat, or has nothing before or after that.
    pub fn task_split(
        &self,
        id: &str,
        occurrence: Option<crate::recur::OccurrenceId>,
        now: &Zoned,
    ) -> Result<Changed, ClientError> {
        const CANNOT: &str = "only what repeats goes on, from a time that is neither its first nor after its last";
        let doc = self.task_id(id)?;
        let space = self.space();
        let place = place(now);
        let drawn =
            self.shared.store().read(&space, &doc, |document| edit::split(document.read(), occurrence, &place))?;
        let drawn = drawn.ok_or_else(|| ClientError::not_found(format!("task {id}")))?;
        let split = drawn.map_err(|error| match error {
            DocumentError::InvalidEdit(_) => ClientError::invalid(CANNOT),
            other => other.into(),
        })?;
        let next = singleton_doc_id(&space, TASK.name, &format!("{doc}/{}", split.at));
        self.write(|tx| {
            tx.step(Step::Edit);
            let now_ms = tx.now_ms();
            tx.edit(&next, TASK.genesis(), |inner| {
                edit::begin_again(inner, &split, now_ms).map_err(ClientError::from)
            })?;
            tx.edit(&doc, TASK.genesis(), |inner| {
                let fields = [("rule", split.before.as_str().into()), ("next", next.to_string().into())];
                entity::set_all(inner, &TASK, &fields).map_err(ClientError::from)
            })
        })?;
        Ok(Changed { id: next.to_string(), occurrence: Some(split.at) })
    }
}
