"""File formats: the encoding of lines for each ending of a destination. Nothing performs I/O."""

import gzip
import importlib
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from .errors import ExportError

Buffer = bytes | bytearray


def _gzip(data: Buffer) -> Buffer:
    return gzip.compress(data, compresslevel=6, mtime=0)


def _zstd(data: Buffer) -> Buffer:
    compressed: bytes = zstd_module().compress(data)
    return compressed


def zstd_module() -> Any:
    """Return the module for zstd: Python's own, or that of the extra.

    Raises ExportError if there is none.
    """
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ExportError(".zst needs an extra", hint="pip install 'aiomessages[zstd]'") from None


class Format(NamedTuple):
    """The encoding of one batch of lines.

    `rows` is the ending of the JSON lines from which columns are made at the end, if any.
    """

    encode: Callable[[Buffer], Buffer]
    rows: str = ""


# Each batch is one complete gzip member or zstd frame, so that a file cut after any batch is valid.
FORMATS: Final[dict[str, Format]] = {
    ".jsonl": Format(lambda data: data),
    ".jsonl.gz": Format(_gzip),
    ".jsonl.zst": Format(_zstd),
    ".parquet": Format(_gzip, rows=".rows.jsonl.gz"),
    ".duckdb": Format(_gzip, rows=".rows.jsonl.gz"),
}
