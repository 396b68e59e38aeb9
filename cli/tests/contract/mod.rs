//! The contract of `--json`: what every command prints is held by a JSON Schema in `cli/schemas`.
//!
//! Whatever a test of the program prints with `--json` passes through [`hold`]. A key that vanished, a type that
//! changed or a key that nobody described fails the test. `LIFEOS_SCHEMAS=write cargo test -p lifeos-cli` widens the
//! schemas to what was printed (delete a file first to narrow it); the difference is then reviewed like code.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use clap::CommandFactory as _;
use serde_json::{Map, Value, json};

static WRITING: Mutex<()> = Mutex::new(());

/// Checks one printed document (or one line of a stream) of the command that `args` name.
pub(super) fn hold(args: &[&str], printed: &Value) {
    let name = name(args);
    if std::env::var_os("LIFEOS_SCHEMAS").is_some() {
        return widen(&name, printed);
    }
    let schema = load(&name).unwrap_or_else(|| panic!("no cli/schemas/{name}.json: see cli/tests/contract/mod.rs"));
    if let Err(why) = conforms(printed, &schema) {
        panic!("`lifeos {args:?} --json` breaks cli/schemas/{name}.json at {why}\nprinted: {printed}");
    }
}

/// The words of a command line that name its command, joined by dashes: `note-add`.
fn name(args: &[&str]) -> String {
    let root = lifeos_cli::Cli::command();
    let (mut command, mut words) = (&root, Vec::new());
    for arg in args {
        let Some(below) = command.find_subcommand(arg) else { break };
        words.push(below.get_name());
        command = below;
    }
    let name = words.join("-");
    if let Some((.., form)) = FORMS.iter().find(|(of, flag, _)| *of == name && args.contains(flag)) {
        return format!("{name}-{form}");
    }
    if let Some((_, same)) = SAME_AS.iter().find(|(other, _)| *other == name) {
        return (*same).into();
    }
    if PRINT_A_NOTE.contains(&name.as_str()) {
        "note".into()
    } else if PRINT_A_GOAL.contains(&name.as_str()) {
        "goal".into()
    } else if PRINT_AN_ENTITY.contains(&name.as_str()) {
        "entity".into()
    } else {
        name
    }
}

/// Flags with which a command prints something else: events until it is stopped, one code, one text.
const FORMS: &[(&str, &str, &str)] = &[
    ("sync", "--watch", "watch"),
    ("sync", "--listen", "listen"),
    ("sync", "--peer", "peer"),
    ("sync", "--discover", "peer"),
    ("status", "--verify", "verify"),
    ("status", "--note", "note"),
    ("status", "--metrics", "metrics"),
    ("doctor", "--bundle", "bundle"),
    ("note-show", "--version", "version"),
    ("note-list", "--watch", "watch"),
    ("entity-list", "--watch", "watch"),
    ("task-add", "--dry-run", "read"),
];

/// Commands that share a schema: under two names, or of one family.
const SAME_AS: &[(&str, &str)] = &[
    ("branch-discard", "branch-new"),
    ("branch-edit", "branch-diff"),
    ("history", "note-history"),
    ("import", "import-markdown"),
    ("member-invite", "invite-new"),
    ("member-join", "join"),
    // These print the task, or what became of several.
    ("task-add", "task-show"),
    ("task-edit", "task-show"),
    ("task-restore", "task-show"),
    ("task-trash", "task-show"),
    ("task-into", "task-done"),
    ("task-move", "task-done"),
    ("task-nest", "task-done"),
    ("task-plan", "task-done"),
    ("task-reopen", "task-done"),
    ("task-skip", "task-done"),
    ("task-snooze", "task-done"),
    ("task-split", "task-done"),
    ("task-wait", "task-done"),
];

/// Commands that print the note they showed or changed; they share one schema.
const PRINT_A_NOTE: &[&str] = &[
    "note-add",
    "note-append",
    "note-copy",
    "note-edit",
    "note-move",
    "note-pin",
    "note-prop",
    "note-rename",
    "note-restore",
    "note-restore-version",
    "note-show",
    "note-tag",
    "note-todo",
    "note-trash",
    "note-untag",
];

