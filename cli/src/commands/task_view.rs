//! Showing tasks: one line each, with the time first; an agenda by days; one with all that belongs to it.

use jiff::Zoned;
use jiff::civil::Date;
use lifeos_client_core::client::{Agenda, Changed, Client, Task, TaskDetail, TaskList, TaskTime};
use lifeos_client_core::quick::{Parsed, Reading, When};
use lifeos_client_core::recur::Language;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, many_lines, one_line, short, time};

/// `Mon 2 Mar`, with the year where it is another one.
fn day(day: Date, today: Date) -> String {
    let near = (day - today).get_days();
    match near {
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        -1 => "yesterday".to_owned(),
        _ if day.year() == today.year() => day.strftime("%a %-d %b").to_string(),
        _ => day.strftime("%a %-d %b %Y").to_string(),
    }
}

/// The clock of a time, where it has one: the person's, as `HH:MM`.
fn clock(next: &TaskTime, now: &Zoned) -> String {
    let at = jiff::Timestamp::from_millisecond(next.at_ms).ok().filter(|_| next.due.contains('T'));
    at.map(|at| at.to_zoned(now.time_zone().clone()).strftime("%H:%M").to_string()).unwrap_or_default()
}

fn when(next: &TaskTime, now: &Zoned) -> String {
    let shown = next.day.parse().map_or_else(|_| next.day.clone(), |date| day(date, now.date()));
    let clock = clock(next, now);
    if clock.is_empty() { shown } else { format!("{shown} {clock}") }
}

fn priority(task: &Task) -> &'static str {
    match task.priority {
        Some(1..=2) => "p1",
        Some(3..=4) => "p2",
        Some(5) => "p3",
        Some(_) => "p4",
        None => "",
    }
}

/// What is worth knowing beside the title.
fn remarks(task: &Task, now: &Zoned) -> String {
    let mut said: Vec<String> = Vec::new();
    said.extend(task.list_name.as_ref().map(|list| format!("~{}", one_line(list))));
    said.extend(task.tags.iter().map(|tag| format!("#{}", one_line(tag))));
    said.extend(task.repeats.iter().map(|rule| format!("({})", one_line(rule))));
    let missed = task.next.as_ref().map_or(0, |next| next.missed);
    if missed > 0 {
        said.push(format!("{missed} missed before"));
    }
    let deadline = task.deadline.as_ref().and_then(|date| date.parse().ok());
    said.extend(deadline.map(|date: Date| format!("no later than {}", day(date, now.date()))));
    if !task.waits_for.is_empty() {
        said.push(format!("waits for {}", task.waits_for.iter().map(|id| short(id)).collect::<Vec<_>>().join(", ")));
    }
    if task.to_look_at > 0 {
        said.push("to be looked at".to_owned());
    }
    said.join("  ")
}

fn row(task: &Task, first: String, now: &Zoned) -> Vec<String> {
    vec![short(&task.id), first, priority(task).to_owned(), one_line(&task.title), remarks(task, now)]
}

/// One line a task, by when it is due.
pub(super) fn list(tasks: &[Task], now: &Zoned, context: &Context) -> Result<(), Failure> {
    context.out.result(&json!({"tasks": tasks}), |page| {
        if tasks.is_empty() {
            page.line("Nothing.");
        }
        let rows = tasks.iter().map(|task| {
            let done = task.done_ms.filter(|_| task.is_over).map(|ms| format!("done {}", time(ms)));
            let first = done.or_else(|| task.next.as_ref().map(|next| when(next, now)));
            row(task, first.unwrap_or_else(|| "-".to_owned()), now)
        });
        page.table(&rows.collect::<Vec<_>>());
    })
}

/// What is overdue, due today, and in the next days.
pub(super) fn agenda(agenda: &Agenda, context: &Context) -> Result<(), Failure> {
    let now = Zoned::now();
    context.out.result(agenda, |page| {
        let all = agenda.overdue.len() + agenda.due_today.len() + agenda.upcoming.len();
        if all == 0 {
            page.line("Nothing is due.");
        }
        section(page, "Overdue", &agenda.overdue, |task| {
            task.next.as_ref().map_or_else(String::new, |next| when(next, &now))
        });
        section(page, "Today", &agenda.due_today, |task| {
            task.next.as_ref().map_or_else(String::new, |next| clock(next, &now))
        });
        days(page, &agenda.upcoming, &now);
    })
}

