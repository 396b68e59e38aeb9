"""Opens every golden vector with the independent decoder, alters it, and expects a refusal.

Every line of every vector file must be looked at by a check below; a line that none looks at, and a run that looked at
none, are errors. Prints how many vectors were recomputed or opened and how many alterations were refused.
"""

import sys
from pathlib import Path

from lsync import Refused, cbor, envelopes, epochs, files, frames, hpke, links, nearby
from lsync.envelopes import Envelope
from lsync.primitives import check_sign_pk, ctx, sha256, sign, sign_pk, unseal, verify
from lsync.records import Record, enrolment_message, own_device_claim

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("sync-protocol/vectors", "client-core/vectors")
NOT_VECTORS = {"automerge_bundle.hex"}
CHECKS = {}


class Failed(Exception):
    """A vector and the specification disagree."""


def value(text):
    """Bytes in hexadecimal; what is shown to people is kept as it is shown."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return text


class Vectors:
    """The `name hex` lines of one file, and which of them a check has looked at."""

    refused = 0
    all = {}

    def __init__(self, path):
        self.name = path.name
        lines = [line.split(" ", 1) for line in path.read_text().splitlines() if line and not line.startswith("#")]
        self.lines = {name: value(text) for name, text in lines}
        if len(self.lines) != len(lines):
            raise Failed(f"{self.name}: a name is used twice")
        self.seen = set()
        Vectors.all[self.name] = self

    def __getitem__(self, name):
        self.seen.add(name)
        return self.lines[name]

    def wholes(self):
        """The names without a point: whole frames, records, envelopes."""
        return [name for name in self.lines if "." not in name]

    def equal(self, name, value):
        if self[name] != value:
            raise Failed(f"{self.name}: {name} is {self.lines[name]!r}, computed {value!r}")


def refuses(what, attempt):
    """Counts an altered input; it must not be accepted."""
    try:
        attempt()
    except Refused:
        Vectors.refused += 1
        return
    raise Failed(f"accepted although altered: {what}")


def flips(what, data, attempt, places=None):
    """Every byte (or those at `places`) with one bit changed, every truncation at those places, and one byte more."""
    for at in places if places is not None else range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        refuses(f"{what}, byte {at} changed", lambda: attempt(bytes(changed)))
        refuses(f"{what}, cut at {at}", lambda: attempt(data[:at]))
    refuses(f"{what}, one byte more", lambda: attempt(data + b"\x00"))


def check(file):
    def add(function):
        CHECKS[file] = function
        return function

    return add


def founder_seed():
    return bytes([1] * 32)


@check("frames.txt")
def check_frames(vectors):
    for name in vectors.wholes():
        data = vectors[name]
        kind, req_id, values = frames.decode(data)
        if req_id != 0x01020304 or frames.encode(kind, req_id, values) != data:
            raise Failed(f"frame {name} has a second encoding")
        if not name.startswith(kind.lower()):
            raise Failed(f"frame {name} reads as {kind}")
        for at in range(len(data)):
            refuses(f"frame {name}, cut at {at}", lambda: frames.decode(data[:at]))
        refuses(f"frame {name}, one byte more", lambda: frames.decode(data + b"\x00"))
        refuses(f"frame {name}, a flag", lambda: frames.decode(data[:1] + b"\x01" + data[2:]))


@check("records.txt")
def check_records(vectors):
    kinds = set()
    space = Record(vectors["genesis"]).id
    for name in vectors.wholes():
        record = Record(vectors[name])
        kinds.add(record.kind)
        vectors.equal(f"{name}.id", record.id)
        if record.author != sign_pk(founder_seed()) or record.space != space:
            raise Failed(f"record {name} is of somebody else")
        flips(f"record {name}", vectors.lines[name], Record)
        check_noncanonical(name, vectors.lines[name])
    known = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20, 0x21, 0x22, 0x23, 0x2F}
    if known - kinds:
        raise Failed(f"no vector for the record types {sorted(known - kinds)}")


def resigned(data, body=None, parents=None):
    """The record with another body or parents, validly signed by the founder."""
    count = data[3]
    head, old_parents = data[:76], data[76 : 76 + 32 * count]
    old_body = data[80 + 32 * count : -64]
    new_parents = old_parents if parents is None else parents
    new_body = old_body if body is None else body
    head = head[:3] + bytes([len(new_parents) // 32]) + head[4:]
    unsigned = head + new_parents + len(new_body).to_bytes(4, "big") + new_body
    return unsigned + sign(founder_seed(), ctx("rec-sig") + sha256(ctx("rec-id"), unsigned))


def check_noncanonical(name, data):
    """Encodings that say the same in another way are refused although the signature is good."""
    body = data[80 + 32 * data[3] : -64]
    Record(resigned(data))
    if name == "unknown":
        return
    fields = cbor.decode(body)
    pairs = [cbor.encode(key) + cbor.encode(value) for key, value in fields.items()]
    count = len(pairs)
    altered = {
        "an indefinite map": b"\xbf" + b"".join(pairs) + b"\xff",
        "a long count": bytes([0xB8, count]) + b"".join(pairs),
        "a key twice": bytes([0xA0 + count + 1]) + pairs[0] + b"".join(pairs),
        "a long key": bytes([0xA0 + count]) + b"\x18\x01" + b"".join(pairs)[1:],
        "a tag": b"\xc1" + body,
        "bytes after": body + b"\x00",
        "a float": bytes([0xA0 + count]) + b"".join(pairs[:-1]) + pairs[-1][:1] + b"\xf9\x00\x00",
    }
    if count > 1:
        altered["keys descending"] = bytes([0xA0 + count]) + b"".join(reversed(pairs))
    altered["a key less"] = bytes([0xA0 + count - 1]) + b"".join(pairs[:-1])
    altered["a key more"] = bytes([0xA0 + count + 1]) + b"".join(pairs) + bytes([count + 1, 0])
    for what, altered_body in altered.items():
        refuses(f"record {name} with {what}", lambda: Record(resigned(data, body=altered_body)))
    if data[3] > 0:
        low, high = bytes(32), b"\xff" * 32
        for what, parents in (("unsorted", high + low), ("doubled", low + low), ("no", b"")):
            refuses(f"record {name} with {what} parents", lambda: Record(resigned(data, parents=parents)))


@check("envelopes.txt")
def check_envelopes(vectors):
    space = Vectors.all["records.txt"]["genesis.id"]
    author = sign_pk(founder_seed())
    kinds = set()
    for name in vectors.wholes():
        envelope = Envelope(vectors[name])
        kinds.add(envelope.kind)
        envelope.verify(space, author)
        vectors.equal(f"{name}.id", envelope.id(space))
        vectors.equal(f"{name}.aad", envelope.aad(space))
        flips(f"envelope {name}", vectors.lines[name], lambda data: Envelope(data).verify(space, author))
        refuses(f"envelope {name} in another space", lambda: envelope.verify(bytes(32), author))
    if kinds != set(envelopes.CT_BYTES_MAX):
        raise Failed("an envelope kind has no vector")
    first, second = Envelope(vectors["delta_1"]), Envelope(vectors["delta_2"])
    if second.prev != first.id(space) or first.stream != envelopes.stream_id(space, author, first.prev):
        raise Failed("the stream of the two deltas is no chain")


@check("hashes.txt")
def check_hashes(vectors):
    of_frames, space = Vectors.all["frames.txt"], Vectors.all["records.txt"]["genesis.id"]
    device = sign_pk(founder_seed())
    hello, challenge = (
        frames.encode(name, 1, frames.decode(of_frames[name.lower()])[2]) for name in ("HELLO", "CHALLENGE")
    )
    transcript = frames.transcript(hello, challenge, space, device)
    listing = frames.transcript(hello, challenge, bytes(32), device)
    vectors.equal("ctx_hs", ctx("hs"))
    vectors.equal("transcript", transcript)
    vectors.equal("transcript_without_space", listing)
    vectors.equal("auth_message", ctx("auth") + transcript)
    vectors.equal("welcome_message", ctx("auth-ok") + transcript)
    vectors.equal("list_message", ctx("list") + listing)
    verify(device, ctx("auth") + transcript, vectors["auth_signature"])
    for changed in (ctx("auth") + listing, ctx("auth-ok") + transcript, ctx("list") + transcript):
        refuses("AUTH for something else", lambda: verify(device, changed, vectors["auth_signature"]))
    random, member, entry, _, _ = Record(Vectors.all["records.txt"]["genesis"]).fields
    enrolled = [bytes([1] * 32), entry[1], 0, None]
    vectors.equal("enrol_message", enrolment_message(random, member, enrolled))
    vectors.equal("stream_id_r32_32x32", envelopes.stream_id(space, device, bytes([0x32] * 32)))
    _, _, statement = frames.decode(of_frames["log_statement"])
    vectors.equal("statement_message_of_the_frame", frames.statement_message(statement))
    first = frames.roll_next(bytes(16), 1, bytes([0xE1] * 32))
    vectors.equal("roll_1_of_e1x32", first)
    vectors.equal("roll_2_of_e2x32", frames.roll_next(first, 2, bytes([0xE2] * 32)))
    # The frame is what is signed, between its header and the signature.
    vectors.equal("statement_message_of_the_frame", ctx("log-statement") + of_frames["log_statement"][6:-64])
    vectors.equal("have_digest_of_nothing", frames.have_digest([]))
    _, _, (_, streams) = frames.decode(of_frames["have"])
    vectors.equal("have_digest_of_the_have_frame", frames.have_digest(streams))
    check_join_proof(vectors, space, device)
    vectors.equal("join_member_of_invite_71x32", links.joining_member(bytes([0x71] * 32), device))


def check_join_proof(vectors, space, author):
    """The one Join whose proof is real: made with the secret of the invitation in records.txt."""
    of_records = Vectors.all["records.txt"]
    invite, member, devices, proof, _ = Record(of_records["join_proven"]).fields
    invite_pk = Record(of_records["invite"]).fields[0]
    if member != links.joining_member(invite, author) or devices[0][0] != author:
        raise Failed("a Join of somebody else")
    message = links.join_message(space, invite, member, devices)
    vectors.equal("join_message_of_join_proven", message)
    verify(invite_pk, message, proof)
    flips("join message", message, lambda changed: verify(invite_pk, changed, proof))
    refuses("a Join by another invitation's secret", lambda: verify(author, message, proof))
    random = Record(of_records["genesis"]).fields[0]
    verify(author, enrolment_message(random, member, devices[0]), devices[0][3])


def pair(seeds):
    return sign_pk(seeds[0]), hpke.derive_key_pair(seeds[1])[1]


@check("keys.txt")
def check_keys(vectors):
    for name in ("device", "device_elsewhere"):
        seeds = epochs.device_seeds(vectors["device.root"], vectors[f"{name}.genesis_random"])
        check_pair(vectors, name, seeds)
    vectors.equal("device.database", epochs.database_key(vectors["device.root"]))
    for name in ("paper_12", "paper_24"):
        if len(vectors[f"{name}.words"].split()) != int(name[-2:]):
            raise Failed("a phrase of another length")
        entropy = vectors[f"{name}.entropy"]
        check_pair(vectors, f"{name}.home", epochs.paper_seeds(entropy))
        check_pair(vectors, f"{name}.space", epochs.paper_seeds(entropy, vectors["device.genesis_random"]))
    entry = [vectors["device.sign_pk"], vectors["device.hpke_pk"], 0, vectors["device.proof"]]
    message = enrolment_message(vectors["device.genesis_random"], vectors["device.member"], entry)
    verify(entry[0], message, entry[3])
    flips("proof", message, lambda changed: verify(entry[0], changed, entry[3]))
    vectors.equal("epoch.commit", epochs.commitment(vectors["epoch.secret"]))
    parts = [vectors[f"document.{part}"] for part in ("space", "kind", "key")]
    vectors.equal("document.id", epochs.singleton_document(*parts))


def check_pair(vectors, name, seeds):
    sign_key, hpke_key = pair(seeds)
    vectors.equal(f"{name}.sign_pk", sign_key)
    vectors.equal(f"{name}.hpke_pk", hpke_key)


@check("own_device.txt")
def check_own_device(vectors):
    of_keys, space = Vectors.all["keys.txt"], vectors["space"]
    random, home = of_keys["device_elsewhere.genesis_random"], of_keys["device.sign_pk"]
    said = own_device_claim(space, random, home, vectors["claim"])
    if said != (of_keys["device_elsewhere.sign_pk"], of_keys["device_elsewhere.hpke_pk"], vectors["member"]):
        raise Failed("own_device.txt: the claim is of other keys or another member")
    flips("claim", vectors["claim"], lambda changed: own_device_claim(space, random, home, changed))
    for what, changed in (("space", [bytes(32), random, home]), ("Genesis", [space, bytes(32), home])):
        refuses(f"claim in another {what}", lambda: own_device_claim(*changed, vectors["claim"]))
    refuses("claim of another device", lambda: own_device_claim(space, random, said[0], vectors["claim"]))


class Device:
    """A device of space.txt: its public signing key and its HPKE secret."""

    def __init__(self, seeds):
        self.sign_pk = sign_pk(seeds[0])
        self.hpke_secret, self.hpke_pk = hpke.derive_key_pair(seeds[1])


@check("space.txt")
def check_space(vectors):
    genesis, epoch, add = (Record(vectors[name]) for name in ("genesis", "epoch_1", "device_add"))
    founder, new = (
        Device(epochs.device_seeds(vectors[f"{name}.root"], genesis.fields[0])) for name in ("founder", "new_device")
    )
    paper = Device(epochs.paper_seeds(vectors["paper.entropy"]))
    for device, entry in ((founder, genesis.fields[2]), (paper, genesis.fields[3]), (new, add.fields[1])):
        if (device.sign_pk, device.hpke_pk) != (entry[0], entry[1]):
            raise Failed("a device's keys are not those of its record")
        message = enrolment_message(genesis.fields[0], genesis.fields[1], entry)
        verify(device.sign_pk, message, entry[3])
    if epoch.space != genesis.id or add.space != genesis.id or add.depth != epoch.depth + 1:
        raise Failed("records of another space")
    for device in (founder, paper):
        check_seal(vectors, "epoch_1", epoch, epoch, epoch.fields[4], device)
    grants = [seal for name, seal in add.fields[3] if name == epochs.epoch_ref(epoch)]
    check_seal(vectors, "epoch_1", epoch, add, grants, new)
    check_name(vectors, add, new)
    check_rotation(vectors, epoch, Record(vectors["epoch_2"]), (founder, paper, new))


def check_rotation(vectors, first, second, devices):
    """The second epoch is sealed to everybody, and whoever holds it opens the first through the wrap."""
    reference = epochs.epoch_ref(first)
    if second.fields[1] != [reference] or second.fields[0] != first.fields[0] + 1:
        raise Failed("an epoch that does not follow the first")
    for device in devices:
        check_seal(vectors, "epoch_2", second, second, second.fields[4], device)
    wrap, secret = second.fields[3][0], vectors["epoch_2.secret"]

    def opened(ct, space=second.space, under=secret, parent=wrap[0]):
        return epochs.open_wrap(space, [parent, ct], under, first.fields[2])

    vectors.equal("epoch_1.secret", opened(wrap[1]))
    flips("wrap", wrap[1], opened)
    refuses("a wrap of another space", lambda: opened(wrap[1], space=bytes(32)))
    refuses("a wrap under another secret", lambda: opened(wrap[1], under=bytes(32)))
    refuses("a wrap of another parent", lambda: opened(wrap[1], parent=bytes(16)))


def check_seal(vectors, name, epoch, holder, seals, device):
    """Exactly one seal is for the device; it opens, and nothing it binds can be exchanged."""
    own = [seal for seal in seals if seal[0] == device.sign_pk[:16]]
    if len(own) != 1:
        raise Failed("not exactly one seal for a device")

    def opened(seal):
        return epochs.open_seal(epoch, holder, seal, device.sign_pk, device.hpke_secret)

    vectors.equal(f"{name}.secret", opened(own[0]))
    flips("seal", own[0][1] + own[0][2], lambda data: opened([own[0][0], data[:32], data[32:]]))
    generation, parents, commit = epoch.fields[:3]
    for at, other in enumerate((generation + 1, parents + [bytes(16)], bytes(32))):
        kept, epoch.fields[at] = epoch.fields[at], other
        refuses("seal of another epoch", lambda: opened(own[0]))
        epoch.fields[at] = kept
    if commit != epochs.commitment(vectors[f"{name}.secret"]):
        raise Failed("an epoch commits to another secret")


def check_name(vectors, add, device):
    def opened(meta):
        return epochs.sealed_name(add.space, device.sign_pk, meta, vectors["epoch_1.secret"])

    name, epoch = opened(add.fields[2])
    vectors.equal("device_add.name", name.encode())
    if epoch != epochs.epoch_ref(Record(vectors["epoch_1"])):
        raise Failed("a name under another epoch")
    flips("name", add.fields[2], opened)


@check("sealed.txt")
def check_sealed(vectors):
    of_space = Vectors.all["space.txt"]
    space, secret = Record(of_space["genesis"]).id, of_space["epoch_1.secret"]
    founder = Record(of_space["genesis"]).author
    kinds = set()
    for name in vectors.wholes():
        data = vectors[name]
        envelope = Envelope(data)
        kinds.add(envelope.kind)
        envelope.verify(space, founder)
        vectors.equal(f"{name}.id", envelope.id(space))
        vectors.equal(f"{name}.key", envelope.key(secret))
        vectors.equal(f"{name}.body", envelope.open(space, secret))
        if envelope.epoch != epochs.epoch_ref(Record(of_space["epoch_1"])):
            raise Failed("sealed under another epoch")
        flips(f"sealed {name}", data[:-64], lambda changed: Envelope(changed + data[-64:]).open(space, secret))
        check_padding(unseal(envelope.key(secret), envelope.aad(space), envelope.ciphertext))
        refuses("another space", lambda: Envelope(data).open(bytes(32), secret))
        refuses("another secret", lambda: Envelope(data).open(space, bytes(32)))
        if envelope.kind == envelopes.DELTA:
            check_delta(vectors.lines[f"{name}.body"])
    if kinds != set(envelopes.CT_BYTES_MAX):
        raise Failed("an envelope kind has no sealed vector")
    body = vectors["erased.body"]
    expected = [(bytes([3] * 16), [bytes([4] * 32), bytes([5] * 32)], None), (bytes([6] * 16), [], bytes([7] * 16))]
    if envelopes.erased(envelopes.delta(body)[2][5]) != expected:
        raise Failed("sealed.txt: erases something else")
    for at in range(len(body)):
        refuses(f"erasure cut at {at}", lambda: envelopes.delta(body[:at]))


def check_padding(plaintext):
    """What a dishonest member could seal: padding that hides something, or is not as long as the rule says."""
    inner = int.from_bytes(plaintext[:4], "big")
    for altered in (
        plaintext[:-1] + b"\x01",
        plaintext[: 4 + inner] + b"\x01" + plaintext[5 + inner :],
        plaintext[:-1],
        plaintext + b"\x00",
        (inner + 1).to_bytes(4, "big") + plaintext[4:],
        (inner - 1).to_bytes(4, "big") + plaintext[4:],
        plaintext[:4] + b"\x02" + plaintext[5:],
        plaintext[:5] + b"\x02" + plaintext[6:],
    ):
        refuses("padding or inner header", lambda: envelopes.unpack(altered, 8 * envelopes.MIB))


def check_delta(body):
    frontier, documents, _ = envelopes.delta(body)
    if frontier != [[bytes([2] * 16), 9]] or documents[0][0] != bytes([3] * 16) or documents[0][2] != 1:
        raise Failed("a delta that says something else")
    for at in range(len(body)):
        refuses(f"delta cut at {at}", lambda: envelopes.delta(body[:at]))


@check("receipt.txt")
def check_receipt(vectors):
    of_space = Vectors.all["space.txt"]
    space, secret = Record(of_space["genesis"]).id, of_space["epoch_1.secret"]
    envelope, device = Envelope(vectors["receipt"]), vectors["device"]
    envelope.verify(space, device)
    vectors.equal("receipt.id", envelope.id(space))
    body = envelope.open(space, secret)
    vectors.equal("receipt.body", body)
    r32, said_ms, held, app, aside = envelopes.receipt(body)
    vectors.equal("r32", r32)
    vectors.equal("said_ms", said_ms.to_bytes(8, "big"))
    vectors.equal("held", b"".join(stream + seq.to_bytes(4, "big") for stream, seq in held))
    vectors.equal("record", b"".join(envelopes.advice(app)[1]))
    vectors.equal("set_aside", aside.to_bytes(4, "big"))
    # Whose it is nothing but the stream id says.
    if envelope.kind != envelopes.RECEIPT or envelope.stream != envelopes.stream_id(space, device, r32):
        raise Failed("receipt.txt: another device's stream")
    for at in range(len(body)):
        refuses(f"receipt cut at {at}", lambda: envelopes.receipt(body[:at]))


@check("presence.txt")
def check_presence(vectors):
    of_space = Vectors.all["space.txt"]
    space, secret = Record(of_space["genesis"]).id, of_space["epoch_1.secret"]
    envelope, device = Envelope(vectors["presence"]), vectors["device"]
    envelope.verify(space, device)
    vectors.equal("presence.id", envelope.id(space))
    body = envelope.open(space, secret)
    vectors.equal("presence.body", body)
    r32, session, heard, state, doc, selection = envelopes.presence(body)
    vectors.equal("r32", r32)
    vectors.equal("session", session)
    vectors.equal("heard", b"".join(one + count.to_bytes(4, "big") for one, count in heard))
    vectors.equal("doc", doc)
    (actor, counter), end = selection
    vectors.equal("actor", actor)
    vectors.equal("counter", counter.to_bytes(4, "big"))
    if envelope.kind != envelopes.EPHEMERAL or (state, end) != (1, None):
        raise Failed("presence.txt: it says something else")
    if envelope.stream != envelopes.stream_id(space, device, r32):
        raise Failed("presence.txt: another device's stream")
    if envelopes.presence(vectors["gone.body"])[2:] != ([], 2, None, None):
        raise Failed("presence.txt: a goodbye that says something else")
    for at in range(len(body)):
        refuses(f"presence cut at {at}", lambda: envelopes.presence(body[:at]))


@check("checkpoint.txt")
def check_checkpoint(vectors):
    of_space = Vectors.all["space.txt"]
    space, secret = Record(of_space["genesis"]).id, of_space["epoch_1.secret"]
    stamp, docs = envelopes.pack(vectors["pack"])
    vectors.equal("stamp", stamp)
    (first, genesis, heads, data, rows), second = docs
    vectors.equal("doc", first)
    vectors.equal("heads", b"".join(heads))
    vectors.equal("rows", rows)
    if (genesis, data, second[0], second[2], second[4]) != (1, bytes([9] * 5), bytes([3] * 16), heads[:1], b""):
        raise Failed("checkpoint.txt: a pack that says something else")
    expected = [
        ("note_tag", "plum", ["plum", "Plum"]),
        ("notebook", "", ["Kitchen", None, "a", -1, 1_700_000_000_123]),
    ]
    if envelopes.rows(rows) != expected:
        raise Failed("checkpoint.txt: other rows")
    sealed = vectors["manifest"]
    body, epoch = envelopes.open_manifest(space, secret, sealed)
    vectors.equal("manifest.body", body)
    count, chunks, through = envelopes.manifest(body)
    prefixes = bytes([3] * 4 + [9] * 4)
    if (count, chunks) != (3, [(True, 2, 700, prefixes), (False, 1, 90_000, b"")]):
        raise Failed("checkpoint.txt: a manifest that says something else")
    vectors.equal("through", b"".join(stream + seq.to_bytes(4, "big") for stream, seq in through))
    if epoch != epochs.epoch_ref(Record(of_space["epoch_1"])):
        raise Failed("checkpoint.txt: sealed under another epoch")
    if envelopes.manifest_erased(vectors["manifest_erased.body"]) != [bytes([3] * 16), bytes([6] * 16)]:
        raise Failed("checkpoint.txt: other documents are erased")
    flips("manifest", sealed, lambda changed: envelopes.open_manifest(space, secret, changed))
    refuses("a manifest in another space", lambda: envelopes.open_manifest(bytes(32), secret, sealed))
    of_pieces = vectors["pack_of_pieces"]
    ((doc, genesis, of_piece, number, of, data),) = envelopes.pieces(of_pieces)
    vectors.equal("doc", doc)
    if (genesis, len(of_piece), number, of, data) != (1, 2, 2, 3, bytes([9] * 5)) or envelopes.pieces(vectors["pack"]):
        raise Failed("checkpoint.txt: pieces that say something else")
    for at in range(len(of_pieces)):
        refuses(f"pieces cut at {at}", lambda: envelopes.pieces(of_pieces[:at]))
    for at in range(len(vectors["pack"])):
        refuses(f"pack cut at {at}", lambda: envelopes.pack(vectors["pack"][:at]))


@check("advice.txt")
def check_advice(vectors):
    app, relay, statement = vectors["app"], vectors["relay_pk"], vectors["statement"]
    statements, records = envelopes.advice(app)
    if statements != [(relay, statement)]:
        raise Failed("advice that tells of another statement")
    vectors.equal("records", b"".join(records))

    def signed(frame):
        kind, _, fields = frames.decode(frame)
        if kind != "LOG_STATEMENT":
            raise Refused("no statement")
        verify(relay, frames.statement_message(fields), fields[-1])

    signed(statement)
    # The request number in a frame's head is not signed: a statement answers one, and is told without it.
    flips("told statement", statement, signed, [at for at in range(len(statement)) if at not in range(2, 6)])
    for at in range(len(app)):
        refuses(f"advice cut at {at}", lambda: envelopes.advice(app[:at]))


@check("state_code.txt")
def check_state_code(vectors):
    heads = [vectors["head_2"], vectors["head_1"]]
    streams = [vectors[name] for name in ("stream_1", "stream_2", "stream_without_envelope")]
    code = envelopes.state_code(vectors["space"], heads, streams)
    vectors.equal("code", code.encode())
    # Every byte that goes into it counts; one of a stream without an envelope does not.
    changed = [envelopes.state_code(bytes(32), heads, streams), envelopes.state_code(vectors["space"], heads[:1], streams)]
    for at in range(2):
        other = streams[at][:-1] + bytes([streams[at][-1] ^ 1])
        changed.append(envelopes.state_code(vectors["space"], heads, [other, streams[1 - at]]))
    if code in changed or envelopes.state_code(vectors["space"], heads, streams[:2]) != code:
        raise Failed("state_code.txt: other records or streams have the same code")


@check("envelope_delta.txt")
def check_first_deltas(vectors):
    # The inputs that the comment of the file names: space id and Genesis random.
    space, secret = bytes([0x51] * 32), vectors["epoch_secret"]
    vectors.equal("epoch_commitment", epochs.commitment(secret))
    author = vectors["sign_pk"]
    check_sign_pk(author)
    hpke.check_pk(vectors["hpke_pk"])
    first, second = Envelope(vectors["envelope_1"]), Envelope(vectors["envelope_2_deflated"])
    vectors.equal("envelope_1_id", first.id(space))
    if first.stream != envelopes.stream_id(space, author, first.prev) or second.prev != first.id(space):
        raise Failed("no chain")
    for envelope, text in ((first, b"first"), (second, b"second " * 200)):
        envelope.verify(space, author)
        _, documents, _ = envelopes.delta(envelope.open(space, secret))
        if documents != [(bytes([3] * 16), [text], 1)]:
            raise Failed("a delta that says something else")


@check("link.txt")
def check_link(vectors):
    of_space = Vectors.all["space.txt"]
    text = vectors["text"].decode()
    link = links.Link(text)
    link_key = hpke.derive_key_pair(vectors["link_key.material"])
    one_time_key = hpke.derive_key_pair(vectors["one_time_key.material"])
    if link.link_pk != link_key[1] or link.relay.encode() != vectors["relay"] or link.relay_pk != vectors["relay_pk"]:
        raise Failed("a link that says something else")
    for at in range(len(text)):
        changed = text[:at] + ("B" if text[at] == "A" else "A") + text[at + 1 :]
        refuses(f"link, letter {at}", lambda: links.Link(changed))
    if links.Link(f" {text.lower()}\n").hash != link.hash:
        raise Failed("case and spacing matter")

    offer, export_0 = links.open_offer(link, link_key[0], vectors["offer"])
    genesis, add = Record(of_space["genesis"]), Record(of_space["device_add"])
    random, member = genesis.fields[0], genesis.fields[1]
    if offer != {1: link.relay_pk, 2: one_time_key[1], 3: [[genesis.id, member, random]]}:
        raise Failed("an offer of something else")
    keys, export_1 = links.open_keys(link, one_time_key[0], export_0, vectors["offer"], vectors["keys"])
    if keys[1].encode() != vectors["device_name"] or keys[2] != [[add.fields[1][at] for at in (0, 1, 3)]]:
        raise Failed("keys that the DeviceAdd does not add")
    transcript = links.transcript(link, vectors["offer"], vectors["keys"])
    vectors.equal("code", links.code(transcript, export_0 + export_1).encode())
    grant = links.open_grant(transcript, export_0 + export_1, vectors["grant"])
    if grant != {1: vectors["person"].decode(), 2: [link.relay], 3: [[genesis.id, add.id, add.id]]}:
        raise Failed("a grant of something else")

    flips("offer", vectors["offer"], lambda data: links.open_offer(link, link_key[0], data))
    flips(
        "keys",
        vectors["keys"],
        lambda data: links.open_keys(link, one_time_key[0], export_0, vectors["offer"], data),
    )
    flips("grant", vectors["grant"], lambda data: links.open_grant(transcript, export_0 + export_1, data))
    refuses("keys of another offer", lambda: links.open_keys(link, one_time_key[0], export_0, b"", vectors["keys"]))
    refuses("keys without the offer's secret", lambda: links.open_keys(link, one_time_key[0], bytes(32), vectors["offer"], vectors["keys"]))


def seeded(seed, block):
    """The 32 bytes that tests draw first, second … from a seed: how the halves of sas.txt were made."""
    return sha256(ctx("seeded-random"), seed.to_bytes(8, "big") + bytes(24), block.to_bytes(8, "big"))


@check("sas.txt")
def check_sas(vectors):
    # The fixed inputs: keys from seed 11, nonces of one byte each, the code of the bytes 1 to 5, the relay's key.
    secret_n, secret_e, code = seeded(11, 0), seeded(11, 1), bytes([1, 2, 3, 4, 5])
    new, existing = (hpke.public(secret_n), bytes([0x11] * 32)), (hpke.public(secret_e), bytes([0x22] * 32))
    vectors.equal("pkN", new[0])
    vectors.equal("pkE", existing[0])
    vectors.equal("code", links.sas_code(code))
    vectors.equal("mailbox", links.sas_mailbox(code))
    commitment = links.sas_commitment(*new)
    vectors.equal("commitment", commitment)
    vectors.equal("secret", hpke.exchange(secret_n, existing[0]))
    if hpke.exchange(secret_e, new[0]) != vectors["secret"]:
        raise Failed("the two sides do not agree")
    transcript = links.sas_transcript(vectors["mailbox"], bytes([0x4E] * 32), commitment, existing, new)
    pictures, numbers = links.sas_comparison(transcript, vectors["secret"])
    vectors.equal("pictures", " ".join(pictures))
    vectors.equal("numbers", str(numbers))
    check_sas_messages(vectors, transcript)


def check_sas_messages(vectors, transcript):
    """What is sealed after the comparison: each message under a key that the ones before it go into."""
    said = {
        "offer": (links.SAS_OFFER, {1: bytes([0x4E] * 32), 2: vectors["pkE"], 3: [[bytes([0x51] * 32), bytes([0x52] * 16), bytes([0x53] * 32)]]}),
        "keys": (links.SAS_KEYS, {1: "Ada's phone", 2: [[bytes([0x54] * 32), bytes([0x55] * 32), bytes([0x56] * 64)]]}),
        "grant": (links.SAS_GRANT, {1: "Ada", 2: ["wss://relay.example"], 3: [[bytes([0x51] * 32), bytes([0x57] * 32), bytes([0x58] * 32)]]}),
    }
    before = []
    for name, (kind, plain) in said.items():
        message = vectors[name]

        def opened(data, kind=kind, before=tuple(before), secret=vectors["secret"], bound=transcript):
            return links.open_sas(bound, secret, kind, before, data)

        if opened(message) != plain:
            raise Failed(f"sas.txt: {name} says something else")
        flips(f"sas {name}", message, opened)
        refuses(f"sas {name} of another attempt", lambda: opened(message, bound=bytes(32)))
        refuses(f"sas {name} under another secret", lambda: opened(message, secret=bytes(32)))
        refuses(f"sas {name} after other messages", lambda: opened(message, before=(*before, message)))
        before.append(message)


@check("invite.txt")
def check_invite(vectors):
    link = links.InviteLink(vectors["link"])
    seeds = links.invite_seeds(link.secret)
    check_invite_key(vectors, seeds)
    for at in range(len(vectors["link"])):
        letter = "B" if vectors["link"][at] == "A" else "A"
        changed = vectors["link"][:at] + letter + vectors["link"][at + 1 :]
        refuses(f"invitation, letter {at}", lambda: links.InviteLink(changed))
    of_keys = Vectors.all["keys.txt"]
    inviter = Device(epochs.device_seeds(of_keys["device.root"], of_keys["device.genesis_random"]))
    member, sealed = vectors["member"], vectors["sealed_name"]
    vectors.equal("name", links.open_join_name(link, member, inviter.hpke_secret, sealed))
    flips("joiner's name", sealed, lambda changed: links.open_join_name(link, member, inviter.hpke_secret, changed))
    flips("joiner's member", member, lambda changed: links.open_join_name(link, changed, inviter.hpke_secret, sealed))
    check_approved_name(vectors, link.space, member)
    vectors.equal("fingerprint", str(links.fingerprint(vectors["join"])))


def check_approved_name(vectors, space, member):
    def opened(meta):
        return epochs.sealed_name(space, member, meta, vectors["epoch.secret"])

    if opened(vectors["approved_name"]) != (vectors["name"], vectors["epoch"]):
        raise Failed("invite.txt: approved_name opens to something else")
    flips("approved name", vectors["approved_name"], opened)


def check_invite_key(vectors, seeds):
    sign_key, hpke_key = pair(seeds)
    vectors.equal("sign_pk", sign_key)
    vectors.equal("hpke_pk", hpke_key)


@check("recovery_keys.txt")
def check_recovery_keys(vectors):
    # One line: the signing key, then the HPKE key, of the words whose entropy is zero.
    sign_key, hpke_key = pair(epochs.paper_seeds(bytes(16)))
    vectors.equal(sign_key.hex(), hpke_key)


@check("device_key.txt")
def check_device_key(vectors):
    locked, passphrase = vectors["locked"], Vectors.all["backup.txt"]["passphrase"].decode()
    if files.open_device_key(locked, passphrase) != bytes([6] * 32):
        raise Failed("another root")
    flips("device.key", locked, lambda data: files.open_device_key(data, passphrase))
    refuses("device.key under another passphrase", lambda: files.open_device_key(locked, passphrase + " "))
    refuses("device.key without its passphrase", lambda: files.open_device_key(locked))
    for version, name, body in ((1, "plain", bytes([6] * 32)), (3, "elsewhere", bytes([4] * 16))):
        if files.device_key_version(vectors[name]) != version or files.open_device_key(vectors[name]) != body:
            raise Failed(f"device_key.txt: {name} holds something else")
        flips(f"device.key, {name}", vectors[name], files.open_device_key)


@check("backup.txt")
def check_backup(vectors):
    if len(vectors["words"].split()) != 12:
        raise Failed("a phrase of another length")
    paper = Device(epochs.paper_seeds(bytes(16)))
    passphrase, file = vectors["passphrase"].decode(), vectors["file"]
    for opener in ({"hpke_secret": paper.hpke_secret}, {"passphrase": passphrase}):
        content, database = files.open_backup(file, **opener)
        vectors.equal("database", database)
        vectors.equal("root", content[3])
        flips("backup", file, lambda data: files.open_backup(data, **opener))
    refuses("a backup without a key", lambda: files.open_backup(file))


@check("bundle.txt")
def check_bundle(vectors):
    of_space, sealed = Vectors.all["space.txt"], Vectors.all["sealed.txt"]
    genesis, file = Record(of_space["genesis"]), vectors["file"]
    space, streams, records, carried = files.open_bundle(file)
    envelope = Envelope(sealed["delta"])
    expected = [[envelope.stream, 0, 1, sealed["delta.id"][:8], []]]
    if (space, streams, carried) != (genesis.id, expected, [sealed["delta"]]):
        raise Failed("the bundle holds something else")
    if records != [of_space["genesis"], of_space["epoch_1"]]:
        raise Failed("the bundle holds other records")
    flips("bundle", file, files.open_bundle)


@check("nearby.txt")
def check_nearby(vectors):
    name, said = vectors["name"].decode("ascii"), vectors["said"]
    secret, space, day = bytes([0x44] * 32), bytes([1] * 32), 20_780

    def recognise(name=name, said=said, secret=secret, space=space, day=day):
        return nearby.recognise(secret, space, day, name, said)

    for today in (day - 1, day, day + 1):
        if recognise(day=today) != (4700, bytes([9] * 32)):
            raise Failed("what is announced nearby holds something else")
    if bytes.fromhex(name)[:12] != bytes([0x0C] * 12):
        raise Failed("a name with another salt")
    flips("what is announced nearby", said, lambda data: recognise(said=data))
    flips("a name nearby", bytes.fromhex(name), lambda data: recognise(name=data.hex()))
    refuses("a name in capitals", lambda: recognise(name=name.upper()))
    refuses("a name of the day before yesterday", lambda: recognise(day=day + 2))
    refuses("a name of another space", lambda: recognise(space=bytes(32)))
    refuses("a name under another key", lambda: recognise(secret=bytes(32)))


def check_weak_keys():
    """Not vectors, but what the text says of keys: small order, unreduced numbers, a signature with S + L."""
    from lsync.primitives import L, P

    identity = (1).to_bytes(32, "little")
    refuses("the identity", lambda: verify(identity, b"anything", identity + bytes(32)))
    for y in (0, 1, P - 1, P, P + 1):
        for odd in (0, 1 << 255):
            refuses(f"weak key {y}", lambda: check_sign_pk((y | odd).to_bytes(32, "little")))
    for u in (0, 1, P - 1, P, P + 1, 2**255 + 9):
        refuses(f"weak HPKE key {u}", lambda: hpke.check_pk(u.to_bytes(32, "little")))
    good = sign(founder_seed(), b"message")
    verify(sign_pk(founder_seed()), b"message", good)
    malleated = good[:32] + (int.from_bytes(good[32:], "little") + L).to_bytes(32, "little")
    refuses("S + L", lambda: verify(sign_pk(founder_seed()), b"message", malleated))


def main():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).iterdir()):
            if path.name not in NOT_VECTORS:
                Vectors(path)
    for name, vectors in Vectors.all.items():
        if name not in CHECKS:
            raise Failed(f"no check opens {name}: write one")
        CHECKS[name](vectors)
    check_weak_keys()
    looked_at = 0
    for name, vectors in Vectors.all.items():
        forgotten = sorted(set(vectors.lines) - vectors.seen)
        if forgotten:
            raise Failed(f"{name}: no check looks at {', '.join(forgotten)}")
        print(f"{name}: {len(vectors.seen)} vectors")
        looked_at += len(vectors.seen)
    if looked_at == 0 or Vectors.refused == 0:
        raise Failed("nothing was checked")
    print(f"{looked_at} vectors recomputed or opened, {Vectors.refused} alterations refused")


if __name__ == "__main__":
    try:
        main()
    except (Failed, Refused) as error:
        sys.exit(f"decoder: {error}")
