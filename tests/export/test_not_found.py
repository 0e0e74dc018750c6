"""The table of "not found": the state of a completion that is missing or not visible yet."""

from __future__ import annotations

import json
import re
from collections import Counter
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest
from loopback import Answer, Asked, Loopback, message, page

from aiomessages import (
    APIError,
    AsyncMessagesClient,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    RetryPolicy,
)
from aiomessages.export import ExportReport, export, read_status
from aiomessages.export.exporting import export_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "sk-canary-0123456789"
NOW = 1_760_000_000.0
SAID = 5  # messages of each completion, two a page
IDS = ["chatcmpl-a", "chatcmpl-b", "chatcmpl-c"]
ODD = "chatcmpl-b"

Answers = "Callable[[Asked, int], Answer | None]"


def completion(name: str, created: float = 1_700_000_000) -> dict[str, Any]:
    """Return a stored completion."""
    reply = {"role": "assistant", "content": f"reply of {name}"}
    choice = {"index": 0, "message": reply, "finish_reason": "stop"}
    return {"object": "chat.completion", "id": name, "created": created, "choices": [choice]}


def missing(name: str = ODD) -> Answer:
    """Answer as the live API does for an unknown completion."""
    error = {
        "message": f"Completion {name} not found",
        "type": "invalid_request_error",
        "param": "completion_id",
        "code": "not_found",
    }
    return Answer({"error": error}, 404, {"date": formatdate(NOW, usegmt=True)})


def missing_in_ogx() -> Answer:
    """Answer as OGX does."""
    return Answer({"error": {"message": f"Chat completion with id {ODD} not found"}}, 400)


def bad_cursor(status: int = 400) -> Answer:
    """Answer as the API does for a cursor that is not in the list."""
    error = {"message": "No such message", "type": "invalid_request_error", "param": "after"}
    return Answer({"error": error | {"code": None}}, status)


class Stored(Loopback):
    """A server of completions: those of `odd_ids` answer as `odd` says, the others correctly.

    `odd` gets the request and the number of earlier equal ones; None is the ordinary answer.
    """

    def __init__(self, odd: Callable[[Asked, int], Answer | None], created: float = 0) -> None:
        super().__init__(self._answer)
        self.odd, self.odd_ids = odd, [ODD]
        self.listed = IDS
        self._created = created or 1_700_000_000
        self._times: Counter[tuple[str, str | None]] = Counter()

    def _answer(self, asked: Asked) -> Answer:
        name = asked.path.removeprefix("/v1/chat/completions").strip("/").partition("/")[0]
        times = self._times[asked.path, asked.query.get("after")]
        self._times[asked.path, asked.query.get("after")] += 1
        if name in self.odd_ids and (answer := self.odd(asked, times)) is not None:
            return answer
        if not name:
            return Answer(page(completion(name, self._created) for name in self.listed))
        if not asked.path.endswith("/messages"):
            return Answer(completion(name, self._created))
        start = int(asked.query["after"].rpartition("-")[2]) + 1 if "after" in asked.query else 0
        end = min(start + 2, SAID)
        said = [message(n, completion_id=name) for n in range(start, end)]
        return Answer(page(said, has_more=end < SAID))


def first_page(asked: Asked) -> bool:
    """Return whether a request is for the first page of messages."""
    return asked.path.endswith("/messages") and "after" not in asked.query


def client_of(server: Loopback) -> AsyncMessagesClient:
    """Return a client that does not wait between attempts."""
    at_once = RetryPolicy(max_retries=2, initial_backoff=0, max_backoff=0)
    return AsyncMessagesClient(KEY, base_url=server.base_url, retry=at_once)


@pytest.fixture(autouse=True)
def _short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiomessages.export.conversation_reader.VISIBLE_SECONDS", 0.3)


async def export_all(server: Loopback, path: Path, **options: Any) -> ExportReport:
    """Export the list of completions."""
    async with client_of(server) as client:
        return await export(client, client.completions(), path, **options)


async def export_ids(
    server: Loopback, path: Path, ids: list[str] | None = None, **options: Any
) -> ExportReport:
    """Export the completions by their ids."""
    async with client_of(server) as client:
        return await export(client, IDS if ids is None else ids, path, **options)


