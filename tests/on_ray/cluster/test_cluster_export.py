"""The export on a cluster: every row exactly once, equal to the export of a single machine."""

from __future__ import annotations

import gzip
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import ray
from conftest_cluster import KEYS, serve
from pyarrow import fs

from aiomessages import AsyncMessagesClient
from aiomessages.archive.exported_folder import files_in
from aiomessages.archive.importing import import_file
from aiomessages.errors import ConfigurationError
from aiomessages.export import export as export_alone
from aiomessages.ray import ClusterError, ClusterProgress, Project, Selection, export
from aiomessages.ray.destination import Destination
from aiomessages.ray.plan import VERSION, Plan, RunSettings

if TYPE_CHECKING:
    from aiomessages.testing import MessagesServer


def rows(folder: Path | str) -> list[Any]:
    """Return the lines of all data files that the manifest of a folder or URI names."""
    if "://" in str(folder):
        system, path = fs.FileSystem.from_uri(str(folder))
    else:
        system, path = fs.LocalFileSystem(), str(folder)
    with system.open_input_stream(f"{path}/manifest.json") as file:
        manifest = json.loads(file.read())
    found = []
    for one in manifest["files"]:
        with system.open_input_stream(f"{path}/{one['name']}", compression=None) as file:
            found += map(json.loads, gzip.decompress(file.read()).splitlines())
    return found


async def alone(server: MessagesServer, folder: Path, layout: str = "messages") -> list[Any]:
    """Return the lines that a single machine writes."""
    path = folder / f"{server.api_key}.jsonl"
    async with AsyncMessagesClient(server.api_key, base_url=server.base_url) as client:
        await export_alone(client, client.completions(), path, layout=layout)
    return [json.loads(line) for line in path.read_text().splitlines()]


def as_set(found: list[Any]) -> list[str]:
    """Return rows in an order that does not depend on who wrote them."""
    return sorted(json.dumps(row, sort_keys=True) for row in found)


def project(server: MessagesServer, **changes: Any) -> Project:
    """Return the project `a`."""
    return Project(**{"name": "a", "key": "env:KEY_A", "base_url": server.base_url, **changes})


# --- what is written ------------------------------------------------------------------------------


async def test_two_projects_into_s3(server: MessagesServer, s3: str, tmp_path: Path) -> None:
    """All rows of both are there once, and equal those of single machines."""
    seen: list[int] = []
    with serve("KEY_B", 70) as other:
        report = export(
            [
                project(server),
                Project("b", key="env:KEY_B", base_url=other.base_url, max_rps=500),
            ],
            f"s3://bucket/two{s3}",
            workers=2,
            shard_size=25,
            on_progress=lambda progress: seen.append(progress.done),
        )
        expected = [*await alone(server, tmp_path), *await alone(other, tmp_path)]
    assert as_set(rows(f"s3://bucket/two{s3}")) == as_set(expected)
    assert report.complete
    assert (report.files, report.completions, report.rows) == (8, 190, len(expected))
    assert [report.projects[name].completions for name in "ab"] == [120, 70]
    assert report.progress.requests == 190  # the list, which has the replies, is not counted
    assert seen == [*range(9)]


async def test_a_folder_becomes_an_archive(server: MessagesServer, tmp_path: Path) -> None:
    """A finished folder is imported whole, and equals the export of one machine."""
    folder, layout = tmp_path / "run", "conversations"
    export([project(server)], folder, workers=1, layout=layout, shard_size=50)
    assert as_set(rows(folder)) == as_set(await alone(server, tmp_path, layout))
    archive = tmp_path / "archive.db"
    assert [import_file(file, archive).new for file in files_in(folder)] == [50, 50, 20]


def test_a_part_of_the_completions(server: MessagesServer, tmp_path: Path) -> None:
    """Ids and selections narrow a run; nothing selected is a finished run as well."""
    ids = (f"chatcmpl-{number:04}" for number in (3, 1, 3))
    report = export([project(server, source=ids)], tmp_path / "ids", workers=1)
    assert [row["completion_id"] for row in rows(tmp_path / "ids") if row["seq"] == 0] == [
        "chatcmpl-0003",
        "chatcmpl-0001",
    ]
    some = Selection(since=1_767_225_600 + 100, until=1_767_225_600 + 110)
    report = export([project(server, source=some)], tmp_path / "some", workers=1, format="parquet")
    assert (report.completions, report.files) == (10, 1)
    none = Selection(model="none")
    report = export([project(server, source=none)], tmp_path / "none", workers=1)
    assert (report.completions, report.files, report.complete) == (0, 0, True)
    assert rows(tmp_path / "none") == []


