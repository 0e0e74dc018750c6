"""Requests over aiohttp: a URL and headers become status, headers and a capped body.

This module decides nothing: it sends one request once, and says what came back or what went wrong
in the terms of our errors. It knows aiohttp's surprises, so that nobody else has to.
"""

import asyncio
import contextlib
import functools
import os
import re
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypedDict

import aiohttp
import msgspec
from aiohttp import hdrs
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.tracing import Trace
from yarl import URL

from .compression import ENCODINGS, Decompressor
from .errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
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


class _TooLargeError(Exception):
    """A body is larger than it may be."""


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


class _Connector(aiohttp.TCPConnector):
    """A pool that passes over connections on which something came that nobody had asked for.

    aiohttp would take it for the answer to the next request.
    """

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        while connection.protocol is not None and len(connection.protocol):
            connection.close()
            connection = await super().connect(req, traces, timeout)
        return connection


class Transport:
    """A session, opened on first use, that belongs to one event loop and one process.

    A session that was handed in is used and never closed. Its own cookies are sent, and it keeps
    what cookies the server sets; its pool may hold connections on which an unsolicited answer
    waits, which then only its message ids can tell. The client's own session does neither.
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
        """Send one GET request once, and return the response.

        Its body is whole, or `flaw` says what is wrong with it: it cannot be decompressed, or is
        one of more than `max_bytes`, decompressed. Raises the APIConnectionErrors, and
        ClientClosedError when the session's owner closes it.
        """
        session = self._open()
        try:
            return await self._exchange(session, url, headers, timeout, max_bytes)
        except _FAILURES as error:
            problem: MessagesError = _translate(error, timeout)
            if session.closed:
                problem = _session_closed()
        except RuntimeError:
            if not session.closed:
                raise
            problem = _session_closed()
        # Raised out here, so that no context brings along aiohttp's frames, in whose local
        # variables the key may stand.
        raise problem

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Mapping[str, str],
        timeout: Timeout,
        max_bytes: int,
    ) -> Response:
        response = await session.get(
            URL(url, encoded=True),
            headers=headers,
            timeout=_client_timeout(timeout),
            allow_redirects=False,
            **self._options,
        )
        try:
            _check_length(response)
            body, flaw = await _read_body(response, max_bytes)
        except BaseException:
            response.close()
            raise
        received_at = time.time()
        hang_up = _hang_up_for(response)
        return Response(response.status, response.headers, body, received_at, flaw, hang_up)

    def _open(self) -> aiohttp.ClientSession:
        self._stay_in_one_loop()
        if self._session is None:
            # What every request has in common costs least where the session holds it.
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
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

    def stay_in_one_process(self) -> None:
        """Raise RuntimeError after a fork: two processes must not share a connection."""
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
        "auto_decompress": False,
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


# --- a response, as it comes in -------------------------------------------------------------------


def _check_length(response: aiohttp.ClientResponse) -> None:
    """Refuse two lengths of one body: aiohttp's parser in pure Python takes the first of them."""
    if len(response.headers.getall(hdrs.CONTENT_LENGTH, ())) > 1:
        raise HttpProcessingError(message="Duplicate Content-Length")


async def _read_body(
    response: aiohttp.ClientResponse, max_bytes: int
) -> tuple[bytes, APIResponseError | None]:
    """Read the body, decompressed, or say what is wrong with it."""
    flaw: APIResponseError
    try:
        connection = response.connection
        if connection is None or connection.protocol is None:  # the body is here, as most are
            return await _read_whole(response, max_bytes), None
        with _told_of_its_end(response.content, connection.protocol.closed):
            return await _read_whole(response, max_bytes), None
    except zlib.error:
        flaw = DecodeError("the body of the answer is badly compressed, or cut short")
    except _TooLargeError:
        flaw = ResponseTooLargeError(f"the body of the answer is larger than {max_bytes} bytes")
    response.close()
    return b"", flaw


async def _read_whole(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Read the body and no more of it than fits. Raises zlib.error and _TooLargeError."""
    content, undo = response.content, _decompressor_for(response)
    data = await content.readany()
    if content.at_eof() and undo is None and len(data) <= max_bytes:
        return data
    body = bytearray()
    while True:
        body += data if undo is None else undo.feed(data, max_bytes + 1 - len(body))
        if len(body) > max_bytes:
            raise _TooLargeError
        if content.at_eof():
            break
        data = await content.readany()
    if undo is not None and not undo.whole:
        raise zlib.error("cut short")
    return bytes(body)


def _decompressor_for(response: aiohttp.ClientResponse) -> Decompressor | None:
    encoding = response.headers.get(hdrs.CONTENT_ENCODING, "").lower()
    return Decompressor(encoding) if encoding in ENCODINGS else None


@contextlib.contextmanager
def _told_of_its_end(
    content: aiohttp.StreamReader, closed: "asyncio.Future[None] | None"
) -> Iterator[None]:
    """Fail a read whose connection is gone; `closed` is None where it already is.

    aiohttp leaves the reader waiting where a chunk is broken (its parser in C), and where somebody
    closes the session.
    """

    def tell(_: object = None) -> None:
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))

    if closed is None:
        tell()
        yield
        return
    closed.remove_done_callback(_take_note)  # once for a connection, however often it is read from
    closed.add_done_callback(_take_note)
    closed.add_done_callback(tell)
    try:
        yield
    finally:
        closed.remove_done_callback(tell)


def _take_note(closed: "asyncio.Future[None]") -> None:
    """Look at how a connection ended, or asyncio complains that nobody did."""
    closed.exception()


def _hang_up_for(response: aiohttp.ClientResponse) -> Callable[[], object] | None:
    """Return what ends the connection, even though it may be back in the pool.

    From there no public name leads to it; without the private one it would just stay in use.
    """
    transport = getattr(getattr(response, "_protocol", None), "transport", None)
    return getattr(transport, "abort", None)


# --- aiohttp's errors, to ours --------------------------------------------------------------------

# OSError holds TimeoutError as well; a protocol error in a body comes as the parser made it.
_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError, _DisconnectedError)


def _session_closed() -> ClientClosedError:
    return ClientClosedError("the session was closed by its owner; give the client an open one")


def _translate(error: BaseException, timeout: Timeout) -> APIError:
    """Return our error for one of aiohttp's, with what caused it where that is safe to keep."""
    if isinstance(error, _DisconnectedError):
        return _lost_before_answer(error.cause)
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
    lasting = isinstance(behind, LineTooLong) or _LASTING.match(getattr(behind, "message", ""))
    broken = f"the server broke the rules of HTTP ({type(behind).__name__})"
    return APIConnectionError(broken, retryable=not lasting)


# How the texts of aiohttp's two parsers begin; what the server sent comes behind.
_LASTING: Final = re.compile(
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
