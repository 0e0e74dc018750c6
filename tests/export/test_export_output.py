"""The output: names and bytes of its files at each moment, and the cases that it refuses."""

from __future__ import annotations

import errno
import gzip
import json
import os
import sys
import zlib
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from backports import zstd
from msgspec import structs

from aiomessages import ConfigurationError
from aiomessages.export import CorruptError, DiskFullError, ExportError
from aiomessages.export.files import Files
from aiomessages.export.ledger import Ledger
from aiomessages.export.ledger_schema import Entry, Part
from aiomessages.export.output import Output, check_can_write, ending_of
from aiomessages.export.stored import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Opened = Callable[..., Output]

ONE, TWO, THREE = b'{"a":1}\n', b'{"a":2}\n', b'{"a":3}\n'


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Give a ledger with another name than the output."""
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


LINE = b'{"completion_id":"a","seq":0,"message":{"id":"m"}}\n'


def contents(directory: Path) -> dict[str, bytes]:
    """Return the bytes of each existing file, without the ledger."""
    found = {name: directory / name for name in names(directory)}
    return {name: path.read_bytes() for name, path in found.items() if path.is_file()}


def written_when(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes of each existing file, and its modification time."""
    found = [path for path in directory.rglob("*") if path.is_file() and "-shm" not in path.name]
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def names(directory: Path) -> list[str]:
    """Return the names of all files, without the ledger."""
    found = (str(path.relative_to(directory)) for path in directory.rglob("*"))
    return sorted(name for name in found if not name.startswith("ledger"))


def test_a_batch(opened: Opened, ledger: Ledger, tmp_path: Path) -> None:
    """A batch is in the partial file, and the ledger has its bytes, rows and checksum."""
    output = opened()
    assert output.write([Lines(ONE + TWO, 2)], [Entry("a", "done")]) == 16
    output.write([Lines(THREE, 1)], [])
    assert names(tmp_path) == ["out.jsonl.partial"]
    assert (tmp_path / "out.jsonl.partial").read_bytes() == ONE + TWO + THREE
    assert ledger.parts() == [Part(1, 24, zlib.crc32(ONE + TWO + THREE), 3)]
    assert ledger.entries("a") == {"a": Entry("a", "done")}


@pytest.mark.parametrize(
    ("name", "decode"),
    [("o.jsonl", bytes), ("o.jsonl.gz", gzip.decompress), ("o.jsonl.zst", zstd.decompress)],
    ids=["jsonl", "gz", "zst"],
)
def test_each_batch_can_be_read_alone(
    opened: Opened, tmp_path: Path, name: str, decode: Callable[[bytes], bytes]
) -> None:
    """A file that ends with any batch can be read."""
    output = opened(name)
    for text in (ONE, ONE + TWO, ONE + TWO + THREE):
        output.write([Lines(text[-8:], 1)], [])
        assert decode((tmp_path / f"{name}.partial").read_bytes()) == text


@pytest.mark.parametrize(
    ("name", "decode"),
    [("o.jsonl", bytes), ("o.jsonl.gz", gzip.decompress), ("o.jsonl.zst", zstd.decompress)],
    ids=["jsonl", "gz", "zst"],
)
def test_nothing(
    opened: Opened, tmp_path: Path, name: str, decode: Callable[[bytes], bytes]
) -> None:
    """An empty export is a readable file, with or without completions to record."""
    output = opened(name)
    output.write([Lines()], [Entry("a", "skipped")])
    output.write([Lines()], [Entry("b", "skipped")])
    output.finish("messages")
    assert decode((tmp_path / name).read_bytes()) == b""


def test_a_batch_of_entries(opened: Opened, tmp_path: Path) -> None:
    """A batch without lines begins no file."""
    opened().write([Lines()], [Entry("a", "gone")])
    assert names(tmp_path) == []


