"""Send a request over aiohttp: a URL and headers become status, headers and a bounded body.

No decision is taken here: a request is sent once, and the result is a response or one of this
package's errors. Surprises of aiohttp are handled here, and in no layer above.
"""

import asyncio
import contextlib
import functools
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from aiomessages.errors import APIError, ConfigurationError, MessagesError, TLSError
from aiomessages.network.proxy import Proxies
from aiomessages.network.tls import ClientCertificate, why_refused
from aiomessages.observe.logs import log_kept_certificate
from aiomessages.settings import Timeout, check_framing
from aiomessages.wire.responses import Response

from .body import check_length, read_body
from .failures import (
    FAILURES,
    NO_CONNECTION,
    DisconnectedError,
    session_closed,
    translate,
)
from .idle_connections import close_unclean, drop_parser_if_idle
from .pool import Pool, fresh_connections
from .proxied import (
    ProxyFailedError,
    check_logged_in,
    credentials_for,
    through,
    translate_proxy_failure,
)
from .shortcut.sender import ShortcutSender


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a GET on a lost connection: each attempt must be counted.

    aiohttp repeats on two of its errors; a DisconnectedError is none of them.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # aiohttp does not repeat on this one
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise DisconnectedError(error) from None


async def _send_on_clean_connection(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send once, in a pool that does not check idle connections by itself."""
    await close_unclean(request.session.connector, request.connection_key)
    return await _send_once(request, handler)


class Transport:
    """A session, opened on first use, that belongs to one event loop and one process.

    A session of the user's is used and never closed. It sends its own cookies, and stores those
    that the server sets; the client's own session does neither.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession | None = None,
        *,
        headers: Mapping[str, str],
        trace_configs: Sequence[aiohttp.TraceConfig] | None = None,
        proxies: Proxies | None = None,
        tls: ssl.SSLContext | None = None,
        certificate: ClientCertificate | None = None,
    ) -> None:
        if session is not None:
            if trace_configs:
                raise ConfigurationError("give trace_configs to the session that you hand in")
            if getattr(session, "auth", None) is not None:  # aiohttp 4 has none
                raise _two_credentials("auth=")
            check_framing(session.headers)
        self._session = session
        self._owns = session is None
        self._headers = headers
        self._trace_configs = list(trace_configs or ())
        self._options: dict[str, Any] = {} if session is None else _options_for(session)
        self._proxies = proxies or Proxies()
        self._tls = tls
        self._certificate = certificate
        self._warned = ""
        self._shortcut: ShortcutSender | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()

    async def get(
        self,
        origin: str,
        target: str,
        headers: Mapping[str, str],
        *,
        timeout: Timeout,
        max_bytes: int,
        fresh: bool = False,
    ) -> Response:
        """Send one GET request once, and return the response.

        With `fresh`, the client's own session opens a new connection for it. The body is complete
        and decompressed, or empty with the error in `flaw`: it cannot be decompressed, or has more
        than `max_bytes`. Raises APIConnectionError and its subclasses, and ClientClosedError when
        the owner of the session closes it.
        """
        session = self._open()
        try:
            if self._shortcut is not None and not fresh:
                response = await self._shortcut.get(
                    origin, target, headers, timeout=timeout, max_bytes=max_bytes
                )
                if response is not None:
                    return response
            with fresh_connections() if fresh else contextlib.nullcontext():
                return await self._exchange(session, origin, target, headers, timeout, max_bytes)
        except FAILURES as error:
            problem: MessagesError = self._translate(error, origin, timeout)
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
        # Raised outside of `except`: as its context, aiohttp's error would bring along frames whose
        # local variables hold the key.
        raise problem

    async def _exchange(
        self,
        session: aiohttp.ClientSession,
        origin: str,
        target: str,
        headers: Mapping[str, str],
        timeout: Timeout,
        max_bytes: int,
    ) -> Response:
        proxy = self._proxies.of(origin)
        # Such a proxy gets the URL of each request, and its credentials with it.
        forwards = proxy is not None and origin.startswith("http://")
        if proxy is not None and forwards:
            headers = {**headers, **credentials_for(proxy)}
        response = await session.get(
            URL(origin + target, encoded=True),
            headers=headers,
            timeout=_client_timeout(timeout),
            allow_redirects=False,
            **self._options,
            **({} if proxy is None else through(proxy, origin)),
        )
        try:
            if forwards:
                check_logged_in(response)
            elif self._shortcut is not None:
                await self._shortcut.learn(origin, headers, response.request_info)
            check_length(response.headers)
            connection = response.connection  # None if all of the body has arrived, as mostly
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
            drop_parser_if_idle(session.connector, handler)
        # The connection may be back in the pool, and from there no public name leads to it. Where
        # aiohttp has other private names, nothing aborts it.
        abort = getattr(getattr(handler, "transport", None), "abort", None)
        headers = CIMultiDict(response.headers)  # a copy: the view cannot be pickled
        forwarded_by = str(proxy) if forwards else ""
        return Response(response.status, headers, body, received_at, flaw, abort, forwarded_by)

    def _translate(self, error: Exception, origin: str, timeout: Timeout) -> APIError:
        proxy = self._proxies.of(origin)
        if proxy is not None and isinstance(error, ProxyFailedError):
            problem = translate_proxy_failure(error, proxy, origin, timeout)
        else:
            problem = translate(error, timeout)
        if self._owns:  # another session may use the variables
            problem.hint = self._why(error, problem, origin) or problem.hint
        if proxy is not None and str(proxy) not in str(problem):
            problem.hint = f"{problem.hint} The connection goes through {proxy}."
        return problem

    def _why(self, error: Exception, problem: APIError, origin: str) -> str:
        """Return what the environment has to do with an error; "" if it has nothing."""
        cause = problem.__cause__
        if isinstance(cause, ssl.CertificateError):
            verified: Any = getattr(cause, "certificate_error", cause)  # as aiohttp wraps it
            code = getattr(verified, "verify_code", 0)
            return why_refused(code, has_default_trust=self._tls is None)
        is_cut_off = isinstance(error, NO_CONNECTION) and not isinstance(problem, TLSError)
        return self._proxies.why_unused(origin) if is_cut_off else ""

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise RuntimeError("this client belongs to another event loop; make one in each loop")
        if self._session is None:
            pool = Pool(self._tls, self._refresh_certificate)
            # Headers that all requests share cost least in the session.
            self._session = aiohttp.ClientSession(
                connector=pool,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers=self._headers,
                middlewares=[_send_once],
                trace_configs=self._trace_configs,
            )
            # A tracer must see every request. OpenTelemetry's instrumentation adds one to each
            # session that is opened, so the session is asked, and not `self._trace_configs`.
            if not self._session.trace_configs:
                self._shortcut = ShortcutSender(pool)
        return self._session

    def _refresh_certificate(self) -> None:
        problem = "" if self._certificate is None else self._certificate.refresh()
        if problem and problem != self._warned:
            log_kept_certificate(problem)
        self._warned = problem

    def stay_in_one_process(self) -> None:
        """Raise RuntimeError after a fork: two processes must not share a connection."""
        if self._pid != os.getpid():
            raise RuntimeError("this client was made before a fork; make one in each process")

    async def aclose(self) -> None:
        """Close the session, if it is this client's own."""
        if self._owns and self._session is not None:
            await self._session.close()


# How the text of aiohttp's error begins when a request would carry two kinds of credentials.
TWO_CREDENTIALS: Final = "Cannot combine"


def _two_credentials(source: str) -> ConfigurationError:
    return ConfigurationError(
        f"the session that you handed in has credentials of its own (from {source}), which cannot"
        " be combined with the API key: hand in one without them"
    )


def _options_for(session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return the options of a request that only a session of the user's needs."""
    # The middlewares of a request replace those of its session, and aiohttp has no public way to
    # read these. Without the attribute, our requests go without the session's middlewares.
    middlewares = (*getattr(session, "_middlewares", ()), _send_on_clean_connection)
    return {"raise_for_status": False, "auto_decompress": False, "middlewares": middlewares}


@functools.lru_cache(maxsize=64)
def _client_timeout(timeout: Timeout) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=timeout.total,
        sock_connect=timeout.connect,
        sock_read=timeout.read,
        ceil_threshold=float("inf"),  # else aiohttp rounds up to whole seconds, past a deadline
    )
