"""The key in every encoding of a server, and words that are not keys."""

import base64
import html
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from faults.canary import KEY, shown_by_error, shown_by_log
from hypothesis import given
from hypothesis import strategies as st
from loopback import Answer, Loopback, error, message, page, replies
from multidict import CIMultiDict

from aiomessages import APIError, AsyncMessagesClient, RetryPolicy
from aiomessages.values.redaction import (
    HIDDEN,
    Concealed,
    body_without_key,
    concealed,
    headers_without_key,
    is_secret,
    may_hold_key,
    shown,
    without_key,
)

HARD_KEY = "sk-C/a+n+y\"\\'<&>=%"
HARD_KEYS = [KEY, HARD_KEY, f"{HARD_KEY}\\", f"&{HARD_KEY}", f"%{HARD_KEY}"]

WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "lower case": str.lower,
    "upper case": str.upper,
    "a URL": lambda key: quote(key, safe=""),
    "a URL in a URL": lambda key: quote(quote(key, safe=""), safe=""),
    "a URL, each character": lambda key: "".join(f"%{ord(char):02x}" for char in key),
    "JSON": lambda key: json.dumps(key)[1:-1],
    "JSON in JSON": lambda key: json.dumps(json.dumps(key)[1:-1])[1:-1],
    "JSON, with escaped slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "JSON, each character": lambda key: "".join(f"\\u00{ord(char):02X}" for char in key),
    "HTML": html.escape,
    "HTML in HTML": lambda key: html.escape(html.escape(key)),
    "HTML, in decimals": lambda key: "".join(f"&#{ord(char):04};" for char in key),
    "HTML, in digits of 16": lambda key: "".join(f"&#x{ord(char):X};" for char in key),
}


@pytest.mark.parametrize("key", HARD_KEYS)
@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_forms_of_a_key(written: Callable[[str], str], key: str) -> None:
    """A key is found in every encoding, and nothing else is removed."""
    found = without_key(f"key: {written(key)}, wrong", key)
    assert found == f"key: {HIDDEN}, wrong"


@pytest.mark.parametrize("key", HARD_KEYS)
@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "user:"])
@pytest.mark.parametrize("after", ["", "y", "yz"])
def test_a_key_in_base64(key: str, before: str, after: str) -> None:
    """Base64 shows a key only by letters that also depend on its neighbours."""
    coded = base64.b64encode(f"{before}{key}{after}".encode()).decode()
    left = without_key(coded, key)
    assert HIDDEN in left
    assert len(left.replace(HIDDEN, "").replace("=", "")) < 4 + (len(before + after) + 2) * 4 // 3


@given(st.text(), st.text(), st.sampled_from(HARD_KEYS), st.sampled_from(sorted(WRITTEN)))
def test_a_key_in_any_text(before: str, after: str, key: str, how: str) -> None:
    """A key is not shown, in any text around it."""
    text = without_key(before + WRITTEN[how](key) + after, key)
    assert WRITTEN[how](key) not in text
    assert HIDDEN in text


@given(st.binary())
def test_any_body_without_a_key(body: bytes) -> None:
    """A body without the key stays as it came, byte for byte."""
    assert body_without_key(body, KEY) == body


def test_a_body_that_is_no_text() -> None:
    """The key is removed from a body that is not UTF-8, and the other bytes stay."""
    assert body_without_key(b"\xff" + KEY.encode() + b"\xfe", KEY) == b"\xff[the API key]\xfe"


