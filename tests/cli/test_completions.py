"""`aiomessages completions`, against a real server: its selection and its formats."""

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from conftest_cli import KEY, Ran, is_brief

from aiomessages.testing import MessagesServer

Run = Callable[..., Ran]
DAY = 86_400
START = 1_761_955_200  # 2025-11-01T00:00Z


def record(number: int) -> dict[str, Any]:
    """Return a record of a completion, one a day."""
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
    return {"completion": completion, "messages": []}


RECORDS = [record(number) for number in range(9)]


@pytest.fixture
def messages_server() -> Iterator[MessagesServer]:
    """Serve a completion a day."""
    with MessagesServer(records=RECORDS, api_key=KEY) as server:
        yield server


def numbers(ran: Ran) -> list[int]:
    """Return the numbers of the listed records, after a run that succeeded."""
    assert (ran.code, ran.err) == (0, "")
    return [int(json.loads(line)["id"].partition("-")[2]) for line in ran.out.splitlines()]


@pytest.mark.usefixtures("messages_environment")
def test_all(run: Run) -> None:
    """In a pipe the completions come as JSON lines, newest first, with every field."""
    ran = run("completions")
    assert [json.loads(line) for line in ran.out.splitlines()] == [
        item["completion"] for item in reversed(RECORDS)
    ]


@pytest.mark.usefixtures("messages_environment")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--order", "asc"], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (["--model", "gpt-4o"], [7, 5, 3, 1]),
        (["--metadata", "n=4"], [4]),
        (["--after", "chatcmpl-6"], [5, 4, 3, 2, 1, 0]),
        (["--max-items", "2"], [8, 7]),
        (["--since", "2025-11-08T00:00Z"], [8, 7]),
        (["--until", "2025-11-03T00:00Z"], [1, 0]),
        (["--since", "2025-11-03T00:00Z", "--until", "2025-11-06T00:00Z"], [4, 3, 2]),
        (["--since", "2025-11-03T00:00Z", "--max-items", "2"], [8, 7]),
        (["--since", "2025-11-07T00:00Z", "--order", "asc"], [6, 7, 8]),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_selection(run: Run, words: list[str], found: list[int]) -> None:
    """The list can be narrowed down by model, metadata and time."""
    assert numbers(run("completions", *words)) == found


