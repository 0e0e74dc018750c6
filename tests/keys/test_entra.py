"""Tokens of Azure Entra from a credential, sync or async."""

import asyncio
import sys
import threading
import time
import types
from collections.abc import Awaitable
from typing import Any, NamedTuple

import pytest

from aiomessages import ConfigurationError
from aiomessages.keys import EntraToken

SCOPE = "https://cognitiveservices.azure.com/.default"
TOKEN = "eyJ.canary-token-0123.sig"


class AccessToken(NamedTuple):
    """As in azure.core.credentials."""

    token: Any
    expires_on: Any


class Credential:
    """A sync credential, which notes the scopes and the threads of its calls."""

    def __init__(self, token: Any = TOKEN, expires_on: Any = None) -> None:
        self.calls: list[tuple[str, threading.Thread]] = []
        self._token = AccessToken(token, expires_on or int(time.time()) + 3600)

    def get_token(self, *scopes: str) -> AccessToken:
        """Return the token."""
        self.calls.append((scopes[0], threading.current_thread()))
        return self._token


class AsyncCredential(Credential):
    """An async credential."""

    async def get_token(self, *scopes: str) -> AccessToken:  # type: ignore[override]
        """Return the token."""
        await asyncio.sleep(0)
        return super().get_token(*scopes)


class WrappedCredential(AsyncCredential):
    """An async credential behind a plain function, as a decorator leaves it."""

    def get_token(self, *scopes: str) -> Awaitable[AccessToken]:  # type: ignore[override]
        """Return the token, to be awaited."""
        return super().get_token(*scopes)


class FailingCredential(Credential):
    """A credential that fails, with a secret in its frame."""

    def get_token(self, *_: str) -> AccessToken:
        """Raise as azure-identity does, over many lines."""
        client_secret = "canary-secret"
        raise RuntimeError(f"no login{client_secret[:0]}\n\tmore about {client_secret}")


@pytest.mark.parametrize("kind", [Credential, AsyncCredential, WrappedCredential])
async def test_credentials(kind: type[Credential]) -> None:
    """A token is fetched once, for the scope of Azure OpenAI; a sync credential in a thread."""
    credential = kind()
    key = EntraToken(credential)
    assert [await key(), await key()] == [TOKEN, TOKEN]
    assert [scope for scope, _ in credential.calls] == [SCOPE]
    in_thread = credential.calls[0][1] is not threading.current_thread()
    assert in_thread is (kind is Credential)


async def test_the_end_of_a_token() -> None:
    """A token is kept until its `expires_on`, and another scope may be asked for."""
    credential = Credential(expires_on=2_000_000_000)
    lease = await EntraToken(credential, scope="api://mine/.default").fetch()
    assert (lease.expires, credential.calls[0][0]) == (2e9, "api://mine/.default")


@pytest.mark.parametrize(
    ("credential", "reason"),
    [
        (FailingCredential(), "FailingCredential gave no token: RuntimeError: no login: check"),
        (Credential(token=""), "no API key"),
        (Credential(token=None), "no API key"),
        (Credential(expires_on="soon"), "ValueError"),
    ],
    ids=["failing", "empty", "missing", "timeless"],
)
async def test_a_credential_without_a_token(credential: Credential, reason: str) -> None:
    """A credential that fails is one error with its first line, and without its frames."""
    with pytest.raises(ConfigurationError, match=reason) as caught:
        await EntraToken(credential)()
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None


def test_the_default_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a credential it is azure-identity's DefaultAzureCredential."""
    module: Any = types.ModuleType("azure.identity")
    module.DefaultAzureCredential = Credential
    monkeypatch.setitem(sys.modules, "azure", types.ModuleType("azure"))
    monkeypatch.setitem(sys.modules, "azure.identity", module)
    assert asyncio.run(EntraToken()()) == TOKEN


def test_without_azure_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without azure-identity the error names the extra."""
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    with pytest.raises(ConfigurationError, match=r"aiomessages\[azure\]"):
        EntraToken()


def test_an_object_that_is_no_credential() -> None:
    """An object without `get_token` is refused."""
    with pytest.raises(ConfigurationError, match="get_token"):
        EntraToken("my-secret")  # type: ignore[arg-type]


def test_the_repr_of_a_token() -> None:
    """A repr shows the class of the credential, and no token."""
    key = EntraToken(Credential())
    asyncio.run(key())
    assert repr(key) == "EntraToken(Credential)"
    assert TOKEN not in repr(vars(key))
