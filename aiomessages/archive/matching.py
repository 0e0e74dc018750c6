"""Match a few texts with a query by an index in memory, of the same form as that of the archive.

The index of an archive is fast where few rows match. For the beginning of a word FTS5 collects all
rows of all words with it before it returns one, and for a rank it reads all rows that match. A few
texts are indexed anew faster than that.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Final

from .schema import WORDS
from .text import searchable

Text = tuple[int, str]  # of a message, with its number
# The weight of the texts that are indexed at once: some 15 milliseconds.
MOST: Final = 300_000


def weight(text: str) -> int:
    """Return how long a text takes: its characters, of which others than ASCII count more."""
    return len(text) if text.isascii() else 9 * len(text.encode()) - 8 * len(text)


def matching(texts: Sequence[Text], match: str) -> list[int]:
    """Return the numbers of the texts that match a query of FTS5, by bm25 rank among these."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute(WORDS)
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO words (rowid, text) VALUES (?, ?)",
            ((number, searchable(text)) for number, text in texts),
        )
        found = db.execute("SELECT rowid FROM words WHERE words MATCH ? ORDER BY rank", (match,))
        return [number for (number,) in found]
