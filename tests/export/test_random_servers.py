"""Servers that misbehave at random, and an observer that knows the right content of exports.

Each completion gets a fault with a known outcome. Several runs follow one another, each with other
faults and other ids, the last one with none. After each run the files, the names in report, status
and manifest, the requests and the end are what the observer expects.
"""

from __future__ import annotations

import gzip
import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from loopback import Answer, Asked, Loopback, message, page

from aiomessages import AsyncMessagesClient, NotFoundError, RetryPolicy
from aiomessages.export import ExportReport, export, read_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.unmeasured

KEY = "sk-canary-0123456789"
GET, FIRST, LATER = "the completion", "the first page", "a later page"
STATES = ("gone", "pending", "lost", "failed")

Reply = Answer | bytes | None


def refusal(status: int, text: str, **facts: Any) -> Answer:
    """Return an error as the API sends it."""
    return Answer({"error": {"message": text, "param": None, "code": None, **facts}}, status)


NOT_FOUND: list[Callable[[str], Reply]] = [
    lambda name: refusal(404, f"Completion {name} not found", code="not_found"),
    lambda name: refusal(400, f"Chat completion with id {name} not found"),
    lambda name: refusal(404, json.dumps({"error": {"message": f"No such completion: {name}"}})),
    lambda name: Answer({"detail": f"Completion {name} does not exist"}, 404),
    lambda _: refusal(200, "no", code="not_found"),
    lambda _: refusal(404, "no", param="completion_id"),
]
SOMEBODY_ELSE: list[Callable[[str], Reply]] = [
    lambda _: Answer(b"<h1>404 Not Found</h1>", 404, {"content-type": "text/html"}),
    lambda _: Answer({"detail": "Not Found"}, 404),
    lambda _: Answer(b"", 404),
    lambda _: refusal(404, "Resource not found", code="404"),
    lambda name: Answer({"message": f"Route /v1/chat/completions/{name} not found"}, 404),
]
BAD_CURSOR: list[Callable[[str], Reply]] = [
    lambda _: refusal(400, "No such message", param="after"),
    lambda _: refusal(404, "no", param="after", code="not_found"),
    lambda _: Answer({"detail": [{"loc": ["query", "after"], "msg": "no"}]}, 422),
]
BROKEN: list[Callable[[str], Reply]] = [
    lambda _: Answer({}, 500),
    lambda _: Answer(b"<h1>502</h1>", 502),
    lambda _: Answer({}, 503, {"retry-after-ms": "1"}),
    lambda _: Answer(b"", 200),
    lambda _: None,  # hangs up
]
REFUSED: list[Callable[[str], Reply]] = [
    lambda _: refusal(400, "bad request"),
    lambda _: Answer({"detail": "no"}, 422),
]
CHANGED = NOT_FOUND + BAD_CURSOR
TRANSIENT = SOMEBODY_ELSE + BROKEN
ALWAYS = 10**9


class Fault(NamedTuple):
    """So many answers of one kind, the requests that get them, and the outcome.

    Outcomes are those of a completion that is listed, and of one that is named by its id.
    """

    answers: list[Callable[[str], Reply]]
    places: tuple[str, ...]
    times: int
    listed: str
    by_id: str


FAULTS = [
    Fault(BROKEN, (), 0, "done", "done"),
    Fault(NOT_FOUND, (GET, FIRST, LATER), ALWAYS, "pending", "gone"),
    Fault(NOT_FOUND, (FIRST,), ALWAYS, "pending", "gone"),
    Fault(NOT_FOUND, (FIRST,), 1, "done", "gone"),
    Fault(NOT_FOUND, (GET,), ALWAYS, "done", "gone"),
    Fault(CHANGED, (LATER,), 1, "done", "done"),
    Fault(CHANGED, (LATER,), ALWAYS, "lost", "lost"),
    Fault(TRANSIENT, (FIRST,), 2, "done", "done"),
    Fault(TRANSIENT, (FIRST,), ALWAYS, "failed", "failed"),
    Fault(TRANSIENT, (LATER,), 2, "done", "done"),
    Fault(TRANSIENT, (LATER,), ALWAYS, "failed", "failed"),
    Fault(BROKEN, (GET,), 2, "done", "done"),
    Fault(REFUSED, (FIRST,), ALWAYS, "failed", "failed"),
    Fault(REFUSED, (LATER,), ALWAYS, "failed", "failed"),
]


class RandomServer(Loopback):
    """A server of completions, each of several pages, and each with a fault."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__(self._answer)
        self._dice = dice
        self.names = [f"chatcmpl-{number}" for number in range(dice.choice([1, 4, 12]))]
        self.listed = self.names
        self._texts = {name: "x" * dice.choice([1, 900]) for name in self.names}
        self._sizes = {name: dice.choice([3, 5, 14]) for name in self.names}
        self._most = dice.choice([1, 2])  # messages a page
        self._faults: dict[str, Reply] = {}
        self._left: dict[tuple[str, str], int] = {}

    def misbehave(self, name: str, fault: Fault) -> None:
        """Give a completion a fault in place of the one that it had."""
        self._faults[name] = self._dice.choice(fault.answers)(name)
        for place in (GET, FIRST, LATER):
            self._left[name, place] = fault.times if place in fault.places else 0

    def truth(self, name: str) -> list[Any]:
        """Return the expected content of a completion's export."""
        return [*self._messages(name), self._completion(name)["choices"][0]["message"]]

    def _messages(self, name: str) -> list[Any]:
        said = self._texts[name]
        return [message(n, completion_id=name, said=said) for n in range(self._sizes[name])]

    def _completion(self, name: str) -> dict[str, Any]:
        reply = {"role": "assistant", "content": f"reply of {name}"}
        return {"id": name, "created": 1_700_000_000, "choices": [{"message": reply}]}

    def _answer(self, asked: Asked) -> Reply:
        path = asked.path.removeprefix("/v1/chat/completions").strip("/")
        name, _, rest = path.partition("/")
        after = asked.query.get("after")
        if not name:
            return Answer(page(map(self._completion, self.listed)))
        place = GET if not rest else FIRST if after is None else LATER
        if self._left[name, place]:
            self._left[name, place] -= 1
            return self._faults[name]
        if place == GET:
            return Answer(self._completion(name))
        start = 0 if after is None else int(after.rpartition("-")[2]) + 1
        end = start + min(self._most, int(asked.query["limit"]))
        said = self._messages(name)
        return Answer(page(said[start:end], has_more=end < len(said)))


