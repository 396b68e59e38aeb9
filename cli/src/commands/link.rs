//! `lifeos link new` and `lifeos link approve`: the two ends of adding a device.
//!
//! The new device shows a link, then six digits. The person types the digits into the old device: a link
//! caught by somebody else is of no use without standing in front of the new device's screen.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use lifeos_client_core::client::{Client, LinkApprove};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::home;
use crate::page::{Page, one_line, short};

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
                        With --json this streams: {\"event\":\"link\"}, {\"event\":\"code\"}, {\"event\":\"linked\"}.")]
pub struct New {
    /// Relay that both devices can reach; `#` and its key pin it
    #[arg(long, value_name = "URL")]
    relay: String,
    /// What your other devices call this one [default: the machine's name]
    #[arg(long, value_name = "DEVICE")]
    name: Option<String>,
}

/// On a device that is linked already.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos link approve LS1…\n  echo 123456 | lifeos link approve LS1…\n\n\
                        Asks for the code that the new device shows; three tries.")]
pub struct Approve {
    /// The link that the new device shows
    #[arg(value_name = "LINK")]
    link: String,
}

pub(super) fn run(command: Link, context: &Context) -> Result<(), Failure> {
    match command {
        Link::New(args) => context.block_on(new(args, context)),
        Link::Approve(args) => context.block_on(approve(&args.link, context)),
    }
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
    let device = client.device().to_string();
    let linked = json!({
        "event": "linked", "home": home, "space": client.space().to_string(), "device": device, "device_name": name,
    });
    context.out.result(&linked, |page| {
        page.line(format_args!("Linked. This device is {} ({}).", one_line(&name), short(&device)));
        page.line("Run `lifeos sync` to receive your notes.");
    })
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
    let client = context.open()?;
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
    let line = tokio::task::spawn_blocking(read_line).await.map_err(|error| Failure::io("stdin", error.into()))??;
    Ok(line.chars().filter(char::is_ascii_alphanumeric).collect())
}

fn read_line() -> Result<String, Failure> {
    let mut line = String::new();
    // A code is six digits: what is longer than this is not read into memory.
    let mut stdin = io::Read::take(io::stdin().lock(), 256);
    match stdin.read_line(&mut line) {
        Ok(0) => Err(Failure::usage("no code: type the six digits that the new device shows, or pipe them in")),
        Ok(_) => Ok(line),
        Err(error) => Err(Failure::io("cannot read the code", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_in_two_groups() {
        assert_eq!(grouped("123456"), "123 456");
        assert_eq!(grouped("12"), "12");
    }
}
