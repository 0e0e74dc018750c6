"""The size of a page as numbers: it falls at once after a page that is too large."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    InternalServerError,
    RateLimitError,
    ResponseTooLargeError,
    UnprocessableEntityError,
)
from aiomessages.paging.page_size import (
    MOST_GOOD_PAGES,
    PageSize,
    WalkSize,
    is_too_large,
    is_too_slow,
)

TOO_LARGE = ResponseTooLargeError("x")
REFUSED = BadRequestError("x", status=400, param="limit")

Bears = Callable[[int], APIError | None]
"""From the number of items that a page would hold to the error that comes in place of it."""


def up_to(most: int, error: APIError = TOO_LARGE) -> Bears:
    """Allow pages of so many items."""
    return lambda count: None if count <= most else error


def read(walk: WalkSize, items: int, bears: Bears, *, by_limit: bool = False) -> list[int]:
    """Read a list of so many items to its end, and return the requested limits, page by page.

    With `by_limit` the server checks the limit itself, and not the number of items.
    """
    asked = []
    left = items
    while True:
        limit = walk.next()
        asked.append(limit)
        count = min(limit, left)
        error = bears(limit if by_limit else count)
        if error is None:
            walk.passed(limit, count)
            left -= count
            if left == 0:
                return asked
        elif not walk.asks_for_less(error, limit):
            raise error


def body_timeout() -> APITimeoutError:
    """Return a timeout that ran out in a body."""
    error = APITimeoutError("x")
    error.in_body = True
    return error


# --- which errors ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "large", "slow"),
    [
        (TOO_LARGE, True, False),
        (APIStatusError("x", status=413), True, False),
        (REFUSED, True, False),
        (UnprocessableEntityError("x", status=422, param="limit"), True, False),
        (InternalServerError("x", status=504), True, True),
        (InternalServerError("x", status=524), True, True),
        (body_timeout(), True, True),
        (APITimeoutError("before the headers"), False, False),
        (BadRequestError("x", status=400), False, False),
        (BadRequestError("x", status=400, param="after"), False, False),
        (InternalServerError("x", status=500), False, False),
        (InternalServerError("x", status=502), False, False),
        (InternalServerError("x", status=503), False, False),
        (RateLimitError("x", status=429), False, False),
        (APIConnectionError("x"), False, False),
    ],
    ids=lambda value: f"{value} {value.__dict__}" if isinstance(value, APIError) else None,
)
def test_errors_of_size(error: APIError, large: bool, slow: bool) -> None:
    """Errors that a smaller page may avoid are distinguished from all others."""
    assert is_too_large(error) is large
    assert is_too_slow(error) is slow
    assert PageSize().walk().asks_for_less(error, 100) is large
    assert not PageSize().walk().asks_for_less(error, 1)


# --- one walk -------------------------------------------------------------------------------------


def test_where_nothing_is_too_large() -> None:
    """A walk requests 100 items a page, or the caller's limit, if such pages arrive."""
    assert read(PageSize().walk(), 1000, up_to(100)) == [100] * 10
    assert read(PageSize(7).walk(), 20, up_to(100)) == [7, 7, 7]
    assert read(PageSize(5000).walk(), 12_000, up_to(5000)) == [5000] * 3


def test_a_page_that_is_too_large() -> None:
    """The limit is halved until the page arrives."""
    assert read(PageSize().walk(), 60, up_to(30)) == [100, 50, 25, 25, 25]


def test_down_to_one() -> None:
    """A walk requests a single item in the end, and raises the error if that is too large."""
    assert read(PageSize().walk(), 3, up_to(1))[:9] == [100, 50, 25, 12, 6, 3, 1, 1, 1]
    walk = PageSize().walk()
    with pytest.raises(ResponseTooLargeError):
        read(walk, 3, up_to(0))


def test_one_stretch_of_large_items() -> None:
    """After full pages, a walk tries twice as many, up to its first limit."""
    walk = PageSize().walk()
    assert read(walk, 50, up_to(25)) == [100, 50, 25, 25]
    asked = read(walk, 1000, up_to(100))
    assert asked[-1] == 100
    assert len(asked) < 20
    assert asked == sorted(asked)


