//! `lifeos entity …`: everything that has declared fields, of whatever kind, by the names of its fields.

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Client, Compare, Entity, EntityQuery};
use lifeos_client_core::registry::{self, Crdt, Field, Kind};
use serde_json::{Map, Value, json};

use super::watch;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, many_lines, one_line, short, time};

/// Entities of every kind, by the names of their fields.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "ID is an id or its first characters (4 at least). `lifeos entity fields KIND` shows what may be \
                        written."
)]
pub enum EntityCommand {
    /// The kinds there are
    Kinds(Kinds),
    /// The fields, lists and rules of a kind
    Fields(Fields),
    /// The JSON Schema of a kind
    Schema(Schema),
    /// Make one
    Add(Add),
    /// Show one
    Show(Show),
    /// List those of a kind
    List(List),
    /// Change fields
    Edit(Edit),
    /// Add an entry to a list, or change one
    Row(Row),
    /// Remove an entry of a list
    RowRemove(RowRef),
    /// Bring a removed entry back
    RowRestore(RowRef),
    /// Add to a counter
    Count(Count),
    /// Put into the trash
    Trash(Trash),
    /// Take out of the trash
    Restore(Restore),
}

/// The kinds there are.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity kinds")]
pub struct Kinds {}

/// The fields, lists and rules of a kind.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity fields contact")]
pub struct Fields {
    /// Kind
    #[arg(value_name = "KIND")]
    kind: String,
}

/// The JSON Schema of a kind.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity schema contact > contact.schema.json")]
pub struct Schema {
    /// Kind
    #[arg(value_name = "KIND")]
    kind: String,
}

/// Make one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity add contact name=Ana born=1990-01-02 tag=friend tag=work")]
pub struct Add {
    /// Kind
    #[arg(value_name = "KIND")]
    kind: String,
    /// Fields, and labels for sets
    #[arg(value_name = "FIELD=VALUE", required = true)]
    fields: Vec<String>,
}

/// Show one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity show 3f9a")]
pub struct Show {
    /// Entity
    #[arg(value_name = "ID")]
    id: String,
}

/// List those of a kind.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos entity list contact --where born>=1990-01-01 --where tag=friend --order name\n\n\
                        Comparisons: = != < <= > >= and ~ (holds the text); nothing behind = means no value."
)]
pub struct List {
    /// Kind
    #[arg(value_name = "KIND")]
    kind: String,
    /// A field and what it must be; can be given more than once
    #[arg(long = "where", value_name = "CONDITION")]
    wheres: Vec<String>,
    /// The trash
    #[arg(long)]
    trashed: bool,
    /// Field to order by [default: newest change first]
    #[arg(long, value_name = "FIELD")]
    order: Option<String>,
    /// The largest first
    #[arg(long, requires = "order")]
    desc: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Skip the first
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
    /// Go on with what changes in the list, here or by other programs of this home, until Ctrl-C
    #[arg(long, conflicts_with = "offset")]
    watch: bool,
}

/// Change fields.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity edit 3f9a role=Editor tag=press --unset born --untag tag=work")]
pub struct Edit {
    /// Entity
    #[arg(value_name = "ID")]
    id: String,
    /// Fields, and labels for sets
    #[arg(value_name = "FIELD=VALUE")]
    fields: Vec<String>,
    /// Take a field's value away
    #[arg(long, value_name = "FIELD")]
    unset: Vec<String>,
    /// Take a label out of a set
    #[arg(long, value_name = "SET=LABEL")]
    untag: Vec<String>,
}

/// Add an entry to a list, or change one.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity row 3f9a reach kind=email value=ana@example.org\n  \
                        lifeos entity row 3f9a reach --entry 81c0… label=work")]
pub struct Row {
    /// Entity
    #[arg(value_name = "ID")]
    id: String,
    /// List
    #[arg(value_name = "LIST")]
    list: String,
    /// Fields
    #[arg(value_name = "FIELD=VALUE", required = true)]
    fields: Vec<String>,
    /// The entry to change, or the id of the new one [default: a new one with a random id]
    #[arg(long, value_name = "ENTRY")]
    entry: Option<String>,
}

/// An entry of a list.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity row-remove 3f9a reach 81c0…")]
pub struct RowRef {
    /// Entity
    #[arg(value_name = "ID")]
    id: String,
    /// List
    #[arg(value_name = "LIST")]
    list: String,
    /// Entry
    #[arg(value_name = "ENTRY")]
    entry: String,
}

