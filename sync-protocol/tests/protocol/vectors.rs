//! Golden vectors: what the code makes today is what the files say, and nothing in the files is forgotten.

use std::collections::BTreeSet;
use std::path::Path;

use lifeos_sync_protocol::envelope::Envelope;
use lifeos_sync_protocol::frame::Frame;
use lifeos_sync_protocol::record::{Body, Record};

use super::generate::{files, hex, parse};
use super::kit;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_golden_vector_is_what_the_code_makes() {
    for file in files() {
        let text = read(file.name);
        let stored = parse(&text);
        for (name, bytes) in &file.vectors {
            let line = stored.iter().find(|(stored, _)| stored == name);
            let (_, expected) = line.unwrap_or_else(|| panic!("{}: add {name} with the vectors example", file.name));
            assert_eq!(hex(bytes), *expected, "{}: {name}", file.name);
        }
        assert_eq!(stored.len(), file.vectors.len(), "{}: a vector is no longer made", file.name);
        let names: BTreeSet<&str> = stored.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), stored.len(), "{}: a name is used twice", file.name);
    }
}

#[test]
fn every_golden_frame_record_and_envelope_is_read() {
    for (name, frame) in parse(&read("frames.txt")) {
        assert!(Frame::decode(&bytes(frame)).is_ok(), "frame {name}");
    }
    for (name, record) in parse(&read("records.txt")).into_iter().filter(|(name, _)| !name.contains('.')) {
        assert!(Record::parse(bytes(record)).is_ok(), "record {name}");
    }
    for (name, envelope) in parse(&read("envelopes.txt")).into_iter().filter(|(name, _)| !name.contains('.')) {
        let envelope = Envelope::parse(bytes(envelope)).unwrap();
        assert!(envelope.verify_signature(&kit::space(), &kit::founder().sign_pk).is_ok(), "envelope {name}");
    }
}

#[test]
fn the_proof_of_the_golden_join_holds_for_its_invitation_alone() {
    let records = kit::records();
    let record = |name: &str| &records.iter().find(|(found, _)| *found == name).unwrap().1;
    let Body::Invite { invite_pk, .. } = record("invite").body() else { panic!("not an Invite") };
    assert!(record("join_proven").invite_proof_holds(invite_pk));
    assert!(!record("join").invite_proof_holds(invite_pk), "its proof is made up");
    // What holds is remembered for the first key asked about.
    let again = Record::parse(record("join_proven").bytes().to_vec()).unwrap();
    assert!(!again.invite_proof_holds(&kit::founder().sign_pk));
}

/// The second column of the table rows whose first is this byte.
fn documented<'t>(document: &'t str, section: &str, byte: u8) -> Option<&'t str> {
    let (_, section) = document.split_once(section)?;
    let section = section.split("\n## ").next()?;
    let row = section.lines().find_map(|line| line.strip_prefix(&format!("| 0x{byte:02x} | ")))?;
    row.split(" |").next()
}

#[test]
fn the_specification_names_every_frame_and_record_type() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md");
    let document = std::fs::read_to_string(path).unwrap();
    for (_, frame) in kit::frames() {
        assert_eq!(documented(&document, "\n## Frames", frame.kind()), Some(frame.name()));
    }
    for (_, body) in kit::bodies().into_iter().filter(|(name, _)| *name != "unknown") {
        let name = format!("{body:?}");
        let name = name.split(' ').next().unwrap();
        assert_eq!(documented(&document, "\n## Records", body.kind()), Some(name));
    }
    for (_, envelope) in kit::envelopes() {
        let name = format!("{:?}", envelope.header().kind);
        assert_eq!(documented(&document, "\n## Envelopes", envelope.header().kind as u8), Some(name.as_str()));
    }
}
