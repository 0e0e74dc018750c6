"""The options that every command with a client shares, and the client that they describe.

The key comes from the environment, a file or standard input. No option takes it, because every
process of the machine can read argv.
"""

import math
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter
from cyclopts.validators import Number

import aiomessages

from . import stderr
from .archive_names import DATABASE_ENDINGS
from .credentials import headers_of, key_of
from .exits import NotStoredError, UsageError
from .network import SPELLING_OF_NETWORK, Network

if TYPE_CHECKING:
    from aiomessages import AsyncMessagesClient
    from aiomessages.settings import ApiKey

MAKE_ARCHIVE = "`aiomessages sync` makes one; --local alone uses the sample"
# The value of a bare --local, in the manner of sqlite's `:memory:`.
SAMPLE = ":sample:"
_SERVER = Group("Server and account", sort_key=2)
_KEY_OPTION = re.compile(r"--?(openai[-_])?(api[-_]?)?(key|token|secret)(=.*)?", re.DOTALL)
# The library's errors name arguments; at the command line they are options.
_SPELLING = {
    "pass api_key=": "use --api-key-file FILE",
    **SPELLING_OF_NETWORK,
    "the key file": "the file of --api-key-file",
    "the command of the key": "the command of --api-key-command",
    "see default_query=": "write the URL without it",
    "see wait_until_visible=": "see --wait-until-visible",
    "timeout= (one attempt) or deadline= (the whole call)": "--timeout",
    "limit= (the messages of a page), or raise max_response_bytes=": "--limit (messages a page)",
    "raise max_response_bytes=": "use the Python client with a larger max_response_bytes",
    "the messages delivered so far are good": "what was written so far is good",
    "not even by raw()": "not even with --format raw",
    "completion_id must": "COMPLETION_ID must",
    "omit media": "leave --media out",
    "include replies": "leave --no-include-reply out",
    "base_url": "--base-url",
}
# An export refuses other options than before by these names, each in front of its two values.
_DIFFERS = re.compile(r"\b(layout|include_reply|media|model|metadata\[.*?\]|since|until)(?= was )")
_EMPTY = re.compile(r"(--?[\w-]+)=")


def options_of(title: str, place: int) -> "partial[Parameter]":
    """Return the maker of the options of a group, which has its place in the help."""
    return partial(Parameter, group=Group(title, sort_key=place), negative="")


# Every command that reads or shows a time has it. The commands that show one hand it to a `Screen`.
Utc = Annotated[
    bool,
    Parameter(
        negative="",
        show_default=False,
        help="Times are in UTC, those given and those shown; else they are local.",
    ),
]

quiet_option = partial(Parameter, name=["--quiet", "-q"], negative="", show_default=False)

AtLeastOne = Annotated[int, Parameter(validator=Number(gte=1))]
Positive = Annotated[float, Parameter(validator=Number(gt=0, lt=math.inf))]
NotNegative = Annotated[float, Parameter(validator=Number(gte=0, lt=math.inf))]

PORT = Number(gte=0, lte=65_535)

# The options of an export and of a sync about their requests.
requested = options_of("Requests", 2)
PageSize = Annotated[
    AtLeastOne | None,
    requested(
        metavar="N", help="Messages per page [100]. Halved automatically if a page is too large."
    ),
]
Concurrency = Annotated[
    AtLeastOne, requested(metavar="N", help="Maximum conversations read at the same time.")
]
MaxRps = Annotated[
    Positive | None,
    requested(
        metavar="N", help="Maximum requests per second. Default: adapts to the server's rate limit."
    ),
]
Quiet = Annotated[bool, quiet_option(help="Print only errors.", **requested.keywords)]


def spelled_out(tokens: Sequence[str]) -> list[str]:
    """Return the command line with an explicit value for each --local.

    A --local may have no value; the next word is then another argument. The word is a database if
    it is an existing file or looks like a path.

    Raises UsageError for a key, which the process list would show, and for an empty word: an empty
    path would be the current directory, and no completion has the empty model.
    """
    words = list(tokens)
    end = words.index("--") if "--" in words else len(words)
    for position, word in enumerate(words[:end]):
        _refuse_empty(word, behind=words[position - 1] if position else "")
        if _KEY_OPTION.fullmatch(word):
            raise UsageError(
                "a key in argv can be read by everyone on this machine",
                "use OPENAI_API_KEY, --api-key-file FILE or --api-key-file -",
            )
        if word == "--local" and not _is_database([*words[:end], ""][position + 1]):
            words[position] = f"--local={SAMPLE}"
    return words


def _refuse_empty(word: str, *, behind: str) -> None:
    assigned = _EMPTY.fullmatch(word)
    if not word or assigned:
        option = assigned[1] if assigned else behind
        named = option if option.startswith("-") else "an argument"
        raise UsageError(f"{named} is empty", "is a variable of the shell not set?")


def taken_for_an_argument(tokens: Sequence[str]) -> str | None:
    """Return the word after --local that did not count as its database; None if there is none."""
    for flag, word in pairwise(tokens):
        if flag == "--local" and not word.startswith("-") and not _is_database(word):
            return word
    return None


def database_of_local(tokens: Sequence[str]) -> str | None:
    """Return the word that --local took as its database; None if there is none."""
    pairs = pairwise(tokens)
    return next((word for flag, word in pairs if flag == "--local" and _is_database(word)), None)


