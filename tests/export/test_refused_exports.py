"""Errors that end an export at once: a refused key, a used-up quota, a very long wait."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from loopback import Answer, Asked, Loopback, error, message, page

from aiomessages import (
    APIError,
    APIStatusError,
    AsyncMessagesClient,
    AuthenticationError,
    InsufficientQuotaError,
    InternalServerError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
)
from aiomessages.export import Progress, export, read_status
from aiomessages.export.ledger import Ledger
from aiomessages.export.ledger_schema import count_reasons

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "sk-canary-0123456789"
IDS = [f"chatcmpl-{number}" for number in range(40)]


class Refusing(Loopback):
    """A server that answers as `refuse` says for a request's number, else with a message."""

    def __init__(self, refuse: Callable[[int], Answer | None]) -> None:
        super().__init__(self._answer)
        self.refuse = refuse

    def _answer(self, asked: Asked) -> Answer:
        name = asked.path.split("/")[4]
        return self.refuse(len(self.asked)) or Answer(page([message(0, completion_id=name)]))


async def exported(server: Refusing, path: Path, **options: Any) -> Any:
    """Export the messages of all ids, one request each."""
    at_once = RetryPolicy(initial_backoff=0, max_backoff=0)
    async with AsyncMessagesClient(KEY, base_url=server.base_url, retry=at_once) as client:
        return await export(client, IDS, path, include_reply=False, **options)


def after(number: int, answer: Answer) -> Callable[[int], Answer | None]:
    """Refuse every request after the first ones."""
    return lambda n: answer if n > number else None


@pytest.mark.parametrize("on_error", ["raise", "continue"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(401, "invalid_api_key"), AuthenticationError),
        (error(429, "insufficient_quota"), InsufficientQuotaError),
    ],
    ids=["401", "quota"],
)
async def test_no_other_can_be_read(
    tmp_path: Path, answer: Answer, kind: type[APIError], on_error: Any
) -> None:
    """The first such answer ends the run; with a good key, the next run continues."""
    async with Refusing(after(20, answer)) as server:
        with pytest.raises(kind):
            await exported(server, tmp_path / "out.jsonl", on_error=on_error, concurrency=4)
        assert len(server.asked) <= 24
        status = read_status(tmp_path / "out.jsonl")
        assert status is not None
        assert (status.finished, status.failed_ids) == (False, [])
        server.refuse = lambda _: None
        report = await exported(server, tmp_path / "out.jsonl")
    assert (report.complete, report.rows, report.progress.already) == (True, 40, 20)


async def test_three_forbidden_in_a_row(tmp_path: Path) -> None:
    """One forbidden completion is recorded; three in a row end the run."""
    forbidden = error(403, "forbidden")
    async with Refusing(lambda n: forbidden if n in (5, 6, 9) or n > 20 else None) as server:
        with pytest.raises(PermissionDeniedError):
            await exported(server, tmp_path / "out.jsonl", on_error="continue", concurrency=1)
        assert len(server.asked) == 23
        status = read_status(tmp_path / "out.jsonl")
        assert status is not None
        assert len(status.failed_ids) == 5
        server.refuse = lambda _: None
        report = await exported(server, tmp_path / "out.jsonl", on_error="continue")
    assert (report.complete, report.rows) == (True, 40)


@pytest.mark.parametrize("on_error", ["raise", "continue"])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, RateLimitError), (503, InternalServerError), (500, InternalServerError)],
)
@pytest.mark.parametrize("seconds", [601, 86_400])
async def test_too_long_to_wait(
    tmp_path: Path, status: int, kind: type[APIStatusError], seconds: int, on_error: Any
) -> None:
    """A Retry-After of more than ten minutes ends the run, and is in the error."""
    answer = error(status, "rate_limit_exceeded", retry_after=str(seconds))
    async with Refusing(after(5, answer)) as server:
        with pytest.raises(kind) as caught:
            await exported(server, tmp_path / "out.jsonl", on_error=on_error, concurrency=1)
        assert len(server.asked) == 6
    assert caught.value.retry_after == seconds
    assert not (tmp_path / "out.jsonl").exists()


