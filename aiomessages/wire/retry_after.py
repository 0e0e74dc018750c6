"""Read from a response how long to wait before a retry, and when it was sent.

Nothing here performs I/O or reads a clock.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# Seconds, 31 years. A longer wait counts as this one: RFC 9111, section 1.2.2, does so for a number
# that a cache cannot represent. A server that means "never" may send any number of digits.
MAX_RETRY_AFTER: Final = 999_999_999.0
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)


def parse_retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """Return the seconds that the server asks to wait; None without a header, or with a bad one.

    `now` is in Unix seconds. Retry-After is a number of seconds or an HTTP date (RFC 9110, section
    10.2.3). A date is compared with the response's own Date where it has one, since the clocks of
    two machines differ. `retry-after-ms`, OpenAI's own header, is finer and counts first.
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
    """Return the Date header in Unix seconds; None without one, or for one that is no date."""
    return _moment(headers.get("date") or "")


def _number(value: str | None) -> float | None:
    # Only the whitespace of RFC 9110, section 5.6.3: strip() alone removes more kinds.
    text = (value or "").strip(" \t")
    return float(text) if _SECONDS.fullmatch(text) else None


def _moment(date: str) -> float | None:
    """Return an HTTP date in Unix seconds; None if it is no date."""
    try:
        moment = parsedate_to_datetime(date if date.isascii() else "")
    except (ValueError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH).total_seconds()
