"""`aiomessages demo`: the library at work on the sample, without a key or network.

It starts the local server in this process, reads every conversation, shows one, exports them all to
a temporary directory, queries the export with DuckDB if that is installed, keeps them in an archive
and searches it, and prints commands to try next. Every figure is measured in this run and includes
the server's own work.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cyclopts import App

import aiomessages
from aiomessages.archive import Archive, sync
from aiomessages.export import export

from . import formats, output
from .local import serving
from .pretty_parts import cut
from .safe_text import one_line

if TYPE_CHECKING:
    from aiomessages import AsyncMessagesClient, Message, StoredCompletion

_EXAMPLES = """\
Examples:
  aiomessages demo
  aiomessages demo | less
"""

_QUERY: Final = """\
SELECT role, count(*) AS messages, count(choice) AS replies,
       sum(length(content)) AS characters
FROM '{}' GROUP BY role ORDER BY messages DESC"""

app = App(name="demo", help_epilogue=_EXAMPLES)


class _Conversation(NamedTuple):
    completion: "StoredCompletion"
    messages: list["Message"]


@app.default
async def demo() -> None:
    """Read and export the sample conversations, without a key or network."""
    with output.opened(output.STANDARD_OUTPUT) as write:
        async with (
            serving(sample=True) as server,
            aiomessages.AsyncMessagesClient(server.api_key, base_url=server.base_url) as client,
        ):
            began = time.perf_counter()
            conversations = await _read_all(client)
            seconds = time.perf_counter() - began
            requests = server.requests
            exported = await _exported(client)
            archived = await _archived(client)
        _show(_worth_reading(conversations), write)
        write(_figures(conversations, requests, seconds).encode())
        write(exported.encode())
        write(archived.encode())
        write(_next(_worth_reading(conversations).completion.id).encode())


async def _read_all(client: "AsyncMessagesClient") -> list[_Conversation]:
    return [
        _Conversation(completion, [message async for message in client.list(completion.id)])
        async for completion in client.completions(order="asc")
    ]


def _worth_reading(conversations: list[_Conversation]) -> _Conversation:
    """Return the shortest conversation with a function call: it shows most on one screen."""

    def rank(conversation: _Conversation) -> tuple[bool, int]:
        calls = [call for message in conversation.messages for call in message.tool_calls or ()]
        return not any(call.type == "function" for call in calls), len(conversation.messages)

    return min(conversations, key=rank)


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


async def _exported(client: "AsyncMessagesClient") -> str:
    """Export the sample, and return the text about it."""
    has_duckdb = importlib.util.find_spec("duckdb") is not None
    name = "sample.parquet" if has_duckdb else "sample.jsonl.gz"
    with tempfile.TemporaryDirectory(prefix="aiomessages-") as folder:
        path = Path(folder, name)
        report = await export(client, client.completions(), path)
        about = "".join(_asked(path)) if has_duckdb else _NO_DUCKDB
        rows = f"{report.rows} rows in {name}, a temporary file"
        return f"\nExported them, replies included: {rows}.\n{about}"


async def _archived(client: "AsyncMessagesClient") -> str:
    """Keep the sample in an archive, search it, and return the text about both."""
    with tempfile.TemporaryDirectory(prefix="aiomessages-") as folder:
        path = Path(folder, "archive.db")
        report = await sync(client, path)
        again = await sync(client, path)
        async with Archive(path) as archive:
            hits = [hit async for hit in archive.search(_WORDS, limit=3)]
    width = output.screen_for(output.STANDARD_OUTPUT).width
    lines = (f"{hit.completion_id} {hit.n}: {hit.snippet}" for hit in hits)
    found = "".join(f"  {cut(one_line(line), width - 2)}\n" for line in lines)
    return (
        f"\nKept {report.new} conversations in an archive, one SQLite file, with"
        f" {report.requests} requests.\nThe next sync sent {again.requests}: nothing was new. A"
        f" search for {_WORDS!r}:\n\n{found}"
    )


_WORDS: Final = "umbrella OR rain*"
_NO_DUCKDB: Final = (
    "After pip install 'aiomessages[parquet]' it also writes .parquet and .duckdb.\n"
)


def _asked(path: Path) -> Iterator[str]:
    """Yield the text of a query and DuckDB's table of results."""
    with importlib.import_module("duckdb").connect() as db:
        answer = db.sql(_QUERY.format(path))
        table: list[tuple[Any, ...]] = [tuple(answer.columns), *answer.fetchall()]
    yield f"DuckDB queries it:\n\n{_QUERY.format(path.name)}\n\n"
    for role, *numbers in table:
        yield f"  {role:10}" + "".join(f"{number!s:>12}" for number in numbers) + "\n"


def _next(completion_id: str) -> str:
    program = _program()
    return (
        "\nCommands to try next:\n"
        f"  {program} list {completion_id} --local --format table\n"
        f"  {program} completions --local --format table\n"
        f"  {program} export --all --local -o sample.jsonl\n"
        f"  {program} sync archive.db --local\n"
        f"  {program} search archive.db umbrella\n"
        f"  {program} serve\n"
        "With a key of your own in OPENAI_API_KEY:\n"
        f"  {program} list YOUR_COMPLETION_ID\n"
        f"  {program} export --all -o conversations.jsonl.gz\n"
        f"  {program} sync archive.db        every day, by cron\n"
    )


def _program() -> str:
    """Return the command that starts this program, which need not be on the path.

    Within a nox session the path has an environment that is gone in the reader's shell.
    """
    if shutil.which("aiomessages") and "NOX_CURRENT_SESSION" not in os.environ:
        return "aiomessages"
    beside = Path(sys.executable).with_name("aiomessages")
    return _short(beside) if beside.exists() else f"{_short(Path(sys.executable))} -m aiomessages"


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
