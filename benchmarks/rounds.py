"""A fair comparison: every contender is opened alike, and none is always first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager, AsyncExitStack

T = TypeVar("T")


async def opened(
    contenders: Mapping[str, Callable[[str], AbstractAsyncContextManager[T]]],
    base_url: str,
    stack: AsyncExitStack,
) -> dict[str, T]:
    """Open each contender that can be opened here, and print the others."""
    ready = {}
    for name, contender in contenders.items():
        try:
            ready[name] = await stack.enter_async_context(contender(base_url))
        except RuntimeError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
    return ready


def rotated(items: Iterable[T], by: int) -> list[T]:
    """Return the items, rotated so that each round begins with another one."""
    listed = list(items)
    start = by % len(listed)
    return listed[start:] + listed[:start]
