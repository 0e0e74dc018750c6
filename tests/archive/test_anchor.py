"""Where the anchor of a sync may stand: the decisions as numbers, without a server."""

from __future__ import annotations

import pytest

from aiomessages.archive.listing import (
    MARGIN,
    Anchor,
    AnchorTracker,
    Listed,
    NewestPair,
    OrderShown,
)

NOW = 1_700_000_000.0
HOUR = 3600.0


def listed(name: str, created: float | None) -> Listed:
    """Return a completion of a list."""
    return Listed(name, b"{}", created)


def hourly(count: int) -> list[Listed]:
    """Return completions, one an hour, the last of them an hour old."""
    return [listed(str(n), NOW - (count - n) * HOUR) for n in range(count)]


def tracked(items: list[Listed], *, done: int | None = None, bound: float = NOW) -> Anchor | None:
    """Return the anchor after a list of which the first `done` completions are done."""
    tracker = AnchorTracker()
    places = [tracker.add(item, NOW) for item in items]
    for place in places[:done]:
        place.finish()
    return tracker.advance(bound)


def test_a_list_that_is_done() -> None:
    """The anchor is the last pair, as its last one is just old enough."""
    assert tracked(hourly(20)) == Anchor("18", "19", NOW - HOUR)


def test_one_that_is_too_young() -> None:
    """A completion that is younger than an hour, by the list or by the bound, stops the anchor."""
    items = [*hourly(20), listed("young", NOW - HOUR + 1), listed("old", NOW - 1.5 * HOUR)]
    assert tracked(items) == Anchor("18", "19", NOW - HOUR)
    assert tracked(hourly(20), bound=NOW - 1) == Anchor("17", "18", NOW - 2 * HOUR)


def test_one_that_is_not_done() -> None:
    """The anchor does not move over a completion that is neither in nor waiting."""
    assert tracked(hourly(20), done=15) == Anchor("13", "14", NOW - 6 * HOUR)
    assert tracked(hourly(20), done=1) is None


def test_one_without_a_time() -> None:
    """A completion without a time is no witness, and the anchor may stand on it."""
    items = hourly(20)
    items[10] = listed("timeless", None)
    assert tracked(items, done=11) == Anchor("8", "9", NOW - 11 * HOUR)
    assert tracked(items, done=12) == Anchor("timeless", "11", NOW - 9 * HOUR)


@pytest.mark.parametrize("count", [10, 11])
def test_an_order_of_few(count: int) -> None:
    """Ten steps show an order, nine do not."""
    assert (tracked(hourly(count)) is not None) == (count == 11)


@pytest.mark.parametrize(
    ("times", "ascends", "descends"),
    [
        ([HOUR * n for n in range(11)], True, False),
        ([-HOUR * n for n in range(11)], False, True),
        ([MARGIN / 10 * n for n in range(11)], False, False),  # a rise of MARGIN is none yet
        ([(MARGIN + 1) / 10 * n for n in range(11)], True, False),
        ([-(MARGIN + 1) / 10 * n for n in range(11)], False, True),
        ([*(HOUR * n for n in range(11)), HOUR * 10 - MARGIN], True, False),
        ([*(HOUR * n for n in range(11)), HOUR * 10 - MARGIN - 1], False, False),
        ([*(-HOUR * n for n in range(11)), -HOUR * 10 + MARGIN], False, True),
        ([*(-HOUR * n for n in range(11)), -HOUR * 10 + MARGIN + 1], False, False),
        ([0.0] * 30, False, False),
    ],
)
def test_the_order_of_a_list(times: list[float], *, ascends: bool, descends: bool) -> None:
    """An order is shown by ten steps and more than MARGIN, and refuted by a step back of more."""
    order = OrderShown()
    for time in times:
        order.follow(NOW + time)
    assert (order.ascends(), order.descends()) == (ascends, descends)


def test_the_newest_pair() -> None:
    """In a list that descends, the anchor is the newest pair whose two are old enough."""
    newest = NewestPair()
    young = [listed("young", NOW), listed("timeless", None), listed("y", NOW - HOUR + 1)]
    newest.follow([*young, *hourly(20)[::-1]], NOW)
    assert newest.at_the_end() == Anchor("18", "19", NOW - HOUR)


def test_a_pair_of_a_list_without_order() -> None:
    """A list that does not descend has no anchor."""
    newest = NewestPair()
    newest.follow(hourly(20), NOW)
    assert newest.at_the_end() is None


@pytest.mark.parametrize(
    ("page", "confirmed"),
    [
        ([("w", NOW), ("x", NOW + 5)], True),
        ([("v", NOW - MARGIN), ("t", None), ("w", NOW)], True),
        ([("v", NOW - MARGIN - 1), ("w", NOW)], False),
        ([("x", NOW + 5)], False),
        ([("w", None)], False),
        ([], False),
    ],
)
def test_a_page_behind_the_anchor(page: list[tuple[str, float | None]], *, confirmed: bool) -> None:
    """A page confirms the anchor if it has the witness, and nothing from far before it."""
    anchor = Anchor("a", "w", NOW)
    assert anchor.is_confirmed([listed(*item) for item in page]) == confirmed
