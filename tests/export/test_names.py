"""The names beside a destination: resolved once, and tried before anything is fetched."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest_export import IDS, lines

from aiomessages import ConfigurationError
from aiomessages.export import CorruptError, DiskFullError, Progress, export, read_status
from aiomessages.export.files import Files
from aiomessages.export.names import Names, try_names

if TYPE_CHECKING:
    from aiomessages import AsyncMessagesClient


def there(directory: Path) -> list[str]:
    """Return the names in a directory."""
    return sorted(path.name for path in directory.iterdir())


def test_the_names(tmp_path: Path) -> None:
    """Each name is the destination's name with an ending."""
    names = Names.of(tmp_path / "out.jsonl")
    assert names.destination == tmp_path / "out.jsonl"
    found = [names.lock, names.ledger, names.manifest, names.incomplete]
    assert [path.name.removeprefix("out.jsonl") for path in found] == [
        ".lock",
        ".ledger",
        ".manifest.json",
        ".incomplete.jsonl",
    ]
    assert {path.parent for path in found} == {tmp_path}


def test_a_destination_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A destination is absolute, with links in its directory, `.` and `..` resolved."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    monkeypatch.chdir(tmp_path / "a")
    assert Names.of("out").destination == tmp_path / "a" / "out"
    assert Names.of(".").destination == tmp_path / "a"
    assert Names.of("b/..").destination == tmp_path / "a"
    assert Names.of("../link/out").destination == tmp_path / "a" / "b" / "out"
    resolved = Names.of("out").destination
    assert Names.of(resolved).destination == resolved
    (tmp_path / "a" / "out").symlink_to("elsewhere")
    assert Names.of("out").destination == tmp_path / "a" / "out"


@pytest.mark.parametrize("name", ["", "/", "a\0b", "loop/out"])
def test_an_invalid_destination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A destination that cannot be a name is a ConfigurationError."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigurationError):
        try_names(Names.of(name), Files(), with_columns=False, is_directory=False)


async def test_a_current_directory_that_changes(
    client: AsyncMessagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later change of the current directory does not move the export."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")

    def move(_: Progress) -> None:
        os.chdir(tmp_path / "b")

    report = await export(client, IDS, "out.jsonl", on_progress=move)
    assert report.destination == tmp_path / "a" / "out.jsonl"
    assert list((tmp_path / "b").iterdir()) == []
    found = sorted(path.name.removeprefix("out.jsonl") for path in (tmp_path / "a").iterdir())
    assert found == ["", ".ledger", ".manifest.json"]


HOSTILE = [
    b"a?b",
    b"a\\b",
    b"it's",
    b"a\nb",
    b"caf\xe9",
    b"%41#x",
    b" ",
    b"a;b",
    b"-o",
    b"file:x?y=1",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("ending", [b".jsonl", b".jsonl.gz", b".jsonl.zst", b""])
async def test_any_name(
    client: AsyncMessagesClient, tmp_path: Path, name: bytes, ending: bytes
) -> None:
    """The destination and its directories may have names of any bytes."""
    destination = tmp_path / os.fsdecode(name) / os.fsdecode(name + ending)
    for some in (IDS[:5], IDS):
        report = await export(client, some, destination)
        assert report.finished
        status = read_status(destination)
        assert status is not None
        assert (status.finished, status.rows) == (True, report.rows)
    files = sorted(destination.iterdir()) if destination.is_dir() else [destination]
    assert sorted(report.sha256) == [path.name for path in files]
    assert sum(len(lines(path)) for path in files) == report.rows
    beside = {path.name.removeprefix(destination.name) for path in destination.parent.iterdir()}
    assert beside == {"", ".ledger", ".manifest.json"}
    assert there(tmp_path) == [destination.parent.name]


# --- before anything is fetched -------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".jsonl", ".parquet", ""])
async def test_a_name_that_is_too_long(
    client: AsyncMessagesClient, tmp_path: Path, ending: str
) -> None:
    """If the longest name beside it does not fit, nothing is sent or left behind."""
    if ending == ".parquet":
        pytest.importorskip("duckdb")
    room = (
        255
        - len(ending)
        - len(".rows.jsonl.gz.partial" if ending == ".parquet" else ".manifest.json.tmp")
    )
    with pytest.raises(ConfigurationError, match="File name too long"):
        await export(client, IDS, tmp_path / f"{'x' * (room + 1)}{ending}")
    assert there(tmp_path) == []
    report = await export(client, IDS, tmp_path / f"{'x' * room}{ending}")
    assert report.finished


def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    """A directory that is a file, or that cannot be written to, is reported in one line."""
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "out.jsonl", Path("/proc/out.jsonl")):
        with pytest.raises(ConfigurationError, match="no export can be written to"):
            try_names(Names.of(place), Files(), with_columns=False, is_directory=False)


def test_a_directory_of_parts(tmp_path: Path) -> None:
    """A destination for parts must be a directory that takes files, or one's own link to it."""
    (tmp_path / "file").touch()
    (tmp_path / "own").mkdir()
    (tmp_path / "link").symlink_to("own")
    for name in ("new", "own", "link"):
        try_names(Names.of(tmp_path / name), Files(), with_columns=False, is_directory=True)
    assert there(tmp_path) == ["file", "link", "own"]
    assert there(tmp_path / "own") == []
    for path in (tmp_path / "file", Path("/proc")):
        with pytest.raises(ConfigurationError, match="no export can be written to"):
            try_names(Names.of(path), Files(), with_columns=False, is_directory=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
def test_a_directory_that_is_a_link_of_another_user(tmp_path: Path) -> None:
    """A link of another user is not followed."""
    (tmp_path / "out").symlink_to(tmp_path)
    os.chown(tmp_path / "out", 65534, 65534, follow_symlinks=False)
    with pytest.raises(CorruptError, match="link of another user"):
        try_names(Names.of(tmp_path / "out"), Files(), with_columns=False, is_directory=True)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is reported as such, and not as a wrong name."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(DiskFullError):
            try_names(
                Names.of(tmp_path / "out.jsonl"), Files(), with_columns=False, is_directory=False
            )


ENDINGS = [
    ".lock",
    ".ledger",
    ".ledger-wal",
    ".ledger-shm",
    ".ledger-journal",
    ".partial",
    ".manifest.json",
    ".manifest.json.tmp",
    ".incomplete.jsonl",
    ".tmp",
    ".rows.jsonl.gz",
    ".rows.jsonl.gz.partial",
]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_link_under_one_of_the_names(
    client: AsyncMessagesClient, tmp_path: Path, ending: str
) -> None:
    """Nothing is sent, and the link is not followed."""
    name = "out.parquet" if ending == ".tmp" or "rows" in ending else "out.jsonl"
    if name == "out.parquet":
        pytest.importorskip("duckdb")
    (tmp_path / f"{name}{ending}").symlink_to("elsewhere")
    with pytest.raises(CorruptError, match="is a symbolic link"):
        await export(client, IDS, tmp_path / name)
    assert there(tmp_path) == [f"{name}{ending}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
@pytest.mark.parametrize("ending", ENDINGS[:9])
async def test_a_file_of_another_user_under_one_of_the_names(
    client: AsyncMessagesClient, tmp_path: Path, ending: str
) -> None:
    """Nothing is sent, and the file is left as it is."""
    planted = tmp_path / f"out.jsonl{ending}"
    planted.write_bytes(b"")
    os.chown(planted, 65534, 65534)
    with pytest.raises(CorruptError, match="belongs to another user"):
        await export(client, IDS, tmp_path / "out.jsonl")
    assert there(tmp_path) == [planted.name]
    assert planted.read_bytes() == b""
