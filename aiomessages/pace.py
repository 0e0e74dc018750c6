"""How fast to send: the rate that a server bears, found from its answers alone.

Nothing here performs I/O, reads a clock or rolls dice: clock readings come in as arguments, in
seconds from any origin, and waits are results.

The rate grows with each success until the first 429, quickly. An epoch begins with a 429 to a
request that was sent after the last one began; it sets the rate to what the server is thought to
bear, from three witnesses: the rate at which it began to refuse (too much), how many requests went
through since the epoch before, over the time (for both ends saw an empty bucket, never too much),
and the share of the requests then under way that went through. The rate is held for a while, then
rises slowly, ever faster, until the next 429.
"""

from typing import Final

import msgspec

FIRST_RATE: Final = 40.0  # a second: twice what a slow server bears costs it few refusals

# Each success adds this much, so that answers that come late slow the growth as well: it doubles
# the rate in half a second, and stands 2 to 3 times above the server's when a bucket of one
# second's worth is empty. Slower at first: few requests can bear but few refusals.
GROWTH: Final = 1.4
GROWTH_SHARE: Final = 1 / 60

# A timer is late by a millisecond or two; what is late by more was idle and earns no burst.
CATCH_UP: Final = 0.01

# Under way at a 429 may be just one request: what is believed beforehand counts as four of them.
WEIGHT: Final = 4.0
FIRST_SHARE: Final = 0.5  # believed of the rate at the first 429: see GROWTH
LATER_SHARE: Final = 0.85  # and at least at a later one, where the rate rose slowly
SINGLE_SHARE: Final = 0.95  # where a bucket has room for one: see _estimate
MARGIN: Final = 0.985  # an estimate that is 1 % too high costs a pause, one too low costs 1 %

# Sure is an estimate whose bounds agree, or that held for this long. The first ones are not, and
# are improved at once; if they never are, few requests a second are borne: more would not help.
SURE_AFTER: Final = 1.0
DOUBTS: Final = 2
UNSURE_GROWTH: Final = 0.2

# How long the rate is held: in all, for each refusal in requests, so that they stay below 1 %, and
# for each second of pause, for that may be lost. Then the growth itself grows by PROBE a second.
HOLD: Final = 2.0
HOLD_REQUESTS: Final = 130.0
HOLD_PER_PAUSE: Final = 12.0
LONGEST_HOLD: Final = 20.0
PROBE: Final = 0.03

# Without Retry-After: doubled with each epoch that nothing came through since.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0

LEAST_RATE: Final = 0.2  # a second; slower than that, nobody would learn that the server recovered

_NEVER: Final = float("-inf")


class _Epoch(msgspec.Struct):
    """What is known since a 429: `passed` of `seen` requests that were under way came through.

    Both begin with what was believed beforehand. `rate` is where the refusals began; `least` what
    was borne since the epoch before. With `doubts` left, no rate is held.
    """

    began: float
    sent: float
    rate: float
    least: float
    doubts: int
    passed: float
    seen: float = WEIGHT
    refused: int = 0
    served: int = 0

    def under_way(self, sent: float) -> bool:
        """Tell whether a request was sent after the refused one, at the rate that was too high."""
        return self.sent < sent <= self.began

    def estimate(self) -> float:
        """Return the requests a second that the server is thought to bear."""
        shown = self.rate * self.passed / self.seen
        if shown >= self.least:
            return shown
        # A bucket with room for one refuses every other request of a rate that is a trifle too
        # high, so the share says nothing, and the rate was nearly right.
        return max(self.least, self.rate * SINGLE_SHARE)


class Pace:
    """Decide when the next request goes, at most `max_rps` a second.

    One caller at a time: ask `wait`, wait, ask `paused` until there is no pause, send. Then tell
    what came of it, with the clock reading at which it was sent.
    """

    def __init__(self, max_rps: float | None = None) -> None:
        self.rate = FIRST_RATE
        self._most = float("inf") if max_rps is None else max_rps
        self._slot = _NEVER  # when the last request was due
        self._held_until = _NEVER  # how long the pace itself made somebody wait
        self._resume = _NEVER
        self._probe_at = _NEVER
        self._epoch: _Epoch | None = None
        self._fruitless = 0  # epochs since the last success
        self._starved_since: float | None = None

    def wait(self, now: float) -> float:
        """Reserve the next slot and return the seconds until then."""
        slot = self._slot + 1.0 / min(self.rate, self._most)
        self._slot = now if slot < now - CATCH_UP else slot
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
        self._fruitless = 0
        self._starved_since = None
        epoch = self._epoch
        if epoch is not None:
            epoch.served += 1
            if sent <= epoch.began:
                self._judge(epoch, sent, passed=1)
                return
        if now < self._held_until + CATCH_UP:  # else it is not the rate that limits
            self.rate = min(self.rate + self._growth(now), self._most)

    def limited(self, now: float, retry_after: float | None, *, sent: float) -> None:
        """Hear that a request was answered 429, and how many seconds the server asks to wait."""
        if self._starved_since is None:
            self._starved_since = now
        epoch = self._epoch
        if epoch is None or sent > epoch.began:
            epoch = self._epoch = self._next_epoch(now, sent)
            self._fruitless += 1
        self._judge(epoch, sent, passed=0)
        self._pause(now, epoch, self._own_pause() if retry_after is None else retry_after)

    def _growth(self, now: float) -> float:
        """Return what a success adds to the rate."""
        if self._epoch is None:
            return min(GROWTH, self.rate * GROWTH_SHARE)
        if self._epoch.doubts > 0:
            return UNSURE_GROWTH
        return PROBE * max(now - self._probe_at, 0.0)

    def _next_epoch(self, now: float, sent: float) -> _Epoch:
        before, rate = self._epoch, min(self.rate, self._most)
        if before is None:
            return _Epoch(now, sent, rate, 0.0, DOUBTS, passed=FIRST_SHARE * WEIGHT)
        elapsed = now - before.began
        least = min(before.served / elapsed, rate)
        # Between what is too little and what is too much, their geometric mean.
        share = max(LATER_SHARE, (least / rate) ** 0.5)
        agreed = elapsed > SURE_AFTER or least > rate * LATER_SHARE
        doubts = 0 if agreed else before.doubts - 1
        return _Epoch(now, sent, rate, least, doubts, passed=share * WEIGHT)

    def _judge(self, epoch: _Epoch, sent: float, *, passed: int) -> None:
        """Count an answer to a request that was under way when the epoch began."""
        if epoch.under_way(sent):
            epoch.passed += passed
            epoch.seen += 1
        self.rate = max(epoch.estimate() * MARGIN, LEAST_RATE)

    def _own_pause(self) -> float:
        doublings = min(self._fruitless - 1, 64)  # beyond that a float only overflows
        return min(FIRST_PAUSE * 2.0 ** max(doublings, 0), LONGEST_PAUSE)

    def _pause(self, now: float, epoch: _Epoch, seconds: float) -> None:
        epoch.refused += 1
        self._resume = max(self._resume, now + seconds)
        self._slot = max(self._slot, self._resume)  # whoever waits goes then; the next a slot later
        hold = HOLD + HOLD_REQUESTS * epoch.refused / self.rate + HOLD_PER_PAUSE * seconds
        self._probe_at = self._resume + min(hold, LONGEST_HOLD)
