"""The record of a shard: its counts, its checksum, and the ids of what could not be read."""

from typing import Final

import msgspec

from .errors import ClusterError

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


def decode_record(data: bytes, name: str) -> ShardRecord:
    """Return the record in the file of a name. Raises ClusterError for anything else."""
    try:
        record = msgspec.json.decode(data, type=ShardRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        record = None
    if record is None or record.name != name:
        raise ClusterError(
            f"records/{name} is not the file that was written",
            hint=f"remove it and data/{shard_in(name)}.*, and run the export again",
        )
    return record


def shard_in(name: str) -> str:
    """Return the shard that a record's file name names."""
    return name.removesuffix(".json")[: -_DIGITS - 1]
