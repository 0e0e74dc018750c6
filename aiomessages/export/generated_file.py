"""Generated files: the manifest and the columns, each made whole and replaced by a newer one.

The ledger records the SHA-256 of each before the file gets its name. A file under that name with a
SHA-256 that was not recorded belongs to somebody else, and is never replaced.
"""

from pathlib import Path
from typing import Final

from .checksums import Checksums, checksums_of
from .file_errors import refuse_taken, refuse_unknown
from .files import Files
from .ledger import Ledger

_UNKNOWN: Final = ""  # the SHA-256 of a file that is being made


class GeneratedFile:
    """One generated file; `temporary` is its path until it is whole."""

    def __init__(self, path: Path, kind: str, ledger: Ledger, files: Files) -> None:
        self.path = path
        self.temporary = path.with_name(path.name + ".tmp")
        self._kind = kind
        self._ledger = ledger
        self._files = files

    def recover(self) -> None:
        """Remove what a killed process left. Raises CorruptError for a file of somebody else."""
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
