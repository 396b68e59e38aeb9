//! What else must be so when all are equal: nothing is set aside among the honest, nobody is warned, the doctor finds
//! nothing, what was erased is gone, files come whole, relays hold what they should and no more, a round without news costs
//! little, and no key made behind a removal opens to whoever was removed.

use std::collections::{BTreeMap, BTreeSet};

use lifeos_client_core::client::{Client, Status};
use lifeos_client_core::keys::OwnKeys;
use lifeos_client_core::keystore::system_keystore;
use lifeos_client_core::protocol::ids::RecordId;
use lifeos_client_core::protocol::membership::Membership;
use lifeos_client_core::records::unlock_epochs;
use lifeos_client_core::simulation::{as_node, in_node};
use lifeos_client_core::store::{Store, unlock_device_root};
use tokio::time::timeout;

use super::super::chaos::Chaos;
use super::super::truth::relay_streams;
use super::super::world::{DEVICES, RELAYS};
use super::{ROUND_MAX, Standing, sync_all, those_in};

/// Bytes that a device and a relay exchange in both directions when neither has anything new.
const QUIET_BYTES_MAX: u64 = 16 * 1024;
/// Kinds of what is set aside that honest devices cause, too: late edits of an erased note.
const ASIDE_AMONG_HONEST: [&str; 2] = ["erased", "not_writer"];
/// Warnings that a relay which was wiped or rolled back earns.
const EARNED: [&str; 4] = ["log_rolled_back", "log_replaced", "equivocation", "equivocation_proven"];

/// How the alarm about a forked stream begins.
const TWO_COPIES: &str = "two copies of the home of";

/// What a status tells that nobody should have to read after everything was healed.
pub(super) fn troubles<'c>(
    chaos: &'c Chaos,
    membership: &Membership,
    status: &'c Status,
) -> impl Iterator<Item = String> + 'c {
    let in_force: BTreeSet<String> = membership
        .devices
        .iter()
        .filter(|(_, device)| device.removed_by.is_none())
        .map(|(key, _)| key.to_string())
        .collect();
    let names: BTreeSet<&String> =
        status.devices.iter().filter(|device| in_force.contains(&device.device)).map(|device| &device.name).collect();
    // A home that was put back cannot know what it wrote since, when all who had that are out of reach or forgot it.
    let was_copied = |text: &str| (0..DEVICES.len()).any(|at| chaos.was_restored[at] && text.contains(DEVICES[at]));
    let aside = status.quarantine.iter().filter(move |entry| {
        let is_copy = entry.kind == "two_copies" && was_copied(&entry.device);
        !is_copy && names.contains(&entry.device) && !ASIDE_AMONG_HONEST.contains(&entry.kind.as_str())
    });
    let aside = aside.map(|entry| format!("has set aside {} of {}: {}", entry.seq, entry.device, entry.reason));
    let is_tampered =
        |relay: &str| (0..RELAYS).any(|at| chaos.was_tampered[at] && relay.ends_with(&format!("relay-{at}")));
    let unearned = move |kind: &str, relay: &str| !(EARNED.contains(&kind) && is_tampered(relay));
    let warnings = status.warnings.iter().chain(&status.proofs);
    // A relay refuses what is dated years ahead, and says so (decision 0026, seed 166).
    let is_off = chaos.counts.contains_key("clock jumped");
    let warnings = warnings.filter(move |warning| !(is_off && warning.kind == "records_taken_back"));
    let warnings = warnings.filter(move |warning| unearned(&warning.kind, &warning.relay));
    let warnings = warnings.map(|warning| format!("warns of {}: {}", warning.relay, warning.kind));
    let alarms = status.alarms.iter().filter(move |alarm| !(alarm.starts_with(TWO_COPIES) && was_copied(alarm)));
    let alarms = alarms.map(|alarm| format!("raises an alarm: {alarm}"));
    let unverified = status.documents_unverified;
    let joining = (unverified > 0 || status.joining.is_some()).then(|| format!("still joins ({unverified} documents)"));
    aside.chain(warnings).chain(alarms).chain(joining)
}

