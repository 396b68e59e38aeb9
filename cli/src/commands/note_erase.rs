//! `lifeos note erase`: forgetting a note everywhere, and saying who may still hold it.

use lifeos_client_core::client::{ErasePlan, ErasureHolder, ErasureStatus};
use serde_json::json;

use super::note::Erase;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, count, one_line, short, time};

/// What no device or relay can be asked about.
const COPIES: &str = "Bundles, exports and backups made before still hold it; so does who copied it.";

pub(super) fn run(args: &Erase, context: &Context) -> Result<(), Failure> {
    let Some(id) = &args.id else {
        let erasures = context.open()?.erasures()?;
        return context.out.result(&json!({"erasures": erasures, "copies": COPIES}), |page| draw(page, &erasures));
    };
    let client = context.open_to_edit()?;
    if args.undo {
        let doc = client.note_erase_undo(id)?.to_string();
        let note = client.note(&doc)?;
        return context.out.result(&json!({"erasures": client.erasures()?, "copies": COPIES}), |page| {
            page.line(format_args!("Stays {}  {}", short(&note.id), one_line(&note.title)));
        });
    }
    if args.seen {
        client.note_erase_seen(id)?;
        let erasures = client.erasures()?;
        return context.out.result(&json!({"erasures": erasures, "copies": COPIES}), |page| draw(page, &erasures));
    }
    let erasure = client.note_erase(id, ErasePlan { history_only: args.history_only, at_once: args.now })?;
    let erasures = vec![erasure];
    context.out.result(&json!({"erasures": erasures, "copies": COPIES}), |page| draw(page, &erasures))
}

fn draw(page: &mut Page, erasures: &[ErasureStatus]) {
    if erasures.is_empty() {
        page.line("Nothing was erased.");
        return;
    }
    for erasure in erasures {
        page.line(format_args!("{}  {}", short(&erasure.id), what(erasure)));
        let holders = erasure.devices.iter().chain(&erasure.relays);
        page.table(&holders.map(row).collect::<Vec<_>>());
        if !erasure.late_text.is_empty() {
            page.line("  Typed elsewhere meanwhile, and not in the new note (--seen forgets it):");
            erasure.late_text.lines().for_each(|line| page.line(format_args!("    {}", one_line(line))));
        }
    }
    page.line(COPIES);
}

fn what(erasure: &ErasureStatus) -> String {
    let whole = if erasure.history_only { "its history" } else { "the note" };
    let mut text = match (erasure.due_ms, erasure.state.as_str()) {
        (Some(due_ms), _) => format!("{whole} is erased at {}, unless you take it back with --undo", time(due_ms)),
        (None, "untold") => format!("{whole} is erased here; the others are told with the next sync"),
        (None, _) => format!("{whole} was erased here at {}", time(erasure.since_ms)),
    };
    if let Some(successor) = &erasure.successor {
        text.push_str(&format!("; what it says goes on in {}", short(successor)));
    }
    if erasure.unsent_edits > 0 {
        text.push_str(&format!("; {} of this device went with it", count(erasure.unsent_edits, "unsent edit")));
    }
    if let Some(effective_ms) = erasure.effective_ms {
        text.push_str(&format!("; what is sealed of it may be deleted from {} on", time(effective_ms)));
    }
    text
}

fn row(holder: &ErasureHolder) -> Vec<String> {
    let heard = holder.heard_ms.map_or_else(String::new, |ms| format!("heard of at {}", time(ms)));
    vec![String::new(), one_line(&holder.name), holder.text.clone(), heard]
}
