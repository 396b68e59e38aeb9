//! Tasks from the outside: written as a line, found by day and filter, settled, moved, planned, taken back.

use serde_json::{Value, json};

use super::{Desk, failure, text};

fn day(days: i64) -> String {
    let today = jiff::Zoned::now().date();
    (today + jiff::Span::new().days(days)).to_string()
}

fn titles(tasks: &Value) -> Vec<&str> {
    tasks.as_array().unwrap().iter().map(|task| task["title"].as_str().unwrap()).collect()
}

#[test]
fn a_task_is_written_as_a_line_found_settled_and_taken_back() {
    let desk = Desk::new();
    desk.init("a", None);
    let add = |line: &str| desk.json("a", &["task", "add", line])["id"].as_str().unwrap().to_owned();
    let rent = add(&format!("pay rent {} 09:00 every month ~House #money p1", day(0)));
    let milk = add("milk tomorrow #home for 10 min");
    let someday = add("learn the oboe");
    let shown = desk.json("a", &["task", "show", &rent[..8]]);
    assert_eq!(
        (&shown["title"], &shown["list_name"], &shown["priority"]),
        (&json!("pay rent"), &json!("House"), &json!(1))
    );
    assert_eq!(shown["next"]["due"], json!(format!("{}T09:00", day(0))));
    assert_eq!(shown["coming"].as_array().unwrap().len(), 5);

    let agenda = desk.json("a", &["task", "agenda"]);
    assert_eq!((titles(&agenda["due_today"]), titles(&agenda["upcoming"])), (vec!["pay rent"], vec!["milk"]));
    let found = |args: &[&str]| desk.json("a", &[&["task", "list"], args].concat())["tasks"].clone();
    assert_eq!(titles(&found(&[])), ["pay rent", "milk", "learn the oboe"]);
    assert_eq!(titles(&found(&["due before: +3d & #home"])), ["milk"]);
    assert_eq!(titles(&found(&["!due"])), ["learn the oboe"]);
    assert_eq!(titles(&found(&["--in", "house"])), ["pay rent"]);
    assert_eq!(titles(&found(&["p1 | #home"])), ["pay rent", "milk"]);

    let done = desk.json("a", &["task", "done", &rent, &milk]);
    assert_eq!(done["changed"][0]["task"]["done_count"], 1);
    assert_eq!(
        (&done["changed"][1]["task"]["is_over"], &done["changed"][1]["occurrence"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(titles(&found(&["--done"])), ["milk"]);
    assert!(found(&[])[0]["next"]["day"].as_str().unwrap() > day(20).as_str(), "a month later");
    desk.json("a", &["task", "reopen", &rent]);
    assert_eq!(found(&[])[0]["next"]["day"], json!(day(0)));
    desk.json("a", &["task", "skip", &rent]);
    assert_eq!(desk.json("a", &["task", "show", &rent])["done_count"], 0);
    desk.json("a", &["undo"]);
    assert_eq!(found(&[])[0]["next"]["day"], json!(day(0)), "undo takes the skipping back");

    let moved = desk.json("a", &["task", "move", &rent, &format!("{}T18:30", day(2))]);
    assert_eq!(moved["changed"][0]["task"]["next"]["due"], json!(format!("{}T18:30", day(2))));
    desk.json("a", &["task", "plan", &someday, &milk]);
    let agenda = desk.json("a", &["task", "agenda"]);
    assert_eq!(titles(&agenda["due_today"]), ["learn the oboe"], "planned for today; what is done is not shown");
    desk.json("a", &["task", "into", "Music", &someday]);
    let lists = desk.json("a", &["task", "lists", "--new", "Empty"]);
    let lists: Vec<_> =
        lists["lists"].as_array().unwrap().iter().map(|list| (list["name"].as_str().unwrap(), &list["open"])).collect();
    assert_eq!(lists, [("Empty", &json!(0)), ("House", &json!(1)), ("Music", &json!(1))]);
    let edited = desk.json("a", &["task", "edit", &someday, "due=tomorrow", "tag=music", "energy=low"]);
    assert_eq!((&edited["next"]["due"], &edited["tags"]), (&json!(day(1)), &json!(["music"])));
    assert_eq!(titles(&desk.json("a", &["task", "upcoming", "--days", "1"])["upcoming"]), ["learn the oboe"]);
    desk.json("a", &["task", "trash", &someday]);
    assert_eq!(titles(&found(&[])), ["pay rent"]);
    desk.json("a", &["task", "restore", &someday]);
    assert_eq!(desk.json("a", &["search", "oboe"])["hits"][0]["kind"], "task");

    let page = text(&desk.run("a", &["task", "agenda"]).stdout);
    assert!(page.contains("pay rent") && page.contains("(every month") && page.contains("18:30"), "{page}");
    let page = text(&desk.run("a", &["task", "show", &rent]).stdout);
    assert!(page.contains("repeats") && page.contains("then"), "{page}");
    let checked = desk.run("a", &["doctor"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
}

#[test]
fn a_line_with_several_meanings_is_asked_back_and_each_answer_makes_a_task() {
    let desk = Desk::new();
    desk.init("a", None);
    let (kind, message, code) = failure(&desk.run("a", &["task", "add", "dentist 03/04", "--json"]));
    assert_eq!((kind.as_str(), code), ("invalid", Some(1)));
    assert!(message.contains("Which is the month?") && message.contains("lifeos task add '"), "{message}");
    let asked = desk.json("a", &["task", "add", "dentist 03/04", "--dry-run"]);
    for choice in asked["choices"].as_array().unwrap() {
        let line = choice["line"].as_str().unwrap();
        assert_eq!(desk.json("a", &["task", "add", line])["title"], "dentist");
        let read = desk.json("a", &["task", "add", line, "--dry-run"]);
        assert_eq!(read["reads"]["title"], "dentist");
    }
    assert_eq!(desk.json("a", &["task", "list"])["tasks"].as_array().unwrap().len(), 2, "a dry run makes nothing");
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let desk = Desk::new();
    desk.init("a", None);
    let add = |line: &str| desk.json("a", &["task", "add", line])["id"].as_str().unwrap().to_owned();
    let (one, other, third) = (add("one"), add("other"), add("water every day"));
    let refused = |args: &[&str]| failure(&desk.run("a", &[args, &["--json"]].concat())).1;
    desk.json("a", &["task", "nest", &one, "--below", &other]);
    assert!(refused(&["task", "nest", &other, "--below", &one]).contains("part of itself"));
    desk.json("a", &["task", "wait", &one, "--for", &other]);
    assert!(refused(&["task", "wait", &other, "--for", &one]).contains("wait for each other"));
    assert_eq!(desk.json("a", &["task", "show", &one])["waits_for"], json!([other]));
    desk.json("a", &["task", "done", &other]);
    assert_eq!(desk.json("a", &["task", "show", &one])["waits_for"], json!([]));
    desk.json("a", &["task", "wait", &one, "--for", &other, "--no-longer"]);
    desk.json("a", &["task", "wait", &other, "--for", &one]);
    assert!(refused(&["task", "add", "#home"]).contains("must not be empty"));
    assert!(refused(&["task", "done", &third, "--on", "19990101"]).contains("does not take place then"));
    assert!(refused(&["task", "done", &third, "--on", "soon"]).contains("expected a day"));
    assert!(refused(&["task", "move", &third, "purple"]).contains("is no day or time"));
    assert!(refused(&["task", "list", "due befor: +3d"]).contains("at byte"));
    assert!(refused(&["task", "list", "--in", "Nowhere"]).contains("lifeos task lists"));
    assert!(refused(&["task", "edit", &third, "rule=FREQ=SECONDLY"]).contains("recurrence rule"));
    assert!(refused(&["task", "edit", &third, "deadline=2001-01-01", "due=2001-01-02", "rule="]).contains("must be"));
    let note = desk.add("a", "A note", "text");
    assert!(refused(&["task", "show", &note]).contains("there is no"));
}

/// Now and so many minutes, as tasks are due, without seconds.
fn minutes(later: i64) -> String {
    let at = jiff::Zoned::now() + jiff::Span::new().minutes(later);
    at.strftime("%Y-%m-%dT%H:%M").to_string()
}

#[test]
fn what_is_due_rings_once_and_falls_silent_when_it_is_seen_put_off_or_done() {
    let desk = Desk::new();
    desk.init("a", None);
    let rings = || desk.json("a", &["remind", "run", "--once"])["rings"].clone();
    assert_eq!(rings(), json!([]), "it rings what is planned from its first look on");
    let add = |title: &str, due: &str| {
        let task = desk.json("a", &["task", "add", title]);
        let id = task["id"].as_str().unwrap().to_owned();
        desk.json("a", &["task", "edit", &id, &format!("due={due}")]);
        id
    };
    let soon = (jiff::Zoned::now() + jiff::Span::new().seconds(3)).strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let (tea, bread) = (add("tea", &soon), add("bread", &minutes(90)));
    assert_eq!(desk.json("a", &["remind", "plan"])["rings"].as_array().unwrap().last().unwrap()["title"], "bread");
    let begun = std::time::Instant::now();
    let rung = loop {
        let found = rings();
        if found != json!([]) || begun.elapsed().as_secs() > 90 {
            break found;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    assert_eq!(titles(&rung), ["tea"]);
    let first = rung[0]["first"].as_str().unwrap().to_owned();
    assert_eq!(rings(), json!([]), "once");
    desk.json("a", &["task", "snooze", &tea, &minutes(60)]);
    assert_eq!(titles(&desk.json("a", &["remind", "plan"])["rings"]), ["tea", "bread"], "it rings again in an hour");
    assert_eq!(desk.json("a", &["remind", "seen", &first])["seen"], json!(first));
    assert_eq!(titles(&desk.json("a", &["remind", "plan"])["rings"]), ["bread"]);
    desk.json("a", &["task", "done", &bread]);
    assert_eq!(desk.json("a", &["remind", "plan"])["rings"], json!([]));
    let late = failure(&desk.run("a", &["task", "snooze", &tea, "2001-01-01", "--json"])).1;
    assert!(late.contains("in the next 31 days"), "{late}");

    let set =
        desk.json("a", &["remind", "settings", "--quiet-hours", "00:00-00:00", "--grace", "5", "--day-at", "08:30"]);
    assert_eq!((&set["values"]["grace"], set["lists"]["quiet"].as_array().unwrap().len()), (&json!(5), 1));
    let later = add("call", &minutes(30));
    let quiet = desk.json("a", &["remind", "plan", "--hours", "72"])["rings"].clone();
    assert!(
        quiet[0]["wall"].as_str().unwrap() > minutes(60 * 24).as_str(),
        "a whole week that is quiet puts off: {quiet}"
    );
    desk.json("a", &["task", "edit", &later, "urgent=yes"]);
    assert_eq!(desk.json("a", &["remind", "plan"])["rings"][0]["wall"], json!(minutes_of(&later, &desk)));
    assert_eq!(desk.json("a", &["remind", "settings", "--no-quiet-hours"])["lists"]["quiet"], json!([]));
}

fn minutes_of(id: &str, desk: &Desk) -> String {
    desk.json("a", &["task", "show", id])["next"]["due"].as_str().unwrap().to_owned()
}

#[test]
fn this_and_following_go_on_as_a_new_task_and_the_old_one_keeps_its_log() {
    let desk = Desk::new();
    desk.init("a", None);
    let line = format!("swim {} 09:00 every day #sport", day(-3));
    let old = desk.json("a", &["task", "add", &line])["id"].as_str().unwrap().to_owned();
    desk.json("a", &["task", "done", &old, "--on", &day(-1)]);
    let split = desk.json("a", &["task", "split", &old, "--on", &day(2)]);
    let new = split["changed"][0]["id"].as_str().unwrap().to_owned();
    let new = desk.json("a", &["task", "show", &new]);
    assert_eq!((&new["next"]["due"], &new["tags"]), (&json!(format!("{}T09:00", day(2))), &json!(["sport"])));
    let old = desk.json("a", &["task", "show", &old]);
    assert_eq!((&old["done_count"], &old["values"]["next"]), (&json!(1), &new["id"]));
    assert!(old["values"]["rule"].as_str().unwrap().contains("UNTIL="), "{old}");
    let coming = old["coming"].as_array().unwrap();
    assert!(coming.iter().all(|time| time["day"].as_str().unwrap() < day(2).as_str()), "{coming:?}");
    let (_, message, _) = failure(&desk.run("a", &["task", "split", new["id"].as_str().unwrap(), "--json"]));
    assert!(message.contains("neither its first"), "{message}");
}
