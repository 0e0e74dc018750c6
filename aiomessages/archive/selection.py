"""Which completions of an archive: by model, metadata, time of creation and state.

Nothing here performs I/O. It writes SQL; values are always bound.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal, get_args

from aiomessages.errors import ConfigurationError

State = Literal["complete", "gone", "expired", "lost"]
Time = float | datetime
Values = list[Any]

# The condition on `completions AS c`, without those whose messages could not be read whole.
_STATES: Final = get_args(State)


def selected(
    *,
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
    since: Time | None = None,
    until: Time | None = None,
    state: State | Literal["any"] | None = None,
) -> tuple[str, Values]:
    """Return a condition on the table `completions AS c`, and its values.

    Without a `state` all are selected but `lost`: those lack messages. A time is in Unix seconds,
    or a datetime; one without a zone is local time. Raises ConfigurationError.
    """
    where: list[str] = []
    values: Values = []
    if state is None:
        where.append("c.state != 'lost'")
    elif state in _STATES:
        where.append("c.state = ?")
        values.append(state)
    elif state != "any":
        raise ConfigurationError(f"state must be one of {', '.join(_STATES)}, not {state!r}")
    if model is not None:
        where.append("c.model = ?")
        values.append(model)
    for pair in (metadata or {}).items():
        # The sign keeps SQLite at the index of the order: a value that many completions have would
        # else be sorted whole for each page.
        where.append("+c.number IN (SELECT completion FROM metadata WHERE (name, value) = (?, ?))")
        values += pair
    # The terms of the index `completions_by_time`. An unknown time is 0 there, and in no range.
    if since is not None:
        where.append("ifnull(c.created, 0) >= ?")
        values.append(_seconds("since", since))
    if until is not None:
        where.append("ifnull(c.created, 0) < ?")
        values.append(_seconds("until", until))
    if since is not None or until is not None:
        where.append("c.created IS NOT NULL")
    return " AND ".join(where) or "TRUE", values


def _seconds(name: str, time: Time) -> float:
    if isinstance(time, datetime):
        return time.timestamp()
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise ConfigurationError(f"{name} must be a datetime or Unix seconds, not {time!r}")
    return time
