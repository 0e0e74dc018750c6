"""The JSON of an archive becomes the values of the client, by the client's own decoding."""

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from aiomessages.models import Reply, StoredCompletion
from aiomessages.wire.decoding import PageCodec, decode_completion

from .errors import CorruptError

T = TypeVar("T")
# What the codecs raise for what is no JSON of an item.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_items(codec: PageCodec[T], bodies: Sequence[bytes]) -> list[T]:
    """Return the items, read as a page of them. Raises CorruptError."""
    try:
        page, _ = codec.decode(b'{"data":[%b]}' % b",".join(bodies))
    except _UNREADABLE as error:
        raise CorruptError(f"the JSON of an item cannot be read: {error}") from error
    return page.data or []


def read_completion(body: bytes) -> StoredCompletion:
    """Return a completion. Raises CorruptError."""
    try:
        return decode_completion(body)[1]
    except _UNREADABLE as error:
        raise CorruptError(f"the JSON of a completion cannot be read: {error}") from error


def read_reply(completion: bytes, choice: int) -> Reply:
    """Return the reply of a completion's choice. Raises CorruptError."""
    return read_completion(completion).choices[choice].message


def within_budget(rows: sqlite3.Cursor, count: int) -> list[Any]:
    """Return the next rows of a cursor: at most `count`, and fewer if their last column is large.

    A message may hold images, so a number of rows says little of their memory.
    """
    taken, size = [], 0
    for row in rows:
        taken.append(row)
        size += len(row[-1])
        if len(taken) == count or size > _BUDGET:
            break
    return taken


_BUDGET = 1024 * 1024  # bytes of JSON
