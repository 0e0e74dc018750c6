"""A worker in this process: it plans a project, and exports a shard to one file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest_ray import SETTINGS, PacerHere, job, rows
from msgspec import structs

from aiomessages import AsyncMessagesClient, RetryPolicy
from aiomessages.export import export
from aiomessages.export.layouts import version_of
from aiomessages.ray.destination import Destination
from aiomessages.ray.errors import Problem
from aiomessages.ray.plan import RunSettings, Shard
from aiomessages.ray.planning import Parts, digest_of_ids, plan_ids
from aiomessages.ray.projects import Selection
from aiomessages.ray.shard_export import FAILURES_IN_A_ROW
from aiomessages.ray.worker import Done, Worker
from aiomessages.testing import MessagesServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


KEY = "sk-worker-0123456789"
FAST = {"retry": RetryPolicy(max_retries=0)}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MessagesServer]:
    """Serve 25 completions of one to five messages, with a key that is in KEY_A."""
    monkeypatch.setenv("KEY_A", KEY)
    with MessagesServer(api_key=KEY) as running:
        for number in range(25):
            running.store(number % 5 + 1, id=f"chatcmpl-{number:02}", reply=f"reply {number}")
        yield running


class Run:
    """A worker, and what a test does with it."""

    def __init__(self, server: MessagesServer, folder: Path, **changes: Any) -> None:
        self.folder, self.server = folder, server
        self.job = job(server, folder, **changes)
        Destination.of(folder).make_folders("plan", "data", "records", "incomplete")
        self.worker = Worker(self.job, {"a": PacerHere()})

    async def plan(self, **selected: Any) -> list[Shard]:
        """Return the shards of a selection."""
        found = await self.worker.plan("a", Selection(**selected))
        assert isinstance(found, list)
        return found

    async def export(self, shards: list[Shard]) -> list[Done]:
        """Export shards, and return what became of them."""
        found = [await self.worker.export("a", shard, None) for shard in shards]
        assert all(isinstance(one, Done) for one in found), found
        return found  # type: ignore[return-value]

    def only(self, part: str) -> Path:
        """Return the only file in a part of the destination."""
        (path,) = Path(self.folder, part).iterdir()
        return path

    def ids(self, ids: list[str], size: int = 10) -> list[Shard]:
        """Return the shards of ids."""
        facts = ("a", self.job.accesses["a"].base_url, self.job.settings)
        return plan_ids(ids, Parts(*facts, Destination.of(self.folder), size))


@pytest.fixture
async def run(server: MessagesServer, tmp_path: Path) -> AsyncIterator[Run]:
    """Return a run into a folder, which closes its connections at the end."""
    made = Run(server, tmp_path / "run", options=FAST)
    yield made
    await made.worker.close()


async def test_a_selection_becomes_shards(run: Run) -> None:
    """Each completion is in one shard, in the order of the list, with what was listed."""
    await run.worker.ready()
    shards = await run.plan()
    assert [shard.completions for shard in shards] == [10, 10, 5]
    assert shards == await run.plan()  # the same names
    assert await run.plan(model="none") == []
    narrow = await run.plan(since=0.0, until=4e9)
    assert sum(shard.completions for shard in narrow) == 25


@pytest.mark.parametrize("layout", ["messages", "conversations", "finetune", "chat"])
async def test_rows_are_those_of_one_machine(
    server: MessagesServer, tmp_path: Path, layout: str
) -> None:
    """The rows are those that a single machine writes for the same completions."""
    run = Run(server, tmp_path / "run", settings=structs.replace(SETTINGS, layout=layout))
    done = await run.export(await run.plan())
    await run.worker.close()
    async with AsyncMessagesClient(KEY, base_url=server.base_url) as client:
        report = await export(client, client.completions(), tmp_path / "one.jsonl", layout=layout)
    alone = (tmp_path / "one.jsonl").read_text().splitlines()
    assert sorted(map(json.dumps, rows(run.folder))) == sorted(
        json.dumps(json.loads(line)) for line in alone
    )
    assert sum(one.record.rows for one in done) == report.rows == len(alone)
    assert sum(one.record.completions for one in done) == 25
    assert sum(one.record.messages for one in done) == report.progress.messages


def plain(kind: pa.DataType) -> Any:
    """Return a type without the names that two writers give to the items of a list or a map."""
    if pa.types.is_struct(kind):
        return {field.name: plain(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [plain(kind.value_type)]
    if pa.types.is_map(kind):
        return ("map", plain(kind.key_type), plain(kind.item_type))
    return str(kind)


@pytest.mark.parametrize("layout", ["messages", "conversations", "finetune", "chat"])
async def test_columns_are_those_of_one_machine(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, columns and types of Parquet files are those that DuckDB makes of the sample."""
    monkeypatch.setenv("KEY_A", KEY)
    with MessagesServer(sample=True, api_key=KEY) as server:
        version = version_of(layout, columns=True)
        settings = RunSettings(layout, version, include_reply=True, format="parquet")
        run = Run(server, tmp_path / "run", settings=settings, shard_size=1000)
        (done,) = await run.export(await run.plan())
        await run.worker.close()
        async with AsyncMessagesClient(KEY, base_url=server.base_url) as client:
            path = tmp_path / "one.parquet"
            await export(client, client.completions(), path, layout=layout)
    ours, theirs = pq.read_table(run.only("data")), pq.read_table(path)
    assert ours.column_names == theirs.column_names
    assert [*map(plain, ours.schema.types)] == [*map(plain, theirs.schema.types)]
    assert sorted(ours.to_pylist(), key=str) == sorted(theirs.to_pylist(), key=str)
    assert done.record.rows == ours.num_rows


