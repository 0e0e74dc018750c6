"""The app: the router's two routes, three of its own, and the page that uses them.

    OPENAI_API_KEY=… uvicorn examples.fastapi_app.app:app

Messages look as in `aiomessages view`: `render_message` makes HTML of them, in which nothing runs.

It shows everything that the key can read to everyone who reaches its port, so it accepts this
machine alone. An app for several users adds a dependency to `include_router` that checks who may
read what.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from fastapi import FastAPI, Query, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.middleware.trustedhost import TrustedHostMiddleware

from aiomessages import AsyncMessagesClient, StoredCompletion
from aiomessages.fastapi import (
    ClientDependency,
    ResumeAfter,
    add_exception_handlers,
    messages_lifespan,
    messages_router,
    stream_messages,
)
from aiomessages.view import render_message

PAGE = Path(__file__).parent / "page"
# Without this check a foreign web page could point its own name to this machine and read along.
HOSTS = ["127.0.0.1", "localhost"]


class Summary(BaseModel):
    """A conversation as the page lists it; `created` is a Unix time in seconds."""

    id: str
    model: str | None
    created: int | None
    reply: str | None


class Identified(msgspec.Struct):
    """The one field of a message that the page itself reads."""

    id: str


def create_app(client: Callable[[], AsyncMessagesClient] = AsyncMessagesClient) -> FastAPI:
    """Return the app. It calls `client` when it starts."""
    app = FastAPI(title="Stored conversations", lifespan=messages_lifespan(client=client))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
    add_exception_handlers(app)
    app.include_router(messages_router(), prefix="/api")
    app.add_api_route("/api/completions", list_completions)
    app.add_api_route("/html/completions/{completion_id}/messages", stream_html)
    app.add_api_route("/html/completions/{completion_id}/replies", get_replies)
    app.mount("/view", StaticFiles(packages=[("aiomessages.view", "static")]))
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    return app


async def list_completions(
    client: ClientDependency, limit: Annotated[int, Query(ge=1, le=100)] = 50
) -> list[Summary]:
    """List the newest conversations."""
    return [summary(item) async for item in client.completions(order="desc", max_items=limit)]


def summary(completion: StoredCompletion) -> Summary:
    """Return the entry of a conversation in the page's list."""
    reply = completion.choices[0].message.content if completion.choices else None
    return Summary(
        id=completion.id, model=completion.model, created=completion.created, reply=reply
    )


async def stream_html(
    client: ClientDependency,
    completion_id: str,
    after: ResumeAfter,
    limit: Annotated[int, Query(ge=1)] = 20,
) -> Response:
    """Stream each message as HTML, page by page."""
    stream = client.list(completion_id, after=after, limit=limit)
    return stream_messages(stream, "sse", convert=as_html)


def as_html(message: bytes) -> bytes:
    """Return the JSON of an event: the id of a message, and its HTML."""
    known = msgspec.json.decode(message, type=Identified)
    return json.dumps({"id": known.id, "html": render_message(message)}).encode()


async def get_replies(client: ClientDependency, completion_id: str) -> list[str]:
    """Return the model's replies as HTML. They are not among a completion's messages."""
    completion = await client.completion(completion_id)
    return [
        render_message(choice.message.to_dict(), is_reply=True) for choice in completion.choices
    ]


app = create_app()
