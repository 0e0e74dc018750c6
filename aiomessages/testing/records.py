"""Records of the server from the short forms that tests write: texts, dicts, a number.

The shapes are those of the recorded API, with null in every member that does not apply. Nothing
here performs I/O. The server validates the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiomessages.models import Message

Json = dict[str, Any]
MessageLike = str | Mapping[str, Any] | Message
Messages = int | MessageLike | Iterable[MessageLike]

# 2026-01-01 00:00 UTC, the time of the first completion. Each later one is a second younger, which
# fixes their order.
_FIRST_CREATED = 1_767_225_600
_NO_PART = {"text": None, "image_url": None, "input_audio": None, "file": None}


def record(
    completion_id: str,
    number: int,
    messages: Messages,
    reply: str | Mapping[str, Any] | None,
    fields: Mapping[str, Any],
) -> Json:
    """Return the record of the `number`th stored completion, counted from 0.

    `fields` replace or add members of the completion. Raises TypeError for a message of another
    type, and ValueError for a number of messages below 0.
    """
    completion = {
        "object": "chat.completion",
        "id": completion_id,
        "created": _FIRST_CREATED + number,
        "request_id": f"req_{number:032x}",
        "tool_choice": None,
        "usage": None,
        "seed": None,
        "top_p": 1.0,
        "temperature": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "system_fingerprint": None,
        "input_user": None,
        "service_tier": "default",
        "tools": None,
        "choices": [] if reply is None else [_choice(reply)],
        "response_format": None,
    }
    return {"completion": {**completion, **fields}, "messages": _messages(messages)}


def _choice(reply: str | Mapping[str, Any]) -> Json:
    given = {"content": reply} if isinstance(reply, str) else reply
    message = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": None,
        "function_call": None,
        **given,
    }
    stop = "tool_calls" if message["tool_calls"] else "stop"
    return {"index": 0, "message": message, "finish_reason": stop, "logprobs": None}


def _messages(messages: Messages) -> list[Json]:
    if isinstance(messages, int):
        if messages < 0:
            raise ValueError(f"a conversation has 0 messages or more, not {messages}")
        messages = [f"message {n}" for n in range(messages)]
    elif isinstance(messages, (str, Mapping, Message)):
        messages = [messages]
    result: list[Json] = []
    for message in messages:
        result.append(_message(message, result))
    return result


def _message(message: MessageLike, previous: list[Json]) -> Json:
    if isinstance(message, str):
        return _with_nulls({"role": _next_role(previous), "content": message})
    if isinstance(message, Message):
        return message.to_dict()
    if isinstance(message, Mapping):
        return _with_nulls(message)
    kind = type(message).__name__
    raise TypeError(f"message {len(previous)} must be a str, a dict or a Message, not {kind}")


def _next_role(previous: list[Json]) -> str:
    """Return "user" and "assistant" in turn; the assistant also follows the result of a tool."""
    return "assistant" if previous and previous[-1].get("role") in ("user", "tool") else "user"


def _with_nulls(message: Mapping[str, Any]) -> Json:
    """Return a message with every member that the API sends, and its parts in `content_parts`."""
    wire = {"role": None, "content": None, "content_parts": None, "name": None, **message}
    if isinstance(wire["content"], list):  # requests have the parts in `content`
        parts = [{**_NO_PART, **part} for part in wire["content"]]
        # The API joins the parts with spaces, and counts a picture as an empty text.
        wire["content"] = " ".join(part["text"] or "" for part in parts)
        wire["content_parts"] = parts
    return wire
