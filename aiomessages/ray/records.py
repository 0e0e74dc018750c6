"""The record of a shard: its counts, its checksum, and the ids of what could not be read."""

from typing import Final

import msgspec

_DIGITS: Final = 16


class ShardRecord(msgspec.Struct, frozen=True):
    """What a shard's file holds, and what it lacks.

    `gone`, `pending` and `lost` are ids as in ExportReport. `failed` and `skipped` are reasons by
    ids; `left_out` are the reasons for single replies of conversations in the file.
    """

    shard: str
    file: str
    sha256: str
    bytes: int
    rows: int
    completions: int
    messages: int
    gone: list[str] = []
    pending: list[str] = []
    lost: list[str] = []
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    left_out: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The name of the record's file, which follows from its content."""
        return f"{self.shard}-{self.sha256[:_DIGITS]}.json"


def encode_record(record: ShardRecord) -> bytes:
    """Return the file of a record."""
    return msgspec.json.encode(record) + b"\n"


def decode_record(data: bytes) -> ShardRecord:
    """Return the record in a file. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=ShardRecord)


def shard_in(name: str) -> str:
    """Return the shard that a record's file name names."""
    return name.removesuffix(".json")[: -_DIGITS - 1]
