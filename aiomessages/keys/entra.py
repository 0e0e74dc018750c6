"""The token of an identity of Azure Entra, by the package azure-identity or anything like it."""

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Final, Protocol, cast

from aiomessages.errors import ConfigurationError
from aiomessages.settings import UnusableKeyError, check_key
from aiomessages.values.secrets import hide

from .renewed import Lease, RenewedKey

SCOPE: Final = "https://cognitiveservices.azure.com/.default"
_LONGEST_REASON: Final = 200  # characters of an error of the credential


class AccessToken(Protocol):
    """A token, and the end of its time in Unix seconds: azure.core.credentials.AccessToken."""

    @property
    def token(self) -> str: ...  # noqa: D102
    @property
    def expires_on(self) -> int: ...  # noqa: D102


class TokenCredential(Protocol):
    """A credential of azure-identity or azure-identity.aio: a sync or async `get_token`."""

    def get_token(self, *scopes: str) -> AccessToken | Awaitable[AccessToken]: ...  # noqa: D102


class EntraToken(RenewedKey):
    """Take the key from a credential of Azure Entra; get the next token before it expires.

    - `credential`: a credential of azure-identity, sync or async. Default: its
      DefaultAzureCredential, which tries the environment, a workload or managed identity, and the
      logins of Azure's tools. An async credential belongs to one event loop, so share this object
      between clients of one loop only. You close the credential.
    - `scope`: the scope of the token. The default is that of Azure OpenAI.

    The token is fetched by `credential.get_token(scope)`, in a thread if the credential is sync.

    Raises ConfigurationError for an object that is no credential, and without one if azure-identity
    is not installed.
    """

    def __init__(self, credential: TokenCredential | None = None, *, scope: str = SCOPE) -> None:
        super().__init__()
        if credential is None:
            credential = _default_credential()
        if not callable(getattr(credential, "get_token", None)):
            raise ConfigurationError("a credential of Azure Entra has a method get_token")
        self._credential = credential
        self._scope = scope

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._credential).__name__})"

    async def fetch(self) -> Lease:
        """Get a token. Raises UnusableKeyError if the credential has none."""
        get, lease = self._credential.get_token, None
        try:
            if inspect.iscoroutinefunction(get):
                lease = _lease_of(await get(self._scope))
            else:
                got = await asyncio.to_thread(get, self._scope)
                lease = _lease_of(await got if inspect.isawaitable(got) else got)
        except Exception as error:  # noqa: BLE001 azure-identity has many, and others have more
            # Kept as text alone: the frames of the error hold the secrets of the credential.
            said = (str(error).splitlines() or [""])[0][:_LONGEST_REASON]
            reason = f"{type(error).__name__}: {said}" if said else type(error).__name__
        if lease is None:
            name = type(self._credential).__name__
            raise UnusableKeyError(
                f"the credential {name} gave no token: {reason}",
                hint="check the identity of this machine, or log in by `az login`",
            )
        return lease


def _lease_of(token: AccessToken) -> Lease:
    return Lease(check_key(hide(token.token)), float(token.expires_on))


def _default_credential() -> TokenCredential:
    try:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415 few need it
    except ModuleNotFoundError:
        raise ConfigurationError(
            "EntraToken() needs azure-identity",
            hint="pip install 'aiomessages[azure]', or pass a credential",
        ) from None
    return cast("TokenCredential", DefaultAzureCredential())
