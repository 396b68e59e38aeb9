//! Being woken, from one device to another: what a person writes brings one word to a push service, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use lifeos_client_core::client::{Client, WakeupReport};
use lifeos_client_core::protocol::record::RemoveReason;
use lifeos_sync_server::{Config, Handle, Limits, Server, WakeupRules};
use lifeos_tests::world::{HANG, World, note, relay_in, sync};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A real HTTP server: takes whatever is posted.
struct PushService {
    addr: SocketAddr,
    requests: mpsc::UnboundedReceiver<String>,
}

impl PushService {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while !is_whole(&bytes) {
                        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                            return;
                        }
                    }
                    sender.send(String::from_utf8(bytes).unwrap()).unwrap();
                    stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                });
            }
        });
        Self { addr, requests }
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.addr)
    }

    async fn next(&mut self) -> String {
        timeout(HANG, self.requests.recv()).await.expect("nobody is woken").unwrap()
    }

    /// The next is for this one, and no other came before it.
    async fn only(&mut self, of: &WakeupReport) {
        assert_eq!(body(&self.next().await), of.token.as_deref().unwrap());
        assert!(self.requests.try_recv().is_err(), "somebody else was woken, too");
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    bytes.len() >= end + 4 + length.parse::<usize>().unwrap()
}

fn body(request: &str) -> &str {
    request.split_once("\r\n\r\n").unwrap().1
}

async fn waking_relay(folder: &Path, service: &PushService) -> Handle {
    let mut config = Config::local(folder);
    config.limits = Limits { wakeup_delay_ms: 50, wakeup_every_ms: 1, ..Limits::default() };
    config.wakeups = Some(WakeupRules::new(&[service.addr.to_string()], true, true).unwrap());
    Server::start(config).await.unwrap()
}

/// A world whose relay wakes devices.
async fn world(service: &PushService) -> World {
    let World { dir, relay } = World::new().await;
    relay.shutdown().await;
    let relay = waking_relay(&dir.path().join("waking"), service).await;
    World { dir, relay }
}

