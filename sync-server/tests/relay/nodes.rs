//! Several relays of one address at one PostgreSQL server: one log for each space, whoever writes where and whoever dies.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifeos_sync_protocol::frame::{Cursor, ErrorCode, Frame, Item, PushStatus, RecordStatus};
use lifeos_sync_protocol::ids::{Roll, SignPk};
use lifeos_sync_protocol::record::{Body, RemoveReason};
use lifeos_sync_server::{Config, Database, Handle, Server, StartError};
use tempfile::TempDir;

use crate::fixture::{Client, Device, Serves, Space, metric, patiently};
use crate::place::{Postgres, local, name};

/// Folders of several relays with one key, and one database.
struct Nodes {
    config: Config,
    folders: Vec<TempDir>,
}

impl Nodes {
    async fn start(count: usize) -> (Self, Vec<Handle>) {
        Self::start_at(count, local).await
    }

    async fn start_at(count: usize, place: impl Fn(&std::path::Path) -> Config) -> (Self, Vec<Handle>) {
        let first = tempfile::tempdir().unwrap();
        let mut nodes = Self { config: place(first.path()), folders: vec![first] };
        let mut relays = vec![Server::start(nodes.config.clone()).await.unwrap()];
        for _ in 1..count {
            let config = nodes.another();
            relays.push(Server::start(config).await.unwrap());
        }
        (nodes, relays)
    }

    /// One relay more, with a copy of the key.
    fn another(&mut self) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = [self.folders[0].path(), folder.path()].map(|folder| folder.join("relay.key"));
        std::fs::copy(from, to).unwrap();
        let config = Config { data_dir: folder.path().to_owned(), ..self.config.clone() };
        self.folders.push(folder);
        config
    }
}

/// A device that has read the log to its end and is told what is new.
async fn reader(relay: &impl Serves, space: &Space, device: &Device) -> (Client, u32, Cursor) {
    let (mut client, session) = Client::join(relay, space, device).await;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..client.open(session, None).await.0 };
    client.catch_up(space, session, &mut cursor).await;
    (client, session, cursor)
}

/// Reads on until so much is there, by being told or, where it is behind, by asking.
async fn hear(client: &mut Client, space: &Space, session: u32, cursor: &mut Cursor, until: u64) -> Vec<Item> {
    let mut heard = Vec::new();
    while cursor.pos < until {
        match client.notified(space, cursor).await {
            Some(items) => heard.extend(items),
            None => heard.extend(client.catch_up(space, session, cursor).await),
        }
    }
    heard
}

