"""`aiomessages completions`: list the stored completions in a format.

It connects the selection, the client, the format and the output.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from itertools import count
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from aiomessages.export.created_between import CreatedBetween
from aiomessages.wire.decoding import despite_lone_surrogates, read_object

from . import formats, output, running, selection
from .options import Connection, Utc

_EXAMPLES = """\
Examples:
  aiomessages completions --order desc --max-items 10
  aiomessages completions --model gpt-4o --metadata team=search --since 3d
  aiomessages completions --since 2026-11-01 --until 2026-11-08 --format table
  aiomessages completions --since 1d | jq -r .id > ids.txt
"""

app = App(name="completions", group_parameters=selection.COMPLETIONS, help_epilogue=_EXAMPLES)


@app.default
def list_completions(
    *,
    model: selection.Model = None,
    metadata: selection.Metadata = None,
    since: selection.Since = None,
    until: selection.Until = None,
    utc: Utc = False,
    after: selection.After = None,
    limit: selection.Limit = None,
    order: Annotated[
        Literal["asc", "desc"], Parameter(help="Oldest first (asc) or newest first (desc).")
    ] = "asc",
    max_items: selection.MaxItems = None,
    format: formats.Option = "auto",  # noqa: A002 - the name of the option
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> None:
    """List the stored chat completions.

    The list includes the model's replies. `aiomessages list ID` shows the messages sent to it.
    """
    span, wanted = selection.span_of(since, until, utc=utc), selection.metadata_of(metadata)
    screen = output.screen_for(output.STANDARD_OUTPUT, utc=utc)
    shown = formats.of_completions(format, screen)

    opening = connection.client()

    async def show(write: output.Write) -> None:
        async with opening as client:
            stream = client.completions(
                model=model,
                metadata=wanted,
                after=after,
                limit=limit,
                order=order,
                max_items=None if span else max_items,  # items outside the span do not count
            )
            chosen = CreatedBetween(stream, since=span.since, until=span.until, order=order)
            await formats.write_all(_items(chosen, shown, max_items), shown, write)

    with output.opened(output.STANDARD_OUTPUT) as write:
        running.run(show(write))


async def _items(
    chosen: CreatedBetween, shown: formats.Format, most: int | None
) -> AsyncIterator[Any]:
    """Yield at most `most` completions, and request none after the last of them."""
    counted = count(1)
    async with aclosing(chosen.__aiter__()) as items:
        async for item in items:
            # Fields may have any type, such as a time that is a float.
            yield item if shown.reads_raw else despite_lone_surrogates(read_object, item)[0]
            if next(counted) == most:
                return
