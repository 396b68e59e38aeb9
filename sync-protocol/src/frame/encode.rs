//! Frame to bytes: one arm per frame, the fields in the order of `docs/PROTOCOL.md`.

use super::{Cursor, Frame, Have, Item, PeerLimits, PushResult, PushStatus, RecordStatus, Want};
use crate::ids::{EnvelopeId, RecordId, SpaceId};
use crate::wire::Put;

/// How a device is woken: by a POST to a UnifiedPush endpoint or webhook. The only way in this version.
pub(super) const BY_POST: u8 = 1;

pub(super) fn frame(frame: &Frame, req_id: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes_hint(frame));
    out.put(&[frame.kind(), 0]);
    out.put_u32(req_id);
    body(frame, &mut out);
    out
}

/// Enough for the frames that carry bulk to be built without moving them.
fn bytes_hint(frame: &Frame) -> usize {
    let bulk = match frame {
        Frame::Rec { records: blobs, .. } | Frame::Push { envelopes: blobs, .. } => {
            blobs.iter().map(|bytes| bytes.len() + 4).sum()
        }
        Frame::Items { items, .. } | Frame::Notify { items, .. } => {
            items.iter().map(|item| item.envelope.len() + 12).sum()
        }
        Frame::Ephemeral { envelope, .. } => envelope.len(),
        Frame::Part { bytes, .. } => bytes.len(),
        Frame::Have { streams, .. } => streams.iter().map(|have| 36 + have.holes.len() * 8).sum(),
        _ => 192,
    };
    bulk + 64
}

fn body(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Hello { .. }
        | Frame::Challenge { .. }
        | Frame::Auth { .. }
        | Frame::Welcome { .. }
        | Frame::List { .. }
        | Frame::Spaces { .. } => handshake(frame, out),
        Frame::RdvCreate { .. }
        | Frame::RdvPut { .. }
        | Frame::RdvGet { .. }
        | Frame::RdvDrop { .. }
        | Frame::RdvItem { .. } => rendezvous(frame, out),
        Frame::Pong { payload } | Frame::Ping { payload } => out.put_u64(*payload),
        Frame::Error { code, fatal, retry_after_ms, message } => {
            out.put_u16(*code as u16);
            out.put_bool(*fatal);
            out.put_u32(*retry_after_ms);
            out.put_bytes(message.as_bytes());
        }
        Frame::LogStatementWant { session } => out.put_u32(*session),
        Frame::LogStatement { space, log, rec_heads, time_ms, signature } => {
            out.put(&space.0);
            cursor(out, log);
            out.put_list(rec_heads, record_id);
            out.put_u64(*time_ms);
            out.put(&signature.0);
        }
        _ => space_frame(frame, out),
    }
}

fn handshake(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Hello { proto_min, proto_max, role, nonce, features } => {
            out.put_u16(*proto_min);
            out.put_u16(*proto_max);
            out.put_u8(*role as u8);
            out.put(nonce);
            out.put_u64(*features);
        }
        Frame::Challenge { peer_pk, nonce, origin, features, limits } => {
            out.put(&peer_pk.0);
            out.put(nonce);
            out.put_bytes(origin.as_bytes());
            out.put_u64(*features);
            peer_limits(out, limits);
        }
        Frame::Auth { space, device, signature } => {
            out.put(&space.0);
            out.put(&device.0);
            out.put(&signature.0);
        }
        Frame::Welcome { session, known, signature } => {
            out.put_u32(*session);
            out.put_bool(*known);
            out.put(&signature.0);
        }
        Frame::List { device, signature } => {
            out.put(&device.0);
            out.put(&signature.0);
        }
        Frame::Spaces { spaces } => out.put_list(spaces, |out, SpaceId(id)| out.put(id)),
        _ => {}
    }
}

fn rendezvous(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::RdvCreate { rdv, ttl_s } => {
            out.put(&rdv.0);
            out.put_u32(*ttl_s);
        }
        Frame::RdvPut { rdv, message } => {
            out.put(&rdv.0);
            out.put_bytes(message);
        }
        Frame::RdvGet { rdv, index } => {
            out.put(&rdv.0);
            out.put_u32(*index);
        }
        Frame::RdvDrop { rdv } => out.put(&rdv.0),
        Frame::RdvItem { rdv, index, message } => {
            out.put(&rdv.0);
            out.put_u32(*index);
            out.put_option(message.as_ref(), |out, message| out.put_bytes(message));
        }
        _ => {}
    }
}

