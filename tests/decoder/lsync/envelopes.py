"""Envelopes: sealed content (section "Envelopes"), and what a Delta says."""

import zlib

from . import Refused, cbor
from .primitives import ctx, hkdf_expand, hkdf_extract, sha256, unseal, verify
from .reader import Reader

HEADER_BYTES, TAG_BYTES, PADME = 92, 16, 1
DELTA, CHUNK, BLOB_PART, EPHEMERAL, RECEIPT = 0x01, 0x02, 0x03, 0x40, 0x41
MIB = 1024 * 1024
KEY_CONTEXT = {DELTA: "env", CHUNK: "chunk", BLOB_PART: "blob", EPHEMERAL: "eph", RECEIPT: "receipt"}
CT_BYTES_MAX = {DELTA: MIB, CHUNK: 4 * MIB, BLOB_PART: MIB, EPHEMERAL: MIB, RECEIPT: MIB}


def stream_id(space, device, r32):
    return sha256(ctx("stream"), space, device, r32)[:16]


class Envelope:
    """An envelope whose layout is right. Nothing is verified yet."""

    def __init__(self, data):
        reader = Reader(data)
        version, self.kind, suite, self.flags = reader.take(4)
        if (version, suite) != (1, 1) or self.kind not in CT_BYTES_MAX or self.flags & ~PADME:
            raise Refused("unknown version, suite, kind or flag")
        self.stream, self.seq, self.prev = reader.take(16), reader.number(4), reader.take(32)
        self.epoch, self.salt, length = reader.take(16), reader.take(16), reader.number(4)
        if not TAG_BYTES <= length <= CT_BYTES_MAX[self.kind]:
            raise Refused("ct_len")
        self.ciphertext = reader.take(length)
        self.header, self.unsigned = data[:HEADER_BYTES], data[: reader.at]
        self.signature = reader.take(64)
        reader.end()
        self._check_position()

    def _check_position(self):
        if self.kind not in (DELTA, CHUNK, BLOB_PART) and self.prev != bytes(32):
            raise Refused("nothing stands in prev")
        if self.kind in (CHUNK, BLOB_PART) and self.seq != 0:
            raise Refused("an object outside streams has no seq")
        if self.kind == DELTA and self.seq == 0:
            raise Refused("a stream starts at 1")

    def id(self, space):
        return sha256(ctx("env-id"), space, self.unsigned)

    def verify(self, space, device):
        verify(device, ctx("env-sig") + space + self.id(space), self.signature)

    def aad(self, space):
        return ctx("env-aad") + space + self.header

    def open(self, space, secret):
        """The body."""
        if self.flags != PADME:
            raise Refused("not padded")
        plaintext = unseal(self.key(secret), self.aad(space), self.ciphertext)
        return unpack(plaintext, self.body_bytes_max())

    def key(self, secret):
        prk = hkdf_extract(ctx("epoch"), secret)
        info = ctx(KEY_CONTEXT[self.kind]) + self.stream + self.seq.to_bytes(4, "big") + self.salt
        return hkdf_expand(prk, info, 32)

    def body_bytes_max(self):
        return (32 if self.kind == CHUNK else 8) * MIB


def padded_len(length):
    """PADMÉ with a floor of 256 bytes."""
    if length <= 256:
        return 256
    exponent = length.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (length + mask) & ~mask


def unpack(plaintext, raw_max):
    reader = Reader(plaintext)
    inner = Reader(reader.take(reader.number(4)))
    padding = plaintext[reader.at :]
    if len(plaintext) != padded_len(reader.at) or any(padding):
        raise Refused("padding")
    form, compression = inner.number(1), inner.number(1)
    raw_len = inner.number(4)
    payload = inner.data[inner.at :]
    if form != 1 or raw_len > raw_max or compression > 1:
        raise Refused("format, compression or length")
    if compression == 0:
        body = payload
    else:
        body = _inflate(payload, raw_len)
    if len(body) != raw_len:
        raise Refused("the body is not as long as it says")
    return body


