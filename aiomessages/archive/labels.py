"""What a conversation can be chosen by that only its messages say: their roles, and the tools."""

import re
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from .rows import repaired
from .scan import members, value_of

# No server escapes a letter that a name of a field is made of, unless it means to; but it may.
_ESCAPED: Final = re.compile(rb"\\u00(?:5[fF]|6[0-9a-fA-F]|7[0-9a-fA-F])")
_INSERT: Final = "INSERT INTO labels VALUES (?, ?, ?, ?)"


class Labels:
    """Count the messages of each role, and the calls of each tool, in one conversation."""

    def __init__(self) -> None:
        # Plain dictionaries: a Counter takes longer than the rest.
        self._roles: dict[str, int] = {}
        self._tools: dict[str, int] = {}

    def add(self, role: str | None, body: bytes) -> None:
        """Count a message or reply."""
        if role is not None:
            self._roles[role] = self._roles.get(role, 0) + 1
        if b"_call" in body or (b"\\u00" in body and _ESCAPED.search(body)):
            for name in called_tools(body):
                self._tools[name] = self._tools.get(name, 0) + 1

    def insert(self, db: sqlite3.Connection, completion: int) -> None:
        """Write the counts of a completion."""
        rows = [(completion, "role", *count) for count in self._roles.items()]
        rows += [(completion, "tool", *count) for count in self._tools.items()]
        db.executemany(_INSERT, rows)


def called_tools(body: bytes) -> Iterator[str]:
    """Yield the name of the tool in each call of a message, as far as it has one."""
    sent = _fields(body)
    calls = sent.get("tool_calls")
    for call in [
        *(calls if isinstance(calls, list) else ()),
        {"function": sent.get("function_call")},
    ]:
        tool = call.get("function") or call.get("custom") if isinstance(call, dict) else None
        name = tool.get("name") if isinstance(tool, dict) else None
        if isinstance(name, str):
            yield repaired(name)


def tool_call_id_of(body: bytes) -> str | None:
    """Return the id of the call that a message answers."""
    found = _fields(body).get("tool_call_id")
    return found if isinstance(found, str) else None


class _Calls(msgspec.Struct):
    tool_calls: Any = None
    function_call: Any = None
    tool_call_id: Any = None


_CALLS: Final = msgspec.json.Decoder(_Calls)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.structs.asdict(_CALLS.decode(body))
    except (ValueError, RecursionError):  # half an emoji, say
        sent = members(body)
        return {name: value_of(sent[name]) for name in _Calls.__struct_fields__ if name in sent}
