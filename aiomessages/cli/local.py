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
        with _explained(database):
            server = LocalServer(str(database or ":memory:"), port=port, **settings)
            await held.enter_async_context(server)
        yield server


async def imported(server: LocalServer, records: Path) -> int:
    """Import a file of records; return the number of completions. Raises CommandError."""
    with _explained(records):
        return await server.import_records(records)


@contextmanager
def _explained(path: Path | None) -> Iterator[None]:
    named = f"{path}: " if path else ""
    try:
        yield
    except (sqlite3.Error, RecordError) as error:
        raise CommandError(f"{named}{error}") from error
    except OSError as error:
        raise CommandError(f"cannot serve: {error.strerror or error}") from error
