"""An export as its caller sees it: its output, its second run, and its refusals."""

from __future__ import annotations

import json
import stat
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from conftest_export import IDS, RECORDS, expected_messages, lines, record, written

from aiomessages import APIError, ConfigurationError
from aiomessages.export import (
    ChangedError,
    CorruptError,
    ExportError,
    LockedError,
    export,
    read_status,
)
from aiomessages.export.files import Files
from aiomessages.export.ledger import Ledger
from aiomessages.export.ledger_schema import count_reasons

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiomessages import AsyncMessagesClient
    from aiomessages.server import LocalServer


def files_in(directory: Path) -> list[Path]:
    """Return the content of a directory."""
    return sorted(directory.iterdir())


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"])
async def test_every_message_and_reply(
    client: AsyncMessagesClient, tmp_path: Path, name: str
) -> None:
    """Each message and each reply of each completion is one line, once."""
    report = await export(client, IDS, tmp_path / name)
    assert written(tmp_path / name) == expected_messages()
    assert (report.finished, report.rows) == (True, len(expected_messages()))
    assert (report.progress.completions, report.progress.total) == (30, 30)


async def test_nothing_to_explain(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """The ledger has no reason for a completion that the output holds whole."""
    await export(client, IDS[:2], tmp_path / "out.jsonl")
    with Ledger(tmp_path / "out.jsonl.ledger") as ledger:
        assert ledger.query(count_reasons, "done") == {None: 2}


async def test_messages_are_the_servers_bytes(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """A line has the message as the server sent it, byte for byte."""
    await export(client, IDS[:3], tmp_path / "out.jsonl")
    raw = [line for name in IDS[:3] for line in (await client.list(name).raw()).data]
    text = (tmp_path / "out.jsonl").read_bytes()
    assert all(b'"message":' + message + b"}\n" in text for message in raw)


async def test_a_list_of_completions(
    client: AsyncMessagesClient, server: LocalServer, tmp_path: Path
) -> None:
    """Completions that are listed carry their replies: no further request for them."""
    report = await export(client, client.completions(), tmp_path / "out.jsonl")
    assert written(tmp_path / "out.jsonl") == expected_messages()
    assert server.requests == 1 + len(IDS)
    again = await export(client, client.completions(), tmp_path / "out.jsonl", refresh=False)
    assert server.requests == 1 + len(IDS)
    assert again.sha256 == report.sha256


async def test_nothing_is_listed_again(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """A run that does not list the completions again calls none of them removed."""
    await export(client, client.completions(), tmp_path / "out.jsonl")
    again = await export(client, client.completions(), tmp_path / "out.jsonl", refresh=False)
    assert again.removed == 0


async def test_conversations(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """The layout `conversations` is one line per completion, with all of its data."""
    await export(client, IDS, tmp_path / "out.jsonl", layout="conversations")
    got = {line["completion_id"]: line for line in lines(tmp_path / "out.jsonl")}
    assert sorted(got) == IDS
    for item in RECORDS:
        line = got[item["completion"]["id"]]
        assert line["messages"] == item["messages"]
        assert line["reply"] == item["completion"]["choices"][0]["message"]
        for name in ("model", "created", "metadata"):
            assert line[name] == item["completion"][name]


async def test_without_replies(
    client: AsyncMessagesClient, server: LocalServer, tmp_path: Path
) -> None:
    """Without include_reply a completion takes one request, and has only its messages."""
    await export(client, IDS, tmp_path / "out.jsonl", include_reply=False)
    assert len(lines(tmp_path / "out.jsonl")) == sum(len(item["messages"]) for item in RECORDS)
    assert server.requests == len(IDS)


@pytest.mark.parametrize("include_reply", [True, False])
@pytest.mark.parametrize("listed", [True, False], ids=["from a list", "by ids"])
async def test_each_line_has_the_time_and_the_model(
    client: AsyncMessagesClient,
    server: LocalServer,
    tmp_path: Path,
    include_reply: bool,
    listed: bool,
) -> None:
    """Inputs and replies have both; only ids without replies do not, for no request asks."""
    source: Any = client.completions() if listed else IDS
    await export(client, source, tmp_path / "out.jsonl", include_reply=include_reply)
    found: dict[str, set[Any]] = {name: set() for name in IDS}
    for line in lines(tmp_path / "out.jsonl"):
        found[line["completion_id"]].add((line["created"], line["model"]))
    stored = {item["completion"]["id"]: item["completion"] for item in RECORDS}
    unknown = not listed and not include_reply
    assert found == {
        name: {(None, None) if unknown else (item["created"], item["model"])}
        for name, item in stored.items()
    }
    assert server.requests == len(IDS) + (1 if listed else len(IDS) * include_reply)


async def test_columns_of_messages_have_metadata(
    client: AsyncMessagesClient, tmp_path: Path
) -> None:
    """In columns a message has the metadata of its completion, and its time with a zone."""
    await export(client, client.completions(), tmp_path / "out.parquet")
    table = duckdb.read_parquet(str(tmp_path / "out.parquet"))
    rows = table.select("completion_id, created, model, metadata").fetchall()
    stored = {item["completion"]["id"]: item["completion"] for item in RECORDS}
    assert len(rows) == len(expected_messages())
    for name, created, *rest in rows:
        assert created == datetime.fromtimestamp(stored[name]["created"], UTC)
        assert rest == [stored[name]["model"], stored[name]["metadata"]]


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
async def test_chat(client: AsyncMessagesClient, tmp_path: Path, ending: str) -> None:
    """The layout `chat` has a line for each reply, in columns too."""
    report = await export(client, IDS[:2], tmp_path / f"out{ending}", layout="chat")
    assert (report.finished, report.rows) == (True, 2)
    path = tmp_path / f"out{ending}"
    found = (
        lines(path)
        if ending == ".jsonl"
        else [
            json.loads(text)
            for (text,) in duckdb.read_parquet(str(path)).select("example_json").fetchall()
        ]
    )
    said = min(found, key=lambda line: len(line["messages"]))["messages"]
    assert said == [
        {"role": "user", "content": "message 0 of 0 é"},
        {"role": "assistant", "content": "reply 0 ü"},
    ]


async def test_a_directory_of_parts(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """A directory gets part files of about the requested size, which together have all lines."""
    report = await export(client, IDS, tmp_path / "out", part_bytes=1, concurrency=1)
    parts = files_in(tmp_path / "out")
    assert [path.name for path in parts] == sorted(report.sha256)
    assert sorted(row for path in parts for row in written(path)) == expected_messages()


async def test_a_second_run(
    client: AsyncMessagesClient, server: LocalServer, tmp_path: Path
) -> None:
    """A second run of a finished export sends nothing and changes no byte of any file."""
    await export(client, IDS, tmp_path / "out.jsonl")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files_in(tmp_path)}
    sent = server.requests
    report = await export(client, IDS, tmp_path / "out.jsonl")
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files_in(tmp_path)}
    assert (server.requests, after) == (sent, before)
    assert (report.finished, report.progress.already) == (True, len(IDS))


async def test_added_and_removed_ids(
    client: AsyncMessagesClient, server: LocalServer, tmp_path: Path
) -> None:
    """New ids are fetched and added; ids that the source no longer names are counted."""
    await export(client, IDS[:20], tmp_path / "out.jsonl", include_reply=False)
    report = await export(client, IDS[5:], tmp_path / "out.jsonl", include_reply=False)
    assert server.requests == len(IDS)
    assert (report.progress.already, report.progress.completions, report.removed) == (15, 10, 5)
    assert len(written(tmp_path / "out.jsonl")) == sum(len(item["messages"]) for item in RECORDS)


async def test_an_id_named_twice(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """An id that the source names twice is written once."""
    await export(client, [*IDS, *IDS], tmp_path / "out.jsonl")
    assert written(tmp_path / "out.jsonl") == expected_messages()


async def test_a_repeated_id_after_many_others(
    client: AsyncMessagesClient, server: LocalServer, tmp_path: Path
) -> None:
    """An id that is named twice is exported once, however many ids lie between."""
    report = await export(client, IDS * 10, tmp_path / "out.jsonl", include_reply=False)
    assert report.progress.completions == server.requests == len(IDS)


@pytest.mark.parametrize("on_error", ["raise", "continue"])
@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (None, "number 2 is of type NoneType"),
        (5, "number 2 is of type int"),
        (b"chatcmpl-1", "number 2 is of type bytes"),
        ("\ud800", "number 2 holds a lone surrogate"),
    ],
    ids=["None", "int", "bytes", "surrogate"],
)
async def test_an_invalid_id(
    client: AsyncMessagesClient, tmp_path: Path, wrong: Any, complaint: str, on_error: Any
) -> None:
    """An id that no ledger can hold is refused, and not taken for a repeated one."""
    for n, ids in enumerate(([IDS[0], wrong], (name for name in (IDS[0], wrong)))):
        with pytest.raises(ConfigurationError, match=complaint):
            await export(client, ids, tmp_path / f"{n}.jsonl", on_error=on_error)


class Name(str):
    """A str that is also something else, as those of some libraries."""

    __slots__ = ()


async def test_ids_of_a_kind_of_their_own(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """An id may be of a subclass of str."""
    report = await export(client, [Name(IDS[0])], tmp_path / "out.jsonl", include_reply=False)
    assert report.progress.completions == 1


async def test_async_ids(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """Ids may come from an async iterable, whose number is not known beforehand."""

    async def ids() -> AsyncIterator[str]:
        for name in IDS:
            yield name

    report = await export(client, ids(), tmp_path / "out.jsonl")
    assert (report.progress.total, report.progress.completions) == (None, len(IDS))


async def test_nothing_to_export(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """An export of nothing is an empty file, finished."""
    report = await export(client, [], tmp_path / "out.jsonl")
    assert (report.finished, (tmp_path / "out.jsonl").read_bytes()) == (True, b"")


async def test_private_files(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """The files are readable by their owner only."""
    await export(client, IDS[:2], tmp_path / "out.jsonl")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files_in(tmp_path)}
    assert set(modes.values()) == {0o600}


async def test_the_manifest(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """The manifest names each file with its rows, its bytes and its sha256."""
    report = await export(client, IDS, tmp_path / "out.jsonl")
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_bytes())
    assert manifest["rows"] == len(expected_messages())
    (file,) = manifest["files"]
    assert file["bytes"] == (tmp_path / "out.jsonl").stat().st_size
    assert {file["name"]: file["sha256"]} == report.sha256


# --- what fails -----------------------------------------------------------------------------------


async def test_a_completion_that_a_layout_cannot_express(
    client: AsyncMessagesClient, server: LocalServer, tmp_path: Path
) -> None:
    """A completion that a layout cannot express is counted with its reason, and requested once."""
    silent = record(999)
    silent["completion"]["choices"] = []
    await server.import_records([silent])
    for _ in range(2):
        report = await export(
            client, [IDS[0], "chatcmpl-999"], tmp_path / "out.jsonl", layout="finetune"
        )
        assert (report.finished, report.rows, report.skipped) == (True, 1, {"no reply": 1})
    assert server.requests == 4


@pytest.mark.parametrize(
    "changes", [{"layout": "conversations"}, {"include_reply": False}], ids=lambda c: next(iter(c))
)
async def test_changed_options(
    client: AsyncMessagesClient, tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Another run with other options is refused, and says which."""
    await export(client, IDS[:2], tmp_path / "out.jsonl")
    with pytest.raises(ChangedError, match=next(iter(changes))):
        await export(client, IDS[:2], tmp_path / "out.jsonl", **changes)


async def test_media_directories_are_compared(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """The same media directory is accepted in the next run; another one, or none, is refused."""
    path, media = tmp_path / "out.jsonl", tmp_path / "media"
    for _ in range(2):
        await export(client, IDS[:2], path, media=media)
    status = read_status(path)
    assert status is not None
    assert status.media == str(media)
    for other in (None, tmp_path / "other"):
        with pytest.raises(ChangedError, match="media was"):
            await export(client, IDS[:2], path, media=other)


async def test_another_server(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """Another server's completions do not go into the same files."""
    await export(client, IDS[:2], tmp_path / "out.jsonl")
    other = client.with_options(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ChangedError, match="base_url"):
        await export(other, IDS[:2], tmp_path / "out.jsonl")


async def test_two_writers(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """A second writer is refused before it touches anything."""
    with Files().lock(tmp_path / "out.jsonl.lock"), pytest.raises(LockedError):
        await export(client, IDS[:2], tmp_path / "out.jsonl")
    assert files_in(tmp_path) == []


async def test_a_file_that_was_cut(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """A file shorter than the ledger says is refused as corrupt."""
    await export(client, IDS[:2], tmp_path / "out.jsonl")
    (tmp_path / "out.jsonl").write_bytes(b"")
    with pytest.raises(CorruptError, match="start again"):
        await export(client, IDS, tmp_path / "out.jsonl")


async def test_a_file_that_was_changed(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """A change of committed bytes is detected when the export is finished."""
    await export(client, IDS[:2], tmp_path / "out.jsonl")
    data = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl").write_bytes(data.replace(b"message", b"massage", 1))
    with pytest.raises(CorruptError, match="was changed"):
        await export(client, IDS, tmp_path / "out.jsonl")


async def test_an_invalid_ledger(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """A file that is no ledger, in the ledger's place, is refused."""
    (tmp_path / "out.jsonl.ledger").write_bytes(b"not a database, but long enough " * 40)
    with pytest.raises(CorruptError, match="not a ledger"):
        await export(client, IDS, tmp_path / "out.jsonl")


@pytest.mark.parametrize(
    "arguments",
    [
        {"layout": "csv"},
        {"destination": "out.csv"},
        {"layout": "finetune", "include_reply": False},
        {"layout": "finetune", "media": "pictures"},
        {"media": ""},
        {"media": "\0"},
        {"concurrency": 0},
        {"source": "chatcmpl-1"},
    ],
    ids=repr,
)
async def test_arguments_that_cannot_be_used(
    client: AsyncMessagesClient, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    """A wrong argument is refused before anything is sent or written."""
    given = {"source": IDS, "destination": "out.jsonl", **arguments}
    with pytest.raises(ConfigurationError):
        await export(client, given.pop("source"), tmp_path / given.pop("destination"), **given)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("name", ["out.parquet", "out.duckdb", "out.jsonl.zst"])
async def test_a_missing_extra(
    client: AsyncMessagesClient,
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """A destination that needs an extra says so before anything is sent or written."""
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ExportError, match="pip install"):
        await export(client, IDS, tmp_path / name)
    assert (server.requests, files_in(tmp_path)) == (0, [])


# --- long conversations ---------------------------------------------------------------------------


async def test_a_conversation_enters_whole(
    client: AsyncMessagesClient, server: LocalServer, tmp_path: Path
) -> None:
    """No line of a conversation is written before all of its pages have arrived."""
    long = record(999, messages=350)
    await server.import_records([long])
    names = [IDS[0], long["completion"]["id"]]
    server.faults = "server-error:9@6"  # the first one, the second completion and two pages pass
    with pytest.raises(APIError):
        await export(client, names, tmp_path / "out.jsonl", concurrency=1)
    assert {line[0] for line in written(tmp_path / "out.jsonl.partial")} == {IDS[0]}
    server.faults = ()
    await export(client, names, tmp_path / "out.jsonl")
    assert written(tmp_path / "out.jsonl") == expected_messages([RECORDS[0], long])


@pytest.mark.parametrize("layout", ["messages", "conversations"])
async def test_conversations_larger_than_the_room_for_them(
    client: AsyncMessagesClient,
    server: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: str,
) -> None:
    """If not even one page fits, conversations are read one after the other."""
    monkeypatch.setattr("aiomessages.export.exporting.BUDGET_BYTES", 1)
    long = [record(number, messages=250) for number in range(900, 904)]
    await server.import_records(long)
    names = [item["completion"]["id"] for item in long]
    report = await export(client, names, tmp_path / "out.jsonl", layout=layout, concurrency=4)
    assert (report.finished, report.progress.messages) == (True, 1000)


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
async def test_the_step_of_columns_in_the_progress(
    client: AsyncMessagesClient, tmp_path: Path, name: str
) -> None:
    """Progress says that columns are being written, until they are done."""
    if name == "out.parquet":
        pytest.importorskip("duckdb")
    reported: list[bool] = []
    await export(
        client, IDS, tmp_path / name, on_progress=lambda now: reported.append(now.writing_columns)
    )
    assert (any(reported), reported[-1]) == (name == "out.parquet", False)


async def test_no_columns_without_new_rows(client: AsyncMessagesClient, tmp_path: Path) -> None:
    """Progress has no step of columns where a run adds nothing."""
    pytest.importorskip("duckdb")
    await export(client, IDS[:2], tmp_path / "out.parquet")
    reported: list[bool] = []
    await export(
        client,
        IDS[:2],
        tmp_path / "out.parquet",
        on_progress=lambda now: reported.append(now.writing_columns),
    )
    assert not any(reported)
