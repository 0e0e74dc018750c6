"""Claims about when faults strike: the words for it, the counting, the switching."""

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
    """Ask so many times for a page, one after the other."""
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
async def test_when_a_fault_strikes(
    server: LocalServer, ask: Ask, faults: Any, expected: list[int]
) -> None:
    """Each request is struck by the first fault whose turn it is, and else answered rightly."""
    server.faults = faults
    assert await statuses(ask, 5) == expected


async def test_faults_from_the_start(record: Build, ask_at: Callable[[LocalServer], Ask]) -> None:
    """They can be given before the first request, and read back as they were given."""
    async with LocalServer(records=[record("c1")], faults={"conflict": 1, "nan": None}) as server:
        assert server.faults == ("conflict:1", "nan")
        assert await statuses(ask_at(server), 2) == [409, 200]


async def test_switching_begins_anew(server: LocalServer, ask: Ask) -> None:
    """Strikes and requests are counted from the moment of the switch; no faults are none."""
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
async def test_what_is_no_fault_is_refused(
    server: LocalServer, ask: Ask, faults: Any, complaint: str
) -> None:
    """Before anything is served, with the nearest names; a running server stays as it was."""
    with pytest.raises(ValueError, match="fault") as refused:
        LocalServer(faults=faults)
    assert complaint in str(refused.value)
    server.faults = "conflict"
    with pytest.raises(ValueError, match="fault"):
        server.faults = faults
    assert await statuses(ask, 1) == [409]


async def test_two_requests_at_once_do_not_share_a_strike(server: LocalServer, ask: Ask) -> None:
    """Of eight that come together, exactly three are struck."""
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
async def test_what_is_not_struck_does_not_use_a_fault_up(
    server: LocalServer, ask: Ask, path: str, headers: Mapping[str, str] | None, status: int
) -> None:
    """No route, no key, nothing stored, no page, an empty page: each gets its ordinary answer."""
    server.faults = "wrong-type:1"
    assert (await ask(path, headers=headers)).status == status
    assert (await ask(PATH)).json["data"][0]["id"] == 7
    assert (await ask(PATH)).json["data"][0]["id"] == "chatcmpl-c1-0"


async def test_a_walk_is_no_completion(server: LocalServer, ask: Ask) -> None:
    """A single completion has no cursor to lead astray, whatever stands in its query."""
    server.faults = "repeated-cursor"
    answer = await ask("/chat/completions/chatcmpl-c1", after="chatcmpl-c1-0")
    assert answer.json["object"] == "chat.completion"


async def test_no_route_and_no_key_are_no_requests_to_count(server: LocalServer, ask: Ask) -> None:
    """`@2` means the second request that the routes get."""
    server.faults = "conflict@2"
    await ask("/nowhere")
    await ask(PATH, headers={})
    assert await statuses(ask, 2) == [200, 409]
