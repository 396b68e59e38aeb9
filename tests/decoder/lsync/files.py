"""Files: a locked device.key, a backup (section "Files at rest") and a bundle (section "The bundle file")."""

import unicodedata

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from . import Refused, cbor, frames, hpke
from .primitives import ctx, hkdf, sha256, unseal
from .reader import Reader

CHUNK_BYTES, TAG_BYTES = 65_536, 16
COST_MAX = (1024 * 1024, 32, 16)


def passphrase_key(passphrase, cost, salt, purpose):
    memory, passes, lanes = cost
    if any(number == 0 or number > most for number, most in zip(cost, COST_MAX)) or memory < 8 * lanes:
        raise Refused("a cost outside the limits")
    password = unicodedata.normalize("NFKC", passphrase).encode()
    kdf = Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory)
    return hkdf(ctx("passphrase"), kdf.derive(password), ctx(purpose))


def _cost(reader):
    return tuple(reader.number(4) for _ in range(3)), reader.take(16)


def device_key_version(data):
    """Which form of device.key this is."""
    reader = Reader(data)
    if reader.take(8) != b"LSDEVKEY":
        raise Refused("no device.key")
    version = reader.number(1)
    if version not in (1, 2, 3):
        raise Refused("an unknown version")
    if len(data) < 13 or sha256(ctx("device-key"), data[9:-4])[:4] != data[-4:]:
        raise Refused("a damaged file")
    return version


def open_device_key(data, passphrase=None):
    """The root seed of a device.key that holds it; the name of the keystore's entry of one that does not."""
    version = device_key_version(data)
    reader = Reader(data)
    reader.take(9)
    if version == 2:
        cost, salt = _cost(reader)
        bound = data[: reader.at]
        wrapped = reader.take(48)
        reader.take(4)
        reader.end()
        if passphrase is None:
            raise Refused("locked")
        return unseal(passphrase_key(passphrase, cost, salt, "device-key"), bound, wrapped)
    body = reader.take(32 if version == 1 else 16)
    reader.take(4)
    reader.end()
    return body


def open_backup(data, hpke_secret=None, passphrase=None):
    """(what the content says of itself, the database)"""
    reader = Reader(data)
    if reader.take(8) != b"LSBACKUP" or reader.number(1) != 1:
        raise Refused("no backup")
    count = reader.number(1)
    if not 1 <= count <= 8:
        raise Refused("no lock, or too many")
    keys = [_try_lock(reader, hpke_secret, passphrase) for _ in range(count)]
    key = next((key for key in keys if key is not None), None)
    if key is None:
        raise Refused("no lock opens")
    header = data[: reader.at]
    chunk_key = hkdf(ctx("backup"), key, ctx("backup-chunks") + sha256(ctx("backup-header"), header))
    content = _chunks(chunk_key, data[reader.at :])
    length = int.from_bytes(content[:4], "big")
    return cbor.decode(content[4 : 4 + length]), content[4 + length :]


def _try_lock(reader, hpke_secret, passphrase):
    start, kind = reader.at, reader.number(1)
    bound = reader.data[:9]
    if kind == 0:
        enc, ct = reader.take(32), reader.take(48)
        return hpke_secret and _or_none(lambda: hpke.Context(enc, hpke_secret, ctx("backup-key")).open(bound, ct))
    if kind != 1:
        raise Refused("an unknown lock")
    cost, salt = _cost(reader)
    aad = bound + reader.data[start : reader.at]
    ct = reader.take(48)
    return passphrase and _or_none(lambda: unseal(passphrase_key(passphrase, cost, salt, "backup-key"), aad, ct))


def _or_none(attempt):
    try:
        return attempt()
    except Refused:
        return None


def _chunks(key, data):
    out, size = [], CHUNK_BYTES + TAG_BYTES
    count = max(1, -(-len(data) // size))
    for at in range(count):
        nonce = at.to_bytes(11, "big") + bytes([at == count - 1])
        out.append(unseal(key, b"", data[at * size : (at + 1) * size], nonce))
    return b"".join(out)


def open_bundle(data):
    """(space, streams, records, envelopes)"""
    reader = Reader(data)
    if reader.take(8) != b"LSBUNDLE" or reader.number(1) != 1:
        raise Refused("no bundle")
    space, found = reader.take(32), []
    while length := reader.number(4):
        name, req_id, values = frames.decode(reader.take(length))
        if req_id != 0 or values[0] != 0:
            raise Refused("a frame of a connection")
        found.append((name, values[1:]))
    covered = data[: reader.at]
    if reader.take(32) != sha256(ctx("bundle"), covered):
        raise Refused("another hash")
    reader.end()
    return (space, *_bundle_parts(found))


def _bundle_parts(found):
    records = [values for name, values in found if name == "REC"]
    items = [values for name, values in found if name == "ITEMS"]
    if [name for name, _ in found] != ["HAVE"] + ["REC"] * len(records) + ["ITEMS"] * len(items):
        raise Refused("frames out of order")
    if not records or not items:
        raise Refused("a kind of frame is missing")
    if any(next_pos or any(roll) for next_pos, roll, *_ in items):
        raise Refused("a place in a log")
    for more in ([more for more, _ in records], [more for *_, more, _ in items]):
        if more != [True] * (len(more) - 1) + [False]:
            raise Refused("more is said of all but the last")
    page = [item for *_, items_ in items for item in items_]
    if any(pos for pos, _ in page):
        raise Refused("a position in a log")
    return found[0][1][0], [record for _, some in records for record in some], [envelope for _, envelope in page]
