"""What the tests of archives share by import: archives of a few conversations."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from aiomessages.archive.database import open_to_write
from aiomessages.archive.insert import insert_conversation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = 1_700_000_000


def completion(name: str, *, replies: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    """Return the JSON of a completion."""
    choices = [
        {"index": n, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for n, text in enumerate(replies)
    ]
    known = {"id": f"chatcmpl-{name}", "object": "chat.completion", "created": NOW}
    return known | {"model": "gpt-4o", "choices": choices} | fields


@contextmanager
def stored(path: Path) -> Iterator[Callable[..., str]]:
    """Yield a function that stores a conversation and returns its id; commit them all at the end.

    A message that is a text is that of a user.
    """
    with closing(open_to_write(path)) as db:

        def insert(
            name: str, *texts: str | dict[str, Any], state: str = "complete", **fields: Any
        ) -> str:
            sent = completion(name, **fields)
            messages = [
                {"id": f"{sent['id']}-{n}", "role": "user"}
                | (text if isinstance(text, dict) else {"content": text})
                for n, text in enumerate(texts)
            ]
            bodies = [json.dumps(message).encode() for message in messages]
            insert_conversation(db, json.dumps(sent).encode(), bodies, seen=NOW, state=state)
            return str(sent["id"])

        db.execute("BEGIN IMMEDIATE")
        yield insert
        db.execute("COMMIT")


def store(path: Path, name: str, *texts: str | dict[str, Any], **how: Any) -> str:
    """Store one conversation, and return its id."""
    with stored(path) as insert:
        return insert(name, *texts, **how)


def write(path: Path, *statements: str) -> None:
    """Run statements of SQL on an archive."""
    with closing(open_to_write(path)) as db:
        for statement in statements:
            db.execute(statement)
