//! `lifeos note show|list|history|links|backlinks`: reading.

use std::time::Duration;

use lifeos_client_core::client::{Link, Mention, Note, NoteFilter, NoteSummary};
use serde_json::{Value, json};

use super::note::{History, List, Near, One, Show};
use super::{notebook, watch};
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, many_lines, one_line, short, time};

pub(super) fn show(args: &Show, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    if let Some(seconds) = args.wait {
        let (wait, mut bar) = (Duration::from_secs(seconds.into()), context.out.bar());
        let fetched =
            context.block_on(async { Ok(client.fetch_note(&args.id, wait, &mut |step| bar.step(&step)).await?) });
        bar.finish();
        fetched?;
    }
    let Some(version) = &args.version else {
        let note = client.note(&args.id)?;
        return context.out.result(&note, |page| draw_note(page, &note));
    };
    let markdown = client.note_at(&args.id, version)?;
    context.out.result(&json!({"id": args.id, "version": version, "markdown": markdown}), |page| {
        page.raw(&many_lines(&markdown));
    })
}

pub(super) fn draw_note(page: &mut Page, note: &Note) {
    page.line(page.bold(&one_line(&note.title)));
    let mut facts = vec![short(&note.id), time(note.updated_ms)];
    facts.extend(note.tags.iter().map(|tag| format!("#{}", one_line(tag))));
    facts.extend(note.notebook.as_deref().map(|id| format!("notebook {}", short(id))));
    facts.extend((note.kind != "note").then(|| one_line(&note.kind)));
    facts.extend(note.pinned.then(|| "pinned".to_owned()));
    facts.extend(note.trashed_ms.map(|ms| format!("in the trash since {}", time(ms))));
    facts.extend(note.edited_after_trash.then(|| "edited after that".to_owned()));
    page.line(page.dim(&facts.join("  ")));
    page.line("");
    page.raw(&many_lines(&note.markdown));
    if !note.markdown.ends_with('\n') {
        page.raw("\n");
    }
}

pub(super) fn list(args: List, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    let notebook = args.notebook.map(|name| notebook::find(&client, &name)).transpose()?;
    let filter = NoteFilter {
        notebook,
        tag: args.tag,
        kind: args.kind,
        trashed: args.trashed,
        limit: args.limit,
        offset: args.offset,
        ..NoteFilter::default()
    };
    if args.watch {
        return watch::follow(client.watch_notes(filter)?, row, context);
    }
    let notes = client.notes(filter)?;
    context.out.result(&json!({"notes": notes}), |page| {
        page.table(&notes.iter().map(row).collect::<Vec<_>>());
    })
}

pub(super) fn row(note: &NoteSummary) -> Vec<String> {
    let pin = if note.pinned { "*" } else { " " };
    let tags: Vec<_> = note.tags.iter().map(|tag| format!("#{}", one_line(tag))).collect();
    vec![short(&note.id), time(note.updated_ms), format!("{pin} {}", one_line(&note.title)), tags.join(" ")]
}

pub(super) fn history(args: &History, context: &Context) -> Result<(), Failure> {
    let versions = context.open()?.note_history(&args.id, args.limit, args.offset)?;
    context.out.result(&json!({"versions": versions}), |page| {
        let rows: Vec<_> = versions
            .iter()
            .map(|version| {
                let who = format!("{} on {}", one_line(&version.person), one_line(&version.device));
                vec![short(&version.version), time(version.time_ms), who, one_line(&version.summary)]
            })
            .collect();
        page.table(&rows);
    })
}

pub(super) fn links(args: &One, context: &Context) -> Result<(), Failure> {
    let links = context.open()?.note_links(&args.id)?;
    context.out.result(&links_json(&links), |page| {
        let rows: Vec<_> = links
            .iter()
            .map(|link| {
                let to = link.to.as_deref().map_or_else(|| "nothing yet".to_owned(), short);
                vec![to, link.kind.clone(), one_line(&link.target)]
            })
            .collect();
        page.table(&rows);
    })
}

pub(super) fn backlinks(args: &One, context: &Context) -> Result<(), Failure> {
    let links = context.open()?.note_backlinks(&args.id)?;
    context.out.result(&links_json(&links), |page| {
        let rows: Vec<_> =
            links.iter().map(|link| vec![short(&link.from), link.kind.clone(), one_line(&link.from_title)]).collect();
        page.table(&rows);
    })
}

pub(super) fn related(args: &Near, context: &Context) -> Result<(), Failure> {
    let related = context.open()?.note_related(&args.id, args.limit)?;
    context.out.result(&json!({"related": related}), |page| {
        let rows: Vec<_> = related
            .iter()
            .map(|note| {
                let tags = note.tags.iter().map(|tag| format!("#{}", one_line(tag)));
                let words = note.words.iter().take(5).map(|word| one_line(word));
                let why: Vec<_> =
                    note.linked.then(|| "linked".to_owned()).into_iter().chain(tags).chain(words).collect();
                vec![short(&note.id), one_line(&note.title), why.join(" ")]
            })
            .collect();
        page.table(&rows);
    })
}

pub(super) fn mentions(args: &Near, context: &Context) -> Result<(), Failure> {
    let mentions = context.open()?.note_mentions(&args.id, args.limit)?;
    context.out.result(&json!({"mentions": mentions}), |page| {
        let row = |one: &Mention| vec![short(&one.id), one_line(&one.title), one_line(&one.snippet)];
        page.table(&mentions.iter().map(row).collect::<Vec<_>>());
    })
}

fn links_json(links: &[Link]) -> Value {
    json!({"links": links})
}
