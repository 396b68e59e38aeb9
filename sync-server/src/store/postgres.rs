//! PostgreSQL behind the storage contract: sessions, statements, errors, migrations.
//!
//! A session is used by one thread at a time, which waits for each answer; the connections themselves are tasks of a
//! thread of their own, so that nobody who waits keeps them from being answered. A session that failed is not used
//! again: a reader drops it, a writer connects anew with its next transaction.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::try_join_all;
use futures_util::{Stream, TryStreamExt};
use lifeos_sync_protocol::ids::SignPk;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::runtime::Runtime;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{AsyncMessage, Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::StoreError;
use super::db::{Db, NONE, Value};

/// How long a server may take to answer before the session counts as lost.
const ANSWER: Duration = Duration::from_secs(40);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// A statement that takes longer is ended by the server; so is a session that does nothing inside a transaction, because
/// it may hold a space, and one whose relay cannot be reached any more.
const SESSION: &str = "-c statement_timeout=30000 -c lock_timeout=10000 -c idle_in_transaction_session_timeout=30000 \
    -c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3";
/// The channel on which relays tell each other that something was stored.
const CHANNEL: &str = "lifeos_relay";

/// Migration `n` (from 1) brings schema `n - 1` to `n`. Only ever added to.
const MIGRATIONS: &[&str] = &[include_str!("postgres/1.sql")];

/// PostgreSQL cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The address cannot be read.
    #[error("the address of PostgreSQL cannot be read: {0}; it is written postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Address(tokio_postgres::Error),
    /// The certificates cannot be used.
    #[error("cannot use the certificates in {path}: give a PEM file with those of the authority that signed PostgreSQL's", path = path.display())]
    Authority {
        /// The file.
        path: PathBuf,
    },
    /// TLS cannot be prepared.
    #[error("cannot prepare TLS towards PostgreSQL: {0}")]
    Tls(rustls::Error),
    /// Its thread cannot be started.
    #[error("cannot start the thread that speaks with PostgreSQL: {0}")]
    Thread(std::io::Error),
    /// It does not answer, or refuses.
    #[error("PostgreSQL does not take the relay: {0}; is it running, and are user, password and database right?")]
    Connect(tokio_postgres::Error),
    /// It does not answer in time.
    #[error("PostgreSQL does not answer; is the address right, and can it be reached from here?")]
    Silent,
    /// What it acknowledges could be lost.
    #[error("PostgreSQL runs with fsync = off: what the relay acknowledges could be lost; turn it on")]
    NoFsync,
    /// A newer version wrote the database.
    #[error("the database was written by a newer version (schema {found}, this one knows {known}); use that version")]
    Newer {
        /// Its schema.
        found: i64,
        /// The newest schema this version knows.
        known: i64,
    },
    /// It is another relay's.
    #[error("the database belongs to the relay with the key {key}; put that relay's relay.key into the data folder")]
    OtherRelay {
        /// That relay's key, which clients have pinned.
        key: SignPk,
    },
    /// It refuses what has to be done at the start.
    #[error("PostgreSQL refused to prepare the database; the reason is in the log")]
    Prepare,
}

/// Where a server is, and how it is reached.
#[derive(Clone)]
pub(crate) struct Server(Arc<Way>);

/// The way to it.
struct Way {
    config: Config,
    tls: MakeRustlsConnect,
    io: Io,
}

/// The thread of the connections.
struct Io(Option<Runtime>);

impl Io {
    fn start() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("relay-postgres").enable_all().build().map(|runtime| Self(Some(runtime)))
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, StoreError> {
        Ok(self.0.as_ref().ok_or(StoreError::Stopped)?.block_on(future))
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // Also where nobody may wait for its end.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

impl Server {
    pub(crate) fn new(url: &str, authority: Option<&Path>) -> Result<Self, PostgresError> {
        let mut config: Config = url.parse().map_err(PostgresError::Address)?;
        let is_near = config.get_hosts().iter().all(is_near);
        // Never in clear over a network because somebody on the way says so.
        if !is_near && config.get_ssl_mode() == SslMode::Prefer {
            config.ssl_mode(SslMode::Require);
        }
        let options = config.get_options().map_or_else(|| SESSION.to_owned(), |more| format!("{SESSION} {more}"));
        config.options(options).connect_timeout(CONNECT).application_name("lifeos-relay");
        config.keepalives_idle(Duration::from_secs(15)).tcp_user_timeout(ANSWER);
        let io = Io::start().map_err(PostgresError::Thread)?;
        Ok(Self(Arc::new(Way { config, tls: MakeRustlsConnect::new(tls(authority)?), io })))
    }

    /// A session that connects with its first transaction.
    pub(super) fn session(&self) -> Session {
        Session { server: self.clone(), open: RefCell::new(None) }
    }

    /// A session that is connected.
    pub(crate) fn connect(&self) -> Result<Session, PostgresError> {
        let session = self.session();
        session.reconnect()?;
        Ok(session)
    }

    /// What the server tells to who listens: one `()` each time that a relay stored something. The session speaks, too.
    pub(crate) async fn listen(&self) -> Result<(Client, impl Stream<Item = ()> + use<>), PostgresError> {
        let connecting = self.0.config.connect(self.0.tls.clone());
        let connected = tokio::time::timeout(CONNECT, connecting).await.map_err(|_| PostgresError::Silent)?;
        let (client, mut connection) = connected.map_err(PostgresError::Connect)?;
        let (heard, hears) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            let mut messages =
                std::pin::pin!(futures_util::stream::poll_fn(move |context| connection.poll_message(context)));
            while let Ok(Some(message)) = messages.try_next().await {
                if let AsyncMessage::Notification(_) = message {
                    // One that nobody has looked at yet says the same.
                    let _ = heard.try_send(());
                }
            }
        });
        client.batch_execute(&format!("LISTEN {CHANNEL}")).await.map_err(PostgresError::Connect)?;
        let hears = futures_util::stream::unfold(hears, |mut hears| async move { Some((hears.recv().await?, hears)) });
        Ok((client, hears))
    }
}

