"""What a page shows is in its address: the search, the filters, and links that change one of them.

    q=WORDS  role= model= tool= finish= state=VALUE  meta=KEY:VALUE  (which may be repeated)
    day=YYYY-MM-DD, or since= (included) and until= (excluded)
    order=best  at=CURSOR  m=MESSAGE

    NAME~=VALUE is a value that is percent-encoded once more, for a form.

A value may be empty, where an archive has an empty one. Nothing here performs I/O.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple, Self, get_args
from urllib.parse import quote, unquote, urlencode

import msgspec
from multidict import MultiDict, MultiMapping

from aiomessages.archive.errors import ArchiveError
from aiomessages.archive.filters import Filters
from aiomessages.archive.selection import State as KnownState

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOST_PAIRS: Final = 20  # of metadata; each makes the query longer
# The names of values in an address, and in a State.
_VALUES: Final = {
    "role": "role",
    "model": "model",
    "tool": "tool",
    "finish": "finish_reason",
    "state": "state",
}
_IN_NO_FORM: Final = re.compile(r"[\x00\r\n]")
_DAYS: Final = ("day", "since", "until")
_STATES: Final = get_args(KnownState)
_ORDERS: Final = {"newest": False, "best": True}


class BadAddressError(ArchiveError, ValueError):
    """The query of an address cannot be read; the text says what it should be."""


class Chip(NamedTuple):
    """A filter that is set: its name and value, and the state without it."""

    name: str
    value: str
    without: "State"


class State(msgspec.Struct, frozen=True):
    """A selection of conversations and its order, and with `at` a place in it."""

    words: str = ""
    role: str | None = None
    model: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    tool: str | None = None
    finish_reason: str | None = None
    state: str | None = None
    day: str | None = None
    since: str | None = None
    until: str | None = None
    best: bool = False
    at: str | None = None

    def with_(self, **changes: Any) -> Self:
        """Return the state with other values, from its first page on."""
        return msgspec.structs.replace(self, **{"at": None, **changes})

    def with_metadata(self, key: str, value: str | None) -> Self:
        """Return the state with a value of a metadata key instead of another; None: with none."""
        others = [pair for pair in self.metadata if pair[0] != key]
        chosen = [] if value is None else [(key, value)]
        return self.with_(metadata=(*others, *chosen))

    @property
    def query(self) -> str:
        """The query of the state's address, with its `?`; empty for all conversations."""
        return _query(self.pairs())

    def query_of_message(self, n: int | None = None) -> str:
        """Return the query for a page of one conversation, with the message to show there."""
        kept = [(name, value) for name, value in self.pairs() if name != "at"]
        return _query(kept if n is None else [*kept, ("m", str(n))])

    def pairs(self) -> list[tuple[str, str]]:
        """Return the names and values of the state's address, those of a form as well."""
        found: list[tuple[str, str | None]] = [("q", self.words or None)]
        found += [(name, getattr(self, field)) for name, field in _VALUES.items()]
        found += [("meta", f"{_escaped(key)}:{value}") for key, value in self.metadata]
        found += [(name, getattr(self, name)) for name in _DAYS]
        found += [("order", "best" if self.best else None), ("at", self.at)]
        return [(name, value) for name, value in found if value is not None]

    def fields(self) -> list[tuple[str, str]]:
        """Return the names and values of the state for a form that asks for other words.

        No form has a NUL, and each sends an end of line as two characters, whatever it was.
        """
        return [
            (f"{name}~", quote(value)) if _IN_NO_FORM.search(value) else (name, value)
            for name, value in self.pairs()
            if name not in ("q", "at")
        ]

    def chips(self) -> Iterator[Chip]:
        """Yield the filters that are set, but the words."""
        for name, field in _VALUES.items():
            if (value := getattr(self, field)) is not None:
                yield Chip(name, value, self.with_(**{field: None}))
        for pair in self.metadata:
            others = tuple(other for other in self.metadata if other != pair)
            yield Chip(pair[0], pair[1], self.with_(metadata=others))
        for name in _DAYS:
            if (value := getattr(self, name)) is not None:
                yield Chip(name, value, self.with_(**{name: None}))

    def filters(self, zone: tzinfo | None) -> Filters:
        """Return the selection for the archive, with days in a time zone (None: local time)."""
        since = [_begin_of(day, zone) for day in (self.day, self.since) if day is not None]
        until = [_begin_of(self.until, zone)] if self.until is not None else []
        if self.day is not None:
            until.append(_begin_of(self.day, zone, days=1))
        return Filters(
            words=self.words,
            role=self.role,
            model=self.model,
            metadata=self.metadata,
            tool=self.tool,
            finish_reason=self.finish_reason,
            state=self.state,
            since=max(since, default=None),
            until=min(until, default=None),
        )