/// Commands that print the entity they showed or changed; they share one schema.
const PRINT_AN_ENTITY: &[&str] = &[
    "career-log",
    "career-stage",
    "entity-add",
    "entity-count",
    "entity-edit",
    "entity-restore",
    "entity-row",
    "entity-row-remove",
    "entity-row-restore",
    "entity-show",
    "entity-trash",
];

/// Commands that print the goal they showed or changed; they share one schema.
const PRINT_A_GOAL: &[&str] = &[
    "goal-add",
    "goal-check",
    "goal-close",
    "goal-edit",
    "goal-link",
    "goal-milestone",
    "goal-next",
    "goal-pause",
    "goal-result",
    "goal-resume",
    "goal-review",
    "goal-show",
    "goal-skip",
];

/// What an entity holds is said by the field registry, not by the command.
const BY_THE_REGISTRY: &[&str] = &["values", "lists", "before", "after", "now", "cells"];

/// Names of all commands that do something, as [`name`] gives them.
fn all() -> Vec<String> {
    fn walk(command: &clap::Command, path: &[&str], found: &mut Vec<String>) {
        // Some do something of their own beside what they begin.
        if command.get_subcommands().next().is_none() || !command.is_subcommand_required_set() && !path.is_empty() {
            found.push(path.join("-"));
        }
        command.get_subcommands().for_each(|below| walk(below, &[path, &[below.get_name()]].concat(), found));
    }
    let mut found = Vec::new();
    walk(&lifeos_cli::Cli::command(), &[], &mut found);
    found
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas").join(format!("{name}.json"))
}

/// The schema of a command, if there is one.
fn load(name: &str) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path(name)).ok()?).ok()
}

fn widen(name: &str, printed: &Value) {
    let _one_at_a_time = WRITING.lock();
    let seen = describe(printed);
    let mut schema = load(name).map_or_else(|| seen.clone(), |known| merge(&known, &seen));
    let head = schema.as_object_mut().unwrap();
    head.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    head.insert("title".into(), json!(format!("lifeos {} --json", name.replace('-', " "))));
    std::fs::write(path(name), serde_json::to_string_pretty(&schema).unwrap() + "\n").unwrap();
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The narrowest schema of a value.
fn describe(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let schema = |key: &str, value| if BY_THE_REGISTRY.contains(&key) { json!({}) } else { describe(value) };
            let properties: Map<_, _> = map.iter().map(|(key, value)| (key.clone(), schema(key, value))).collect();
            let required: Vec<_> = map.keys().collect();
            json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
        }
        Value::Array(items) => {
            let items = items.iter().map(describe).reduce(|left, right| merge(&left, &right));
            items.map_or_else(|| json!({"type": "array"}), |items| json!({"type": "array", "items": items}))
        }
        other => json!({"type": type_of(other)}),
    }
}

/// The words under a key, which holds one or a list of them.
fn words(schema: &Value, key: &str) -> BTreeSet<String> {
    let list = schema[key].as_array().into_iter().flatten().chain(schema.get(key));
    list.filter_map(|word| Some(word.as_str()?.to_owned())).collect()
}

/// One type is written as a word, several as a list.
fn types(of: &BTreeSet<String>) -> Value {
    match of.first() {
        Some(one) if of.len() == 1 => json!(one),
        _ => json!(of),
    }
}

/// The narrowest schema that both fit.
fn merge(left: &Value, right: &Value) -> Value {
    if left.get("type").is_none() || right.get("type").is_none() {
        return json!({}); // anything goes, as for the values of a note's properties
    }
    let mut merged = Map::new();
    merged.insert("type".into(), types(&(&words(left, "type") | &words(right, "type"))));
    match (left.get("properties"), right.get("properties")) {
        (Some(a), Some(b)) => {
            let mut properties = a.as_object().unwrap().clone();
            for (key, schema) in b.as_object().unwrap() {
                let both = properties.get(key).map_or_else(|| schema.clone(), |known| merge(known, schema));
                properties.insert(key.clone(), both);
            }
            merged.insert("properties".into(), Value::Object(properties));
            merged.insert("required".into(), json!(&words(left, "required") & &words(right, "required")));
            merged.insert("additionalProperties".into(), json!(false));
        }
        (None, None) => {}
        _ => {
            let source = if left.get("properties").is_some() { left } else { right };
            for key in ["properties", "required", "additionalProperties"] {
                merged.insert(key.into(), source[key].clone());
            }
        }
    }
    match (left.get("items"), right.get("items")) {
        (Some(a), Some(b)) => drop(merged.insert("items".into(), merge(a, b))),
        (Some(items), None) | (None, Some(items)) => drop(merged.insert("items".into(), items.clone())),
        (None, None) => {}
    }
    Value::Object(merged)
}

