"""The proxy through which requests go: the one that was given, or that of the environment.

A user and a password are in no error, no repr and no traceback: `Proxy` keeps them apart from the
URL, as a SecretStr, and no function whose local variables hold them raises an error.
"""

import base64
import ipaddress
import os
import re
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from aiomessages.errors import ConfigurationError
from aiomessages.settings import is_loopback
from aiomessages.values.no_proxy import is_exempt
from aiomessages.values.secrets import SecretStr, hide

_VARIABLES: Final = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?")

# What is wrong with a proxy, and what to do.
_NO_URL: Final = (
    "is not a URL such as http://proxy.example:3128 or http://user:password@proxy.example:3128",
    "in a user or password, percent-encode special characters (@ is %40, / is %2F, # is %23)",
)
_SOCKS: Final = (
    "names a SOCKS proxy",
    "only a session of your own can use one, as in the recipe of the documentation",
)
_NO_TEXT: Final = ("must be a str", "write the proxy as http://proxy.example:3128")


class Proxy(msgspec.Struct, frozen=True):
    """A proxy: its URL without credentials, and the argument or variable that names it."""

    scheme: str
    host: str
    port: int
    source: str
    authorization: SecretStr | None = None

    @property
    def address(self) -> str:
        """The host and port, as in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL, without credentials."""
        return f"{self.scheme}://{self.address}"

    def __str__(self) -> str:
        return f"the proxy {self.address} ({self.source})"


class Proxies:
    """Choose the proxy of each origin: the one given, else the environment's if that is trusted.

    The variables are read once, in lower case first, as curl and Python do. A proxy that was given
    is used for every host; the environment's neither for this machine nor for the hosts of
    NO_PROXY. Raises ConfigurationError for a proxy that cannot be used.
    """

    def __init__(self, given: str | None = None, *, trust_env: bool = False) -> None:
        given = hide(given)  # before an error can show it in a traceback
        self._given = None if given is None else proxy_of(given, "proxy=")
        self._trust_env = trust_env
        self._variables = _from_environment()
        self._chosen: dict[str, Proxy | None] = {}

    def of(self, origin: str) -> Proxy | None:
        """Return the proxy for `scheme://host:port`, or None.

        Raises ConfigurationError for a variable that names none.
        """
        if self._given is not None:
            return self._given
        if origin not in self._chosen:
            self._chosen[origin] = self._of_environment(origin) if self._trust_env else None
        return self._chosen[origin]

    def check(self, base_url: str, *, allow_http: bool) -> None:
        """Raise ConfigurationError if the proxy cannot be used, or would read the API key."""
        proxy = self.of(base_url)
        if proxy is None or allow_http or base_url.startswith("https://"):
            return
        if not is_loopback(proxy.host):
            raise ConfigurationError(
                f"base_url is http://, so that {proxy} would read the API key",
                hint="use https://, or pass allow_http=True",
            )

    def why_unused(self, origin: str) -> str:
        """Return what to do about a host that was not reached without a proxy; "" if nothing."""
        if self.of(origin) is not None or is_loopback(host_and_port(origin)[0]):
            return ""
        name = self._named_for(origin)
        if name is None:
            return self._none_for(origin)
        if not self._trust_env:
            return f"{name} is set but not used: pass trust_env=True to use it."
        return (
            f"{name} is not used, because NO_PROXY names the host: take it out if only the proxy"
            " reaches it."
        )

    def _none_for(self, origin: str) -> str:
        """Return what to do where no variable names a proxy for an origin."""
        variable = f"{origin.partition('://')[0]}_PROXY".upper()
        other = self._variable("http_proxy")
        if other is not None:
            return f"{other} is set, but is for http:// alone: set {variable}."
        set_it = f"set {variable}" + ("" if self._trust_env else " and pass trust_env=True")
        return f"Check the network and base_url. If only a proxy leads out of it, {set_it}."

    def _of_environment(self, origin: str) -> Proxy | None:
        name = self._named_for(origin)
        no_proxy = self._variable("no_proxy")
        if name is None or (no_proxy and is_exempt(*host_and_port(origin), self._read(no_proxy))):
            return None
        return proxy_of(self._read(name), name)

    def _named_for(self, origin: str) -> str | None:
        """Return the name of the variable with the proxy for an origin."""
        if is_loopback(host_and_port(origin)[0]):
            return None  # a proxy would connect to itself, and read a key sent over plain HTTP
        scheme = origin.partition("://")[0]
        return self._variable(f"{scheme}_proxy") or self._variable("all_proxy")

    def _variable(self, name: str) -> str | None:
        """Return the spelling of a variable that is set; an empty one in lower case unsets both."""
        spelled = next((one for one in (name, name.upper()) if one in self._variables), None)
        return spelled if spelled and self._read(spelled) else None

    def _read(self, spelled: str) -> str:
        return self._variables[spelled]


def _from_environment() -> dict[str, str]:
    names = [spelled for name in _VARIABLES for spelled in (name, name.upper())]
    if "REQUEST_METHOD" in os.environ:
        names.remove("HTTP_PROXY")  # in a CGI script, it is the header "Proxy" of any visitor
    return {name: hide(os.environ[name].strip()) for name in names if name in os.environ}


def host_and_port(url: str) -> tuple[str, int]:
    """Return the host of a URL, and its port, or else its scheme's. Raises ValueError."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def proxy_of(text: object, source: str) -> Proxy:
    """Return the proxy that a text names; raise ConfigurationError if it names none."""
    read = _read_proxy(text, source) if isinstance(text, str) else _NO_TEXT
    if isinstance(read, tuple):
        raise ConfigurationError(f"{source} {read[0]}", hint=read[1])
    return read


def _read_proxy(text: str, source: str) -> Proxy | tuple[str, str]:
    """Return the proxy, or what is wrong with it and what to do."""
    url = text if "://" in text else f"http://{text}"  # as in curl
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:
        return _NO_URL
    if parts.scheme.startswith("socks"):
        return _SOCKS
    rest = parts.path.strip("/") + parts.query + parts.fragment
    if parts.scheme not in _PORTS or not _is_host(host) or rest or port == 0:
        return _NO_URL
    if re.search(r"[\x00-\x20\x7f]", url):
        return _NO_URL
    authorization = None
    if parts.username is not None:
        authorization = _basic(parts.username, parts.password or "")
    return Proxy(parts.scheme, host, port or _PORTS[parts.scheme], source, authorization)


def _is_host(host: str) -> bool:
    try:
        return "%" not in host and bool(_HOST.fullmatch(host) or ipaddress.ip_address(host))
    except ValueError:
        return False


def _basic(user: str, password: str) -> SecretStr:
    """Return the value of Proxy-Authorization (RFC 7617) for percent-encoded credentials."""
    pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return SecretStr(f"Basic {base64.b64encode(pair).decode()}")