def whole(path: Path) -> list[str]:
    """Return the ids of a file in the layout `messages`; each has all its lines in order."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    names = [line["completion_id"] for line in lines][:: SAID + 1]
    assert [(line["completion_id"], line["seq"]) for line in lines] == [
        (name, seq) for name in names for seq in range(SAID + 1)
    ]
    return sorted(names)


OTHERS = [name for name in IDS if name != ODD]


# --- not visible yet ------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [missing(), missing_in_ogx()], ids=["live API", "OGX"])
async def test_listed_a_moment_too_early(tmp_path: Path, answer: Answer) -> None:
    """A completion that is listed before its messages are visible is waited for."""
    async with Stored(lambda asked, n: answer if first_page(asked) and n == 0 else None) as server:
        report = await export_all(server, tmp_path / "out.jsonl")
    assert (report.complete, whole(tmp_path / "out.jsonl")) == (True, IDS)


@pytest.mark.parametrize("on_error", ["raise", "continue"])
async def test_listed_and_not_visible(tmp_path: Path, on_error: Any) -> None:
    """A completion that stays invisible is pending and named, and the export finishes."""
    async with Stored(lambda asked, _: missing() if first_page(asked) else None) as server:
        report = await export_all(server, tmp_path / "out.jsonl", on_error=on_error)
    assert (report.complete, report.pending, report.progress.pending) == (True, [ODD], 1)
    assert whole(tmp_path / "out.jsonl") == OTHERS
    status = read_status(tmp_path / "out.jsonl")
    assert status is not None
    assert status.pending == [ODD]
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())
    assert manifest["pending"] == [ODD]


@pytest.mark.parametrize("listed", [IDS, OTHERS], ids=["listed", "not listed"])
@pytest.mark.parametrize("refresh", [True, False], ids=["refresh", "no refresh"])
async def test_a_pending_completion(tmp_path: Path, listed: list[str], refresh: bool) -> None:
    """Every later run requests a pending completion again, listed or not."""
    async with Stored(lambda asked, _: missing() if first_page(asked) else None) as server:
        await export_all(server, tmp_path / "out.jsonl")
        server.odd, server.listed = (lambda _, __: None), listed
        report = await export_all(server, tmp_path / "out.jsonl", refresh=refresh)
    assert (report.complete, report.pending) == (True, [])
    assert whole(tmp_path / "out.jsonl") == IDS


async def test_pending_and_then_gone(tmp_path: Path) -> None:
    """A pending completion that is neither listed nor found any more is gone."""
    async with Stored(lambda asked, _: missing() if first_page(asked) else None) as server:
        await export_all(server, tmp_path / "out.jsonl")
        server.listed = OTHERS
        report = await export_all(server, tmp_path / "out.jsonl")
    assert (report.complete, report.pending, report.gone) == (True, [], [ODD])


async def test_everything_listed_is_gone(tmp_path: Path) -> None:
    """An export of a list in which all completions are gone ends without an error."""
    async with Stored(lambda asked, _: missing() if first_page(asked) else None) as server:
        server.listed = [ODD]
        await export_all(server, tmp_path / "out.jsonl")
        server.listed = []
        report = await export_all(server, tmp_path / "out.jsonl")
    assert (report.complete, report.gone, report.rows) == (True, [ODD], 0)


async def test_still_pending_changes_no_byte(tmp_path: Path) -> None:
    """A later run in which nothing changed leaves every file but the ledger as it is."""

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.glob("out.jsonl*")}

    async with Stored(lambda asked, _: missing() if first_page(asked) else None) as server:
        await export_all(server, tmp_path / "out.jsonl")
        before = files()
        report = await export_all(server, tmp_path / "out.jsonl")
    assert (report.finished, files()) == (True, before)


@pytest.mark.parametrize(
    ("age", "visible", "become"),
    [(59, True, "done"), (59, False, "pending"), (60, True, "gone")],
)
async def test_young_by_id(tmp_path: Path, age: int, visible: bool, become: str) -> None:
    """An id of a completion younger than a minute, by the response's Date, is waited for too."""

    def odd(asked: Asked, n: int) -> Answer | None:
        return missing() if first_page(asked) and (n == 0 or not visible) else None

    async with Stored(odd, created=NOW - age) as server:
        report = await export_ids(server, tmp_path / "out.jsonl")
    status = read_status(tmp_path / "out.jsonl")
    assert status is not None
    assert (report.complete, become in status.completions) == (True, True)


# --- gone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [missing(), missing_in_ogx()], ids=["live API", "OGX"])
@pytest.mark.parametrize("on_error", ["raise", "continue"])
async def test_gone(tmp_path: Path, answer: Answer, on_error: Any) -> None:
    """A completion that is not found by its id is gone and named; the export is complete."""
    async with Stored(lambda _, __: answer) as server:
        report = await export_ids(server, tmp_path / "out.jsonl", on_error=on_error)
    assert (report.complete, report.gone, report.failed) == (True, [ODD], {})
    assert whole(tmp_path / "out.jsonl") == OTHERS
    assert json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["gone"] == [ODD]


