"""The columns of each layout, with their types; nothing is inferred from data."""

from typing import Any, Final, NamedTuple

Json = Any
# A type: a name, a dict for a struct, [type] for a list, or (key, type) for a value of another key.
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
    "content_parts": ("content", [_PART]),  # the format has text and parts under one name
    "name": TEXT,
    "tool_calls": [_CALL],
    "function_call": _FUNCTION,
    "tool_call_id": TEXT,
}


class Table(NamedTuple):
    """A layout's columns: those of the line, and those of the object in it at the key `inside`.

    `whole` is the name of the last column, which has the JSON of that object or line as text.
    """

    line: dict[str, Kind]
    whole: str
    inside: str = ""
    inner: dict[str, Kind] = {}  # noqa: RUF012 - it is never changed


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
