"""`aiomessages list`: show the messages of one stored completion in a format.

It connects the options, the client, the format and the output.
"""

import shlex
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter

from . import formats, output, running, stderr, transform
from .ids import check_no_archive
from .options import SAMPLE, Connection, NotNegative
from .selection import After, Limit, MaxItems

if TYPE_CHECKING:
    from aiomessages import MessageStream

_EXAMPLES = """\
Examples:
  aiomessages list chatcmpl-abc123
  aiomessages list chatcmpl-abc123 --order desc --max-items 5
  aiomessages list chatcmpl-abc123 --format json -o conversation.json
  aiomessages list chatcmpl-abc123 --transform '[role, content]' | head
  aiomessages list chatcmpl-abc123 --api-key-file ~/.secrets/openai
  pass show openai | aiomessages list chatcmpl-abc123 --api-key-file -
"""

_WHICH = Group("Selection", sort_key=0)
app = App(name="list", group_parameters=_WHICH, help_epilogue=_EXAMPLES)


@app.default
def list_messages(
    completion_id: Annotated[
        str, Parameter(metavar="COMPLETION_ID", help="Id of the stored completion, chatcmpl-….")
    ],
    *,
    after: After = None,
    limit: Limit = None,
    order: Annotated[
        Literal["asc", "desc"] | None,
        Parameter(help="Oldest first (asc, the server's default) or newest first (desc)."),
    ] = None,
    max_items: MaxItems = None,
    wait_until_visible: Annotated[
        NotNegative,
        Parameter(
            metavar="SECONDS",
            help="Keep retrying a 404 for this long; new completions take seconds to appear.",
        ),
    ] = 0,
    format: formats.Option = "auto",  # noqa: A002 - the name of the option
    expression: transform.Option = None,
    output_file: formats.OutputFile = output.STANDARD_OUTPUT,
    quiet: formats.Quiet = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> None:
    """Show the messages of a stored chat completion.

    These were sent to the model. The API keeps its reply in the completion itself:
    `aiomessages show` shows both.
    """
    check_no_archive(completion_id)
    change = transform.compiled(expression)
    screen = output.screen_for(output_file)
    format = formats.for_file(output_file, format)  # noqa: A001
    shown = formats.named(format, screen, transformed=change is not None)

    opening = connection.client()
    found = 0

    async def show(write: output.Write) -> None:
        nonlocal found
        async with opening as client:
            stream = client.list(
                completion_id,
                after=after,
                limit=limit,
                order=order,
                max_items=max_items,
                wait_until_visible=wait_until_visible,
            )
            async with stream:
                found = await formats.write_all(_items(stream, shown, change), shown, write)

    with output.opened(output_file) as write:
        running.run(show(write))
    if quiet:
        return
    if not found:
        stderr.say(f"{completion_id} has no message" + (f" after {after}" if after else "s"))
    if screen.terminal:
        stderr.say(
            "the model's reply is not in this list: aiomessages show"
            f" {shlex.quote(completion_id)}{_local(connection)}"
        )


def _local(connection: Connection) -> str:
    """Return the option --local as it was given."""
    if connection.local is None:
        return ""
    return " --local" + ("" if connection.local == SAMPLE else f" {shlex.quote(connection.local)}")


async def _items(
    stream: "MessageStream", shown: formats.Format, change: transform.Transform | None
) -> AsyncIterator[Any]:
    if shown.reads_raw:
        async for raw in stream.raw():
            yield raw
    else:
        async for message in stream:
            yield change(message.to_dict()) if change else message.to_dict()
