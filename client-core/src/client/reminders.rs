//! Tasks: add, settle, move, plan; the agenda and lists. Now is an argument: whoever calls says when and where the person is.

use std::collections::{BTreeMap, BTreeSet};

use automerge::AutoCommit;
use jiff::Zoned;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use lifeos_sync_protocol::ids::DocId;
use serde_json::{Map, Value as Json};

use super::{Client, ClientError, Compare, EntityQuery};
use crate::crypto::{SystemRandom, random_bytes};
use crate::document::{DocumentError, singleton_doc_id};
use crate::filter::{self, Filter};
use crate::modules::entity;
use crate::modules::register::fold;
use crate::modules::reminders::declared::{LIST, TASK};
use crate::modules::reminders::edit::{self, Given, Settle};
use crate::modules::reminders::facts::{Facts, Next, Place};
use crate::modules::reminders::tree::{DEPTH_MAX, Forest, circles, forest};
use crate::modules::reminders::when;
use crate::notify::Who;
use crate::quick::{self, Context, Question, Reading, TimesOfDay};
use crate::recur::{Language, OccurrenceId};
use crate::store::{EntityMark, Step, TaskFilter, TaskRow};

/// Lines of a list when none are asked for.
const LIST_LIMIT: usize = 200;
/// Occurrences of one task in an agenda.
const COMING_MAX: usize = 60;
/// Longest agenda, in days.
const AGENDA_DAYS_MAX: u16 = 400;
/// Shortest prefix of an id that is taken for one.
const PREFIX_CHARS_MIN: usize = 4;

/// When something of a task is due.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TaskTime {
    /// The occurrence, of a task that repeats: what `task done --on` takes.
    pub occurrence: Option<String>,
    /// A day (`2026-03-01`), a time (`2026-03-01T09:00`), or a time in a zone (`…[Europe/Lisbon]`).
    pub due: String,
    /// The day it is where the person is.
    pub day: String,
    /// When that is (ms UTC); of a day, when it begins.
    pub at_ms: i64,
    /// Occurrences before it that passed without being done.
    pub missed: u32,
}

/// A task.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// What is to be done.
    pub title: String,
    /// `needs-action`, `in-process`, `completed`, `cancelled`.
    pub status: String,
    /// Nothing of it is to be done any more.
    pub is_over: bool,
    /// What of it is due next.
    pub next: Option<TaskTime>,
    /// It was due before today.
    pub is_overdue: bool,
    /// When it begins.
    pub start: Option<String>,
    /// The day after which it is too late.
    pub deadline: Option<String>,
    /// The day for which it is planned.
    pub planned: Option<String>,
    /// 1 to 4 high, 5 medium, 6 to 9 low.
    pub priority: Option<i64>,
    /// How long it takes, in minutes.
    pub estimate: Option<i64>,
    /// The rule by which it repeats (RFC 5545).
    pub rule: Option<String>,
    /// The rule in words.
    pub repeats: Option<String>,
    /// Its list.
    pub list: Option<String>,
    /// Name of its list.
    pub list_name: Option<String>,
    /// The task it is part of.
    pub parent: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Who is to do it.
    pub assignees: Vec<String>,
    /// Tasks that must be done first and are not.
    pub waits_for: Vec<String>,
    /// When it was done last (ms UTC).
    pub done_ms: Option<i64>,
    /// How many of its occurrences were done.
    pub done_count: i64,
    /// Made (ms UTC).
    pub created_ms: i64,
    /// In the trash since (ms UTC).
    pub trashed_ms: Option<i64>,
    /// Things that break a rule after merging, and values that were written at once.
    pub to_look_at: i64,
}

/// A task with all that belongs to it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TaskDetail {
    /// The task.
    #[serde(flatten)]
    pub task: Task,
    /// Its notes.
    pub notes: String,
    /// The times after the next.
    pub coming: Vec<TaskTime>,
    /// Fields by name, as `lifeos entity show` has them.
    pub values: Map<String, Json>,
    /// Steps, alarms, the log of occurrences and whatever else is a list.
    pub lists: BTreeMap<String, Vec<Json>>,
    /// What merging left to be looked at.
    pub marks: Vec<EntityMark>,
}

