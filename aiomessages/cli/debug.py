"""What --debug tells: each request with its status and time, and each wait before another one.

It shows method, URL, status and milliseconds, never a header: there the key stands.
"""

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import aiohttp

from aiomessages.cli.stderr import say

if TYPE_CHECKING:
    from aiomessages import RetryDetails


def trace() -> aiohttp.TraceConfig:
    """Return a trace that says what each request came to."""
    config = aiohttp.TraceConfig()
    config.on_request_start.append(_started)
    config.on_request_end.append(_ended)
    config.on_request_exception.append(_failed)
    return config


def on_retry(details: "RetryDetails") -> None:
    """Say why an attempt failed, and when the next one follows."""
    error = details.error
    say(f"attempt {details.attempt}: {type(error).__name__}; again in {details.delay:.1f} s")


async def _started(_: object, context: SimpleNamespace, __: object) -> None:
    context.began = time.perf_counter()


async def _ended(
    _: object, context: SimpleNamespace, request: aiohttp.TraceRequestEndParams
) -> None:
    _say(context, request.method, request.url, f"status {request.response.status}")


async def _failed(
    _: object, context: SimpleNamespace, request: aiohttp.TraceRequestExceptionParams
) -> None:
    _say(context, request.method, request.url, type(request.exception).__name__)


def _say(context: SimpleNamespace, method: str, url: object, outcome: str) -> None:
    milliseconds = (time.perf_counter() - context.began) * 1000
    say(f"{method} {url} → {outcome} in {milliseconds:.0f} ms")
