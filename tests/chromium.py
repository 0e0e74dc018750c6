"""Chromium, for the tests of pages: one browser for a file, and what a page may not do.

A file that uses it imports `browser`, and is skipped without Chromium or playwright.
"""

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync"""

MARKS = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.asyncio(loop_scope="module"),  # one browser, so one loop
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Any]:
    """Run one browser for all tests of a file."""
    async with api.async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield started
        await started.close()


def watched(tab: Any, home: str) -> list[str]:
    """Return the list of what goes wrong in a tab: errors, dialogs, requests to other hosts."""
    wrong: list[str] = []
    tab.set_default_timeout(10_000)  # milliseconds
    tab.on("pageerror", lambda problem: wrong.append(str(problem)))
    tab.on("dialog", lambda dialog: wrong.append(dialog.message))
    tab.on("request", lambda asked: wrong.extend(_elsewhere(asked.url, home)))
    return wrong


def _elsewhere(url: str, home: str) -> list[str]:
    return [] if url.startswith((home, "data:")) else [url]
