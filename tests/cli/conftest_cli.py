"""Names that the tests of the program import: conversations to serve, and a run's result."""

import re
from typing import Any, NamedTuple

KEY = "key-of-the-tests-0123456789"
NASTY = "red \x1b[31m, turned \u202etxt.exe, 😀"


def _message(completion_id: str, number: int, **fields: Any) -> dict[str, Any]:
    absent = {"content": None, "content_parts": None, "name": None}
    return {"id": f"{completion_id}-{number}", "role": "user"} | absent | fields


def _record(completion_id: str, *messages: dict[str, Any]) -> dict[str, Any]:
    reply = {"role": "assistant", "content": "Bye.", "refusal": None}
    completion = {
        "id": completion_id,
        "object": "chat.completion",
        "created": 1_761_955_200,
        "model": "gpt-4o",
        "metadata": {},
        "choices": [{"index": 0, "message": reply, "finish_reason": "stop", "logprobs": None}],
    }
    return {
        "completion": completion,
        "messages": [_message(completion_id, n, **fields) for n, fields in enumerate(messages)],
    }


CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"a":1}'}}
RECORDS = [
    _record(
        "chatcmpl-short",
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": NASTY},
        {"role": "assistant", "tool_calls": [CALL]},
    ),
    _record("chatcmpl-empty"),
    # Larger than a pipe's buffer, so that its writer notices the end of its reader.
    _record("chatcmpl-long", *({"content": f"{n} " + "word " * 200} for n in range(250))),
]
SHORT: list[dict[str, Any]] = RECORDS[0]["messages"]


class Ran(NamedTuple):
    """The result of one run of the program."""

    code: int
    out: bytes
    err: str


def is_brief(err: str) -> bool:
    """Return whether the text is one error: what happened, and at most one line of what to do."""
    return re.fullmatch(r"aiomessages: [^\n]+\n(  [^\n]+\n)?", err) is not None
