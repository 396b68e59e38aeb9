//! `lifeos link new` and `lifeos link approve`: the two ends of adding a device.
//!
//! The new device shows a link, then six digits. The person types the digits into the old device: a link
//! caught by somebody else is of no use without standing in front of the new device's screen. Where no link can be
//! scanned or pasted, `--sas` shows eight letters instead; the person then compares pictures on both screens.

use std::io::{self, IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Client, Comparison, LinkApprove};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

use super::typed_line;
use crate::context::Context;
use crate::failure::Failure;
use crate::home;
use crate::page::{Page, one_line, short};
use crate::place;

/// Add a device of yours.
#[derive(Debug, Subcommand)]
pub enum Link {
    /// On the NEW device: show a link, then the code to type on a device you have already
    New(New),
    /// On a device you have already: let the new device in
    Approve(Approve),
}

/// On the new device.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos link new --relay ws://127.0.0.1:7700 --name phone\n\n\
                        With --json this streams: {\"event\":\"link\"}, {\"event\":\"code\"}, {\"event\":\"linked\"}.\n\
                        With --sas: {\"event\":\"sas_code\"}, {\"event\":\"compare\"}, then `yes` or `no` is read from stdin.")]
pub struct New {
    /// Relay that both devices can reach; `#` and its key pin it
    #[arg(long, value_name = "URL")]
    relay: String,
    /// What your other devices call this one [default: the machine's name]
    #[arg(long, value_name = "DEVICE")]
    name: Option<String>,
    /// Without a camera: show eight letters to type on the other device, then pictures to compare
    #[arg(long)]
    sas: bool,
}

/// On a device that is linked already.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos link approve LS1…\n  echo 123456 | lifeos link approve LS1…\n\n\
                        lifeos link approve ABCD-EF23          eight letters of `link new --sas`\n\n\
                        For a link, asks for the code that the new device shows; three tries. For eight letters, shows \
                        pictures\nand asks whether the new device shows the same; scripts write `yes` to stdin.")]
pub struct Approve {
    /// The link, or the eight letters, that the new device shows
    #[arg(value_name = "LINK|CODE")]
    link: String,
    /// For eight letters: the relay that the new device uses [default: the relay of this home]
    #[arg(long, value_name = "URL")]
    relay: Option<String>,
}

pub(super) fn run(command: Link, context: &Context) -> Result<(), Failure> {
    match command {
        Link::New(args) if args.sas => context.block_on(new_sas(args, context)),
        Link::New(args) => context.block_on(new(args, context)),
        Link::Approve(args) if is_link(&args.link) => context.block_on(approve(&args.link, context)),
        Link::Approve(args) => context.block_on(approve_sas(&args, context)),
    }
}

/// Everything else is taken for the letters of `--sas`, which are far shorter.
fn is_link(text: &str) -> bool {
    text.trim().len() > 20
}

async fn new(args: New, context: &Context) -> Result<(), Failure> {
    let home = context.home()?;
    let name = args.name.unwrap_or_else(home::device_name);
    let mut linking = Client::link_new(&home, &args.relay, &name).await?;
    show_link(linking.link(), context)?;
    let code = linking.code().await?;
    context.out.result(&json!({"event": "code", "code": code}), |page| {
        page.line(format_args!("Code: {}", page.bold(&grouped(&code))));
        page.line("Type it on the other device.");
    })?;
    let client = linking.finish().await?;
    show_linked(&client, &name, context)
}

async fn new_sas(args: New, context: &Context) -> Result<(), Failure> {
    let home = context.home()?;
    let name = args.name.unwrap_or_else(home::device_name);
    let mut linking = Client::link_new_sas(&home, &args.relay, &name).await?;
    context.out.result(&json!({"event": "sas_code", "code": linking.code()}), |page| {
        page.line("On a device you have already, run:");
        page.line(format_args!("  lifeos link approve {}", page.bold(linking.code())));
    })?;
    let comparison = linking.compare().await?;
    show_comparison(&comparison, context)?;
    let client = linking.confirm(read_answer(context).await?).await?;
    show_linked(&client, &name, context)
}

fn show_linked(client: &Client, name: &str, context: &Context) -> Result<(), Failure> {
    let (home, device, key_place) = (context.home()?, client.device().to_string(), place::keep(client, context));
    let linked = json!({
        "event": "linked", "home": home, "space": client.space().to_string(), "device": device, "device_name": name,
        "key_place": key_place,
    });
    context.out.result(&linked, |page| {
        page.line(format_args!("Linked. This device is {} ({}).", one_line(name), short(&device)));
        place::draw(page, key_place);
        page.line("Run `lifeos sync` to receive your notes.");
    })
}

