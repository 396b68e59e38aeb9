"""A cursor over bytes that refuses to read past their end."""

from . import Refused


class Reader:
    """Big-endian integers and byte strings, front to back; `end` refuses what is left over."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Refused("truncated")
        piece = self.data[self.at : self.at + count]
        self.at += count
        return piece

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def flag(self):
        value = self.number(1)
        if value > 1:
            raise Refused("a flag is 0 or 1")
        return value == 1

    def end(self):
        if self.at != len(self.data):
            raise Refused("bytes after the end")