/// The next days alone.
pub(super) fn upcoming(agenda: &Agenda, context: &Context) -> Result<(), Failure> {
    let now = Zoned::now();
    context.out.result(&json!({"today": agenda.today, "upcoming": agenda.upcoming}), |page| {
        if agenda.upcoming.is_empty() {
            page.line("Nothing is due.");
        }
        days(page, &agenda.upcoming, &now);
    })
}

fn section(page: &mut Page, title: &str, tasks: &[Task], first: impl Fn(&Task) -> String) {
    if tasks.is_empty() {
        return;
    }
    let now = Zoned::now();
    page.line(page.bold(title));
    page.table(&tasks.iter().map(|task| row(task, first(task), &now)).collect::<Vec<_>>());
}

fn days(page: &mut Page, tasks: &[Task], now: &Zoned) {
    let day_of = |task: &Task| task.next.as_ref().map(|next| next.day.clone()).or_else(|| task.start.clone());
    for tasks in tasks.chunk_by(|one, other| day_of(one) == day_of(other)) {
        let date = tasks.first().and_then(day_of).and_then(|day| day.get(..10)?.parse().ok());
        let title = date.map_or_else(|| "Later".to_owned(), |date| day(date, now.date()));
        section(page, &title, tasks, |task| task.next.as_ref().map_or_else(String::new, |next| clock(next, now)));
    }
}

/// A task with all that belongs to it.
pub(super) fn show(client: &Client, id: &str, now: &Zoned, context: &Context) -> Result<(), Failure> {
    let detail = client.task(id, now)?;
    context.out.result(&detail, |page| draw(&detail, now, page))
}

fn draw(detail: &TaskDetail, now: &Zoned, page: &mut Page) {
    let task = &detail.task;
    page.line(format_args!("{}  {}", short(&task.id), page.bold(&one_line(&task.title))));
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut push = |name: &str, value: Option<String>| rows.extend(value.map(|value| vec![name.to_owned(), value]));
    push("due", task.next.as_ref().map(|next| format!("{}  ({})", when(next, now), one_line(&next.due))));
    push("repeats", task.repeats.as_deref().map(one_line));
    let then: Vec<String> = detail.coming.iter().map(|next| when(next, now)).collect();
    push("then", Some(then.join(", ")).filter(|then| !then.is_empty()));
    push("begins", task.start.as_deref().map(one_line));
    push("no later than", task.deadline.as_deref().map(one_line));
    push("planned for", task.planned.as_deref().map(one_line));
    push("priority", Some(priority(task).to_owned()).filter(|priority| !priority.is_empty()));
    push("list", task.list_name.as_deref().map(one_line));
    push("tags", Some(one_line(&task.tags.join(", "))).filter(|tags| !tags.is_empty()));
    push("takes", task.estimate.map(|minutes| format!("{minutes} min")));
    push("part of", task.parent.as_deref().map(short));
    push(
        "waits for",
        Some(task.waits_for.iter().map(|id| short(id)).collect::<Vec<_>>().join(", ")).filter(|it| !it.is_empty()),
    );
    push("status", Some(one_line(&task.status)).filter(|_| task.rule.is_none()));
    push(
        "done",
        task.done_ms.map(|ms| match task.rule.is_some() {
            true => format!(
                "{} {}",
                count(u64::try_from(task.done_count).unwrap_or(0), "time"),
                format_args!("last {}", time(ms))
            ),
            false => time(ms),
        }),
    );
    push("in the trash since", task.trashed_ms.map(time));
    page.table(&rows);
    for name in ["check", "alarm", "occ", "link", "spent", "over"] {
        let entries = detail.lists.get(name).into_iter().flatten();
        page.table(&entries.map(|entry| vec![name.to_owned(), one_line(&entry_text(entry))]).collect::<Vec<_>>());
    }
    if !detail.notes.is_empty() {
        page.line("");
        page.line(many_lines(&detail.notes));
    }
    for mark in &detail.marks {
        page.line(format_args!("{} {}: {}", mark.mark, one_line(&mark.at), one_line(&mark.detail)));
    }
}

