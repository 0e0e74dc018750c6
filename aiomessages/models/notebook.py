"""HTML of messages and completions, for notebooks.

Nothing here performs I/O. All text is escaped; the HTML holds no script and no link, and loads
nothing. A notebook would otherwise typeset text between dollar signs, so each box carries the
classes by which MathJax 2 and 3 skip it.
"""

from collections.abc import Iterable, Iterator
from html import escape
from typing import TYPE_CHECKING, Any, Final

import msgspec

from .parts import Json, TextPart

if TYPE_CHECKING:
    from .completions import Reply, StoredCompletion
    from .messages import Message

MAX_TEXT: Final = 2000  # characters of one text: about a screen
MAX_FIELD: Final = 200  # characters of a field in JSON, which may hold a whole image
MAX_ITEMS: Final = 20  # boxes of one list: the default size of a page

_IN_HEAD_OR_TEXT: Final = {"id", "role", "content"}
_BOX: Final = "margin:.4em 0;padding:0 .6em;border-left:3px solid #8888"
_HEAD: Final = "font-size:.85em;opacity:.7"
_TEXT: Final = "white-space:pre-wrap;overflow-wrap:anywhere"


def message_html(message: "Message | Reply") -> str:
    """Return a box with a message's role, id and text, and its other fields as JSON."""
    message_id = getattr(message, "id", "")  # a reply has none
    return box(f"{message.role} {message_id}".strip(), [message.text, *_other_fields(message)])


def completion_html(completion: "StoredCompletion") -> str:
    """Return a box with a completion's id and model, and its replies."""
    head = " · ".join(filter(None, [completion.id, completion.model]))
    return box(head, [], inner=boxes(choice.message for choice in completion.choices))


def boxes(items: Iterable[Any]) -> str:
    """Return a box for each of the first 20 items, and the number of the others.

    An item is a message, a completion, or the bytes of either.
    """
    shown = [*items]
    hidden = len(shown) - MAX_ITEMS
    made = [_item_html(item) for item in shown[:MAX_ITEMS]]
    return "".join(made) + (box(f"and {hidden} more", []) if hidden > 0 else "")


def box(head: str, texts: Iterable[str], *, inner: str = "") -> str:
    """Return a box with a head and texts, which are escaped and cut, and with HTML inside."""
    rows = [f'<div style="{_HEAD}">{escape(_cut(head, MAX_FIELD))}</div>']
    rows += [
        f'<div dir="auto" style="{_TEXT}">{escape(_cut(text, MAX_TEXT))}</div>'
        for text in texts
        if text
    ]
    body = "".join(rows) + inner
    return f'<div class="tex2jax_ignore mathjax_ignore" style="{_BOX}">{body}</div>'


def _item_html(item: Any) -> str:
    if isinstance(item, bytes):
        return box("", [item.decode("utf-8", "replace")])
    return completion_html(item) if hasattr(item, "choices") else message_html(item)


def _other_fields(message: "Message | Reply") -> Iterator[str]:
    """Yield each field with a value, but for those of the head and the text, as `name: JSON`."""
    for name, value in message.__rich_repr__():
        shown = _without_texts(value) if name == "content_parts" else value
        if shown and name not in _IN_HEAD_OR_TEXT:
            yield f"{name}: {_cut(msgspec.json.encode(shown).decode(), MAX_FIELD)}"


def _without_texts(parts: Iterable[Json]) -> list[Json]:
    return [part for part in parts if not isinstance(part, TextPart)]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}… ({len(text):,} characters)"
