"""The beginning of a text that may be large, without the rest in memory.

`substr` of SQLite takes a NUL character for the end of a text, so bytes are cut, and then
characters.
"""

from typing import Final

_MOST_BYTES: Final = 4  # of a character in UTF-8


def beginning(column: str, count: int) -> str:
    """Return SQL for the bytes that have the first characters of a column; NULL stays NULL."""
    return f"substr(CAST({column} AS BLOB), 1, {count * _MOST_BYTES})"


def characters(sent: bytes | None, count: int) -> str | None:
    """Return the first characters of these bytes."""
    return None if sent is None else sent.decode("utf-8", "ignore")[:count]
