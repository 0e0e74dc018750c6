"""aiohttp's errors, to ours: what went wrong, in words that are safe to show.

No error here brings along aiohttp's frames or texts in which the key or what the server sent may
stand.
"""

import os
import re
import ssl
from typing import Final, cast

import aiohttp
import msgspec
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from aiomessages.errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ClientClosedError,
    TLSError,
)
from aiomessages.settings import Timeout


class DisconnectedError(Exception):
    """Carries a connection that was lost before an answer past aiohttp, which would send again."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class BodyTimeoutError(Exception):
    """Carries a timeout that ran out in the body of an answer, whose headers had come."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


# OSError holds TimeoutError as well; a protocol error in a body comes as the parser made it.
FAILURES: Final = (
    aiohttp.ClientError,
    HttpProcessingError,
    OSError,
    DisconnectedError,
    BodyTimeoutError,
)


def session_closed() -> ClientClosedError:
    """Return the error for a session that is no more."""
    return ClientClosedError("the session was closed by its owner; give the client an open one")


def translate(error: BaseException, timeout: Timeout) -> APIError:
    """Return our error for one of aiohttp's, with what caused it where that is safe to keep."""
    if isinstance(error, DisconnectedError):
        return _lost_before_answer(error.cause)
    if isinstance(error, BodyTimeoutError):
        slow = cast("APITimeoutError", translate(error.cause, timeout))
        slow.in_body = True
        return slow
    if isinstance(error, aiohttp.ClientPayloadError):
        return APIConnectionError("the connection was lost in the middle of the answer")
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        return _broken_rule(error)
    for kinds, problem, message in _TRANSLATIONS:
        if isinstance(error, kinds):
            return _because(error, message.format(**_bounds(timeout)), problem)
    return _because(error, "the request could not be sent or its answer not be read")


def _bounds(timeout: Timeout) -> dict[str, str]:
    """Return the bounds as text: what a deadline leaves is a fraction with many digits."""
    seconds = msgspec.structs.asdict(timeout)
    return {name: f"{value:.3g} s" if value else "no bound" for name, value in seconds.items()}


# In this order: the first kind that an error is of.
_TRANSLATIONS: Final[list[tuple[tuple[type[Exception], ...], type[APIConnectionError], str]]] = [
    (
        (aiohttp.ConnectionTimeoutError,),
        APITimeoutError,
        "no connection within {connect} (connect) or {total} (total)",
    ),
    ((aiohttp.SocketTimeoutError,), APITimeoutError, "nothing arrived for {read} (read)"),
    ((TimeoutError,), APITimeoutError, "no whole answer within {total} (total)"),
    # aiohttp's two for TLS are subclasses of these
    ((ssl.SSLError, ssl.CertificateError), TLSError, "TLS failed"),
    (
        (aiohttp.ClientConnectorDNSError,),
        APIConnectionError,
        "the name of the host does not resolve",
    ),
    ((aiohttp.ClientConnectorError,), APIConnectionError, "no connection to the host"),
    ((OSError,), APIConnectionError, "the connection was lost"),
]


def _lost_before_answer(cause: Exception) -> APIError:
    lost = "the connection was lost before an answer"
    if isinstance(cause, OSError):
        return _because(cause, lost, stale=True)
    # What came of the headers stands in the cause (of the parser in C), so it is not kept.
    return APIConnectionError(lost, stale=isinstance(getattr(cause, "message", None), str))


def _broken_rule(error: aiohttp.ClientResponseError | HttpProcessingError) -> APIError:
    """Tell what a server does each time from what may have been garbled on its way.

    Nothing of the error is kept: its args carry the request's headers, its text the answer's.
    """
    behind: BaseException = error
    while behind.__cause__ is not None:
        behind = behind.__cause__
    told = getattr(behind, "message", "")
    lasting = isinstance(behind, LineTooLong) or re.match(_LASTING, told, re.IGNORECASE)
    broken = f"the server broke the rules of HTTP ({type(behind).__name__})"
    return APIConnectionError(broken, retryable=not lasting)


# How the texts of aiohttp's two parsers begin; what the server sent comes behind, except that the
# one in Python, where it is strict, repeats the name of a header as it came.
_LASTING: Final = (
    r"(Duplicate '?|Invalid character in |Invalid HTTP header: '|Transfer-Encoding .* with )?"
    r"Content-Length|Too many headers|Got more than"
)


def _because(
    cause: BaseException,
    message: str,
    problem: type[APIConnectionError] = APIConnectionError,
    *,
    stale: bool = False,
) -> APIConnectionError:
    """Make an error that keeps its cause, without the frames in which the key may stand."""
    reason = _reason(cause)
    error = problem(f"{message}: {reason}" if reason else message, stale=stale)
    error.__cause__ = _without_frames(cause)
    return error


def _reason(cause: BaseException) -> str:
    """Return the cause in the system's words: aiohttp's name TLS for a plain address as well."""
    if isinstance(cause, aiohttp.ClientConnectorError) and not isinstance(cause, ssl.SSLError):
        number = cause.os_error.errno or 0
        # That of a name that does not resolve is below 0, with a text of its own.
        told = os.strerror(number) if number > 0 else cause.os_error.strerror
        if told:
            return f"{cause.host}:{cause.port}: {told}"
    return str(cause).strip()


def _without_frames(error: BaseException) -> BaseException:
    """Cut an exception, and those behind it, off the frames that they went through."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        behind = link.__cause__ or link.__context__
        link.__context__ = None
        if isinstance(behind, aiohttp.ClientResponseError):
            behind = None
        link.__cause__ = behind
        link = behind
    return error
