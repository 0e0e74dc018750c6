"""Files that are made whole, and replaced by a newer one when there is more: manifest and columns.

The ledger records the SHA-256 of each before it has its name. What is there under that name and was
not recorded is somebody else's, and is never replaced.
"""

from pathlib import Path
from typing import Final

from .checksums import Sums, sums_of
from .files import Files, refuse_taken, refuse_unknown
from .ledger import Ledger

_UNKNOWN: Final = ""  # the SHA-256 of what is being made


class Made:
    """One such file; `aside` is its name until it is whole."""

    def __init__(self, path: Path, kind: str, ledger: Ledger, files: Files) -> None:
        self.path = path
        self.aside = path.with_name(path.name + ".tmp")
        self._kind = kind
        self._ledger = ledger
        self._files = files

    def recover(self) -> None:
        """Remove what a process that was killed has left. Raises CorruptError for foreign files."""
        known = self._ledger.made(self._kind)
        if self._files.size(self.aside) is not None:
            self._files.check(self.aside)
            if _UNKNOWN not in known and sums_of(self.aside).sha256 not in known:
                refuse_unknown(self.aside)
            self._files.remove(self.aside)
        size = self._files.size(self.path)
        if size is not None:
            self._files.check(self.path)
            # To read the whole is for when it is to be replaced.
            if size not in known.values():
                refuse_unknown(self.path)

    def there(self) -> Sums | None:
        """Return the sums of the file that is there. Raises CorruptError if it is a foreign one."""
        if self._files.size(self.path) is None:
            return None
        self._files.check(self.path)
        sums = sums_of(self.path)
        if sums.sha256 not in self._ledger.made(self._kind):
            refuse_unknown(self.path)
        return sums

    def begin(self) -> None:
        """Record that `aside` is this export's from now on."""
        if self._files.size(self.aside) is not None:
            refuse_taken(self.aside)
        self._ledger.record_made(self._kind, {**self._ledger.made(self._kind), _UNKNOWN: 0})

    def end(self, sums: Sums) -> None:
        """Give what was made aside, and has these sums, its final name."""
        there = self.there()
        known = {} if there is None else {there.sha256: there.size}
        self._ledger.record_made(self._kind, {**known, sums.sha256: sums.size})
        if there is None:
            self._files.name(self.aside, self.path)
        else:
            self._files.replace(self.aside, self.path)
