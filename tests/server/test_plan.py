"""Claims about the schedule of faults: the notation, the counts, replacing them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from aiomessages.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from conftest_server import Ask

    Build = Callable[..., dict[str, Any]]

PATH = "/chat/completions/chatcmpl-c1/messages"


@pytest.fixture(autouse=True)
async def _filled(server: LocalServer, record: Build) -> None:
    await server.import_records([record("c1"), record("c2", 0)])


async def statuses(ask: Ask, count: int) -> list[int]:
    """Request a page `count` times in sequence, and return the statuses."""
    return [(await ask(PATH)).status for _ in range(count)]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ((), [200, 200, 200, 200, 200]),
        ("server-error", [500, 500, 500, 500, 500]),
        ("server-error:2", [500, 500, 200, 200, 200]),
        ("server-error@4", [200, 200, 200, 500, 500]),
        ("server-error:2@2", [200, 500, 500, 200, 200]),
        (["server-error:1", "unavailable:2", "conflict:1"], [500, 503, 503, 409, 200]),
        (["server-error@2", "conflict:1"], [409, 500, 500, 500, 500]),
        ({"server-error": 3}, [500, 500, 500, 200, 200]),
        ({"server-error": 1, "conflict": None}, [500, 409, 409, 409, 409]),
    ],
)
async def test_which_requests_a_fault_affects(
    server: LocalServer, ask: Ask, faults: Any, expected: list[int]
) -> None:
    """The first fault that is due affects a request; without one the response is correct."""
    server.faults = faults
    assert await statuses(ask, 5) == expected


async def test_faults_from_the_start(record: Build, ask_at: Callable[[LocalServer], Ask]) -> None:
    """The constructor accepts faults, and `faults` returns their notation."""
    async with LocalServer(records=[record("c1")], faults={"conflict": 1, "nan": None}) as server:
        assert server.faults == ("conflict:1", "nan")
        assert await statuses(ask_at(server), 2) == [409, 200]


async def test_switching_restarts_the_counts(server: LocalServer, ask: Ask) -> None:
    """Replacing the faults restarts both counts; an empty tuple switches all off."""
    server.faults = "conflict:1@2"
    assert await statuses(ask, 3) == [200, 409, 200]
    server.faults = "conflict:1@2"
    assert await statuses(ask, 3) == [200, 409, 200]
    server.faults = ("server-error",)
    assert await statuses(ask, 1) == [500]
    server.faults = ()
    assert await statuses(ask, 1) == [200]


@pytest.mark.parametrize(
    ("faults", "complaint"),
    [
        ("server-eror", "no fault 'server-eror'; the nearest are server-error"),
        ("", "no fault ''"),
        (["conflict", "resett"], "no fault 'resett'; the nearest are reset"),
        ("conflict:0", "NAME:K or NAME:K@N, not 'conflict:0'"),
        ("conflict:-1", "not 'conflict:-1'"),
        ("conflict:", "not 'conflict:'"),
        ("conflict@0", "not 'conflict@0'"),
        ("conflict@2:1", "not 'conflict@2:1'"),
        ({"conflict": 1.5}, "not 'conflict:1.5'"),
        ({"conflict": True}, "not 'conflict:True'"),
    ],
)
async def test_an_unknown_fault_is_refused(
    server: LocalServer, ask: Ask, faults: Any, complaint: str
) -> None:
    """The error lists the nearest names, and a running server keeps its faults."""
    with pytest.raises(ValueError, match="fault") as refused:
        LocalServer(faults=faults)
    assert complaint in str(refused.value)
    server.faults = "conflict"
    with pytest.raises(ValueError, match="fault"):
        server.faults = faults
    assert await statuses(ask, 1) == [409]


async def test_concurrent_requests_count_once_each(server: LocalServer, ask: Ask) -> None:
    """Of eight concurrent requests a fault with K = 3 affects exactly three."""
    server.faults = "wrong-type:3"
    pages = [answer.json for answer in await asyncio.gather(*(ask(PATH) for _ in range(8)))]
    assert sum(page["data"][0]["id"] == 7 for page in pages) == 3


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/nowhere", None, 404),
        (PATH, {}, 401),
        ("/chat/completions/chatcmpl-other/messages", None, 404),
        ("/chat/completions/chatcmpl-c1", None, 200),
        ("/chat/completions/chatcmpl-c2/messages", None, 200),
    ],
)
async def test_a_fault_counts_only_requests_that_it_affects(
    server: LocalServer, ask: Ask, path: str, headers: Mapping[str, str] | None, status: int
) -> None:
    """A request without a route, key, completion, page or item gets its ordinary response."""
    server.faults = "wrong-type:1"
    assert (await ask(path, headers=headers)).status == status
    assert (await ask(PATH)).json["data"][0]["id"] == 7
    assert (await ask(PATH)).json["data"][0]["id"] == "chatcmpl-c1-0"


async def test_a_completion_is_not_a_page(server: LocalServer, ask: Ask) -> None:
    """A fault of pagination does not apply to a completion, even with `after` in the query."""
    server.faults = "repeated-cursor"
    answer = await ask("/chat/completions/chatcmpl-c1", after="chatcmpl-c1-0")
    assert answer.json["object"] == "chat.completion"


async def test_requests_without_route_or_key_do_not_count(server: LocalServer, ask: Ask) -> None:
    """`@2` counts only requests that reach a route."""
    server.faults = "conflict@2"
    await ask("/nowhere")
    await ask(PATH, headers={})
    assert await statuses(ask, 2) == [200, 409]
