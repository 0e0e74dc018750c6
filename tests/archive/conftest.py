"""Fixtures: records, as the local server imports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

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
