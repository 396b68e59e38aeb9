//! `lifeos notebook …`: the tree that notes are put into.

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Client, ClientError, Notebook};
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::page::{count, one_line, short};

/// Characters of an id that are enough to name a notebook.
const PREFIX_CHARS_MIN: usize = 4;

/// Arrange notebooks.
#[derive(Debug, Subcommand)]
#[command(after_help = "NOTEBOOK is an id, its first characters (4 at least), or a name that only one notebook has.")]
pub enum NotebookCommand {
    /// Make a notebook
    Add(Add),
    /// Show the tree
    List(List),
    /// Give a new name
    Rename(Rename),
    /// Put under another notebook
    Move(Move),
    /// Remove; what is inside moves up
    Remove(Remove),
}

/// Make a notebook.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos notebook add Recipes --parent Home")]
pub struct Add {
    /// Name
    #[arg(value_name = "NAME")]
    name: String,
    /// Notebook to put it under
    #[arg(long, value_name = "NOTEBOOK")]
    parent: Option<String>,
}

/// Show the tree.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos notebook list --json")]
pub struct List {}

/// Give a new name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos notebook rename Recipes Cooking")]
pub struct Rename {
    /// Notebook
    #[arg(value_name = "NOTEBOOK")]
    notebook: String,
    /// New name
    #[arg(value_name = "NAME")]
    name: String,
}

/// Put under another notebook.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos notebook move Recipes --parent Home --after Bills\n  \
                        lifeos notebook move Recipes            to the top")]
pub struct Move {
    /// Notebook
    #[arg(value_name = "NOTEBOOK")]
    notebook: String,
    /// New parent [default: the top]
    #[arg(long, value_name = "NOTEBOOK")]
    parent: Option<String>,
    /// Behind this one [default: first]
    #[arg(long, value_name = "NOTEBOOK")]
    after: Option<String>,
}

/// Remove a notebook.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos notebook remove Recipes")]
pub struct Remove {
    /// Notebook
    #[arg(value_name = "NOTEBOOK")]
    notebook: String,
}

pub(super) fn run(command: NotebookCommand, context: &Context) -> Result<(), Failure> {
    let is_list = matches!(command, NotebookCommand::List(_));
    let client = if is_list { context.open()? } else { context.open_to_edit()? };
    match command {
        NotebookCommand::Add(args) => add(&args, &client, context),
        NotebookCommand::List(_) => list(&client, context),
        NotebookCommand::Rename(args) => {
            let id = find(&client, &args.notebook)?;
            client.notebook_rename(&id, &args.name)?;
            changed(&id, "Renamed", context)
        }
        NotebookCommand::Move(args) => move_below(&args, &client, context),
        NotebookCommand::Remove(args) => {
            let id = find(&client, &args.notebook)?;
            client.notebook_delete(&id)?;
            changed(&id, "Removed", context)
        }
    }
}

fn add(args: &Add, client: &Client, context: &Context) -> Result<(), Failure> {
    let parent = args.parent.as_deref().map(|name| find(client, name)).transpose()?;
    let id = client.notebook_create(&args.name, parent.as_deref())?;
    changed(&id, "Added", context)
}

fn move_below(args: &Move, client: &Client, context: &Context) -> Result<(), Failure> {
    let id = find(client, &args.notebook)?;
    let parent = args.parent.as_deref().map(|name| find(client, name)).transpose()?;
    let after = args.after.as_deref().map(|name| find(client, name)).transpose()?;
    client.notebook_move(&id, parent.as_deref(), after.as_deref())?;
    changed(&id, "Moved", context)
}

fn changed(id: &str, what: &str, context: &Context) -> Result<(), Failure> {
    context.out.result(&json!({"id": id}), |page| page.line(format_args!("{what} {}", short(id))))
}

fn list(client: &Client, context: &Context) -> Result<(), Failure> {
    let notebooks = client.notebooks()?;
    context.out.result(&json!({"notebooks": notebooks}), |page| {
        page.table(&notebooks.iter().map(row).collect::<Vec<_>>());
    })
}

fn row(notebook: &Notebook) -> Vec<String> {
    let indent = "  ".repeat(notebook.depth as usize);
    let recovered = if notebook.recovered { "put here because two moves made a cycle" } else { "" };
    vec![
        short(&notebook.id),
        format!("{indent}{}", one_line(&notebook.name)),
        count(notebook.notes, "note"),
        recovered.to_owned(),
    ]
}

/// The full id of the notebook that a person means.
pub(super) fn find(client: &Client, wanted: &str) -> Result<String, ClientError> {
    pick(&client.notebooks()?, wanted)
}

fn pick(notebooks: &[Notebook], wanted: &str) -> Result<String, ClientError> {
    let by_name = || notebooks.iter().filter(|notebook| notebook.name == wanted).collect::<Vec<_>>();
    let by_prefix = || notebooks.iter().filter(|notebook| is_prefix(wanted, &notebook.id)).collect::<Vec<_>>();
    let candidates = Some(by_name()).filter(|found| !found.is_empty()).unwrap_or_else(by_prefix);
    match candidates.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => Err(ClientError::NotFound { what: format!("notebook {wanted}; see `lifeos notebook list`") }),
        _ => Err(ClientError::Invalid { message: format!("more than one notebook is called {wanted}: use an id") }),
    }
}

fn is_prefix(wanted: &str, id: &str) -> bool {
    wanted.len() >= PREFIX_CHARS_MIN && id.starts_with(&wanted.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notebook(id: &str, name: &str) -> Notebook {
        Notebook { id: id.into(), name: name.into(), parent: None, depth: 0, notes: 0, recovered: false }
    }

    #[test]
    fn a_notebook_is_found_by_name_or_by_the_start_of_its_id() {
        let all = [notebook("aaaa1111", "Home"), notebook("aaaa2222", "Work"), notebook("bbbb3333", "Work")];
        assert_eq!(pick(&all, "Home").unwrap(), "aaaa1111");
        assert_eq!(pick(&all, "BBBB").unwrap(), "bbbb3333");
        assert!(matches!(pick(&all, "Work"), Err(ClientError::Invalid { .. })));
        assert!(matches!(pick(&all, "aaaa"), Err(ClientError::Invalid { .. })));
        assert!(matches!(pick(&all, "aaa"), Err(ClientError::NotFound { .. })));
    }
}
