//! `lifeos invite` and `lifeos join`: people come into a space by a link.

use clap::{Args, Subcommand, ValueEnum};
use lifeos_client_core::client::{Client, InviteOptions, InviteSummary, JoinOutcome, JoinRequest};
use lifeos_client_core::invite::Fingerprint;
use lifeos_client_core::protocol::record::Role;
use serde_json::json;

use super::device::draw_removal;
use crate::context::Context;
use crate::failure::Failure;
use crate::home;
use crate::page::{one_line, short, time};

const HOUR_MS: u64 = 60 * 60 * 1000;

/// Invitations into a space.
#[derive(Debug, Subcommand)]
pub enum Invite {
    /// Make a link that lets somebody ask to join
    New(New),
    /// List invitations, and who asks to join
    List(List),
    /// Withdraw an invitation
    Revoke(Revoke),
    /// Let somebody in who asked
    Approve(Approve),
}

/// As what somebody comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum InviteRole {
    /// Reads and writes
    Editor,
    /// Reads
    Reader,
}

/// Make an invitation.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos invite new --space Family\n  lifeos invite new --role reader --hours 2\n  \
                        lifeos invite new --auto --uses 5     whoever has the link reads at once\n\n\
                        The link is a secret: send it to the person you mean, by a way you trust.")]
pub struct New {
    /// As what they come in
    #[arg(long, value_enum, default_value = "editor")]
    role: InviteRole,
    /// How long the link works
    #[arg(long, value_name = "HOURS", default_value_t = 72, value_parser = clap::value_parser!(u64).range(1..=8760))]
    hours: u64,
    /// How many may join with it
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
    /// Nobody has to approve; withdrawing such a link makes a new key
    #[arg(long)]
    auto: bool,
}

/// List invitations.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos invite list --space Family")]
pub struct List {}

/// Withdraw an invitation.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos invite revoke 1a2b3c4d")]
pub struct Revoke {
    /// Invitation: id or its beginning
    #[arg(value_name = "ID")]
    id: String,
}

/// Let somebody in.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  lifeos invite approve 1a2b3c4d\n  lifeos invite approve 1a2b3c4d --name \"Ben B.\"\n  \
                        lifeos invite approve 1a2b3c4d --replaces Ben    he lost every device, and these are his new ones\n\n\
                        Compare all six numbers with those on their screen first."
)]
pub struct Approve {
    /// Request: id or its beginning, as `lifeos invite list` shows it
    #[arg(value_name = "ID")]
    id: String,
    /// What everybody here will see them called [default: what the request says]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// They are this member, who lost every device: who they were is removed
    #[arg(long, value_name = "MEMBER")]
    replaces: Option<String>,
}

/// Join a space by a link.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos join LI1…\n\n\
                        Run it again, or `lifeos sync`, after somebody has let you in.")]
pub struct Join {
    /// The link you were sent
    #[arg(value_name = "LINK")]
    link: String,
    /// Your name, as the inviting person will see it [default: the account's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(command: Invite, context: &Context) -> Result<(), Failure> {
    let client = context.open()?;
    context.block_on(async {
        match command {
            Invite::New(args) => new(&client, &args, context).await,
            Invite::List(_) => list(&client, context).await,
            Invite::Revoke(args) => revoke(&client, &args.id, context).await,
            Invite::Approve(args) => approve(&client, &args, context).await,
        }
    })
}

async fn new(client: &Client, args: &New, context: &Context) -> Result<(), Failure> {
    let role = match args.role {
        InviteRole::Editor => Role::Editor,
        InviteRole::Reader => Role::Reader,
    };
    let lives_ms = args.hours.saturating_mul(HOUR_MS);
    let link = client.invite_create(InviteOptions { role, lives_ms, uses_max: args.uses, auto: args.auto }).await?;
    let (text, invite) = (link.to_string(), link.invite.to_string());
    context.out.result(&json!({"link": text, "invite": invite}), |page| {
        page.line("Send this link to the person you mean. They run:");
        page.line(format_args!("  lifeos join {text}"));
        if !args.auto {
            page.line("Then `lifeos invite list` shows that they ask, and `lifeos invite approve` lets them in.");
        }
    })
}

async fn list(client: &Client, context: &Context) -> Result<(), Failure> {
    let requests = client.join_requests().await?;
    let invites = client.invites()?;
    context.out.result(&json!({"invites": invites, "requests": requests}), |page| {
        page.table(&invites.iter().map(invite_row).collect::<Vec<_>>());
        if !requests.is_empty() {
            page.line("");
            page.line(page.bold("They ask to join"));
            page.table(&requests.iter().map(request_row).collect::<Vec<_>>());
        }
    })
}

fn invite_row(invite: &InviteSummary) -> Vec<String> {
    let uses = format!("{} of {}", invite.uses, invite.uses_max);
    let mode = if invite.auto { "lets in at once" } else { "with approval" };
    let ends = format!("ends {}", time(invite.expires_ms));
    vec![
        short(&invite.id),
        invite.state.clone(),
        invite.role.clone(),
        uses,
        mode.to_owned(),
        ends,
        one_line(&invite.by),
    ]
}

fn request_row(request: &JoinRequest) -> Vec<String> {
    let name = if request.name.is_empty() { "(name not readable here)".to_owned() } else { one_line(&request.name) };
    vec![short(&request.id), name, request.role.clone(), numbers(&request.fingerprint)]
}

fn numbers(fingerprint: &Fingerprint) -> String {
    fingerprint.iter().map(u16::to_string).collect::<Vec<_>>().join(" ")
}

async fn revoke(client: &Client, id: &str, context: &Context) -> Result<(), Failure> {
    client.invite_revoke(id).await?;
    context.out.result(&json!({"revoked": true}), |page| page.line("The invitation is withdrawn."))
}

async fn approve(client: &Client, args: &Approve, context: &Context) -> Result<(), Failure> {
    if let Some(replaces) = &args.replaces {
        let (request, report) = client.invite_readmit(&args.id, replaces, args.name.as_deref()).await?;
        return context.out.result(&json!({"approved": request, "replaced": report}), |page| {
            page.line(format_args!("{} can come in again as {}.", called(&request), request.role));
            draw_removal(page, &report);
        });
    }
    let request = client.invite_approve(&args.id, args.name.as_deref()).await?;
    context.out.result(&json!({"approved": request}), |page| {
        page.line(format_args!("{} can come in as {}.", called(&request), request.role));
    })
}

fn called(request: &JoinRequest) -> String {
    if request.name.is_empty() { "They".to_owned() } else { one_line(&request.name) }
}

pub(super) fn join(args: Join, context: &Context) -> Result<(), Failure> {
    let client = context.open_home()?;
    let name = args.name.unwrap_or_else(home::person_name);
    let outcome = context.block_on(async { Ok(client.join(&args.link, &name).await?) })?;
    match outcome {
        JoinOutcome::Joined { space } => {
            let space = space.to_string();
            context.out.result(&json!({"state": "joined", "space": space}), |page| {
                page.line(format_args!("You are in. Run `lifeos sync`, then `lifeos space use {}`.", short(&space)));
                page.line(super::space::NOT_COVERED);
            })
        }
        JoinOutcome::Waiting { fingerprint } => {
            context.out.result(&json!({"state": "waiting", "fingerprint": fingerprint}), |page| {
                page.line("Asked. Somebody in the space has to let you in; then run this again or `lifeos sync`.");
                if let Some(fingerprint) = fingerprint {
                    page.line(format_args!("They will see these numbers: {}", page.bold(&numbers(&fingerprint))));
                }
            })
        }
    }
}