fn standings(client: &Client) -> Vec<&'static str> {
    client.wakeup().unwrap().relays.iter().map(|relay| relay.standing).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_went_is_woken_once_for_what_another_writes_and_nothing_of_it_leaves_the_relay() {
    let mut service = PushService::start().await;
    let world = world(&service).await;
    let (laptop, [phone, control]) = world.devices(["phone", "control"]).await;
    let (on_phone, on_control) = (
        phone.set_wakeup(Some(&service.url("phone"))).unwrap(),
        control.set_wakeup(Some(&service.url("control"))).unwrap(),
    );
    assert_eq!(standings(&phone), ["waiting"]);
    sync(&phone).await;
    assert_eq!(standings(&phone), ["kept"]);

    let (title, words) = ("Zanzibar timetable", "the ferry leaves at nine\n");
    let written = note(&laptop, title, words);
    sync(&laptop).await;
    let request = service.next().await;
    assert_eq!(body(&request), on_phone.token.as_deref().unwrap());
    // A canary: whatever names or says something, in the forms in which it could stand in a request.
    let mut canaries: Vec<String> = vec![title.to_owned(), words.trim().to_owned(), "Ana".into(), "laptop".into()];
    for id in [laptop.space().to_string(), laptop.device().to_string(), phone.device().to_string(), written] {
        canaries.push(id[..8].to_owned());
    }
    for canary in canaries {
        assert!(!request.to_lowercase().contains(&canary.to_lowercase()), "{canary} in {request}");
    }
    assert_eq!(request.lines().count(), 10, "{request}");

    // However much is written: the control is woken each time it has come, the phone is not.
    for round in 0..3 {
        sync(&control).await;
        note(&laptop, &format!("note {round}"), "text\n");
        sync(&laptop).await;
        service.only(&on_control).await;
    }
    sync(&phone).await;
    note(&laptop, "once more", "text\n");
    sync(&laptop).await;
    service.only(&on_phone).await;

    // Who was removed is not woken, though it was there when it was.
    sync(&phone).await;
    sync(&control).await;
    laptop.device_remove(&phone.device().to_string(), RemoveReason::Lost).await.unwrap();
    note(&laptop, "without the phone", "text\n");
    sync(&laptop).await;
    service.only(&on_control).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_relay_is_told_also_one_that_lost_everything_and_all_are_told_when_it_is_over() {
    let mut service = PushService::start().await;
    let world = world(&service).await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let report = phone.set_wakeup(Some(&service.url("phone"))).unwrap();
    sync(&phone).await;
    // The relay burns down; another one is at the same place in the list.
    let World { dir, relay } = world;
    relay.shutdown().await;
    let empty = waking_relay(&dir.path().join("empty"), &service).await;
    let other = waking_relay(&dir.path().join("other"), &service).await;
    for client in [&laptop, &phone] {
        client.set_relay(&empty.url()).unwrap();
        client.add_relay(&other.url()).unwrap();
    }
    assert_eq!(standings(&phone), ["waiting", "waiting"]);
    for client in [&laptop, &phone, &laptop, &phone] {
        sync(client).await;
    }
    assert_eq!(standings(&phone), ["kept", "kept"]);
    note(&laptop, "at both relays", "text\n");
    sync(&laptop).await;
    for _ in 0..2 {
        assert_eq!(body(&service.next().await), report.token.as_deref().unwrap());
    }

    // A new address is a new token, also for a device that is woken and has not come.
    let again = phone.set_wakeup(Some(&service.url("phone"))).unwrap();
    assert!(again.token != report.token && standings(&phone) == ["waiting", "waiting"]);
    phone.set_wakeup(None).unwrap();
    assert_eq!(standings(&phone), ["withdrawing", "withdrawing"]);
    sync(&phone).await;
    assert!(standings(&phone).is_empty());
    for folder in ["empty", "other"] {
        let db = rusqlite::Connection::open(dir.path().join(folder).join("relay.db")).unwrap();
        assert_eq!(db.query_row("SELECT count(*) FROM wakeup", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_wakes_nobody_is_told_apart_and_every_space_of_the_home_is_told() {
    let service = PushService::start().await;
    let world = world(&service).await;
    let laptop = world.first();
    let shared = laptop.space_create("plans", None).unwrap();
    let plain = relay_in(&world.dir.path().join("plain")).await;
    shared.set_relay(&plain.url()).unwrap();
    laptop.set_wakeup(Some(&service.url("laptop"))).unwrap();
    sync(&laptop).await;
    sync(&shared).await;
    let of = |client: &Client| {
        let report = client.wakeup().unwrap();
        report.relays.into_iter().map(|one| (one.space, one.standing)).collect::<Vec<_>>()
    };
    let expected = [(laptop.space().to_string(), "kept"), (shared.space().to_string(), "unsupported")];
    assert_eq!((of(&laptop), of(&shared)), (expected.to_vec(), expected.to_vec()));
    assert_eq!(shared.status().unwrap().relays[0].wakeup, Some("unsupported"));
    assert_eq!(laptop.status().unwrap().relays[0].wakeup, Some("kept"));
    laptop.set_wakeup(None).unwrap();
    assert_eq!(laptop.status().unwrap().relays[0].wakeup, Some("withdrawing"));
    sync(&laptop).await;
    assert_eq!(laptop.status().unwrap().relays[0].wakeup, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_syncs_live_tells_of_a_change_without_connecting_again() {
    let service = PushService::start().await;
    let world = world(&service).await;
    let laptop = world.first();
    let live = laptop.sync_live();
    let until = async |expected: &[&str]| {
        let look = async {
            while standings(&laptop) != expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(HANG, look).await.unwrap_or_else(|_| panic!("not told: {:?}", standings(&laptop)));
    };
    // Another process of this home says so, as the command line does.
    let other = Client::open(&world.home("laptop")).unwrap();
    other.set_wakeup(Some(&service.url("laptop"))).unwrap();
    until(&["kept"]).await;
    other.set_wakeup(Some("http://push.example/elsewhere")).unwrap();
    until(&["refused"]).await;
    other.set_wakeup(None).unwrap();
    until(&[]).await;
    live.stop().await;
}
