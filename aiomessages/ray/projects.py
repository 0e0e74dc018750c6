"""The projects of a run: their completions, their keys by name, and the way to their API.

Everything here is sent to other nodes and may be seen on a dashboard, so nothing in it is secret.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from aiomessages.client import AsyncMessagesClient
from aiomessages.errors import ConfigurationError
from aiomessages.export.created_between import CreatedBetween, check_range
from aiomessages.settings import selection_query
from aiomessages.values.plain import as_plain, can_be_sent

from .keys import check_key_name, key_of

# Part of file names, also on object stores.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,63}")

# The options of a client that hold no secret and can be sent to another process.
_OPTIONS: Final = frozenset(
    {
        "allow_http",
        "ca_file",
        "client_cert",
        "deadline",
        "max_response_bytes",
        "organization",
        "project",
        "proxy",
        "retry",
        "timeout",
        "trust_env",
    }
)
_INSTEAD: Final = {
    "api_key": "name it in key=, such as 'env:OPENAI_API_KEY'",
    "base_url": "give it as base_url=",
    "default_headers": "set OPENAI_CUSTOM_HEADERS on the nodes: a header may hold a secret",
    "default_query": "leave it out: a query may hold a secret, and would be sent in plain text",
    "session": "use proxy=, ca_file= and client_cert=: a session belongs to one process",
    "ssl_context": "use ca_file= and client_cert=: a context belongs to one process",
}


class Selection(msgspec.Struct, frozen=True):
    """The stored completions of a project that a run reads: all of them, unless narrowed."""

    model: str | None = None
    """Full name of a model; the API's own filter."""
    metadata: dict[str, str] | None = None
    """Metadata that the completions have; the API's own filter."""
    since: float | None = None
    """Unix seconds of the earliest creation, included."""
    until: float | None = None
    """Unix seconds of the end of the range, excluded."""

    def source(self, client: AsyncMessagesClient) -> CreatedBetween:
        """Return the completions as a source of an export."""
        order = self._order()
        listed = client.completions(model=self.model, metadata=self.metadata, order=order)
        return CreatedBetween(listed, since=self.since, until=self.until, order=order)

    def checked(self) -> "Selection":
        """Return the selection with plain values. Raises ConfigurationError if it is unusable."""
        selection_query(self.model, self.metadata)
        metadata = self.metadata if self.metadata is None else _checked_metadata(self.metadata)
        if self.model is not None and not isinstance(self.model, str):
            raise ConfigurationError(f"model must be a str, not {type(self.model).__name__}")
        check_range(self.since, self.until, self._order())
        since, until = (_checked_time(moment) for moment in (self.since, self.until))
        return Selection(as_plain(self.model), metadata, since, until)

    def _order(self) -> Any:
        return "asc" if self.since is None else "desc"  # the range comes first, and reading ends


def _checked_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    for one in (*metadata, *metadata.values()):
        if not isinstance(one, str):
            raise ConfigurationError(f"metadata must be of str, not {type(one).__name__}")
    return {as_plain(name): as_plain(value) for name, value in metadata.items()}


def _checked_time(moment: float | None) -> float | None:
    """Return a time as JSON has it: a plan could not be compared otherwise."""
    if moment is None or isinstance(moment, int):
        return as_plain(moment)
    if not math.isfinite(moment):
        raise ConfigurationError(
            f"since and until must be finite, not {moment!r}", hint="leave out an open end"
        )
    return float(moment)


class Project(msgspec.Struct, frozen=True):
    """One project of a run."""

    name: str
    """Letters, digits, `_` and `.`; it is part of the names of files."""
    source: Selection | Iterable[str] = Selection()
    """A Selection, or ids of completions."""
    key: str = "env:OPENAI_API_KEY"
    """The name of the key, which each worker reads by itself.

    `env:NAME` (an environment variable), `file:/PATH`, or `import:MODULE:NAME` (an async callable,
    as a client's `api_key`).
    """
    base_url: str | None = None
    """The address of the API. Default: `OPENAI_BASE_URL` of the driver, or OpenAI."""
    max_rps: float | None = None
    """The largest number of requests per second of all workers.

    Without it the rate adapts to the server's limit.
    """
    options: Mapping[str, Any] = {}
    """Other options of AsyncMessagesClient. Those that may hold a secret are refused."""

    def access(self) -> "Access":
        """Check the project, and return its access. Raises ConfigurationError."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"{self.name!r} cannot name a project", hint="use letters, digits, '_' and '.'"
            )
        try:
            self._check_source()
            return access_of(self.key, self.base_url, self.options)
        except ConfigurationError as error:
            hint = error.hint
            error.hint = ""
            raise ConfigurationError(f"project {self.name}: {error}", hint=hint) from None

    def _check_source(self) -> None:
        if isinstance(self.source, Selection):
            self.source.checked()
        elif isinstance(self.source, str | bytes) or not isinstance(self.source, Iterable):
            raise ConfigurationError(
                f"source must be a Selection or ids, not {type(self.source).__name__}"
            )
        check_rate(self.max_rps)


def check_rate(rate: object) -> None:
    """Raise ConfigurationError unless a rate is None or a number above 0."""
    if rate is not None and not (type(rate) in (int, float) and rate > 0):  # type: ignore[operator]
        raise ConfigurationError(f"max_rps must be a number above 0, not {rate!r}")


class Access(msgspec.Struct, frozen=True):
    """The way to the API of a project, which each worker takes with a client of its own."""

    base_url: str
    key: str
    options: dict[str, Any]

    def client(self) -> AsyncMessagesClient:
        """Return a client with the key that this process finds under the name.

        Raises ConfigurationError if there is none.
        """
        return AsyncMessagesClient(key_of(self.key), base_url=self.base_url, **self.options)


def access_of(key: str, base_url: str | None, options: Mapping[str, Any]) -> Access:
    """Check the key's name and the options, and return the access. Raises ConfigurationError."""
    check_key_name(key)
    if not isinstance(options, Mapping):
        raise ConfigurationError(f"options must be a mapping, not {type(options).__name__}")
    for name in options:
        if name not in _OPTIONS:
            raise ConfigurationError(
                f"{name!s:.40} is no option here",
                hint=_INSTEAD.get(name, f"the options are {', '.join(sorted(_OPTIONS))}"),
            )
    if "@" in str(options.get("proxy", "")):
        raise ConfigurationError(
            "the URL of the proxy holds a password",
            hint="set HTTPS_PROXY on the nodes, and the option trust_env=True",
        )
    certificate = options.get("client_cert")
    if isinstance(certificate, tuple) and len(certificate) > 2:
        raise ConfigurationError(
            "client_cert holds a password", hint="use a private key that needs none"
        )
    found = AsyncMessagesClient("of-no-meaning", base_url=base_url, **options)
    return Access(found.base_url, key, dict(options))


def checked_ids(ids: Iterable[object]) -> Iterable[str]:
    """Yield ids. Raises ConfigurationError for one that no file can hold."""
    for number, completion_id in enumerate(ids, 1):
        if not isinstance(completion_id, str):
            raise ConfigurationError(
                f"ids must be str, and number {number} is {type(completion_id).__name__}"
            )
        if not can_be_sent(completion_id):
            raise ConfigurationError(f"id number {number} holds a lone surrogate")
        yield str.__str__(completion_id)
