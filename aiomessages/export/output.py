"""The output: which files an export has, what they are called, and how a batch gets into them.

A batch is bytes first and ledger after: appended to `NAME.partial` and made durable, then recorded.
Only a file that is finished has its final name.
"""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ..errors import ConfigurationError
from .columnar import write_columns
from .errors import CorruptError, ExportError
from .files import Files
from .ledger import Entry, Ledger, Part

CHUNK: Final = 1024 * 1024
PART_BYTES: Final = 256 * 1024 * 1024  # of one file of a directory, as a start


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=6, mtime=0)


def _zstd(data: bytes) -> bytes:
    try:
        from compression import zstd  # noqa: PLC0415 from Python 3.14 on
    except ImportError:
        try:
            from backports import zstd  # noqa: PLC0415 an extra
        except ImportError:
            raise ExportError(".zst needs an extra: pip install 'aiomessages[zstd]'") from None
    compressed: bytes = zstd.compress(data)
    return compressed


class Format(NamedTuple):
    """How a destination of some ending is written.

    `rows` is the ending of the JSON lines from which columns are made at the end, if they are.
    """

    encode: Callable[[bytes], bytes]
    rows: str = ""


# The longest ending that a destination's name has. One complete gzip member or zstd frame a batch,
# so that a file can be cut at any batch and still be read.
FORMATS: Final[dict[str, Format]] = {
    ".jsonl": Format(bytes),
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
            self.destination.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in self._parts:
            self._recover(part)
        if not self._parts:
            self.partial(1).unlink(missing_ok=True)  # written, and never recorded

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
        partial = self.partial(part.number)
        return self.path(part.number) if self._files.size(partial) is None else partial

    def write(self, lines: Sequence[bytes], entries: Sequence[Entry]) -> int:
        """Commit a batch, and return the bytes that it took."""
        part = self._current()
        data = self.format.encode(b"".join(lines)) if lines else b""
        self._files.append(self.partial(part.number), data)
        part = Part(
            part.number,
            committed=part.committed + len(data),
            crc32=zlib.crc32(data, part.crc32),
            rows=part.rows + len(lines),
        )
        self._record(part, entries)
        if self.in_parts and part.committed >= self._part_bytes:
            self.close_part()
        return len(data)

    def _current(self) -> Part:
        """Return the part to write to, its file under its partial name."""
        if not self._parts or (self.in_parts and self._parts[-1].closed):
            self._parts.append(Part(len(self._parts) + 1))
        part = self._parts[-1]
        if self._files.size(self.path(part.number)) is not None:
            # Finished before, and now gone on with; or renamed just before the process ended.
            self._files.replace(self.path(part.number), self.partial(part.number))
        return part

    def _record(self, part: Part, entries: Sequence[Entry]) -> None:
        self._ledger.commit(part, entries)
        self._parts[part.number - 1] = part

    def close_part(self) -> None:
        """Give the part that is written its final name, if there is one."""
        if not self._parts:
            self.write([], [])  # an export of nothing is a file as well
        part = self._parts[-1]
        if self._files.size(self.partial(part.number)) is not None:
            self._files.replace(self.partial(part.number), self.path(part.number))
        if not part.closed:
            self._record(msgspec.structs.replace(part, closed=True), [])

    def finish(self, layout: str) -> None:
        """Give everything its final name, and write the manifest last."""
        self.close_part()
        digests = [self._digest_of(part) for part in self._parts]
        if self.format.rows:
            columns = self.destination.with_name(f"{self.destination.name}.tmp")
            write_columns([self.path(1)], columns, self._ending, layout)
            self._files.replace(columns, self.destination)
        manifest = {"layout": layout, "rows": self.rows, "files": digests}
        self._files.put(self._manifest, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        self._ledger.finish()

    def manifest(self) -> dict[str, str]:
        """Return the sha256 of each finished file, by its name, as the manifest has it."""
        files = msgspec.json.decode(self._manifest.read_bytes(), type=_Manifest).files
        return {file.name: file.sha256 for file in files}

    @property
    def rows(self) -> int:
        """The number of lines that are committed."""
        return sum(part.rows for part in self._parts)

    def _digest_of(self, part: Part) -> FileDigest:
        path, crc32, sha256 = self.path(part.number), 0, hashlib.sha256()
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                crc32 = zlib.crc32(data, crc32)
                sha256.update(data)
        if crc32 != part.crc32:
            raise CorruptError(
                f"{path} was changed since it was written;"
                " delete the export with its ledger and begin anew"
            )
        return FileDigest(path.name, part.rows, part.committed, sha256.hexdigest())


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
