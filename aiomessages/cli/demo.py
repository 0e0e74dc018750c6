"""`aiomessages demo`: the library at work on the sample, with no key and no network.

It starts the local server in this process, reads every conversation, shows one and tells what to
type next. Every figure is measured in this run, the server's own work included.
"""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cyclopts import App

import aiomessages
from aiomessages.cli import formats, output
from aiomessages.cli.local import serving

if TYPE_CHECKING:
    from aiomessages import AsyncMessagesClient, Message, StoredCompletion

_EXAMPLES = """\
Examples:
  aiomessages demo
  aiomessages demo | less
"""

app = App(name="demo", help_epilogue=_EXAMPLES)


class _Conversation(NamedTuple):
    completion: "StoredCompletion"
    messages: list["Message"]


@app.default
async def demo() -> None:
    """Read the sample conversations: no key, no network."""
    with output.opened(output.STANDARD_OUTPUT) as write:
        async with (
            serving(sample=True) as server,
            aiomessages.AsyncMessagesClient(server.api_key, base_url=server.base_url) as client,
        ):
            began = time.perf_counter()
            conversations = await _read_all(client)
            seconds = time.perf_counter() - began
            requests = server.requests
        _show(_worth_reading(conversations), write)
        write(_figures(conversations, requests, seconds).encode())
        write(_next(_worth_reading(conversations).completion.id).encode())


async def _read_all(client: "AsyncMessagesClient") -> list[_Conversation]:
    return [
        _Conversation(completion, [message async for message in client.list(completion.id)])
        async for completion in client.completions(order="asc")
    ]


def _worth_reading(conversations: list[_Conversation]) -> _Conversation:
    """Return the shortest one in which a function is called: it shows most on one screen."""

    def dullness(conversation: _Conversation) -> tuple[bool, int]:
        calls = [call for message in conversation.messages for call in message.tool_calls or ()]
        return not any(call.type == "function" for call in calls), len(conversation.messages)

    return min(conversations, key=dullness)


def _show(conversation: _Conversation, write: output.Write) -> None:
    shown = formats.named("pretty", output.screen_for(output.STANDARD_OUTPUT))
    write(f"The messages of {conversation.completion.id}:\n\n".encode())
    for message in conversation.messages:
        write(shown.item(message.to_dict()) + shown.between)
    write(b"And the reply, which the API keeps in the completion, not among its messages:\n\n")
    for choice in conversation.completion.choices:
        write(shown.item(choice.message.to_dict()) + shown.between)


def _figures(conversations: list[_Conversation], requests: int, seconds: float) -> str:
    count = sum(len(conversation.messages) for conversation in conversations)
    return (
        f"Read {count:,} messages of {len(conversations)} conversations"
        f" with {requests} requests in {seconds:.2f} s:\n"
        f"{count / seconds:,.0f} messages a second, one request after another,"
        " server included.\n"
    )


def _next(completion_id: str) -> str:
    program = _program()
    return (
        "\nWhat to type next:\n"
        f"  {program} list {completion_id} --local --format table\n"
        f"  {program} serve\n"
        "With a key of your own in OPENAI_API_KEY:\n"
        f"  {program} list YOUR_COMPLETION_ID\n"
    )


def _program() -> str:
    """Return what starts this program from here: it need not be on the path.

    nox puts its own environment there, for its sessions alone: not for whoever reads this.
    """
    if shutil.which("aiomessages") and "NOX_CURRENT_SESSION" not in os.environ:
        return "aiomessages"
    beside = Path(sys.executable).with_name("aiomessages")
    return _short(beside) if beside.exists() else f"{_short(Path(sys.executable))} -m aiomessages"


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
