"""How fast to send: the rate that a server bears, found from its answers alone.

Nothing here performs I/O, reads a clock or rolls dice: clock readings come in as arguments, in
seconds from any origin, and waits are results.

Until the first 429 the rate grows with the successes. From then on it follows from the buckets that
would have given the same answers: it begins at the slowest of them, rises to the fastest, and is
held there, a little below, for a while. Then it rises beyond, slowly at first and ever faster, for
a server may bear more by now, until the next 429. Where no bucket explains the answers any more,
the server has changed, and they are guessed at anew.
"""

import math
from collections import deque
from typing import Final

from .token_buckets import AS_GOOD, SLACK_SHARE, Buckets

FIRST_RATE: Final = 60.0  # a second: three times what a slow server bears costs it few refusals

# Until the first 429 the rate grows while fewer are under way than UNDER_WAY and this share of what
# succeeded. It comes a latency after the bucket ran empty: refused is what is under way by then.
GAIN: Final = 0.2
UNDER_WAY: Final = 3.0
SMOOTHING: Final = 8.0  # each latency moves the mean by an eighth of the way, as RFC 6298 does it
SHORTEST_LATENCY: Final = 0.001  # two clock readings may be the same

HISTORY: Final = 1000  # of sends that are remembered, and of answers before the first 429

# A timer is late by a millisecond or two; what is late by more was idle and earns no burst.
CATCH_UP: Final = 0.01

# How far below the rate that was refused the guesses reach: far where nothing was known, or guesses
# made so many seconds ago were all wrong; not so far where a rate was borne and then grew slowly.
RANGE: Final = 40.0
SMALL_RANGE: Final = 1.3
SOON: Final = 1.0
# Requests that overtake each other arrive at random, and a small bucket refuses some at any rate.
# So unless so many answers in a row came in order, a refusal may be chance, and guesses reach
# beyond the rate, by SMALL_RANGE. Where it stops all for longer, it is better to be too slow.
IN_ORDER: Final = 64
SHORT_PAUSE: Final = 0.5
# Though all is possible at first, a server rarely bears less than this part of what it refused.
START: Final = 5.0
RISE: Final = 3.0  # seconds, from the slowest guess to the fastest
MARGIN: Final = 0.99  # what is left below a guess: its own exactness

# How long a rate is held: until an epoch's refusals, and those of all time, are this share of the
# requests, and its pause, which may be lost, is this share of the time. Then the growth itself
# grows by PROBE a second.
REFUSED_SHARE: Final = 0.008
PAUSED_SHARE: Final = 0.06
LONGEST_HOLD: Final = 20.0
PROBE: Final = 0.03

# Without Retry-After: doubled with each epoch that nothing came through since.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0

LEAST_RATE: Final = 0.2  # a second; slower than that, nobody would learn that the server recovered

_NEVER: Final = float("-inf")