@pytest.mark.parametrize(
    "words",
    [["--until", "2025-11-15T20:00Z", "--order", "asc"], ["--since", "2026-01-15T00:00Z"]],
    ids=" ".join,
)
def test_the_end_of_the_range(run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    """A list that shows its order is read up to ten items beyond the range, and one page ahead."""
    with MessagesServer(records=[record(n) for n in range(90)], api_key=KEY) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        assert len(numbers(run("completions", "--limit", 5, *words))) == 15
        assert len(server.requests) <= 6  # three in the range, two behind it, one prefetched


@pytest.mark.usefixtures("messages_environment")
def test_the_last_one_asked_for(run: Run, messages_server: MessagesServer) -> None:
    """A list is not read on after the last completion that was asked for."""
    words = ["--since", "2025-11-01T00:00Z", "--max-items", "1"]
    assert len(numbers(run("completions", "--limit", 1, *words))) == 1
    assert len(messages_server.requests) <= 2  # one is prefetched


ODD: list[bytes] = [
    b'"created":1761955200.25,"metadata":{"n":5},"seed":1.0',
    b'"created":%d,"metadata":["n"],"choices":"none"' % 10**30,
    b'"created":"today","choices":[null]',
    b'"created":null,"choices":[{"message":"Hello"}]',
    b'"choices":[{"message":{"tool_calls":[7]}}]',
    b'"created":1761955200,"model":"\\ud83d","usage":{"far":1e400}',
    b'"created":1761955200,"usage":{"long":%b}' % (b"9" * 5000),
]


class OddServer(BaseHTTPRequestHandler):
    """Answers with a list of odd completions."""

    def do_GET(self) -> None:
        """Send all of them."""
        items = b",".join(b'{"id":"c%d",%b}' % (n, fields) for n, fields in enumerate(ODD))
        body = b'{"object":"list","has_more":false,"data":[%b]}' % items
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.fixture
def odd_server() -> Iterator[str]:
    """Serve odd completions, and give the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), OddServer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("shape", ["pretty", "table", "yaml", "json", "jsonl", "raw"])
def test_odd_completions(
    run: Run, odd_server: str, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    """A completion with odd fields is shown, and changes no other completion."""
    monkeypatch.setenv("OPENAI_BASE_URL", odd_server)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    code, out, err = run("completions", "--format", shape)
    assert (code, err) == (0, "")
    assert [out.count(b"c%d" % n) for n in range(len(ODD))] == [1] * len(ODD)


@pytest.mark.usefixtures("messages_environment", "zone")
def test_utc(run: Run) -> None:
    """A table says whether its times are local; --utc makes them UTC, and reads dates so."""
    words = ["completions", "--format", "table", "--until", "2025-11-03T01:00", "--order", "asc"]
    local, utc = (run(*words, *more).out.decode().splitlines() for more in ([], ["--utc"]))
    assert [line[:16].rstrip() for line in local[:2]] == ["created (local)", "2025-11-01 02:00"]
    assert [line[:16].rstrip() for line in utc[:2]] == ["created (UTC)", "2025-11-01 00:00"]
    assert (len(local) - 1, len(utc) - 1) == (2, 3)


@pytest.mark.usefixtures("messages_environment")
def test_formats(run: Run) -> None:
    """Every format holds every completion, decoded or as the server sent it, filtered or not."""
    for words in ([], ["--since", "2025-11-01T00:00Z"]):
        assert len(json.loads(run("completions", "--format", "json", *words).out)) == 9
        assert len(yaml.safe_load(run("completions", "--format", "yaml", *words).out)) == 9
        assert len(run("completions", "--format", "raw", *words).out.splitlines()) == 9
        assert len(run("completions", "--format", "table", *words).out.splitlines()) == 10
        assert run("completions", "--format", "pretty", *words).out.count(b"Reply") == 9


@pytest.mark.parametrize(
    "words",
    [["--since", "x"], ["--metadata", "x"], ["--max-items", "0"], ["--order", "up"], ["more"]],
    ids=" ".join,
)
@pytest.mark.usefixtures("messages_environment")
def test_a_wrong_command_line(run: Run, messages_server: MessagesServer, words: list[str]) -> None:
    """A wrong command line is reported in one line, before any request."""
    code, out, err = run("completions", *words)
    assert (code, out, messages_server.requests) == (2, b"", [])
    assert is_brief(err)


@pytest.mark.usefixtures("messages_environment")
def test_transform(run: Run, tmp_path: Path) -> None:
    """The result of an expression is shown for each completion, also in a file."""
    words = ["completions", "--max-items", "2", "--transform", "metadata.n"]
    assert run(*words) == (0, b'"8"\n"7"\n', "")
    assert run(*words, "-o", tmp_path / "n.json") == (0, b"", "")
    assert json.loads((tmp_path / "n.json").read_text("utf-8")) == ["8", "7"]
    assert run("completions", "--transform", "nope(@)").code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "nobody"], "no stored completion that the options select\n  leave some"),
        (["--since", "1m"], "no stored completion that the options select\n  leave some"),
        ([], "no stored completion\n  only those created with store=true are kept"),
    ],
    ids=str,
)
def test_an_empty_list(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    """An empty list is a success, and is said on standard error, if not with --quiet."""
    with MessagesServer(records=RECORDS if words else [], api_key=KEY) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        ran = run("completions", "--format", "json", *words)
        assert (ran.code, ran.out) == (0, b"[]\n")
        assert ran.err.startswith(f"aiomessages: {said}")
        assert is_brief(ran.err)
        assert run("completions", "-q", *words) == (0, b"", "")


def test_the_sample(run: Run) -> None:
    """The sample has completions as well."""
    assert len(run("completions", "--local").out.splitlines()) > 20
