//! Every limit of the protocol in one place; both sides enforce them before they allocate.

/// Largest websocket frame, relay and device to device (4.25 MiB).
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024 + 256 * 1024;
/// Largest ciphertext (tag included) of a Delta, BlobPart, Receipt or Ephemeral envelope.
pub const DELTA_CT_BYTES_MAX: usize = 1024 * 1024;
/// Largest ciphertext of a Receipt that a relay keeps: one of each device, told to everybody with each OPEN.
pub const RECEIPT_CT_BYTES_MAX: usize = 16 * 1024;
/// Largest ciphertext (tag included) of a Chunk envelope.
pub const CHUNK_CT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest inflated body of a Delta.
pub const DELTA_RAW_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest inflated body of a Chunk.
pub const CHUNK_RAW_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Largest ratio of inflated to compressed bytes.
pub const INFLATE_RATIO_MAX: usize = 256;
/// Smallest padded plaintext.
pub const PADDED_BYTES_MIN: usize = 256;
/// Most parents of a record.
pub const RECORD_PARENTS_MAX: usize = 16;
/// Largest body of a record that is neither an Epoch nor a Checkpoint.
pub const RECORD_BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest body of an Epoch record.
pub const EPOCH_BODY_BYTES_MAX: usize = 512 * 1024;
/// Largest body of a Checkpoint record.
pub const CHECKPOINT_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Most envelopes in one PUSH or NOTIFY frame; also the longest run between verified tips.
pub const FRAME_ENVELOPES_MAX: usize = 64;
/// Most envelopes in one ITEMS frame: pages are asked for one by one, and a larger one costs less.
pub const PAGE_ENVELOPES_MAX: usize = 1024;
/// Most records in one REC frame.
pub const FRAME_RECORDS_MAX: usize = 256;
/// PUSH frames a client keeps unacknowledged; a relay may refuse more.
pub const PUSH_WINDOW_MAX: usize = 16;
/// Deepest nesting of CBOR from outside.
pub const CBOR_DEPTH_MAX: usize = 8;
/// Largest message in a rendezvous mailbox.
pub const RDV_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Most messages in a rendezvous mailbox.
pub const RDV_MESSAGES_MAX: usize = 8;
/// Longest life of a rendezvous mailbox in seconds.
pub const RDV_TTL_S_MAX: u32 = 600;
/// Longest address at which a device wishes to be woken.
pub const WAKEUP_URL_BYTES_MAX: usize = 512;
/// Shortest token that is posted there: one that nobody guesses.
pub const WAKEUP_TOKEN_BYTES_MIN: usize = 16;
/// Longest such token.
pub const WAKEUP_TOKEN_BYTES_MAX: usize = 64;
/// Bytes of an object in one PART.
pub const OBJECT_PART_BYTES_MAX: usize = 256 * 1024;
/// Most ids in one list of a frame: record heads, wanted records or objects, spaces, checkpoints.
pub const FRAME_IDS_MAX: usize = 4096;
/// Most streams in one HAVE, and ranges in one WANT.
pub const FRAME_STREAMS_MAX: usize = 65_536;
/// Most holes of one stream in a HAVE.
pub const STREAM_HOLES_MAX: usize = 1024;
/// Longest origin of a CHALLENGE in bytes of UTF-8.
pub const ORIGIN_BYTES_MAX: usize = 255;
/// Longest message of an ERROR in bytes of UTF-8.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 1024;
/// Longest text inside a record (a relay's address) in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 255;
/// Longest sealed name in a MemberAdd, DeviceAdd or Join: enough for any name, and nothing to fill a space with.
pub const RECORD_META_BYTES_MAX: usize = 512;
/// Most relays that a Genesis or Policy names.
pub const RECORD_RELAYS_MAX: usize = 16;
/// Most devices that one MemberAdd or Join enrols; the fewest is one.
pub const RECORD_DEVICES_MAX: usize = 32;
/// Most records of one space that are evaluated; a relay keeps no more (the pasts of so many take 32 MiB).
pub const SPACE_RECORDS_MAX: usize = 16_384;
/// Of these the last ones, which are kept for what keeps a space safe
/// ([`Membership::is_for_safety`](crate::membership::Membership::is_for_safety)): a relay gives each device a share of
/// them, and a client writes nothing else there. No rule of the evaluation.
pub const SPACE_SAFETY_RECORDS: usize = SPACE_RECORDS_MAX / 100 * 15;
/// Most devices in force that a relay lets into one space, recovery devices included: an Epoch has a seal of some 105
/// bytes for each, and a fifth of [`EPOCH_BODY_BYTES_MAX`] is left for the wraps of its parents. No rule of the
/// evaluation: records that another relay took count all the same.
pub const SPACE_READERS_MAX: usize = 4_000;
/// Days that a checkpoint waits after enough devices endorsed it, in a space without rules.
pub const GRACE_DAYS: u32 = 30;
/// Fewest such days, whatever the rules of a space say: who was away that long must still be able to object.
pub const GRACE_DAYS_MIN: u32 = 7;
