r"""The manifest: the files of a finished export, as JSON. Nothing here performs I/O.

JSON is UTF-8, and a file name need not be. Bytes that are not UTF-8 are written as Python's escapes
for them (`\udc80` to `\udcff`), so that a reader in Python gets the same name.
"""

import json
from collections.abc import Mapping, Sequence

import msgspec

from .ledger_schema import NAMED


class FileDigest(msgspec.Struct, frozen=True):
    """A finished file: its lines, bytes and SHA-256."""

    name: str
    rows: int
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct):
    files: list[FileDigest]


def encode_manifest(
    layout: str, files: Sequence[FileDigest], rows: int, named: Mapping[str, Sequence[str]]
) -> bytes:
    """Return the JSON; `named` has the ids of completions by the fields of NAMED."""
    manifest: dict[str, object] = {
        "layout": layout,
        "rows": rows,
        "files": msgspec.to_builtins(files),
        **{state: list(named.get(name, ())) for name, state in NAMED.items()},
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