@pytest.mark.parametrize("filler", ["\\", "%25", "&amp;", "%", "&#0000", "s", "sk-", "x"])
def test_long_texts(filler: str) -> None:
    """The search is fast in any text: half a megabyte of the worst one takes no second or two."""
    text = filler * (500_000 // len(filler))
    assert without_key(f"{text} %{KEY}", KEY).endswith(f"%{HIDDEN}")


@pytest.mark.parametrize(
    ("headers", "safe"),
    [
        ({"X-Echo": f"Bearer {KEY}"}, {"X-Echo": f"Bearer {HIDDEN}"}),
        ({KEY: "1", "X-Other": "2"}, {HIDDEN: "1", "X-Other": "2"}),
        ({f"X-{KEY.upper()}": "1"}, {f"X-{HIDDEN}": "1"}),
        ({"Date": KEY}, {"Date": HIDDEN}),
        ({"Location": f"https://{KEY}.example/?k={quote(KEY)}"}, None),
    ],
    ids=str,
)
def test_headers(headers: dict[str, str], safe: dict[str, str] | None) -> None:
    """The key is in no header's value or name; headers without it stay the same object."""
    found = headers_without_key(CIMultiDict(headers), KEY)
    assert KEY not in repr(found).lower()
    assert safe is None or dict(found) == safe
    plain = CIMultiDict({"X-A": "1", "X-B": "100 %"})
    assert headers_without_key(plain, "x") is plain
    assert headers_without_key(plain, KEY) == plain


# --- what is no key -------------------------------------------------------------------------------

STAND_INS = ["x", "sk", "none", "EMPTY", "Empty", "dummy", "placeholder", "notneeded", "B", "1234"]


@pytest.mark.parametrize("key", STAND_INS)
def test_placeholder_keys(key: str) -> None:
    """A placeholder key, as servers without authentication get it, is not replaced."""
    text = f"241 B, none of {key}{key} found, {key.upper()}, EMPTY"
    assert not is_secret(key)
    assert without_key(text, key) == text
    assert body_without_key(text.encode(), key) == text.encode()
    assert concealed(text, key) is text
    assert not may_hold_key([text], key)


@pytest.mark.parametrize(
    "key",
    [KEY, "12345678", "abcdefg1", "password-1", "aBcDeFgH", "abcdefghijklmnop", "sk-1234567"],
)
def test_secrets(key: str) -> None:
    """A key of eight characters or more, or a long word, is a secret."""
    assert is_secret(key)
    assert without_key(f"<{key}>", key) == f"<{HIDDEN}>"


# --- ids ------------------------------------------------------------------------------------------


def test_an_id_that_holds_the_key() -> None:
    """Such an id is sent and compared as it is, and shown without the key."""
    name = concealed(f"m-{KEY}-1", KEY)
    assert isinstance(name, Concealed)
    assert name == f"m-{KEY}-1"
    assert repr(name) == f"'m-{HIDDEN}-1'"
    assert shown(name) == f"m-{HIDDEN}-1"
    assert concealed(name, KEY) is name
    assert concealed(None, KEY) is None
    assert (shown(None), shown("m-1"), concealed("m-1", KEY)) == (None, "m-1", "m-1")


PLAYS: dict[str, list[Any]] = {
    "an error of the server": [error(500, "server_error")],
    "a refusal of the cursor": [
        Answer({"error": {"message": f"Message chatcmpl-1-{KEY}-1 not found"}}, 400)
    ],
    "no answer": [None],
    "another shape": [Answer({"data": 5})],
    "the same page": [],
    "a contradiction": [Answer(page([], has_more=True))],
}


@pytest.mark.parametrize("form", ["as it is", "a URL, each character"])
@pytest.mark.parametrize("play", PLAYS.values(), ids=PLAYS)
async def test_a_cursor_that_holds_the_key(
    play: list[Any], form: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A key in the ids of a page is sent back in the cursor, and shown in no error, log or page."""
    caplog.set_level("DEBUG")
    key = WRITTEN[form](KEY)
    items = [message(n, id=f"chatcmpl-1-{key}-{n}") for n in range(2)]
    first = Answer(page(items, has_more=True))
    once = RetryPolicy(1, 0, 0)
    async with (
        Loopback(replies(first, *(play or [first]))) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url, retry=once) as client,
    ):
        stream = client.list("chatcmpl-1", prefetch=False)
        got = [(await anext(stream)).id for _ in range(2)]
        with pytest.raises(APIError) as caught:
            await anext(stream)
    assert got == [item["id"] for item in items]
    assert server.asked[1].query["after"].lower() == items[1]["id"].lower()
    assert caught.value.cursor == f"chatcmpl-1-{HIDDEN}-1"
    texts = [*shown_by_error(caught.value), *shown_by_log(caplog.records)]
    assert [where for where, text in texts if key in text] == []


@pytest.mark.parametrize("before", range(3))
async def test_ids_that_hold_the_key_in_base64(before: int) -> None:
    """An id with the key in base64 is sent back unchanged, and shown without it."""
    coded = base64.b64encode(b"a:b"[:before] + KEY.encode()).decode()
    first = Answer(page([message(0, id=coded)], has_more=True))
    async with (
        Loopback(replies(first)) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        with pytest.raises(APIError) as caught:
            [one async for one in client.list("chatcmpl-1")]
    assert server.asked[1].query["after"] == coded
    texts = dict(shown_by_error(caught.value))
    assert [where for where, text in texts.items() if coded[4:20] in text] == []


async def test_a_page_whose_ids_hold_the_key() -> None:
    """A page whose ids hold the key shows none, delivers its messages, and leads to the next."""
    items = [message(n, id=f"m-{KEY}-{n}") for n in range(2)]
    answers = [Answer(page(items, has_more=True)), Answer(page([message(9)]))]
    async with (
        Loopback(replies(*answers)) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        first = await client.list("chatcmpl-1")
        assert KEY not in repr(first)
        assert [m.to_dict() for m in first.data] == items
        assert (first.first_id, first.last_id) == (items[0]["id"], items[1]["id"])
        assert (await first.get_next_page()).ids == ["chatcmpl-1-9"]
    assert server.asked[1].query["after"] == items[1]["id"]


async def test_ids_of_the_caller_that_hold_the_key() -> None:
    """A saved cursor, or a completion of a list, shows no key in an error either."""
    async with (
        Loopback(replies(error(404, "not_found"))) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        with pytest.raises(APIError) as caught:
            await client.list(f"chatcmpl-{KEY}", after=f"m-{KEY}-1")
    assert (caught.value.completion_id, caught.value.cursor) == (
        f"chatcmpl-{HIDDEN}",
        f"m-{HIDDEN}-1",
    )
    assert KEY not in str(caught.value)


async def test_a_key_of_one_letter() -> None:
    """A server with the key `B` has its texts shown unchanged."""
    text = "241 B, a BIG Body"
    async with (
        Loopback(replies(Answer({"error": {"message": text, "code": "B"}}, 400))) as server,
        AsyncMessagesClient("B", base_url=server.base_url) as client,
    ):
        with pytest.raises(APIError) as caught:
            await client.list("chatcmpl-B")
    assert caught.value.message == text
    assert caught.value.completion_id == "chatcmpl-B"
