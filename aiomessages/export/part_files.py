"""The parts of an output: its files of lines, each with a record in the ledger.

A part is written under a partial name, and gets its final name when it is complete. A directory has
many parts, a single file one. While a later run adds to a finished single file, there is a second
part: only it is written to, and at the end its bytes are appended to the first. Number 0 is the
file of lines of incomplete conversations, which keeps its name.

A part begins in this order: an empty file under a free name, its record in the ledger, its bytes.
So a file with bytes and without a record belongs to somebody else.
"""

import re
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from msgspec import structs

from .checksums import Checksums, are_equal, checksums_of, chunks, ends_with
from .errors import CorruptError, DiskFullError, refuse_changed, refuse_taken, refuse_unknown
from .files import Buffer, Files
from .ledger import Ledger
from .ledger_schema import Part
from .manifest import FileDigest
from .names import Names

_PART: Final = re.compile(r"part-\d{5,}\.jsonl(\.partial)?")


def is_part(path: Path) -> bool:
    """Return whether a file of a directory is named like a part."""
    return _PART.fullmatch(path.name) is not None


class PartFiles:
    """The parts of one output; `rows` is the ending of the part beside a file of columns."""

    def __init__(
        self, names: Names, ledger: Ledger, files: Files, *, in_directory: bool, rows: str = ""
    ) -> None:
        self._names = names
        self._ledger = ledger
        self._files = files
        self._in_directory = in_directory
        self._lines = names.beside(rows)
        # By number, the parts that this run wrote whole. Reading a file again at the end would cost
        # as much CPU time as fetching half of its pages.
        self._written: dict[int, Checksums] = {}
        known = {part.number: part for part in ledger.parts()}
        self._incomplete = known.pop(0, None)
        self.listed = list(known.values())

    # --- names ------------------------------------------------------------------------------------

    def path(self, number: int) -> Path:
        """Return the final path of a part."""
        if self._in_directory:
            return self._names.destination / f"part-{number:05}.jsonl"
        return self._lines

    def partial(self, number: int) -> Path:
        """Return the path of a part while it is written."""
        if not number:
            return self._names.incomplete
        path = self.path(number)
        return path.with_name(path.name + ".partial")

    def _keeps_its_name(self, number: int) -> bool:
        return not number or (number > 1 and not self._in_directory)

    def where(self, part: Part) -> Path:
        """Return the current path of a part: a rename may not be recorded yet."""
        path, partial = self.path(part.number), self.partial(part.number)
        if self._keeps_its_name(part.number):
            return partial
        if part.closed or self._files.size(partial) is None:
            return path
        if self._files.size(path) is not None:
            refuse_taken(path)
        return partial

    # --- recovery ---------------------------------------------------------------------------------

    def recover(self) -> None:
        """Restore every file to its recorded state. Raises CorruptError if that fails."""
        for part in self.listed[:]:
            self._recover(part)
        if self._is_joining:
            self.record(structs.replace(self.listed[1], closed=False))
        if self._incomplete is not None:
            self._recover_incomplete(self._incomplete)
        for path in self._unknown():
            self._files.check(path)
            if not self._is_left_over(path):
                refuse_unknown(path)
            self._files.remove(path)

    def _recover(self, part: Part) -> None:
        path, partial = self.path(part.number), self.partial(part.number)
        for name in (path, partial):
            self._files.check(name)
        if not part.closed and not self._keeps_its_name(part.number) and are_equal(path, partial):
            self._files.remove(partial)  # a kill came between link and unlink
        found = self.where(part)
        is_named = found == path and self._files.size(path) is not None
        if not part.committed and not is_named and not part.closed:
            self._forget(part)
            return
        may_be_longer = found == partial or self._is_joining  # by bytes without a record
        self._cut(part, found, may_be_longer=may_be_longer)
        if found == path and not part.closed:  # renamed, and not recorded before a kill
            self.record(structs.replace(part, closed=True))

    def _recover_incomplete(self, part: Part) -> None:
        """Restore part 0; begin a new one if the file is gone, since its reader may remove it."""
        self._files.check(self._names.incomplete)
        if not part.committed or self._files.size(self._names.incomplete) is None:
            self._forget(part)
        else:
            self._cut(part, self._names.incomplete, may_be_longer=True)

    def _forget(self, part: Part) -> None:
        """Remove a part without bytes: an empty file is of no use, and no valid gzip file."""
        self._files.remove(self.partial(part.number))
        self._ledger.forget(part.number)
        if part.number:
            self.listed.pop()
        else:
            self._incomplete = None

    def _cut(self, part: Part, path: Path, *, may_be_longer: bool) -> None:
        """Cut a file to its committed bytes, after checking them."""
        size = self._files.size(path)
        if size is None or size < part.committed:
            raise CorruptError(
                f"{path} has {size or 0} bytes, and the ledger has recorded {part.committed}:"
                " somebody cut or removed it",
                hint="delete the export with its ledger and start again",
            )
        if size > part.committed:
            if not may_be_longer or checksums_of(path, part.committed).crc32 != part.crc32:
                refuse_changed(path)
            self._files.truncate(path, part.committed)

    def _unknown(self) -> Iterator[Path]:
        """Yield the files that are named like a part and have no record in the ledger."""
        known = {self.where(part) for part in self.listed}
        paths = [self.path(1), self.partial(1)]
        if self._in_directory:
            paths = [path for path in self._names.destination.iterdir() if is_part(path)]
        if self._incomplete is None:
            paths.append(self._names.incomplete)
        yield from (p for p in paths if p not in known and self._files.size(p) is not None)

    def _is_left_over(self, path: Path) -> bool:
        """Return whether a kill left the file: before its record, or after the join of its part."""
        if path == self._names.incomplete or path.suffix == ".partial":
            is_one_file = path == self.partial(1) and not self._in_directory and self.listed
            return not self._files.size(path) or bool(is_one_file and ends_with(self.path(1), path))
        return False

    # --- writing ----------------------------------------------------------------------------------

    def append(self, data: Buffer, rows: int, behind: Part | None = None) -> Part:
        """Append lines durably, and return the part to record.

        `behind` is the part that an earlier piece of the same batch returned.
        """
        part = behind or (self.listed[-1] if self.listed else None)
        if part is None or part.closed:
            part = self._begin(Part(len(self.listed) + 1))
        return self._append(part, data, rows)

    def append_incomplete(self, data: Buffer, behind: Part | None = None) -> Part:
        """Append lines of lost conversations durably, and return part 0 to record."""
        return self._append(behind or self._incomplete or self._begin(Part(0)), data, 0)

    def _begin(self, part: Part) -> Part:
        path = self.path(part.number)
        if self._keeps_its_name(part.number):
            self._files.check(path, alone=True)  # it is about to be written to
        elif self._files.size(path) is not None:
            refuse_taken(path)
        self._files.create(self.partial(part.number))
        self._ledger.reopen()
        self.record(part)
        return part

    def _append(self, part: Part, data: Buffer, rows: int) -> Part:
        path, crc32 = self.partial(part.number), zlib.crc32(data, part.crc32)
        before = self._files.stamp(path)
        self._files.append(path, data, at=part.committed)
        if not part.committed:
            self._written[part.number] = Checksums(before)
        written = self._written.get(part.number)
        if written is not None and written.stamp == before:  # only this run has written to it
            written.add(data)
            written.stamp = self._files.stamp(path)
        return Part(part.number, part.committed + len(data), crc32, part.rows + rows)

    def record(self, part: Part) -> None:
        """Record a part in the ledger."""
        self._ledger.commit([part], [])
        self.keep(part)

    def keep(self, *parts: Part) -> None:
        """Replace parts by those that the ledger has recorded."""
        for part in parts:
            if part.number:
                self.listed[part.number - 1 :] = [part]
            else:
                self._incomplete = part

    # --- finishing --------------------------------------------------------------------------------

    def complete(self) -> list[FileDigest]:
        """Check every part, give each its final name, and return their digests."""
        if self._is_joined_later:
            return [self._join(*self.listed)]
        digests = [self._digest(part, self._checked(part)) for part in self.listed]
        self.close()
        return digests

    def close(self) -> None:
        """Give the last part its final name, if it does not have it yet."""
        part = self.listed[-1]
        if not part.closed:
            self._files.publish(self.partial(part.number), self.path(part.number))
            self.record(structs.replace(part, closed=True))

    @property
    def _is_joined_later(self) -> bool:
        return not self._in_directory and len(self.listed) > 1

    @property
    def _is_joining(self) -> bool:
        """Whether the second part may already be appended to the first part's file."""
        return self._is_joined_later and self.listed[1].closed

    def _join(self, first: Part, second: Part) -> FileDigest:
        """Append the second part to the file of the first, without a copy of it."""
        path, partial = self.path(1), self.partial(1)
        self._checked(second)
        sums = self._read(first)
        self._files.remove(self._names.manifest)  # it is about to become false
        self.record(structs.replace(second, closed=True))
        with closing(chunks(partial)) as pieces:
            try:
                self._files.append_all(path, sums.adding(pieces), at=first.committed)
            except DiskFullError:
                self._files.truncate(path, first.committed)  # so that it stays readable
                raise
        whole = Part(1, sums.size, sums.crc32, first.rows + second.rows, closed=True)
        self._ledger.join(whole)
        self.keep(whole)
        self._files.remove(partial)
        return self._digest(whole, sums)

    def _digest(self, part: Part, sums: Checksums) -> FileDigest:
        return FileDigest(self.path(part.number).name, part.rows, sums.size, sums.sha256)

    def _checked(self, part: Part) -> Checksums:
        """Return the checksums of a part: those of writing, if nobody changed the file since."""
        written = self._written.get(part.number)
        if written is None or written.size != part.committed:
            return self._read(part)
        is_untouched = written.stamp == self._files.stamp(self.where(part))
        return written if is_untouched else self._read(part)

    def _read(self, part: Part) -> Checksums:
        """Return the checksums read from a part's file. Raises CorruptError if it was changed."""
        path = self.where(part)
        self._files.check(path)
        sums = checksums_of(path)
        if (sums.crc32, sums.size) != (part.crc32, part.committed):
            refuse_changed(path)
        return sums
