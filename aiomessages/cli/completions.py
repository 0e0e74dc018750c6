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

from . import formats, output, running, selection, stderr, transform
from .options import Connection, Utc

_EXAMPLES = """\
Examples:
  aiomessages completions --max-items 10
  aiomessages completions --model gpt-4o --metadata team=search --since 3d
  aiomessages completions --since 2026-11-01 --until 2026-11-08 --format table
  aiomessages completions --since 1d | jq -r .id > ids.txt
  aiomessages completions --transform '[id, usage.total_tokens]' -o tokens.json
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
        Literal["asc", "desc"], Parameter(help="Newest first (desc) or oldest first (asc).")
    ] = "desc",
    max_items: selection.MaxItems = None,
    format: formats.Option = "auto",  # noqa: A002 - the name of the option
    expression: transform.Option = None,
    output_file: formats.OutputFile = output.STANDARD_OUTPUT,
    quiet: formats.Quiet = False,
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> None:
    """List the stored chat completions, the newest first.

    The list includes the model's replies. `aiomessages list ID` shows the messages sent to it.
    """
    span, wanted = selection.span_of(since, until, utc=utc), selection.metadata_of(metadata)
    change = transform.compiled(expression)
    screen = output.screen_for(output_file, utc=utc)
    format = formats.for_file(output_file, format)  # noqa: A001
    shown = formats.of_completions(format, screen, transformed=change is not None)

    opening = connection.client()
    found = 0

    async def show(write: output.Write) -> None:
        nonlocal found
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
            items = _items(chosen, shown, max_items, change)
            found = await formats.write_all(items, shown, write)

    with output.opened(output_file) as write:
        running.run(show(write))
    if not found and not quiet:
        narrowed = bool(model or wanted or span or after)
        stderr.say(*selection.of_nothing(narrowed=narrowed))


async def _items(
    chosen: CreatedBetween,
    shown: formats.Format,
    most: int | None,
    change: transform.Transform | None,
) -> AsyncIterator[Any]:
    """Yield at most `most` completions, and request none after the last of them."""
    counted = count(1)
    async with aclosing(chosen.__aiter__()) as items:
        async for item in items:
            if shown.reads_raw:
                yield item
            else:  # fields may have any type, such as a time that is a float
                read, _ = despite_lone_surrogates(read_object, item)
                yield change(read) if change else read
            if next(counted) == most:
                return
