"""Requests over aiohttp: a URL and headers become status, headers and a capped body.

This module decides nothing: it sends one request once, and says what came back or what went wrong
in the terms of our errors. It knows aiohttp's surprises, so that nobody else has to.
"""

import asyncio
import functools
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Final, TypedDict

import aiohttp
from aiohttp.http_exceptions import ContentEncodingError
from yarl import URL

from .errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    ClientClosedError,
    ConfigurationError,
    DecodeError,
    MessagesError,
    ResponseTooLargeError,
    TLSError,
)
from .protocol import Response
from .settings import Timeout

# aiohttp's default of 100 halves the speed of a walk through many completions at once; whoever
# wants fewer bounds the work, not the pool.
MAX_CONNECTIONS: Final = 1000


class _DisconnectedError(Exception):
    """Carries a lost connection past aiohttp, which would silently send the request again."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET on a lost connection: attempts are counted truly."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # never repeated
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _DisconnectedError(error) from None


class Transport:
    """A session, opened on first use, that belongs to one event loop and one process.

    A session that was handed in is used and never closed.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession | None = None,
        *,
        headers: Mapping[str, str],
        trace_configs: Sequence[aiohttp.TraceConfig] | None = None,
    ) -> None:
        if session is not None and trace_configs:
            raise ConfigurationError("give trace_configs to the session that you hand in")
        self._session = session
        self._owns = session is None
        self._headers = headers
        self._trace_configs = list(trace_configs or ())
        self._options: _RequestOptions = {} if session is None else _options_for(session)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    async def get(
        self, url: str, headers: Mapping[str, str], *, timeout: Timeout, max_bytes: int
    ) -> Response:
        """Send one GET request once, and return the whole response.

        Raises the APIConnectionErrors, DecodeError for a body that cannot be decompressed, and
        ResponseTooLargeError for one of more than `max_bytes`, decompressed.
        """
        session = self._open()
        try:
            response = await session.get(
                URL(url, encoded=True),
                headers=headers,
                timeout=_client_timeout(timeout),
                allow_redirects=False,
                **self._options,
            )
            try:
                body = await _read_body(response, max_bytes)
            except BaseException:
                response.close()
                raise
            return Response(response.status, response.headers, body, time.time())
        except (aiohttp.ClientError, OSError, _DisconnectedError) as error:  # also TimeoutError
            problem: MessagesError = _translate(error, timeout)
        except RuntimeError as error:
            if not session.closed:
                raise
            problem = ClientClosedError(f"the session was closed: {error}")
        # Raised out here, so that no context brings along aiohttp's frames, in whose local
        # variables the key may stand.
        raise problem

    def _open(self) -> aiohttp.ClientSession:
        self._stay_in_one_loop()
        if self._session is None:
            # What every request has in common costs least where the session holds it.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                middlewares=[_send_once],
                trace_configs=self._trace_configs,
            )
        return self._session

    def _stay_in_one_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise RuntimeError("this client belongs to another event loop; make one in each loop")
        if self._pid != os.getpid():
            raise RuntimeError("this client was made before a fork; make one in each process")

    async def aclose(self) -> None:
        """Close the session, if it is this client's own."""
        if self._owns and self._session is not None:
            await self._session.close()


class _RequestOptions(TypedDict, total=False):
    """What a request needs only in a session that was handed in."""

    raise_for_status: bool
    auto_decompress: bool
    middlewares: Sequence[aiohttp.ClientMiddlewareType]


def _options_for(session: aiohttp.ClientSession) -> _RequestOptions:
    # Middlewares given for one request replace the session's own, and there is no public way to ask
    # for these; without the attribute, the session just loses its middlewares for our requests.
    own: Sequence[aiohttp.ClientMiddlewareType] = getattr(session, "_middlewares", ())
    return {
        "raise_for_status": False,
        "auto_decompress": True,
        "middlewares": (*own, _send_once),
    }


@functools.lru_cache(maxsize=64)
def _client_timeout(timeout: Timeout) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=timeout.total,
        sock_connect=timeout.connect,
        sock_read=timeout.read,
        ceil_threshold=float("inf"),  # else it rounds up to whole seconds, past a deadline
    )


async def _read_body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read the decompressed body, and no more than fits."""
    content = response.content
    first = await content.readany()
    if content.at_eof() and len(first) <= max_bytes:
        return first
    body = bytearray(first)
    while len(body) <= max_bytes and not content.at_eof():
        body += await content.readany()
    if len(body) > max_bytes:
        raise ResponseTooLargeError(
            f"the body of the answer is larger than {max_bytes} bytes",
            status=response.status,
            headers=response.headers,
        )
    return bytes(body)


# --- aiohttp's errors, to ours --------------------------------------------------------------------


def _translate(error: BaseException, timeout: Timeout) -> APIError:
    """Return our error for one of aiohttp's, with what caused it where that is safe to keep."""
    if isinstance(error, _DisconnectedError):
        return _lost_before_answer(error.cause)
    if isinstance(error, aiohttp.ClientPayloadError):
        return _broken_body(error)
    if isinstance(error, aiohttp.ClientResponseError):
        # Its repr and args carry the request's headers, so neither it nor its text is kept.
        broken = type(error.__cause__ or error).__name__
        return APIConnectionError(f"the server broke the rules of HTTP ({broken})")
    for kinds, problem, message in _TRANSLATIONS:
        if isinstance(error, kinds):
            text = message.format(total=timeout.total, connect=timeout.connect, read=timeout.read)
            return _because(error, text, problem)
    return _because(error, "the request could not be sent or its answer not be read")


# In this order: the first kind that an error is of.
_TRANSLATIONS: Final[list[tuple[tuple[type[Exception], ...], type[APIConnectionError], str]]] = [
    (
        (aiohttp.ConnectionTimeoutError,),
        APITimeoutError,
        "no connection within {connect} s (connect), or {total} s (total)",
    ),
    ((aiohttp.SocketTimeoutError,), APITimeoutError, "nothing arrived for {read} s (read)"),
    ((TimeoutError,), APITimeoutError, "no whole answer within {total} s (total)"),
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
    return APIConnectionError(lost, stale=True)  # the cause holds what came of the headers


def _broken_body(error: aiohttp.ClientPayloadError) -> APIError:
    if isinstance(error.__cause__, ContentEncodingError):
        return DecodeError("the body of the answer cannot be decompressed")
    return APIConnectionError("the connection was lost in the middle of the answer")


def _because(
    cause: BaseException,
    message: str,
    problem: type[APIConnectionError] = APIConnectionError,
    *,
    stale: bool = False,
) -> APIConnectionError:
    """Make an error that keeps its cause, without the frames in which the key may stand."""
    reason = str(cause).strip()
    error = problem(f"{message}: {reason}" if reason else message, stale=stale)
    error.__cause__ = _without_frames(cause)
    return error


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