def test_what_is_missing_is_in_the_manifest(server: MessagesServer, tmp_path: Path) -> None:
    """Completions that cannot be read are named, with the reason, and the run is finished."""
    server.fail(500, completion_id="chatcmpl-0007")
    ids = ["chatcmpl-0001", "chatcmpl-0007", "chatcmpl-none"]
    made = project(server, source=ids, options={"retry": _no_retry()})
    report = export([made], tmp_path / "run", workers=1)
    assert not report.complete
    assert report.projects["a"].gone == ["chatcmpl-none"]
    assert report.projects["a"].failed == {"chatcmpl-0007": "InternalServerError"}
    with pytest.raises(ClusterError, match=r"on node .*chatcmpl-0007"):
        export([made], tmp_path / "raise", workers=1, on_error="raise")
    assert not Path(tmp_path, "raise", "manifest.json").exists()


def _no_retry() -> Any:
    from aiomessages import RetryPolicy  # noqa: PLC0415

    return RetryPolicy(max_retries=0)


# --- again ----------------------------------------------------------------------------------------


def test_a_finished_run_sends_nothing(server: MessagesServer, tmp_path: Path) -> None:
    """The same call returns the report of the run; a key is not even needed."""
    first = export([project(server)], tmp_path / "run", workers=1)
    server.requests.clear()
    again = export([project(server)], tmp_path / "run", workers=1)
    assert server.requests == []
    assert again.was_finished
    assert (again.rows, again.projects) == (first.rows, first.projects)


def test_a_finished_run_that_lacks_a_file(server: MessagesServer, tmp_path: Path) -> None:
    """A report of rows that are not there would be wrong; the error says what to do."""
    folder = tmp_path / "run"
    first = export([project(server)], folder, workers=1)
    (data,) = Path(folder, "data").iterdir()
    data.unlink()
    with pytest.raises(ClusterError, match="is not the file that the manifest names"):
        export([project(server)], folder, workers=1)
    Path(folder, "manifest.json").unlink()
    assert export([project(server)], folder, workers=1).rows == first.rows == len(rows(folder))


