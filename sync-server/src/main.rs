//! `lifeos-relay`: serve a data folder, back it up, count what is in it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lifeos_sync_server::{Config, Database, Handle, Server, WakeupRules, backup, stats};

/// A relay for encrypted spaces: it stores and forwards what it cannot read.
#[derive(Parser)]
#[command(name = "lifeos-relay", version, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "Example:
  lifeos-relay serve --data /var/lib/lifeos-relay --listen 127.0.0.1:8787
  lifeos init --relay 'ws://127.0.0.1:8787#<key printed by serve>'";

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or ctrl-c; prints the address and key that clients are given.
    Serve {
        /// Folder of the database and the relay's key; made if it is not there.
        #[arg(long, env = "LIFEOS_RELAY_DATA", value_name = "DIR")]
        data: PathBuf,
        /// Address to listen on; port 0 takes a free one.
        #[arg(long, env = "LIFEOS_RELAY_LISTEN", default_value = "127.0.0.1:8787", value_name = "ADDR")]
        listen: SocketAddr,
        /// What clients connect to if it is not the address itself, e.g. wss://relay.example.org.
        #[arg(long, env = "LIFEOS_RELAY_ORIGIN", value_name = "URL")]
        origin: Option<String>,
        /// JSON file with "origin", "founders", "limits", "wakeups" and "database".
        #[arg(long, env = "LIFEOS_RELAY_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
        /// Store at a PostgreSQL server in place of the folder: postgres://USER:PASSWORD@HOST:PORT/DATABASE. The folder then
        /// holds the relay's key alone. Give it in the environment or the file where others see command lines.
        #[arg(long, env = "LIFEOS_RELAY_DATABASE", value_name = "URL", hide_env_values = true)]
        database: Option<String>,
        /// PEM file with the certificates of who signed PostgreSQL's.
        #[arg(long, env = "LIFEOS_RELAY_DATABASE_AUTHORITY", value_name = "FILE", requires = "database")]
        database_authority: Option<PathBuf>,
        /// Wake devices that are not connected by a POST to an address that they give (UnifiedPush, webhooks), but only
        /// at these hosts; "any" is any public one. Off unless given. The push services then see when something is new.
        #[arg(long, env = "LIFEOS_RELAY_WAKEUPS", value_name = "HOST[:PORT]", value_delimiter = ',')]
        wakeups: Vec<String>,
        /// Also take addresses with http://, which anybody on the way can read.
        #[arg(long, requires = "wakeups")]
        wakeups_http: bool,
        /// Also go to loopback and private addresses, for a push service that runs beside the relay; not with "any".
        #[arg(long, requires = "wakeups")]
        wakeups_private: bool,
        /// Print JSON: one line on stdout when it listens, log lines on stderr.
        #[arg(long)]
        json: bool,
    },
    /// Write a consistent copy of the database; the relay may go on serving. Keep a copy of relay.key too.
    Backup {
        /// New file; an existing one is never overwritten.
        file: PathBuf,
        /// The folder that `serve --data` uses.
        #[arg(long, env = "LIFEOS_RELAY_DATA", value_name = "DIR")]
        data: PathBuf,
    },
    /// Print figures of what is stored; the relay may go on serving.
    Stats {
        /// The folder that `serve --data` uses.
        #[arg(long, env = "LIFEOS_RELAY_DATA", value_name = "DIR")]
        data: PathBuf,
        /// Of a PostgreSQL server in place of the folder, as `serve --database` uses it.
        #[arg(long, env = "LIFEOS_RELAY_DATABASE", value_name = "URL", hide_env_values = true)]
        database: Option<String>,
        /// PEM file with the certificates of who signed PostgreSQL's.
        #[arg(long, env = "LIFEOS_RELAY_DATABASE_AUTHORITY", value_name = "FILE", requires = "database")]
        database_authority: Option<PathBuf>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// Usage errors leave with 2 inside `parse`.
fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lifeos-relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Serve {
            data,
            listen,
            origin,
            config,
            database,
            database_authority,
            wakeups,
            wakeups_http,
            wakeups_private,
            json,
        } => {
            let mut settings = Config::new(data, listen);
            if let Some(file) = config {
                settings.merge_file(&file)?;
            }
            if let Some(origin) = origin {
                settings.origin = origin;
            }
            if let Some(url) = database {
                settings.database = Some(Database::new(url, database_authority));
            }
            if !wakeups.is_empty() {
                settings.wakeups = Some(WakeupRules::new(&wakeups, wakeups_http, wakeups_private)?);
            }
            start_logging(json);
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(settings, json))
        }
        Command::Backup { file, data } => {
            backup(&data, &file)?;
            println!("{}", file.display());
            Ok(())
        }
        Command::Stats { data, database, database_authority, json } => {
            let stats = match database {
                Some(url) => of_server(&Database::new(url, database_authority))?,
                None => stats(&data)?,
            };
            print_stats(&stats, json)
        }
    }
}

#[cfg(feature = "postgres")]
fn of_server(database: &Database) -> Result<lifeos_sync_server::Stats, Box<dyn std::error::Error>> {
    Ok(lifeos_sync_server::server_stats(database)?)
}

#[cfg(not(feature = "postgres"))]
fn of_server(_: &Database) -> Result<lifeos_sync_server::Stats, Box<dyn std::error::Error>> {
    Err(lifeos_sync_server::StartError::NoPostgres.into())
}

async fn serve(config: Config, json: bool) -> Result<(), Box<dyn std::error::Error>> {
    let handle = Server::start(config).await?;
    announce(&handle, json);
    stop_signal().await?;
    handle.shutdown().await;
    Ok(())
}

/// One line on stdout, from which a script or a test takes the address and the key.
fn announce(handle: &Handle, json: bool) {
    if json {
        let line = serde_json::json!({
            "addr": handle.addr().to_string(),
            "relay_key": handle.relay_key().to_string(),
            "url": handle.url(),
        });
        println!("{line}");
    } else {
        println!("{}", handle.url());
    }
}

async fn stop_signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

/// Logs go to stderr; `RUST_LOG` chooses what, by default what an operator wants to know.
fn start_logging(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json { builder.json().init() } else { builder.init() }
}

fn print_stats(stats: &lifeos_sync_server::Stats, json: bool) -> Result<(), Box<dyn std::error::Error>> {
    if json {
        println!("{}", serde_json::to_string(stats)?);
        return Ok(());
    }
    println!("database   {:>14} bytes, schema {}", stats.database_bytes, stats.schema);
    println!("spaces     {:>14}", stats.spaces);
    println!("records    {:>14}", stats.records);
    println!("streams    {:>14}", stats.streams);
    println!("envelopes  {:>14}, {} bytes", stats.envelopes, stats.envelope_bytes);
    println!("objects    {:>14}, {} bytes", stats.objects, stats.object_bytes);
    for space in &stats.largest {
        println!(
            "  space {:>6}  {:>10} envelopes  {:>8} objects  {:>14} bytes",
            space.no, space.envelopes, space.objects, space.bytes
        );
    }
    Ok(())
}