async def test_ids_are_exported_with_their_replies(run: Run) -> None:
    """Ids take a request more each; one that comes twice is exported once."""
    shards = run.ids(["chatcmpl-03", "chatcmpl-01", "chatcmpl-03"])
    (done,) = await run.export(shards)
    found = rows(run.folder)
    order = [row["completion_id"] for row in found if row["seq"] == 0]
    assert order == ["chatcmpl-03", "chatcmpl-01"]  # that of the plan
    assert found[-1]["choice"] == 0
    assert done.requests == 4
    assert done.refused == 0
    assert done.learnt is not None


async def test_a_file_is_the_same_whoever_writes_it(server: MessagesServer, tmp_path: Path) -> None:
    """Two workers that write the same shard write the same bytes."""
    records = []
    for name in ("one", "other"):
        run = Run(server, tmp_path / name)
        (done,) = await run.export(run.ids([f"chatcmpl-{n:02}" for n in range(25)], 100))
        records.append(done.record)
        await run.worker.close()
    assert records[0] == records[1]
    names = [
        sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*"))
        for n in ("one", "other")
    ]
    assert names[0] == names[1]


async def test_what_could_not_be_read_is_named(run: Run) -> None:
    """A completion that is gone, broken or impossible is in the record, and costs no other one."""
    run.server.fail(500, completion_id="chatcmpl-02")
    ids = ["chatcmpl-00", "chatcmpl-no", "chatcmpl-02", "a/..", "chatcmpl-04"]
    (done,) = await run.export(run.ids(ids))
    record = done.record
    assert record.gone == ["chatcmpl-no"]
    assert record.failed == {"chatcmpl-02": "InternalServerError", "a/..": record.failed["a/.."]}
    assert record.completions == 2
    assert {row["completion_id"] for row in rows(run.folder)} == {"chatcmpl-00", "chatcmpl-04"}
    assert run.only("records").name == record.name


async def test_a_part_that_was_cut_is_no_shard_without_completions(run: Run) -> None:
    """A worker that finds another file than the planned one writes nothing."""
    shards = run.ids(["chatcmpl-00"])
    run.only("plan").write_bytes(b"")
    problem = await run.worker.export("a", shards[0], None)
    assert isinstance(problem, Problem)
    assert "is not the file that was planned" in problem.said
    assert Destination.of(run.folder).sizes("data") == {}


async def test_a_failure_is_tried_once_more(run: Run) -> None:
    """What passes until the end of the shard leaves no trace."""
    run.server.fail(500, completion_id="chatcmpl-02", times=1)
    (done,) = await run.export(run.ids(["chatcmpl-02", "chatcmpl-03"]))
    assert done.record.failed == {}
    assert done.record.completions == 2


async def test_a_deleted_completion_of_the_list_is_gone(run: Run) -> None:
    """A completion that was listed a while ago and is missing now was deleted: no wait for it."""
    shards = await run.plan()
    run.server.fail(404, completion_id="chatcmpl-07")
    done = await run.export(shards[:1])
    assert done[0].record.gone == ["chatcmpl-07"]
    assert done[0].requests < 15


