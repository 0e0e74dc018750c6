"""The folder of an export of many machines: a finished and whole one is imported."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from aiomessages.archive.errors import ArchiveError, CorruptError, NotAnArchiveError
from aiomessages.archive.exported_folder import files_in
from aiomessages.archive.importing import import_file

if TYPE_CHECKING:
    from pathlib import Path

LINE = {
    "completion_id": "chatcmpl-1",
    "messages": [{"id": "m-1", "role": "user", "content": "Hello"}],
    "completion": {"id": "chatcmpl-1", "object": "chat.completion", "choices": []},
}


def write(folder: Path, **changes: Any) -> Path:
    """Write a folder with one file, and return it."""
    data = gzip.compress(json.dumps(LINE).encode() + b"\n")
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.jsonl.gz").write_bytes(data)
    file = {
        "name": "data/a.jsonl.gz",
        "rows": 1,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    manifest = {"layout": "conversations", "format": "jsonl.gz", "files": [file], "rows": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    return folder


def test_a_finished_folder(tmp_path: Path) -> None:
    """Its files are those of the manifest, and each can be imported."""
    (file,) = files_in(write(tmp_path / "run"))
    assert import_file(file, tmp_path / "archive.db").new == 1


def test_an_empty_run(tmp_path: Path) -> None:
    """A run that selected nothing has no files."""
    assert files_in(write(tmp_path / "run", files=[])) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layout": "chat"}, "with the layout chat"),
        ({"format": "parquet"}, "as parquet"),
        ({"files": 7}, "not that of aiomessages.ray"),
        ({"files": [{"name": "../x", "bytes": 1, "sha256": ""}]}, "outside of the folder"),
        ({"files": [{"name": "/etc/passwd", "bytes": 1, "sha256": ""}]}, "outside of the folder"),
    ],
    ids=["layout", "format", "shape", "parent", "absolute"],
)
def test_a_manifest_that_is_of_no_use(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    """It is refused, and says why."""
    with pytest.raises(NotAnArchiveError, match=said):
        files_in(write(tmp_path / "run", **changes))


def test_a_folder_without_a_manifest(tmp_path: Path) -> None:
    """A run that is not finished is no source."""
    with pytest.raises(NotAnArchiveError, match="no finished export"):
        files_in(tmp_path)


def test_a_manifest_that_cannot_be_read(tmp_path: Path) -> None:
    """The error is that of the system."""
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(ArchiveError, match=r"manifest\.json: Is a directory"):
        files_in(tmp_path)


def test_a_file_that_differs(tmp_path: Path) -> None:
    """A file that is cut or missing is refused before anything is imported."""
    folder = write(tmp_path / "run")
    os.truncate(folder / "data" / "a.jsonl.gz", 10)
    with pytest.raises(CorruptError, match="not the file that was written"):
        files_in(folder)
    (folder / "data" / "a.jsonl.gz").unlink()
    with pytest.raises(CorruptError, match="No such file"):
        files_in(folder)
