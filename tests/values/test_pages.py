"""Pages: their facts, whether there is a next one, and fetching it."""

import copy
import inspect
import json
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs
from multidict import CIMultiDict

from aiomessages.models import Message
from aiomessages.pages import CompletionPage, MessagePage, Page, RawPage
from aiomessages.wire.page_content import Envelope, PageContent


def content(
    count: int = 2, *, has_more: bool | None = False, **fields: Any
) -> PageContent[MessagePage]:
    """Return the content of a page of so many messages."""
    messages = [Message(f"m-{n}", "user", f"secret text {n}") for n in range(count)]
    return PageContent.of(
        MessagePage,
        Envelope(messages, has_more=has_more, **fields),
        [m.id for m in messages],
        body=b"secret text",
        headers={},
        completion_id="chatcmpl-1",
    )


def page(content: PageContent[MessagePage], fetch_next: Any = None) -> MessagePage:
    """Return a page of this content whose next page is fetched by the given function."""
    return content.page(next_cursor=content.next_cursor, attempts=2, fetch_next=fetch_next)


def test_a_page() -> None:
    """A page has the facts of its response, and those that the client knows."""
    got = page(content(first_id="m-0", last_id="m-1", has_more=True))
    assert [m.id for m in got.data] == got.ids == ["m-0", "m-1"]
    assert (got.object, got.first_id, got.last_id, got.has_more) == ("list", "m-0", "m-1", True)
    assert (got.body, got.attempts, got.completion_id) == (b"secret text", 2, "chatcmpl-1")


def test_names_that_an_editor_offers() -> None:
    """A page has no internal names, and each name has a description."""
    got = page(content())
    assert {name for name in dir(got) if not name.startswith("_")} == {
        *("attempts", "body", "completion_id", "count", "data", "first_id", "get_next_page"),
        *("has_more", "has_next_page", "headers", "ids", "index", "last_id", "next_cursor"),
        *("object", "request_id", "to_dict", "to_json"),
    }
    assert all(inspect.getdoc(getattr(MessagePage, name)) for name in ("ids", "object", "attempts"))


@pytest.mark.parametrize("nothing", [None, ""])
def test_ids_of_an_empty_page(nothing: str | None) -> None:
    """An empty page has no first and last id, whether the server sends null or ""."""
    got = page(content(0, first_id=nothing, last_id=nothing))
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
    got = page(content(count, has_more=has_more, last_id=last_id))
    assert got.next_cursor == cursor
    assert got.has_next_page() is got.has_more is (cursor is not None)


def test_repr() -> None:
    """The repr has the number of items and the ids, and no text."""
    got = page(content(first_id="m-0", last_id="m-1", has_more=True))
    assert repr(got) == "MessagePage(2 items, first_id='m-0', last_id='m-1', has_more=True)"


@pytest.mark.parametrize("has_more", [True, False, None])
def test_a_page_that_is_truncated(has_more: bool | None) -> None:
    """A page that is cut leads to the rest; the original content stays whole."""
    whole = content(3, has_more=has_more, last_id="m-2")
    got = whole.first(2)
    assert [m.id for m in got.data] == got.ids == ["m-0", "m-1"]
    assert (got.last_id, got.next_cursor, got.has_more) == ("m-1", "m-1", True)
    assert (len(whole.data), len(whole.ids)) == (3, 3)


@pytest.mark.parametrize("count", [2, 3])
def test_a_page_that_is_short_enough(count: int) -> None:
    """A page that is short enough stays unchanged."""
    whole = content(2, has_more=False, last_id="m-1")
    assert whole.first(count) is whole


def test_a_sequence_of_items() -> None:
    """A page is iterated, indexed, sliced and counted like the list of its items."""
    got = page(content(3))
    assert [*got] == got.data
    assert (len(got), got[0], got[-1], got[1:]) == (3, got.data[0], got.data[2], got.data[1:])
    assert got.data[1] in got
    with pytest.raises(IndexError):
        got[3]
    assert (got.index(got[1]), got.count(got[0]), [*reversed(got)]) == (1, 1, got.data[::-1])


def test_a_match_statement() -> None:
    """A page matches the pattern of a sequence, and that of a class."""
    match page(content(3)):
        case [first, *others]:
            assert (first.id, len(others)) == ("m-0", 2)
        case _:
            pytest.fail("a page is a sequence")


