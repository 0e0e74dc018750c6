"""The output: the files of an export, and the commit of a batch to them.

The bytes of a batch are appended to `NAME.partial` and made durable; then the ledger records them.
Only a finished file has its final name, and it keeps the name while a later run adds to it.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from aiomessages.errors import ConfigurationError

from .checksums import Checksums, checksums_of
from .columnar import check_duckdb
from .columns_process import write_columns
from .errors import CorruptError, refuse_taken, refuse_unknown
from .files import Files
from .formats import FORMATS
from .ledger import Ledger
from .ledger_schema import Entry
from .manifest import FileDigest, decode_manifest, encode_manifest
from .names import Names, try_names
from .part_files import PartFiles, is_part
from .stored import Lines

_UNKNOWN: Final = ""  # the SHA-256 of a file that is being made
PART_BYTES: Final = 256 * 1024 * 1024  # of one file of a directory, as a start


class Output:
    """The files of one destination, with their ledger."""

    def __init__(
        self, destination: Path, ledger: Ledger, files: Files, *, part_bytes: int = PART_BYTES
    ) -> None:
        self.names = Names.of(destination)
        self.destination = self.names.destination
        self._ledger = ledger
        self._files = files
        self._part_bytes = part_bytes
        self._ending = ending_of(self.destination)
        self.in_parts = not self._ending  # a directory of part files
        self.format = FORMATS[self._ending or ".jsonl"]
        self.parts = PartFiles(
            self.names, ledger, files, in_directory=self.in_parts, rows=self.format.rows
        )
        self._manifest = GeneratedFile(self.names.manifest, "manifest", ledger, files)
        self._columns = GeneratedFile(self.destination, "columns", ledger, files)

    @property
    def rows(self) -> int:
        """The number of committed lines."""
        return sum(part.rows for part in self.parts.listed)

    def recover(self) -> None:
        """Restore every file to its recorded state.

        Raises CorruptError for a file that is too short or belongs to somebody else.
        """
        if self.in_parts:
            self._files.make_directory(self.destination, mode=0o700)
            # A killed process may have created it without making it durable.
            self._files.fsync_directory(self.destination.parent)
        self.parts.recover()
        self._manifest.recover()
        if self.format.rows:
            self._columns.recover()
            self._refuse_log()
        if None in map(self._files.size, (self.destination, self.names.manifest)):
            self._ledger.reopen()  # a generated file is missing, and can be made again

    # --- writing ----------------------------------------------------------------------------------

    def write(
        self, lines: Iterable[Lines], entries: Sequence[Entry], incomplete: Iterable[bytes] = ()
    ) -> int:
        """Commit a batch that comes in pieces, and return the number of its bytes in the output.

        `incomplete` is lines of lost conversations, for part 0. After an error no more batches may
        be written: a new run has to recover first.
        """
        part, aside, size = None, None, 0
        for piece in lines:
            if piece.text:
                data = self.format.encode(piece.text)
                part, size = self.parts.append(data, piece.number, part), size + len(data)
        for piece_of_lost in incomplete:
            aside = self.parts.append_incomplete(piece_of_lost, aside)
        written = [one for one in (part, aside) if one is not None]
        self._ledger.commit(written, entries)
        self.parts.keep(*written)
        if part is not None and self.in_parts and part.committed >= self._part_bytes:
            self.parts.close()
        return size

    # --- finishing --------------------------------------------------------------------------------

    def finish(self, layout: str, named: Mapping[str, Sequence[str]] | None = None) -> None:
        """Check the files, give them their final names, and write the manifest last.

        `named` has the ids that the manifest lists. If nothing is new, no file changes.
        """
        if not self.parts.listed:  # 0 bytes are no gzip file
            self.parts.record(self.parts.append(self.format.encode(b""), 0))
        before = {} if self._manifest.current() is None else self.manifest()
        digests = self.parts.complete()
        if self.format.rows:
            digests.append(self._make_columns(layout, digests[0], before))
        self._write_manifest(encode_manifest(layout, digests, self.rows, named or {}))
        if not self._ledger.finished:
            self._ledger.finish()

    def manifest(self) -> dict[str, FileDigest]:
        """Return the files of the manifest by name."""
        try:
            return decode_manifest(self.names.manifest.read_bytes())
        except (OSError, ValueError) as error:
            raise CorruptError(
                f"{self.names.manifest.name} cannot be read",
                hint="remove it, and run the same export again",
            ) from error

    def _make_columns(
        self, layout: str, rows: FileDigest, before: Mapping[str, FileDigest]
    ) -> FileDigest:
        """Make columns of the rows, unless existing columns were made of these very rows."""
        made, known = self._columns, before.get(self.destination.name)
        if known is not None and before.get(rows.name) == rows:
            there = made.current()
            if there is not None and there.sha256 == known.sha256:
                return known
        made.begin()
        write_columns(self.parts.path(1), made.temporary, self._ending, layout, files=self._files)
        sums = checksums_of(made.temporary)
        self._refuse_log()
        self._files.remove(self.names.manifest)  # it is about to become false
        made.publish(sums)
        return FileDigest(self.destination.name, self.rows, sums.size, sums.sha256)

    def _refuse_log(self) -> None:
        """Raise CorruptError for a log beside a table: DuckDB would apply it to a new one."""
        log = self.names.beside(".wal")
        if self._ending == ".duckdb" and self._files.size(log) is not None:
            refuse_unknown(log)

    def _write_manifest(self, data: bytes) -> None:
        made, sums = self._manifest, Checksums()
        sums.add(data)
        there = made.current()
        if there is None or there.sha256 != sums.sha256:
            made.begin()
            self._files.create(made.temporary)
            self._files.append(made.temporary, data, at=0)
            made.publish(sums)


# --- generated files ------------------------------------------------------------------------------


class GeneratedFile:
    """A manifest or a file of columns: made whole at `temporary`, and replaced by a newer one.

    The ledger records the SHA-256 of each before the file gets its name. A file under that name
    with another SHA-256 belongs to somebody else, and is never replaced.
    """

    def __init__(self, path: Path, kind: str, ledger: Ledger, files: Files) -> None:
        self.path = path
        self.temporary = path.with_name(path.name + ".tmp")
        self._kind = kind
        self._ledger = ledger
        self._files = files

    def recover(self) -> None:
        """Remove the remains of a killed process. Raises CorruptError for somebody else's file."""
        known = self._ledger.generated(self._kind)
        if self._files.size(self.temporary) is not None:
            self._files.check(self.temporary)
            if _UNKNOWN not in known and checksums_of(self.temporary).sha256 not in known:
                refuse_unknown(self.temporary)
            self._files.remove(self.temporary)
        size = self._files.size(self.path)
        if size is not None:
            self._files.check(self.path)
            # The size is enough here: `current` reads the bytes before they are replaced.
            if size not in known.values():
                refuse_unknown(self.path)

    def current(self) -> Checksums | None:
        """Return the checksums of the file, or None. Raises CorruptError for somebody else's."""
        if self._files.size(self.path) is None:
            return None
        self._files.check(self.path)
        checksums = checksums_of(self.path)
        if checksums.sha256 not in self._ledger.generated(self._kind):
            refuse_unknown(self.path)
        return checksums

    def begin(self) -> None:
        """Record that this export is about to create `temporary`."""
        if self._files.size(self.temporary) is not None:
            refuse_taken(self.temporary)
        known = self._ledger.generated(self._kind)
        self._ledger.record_generated(self._kind, {**known, _UNKNOWN: 0})

    def publish(self, checksums: Checksums) -> None:
        """Give the file at `temporary`, which has these checksums, its final name."""
        current = self.current()
        known = {} if current is None else {current.sha256: current.size}
        self._ledger.record_generated(self._kind, {**known, checksums.sha256: checksums.size})
        if current is None:
            self._files.publish(self.temporary, self.path)
        else:
            self._files.replace(self.temporary, self.path)


