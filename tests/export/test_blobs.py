"""Blobs are found by their place in the JSON, in any spelling, and nothing else is."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomessages.export.blobs import find_blobs

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = Any
DATA = b"\xfb\xff\xfe picture?>"  # its base64 has a +, a /, and a =
BLOB = base64.b64encode(DATA).decode()
URI = f"data:image/png;base64,{BLOB}"
assert {*"+/="} <= {*BLOB}


def picture(url: str = URI) -> JSON:
    """Return a picture's part."""
    return {"type": "image_url", "image_url": {"url": url, "detail": None}}


def sound(data: str = BLOB) -> JSON:
    """Return a sound's part."""
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def document(data: str = BLOB) -> JSON:
    """Return a file's part."""
    return {"type": "file", "file": {"file_data": data}}


def spoken() -> JSON:
    """Return an assistant's spoken reply."""
    return {"role": "assistant", "audio": {"id": "a", "data": BLOB}}


def replaced(item: bytes) -> bytes:
    """Return an item with a mark in place of each blob, which has the right bytes."""
    pieces, end = [], 0
    for blob in find_blobs(item):
        assert blob.data == DATA
        pieces += [item[end : blob.start], b'"FILE"']
        end = blob.end
    return b"".join([*pieces, item[end:]])


# --- spellings ------------------------------------------------------------------------------------

PLUS, SLASH, IS = "+", "/", "="
SPELLINGS: dict[str, dict[str, str]] = {
    "as it is": {},
    ".NET": {PLUS: r"\u002B", "'": r"\u0027"},
    "Java": {IS: r"\u003d", "'": r"\u0027"},
    "PHP": {SLASH: r"\/"},
    "in capitals": {PLUS: r"\u002B", SLASH: r"\u002F", IS: r"\u003D"},
    "in small letters": {PLUS: r"\u002b", SLASH: r"\u002f", IS: r"\u003d"},
    "the head": {";": r"\u003b", ",": r"\u002c", ":": r"\u003a"},
    "letters": {"b": r"\u0062", "a": r"\u0061", "6": r"\u0036", "D": r"\u0044"},
    "all": {char: f"\\u{ord(char):04x}" for char in map(chr, range(33, 127))},
}


def spelled(text: str, escapes: dict[str, str]) -> str:
    """Return the JSON string of a text, with some characters escaped."""
    return f'"{"".join(escapes.get(char, char) for char in text)}"'


def written(value: JSON, string: Callable[[str], str], comma: str = ",", colon: str = ":") -> str:
    """Return JSON whose strings have the given spelling."""
    match value:
        case dict():
            held = (
                f"{string(key)}{colon}{written(inner, string, comma, colon)}"
                for key, inner in value.items()
            )
            return f"{{{comma.join(held)}}}"
        case list():
            return f"[{comma.join(written(inner, string, comma, colon) for inner in value)}]"
        case str():
            return string(value)
    return json.dumps(value)


ITEMS = {
    "a message": {"id": "m", "content": None, "content_parts": [picture(), sound(), document()]},
    "parts as content": {"content": [{"type": "text", "text": "it's"}, picture()]},
    "a spoken message": spoken(),
    "a completion": {
        "id": "c",
        "choices": [{"index": 0, "message": spoken()}, {"message": {"content": [picture()]}}],
        "input_messages": [{"role": "user", "content": [picture(), sound()]}, spoken()],
        "usage": {"a": [1, [2, [True, {}]], []]},
    },
}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
@pytest.mark.parametrize("escapes", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize(
    ("comma", "colon"), [(",", ":"), (", ", ": "), ("\t,\t", "  :\t"), (",\r\n ", " : ")]
)
def test_however_it_is_spelled(item: JSON, escapes: dict[str, str], comma: str, colon: str) -> None:
    """Every blob is found in any spelling, and the JSON around it keeps its bytes."""

    def marked(text: str) -> str:
        return '"FILE"' if text in (URI, BLOB) else spelled(text, escapes)

    sent = written(item, lambda text: spelled(text, escapes), comma, colon).encode()
    assert replaced(sent) == written(item, marked, comma, colon).encode()


@given(st.lists(st.sampled_from(["", r"\u00", r"\U00"]), min_size=len(URI), max_size=len(URI)))
def test_any_mix_of_escapes(ways: list[str]) -> None:
    """Each character may be escaped or not, in small letters or in capitals."""
    chars = [
        char if not way else f"\\u{ord(char):04{'x' if way[1] == 'u' else 'X'}}"
        for char, way in zip(URI, ways, strict=True)
    ]
    (blob,) = find_blobs(b'{"content":[{"image_url":{"url":"%b"}}]}' % "".join(chars).encode())
    assert blob.data == DATA


# --- places ---------------------------------------------------------------------------------------

ELSEWHERE = {
    "a text that is one": {"content": URI, "content_parts": [{"type": "text", "text": URI}]},
    "another kind of part": {"content": [{"type": "video", "video": {"data": BLOB, "url": URI}}]},
    "another key": {"content": [{"image_url": {"data": BLOB}, "file": {"url": URI}}]},
    "another depth": {"content": [[picture()]], "more": {"content": [picture()]}},
    "metadata": {"metadata": {"url": URI, "audio": {"data": BLOB}}},
    "another list": {"messages": [spoken()], "choices": {"message": spoken()}},
    "an index for a key": {"content": [["url", URI]]},
    "arguments": {"tool_calls": [{"function": {"arguments": json.dumps(picture())}}]},
}


@pytest.mark.parametrize("item", ELSEWHERE.values(), ids=ELSEWHERE)
def test_the_same_characters_in_another_place(item: JSON) -> None:
    """The same characters in another place are no blob, even beside one."""
    sent = json.dumps(item | spoken()).encode()
    expected = item | spoken() | {"audio": {"id": "a", "data": "FILE"}}
    assert json.loads(replaced(sent)) == expected


def test_a_key_that_comes_twice() -> None:
    """Each value of a repeated key is a blob, so that any reader gets a file name."""
    sent = b'{"audio":{"data":"%b","data":"%b"}}' % (BLOB.encode(), BLOB.encode())
    assert replaced(sent) == b'{"audio":{"data":"FILE","data":"FILE"}}'


ODD = [b"1e400", b"9" * 5000, rb'"\ud83d"', rb'{"\udc00":[]}', b"[" * 2000 + b"]" * 2000]


@pytest.mark.parametrize("odd", ODD, ids=["far", "long", "half an emoji", "half a key", "deep"])
def test_odd_json_beside_a_blob(odd: bytes) -> None:
    """Odd JSON elsewhere in an item, which a decoder may refuse, does not hide its blobs."""
    sent = json.dumps({"content": [picture()], "new": 0}).encode().replace(b": 0", b": " + odd)
    assert replaced(sent) == sent.replace(URI.encode(), b"FILE")


# --- speed ----------------------------------------------------------------------------------------


def seconds(item: bytes) -> float:
    """Return how long it takes to find the blobs of an item, at best."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        assert list(find_blobs(item))
        times.append(time.perf_counter() - begun)
    return min(times)


def test_many_large_blobs() -> None:
    """Time grows with the size of an item, and not with its square."""
    large = base64.b64encode(bytes(150_000)).decode()
    few, many = (
        json.dumps({"content": [picture(f"data:image/png;base64,{large}")] * count}).encode()
        for count in (5, 50)
    )
    assert seconds(many) < 40 * seconds(few)