/// Whether a value fits a schema of the words used here (`type`, `properties`, `required`,
/// `additionalProperties: false`, `items`); the path and the reason if not.
fn conforms(value: &Value, schema: &Value) -> Result<(), String> {
    let (found, allowed) = (type_of(value), words(schema, "type"));
    let fits = allowed.is_empty() || allowed.contains(found) || (found == "integer" && allowed.contains("number"));
    if !fits {
        return Err(format!(": a value of type {found}, not {allowed:?}"));
    }
    match value {
        Value::Object(map) if !allowed.is_empty() => {
            if let Some(missing) = words(schema, "required").iter().find(|key| !map.contains_key(*key)) {
                return Err(format!(": {missing:?} is missing"));
            }
            for (key, value) in map {
                let Some(schema) = schema["properties"].get(key) else {
                    return Err(format!(": {key:?} is not described"));
                };
                conforms(value, schema).map_err(|why| format!("/{key}{why}"))?;
            }
            Ok(())
        }
        Value::Array(items) if !allowed.is_empty() => {
            let Some(schema) = schema.get("items") else {
                return if items.is_empty() { Ok(()) } else { Err(": items are not described".into()) };
            };
            items
                .iter()
                .enumerate()
                .try_for_each(|(at, item)| conforms(item, schema).map_err(|why| format!("/{at}{why}")))
        }
        _ => Ok(()),
    }
}

#[test]
fn a_key_that_vanished_a_type_that_changed_and_a_new_key_are_all_noticed() {
    let schema = describe(&json!({"id": "1", "tags": ["a"], "limit": null}));
    let schema = merge(&schema, &describe(&json!({"id": "2", "tags": [], "limit": 3})));
    assert_eq!(conforms(&json!({"id": "3", "tags": ["b", "c"], "limit": 4}), &schema), Ok(()));
    assert!(conforms(&json!({"tags": [], "limit": 4}), &schema).unwrap_err().contains("missing"));
    assert!(conforms(&json!({"id": 3, "tags": [], "limit": 4}), &schema).unwrap_err().starts_with("/id"));
    assert!(conforms(&json!({"id": "3", "tags": [1], "limit": 4}), &schema).unwrap_err().starts_with("/tags/0"));
    assert!(conforms(&json!({"id": "3", "tags": [], "limit": 4, "x": 1}), &schema).unwrap_err().contains("described"));
}

#[test]
fn every_command_has_a_schema_and_every_schema_a_command() {
    let mut commands: BTreeSet<_> = all().into_iter().collect();
    commands.retain(|name| {
        !PRINT_A_NOTE.contains(&name.as_str())
            && !PRINT_AN_ENTITY.contains(&name.as_str())
            && !PRINT_A_GOAL.contains(&name.as_str())
            && !SAME_AS.iter().any(|(other, _)| other == name)
    });
    commands.insert("note".into());
    commands.insert("entity".into());
    commands.insert("goal".into());
    commands.extend(FORMS.iter().map(|(command, _, form)| format!("{command}-{form}")));
    let folder = path("x");
    let files = std::fs::read_dir(folder.parent().unwrap()).unwrap();
    let schemas: BTreeSet<_> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(commands.difference(&schemas).collect::<Vec<_>>(), Vec::<&String>::new(), "without a schema");
    assert_eq!(schemas.difference(&commands).collect::<Vec<_>>(), Vec::<&String>::new(), "without a command");
}
