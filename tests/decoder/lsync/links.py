"""Linking a device: the link, its three messages and the code (section "Linking a device")."""

import base64

from . import Refused, cbor, hpke
from .primitives import ctx, hkdf, sha256, unseal
from .reader import Reader

VERSION, OFFER, KEYS, GRANT = 1, 0, 1, 2
SAS_OFFER, SAS_KEYS, SAS_GRANT = 6, 7, 8


PICTURES = (
    "anchor ant apple balloon banana basket bear bell bicycle book boot bread bridge broom cactus camel candle carrot castle "
    "cat cheese cherries cloud compass crab crown diamond dolphin door drum duck egg elephant feather fire fish flag flower "
    "fork frog grapes guitar hammer hat house key ladder lemon moon mushroom octopus pencil piano rainbow rocket scissors "
    "snail star sun train tree umbrella violin whale"
).split()


def _letters(data):
    return base64.b32encode(data).decode().rstrip("=")


def _payload(text, prefix, context):
    """The bytes behind a prefix in front of their check, and the hash that the check is the start of."""
    text = "".join(text.split()).upper()
    if not text.startswith(prefix):
        raise Refused("another text")
    text = text[len(prefix) :]
    try:
        data = base64.b32decode(text + "=" * (-len(text) % 8))
    except ValueError as error:
        raise Refused("not base32") from error
    digest = sha256(ctx(context), data[:-4])
    if _letters(data) != text or digest[:4] != data[-4:]:
        raise Refused("the check of the text is wrong")
    return data[:-4], digest


class Link:
    """What the new device shows."""

    def __init__(self, text):
        payload, self.hash = _payload(text, "LS1", "link-text")
        reader = Reader(payload)
        self.mailbox, self.relay_pk, self.link_pk = reader.take(16), reader.take(32), reader.take(32)
        self.relay = payload[reader.at :].decode("utf-8")


class InviteLink:
    """An invitation."""

    def __init__(self, text):
        payload, _ = _payload(text, "LI1", "invite-text")
        reader = Reader(payload)
        self.space, self.invite, self.relay_pk, self.secret = (reader.take(32) for _ in range(4))
        self.relay = payload[reader.at :].decode("utf-8")


def invite_seeds(secret):
    return tuple(hkdf(ctx("invite"), secret, purpose) for purpose in (b"sign", b"hpke"))


def open_join_name(link, member, secret, sealed):
    """What somebody who asks to join calls themselves."""
    aad = link.space + link.invite + member
    padded = hpke.Context(sealed[:32], secret, ctx("join-name")).open(aad, sealed[32:])
    name, padding = padded[1 : 1 + padded[0]], padded[1 + padded[0] :]
    if len(padded) != 128 or len(name) != padded[0] or any(padding):
        raise Refused("padding")
    return name.decode("utf-8")


def fingerprint(join):
    digest = sha256(ctx("join-fingerprint"), join)
    return [1000 + (int.from_bytes(digest[at : at + 2], "big") & 0x1FFF) for at in range(0, 12, 2)]


def _body(message, kind):
    if message[:2] != bytes([VERSION, kind]):
        raise Refused("another message")
    return message[2:]


def _plain(padded):
    length = int.from_bytes(padded[:4], "big")
    body, padding = padded[4 : 4 + length], padded[4 + length :]
    if len(padded) % 512 or len(body) != length or len(padding) >= 512 or any(padding):
        raise Refused("padding")
    return cbor.decode(body)


def message_hash(message):
    return sha256(ctx("link-message"), message)


def open_offer(link, link_secret, message):
    """({1: relay key, 2: one-time key, 3: spaces}, exported secret)"""
    body = _body(message, OFFER)
    context = hpke.Context(body[:32], link_secret, ctx("link-offer") + link.hash)
    return _plain(context.open(b"", body[32:])), context.export(ctx("export"))


def open_keys(link, one_time_secret, offer_export, offer, message):
    """({1: name, 2: entries}, exported secret)"""
    body = _body(message, KEYS)
    info = ctx("link-keys") + link.hash + message_hash(offer)
    context = hpke.Context(body[:32], one_time_secret, info, psk=offer_export, psk_id=ctx("psk"))
    return _plain(context.open(b"", body[32:])), context.export(ctx("export"))


def transcript(link, offer, keys):
    return sha256(ctx("link-transcript"), link.hash, message_hash(offer), message_hash(keys))


def open_grant(transcript_hash, exports, message):
    """{1: person, 2: relays, 3: spaces}"""
    key = hkdf(transcript_hash, exports, ctx("link-grant"))
    return _plain(unseal(key, transcript_hash, _body(message, GRANT)))


def code(transcript_hash, exports):
    digest = hkdf(transcript_hash, exports, ctx("link-code"))
    return f"{int.from_bytes(digest[:8], 'big') % 10**6:06}"


def sas_code(code):
    letters = _letters(code)
    return f"{letters[:4]}-{letters[4:]}"


def sas_mailbox(code):
    return sha256(ctx("sas-rdv"), code)[:16]


def sas_commitment(key, nonce):
    return sha256(ctx("sas"), key, nonce)


def sas_transcript(mailbox, relay_pk, commitment, existing, new):
    return sha256(ctx("sas-transcript"), mailbox, relay_pk, commitment, *existing, *new)


def sas_comparison(transcript_hash, secret):
    """(seven pictures, three numbers)"""
    bits = f"{int.from_bytes(hkdf(transcript_hash, secret, ctx('sas-compare')), 'big'):0256b}"
    pictures = [PICTURES[int(bits[6 * at : 6 * at + 6], 2)] for at in range(7)]
    return pictures, [1000 + int(bits[48 + 13 * at : 61 + 13 * at], 2) for at in range(3)]


def open_sas(transcript_hash, secret, kind, before, message):
    """What one of the sealed messages says; `before` are those before it."""
    info = ctx("sas-message") + bytes([kind]) + b"".join(message_hash(sealed) for sealed in before)
    return _plain(unseal(hkdf(transcript_hash, secret, info), transcript_hash, _body(message, kind)))


def join_message(space, invite, member, devices):
    """What the secret of an invitation signs for who joins."""
    keys = b"".join(sign_key + hpke_key + bytes([kind]) for sign_key, hpke_key, kind, _ in devices)
    return ctx("join") + space + invite + member + len(devices).to_bytes(4, "big") + keys


def joining_member(invite, author):
    """Who joins by an invitation: nobody chooses it."""
    return sha256(ctx("join-member"), invite, author)[:16]
