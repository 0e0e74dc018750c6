"""One client for the app: opened and closed with it, and given to endpoints as a dependency."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection
from starlette.types import Lifespan

from aiomessages.client import AsyncMessagesClient

_STATE: Final = "messages_client"


def messages_lifespan(
    lifespan: Lifespan[Any] | None = None,
    *,
    client: Callable[[], AsyncMessagesClient] = AsyncMessagesClient,
) -> Callable[[FastAPI], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan that holds one client open, around the app's own lifespan if it has one.

    The app calls `client` when it starts, so that it can be imported without a key. The
    app's own lifespan ends first and may use the client until its last line.
    """

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            state: dict[str, Any] = {_STATE: await stack.enter_async_context(client())}
            if lifespan is not None:
                own: Any = lifespan(app)
                state |= await stack.enter_async_context(own) or {}
            yield state

    return opened


async def get_messages_client(connection: HTTPConnection) -> AsyncMessagesClient:
    """Return the app's client. `app.dependency_overrides` replaces it under this function.

    Raises RuntimeError if the app runs without `messages_lifespan`.
    """
    client: AsyncMessagesClient | None = getattr(connection.state, _STATE, None)
    if client is None:
        raise RuntimeError(
            "the app has no client: create it with FastAPI(lifespan=messages_lifespan()); in tests"
            " run it by `with TestClient(app)`; the lifespan of a mounted app is never run"
        )
    return client


ClientDependency = Annotated[AsyncMessagesClient, Depends(get_messages_client)]
"""The app's client as an endpoint's parameter: `async def show(client: ClientDependency): …`."""
