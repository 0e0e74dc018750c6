"""Conversations as a dataset: rows in the order of the ids, with the columns of the export."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import ray
from conftest_cluster import KEYS, serve
from msgspec import structs
from ray.exceptions import RayTaskError, UserCodeException
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from aiomessages import AsyncMessagesClient, RetryPolicy
from aiomessages.errors import ConfigurationError
from aiomessages.export import export as export_alone
from aiomessages.ray import ClusterError, Selection, read_conversations
from aiomessages.ray.columns import schema_of
from aiomessages.ray.datasource import ConversationSource, ReadIds, ReadOptions
from aiomessages.ray.nodes import Probe, check_here, check_nodes, take_answer
from aiomessages.ray.projects import access_of
from aiomessages.ray.reading import list_ids

if TYPE_CHECKING:
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from aiomessages.testing import MessagesServer

# Ray sets deprecated options of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")

IDS = [f"chatcmpl-{number:04}" for number in (7, 3, 3, 90, 0)]
UNIQUE = list(dict.fromkeys(IDS))


def read(server: MessagesServer, source: Any, **options: Any) -> Any:
    """Return a dataset of the project `a`."""
    return read_conversations(source, key="env:KEY_A", base_url=server.base_url, **options)


async def test_rows_are_those_of_the_parquet_export(server: MessagesServer, tmp_path: Path) -> None:
    """A dataset of a selection has the rows of the Parquet export, in the order of the list."""
    found = read(server, Selection(), task_size=50, concurrency=2)
    assert found.schema().base_schema == schema_of("conversations")
    async with AsyncMessagesClient(KEYS["KEY_A"], base_url=server.base_url) as client:
        path = tmp_path / "alone.parquet"
        await export_alone(client, client.completions(), path, layout="conversations")
    expected = sorted(pq.read_table(path).to_pylist(), key=lambda row: row["completion_id"])
    assert [row["conversation_json"] for row in found.take_all()] == [
        row["conversation_json"] for row in expected
    ]


def test_ids_in_their_order(server: MessagesServer) -> None:
    """Ids are read once, in their order, whatever task is the first to end."""
    server.slow_down(1.0, completion_id="chatcmpl-0007")
    found = read(server, iter(IDS), task_size=1, layout="messages", max_rps=200)
    rows = found.take_all()
    assert [row["completion_id"] for row in rows if row["seq"] == 0] == UNIQUE
    counts = found.map_batches(lambda batch: {"n": [len(batch["seq"])]}).sum("n")
    assert counts == len(rows)


def test_a_dataset_is_written(server: MessagesServer, tmp_path: Path) -> None:
    """Ray writes it as Parquet."""
    read(server, UNIQUE).write_parquet(str(tmp_path / "out"))
    assert pq.read_table(tmp_path / "out").num_rows == len(UNIQUE)


def test_few_tasks(server: MessagesServer) -> None:
    """A concurrency above the number of tasks is no reason for a warning of Ray."""
    assert len(read(server, UNIQUE, concurrency=8).take_all()) == len(UNIQUE)


def test_nothing_to_read(server: MessagesServer) -> None:
    """No ids, or a selection without any, are a dataset without rows, and with the columns."""
    assert read(server, []).schema().base_schema == schema_of("conversations")
    assert read(server, Selection(model="none")).count() == 0


def test_a_completion_that_is_missing(server: MessagesServer) -> None:
    """It ends the read, or is left out if that is wanted."""
    ids = ["chatcmpl-0001", "chatcmpl-none", "chatcmpl-0002"]
    with pytest.raises(RayTaskError, match="chatcmpl-none cannot be read") as raised:
        read(server, ids).take_all()
    assert isinstance(raised.value, ClusterError)
    assert isinstance(raised.value, UserCodeException)  # Ray does not call it an error of its own
    said = str(raised.value).split("ReadError: on node ")[1].splitlines()[0]
    assert said.endswith(
        "): chatcmpl-none cannot be read: it does not exist: on_missing='skip' leaves it out"
    )
    assert "anyio" not in str(raised.value)  # Ray prints each frame
    kept = read(server, ids, on_missing="skip").take_all()
    assert [row["completion_id"] for row in kept] == ["chatcmpl-0001", "chatcmpl-0002"]


def test_arguments_of_a_dataset_that_are_refused(server: MessagesServer) -> None:
    """Each is an error before anything is sent."""
    for source, options, said in [
        ("chatcmpl-1", {}, "ids must be an iterable"),
        (7, {}, "ids must be an iterable"),
        (["a b/.."], {}, "completion_id"),
        ([7], {}, "number 1 is int"),
        (Selection(since=2, until=1), {}, "since must be earlier"),
        ([], {"layout": "x"}, "layout must be one of"),
        ([], {"on_missing": "x"}, "on_missing must be"),
        ([], {"task_size": 0}, "task_size"),
        ([], {"concurrency": 0}, "concurrency"),
        ([], {"max_rps": 0}, "max_rps must be"),
        ([], {"client_options": {"api_key": "x"}}, "api_key is no option"),
    ]:
        with pytest.raises(ConfigurationError, match=said):
            read(server, source, **options)
    with pytest.raises(ClusterError, match="NOT_THERE is not set"):
        read_conversations(["a"], key="env:NOT_THERE", base_url=server.base_url)
    assert server.requests == []
    with pytest.raises(ClusterError, match="401"):
        read_conversations(Selection(), key="env:KEY_B", base_url=server.base_url)


# --- the parts, in this process -------------------------------------------------------------------


@pytest.fixture
def pacer(server: MessagesServer) -> Any:  # noqa: ARG001 it has started the cluster
    """Return the actor of a pacer."""
    from aiomessages.ray.pacer import Pacer  # noqa: PLC0415

    actor = ray.remote(Pacer).options(num_cpus=0).remote()
    yield actor
    ray.kill(actor)


def options(server: MessagesServer, **changes: Any) -> ReadOptions:
    """Return the options of read tasks."""
    access = access_of("env:KEY_A", server.base_url, {"retry": RetryPolicy(max_retries=0)})
    facts = {
        "layout": "messages",
        "include_reply": True,
        "on_missing": "raise",
        "block_bytes": 1000,
        "at_once": 4,
    }
    return ReadOptions(access, **facts | changes)


def test_blocks_are_bounded_and_the_same_each_time(server: MessagesServer, pacer: Any) -> None:
    """A task hands out blocks of some bytes, with the same rows whenever it is run."""
    ids = [f"chatcmpl-{number:04}" for number in range(20)]
    runs = []
    for _ in range(2):
        blocks = list(ReadIds(ids, options(server), pacer)())
        assert len(blocks) > 3
        assert max(sum(map(len, block["message_json"].to_pylist())) for block in blocks) < 1400
        runs.append([block.to_pylist() for block in blocks])
    assert runs[0] == runs[1]


def test_a_block_for_each_line(server: MessagesServer, pacer: Any) -> None:
    """No block is empty where the last row fills one."""
    blocks = list(ReadIds(["chatcmpl-0001"], options(server, block_bytes=1), pacer)())
    assert [block.num_rows for block in blocks] == [1, 1, 1]


def test_a_task_that_is_left(server: MessagesServer, pacer: Any) -> None:
    """A reader that stops ends the requests of the task; a slow reader lets few of them wait."""
    ids = [f"chatcmpl-{number:04}" for number in range(100)]
    blocks = ReadIds(ids, options(server, block_bytes=1), pacer)()
    next(blocks)
    assert len(server.requests) <= 2 * 8  # those at once, and those that wait to be taken
    blocks.close()
    count = len(server.requests)
    assert count < 40


def test_an_odd_task(server: MessagesServer, pacer: Any) -> None:
    """An empty task has one empty block; failures and what a layout cannot express are missing."""
    (empty,) = ReadIds([], options(server), pacer)()
    assert (empty.num_rows, empty.schema) == (0, schema_of("messages"))
    server.store("Hello", id="chatcmpl-mute", reply=None)
    server.fail(500, completion_id="chatcmpl-0001")
    ids = ["chatcmpl-0001", "chatcmpl-mute", "chatcmpl-none", "listed/as", "chatcmpl-0002"]
    skipping = options(server, layout="finetune", on_missing="skip")
    (block,) = ReadIds(ids, skipping, pacer)()
    assert block.num_rows == 1
    for odd in ids[:4]:
        with pytest.raises(ClusterError, match=odd):
            list(ReadIds([odd], options(server, layout="finetune"), pacer)())


def test_a_refused_key_leaves_nothing_out(server: MessagesServer, pacer: Any) -> None:
    """An error that all conversations would meet ends the task, even if missing ones may be left.

    A dataset without a row would look like one without a conversation. Its hint is that of the
    error: to leave such completions out would not help.
    """
    server.fail(401)
    with pytest.raises(ClusterError, match="401") as raised:
        list(ReadIds(["chatcmpl-0001"], options(server, on_missing="skip"), pacer)())
    assert "on_missing" not in str(raised.value)
    assert raised.value.node is not None


def test_a_task_on_a_node_without_the_key(server: MessagesServer, pacer: Any) -> None:
    """A node that joined late was not checked: the error names it, and the variable."""
    lacking = access_of("env:NOT_THERE", server.base_url, {})
    with pytest.raises(ClusterError, match=r"on node .*: NOT_THERE is not set") as raised:
        list(ReadIds(["a"], structs.replace(options(server), access=lacking), pacer)())
    assert raised.value.node is not None


def test_a_large_conversation_in_a_task(server: MessagesServer, pacer: Any) -> None:
    """Conversations beyond the memory budget pass through the disk."""
    text = "x" * 200_000
    said = [f"{number} {text}" for number in range(150)]
    for number in range(2):
        server.store(said, id=f"chatcmpl-large-{number}")
    ids = ["chatcmpl-large-0", "chatcmpl-large-1"]
    blocks = list(ReadIds(ids, options(server, block_bytes=2**20), pacer)())
    assert [row["seq"] for block in blocks for row in block.select(["seq"]).to_pylist()] == [
        *range(151)
    ] * 2


def test_the_tasks_follow_from_the_ids(server: MessagesServer) -> None:
    """Their number does not depend on how many Ray wants."""
    source = ConversationSource([*"abcde"], options(server), None, 2)
    assert [len(source.get_read_tasks(wanted)) for wanted in (1, 100)] == [3, 3]
    assert source.estimate_inmemory_data_size() is None
    assert source.get_name() == "Conversations"


def test_the_list_of_a_selection(server: MessagesServer, pacer: Any) -> None:
    """It has each id once; a list that cannot be read is a problem."""
    access = access_of("env:KEY_A", server.base_url, {})
    assert len(list_ids(access, Selection(), pacer)) == 120  # type: ignore[arg-type]
    server.fail(401)
    assert "401" in list_ids(access, Selection(), pacer).said  # type: ignore[union-attr]


def test_the_check_of_a_node(server: MessagesServer, tmp_path: Path) -> None:
    """It finds another version, a folder that is not shared or read-only, and a missing key."""
    from aiomessages import __version__  # noqa: PLC0415

    access = access_of("env:KEY_A", server.base_url, {})
    assert check_here({"a": access}, None, __version__) is None
    other = check_here({}, None, "0.0.1")
    assert other is not None
    assert "0.0.1 on the driver" in other.said
    away = check_here({}, Probe(str(tmp_path), ".probe-none"), __version__)
    assert away is not None
    assert "is not the driver's" in away.said
    read_only = check_here({}, Probe("/proc/self", "status"), __version__)
    assert read_only is not None
    assert "/proc/self cannot be used" in read_only.said
    lacking = access_of("env:NOT_THERE", server.base_url, {})
    for name, said in (("a", "project a: NOT_THERE"), ("", "NOT_THERE is not set")):
        problem = check_here({name: lacking}, None, __version__)
        assert problem is not None
        assert problem.said.startswith(said)


def test_a_cluster_that_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
    cluster: Cluster,  # noqa: ARG001 it is started
) -> None:
    """The error says so, and what to check; Ray's own is its cause."""

    def refuse() -> None:
        raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ClusterError, match=r"no connection to Ray: .* at 10.0.0.1:6379") as raised:
        check_nodes({})
    for word in ("RAY_ADDRESS", "RAY_AUTH_MODE", "Python"):
        assert word in raised.value.hint
    assert isinstance(raised.value.__cause__, ConnectionError)


