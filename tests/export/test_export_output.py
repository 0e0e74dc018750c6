"""The output: names and bytes of its files at each moment, and what it refuses."""

from __future__ import annotations

import gzip
import json
import os
import sys
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from backports import zstd

from aiomessages import ConfigurationError
from aiomessages.export import CorruptError, ExportError
from aiomessages.export.files import Files
from aiomessages.export.layouts import Lines
from aiomessages.export.ledger import Entry, Ledger, Part
from aiomessages.export.output import Output, ending_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Opened = Callable[..., Output]

ONE, TWO, THREE = b'{"a":1}\n', b'{"a":2}\n', b'{"a":3}\n'


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Give a ledger, which is no matter of the output's name."""
    with Ledger(tmp_path / "ledger") as opened:
        yield opened


@pytest.fixture
def opened(tmp_path: Path, ledger: Ledger) -> Opened:
    """Open an output as a run does, recovered."""

    def output(name: str = "out.jsonl", *, part_bytes: int = 10) -> Output:
        made = Output(tmp_path / name, ledger, Files(), part_bytes=part_bytes)
        made.recover()
        return made

    return output


def names(directory: Path) -> list[str]:
    """Return what is there, but for the ledger."""
    found = (str(path.relative_to(directory)) for path in directory.rglob("*"))
    return sorted(name for name in found if not name.startswith("ledger"))


def test_a_batch(opened: Opened, ledger: Ledger, tmp_path: Path) -> None:
    """It is in the partial file, and the ledger has its bytes, its rows and their checksum."""
    output = opened()
    assert output.write(Lines(ONE + TWO, 2), [Entry("a", "done")]) == 16
    output.write(Lines(THREE, 1), [])
    assert names(tmp_path) == ["out.jsonl.partial"]
    assert (tmp_path / "out.jsonl.partial").read_bytes() == ONE + TWO + THREE
    assert ledger.parts() == [Part(1, 24, zlib.crc32(ONE + TWO + THREE), 3)]
    assert ledger.entries("a") == {"a": Entry("a", "done")}


@pytest.mark.parametrize(
    ("name", "decode"),
    [("o.jsonl", bytes), ("o.jsonl.gz", gzip.decompress), ("o.jsonl.zst", zstd.decompress)],
    ids=["jsonl", "gz", "zst"],
)
def test_each_batch_stands_by_itself(
    opened: Opened, tmp_path: Path, name: str, decode: Callable[[bytes], bytes]
) -> None:
    """A file that ends with any batch can be read."""
    output = opened(name)
    for text in (ONE, ONE + TWO, ONE + TWO + THREE):
        output.write(Lines(text[-8:], 1), [])
        assert decode((tmp_path / f"{name}.partial").read_bytes()) == text


@pytest.mark.parametrize(
    ("name", "decode"),
    [("o.jsonl", bytes), ("o.jsonl.gz", gzip.decompress), ("o.jsonl.zst", zstd.decompress)],
    ids=["jsonl", "gz", "zst"],
)
def test_nothing(
    opened: Opened, tmp_path: Path, name: str, decode: Callable[[bytes], bytes]
) -> None:
    """An export of nothing is a file that can be read, with or without completions to record."""
    output = opened(name)
    output.write(Lines(), [Entry("a", "skipped")])
    output.write(Lines(), [Entry("b", "skipped")])
    output.finish("messages")
    assert decode((tmp_path / name).read_bytes()) == b""


