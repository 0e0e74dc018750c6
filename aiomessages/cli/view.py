"""`aiomessages view`: read an archive in the browser, until Ctrl-C or SIGTERM.

`aiomessages.view` has the pages. They are served on this machine alone.
"""

import importlib.util
import os
import sys
import tempfile
import threading
import webbrowser
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from aiomessages.archive.connection import ReadConnection

from . import output
from .exits import CommandError, UsageError
from .options import PORT, quiet_option
from .running import stop_signal
from .stderr import say

if TYPE_CHECKING:
    import socket

_EXAMPLES = """\
Examples:
  aiomessages view archive.db
  aiomessages view                              look at the sample
  aiomessages view archive.db --port 8200 --no-open
  aiomessages view archive.db --port 8200 --allow-host read.example.com --token-file token.txt

Only who has the token can read, on this machine alone. It is printed as part of the address.
"""
_PACKAGES = ("jinja2", "markdown_it", "pygments")  # of the extra
_SHORTEST_TOKEN = 20  # characters

app = App(name="view", help_epilogue=_EXAMPLES)


@app.default
async def view(
    archive: Annotated[
        Path | None,
        Parameter(
            metavar="ARCHIVE",
            help="The file that `aiomessages sync` keeps. Without it the sample is shown.",
        ),
    ] = None,
    /,
    *,
    port: Annotated[
        int,
        Parameter(metavar="N", help="Port on 127.0.0.1; 0 means any free port.", validator=PORT),
    ] = 0,
    no_open: Annotated[
        bool, Parameter(negative="", show_default=False, help="Do not open the browser.")
    ] = False,
    utc: Annotated[
        bool,
        Parameter(negative="", show_default=False, help="Show days and times in UTC, not local."),
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        Parameter(
            metavar="HOST",
            negative="",
            help="Accept requests to HOST (or HOST:PORT) as well, the name of a reverse proxy. May"
            " be repeated.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            help="Read the token from FILE, so that the address stays. It is not printed then.",
        ),
    ] = None,
    quiet: Annotated[bool, quiet_option(help="Print only the address, and errors.")] = False,
) -> None:
    """Read the conversations of an archive in the browser."""
    _check_the_extra()
    from aiomessages.view import serving  # noqa: PLC0415 - it needs the extra
    from aiomessages.view.access import Access  # noqa: PLC0415
    from aiomessages.view.app import create_app  # noqa: PLC0415

    token = _token_of(token_file) if token_file else None
    stop = stop_signal()
    async with _readable(archive) as path:
        with _bound(port) as listener:
            access = Access(listener.getsockname()[1], token=token, hosts=allow_host or ())
            application = create_app(path, access=access, utc=utc)
            async with serving.serving(application, listener):
                if not quiet:
                    say(f"showing {archive or 'the sample'}; Ctrl-C ends it")
                _show(access.address, None if token else access.token)
                if token and not quiet:
                    say(f"open it as {access.address}?token=…, with the token of {token_file}")
                if not no_open and _has_display():
                    _open(f"{access.address}?token={access.token_for_once()}")
                await stop.wait()
    if not quiet:
        say("stopped")


def _check_the_extra() -> None:
    if not all(importlib.util.find_spec(name) for name in _PACKAGES):
        raise UsageError("the pages need an extra", "pip install 'aiomessages[view]'")


def _token_of(path: Path) -> str:
    """Return the token of a file. Raises UsageError for one that is none."""
    try:
        token = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"--token-file {path}: {reason}", _write_one(path)) from None
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable():
        raise UsageError(
            f"--token-file {path}: a token is one line of {_SHORTEST_TOKEN} or more ASCII"
            " characters",
            _write_one(path),
        )
    return token


def _write_one(path: Path) -> str:
    return f"write one: openssl rand -hex 32 > {path}"


@asynccontextmanager
async def _readable(archive: Path | None) -> AsyncIterator[Path]:
    """Give the path of the archive, or that of the sample in a temporary one.

    Raises ArchiveError for a file that cannot be shown, before anything is served.
    """
    with ExitStack() as held:
        if archive is None:
            folder = held.enter_context(tempfile.TemporaryDirectory(prefix="aiomessages-"))
            archive = Path(folder, "sample.db")
            _write_the_sample(archive)
        connection = ReadConnection(archive)
        try:
            await connection.open()
        finally:
            await connection.aclose()
        yield archive


def _write_the_sample(archive: Path) -> None:
    from aiomessages.archive.store import import_records  # noqa: PLC0415 - other pages start sooner
    from aiomessages.server.sample import sample_records  # noqa: PLC0415

    import_records(str(archive), sample_records())


def _bound(port: int) -> "socket.socket":
    from aiomessages.view.serving import bound  # noqa: PLC0415

    try:
        return bound(port)
    except OSError as error:
        # create_server() adds the address to the text of the system.
        reason = os.strerror(error.errno) if error.errno else error
        raise CommandError(
            f"cannot serve on port {port}: {reason}",
            "choose another --port, or none for a free one",
        ) from None


def _show(address: str, token: str | None) -> None:
    """Print the address to standard output, from where a script can read it."""
    with output.opened(output.STANDARD_OUTPUT) as write:
        write(f"{address}?token={token}\n".encode() if token else f"{address}\n".encode())


def _has_display() -> bool:
    """Return whether a browser can open a window here."""
    displays = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, displays))


def _open(address: str) -> None:
    try:
        browser = webbrowser.get()
    except webbrowser.Error:  # there is none
        return
    # Python also finds lynx and the like, which would take the terminal: who wants one says so.
    if type(browser) is webbrowser.GenericBrowser and not os.environ.get("BROWSER"):
        return
    # Some browsers end only when their window is closed, and may stay when this program ends.
    threading.Thread(target=browser.open, args=(address,), daemon=True).start()
