"""The manifest: JSON for files of any name."""

from __future__ import annotations

import json

import pytest

from aiomessages.export.manifest import FileDigest, decode_manifest, encode_manifest


@pytest.mark.parametrize("name", ["out.jsonl", "é\n\"\\'", "caf\udce9\udcff"])
def test_a_name(name: str) -> None:
    """A name comes back unchanged; the bytes are UTF-8, also those of the other values."""
    digest = FileDigest(name, rows=2, bytes=3, sha256="f00")
    data = encode_manifest("messages", [digest], 2, {"lost": ["ü"]})
    assert decode_manifest(data) == {name: digest}
    found = json.loads(data.decode())
    assert found["files"] == [{"name": name, "rows": 2, "bytes": 3, "sha256": "f00"}]
    assert "ü" in data.decode()
    names = ["layout", "rows", "files", "gone", "pending", "lost", "failed"]
    assert [*found] == names
    assert [found[name] for name in names[3:]] == [[], [], ["ü"], []]


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"files": [{}]}'])
def test_an_invalid_manifest(data: bytes) -> None:
    """A file that is no manifest raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        decode_manifest(data)
