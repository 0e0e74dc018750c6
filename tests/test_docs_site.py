"""The built documentation in a real browser: on a telephone, searched, and copied from.

The `site` session builds it and names its folder in AIOMESSAGES_SITE; without that, or without
Chromium or playwright, these tests are skipped.
"""

from __future__ import annotations

import os
import threading
from contextlib import asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chromium import MARKS, watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SITE = Path(os.environ.get("AIOMESSAGES_SITE") or os.devnull)

pytestmark = [
    *MARKS,
    pytest.mark.skipif(not SITE.is_dir(), reason="AIOMESSAGES_SITE names no built site"),
]

PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))

# The words that a newcomer types, and the heading that one of the first results has.
HEADINGS = {
    "azure": "Azure",
    "proxy": "A proxy",
    "private CA": "A private CA",
    "certificate": "A client certificate",
    "cron": "cron",
    "pandas": "pandas",
    "polars": "polars",
    "duckdb": "DuckDB",
    "docker": "Docker",
    "python versions": "Python versions",
    "python 3.13": "Python versions",
    "performance": "Performance",
    "official sdk": "Why not the official SDK",
}
FIRST_RESULTS = 5

# What is wider than the screen, and in no box inside of the article that scrolls.
CUT_OFF = """() => {
    const width = document.documentElement.clientWidth;
    const scrolls = box => box.localName != "article" && (
        ["auto", "scroll"].includes(getComputedStyle(box).overflowX)
            ? box.getBoundingClientRect().right <= width + 1
            : scrolls(box.parentElement));
    const wide = [...document.querySelectorAll("article *")].filter(
        one => one.getBoundingClientRect().right > width + 1 && !scrolls(one.parentElement));
    const pages = document.documentElement.scrollWidth > width ? ["the page"] : [];
    return pages.concat(wide.map(one => one.outerHTML.slice(0, 80)));
}"""


class Quiet(SimpleHTTPRequestHandler):
    """Serve files, and log nothing."""

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def home() -> Iterator[str]:
    """The address of the site on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=SITE)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@asynccontextmanager
async def shown(browser: Any, home: str, path: str, **options: Any) -> AsyncIterator[Any]:
    """Open a page; errors and requests to other hosts are failures."""
    context = await browser.new_context(**options)
    tab = await context.new_page()
    wrong = watched(tab, home)
    await tab.goto(f"{home}/{path}")
    yield tab
    await context.close()
    assert wrong == []


async def test_nothing_is_cut_off_on_a_telephone(browser: Any, home: str) -> None:
    """No page scrolls sideways, and what is wider than the screen scrolls in a box of its own."""
    async with shown(browser, home, "index.html") as tab:
        for path in PAGES:
            await tab.goto(f"{home}/{path}")
            for width in (320, 375):
                await tab.set_viewport_size({"width": width, "height": 740})
                assert await tab.evaluate(CUT_OFF) == [], (path, width)


@pytest.mark.parametrize(("words", "heading"), HEADINGS.items())
async def test_a_search_finds_a_section(browser: Any, home: str, words: str, heading: str) -> None:
    """A word that a newcomer types leads to a section or page with that heading."""
    async with shown(browser, home, f"search.html?q={words}") as tab:
        await tab.locator("#search-results .search-summary", has_text="found").wait_for()
        found = tab.locator("#search-results ul.search > li > a")
        titles = (await found.all_inner_texts())[:FIRST_RESULTS]
        assert heading in {title.rpartition(" > ")[2] for title in titles}


@pytest.mark.parametrize("page", ["index.html", "sync.html"])
async def test_a_block_is_copied_as_it_is_shown(browser: Any, home: str, page: str) -> None:
    """The button of a block copies its lines, and nothing else."""
    allowed = ["clipboard-read", "clipboard-write"]
    async with shown(browser, home, page, permissions=allowed) as tab:
        for block in await tab.locator("article div.highlight").all():
            lines = (await block.locator("pre").inner_text()).rstrip("\n")
            await block.hover()
            await block.locator("button.copybtn").click()
            await block.locator("button.copybtn.success").wait_for()
            copied = await tab.evaluate("navigator.clipboard.readText()")
            assert copied.rstrip("\n") == lines
