"""The output: which files an export has, what they are called, and how a batch gets into them.

A batch is bytes first and ledger after: appended to `NAME.partial` and made durable, then recorded.
Only a file that is finished has its final name.
"""

import gzip
import hashlib
import importlib
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from aiomessages.errors import ConfigurationError

from .apart import write_columns
from .columnar import check_duckdb
from .errors import CorruptError, ExportError
from .files import Files, Stamp, forget
from .layouts import Lines
from .ledger import Entry, Ledger, Part

CHUNK: Final = 1024 * 1024
PART_BYTES: Final = 256 * 1024 * 1024  # of one file of a directory, as a start


Buffer = bytes | bytearray


def _plain(data: Buffer) -> Buffer:
    return data


def _gzip(data: Buffer) -> Buffer:
    return gzip.compress(data, compresslevel=6, mtime=0)


def _zstd(data: Buffer) -> Buffer:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    try:
        compressed: bytes = importlib.import_module(name).compress(data)
    except ImportError:
        raise ExportError(".zst needs an extra: pip install 'aiomessages[zstd]'") from None
    return compressed


class Format(NamedTuple):
    """How a destination of some ending is written.

    `rows` is the ending of the JSON lines from which columns are made at the end, if they are.
    """

    encode: Callable[[Buffer], Buffer]
    rows: str = ""


# The longest ending that a destination's name has. One complete gzip member or zstd frame a batch,
# so that a file can be cut at any batch and still be read.
FORMATS: Final[dict[str, Format]] = {
    ".jsonl": Format(_plain),
    ".jsonl.gz": Format(_gzip),
    ".jsonl.zst": Format(_zstd),
    ".parquet": Format(_gzip, rows=".rows.jsonl.gz"),
    ".duckdb": Format(_gzip, rows=".rows.jsonl.gz"),
}


class FileDigest(msgspec.Struct, frozen=True):
    """What a finished file holds."""

    name: str
    rows: int
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct):
    files: list[FileDigest]


class _Written:
    """What was written to a part: its SHA-256 so far, and the file's stamp behind it.

    To read it once more at the end would cost as much CPU time as to fetch half of its pages.
    """

    def __init__(self, stamp: Stamp | None) -> None:
        self.sha256 = hashlib.sha256()
        self.stamp = stamp


