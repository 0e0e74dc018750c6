"""What the conversations of a list have in common: counts by model, role, tool, day and so on.

Only the newest conversations are counted, up to a bound: a count of all would take seconds in a
large archive. All of this runs in the thread of a `ReadConnection`.
"""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from .connection import snapshot
from .conversation_order import newest_found
from .filters import Filters
from .found_rows import in_parts

_BOUND: Final = 10_000  # conversations
_BOUND_WITH_WORDS: Final = 2000  # each is found by its messages, which takes longer
_VALUES: Final = 20  # of each facet
_LONGEST: Final = 1000  # characters of a value, which is shown and goes into an address

# The queries (S608) are made of constants of this package; values are always bound.


class Count(msgspec.Struct, frozen=True):
    """A value, and the number of conversations that have it. None: they have no value."""

    value: str | None
    count: int


class Facets(msgspec.Struct, frozen=True):
    """The most frequent values of each field, and of each metadata key.

    `total` conversations were counted; with `bounded` there are more. `day` has the newest days,
    as YYYY-MM-DD. `more` has, by the name of a field or a metadata key (`metadata:KEY`), the number
    of values that are left out, and under `metadata` that of the keys. A value or key of more than
    1,000 characters is left out.
    """

    total: int
    bounded: bool
    model: list[Count]
    role: list[Count]
    tool: list[Count]
    finish_reason: list[Count]
    state: list[Count]
    day: list[Count]
    metadata: list[tuple[str, list[Count]]]
    more: dict[str, int]


Counts = dict[str | None, int]


def facets(
    db: sqlite3.Connection, filters: Filters, *, utc: bool, bound: int | None = None
) -> Facets:
    """Count the values in the newest conversations of a list, at most `bound` of them.

    Without a bound 10,000 are counted, and 2,000 of those that words find; fewer of those with the
    beginning of very many words. Days are those of UTC, or else of the local time zone. Raises
    SearchError.
    """
    zone = "" if utc else ", 'localtime'"
    # The columns are in the index of the order.
    columns = (
        "SELECT c.number, c.model, c.finish_reason, c.state,"  # noqa: S608
        f" date(c.created, 'unixepoch'{zone}) FROM completions AS c WHERE"
    )
    roles: Counts | None = None
    if bound is None:
        bound = _BOUND_WITH_WORDS if filters.words else _BOUND
    with snapshot(db):
        if filters.words:
            found, bounded = newest_found(db, filters, bound)
            roles = Counter(role for some in found.values() for role in some)
            rows = list(in_parts(db, f"{columns} c.number IN", list(found)))
        else:
            where, values = filters.condition()
            order = "ORDER BY ifnull(c.created, 0) DESC, c.id DESC LIMIT ?"
            rows = db.execute(f"{columns} {where} {order}", (*values, bound + 1)).fetchall()
            bounded = len(rows) > bound
        return _facets(db, rows[:bound], roles, bounded=bounded)


def _facets(
    db: sqlite3.Connection,
    rows: Sequence[tuple[Any, ...]],
    roles: Counts | None,
    *,
    bounded: bool,
) -> Facets:
    """Count the values of conversations: number, model, reason, state and day of each."""
    numbers = [row[0] for row in rows]
    models, reasons, states, days = (Counter(row[n] for row in rows) for n in range(1, 5))
    labels = _nested(
        in_parts(
            db,
            "SELECT kind, value, count(*) FROM labels WHERE completion IN",
            numbers,
            " GROUP BY kind, value",
        )
    )
    metadata = _nested(
        in_parts(
            db,
            "SELECT name, value, count(*) FROM metadata WHERE completion IN",
            numbers,
            " GROUP BY name, value",
        )
    )
    more: dict[str, int] = {}

    def most(name: str, counts: Counts) -> list[Count]:
        shown = most_frequent(counts)[:_VALUES]
        more[name] = len(counts) - len(shown)
        return shown

    short = [key for key in metadata if len(key) <= _LONGEST]
    keys = sorted(short, key=lambda key: (-sum(metadata[key].values()), key))[:_VALUES]
    more["metadata"] = len(metadata) - len(keys)
    days.pop(None, None)  # a time that is unknown, or in no year that people write
    more["day"] = max(len(days) - _VALUES, 0)
    return Facets(
        len(rows),
        bounded,
        most("model", models),
        most("role", labels["role"] if roles is None else roles),
        most("tool", labels["tool"]),
        most("finish_reason", reasons),
        most("state", states),
        [Count(day, days[day]) for day in sorted(days, reverse=True)[:_VALUES]],
        [(key, most(f"metadata:{key}", metadata[key])) for key in keys],
        more,
    )


def most_frequent(counts: Mapping[Any, int]) -> list[Count]:
    """Return the values that are not too long, the most frequent first."""
    short = [item for item in counts.items() if len(item[0] or "") <= _LONGEST]
    short.sort(key=lambda item: (-item[1], item[0] or ""))
    return [Count(*item) for item in short]


def _nested(rows: Iterable[tuple[Any, ...]]) -> dict[str, Counts]:
    """Add up counts by name and value."""
    found: dict[str, Counts] = defaultdict(Counter)
    for name, value, count in rows:
        found[name][value] = found[name].get(value, 0) + count
    return found
