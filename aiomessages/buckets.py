"""What a server that limits requests may be like, judged by its answers: guesses at its bucket.

A token bucket holds `capacity` tokens, gets `rate` of them a second, and gives one to each request,
or refuses it. Its level, here the tokens that were taken and have not come back, follows from the
rate and the answers alone. A request that passes shows that there was room, one that is refused
that there was none. So a wrong rate shows itself: under it, the same level is both room and none.
"""

import itertools
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
ROUNDING: Final = 1e-6  # what a sum of floats may be off


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
        gaps = [later - earlier for earlier, later in itertools.pairwise(passed)]
        rates = [fastest * STEP**-number for number in range(count + 1)]
        self._guesses = [_first_guess(rate, level, gaps) for rate in rates]
        self._heard = passed[-1]
        self.level_when_empty = level

    def explain(self) -> bool:
        """Tell whether any of them would have given these answers, or nearly those."""
        return any(_excess(guess) <= SLACK for guess in self._guesses)

    def passed(self, now: float) -> None:
        """Hear that a request got its token."""
        elapsed, self._heard = now - self._heard, now
        guesses = []
        for rate, before, at_least, less_than in self._guesses:
            level = max(before - rate * elapsed, 0.0) + 1.0
            guesses.append((rate, level, max(level, at_least), less_than))
        self._keep_the_best(guesses)

    def refused(self, now: float, retry_after: float | None, *, sent_at: float) -> None:
        """Hear that a request got none, and when there will be one; it was sent at a rate.

        What is sent evenly at a rate that the server bears is not refused, so it does not bear it.
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
        excesses = [_excess(guess) for guess in guesses]
        bound = max(min(excesses, default=0.0), 0.0) + SLACK
        self._guesses = [
            guess for guess, excess in zip(guesses, excesses, strict=True) if excess <= bound
        ]

    def rates(self) -> tuple[float, float]:
        """Return the slowest and the fastest that explain the answers best; there must be some."""
        contradictions = [_contradiction(*guess[2:]) for guess in self._guesses]
        bound = max(min(contradictions), 0.0) + AS_GOOD
        best = [
            guess[0]
            for guess, contradiction in zip(self._guesses, contradictions, strict=True)
            if contradiction <= bound
        ]
        return best[-1], best[0]


def _first_guess(rate: float, level: float, gaps: list[float]) -> _Guess:
    """Return what a rate comes to after requests that passed, the first one and one a gap."""
    highest = level = level + 1.0
    for gap in gaps:
        level -= rate * gap
        level = level + 1.0 if level > 0.0 else 1.0
        highest = max(highest, level)
    return rate, level, max(highest, 1.0), math.inf


def _excess(guess: _Guess) -> float:
    """Return by how many tokens a capacity would be larger than itself, beyond the usual."""
    _, _, at_least, less_than = guess
    return at_least - less_than - SLACK_SHARE * at_least


def _contradiction(at_least: float, less_than: float) -> float:
    """Return by what share of itself a capacity would be larger than itself."""
    if less_than <= 1.0 + ROUNDING:
        return 1.0  # a full bucket refused: nothing is learnt from a guess so high
    return (at_least - less_than - NOTHING) / at_least