def _inflate(payload, raw_len):
    if raw_len > 256 * len(payload):
        raise Refused("inflates beyond the ratio")
    inflater = zlib.decompressobj(wbits=-15)
    try:
        body = inflater.decompress(payload, raw_len + 1)
    except zlib.error as error:
        raise Refused("not DEFLATE") from error
    if not inflater.eof or inflater.unused_data or inflater.unconsumed_tail:
        raise Refused("not exactly one DEFLATE stream of this length")
    return body


def delta(body):
    """(frontier, [(document, changes, genesis)], other keys) of a Delta."""
    value = cbor.decode(body)
    if not isinstance(value, dict):
        raise Refused("a Delta is a map")
    frontier = value.pop(1, [])
    documents = value.pop(2, [])
    _ascending([stream for stream, _ in frontier], 16)
    _ascending([entry[1] for entry in documents], 16)
    return frontier, [(entry[1], entry.get(2, []), entry.get(4)) for entry in documents], value


def erased(entries):
    """[(document, heads, successor or None)] of key 5 of a Delta."""
    found = [(entry[1], entry[2], entry.get(3)) for entry in entries]
    _ascending([document for document, _, _ in found], 16)
    for _, heads, _ in found:
        _ascending(heads, 32)
    if len(found) > 64 or any(len(heads) > 64 for _, heads, _ in found):
        raise Refused("more erased than one delta may")
    return found


def advice(app):
    """([(relay key, LOG_STATEMENT frame)], [record id]) of the app field of a Delta."""
    value = cbor.decode(app)
    if not isinstance(value, dict):
        raise Refused("advice is a map")
    statements, records = value.get(1, []), value.get(2, [])
    if len(statements) > 4 or len(records) > 4 or any(len(record) != 32 for record in records):
        raise Refused("advice beyond its limits")
    return [tuple(one) for one in statements], records


def receipt(body):
    """(r32, time in ms, [(stream, seq)], advice, number set aside) of a Receipt."""
    value = cbor.decode(body)
    if not isinstance(value, dict) or not {1, 2, 3} <= value.keys():
        raise Refused("a Receipt is a map with who, when and what")
    r32, said_ms, held = value[1], value[2], [tuple(one) for one in value[3]]
    app, aside = value.get(4, b""), value.get(5, 0)
    if not isinstance(r32, bytes) or len(r32) != 32 or not isinstance(app, bytes) or len(app) > 1024:
        raise Refused("a field of another size")
    if len(held) > 600 or any(len(one) != 2 for one in held):
        raise Refused("streams beyond the limit")
    _ascending([stream for stream, _ in held], 16)
    if any(not isinstance(n, int) for n in [said_ms, aside, *(seq for _, seq in held)]):
        raise Refused("not a number")
    return r32, said_ms, held, app, aside


def presence(body):
    """(r32, session, [(session, count)], state, document, selection) of a Presence; a point is None or (actor, counter)."""
    value = cbor.decode(body)
    if not isinstance(value, dict) or not {1, 2, 3, 4} <= value.keys():
        raise Refused("a Presence is a map with who, what was heard and what is shown")
    r32, session, heard, state = value[1], value[2], [tuple(one) for one in value[3]], value[4]
    if any(not isinstance(one, bytes) for one in (r32, session)) or (len(r32), len(session)) != (32, 16):
        raise Refused("a field of another size")
    if len(heard) > 64 or any(len(one) != 2 or not isinstance(one[1], int) for one in heard):
        raise Refused("sessions beyond the limit")
    _ascending([one for one, _ in heard], 16)
    doc = value.get(5)
    if state not in (0, 1, 2) or (state == 2 and doc is not None) or (doc is not None and len(doc) != 16):
        raise Refused("a state or place that cannot be")
    if 6 not in value:
        return r32, session, heard, state, doc, None
    if doc is None or len(value[6]) != 2:
        raise Refused("a selection in no document, or of more than two points")
    return r32, session, heard, state, doc, [_point(one) for one in value[6]]


def _point(value):
    if value == []:
        return None
    actor, counter = value
    if len(actor) != 16 or not 0 <= counter < 2**32:
        raise Refused("no operation of a document")
    return actor, counter


