"""The spool: text in any order goes in, and comes out in the order of its places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from aiomessages.export.stored import Lines
from aiomessages.ray.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator

pieces = st.lists(st.binary(max_size=200).map(lambda text: Lines(text, 1)), max_size=4)


@given(st.dictionaries(st.integers(0, 100), pieces, max_size=20), st.randoms())
def test_in_order(found: dict[int, list[Lines]], dice: object) -> None:
    """All text comes out, in the order of the places, whatever the order it came in."""
    places = [*found]
    dice.shuffle(places)  # type: ignore[attr-defined]
    with Spool() as spool:
        numbers = {place: spool.add(place, found[place]) for place in places}
        assert numbers == {place: len(found[place]) for place in places}
        text = b"".join(spool.in_order())
    assert text == b"".join(piece.text for place in sorted(found) for piece in found[place])


def test_more_than_memory_may_hold() -> None:
    """Text beyond the bound is on the disk, and read in blocks."""

    def long() -> Iterator[Lines]:
        for number in range(10):
            yield Lines(b"%d" % number * 7, 1)

    with Spool(block_bytes=10) as spool:
        spool.add(1, [Lines(b"second", 1)])
        assert spool.add(0, long()) == 10
        blocks = [*spool.in_order()]
    whole = b"".join(b"%d" % number * 7 for number in range(10)) + b"second"
    assert b"".join(blocks) == whole
    assert max(map(len, blocks)) <= 20
