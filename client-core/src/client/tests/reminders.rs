//! Tasks and what rings, from rows alone, at times that are given.

use jiff::{Timestamp, Zoned};

use super::*;
use crate::modules::reminders::edit::Settle;

fn at(text: &str) -> Zoned {
    text.parse().unwrap()
}

fn add(client: &Client, line: &str, now: &Zoned) -> String {
    match client.task_add(line, &TaskDraft::default(), now).unwrap() {
        Added::Task(doc) => doc.to_string(),
        Added::Question(question) => panic!("{line}: {question:?}"),
    }
}

#[derive(Default)]
struct Desk {
    shown: Vec<String>,
    digests: Vec<usize>,
    withdrawn: Vec<String>,
    is_broken: bool,
}

impl Notifier for Desk {
    fn show(&mut self, ring: &ShownRing) -> Result<(), String> {
        if self.is_broken {
            return Err("no screen".into());
        }
        self.shown.push(format!("{} {}", ring.wall, ring.title));
        Ok(())
    }

    fn digest(&mut self, rings: &[ShownRing]) -> Result<(), String> {
        self.digests.push(rings.len());
        Ok(())
    }

    fn withdraw(&mut self, id: &str) {
        self.withdrawn.push(id.to_owned());
    }
}

#[test]
fn a_device_rings_what_is_due_once_also_after_a_restart_and_withdraws_what_is_over() {
    let (dir, client) = home();
    let (mut desk, mut showing) = (Desk::default(), Showing::default());
    let morning = at("2026-03-02T08:00[Europe/London]");
    let water = add(&client, "water the plants every day at 09:00", &morning);
    add(&client, "read a book", &morning);
    let mut turn =
        |desk: &mut Desk, client: &Client, now: &str| client.ring_turn(desk, &mut showing, None, &at(now)).unwrap();
    turn(&mut desk, &client, "2026-03-02T08:00[Europe/London]");
    assert_eq!(desk.shown, Vec::<String>::new());
    let next = client.ring_next(&morning).unwrap().unwrap();
    assert_eq!(next, "2026-03-02T09:00Z".parse::<Timestamp>().unwrap());
    let (rings, _) = turn(&mut desk, &client, "2026-03-02T09:00:01[Europe/London]");
    assert_eq!(desk.shown, ["2026-03-02T09:00 water the plants"]);
    // Another process, after a crash: what was rung is on disk.
    drop(client);
    let client = Client::open(&dir.path().join("home")).unwrap();
    turn(&mut desk, &client, "2026-03-02T09:00:20[Europe/London]");
    assert_eq!(desk.shown.len(), 1, "it does not ring twice");
    client.task_settle(&water, Settle::Done, None, &at("2026-03-02T09:05[Europe/London]")).unwrap();
    turn(&mut desk, &client, "2026-03-02T09:05:10[Europe/London]");
    assert_eq!(desk.withdrawn, [rings.rings[0].id.clone()], "what is done is taken from the screen");
    // Put off, it rings at that time; seen, not at all.
    turn(&mut desk, &client, "2026-03-03T09:00:01[Europe/London]");
    let tuesday = at("2026-03-03T09:01[Europe/London]");
    client.task_snooze(&water, "2026-03-03T10:00Z".parse().unwrap(), &tuesday).unwrap();
    turn(&mut desk, &client, "2026-03-03T10:00:01[Europe/London]");
    client.task_seen(&water, &at("2026-03-03T10:01[Europe/London]")).unwrap();
    turn(&mut desk, &client, "2026-03-03T10:01:10[Europe/London]");
    assert_eq!(desk.shown[1..], ["2026-03-03T09:00 water the plants", "2026-03-03T10:00 water the plants"]);
    assert_eq!(desk.withdrawn.len(), 3, "put off and seen, it leaves the screen");
    let far = client.task_snooze(&water, "2026-05-03T10:00Z".parse().unwrap(), &tuesday).unwrap_err();
    assert!(far.to_string().contains("31 days"), "{far}");
    // What cannot be shown is told, and does not stop the rest.
    desk.is_broken = true;
    let (_, failed) = turn(&mut desk, &client, "2026-03-04T09:00:01[Europe/London]");
    assert_eq!(failed, ["no screen"]);
}

#[test]
fn lists_find_by_day_what_is_due_whatever_it_counts_from() {
    let (_dir, client) = home();
    let now = at("2026-03-02T08:00[Europe/London]");
    add(&client, "rent every month on the 1st", &now);
    let filter = add(&client, "change the filter every! 3 days", &now);
    add(&client, "call Ana tomorrow at 09:00 ~Family", &now);
    add(&client, "old thing 2026-02-27", &now);
    let titles = |tasks: &[Task]| tasks.iter().map(|task| task.title.clone()).collect::<Vec<_>>();
    let agenda = client.agenda(7, &now).unwrap();
    assert_eq!(titles(&agenda.overdue), ["old thing"]);
    assert_eq!(titles(&agenda.due_today), ["change the filter"]);
    assert_eq!(titles(&agenda.upcoming), ["call Ana"]);
    let done = client.task_settle(&filter, Settle::Done, None, &at("2026-03-03T08:00[Europe/London]")).unwrap();
    assert_eq!(done.occurrence.unwrap().to_string(), "20260302");
    let agenda = client.agenda(7, &at("2026-03-03T08:00[Europe/London]")).unwrap();
    assert_eq!(titles(&agenda.upcoming), ["change the filter"]);
    assert_eq!(agenda.upcoming[0].next.as_ref().unwrap().day, "2026-03-06");
    assert_eq!(titles(&client.agenda(40, &now).unwrap().upcoming), ["call Ana", "change the filter", "rent"]);
    let query = TaskQuery { filter: Some("~family | recurring".into()), ..TaskQuery::default() };
    assert_eq!(titles(&client.tasks(&query, &now).unwrap()), ["call Ana", "change the filter", "rent"]);
    // Two lines that name one list make one.
    add(&client, "call Ben ~FAMILY", &now);
    let lists = client.task_lists().unwrap();
    assert_eq!((lists.len(), lists[0].name.as_str(), lists[0].open), (1, "Family", 2));
    assert!(client.doctor(false, &mut |_| {}).unwrap().ok);
}
