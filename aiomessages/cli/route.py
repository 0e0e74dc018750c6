"""The way to the API as this process would take it: versions, address, key, proxy, authorities.

It reads the environment and sends nothing. No line has a secret: of a key its kind is shown, of a
header its name, and of a proxy its address without the password.
"""

import base64
import os
import platform
import re
import ssl
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.request import getproxies_environment

import msgspec

from aiomessages import __version__
from aiomessages.network.proxy import Proxies, Proxy, host_and_port, proxy_of
from aiomessages.settings import DEFAULT_BASE_URL, custom_headers
from aiomessages.values.no_proxy import is_exempt
from aiomessages.values.redaction import is_secret

from .options import Connection

Line = tuple[str, str]

_CREDENTIALS: Final = re.compile(r"^(\w+://)?.*@", re.DOTALL)
# Variables of other programs for the authorities to trust, which Python does not read.
_FOREIGN: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


def lines_of(connection: Connection) -> Iterator[Line]:
    """Yield the lines about this process and the address, each with its label."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "msgspec"))
    python = f"{platform.python_implementation()} {platform.python_version()}"
    yield "program", f"aiomessages {__version__}, {python}, {packages}"
    yield "", f"{ssl.OPENSSL_VERSION}, {platform.system()} {platform.release()}"
    url, source = address_of(connection)
    yield "base URL", f"{_without_password(url)} ({source})" if url else source
    account = {
        "organization": connection.organization or os.environ.get("OPENAI_ORG_ID"),
        "project": connection.project or os.environ.get("OPENAI_PROJECT_ID"),
    }
    if any(account.values()):
        yield "account", ", ".join(f"{name} {id}" for name, id in account.items() if id)
    names = [header.partition(":")[0] for header in connection.header or ()]
    if names := [*custom_headers(has_key=False), *names]:
        yield "headers", ", ".join(names)
    yield from _proxy_lines(connection, url)
    yield from _authority_lines(connection)


def address_of(connection: Connection) -> tuple[str, str]:
    """Return the base URL, empty for the embedded server, and where it comes from."""
    if connection.local is not None:
        return "", "the embedded server of --local"
    if connection.base_url is not None:
        return connection.base_url, "--base-url"
    if url := os.environ.get("OPENAI_BASE_URL"):
        return url, "OPENAI_BASE_URL"
    return DEFAULT_BASE_URL, "the default"


def _without_password(url: str) -> str:
    """Return a URL with its user, its password and its query left out.

    The user and the password go first: those that are not percent-encoded may hold a `?` or a `#`.
    """
    return re.split("[?#]", _CREDENTIALS.sub(r"\1…@", url))[0]


# --- the key --------------------------------------------------------------------------------------


def key_text(connection: Connection, key: str) -> str:
    """Return the kind of the key and its source; the key itself is not in it.

    Without a key, a header carries the credential.
    """
    if not key:
        return "none: a header carries the credential"
    return f"{kind_of(key, now=time.time())}, from {_source(connection)}"


def _source(connection: Connection) -> str:
    if connection.local is not None:
        return "the embedded server"
    if connection.api_key_command is not None:
        return "--api-key-command"
    if connection.api_key_file == "-":
        return "standard input"
    return "OPENAI_API_KEY" if connection.api_key_file is None else "--api-key-file"


# The beginnings and forms of keys; the first that matches counts.
_KINDS: Final = (
    (re.compile(r"sk-proj-.*"), "a project's key of OpenAI"),
    (re.compile(r"sk-svcacct-.*"), "a service account's key of OpenAI"),
    (re.compile(r"sk-admin-.*"), "an admin key of OpenAI, which reads no completions"),
    (re.compile(r"sk-.*"), "a key in the form of OpenAI's"),
    (re.compile(r"[0-9a-f]{32}|[0-9A-Za-z]{84}"), "a key in the form of Azure's"),
)
_JWT: Final = re.compile(r"eyJ[\w-]+\.([\w-]+)\.[\w-]*", re.ASCII)


def kind_of(key: str, *, now: float) -> str:
    """Return the kind of a key by its form; of a token (JWT) also when it ends."""
    if token := _JWT.fullmatch(key):
        return f"a token (JWT){_end_of(token[1], now)}"
    for form, kind in _KINDS:
        if form.fullmatch(key):
            return kind
    return "a key of another form" if is_secret(key) else "a placeholder"


def _end_of(claims: str, now: float) -> str:
    try:
        fields = msgspec.json.decode(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        left = float(fields["exp"]) - now
    except (ValueError, TypeError, KeyError):
        return ""
    minutes = f"{abs(left) / 60:.0f} minutes"
    return f" that ends in {minutes}" if left > 0 else f" that ended {minutes} ago"


# --- the network ----------------------------------------------------------------------------------


def _proxy_lines(connection: Connection, url: str) -> Iterator[Line]:
    """Yield the proxy that requests go through, as the client chooses it, and the variables."""
    variables = getproxies_environment()
    excluded = variables.pop("no", None)
    used = _proxy_for(connection, url)
    if used is not None:
        yield "proxy", f"{used.url} ({used.source})"
    elif not variables:
        yield "proxy", "no variable is set"
    for scheme in ("https", "http", "all"):
        name = f"{scheme.upper()}_PROXY"
        if (address := variables.get(scheme)) and not (used and used.source.upper() == name):
            yield "proxy", f"{name}={_shown(address)}, which is not used"
    if variables and excluded:
        applies = "which excludes this host" if _is_exempt(url, excluded) else "not this host"
        yield "", f"NO_PROXY={excluded}, {applies}"


def _proxy_for(connection: Connection, url: str) -> Proxy | None:
    network = connection.network
    try:
        return Proxies(network.proxy, trust_env=not network.no_proxy).of(url) if url else None
    except ValueError:  # the client refuses such a proxy or URL, and says why
        return None


def _shown(address: str) -> str:
    """Return a proxy without its password; nothing of a text in which that cannot be told apart."""
    try:
        return proxy_of(address, "").url
    except ValueError:
        return "… (no URL of an HTTP proxy)"


def _is_exempt(url: str, no_proxy: str) -> bool:
    try:
        return is_exempt(*host_and_port(url), no_proxy)
    except ValueError:  # the same
        return False


def _authority_lines(connection: Connection) -> Iterator[Line]:
    if connection.network.client_cert is not None:
        yield "certificate", f"{connection.network.client_cert} (--client-cert)"
    if connection.network.ca_file is not None:
        yield "authorities", f"{connection.network.ca_file} (--ca-file)"
        return
    paths = ssl.get_default_verify_paths()
    variables = (paths.openssl_cafile_env, paths.openssl_capath_env)
    given = {name: path for name in variables if (path := os.environ.get(name))}
    for name, path in given.items():
        yield "authorities", f"{name}={path}{'' if Path(path).exists() else ', which is missing'}"
    if not given:
        found = [path for path in (paths.cafile, paths.capath) if path]
        yield "authorities", f"{' and '.join(found) or 'none'} (the default of OpenSSL)"
    count = ssl.create_default_context().cert_store_stats()["x509_ca"]
    certificates = "1 certificate" if count == 1 else f"{count} certificates"
    yield "", f"{certificates} from files; those of a folder are read as needed"
    foreign = [name for name in _FOREIGN if os.environ.get(name)]
    if foreign and not given:
        yield "", f"{', '.join(foreign)}: not read by Python; use {variables[0]}"
