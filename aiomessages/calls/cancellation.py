"""Cancellation: that of the task itself, and that of what it waits for."""

import asyncio
from typing import cast

from aiomessages.errors import APIConnectionError


def unless_ours(cancelled: asyncio.CancelledError) -> APIConnectionError:
    """Return what it is to a walk that something which its fetch waited for was cancelled.

    It would be so the next time, too. Raises the cancellation where this task was meant.
    """
    if cast("asyncio.Task[object]", asyncio.current_task()).cancelling():
        raise cancelled
    return APIConnectionError("what the fetch of a page waited for was cancelled")
