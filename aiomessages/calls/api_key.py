"""The API key of an attempt: a constant, or the result of a callable for each attempt.

A callable that keeps a key has a method `refused(key)`, like those of `aiomessages.keys`: it is
called with a key that a server answered with 401, so that the callable can give another one.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiomessages.errors import APITimeoutError
from aiomessages.settings import check_key
from aiomessages.values.secrets import SecretStr, hide

ProvideKey = Callable[[], Awaitable[str]]


class Key:
    """A key, and the header that carries it: made once for as long as the key stays the same.

    An empty key has no header: another header carries the credential.
    """

    __slots__ = ("headers", "secret")

    def __init__(self, key: str) -> None:
        self.secret = SecretStr(key)
        self.headers = {"authorization": SecretStr(f"Bearer {key}")} if key else {}


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


async def gives_another(provide: ProvideKey, refused: Key, seconds: float | None) -> bool:
    """Tell a callable of a refused key, and return whether it then gives another one.

    Raises the errors of `provided`.
    """
    tell: Callable[[str], object] | None = getattr(provide, "refused", None)
    if tell is not None:
        tell(refused.secret)
    other = await provided(provide, seconds)
    return other.secret != refused.secret
