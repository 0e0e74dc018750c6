"""Exports with media: each blob is a file before a line names it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from conftest_export import lines, record
from crashing import FailingFiles, PowerFiles, powered

from aiomessages.export import ExportError, export
from aiomessages.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomessages import AsyncMessagesClient

Json = Any


def blob(text: str) -> str:
    """Return a text as base64."""
    return base64.b64encode(text.encode()).decode()


def name(text: str, ending: str) -> str:
    """Return the name of a text's file."""
    return hashlib.sha256(text.encode()).hexdigest() + ending


def talk(number: int) -> dict[str, Json]:
    """Return a record with a picture and a sound sent, and a spoken reply."""
    made = record(number, messages=2)
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{blob(f'p{number}')}"}},
        {"type": "input_audio", "input_audio": {"data": blob(f"s{number}"), "format": "mp3"}},
    ]
    made["messages"][0]["content_parts"] = parts
    reply = made["completion"]["choices"][0]["message"]
    reply["audio"] = {"id": "a", "expires_at": 1, "data": blob(f"fLaC{number}"), "transcript": "t"}
    return made


RECORDS = [talk(number) for number in range(3)]
IDS = [item["completion"]["id"] for item in RECORDS]
FILES = {
    name(text, ending): text.encode()
    for number in range(3)
    for text, ending in ((f"p{number}", ".png"), (f"s{number}", ".mp3"), (f"fLaC{number}", ".flac"))
}


def named(path: Path) -> list[str]:
    """Return the names of media in the lines of a file, with their counts."""
    text = json.dumps(lines(path))
    return sorted(media for media in FILES for _ in range(text.count(media)))


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    """Serve the records."""
    async with LocalServer() as running:
        await running.import_records(RECORDS)
        yield running


@pytest.mark.parametrize("listed", [False, True], ids=["ids", "a list"])
@pytest.mark.parametrize("layout", ["messages", "conversations"])
async def test_messages_and_replies(
    client: AsyncMessagesClient, tmp_path: Path, layout: str, listed: bool
) -> None:
    """Every picture and sound, sent or spoken, is a file, and its name replaces it."""
    source: Any = client.completions() if listed else IDS
    path, media = tmp_path / "out.jsonl", tmp_path / "media"
    await export(client, source, path, layout=layout, media=media)
    assert {file.name: file.read_bytes() for file in media.iterdir()} == FILES
    assert not [
        text for text in map(bytes.decode, FILES.values()) if blob(text) in path.read_text()
    ]
    spoken_twice = [media for media in FILES if media.endswith(".flac")]  # in reply and completion
    assert named(path) == sorted([*FILES, *(spoken_twice if layout == "conversations" else [])])


async def test_without_media(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """Without the option, everything is exported as it was sent."""
    await export(client, IDS, tmp_path / "out.jsonl")
    text = (tmp_path / "out.jsonl").read_text()
    assert all(blob(content.decode()) in text for content in FILES.values())


async def test_two_exports_with_one_directory(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """Two exports can use one directory at the same time, and leave only the files."""
    paths, media = [tmp_path / f"{n}.jsonl" for n in range(4)], tmp_path / "media"
    await asyncio.gather(*(export(client, IDS, path, media=media) for path in paths))
    assert {file.name: file.read_bytes() for file in media.iterdir()} == FILES
    assert [named(path) for path in paths] == [sorted(FILES)] * 4


async def test_a_current_directory_that_changes(
    client: AsyncMessagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later change of the current directory does not change the media directory."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    async def ids() -> AsyncIterator[str]:
        monkeypatch.chdir(tmp_path / "elsewhere")
        for completion_id in IDS:
            yield completion_id

    await export(client, ids(), "out.jsonl", media="media")
    assert sorted(file.name for file in (tmp_path / "media").iterdir()) == sorted(FILES)
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_spoken_reply_that_is_listed(
    server: LocalServer, client: AsyncMessagesClient, tmp_path: Path
) -> None:
    """A spoken reply that the server lists is written once, even as a file."""
    listed = talk(9)
    (choice,) = listed["completion"]["choices"]
    listed["messages"].append({"id": "m-9", "content_parts": None, **choice["message"]})
    await server.import_records([listed])
    path = tmp_path / "out.jsonl"
    await export(client, [listed["completion"]["id"]], path, media=tmp_path / "media")
    assert [line.get("choice") for line in lines(path)] == [None, None, 0]


class WatchedFiles(PowerFiles):
    """Checks for each written line that the files it names are durable."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.looked_for = 0

    def append(self, path: Path, data: bytes, *, at: int | None = None) -> None:
        """Check the files, and write."""
        text = gzip.decompress(data) if path.name.endswith(".gz.partial") else data
        for media, content in FILES.items():
            if media.encode() in text:
                self.looked_for += 1
                durable = self._tree("", self._root, names="durable", data="dropped")
                assert durable[f"media/{media}"] == content
        super().append(path, data, at=at)


async def test_files_are_durable_before_a_line_names_them(
    client: AsyncMessagesClient, tmp_path: Path
) -> None:
    """Bytes, names and directory of a file are durable before the ledger records its line."""
    files = WatchedFiles(tmp_path)
    await export(client, IDS, tmp_path / "out.jsonl.gz", media=tmp_path / "media", files=files)
    files.close()
    assert files.looked_for == len(FILES)


async def test_power_that_goes_away(
    client: AsyncMessagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut at any step, the next run ends with every line and every file."""
    monkeypatch.setattr("aiomessages.export.writer.BATCH_BYTES", 300)
    root = tmp_path / "whole"
    root.mkdir()
    with powered(root) as files:
        await export(client, IDS[:1], root / "out.jsonl", media=root / "media", files=files)
    expected = {name: FILES[name] for name in named(root / "out.jsonl")}
    for cut in files.cuts.values():
        shutil.rmtree(root)
        cut.restore(root)
        await export(client, IDS[:1], root / "out.jsonl", media=root / "media")
        assert named(root / "out.jsonl") == [*expected], cut
        kept = {file.name: file.read_bytes() for file in (root / "media").iterdir()}
        assert expected.items() <= kept.items(), cut
    assert len(files.cuts) > 30


@pytest.mark.parametrize("fault", ["write", "full disk", "fsync", "rename"])
async def test_a_disk_that_fails(client: AsyncMessagesClient, tmp_path: Path, fault: str) -> None:
    """After a failure at any step of a file, the next run completes the export."""
    for number in range(1, 200):
        path, files = tmp_path / str(number) / "out.jsonl", FailingFiles(fault, number)
        media = path.with_name("media")
        try:
            await export(client, IDS[:1], path, media=media, files=files)
        except (OSError, ExportError):
            assert files.failed
        await export(client, IDS[:1], path, media=media)
        assert len(named(path)) == 3
        assert all((media / name).read_bytes() == FILES[name] for name in named(path))
        if not files.failed:
            break
    assert number > 3
