"""Claims about rehearsing: against each fault the client does what docs/faults.md says it does.

The page's tables are the cases, so that what users read cannot differ from what holds.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import aiomessages
from aiomessages import APIError, AsyncMessagesClient, RetryPolicy, Timeout
from aiomessages.server import LocalServer
from aiomessages.server.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable

    Build = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.unmeasured

DOCS = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
ROW = re.compile(
    r"^\| `(.+?)` \| (.+?) \| (?:raises `(.+?)`|(delivers .+?)) \| (yes|no) \|$", re.MULTILINE
)
IDS = [f"chatcmpl-c1-{n}" for n in range(5)]  # three pages of two


class Row(NamedTuple):
    """A row of the page."""

    name: str
    description: str
    error: str
    delivers: str
    again: str


ROWS = [Row(*found) for found in ROW.findall(DOCS.read_text("utf-8"))]
RAISED = [row for row in ROWS if row.error]
DELIVERED = [row for row in ROWS if row.delivers]
RETRIED = [row for row in ROWS if row.again == "yes"]


class Walk(NamedTuple):
    """The result of a stream: delivered ids, error, number of retries and of requests."""

    ids: list[str]
    error: APIError | None
    retries: int
    requests: int


async def walk(record: Build, faults: str, *, seconds: float = 120.0) -> Walk:
    """Read a conversation of three pages with one retry and no backoff."""
    retries: list[object] = []
    ids: list[str] = []
    async with (
        LocalServer(records=[record("c1", len(IDS))], faults=faults) as server,
        AsyncMessagesClient(
            server.api_key,
            base_url=server.base_url,
            timeout=Timeout(seconds),
            retry=RetryPolicy(max_retries=1, initial_backoff=0.0),
            max_response_bytes=2**21,
            on_retry=retries.append,
        ) as client,
    ):
        error: APIError | None = None
        try:
            async for message in client.list("chatcmpl-c1", limit=2):
                ids.append(message.id)  # noqa: PERF401 - what came before an error counts
        except APIError as raised:
            error = raised
        assert server.api_key not in f"{error} {error!r}"
        return Walk(ids, error, len(retries), server.requests)


def patience(row: Row) -> float:
    """Return the timeout of an attempt in seconds; short if the fault should exceed it."""
    return 0.3 if row.error == "APITimeoutError" else 120.0


def test_the_page_lists_the_faults_there_are() -> None:
    """The page has each name and description, in the order of the tables."""
    assert [(row.name, row.description) for row in ROWS] == [
        (name, fault.description) for name, fault in FAULTS.items()
    ]


@pytest.mark.parametrize("row", RAISED, ids=lambda row: row.name)
async def test_a_fault_from_the_second_page_on(record: Build, row: Row) -> None:
    """Earlier pages are delivered, then the documented error; the server saw each attempt."""
    ids, error, retries, requests = await walk(record, f"{row.name}@2", seconds=patience(row))
    assert error is not None
    assert type(error) is getattr(aiomessages, row.error), error
    assert ids == (IDS[:4] if row.name == "cursor-cycle" else IDS[:2])
    assert error.attempts == (2 if row.again == "yes" else 1)
    assert (retries, requests) == (error.attempts - 1, len(ids) // 2 + error.attempts)
    assert (error.completion_id, error.cursor) == ("chatcmpl-c1", ids[-1])


@pytest.mark.parametrize("row", DELIVERED, ids=lambda row: row.name)
async def test_a_fault_that_does_no_harm(record: Build, row: Row) -> None:
    """Every message is delivered, once and in order."""
    # Without aiohttp's C parser a million chunks take seconds, so that one page has to do.
    fault = "tiny-chunks:1" if row.name == "tiny-chunks" else row.name
    ids, error, retries, requests = await walk(record, fault)
    assert (ids, error) == (IDS, None)
    assert (retries > 0) == (row.again == "yes")
    assert requests == 3 + retries + (row.name in {"no-has-more", "inclusive-after"})


@pytest.mark.parametrize("row", RETRIED, ids=lambda row: row.name)
async def test_a_fault_that_passes(record: Build, row: Row) -> None:
    """After one retry every message is delivered."""
    ids, error, retries, requests = await walk(record, f"{row.name}:1@2", seconds=patience(row))
    assert (ids, error) == (IDS, None)
    assert (retries, requests) == (1, 4)


async def messages(record: Build, fault: str) -> list[dict[str, Any]]:
    """Return the messages that are delivered under a fault, as dicts."""
    async with (
        LocalServer(records=[record("c1", 3)], faults=fault) as server,
        AsyncMessagesClient(server.api_key, base_url=server.base_url) as client,
    ):
        return [message.to_dict() async for message in client.list("chatcmpl-c1", limit=2)]


async def test_nothing_unknown_is_lost(record: Build) -> None:
    """The client delivers the unknown field, role and part."""
    first, *_ = await messages(record, "unknown-fields")
    assert (first["role"], first["mood"]) == ("narrator", {"calm": True})
    assert first["content_parts"] == [{"type": "hologram", "hologram": {"depth": 3}}]


async def test_half_an_emoji_is_replaced(record: Build) -> None:
    """U+FFFD replaces it, and the rest of the text stays."""
    first, *_ = await messages(record, "lone-surrogate")
    assert first["content"] == "half \ufffd"


async def test_an_overlap_is_logged(record: Build, caplog: pytest.LogCaptureFixture) -> None:
    """The client logs a warning."""
    with caplog.at_level(logging.WARNING, "aiomessages"):
        await messages(record, "overlap")
    levels = [entry.levelname for entry in caplog.records if entry.name == "aiomessages"]
    assert levels == ["WARNING"]


async def test_a_fault_on_the_list_of_completions(record: Build) -> None:
    """A fault affects this list too, until it is switched off."""
    async with (
        LocalServer(records=[record("c1"), record("c2")], faults="wrong-last-id") as server,
        AsyncMessagesClient(server.api_key, base_url=server.base_url) as client,
    ):
        with pytest.raises(aiomessages.PaginationError):
            await client.completions(limit=1)
        assert (await client.completion("chatcmpl-c1")).id == "chatcmpl-c1"
        server.faults = ()
        assert len((await client.completions()).data) == 2
