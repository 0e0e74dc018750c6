"""Requests over aiohttp: a URL and headers become status, headers and a capped body.

This module decides nothing: it sends one request once, and says what came back or what went wrong
in the terms of our errors. It knows aiohttp's surprises, so that nobody else has to.
"""

import asyncio
import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypedDict

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from aiomessages.errors import ConfigurationError, MessagesError
from aiomessages.settings import Timeout, check_framing
from aiomessages.wire.responses import Response

from .body import check_length, read_body
from .failures import FAILURES, DisconnectedError, session_closed, translate
from .idle_connections import close_unclean, forget_parser_once_idle
from .pool import Pool, fresh_connections
from .shortcut.sender import FastPath


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET on a lost connection: attempts are counted truly."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # never repeated
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise DisconnectedError(error) from None


async def _send_on_clean_connection(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Do the same in a pool that would take what nobody asked for as the answer."""
    await close_unclean(request.session.connector, request.connection_key)
    return await _send_once(request, handler)


class Transport:
    """A session, opened on first use, that belongs to one event loop and one process.

    A session that was handed in is used and never closed. Its own cookies are sent, and it keeps
    what cookies the server sets. The client's own session does neither.
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
        if session is not None:
            _check_session(session)
        self._session = session
        self._owns = session is None
        self._headers = headers
        self._trace_configs = list(trace_configs or ())
        self._options: _RequestOptions = {} if session is None else _options_for(session)
        self._fast_path: FastPath | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    async def get(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        timeout: Timeout,
        max_bytes: int,
        fresh: bool = False,
    ) -> Response:
        """Send one GET request once, and return the response.

        A `fresh` one goes on a connection that carried none before, in the client's own session.
        Its body is whole, or `flaw` says what is wrong with it: it cannot be decompressed, or is
        one of more than `max_bytes`, decompressed. Raises the APIConnectionErrors, and
        ClientClosedError when the session's owner closes it.
        """
        session = self._open()
        try:
            if fresh:
                with fresh_connections():
                    return await self._exchange(session, url, headers, timeout, max_bytes)
            if self._fast_path is not None:
                response = await self._fast_path.get(
                    url, headers, timeout=timeout, max_bytes=max_bytes
                )
                if response is not None:
                    return response
            return await self._exchange(session, url, headers, timeout, max_bytes)
        except FAILURES as error:
            problem: MessagesError = translate(error, timeout)
            if session.closed:
                problem = session_closed()
        except RuntimeError:
            if not session.closed:
                raise
            problem = session_closed()
        except ValueError as error:
            if not str(error).startswith(TWO_CREDENTIALS):
                raise
            problem = _two_credentials("a .netrc, by trust_env=True")
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
            if self._fast_path is not None:
                await self._fast_path.learn(url, headers, response.request_info)
            check_length(response.headers)
            connection = response.connection  # None where all of the body is here, as mostly
            protocol = None if connection is None else connection.protocol
            body, flaw = await read_body(response.content, response.headers, max_bytes, protocol)
        except BaseException:
            response.close()
            raise
        if flaw is not None:
            response.close()
        received_at = time.time()
        handler = getattr(response, "_protocol", None)
        if not self._owns:
            forget_parser_once_idle(session.connector, handler)
        hang_up = _hang_up_for(handler)
        headers = CIMultiDict(response.headers)  # which can be copied and pickled, as its view not
        return Response(response.status, headers, body, received_at, flaw, hang_up)

    def _open(self) -> aiohttp.ClientSession:
        self._stay_in_one_loop()
        if self._session is None:
            pool = Pool()
            # What every request has in common costs least where the session holds it.
            self._session = aiohttp.ClientSession(
                connector=pool,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers=self._headers,
                middlewares=[_send_once],
                trace_configs=self._trace_configs,
            )
            # Whoever traces wants to see every request: also who adds that to all sessions, as
            # OpenTelemetry's instrumentation does.
            if not self._session.trace_configs:
                self._fast_path = FastPath(pool)
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


# How aiohttp says that a request would go out with other credentials than the API key.
TWO_CREDENTIALS: Final = "Cannot combine"


def _check_session(session: aiohttp.ClientSession) -> None:
    """Refuse a session that sends with each request what must not go along with ours."""
    if getattr(session, "auth", None) is not None:  # aiohttp 4 has it no more
        raise _two_credentials("auth=")
    check_framing(session.headers)


def _two_credentials(source: str) -> ConfigurationError:
    return ConfigurationError(
        f"the session that you handed in has credentials of its own (from {source}), which cannot"
        " go along with the API key: hand in one without them"
    )


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
        "middlewares": (*own, _send_on_clean_connection),
    }


@functools.lru_cache(maxsize=64)
def _client_timeout(timeout: Timeout) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=timeout.total,
        sock_connect=timeout.connect,
        sock_read=timeout.read,
        ceil_threshold=float("inf"),  # else it rounds up to whole seconds, past a deadline
    )


def _hang_up_for(handler: object) -> Callable[[], object] | None:
    """Return what ends the connection, even though it may be back in the pool.

    From there no public name leads to it; without the private one it would just stay in use.
    """
    return getattr(getattr(handler, "transport", None), "abort", None)
