//! `lifeos-relay` as a process: what it prints, how it ends, what it never logs.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use lifeos_sync_protocol::frame::{ErrorCode, PushStatus};
use lifeos_sync_protocol::ids::SignPk;

use crate::fixture::{Client, Device, Serves, Space};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeos-relay"));
    command.env_remove("LIFEOS_RELAY_DATA").env_remove("LIFEOS_RELAY_CONFIG").env_remove("RUST_LOG");
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

struct Process {
    child: Child,
    addr: SocketAddr,
    key: SignPk,
    line: String,
}

impl Serves for Process {
    fn addr(&self) -> SocketAddr {
        self.addr
    }

    fn relay_key(&self) -> SignPk {
        self.key
    }
}

impl Process {
    fn start(data: &Path, log: &str) -> Self {
        Self::start_with(data, log, "{}")
    }

    /// With a configuration file of this content.
    fn start_with(data: &Path, log: &str, config: &str) -> Self {
        let file = data.join("config.json");
        std::fs::write(&file, config).unwrap();
        let mut command = program();
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(data).env("RUST_LOG", log);
        command.arg("--config").arg(file);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        let (addr, key): (SocketAddr, SignPk) = (text("addr").parse().unwrap(), text("relay_key").parse().unwrap());
        assert_eq!(text("url"), format!("ws://{addr}#{key}"));
        Self { child, addr, key, line }
    }

    /// SIGTERM; answers the exit code and what was logged.
    fn stop(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

#[tokio::test]
async fn the_program_serves_stops_on_sigterm_and_counts_and_copies_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Process::start(dir.path(), "info");
    let space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let results = client.push(session, space.stream(&space.founder, 1).seal_many(3)).await;
    assert!(results.iter().all(|result| result.status == PushStatus::Ok));
    let data = dir.path().to_str().unwrap();

    // Both while it serves.
    let copy = dir.path().join("copy.db");
    let backup = run(&["backup", copy.to_str().unwrap(), "--data", data]);
    assert!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
    let stats = run(&["stats", "--json", "--data", data]);
    let stats: serde_json::Value = serde_json::from_slice(&stats.stdout).unwrap();
    assert_eq!((&stats["spaces"], &stats["envelopes"]), (&1.into(), &3.into()));

    let goodbye = tokio::spawn(async move { client.last_words().await });
    let (code, log) = tokio::task::spawn_blocking(move || relay.stop()).await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(goodbye.await.unwrap(), Some(ErrorCode::GoingAway));
    assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
}

#[test]
fn mistakes_are_told_apart_and_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("relay");
    let data = data.to_str().unwrap();
    assert_eq!(run(&["serve"]).status.code(), Some(2));
    assert_eq!(run(&["serve", "--data", data, "--listen", "nowhere"]).status.code(), Some(2));
    assert_eq!(run(&["--help"]).status.code(), Some(0));