fn space_frame(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Open { session, rec_heads, cursor: place } => {
            out.put_u32(*session);
            out.put_list(rec_heads, record_id);
            out.put_option(place.as_ref(), cursor);
        }
        Frame::State { session, rec_heads, log, cursor_ok, have_digest, quota, checkpoints } => {
            out.put_u32(*session);
            out.put_list(rec_heads, record_id);
            out.put_option(log.as_ref(), cursor);
            out.put_bool(*cursor_ok);
            out.put(have_digest);
            out.put_u64(quota.bytes_used);
            out.put_u64(quota.bytes_max);
            out.put_list(checkpoints, record_id);
        }
        Frame::RecWant { session, ids, heads } => {
            out.put_u32(*session);
            out.put_list(ids, record_id);
            out.put_list(heads, record_id);
        }
        Frame::Rec { session, records, more } => {
            out.put_u32(*session);
            out.put_bool(*more);
            out.put_list(records, |out, bytes| out.put_bytes(bytes));
        }
        Frame::RecAck { session, results } => {
            out.put_u32(*session);
            out.put_list(results, |out, status| out.put_u8(record_status(*status)));
        }
        Frame::Push { session, envelopes } => {
            out.put_u32(*session);
            out.put_list(envelopes, |out, bytes| out.put_bytes(bytes));
        }
        Frame::PushAck { session, results } => {
            out.put_u32(*session);
            out.put_list(results, push_result);
        }
        Frame::Ephemeral { session, envelope } => {
            out.put_u32(*session);
            out.put_bytes(envelope);
        }
        Frame::Wakeup { session, target } => {
            out.put_u32(*session);
            out.put_option(target.as_ref(), |out, target| {
                out.put_u8(BY_POST);
                out.put_bytes(target.url().as_bytes());
                out.put_bytes(target.token().as_bytes());
            });
        }
        Frame::WakeupAck { session, status } => {
            out.put_u32(*session);
            out.put_u8(*status as u8);
        }
        _ => log_frame(frame, out),
    }
}

fn log_frame(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::Pull { session, from, bytes_max, items_max } => {
            out.put_u32(*session);
            out.put_u64(*from);
            out.put_u32(*bytes_max);
            out.put_u32(*items_max);
        }
        Frame::Items { session, items, next, roll, more } => {
            out.put_u32(*session);
            out.put_u64(*next);
            out.put(&roll.0);
            out.put_bool(*more);
            out.put_list(items, item);
        }
        Frame::Notify { session, items, roll, behind } => {
            out.put_u32(*session);
            out.put(&roll.0);
            out.put_bool(*behind);
            out.put_list(items, item);
        }
        Frame::Have { session, streams } => {
            out.put_u32(*session);
            out.put_list(streams, have);
        }
        Frame::Want { session, ranges, objects } => {
            out.put_u32(*session);
            out.put_list(ranges, want);
            out.put_list(objects, |out, EnvelopeId(id)| out.put(id));
        }
        Frame::Offer { session, objects } | Frame::Lack { session, objects } => {
            out.put_u32(*session);
            out.put_list(objects, |out, EnvelopeId(id)| out.put(id));
        }
        Frame::WantRest { session, object, from } => {
            out.put_u32(*session);
            out.put(&object.0);
            out.put_u32(*from);
        }
        Frame::Part { session, total, from, more, bytes } => {
            out.put_u32(*session);
            out.put_u32(*total);
            out.put_u32(*from);
            out.put_bool(*more);
            out.put_bytes(bytes);
        }
        _ => {}
    }
}

fn peer_limits(out: &mut Vec<u8>, limits: &PeerLimits) {
    out.put_u32(limits.frame_bytes_max);
    out.put_u16(limits.push_window);
    out.put_u16(limits.frame_envelopes_max);
}

fn record_id(out: &mut Vec<u8>, id: &RecordId) {
    out.put(&id.0);
}

fn cursor(out: &mut Vec<u8>, cursor: &Cursor) {
    out.put(&cursor.log_id.0);
    out.put_u64(cursor.pos);
    out.put(&cursor.roll.0);
}

fn item(out: &mut Vec<u8>, item: &Item) {
    out.put_u64(item.pos);
    out.put_bytes(&item.envelope);
}

fn have(out: &mut Vec<u8>, have: &Have) {
    out.put(&have.stream.0);
    out.put_u32(have.floor);
    out.put_u32(have.tip);
    out.put(&have.tip_id);
    out.put_list(&have.holes, |out, (start, length)| {
        out.put_u32(*start);
        out.put_u32(*length);
    });
}

fn want(out: &mut Vec<u8>, want: &Want) {
    out.put(&want.stream.0);
    out.put_u32(want.from);
    out.put_u32(want.to);
}

const fn record_status(status: RecordStatus) -> u8 {
    match status {
        RecordStatus::Ok => 0,
        RecordStatus::Dup => 1,
        RecordStatus::Parked => 2,
        RecordStatus::Refused => 3,
        RecordStatus::CutBehind => 4,
    }
}

fn push_result(out: &mut Vec<u8>, result: &PushResult) {
    out.put_u8(push_status(result.status));
    match result.status {
        PushStatus::Gap { expected } => out.put_u32(expected),
        PushStatus::Fork { existing } => out.put(&existing.0),
        _ => {}
    }
    out.put_option(result.pos.as_ref(), |out, pos| out.put_u64(*pos));
}

const fn push_status(status: PushStatus) -> u8 {
    match status {
        PushStatus::Ok => 0,
        PushStatus::Dup => 1,
        PushStatus::Gap { .. } => 2,
        PushStatus::Fork { .. } => 3,
        PushStatus::BadFormat => 4,
        PushStatus::BadSignature => 5,
        PushStatus::NotMember => 6,
        PushStatus::NotWriter => 7,
        PushStatus::Removed => 8,
        PushStatus::UnknownEpoch => 9,
        PushStatus::CutBehind => 10,
        PushStatus::OkStaleEpoch => 11,
        PushStatus::TooLarge => 12,
        PushStatus::Quota => 13,
        PushStatus::Rate => 14,
    }
}