/// Says to all that listen that something was stored.
pub(crate) async fn tell(client: &Client) -> Result<(), StoreError> {
    Ok(client.batch_execute(&format!("NOTIFY {CHANNEL}")).await?)
}

fn is_near(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn tls(authority: Option<&Path>) -> Result<rustls::ClientConfig, PostgresError> {
    let mut roots = rustls::RootCertStore::empty();
    match authority {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let wrong = || PostgresError::Authority { path: path.to_owned() };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|_| wrong())? {
                certificate.ok().and_then(|certificate| roots.add(certificate).ok()).ok_or_else(wrong)?;
            }
            if roots.is_empty() {
                return Err(wrong());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(PostgresError::Tls)?.with_root_certificates(roots).with_no_client_auth())
}

/// One session.
pub(crate) struct Session {
    server: Server,
    open: RefCell<Option<Box<Open>>>,
}

struct Open {
    client: Client,
    statements: HashMap<&'static str, Statement>,
}

impl Session {
    pub(super) fn is_open(&self) -> bool {
        self.open.borrow().as_ref().is_some_and(|open| !open.client.is_closed())
    }

    fn reconnect(&self) -> Result<(), PostgresError> {
        let Way { config, tls, io } = &*self.server.0;
        let connecting = async {
            let connected = tokio::time::timeout(CONNECT, config.connect(tls.clone())).await;
            let (client, connection) = connected.map_err(|_| PostgresError::Silent)?.map_err(PostgresError::Connect)?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(code = error.code().map(|code| code.code()), "a session with PostgreSQL has ended");
                }
            });
            durable(&client).await.map(|()| client)
        };
        let client = io.wait(connecting).unwrap_or(Err(PostgresError::Silent))?;
        *self.open.borrow_mut() = Some(Box::new(Open { client, statements: HashMap::new() }));
        Ok(())
    }

    /// Begins to write, with a new connection if the old one is lost.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        if !self.is_open() {
            self.reconnect().map_err(|error| {
                tracing::error!(%error, "cannot connect");
                StoreError::Unavailable
            })?;
        }
        self.run("BEGIN")
    }

    /// Does something that has no parameters and no answer.
    pub(super) fn run(&self, sql: &str) -> Result<(), StoreError> {
        self.wait(async |open| open.client.batch_execute(sql).await)
    }

    pub(super) fn execute(&self, sql: &'static str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        self.wait(async |open| {
            let statement = open.statement(sql).await?;
            let changed = open.client.execute_raw(&statement, values.iter().copied()).await?;
            Ok(usize::try_from(changed).unwrap_or(usize::MAX))
        })
    }

    pub(super) fn execute_each<'a, V: AsRef<[Value<'a>]>>(
        &self,
        sql: &'static str,
        each: impl Iterator<Item = V>,
    ) -> Result<(), StoreError> {
        self.wait(async |open| {
            let statement = open.statement(sql).await?;
            // Sent one after the other without waiting for answers.
            let sent = each.map(|values| {
                let values: Vec<Value<'_>> = values.as_ref().to_vec();
                open.client.execute_raw(&statement, values)
            });
            try_join_all(sent).await.map(drop)
        })
    }

    pub(super) fn query(&self, sql: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError> {
        self.wait(async |open| {
            let statement = open.statement(sql).await?;
            open.client.query_raw(&statement, values.iter().copied()).await?.try_collect().await
        })
    }

    /// A session that was not answered is closed: its answer could come as that of the next question.
    fn wait<T>(&self, ask: impl AsyncFnOnce(&mut Open) -> Result<T, tokio_postgres::Error>) -> Result<T, StoreError> {
        let mut slot = self.open.borrow_mut();
        let Some(open) = slot.as_deref_mut() else { return Err(StoreError::Unavailable) };
        let answered = self.server.0.io.wait(async { tokio::time::timeout(ANSWER, ask(open)).await })?;
        match answered {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                tracing::error!("PostgreSQL does not answer");
                *slot = None;
                Err(StoreError::Unavailable)
            }
        }
    }
}