def pack(body):
    """(projection stamp, [(document, genesis, heads, bytes, rows)]) of a Chunk."""
    value = cbor.decode(body)
    if not isinstance(value, dict) or not {1, 2, 3} <= value.keys() or value[1] != 1:
        raise Refused("a pack is a map with version, stamp and documents")
    stamp, docs = value[2], value[3]
    if not isinstance(stamp, bytes) or len(stamp) > 64 or not isinstance(docs, list) or len(docs) > 4096:
        raise Refused("a field of another size")
    found = []
    for doc in docs:
        if not isinstance(doc, dict) or not {1, 2, 3, 4} <= doc.keys():
            raise Refused("a document is a map")
        heads = [doc[3][at : at + 32] for at in range(0, len(doc[3]), 32)]
        _ascending([doc[1]], 16)
        _ascending(heads, 32)
        if not heads or not isinstance(doc[2], int) or not isinstance(doc[4], bytes):
            raise Refused("a field of another type")
        found.append((doc[1], doc[2], heads, doc[4], doc.get(5, b"")))
    if len({doc[0] for doc in found}) != len(found):
        raise Refused("a document twice")
    return stamp, found


def pieces(body):
    """[(document, genesis, heads, number, of, bytes)] of a Chunk: parts of a document that is too large for one."""
    pack(body)
    found = cbor.decode(body).get(4, [])
    if not isinstance(found, list) or len(found) > 1 or (not found and 4 in cbor.decode(body)):
        raise Refused("one piece at most")
    for piece in found:
        if not isinstance(piece, dict) or not {1, 2, 3, 4, 5, 6} <= piece.keys():
            raise Refused("a piece is a map")
        heads = [piece[3][at : at + 32] for at in range(0, len(piece[3]), 32)]
        _ascending([piece[1]], 16)
        _ascending(heads, 32)
        if not heads or not 1 <= piece[4] <= piece[5] <= 32 or not 0 < len(piece[6]) <= 2 * MIB:
            raise Refused("a piece that cannot be")
    return [(p[1], p[2], [p[3][at : at + 32] for at in range(0, len(p[3]), 32)], p[4], p[5], p[6]) for p in found]


def rows(data):
    """[(table, key, values)]; null is None."""
    found = []
    for table, of_table in cbor.decode(data):
        for key, values in of_table:
            found.append((table, key, [_cell(value) for value in values]))
    if any(b[:2] <= a[:2] for a, b in zip(found, found[1:])):
        raise Refused("rows not ascending")
    return found


def _cell(value):
    if isinstance(value, int):
        return (value >> 1) ^ -(value & 1)
    return None if value == [] else value


def manifest(body):
    """(documents, [(essential, documents, bytes, prefixes)], [(stream, seq)])."""
    value = cbor.decode(body)
    if not isinstance(value, dict) or not {1, 2, 3} <= value.keys() or value[1] != 1:
        raise Refused("a manifest is a map with version, documents and chunks")
    chunks = [(chunk[1] == 1, chunk[2], chunk[3], chunk.get(4, b"")) for chunk in value[3]]
    through = [tuple(one) for one in value.get(4, [])]
    if any(len(one) != 2 for one in through) or any(len(chunk[3]) % 4 for chunk in chunks):
        raise Refused("a field of another size")
    return value[2], chunks, through


def manifest_erased(body):
    """Documents that a manifest says are erased."""
    ids = cbor.decode(body).get(5, b"")
    found = [ids[at : at + 16] for at in range(0, len(ids), 16)]
    _ascending(found, 16)
    return found


def open_manifest(space, secret, sealed):
    epoch, salt, ct = sealed[:16], sealed[16:32], sealed[32:]
    key = hkdf_expand(hkdf_extract(ctx("epoch"), secret), ctx("manifest") + salt, 32)
    return unpack(unseal(key, ctx("manifest") + space + epoch + salt, ct), 4 * MIB), epoch


def _ascending(ids, size):
    if any(not isinstance(one, bytes) or len(one) != size for one in ids):
        raise Refused("not an id")
    if any(b <= a for a, b in zip(ids, ids[1:])):
        raise Refused("not ascending, each once")


def state_code(space, heads, streams):
    """Six digits; a stream is id 16, seq 4, id of its last envelope 32."""
    held = sorted(stream for stream in streams if int.from_bytes(stream[16:20], "big") > 0)
    digest = sha256(ctx("state-code"), space, *sorted(heads), *held)
    return f"{int.from_bytes(digest[:8], 'big') % 10**6:06}"
