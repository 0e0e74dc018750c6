"""Chromium, for the tests of pages: where it is, and what a page may not do.

A file with these `MARKS` is skipped without Chromium; `browser` is a fixture of each test.
"""

import shutil
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync"""

MARKS = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
    pytest.mark.asyncio(loop_scope="module"),  # one browser, so one loop
]


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
