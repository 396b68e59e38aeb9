//! `lifeos demo`: the whole way on one machine. A relay, two devices linked for real, a folder of Markdown,
//! edits on both while they cannot see each other, and then the proof: equal documents, equal lists, equal
//! files, nothing lost, nothing readable at the relay.

pub mod blind;
pub mod edits;
pub mod journal;
pub mod sample;
pub mod scan;
pub mod scene;
pub mod setup;
pub mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use lifeos_client_core::client::{Client, ExportReport, ImportReport, SyncReport};
use lifeos_sync_server::Handle;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::Out;
use crate::page::{bytes, count};
use blind::{Places, Secrets};
use edits::Side;
use journal::{Imported, Journal, Report};
use scene::{Scene, canary};
use setup::{Device, Folders};

/// Rounds of sync after which two devices that still send must be called stuck.
const ROUNDS_MAX: u32 = 6;

/// Show everything work.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos demo\n  lifeos demo ~/vault --keep /tmp/lifeos-demo\n\n\
                        Starts a relay on this machine alone and makes two devices in a folder of its own: your own \
                        home is not touched, PATH is only read. Exit code 0 only if every check held.")]
pub struct Demo {
    /// Folder of Markdown to import [default: a sample that comes with the program]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Leave the two homes, the relay and the exported files in this (new or empty) folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(crate) fn command(args: Demo, context: &Context) -> Result<(), Failure> {
    let options = Options { vault: args.path, keep: args.keep };
    context.block_on(run(&options, context.out)).map(drop)
}

/// What to show it with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A folder of Markdown; `None`: the sample.
    pub vault: Option<PathBuf>,
    /// Where to leave everything; `None`: a temporary folder that is removed.
    pub keep: Option<PathBuf>,
}

/// Runs the whole demonstration.
///
/// # Errors
/// [`Failure::Unsound`] when a check did not hold, anything else when it could not even be carried out.
pub async fn run(options: &Options, out: Out) -> Result<Report, Failure> {
    let temporary = tempfile::Builder::new().prefix("lifeos-demo-").tempdir();
    let temporary = temporary.map_err(|error| Failure::io("cannot make a temporary folder", error))?;
    let root = options.keep.as_deref().unwrap_or(temporary.path());
    let folders = Folders::new(root)?;
    let vault = vault_path(options, &folders)?;
    let mut journal =
        Journal::new(out, options.vault.as_deref().map_or("sample".into(), |path| path.display().to_string()));
    journal.report.kept = options.keep.as_deref().map(|dir| dir.display().to_string());
    let url = play(&mut journal, &folders, &vault).await?;
    if let Some(dir) = &options.keep {
        out.people(|page| page.raw(&how_to_explore(dir, &url)))?;
    }
    journal.finish()
}

/// The person's folder, or the sample written out.
fn vault_path(options: &Options, folders: &Folders) -> Result<PathBuf, Failure> {
    if let Some(path) = &options.vault {
        return fs::metadata(path)
            .map(|_| path.clone())
            .map_err(|error| Failure::io(format!("cannot import {}", path.display()), error));
    }
    sample::write_to(&folders.vault).map_err(|error| Failure::io("cannot write the sample", error))?;
    Ok(folders.vault.clone())
}

/// The play in its acts; returns the relay's address.
async fn play(journal: &mut Journal, folders: &Folders, vault: &Path) -> Result<String, Failure> {
    let mark = setup::run_mark();
    let untouched = folders.scratch.with_extension("untouched");
    let relay = open_relay(journal, folders, &untouched).await?;
    let url = setup::relay_url(&relay);
    let (laptop, phone, mut secrets) = open_devices(journal, folders, &url, &mark).await?;
    let scene = fill(journal, &laptop.client, vault, &mark)?;
    sync_until_quiet(journal, "first sync", &laptop, &phone).await?;
    check_same_notes(journal, &laptop.client, &phone.client)?;
    collect_titles(&mut secrets, &laptop.client)?;
    edit_offline(journal, &laptop, &phone, &scene)?;
    sync_until_quiet(journal, "reconnect and sync", &laptop, &phone).await?;
    check_converged(journal, &laptop.client, &phone.client)?;
    edits::verify(journal, &[&laptop, &phone], &scene)?;
    check_search(journal, &laptop.client, &phone.client, &scene)?;
    check_exports(journal, folders, &laptop.client, &phone.client)?;
    check_doctor(journal, &laptop, &phone)?;
    collect_titles(&mut secrets, &phone.client)?;
    secrets.canaries.extend(edits::words_written(&scene));
    let places = Places { relay: &folders.relay, untouched: &untouched, scratch: &folders.scratch };
    blind::verify(journal, &places, &secrets)?;
    relay.shutdown().await;
    blind::verify_stopped(journal, &places, &secrets)?;
    fs::remove_dir_all(&untouched).map_err(|error| Failure::io("cannot remove a copy", error))?;
    Ok(url)
}