class Exports:
    """The observer: the runs of one export, and the state of each completion."""

    def __init__(self, server: RandomServer, dice: random.Random, folder: Path) -> None:
        self._server = server
        self._dice = dice
        self._is_list = dice.random() < 0.5
        self._layout = dice.choice(["messages", "conversations"])
        self._path = folder / dice.choice(["out.jsonl", "out.jsonl.gz", "out"])
        self._states: dict[str, str] = {}

    async def run(self, *, healthy: bool) -> None:
        """Export, and compare the result with the expected one."""
        server, dice = self._server, self._dice
        named = [name for name in server.names if healthy or dice.random() < 0.8]
        server.listed = named
        self._expect(set(named), healthy=healthy)
        sent = len(server.asked)
        states = self._states.values()
        if not self._is_list and states and set(states) == {"gone"}:
            with pytest.raises(NotFoundError, match="none of the ids exists"):
                await self._export(named)
            return
        report = await self._export(named)
        assert self._held() == {n: server.truth(n) for n in self._in("done")}
        assert report.progress.requests == len(server.asked) - sent
        assert report.finished == (not {*self._in("failed")} & {*named})
        assert report.complete == (report.finished and not {"failed", "lost"} & {*states})
        self._compare_names(report)

    def _expect(self, named: set[str], *, healthy: bool) -> None:
        """Give each completion another fault, and note its outcome in this run."""
        for name in self._server.names:
            fault = FAULTS[0] if healthy else self._dice.choice(FAULTS)
            self._server.misbehave(name, fault)
            before = self._states.get(name)
            if before != "done" and name in named:
                became = fault.listed if self._is_list else fault.by_id
                # A part of a lost conversation is kept, so it stays lost until it is read whole.
                is_still_lost = before == "lost" and became != "done"
                self._states[name] = "lost" if is_still_lost else became
            elif before == "pending":
                self._states[name] = fault.by_id

    async def _export(self, named: list[str]) -> ExportReport:
        at_once = RetryPolicy(max_retries=2, initial_backoff=0, max_backoff=0)
        async with AsyncMessagesClient(
            KEY, base_url=self._server.base_url, retry=at_once
        ) as client:
            return await export(
                client,
                client.completions() if self._is_list else iter(named),
                self._path,
                layout=self._layout,
                concurrency=self._dice.choice([1, 3, 64]),
                part_bytes=2000,
                on_error="continue",
            )

    def _in(self, state: str) -> list[str]:
        return sorted(name for name, found in self._states.items() if found == state)

    def _compare_names(self, report: ExportReport) -> None:
        status = read_status(self._path)
        assert status is not None
        expected = [self._in(state) for state in STATES]
        for found in (report, status):
            assert [found.gone, found.pending, found.lost, found.failed_ids] == expected
        if report.finished:
            manifest = json.loads(self._beside(".manifest.json").read_bytes())
            assert [manifest.get(state, []) for state in STATES] == expected

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(self._path.name + ending)

    def _held(self) -> dict[str, list[Any]]:
        """Return the content of the files; the lines of one completion stand together, in order."""
        held: dict[str, list[Any]] = {}
        last = None
        for line in self._lines():
            name = line["completion_id"]
            assert name == last or name not in held
            last, found = name, held.setdefault(name, [])
            if self._layout == "conversations":
                found += [*line["messages"], line["reply"]]
            else:
                assert line["seq"] == len(found)
                found.append(line["message"])
        return held

    def _lines(self) -> Iterator[Any]:
        files = sorted(self._path.iterdir()) if self._path.is_dir() else [self._path]
        for path in [*files, self._beside(".partial")]:
            data = path.read_bytes() if path.is_file() else b""
            yield from map(
                json.loads, (gzip.decompress(data) if ".gz" in path.name else data).splitlines()
            )


@pytest.mark.parametrize("seed", range(12))
async def test_random_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """For any server, each completion is whole in the output, or named with its state."""
    dice = random.Random(seed)  # noqa: S311 no secret
    monkeypatch.setattr("aiomessages.export.conversation_reader.VISIBLE_SECONDS", 0.05)
    monkeypatch.setattr("aiomessages.export.exporting.BUDGET_BYTES", dice.choice([1, 5000, 10**7]))
    monkeypatch.setattr(
        "aiomessages.export.memory_budget.FIRST_PAGE_BYTES", dice.choice([100, 10**6])
    )
    monkeypatch.setattr("aiomessages.export.writer.BATCH_BYTES", dice.choice([1, 3000, 10**6]))
    async with RandomServer(dice) as server:
        exports = Exports(server, dice, tmp_path)
        for _ in range(dice.choice([1, 3])):
            await exports.run(healthy=False)
        await exports.run(healthy=True)
