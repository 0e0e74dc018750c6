"""Layouts: what a line of an export is.

Nothing here performs I/O. A layout turns a conversation that was fetched into lines of JSON, the
messages in it the bytes that the server sent.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from aiomessages.decoding import despite_lone_surrogates, sent_items
from aiomessages.errors import SchemaError


class Fetched(msgspec.Struct):
    """A conversation, or a stretch of one, as the server's JSON, each item on one line.

    `first` is the number of the first of these messages within the conversation, `whole` whether
    the last one is among them; `completion` is the stored completion, where it is wanted.
    """

    completion_id: str
    messages: list[bytes]
    completion: bytes | None = None
    first: int = 0
    whole: bool = True


class SkipError(Exception):
    """A conversation that cannot be expressed in a layout; the text is the reason, for counting."""


class Lines(NamedTuple):
    """Lines of an export, each with its line break, and how many they are."""

    text: bytes | bytearray = b""
    number: int = 0


Layout = Callable[[Fetched], Lines]


def one_line(json: bytes) -> bytes:
    """Return JSON on one line: as it is where it stands on one, compact where it was indented.

    Within a string a line break is always escaped, so a raw one is only ever layout.
    """
    if b"\n" not in json and b"\r" not in json:
        return json
    try:
        return msgspec.json.format(json, indent=-1)
    except (msgspec.DecodeError, RecursionError):  # half an emoji, or lists within lists
        return b"".join(line.strip() for line in json.splitlines())


def messages_layout(fetched: Fetched) -> Lines:
    """One line a message, and one for each reply, which `choice` tells from the messages."""
    head = b'{"completion_id":%b,"seq":' % msgspec.json.encode(fetched.completion_id)
    pieces = _pieces(head, fetched.first, fetched.messages)
    choices = replies(fetched.completion) if fetched.completion and fetched.whole else []
    seq = fetched.first + len(fetched.messages)
    for n, reply in enumerate(choices):
        pieces.append(b'%b%d,"choice":%d,"message":%b}\n' % (head, seq + n, n, reply))
    return Lines(b"".join(pieces), len(fetched.messages) + len(choices))


def _pieces(head: bytes, first: int, messages: Sequence[bytes]) -> list[bytes]:
    """Lay out lines to be joined in one step: a quarter of what it costs one by one."""
    pieces = [head, b"", b"", b"}\n"] * len(messages)
    pieces[1::4] = _numbers(first, len(messages))
    pieces[2::4] = messages
    return pieces


@lru_cache(maxsize=128)  # most conversations begin alike, with pages of one length
def _numbers(first: int, count: int) -> list[bytes]:
    return [b'%d,"message":' % seq for seq in range(first, first + count)]


def conversations_layout(fetched: Fetched) -> Lines:
    """One line a completion: its id, model, time and metadata, its messages and its replies."""
    completion, choices = _read(fetched.completion or b"{}")
    line = {
        "completion_id": fetched.completion_id,
        "model": completion.model,
        "created": completion.created,
        "metadata": completion.metadata,
        "messages": [Raw(message) for message in fetched.messages],
        "reply": Raw(choices[0]) if choices else None,
        "completion": Raw(fetched.completion) if fetched.completion else None,
    }
    return Lines(msgspec.json.encode(line) + b"\n", 1)


def replies(completion: bytes) -> list[bytes]:
    """Return the messages of a completion's choices, on one line each. Raises SchemaError."""
    _, choices = _read(completion)
    return choices


class _Choice(msgspec.Struct):
    message: Raw


class _Completion(msgspec.Struct):
    choices: list[_Choice] | None = None
    model: Raw = Raw(b"null")
    created: Raw = Raw(b"null")
    metadata: Raw = Raw(b"null")


_COMPLETION: Final = msgspec.json.Decoder(_Completion)


def _read(completion: bytes) -> tuple[_Completion, list[bytes]]:
    """Return a completion, and the replies in it as the bytes that the server sent."""
    try:
        found, readable = despite_lone_surrogates(_COMPLETION.decode, completion)
    except msgspec.ValidationError as error:
        raise SchemaError(f"a stored completion has another shape than expected: {error}") from None
    choices = [choice.message for choice in found.choices or ()]
    return found, [one_line(reply) for reply in sent_items(completion, readable, choices)]