def test_the_answers_of_nodes(cluster: Cluster) -> None:  # noqa: ARG001 it is started
    """A node that is silent or fails is an error with its name; one that has gone is none."""

    def fail() -> None:
        raise ValueError("no such module")

    def wait() -> None:
        time.sleep(30)

    waiting = ray.remote(wait).options(num_cpus=0).remote()
    with pytest.raises(ClusterError, match="on node n: no answer"):
        take_answer(waiting, "n")
    ray.cancel(waiting, force=True)
    failing = ray.remote(fail).options(num_cpus=0, max_retries=0).remote()
    ray.wait([failing], timeout=60)
    with pytest.raises(ClusterError, match=r"on node n: .*no such module"):
        take_answer(failing, "n")
    gone = NodeAffinitySchedulingStrategy(node_id="ab" * 28, soft=False)
    nowhere = ray.remote(fail).options(num_cpus=0, scheduling_strategy=gone).remote()
    ray.wait([nowhere], timeout=60)
    take_answer(nowhere, "n")


def test_another_server(server: MessagesServer) -> None:  # noqa: ARG001 it has started the cluster
    """Two projects are read side by side, each by its own key."""
    with serve("KEY_B", 3) as other:
        found = read_conversations(Selection(), key="env:KEY_B", base_url=other.base_url)
        assert found.count() == 3
