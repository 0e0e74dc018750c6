"""Fixtures of every test: a key that must never leak, and no settings from outside."""

import functools
import gc
import logging
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import aiohttp
import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from aioresponses import aioresponses

sys.path.insert(0, str(Path(__file__).parent))  # for loopback.py, which is no package


def pytest_configure() -> None:
    """Let examples take their time, and handle signals even if the shell's background ignores them.

    No claim of hypothesis's tests is about time.
    """
    with suppress(ModuleNotFoundError):  # a session that runs one part of the tests does without
        from hypothesis import settings  # noqa: PLC0415

        settings.register_profile("unhurried", deadline=None)
        settings.load_profile("unhurried")
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_collection_finish() -> None:
    """Let the collector pass over what stays until the end: each call of it would take long."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> "Iterator[object]":
    """Measure only what adds to the coverage: it makes programs and repetitions much slower."""
    with pytest.MonkeyPatch.context() as environment:
        if not item.get_closest_marker("measured_programs"):
            environment.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        coverage = sys.modules.get("coverage")
        measuring = coverage and coverage.Coverage.current()
        if not measuring or not item.get_closest_marker("unmeasured"):
            return (yield)
        measuring.stop()
        try:
            return (yield)
        finally:
            measuring.start()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "CUSTOM_HEADERS"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(autouse=True)
def _log_as_it_was() -> "Iterator[None]":
    """Restore the library's log, which the program changes for the rest of its process."""
    log = logging.getLogger("aiomessages")
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> "AsyncIterator[Any]":
    """Run one Chromium for all tests of a file."""
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    from chromium import CHROMIUM, QUIET  # noqa: PLC0415 - few tests need it

    async with api.async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield started
        await started.close()


@pytest.fixture
def record() -> "Callable[..., dict[str, Any]]":
    """Return a function that builds a record of `count` messages, as the server imports it."""

    def build(name: str = "c1", count: int = 3, **changes: Any) -> dict[str, Any]:
        id = f"chatcmpl-{name}"
        completion = {
            "id": id,
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "gpt-4o",
            "metadata": {},
            "choices": [],
        }
        messages = [
            {"id": f"{id}-{n}", "role": "user", "content": f"message {n}"} for n in range(count)
        ]
        return {"completion": completion | changes, "messages": messages}

    return build


@pytest.fixture
def mocking(monkeypatch: pytest.MonkeyPatch) -> "type[aioresponses]":
    """Return aioresponses, which answers requests of aiohttp's sessions while it is entered."""
    from aioresponses import aioresponses, core  # noqa: PLC0415 not every session has it

    # aioresponses 0.7.9 does not pass an argument that aiohttp 3.14 requires.
    response = functools.partial(aiohttp.ClientResponse, stream_writer=Mock())
    monkeypatch.setattr(core, "ClientResponse", response)
    return aioresponses
