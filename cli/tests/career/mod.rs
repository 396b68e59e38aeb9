//! A working life from the outside: gaps, what expires, how far opportunities come, and résumés that go round.

use serde_json::{Value, json};

use super::{Desk, failure, text};

fn id(entity: &Value) -> String {
    entity["id"].as_str().unwrap().to_owned()
}

const FILE: &str = r#"{"basics": {"name": "Ana", "label": "Editor", "email": "ana@example.org", "pronouns": "she"},
  "work": [{"name": "Acme", "position": "Editor", "startDate": "2019-04", "highlights": ["Ten books", "Two prizes"], "teamSize": 4}],
  "skills": [{"name": "Editing", "level": "Master", "keywords": ["Prose"]}, {"name": "Editing"}],
  "certificates": [{"name": "First aid", "date": "2024-05", "issuer": "Cross"}], "meta": {"version": "v1.0.0"}}"#;

#[test]
fn a_resume_is_previewed_taken_in_once_taken_back_and_written_as_it_was() {
    let desk = Desk::new();
    desk.init("a", None);
    let path = desk.path("resume.json");
    std::fs::write(&path, FILE).unwrap();
    let file = path.to_str().unwrap();
    let import = |args: &[&str]| desk.json("a", &[&["career", "resume-import", file], args].concat());
    let counts = |report: &Value| {
        ["created", "updated", "duplicate", "skipped", "failed"].map(|name| report[name].as_u64().unwrap())
    };
    assert_eq!(counts(&import(&["--preview"])), [5, 0, 0, 0, 0]);
    assert_eq!(desk.json("a", &["entity", "list", "experience"])["entities"], json!([]), "nothing was written");
    assert_eq!(counts(&import(&[])), [5, 0, 0, 0, 0]);
    assert_eq!(counts(&import(&[])), [0, 0, 5, 0, 0], "the same file again changes nothing");
    let exported = || -> Value { desk.json("a", &["career", "resume-export"]) };
    let mut wanted: Value = serde_json::from_str(FILE).unwrap();
    wanted["$schema"] = exported()["$schema"].clone();
    assert_eq!(exported(), wanted);

    // What was added here stays when the file changes, and what was changed here when it does not.
    let work = desk.json("a", &["entity", "list", "experience"])["entities"][0].clone();
    desk.json("a", &["entity", "row", &id(&work), "highlight", "text=Made here"]);
    desk.json("a", &["entity", "edit", &id(&work), "location=Lisbon"]);
    assert_eq!(counts(&import(&[])), [0, 0, 5, 0, 0]);
    assert_eq!(exported()["work"][0]["location"], "Lisbon");
    std::fs::write(&path, FILE.replace("\"Two prizes\"", "\"Three prizes\"")).unwrap();
    assert_eq!(counts(&import(&[])), [0, 1, 4, 0, 0]);
    assert_eq!(exported()["work"][0]["highlights"], json!(["Ten books", "Three prizes", "Made here"]));
    assert_eq!(exported()["work"][0]["location"], "Lisbon");

    let skill = desk.json("a", &["entity", "list", "skill"])["entities"][0].clone();
    desk.json("a", &["entity", "trash", &id(&skill)]);
    assert_eq!(counts(&import(&[])), [0, 0, 4, 1, 0], "what is in the trash stays there");
    assert_eq!(counts(&import(&["--again"])), [0, 1, 4, 0, 0]);
    let page = text(&desk.run("a", &["career", "resume-import", file, "--preview"]).stdout);
    assert!(page.contains("work[0]") && page.contains("unchanged"), "{page}");

    let other = Desk::new();
    other.init("b", None);
    other.json("b", &["career", "resume-import", file]);
    other.json("b", &["undo"]);
    for kind in ["experience", "skill", "credential", "resume"] {
        assert_eq!(other.json("b", &["entity", "list", kind])["entities"], json!([]), "one step takes all of it back");
    }
    other.json("b", &["redo"]);
    assert_eq!(other.json("b", &["entity", "list", "skill"])["entities"].as_array().unwrap().len(), 2);
    let checked = desk.run("a", &["doctor"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stdout));
}