async def test_a_wait_in_the_progress(tmp_path: Path) -> None:
    """A shorter wait is waited for, and the progress says until when."""
    answer = error(429, "rate_limit_exceeded", retry_after_ms="300")
    reported: list[float] = []

    def note(progress: Progress) -> None:
        reported.append(progress.paused_until)

    async with Refusing(lambda n: answer if n == 3 else None) as server:
        report = await exported(server, tmp_path / "out.jsonl", on_progress=note)
    assert (report.complete, report.rows) == (True, 40)
    assert reported[-1] > 0


async def test_a_wait_at_the_start_in_the_progress(tmp_path: Path) -> None:
    """A wait before the first request succeeded is in the progress as well."""
    answer = error(429, "rate_limit_exceeded", retry_after_ms="300")
    known: list[Progress] = []
    paused: list[float] = []

    def refuse(number: int) -> Any:
        paused.extend(progress.paused_until for progress in known[-1:])
        return answer if number == 1 else None

    async with Refusing(refuse) as server:
        await exported(server, tmp_path / "out.jsonl", concurrency=1, on_progress=known.append)
    assert paused[:1] == [0]
    assert paused[1] > 0


# --- how many requests ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refuse",
    [
        lambda _: None,
        lambda n: error(500) if n % 7 == 0 else None,
        lambda n: error(500) if n > 30 else None,
        lambda n: error(404, "not_found") if n % 3 == 0 else None,
        lambda n: error(403) if n % 5 == 0 else None,
    ],
    ids=["good", "some retries", "failing", "gone", "forbidden"],
)
async def test_every_request_counts(tmp_path: Path, refuse: Callable[[int], Answer | None]) -> None:
    """Progress counts each request that was sent, whatever its outcome."""
    reported: list[Progress] = []
    async with Refusing(refuse) as server:
        await exported(
            server, tmp_path / "out.jsonl", on_error="continue", on_progress=reported.append
        )
        assert reported[-1].requests == len(server.asked)


