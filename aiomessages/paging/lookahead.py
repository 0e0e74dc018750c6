"""Decisions of lookahead: the cursors that a list of numbered messages will reach.

A walk learns the cursor of each page from the page before it. The live API numbers the messages of
a completion: `{completion_id}-{n}`. So the first page of a list and its last two ids determine all
cursors in between, and the pages behind them can be requested at once.

A prediction can be wrong and do no harm. The request for the page behind a predicted cursor is the
request that the walk itself would send from there, and its page is used only if the walk arrives at
exactly that cursor. Nothing is assumed of a page that was not requested by its own cursor.

Nothing here waits or performs I/O.
"""

import re
from collections import deque
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from aiomessages.errors import ConfigurationError
from aiomessages.settings import check_count

# One id says nothing of the order, and some servers ignore the order that they are asked for.
_IDS_NEEDED: Final = 2

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,17}")


def checked_window(mode: object, window: object, *, prefetch: bool) -> int:
    """Return the window: the number of pages to fetch in advance.

    Raises ConfigurationError for arguments that cannot be used.
    """
    if mode == "both-ends":
        raise ConfigurationError("lookahead='both-ends' was removed; use lookahead=True")
    if mode is not True and mode != "predict":
        raise ConfigurationError(f"lookahead must be True, 'predict', False or None, not {mode!r}")
    count = check_count("lookahead_window", window)
    if not prefetch:
        raise ConfigurationError("lookahead fetches pages ahead, and prefetch=False forbids that")
    return count


def opposite(query: Mapping[str, str | None]) -> Literal["asc", "desc"]:
    """Return the opposite of the order of a list of messages, which is `asc` by default.

    Raises ConfigurationError if extra_query has an order without an opposite.
    """
    order = query.get("order") or "asc"
    if order not in ("asc", "desc"):
        raise ConfigurationError(f"lookahead needs the order asc or desc, not {order!r}")
    return "desc" if order == "asc" else "asc"


class Numbering(NamedTuple):
    """The live API's ids: `{completion_id}-{n}`, in steps of 1, or of -1 in the order `desc`."""

    completion_id: str
    step: int

    def first_of(self, ids: list[str]) -> int | None:
        """Return the number of the first id; None unless two or more follow without a gap."""
        owner, _, number = ids[0].rpartition("-")
        if owner != self.completion_id or not _NUMBER.fullmatch(number) or len(ids) < _IDS_NEEDED:
            return None
        first = int(number)
        counted = [f"{owner}-{first + self.step * steps}" for steps in range(len(ids))]
        return first if ids == counted else None


class Predicted(NamedTuple):
    """A request that the walk is expected to send: its cursor, and the items then wanted."""

    after: str
    remaining: int | None


def predict(
    page: list[str], end: list[str], numbering: Numbering, *, wanted: int | None
) -> deque[Predicted]:
    """Return the requests for all pages behind `page`, up to the end of the list.

    `page` holds the ids of one page in the order of the walk, `end` the last ids of the list in the
    same order, `wanted` is the number of items wanted behind the page (None: all). All pages are
    assumed to be as long as this one. Nothing is predicted if either end is not numbered.
    """
    first, before_last = numbering.first_of(page), numbering.first_of(end)
    if first is None or before_last is None:
        return deque()
    size = len(page)
    last_of_page = first + numbering.step * (size - 1)
    last = before_last + numbering.step * (len(end) - 1)
    missing = (last - last_of_page) * numbering.step
    if wanted is not None:
        missing = min(missing, wanted)
    return deque(
        Predicted(
            f"{numbering.completion_id}-{last_of_page + numbering.step * taken}",
            None if wanted is None else wanted - taken,
        )
        for taken in range(0, missing, size)
    )
