"""Hashes, key derivation, the cipher, and signatures with the specification's stricter rules for keys."""

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from . import Refused

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def ctx(name):
    return b"lsync/v1/" + name.encode("ascii") + b"\x00"


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def hkdf_extract(salt, ikm):
    return hmac.new(salt, ikm, hashlib.sha256).digest()


def hkdf_expand(prk, info, length):
    out, block, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out, counter = out + block, counter + 1
    return out[:length]


def hkdf(salt, ikm, info, length=32):
    return hkdf_expand(hkdf_extract(salt, ikm), info, length)


def seal(key, aad, plaintext, nonce=bytes(12)):
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)


def unseal(key, aad, ciphertext, nonce=bytes(12)):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)
    except InvalidTag as error:
        raise Refused("does not open") from error


def sign_pk(seed):
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(seed, message):
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def check_sign_pk(key):
    """Refuses an unreduced y and the eight points of small order, found by doubling three times.

    Bytes that are no point at all pass: nothing verifies under them."""
    number = int.from_bytes(key, "little")
    y, x_is_odd = number & (2**255 - 1), number >> 255
    if len(key) != 32 or y >= P:
        raise Refused("y is not reduced")
    x_squared = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(x_squared, (P + 3) // 8, P)
    if x * x % P != x_squared:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != x_squared:
        return
    point = (P - x if x % 2 != x_is_odd else x, y)
    for _ in range(3):
        point = _double(point)
    if point == (0, 1):
        raise Refused("a point of small order")


def _double(point):
    x, y = point
    product = D * x * x * y * y % P
    return (2 * x * y * pow(1 + product, -1, P) % P, (y * y + x * x) * pow(1 - product, -1, P) % P)


def verify(key, message, signature):
    check_sign_pk(key)
    if int.from_bytes(signature[32:], "little") >= L:
        raise Refused("S is not reduced")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature as error:
        raise Refused("the signature does not verify") from error