/// What is to be done in the next days.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Agenda {
    /// The day it is.
    pub today: String,
    /// Was due before today; of each task the last.
    pub overdue: Vec<Task>,
    /// Due or planned for today, or too late after it.
    pub due_today: Vec<Task>,
    /// In the days after: each time of what repeats.
    pub upcoming: Vec<Task>,
}

/// A list of tasks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TaskList {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Open tasks in it.
    pub open: u64,
}

/// Which tasks to list.
#[derive(Debug, Clone, Default)]
pub struct TaskQuery {
    /// In the filter language ([`crate::filter`]).
    pub filter: Option<String>,
    /// Of this list, by name or id.
    pub list: Option<String>,
    /// Those that are over instead, the last first.
    pub done: bool,
    /// At most [default: 200].
    pub limit: usize,
}

/// What a new task has besides its line.
#[derive(Debug, Clone, Default)]
pub struct TaskDraft {
    /// Notes.
    pub notes: String,
    /// Its list, by name or id, where the line names none; a name that is new makes one.
    pub list: Option<String>,
    /// The task it is part of.
    pub parent: Option<String>,
    /// The languages the line may be in [default: English].
    pub languages: Vec<Language>,
}

/// What became of a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Added {
    /// A task.
    Task(DocId),
    /// It has several meanings: one of the choices is to be added instead.
    Question(Question),
}

/// What was done to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The task.
    pub id: String,
    /// The occurrence, of one that repeats.
    pub occurrence: Option<OccurrenceId>,
}

fn zones(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// Where the person is, and when.
pub(super) fn place(now: &Zoned) -> Place<'_> {
    Place { now: now.timestamp(), zone: now.time_zone(), zones: &zones }
}

fn time_of(next: &Next) -> TaskTime {
    TaskTime {
        occurrence: next.occurrence.map(|id| id.to_string()),
        due: next.due.clone(),
        day: when::day(next.day),
        at_ms: next.at.as_millisecond(),
        missed: next.missed,
    }
}

