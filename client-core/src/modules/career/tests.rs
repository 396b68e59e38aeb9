//! Résumés that go round, dates of all sorts, stages of two devices, and what is derived.

use std::collections::BTreeMap;

use automerge::{AutoCommit, Change};
use jiff::civil::{Date, date};
use lifeos_sync_protocol::ids::{DocId, StreamId};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::json_resume::{Known, Profile, ResumeError, read, write};
use super::*;
use crate::projection::{Row, project};
use crate::registry::{door, table};

/// A file that has every key of the published schema, and some that it does not know.
const FILE: &str = r#"{
  "$schema": "https://raw.githubusercontent.com/jsonresume/resume-schema/v1.0.0/schema.json",
  "basics": {"name": "Ana Sousa", "label": "Editor", "image": "https://example.org/a.png", "email": "ana@example.org",
    "phone": "+351 21 000 00 00", "url": "https://example.org", "summary": "Edits books.\nAlso films.", "pronouns": "she",
    "location": {"address": "Rua A 1", "postalCode": "1000", "city": "Lisbon", "countryCode": "PT", "region": "Lisboa", "geo": [1]},
    "profiles": [{"network": "Social", "username": "ana", "url": "https://social.example/ana", "since": 2019},
                 {"network": "Code", "username": "ana2"}]},
  "work": [{"name": "Acme", "location": "Lisbon", "description": "Publisher", "position": "Editor", "url": "https://acme.example",
    "startDate": "2019-04", "summary": "Leads a list.", "highlights": ["Ten books", "Two prizes", "Ten books"], "teamSize": 4},
    {"name": "Acme", "position": "Reader", "startDate": "2017", "endDate": "2019-03"}],
  "volunteer": [{"organization": "Library", "position": "Reader", "url": "https://l.example", "startDate": "2020-01-02",
    "endDate": "2021", "summary": "Reads aloud", "highlights": ["Weekly"]}],
  "education": [{"institution": "University", "url": "https://u.example", "area": "Letters", "studyType": "MA",
    "startDate": "2012", "endDate": "2017-07-01", "score": "17", "courses": ["Poetics", "poetics"]}],
  "awards": [{"title": "Prize", "date": "2022-11", "awarder": "Guild", "summary": "For a list"}],
  "certificates": [{"name": "First aid", "date": "2024-05-06", "url": "https://c.example", "issuer": "Cross"}],
  "publications": [{"name": "On lists", "publisher": "Acme", "releaseDate": "2021", "url": "https://p.example", "summary": "Essay"}],
  "skills": [{"name": "Editing", "level": "Master", "keywords": ["Prose", "Verse"]}],
  "languages": [{"language": "Portuguese", "fluency": "Native"}, {"language": "German", "fluency": "B2"}],
  "interests": [{"name": "Chess", "keywords": ["Endings"]}],
  "references": [{"name": "B.", "reference": "She edits well."}],
  "projects": [{"name": "Almanac", "description": "A yearly book", "highlights": ["Sold out"], "keywords": ["print"],
    "startDate": "2020", "endDate": "2020-12-31", "url": "https://a.example", "roles": ["Editor", "Typesetter"],
    "entity": "Acme", "type": "book"}],
  "meta": {"canonical": "https://example.org/resume.json", "version": "v1.0.0", "lastModified": "2026-01-02T03:04:05"},
  "certificatesOfMine": [1]
}"#;

/// What the pieces of a file are once they are stored and read again: as entities, without nulls.
fn stored(file: &str) -> Vec<Known> {
    let pieces = read(file).unwrap();
    pieces
        .into_iter()
        .map(|piece| {
            let mut document =
                crate::document::Document::new(DocId([1; 16]), piece.kind.genesis(), StreamId([1; 16])).unwrap();
            let change = document
                .edit(1, |doc| {
                    entity::create(doc, piece.kind, &[], 1)?;
                    entity::apply(doc, piece.kind, &piece.given, &mut String::new)
                })
                .unwrap_or_else(|error| panic!("{}: {error}", piece.at));
            door::admit(&document, &change.1.unwrap().bytes).unwrap();
            known(&document, piece.kind, &piece.at)
        })
        .collect()
}

