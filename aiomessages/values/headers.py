"""Headers of a response, and the content codings that they name."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final


class Headers(dict[str, str]):
    """The headers of a response, by their names in whatever case."""

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """Return the value of a header, or the default."""
        return super().get(name.lower(), default)


# What a coding stands for, by the names of RFC 9110 (section 8.4.1), the older ones that mean the
# same, and those of character sets, which some servers put into the wrong header. None: nothing.
CODINGS: Final[Mapping[str, str | None]] = {
    "gzip": "gzip",
    "x-gzip": "gzip",
    "deflate": "deflate",
    "x-deflate": "deflate",
    **dict.fromkeys(("", "identity", "none", "utf-8", "utf8", "us-ascii", "ascii")),
}
# A proxy may compress what was compressed already. More of it is no answer, but a bomb.
MAX_CODINGS: Final = 2


def compressions_of(headers: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return what a body is compressed by, in the order that it was; None for what is not known."""
    getall: Any = getattr(headers, "getall", None)  # of a header that comes twice, both count
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
