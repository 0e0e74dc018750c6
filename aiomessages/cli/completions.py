"""`aiomessages completions`: list the stored completions in a format.

It connects the selection, the client, the format and the output.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from cyclopts import App, Group, Parameter

from aiomessages.export.created_between import CreatedBetween
from aiomessages.wire.decoding import despite_lone_surrogates

from . import formats, output, running
from .options import AtLeastOne, Connection
from .selection import Metadata, Model, Since, Until, metadata_of, span_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from aiomessages import AsyncMessagesClient
    from aiomessages.export.created_between import Order, TimeRange
    from aiomessages.paging.stream import CompletionStream

_WHICH = Group("Selection", sort_key=0)
_HOW = Group("Output", sort_key=1)
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
        Parameter(group=_WHICH, metavar="ID", help="Start after the completion with this id."),
    ] = None,
    limit: Annotated[
        AtLeastOne | None,
        Parameter(
            group=_WHICH, metavar="N", help="Completions per page; --max-items limits their total."
        ),
    ] = None,
    order: Annotated[
        Literal["asc", "desc"],
        Parameter(group=_WHICH, help="Oldest first (asc) or newest first (desc)."),
    ] = "asc",
    max_items: Annotated[
        AtLeastOne | None,
        Parameter(group=_WHICH, metavar="N", help="Stop after N completions."),
    ] = None,
    format: Annotated[  # noqa: A002 - the name of the option
        formats.Name,
        Parameter(
            group=_HOW,
            help="auto means pretty at a terminal and jsonl elsewhere; yaml is one list; raw is one"
            " completion per line, as the server sent it.",
        ),
    ] = "auto",
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> None:
    """List the stored chat completions.

    The list includes the model's replies. `aiomessages list ID` shows the messages sent to it.
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
            max_items=None if span else max_items,  # items outside the span do not count
        )

    def chosen(stream: "CompletionStream") -> AsyncIterator[Any]:
        return _first(max_items, _items(stream, shown, span, order))

    with output.opened(output.STANDARD_OUTPUT) as write:
        running.run(_write(connection.client(), asked, chosen, shown, write))


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
    stream: "CompletionStream", shown: formats.Format, span: "TimeRange", order: "Order"
) -> AsyncGenerator[Any, None]:
    chosen = CreatedBetween(stream, since=span.since, until=span.until, order=order)
    async with aclosing(chosen.__aiter__()) as items:
        async for item in items:
            yield item if shown.reads_raw else _decoded(item)


# Fields may have any type, such as a time that is a float: the completion is shown nevertheless.
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any], float_hook=float)


def _decoded(item: bytes) -> dict[str, Any]:
    try:
        found, _ = despite_lone_surrogates(_OBJECT.decode, item)
    except msgspec.ValidationError:  # an integer with more digits than Python reads
        found = json.loads(item, parse_int=_int_or_infinity)
    return found


def _int_or_infinity(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


async def _first(number: int | None, items: AsyncGenerator[Any, None]) -> AsyncIterator[Any]:
    """Yield at most `number` items, and request none after the last of them."""
    counted = count(1)
    async with aclosing(items):
        async for item in items:
            yield item
            if next(counted) == number:
                return
