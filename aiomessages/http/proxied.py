"""Requests through a proxy: what aiohttp has to know of it, and what its failures mean.

The credentials go to aiohttp as a header. In the URL, or as a BasicAuth, the reprs of its
connection keys would show them, which are in its errors.
"""

import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from aiomessages.errors import APIError, APITimeoutError, ProxyError
from aiomessages.network.proxy import Proxy
from aiomessages.settings import Timeout

from .failures import (
    WrappedError,
    ends_in_handshake,
    is_too_large,
    reason_of,
    system_text,
    translate,
    without_frames,
)

if TYPE_CHECKING:
    from multidict import MultiMapping

PROXY_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError)

_LOST_BEHIND_IT: Final = (
    "The proxy itself was reached. Check base_url, and whether the proxy reaches that host; a"
    " network that wants a login in a browser first may end connections like this."
)
_SEND_LESS: Final = "Its answer to CONNECT may have 128 headers, each of up to 8 KB."
_CHECK_IT: Final = "Check {source}, and whether this machine reaches the proxy."
_IS_TLS: Final = "Check {source}. If the proxy itself speaks TLS, its URL begins with https://."
_IS_NO_TLS: Final = (
    "Check {source}. If the proxy itself does not speak TLS, its URL begins with http://. If its"
    " certificate is of a private CA, pass that as ca_file= or in SSL_CERT_FILE."
)
_CORRECT_IT: Final = (
    "Check both in {source}; special characters are percent-encoded there (@ is %40, # is %23)."
)
_LOG_IN: Final = (
    "Write them into {source} as http://user:password@host:port, with special characters"
    " percent-encoded (@ is %40, # is %23)."
)
_NO_BASIC: Final = (
    "It offers {schemes}, and this client knows Basic alone: set {source} to a local proxy that"
    " logs in, such as cntlm or px."
)
_ALLOW_IT: Final = (
    "Ask for the host to be allowed in the proxy, or name it in NO_PROXY if it is reached directly."
)
_BEHIND_IT: Final = (
    "The proxy itself was reached. Check base_url, and whether the proxy reaches that host."
)

# The known ways to log in. Any other word of the proxy's is not shown.
_SCHEMES: Final = ("Basic", "Digest", "NTLM", "Negotiate", "Kerberos", "Bearer")


class ProxyFailedError(WrappedError):
    """Wraps an error of the connection to a proxy, or through it."""


class RefusedError(Exception):
    """A response of a proxy to CONNECT that is no success."""

    def __init__(self, status: int, schemes: list[str]) -> None:
        super().__init__(status)
        self.status, self.schemes = status, schemes

    @classmethod
    def of(cls, status: int, headers: "MultiMapping[str] | None") -> Self:
        """Return the refusal of a response; of its headers, only the ways to log in are kept."""
        offers = [] if headers is None else headers.getall(hdrs.PROXY_AUTHENTICATE, [])
        words = {offer.partition(" ")[0].lower() for offer in offers}
        return cls(status, [scheme for scheme in _SCHEMES if scheme.lower() in words])


def credentials_for(proxy: Proxy) -> dict[str, str]:
    """Return the header with the credentials of a proxy; an empty dict without any."""
    return {} if proxy.authorization is None else {hdrs.PROXY_AUTHORIZATION: proxy.authorization}


def through(proxy: Proxy, origin: str) -> dict[str, Any]:
    """Return aiohttp's options for a request to an origin through a proxy.

    aiohttp writes the Host into these headers, and finds idle connections by a hash of them. So it
    is there from the beginning, and the hash stays the same.
    """
    host = URL(origin).host_port_subcomponent
    return {"proxy": URL(proxy.url), "proxy_headers": {hdrs.HOST: host, **credentials_for(proxy)}}


def check_logged_in(response: aiohttp.ClientResponse) -> None:
    """Raise ProxyFailedError for a 407, which a proxy sends that gets the URL of the request."""
    if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        raise ProxyFailedError(RefusedError.of(response.status, response.headers))