async def test_a_conversation_that_changed(run: Run) -> None:
    """It is named as lost, and the part that was read is kept."""
    run.server.store(250, id="chatcmpl-long")
    for _ in range(2):  # the second page, after the completion and the first one; and once more
        run.server.fail(404, completion_id="chatcmpl-long", first=3, times=1)
    (done,) = await run.export(run.ids(["chatcmpl-long", "chatcmpl-01"]))
    assert done.record.lost == ["chatcmpl-long"]
    kept = gzip.decompress(run.only("incomplete").read_bytes()).splitlines()
    assert len(kept) == 100
    assert json.loads(kept[0])["completion_id"] == "chatcmpl-long"


async def test_what_a_layout_cannot_express(server: MessagesServer, tmp_path: Path) -> None:
    """It is named with the reason."""
    server.store("Hello", id="chatcmpl-mute", reply=None)
    run = Run(server, tmp_path / "run", settings=structs.replace(SETTINGS, layout="finetune"))
    (done,) = await run.export(run.ids(["chatcmpl-mute", "chatcmpl-01"]))
    await run.worker.close()
    assert list(done.record.skipped) == ["chatcmpl-mute"]
    assert done.record.completions == 1


async def test_a_reply_that_a_layout_cannot_express(server: MessagesServer, tmp_path: Path) -> None:
    """A reply that is left out is named, and the others of the completion are written."""
    replies = [{"role": "assistant", "content": text} for text in ("good", None)]
    choices = [{"index": n, "message": reply} for n, reply in enumerate(replies)]
    server.store("Hello", id="chatcmpl-half", choices=choices)
    run = Run(server, tmp_path / "run", settings=structs.replace(SETTINGS, layout="finetune"))
    (done,) = await run.export(run.ids(["chatcmpl-half"]))
    await run.worker.close()
    assert list(done.record.left_out) == ["chatcmpl-half"]
    assert done.record.rows == 1


async def test_an_error_that_all_would_meet_ends_the_run(run: Run) -> None:
    """A refused key is a problem of the run, named by node and project; no file is written."""
    shards = await run.plan()
    run.server.fail(401)
    problem = await run.worker.export("a", shards[0], None)
    assert isinstance(problem, Problem)
    assert problem.said.startswith("project a: ")
    assert "401" in problem.said
    assert KEY not in problem.said
    assert rows(run.folder) == []


async def test_a_server_that_is_down_ends_the_run(server: MessagesServer, tmp_path: Path) -> None:
    """So many failures in a row are no matter of single conversations."""
    for number in range(25, 2 * FAILURES_IN_A_ROW):
        server.store(1, id=f"chatcmpl-{number:02}")
    run = Run(server, tmp_path / "run", options=FAST)
    (shard,) = run.ids([f"chatcmpl-{n:02}" for n in range(2 * FAILURES_IN_A_ROW)], 100)
    server.fail(500)
    problem = await run.worker.export("a", shard, None)
    await run.worker.close()
    assert isinstance(problem, Problem)
    assert "500" in problem.said


@pytest.mark.parametrize(("status", "every"), [(500, 5), (403, 40)])
async def test_broken_conversations_here_and_there_do_not_end_the_run(
    server: MessagesServer, tmp_path: Path, status: int, every: int
) -> None:
    """At the end of the shard they are tried in a row, though others were read between them."""
    ids = [server.store(1) for _ in range(6 * FAILURES_IN_A_ROW)]
    broken = ids[1::every]
    for completion_id in broken:
        server.fail(status, completion_id=completion_id)
    run = Run(server, tmp_path / "run", options=FAST)
    (done,) = await run.export(run.ids(ids, 1000))
    await run.worker.close()
    assert list(done.record.failed) == broken
    assert done.record.completions == len(ids) - len(broken)


async def test_a_server_that_goes_down_at_the_end_of_a_shard_ends_the_run(
    server: MessagesServer, tmp_path: Path
) -> None:
    """No conversation was read after the first failure, so that the failures are one row."""
    ids = [server.store(1) for _ in range(FAILURES_IN_A_ROW - 5)]
    server.fail(500, first=2 * 5 + 1)
    run = Run(server, tmp_path / "run", options=FAST, concurrency=1)
    (shard,) = run.ids(["chatcmpl-00", *ids], 1000)
    problem = await run.worker.export("a", shard, None)
    await run.worker.close()
    assert isinstance(problem, Problem)
    assert "500" in problem.said


