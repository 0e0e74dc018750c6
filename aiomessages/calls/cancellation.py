"""Distinguish the cancellation of a task from that of something that it waits for."""

import asyncio
from typing import cast

from aiomessages.errors import APIConnectionError


def as_connection_error(cancelled: asyncio.CancelledError) -> APIConnectionError:
    """Return the error of a fetch whose name resolution or key was cancelled, but not its task.

    It is not worth a retry: the next fetch would wait for the same. Raises the cancellation where
    it targets this task.
    """
    if cast("asyncio.Task[object]", asyncio.current_task()).cancelling():
        raise cancelled
    return APIConnectionError("what the fetch of a page waited for was cancelled")
