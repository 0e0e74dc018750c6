"""`aiomessages show`: show one conversation whole, with the model's reply.

It connects the options, the client, the format and the output.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

from aiomessages.values.json_lines import on_one_line

from . import formats, output, pretty, pretty_completions, running
from .ids import check_no_archive
from .options import Connection, Utc
from .safe_text import visible_json

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from aiomessages import AsyncMessagesClient

_EXAMPLES = """\
Examples:
  aiomessages show chatcmpl-abc123
  aiomessages show chatcmpl-abc123 --local archive.db --utc
  aiomessages show chatcmpl-abc123 --format json -o conversation.json
"""
Name = Literal["auto", "pretty", "json", "jsonl", "raw"]

app = App(name="show", help_epilogue=_EXAMPLES)


@app.default
def show(
    completion_id: Annotated[
        str, Parameter(metavar="COMPLETION_ID", help="Id of the stored completion, chatcmpl-….")
    ],
    *,
    format: Annotated[  # noqa: A002 - the name of the option
        Name,
        formats.shown_by(
            help="auto means pretty at a terminal and jsonl elsewhere. The others are one object"
            ' {"completion": …, "messages": […]}, the form that `serve --import` reads: indented'
            " (json), on one line (jsonl), or with the bytes of the server (raw).",
        ),
    ] = "auto",
    utc: Utc = False,
    output_file: formats.OutputFile = output.STANDARD_OUTPUT,
    connection: Connection = Connection(),  # noqa: B008 - frozen, so that one serves every call
) -> None:
    """Show one conversation: its messages, the model's reply, model, time and tokens."""
    check_no_archive(completion_id)
    format = formats.for_file(output_file, format, Name)  # noqa: A001
    screen = output.screen_for(output_file, utc=utc)
    chosen = ("pretty" if screen.terminal else "jsonl") if format == "auto" else format

    with output.opened(output_file) as write:
        if chosen == "pretty":
            running.run(_pretty(connection.client(), completion_id, screen, write))
        else:
            record = _RECORDS[chosen]
            running.run(_record(connection.client(), completion_id, record, screen, write))


async def _pretty(
    opening: "AbstractAsyncContextManager[AsyncMessagesClient]",
    completion_id: str,
    screen: output.Screen,
    write: output.Write,
) -> None:
    def say(text: str) -> None:
        write(text.encode(screen.encoding, "backslashreplace"))

    async with opening as client:
        completion = await client.completion(completion_id)
        say(pretty_completions.heading(screen)(completion.to_dict()))
        show_message = pretty.message(screen)
        async with client.list(completion_id) as messages:
            async for message in messages:
                say("\n" + show_message(message.to_dict()))
        for choice in completion.choices:
            ended = f"reply, finish_reason {choice.finish_reason}"
            show_reply = pretty.message(screen, note=ended if choice.finish_reason else "reply")
            say("\n" + show_reply({"role": "assistant"} | choice.message.to_dict()))


async def _record(
    opening: "AbstractAsyncContextManager[AsyncMessagesClient]",
    completion_id: str,
    made: Callable[[bytes, list[bytes]], bytes],
    screen: output.Screen,
    write: output.Write,
) -> None:
    async with opening as client:
        completion = await client.raw_completion(completion_id)
        async with client.list(completion_id) as stream:
            document = made(completion, [message async for message in stream.raw()])
    if screen.terminal:
        document = visible_json(document.decode("utf-8", "backslashreplace")).encode()
    write(document + b"\n")


def _raw(completion: bytes, messages: list[bytes]) -> bytes:
    return b'{"completion":%b,"messages":[%b]}' % (completion, b",".join(messages))


def _jsonl(completion: bytes, messages: list[bytes]) -> bytes:
    return on_one_line(_raw(completion, messages))


def _json(completion: bytes, messages: list[bytes]) -> bytes:
    return msgspec.json.format(_raw(completion, messages), indent=2)


_RECORDS: dict[str, Any] = {"json": _json, "jsonl": _jsonl, "raw": _raw}
