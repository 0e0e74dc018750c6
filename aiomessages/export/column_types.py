"""Columns: their names and their types, for each layout.

Every column has the type that stands here; nothing is inferred from data. The last column of a
table holds the whole JSON as text.
"""

from typing import Any, Final, NamedTuple

# A dict is a struct, a list of one is a list of that, and a pair reads from a key of another name.

Json = Any
Kind = Any

TEXT: Final = "VARCHAR"
INTEGER: Final = "BIGINT"
TEXTS: Final = "MAP(VARCHAR, VARCHAR)"

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
_EXAMPLE: Final = {
    "role": TEXT,
    "content": TEXT,
    "content_parts": ("content", [_PART]),  # that format has both under one name
    "name": TEXT,
    "tool_calls": [_CALL],
    "function_call": _FUNCTION,
    "tool_call_id": TEXT,
}


class Table(NamedTuple):
    """A layout's columns: those of the line, those of one object in it, and the whole as text."""

    line: dict[str, Kind]
    whole: str
    inside: str = ""
    inner: dict[str, Kind] = {}  # noqa: RUF012 - a table, and no one writes to it


TABLES: Final = {
    "messages": Table(
        {"completion_id": TEXT, "seq": INTEGER, "choice": INTEGER},
        whole="message_json",
        inside="message",
        inner=_MESSAGE,
    ),
    "conversations": Table(
        {
            "completion_id": TEXT,
            "model": TEXT,
            "created": INTEGER,
            "metadata": TEXTS,
            "messages": [_MESSAGE],
            "reply": _MESSAGE,
        },
        whole="conversation_json",
    ),
    "finetune": Table({"messages": [_EXAMPLE]}, whole="example_json"),
}
