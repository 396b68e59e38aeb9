//! Bytes to frame: every count and length is checked against its limit and against what is left to read.

use super::{
    Cursor, ErrorCode, Frame, FrameError, Have, Item, PeerLimits, PeerRole, PushResult, PushStatus, Quota,
    RecordStatus, WakeupStatus, Want, encode::BY_POST, kind,
};
use crate::envelope::OVERHEAD_BYTES;
use crate::ids::{EnvelopeId, LogId, RdvId, RecordId, Roll, SignPk, Signature, SpaceId, StreamId};
use crate::limits::{
    CHUNK_CT_BYTES_MAX, ERROR_MESSAGE_BYTES_MAX, FRAME_BYTES_MAX, FRAME_ENVELOPES_MAX, FRAME_IDS_MAX,
    FRAME_RECORDS_MAX, FRAME_STREAMS_MAX, OBJECT_PART_BYTES_MAX, ORIGIN_BYTES_MAX, PAGE_ENVELOPES_MAX,
    RDV_MESSAGE_BYTES_MAX, STREAM_HOLES_MAX, WAKEUP_TOKEN_BYTES_MAX, WAKEUP_URL_BYTES_MAX,
};
use crate::record::RECORD_BYTES_MAX;
use crate::wakeup::WakeupTarget;
use crate::wire::{Reader, Reason};

/// Largest envelope of any kind.
const ENVELOPE_BYTES_MAX: usize = CHUNK_CT_BYTES_MAX + OVERHEAD_BYTES;

pub(super) fn frame(bytes: &[u8]) -> Result<(u32, Frame), FrameError> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLarge { bytes: bytes.len() });
    }
    let mut reader = Reader::new(bytes);
    let (tag, req_id) = header(&mut reader).map_err(|reason| FrameError::Malformed { frame: "any", reason })?;
    let name = kind::name(tag).ok_or(FrameError::UnknownType(tag))?;
    let frame = body(tag, &mut reader)
        .and_then(|frame| reader.finish().map(|()| frame))
        .map_err(|reason| FrameError::Malformed { frame: name, reason })?;
    Ok((req_id, frame))
}

fn header(reader: &mut Reader<'_>) -> Result<(u8, u32), Reason> {
    let tag = reader.u8()?;
    if reader.u8()? != 0 {
        return Err("unknown frame flag");
    }
    Ok((tag, reader.u32()?))
}

fn body(tag: u8, r: &mut Reader<'_>) -> Result<Frame, Reason> {
    match tag {
        kind::HELLO..=kind::SPACES => handshake(tag, r),
        kind::RDV_CREATE..=kind::RDV_ITEM => rendezvous(tag, r),
        kind::LOG_STATEMENT => Ok(Frame::LogStatement {
            space: SpaceId(r.array()?),
            log: cursor(r)?,
            rec_heads: record_ids(r)?,
            time_ms: r.u64()?,
            signature: Signature(r.array()?),
        }),
        kind::LOG_STATEMENT_WANT => Ok(Frame::LogStatementWant { session: r.u32()? }),
        kind::PONG => Ok(Frame::Pong { payload: r.u64()? }),
        kind::PING => Ok(Frame::Ping { payload: r.u64()? }),
        kind::ERROR => Ok(Frame::Error {
            code: error_code(r.u16()?)?,
            fatal: r.bool()?,
            retry_after_ms: r.u32()?,
            message: r.text(ERROR_MESSAGE_BYTES_MAX)?,
        }),
        kind::OPEN..=kind::REC_ACK => record_frame(tag, r),
        _ => log_frame(tag, r),
    }
}

fn handshake(tag: u8, r: &mut Reader<'_>) -> Result<Frame, Reason> {
    Ok(match tag {
        kind::HELLO => Frame::Hello {
            proto_min: r.u16()?,
            proto_max: r.u16()?,
            role: peer_role(r.u8()?)?,
            nonce: r.array()?,
            features: r.u64()?,
        },
        kind::CHALLENGE => Frame::Challenge {
            peer_pk: SignPk(r.array()?),
            nonce: r.array()?,
            origin: r.text(ORIGIN_BYTES_MAX)?,
            features: r.u64()?,
            limits: PeerLimits { frame_bytes_max: r.u32()?, push_window: r.u16()?, frame_envelopes_max: r.u16()? },
        },
        kind::AUTH => {
            Frame::Auth { space: SpaceId(r.array()?), device: SignPk(r.array()?), signature: Signature(r.array()?) }
        }
        kind::WELCOME => Frame::Welcome { session: r.u32()?, known: r.bool()?, signature: Signature(r.array()?) },
        kind::LIST => Frame::List { device: SignPk(r.array()?), signature: Signature(r.array()?) },
        kind::SPACES => Frame::Spaces { spaces: r.list(FRAME_IDS_MAX, SpaceId::BYTES, |r| r.array().map(SpaceId))? },
        _ => return Err("unknown type"),
    })
}

