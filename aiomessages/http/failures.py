"""Translate aiohttp's errors into this package's, with texts that are safe to show.

aiohttp's frames hold the API key, and its texts quote what the server sent. No error that is made
here keeps either.
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


class WrappedError(Exception):
    """Wraps an error of aiohttp. It is not in `args`, since a repr would show it."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class DisconnectedError(WrappedError):
    """Wraps a connection that was lost before a response, so that aiohttp does not send again."""


class BodyTimeoutError(WrappedError):
    """Wraps a timeout that expired in the body of a response, after its headers had arrived."""


# TimeoutError is an OSError. A protocol error in a body arrives as the parser raised it.
FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError, WrappedError)

# Those of a host that may only be reached through a proxy.
NO_CONNECTION: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def session_closed() -> ClientClosedError:
    """Return the error for a session that its owner has closed."""
    return ClientClosedError("the session was closed by its owner; give the client an open one")


def translate(error: BaseException, timeout: Timeout) -> APIError:
    """Return this package's error for one of FAILURES, with its cause if that is safe to keep.

    `timeout` gives the limits that the text of a timeout names.
    """
    if isinstance(error, DisconnectedError):
        return _lost_before_response(error.cause)
    if isinstance(error, BodyTimeoutError):
        slow = cast("APITimeoutError", translate(error.cause, timeout))
        slow.in_body = True
        return slow
    if isinstance(error, aiohttp.ClientPayloadError):
        return APIConnectionError("the connection was lost in the middle of the response")
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        return _invalid_http(error)
    for kinds, problem, message in _TRANSLATIONS:
        if isinstance(error, kinds):
            return _with_cause(error, message.format(**_limits(timeout)), problem)
    return _with_cause(error, "the request could not be sent or its response not be read")


def _limits(timeout: Timeout) -> dict[str, str]:
    """Return the limits as short texts: the rest of a deadline has many digits."""
    seconds = msgspec.structs.asdict(timeout)
    return {name: f"{value:.3g} s" if value else "no limit" for name, value in seconds.items()}


# The first kind that matches counts: subclasses stand above their bases.
_TRANSLATIONS: Final[list[tuple[tuple[type[Exception], ...], type[APIConnectionError], str]]] = [
    (
        (aiohttp.ConnectionTimeoutError,),
        APITimeoutError,
        "no connection within {connect} (connect) or {total} (total)",
    ),
    ((aiohttp.SocketTimeoutError,), APITimeoutError, "nothing arrived for {read} (read)"),
    ((TimeoutError,), APITimeoutError, "no complete response within {total} (total)"),
    (
        (aiohttp.ClientConnectorCertificateError,),
        TLSError,
        "the certificate is not accepted",
    ),
    # aiohttp's other error for TLS is a subclass of these
    ((ssl.SSLError, ssl.CertificateError), TLSError, "TLS failed"),
    (
        (aiohttp.ClientConnectorDNSError,),
        APIConnectionError,
        "the name of the host does not resolve",
    ),
    ((aiohttp.ClientConnectorError,), APIConnectionError, "no connection to the host"),
    ((OSError,), APIConnectionError, "the connection was lost"),
]


def _lost_before_response(cause: Exception) -> APIError:
    lost = "the connection was lost before a response"
    if isinstance(cause, OSError) and _ALERT.search(str(cause)):  # in TLS 1.3 it comes that late
        return _with_cause(cause, "TLS failed", TLSError)
    if isinstance(cause, OSError):
        return _with_cause(cause, lost, stale=True)
    # The parser in C puts the headers that had arrived into the cause, so the cause is dropped.
    return APIConnectionError(lost, stale=isinstance(getattr(cause, "message", None), str))


