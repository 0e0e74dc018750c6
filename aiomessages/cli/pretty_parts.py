"""The text of a message as blocks to lay out: each content part, tool call and annotation.

It reads messages in the API's wire shape. Images, audio and files become a short label with their
size. All foreign text passes through `safe_text`.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.highlighter import JSONHighlighter
from rich.padding import Padding
from rich.text import Text

from .safe_text import ESCAPED, one_line, visible

Json = Any
_DATA_URI = re.compile(r"data:([^;,]*)[^,]{0,200},")


def blocks(message: Json) -> Iterator[Text | Padding]:
    """Yield what a message holds in reading order: content, refusal, audio, calls, notes."""
    yield from _content(message)
    if refusal := message.get("refusal"):
        yield _labelled("refusal", refusal)
    if audio := message.get("audio"):
        yield from _reply_audio(audio)
    for call in listed(message.get("tool_calls")):
        yield from _call(call)
    if legacy := message.get("function_call"):
        yield from _call({"type": "function", "function": legacy})
    for note in listed(message.get("annotations")):
        yield _labelled("annotation", _compact(note).decode("utf-8", "surrogatepass"))


def _content(message: Json) -> Iterator[Text]:
    """Yield the content parts if there are any; `content` then repeats their text or holds them."""
    content = message.get("content")
    if parts := message.get("content_parts"):
        yield from map(_part, listed(parts))
    elif content and not isinstance(content, str):
        yield from map(_part, listed(content))
    elif content:
        laid_out = _document(content) if message.get("role") in ("tool", "function") else None
        yield text_block(content) if laid_out is None else json_block(laid_out)


def _part(part: Json) -> Text:
    show = _PARTS.get(_kind(part))
    return show(part) if show else _unknown(part)


def _image(part: Json) -> Text:
    return _label("image", *_url(get(part, "image_url", "url")), get(part, "image_url", "detail"))


def _audio(part: Json) -> Text:
    sound = get(part, "input_audio", "data")
    return _label("audio", get(part, "input_audio", "format"), _base64_size(sound))


def _file(part: Json) -> Text:
    data = get(part, "file", "file_data")
    size = _url(data)[-1] if _is_data_uri(data) else _base64_size(data)
    return _label("file", get(part, "file", "filename"), get(part, "file", "file_id"), size)


_PARTS: dict[str, Callable[[Json], Text]] = {
    "text": lambda part: text_block(str(get(part, "text") or "")),
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "refusal": lambda part: _labelled("refusal", get(part, "refusal") or ""),
}


def _reply_audio(audio: Json) -> Iterator[Text]:
    yield _label("audio", get(audio, "id"), _base64_size(get(audio, "data")))
    if transcript := get(audio, "transcript"):
        yield text_block(str(transcript))


def _unknown(thing: Json) -> Text:
    kind = _kind(thing) or "part of no type"
    return _label(kind, size_of(thing) + " of JSON")


def _call(call: Json) -> Iterator[Text | Padding]:
    kind, name = _kind(call), name_of_call(call)
    given = get(call, kind, "arguments") or get(call, kind, "input")
    if name is None:
        yield _unknown(call)
        return
    yield Text.assemble(("→ ", "dim"), (one_line(str(name)), "bold"), (_of(call), "dim"))
    laid_out = _document(given)
    yield Padding(
        text_block(str(given or "")) if laid_out is None else json_block(laid_out), (0, 0, 0, 2)
    )


def name_of_call(call: Json) -> Json:
    """Return the name of the function or tool that is called; None without one."""
    return get(call, _kind(call), "name")


def _of(call: Json) -> str:
    return f" · {one_line(str(call['id']))}" if call.get("id") else ""


def _url(url: Json) -> tuple[str, ...]:
    """Return a data: URI as its media type and size, another URL itself, shortened."""
    if found := _is_data_uri(url):
        return found[1] or "text/plain", _base64_size(url[found.end() :]) or ""
    return (cut(str(url or "without a URL"), 200),)


def _is_data_uri(url: Json) -> re.Match[str] | None:
    return _DATA_URI.match(url) if isinstance(url, str) else None


def _base64_size(data: Json) -> str | None:
    """Return the decoded size of base64 text, without decoding it."""
    return _size(len(data.rstrip("=")) * 3 // 4) if isinstance(data, str) and data else None


def size_of(document: Json) -> str:
    """Return the size of a JSON value as text: in bytes, kB or MB."""
    return _size(len(_compact(document)))


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def _label(kind: str, *details: Json) -> Text:
    said = ", ".join(one_line(str(detail)) for detail in details if detail)
    return Text(f"[{one_line(kind)}{': ' if said else ''}{said}]", style="blue", overflow="fold")


def _labelled(kind: str, text: Json) -> Text:
    style = "bold red" if kind == "refusal" else "dim"
    return Text.assemble((f"{kind}: ", style), text_block(str(text)))


def text_block(text: str) -> Text:
    """Return text with its unsafe characters as marked escapes."""
    shown = Text(visible(text), overflow="fold", tab_size=4)
    shown.highlight_regex(ESCAPED, "reverse")
    return shown


def json_block(document: Json) -> Text:
    """Return a JSON value indented and coloured."""
    # json.dumps() indents by recursion in Python, which ends before a message's deepest levels.
    indented = msgspec.json.format(_compact(document), indent=2)
    shown = text_block(indented.decode("utf-8", "surrogatepass"))
    JSONHighlighter().highlight(shown)
    return shown


def _document(text: Json) -> Json | None:
    """Return the object or list that the text holds as JSON; None for any other text."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _compact(document: Json) -> bytes:
    # msgspec refuses to encode a lone surrogate, which a message may hold.
    compact = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return compact.encode("utf-8", "surrogatepass")


def listed(items: Json) -> list[Json]:
    """Return a list unchanged, and any other non-empty value as a list of one."""
    if isinstance(items, list):
        return items
    return [items] if items else []


def _kind(thing: Json) -> str:
    """Return the `type` of a part or a call; an empty string where it is no string."""
    kind = get(thing, "type")
    return kind if isinstance(kind, str) else ""


def get(thing: Json, *path: str) -> Json:
    """Return the value at a path of keys; None where a key or an object is missing."""
    for name in path:
        thing = thing.get(name) if isinstance(thing, dict) else None
    return thing


def cut(text: str, width: int) -> str:
    """Return text that fits a width in character cells, with an ellipsis where it is cut."""
    return text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"
