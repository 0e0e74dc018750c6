"""Cancellation: that of a task itself, and that of something that it waits for."""

import asyncio
from typing import cast

from aiomessages.errors import APIConnectionError


def translate_cancellation(cancelled: asyncio.CancelledError) -> APIConnectionError:
    """Return the error for a CancelledError that did not target this task.

    Something that the task waited for was cancelled, and a retry would meet the same. Raises the
    CancelledError if this task was the target.
    """
    if cast("asyncio.Task[object]", asyncio.current_task()).cancelling():
        raise cancelled
    return APIConnectionError("the fetch of a page waited for something that was cancelled")
