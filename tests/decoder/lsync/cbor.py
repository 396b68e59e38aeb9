"""The one form of CBOR that the protocol allows: shortest, definite, ascending integer keys, no tags, floats, booleans."""

from . import Refused
from .reader import Reader

DEPTH_MAX = 16


def decode(data):
    """One value and nothing after it."""
    reader = Reader(data)
    value = _value(reader, 0)
    reader.end()
    return value


def _argument(reader, info):
    if info < 24:
        return info
    if info > 27:
        raise Refused("indefinite or reserved length")
    size = 1 << (info - 24)
    number = reader.number(size)
    smallest = 24 if size == 1 else 1 << (4 * size)
    if number < smallest:
        raise Refused("a number that has a shorter form")
    return number


def _value(reader, depth):
    if depth > DEPTH_MAX:
        raise Refused("nested too deep")
    first = reader.number(1)
    major, info = first >> 5, first & 31
    if first == 0xF6:
        return None
    if major in (1, 6, 7):
        raise Refused("negative number, tag, float or simple value")
    number = _argument(reader, info)
    if major == 0:
        return number
    if major == 2:
        return bytes(reader.take(number))
    if major == 3:
        try:
            return bytes(reader.take(number)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused("text that is not UTF-8") from error
    # Every element takes a byte at least, so a count beyond the input is a lie: refused before a list is made.
    if number > len(reader.data) - reader.at:
        raise Refused("more elements than bytes")
    if major == 4:
        return [_value(reader, depth + 1) for _ in range(number)]
    return _map(reader, number, depth)


def _map(reader, count, depth):
    out, last = {}, -1
    for _ in range(count):
        key = _value(reader, depth + 1)
        if not isinstance(key, int) or key <= last:
            raise Refused("keys are integers, ascending, each once")
        out[key] = _value(reader, depth + 1)
        last = key
    return out


def encode(value):
    """The inverse, to compare with; dictionaries are written in ascending order."""
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return _head(0, value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode("utf-8")
        return _head(3, len(text)) + text
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(encode(item) for item in value)
    return _head(5, len(value)) + b"".join(encode(key) + encode(value[key]) for key in sorted(value))


def _head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * size):
            return bytes([major << 5 | info]) + number.to_bytes(size, "big")
    raise Refused("a number of more than 64 bits")
