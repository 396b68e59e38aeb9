"""Linking a device: the link, its three messages and the code (section "Linking a device")."""

import base64

from . import Refused, cbor, hpke
from .primitives import ctx, hkdf, sha256, unseal
from .reader import Reader

VERSION, OFFER, KEYS, GRANT = 1, 0, 1, 2


class Link:
    """What the new device shows."""

    def __init__(self, text):
        text = "".join(text.split()).upper()
        if not text.startswith("LS1"):
            raise Refused("no link")
        text = text[3:]
        try:
            data = base64.b32decode(text + "=" * (-len(text) % 8))
        except ValueError as error:
            raise Refused("not base32") from error
        if base64.b32encode(data).decode().rstrip("=") != text:
            raise Refused("not the one form of this link")
        payload, check = data[:-4], data[-4:]
        reader = Reader(payload)
        self.mailbox, self.relay_pk, self.link_pk = reader.take(16), reader.take(32), reader.take(32)
        self.relay = payload[reader.at :].decode("utf-8")
        self.hash = sha256(ctx("link-text"), payload)
        if self.hash[:4] != check or not self.relay:
            raise Refused("the check of the link is wrong")


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