    let empty = run(&["stats", "--data", data]);
    assert_eq!(empty.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&empty.stderr).contains("holds no relay database"));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = run(&["serve", "--data", data, "--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(busy.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&busy.stderr).contains("is another program using the port?"));

    let config = dir.path().join("relay.json");
    std::fs::write(&config, r#"{"limit": {}}"#).unwrap();
    let wrong = run(&["serve", "--data", data, "--config", config.to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("limit"));
}

/// Twelve hexadecimal characters of an id: more than the shortened form shows.
fn mentions(text: &str, id: &[u8]) -> bool {
    let hex: String = id.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    text.contains(&hex)
}

#[tokio::test]
async fn the_most_talkative_log_names_no_id_no_key_and_no_content() {
    let dir = tempfile::tempdir().unwrap();
    let relay = Process::start(dir.path(), "lifeos_sync_server=trace,lifeos_relay=trace");
    let mut space = Space::new(1);
    let (mut client, session) = Client::found(&relay, &space).await;
    let founder = Device::new(1);
    let mut stream = space.stream(&founder, 1);
    client.push(session, stream.seal_many(2)).await;
    // Refusals of every kind, which is where a log is tempted to explain.
    let stranger = Device::new(9);
    client.push(session, space.stream(&stranger, 1).seal_many(1)).await;
    let mut forged = stream.seal();
    *forged.last_mut().unwrap() ^= 1;
    client.push(session, vec![forged]).await;
    space.founder = Device::new(8);
    space.enrol(7);
    let records = vec![space.records.last().unwrap().bytes().to_vec()];
    client.ask(&lifeos_sync_protocol::frame::Frame::Rec { session, records, more: false }).await;
    let mut other = Client::connect(&relay).await;
    let auth = other.auth_frame(&space, &stranger);
    other.ask(&auth).await;
    other.send_bytes(vec![0xff; 40]).await;
    other.last_words().await;

    // The scanner finds what is there.
    assert!(mentions(&relay.line, &relay.key.0));
    let (_, log) = tokio::task::spawn_blocking(move || relay.stop()).await.unwrap();
    assert!(log.contains("refused"), "nothing was logged, so the test has shown nothing");
    for id in [&space.id.0[..], &founder.pk.0, &stranger.pk.0, &space.epoch.0, &stream.id.0, &stream.prev, &[2; 16]] {
        assert!(!mentions(&log, id), "{log}");
    }
}

/// Memory of a process that is in use now, in KiB.
#[cfg(target_os = "linux")]
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn five_hundred_idle_sockets_cost_bounded_memory() {
    const SOCKETS: u64 = 500;
    /// Three times what one costs, and a third of what one would cost with the buffers a websocket has by default.
    const KIB_EACH_MAX: u64 = 40;
    let dir = tempfile::tempdir().unwrap();
    let config = r#"{"limits": {"connections_per_address_max": 600, "sessions_per_connection_max": 4}}"#;
    let relay = Process::start_with(dir.path(), "info", config);
    let space = Space::new(1);
    Client::found(&relay, &space).await;
    let before = resident_kib(relay.child.id());
    let mut idle = Vec::new();
    for _ in 0..SOCKETS {
        idle.push(Client::join(&relay, &space, &space.founder).await);
    }
    let grown = resident_kib(relay.child.id()).saturating_sub(before);
    println!("{SOCKETS} sockets with a session each: {grown} KiB, {} KiB each", grown / SOCKETS);
    assert!(grown < SOCKETS * KIB_EACH_MAX, "{grown} KiB");
    // They are there, and live.
    let (last, session) = idle.last_mut().unwrap();
    last.open(*session, None).await;
    assert_eq!(crate::fixture::metric(&relay, "sessions_open").await, SOCKETS);
    drop(idle);
    tokio::task::spawn_blocking(move || relay.stop()).await.unwrap();
}

/// Pushes `bytes` in frames of 128 KiB, each acknowledged before the next.
#[cfg(target_os = "linux")]
async fn push_bytes(client: &mut Client, session: u32, stream: &mut crate::fixture::Stream<'_>, bytes: usize) {
    const ENVELOPE_BYTES: usize = 32 * 1024;
    for _ in 0..bytes / ENVELOPE_BYTES / 4 {
        let envelopes = (0..4).map(|_| stream.seal_sized(ENVELOPE_BYTES)).collect();
        let results = client.push(session, envelopes).await;
        assert!(results.iter().all(|result| result.status == PushStatus::Ok), "{results:?}");
    }
}

/// What is held for a reader is an allowance (`outgoing_bytes_max`, 1 MiB), not what is written meanwhile; and a frame that
/// means nothing leaves nothing behind.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_stalled_reader_and_a_flood_of_garbage_cost_bounded_memory() {
    const PUSHED_BYTES: usize = 32 * 1024 * 1024;
    const FLOOD_FRAMES: usize = 48;
    const FLOOD_FRAME_BYTES: usize = 1024 * 1024;
    /// A quarter of what is pushed, and a sixth of the flood.
    const GROWN_KIB_MAX: u64 = 8 * 1024;
    let dir = tempfile::tempdir().unwrap();
    let relay = Process::start(dir.path(), "info");
    let mut space = Space::new(1);
    let other = space.enrol(2);
    let (mut writer, session) = Client::found(&relay, &space).await;
    let mut stream = space.stream(&space.founder, 1);
    // What the database and the sockets hold in any case is there before anything is measured.
    push_bytes(&mut writer, session, &mut stream, PUSHED_BYTES).await;

    let (mut stalled, reading) = Client::join(&relay, &space, &other).await;
    let (log, _) = stalled.open(reading, None).await;
    let mut end = log;
    assert!(stalled.pull(&space, reading, &mut end).await.1, "it follows from the end");
    let pid = relay.child.id();
    let before = resident_kib(pid);
    push_bytes(&mut writer, session, &mut stream, PUSHED_BYTES).await;
    let grown = resident_kib(pid).saturating_sub(before);
    println!("a stalled reader: {grown} KiB for {PUSHED_BYTES} bytes");
    assert!(grown < GROWN_KIB_MAX, "{grown} KiB");
    assert_eq!(crate::fixture::metric(&relay, "readers_behind_total").await, 1, "it was not stalled");

    let before = resident_kib(pid);
    for _ in 0..FLOOD_FRAMES {
        let (mut hostile, _) = Client::join(&relay, &space, &space.founder).await;
        hostile.send_bytes(vec![0xab; FLOOD_FRAME_BYTES]).await;
        assert_eq!(hostile.last_words().await, Some(ErrorCode::BadFrame));
    }
    let grown = resident_kib(pid).saturating_sub(before);
    println!("a flood: {grown} KiB for {FLOOD_FRAMES} frames of {FLOOD_FRAME_BYTES} bytes");
    assert!(grown < GROWN_KIB_MAX, "{grown} KiB");
    drop(stalled);
    tokio::task::spawn_blocking(move || relay.stop()).await.unwrap();
}
