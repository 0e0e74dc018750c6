"""The local server: stored completions over SQLite, served as the live API serves them.

For tests, demonstrations and dry runs; loopback only, and no part of the client. It shares no
reading of the wire with the client, so that one mistake cannot pass on both sides.
"""

from .local import LocalServer
from .records import RecordError
from .store import import_records

__all__ = ["LocalServer", "RecordError", "import_records"]
