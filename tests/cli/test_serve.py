"""`aiomessages serve`: a server that shows how to reach it and ends on a signal."""

import json
import signal
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest_cli import RECORDS, Ran, is_brief

from aiomessages.server import import_records
from aiomessages.server.faults import FAULTS

if TYPE_CHECKING:
    import subprocess

Run = Callable[..., Ran]
Spawn = Callable[..., "subprocess.Popen[bytes]"]

pytestmark = pytest.mark.measured_programs  # no test runs a server in its own process


def exported(process: "subprocess.Popen[bytes]") -> dict[str, str]:
    """Return the variables that the two lines to paste would set."""
    assert process.stdout
    lines = [process.stdout.readline().decode() for _ in range(2)]
    return dict(line.removeprefix("export ").rstrip().split("=", 1) for line in lines)


def completions(variables: dict[str, str]) -> list[Any]:
    """Return the stored completions of the server that the variables lead to."""
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{variables['OPENAI_BASE_URL']}/chat/completions?limit=100",
        headers={"Authorization": f"Bearer {variables['OPENAI_API_KEY']}"},
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310 - the same
        found: list[Any] = json.load(response)["data"]
        return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_sample(spawn: Spawn, number: signal.Signals) -> None:
    """Without a database the sample is served, until Ctrl-C or SIGTERM end it cleanly."""
    process = spawn("serve")
    variables = exported(process)
    assert len(completions(variables)) > 20
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"")
    assert [line.partition(":")[0] for line in err.decode().splitlines()][-1] == "aiomessages"
    assert b"Traceback" not in err


def test_a_key_that_stays(spawn: Spawn, tmp_path: Path) -> None:
    """With --key-file each run has the same key, and the server takes it."""
    keys = set()
    for _ in range(2):
        process = spawn("serve", "--key-file", tmp_path / "key")
        variables = exported(process)
        assert completions(variables)
        keys.add(variables["OPENAI_API_KEY"])
        process.terminate()
        _, err = process.communicate(timeout=30)
        assert f"The key is that of {tmp_path}/key:" in err.decode()
    assert keys == {(tmp_path / "key").read_text("ascii").strip()}


def test_quiet(spawn: Spawn, tmp_path: Path) -> None:
    """With -q nothing but the two lines to paste is printed."""
    (tmp_path / "records.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in RECORDS))
    process = spawn("serve", "-q", "--import", tmp_path / "records.jsonl")
    assert completions(exported(process))
    process.terminate()
    assert process.communicate(timeout=30) == (b"", b"")


def test_faults(spawn: Spawn) -> None:
    """Faults are played in their order, from the first request on, and named on standard error."""
    process = spawn("serve", "--fault", "server-error:1", "--fault", "conflict:1")
    variables = exported(process)
    for status in (500, 409):
        with pytest.raises(urllib.error.HTTPError) as error:
            completions(variables)
        error.value.close()
        assert error.value.code == status
    assert completions(variables)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"aiomessages: playing server-error:1, conflict:1\n" in err


def test_a_fault_that_does_not_exist(run: Run) -> None:
    """The error of an unknown fault names the nearest ones."""
    code, out, err = run("serve", "--fault", "resett")
    assert (code, out) == (2, b"")
    assert "nearest are reset" in err
    assert is_brief(err)


def test_the_help_names_every_fault(run: Run) -> None:
    """The help names every fault."""
    words = run("serve", "--help").out.decode().split()
    assert set(FAULTS) <= set(words)


def test_a_database(spawn: Spawn, tmp_path: Path) -> None:
    """Records are imported into a file, on a port that was chosen, and are still there later."""
    records, database = tmp_path / "records.jsonl", tmp_path / "my.db"
    records.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for words in (["--import", records, "--port", port], []):
        process = spawn("serve", database, *words)
        variables = exported(process)
        assert len(completions(variables)) == len(RECORDS)
        assert not words or variables["OPENAI_BASE_URL"].endswith(f":{port}/v1")
        process.terminate()
        process.communicate(timeout=30)
        assert process.returncode == 0


def test_a_damaged_database(spawn: Spawn, tmp_path: Path) -> None:
    """Standard error has one sentence for each request that cannot be answered."""
    database = tmp_path / "my.db"
    import_records(str(database), RECORDS)
    with closing(sqlite3.connect(database)) as db:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'completions'"
        (page,) = db.execute(query).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    data = bytearray(database.read_bytes())
    data[size * (page - 1) : size * page] = b"\x55" * size  # the schema stays
    database.write_bytes(data)
    process = spawn("serve", database)
    variables = exported(process)
    with pytest.raises(urllib.error.HTTPError) as error:
        completions(variables)
    error.value.close()
    assert error.value.code == 500
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"aiomessages: {database}: the database is damaged (".encode() in err
    assert b"Traceback" not in err


def test_invalid_records(execute: Run, tmp_path: Path) -> None:
    """A file without records is refused with the number of the line."""
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps(RECORDS[0]) + "\n{}\n", "utf-8")
    code, out, err = execute("serve", "--import", records)
    assert (code, out) == (1, b"")
    assert "2" in err
    assert "unexpected" not in err
    assert is_brief(err)


def test_a_file_that_is_no_database(execute: Run, tmp_path: Path) -> None:
    """A file of another kind is refused in words, and left alone."""
    path = tmp_path / "my.db"
    path.write_text("precious " * 1000, "utf-8")
    code, out, err = execute("serve", path)
    assert (code, out) == (2, b"")
    assert str(path) in err
    assert "unexpected" not in err
    assert path.read_text("utf-8") == "precious " * 1000


def test_debug(execute: Run, tmp_path: Path) -> None:
    """--debug shows the origin of an error here as well."""
    (tmp_path / "my.db").write_text("precious " * 1000, "utf-8")
    code, _, err = execute("serve", tmp_path / "my.db", "--debug")
    assert code == 2
    assert err.startswith("Traceback")
    assert err.splitlines()[-2].startswith("aiomessages: ")


def test_a_port_in_use(execute: Run) -> None:
    """A port that is taken is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = execute("serve", "--port", port)
    assert (code, out) == (1, b"")
    assert err.splitlines() == [
        f"aiomessages: cannot serve on port {port}: Address already in use",
        "  choose another --port, or none for a free one",
    ]
    assert is_brief(err)


@pytest.mark.parametrize(
    "words",
    [
        ["."],
        ["nowhere/my.db"],
        ["--import", "nowhere"],
        ["--port", "65536"],
        ["--latency", "-1"],
        ["--rate", "0"],
        ["one.db", "two.db"],
    ],
)
def test_a_wrong_command_line(run: Run, words: list[str]) -> None:
    """A wrong command line is reported before a server starts."""
    code, out, err = run("serve", *words)
    assert (code, out) == (2, b"")
    assert err.startswith("aiomessages: ")
    assert is_brief(err)
