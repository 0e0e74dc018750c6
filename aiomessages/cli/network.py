"""The options of the way to the API: the proxy, the certificates, and plain HTTP."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from cyclopts import Group, Parameter

from .exits import UsageError

# The library's errors name arguments; at the command line they are options.
SPELLING_OF_NETWORK: Final = {
    "pass allow_http=True": "use --allow-http",
    "pass trust_env=True to use it": "leave --no-proxy out to use it",
    "set HTTPS_PROXY and pass trust_env=True": "leave --no-proxy out, and set HTTPS_PROXY",
    "set HTTP_PROXY and pass trust_env=True": "leave --no-proxy out, and set HTTP_PROXY",
    "pass client_cert=(certificate, key, password)": (
        "decrypt it, as by `openssl pkey`: only the Python client can take its password"
    ),
    "Write them into proxy= as": "Leave --proxy out, and write them into HTTPS_PROXY as",
    "only a session of your own can use one, as in the recipe of the documentation": (
        "use an HTTP proxy that forwards to it, or --no-proxy"
    ),
    "proxy=": "--proxy",
    "or pass ca_file=": "or use --ca-file",
    "or pass an ssl_context=": "or use the Python client with an ssl_context=",
    "pass client_cert=": "use --client-cert",
    'ca_file="system"': "--ca-file system",
    "ca_file=": "--ca-file",
    "ca_file ": "--ca-file ",
    "client_cert ": "--client-cert ",
}


@Parameter(name="*", group=Group("Network", sort_key=3))
@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The options of the way to the API."""

    proxy: Annotated[
        str | None,
        Parameter(
            metavar="URL",
            help="HTTP proxy, such as http://proxy.example:3128. Default: HTTPS_PROXY, HTTP_PROXY"
            " or ALL_PROXY, which can hold a user and password, but not for the hosts of NO_PROXY.",
        ),
    ] = None
    no_proxy: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Ignore the proxy of the environment."),
    ] = False
    ca_file: Annotated[
        str | None,
        Parameter(
            metavar="FILE",
            help="Trust the certificates in FILE (PEM) in place of this machine's, or with `system`"
            " the trust store of the operating system. Default: SSL_CERT_FILE and SSL_CERT_DIR.",
        ),
    ] = None
    client_cert: Annotated[
        str | None,
        Parameter(metavar="FILE", help="Certificate of this client (PEM), with its key."),
    ] = None
    client_key: Annotated[
        str | None, Parameter(metavar="FILE", help="Its key, if it is not in the same file.")
    ] = None
    allow_http: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Allow a --base-url with http://; everyone on the way can read the key.",
        ),
    ] = False

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a client; raise UsageError for options that contradict."""
        if self.proxy is not None and "@" in self.proxy:
            raise UsageError(
                "a password in argv can be read by everyone on this machine",
                "set HTTPS_PROXY in place of --proxy",
            )
        if self.proxy is not None and self.no_proxy:
            raise UsageError(
                "--proxy and --no-proxy contradict each other", "leave one of them out"
            )
        if self.client_key is not None and self.client_cert is None:
            raise UsageError(
                "--client-key is the key of a --client-cert, which is missing",
                "name the file of the certificate by --client-cert",
            )
        cert = (self.client_cert, self.client_key) if self.client_key else self.client_cert
        return {
            "proxy": self.proxy,
            "trust_env": not self.no_proxy,
            "ca_file": self.ca_file,
            "client_cert": cert,
            "allow_http": self.allow_http,
        }