def test_a_destination_without_zstd(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without zstd, the error names the extra to install."""
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ExportError, match=r"aiomessages\[zstd\]"):
        opened("out.jsonl.zst").write([Lines(ONE, 1)], [])


def test_lines_without_duckdb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A destination of lines needs no duckdb."""
    monkeypatch.setitem(sys.modules, "duckdb", None)
    check_can_write(tmp_path / "out.jsonl")
    with pytest.raises(ExportError, match="pip install"):
        check_can_write(tmp_path / "out.parquet")


def test_finishing(opened: Opened, ledger: Ledger, tmp_path: Path) -> None:
    """The file gets its final name and a manifest; finishing twice changes nothing."""
    output = opened()
    output.write([Lines(ONE + TWO, 2)], [])
    for _ in range(2):
        output.finish("messages")
        assert names(tmp_path) == ["out.jsonl", "out.jsonl.manifest.json"]
        manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())
        assert (manifest["layout"], manifest["rows"]) == ("messages", 2)
        (file,) = manifest["files"]
        assert (file["name"], file["rows"], file["bytes"]) == ("out.jsonl", 2, 16)
        assert output.manifest()["out.jsonl"].sha256 == file["sha256"]
        assert ledger.finished


@pytest.mark.parametrize("resumed", [False, True], ids=["in one run", "in two runs"])
def test_continuing_a_finished_export(
    opened: Opened, ledger: Ledger, tmp_path: Path, *, resumed: bool
) -> None:
    """A finished file stays unchanged, with a true manifest, until the end of the next run."""
    opened().write([Lines(ONE, 1)], [])
    opened().finish("messages")
    before = contents(tmp_path)
    output = opened()
    output.write([Lines(TWO, 1)], [])
    assert not ledger.finished
    output = opened() if resumed else output
    output.write([Lines(THREE, 1)], [])
    assert contents(tmp_path) == before | {"out.jsonl.partial": TWO + THREE}
    assert ledger.parts()[1:] == [Part(2, 16, zlib.crc32(TWO + THREE), 2)]
    output.finish("messages")
    assert names(tmp_path) == ["out.jsonl", "out.jsonl.manifest.json"]
    assert (tmp_path / "out.jsonl").read_bytes() == ONE + TWO + THREE
    assert output.manifest()["out.jsonl"].sha256 == sha256(ONE + TWO + THREE).hexdigest()
    assert ledger.parts() == [Part(1, 24, zlib.crc32(ONE + TWO + THREE), 3, closed=True)]
    assert output.rows == 3


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out"])
def test_adding_to_an_export_of_nothing(opened: Opened, tmp_path: Path, name: str) -> None:
    """An empty export is extended like any other."""
    opened(name).finish("messages")
    opened(name).write([Lines(ONE, 1)], [])
    opened(name).finish("messages")
    files = sorted((tmp_path / name).iterdir()) if name == "out" else [tmp_path / name]
    data = b"".join(path.read_bytes() for path in files)
    assert (gzip.decompress(data) if name.endswith(".gz") else data) == ONE


def test_adding_makes_no_copy(opened: Opened, tmp_path: Path) -> None:
    """A finished file is extended in place, without a copy."""
    opened().write([Lines(ONE, 1)], [])
    opened().finish("messages")
    before = (tmp_path / "out.jsonl").stat().st_ino
    opened().write([Lines(TWO, 1)], [])
    opened().finish("messages")
    assert (tmp_path / "out.jsonl").stat().st_ino == before


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet", "out"])
def test_nothing_new(opened: Opened, tmp_path: Path, name: str) -> None:
    """If nothing is new, no file changes, the ledger included."""
    if name == "out.parquet":
        pytest.importorskip("duckdb")
    opened(name).write([Lines(LINE, 1)], [])
    opened(name).finish("messages", {"gone": ["a"]})
    before = written_when(tmp_path)
    opened(name).finish("messages", {"gone": ["a"]})
    assert written_when(tmp_path) == before


def test_nothing_new_but_states_of_completions(opened: Opened, tmp_path: Path) -> None:
    """Entries without lines change no file, and the manifest lists the named ids."""
    opened().write([Lines(ONE, 1)], [])
    opened().finish("messages")
    before = written_when(tmp_path)
    output = opened()
    output.write([Lines()], [Entry("a", "skipped")])
    output.finish("messages", {"pending": ["a"]})
    after = written_when(tmp_path)
    assert before.pop("out.jsonl.manifest.json") != after.pop("out.jsonl.manifest.json")
    assert [n for n in before if before[n] != after[n] and not n.startswith("ledger")] == []
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())
    named = {what: manifest[what] for what in ("gone", "pending", "lost", "failed")}
    assert named == {"gone": [], "pending": ["a"], "lost": [], "failed": []}