async def test_gone_and_back(tmp_path: Path) -> None:
    """A completion that was gone is requested again if it is named again."""
    async with Stored(lambda _, __: missing()) as server:
        await export_ids(server, tmp_path / "out.jsonl")
        server.odd = lambda _, __: None
        report = await export_ids(server, tmp_path / "out.jsonl")
    assert (report.gone, whole(tmp_path / "out.jsonl")) == ([], IDS)


@pytest.mark.parametrize("on_error", ["raise", "continue"])
async def test_a_wrong_address(tmp_path: Path, on_error: Any) -> None:
    """If none of the ids exists, the export ends with an error and is not finished."""
    async with Loopback(lambda asked: missing(asked.path.split("/")[4])) as server:
        with pytest.raises(NotFoundError, match=r"none of the ids exists .*\(3 tried\)") as caught:
            await export_ids(server, tmp_path / "out.jsonl", on_error=on_error)
        assert caught.value.code == "not_found"
    assert not (tmp_path / "out.jsonl").exists()
    async with Stored(lambda _, __: None) as server:  # the right address, the same destination
        report = await export_ids(server, tmp_path / "out.jsonl")
    assert (report.complete, whole(tmp_path / "out.jsonl")) == (True, IDS)


# --- changed while it was read --------------------------------------------------------------------


def second_page(asked: Asked) -> bool:
    """Return whether a request is for the second page of messages."""
    return asked.query.get("after") == f"{ODD}-1"


CHANGED = {
    "not found": missing(),
    "OGX": missing_in_ogx(),
    "cursor": bad_cursor(),
    "cursor 404": bad_cursor(404),
}


