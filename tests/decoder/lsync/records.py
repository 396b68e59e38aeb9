"""Records: the clear, signed, hash-linked log of a space (section "Records")."""

from . import Refused, cbor, hpke
from .primitives import check_sign_pk, ctx, sha256, verify
from .reader import Reader

GENESIS = 0x01
BODY_BYTES_MAX = {0x07: 512 * 1024, 0x20: 1024 * 1024}


# The shape of a value: a function that refuses what does not fit.
def _uint(bits):
    def check(value):
        if not isinstance(value, int) or value >= 1 << bits:
            raise Refused("not a number of this size")

    return check


def _bytes(size, most=None):
    def check(value):
        if not isinstance(value, bytes) or size not in (None, len(value)) or most is not None and len(value) > most:
            raise Refused("not bytes of this length")

    return check


def _choice(*allowed):
    def check(value):
        if value not in allowed or not isinstance(value, int):
            raise Refused("not one of the values that have a meaning")

    return check


def _text(value):
    if not isinstance(value, str) or len(value.encode()) > 255:
        raise Refused("not a text of at most 255 bytes")


def _list(item, least=0, most=None):
    def check(value):
        if not isinstance(value, list) or len(value) < least or (most is not None and len(value) > most):
            raise Refused("not a list of this length")
        for element in value:
            item(element)

    return check


def _structure(*fields):
    def check(value):
        if not isinstance(value, list) or len(value) != len(fields):
            raise Refused("not this structure")
        for field, element in zip(fields, value):
            field(element)

    return check


def _or_null(shape):
    return lambda value: None if value is None else shape(value)


def _sign_pk(value):
    _bytes(32)(value)
    check_sign_pk(value)


def _hpke_pk(value):
    _bytes(32)(value)
    hpke.check_pk(value)


ROLE, REASON = _choice(0, 1, 2, 3), _choice(0, 1, 2, 3)
DEVICE = _structure(_sign_pk, _hpke_pk, _choice(0, 1, 2), _bytes(64))
SEAL = _structure(_bytes(16), _bytes(32), _bytes(48))
WRAP = _structure(_bytes(16), _bytes(48))
CUT = _structure(_bytes(16), _uint(32), _bytes(32))
FLOOR = _structure(_bytes(16), _uint(32), _bytes(32), _bytes(32), _bytes(32))
GRANT = _structure(_bytes(16), SEAL)
RELAYS = _list(_text, most=16)
META, BYTES = _bytes(None, most=512), _bytes(None)
ID16, ID32 = _bytes(16), _bytes(32)

BODIES = {
    0x01: ("Genesis", [ID32, ID16, DEVICE, DEVICE, RELAYS]),
    0x02: ("MemberAdd", [ID16, ROLE, META, _list(DEVICE, 1, 32)]),
    0x03: ("DeviceAdd", [ID16, DEVICE, META, _list(GRANT)]),
    0x04: ("DeviceRemove", [ID32, REASON, _list(CUT)]),
    0x05: ("MemberRemove", [ID16, REASON, _list(CUT)]),
    0x06: ("RoleSet", [ID16, ROLE, _list(CUT)]),
    0x07: ("Epoch", [_uint(32), _list(ID16), ID32, _list(WRAP), _list(SEAL)]),
    0x08: ("KeyGrant", [ID16, _list(SEAL)]),
    0x09: ("HpkeRefresh", [_hpke_pk]),
    0x0A: ("Invite", [_sign_pk, ROLE, _uint(64), _uint(32), _or_null(GRANT)]),
    0x0B: ("InviteRevoke", [ID32]),
    0x0C: ("Join", [ID32, ID16, _list(DEVICE, 1, 32), _bytes(64), META]),
    0x0D: ("Policy", [_uint(32), _uint(32), _uint(32), RELAYS]),
    0x20: ("Checkpoint", [_list(ID32), _list(FLOOR), _list(ID32), _list(ID32), BYTES]),
    0x21: ("Endorse", [ID32]),
    0x22: ("Object", [ID32, _uint(8), ID16, _uint(32)]),
    0x23: ("ForkProof", [BYTES, BYTES]),
    0x2F: ("Close", [_or_null(ID32)]),
}


def enrolment_message(genesis_random, member, device):
    sign_key, hpke_key, kind, _ = device
    return ctx("enrol") + genesis_random + member + bytes([kind]) + sign_key + hpke_key


def own_device_claim(space, genesis_random, home, data):
    """The keys and the member that the device with the key `home` at home claims in another space."""
    if len(data) != 272:
        raise Refused("a claim of another length")
    sign_key, hpke_key, member, proof = data[:32], data[32:64], data[64:80], data[80:144]
    hpke.check_pk(hpke_key)
    verify(sign_key, enrolment_message(genesis_random, member, [sign_key, hpke_key, 0, proof]), proof)
    verify(home, ctx("own-device") + space + sign_key + hpke_key + member, data[144:208])
    verify(sign_key, ctx("own-device-home") + space + home, data[208:])
    return sign_key, hpke_key, member


class Record:
    """A record that has been parsed and whose signature verified. `fields` is None for an unknown type."""

    def __init__(self, data):
        reader = Reader(data)
        version, self.kind, suite, count = reader.take(4)
        if (version, suite) != (1, 1):
            raise Refused("unknown version or suite")
        self.space_field, self.author = reader.take(32), reader.take(32)
        self.depth = reader.number(8)
        if count > 16:
            raise Refused("too many parents")
        self.parents = [reader.take(32) for _ in range(count)]
        length = reader.number(4)
        if length > BODY_BYTES_MAX.get(self.kind, 64 * 1024):
            raise Refused("body too long")
        body = reader.take(length)
        unsigned = data[: reader.at]
        signature = reader.take(64)
        reader.end()
        self._check_position()
        self.fields = _fields(self.kind, body)
        self.id = sha256(ctx("rec-id"), unsigned)
        verify(self.author, ctx("rec-sig") + self.id, signature)
        self.space = self.id if self.kind == GENESIS else self.space_field
        if self.kind == GENESIS:
            self._check_founder()

    def _check_position(self):
        first = self.kind == GENESIS
        if any(b <= a for a, b in zip(self.parents, self.parents[1:])):
            raise Refused("parents are not strictly ascending")
        if first != (not self.parents) or first != (self.depth == 0) or first != (self.space_field == bytes(32)):
            raise Refused("a Genesis, and it alone, has no parents, no space and depth 0")

    def _check_founder(self):
        random, member, device, recovery, _ = self.fields
        if device[2] != 0 or recovery[2] != 1 or self.author != device[0]:
            raise Refused("a Genesis is signed by its normal device and names a recovery device")
        for entry in (device, recovery):
            verify(entry[0], enrolment_message(random, member, entry), entry[3])


def _fields(kind, body):
    if kind not in BODIES:
        return None
    value = cbor.decode(body)
    if not isinstance(value, dict):
        raise Refused("a body is a map")
    _, shapes = BODIES[kind]
    if list(value) != list(range(1, len(shapes) + 1)):
        raise Refused("a body has exactly the keys of its type")
    for shape, field in zip(shapes, value.values()):
        shape(field)
    return list(value.values())
