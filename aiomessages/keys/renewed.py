"""Keep a key until shortly before it expires, while one caller at a time gets the next one.

Callers may be in different event loops and threads, so the lock is one of threads. It is held for a
few assignments and never while anything is awaited. No task is left behind: the caller that gets
the key does so in its own task, and if that is cancelled, a caller that waits takes over.
"""

import asyncio
import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, NamedTuple

from aiomessages.observe.logs import log_kept_key
from aiomessages.settings import UnusableKeyError
from aiomessages.values.secrets import SecretStr

# Seconds before the end of a key at which the next one is fetched: 300 is the margin of azure-core,
# before which a credential would give its old token once more. A key of a few minutes has a share.
MARGIN: Final = 300.0
MARGIN_SHARE: Final = 0.2
# Seconds between two attempts to replace a key that is still valid.
PAUSE: Final = 30.0
# Seconds for which a fetch may hold up its caller while the last key is valid. A command has as
# many by default, and an attempt twice as many.
PATIENCE: Final = 30.0
# Seconds. A refused key that is younger is the newest that its source has, so no other is fetched.
YOUNG: Final = 10.0


class Lease(NamedTuple):
    """A key, and the end of its time in Unix seconds."""

    key: SecretStr
    expires: float


class _Problem(NamedTuple):
    """Why the source gave no key, and what to do. An error would hold the frames of one caller."""

    said: str
    hint: str

    def error(self) -> UnusableKeyError:
        return UnusableKeyError(self.said, hint=self.hint)


class _Kept(NamedTuple):
    """A key that was fetched, and when to fetch the next one, in Unix seconds."""

    key: SecretStr
    fetched: float
    renew_at: float
    expires: float


def renewal_time(fetched: float, expires: float) -> float:
    """Return when to replace a key, in Unix seconds; the margin is a fifth of a short life."""
    return expires - min(MARGIN, max(expires - fetched, 0.0) * MARGIN_SHARE)


class RenewedKey(ABC):
    """An api_key callable that fetches a key, and fetches the next one before it expires."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: _Kept | None = None
        # Done when the caller that fetches has ended: with its error, or None to look again.
        self._fetching: Future[_Problem | None] | None = None

    @abstractmethod
    async def fetch(self) -> Lease:
        """Get a key from the source. Raises UnusableKeyError if that fails."""

    async def __call__(self) -> str:
        """Return a valid key.

        Raises UnusableKeyError (a ConfigurationError) if the source gives none.
        """
        while True:
            with self._lock:
                kept, now = self._kept, self._clock()
                if kept is not None and now < kept.renew_at:
                    return kept.key
                fetching = self._fetching
                if fetching is None:
                    own = self._fetching = Future()
            is_valid = kept is not None and now < kept.expires
            if fetching is None:
                return await self._fetch_for_all(own, PATIENCE if is_valid else None)
            if kept is not None and is_valid:
                return kept.key
            problem = await _end_of(fetching)
            if problem is not None:
                raise problem.error()

    def refused(self, key: str) -> None:
        """Drop this key, which a server refused, unless the source gave it a moment ago."""
        with self._lock:
            kept = self._kept
            if kept is not None and kept.key == key:
                age = self._clock() - kept.fetched
                self._kept = kept if 0 <= age < YOUNG else None

    async def _fetch_for_all(self, own: "Future[_Problem | None]", seconds: float | None) -> str:
        problem = None
        try:
            async with asyncio.timeout(seconds):
                lease = await self.fetch()
        except UnusableKeyError as error:
            problem = _Problem(str(error.args[0]), error.hint)
        except TimeoutError:
            problem = _Problem(f"the source gave no key within {seconds:g} s", "")
        else:
            return self._keep(lease)
        finally:
            with self._lock:
                self._fetching = None
            own.set_result(problem)
        return self._keep_on(problem)

    def _keep(self, lease: Lease) -> str:
        now = self._clock()
        renew_at = renewal_time(now, lease.expires)
        with self._lock:
            last = self._kept
            if last is not None and last.key == lease.key:  # the source has no other one yet
                renew_at = max(renew_at, min(now + PAUSE, lease.expires))
            self._kept = _Kept(lease.key, now, renew_at, lease.expires)
        return lease.key

    def _keep_on(self, problem: _Problem) -> str:
        """Return the key that is still valid, or raise UnusableKeyError if there is none."""
        with self._lock:
            kept, now = self._kept, self._clock()
            if kept is not None and now < kept.expires:
                self._kept = kept._replace(renew_at=min(now + PAUSE, kept.expires))
        if kept is None or now >= kept.expires:
            raise problem.error()
        log_kept_key(str(problem.error()))
        return kept.key


async def _end_of(fetching: "Future[_Problem | None]") -> _Problem | None:
    """Wait for the caller that fetches, in whatever event loop it runs; return its error."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wake(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # this loop was closed in the meantime
            loop.call_soon_threadsafe(ended.set)

    fetching.add_done_callback(wake)
    await ended.wait()
    return fetching.result()
