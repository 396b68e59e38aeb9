//! Attachments: one large file and many small ones, from a device to a relay and to another device; and what is sent
//! again when sending was killed.

use std::path::Path;
use std::time::Duration;

use lifeos_client_core::client::{Client, NoteDraft};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::device::raw_database;
use super::join::link;
use crate::noise::noise;
use crate::report::Figure;
use crate::rows::Tell;
use crate::{child::Child, measure};

const MIB: usize = 1 << 20;
/// Bytes that the yardstick seals at once: as many as a part holds.
const PIECE: usize = MIB;
/// Attachments of one note.
const FILES_A_NOTE: usize = 1_000;
/// What may be sent a second time after a kill.
const AGAIN_MAX: f64 = 0.05;

/// 64 MiB in one file, 2,000 files of 16 KiB, and the first again, killed while it is sent.
pub(super) fn attachments(short: bool, tell: Tell<'_>) {
    let (large, small) = if short { (16 * MIB, 200) } else { (64 * MIB, 2_000) };
    tell(Way::measure(1, large).figure("one file", 3.0));
    tell(Way::measure(small, 16 * 1024).figure("files of 16 KiB", 6.0));
    tell(killed(large));
}

/// A writer and a reader that share a space, a relay, and files.
struct Scene {
    folder: tempfile::TempDir,
    relay: Child,
}

impl Scene {
    fn new(files: usize, bytes: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("files")).expect("a folder");
        for file in 0..files {
            let place = folder.path().join(format!("files/file {file}.bin"));
            std::fs::write(place, noise(bytes, file as u64)).expect("a file");
        }
        let relay = Child::serve(&["relay", &folder.path().join("relay").to_string_lossy()]);
        let scene = Self { folder, relay };
        link(Path::new(&scene.path("writer")), Path::new(&scene.path("reader")), &scene.relay.line);
        scene
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    fn step(&self, args: &[&str]) -> Value {
        let out = Child::finish(args);
        eprintln!(
            "attachments: {}: {} s, {} CPU-s, peak {} MiB",
            args[0], out["wall_s"], out["cpu_s"], out["peak_rss_mib"]
        );
        out
    }

    /// Bytes of parts at the relay.
    fn held(&self) -> u64 {
        let stats = lifeos_sync_server::stats(Path::new(&self.path("relay"))).expect("figures");
        stats.largest.first().map_or(0, |space| space.objects)
    }
}

/// What it took from a file to the other device.
struct Way {
    files: usize,
    bytes: usize,
    add: Value,
    push: Value,
    pull: Value,
    relay_cpu_s: f64,
    relay_rss_mib: f64,
    yard_cpu_s: f64,
}

impl Way {
    fn measure(files: usize, bytes: usize) -> Self {
        let scene = Scene::new(files, bytes);
        let yard_cpu_s = by_hand(&scene.folder.path().join("files"), &scene.folder.path().join("hand.db"));
        let add = scene.step(&["attach", &scene.path("writer"), &scene.path("files")]);
        let relay_before = measure::cpu_total_s(scene.relay.pid());
        let push = scene.step(&["sync", &scene.path("writer")]);
        scene.step(&["sync", &scene.path("reader")]);
        let pull = scene.step(&["fetch", &scene.path("reader")]);
        assert_eq!(pull["away"], 0, "not everything came");
        let (relay_cpu_s, relay_rss_mib) =
            (measure::cpu_total_s(scene.relay.pid()) - relay_before, measure::peak_rss_mib(scene.relay.pid()));
        Self { files, bytes, add, push, pull, relay_cpu_s, relay_rss_mib, yard_cpu_s }
    }

    fn figure(&self, what: &str, most: f64) -> Figure {
        let number = |value: &Value, key: &str| value[key].as_f64().unwrap_or_default();
        let plain = (self.files * self.bytes) as f64;
        let cpu = |value: &Value| number(value, "cpu_s");
        let all = cpu(&self.add) + cpu(&self.push) + cpu(&self.pull);
        let peak = [&self.add, &self.push, &self.pull].map(|step| number(step, "peak_rss_mib"));
        let peak = peak.into_iter().fold(0.0, f64::max);
        Figure {
            name: "attachments",
            what: format!("{what}, {:.1} MiB: added, sent, fetched and opened", plain / MIB as f64),
            n: self.files,
            value: ("cpu_s", all),
            yardstick: Some((
                "twice SHA-256, ChaCha20-Poly1305 and a row in SQLite of the same".into(),
                2.0 * self.yard_cpu_s,
            )),
            target: if most > 3.0 { "≤ 6, peak RSS ≤ 64 MiB" } else { "≤ 3, peak RSS ≤ 64 MiB" },
            met: all / (2.0 * self.yard_cpu_s) <= most && peak <= 64.0,
            extra: vec![
                ("add_cpu_s", cpu(&self.add)),
                ("push_cpu_s", cpu(&self.push)),
                ("pull_cpu_s", cpu(&self.pull)),
                ("add_wall_s", number(&self.add, "wall_s")),
                ("push_wall_s", number(&self.push, "wall_s")),
                ("pull_wall_s", number(&self.pull, "wall_s")),
                ("sent_ratio", number(&self.push, "bytes_pushed") / plain),
                ("received_ratio", number(&self.pull, "bytes_pulled") / plain),
                ("device_peak_rss_mib", peak),
                ("relay_cpu_s", self.relay_cpu_s),
                ("relay_peak_rss_mib", self.relay_rss_mib),
            ],
        }
    }
}

