//! Devices of several people and their relays: how they come about, start, crash, and are put back.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lifeos_client_core::client::{Client, InitOptions, InviteOptions, JoinOutcome, SyncHandle};
use lifeos_client_core::engine::abort_tasks;
use lifeos_client_core::protocol::record::Role;
use lifeos_client_core::simulation::{Node, as_node, in_node};
use lifeos_client_core::transport::set_dial;
use lifeos_sync_server::{Clock, Config, Handle, Server};
use tokio::task::yield_now;

use super::carry::PORT;
use super::host::{Life, world};
use super::net::{Net, State};
use crate::world::copy;

/// The devices: Ana's two, Ben's and Cleo's.
pub(super) const DEVICES: [&str; 4] = ["ana-laptop", "ana-phone", "ben", "cleo"];
/// How many relays there are.
pub(super) const RELAYS: usize = 2;
/// Days of a journey that every test must survive.
const HOUR_MS: u64 = 60 * 60 * 1000;

/// A relay, running or not.
pub(super) struct Relay {
    pub(super) dir: PathBuf,
    pub(super) handle: Option<Handle>,
    pub(super) clock: Clock,
}

/// A device, running or not.
pub(super) struct Device {
    pub(super) node: Node,
    pub(super) name: &'static str,
    pub(super) home: PathBuf,
    /// In the shared space.
    pub(super) client: Option<Client>,
    pub(super) live: Option<SyncHandle>,
}

type Relays = Rc<RefCell<Vec<Relay>>>;
/// Temporary relays of devices that listen.
type Peers = Rc<RefCell<BTreeMap<usize, Handle>>>;

/// Everybody.
pub(super) struct Town {
    pub(super) dir: PathBuf,
    pub(super) net: Arc<Net>,
    pub(super) relays: Relays,
    pub(super) peers: Peers,
    pub(super) devices: Vec<Device>,
    pub(super) space: String,
}

fn config(index: usize, dir: &Path, clock: &Clock) -> Config {
    let mut config = Config::local(dir);
    config.origin = format!("ws://relay-{index}");
    config.clock = clock.clone();
    config
}

impl Relay {
    fn new(index: usize, dir: &Path) -> Self {
        let now_ms = u64::try_from(world().true_ms()).unwrap_or(0);
        Self { dir: dir.join(format!("relay-{index}")), handle: None, clock: Clock::standing_at(now_ms) }
    }

    pub(super) fn start(&mut self, index: usize) {
        world().relay(&self.dir, |life| *life = Life { commits: life.commits, ..Life::default() });
        self.handle = Some(Server::start_simulated(config(index, &self.dir, &self.clock)).expect("the relay starts"));
    }
}

/// Lets everything run that can run now.
pub(super) async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

impl Town {
    fn new(dir: &Path, seed: u64, delay_ms: u64, space: String) -> Self {
        let net = Net::new(seed, delay_ms);
        let relays: Relays = Rc::new(RefCell::new((0..RELAYS).map(|index| Relay::new(index, dir)).collect()));
        for (index, relay) in relays.borrow_mut().iter_mut().enumerate() {
            relay.start(index);
        }
        let peers = Peers::default();
        let (wires, reached, listening) = (Arc::clone(&net), Rc::clone(&relays), Rc::clone(&peers));
        set_dial(Some(Box::new(move |node, address| {
            let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, u8::try_from(node).unwrap_or(0)));
            if let Ok(at) = address.trim_start_matches("ws://").parse::<SocketAddr>() {
                let device = usize::from(at.port().checked_sub(PORT)?);
                let listening = listening.borrow();
                let handle = listening.get(&device)?;
                let (near, far) = wires.connect((node, RELAYS + device))?;
                handle.accept(far, ip);
                return Some(near);
            }
            let index: usize = address.rsplit('-').next()?.parse().ok()?;
            let relays = reached.borrow();
            let relay = relays.get(index)?;
            let handle = relay.handle.as_ref().filter(|_| !world().relay(&relay.dir, |life| life.dead))?;
            let (near, far) = wires.connect((node, index))?;
            handle.accept(far, ip);
            Some(near)
        })));
        let device = |(index, name): (usize, &&'static str)| Device {
            node: Node::try_from(index).unwrap_or(0) + 1,
            name,
            home: dir.join(name),
            client: None,
            live: None,
        };
        Self {
            dir: dir.to_owned(),
            net,
            relays,
            peers,
            devices: DEVICES.iter().enumerate().map(device).collect(),
            space,
        }
    }

    /// The town of a template, copied.
    pub(super) fn from_template(template: &Path, dir: &Path, seed: u64, delay_ms: u64) -> Self {
        for name in DEVICES.into_iter().map(str::to_owned).chain((0..RELAYS).map(|index| format!("relay-{index}"))) {
            copy(&template.join(&name), &dir.join(&name));
        }
        let space = std::fs::read_to_string(template.join("space")).expect("a template");
        Self::new(dir, seed, delay_ms, space)
    }

    /// Opens a device; whether it syncs for ever or only when told is `live`.
    pub(super) fn start(&mut self, index: usize, live: bool) {
        let device = &mut self.devices[index];
        world().device(device.node, |life| *life = Life { commits: life.commits, ..Life::default() });
        let opened = as_node(device.node, || {
            let client = Client::open(&device.home)?.in_space(&self.space)?;
            let live = live.then(|| client.sync_live());
            Ok::<_, lifeos_client_core::client::ClientError>((client, live))
        });
        let (client, live) = opened.unwrap_or_else(|error| panic!("{} does not open: {error}", device.name));
        (device.client, device.live) = (Some(client), live);
    }

    /// A device dies, wherever it is.
    pub(super) async fn crash(&mut self, index: usize) {
        let device = &mut self.devices[index];
        world().device(device.node, |life| life.dead = true);
        for relay in 0..RELAYS + DEVICES.len() {
            self.net.break_off((device.node, relay));
        }
        abort_tasks(device.node);
        (device.client, device.live) = (None, None);
        settle().await;
    }

    /// A relay dies.
    pub(super) async fn crash_relay(&self, index: usize) {
        let dir = self.relays.borrow()[index].dir.clone();
        world().relay(&dir, |life| life.dead = true);
        for device in &self.devices {
            self.net.break_off((device.node, index));
        }
        let handle = self.relays.borrow_mut()[index].handle.take();
        drop(handle);
        settle().await;
    }

    pub(super) fn start_relay(&self, index: usize) {
        self.relays.borrow_mut()[index].start(index);
    }

    /// What a relay held is gone, but not its key.
    pub(super) fn wipe_relay(&self, index: usize) {
        let dir = self.relays.borrow()[index].dir.clone();
        for file in ["relay.db", "relay.db-wal", "relay.db-shm"] {
            let _ = std::fs::remove_file(dir.join(file));
        }
    }

    /// Puts a copy in the place of a folder.
    pub(super) fn put_back(from: &Path, to: &Path) {
        std::fs::remove_dir_all(to).expect("a folder");
        copy(from, to);
    }

    pub(super) fn heal_net(&self) {
        for device in &self.devices {
            for relay in 0..RELAYS {
                self.net.set((device.node, relay), State::Up);
            }
        }
    }

    /// Everybody's calendar moves on by so much; the relays look after their spaces.
    pub(super) fn pass(&self, time: Duration) {
        world().pass(i64::try_from(time.as_millis()).unwrap_or(0));
    }

    /// The relays' clocks follow the true time.
    pub(super) fn tick_relays(&self) {
        for relay in &*self.relays.borrow() {
            let true_ms = u64::try_from(world().true_ms()).unwrap_or(0);
            relay.clock.advance(Duration::from_millis(true_ms.saturating_sub(relay.clock.now_ms())));
        }
    }
}

