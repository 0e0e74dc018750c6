"""The wait that a response asks for, and its date.

Nothing here performs I/O or reads a clock.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# Seconds, 31 years. A longer wait is taken for this one, as RFC 9111, section 1.2.2, has it for
# what a cache cannot represent: a server that says "never", in however many digits, means it.
MAX_RETRY_AFTER: Final = 999_999_999.0
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)


def parse_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the seconds that a server asks to wait, or None where it does not, or makes no sense.

    `now` is in Unix seconds. Retry-After is a number of seconds or an HTTP date (RFC 9110, section
    10.2.3), which is read against the answer's own Date where it has one, since the clocks of two
    machines differ; `retry-after-ms` is OpenAI's own, finer, and goes first.
    """
    if (millis := _number(headers.get("retry-after-ms"))) is not None:
        return min(millis / 1000, MAX_RETRY_AFTER)
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None:
        return min(seconds, MAX_RETRY_AFTER)
    moment = _moment(value or "")
    if moment is None:
        return None
    sent = date_of(headers)
    return min(max(0.0, moment - (now if sent is None else sent)), MAX_RETRY_AFTER)


def date_of(headers: Mapping[str, str]) -> float | None:
    """Return when a response was sent, by its Date header, in Unix seconds; None without one."""
    return _moment(headers.get("date") or "")


def _number(value: str | None) -> float | None:
    # RFC 9110, section 5.6.3. What strip() takes away unasked is more, and float() refuses some.
    text = (value or "").strip(" \t")
    return float(text) if _SECONDS.fullmatch(text) else None


def _moment(date: str) -> float | None:
    """Read an HTTP date as Unix seconds."""
    try:
        moment = parsedate_to_datetime(date if date.isascii() else "")
    except (ValueError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH).total_seconds()
