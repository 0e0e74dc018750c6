"""The number of items to request in a page when many lists are read.

A page can be too large for the client's memory, for a gateway, or for the time that a request has.
Some of that is a matter of one list (120 screenshots), some of the server (25 a page and no more).
So each walk has a `WalkSize` of its own, which falls at once; and the walks of one run share a
`PageSize`, which falls once two of them had to ask for less. Both rise again behind pages that were
full, by one try at a time, and more rarely after each try that failed.

Nothing here performs I/O: numbers come in, numbers go out.
"""

from typing import Final, NamedTuple

from aiomessages.errors import APIError, APIStatusError, APITimeoutError, ResponseTooLargeError
from aiomessages.wire.errors import is_about_limit
from aiomessages.wire.requests import WALK_LIMIT

GOOD_PAGES: Final = 4  # full ones before the first try of twice as many; then 8, 16, …
MOST_GOOD_PAGES: Final = 1024

_TOO_SLOW: Final = frozenset({504, 524})  # 524 is Cloudflare's own for the same


class _Bound:
    """A size that falls at once, and rises by single tries that are ever rarer."""

    def __init__(self, most: int) -> None:
        self.most = self.size = most
        self._good = 0
        self._needed = GOOD_PAGES
        self._tried = 0

    def next(self) -> int:
        """Return the size to request: after enough good pages, the double of it, once."""
        if self._good < self._needed or self.size >= self.most:
            return self.size
        self._good = 0
        self._tried = min(self.size * 2, self.most)
        return self._tried

    def passed(self, asked: int) -> None:
        """Count a full page of that size, and rise to it."""
        if asked >= self.size:
            self.size = min(asked, self.most)
            self._good += 1

    def failed(self, asked: int) -> None:
        """Count a page of that size that failed; a failed try makes the next one rarer."""
        if asked == self._tried:
            self._wait_longer()

    def fall(self, size: int) -> None:
        """Request no more than a size, until pages of it succeeded."""
        self.size = min(self.size, max(size, 1))
        self._good = 0

    def refuse(self, asked: int) -> None:
        """Never request so many again."""
        self.most = min(self.most, max(asked // 2, 1))
        self.fall(self.most)

    def _wait_longer(self) -> None:
        self._tried, self._good = 0, 0
        self._needed = min(self._needed * 2, MOST_GOOD_PAGES)


class _Fall(NamedTuple):
    """A walk that had to shrink: a page of `failed` items failed, one of `passed` succeeded."""

    walk: "WalkSize"
    failed: int
    passed: int


class PageSize(_Bound):
    """The page size that the walks of one run share, at most `most` (100 by default)."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__(most or WALK_LIMIT)
        self._last_fall: _Fall | None = None

    def walk(self) -> "WalkSize":
        """Return the size of the pages of one more walk."""
        return WalkSize(self)

    def passed(self, asked: int) -> None:
        """Count a full page of that size: as many items are not too much for the server."""
        super().passed(asked)
        if self._last_fall is not None and asked >= self._last_fall.failed:
            self._last_fall = None

    def fell(self, walk: "WalkSize", failed: int, passed: int) -> None:
        """Note a walk that had to shrink; a second one in a row lowers the size of all."""
        before, self._last_fall = self._last_fall, _Fall(walk, failed, passed)
        if before is None or before.walk is walk:
            return
        agreed = max(before.passed, passed)
        if agreed < self.size:
            self.fall(agreed)
            self._wait_longer()  # so that what falls again and again costs ever less


class WalkSize:
    """The page size of one walk. Call `next`, send, then `passed` or `asks_for_less`.

    For one page `next` is called at most 1 + log2(limit) times, 7 for 100, whatever the answers.
    """

    def __init__(self, run: PageSize) -> None:
        self._run = run
        self._own = _Bound(run.most)
        self._failed = 0  # the smallest size that failed since a page came

    def next(self) -> int:
        """Return the limit of the next page."""
        own, run = self._own, self._run
        if self._failed:
            return min(own.size, run.size)  # no tries after a failure
        return run.next() if own.size >= run.size else min(own.next(), run.size)

    def passed(self, asked: int, count: int) -> None:
        """Count a page of `count` items, of which `asked` were requested."""
        if self._failed:
            self._run.fell(self, self._failed, asked)
            self._failed = 0
        if count >= asked:  # a short page says little: it is the last one
            self._own.passed(asked)
            self._run.passed(asked)

    def asks_for_less(self, error: APIError, asked: int) -> bool:
        """Return whether a page failed because of its size; if so, request less from now on."""
        if not is_too_large(error) or asked <= 1:
            return False
        if is_about_limit(error):
            self._run.refuse(asked)
            self._own.refuse(asked)
            return True
        self._own.failed(asked)
        self._run.failed(asked)
        self._own.fall(asked // 2)
        self._failed = asked
        return True


def is_too_large(error: APIError) -> bool:
    """Return whether a smaller page may avoid the error."""
    return (
        isinstance(error, ResponseTooLargeError)
        or (isinstance(error, APIStatusError) and error.status == 413)
        or is_about_limit(error)
        or is_too_slow(error)
    )


def is_too_slow(error: APIError) -> bool:
    """Return whether an error may be due to size, or to a server that is down for now."""
    if isinstance(error, APITimeoutError):
        return error.in_body
    return isinstance(error, APIStatusError) and error.status in _TOO_SLOW