def state_of(query: MultiMapping[str]) -> State:
    """Return the state of an address. Raises BadAddressError; names that it does not know pass."""
    query = MultiDict(
        (name[:-1], unquote(value)) if name.endswith("~") else (name, value)
        for name, value in query.items()
    )
    days = {name: query.get(name) or None for name in _DAYS}
    for name, day in days.items():
        if day is not None and not _is_day(day):
            raise BadAddressError(f"{name}={day} is no day: write it as {name}=2026-11-29")
    order = query.get("order") or "newest"
    if order not in _ORDERS:
        raise BadAddressError(f"order={order} is no order: write order=best, or leave it out")
    state = query.get("state")
    if state is not None and state not in _STATES:
        raise BadAddressError(f"state={state} is no state: write one of {', '.join(_STATES)}")
    pairs = query.getall("meta", ())
    if len(pairs) > _MOST_PAIRS:
        raise BadAddressError(f"too many metadata filters: at most {_MOST_PAIRS} at a time")
    return State(
        words=query.get("q", "").strip(),
        **{field: query.get(name) for name, field in _VALUES.items()},
        metadata=tuple(dict(map(_pair, pairs)).items()),
        **days,
        best=_ORDERS[order],
        at=query.get("at") or None,
    )


def message_of(query: MultiMapping[str]) -> int | None:
    """Return the number of the message that an address names. Raises BadAddressError."""
    text = query.get("m")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise BadAddressError(f"m={text} is no message: they are numbered from 0")
    return int(text)


# --- ids ------------------------------------------------------------------------------------------

# A browser drops "." and ".." from a path, however they are encoded, and the router an empty part.
_NO_SEGMENTS: Final = ("", ".", "..")


def segment(completion_id: str) -> str:
    """Return an id as one part of a path: percent-encoded, behind a ~ where it could be none."""
    mark = "~" if completion_id in _NO_SEGMENTS or completion_id.startswith("~") else ""
    return mark + quote(completion_id, safe="", errors="replace")


def id_of(part: str) -> str:
    """Return the id of a decoded part of a path that `segment` has made."""
    return part.removeprefix("~")


# --- parts of a query -----------------------------------------------------------------------------


def _query(pairs: list[tuple[str, str]]) -> str:
    return "?" + urlencode(pairs, quote_via=quote, errors="replace") if pairs else ""


def _escaped(key: str) -> str:
    """Return a key without the colon that ends it."""
    return key.replace("%", "%25").replace(":", "%3A")


def _pair(text: str) -> tuple[str, str]:
    key, colon, value = text.partition(":")
    if not colon:
        raise BadAddressError(f"meta={text} is no metadata: write it as meta=KEY:VALUE")
    return unquote(key), value


def _is_day(text: str) -> bool:
    try:
        return bool(_DAY.fullmatch(text)) and _begin_of(text, None, days=1) is not None
    except (ValueError, OverflowError, OSError):  # no month has it, or the calendar no such year
        return False


def _begin_of(day: str, zone: tzinfo | None, *, days: int = 0) -> float:
    """Return the time at which a day begins, or one some days later, in Unix seconds."""
    begin = datetime.fromisoformat(day) + timedelta(days=days)
    return begin.replace(tzinfo=zone).timestamp()