def translate_proxy_failure(
    failed: ProxyFailedError, proxy: Proxy, origin: str, timeout: Timeout
) -> APIError:
    """Return this package's error for a connection to a proxy, or through it, that failed."""
    error, host = failed.cause, URL(origin)
    target = f"{host.host_subcomponent}:{host.port}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        error = RefusedError.of(error.status, error.headers)
    if isinstance(error, RefusedError):
        return _refused(error, proxy, target)
    if isinstance(error, TimeoutError):
        seconds = "" if timeout.connect is None else f" within {timeout.connect:.3g} s (connect)"
        slow = APITimeoutError(f"no connection to {target} through {proxy}{seconds}")
        # A proxy that does not speak TLS waits for the end of a line.
        advice = _IS_NO_TLS if proxy.scheme == "https" else _CHECK_IT
        slow.hint = advice.format(source=proxy.source)
        return slow
    if isinstance(error, aiohttp.ClientConnectorError) and not _is_of(proxy, error):
        return _behind(error, proxy, target, timeout)
    return _unreachable(error, proxy)


def _is_of(proxy: Proxy, error: aiohttp.ClientConnectorError) -> bool:
    return (error.host, error.port) == (proxy.host, proxy.port)


def _refused(error: RefusedError, proxy: Proxy, target: str) -> ProxyError:
    status = error.status
    if status in (HTTPStatus.PROXY_AUTHENTICATION_REQUIRED, HTTPStatus.UNAUTHORIZED):
        return _not_logged_in(error, proxy)  # tinyproxy answers a wrong password with 401
    known = f"{status} {HTTPStatus(status).phrase}" if status in _STATUSES else str(status)
    is_behind = status >= 500
    did = "cannot connect to" if is_behind else "refuses to connect to"
    hint = _BEHIND_IT if is_behind else _ALLOW_IT
    if status == HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED or 300 <= status < 400:
        hint = "The network may want a login in a browser first."
    return ProxyError(
        f"{proxy} {did} {target}: {known}", status=status, hint=hint, retryable=is_behind
    )


_STATUSES: Final = frozenset(HTTPStatus)


def _not_logged_in(error: RefusedError, proxy: Proxy) -> ProxyError:
    does, hint = "wants a user and a password", _LOG_IN
    if proxy.authorization is not None:
        does, hint = "does not accept the user or the password", _CORRECT_IT
    if error.schemes and "Basic" not in error.schemes:
        hint = _NO_BASIC.replace("{schemes}", " and ".join(error.schemes))
    return ProxyError(
        f"{proxy} {does} ({error.status})",
        status=error.status,
        hint=hint.format(source=proxy.source),
        retryable=False,
    )


def _behind(
    error: aiohttp.ClientConnectorError, proxy: Proxy, target: str, timeout: Timeout
) -> APIError:
    """Return the error of a connection that the proxy had made."""
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        return translate(error, timeout)
    lost = f"the connection to {target} through {proxy} was lost in the TLS handshake"
    return _with_cause(error, lost, _LOST_BEHIND_IT)


def _unreachable(error: Exception, proxy: Proxy) -> ProxyError:
    """Return the error of a proxy that cannot be reached, or does not speak HTTP."""
    check, is_tls = _CHECK_IT.format(source=proxy.source), _IS_TLS.format(source=proxy.source)
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        no_tls = _IS_NO_TLS.format(source=proxy.source)
        return _with_cause(error, f"TLS with {proxy} failed", no_tls, retryable=False)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _with_cause(error, f"the name of {proxy} does not resolve", check)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _with_cause(error, f"no connection to {proxy}", check)
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        if is_too_large(error):
            said = f"{proxy} sends too long or too many headers"
            return ProxyError(said, hint=_SEND_LESS, retryable=False)
        return ProxyError(f"{proxy} does not answer in HTTP", hint=is_tls, retryable=False)
    return ProxyError(f"{proxy} closed the connection without an answer", hint=is_tls)


def _with_cause(cause: Exception, message: str, hint: str, *, retryable: bool = True) -> ProxyError:
    reason = _reason(cause)
    said = f"{message}: {reason}" if reason else message
    error = ProxyError(said, hint=hint, retryable=retryable)
    error.__cause__ = without_frames(cause)
    return error


def _reason(cause: Exception) -> str:
    """Return the reason without the address, which the message has, and without its words."""
    if isinstance(cause, aiohttp.ClientConnectorError) and ends_in_handshake(cause):
        return ""
    text = system_text(cause) if isinstance(cause, aiohttp.ClientConnectorError) else ""
    return text or reason_of(cause)
