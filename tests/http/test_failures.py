"""The translation of aiohttp's errors, and the parts of them that are kept.

test_hostile_network.py tests which error each fault of a network becomes.
"""

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from aiomessages import APIConnectionError, APITimeoutError, Timeout
from aiomessages.http import failures

KEY = "sk-canary-0123456789"


def test_causes_that_hold_the_key() -> None:
    """The chain of causes ends before an error of aiohttp that holds the request."""
    secret = aiohttp.ClientResponseError(None, (), message=KEY)  # type: ignore[arg-type]
    cause = OSError("outer")
    cause.__cause__ = secret
    assert failures.without_frames(cause).__cause__ is None


@pytest.mark.parametrize(("code", "is_untrusted"), [(10, False), (62, False), (20, True)])
def test_certificates_that_another_authority_helps(code: int, *, is_untrusted: bool) -> None:
    """Variables with authorities to trust have nothing to do with an expired certificate."""
    refused = ssl.SSLCertVerificationError(1, "verify failed")
    refused.verify_code = code
    assert failures.is_untrusted(refused) is is_untrusted
    assert failures.is_untrusted(ssl.CertificateError("no code"))


def test_causes_without_frames() -> None:
    """A cause, or else the context, is kept as the cause; the frames of each are dropped."""
    deepest, middle, outer = OSError("deepest"), OSError("middle"), OSError("outer")
    middle.__context__, outer.__cause__ = deepest, middle
    for error in (deepest, middle, outer):
        with contextlib.suppress(OSError):
            raise error
    outer.__context__ = None
    kept = failures.translate(outer, Timeout()).__cause__
    assert kept is outer
    assert (outer.__cause__, middle.__cause__, deepest.__cause__) == (middle, deepest, None)
    assert [error.__traceback__ for error in (outer, middle, deepest)] == [None] * 3
    assert [error.__context__ for error in (outer, middle, deepest)] == [None] * 3


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('h', 1)"), "h:1: Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "not known"), "h:1: not known"),
        (OSError("Multiple exceptions"), "Cannot connect to host h:1 ssl:default [None]"),
    ],
    ids=["of the system", "of a name", "without a number"],
)
def test_why_there_is_no_connection(error: OSError, expected: str) -> None:
    """The text has the address and the system's reason, if there are any, and nothing of TLS."""
    key = ConnectionKey("h", 1, False, True, None, None, None)
    cause = aiohttp.ClientConnectorError(key, error)
    found = failures.translate(cause, Timeout())
    assert str(found).startswith(f"no connection to the host: {expected}.")


@pytest.mark.parametrize("wrapper", [failures.DisconnectedError, failures.BodyTimeoutError])
def test_wrappers_show_nothing(wrapper: Callable[[Exception], Exception]) -> None:
    """An error that wraps aiohttp's shows no text of it."""
    assert KEY not in repr(wrapper(OSError(KEY)))


@pytest.mark.parametrize("in_body", [False, True])
@pytest.mark.parametrize("error", [TimeoutError(), aiohttp.SocketTimeoutError()], ids=repr)
def test_where_a_timeout_expired(error: Exception, *, in_body: bool) -> None:
    """A timeout says whether it expired in the body, after the headers had arrived."""
    cause = failures.BodyTimeoutError(error) if in_body else error
    found = failures.translate(cause, Timeout())
    assert isinstance(found, APITimeoutError)
    assert found.in_body is in_body


@pytest.mark.parametrize(
    ("error", "stale"),
    [
        (failures.DisconnectedError(OSError("reset")), True),
        (failures.DisconnectedError(aiohttp.ServerDisconnectedError("closed")), True),
        (failures.DisconnectedError(aiohttp.ServerDisconnectedError()), True),
        (OSError("reset"), False),
        (aiohttp.ClientError("odd"), False),
        (aiohttp.ClientPayloadError("cut"), False),
        (TimeoutError(), False),
    ],
    ids=lambda value: repr(getattr(value, "cause", value)),
)
def test_lost_before_a_response(error: Exception, *, stale: bool) -> None:
    """Only a connection that was lost before a response may have been closed while it was idle."""
    found = failures.translate(error, Timeout())
    assert isinstance(found, APIConnectionError)
    assert found.stale is stale


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (BadHttpMessage("Invalid method"), True),
        (BadHttpMessage("Bad status line, Content-Length"), True),
        (BadHttpMessage("Content-Length can't be present with chunked encoding"), False),
        (BadHttpMessage("duplicate 'content-length"), False),
        (BadHttpMessage("Too many headers received"), False),
        (LineTooLong(b"Header", 8190), False),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("nested", [False, True])
def test_invalid_http(error: Exception, *, retryable: bool, nested: bool) -> None:
    """A fault that a server repeats is not retried; nothing that it sent is kept."""
    cause = error
    if nested:
        cause = aiohttp.ClientResponseError(None, (), message=KEY)  # type: ignore[arg-type]
        cause.__cause__ = error
    found = failures.translate(cause, Timeout())
    assert found.retryable is retryable
    assert found.__cause__ is None
    assert str(found).startswith(f"the server broke the rules of HTTP ({type(error).__name__})")
