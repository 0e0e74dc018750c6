"""The content codings that the headers of a response name."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

# The compression that a content coding names; None for no compression. The names are those of
# RFC 9110 (section 8.4.1), older aliases, and names of character sets, which some servers put into
# this header by mistake.
CODINGS: Final[Mapping[str, str | None]] = {
    "gzip": "gzip",
    "x-gzip": "gzip",
    "deflate": "deflate",
    "x-deflate": "deflate",
    **dict.fromkeys(("", "identity", "none", "utf-8", "utf8", "us-ascii", "ascii")),
}
# A proxy may compress a body that the server has compressed. More than that is a bomb.
MAX_CODINGS: Final = 2


def compressions_of(headers: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the compressions of a body in the order applied; None if one of them is unknown."""
    getall: Any = getattr(headers, "getall", None)  # a repeated header is one list
    if getall is None:
        return _compressions(headers.get("content-encoding", ""))
    return _compressions(",".join(getall("content-encoding", ())))


@lru_cache(maxsize=64)
def _compressions(value: str) -> tuple[str, ...] | None:
    names = [name.strip().lower() for name in value.split(",")]
    if not all(name in CODINGS for name in names):
        return None
    known = tuple(coding for name in names if (coding := CODINGS[name]) is not None)
    return known if len(known) <= MAX_CODINGS else None
