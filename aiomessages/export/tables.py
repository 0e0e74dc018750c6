"""The columns of each layout. Their types are fixed; nothing is inferred from data."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

# A type: a name, a dict for a struct, [type] for a list, or (key, type) for a value of another key.
Kind = Any

TEXT: Final = "VARCHAR"
INTEGER: Final = "BIGINT"
BOOLEAN: Final = "BOOLEAN"
TEXTS: Final = "MAP(VARCHAR, VARCHAR)"
TIME: Final = "TIMESTAMP WITH TIME ZONE"
JSON_TEXT: Final = "JSON as text"  # any value; a struct would have the keys of all rows

_PART: Final = {
    "type": TEXT,
    "text": TEXT,
    "image_url": {"url": TEXT, "detail": TEXT},
    "input_audio": {"data": TEXT, "format": TEXT},
    "file": {"file_id": TEXT, "filename": TEXT, "file_data": TEXT},
    "refusal": TEXT,
}
_FUNCTION: Final = {"name": TEXT, "arguments": TEXT}
_CALL: Final = {
    "id": TEXT,
    "type": TEXT,
    "function": _FUNCTION,
    "custom": {"name": TEXT, "input": TEXT},
}
_CITATION: Final = {"start_index": INTEGER, "end_index": INTEGER, "url": TEXT, "title": TEXT}
_MESSAGE: Final[dict[str, Kind]] = {
    "id": TEXT,
    "role": TEXT,
    "content": TEXT,
    "name": TEXT,
    "content_parts": [_PART],
    "refusal": TEXT,
    "tool_calls": [_CALL],
    "function_call": _FUNCTION,
    "annotations": [{"type": TEXT, "url_citation": _CITATION}],
    "audio": {"id": TEXT, "expires_at": INTEGER, "data": TEXT, "transcript": TEXT},
    "tool_call_id": TEXT,
}
_TOOL: Final = {
    "type": TEXT,
    "function": {
        "name": TEXT,
        "description": TEXT,
        "parameters": JSON_TEXT,  # a JSON Schema
        "strict": BOOLEAN,
    },
    "custom": {"name": TEXT, "description": TEXT, "format": JSON_TEXT},
}
_USAGE: Final = {
    "prompt_tokens": INTEGER,
    "completion_tokens": INTEGER,
    "total_tokens": INTEGER,
    "prompt_tokens_details": {"cached_tokens": INTEGER, "audio_tokens": INTEGER},
    "completion_tokens_details": {
        "reasoning_tokens": INTEGER,
        "audio_tokens": INTEGER,
        "accepted_prediction_tokens": INTEGER,
        "rejected_prediction_tokens": INTEGER,
    },
}
_EXAMPLE: Final = {
    "role": TEXT,
    "content": TEXT,
    "content_parts": ("content", [_PART]),  # the format has text and parts under one name
    "name": TEXT,
    "tool_calls": [_CALL],
    "function_call": _FUNCTION,
    "tool_call_id": TEXT,
}
_CHAT: Final = {
    "role": TEXT,
    "content": TEXT,
    "content_parts": ("content", [{"type": TEXT, "text": TEXT, "url": TEXT}]),
    "name": TEXT,
    "tool_calls": [
        {"id": TEXT, "type": TEXT, "function": {"name": TEXT, "arguments": JSON_TEXT}},
    ],
    "tool_call_id": TEXT,
}


class Table(NamedTuple):
    """A layout's columns: those of the line, and those of the object in it at the key `inside`.

    `completion` are those of the completion in the line, beside the `finish_reason` of the reply.
    `whole` is the name of the last column, which has the JSON of that object or line as text.
    """

    line: dict[str, Kind]
    whole: str
    inside: str = ""
    inner: dict[str, Kind] = {}  # noqa: RUF012 - it is never changed
    completion: dict[str, Kind] = {}  # noqa: RUF012 - the same

    @property
    def columns(self) -> dict[str, Kind]:
        """All columns, in their order."""
        return self.line | self.inner | self.completion | {self.whole: TEXT}


TABLES: Final = {
    "messages": Table(
        {
            "completion_id": TEXT,
            "created": TIME,
            "model": TEXT,
            "metadata": TEXTS,
            "seq": INTEGER,
            "choice": INTEGER,
        },
        whole="message_json",
        inside="message",
        inner=_MESSAGE,
    ),
    "conversations": Table(
        {
            "completion_id": TEXT,
            "model": TEXT,
            "created": TIME,
            "metadata": TEXTS,
            "messages": [_MESSAGE],
            "reply": _MESSAGE,
        },
        whole="conversation_json",
        completion={
            "usage": _USAGE,
            "finish_reason": TEXT,
            "service_tier": TEXT,
            "tools": [_TOOL],
        },
    ),
    "finetune": Table({"messages": [_EXAMPLE]}, whole="example_json"),
    "chat": Table({"messages": [_CHAT], "tools": [_TOOL]}, whole="example_json"),
}
