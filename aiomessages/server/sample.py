"""The sample: thirty-six small conversations of the project's own, of every kind.

Ids are words (`chatcmpl-tides`), so that a person can type them. The newest conversation is the
one to show first. `tests/server/make_sample.py` writes the file.
"""

from __future__ import annotations

import gzip
from importlib.resources import files
from typing import Any

import msgspec


def sample_records() -> list[dict[str, Any]]:
    """Return the sample as records, oldest first. Each call returns new ones."""
    packed = files(__package__).joinpath("sample.jsonl.gz").read_bytes()
    records: list[dict[str, Any]] = msgspec.json.Decoder().decode_lines(gzip.decompress(packed))
    return records
