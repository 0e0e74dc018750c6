"""Pages: what they say of themselves, whether there is a next one, and fetching it."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from aiomessages.models import Message
from aiomessages.pages import CompletionPage, Envelope, MessagePage, Page, RawPage


def page(count: int = 2, *, has_more: bool | None = False, **fields: Any) -> MessagePage:
    """Return a page of so many messages."""
    messages = [Message(f"m-{n}", "user", f"secret text {n}") for n in range(count)]
    envelope = Envelope(messages, has_more=has_more, **fields)
    return MessagePage(envelope, [m.id for m in messages], body=b"secret text")


def test_a_page() -> None:
    """A page has what its answer said."""
    got = page(first_id="m-0", last_id="m-1", has_more=True)
    assert [m.id for m in got.data] == got.ids == ["m-0", "m-1"]
    assert (got.object, got.first_id, got.last_id, got.has_more) == ("list", "m-0", "m-1", True)
    assert (got.body, got.attempts, got.completion_id) == (b"secret text", 1, None)


@pytest.mark.parametrize("nothing", [None, ""])
def test_ids_of_an_empty_page(nothing: str | None) -> None:
    """An empty page has no first and last id, whether the server sends null or ""."""
    got = page(0, first_id=nothing, last_id=nothing)
    assert (got.first_id, got.last_id, got.next_cursor) == (None, None, None)


@pytest.mark.parametrize(
    ("count", "has_more", "last_id", "cursor"),
    [
        (2, True, "m-1", "m-1"),
        (2, True, None, "m-1"),
        (2, True, "", "m-1"),
        (2, False, "m-1", None),
        (2, None, "m-1", "m-1"),
        (1, None, None, "m-0"),
        (0, None, None, None),
        (0, False, None, None),
    ],
)
def test_where_the_next_page_begins(
    count: int, has_more: bool | None, last_id: str | None, cursor: str | None
) -> None:
    """The next page begins behind the last item; without has_more, only an empty page ends."""
    got = page(count, has_more=has_more, last_id=last_id)
    assert got.next_cursor == cursor
    assert got.has_next_page() is got.has_more is (cursor is not None)


def test_repr() -> None:
    """The repr says how many items and which, and shows nothing of their text."""
    got = page(first_id="m-0", last_id="m-1", has_more=True)
    assert repr(got) == "MessagePage(2 items, first_id='m-0', last_id='m-1', has_more=True)"


@pytest.mark.parametrize("has_more", [True, False, None])
def test_a_page_that_is_cut(has_more: bool | None) -> None:
    """What is cut off stands on the page behind, which begins where this one now ends."""
    got = page(3, has_more=has_more, last_id="m-2")
    got.cut(2)
    assert [m.id for m in got.data] == got.ids == ["m-0", "m-1"]
    assert (got.last_id, got.next_cursor, got.has_more) == ("m-1", "m-1", True)


@pytest.mark.parametrize("count", [2, 3])
def test_a_page_that_is_short_enough(count: int) -> None:
    """A page of no more than that stays as it is."""
    got = page(2, has_more=False, last_id="m-1")
    got.cut(count)
    assert (got.ids, got.last_id, got.has_more) == (["m-0", "m-1"], "m-1", False)


def test_a_sequence_of_items() -> None:
    """A page is iterated, indexed, sliced and counted like the list of its items."""
    got = page(3)
    assert [*got] == got.data
    assert (len(got), got[0], got[-1], got[1:]) == (3, got.data[0], got.data[2], got.data[1:])
    assert got.data[1] in got
    with pytest.raises(IndexError):
        got[3]


@pytest.mark.parametrize("count", [0, 1])
def test_a_page_is_true(count: int) -> None:
    """A page is true, also an empty one."""
    assert page(count)


def test_html() -> None:
    """A notebook shows the kind of the page, how many items it has, and each item."""
    html = page(2, has_more=True)._repr_html_()
    assert "MessagePage: 2 items, has_more" in html
    assert "secret text 0" in html
    assert "secret text 1" in html
    assert "RawPage: 0 items<" in RawPage(Envelope([]), [])._repr_html_()


def test_an_envelope() -> None:
    """The repr of a page's frame shows nothing of its texts either."""
    envelope = Envelope([Message("m", "user", "secret text")], has_more=True)
    assert repr(envelope) == "Envelope(1 items, has_more=True)"


