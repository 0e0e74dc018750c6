"""Find the rate that a server allows from its answers, and send at it.

Nothing here performs I/O, reads a clock or rolls dice: clock readings come in as arguments, in
seconds from any origin, and waits are results.

Servers limit with a token bucket: it holds `capacity` tokens, gets `allowed` of them a second, and
gives one to each request or refuses it. The capacity is not known, so the first 429 only says that
the bucket is empty. Between two moments at which it is empty, though, as many requests pass as it
got tokens, whatever it holds, so

    passed / elapsed <= allowed

with equality unless the bucket was full on the way and lost tokens. That happens in a pause, when
nothing is sent, so `passed / (elapsed - paused)` is an upper bound where nothing else was lost.

1. Until the first 429 the rate grows with the successes (slow start).
2. From each 429 on the rate starts at the lower bound and rises to the upper one.
3. There it is held, until the refusals and the pause are a small share of what was sent since.
4. Then it grows, slowly at first and ever faster, for the server may allow more by now, until the
   next 429.

All 429s to requests that were sent before the first of them was answered, or within a latency from
then, are one event.
"""

import math
from typing import Any, Final

FIRST_RATE: Final = 60.0  # a second: three times what a slow server allows costs few refusals

# In slow start each success adds GAIN / latency to the rate, which grows e-fold in 5 latencies, as
# long as fewer are under way than UNDER_WAY and this share of what passed. A 429 comes a latency
# after the bucket is empty: what is under way by then is refused.
GAIN: Final = 0.2
UNDER_WAY: Final = 3.0
SHORTEST_LATENCY: Final = 0.001  # two clock readings may be the same

# A timer is late by a millisecond or two, which is compensated; longer idle time earns no burst.
CATCH_UP: Final = 0.01

FALL: Final = 2.0  # the first 429 gives no lower bound, so half of the rate stands in for it
ENOUGH: Final = 30  # passed requests, for a measured rate that is exact to 3 %
# The lower bound takes this share of a pause as lost, the upper one all but this share. A bucket of
# half a second's worth loses half of a second. Bounds that are wider apart cost a further event
# until the rate is found, and each takes a whole second. Probing mends what is lost outside.
LOST: Final = 0.25
RISE: Final = 1.5  # seconds from the lower bound to the upper; longer wastes time, less is refused
MARGIN: Final = 0.99  # the share of the measured rate that is sent, so that the bucket fills slowly

# A rate is held until what the last 429 cost is this share of the requests and of the time.
REFUSED_SHARE: Final = 0.008
PAUSED_SHARE: Final = 0.06
LONGEST_HOLD: Final = 20.0  # seconds; a server that allows more is noticed at the latest then
PROBE: Final = 0.03  # the relative growth a second, for each second since: 1.5 % after one, 2x in 7

# The pause without Retry-After doubles with each event that nothing passed since.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0

LEAST_RATE: Final = 0.2  # a second; a slower one would not notice that the server recovered

_NEVER: Final = float("-inf")

# The attributes of a Pace that are clock readings.
_MOMENTS: Final = (
    "_slot",
    "_limiting_until",
    "_resume",
    "_event_ends",
    "_starved_since",
    "_emptied",
    "_probe_at",
)
Learnt = dict[str, Any]
"""Everything that a Pace has learnt, with each clock reading as seconds from the moment of it."""