fn entry_text(entry: &Value) -> String {
    let Some(fields) = entry.as_object() else { return entry.as_str().unwrap_or_default().to_owned() };
    let shown = fields.iter().filter(|(name, _)| *name != "by" && *name != "rank").map(|(name, value)| {
        let is_time = matches!(name.as_str(), "done" | "skip");
        let value = value
            .as_i64()
            .filter(|_| is_time)
            .map_or_else(|| value.as_str().map_or_else(|| value.to_string(), str::to_owned), time);
        if name == "id" { value } else { format!("{name} {value}") }
    });
    shown.collect::<Vec<_>>().join("  ")
}

/// What was done to tasks, and what is due of them now.
pub(super) fn changed(client: &Client, changed: &[Changed], now: &Zoned, context: &Context) -> Result<(), Failure> {
    let mut tasks = Vec::new();
    for one in changed {
        let task = client.task(&one.id, now)?.task;
        tasks.push(json!({"id": one.id, "occurrence": one.occurrence.map(|id| id.to_string()), "task": task}));
    }
    context.out.result(&json!({"changed": tasks}), |page| {
        let shown = changed.iter().filter_map(|one| client.task(&one.id, now).ok());
        let rows = shown.map(|detail| {
            let task = detail.task;
            let next = task.next.as_ref().map(|next| format!("next {}", when(next, now)));
            let done = || if task.status == "cancelled" { "called off".to_owned() } else { "done".to_owned() };
            let first = next.unwrap_or_else(|| if task.is_over { done() } else { "-".to_owned() });
            row(&task, first, now)
        });
        page.table(&rows.collect::<Vec<_>>());
    })
}

/// The lists with how much is open in each.
pub(super) fn lists(lists: &[TaskList], context: &Context) -> Result<(), Failure> {
    context.out.result(&json!({"lists": lists}), |page| {
        let row = |list: &TaskList| vec![short(&list.id), one_line(&list.name), format!("{} open", list.open)];
        page.table(&lists.iter().map(row).collect::<Vec<_>>());
    })
}

fn when_text(when: &When) -> String {
    match when {
        When::Date(date) => date.to_string(),
        When::Floating(wall) => wall.strftime("%Y-%m-%dT%H:%M").to_string(),
        When::Zoned(wall, zone) => format!("{}[{zone}]", wall.strftime("%Y-%m-%dT%H:%M")),
    }
}

/// How a line reads.
pub(super) fn reading(reading: &Reading, context: &Context) -> Result<(), Failure> {
    match reading {
        Reading::Clear(parsed) => clear(parsed, context),
        Reading::Ambiguous(question) => {
            let choices: Vec<Value> =
                question.choices.iter().map(|choice| json!({"means": choice.means, "line": choice.line})).collect();
            let asked = question.doubt.question(Language::English);
            context.out.result(&json!({"reads": null, "question": asked, "choices": choices}), |page| {
                page.line(asked);
                let row =
                    |choice: &lifeos_client_core::quick::Choice| vec![one_line(&choice.means), one_line(&choice.line)];
                page.table(&question.choices.iter().map(row).collect::<Vec<_>>());
            })
        }
    }
}

fn clear(parsed: &Parsed, context: &Context) -> Result<(), Failure> {
    let repeats = parsed.repeat.as_ref().map(|repeat| repeat.rule.to_string());
    let reads = json!({
        "title": parsed.title, "start": parsed.start.as_ref().map(when_text), "due": parsed.due.as_ref().map(when_text),
        "deadline": parsed.deadline.map(|day| day.to_string()), "rule": repeats, "priority": parsed.priority,
        "tags": parsed.tags, "list": parsed.list, "estimate": parsed.minutes, "reminders": parsed.reminders.len(),
    });
    context.out.result(&json!({"reads": reads, "question": null, "choices": []}), |page| {
        let fields = reads.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        page.table(&fields.map(|(name, value)| vec![name.clone(), one_line(&shown(value))]).collect::<Vec<_>>());
    })
}