def test_parts(opened: Opened, ledger: Ledger, tmp_path: Path) -> None:
    """A part that is large enough is closed, and the next one begins; none is opened again."""
    output = opened("out")
    for line in (ONE, TWO, THREE):
        output.write([Lines(line, 1)], [])
    assert names(tmp_path) == ["out", "out/part-00001.jsonl", "out/part-00002.jsonl.partial"]
    output.finish("messages")
    output = opened("out")
    output.write([Lines(ONE, 1)], [])
    output.finish("messages")
    assert [part.closed for part in ledger.parts()] == [True] * 3
    assert sorted(output.manifest()) == [f"part-0000{n}.jsonl" for n in (1, 2, 3)]
    assert (output.rows, output.in_parts) == (4, True)


# --- what a run finds -----------------------------------------------------------------------------


def test_bytes_that_were_not_recorded(opened: Opened, tmp_path: Path) -> None:
    """Unrecorded bytes are cut off a partial file, if the bytes before them are right."""
    opened().write([Lines(ONE, 1)], [])
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(ONE + TWO)
    opened().write([Lines(THREE, 1)], [])
    assert partial.read_bytes() == ONE + THREE
    partial.write_bytes(TWO + TWO + TWO)
    with pytest.raises(CorruptError, match="was changed"):
        opened()
    assert partial.read_bytes() == TWO + TWO + TWO


@pytest.mark.parametrize("step", ["both names", "new name", "a copy"])
@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_a_process_that_was_killed_while_it_gave_a_name(
    opened: Opened, ledger: Ledger, name: str, step: str
) -> None:
    """After a kill during a rename, the file has its final name, and later bytes go elsewhere."""
    output = opened(name, part_bytes=100)
    output.write([Lines(ONE, 1)], [])
    path, partial = output.parts.path(1), output.parts.partial(1)
    if step == "a copy":  # as of an export that was copied in this state
        path.write_bytes(ONE)
    else:
        os.link(partial, path)
    if step == "new name":
        partial.unlink()
    output = opened(name)
    assert (path.exists(), partial.exists()) == (True, False)
    assert ledger.parts()[0].closed
    output.write([Lines(TWO, 1)], [])
    assert path.read_bytes() == ONE


@pytest.mark.parametrize("tail", [TWO[:3], TWO, bytes(8)], ids=["torn", "whole", "zeros"])
def test_a_process_that_was_killed_while_it_added(
    opened: Opened, ledger: Ledger, tmp_path: Path, tail: bytes
) -> None:
    """After a kill during the extension, unrecorded bytes are cut off, and added again."""
    opened().write([Lines(ONE, 1)], [])
    opened().finish("messages")
    opened().write([Lines(TWO, 1)], [])
    first, second = ledger.parts()
    ledger.commit([structs.replace(second, closed=True)], [])
    (tmp_path / "out.jsonl").write_bytes(ONE + tail)
    output = opened()
    assert (tmp_path / "out.jsonl").read_bytes() == ONE
    assert ledger.parts() == [first, second]
    output.write([Lines(THREE, 1)], [])
    output.finish("messages")
    assert (tmp_path / "out.jsonl").read_bytes() == ONE + TWO + THREE


def test_a_disk_that_is_full_while_a_file_is_added_to(
    opened: Opened, ledger: Ledger, tmp_path: Path
) -> None:
    """On a full disk, the earlier content stays readable, and the next run adds the rest."""

    class FullFiles(Files):
        def write(self, descriptor: int, data: memoryview) -> int:
            if data == TWO:
                return super().write(descriptor, data[:3])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    opened().write([Lines(ONE, 1)], [])
    opened().finish("messages")
    opened().write([Lines(TWO, 1)], [])
    output = Output(tmp_path / "out.jsonl", ledger, FullFiles())
    with pytest.raises(DiskFullError):
        output.finish("messages")
    assert contents(tmp_path) == {"out.jsonl": ONE, "out.jsonl.partial": TWO}
    opened().finish("messages")
    assert contents(tmp_path)["out.jsonl"] == ONE + TWO