/// Everything that is asked once, when all are equal.
pub(super) async fn after_peace(chaos: &mut Chaos, standing: &[Standing]) -> Vec<String> {
    let mut found = Vec::new();
    let clients: Vec<(usize, Client)> = those_in(chaos, standing).collect();
    for (index, client) in &clients {
        let report = as_node(chaos.town.devices[*index].node, || client.doctor(false, &mut |_| {}));
        match report {
            Ok(report) => {
                let ill = report.checks.iter().filter(|check| !check.ok);
                found.extend(
                    ill.map(|check| format!("the doctor of {}: {}: {}", DEVICES[*index], check.name, check.detail)),
                );
            }
            Err(error) => found.push(format!("the doctor of {} cannot look: {error}", DEVICES[*index])),
        }
    }
    found.extend(not_erased(chaos, standing, &clients));
    found.extend(files(chaos, standing, &clients).await);
    found.extend(quiet(chaos, standing).await);
    found.extend(relays(chaos, &clients));
    found.extend(opened_by_the_removed(chaos, &clients));
    found
}

/// Whether a device is in and has not forgotten what it did.
fn is_sure(standing: &[Standing], author: usize, may_be_lost: bool) -> bool {
    !may_be_lost && standing.get(author) == Some(&Standing::In)
}

/// Notes that somebody in force erased and somebody in force still shows.
fn not_erased(chaos: &Chaos, standing: &[Standing], clients: &[(usize, Client)]) -> Vec<String> {
    let mut found = Vec::new();
    // Cleo is no owner: what others have written in a note beside her erasing it outlives that.
    let whole = chaos.erased.iter().filter(|it| !it.history_only && it.author < 3);
    for erased in whole.filter(|it| is_sure(standing, it.author, it.may_be_lost)) {
        for (index, client) in clients {
            if client.note(&erased.note).is_ok() {
                let (name, author) = (DEVICES[*index], DEVICES[erased.author]);
                found.push(format!("{name} shows note {}, which {author} erased", &erased.note[..6]));
            }
        }
    }
    found
}

/// Files that somebody in force attached and another does not get whole.
async fn files(chaos: &mut Chaos, standing: &[Standing], clients: &[(usize, Client)]) -> Vec<String> {
    let mut found = Vec::new();
    for file in chaos.files.clone() {
        if !is_sure(standing, file.author, file.may_be_lost) || chaos.is_erased(&file.note) {
            continue;
        }
        let Some((index, client)) = chaos.dice.pick(clients) else { continue };
        // What lies in the trash for long keeps no files.
        if !Chaos::note_ids(client).contains(&file.note) {
            continue;
        }
        let (node, what) = (chaos.town.devices[*index].node, &file.hash[..6]);
        let fetched = timeout(ROUND_MAX, in_node(node, client.attachment_fetch(&file.hash, &mut |_| {}))).await;
        let mut content = Vec::new();
        let written = as_node(node, || client.attachment_write(&file.hash, &mut content, &mut |_| {}));
        let by = (DEVICES[file.author], DEVICES[*index]);
        match (fetched, written) {
            (Ok(Ok(())), Ok(_)) if content == file.content => {}
            (Ok(Ok(())), Ok(_)) => found.push(format!("file {what} of {} is another at {}", by.0, by.1)),
            (Ok(Err(error)), _) | (Ok(Ok(())), Err(error)) => {
                found.push(format!("file {what} of {} does not come to {}: {error}", by.0, by.1));
            }
            (Err(_), _) => found.push(format!("fetching file {what} hangs at {}", by.1)),
        }
    }
    found
}

/// A round in which nobody has news carries little: nothing is sent again and again.
async fn quiet(chaos: &mut Chaos, standing: &[Standing]) -> Vec<String> {
    // What files were fetched for is told of once.
    sync_all(chaos).await;
    let before = chaos.town.net.carried();
    sync_all(chaos).await;
    let bytes = chaos.town.net.carried() - before;
    let pairs = (standing.len() * RELAYS) as u64;
    chaos.counts.insert("quiet bytes", bytes / pairs);
    if bytes > QUIET_BYTES_MAX * pairs { vec![format!("a round without news carries {bytes} bytes")] } else { vec![] }
}

