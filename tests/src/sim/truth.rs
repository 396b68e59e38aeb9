//! What devices say of others while everything goes wrong: that a device has a note, that a relay holds all edits. Healing
//! mends a lie of that kind, so it is asked before.

use std::collections::BTreeSet;
use std::path::Path;

use lifeos_client_core::client::Client;
use lifeos_client_core::simulation::as_node;
use rusqlite::{Connection, OpenFlags};

use super::chaos::Chaos;
use super::host::world;
use super::world::{DEVICES, RELAYS};

/// A stream as a relay holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RelayStream {
    pub(super) id: Vec<u8>,
    pub(super) device: Vec<u8>,
    pub(super) tip_seq: u32,
    pub(super) floor: u32,
    /// Envelopes that lie there.
    pub(super) held: u32,
}

/// The streams of the town's space at a relay, read from its files.
pub(super) fn relay_streams(dir: &Path, space: &[u8]) -> Vec<RelayStream> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(db) = Connection::open_with_flags(dir.join("relay.db"), flags) else { return Vec::new() };
    let sql = "SELECT id, device, tip_seq, floor, (SELECT count(*) FROM envelope WHERE stream = stream.no)
               FROM stream WHERE space = (SELECT no FROM space WHERE id = ?1) ORDER BY id";
    let read = || -> rusqlite::Result<Vec<RelayStream>> {
        let mut select = db.prepare(sql)?;
        let rows = select.query_map([space], |row| {
            let (id, device, tip_seq, floor, held) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            Ok(RelayStream { id, device, tip_seq, floor, held })
        })?;
        rows.collect()
    };
    read().unwrap_or_default()
}

/// The stream that a device writes, and how far it goes, read from its files.
fn own_end(home: &Path, space: &[u8]) -> Option<(Vec<u8>, u32)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(home.join("lifeos.db"), flags).ok()?;
    let sql = "SELECT stream.stream, stream.seq FROM space JOIN stream ON stream.id = space.own_stream
               WHERE space.space = ?1";
    db.query_row(sql, [space], |row| Ok((row.get(0)?, row.get(1)?))).ok()
}

/// The words of one note.
fn words_of(client: &Client, note: &str) -> Option<BTreeSet<String>> {
    let note = client.note(note).ok()?;
    Some(note.markdown.split_whitespace().map(str::to_owned).collect())
}

impl Chaos {
    /// Asks one device what it believes of the others.
    pub(super) fn question(&mut self) {
        let index = self.below(DEVICES.len());
        let which = self.dice.any();
        let Some(client) = self.client(index) else { return };
        let node = self.town.devices[index].node;
        let found = as_node(node, || {
            let mut found = self.untrue_receipts(index, &client, which).unwrap_or_default();
            found.extend(self.untrue_acknowledgements(index, &client));
            found
        });
        self.count("question asked");
        self.failures.extend(found);
    }

    /// A note that a device is said to have, and that lacks a word there. Whoever was put back has forgotten; and while
    /// somebody is removed, what counts of a note is not the same everywhere.
    fn untrue_receipts(&self, index: usize, client: &Client, which: u64) -> Option<Vec<String>> {
        let ids = Self::note_ids(client);
        let note = super::Dice::new(which).pick(&ids)?.clone();
        let membership = client.membership();
        if self.is_erased(&note) || !self.removed_for(client).is_empty() {
            return None;
        }
        let (said, own) = (client.note_receipts(&note).ok()?, words_of(client, &note)?);
        let mut found = Vec::new();
        for said in said.devices.iter().filter(|said| said.reach == "has") {
            let other = self.keys.iter().position(|key| key.to_string() == said.device)?;
            let Some(there) = self.client(other).filter(|_| !self.was_restored[other]) else { continue };
            if there
                .membership()
                .devices
                .iter()
                .any(|(key, device)| device.removed_by.is_some() || !membership.devices.contains_key(key))
            {
                continue;
            }
            let words = words_of(&there, &note).unwrap_or_default();
            if let Some(word) = own.difference(&words).next() {
                let names = (DEVICES[index], DEVICES[other]);
                let (note, ms) = (&note[..6], world().elapsed_ms());
                found.push(format!(
                    "at {ms} ms {} says that {} has note {note}, which lacks {word} there",
                    names.0, names.1
                ));
            }
        }
        Some(found)
    }

    /// A relay that is said to have all edits of this device, and does not hold them. A relay that was tampered with has
    /// forgotten, and whoever was put back does not know yet what it wrote.
    fn untrue_acknowledgements(&self, index: usize, client: &Client) -> Vec<String> {
        let Some(status) = client.status().ok().filter(|_| !self.was_restored[index]) else { return Vec::new() };
        let Some((stream, own)) = own_end(&self.town.devices[index].home, client.space().as_ref()) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for relay in 0..RELAYS {
            let said = status.relays.iter().find(|said| said.url.ends_with(&format!("relay-{relay}")));
            let is_sure = said.is_some_and(|said| said.envelopes_unsent == 0) && !self.was_tampered[relay];
            if !is_sure || own == 0 {
                continue;
            }
            let dir = self.town.relays.borrow()[relay].dir.clone();
            let streams = relay_streams(&dir, client.space().as_ref());
            let there = streams.iter().find(|held| held.id == stream).map_or(0, |held| held.tip_seq);
            if there < own {
                found.push(format!(
                    "relay {relay} holds {there} envelopes of {} and is said to have {own}",
                    DEVICES[index]
                ));
            }
        }
        found
    }
}
