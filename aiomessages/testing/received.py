"""A record of a request, so that a test can check what an app requested."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from aiomessages.values.secrets import hide_values

if TYPE_CHECKING:
    from aiohttp import web


class ReceivedRequest(Struct, frozen=True):
    """A request that the server received.

    The repr hides the values of the headers, because an app may have sent a real key by mistake;
    they compare as ordinary strings.
    """

    method: str
    """Method of the request, such as `GET`."""
    path: str
    """Path without the query."""
    query: dict[str, str]
    """Parameters of the query."""
    headers: dict[str, str]
    """Headers, their names in lower case."""
    completion_id: str | None
    """Id in the path; None for a list of completions."""

    @classmethod
    def of(cls, request: web.Request) -> ReceivedRequest:
        """Return the record of an aiohttp request."""
        return cls(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=hide_values({name.lower(): text for name, text in request.headers.items()}),
            completion_id=request.match_info.get("completion_id"),
        )