pub(super) fn new_id() -> String {
    let bytes: [u8; 16] = random_bytes(&mut SystemRandom::new());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Client {
    /// Reads a line as a task would be made of it ([`crate::quick`]).
    /// # Errors
    /// [`ClientError::Invalid`] for one that is too long.
    pub fn task_read(&self, line: &str, languages: &[Language], now: &Zoned) -> Result<Reading, ClientError> {
        let languages = if languages.is_empty() { vec![Language::English] } else { languages.to_vec() };
        let context = Context { now: now.clone(), languages, times: TimesOfDay::default() };
        quick::read(line, &context).map_err(|error| ClientError::invalid(error.to_string()))
    }

    /// Makes a task of a line, or asks what the line means.
    /// # Errors
    /// [`ClientError`].
    pub fn task_add(&self, line: &str, draft: &TaskDraft, now: &Zoned) -> Result<Added, ClientError> {
        let parsed = match self.task_read(line, &draft.languages, now)? {
            Reading::Clear(parsed) => parsed,
            Reading::Ambiguous(question) => return Ok(Added::Question(question)),
        };
        let parent = draft.parent.as_deref().map(|id| self.task_id(id)).transpose()?;
        if let Some(parent) = &parent {
            self.check_depth(&self.task_forest()?, None, parent)?;
        }
        let list = parsed.list.as_deref().or(draft.list.as_deref());
        let list = list.map(|name| self.list_or_new(name)).transpose()?;
        let (doc, parent) = (DocId(random_bytes(&mut SystemRandom::new())), parent.map(|doc| doc.to_string()));
        self.write(|tx| {
            tx.step(Step::Edit);
            let now_ms = tx.now_ms();
            let in_list = list.as_ref().map(|(list, _)| list.to_string());
            if let Some((list, Some(name))) = &list {
                tx.edit(list, LIST.genesis(), |inner| edit::name_list(inner, name, now_ms).map_err(ClientError::from))?;
            }
            let given = Given { notes: &draft.notes, list: in_list.as_deref(), parent: parent.as_deref(), rank: None };
            let today = now.date();
            tx.edit(&doc, TASK.genesis(), |inner| {
                edit::create(inner, &parsed, &given, today, now_ms, &mut new_id).map_err(ClientError::from)
            })
        })?;
        Ok(Added::Task(doc))
    }

    /// The list of a name or id; of a name that is new, where two devices that make it offline make the same one.
    fn list_or_new(&self, wanted: &str) -> Result<(DocId, Option<String>), ClientError> {
        match self.list_id(wanted) {
            Ok(doc) => Ok((doc, None)),
            Err(ClientError::NotFound { .. }) => {
                let doc = singleton_doc_id(&self.space(), LIST.name, &fold(wanted));
                Ok((doc, Some(wanted.to_owned())))
            }
            Err(error) => Err(error),
        }
    }

    fn list_id(&self, wanted: &str) -> Result<DocId, ClientError> {
        let lists = self.named_lists()?;
        let named: Vec<_> = lists.iter().filter(|(_, name)| fold(name) == fold(wanted)).map(|(id, _)| id).collect();
        let is_prefix = |id: &str| wanted.len() >= PREFIX_CHARS_MIN && id.starts_with(&wanted.to_ascii_lowercase());
        let by_id = || lists.keys().filter(|id| is_prefix(id)).collect::<Vec<_>>();
        let found = if named.is_empty() { by_id() } else { named };
        match found.as_slice() {
            [one] => one.parse().map_err(|_| ClientError::not_found(format!("list {wanted}"))),
            [] => Err(ClientError::not_found(format!("list {wanted}: `lifeos task lists` shows those there are"))),
            _ => Err(ClientError::invalid(format!("more than one list is called {wanted}: give its id"))),
        }
    }

    fn named_lists(&self) -> Result<BTreeMap<String, String>, ClientError> {
        let query = EntityQuery { limit: 10_000, ..EntityQuery::default() };
        let lists = self.entities(LIST.name, &query)?.into_iter();
        let name =
            |values: &Map<String, Json>| values.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
        Ok(lists.map(|list| (list.id, name(&list.values))).collect())
    }

    /// Which devices ring for the tasks of lists that say so, and whether these ring in quiet hours.
    pub(super) fn list_policies(&self) -> Result<BTreeMap<String, (Option<Who>, bool)>, ClientError> {
        let query = EntityQuery { limit: 10_000, ..EntityQuery::default() };
        let policy = |values: &Map<String, Json>| {
            let who = match values.get("rings").and_then(Json::as_str) {
                Some("all") => Some(Who::All),
                Some("active-first") => Some(Who::ActiveFirst { hold_s: 60 }),
                _ => None,
            };
            (who, values.get("urgent").and_then(Json::as_bool).unwrap_or(false))
        };
        let lists = self.entities(LIST.name, &query)?.into_iter();
        Ok(lists.map(|list| (list.id, policy(&list.values))).collect())
    }

    /// The lists of this space, by name.
    /// # Errors
    /// [`ClientError`].
    pub fn task_lists(&self) -> Result<Vec<TaskList>, ClientError> {
        let mut lists: Vec<TaskList> = Vec::new();
        for (id, name) in self.named_lists()? {
            let filter = TaskFilter { is_over: Some(false), list: Some(&id), ..TaskFilter::default() };
            let open = self.shared.reader().reads().tasks(&self.space(), &filter)?.len() as u64;
            lists.push(TaskList { id, name, open });
        }
        lists.sort_by_key(|list| (fold(&list.name), list.id.clone()));
        Ok(lists)
    }

    /// Makes a list, or takes the one of this name out of the trash.
    /// # Errors
    /// [`ClientError`].
    pub fn task_list_create(&self, name: &str) -> Result<DocId, ClientError> {
        let (doc, _) = self.list_or_new(name)?;
        self.edit(&doc, LIST.genesis(), Step::Edit, |inner| {
            Ok(edit::name_list(inner, name, crate::engine::wall_ms())?)
        })?;
        Ok(doc)
    }

    /// Tasks: open ones by when they are due, or those that are over.
    /// # Errors
    /// [`ClientError::Invalid`] for a filter that cannot be read.
    pub fn tasks(&self, query: &TaskQuery, now: &Zoned) -> Result<Vec<Task>, ClientError> {
        let wanted = query.filter.as_deref().map(Filter::parse).transpose();
        let wanted = wanted.map_err(|error| ClientError::invalid(error.to_string()))?;
        let list = query.list.as_deref().map(|list| self.list_id(list)).transpose()?.map(|doc| doc.to_string());
        let filter = TaskFilter {
            is_over: Some(query.done),
            list: list.as_deref(),
            done_since_ms: query.done.then_some(0),
            ..TaskFilter::default()
        };
        let mut tasks = self.tasks_of(&filter, now)?;
        if let Some(wanted) = wanted {
            tasks.retain(|task| wanted.passes(task, now.date()));
        }
        if !query.done {
            tasks.sort_by_key(by_time);
        }
        tasks.truncate(if query.limit == 0 { LIST_LIMIT } else { query.limit });
        Ok(tasks)
    }

    /// What is overdue, due today, and in so many days after.
    /// # Errors
    /// [`ClientError`].
    pub fn agenda(&self, days: u16, now: &Zoned) -> Result<Agenda, ClientError> {
        let today = now.date();
        let later = |days: u16| today.checked_add(jiff::Span::new().days(days)).unwrap_or(Date::MAX);
        let until = later(days.min(AGENDA_DAYS_MAX));
        // Whoever is elsewhere may have it a day earlier.
        let last = when::day(until.tomorrow().unwrap_or(until));
        let filter = TaskFilter { is_over: Some(false), until: Some(&last), ..TaskFilter::default() };
        let rows = self.shared.reader().reads().tasks(&self.space(), &filter)?;
        let shown = self.shown_tasks(&rows, now)?;
        let mut agenda =
            Agenda { today: when::day(today), overdue: Vec::new(), due_today: Vec::new(), upcoming: Vec::new() };
        for (row, task) in rows.iter().zip(shown) {
            let on = |text: &Option<String>| text.as_deref().and_then(when::civil).map(|wall| wall.date());
            let is_before = |day: Option<Date>| day.is_some_and(|day| day <= today);
            let due = task.next.as_ref().and_then(|next| next.day.parse::<Date>().ok());
            if task.is_overdue {
                agenda.overdue.push(task.clone());
            } else if is_before(due)
                || is_before(on(&task.planned))
                || on(&task.deadline) == Some(today)
                || due.is_none() && on(&task.start) == Some(today)
            {
                agenda.due_today.push(task.clone());
            }
            let facts = Facts::read(row, &zones);
            for next in facts.coming(until, COMING_MAX, &place(now)) {
                if next.day > today && next.day <= until {
                    agenda.upcoming.push(Task { next: Some(time_of(&next)), ..task.clone() });
                }
            }
            let begins = on(&task.start).filter(|day| due.is_none() && *day > today && *day <= until);
            agenda.upcoming.extend(begins.map(|_| task));
        }
        agenda.overdue.sort_by_key(by_time);
        agenda.due_today.sort_by_key(by_time);
        agenda.upcoming.sort_by_key(by_time);
        Ok(agenda)
    }

    fn tasks_of(&self, filter: &TaskFilter<'_>, now: &Zoned) -> Result<Vec<Task>, ClientError> {
        let rows = self.shared.reader().reads().tasks(&self.space(), filter)?;
        self.shown_tasks(&rows, now)
    }

    fn shown_tasks(&self, rows: &[TaskRow], now: &Zoned) -> Result<Vec<Task>, ClientError> {
        let lists = self.named_lists()?;
        let waits: BTreeSet<DocId> = rows.iter().flat_map(waited).filter_map(|id| id.parse().ok()).collect();
        let waits: Vec<DocId> = waits.into_iter().collect();
        let mut open = BTreeSet::new();
        for some in waits.chunks(500) {
            let filter = TaskFilter { ids: Some(some), is_over: Some(false), ..TaskFilter::default() };
            let rows = self.shared.reader().reads().tasks(&self.space(), &filter)?;
            open.extend(rows.into_iter().filter(|row| row.int("trashed_ms").is_none()).map(|row| row.doc.to_string()));
        }
        Ok(rows.iter().map(|row| task_of(row, &lists, &open, now)).collect())
    }

    /// A task with all that belongs to it. `id` is a full hex id or an unambiguous prefix of at least 4 characters.
    /// # Errors
    /// [`ClientError::NotFound`].
    pub fn task(&self, id: &str, now: &Zoned) -> Result<TaskDetail, ClientError> {
        let doc = self.task_id(id)?;
        let filter = TaskFilter { ids: Some(&[doc]), ..TaskFilter::default() };
        let rows = self.shared.reader().reads().tasks(&self.space(), &filter)?;
        let row = rows.first().ok_or_else(|| ClientError::not_found(format!("task {id}")))?;
        let task = self.shown_tasks(&rows, now)?.pop().ok_or_else(|| ClientError::not_found(format!("task {id}")))?;
        let until = now.date().checked_add(jiff::Span::new().years(10)).unwrap_or(Date::MAX);
        let coming = Facts::read(row, &zones).coming(until, 6, &place(now));
        let mut entity = self.entity(&doc.to_string())?;
        let notes = entity.values.remove("notes").and_then(|notes| Some(notes.as_str()?.to_owned()));
        Ok(TaskDetail {
            task,
            notes: notes.unwrap_or_default(),
            coming: coming.iter().skip(1).map(time_of).collect(),
            values: entity.values,
            lists: entity.lists,
            marks: entity.marks,
        })
    }

    pub(super) fn task_id(&self, id: &str) -> Result<DocId, ClientError> {
        let (doc, kind) = self.entity_id(id)?;
        let is_task = kind.genesis() == TASK.genesis();
        is_task.then_some(doc).ok_or_else(|| ClientError::not_found(format!("task {id}")))
    }

    fn edit_task<T>(
        &self,
        id: &str,
        edit: impl FnOnce(&mut AutoCommit) -> Result<T, DocumentError>,
    ) -> Result<(String, T), ClientError> {
        let doc = self.task_id(id)?;
        let value = self.entity_edit_as(&TASK, &doc.to_string(), |inner, _| edit(inner))?;
        Ok((doc.to_string(), value))
    }

    /// Says that a task, or an occurrence of it, was done or is skipped.
    /// # Errors
    /// [`ClientError`].
    pub fn task_settle(
        &self,
        id: &str,
        settle: Settle,
        occurrence: Option<OccurrenceId>,
        now: &Zoned,
    ) -> Result<Changed, ClientError> {
        let by = self.device().to_string();
        let (id, occurrence) = self.edit_task(id, |inner| edit::settle(inner, settle, occurrence, &by, &place(now)))?;
        Ok(Changed { id, occurrence })
    }

    /// Takes back that a task or an occurrence was done or skipped; without naming one, the last.
    /// # Errors
    /// [`ClientError`].
    pub fn task_unsettle(&self, id: &str, occurrence: Option<OccurrenceId>) -> Result<Changed, ClientError> {
        let (id, occurrence) = self.edit_task(id, |inner| edit::unsettle(inner, occurrence))?;
        Ok(Changed { id, occurrence })
    }

    /// Moves what is due to another time, written as a line would (`tomorrow 9:00`) or as documents do
    /// (`2026-03-01T09:00`): of what repeats, that occurrence alone.
    /// # Errors
    /// [`ClientError`].
    pub fn task_reschedule(
        &self,
        id: &str,
        to: &str,
        occurrence: Option<OccurrenceId>,
        languages: &[Language],
        now: &Zoned,
    ) -> Result<Changed, ClientError> {
        let to = self.time_text(to, languages, now)?;
        let (id, occurrence) = self.edit_task(id, |inner| edit::reschedule(inner, &to, occurrence, &place(now)))?;
        Ok(Changed { id, occurrence })
    }

    /// A day or time as a person writes it, as documents hold it.
    /// # Errors
    /// [`ClientError::Invalid`] for what is no time or has several meanings.
    pub fn time_text(&self, text: &str, languages: &[Language], now: &Zoned) -> Result<String, ClientError> {
        let field = TASK.field_named("due").ok_or_else(|| ClientError::invalid("there is no such field"))?;
        if let Ok(automerge::ScalarValue::Str(text)) = field.read(&Json::String(text.to_owned())) {
            return Ok(text.to_string());
        }
        match self.task_read(text, languages, now)? {
            Reading::Clear(parsed) if parsed.title.is_empty() => parsed
                .due
                .as_ref()
                .or(parsed.start.as_ref())
                .map(when::of_quick)
                .ok_or_else(|| ClientError::invalid(format!("\"{text}\" says no day or time"))),
            Reading::Clear(_) => {
                Err(ClientError::invalid(format!("\"{text}\" is no day or time, like tomorrow 9:00 or 2026-03-01")))
            }
            Reading::Ambiguous(question) => {
                let choices: Vec<_> = question.choices.iter().map(|choice| format!("\"{}\"", choice.line)).collect();
                let asked = question.doubt.question(Language::English);
                Err(ClientError::invalid(format!("{asked} Write {}", choices.join(" or "))))
            }
        }
    }

    /// Plans a task for a day, behind what is planned for it already; `None` takes it out of any plan.
    /// # Errors
    /// [`ClientError`].
    pub fn task_plan(&self, id: &str, day: Option<Date>) -> Result<Changed, ClientError> {
        let rank = match day {
            None => None,
            Some(day) => {
                let wheres = vec![("planned".to_owned(), Compare::Is, when::day(day))];
                let query = EntityQuery {
                    wheres,
                    order: Some("planned_rank".into()),
                    descending: true,
                    limit: 1,
                    ..EntityQuery::default()
                };
                let last = self.entities(TASK.name, &query)?.pop();
                let last = last.and_then(|task| Some(task.values.get("planned_rank")?.as_str()?.to_owned()));
                Some(crate::modules::rank::between(last.as_deref(), None))
            }
        };
        let (id, ()) = self.edit_task(id, |inner| edit::plan_day(inner, day, rank.as_deref()))?;
        Ok(Changed { id, occurrence: None })
    }

    /// Puts a task into a list, by name or id; a new name makes one, an empty one takes it out of all.
    /// # Errors
    /// [`ClientError`].
    pub fn task_to_list(&self, id: &str, list: &str) -> Result<Changed, ClientError> {
        let doc = self.task_id(id)?;
        let list = if list.is_empty() { None } else { Some(self.list_or_new(list)?) };
        self.write(|tx| {
            tx.step(Step::Edit);
            let now_ms = tx.now_ms();
            if let Some((list, Some(name))) = &list {
                tx.edit(list, LIST.genesis(), |inner| edit::name_list(inner, name, now_ms).map_err(ClientError::from))?;
            }
            let value = list.as_ref().map_or(automerge::ScalarValue::Null, |(list, _)| list.to_string().into());
            tx.edit(&doc, TASK.genesis(), |inner| {
                let fields = [("list", value), ("section", automerge::ScalarValue::Null)];
                entity::set_all(inner, &TASK, &fields).map_err(ClientError::from)
            })
        })?;
        Ok(Changed { id: doc.to_string(), occurrence: None })
    }

    /// Makes a task part of another one, or (`None`) of none.
    /// # Errors
    /// [`ClientError::Invalid`] when it would be above itself, or nested too deep.
    pub fn task_nest(&self, id: &str, parent: Option<&str>) -> Result<Changed, ClientError> {
        let doc = self.task_id(id)?;
        let parent = parent.map(|parent| self.task_id(parent)).transpose()?;
        if let Some(parent) = &parent {
            let forest = self.task_forest()?;
            if forest.is_within(&parent.to_string(), &doc.to_string()) {
                return Err(ClientError::invalid("a task cannot be part of itself"));
            }
            self.check_depth(&forest, Some(&doc), parent)?;
        }
        let value = parent.map_or(automerge::ScalarValue::Null, |parent| parent.to_string().into());
        self.edit_task(&doc.to_string(), |inner| entity::set(inner, &TASK, "parent", value))?;
        Ok(Changed { id: doc.to_string(), occurrence: None })
    }

    fn task_forest(&self) -> Result<Forest, ClientError> {
        let relations = self.shared.reader().reads().task_relations(&self.space())?;
        Ok(forest(&relations.into_iter().map(|(doc, parent, _)| (doc.to_string(), parent)).collect()))
    }

    fn check_depth(&self, forest: &Forest, below: Option<&DocId>, parent: &DocId) -> Result<(), ClientError> {
        let height = below.map_or(0, |doc| {
            let doc = doc.to_string();
            let within = forest.parents.keys().filter(|id| forest.is_within(id, &doc));
            within.map(|id| forest.depth(id) - forest.depth(&doc)).max().unwrap_or(0)
        });
        let fits = forest.depth(&parent.to_string()) + 1 + height < DEPTH_MAX;
        fits.then_some(()).ok_or_else(|| ClientError::invalid(format!("tasks nest {DEPTH_MAX} deep at most")))
    }

    /// Has a task wait until another one is done, or no longer.
    /// # Errors
    /// [`ClientError::Invalid`] when the other one waits for it already.
    pub fn task_wait(&self, id: &str, other: &str, waits: bool) -> Result<Changed, ClientError> {
        let (doc, other) = (self.task_id(id)?, self.task_id(other)?);
        if waits {
            let relations = self.shared.reader().reads().task_relations(&self.space())?;
            let mut of: BTreeMap<String, BTreeSet<String>> =
                relations.into_iter().map(|(doc, _, waits)| (doc.to_string(), waits.into_iter().collect())).collect();
            let before = circles(&of);
            of.entry(doc.to_string()).or_default().insert(other.to_string());
            if doc == other || circles(&of) != before {
                return Err(ClientError::invalid("the two would wait for each other"));
            }
        }
        self.entity_edit_as(&TASK, &doc.to_string(), |inner, now_ms| {
            let key = other.to_string();
            if !waits {
                return entity::remove_row(inner, &TASK, "dep", &key, now_ms);
            }
            let family = TASK.family("dep").ok_or(DocumentError::InvalidEdit("there is no such list"))?;
            if entity::entries(inner, family).contains(&key) {
                entity::restore_row(inner, &TASK, "dep", &key)?;
            }
            entity::put_row(inner, &TASK, "dep", &key, &[("kind", "finish-start".into())])
        })?;
        Ok(Changed { id: doc.to_string(), occurrence: None })
    }
}

fn waited(row: &TaskRow) -> Vec<String> {
    row.entries.get("dep").into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

/// By what is due first, then by priority, then by title.
fn by_time(task: &Task) -> (bool, i64, i64, String, String) {
    let at = task.next.as_ref().map(|next| next.at_ms);
    (at.is_none(), at.unwrap_or(0), task.priority.unwrap_or(10), fold(&task.title), task.id.clone())
}

fn task_of(row: &TaskRow, lists: &BTreeMap<String, String>, open: &BTreeSet<String>, now: &Zoned) -> Task {
    let facts = Facts::read(row, &zones);
    let next = facts.next(&place(now));
    let text = |name: &str| row.text(name).map(str::to_owned);
    let labels = |family: &str| -> Vec<String> {
        let entries = row.entries.get(family).into_iter().flatten();
        let labels = entries.filter_map(|(_, entry)| match entry.get("label")? {
            crate::projection::Value::Text(label) => Some(label.clone()),
            _ => None,
        });
        labels.collect()
    };
    let repeats = facts.rule.as_ref().map(|rule| {
        let words = rule.explain(Language::English);
        if facts.from_completion { format!("{words}, from when it was done") } else { words }
    });
    let is_overdue = next.as_ref().is_some_and(|next| next.day < now.date());
    Task {
        id: row.doc.to_string(),
        title: text("title").unwrap_or_default(),
        status: text("status").unwrap_or_else(|| "needs-action".into()),
        is_over: row.int("is_over") == Some(1),
        next: next.as_ref().map(time_of),
        is_overdue,
        start: text("start"),
        deadline: text("deadline"),
        planned: text("planned"),
        priority: row.int("priority"),
        estimate: row.int("estimate"),
        rule: text("rule"),
        repeats,
        list_name: row.text("list").and_then(|list| lists.get(list)).cloned(),
        list: text("list"),
        parent: text("parent"),
        tags: labels("tag"),
        assignees: labels("assignee"),
        waits_for: waited(row).into_iter().filter(|id| open.contains(id)).collect(),
        done_ms: row.int("done_ms"),
        done_count: row.int("done_count").unwrap_or(0),
        created_ms: row.int("created_ms").unwrap_or(0),
        trashed_ms: row.int("trashed_ms"),
        to_look_at: row.int("invalid").unwrap_or(0) + row.int("conflicts").unwrap_or(0),
    }
}

/// What lists filter by. Tags and lists are compared without case; a tag stands for what is below it.
impl filter::Row for Task {
    fn title(&self) -> &str {
        &self.title
    }

    fn has_tag(&self, tag: &str) -> bool {
        let wanted = fold(tag);
        self.tags
            .iter()
            .map(|tag| fold(tag))
            .any(|tag| tag.strip_prefix(&wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    fn is_in(&self, list: &str) -> bool {
        self.list_name.as_deref().is_some_and(|name| fold(name) == fold(list))
    }

    fn priority(&self) -> Option<u8> {
        Some(match self.priority? {
            1..=2 => 1,
            3..=4 => 2,
            5 => 3,
            _ => 4,
        })
    }

    fn day(&self, field: filter::Field) -> Option<Date> {
        let of = |text: &Option<String>| text.as_deref().and_then(when::civil).map(|wall| wall.date());
        let at = |ms: i64| jiff::Timestamp::from_millisecond(ms).ok().map(|at| at.to_zoned(TimeZone::system()).date());
        match field {
            filter::Field::Due => self.next.as_ref().and_then(|next| next.day.parse().ok()),
            filter::Field::Start => of(&self.start),
            filter::Field::Deadline => of(&self.deadline),
            filter::Field::Done => self.done_ms.filter(|_| self.is_over).and_then(at),
            filter::Field::Created => at(self.created_ms),
        }
    }

    fn is_recurring(&self) -> bool {
        self.rule.is_some()
    }

    fn is_subtask(&self) -> bool {
        self.parent.is_some()
    }

    fn is_assigned(&self, to: Option<&str>) -> bool {
        match to {
            None => !self.assignees.is_empty(),
            Some(to) => self.assignees.iter().any(|assignee| fold(assignee) == fold(to)),
        }
    }
}
