"""The diagnosis of each error: what is wrong, and what to do."""

import errno
import ssl

import pytest
from multidict import CIMultiDict

from aiomessages import errors
from aiomessages.cli.diagnosis import WRONG_CLOCK, clock_problem, diagnose
from aiomessages.cli.exits import UsageError

HTML = CIMultiDict({"content-type": "text/html"})


def certificate_error(code: int) -> errors.TLSError:
    """Return the error for a certificate that fails OpenSSL's verification with a code."""
    error, cause = errors.TLSError("TLS failed"), ssl.SSLCertVerificationError(1, "verify failed")
    cause.verify_code = code
    error.__cause__ = cause
    return error


def connection_error(number: int) -> errors.APIConnectionError:
    """Return the error for a connection that the system refuses."""
    error = errors.APIConnectionError("no connection")
    error.__cause__ = OSError(number, "reason")
    return error


def status_error(kind: type[errors.APIStatusError], status: int, **facts: object) -> Exception:
    """Return the error for a status."""
    return kind("said", status=status, **facts)  # type: ignore[arg-type]


LIMITED = errors.RateLimitError("slow down", status=429, retry_after=7)
CASES = {
    "setting": (
        errors.ConfigurationError("no API key", hint="set OPENAI_API_KEY"),
        "Nothing was sent: no API key.",
        "Set OPENAI_API_KEY.",
    ),
    "option": (UsageError("--odd: not here."), "Nothing was sent: --odd: not here.", "Correct"),
    "proxy": (
        errors.ProxyError("the proxy is down"),
        "The proxy is down.",
        "no request",
    ),
    "proxy, known": (
        errors.ProxyError("the proxy is down", hint="Check HTTPS_PROXY."),
        "The proxy is down.",
        "Check HTTPS_PROXY.",
    ),
    "no certificate": (
        errors.BadRequestError("No required SSL certificate was sent", status=400),
        "wants a certificate of this client",
        "--client-cert",
    ),
    "no class of its own": (errors.APIError("odd"), "Odd.", "below"),
    "early": (certificate_error(9), "not valid yet", "clock"),
    "expired": (certificate_error(10), "has expired", "clock"),
    "self-signed": (certificate_error(18), "does not trust", "SSL_CERT_FILE"),
    "private": (certificate_error(20), "does not trust", "SSL_CERT_FILE"),
    "strict": (certificate_error(85), "Python demands since 3.13", "RFC 5280"),
    "host": (certificate_error(62), "another host", "base_url"),
    "TLS": (errors.TLSError("TLS failed: wrong version"), "TLS failed: wrong version.", "port"),
    "timeout": (errors.APITimeoutError("no connection within 5 s"), "within 5 s", "HTTPS_PROXY"),
    "refused": (connection_error(errno.ECONNREFUSED), "Nothing listens", "port"),
    "unreachable": (connection_error(errno.ENETUNREACH), "no route", "network"),
    "reset": (connection_error(errno.ECONNRESET), "no connection", "firewall"),
    "lost": (errors.APIConnectionError("lost."), "failed: lost.", "proxy"),
    "redirect": (
        errors.RedirectError("moved", location_host="login.example", status=302),
        "redirects to login.example",
        "login page",
    ),
    "no JSON": (errors.DecodeError("no JSON", status=200), "not the API", "base_url"),
    "no page": (errors.SchemaError("no list", status=200), "not the API", "base_url"),
    "quota": (errors.InsufficientQuotaError("spent", status=429), "no quota", "billing"),
    "rate": (LIMITED, "limits the rate", "after 7 s"),
    "rate, unknown": (errors.RateLimitError("slow", status=429), "limits the rate", "again later"),
    "401": (status_error(errors.AuthenticationError, 401), "refuses the key", "belongs to"),
    "403": (status_error(errors.PermissionDeniedError, 403), "denies access", "read access"),
    "403 of a proxy": (
        status_error(errors.PermissionDeniedError, 403, headers=HTML),
        "in place of the API, with status 403",
        "proxy",
    ),
    "404": (status_error(errors.NotFoundError, 404), "base_url is wrong", "/openai/v1"),
    "407": (status_error(errors.APIStatusError, 407), "wants credentials", "HTTPS_PROXY"),
    "502": (status_error(errors.InternalServerError, 502), "in place of the API", "proxy"),
    "500": (status_error(errors.InternalServerError, 500), "500 (Internal Server Error)", "below"),
    "599": (status_error(errors.InternalServerError, 599), "an unknown status", "below"),
}


def test_an_error_that_knows_more() -> None:
    """Advice of the error's own outweighs the general one: a proxy that is set but not used."""
    error = connection_error(errno.ECONNREFUSED)
    error.hint = "HTTPS_PROXY is not used, because NO_PROXY names the host."
    assert diagnose(error).advice == error.hint
    assert "connection was refused" in diagnose(error).problem


@pytest.mark.parametrize(("error", "problem", "advice"), CASES.values(), ids=CASES)
def test_diagnoses(error: errors.MessagesError, problem: str, advice: str) -> None:
    """Each kind of error has a problem in words, and an advice."""
    found = diagnose(error)
    assert problem in found.problem
    assert advice in found.advice
    assert all(text.endswith((".", "https://host:port.")) for text in found)


def test_clocks() -> None:
    """A clock is wrong from five minutes on, in either direction."""
    assert clock_problem(WRONG_CLOCK - 1) is None
    assert clock_problem(1 - WRONG_CLOCK) is None
    ahead, behind = clock_problem(3600), clock_problem(-600)
    assert ahead is not None
    assert behind is not None
    assert "60 minutes ahead of the server's" in ahead.problem
    assert "10 minutes behind the server's" in behind.problem