def _is_database(word: str) -> bool:
    path_like = any(mark in word for mark in "/\\") or word.endswith(DATABASE_ENDINGS)
    return not word.startswith("-") and (path_like or word == SAMPLE or Path(word).is_file())


def in_options(text: str) -> str:
    """Return a text of the library with the names of options instead of arguments."""
    for argument, option in _SPELLING.items():
        text = text.replace(argument, option)
    return _DIFFERS.sub(lambda found: "--" + found[1].replace("_", "-"), text)


@Parameter(name="*", group=_SERVER)
@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The options of the server, the account and the retries."""

    api_key_file: Annotated[
        str | None,
        Parameter(
            metavar="FILE",
            allow_leading_hyphen=True,
            help="Read the API key from FILE, again when it changes, or from standard input if FILE"
            " is -. Default: OPENAI_API_KEY.",
        ),
    ] = None
    api_key_command: Annotated[
        str | None,
        Parameter(
            metavar="COMMAND",
            allow_leading_hyphen=True,
            help="Run COMMAND, without a shell, and read the API key from its output; again before"
            " it expires.",
        ),
    ] = None
    header: Annotated[
        list[str] | None,
        Parameter(
            metavar="'NAME: VALUE'",
            negative="",
            help="Send this header with each request. May be repeated. Secrets belong into"
            " OPENAI_CUSTOM_HEADERS, one header a line.",
        ),
    ] = None
    local: Annotated[
        str | None,
        Parameter(
            metavar="[DB]",
            help="Use an embedded server with the sample conversations, or with DB, an"
            " archive. Needs no key and no network.",
        ),
    ] = None
    base_url: Annotated[
        str | None,
        Parameter(metavar="URL", help="API base URL. Default: OPENAI_BASE_URL, else OpenAI."),
    ] = None
    organization: Annotated[str | None, Parameter(metavar="ID", help="Default: OPENAI_ORG_ID.")] = (
        None
    )
    project: Annotated[str | None, Parameter(metavar="ID", help="Default: OPENAI_PROJECT_ID.")] = (
        None
    )
    timeout: Annotated[
        Positive | None, Parameter(metavar="SECONDS", help="Timeout of one request [60].")
    ] = None
    max_retries: Annotated[
        int,
        Parameter(
            metavar="N", help="Maximum retries of a failed request.", validator=Number(gte=0)
        ),
    ] = 2
    network: Network = field(default_factory=Network)
    # It is here for --help alone: `aiomessages.cli.run` removes it before the options are parsed.
    debug: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Log each request to standard error, and show tracebacks.",
        ),
    ] = False

    def client(self) -> "AbstractAsyncContextManager[AsyncMessagesClient]":
        """Check the options, read the key, and return the context manager of the client.

        Call it outside of an event loop, in which a prompt for the key could not be interrupted.
        Raises UsageError or ConfigurationError before anything is sent or started.
        """
        if self.local is not None:
            return self._embedded(self._database())
        key = key_of(self.api_key_file, self.api_key_command)
        return self._opened(key, self.base_url, **self.network.arguments())

    def origin(self) -> str | None:
        """Return the identity of an embedded server, whose port changes with each run."""
        if self.local is None:
            return None
        return "the sample" if self.local == SAMPLE else f"embedded: {Path(self.local).resolve()}"

    @asynccontextmanager
    async def _embedded(self, database: Path | None) -> AsyncIterator["AsyncMessagesClient"]:
        from .local import serving_to_itself  # noqa: PLC0415 - it imports aiohttp.web

        try:
            async with (
                serving_to_itself(database) as server,
                self._opened(server.api_key, server.base_url) as client,
            ):
                yield client
        except aiomessages.NotFoundError as error:
            # The library's advice is about the API, which forgets after 30 days.
            source, named = (database, f" {database}") if database else ("the sample", "")
            name = error.completion_id
            raise NotStoredError(
                f"{source} has no completion {name}" if name else f"{source} has none of the ids",
                f"`aiomessages completions --local{named}` lists the ids",
            ) from None

    def _opened(
        self, api_key: "ApiKey | None", base_url: str | None, **network: Any
    ) -> "AsyncMessagesClient":
        given = api_key or os.environ.get("OPENAI_API_KEY")
        stderr.conceal(given if isinstance(given, str) else None)
        return aiomessages.AsyncMessagesClient(
            api_key,
            base_url=base_url,
            organization=self.organization,
            project=self.project,
            default_headers=headers_of(self.header or ()),
            timeout=aiomessages.Timeout() if self.timeout is None else self.timeout,
            retry=aiomessages.RetryPolicy(max_retries=self.max_retries),
            **network,
        )

    def _database(self) -> Path | None:
        """Return the database of --local; None for the sample."""
        key = self.api_key_file is not None or self.api_key_command is not None
        if self.base_url is not None or key:
            raise UsageError(
                "--local has its own server and key",
                "leave --base-url, --api-key-file and --api-key-command out",
            )
        if self.network != Network():
            raise UsageError("--local needs no network", "leave the options for it out")
        if self.local == SAMPLE:
            return None
        database = Path(str(self.local))
        if not database.is_file():
            raise UsageError(f"--local {database}: there is no such database", MAKE_ARCHIVE)
        return database