async fn whole_log(relay: &impl Serves, space: &Space) -> Vec<Vec<u8>> {
    let (mut client, session) = Client::join(relay, space, &space.founder).await;
    let mut cursor = Cursor { pos: 1, roll: Roll::ZERO, ..client.open(session, None).await.0 };
    client.catch_up(space, session, &mut cursor).await.into_iter().map(|item| item.envelope).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pushed_at_one_relay_is_told_at_the_others_and_the_log_is_one() {
    let (_nodes, relays) = Nodes::start(3).await;
    let mut space = Space::new(1);
    let devices = [space.enrol(2), space.enrol(3), space.enrol(4)];
    drop(Client::found(&relays[0], &space).await);
    let mut readers = Vec::new();
    for relay in &relays {
        readers.push(reader(relay, &space, &space.founder).await);
    }
    // All three at once, in streams of their own.
    const FRAMES: usize = 40;
    let mut pushing = Vec::new();
    for (relay, device) in relays.iter().zip(&devices) {
        let (mut client, session) = Client::join(relay, &space, device).await;
        client.open(session, None).await;
        let mut stream = space.stream(device, 1);
        let frames: Vec<_> = (0..FRAMES).map(|_| stream.seal_many(3)).collect();
        pushing.push(tokio::spawn(async move {
            let mut positions = Vec::new();
            for frame in frames {
                for result in client.push(session, frame).await {
                    assert_eq!(result.status, PushStatus::Ok);
                    positions.push(result.pos.unwrap());
                }
            }
            positions
        }));
    }
    let mut positions = Vec::new();
    for pushed in pushing {
        positions.extend(pushed.await.unwrap());
    }
    positions.sort_unstable();
    let all = (3 * 3 * FRAMES) as u64;
    assert_eq!(positions, (1..=all).collect::<Vec<_>>(), "no position twice, and none left out");
    let mut logs = Vec::new();
    for (client, session, cursor) in &mut readers {
        // `follow` checks positions and the rolling hash of what is told.
        let heard = hear(client, &space, *session, cursor, all + 1).await;
        logs.push(heard.into_iter().map(|item| item.envelope).collect::<Vec<_>>());
    }
    assert!(logs.iter().all(|log| *log == logs[0]) && logs[0].len() == all as usize);
    assert_eq!(whole_log(&relays[2], &space).await, logs[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_at_one_relay_is_in_force_at_the_others_with_its_commit() {
    let (_nodes, relays) = Nodes::start(2).await;
    let mut space = Space::new(1);
    let (gone, stays) = (space.enrol(2), space.enrol(3));
    let (mut owner, session) = Client::found(&relays[0], &space).await;
    let (mut removed, there) = Client::join(&relays[1], &space, &gone).await;
    removed.open(there, None).await;
    let (mut other, at) = Client::join(&relays[1], &space, &stays).await;
    other.open(at, None).await;
    let mut stream = space.stream(&gone, 1);
    assert_eq!(removed.push(there, vec![stream.seal()]).await[0].status, PushStatus::Ok);
    let body = Body::DeviceRemove { device: gone.pk, reason: RemoveReason::Compromised, cuts: Vec::new() };
    let removal = space.append(&body);
    assert_eq!(owner.bring(session, &removal).await, RecordStatus::Ok);
    // The other relay need not have heard of it: it asks in the transaction that would store this.
    let push = Frame::Push { session: there, envelopes: vec![stream.seal()] };
    removed.send(&push).await;
    assert_eq!(removed.last_words().await, Some(ErrorCode::Removed));
    assert_eq!(whole_log(&relays[0], &space).await.len(), 1);
    // Who stays is told of the removal, and goes on.
    loop {
        let (_, frame) = other.next().await.expect("a connection");
        if let Frame::Rec { records, .. } = frame {
            assert_eq!(records, [removal.bytes().to_vec()]);
            break;
        }
    }
    space.rotate();
    assert_eq!(other.bring(at, space.records.last().unwrap()).await, RecordStatus::Ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_come_to_two_relays_at_once_are_judged_upon_each_other() {
    let (_nodes, relays) = Nodes::start(2).await;
    let mut space = Space::new(1);
    let (first, second) = (space.founder.pk, space.enrol(2));
    drop(Client::found(&relays[0], &space).await);
    let (mut a, at_a) = Client::join(&relays[0], &space, &space.founder).await;
    a.open(at_a, None).await;
    let (mut b, at_b) = Client::join(&relays[1], &space, &second).await;
    b.open(at_b, None).await;
    for seed in 0..12_u8 {
        // Both upon the same parents.
        let enrol = |author: &Device, seed: u8| {
            let added = Device::new(seed);
            space.add_own(author, space_member(&space), &added)
        };
        let [one, two] = [enrol(&Device::new(1), 20 + 2 * seed), enrol(&second, 21 + 2 * seed)];
        let (left, right) = tokio::join!(a.bring(at_a, &one), b.bring(at_b, &two));
        assert_eq!((left, right), (RecordStatus::Ok, RecordStatus::Ok), "{seed}");
        space.records.extend([one, two]);
    }
    // Both relays let all of them in.
    assert_eq!(first, Device::new(1).pk);
    for relay in &relays {
        for seed in 20..44 {
            drop(Client::join(relay, &space, &Device::new(seed)).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_space_that_is_made_at_two_relays_at_once_is_one() {
    let (_nodes, relays) = Nodes::start(2).await;
    for seed in 1..9 {
        let space = Space::new(seed);
        let mut clients = Vec::new();
        for relay in &relays {
            let mut client = Client::connect(relay).await;
            let session = client.auth(&space, &space.founder).await;
            clients.push((client, session));
        }
        let [(a, at_a), (b, at_b)] = &mut clients[..] else { panic!("two") };
        let records = |session| Frame::Rec { session, records: space.record_bytes(), more: false };
        let (left, right) = (records(*at_a), records(*at_b));
        let (left, right) = tokio::join!(a.ask(&left), b.ask(&right));
        for answer in [&left, &right] {
            let Frame::RecAck { results, .. } = answer else { panic!("{answer:?}") };
            assert!(results.iter().all(|status| matches!(status, RecordStatus::Ok | RecordStatus::Dup)), "{results:?}");
        }
        let mut ends = Vec::new();
        for (client, session) in &mut clients {
            ends.push(client.open(*session, None).await.0);
        }
        assert_eq!(ends[0].log_id, ends[1].log_id);
    }
}

fn space_member(space: &Space) -> lifeos_sync_protocol::ids::MemberId {
    let membership = lifeos_sync_protocol::membership::Membership::evaluate(&space.id, &space.records).unwrap();
    membership.devices[&space.founder.pk].member
}

/// A relay as a process, to be killed as one.
struct Process {
    child: Child,
    addr: SocketAddr,
    key: SignPk,
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
    fn start(config: &Config, database: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeos-relay"));
        command.args(["serve", "--json", "--listen", "127.0.0.1:0", "--data"]).arg(&config.data_dir);
        command.env("LIFEOS_RELAY_DATABASE", database).env("RUST_LOG", "off");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        Self { child, addr: text("addr").parse().unwrap(), key: text("relay_key").parse().unwrap() }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_killed_takes_nothing_with_it_and_the_others_go_on() {
    let postgres = Postgres::start();
    let (mut nodes, relays) = Nodes::start_at(1, |folder| postgres.config(folder)).await;
    let database = format!("postgres://relay@127.0.0.1:{}/{}", postgres.port, name(nodes.folders[0].path()));
    let mut space = Space::new(1);
    let stays = space.enrol(2);
    drop(Client::found(&relays[0], &space).await);
    let (mut told, session, mut cursor) = reader(&relays[0], &space, &stays).await;
    let mut acked = Vec::new();
    for round in 0..4_u8 {
        let process = Process::start(&nodes.another(), &database);
        let (mut client, at) = Client::join(&process, &space, &space.founder).await;
        client.open(at, None).await;
        let mut stream = space.stream(&space.founder, 10 + round);
        let dies = Duration::from_millis(60 + 70 * u64::from(round));
        let began = Instant::now();
        let pushing = async {
            let mut acked = Vec::new();
            loop {
                let envelopes = stream.seal_many(4);
                let request = client.send(&Frame::Push { session: at, envelopes: envelopes.clone() }).await;
                let Some((answered, frame)) = client.next().await else { return acked };
                if let Frame::PushAck { results, .. } = frame {
                    assert_eq!(answered, request);
                    acked.extend(results.into_iter().map(|result| result.pos.unwrap()).zip(envelopes));
                }
                if began.elapsed() > dies {
                    client.send(&Frame::Push { session: at, envelopes: stream.seal_many(64) }).await;
                    return acked;
                }
            }
        };
        let now = pushing.await;
        process.kill();
        assert!(!now.is_empty(), "nothing was acknowledged, so nothing is shown");
        acked.extend(now);
        // The others write on at once: a dead relay holds nothing.
        let began = Instant::now();
        let (mut client, at) = Client::join(&relays[0], &space, &stays).await;
        client.open(at, None).await;
        let pushed = client.push(at, vec![space.stream(&stays, 20 + round).seal()]).await;
        assert_eq!(pushed[0].status, PushStatus::Ok);
        println!("round {round}: the next relay wrote {} ms after the death", began.elapsed().as_millis());
        let until = pushed[0].pos.unwrap() + 1;
        hear(&mut told, &space, session, &mut cursor, until).await;
    }
    let log = whole_log(&relays[0], &space).await;
    for (pos, envelope) in acked {
        assert_eq!(log[usize::try_from(pos).unwrap() - 1], envelope, "position {pos}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_comes_back_is_found_again_with_everything_acknowledged() {
    let mut postgres = Postgres::start();
    let (_nodes, relays) = Nodes::start_at(2, |folder| postgres.config(folder)).await;
    let space = Space::new(1);
    let (mut writer, session) = Client::found(&relays[0], &space).await;
    let (mut told, at, mut cursor) = reader(&relays[1], &space, &space.founder).await;
    let mut stream = space.stream(&space.founder, 1);
    let mut acked = 0;
    for round in 0..3 {
        for _ in 0..10 {
            let results = writer.push(session, stream.seal_many(2)).await;
            assert!(results.iter().all(|result| result.status == PushStatus::Ok), "{round}: {results:?}");
            acked += 2;
        }
        postgres.kill();
        // Refused with when to come again, and not kept waiting.
        let lost = stream.seal_many(3);
        let answer = writer.ask(&Frame::Push { session, envelopes: lost.clone() }).await;
        assert!(matches!(answer, Frame::Error { code: ErrorCode::Unavailable, fatal: false, .. }), "{answer:?}");
        assert_eq!(metric(&relays[0], "storage_unavailable").await, 1);
        postgres.run();
        let began = Instant::now();
        let healed = async {
            loop {
                match writer.ask(&Frame::Push { session, envelopes: lost.clone() }).await {
                    Frame::PushAck { results, .. } => return results,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let results = patiently("the relay to find the server again", healed).await;
        println!("round {round}: stored again {} ms after the server was back", began.elapsed().as_millis());
        assert!(results.iter().all(|result| result.status == PushStatus::Ok), "{round}: {results:?}");
        acked += 3;
        hear(&mut told, &space, at, &mut cursor, acked + 1).await;
        println!("round {round}: told at the other relay after {} ms", began.elapsed().as_millis());
    }
    assert_eq!(whole_log(&relays[1], &space).await.len() as u64, acked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_anothers_newer_unsafe_or_not_there_is_refused_with_what_to_do() {
    let postgres = Postgres::start();
    let (nodes, relays) = Nodes::start_at(1, |folder| postgres.config(folder)).await;
    let refused = async |config: Config| match Server::start(config).await {
        Err(StartError::Store(error)) => error.to_string(),
        other => panic!("{:?}", other.err()),
    };
    // The same database with a key of its own.
    let stranger = tempfile::tempdir().unwrap();
    let config = Config { data_dir: stranger.path().to_owned(), ..nodes.config.clone() };
    let text = refused(config).await;
    assert!(text.contains("relay.key") && text.contains(&relays[0].relay_key().to_string()), "{text}");

    let database = name(nodes.folders[0].path());
    postgres.ask(&database, "INSERT INTO relay_schema (version) VALUES (1000)").unwrap();
    let text = refused(nodes.config.clone()).await;
    assert!(text.contains("newer version (schema 1000"), "{text}");
    postgres.ask(&database, "DELETE FROM relay_schema WHERE version = 1000").unwrap();

    postgres.ask(&database, "ALTER SYSTEM SET fsync = off").unwrap();
    postgres.ask(&database, "SELECT pg_reload_conf()").unwrap();
    while postgres.ask(&database, "SHOW fsync").unwrap() == "on" {}
    let text = refused(nodes.config.clone()).await;
    assert!(text.contains("fsync"), "{text}");

    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let there = |url: String| Config { database: Some(Database::new(url, None)), ..nodes.config.clone() };
    let text = refused(there(format!("postgres://relay:secret-word@127.0.0.1:{nowhere}/relay"))).await;
    assert!(text.contains("is it running") && !text.contains("secret-word"), "{text}");
    let text = refused(there("postgres//nothing".to_owned())).await;
    assert!(text.contains("postgres://USER:PASSWORD@HOST:PORT/DATABASE"), "{text}");
    assert!(!format!("{:?}", there("postgres://relay:secret-word@127.0.0.1/x".to_owned())).contains("secret-word"));
    // Where TLS is asked for nothing is said without it: this server has none.
    postgres.ask(&database, "ALTER SYSTEM RESET fsync").unwrap();
    postgres.ask(&database, "SELECT pg_reload_conf()").unwrap();
    while postgres.ask(&database, "SHOW fsync").unwrap() == "off" {}
    let address = format!("postgres://relay@127.0.0.1:{}/{database}", postgres.port);
    let text = refused(there(format!("{address}?sslmode=require"))).await;
    assert!(text.contains("PostgreSQL does not take the relay"), "{text}");
    // The accepted twin.
    Server::start(there(address)).await.unwrap();
}

/// Whatever a server does by default, an acknowledgement waits for its disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_waits_for_the_disk_of_a_server_that_would_not() {
    let postgres = Postgres::start();
    postgres.ask("postgres", "ALTER SYSTEM SET synchronous_commit = off").unwrap();
    postgres.ask("postgres", "SELECT pg_reload_conf()").unwrap();
    while postgres.ask("postgres", "SHOW synchronous_commit").unwrap() != "off" {}
    let mut postgres = postgres;
    let (_nodes, relays) = Nodes::start_at(1, |folder| postgres.config(folder)).await;
    let space = Space::new(1);
    let (mut writer, session) = Client::found(&relays[0], &space).await;
    let mut stream = space.stream(&space.founder, 1);
    let mut acked = 0;
    for _ in 0..3 {
        for _ in 0..20 {
            let results = writer.push(session, vec![stream.seal()]).await;
            assert_eq!(results[0].status, PushStatus::Ok);
            acked += 1;
        }
        postgres.kill();
        postgres.run();
        let healed = async {
            loop {
                // What was acknowledged is there: the next one continues it.
                match writer.ask(&Frame::Push { session, envelopes: vec![stream.clone().seal()] }).await {
                    Frame::PushAck { results, .. } => return results[0].status,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        assert_eq!(patiently("the relay to find the server again", healed).await, PushStatus::Ok);
        stream.seal();
        acked += 1;
    }
    assert_eq!(whole_log(&relays[0], &space).await.len(), acked);
}
