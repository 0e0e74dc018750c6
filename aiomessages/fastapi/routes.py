"""The two routes of the router, and the parameters that an app's own routes can share."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from aiomessages.client import Order

from .formats import END_ID, LAYOUTS, Format
from .lifespan import ClientDependency
from .problems import documented_problems
from .streaming import stream_messages


class StoredMessage(BaseModel):
    """One message, with all fields that the API sends, even those of newer versions."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    id: str
    """Id of the message; `after` takes it."""
    role: str = Field(examples=["system", "user", "assistant", "tool"])
    """Author of the message; newer versions of the API may have further roles."""
    content: str | None = None
    """The text; null if the message has none."""
    name: str | None = None
    """Name of the author, if one was given."""
    content_parts: list[dict[str, Any]] | None = None
    """Texts, images, recordings and files, distinguished by `type`."""
    refusal: str | None = None
    """The model's refusal, in its own words."""
    tool_calls: list[dict[str, Any]] | None = None
    """Calls that the model asked for."""
    tool_call_id: str | None = None
    """In the result of a call: the id of the call."""


class StoredMessagePage(BaseModel):
    """One page of messages. If `has_more`, `last_id` is the `after` of the next page."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    object: Literal["list"]
    """Always `list`."""
    data: list[StoredMessage]
    """The messages, in the order that was asked for."""
    first_id: str | None
    """Id of the first message; null on an empty page."""
    last_id: str | None
    """Id of the last message; null on an empty page."""
    has_more: bool
    """True if the list continues after this page."""


_AfterQuery = Annotated[
    str | None, Query(description="A message's id: begin with the message that follows it.")
]
_LimitQuery = Annotated[
    int | None,
    Query(
        ge=1, description="Messages per page. A stream has every message, in pages of this size."
    ),
]
_OrderQuery = Annotated[Order | None, Query(description="Oldest first, or newest first.")]


async def resume_after(
    after: _AfterQuery = None,
    last_event_id: Annotated[
        str | None, Header(description="An EventSource sends it when it reconnects.")
    ] = None,
) -> str | None:
    """Return the id of the message after which a reader continues, None for the first message.

    Raises HTTPException (204) for an EventSource that has seen the end: it never reconnects then.
    """
    if last_event_id == END_ID:
        raise HTTPException(204)
    return last_event_id or after  # an EventSource repeats the `after` of its URL


ResumeAfter = Annotated[str | None, Depends(resume_after)]
"""The start of an endpoint's stream: `client.list(id, after=after)` with `after: ResumeAfter`."""


async def _page(
    client: ClientDependency,
    completion_id: str,
    after: _AfterQuery = None,
    limit: _LimitQuery = None,
    order: _OrderQuery = None,
) -> Response:
    stream = client.list(completion_id, after=after, limit=limit, order=order)
    page = await stream.raw()
    return Response(page.body, media_type="application/json", headers={"cache-control": "no-store"})


async def _stream(
    client: ClientDependency,
    completion_id: str,
    after: ResumeAfter,
    limit: _LimitQuery = None,
    order: _OrderQuery = None,
    format: Annotated[  # noqa: A002 - the parameter's name in the URL
        Format, Query(description="One message per line, one event per message, or one array.")
    ] = "jsonl",
) -> Response:
    stream = client.list(completion_id, after=after, limit=limit, order=order)
    return stream_messages(stream, format)


def messages_router() -> APIRouter:
    """Return a router of two routes, for `app.include_router` with a prefix and dependencies.

    `GET /completions/{completion_id}/messages` returns one page, and `…/messages/stream` every
    message in a format of stream_messages. Both show whatever the key can read: include the router
    with a dependency that decides who may read which completion.
    """
    router = APIRouter(tags=["messages"])
    path = "/completions/{completion_id}/messages"
    router.add_api_route(
        path,
        _page,
        name="list_messages",
        summary="List one page of a completion's messages",
        response_model=StoredMessagePage,
        responses=documented_problems(),
    )
    router.add_api_route(
        f"{path}/stream",
        _stream,
        name="stream_messages",
        summary="Stream every message of a completion",
        response_class=Response,
        responses={200: _documented_stream(), 204: _NOTHING_LEFT, **documented_problems()},
    )
    return router


_NOTHING_LEFT: Final = {"description": "An EventSource reconnected after the end."}


def _documented_stream() -> dict[str, Any]:
    message = StoredMessage.model_json_schema()
    # OpenAPI 3.2's `itemSchema` would make a document of 3.1, which FastAPI writes, invalid.
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": message}
    schemas = {"jsonl": text, "sse": text, "json": {"type": "array", "items": message}}
    return {
        "description": "Every message: one per line of `jsonl`, one per event's data of `sse`. An"
        " SSE stream closes with the event `end` or `error`; the other formats are cut where they"
        " fail.",
        "content": {LAYOUTS[name].media_type: {"schema": of} for name, of in schemas.items()},
    }