async fn approve_sas(args: &Approve, context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?;
    let mut linking = client.link_approve_sas(&args.link, args.relay.as_deref()).await?;
    show_comparison(&linking.comparison(), context)?;
    let they_match = read_answer(context).await?;
    if they_match {
        context.out.say("Now say so on the new device too.");
    }
    let name = linking.confirm(they_match).await?;
    context.out.result(&json!({"event": "approved", "approved": true, "device_name": name}), |page| {
        page.line(format_args!("{} is one of your devices now.", one_line(&name)));
    })
}

/// Pictures and numbers say the same thing twice: whichever can be read out more easily.
fn show_comparison(shown: &Comparison, context: &Context) -> Result<(), Failure> {
    let pictures: Vec<_> = shown.pictures().iter().map(|(sign, name)| json!({"sign": sign, "name": name})).collect();
    context.out.result(&json!({"event": "compare", "pictures": pictures, "numbers": shown.numbers}), |page| {
        page.line("Both devices must show the same:");
        page.line("");
        for (sign, name) in shown.pictures() {
            page.line(format_args!("  {sign}  {name}"));
        }
        page.line("");
        let numbers: Vec<String> = shown.numbers.iter().map(u16::to_string).collect();
        page.line(format_args!("  {}", page.bold(&numbers.join("  "))));
        page.line("");
    })
}

/// Whether the person says that both devices show the same. Nothing but a clear yes is one.
async fn read_answer(context: &Context) -> Result<bool, Failure> {
    if io::stdin().is_terminal() && !context.out.is_json() {
        let _ = write!(io::stderr(), "Does the other device show exactly the same? [yes/no] ");
    }
    let answer = ask_stdin("no answer: type `yes` if both devices show the same, or pipe it in").await?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "yes" | "y"))
}

async fn ask_stdin(missing: &'static str) -> Result<String, Failure> {
    let line = tokio::task::spawn_blocking(move || typed_line(missing));
    line.await.map_err(|error| Failure::io("stdin", error.into()))?
}

fn show_link(link: &str, context: &Context) -> Result<(), Failure> {
    let picture = context.out.is_terminal();
    context.out.result(&json!({"event": "link", "link": link}), |page| {
        if picture {
            draw_qr(page, link);
        }
        page.line("On a device you have already, run:");
        page.line(format_args!("  lifeos link approve {link}"));
    })
}

/// Half blocks, two modules a character; a link too long for a QR code is shown as text alone.
fn draw_qr(page: &mut Page, link: &str) {
    if let Ok(code) = QrCode::new(link.as_bytes()) {
        page.line(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build());
    }
}

/// `123456` as `123 456`.
fn grouped(code: &str) -> String {
    match code.split_at_checked(3) {
        Some((head, tail)) if !tail.is_empty() => format!("{head} {tail}"),
        _ => code.to_owned(),
    }
}

async fn approve(link: &str, context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?;
    let mut linking = client.link_approve(link).await?;
    let name = linking.device_name().to_owned();
    context.out.say(&format!("{} asks to be let in.", one_line(&name)));
    enter_codes(&mut linking, context).await?;
    context.out.result(&json!({"approved": true, "device_name": name}), |page| {
        page.line(format_args!("{} is one of your devices now.", one_line(&name)));
    })
}

/// Until a code is right; the core ends it after three wrong ones.
async fn enter_codes(linking: &mut LinkApprove, context: &Context) -> Result<(), Failure> {
    loop {
        let code = read_code(context).await?;
        match linking.enter_code(&code).await? {
            None => return Ok(()),
            Some(left) => context.out.say(&format!("That is not the code; {left} more to try.")),
        }
    }
}

async fn read_code(context: &Context) -> Result<String, Failure> {
    if io::stdin().is_terminal() && !context.out.is_json() {
        let _ = write!(io::stderr(), "Code shown on the new device: ");
    }
    let line = ask_stdin("no code: type the six digits that the new device shows, or pipe them in").await?;
    Ok(line.chars().filter(char::is_ascii_alphanumeric).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_and_eight_letters_are_told_apart() {
        assert!(is_link(&format!("LS1{}", "A".repeat(140))));
        assert!(!is_link(" abcd - ef23 "));
    }

    #[test]
    fn a_code_is_shown_in_two_groups() {
        assert_eq!(grouped("123456"), "123 456");
        assert_eq!(grouped("12"), "12");
    }
}
