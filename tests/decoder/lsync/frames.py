"""Frames: one message of a connection each (section "Frames"). A frame is read by its row of the table and written again."""

import re

from . import Refused
from .primitives import ctx, sha256
from .reader import Reader

IDS_MAX, STREAMS_MAX, HOLES_MAX, RECORDS_MAX, ENVELOPES_MAX, PAGE_MAX = 4096, 65536, 1024, 256, 64, 1024


# A field is a pair of functions: read(reader) -> value, write(value) -> bytes.
def _number(size):
    return (lambda reader: reader.number(size), lambda value: value.to_bytes(size, "big"))


def _fixed(size):
    return (lambda reader: bytes(reader.take(size)), lambda value: value)


def _list(item, most):
    read_item, write_item = item

    def read(reader):
        count = reader.number(4)
        if count > most or count > len(reader.data) - reader.at:
            raise Refused("too many items")
        return [read_item(reader) for _ in range(count)]

    def write(items):
        return len(items).to_bytes(4, "big") + b"".join(write_item(one) for one in items)

    return read, write


def _option(field):
    read_field, write_field = field
    return (
        lambda reader: read_field(reader) if reader.flag() else None,
        lambda value: b"\x00" if value is None else b"\x01" + write_field(value),
    )


def _group(*fields):
    def read(reader):
        return [field[0](reader) for field in fields]

    def write(values):
        return b"".join(field[1](value) for field, value in zip(fields, values))

    return read, write


def _checked(field, check):
    def read(reader):
        value = field[0](reader)
        check(value)
        return value

    return read, field[1]


U8, U16, U32, U64 = _number(1), _number(2), _number(4), _number(8)
ID16, ID32, SIGNATURE = _fixed(16), _fixed(32), _fixed(64)
FLAG = (lambda reader: reader.flag(), lambda value: bytes([value]))
BYTES = (
    lambda reader: bytes(reader.take(reader.number(4))),
    lambda value: len(value).to_bytes(4, "big") + value,
)


def _text(most):
    def read(reader):
        data = BYTES[0](reader)
        if len(data) > most:
            raise Refused("text too long")
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused("text that is not UTF-8") from error

    return read, lambda value: BYTES[1](value.encode("utf-8"))


def _one_of(field, *allowed):
    def check(value):
        if value not in allowed:
            raise Refused("a value without a meaning")

    return _checked(field, check)


def _check_streams(streams):
    ids = [stream for stream, *_ in streams]
    if any(b <= a for a, b in zip(ids, ids[1:])):
        raise Refused("streams ascend, each once")
    for _, floor, tip, _, holes in streams:
        if tip < floor:
            raise Refused("a tip below its floor")
        _check_holes(floor, tip, holes)


def _check_holes(floor, tip, holes):
    next_free = floor + 1
    for start, length in holes:
        end = start + length
        if length == 0 or start < next_free or end > tip:
            raise Refused("a hole is not empty and lies between what is held")
        next_free = end + 1


def _check_range(value):
    _, first, last = value
    if not 1 <= first <= last:
        raise Refused("an empty range")


SESSION = U32
CURSOR = _group(ID16, U64, ID16)
ITEM = _group(U64, BYTES)
IDS = _list(ID32, IDS_MAX)
ENVELOPES = _list(BYTES, ENVELOPES_MAX)
ITEMS = _list(ITEM, ENVELOPES_MAX)
PAGE = _list(ITEM, PAGE_MAX)
RESULT_DETAIL = {2: U32, 3: ID32}


def _read_result(reader):
    status = reader.number(1)
    if status > 14:
        raise Refused("an unknown status")
    detail = RESULT_DETAIL.get(status)
    return [status, detail[0](reader) if detail else None, _option(U64)[0](reader)]


def _write_result(result):
    status, detail, pos = result
    field = RESULT_DETAIL.get(status)
    return bytes([status]) + (field[1](detail) if field else b"") + _option(U64)[1](pos)


HOLES = _list(_group(U32, U32), HOLES_MAX)
HAVE = _checked(_list(_group(ID16, U32, U32, _fixed(8), HOLES), STREAMS_MAX), _check_streams)
RANGE = _checked(_group(ID16, U32, U32), _check_range)



