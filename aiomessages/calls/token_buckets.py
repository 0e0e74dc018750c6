"""What a server that limits requests may be like, judged by its answers: guesses at its bucket.

A token bucket holds `capacity` tokens, gets `rate` of them a second, and gives one to each request,
or refuses it. Its level, here the tokens that were taken and have not come back, follows from the
rate and the answers alone. A request that passes shows that there was room, one that is refused
that there was none. So a wrong rate shows itself: under it, the same level is both room and none.
"""

import math
from collections.abc import Sequence
from typing import Final

STEP: Final = 1.01  # from one guess to the next; more exact than a pace can be held

# How far answers may contradict a guess, in tokens and in shares of the capacity, more than they
# contradict the best one: they come later than they were decided on, by a latency that varies.
SLACK: Final = 1.0
SLACK_SHARE: Final = 0.03
# Among those that are left, so near to the best are as good, for guesses stand STEP apart; and so
# few tokens are no contradiction.
AS_GOOD: Final = 0.002
NOTHING: Final = 0.02
FULL: Final = 1.0 + 1e-6  # with what a sum of floats may be off
MOMENTS: Final = 100  # that are looked at; more would take milliseconds in which nobody is heard


# A rate, the level that it leads to, and the bounds of the capacity that answers show: at least so
# much, and less than that. Plain tuples, for each answer is held against hundreds of them.
_Guess = tuple[float, float, float, float]


class Buckets:
    """The buckets that would have given the answers that a server gave, or nearly those.

    `passed` is when requests got their tokens, beginning at `level`; it may not be empty. Answers
    have to be told in their order.
    """

    def __init__(
        self, slowest: float, fastest: float, passed: Sequence[float], *, level: float = 0.0
    ) -> None:
        count = math.ceil(math.log(fastest / slowest) / math.log(STEP))
        rates = [fastest * STEP**-number for number in range(count + 1)]
        # The level is what passed since some moment, less what came back since: the most that it is
        # for any moment. Near that one it hardly differs, so some of them will do.
        self._heard = passed[-1]
        some = range(0, len(passed), math.ceil(len(passed) / MOMENTS))
        moments = [(0.0 + len(passed) - number, self._heard - passed[number]) for number in some]
        moments.append((len(passed) + level, self._heard - passed[0]))
        levels = [max(taken - rate * elapsed for taken, elapsed in moments) for rate in rates]
        self._guesses = [
            (rate, level, max(level, 1.0), math.inf)
            for rate, level in zip(rates, levels, strict=True)
        ]
        self.level_when_empty = level

    def explain(self) -> bool:
        """Tell whether any of them would have given these answers, or nearly those."""
        excesses = _excesses(self._guesses)
        return any(
            excess <= SLACK and less_than > FULL
            for (*_, less_than), excess in zip(self._guesses, excesses, strict=True)
        )

    def passed(self, now: float) -> None:
        """Hear that a request got its token."""
        elapsed, self._heard = now - self._heard, now
        guesses = []
        for rate, before, at_least, less_than in self._guesses:
            level = max(before - rate * elapsed, 0.0) + 1.0
            guesses.append((rate, level, max(level, at_least), less_than))
        self._keep_the_best(guesses)

    def refused(self, now: float, retry_after: float | None, *, sent_at: float = math.inf) -> None:
        """Hear that a request got none, and when there will be one.

        If it was one of those that arrive evenly, `sent_at` is their rate: at a rate that the
        server bears they are not refused, so it does not bear it.
        """
        elapsed, self._heard = now - self._heard, now
        guesses = []
        for rate, before, at_least, less_than in self._guesses:
            level = max(before - rate * elapsed, 0.0)
            # There is a token at the latest when the server says so.
            room = at_least if retry_after is None else level + 1.0 - rate * retry_after
            if rate <= sent_at:
                guesses.append((rate, level, max(at_least, room), min(less_than, level + 1.0)))
        self._keep_the_best(guesses)
        if self._guesses:
            *_, less_than = self._guesses[len(self._guesses) // 2]
            self.level_when_empty = less_than - 1.0

    def _keep_the_best(self, guesses: list[_Guess]) -> None:
        excesses = _excesses(guesses)
        bound = max(min(excesses, default=0.0), 0.0) + SLACK
        self._guesses = [
            guess for guess, excess in zip(guesses, excesses, strict=True) if excess <= bound
        ]

    def rates(self, *, as_good: float = AS_GOOD) -> tuple[float, float]:
        """Return the slowest and the fastest that explain the answers best; there must be some."""
        # By what share of itself a capacity would be larger than itself. Where a full bucket
        # refused, the guess is too high.
        contradictions = [
            1.0 if less_than <= FULL else (at_least - less_than - NOTHING) / at_least
            for _, _, at_least, less_than in self._guesses
        ]
        bound = max(min(contradictions), 0.0) + as_good
        best = [
            guess[0]
            for guess, contradiction in zip(self._guesses, contradictions, strict=True)
            if contradiction <= bound
        ]
        return best[-1], best[0]


def _excesses(guesses: list[_Guess]) -> list[float]:
    """Return by how many tokens each capacity would be larger than itself, beyond the usual."""
    usual = 1.0 - SLACK_SHARE
    return [at_least * usual - less_than for _, _, at_least, less_than in guesses]
