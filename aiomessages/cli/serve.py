"""`aiomessages serve`: run the local server in the foreground, until Ctrl-C or SIGTERM.

`aiomessages.server` describes the server.
"""

import textwrap
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from aiomessages.archive.leftovers import no_file_left
from aiomessages.server.faults import FAULTS, Plan

from . import output
from .exits import UsageError
from .key_file import read_or_create
from .local import explained, serving
from .options import PORT, NotNegative, Positive, quiet_option
from .running import stop_signal
from .stderr import say, say_all

if TYPE_CHECKING:
    from aiomessages.server import LocalServer

_EXAMPLES = """\
Examples:
  aiomessages serve                             serve the sample from memory
  aiomessages serve my.db --import records.jsonl.gz --port 8123
  aiomessages serve my.db --latency 0.15 --rate 50
  aiomessages serve --port 8123 --key-file ~/.local-key     the same each time
  aiomessages serve --fault server-error:2      fail twice, then answer
  aiomessages serve --fault reset@3             reset from the third request on
  aiomessages list COMPLETION_ID --local my.db  read it without a server

Faults:
"""
_NAMES = textwrap.fill(" ".join(FAULTS), 76, break_on_hyphens=False)

# The shells complete the names; NAME:K and NAME@N are as good.
if TYPE_CHECKING:
    Fault = str
else:
    Fault = Literal[tuple(FAULTS)] | str

app = App(
    name="serve",
    usage="Usage: aiomessages serve [OPTIONS] [DATABASE]",
    help_epilogue=_EXAMPLES + textwrap.indent(_NAMES, "  "),
)


@app.default
async def serve(
    database: Annotated[
        Path | None,
        Parameter(
            metavar="DB",
            help="Archive (a SQLite file), created if it is missing. Without DB and --import the"
            " sample is served from memory.",
        ),
    ] = None,
    /,
    *,
    port: Annotated[
        int,
        Parameter(metavar="N", help="Port on 127.0.0.1; 0 means any free port.", validator=PORT),
    ] = 0,
    import_file: Annotated[
        Path | None,
        Parameter(
            name="--import",
            metavar="FILE",
            help="Load records from FILE (.jsonl or .jsonl.gz) first, one completion per line:"
            ' {"completion": …, "messages": […]}.',
        ),
    ] = None,
    key_file: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            help="Keep the key in FILE over runs. It is created, for you alone, if it is missing.",
        ),
    ] = None,
    latency: Annotated[
        NotNegative, Parameter(metavar="SECONDS", help="Delay of each response.")
    ] = 0.0,
    rate: Annotated[
        Positive | None,
        Parameter(metavar="N", help="Maximum requests per second; others get 429."),
    ] = None,
    fault: Annotated[
        list[Fault] | None,
        Parameter(
            metavar="NAME",
            negative="",
            show_choices=False,
            help="Inject a fault: NAME into every request, NAME:K into K requests, NAME@N from"
            " request N on. May be repeated: the next fault begins when one has ended.",
        ),
    ] = None,
    quiet: Annotated[
        bool, quiet_option(help="Print only the settings for the shell, and errors.")
    ] = False,
) -> None:
    """Serve stored completions on this machine like the API."""
    faults = list(fault or ())
    _check(database, import_file, faults)
    api_key = read_or_create(key_file) if key_file else None
    stop = stop_signal()
    async with AsyncExitStack() as held:
        if database is not None:
            held.enter_context(no_file_left(database))
        server = await held.enter_async_context(
            serving(
                database,
                sample=database is None and import_file is None,
                port=port,
                api_key=api_key,
                latency=latency,
                rate=rate,
                faults=faults,
                on_failure=lambda error: say(str(error)),
            )
        )
        if import_file:
            with explained(import_file):
                count = await server.import_records(import_file)
            if not quiet:
                say(f"imported {count} completions")
        if not quiet:
            _tell(server, database, key_file)
        _show(server)
        await stop.wait()
    if not quiet:
        say("stopped")


def _check(database: Path | None, import_file: Path | None, faults: list[str]) -> None:
    """Raise UsageError before a database is opened."""
    if database and (database.is_dir() or not database.parent.is_dir()):
        raise UsageError(
            f"{database}: cannot create a database there", "name a file in a directory"
        )
    if import_file and not import_file.is_file():
        raise UsageError(f"--import {import_file}: no such file", "name a file of JSON Lines")
    try:
        Plan(faults)
    except ValueError as error:
        raise UsageError(f"--fault: {error}", "aiomessages serve --help lists them") from None


def _tell(server: "LocalServer", database: Path | None, key_file: Path | None) -> None:
    say(f"serving {database or 'from memory'} at {server.base_url}; Ctrl-C stops it")
    if server.faults:
        say(f"playing {', '.join(server.faults)}")
    kept = (
        f"The key is that of {key_file}:" if key_file else "The key is random, for this run only:"
    )
    say_all(kept)


def _show(server: "LocalServer") -> None:
    """Print the settings of the shell to standard output, from where a script can read them."""
    exports = f"export OPENAI_BASE_URL={server.base_url}\nexport OPENAI_API_KEY={server.api_key}\n"
    with output.opened(output.STANDARD_OUTPUT) as write:
        write(exports.encode())