fn rendezvous(tag: u8, r: &mut Reader<'_>) -> Result<Frame, Reason> {
    let rdv = RdvId(r.array()?);
    Ok(match tag {
        kind::RDV_CREATE => Frame::RdvCreate { rdv, ttl_s: r.u32()? },
        kind::RDV_PUT => Frame::RdvPut { rdv, message: r.bytes(RDV_MESSAGE_BYTES_MAX)?.to_vec() },
        kind::RDV_GET => Frame::RdvGet { rdv, index: r.u32()? },
        kind::RDV_DROP => Frame::RdvDrop { rdv },
        kind::RDV_ITEM => Frame::RdvItem {
            rdv,
            index: r.u32()?,
            message: r.option(|r| r.bytes(RDV_MESSAGE_BYTES_MAX).map(<[u8]>::to_vec))?,
        },
        _ => return Err("unknown type"),
    })
}

fn record_frame(tag: u8, r: &mut Reader<'_>) -> Result<Frame, Reason> {
    let session = r.u32()?;
    Ok(match tag {
        kind::OPEN => Frame::Open { session, rec_heads: record_ids(r)?, cursor: r.option(cursor)? },
        kind::STATE => Frame::State {
            session,
            rec_heads: record_ids(r)?,
            log: r.option(cursor)?,
            cursor_ok: r.bool()?,
            have_digest: r.array()?,
            quota: Quota { bytes_used: r.u64()?, bytes_max: r.u64()? },
            checkpoints: record_ids(r)?,
        },
        kind::REC_WANT => Frame::RecWant { session, ids: record_ids(r)?, heads: record_ids(r)? },
        kind::REC => Frame::Rec {
            session,
            more: r.bool()?,
            records: r.list(FRAME_RECORDS_MAX, 4, |r| r.bytes(RECORD_BYTES_MAX).map(<[u8]>::to_vec))?,
        },
        kind::REC_ACK => Frame::RecAck { session, results: r.list(FRAME_RECORDS_MAX, 1, record_status)? },
        _ => return Err("unknown type"),
    })
}

fn log_frame(tag: u8, r: &mut Reader<'_>) -> Result<Frame, Reason> {
    let session = r.u32()?;
    Ok(match tag {
        kind::PUSH => Frame::Push {
            session,
            envelopes: r.list(FRAME_ENVELOPES_MAX, 4, |r| r.bytes(ENVELOPE_BYTES_MAX).map(<[u8]>::to_vec))?,
        },
        kind::PUSH_ACK => Frame::PushAck { session, results: r.list(FRAME_ENVELOPES_MAX, 2, push_result)? },
        kind::PULL => Frame::Pull { session, from: r.u64()?, bytes_max: r.u32()?, items_max: r.u32()? },
        kind::ITEMS => Frame::Items {
            session,
            next: r.u64()?,
            roll: Roll(r.array()?),
            more: r.bool()?,
            items: r.list(PAGE_ENVELOPES_MAX, 12, item)?,
        },
        kind::NOTIFY => Frame::Notify {
            session,
            roll: Roll(r.array()?),
            behind: r.bool()?,
            items: r.list(FRAME_ENVELOPES_MAX, 12, item)?,
        },
        kind::HAVE => Frame::Have { session, streams: haves(r)? },
        kind::WANT => Frame::Want { session, ranges: r.list(FRAME_STREAMS_MAX, 24, want)?, objects: objects(r)? },
        kind::OFFER => Frame::Offer { session, objects: objects(r)? },
        kind::LACK => Frame::Lack { session, objects: objects(r)? },
        kind::WANT_REST => Frame::WantRest { session, object: EnvelopeId(r.array()?), from: r.u32()? },
        kind::PART => Frame::Part {
            session,
            total: r.u32()?,
            from: r.u32()?,
            more: r.bool()?,
            bytes: r.bytes(OBJECT_PART_BYTES_MAX)?.to_vec(),
        },
        kind::EPHEMERAL => Frame::Ephemeral { session, envelope: r.bytes(ENVELOPE_BYTES_MAX)?.to_vec() },
        kind::WAKEUP => Frame::Wakeup { session, target: r.option(wakeup_target)? },
        kind::WAKEUP_ACK => Frame::WakeupAck { session, status: wakeup_status(r)? },
        _ => return Err("unknown type"),
    })
}

fn peer_role(byte: u8) -> Result<PeerRole, Reason> {
    match byte {
        0 => Ok(PeerRole::Client),
        1 => Ok(PeerRole::Relay),
        2 => Ok(PeerRole::Peer),
        _ => Err("unknown role"),
    }
}