async def test_an_error_that_nobody_expected(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """It is a problem with the node and the project; the log has the place, and not the text."""
    problem = await run.worker.export("no such project", Shard("a-000000-0", 1), None)
    assert isinstance(problem, Problem)
    assert problem.said == "project no such project: KeyError('no such project')"
    (record,) = caplog.records
    assert "unexpected KeyError" in record.message
    assert "in _reader" in record.message
    assert "KeyError(" not in record.message


async def test_a_worker_of_another_version_is_a_problem(server: MessagesServer) -> None:
    """A worker on a node that was not checked says so before it gets a task."""
    of_driver = job(server, Path("run"))
    assert await Worker(of_driver, {}).ready() is None
    problem = await Worker(structs.replace(of_driver, version="0.0.1"), {}).ready()
    assert problem is not None
    assert "0.0.1 on the driver" in problem.said


async def test_a_server_that_cannot_be_reached_ends_a_run_of_few_completions(
    server: MessagesServer, tmp_path: Path
) -> None:
    """They would be named as failed for ever; one that alone has no answer is."""
    run = Run(server, tmp_path / "run", options=FAST)
    (shard,) = run.ids(["chatcmpl-00", "chatcmpl-01"])
    with server.unreachable():
        problem = await run.worker.export("a", shard, None)
    assert isinstance(problem, Problem)
    assert "no connection" in problem.said
    server.fail("reset", completion_id="chatcmpl-01")
    (done,) = await run.export([shard])
    await run.worker.close()
    assert done.record.failed == {"chatcmpl-01": "APIConnectionError"}


async def test_raise_ends_the_run_at_once(server: MessagesServer, tmp_path: Path) -> None:
    """With on_error='raise', one broken conversation is enough."""
    run = Run(server, tmp_path / "run", options=FAST, raises=True)
    server.fail(500, completion_id="chatcmpl-02")
    (shard,) = run.ids(["chatcmpl-02", "chatcmpl-03"])
    problem = await run.worker.export("a", shard, None)
    await run.worker.close()
    assert isinstance(problem, Problem)
    assert "chatcmpl-02" in problem.said


async def test_a_plan_that_cannot_be_listed(run: Run) -> None:
    """It is a problem, and names the project."""
    run.server.fail(401)
    problem = await run.worker.plan("a", Selection())
    assert isinstance(problem, Problem)
    assert problem.said.startswith("project a: ")


async def test_a_large_conversation(server: MessagesServer, tmp_path: Path) -> None:
    """Conversations beyond the memory budget pass through the disk, unchanged."""
    text = "x" * 200_000
    for number in range(2):
        said = [f"{number} {n} {text}" for n in range(120)]
        server.store(said, id=f"chatcmpl-large-{number}", reply="short")
    run = Run(server, tmp_path / "run", options={"max_response_bytes": 2**28})
    (done,) = await run.export(run.ids(["chatcmpl-large-0", "chatcmpl-large-1"]))
    await run.worker.close()
    assert done.record.rows == 242
    found = rows(run.folder)
    assert [row["seq"] for row in found] == [*range(121)] * 2
    assert found[119]["message"]["content"] == f"0 119 {text}"


async def test_parts_are_bounded_in_bytes(server: MessagesServer, tmp_path: Path) -> None:
    """Listed completions of megabytes make parts of fewer of them."""
    text = "x" * 2_000_000
    for number in range(25):
        server.store("Hello", id=f"chatcmpl-{number:02}", reply=text)
    run = Run(server, tmp_path / "run", shard_size=100, options={"max_response_bytes": 2**28})
    shards = await run.plan()
    await run.worker.close()
    assert [shard.completions for shard in shards] == [17, 8]


def test_the_digest_of_ids() -> None:
    """It tells ids from others, in another order as well."""
    assert digest_of_ids(["a", "b"]) == digest_of_ids(iter(["a", "b"]))
    assert digest_of_ids(["a", "b"])["ids"] == 2
    assert digest_of_ids([])["ids"] == 0
    assert digest_of_ids(["b", "a"]) != digest_of_ids(["a", "b"])