/// Makes what every seed begins with: homes of four devices that share a space, and relays that hold it.
///
/// # Panics
/// When anything does not go as it should.
pub fn template(dir: &Path) {
    let dir = dir.to_owned();
    super::alone(0, move || async move {
        let mut town = Town::new(&dir, 0, 5, String::new());
        let urls: Vec<String> =
            town.relays.borrow().iter().filter_map(|relay| relay.handle.as_ref().map(Handle::url)).collect();
        let create = |index: usize, person: &str| {
            let (name, relay) = (DEVICES[index], Some(urls[0].clone()));
            let options = InitOptions { device_name: name.into(), person_name: person.into(), relay };
            Client::create(&dir.join(name), options).expect("a home").0
        };
        let sync = |client: Client| async move {
            client.sync_all(&mut |_| {}).await.expect("a sync");
        };
        let laptop = create(0, "Ana");
        sync(laptop.clone()).await;
        let family = laptop.space_create("Family", None).expect("a space");
        sync(laptop.clone()).await;

        let mut new = Client::link_new(&dir.join(DEVICES[1]), &urls[0], DEVICES[1]).await.expect("a link");
        let link = new.link().to_owned();
        let (mut approve, code) = tokio::try_join!(laptop.link_approve(&link), new.code()).expect("both meet");
        assert_eq!(approve.enter_code(&code).await.expect("the code goes"), None);
        let phone = in_node(0, new.finish()).await.expect("the phone is in");

        let mut spaces = vec![family.clone()];
        for (index, person, role) in [(2, "Ben", Role::Editor), (3, "Cleo", Role::Editor)] {
            let client = create(index, person);
            let terms = InviteOptions { role, lives_ms: HOUR_MS, uses_max: 1, auto: true };
            let invite = family.invite_create(terms).await.expect("an invitation").to_string();
            let joined = client.join(&invite, person).await.expect("they join");
            assert!(matches!(joined, JoinOutcome::Joined { .. }));
            spaces.push(client.in_space(&family.space().to_string()).expect("the space"));
        }
        for _ in 0..2 {
            for client in [&laptop, &phone] {
                sync(client.clone()).await;
            }
            for client in &spaces {
                client.sync(&mut |_| {}).await.expect("a sync");
            }
        }
        // Ben may remove people, too, so that removals can cross.
        let ben = spaces[1].device().to_string();
        let member = family.members().expect("members").into_iter().find(|member| member.name == "Ben");
        let member = member.expect("Ben is in").member;
        family.member_set_role(&member, Role::Owner).await.unwrap_or_else(|error| panic!("{ben}: {error}"));
        spaces.push(phone.in_space(&family.space().to_string()).expect("the phone is in the space, too"));
        for client in &spaces {
            client.add_relay(&urls[1]).expect("a second relay");
        }
        for _ in 0..3 {
            for client in &spaces {
                client.sync(&mut |_| {}).await.expect("a sync");
            }
        }
        std::fs::write(dir.join("space"), family.space().to_string()).expect("a file");
        drop((laptop, phone, family, spaces));
        for index in 0..RELAYS {
            town.crash_relay(index).await;
        }
        town.devices.clear();
        settle().await;
    });
}