@pytest.mark.parametrize("answer", CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("source", [export_all, export_ids])
async def test_changed_once(tmp_path: Path, answer: Answer, source: Any) -> None:
    """A conversation that changes once while it is read is read again, and written once, whole."""
    async with Stored(lambda asked, n: answer if second_page(asked) and n == 0 else None) as server:
        report = await source(server, tmp_path / "out.jsonl")
    assert (report.complete, whole(tmp_path / "out.jsonl")) == (True, IDS)


@pytest.mark.parametrize("answer", CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("on_error", ["raise", "continue"])
async def test_lost(tmp_path: Path, answer: Answer, on_error: Any) -> None:
    """A conversation that changes twice is lost and named, and the part that was read is kept."""
    async with Stored(lambda asked, _: answer if second_page(asked) else None) as server:
        report = await export_all(server, tmp_path / "out.jsonl", on_error=on_error)
    assert (report.finished, report.complete, report.lost) == (True, False, [ODD])
    assert (report.progress.lost, report.progress.completions) == (1, 2)
    assert whole(tmp_path / "out.jsonl") == OTHERS
    kept = (tmp_path / "out.jsonl.incomplete.jsonl").read_bytes().splitlines()
    assert [(json.loads(line)["completion_id"], json.loads(line)["seq"]) for line in kept] == [
        (ODD, 0),
        (ODD, 1),
    ]
    assert json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["lost"] == [ODD]


async def test_lost_without_a_file() -> None:
    """Lines that are only handed over have no place for a part: the lost one is named."""
    lines: list[bytes] = []
    answer = CHANGED["not found"]
    async with (
        Stored(lambda asked, _: answer if second_page(asked) else None) as server,
        client_of(server) as client,
    ):
        report = await export_lines(client, client.completions(), lines.append)
    names = {json.loads(line)["completion_id"] for line in b"".join(lines).splitlines()}
    assert (sorted(names), report.lost) == (OTHERS, [ODD])
    assert (report.finished, report.complete, report.sha256) == (True, False, {})


async def test_lost_by_a_later_run(tmp_path: Path) -> None:
    """The manifest of a finished export names one more completion that a later run lost."""
    async with Stored(lambda asked, _: missing() if "after" in asked.query else None) as server:
        await export_all(server, tmp_path / "out.jsonl")
        server.listed, server.odd_ids = [*IDS, "chatcmpl-d"], [ODD, "chatcmpl-d"]
        report = await export_all(server, tmp_path / "out.jsonl")
    assert (report.finished, report.lost) == (True, [ODD, "chatcmpl-d"])
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())
    assert manifest["lost"] == [ODD, "chatcmpl-d"]


async def test_deleted_while_it_was_read(tmp_path: Path) -> None:
    """A conversation that is deleted before its second reading is lost; the first part is kept."""

    def odd(asked: Asked, n: int) -> Answer | None:
        return missing() if second_page(asked) or n > 0 else None

    async with Stored(odd) as server:
        report = await export_ids(server, tmp_path / "out.jsonl")
    assert (report.lost, report.gone) == ([ODD], [])
    assert len((tmp_path / "out.jsonl.incomplete.jsonl").read_bytes().splitlines()) == 2


async def test_deleted_and_not_waited_for(tmp_path: Path) -> None:
    """A conversation whose beginning was read is requested once more, and then no longer."""

    def odd(asked: Asked, n: int) -> Answer | None:
        return missing() if second_page(asked) or n > 0 else None

    async with Stored(odd) as server:
        server.listed = [ODD]
        await export_all(server, tmp_path / "out.jsonl")
    assert [*map(first_page, server.asked)].count(True) == 2


async def test_the_longer_part_is_kept(tmp_path: Path) -> None:
    """Of two incomplete readings, the longer one is kept."""

    def odd(asked: Asked, n: int) -> Answer | None:
        third = asked.query.get("after") == f"{ODD}-3"
        return missing() if third or (second_page(asked) and n == 0) else None

    async with Stored(odd) as server:
        report = await export_ids(server, tmp_path / "out.jsonl")
    assert report.lost == [ODD]
    assert len((tmp_path / "out.jsonl.incomplete.jsonl").read_bytes().splitlines()) == 4


async def test_lost_again_and_found(tmp_path: Path) -> None:
    """A later run reads a lost conversation again: a part is kept once, a whole one is written."""
    async with Stored(lambda asked, _: missing() if second_page(asked) else None) as server:
        for _ in range(2):
            report = await export_all(server, tmp_path / "out.jsonl")
            assert report.lost == [ODD]
        assert len((tmp_path / "out.jsonl.incomplete.jsonl").read_bytes().splitlines()) == 2
        server.odd = lambda _, __: None
        report = await export_all(server, tmp_path / "out.jsonl")
    assert (report.complete, report.lost, whole(tmp_path / "out.jsonl")) == (True, [], IDS)


@pytest.mark.parametrize("answer", [missing(), Answer(b"{}", 500)], ids=["gone", "failed"])
async def test_a_lost_completion_stays_lost(tmp_path: Path, answer: Answer) -> None:
    """A lost conversation that cannot be read at all stays lost, since a part of it is kept."""
    async with Stored(lambda asked, _: missing() if second_page(asked) else None) as server:
        await export_ids(server, tmp_path / "out.jsonl")
        for odd in (
            lambda _, __: answer,
            lambda asked, _: missing() if second_page(asked) else None,
        ):
            server.odd = odd
            report = await export_ids(server, tmp_path / "out.jsonl", on_error="continue")
            assert (report.finished, report.lost) == (True, [ODD])
            assert (report.gone, report.failed) == ([], {})
    assert len((tmp_path / "out.jsonl.incomplete.jsonl").read_bytes().splitlines()) == 2


async def test_an_error_when_it_is_read_again(tmp_path: Path) -> None:
    """An error of the second reading is the completion's error, and no line of it is written."""

    def odd(asked: Asked, n: int) -> Answer | None:
        if second_page(asked):
            return missing() if n == 0 else Answer(b"{}", 500)
        return None

    async with Stored(odd) as server:
        report = await export_ids(server, tmp_path / "out.jsonl", on_error="continue")
    assert (report.finished, report.failed) == (False, {"InternalServerError": 1})
    assert not (tmp_path / "out.jsonl.incomplete.jsonl").exists()


# --- somebody else answered -----------------------------------------------------------------------

FOREIGN = {
    "HTML": Answer(b"<h1>404 Not Found</h1>", 404, {"content-type": "text/html"}),
    "FastAPI": Answer({"detail": "Not Found"}, 404),
    "empty": Answer(b"", 404),
    "another code": Answer({"error": {"message": "no such route", "code": "unknown_url"}}, 404),
}


@pytest.mark.parametrize("answer", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("source", [export_all, export_ids])
async def test_a_foreign_404(tmp_path: Path, answer: Answer, source: Any) -> None:
    """Any other 404 is retried like a 502; then the completion failed, and the export is open."""
    async with Stored(lambda asked, _: answer if first_page(asked) else None) as server:
        report = await source(server, tmp_path / "out.jsonl", on_error="continue")
        asked = [one for one in server.asked if ODD in one.path and first_page(one)]
        assert len(asked) == 3
        assert (report.finished, report.failed_ids, report.gone) == (False, [ODD], [])
        with pytest.raises(NotFoundError):
            await source(server, tmp_path / "other.jsonl")
        server.odd = lambda asked, n: answer if first_page(asked) and n < 7 else None
        report = await source(server, tmp_path / "out.jsonl", on_error="continue")
    assert (report.complete, whole(tmp_path / "out.jsonl")) == (True, IDS)


@pytest.mark.parametrize("answer", FOREIGN.values(), ids=FOREIGN)
async def test_a_foreign_404_in_the_middle(tmp_path: Path, answer: Answer) -> None:
    """The same 404 after the first page writes no line of that completion."""
    async with Stored(lambda asked, _: answer if second_page(asked) else None) as server:
        report = await export_ids(server, tmp_path / "out.jsonl", on_error="continue")
    assert (report.finished, report.failed_ids, report.lost) == (False, [ODD], [])
    assert whole(tmp_path / "out.jsonl.partial") == OTHERS


async def test_a_list_that_is_not_found(tmp_path: Path) -> None:
    """A 404 for the list itself ends the export with that error, and nothing is finished."""
    async with Loopback(lambda _: Answer(b"", 404)) as server:
        with pytest.raises(NotFoundError):
            await export_all(server, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    status = read_status(tmp_path / "out.jsonl")
    assert status is None or not status.finished


# --- failed, for now and for good -----------------------------------------------------------------


async def test_failed_and_not_named_again(tmp_path: Path) -> None:
    """A failed completion that is no longer named keeps no export open, and stays failed."""
    async with Stored(lambda asked, _: Answer(b"{}", 500) if first_page(asked) else None) as server:
        report = await export_all(server, tmp_path / "out.jsonl", on_error="continue")
        assert not report.finished
        server.listed = OTHERS
        report = await export_all(server, tmp_path / "out.jsonl", on_error="continue")
    assert (report.finished, report.complete, report.failed_ids) == (True, False, [ODD])
    assert whole(tmp_path / "out.jsonl") == OTHERS


@pytest.mark.parametrize("wrong", ["a/b", "x" * 257, "..", "a b"])
async def test_ids_that_are_refused(tmp_path: Path, wrong: str) -> None:
    """An id that no request can hold has failed for good, and keeps no export open."""
    async with Stored(lambda _, __: None) as server:
        server.listed = [*IDS, wrong]
        report = await export_all(server, tmp_path / "out.jsonl")
        assert (report.finished, report.complete, report.failed_ids) == (True, False, [wrong])
        report = await export_ids(server, tmp_path / "b.jsonl", [*IDS, wrong], on_error="continue")
        assert (report.finished, report.complete, report.failed_ids) == (True, False, [wrong])
        with pytest.raises(ConfigurationError, match=re.escape(repr(wrong[:100])[:-1])):
            await export_ids(server, tmp_path / "c.jsonl", [*IDS, wrong])
        assert not [asked for asked in server.asked if wrong in asked.path]


async def test_an_id_that_is_refused_at_once(tmp_path: Path) -> None:
    """By default an invalid id ends the export before it is requested."""
    async with Stored(lambda _, __: None) as server:
        with pytest.raises(ConfigurationError):
            await export_ids(server, tmp_path / "out.jsonl", ["a/b"])
        assert not server.asked


async def test_a_later_failure_reopens(tmp_path: Path) -> None:
    """A finished export that gets a failing completion is no longer finished."""
    async with Stored(lambda asked, _: Answer(b"{}", 500) if first_page(asked) else None) as server:
        server.listed = OTHERS
        assert (await export_all(server, tmp_path / "out.jsonl")).complete
        server.listed = IDS
        report = await export_all(server, tmp_path / "out.jsonl", on_error="continue")
        assert not report.finished
        assert whole(tmp_path / "out.jsonl") == OTHERS
        again = await export_all(server, tmp_path / "out.jsonl", on_error="continue")
        assert (again.finished, again.failed_ids) == (False, [ODD])
        with pytest.raises(InternalServerError):
            await export_all(server, tmp_path / "out.jsonl")


async def test_errors_are_of_the_api(tmp_path: Path) -> None:
    """An error that ends an export has the completion, the cursor and the attempts."""
    async with Stored(
        lambda asked, _: Answer(b"{}", 500) if second_page(asked) else None
    ) as server:
        with pytest.raises(APIError) as caught:
            await export_ids(server, tmp_path / "out.jsonl")
    assert (caught.value.completion_id, caught.value.cursor) == (ODD, f"{ODD}-1")
