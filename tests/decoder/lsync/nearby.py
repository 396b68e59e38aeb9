"""What a device that listens announces in its local network (section "Being found")."""

from . import Refused
from .primitives import ctx, hkdf_expand, hkdf_extract, unseal

SALT, MARK = 12, 8


def _derive(secret, purpose, space, day, salt):
    info = ctx(purpose) + space + day.to_bytes(4, "big") + salt
    return hkdf_expand(hkdf_extract(ctx("epoch"), secret), info, 32)


def recognise(secret, space, today, name, said):
    """Port and relay key, for a name of today, yesterday or tomorrow."""
    if len(name) != 2 * (SALT + MARK) or name != name.lower():
        raise Refused("no name")
    named = bytes.fromhex(name)
    salt, mark = named[:SALT], named[SALT:]
    for day in (today, today - 1, today + 1):
        if _derive(secret, "nearby-name", space, day, salt)[:MARK] == mark:
            opened = unseal(_derive(secret, "nearby-said", space, day, salt), name.encode("ascii"), said)
            return int.from_bytes(opened[:2], "big"), opened[2:]
    raise Refused("nobody of this space")
