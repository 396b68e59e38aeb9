//! `lifeos member`: the people of this space, what they may do, and how they leave.

use clap::{Args, Subcommand, ValueEnum};
use lifeos_client_core::client::MemberStatus;
use lifeos_client_core::protocol::record::Role;
use serde_json::json;

use super::device::{Reason, draw_key, draw_removal};
use super::invite;
use crate::context::Context;
use crate::failure::Failure;
use crate::page::{count, one_line, short};

/// The people of this space.
#[derive(Debug, Subcommand)]
pub enum Member {
    /// List them
    List(List),
    /// Let somebody in by a link: the same as `invite new`
    Invite(invite::New),
    /// Come in by a link: the same as `join`
    Join(invite::Join),
    /// Say what somebody may do
    Role(SetRole),
    /// Remove somebody with all devices
    Remove(Remove),
}

/// List members.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos member list\n\n\
                        A name in quotes is what they call themselves; any other, what who let them in calls them.")]
pub struct List {}

/// Set a role.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos member role Ben reader")]
pub struct SetRole {
    /// Beginning of the member's id, or the name by which they were let in
    #[arg(value_name = "MEMBER")]
    member: String,
    /// What they may do
    #[arg(value_enum)]
    role: RoleName,
}

/// Remove a member.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  lifeos member remove Ben --reason left\n\n\
                        What their devices hold already, they keep: no program can take that back.")]
pub struct Remove {
    /// Beginning of the member's id, or the name by which they were let in
    #[arg(value_name = "MEMBER")]
    member: String,
    /// Why
    #[arg(long, value_enum, default_value_t = Reason::Left)]
    reason: Reason,
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// Everything
    Owner,
    /// Let people in and out, up to editors
    Admin,
    /// Write
    Editor,
    /// Read
    Reader,
}

impl From<RoleName> for Role {
    fn from(role: RoleName) -> Self {
        match role {
            RoleName::Owner => Self::Owner,
            RoleName::Admin => Self::Admin,
            RoleName::Editor => Self::Editor,
            RoleName::Reader => Self::Reader,
        }
    }
}

pub(super) fn run(command: Member, context: &Context) -> Result<(), Failure> {
    match command {
        Member::List(_) => list(context),
        Member::Invite(args) => invite::run(invite::Invite::New(args), context),
        Member::Join(args) => invite::join(args, context),
        Member::Role(args) => context.block_on(set_role(&args, context)),
        Member::Remove(args) => context.block_on(remove(&args, context)),
    }
}

fn list(context: &Context) -> Result<(), Failure> {
    let members = context.open()?.members()?;
    context.out.result(&json!({"members": members}), |page| {
        page.table(&members.iter().map(row).collect::<Vec<_>>());
    })
}

fn row(member: &MemberStatus) -> Vec<String> {
    let this = if member.this { "you" } else { "" };
    let devices = count(member.devices, "device");
    let name = one_line(&member.name);
    let name = if member.name_source == "own" { format!("“{name}”") } else { name };
    vec![short(&member.member), name, member.role.clone(), devices, this.to_owned()]
}

async fn set_role(args: &SetRole, context: &Context) -> Result<(), Failure> {
    let report = context.open()?.member_set_role(&args.member, args.role.into()).await?;
    context.out.result(&report, |page| {
        page.line(format_args!("{} has the new role.", page.bold(&one_line(&report.name))));
        draw_key(page, &report);
    })
}

async fn remove(args: &Remove, context: &Context) -> Result<(), Failure> {
    let report = context.open()?.member_remove(&args.member, args.reason.into()).await?;
    context.out.result(&report, |page| draw_removal(page, &report))
}
