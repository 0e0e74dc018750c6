"""The destination: files appear whole or not at all, and the first writer of a name wins."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path

import pytest

from aiomessages.errors import ConfigurationError
from aiomessages.ray.destination import Destination
from aiomessages.ray.errors import ClusterError


@pytest.fixture
def folder(tmp_path: Path) -> Destination:
    """Return a destination in a folder."""
    made = Destination.of(tmp_path / "run")
    made.make_folders("data")
    return made


def test_a_file_comes_back(folder: Destination) -> None:
    """What was put can be read, listed and hashed."""
    folder.put("data/x", b"abc")
    assert folder.read("data/x") == b"abc"
    assert folder.sizes("data") == {"x": 3}
    assert folder.exists("data/x")
    assert not folder.exists("data/y")
    assert not folder.exists("data")
    assert folder.sha256("data/x").startswith("ba7816bf")
    assert folder.sizes("no-such-folder") == {}


@pytest.mark.parametrize("content", [b"", b"abc", bytes(3_000_000)], ids=["empty", "short", "long"])
def test_an_open_file(folder: Destination, content: bytes) -> None:
    """The content of a file without a name is put, whatever its size."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        folder.put("data/x", file)
    assert folder.read("data/x") == content


def test_the_first_writer_wins(folder: Destination) -> None:
    """A second file of a name is dropped, unless it is to replace the first."""
    folder.put("data/x", b"first")
    folder.put("data/x", b"second")
    assert folder.read("data/x") == b"first"
    folder.put("data/x", b"third", replace=True)
    assert folder.read("data/x") == b"third"


def test_nothing_is_left_beside_a_file(folder: Destination, tmp_path: Path) -> None:
    """The partial file has gone, after a success and after a failure; files are private."""
    folder.put("data/x", b"abc")
    folder.put("data/x", b"abc")
    (tmp_path / "run" / "data" / "folder").mkdir()
    with pytest.raises(ClusterError, match="cannot be used"):
        folder.put("data/folder", b"abc", replace=True)
    found = sorted((tmp_path / "run" / "data").iterdir())
    assert [path.name for path in found] == ["folder", "x"]
    assert found[1].stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_being_written_is_not_listed(folder: Destination, tmp_path: Path) -> None:
    """A partial file is hidden."""
    (tmp_path / "run" / "data" / ".x.0123.tmp").touch()
    assert folder.sizes("data") == {}


def test_a_file_system_without_hard_links(
    folder: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the name is looked up, and a rename gives it."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    folder.put("data/x", b"first")
    folder.put("data/x", b"second")
    assert folder.read("data/x") == b"first"
    assert folder.sizes("data") == {"x": 5}


def test_a_file_system_that_is_neither() -> None:
    """On another one, a file has another name until it is whole."""
    made = Destination.of("mock:///run")
    made.make_folders("data")
    made.put("data/x", b"abc")
    assert made.sizes("data") == {"x": 3}


def test_a_relative_path_is_that_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made absolute at once, and stays it in another process."""
    monkeypatch.chdir(tmp_path)
    made = Destination.of("run")
    assert made.uri == str(tmp_path / "run")
    made.make_folders()
    assert pickle.loads(pickle.dumps(made)).uri == made.uri  # noqa: S301 ours
    assert Destination.of(f"file://{tmp_path}/run").sizes("") == {}


def test_a_probe(folder: Destination, tmp_path: Path) -> None:
    """It can be seen by others, and then it is gone."""
    name = folder.write_probe()
    assert Destination.of(tmp_path / "run").exists(name)
    folder.remove_probe(name)
    assert not folder.exists(name)
    folder.remove_probe(name)


def test_a_destination_that_changes_what_is_written(
    folder: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused: some stores that resemble S3 keep the frames of an upload in the file."""
    monkeypatch.setattr(os, "link", lambda _, name: name.write_bytes(b"7\r\nwritten"))
    with pytest.raises(ClusterError, match="returns other bytes than were written") as raised:
        folder.write_probe()
    assert "AWS_REQUEST_CHECKSUM_CALCULATION" in raised.value.hint
    assert folder.sizes("") == {}


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "must be a path or a URI"),
        ("a\0b", "must be a path or a URI"),
        (b"bytes", "must be a path or a URI"),
        (7, "must be a path or a URI"),
        ("s3://key:secret@bucket/run", "holds a password"),
        ("s3://secret@bucket/run", "holds a password"),
        ("abfs://:secret@account.blob.core.windows.net/c/run", "holds a password"),
        ("abfs://c@account.dfs.core.windows.net/run?client_id=x&client_secret=y", "a password"),
        ("abfs://c@account.dfs.core.windows.net/run?sv=x&Sig=secret", "holds a password"),
        ("s3://bucket/run?endpoint_override=http%3A%2F%2Fme:secret%40host", "holds a password"),
        ("s3://bucket/run#1", "goes on after its path"),
        ("file:///run?1", "goes on after its path"),
        ("s3://bucket/./run", "'.' or '..' in its path"),
        ("s3://bucket/%2e%2e/run", "'.' or '..' in its path"),
        ("s3://[secret/run", "its host is invalid"),
        (Path("s3://bucket/run"), "with one slash"),
    ],
)
def test_a_destination_that_is_refused(uri: str | Path, said: str) -> None:
    """The error does not repeat a secret."""
    with pytest.raises(ConfigurationError, match=said) as raised:
        Destination.of(uri)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "uri",
    [
        "abfs://container@account.dfs.core.windows.net/run",
        "gs://anonymous@bucket/run",
        "s3://bucket/run?region=us-east-1&allow_bucket_creation=false",
        "file:///run%231",
        "C:/run",
        "run: 1/a",
    ],
)
def test_a_destination_without_a_secret(uri: str) -> None:
    """A container of Azure looks like a user, and a path may have colons."""
    assert Destination.of(uri).uri.endswith(uri)


def test_a_destination_that_cannot_be_used(tmp_path: Path) -> None:
    """The error names it, and says what to check."""
    (tmp_path / "file").touch()
    for uri in (f"{tmp_path}/file/run", "nothing://x/y"):
        with pytest.raises(ClusterError, match="cannot be used") as raised:
            Destination.of(uri).write_probe()
        assert uri in str(raised.value)
        assert "check its address" in raised.value.hint
    with pytest.raises(ClusterError, match="cannot be used"):
        Destination.of(tmp_path).read("no-such-file")