fn known(document: &crate::document::Document, kind: &'static Kind, id: &str) -> Known {
    let (mut values, mut lists) = (Map::new(), BTreeMap::new());
    let rows = project(document);
    let shown = |row: &Row, family: Option<&str>| -> Map<String, Json> {
        let columns = table(row.table).unwrap().columns.iter().zip(&row.values);
        let fields = columns.filter_map(|(column, cell)| {
            let field = kind.fields_of(family).find(|field| field.name() == column.name)?;
            (*cell != Value::Null).then(|| (column.name.to_owned(), field.show_cell(cell)))
        });
        fields.collect()
    };
    for row in &rows {
        if Some(row.table) == kind.table().map(|table| table.name) {
            values = shown(row, None);
        }
        let Some(family) = kind.families.iter().find(|family| family.table == row.table) else { continue };
        let mut entry = shown(row, Some(family.name));
        entry.insert("id".to_owned(), json!(row.key));
        lists.entry(family.name.to_owned()).or_insert_with(Vec::new).push(Json::Object(entry));
    }
    for field in kind.fields_of(None).filter(|field| field.crdt == crate::registry::Crdt::Text) {
        let text = entity::text_of(document.read(), field);
        if !text.is_empty() {
            values.insert(field.name().to_owned(), json!(text));
        }
    }
    Known { id: id.to_owned(), kind: kind.name.to_owned(), values, lists }
}

#[test]
fn a_resume_with_every_field_of_the_standard_goes_round_with_what_is_unknown_in_it() {
    let wanted: Json = serde_json::from_str(FILE).unwrap();
    let written = write(&stored(FILE), &Profile::whole());
    assert_eq!(written, wanted);
    // And once more from what was written.
    assert_eq!(write(&stored(&written.to_string()), &Profile::whole()), wanted);
    assert!(read(FILE).unwrap().iter().all(|piece| piece.problems.is_empty()));
}

/// The types of the published schema: text, date, or list of texts. Other keys may be anything.
const DATES: &[&str] = &["startDate", "endDate", "date", "releaseDate"];
const LISTS: &[&str] = &["highlights", "courses", "keywords", "roles"];

/// Where a file is not what the schema asks for.
fn invalid(file: &Json) -> Vec<String> {
    let sections = [
        "work",
        "volunteer",
        "education",
        "awards",
        "certificates",
        "publications",
        "skills",
        "languages",
        "interests",
        "references",
        "projects",
    ];
    let texts = [
        "name",
        "label",
        "image",
        "email",
        "phone",
        "url",
        "summary",
        "description",
        "position",
        "location",
        "organization",
        "institution",
        "area",
        "studyType",
        "score",
        "title",
        "awarder",
        "issuer",
        "publisher",
        "level",
        "language",
        "fluency",
        "reference",
        "entity",
        "type",
    ];
    let mut wrong = Vec::new();
    if !file["basics"].is_object() {
        wrong.push("basics".to_owned());
    }
    for section in sections.iter().filter(|section| file.get(**section).is_some()) {
        let Some(entries) = file[*section].as_array() else {
            wrong.push((*section).to_owned());
            continue;
        };
        wrong.extend(entries.iter().filter(|entry| !entry.is_object()).map(|entry| format!("{section}: {entry}")));
        for (key, value) in entries.iter().filter_map(Json::as_object).flatten() {
            let fits = match key.as_str() {
                date if DATES.contains(&date) => value.as_str().is_some_and(is_partial_date),
                list if LISTS.contains(&list) => value.as_array().is_some_and(|list| list.iter().all(Json::is_string)),
                text if texts.contains(&text) => value.is_string(),
                _ => true,
            };
            if !fits {
                wrong.push(format!("{section}.{key}: {value}"));
            }
        }
    }
    wrong
}

