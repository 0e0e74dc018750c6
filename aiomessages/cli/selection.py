"""The options that select a part of a list: by position, model, metadata and time of creation.

They belong to the first group of their command. A time is a date or an age; without a zone it is
local time, or UTC with --utc. Nothing here performs I/O.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from cyclopts import Group, Parameter

from aiomessages.export.created_between import TimeRange

from .exits import UsageError
from .options import AtLeastOne

COMPLETIONS: Final = Group("Selection", sort_key=0)
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE: Final = re.compile(r"(\d{1,6})([mhdw])")

After = Annotated[str | None, Parameter(metavar="ID", help="Start after the item with this id.")]
Limit = Annotated[
    AtLeastOne | None,
    Parameter(metavar="N", help="Items per page; --max-items limits their total."),
]
MaxItems = Annotated[AtLeastOne | None, Parameter(metavar="N", help="Stop after N items.")]
Model = Annotated[str | None, Parameter(metavar="NAME", help="Only completions of this model.")]
Metadata = Annotated[
    list[str] | None,
    Parameter(
        metavar="KEY=VALUE",
        negative="",
        help="Only completions with this metadata; may be repeated.",
    ),
]
Since = Annotated[
    str | None,
    Parameter(
        metavar="WHEN",
        help="Only completions created since a date, a time (2026-11-01T08:00) or an age"
        " (30m, 6h, 3d, 2w). Local time, unless it names a zone (2026-11-01T08:00Z).",
    ),
]
Until = Annotated[
    str | None,
    Parameter(metavar="WHEN", help="Only completions created before this time, read as --since."),
]


def metadata_of(pairs: Sequence[str] | None) -> dict[str, str]:
    """Return the pairs of --metadata as a dict. Raises UsageError."""
    split = [pair.partition("=") for pair in pairs or ()]
    for key, equals, value in split:
        if not key or not equals:
            raise UsageError(f"--metadata {key}{equals}{value}: no pair", "write it as KEY=VALUE")
    wanted = {key: value for key, _, value in split}
    if len(wanted) < len(split):
        raise UsageError(
            "--metadata has a key twice", "a completion has one value per key: leave one out"
        )
    return wanted


def span_of(since: str | None, until: str | None, *, utc: bool = False) -> TimeRange:
    """Return the range from --since to --until, in Unix seconds. Raises UsageError."""
    now = datetime.now().astimezone(UTC if utc else None)
    span = TimeRange(_time("--since", since, now, utc=utc), _time("--until", until, now, utc=utc))
    if span.since is not None and span.until is not None and span.since >= span.until:
        raise UsageError(
            f"--since {since} is not earlier than --until {until}", "give an earlier --since"
        )
    return span


def of_nothing(*, narrowed: bool) -> tuple[str, str]:
    """Return what to say, and what to do, about a list of completions that is empty."""
    if narrowed:
        return "no stored completion that the options select", "leave some of them out to see more"
    return "no stored completion", "only those created with store=true are kept, for 30 days"


def recorded(given: str | None, *, utc: bool) -> str | None:
    """Return a time for the record of a selection: an age stays one, and UTC is named."""
    return f"{given} UTC" if given and utc and not _AGE.fullmatch(given) else given


def age_of(given: str | None) -> str | None:
    """Return a time that is an age, and so moves with the clock; None for any other time."""
    return given if given and _AGE.fullmatch(given) else None


def _time(option: str, given: str | None, now: datetime, *, utc: bool) -> float | None:
    if given is None:
        return None
    try:
        age = _AGE.fullmatch(given)
        if age:
            return (now - timedelta(**{_UNITS[age[2]]: int(age[1])})).timestamp()
        moment = datetime.fromisoformat(given)
        return (moment.replace(tzinfo=UTC) if utc and not moment.tzinfo else moment).timestamp()
    except (ValueError, OverflowError):
        raise UsageError(
            f"{option} {given}: neither a time nor an age",
            "write a date (2026-11-01), a time (2026-11-01T08:00) or an age (30m, 6h, 3d, 2w)",
        ) from None