def test_headers() -> None:
    """The request id is a header; a page that came without headers has none."""
    empty = Envelope[Message]([])
    assert MessagePage(empty, [], headers={"x-request-id": "req_7"}).request_id == "req_7"
    assert MessagePage(empty, []).request_id is None
    assert MessagePage(empty, []).headers == {}


@pytest.mark.parametrize("kind", [MessagePage, CompletionPage, RawPage])
def test_kinds_of_pages(kind: type[Page[object]]) -> None:
    """Each kind of page says in its repr what it is."""
    assert repr(kind(Envelope([]), [])).startswith(f"{kind.__name__}(0 items")


async def test_the_next_page() -> None:
    """get_next_page() is what the page was given to fetch it with."""
    first, second = page(has_more=True), page()

    async def fetch(before: MessagePage) -> MessagePage:
        assert before is first
        return second

    first.get_next = fetch
    assert await first.get_next_page() is second


async def test_no_next_page() -> None:
    """Behind the last page there is none."""
    last = page(has_more=False)

    async def fetch(_: MessagePage) -> MessagePage:
        raise AssertionError

    last.get_next = fetch
    with pytest.raises(RuntimeError, match="has_next_page"):
        await last.get_next_page()
    bounded = page(has_more=True)
    bounded.remaining, bounded.get_next = 0, fetch
    with pytest.raises(RuntimeError, match="within max_items"):
        await bounded.get_next_page()


def test_what_repeats() -> None:
    """Items that are dropped are out of the page, and of its ends; not out of its body."""
    got = page(3, first_id="m-0", last_id="m-2", has_more=True)
    got.drop({"m-0", "m-2"})
    assert (len(got.data), got.ids, got.first_id, got.last_id) == (1, ["m-1"], "m-1", "m-1")
    got.drop({"m-1"})
    assert (got.data, got.ids, got.first_id, got.last_id) == ([], [], None, None)


@pytest.mark.parametrize(("has_more", "says_more"), [(True, True), (False, False), (None, False)])
def test_what_the_server_said_itself(*, has_more: bool | None, says_more: bool) -> None:
    """A page tells whether its has_more was sent, and not only concluded."""
    assert page(has_more=has_more).says_more is says_more


def crossed(value: Any) -> Any:
    """Return what another process gets."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 our own bytes


@pytest.mark.parametrize("way", [crossed, copy.copy, copy.deepcopy])
async def test_a_copy(way: Callable[[Any], MessagePage]) -> None:
    """A page that is pickled or copied has all that it had, but no client to ask for the next."""
    first = page(has_more=True, first_id="m-0")
    first.headers = CIMultiDictProxy(CIMultiDict({"X-Request-Id": "req_7"}))
    first.get_next = threading.Lock  # such as hangs on a client, and is never copied
    first.hang_up = threading.Lock().acquire
    twin = way(first)
    assert (type(twin), twin.data, twin.ids) == (MessagePage, first.data, first.ids)
    assert (twin.body, twin.request_id, twin.headers["X-Request-ID"]) == (
        *(first.body, "req_7", "req_7"),
    )
    assert twin.hang_up is None
    assert (twin.first_id, twin.has_next_page(), twin.next_cursor) == ("m-0", True, "m-1")
    with pytest.raises(RuntimeError, match=r"no client: .*page\.next_cursor"):
        await twin.get_next_page()


def test_what_a_caller_noted_on_a_page() -> None:
    """That is in a copy, too."""
    noted: Any = page()
    noted.note = "mine"
    assert crossed(noted).note == "mine"
