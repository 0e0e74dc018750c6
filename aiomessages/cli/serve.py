"""`aiomessages serve`: the local server in the foreground, until Ctrl-C or SIGTERM.

It shows how to reach the server and waits; what the server does is told in `aiomessages.server`.
"""

import asyncio
import signal
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from aiomessages.server.faults import FAULTS, Plan

from . import output
from .exits import UsageError
from .local import imported, serving
from .options import NotNegative, Positive
from .stderr import say, say_all

if TYPE_CHECKING:
    from aiomessages.server import LocalServer

_PORT = Number(gte=0, lte=65_535)

_EXAMPLES = """\
Examples:
  aiomessages serve                             the sample, from memory
  aiomessages serve my.db --import records.jsonl.gz --port 8123
  aiomessages serve my.db --latency 0.15 --rate 50
  aiomessages serve --fault server-error:2      two failures, then all is well
  aiomessages serve --fault reset@3             two pages, and then no more
  aiomessages list COMPLETION_ID --local my.db  without a server of its own

Faults:
"""
_NAMES = textwrap.fill(" ".join(FAULTS), 76, break_on_hyphens=False)

app = App(name="serve", help_epilogue=_EXAMPLES + textwrap.indent(_NAMES, "  "))


@app.default
async def serve(
    database: Annotated[
        Path | None,
        Parameter(
            metavar="DB",
            help="The SQLite file, made if it is missing. Without it, and without --import, the"
            " sample is served from memory.",
        ),
    ] = None,
    /,
    *,
    port: Annotated[
        int,
        Parameter(metavar="N", help="The port on 127.0.0.1; 0: any free one.", validator=_PORT),
    ] = 0,
    import_file: Annotated[
        Path | None,
        Parameter(
            name="--import",
            metavar="FILE",
            help='Load these records first, {"completion": …, "messages": […]} a line; .gz too.',
        ),
    ] = None,
    latency: Annotated[
        NotNegative, Parameter(metavar="SECONDS", help="How long each answer is held back.")
    ] = 0.0,
    rate: Annotated[
        Positive | None,
        Parameter(metavar="N", help="Requests a second; what is above gets 429."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        Parameter(
            metavar="NAME",
            negative="",
            help="Play a fault, to rehearse it: NAME on every request, NAME:K on K of them, NAME@N"
            " from the Nth on. May be repeated: the next begins when one is spent.",
        ),
    ] = None,
) -> None:
    """Serve stored completions on this machine, as the API does."""
    faults = _known(fault or [])
    _check(database, import_file)
    stop = _stop_signal()
    async with serving(
        database,
        sample=database is None and import_file is None,
        port=port,
        latency=latency,
        rate=rate,
        faults=faults,
    ) as server:
        if import_file:
            say(f"imported {await imported(server, import_file)} completions")
        _show(server, database)
        await stop.wait()
    say("stopped")


def _check(database: Path | None, import_file: Path | None) -> None:
    if database and (database.is_dir() or not database.parent.is_dir()):
        raise UsageError(f"{database}: no database can be there")
    if import_file and not import_file.is_file():
        raise UsageError(f"--import {import_file}: there is no such file")


def _known(faults: list[str]) -> list[str]:
    """Return the faults, if all are known; they are refused before a database is touched."""
    try:
        Plan(faults)
    except ValueError as error:
        raise UsageError(f"--fault: {error}") from None
    return faults


def _stop_signal() -> asyncio.Event:
    """Return an event that Ctrl-C and SIGTERM set: for a server both are the ordinary end."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows, where Ctrl-C interrupts instead
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _show(server: "LocalServer", database: Path | None) -> None:
    """Put the lines to paste on standard output, so that a script can take them from there."""
    say(f"serving {database or 'from memory'} at {server.base_url}; Ctrl-C stops it")
    if server.faults:
        say(f"playing {', '.join(server.faults)}")
    say_all("The key is this server's own, made up for this run and worth nothing elsewhere:")
    exports = f"export OPENAI_BASE_URL={server.base_url}\nexport OPENAI_API_KEY={server.api_key}\n"
    with output.opened(output.STANDARD_OUTPUT) as write:
        write(exports.encode())
