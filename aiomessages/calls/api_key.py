"""The API key of an attempt: a constant, or the result of a callable for each attempt."""

import asyncio
from collections.abc import Awaitable, Callable

from aiomessages.errors import APITimeoutError
from aiomessages.settings import check_key
from aiomessages.values.secrets import SecretStr, hide

ProvideKey = Callable[[], Awaitable[str]]


class Key:
    """A key, and the header that carries it: made once for as long as the key stays the same."""

    __slots__ = ("header", "secret")

    def __init__(self, key: str) -> None:
        self.secret = SecretStr(key)
        self.header = SecretStr(f"Bearer {key}")


async def provided(provide: ProvideKey, seconds: float | None) -> Key:
    """Ask a callable for the key of one attempt.

    Raises APITimeoutError if it takes longer than `seconds`, and UnusableKeyError for a key that
    cannot be sent.
    """
    try:
        async with asyncio.timeout(seconds):
            return Key(check_key(hide(await provide())))
    except TimeoutError:
        raise APITimeoutError(f"the api_key callable gave no key within {seconds:.3g} s") from None
