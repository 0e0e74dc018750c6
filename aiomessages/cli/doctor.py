"""`aiomessages doctor`: show the way to the API, try one request, and say what is wrong.

It lists one completion. `route` describes the way, and `diagnosis` explains the error.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cyclopts import App

import aiomessages
from aiomessages.calls.api_key import Key
from aiomessages.client import caller_of
from aiomessages.errors import APIResponseError, MessagesError
from aiomessages.wire.retry_after import date_of

from . import output, running
from .diagnosis import Diagnosis, clock_problem, diagnose
from .exits import UsageError
from .options import Connection, in_options
from .route import key_text, lines_of
from .safe_text import one_line

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from aiomessages import AsyncMessagesClient

Show = Callable[[str, str], None]

_EXAMPLES = """\
Examples:
  aiomessages doctor
  aiomessages doctor --base-url https://NAME.openai.azure.com/openai/v1
  aiomessages doctor --api-key-file ~/.secrets/openai --debug
"""

app = App(name="doctor", help_epilogue=_EXAMPLES)


@app.default
def doctor(
    *,
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> None:
    """Show the way to the API, try one request, and say what is wrong."""
    with output.opened(output.STANDARD_OUTPUT) as write:

        def show(label: str, text: str) -> None:
            write(f"{label:12}{one_line(in_options(text))}\n".encode())

        try:
            for label, text in lines_of(connection):
                show(label, text)
            running.run(_try(connection.client(), connection, show))
        except (MessagesError, UsageError) as error:
            found = diagnose(error)
            _show_diagnosis(found, show)
            error.hint = error.hint or found.advice
            raise


async def _try(
    opening: "AbstractAsyncContextManager[AsyncMessagesClient]",
    connection: Connection,
    show: Show,
) -> None:
    """Ask for one completion, and show what came of it."""
    async with opening as opened:
        client = opened.with_options(retry=aiomessages.RetryPolicy(max_retries=0))
        key = caller_of(client).attempts.rules.api_key
        show("key", key_text(connection, key.secret if isinstance(key, Key) else await key()))
        began = time.monotonic()
        try:
            page = await client.completions(limit=1, max_items=1)
        except APIResponseError as error:
            _show_response(error.status, error.headers, began, show)
            raise
        _show_response(200, page.headers, began, show)
        found = "there is a stored completion" if len(page) else "no completion is stored yet"
        show("result", f"It works: {found}.")


def _show_response(status: int, headers: Mapping[str, str], began: float, show: Show) -> None:
    milliseconds = 1000 * (time.monotonic() - began)
    show("request", f"GET /chat/completions: status {status} in {milliseconds:.0f} ms")
    sent = date_of(headers)
    wrong_clock = None if sent is None else clock_problem(time.time() - sent)
    if wrong_clock is not None:
        _show_diagnosis(wrong_clock, show)


def _show_diagnosis(diagnosis: Diagnosis, show: Show) -> None:
    show("problem", diagnosis.problem)
    show("advice", diagnosis.advice)
