"""What can happen to an archive while it is shown: a page with a sentence, and the right status."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from conftest_view import Answer, Opened, opened, store

from aiomessages.archive.schema import VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.typedefs import Handler

PAGES = ["/", "/?q=text", "/overview", "/ids.txt", "/c/chatcmpl-a/0.json"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of one conversation."""
    path = tmp_path / "archive.db"
    store(path, "a", "the text")
    return path


def move(path: Path, place: Path) -> None:
    """Give a file another name, which another file may have had."""
    path.replace(place)


def replace(path: Path, data: bytes | None) -> None:
    """Put another file in the place of one, or a directory."""
    path.unlink()
    if data is None:
        path.mkdir()
    else:
        path.write_bytes(data)


def read(path: Path) -> bytes:
    """Return the bytes of a file."""
    return path.read_bytes()


def damage(path: Path) -> None:
    """Overwrite the pages of both tables that all pages read; the schema stays."""
    data = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as db:
        roots = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE tbl_name IN ('completions', 'messages')"
        ).fetchall()
    for (page,) in roots:
        data[4096 * (page - 1) : 4096 * page] = b"\x55" * 4096
    replace(path, bytes(data))


def sentence(answer: Answer) -> str:
    """Return the sentence of an error page, which has no traceback."""
    assert answer.has_all_headers()
    assert "Traceback" not in answer.text
    assert "sqlite3." not in answer.text
    (found,) = re.findall(r'<p dir="auto">(.*?)</p>', answer.text)
    return str(found)


async def ask_all(room: Opened, *, status: int, says: str) -> None:
    """Ask for each page, and check the answer."""
    for page in PAGES:
        answer = await room.get(page)
        assert answer.status == status, page
        assert says in sentence(answer), page


async def test_an_archive_that_is_removed(archive: Path) -> None:
    """A removed archive is noticed at the next page, and shown again when it is back."""
    async with opened(archive) as room:
        assert (await room.get("/")).status == 200
        move(archive, archive.with_suffix(".away"))
        await ask_all(room, status=500, says="there is no such archive")
        move(archive.with_suffix(".away"), archive)
        assert (await room.get("/")).status == 200


async def test_an_archive_that_is_replaced(archive: Path, tmp_path: Path) -> None:
    """Another archive of the same name is shown from the next page on."""
    other = tmp_path / "other.db"
    store(other, "b", "another text")
    async with opened(archive) as room:
        assert "the text" in (await room.get("/")).text
        move(other, archive)
        assert "another text" in (await room.get("/")).text


async def test_an_archive_that_grows(archive: Path) -> None:
    """What a sync writes is shown at the next page."""
    async with opened(archive) as room:
        assert "1 conversation" in (await room.get("/")).text
        store(archive, "b", "another text")
        assert "2 conversations" in (await room.get("/")).text


async def test_an_archive_that_is_damaged_while_it_is_shown(archive: Path) -> None:
    """Damage is noticed, and so is a backup that was restored."""
    async with opened(archive) as room:
        whole = read(archive)
        damage(archive)
        assert (await room.get("/")).status == 500
        replace(archive, whole)
        assert (await room.get("/")).status == 200


@pytest.mark.parametrize("begin", ["before", "after"])
async def test_an_archive_of_a_later_version(archive: Path, begin: str) -> None:
    """An archive that a later version has migrated says to update, also while it is shown."""
    async with opened(archive) as room:
        if begin == "after":
            assert (await room.get("/")).status == 200
        with closing(sqlite3.connect(archive)) as db:
            db.execute(f"PRAGMA user_version = {VERSION + 1}")
        await ask_all(room, status=500, says="update aiomessages")


async def test_a_file_of_another_kind(archive: Path) -> None:
    """A file that is no database any more says so."""
    async with opened(archive) as room:
        assert (await room.get("/")).status == 200
        replace(archive, b"precious" * 1000)
        await ask_all(room, status=500, says="no SQLite database")


async def test_a_damaged_archive(archive: Path) -> None:
    """A damaged archive says what can be saved."""
    damage(archive)
    async with opened(archive) as room:
        await ask_all(room, status=500, says="restore a backup")


