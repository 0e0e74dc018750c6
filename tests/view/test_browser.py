"""The pages in a real browser: found, read, linked to, by keys, on a telephone, in the dark.

Skipped without Chromium or playwright: `nox -s browser` has both. With AIOMESSAGES_SCREENSHOTS=DIR
the last test writes the pictures of docs/view.md there.
"""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from chromium import MARKS, watched
from conftest_view import opened, store
from hostile import CORPUS
from test_hostile_pages import HOSTILE, hostile_archive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytest.importorskip("playwright.async_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="axe is not installed")

pytestmark = MARKS

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
ZOOMED = {"width": 640, "height": 400}  # what 200 % leaves of the desktop
PICTURES = os.environ.get("AIOMESSAGES_SCREENSHOTS")
LONG = "chatcmpl-" + "x" * 300
PAGES = [
    "/",
    "/?q=train",
    "/?q=nothinghasthis",
    '/?q="',
    "/c/chatcmpl-train",
    "/c/chatcmpl-two-photos?m=0",
    "/c/chatcmpl-tune",
    "/c/chatcmpl-code-review",
    "/c/chatcmpl-arabic-coffee",
    "/overview",
    "/c/nothing",
]


@asynccontextmanager
async def shown(
    browser: Any, archive: Path, path: str = "/", *, refused: bool = False, **options: Any
) -> AsyncIterator[Any]:
    """Open a page as the address of the program does. `refused`: answers of 4xx are expected.

    Errors, messages of the console, refusals by the CSP and requests to other hosts are failures.
    """
    async with opened(archive) as room:
        context = await browser.new_context(**{"viewport": DESKTOP, **options})
        tab = await context.new_page()
        home = f"http://{room.host}"
        wrong = watched(tab, home)

        def heard(said: Any) -> None:
            if said.type == "error" and not (refused and "status of 4" in said.text):
                wrong.append(said.text)

        tab.on("console", heard)
        join = "&" if "?" in path else "?"
        target = home + path
        await tab.goto(f"{target}{join}token={room.access.token}")
        await tab.wait_for_url(lambda url: "token" not in url)
        await tab.locator("main").wait_for()
        yield tab
        await context.close()
    assert wrong == []


async def is_wider(tab: Any) -> bool:
    """Return whether the page is wider than the window, so that it scrolls sideways."""
    return bool(
        await tab.evaluate(
            "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        )
    )


async def in_sight(tab: Any, selector: str) -> bool:
    """Return whether an element is in the window, at least its beginning."""
    box = await tab.locator(selector).bounding_box()
    height = await tab.evaluate("innerHeight")
    return bool(box) and -1 <= box["y"] < height


async def violations(tab: Any) -> list[str]:
    """Return what axe finds."""
    found = await axe.Axe().run(tab)
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found.response["violations"]
        for node in one["nodes"]
    ]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with what is wide: a table, code, ids and names without a space. Not changed."""
    path = tmp_path_factory.mktemp("wide") / "wide.db"
    row = "|" + " a_wide_cell_of_a_table |" * 12
    table = f"{row}\n{'|---' * 12}|\n{row}\n"
    code = f"```python\nprint({'x' * 400!r})\n```\n"
    given = json.dumps({"query": "y" * 400, "nested": {"list": list(range(30))}})
    call = {"id": "call_" + "z" * 200, "type": "function"}
    store(
        path,
        "wide",
        f"{table}\n{code}\nhttps://example.com/{'u' * 400}",
        {
            "role": "assistant",
            "tool_calls": [{**call, "function": {"name": "n" * 64, "arguments": given}}],
        },
        {"role": "tool", "tool_call_id": call["id"], "content": given},
        id=LONG,
        model="m" * 120,
        metadata={"k" * 64: "v" * 512},
        replies=["w" * 500],
    )
    return path


async def test_a_search_marks_what_it_found(browser: Any, sample: Path) -> None:
    """A search is typed and entered, its hits are marked, and a hit leads to its message."""
    async with shown(browser, sample) as tab:
        await tab.get_by_label("Search the messages").fill("umbrella")
        await tab.get_by_role("button", name="Search", exact=True).click()
        await tab.wait_for_url("**/?q=umbrella")
        marks = await tab.locator(".hits mark").all_text_contents()
        assert marks
        assert {mark.lower() for mark in marks} == {"umbrella"}
        await tab.locator(".hits a").first.click()
        await tab.wait_for_url("**/c/*q=umbrella*m=*")
        assert await tab.locator("[data-marked]").count() == 1


async def test_a_facet_is_chosen_and_removed(browser: Any, sample: Path) -> None:
    """A facet narrows the results to its count, and its chip brings all back."""
    async with shown(browser, sample) as tab:
        everything = await tab.locator("h1").inner_text()
        choice = tab.locator("a.choice", has_text="gpt-4o-2024-08-06")
        count = await choice.locator(".count").inner_text()
        await choice.click()
        await tab.wait_for_url("**/?model=gpt-4o-2024-08-06")
        assert await tab.locator("h1").inner_text() == f"{count} conversations"
        assert await tab.locator("a.choice[aria-current]").count() == 1
        await tab.locator(".chip").click()
        await tab.wait_for_url(lambda url: "model" not in url)
        assert await tab.locator("h1").inner_text() == everything


async def test_the_keys(browser: Any, sample: Path) -> None:
    """A conversation is found, opened, read and left for the next by keys alone."""
    async with shown(browser, sample) as tab:
        focused = tab.locator(":focus")
        press = tab.keyboard.press
        await press("/")
        assert await focused.get_attribute("id") == "q"
        await tab.keyboard.type("j?the")  # these are text where one types
        assert await focused.input_value() == "j?the"
        await focused.fill("the")
        await press("Enter")
        await tab.wait_for_url("**/?q=the")
        titles = await tab.locator("[data-item]").all_inner_texts()
        for key, number in (("j", 0), ("j", 1), ("k", 0), ("k", 0), ("j", 1)):
            await press(key)
            assert await focused.inner_text() == titles[number]
        await press("?")
        await tab.locator("dialog[open]").wait_for()
        await press("Escape")
        await tab.locator("dialog[open]").wait_for(state="detached")
        await tab.locator("[data-item]").nth(1).focus()
        await press("Enter")
        await tab.wait_for_url("**/c/**")
        opened_first = tab.url
        await press("n")
        await tab.wait_for_url(lambda url: "/c/" in url and url != opened_first)
        await tab.locator("main.conversation").wait_for()
        await press("p")
        await tab.wait_for_url(lambda url: url.split("&m=")[0] == opened_first.split("&m=")[0])
        await tab.locator("main.conversation").wait_for()
        await press("j")
        assert await focused.get_attribute("data-item") is not None
        await press("/")
        await tab.wait_for_url("**/?q=the*")


async def test_a_link_to_a_message(browser: Any, sample: Path) -> None:
    """The message of a link is in sight and marked, also where it is far down."""
    async with shown(browser, sample, "/c/chatcmpl-knights-tour?m=30") as tab:
        assert await tab.locator("[data-marked]").get_attribute("id") == "m30"
        await tab.wait_for_function("scrollY > 0")
        assert await in_sight(tab, "#m30")
        await tab.reload()
        await tab.locator("#m30[data-marked]").wait_for()


async def test_the_token_leaves_the_address(browser: Any, sample: Path) -> None:
    """The token is in no address that stays, and no script can read the cookie."""
    async with shown(browser, sample, "/?q=train") as tab:
        assert tab.url.endswith("/?q=train")
        (cookie,) = await tab.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert await tab.evaluate("document.cookie") == ""
        assert cookie["value"] not in await tab.content()


async def test_everything_works_without_javascript(browser: Any, sample: Path) -> None:
    """Without a script one searches, filters, reads, unfolds, and goes on; no button is dead."""
    async with shown(browser, sample, java_script_enabled=False) as tab:
        await tab.get_by_label("Search the messages").fill("the")
        await tab.keyboard.press("Enter")
        await tab.wait_for_url("**/?q=the")
        await tab.locator("a.choice", has_text="gpt-4o-2024-08-06").click()
        await tab.wait_for_url("**model=gpt-4o-2024-08-06*")
        await tab.locator(".results h2 a").first.click()
        await tab.locator(".turn").first.wait_for()
        assert await tab.locator("button:visible").count() == 0
        await tab.locator(".source summary").first.click()
        await tab.locator(".source[open] pre").first.wait_for()
        await tab.get_by_role("link", name="Next conversation").click()
        await tab.locator(".turn").first.wait_for()
        await tab.get_by_role("link", name="Overview").click()
        await tab.locator(".chart").first.wait_for()


@pytest.mark.parametrize("size", [PHONE, ZOOMED], ids=["phone", "zoomed"])
async def test_no_page_scrolls_sideways(
    browser: Any, sample: Path, archive: Path, size: dict[str, int]
) -> None:
    """On a telephone and at 200 % no page is wider than the window, whatever it shows."""
    scale = DESKTOP["width"] / size["width"]
    options: dict[str, Any] = {"viewport": size, "device_scale_factor": scale, "refused": True}
    for path, pages in (
        (sample, PAGES),
        (archive, ["/", f"/c/{LONG}", "/overview", "/?q=example"]),
    ):
        async with shown(browser, path, **options) as tab:
            home = tab.url.rstrip("/")
            for page in pages:
                await tab.goto(home + page)
                assert not await is_wider(tab), page
                for summary in await tab.locator("main details > summary:visible").all():
                    await summary.click()
                assert not await is_wider(tab), f"{page}, unfolded"


@pytest.mark.parametrize("width", [320, 390, 640, 1280])
@pytest.mark.parametrize("days", [1, 8, 9, 99])
async def test_a_chart_fits_the_window(browser: Any, tmp_path: Path, width: int, days: int) -> None:
    """At any width all bars are in sight, and no date runs into another one."""
    path = tmp_path / "days.db"
    for n in range(days):
        store(path, f"{n}", "a", created=1_700_000_000 + n * 86_400)
    places = """all => all.map(one => one.getBoundingClientRect()).filter(box => box.width)
        .map(box => [box.left, box.right])"""
    async with shown(browser, path, "/overview", viewport={"width": width, "height": 800}) as tab:
        assert not await is_wider(tab)
        bars = await tab.locator(".bars rect").evaluate_all(places)
        names = await tab.locator(".bars text").evaluate_all(places)
        numbers = await tab.locator(".axis text").evaluate_all(places)
    assert len(bars) == days
    assert min(left for left, _ in numbers) >= 0
    assert max(right for _, right in numbers) < min(left for left, _ in bars)
    assert max(right for _, right in bars + names) <= width
    assert all(right < left for (_, right), (left, _) in pairwise(names))
    assert names


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_axe_finds_nothing(browser: Any, sample: Path, archive: Path, colours: str) -> None:
    """No page has a problem of access that axe knows, such as a low contrast, light or dark."""
    for path, pages in ((sample, PAGES), (archive, [f"/c/{LONG}"])):
        async with shown(browser, path, refused=True, color_scheme=colours) as tab:
            home = tab.url.rstrip("/")
            for page in pages:
                await tab.goto(home + page)
                assert await violations(tab) == [], page
    async with shown(browser, sample, color_scheme=colours) as tab:
        await tab.keyboard.press("?")
        await tab.locator("dialog[open]").wait_for()
        assert await violations(tab) == [], "the list of keys"


async def test_the_dark(browser: Any, sample: Path) -> None:
    """Where the reader wants it dark the paper is dark and the ink light; on paper it never is."""
    light = "getComputedStyle(document.documentElement).{}.match(/\\d+/)[0] > 128"
    async with shown(browser, sample, color_scheme="dark") as tab:
        assert not await tab.evaluate(light.format("backgroundColor"))
        assert await tab.evaluate(light.format("color"))
        await tab.emulate_media(media="print")
        assert await tab.evaluate(light.format("backgroundColor"))
        assert not await tab.evaluate(light.format("color"))


async def test_print(browser: Any, sample: Path) -> None:
    """On paper there is what was said, and nothing that one can only press."""
    async with shown(browser, sample, "/c/chatcmpl-train") as tab:
        await tab.emulate_media(media="print")
        assert await tab.locator(".said").first.is_visible()
        for gone in (".tools", ".around", "nav", "#keys-button", ".bottom", ".skip"):
            for one in await tab.locator(gone).all():
                assert not await one.is_visible(), gone


@pytest.mark.parametrize("name", ["arabic-coffee", "hebrew-python"])
async def test_right_to_left(browser: Any, sample: Path, name: str) -> None:
    """Arabic and Hebrew begin at the right, in the title, in the results and in what was said."""
    rightmost = """element => {
        const range = document.createRange();
        range.selectNodeContents(element);
        const text = range.getClientRects()[0], box = element.getBoundingClientRect();
        return box.right - text.right < text.left - box.left;
    }"""
    async with shown(browser, sample, f"/c/chatcmpl-{name}") as tab:
        said = tab.locator(".turn.by-user .said > :first-child").first
        title = tab.locator("h1")
        for element in (said, title):
            direction = await element.evaluate("element => getComputedStyle(element).direction")
            assert direction == "rtl" or await element.evaluate(rightmost)
        assert await title.evaluate("element => getComputedStyle(element).direction") == "rtl"


async def test_a_message_is_copied(browser: Any, sample: Path) -> None:
    """A message is copied as the Markdown that was sent, or as its JSON, and the page says so."""
    async with shown(
        browser,
        sample,
        "/c/chatcmpl-code-review",
        permissions=["clipboard-read", "clipboard-write"],
    ) as tab:
        text = "navigator.clipboard.readText()"
        await tab.get_by_role("button", name="Copy message 0 as Markdown").click()
        await tab.get_by_text("Copied.").wait_for()
        assert await tab.evaluate(text) == await tab.locator("#source0").text_content()
        await tab.get_by_role("button", name="Copy message 0 as JSON").click()
        await tab.wait_for_function("async () => (await navigator.clipboard.readText())[0] == '{'")
        assert "role" in json.loads(await tab.evaluate(text))


async def test_hostile_texts_do_nothing(browser: Any, tmp_path: Path) -> None:
    """Hostile texts in every field open no dialog, run nothing, load nothing, break no page."""
    path = tmp_path / "hostile.db"
    for text in HOSTILE:
        hostile_archive(path, text)
    store(path, "corpus", *CORPUS[:400])
    store(path, "more", *({"role": text, "content": text} for text in CORPUS[::20]))
    async with shown(browser, path, refused=True) as tab:
        home = tab.url.rstrip("/")
        ids = [f"/c/{quote(text, safe='', errors='replace')}" for text in HOSTILE]
        pages = ["/", "/overview", "/?q=word", "/?q=alert", "/c/chatcmpl-more", *ids]
        pages += [f"/c/chatcmpl-corpus?m={n}" for n in (0, 100, 200, 300)]
        for page in pages:
            await tab.goto(home + page)
            for summary in await tab.locator("details.json > summary:visible").all():
                await summary.click()
            assert tab.url.startswith(home)
            assert await tab.locator("header.top").is_visible(), page


async def test_ten_thousand_messages(browser: Any, tmp_path: Path) -> None:
    """A very long conversation opens at its first page, and its next pages are there."""
    path = tmp_path / "long.db"
    store(path, "long", *(f"message {n}" for n in range(10_000)))
    async with shown(browser, path, "/c/chatcmpl-long") as tab:
        assert await tab.locator(".turn").count() <= 101  # and the reply
        await tab.locator(".pager").first.get_by_role("link", name="Next").click()
        await tab.locator("#m100").wait_for()
        await tab.goto(tab.url.split("?")[0] + "?m=9990")
        await tab.locator("#m9990[data-marked]").wait_for()
        await tab.wait_for_function("scrollY > 0")
        assert await in_sight(tab, "#m9990")


@pytest.mark.skipif(not PICTURES, reason="pictures are made when AIOMESSAGES_SCREENSHOTS is set")
@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_pictures_for_the_docs(browser: Any, sample: Path, colours: str) -> None:
    """Write the pictures of docs/view.md: results in the light, a conversation in the dark."""
    page = {"light": "/?q=train", "dark": "/c/chatcmpl-train?q=train"}[colours]
    size = {"width": 1040, "height": 620}
    async with shown(browser, sample, page, color_scheme=colours, viewport=size) as tab:
        picture = await tab.screenshot()
        assert len(picture) <= 90_000
        Path(PICTURES or "", f"view-{colours}.png").write_bytes(picture)  # noqa: ASYNC240 - small
