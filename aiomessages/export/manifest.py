r"""The manifest: what a finished export holds, as JSON. Nothing here performs I/O.

A file name need not be UTF-8, and JSON is. What of it is none stands there as Python's own
escapes for such bytes (`\udc80` to `\udcff`): a reader in Python gets the very name.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

NAMED: Final = ("gone", "pending", "lost", "failed")  # completions whose ids are always listed


class FileDigest(msgspec.Struct, frozen=True):
    """What a finished file holds."""

    name: str
    rows: int
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct):
    files: list[FileDigest]


def encode_manifest(
    layout: str, files: Sequence[FileDigest], rows: int, named: Mapping[str, Sequence[str]]
) -> bytes:
    """Return the JSON; `named` is the ids of completions by what became of them."""
    manifest = {
        "layout": layout,
        "rows": rows,
        "files": msgspec.to_builtins(files),
        **{what: list(named.get(what, ())) for what in NAMED},
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
    return text.encode("utf-8", "backslashreplace")  # which spells a lone surrogate as JSON does


def decode_manifest(data: bytes) -> dict[str, FileDigest]:
    """Return the files of a manifest by their names. Raises ValueError."""
    try:
        files = msgspec.convert(json.loads(data), _Manifest).files
    except RecursionError as error:
        raise ValueError(str(error)) from None
    return {file.name: file for file in files}
