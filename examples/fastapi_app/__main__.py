"""Serve the app over the sample conversations: `python -m examples.fastapi_app [PORT]`.

No key and no network: the embedded server plays the API with a delay, so that a conversation
arrives visibly. Faults may follow the port, as in `8000 server-error:9@4`.
"""

import asyncio
import sys
from functools import partial

import uvicorn

from aiomessages import AsyncMessagesClient
from aiomessages.server import LocalServer

from .app import create_app


async def main(port: str = "8000", *faults: str) -> None:
    """Serve on this machine until Ctrl-C."""
    async with LocalServer(sample=True, latency=0.4, faults=faults) as server:
        client = partial(AsyncMessagesClient, server.api_key, base_url=server.base_url)
        config = uvicorn.Config(
            create_app(client),
            port=int(port),
            timeout_graceful_shutdown=3,  # seconds; without it a slow reader can block the shutdown
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
