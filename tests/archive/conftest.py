"""Fixtures: records as the local server imports them, a played server, and a path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conftest_played import PlayedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

Record = dict[str, Any]


@pytest.fixture
def record() -> Callable[..., Record]:
    """Return a function that builds a record of `count` messages."""

    def build(name: str = "c1", count: int = 3, **changes: Any) -> Record:
        id = f"chatcmpl-{name}"
        completion = {
            "id": id,
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "gpt-4o",
            "metadata": {},
            "choices": [],
        }
        messages = [
            {"id": f"{id}-{n}", "role": "user", "content": f"message {n}"} for n in range(count)
        ]
        return {"completion": completion | changes, "messages": messages}

    return build


@pytest.fixture
async def server() -> AsyncIterator[PlayedServer]:
    """A server of stored completions on a virtual clock."""
    async with PlayedServer().running() as running:
        yield running


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The path of an archive."""
    return tmp_path / "archive.db"