def test_a_process_that_was_killed_after_it_added(opened: Opened, tmp_path: Path) -> None:
    """After a kill behind the extension, the added part is removed: the file has all of it."""
    for line in (ONE, TWO):
        opened().write([Lines(line, 1)], [])
        opened().finish("messages")
    (tmp_path / "out.jsonl.partial").write_bytes(TWO)
    opened()
    assert names(tmp_path) == ["out.jsonl", "out.jsonl.manifest.json"]


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_an_unrecorded_empty_file(opened: Opened, tmp_path: Path, name: str) -> None:
    """An empty unrecorded file is removed: of the first part, and of the next part."""
    output = opened(name)
    output.parts.partial(1).touch()
    output = opened(name)
    assert not output.parts.partial(1).exists()
    if output.in_parts:
        output.write([Lines(ONE + TWO, 2)], [])
        output.parts.partial(2).touch()
        opened(name)
        assert names(tmp_path) == ["out", "out/part-00001.jsonl"]


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_a_file_that_was_recorded_and_never_written_to(
    opened: Opened, ledger: Ledger, tmp_path: Path, name: str
) -> None:
    """A recorded file without bytes is begun again if lines follow."""
    output = opened(name)
    for left in (None, b"", ONE):
        ledger.commit([Part(0), Part(1)], [])
        if left is not None:
            output.parts.partial(1).write_bytes(left)
            output.names.incomplete.write_bytes(left)
        opened(name)
        assert contents(tmp_path) == {}
        assert ledger.parts() == []


# --- what is somebody else's ----------------------------------------------------------------------

FOREIGN = [
    "out.jsonl",
    "out.jsonl.partial",
    "out.jsonl.manifest.json",
    "out.jsonl.manifest.json.tmp",
    "out.jsonl.incomplete.jsonl",
    "out/part-00001.jsonl",
    "out/part-00001.jsonl.partial",
    "out/part-00007.jsonl",
    "out.parquet",
    "out.parquet.tmp",
    "out.parquet.rows.jsonl.gz",
    "out.duckdb.rows.jsonl.gz.partial",
    "out.duckdb",
    "out.duckdb.wal",
]


def output_of(name: str) -> str:
    """Return the name of the output to which a file would belong."""
    whole = name.partition("/")[0]
    return next(
        (e for e in ("out.jsonl", "out.parquet", "out.duckdb") if whole.startswith(e)), whole
    )


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file(opened: Opened, tmp_path: Path, name: str) -> None:
    """A file that the ledger does not record is neither overwritten, extended nor removed."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(CorruptError, match=r"has no record of it: move it away"):
        opened(output_of(name))
    assert contents(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_link(opened: Opened, tmp_path: Path, name: str) -> None:
    """A link is not followed under any of the output's names, whether its target exists or not."""
    for target in (tmp_path / "nothing", tmp_path / "something"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).symlink_to(target)
        with pytest.raises(CorruptError, match=r"is a symbolic link: move it away|has no record"):
            opened(output_of(name))
        assert not (tmp_path / "nothing").exists()
        (tmp_path / "something").write_bytes(b"mine")
    assert (tmp_path / "something").read_bytes() == b"mine"


DURING = [name for name in FOREIGN if name.rpartition(".")[2] != "partial" and "-00001" not in name]


@pytest.mark.parametrize("name", DURING)
def test_a_file_that_comes_during_a_run(opened: Opened, tmp_path: Path, name: str) -> None:
    """A file that appears during a run is not replaced; once it is moved, the run continues."""
    if "parquet" in name or "duckdb" in name:
        pytest.importorskip("duckdb")
    output, path = opened(output_of(name)), tmp_path / name

    def go_on() -> None:
        for _ in range(8):
            output.write([Lines(LINE, 1)], [], [] if path.exists() else [LINE])
        output.write([], [], [LINE])
        output.finish("messages")

    output.write([Lines(LINE, 1)], [])
    path.write_bytes(b"mine")
    with pytest.raises(CorruptError, match="move it away"):
        go_on()
    assert path.read_bytes() == b"mine"
    path.unlink()
    output = opened(output_of(name))
    go_on()
    assert output.manifest()


