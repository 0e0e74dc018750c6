"""A call becomes a URL: which arguments can be sent, and how they are written.

Nothing here performs I/O.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote

from aiomessages.errors import ConfigurationError
from aiomessages.values.plain import as_plain, can_be_sent
from aiomessages.values.redaction import Concealed

# A walk asks for 100 a page, five times fewer requests than the server's default of 20; the largest
# limit is undocumented, and 100 is known to be accepted.
WALK_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 20
MAX_ID_LENGTH: Final = 256
_USUAL: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_ID_LENGTH}}}")  # checked in one step
_UNFIT_FOR_PATH: Final = re.compile(r"[/?#%\\\x00-\x20\x7f-\x9f]")


def check_completion_id(completion_id: object) -> str:
    """Return the id, or raise ConfigurationError if it cannot stand in a URL's path as one name."""
    if type(completion_id) is str and _USUAL.fullmatch(completion_id):
        return completion_id
    if not isinstance(completion_id, str):
        raise ConfigurationError(f"completion_id must be a str, not {type(completion_id).__name__}")
    if not completion_id or completion_id in (".", ".."):
        raise ConfigurationError("completion_id must not be empty, '.' or '..'")
    if len(completion_id) > MAX_ID_LENGTH:
        raise ConfigurationError(f"completion_id is longer than {MAX_ID_LENGTH} characters")
    if not can_be_sent(completion_id):
        raise ConfigurationError("completion_id holds half a character (a lone surrogate)")
    if _UNFIT_FOR_PATH.search(completion_id):
        raise ConfigurationError(
            "completion_id must not hold spaces, control characters or any of / ? # % \\"
        )
    return as_plain(completion_id)


class PageOptions(NamedTuple):
    """Which part of a list is asked for, checked: plain values, whatever they were given as."""

    after: str | None
    limit: int | None
    order: str | None
    max_items: int | None


def check_page_options(
    *, after: object, limit: object, order: object, max_items: object
) -> PageOptions:
    """Return the options, or raise ConfigurationError for what no server would accept.

    A large limit is left to it.
    """
    if order not in (None, "asc", "desc"):
        raise ConfigurationError(f"order must be 'asc' or 'desc', not {order!r}")
    return PageOptions(
        _checked_after(after),
        _checked_number("limit", limit),
        as_plain(order),
        _checked_number("max_items", max_items),
    )


def _checked_number(name: str, value: object) -> int | None:
    number = as_plain(value)
    if number is None:
        return None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ConfigurationError(f"{name} must be an int of 1 or more, not {value!r}")
    return number


def _checked_after(after: object) -> str | None:
    if after is None:
        return None
    if not isinstance(after, str) or not after or not can_be_sent(after):
        raise ConfigurationError("after must be the id of a message, or None for the beginning")
    return as_plain(after)


# What quoting would leave as it is, found five times faster.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~-]+")


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else quote(text, safe="")


def completion_url(base_url: str, completion_id: str) -> str:
    """Return the URL of one stored completion."""
    return f"{base_url}/chat/completions/{_quoted(completion_id)}"


def page_limit(limit: int | None, remaining: int | None, *, default: int | None) -> int | None:
    """Return the page size to ask for: what the caller said, and no more than is still wanted.

    None leaves it to the server.
    """
    size = limit or default
    if remaining is None or remaining >= (size or DEFAULT_LIMIT):
        return size
    return remaining


def with_query(url: str, query: Mapping[str, str | None]) -> str:
    """Return the URL with the parameters that are not None."""
    pairs = [
        f"{quote(name)}={quote(value, safe='')}"
        for name, value in query.items()
        if value is not None
    ]
    return f"{url}?{'&'.join(pairs)}" if pairs else url


def page_url(url: str, after: str | None, limit: int | None) -> str:
    """Return the URL of one page of the list at `url`, which may hold a query already."""
    wanted = [f"limit={limit}"] if limit is not None else []
    if after is not None:
        wanted.append(f"after={_quoted(after)}")
    paged = f"{url}{'&' if '?' in url else '?'}{'&'.join(wanted)}" if wanted else url
    return Concealed.of(paged, url) if isinstance(after, Concealed) else paged