def test_a_run_continues(server: MessagesServer, tmp_path: Path) -> None:
    """A run fetches the shards whose file is missing, and nothing else."""

    def stop(progress: ClusterProgress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export([project(server)], tmp_path / "run", workers=1, shard_size=20, on_progress=stop)
    done = {
        json.loads(line)["completion_id"]
        for file in Path(tmp_path, "run", "data").iterdir()
        for line in gzip.decompress(file.read_bytes()).splitlines()
    }
    server.requests.clear()
    report = export([project(server)], tmp_path / "run", workers=1, shard_size=20)
    fetched = {request.completion_id for request in server.requests}
    assert not fetched & done
    assert report.progress.already >= 2  # a worker may have put one more on its way out
    assert len(fetched) == 120 - 20 * report.progress.already
    assert len(rows(tmp_path / "run")) == report.rows


def test_another_plan_is_refused(server: MessagesServer, tmp_path: Path) -> None:
    """Another layout, selection or project cannot continue a run; the error says what differs."""
    export([project(server)], tmp_path / "run", workers=1)
    server.requests.clear()
    for projects, options, said in [
        ([project(server)], {"layout": "chat"}, "layout is 'messages' there"),
        ([project(server, source=Selection(model="x"))], {}, "a has the source"),
        ([project(server, name="b")], {}, "its projects are a, and here b"),
    ]:
        with pytest.raises(ClusterError, match=said):
            export(projects, tmp_path / "run", workers=1, **options)
    assert server.requests == []


def test_a_plan_that_was_replaced(server: MessagesServer, tmp_path: Path) -> None:
    """If another driver has replaced the plan meanwhile, there is no manifest."""
    folder = tmp_path / "run"

    def replace(_: ClusterProgress) -> None:
        plan = folder / "plan.json"
        plan.write_text(plan.read_text().replace('"completions"', '"completions" '))

    with pytest.raises(ClusterError, match="another run has replaced the plan"):
        export([project(server)], folder, workers=1, on_progress=replace)
    assert not (folder / "manifest.json").exists()


def test_a_driver_that_is_faster(server: MessagesServer, tmp_path: Path) -> None:
    """Two first runs at once with other options: the later one does not write into that plan."""
    folder = tmp_path / "run"
    other = Plan(VERSION, RunSettings("chat", 1, include_reply=True, format="jsonl.gz"), [])
    server.slow_down(1.0, times=1)

    def publish() -> None:
        while not server.requests:  # the list of the completions
            time.sleep(0.01)
        (folder / "plan.json").write_bytes(other.encode())

    with ThreadPoolExecutor() as threads:
        published = threads.submit(publish)
        with pytest.raises(ClusterError, match="holds another plan: layout is 'chat' there"):
            export([project(server)], folder, workers=1)
        published.result()
    assert Destination.of(folder).sizes("data") == {}


def test_files_that_were_changed(server: MessagesServer, tmp_path: Path) -> None:
    """A file of another size, or without a record, is an error and no manifest."""
    folder = tmp_path / "run"
    export([project(server)], folder, workers=1)
    Path(folder, "manifest.json").unlink()
    (data,) = Path(folder, "data").iterdir()
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    with pytest.raises(ClusterError, match="is not the file that was written"):
        export([project(server)], folder, workers=1)
    data.write_bytes(whole)
    (record,) = Path(folder, "records").iterdir()
    saved = record.read_bytes()
    record.unlink()
    with pytest.raises(ClusterError, match="has no record"):
        export([project(server)], folder, workers=1)
    # Two writers, of which one was late, have left two records: the file tells which is right.
    record.write_bytes(saved)
    stale = json.loads(saved) | {"sha256": "f" * 64, "rows": 1}
    record.with_name(record.name[:-21] + "f" * 16 + ".json").write_text(json.dumps(stale))
    assert export([project(server)], folder, workers=1).rows == json.loads(saved)["rows"]


def test_files_on_an_object_store(s3: str) -> None:
    """A file is put once unless it is to be replaced, and a probe is removed."""
    made = Destination.of(f"s3://bucket/files{s3}")
    made.make_folders("data")
    for content in (b"first", b"second"):
        made.put("data/x", content)
    assert (made.read("data/x"), made.sizes("data")) == (b"first", {"x": 5})
    made.put("data/x", b"third", replace=True)
    assert made.read("data/x") == b"third"
    probe = made.write_probe()
    made.remove_probe(probe)
    assert not made.exists(probe)


# --- what cannot be used --------------------------------------------------------------------------


def test_arguments_that_are_refused(server: MessagesServer, tmp_path: Path) -> None:
    """Each is an error before anything is sent or written."""
    for projects, options, said in [
        ([], {}, "there is no project"),
        (project(server), {}, "projects must be a list of Projects, not one Project"),
        (None, {}, "projects must be a list of Projects, not NoneType"),
        ([project(server), project(server, name="A")], {}, "two projects are named A"),
        (["a"], {}, "of the class Project, not str"),
        ([project(server)], {"layout": "x"}, "layout must be one of"),
        ([project(server)], {"include_reply": 1}, "must be True or False, not 1"),
        ([project(server, max_rps=1)], {"max_rps": 0}, "max_rps must be"),
        ([project(server)], {"format": "x"}, "format must be one of"),
        ([project(server)], {"workers": 0}, "workers"),
        ([project(server)], {"on_error": "x"}, "on_error must be"),
        ([project(server)], {"layout": "chat", "include_reply": False}, "ends with the reply"),
        ([project(server, source=["a", 7])], {}, "number 2 is int"),
        ([project(server)], {"on_progress": True}, "on_progress must be a function"),
    ]:
        with pytest.raises(ConfigurationError, match=said):
            export(projects, tmp_path / "run", **{"workers": 1, **options})
    assert server.requests == []
    assert not Path(tmp_path, "run").exists()


def test_nodes_that_cannot_do_their_part(
    server: MessagesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that the nodes lack, and a folder that they do not see, are errors of a node."""
    monkeypatch.setenv("ONLY_HERE", KEYS["KEY_A"])
    node = ray.nodes()[0]["NodeManagerHostname"]
    with pytest.raises(ClusterError, match="project a: ONLY_HERE is not set") as raised:
        export([project(server, key="env:ONLY_HERE")], tmp_path / "run", workers=1)
    assert raised.value.node is not None
    assert raised.value.node.startswith(node)
    file = tmp_path / "file"
    file.touch()
    unreachable = "s3://bucket/run?scheme=http&endpoint_override=127.0.0.1:1"
    for destination in (file / "run", unreachable):
        with pytest.raises(ClusterError, match=r"the destination .* cannot be used"):
            export([project(server)], destination, workers=1)
    assert server.requests == []


def test_a_key_that_is_refused(server: MessagesServer, tmp_path: Path) -> None:
    """The run ends with the node, the project and the server's words."""
    with pytest.raises(ClusterError, match=r"on node .*project a: .*401"):
        export([project(server, key="env:KEY_B")], tmp_path / "run", workers=1)


def test_no_key_is_in_the_files_of_ray(server: MessagesServer, tmp_path: Path) -> None:
    """Neither logs nor any other file of the cluster's session have a key."""
    export([project(server)], tmp_path / "run", workers=2, shard_size=30)
    session = Path("/tmp/ray/session_latest").resolve()  # noqa: S108 Ray's own
    read = 0
    for path in session.rglob("*"):
        if path.is_file() and os.access(path, os.R_OK):
            content = path.read_bytes()
            read += 1
            assert not [key for key in KEYS.values() if key.encode() in content], path
    assert read > 10
