//! `lifeos career …`: what is missing of skills, which credentials expire, how far opportunities come, and résumés.

use std::io::Read as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Zoned;
use jiff::civil::Date;
use lifeos_client_core::client::{ImportOutcome, ResumeReport};
use lifeos_client_core::modules::career::Funnel;
use lifeos_client_core::modules::career::declared::STAGES;
use serde_json::json;

use super::entity;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{Page, many_lines, one_line, short};

/// Largest file of a résumé that is read.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A working life.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Skills, credentials, experiences, learning, achievements, opportunities and profiles of résumés are made,\n\
                  changed and listed with `lifeos entity`:\n  lifeos entity add skill name=Rust current=3 target=5\n  \
                  lifeos entity add credential name=CPR expires=2027-03-31\n  \
                  lifeos entity add opportunity company=Acme role=Editor\n  \
                  lifeos entity add resume_profile name=short highlights=2 section=work section=skills"
)]
pub enum CareerCommand {
    /// Skills and what is missing, the largest gap first
    Skills(AsOf),
    /// Credentials by the day they expire
    Credentials(Credentials),
    /// What is learnt, and how far it is
    Learning(AsOf),
    /// Write down time that was spent learning
    Log(Log),
    /// Say how far an opportunity came
    Stage(Stage),
    /// How far opportunities come, and how fast
    Pipeline(Pipeline),
    /// Take in a JSON Resume
    ResumeImport(ResumeImport),
    /// Write a JSON Resume
    ResumeExport(ResumeExport),
}

/// On which day.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos career skills")]
pub struct AsOf {
    /// On which day [default: today]
    #[arg(long, value_name = "DAY")]
    as_of: Option<Date>,
}

/// Credentials by the day they expire.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos career credentials --within 90")]
pub struct Credentials {
    /// Only those that expire in so many days, or have
    #[arg(long, value_name = "DAYS")]
    within: Option<i64>,
    /// On which day [default: today]
    #[arg(long, value_name = "DAY")]
    as_of: Option<Date>,
}

/// Write down time that was spent learning.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos career log 3f9a 45 --note \"Chapter 3\"\n\n\
                        A goal can count it: lifeos goal add Learn --target 60 --metric learning/log.minutes@on")]
pub struct Log {
    /// What is learnt
    #[arg(value_name = "ID")]
    id: String,
    /// How long
    #[arg(value_name = "MINUTES", value_parser = clap::value_parser!(i64).range(1..=1_440))]
    minutes: i64,
    /// Which day [default: today]
    #[arg(long, value_name = "DAY")]
    on: Option<Date>,
    /// What was learnt
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Say how far an opportunity came.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos career stage 3f9a interview --on 2026-03-08\n\n\
                        Stages: found, applied, screening, interview, offer, accepted; rejected, withdrawn.")]
pub struct Stage {
    /// Opportunity
    #[arg(value_name = "ID")]
    id: String,
    /// Stage
    #[arg(value_name = "STAGE", value_parser = clap::builder::PossibleValuesParser::new(STAGES))]
    stage: String,
    /// Which day [default: today]
    #[arg(long, value_name = "DAY")]
    on: Option<Date>,
}

/// How far opportunities come.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos career pipeline")]
pub struct Pipeline {}

/// Take in a JSON Resume.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos career resume-import resume.json --preview\n  lifeos career resume-import resume.json\n\n\
                        The same file again changes nothing. `lifeos undo` takes the whole of it back. What is not known of the\n\
                        file is kept, and written again. Exit code 1 if an entry could not be taken; the others are."
)]
pub struct ResumeImport {
    /// The file; - for what is piped in
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only say what would happen
    #[arg(long)]
    preview: bool,
    /// Also what is in the trash here
    #[arg(long)]
    again: bool,
}

/// Write a JSON Resume.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos career resume-export > resume.json\n  lifeos career resume-export --profile short\n\n\
                        What is private or confidential is never in it."
)]
pub struct ResumeExport {
    /// What this profile shows [default: everything]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

fn today() -> Date {
    Zoned::now().date()
}

pub(super) fn run(command: CareerCommand, context: &Context) -> Result<(), Failure> {
    match command {
        CareerCommand::Skills(args) => skills(args.as_of.unwrap_or_else(today), context),
        CareerCommand::Credentials(args) => credentials(&args, context),
        CareerCommand::Learning(args) => learning(args.as_of.unwrap_or_else(today), context),
        CareerCommand::Log(args) => {
            let client = context.open_to_edit()?;
            client.learning_log(&args.id, args.on.unwrap_or_else(today), args.minutes, args.note.as_deref())?;
            entity::show(&client, &args.id, context)
        }
        CareerCommand::Stage(args) => {
            let client = context.open_to_edit()?;
            client.opportunity_stage(&args.id, &args.stage, args.on.unwrap_or_else(today))?;
            entity::show(&client, &args.id, context)
        }
        CareerCommand::Pipeline(_) => {
            let funnel = context.open()?.pipeline()?;
            context.out.result(&funnel, |page| draw_funnel(&funnel, page))
        }
        CareerCommand::ResumeImport(args) => import(&args, context),
        CareerCommand::ResumeExport(args) => {
            let resume = context.open()?.resume_export(args.profile.as_deref())?;
            context.out.result(&resume, |page| page.raw(&format!("{}\n", many_lines(&format!("{resume:#}")))))
        }
    }
}

/// A cell, empty for nothing.
fn cell(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| one_line(&value.to_string()))
}

