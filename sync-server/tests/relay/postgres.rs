//! Where the relays of these tests store: each folder has a database of its own at one real PostgreSQL server, which is
//! started with the first and ends with this process.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lifeos_sync_server::{Config, Database, Stats};

/// A server of its own: what a test stops and kills.
pub struct Postgres {
    pub port: u16,
    dir: PathBuf,
    /// Ends the server when its standard input ends, with this process at the latest.
    keeper: Option<Child>,
}

impl Postgres {
    /// Prepares and starts one; it stays where it is when it is started again.
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("relay-postgres-").tempdir().unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut postgres = Self { port, dir, keeper: None };
        let owned = Command::new("chown").arg("postgres").arg(&postgres.dir).stderr(Stdio::null()).status();
        assert!(!is_root() || owned.unwrap().success(), "a user `postgres` is needed: PostgreSQL does not run as root");
        let mut initdb = postgres.program("initdb");
        initdb.args(["--username=relay", "--auth=trust", "--no-sync", "--no-instructions", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "-D"]).arg(postgres.data());
        let made = initdb.stdout(Stdio::null()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        postgres.run();
        postgres
    }

    /// Starts it, also after [`Self::kill`].
    pub fn run(&mut self) {
        let port = format!("port={}", self.port);
        let mut server = self.program("postgres");
        server.arg("-D").arg(self.data());
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=500", &port] {
            server.args(["-c", setting]);
        }
        let mut keeper = Command::new("sh");
        keeper.args([
            "-c",
            r#""$@" 2>"$LOG" & p=$!; read _; kill -INT $p; wait $p; [ -e "$LOG.keep" ] || rm -rf "$DIR""#,
            "sh",
        ]);
        keeper.arg(server.get_program()).args(server.get_args());
        keeper.env("DIR", &self.dir).env("LOG", self.dir.join("log")).stdin(Stdio::piped());
        self.keeper = Some(keeper.spawn().unwrap());
        let began = Instant::now();
        while self.ask("postgres", "SELECT 1").is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// As a power failure would: every process of it, without a word.
    pub fn kill(&mut self) {
        let pid = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap().to_owned();
        std::fs::write(self.dir.join("log.keep"), "").unwrap();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let all = std::iter::once(pid.as_str()).chain(children.split_whitespace());
        let _ = Command::new("kill").arg("-KILL").args(all).stderr(Stdio::null()).status().unwrap();
        let mut keeper = self.keeper.take().unwrap();
        drop(keeper.stdin.take());
        keeper.wait().unwrap();
        std::fs::remove_file(self.dir.join("log.keep")).unwrap();
        let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// A relay of this folder whose database is at this server.
    pub fn config(&self, folder: &Path) -> Config {
        Config { database: Some(self.database(folder)), ..Config::local(folder) }
    }

    fn database(&self, folder: &Path) -> Database {
        let name = name(folder);
        // There already when the relay starts once more.
        let _ = self.ask("postgres", &format!("CREATE DATABASE {name}"));
        Database::new(format!("postgres://relay@127.0.0.1:{}/{name}", self.port), None)
    }

    /// What a statement answers, as text.
    pub fn ask(&self, database: &str, sql: &str) -> Result<String, tokio_postgres::Error> {
        let address = format!("postgres://relay@127.0.0.1:{}/{database}?connect_timeout=5", self.port);
        let sql = sql.to_owned();
        let asking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(&address, tokio_postgres::NoTls).await?;
                tokio::spawn(connection);
                let rows = client.simple_query(&sql).await?;
                let row = rows.iter().find_map(|row| match row {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                });
                Ok(row.unwrap_or_default())
            })
        });
        asking.join().unwrap()
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn program(&self, name: &str) -> Command {
        let path = installed(name);
        if !is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path).current_dir("/");
        command
    }
}

/// The database of a folder.
pub fn name(folder: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    format!("of_{:x}", hasher.finish())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

/// Debian keeps the server's programs where `PATH` does not lead.
fn installed(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
    found.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|folder| folder.join(name)));
    let found = found.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: these tests need PostgreSQL (apt-get install postgresql)"))
}

fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(Postgres::start)
}

/// A relay of this folder, on a free port.
pub fn local(folder: &Path) -> Config {
    server().config(folder)
}

pub async fn stats(folder: &Path) -> Stats {
    let database = server().database(folder);
    tokio::task::spawn_blocking(move || lifeos_sync_server::server_stats(&database).unwrap()).await.unwrap()
}

/// A number that a statement answers.
pub fn count(folder: &Path, sql: &str) -> i64 {
    server().ask(&name(folder), sql).unwrap().parse().unwrap()
}