# --- the destination ------------------------------------------------------------------------------


def check_can_write(destination: Path) -> None:
    """Raise ConfigurationError or ExportError if the destination cannot be written."""
    with_columns = check_format(destination)
    is_directory = not ending_of(destination)
    names = Names.of(destination)
    try_names(names, Files(), with_columns=with_columns, is_directory=is_directory)


def check_format(destination: Path) -> bool:
    """Return whether a destination has columns; raise an error if a package for it is missing."""
    form = FORMATS[ending_of(destination) or ".jsonl"]
    form.encode(b"")
    if form.rows:
        check_duckdb()
    return bool(form.rows)


def check_unknown(names: Names) -> None:
    """Raise CorruptError for files of another program or user, before an export has begun."""
    files, ending = Files(), ending_of(names.destination)
    rows = FORMATS[ending].rows if ending else ""
    taken = [names.manifest, names.beside(rows), names.destination] if ending else [names.manifest]
    if not ending and names.destination.is_dir():
        taken += [found for found in names.destination.iterdir() if is_part(found)]
    for path in taken:
        files.check(path)
        if files.size(path) is not None:
            refuse_unknown(path)


def ending_of(destination: Path) -> str:
    """Return the ending that selects the format of a destination; "" for a directory.

    Raises ConfigurationError for an unknown ending, or one that is the whole name.
    """
    name = destination.name.lower()
    if name in FORMATS:
        raise ConfigurationError(f"{destination} is an ending without a name before it")
    for ending in sorted(FORMATS, key=len, reverse=True):
        if name.endswith(ending):
            return ending
    is_directory = os.path.isdir(destination)  # noqa: PTH112 - a name that is too long is none
    if (destination.suffix or os.path.lexists(destination)) and not is_directory:
        known = ", ".join(FORMATS)
        raise ConfigurationError(
            f"{destination}: unsupported file type", hint=f"use one of {known}, or a directory"
        )
    return ""
