"""The sync protocol, read a second time: what `docs/PROTOCOL.md` says and nothing else."""


class Refused(Exception):
    """The bytes are not what the specification says they must be."""