/// The least anybody could pay who keeps files sealed in a database: each hashed, sealed and made a row.
fn by_hand(files: &Path, path: &Path) -> f64 {
    let before = measure::cpu_ns(std::process::id());
    let db = raw_database(path, "FULL");
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("a key"));
    for (number, file) in std::fs::read_dir(files).expect("files").flatten().enumerate() {
        let bytes = std::fs::read(file.path()).expect("a file");
        let hash = digest(&SHA256, &bytes);
        for (at, piece) in bytes.chunks(PIECE).enumerate() {
            let mut nonce = [0; 12];
            nonce[..8].copy_from_slice(&((number * 10_000 + at) as u64).to_be_bytes());
            let mut sealed = piece.to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_append_tag(nonce, Aad::from(hash.as_ref()), &mut sealed).expect("sealed");
            db.execute("INSERT INTO change (bytes) VALUES (?1)", [sealed]).expect("a row");
        }
    }
    (measure::cpu_ns(std::process::id()) - before) as f64 / 1e9
}

/// Sending that is killed half way and begun again: what was sent twice.
fn killed(bytes: usize) -> Figure {
    let scene = Scene::new(1, bytes);
    scene.step(&["attach", &scene.path("writer"), &scene.path("files")]);
    let parts = bytes.div_ceil(MIB) as u64;
    let first = Child::start(&["sync", &scene.path("writer")]);
    while scene.held() < parts / 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(first);
    // What had arrived whole is stored.
    std::thread::sleep(Duration::from_millis(500));
    let held = scene.held();
    let again = scene.step(&["sync", &scene.path("writer")]);
    let sent = again["bytes_pushed"].as_f64().unwrap_or_default();
    let (all, held_bytes) = (bytes as f64, (held * MIB as u64) as f64);
    let twice = ((sent + held_bytes - all) / all).max(0.0);
    Figure {
        name: "attachments",
        what: format!("{} MiB, killed when the relay had {held} parts: sent a second time", bytes / MIB),
        n: usize::try_from(parts).unwrap_or_default(),
        value: ("again_ratio", twice),
        yardstick: None,
        target: "≤ 0.05 of the bytes",
        met: held < parts && twice <= AGAIN_MAX,
        extra: vec![("sent_after_mib", sent / MIB as f64)],
    }
}

/// What a child does with files: attaches all of a folder.
pub(crate) fn attach(home: &Path, files: &Path) -> Value {
    let client = Client::open(home).expect("a home");
    let mut paths: Vec<_> = std::fs::read_dir(files).expect("files").flatten().map(|file| file.path()).collect();
    paths.sort();
    for (number, some) in paths.chunks(FILES_A_NOTE).enumerate() {
        let draft = NoteDraft { title: format!("Files {number}"), ..NoteDraft::default() };
        let note = client.note_create(draft).expect("a note").to_string();
        for path in some {
            client.note_attach(&note, path, None, &mut |_| {}).expect("an attachment");
        }
    }
    serde_json::json!({ "files": paths.len() })
}

/// What a child does on the other device: wants all, syncs, and opens each.
pub(crate) fn fetch(home: &Path, runtime: &tokio::runtime::Runtime) -> Value {
    let client = Client::open(home).expect("a home");
    let all = client.attachments().expect("a list");
    for found in &all {
        client.attachment_pin(&found.hash, true).expect("pinned");
    }
    let mut bytes_pulled = 0;
    for _ in 0..16 {
        bytes_pulled += runtime.block_on(client.sync(&mut |_| {})).expect("a sync").bytes_pulled;
        if client.attachment_cache().expect("a cache").wanted == 0 {
            break;
        }
    }
    let opens = |hash: &str| client.attachment_write(hash, &mut std::io::sink(), &mut |_| {}).is_ok();
    let away = all.iter().filter(|found| !opens(&found.hash)).count();
    serde_json::json!({ "bytes_pulled": bytes_pulled, "away": away })
}
