"""The TLS context of a client: files that can be used, and the errors of the others."""

import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from faults.addresses import AUTHORITY
from faults.canary import shown_by_error

from aiomessages import ConfigurationError
from aiomessages.network.tls import ClientCertificate, hide_password, tls_context, why_refused

SECRET = "pass-canary-0123"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the certificates of an authority and of a client."""
    folder = tmp_path_factory.mktemp("certificates")
    AUTHORITY.cert_pem.write_to_path(folder / "ca.pem")
    cert = AUTHORITY.issue_cert("client@example.org")
    cert.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    cert.private_key_pem.write_to_path(folder / "key.pem")
    cert.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    trustme.CA().issue_cert("x@example.org").private_key_pem.write_to_path(folder / "other.pem")
    key = serialization.load_pem_private_key(cert.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(SECRET.encode()),
    )
    (folder / "locked.pem").write_bytes(encrypted)
    return folder


def context_of(files: Path, *names: str, **options: Any) -> ssl.SSLContext | None:
    """Return the context of a client certificate in these files."""
    paths = tuple(files / name for name in names)
    return tls_context(None, None, paths[0] if len(paths) == 1 else paths, **options)


def test_no_options() -> None:
    """Without an option, the context is aiohttp's."""
    assert tls_context(None, None, None) is None


def test_the_repr_of_a_certificate(files: Path) -> None:
    """The repr of a client's certificate has its files, and not the password of the key."""
    cert = (files / "cert.pem", files / "locked.pem", SECRET)
    context = tls_context(None, None, cert)
    assert context is not None
    shown = repr(ClientCertificate(context, cert))
    assert "locked.pem" in shown
    assert SECRET not in shown


def test_a_context_of_ones_own() -> None:
    """A context is used as it is."""
    context = ssl.create_default_context()
    assert tls_context(context, None, None) is context


def test_a_ca_file(files: Path) -> None:
    """The certificates of a `ca_file` are trusted, and no others."""
    for path in (files / "ca.pem", str(files / "ca.pem")):
        context = tls_context(None, path, None)
        assert context is not None
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert len(context.get_ca_certs()) == 1


def test_the_trust_store_of_the_system(files: Path) -> None:
    """`ca_file="system"` asks the operating system, also with a client certificate."""
    truststore = pytest.importorskip("truststore", reason="truststore is not installed")
    assert isinstance(tls_context(None, "system", None), truststore.SSLContext)
    assert isinstance(tls_context(None, "system", files / "both.pem"), truststore.SSLContext)


def test_without_truststore(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, the error says what to install."""
    monkeypatch.setitem(sys.modules, "truststore", None)
    with pytest.raises(ConfigurationError, match="pip install truststore"):
        tls_context(None, "system", None)


@pytest.mark.parametrize("names", [("both.pem",), ("cert.pem", "key.pem")], ids=repr)
def test_a_client_certificate(files: Path, names: tuple[str, ...]) -> None:
    """A certificate and its key are in one file or in two; the trust in servers stays."""
    context = context_of(files, *names)
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_a_key_with_a_password(files: Path) -> None:
    """An encrypted key needs its password, and nobody is asked for it at the terminal."""
    pair = (files / "cert.pem", files / "locked.pem")
    assert tls_context(None, None, (*pair, SECRET)) is not None
    with pytest.raises(ConfigurationError, match=r"is encrypted: pass client_cert=\(cert"):
        tls_context(None, None, pair)
    with pytest.raises(ConfigurationError, match="the password does not fit") as caught:
        tls_context(None, None, hide_password((*pair, SECRET + "x")))
    assert [place for place, text in shown_by_error(caught.value) if SECRET in text] == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("cert.pem",), "it does not hold a certificate and its key: name a certificate"),
        (("key.pem",), "it does not hold a certificate and its key: name a certificate"),
        (("cert.pem", "other.pem"), "the key does not belong to the certificate"),
        (("missing.pem",), "No such file"),
    ],
    ids=repr,
)
def test_client_certificates_that_cannot_be_used(
    files: Path, names: tuple[str, ...], said: str
) -> None:
    """The error names the files and the reason."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        context_of(files, *names)
    assert all(str(files / name) in str(caught.value) for name in names)


@pytest.mark.parametrize(
    ("name", "said"),
    [("key.pem", "no certificate in PEM format"), ("no.pem", "No such file"), ("", "is a folder")],
)
def test_ca_files_that_cannot_be_used(files: Path, name: str, said: str) -> None:
    """The error names the file and the reason."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        tls_context(None, files / name, None)
    assert str(files / name) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((True, None, None), "must be an ssl.SSLContext"),
        ((ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), None, None), "is that of a server"),
        ((ssl.create_default_context(), "ca.pem", None), "an ssl_context= of your own: load"),
        ((ssl.create_default_context(), None, "both.pem"), "an ssl_context= of your own: load"),
        ((None, "", None), "ca_file must be the path of a file"),
        ((None, 7, None), "ca_file must be the path of a file"),
        ((None, None, ()), "client_cert must be a file, or a tuple"),
        ((None, None, ("a", "b", "c", "d")), "client_cert must be a file, or a tuple"),
        ((None, None, ("a", None)), "client_cert must be the path of a file"),
    ],
    ids=[
        "bool",
        "server",
        "with CA",
        "with certificate",
        "empty",
        "int",
        "no parts",
        "4 parts",
        "None",
    ],
)
def test_options_that_cannot_be_used(options: tuple[Any, Any, Any], said: str) -> None:
    """Values of other types, and combinations, are refused."""
    with pytest.raises(ConfigurationError, match=said):
        tls_context(*options)


UNKNOWN, EXPIRED, OTHER_HOST, NO_KEY_IDENTIFIER = 20, 10, 62, 85  # of OpenSSL


def test_variables_that_explain_nothing(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a variable, or with one that names a file, nothing is to be said of it."""
    assert why_refused(UNKNOWN, has_default_trust=True) == ""
    monkeypatch.setenv("SSL_CERT_FILE", str(files / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "x")
    assert why_refused(UNKNOWN, has_default_trust=True) == ""


@pytest.mark.parametrize("code", [EXPIRED, OTHER_HOST])
def test_a_certificate_that_is_wrong_for_everyone(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """No variable helps against a certificate that has expired or is for another host."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "x")
    assert why_refused(code, has_default_trust=True) == ""


@pytest.mark.parametrize("has_default_trust", [False, True])
def test_an_authority_that_is_too_old_for_python(*, has_default_trust: bool) -> None:
    """The strict rules of Python 3.13 have a way out, whatever is trusted."""
    said = why_refused(NO_KEY_IDENTIFIER, has_default_trust=has_default_trust)
    assert "VERIFY_X509_STRICT" in said