async def test_requests_of_the_list_count(tmp_path: Path) -> None:
    """The pages of the list are requests as well, and so is one behind a last page that is full."""

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/messages"):
            return Answer(page([message(0, completion_id=asked.path.split("/")[4])]))
        start = IDS.index(asked.query["after"]) + 1 if "after" in asked.query else 0
        listed = [{"id": name, "object": "chat.completion"} for name in IDS[start : start + 10]]
        return Answer(page(listed, has_more=start + 10 < len(IDS)))

    async with (
        Loopback(answer) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        report = await export(client, client.completions(limit=10), tmp_path / "out.jsonl")
        assert report.progress.requests == len(server.asked) == 5 + len(IDS)


# --- run again ------------------------------------------------------------------------------------


class Growing(Loopback):
    """A server whose list can grow."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.names = IDS[:3]

    def _answer(self, asked: Asked) -> Answer:
        if asked.path.endswith("/messages"):
            return Answer(page([message(0, completion_id=asked.path.split("/")[4])]))
        listed = [{"id": name, "model": "m", "created": 1_700_000_000} for name in self.names]
        return Answer(page(listed))


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out", "out.parquet", "out.duckdb"])
async def test_listed_again(tmp_path: Path, name: str) -> None:
    """A list is listed again by default: new completions are added, else no byte changes."""

    def files() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file() and ".ledger" not in path.name
        }

    async with Growing() as server, AsyncMessagesClient(KEY, base_url=server.base_url) as client:
        first = await export(client, client.completions(), tmp_path / name)
        before = files()
        again = await export(client, client.completions(), tmp_path / name)
        assert (again.complete, again.was_finished, files()) == (True, True, before)
        assert again.progress.requests == 1
        server.names = IDS[:5]
        kept = await export(client, client.completions(), tmp_path / name, refresh=False)
        assert (kept.progress.requests, kept.progress.listed, files()) == (0, False, before)
        grown = await export(client, client.completions(), tmp_path / name)
    assert (first.rows, grown.rows, grown.complete) == (3, 5, True)


async def test_a_first_run_that_finds_nothing(tmp_path: Path) -> None:
    """An export of an empty list is finished, and later runs list again."""
    async with Growing() as server, AsyncMessagesClient(KEY, base_url=server.base_url) as client:
        server.names = []
        assert (await export(client, client.completions(), tmp_path / "out.jsonl")).rows == 0
        server.names = IDS[:2]
        report = await export(client, client.completions(), tmp_path / "out.jsonl")
    assert (report.rows, len((tmp_path / "out.jsonl").read_bytes().splitlines())) == (2, 2)
    assert json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())["rows"] == 2


async def test_a_reply_that_is_left_out(tmp_path: Path) -> None:
    """A choice that the layout cannot express is left out of its completion, and noted with it."""

    def answer(asked: Asked) -> Answer:
        name = asked.path.split("/")[4]
        if asked.path.endswith("/messages"):
            return Answer(page([message(0, completion_id=name)]))
        said = {"role": "assistant", "content": "yes"}
        choices = [{"index": 0, "message": said}, {"index": 1, "message": {**said, "role": "?"}}]
        return Answer({"id": name, "choices": choices})

    async with (
        Loopback(answer) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        report = await export(client, IDS[:1], tmp_path / "out.jsonl", layout="finetune")
    assert (report.complete, report.rows, report.skipped) == (True, 1, {})
    with Ledger(tmp_path / "out.jsonl.ledger") as ledger:
        assert ledger.query(count_reasons, "done") == {"unknown role": 1}


# --- large conversations --------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["messages", "conversations", "finetune"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out"])
async def test_larger_than_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, name: str
) -> None:
    """Large conversations wait in a file: the output is the same, byte for byte and in order."""
    names = IDS[:6]

    def answer(asked: Asked) -> Answer:
        completion_id = asked.path.split("/")[4]
        reply = {"role": "assistant", "content": "the end"}
        if not asked.path.endswith("/messages"):
            return Answer({"id": completion_id, "choices": [{"index": 0, "message": reply}]})
        start = int(asked.query.get("after", "x--1").rpartition("-")[2] or 0) + 1
        start = 0 if "after" not in asked.query else start
        said = [message(n, completion_id=completion_id) for n in range(start, min(start + 10, 95))]
        return Answer(page(said, has_more=start + 10 < 95))

    async with (
        Loopback(answer) as server,
        AsyncMessagesClient(KEY, base_url=server.base_url) as client,
    ):
        options: dict[str, Any] = {"layout": layout, "concurrency": 3}
        await export(client, names, tmp_path / "as-it-is" / name, **options)
        monkeypatch.setattr("aiomessages.export.exporting.BUDGET_BYTES", 4000)
        monkeypatch.setattr("aiomessages.export.memory_budget.FIRST_PAGE_BYTES", 1000)
        monkeypatch.setattr("aiomessages.export.message_buffer.BLOCK_BYTES", 700)
        report = await export(client, names, tmp_path / "spooled" / name, **options)

    def read(folder: str) -> list[bytes]:
        import gzip  # noqa: PLC0415

        path = tmp_path / folder / name
        data = (path / "part-00001.jsonl" if name == "out" else path).read_bytes()
        return (gzip.decompress(data) if name.endswith(".gz") else data).splitlines()

    assert sorted(read("spooled")) == sorted(read("as-it-is"))
    if layout == "messages":
        rows = [json.loads(line) for line in read("spooled")]
        starts = [row["completion_id"] for row in rows if row["seq"] == 0]
        assert [(row["completion_id"], row["seq"]) for row in rows] == [
            (start, seq) for start in starts for seq in range(96)
        ]
    assert report.complete
    assert sorted(path.name for path in (tmp_path / "spooled").iterdir()) == sorted(
        path.name for path in (tmp_path / "as-it-is").iterdir()
    )