/// Add to a counter.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity count 3f9a glasses --by 2")]
pub struct Count {
    /// Entity
    #[arg(value_name = "ID")]
    id: String,
    /// Counter
    #[arg(value_name = "FIELD")]
    field: String,
    /// How much
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    by: i64,
    /// Of this entry of a list
    #[arg(long, value_name = "LIST/ENTRY")]
    row: Option<String>,
}

/// Put into the trash.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity trash 3f9a")]
pub struct Trash {
    /// Entity
    #[arg(value_name = "ID")]
    id: String,
}

/// Take out of the trash.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos entity restore 3f9a")]
pub struct Restore {
    /// Entity
    #[arg(value_name = "ID")]
    id: String,
}

pub(super) fn run(command: EntityCommand, context: &Context) -> Result<(), Failure> {
    match command {
        EntityCommand::Kinds(_) => kinds(context),
        EntityCommand::Fields(args) => fields(&args, context),
        EntityCommand::Schema(args) => schema(&args, context),
        EntityCommand::Add(args) => add(&args, context),
        EntityCommand::Show(args) => show(&context.open()?, &args.id, context),
        EntityCommand::List(args) => list(args, context),
        EntityCommand::Edit(args) => edit(&args, context),
        EntityCommand::Row(args) => row(&args, context),
        EntityCommand::RowRemove(args) => remove_row(&args, true, context),
        EntityCommand::RowRestore(args) => remove_row(&args, false, context),
        EntityCommand::Count(args) => count(&args, context),
        EntityCommand::Trash(args) => trash(&args.id, true, context),
        EntityCommand::Restore(args) => trash(&args.id, false, context),
    }
}

/// Kinds whose rows follow from their fields: those that are read and written here.
fn generic() -> impl Iterator<Item = &'static Kind> {
    registry::kinds().filter(|kind| kind.table().is_some())
}

fn kind_named(name: &str) -> Result<&'static Kind, Failure> {
    generic().find(|kind| kind.name == name).ok_or_else(|| {
        let known: Vec<&str> = generic().map(|kind| kind.name).collect();
        Failure::usage(format!("there is no kind called {name}: there are {}", known.join(", ")))
    })
}

fn kinds(context: &Context) -> Result<(), Failure> {
    let kinds: Vec<Value> = generic()
        .map(|kind| {
            json!({"name": kind.name, "label": kind.label, "purpose": kind.purpose, "version": kind.version,
                   "searched": kind.is_searched()})
        })
        .collect();
    context.out.result(&json!({"kinds": kinds}), |page| {
        page.table(&generic().map(|kind| vec![kind.name.to_owned(), kind.purpose.to_owned()]).collect::<Vec<_>>());
    })
}

fn fields(args: &Fields, context: &Context) -> Result<(), Failure> {
    let kind = kind_named(&args.kind)?;
    let (fields, lists): (Vec<Value>, Vec<Value>) = (
        kind.fields.iter().map(described).collect(),
        kind.families
            .iter()
            .map(|family| {
                json!({"name": family.name, "label": family.label, "entries_max": family.rows_max,
                       "set": kind.is_set(family)})
            })
            .collect(),
    );
    let rules: Vec<Value> = kind.rules.iter().map(|rule| json!({"id": rule.id, "text": rule.text})).collect();
    let result =
        json!({"kind": kind.name, "purpose": kind.purpose, "fields": fields, "families": lists, "rules": rules});
    context.out.result(&result, |page| {
        page.line(kind.purpose);
        let rows = kind.fields.iter().filter(|field| !field.key.starts_with("schema")).map(|field| {
            let name = match field.family() {
                Some(family) => format!("{family}[].{}", field.name()),
                None => field.name().to_owned(),
            };
            vec![name, registry_type(field), field.purpose.to_owned()]
        });
        page.table(&rows.collect::<Vec<_>>());
        kind.rules.iter().for_each(|rule| page.line(format_args!("rule: {}", rule.text)));
    })
}

fn schema(args: &Schema, context: &Context) -> Result<(), Failure> {
    let schema = kind_named(&args.kind)?.json_schema();
    context.out.result(&schema, |page| page.raw(&format!("{schema:#}\n")))
}