class Pace:
    """Decide when the next request is sent, at most `max_rps` a second.

    One caller at a time: call `wait`, sleep so long, call `paused` and sleep until it returns 0,
    send. Then report the outcome with the clock reading at which the request was sent.
    """

    def __init__(self, max_rps: float | None = None) -> None:
        self.rate = FIRST_RATE
        self._most = math.inf if max_rps is None else max_rps
        self._slot = _NEVER  # when the last request was due
        self._limiting_until = _NEVER  # until when the rate, and no lack of work, bounds the speed
        self._resume = _NEVER
        self._event_ends = _NEVER  # a 429 to a request sent before then belongs to the last event
        self._refused = 0  # in this event
        self._fruitless = 0  # events since the last success
        self._starved_since: float | None = None
        self._emptied: float | None = None  # when the measurement began, at an empty bucket
        self._passed = 0  # since then, or since the start
        self._paused = 0.0  # seconds since then
        self._measured = FIRST_RATE  # the lower bound of what the server allows
        self._goal = 0.0  # the upper bound
        self._step = 0.0  # what each success adds to the rate until then
        self._probe_at = _NEVER

    @property
    def knows_limit(self) -> bool:
        """Whether the server has answered 429 so far."""
        return self._emptied is not None

    def due(self, now: float) -> float:
        """Return the seconds until the next slot, which stays free; it may be in the past."""
        slot = self._slot + 1.0 / min(self.rate, self._most)
        return 0.0 if slot < now - CATCH_UP else slot - now

    def wait(self, now: float) -> float:
        """Reserve the next slot and return the seconds until then."""
        self._slot = now + self.due(now)
        if self._slot > now:
            self._limiting_until = self._slot + CATCH_UP
        return max(self._slot - now, 0.0)

    def paused(self, now: float) -> float:
        """Return the seconds that the pause of all requests still takes."""
        return max(self._resume - now, 0.0)

    def learnt(self, now: float) -> Learnt:
        """Return everything learnt so far, for a Pace in another process."""
        state = {name: value for name, value in vars(self).items() if name != "_most"}
        moments = {name: state[name] - now for name in _MOMENTS if state[name] is not None}
        return state | moments

    def restore(self, learnt: Learnt, now: float) -> None:
        """Continue with what another Pace has learnt; the time in between does not count."""
        moments = {name: learnt[name] + now for name in _MOMENTS if learnt[name] is not None}
        vars(self).update(learnt | moments)

    def starved(self, now: float) -> float:
        """Return the seconds since the first 429 after the last success; 0 without one."""
        return 0.0 if self._starved_since is None else now - self._starved_since

    def succeeded(self, now: float, *, sent: float) -> None:
        """Record an answer other than 429, to a request that was sent at `sent`."""
        if self._fruitless:
            self.rate = self._measured  # if all requests were refused, nothing was measured
        self._fruitless = 0
        self._starved_since = None
        self._passed += 1
        if now < self._limiting_until:
            self._grow(now, max(now - sent, SHORTEST_LATENCY))

    def limited(self, now: float, retry_after: float | None, *, sent: float) -> None:
        """Record a 429, and the seconds that the server asks to wait."""
        if self._starved_since is None:
            self._starved_since = now
        if sent > self._event_ends:
            self._event_ends = now + (now - sent)
            self._refused = 0
            self._fruitless += 1
            if self._fruitless == 1:
                self._measure(now)
            else:
                self.rate = max(self.rate / 2, LEAST_RATE)
        self._refused += 1
        self._pause(now, self._own_pause() if retry_after is None else retry_after)

    def _grow(self, now: float, latency: float) -> None:
        if self._emptied is None:
            if self.rate * latency < UNDER_WAY + GAIN * self._passed:
                self.rate += GAIN / latency
        elif self.rate < self._goal:
            self.rate += self._step
        else:  # `rate` times a second, so this is a growth of PROBE * rate a second
            self.rate += PROBE * max(now - self._probe_at, 0.0)
        self.rate = min(self.rate, self._most)

    def _measure(self, now: float) -> None:
        """Set the rate, and what it rises to, at the moment at which the bucket is empty."""
        if self._emptied is None:
            lower, upper = self.rate / FALL, self.rate
        else:
            elapsed = now - self._emptied
            paused = min(self._paused, elapsed)  # a pause may end in the future
            lower = self._passed / (elapsed - LOST * paused)
            upper = min(self._passed / (elapsed - (1 - LOST) * paused), self.rate)
        if self._emptied is None or self._passed >= ENOUGH:
            self._emptied, self._passed, self._paused = now, 0, 0.0
        self.rate = self._measured = max(lower * MARGIN, LEAST_RATE)
        self._goal = max(upper * MARGIN, self.rate)
        self._step = math.log(self._goal / self.rate) / RISE

    def _own_pause(self) -> float:
        doublings = min(self._fruitless - 1, 64)  # a float overflows beyond 1023
        return min(FIRST_PAUSE * 2.0 ** max(doublings, 0), LONGEST_PAUSE)

    def _pause(self, now: float, seconds: float) -> None:
        resume = max(self._resume, now + seconds)
        self._paused += resume - max(self._resume, now)
        self._resume = resume
        self._slot = max(self._slot, resume)  # the next slot is one distance behind the pause
        hold = self._refused / (REFUSED_SHARE * self.rate) + seconds / PAUSED_SHARE
        self._probe_at = resume + min(hold, LONGEST_HOLD)
