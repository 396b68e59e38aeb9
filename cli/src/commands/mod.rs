//! The commands, one file a family; each parses its arguments, calls the client and shows what came back.

mod article;
mod attachment;
mod backup;
mod branch;
mod bundle;
mod career;
mod database;
mod device;
#[cfg(feature = "discover")]
mod discover;
mod doctor;
mod entity;
mod epoch;
mod export;
mod feed;
mod goal;
mod goal_view;
mod import;
mod init;
mod invite;
mod job;
mod journal;
mod key;
mod link;
mod member;
mod module;
mod note;
mod note_edit;
mod note_erase;
mod note_view;
mod notebook;
mod peer;
mod recover;
mod relay;
mod remind;
mod search;
mod space;
mod status;
mod sync;
mod task;
mod task_view;
mod undo;
mod watch;
mod who;

use clap::Subcommand;

use crate::context::Context;
use crate::demo;
use crate::failure::Failure;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show everything work: a relay, two devices, offline edits, convergence, nothing readable at the relay
    Demo(demo::Demo),
    /// Begin on the first device: keys, a home, the recovery phrase
    Init(init::Init),
    /// Get everything back on a bare machine, from the recovery phrase and a relay's address
    Recover(recover::Recover),
    /// The recovery phrase: check it, or make a new one
    #[command(subcommand)]
    Recovery(recover::Recovery),
    /// Add a device of yours
    #[command(subcommand)]
    Link(link::Link),
    /// A home space and any number of shared ones
    #[command(subcommand)]
    Space(space::Space),
    /// Let people into a space by a link
    #[command(subcommand)]
    Invite(invite::Invite),
    /// Come into a space by a link
    Join(invite::Join),
    /// Write, read and arrange notes
    #[command(subcommand)]
    Note(note::NoteCommand),
    /// A note a day
    Journal(journal::Journal),
    /// Files that notes attach
    #[command(subcommand)]
    Attachment(attachment::AttachmentCommand),
    /// Arrange notebooks
    #[command(subcommand)]
    Notebook(notebook::NotebookCommand),
    /// Entities of every kind, by the names of their fields
    #[command(subcommand)]
    Entity(entity::EntityCommand),
    /// Goals: habits, targets, objectives; what was done, and where it stands
    #[command(subcommand)]
    Goal(goal::GoalCommand),
    /// Edit notes and entities aside, look at what that would do, and accept some or all of it
    #[command(subcommand)]
    Branch(branch::BranchCommand),
    /// A working life: skills, credentials, learning, opportunities, résumés
    #[command(subcommand)]
    Career(career::CareerCommand),
    /// Kinds of your own, defined in a file, and their items
    #[command(subcommand)]
    Module(module::ModuleCommand),
    /// Pages kept to be read offline, and what is highlighted in them
    #[command(subcommand)]
    Article(article::ArticleCommand),
    /// Feeds (RSS, Atom, JSON) whose entries become articles
    #[command(subcommand)]
    Feed(feed::FeedCommand),
    /// Tasks: what is to be done, when, and what was
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// What rings, and when
    #[command(subcommand)]
    Remind(remind::RemindCommand),
    /// Find notes, contacts and whatever else is searched, by what is in it
    Search(search::Search),
    /// Send and receive
    Sync(sync::Sync),
    /// Who else is here now, and in which note; they see you, too
    Who(who::Who),
    /// What is not sent yet, how far each relay has been read, what was noticed or set aside
    Status(status::StatusArgs),
    /// Bring in notes from elsewhere: Markdown, Obsidian, Evernote, outlines, pages, bookmarks
    Import(import::Import),
    /// Write all notes as Markdown files
    Export(export::Export),
    /// Write everything into one encrypted file
    Backup(backup::Backup),
    /// Make a home out of a backup
    Restore(backup::Restore),
    /// Carry a space in a file, without a relay
    #[command(subcommand)]
    Bundle(bundle::Bundle),
    /// How this device's key is kept: keystore, file, passphrase; and whether the database is encrypted under it
    #[command(subcommand)]
    Key(key::Key),
    /// Check the home: database, documents, projections, keys
    Doctor(doctor::Doctor),
    /// Work in the background: how far it is, and having it wait
    #[command(subcommand)]
    Job(job::Job),
    /// The versions of a note: the same as `note history`
    History(note::History),
    /// Take back the newest edit made on this device
    Undo(undo::Undo),
    /// Do again what was undone last
    Redo(undo::Redo),
    /// Which relay to use
    #[command(subcommand)]
    Relay(relay::Relay),
    /// The devices of this space
    #[command(subcommand)]
    Device(device::Device),
    /// The people of this space
    #[command(subcommand)]
    Member(member::Member),
    /// The key everything is sealed under
    #[command(subcommand)]
    Epoch(epoch::Epoch),
}

/// Runs one command.
///
/// # Errors
/// [`Failure`], with its exit code.
pub fn run(command: Command, context: &Context) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => demo::command(args, context),
        Command::Init(args) => init::run(args, context),
        Command::Recover(args) => recover::run(args, context),
        Command::Recovery(args) => recover::recovery(args, context),
        Command::Backup(args) => backup::backup(&args, context),
        Command::Restore(args) => backup::restore(&args, context),
        Command::Bundle(args) => bundle::run(args, context),
        Command::Key(args) => key::run(&args, context),
        Command::Link(args) => link::run(args, context),
        Command::Space(args) => space::run(args, context),
        Command::Invite(args) => invite::run(args, context),
        Command::Join(args) => invite::join(args, context),
        Command::Note(args) => note::run(args, context),
        Command::Attachment(args) => attachment::run(args, context),
        Command::Journal(args) => journal::run(&args, context),
        Command::Notebook(args) => notebook::run(args, context),
        Command::Entity(args) => entity::run(args, context),
        Command::Goal(args) => goal::run(args, context),
        Command::Branch(args) => branch::run(args, context),
        Command::Career(args) => career::run(args, context),
        Command::Module(args) => module::run(args, context),
        Command::Article(args) => article::run(args, context),
        Command::Feed(args) => feed::run(args, context),
        Command::Task(args) => task::run(args, context),
        Command::Remind(args) => remind::run(args, context),
        Command::Search(args) => search::run(&args, context),
        Command::Who(args) => who::run(&args, context),
        Command::Sync(args) => sync::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Import(args) => import::run(args, context),
        Command::Export(args) => export::run(&args, context),
        Command::Doctor(args) => doctor::run(&args, context),
        Command::Job(args) => job::run(&args, context),
        Command::History(args) => note::run(note::NoteCommand::History(args), context),
        Command::Undo(_) => undo::undo(context),
        Command::Redo(_) => undo::redo(context),
        Command::Relay(args) => relay::run(args, context),
        Command::Device(args) => device::run(&args, context),
        Command::Member(args) => member::run(args, context),
        Command::Epoch(args) => epoch::run(&args, context),
    }
}

/// One line of stdin, which may be secret.
fn typed_line(missing: &str) -> Result<String, Failure> {
    let mut line = String::new();
    // What is longer than this is not read into memory.
    match std::io::BufRead::read_line(&mut std::io::Read::take(std::io::stdin().lock(), 4096), &mut line) {
        Ok(0) => Err(Failure::usage(missing)),
        Ok(_) => Ok(line),
        Err(error) => Err(Failure::io("cannot read what was typed", error)),
    }
}