def _check_wakeup(value):
    _, url, token = value
    if re.fullmatch(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?([/?][!-~]*)?", url) is None or set(url) & {"#", "\\"}:
        raise Refused("an address that is none")
    if re.fullmatch(r"[A-Za-z0-9]{16,64}", token) is None:
        raise Refused("a token that is none")


WAKEUP = _checked(_group(_one_of(U8, 1), _text(512), _text(64)), _check_wakeup)

FRAMES = {
    0x01: ("HELLO", [U16, U16, _one_of(U8, 0, 1, 2), ID32, U64]),
    0x02: ("CHALLENGE", [ID32, ID32, _text(255), U64, U32, U16, U16]),
    0x03: ("AUTH", [ID32, ID32, SIGNATURE]),
    0x04: ("WELCOME", [U32, FLAG, SIGNATURE]),
    0x05: ("LIST", [ID32, SIGNATURE]),
    0x06: ("SPACES", [IDS]),
    0x10: ("OPEN", [SESSION, IDS, _option(CURSOR)]),
    0x11: ("STATE", [SESSION, IDS, _option(CURSOR), FLAG, ID32, U64, U64, IDS]),
    0x12: ("REC_WANT", [SESSION, IDS, IDS]),
    0x13: ("REC", [SESSION, FLAG, _list(BYTES, RECORDS_MAX)]),
    0x14: ("REC_ACK", [SESSION, _list(_one_of(U8, 0, 1, 2, 3, 4), RECORDS_MAX)]),
    0x20: ("PUSH", [SESSION, ENVELOPES]),
    0x21: ("PUSH_ACK", [SESSION, _list((_read_result, _write_result), ENVELOPES_MAX)]),
    0x22: ("PULL", [SESSION, U64, U32, U32]),
    0x23: ("ITEMS", [SESSION, U64, ID16, FLAG, PAGE]),
    0x24: ("NOTIFY", [SESSION, ID16, FLAG, ITEMS]),
    0x30: ("HAVE", [SESSION, HAVE]),
    0x31: ("WANT", [SESSION, _list(RANGE, STREAMS_MAX), IDS]),
    0x32: ("OFFER", [SESSION, IDS]),
    0x33: ("LACK", [SESSION, IDS]),
    0x34: ("WANT_REST", [SESSION, ID32, U32]),
    0x35: ("PART", [SESSION, U32, U32, FLAG, BYTES]),
    0x40: ("EPHEMERAL", [SESSION, BYTES]),
    0x41: ("WAKEUP", [SESSION, _option(WAKEUP)]),
    0x42: ("WAKEUP_ACK", [SESSION, _one_of(U8, 0, 1, 2, 3)]),
    0x50: ("RDV_CREATE", [ID16, U32]),
    0x51: ("RDV_PUT", [ID16, BYTES]),
    0x52: ("RDV_GET", [ID16, U32]),
    0x53: ("RDV_DROP", [ID16]),
    0x54: ("RDV_ITEM", [ID16, U32, _option(BYTES)]),
    0x60: ("LOG_STATEMENT", [ID32, CURSOR, IDS, U64, SIGNATURE]),
    0x61: ("LOG_STATEMENT_WANT", [SESSION]),
    0x7D: ("PONG", [U64]),
    0x7E: ("PING", [U64]),
    0x7F: ("ERROR", [U16, FLAG, U32, _text(1024)]),
}


def decode(data):
    """(name, req_id, fields)"""
    reader = Reader(data)
    kind, flags, req_id = reader.number(1), reader.number(1), reader.number(4)
    if kind not in FRAMES or flags != 0:
        raise Refused("an unknown frame or flag")
    name, fields = FRAMES[kind]
    values = [read(reader) for read, _ in fields]
    reader.end()
    return name, req_id, values


def encode(name, req_id, values):
    kind, fields = next((kind, fields) for kind, (known, fields) in FRAMES.items() if known == name)
    body = b"".join(write(value) for (_, write), value in zip(fields, values))
    return bytes([kind, 0]) + req_id.to_bytes(4, "big") + body


def transcript(hello, challenge, space, device):
    framed = b"".join(len(frame).to_bytes(4, "big") + frame for frame in (hello, challenge))
    return sha256(ctx("hs"), framed, space, device)


def roll_next(roll, pos, envelope):
    return sha256(ctx("log"), roll, pos.to_bytes(8, "big"), envelope)[:16]


def have_digest(streams):
    parts = [s + f.to_bytes(4, "big") + t.to_bytes(4, "big") + tip_id for s, f, t, tip_id, _ in streams]
    return sha256(ctx("have"), *parts)


def statement_message(statement):
    """What the relay signs of a LOG_STATEMENT, whose last field is the signature."""
    space, cursor, heads, time_ms, _ = statement
    return ctx("log-statement") + space + CURSOR[1](cursor) + IDS[1](heads) + U64[1](time_ms)