class Pace:
    """Decide when the next request goes, at most `max_rps` a second.

    One caller at a time: ask `wait`, wait, ask `paused` until there is no pause, send. Then tell
    what came of it, with the clock reading at which it was sent.
    """

    def __init__(self, max_rps: float | None = None) -> None:
        self.rate = FIRST_RATE
        self._most = float("inf") if max_rps is None else max_rps
        self._slot = _NEVER  # when the last request was due
        self._slots: deque[tuple[float, float]] = deque(maxlen=HISTORY)  # and at what rate
        self._held_until = _NEVER  # how long the pace itself made somebody wait
        self._resume = _NEVER
        self._probe_at = _NEVER
        # An epoch begins with a 429. What was sent within a latency from then on belongs to it: by
        # its end, all that were under way at the rate that was refused are answered.
        self._settled = _NEVER
        self._refused = 0  # in this epoch
        self._owed = 0.0  # those of all time, beyond their share of the answers
        self._fruitless = 0  # epochs since the last success
        self._starved_since: float | None = None
        self._history: deque[float] = deque(maxlen=HISTORY)
        self._latency = 0.0  # the mean, until the first 429
        self._newest = _NEVER  # when the latest of those that are answered was sent
        self._in_order = IN_ORDER  # so many answers in a row came in order, as far as is known
        self._buckets: Buckets | None = None
        self._guessed = _NEVER
        self._refused_rate = math.inf  # the lowest that was, since they were guessed at
        self._goal = 0.0  # what to rise to, by so much with each success
        self._step = 0.0

    def wait(self, now: float) -> float:
        """Reserve the next slot and return the seconds until then."""
        rate = min(self.rate, self._most)
        slot = self._slot + 1.0 / rate
        self._slot = now if slot < now - CATCH_UP else slot
        self._slots.append((self._slot, rate))
        if self._slot > now:
            self._held_until = self._slot
        return max(self._slot - now, 0.0)

    def paused(self, now: float) -> float:
        """Return the seconds that the pause for all goes on."""
        return max(self._resume - now, 0.0)

    def starved(self, now: float) -> float:
        """Return the seconds since a 429 behind which nothing succeeded."""
        return 0.0 if self._starved_since is None else now - self._starved_since

    def succeeded(self, now: float, *, sent: float) -> None:
        """Hear that a request was answered, and not with 429."""
        self._answered(sent)
        fruitless, self._fruitless = self._fruitless, 0
        self._starved_since = None
        if self._buckets is None:
            self._succeeded_at_first(now, now - sent)
        else:
            self._buckets.passed(now)
            if sent <= self._settled or fruitless > 1:
                self._follow(self._buckets)
                return
        if now < self._held_until + CATCH_UP:  # else it is not the rate that limits
            self._grow(now)

    def limited(self, now: float, retry_after: float | None, *, sent: float) -> None:
        """Hear that a request was answered 429, and how many seconds the server asks to wait."""
        self._answered(sent)
        if self._starved_since is None:
            self._starved_since = now
        if sent > self._settled:
            self._settled = now + (now - sent)
            self._refused = 0
            self._fruitless += 1
            if self._fruitless == 1:
                self._judge(now, retry_after, self._rate_of(sent))
            else:  # who refuses all, whatever the rate, says nothing of it
                self.rate = max(self.rate / 2, LEAST_RATE)
        elif self._buckets is not None and self._fruitless < 2:
            self._buckets.refused(now, retry_after)
            self._follow(self._buckets)
        self._pause(now, self._own_pause() if retry_after is None else retry_after)

    def _answered(self, sent: float) -> None:
        self._owed -= REFUSED_SHARE
        self._in_order = self._in_order + 1 if sent >= self._newest else 0
        self._newest = max(self._newest, sent)

    def _succeeded_at_first(self, now: float, latency: float) -> None:
        latency = max(latency, SHORTEST_LATENCY)
        weight = 1.0 / SMOOTHING if self._history else 1.0
        self._latency += (latency - self._latency) * weight
        self._history.append(now)

    def _grow(self, now: float) -> None:
        if self._buckets is None:
            few = self.rate * self._latency < UNDER_WAY + GAIN * len(self._history)
            growth = GAIN / self._latency if few else 0.0
        elif self.rate < self._goal:
            growth = self._step
        else:
            # What explains nothing is no reason to stay.
            since = self._probe_at if self._buckets.explain() else self._resume
            growth = PROBE * max(now - since, 0.0)
        self.rate = min(self.rate + growth, self._most)
        if self._buckets is not None and self.rate < self._goal:
            # Each success may rule out a part of the range.
            slowest, fastest = self._rates(self._buckets)
            self.rate, self._goal = max(self.rate, slowest * MARGIN), fastest * MARGIN

    def _judge(self, now: float, retry_after: float | None, rate: float) -> None:
        """Hear that a rate was refused, and make guesses if none explains it."""
        soon = now < self._guessed + SOON
        chance = self._in_order < IN_ORDER and (retry_after or 0.0) < SHORT_PAUSE
        beyond = SMALL_RANGE if chance else 1.0
        if self._buckets is None:
            buckets = self._guess(rate, (RANGE, beyond), [*self._history] or [now])
        else:
            buckets = self._buckets
        self._refused_rate = min(self._refused_rate, rate)
        buckets.refused(now, retry_after, sent_at=math.inf if chance else self._refused_rate)
        if not buckets.explain():
            level = buckets.level_when_empty
            reach = RANGE if soon else SMALL_RANGE
            buckets = self._guess(rate, (reach, beyond), [now], level=level)
            buckets.refused(now, retry_after)
        self._follow(buckets)

    def _guess(
        self, rate: float, reach: tuple[float, float], passed: list[float], *, level: float = 0.0
    ) -> Buckets:
        below, beyond = reach
        self._buckets = Buckets(rate / below, rate * beyond, passed, level=level)
        self._refused_rate = rate
        self._guessed = passed[0]
        return self._buckets

    def _follow(self, buckets: Buckets) -> None:
        """Begin at the slowest guess, and rise to the fastest."""
        slowest, fastest = self._rates(buckets)
        slowest = min(max(slowest, self._refused_rate / START), fastest)
        self.rate = max(slowest * MARGIN, LEAST_RATE)
        self._goal = fastest * MARGIN
        self._step = math.log(fastest / slowest) / RISE

    def _rates(self, buckets: Buckets) -> tuple[float, float]:
        """Return the slowest and the fastest guess; answers that are late tell less exactly."""
        return buckets.rates(as_good=AS_GOOD if self._in_order >= IN_ORDER else SLACK_SHARE)

    def _rate_of(self, sent: float) -> float:
        """Return the rate at which a request was sent."""
        rate = self.rate
        while self._slots and self._slots[0][0] <= sent:
            rate = self._slots.popleft()[1]
        return rate

    def _own_pause(self) -> float:
        doublings = min(self._fruitless - 1, 64)  # beyond that a float only overflows
        return min(FIRST_PAUSE * 2.0 ** max(doublings, 0), LONGEST_PAUSE)

    def _pause(self, now: float, seconds: float) -> None:
        self._refused += 1
        self._owed += 1.0
        self._resume = max(self._resume, now + seconds)
        self._slot = max(self._slot, self._resume)  # whoever waits goes then; the next a slot later
        owed = max(self._refused, self._owed)
        hold = owed / (REFUSED_SHARE * self.rate) + seconds / PAUSED_SHARE
        self._probe_at = self._resume + min(hold, LONGEST_HOLD)
