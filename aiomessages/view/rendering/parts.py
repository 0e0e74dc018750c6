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
_FIELDS = dict[str, Any]
_REASONING: Final = ("reasoning_content", "reasoning")  # of servers that have more than the API
# The values that are shown, by their type (`object`: any), or that only number and date things.
_MESSAGE: Final[_FIELDS] = {
    **dict.fromkeys(("role", "name", "tool_call_id"), str),
    **dict.fromkeys(("content", "content_parts", "refusal", "audio", "annotations"), object),
    **dict.fromkeys(_REASONING, str),
    **dict.fromkeys(("tool_calls", "function_call", "id", "object"), object),
}
_AUDIO: Final[_FIELDS] = {"id": str, "expires_at": object, "data": str, "transcript": str}
_CALL: Final[_FIELDS] = {"id": str, "index": int, "type": str}
_ANNOTATION: Final[_FIELDS] = {
    "type": str,
    "url_citation": {"url": str, "title": str, "start_index": object, "end_index": object},
}


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
    """Yield the parts of a message: content, refusal, sound, sources, calls, and unknown fields.

    No value is lost: one that no part shows is in a Document.
    """
    numbers = count()
    reasons = [text for name in _REASONING if isinstance(text := message.get(name), str) and text]
    for reason in dict.fromkeys(reasons):
        yield Document("Reasoning", reason)
    yield from _content(message, numbers)
    if refusal := message.get("refusal"):
        yield Refusal(refusal) if isinstance(refusal, str) else _document("Refusal", refusal)
    if audio := message.get("audio"):
        yield from _spoken(audio, numbers)
    yield from _each(message.get("annotations"), _annotation)
    yield from _each(message.get("tool_calls"), _call)
    if call := message.get("function_call"):
        yield from _call({"function": call})
    yield from _others(message, _MESSAGE)


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
    parts = list(_each(listed, _part, numbers))
    if isinstance(content, str):
        said = "".join(part.text for part in parts if isinstance(part, Text))
        if content and (not parts or _letters(content) != _letters(said)):
            yield Text(content)
        yield from parts
    else:
        yield from parts
        if content != listed:
            yield from _each(content, _part, numbers)


def _letters(text: str) -> str:
    """Return a text without space, as servers join parts by some of it or by none."""
    return "".join(text.split())


def _each(values: Json, read: Callable[..., Iterator[Part]], *more: Any) -> Iterator[Part]:
    """Yield the parts of each value of a list; any other value counts as a list of one."""
    if values in (None, "", {}):
        return
    items = values if isinstance(values, list | tuple) else [values]
    for item in items[:_MOST]:
        yield from read(item, *more)
    if len(items) > _MOST:
        yield Left(len(items) - _MOST)


def _part(part: Json, numbers: "count[int]") -> Iterator[Part]:
    if isinstance(part, str):
        yield Text(part)
        return
    kind = _get(part, "type")
    read, fields = _PARTS.get(kind, (None, {})) if isinstance(kind, str) else (None, {})
    found = read(part, numbers) if read else None
    if found is None:
        yield _document(f"Part of type {kind}" if isinstance(kind, str) else "Part", part)
    else:
        yield found
        yield from _others(part, {"type": str, **fields})


def _others(value: Json, shown: _FIELDS) -> Iterator[Part]:
    """Yield what a value has beside the fields that are shown, if it has more."""
    if others := _beside(value, shown):
        yield _document("Other fields", others)


def _beside(value: Mapping[str, Json], shown: _FIELDS) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, field in value.items():
        known = shown.get(name)
        if isinstance(known, dict) and isinstance(field, dict):
            field = _beside(field, known)  # noqa: PLW2901 - the part of it that is left
        elif isinstance(known, type) and isinstance(field, known):
            continue
        if field not in (None, "", [], {}):
            found[name] = field
    return found


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
    if not isinstance(data, str) or not data:
        return None
    return Medium(next(numbers), base64_of(data) or data)


def _file(part: Json, numbers: "count[int]") -> Part | None:
    names = [_get(part, "file", key) for key in ("filename", "file_id")]
    name = ", ".join(name for name in names if isinstance(name, str) and name)
    data = _get(part, "file", "file_data")
    if isinstance(data, str) and data:
        return Medium(next(numbers), base64_of(data) or data, name or "file")
    return File(name) if name else None


_TEXT: Final[_FIELDS] = {"text": str}
# By the type of a part: how it is read, and what of it is shown then.
_PARTS: Final[dict[str, tuple[Callable[[Json, "count[int]"], Part | None], _FIELDS]]] = {
    "text": (_text, _TEXT),
    "input_text": (_text, _TEXT),
    "output_text": (_text, _TEXT),
    "refusal": (_refusal, {"refusal": str}),
    "image_url": (_image, {"image_url": {"url": str, "detail": str}}),
    "input_audio": (_sound, {"input_audio": {"data": str, "format": str}}),
    "file": (_file, {"file": dict.fromkeys(("filename", "file_id", "file_data"), str)}),
}


def _spoken(audio: Json, numbers: "count[int]") -> Iterator[Part]:
    """Yield the sound of a reply and its words; its JSON, if it has neither."""
    data, transcript = _get(audio, "data"), _get(audio, "transcript")
    has_data, has_words = (isinstance(value, str) and value for value in (data, transcript))
    if has_data:
        yield Medium(next(numbers), base64_of(data) or data, "spoken reply")
    if has_words:
        yield Text(transcript)
    if has_data or has_words:
        yield from _others(audio, _AUDIO)
    else:
        yield _document("Audio", audio)


# --- calls and sources ----------------------------------------------------------------------------


def _call(call: Json) -> Iterator[Part]:
    """Yield a call of a function, or of a tool that takes any text."""
    kind = "function" if _get(call, "function") else "custom"
    field = "input" if _get(call, kind, "arguments") is None else "arguments"
    name, given, id = _get(call, kind, "name"), _get(call, kind, field), _get(call, "id")
    if not isinstance(name, str):
        yield _document("Call of an unknown kind", call)
        return
    text = given if isinstance(given, str) else "" if given is None else compact(given)
    yield Call(name, id if isinstance(id, str) else None, text)
    yield from _others(call, {**_CALL, kind: {"name": str, field: object}})


def _annotation(note: Json) -> Iterator[Part]:
    url, title = (_get(note, "url_citation", key) for key in ("url", "title"))
    if isinstance(url, str):
        yield Citation(url, title if isinstance(title, str) and title else url)
        yield from _others(note, _ANNOTATION)
    else:
        yield _document("Annotation", note)


def _document(title: str, value: Json) -> Document:
    return Document(title, value if isinstance(value, str) else compact(value))


def _get(value: Json, *path: str) -> Json:
    """Return the value at a path of keys; None where a key or an object is missing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
