"""`aiomessages completions`: the stored completions, in the format that is asked for.

It joins selection, client, format and output, and decides nothing about any of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter

from aiomessages.cli import formats, output
from aiomessages.cli.options import AtLeastOne, Connection
from aiomessages.cli.selection import Metadata, Model, Since, Until, metadata_of, span_of
from aiomessages.export.created import created_of, within

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from aiomessages import AsyncMessagesClient
    from aiomessages.export.created import Span
    from aiomessages.listing import CompletionStream

_WHICH = Group("Which completions", sort_key=0)
_HOW = Group("How they are shown", sort_key=1)
_EXAMPLES = """\
Examples:
  aiomessages completions --order desc --max-items 10
  aiomessages completions --model gpt-4o --metadata team=search --since 3d
  aiomessages completions --since 2026-11-01 --until 2026-11-08 --format table
  aiomessages completions --since 1d | jq -r .id > ids.txt
"""

app = App(name="completions", help_epilogue=_EXAMPLES)


@app.default
def list_completions(
    *,
    model: Model = None,
    metadata: Metadata = None,
    since: Since = None,
    until: Until = None,
    after: Annotated[
        str | None,
        Parameter(group=_WHICH, metavar="ID", help="Start behind the completion with this id."),
    ] = None,
    limit: Annotated[
        AtLeastOne | None,
        Parameter(
            group=_WHICH, metavar="N", help="Completions a page; for those in all: --max-items."
        ),
    ] = None,
    order: Annotated[
        Literal["asc", "desc"], Parameter(group=_WHICH, help="Oldest first (asc) or newest.")
    ] = "asc",
    max_items: Annotated[
        AtLeastOne | None,
        Parameter(group=_WHICH, metavar="N", help="End after N completions."),
    ] = None,
    format: Annotated[  # noqa: A002 - the name of the option
        formats.Name,
        Parameter(
            group=_HOW,
            help="auto is pretty at a terminal and jsonl elsewhere, yaml one list, raw a completion"
            " a line as the server sent it.",
        ),
    ] = "auto",
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> None:
    """List the stored chat completions.

    They come with the model's replies; what was sent to it: `aiomessages list ID`.
    """
    span, wanted = span_of(since, until), metadata_of(metadata)
    shown = formats.of_completions(format, output.screen_for(output.STANDARD_OUTPUT))

    def asked(client: "AsyncMessagesClient") -> "CompletionStream":
        return client.completions(
            model=model,
            metadata=wanted,
            after=after,
            limit=limit,
            order=order,
            max_items=None if span else max_items,  # those outside of the span do not count
        )

    def chosen(stream: "CompletionStream") -> AsyncIterator[Any]:
        return _first(max_items, _items(stream, shown, span, order))

    with output.opened(output.STANDARD_OUTPUT) as write:
        asyncio.run(_write(connection.client(), asked, chosen, shown, write))


async def _write(
    opening: "AbstractAsyncContextManager[AsyncMessagesClient]",
    asked: Callable[["AsyncMessagesClient"], "CompletionStream"],
    chosen: Callable[["CompletionStream"], AsyncIterator[Any]],
    shown: formats.Format,
    write: output.Write,
) -> None:
    async with opening as client, asked(client) as stream:
        await formats.write_all(chosen(stream), shown, write)


async def _items(
    stream: "CompletionStream",
    shown: formats.Format,
    span: "Span",
    order: Literal["asc", "desc"],
) -> AsyncIterator[Any]:
    if shown.reads_raw:
        async for raw in within(stream.raw(), created_of, span, order):
            yield raw
    else:
        async for completion in within(stream, lambda found: found.created, span, order):
            yield completion.to_dict()


async def _first(number: int | None, items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """Yield so many of the items, and do not ask for one more to find out that it is over."""
    counted = count(1)
    async for item in items:
        yield item
        if next(counted) == number:
            return
