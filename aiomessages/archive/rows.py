"""The columns of an archive that are derived from JSON: for a completion, and for a message.

Nothing here performs I/O. A server may send any value in any field. What a column cannot hold is
None here, and whole in the JSON that is stored beside it: no value ever refuses a row.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta

from .scan import items, members, value_of

Json = Any

MAX_INTEGER: Final = 2**63 - 1  # of SQLite


class CompletionRow(NamedTuple):
    """The derived columns of a completion. Times are in Unix seconds."""

    id: str
    created: int | None
    model: str | None
    service_tier: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None


class MessageRow(msgspec.Struct):
    """The derived columns of a message; `text` is what a person reads and searches.

    Most messages are decoded to it as they are: their text is their `content`.
    """

    id: str | None = None
    role: str | None = None
    name: str | None = None
    text: str | None = msgspec.field(default=None, name="content")


class _Completion(msgspec.Struct):
    id: Json = None
    created: Json = None
    model: Json = None
    service_tier: Json = None
    choices: Json = None
    usage: Json = None
    metadata: Json = None


_Integer = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]


class _PlainUsage(msgspec.Struct):
    prompt_tokens: _Integer | None = None
    completion_tokens: _Integer | None = None
    total_tokens: _Integer | None = None


class _PlainChoice(msgspec.Struct):
    finish_reason: str | None = None


class _PlainCompletion(msgspec.Struct):
    """A completion as most are: its fields fit their columns as they are."""

    id: str
    created: _Integer | None = None
    model: str | None = None
    service_tier: str | None = None
    choices: list[_PlainChoice] | None = None
    usage: _PlainUsage | None = None
    metadata: dict[str, str] | None = None


class _Message(msgspec.Struct):
    id: Json = None
    role: Json = None
    name: Json = None
    content: Json = None
    content_parts: Json = None
    refusal: Json = None


class _Choice(msgspec.Struct):
    message: msgspec.Raw = msgspec.Raw(b"null")


class _Replies(msgspec.Struct):
    choices: list[_Choice] | None = None


_PLAIN_COMPLETION: Final = msgspec.json.Decoder(_PlainCompletion)
_COMPLETION: Final = msgspec.json.Decoder(_Completion)
_PLAIN_MESSAGE: Final = msgspec.json.Decoder(MessageRow)
_MESSAGE: Final = msgspec.json.Decoder(_Message)
_REPLIES: Final = msgspec.json.Decoder(_Replies)


def completion_row(body: bytes) -> tuple[CompletionRow, dict[str, str | None]]:
    """Return the derived columns of a completion, and its metadata.

    Raises ValueError if the JSON is no object with a string `id`.
    """
    try:
        plain = _PLAIN_COMPLETION.decode(body)
    except (ValueError, RecursionError):
        return _odd_completion_row(_decoded(_COMPLETION, _Completion, body))
    usage = plain.usage or _PlainUsage()
    row = CompletionRow(
        plain.id,
        plain.created,
        plain.model,
        plain.service_tier,
        plain.choices[0].finish_reason if plain.choices else None,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
    )
    return row, {**(plain.metadata or {})}


def _odd_completion_row(sent: _Completion) -> tuple[CompletionRow, dict[str, str | None]]:
    completion_id = _text(sent.id)
    if completion_id is None:
        raise ValueError("a completion without an id")
    usage = sent.usage if isinstance(sent.usage, dict) else {}
    choices = sent.choices if isinstance(sent.choices, list) else []
    first = choices[0] if choices and isinstance(choices[0], dict) else {}
    row = CompletionRow(
        completion_id,
        _integer(sent.created),
        _text(sent.model),
        _text(sent.service_tier),
        _text(first.get("finish_reason")),
        _integer(usage.get("prompt_tokens")),
        _integer(usage.get("completion_tokens")),
        _integer(usage.get("total_tokens")),
    )
    return row, _metadata(sent.metadata)


def message_row(body: bytes) -> MessageRow:
    """Return the derived columns of a message."""
    try:
        plain = _PLAIN_MESSAGE.decode(body)
        if plain.text is not None:
            return plain
    except (ValueError, RecursionError):
        pass
    sent = _decoded(_MESSAGE, _Message, body)
    return MessageRow(_text(sent.id), _text(sent.role), _text(sent.name), _text(_words_of(sent)))


def replies_of(body: bytes) -> list[tuple[int, bytes]]:
    """Return the replies in a completion: the number of each choice, and its message as sent."""
    try:
        choices = _REPLIES.decode(body).choices or []
        sent = [bytes(choice.message) for choice in choices]
    except (ValueError, RecursionError):  # a choice of another shape, or half an emoji
        choices_sent = items(members(body).get("choices", b""))
        sent = [members(choice).get("message", b"") for choice in choices_sent]
    return [(n, message) for n, message in enumerate(sent) if message.startswith(b"{")]


def _words_of(message: _Message) -> Json:
    """Return the text of a message: its content, or the texts of its parts, or its refusal.

    Each part begins a line: the last word of one and the first of the next stay two words.
    """
    if isinstance(message.content, str):
        return message.content
    for parts in (message.content_parts, message.content):
        if isinstance(parts, list):
            texts = [_words_in(part) for part in parts if isinstance(part, dict)]
            if found := "\n".join(text for text in texts if isinstance(text, str)):
                return found
    return message.refusal


def _words_in(part: dict[str, Json]) -> Json:
    return part.get("text", part.get("refusal"))


def _metadata(sent: Json) -> dict[str, str | None]:
    if not isinstance(sent, Mapping):
        return {}
    return {repaired(name): _metadata_value(value) for name, value in sent.items()}


def _metadata_value(value: Json) -> str | None:
    """Return a value as text: the API knows strings alone, other servers store what they get."""
    if value is None or isinstance(value, str):
        return _text(value)
    try:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()
    except RecursionError:  # it is nested just as deep as msgspec reads
        return None


def _integer(value: Json) -> int | None:
    """Return a number as an integer that SQLite can hold; a time may be a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if -MAX_INTEGER <= value <= MAX_INTEGER else None  # NaN is in no range


def _text(value: Json) -> str | None:
    return repaired(value) if isinstance(value, str) else None


def repaired(text: str) -> str:
    """Return a text that SQLite can hold: a lone surrogate (half an emoji) becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _decoded(decoder: "msgspec.json.Decoder[Any]", kind: type, body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError):
        sent = members(body)  # what msgspec cannot read is read value by value
    known = kind.__struct_fields__  # type: ignore[attr-defined]  # a Struct has it
    return kind(**{name: value_of(sent[name]) for name in known if name in sent})
