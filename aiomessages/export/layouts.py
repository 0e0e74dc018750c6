"""Layouts: what a line of an export is.

Nothing here performs I/O. A layout turns a conversation that was fetched into lines of JSON, the
messages in it the bytes that the server sent.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Raw


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


Layout = Callable[[Fetched], list[bytes]]


def one_line(json: bytes) -> bytes:
    """Return JSON on one line: as it is where it stands on one, compact where it was indented.

    Within a string a line break is always escaped, so a raw one is only ever layout.
    """
    if b"\n" in json or b"\r" in json:
        return msgspec.json.format(json, indent=-1)
    return json


def messages_layout(fetched: Fetched) -> list[bytes]:
    """One line a message, and one for each reply, which `choice` tells from the messages."""
    head = b'{"completion_id":%b,"seq":' % msgspec.json.encode(fetched.completion_id)
    lines = [
        b'%b%d,"message":%b}\n' % (head, seq, message)
        for seq, message in enumerate(fetched.messages, fetched.first)
    ]
    if fetched.completion is not None and fetched.whole:
        seq = fetched.first + len(fetched.messages)
        lines += [
            b'%b%d,"choice":%d,"message":%b}\n' % (head, seq + n, n, reply)
            for n, reply in enumerate(replies(fetched.completion))
        ]
    return lines


def conversations_layout(fetched: Fetched) -> list[bytes]:
    """One line a completion: its id, model, time and metadata, its messages and its replies."""
    completion = _COMPLETION.decode(fetched.completion or b"{}")
    choices = replies(fetched.completion) if fetched.completion else []
    line = {
        "completion_id": fetched.completion_id,
        "model": completion.model,
        "created": completion.created,
        "metadata": completion.metadata,
        "messages": [Raw(message) for message in fetched.messages],
        "reply": Raw(choices[0]) if choices else None,
        "completion": Raw(fetched.completion) if fetched.completion else None,
    }
    return [msgspec.json.encode(line) + b"\n"]


def replies(completion: bytes) -> list[bytes]:
    """Return the messages of a completion's choices, on one line each."""
    return [one_line(bytes(choice.message)) for choice in _COMPLETION.decode(completion).choices]


class _Choice(msgspec.Struct):
    message: Raw


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []
    model: Any = None
    created: Any = None
    metadata: Any = None


_COMPLETION: Final = msgspec.json.Decoder(_Completion)
