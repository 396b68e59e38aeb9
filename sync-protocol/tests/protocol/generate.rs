//! The golden vectors, made from the fixed keys of the kit: `file → [(name, bytes)]`.

use lifeos_sync_protocol::envelope::associated_data;
use lifeos_sync_protocol::frame::Frame;
use lifeos_sync_protocol::handshake::{auth_message, list_message, transcript_hash, welcome_message};
use lifeos_sync_protocol::hash::ctx;
use lifeos_sync_protocol::ids::{EnvelopeId, RecordId, Roll, SignPk, SpaceId};
use lifeos_sync_protocol::log::{Statement, have_digest, roll_next, statement_message};
use lifeos_sync_protocol::record::{Body, DeviceKind, enrol_message, join_message, joining_member};

use super::kit;

/// One file of vectors.
pub(crate) struct VectorFile {
    /// Name below `vectors/`.
    pub(crate) name: &'static str,
    /// Comment at the top: what the inputs are; only the example that writes the files reads it.
    #[allow(dead_code, reason = "read by the vectors example")]
    pub(crate) about: &'static str,
    /// Names and bytes.
    pub(crate) vectors: Vec<(String, Vec<u8>)>,
}

pub(crate) fn files() -> Vec<VectorFile> {
    vec![
        VectorFile {
            name: "frames.txt",
            about: "Every frame with req_id 0x01020304; the fields are those of tests/protocol/kit.rs.",
            vectors: frames(),
        },
        VectorFile {
            name: "records.txt",
            about: "Every record type, signed by the founder (seed 01 x 32), as whole records; .id is the record id.",
            vectors: records(),
        },
        VectorFile {
            name: "envelopes.txt",
            about: "Every envelope kind in the space of the genesis record, signed by the founder; .id is the \
                    envelope id, .aad what the cipher binds.",
            vectors: envelopes(),
        },
        VectorFile {
            name: "hashes.txt",
            about: "Contexts, handshake transcript over the hello and challenge of frames.txt with req_id 1, \
                    enrolment message, stream id, log roll, who the founder would join as.",
            vectors: hashes(),
        },
    ]
}

fn frames() -> Vec<(String, Vec<u8>)> {
    kit::frames().into_iter().map(|(name, frame)| (name.to_owned(), frame.encode(0x0102_0304))).collect()
}

fn records() -> Vec<(String, Vec<u8>)> {
    let pair = |(name, record): (&str, lifeos_sync_protocol::record::Record)| {
        [(name.to_owned(), record.bytes().to_vec()), (format!("{name}.id"), record.id().0.to_vec())]
    };
    kit::records().into_iter().flat_map(pair).collect()
}

fn envelopes() -> Vec<(String, Vec<u8>)> {
    let space = kit::space();
    let triple = |(name, envelope): (&str, lifeos_sync_protocol::envelope::Envelope)| {
        [
            (name.to_owned(), envelope.bytes().to_vec()),
            (format!("{name}.id"), envelope.id(&space).0.to_vec()),
            (format!("{name}.aad"), associated_data(&space, envelope.header())),
        ]
    };
    kit::envelopes().into_iter().flat_map(triple).collect()
}

fn hashes() -> Vec<(String, Vec<u8>)> {
    let (hello, challenge) = (kit::hello().encode(1), kit::challenge().encode(1));
    let device = kit::founder();
    let transcript = transcript_hash(&hello, &challenge, &kit::space(), &device.sign_pk);
    let listing = transcript_hash(&hello, &challenge, &SpaceId::ZERO, &device.sign_pk);
    let roll_1 = roll_next(&Roll::ZERO, 1, &EnvelopeId([0xe1; 32]));
    let roll_2 = roll_next(&roll_1, 2, &EnvelopeId([0xe2; 32]));
    let enrol = enrol_message(&kit::RANDOM, &kit::MEMBER, DeviceKind::Normal, &SignPk([1; 32]), &device.hpke_pk);
    let have = kit::frames().into_iter().find_map(|(_, frame)| match frame {
        Frame::Have { streams, .. } => Some(have_digest(&streams)),
        _ => None,
    });
    let digest = have.unwrap_or_default();
    let statement = kit::frames().into_iter().find_map(|(_, frame)| Statement::from_frame(frame));
    let statement = statement.map(|said| statement_message(&said.space, &said.log, &said.rec_heads, said.time_ms));
    let joins = kit::bodies().into_iter().find_map(|(name, body)| match body {
        Body::Join { invite, member, devices, .. } if name == "join_proven" => {
            Some(join_message(&kit::space(), &invite, &member, &devices))
        }
        _ => None,
    });
    let stream = kit::header(lifeos_sync_protocol::envelope::Kind::Delta).stream;
    [
        ("ctx_hs", ctx("hs")),
        ("transcript", transcript.to_vec()),
        ("transcript_without_space", listing.to_vec()),
        ("auth_message", auth_message(&transcript)),
        ("auth_signature", device.sign(&auth_message(&transcript)).0.to_vec()),
        ("welcome_message", welcome_message(&transcript)),
        ("list_message", list_message(&listing)),
        ("enrol_message", enrol),
        ("stream_id_r32_32x32", stream.0.to_vec()),
        ("roll_1_of_e1x32", roll_1.0.to_vec()),
        ("roll_2_of_e2x32", roll_2.0.to_vec()),
        ("statement_message_of_the_frame", statement.unwrap_or_default()),
        ("have_digest_of_nothing", have_digest(&[]).to_vec()),
        ("have_digest_of_the_have_frame", digest.to_vec()),
        ("join_message_of_join_proven", joins.unwrap_or_default()),
        ("join_member_of_invite_71x32", joining_member(&RecordId([0x71; 32]), &device.sign_pk).0.to_vec()),
    ]
    .into_iter()
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The `name hex` lines of a file.
pub(crate) fn parse(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' ')).collect()
}