def _invalid_http(error: aiohttp.ClientResponseError | HttpProcessingError) -> APIError:
    """Return a retryable error for a response that may have been garbled in transit.

    A fault that the server repeats every time is not retryable. Nothing of aiohttp's error is kept:
    its args hold the headers of the request, its text those of the response.
    """
    cause = _first_cause(error)
    text = getattr(cause, "message", "")
    permanent = is_too_large(error) or re.match(_PERMANENT, text, re.IGNORECASE)
    problem = f"the server broke the rules of HTTP ({type(cause).__name__})"
    return APIConnectionError(problem, retryable=not permanent)


def is_too_large(error: BaseException) -> bool:
    """Return whether the headers of a response are longer, or more, than aiohttp reads."""
    cause = _first_cause(error)
    text = getattr(cause, "message", "")
    return isinstance(cause, LineTooLong) or text.startswith("Too many headers")


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


# The openings of texts of aiohttp's two parsers. Bytes of the server follow after them; but the
# parser in Python, where it is strict, also quotes the name of a header as it arrived.
_PERMANENT: Final = (
    r"(Duplicate '?|Invalid character in |Invalid HTTP header: '|Transfer-Encoding .* with )?"
    r"Content-Length|Too many headers|Got more than"
)


def _with_cause(
    cause: BaseException,
    message: str,
    problem: type[APIConnectionError] = APIConnectionError,
    *,
    stale: bool = False,
) -> APIConnectionError:
    """Return an error with its cause, but without the frames of the cause: they hold the key."""
    reason = reason_of(cause)
    error = problem(f"{message}: {reason}" if reason else message, stale=stale)
    error.__cause__ = without_frames(cause)
    if isinstance(error, TLSError) and _ALERT.search(reason):
        error.hint = _OTHER_CERTIFICATE
    error.hint = _OF_CERTIFICATES.get(_verify_code(cause), error.hint)
    return error


# An alert of a server about the certificate of the client. For a missing one, older versions of TLS
# have only the alert of a failed handshake.
_ALERT: Final = re.compile(r"ALERT_(\w*CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)")
_OTHER_CERTIFICATE: Final = (
    "The server probably wants another certificate of this client: pass client_cert=."
)
_CLOCK: Final = (
    "Check the clock of this machine; if it is right, the server needs a new certificate."
)
_HOST: Final = "Check the host of base_url, and whether its name leads to the right server."
# The advice for codes of OpenSSL's verification (X509_V_ERR_…) that no trusted authority helps.
_OF_CERTIFICATES: Final = {9: _CLOCK, 10: _CLOCK, 62: _HOST, 64: _HOST}


def _verify_code(cause: BaseException) -> int:
    refused = getattr(cause, "certificate_error", cause)
    return getattr(refused, "verify_code", 0)


def reason_of(cause: BaseException) -> str:
    """Return the cause in the system's words: aiohttp's text says "ssl" even for plain HTTP."""
    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        refused = cause.certificate_error
        return f"{cause.host}:{cause.port}: {getattr(refused, 'verify_message', refused)}"
    if isinstance(cause, aiohttp.ClientConnectorError):
        text = "it ended in the TLS handshake" if ends_in_handshake(cause) else system_text(cause)
        if text:
            return f"{cause.host}:{cause.port}: {text}"
    return str(cause).strip()


def ends_in_handshake(error: aiohttp.ClientConnectorError) -> bool:
    """Return whether a connection was lost in the TLS handshake: asyncio's error has no text."""
    return isinstance(error.os_error, ConnectionResetError) and not str(error.os_error)


def system_text(error: aiohttp.ClientConnectorError) -> str:
    """Return the system's text for an error; "" if it has none, as those of TLS."""
    if isinstance(error, ssl.SSLError):
        return ""
    number = error.os_error.errno or 0
    # A failed look-up of a name has a number below 0, and a text of its own.
    return (os.strerror(number) if number > 0 else error.os_error.strerror) or ""


def without_frames(error: BaseException) -> BaseException:
    """Drop the tracebacks of an exception and of all its causes, and a cause that is a response."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        cause = link.__cause__ or link.__context__
        link.__context__ = None
        if isinstance(cause, aiohttp.ClientResponseError):
            cause = None
        link.__cause__ = cause
        link = cause
    return error