fn error_code(value: u16) -> Result<ErrorCode, Reason> {
    ErrorCode::ALL.into_iter().find(|code| *code as u16 == value).ok_or("unknown error code")
}

fn record_ids(r: &mut Reader<'_>) -> Result<Vec<RecordId>, Reason> {
    r.list(FRAME_IDS_MAX, RecordId::BYTES, |r| r.array().map(RecordId))
}

fn cursor(r: &mut Reader<'_>) -> Result<Cursor, Reason> {
    Ok(Cursor { log_id: LogId(r.array()?), pos: r.u64()?, roll: Roll(r.array()?) })
}

fn item(r: &mut Reader<'_>) -> Result<Item, Reason> {
    Ok(Item { pos: r.u64()?, envelope: r.bytes(ENVELOPE_BYTES_MAX)?.to_vec() })
}

fn objects(r: &mut Reader<'_>) -> Result<Vec<EnvelopeId>, Reason> {
    r.list(FRAME_IDS_MAX, EnvelopeId::BYTES, |r| r.array().map(EnvelopeId))
}

fn haves(r: &mut Reader<'_>) -> Result<Vec<Have>, Reason> {
    let streams = r.list(FRAME_STREAMS_MAX, 36, have)?;
    if streams.is_sorted_by(|a, b| a.stream < b.stream) { Ok(streams) } else { Err("streams are not ascending") }
}

fn have(r: &mut Reader<'_>) -> Result<Have, Reason> {
    let have = Have {
        stream: StreamId(r.array()?),
        floor: r.u32()?,
        tip: r.u32()?,
        tip_id: r.array()?,
        holes: r.list(STREAM_HOLES_MAX, 8, |r| Ok((r.u32()?, r.u32()?)))?,
    };
    if have.tip < have.floor {
        return Err("a tip is below its floor");
    }
    holes_fit(&have).then_some(have).ok_or("holes overlap or lie outside floor and tip")
}

/// Holes ascend with something held between them, above the floor and below the tip (which is held).
fn holes_fit(have: &Have) -> bool {
    let mut held = have.floor;
    have.holes.iter().all(|&(start, length)| {
        let Some(end) = start.checked_add(length) else { return false };
        let fits = start > held && length > 0 && end <= have.tip;
        held = end;
        fits
    })
}

fn want(r: &mut Reader<'_>) -> Result<Want, Reason> {
    let want = Want { stream: StreamId(r.array()?), from: r.u32()?, to: r.u32()? };
    if want.from == 0 || want.from > want.to { Err("a range is empty or starts at zero") } else { Ok(want) }
}

fn wakeup_target(r: &mut Reader<'_>) -> Result<WakeupTarget, Reason> {
    if r.u8()? != BY_POST {
        return Err("unknown way to wake a device");
    }
    let (url, token) = (r.text(WAKEUP_URL_BYTES_MAX)?, r.text(WAKEUP_TOKEN_BYTES_MAX)?);
    WakeupTarget::new(url, token).map_err(|_| "no address and token to wake a device with")
}

fn wakeup_status(r: &mut Reader<'_>) -> Result<WakeupStatus, Reason> {
    match r.u8()? {
        0 => Ok(WakeupStatus::None),
        1 => Ok(WakeupStatus::Kept),
        2 => Ok(WakeupStatus::Refused),
        3 => Ok(WakeupStatus::Gone),
        _ => Err("unknown status of a wake-up"),
    }
}

fn record_status(r: &mut Reader<'_>) -> Result<RecordStatus, Reason> {
    match r.u8()? {
        0 => Ok(RecordStatus::Ok),
        1 => Ok(RecordStatus::Dup),
        2 => Ok(RecordStatus::Parked),
        3 => Ok(RecordStatus::Refused),
        4 => Ok(RecordStatus::CutBehind),
        _ => Err("unknown record status"),
    }
}

fn push_result(r: &mut Reader<'_>) -> Result<PushResult, Reason> {
    Ok(PushResult { status: push_status(r)?, pos: r.option(Reader::u64)? })
}

fn push_status(r: &mut Reader<'_>) -> Result<PushStatus, Reason> {
    Ok(match r.u8()? {
        0 => PushStatus::Ok,
        1 => PushStatus::Dup,
        2 => PushStatus::Gap { expected: r.u32()? },
        3 => PushStatus::Fork { existing: EnvelopeId(r.array()?) },
        4 => PushStatus::BadFormat,
        5 => PushStatus::BadSignature,
        6 => PushStatus::NotMember,
        7 => PushStatus::NotWriter,
        8 => PushStatus::Removed,
        9 => PushStatus::UnknownEpoch,
        10 => PushStatus::CutBehind,
        11 => PushStatus::OkStaleEpoch,
        12 => PushStatus::TooLarge,
        13 => PushStatus::Quota,
        14 => PushStatus::Rate,
        _ => return Err("unknown push status"),
    })
}
