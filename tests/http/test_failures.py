"""aiohttp's errors, to ours: what is kept of them.

Which error comes of what stands in test_hostile_network.py.
"""

import errno
import socket

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from aiomessages import Timeout
from aiomessages.http import failures

KEY = "sk-canary-0123456789"


def test_causes_that_hold_the_key() -> None:
    """What is kept of a cause ends before an error of aiohttp that carries the request."""
    secret = aiohttp.ClientResponseError(None, (), message=KEY)  # type: ignore[arg-type]
    cause = OSError("outer")
    cause.__cause__ = secret
    assert failures._without_frames(cause).__cause__ is None  # noqa: SLF001 it takes a proxy else


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('h', 1)"), "h:1: Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "not known"), "h:1: not known"),
        (OSError("Multiple exceptions"), "Cannot connect to host h:1 ssl:default [None]"),
    ],
    ids=["of the system", "of a name", "without a number"],
)
def test_why_there_is_no_connection(error: OSError, told: str) -> None:
    """The address and the system's words for it, where there are any; nothing of TLS."""
    key = ConnectionKey("h", 1, False, True, None, None, None)
    cause = aiohttp.ClientConnectorError(key, error)
    found = failures.translate(cause, Timeout())
    assert str(found).startswith(f"no connection to the host: {told}.")