def test_a_link_that_comes_during_a_run(opened: Opened, tmp_path: Path) -> None:
    """A link is refused at the end of a run, too, and its target stays."""
    output = opened()
    output.write([Lines(ONE, 1)], [])
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "out.jsonl.manifest.json").symlink_to(tmp_path / "mine")
    with pytest.raises(CorruptError, match="is a symbolic link: move it away"):
        output.finish("messages")
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_link_in_place_of_a_manifest(opened: Opened, tmp_path: Path) -> None:
    """The next run says at its start that it is a link."""
    opened().finish("messages")
    manifest = tmp_path / "out.jsonl.manifest.json"
    manifest.replace(tmp_path / "moved")
    manifest.symlink_to(tmp_path / "moved")
    with pytest.raises(CorruptError, match="is a symbolic link: move it away"):
        opened()


def test_a_partial_file_that_was_replaced(opened: Opened, tmp_path: Path) -> None:
    """A replaced partial file is not extended, cut or renamed."""
    output = opened()
    output.write([Lines(ONE, 1)], [])
    (tmp_path / "mine").write_bytes(b"this is mine, and longer")
    (tmp_path / "mine").replace(tmp_path / "out.jsonl.partial")
    with pytest.raises(CorruptError, match="was changed"):
        output.write([Lines(TWO, 1)], [])
    with pytest.raises(CorruptError, match="was changed"):
        opened()
    assert contents(tmp_path) == {"out.jsonl.partial": b"this is mine, and longer"}


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
def test_a_finished_file_that_was_extended_by_others(opened: Opened, name: str) -> None:
    """A finished file that somebody extended is refused, and keeps the added bytes."""
    opened(name).write([Lines(ONE, 1)], [])
    output = opened(name)
    output.finish("messages")
    output.parts.path(1).write_bytes(ONE + b"mine")
    with pytest.raises(CorruptError, match="was changed"):
        opened(name)
    assert output.parts.path(1).read_bytes() == ONE + b"mine"


def test_a_finished_file_with_a_second_name(opened: Opened, tmp_path: Path) -> None:
    """A hard link that somebody made keeps its content."""
    opened().write([Lines(ONE, 1)], [])
    opened().finish("messages")
    os.link(tmp_path / "out.jsonl", tmp_path / "kept")
    opened().finish("messages")
    with pytest.raises(CorruptError, match="has a second name"):
        opened().write([Lines(TWO, 1)], [])
    assert (tmp_path / "kept").read_bytes() == ONE


def test_columns_and_manifest_are_replaced_by_newer_ones(opened: Opened, tmp_path: Path) -> None:
    """An export replaces only files that it made, and no other file of the same name."""
    pytest.importorskip("duckdb")
    seen = set()
    for _ in range(3):
        opened("out.parquet").write([Lines(LINE, 1)], [])
        opened("out.parquet").finish("messages")
        seen.add((tmp_path / "out.parquet").read_bytes())
        manifest = json.loads((tmp_path / "out.parquet.manifest.json").read_bytes())
        assert [file["rows"] for file in manifest["files"]] == [len(seen)] * 2
    columns = tmp_path / "out.parquet"
    mine = b"#" * columns.stat().st_size  # of the same size, so that only the bytes differ
    columns.write_bytes(mine)
    opened("out.parquet").write([Lines(LINE, 1)], [])
    with pytest.raises(CorruptError, match="move it away"):
        opened("out.parquet").finish("messages")
    assert columns.read_bytes() == mine
    columns.unlink()
    opened("out.parquet").finish("messages")


