"""HPKE (RFC 9180) for one suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305; base and PSK mode."""

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import Refused
from .primitives import P, hkdf_expand, hkdf_extract, seal, unseal

KEM = b"KEM" + (0x0020).to_bytes(2, "big")
SUITE = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x0020, 0x0001, 0x0003))


def _labeled_extract(suite, salt, label, ikm):
    return hkdf_extract(salt or bytes(32), b"HPKE-v1" + suite + label + ikm)


def _labeled_expand(suite, prk, label, info, length):
    return hkdf_expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)


def derive_key_pair(ikm):
    """(secret, public) of RFC 9180 section 7.1.3."""
    secret = _labeled_expand(KEM, _labeled_extract(KEM, b"", b"dkp_prk", ikm), b"sk", b"", 32)
    return secret, public(secret)


def public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def check_pk(key):
    """Refuses an unreduced u, and one of low order: a Diffie-Hellman with it gives zero whatever the secret."""
    if len(key) != 32 or int.from_bytes(key, "little") >= P:
        raise Refused("u is not reduced")
    _dh(bytes([8] * 32), key)


def exchange(secret, key):
    """Plain X25519, with the same refusal of weak keys."""
    check_pk(key)
    return _dh(secret, key)


def _dh(secret, key):
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(key))
    except ValueError as error:
        raise Refused("an X25519 key of low order") from error


class Context:
    """A receiver's context: opens in sequence, exports secrets."""

    def __init__(self, enc, secret, info, psk=b"", psk_id=b""):
        shared = _decap(enc, secret)
        mode = b"\x01" if psk else b"\x00"
        psk_id_hash = _labeled_extract(SUITE, b"", b"psk_id_hash", psk_id)
        info_hash = _labeled_extract(SUITE, b"", b"info_hash", info)
        schedule = mode + psk_id_hash + info_hash
        prk = _labeled_extract(SUITE, shared, b"secret", psk)
        self.key = _labeled_expand(SUITE, prk, b"key", schedule, 32)
        self.nonce = int.from_bytes(_labeled_expand(SUITE, prk, b"base_nonce", schedule, 12), "big")
        self.exporter = _labeled_expand(SUITE, prk, b"exp", schedule, 32)
        self.seq = 0

    def _next_nonce(self):
        nonce = (self.nonce ^ self.seq).to_bytes(12, "big")
        self.seq += 1
        return nonce

    def open(self, aad, ciphertext):
        return unseal(self.key, aad, ciphertext, self._next_nonce())

    def seal(self, aad, plaintext):
        return seal(self.key, aad, plaintext, self._next_nonce())

    def export(self, name, length=32):
        return _labeled_expand(SUITE, self.exporter, b"sec", name, length)


def _decap(enc, secret):
    context = enc + public(secret)
    prk = _labeled_extract(KEM, b"", b"eae_prk", _dh(secret, enc))
    return _labeled_expand(KEM, prk, b"shared_secret", context, 32)
