"""The replies in a stored completion, and which of the messages in its list are replies.

Nothing here performs I/O. Both come as the server's JSON. Some servers list the replies among the
messages, where they would count twice.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from aiomessages.errors import SchemaError

from .decoding import despite_lone_surrogates, sent_items

Json = Any


class Reply(NamedTuple):
    """The number of a choice, counted from 0, and its message as the server sent it."""

    choice: int
    message: bytes


class Completion(msgspec.Struct):
    """The fields of a completion that layouts need, as the server sent them."""

    choices: Raw = Raw(b"null")
    input_messages: Raw = Raw(b"null")
    request_id: Raw | UnsetType = UNSET
    model: Raw = Raw(b"null")
    created: Raw = Raw(b"null")
    metadata: Raw = Raw(b"null")


class Stored(NamedTuple):
    """A stored completion, its replies, and the number of its input messages, if it has that."""

    completion: Completion
    replies: tuple[Reply, ...] = ()
    inputs: int | None = None


_NOTHING: Final = Stored(Completion())


class _Choice(msgspec.Struct):
    message: Raw = Raw(b"null")


_COMPLETION: Final = msgspec.json.Decoder(Completion)
_CHOICE: Final = msgspec.json.Decoder(_Choice)
_ITEMS: Final = msgspec.json.Decoder(list[Raw] | None)


def read_stored(completion: bytes | None) -> Stored:
    """Return the readable parts of a stored completion.

    A choice whose message is not an object has no reply; the other choices keep their numbers.
    Raises SchemaError if the completion is not an object.
    """
    if completion is None:
        return _NOTHING
    try:
        found, readable = despite_lone_surrogates(_COMPLETION.decode, completion)
    except msgspec.ValidationError as error:
        raise SchemaError(f"a stored completion has an unexpected shape: {error}") from None
    choices = [_message_of(choice) for choice in _items(found.choices) or ()]
    numbers = [number for number, message in enumerate(choices) if _is_object(message)]
    messages = sent_items(completion, readable, [choices[number] for number in numbers])
    inputs = _items(found.input_messages)
    count = None if inputs is None else len(inputs)
    return Stored(found, tuple(map(Reply, numbers, messages)), count)


def _items(listed: Raw) -> list[Raw] | None:
    try:
        items: list[Raw] | None = _ITEMS.decode(listed)
    except msgspec.ValidationError:
        return None
    return items


def _message_of(choice: Raw) -> Raw:
    return _CHOICE.decode(choice).message if _is_object(choice) else Raw(b"null")


def _is_object(value: Raw) -> bool:
    return bytes(memoryview(value)[:1]) == b"{"


# --- listed replies -------------------------------------------------------------------------------


def count_listed(end: Sequence[bytes], count: int, stored: Stored) -> int:
    """Return the number of last messages of a list that are replies of its completion.

    `end` is the end of a list of `count` messages: as many as there are replies, if it has them.
    OGX lists all choices after the input, other servers list one. A message counts as a reply if
    both have the same role, content, calls, refusal, name and audio; an absent key equals null.

    An input may equal a reply by chance. OGX stores the input with the completion
    (`input_messages`), so only the messages beyond their number can be replies. The live API lists
    no replies; its completions have a `request_id`, and its messages five keys.
    """
    most = len(end)
    if stored.inputs is not None:
        most = min(most, count - stored.inputs)
    replies = [reply.message for reply in stored.replies]
    if most < 1 or is_no_reply(end[-1], replies):
        return 0
    try:
        return _compare_end(end[-len(replies) :], most, stored)
    except (ValueError, RecursionError):
        return 0  # a message that cannot be compared is written as it is


def is_no_reply(message: bytes, replies: Sequence[bytes]) -> bool:
    """Return whether a message is none of the replies for certain, by its role and text alone.

    That is so in most conversations, and takes a tenth of the time of a whole comparison.
    """
    if not replies or b'"assistant"' not in message:
        return True
    texts = set(map(_text_of, replies))
    return None not in texts and _text_of(message) not in {None, *texts}


class _Text(msgspec.Struct):
    content: str


_TEXT: Final = msgspec.json.Decoder(_Text)


def _text_of(message: bytes) -> str | None:
    """Return the text of a message whose content is text; None for any other message."""
    try:
        return _TEXT.decode(message).content
    except (ValueError, RecursionError):
        return None


def _compare_end(end: Sequence[bytes], most: int, stored: Stored) -> int:
    is_live = stored.completion.request_id is not UNSET
    if is_live and _read(end[-1]).keys() == _OF_THE_LIVE_API:
        return 0
    listed = [*map(_compared, end)]
    replies = [_compared(reply.message) for reply in stored.replies]
    if listed == replies and len(replies) <= most:
        return len(replies)
    return int(listed[-1] in replies)


_OF_THE_LIVE_API: Final = {"id", "role", "content", "content_parts", "name"}
_COMPARED: Final = ("role", "name", "refusal", "tool_calls", "function_call", "audio")


def _compared(message: bytes) -> dict[str, Json]:
    """Return the fields in which a listed message equals its reply; content may be in parts."""
    wire = _read(message, _without_nulls)
    compared = {name: wire[name] for name in _COMPARED if wire.get(name, []) != []}
    return compared | {"content": wire.get("content", wire.get("content_parts"))}


def _read(
    message: bytes, hook: Callable[[dict[str, Json]], dict[str, Json]] | None = None
) -> dict[str, Json]:
    """Read a message exactly: numbers are not rounded, lone surrogates not replaced."""
    wire: dict[str, Json] = json.loads(
        message, object_hook=hook, parse_int=_number, parse_float=_number
    )
    return wire


def _without_nulls(wire: dict[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in wire.items() if value is not None}


def _number(text: str) -> Json:
    return (text,)  # a tuple, so that it equals no text
