"""Say in words what is wrong with the way to the API, by the error of one request.

Nothing here performs I/O. An error becomes a problem and an advice; neither has a secret in it.
"""

import errno
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple

import aiohttp

from aiomessages.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    DecodeError,
    InsufficientQuotaError,
    MessagesError,
    ProxyError,
    RateLimitError,
    RedirectError,
    SchemaError,
    TLSError,
)
from aiomessages.network.tls import NOT_STRICT, UNKNOWN_AUTHORITY

from .exits import UsageError
from .options import in_options

# Seconds. Tokens and certificates tolerate a clock that is a few minutes wrong, and no more.
WRONG_CLOCK: Final = 300.0


class Diagnosis(NamedTuple):
    """What is wrong, and what to do about it."""

    problem: str
    advice: str


def diagnose(error: MessagesError | UsageError) -> Diagnosis:
    """Return the diagnosis of an error; the first class of the table that fits counts.

    The advice of an error that knows more than its class outweighs that of the table.
    """
    if not isinstance(error, APIError):
        return _setting(error)
    found = next(explain(error) for kind, explain in _TABLE if isinstance(error, kind))
    return found._replace(advice=_own(error) or found.advice)


def _own(error: MessagesError) -> str:
    """Return the advice of an error if it is more than that of its class."""
    return "" if error.hint == type(error).hint else error.hint


def _setting(error: MessagesError | UsageError) -> Diagnosis:
    """Return the diagnosis of a setting that cannot be used."""
    said = str(error).removesuffix(error.hint).rstrip(" :.")
    return Diagnosis(
        f"Nothing was sent: {said}.", _sentence(in_options(error.hint) or "correct it")
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def clock_problem(skew: float) -> Diagnosis | None:
    """Return the diagnosis of a clock that is `skew` seconds ahead of the server's, if it is wrong.

    A token counts as expired, and a certificate as not valid yet, by a wrong clock.
    """
    if abs(skew) < WRONG_CLOCK:
        return None
    minutes, where = abs(skew) / 60, "ahead of" if skew > 0 else "behind"
    return Diagnosis(
        f"The clock of this machine is {minutes:.0f} minutes {where} the server's.",
        "Set the clock: tokens and certificates are checked by it.",
    )


# --- no response ----------------------------------------------------------------------------------

_UNTRUSTED: Final = Diagnosis(
    "The certificate is signed by an authority that this machine does not trust.",
    "A company's proxy may inspect TLS, or the server may have a private authority: put the"
    " authority's certificate into a file, and name that by --ca-file or in SSL_CERT_FILE.",
)
_OTHER_HOST: Final = Diagnosis(
    "The certificate is for another host.",
    "Check the host of base_url, and whether its name resolves to the right server.",
)
_NOT_STRICT: Final = Diagnosis(
    "The certificate, or that of its authority, lacks extensions that Python demands since 3.13.",
    "Let the certificates be issued again by the rules of RFC 5280, or use an older Python; the"
    " Python client can accept them with ssl_context=.",
)
# The codes of OpenSSL's verification (X509_V_ERR_…).
_CERTIFICATES: Final[dict[int, Diagnosis]] = {
    9: Diagnosis(
        "The certificate is not valid yet.",
        "Check the clock of this machine; if it is right, the server's certificate is wrong.",
    ),
    10: Diagnosis(
        "The certificate has expired.",
        "Check the clock of this machine; if it is right, the server's certificate is too old.",
    ),
    **dict.fromkeys(UNKNOWN_AUTHORITY, _UNTRUSTED),
    **dict.fromkeys(NOT_STRICT, _NOT_STRICT),
    **dict.fromkeys((62, 64), _OTHER_HOST),
}


def _tls(error: MessagesError) -> Diagnosis:
    cause = error.__cause__
    cause = getattr(cause, "certificate_error", cause)
    code = getattr(cause, "verify_code", None)
    if code in _CERTIFICATES:
        return _CERTIFICATES[code]
    return Diagnosis(
        _sentence(_message(error)),
        "Check the scheme and the port of base_url, and whether a proxy is in the way.",
    )


def _failed_proxy(error: MessagesError) -> Diagnosis:
    return Diagnosis(_sentence(_message(error)), error.hint)


def _timeout(error: MessagesError) -> Diagnosis:
    return Diagnosis(
        f"Nothing answered in time: {_message(error)}.",
        "A firewall may drop the packets: this network may need a proxy (HTTPS_PROXY). If the"
        " server is only slow, raise --timeout.",
    )


_REFUSED: Final = Diagnosis(
    "Nothing listens at the port of base_url: the connection was refused.",
    "Check the host and the port, and whether the server, or the proxy, runs.",
)
_UNREACHABLE: Final = Diagnosis(
    "There is no route to the host.",
    "Check the network, and whether a proxy (HTTPS_PROXY) is needed.",
)
_CONNECTING: Final[dict[int | None, Diagnosis]] = {
    errno.ECONNREFUSED: _REFUSED,
    errno.ENETUNREACH: _UNREACHABLE,
    errno.EHOSTUNREACH: _UNREACHABLE,
}


def _connection(error: MessagesError) -> Diagnosis:
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorDNSError):
        return Diagnosis(
            f"The name of the host does not resolve (DNS): {cause.host}.",
            "Check the spelling of base_url. Behind a proxy, names often resolve only there: set"
            " HTTPS_PROXY.",
        )
    number = getattr(cause, "errno", None)
    return _CONNECTING.get(number) or Diagnosis(
        f"The connection failed: {_message(error)}.",
        "Check the port of base_url, and whether a proxy or a firewall ends connections.",
    )


