"""`aiomessages export` and `aiomessages status`, against real servers, in and out of process."""

import asyncio
import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest_cli import KEY, Ran, is_brief

from aiomessages.cli import export_run, progress
from aiomessages.export.files import Files
from aiomessages.export.finetune import Reason
from aiomessages.testing import MessagesServer

if TYPE_CHECKING:
    import subprocess

Run = Callable[..., Ran]
Spawn = Callable[..., "subprocess.Popen[bytes]"]
DAY = 86_400
START = 1_761_955_200  # 2025-11-01T00:00Z


def record(number: int) -> dict[str, Any]:
    """Return a record of a completion with two messages, one a day."""
    name = f"chatcmpl-{number}"
    reply = {"role": "assistant", "content": f"Reply {number}.", "refusal": None}
    completion = {
        "id": name,
        "object": "chat.completion",
        "created": START + number * DAY,
        "model": "gpt-4o" if number % 2 else "gpt-4o-mini",
        "metadata": {"n": str(number)},
        "choices": [{"index": 0, "message": reply, "finish_reason": "stop", "logprobs": None}],
    }
    said = [{"id": f"{name}-{n}", "role": "user", "content": f"Word {n}."} for n in range(2)]
    return {"completion": completion, "messages": said}


IDS = [f"chatcmpl-{number}" for number in range(9)]


@pytest.fixture
def messages_server() -> Iterator[MessagesServer]:
    """Serve nine completions."""
    with MessagesServer(records=map(record, range(9)), api_key=KEY) as server:
        yield server


@pytest.fixture
def dated(messages_server: MessagesServer, messages_environment: None) -> MessagesServer:  # noqa: ARG001
    """Point the environment to this server."""
    return messages_server


def exported(path: Path) -> list[str]:
    """Return the ids that a file in the layout `messages` holds whole, in order."""
    found: dict[str, list[int]] = {}
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        found.setdefault(row["completion_id"], []).append(row["seq"])
    assert all(numbers == [0, 1, 2] for numbers in found.values())
    return sorted(found)


@pytest.mark.usefixtures("dated")
@pytest.mark.parametrize("words", [["--all"], IDS], ids=["all", "ids"])
def test_everything(run: Run, tmp_path: Path, words: list[str]) -> None:
    """All completions come with their replies, and the summary names the file and the counts."""
    code, out, err = run("export", *words, "-o", tmp_path / "out.jsonl")
    assert (code, out) == (0, b"")
    assert exported(tmp_path / "out.jsonl") == IDS
    assert err.startswith(f"aiomessages: finished: {tmp_path}/out.jsonl\n  9 completions, 27 rows")


