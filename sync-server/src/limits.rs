//! Every limit of the relay in one place, with the default and the reason.
//!
//! Limits of the protocol itself (frame size, envelopes in a frame, mailbox sizes) live in
//! `lifeos_sync_protocol::limits`; these are the relay's own and may be changed by who runs it.

use std::time::Duration;

use lifeos_sync_protocol::limits::SPACE_READERS_MAX;
use serde::Deserialize;

/// What the relay spends at most, on whom. Times are milliseconds, sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open TCP connections. Each idle one costs about 10 KB.
    pub connections_max: usize,
    /// Open TCP connections of one address; an IPv6 network of 64 bits is one address here and below. Behind a
    /// reverse proxy all clients share one address: raise it there.
    pub connections_per_address_max: usize,
    /// Websockets that one address opens in a minute, as a bucket that fills steadily; so are all rates below.
    pub connections_per_address_minute_max: u32,
    /// Spaces one connection may authenticate for.
    pub sessions_per_connection_max: usize,
    /// Failed AUTH and LIST attempts before the connection is closed.
    pub auth_attempts_max: usize,
    /// AUTH and LIST frames of one address that were refused, in a minute. After that its connections are closed.
    pub auth_failures_per_address_minute_max: u32,
    /// LIST frames of one address in a minute: each is a signature and a look into an index, before any AUTH.
    pub lists_per_address_minute_max: u32,
    /// Time to send a complete HTTP request header.
    pub header_read_ms_max: u64,
    /// Time from the websocket upgrade to AUTH, LIST or a mailbox frame.
    pub handshake_ms_max: u64,
    /// Time a connection that only uses mailboxes may live.
    pub unauthenticated_ms_max: u64,
    /// Bytes read before AUTH without a complete, legal frame among them.
    pub unauthenticated_frame_bytes_max: usize,
    /// Time between websocket pings. Below the 30–60 s after which home routers forget a connection.
    pub ping_ms: u64,
    /// Silence after which a connection counts as dead.
    pub idle_ms_max: u64,
    /// Time one batch of writes may take before the connection is cut off.
    pub write_ms_max: u64,
    /// Bytes queued for one connection. A live reader that lets it fill is told `behind` and must PULL.
    pub outgoing_bytes_max: usize,
    /// Frames queued for one connection.
    pub outgoing_frames_max: usize,
    /// Bytes of envelopes in one page of the log; a single larger envelope still fits.
    pub page_bytes_max: usize,
    /// Bytes of frames of all connections that are being read, or wait until they may be worked on. A connection
    /// that goes beyond is closed and told to return later.
    pub reading_bytes_max: usize,
    /// The same for one address.
    pub reading_bytes_per_address_max: usize,
    /// Bytes of PUSH frames of one connection that are not yet durable.
    pub push_bytes_in_flight_max: usize,
    /// Bytes of PUSH frames of all connections that are not yet durable.
    pub ingest_bytes_in_flight_max: usize,
    /// PUSH and REC frames in one commit. More would make the first of them wait too long for its fsync.
    pub commit_jobs_max: usize,
    /// Bytes after which a commit takes no further job.
    pub commit_bytes_max: usize,
    /// Connections to the database that read; also how many pages are read at the same time.
    pub readers: usize,
    /// Connections to a PostgreSQL server that write, each with its own spaces.
    pub server_writers: usize,
    /// Spaces the relay holds.
    pub spaces_max: u64,
    /// Bytes of the database, without its write-ahead log of some 64 MiB; 0 means no limit. Beyond it envelopes and
    /// new spaces are refused; records and reads are not.
    pub database_bytes_max: u64,
    /// KiB of PUSH frames of one device in a second, over all its connections; faster ones wait.
    pub device_push_kib_per_second_max: u32,
    /// KiB that a device may push at once before that.
    pub device_push_burst_kib_max: u32,
    /// KiB of pages that one device may pull in a second; after that it waits for the next one.
    pub device_pull_kib_per_second_max: u32,
    /// KiB that a device may pull at once before that.
    pub device_pull_burst_kib_max: u32,
    /// Receipts of one device in a minute: each is written to disk and told to everybody, and takes no quota.
    pub device_receipts_per_minute_max: u32,
    /// Presence messages of one device in a second; what is more is dropped, as presence may be.
    pub device_presence_per_second_max: u32,
    /// Presence messages at once before that.
    pub device_presence_burst_max: u32,
    /// Spaces made from one address in an hour.
    pub spaces_per_address_hour_max: u32,
    /// Records one connection may bring per second; faster ones wait. Each costs a signature and an evaluation.
    pub records_per_second_max: u32,
    /// Records one connection may bring at once before that.
    pub records_burst_max: u32,
    /// Bytes of envelopes and objects in one space; 0 means no limit. Records and reads are never refused for it.
    pub space_bytes_max: u64,
    /// Envelopes in one space; 0 means no limit.
    pub space_envelopes_max: u64,
    /// Bytes of envelopes of one member's devices in one space, and of the objects that they brought, so that one member cannot use up the space of all;
    /// 0 means no limit.
    pub member_bytes_max: u64,
    /// Envelopes of one member's devices in one space; 0 means no limit.
    pub member_envelopes_max: u64,
    /// Objects outside streams (chunks, parts of attachments) in one space; 0 means no limit. Their bytes count with
    /// those of envelopes.
    pub space_objects_max: u64,
    /// Objects in one space that one member's devices brought; 0 means no limit.
    pub member_objects_max: u64,
    /// By how much chunks may go beyond the limits of bytes, in percent of them: without room for a checkpoint a full
    /// space could not shrink.
    pub chunk_extra_percent: u8,
    /// Bytes of records in one space: a budget of their own, so that a full space can still remove a device.
    pub space_record_bytes_max: u64,
    /// Records of one author without effect in this version; they are kept for later ones. Without this limit one
    /// device could fill the space's budget, and nobody could be enrolled or removed any more.
    pub author_idle_records_max: usize,
    /// Bytes of those records.
    pub author_idle_record_bytes_max: u64,
    /// Records in one space of one member who is neither Owner nor Admin; also the requests to join by one invitation
    /// together with the records of all whom it let in without approval.
    pub member_records_max: usize,
    /// Bytes of those records.
    pub member_record_bytes_max: u64,
    /// Records in one space of one member who is Owner or Admin, but for what goes into the shares below.
    pub steward_records_max: usize,
    /// Bytes of those records.
    pub steward_record_bytes_max: u64,
    /// Devices that one member who is neither Owner nor Admin may add in one space, ever: each that is removed again
    /// makes everybody change the key.
    pub member_device_adds_max: usize,
    /// Devices in force in one space; never more than the protocol's limit, beyond which no Epoch could name them.
    pub space_readers_max: usize,
    /// Part of a space's records, in count and bytes, that is kept for what Owners and Admins must always be able
    /// to do (remove, give roles, make and grant epochs, close), and for the shares.
    pub records_reserved_percent: u8,
    /// Of that, the part that is kept for shares: what a device may still write when everything else is full, to
    /// remove, demote, withdraw or close, and an Epoch behind it. Of all records, not of the reserved ones.
    pub records_shared_percent: u8,
    /// Shares that part is made into. Devices that came before others are sure of theirs, the first so many in any
    /// case. More of them are smaller: with these defaults each has 38 records and 153 KiB, an Epoch of some 1,400
    /// devices.
    pub record_shares: usize,
    /// Records of one frame that are judged one by one, each in its own past, because they have no effect among
    /// all; those beyond are to be sent again.
    pub records_judged_alone_max: usize,
    /// Records that one connection may bring although they are never valid here.
    pub records_refused_per_connection_max: usize,
    /// Records whose parents are missing that are kept in memory per connection and space. Those beyond are refused,
    /// and so are those of authors that the space does not know.
    pub records_parked_max: usize,
    /// Bytes of those records of one connection.
    pub parked_bytes_per_connection_max: usize,
    /// Bytes of those records of all connections.
    pub parked_bytes_max: usize,
    /// Time for which nothing is stored that a device writes, after a removal of it was answered CUT_BEHIND: as long as
    /// the remover needs to look again. Without it a device that writes without a pause could not be removed but as
    /// compromised. 0 means no time.
    pub removal_hold_ms: u64,
    /// Time between something new and the wake-up of who is not connected: what comes together wakes once.
    pub wakeup_delay_ms: u64,
    /// Time between two wake-ups of one device in one space, however often it connects.
    pub wakeup_every_ms: u64,
    /// Requests to one host in a minute, so that a relay is no tool against it.
    pub wakeups_per_host_minute_max: u32,
    /// Requests at the same time.
    pub wakeups_at_once_max: usize,
    /// Devices whose wake-up is being tried, or tried again; the others wait in the database.
    pub wakeups_waiting_max: usize,
    /// Time for one request, from the name to the answer.
    pub wakeup_ms_max: u64,
    /// Requests for one wake-up that do not get through, after which it is given up.
    pub wakeup_attempts_max: u32,
    /// Time before the second; it doubles each time.
    pub wakeup_retry_ms: u64,
    /// Wake-ups in a row that did not get through, after which a target is forgotten.
    pub wakeup_failures_max: u32,
    /// WAKEUP frames of one device in a minute: each is written to disk.
    pub device_wakeup_frames_per_minute_max: u32,
    /// Rendezvous mailboxes.
    pub mailboxes_max: usize,
    /// Rendezvous mailboxes made from one address.
    pub mailboxes_per_address_max: usize,
    /// Mailbox frames of one address in a minute.
    pub mailbox_frames_per_address_minute_max: u32,
    /// Mailbox messages one connection may wait for at the same time.
    pub mailbox_waits_max: usize,
    /// Time that shutdown gives connections to take what was acknowledged.
    pub shutdown_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            connections_per_address_max: 128,
            connections_per_address_minute_max: 1_200,
            sessions_per_connection_max: 64,
            auth_attempts_max: 3,
            auth_failures_per_address_minute_max: 120,
            lists_per_address_minute_max: 120,
            header_read_ms_max: 10_000,
            handshake_ms_max: 10_000,
            unauthenticated_ms_max: 900_000,
            unauthenticated_frame_bytes_max: 64 * 1024,
            ping_ms: 25_000,
            idle_ms_max: 60_000,
            write_ms_max: 30_000,
            outgoing_bytes_max: 1024 * 1024,
            outgoing_frames_max: 4_096,
            page_bytes_max: 256 * 1024,
            reading_bytes_max: 256 * 1024 * 1024,
            reading_bytes_per_address_max: 64 * 1024 * 1024,
            push_bytes_in_flight_max: 8 * 1024 * 1024,
            ingest_bytes_in_flight_max: 64 * 1024 * 1024,
            commit_jobs_max: 1_024,
            commit_bytes_max: 4 * 1024 * 1024,
            readers: 4,
            server_writers: 4,
            spaces_max: 100_000,
            database_bytes_max: 0,
            device_push_kib_per_second_max: 64 * 1024,
            device_push_burst_kib_max: 256 * 1024,
            device_pull_kib_per_second_max: 256 * 1024,
            device_pull_burst_kib_max: 1024 * 1024,
            device_receipts_per_minute_max: 120,
            device_presence_per_second_max: 32,
            device_presence_burst_max: 128,
            spaces_per_address_hour_max: 64,
            records_per_second_max: 512,
            records_burst_max: 4_096,
            space_bytes_max: 1024 * 1024 * 1024,
            space_envelopes_max: 4 * 1024 * 1024,
            member_bytes_max: 768 * 1024 * 1024,
            member_envelopes_max: 3 * 1024 * 1024,
            space_objects_max: 128 * 1024,
            member_objects_max: 96 * 1024,
            chunk_extra_percent: 25,
            space_record_bytes_max: 64 * 1024 * 1024,
            author_idle_records_max: 1_024,
            author_idle_record_bytes_max: 4 * 1024 * 1024,
            member_records_max: 2_048,
            member_record_bytes_max: 8 * 1024 * 1024,
            steward_records_max: 8_192,
            steward_record_bytes_max: 32 * 1024 * 1024,
            member_device_adds_max: 128,
            space_readers_max: SPACE_READERS_MAX,
            records_reserved_percent: 25,
            records_shared_percent: 15,
            record_shares: 64,
            records_judged_alone_max: 8,
            records_refused_per_connection_max: 256,
            records_parked_max: 64,
            parked_bytes_per_connection_max: 2 * 1024 * 1024,
            parked_bytes_max: 64 * 1024 * 1024,
            removal_hold_ms: 10_000,
            wakeup_delay_ms: 2_000,
            wakeup_every_ms: 30_000,
            wakeups_per_host_minute_max: 1_200,
            wakeups_at_once_max: 64,
            wakeups_waiting_max: 4_096,
            wakeup_ms_max: 15_000,
            wakeup_attempts_max: 5,
            wakeup_retry_ms: 4_000,
            wakeup_failures_max: 8,
            device_wakeup_frames_per_minute_max: 60,
            mailboxes_max: 1_024,
            mailboxes_per_address_max: 16,
            mailbox_frames_per_address_minute_max: 600,
            mailbox_waits_max: 4,
            shutdown_ms_max: 10_000,
        }
    }
}

/// Milliseconds of an hour.
pub(crate) const HOUR_MS: u64 = 60 * 60 * 1000;
/// Milliseconds of a day.
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;
/// How long an object stays that nothing names: long enough to name it.
pub(crate) const UNNAMED_MS: u64 = 7 * DAY_MS;

/// The longest time between two looks at a space that has something to wait for: whatever is due later than that was
/// named by a clock that was ahead.
pub(crate) const LOOK_MS_MAX: u64 = UNNAMED_MS;

/// A limit in milliseconds as a duration.
pub(crate) const fn ms(limit: u64) -> Duration {
    Duration::from_millis(limit)
}