impl Open {
    async fn statement(&mut self, sql: &'static str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(&sql.replace('?', "$")).await?;
        self.statements.insert(sql, statement.clone());
        Ok(statement)
    }
}

/// Acknowledged means on disk, whatever the server does by default.
async fn durable(client: &Client) -> Result<(), PostgresError> {
    let setting = async |name: &str| -> Result<String, PostgresError> {
        let row = client.query_one(&format!("SHOW {name}"), &[]).await.map_err(PostgresError::Connect)?;
        row.try_get(0).map_err(PostgresError::Connect)
    };
    if setting("fsync").await? == "off" {
        return Err(PostgresError::NoFsync);
    }
    if matches!(setting("synchronous_commit").await?.as_str(), "off" | "local" | "remote_write") {
        client.batch_execute("SET synchronous_commit = on").await.map_err(PostgresError::Connect)?;
    }
    Ok(())
}

/// Brings the schema up to date, and the database to the relay with this key if it has none.
pub(super) fn prepare(session: Session, relay: &SignPk) -> Result<(), PostgresError> {
    let db = Db::Postgres(session);
    db.begin().and_then(|()| migrate(&db)).map_err(|_| PostgresError::Prepare)??;
    let prepared = own(&db, relay).map_err(|_| PostgresError::Prepare)?;
    prepared?;
    db.commit().map_err(|_| PostgresError::Prepare)
}

fn migrate(db: &Db) -> Result<Result<(), PostgresError>, StoreError> {
    let Db::Postgres(session) = db else { return Ok(Ok(())) };
    // Of two relays that start at once the second waits here.
    session.run("SELECT pg_advisory_xact_lock(4923117201)")?;
    session.run("CREATE TABLE IF NOT EXISTS relay_schema (version BIGINT NOT NULL)")?;
    let found = db.first("SELECT max(version) FROM relay_schema", NONE, |row| row.get::<Option<i64>>(0))?;
    let (found, known) = (found.flatten().unwrap_or(0), MIGRATIONS.len() as i64);
    if found > known {
        return Ok(Err(PostgresError::Newer { found, known }));
    }
    for (number, migration) in (1_i64..).zip(MIGRATIONS).filter(|(number, _)| *number > found) {
        session.run(migration)?;
        db.execute("INSERT INTO relay_schema (version) VALUES (?1)", [number])?;
    }
    Ok(Ok(()))
}

fn own(db: &Db, relay: &SignPk) -> Result<Result<(), PostgresError>, StoreError> {
    db.execute("INSERT INTO relay (one, key) VALUES (1, ?1) ON CONFLICT DO NOTHING", [relay.as_ref()])?;
    let key = SignPk(db.one("SELECT key FROM relay", NONE, |row| row.id::<32>(0))?);
    // A copy that was put into another server: its transactions are numbered from the beginning again.
    db.execute("UPDATE space SET xid = 0 WHERE xid > CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)", NONE)?;
    Ok(if key == *relay { Ok(()) } else { Err(PostgresError::OtherRelay { key }) })
}

/// The schema that is there.
pub(super) fn schema(db: &Db) -> Result<i64, StoreError> {
    db.one("SELECT max(version) FROM relay_schema", NONE, |row| row.get(0))
}

/// An integer of whatever width.
pub(super) fn int(row: &Row, column: usize) -> Result<Option<i64>, StoreError> {
    Ok(match row.columns().get(column).map(tokio_postgres::Column::type_) {
        Some(&Type::INT4) => row.try_get::<_, Option<i32>>(column)?.map(i64::from),
        Some(&Type::BOOL) => row.try_get::<_, Option<bool>>(column)?.map(i64::from),
        _ => row.try_get(column)?,
    })
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let code = error.code().map(|code| code.code().to_owned());
        // Its text names tables and constraints; what was in them it says in the detail, which is left out.
        let text = error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
        tracing::error!(code, text, "database error");
        let is_lost =
            error.is_closed() || std::error::Error::source(&error).is_some_and(|source| source.is::<std::io::Error>());
        match code.as_deref().and_then(|code| code.get(..2)) {
            // No connection, read-only, conflicts, resources, locks, operators, the system.
            Some("08" | "25" | "40" | "53" | "55" | "57" | "58") => Self::Unavailable,
            Some("XX") => Self::Corrupt,
            None if is_lost => Self::Unavailable,
            _ => Self::Database,
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match *self {
            Self::Null => Ok(IsNull::Yes),
            Self::Int(value) if *kind == Type::INT4 => i32::try_from(value)?.to_sql(kind, out),
            Self::Int(value) => value.to_sql(kind, out),
            Self::Bytes(bytes) => bytes.to_sql(kind, out),
            Self::Text(text) => text.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::INT4 | Type::BYTEA | Type::TEXT)
    }

    to_sql_checked!();
}