def test_a_destination_without_zstd(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has to be installed is said."""
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExportError, match=r"aiomessages\[zstd\]"):
        opened("out.jsonl.zst").write(Lines(ONE, 1), [])


def test_finishing(opened: Opened, ledger: Ledger, tmp_path: Path) -> None:
    """The file has its final name, and the manifest says what is in it; twice is as good."""
    output = opened()
    output.write(Lines(ONE + TWO, 2), [])
    for _ in range(2):
        output.finish("messages")
        assert names(tmp_path) == ["out.jsonl", "out.jsonl.manifest.json"]
        manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())
        assert (manifest["layout"], manifest["rows"]) == ("messages", 2)
        (file,) = manifest["files"]
        assert (file["name"], file["rows"], file["bytes"]) == ("out.jsonl", 2, 16)
        assert output.manifest() == {"out.jsonl": file["sha256"]}
        assert ledger.finished


def test_going_on_with_what_was_finished(opened: Opened, tmp_path: Path) -> None:
    """The file loses its final name before it changes, and the manifest is gone before."""
    opened().write(Lines(ONE, 1), [])
    opened().finish("messages")
    output = opened()
    output.write(Lines(TWO, 1), [])
    assert names(tmp_path) == ["out.jsonl.partial"]
    output.finish("messages")
    assert (tmp_path / "out.jsonl").read_bytes() == ONE + TWO


def test_parts(opened: Opened, ledger: Ledger, tmp_path: Path) -> None:
    """A part that is large enough is closed, and the next one begun; none is ever opened again."""
    output = opened("out")
    for line in (ONE, TWO, THREE):
        output.write(Lines(line, 1), [])
    assert names(tmp_path) == ["out", "out/part-00001.jsonl", "out/part-00002.jsonl.partial"]
    output.finish("messages")
    output = opened("out")
    output.write(Lines(ONE, 1), [])
    output.finish("messages")
    assert [part.closed for part in ledger.parts()] == [True] * 3
    assert sorted(output.manifest()) == [f"part-0000{n}.jsonl" for n in (1, 2, 3)]
    assert (output.rows, output.in_parts) == (4, True)


# --- what a run finds -----------------------------------------------------------------------------


def test_bytes_that_were_not_recorded(opened: Opened, tmp_path: Path) -> None:
    """They are cut off, whatever name the file has by then."""
    opened().write(Lines(ONE, 1), [])
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(ONE + TWO)
    opened()
    assert partial.read_bytes() == ONE
    final = partial.replace(tmp_path / "out.jsonl")
    final.write_bytes(ONE + TWO)
    opened().write(Lines(THREE, 1), [])
    assert partial.read_bytes() == ONE + THREE


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_a_file_that_was_not_recorded(opened: Opened, tmp_path: Path, name: str) -> None:
    """It is removed: the first of an output, and the next part of a directory."""
    output = opened(name)
    output.partial(1).write_bytes(ONE)
    output = opened(name)
    assert not output.partial(1).exists()
    if output.in_parts:
        output.write(Lines(ONE + TWO, 2), [])
        output.partial(2).write_bytes(ONE)
        opened(name)
        assert names(tmp_path) == ["out", "out/part-00001.jsonl"]


@pytest.mark.parametrize("name", ["out.jsonl", "out/part-00001.jsonl", "out.parquet"])
def test_a_file_from_elsewhere(opened: Opened, tmp_path: Path, name: str) -> None:
    """What the ledger does not know of is neither overwritten nor written on."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(CorruptError, match="does not know of it"):
        opened(name.partition("/")[0])
    assert (tmp_path / name).read_bytes() == b"mine"


def test_a_file_from_elsewhere_under_the_final_name(opened: Opened, tmp_path: Path) -> None:
    """A file that took the final name meanwhile is not overwritten either."""
    opened().write(Lines(ONE, 1), [])
    (tmp_path / "out.jsonl").write_bytes(b"mine")
    with pytest.raises(CorruptError, match="came from elsewhere"):
        opened()
    assert (tmp_path / "out.jsonl").read_bytes() == b"mine"


@pytest.mark.parametrize("size", [None, 3])
def test_a_file_that_is_too_short(opened: Opened, tmp_path: Path, size: int | None) -> None:
    """What is missing is refused, and told with both sizes."""
    opened().write(Lines(ONE, 1), [])
    partial = tmp_path / "out.jsonl.partial"
    partial.unlink() if size is None else partial.write_bytes(ONE[:size])
    with pytest.raises(CorruptError, match=f"has {size or 0} bytes, .* recorded 8") as caught:
        opened()
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("resumed", [False, True], ids=["in this run", "between two runs"])
def test_a_file_that_was_changed(opened: Opened, tmp_path: Path, *, resumed: bool) -> None:
    """It is found out before it has its final name."""
    output = opened()
    output.write(Lines(ONE, 1), [])
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(TWO)
    os.utime(partial, (1, 1))  # another time than before, however coarse the system's clock
    with pytest.raises(CorruptError, match="was changed"):
        (opened() if resumed else output).finish("messages")
    assert names(tmp_path) == ["out.jsonl.partial"]


def test_a_file_that_was_changed_between_two_batches(opened: Opened, tmp_path: Path) -> None:
    """That it was written to since, and by this run, does not hide it."""
    output = opened()
    output.write(Lines(ONE, 1), [])
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(TWO)
    os.utime(partial, (1, 1))
    for line in (TWO, THREE):
        output.write(Lines(line, 1), [])
    with pytest.raises(CorruptError, match="was changed"):
        output.finish("messages")
    assert names(tmp_path) == ["out.jsonl.partial"]


@pytest.mark.parametrize("resumed", [False, True], ids=["in one run", "in two runs"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out"])
def test_the_sha256_of_what_was_written(
    opened: Opened, tmp_path: Path, name: str, *, resumed: bool
) -> None:
    """The manifest has that of each file's bytes, whoever wrote them."""
    output = opened(name)
    for line in (ONE, TWO, THREE):
        output.write(Lines(line, 1), [])
        output = opened(name) if resumed else output
    output.finish("messages")
    folder = tmp_path / name if output.in_parts else tmp_path
    found = {name: sha256((folder / name).read_bytes()).hexdigest() for name in output.manifest()}
    assert output.manifest() == found
    assert len(found) == (2 if output.in_parts else 1)


@pytest.mark.parametrize("content", [None, b"{}", b"\xff"], ids=["none", "other", "no-text"])
def test_a_manifest_that_cannot_be_read(
    opened: Opened, ledger: Ledger, tmp_path: Path, content: bytes | None
) -> None:
    """It is told; where there is none, the export is finished once more."""
    output = opened()
    output.finish("messages")
    manifest = tmp_path / "out.jsonl.manifest.json"
    manifest.unlink() if content is None else manifest.write_bytes(content)
    with pytest.raises(CorruptError, match="cannot be read"):
        output.manifest()
    opened()
    assert ledger.finished == (content is not None)


def test_columns_that_are_gone(opened: Opened, ledger: Ledger, tmp_path: Path) -> None:
    """What is made of the rows can be made again: the export is not finished without it."""
    pytest.importorskip("duckdb")
    line = b'{"completion_id":"a","seq":0,"message":{"id":"m"}}\n'
    output = opened("out.parquet")
    output.write(Lines(line, 1), [])
    output.finish("messages")
    made = (tmp_path / "out.parquet").read_bytes()
    assert sorted(output.manifest()) == ["out.parquet", "out.parquet.rows.jsonl.gz"]
    (tmp_path / "out.parquet").unlink()
    output = opened("out.parquet")
    assert not ledger.finished
    output.finish("messages")
    assert len((tmp_path / "out.parquet").read_bytes()) == len(made)


# --- endings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.jsonl", ".jsonl"),
        ("a.JSONL.GZ", ".jsonl.gz"),
        ("a.b.jsonl.zst", ".jsonl.zst"),
        ("a.parquet", ".parquet"),
        ("a.duckdb", ".duckdb"),
        ("a", ""),
        (".jsonl", ""),
    ],
)
def test_endings(tmp_path: Path, name: str, ending: str) -> None:
    """The longest ending counts, in either case; without one it is a directory."""
    assert ending_of(tmp_path / name) == ending


def test_an_ending_that_is_not_known(tmp_path: Path) -> None:
    """It is refused, unless a directory of that name is there."""
    with pytest.raises(ConfigurationError, match=r"none of \.jsonl, "):
        ending_of(tmp_path / "a.csv")
    (tmp_path / "a.csv").mkdir()
    assert not ending_of(tmp_path / "a.csv")
