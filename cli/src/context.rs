//! What every command gets: the home folder, the output, and a runtime for those that use the network.

use std::future::Future;
use std::path::PathBuf;

use clap::Args;
use lifeos_client_core::client::{Client, OpenOptions};
use lifeos_client_core::keystore::Passphrase;

use crate::ask;
use crate::failure::Failure;
use crate::home;
use crate::output::Out;
use crate::page::one_line;

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Folder that holds this device's data [default: the platform's data folder]
    #[arg(long, global = true, env = "LIFEOS_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Space to work in: id, the beginning of one, or name [default: the one chosen with `lifeos space use`]
    #[arg(long, global = true, value_name = "SPACE")]
    pub space: Option<String>,
    /// Print one JSON document (JSON Lines where a command streams)
    #[arg(long, global = true)]
    pub json: bool,
    /// No messages and no progress, only results
    #[arg(long, global = true)]
    pub quiet: bool,
}

/// What a command works with.
#[derive(Debug)]
pub struct Context {
    home: Option<PathBuf>,
    space: Option<String>,
    /// Where results and messages go.
    pub out: Out,
}

impl Context {
    /// A context for these options.
    #[must_use]
    pub fn new(global: Global, out: Out) -> Self {
        Self { home: global.home, space: global.space, out }
    }

    /// The home folder, whether or not there is something in it.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the platform names no data folder.
    pub fn home(&self) -> Result<PathBuf, Failure> {
        match &self.home {
            Some(dir) => Ok(dir.clone()),
            None => home::default_dir()
                .ok_or_else(|| Failure::usage("this system names no data folder: pass --home DIR or set LIFEOS_HOME")),
        }
    }

    /// Opens the home, in the space that `--space` names or that is in use.
    ///
    /// # Errors
    /// [`Failure::Client`] when there is none or it cannot be used.
    pub fn open(&self) -> Result<Client, Failure> {
        let home = self.open_home()?;
        Ok(match &self.space {
            Some(wanted) => home.in_space(wanted)?,
            None => home.in_use()?,
        })
    }

    /// Opens the space for an edit: says so when it is closed. The edit is made all the same, and sent; nothing is lost.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub fn open_to_edit(&self) -> Result<Client, Failure> {
        let client = self.open()?;
        if let Some(closing) = client.closing()? {
            let closing = one_line(&closing.text());
            self.out.say(&format!(
                "This space is {closing}. Your edit is kept and sent, but others may not look here any more."
            ));
        }
        Ok(client)
    }

    /// Opens the home, in its home space.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub fn open_home(&self) -> Result<Client, Failure> {
        self.open_with(ask::passphrase_of(&self.home()?, self)?)
    }

    /// Opens the home with a passphrase that is known already.
    ///
    /// # Errors
    /// [`Failure::Client`] when there is none or it cannot be used.
    pub fn open_with(&self, passphrase: Option<Passphrase>) -> Result<Client, Failure> {
        Ok(Client::open_with(&self.home()?, &OpenOptions { passphrase })?)
    }

    /// Runs network work to its end.
    ///
    /// # Errors
    /// What the work returns, or [`Failure::Io`] when the system gives no threads.
    pub fn block_on<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        runtime()?.block_on(work)
    }
}

/// A runtime with two workers: enough for one connection and the store's blocking work.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start worker threads", error))
}
