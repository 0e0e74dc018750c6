"""How many items to ask for a page where many lists are read: less where a page is too large.

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
        """Return what to ask for: the size, or, after enough good pages, once the double of it."""
        if self._good < self._needed or self.size >= self.most:
            return self.size
        self._good = 0
        self._tried = min(self.size * 2, self.most)
        return self._tried

    def passed(self, asked: int) -> None:
        """Hear that a full page of a size came."""
        if asked >= self.size:
            self.size = min(asked, self.most)
            self._good += 1

    def failed(self, asked: int) -> None:
        """Hear that a page of a size did not come; a try that failed makes the next one rarer."""
        if asked == self._tried:
            self._wait_longer()

    def fall(self, size: int) -> None:
        """Ask for no more than a size, until pages of it were good."""
        self.size = min(self.size, max(size, 1))
        self._good = 0

    def refuse(self, asked: int) -> None:
        """Never ask for so many again."""
        self.most = min(self.most, max(asked // 2, 1))
        self.fall(self.most)

    def fall_for_longer(self, size: int) -> None:
        """Fall, and take longer to rise: so that what falls again and again costs ever less."""
        self.fall(size)
        self._wait_longer()

    def _wait_longer(self) -> None:
        self._tried, self._good = 0, 0
        self._needed = min(self._needed * 2, MOST_GOOD_PAGES)


class _Witness(NamedTuple):
    """A walk that had to ask for less: so many did not come, and so many did."""

    walk: "WalkSize"
    failed: int
    passed: int


class PageSize:
    """What the walks of one run ask for, at most `most` a page (100 unless the caller said)."""

    def __init__(self, most: int | None = None) -> None:
        self._bound = _Bound(most or WALK_LIMIT)
        self._witness: _Witness | None = None

    @property
    def most(self) -> int:
        """The largest that is ever asked for."""
        return self._bound.most

    @property
    def size(self) -> int:
        """What a walk begins with."""
        return self._bound.size

    def walk(self) -> "WalkSize":
        """Return the size of the pages of one more walk."""
        return WalkSize(self, self._bound)

    def refuse(self, asked: int) -> None:
        """Hear that the server accepts no limit that large, of any list."""
        self._bound.refuse(asked)

    def passed(self, count: int) -> None:
        """Hear that a full page of so many came: then as many are not too much for the server."""
        self._bound.passed(count)
        if self._witness is not None and count >= self._witness.failed:
            self._witness = None

    def fell(self, walk: "WalkSize", failed: int, passed: int) -> None:
        """Hear that a walk got less, and not more; the second one in a row speaks for all."""
        before, self._witness = self._witness, _Witness(walk, failed, passed)
        if before is None or before.walk is walk:
            return
        agreed = max(before.passed, passed)
        if agreed < self._bound.size:
            self._bound.fall_for_longer(agreed)


class WalkSize:
    """What one walk asks for. Ask `next`, send, and tell `passed` or `asks_for_less` the outcome.

    For one page it is asked at most 1 + log2(limit) times, 7 for 100, whatever the answers.
    """

    def __init__(self, run: PageSize, bound: _Bound) -> None:
        self._run = run
        self._run_bound = bound
        self._own = _Bound(bound.most)
        self._failed = 0  # the least that did not come since a page came

    def next(self) -> int:
        """Return the limit of the next page."""
        own, run = self._own, self._run_bound
        if self._failed:
            return min(own.size, run.size)  # no tries while things go wrong
        return run.next() if own.size >= run.size else min(own.next(), run.size)

    def passed(self, asked: int, count: int) -> None:
        """Hear that a page of so many items came."""
        if self._failed:
            self._run.fell(self, self._failed, asked)
            self._failed = 0
        if count >= asked:  # a short page says little: it is the last one
            self._own.passed(asked)
            self._run.passed(asked)

    def asks_for_less(self, error: APIError, asked: int) -> bool:
        """Tell whether a page did not come because of its size, and ask for less from now on."""
        if not is_too_large(error) or asked <= 1:
            return False
        if is_about_limit(error):
            self._run.refuse(asked)
            self._own.refuse(asked)
            return True
        self._own.failed(asked)
        self._run_bound.failed(asked)
        self._own.fall(asked // 2)
        self._failed = asked
        return True


def is_too_large(error: APIError) -> bool:
    """Tell whether an error is one that a smaller page may not meet."""
    return (
        isinstance(error, ResponseTooLargeError)
        or (isinstance(error, APIStatusError) and error.status == 413)
        or is_about_limit(error)
        or is_too_slow(error)
    )


def is_too_slow(error: APIError) -> bool:
    """Tell whether an error may be one of size, or just of a server that is down for now."""
    if isinstance(error, APITimeoutError):
        return error.in_body
    return isinstance(error, APIStatusError) and error.status in _TOO_SLOW