def test_columns_that_are_made_again(opened: Opened, ledger: Ledger, tmp_path: Path) -> None:
    """The manifest of columns that are gone is removed before there are new ones."""
    pytest.importorskip("duckdb")

    class NoManifest(Files):
        def create(self, path: Path) -> None:
            raise OSError(errno.EIO, f"{path.name} cannot be created")

    opened("out.parquet").write([Lines(LINE, 1)], [])
    opened("out.parquet").finish("messages")
    (tmp_path / "out.parquet").unlink()
    with pytest.raises(OSError, match=r"manifest\.json\.tmp"):
        Output(tmp_path / "out.parquet", ledger, NoManifest()).finish("messages")
    assert names(tmp_path) == ["out.parquet", "out.parquet.rows.jsonl.gz"]


def test_columns_that_were_changed(opened: Opened, tmp_path: Path) -> None:
    """Changed columns are not reported as finished, even without new lines."""
    pytest.importorskip("duckdb")
    opened("out.parquet").write([Lines(LINE, 1)], [])
    opened("out.parquet").finish("messages")
    (tmp_path / "out.parquet").write_bytes(b"mine")
    with pytest.raises(CorruptError, match="has no record of it"):
        opened("out.parquet")
    assert (tmp_path / "out.parquet").read_bytes() == b"mine"


# --- lines of lost conversations ------------------------------------------------------------------


def test_incomplete(opened: Opened, ledger: Ledger, tmp_path: Path) -> None:
    """Incomplete lines have a file of their own, in the same transaction, and count nowhere."""
    output = opened()
    output.write([Lines(ONE, 1)], [Entry("a", "done")], [TWO])
    output = opened()
    output.write([], [Entry("b", "lost")], [THREE[:3], THREE[3:]])
    assert ledger.parts() == [
        Part(0, 16, zlib.crc32(TWO + THREE)),
        Part(1, 8, zlib.crc32(ONE), 1),
    ]
    output.finish("messages")
    assert (tmp_path / "out.jsonl.incomplete.jsonl").read_bytes() == TWO + THREE
    assert (output.rows, [*output.manifest()]) == (1, ["out.jsonl"])


def test_a_foreign_file_for_incomplete_lines(opened: Opened, tmp_path: Path) -> None:
    """A foreign file at that name is refused in the middle of an export as at its start."""
    opened().write([Lines(ONE, 1)], [])
    (tmp_path / "out.jsonl.incomplete.jsonl").write_bytes(ONE)
    with pytest.raises(CorruptError, match="has no record of it"):
        opened()


def test_incomplete_lines_that_were_not_recorded(opened: Opened, tmp_path: Path) -> None:
    """Unrecorded incomplete lines are cut; a removed file is begun again, a cut one refused."""
    path = tmp_path / "out.jsonl.incomplete.jsonl"
    opened().write([], [], [TWO])
    path.write_bytes(TWO + THREE)
    opened()
    assert path.read_bytes() == TWO
    path.unlink()
    opened().write([], [], [THREE])
    assert path.read_bytes() == THREE
    path.write_bytes(THREE[:3])
    with pytest.raises(CorruptError, match="has 3 bytes"):
        opened()


@pytest.mark.parametrize("size", [None, 3])
def test_a_file_that_is_too_short(opened: Opened, tmp_path: Path, size: int | None) -> None:
    """A file that is too short is refused with both sizes."""
    opened().write([Lines(ONE, 1)], [])
    partial = tmp_path / "out.jsonl.partial"
    partial.unlink() if size is None else partial.write_bytes(ONE[:size])
    with pytest.raises(CorruptError, match=f"has {size or 0} bytes, .* recorded 8") as caught:
        opened()
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("resumed", [False, True], ids=["in this run", "between two runs"])
def test_a_file_that_was_changed(opened: Opened, tmp_path: Path, *, resumed: bool) -> None:
    """A changed file is detected before it gets its final name."""
    output = opened()
    output.write([Lines(ONE, 1)], [])
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(TWO)
    os.utime(partial, (1, 1))  # another time than before, however coarse the system's clock
    with pytest.raises(CorruptError, match="was changed"):
        (opened() if resumed else output).finish("messages")
    assert names(tmp_path) == ["out.jsonl.partial"]


def test_a_file_that_was_changed_between_two_batches(opened: Opened, tmp_path: Path) -> None:
    """A change is detected even if this run wrote to the file afterwards."""
    output = opened()
    output.write([Lines(ONE, 1)], [])
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(TWO)
    os.utime(partial, (1, 1))
    for line in (TWO, THREE):
        output.write([Lines(line, 1)], [])
    with pytest.raises(CorruptError, match="was changed"):
        output.finish("messages")
    assert names(tmp_path) == ["out.jsonl.partial"]


