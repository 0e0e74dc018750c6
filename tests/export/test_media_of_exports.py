"""Exports with media: files of all that was sent or spoken, there before any line names them."""

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
    """Return what the file of a text is called."""
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
    """Return the names of media that the lines of a file hold, with how often each is there."""
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
    """Every picture and sound, sent or spoken, is a file, and its name stands in its place."""
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
    """Unless it is asked for, everything is exported as it came."""
    await export(client, IDS, tmp_path / "out.jsonl")
    text = (tmp_path / "out.jsonl").read_text()
    assert all(blob(content.decode()) in text for content in FILES.values())


async def test_two_exports_with_one_directory(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """At the same time they neither disturb each other nor leave anything but the files."""
    paths, media = [tmp_path / f"{n}.jsonl" for n in range(4)], tmp_path / "media"
    await asyncio.gather(*(export(client, IDS, path, media=media) for path in paths))
    assert {file.name: file.read_bytes() for file in media.iterdir()} == FILES
    assert [named(path) for path in paths] == [sorted(FILES)] * 4


async def test_a_current_directory_that_changes(
    client: AsyncMessagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where media are written is what it was when the export began."""
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
    """It is written once, also where its sound has become a file."""
    listed = talk(9)
    (choice,) = listed["completion"]["choices"]
    listed["messages"].append({"id": "m-9", "content_parts": None, **choice["message"]})
    await server.import_records([listed])
    path = tmp_path / "out.jsonl"
    await export(client, [listed["completion"]["id"]], path, media=tmp_path / "media")
    assert [line.get("choice") for line in lines(path)] == [None, None, 0]


class WatchedFiles(PowerFiles):
    """Looks at each line that is written whether the files that it names are durable."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.looked_for = 0

    def append(self, path: Path, data: bytes, *, at: int | None = None) -> None:
        """Look, and write."""
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
    """Their bytes, their names and their directory's: the ledger never speaks of what may go."""
    files = WatchedFiles(tmp_path)
    await export(client, IDS, tmp_path / "out.jsonl.gz", media=tmp_path / "media", files=files)
    files.close()
    assert files.looked_for == len(FILES)


async def test_power_that_goes_away(
    client: AsyncMessagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the disk held then, the next run ends with every line and every file."""
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
    """Whichever step of a file fails, nothing is lost, and the next run ends right."""
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
