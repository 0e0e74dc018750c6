"""`aiomessages list`: the messages of one stored completion, in the format that is asked for.

It joins options, client, format and output, and decides nothing about any of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import jmespath
from cyclopts import App, Group, Parameter
from jmespath.exceptions import JMESPathError

from aiomessages.cli import formats, output
from aiomessages.cli.exits import TransformError, UsageError
from aiomessages.cli.options import AtLeastOne, Connection, NotNegative

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from aiomessages import AsyncMessagesClient, MessageStream

_WHICH = Group("Which messages", sort_key=0)
_HOW = Group("How they are shown", sort_key=1)
Transform = Callable[[Any], Any]

_EXAMPLES = """\
Examples:
  aiomessages list chatcmpl-abc123
  aiomessages list chatcmpl-abc123 --order desc --max-items 5
  aiomessages list chatcmpl-abc123 --format json -o conversation.json
  aiomessages list chatcmpl-abc123 --transform '[role, content]' | head
  aiomessages list chatcmpl-abc123 --api-key-file ~/.secrets/openai
  pass show openai | aiomessages list chatcmpl-abc123 --api-key-file -
"""

app = App(name="list", help_epilogue=_EXAMPLES)


@app.default
def list_messages(
    completion_id: Annotated[
        str, Parameter(metavar="COMPLETION_ID", help="The stored completion, chatcmpl-….")
    ],
    *,
    after: Annotated[
        str | None,
        Parameter(group=_WHICH, metavar="ID", help="Start behind the message with this id."),
    ] = None,
    limit: Annotated[
        AtLeastOne | None,
        Parameter(
            group=_WHICH, metavar="N", help="Messages a page; for messages in all: --max-items."
        ),
    ] = None,
    order: Annotated[
        Literal["asc", "desc"] | None,
        Parameter(group=_WHICH, help="Oldest first (asc, the server's default) or newest."),
    ] = None,
    max_items: Annotated[
        AtLeastOne | None,
        Parameter(group=_WHICH, metavar="N", help="End after N messages."),
    ] = None,
    wait_until_visible: Annotated[
        NotNegative,
        Parameter(
            group=_WHICH,
            metavar="SECONDS",
            help="Go on asking for a completion that is not found: a fresh one is, for a while.",
        ),
    ] = 0,
    format: Annotated[  # noqa: A002 - the name of the option
        formats.Name,
        Parameter(
            group=_HOW,
            help="auto is pretty at a terminal and jsonl elsewhere, yaml one list, raw a message"
            " a line as the server sent it.",
        ),
    ] = "auto",
    transform: Annotated[
        str | None,
        Parameter(group=_HOW, metavar="JMESPATH", help="Show this part of each message instead."),
    ] = None,
    output_file: Annotated[
        Path,
        Parameter(
            name=["--output", "-o"],
            group=_HOW,
            metavar="FILE",
            allow_leading_hyphen=True,
            show_default=False,
            help="Write to FILE; it appears once it is complete.",
        ),
    ] = output.STANDARD_OUTPUT,
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> None:
    """Show the messages of a stored chat completion.

    They are what was sent to the model. Its reply is not among them: the API keeps it in the
    completion itself.
    """
    change = _compiled(transform)
    screen = output.screen_for(output_file)
    shown = formats.named(format, screen, transformed=change is not None)

    def asked(client: "AsyncMessagesClient") -> "MessageStream":
        return client.list(
            completion_id,
            after=after,
            limit=limit,
            order=order,
            max_items=max_items,
            wait_until_visible=wait_until_visible,
        )

    with output.opened(output_file) as write:
        asyncio.run(_write(connection.client(), asked, shown, change, write))


async def _write(
    opening: "AbstractAsyncContextManager[AsyncMessagesClient]",
    asked: Callable[["AsyncMessagesClient"], "MessageStream"],
    shown: formats.Format,
    change: Transform | None,
    write: output.Write,
) -> None:
    async with opening as client, asked(client) as stream:
        await formats.write_all(_items(stream, shown, change), shown, write)


async def _items(
    stream: "MessageStream", shown: formats.Format, change: Transform | None
) -> AsyncIterator[Any]:
    if shown.reads_raw:
        async for raw in stream.raw():
            yield raw
    else:
        async for message in stream:
            yield change(message.to_dict()) if change else message.to_dict()


def _compiled(expression: str | None) -> Transform | None:
    if expression is None:
        return None
    try:
        search = jmespath.compile(expression).search
    except JMESPathError as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise UsageError(f"--transform {expression}: {reason}") from None
    return _reporting(search, expression)


def _reporting(search: Transform, expression: str) -> Transform:
    """Return the search with an error that names the expression: its types show with data only."""

    def change(message: Any) -> Any:
        try:
            return search(message)
        except JMESPathError as error:
            raise TransformError(f"--transform {expression}: {error}") from None

    return change
