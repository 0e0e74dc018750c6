"""Claims about the life cycle of the local server: where it listens, imports, closing."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from aiomessages.archive.errors import NotAnArchiveError
from aiomessages.server import LocalServer, RecordError, import_records

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from conftest_server import Ask

    Arrived = Callable[[LocalServer], Awaitable[None]]
    AskAt = Callable[[LocalServer], Ask]
    Build = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.org", "192.168.1.1", ""])  # noqa: S104
def test_a_host_beyond_this_machine_is_refused(host: str) -> None:
    """The constructor raises the error."""
    with pytest.raises(ValueError, match="loopback"):
        LocalServer(host=host)


@pytest.mark.parametrize(
    ("host", "start"),
    [
        ("127.0.0.1", "http://127.0.0.1:"),
        ("localhost", "http://127.0.0.1:"),
        ("::1", "http://[::1]:"),
    ],
)
async def test_loopback_hosts_are_served(ask_at: AskAt, host: str, start: str) -> None:
    """A client can use the base URL, which includes the port."""
    try:
        async with LocalServer(host=host) as server:
            assert server.base_url.startswith(start)
            assert server.base_url.endswith("/v1")
            assert (await ask_at(server)()).status == 200
    except OSError:
        if host != "::1":
            raise
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize(
    "settings", [{"latency": -1}, {"visibility_delay": -0.1}, {"rate": 0}, {"rate": -2}]
)
def test_settings_below_zero_are_refused(settings: dict[str, Any]) -> None:
    """A rate of 0 is invalid too: it would admit no request."""
    with pytest.raises(ValueError, match=">= 0"):
        LocalServer(**settings)


async def test_a_key_is_generated_and_not_shown() -> None:
    """Each server has its own key, and its repr does not show it."""
    first, second = LocalServer(), LocalServer(api_key="sk-chosen")
    assert first.api_key != LocalServer().api_key
    assert second.api_key == "sk-chosen"
    async with second:
        assert second.api_key not in repr(second)
        assert second.base_url in repr(second)
    assert first.api_key not in repr(first)
    assert "not running" in repr(first)


async def test_requests_are_counted(server: LocalServer, ask: Ask) -> None:
    """The count includes rejected requests."""
    await ask()
    await ask(headers={})
    await ask("/nowhere")
    assert server.requests == 3


async def test_it_starts_with_sample_and_records(ask_at: AskAt, record: Build) -> None:
    """The first request finds both."""
    async with LocalServer(sample=True, records=[record("mine")]) as server:
        ask = ask_at(server)
        assert (await ask("/chat/completions/chatcmpl-tides")).status == 200
        assert (await ask("/chat/completions/chatcmpl-mine")).status == 200


async def test_bad_records_keep_it_from_starting(tmp_path: Path, record: Build) -> None:
    """The error names the line; the file is unchanged, and another server can open it."""
    file = tmp_path / "stored.db"
    with pytest.raises(RecordError, match="line 2"):
        await LocalServer(file, records=[record("c1"), {}]).start()
    async with LocalServer(file) as server:
        assert await server.import_records([record("c1")]) == 1


async def test_a_port_in_use_is_an_os_error(server: LocalServer) -> None:
    """The second server raises the error and leaves nothing open."""
    port = int(server.base_url.rsplit(":")[-1].split("/")[0])
    with pytest.raises(OSError, match="address already in use"):
        await LocalServer(port=port).start()


async def test_a_file_outlives_its_server(tmp_path: Path, ask_at: AskAt, record: Build) -> None:
    """The next server on the same file serves the records that the first one imported."""
    file = tmp_path / "stored.db"
    async with LocalServer(file) as first:
        assert await first.import_records([record("c1")]) == 1
    async with LocalServer(str(file)) as second:
        assert (await ask_at(second)()).ids == ["chatcmpl-c1"]


async def test_the_visibility_delay_is_a_404_that_passes(ask_at: AskAt, record: Build) -> None:
    """A fresh completion is not found until the delay is over, counted from its import."""
    now = [100.0]
    async with LocalServer(visibility_delay=5, clock=lambda: now[0]) as server:
        ask = ask_at(server)
        await server.import_records([record("c1")])
        path = "/chat/completions/chatcmpl-c1/messages"
        assert (await ask(path)).error["code"] == "not_found"
        now[0] += 5
        assert (await ask(path)).status == 200


async def test_a_request_during_an_import_waits_for_it(
    server: LocalServer, ask: Ask, arrived: Arrived, record: Build
) -> None:
    """Its response shows the whole import, never a part."""
    await server.import_records([record("c1", 1)])
    go_on = threading.Event()

    def source() -> Iterator[dict[str, Any]]:
        yield record("c1", 2)
        assert go_on.wait(30)
        yield record("c2")

    importing = asyncio.create_task(server.import_records(source()))
    asking = asyncio.create_task(ask())
    await arrived(server)
    assert not asking.done()
    go_on.set()
    assert (await asking).ids == ["chatcmpl-c2", "chatcmpl-c1"]
    assert await importing == 2


async def test_a_cancelled_import_is_still_all_or_nothing(
    server: LocalServer, ask: Ask, record: Build
) -> None:
    """The caller returns immediately; a request meanwhile waits for the whole import."""
    go_on = threading.Event()

    def source() -> Iterator[dict[str, Any]]:
        yield record("c1")
        assert go_on.wait(30)
        yield record("c2")

    importing = asyncio.create_task(server.import_records(source()))
    await asyncio.sleep(0)
    importing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await importing
    go_on.set()
    assert (await ask()).ids == ["chatcmpl-c2", "chatcmpl-c1"]


async def test_a_bad_import_leaves_a_running_server_as_it_was(
    server: LocalServer, ask: Ask, record: Build
) -> None:
    """The caller gets the error, and the next request the earlier state."""
    await server.import_records([record("c1")])
    with pytest.raises(RecordError, match="line 2"):
        await server.import_records([record("c2"), {}])
    assert (await ask()).ids == ["chatcmpl-c1"]


async def test_it_closes_with_open_connections(ask_at: AskAt) -> None:
    """An idle keep-alive connection does not delay closing."""
    server = LocalServer()
    await server.start()
    await ask_at(server)()  # leaves its connection in the session's pool
    async with asyncio.timeout(1):
        await server.aclose()


async def test_it_closes_while_a_request_takes_an_hour(arrived: Arrived) -> None:
    """The server drops the request, and its client gets an error."""
    async with aiohttp.ClientSession() as session, LocalServer(latency=3600) as server:
        asking = asyncio.create_task(session.get(server.base_url))
        await arrived(server)
        async with asyncio.timeout(1):
            await server.aclose()
        with pytest.raises(aiohttp.ClientError):
            await asking


async def test_closing_waits_for_an_import(tmp_path: Path, record: Build) -> None:
    """The database stays open until the thread that writes to it is done."""
    go_on = threading.Event()

    def source() -> Iterator[dict[str, Any]]:
        yield record("c1")
        assert go_on.wait(30)

    server = LocalServer(tmp_path / "a.db")
    await server.start()
    importing = asyncio.create_task(server.import_records(source()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    closing = asyncio.create_task(server.aclose())
    go_on.set()
    await closing
    assert await importing == 1


async def test_a_closed_server_says_so(record: Build) -> None:
    """A closed server has no URL and imports no records; closing it again does nothing."""
    server = LocalServer()
    async with server:
        with pytest.raises(RuntimeError, match="running already"):
            await server.start()
    await server.aclose()
    with pytest.raises(RuntimeError, match="not running"):
        server.base_url  # noqa: B018 - reading it is the test
    with pytest.raises(RuntimeError, match="not running"):
        await server.import_records([record("c1")])


# --- an archive that cannot be used ---------------------------------------------------------------


def damaged(path: Path, record: Build) -> Path:
    """Make an archive whose messages cannot be read."""
    import_records(str(path), [record("c1"), record("c2")])
    db = sqlite3.connect(path)
    query = "SELECT rootpage FROM sqlite_master WHERE name = 'messages'"
    (root,) = db.execute(query).fetchone()
    (size,) = db.execute("PRAGMA page_size").fetchone()
    db.close()
    data = bytearray(path.read_bytes())
    data[(root - 1) * size : root * size] = b"\x55" * size
    path.write_bytes(data)
    return path


async def test_a_damaged_archive_is_a_500_that_is_not_retried(
    tmp_path: Path, ask_at: AskAt, record: Build
) -> None:
    """The answer says what to do, and so is told whoever runs the server; the rest is served."""
    told: list[str] = []
    path = damaged(tmp_path / "a.db", record)
    async with LocalServer(path, on_failure=lambda error: told.append(str(error))) as server:
        ask = ask_at(server)
        answer = await ask("/chat/completions/chatcmpl-c1/messages")
        assert (answer.status, answer.headers["x-should-retry"]) == (500, "false")
        assert [answer.json["error"]["message"]] == told
        assert told[0].startswith(f"{path}: the database is damaged")
        assert "restore a backup" in told[0]
        assert (await ask("/chat/completions/chatcmpl-c1")).status == 200


async def test_a_damaged_archive_is_logged(
    tmp_path: Path, ask_at: AskAt, record: Build, caplog: pytest.LogCaptureFixture
) -> None:
    """Without anyone to tell, the log has the sentence, and no traceback."""
    async with LocalServer(damaged(tmp_path / "a.db", record)) as server:
        await ask_at(server)("/chat/completions/chatcmpl-c1/messages")
    (entry,) = caplog.records
    assert "the database is damaged" in entry.getMessage()
    assert (entry.levelname, entry.exc_info) == ("ERROR", None)


async def test_another_file_keeps_it_from_starting(tmp_path: Path) -> None:
    """The error is that of the archive, and the port is not taken."""
    (tmp_path / "a.db").write_text("precious " * 100, "utf-8")
    server = LocalServer(tmp_path / "a.db")
    with pytest.raises(NotAnArchiveError, match=r"a\.db: no SQLite database"):
        await server.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.base_url