fn skills(today: Date, context: &Context) -> Result<(), Failure> {
    let skills = context.open()?.skills(today)?;
    let gap = skills.iter().map(|skill| skill.gap).fold(0, i64::saturating_add);
    context.out.result(&json!({"skills": skills, "gap": gap}), |page| {
        let rows = skills.iter().map(|skill| {
            let levels = format!("{} → {}", cell(skill.current.or(Some(0))), cell(skill.target));
            let levels = if skill.target.is_some() { levels } else { cell(skill.current) };
            let unused = skill.unused_days.map(|days| format!("unused for {days} d"));
            vec![
                short(&skill.id),
                one_line(&skill.name),
                levels,
                "■".repeat(skill.gap.clamp(0, 20) as usize),
                cell(unused),
            ]
        });
        page.table(&rows.collect::<Vec<_>>());
    })
}

fn credentials(args: &Credentials, context: &Context) -> Result<(), Failure> {
    let found = context.open()?.credentials(args.as_of.unwrap_or_else(today), args.within)?;
    context.out.result(&json!({"credentials": found}), |page| {
        let rows = found.iter().map(|of| {
            let left =
                of.days_left.map(|days| if days < 0 { format!("{} d ago", -days) } else { format!("in {days} d") });
            let units = of.units.map(|units| format!("{}/{units} units", of.units_earned));
            vec![
                short(&of.id),
                one_line(&of.name),
                cell(of.issuer.as_ref()),
                cell(of.expires.as_ref()),
                cell(left),
                of.standing.to_owned(),
                cell(units),
            ]
        });
        page.table(&rows.collect::<Vec<_>>());
    })
}

fn learning(today: Date, context: &Context) -> Result<(), Failure> {
    let found = context.open()?.learning(today)?;
    context.out.result(&json!({"learning": found}), |page| {
        let hours = |minutes: i64| format!("{:.1} h", minutes as f64 / 60.0);
        let rows = found.iter().map(|of| {
            let planned = of.planned.map(|planned| format!(" of {}", hours(planned))).unwrap_or_default();
            let week = format!("{} this week", hours(of.week));
            vec![
                short(&of.id),
                one_line(&of.title),
                cell(of.status.as_ref()),
                format!("{}{planned}", hours(of.spent)),
                week,
                cell(of.last_on.as_ref()),
            ]
        });
        page.table(&rows.collect::<Vec<_>>());
    })
}

fn draw_funnel(funnel: &Funnel, page: &mut Page) {
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let rows = funnel.steps.iter().map(|step| {
        let width = (f64::from(step.reached) / f64::from(funnel.all.max(1)) * 20.0).round() as usize;
        vec![
            step.stage.to_owned(),
            step.reached.to_string(),
            "█".repeat(width.min(20)),
            step.conversion.map(|share| format!("{} go on", percent(share))).unwrap_or_default(),
            step.days_median.map(|days| format!("{days} d")).unwrap_or_default(),
        ]
    });
    page.table(&rows.collect::<Vec<_>>());
    page.line(format_args!("{} rejected, {} withdrawn", funnel.rejected, funnel.withdrawn));
    funnel
        .offer_rate
        .iter()
        .for_each(|share| page.line(format_args!("{} of applications came to an offer", percent(*share))));
}

fn read(args: &ResumeImport) -> Result<String, Failure> {
    let failed = |error| Failure::io("the résumé cannot be read as text", error);
    let source: Box<dyn std::io::Read> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(&args.file).map_err(failed)?)
    };
    let mut text = String::new();
    // What is longer than this is not read into memory, and refused as too large.
    source.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn import(args: &ResumeImport, context: &Context) -> Result<(), Failure> {
    let file = read(args)?;
    let client = if args.preview { context.open()? } else { context.open_to_edit()? };
    let report = client.resume_import(&file, args.preview, args.again)?;
    context.out.result(&report, |page| draw_report(&report, page))?;
    if report.failed == 0 {
        return Ok(());
    }
    Err(Failure::Unsound("not all of it could be taken; put right what is said of each entry and import again".into()))
}

fn draw_report(report: &ResumeReport, page: &mut Page) {
    if report.preview {
        page.line("Nothing was written. What would happen:");
    }
    let word = |outcome| match outcome {
        ImportOutcome::Created => "created",
        ImportOutcome::Updated => "updated",
        ImportOutcome::Duplicate => "unchanged",
        ImportOutcome::Skipped => "skipped",
        ImportOutcome::Failed => "failed",
    };
    let rows = report.entries.iter().map(|entry| {
        vec![entry.at.clone(), one_line(&entry.name), word(entry.outcome).to_owned(), one_line(&entry.reason)]
    });
    page.table(&rows.collect::<Vec<_>>());
}
