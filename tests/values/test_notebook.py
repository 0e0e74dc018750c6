"""The HTML that notebooks show: escaped, cut, and without anything that loads or runs."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from aiomessages.models import (
    Choice,
    FunctionCall,
    FunctionToolCall,
    ImagePart,
    ImageURL,
    Message,
    Reply,
    StoredCompletion,
    TextPart,
)
from aiomessages.models.notebook import boxes

HOSTILE = """<script>alert(1)</script><img src="https://h/x" onerror='a()'> & "$x$" """


class Reader(HTMLParser):
    """Collect the tags, the attributes and the text of HTML, and check that each tag is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.open.append(tag)
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        """Note the end of the innermost tag."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.text += data


def shown(value: Any) -> Reader:
    """Return the HTML that a notebook shows for a value."""
    return Reader(value._repr_html_())


VALUES = [
    Message("m", HOSTILE, HOSTILE, refusal=HOSTILE, content_parts=[ImagePart(ImageURL(HOSTILE))]),
    Message(HOSTILE, "user", tool_calls=[FunctionToolCall("c", FunctionCall(HOSTILE, HOSTILE))]),
    Reply(content=HOSTILE),
    StoredCompletion(HOSTILE, [Choice(0, Reply(content=HOSTILE))], model=HOSTILE),
]


@pytest.mark.parametrize("value", VALUES, ids=["message", "call", "reply", "completion"])
def test_hostile_text(value: Any) -> None:
    """Text is escaped in every place, so that the HTML has no tags but our boxes."""
    html = shown(value)
    assert html.tags == {"div"}
    assert html.attributes <= {"class", "style", "dir"}
    assert HOSTILE in html.text or HOSTILE.strip() in html.text


def test_a_message() -> None:
    """A message shows its role, id and text, and each other field as JSON."""
    parts: list[Any] = [TextPart("Hi"), ImagePart(ImageURL("u"))]
    html = shown(Message("m-1", "user", content_parts=parts, name="Ann"))
    assert html.text.startswith("user m-1Hi")
    assert 'name: "Ann"' in html.text
    assert 'content_parts: [{"type":"image_url","image_url":{"url":"u"}}]' in html.text


def test_text_parts_are_shown_once() -> None:
    """Parts that are text are in the text, and are not shown again."""
    assert shown(Message("m", "user", content_parts=[TextPart("Hi")])).text == "user mHi"


def test_a_reply() -> None:
    """A reply has no id, and is shown with its role."""
    assert shown(Reply(content="Hi")).text == "assistantHi"


def test_a_completion() -> None:
    """A completion shows its id, its model and its replies."""
    completion = StoredCompletion("c", [Choice(0, Reply(content="Hi"))], model="gpt")
    assert shown(completion).text == "c · gptassistantHi"
    assert shown(StoredCompletion("c", [])).text == "c"


@pytest.mark.parametrize(
    ("length", "end"), [(1999, "x"), (2000, "x"), (2001, "x… (2,001 characters)")]
)
def test_long_texts(length: int, end: str) -> None:
    """A text of more than 2,000 characters is cut, and its length is given."""
    text = shown(Message("m", "user", "x" * length)).text
    assert text == "user m" + "x" * min(length, 2000) + end[1:]


@pytest.mark.parametrize(
    ("length", "end"), [(198, '"'), (199, "… (201 characters)"), (9998, "… (10,000 characters)")]
)
def test_long_fields(length: int, end: str) -> None:
    """A field that may hold a whole image is cut to 200 characters of JSON, quotes included."""
    shown_field = shown(Message("m", "user", name="A" * length)).text.removeprefix("user mname: ")
    assert shown_field == '"' + "A" * min(length, 199) + end


@pytest.mark.parametrize(("count", "more"), [(19, 0), (20, 0), (21, 1), (100, 80)])
def test_many_items(count: int, more: int) -> None:
    """Of many items, 20 are shown, and the number of the others."""
    html = Reader(boxes(b"item %d;" % n for n in range(count)))
    assert html.text.count("item") == min(count, 20)
    assert html.text.endswith(f"and {more} more" if more else ";")


def test_math_is_not_typeset() -> None:
    """A box carries the classes by which MathJax leaves the text between dollar signs alone."""
    assert 'class="tex2jax_ignore mathjax_ignore"' in boxes([Message("m", "user", "$x$")])