def test_items_that_stay_large() -> None:
    """A try that fails makes the next one rarer: 10,000 pages cost few more requests."""
    asked = read(PageSize().walk(), 250_000, up_to(25))
    assert asked.count(25) == 10_000
    assert sum(limit > 25 for limit in asked) < 25


def test_the_rarest_tries() -> None:
    """However often a try failed, another one follows after a thousand pages."""
    walk = PageSize().walk()
    read(walk, 250_000, up_to(25))
    assert max(read(walk, 25 * (MOST_GOOD_PAGES + 1), up_to(25))) == 50


@pytest.mark.parametrize(
    "error", [REFUSED, UnprocessableEntityError("", status=422, param="limit")]
)
def test_a_limit_that_is_refused(error: APIError) -> None:
    """A limit that the server refuses is never sent again, by any walk of the run."""
    size = PageSize()
    assert read(size.walk(), 1000, up_to(50, error), by_limit=True) == [100] + [50] * 20
    assert read(size.walk(), 1000, up_to(50, error), by_limit=True) == [50] * 20
    assert (size.most, size.size) == (50, 50)


# --- the walks of one run -------------------------------------------------------------------------


def test_a_gateway_with_a_smaller_limit() -> None:
    """A gateway's limit that two walks met is used by all, and not found again by each."""
    size = PageSize()
    walks = [read(size.walk(), 100, up_to(25)) for _ in range(1000)]
    assert walks[:2] == [[100, 50, 25, 25, 25, 25]] * 2
    assert sum(limit > 25 for asked in walks for limit in asked) < 25


def test_one_conversation_of_huge_messages() -> None:
    """One walk whose pages are too large slows no other."""
    size = PageSize()
    read(size.walk(), 300, up_to(3))
    assert size.size == 100
    read(size.walk(), 1000, up_to(100))
    read(
        size.walk(), 300, up_to(3)
    )  # another one, but the full pages in between show that 100 is fine
    assert size.size == 100


def test_two_conversations_of_huge_messages() -> None:
    """After two such walks in a row, others soon return to the full size."""
    size = PageSize()
    for _ in range(2):
        read(size.walk(), 30, up_to(3))
    assert size.size == 3
    asked = [limit for _ in range(10) for limit in read(size.walk(), 1000, up_to(100))]
    assert size.size == 100
    assert len(asked) < 100 + 150


def test_walks_under_way() -> None:
    """A running walk follows the sizes that others found."""
    size = PageSize()
    early = size.walk()
    assert early.next() == 100
    early.passed(100, 100)
    for _ in range(2):
        read(size.walk(), 50, up_to(25))
    assert early.next() == 25


def test_different_bounds() -> None:
    """Two walks that had to ask for less agree on the larger of what came."""
    size = PageSize()
    read(size.walk(), 100, up_to(50))
    read(size.walk(), 100, up_to(25))
    assert size.size == 50


def test_an_outage() -> None:
    """If no page of any size arrives, no size is learnt from it."""
    size = PageSize()
    for _ in range(5):
        with pytest.raises(ResponseTooLargeError):
            read(size.walk(), 100, up_to(0))
    assert size.size == size.most == 100


@given(
    st.integers(1, 500),
    st.lists(
        st.tuples(st.integers(1, 500), st.lists(st.integers(1, 600), min_size=1, max_size=30)),
        max_size=20,
    ),
    st.none() | st.integers(1, 500),
)
def test_any_run(most: int, walks: list[tuple[int, list[int]]], refused_above: int | None) -> None:
    """For any lists and servers, each page arrives within 1 + log2(limit) requests.

    No limit above the run's is requested, and none as large as a refused one.
    """
    size = PageSize(most)
    refused = math.inf
    for items, bounds in walks:
        walk, left = size.walk(), items
        for bound in bounds:  # the largest limit that the server allows for this page
            for _ in range(1 + int(math.log2(most))):
                limit = walk.next()
                assert 1 <= limit <= most
                assert limit < refused
                if refused_above is not None and limit > refused_above:
                    refused = min(refused, limit)
                    assert walk.asks_for_less(REFUSED, limit)
                elif min(limit, left) > bound:
                    assert walk.asks_for_less(TOO_LARGE, limit)
                else:
                    break
            else:
                raise AssertionError("the page never came")
            count = min(limit, left)
            walk.passed(limit, count)
            left -= count
            if left == 0:
                break
