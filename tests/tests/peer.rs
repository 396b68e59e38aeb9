//! Device to device, without a relay elsewhere: the one that listens runs a relay for a while, the other dials it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use lifeos_client_core::client::{Client, ClientError, InviteOptions, PeerReport, PeerStore, SyncHandle};
use lifeos_client_core::event::{Event, Origin};
use lifeos_client_core::protocol::ids::SignPk;
use lifeos_client_core::protocol::record::{RemoveReason, Role};
use lifeos_client_core::transport::PeerAddress;
use lifeos_sync_server::{Clock, Config, Handle, Server, Visit};
use lifeos_tests::world::{
    HANG, World, assert_equal, assert_settled, note, relay_in, sync, sync_each, titled, titles, until,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A device that listens.
struct Listening {
    relay: Handle,
    address: PeerAddress,
    live: Vec<SyncHandle>,
    client: Client,
    store: PeerStore,
}

/// The spaces of a home.
fn all(client: &Client) -> Vec<Client> {
    let mut all = client.other_spaces().unwrap();
    all.push(client.clone());
    all
}

async fn start(store: &PeerStore, clients: &[Client]) -> (Handle, PeerAddress) {
    let keys: BTreeSet<SignPk> = clients.iter().map(Client::device).collect();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let relay = Server::start(Config::beside_device(store.folder(), at, keys)).await.unwrap();
    let address = PeerAddress::new(relay.addr(), relay.relay_key());
    (relay, address)
}

/// As `lifeos sync --listen` does it.
async fn listen(client: &Client) -> Listening {
    let (store, clients) = (client.peer_store().unwrap(), all(client));
    let (relay, address) = start(&store, &clients).await;
    client.fill_peer(&address, &mut |_| {}).await.unwrap();
    let live = clients.iter().map(|client| client.serve_peer(&address)).collect();
    Listening { relay, address, live, client: client.clone(), store }
}

impl Listening {
    /// Takes in what came last, and leaves nothing behind.
    async fn end(self) {
        for live in self.live {
            live.stop().await;
        }
        self.client.sync_with_peer(&self.address, &mut |_| {}).await.unwrap();
        self.relay.shutdown().await;
        let folder = self.store.folder().to_owned();
        drop(self.store);
        assert!(!folder.exists());
    }
}

async fn try_dial(client: &Client, address: &PeerAddress) -> Result<PeerReport, ClientError> {
    tokio::time::timeout(HANG, client.sync_with_peer(address, &mut |_| {})).await.expect("the sync hangs")
}

async fn dial(client: &Client, address: &PeerAddress) -> PeerReport {
    let report = try_dial(client, address).await.unwrap();
    assert!(report.sync.failed.is_empty(), "{:?}", report.sync.failed);
    report
}

/// One listens, the other dials, both are done.
async fn meet(listening: &Client, dialling: &Client) -> PeerReport {
    let there = listen(listening).await;
    let report = dial(dialling, &there.address).await;
    there.end().await;
    report
}

/// Nothing is said about any relay, and nothing was set aside.
fn assert_nothing_noticed(clients: &[&Client]) {
    for client in clients {
        let status = client.status().unwrap();
        assert!(status.warnings.is_empty() && status.alarms.is_empty(), "{:?} {:?}", status.warnings, status.alarms);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_devices_without_a_relay_have_the_same_after_they_met() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let World { dir: _dir, relay } = world;
    relay.shutdown().await;

    let shared = titled(&laptop, "shared");
    meet(&laptop, &phone).await;
    for (client, name) in [(&laptop, "laptop"), (&phone, "phone")] {
        for at in 0..40 {
            titled(client, &format!("{at} by the {name}"));
        }
        client.note_splice(&shared, 0, 0, &format!("the {name} was here\n")).unwrap();
    }
    let report = meet(&laptop, &phone).await;
    assert_eq!((report.spaces, report.not_shared), (1, 0));
    assert!(report.sync.pushed > 0 && report.sync.pulled > 0, "{report:?}");
    assert_equal(&[&laptop, &phone]);
    assert_eq!(titles(&phone).len(), 81);
    // Met again the other way round, there is nothing to say: what both hold does not go over the wire again.
    let again = meet(&phone, &laptop).await;
    assert_eq!((again.sync.pushed, again.sync.pulled, again.sync.given), (0, 0, 0), "{again:?}");
    assert_nothing_noticed(&[&laptop, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_while_a_device_listens_goes_to_whoever_dials_next() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    let there = listen(&laptop).await;
    let mut visits = there.relay.visits();
    let mut events = laptop.subscribe();
    titled(&phone, "by the phone");
    dial(&phone, &there.address).await;
    assert_eq!(laptop.status().unwrap().relays.len(), 1, "the one elsewhere");
    until(&mut events, |event| matches!(event, Event::DocumentsChanged { origin: Origin::Remote, .. })).await;
    assert_eq!(titles(&laptop), ["by the phone"]);
    for is_over in [false, true] {
        let visit = Visit { device: phone.device(), is_over };
        while visits.recv().await.unwrap() != visit {}
    }
    titled(&laptop, "by the laptop");
    tokio::time::timeout(HANG, async {
        while titles(&phone).len() < 2 {
            dial(&phone, &there.address).await;
        }
    })
    .await
    .expect("an edit never comes");
    there.end().await;
    assert_equal(&[&laptop, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_given_everything_by_both_after_they_met_and_nobody_is_warned() {
    let world = World::new().await;
    let (laptop, [phone, tablet]) = world.devices(["phone", "tablet"]).await;
    let before = laptop.status().unwrap();
    titled(&laptop, "by the laptop");
    titled(&phone, "by the phone");
    meet(&laptop, &phone).await;
    for client in [&laptop, &phone] {
        let status = client.status().unwrap();
        assert!(status.envelopes_unsent > 0, "what a device nearby took is not at the relay");
        assert_eq!(status.relays.len(), 1, "and is no relay of the space");
        assert_eq!(status.relays[0].url, before.relays[0].url);
    }
    // The phone alone brings the relay both.
    let report = sync(&phone).await;
    assert!(report.pushed > 0 && report.given > 0, "{report:?}");
    sync(&tablet).await;
    assert_eq!(titles(&tablet), ["by the laptop", "by the phone"]);
    sync_each(&[&laptop, &phone, &tablet]).await;
    assert_settled(&[&laptop, &phone, &tablet]);
    assert_nothing_noticed(&[&laptop, &phone, &tablet]);
    // A relay that lost everything gets it from either.
    let world = world.with_empty_relay().await;
    for client in [&phone, &laptop, &tablet] {
        client.set_relay(&world.relay.url()).unwrap();
        sync(client).await;
    }
    assert_settled(&[&laptop, &phone, &tablet]);
    assert_nothing_noticed(&[&laptop, &phone, &tablet]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_nothing_from_a_device_that_listens_and_leaves_nothing_there() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    note(&laptop, "private", "text\n");
    let stranger = world.person("mallory");
    titled(&stranger, "by the stranger");
    let there = listen(&laptop).await;
    let refused = try_dial(&stranger, &there.address).await.unwrap_err();
    assert!(refused.to_string().contains("none of its spaces"), "{refused}");
    assert_eq!(titles(&stranger), ["by the stranger"]);
    assert_nothing_noticed(&[&stranger]);
    // It makes no space of its own there, and no mailbox either.
    let as_relay = format!("ws://{}#{}", there.address.at(), there.address.key());
    assert!(Client::link_new(&world.home("other"), &as_relay, "other").await.is_err());
    // Somebody else at the address is not believed.
    let other = relay_in(&world.home("another relay")).await;
    let wrong = PeerAddress::new(there.address.at(), other.relay_key());
    let refused = try_dial(&phone, &wrong).await.unwrap_err();
    assert!(matches!(refused, ClientError::Security { .. }), "{refused}");
    assert_eq!(titles(&phone), [""; 0]);
    there.end().await;
    assert_eq!(titles(&laptop), ["private"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_gets_nothing_from_one_that_knows_of_it() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    laptop.device_remove(&phone.device().to_string(), RemoveReason::Lost).await.unwrap();
    sync(&laptop).await;
    titled(&laptop, "after the removal");
    titled(&phone, "by the removed phone");
    let there = listen(&laptop).await;
    let refused = try_dial(&phone, &there.address).await.unwrap_err();
    assert!(refused.to_string().contains("removed"), "{refused}");
    there.end().await;
    assert_eq!(
        (titles(&phone), titles(&laptop)),
        (vec!["by the removed phone".into()], vec!["after the removal".into()])
    );
    // The other way round it is handed what a relay would hold, and can open none of it.
    let there = listen(&phone).await;
    let _ = try_dial(&laptop, &there.address).await;
    drop(there);
    assert_eq!(titles(&phone), ["by the removed phone"]);
    assert_eq!(titles(&laptop), ["after the removal"]);
}

/// Passes bytes on until so many came from the far side in all, then cuts every connection.
async fn cutting(far: SocketAddr, bytes_max: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, passed) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&passed);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let passed = Arc::clone(&counted);
            tokio::spawn(async move {
                let (mut near_read, mut near_write) = near.into_split();
                let (mut far_read, mut far_write) = TcpStream::connect(far).await.unwrap().into_split();
                let there = tokio::spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
                let mut buffer = vec![0; 4096];
                while passed.load(Ordering::Relaxed) < bytes_max {
                    match far_read.read(&mut buffer).await {
                        Ok(0) | Err(_) => break,
                        Ok(count) => {
                            passed.fetch_add(count, Ordering::Relaxed);
                            near_write.write_all(&buffer[..count]).await.unwrap();
                        }
                    }
                }
                there.abort();
            });
        }
    });
    (at, passed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_that_was_cut_off_goes_on_where_it_was() {
    let world = World::new().await;
    let (laptop, [phone]) = world.devices(["phone"]).await;
    // Text that compression does not shrink: some 900 KiB on the wire.
    let mut state = 1_u64;
    for at in 0..60 {
        let text: String = std::iter::from_fn(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            Some(format!("{:016x}", state))
        })
        .take(1000)
        .collect();
        note(&laptop, &format!("long {at}"), &text);
        titled(&phone, &format!("short {at}"));
    }
    let there = listen(&laptop).await;
    let (mut whole, mut cuts, mut last) = (0, 0, 0);
    let done: PeerReport = loop {
        let (at, passed) = cutting(there.address.at(), 250_000).await;
        let result = try_dial(&phone, &PeerAddress::new(at, there.address.key())).await;
        whole += passed.load(Ordering::Relaxed);
        match result {
            Ok(report) => break report,
            Err(error) => {
                assert!(error.is_transient() && error.to_string().contains("goes on from there"), "{error}");
                let now = titles(&phone).len();
                assert!(now > last, "each time it gets further: {now} after {last}");
                last = now;
                cuts += 1;
                assert!(cuts < 20, "it never ends");
            }
        }
    };
    assert!(cuts >= 2 && done.spaces == 1, "it was cut in the middle: {cuts}");
    there.end().await;
    assert_equal(&[&laptop, &phone]);
    assert_eq!(titles(&laptop).len(), 120);
    assert!(whole < 1_800_000, "what had come does not come again: {whole} bytes in all");
    assert_nothing_noticed(&[&laptop, &phone]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_people_only_the_shared_space_goes_over() {
    let world = World::new().await;
    let (ana, ben) = (world.person("Ana"), world.person("Ben"));
    let family = ana.space_create("Family", None).unwrap();
    ana.sync_all(&mut |_| {}).await.unwrap();
    let terms = InviteOptions { role: Role::Editor, lives_ms: 60 * 60 * 1000, uses_max: 1, auto: false };
    let link = family.invite_create(terms).await.unwrap().to_string();
    ben.join(&link, "Ben").await.unwrap();
    let request = family.join_requests().await.unwrap().remove(0).id;
    family.invite_approve(&request, None).await.unwrap();
    ben.sync_all(&mut |_| {}).await.unwrap();
    ana.sync_all(&mut |_| {}).await.unwrap();
    let with_ben = ben.in_space(&family.space().to_string()).unwrap();
    world.relay.shutdown().await;

    note(&ana, "Ana's diary", "mine\n");
    note(&ben, "Ben's diary", "mine\n");
    note(&family, "From Ana", "hello\n");
    note(&with_ben, "From Ben", "hello\n");
    let report = meet(&ana, &ben).await;
    assert_eq!((report.spaces, report.not_shared), (1, 1));
    assert_equal(&[&family, &with_ben]);
    assert_eq!(titles(&family), ["From Ana", "From Ben"]);
    assert_eq!((titles(&ana), titles(&ben)), (vec!["Ana's diary".into()], vec!["Ben's diary".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_whose_old_edits_are_forgotten_goes_over_by_its_checkpoint() {
    let dir = TempDir::new().unwrap();
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let clock = Clock::standing_at(now_ms);
    let config = Config { clock: clock.clone(), ..Config::local(dir.path().join("relay")) };
    let world = World { relay: Server::start(config).await.unwrap(), dir };
    let (laptop, [tablet, phone]) = world.devices(["tablet", "phone"]).await;
    let ids: Vec<String> = (0..30).map(|at| titled(&laptop, &format!("note {at:02}"))).collect();
    for round in 0..3 {
        for id in &ids {
            laptop.note_splice(id, 0, 0, &format!("line {round}\n")).unwrap();
        }
        sync(&laptop).await;
    }
    sync(&tablet).await;
    laptop.compact(&mut |_| {}).await.unwrap();
    for client in [&tablet, &laptop, &tablet] {
        sync(client).await;
    }
    assert_eq!(laptop.status().unwrap().checkpoint.unwrap().standing, "endorsed");
    let later_ms = now_ms + 31 * 24 * 3600 * 1000;
    for client in [&laptop, &tablet] {
        client.forget_pruned_at(now_ms as i64).unwrap();
        assert!(client.forget_pruned_at(later_ms as i64).unwrap() > 0, "the edits are gone");
    }
    world.relay.shutdown().await;

    titled(&laptop, "after the checkpoint");
    titled(&phone, "by the phone");
    let report = meet(&laptop, &phone).await;
    assert!(report.sync.joined > 0, "{report:?}");
    meet(&laptop, &phone).await;
    meet(&tablet, &phone).await;
    assert_equal(&[&laptop, &phone, &tablet]);
    assert_eq!(titles(&phone).len(), 32);
    assert_nothing_noticed(&[&laptop, &phone, &tablet]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_is_synced_with_one_thing_at_a_time() {
    let world = World::new().await;
    let (laptop, [_phone]) = world.devices(["phone"]).await;
    let there = listen(&laptop).await;
    let other = Client::open(&world.home("laptop")).unwrap();
    assert!(matches!(other.peer_store(), Err(ClientError::Network { transient: true, .. })));
    assert!(there.store.folder().exists(), "the files of the one that runs are left alone");
    there.end().await;
    // What a killed one left goes.
    std::fs::create_dir(world.home("laptop").join("peer")).unwrap();
    std::fs::write(world.home("laptop").join("peer/relay.db"), "damaged").unwrap();
    let there = listen(&laptop).await;
    there.end().await;
}
