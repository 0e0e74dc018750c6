"""The parts of a message, in the order in which they are read.

Messages come in the API's wire shape. A server may send any value in any field: what has another
shape than the API knows is a Document, which is shown as JSON.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, Final, NamedTuple

from .documents import compact
from .media import Medium, base64_of

Json = Any
_MOST: Final = 200  # parts, calls or notes of one message; the rest is left to its JSON
_KNOWN: Final = frozenset(
    """annotations audio content content_parts function_call id name object refusal role
    tool_call_id tool_calls""".split()  # noqa: SIM905 - a list of words
)


class Text(NamedTuple):
    """A text, written in Markdown or not."""

    text: str


class Refusal(NamedTuple):
    """What the model said when it refused."""

    text: str


class Document(NamedTuple):
    """JSON, and a title that says what it is."""

    title: str
    text: str


class RemoteImage(NamedTuple):
    """The address of an image that is not in the archive."""

    url: str


class File(NamedTuple):
    """A file that is named: by its name or its id."""

    name: str


class Citation(NamedTuple):
    """A page of the web that the text cites."""

    url: str
    title: str


class Call(NamedTuple):
    """The call of a tool: its name, and the text that it was given. `id` is what an answer names.

    `key` is the same for a call and its answer.
    """

    name: str
    id: str | None
    given: str

    @property
    def key(self) -> tuple[str, str]:
        """What an answer has as well."""
        return ("id", self.id) if self.id is not None else ("name", self.name)


class Left(NamedTuple):
    """The number of parts that are left out."""

    number: int


Part = Text | Refusal | Document | RemoteImage | File | Citation | Call | Medium | Left


def parts_of(message: Mapping[str, Json]) -> Iterator[Part]:
    """Yield the parts of a message: content, refusal, sound, sources, calls, and unknown fields."""
    numbers = count()
    yield from _content(message, numbers)
    if refusal := message.get("refusal"):
        yield Refusal(refusal) if isinstance(refusal, str) else _document("Refusal", refusal)
    if audio := message.get("audio"):
        yield from _spoken(audio, numbers)
    yield from _each(message.get("annotations"), _annotation)
    yield from _each(message.get("tool_calls"), _call)
    if call := message.get("function_call"):
        yield _call({"function": call})
    others = {name: value for name, value in message.items() if name not in _KNOWN}
    if any(value not in (None, "", [], {}) for value in others.values()):
        yield _document("Other fields", others)


def answered_by(message: Mapping[str, Json]) -> tuple[str, str] | None:
    """Return the key of the call that a message answers; None if it answers none."""
    answered, name = message.get("tool_call_id"), message.get("name")
    if isinstance(answered, str):
        return "id", answered
    return ("name", name) if message.get("role") == "function" and isinstance(name, str) else None


# --- content --------------------------------------------------------------------------------------


def _content(message: Mapping[str, Json], numbers: "count[int]") -> Iterator[Part]:
    """Yield the content. With parts, `content` repeats their text, holds them, or is null."""
    content, listed = message.get("content"), message.get("content_parts")
    parts = list(_each(listed or (() if isinstance(content, str) else content), _part, numbers))
    if isinstance(content, str) and content and not any(isinstance(part, Text) for part in parts):
        yield Text(content)
    yield from parts


def _each(values: Json, read: Callable[..., Part], *more: Any) -> Iterator[Part]:
    """Yield a part for each value of a list; any other value counts as a list of one."""
    if values in (None, "", {}):
        return
    items = values if isinstance(values, list | tuple) else [values]
    for item in items[:_MOST]:
        yield read(item, *more)
    if len(items) > _MOST:
        yield Left(len(items) - _MOST)


def _part(part: Json, numbers: "count[int]") -> Part:
    kind = _get(part, "type")
    read = _PARTS.get(kind) if isinstance(kind, str) else None
    found = read(part, numbers) if read else part if isinstance(part, str) else None
    if isinstance(found, str):
        return Text(found)
    return found or _document(f"Part of type {kind}" if isinstance(kind, str) else "Part", part)


def _text(part: Json, _: "count[int]") -> Part | None:
    text = _get(part, "text")
    return Text(text) if isinstance(text, str) else None


def _refusal(part: Json, _: "count[int]") -> Part | None:
    text = _get(part, "refusal")
    return Refusal(text) if isinstance(text, str) else None


def _image(part: Json, numbers: "count[int]") -> Part | None:
    image = _get(part, "image_url")
    url = image if isinstance(image, str) else _get(image, "url")
    if not isinstance(url, str):
        return None
    encoded = base64_of(url)
    return RemoteImage(url) if encoded is None else Medium(next(numbers), encoded)


def _sound(part: Json, numbers: "count[int]") -> Part | None:
    data = _get(part, "input_audio", "data")
    if not isinstance(data, str):
        return None
    return Medium(next(numbers), base64_of(data) or data)


def _file(part: Json, numbers: "count[int]") -> Part | None:
    names = [_get(part, "file", key) for key in ("filename", "file_id")]
    name = next((name for name in names if isinstance(name, str) and name), "")
    data = _get(part, "file", "file_data")
    if isinstance(data, str) and data:
        return Medium(next(numbers), base64_of(data) or data, name or "file")
    return File(name) if name else None


_PARTS: Final[dict[str, Callable[[Json, "count[int]"], Part | None]]] = {
    "text": _text,
    "input_text": _text,
    "output_text": _text,
    "refusal": _refusal,
    "image_url": _image,
    "input_audio": _sound,
    "file": _file,
}


def _spoken(audio: Json, numbers: "count[int]") -> Iterator[Part]:
    """Yield the sound of a reply and its words; its JSON, if it has neither."""
    data, transcript = _get(audio, "data"), _get(audio, "transcript")
    if isinstance(data, str) and data:
        yield Medium(next(numbers), base64_of(data) or data, "spoken reply")
    if isinstance(transcript, str) and transcript:
        yield Text(transcript)
    elif not data:
        yield _document("Audio", audio)


# --- calls and sources ----------------------------------------------------------------------------


def _call(call: Json) -> Part:
    """Return a call of a function, or of a tool that takes any text."""
    tool = _get(call, "function") or _get(call, "custom")
    name, id = _get(tool, "name"), _get(call, "id")
    given = _get(tool, "arguments")
    if given is None:
        given = _get(tool, "input")
    if not isinstance(name, str):
        return _document("Call of an unknown kind", call)
    text = given if isinstance(given, str) else "" if given is None else compact(given)
    return Call(name, id if isinstance(id, str) else None, text)


def _annotation(note: Json) -> Part:
    url, title = (_get(note, "url_citation", key) for key in ("url", "title"))
    if not isinstance(url, str):
        return _document("Annotation", note)
    return Citation(url, title if isinstance(title, str) and title else url)


def _document(title: str, value: Json) -> Document:
    return Document(title, value if isinstance(value, str) else compact(value))


def _get(value: Json, *path: str) -> Json:
    """Return the value at a path of keys; None where a key or an object is missing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
