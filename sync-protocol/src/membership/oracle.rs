//! Random histories of the executable model (`model/membership_model.py`), evaluated here and compared.
//!
//! `LIFEOS_HISTORIES` and `LIFEOS_SEED` say how many and which; the model prints each history with the state that it
//! expects. Records are stand-ins with the model's ids and without signatures, so the time goes into the rules.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{CheckpointStanding, Ledger, Membership, StreamPoint, epoch_ref_of};
use crate::dag;
use crate::envelope::{Envelope, Header, Kind, TAG_BYTES, assemble, stream_id};
use crate::hash::sha256;
use crate::ids::{EnvelopeId, EpochRef, HpkePk, MemberId, RecordId, SignPk, Signature, SpaceId, StreamId};
use crate::record::{Body, Cut, DeviceEntry, DeviceKind, Record, RemoveReason, Role, Seal, Wrap};

const RANDOM: [u8; 32] = [7; 32];
/// Enough to find a broken rule in seconds; the stage `membership` of the chores asks for more.
const HISTORIES: u64 = 2000;

/// A number in front of zeros, so that the short forms differ too.
fn bytes<const N: usize>(number: u64) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes[..8].try_into().unwrap())
}

fn int(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn record_id(number: u64) -> RecordId {
    RecordId(bytes(number))
}

fn epoch(number: u64) -> EpochRef {
    epoch_ref_of(&record_id(number))
}

fn role(value: &Value) -> Role {
    [Role::Owner, Role::Admin, Role::Editor, Role::Reader][int(value, "role") as usize]
}

fn entry(value: &Value) -> DeviceEntry {
    DeviceEntry {
        sign_pk: SignPk(bytes(int(value, "sign"))),
        hpke_pk: HpkePk(bytes(int(value, "hpke"))),
        kind: [DeviceKind::Normal, DeviceKind::Recovery, DeviceKind::Archive][int(value, "kind") as usize],
        proof: Signature([0; 64]),
    }
}

fn entries(value: &Value) -> Vec<DeviceEntry> {
    list(value, "devices").iter().map(entry).collect()
}

fn seal(device: u64) -> Seal {
    Seal { device_ref: bytes(device), enc: [0; 32], ct: [0; 48] }
}

fn seals(value: &Value) -> Vec<Seal> {
    list(value, "seals").iter().map(|device| seal(device.as_u64().unwrap())).collect()
}

fn cuts(value: &Value) -> Vec<Cut> {
    let cut = |cut: &Value| {
        let at = |index: usize| cut[index].as_u64().unwrap();
        Cut { stream: StreamId(bytes(at(0))), seq: at(1) as u32, id: EnvelopeId(bytes(at(2))) }
    };
    list(value, "cuts").iter().map(cut).collect()
}

/// The device's only stream in the model.
fn stream_of(space: &SpaceId, device: u64) -> StreamId {
    stream_id(space, &SignPk(bytes(device)), &RANDOM)
}

/// One of the envelopes that the device signed for a place of its stream.
fn branch(space: &SpaceId, device: u64, seq: u64, branch: u64) -> Envelope {
    let header = Header {
        kind: Kind::Delta,
        flags: 0,
        stream: stream_of(space, device),
        seq: seq as u32,
        prev: RANDOM,
        epoch: EpochRef::ZERO,
        salt: bytes(branch),
        ct_len: TAG_BYTES as u32,
    };
    Envelope::parse(assemble(&header, &[0; TAG_BYTES], &Signature([0; 64]))).unwrap()
}

/// Of the places where the model says that streams fork, with the branches proven there, the one branch that counts.
fn forks(space: &SpaceId, expected: &Value) -> BTreeMap<StreamId, StreamPoint> {
    let fork = |fork: &Value| {
        let (device, seq) = (fork[0].as_u64().unwrap(), fork[1].as_u64().unwrap());
        let branches = fork[2].as_array().unwrap().iter().map(|tag| branch(space, device, seq, tag.as_u64().unwrap()));
        let id = branches.map(|envelope| envelope.id(space)).min().unwrap();
        (stream_of(space, device), StreamPoint { seq: seq as u32, id })
    };
    expected.as_array().unwrap().iter().map(fork).collect()
}

fn body(space: &SpaceId, value: &Value) -> Body {
    let member = || MemberId(bytes(int(value, "member")));
    let record = |key| record_id(int(value, key));
    let reason = RemoveReason::Lost;
    let enc_meta = Vec::new();
    match value["type"].as_str().unwrap() {
        "genesis" => {
            let devices = entries(value);
            let (device, recovery) = (devices[0].clone(), devices[1].clone());
            Body::Genesis { random: RANDOM, member: member(), device, recovery, relays: vec![] }
        }
        "member_add" => Body::MemberAdd { member: member(), role: role(value), enc_meta, devices: entries(value) },
        "device_add" => {
            let grant = |grant: &Value| (epoch(grant[0].as_u64().unwrap()), seal(grant[1].as_u64().unwrap()));
            let grants = list(value, "grants").iter().map(grant).collect();
            Body::DeviceAdd { member: member(), device: entry(&value["device"]), enc_meta, grants }
        }
        "device_remove" => {
            Body::DeviceRemove { device: SignPk(bytes(int(value, "device"))), reason, cuts: cuts(value) }
        }
        "member_remove" => Body::MemberRemove { member: member(), reason, cuts: cuts(value) },
        "role_set" => Body::RoleSet { member: member(), role: role(value), cuts: cuts(value) },
        "epoch" => {
            let parents: Vec<EpochRef> =
                list(value, "parents_epochs").iter().map(|id| epoch(id.as_u64().unwrap())).collect();
            let wraps = parents.iter().map(|parent| Wrap { parent: *parent, ct: [0; 48] }).collect();
            let (generation, commit) = (int(value, "generation") as u32, [0; 32]);
            Body::Epoch { generation, parents, commit, wraps, seals: seals(value) }
        }
        "key_grant" => Body::KeyGrant { epoch: epoch(int(value, "epoch")), seals: seals(value) },
        "hpke_refresh" => Body::HpkeRefresh { hpke_pk: HpkePk(bytes(int(value, "hpke"))) },
        "invite" => {
            let auto = int(value, "auto");
            let auto_seal = (auto != 0).then(|| (epoch(auto), seal(0)));
            let (role, uses_max) = (role(value), int(value, "uses_max") as u32);
            Body::Invite { invite_pk: SignPk::ZERO, role, expires_ms: 0, uses_max, auto_seal }
        }
        "invite_revoke" => Body::InviteRevoke { invite: record("invite") },
        "join" => {
            let (invite, devices, invite_proof) = (record("invite"), entries(value), Signature([0; 64]));
            Body::Join { invite, member: member(), devices, invite_proof, enc_meta }
        }
        "policy" => {
            let endorse_k = int(value, "endorse_k") as u32;
            Body::Policy { rotation_days: 30, grace_days: 7, endorse_k, relays: vec![] }
        }
        "checkpoint" => {
            Body::Checkpoint { previous: vec![], cut: vec![], chunks: vec![], blobs: vec![], enc_manifest: vec![] }
        }
        "endorse" => Body::Endorse { checkpoint: record("checkpoint") },
        "object" => Body::Object { checkpoint: record("checkpoint"), reason: 0, stream: StreamId::ZERO, seq: 1 },
        "close" => Body::Close { successor: None },
        "fork_proof" => {
            let (device, seq) = (int(value, "device"), int(value, "seq"));
            let of = |index: usize| branch(space, device, seq, value["branches"][index].as_u64().unwrap());
            Body::fork_proof(&SignPk(bytes(device)), &RANDOM, &of(0), &of(1))
        }
        _ => Body::Unknown { kind: 0xee, body: vec![] },
    }
}

fn records(history: &Value) -> Vec<Record> {
    let described: BTreeMap<u64, &Value> = list(history, "records").iter().map(|r| (int(r, "id"), r)).collect();
    let mut depths: BTreeMap<u64, u64> = BTreeMap::new();
    while depths.len() < described.len() {
        for (id, record) in &described {
            let parents: Option<Vec<u64>> =
                list(record, "parents").iter().map(|p| depths.get(&p.as_u64().unwrap()).copied()).collect();
            if let Some(parents) = parents {
                depths.insert(*id, parents.into_iter().max().map_or(0, |deepest| deepest + 1));
            }
        }
    }
    let genesis = described.values().find(|record| record["type"] == "genesis").unwrap();
    let space = SpaceId(record_id(int(genesis, "id")).0);
    let build = |record: &Value| {
        let parents = list(record, "parents").iter().map(|id| record_id(id.as_u64().unwrap())).collect();
        let (id, author) = (int(record, "id"), SignPk(bytes(int(record, "author"))));
        Record::stub(record_id(id), space, author, depths[&id], parents, body(&space, record), RANDOM)
    };
    list(history, "records").iter().map(build).collect()
}

/// A state in the words of the model.
fn show(state: &Membership) -> Value {
    let id = |record: &RecordId| number(&record.0);
    let members: Vec<Value> = state
        .members
        .iter()
        .map(|(member, found)| {
            let devices: Vec<u64> = found.devices.iter().map(|device| number(&device.0)).collect();
            json!([number(&member.0), found.role as u8, found.rank.class, id(&found.rank.record), devices])
        })
        .collect();
    let devices: Vec<Value> = state
        .devices
        .iter()
        .map(|(device, found)| {
            let cuts = found.cuts.as_ref().map(|cuts| {
                let cut = |(stream, point): (&StreamId, &StreamPoint)| {
                    json!([number(&stream.0), point.seq, number(&point.id.0)])
                };
                cuts.iter().map(cut).collect::<Vec<_>>()
            });
            let removed_by = found.removed_by.as_ref().map_or(0, id);
            let (member, hpke) = (number(&found.member.0), number(&found.hpke_pk.0));
            let (kind, added_by) = (found.kind as u8, id(&found.added_by));
            json!([number(&device.0), member, kind, hpke, removed_by, added_by, u8::from(found.is_writer), cuts])
        })
        .collect();
    let checkpoint = |(record, found): (&RecordId, &super::Checkpoint)| {
        let endorsed: Vec<u64> = found.endorsed_by.iter().map(|device| number(&device.0)).collect();
        let objections: Vec<u64> = found.objections.iter().map(id).collect();
        let standing = match state.checkpoint_standing(record) {
            Some(CheckpointStanding::Blocked) => "blocked",
            Some(CheckpointStanding::Endorsed) => "endorsed",
            Some(CheckpointStanding::Proposed) => "proposed",
            None => "unknown",
        };
        json!([id(record), number(&found.member.0), endorsed, objections, standing])
    };
    let void: Vec<Value> =
        state.void.iter().map(|(record, reason)| json!([id(record), format!("{reason:?}")])).collect();
    let invites: Vec<Value> =
        state.invites.iter().map(|(r, invite)| json!([id(r), invite.uses, u8::from(invite.is_revoked)])).collect();
    let mut epochs: Vec<u64> = state.epochs.values().map(|epoch| id(&epoch.record)).collect();
    epochs.sort_unstable();
    json!({
        "void": void,
        "members": members,
        "devices": devices,
        "epochs": epochs,
        "epoch_heads": state.epoch_heads().iter().map(|epoch| number(&epoch.0)).collect::<Vec<_>>(),
        "current": state.current_epoch().map_or(0, |epoch| number(&epoch.0)),
        "invites": invites,
        "joins": state.joins.keys().map(id).collect::<Vec<_>>(),
        "policy": state.policy.as_ref().map_or(0, |policy| id(&policy.record)),
        "checkpoints": state.checkpoints.iter().map(checkpoint).collect::<Vec<_>>(),
        "closed": state.closed.as_ref().map_or(0, |closed| id(&closed.record)),
    })
}

/// The history as it was shuffled, by a ledger that grows record by record, and as a set.
fn compare(line: &str) {
    let history: Value = serde_json::from_str(line).unwrap();
    let records = records(&history);
    let seed = int(&history, "seed");
    let genesis = records.iter().find(|record| matches!(record.body(), Body::Genesis { .. })).unwrap();
    let state = Membership::evaluate(&genesis.space(), &records).unwrap();
    let (shown, expected) = (show(&state), &history["expected"]);
    assert_eq!(
        state.forks,
        forks(&genesis.space(), &expected["forks"]),
        "seed {seed}: forks differ from the model\n{line}"
    );
    for (key, value) in expected.as_object().unwrap().iter().filter(|(key, _)| *key != "forks") {
        assert_eq!(&shown[key], value, "seed {seed}: {key} differs from the model\n{line}");
    }
    // Of the same set any order, with repetitions, gives the same.
    for shuffle in 0..2 {
        let mut order: Vec<&Record> = records.iter().chain(&records[..records.len() / 2]).collect();
        order.sort_by_cached_key(|record| sha256("shuffle", &[&record.id().0, &bytes::<8>(seed ^ (shuffle << 63))]));
        assert_eq!(Membership::evaluate(&genesis.space(), order).unwrap(), state, "seed {seed}, shuffle {shuffle}");
    }
    let mut ledger = Ledger::new(genesis).unwrap();
    let mut waiting: Vec<&Record> = records.iter().filter(|record| record.id() != genesis.id()).collect();
    while !waiting.is_empty() {
        waiting.retain(|record| {
            let ready = record.parents().iter().all(|parent| ledger.contains(parent));
            if ready {
                let judged = ledger.judge(record);
                assert_eq!(ledger.insert(*record).unwrap(), judged, "seed {seed}");
                ledger.assert_standings_agree(seed);
            }
            !ready
        });
    }
    assert_eq!(ledger.membership(), state, "seed {seed}: the ledger differs from the evaluation");
    let order: Vec<&Record> = ledger.records().to_vec();
    assert_eq!(dag::heads(order), state.heads, "seed {seed}");
}

#[test]
fn the_rules_agree_with_the_executable_model() {
    let setting = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (count, seed) = (setting("LIFEOS_HISTORIES", HISTORIES), setting("LIFEOS_SEED", 1));
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/model/membership_model.py");
    let mut python = Command::new("python3")
        .args([model, &count.to_string(), &seed.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the model needs python3");
    let mut compared = 0;
    for line in BufReader::new(python.stdout.take().unwrap()).lines() {
        compare(&line.unwrap());
        compared += 1;
    }
    assert!(python.wait().unwrap().success(), "the model stopped");
    assert_eq!(compared, count);
    println!("{compared} histories from seed {seed}: equal");
}