/// Starts the relay and keeps a copy of its files from before anybody connected.
async fn open_relay(journal: &mut Journal, folders: &Folders, untouched: &Path) -> Result<Handle, Failure> {
    let step = journal.begin("start a relay");
    let relay = setup::start_relay(&folders.relay).await?;
    tree::copy(&folders.relay, untouched).map_err(|error| Failure::io("cannot copy the relay's files", error))?;
    journal.end(&step, format!("on {}, this machine only", relay.addr()))?;
    Ok(relay)
}

/// Makes the first device and links the second.
async fn open_devices(
    journal: &mut Journal,
    folders: &Folders,
    url: &str,
    mark: &str,
) -> Result<(Device, Device, Secrets), Failure> {
    let step = journal.begin("begin on the laptop");
    let name = format!("Laptop {}", canary(mark, "device"));
    let person = canary(mark, "person");
    let (laptop, phrase) = setup::first_device(&folders.laptop, name.clone(), person.clone(), url)?;
    journal.end(&step, "keys, home space, recovery phrase".into())?;
    let step = journal.begin("link the phone");
    let phone_name = format!("Phone {}", canary(mark, "phone"));
    let linked = setup::link_device(&laptop.client, &folders.phone, url, phone_name.clone()).await?;
    journal.end(&step, "link shown, code typed on the laptop".into())?;
    journal.check("a wrong code is refused", linked.wrong_code_refused, "mistyped once on purpose".into())?;
    let same_space = laptop.client.space() == linked.device.client.space();
    journal.check("both are in one space", same_space, format!("named itself {}", short(&linked.name_shown)))?;
    let places = ["title", "body", "tag", "property", "notebook"];
    let mut canaries: Vec<String> = places.iter().map(|place| canary(mark, place)).collect();
    canaries.extend([canary(mark, "device"), canary(mark, "phone"), person, phrase]);
    Ok((laptop, linked.device, Secrets { canaries, titles: Vec::new() }))
}

fn short(name: &str) -> &str {
    name.split(' ').next().unwrap_or_default()
}

/// Imports the vault and sets the scene on the laptop.
fn fill(journal: &mut Journal, client: &Client, vault: &Path, mark: &str) -> Result<Scene, Failure> {
    let step = journal.begin("import the notes");
    let report = import(journal, client, vault)?;
    journal.end(&step, import_detail(&report))?;
    let again = journal.begin("import them again");
    let second = import(journal, client, vault)?;
    journal.end(&again, import_detail(&second))?;
    let came_in = report.created + report.updated;
    journal.check("notes came in", came_in > 0, count(came_in, "note"))?;
    let changed = second.created + second.updated;
    journal.check("importing again changes nothing", changed == 0, format!("{} changed", count(changed, "note")))?;
    journal.report.import = Imported::from(report);
    let step = journal.begin("write some more");
    let scene = Scene::set(client, mark)?;
    journal.end(&step, "4 notes with canaries, todos and notebooks".into())?;
    Ok(scene)
}

fn import(journal: &Journal, client: &Client, vault: &Path) -> Result<ImportReport, Failure> {
    let mut bar = journal.bar();
    let report = client.import_markdown(vault, false, &mut |step| bar.step(&step));
    bar.finish();
    Ok(report?)
}

fn import_detail(report: &ImportReport) -> String {
    format!(
        "{} created, {} duplicate, {} skipped, {} failed",
        report.created, report.duplicate, report.skipped, report.failed
    )
}

/// Both sync in turn until neither has anything to say.
async fn sync_until_quiet(
    journal: &mut Journal,
    name: &'static str,
    one: &Device,
    two: &Device,
) -> Result<(), Failure> {
    let step = journal.begin(name);
    let mut total = SyncReport::default();
    let mut quiet = false;
    for _ in 0..ROUNDS_MAX {
        let mut moved = 0;
        for device in [one, two] {
            let mut bar = journal.bar();
            let report = device.client.sync(&mut |step| bar.step(&step)).await;
            bar.finish();
            let report = report?;
            moved += report.pushed + report.pulled;
            total.pushed += report.pushed;
            total.pulled += report.pulled;
            total.bytes_pushed += report.bytes_pushed;
            total.quarantined += report.quarantined;
        }
        if moved == 0 {
            quiet = true;
            break;
        }
    }
    let sent =
        format!("{} sent ({}), {} received", count(total.pushed, "envelope"), bytes(total.bytes_pushed), total.pulled);
    journal.end(&step, sent)?;
    let waiting = waiting(one)? + waiting(two)?;
    journal.check("nothing is left to send", quiet && waiting == 0, format!("{waiting} waiting after {name}"))?;
    journal.check("nothing had to be set aside", total.quarantined == 0, count(total.quarantined, "envelope"))
}

fn waiting(device: &Device) -> Result<u64, Failure> {
    let status = device.client.status()?;
    Ok(status.changes_pending + status.envelopes_unsent)
}

