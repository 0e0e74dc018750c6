"""A conversation as a person wants to read it: headings, wrapped text, laid-out tool calls.

It reads messages in the API's wire shape and shows every content part; what cannot be shown
(images, audio, files) becomes a short label with its size. All foreign text passes through
`safe_text`. Nothing here prints: each function returns what to show.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from .output import Screen
from .safe_text import ESCAPED, one_line, visible

Json = Any
# Longer lines tire the eye; tables and JSON lines are free of this.
_READING_WIDTH = 100
_ROLE_STYLES = {
    "user": "bold green",
    "assistant": "bold cyan",
    "system": "bold yellow",
    "developer": "bold yellow",
    "tool": "bold magenta",
    "function": "bold magenta",
}
_DATA_URI = re.compile(r"data:([^;,]*)[^,]{0,200},")


def message(screen: Screen) -> Callable[[Json], str]:
    """Return a function that lays out one message (wire shape) after another for the screen."""
    console = _console(screen)

    def show(found: Json) -> str:
        with console.capture() as captured:
            console.print(_heading(found, screen))
            for block in _blocks(found):
                console.print(block)
        return _trimmed(captured.get())

    return show


def value(screen: Screen) -> Callable[[Json], str]:
    """Return a function that shows any JSON value: a string as text, the rest as indented JSON."""
    console = _console(screen)

    def show(found: Json) -> str:
        with console.capture() as captured:
            console.print(_text(found) if isinstance(found, str) else _json(found))
        return _trimmed(captured.get())

    return show


def row(screen: Screen) -> Callable[[Json], str]:
    """Return a function that shows a message as a row: its number, role, size and beginning."""
    counted = count()

    def show(found: Json) -> str:
        cells = (_number(found, next(counted)), _role(found), _weight(found))
        return _row(screen, *cells, _summary(found))

    return show


def heading_row(screen: Screen) -> str:
    """Return the heading of the rows."""
    return _row(screen, "#", "role", "size", "message")


def _row(screen: Screen, number: str, role: str, size: str, text: str) -> str:
    cells = f"{number:>5}  {set_cell_size(one_line(role), 9)}  {size:>8}  {one_line(text[:2000])}"
    width = screen.width
    return (cells if cell_len(cells) <= width else set_cell_size(cells, width - 1) + "…") + "\n"


def _number(found: Json, position: int) -> str:
    """Return the number that ends the id, as the API counts; else the position in this list."""
    ending = re.search(r"-(\d+)$", str(found.get("id")))
    return ending[1] if ending else str(position)


def _weight(found: Json) -> str:
    return _size(len(_compact(found).encode("utf-8", "replace")))


def _summary(found: Json) -> str:
    """Return the text of a message without its layout, parts and calls one after another."""
    shown = (block.renderable if isinstance(block, Padding) else block for block in _blocks(found))
    return " ".join(str(text) for text in shown)


def _console(screen: Screen) -> Console:
    return Console(
        file=io.StringIO(),
        width=min(screen.width, _READING_WIDTH),
        color_system="standard" if screen.color else None,
        force_terminal=screen.color,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )


def _trimmed(shown: str) -> str:
    """Drop the blanks that pad the lines: they are in the way when text is copied."""
    return re.sub(r" +$", "", shown, flags=re.MULTILINE)


def _heading(message: Json, screen: Screen) -> Rule:
    role = one_line(_role(message))
    details = [message.get("name"), message.get("tool_call_id")]
    said = "".join(f" · {one_line(str(detail))}" for detail in details if detail)
    title = Text.assemble((role, _ROLE_STYLES.get(role, "bold")), (said, "dim"))
    return Rule(title, align="left", style="dim", characters="─" if screen.unicode else "-")


def _role(message: Json) -> str:
    role = message.get("role")
    return role if role and isinstance(role, str) else "no role"


def _blocks(message: Json) -> Iterator[Text | Padding]:
    yield from _content(message)
    if refusal := message.get("refusal"):
        yield _labelled("refusal", refusal)
    if audio := message.get("audio"):
        yield from _reply_audio(audio)
    for call in _listed(message.get("tool_calls")):
        yield from _call(call)
    if legacy := message.get("function_call"):
        yield from _call({"type": "function", "function": legacy})
    for note in _listed(message.get("annotations")):
        yield _labelled("annotation", _compact(note))


def _content(message: Json) -> Iterator[Text]:
    """Yield the parts where there are any: content is then only their text joined, or has them."""
    content = message.get("content")
    if parts := message.get("content_parts"):
        yield from map(_part, _listed(parts))
    elif content and not isinstance(content, str):
        yield from map(_part, _listed(content))
    elif content:
        laid_out = _document(content) if message.get("role") in ("tool", "function") else None
        yield _text(content) if laid_out is None else _json(laid_out)


def _part(part: Json) -> Text:
    show = _PARTS.get(_kind(part))
    return show(part) if show else _unknown(part)


def _text_part(part: Json) -> Text:
    return _text(str(_get(part, "text") or ""))


def _image(part: Json) -> Text:
    return _label("image", *_url(_get(part, "image_url", "url")), _get(part, "image_url", "detail"))


def _audio(part: Json) -> Text:
    sound = _get(part, "input_audio", "data")
    return _label("audio", _get(part, "input_audio", "format"), _base64_size(sound))


def _file(part: Json) -> Text:
    data = _get(part, "file", "file_data")
    size = _url(data)[-1] if _is_data_uri(data) else _base64_size(data)
    return _label("file", _get(part, "file", "filename"), _get(part, "file", "file_id"), size)


def _refusal_part(part: Json) -> Text:
    return _labelled("refusal", str(_get(part, "refusal") or ""))


_PARTS: dict[str, Callable[[Json], Text]] = {
    "text": _text_part,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "refusal": _refusal_part,
}


def _reply_audio(audio: Json) -> Iterator[Text]:
    yield _label("audio", _get(audio, "id"), _base64_size(_get(audio, "data")))
    if transcript := _get(audio, "transcript"):
        yield _text(str(transcript))


def _unknown(thing: Json) -> Text:
    kind = _kind(thing) or "part of no type"
    return _label(kind, _size(len(_compact(thing).encode("utf-8", "replace"))) + " of JSON")


def _call(call: Json) -> Iterator[Text | Padding]:
    kind = _kind(call)
    name = _get(call, kind, "name")
    given = _get(call, kind, "arguments") or _get(call, kind, "input")
    if name is None:
        yield _unknown(call)
        return
    yield Text.assemble(("→ ", "dim"), (one_line(str(name)), "bold"), (_of(call), "dim"))
    laid_out = _document(given)
    yield Padding(_text(str(given or "")) if laid_out is None else _json(laid_out), (0, 0, 0, 2))


def _of(call: Json) -> str:
    return f" · {one_line(str(call['id']))}" if call.get("id") else ""


def _url(url: Json) -> tuple[str, ...]:
    """Return a data: URI as its media type and size, another URL itself, shortened."""
    if found := _is_data_uri(url):
        return found[1] or "text/plain", _base64_size(url[found.end() :]) or ""
    return (_shortened(str(url or "without a URL"), 200),)


def _is_data_uri(url: Json) -> re.Match[str] | None:
    return _DATA_URI.match(url) if isinstance(url, str) else None


def _base64_size(data: Json) -> str | None:
    """Return the size of what base64 text stands for, without decoding it."""
    return _size(len(data.rstrip("=")) * 3 // 4) if isinstance(data, str) and data else None


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


def _label(kind: str, *details: Json) -> Text:
    said = ", ".join(one_line(str(detail)) for detail in details if detail)
    return Text(f"[{one_line(kind)}{': ' if said else ''}{said}]", style="blue", overflow="fold")


def _labelled(kind: str, text: Json) -> Text:
    style = "bold red" if kind == "refusal" else "dim"
    return Text.assemble((f"{kind}: ", style), _text(str(text)))


def _text(text: str) -> Text:
    shown = Text(visible(text), overflow="fold", tab_size=4)
    shown.highlight_regex(ESCAPED, "reverse")
    return shown


def _json(document: Json) -> Text:
    shown = _text(json.dumps(document, indent=2, ensure_ascii=False))
    JSONHighlighter().highlight(shown)
    return shown


def _document(text: Json) -> Json | None:
    """Return the object or list that the text is JSON of, None for every other text."""
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) else None


def _compact(document: Json) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _listed(items: Json) -> list[Json]:
    """Return a list as it is, and anything else that is not empty as the one item of a list."""
    if isinstance(items, list):
        return items
    return [items] if items else []


def _kind(thing: Json) -> str:
    """Return the type that a part or a call names; empty where that is no text."""
    kind = _get(thing, "type")
    return kind if isinstance(kind, str) else ""


def _get(thing: Json, *path: str) -> Json:
    """Return what stands at the path, None where a step is missing or is no object."""
    for name in path:
        thing = thing.get(name) if isinstance(thing, dict) else None
    return thing


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