#[test]
fn what_a_resume_says_wrongly_is_named_left_out_and_the_rest_is_taken() {
    let file = r#"{"basics": {"name": 7, "email": ["x"], "summary": null}, "work": [
        {"name": "Acme", "startDate": "2019-13", "endDate": "present", "highlights": ["a", 3, null, {"b": 1}]},
        {"position": "Nameless"}, 4, {"name": ""}], "education": "none", "skills": {"name": "x"}}"#;
    let pieces = read(file).unwrap();
    let of = |at: &str| pieces.iter().find(|piece| piece.at == at).unwrap();
    assert_eq!((of("basics").name.as_str(), of("basics").problems.len()), ("7", 3), "an e-mail and two sections");
    assert_eq!(of("work[0]").problems.len(), 3, "{:?}", of("work[0]").problems);
    assert!(of("work[0]").problems[0].contains("2026-03"), "it says what a date is: {:?}", of("work[0]").problems);
    assert_eq!((of("work[1]").name.as_str(), of("work[3]").name.as_str()), ("Nameless", "work"));
    assert_eq!(pieces.len(), 5);
    let written = write(&stored(file), &Profile::whole());
    assert_eq!(invalid(&written), Vec::<String>::new(), "{written}");
    assert_eq!(invalid(&serde_json::from_str(FILE).unwrap()), Vec::<String>::new());
    assert!(!invalid(&serde_json::from_str(file).unwrap()).is_empty(), "the check itself finds what is wrong");
    assert!(matches!(read("[1]"), Err(ResumeError::NoJson(_))));
    assert!(matches!(read("{"), Err(ResumeError::NoJson(_))));
    assert!(matches!(read(&"[".repeat(100_000)), Err(ResumeError::NoJson(_))));
    assert!(matches!(read(&" ".repeat(json_resume::FILE_BYTES_MAX + 1)), Err(ResumeError::TooLarge)));
    let many = format!(r#"{{"skills": [{}]}}"#, vec![r#"{"name": "x"}"#; 1_000].join(","));
    assert!(matches!(read(&many), Err(ResumeError::TooMany)));
    let deep = format!(r#"{{"basics": {{"x": {}1{}}}}}"#, "[".repeat(200), "]".repeat(200));
    assert!(matches!(read(&deep), Err(ResumeError::NoJson(_))), "nested deeper than anybody means");
}

#[test]
fn a_profile_shows_what_it_names_and_never_what_is_private() {
    let mut all = stored(FILE);
    let place = |all: &[Known], at: &str| all.iter().position(|of| of.id == at).unwrap();
    let private = place(&all, "volunteer[0]");
    all[private].values.insert("visibility".into(), json!("private"));
    let tagged = place(&all, "work[1]");
    all[tagged].lists.insert("tag".into(), vec![json!("Reading")]);
    all.push(Known {
        id: "x".into(),
        kind: "achievement".into(),
        values: json!({"title": "Saved a list", "experience": "work[0]"}).as_object().unwrap().clone(),
        lists: BTreeMap::new(),
    });
    all.push(Known {
        id: "y".into(),
        kind: "achievement".into(),
        values: json!({"title": "Secret", "experience": "work[0]", "confidential": true}).as_object().unwrap().clone(),
        lists: BTreeMap::new(),
    });
    let whole = write(&all, &Profile::whole());
    assert_eq!((whole.get("volunteer"), whole["work"].as_array().unwrap().len()), (None, 2));
    let short = Profile {
        label: Some("Reader".into()),
        since: Some("2018-06".into()),
        highlights: Some(1),
        achievements: true,
        sections: vec!["work".into(), "skills".into()],
        tags: vec!["editing".into()],
        ..Profile::default()
    };
    let shown = write(&all, &short);
    assert_eq!(shown["basics"]["label"], "Reader");
    assert_eq!((shown["basics"].get("email"), shown["basics"]["location"].get("address")), (None, None));
    assert_eq!(shown["work"].as_array().unwrap().len(), 1, "the other is tagged otherwise");
    assert_eq!(shown["work"][0]["highlights"], json!(["Ten books", "Saved a list"]));
    assert!(!shown.to_string().contains("Secret"));
    assert_eq!((shown.get("education"), shown["skills"].as_array().unwrap().len()), (None, 1));
    let late = Profile { since: Some("2020".into()), ..Profile::whole() };
    let found = write(&all, &late);
    assert_eq!(found["work"].as_array().unwrap().len(), 1, "what goes on is shown, what ended before is not");
    assert_eq!(found["projects"].as_array().unwrap().len(), 1, "2020-12-31 is in 2020");
}

#[test]
fn a_date_of_a_resume_is_a_year_a_month_or_a_day_that_there_is() {
    for good in ["2026", "2026-03", "2026-03-08", "1000", "2024-02-29"] {
        assert!(is_partial_date(good), "{good}");
    }
    for bad in [
        "",
        "26",
        "2026-13",
        "2026-02-30",
        "0999",
        "3000",
        "2026-3",
        "2026-03-8",
        "2026-03-08T07:00",
        "jan 2026",
        "２０２６",
    ] {
        assert!(!is_partial_date(bad), "{bad}");
    }
}

fn stages(given: &[(&str, Date)]) -> Vec<(String, Date)> {
    given.iter().map(|(stage, on)| ((*stage).to_owned(), *on)).collect()
}

#[test]
fn a_funnel_counts_who_came_how_far_and_how_long_it_took() {
    let day = |day| date(2026, 3, day);
    let found = funnel(&[
        stages(&[
            ("found", day(1)),
            ("applied", day(3)),
            ("interview", day(10)),
            ("offer", day(20)),
            ("accepted", day(21)),
        ]),
        stages(&[("applied", day(5)), ("rejected", day(12))]),
        stages(&[("applied", day(2)), ("screening", day(4)), ("withdrawn", day(6))]),
        stages(&[("found", day(9))]),
        stages(&[("x-other", day(9))]),
        stages(&[]),
    ]);
    let of = |stage: &str| found.steps.iter().find(|step| step.stage == stage).unwrap();
    let reached: Vec<u32> = found.steps.iter().map(|step| step.reached).collect();
    assert_eq!(reached, [4, 3, 2, 1, 1, 1], "who was interviewed was screened");
    assert_eq!((of("found").here, of("accepted").here, found.rejected, found.withdrawn, found.all), (1, 1, 1, 1, 6));
    assert_eq!((of("applied").conversion, of("accepted").conversion), (Some(2.0 / 3.0), None));
    // 7 days to the interview, 7 to the rejection, 2 to the screening.
    assert_eq!(of("applied").days_median, Some(7.0));
    assert_eq!(found.offer_rate, Some(1.0 / 3.0));
    assert_eq!(funnel(&[]).offer_rate, None);
}

fn edit(document: &mut Document, edit: impl FnOnce(&mut AutoCommit) -> Result<(), DocumentError>) {
    let change = document.edit(document.updated_ms() + 10, edit).unwrap().1.unwrap();
    door::admit(document, &change.bytes).unwrap();
}

fn send(from: &mut Document, to: &mut Document) {
    let mut fork = to.fork();
    let changes = from.changes_since(&[]).into_iter().map(|change| Change::from_bytes(change.bytes).unwrap());
    fork.apply_changes(changes.collect::<Vec<_>>()).unwrap();
    to.replace(fork);
}

fn cell(document: &Document, kind: &Kind, column: &str) -> Value {
    let table = kind.table().unwrap();
    let row = project(document).into_iter().find(|row| row.table == table.name).unwrap();
    row.values[table.place(column).unwrap()].clone()
}

#[test]
fn a_stage_that_two_devices_say_is_one_and_the_last_by_day_counts_whoever_said_it_last() {
    let make = |number| Document::new(DocId([3; 16]), OPPORTUNITY.genesis(), StreamId([number; 16])).unwrap();
    let mut a = make(1);
    edit(&mut a, |doc| entity::create(doc, &OPPORTUNITY, &[("company", "Acme".into())], 1));
    let mut b = make(2);
    send(&mut a, &mut b);
    edit(&mut a, |doc| come_to(doc, "interview", date(2026, 3, 9)));
    edit(&mut b, |doc| come_to(doc, "interview", date(2026, 3, 9)));
    edit(&mut b, |doc| come_to(doc, "applied", date(2026, 3, 1)));
    send(&mut a, &mut b);
    send(&mut b, &mut a);
    assert_eq!(project(&a), project(&b));
    assert_eq!(project(&a).iter().filter(|row| row.table == "opportunity_history").count(), 2);
    assert_eq!(
        (cell(&a, &OPPORTUNITY, "stage"), cell(&a, &OPPORTUNITY, "since")),
        ("interview".into(), "2026-03-09".into())
    );
    assert!(a.edit(99, |doc| come_to(doc, "hired", date(2026, 3, 9))).is_err());
    edit(&mut a, |doc| come_to(doc, "offer", date(2026, 3, 9)));
    assert_eq!(cell(&a, &OPPORTUNITY, "stage"), "offer".into(), "of one day the furthest");
}

#[test]
fn time_that_two_devices_log_all_counts_and_a_credential_says_when_it_is_to_be_renewed() {
    let make = |number| Document::new(DocId([4; 16]), LEARNING.genesis(), StreamId([number; 16])).unwrap();
    let mut a = make(1);
    edit(&mut a, |doc| entity::create(doc, &LEARNING, &[("title", "Rust".into())], 1));
    let mut b = make(2);
    send(&mut a, &mut b);
    edit(&mut a, |doc| log(doc, "a", date(2026, 3, 8), 40, Some("Chapter 3")));
    edit(&mut b, |doc| log(doc, "b", date(2026, 3, 9), 35, None));
    send(&mut a, &mut b);
    assert_eq!((cell(&b, &LEARNING, "spent"), cell(&b, &LEARNING, "last_on")), (Value::Int(75), "2026-03-09".into()));
    assert!(a.edit(99, |doc| log(doc, "c", date(2026, 3, 9), 2_000, None)).is_err(), "no day has so many minutes");

    let mut pass = Document::new(DocId([5; 16]), CREDENTIAL.genesis(), StreamId([1; 16])).unwrap();
    edit(&mut pass, |doc| {
        entity::create(doc, &CREDENTIAL, &[("name", "First aid".into()), ("expires", "2027-03-31".into())], 1)?;
        entity::put_row(doc, &CREDENTIAL, "unit", "u", &[("n", 5_i64.into()), ("on", "2026-03-08".into())])
    });
    assert_eq!(
        (cell(&pass, &CREDENTIAL, "renew_on"), cell(&pass, &CREDENTIAL, "units_earned")),
        ("2027-01-30".into(), Value::Int(5))
    );
    assert!(
        pass.edit(99, |doc| entity::set(doc, &CREDENTIAL, "issued", "2028")).is_err(),
        "expires before it is issued"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_file_makes_reading_a_resume_panic_and_what_is_written_is_valid(
        name in "\\PC{0,20}", date in "[0-9-]{0,10}", value in proptest::sample::select(vec!["null", "1", "\"x\"", "[]", "{}", "[1]", "true"]),
        at in 0_usize..4_000
    ) {
        let mut cut = FILE.to_owned();
        cut.truncate((0..=at.min(FILE.len())).rev().find(|at| FILE.is_char_boundary(*at)).unwrap_or(0));
        let _ = read(&cut);
        let file = format!(r#"{{"basics": {value}, "work": [{{"name": {}, "startDate": "{date}", "highlights": {value}, "url": {value}}}],
            "skills": [{{"name": {value}, "keywords": [{value}]}}], "meta": {value}}}"#, json!(name));
        let written = write(&stored(&file), &Profile::whole());
        prop_assert_eq!(invalid(&written), Vec::<String>::new(), "{}", written);
        // What was written reads as the same.
        prop_assert_eq!(write(&stored(&written.to_string()), &Profile::whole()), written);
    }
}