# --- a response -----------------------------------------------------------------------------------


def _redirect(error: MessagesError) -> Diagnosis:
    host = getattr(error, "location_host", None) or "another address"
    return Diagnosis(
        f"The server redirects to {host}, and no redirect is followed, because of the key.",
        "Set base_url to the address of the API itself. A network may redirect to its login page.",
    )


def _no_api(_: MessagesError) -> Diagnosis:
    return Diagnosis(
        "Something answered that is not the API.",
        "Check base_url, which ends with /v1; a proxy or the login page of a network may answer in"
        " its place.",
    )


def _quota(_: MessagesError) -> Diagnosis:
    return Diagnosis("The account has no quota left.", "Check its plan and billing.")


def _limited(error: MessagesError) -> Diagnosis:
    wait = getattr(error, "retry_after", None)
    when = "later" if wait is None else f"after {wait:.0f} s, as the server asks"
    return Diagnosis(
        "The server limits the rate of requests.", f"The way is right. Try again {when}."
    )


_STATUSES: Final[dict[int, Diagnosis]] = {
    401: Diagnosis(
        "The server refuses the key.",
        "Check that the key belongs to this base_url, organization and project, and that it was"
        " not revoked.",
    ),
    403: Diagnosis(
        "The server knows the key and denies access.",
        "The key needs read access to stored chat completions; a firewall of the server may not"
        " allow this network.",
    ),
    404: Diagnosis(
        "The server does not know the list of completions: base_url is wrong.",
        "It ends with /v1 for OpenAI and most servers, and with /openai/v1 for Azure.",
    ),
    407: Diagnosis(
        "A proxy wants credentials.", "Set them in HTTPS_PROXY: http://user:password@host:port."
    ),
}
_NO_CERTIFICATE: Final = Diagnosis(
    "The server, or a gateway in front of it, wants a certificate of this client, or another one.",
    "Give it by --client-cert, with its key by --client-key.",
)
_GATEWAYS: Final = frozenset({502, 503, 504, 511})


def _unknown(error: MessagesError) -> Diagnosis:
    return Diagnosis(_sentence(_message(error)), "See the error below.")


def _status(error: MessagesError) -> Diagnosis:
    status = getattr(error, "status", 0)
    if status == 400 and "SSL certificate" in _message(error):  # the words of nginx
        return _NO_CERTIFICATE
    if status in _STATUSES and (status != 403 or not _is_page(error)):
        return _STATUSES[status]
    if status in _GATEWAYS or _is_page(error):
        return Diagnosis(
            f"A proxy or a gateway answered in place of the API, with status {status}.",
            "Check the proxy and what it allows; if there is none, the server is down: try later.",
        )
    phrase = HTTPStatus(status).phrase if status in {*HTTPStatus} else "an unknown status"
    return Diagnosis(
        f"The server answered with status {status} ({phrase}).", "See the error below."
    )


def _is_page(error: MessagesError) -> bool:
    """Return whether the body of a response is a page for people, as proxies send it."""
    return isinstance(error, APIResponseError) and "html" in error.headers.get("content-type", "")


def _message(error: MessagesError) -> str:
    return getattr(error, "message", str(error)).rstrip(".")


# Subclasses stand above their bases.
_TABLE: Final[list[tuple[type[MessagesError], Callable[[MessagesError], Diagnosis]]]] = [
    (TLSError, _tls),
    (ProxyError, _failed_proxy),
    (APITimeoutError, _timeout),
    (APIConnectionError, _connection),
    (RedirectError, _redirect),
    (DecodeError, _no_api),
    (SchemaError, _no_api),
    (InsufficientQuotaError, _quota),
    (RateLimitError, _limited),
    (APIStatusError, _status),
    (APIError, _unknown),
]
