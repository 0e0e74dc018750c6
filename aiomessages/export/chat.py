"""Chat examples: the messages that trainers other than OpenAI's read, from conversations.

Nothing here performs I/O. TRL, Axolotl and the chat templates of Hugging Face read one form:
`messages` with `role`, `content` and `tool_calls`, beside `tools`. It differs from OpenAI's where a
template would render something else: `content` is text, never null, and the arguments of a call
are an object, because templates write both as they are. A conversation is skipped for the reasons
of `finetune`, and for one more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import DecodeError, Raw, structs

from aiomessages.values.json_lines import on_one_line
from aiomessages.wire.decoding import despite_lone_surrogates

from .finetune import Function, JsonObject, RawObject, Reason, Tool, examples_of
from .stored import Fetched, Lines, SkipError

if TYPE_CHECKING:
    from collections.abc import Iterator

_OBJECT: Final = msgspec.json.Decoder(RawObject)


def chat_layout(fetched: Fetched) -> Lines:
    """Return a line for each reply: the messages with that reply, and the tools of the model.

    Raises SkipError, with a Reason, if no reply can be an example.
    """
    return examples_of(fetched, _line)


def _line(messages: list[JsonObject], tools: list[Tool]) -> bytes:
    example: JsonObject = {"messages": [_message(said) for said in messages]}
    if tools:  # no empty list: some templates announce tools if the name is defined
        example["tools"] = [_tool(tool) for tool in tools]
    return msgspec.json.encode(example) + b"\n"


def _message(said: JsonObject) -> JsonObject:
    """Return a message of a fine-tuning example in the form of chat templates."""
    role = said["role"]
    message = {"role": "tool" if role == "function" else role, "content": _content(said)}
    if calls := [*_calls(said)]:
        message["tool_calls"] = calls
    return message | {key: said[key] for key in ("tool_call_id", "name") if key in said}


# --- content --------------------------------------------------------------------------------------


def _content(said: JsonObject) -> str | list[JsonObject]:
    """Return the text; with an image, the parts."""
    content = said.get("content") or ""
    if isinstance(content, str):
        return content
    if any(part["type"] == "image_url" for part in content):
        return [_part(part) for part in content]
    return "".join(part[part["type"]] for part in content)


def _part(part: JsonObject) -> JsonObject:
    """Return a part as processors read it. A message with images has no refusal."""
    if part["type"] == "image_url":
        return {"type": "image", "url": part["image_url"].url}
    return part


# --- tools and their calls ------------------------------------------------------------------------


def _calls(said: JsonObject) -> Iterator[JsonObject]:
    """Yield the calls of a message; a call of the deprecated form has no id."""
    for call in said.get("tool_calls", ()):
        yield {"id": call.id, "type": "function", "function": _function(call.function)}
    if "function_call" in said:
        yield {"type": "function", "function": _function(said["function_call"])}


def _function(called: Function) -> JsonObject:
    return {"name": called.name, "arguments": _arguments(called.arguments)}


def _arguments(text: str) -> Raw:
    """Return the arguments of a call as the model wrote them; no text means no argument."""
    try:
        _, readable = despite_lone_surrogates(_OBJECT.decode, text.encode() or b"{}")
    except (DecodeError, RecursionError):
        raise SkipError(Reason.ARGUMENTS) from None
    return Raw(on_one_line(readable))


def _tool(tool: Tool) -> Tool:
    """Return a tool without `strict`, which is for OpenAI's decoding and not for the model."""
    return structs.replace(tool, function=structs.replace(tool.function, strict=None))
