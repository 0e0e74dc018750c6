"""The local server as part of a command. Its failures become CommandErrors here alone."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from aiomessages.server import LocalServer, RecordError

from .exits import CommandError


@asynccontextmanager
async def serving(
    database: Path | None = None, *, port: int = 0, **settings: Any
) -> AsyncIterator[LocalServer]:
    """Run a LocalServer on the database, or in memory without one.

    Raises CommandError if the server cannot start.
    """
    async with AsyncExitStack() as held:
        with explained(database):
            server = LocalServer(str(database or ":memory:"), port=port, **settings)
            await held.enter_async_context(server)
        yield server


@contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """Raise CommandError, with the path if there is one, for an error of the local server."""
    named = f"{path}: " if path else ""
    try:
        yield
    except (sqlite3.Error, RecordError) as error:
        raise CommandError(f"{named}{error}") from error
    except OSError as error:
        raise CommandError(f"cannot serve: {error.strerror or error}") from error
