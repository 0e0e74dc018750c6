"""Claims: what is to hold of the speed, beside what was measured of it. Measures nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal, NamedTuple

from benchmarks import report

Bound = Literal["≥", "≤"]


class Claim(NamedTuple):
    """A figure that was measured once a round, and the bound that its median is to keep."""

    row: int
    subject: str
    bound: Bound
    target: float
    unit: str
    figures: list[float]

    @property
    def holds(self) -> bool:
        """Tell whether the median keeps the bound."""
        middle = median(self.figures)
        return middle >= self.target if self.bound == "≥" else middle <= self.target


def at_least(target: float, row: int, subject: str, figures: Iterable[float]) -> Claim:
    """Claim a ratio of at least so much."""
    return Claim(row, subject, "≥", target, "×", list(figures))


def at_most(
    target: float, row: int, subject: str, figures: Iterable[float], unit: str = "×"
) -> Claim:
    """Claim a ratio, or a figure in the unit, of at most so much."""
    return Claim(row, subject, "≤", target, unit, list(figures))


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide the figures of the same round, which were taken close to each other."""
    return [a / b for a, b in zip(above, below, strict=True)]


def table(claims: Sequence[Claim]) -> str:
    """Render a line for each claim: its target, the median, the spread, and whether it holds."""
    rows = [["", "target", "median", "(min-max)", ""]]
    for claim in claims:
        middle, least_to_most = report.spread(claim.figures, digits=2)
        target = f"{claim.bound} {claim.target:g} {claim.unit}"
        verdict = "holds" if claim.holds else "falls short"
        rows.append([f"{claim.row}  {claim.subject}", target, middle, least_to_most, verdict])
    return report.aligned(rows)


def as_rows(claims: Iterable[Claim]) -> list[dict[str, object]]:
    """Return every claim with its figures, median and verdict."""
    return [
        {**claim._asdict(), "median": median(claim.figures), "holds": claim.holds}
        for claim in claims
    ]
