"""The local server: stored completions over SQLite, served as the live API serves them.

It is for tests, demonstrations and dry runs, listens on loopback only, and is no part of the
client. It shares no reading of the wire with the client, so that one mistake cannot pass on both
sides.

Each part imports only parts before it:
records, store, wire, faults, middleware, app, sample, local.
"""

from .local import LocalServer
from .records import RecordError
from .store import import_records

__all__ = ["LocalServer", "RecordError", "import_records"]


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
