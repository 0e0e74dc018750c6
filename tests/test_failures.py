"""aiohttp's errors, to ours: what is kept of them.

Which error comes of what stands in test_hostile_network.py.
"""

import aiohttp

from aiomessages import failures

KEY = "sk-canary-0123456789"


def test_causes_that_hold_the_key() -> None:
    """What is kept of a cause ends before an error of aiohttp that carries the request."""
    secret = aiohttp.ClientResponseError(None, (), message=KEY)  # type: ignore[arg-type]
    cause = OSError("outer")
    cause.__cause__ = secret
    assert failures._without_frames(cause).__cause__ is None  # noqa: SLF001 it takes a proxy else
