"""The SSLContext of a client: whom to trust, and the certificate of the client itself (mTLS)."""

import os
import ssl
from pathlib import Path
from typing import Any, Final

from aiomessages.errors import ConfigurationError
from aiomessages.values.secrets import SecretStr, hide

StrPath = str | os.PathLike[str]
ClientCert = StrPath | tuple[StrPath, StrPath] | tuple[StrPath, StrPath, str]

_OF_OTHERS: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")

# The codes of OpenSSL's verification (X509_V_ERR_…): no authority that is trusted has signed the
# certificate; and it or its authority lacks what RFC 5280 demands, which Python checks since 3.13.
UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21})
NOT_STRICT: Final = frozenset(range(79, 95))

# The value of `ca_file` for the trust store of the system.
SYSTEM: Final = "system"


def hide_password(client_cert: Any) -> Any:
    """Return a `client_cert` whose password no repr shows, unchecked like `hide`."""
    if not isinstance(client_cert, tuple):
        return client_cert
    return (*client_cert[:2], *map(hide, client_cert[2:]))


def tls_context(
    ssl_context: ssl.SSLContext | None,
    ca_file: StrPath | None,
    client_cert: ClientCert | None,
) -> ssl.SSLContext | None:
    """Return the context of these options; None for that of aiohttp.

    Raises ConfigurationError for files and combinations that cannot be used.
    """
    if ssl_context is not None:
        if ca_file is not None or client_cert is not None:
            raise ConfigurationError(
                "ca_file= and client_cert= cannot change an ssl_context= of your own",
                hint="load them into it, by load_verify_locations and load_cert_chain",
            )
        if not isinstance(ssl_context, ssl.SSLContext):
            raise ConfigurationError("ssl_context must be an ssl.SSLContext")
        if ssl_context.protocol == ssl.PROTOCOL_TLS_SERVER:
            raise ConfigurationError(
                "ssl_context is that of a server: ssl.create_default_context() makes one for a"
                " client"
            )
        return ssl_context
    if ca_file is None and client_cert is None:
        return None
    context = _trusting(ca_file)
    if client_cert is not None:
        _load_client_cert(context, client_cert)
    return context


def why_refused(code: int, *, has_default_trust: bool) -> str:
    """Return what to do about a certificate that failed with this code; "" if that is not known.

    A variable may be why it is not trusted.
    """
    if code in NOT_STRICT:
        return (
            "Python 3.13 and later demand extensions that this certificate, or that of its"
            " authority, lacks: let them be issued again, or pass an ssl_context= without"
            " VERIFY_X509_STRICT."
        )
    return _variable_without_effect() if has_default_trust and code in UNKNOWN_AUTHORITY else ""


def _variable_without_effect() -> str:
    """Return which variable names a file that is not used, as a sentence; "" if none does.

    OpenSSL ignores a missing file, and Python the variables of other programs.
    """
    file = os.environ.get("SSL_CERT_FILE")
    if file:
        exists = Path(file).is_file()
        return "" if exists else f"SSL_CERT_FILE names {file}, which is missing: correct it."
    other = next((name for name in _OF_OTHERS if os.environ.get(name)), None)
    return f"{other} is set but not used: set SSL_CERT_FILE, or pass ca_file=." if other else ""


def _trusting(ca_file: StrPath | None) -> ssl.SSLContext:
    if ca_file == SYSTEM:
        return _of_system()
    if ca_file is None:
        return ssl.create_default_context()
    path = _path("ca_file", ca_file)
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        reason = "it holds no certificate in PEM format"
    except OSError as error:
        reason = str(error.strerror)
    raise ConfigurationError(
        f"ca_file {path} cannot be used: {reason}",
        hint="name a file with the certificates of authorities in PEM format",
    )


def _of_system() -> ssl.SSLContext:
    try:
        import truststore  # noqa: PLC0415 an optional dependency
    except ImportError:
        raise ConfigurationError(
            'ca_file="system" needs the package truststore',
            hint="install it: pip install truststore; a file of this name is"
            f' "{os.curdir}{os.sep}{SYSTEM}"',
        ) from None
    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _load_client_cert(context: ssl.SSLContext, client_cert: ClientCert) -> None:
    parts: tuple[Any, ...] = client_cert if isinstance(client_cert, tuple) else (client_cert,)
    if not 1 <= len(parts) <= 3:
        raise ConfigurationError(
            "client_cert must be a file, or a tuple (certificate, key) or (certificate, key,"
            " password)"
        )
    paths = [_path("client_cert", part) for part in parts[:2]]
    password = _Password(parts[2] if len(parts) == 3 else None)
    hint = "name a certificate and its key in PEM format, in one file or in two"
    try:
        context.load_cert_chain(paths[0], paths[1] if len(paths) == 2 else None, password)
    except ssl.SSLError as error:
        reason = _reason(error, password)
        hint = _DECRYPT if password.is_missing else hint
    except OSError as error:
        reason = str(error.strerror)
    else:
        return
    raise ConfigurationError(
        f"client_cert {' and '.join(paths)} cannot be used: {reason}", hint=hint
    )


_DECRYPT: Final = "pass client_cert=(certificate, key, password)"


class ClientCertificate:
    """The certificate of a client, which is loaded again when its files change.

    Kubernetes and others replace a certificate before it ends. Connections that are open keep the
    one that they began with.
    """

    def __init__(self, context: ssl.SSLContext, client_cert: ClientCert) -> None:
        self._context, self._client_cert = context, client_cert
        paths = client_cert if isinstance(client_cert, tuple) else (client_cert,)
        self._paths = paths[:2]
        self._loaded = self._identity()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._paths!r})"

    def refresh(self) -> str:
        """Load the files if they changed; return why the last certificate stays in use, or ""."""
        identity = self._identity()
        if identity == self._loaded:
            return ""
        try:
            # First into another context: a certificate without its key would end the old pair.
            _load_client_cert(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self._client_cert)
            _load_client_cert(self._context, self._client_cert)
        except ConfigurationError as error:
            return str(error)
        self._loaded = identity
        return ""

    def _identity(self) -> object:
        try:
            found = [os.stat(path) for path in self._paths]  # noqa: PTH116 as in KeyFile
        except OSError as error:
            return error.strerror
        return [(one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns) for one in found]


class _Password:
    """Give the password of a key. Without this, OpenSSL would ask for one at the terminal."""

    def __init__(self, password: str | None) -> None:
        self._password = None if password is None else SecretStr(password)
        self.asked = False

    def __call__(self) -> str:
        self.asked = True
        return self._password or ""

    @property
    def is_missing(self) -> bool:
        """Whether a password was needed but not given."""
        return self.asked and self._password is None


def _reason(error: ssl.SSLError, password: _Password) -> str:
    if password.is_missing:
        return "the key is encrypted"
    if password.asked:
        return "the password does not fit"
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key does not belong to the certificate"
    return "it does not hold a certificate and its key"


def _path(name: str, path: object) -> str:
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ConfigurationError(f"{name} must be the path of a file")
    if Path(path).is_dir():
        raise ConfigurationError(f"{name} {path} is a folder", hint="name a file")
    return os.fspath(path)