async def test_a_locked_archive(archive: Path) -> None:
    """A program that has locked the whole archive is waited for, and then the page says so."""
    with closing(sqlite3.connect(archive, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("BEGIN EXCLUSIVE")
        async with opened(archive) as room:
            answer = await room.get("/")
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "5"
            assert "another process is writing it" in sentence(answer)
            db.execute("ROLLBACK")
            assert (await room.get("/")).status == 200


async def test_an_archive_that_may_not_be_read(archive: Path) -> None:
    """A directory in place of the archive is named as one."""
    async with opened(archive) as room:
        replace(archive, None)
        await ask_all(room, status=500, says="a directory")


async def test_pages_that_do_not_exist(archive: Path) -> None:
    """An unknown path or conversation is answered by 404, with a way back."""
    async with opened(archive) as room:
        for path, back in {
            "/none": "./",
            "/c/none/0.json": "../../",
            "/c/chatcmpl-a/7.json": "../../",
            "/a/b/c/d": "../../../",
            "/static/none.css": "../",
            "/c/chatcmpl-a/x.json": "../../",
            "/c/chatcmpl-a/0.exe": "../../",
        }.items():
            answer = await room.get(path)
            assert answer.status == 404, path
            assert sentence(answer)
            assert f'<a href="{back}">Go to the first page</a>' in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../view.css",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/..%5capp.py",
        "/static/%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/static/view.css%00.png",
        "/static/view.css/",
        "/static/VIEW.CSS",
        "/static/",
        "/static",
        "/static/.",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/c/../static/../../app.py",
        "/c/%00",
        "/c/" + "%F0%9F%98%80" * 2500 + "/0.json",
        "/c/" + "a" * 10_000 + "/0.txt",
        "/c/%ED%A0%80/0.json",
        "/c/%FF%FE/0.json",
        "/c/a%0D%0ASet-Cookie:%20a=b/0.json",
        "/c/'%20OR%201=1--/0.json",
    ],
)
async def test_tricks_in_a_path(room: Opened, path: str) -> None:
    """No path leads anywhere but into the tables of routes, files and conversations."""
    answer = await room.get(path)
    assert answer.status == 404
    assert answer.has_all_headers()
    assert "a" not in answer.headers.get("Set-Cookie", "")
    assert "root:" not in answer.text
    assert "Traceback" not in answer.text


async def test_static_files(room: Opened) -> None:
    """A file has its type, and is not sent again to who has it."""
    for name, kind in {
        "view.css": "text/css",
        "view.js": "text/javascript",
        "icon.svg": "image/svg+xml",
    }.items():
        answer = await room.get(f"/static/{name}")
        assert answer.status == 200
        assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert answer.headers["Cache-Control"] == "private, max-age=0, must-revalidate"
        assert answer.has_all_headers()
        headers = {"Cookie": room.cookie, "If-None-Match": answer.headers["ETag"]}
        again = await room.ask(f"/static/{name}", headers)
        assert (again.status, again.body) == (304, b"")
        assert again.has_all_headers()


async def test_pages_have_nothing_inline_and_nothing_from_elsewhere(room: Opened) -> None:
    """No page has a style, an event or a script of its own, or names another host."""
    for path in ("/", "/?q=rain", "/overview", "/none", "/?q=%22"):
        text = (await room.get(path)).text
        assert not re.search(r"\son\w+=|style=|<style|javascript:", text)
        assert re.findall(r"<script[^>]*>", text) == [
            '<script type="module" src="./static/view.js">'
        ]
        assert not re.search(r'(?:src|href|action)="(?!\./|\.\./|#)', text)


async def test_a_failure_of_the_program_is_a_page(
    archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of our own is answered by 500, and written to the log, not into the page."""

    @web.middleware
    async def failing(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001
        raise RuntimeError("a secret")

    async with opened(archive, also=failing) as room:
        answer = await room.get("/")
    assert answer.status == 500
    assert "fault of the program" in sentence(answer)
    assert "a secret" not in answer.text
    assert [record.getMessage() for record in caplog.records] == ["/: a secret"]


async def test_a_download_that_fails_is_cut(archive: Path) -> None:
    """What fails behind its beginning cannot look whole: the connection ends without an end."""

    @web.middleware
    async def failing(request: web.Request, handler: Handler) -> web.StreamResponse:  # noqa: ARG001
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"the begin")
        raise RuntimeError

    async with opened(archive, also=failing) as room:
        with pytest.raises(ValueError, match="base 16"):
            await room.get("/ids.txt")


async def test_each_sentence_ends(room: Opened) -> None:
    """A sentence of the page and one of an error both end with one full stop."""
    for page in ("/c/nothing", "/nothing", "/?day=x"):
        found = re.search(r'<p dir="auto">(.*?)</p>', (await room.get(page)).text, re.DOTALL)
        assert found is not None, page
        assert re.search(r"[^.]\.$", found[1]), found[1]