class Output:
    """The files of one destination, and what its ledger says of them."""

    def __init__(
        self, destination: Path, ledger: Ledger, files: Files, *, part_bytes: int = PART_BYTES
    ) -> None:
        self.destination = destination
        self._manifest = destination.with_name(destination.name + ".manifest.json")
        self._ledger = ledger
        self._files = files
        self._part_bytes = part_bytes
        self._ending = ending_of(destination)
        self.format = FORMATS[self._ending or ".jsonl"]
        self._parts = ledger.parts()
        self._written: dict[int, _Written] = {}  # by number, parts of which this run wrote all

    @property
    def in_parts(self) -> bool:
        """Tell whether the output is a directory of files."""
        return not self._ending

    def path(self, number: int) -> Path:
        """Return the final name of a part: of the JSON lines, where columns are made from them."""
        if self.in_parts:
            return self.destination / f"part-{number:05}.jsonl"
        return self.destination.with_name(self.destination.name + self.format.rows)

    def partial(self, number: int) -> Path:
        """Return the name of a part while it is written."""
        path = self.path(number)
        return path.with_name(path.name + ".partial")

    def recover(self) -> None:
        """Cut every file to what the ledger knows of it. Raises CorruptError for one too short."""
        if self.in_parts:
            self._files.make_directory(self.destination, mode=0o700)
            # Made by a process that was killed, it may not have been made durable.
            self._files.fsync_directory(self.destination.parent)
        for part in self._parts:
            self._recover(part)
        if self.in_parts or not self._parts:
            self._recover_unrecorded(len(self._parts) + 1)
        if None in map(self._files.size, (self.destination, self._manifest)):
            self._ledger.reopen()  # what is made of the rows is missing, and can be made again

    def _recover_unrecorded(self, number: int) -> None:
        for path in (self.path(number), *(() if self.in_parts else (self.destination,))):
            if self._files.size(path) is not None:
                raise CorruptError(
                    f"{path} is there, and the ledger does not know of it:"
                    " move it away, or export to another destination"
                )
        self._files.remove(self.partial(number))  # written by a process that was then killed

    def _recover(self, part: Part) -> None:
        path = self._where(part)
        size = self._files.size(path)
        if size is None or size < part.committed:
            raise CorruptError(
                f"{path} has {size or 0} bytes, and the ledger has recorded {part.committed}:"
                " somebody cut or removed it; delete the export with its ledger and begin anew"
            )
        if size > part.committed:  # a batch that was not recorded
            self._files.truncate(path, part.committed)

    def _where(self, part: Part) -> Path:
        """Return the file of a part: a rename may have come before the ledger could say so."""
        path, partial = self.path(part.number), self.partial(part.number)
        if self._files.size(partial) is None:
            return path
        if self._files.size(path) is not None:
            raise CorruptError(
                f"{path} came from elsewhere while {partial.name} is written: move it away"
            )
        return partial

    def write(self, lines: Lines, entries: Sequence[Entry]) -> int:
        """Commit a batch, and return the bytes that it took.

        After an error nothing more may be written: a new run has to recover first.
        """
        part = self._current()
        # A file begins with something even if it is nothing: one of 0 bytes is no gzip file.
        data = self.format.encode(lines.text) if lines.text or not part.committed else b""
        before = self._files.stamp(self.partial(part.number))
        self._files.append(self.partial(part.number), data)
        self._note(part, data, before)
        part = Part(
            part.number,
            committed=part.committed + len(data),
            crc32=zlib.crc32(data, part.crc32),
            rows=part.rows + lines.number,
        )
        self._record(part, entries)
        if self.in_parts and part.committed >= self._part_bytes:
            self.close_part()
        return len(data)

    def _note(self, part: Part, data: Buffer, before: Stamp | None) -> None:
        """Keep the sum of a part that this run writes from its first byte on, and nobody else."""
        if not part.committed:
            self._written[part.number] = _Written(before)
        written = self._written.get(part.number)
        if written is not None and written.stamp == before:
            written.sha256.update(data)
            written.stamp = self._files.stamp(self.partial(part.number))

    def _current(self) -> Part:
        """Return the part to write to, its file under its partial name."""
        self._files.remove(self._manifest)  # from now on it would not be true
        if not self._parts or (self.in_parts and self._parts[-1].closed):
            return Part(len(self._parts) + 1)
        part = self._parts[-1]
        if self._files.size(self.path(part.number)) is not None:
            # Finished before, and now gone on with; or renamed just before the process ended.
            self._files.replace(self.path(part.number), self.partial(part.number))
        return part

    def _record(self, part: Part, entries: Sequence[Entry]) -> None:
        self._ledger.commit(part, entries)
        self._parts[part.number - 1 :] = [part]

    def close_part(self) -> None:
        """Give the part that was written last its final name, if it has it not yet."""
        part = self._parts[-1]
        if self._files.size(self.partial(part.number)) is not None:
            self._files.replace(self.partial(part.number), self.path(part.number))
        if not part.closed:
            self._record(msgspec.structs.replace(part, closed=True), [])

    def finish(self, layout: str) -> None:
        """Check everything, give it its final name, and write the manifest last."""
        if not self._parts:
            self.write(Lines(), [])  # an export of nothing is a file as well
        digests = [self._digest_of(part) for part in self._parts]
        self.close_part()
        if self.format.rows:
            digests.append(self._make_columns(layout))
        manifest = {"layout": layout, "rows": self.rows, "files": digests}
        self._files.put(self._manifest, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        self._ledger.finish()

    def manifest(self) -> dict[str, str]:
        """Return the sha256 of each finished file, by its name, as the manifest has it."""
        try:
            files = msgspec.json.decode(self._manifest.read_bytes(), type=_Manifest).files
        except (OSError, msgspec.DecodeError) as error:
            raise CorruptError(
                f"{self._manifest.name} cannot be read: remove it, and run the same export again"
            ) from error
        return {file.name: file.sha256 for file in files}

    @property
    def rows(self) -> int:
        """The number of lines that are committed."""
        return sum(part.rows for part in self._parts)

    def _make_columns(self, layout: str) -> FileDigest:
        columns = self.destination.with_name(f"{self.destination.name}.tmp")
        write_columns([self.path(1)], columns, self._ending, layout, files=self._files)
        _, size, sha256 = _sums(columns)
        self._files.replace(columns, self.destination)
        return FileDigest(self.destination.name, self.rows, size, sha256)

    def _digest_of(self, part: Part) -> FileDigest:
        """Return what a part holds. Raises CorruptError where it is not what was written."""
        path, name = self._where(part), self.path(part.number).name
        if (sha256 := self._sha256_as_written(part, path)) is not None:
            return FileDigest(name, part.rows, part.committed, sha256)
        crc32, size, sha256 = _sums(path)  # an earlier run wrote some of it, or somebody else did
        if crc32 != part.crc32:
            raise CorruptError(
                f"{path} was changed since it was written;"
                " delete the export with its ledger and begin anew"
            )
        return FileDigest(name, part.rows, size, sha256)

    def _sha256_as_written(self, part: Part, path: Path) -> str | None:
        """Return the sum of a part that this run wrote, and nobody has touched since."""
        written = self._written.get(part.number)
        if written is None or written.stamp is None or written.stamp.size != part.committed:
            return None
        untouched = written.stamp == self._files.stamp(path)
        return written.sha256.hexdigest() if untouched else None


def _sums(path: Path) -> tuple[int, int, str]:
    """Return a file's CRC-32, its size in bytes and its SHA-256."""
    crc32, size, sha256 = 0, 0, hashlib.sha256()
    chunk = memoryview(bytearray(CHUNK))  # one for all: a new one each time is 256 page faults
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(chunk):
            data = chunk[:count]
            crc32, size = zlib.crc32(data, crc32), size + count
            sha256.update(data)
        forget(file.fileno())
    return crc32, size, sha256.hexdigest()


def check_can_write(destination: Path) -> None:
    """Raise ConfigurationError or ExportError, before anything is fetched in vain."""
    form = FORMATS[ending_of(destination) or ".jsonl"]
    form.encode(b"")
    if form.rows:
        check_duckdb()


def ending_of(destination: Path) -> str:
    """Return the ending that says how to write a destination; "" for a directory.

    Raises ConfigurationError for an ending that is not known.
    """
    name = destination.name.lower()
    for ending in sorted(FORMATS, key=len, reverse=True):
        if name.endswith(ending) and name != ending:
            return ending
    if destination.suffix and not destination.is_dir():
        known = ", ".join(FORMATS)
        raise ConfigurationError(
            f"{destination.name}: the ending is none of {known}, nor is it a directory"
        )
    return ""
