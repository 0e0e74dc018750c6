"""The local server as part of a command. Its failures become CommandErrors here alone."""

import errno
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiomessages.errors import APIError
from aiomessages.server import LocalServer, RecordError

from .exits import CommandError

if TYPE_CHECKING:
    from aiomessages.archive.errors import ArchiveError


@asynccontextmanager
async def serving(
    database: Path | None = None, *, port: int = 0, **settings: Any
) -> AsyncIterator[LocalServer]:
    """Run a LocalServer on the database, or in memory without one.

    Raises CommandError if the server cannot start, and ArchiveError for a database that cannot be
    used.
    """
    async with AsyncExitStack() as held:
        with explained(database, port=port):
            server = LocalServer(str(database or ":memory:"), port=port, **settings)
            await held.enter_async_context(server)
        yield server


@asynccontextmanager
async def serving_to_itself(database: Path | None) -> AsyncIterator[LocalServer]:
    """Run a LocalServer for this command alone, on the sample without a database.

    Raises the error of the database instead of the answer that came of it, and otherwise as
    `serving` does.
    """
    failures: list[ArchiveError] = []
    sample = database is None
    try:
        async with serving(database, sample=sample, on_failure=failures.append) as server:
            yield server
    except APIError:
        if failures:
            raise failures[0] from None
        raise


@contextmanager
def explained(path: Path | None, *, port: int = 0) -> Iterator[None]:
    """Raise CommandError, with the path if there is one, for an error of the local server."""
    named = f"{path}: " if path else ""
    try:
        yield
    except RecordError as error:
        raise CommandError(f"{named}{error}") from error
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        advice = "choose another --port, or none for a free one" if in_use else ""
        # asyncio adds the address to the text of the system.
        reason = os.strerror(error.errno) if error.errno else error
        where = f" on port {port}" if port else ""
        raise CommandError(f"cannot serve{where}: {reason}", advice) from error