def test_the_json_of_a_page() -> None:
    """It is the envelope of the API on one line, also of a page of bytes."""
    item, sent = Message("m-0", "user"), {"id": "m-0", "role": "user", "content": None}
    frame = {"object": "list", "first_id": "m-0", "last_id": "m-0", "has_more": False}
    raw = RawPage([json.dumps(sent).encode()], ["m-0"], first_id="m-0", last_id="m-0")
    typed = MessagePage([item], ["m-0"], first_id="m-0", last_id="m-0")
    assert raw.to_dict() == json.loads(raw.to_json()) == {**frame, "data": [sent]}
    assert typed.to_dict() == json.loads(typed.to_json()) == {**frame, "data": [item.to_dict()]}
    assert "\n" not in typed.to_json()


@pytest.mark.parametrize("count", [0, 1])
def test_a_page_is_true(count: int) -> None:
    """A page is true, also an empty one."""
    assert page(content(count))


def test_html() -> None:
    """A notebook shows the kind of the page, how many items it has, and each item."""
    html = page(content(has_more=True))._repr_html_()
    assert "MessagePage: 2 items, has_more" in html
    assert "secret text 0" in html
    assert "secret text 1" in html
    assert "RawPage: 0 items<" in RawPage([], [])._repr_html_()


def test_an_envelope() -> None:
    """The reprs of an envelope and of its content show no text either."""
    envelope = Envelope([Message("m", "user", "secret text")], has_more=True)
    assert repr(envelope) == "Envelope(1 items, has_more=True)"
    assert repr(content()) == "PageContent(2 items, has_more=False)"


def test_headers() -> None:
    """The request id is a header; a page that came without headers has none."""
    assert MessagePage([], [], headers={"x-request-id": "req_7"}).request_id == "req_7"
    assert MessagePage([], []).request_id is None
    assert MessagePage([], []).headers == {}


@pytest.mark.parametrize("kind", [MessagePage, CompletionPage, RawPage])
def test_kinds_of_pages(kind: type[Page[object]]) -> None:
    """Each kind of page says in its repr what it is."""
    assert repr(kind([], [])).startswith(f"{kind.__name__}(0 items")


async def test_the_next_page() -> None:
    """get_next_page() calls the function that the page was made with."""
    second = page(content())

    async def fetch() -> MessagePage:
        return second

    assert await page(content(has_more=True), fetch).get_next_page() is second


async def test_no_next_page() -> None:
    """The last page has no next one, nor has the last one within `max_items`."""
    with pytest.raises(RuntimeError, match=r"no next page: .*has_next_page"):
        await page(content(has_more=False)).get_next_page()
    bounded = content(has_more=True).page(next_cursor=None, attempts=1, fetch_next=None)
    with pytest.raises(RuntimeError, match="within max_items"):
        await bounded.get_next_page()


def test_repeated_items() -> None:
    """Repeated items are removed from the page and from its ends, but not from its body."""
    whole = content(3, first_id="m-0", last_id="m-2", has_more=True)
    got = whole.without({"m-0", "m-2"})
    assert (len(got.data), got.ids, got.first_id, got.last_id) == (1, ["m-1"], "m-1", "m-1")
    assert (len(whole.data), got.body) == (3, whole.body)
    none = got.without({"m-1"})
    assert (none.data, none.ids, none.first_id, none.last_id) == ([], [], None, None)


@pytest.mark.parametrize(("has_more", "promised"), [(True, True), (False, False), (None, False)])
def test_has_more_of_the_server(*, has_more: bool | None, promised: bool) -> None:
    """The content says whether has_more was sent or only concluded."""
    assert content(has_more=has_more).promised is promised


def pickled(value: Any) -> Any:
    """Return the value after pickling in another process."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301 our own bytes


@pytest.mark.parametrize("way", [pickled, copy.copy, copy.deepcopy])
async def test_a_copy(way: Callable[[Any], MessagePage]) -> None:
    """A pickled or copied page has all its facts, but no client for the next page."""
    headers = CIMultiDict({"X-Request-Id": "req_7"})
    sent = structs.replace(content(has_more=True, first_id="m-0"), headers=headers)
    first = page(sent, threading.Lock)  # like a bound method of a client, which is never copied
    copied = way(first)
    assert (type(copied), copied.data, copied.ids) == (MessagePage, first.data, first.ids)
    assert (copied.body, copied.request_id, copied.headers["X-Request-ID"]) == (
        *(first.body, "req_7", "req_7"),
    )
    assert (copied.first_id, copied.has_next_page(), copied.next_cursor) == ("m-0", True, "m-1")
    with pytest.raises(RuntimeError, match=r"no client: .*page\.next_cursor"):
        await copied.get_next_page()


def test_an_attribute_that_a_caller_set() -> None:
    """An attribute that a caller set is in a copy, too."""
    noted: Any = page(content())
    noted.note = "mine"
    assert pickled(noted).note == "mine"
