"""A header as one line of text, and the content codings that the headers of a response name."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from .secrets import hide

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


# The name is a token (RFC 9110, section 5.6.2). The official client allows a space after it.
_LINE: Final = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*(.*?)\s*", re.DOTALL)


def header_of(line: str) -> tuple[str, str] | None:
    """Return the name and the hidden value in `Name: value`; None for a line of another form."""
    found = _LINE.fullmatch(line)
    return None if found is None else (found[1], hide(found[2]))


# The names of headers that carry a credential, those of gateways as well: `apikey`, `x-auth`.
_OF_CREDENTIAL: Final = re.compile(
    r".*(auth|authorization|cookie|key|token|secret|password|credentials?|jwt)", re.IGNORECASE
)


def carries_credential(name: str) -> bool:
    """Return whether a header carries a credential, by its name."""
    return _OF_CREDENTIAL.fullmatch(name) is not None


def credentials_in(headers: Mapping[str, str]) -> Iterator[str]:
    """Yield the credentials in headers, hidden: without `Bearer`, and of each cookie its value."""
    for name, value in headers.items():
        if name.lower().endswith("cookie"):
            for pair in value.split(";"):
                yield hide(pair.partition("=")[2].strip())
        elif carries_credential(name):
            yield hide(value.rpartition(" ")[2])


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
