"""The local server: stored completions over SQLite, served as the live API serves them.

It is for tests, demonstrations and dry runs, listens on loopback only, and is no part of the
client. It shares no reading of the wire with the client, so that one mistake cannot pass on both
sides.

The completions lie in an archive (`aiomessages.archive`), of which it uses the schema and the
store.

Each part imports only parts before it:
wire, faults, middleware, app, sample, local.
"""

from aiomessages.archive.records import RecordError
from aiomessages.archive.store import import_records

from .local import LocalServer

__all__ = ["LocalServer", "RecordError", "import_records"]


def __dir__() -> list[str]:
    return sorted(__all__)  # a prompt would also offer the imports and the files
