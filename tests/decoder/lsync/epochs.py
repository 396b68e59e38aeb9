"""Keys: a device's, the paper key's, and an epoch's secret with its seals and wraps (sections "Hashes and keys", "Membership")."""

from . import Refused, hpke
from .primitives import ctx, hkdf, hkdf_expand, hkdf_extract, sha256, unseal


def device_seeds(root, genesis_random):
    """(signing seed, HPKE key material)"""
    return tuple(hkdf(ctx("device"), root, genesis_random + purpose) for purpose in (b"sign", b"hpke"))


def database_key(root):
    """Of the local database, where that is encrypted."""
    return hkdf(ctx("device"), root, b"database")


def paper_seeds(entropy, genesis_random=None):
    """Of the home space, or of the space with this Genesis."""
    if genesis_random is None:
        purposes = (b"recover/sign/home", b"recover/hpke/home")
    else:
        purposes = (b"recover/sign" + genesis_random, b"recover/hpke" + genesis_random)
    return tuple(hkdf(ctx("recover"), entropy, purpose) for purpose in purposes)


def singleton_document(space, kind, key):
    return sha256(ctx("doc"), space, kind, b"\x00", key)[:16]


def commitment(secret):
    return hkdf_expand(_prk(secret), ctx("commit"), 32)


def _prk(secret):
    return hkdf_extract(ctx("epoch"), secret)


def epoch_ref(record):
    return record.id[:16]


def open_seal(epoch, holder, seal, sign_pk, hpke_secret):
    """The secret of the Epoch record `epoch`, from a seal that stands in the record `holder`."""
    generation, parents, commit, _, _ = epoch.fields
    reference, enc, ct = seal
    if reference != sign_pk[:16]:
        raise Refused("sealed to another device")
    aad = epoch.space + holder.author + generation.to_bytes(4, "big") + len(parents).to_bytes(4, "big")
    aad += b"".join(parents) + commit + sign_pk
    secret = hpke.Context(enc, hpke_secret, ctx("epoch-seal")).open(aad, ct)
    return _committed(secret, commit)


def open_wrap(space, wrap, secret, parent_commit):
    """The secret of a parent epoch, from the child's."""
    parent, ct = wrap
    key = hkdf_expand(_prk(secret), ctx("wrap") + parent, 32)
    return _committed(unseal(key, ctx("wrap") + space + parent, ct), parent_commit)


def _committed(secret, commit):
    if commitment(secret) != commit:
        raise Refused("not the secret that the epoch committed to")
    return secret


def sealed_name(space, whom, enc_meta, secret):
    """The name a DeviceAdd or MemberAdd carries, and the epoch it is sealed under."""
    epoch, salt, ct = enc_meta[:16], enc_meta[16:32], enc_meta[32:]
    key = hkdf_expand(_prk(secret), ctx("meta") + salt, 32)
    plaintext = unseal(key, ctx("meta") + space + whom + epoch + salt, ct)
    length = plaintext[0]
    if len(plaintext) != 128 or any(plaintext[1 + length :]):
        raise Refused("a name is padded to 128 bytes")
    return plaintext[1 : 1 + length].decode("utf-8"), epoch