@pytest.mark.parametrize("which", ["out.jsonl", "out.jsonl.partial"])
def test_a_file_that_was_changed_before_it_is_added_to(
    opened: Opened, tmp_path: Path, which: str
) -> None:
    """If the finished file was changed, neither file is changed by the run."""
    opened().write([Lines(ONE, 1)], [])
    opened().finish("messages")
    opened().write([Lines(TWO, 1)], [])
    (tmp_path / which).write_bytes(THREE)
    before = contents(tmp_path)
    with pytest.raises(CorruptError, match="was changed"):
        opened().finish("messages")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("resumed", [False, True], ids=["in one run", "in two runs"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out"])
def test_the_sha256_of_written_files(
    opened: Opened, tmp_path: Path, name: str, *, resumed: bool
) -> None:
    """The manifest has the SHA-256 of each file's bytes, whichever run wrote them."""
    output = opened(name)
    for line in (ONE, TWO, THREE):
        output.write([Lines(line, 1)], [])
        output = opened(name) if resumed else output
    output.finish("messages")
    folder = tmp_path / name if output.in_parts else tmp_path
    found = {name: sha256((folder / name).read_bytes()).hexdigest() for name in output.manifest()}
    assert {name: file.sha256 for name, file in output.manifest().items()} == found
    assert len(found) == (2 if output.in_parts else 1)


@pytest.mark.parametrize("content", [None, b"{}", b"\xff"], ids=["none", "other", "no-text"])
def test_a_manifest_that_cannot_be_read(
    opened: Opened, ledger: Ledger, tmp_path: Path, content: bytes | None
) -> None:
    """An unreadable manifest is an error; without the manifest the export is finished again."""
    output = opened()
    output.finish("messages")
    manifest = tmp_path / "out.jsonl.manifest.json"
    manifest.unlink() if content is None else manifest.write_bytes(content)
    with pytest.raises(CorruptError, match="cannot be read"):
        output.manifest()
    if content is not None:
        with pytest.raises(CorruptError, match="move it away"):
            opened()
        assert manifest.read_bytes() == content
        manifest.unlink()
    opened()
    assert not ledger.finished


def test_columns_that_are_gone(opened: Opened, ledger: Ledger, tmp_path: Path) -> None:
    """Missing columns are made again, and the export is unfinished without them."""
    pytest.importorskip("duckdb")
    output = opened("out.parquet")
    output.write([Lines(LINE, 1)], [])
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
    ],
)
def test_endings(tmp_path: Path, name: str, ending: str) -> None:
    """The longest ending counts, in either case; a name without an ending is a directory."""
    assert ending_of(tmp_path / name) == ending


def test_an_ending_that_is_not_known(tmp_path: Path) -> None:
    """An unknown ending is refused, unless a directory of that name exists."""
    for name in ("a.csv", f"{'a' * 300}.csv"):
        with pytest.raises(ConfigurationError, match=r"use one of \.jsonl, "):
            ending_of(tmp_path / name)
    (tmp_path / "a.csv").mkdir()
    assert not ending_of(tmp_path / "a.csv")


@pytest.mark.parametrize("name", [".jsonl", ".jsonl.gz", ".PARQUET"])
def test_an_ending_alone(tmp_path: Path, name: str) -> None:
    """An ending alone, as the shell makes it of an unset variable, is refused."""
    with pytest.raises(ConfigurationError, match="without a name"):
        ending_of(tmp_path / name)


@pytest.mark.parametrize("what", ["file", "pipe", "link"])
def test_no_ending_and_no_directory(tmp_path: Path, what: str) -> None:
    """A path without an ending that exists and is no directory is refused at once."""
    path = tmp_path / "out"
    make = {"file": Path.touch, "pipe": os.mkfifo, "link": lambda path: path.symlink_to("-")}
    make[what](path)
    with pytest.raises(ConfigurationError, match="unsupported file type"):
        ending_of(path)
