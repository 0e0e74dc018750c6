"""How a sample conversation is put together: messages, parts, tool calls, a stored completion.

The shapes are those of the recorded API: every message has the same five keys, every part has
every key, and null stands for what does not apply. All of it is deterministic, pictures and
sounds included.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any, TypedDict

JSON = dict[str, Any]

MINI = "gpt-4o-mini-2024-07-18"
LARGE = "gpt-4o-2024-08-06"


class Draft(TypedDict):
    """A conversation before it has ids and a time: what its author wrote."""

    name: str
    model: str
    metadata: dict[str, str]
    messages: list[JSON]
    reply: JSON


def conversation(
    name: str, *messages: JSON, reply: str | JSON, model: str = MINI, **metadata: str
) -> Draft:
    """Draft a conversation; `reply` is the model's answer, which is not among the messages."""
    answer = assistant(reply) if isinstance(reply, str) else reply
    return Draft(name=name, model=model, metadata=metadata, messages=list(messages), reply=answer)


def message(role: str, content: str | None, **more: Any) -> JSON:
    """Write a message of any role; `more` overrides or adds keys."""
    return {"role": role, "content": content, "content_parts": None, "name": None, **more}


def system(content: str) -> JSON:
    """Write what the application told the model at the start."""
    return message("system", content)


def user(content: str | list[JSON], **more: Any) -> JSON:
    """Write what the person said: a text, or a list of parts."""
    if isinstance(content, str):
        return message("user", content, **more)
    # The API joins the parts with spaces, and counts a picture as an empty text.
    joined = " ".join(part.get("text") or "" for part in content)
    return message("user", joined, content_parts=content, **more)


def assistant(content: str | None, **more: Any) -> JSON:
    """Write what the model said earlier in the conversation."""
    return message("assistant", content, **more)


def calls(*tool_calls: JSON, content: str | None = None) -> JSON:
    """Write a message in which the model calls tools."""
    return assistant(content, tool_calls=list(tool_calls))


def call(id: str, name: str, **arguments: Any) -> JSON:
    """Call a function; its arguments travel as JSON in a string."""
    text = json.dumps(arguments, ensure_ascii=False)
    return {"id": id, "type": "function", "function": {"name": name, "arguments": text}}


def result(id: str, content: Any) -> JSON:
    """Answer the tool call `id`."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    return message("tool", text, tool_call_id=id)


def part(type: str, **content: Any) -> JSON:
    """Write a content part with every key that the API sends."""
    empty = {"text": None, "image_url": None, "input_audio": None, "file": None}
    return {"type": type, **empty, **content}


def text(content: str) -> JSON:
    """Write a text part."""
    return part("text", text=content)


def image(url: str, detail: str | None = None) -> JSON:
    """Write an image part."""
    return part("image_url", image_url={"url": url, "detail": detail})


def audio(wav: bytes) -> JSON:
    """Write a part that holds a recording."""
    sound = {"data": base64.b64encode(wav).decode(), "format": "wav"}
    return part("input_audio", input_audio=sound)


def file(filename: str, content: str) -> JSON:
    """Write a part that holds a small text file."""
    return part(
        "file",
        file={
            "filename": filename,
            "file_data": data_uri("text/plain", content.encode()),
            "file_id": None,
        },
    )


def data_uri(media_type: str, content: bytes) -> str:
    """Put bytes into a URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def png(rows: list[str], palette: dict[str, tuple[int, int, int]]) -> bytes:
    """Paint a picture: a character a pixel, a colour a character.

    The pixels are stored and not compressed, as compressed bytes differ between zlib versions.
    """
    colours = list(palette)
    lines = b"".join(b"\0" + bytes(colours.index(pixel) for pixel in row) for row in rows)
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", b"".join(bytes(colour) for colour in palette.values())),
            _chunk(b"IDAT", zlib.compress(lines, 0)),
            _chunk(b"IEND", b""),
        )
    )


def wav(pitches: list[int], rate: int = 8000) -> bytes:
    """Play square waves of the given pitches (Hz), a twentieth of a second each."""
    samples = b"".join(
        bytes(160 if (n * pitch * 2 // rate) % 2 else 96 for n in range(rate // 20))
        for pitch in pitches
    )
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate, 1, 8)
    body = b"WAVE" + head + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def stored(draft: Draft, number: int) -> JSON:
    """Give a draft its ids and its time, and return it as a record."""
    id = f"chatcmpl-{draft['name']}"
    return {
        "completion": _completion(id, number, draft),
        "messages": [{"id": f"{id}-{n}", **said} for n, said in enumerate(draft["messages"])],
    }


def _completion(id: str, number: int, draft: Draft) -> JSON:
    reply = {"tool_calls": None, "function_call": None, **draft["reply"]}
    for key in ("content_parts", "name"):
        del reply[key]
    stop = "tool_calls" if reply["tool_calls"] else "stop"
    return {
        "object": "chat.completion",
        "id": id,
        "model": draft["model"],
        "created": _NEW_YEAR + number * 3571,
        "request_id": f"req_{number:032x}",
        "tool_choice": None,
        "usage": _usage(draft),
        "seed": number,
        "top_p": 1.0,
        "temperature": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "system_fingerprint": "fp_sample",
        "input_user": None,
        "service_tier": "default",
        "tools": None,
        "metadata": {**draft["metadata"], "source": "sample"},
        "choices": [{"index": 0, "message": reply, "finish_reason": stop, "logprobs": None}],
        "response_format": None,
    }


# 2026-01-01 00:00 UTC; a prime number of seconds lies between two conversations.
_NEW_YEAR = 1_767_225_600


def _usage(draft: Draft) -> JSON:
    """Count tokens as people do in their heads: four characters each."""
    prompt = sum(len(said["content"] or "") for said in draft["messages"]) // 4
    answer = len(draft["reply"]["content"] or "") // 4
    return {
        "total_tokens": prompt + answer,
        "completion_tokens": answer,
        "prompt_tokens": prompt,
    }


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
