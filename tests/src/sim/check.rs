//! Healing, and what must be so afterwards: whoever is in force holds the same, nothing acknowledged is missing, and whoever
//! was removed reads nothing that was written after it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lifeos_client_core::client::Client;
use lifeos_client_core::simulation::as_node;
use lifeos_client_core::simulation::in_node;
use tokio::time::{sleep, timeout};

use super::chaos::{Chaos, Erased};
use super::host::world;
use super::world::{DEVICES, RELAYS};

mod further;

/// Rounds of sync in which everything must have reached everybody.
const ROUNDS_MAX: usize = 8;
/// How long devices that sync by themselves are left alone first.
const LEFT_ALONE: Duration = Duration::from_secs(90);
/// A round that takes longer hangs.
const ROUND_MAX: Duration = Duration::from_secs(1_200);

/// What a round told of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// It spoke with every relay.
    In,
    /// It was refused, or nothing went.
    Out(String),
}

pub(super) async fn heal_and_check(chaos: &mut Chaos) -> Vec<String> {
    chaos.tell("all is healed".to_owned());
    heal(chaos).await;
    sleep(LEFT_ALONE).await;
    chaos.hear();
    for device in &mut chaos.town.devices {
        if let Some(live) = device.live.take()
            && timeout(ROUND_MAX, in_node(device.node, live.stop())).await.is_err()
        {
            return vec![format!("{} does not stop syncing", device.name)];
        }
    }
    let mut standing = Vec::new();
    for round in 0..ROUNDS_MAX {
        standing = sync_all(chaos).await;
        let line = standing.iter().map(|one| if *one == Standing::In { 'i' } else { 'o' }).collect::<String>();
        let outs = standing.iter().filter_map(|one| match one {
            Standing::Out(why) => Some(why.clone()),
            Standing::In => None,
        });
        let outs: Vec<String> = outs.collect();
        chaos.tell(format!("round {round}: {line} {}", outs.join("; ")));
        if round > 0 && differences(chaos, &standing).is_empty() {
            break;
        }
        // Keys that are due wait for those before them in rank.
        sleep(Duration::from_secs(30)).await;
        world().pass(60_000);
        chaos.town.tick_relays();
    }
    let mut failures = differences(chaos, &standing);
    failures.extend(members(chaos, &standing));
    failures.extend(lost(chaos, &standing));
    failures.extend(leaked(chaos, &standing));
    if failures.is_empty() {
        failures.extend(further::after_peace(chaos, &standing).await);
    }
    failures.sort();
    for (index, name) in DEVICES.iter().enumerate() {
        if let Some(client) = chaos.client(index) {
            let digest = client.projection_digest().unwrap_or_default();
            chaos.tell(format!("{name} ends with {:02x}{:02x}{:02x}", digest[0], digest[1], digest[2]));
        }
    }
    let (all, carried) = (chaos.ledger.len() as u64, chaos.town.net.carried());
    chaos.counts.insert("edits", all);
    chaos.counts.insert("bytes carried", carried);
    failures
}

async fn heal(chaos: &mut Chaos) {
    chaos.town.heal_net();
    for index in 0..RELAYS {
        // A fuse or a death that nobody has noticed yet: a fresh start ends both.
        chaos.town.crash_relay(index).await;
        chaos.town.start_relay(index);
    }
    chaos.town.tick_relays();
    for index in 0..DEVICES.len() {
        let node = chaos.town.devices[index].node;
        let is_dead = world().device(node, |life| {
            life.fuse = None;
            life.dead
        });
        if is_dead || chaos.town.devices[index].client.is_none() {
            chaos.town.crash(index).await;
            chaos.start(index);
        }
    }
}

pub(super) async fn sync_all(chaos: &mut Chaos) -> Vec<Standing> {
    let mut standing = Vec::new();
    for index in 0..DEVICES.len() {
        let Some(client) = chaos.client(index) else {
            standing.push(Standing::Out("not open".to_owned()));
            continue;
        };
        let node = chaos.town.devices[index].node;
        let synced = timeout(ROUND_MAX, in_node(node, client.sync(&mut |_| {}))).await;
        standing.push(match synced {
            Ok(Ok(report)) if report.failed.is_empty() => Standing::In,
            Ok(Ok(report)) => Standing::Out(report.failed[0].message.clone()),
            Ok(Err(error)) => Standing::Out(error.to_string()),
            Err(_) => Standing::Out("hangs".to_owned()),
        });
    }
    standing
}

pub(super) fn those_in<'c>(chaos: &'c Chaos, standing: &'c [Standing]) -> impl Iterator<Item = (usize, Client)> + 'c {
    let is_in = |index: &usize| standing.get(*index) == Some(&Standing::In);
    (0..DEVICES.len()).filter(is_in).filter_map(|index| chaos.client(index).map(|client| (index, client)))
}

/// What becomes of a note whose eraser was removed afterwards is not the same everywhere yet: decision 0026, "open".
fn is_open(standing: &[Standing], erased: &Erased) -> bool {
    standing.get(erased.author) != Some(&Standing::In)
}

/// The heads of all documents by id, in hex, without those that [`is_open`].
fn heads_of(chaos: &Chaos, standing: &[Standing], client: &Client) -> Option<BTreeMap<String, Vec<[u8; 32]>>> {
    let open: BTreeSet<&String> =
        chaos.erased.iter().filter(|erased| is_open(standing, erased)).map(|erased| &erased.note).collect();
    let all = client.heads().ok()?.into_iter().map(|(doc, heads)| (doc.to_string(), heads));
    Some(all.filter(|(doc, _)| !open.contains(doc)).collect())
}

