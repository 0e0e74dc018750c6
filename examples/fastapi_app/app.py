"""The app: the router's two routes, two of its own, and the page that uses them.

    OPENAI_API_KEY=… uvicorn examples.fastapi_app.app:app

It shows everything that the key can read to everyone who reaches its port, so it accepts this
machine alone. An app for several users adds a dependency to `include_router` that checks who may
read what.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.middleware.trustedhost import TrustedHostMiddleware

from aiomessages import AsyncMessagesClient, StoredCompletion
from aiomessages.fastapi import (
    ClientDependency,
    add_exception_handlers,
    messages_lifespan,
    messages_router,
)

PAGE = Path(__file__).parent / "page"
# Without this check a foreign web page could point its own name to this machine and read along.
HOSTS = ["127.0.0.1", "localhost"]


class Summary(BaseModel):
    """A conversation as the page lists it; `created` is a Unix time in seconds."""

    id: str
    model: str | None
    created: int | None
    reply: str | None


def create_app(client: Callable[[], AsyncMessagesClient] = AsyncMessagesClient) -> FastAPI:
    """Return the app. It calls `client` when it starts."""
    app = FastAPI(title="Stored conversations", lifespan=messages_lifespan(client=client))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
    add_exception_handlers(app)
    app.include_router(messages_router(), prefix="/api")
    app.add_api_route("/api/completions", list_completions)
    app.add_api_route("/api/completions/{completion_id}/reply", get_reply)
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


async def get_reply(client: ClientDependency, completion_id: str) -> dict[str, Any] | None:
    """Return the model's reply, which is not among a completion's messages."""
    completion = await client.completion(completion_id)
    return completion.choices[0].message.to_dict() if completion.choices else None


app = create_app()
