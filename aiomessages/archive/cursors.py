"""The cursors of lists: a place in the order as a short text that can be part of an address.

Nothing here performs I/O.
"""

import base64
from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from .errors import ArchiveError
from .rows import MAX_INTEGER

NO_LONGER: Final = "this page of the list is no longer there: begin at its first page"


class CursorError(ArchiveError, ValueError):
    """A cursor that belongs to no page of this list."""


Kind = Literal["after", "before", "ranked"]


class Cursor(NamedTuple):
    """A place in a list, and the page that it means: that after it, before it, or by rank."""

    kind: Kind
    place: tuple[Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)], str]

    def text(self) -> str:
        """Return the cursor as it stands in an address."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


def read_cursor(text: str, *, allowed: Sequence[Kind]) -> Cursor:
    """Return the cursor that a text is. Raises CursorError."""
    try:
        sent = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = msgspec.json.decode(sent, type=Cursor)
    except ValueError:
        cursor = None
    if cursor is None or cursor.kind not in allowed:
        raise CursorError(NO_LONGER)
    return cursor
