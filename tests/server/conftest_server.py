"""Names that the tests of the server import: a response, and the types of fixtures."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

Record = dict[str, Any]


class Answer(NamedTuple):
    """A response with its whole body."""

    status: int
    headers: Mapping[str, str]  # names are case-insensitive
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def ids(self) -> list[str]:
        """The ids of the page's items."""
        return [item["id"] for item in self.json["data"]]

    @property
    def error(self) -> dict[str, str | None]:
        """The error in the body."""
        error: dict[str, str | None] = self.json["error"]
        return error


Ask = Callable[..., Awaitable[Answer]]