/// The type with its choices or unit.
fn registry_type(field: &Field) -> String {
    match (field.field_type, field.unit) {
        (registry::FieldType::Choice(values), _) => values.join(" | "),
        (other, Some(unit)) => format!("{} ({unit})", other.name()),
        (other, None) => other.name().to_owned(),
    }
}

fn described(field: &Field) -> Value {
    json!({
        "id": field.id, "name": field.name(), "list": field.family(), "label": field.label, "purpose": field.purpose,
        "type": field.field_type.name(), "unit": field.unit, "required": !field.nullable,
        "since": field.since, "deprecated": field.deprecated, "searched": field.search.is_some(),
        "sensitivity": field.sensitivity.name(), "ai_readable": field.ai_readable,
    })
}

/// Splits `name=value`.
fn pair(given: &str) -> Result<(&str, &str), Failure> {
    given.split_once('=').ok_or_else(|| Failure::usage(format!("{given} is not FIELD=VALUE")))
}

/// Turns `name=value` into what is written: fields by their types, labels of sets as a list.
pub(super) fn given(kind: &Kind, pairs: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut given = Map::new();
    for text in pairs {
        let (name, typed) = pair(text)?;
        if let Some(field) = kind.field_named(name) {
            let value = if field.crdt == Crdt::Text { json!(typed) } else { field.typed(typed) };
            given.insert(name.to_owned(), value);
        } else if kind.family(name).is_some_and(|family| kind.is_set(family)) {
            let labels = given.entry(name).or_insert_with(|| json!([]));
            labels.as_array_mut().into_iter().for_each(|labels| labels.push(json!(typed)));
        } else {
            return Err(Failure::usage(format!(
                "a {0} has no field {name}: see `lifeos entity fields {0}`",
                kind.name
            )));
        }
    }
    Ok(given)
}

fn add(args: &Add, context: &Context) -> Result<(), Failure> {
    let kind = kind_named(&args.kind)?;
    let given = given(kind, &args.fields)?;
    let client = context.open_to_edit()?;
    let id = client.entity_create(kind.name, &given)?.to_string();
    show(&client, &id, context)
}

/// The same for an entity that is there; nothing behind the sign takes a value away.
pub(super) fn given_for(client: &Client, id: &str, pairs: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut given = given(kind_of(client, id)?.0, pairs)?;
    for text in pairs {
        let (name, typed) = pair(text)?;
        if typed.is_empty() {
            given.insert(name.to_owned(), Value::Null);
        }
    }
    Ok(given)
}

/// The kind of an entity that is there.
fn kind_of(client: &Client, id: &str) -> Result<(&'static Kind, Entity), Failure> {
    let entity = client.entity(id)?;
    Ok((kind_named(&entity.kind)?, entity))
}

fn edit(args: &Edit, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let (kind, entity) = kind_of(&client, &args.id)?;
    let mut given = given(kind, &args.fields)?;
    for name in &args.unset {
        given.insert(name.clone(), Value::Null);
    }
    if given.is_empty() && args.untag.is_empty() {
        return Err(Failure::usage("nothing to change: give FIELD=VALUE, --unset or --untag"));
    }
    if !given.is_empty() {
        client.entity_edit(&entity.id, &given)?;
    }
    for text in &args.untag {
        let (set, label) = pair(text)?;
        client.entity_untag(&entity.id, set, label)?;
    }
    show(&client, &entity.id, context)
}

fn row(args: &Row, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let (kind, entity) = kind_of(&client, &args.id)?;
    let mut entry = Map::new();
    if let Some(id) = &args.entry {
        entry.insert("id".into(), json!(id));
    }
    for text in &args.fields {
        let (name, typed) = pair(text)?;
        let field = kind.fields_of(Some(&args.list)).find(|field| field.name() == name);
        let field = field.ok_or_else(|| Failure::usage(format!("there is no field {name} in a list {}", args.list)))?;
        entry.insert(name.to_owned(), if typed.is_empty() { Value::Null } else { field.typed(typed) });
    }
    client.entity_edit(&entity.id, &Map::from_iter([(args.list.clone(), json!([entry]))]))?;
    show(&client, &entity.id, context)
}

fn remove_row(args: &RowRef, removed: bool, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    client.entity_remove_row(&args.id, &args.list, &args.entry, removed)?;
    show(&client, &args.id, context)
}