fn check_same_notes(journal: &mut Journal, one: &Client, two: &Client) -> Result<(), Failure> {
    let (one, two) = (one.status()?.notes, two.status()?.notes);
    journal.check("the phone has every note", one == two && one > 0, format!("{two} of {one}"))
}

fn collect_titles(secrets: &mut Secrets, client: &Client) -> Result<(), Failure> {
    secrets.titles.extend(scene::summaries(client)?.into_iter().map(|(_, title)| title));
    Ok(())
}

fn edit_offline(journal: &mut Journal, laptop: &Device, phone: &Device, scene: &Scene) -> Result<(), Failure> {
    let step = journal.begin("edit on both while offline");
    let on_laptop = edits::make(&laptop.client, Side::Laptop, scene)?;
    let on_phone = edits::make(&phone.client, Side::Phone, scene)?;
    journal.end(&step, format!("{on_laptop} edits on the laptop, {on_phone} on the phone, of the same notes"))?;
    let apart = laptop.client.heads()? != phone.client.heads()?;
    journal.check("the devices differ now", apart, "else there would be nothing to bring together".into())
}

fn check_converged(journal: &mut Journal, one: &Client, two: &Client) -> Result<(), Failure> {
    let heads = one.heads()?;
    let documents = count(heads.len() as u64, "document");
    journal.check("equal heads", !heads.is_empty() && heads == two.heads()?, documents)?;
    let (left, right) = (one.projection_digest()?, two.projection_digest()?);
    let digest: String = left.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    journal.check("equal projections", left == right, format!("SHA-256 {digest}… over all rows"))
}

/// Each side finds what the other wrote, and the note planted before.
fn check_search(journal: &mut Journal, laptop: &Client, phone: &Client, scene: &Scene) -> Result<(), Failure> {
    let step = journal.begin("search on both");
    let mut asked = 0;
    let mut missed = 0;
    for (client, writer) in [(laptop, Side::Phone), (phone, Side::Laptop)] {
        let planted = (canary(&scene.mark, "body"), Some(scene.canary.clone()));
        for (word, note) in edits::search_words(writer, scene).into_iter().chain([planted]) {
            let hits = client.search(&word, 10)?;
            asked += 1;
            missed += u64::from(!hits.iter().any(|hit| note.as_ref().is_none_or(|id| *id == hit.id)));
        }
    }
    journal.end(&step, format!("{asked} searches"))?;
    journal.check("each finds what the other wrote", missed == 0, format!("{} of {asked} found", asked - missed))
}

fn check_exports(journal: &mut Journal, folders: &Folders, one: &Client, two: &Client) -> Result<(), Failure> {
    let step = journal.begin("export on both");
    let report = export(journal, one, &folders.laptop_export)?;
    export(journal, two, &folders.phone_export)?;
    journal.end(&step, format!("{} ({})", count(report.notes, "note"), bytes(report.bytes)))?;
    let compared = tree::compare(&folders.laptop_export, &folders.phone_export)
        .map_err(|error| Failure::io("cannot compare the exported files", error))?;
    let same = compared.different.is_empty() && compared.equal >= report.notes && report.notes > 0;
    let detail = match compared.different.first() {
        None => format!("{} equal, {}", count(compared.equal, "file"), bytes(compared.bytes)),
        Some(path) => format!("the first that differs is {}", path.display()),
    };
    journal.check("exported files are equal", same, detail)
}

fn export(journal: &Journal, client: &Client, dir: &Path) -> Result<ExportReport, Failure> {
    let mut bar = journal.bar();
    let report = client.export_markdown(dir, &mut |step| bar.step(&step));
    bar.finish();
    Ok(report?)
}

fn check_doctor(journal: &mut Journal, laptop: &Device, phone: &Device) -> Result<(), Failure> {
    let step = journal.begin("examine both homes");
    let mut complaints = Vec::new();
    let mut checks = 0;
    for device in [laptop, phone] {
        let mut bar = journal.bar();
        let report = device.client.doctor(false, &mut |step| bar.step(&step));
        bar.finish();
        let report = report?;
        checks += report.checks.len() as u64;
        complaints.extend(report.checks.into_iter().filter(|check| !check.ok).map(|check| check.name));
    }
    journal.end(&step, count(checks, "check"))?;
    let detail = if complaints.is_empty() { "nothing to complain about".into() } else { complaints.join(", ") };
    journal.check("the doctor finds both homes sound", complaints.is_empty() && checks > 0, detail)
}

/// Commands to go on with.
fn how_to_explore(dir: &Path, url: &str) -> String {
    let dir = dir.display();
    let key = url.split_once('#').map_or("", |(_, key)| key);
    format!(
        "\nLeft in {dir}. To look around:\n  \
         lifeos --home {dir}/laptop note list\n  \
         lifeos --home {dir}/phone search recipe\n  \
         lifeos-relay serve --data {dir}/relay --listen 127.0.0.1:7700 &\n  \
         lifeos --home {dir}/laptop relay set ws://127.0.0.1:7700#{key}\n  \
         lifeos --home {dir}/laptop sync\n"
    )
}
