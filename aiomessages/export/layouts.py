"""Layouts: what a line of an export is.

Nothing here performs I/O. A layout turns a conversation that was fetched into lines of JSON, the
messages in it the bytes that the server sent. A reply that the server lists among the messages is
written once, as the reply.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from aiomessages.errors import SchemaError
from aiomessages.wire.decoding import despite_lone_surrogates, sent_items

Json = Any


class Fetched(msgspec.Struct):
    """A whole conversation as the server's JSON, each item on one line.

    `completion` is the stored completion, where it is wanted.
    """

    completion_id: str
    messages: list[bytes]
    completion: bytes | None = None


class SkipError(Exception):
    """A conversation that cannot be expressed in a layout; the text is the reason, for counting."""


class Lines(NamedTuple):
    """Lines of an export, each with its line break, and how many they are.

    `left_out` has a reason for each reply of a conversation that is not among its lines.
    """

    text: bytes | bytearray = b""
    number: int = 0
    left_out: tuple[str, ...] = ()


Layout = Callable[[Fetched], Lines]


def one_line(item: bytes) -> bytes:
    """Return JSON on one line: as it is where it stands on one, compact where it was indented.

    Within a string a line break is always escaped, so a raw one is only ever layout.
    """
    if b"\n" not in item and b"\r" not in item:
        return item
    try:
        return msgspec.json.format(item, indent=-1)
    except (msgspec.DecodeError, RecursionError):  # half an emoji, or lists within lists
        return b"".join(line.strip() for line in item.splitlines())


# --- messages -------------------------------------------------------------------------------------


def messages_layout(fetched: Fetched) -> Lines:
    """One line a message, and one for each reply, which `choice` tells from the messages."""
    stored = read_stored(fetched.completion)
    return last_lines(fetched.completion_id, 0, fetched.messages, stored)


def messages_lines(completion_id: str, first: int, messages: Sequence[bytes]) -> Lines:
    """Return the lines of some messages, of which the first one has the number `first`.

    For a conversation that is laid out in pieces: hold back the last `len(stored.replies)` messages
    for `last_lines`, since they may be the replies.
    """
    return Lines(b"".join(_pieces(_head(completion_id), first, messages)), len(messages))


def last_lines(completion_id: str, first: int, held: Sequence[bytes], stored: "Stored") -> Lines:
    """Return the lines of the messages that were held back, from number `first` on, and of replies.

    A reply that is among these messages has one line, which is the one with its `choice`.
    """
    head = _head(completion_id)
    asked = held[: len(held) - listed_replies(held, first, stored)]
    pieces = _pieces(head, first, asked)
    for seq, reply in enumerate(stored.replies, first + len(asked)):
        pieces.append(b'%b%d,"choice":%d,"message":%b}\n' % (head, seq, *reply))
    return Lines(b"".join(pieces), len(asked) + len(stored.replies))


def _head(completion_id: str) -> bytes:
    return b'{"completion_id":%b,"seq":' % msgspec.json.encode(completion_id)


def _pieces(head: bytes, first: int, messages: Sequence[bytes]) -> list[bytes]:
    """Lay out lines to be joined in one step: a quarter of what it costs one by one."""
    pieces = [head, b"", b"", b"}\n"] * len(messages)
    pieces[1::4] = _numbers(first, len(messages))
    pieces[2::4] = messages
    return pieces


@lru_cache(maxsize=128)  # most conversations begin alike, with pages of one length
def _numbers(first: int, count: int) -> list[bytes]:
    return [b'%d,"message":' % seq for seq in range(first, first + count)]


# --- conversations --------------------------------------------------------------------------------


def conversations_layout(fetched: Fetched) -> Lines:
    """One line a completion: its id, model, time and metadata, its messages and its replies.

    `messages` is what went in and `reply` what came out first, also where a server lists both.
    """
    stored = read_stored(fetched.completion)
    line = {
        "completion_id": fetched.completion_id,
        "model": stored.model,
        "created": stored.created,
        "metadata": stored.metadata,
        "messages": [Raw(message) for message in without_replies(fetched.messages, stored)],
        "reply": Raw(stored.replies[0].message) if stored.replies else None,
        "completion": Raw(fetched.completion) if fetched.completion else None,
    }
    return Lines(msgspec.json.encode(line) + b"\n", 1)


# --- the stored completion ------------------------------------------------------------------------


class Reply(NamedTuple):
    """The number of a choice, counted from 0, and its message as the server sent it."""

    choice: int
    message: bytes


class Stored(NamedTuple):
    """What the layouts read of a stored completion.

    `inputs` is the number of messages that went in, where the completion says so; `is_live` tells
    whether the live API stored it.
    """

    replies: tuple[Reply, ...] = ()
    inputs: int | None = None
    is_live: bool = False
    model: Raw = Raw(b"null")
    created: Raw = Raw(b"null")
    metadata: Raw = Raw(b"null")


_NOTHING: Final = Stored()


class _Completion(msgspec.Struct):
    choices: Raw = Raw(b"null")
    input_messages: Raw = Raw(b"null")
    request_id: Raw | UnsetType = UNSET
    model: Raw = Raw(b"null")
    created: Raw = Raw(b"null")
    metadata: Raw = Raw(b"null")


class _Choice(msgspec.Struct):
    message: Raw = Raw(b"null")


_COMPLETION: Final = msgspec.json.Decoder(_Completion)
_CHOICE: Final = msgspec.json.Decoder(_Choice)
_ITEMS: Final = msgspec.json.Decoder(list[Raw] | None)


def read_stored(completion: bytes | None) -> Stored:
    """Read what can be read of a stored completion; None is one without anything.

    A choice without a message, or with one that is no object, has no reply, and its neighbours keep
    their numbers. Raises SchemaError for what is no object.
    """
    if completion is None:
        return _NOTHING
    try:
        found, readable = despite_lone_surrogates(_COMPLETION.decode, completion)
    except msgspec.ValidationError as error:
        raise SchemaError(f"a stored completion has another shape than expected: {error}") from None
    choices = [_said(choice) for choice in _items(found.choices) or ()]
    numbers = [number for number, message in enumerate(choices) if _is_object(message)]
    messages = sent_items(completion, readable, [choices[number] for number in numbers])
    inputs = _items(found.input_messages)
    return Stored(
        tuple(map(Reply, numbers, messages)),
        None if inputs is None else len(inputs),
        found.request_id is not UNSET,
        found.model,
        found.created,
        found.metadata,
    )


def _items(listed: Raw) -> list[Raw] | None:
    try:
        items: list[Raw] | None = _ITEMS.decode(listed)
    except msgspec.ValidationError:
        return None
    return items


def _said(choice: Raw) -> Raw:
    return _CHOICE.decode(choice).message if _is_object(choice) else Raw(b"null")


def _is_object(value: Raw) -> bool:
    return bytes(memoryview(value)[:1]) == b"{"


# --- replies that are listed ----------------------------------------------------------------------


def without_replies(messages: list[bytes], stored: Stored) -> list[bytes]:
    """Return the messages that went in: those of the list that are no replies."""
    return messages[: len(messages) - listed_replies(messages, 0, stored)]


def listed_replies(held: Sequence[bytes], first: int, stored: Stored) -> int:
    """Return how many of a list's last messages are replies of its completion.

    `held` is the end of the list, from message number `first` on. OGX lists all of the choices
    behind the messages that went in, other servers list one. A message is taken for a reply where
    both have the same role, content, calls, refusal, name and sound; an absent key is as good as a
    null.

    An input that equals the reply by chance is told from it in two ways. OGX stores the input with
    the completion (`input_messages`): no more than what is listed beyond these can be replies. The
    live API, known by the `request_id` of its completions and by the five keys of its messages,
    lists no replies at all. Anywhere else equal messages at the end are taken for one.
    """
    most = len(held)
    if stored.inputs is not None:
        most = min(most, first + most - stored.inputs)
    if not stored.replies or most < 1 or b'"assistant"' not in held[-1]:
        return 0
    try:
        return _listed_replies(held[-len(stored.replies) :], most, stored)
    except (ValueError, RecursionError):
        return 0  # one that cannot be read, or compared, is written as it is


def _listed_replies(end: Sequence[bytes], most: int, stored: Stored) -> int:
    if stored.is_live and _read(end[-1]).keys() == _OF_THE_LIVE_API:
        return 0
    listed = [*map(_compared, end)]
    replies = [_compared(reply.message) for reply in stored.replies]
    if listed == replies and len(replies) <= most:
        return len(replies)
    return int(listed[-1] in replies)


_OF_THE_LIVE_API: Final = {"id", "role", "content", "content_parts", "name"}
_COMPARED: Final = ("role", "name", "refusal", "tool_calls", "function_call", "audio")


def _compared(message: bytes) -> dict[str, Json]:
    """Return what two messages must have in common to be one; with parts, content may be null."""
    wire = _read(message, _without_nulls)
    compared = {name: wire[name] for name in _COMPARED if wire.get(name, []) != []}
    return compared | {"content": wire.get("content", wire.get("content_parts"))}


def _read(
    message: bytes, hook: Callable[[dict[str, Json]], dict[str, Json]] | None = None
) -> dict[str, Json]:
    """Read a message exactly: half an emoji is not like another one, nor is a number rounded."""
    wire: dict[str, Json] = json.loads(
        message, object_hook=hook, parse_int=_number, parse_float=_number
    )
    return wire


def _without_nulls(wire: dict[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in wire.items() if value is not None}


def _number(text: str) -> Json:
    return (text,)  # which is like no text