fn count(args: &Count, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let row = match &args.row {
        None => None,
        Some(row) => Some(row.split_once('/').ok_or_else(|| Failure::usage("an entry is given as LIST/ENTRY"))?),
    };
    client.entity_add(&args.id, row, &args.field, args.by)?;
    show(&client, &args.id, context)
}

fn trash(id: &str, trashed: bool, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    client.entity_trash(id, trashed)?;
    show(&client, id, context)
}

fn list(args: List, context: &Context) -> Result<(), Failure> {
    let kind = kind_named(&args.kind)?;
    let mut query = EntityQuery {
        trashed: args.trashed,
        order: args.order,
        descending: args.desc,
        limit: args.limit,
        offset: args.offset,
        ..EntityQuery::default()
    };
    for text in &args.wheres {
        let (name, compare, value) = condition(text)?;
        if kind.family(name).is_some() {
            query.labels.push((name.to_owned(), value.to_owned()));
        } else {
            query.wheres.push((name.to_owned(), compare, value.to_owned()));
        }
    }
    let client = context.open()?;
    if args.watch {
        return watch::follow(client.watch_entities(kind.name, &query)?, line, context);
    }
    let entities = client.entities(kind.name, &query)?;
    context.out.result(&json!({"entities": entities}), |page| {
        page.table(&entities.iter().map(line).collect::<Vec<_>>());
    })
}

/// Reads `name>=value`.
fn condition(text: &str) -> Result<(&str, Compare, &str), Failure> {
    let wrong = || Failure::usage(format!("{text} is no condition, like name=Ana or born>=1990-01-01"));
    let at = text.find(['=', '!', '<', '>', '~']).ok_or_else(wrong)?;
    let (name, rest) = text.split_at(at);
    let signs = [
        ("!=", Compare::IsNot),
        ("<=", Compare::AtMost),
        (">=", Compare::AtLeast),
        ("=", Compare::Is),
        ("<", Compare::Below),
        (">", Compare::Above),
        ("~", Compare::Holds),
    ];
    let found = signs.into_iter().find_map(|(sign, compare)| Some((name, compare, rest.strip_prefix(sign)?)));
    found.filter(|(name, ..)| !name.is_empty()).ok_or_else(wrong)
}

fn line(entity: &Entity) -> Vec<String> {
    let values = entity.values.iter().take(5).map(|(name, value)| format!("{name}={}", shown(value)));
    let mut notes = Vec::new();
    if entity.read_only {
        notes.push("read only: update lifeos".to_owned());
    }
    if entity.invalid + entity.conflicts > 0 {
        notes.push("to be looked at".to_owned());
    }
    vec![short(&entity.id), one_line(&values.collect::<Vec<_>>().join("  ")), notes.join(", ")]
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn show(client: &Client, id: &str, context: &Context) -> Result<(), Failure> {
    let entity = client.entity(id)?;
    context.out.result(&entity, |page| draw(&entity, page))
}

fn draw(entity: &Entity, page: &mut Page) {
    page.line(format_args!("{} {}", entity.kind, short(&entity.id)));
    let mut rows: Vec<Vec<String>> =
        entity.values.iter().map(|(name, value)| vec![name.clone(), many_lines(&shown(value))]).collect();
    for (name, entries) in &entity.lists {
        rows.extend(entries.iter().map(|entry| vec![name.clone(), one_line(&shown(entry))]));
    }
    rows.push(vec!["changed".into(), time(entity.updated_ms)]);
    rows.extend(entity.trashed_ms.map(|ms| vec!["in the trash since".into(), time(ms)]));
    page.table(&rows);
    for mark in &entity.marks {
        page.line(format_args!("{} {}: {}", mark.mark, one_line(&mark.at), one_line(&mark.detail)));
    }
    if entity.read_only {
        page.line("Made by a newer version of lifeos: update it to edit this.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_a_name_a_sign_and_a_value() {
        for (text, name, compare, value) in [
            ("born>=1990-01-01", "born", Compare::AtLeast, "1990-01-01"),
            ("name=a=b", "name", Compare::Is, "a=b"),
            ("name!=", "name", Compare::IsNot, ""),
            ("note~tea", "note", Compare::Holds, "tea"),
        ] {
            assert_eq!(condition(text).unwrap(), (name, compare, value));
        }
        assert!(condition("name").is_err() && condition("=x").is_err() && condition("a!b").is_err());
    }
}