/// Relays end where the devices end, hold every envelope above the floors, and none below them.
fn relays(chaos: &Chaos, clients: &[(usize, Client)]) -> Vec<String> {
    let Some((_, client)) = clients.first() else { return vec![] };
    let membership = client.membership();
    let is_in = |device: &[u8]| {
        membership.devices.iter().any(|(key, known)| key.as_ref() == device && known.removed_by.is_none())
    };
    let mut found = Vec::new();
    let mut ends = Vec::new();
    let mut floors: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for (index, client) in clients {
        let store = Store::open(&chaos.town.devices[*index].home).expect("a home");
        for have in store.have(&client.space()).expect("streams") {
            let floor = floors.entry(have.stream.as_ref().to_vec()).or_default();
            *floor = have.floor.max(*floor);
        }
    }
    for index in 0..RELAYS {
        let dir = chaos.town.relays.borrow()[index].dir.clone();
        let mut streams = relay_streams(&dir, client.space().as_ref());
        streams.retain(|stream| is_in(&stream.device));
        for stream in &streams {
            if stream.held < stream.tip_seq.saturating_sub(stream.floor) {
                found.push(format!("relay {index} has a hole: {stream:?}"));
            }
            if stream.held > stream.tip_seq.saturating_sub(stream.floor) {
                found.push(format!("relay {index} holds more than it should: {stream:?}"));
            }
        }
        for stream in &streams {
            let floor = floors.entry(stream.id.clone()).or_default();
            *floor = stream.floor.max(*floor);
        }
        ends.push(streams.into_iter().map(|it| (it.id, it.tip_seq)).collect::<BTreeMap<_, _>>());
    }
    // Of a stream that a checkpoint stands for as a whole, a relay that was wiped since has nothing to know of.
    ends.iter_mut().for_each(|end| end.retain(|id, tip| floors.get(id).is_none_or(|floor| floor < tip)));
    // Open (decision 0026, seed 88): of a stream that a home left when it was put back, a relay may lack the end.
    let was_put_back = chaos.was_restored.iter().any(|restored| *restored);
    if !was_put_back && ends.iter().any(|end| *end != ends[0]) {
        found.push(format!("the relays differ: {ends:?}"));
    }
    found
}

/// Keys made by who knew of a removal, which open to the removed device although a relay gives it everything.
fn opened_by_the_removed(chaos: &Chaos, clients: &[(usize, Client)]) -> Vec<String> {
    let Some((index, client)) = clients.first() else { return vec![] };
    let (space, membership) = (client.space(), client.membership());
    let store = Store::open(&chaos.town.devices[*index].home).expect("a home");
    let records = store.records(&space).expect("records");
    let parents: BTreeMap<RecordId, &[RecordId]> =
        records.iter().map(|record| (record.id(), record.parents())).collect();
    let mut found = Vec::new();
    for (other, key) in chaos.keys.iter().enumerate() {
        let Some(removal) = membership.devices.get(key).and_then(|device| device.removed_by) else { continue };
        let device = &chaos.town.devices[other];
        let (opened, held) = as_node(device.node, || {
            let own = Store::open(&device.home).expect("a home");
            let root = unlock_device_root(&device.home, system_keystore(), None).expect("a key");
            let keys = root.derive_space(&membership.genesis_random);
            let refreshed = own.hpke_keys(&space, &keys).expect("newer keys");
            let all = OwnKeys { refreshed: &refreshed, ..OwnKeys::first(&keys) };
            let own_records = own.records(&space).expect("records");
            let own_membership = own.membership(&space).expect("a membership");
            let by_own = unlock_epochs(&own_membership, &own_records, all).keyring;
            (unlock_epochs(&membership, &records, all).keyring, by_own)
        });
        for (epoch, made) in &membership.epochs {
            let is_behind = is_ancestor(&parents, &removal, &made.record);
            if is_behind && (opened.find(epoch).is_some() || held.find(epoch).is_some()) {
                found.push(format!("{} was removed and opens generation {}", DEVICES[other], made.generation));
            }
        }
    }
    found
}

fn is_ancestor(parents: &BTreeMap<RecordId, &[RecordId]>, ancestor: &RecordId, of: &RecordId) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![*of]);
    while let Some(id) = open.pop() {
        if id == *ancestor {
            return true;
        }
        if seen.insert(id) {
            open.extend(parents.get(&id).into_iter().flat_map(|of| of.iter().copied()));
        }
    }
    false
}