/// The documents that two devices hold differently.
fn differing(
    one: &Option<BTreeMap<String, Vec<[u8; 32]>>>,
    other: &Option<BTreeMap<String, Vec<[u8; 32]>>>,
) -> Vec<String> {
    let (Some(one), Some(other)) = (one, other) else { return Vec::new() };
    let all: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    all.into_iter().filter(|doc| one.get(*doc) != other.get(*doc)).map(|doc| doc[..6].to_owned()).collect()
}

/// Where those in force are not equal, or have something left to do.
fn differences(chaos: &Chaos, standing: &[Standing]) -> Vec<String> {
    let mut found = Vec::new();
    let clients: Vec<_> = those_in(chaos, standing).collect();
    if clients.is_empty() {
        found.push("nobody syncs".to_owned());
    }
    for (index, client) in &clients {
        let name = DEVICES[*index];
        let status = as_node(chaos.town.devices[*index].node, || client.status());
        match status {
            Ok(status) => {
                if (status.changes_pending, status.envelopes_unsent) != (0, 0) {
                    let (pending, unsent) = (status.changes_pending, status.envelopes_unsent);
                    let why = status.keys.clone();
                    found.push(format!("{name} still has {pending} changes and {unsent} envelopes to send: {why:?}"));
                }
                found.extend(
                    further::troubles(chaos, &client.membership(), &status).map(|line| format!("{name} {line}")),
                );
                for relay in status.relays.iter().filter(|relay| relay.envelopes_unsent > 0) {
                    found.push(format!("{name}: {} lacks {}", relay.url, relay.envelopes_unsent));
                }
            }
            Err(error) => found.push(format!("{name} cannot tell its status: {error}")),
        }
    }
    if let Some(((first, one), rest)) = clients.split_first() {
        let one_code = one.status().map(|status| status.state_code).ok();
        let (one_members, one_heads) = (one.membership(), heads_of(chaos, standing, one));
        let one_rows = one.projection_digest().ok();
        let settled = !chaos.erased.iter().any(|erased| is_open(standing, erased));
        // What a removed device wrote too late reaches some and not others, and counts nowhere.
        let is_whole = chaos.removed_for(one).is_empty();
        for (index, other) in rest {
            let names = (DEVICES[*first], DEVICES[*index]);
            if other.membership() != one_members {
                let heads = (one_members.heads.len(), other.membership().heads.len());
                found.push(format!("{} and {} differ in membership: heads {heads:?}", names.0, names.1));
            }
            let heads = heads_of(chaos, standing, other);
            if heads != one_heads {
                let docs: Vec<String> = differing(&one_heads, &heads);
                found.push(format!("{} and {} differ in the heads of documents: {docs:?}", names.0, names.1));
            } else if settled && other.projection_digest().ok() != one_rows {
                found.push(format!("{} and {} differ in rows", names.0, names.1));
            } else if is_whole && other.status().map(|status| status.state_code).ok() != one_code {
                found.push(format!("{} and {} differ in the ends of streams", names.0, names.1));
            }
        }
    }
    found
}

/// Whoever may sync is in force, and whoever is in force may sync.
fn members(chaos: &Chaos, standing: &[Standing]) -> Vec<String> {
    let Some((_, client)) = those_in(chaos, standing).next() else {
        return vec![format!("{standing:?}")];
    };
    let membership = client.membership();
    let mut found = Vec::new();
    for (index, standing) in standing.iter().enumerate() {
        let device = membership.devices.get(&chaos.keys[index]);
        let is_in = device.is_some_and(|device| device.removed_by.is_none());
        match standing {
            Standing::In if !is_in => found.push(format!("{} syncs although it was removed", DEVICES[index])),
            Standing::Out(why) if is_in => {
                found.push(format!("{} is in force and does not sync: {why}", DEVICES[index]))
            }
            _ => {}
        }
    }
    found
}

/// What was acknowledged on a device in force and somebody in force does not have.
fn lost(chaos: &Chaos, standing: &[Standing]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, client) in those_in(chaos, standing) {
        let words = Chaos::words(&client);
        // Of two copies of a home that wrote one place of their stream one counts: decision 0026, "open".
        let is_forked = !client.membership().forks.is_empty();
        for entry in chaos.ledger.iter().filter(|entry| !(is_forked && chaos.was_restored[entry.author])) {
            let is_in = |device: &usize| standing.get(*device) == Some(&Standing::In);
            // What only a device had that is out by now, nobody in force can have.
            let is_sure = !entry.may_be_lost
                && !chaos.is_erased(&entry.note)
                && is_in(&entry.author)
                && entry.kept_by.as_ref().is_none_or(|keepers| keepers.iter().any(is_in));
            if is_sure && !words.contains(&entry.word) {
                found.push(format!("{} of {} is missing at {}", entry.word, DEVICES[entry.author], DEVICES[index]));
            }
        }
    }
    found
}

/// What a removed device reads although its author knew of the removal.
fn leaked(chaos: &Chaos, standing: &[Standing]) -> Vec<String> {
    let mut found = Vec::new();
    for (index, standing) in standing.iter().enumerate() {
        let (Standing::Out(_), Some(client)) = (standing, chaos.client(index)) else { continue };
        let words = Chaos::words(&client);
        for entry in chaos.ledger.iter().filter(|entry| entry.secret_from.contains(&index)) {
            if words.contains(&entry.word) && entry.author != index {
                found.push(format!("{} was removed and reads {}", DEVICES[index], entry.word));
            }
        }
    }
    found
}