@pytest.mark.usefixtures("dated")
def test_an_ids_file(run: Run, tmp_path: Path) -> None:
    """Ids can come from a file."""
    (tmp_path / "ids.txt").write_text("# two\nchatcmpl-1\n\nchatcmpl-3\n")
    ran = run("export", "--ids-file", tmp_path / "ids.txt", "-o", tmp_path / "out.jsonl")
    assert ran.code == 0
    assert exported(tmp_path / "out.jsonl") == ["chatcmpl-1", "chatcmpl-3"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--model", "gpt-4o"], [1, 3, 5, 7]),
        (["--metadata", "n=4"], [4]),
        (["--since", "2025-11-08T00:00Z"], [7, 8]),
        (["--until", "2025-11-03T00:00Z"], [0, 1]),
        (["--since", "2025-11-03T00:00Z", "--until", "2025-11-06T00:00Z"], [2, 3, 4]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_selection(
    run: Run, dated: MessagesServer, tmp_path: Path, words: list[str], found: list[int]
) -> None:
    """Only the selected completions are exported: one list, and one request for each."""
    assert run("export", "--all", *words, "-o", tmp_path / "out.jsonl").code == 0
    assert exported(tmp_path / "out.jsonl") == [f"chatcmpl-{number}" for number in found]
    assert len(dated.requests) == 1 + len(found)


def test_again(run: Run, dated: MessagesServer, tmp_path: Path) -> None:
    """A second run lists again and says that nothing is new; --no-refresh sends no request."""
    words = ["export", "--all", "--since", "2025-11-08T00:00Z", "-o", tmp_path / "out.jsonl"]
    run(*words)
    before = (tmp_path / "out.jsonl").read_bytes()
    dated.requests.clear()
    assert run(*words).err.startswith("aiomessages: already complete; nothing new since 2")
    assert len(dated.requests) == 1
    dated.requests.clear()
    code, _, err = run(*words, "--no-refresh")
    assert (code, dated.requests) == (0, [])
    assert err.startswith("aiomessages: already complete, and not listed again (--no-refresh)")
    assert (tmp_path / "out.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["--since", "2025-11-07T00:00Z"],
        ["--model", "gpt-4o"],
        ["--metadata", "n=4"],
        ["--since", "30d"],
        [],
    ],
    ids=lambda words: " ".join(words) or "everything",
)
def test_another_selection(
    run: Run, dated: MessagesServer, tmp_path: Path, words: list[str]
) -> None:
    """A list with another selection is refused with exit code 2, and the difference is named."""
    given = ["--since", "2025-11-08T00:00Z"]
    run("export", "--all", *given, "-o", tmp_path / "out.jsonl")
    dated.requests.clear()
    code, _, err = run("export", "--all", *words, "-o", tmp_path / "out.jsonl")
    assert (code, dated.requests) == (2, [])
    assert '--since was "2025-11-08T00:00Z" and is now ' in err


def test_an_age_is_one_selection(run: Run, dated: MessagesServer, tmp_path: Path) -> None:
    """An age is the same selection tomorrow, though it means another moment."""
    for _ in range(2):
        assert run("export", "--all", "--since", "2w", "-o", tmp_path / "out.jsonl").code == 0
    assert len(dated.requests) == 2


@pytest.mark.usefixtures("dated", "zone")
def test_utc(run: Run, tmp_path: Path) -> None:
    """With --utc a time is one of UTC: for the selection, its record, and what is printed."""
    span = ["--since", "2025-11-07", "--until", "2025-11-08T01:00"]
    words = ["export", "--all", *span, "-o", tmp_path / "out.jsonl"]
    assert run(*words, "--utc").code == 0
    assert exported(tmp_path / "out.jsonl") == ["chatcmpl-6", "chatcmpl-7"]
    assert " UTC: " in run(*words, "--utc").err
    code, _, err = run(*words)
    assert code == 2
    assert 'until was "2025-11-08T01:00 UTC" and is now "2025-11-08T01:00"' in err
    local = tmp_path / "local.jsonl"
    run("export", "--all", *span, "-o", local)
    assert exported(local) == ["chatcmpl-6"]
    assert " XXX: " in run("export", "--all", *span, "-o", local).err


@pytest.mark.usefixtures("dated")
def test_options(run: Run, tmp_path: Path) -> None:
    """Layout, replies and the other options reach the export, and --quiet prints nothing."""
    words = ["--layout", "conversations", "--no-include-reply", "--max-rps", 1000, "--quiet"]
    words += ["--media", tmp_path / "media", "--concurrency", 2, "--on-error", "continue"]
    assert run("export", "--all", "-o", tmp_path / "out.jsonl", *words) == (0, b"", "")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert sorted(line["completion_id"] for line in lines) == IDS
    assert {line["reply"] for line in lines} == {None}


@pytest.mark.parametrize(
    "words",
    [
        ["-o", "out.jsonl"],
        ["chatcmpl-1", "--all", "-o", "out.jsonl"],
        ["chatcmpl-1", "--ids-file", "ids.txt", "-o", "out.jsonl"],
        ["chatcmpl-1", "--model", "gpt-4o", "-o", "out.jsonl"],
        ["chatcmpl-1", "--since", "3d", "-o", "out.jsonl"],
        ["chatcmpl-1", "--no-refresh", "-o", "out.jsonl"],
        ["chatcmpl/1", "-o", "out.jsonl"],
        ["--ids-file", "none.txt", "-o", "out.jsonl"],
        ["--ids-file", "-", "--api-key-file", "-", "-o", "out.jsonl"],
        ["--all", "--since", "tomorrow", "-o", "out.jsonl"],
        ["--all", "--metadata", "x", "-o", "out.jsonl"],
        ["--all", "--layout", "csv", "-o", "out.jsonl"],
        ["--all", "--layout", "finetune", "--no-include-reply", "-o", "out.jsonl"],
        ["--all", "--layout", "chat", "--media", "media", "-o", "out.jsonl"],
        ["--all", "--concurrency", "0", "-o", "out.jsonl"],
        ["--all", "--max-rps", "0", "-o", "out.jsonl"],
        ["--all", "-o", "out.csv"],
        ["--all", "-o", ".jsonl"],
        ["--all", "-o", "-", "--no-refresh"],
        ["--all", "-o", "/dev/null"],
        ["--all", "-o"],
        ["--all"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line(
    run: Run,
    dated: MessagesServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    """A wrong command line is reported in one line, before any request or file."""
    monkeypatch.chdir(tmp_path)
    code, out, err = run("export", *words)
    assert (code, out, dated.requests) == (2, b"", [])
    assert is_brief(err)
    assert list(tmp_path.iterdir()) == []


def test_local(run: Run, tmp_path: Path) -> None:
    """The embedded server is the same one at every run, whatever its port."""
    words = ["export", "chatcmpl-umbrella", "-o", tmp_path / "out.jsonl", "--local"]
    assert run(*words).code == 0
    assert "this time" not in run(*words).err
    assert run("export", "--all", "-o", tmp_path / "two.jsonl", "--local").code == 0


def test_a_local_database(run: Run, tmp_path: Path) -> None:
    """A database is known by its path: another one does not go into the same files."""
    for name in ("one.db", "two.db"):
        with MessagesServer(tmp_path / name, records=map(record, range(9))):
            pass
    words = ["export", "--all", "-o", tmp_path / "out.jsonl", "--local"]
    assert run(*words, tmp_path / "one.db").code == 0
    assert run(*words, tmp_path / "one.db").code == 0
    code, _, err = run(*words, tmp_path / "two.db")
    assert code == 2
    assert "two.db" in err


@pytest.mark.usefixtures("dated")
def test_columns(run: Run, tmp_path: Path) -> None:
    """The summary shows the size of the file that was asked for."""
    path = tmp_path / "out.duckdb"
    err = run("export", "--all", "-o", path).err
    assert f"27 rows, {progress.megabytes(path.stat().st_size)}" in err


@pytest.mark.usefixtures("dated")
def test_a_directory(run: Run, tmp_path: Path) -> None:
    """The summary of a directory shows the size of its parts."""
    err = run("export", "--all", "-o", tmp_path / "out").err
    assert exported(tmp_path / "out" / "part-00001.jsonl") == IDS
    assert "27 rows, " in err


# --- what the guide says --------------------------------------------------------------------------

GUIDE = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")


def test_the_samples_of_the_guide(run: Run, tmp_path: Path) -> None:
    """Each line that the guide shows of a layout is one that an export of the sample has."""
    written = []
    for layout in ("messages", "conversations", "finetune", "chat"):
        path = tmp_path / f"{layout}.jsonl"
        run("export", "--all", "--local", "-o", path, "--layout", layout)
        written += [json.loads(line) for line in path.read_bytes().splitlines()]
    for line in written:
        line.update({"completion": {}} if "completion" in line else {})  # as in the guide
    samples = re.findall(r"^\{.*\}$", GUIDE, re.MULTILINE)
    assert len(samples) == 5
    assert all(json.loads(sample) in written for sample in samples)


def test_the_reasons_of_the_guide() -> None:
    """The guide has every reason for which a conversation can be no example, and no other."""
    table = GUIDE.partition("| reason |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE) == [*map(str, Reason)]


# --- what fails -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("dated")
def test_an_unknown_id(run: Run, tmp_path: Path) -> None:
    """An unknown id is named, and the export is complete without it."""
    code, _, err = run("export", *IDS, "chatcmpl-gone", "-o", tmp_path / "out.jsonl")
    assert (code, exported(tmp_path / "out.jsonl")) == (0, IDS)
    assert "gone: 1 (chatcmpl-gone): no longer on the server" in err
    status = json.loads(run("status", tmp_path / "out.jsonl", "--format", "json").out)
    assert (status["gone"], status["finished"]) == (["chatcmpl-gone"], True)


@pytest.mark.usefixtures("dated")
def test_unknown_ids_alone(run: Run, tmp_path: Path) -> None:
    """If the server knows none of the ids, the exit code is 3."""
    code, _, err = run("export", "chatcmpl-x", "chatcmpl-y", "-o", tmp_path / "out.jsonl")
    assert code == 3
    assert err.startswith("aiomessages: none of the ids exists")
    assert "--wait" not in err  # this command waits by itself


@pytest.mark.parametrize(("code", "wait"), [(429, 7200), (503, 7200)])
def test_a_long_wait(
    run: Run, dated: MessagesServer, tmp_path: Path, code: int, wait: float
) -> None:
    """A server that asks to wait for hours ends the export; the summary says when to continue."""
    dated.fail(code, retry_after=wait)
    ended, _, err = run("export", "--all", "-o", tmp_path / "out.jsonl")
    assert ended == 5
    assert "the server asks to wait 2:00:00: run the same command again after 2" in err


def test_an_error_after_the_first_completions(
    run: Run, dated: MessagesServer, tmp_path: Path
) -> None:
    """An error after the first completions names the safe ones, and how to continue."""
    assert run("export", *IDS[:3], "-o", tmp_path / "out.jsonl").code == 0
    dated.fail(401)
    code, _, err = run("export", *IDS, "-o", tmp_path / "out.jsonl")
    assert code == 4
    assert err.startswith("aiomessages: stopped: 3 completions, 9 rows")


def test_failed_completions(run: Run, dated: MessagesServer, tmp_path: Path) -> None:
    """Completions that could not be read leave the export unfinished: exit code 1."""
    words = ["export", *IDS, "-o", tmp_path / "out.jsonl", "--on-error", "continue"]
    dated.fail(400)
    code, _, err = run(*words)
    assert code == 1
    assert err.startswith("aiomessages: not finished: ")
    assert "failed: 9 × BadRequestError" in err
    status = run("status", tmp_path / "out.jsonl").out.decode()
    assert "not finished" in status
    assert "9 failed" in status
    assert "failed: 9 × BadRequestError" in status
    dated.recover()
    assert run(*words).code == 0
    assert exported(tmp_path / "out.jsonl") == IDS


@pytest.mark.usefixtures("dated")
def test_nothing_was_reached(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing was fetched, nothing is said to be safe."""
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key-0123456789")
    code, _, err = run("export", "--all", "-o", tmp_path / "out.jsonl")
    assert code == 4
    assert err.startswith("aiomessages: Incorrect API key provided")
    assert is_brief(err)


@pytest.mark.usefixtures("dated")
def test_changed_options(run: Run, tmp_path: Path) -> None:
    """Another layout in the same place is exit code 2, and the difference is named."""
    run("export", "--all", "-o", tmp_path / "out.jsonl")
    code, _, err = run("export", "--all", "-o", tmp_path / "out.jsonl", "--layout", "finetune")
    assert code == 2
    assert 'layout was "messages" and is now "finetune"' in err


@pytest.mark.usefixtures("dated")
def test_two_writers(run: Run, tmp_path: Path) -> None:
    """A second writer is exit code 75."""
    with Files().lock(tmp_path / "out.jsonl.lock"):
        code, _, err = run("export", "--all", "-o", tmp_path / "out.jsonl")
    assert code == 75
    assert is_brief(err)


@pytest.mark.usefixtures("dated")
def test_a_file_that_was_cut(run: Run, tmp_path: Path) -> None:
    """A file that differs from its ledger is exit code 65."""
    run("export", IDS[0], "-o", tmp_path / "out.jsonl")
    (tmp_path / "out.jsonl").write_bytes(b"")
    assert run("export", IDS[1], "-o", tmp_path / "out.jsonl").code == 65


@pytest.mark.usefixtures("dated")
def test_a_full_disk(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is exit code 74, and the same command continues once there is room."""
    words = ["export", "--all", "-o", tmp_path / "out.jsonl"]
    with monkeypatch.context() as full:
        full.setattr(Files, "write", no_room)
        code, _, err = run(*words)
    assert code == 74
    assert "no room left" in err
    assert run(*words).code == 0
    assert exported(tmp_path / "out.jsonl") == IDS


@pytest.mark.usefixtures("dated")
def test_a_disk_that_fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another error of the disk names the destination and the system's reason."""
    with monkeypatch.context() as broken:
        broken.setattr(Files, "write", lambda *_: no_write())
        code, _, err = run("export", "--all", "-o", tmp_path / "out.jsonl")
    assert code == 1
    assert f"cannot write {tmp_path}/out.jsonl: Input/output error" in err


def no_write() -> int:
    """Fail as a broken disk does."""
    raise OSError(5, "Input/output error")


def no_room(*_: object) -> int:
    """Write nothing, as a full disk does."""
    raise OSError(28, "No space left on device")


@pytest.mark.usefixtures("dated")
def test_where_no_file_can_be(run: Run, tmp_path: Path) -> None:
    """A place where no file can be created is reported, with what to do."""
    (tmp_path / "file").touch()
    code, _, err = run("export", "--all", "-o", tmp_path / "file" / "out.jsonl")
    assert code == 2
    assert "no export can be written to " in err
    assert err.endswith(": Not a directory\n  name another destination\n")
    assert is_brief(err)


# --- being stopped --------------------------------------------------------------------------------


@contextmanager
def halfway(spawn: Spawn, path: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Start an export that has read one completion of two, and waits for the other."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        words = ["one", "two", "--base-url", url, "--no-include-reply", "--concurrency", 1]
        process = spawn("export", *words, "-o", path)
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            page = b'{"object":"list","data":[{"id":"m","role":"user","content":"Hi"}],'
            page += b'"first_id":"m","last_id":"m","has_more":false}'
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            )
            connection.sendall(head % len(page) + page)
            connection.recv(65_536)  # the request for the other one
            yield process


@pytest.mark.measured_programs
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stopped(
    spawn: Spawn,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    """Ctrl-C, SIGTERM and SIGHUP commit the fetched conversations: exit code 130."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with halfway(spawn, tmp_path / "out.jsonl") as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    first, last = err.decode().splitlines()
    assert first == "aiomessages: committing what was fetched; a second signal ends it at once"
    assert last.startswith("aiomessages: stopped: 1 completion, 1 row, 0 kB are safe; run the")
    status = json.loads(run("status", tmp_path / "out.jsonl", "--format", "json").out)
    assert (status["finished"], status["rows"]) == (False, 1)


def test_standard_output_stopped(spawn: Spawn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines on standard output are whole conversations after Ctrl-C; nothing continues them."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with halfway(spawn, Path("-")) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert [json.loads(line)["completion_id"] for line in out.splitlines()] == ["one"]
    assert err.decode().splitlines() == [
        "aiomessages: writing what was fetched; a second signal ends it at once",
        "aiomessages: stopped: the lines so far are whole conversations",
        "  there is no ledger: another run begins at the start",
    ]


def test_stopped_twice(spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second Ctrl-C ends the process at once, also with exit code 130."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with halfway(spawn, tmp_path / "out.jsonl") as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"stopped:" not in err


@pytest.mark.parametrize(
    ("first", "second", "codes"),
    [
        (signal.SIGINT, signal.SIGINT, []),
        (signal.SIGTERM, signal.SIGTERM, []),
        (signal.SIGHUP, signal.SIGHUP, []),
        (signal.SIGINT, signal.SIGTERM, [130]),
    ],
)
async def test_one_signal_twice(
    monkeypatch: pytest.MonkeyPatch,
    first: signal.Signals,
    second: signal.Signals,
    codes: list[int],
) -> None:
    """A signal that `timeout` sends twice at once counts once; a later one ends the process."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)

    async def exporting() -> Any:
        signal.raise_signal(first)
        try:
            await asyncio.Event().wait()
        finally:
            signal.raise_signal(second)
            for _ in range(3):  # the loop handles a signal in a later iteration
                await asyncio.sleep(0)

    assert await export_run.stoppable(exporting(), lambda: None) is None
    assert ended == codes


async def test_the_display_at_a_second_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second signal closes the display before it ends the process."""
    told: list[Any] = []
    ended = asyncio.Event()

    def end(code: int) -> None:
        told.append(code)
        ended.set()

    async def exporting() -> Any:
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            signal.raise_signal(signal.SIGTERM)
            await ended.wait()

    monkeypatch.setattr(os, "_exit", end)

    await export_run.stoppable(exporting(), lambda: told.append("closed"))
    assert told == ["closed", 130]


async def test_a_terminal_that_closes_under_nohup() -> None:
    """SIGHUP stays ignored under nohup: `nohup aiomessages export …` continues."""

    async def exporting() -> Any:
        signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0)
        return "report"

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert await export_run.stoppable(exporting(), lambda: None) == "report"
    finally:
        signal.signal(signal.SIGHUP, before)


def test_advice_of_other_commands(run: Run, dated: MessagesServer, tmp_path: Path) -> None:
    """An error advises nothing that this command does not have."""
    dated.fail("missing-field")
    code, _, err = run("export", "--all", "-o", tmp_path / "out.jsonl")
    assert code == 1
    assert "missing required field" in err
    assert "--format" not in err


async def test_cancelled_by_others() -> None:
    """A run that is cancelled without a signal does not report Ctrl-C."""

    async def cancelled() -> Any:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await export_run.stoppable(cancelled(), lambda: None)  # no command does so
