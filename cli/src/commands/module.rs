//! `lifeos module …`: kinds that a person defines in a file, and their items.

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Client, Item};
use lifeos_client_core::modules::custom::Definition;
use serde_json::{Map, Value, json};

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{many_lines, one_line, short};

/// Kinds of your own, defined in a file, and their items.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Items are found by `lifeos search`, and trashed and restored with `lifeos entity trash ID` and \
                        `lifeos entity restore ID`."
)]
pub enum ModuleCommand {
    /// Define a module, or define it anew
    Add(Add),
    /// The modules of this space
    List(List),
    /// Take a module away; its items stay
    Remove(Remove),
    /// Make or change an item
    Put(Put),
    /// The items of a module
    Items(Items),
}

/// Define a module.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos module add books.json\n\nThe file:\n  \
                        {\"module\": \"books\", \"label\": \"Books\", \"fields\": [\n    \
                        {\"name\": \"author\", \"type\": \"line\", \"required\": true},\n    \
                        {\"name\": \"pages\", \"type\": \"int\", \"min\": 1},\n    \
                        {\"name\": \"status\", \"type\": \"choice\", \"values\": [\"to read\", \"read\"]}]}\n\nTypes: line, text, choice, bool, \
                        int, date, wall_time, zoned_time, date_or_time, decimal, rate, reference.")]
pub struct Add {
    /// File
    #[arg(value_name = "FILE")]
    file: std::path::PathBuf,
}

/// The modules of this space.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos module list")]
pub struct List {}

/// Take a module away.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos module remove books")]
pub struct Remove {
    /// Module
    #[arg(value_name = "MODULE")]
    module: String,
}

/// Make or change an item.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos module put books title=Dune author='Frank Herbert' pages=412\n  \
                        lifeos module put books --id 3f9a status=read bought=")]
pub struct Put {
    /// Module
    #[arg(value_name = "MODULE")]
    module: String,
    /// The item to change [default: a new one]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Fields; nothing behind = takes the value away
    #[arg(value_name = "FIELD=VALUE", required = true)]
    fields: Vec<String>,
}

/// The items of a module.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos module items books")]
pub struct Items {
    /// Module
    #[arg(value_name = "MODULE")]
    module: String,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Skip the first
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: u32,
}

pub(super) fn run(command: ModuleCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ModuleCommand::Add(args) => add(&args, context),
        ModuleCommand::List(_) => {
            let modules = context.open()?.modules()?;
            context.out.result(&json!({"modules": modules.iter().map(described).collect::<Vec<_>>()}), |page| {
                page.table(
                    &modules
                        .iter()
                        .map(|module| vec![module.name.clone(), one_line(&module.label)])
                        .collect::<Vec<_>>(),
                );
            })
        }
        ModuleCommand::Remove(args) => {
            context.open_to_edit()?.module_remove(&args.module)?;
            context.out.result(&json!({"removed": args.module}), |page| page.line("Removed; its items stay."))
        }
        ModuleCommand::Put(args) => put(&args, context),
        ModuleCommand::Items(args) => {
            let client = context.open()?;
            client.module(&args.module)?;
            let items = client.items(&args.module, args.limit, args.offset)?;
            context.out.result(&json!({"items": items}), |page| {
                page.table(&items.iter().map(line).collect::<Vec<_>>());
            })
        }
    }
}

fn described(module: &Definition) -> Value {
    let fields = module.fields.iter().map(|field| {
        json!({"name": field.name, "type": field.holds.name(), "required": field.required, "choices": field.choices})
    });
    json!({"name": module.name, "label": module.label, "fields": fields.collect::<Vec<_>>()})
}

fn add(args: &Add, context: &Context) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| Failure::io("the definition cannot be read as text", error))?;
    let module = context.open_to_edit()?.module_add(&text)?;
    context.out.result(&described(&module), |page| page.line(format_args!("Defined {}", module.name)))
}

fn put(args: &Put, context: &Context) -> Result<(), Failure> {
    let client = context.open_to_edit()?;
    let given = given(&client, &args.module, &args.fields)?;
    let id = match &args.id {
        None => client.item_create(&args.module, &given)?.to_string(),
        Some(id) => {
            client.item_edit(id, &given)?;
            id.clone()
        }
    };
    let item = client.item(&id)?;
    context.out.result(&item, |page| page.table(&[line(&item)]))
}

fn given(client: &Client, module: &str, pairs: &[String]) -> Result<Map<String, Value>, Failure> {
    let definition = client.module(module)?;
    let mut given = Map::new();
    for text in pairs {
        let split = text.split_once('=').ok_or_else(|| Failure::usage(format!("{text} is not FIELD=VALUE")))?;
        let value = match (split.1, definition.field(split.0)) {
            ("", _) => Value::Null,
            (typed, Some(field)) => field.typed(typed),
            (typed, None) => json!(typed),
        };
        given.insert(split.0.to_owned(), value);
    }
    Ok(given)
}

fn line(item: &Item) -> Vec<String> {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let values: Vec<String> = item.values.iter().map(|(name, value)| format!("{name}={}", shown(value))).collect();
    let wrong: Vec<String> = item.invalid.iter().map(|(name, rule)| format!("{name} {rule}")).collect();
    vec![short(&item.id), one_line(&item.title), many_lines(&values.join("  ")), wrong.join(", ")]
}