#[test]
fn a_profile_shows_a_part_and_what_is_wrong_with_a_file_is_said() {
    let desk = Desk::new();
    desk.init("a", None);
    let path = desk.path("resume.json");
    let file = path.to_str().unwrap();
    std::fs::write(&path, FILE).unwrap();
    desk.json("a", &["career", "resume-import", file]);
    desk.json("a", &["entity", "add", "resume_profile", "name=short", "contact=no", "highlights=1", "section=work"]);
    let short = desk.json("a", &["career", "resume-export", "--profile", "short"]);
    assert_eq!((&short["basics"]["email"], &short["work"][0]["highlights"]), (&Value::Null, &json!(["Ten books"])));
    assert_eq!(short["skills"], Value::Null);
    let refused = |args: &[&str]| failure(&desk.run("a", &[args, &["--json"]].concat())).1;
    assert!(refused(&["career", "resume-export", "--profile", "long"]).contains("there is no profile called long"));
    std::fs::write(&path, "{").unwrap();
    assert!(refused(&["career", "resume-import", file]).contains("no JSON Resume"));
    std::fs::write(&path, b"\xff\xfe{\x00}\x00").unwrap();
    assert!(refused(&["career", "resume-import", file]).contains("cannot be read as text"));
    assert!(refused(&["career", "resume-import", "/nowhere/resume.json"]).contains("check the path"));
    std::fs::write(&path, r#"{"work": [{"name": "B", "startDate": "soon"}]}"#).unwrap();
    let report = desk.json("a", &["career", "resume-import", file]);
    let entry = report["entries"].as_array().unwrap().iter().find(|entry| entry["at"] == "work[0]").unwrap();
    assert!(entry["reason"].as_str().unwrap().contains("`startDate` is left out"), "{entry}");
}

#[test]
fn gaps_expiry_time_and_stages_are_told_on_the_day_that_is_asked_for() {
    let desk = Desk::new();
    desk.init("a", None);
    desk.json(
        "a",
        &["entity", "add", "skill", "name=Rust", "current=3", "target=5", "weight=2", "last_used=2026-01-01"],
    );
    desk.json("a", &["entity", "add", "skill", "name=Prose", "current=5", "target=4"]);
    let skills = desk.json("a", &["career", "skills", "--as-of", "2026-01-31"]);
    assert_eq!(
        (&skills["gap"], &skills["skills"][0]["name"], &skills["skills"][0]["unused_days"]),
        (&json!(4), &json!("Rust"), &json!(30))
    );
    assert_eq!(skills["skills"][1]["gap"], 0);

    let pass = desk.json(
        "a",
        &[
            "entity",
            "add",
            "credential",
            "name=First aid",
            "issuer=Cross",
            "expires=2026-06-30",
            "renew_days=30",
            "units=10",
        ],
    );
    desk.json("a", &["entity", "row", &id(&pass), "unit", "on=2026-01-02", "n=4"]);
    desk.json("a", &["entity", "add", "credential", "name=Diploma"]);
    let of = |day: &str, within: &[&str]| {
        desk.json("a", &[&["career", "credentials", "--as-of", day], within].concat())["credentials"].clone()
    };
    assert_eq!(
        (&of("2026-05-30", &[])[0]["standing"], &of("2026-05-31", &[])[0]["standing"]),
        (&json!("good"), &json!("renew"))
    );
    assert_eq!(
        (&of("2026-07-01", &[])[0]["standing"], &of("2026-07-01", &[])[0]["days_left"]),
        (&json!("expired"), &json!(-1))
    );
    assert_eq!(
        (of("2026-03-01", &[]).as_array().unwrap().len(), of("2026-03-01", &["--within", "30"])),
        (2, json!([]))
    );
    assert_eq!(of("2026-03-01", &[])[0]["units_earned"], 4);

    let book = id(&desk.json("a", &["entity", "add", "learning", "title=The Book", "planned=600"]));
    desk.json("a", &["career", "log", &book, "45", "--on", "2026-03-01", "--note", "Chapter 3"]);
    desk.json("a", &["career", "log", &book, "30", "--on", "2026-03-09"]);
    let learning = desk.json("a", &["career", "learning", "--as-of", "2026-03-10"])["learning"][0].clone();
    assert_eq!((&learning["spent"], &learning["week"], &learning["progress"]), (&json!(75), &json!(30), &json!(0.125)));
    // What is learnt counts for a goal.
    let goal = desk.json(
        "a",
        &["goal", "add", "Learn", "--target", "40", "--metric", "learning/log.minutes@on", "--start", "2026-03-01"],
    );
    let goal = goal["goal"]["id"].as_str().unwrap().to_owned();
    let standing = desk.json("a", &["goal", "show", &goal, "--as-of", "2026-03-01"])["standing"].clone();
    assert_eq!((&standing["value"], &standing["streaks"]["current"]), (&json!(45.0), &json!(1)));

    let acme = id(&desk.json("a", &["entity", "add", "opportunity", "company=Acme", "role=Editor"]));
    let bolt = id(&desk.json("a", &["entity", "add", "opportunity", "company=Bolt"]));
    desk.json("a", &["career", "stage", &acme, "applied", "--on", "2026-03-01"]);
    let shown = desk.json("a", &["career", "stage", &acme, "offer", "--on", "2026-03-11"]);
    assert_eq!((&shown["values"]["stage"], &shown["values"]["since"]), (&json!("offer"), &json!("2026-03-11")));
    desk.json("a", &["career", "stage", &bolt, "applied", "--on", "2026-03-02"]);
    desk.json("a", &["career", "stage", &bolt, "rejected", "--on", "2026-03-04"]);
    let funnel = desk.json("a", &["career", "pipeline"]);
    assert_eq!(
        (&funnel["offer_rate"], &funnel["rejected"], &funnel["steps"][1]["days_median"]),
        (&json!(0.5), &json!(1), &json!(6.0))
    );
    for args in [["career", "skills"], ["career", "credentials"], ["career", "learning"], ["career", "pipeline"]] {
        let output = desk.run("a", &args);
        assert!(output.status.success() && !output.stdout.is_empty(), "{args:?}: {}", text(&output.stderr));
    }
    let (kind, message, _) = failure(&desk.run("a", &["career", "stage", &acme, "hired", "--json"]));
    assert_eq!(kind, "usage", "{message}");
}
