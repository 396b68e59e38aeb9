//! Goals from the outside: checked in, skipped, rested, scored and foreseen, on the days that are named.

use serde_json::{Value, json};

use super::{Desk, failure, text};

fn id(view: &Value) -> String {
    view["goal"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_habit_is_checked_in_skipped_rested_and_taken_back_and_its_streak_says_so() {
    let desk = Desk::new();
    desk.init("a", None);
    let run =
        id(&desk
            .json("a", &["goal", "add", "Run", "--start", "2026-03-01", "--area", "health", "--group", "mornings"]));
    let check = |day: &str| desk.json("a", &["goal", "check", &run, "--on", day]);
    let standing = |day: &str| desk.json("a", &["goal", "show", &run[..8], "--as-of", day])["standing"].clone();
    for day in ["2026-03-01", "2026-03-02", "2026-03-04"] {
        check(day);
    }
    assert_eq!(standing("2026-03-04")["streaks"]["current"], 1, "nothing was known of the third");
    desk.json("a", &["goal", "skip", &run, "--on", "2026-03-03", "--note", "travelling"]);
    assert_eq!(standing("2026-03-04")["streaks"]["current"], 3, "left out on purpose");
    desk.json("a", &["goal", "check", &run, "--on", "2026-03-03", "--fail"]);
    assert_eq!(standing("2026-03-04")["streaks"]["current"], 1, "said not to be done");
    desk.json("a", &["undo"]);
    assert_eq!(standing("2026-03-04")["streaks"]["current"], 3);

    let resting = desk.json("a", &["goal", "pause", &run, "--from", "2026-03-05"]);
    assert_eq!(resting["goal"]["lists"]["pause"], json!([{"id": "2026-03-05", "from": "2026-03-05"}]));
    assert_eq!(standing("2026-03-08")["rests"], true);
    desk.json("a", &["goal", "resume", &run, "--on", "2026-03-10"]);
    assert_eq!(standing("2026-03-10")["streaks"]["current"], 3);
    check("2026-03-10");
    let found = standing("2026-03-10");
    assert_eq!(
        (&found["streaks"]["current"], &found["last_days"]),
        (&json!(4), &json!("..................++s+ppppp+"))
    );

    let listed = |args: &[&str]| {
        let found = desk.json("a", &[&["goal", "list", "--as-of", "2026-03-10"], args].concat());
        found["goals"].as_array().unwrap().len()
    };
    assert_eq!([listed(&[]), listed(&["--group", "Mornings"]), listed(&["--group", "evenings"])], [1, 1, 0]);
    assert_eq!([listed(&["--area", "health"]), listed(&["--type", "okr"])], [1, 0]);
    desk.json("a", &["goal", "close", &run, "--as", "dropped"]);
    assert_eq!([listed(&[]), listed(&["--all"])], [0, 1]);
    let page = text(&desk.run("a", &["goal", "list", "--all", "--as-of", "2026-03-10"]).stdout);
    assert!(page.contains("4 in a row (best 4)") && page.contains("■■–■~~~~~■"), "{page}");
    let checked = desk.run("a", &["doctor"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
}

#[test]
fn values_are_measured_added_and_foreseen_and_may_come_from_another_kind() {
    let desk = Desk::new();
    desk.init("a", None);
    let weight = id(&desk.json(
        "a",
        &[
            "goal",
            "add",
            "Weigh 72",
            "--type",
            "reach",
            "--baseline",
            "80",
            "--target",
            "72.0",
            "--agg",
            "last",
            "--unit",
            "kg",
            "--start",
            "2026-03-01",
            "--end",
            "2026-06-30",
        ],
    ));
    for (day, value) in [("2026-03-01", "80"), ("2026-03-05", "79.20"), ("2026-03-11", "78")] {
        desk.json("a", &["goal", "check", &weight, value, "--on", day]);
    }
    let shown = desk.json("a", &["goal", "show", &weight, "--as-of", "2026-03-11"]);
    assert_eq!((&shown["standing"]["value"], &shown["standing"]["progress"]), (&json!(78.0), &json!(0.25)));
    assert_eq!(shown["standing"]["forecast"]["on"], "2026-04-10");
    let page = text(&desk.run("a", &["goal", "show", &weight, "--as-of", "2026-03-11"]).stdout);
    assert!(page.contains("78/72 kg") && page.contains("likely on"), "{page}");

    let water =
        id(&desk.json("a", &["goal", "add", "Water", "--target", "8", "--unit", "glasses", "--start", "2026-03-01"]));
    for add in ["2.5", "3", "2.5"] {
        desk.json("a", &["goal", "check", &water, "--add", add, "--on", "2026-03-01"]);
    }
    let of = |day: &str| desk.json("a", &["goal", "show", &water, "--as-of", day])["standing"].clone();
    assert_eq!((&of("2026-03-01")["value"], &of("2026-03-01")["streaks"]["current"]), (&json!(8.0), &json!(1)));
    desk.json("a", &["goal", "check", &water, "--clear", "--on", "2026-03-01"]);
    assert_eq!(of("2026-03-01")["streaks"]["current"], 0);

    let friends = id(&desk.json(
        "a",
        &[
            "goal",
            "add",
            "Meet friends",
            "--type",
            "reach",
            "--target",
            "4",
            "--metric",
            "contact/meeting@on",
            "--start",
            "2026-01-01",
        ],
    ));
    let ana = desk.json("a", &["entity", "add", "contact", "name=Ana"]);
    for day in ["2025-12-30", "2026-01-05", "2026-02-01"] {
        desk.json("a", &["entity", "row", ana["id"].as_str().unwrap(), "meeting", &format!("on={day}")]);
    }
    let met = desk.json("a", &["goal", "show", &friends, "--as-of", "2026-02-10"]);
    assert_eq!(
        (&met["standing"]["value"], &met["standing"]["progress"]),
        (&json!(2.0), &json!(0.5)),
        "not what was before"
    );
    desk.json("a", &["entity", "trash", ana["id"].as_str().unwrap()]);
    let met = desk.json("a", &["goal", "show", &friends, "--as-of", "2026-02-10"]);
    assert_eq!(met["standing"]["value"], json!(0.0), "what is in the trash counts no more");
}

#[test]
fn an_objective_shows_its_scores_goes_on_in_the_next_quarter_and_holds_what_serves_it() {
    let desk = Desk::new();
    desk.init("a", None);
    let okr = id(&desk.json(
        "a",
        &[
            "goal",
            "add",
            "Be found",
            "--type",
            "okr",
            "--start",
            "2026-01-01",
            "--end",
            "2026-03-31",
            "--why",
            "More readers",
        ],
    ));
    desk.json("a", &["goal", "result", &okr, "Sign-ups", "--target", "1000"]);
    desk.json("a", &["goal", "result", &okr, "Uptime", "--kind", "guardrail", "--target", "99"]);
    desk.json("a", &["goal", "result", &okr, "Talks", "--target", "5", "--agg", "sum"]);
    desk.json("a", &["goal", "result", &okr, "--entry", "talks", "--kind", "aspirational", "--weight", "50"]);
    desk.json("a", &["goal", "check", &okr, "800", "--result", "sign", "--on", "2026-03-01"]);
    desk.json("a", &["goal", "check", &okr, "98", "--result", "uptime", "--on", "2026-03-01"]);
    desk.json("a", &["goal", "check", &okr, "--add", "3", "--result", "talks", "--on", "2026-02-01"]);
    let found = desk.json("a", &["goal", "okr", "--as-of", "2026-03-31"]);
    let objective = &found["objectives"][0]["standing"]["objective"];
    assert_eq!((&objective["band"], &objective["broken"]), (&json!("red"), &json!(["Uptime"])));
    assert!((objective["score"].as_f64().unwrap() - 0.7).abs() < 1e-9, "{objective}");
    desk.json("a", &["goal", "check", &okr, "99.9", "--result", "uptime", "--on", "2026-03-20"]);
    let page = text(&desk.run("a", &["goal", "okr", "--as-of", "2026-03-31"]).stdout);
    assert!(page.contains("Be found  0.7 green") && page.contains("800/1000"), "{page}");
    assert_eq!(
        desk.json("a", &["goal", "result", &okr, "--entry", "uptime", "--remove"])["goal"]["lists"]["kr"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let book = id(&desk
        .json("a", &["goal", "add", "Write", "--type", "project", "--part-of", &okr[..8], "--start", "2026-01-01"]));
    desk.json("a", &["goal", "milestone", &book, "First chapter", "--due", "2026-02-01"]);
    desk.json("a", &["goal", "milestone", &book, "Second chapter", "--due", "2026-03-01"]);
    let done = desk.json("a", &["goal", "milestone", &book, "--entry", "first", "--done", "--on", "2026-02-03"]);
    assert_eq!(
        (&done["goal"]["values"]["milestones_done"], &done["goal"]["values"]["next_milestone"]),
        (&json!(1), &json!("2026-03-01"))
    );
    desk.json("a", &["goal", "milestone", &book, "--entry", "first", "--undone"]);
    desk.json("a", &["goal", "review", &book, "--mood", "4", "--worked", "Early mornings", "--on", "2026-02-28"]);
    let note = desk.add("a", "Outline", "text");
    let linked = desk.json("a", &["goal", "link", &book, &format!("lifeos:note/{note}")]);
    assert_eq!(linked["goal"]["lists"]["link"], json!([format!("lifeos:note/{note}")]));
    desk.json("a", &["goal", "link", &book, &format!("lifeos:note/{note}"), "--remove"]);
    let listed = desk.json("a", &["goal", "list", "--as-of", "2026-03-31"]);
    let shown: Vec<_> = listed["goals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|view| (&view["goal"]["values"]["title"], &view["depth"]))
        .collect();
    assert_eq!(shown, [(&json!("Be found"), &json!(0)), (&json!("Write"), &json!(1))]);

    let next = desk.json("a", &["goal", "next", &okr]);
    assert_eq!(
        (&next["goal"]["values"]["start"], &next["goal"]["values"]["end"]),
        (&json!("2026-04-01"), &json!("2026-06-30"))
    );
    assert_eq!(next["standing"]["objective"]["results"][0]["value"], Value::Null, "nothing of it is done");
    desk.json("a", &["goal", "edit", &okr, "--title", "Be known", "--unset", "area"]);
}

#[test]
fn what_makes_no_goal_is_refused_in_words() {
    let desk = Desk::new();
    desk.init("a", None);
    let run = id(&desk.json("a", &["goal", "add", "Run"]));
    let refused = |args: &[&str]| {
        let (kind, message, code) = failure(&desk.run("a", &[args, &["--json"]].concat()));
        assert!(matches!(code, Some(1 | 2)), "{kind}: {message}");
        message
    };
    assert!(refused(&["goal", "add", "Reach", "--type", "reach"]).contains("needs a target"));
    assert!(refused(&["goal", "add", "Stay", "--type", "maintain"]).contains("lower or an upper bound"));
    assert!(
        refused(&["goal", "add", "Stay", "--type", "maintain", "--lower", "3", "--upper", "2"])
            .contains("below the upper")
    );
    assert!(refused(&["goal", "add", "Less", "--at-most"]).contains("needs a target"));
    assert!(refused(&["goal", "add", "x", "--rule", "FREQ=HOURLY"]).contains("rule of days"));
    assert!(refused(&["goal", "add", "x", "--metric", "contact@name"]).contains("fields of a kind"));
    assert!(
        refused(&["goal", "add", "x", "--start", "2026-03-08", "--end", "2026-03-01"]).contains("ends after it starts")
    );
    assert!(refused(&["goal", "edit", &run, "--part-of", &run]).contains("part of itself"));
    assert!(refused(&["goal", "resume", &run]).contains("does not rest"));
    assert!(refused(&["goal", "check", &run, "--result", "x"]).contains("there is no entry"));
    assert!(refused(&["goal", "next", &run]).contains("start and an end"));
    assert!(refused(&["goal", "review", &run]).contains("says something"));
    assert!(refused(&["goal", "edit", &run]).contains("nothing to change"));
    assert!(refused(&["goal", "show", "ffffffff"]).contains("there is no"));
    let other = id(&desk.json("a", &["goal", "add", "Other", "--part-of", &run]));
    assert!(refused(&["goal", "edit", &run, "--part-of", &other]).contains("part of itself"));
}
