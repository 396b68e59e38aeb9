//! `lifeos attachment …` and `lifeos note attach|attachments`: files that notes attach.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Attachment, AttachmentCache, Client};
use serde_json::json;

use super::note::One;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, bytes, count, one_line, short};

/// Files that notes attach.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "ATTACHMENT is the hash that `lifeos attachment list` shows, its first characters (4 at least), or a name.\n\
                        To attach a file: `lifeos note attach NOTE FILE`."
)]
pub enum AttachmentCommand {
    /// List attachments
    List(List),
    /// Save as a file; what is not on this device is fetched first
    Get(Get),
    /// Take away from a note
    Remove(Remove),
    /// Keep on this device, whatever the limit says
    Pin(Pin),
    /// How much room attachments may take on this device
    Limit(Limit),
}

/// Attach files to a note.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos note attach 1a2b3c4d photo.jpg plan.pdf\n\n\
                        They go to the relay with the next `lifeos sync`, encrypted, in parts; other devices fetch them when\n\
                        they are asked for. What is attached in this space already takes no more room.")]
pub struct Attach {
    /// Note
    #[arg(value_name = "ID")]
    id: String,
    /// Files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Another name than the file's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// List attachments.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos attachment list")]
pub struct List {
    /// Only of this note
    #[arg(long, value_name = "ID")]
    note: Option<String>,
}

/// Save as a file.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos attachment get photo.jpg\n  lifeos attachment get 9f8e7d6c --out copy.jpg\n  \
                        lifeos attachment get 9f8e7d6c --out - | less\n\n\
                        What has come stays when it is cut off; the same command goes on."
)]
pub struct Get {
    /// Attachment
    #[arg(value_name = "ATTACHMENT")]
    attachment: String,
    /// File or folder; `-` is stdout
    #[arg(long, value_name = "PATH", default_value = ".")]
    out: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    replace: bool,
    /// Only what is on this device
    #[arg(long)]
    offline: bool,
}

/// Take away from a note.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos attachment remove 1a2b3c4d photo.jpg")]
pub struct Remove {
    /// Note
    #[arg(value_name = "ID")]
    id: String,
    /// Attachment
    #[arg(value_name = "ATTACHMENT")]
    attachment: String,
}

/// Keep on this device.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos attachment pin photo.jpg\n  lifeos attachment pin photo.jpg --off")]
pub struct Pin {
    /// Attachment
    #[arg(value_name = "ATTACHMENT")]
    attachment: String,
    /// No longer
    #[arg(long)]
    off: bool,
}

/// How much room attachments may take.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos attachment limit\n  lifeos attachment limit --mib 512\n\n\
                        Above it, what was looked at longest ago goes first, and only what a relay holds.")]
pub struct Limit {
    /// Mebibytes for all spaces of this home together
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(..1 << 40))]
    mib: Option<u64>,
}

pub(super) fn run(command: AttachmentCommand, context: &Context) -> Result<(), Failure> {
    match command {
        AttachmentCommand::List(args) => {
            let client = context.open()?;
            let found = match &args.note {
                Some(note) => client.note_attachments(note)?,
                None => client.attachments()?,
            };
            show(&found, context)
        }
        AttachmentCommand::Get(args) => get(&args, context),
        AttachmentCommand::Remove(args) => {
            let client = context.open_to_edit()?;
            client.note_detach(&args.id, &args.attachment)?;
            show(&client.note_attachments(&args.id)?, context)
        }
        AttachmentCommand::Pin(args) => {
            let client = context.open()?;
            client.attachment_pin(&args.attachment, !args.off)?;
            show(&meant(&client, &args.attachment)?, context)
        }
        AttachmentCommand::Limit(args) => {
            let client = context.open()?;
            let cache = match args.mib {
                Some(mib) => client.set_attachment_limit(mib << 20)?,
                None => client.attachment_cache()?,
            };
            context.out.result(&cache, |page| draw_cache(page, &cache))
        }
    }
}

pub(super) fn attach(args: &Attach, context: &Context) -> Result<(), Failure> {
    if args.name.is_some() && args.files.len() > 1 {
        return Err(Failure::usage("--name is for one file"));
    }
    let client = context.open_to_edit()?;
    let mut bar = context.out.bar();
    let mut added = Vec::new();
    for file in &args.files {
        added.push(client.note_attach(&args.id, file, args.name.as_deref(), &mut |step| bar.step(&step))?);
    }
    bar.finish();
    show(&added, context)
}

pub(super) fn of_note(args: &One, context: &Context) -> Result<(), Failure> {
    show(&context.open()?.note_attachments(&args.id)?, context)
}

fn get(args: &Get, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let mut bar = context.out.bar();
    if !args.offline {
        context
            .block_on(async { Ok(client.attachment_fetch(&args.attachment, &mut |step| bar.step(&step)).await?) })?;
    }
    if args.out.as_os_str() == "-" {
        client.attachment_write(&args.attachment, &mut io::stdout().lock(), &mut |_| {})?;
        return io::stdout().flush().map_err(|error| Failure::io("cannot write to stdout", error));
    }
    let file = client.attachment_save(&args.attachment, &args.out, args.replace, &mut |step| bar.step(&step))?;
    bar.finish();
    context.out.result(&json!({"file": file}), |page| page.line(format_args!("{}", file.display())))
}

fn meant(client: &Client, wanted: &str) -> Result<Vec<Attachment>, Failure> {
    let prefix = wanted.to_ascii_lowercase();
    let all = client.attachments()?;
    Ok(all.into_iter().filter(|found| found.hash.starts_with(&prefix) || found.name == wanted).collect())
}

fn show(found: &[Attachment], context: &Context) -> Result<(), Failure> {
    context.out.result(&json!({"attachments": found}), |page| {
        page.table(&found.iter().map(row).collect::<Vec<_>>());
    })
}

fn row(found: &Attachment) -> Vec<String> {
    let here = match found.size {
        None => "not known yet".to_owned(),
        Some(_) if found.parts_here == found.parts => "here".to_owned(),
        Some(_) if found.parts_here == 0 => "not here".to_owned(),
        Some(_) => format!("{} of {} parts here", found.parts_here, found.parts),
    };
    let pin = if found.pinned { "*" } else { " " };
    let size = found.size.map(bytes).unwrap_or_default();
    vec![short(&found.hash), size, format!("{pin} {}", one_line(&found.name)), here, one_line(&found.note_title)]
}

fn draw_cache(page: &mut Page, cache: &AttachmentCache) {
    page.line(format_args!("Limit     {}", bytes(cache.limit_bytes)));
    page.line(format_args!("Here      {} in {}", bytes(cache.bytes), count(cache.parts, "part")));
    if cache.unsent > 0 {
        page.line(format_args!("To send   {}", count(cache.unsent, "part")));
    }
    if cache.wanted > 0 {
        page.line(format_args!("To fetch  {}", count(cache.wanted, "part")));
    }
}

/// What the status says of attachments, where something waits.
pub(super) fn waiting(cache: &AttachmentCache) -> Option<String> {
    let sent = (cache.unsent > 0).then(|| format!("{} to be sent", count(cache.unsent, "part")));
    let fetched = (cache.wanted > 0).then(|| format!("{} to be fetched", count(cache.wanted, "part")));
    let texts: Vec<_> = sent.into_iter().chain(fetched).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}
