"""Claims about speed: a target for each measured figure. Nothing is measured here."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

from benchmarks import report

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Bound = Literal["≥", "≤"]


class Claim(NamedTuple):
    """A figure that was measured once a round, and the target for its median."""

    row: int
    subject: str
    bound: Bound
    target: float
    unit: str
    figures: list[float]

    @property
    def holds(self) -> bool:
        """Whether the median meets the target."""
        middle = median(self.figures)
        return middle >= self.target if self.bound == "≥" else middle <= self.target


def at_least(target: float, row: int, subject: str, figures: Iterable[float]) -> Claim:
    """Return the claim that a ratio is at least the target."""
    return Claim(row, subject, "≥", target, "×", list(figures))


def at_most(
    target: float, row: int, subject: str, figures: Iterable[float], unit: str = "×"
) -> Claim:
    """Return the claim that a ratio, or a figure in the unit, is at most the target."""
    return Claim(row, subject, "≤", target, unit, list(figures))


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide the figures of each round, which were measured close to each other."""
    return [a / b for a, b in zip(above, below, strict=True)]


def table(claims: Sequence[Claim]) -> str:
    """Render a line for each claim: its target, the median, the spread, and the verdict."""
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
